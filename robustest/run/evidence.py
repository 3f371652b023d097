"""Outcomes of chunks, and their sum."""

# A look measures a chunk and returns an `Observation`. `Stream` adds the chunks in the seeded order; its `Evidence`, in
# the order of the data, is all that rules and results read.

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions import Decision
from robustest.decisions.clusters import CLUSTER
from robustest.health import Health, HealthFinding
from robustest.results import Changes, Cost

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from robustest.data.samples import Samples
    from robustest.engine.chunks import Chunk
    from robustest.engine.evaluator import Evaluator
    from robustest.settings import Settings
    from robustest.store.corpus import Kept
    from robustest.tasks import Task
else:
    from robustest.loaded import torch

Columns = dict[str, NDArray[Any]]
REPLAYED = "replayed"
CLASS = "class"  # column of the samples' labels, for tasks of classes
TARGET = "target"  # column of numbers of the samples' targets, for other tasks
CONSTANT = "constant"  # column of the outcome, or score, of the best answer that ignores its input
# Scores that fall by less have not become worse.
_ROUNDING = 1e-4


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A sample that may be shown as a counterexample.

    Attributes:
        index: position in the user's data.
        label, clean, predicted: class in the data, and predictions on the unchanged and the changed sample.
        before, after: (*S) unchanged and changed.
        badness: the samples with the largest are shown.
        pixels: number of changed pixels of an image, or None.
        answer: predictions in words, for tasks without classes (which are -1 then).
        targets: (2, *T) of the unchanged and the changed sample, for tasks whose answers are no class.
        answers: (2, *P) predictions of both, for such tasks.
        changes: the change in the user's own format, for data that are no tensors.
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
    answer: str = ""
    targets: Tensor | None = None
    answers: Tensor | None = None
    changes: Changes | None = None

    @property
    def drawn(self) -> Tensor | None:
        """(4, *T) target and answer, before and after, where answers have the form of targets; else None."""
        if self.targets is None or self.answers is None or self.targets.shape != self.answers.shape:
            return None
        pairs = zip(self.targets, self.answers.to(self.targets), strict=True)
        return torch.stack([one for pair in pairs for one in pair])


@dataclass(frozen=True, slots=True)
class Observation:
    """The outcomes of one chunk.

    Attributes:
        columns: arrays (n, ...) by name, a row per sample, made from arrays or tensors; "held" (bool) is required.
        exhibits: samples that speak against the claim.
        counts: numbers that add up over chunks.
        kept: counterexamples to replay on later models, or None.
    """

    columns: dict[str, Any]
    exhibits: list[Exhibit]
    counts: Mapping[str, int] = field(default_factory=dict)
    kept: Kept | None = None

    def __post_init__(self) -> None:
        arrays = {
            name: c.detach().cpu().numpy() if isinstance(c, torch.Tensor) else c for name, c in self.columns.items()
        }
        object.__setattr__(self, "columns", arrays)


