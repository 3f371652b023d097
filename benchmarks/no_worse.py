"""What `no_worse_than=` decides about a population: wrong passes, wrong failures, and power, beside other methods.

    python benchmarks/no_worse.py [--items 20 40 100 200 400 1000 2000] [--alpha .05] [--draws 10000] [--rows]
    python benchmarks/no_worse.py --scores [--items ...] [--alpha .05] [--draws 10000]

Outcomes of right and wrong: the chance of each verdict is summed over all numbers of lost and gained items, so that no
figure has an error of simulation. Truths are falls of 0 to .2 with 2 to 40 % of the items changing; tolerances are 0 to
.05. Beside the exact interval that decides: two Clopper-Pearson intervals at alpha / 2 (Bonferroni), Tango's score
interval (asymptotic), and the rule that McNemar's test of "no loss" decided ("red" if more is lost than tolerated
and p <= alpha, else green). For each n and tolerance: the largest chance of a pass where the fall is at least the
tolerance, and of a failure where it is at most that; the chance of a pass where nothing is lost and 5 % of the
items change, and of a failure where .1 more than the tolerance is lost. `--rows` prints every truth.

`--scores`: correlated Beta scores, means of four runs, and scores that are lost as a whole in a few items; the bets
that decide, simulated (`--draws` columns), beside bets with fixed stakes, the empirical Bernstein bound of Maurer and
Pontil (COLT 2009), and Student's t, which is not valid where losses are rare.

Exits with 1 if a wrong verdict is more probable than alpha + .002, or the power is more than 10 % below that of the
exact interval (for scores: of the best valid alternative here).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import binom, t

from robustest.decisions import clopper_pearson
from robustest.decisions.bets import refuted
from robustest.decisions.paired import paired_interval

ITEMS = (20, 40, 100, 200, 400, 1000, 2000)
TOLERANCES = (0.0, 0.01, 0.02, 0.05)
FALLS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2)
CHANGING = (0.02, 0.05, 0.1, 0.2, 0.4)
# Mass of outcomes that is left out on each side.
LEFT_OUT = 1e-7

Mask = NDArray[np.bool_]
Verdicts = tuple[Mask, Mask]
"""Where (lost, gained) passes, and where it fails."""


def truths(fall: float) -> Iterable[tuple[float, float]]:
    """The shares lost and gained of populations with this fall."""
    for changing in sorted({max(fall, one) for one in CHANGING}):
        yield (changing + fall) / 2, (changing - fall) / 2


@lru_cache
def sizes(n: int) -> tuple[int, int]:
    """The largest numbers of lost and of gained items that are looked at."""
    most = [
        max(int(binom.isf(LEFT_OUT, n, shares[at])) for fall in FALLS for shares in truths(fall)) + 1 for at in (0, 1)
    ]
    return min(n, most[0]), min(n, most[1])


def border(n: int, within: Callable[[int, int], bool]) -> NDArray[np.int64]:
    """The fewest gains that pass by the number of losses: it never falls, as more losses move the interval up."""
    lost, gained = sizes(n)
    fewest, now = np.zeros(lost + 1, dtype=np.int64), 0
    for b in range(lost + 1):
        while now <= gained and b + now <= n and not within(b, now):
            now += 1
        fewest[b] = now
    return fewest


def by_interval(n: int, tolerance: float, interval: Callable[[int, int], tuple[float, float]]) -> Verdicts:
    lost, gained = sizes(n)
    fewest = border(n, lambda b, c: interval(b, c)[1] <= tolerance)
    beyond = border(n, lambda b, c: interval(b, c)[0] <= tolerance)
    c = np.arange(gained + 1)
    possible = np.arange(lost + 1)[:, None] + c <= n
    return (c >= fewest[:, None]) & possible, (c < beyond[:, None]) & possible


def exact(n: int, tolerance: float, alpha: float) -> Verdicts:
    return by_interval(n, tolerance, lambda b, c: paired_interval(b, c, n, alpha))


def bonferroni(n: int, tolerance: float, alpha: float) -> Verdicts:
    def interval(b: int, c: int) -> tuple[float, float]:
        (b_low, b_high), (c_low, c_high) = (clopper_pearson(one, n, alpha / 2) for one in (b, c))
        return b_low - c_high, b_high - c_low

    return by_interval(n, tolerance, interval)


def tango(n: int, tolerance: float, alpha: float) -> Verdicts:
    lost, gained = sizes(n)
    b, c = np.arange(lost + 1.0)[:, None], np.arange(gained + 1.0)
    linear, constant = -b - c + (2 * n - b + c) * tolerance, -c * tolerance * (1 - tolerance)
    q = (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
    spread = np.sqrt(np.maximum(n * (2 * q + tolerance * (1 - tolerance)), 1e-12))
    z = np.where(b - c == n * tolerance, 0.0, (b - c - n * tolerance) / spread)
    return (z <= ndtri(alpha)) & (b + c <= n), (z >= -ndtri(alpha)) & (b + c <= n)


def before(n: int, tolerance: float, alpha: float) -> Verdicts:
    lost, gained = sizes(n)
    b, c = np.arange(lost + 1)[:, None], np.arange(gained + 1)
    p = binom.sf(b - 1, b + c, 0.5)
    worse = (b - c > n * tolerance + 1e-9) & (p <= alpha) & (b + c <= n)
    return ~worse & (b + c <= n), worse


METHODS = {"exact": exact, "Bonferroni": bonferroni, "Tango": tango, "McNemar": before}


def chances(n: int, lost: float, gained: float) -> NDArray[np.float64]:
    """The chance of every (lost, gained)."""
    b, c = (np.arange(one + 1) for one in sizes(n))
    of_rest = binom.pmf(c, (n - b)[:, None].clip(0), gained / (1 - lost))
    found: NDArray[np.float64] = binom.pmf(b, n, lost)[:, None] * of_rest
    return found


def shares(items: list[int], alpha: float, *, rows: bool) -> bool:
    kept = True
    print(f"right and wrong, alpha = {alpha:g}; wrong passes / wrong failures / power to pass / power to fail")
    print(f"{'n':>6} {'tol':>5} " + " ".join(f"{name:^27}" for name in METHODS))
    for n in items:
        law = {shares: chances(n, *shares) for fall in FALLS for shares in truths(fall)}
        for tolerance in TOLERANCES:
            cells = []
            for name, method in METHODS.items():
                passes, fails = method(n, tolerance, alpha)
                of = {shares: (float(p[passes].sum()), float(p[fails].sum())) for shares, p in law.items()}
                true = {shares: round(shares[0] - shares[1], 9) for shares in law}
                wrong_pass = max(of[one][0] for one, fall in true.items() if fall >= tolerance)
                wrong_fail = max(of[one][1] for one, fall in true.items() if fall <= tolerance)
                power = of[0.025, 0.025][0]
                worse = max(fall for fall in FALLS if fall <= tolerance + 0.1)
                power_to_fail = of[min(one for one, fall in true.items() if fall == worse)][1]
                cells.append(f"{wrong_pass:6.4f} {wrong_fail:6.4f} {power:6.3f} {power_to_fail:6.3f}")
                if name == "exact":
                    kept &= max(wrong_pass, wrong_fail) <= alpha + 0.002
                if rows:
                    for one, (passed, failed) in of.items():
                        print(f"    {name:10} lost {one[0]:.4f} gained {one[1]:.4f}: {passed:.4f} {failed:.4f}")
            print(f"{n:6} {tolerance:5g} " + " ".join(f"{cell:^27}" for cell in cells), flush=True)
    return kept


Draws = NDArray[np.float64]


def beta(random: np.random.Generator, shape: tuple[int, int], fall: float) -> Draws:
    shared, own = random.beta(4, 1, shape), random.beta(4, 1, (2, *shape))
    return 0.8 * shared + 0.2 * own[0] - (0.8 * shared + 0.2 * own[1]) * (1 - fall / 0.8)


def runs_of_four(random: np.random.Generator, shape: tuple[int, int], fall: float) -> Draws:
    p = random.beta(2, 0.5, shape)
    return (random.binomial(4, p) - random.binomial(4, p * (1 - fall / 0.8))) / 4


def lost_as_a_whole(random: np.random.Generator, shape: tuple[int, int], fall: float) -> Draws:
    return random.beta(4, 1, shape) * (random.random(shape) < fall / 0.8)


SCORES = {"Beta": beta, "four runs": runs_of_four, "lost as a whole": lost_as_a_whole}
STAKES = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])


def fixed_stakes(values: Draws, null: float, alpha: float) -> Mask:
    """Bets that were valid at any stopping point, as comparisons of scores were decided before."""
    returns = (null - values) / (1 + abs(null))
    logs = np.stack([np.cumsum(np.log1p(np.maximum(one * returns, -1 + 1e-12)), axis=0) for one in STAKES])
    return np.asarray((np.logaddexp.reduce(logs, 0) - np.log(len(STAKES))).max(0) >= -np.log(alpha))


def bernstein(values: Draws, null: float, alpha: float) -> Mask:
    n = len(values)
    log = np.log(2 / alpha)
    bound = np.sqrt(2 * values.var(0, ddof=1) * log / n) + 2 * 7 * log / (3 * (n - 1))
    return np.asarray(values.mean(0) + bound <= null)


def student(values: Draws, null: float, alpha: float) -> Mask:
    n = len(values)
    return np.asarray(values.mean(0) + t.isf(alpha, n - 1) * values.std(0, ddof=1) / np.sqrt(n) <= null)


def bets(values: Draws, null: float, alpha: float) -> Mask:
    return refuted(values, np.full(values.shape[1], null), alpha)


OF_SCORES = {"bets": bets, "fixed stakes": fixed_stakes, "Bernstein": bernstein, "Student": student}


def scored(items: list[int], alpha: float, draws: int) -> bool:
    kept = True
    print(f"scores, alpha = {alpha:g}, {draws} draws; wrong passes / wrong failures / power to pass / power to fail")
    print(f"{'':16} {'n':>6} {'tol':>5} " + " ".join(f"{name:^27}" for name in OF_SCORES))
    for name, population in SCORES.items():
        for n in items:
            for tolerance in (0.02, 0.05):
                random, block = np.random.default_rng(n), max(1, min(draws, 2_000_000 // n))
                found = {one: np.zeros(4) for one in OF_SCORES}
                for start in range(0, draws, block):
                    shape = (n, min(block, draws - start))
                    border, nothing, much = (population(random, shape, fall) for fall in (tolerance, 0.0, 0.15))
                    for one, method in OF_SCORES.items():
                        found[one] += (
                            method(border, tolerance, alpha).sum(),
                            method(-border, -tolerance, alpha).sum(),
                            method(nothing, tolerance, alpha).sum(),
                            method(-much, -tolerance, alpha).sum(),
                        )
                of = {one: counts / draws for one, counts in found.items()}
                kept &= of["bets"][:2].max() <= alpha + 0.002
                valid = np.maximum(of["fixed stakes"], of["Bernstein"])
                kept &= bool((of["bets"][2:] >= 0.9 * valid[2:]).all())
                cells = ("{:6.4f} {:6.4f} {:6.3f} {:6.3f}".format(*one) for one in of.values())
                print(f"{name:16} {n:6} {tolerance:5g} " + " ".join(f"{cell:^27}" for cell in cells), flush=True)
    return kept


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, nargs="*", default=list(ITEMS))
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--scores", action="store_true")
    given = parser.parse_args()
    if given.scores:
        return not scored(given.items, given.alpha, given.draws)
    return not shares(given.items, given.alpha, rows=given.rows)


if __name__ == "__main__":
    raise SystemExit(main())
