"""What chunks showed: the pieces that measurements hand over, and the whole they add up to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.decisions import Decision
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.health import Health, HealthFinding
from robustest.results import Cost
from robustest.settings import Settings
from robustest.store.corpus import Kept
from robustest.tasks import CLASSIFICATION, Task

Columns = dict[str, NDArray[Any]]
REPLAYED = "replayed"
_LOWERED = 1e-4
"""Scores that fall by less are rounding."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One sample that may be shown: what it was, what it became.

    Attributes:
        index: position in the user's data.
        label, clean, predicted: classes: given, of the unchanged, of the changed sample.
        size: how far it was moved, or None.
        before, after: (*S) arrays, unchanged and changed.
        badness: larger is worse; the worst are shown.
        pixels: elements changed, of images pixels; None where they were not counted.
        told: what the answers were, in words, where they are no classes (which are -1 then).
        answers: (4, *T) the target, the answer to the unchanged sample, the target of the changed one and its answer,
            where they are no classes.
    """

    index: int
    label: int
    clean: int
    predicted: int
    size: float | None
    before: Tensor
    after: Tensor
    badness: float
    pixels: int | None = None
    told: str = ""
    answers: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What one chunk showed.

    Attributes:
        columns: per-sample arrays, rows as in the chunk; "held" (bool) is always there.
        exhibits: samples that speak against the claim.
        counts: numbers that add up over chunks, by name; `REPLAYED` counts what known counterexamples decided.
        kept: counterexamples to replay on later models; None where none are kept.
    """

    columns: Columns
    exhibits: list[Exhibit]
    counts: Mapping[str, int] = field(default_factory=dict)
    kept: Kept | None = None


