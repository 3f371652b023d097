"""What a model answers to a claim's first samples: what is remembered of it counts only while it answers the same.

Reading a model (`robustest.identity.fingerprint`) cannot show all that its answers depend on: files, the clock, the
environment, code of packages that was changed. So the claim's own look is run on a few samples, and everything that
goes into the model and comes out of it is noted, until enough was heard. What shifts, cues and preprocessing make of
the samples goes in, and so is noted too; where the look takes gradients, the first one is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Protocol

import torch
from torch import Tensor

from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator, seed_draws
from robustest.identity.plain import simple
from robustest.models import Classifier, Needs
from robustest.models.classifier import logits_of
from robustest.run.chunk_measurement import Look
from robustest.settings import Settings
from robustest.tasks import CLASSIFICATION, Task

_PLAN = ((32, 8), (2, 96))
"""Samples, and calls of the model at most: many samples through the first calls; where that did not bring the look to
an end or to a gradient (a claim on many corruptions, say), few samples through more of it."""
_ENDPOINT = ((8, 1),)
"""The same for models whose every query may cost something: eight queries in all."""
_WATCHED = ((4, 1),)
"""The same while a claim is measured, after each chunk."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was noted, in order.

    Attributes:
        notes: digests of inputs, logits and gradients.
        gradient: the place of the first gradient among them, or their number where there is none.
    """

    notes: tuple[bytes, ...]
    gradient: int

    def digest(self, length: int | None = None) -> str:
        """Of the first `length` notes, 64 hex digits."""
        return sha256(b"".join(self.notes[:length])).hexdigest()

    def common(self, other: Heard) -> Heard | None:
        """What both begin with; None where they differ before the first gradient."""
        pairs = zip(self.notes, other.notes, strict=False)
        same = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(self.notes), len(other.notes)))
        if same < min(self.gradient, other.gradient):
            return None
        return Heard(self.notes[:same], min(self.gradient, same))


class Asks(Protocol):
    """Asks what is measured, again and again, about the first units of a claim."""

    def once(self) -> Heard | None:
        """What it answers now; None where it cannot be asked, whose cause the measurement will tell."""

    def settled(self, first: Heard) -> Heard | None:
        """What of that it answers a second time, too; None where that is nothing to go by."""

    def changed(self) -> bool:
        """Whether it answers otherwise than when it was settled."""


class Asking:
    """Asks one model, again and again, about the first samples of a claim.

    Only inside `robustest.models.frozen`, as the model is measured. The passes are not counted in a result's cost,
    and draws of a model that answers at random are seeded alike each time.

    Args:
        model: on its device.
        look: what is done with a chunk.
        chunk: the claim's first chunk.
        settings: batch size, and health checks that are switched off.
        said: whether the model says itself what it is.
        task: what the model's answers are.

    Attributes:
        answered: the first input and its logits, where each query may cost something; else None.
    """

    def __init__(
        self,
        model: Classifier,
        look: Look,
        chunk: Chunk,
        settings: Settings,
        *,
        said: bool,
        task: Task = CLASSIFICATION,
    ) -> None:
        self._model = model
        self._task = task
        self._look = look
        self._chunk = chunk
        self._settings = settings
        remote = said and model.gives is not Needs.GRADIENT
        self._costly = remote or model.max_queries is not None
        self._before: Heard | None = None
        self.answered: tuple[Tensor, Tensor] | None = None

    def once(self) -> Heard | None:
        """What the model answers now; None where it cannot be asked, whose cause the measurement will tell."""
        return self._heard(_ENDPOINT if self._costly else _PLAN)

    def settled(self, first: Heard) -> Heard | None:
        """What of that the model answers a second time, too; None where its very logits are others.

        Gradients need not repeat to the last bit on every device: then they do not count. An endpoint is taken at its
        first answers. From here on `changed` can tell whether it answers as now.
        """
        if self._costly:
            return first
        # In this order: a change before what `changed` compares with shows in what follows it.
        self._before = self._heard(_WATCHED)
        second = self._heard(_PLAN)
        return None if second is None else first.common(second)

    def changed(self) -> bool:
        """Whether the model answers a few samples otherwise than when it was settled; an endpoint is not asked."""
        return self._before is not None and self._heard(_WATCHED) != self._before

    def _heard(self, plan: tuple[tuple[int, int], ...]) -> Heard | None:
        listener = _Listener(self._model.call)
        try:
            for rows, calls in plan:
                if self._listen(listener, rows, calls):
                    break
        except Exception:  # what is wrong is told where it is measured
            return None
        notes = tuple(listener.notes)
        if not notes:
            return None
        self.answered = listener.first if self._costly else None
        return Heard(notes, len(notes) if listener.gradient is None else listener.gradient)

    def _listen(self, listener: _Listener, rows: int, calls: int) -> bool:
        """Run the look on the first rows; whether it came to its end, or to a gradient."""
        x = self._chunk.x
        part = self._chunk.rows(torch.arange(min(rows, len(x)), device=x.device))
        listener.left = calls
        evaluator = Evaluator(
            replace(self._model, call=listener),
            x.device,
            batch_size=min(rows, self._settings.batch_size or rows),  # bits depend on how a batch is made up
            suppress=self._settings.suppress,
            notes=[],
            task=self._task,
        )
        seed_draws(part.key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are given where it is measured
            try:
                self._look(evaluator, part)
            except _EnoughError:
                return listener.gradient is not None
        return True


class _EnoughError(BaseException):
    """Ends a look; no error of the model's, and so nothing that code around it may catch."""


class _Listener:
    """Stands before a model, and notes what goes in and what comes out."""

    def __init__(self, call: Callable[[Tensor], Any]) -> None:
        self.notes: list[bytes] = []
        self.gradient: int | None = None
        self.left = 0
        self.first: tuple[Tensor, Tensor] | None = None
        self._call = call

    def __call__(self, x: Tensor) -> Tensor:
        self._note(x)
        if self.left == 0 or self.gradient is not None:
            raise _EnoughError
        self.left -= 1
        logits = logits_of(self._call(x))
        self._note(logits)
        self.first = self.first or (x.detach(), logits.detach())
        if x.requires_grad:
            x.register_hook(self._climbed)  # type: ignore[no-untyped-call]
        return logits

    def _climbed(self, gradient: Tensor) -> None:
        if self.gradient is None:
            self.gradient = len(self.notes)
            self._note(gradient)

    def _note(self, value: Tensor) -> None:
        self.notes.append(simple(value.detach().as_subclass(Tensor)) or b"")


class Answered:
    """Stands before a model whose queries are counted, and repeats an answer once, so that no sample is sent in vain.

    Args:
        call: the model's.
        answered: an input and its logits.
    """

    def __init__(self, call: Callable[[Tensor], Any], answered: tuple[Tensor, Tensor]) -> None:
        self._call = call
        self._answered: tuple[Tensor, Tensor] | None = answered

    def __call__(self, x: Tensor) -> Any:
        """What the model gives for x (B, *S)."""
        if self._answered is not None and torch.equal(x.detach().cpu(), self._answered[0].cpu()):
            logits, self._answered = self._answered[1].to(x.device), None
            return logits
        return self._call(x)
