"""Answers that claims take until they are certain, beside fixed designs of the same power, and their errors.

    python benchmarks/until_certain.py [--draws 10000] [--costs 1000] [--purse 200]    (0 leaves a part out)

A fixed design asks about as many items as show the smallest difference that matters with a chance of .9 at alpha = .01,
by the exact rule on all of them. The claim that is asked until certain (`ItemsRule`) may ask about a little more, so
that its power there is the same ("power": both). Columns: the median number of items it asks about if the true
difference is so many times as large, and that number as a share of the fixed design.

Errors are those of `--draws` runs at the edge of the claim: a rate at its threshold, a fall at its tolerance, where at
most alpha may pass, and at most alpha may fail. `--purse` prints how many of five claims a purse settles that holds
fewer calls than all of them need, in turns and one after the other.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import lru_cache
from statistics import median

import numpy as np
from numpy.typing import NDArray

from robustest import Verdict
from robustest.decisions import ShareRule, Terms
from robustest.decisions.mean import EARLY, ItemsRule
from robustest.decisions.paired import fall_is_within
from robustest.run.purse import items_left

ALPHA, POWER = 0.01, 0.9
TERMS = Terms(scope="population", alpha=ALPHA, fail_alpha=ALPHA)


@dataclass(frozen=True)
class Rate:
    """A claim that a rate is at least a threshold; `difference` is that of the true rate from it."""

    least: float

    @property
    def value(self) -> float:
        return self.least

    def draws(self, rng: np.random.Generator, difference: float, n: int) -> NDArray[np.float64]:
        return (rng.random(n) < self.least + difference).astype(float)

    def after_all(self, values: NDArray[np.float64], alpha: float) -> Verdict:
        rule = ShareRule(
            threshold=self.least, at_least=True, terms=Terms(scope="population", alpha=alpha, fail_alpha=alpha)
        )
        return rule.decide({"held": values > 0.5}, len(values), None).verdict


@dataclass(frozen=True)
class Fall:
    """A claim that a rate fell by at most a tolerance, where so many items change without a loss.

    `difference` is how much less than the tolerance the true fall is. Values are (1 - fall) / 2, as they are compared.
    """

    tolerance: float
    flips: float

    @property
    def value(self) -> float:
        return (1 - self.tolerance) / 2

    def draws(self, rng: np.random.Generator, difference: float, n: int) -> NDArray[np.float64]:
        fall = self.tolerance - difference
        lost = self.flips / 2 + max(0.0, fall)
        gained = self.flips / 2 + max(0.0, -fall)
        u = rng.random(n)
        return 0.5 - 0.5 * (u < lost) + 0.5 * (u > 1 - gained)

    def after_all(self, values: NDArray[np.float64], alpha: float) -> Verdict:
        lost, gained, n = int((values < 0.4).sum()), int((values > 0.6).sum()), len(values)
        if _within(lost, gained, n, self.tolerance, alpha):
            return Verdict.PASSED
        return Verdict.FAILED if _within(gained, lost, n, -self.tolerance, alpha) else Verdict.INCONCLUSIVE


Claim = Rate | Fall
_within = lru_cache(maxsize=1 << 16)(fall_is_within)


def until_certain(claim: Claim, values: NDArray[np.float64]) -> tuple[Verdict, int]:
    """Return the verdict on items that are asked about one by one, and how many were."""
    rule = ItemsRule(threshold=claim.value, terms=TERMS, single=isinstance(claim, Rate))
    early = rule.settle({"score": values, "held": values >= 0.5}, len(values))
    if early is not None and early.after < len(values):
        return early.verdict, early.after
    return claim.after_all(values, (1 - EARLY) * ALPHA), len(values)


def smallest(power: object, most: int = 1 << 16) -> int:
    """Return the smallest number of items with the power, by doubling and bisection."""
    assert callable(power)
    high = 16
    while power(high) < POWER and high < most:
        high *= 2
    low = high // 2
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


def costs(claim: Claim, smallest_difference: float, times: tuple[float, ...], draws: int) -> str:
    """Return the row of a claim."""
    wanted = Verdict.PASSED if smallest_difference > 0 else Verdict.FAILED

    def fixed(n: int) -> float:
        rng = np.random.default_rng(n)
        found = [claim.after_all(claim.draws(rng, smallest_difference, n), ALPHA) for _ in range(min(draws, 1000))]
        return sum(one is wanted for one in found) / len(found)

    def asked(n: int) -> float:
        rng = np.random.default_rng(n)
        found = [until_certain(claim, claim.draws(rng, smallest_difference, n))[0] for _ in range(min(draws, 1000))]
        return sum(one is wanted for one in found) / len(found)

    n, most = smallest(fixed), smallest(asked)
    cells = []
    rng = np.random.default_rng(0)
    for factor in times:
        read = [until_certain(claim, claim.draws(rng, factor * smallest_difference, most)) for _ in range(draws)]
        cost = median(count for _, count in read)
        cells.append(f"{cost:.0f} ({cost / n:.2f})")
    return f"| {claim} | {smallest_difference:+.2f} | {n} | {most} | {' | '.join(cells)} |"


def errors(claim: Claim, items: int, draws: int) -> str:
    """Return the row of the errors at the edge of a claim."""
    rng = np.random.default_rng(1)
    found = [until_certain(claim, claim.draws(rng, 0.0, items))[0] for _ in range(draws)]
    passed, failed = (sum(one is which for one in found) / draws for which in (Verdict.PASSED, Verdict.FAILED))
    return f"| {claim} | {items} | {passed:.4f} | {failed:.4f} |"


def purse(runs: int) -> None:
    """Print how many of five claims are settled by a purse, in turns and one after the other."""
    rates, least, items, calls = (0.83, 0.78, 0.95, 0.6, 0.9), 0.8, 800, 900
    settled = {"in turns": 0, "one after the other": 0}
    rng = np.random.default_rng(2)
    for _ in range(runs):
        values = [(rng.random(items) < rate).astype(float) for rate in rates]
        ends = [until_certain(Rate(least), one) for one in values]
        needed = [end for _, end in ends]
        left = calls
        for verdict, end in ends:
            settled["one after the other"] += end <= left and verdict is not Verdict.INCONCLUSIVE
            left = max(0, left - end)
        read, open_ = [0] * len(rates), set(range(len(rates)))
        for _ in range(calls):
            if not open_:
                break
            at = min(
                open_, key=lambda one: (items_left(values[one][: read[one]].tolist(), items, least, EARLY * ALPHA), one)
            )
            read[at] += 1
            if read[at] == needed[at]:
                open_.discard(at)
                settled["in turns"] += ends[at][0] is not Verdict.INCONCLUSIVE
    print(f"{calls} calls for five claims of rates {rates}, at least {least}, {items} items each:")
    for how, count in settled.items():
        print(f"  {how}: {count / runs:.2f} settled")


def main() -> None:
    """Print the costs and the errors of claims on rates and on falls."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--costs", type=int, default=1_000)
    parser.add_argument("--purse", type=int, default=200)
    given = parser.parse_args()
    if given.costs:
        print_costs(given.costs)
    if given.draws:
        print_errors(given.draws)
    if given.purse:
        purse(given.purse)


def print_costs(draws: int) -> None:
    times = (1.0, 1.5, 2.0, 3.0)
    print(
        "| claim | smallest difference | fixed design | at most | " + " | ".join(f"{one:g} x" for one in times) + " |"
    )
    print("|" + "---|" * (4 + len(times)))
    for claim, difference in (
        (Rate(0.8), 0.05), (Rate(0.8), -0.05), (Rate(0.9), 0.03), (Rate(0.5), -0.1),
        (Fall(0.05, 0.08), 0.05), (Fall(0.05, 0.08), -0.05), (Fall(0.02, 0.03), 0.02), (Fall(0.05, 0.2), 0.05),
    ):  # fmt: skip
        print(costs(claim, difference, times, draws), flush=True)


def print_errors(draws: int) -> None:
    print("\n| claim | items | wrong passes | wrong failures |\n|---|---|---|---|")
    for claim, items in (
        (Rate(0.8), 400), (Rate(0.8), 1000), (Rate(0.95), 400), (Fall(0.05, 0.08), 400), (Fall(0.02, 0.02), 1000),
        (Fall(0.05, 0.3), 400),
    ):  # fmt: skip
        print(errors(claim, items, draws), flush=True)
    print()


if __name__ == "__main__":
    main()
