"""Gates of any kind: how often one is red for a system that lost a given share of its right answers."""

# A gate looks at the scores of n items and is red, green or (rules of ours) inconclusive. Its chances are those over
# the runs of a system whose items stay the same from run to run, as those of a repository's gate do:
#
# - Two runs of one system differ in a share f of the items. This is what it takes of items that are right with chance
#   1/2 while the others are always right or always wrong: 2 f of them. Where a rate p has no room for so many, they are
#   right with a chance between 1/2 and p. The largest f of a rate is 2 p (1 - p): every item is right with chance p.
#   Where f is not known it is taken to be that.
# - A system that lost a rate d gives each item that it was right on up for good with chance q = d / p: what was always
#   right is right with chance 1 - q, what was right with chance c with c (1 - q).
#
# So the right answers of a run are a sum of independent variables of two kinds, whose distribution is a product of
# powers of their characteristic functions (one fast Fourier transform); the answers that a pair of runs lost and gained
# are trinomial. What the gate says of every such count is its own rule. Nothing is simulated, and no rule is replaced
# by an approximation, up to `_EXACT` answers; beyond, and of graded scores, sums are normal, with the exact mean and
# variance.

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from robustest.checks import require
from robustest.decisions.distributions import bdtr, binom, ndtr, ndtri
from robustest.decisions.noise_floor import POWER
from robustest.decisions.paired import fall_is_within, fall_seems_within
from robustest.decisions.share import clopper_pearson
from robustest.decisions.thresholds import count_at_least
from robustest.errors import ConfigError, expected

Numbers = NDArray[np.float64]

# Largest number of answers of a run whose distribution is summed; and of items that are tried to show a loss.
_EXACT, _MOST_ITEMS, _MOST_RUNS = 20_000, 10_000_000, 4_096
# Slack of a comparison of two rates in floating point.
_ROUNDED = 1e-9
# Steps in which a loss is found, and a tolerance.
_STEP, _STEP_OF_TOLERANCE = 1e-4, 1e-5
# The border of the paired rule is computed for so many numbers of gained answers, and interpolated between them: for
# more of them where there are up to `_FEW`, as each then has a large chance.
_ANCHORS, _FEW, _ANCHORS_OF_FEW = 9, 60, 41
# With more pairs the exact borders and the approximate ones give chances that differ by less than half a point.
_SEEN_EXACTLY = 2_000
# Numbers of pairs up to which a number that is needed is found by exact borders.
_FEW_PAIRS = 1_000
# Chance of the numbers that are left out on either side.
_LEFT_OUT = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSet:
    """Items of a gate, and a system's answers to them.

    Attributes:
        n: number of items, >= 1.
        rate: share of right answers, in 0..1.
        flips: share of the items in which two runs of one system differ; None for the largest, 2 rate (1 - rate).
        runs: runs of each item, whose mean is compared.
        within: of graded scores in 0..1 the mean variance of an item's scores over its runs; None for right and wrong.
        between: of graded scores the variance of the items' means.

    Raises:
        ConfigError: a value is out of range, or no system of this rate has so many flips.
    """

    n: int
    rate: float
    flips: float | None = None
    runs: int = 1
    within: float | None = None
    between: float = 0.0

    def __post_init__(self) -> None:
        require(self.n >= 1, "a number of items >= 1", self.n)
        require(0 <= self.rate <= 1, "a rate in 0..1", self.rate)
        require(self.runs >= 1, "a number of runs >= 1", self.runs)
        most = 2 * self.rate * (1 - self.rate)
        if self.flips is not None and not 0 <= self.flips <= most + _ROUNDED:
            mend = f"Two runs of a system of rate {self.rate:g} differ in at most {most:.4g} of the items."
            raise ConfigError(expected("flips that a system of this rate can have", self.flips, mend))

    @property
    def parts(self) -> tuple[int, int, float]:
        """Numbers of the items that are always right and that are unsettled, and the chance of the latter."""
        rate, most = self.rate, 2 * self.rate * (1 - self.rate)
        flips = most if self.flips is None else min(self.flips, most)
        if flips <= min(rate, 1 - rate):
            share, chance = 2 * flips, 0.5
        elif rate >= 0.5:  # all wrong answers are of unsettled items
            chance = flips / (2 * (1 - rate))
            share = (1 - rate) / (1 - chance)
        else:  # all right ones are
            chance = 1 - flips / (2 * rate)
            share = rate / chance
        # Whole numbers of items; the chance makes up for the rounding, so that the rate is the given one.
        unsettled = min(self.n, round(self.n * share))
        settled = min(self.n - unsettled, max(0, round(self.n * rate - unsettled * chance)))
        right = self.n * rate - settled
        if not unsettled and abs(right) > _ROUNDED:
            settled, unsettled = math.floor(self.n * rate), 1  # a rate that is no whole number of items
            right = self.n * rate - settled
        return settled, unsettled, min(1.0, max(0.0, right / unsettled)) if unsettled else 0.0

    def lost(self, loss: float) -> float:
        """Return the chance q with which a right answer is lost."""
        return min(1.0, loss / self.rate) if self.rate else 0.0

    def right(self, loss: float = 0.0) -> Numbers:
        """Return (n runs + 1,) chances of each number of right answers, of a system that lost a rate."""
        return _right(self, loss)

    def moments(self, loss: float = 0.0) -> tuple[float, float]:
        """Return mean and variance of the number of right answers, or sum of scores, over all runs of the items."""
        if self.within is not None:
            # An item's sum S over its runs is kept with one chance: E[S^2] = R v + R^2 m^2.
            kept, means = 1 - self.lost(loss), (self.rate**2 + self.between) * self.runs**2
            variance = kept * (self.runs * self.within + means) - kept**2 * means
            return self.n * self.runs * self.rate * kept, self.n * variance
        settled, unsettled, chance = self.parts
        stays, runs = 1 - self.lost(loss), self.runs
        mean = stays * runs * (settled + unsettled * chance)
        of_settled = stays * (1 - stays) * runs**2
        square = runs * chance * (1 - chance) + (runs * chance) ** 2
        return mean, settled * of_settled + unsettled * (stays * square - (stays * runs * chance) ** 2)


