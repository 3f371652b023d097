"""Randomised smoothing: what the majority of a model's answers under Gaussian noise is certain to withstand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scipy.stats import norm

from robustest.checks import checked_real, checked_whole
from robustest.decisions import clopper_pearson


@dataclass(frozen=True, slots=True)
class Smoothed:
    """The classifier that answers what a model says most often under Gaussian noise (Cohen et al., ICML 2019).

    What is certified of it is said of this classifier, not of the model alone: whoever relies on it must deploy the
    majority under noise. `assert_certified_accuracy` takes it in the place of a model.

    Args:
        model: as for `measure_robust_accuracy`; best one that was trained under such noise.
        sigma: the noise's standard deviation, in input units, > 0.
        draws: answers that a radius is made of, >= 1.
        guesses: answers of their own that say which class the majority may be, >= 1.

    Raises:
        ConfigError: sigma, draws or guesses are out of range.
    """

    model: Any
    sigma: float
    draws: int = 1000
    guesses: int = 100

    def __post_init__(self) -> None:
        checked_real("sigma", self.sigma, 1e-12)
        checked_whole("draws", self.draws, 1)
        checked_whole("guesses", self.guesses, 1)


def certified_radius(votes: int, draws: int, sigma: float, alpha: float) -> float:
    """The L2 radius within which the majority keeps to a class, but for an error of alpha (ibid., section 3.2.2).

    Args:
        votes: answers of that class.
        draws: of how many, drawn after the class was chosen.
        sigma: the noise's standard deviation, in input units.
        alpha: the chance with which the radius may be too large, at most.

    Returns:
        0 or more; 0 where the class is not certain to have the majority.
    """
    chance = clopper_pearson(votes, draws, alpha)[0]
    return max(0.0, sigma * float(norm.ppf(chance))) if chance > 0.5 else 0.0
