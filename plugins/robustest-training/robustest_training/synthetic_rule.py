"""The rule on a synthetic set in place of real data: a verdict on each part, and on all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, exp, inf, log, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit
from scipy.stats import beta

from robustest import Verdict
from robustest.packs import Decision, Terms, clopper_pearson, number

# Accuracies of learners, with their variance over draws of training samples and of test samples.
#
# Other draws of one training set are not available. With accuracies a and b of its two halves, the variance of the
# whole is the mean of (a - b)^2 / 4, as for a mean (balanced repeated replication; McCarthy, Review of the
# International Statistical Institute 1969).


Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """Learners of equally many samples, each on another draw."""

    size: int  # training samples of each
    right: Floats  # (t,) share of learners that are right on each test sample, 0..1
    variance: float  # of their mean accuracy over draws of the training samples
    freedom: float  # degrees of freedom of that variance
    draws: int  # number of learners

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the approximate interval of the accuracy for other training and test samples, alpha on each side."""
        low, high = _interval(self.right, [(self.variance, self.freedom)], alpha)
        return max(0.0, low), min(1.0, high)


def halves_variance(pairs: ArrayLike) -> float:
    """Return the variance of a whole's accuracy over draws, from accuracies (r, 2) on the halves of r random splits."""
    both = np.asarray(pairs, dtype=np.float64)
    return float((((both[:, 0] - both[:, 1]) / 2) ** 2).mean())


def difference_interval(first: Trained, second: Trained, alpha: float) -> tuple[float, float]:
    """Return the interval of the difference of two accuracies, for other draws of training and test sets."""
    # Student's t with Welch's degrees of freedom (Biometrika 1947); the test samples are paired.
    sides = [(first.variance, first.freedom), (second.variance, second.freedom)]
    low, high = _interval(first.right - second.right, sides, alpha)
    return max(-1.0, low), min(1.0, high)


def _interval(values: Floats, others: list[tuple[float, float]], alpha: float) -> tuple[float, float]:
    """Return the interval of the mean of (t,) values in -1..1, with further variances and their degrees of freedom."""
    t, value = len(values), float(values.mean())
    # Pseudo-observations as for a share (Agresti and Coull 1998): equal values prove nothing about others.
    more = float(ndtri(alpha)) ** 2
    spread = (float(((values - value) ** 2).sum()) + more) / (t * (t + more))
    parts = [(spread, max(1.0, t - 1.0)), *others]
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / free for variance, free in parts)
    reach = -float(stdtrit(freedom, alpha)) * sqrt(total)
    return value - reach, value + reach


# The share of a sample below a low quantile of held-out values.


def fewest_held_out(quantile: float) -> int:
    """Return the number of held-out values needed for a quantile to lie among them."""
    return ceil(1 / quantile)


def share_below(values: Floats, held_out: Floats, quantile: float) -> tuple[float, float]:
    """Return the share of values (m,) below a quantile of held-out ones (t,), and the quantile; 0 is always below."""
    cut = float(np.quantile(held_out, quantile))
    return float(_below(values, cut).mean()), cut


def share_below_interval(values: Floats, held_out: Floats, quantile: float, alpha: float) -> tuple[float, float]:
    """Return an interval of the share below the quantile of the population of held-out values, alpha on each side."""
    # The share of a population below the k-th of t draws has a beta distribution, so the quantile lies between two of
    # the held-out values but for half of alpha on each side. Clopper-Pearson bounds of the shares below either one, at
    # the other half, are the ends.
    ordered, t, m = np.sort(held_out), len(held_out), len(values)
    ranks = np.arange(1, t + 1)
    certainly_below = int((beta.sf(quantile, ranks, t + 1 - ranks) <= alpha / 2).sum())
    certainly_above = int((beta.cdf(quantile, ranks, t + 1 - ranks) > alpha / 2).sum())
    low = float(ordered[certainly_below - 1]) if certainly_below else 0.0
    high = float(ordered[certainly_above]) if certainly_above < t else inf
    fewest, most = int(_below(values, low).sum()), int(_below(values, np.nextafter(high, inf)).sum())
    return clopper_pearson(fewest, m, alpha / 2)[0], clopper_pearson(most, m, alpha / 2)[1]


def _below(values: Floats, cut: float) -> NDArray[np.bool_]:
    # Exact copies have a ratio of 0, which no quantile of ratios can be below.
    below: NDArray[np.bool_] = (values < cut) | (values == 0)
    return below


# The distance of the class shares of two sets, and the distance expected by chance.


Counts = NDArray[np.int64]

