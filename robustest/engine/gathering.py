"""Model passes of several chunks at once, so that an accelerator's batches stay full."""

# The outcome of a chunk depends on the chunk alone: a cascade goes on, or not, by what it broke there. So chunks keep
# their size on every device, and what an accelerator shares between them are the passes:
#
# 1. Each chunk is measured in a thread, with an evaluator of its own (`Evaluator.apart`), that waits where it needs a
#    pass. `Member.resume` hands it the answer and returns once it waits again: one thread runs at a time, in a fixed
#    order. Threads and not generators, because the measurement is a deep stack of calls, and because torch keeps the
#    gradient mode and autocast of each thread apart.
# 2. `step` joins the rows that are waited for, of one kind (outputs, gradients in float32, gradients in bfloat16), up
#    to `batch_size` of them, and passes them in the thread of the caller, which alone calls the model.
#    On accelerators passes are filled up to one of a few batch sizes (`Evaluator.fixed_shapes`): kernels are chosen,
#    and graphs of them kept, by shape.
# 3. While the rows that wait fill at most half a batch, another chunk is begun (`room`): the last rows of a chunk never
#    run alone while there are chunks left.
# 4. A pass that fails is made again for each chunk alone: the error, or a batch that is cut in half, is that chunk's.
# 5. The checks of a model pass few samples at once. So where a pass is more than twice as large as any before it, its
#    last rows are passed again alone (`_compared_last`): a model may treat only the first rows of a batch as it should,
#    and kernels that count in 32 bits have failed at large sizes.

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from robustest.engine.answer_checks import moved, usual_lead
from robustest.engine.evaluator import Evaluator, Request, Slope
from robustest.engine.gradient_checks import turned
from robustest.engine.model_errors import out_of_memory

# Most chunks at once: what a verdict does not need is measured in vain.
_MOST = 16
# Rows of a joint pass that is not compared, about as many as the host passes at once; rows that are compared.
_USUAL, _COMPARED = 128, 8


class Gathering:
    """Measurements of chunks that share their model passes; end it with `close`.

    Args:
        evaluator: makes the passes; the model has answered before.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._members: list[Member] = []
        self._most_rows = evaluator.batch_size
        self._compared = dict.fromkeys((True, False), _USUAL)  # rows, of passes with a gradient and without

    @property
    def room(self) -> bool:
        """True if another chunk would find room in the next pass."""
        waiting = sum(member.rows for member in self._members)
        return len(self._members) < _MOST and 2 * waiting <= min(self._most_rows, self._evaluator.batch_size)

    def begin(self, measure: Callable[[Evaluator], Any]) -> Member:
        """Measure another chunk up to its first pass; `measure` gets its evaluator."""
        member = Member(self._evaluator, measure)
        self._members.append(member)
        member.start()
        self._resume(member, None)
        return member

    def step(self) -> None:
        """Make the passes that are waited for, and measure on up to the next ones."""
        for members in list(self._batches()):
            started, rows = time.perf_counter(), [member.rows for member in members]
            answers = self._passed(members)
            seconds = time.perf_counter() - started
            for member, own in zip(members, rows, strict=True):
                member.answer = answers.pop(0)
                member.seconds += seconds * own / max(1, sum(rows))
        for member in list(self._members):
            answer, member.answer = member.answer, None
            self._resume(member, answer)

    def close(self) -> None:
        """End all measurements where they are."""
        for member in self._members:
            member.end()
        self._members.clear()

    def _resume(self, member: Member, answer: Any) -> None:
        member.resume(answer)
        if member.over:
            self._members.remove(member)
            # The next chunk need not run out of memory to learn of it.
            self._evaluator.batch_size = min(self._evaluator.batch_size, member.evaluator.batch_size)
            for note in member.evaluator.notes:
                self._evaluator.note(note)

    def _batches(self) -> Iterator[list[Member]]:
        """Yield the members of each pass."""
        kinds: dict[object, list[Member]] = {}
        for member in self._members:
            kinds.setdefault(member.kind, []).append(member)
        for members in kinds.values():
            batch: list[Member] = []
            for member in members:
                if batch and sum(one.rows for one in batch) + member.rows > self._most_rows:
                    yield batch
                    batch = []
                batch.append(member)
            yield batch

    def _passed(self, members: list[Member]) -> list[Any]:
        """Return the answers to requests of one kind; an error is the answer to one that fails alone."""
        requests: list[Any] = [member.request for member in members]
        if len(requests) > 1 or self._evaluator.fixed_shapes:
            with suppress(Exception):
                return self._compared_last(members[-1], self._made(requests), sum(map(_rows, requests)))
            # Behind the block, not in an `except`: until then the error holds the memory of the pass that failed.
            # If memory ran out, the next joint pass is smaller, and none is filled up any more.
            self._evaluator.fixed_shapes = False
        if len(requests) > 1:
            self._most_rows = max(1, sum(map(_rows, requests)) // 2)
        answers: list[Any] = []
        for member, request in zip(members, requests, strict=True):
            try:
                answers += self._compared_last(member, self._made([request]), _rows(request))
            except Exception as error:  # raised in the member's thread
                answers.append(error.with_traceback(None) if out_of_memory(error) else error)
        return answers

    def _compared_last(self, member: Member, answers: list[Any], rows: int) -> list[Any]:
        """Return the answers of a pass; count its last rows, a member's, that a pass of their own answers otherwise."""
        request, model = member.request, self._evaluator.model
        by_gradient = isinstance(request, Slope)
        if rows <= 2 * self._compared[by_gradient] or not isinstance(request, Slope | Tensor):
            return answers
        # Batches round otherwise in bfloat16, of which all that counts is searched again in float32. Without a gradient
        # there is an error, of which the member knows more.
        if isinstance(request, Slope) and (request.low or answers[-1][1] is None):
            return answers
        self._compared[by_gradient] = rows
        few, own = min(_COMPARED, member.rows), member.evaluator
        if isinstance(request, Slope):
            part = slice(request.part.stop - few, request.part.stop)
            last = replace(request, z=request.z[-few:], part=part, check=model.unmasked)
            alone, gradient = self._evaluator.slopes([last])[0]
            among, other = (each[-few:] for each in answers[-1])
            full = torch.zeros_like(other) if gradient is None else gradient
            changed = turned(full.flatten(1).double(), other.flatten(1).double())
        else:
            alone, among = model.unmasked(self._evaluator.outputs(request[-few:])), model.unmasked(answers[-1][-few:])
            changed = torch.zeros(few, dtype=torch.bool, device=among.device)
        changed |= moved(own, alone, among, usual_lead(own, alone))
        own.count("batch_dependence", failed=changed.sum(), tried=None)
        return answers

    def _made(self, requests: list[Any]) -> list[Any]:
        if callable(requests[0]):
            return [request() for request in requests]
        if isinstance(requests[0], Slope):
            return list(self._evaluator.slopes(requests))
        if len(requests) == 1:
            return [self._evaluator.outputs(requests[0])]
        return list(torch.split(self._evaluator.outputs(torch.cat(requests)), [len(request) for request in requests]))


