"""`robustest suggest`: thresholds that the claims of a suite could hold."""

# Another sample of the same size from the same population keeps a suggested threshold with probability 1 - alpha. For
# shares it is an exact one-sided prediction bound (Thatcher, Journal of the Royal Statistical Society B 1964), which is
# wider than a bound on the population's share, as the next sample varies as well. A claim about a population needs that
# the next sample's own bound keeps the threshold. For other values it is the end of the interval.
#
# A value may change with the seed. So the suite is measured under two seeds, and under three more if a value changed;
# the threshold is then a one-sided prediction bound of Student's t over the seeds, or the worst of them if that is
# further.

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from robustest.account import Row
from robustest.cli.compare import by_claim, is_about_population, limits_of
from robustest.cli.project import options_of
from robustest.cli.remaining import changed
from robustest.cli.results_file import ResultsFile, read_written
from robustest.cli.screen import Exit, Screen, exit_of_pytest, missing
from robustest.cli.warm import WarmPytest
from robustest.decisions.distributions import hypergeometric_cdf, student_quantile
from robustest.decisions.paired import paired_interval
from robustest.decisions.share import clopper_pearson
from robustest.decisions.thresholds import count_at_least, count_at_most
from robustest.reports.text import measured
from robustest.results import Result, Verdict
from robustest.run.grounds import keeps
from robustest.words import number

SEEDS = 5
"""Number of seeds that are measured if a value changes with the seed."""
QUIET = ("-qq", "--no-header", "--no-summary", "--tb=no")
"""Arguments of pytest for runs whose results another table shows."""
ALL_SAMPLES = ("--robust-exact", "--robust-audit-values")
"""Options for values that a threshold is taken from."""


def suggest(rest: Sequence[str]) -> int:
    """Measure a suite's claims on all samples, and print the thresholds that they could hold."""
    with WarmPytest() as pytest:
        first, others, code = measure_under_seeds(pytest, rest)
    if code not in (0, 1):
        return exit_of_pytest(code)
    keyed = by_claim(first.account.results)
    rows = {key: row for key, row in keyed.items() if row.result is None or row.result.ruling.threshold is not None}
    if not rows:
        raise missing("Expected a claim with a threshold but no test that ran makes one. Name the tests to run.")
    screen = Screen()
    alpha = float(first.settings["alpha"])
    screen.write_sep("=", "thresholds")
    elsewhere = [by_claim(other.account.results) for other in others]
    found = [_print_claim(screen, row, [there.get(key) for there in elsewhere], alpha) for key, row in rows.items()]
    screen.write_line(
        f"another sample of the same size from the same population keeps each threshold with probability "
        f"{1 - alpha:g}; margins shrink with the square root of n"
    )
    if any(one.of_population for one in found):
        screen.write_line("* end of the interval: a bound on the population's value, not on another sample's")
    unmeasured = any(row.result is None for row in rows.values())
    lost = any(run.account.lost for run in (first, *others))
    return Exit.MISSING if lost or unmeasured else Exit.OK


def measure_under_seeds(
    pytest: WarmPytest, arguments: Sequence[str], plan: Mapping[str, Any] | None = None
) -> tuple[TimedResults, list[TimedResults], int]:
    """Measure a suite's claims on all samples, under two seeds or more; progress is printed.

    Args:
        pytest: runs pytest.
        arguments: arguments of pytest.
        plan: of `robustest.cli.inside`; None for the tests that the arguments select.

    Returns:
        The first run, the other runs, and pytest's exit code: the first that is neither 0 nor 1, else the last.
    """
    plan = {"started": time.time(), **(plan or {})}
    with goes_on_later():
        # Whether values change with the seed, so that three more runs follow, is known after the second one.
        about = {"title": "first seed", "after": 1, "further": SEEDS - 2}
        first, code = measure(pytest, arguments, {**plan, **about}, *ALL_SAMPLES)
        others: list[TimedResults] = []
        seed = int(first.settings["seed"])
        for number in range(1, SEEDS):
            if code not in (0, 1):
                break
            after = 0 if number == 1 else SEEDS - 1 - number
            timed = {**plan, "title": f"seed {seed + number}", "after": after, "before": first.timing, "quiet": True}
            timed |= {"further": SEEDS - 2} if number == 1 else {}
            # The first run showed the failures.
            again = [*arguments, *QUIET, f"--robust-seed={seed + number}"]
            run, code = measure(pytest, again, timed, *ALL_SAMPLES)
            if code not in (0, 1) or _unmeasured(run) - _unmeasured(first):
                # Some projects cannot run twice in one process.
                pytest.renew()
                run, code = measure(pytest, again, timed, *ALL_SAMPLES)
            others.append(run)
            if not any(_moved(first, other) for other in others):
                break
    return first, others, code


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedResults(ResultsFile):
    """A file of results, and the seconds that its run took (`robustest.cli.inside`); {} if it did not say."""

    timing: Mapping[str, Any]


