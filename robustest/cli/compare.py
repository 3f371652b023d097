"""`robustest compare`: two runs, claim by claim."""

# 1. Claims of both runs are matched by test and key (`Subject.claim`); thresholds may differ.
# 2. If the same samples were evaluated, outcomes are paired: `lost` held only in the first run, `gained` only in the
#    second. The exact one-sided McNemar test gives the p-value of the loss.
# 3. Holm's step-down rule (Scandinavian Journal of Statistics 1979) over all paired claims bounds the probability that
#    any unchanged claim is called worse by alpha, and the same for better.
# 4. Verdicts count beside the pairs: a claim that passed and fails now is worse, unless only its requirements became
#    stricter and the model is known to be unchanged.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from pathlib import Path

from robustest.account import Row
from robustest.cli.results_file import ResultsFile, read_results
from robustest.cli.screen import Exit, Screen, counted, missing
from robustest.decisions.drop import mcnemar
from robustest.decisions.multiplicity import holm
from robustest.decisions.paired import paired_interval
from robustest.decisions.two_set_drop import share_difference_interval
from robustest.errors import ConfigError
from robustest.reports.text import measured
from robustest.results import NOT_PAIRED, Pairing, Result, Verdict
from robustest.settings import Settings
from robustest.words import interval_in_words, number

ClaimKey = tuple[str, str, int]
"""Identity of a claim: its test, its key, and its index among the claims of that key in the test."""
Requirement = tuple[str, float]
"""A comparison (">=" or "<=") and its number."""

# Error probability of calling the start of a fall lower on other samples.
_START_ALPHA = 0.05
# Slack for the end of a fall, which is computed as a difference.
_ROUNDING = 1e-9
# Settings whose change may move outcomes or verdicts.
_TELLING_SETTINGS = ("seed", "alpha", "scope", "precision", "attack", "profile")


class ClaimTrend(StrEnum):
    """Change of a claim from the first run to the second."""

    WORSE = "worse"
    BETTER = "better"
    UNCHANGED = "unchanged"
    MOVED = "threshold moved"
    NOT_PAIRED = "not paired"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedOutcomes:
    """Outcomes of the same samples in two runs."""

    # number of samples that held only in the first run, and only in the second
    lost: int
    gained: int
    n: int  # number of samples evaluated in both
    # exact one-sided McNemar p-values of loss and gain; with groups the smallest one, times their number
    worse: float
    better: float
    group: str = ""  # the group with the surest change; empty for all samples