class _Ended(BaseException):
    """The measurement is not wanted any more. Not an `Exception`: code around the model must not catch it."""


class Member(threading.Thread):
    """The measurement of one chunk.

    Attributes:
        request: the pass that it waits for; `answer` is its result, or the error that it raised.
        over: it has ended, with a result or an error.
        seconds: its own time, and its share of the passes.
    """

    def __init__(self, evaluator: Evaluator, measure: Callable[[Evaluator], Any]) -> None:
        super().__init__(name="robustest-chunk", daemon=True)
        self.evaluator = evaluator.apart(self._ask)
        self.request: Request | None = None
        self.answer: Any = None
        self.over, self.seconds = False, 0.0
        self._measure, self._inherited = measure, copy_context()  # the clock of the claim
        self._requests: SimpleQueue[Request | None] = SimpleQueue()  # None at the end
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._result: Future[Any] = Future()

    @property
    def rows(self) -> int:
        """Rows of the pass that it waits for."""
        return _rows(self.request)

    @property
    def kind(self) -> object:
        """Passes of one kind can be joined."""
        # Proposals of other shapes may be inputs of the same shape, but those of one claim have one shape.
        if isinstance(self.request, Slope):
            return True, self.request.low, self.request.z.shape[1:]
        if isinstance(self.request, Tensor):
            return False, self.request.dtype, self.request.shape[1:]
        return self  # alone

    def resume(self, answer: Any) -> None:
        """Measure on with an answer, up to the next pass or the end."""
        started = time.perf_counter()
        self._answers.put(answer)
        self.request = self._requests.get()
        self.seconds += time.perf_counter() - started
        if self.request is None:
            self.over = True
            self.join()

    def end(self) -> None:
        """End the measurement where it is."""
        self._answers.put(_Ended())
        self.join()

    def result(self) -> Any:
        """Return the result once it is over, or raise its error."""
        return self._result.result()

    # In its own thread

    def run(self) -> None:
        try:
            self._answers.get()
            self._result.set_result(self._inherited.run(self._measure, self.evaluator))
        except BaseException as error:  # raised by `result`
            self._result.set_exception(error)
        finally:
            self._requests.put(None)

    def _ask(self, request: Request) -> Any:
        self._requests.put(request)
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _rows(request: Request | None) -> int:
    if isinstance(request, Slope):
        return len(request.z)
    return len(request) if isinstance(request, Tensor) else 0
