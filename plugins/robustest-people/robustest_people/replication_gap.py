"""The claim that a replicated data set costs little accuracy once both sets are equally hard for annotators.

Engstrom et al., "Identifying Statistical Bias in Dataset Replication" (ICML 2020). Selection frequencies are measured
with noise, so the gap at equal measured frequency is biased. The jackknife leaves a bias of order 1 / annotators
squared: half a point with 10 an item, a tenth of a point with 40, in the paper's setting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import hypot
from typing import Any, Unpack, cast

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from robustest.data import as_samples
from robustest.errors import ConfigError, DataError, expected, unknown
from robustest.packs import (
    Decision,
    Evidence,
    Kind,
    Options,
    Quantity,
    Result,
    Settings,
    Setup,
    Terms,
    Verdict,
    about,
    accuracy_of,
    apply,
    approximate,
    assertion,
    fallible,
    few,
    judge_interval,
    measurement,
    no_lines,
    optional_threshold,
    result_of,
    terms_of,
)
from robustest_people.annotations import Annotations
from robustest_people.beta_mixture import Cells, Floats, Ints, accuracy_by_mixture

RESAMPLES = {"jackknife": 1000, "beta-mixture": 200, None: 1000}
"""Bootstrap draws, by correction; each draw of the mixture is a fit."""


REPLICATION_GAP = Kind(
    name="replication_gap",
    quantities=(
        Quantity.at_most("at_most", "replication gap", "replication gap, {}", trivial=1, start="source_accuracy"),
    ),
    lines=no_lines,
)
"""How much lower accuracy is on a replicated data set, once both are equally hard."""


@measurement(REPLICATION_GAP)
def measure_replication_gap(
    model: object,
    data: object,
    new_data: object,
    *,
    annotations: tuple[Annotations, Annotations],
    at_most: float | None = None,
    correction: str | None = "jackknife",
    resamples: int | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure the accuracy on a data set minus that on its replication, at equal selection frequency.

    Three gaps are reported (Engstrom et al., ICML 2020): raw; naive, at equal measured frequency; and corrected for the
    noise of measured frequencies. Images of equal frequency are assumed to be equally hard in both sets. The bootstrap
    interval decides, also with `scope="set"`, since annotators are a sample. It is approximate, so a claim about the
    population does not pass by it.

    Args:
        model: as for `measure_robust_accuracy`; or, with data and new_data None, a pair of (N1,) and (N2,) bool
            outcomes.
        data, new_data: the original data set and its replication, as for `measure_robust_accuracy`.
        annotations: of the items of both sets in order, at least 10 an item, none used for matching.
        at_most: the largest corrected gap, in 0..1.
        correction: "jackknife", "beta-mixture", or None to claim the naive gap (`assert_transfer_accuracy` claims the
            raw one).
        resamples: bootstrap draws, >= 100; None takes 1000, or 200 for the mixture.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: annotations are too few, were used for matching, or do not fit the data; else as for
            `measure_robust_accuracy`.
        ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_most = optional_threshold("at_most", at_most, trivial=1)
    draws = _draws(correction, resamples)
    first_says, second_says = _checked(annotations)
    first, second, settings = _outcomes(model, data, new_data, (len(first_says), len(second_says)), options)
    items = _Items.of(first_says, first), _Items.of(second_says, second)
    terms = terms_of(settings)
    gaps = replication_gaps(items[0].cells, items[1].cells, correction, resamples=draws, seed=settings.seed)
    decision = fallible(decide_gap(gaps, at_most, terms=terms), first, at_most, alpha=terms.alpha)
    whole = first.whole and second.whole
    how = "not corrected" if correction is None else f"corrected by {correction}"
    result = result_of(
        second.including(first),
        decision if whole else replace(decision, estimate=None, rule=f"{decision.rule}; budget: not all items"),
        settings,
        kind=REPLICATION_GAP,
        statement=REPLICATION_GAP.quantities[0].state(how),
        threshold=at_most,
        setting=f"{first.n} and {second.n} items, {gaps.annotations} annotations or more of each",
        method=f"equal selection frequencies; image bootstrap, {draws} draws",
        details=_details(gaps, items, terms.alpha, whole=whole),
        caveats=few(first.n, " of the original"),
    )
    return replace(result, notes=(*result.notes, *_notes(gaps, correction)))


@assertion(measure_replication_gap)
def assert_replication_gap() -> None:
    """Claim that accuracy on a replicated data set is at most `max_gap` lower once both are equally hard.

    Raises:
        ClaimFailed: the gap is larger.
        ClaimInconclusive: items and annotations do not settle it.
    """


@dataclass(frozen=True, slots=True)
class _Items:
    """The items of a data set that were evaluated."""

    cells: Cells
    accuracy: float
    frequency: float
    dropped: int

    @classmethod
    def of(cls, says: Annotations, evidence: Evidence) -> _Items:
        held = evidence.columns["held"].astype(bool)
        selected, shown = says.selected[evidence.ids], says.shown[evidence.ids]
        frequency = float(says.frequency[evidence.ids].mean())
        return cls(Cells.of(selected, shown, held), float(held.mean()), frequency, says.dropped)


def _draws(correction: str | None, resamples: int | None) -> int:
    """Return the number of bootstrap draws of a correction.

    Raises:
        ConfigError: it is unknown, or the draws are no whole number >= 100.
    """
    if correction not in RESAMPLES:
        raise unknown("correction", correction, [name for name in RESAMPLES if name])
    draws = RESAMPLES[correction] if resamples is None else resamples
    if type(draws) is not int or draws < 100:
        raise ConfigError(expected("resamples to be a whole number >= 100", resamples))
    return draws


def _checked(annotations: object) -> tuple[Annotations, Annotations]:
    if (
        not isinstance(annotations, tuple | list)
        or len(annotations) != 2
        or not all(isinstance(says, Annotations) for says in annotations)
    ):
        raise ConfigError(expected("a pair of Annotations, of data and of new_data", annotations))
    for name, says in zip(("data", "new_data"), annotations, strict=True):
        if not says.independent:
            raise DataError(
                f"Expected annotations of {name} that were not used for matching but these were: items chosen for "
                "what annotators said of them look better by it than they are. Leave them out (matching=...), or "
                "collect new ones."
            )
        few = np.flatnonzero(says.shown < FEWEST)
        if len(few) or not len(says):
            which = f", the first is item {few[0]} with {says.shown[few[0]]}" if len(few) else ""
            raise DataError(
                f"Expected {FEWEST} annotations or more of each item of {name} but {len(few)} of {len(says)} items "
                f"have fewer{which}."
            )
    return annotations[0], annotations[1]


def _outcomes(
    model: object, data: object, new_data: object, sizes: tuple[int, int], options: Options
) -> tuple[Evidence, Evidence, Settings]:
    """Return the model's outcomes on both data sets, measured or given.

    Raises:
        ConfigError: outcomes are given with data sets.
        DataError: as many items as annotations are not there.
    """
    given = isinstance(model, tuple | list)
    if given and (data is not None or new_data is not None):
        raise ConfigError("Expected data=None and new_data=None with outcomes in place of a model but got data sets.")
    classifier, settings = apply((lambda x: x) if given else model, options)
    if given:
        pair = cast("tuple[object, ...]", model)
        if len(pair) != 2:
            raise ConfigError(expected("a pair of outcomes, of data and of new_data", model))
        evidence = [_evidence_of(outcomes) for outcomes in pair]
        counts = [side.total for side in evidence]
    else:
        samples = [as_samples(data), as_samples(new_data)]
        counts = [len(side) for side in samples]
    for name, items, n in zip(("data", "new_data"), counts, sizes, strict=True):
        if items != n:
            raise DataError(f"Expected annotations of each of the {items} items of {name} but got {n}.")
    if not given:
        evidence = [
            accuracy_of(Setup(classifier, side, settings), f"accuracy on {name}")
            for name, side in zip(("the original", "the replication"), samples, strict=True)
        ]
    return evidence[0], evidence[1], settings


def _evidence_of(outcomes: object) -> Evidence:
    """Return evidence of outcomes that the user gave."""
    held: NDArray[Any] = outcomes.detach().cpu().numpy() if isinstance(outcomes, Tensor) else np.asarray(outcomes)
    if held.ndim != 1 or held.dtype != bool or not len(held):
        raise DataError(expected("outcomes as a bool array, (N,)", outcomes))
    ids = np.arange(len(held))
    return Evidence(
        decision=Decision(verdict=Verdict.INCONCLUSIVE, rule="given", estimate=float(held.mean()), interval=(0.0, 1.0)),
        columns={"held": held, "id": ids},
        ids=ids,
        total=len(held),
    )


def _details(gaps: Gaps, items: tuple[_Items, _Items], alpha: float, *, whole: bool) -> dict[str, Any]:
    def told(gap: Gap) -> dict[str, Any]:
        return {"estimate": gap.estimate if whole else None, "interval": list(gap.interval(alpha)), "error": gap.error}

    return {
        "raw": told(gaps.raw),
        "naive": told(gaps.naive),
        "corrected": told(gaps.corrected),
        "annotations": gaps.annotations,
        "uncovered": gaps.uncovered,
        "source_accuracy": items[0].accuracy if whole else None,
        "target_accuracy": items[1].accuracy if whole else None,
        "source_frequency": items[0].frequency,
        "target_frequency": items[1].frequency,
        "dropped_annotations": items[0].dropped + items[1].dropped,
    }


def _notes(gaps: Gaps, correction: str | None) -> list[str]:
    notes = []
    for name, gap in (("raw", gaps.raw), ("at equal measured frequency", gaps.naive)):
        notes.append(f"gap {name}: {gap.estimate:.3f} +- {gap.error:.3f} (standard error)")
    if correction is None:
        notes.append("not corrected for the noise of selection frequencies: the gap is biased")
    if gaps.uncovered > 0:
        notes.append(f"{gaps.uncovered:.1%} of the original is at selection frequencies that the replication lacks")
    return notes


# Engstrom et al. (ICML 2020): the replication is matched to the original on selection frequency s. It is measured
# with n annotators an item, and choosing by measured s favours items whose measurement was lucky. The gap at equal
# *measured* s is biased in order 1 / n; the jackknife removes that order.


FEWEST = 10
"""Annotations an item needs: with fewer, the bias of what is selected by them is no longer of the order 1 / n."""

MOST_UNCOVERED = 0.05
"""Share of the original's items at frequencies that the replication lacks, above which no verdict is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """An accuracy on the original minus an accuracy on the replication.

    Attributes:
        estimate: the gap, -1..1.
        error: its bootstrap standard error.
    """

    estimate: float
    error: float

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the normal interval, alpha on each side, within -1..1."""
        reach = float(norm.ppf(1 - alpha)) * self.error
        return max(-1.0, self.estimate - reach), min(1.0, self.estimate + reach)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """The raw, naive and corrected gap.

    Attributes:
        raw: the difference in accuracy.
        naive: the difference at equal measured selection frequency.
        corrected: the difference after the correction; the naive one without a correction.
        annotations: annotations per item that the naive gap rests on.
        uncovered: share of the original's items at frequencies that the replication lacks, 0..1; the replication's
            accuracy is interpolated there.
    """

    raw: Gap
    naive: Gap
    corrected: Gap
    annotations: int
    uncovered: float