@dataclass(frozen=True, slots=True)
class ClaimPair:
    """One claim in two runs."""

    before: Row
    after: Row
    pairs: PairedOutcomes | None  # its paired outcomes, or None
    why_not: str  # reason why outcomes are not paired; else empty
    required: tuple[tuple[Requirement, ...], tuple[Requirement, ...]] = ((), ())  # its requirements before and after

    @property
    def fell(self) -> bool:
        return self._passed == (True, False)

    @property
    def rose(self) -> bool:
        return self._passed == (False, True)

    @property
    def _passed(self) -> tuple[bool, ...]:
        results = self.before.result, self.after.result
        return tuple(one is not None and one.verdict is Verdict.PASSED for one in results)

    @property
    def _both(self) -> tuple[Result, Result]:
        assert self.before.result is not None  # noqa: S101 - see `trend`
        assert self.after.result is not None  # noqa: S101
        return self.before.result, self.after.result

    @property
    def unexplained(self) -> bool:
        """True if the claim fell under stricter requirements, and nothing shows that the model is unchanged."""
        if not self.fell or self.pairs is not None or self.after.result is None:
            return False
        return _stricter(*self.required) and not self._below_old_threshold() and not self._same_model()

    def trend(self, paired: ClaimTrend | None) -> ClaimTrend:
        """Return the change of the claim; `paired` is its change by paired outcomes alone, or None."""
        if self.before.result is None or self.after.result is None:
            return ClaimTrend.WORSE if self.fell else ClaimTrend.NOT_MEASURED
        # Whatever the pairs show, a claim that passed and fails now is worse, unless only more is required of it.
        if paired is ClaimTrend.WORSE or (self.fell and (not _stricter(*self.required) or self._below_old_threshold())):
            return ClaimTrend.WORSE
        # A model that became worse at the start of a fall can pass a limit on the fall; that is no improvement.
        if self.rose and paired is not ClaimTrend.BETTER and self._smaller_fall_from_lower_start():
            return ClaimTrend.UNCHANGED if paired is ClaimTrend.UNCHANGED else ClaimTrend.NOT_PAIRED
        if paired is ClaimTrend.BETTER or (self.rose and not _stricter(*reversed(self.required))):
            return ClaimTrend.BETTER
        moved = self.required[0][:-1] != self.required[1][:-1] or self.fell or self.rose
        if moved and (paired is ClaimTrend.UNCHANGED or self._same_model()):
            return ClaimTrend.MOVED
        same = self.before.result.verdict is self.after.result.verdict and self._same_number()
        return ClaimTrend.UNCHANGED if paired is ClaimTrend.UNCHANGED or same else ClaimTrend.NOT_PAIRED

    def _below_old_threshold(self) -> bool:
        """Return True if the value now breaks the old threshold too, and no other requirement changed."""
        first, second = self._both
        if first.ruling.threshold is None or second.estimate is None:
            return False
        others = [[one for one in required[:-1] if one != required[0]] for required in self.required]
        return others[0] == others[1] and _breaks(second.estimate, first.ruling.comparison, first.ruling.threshold)

    def _smaller_fall_from_lower_start(self) -> bool:
        first, second = self._both
        start, later = _start_of(first), _start_of(second)
        if start is None or later is None:
            return False
        (before, of_before), (after, of_after) = start, later
        if second.estimate is not None and second.ruling.threshold is not None:
            # Measured from its old start to its new end, the fall must be larger than allowed.
            end = after / of_after - second.estimate
            if before / of_before - end <= second.ruling.threshold + _ROUNDING:
                return False
        # On the same samples a lower start is a fact; on other samples it must be lower beyond chance.
        if first.evidence.data and first.evidence.data == second.evidence.data:
            return after / of_after < before / of_before
        return share_difference_interval(before, of_before, after, of_after, _START_ALPHA)[0] > 0

    def _same_number(self) -> bool:
        first, second = self._both
        if first.estimate is None or second.estimate is None:
            return False
        if first.evidence.data != second.evidence.data or (
            not first.evidence.data and first.outcomes != second.outcomes
        ):
            return False
        return math.isclose(first.estimate, second.estimate, rel_tol=1e-9, abs_tol=1e-12)

    def _same_model(self) -> bool:
        first, second = self._both
        if (
            first.evidence.model
            and first.evidence.model == second.evidence.model
            and first.evidence.seed == second.evidence.seed
        ):
            return True
        new = second.ruling.threshold
        same_data = first.evidence.data == second.evidence.data and first.estimate is not None
        # A value that already broke the new threshold before explains the failure without any change of the model.
        if same_data and new is not None and new != first.ruling.threshold:
            return _breaks(first.estimate or 0.0, second.ruling.comparison, new) or self._same_number()
        return self._same_number()


def _breaks(value: float, comparison: str, threshold: float) -> bool:
    return value < threshold if comparison == ">=" else value > threshold


def limits_of(result: Result) -> tuple[Requirement, ...]:
    """Return the numbers that a claim requires, its threshold first."""
    first = () if result.ruling.threshold is None else ((result.ruling.comparison, result.ruling.threshold),)
    return (*first, *((one.comparison, one.value) for one in result.ruling.further_limits))


def is_about_population(result: Result) -> bool:
    """Return True if a claim requires a bound on the population."""
    # A claim of several parts may decide each part in another scope than the whole.
    return bool(result.details.get("scope_of_parts", result.subject.scope) == "population")


