"""How often early verdicts err, how many samples they take, and what a comparison with a baseline sees.

Simulates the stopping code that measurements use: `robustest.decisions.share.settle_share` on random orders of sets of
which a known number hold, and `BaselineRule` on pairs of outcomes. The worst points are the sets nearest to the
threshold: one sample short of it, which must not pass, and just at it, which must not fail. The reference column is
the mean over 200 (N = 1000) or 50 (N = 10000) runs of a prototype of the same rule; its own standard error is told from
the spread of our runs, and an excess over it in standard errors of the difference.

    python benchmarks/verdicts.py                      # the simulations; some minutes on one core
    python benchmarks/verdicts.py --nets DATA [--full]   # three gates on real networks; DATA: the folder with models.py
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from overhead import Counted, shared_models

from robustest import Linf, Result, Settings, Verdict
from robustest.context import Context, running
from robustest.decisions import BaselineRule, ShareRule, Terms, clopper_pearson, count_at_least, failure_level
from robustest.decisions.rule import EarlyVerdict
from robustest.decisions.share import settle_share
from robustest.measure import measure_robust_accuracy

ALPHA = 0.01
WORST_RUNS = 5000
RUNS = {1000: 2000, 10_000: 1000}
OFFSETS = (-0.10, -0.05, -0.02, 0.02, 0.05, 0.10)
REFERENCE = {
    (1000, 0.5): (216, 500, 826, 798, 490, 200),
    (10_000, 0.5): (226, 885, 3540, 3642, 859, 261),
    (1000, 0.9): (110, 293, 650, 658, 262, 52),
    (10_000, 0.9): (135, 416, 1920, 1847, 359, 53),
}
"""Mean samples to the verdict of the prototype, by size and threshold, for each offset."""
REFERENCE_RUNS = {1000: 200, 10_000: 50}
SLACK = 1.05


def streams(k: int, n: int, runs: int) -> Iterator[NDArray[np.bool_]]:
    """Random orders of n samples of which k hold."""
    generator = np.random.default_rng([k, n])
    outcomes = np.arange(n) < k
    for _ in range(runs):
        yield generator.permutation(outcomes)


def settled(held: NDArray[np.bool_], least: int) -> EarlyVerdict:
    """The first point at which a stream is settled, looked for in ever longer beginnings, as measurements do."""
    n = len(held)
    for read in (n // 20, n // 4, n):
        found = settle_share(held[:read], n, least, pass_alpha=ALPHA, fail_alpha=ALPHA)
        if found is not None:
            return found
    raise AssertionError("every stream is settled at its end")


@dataclass(frozen=True)
class Point:
    """What became of the runs at one true share."""

    runs: int
    wrong: int
    samples: float
    spread: float  # of the samples to the verdict, over runs

    def error(self, runs: int) -> float:
        """The standard error of the mean over so many runs."""
        return float(self.spread / np.sqrt(runs))

    @property
    def bound(self) -> float:
        """The lower 99 % bound of the rate of wrong verdicts."""
        return clopper_pearson(self.wrong, self.runs, 0.01)[0]


def simulated(k: int, n: int, threshold: float, runs: int) -> Point:
    least = count_at_least(threshold, n)
    truth = Verdict.PASSED if k >= least else Verdict.FAILED
    found = [settled(held, least) for held in streams(k, n, runs)]
    after = np.array([one.after for one in found])
    wrong = sum(one.verdict is not truth for one in found)
    return Point(runs, wrong, float(after.mean()), float(after.std()))


def early(n: int, threshold: float) -> bool:
    """One set size and threshold: a row for each true share."""
    kept = True
    least = count_at_least(threshold, n)
    print(f"\nN = {n}, threshold {threshold}")
    print("  true share        runs   wrong    rate  lower 99 %   mean samples    reference")
    rows: list[tuple[str, int, int, int | None]] = [
        (f"need - 1 = {least - 1}", least - 1, WORST_RUNS, None),
        (f"need = {least}", least, WORST_RUNS, None),
    ]
    for offset, reference in zip(OFFSETS, REFERENCE[n, threshold], strict=True):
        rows.append((f"{offset:+.2f}", round((threshold + offset) * n), RUNS[n], reference))
    for name, k, runs, reference in rows:
        point = simulated(k, n, threshold, runs)
        beside = "" if reference is None else compared(point, reference, REFERENCE_RUNS[n])
        note = "" if point.bound <= ALPHA else "  ERRS TOO OFTEN"
        kept &= not note and "MORE" not in beside
        print(
            f"  {name:16} {runs:5d} {point.wrong:7d} {point.wrong / runs:7.2%} {point.bound:8.2%}   "
            f"{point.samples:8.1f} +- {point.error(runs):4.1f}{beside}{note}",
            flush=True,
        )
    return kept


def compared(point: Point, reference: int, runs: int) -> str:
    """The mean beside the reference, in words; the reference is a mean over so many runs."""
    error = point.error(runs)
    text = f"  {reference:5d} +- {error:4.1f}  {point.samples / reference - 1:+6.1%}"
    if point.samples <= SLACK * reference:
        return text
    apart = (point.samples - reference) / np.hypot(error, point.error(point.runs))
    return f"{text}  MORE THAN +5 % ({apart:.1f} standard errors)"


def pairs(lost: float, gained: float, n: int, generator: np.random.Generator) -> tuple[Any, Any]:
    """Outcomes before and now; each sample is lost or gained with these chances, four of five of the others hold."""
    draws, before = generator.random(n), generator.random(n) < 0.8
    now = before.copy()
    falls, rises = draws < lost, (draws >= lost) & (draws < lost + gained)
    before[falls], now[falls], before[rises], now[rises] = True, False, False, True
    return before, now


def failures(lost: float, gained: float, n: int, runs: int, tolerance: float, *, suite: int = 1) -> float:
    """The share of comparisons that fail, each a test in a suite of so many; their terms are those of the tests."""
    generator = np.random.default_rng(7)
    failed = 0
    for run in range(runs):
        with running(Context(settings=Settings(alpha=ALPHA), test=f"test_{run % suite}")):
            terms = Terms.of(Settings(alpha=ALPHA, scope="population"))
        other = ShareRule(threshold=None, at_least=True, terms=terms)
        before, now = pairs(lost, gained, n, generator)
        claim = BaselineRule(other=other, has_threshold=False, before=before, tolerance=tolerance, terms=terms)
        order = generator.permutation(n)
        columns = {"held": now[order], "id": order}
        failed += claim.decide(columns, n, claim.settle(columns, n)).verdict is Verdict.FAILED
    return failed / runs


def paired() -> bool:
    n = 2000
    print(f"\nno worse than a baseline, N = {n}, alpha = {ALPHA}, the exact interval of the population's fall")
    power = failures(0.015, 0.005, n, 1000, 0.0)
    print(f"  1 point lost, 2 % churn, tolerance 0:      fails {power:7.2%} of  1000 runs; bar >= 75 %")
    alarms = []
    for churn in (0.02, 0.05, 0.10):
        alarms.append(failures(churn / 2, churn / 2, n, 10_000, 0.0))
        print(
            f"  nothing lost, {churn:4.0%} churn, tolerance 0:      fails {alarms[-1]:7.2%} of 10000 runs; bar <= 1 %"
        )
    in_suite = failures(0.015, 0.005, n, 1000, 0.0, suite=100)
    print(f"  the first again, in suites of 100 tests:   fails {in_suite:7.2%} of  1000 runs; bar >= 75 %")
    alarms.append(failures(0.01, 0.01, n, 10_000, 0.0, suite=100))
    print(f"  nothing lost, 2 % churn, suites of 100:    fails {alarms[-1]:7.2%} of 10000 runs; bar <= 1 %")
    for drop, tolerance in ((0.01, 0.005), (0.01, 0.01), (0.02, 0.01)):
        share = failures(0.01 + drop / 2, 0.01 - drop / 2, n, 1000, tolerance)
        print(f"  {100 * drop:.0f} point(s) lost, 2 % churn, tolerance {tolerance:g}: fails {share:7.2%} of  1000 runs")
    return min(power, in_suite) >= 0.75 and max(alarms) <= ALPHA


def families() -> bool:
    """Suites of claims at their thresholds, the worst that is true: how many are blocked by a wrong early failure."""
    n, least, runs, kept = 1000, 900, 100, True
    size, level = Settings().family_size, failure_level(ALPHA, Settings().family_size)
    print(f"\nsuites of true claims at their thresholds, N = {n}, threshold 0.9, {size} claims share alpha = {ALPHA}")
    generator = np.random.default_rng(11)
    for claims in (10, size):
        blocked = 0
        for _ in range(runs):
            streams_ = (generator.permutation(np.arange(n) < least) for _ in range(claims))
            ends = (settle_share(held, n, least, pass_alpha=ALPHA, fail_alpha=level) for held in streams_)
            blocked += any(end is not None and end.verdict is Verdict.FAILED for end in ends)
        bound = clopper_pearson(blocked, runs, 0.01)[0]
        bar = ALPHA * claims / size
        kept &= bound <= bar
        print(f"  {claims:4d} claims: {blocked} of {runs} suites blocked; lower 99 % {bound:.2%}; bar {bar:.2%}")
    return kept


@dataclass(frozen=True)
class Gate:
    """A claim on all test images, and the most of a full evaluation's passes that its verdict may take."""

    network: str
    at_least: float
    verdict: Verdict
    bar: float


