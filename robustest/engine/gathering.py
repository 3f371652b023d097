"""Model passes of several chunks at once, so that an accelerator's batches stay full."""

# The outcome of a chunk depends on the chunk alone: a cascade goes on, or not, by what it broke there. So chunks keep
# their size on every device, and what an accelerator shares between them are the passes:
#
# 1. Each chunk is measured in a thread, with counters of its own (`Evaluator.apart`). A thread that needs a pass hands
#    in its rows, and waits. One thread runs at a time, in a fixed order, so nothing is shared at once.
# 2. `step` joins the rows that wait, of one kind (outputs, gradients in float32, gradients in bfloat16), up to
#    `batch_size` of them, and passes them in the thread of the caller, which alone calls the model.
# 3. While the rows that wait fill at most half a batch, another chunk is begun (`room`): the last rows of a chunk never
#    run alone while there are chunks left.
# 4. A pass that fails is made again for each chunk alone: the error, or a batch that is cut in half, is that chunk's.

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import Any

import torch
from torch import Tensor

from robustest.engine.evaluator import Evaluator, Slope

# Most chunks at once: what a verdict does not need is measured in vain.
_MOST = 16


class Gathering:
    """Measurements of chunks that share their model passes; end it with `close`.

    Args:
        evaluator: makes the passes; the model has answered before.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._members: list[Member] = []
        self._most_rows = evaluator.batch_size
        self.back = threading.Semaphore(0)  # released by a member that waits, or is over

    @property
    def room(self) -> bool:
        """True if another chunk would find room in the next pass."""
        waiting = sum(member.rows for member in self._members)
        return len(self._members) < _MOST and 2 * waiting <= min(self._most_rows, self._evaluator.batch_size)

    def begin(self, measure: Callable[[Evaluator], Any]) -> Member:
        """Measure another chunk up to its first pass; `measure` gets its evaluator."""
        member = Member(self, self._evaluator, measure)
        self._members.append(member)
        member.start()
        self._wait_for(member)
        return member

    def step(self) -> None:
        """Make the passes that are waited for, and measure on up to the next ones."""
        for members in self._batches():
            self._pass(members)
        for member in list(self._members):
            member.turn.release()
            self._wait_for(member)

    def close(self) -> None:
        """End all measurements where they are."""
        for member in self._members:
            member.ended = True
            member.turn.release()
        for member in self._members:
            member.join()
        self._members.clear()

    def _wait_for(self, member: Member) -> None:
        started = time.perf_counter()
        self.back.acquire()
        member.seconds += time.perf_counter() - started
        if member.over:
            member.join()
            self._members.remove(member)
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

    def _pass(self, members: list[Member]) -> None:
        started = time.perf_counter()
        try:
            made = self._made(members)
        except Exception as error:
            if len(members) == 1:
                made = [error]
            else:
                made = []
                for member in members:
                    try:
                        made += self._made([member])
                    except Exception as own:  # raised in the member's thread
                        made.append(own)
                # If memory ran out, the next joint pass is smaller.
                self._most_rows = max(1, sum(member.rows for member in members) // 2)
        seconds, rows = time.perf_counter() - started, sum(member.rows for member in members)
        for member, answer in zip(members, made, strict=True):
            member.answer = answer
            member.seconds += seconds * member.rows / max(1, rows)

    def _made(self, members: list[Member]) -> list[Any]:
        requests = [member.request for member in members]
        if callable(requests[0]):
            return [request() for request in requests]
        if all(isinstance(request, Slope) for request in requests):
            return list(self._evaluator.slopes(requests))
        if len(requests) == 1:
            return [self._evaluator.outputs(requests[0])]
        return list(torch.split(self._evaluator.outputs(torch.cat(requests)), [len(request) for request in requests]))


class _Ended(BaseException):
    """The measurement is not wanted any more. Not an `Exception`: code around the model must not catch it."""


class Member(threading.Thread):
    """The measurement of one chunk.

    Attributes:
        over: it has ended, with a result or an error.
        seconds: its own time, and its share of the passes.
        request: the pass that it waits for; `answer` is its result, or the error that it raised.
    """

    def __init__(self, gathering: Gathering, evaluator: Evaluator, measure: Callable[[Evaluator], Any]) -> None:
        super().__init__(name="robustest-chunk", daemon=True)
        self.evaluator = evaluator.apart(self)
        self.over = self.ended = False
        self.seconds = 0.0
        self.request: Any = None
        self.answer: Any = None
        self.turn = threading.Semaphore(0)
        self._gathering, self._measure = gathering, measure
        self._inherited = copy_context()  # the clock of the claim
        self._result: Any = None
        self._error: BaseException | None = None

    @property
    def rows(self) -> int:
        """Rows of the pass that it waits for."""
        request = self.request
        if self.over or callable(request):
            return 0
        return len(request.z if isinstance(request, Slope) else request)

    @property
    def kind(self) -> object:
        """Passes of one kind can be joined."""
        request = self.request
        # Proposals of other shapes may be inputs of the same shape, but those of one claim have one shape.
        if isinstance(request, Slope):
            return True, request.low, request.z.shape[1:]
        if callable(request):
            return self  # alone
        return False, request.dtype, request.shape[1:]

    def result(self) -> Any:
        """Return the result once it is over, or raise its error."""
        if self._error is not None:
            raise self._error
        return self._result

    def run(self) -> None:
        try:
            with suppress(_Ended):
                self._result = self._inherited.run(self._measure, self.evaluator)
        except BaseException as error:  # raised by `result`
            self._error = error
        finally:
            self.over = True
            self._gathering.back.release()

    # As the `Joint` of its evaluator

    def outputs(self, x: Tensor) -> Tensor:
        made: Tensor = self._passed(x)
        return made

    def slope(self, request: Slope) -> tuple[Tensor, Tensor | None]:
        made: tuple[Tensor, Tensor | None] = self._passed(request)
        return made

    def call(self, function: Callable[[], Any]) -> Any:
        return self._passed(function)

    def _passed(self, request: Any) -> Any:
        self.request = request
        self._gathering.back.release()
        self.turn.acquire()
        if self.ended:
            raise _Ended
        self.request, answer = None, self.answer
        self.answer = None
        if isinstance(answer, Exception):
            raise answer
        return answer