def _requirements_of(result: Result, alpha: float) -> tuple[Requirement, ...]:
    """Return all requirements of a claim in a fixed order."""
    # A claim about the population requires more than one about the set. So does a smaller error probability, which is
    # last.
    required = [*limits_of(result), (">=", float(is_about_population(result)))]
    baseline = result.details.get("baseline") or {}
    if isinstance(baseline.get("accuracy"), float):
        required.append((">=", baseline["accuracy"] - float(baseline.get("tolerance") or 0.0)))
    return (*required, ("<=", alpha))


def _stricter(before: Sequence[Requirement], after: Sequence[Requirement]) -> bool:
    if len(before) != len(after):
        return len(after) > len(before)
    return any(b > a if sign == ">=" else b < a for (sign, a), (_, b) in zip(before, after, strict=True))


def pair(before: Row, after: Row, alphas: tuple[float, float] = (0.0, 0.0)) -> ClaimPair:
    """Pair the outcomes of a claim in two runs, or find the reason why they cannot be paired.

    Args:
        before, after: rows of the claim.
        alphas: alpha of the two runs.
    """
    if before.result is None or after.result is None:
        return ClaimPair(before, after, None, "not measured")
    required = (_requirements_of(before.result, alphas[0]), _requirements_of(after.result, alphas[1]))
    first, second = _pairing(before.result), _pairing(after.result)
    if why_not := _why_not_paired(before.result, after.result, first, second):
        return ClaimPair(before, after, None, why_not, required)
    outcomes = before.result.outcomes, after.result.outcomes
    parts: dict[str, tuple[Sequence[bool | None], Sequence[bool | None]]]
    # The outcomes of a fall are paired at both ends: a worse start can hide in an unchanged difference.
    if first.start:
        parts = {"start of the fall": (first.start, second.start), "end of the fall": outcomes}
    else:
        groups: Mapping[str, Sequence[int]] = first.groups or {"": range(len(outcomes[0]))}
        parts = {
            name: ([outcomes[0][at] for at in ids], [outcomes[1][at] for at in ids]) for name, ids in groups.items()
        }
    found = []
    for name, (old, new) in parts.items():
        both = list(zip(old, new, strict=True))
        lost, gained = both.count((True, False)), both.count((False, True))
        if n := sum(outcome is not None for outcome in old):
            worse, better = mcnemar(lost, gained), mcnemar(gained, lost)
            found.append(PairedOutcomes(lost=lost, gained=gained, n=n, worse=worse, better=better, group=name))
    if not found:
        return ClaimPair(before, after, None, "no sample was evaluated", required)
    # The group with the surest change, its p-values corrected for the number of groups (Bonferroni).
    shown = min(found, key=lambda one: min(one.worse, one.better))
    worse = min(1.0, len(found) * min(one.worse for one in found))
    better = min(1.0, len(found) * min(one.better for one in found))
    return ClaimPair(before, after, replace(shown, worse=worse, better=better), "", required)


def _pairing(result: Result) -> Pairing:
    """Return the pairing that the kind of claim declares."""
    if result.evidence.pairing is not None:
        return result.evidence.pairing
    # Without a declared pairing, outcomes may be paired only if their share is the value.
    outcomes_there = [outcome for outcome in result.outcomes if outcome is not None]
    share = outcomes_there.count(result.ruling.comparison == ">=") / len(outcomes_there) if outcomes_there else None
    same = result.estimate is None or (share is not None and math.isclose(share, result.estimate, abs_tol=1e-9))
    return Pairing() if same else NOT_PAIRED


def _start_of(result: Result) -> tuple[int, int] | None:
    outcomes_there = [outcome for outcome in _pairing(result).start if outcome is not None]
    if outcomes_there:
        return outcomes_there.count(True), len(outcomes_there)
    numbers = result.numbers
    start = None if numbers.start is None else numbers.start.value
    return (round(start * numbers.n), numbers.n) if isinstance(start, float) and numbers.n else None


