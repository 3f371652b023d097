"""Randomised smoothing (Cohen, Rosenfeld and Kolter, ICML 2019): the radius that a majority under noise withstands."""

# If class c is the answer to x + sigma * e with a probability of at least p > 1/2, the majority at every input within
# sigma * Phi^-1(p) of x, in L2, is c. p is the lower end of the exact interval of the votes for c.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scipy.stats import norm

from robustest.checks import checked_real, checked_whole
from robustest.decisions import clopper_pearson


@dataclass(frozen=True, slots=True)
class Smoothed:
    """The classifier that gives a model's most frequent answer under Gaussian noise.

    The certificate is about this classifier, not about the model alone. `assert_certified_accuracy` takes it in the
    place of a model.

    Args:
        model: see `measure_robust_accuracy`; best trained under the same noise.
        sigma: the noise's standard deviation, in input units, > 0.
        draws: answers that a radius is computed from, >= 1.
        guesses: further answers that select the class, >= 1.

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
    """Return the L2 radius, >= 0, within which the majority stays the same, with error alpha (section 3.2.2).

    Args:
        votes: answers of the class, of `draws` drawn after the class was selected.
        sigma: in input units.
        alpha: the largest chance that the radius is too large.
    """
    chance = clopper_pearson(votes, draws, alpha)[0]
    return max(0.0, sigma * float(norm.ppf(chance))) if chance > 0.5 else 0.0
