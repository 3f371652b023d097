"""What a repair did, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from robustest.results import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochLog:
    """One pass over the data.

    Attributes:
        loss: mean loss of what was trained on, in nats.
        accuracy: share of what was trained on (adversarial examples, say) that was right, before each step.
        seconds: wall-clock time, over all runs that had a part in it.
    """

    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairLog:
    """What a repair did.

    Attributes:
        method: in words.
        settings: of method and recipe.
        epochs: one entry a pass over the data; empty where there was no training by epochs.
        samples: samples in the data.
        device: where it ran.
        precision: "fp32" or "bf16".
        resumed: steps that were taken from a checkpoint.
        notes: what a reader must know.
        details: further numbers of this kind of repair.
        claim: the result of the claim measured on the repaired model; None where none was given.
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

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training."""
        return sum(epoch.seconds for epoch in self.epochs)

    def but(self, **changes: Any) -> RepairLog:
        """This log with other values."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """This log as plain JSON types."""
        plain = asdict(replace(self, claim=None))
        plain["epochs"] = list(plain["epochs"])
        plain["notes"] = list(self.notes)
        plain["claim"] = None if self.claim is None else self.claim.to_dict()
        return plain


class Repaired(NamedTuple):
    """A new model, of the type that was given, and what was done to make it.

    Attributes:
        model: a copy in eval mode, on the device where the given one is.
        log: what was done.
    """

    model: Any
    log: RepairLog
