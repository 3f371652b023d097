"""What is left of an accuracy drop on a replicated data set once both sets are equally hard for annotators.

Engstrom et al., "Identifying Statistical Bias in Dataset Replication" (ICML 2020). Selection frequencies are measured
with noise, so that the gap at equal measured frequency is still biased. The bias left by the jackknife is of the order
1 / annotators squared: in the setting of the paper's theory half a point with 10 an item, a tenth of a point with 40.
All of it takes for granted that images of equal selection frequency are equally hard in both data sets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Unpack, cast

import numpy as np
from numpy.typing import NDArray
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
    Verdict,
    accuracy_of,
    apply,
    assertion,
    fallible,
    few,
    measurement,
    no_lines,
    optional_threshold,
    result_of,
    terms_of,
)
from robustest_people.annotations import Annotations
from robustest_people.rules.replication import FEWEST, Gap, Gaps, decide_gap, replication_gaps
from robustest_people.statistics.cells import Cells

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
    """The accuracy on a data set minus that on its replication, as if annotators found both equally easy.

    (Engstrom et al., ICML 2020.) Three gaps are reported: raw; naive, at equal measured selection frequency; and
    corrected for the noise of these frequencies. Images of equal frequency are taken to be equally hard in both data
    sets. The verdict is the interval's, by bootstrap over images, also with `scope="set"`: annotators are a sample. It
    holds only about, so that a claim about the population does not pass by it.

    Args:
        model: as for `measure_robust_accuracy`; or, with data and new_data None, a pair of (N1,) and (N2,) bool arrays,
            which items it gets right.
        data: the original data set, as for `measure_robust_accuracy`.
        new_data: its replication.
        annotations: of the items of data and of new_data, in their order, at least 10 an item, none of them used
            for matching.
        at_most: the corrected gap claimed at most, in 0..1.
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
    """The items of a data set that were looked at."""

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
    """Bootstrap draws of a correction.

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
    """What the model gets right, measured or as given.

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
    """Evidence made of outcomes that were measured elsewhere."""
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
