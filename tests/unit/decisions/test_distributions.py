"""Distributions by special functions alone agree with those of `scipy.stats`."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
from scipy import optimize, stats

from robustest.decisions.distributions import (
    binomial_quantile,
    binomial_tail,
    hypergeometric_cdf,
    root_of,
    student_quantile,
)
from robustest.decisions.share import clopper_pearson

SIZES = (1, 2, 7, 50, 1000, 20_000)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("p", [1e-6, 0.001, 0.1, 1 / 3, 0.5, 0.9, 0.999, 1.0])
def test_binomial_tails_and_quantiles(n: int, p: float) -> None:
    for k in range(-1, n + 1, max(1, n // 20)):
        assert binomial_tail(k, n, p) == pytest.approx(stats.binom.sf(k, n, p), rel=1e-9, abs=1e-300)
    for q in (1e-6, 0.05, 0.3, 0.5, 0.95, 0.99, 1 - 1e-6):
        assert binomial_quantile(q, n, p) == stats.binom.ppf(q, n, p)


@pytest.mark.parametrize("n", SIZES)
def test_a_second_sample_given_both(n: int) -> None:
    for total in {n, n + 1, 2 * n, 3 * n}:
        for events in {0, 1, n // 3, n // 2, n - 1, n}:
            for k in {0, 1, events // 2, events, n} | {n * events // total + by for by in (-2, -1, 0, 1, 2)}:
                expected = stats.hypergeom.cdf(k, total, events, n)
                assert hypergeometric_cdf(k, total, events, n) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_intervals_and_students_quantile(n: int) -> None:
    for events in range(0, n + 1, max(1, n // 20)):
        low, high = clopper_pearson(events, n, 0.01)
        assert low == (pytest.approx(stats.beta.ppf(0.01, events, n - events + 1), rel=1e-9) if events else 0.0)
        assert high == (pytest.approx(stats.beta.ppf(0.99, events + 1, n - events), rel=1e-9) if events < n else 1.0)
    assert student_quantile(n, 0.99) == pytest.approx(stats.t.ppf(0.99, n), rel=1e-9)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x**3 - 0.3,
        lambda x: math.tanh(30 * (x - 0.9)) + 0.5,
        lambda x: math.expm1(8 * x) - 4,
        lambda x: math.cos(3 * x) - x,
        lambda x: 1.0 if x > 1 / 3 else -1.0,
        lambda x: (x - 0.5) ** 9,
        lambda x: x,
        lambda x: x - 1,
    ],
)
@pytest.mark.parametrize("within", [1e-13, 1e-3])
def test_a_root_is_that_of_scipy_to_the_bit(f: Callable[[float], float], within: float) -> None:
    assert root_of(f, 0.0, 1.0, within=within) == optimize.brentq(f, 0.0, 1.0, xtol=within)
    with pytest.raises(ValueError, match="different signs"):
        root_of(lambda _: 1.0, 0.0, 1.0, within=within)


def test_a_verdict_on_a_share_loads_no_statistics_of_scipy() -> None:
    """They take 0.6 s of the processor in each run."""
    code = """
import sys, torch
from robustest import Linf, measure
from robustest.context import Context, running
from robustest.settings import Settings
from robustest.plain_run import RunningTest, running as ran
x = torch.linspace(0, 1, 40).view(-1, 1)
y = (x[:, 0] > 0.5).long()
model = torch.nn.Linear(1, 2)
with ran(RunningTest()), running(Context(settings=Settings())):
    options = dict(at_least=0.1, exact=True)
    measure.measure_accuracy(lambda v: torch.cat([0.5 - v, v - 0.5], 1), (x, y), **options)
    measure.measure_robust_accuracy(lambda v: torch.cat([0.5 - v, v - 0.5], 1), (x, y), Linf(0.1), **options)
import robustest.cli.scan
print("scipy.special" in sys.modules, "scipy.stats" in sys.modules)
"""
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"]
