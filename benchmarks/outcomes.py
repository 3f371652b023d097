"""How often comparisons of recorded outcomes err: A/A pairs and pairs with a loss, simulated through `measure_rate`.

    python benchmarks/outcomes.py [--pairs 2000] [--items 60 400 2000] [--runs 1 3 heavy uneven] [--flips .08]
                                  [--power 300]
    python benchmarks/outcomes.py --live | --sizes [FILE ...]

Two runs of one system are compared by `no_worse_than=` (alpha = .01, tolerance .001). Each item has a chance of success
that is drawn once (mostly near 0 or 1, so that many pairs are ties), and `flips` is the chance that a run gives the
opposite of the item's usual outcome. With `runs` above 1 an item's mean is compared. "red" is the share of A/A pairs
that fail; "power" the share that fails where the second system loses 5 points of its items outright, beside a test of
the same fall on the same outcomes (McNemar for single runs, Student's t for means, which is not valid where changes are
rare); `--power` is the number of such pairs, if not that of the A/A pairs. "heavy" items have 1 to 50 runs each, the
same number in both systems (evenly by its logarithm, more for items that are usually wrong); "uneven" ones have one run
before and 1 to 50 now.

`--live` prints how many of n items are asked until a claim on the population is settled, by `ItemsRule`, beside the
exact test on all n: verdicts, mean number of items, and the number of items with which the rule has the power of the
exact test. `--sizes` prints the seconds and the memory of a million items, in memory and from the named files.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from robustest import Verdict
from robustest.claims.outcomes import measure_rate
from robustest.data.outcomes import Outcomes
from robustest.decisions import ShareRule, Terms, mean
from robustest.decisions.drop import mcnemar
from robustest.decisions.mean import ItemsRule

ALPHA, LOSS, TOLERANCE = 0.01, 0.05, 0.001


def outcomes(scores: NDArray[np.float64], runs: NDArray[np.int64]) -> Outcomes:
    """Return the outcomes of scores, item by item, and the number of runs of each item."""
    first = np.repeat(np.cumsum(runs) - runs, runs)
    empty = np.full(len(scores), "")
    return Outcomes(
        item=np.repeat(np.array([f"{i:07d}" for i in range(len(runs))]), runs),
        score=scores,
        run=np.char.add("r", (np.arange(len(scores)) - first).astype(str)),
        group=empty,
        digest=empty,
    )


def drawn(
    rng: np.random.Generator, right: NDArray[np.bool_], runs: NDArray[np.int64], flips: float
) -> NDArray[np.float64]:
    """Return the scores of a system whose usual outcomes are these, item by item."""
    return (np.repeat(right, runs) ^ (rng.random(int(runs.sum())) < flips)).astype(float)


def means(scores: NDArray[np.float64], runs: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.add.reduceat(scores, np.cumsum(runs) - runs) / runs


def tested(fall: NDArray[np.float64]) -> bool:
    """Return True if a paired test shows a fall at alpha, of the mean scores of items."""
    if np.isin(fall, (-1, 0, 1)).all():
        return mcnemar(int((fall == 1).sum()), int((fall == -1).sum())) <= ALPHA
    return bool(ttest_1samp(fall, TOLERANCE, alternative="greater").pvalue <= ALPHA)


def numbers_of_runs(
    kind: str, rng: np.random.Generator, right: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of runs of each item, before and now."""
    one = np.ones(len(right), dtype=np.int64)
    if kind.isdigit():
        return one * int(kind), one * int(kind)
    # A system that is usually wrong is asked more often, as retries would.
    many = np.floor(51 ** (rng.random(len(right)) ** np.where(right, 1.5, 0.7))).astype(np.int64).clip(1, 50)
    return (many, many) if kind == "heavy" else (one, many)


def simulated(n: int, kind: str, flips: float, pairs: int, losing: int) -> tuple[float, float, float]:
    """Return the shares of A/A pairs that are red, of losing pairs that are red, and of those that a test shows."""
    rng = np.random.default_rng(n + (int(kind) if kind.isdigit() else len(kind)))
    red, caught, shown = 0, 0, 0

    def is_red(now: NDArray[np.float64], runs: NDArray[np.int64], before: Outcomes) -> bool:
        found = measure_rate(outcomes(now, runs), no_worse_than=before, tolerance=TOLERANCE, alpha=ALPHA)
        return found.verdict is Verdict.FAILED

    for place in range(pairs):
        right = rng.random(n) < 0.8
        runs_before, runs = numbers_of_runs(kind, rng, right)
        before, now = drawn(rng, right, runs_before, flips), drawn(rng, right, runs, flips)
        worse = drawn(rng, right & (rng.random(n) >= LOSS), runs, flips)
        recorded = outcomes(before, runs_before)
        red += is_red(now, runs, recorded)
        if place >= losing:
            continue
        caught += is_red(worse, runs, recorded)
        shown += tested(means(before, runs_before) - means(worse, runs))
    return red / pairs, caught / losing, shown / losing