def replication_gaps(v1: Cells, v2: Cells, correction: str | None, *, resamples: int, seed: int) -> Gaps:
    """Return the gaps between an original and its replication, with a bootstrap over images.

    Args:
        v1, v2: items of both sets, with at least `FEWEST` annotations each, none used for matching. Items with more
            annotations are averaged over all subsets of the smallest number.
        correction: "jackknife", "beta-mixture" or None.
        resamples: bootstrap draws, >= 2.
        seed: of the draws and the mixture's starting points.
    """
    random = np.random.default_rng(seed % 2**64)
    n = int(min(v1.shown.min(), v2.shown.min()))
    draws = v1.resampled(resamples, random), v2.resampled(resamples, random)
    points = v1.count[None], v2.count[None]
    first = _accuracy(v1, points[0]), _accuracy(v1, draws[0])

    def gap(adjusted: Callable[[Ints, Ints], Floats]) -> Gap:
        return _gap(float((first[0] - adjusted(*points))[0]), first[1] - adjusted(*draws), v1.size, v2.size)

    raw = gap(lambda _, w2: _accuracy(v2, w2))
    naive = gap(lambda w1, w2: matched_accuracy(v1, v2, w1, w2, n))
    corrected = naive
    if correction == "jackknife":
        corrected = gap(lambda w1, w2: jackknife_accuracy(v1, v2, w1, w2, n))
    elif correction == "beta-mixture":
        point, again = accuracy_by_mixture(v1, v2, points, draws, n, random=random)
        corrected = _gap(float(first[0][0]) - point, first[1] - again, v1.size, v2.size)
    there = points[1] @ v2.thinned(n) > 0
    mass = points[0] @ v1.thinned(n) / v1.size
    return Gaps(raw=raw, naive=naive, corrected=corrected, annotations=n, uncovered=float(mass[~there].sum()))