GATES = (
    Gate("fast_mnist_pgd", 0.75, Verdict.PASSED, 1 / 30),
    Gate("fast_mnist_pgd", 0.80, Verdict.PASSED, 1 / 12),
    Gate("lenet5_mnist", 0.50, Verdict.FAILED, 1 / 100),
)
IMAGES, FIRST, THREAT = 10_000, 1000, Linf(0.3)


def evaluated(shared: Any, network: str, n: int, **options: Any) -> tuple[Result, int]:
    """A measurement on the first n images, and its passes: forward + 2 x backward samples, by a hook on the model."""
    model = Counted(shared.load(network)).eval()
    x, y = shared.images("mnist_test", n)
    result = measure_robust_accuracy(model, (x, y), THREAT, attack="standard", seed=0, **options)
    return result, model.forward_samples + 2 * model.backward_samples


def full_passes(shared: Any, network: str, at_least: float, *, whole: bool) -> float:
    """Passes of an evaluation of every image with `exact=True`; counterexamples are not made smaller."""
    n = IMAGES if whole else FIRST
    result, passes = evaluated(shared, network, n, at_least=at_least, exact=True, examples=0)
    how = "measured" if whole else f"estimated from the first {FIRST} images, at {passes / n:.1f} passes each"
    print(f"{network}: robust accuracy {result.estimate:.4f} of {n}; full evaluation {passes * IMAGES / n:.0f} ({how})")
    return passes * IMAGES / n


