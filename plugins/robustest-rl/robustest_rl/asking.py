"""Claims on returns: a share of episodes, their mean, or the fall of the mean; and the rule of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustest.errors import ConfigError, expected
from robustest.packs import Captions, DrawsRule, Fact, Kind, Quantity, Terms, checked_real, checked_threshold
from robustest_rl.threats import Threat
from robustest_rl.worst import described


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    clean, attacked = details.get("mean_untouched"), details["mean_attacked"]
    facts = [Fact("mean return", f"{clean:.4g} untouched, {attacked:.4g} under {details['attack']}")]
    curve = [point for point in details.get("by_radius") or () if "radius" in point]
    if curve:
        points = ", ".join(f"{point['mean return']:.4g} at {point['radius']:.3g}" for point in curve)
        facts.append(Fact("lowest mean return found by radius", points))
    if worst := details.get("worst"):
        said = f"{worst[0]['episode']}, {described(worst[0])}: returned {worst[0]['return']:.4g}"
        facts.append(Fact("worst episode", said))
    mildest = details.get("mildest")
    return facts if not mildest else [*facts, Fact("mildest dynamics that fail", str(mildest))]


SHARE = Quantity.at_least(
    "min_share", "share of episodes", "share of episodes that return {} or more under {}", counts="outcomes"
)
MEAN = Quantity.at_least("at_least", "mean return", "mean return under {}")
FALL = Quantity.at_most(
    "max_drop", "fall of the mean return", "fall of the mean return under {}", start="mean_untouched"
)
ROBUST_RETURN = Kind(
    name="robust_return",
    varies="nothing",
    quantities=(SHARE, MEAN, FALL),
    further_claims=("no_worse_than",),
    captions=Captions(
        setting="threat",
        size="return",
        before="untouched",
        after="attacked",
        worst="Worst episodes",
        names={"mean_untouched": "mean return untouched", "mean_attacked": "mean return attacked"},
    ),
    lines=_lines,
    hidden=frozenset({"mean_untouched", "mean_attacked", "mildest", "attack", "returns", "replay"}),
)


@dataclass(frozen=True)
class Asked:
    """The quantity that a call claims."""

    quantity: Quantity
    threshold: float | None  # None where nothing is claimed
    level: float | None  # the return at which an episode counts as held; None where none is given
    given: tuple[float, float] | None  # the declared (lowest, highest) return

    @classmethod
    def of(
        cls,
        at_least: float | None,
        min_share: float | None,
        *,
        mean: bool,
        max_drop: float | None,
        given: tuple[float, float] | None,
        no_worse_than: object,
        threat: Threat | None,
    ) -> Asked:
        """Return the claim of a call of `measure_robust_return`.

        Raises:
            ConfigError: no claim or several, or a mean without a range of returns.
        """
        quantity, threshold = _quantity(
            at_least, min_share, mean=mean, max_drop=max_drop, no_worse_than=no_worse_than, threat=threat
        )
        return cls(quantity, threshold, at_least, given if quantity is SHARE else _declared_range(given))

    @property
    def floor(self) -> float:
        return -np.inf if self.level is None else self.level

    def says(self, threat: Threat | None) -> str:
        if self.quantity is SHARE:
            return self.quantity.state(f"{self.level:g}", words_of(threat))
        return self.quantity.state(words_of(threat))

    def rule(self, terms: Terms) -> DrawsRule:
        # Without a range the outcome is binary: did the episode reach the level?
        if self.quantity is SHARE or self.given is None:
            return DrawsRule(threshold=self.threshold, at_least=True, terms=terms)
        low, high = self.given
        # A fall is a difference of two returns, so its range is twice as wide as that of a return.
        if self.quantity is FALL:
            return DrawsRule(
                threshold=self.threshold, at_least=False, terms=terms, column="fall", low=low - high, high=high - low
            )
        return DrawsRule(threshold=self.threshold, at_least=True, terms=terms, column="return", low=low, high=high)


def words_of(threat: Threat | None) -> str:
    """Return the name of a threat in statements and results."""
    return "no threat" if threat is None else str(threat)


def _quantity(
    at_least: float | None,
    min_share: float | None,
    *,
    mean: bool,
    max_drop: float | None,
    no_worse_than: object,
    threat: Threat | None,
) -> tuple[Quantity, float | None]:
    if threat is not None and not isinstance(threat, Threat):
        raise ConfigError(expected("a threat of robustest_rl.threats", threat))
    if at_least is not None:
        checked_real("at_least", at_least)
    if max_drop is not None:
        if at_least is not None or min_share is not None or mean:
            raise ConfigError("Expected max_drop= alone but got another claim beside it. Write an assertion for each.")
        # Without a threat both returns are the same episode, so a fall of 0 would pass whatever the agent does.
        if threat is None:
            raise ConfigError("Expected a threat for max_drop= but got none: nothing could fall.")
        return FALL, checked_threshold("max_drop", max_drop, within=(0.0, float("inf")))
    _check_level(at_least, min_share, mean=mean, alone=no_worse_than is None)
    if mean or at_least is None:
        return MEAN, at_least
    return SHARE, None if min_share is None else checked_threshold("min_share", min_share, trivial=0)


def _check_level(at_least: float | None, min_share: float | None, *, mean: bool, alone: bool) -> None:
    if min_share is not None and mean:
        raise ConfigError("Expected one of min_share= and mean=True but got both.")
    # A comparison with a baseline pairs episodes by whether they held, which needs a level.
    if at_least is None and not alone:
        raise ConfigError("Expected at_least= with no_worse_than=: episodes that return less are those that are lost.")
    if at_least is None and min_share is not None:
        raise ConfigError("Expected at_least= beside min_share= but got none.")
    if at_least is not None and min_share is None and not mean and alone:
        mend = "min_share=0.9 claims it of nine episodes in ten, mean=True of their mean."
        raise ConfigError(f"Expected min_share= or mean=True beside at_least= but got neither. {mend}")


def _declared_range(given: object) -> tuple[float, float]:
    # Bets on a mean need bounded outcomes: one rare return far below the others could move an unbounded mean anywhere.
    if not isinstance(given, tuple) or len(given) != 2:
        mend = "A mean says nothing of rare collapses unless their depth is bounded: declare (lowest, highest)."
        raise ConfigError(expected("return_range=(lowest, highest)", given, mend))
    low, high = given
    checked_real("the lowest return", low)
    checked_real("the highest return", high)
    if not low < high:
        raise ConfigError(expected("return_range with lowest < highest", given))
    return float(low), float(high)