@contextmanager
def goes_on_later() -> Iterator[None]:
    """Say that the same command recalls what was measured, if the block is interrupted or terminated."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        Screen(sys.stderr).write_line(
            "robustest: stopped. What was measured is kept: the same command goes on with it."
        )
        raise


def _unmeasured(run: ResultsFile) -> set[str]:
    return {row.test for row in run.account.results if row.result is None}


def measure(
    pytest: WarmPytest, arguments: Sequence[str], plan: Mapping[str, Any], *options: str
) -> tuple[TimedResults, int]:
    """Run the tests that the arguments select, and return their results with pytest's exit code.

    Args:
        pytest: runs pytest.
        arguments: arguments of pytest.
        plan: of `robustest.cli.inside`.
        options: further options, before the arguments.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, planned = Path(folder) / "robust.json", Path(folder) / "plan.json"
        timing = Path(folder) / "timing.json"
        about = {"parent": os.getpid(), "started": time.time(), **plan, "run": time.time()}
        about |= {"timing": str(timing), "warm": pytest.started}
        planned.write_text(json.dumps(about), encoding="utf-8")
        inside = options_of(planned) if "file" in plan else ["-p", "robustest.cli.inside", f"--robust-plan={planned}"]
        code = pytest.run(["--robust", *options, f"--robust-json={file}", *inside, *arguments])
        results = read_written(file, code)
        seconds = json.loads(timing.read_text(encoding="utf-8")) if timing.is_file() else {}
        if seconds:
            seconds["between"] = time.time() - about["run"] - seconds["spent"]
        return TimedResults(**{one.name: getattr(results, one.name) for one in fields(results)}, timing=seconds), code


def _moved(first: ResultsFile, second: ResultsFile) -> bool:
    there = by_claim(second.account.results)
    rows = by_claim(first.account.results)
    pairs = [(row.result, there[key].result) for key, row in rows.items() if key in there]
    return any(one is not None and other is not None and moves(one, other) for one, other in pairs)


