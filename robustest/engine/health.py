"""Health checks: signs that an attack could not do its work, so that what it found safe may not be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from robustest.settings import HEALTH_CHECKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A health check that spoke.

    Attributes:
        name: the check's, one of `HEALTH_CHECKS`.
        message: what was seen, with the numbers, and what to do.
        suppressed: whether the user asked it not to count.
    """

    name: str
    message: str
    suppressed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(slots=True)
class Health:
    """Counts over a whole measurement; chunks add to them in any order.

    Attributes:
        climbed: samples a gradient stage began on.
        zero: of those, samples whose first gradient was zero everywhere.
        climbed_first: samples that the first round of the first stage began on, with gradients.
        flat: of those, samples whose margin never fell below its clean value.
        asked: samples a gradient-free stage began on after gradient stages.
        broken_blind: of those, samples it broke.
        unbounded: survivors attacked without a bound, as a probe.
        unbounded_held: of those, samples still not broken.
        halved: survivors attacked at half the radius, as a probe.
        halved_broken: of those, samples broken there though not at the full radius.
        probed: samples whose input was moved by less than one 8-bit grey level.
        unmoved: of those, samples whose logits did not change in any bit.
        saturated: of those, samples whose softmax is 0 or 1 to the last bit.
        rounded: samples passed in bfloat16 too.
        rounded_apart: of those, samples that float32 classifies clearly and bfloat16 otherwise.
        modal: parts of the model whose answers depend on its mode; counted once, where some part was in train mode.
        training: of those, parts handed over in train mode.
    """

    climbed: int = 0
    zero: int = 0
    climbed_first: int = 0
    flat: int = 0
    asked: int = 0
    broken_blind: int = 0
    unbounded: int = 0
    unbounded_held: int = 0
    halved: int = 0
    halved_broken: int = 0
    probed: int = 0
    unmoved: int = 0
    saturated: int = 0
    rounded: int = 0
    rounded_apart: int = 0
    modal: int = 0
    training: int = 0

    def findings(self, suppress: Collection[str]) -> tuple[Finding, ...]:
        """The checks that speak on these counts."""
        return tuple(
            Finding(
                name=rule.name,
                message=f"{rule.name}: {HEALTH_CHECKS[rule.name]} ({seen} of {of} {rule.what})",
                suppressed=rule.name in suppress,
            )
            for rule in _RULES
            if (seen := getattr(self, rule.seen)) >= max(rule.least, rule.share * (of := getattr(self, rule.of)))
        )


class _Rule(NamedTuple):
    """When a check speaks: what was seen is this share of the whole or more, and so many at least."""

    name: str
    seen: str
    of: str
    share: float
    least: int = 1
    what: str = "samples"


_RULES = (
    _Rule("zero_gradient", "zero", "climbed", 0.1),
    _Rule("loss_does_not_rise", "flat", "climbed_first", 0.5),
    _Rule("black_box_beats_white_box", "broken_blind", "asked", 0.1, 5, "samples that gradients left"),
    _Rule("unbounded_attack_fails", "unbounded_held", "unbounded", 0.25, 2, "samples probed"),
    _Rule("not_monotone", "halved_broken", "halved", 0.25, 2, "samples probed"),
    _Rule("quantised_input", "unmoved", "probed", 0.9),
    _Rule("saturated_softmax", "saturated", "probed", 0.5),
    _Rule("precision_disagreement", "rounded_apart", "rounded", 0.1, 2),
    _Rule("train_mode", "training", "modal", 0.0, 1, "parts"),
)