def _why_not_paired(before: Result, after: Result, first: Pairing, second: Pairing) -> str:
    for name, result in (("A", before), ("B", after)):
        if not result.evidence.data:
            n, n_total = result.numbers.n, result.numbers.n_total
            return f"{name} evaluated {n} of {n_total} samples (--robust-exact evaluates all)"
    if before.evidence.data != after.evidence.data:
        return "the samples differ"
    if [o is None for o in before.outcomes] != [o is None for o in after.outcomes]:
        return "different samples were evaluated"
    if first.start and second.start:
        if not first.start_data or not second.start_data:
            return "not all samples at the start of the fall were evaluated (--robust-exact evaluates all)"
        if first.start_data != second.start_data:
            return "the samples at the start of the fall differ"
    elif not (first.share and second.share):
        return "its verdict does not follow from a share of the samples"
    if first.under != second.under:
        return f"its conditions differ: {first.under or 'none'} before, {second.under or 'none'} now"
    return "" if first.groups == second.groups else "the groups differ"


def trends(pairs: Sequence[ClaimPair], alpha: float) -> list[ClaimTrend]:
    """Return the change of each claim.

    Args:
        pairs: all claims of both runs.
        alpha: probability that any unchanged claim is called worse by its pairs; the same for better.
    """
    paired = {place: one.pairs for place, one in enumerate(pairs) if one.pairs is not None}
    worse, better = (
        {place for place, p in zip(paired, holm(values), strict=True) if p <= alpha}
        for values in ([one.worse for one in paired.values()], [one.better for one in paired.values()])
    )
    found = []
    for place, one in enumerate(pairs):
        by_pairs = (
            ClaimTrend.WORSE if place in worse else ClaimTrend.BETTER if place in better else ClaimTrend.UNCHANGED
        )
        found.append(one.trend(by_pairs if place in paired else None))
    return found


def by_claim(rows: Sequence[Row]) -> dict[ClaimKey, Row]:
    """Return rows by the identity of their claims."""
    found: dict[ClaimKey, Row] = {}
    for row in rows:
        key = "" if row.result is None else row.result.subject.claim
        number = next(n for n in count() if (row.test, key, n) not in found)
        found[row.test, key, number] = row
    return found


_COLOURS = {
    ClaimTrend.WORSE: "red",
    ClaimTrend.BETTER: "green",
    ClaimTrend.NOT_MEASURED: "red",
    ClaimTrend.MOVED: "yellow",
}
_LOUD = (ClaimTrend.WORSE, ClaimTrend.BETTER, ClaimTrend.NOT_MEASURED)