# Draws of the noise: enough for a quantile at a quarter of the usual alpha.
_DRAWS = 10_000


def total_variation(first: Counts, second: Counts) -> float:
    """Return half the summed differences of the class shares, in 0..1, from counts (K,)."""
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)


def chance_variation(first: Counts, second: Counts) -> float:
    """Return the expected total variation of two sets of these sizes from one population."""
    # Mean absolute value of a normal difference, at the shares of both sets together.
    n, m = int(first.sum()), int(second.sum())
    shares = (first + second) / (n + m)
    return float(np.sqrt(2 * shares * (1 - shares) * (1 / n + 1 / m) / pi).sum() / 2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variation:
    """The total variation of the class shares of two sets, with its error."""

    value: float  # as measured, 0..1
    noise: NDArray[np.float64]  # (draws,) total variations of noise
    spread: float  # the sum of one over each set's size

    @classmethod
    def of(cls, first: Counts, second: Counts, *, seed: int) -> Variation:
        """Return the total variation of two sets of counts (K,), with draws by a seed."""
        random = np.random.default_rng(seed % 2**64)
        noise = np.zeros((_DRAWS, len(first)))
        for counts, sign in ((first, 1), (second, -1)):
            # Half a sample more of each class: a class without samples need not be absent.
            shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
            noise += sign * (random.multinomial(int(counts.sum()), shares, size=_DRAWS) / counts.sum() - shares)
        spread = 1 / int(first.sum()) + 1 / int(second.sum())
        return cls(value=total_variation(first, second), noise=np.abs(noise).sum(1) / 2, spread=spread)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the interval between the populations of the sets, alpha on each side."""
        # Chance moves every share, so the measured value is too high on average, and the ends differ. Below: it exceeds
        # the true one by at most the total variation of the noise, whose quantile is drawn from multinomials. Above:
        # the true value is the difference of the shares of some group of classes, which the measured value is at least
        # in these samples; Hoeffding's inequality (1963) bounds the error of their shares.
        below, above = float(np.quantile(self.noise, 1 - alpha)), sqrt(log(1 / alpha) / 2 * self.spread)
        return max(0.0, self.value - below), min(1.0, self.value + above)


# Learning curves read backwards: the number of real samples that teach as much as another set.


# Sizes compared between two measured ones.
_STEPS = 24
# A wider interval of sizes (by this factor) means that the curve is flat there.
_WIDEST = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachesAs:
    """The number of real samples that teach as much."""

    size: float | None  # read off the curve; None if the curve is flat there, or ends before
    low: float | None  # low, high: its interval; None if the curve ends before
    high: float | None


def rising(values: Floats, weights: Floats) -> Floats:
    """Return the closest values (n,) that never fall, by least squares with weights (n,) > 0."""
    # Pool adjacent violators (Ayer et al. 1955): merge a value with its predecessors while they are not below it.
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, total, members = value, weight, 1
        while pools and pools[-1][0] >= mean:
            before, heavy, many = pools.pop()
            mean = (before * heavy + mean * total) / (heavy + total)
            total, members = heavy + total, members + many
        pools.append((mean, total, members))
    return np.repeat([mean for mean, _, _ in pools], [members for _, _, members in pools])


def at_size(curve: Sequence[Trained], size: float) -> Trained | None:
    """Return learners of a size between measured ones, along the logarithm of the size; None beyond the curve."""
    for less, more in pairwise(curve):
        if less.size * (1 - 1e-9) <= size <= more.size * (1 + 1e-9):
            share = log(size / less.size) / log(more.size / less.size)
            return Trained(
                size=round(size),
                right=(1 - share) * less.right + share * more.right,
                # The more uncertain neighbour's error: interpolation must not look surer than the points.
                variance=max(less.variance, more.variance),
                freedom=min(less.freedom, more.freedom),
                draws=min(less.draws, more.draws),
            )
    return None


def teaches_as(curve: Sequence[Trained], other: Trained, alpha: float) -> TeachesAs:
    """Return the place of a real learning curve with the accuracy of learners of another set, and its interval."""
    sizes = [exp(v) for less, more in pairwise(curve) for v in np.linspace(log(less.size), log(more.size), _STEPS)]
    # The interval holds every size at which real learners are neither surely better nor surely worse.
    alike = [size for size in sizes if _alike(curve, other, size, alpha)]
    if not alike:
        return _between(curve, other, sizes, alpha)
    low, high = alike[0], alike[-1]
    ends = (None if low == sizes[0] else low, None if high == sizes[-1] else high)
    if high / low > _WIDEST or low == sizes[0]:
        return TeachesAs(size=None, low=ends[0], high=ends[1])
    return TeachesAs(size=_inverted(curve, other.accuracy), low=ends[0], high=ends[1])


def _alike(curve: Sequence[Trained], other: Trained, size: float, alpha: float) -> bool:
    there = at_size(curve, size)
    if there is None:
        return False
    low, high = difference_interval(there, other, alpha)
    return low <= 0 <= high


def _between(curve: Sequence[Trained], other: Trained, sizes: list[float], alpha: float) -> TeachesAs:
    # No size fits: the curve is above the accuracy, below it, or leaps over it.
    if difference_interval(curve[0], other, alpha)[0] > 0:
        return TeachesAs(size=None, low=None, high=sizes[0])
    if difference_interval(curve[-1], other, alpha)[1] < 0:
        return TeachesAs(size=None, low=sizes[-1], high=None)
    size = _inverted(curve, other.accuracy)
    return TeachesAs(size=size, low=size, high=size)


def _inverted(curve: Sequence[Trained], accuracy: float) -> float:
    """Return the size at which the rising curve has an accuracy; an end for accuracies beyond."""
    means = np.array([one.accuracy for one in curve])
    weights = np.array([1 / (one.variance + 1e-6) for one in curve])
    level = rising(means, weights) + 1e-12 * np.arange(len(curve))  # where it is level, the first size that reaches it
    return exp(float(np.interp(accuracy, level, [log(one.size) for one in curve])))


# The quantile of held-out real samples' ratios of distances below which a sample counts as a copy.
UNUSUAL = 0.01

Interval = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the claim."""

    name: str
    value: float | None  # the estimate; None if it is not resolved
    interval: Interval  # None for an unknown end
    threshold: float | None  # the claimed upper limit; None for no claim
    verdict: Verdict  # inconclusive for no claim
    rule: str = ""  # reason for an inconclusive verdict other than the interval

    def told(self) -> dict[str, Any]:
        verdict = "not claimed" if self.threshold is None else str(self.verdict)
        ends = list(self.interval)
        return {"part": self.name, "value": self.value, "interval": ends, "at most": self.threshold, "verdict": verdict}

    def why(self) -> str:
        if self.rule:
            return f"{self.name}: {self.rule}"
        value = "not resolved" if self.value is None else f"{self.value:.3g}"
        low, high = (" - " if end is None else f"{end:.3g}" for end in self.interval)
        return f"{self.name} {value} [{low}, {high}], at most {self.threshold:g} claimed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoversRule:
    """The rule of `measure_synthetic_covers`."""

    parts: int  # number of claimed parts
    terms: Terms
    seed: int  # of draws for intervals

    @property
    def _fail_alpha(self) -> float:
        # Bonferroni: each claimed part may fail at an equal share of alpha.
        return self.terms.alpha / max(1, self.parts)

    def boundary(self, real: Trained, synthetic: Trained, max_gap: float | None, *, idle: float) -> Part:
        """Return the part on the accuracy lost by training on synthetic samples.

        Args:
            idle: accuracy of always answering the largest class.
        """
        alpha = self.terms.alpha
        name, value = "accuracy gap", real.accuracy - synthetic.accuracy
        ends = difference_interval(real, synthetic, alpha)
        verdict, rule = _verdict(ends, max_gap, difference_interval(real, synthetic, self._fail_alpha)[0]), ""
        # A learner that real samples teach nothing can lose nothing.
        if verdict is Verdict.PASSED and real.interval(alpha)[0] <= idle:
            rule = f"real samples teach the learner no more than always to answer the largest class ({number(idle)})"
        elif verdict is Verdict.PASSED and max_gap is not None and real.accuracy - idle <= max_gap:
            rule = (
                f"nothing could have failed it: real samples teach only {number(real.accuracy - idle, max_gap)} "
                f"beyond {number(idle)}"
            )
        verdict = Verdict.INCONCLUSIVE if rule else verdict
        return self._about(Part(name=name, value=value, interval=ends, threshold=max_gap, verdict=verdict, rule=rule))

    def labels(self, synthetic: Counts, real: Counts, max_shift: float | None) -> Part:
        """Return the part on the total variation of class shares, from (K,) counts of both sets."""
        seen = Variation.of(synthetic, real, seed=self.seed)
        ends, low = seen.interval(self.terms.alpha), seen.interval(self._fail_alpha)[0]
        verdict = _verdict(ends, max_shift, low, exact=seen.value if self.terms.scope == "set" else None)
        return Part(name="label shift", value=seen.value, interval=ends, threshold=max_shift, verdict=verdict)

    def copies(self, ratios: Floats, held_out: Floats, max_copies: float | None) -> Part:
        """Return the part on the share of copies, from ratios of distances to nearest and second nearest samples."""
        value, _ = share_below(ratios, held_out, UNUSUAL)
        ends = share_below_interval(ratios, held_out, UNUSUAL, self.terms.alpha)
        wide = share_below_interval(ratios, held_out, UNUSUAL, self._fail_alpha)[0]
        verdict, rule = _verdict(ends, max_copies, wide, exact=value if self.terms.scope == "set" else None), ""
        fewest = fewest_held_out(UNUSUAL)
        if verdict is Verdict.PASSED and len(held_out) < fewest:
            rule = f"{len(held_out)} test samples, fewer than {fewest}, do not place a quantile of {UNUSUAL:g}"
            verdict = Verdict.INCONCLUSIVE
        return Part(name="copies", value=value, interval=ends, threshold=max_copies, verdict=verdict, rule=rule)

    def diversity(self, curve: Sequence[Trained], synthetic: Trained, max_factor: float | None) -> Part:
        """Return the part on the number of synthetic samples to one real sample that teaches as much."""
        seen = teaches_as(curve, synthetic, self.terms.alpha)
        value, low, high = (
            None if size is None else synthetic.size / size for size in (seen.size, seen.high, seen.low)
        )
        verdict, rule = Verdict.INCONCLUSIVE, ""
        if max_factor is not None:
            # The factor is at most the threshold if learners of size / threshold real samples are no better than those
            # of the synthetic ones: one comparison, which needs no inversion of the curve.
            there = at_size(curve, synthetic.size / max_factor)
            if there is None:
                least, most = (synthetic.size / curve[at].size for at in (-1, 0))
                rule = f"the real learning curve tells factors of {least:.3g} to {most:.3g}, not {max_factor:g}"
            elif difference_interval(there, synthetic, self._fail_alpha)[0] > 0:
                verdict = Verdict.FAILED
            elif difference_interval(there, synthetic, self.terms.alpha)[1] <= 0:
                verdict = Verdict.PASSED
            elif value is None:
                rule = "not resolved: the real learning curve is flat there"
        name = "diversity factor"
        return self._about(
            Part(name=name, value=value, interval=(low, high), threshold=max_factor, verdict=verdict, rule=rule)
        )

    def _about(self, part: Part) -> Part:
        # Draws of trainings are estimated from halves and Student's t, without a guarantee: no pass of a population.
        if self.terms.scope == "set" or part.verdict is not Verdict.PASSED:
            return part
        rule = (
            "not shown for the population: Student's t over training draws and test samples holds only about "
            f'alpha = {self.terms.alpha:g} a side, and for none that are rare; claim it of these sets (scope="set")'
        )
        return replace(part, verdict=Verdict.INCONCLUSIVE, rule=rule)

    def decide(self, parts: Sequence[Part]) -> Decision:
        """Return the decision on all parts; the gap comes first, and its value is the claim's."""
        gap, claimed = parts[0], [part for part in parts if part.threshold is not None]
        low, high = gap.interval
        interval = (-1.0 if low is None else low, 1.0 if high is None else high)
        verdict, rule, asked = Verdict.INCONCLUSIVE, "no threshold given", gap.threshold is not None
        if asked:
            verdict = next(one for one in _WORST if one in {part.verdict for part in claimed})
            rule = f"training draws and test samples, about alpha = {self.terms.alpha:g} a side"
        if asked and verdict is not Verdict.PASSED:
            rule = "; ".join(part.why() for part in claimed if part.verdict is verdict) + f"; {rule}"
        return Decision(
            verdict=verdict, rule=rule, estimate=gap.value, interval=interval, at_alpha=asked, approximate=True
        )


# The verdict of parts that must all hold is the first of these that one of them has.
_WORST = (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)


def _verdict(ends: tuple[float, float], threshold: float | None, low: float, *, exact: float | None = None) -> Verdict:
    """Return the verdict: failed by the lower end `low`, passed by the upper one, or by the exact value."""
    # A part fails if its interval is beyond the threshold at its share of alpha, and passes if its interval keeps the
    # threshold. Labels and copies are facts about this very set, so a claim about the set passes by their measured
    # (exact) value.
    if threshold is None:
        return Verdict.INCONCLUSIVE
    if low > threshold:
        return Verdict.FAILED
    return Verdict.PASSED if (ends[1] if exact is None else exact) <= threshold else Verdict.INCONCLUSIVE
