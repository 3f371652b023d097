"""The claim that a replicated data set costs little accuracy once both sets are equally hard for annotators.

Engstrom et al., "Identifying Statistical Bias in Dataset Replication" (ICML 2020): the gap at equal measured selection
frequency is biased. The jackknife leaves a bias of half a point with 10 annotators per item, a tenth of a point with
40, in the paper's setting.
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

from robustest import Result, Settings, Verdict
from robustest.errors import ConfigError, DataError, expected, unknown
from robustest.packs import (
    Changed,
    Decision,
    Evidence,
    Kind,
    Options,
    Quantity,
    Setup,
    ShareRule,
    Terms,
    assertion,
    checked_threshold,
    decide_by_interval,
    finish,
    measurement,
    number,
    observe,
    settings_of,
)
from robustest_people.annotations import Annotations
from robustest_people.beta_mixture import Cells, Floats, Ints, accuracy_by_mixture
from robustest_people.selection_gap import Labelling

# Bootstrap draws by correction; each draw of the mixture is a fit.
RESAMPLES = {"jackknife": 1000, "beta-mixture": 200, None: 1000}


REPLICATION_GAP = Kind(
    name="replication_gap",
    varies="sets",
    quantities=(
        Quantity.at_most("at_most", "replication gap", "replication gap, {}", trivial=1, start="source_accuracy"),
    ),
    brief=True,
)


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

    Reported are the raw gap, the naive one at equal measured frequency, and one corrected for the noise of frequencies
    (Engstrom et al., ICML 2020). Images of equal frequency are assumed to be equally hard. Annotators are a sample, so
    the bootstrap interval decides also with `scope="set"`; it is approximate, so no claim about the population passes
    by it.

    Args:
        model: as for `measure_robust_accuracy`; or, with data and new_data None, a pair of (N1,) and (N2,) bool
            outcomes.
        data, new_data: the original data set and its replication, as for `measure_robust_accuracy`.
        annotations: of the items of both sets in order, at least 10 per item, none used for matching.
        at_most: the largest corrected gap, in 0..1.
        correction: "jackknife", "beta-mixture", or None to claim the naive gap.
        resamples: bootstrap draws, >= 100; None takes 1000, or 200 for the mixture.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: annotations are too few, were used for matching, or do not fit the data.
        ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_most = checked_threshold("at_most", at_most, trivial=1, optional=True)
    draws = _draws(correction, resamples)
    first_says, second_says = _checked(annotations)
    first, second, settings = _outcomes(model, data, new_data, annotations, options)
    items = _Items.of(first_says, first), _Items.of(second_says, second)
    terms = Terms.of(settings)
    gaps = replication_gaps(items[0].cells, items[1].cells, correction, resamples=draws, seed=settings.seed)
    decision = decide_gap(gaps, at_most, terms=terms)
    whole = first.whole and second.whole
    how = "not corrected" if correction is None else f"corrected by {correction}"
    result = finish(
        settings,
        second.including(first),
        decision=decision if whole else replace(decision, estimate=None),
        kind=REPLICATION_GAP,
        statement=REPLICATION_GAP.quantities[0].state(how),
        threshold=at_most,
        setting=f"{first.n} and {second.n} items, {gaps.annotations} annotations or more of each",
        method=f"equal selection frequencies; image bootstrap, {draws} draws",
        details=_details(gaps, items, terms.alpha, whole=whole),
        further={"of the original": first.n},
        start=first,
        changed=[Changed.brought("the replicated set", first, second)],
    )
    rule = result.rule if whole else f"{result.rule}; budget: not all items"
    return result.but(rule=rule, notes=(*result.words.notes, *_notes(gaps, correction)))


@assertion(measure_replication_gap)
def assert_replication_gap() -> None:
    """Claim that accuracy on a replicated data set is at most `at_most` lower once both are equally hard.

    Raises:
        ClaimFailed: the gap is larger.
        ClaimInconclusive: too few items or annotations to decide.
    """


@dataclass(frozen=True, slots=True)
class _Items:
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
                f"Expected annotations of {name} that were not used for matching but these were: items selected "
                "by their annotations look better in these annotations than they are. Leave them out (matching=...), "
                "or collect new ones."
            )
        few = np.flatnonzero(says.shown < FEWEST)
        if len(few) or not len(says):
            which = f", the first is item {few[0]} with {says.shown[few[0]]}" if len(few) else ""
            raise DataError(
                f"Expected {FEWEST} annotations or more of each item of {name} but {len(few)} of {len(says)} items "
                f"have fewer{which}. Collect more, or leave these items out."
            )
    return annotations[0], annotations[1]


def _outcomes(
    model: object, data: object, new_data: object, annotations: tuple[Annotations, Annotations], options: Options
) -> tuple[Evidence, Evidence, Settings]:
    given = isinstance(model, tuple | list)
    if given and (data is not None or new_data is not None):
        raise ConfigError("Expected data=None and new_data=None with outcomes in place of a model but got data sets.")
    settings = settings_of(options, inputs=True)
    if given:
        pair = cast("tuple[object, ...]", model)
        if len(pair) != 2:
            raise ConfigError(expected("a pair of outcomes, of data and of new_data", model))
        evidence = [_evidence_of(outcomes, says) for outcomes, says in zip(pair, annotations, strict=True)]
        counts = [side.total for side in evidence]
    else:
        setups = [Setup.of(model, side, options) for side in (data, new_data)]
        counts = [len(side.samples) for side in setups]
    for name, items, says in zip(("data", "new_data"), counts, annotations, strict=True):
        if items != len(says):
            raise DataError(f"Expected annotations of each of the {items} items of {name} but got {len(says)}.")
    if not given:
        evidence = [
            observe(
                side.plan(
                    f"accuracy on {name}",
                    Labelling(),
                    ShareRule(threshold=None, at_least=True, terms=side.alone),
                    identity=("accuracy and labels",),
                )
            )
            for name, side in zip(("the original", "the replication"), setups, strict=True)
        ]
    return evidence[0], evidence[1], settings


def _evidence_of(outcomes: object, says: Annotations) -> Evidence:
    """Return outcomes as evidence; an item is known by its outcome and its annotations, as no inputs are."""
    held: NDArray[Any] = outcomes.detach().cpu().numpy() if isinstance(outcomes, Tensor) else np.asarray(outcomes)
    if held.ndim != 1 or held.dtype != bool or not len(held):
        raise DataError(expected("outcomes as a bool array, (N,)", outcomes))
    ids = np.arange(len(held))
    return Evidence(
        decision=Decision(verdict=Verdict.INCONCLUSIVE, rule="given", estimate=float(held.mean()), interval=(0.0, 1.0)),
        columns={"held": held, "id": ids},
        ids=ids,
        total=len(held),
        inputs=tuple(
            f"{right} {selected} of {shown}".encode()
            for right, selected, shown in zip(held, says.selected, says.shown, strict=False)
        ),
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
        notes.append(f"gap {name}: {number(gap.estimate)} +- {number(gap.error)} (standard error)")
    if correction is None:
        notes.append(
            "not corrected for the noise of selection frequencies: the gap is biased, correction= reduces the bias"
        )
    if gaps.uncovered > 0:
        notes.append(f"{gaps.uncovered:.1%} of the original is at selection frequencies that the replication lacks")
    return notes


# Engstrom et al. (ICML 2020): the replication is matched to the original on selection frequency s. It is measured
# with n annotators an item, and choosing by measured s favours items whose measurement was lucky. The gap at equal
# *measured* s is biased in order 1 / n; the jackknife removes that order.


# Fewest annotations per item: below, the bias is no longer of order 1 / n.
FEWEST = 10

# No verdict is reached if a larger share of the original is at frequencies that the replication lacks.
MOST_UNCOVERED = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """An accuracy on the original minus an accuracy on the replication."""

    estimate: float  # the gap, -1..1
    error: float  # its bootstrap standard error

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the normal interval, alpha on each side, within -1..1."""
        reach = float(norm.ppf(1 - alpha)) * self.error
        return max(-1.0, self.estimate - reach), min(1.0, self.estimate + reach)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """The raw, naive and corrected gap."""

    raw: Gap  # difference in accuracy
    naive: Gap  # difference at equal measured selection frequency
    corrected: Gap  # difference after the correction, if any
    annotations: int  # annotations per item that the naive gap rests on
    # Share of the original's items at frequencies that the replication lacks, 0..1; its accuracy is interpolated there.
    uncovered: float