def compare(a: str, b: str, *, alpha: float | None, fail_on_worse: bool, allow_missing: bool) -> int:
    """Print both runs claim by claim, and the changes.

    Returns:
        With fail_on_worse 1 if a claim is worse, and 3 if one was not measured or is gone.
    """
    before, after = (read_results(Path(path)) for path in (a, b))
    shown = before.account.rows, after.account.rows
    ours, theirs = (by_claim([row for row in rows if row.result is not None or row.red]) for rows in shown)
    problems = {row.test: row for row in shown[1] if row.result is None}
    # A test that could not measure stands for all claims that it made before.
    theirs = {**theirs, **{key: problems[key[0]] for key in ours if key not in theirs and key[0] in problems}}
    alphas = _alpha_of(before), _alpha_of(after)
    level = alphas[1] if alpha is None else alpha
    both = [pair(ours[key], theirs[key], alphas) for key in ours if key in theirs]
    found = trends(both, level)
    screen = Screen()
    screen.write_sep("=", "comparison")
    for name, path, run in (("A", a, before), ("B", b, after)):
        models = {
            row.result.evidence.model
            for row in run.account.results
            if row.result is not None and row.result.evidence.model
        }
        model = f"  model {next(iter(models))[:12]}" if len(models) == 1 else ""
        screen.write_line(f"{name}  {path}  robustest {run.version}{model}")
    for name in _TELLING_SETTINGS:
        if before.settings.get(name) != after.settings.get(name):
            values = f"A {before.settings.get(name)}, B {after.settings.get(name)}"
            screen.write_line(f"{name} differs: {values}", yellow=True)
    for one, trend in zip(both, found, strict=True):
        _print_pair(screen, one, trend, level)
    gone, new = [key for key in ours if key not in theirs], [key for key in theirs if key not in ours]
    for name, keys in (("A", gone), ("B", new)):
        for test, claim, _ in keys:
            screen.write_line(f"only in {name}: {test}  {claim or 'could not measure'}", yellow=True)
    for path, run in ((a, before), (b, after)):
        for problem in run.account.lost:
            screen.write_line(f"LOST: {path} lost results: {problem}", red=True)
    counts = [*((str(trend), found.count(trend)) for trend in ClaimTrend), ("gone", len(gone))]
    text = ", ".join(f"{number} {name}" for name, number in counts if number)
    screen.write_line(
        f"{counted(len(both), 'claim')} in both: {text} (alpha = {level:g})" if both else "no claim is in both runs"
    )
    if not fail_on_worse:
        return Exit.OK

    # First a claim that was measured and is worse; then everything that leaves the answer open.
    if any(trend is ClaimTrend.WORSE and one.after.result is not None for one, trend in zip(both, found, strict=True)):
        return Exit.NOT_PASSED
    rows = after.account.rows  # with tests that failed beside their claims, and pytest's end of the run
    unmeasured = any(row.result is None and row.red for row in rows)
    open_ = any(one.unexplained or (one.after.result is None and one.before.result is not None) for one in both)
    # Claims that a test did not reach may not be gone even with --allow-missing.
    cut_short = {row.test for row in rows if row.result is None or row.red}
    absent = not cut_short.isdisjoint(key[0] for key in gone) if allow_missing else bool(gone)
    lost = before.account.lost or after.account.lost
    return Exit.MISSING if lost or unmeasured or open_ or absent or not both else Exit.OK


def _alpha_of(run: ResultsFile) -> float:
    try:
        return Settings().but({"alpha": run.settings.get("alpha")}).alpha
    except ConfigError as error:
        raise missing(f"Expected the settings of a run in {run.path} but got: {error}. Run the tests again") from error


def _print_pair(screen: Screen, one: ClaimPair, trend: ClaimTrend, alpha: float) -> None:
    result = one.before.result if one.after.result is None else one.after.result
    screen.write_line(f"{one.after.test}{'' if result is None else f'  {result.subject.statement}'}")
    for name, row in (("A", one.before), ("B", one.after)):
        if row.result is None:
            line = f"could not measure: {row.problem.splitlines()[0]}"
        else:
            line = f"{measured(row.result)}  {row.result.verdict}"
        screen.write_line(f"    {name}  {line}")
    word = trend.upper() if trend in _LOUD else str(trend)
    pairs = one.pairs
    if pairs is not None:
        low, high = paired_interval(pairs.lost, pairs.gained, pairs.n, alpha)
        group = f" in group {pairs.group!r}" if pairs.group else ""
        by_verdict = trend in (ClaimTrend.WORSE, ClaimTrend.BETTER) and one.trend(ClaimTrend.UNCHANGED) is trend
        drop = f"{number((pairs.lost - pairs.gained) / pairs.n, digits=4)} {interval_in_words(low, high, digits=4)}"
        text = (
            f"paired: {pairs.lost} lost, {pairs.gained} gained of {pairs.n}{group}; drop of the share that holds "
            f"{drop}; McNemar p = {pairs.worse:.2g} "
            f"worse, {pairs.better:.2g} better; {word}{' by its verdict' if by_verdict else ''}"
        )
    elif one.before.result is None or one.after.result is None:
        text = word
    else:
        verdict = "" if trend is ClaimTrend.NOT_PAIRED else f"; {word} by its verdict"
        unknown = "; more is required, so it is unknown whether the model is worse" if one.unexplained else ""
        text = f"not paired: {one.why_not}{verdict}{unknown}"
    screen.write_line(f"    {text}", **({_COLOURS[trend]: True} if trend in _COLOURS else {}))
