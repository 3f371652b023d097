"""Errors of claims on answers to changed items, by the rule that decides them.

    python benchmarks/changes.py [--draws 10000]

Wrong passes: one change lies at its threshold, and the others change nothing (the worst case of an intersection-union
test). Wrong failures: all changes lie at their threshold. At most alpha = .05 of either are allowed.
"""

from __future__ import annotations

import argparse
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from robustest import Verdict
from robustest.decisions import ShareRule, Terms
from robustest.decisions.mean import EARLY, ItemsRule
from robustest.decisions.paired import fall_is_within

ALPHA = 0.05
_within = lru_cache(maxsize=1 << 18)(fall_is_within)


def share(values: NDArray[np.float64], least: float, alpha: float) -> Verdict:
    """Return the verdict on a share after the last item."""
    terms = Terms(scope="population", alpha=alpha, fail_alpha=alpha)
    rule = ShareRule(threshold=least, at_least=True, terms=terms)
    return rule.decide({"held": values > 0.5}, len(values), None).verdict


def fall(values: NDArray[np.float64], least: float, alpha: float) -> Verdict:
    """Return the verdict on a fall after the last item; values are (1 - fall) / 2."""
    lost, gained, n, most = int((values < 0.4).sum()), int((values > 0.6).sum()), len(values), 1 - 2 * least
    if _within(lost, gained, n, most, alpha):
        return Verdict.PASSED
    return Verdict.FAILED if _within(gained, lost, n, -most, alpha) else Verdict.INCONCLUSIVE


def verdict(columns: list[NDArray[np.float64]], least: float, *, falls: bool) -> Verdict:
    """Return the verdict on changes: a pass of each at alpha, a failure of one at alpha shared by all."""
    k, found = len(columns), []
    terms = Terms(scope="population", alpha=ALPHA, fail_alpha=ALPHA / k)
    rule = ItemsRule(threshold=least, terms=terms, single=not falls)
    after_all = fall if falls else share
    for values in columns:
        early = rule.settle({"score": values, "held": values >= 0.5}, len(values))
        if early is not None and early.after < len(values):
            found.append(early.verdict)
        elif after_all(values, least, (1 - EARLY) * ALPHA / k) is Verdict.FAILED:
            found.append(Verdict.FAILED)
        else:
            passed = after_all(values, least, (1 - EARLY) * ALPHA) is Verdict.PASSED
            found.append(Verdict.PASSED if passed else Verdict.INCONCLUSIVE)
    if Verdict.FAILED in found:
        return Verdict.FAILED
    return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in found else Verdict.PASSED


def draw(rng: np.random.Generator, n: int, least: float, *, falls: bool) -> NDArray[np.float64]:
    """Return values of a change at its threshold; falls with as many gains as half of the losses."""
    u = rng.random(n)
    if not falls:
        return (u < least).astype(float)
    lost = 2 * (1 - 2 * least)
    return 0.5 - 0.5 * (u < lost) + 0.5 * (u > 1 - lost / 2)


def main() -> None:
    """Print the errors."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=10_000)
    draws = parser.parse_args().draws
    print("| claim | items | changes | wrong passes | wrong failures |\n|---|---|---|---|---|")
    for name, least, falls in (("at_least=0.9", 0.9, False), ("max_fall=0.05", 0.475, True)):
        for n, k in ((200, 1), (200, 3), (500, 3)):
            rng = np.random.default_rng(0)
            still = np.full(n, 0.5 if falls else 1.0)
            passed = failed = 0
            for _ in range(draws):
                one = [draw(rng, n, least, falls=falls) for _ in range(k)]
                failed += verdict(one, least, falls=falls) is Verdict.FAILED
                passed += verdict([one[0], *[still] * (k - 1)], least, falls=falls) is Verdict.PASSED
            print(f"| {name} | {n} | {k} | {passed / draws:.4f} | {failed / draws:.4f} |", flush=True)


if __name__ == "__main__":
    main()