def nets(folder: str, *, full: bool) -> bool:
    shared = shared_models(folder)
    print(f"{IMAGES} MNIST test images, {THREAT}, standard; passes = (forward + 2 x backward) samples")
    whole: dict[str, float] = {}
    kept = True
    for gate in GATES:
        if gate.network not in whole:
            cheap = gate.verdict is Verdict.FAILED  # broken samples leave early: the full evaluation takes seconds
            whole[gate.network] = full_passes(shared, gate.network, gate.at_least, whole=full or cheap)
        result, passes = evaluated(shared, gate.network, IMAGES, at_least=gate.at_least, examples=0)
        share = passes / whole[gate.network]
        met = result.verdict is gate.verdict and share <= gate.bar
        kept &= met
        print(
            f"  at_least={gate.at_least}: {result.verdict}, {result.rule}; {result.numbers.n} samples read, "
            f"{passes} passes, 1/{1 / share:.0f} of full; bar {gate.verdict}, 1/{1 / gate.bar:.0f}: "
            f"{'met' if met else 'NOT MET'}",
            flush=True,
        )
        if result.verdict is Verdict.FAILED:
            shown, passes = evaluated(shared, gate.network, IMAGES, at_least=gate.at_least)
            print(
                f"    and {len(shown.counterexamples)} counterexamples made smaller after the verdict: "
                f"{passes} passes in all, 1/{whole[gate.network] / passes:.0f} of full"
            )
    return kept


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if "--nets" in sys.argv:
        kept = nets(sys.argv[sys.argv.index("--nets") + 1], full="--full" in sys.argv)
    else:
        print(f"early verdicts at alpha = {ALPHA} a side; the rule is robustest.decisions.share.settle_share")
        met = [early(n, threshold) for n, threshold in REFERENCE]
        kept = all([*met, families(), paired()])
    print(f"\n{'every bar is met' if kept else 'NOT every bar is met'}")


if __name__ == "__main__":
    main()
