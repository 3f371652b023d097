"""Answers that are right in part: from a score and a floor to what holds, and by how much."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest.checks import checked_real
from robustest.errors import ConfigError, expected

_ROUNDING = 1e-9
"""A score is a share of two counts: what float64 rounds off it decides nothing."""
_TIE = 5e-4
"""What a loss may say between scores that are nearly equal, at most; less would be rounded off in float32."""


def checked_floor(floor: object) -> float | None:
    """A floor in (0, 1], or None.

    Raises:
        ConfigError: it is no such number. A floor of 0 is kept by every answer.
    """
    if floor is None:
        return None
    if isinstance(floor, bool) or not isinstance(floor, (int, float)) or not 0 < floor <= 1:
        raise ConfigError(expected("floor in (0, 1], the least score of an answer that holds", floor))
    return float(floor)


def positive(name: str, value: object) -> float:
    """A number > 0.

    Raises:
        ConfigError: it is none.
    """
    checked_real(name, value, 0.0)
    if not value > 0:  # type: ignore[operator]
        raise ConfigError(expected(f"{name} > 0", value))
    return float(value)  # type: ignore[arg-type]


def kept(score: Tensor, floor: float | None) -> Tensor:
    """(...) bool: whether scores are at their floor or above it.

    Raises:
        ConfigError: there is no floor to hold them against.
    """
    if floor is None:
        raise ConfigError(
            "Expected a task that says from which score on an answer holds but its floor is None. Give it one, e.g. "
            "floor=0.9, or claim the mean score with assert_robust_score."
        )
    return score >= floor - _ROUNDING


def above(score: Tensor, floor: float | None, loss: Tensor) -> Tensor:
    """(...) float32: how far scores are above the floor; positive where they keep it, negative where they do not.

    Between scores that are nearly equal the loss decides, so that a search sees that it gets on where a score, a share
    of counts, stands still.

    Args:
        score: in [0, 1].
        floor: as for `kept`.
        loss: what the answers' search climbs, of any scale.
    """
    holds = kept(score, floor)
    eased = 0.5 * (1 - loss / (1 + loss.abs()))  # in (0, 1), falling as the loss rises
    return (score - (floor or 0.0) + _TIE * torch.where(holds, eased.clamp(min=1e-3), eased - 1)).float()