def _print_claim(screen: Screen, row: Row, others: Sequence[Row | None], alpha: float) -> Suggestion:
    result = row.result
    if result is None:
        screen.write_line(f"{row.test}  could not measure: {row.problem.splitlines()[0]}", red=True)
        return Suggestion(threshold=None)
    there = [other.result for other in others if other is not None and other.result is not None]
    found = suggestion(result, alpha, there)
    if len(there) < len(others):
        found = Suggestion(threshold=None, why_not="it was not measured under another seed: its test ended before")
    screen.write_line(f"{row.test}  {result.subject.statement}")
    screen.write_line(f"    measured    {measured(result)}")
    screen.write_line(f"    now         {result.requirement or 'nothing required'}  {result.verdict}")
    threshold = found.threshold
    if threshold is None:
        screen.write_line(f"    could hold  none: {found.why_not}", yellow=True)
        return found
    change, now = "as it is", result.ruling.threshold
    if now is not None and threshold != now:
        tighter = threshold > now if result.ruling.comparison == ">=" else threshold < now
        change = "tighter than now" if tighter else "looser than now"
    star = "*" if found.of_population else ""
    seeds = f"  ({found.seeds} seeds)" if found.seeds > 1 else ""
    bound = f"{result.ruling.comparison} {threshold:g}{star}"
    screen.write_line(f"    could hold  {bound}  margin {found.margin:.3g}  {change}{seeds}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A threshold for a claim, or the reason why there is none."""

    threshold: float | None  # the value, rounded to the safe side; None if there is none
    margin: float = 0.0  # distance from the measured value; 0 without a threshold
    of_population: bool = False  # True if it only bounds the population's value, so that another sample may miss it
    why_not: str = ""  # the reason; empty if there is a threshold
    seeds: int = 1  # number of seeds that it rests on; 1 if the value does not change with the seed


def suggestion(result: Result, alpha: float, others: Sequence[Result] = ()) -> Suggestion:
    """Return the strictest threshold that another sample of the same size keeps with probability 1 - alpha.

    Args:
        result: result of a claim with a threshold, measured on every sample.
        alpha: probability that the next sample breaks it, in (0, 0.5).
        others: results of the same claim under other seeds.
    """
    results = (result, *others)
    if why_not := next(filter(None, (_why_not(one) for one in results)), ""):
        return Suggestion(threshold=None, why_not=why_not)
    moved = any(moves(result, other) for other in others)
    if moved and len(results) < SEEDS:
        return Suggestion(threshold=None, why_not=f"it moves with the seed, and only {len(results)} were measured")
    at_least = result.ruling.comparison == ">="
    found = [_next_bound(one, alpha) for one in results]
    share = all(bound is not None for bound in found)
    values = [one.numbers.left_interval[0 if at_least else 1] for one in results]
    if share:
        values = [bound[0] for bound in found if bound]
    value = min(values) if at_least else max(values)
    if moved:  # a prediction bound for the next seed
        # mean ± t(1 - alpha, m - 1) s sqrt(1 + 1/m) over m seeds; the 1 is the variance of the next seed itself.
        spread = float(student_quantile(len(values) - 1, 1 - alpha)) * stdev(values) * math.sqrt(1 + 1 / len(values))
        value = min(value, mean(values) - spread) if at_least else max(value, mean(values) + spread)
    n = found[0][1] if share and found[0] is not None else None
    threshold = _rounded(value, n or 1000, down=at_least, share=share)
    # An interval of other values may need more of something else than samples, as of subclasses.
    scarce = "its interval is too wide" if n is None else f"n={n} is too few"
    # A limit must stay below the value of any model; a share has 1, other quantities have none.
    widest = result.ruling.trivial if result.ruling.trivial is not None else 1.0 if share else math.inf
    if threshold <= max(0.0, result.ruling.trivial or 0.0) if at_least else threshold >= widest:
        few = "it moves too much with the seed" if moved else scarce
        return Suggestion(threshold=None, why_not=f"{few} for a threshold that any model could miss")
    # A drop can be no larger than the share that held before; a limit above it is always kept.
    if (before := min(map(_to_lose, results))) <= threshold:
        held = "held before" if not result.details.get("without_looking") else "was right before beyond chance"
        why_not = f"{scarce}: only {number(before, threshold)} {held}, so a drop of {threshold:g} could not fail"
        return Suggestion(threshold=None, why_not=why_not)
    if any(_untested(one, threshold) for one in results):
        why_not = f"so few samples change that no model could fail at {threshold:g}"
        return Suggestion(threshold=None, why_not=why_not)
    if any(_guessed(one, threshold) for one in results):
        reached = result.details["constant_answer"]
        why_not = (
            f"{threshold:g} is no better than one answer for every sample, which reaches {number(reached, threshold)}"
        )
        return Suggestion(threshold=None, why_not=why_not)
    margin = abs((result.estimate or 0.0) - threshold)
    return Suggestion(threshold=threshold, margin=margin, of_population=not share, seeds=len(results) if moved else 1)


def moves(first: Result, second: Result) -> bool:
    """Return True if another seed gave another value, or an early verdict."""
    ends, others = first.numbers.left_interval, second.numbers.left_interval
    return changed((first.estimate, *ends), (second.estimate, *others))


def _why_not(result: Result) -> str:
    if result.estimate is None:
        return f"only {result.numbers.n} of {result.numbers.n_total} samples were evaluated"
    health = result.details.get("health") or []
    triggered = [one["name"] for one in health if not (one["suppressed"] or one.get("carried"))]
    if _guessed(result, result.ruling.threshold):  # another threshold may mend it
        triggered = [name for name in triggered if name != "constant_answer"]
    if triggered:
        return f"health check: {', '.join(triggered)}; the value may not show robustness"
    if "unaudited" in result.ruling.reasons:
        return "an audit of what the attack left did not end in time, or broke more in each round"
    if untested := result.details.get("nothing_tested"):
        return str(untested)
    threshold = result.ruling.threshold
    if threshold is None:
        return ""
    if len(set(limits_of(result))) > 1:
        return "the claim has several limits; choose the one to move"
    if result.verdict is not Verdict.INCONCLUSIVE:
        return ""
    # Where a claim is inconclusive although its value (about a population: its interval) keeps the threshold, something
    # else stands in the way. Another threshold helps only if nothing could have failed the present one.
    at_least = result.ruling.comparison == ">="
    values = [result.estimate, *(result.numbers.left_interval if is_about_population(result) else ())]
    kept = min(values) >= threshold if at_least else max(values) <= threshold
    empty = _to_lose(result) <= threshold or _untested(result, threshold) or _guessed(result, threshold)
    if kept and not empty:
        return f"inconclusive although the value keeps its threshold ({result.rule}): another one would not help"
    return ""


def _untested(result: Result, threshold: float) -> bool:
    worst = result.details.get("nothing_fails_at")
    return worst is not None and keeps(worst, threshold, at_least=result.ruling.comparison == ">=")


def _guessed(result: Result, threshold: float | None) -> bool:
    constant = result.details.get("constant_answer")
    return constant is not None and keeps(constant, threshold, at_least=result.ruling.comparison == ">=")


def _to_lose(result: Result) -> float:
    """Return the largest possible fall: the share that was right beyond chance; else infinity."""
    before = result.numbers.start.value if result.numbers.start is not None else None
    if before is None and result.numbers.counts is not None and result.numbers.counts.gained is not None:
        before = result.details.get("clean_accuracy")
    chance = result.details.get("without_looking") or 0.0
    return float(before) - float(chance) if isinstance(before, float) else math.inf


def fewest(held: int, n: int, alpha: float) -> int:
    """Return the fewest of n that hold in another sample, except with probability alpha: an exact one-sided bound.

    Args:
        held: number of the first n that hold.
        n: size of each sample, >= 1.
        alpha: largest probability that the second sample has fewer.
    """
    low, high = 0, held  # `held` itself is never rejected at alpha < 1/2
    while low < high:
        middle = (low + high) // 2
        # Given the number that hold in both samples together, the number in the second is hypergeometric whatever the
        # population's share: this finds the smallest number that Fisher's exact test does not reject.
        if hypergeometric_cdf(middle, 2 * n, held + middle, n) > alpha:
            high = middle
        else:
            low = middle + 1
    return low


def _next_bound(result: Result, alpha: float) -> tuple[float, int] | None:
    population, counts = is_about_population(result), result.numbers.counts
    if counts is None or counts.n < 1:
        return None
    events, n = counts.events, counts.n
    value = (events - (counts.gained or 0)) / n
    if result.estimate is None or not math.isclose(result.estimate, value, abs_tol=1e-9):
        return None
    if counts.gained is not None:
        # Losses and gains vary separately, so each gets half of alpha (Bonferroni).
        lost = n - fewest(n - events, n, alpha / 2)
        gained = min(fewest(counts.gained, n, alpha / 2), n - lost)
        return max(0.0, paired_interval(lost, gained, n, alpha)[1] if population else (lost - gained) / n), n
    if result.ruling.comparison == ">=":
        k = fewest(events, n, alpha)
        return (clopper_pearson(k, n, alpha)[0] if population else k / n), n
    k = n - fewest(n - events, n, alpha)
    return (clopper_pearson(k, n, alpha)[1] if population else k / n), n


def _rounded(value: float, n: int, *, down: bool, share: bool) -> float:
    if value == 0:
        return 0.0
    digits = (3 if n <= 1000 else 4) if share else 2 - math.floor(math.log10(abs(value)))
    parts: float = 10.0**digits
    if share and abs(value) <= 1:  # exactly, as thresholds are counted
        return (count_at_most(value, int(parts)) if down else count_at_least(value, int(parts))) / parts
    return round((math.floor if down else math.ceil)(value * parts) / parts, digits)