def replication_gaps(v1: Cells, v2: Cells, correction: str | None, *, resamples: int, seed: int) -> Gaps:
    """Return the gaps between an original and its replication, with a bootstrap over images.

    Args:
        v1, v2: items with at least `FEWEST` annotations each, none used for matching.
    """
    random = np.random.default_rng(seed % 2**64)
    # Frequencies compare only at equal numbers of annotators: items with more are averaged over all subsets of n.
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
    """Return (b,) accuracies on v2, weighted to v1's distribution of selection frequencies at n annotators."""
    thin = v2.thinned(n)
    shown, right = w2 @ thin, (w2 * v2.correct) @ thin
    weight = w1 @ v1.thinned(n)
    given = np.divide(right, shown, out=np.zeros_like(right), where=shown > 0)
    # Frequencies that a resample of the replication lacks: interpolate the accuracy between its neighbours.
    for row in np.flatnonzero((shown == 0).any(1)):
        there = shown[row] > 0
        given[row, ~there] = np.interp(np.flatnonzero(~there), np.flatnonzero(there), given[row, there])
    accuracy: Floats = (weight * given).sum(1) / weight.sum(1)
    return accuracy


def jackknife_accuracy(v1: Cells, v2: Cells, w1: Ints, w2: Ints, n: int, *, delete: int | None = None) -> Floats:
    """Return (b,) accuracies of `matched_accuracy`, extrapolated to infinitely many annotators.

    Args:
        v1, v2, w1, w2, n: as for `matched_accuracy`.
        delete: annotators left out, 1..n-1; None takes n // 10.
    """
    # With A(n) the accuracy at n annotators, (n A(n) - (n - d) A(n - d)) / d has no bias of order 1 / n. The authors
    # take d = 1, which multiplies the noise of finitely many images by n; a tenth of n multiplies it by ten and leaves
    # hardly more bias. A(n - d) is the exact mean over all ways to leave d annotators out.
    delete = max(1, n // 10) if delete is None else delete
    all_of_them = matched_accuracy(v1, v2, w1, w2, n)
    fewer = matched_accuracy(v1, v2, w1, w2, n - delete)
    return (n * all_of_them - (n - delete) * fewer) / delete


def decide_gap(gaps: Gaps, max_gap: float | None, *, terms: Terms) -> Decision:
    """Return the verdict on the corrected gap.

    Args:
        max_gap: the claimed gap, in 0..1; None for no claim.
    """
    lacking = max_gap is not None and gaps.uncovered > MOST_UNCOVERED
    words = f"{gaps.uncovered:.0%} of the original is at selection frequencies that the replication lacks"
    # The bootstrap has no guarantee in finite samples, so no claim about a population passes by it.
    return decide_by_interval(
        gaps.corrected.estimate,
        gaps.corrected.interval(terms.alpha),
        max_gap,
        at_least=False,
        terms=terms,
        how="image bootstrap",
        by="the image bootstrap",
        units="items",
        instead='claim the gap as it is with assert_transfer_accuracy(max_drop=, scope="population")',
        doubt=words if lacking else "",
    )


def _accuracy(cells: Cells, weights: Ints) -> Floats:
    accuracy: Floats = (weights @ cells.correct) / weights.sum(1)
    return accuracy


def _gap(estimate: float, again: Floats, size_1: int, size_2: int) -> Gap:
    # If all items agree, the bootstrap sees no error; one or two items in each data set may still be wrong.
    least = 2 * hypot(1 / size_1, 1 / size_2)
    return Gap(estimate=estimate, error=max(least, float(again.std(ddof=1))))
