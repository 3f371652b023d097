"""The log of a repair, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from robustest import Result
from robustest.packs import interval_in_words, number


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochLog:
    """One pass over the data.

    Attributes:
        loss: mean training loss, in nats.
        accuracy: share of training inputs (adversarial examples, say) that were right before each step.
        seconds: wall-clock time, over all runs that had a part in it.
    """

    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PartChange:
    """The change that a repair made in one class or group.

    Attributes:
        part: the class or group.
        n: number of samples.
        before, after: accuracy of the given model, and of the new one, in 0..1.
        lost, gained: samples that were right only before, and only after.
        interval: exact bounds of after - before, alpha = 0.01 on each side.
        p: exact one-sided p-value of McNemar's test.
        worse: True if p is at most 0.05, shared by all classes, or by all groups (Bonferroni).
    """

    part: str
    n: int
    before: float
    after: float
    lost: int
    gained: int
    interval: tuple[float, float]
    p: float
    worse: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairLog:
    """Log of a repair; `print` it for a table of its changes.

    Attributes:
        method, device: names.
        settings: of method and recipe.
        epochs: one entry per pass over the data; empty without training by epochs.
        samples: number of samples.
        precision: "fp32" or "bf16".
        resumed: steps taken from a checkpoint.
        notes: warnings for the reader.
        details: further numbers of this kind of repair.
        claim: the result of the claim on the repaired model; None without a claim.
        by_class: changes in each class; notes name the classes that surely lost.
        by_group: changes in each known group, or by the number of objects for samples that show several.
        measured_on: the data of these changes.
    """

    method: str
    settings: Mapping[str, Any]
    epochs: tuple[EpochLog, ...] = ()
    samples: int
    device: str
    precision: str = "fp32"
    resumed: int = 0
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    claim: Result | None = None
    by_class: tuple[PartChange, ...] = ()
    by_group: tuple[PartChange, ...] = ()
    measured_on: str = ""

    def __str__(self) -> str:
        lines = [f"{self.method}: {self.samples} samples on {self.device}, {self.seconds:.0f} s"]
        wide = max([len("part"), *(len(row.part) for row in (*self.by_class, *self.by_group))])
        if self.by_class:
            lines.append(f"accuracy on {self.measured_on}")
            lines.append(f"  {'part':<{wide}} {'n':>7} before  after  change")
        for row in (*self.by_class, *self.by_group):
            low, high = row.interval
            lines.append(
                f"  {row.part:<{wide}} {row.n:>7}  {number(row.before)}  {number(row.after)}  "
                f"{row.after - row.before:+.3f} "
                f"{interval_in_words(low, high)}{'  lost' if row.worse else ''}"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    @property
    def losses(self) -> tuple[str, ...]:
        """Return a sentence for each class and group that surely lost."""
        return tuple(
            f"{row.part} lost: {number(row.before)} -> {number(row.after)} of {row.n} samples ({row.lost} lost, "
            f"{row.gained} "
            f"gained, McNemar p = {row.p:.2g}), on {self.measured_on}"
            for row in (*self.by_class, *self.by_group)
            if row.worse
        )

    @property
    def seconds(self) -> float:
        return sum(epoch.seconds for epoch in self.epochs)

    def but(self, **changes: Any) -> RepairLog:
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        plain = asdict(replace(self, claim=None))
        plain["epochs"] = list(plain["epochs"])
        plain["notes"] = list(self.notes)
        for name, rows in (("by_class", self.by_class), ("by_group", self.by_group)):
            plain[name] = [{**asdict(row), "interval": list(row.interval)} for row in rows]
        plain["claim"] = None if self.claim is None else self.claim.to_dict()
        return plain


class Repaired(NamedTuple):
    """A new model, of the type that was given, and the log.

    Attributes:
        model: a copy in eval mode, on the given model's device.
        log: of the repair.
    """

    model: Any
    log: RepairLog