def asked(score: NDArray[np.float64], threshold: float) -> tuple[Verdict, int]:
    """Return the verdict on items that are asked one by one, and how many were read."""
    terms = Terms(scope="population", alpha=ALPHA, fail_alpha=ALPHA)
    single = bool(np.isin(score, (0, 1)).all())
    rule, columns = ItemsRule(threshold=threshold, terms=terms, single=single), {"score": score, "held": score >= 0.5}
    early = rule.settle(columns, len(score))
    read = len(score) if early is None else early.after
    return rule.decide({name: one[:read] for name, one in columns.items()}, len(score), early).verdict, read


def exact_passes(score: NDArray[np.float64], threshold: float) -> bool:
    """Return True if the exact test on all items passes."""
    terms = Terms(scope="population", alpha=ALPHA, fail_alpha=ALPHA)
    rule = ShareRule(threshold=threshold, at_least=True, terms=terms)
    return rule.decide({"held": score >= 0.5}, len(score), None).verdict is Verdict.PASSED


def live(draws: int) -> None:
    """Print the verdicts and the number of items of claims that stop early."""
    print(
        "| claim | true rate | items | exact test passes | asked passes | fails | items read | items for equal power |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for threshold, rate, n in (
        (0.8, 0.9, 150), (0.8, 0.95, 60), (0.9, 0.95, 400), (0.9, 0.97, 150), (0.95, 0.98, 700),
        (0.8, 0.8, 400), (0.8, 0.7, 400), (0.9, 0.8, 400), (0.9, 0.99, 400),
    ):  # fmt: skip
        rng = np.random.default_rng(n)
        held = (rng.random((draws, 2 * n)) < rate).astype(float)
        fixed = sum(exact_passes(one[:n], threshold) for one in held) / draws
        found = [asked(one[:n], threshold) for one in held]
        passes, fails = (
            sum(verdict is which for verdict, _ in found) / draws for which in (Verdict.PASSED, Verdict.FAILED)
        )
        equal = "-"
        if rate > threshold and fixed < 0.995:
            more = (round(n * (1 + step / 50)) for step in range(51))
            power = (
                (size, sum(asked(one[:size], threshold)[0] is Verdict.PASSED for one in held) / draws) for size in more
            )
            equal = next((f"{size:,} ({size / n:.2f} x)" for size, share in power if share >= fixed), "-")
        read = np.mean([count for _, count in found])
        print(
            f"| {threshold:g} | {rate:g} | {n} | {fixed:.3f} | {passes:.3f} | {fails:.3f} | {read:.0f} | {equal} |",
            flush=True,
        )


def sizes(files: list[str]) -> None:
    """Print the seconds and the memory of `measure_rate` on a million items."""
    for file in files:
        begun = time.process_time()
        result = measure_rate(file, at_least=0.79)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{file}: {result.numbers.n:,} items, {result.verdict} "
            f"in {time.process_time() - begun:.1f} CPU s, {used:.2f} GiB"
        )
    if files:
        return
    rng = np.random.default_rng(0)
    for runs in (1, 3):
        counts, right = np.full(1_000_000, runs), rng.random(1_000_000) < 0.8
        before, found = (outcomes(drawn(rng, right, counts, 0.05), counts) for _ in range(2))
        for words, claim in (
            ("at_least", {"at_least": 0.7}),
            ("no_worse_than", {"no_worse_than": before, "tolerance": 0.002}),
        ):
            begun = time.process_time()
            result = measure_rate(found, **claim)
            seconds, used = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"1,000,000 items, runs {runs}, {words}: {result.verdict} in {seconds:.1f} CPU s, {used:.2f} GiB")


def main() -> None:
    """Print one row for each number of items, runs and flip rate."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--items", type=int, nargs="+", default=[60, 400, 2000])
    parser.add_argument("--runs", nargs="+", default=["1", "3"], metavar="N|heavy|uneven")
    parser.add_argument("--flips", type=float, nargs="+", default=[0.0, 0.02, 0.08, 0.2])
    parser.add_argument("--power", type=int, default=None)
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--sizes", nargs="*", metavar="FILE")
    given = parser.parse_args()
    if given.sizes is not None:
        sizes(given.sizes)
        return
    if given.live:
        live(given.pairs)
        return
    # The interval of the rate, which is not asked about, would take nine tenths of the time.
    mean.betting_interval = lambda values, n, alpha: (-1.0, 1.0)  # noqa: ARG005
    limit = ALPHA + 3 * (ALPHA * (1 - ALPHA) / given.pairs) ** 0.5
    print(f"A/A red at most {limit:.4f} (alpha + 3 standard errors, {given.pairs} pairs)")
    print("| items | runs | flips | A/A red | power | paired test |\n|---|---|---|---|---|---|")
    for n in given.items:
        for runs in given.runs:
            for flips in given.flips:
                red, caught, shown = simulated(n, runs, flips, given.pairs, given.power or given.pairs)
                print(f"| {n:,} | {runs} | {flips:.0%} | {red:.4f} | {caught:.3f} | {shown:.3f} |", flush=True)


if __name__ == "__main__":
    main()