Look = Callable[["Evaluator", "Chunk"], Observation]
"""Measures a chunk. A look without gradients may set `whole_inputs = True`, for integer samples (tokens)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Cost, counts and notes of a measurement: samples passed forward and backward, wall-clock seconds.

    Attributes:
        calls: passes of any number of samples, as `Evaluator.calls` counts them.
    """

    forward: int = 0
    backward: int = 0
    calls: int = 0
    seconds: float = 0.0
    classes: int = 0
    health: Health = field(default_factory=Health)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, evaluator: Evaluator) -> Tally:
        return cls(
            forward=evaluator.forward,
            backward=evaluator.backward,
            calls=evaluator.calls,
            classes=evaluator.classes,
            health=Health().plus(evaluator.health),
            notes=tuple(evaluator.notes),
        )

    def since(self, earlier: Tally, seconds: float) -> Tally:
        return Tally(
            forward=self.forward - earlier.forward,
            backward=self.backward - earlier.backward,
            calls=self.calls - earlier.calls,
            seconds=seconds,
            classes=self.classes,
            health=self.health.plus(earlier.health, -1),
            notes=tuple(note for note in self.notes if note not in earlier.notes),
        )

    def plus(self, other: Tally) -> Tally:
        return Tally(
            forward=self.forward + other.forward,
            backward=self.backward + other.backward,
            calls=self.calls + other.calls,
            seconds=self.seconds + other.seconds,
            classes=max(self.classes, other.classes),
            health=self.health.plus(other.health),
            notes=tuple(dict.fromkeys((*self.notes, *other.notes))),
        )

    @property
    def cost(self) -> Cost:
        return Cost(forward=self.forward, backward=self.backward, seconds=self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherModel:
    """The outcomes of the model in `no_worse_than=`: (n, ...) in the data's order, None if some were not measured.

    Attributes:
        same: why it is no other model than the one that is measured; "" if it is one.
    """

    model: str
    outcomes: NDArray[Any] | None
    counts: Mapping[str, int]
    same: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All data of a result.

    Attributes:
        columns: arrays by name, a row per measured sample, in the order of the data.
        ids: (n,) positions of these samples in the data, rising.
        total: number of samples in the data.
        exhibits: the worst samples, worst first.
        tally: the whole cost, also of chunks that were measured earlier or elsewhere.
        bounds: of the input.
        sample_rate: of waveforms, in Hz; else None.
        cached: date of the measurement if nothing had to be measured now; else "".
        data: digest of all samples and labels in the data's order; "" if some were not measured.
        model: digest of the model, or "".
        beside: the model in `no_worse_than=`, or None.
        copies: (n,) bool, True for images and sounds that are equal to the bit to another that counts; None for none.
        inputs: digests of the evaluated inputs, one each; empty if they were not read here.
        may_repeat: equal inputs may be several draws, as rows of a table are; equal images are copies.
        likely_clusters: signs, in words, of clusters that a claim about the population does not count; "" for none.
        remarks: sentences about the exhibits, for the end of the notes.
        smaller: makes the exhibits smaller, and returns the evidence with them; the verdict does not wait for it. None
            if nothing is left to do.
    """

    decision: Decision
    columns: Columns
    ids: NDArray[np.int64]
    total: int
    exhibits: list[Exhibit] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    counts: Mapping[str, int] = field(default_factory=dict)
    bounds: tuple[float, float] = (0.0, 1.0)
    sample_rate: int | None = None
    findings: tuple[HealthFinding, ...] = ()
    cached: str = ""
    data: str = ""
    model: str = ""
    beside: OtherModel | None = None
    copies: NDArray[np.bool_] | None = None
    inputs: tuple[bytes, ...] = ()
    may_repeat: bool = True
    likely_clusters: str = ""
    remarks: tuple[str, ...] = ()
    smaller: Callable[[], Evidence] | None = None

    @property
    def n(self) -> int:
        return len(self.ids)

    @property
    def whole(self) -> bool:
        """True if every sample was measured; a share of some samples is not the share of all."""
        return self.n == self.total

    def labels(self, samples: Samples) -> NDArray[Any] | None:
        """Return the label of every sample (N,): as the data have them, or as they were read; None if some were not."""
        known = samples.labels
        return known if known is not None or not self.whole else self.columns.get(CLASS)

    def share(self, column: NDArray[np.bool_]) -> float | None:
        """Return the share of True in a column; None if some samples were not measured."""
        return float(column.mean()) if self.whole else None

    @property
    def once(self) -> Evidence:
        """The evidence as if there were no copies; positions are those among all samples."""
        if self.copies is None:
            return self
        kept, columns = ~self.copies, {name: column[~self.copies] for name, column in self.columns.items()}
        total = self.total - int(self.copies.sum())
        return replace(self, columns=columns, ids=self.ids[kept], total=total, copies=None)

    def with_search(self, tally: Tally, settings: Settings) -> Evidence:
        """Return this evidence with the cost and the health findings of a search, or of another model."""
        both = self.tally.plus(tally)
        both = replace(both, notes=self.tally.notes, classes=self.tally.classes)
        return replace(self, tally=both, findings=both.health.findings(settings.suppress))

    def including(self, *others: Evidence) -> Evidence:
        """Return this evidence with the cost and the health findings of others, without their samples."""
        parts = (self, *others)
        tally, dates = self.tally, [part.cached for part in parts]
        for other in others:
            tally = tally.plus(other.tally)
        # A finding of one name is listed once, and then one that stops the claim: only one part may have that one.
        findings = sorted((one for part in parts for one in part.findings), key=lambda one: not one.stops)
        by_name: dict[str, HealthFinding] = {}
        for one in findings:
            by_name.setdefault(one.name, one)
        return replace(self, tally=tally, findings=tuple(by_name.values()), cached=min(dates) if all(dates) else "")

    @property
    def outcomes(self) -> tuple[bool | None, ...]:
        """Return one outcome per sample in the data's order: True held, False broken, None not measured."""
        return self.outcomes_of("held")

    def outcomes_of(self, column: str) -> tuple[bool | None, ...]:
        out: list[bool | None] = [None] * self.total
        for at, held in zip(self.ids.tolist(), self.columns[column], strict=True):
            out[at] = bool(held)
        return tuple(out)


@dataclass(slots=True)
class Stream:
    """The sum of the chunks so far, in the seeded order; the column "id" has the positions in the data.

    Attributes:
        clusters: (total,) of all units, as `robustest.decisions.clusters.CLUSTER` has them; None for independent units.
    """

    total: int
    clusters: NDArray[np.int64] | None = None
    chunks: int = 0
    columns: Columns = field(default_factory=dict)
    exhibits: list[Exhibit] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    marks: list[bytes] = field(default_factory=list)

    @property
    def n(self) -> int:
        return len(self.columns["id"]) if self.columns else 0

    def add(self, ids: Tensor, observation: Observation, tally: Tally, *, examples: int, marks: list[bytes]) -> None:
        own = {"id": ids.numpy()} | ({} if self.clusters is None else {CLUSTER: self.clusters[ids.numpy()]})
        for name, part in {**observation.columns, **own}.items():
            self.columns[name] = np.concatenate([self.columns[name], part]) if name in self.columns else part
        self.exhibits = sorted([*self.exhibits, *observation.exhibits], key=lambda e: -e.badness)[:examples]
        for name, count in observation.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        self.tally = self.tally.plus(tally)
        self.marks += marks
        self.chunks += 1

    def ordered(self) -> Columns:
        back = np.argsort(self.columns["id"])
        return {name: column[back] for name, column in self.columns.items()}

    def worsen(self, ids: Tensor, observation: Observation, tally: Tally, *, examples: int) -> NDArray[np.bool_]:
        """Replace outcomes of samples that were measured again and are worse now; return (m,) bool, True for these.

        Args:
            ids: (m,) int64, their positions in the data.
            observation: with "held", or "score" for claims on scores, and the columns that belong to it.
            tally: the cost.
            examples: most exhibits.
        """
        # Rows of these samples in the stream, whose positions are in the seeded order.
        order = np.argsort(self.columns["id"])
        rows = order[np.searchsorted(self.columns["id"], ids.numpy(), sorter=order)]
        if "score" in observation.columns:
            worse = observation.columns["score"] < self.columns["score"][rows] - _ROUNDING
        else:
            worse = self.columns["held"][rows] & ~observation.columns["held"]
        for name, column in observation.columns.items():
            # A copy: an audit of a claim with a baseline works on a stream that shares its columns with another.
            self.columns[name] = self.columns[name].copy()
            self.columns[name][rows[worse]] = column[worse]
        found = set(ids[torch.from_numpy(worse)].tolist())
        shown = [exhibit for exhibit in observation.exhibits if exhibit.index in found]
        kept = [exhibit for exhibit in self.exhibits if exhibit.index not in found]
        self.exhibits = sorted([*kept, *shown], key=lambda one: -one.badness)[:examples]
        self.tally = self.tally.plus(tally)
        return np.asarray(worse)


def exhibits_of(
    evaluator: Evaluator,
    chunk: Chunk,
    which: Tensor,
    *,
    predicted: Tensor,
    badness: Tensor,
    clean: Tensor | None = None,
    after: Tensor | None = None,
    before: Tensor | None = None,
    size: Tensor | float | None = None,
    task: Task | None = None,
    moved: Tensor | None = None,
) -> list[Exhibit]:
    """Return the worst rows of those that `which` (n,) marks, as many as `evaluator.examples`.

    Args:
        predicted: (n, *T) answers to the inputs as they are judged.
        badness: (n,) the larger, the worse.
        clean: answers to the unchanged inputs; None for `predicted`.
        after, before: changed and unchanged inputs; None for those of the chunk.
        task: describes the answers; None for that of the evaluator.
        moved: targets that followed the change.
    """
    clean, task = predicted if clean is None else clean, task or evaluator.task
    before, after = (chunk.x if one is None else one for one in (before, after))
    rows = which.nonzero().squeeze(1)
    # A stable order, so that equally bad samples are shown in the same order on every device.
    rows = rows[badness[rows].argsort(descending=True, stable=True)][: evaluator.examples]
    return [
        Exhibit(
            index=int(chunk.ids[row]),
            **answers_of(task, chunk.y[row], clean[row], predicted[row], None if moved is None else moved[row]),
            size=float(size[row]) if isinstance(size, torch.Tensor) else size,
            before=before[row].cpu(),
            after=after[row].cpu(),
            badness=float(badness[row]),
            changes=None if chunk.coding is None else chunk.coding.changes(before[row], after[row]),
        )
        for row in rows.tolist()
    ]


def answers_of(task: Task, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> dict[str, Any]:
    """Return an exhibit's predictions: classes, or words, targets and answers."""
    described = task.describe(y, clean, predicted, moved)
    if task.one_class:
        return described
    targets, answers = torch.stack([y, y if moved is None else moved]), torch.stack([clean, predicted])
    return {
        "label": -1,
        "clean": -1,
        "predicted": -1,
        **described,
        "targets": targets.cpu(),
        "answers": answers.cpu(),
    }