@lru_cache(maxsize=64)  # the runs that a stored score may come from are those of every loss and tolerance
def _right(items: ItemSet, loss: float) -> Numbers:
    settled, unsettled, chance = items.parts
    stays = 1 - items.lost(loss)
    always = np.zeros(items.runs + 1)
    always[0], always[-1] = 1 - stays, stays
    varies = stays * binom.pmf(np.arange(items.runs + 1), items.runs, chance)
    varies[0] += 1 - stays
    length = items.n * items.runs + 1
    spectrum = np.fft.rfft(always, length) ** settled * np.fft.rfft(varies, length) ** unsettled
    found = np.clip(np.fft.irfft(spectrum, length), 0.0, 1.0)
    found.flags.writeable = False
    return found


@dataclass(frozen=True, slots=True)
class Chances:
    """The chances that a gate is red, and that it is green; else it is inconclusive, which does not pass either."""

    red: float
    green: float

    @classmethod
    def of_red(cls, red: float) -> Chances:
        """Return the chances of a gate that is never inconclusive."""
        return cls(red, 1 - red)


class Gate(ABC):
    """A rule that scores of items keep or break."""

    __slots__ = ()

    @abstractmethod
    def chances(self, items: ItemSet, loss: float = 0.0) -> Chances:
        """Return the chances of the gate for a system that lost a rate, in 0..items.rate."""

    def grown(self, items: ItemSet, n: int) -> tuple[Gate, ItemSet]:
        """Return the gate on n items."""
        return self, replace(items, n=n)

    def repeated(self, items: ItemSet, runs: int) -> tuple[Gate, ItemSet] | None:
        """Return the gate on so many runs of each item; None if it takes one."""
        return None

    def roughly(self, items: ItemSet, loss: float = 0.0) -> Chances:
        """Return about the chances, for searches; by default the exact ones."""
        return self.chances(items, loss)