Look = Callable[[Evaluator, Chunk], Observation]
"""Measures a chunk. A look without gradients may set `whole_inputs = True`: samples may then be integers (tokens)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What looking at a chunk took, and what it told about the model.

    Attributes:
        forward, backward: samples passed.
        seconds: wall-clock time.
        classes: number of classes; 0 where none was seen.
        health: counts for the health checks.
        notes: what a reader must know.
    """

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0
    classes: int = 0
    health: Health = field(default_factory=Health)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, evaluator: Evaluator) -> Tally:
        """Everything an evaluator has counted so far."""
        return cls(
            forward=evaluator.forward,
            backward=evaluator.backward,
            classes=evaluator.classes,
            health=Health().plus(evaluator.health),
            notes=tuple(evaluator.notes),
        )

    def since(self, earlier: Tally, seconds: float) -> Tally:
        """What was counted after an earlier moment."""
        return Tally(
            forward=self.forward - earlier.forward,
            backward=self.backward - earlier.backward,
            seconds=seconds,
            classes=self.classes,
            health=self.health.plus(earlier.health, -1),
            notes=tuple(note for note in self.notes if note not in earlier.notes),
        )

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            forward=self.forward + other.forward,
            backward=self.backward + other.backward,
            seconds=self.seconds + other.seconds,
            classes=max(self.classes, other.classes),
            health=self.health.plus(other.health),
            notes=tuple(dict.fromkeys((*self.notes, *other.notes))),
        )

    @property
    def cost(self) -> Cost:
        """As results carry it."""
        return Cost(forward=self.forward, backward=self.backward, seconds=self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The outcomes of the model that a claim is compared with.

    Attributes:
        model: its digest; empty where it has none.
        outcomes: (n, ...) what is compared, in the data's order; None where it was not asked about every sample.
        counts: as in `Observation`, over all chunks.
    """

    model: str
    outcomes: NDArray[Any] | None
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything a result is made of.

    Attributes:
        decision: the verdict on the claim.
        columns: per-sample arrays of the samples looked at, in the order of the data.
        ids: (n,) their positions in the data, rising.
        total: samples in the data.
        exhibits: the worst samples, worst first.
        tally: what it took, wherever and whenever it was measured.
        counts: as in `Observation`, over all chunks.
        bounds: the input's bounds.
        findings: the health checks that spoke.
        cached: when it was measured, where nothing had to be measured now; else empty.
        data: digest of all samples and labels, in the order of the data; empty where some were not looked at.
        model: digest of the model; empty where it has none.
        beside: of the model that the claim is compared with; None where that is a file, or nothing.
    """

    decision: Decision
    columns: Columns
    ids: NDArray[np.int64]
    total: int
    exhibits: list[Exhibit] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    counts: Mapping[str, int] = field(default_factory=dict)
    bounds: tuple[float, float] = (0.0, 1.0)
    findings: tuple[HealthFinding, ...] = ()
    cached: str = ""
    data: str = ""
    model: str = ""
    beside: Beside | None = None

    @property
    def n(self) -> int:
        """Number of samples looked at."""
        return len(self.ids)

    @property
    def whole(self) -> bool:
        """Whether every sample was looked at; a share of some of them is not the share of all."""
        return self.n == self.total

    def share(self, column: NDArray[np.bool_]) -> float | None:
        """The share of samples marked, of all in the data; None where some were not looked at."""
        return float(column.mean()) if self.whole else None

    def including(self, *others: Evidence) -> Evidence:
        """The same, with what it took to gather others as well, and with all that health checks said of them.

        Args:
            others: what this rests on too; of this model or of another. Their samples and columns are left out.
        """
        parts = (self, *others)
        tally, dates = self.tally, [part.cached for part in parts]
        for other in others:
            tally = tally.plus(other.tally)
        # One of a name is told, and of those one that stops the claim: it may be carried in one part alone.
        spoke = sorted((one for part in parts for one in part.findings), key=lambda one: not one.stops)
        by_name: dict[str, HealthFinding] = {}
        for one in spoke:
            by_name.setdefault(one.name, one)
        return replace(self, tally=tally, findings=tuple(by_name.values()), cached=min(dates) if all(dates) else "")

    @property
    def outcomes(self) -> tuple[bool | None, ...]:
        """True held, False broken, None not looked at; in the data's order."""
        return self.outcomes_of("held")

    def outcomes_of(self, column: str) -> tuple[bool | None, ...]:
        """As `outcomes`, of another column of outcomes."""
        out: list[bool | None] = [None] * self.total
        for at, held in zip(self.ids.tolist(), self.columns[column], strict=True):
            out[at] = bool(held)
        return tuple(out)


@dataclass(slots=True)
class Stream:
    """What was seen so far, in the order it was drawn.

    Attributes:
        total: samples in the data.
        columns: per-sample arrays; "id" has the positions in the data.
        exhibits: the worst samples, worst first.
        counts: as in `Observation`, over all chunks.
        tally: over all chunks.
        marks: digests of the samples.
    """

    total: int
    columns: Columns = field(default_factory=dict)
    exhibits: list[Exhibit] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    marks: list[bytes] = field(default_factory=list)

    def add(self, ids: Tensor, observed: Observation, tally: Tally, *, examples: int, marks: list[bytes]) -> None:
        """Take a chunk in; only the worst `examples` are kept."""
        for name, part in {**observed.columns, "id": ids.numpy()}.items():
            self.columns[name] = np.concatenate([self.columns[name], part]) if name in self.columns else part
        self.exhibits = sorted([*self.exhibits, *observed.exhibits], key=lambda e: -e.badness)[:examples]
        for name, count in observed.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        self.tally = self.tally.plus(tally)
        self.marks += marks

    def ordered(self) -> Columns:
        """Return the columns in the order of the data."""
        back = np.argsort(self.columns["id"])
        return {name: column[back] for name, column in self.columns.items()}

    def worsen(self, ids: Tensor, observed: Observation, tally: Tally, *, examples: int) -> NDArray[np.bool_]:
        """Enter what became of samples that were looked at before by other means, where it is worse.

        Args:
            ids: (m,) int64, their positions in the data.
            observed: "held", or "score" where that is what counts, and the columns that go with it.
            tally: what that took.
            examples: how many exhibits are kept.

        Returns:
            (m,) bool: the samples that came out worse.
        """
        order = np.argsort(self.columns["id"])
        rows = order[np.searchsorted(self.columns["id"], ids.numpy(), sorter=order)]
        if "score" in observed.columns:
            worse = observed.columns["score"] < self.columns["score"][rows] - _LOWERED
        else:
            worse = self.columns["held"][rows] & ~observed.columns["held"]
        for name, column in observed.columns.items():
            self.columns[name] = self.columns[name].copy()
            self.columns[name][rows[worse]] = column[worse]
        found = set(ids[torch.from_numpy(worse)].tolist())
        shown = [exhibit for exhibit in observed.exhibits if exhibit.index in found]
        kept = [exhibit for exhibit in self.exhibits if exhibit.index not in found]
        self.exhibits = sorted([*kept, *shown], key=lambda one: -one.badness)[:examples]
        self.tally = self.tally.plus(tally)
        return np.asarray(worse)

    def evidence(
        self,
        decision: Decision,
        *,
        bounds: tuple[float, float],
        settings: Settings,
        cached: str,
        model: str,
        notes: tuple[str, ...],
    ) -> Evidence:
        """What it all adds up to, in the order of the data."""
        ids = self.columns["id"]
        back = np.argsort(ids)
        whole = len(self.marks) == self.total
        return Evidence(
            decision=decision,
            columns={name: column[back] for name, column in self.columns.items()},
            ids=ids[back],
            total=self.total,
            exhibits=self.exhibits,
            tally=self.tally.plus(Tally(notes=notes)),
            counts=self.counts,
            bounds=bounds,
            findings=self.tally.health.findings(settings.suppress),
            cached=cached,
            data=sha256(b"".join(self.marks[place] for place in back)).hexdigest() if whole else "",
            model=model,
        )


def exhibits_of(
    chunk: Chunk,
    which: Tensor,
    *,
    clean: Tensor,
    predicted: Tensor,
    before: Tensor,
    after: Tensor,
    badness: Tensor,
    size: Tensor | float | None,
    most: int,
    task: Task = CLASSIFICATION,
    moved: Tensor | None = None,
) -> list[Exhibit]:
    """The worst of a chunk's rows that `which` (n,) marks, `most` at most; other tensors are rows of the chunk too.

    What they say is the task's. `moved` are targets that followed the change.
    """
    rows = which.nonzero().squeeze(1)
    rows = rows[badness[rows].argsort(descending=True, stable=True)][:most]
    return [
        Exhibit(
            index=int(chunk.ids[row]),
            **said(task, chunk.y[row], clean[row], predicted[row], None if moved is None else moved[row]),
            size=float(size[row]) if isinstance(size, Tensor) else size,
            before=before[row].cpu(),
            after=after[row].cpu(),
            badness=float(badness[row]),
        )
        for row in rows.tolist()
    ]


def unchanged_exhibits(
    chunk: Chunk, which: Tensor, predicted: Tensor, margin: Tensor, *, most: int, task: Task = CLASSIFICATION
) -> list[Exhibit]:
    """As `exhibits_of`, of samples that nothing was done to: the one that misses by most comes first."""
    same = {"clean": predicted, "predicted": predicted, "before": chunk.x, "after": chunk.x}
    return exhibits_of(chunk, which, **same, badness=-margin, size=None, most=most, task=task)


def said(task: Task, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> dict[str, Any]:
    """What an exhibit says of its sample: classes, or words and the answers (*T) themselves, to be drawn."""
    told = task.describe(y, clean, predicted, moved)
    if task.one_class:
        return told
    after = y if moved is None else moved
    answers = torch.stack([one.to(y) for one in (y, clean, after, predicted)]).cpu()
    return {"label": -1, "clean": -1, "predicted": -1, **told, "answers": answers}
