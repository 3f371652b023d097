"""Changes tried on the same samples, and how nearly each breaks a claim."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from itertools import chain

import hypothesis
import numpy as np
import torch
from hypothesis.errors import InvalidArgument
from numpy.typing import NDArray

from robustest import context, rng
from robustest.decisions.thresholds import count_at_least
from robustest.engine.answer_checks import EarlyAnswers, ask_again, check_model
from robustest.engine.chunks import Chunk, check_data, load, partition
from robustest.engine.evaluator import Evaluator, resolve
from robustest.models import Needs
from robustest.run.evidence import Tally
from robustest.run.plan import Setup
from robustest.shifts import Shift, ShiftedInputs, followed
from robustest.strategies import as_change
from robustest.tasks import Task

GOAL = "margin"
"""What hypothesis' statistics call the number that it is told of each example."""

_FARTHEST = 1e9


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of the samples under one change.

    Attributes:
        right: how many are right.
        moved: (n,) bool, True where the change left a sample other than it was, in the order of `Trials.ids`.
        cut: (n,) bool, as in `ShiftedInputs`.
        margin: of the sample on which the claim hangs; it breaks where this is negative. Without a claim, the mean.
    """

    right: int
    margin: float
    moved: NDArray[np.bool_]
    cut: NDArray[np.bool_]

    def harms_more_than(self, other: Trial) -> bool:
        """Whether fewer are right, or as many by less."""
        return (self.right, self.margin) < (other.right, other.margin)


class Trials:
    """Changes tried on the same samples.

    Attributes:
        n: samples.
        ids: (n,) int64, their positions in the data.
        least: how many must be right; None where nothing is claimed.
        seen: what became of each change, by what tells it from others.
        worst: the change under which the fewest are right.
        broken: how many changes break the claim.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        chunks: list[Chunk],
        at_least: float | None,
        statement: str,
        asked: EarlyAnswers | None = None,
    ) -> None:
        self.ids = torch.cat([chunk.ids for chunk in chunks]).numpy()
        self.n = len(self.ids)
        self.least = None if at_least is None else count_at_least(at_least, self.n)
        self.seen: dict[object, Trial] = {}
        self.worst: object = None
        self.broken = 0
        self._drawn: list[object] = []  # alive, so that no other object takes the place of one that is told by it
        self._evaluator = evaluator
        self._chunks = chunks
        self._statement = statement
        self._asked = asked
        self._started = time.perf_counter()

    @classmethod
    def of(cls, setup: Setup, at_least: float | None, statement: str) -> Trials:
        """Read the samples, and check the model on the first."""
        classifier, samples, settings = setup.model, setup.samples, setup.settings
        device = resolve(settings.device, classifier.device)
        evaluator = Evaluator(
            classifier,
            device,
            batch_size=settings.batch_size,
            suppress=settings.suppress,
            notes=[],
            task=setup.task,
        )
        order = rng.permutation(settings.seed, len(samples))[: settings.max_samples]
        check_data(samples, order)
        chunks = [
            load(samples, ids, bounds=classifier.bounds, seed=settings.seed, device=device) for ids in partition(order)
        ]
        asked = check_model(evaluator, chunks[0], settings.suppress)
        for chunk in chunks:
            evaluator.check_labels(chunk.y)
        return cls(evaluator, chunks, at_least, statement, asked)

    @property
    def task(self) -> Task:
        """Return the task, which says when an answer of the model is right."""
        return self._evaluator.task

    @property
    def lowest(self) -> float:
        """The accuracy under the change under which the fewest are right."""
        return self.share(self.worst)

    @property
    def moved(self) -> NDArray[np.bool_]:
        """(n,) samples that some change changed."""
        return np.asarray(np.any([trial.moved for trial in self.seen.values()], axis=0))

    @property
    def cut(self) -> NDArray[np.bool_]:
        """(n,) samples that were changed, and of which no change left anything inside the bounds."""
        whole = np.any([trial.moved & ~trial.cut for trial in self.seen.values()], axis=0)
        return np.asarray(self.moved & ~whole)

    @property
    def idle(self) -> tuple[str, ...]:
        """The names of shifts that changed no sample at any severity, or other parameter, that was tried."""
        moved: dict[str, bool] = {}
        for drawn in self._drawn:
            if isinstance(drawn, Shift):
                moved[drawn.name] = moved.get(drawn.name, False) or bool(self.seen[_key(drawn)].moved.any())
        return tuple(name for name, any_moved in moved.items() if not any_moved)

    def share(self, change: object) -> float:
        """The accuracy under a change that was tried."""
        return self.seen[_key(change)].right / self.n

    @property
    def tally(self) -> Tally:
        """What all of it took."""
        return Tally.of(self._evaluator).since(Tally(), time.perf_counter() - self._started)

    def end(self) -> None:
        """Ask once more what was asked before the first change."""
        ask_again(self._evaluator, self._asked)
        self._evaluator.settle()

    def breaks(self, change: object) -> bool:
        """Whether the claim does not hold under a change; inside a hypothesis test, hypothesis is told how nearly."""
        trial = self.seen.get(_key(change))
        if trial is None:
            trial = self.seen[_key(change)] = self.measured(as_change(change))
            self._drawn.append(change)
            self.broken += self._broken(trial)
            if self.worst is None or trial.harms_more_than(self.seen[_key(self.worst)]):
                self.worst = change
            self._show()
        tell(trial.margin)
        return self._broken(trial)

    def measured(self, change: Shift) -> Trial:
        """What becomes of the samples under a change."""
        right, found, task = 0, [], self._evaluator.task
        changed: list[ShiftedInputs] = []
        for chunk in self._chunks:
            after = change.shifted(chunk.x, chunk.key, chunk.bounds)
            y = followed(task, change, chunk.x, chunk.y, chunk.key, bounds=chunk.bounds)
            seen = self._evaluator.judged(after.x, y)
            right += int(seen.holds.sum())
            found.append(seen.margin.double())
            changed.append(after)
        self._evaluator.settle()
        margin = torch.cat(found)
        moved, cut = (torch.cat([getattr(one, name) for one in changed]).cpu().numpy() for name in ("moved", "cut"))
        trial = partial(Trial, right, moved=moved, cut=cut)
        if self._evaluator.model.gives is Needs.LABELS:  # its margins say no more than right and wrong
            return trial(margin=right / self.n if self.least is None else float(right - self.least))
        if self.least is None:
            return trial(margin=float(margin.mean()))
        return trial(margin=float(margin.kthvalue(min(self.n, self.n - self.least + 1)).values))

    def _broken(self, trial: Trial) -> bool:
        return self.least is not None and trial.right < self.least

    def _show(self) -> None:
        watch = context.current().progress
        if watch is not None and self._statement:
            watch(self._statement, len(self.seen), len(self.seen), self.broken)


def _key(change: object) -> Hashable:
    """What tells a change from others: its value where it can be hashed or its fields can, else the object itself."""
    values: Iterator[object] = iter((change,))
    if is_dataclass(change):
        values = chain(values, [(type(change), tuple(getattr(change, field.name) for field in fields(change)))])
    for value in values:
        try:
            hash(value)
        except TypeError:
            continue
        return value
    return id(change)


def tell(margin: float) -> None:
    """Let hypothesis steer towards smaller margins; inside one of its tests only."""
    try:
        hypothesis.target(-max(-_FARTHEST, min(_FARTHEST, margin)), label=GOAL)
    except InvalidArgument:  # a test may ask for several accuracies, and hypothesis takes one number of a name
        return
