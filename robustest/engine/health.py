"""Health checks: signs that an attack could not do its work, so that what it found safe may not be."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

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

    def findings(self, suppress: Collection[str]) -> tuple[Finding, ...]:
        """The checks that speak on these counts."""
        spoken = [
            ("zero_gradient", self.zero >= _share(0.1, self.climbed), f"{self.zero} of {self.climbed} samples"),
            (
                "loss_does_not_rise",
                self.flat >= _share(0.5, self.climbed_first),
                f"{self.flat} of {self.climbed_first} samples",
            ),
            (
                "black_box_beats_white_box",
                self.broken_blind >= max(5, _share(0.1, self.asked)),
                f"{self.broken_blind} of {self.asked} samples that gradients left",
            ),
            (
                "unbounded_attack_fails",
                self.unbounded_held >= max(2, _share(0.25, self.unbounded)),
                f"{self.unbounded_held} of {self.unbounded} samples probed",
            ),
            (
                "not_monotone",
                self.halved_broken >= max(2, _share(0.25, self.halved)),
                f"{self.halved_broken} of {self.halved} samples probed",
            ),
            ("quantised_input", self.unmoved >= _share(0.9, self.probed), f"{self.unmoved} of {self.probed} samples"),
            (
                "saturated_softmax",
                self.saturated >= _share(0.5, self.probed),
                f"{self.saturated} of {self.probed} samples",
            ),
        ]
        return tuple(
            Finding(
                name=name,
                message=f"{name}: {HEALTH_CHECKS[name]} ({numbers})",
                suppressed=name in suppress,
            )
            for name, speaks, numbers in spoken
            if speaks
        )


def _share(share: float, of: int) -> float:
    """The count from which a check speaks: never without samples."""
    return max(1.0, share * of)