def matched_accuracy(v1: Cells, v2: Cells, w1: Ints, w2: Ints, n: int) -> Floats:
    """Return (b,) accuracies on v2, weighted to v1's distribution of selection frequencies at n annotators.

    Args:
        v1, v2: the items; every one has n annotations or more.
        w1, w2: (b, c) counts of their cells.
        n: annotators.
    """
    thin = v2.thinned(n)
    shown, right = w2 @ thin, (w2 * v2.correct) @ thin
    weight = w1 @ v1.thinned(n)
    given = np.divide(right, shown, out=np.zeros_like(right), where=shown > 0)
    for row in np.flatnonzero((shown == 0).any(1)):
        there = shown[row] > 0
        given[row, ~there] = np.interp(np.flatnonzero(~there), np.flatnonzero(there), given[row, there])
    accuracy: Floats = (weight * given).sum(1) / weight.sum(1)
    return accuracy


def jackknife_accuracy(v1: Cells, v2: Cells, w1: Ints, w2: Ints, n: int, *, delete: int | None = None) -> Floats:
    """Return (b,) accuracies of `matched_accuracy`, extrapolated to infinitely many annotators.

    Jackknife: with A(n) the accuracy at n annotators, (n A(n) - (n - d) A(n - d)) / d has no bias of order 1 / n. A(n -
    d) is the exact mean over all ways to leave d annotators out.

    Args:
        v1, v2, w1, w2, n: as for `matched_accuracy`.
        delete: d, 1..n-1; None takes n // 10. The authors take 1, which multiplies the noise of finitely many images by
            n; a tenth multiplies it by ten and leaves hardly more bias.
    """
    delete = max(1, n // 10) if delete is None else delete
    all_of_them = matched_accuracy(v1, v2, w1, w2, n)
    fewer = matched_accuracy(v1, v2, w1, w2, n - delete)
    return (n * all_of_them - (n - delete) * fewer) / delete


def decide_gap(gaps: Gaps, max_gap: float | None, *, terms: Terms) -> Decision:
    """Return the verdict on the corrected gap. Annotators are a sample, so the interval decides.

    The bootstrap is approximate: it does not pass a claim about a population (see `robustest.packs.approximate`).

    Args:
        gaps: as `replication_gaps` gives them.
        max_gap: the gap claimed at most, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
    """
    interval, rule = gaps.corrected.interval(terms.alpha), f"image bootstrap, {about(terms.alpha)}"
    verdict = Verdict.INCONCLUSIVE
    if max_gap is None:
        rule = "no threshold given"
    elif gaps.uncovered > MOST_UNCOVERED:
        rule = f"{gaps.uncovered:.0%} of the original is at selection frequencies that the replication lacks"
    else:
        verdict = judge_interval(interval, max_gap, at_least=False)
    estimate, at_alpha = gaps.corrected.estimate, max_gap is not None
    decision = Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, at_alpha=at_alpha)
    instead = 'claim the gap as it is with assert_transfer_accuracy(max_drop=, scope="population")'
    return approximate(decision, terms, by="the image bootstrap", units="items", instead=instead)


def _accuracy(cells: Cells, weights: Ints) -> Floats:
    accuracy: Floats = (weights @ cells.correct) / weights.sum(1)
    return accuracy


def _gap(estimate: float, again: Floats, size_1: int, size_2: int) -> Gap:
    """Where all items agree, the bootstrap sees no error; one or two items in each data set may still be wrong."""
    least = 2 * hypot(1 / size_1, 1 / size_2)
    return Gap(estimate=estimate, error=max(least, float(again.std(ddof=1))))
