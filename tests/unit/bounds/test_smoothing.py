"""Randomised smoothing: radii as by hand, and certificates that are wrong no more often than they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, norm
from torch import Tensor, nn

from robustest import L2, ConfigError, Linf, Smoothed, Verdict
from robustest.claims.robustness.certified_accuracy import certified_radius
from robustest.decisions import clopper_pearson
from robustest.measure import measure_certified_accuracy


@given(draws=st.integers(1, 5000), data=st.data(), sigma=st.floats(0.01, 2), alpha=st.floats(1e-6, 0.2))
def test_the_radius_is_that_of_the_paper(draws: int, data: st.DataObject, sigma: float, alpha: float) -> None:
    votes = data.draw(st.integers(0, draws))
    lower = beta.ppf(alpha, votes, draws - votes + 1) if votes else 0.0
    by_hand = sigma * norm.ppf(lower) if lower > 0.5 else 0.0
    assert certified_radius(votes, draws, sigma, alpha) == pytest.approx(by_hand, abs=1e-9)


def test_a_radius_is_too_large_no_more_often_than_alpha() -> None:
    """Of a class of known chance the true radius is known: sigma times the normal quantile of it."""
    random, alpha, sigma = np.random.default_rng(0), 0.05, 0.5
    for chance in (0.55, 0.7, 0.9, 0.99):
        truth = sigma * norm.ppf(chance)
        votes = random.binomial(200, chance, size=2000)
        radii = {int(k): certified_radius(int(k), 200, sigma, alpha) for k in np.unique(votes)}
        wrong = np.mean([radii[int(k)] > truth for k in votes])
        assert wrong <= alpha + 2 * math.sqrt(alpha * (1 - alpha) / 2000)


class Line(nn.Module):
    """Decides by the first of two inputs, which may go beyond the bounds under noise."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(100.0))

    def forward(self, x: Tensor) -> Tensor:
        away = (x[:, 0] - 0.5) * self.scale
        return torch.stack([-away, away], 1)


def data() -> tuple[Tensor, Tensor]:
    distance = torch.linspace(0.005, 0.3, 40)
    y = torch.arange(40) % 2
    x = torch.full((40, 2), 0.5)
    x[:, 0] += distance * (2 * y - 1)
    return x, y


def test_no_sample_is_certified_beyond_its_true_radius() -> None:
    """The smoothed classifier of a half-plane is the half-plane: each sample's radius is its distance."""
    result = measure_certified_accuracy(Smoothed(Line(), 0.1, draws=400), data(), L2(0.1), at_least=0.51, exact=True)
    truth = float(((data()[0][:, 0] - 0.5).abs() >= 0.1).float().mean())
    assert result.estimate is not None
    assert truth - 0.2 <= result.estimate <= truth
    assert result.verdict is Verdict.PASSED
    assert result.ruling.at_alpha
    assert "smoothing, sigma 0.1" in result.subject.method


def test_proofs_and_the_share_of_them_share_alpha() -> None:
    """Each sample's proof may be wrong by chance, all of them together with half of alpha; their share has the rest."""
    smoothed = Smoothed(Line(), 0.1, draws=400)
    how: dict[str, Any] = {"scope": "population", "alpha": 0.02, "suppress": ("constant_answer",)}
    result = measure_certified_accuracy(smoothed, data(), L2(0.1), at_least=0.2, **how)
    proven = round((result.estimate or 0.0) * 40)
    assert result.interval[0] == pytest.approx(clopper_pearson(proven, 40, 0.01)[0])
    assert "alpha = 0.01 a side" in result.rule


def test_wrong_samples_fail_it_and_the_uncertain_ones_do_not_pass() -> None:
    x, y = data()
    wrong = measure_certified_accuracy(Smoothed(Line(), 0.1, draws=400), (x, 1 - y), L2(0.1), at_least=0.9)
    assert wrong.verdict is Verdict.FAILED
    few = measure_certified_accuracy(Smoothed(Line(), 0.1, draws=5), (x, y), L2(0.1), at_least=0.3)
    assert few.verdict is Verdict.INCONCLUSIVE


def test_draws_do_not_depend_on_the_batch() -> None:
    results = [
        measure_certified_accuracy(
            Smoothed(Line(), 0.1, draws=150), data(), L2(0.05), at_least=0.3, exact=True, batch_size=size, cache=False
        )
        for size in (1, 7, 128)
    ]
    assert len({(one.verdict, one.estimate, one.interval) for one in results}) == 1


def test_misuse_is_named() -> None:
    with pytest.raises(ConfigError, match="sigma"):
        Smoothed(Line(), 0.0)
    with pytest.raises(ConfigError, match="draws"):
        Smoothed(Line(), 0.1, draws=0)
    with pytest.raises(ConfigError, match="L2, the norm in which smoothing certifies"):
        measure_certified_accuracy(Smoothed(Line(), 0.1), data(), Linf(0.1), at_least=0.5)
    with pytest.raises(ConfigError, match="no attack on a Smoothed model"):
        measure_certified_accuracy(Smoothed(Line(), 0.1), data(), L2(0.1), at_least=0.5, attack="pgd")