@dataclass(frozen=True, slots=True)
class Threshold(Gate):
    """Red if the mean score is below a threshold."""

    least: float

    def chances(self, items: ItemSet, loss: float = 0.0) -> Chances:
        answers = items.n * items.runs
        if items.within is not None:
            mean, variance = items.moments(loss)
            return Chances.of_red(float(ndtr((self.least * answers - mean) / math.sqrt(variance + 1e-300))))
        fewest = count_at_least(min(1.0, self.least), answers) if self.least > 0 else 0
        return Chances.of_red(_below(items, loss, fewest))

    def repeated(self, items: ItemSet, runs: int) -> tuple[Gate, ItemSet] | None:
        return self, replace(items, runs=runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance(Gate):
    """Red if the mean score is below a stored one by more than a tolerance.

    Attributes:
        tolerance: in 0..1, or as a share of the stored score.
        relative: True for a share of the stored score.
        both_sides: True if a score above it by more than the tolerance is red too.
        stored_runs: runs of the same items whose mean was stored; None if the stored score has no noise.
    """

    tolerance: float
    relative: bool = False
    both_sides: bool = False
    stored_runs: int | None = 1

    def chances(self, items: ItemSet, loss: float = 0.0) -> Chances:
        if items.within is not None:
            return self._normal(replace(items, runs=self.stored_runs or 1), items, loss)
        if self.stored_runs is None:
            stored, weight = np.array([items.rate]), np.ones(1)
        else:
            before = replace(items, runs=self.stored_runs)
            answers = before.n * before.runs
            if answers > _EXACT or items.n * items.runs > _EXACT:
                return self._normal(before, items, loss)
            weight = before.right()
            stored = np.arange(answers + 1) / answers
        allowed = self.tolerance * (stored if self.relative else 1.0)
        answers = items.n * items.runs
        low = np.ceil((stored - allowed) * answers - _ROUNDED).astype(np.int64)
        red = _all_below(items, loss, low)
        if self.both_sides:
            high = np.floor((stored + allowed) * answers + _ROUNDED).astype(np.int64)
            red = red + 1 - _all_below(items, loss, high + 1)
        return Chances.of_red(float(np.dot(weight, red)))

    def _normal(self, before: ItemSet, items: ItemSet, loss: float) -> Chances:
        stored, spread = (one / (before.n * before.runs) ** power for power, one in enumerate(before.moments(), 1))
        now, varies = (one / (items.n * items.runs) ** power for power, one in enumerate(items.moments(loss), 1))
        spread = 0.0 if self.stored_runs is None else spread
        kept = 1 - self.tolerance if self.relative else 1.0
        most = 1 + self.tolerance if self.relative else 1.0
        allowed = 0.0 if self.relative else self.tolerance
        red = float(ndtr((stored * kept - allowed - now) / math.sqrt(spread * kept**2 + varies + 1e-300)))
        if self.both_sides:
            red += float(ndtr((now - stored * most - allowed) / math.sqrt(spread * most**2 + varies + 1e-300)))
        return Chances.of_red(red)

    def repeated(self, items: ItemSet, runs: int) -> tuple[Gate, ItemSet] | None:
        """Return the gate on so many runs of each item, also of the stored score."""
        stored = None if self.stored_runs is None else max(runs, self.stored_runs)
        return replace(self, stored_runs=stored), replace(items, runs=runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalAbove(Gate):
    """Our claim that a rate is at least a threshold: green if its exact interval lies above, red if it lies below."""

    least: float
    alpha: float

    def chances(self, items: ItemSet, loss: float = 0.0) -> Chances:
        passes, fails = _exact_borders(items.n, self.least, self.alpha)
        return Chances(_below(items, loss, fails + 1), 1 - _below(items, loss, passes))


@dataclass(frozen=True, slots=True, kw_only=True)
class WilsonAbove(Gate):
    """Red if the lower end of Wilson's interval of a rate is below a threshold.

    Attributes:
        confidence: of the one-sided interval, in .5..1.
    """

    least: float
    confidence: float

    def chances(self, items: ItemSet, loss: float = 0.0) -> Chances:
        answers, z = items.n * items.runs, float(ndtri(self.confidence))
        # The lower end is at least T from the share on that is T + z sqrt(T (1 - T) / n), as the interval inverts the
        # score test of T.
        share = self.least + z * math.sqrt(self.least * (1 - self.least) / answers)
        return Chances.of_red(_below(items, loss, min(answers + 1, math.ceil(share * answers - _ROUNDED))))

    def repeated(self, items: ItemSet, runs: int) -> tuple[Gate, ItemSet] | None:
        return self, replace(items, runs=runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class EachGroup(Gate):
    """A gate on each group of items: red if one of them is, green if all are. A loss is in one group alone.

    Attributes:
        gate: of a group.
        sizes: items of each group; another number of items is divided among the groups alike.
        rates: of each group; empty for that of all items.
    """

    gate: Gate
    sizes: tuple[int, ...]
    rates: tuple[float, ...] = ()

    def chances(self, items: ItemSet, loss: float = 0.0) -> Chances:
        """Return the chances where the loss is in the group that shows it least, and is of that group's rate."""
        groups = self._groups(items)
        alike = [self.gate.chances(group) for group in groups]
        if not loss:
            return _all_of(alike)
        found = []
        for place, group in enumerate(groups):
            if group in groups[:place]:
                continue
            worse = self.gate.chances(group, min(loss, group.rate))
            found.append(_all_of([*alike[:place], worse, *alike[place + 1 :]]))
        return min(found, key=lambda one: one.red)

    def grown(self, items: ItemSet, n: int) -> tuple[Gate, ItemSet]:
        whole = sum(self.sizes)
        return replace(self, sizes=tuple(max(1, round(n * size / whole)) for size in self.sizes)), replace(items, n=n)

    def repeated(self, items: ItemSet, runs: int) -> tuple[Gate, ItemSet] | None:
        more = self.gate.repeated(items, runs)
        return None if more is None else (replace(self, gate=more[0]), more[1])

    def _groups(self, items: ItemSet) -> list[ItemSet]:
        rates = self.rates or (items.rate,) * len(self.sizes)
        share = None if items.flips is None else min(1.0, items.flips / max(2 * items.rate * (1 - items.rate), 1e-12))
        return [
            replace(items, n=n, rate=rate, flips=None if share is None else share * 2 * rate * (1 - rate))
            for n, rate in zip(self.sizes, rates, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class KOfRuns(Gate):
    """Red if an item is right in fewer than k of its runs. A loss lowers the chance of each run alike.

    Attributes:
        k: runs that have to be right, of the `runs` of each item.
    """

    k: int

    def chances(self, items: ItemSet, loss: float = 0.0) -> Chances:
        settled, unsettled, chance = items.parts
        if settled + unsettled < items.n and self.k > 0:
            return Chances.of_red(1.0)  # an item that is always wrong
        stays = 1 - items.lost(loss)
        passes = [float(1 - bdtr(self.k - 1, items.runs, stays * one)) if self.k else 1.0 for one in (1.0, chance)]
        return Chances.of_red(1 - passes[0] ** settled * passes[1] ** unsettled)

    def grown(self, items: ItemSet, n: int) -> tuple[Gate, ItemSet]:
        """Return the gate of n runs of each item, of which as large a share has to be right."""
        return replace(self, k=math.ceil(self.k * n / items.runs - _ROUNDED)), replace(items, runs=n)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedNoWorse(Gate):
    """Our claim that a rate fell by at most a tolerance, of pairs of right and wrong answers (`no_worse_than=`)."""

    tolerance: float
    alpha: float

    def chances(self, items: ItemSet, loss: float = 0.0) -> Chances:
        return self._chances(items, loss, exact=True)

    def roughly(self, items: ItemSet, loss: float = 0.0) -> Chances:
        return self._chances(items, loss, exact=False)

    def _chances(self, items: ItemSet, loss: float, *, exact: bool) -> Chances:
        if items.n > _EXACT:
            return self._normal(items, loss)
        settled, unsettled, chance = items.parts
        stays = 1 - items.lost(loss)
        lost, gained = chance * (1 - chance * stays), (1 - chance) * chance * stays
        exact = exact and items.n <= _SEEN_EXACTLY
        passes, fails = _paired_borders(
            items.n, unsettled, chance, tolerance=self.tolerance, alpha=self.alpha, exact=exact
        )
        numbers = np.arange(len(passes))
        weight = binom.pmf(numbers, unsettled, gained)
        kept = weight > _LEFT_OUT * 1e-3
        numbers, weight = numbers[kept], weight[kept]
        outright = np.arange(settled + 1)
        of_settled = binom.pmf(outright, settled, 1 - stays)
        kept_lost = of_settled > _LEFT_OUT * 1e-3
        outright, of_settled = outright[kept_lost], of_settled[kept_lost]
        # Given the gains, each other unsettled item is lost with one chance.
        share, trials = min(1.0, lost / max(1 - gained, 1e-12)), (unsettled - numbers)[:, None]

        def at_most(border: NDArray[np.int64]) -> float:
            left = border[:, None] - outright[None, :]
            below = np.where(left < 0, 0.0, bdtr(np.clip(left, 0, trials), trials, share))
            return float(weight @ below @ of_settled)

        return Chances(float(weight.sum()) - at_most(fails[kept] - 1), at_most(passes[kept]))

    def _normal(self, items: ItemSet, loss: float) -> Chances:
        settled, unsettled, chance = items.parts
        stays, n = 1 - items.lost(loss), items.n
        lost, gained = chance * (1 - chance * stays), (1 - chance) * chance * stays
        fall = (settled * (1 - stays) + unsettled * (lost - gained)) / n
        variance = settled * stays * (1 - stays) + unsettled * (lost + gained - (lost - gained) ** 2)
        spread = math.sqrt(variance) / n + 1e-300
        # The interval's half width is z times the spread of the falls of a population of such items.
        changing = (settled * (1 - stays) + unsettled * (lost + gained)) / n
        half = float(-ndtri(self.alpha)) * math.sqrt(max(changing - fall**2, 1e-12) / n)
        red, green = (float(ndtr((side * (fall - self.tolerance) - half) / spread)) for side in (1, -1))
        return Chances(red, green)


def noticed(gate: Gate, items: ItemSet, *, open_too: bool = False) -> float | None:
    """Return the smallest loss for which the gate is red with a chance of `POWER`; None if there is none.

    Args:
        open_too: True for the smallest loss for which it is not green.
    """

    def seen(loss: float) -> bool:
        found = gate.chances(items, loss)
        return (1 - found.green if open_too else found.red) >= POWER

    low, high = 0.0, items.rate
    if not seen(high):
        return None
    while high - low > _STEP:
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high


def items_needed(gate: Gate, items: ItemSet, loss: float, alpha: float) -> int | None:
    """Return about the fewest items (runs, for `KOfRuns`) with which the gate tells a loss from none.

    It is red for the loss with a chance of `POWER`; without one it is red with alpha at most, and green with `POWER`.

    Args:
        loss: in 0..items.rate.
    """

    def enough(n: int, *, exact: bool = False) -> bool:
        of, grown = gate.grown(items, n)
        return _tells(of.chances if exact else of.roughly, grown, loss, alpha)

    found = _fewest(enough, _MOST_ITEMS if not isinstance(gate, KOfRuns) else _MOST_RUNS)
    # The rough chances of few pairs are corrected.
    for _ in range(12):
        if found is None or found > _FEW_PAIRS or not isinstance(gate, PairedNoWorse) or enough(found, exact=True):
            break
        found = math.ceil(found * 1.03)
    return found


def runs_needed(gate: Gate, items: ItemSet, loss: float, alpha: float) -> int | None:
    """Return the fewest runs of each of these items with which the gate does so; None if there is no such number."""

    def enough(runs: int) -> bool:
        more = gate.repeated(items, runs)
        return more is not None and _tells(more[0].chances, more[1], loss, alpha)

    return _fewest(enough, _MOST_RUNS)


def _tells(chances: Callable[[ItemSet, float], Chances], items: ItemSet, loss: float, alpha: float) -> bool:
    alike = chances(items, 0.0)
    return alike.red <= alpha and alike.green >= POWER and chances(items, loss).red >= POWER


def quiet_tolerance(gate: Tolerance, items: ItemSet, alpha: float) -> float:
    """Return the smallest tolerance with which the gate is red with a chance of alpha at most, without a loss."""
    low, high = 0.0, 1.0
    while high - low > _STEP_OF_TOLERANCE:
        middle = (low + high) / 2
        if replace(gate, tolerance=middle).chances(items).red <= alpha:
            high = middle
        else:
            low = middle
    return high


def _fewest(enough: Callable[[int], bool], most: int) -> int | None:
    """Return about the smallest number that is enough, by doubling and bisection; None if none up to `most` is."""
    high = 1
    while not enough(high):
        high *= 2
        if high > most:
            return None
    low = high // 2
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high


def _all_of(chances: list[Chances]) -> Chances:
    """Return the chances of independent gates together: red if one is, green if all are."""
    return Chances(1 - math.prod(1 - one.red for one in chances), math.prod(one.green for one in chances))


def _below(items: ItemSet, loss: float, count: int) -> float:
    return float(_all_below(items, loss, np.array([count]))[0])


def _all_below(items: ItemSet, loss: float, counts: NDArray[np.int64]) -> Numbers:
    """Return (k,) chances that a run has fewer right answers than each count (k,)."""
    answers = items.n * items.runs
    if answers > _EXACT:
        mean, variance = items.moments(loss)
        found: Numbers = ndtr((counts - 0.5 - mean) / math.sqrt(variance + 1e-300))
        return np.where(counts <= 0, 0.0, np.where(counts > answers, 1.0, found))
    below = np.concatenate([[0.0], np.minimum(np.cumsum(items.right(loss)), 1.0)])
    return np.asarray(below[np.clip(counts, 0, answers + 1)])


@lru_cache(maxsize=1 << 12)
def _exact_borders(n: int, least: float, alpha: float) -> tuple[int, int]:
    """Return the fewest right answers that pass our claim, n + 1 if none do, and the most that fail it."""

    def first(end: int) -> int:
        low, high = 0, n + 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if clopper_pearson(middle, n, alpha)[end] >= least else (middle + 1, high)
        return low

    return first(0), first(1) - 1


@lru_cache(maxsize=1 << 10)
def _paired_borders(
    n: int, unsettled: int, chance: float, *, tolerance: float, alpha: float, exact: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each number of gained answers the most that may be lost in a pass (-1: none), and fewest of a failure.

    Args:
        unsettled, chance: see `ItemSet.parts`; numbers of gains that these hardly reach are left out.
        exact: False for the borders of the approximate limits.
    """
    least, most = (int(binom.ppf(q, unsettled, chance * (1 - chance))) for q in (_LEFT_OUT, 1 - _LEFT_OUT))
    gained = np.arange(min(most + 1, unsettled) + 1)

    def border(seems: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> NDArray[np.int64]:
        """Return the fewest losses at which this no longer holds, by bisection."""
        low, high = np.zeros(len(gained), dtype=np.int64), n - gained + 1
        while (low < high).any():
            middle = np.minimum((low + high) // 2, n - gained)
            holds = seems(middle) & (low < high)
            low, high = np.where(holds, middle + 1, low), np.where(holds, high, np.minimum(high, middle))
        return low

    passes = border(lambda lost: fall_seems_within(lost, gained, n, tolerance, alpha)) - 1
    fails = border(lambda lost: ~fall_seems_within(gained, lost, n, -tolerance, alpha))
    if not exact:
        return passes, fails
    # The exact borders are a few losses away, by a number that changes slowly with the gains.
    last = len(gained) - 1
    number = _ANCHORS_OF_FEW if last < _FEW else _ANCHORS
    anchors = np.unique(np.linspace(min(least // 2, last), last, number).round().astype(int))

    def moved(rough: NDArray[np.int64], inside: Callable[[int, int], bool]) -> NDArray[np.int64]:
        """Return the most losses, for each number of gains, that are inside."""
        shift, shifts = 0, []
        for gains in anchors.tolist():
            start = lost = min(max(int(rough[gains]) + shift, -1), n - gains)
            while lost >= 0 and not inside(lost, gains):
                lost -= 1
            if lost == start:
                while lost < n - gains and inside(lost + 1, gains):
                    lost += 1
            shift = lost - int(rough[gains])
            shifts.append(shift)
        return np.asarray(rough + np.rint(np.interp(gained, anchors, shifts)).astype(np.int64))

    return (
        moved(passes, lambda lost, gains: fall_is_within(lost, gains, n, tolerance, alpha)),
        moved(fails - 1, lambda lost, gains: not fall_is_within(gains, lost, n, -tolerance, alpha)) + 1,
    )
