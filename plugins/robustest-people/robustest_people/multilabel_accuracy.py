"""The claim that a model predicts the classes of samples that show several objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robustest import Result, Verdict
from robustest.errors import ConfigError, DataError, expected
from robustest.packs import (
    Chunk,
    Decision,
    Evaluator,
    Evidence,
    Kind,
    LabelSets,
    Observation,
    Options,
    Pairing,
    Quantity,
    Setup,
    ShareRule,
    StrataRule,
    assertion,
    checked_threshold,
    digest,
    exhibits_of,
    finish,
    measurement,
    number,
    observe,
)
from robustest.tasks import MultiLabel

Of = Literal["top1-in-set", "exact-set"]
_OF = {"top1-in-set": "top class in the set of what a sample shows", "exact-set": "exact set of what a sample shows"}
_SCORES = ("sigmoid", "softmax")

MULTILABEL_ACCURACY = Kind(
    name="multilabel_accuracy",
    varies="nothing",
    quantities=(Quantity.at_least("at_least", "multi-label accuracy", "multi-label accuracy ({})", counts="outcomes"),),
    further_claims=("no_worse_than",),
    brief=True,
)


@measurement(MULTILABEL_ACCURACY)
def measure_multilabel_accuracy(
    model: object,
    data: object,
    *,
    at_least: float | None = None,
    metric: Of = "top1-in-set",
    scores: Literal["sigmoid", "softmax"] = "sigmoid",
    by: Literal["objects", "overall"] = "objects",
    no_worse_than: object | None = None,
    tolerance: float = 0.0,
    **options: Unpack[Options],
) -> Result:
    """Measure how often the model predicts the classes that a sample shows, which may be several.

    - "top1-in-set": the class of the largest logit is one that the sample shows (Tsipras et al., ICML 2020, section 4).
    - "exact-set": the predicted classes are exactly those that the sample shows.

    `details["by_objects"]` has both by number of objects; the claim does not pass if samples of one number are surely
    below it, as most samples often show one object.

    Args:
        model, no_worse_than, tolerance: as for `measure_robust_accuracy`.
        data: `(x, sets)`: inputs (N, *S), or a data set whose labels are not read; and (N, K) of 0 and 1, the classes
            that each sample shows.
        at_least: the claimed share of samples, in 0..1.
        metric: as above.
        scores: the predicted classes for "exact-set": "sigmoid", positive logits; "softmax", at least half as probable
            as the most probable one.
        by: "objects", as above; "overall" claims the share of all samples alone.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: sets do not fit the samples or the model's classes, all are equal, or one is empty ("top1-in-set").
        ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    _check_words(metric, scores, by)
    threshold = checked_threshold("at_least", at_least, trivial=0, optional=True)
    given = _given(data, metric)
    setup = Setup.of(model, given.samples, options)
    plan = setup.plan(
        MULTILABEL_ACCURACY.quantities[0].state(_OF[metric]),
        Naming(sets=given.sets, of=metric, scores=scores),
        StrataRule(
            whole=ShareRule(threshold=threshold, at_least=True, terms=setup.terms),
            nouns=MultiLabel.nouns,
            gates=by == "objects",
            alpha=setup.settings.alpha,
            column="objects",
        ),
        identity=("multi-label accuracy", metric, scores, digest(given.sets)),
    ).against(no_worse_than, tolerance, has_threshold=threshold is not None)
    evidence = observe(plan)
    by_objects, blind = _by_objects(evidence), _by_saying_one_thing(given, metric)
    return finish(
        plan,
        evidence,
        kind=MULTILABEL_ACCURACY,
        threshold=threshold,
        decision=_fallible(evidence.decision, given, metric, threshold),
        setting=metric if metric == "top1-in-set" else f"{metric} by {scores}",
        method="predictions beside sets of classes",
        details={
            "top1_in_set": evidence.share(evidence.columns["top"]),
            "exact_set": evidence.share(evidence.columns["exact"]),
            "without_looking": blind,
            "by_objects": by_objects,
        },
        caveats=(
            [f"saying one thing of every sample reaches {number(blind, threshold)}"]
            if threshold is not None and blind >= threshold
            else []
        ),
        constant=blind,
        pairing=Pairing(under=f"{metric} of {digest(given.sets)[:12]}"),
    )


@assertion(measure_multilabel_accuracy)
def assert_multilabel_accuracy() -> None:
    """Claim that the model predicts the classes that samples show, which may be several.

    Raises:
        ClaimFailed: it predicts them too rarely.
        ClaimInconclusive: too few samples to decide, or any answer is right on enough of them.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Naming:
    """Compares predictions with sets of classes."""

    sets: Tensor  # (N, K) bool
    of: Of  # the claimed metric
    scores: Literal["sigmoid", "softmax"]  # as in `measure_multilabel_accuracy`

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        logits = evaluator.logits(chunk.x)
        sets = self.sets[chunk.ids.cpu()].to(logits.device)
        if sets.shape != logits.shape:
            raise DataError(
                f"Expected sets of the model's {logits.shape[1]} classes but got {sets.shape[1]} columns. Give one "
                "column a class, in the order of the logits."
            )
        predicted = evaluator.task.predictions(logits)
        top = sets.gather(1, predicted.unsqueeze(1)).squeeze(1)
        exact = (LabelSets.predicted(logits, self.scores) == sets).all(1)
        held = top if self.of == "top1-in-set" else exact
        exhibits = exhibits_of(
            evaluator, chunk, ~held, predicted=predicted, badness=-evaluator.task.margin(logits, chunk.y)
        )
        columns = {"held": held, "top": top, "exact": exact, "objects": sets.sum(1)}
        return Observation(columns, exhibits)


def _check_words(of: str, scores: str, by: object) -> None:
    if of not in _OF:
        raise ConfigError(expected(f"metric to be one of {', '.join(_OF)}", of))
    if scores not in _SCORES:
        raise ConfigError(expected(f"scores to be one of {', '.join(_SCORES)}", scores))
    if by not in ("objects", "overall"):
        raise ConfigError(expected('by to be "objects" or "overall"', by))


def _given(data: object, of: Of) -> LabelSets:
    given = LabelSets.of(data)
    if of == "top1-in-set" and not bool((given.objects > 0).all()):
        empty = int((given.objects == 0).nonzero()[0])
        raise DataError(f'Expected every sample to show a class, for of="top1-in-set", but sample {empty} shows none.')
    return given


def _by_objects(evidence: Evidence) -> list[dict[str, Any]]:
    columns = evidence.columns
    rows = []
    for objects in np.unique(columns["objects"]).tolist():
        at = columns["objects"] == objects
        shares = {"top1_in_set": float(columns["top"][at].mean()), "exact_set": float(columns["exact"][at].mean())}
        rows.append({"objects": objects, "samples": int(at.sum()), **shares})
    return rows


def _by_saying_one_thing(given: LabelSets, of: Of) -> float:
    if of == "top1-in-set":
        return float(given.sets.double().mean(0).max())
    counts: NDArray[np.int64] = np.unique(given.sets.numpy(), axis=0, return_counts=True)[1]
    return float(counts.max() / len(given.sets))


def _fallible(decision: Decision, given: LabelSets, of: Of, threshold: float | None) -> Decision:
    """Return an inconclusive decision where enough samples show every class, on which any answer is right."""
    full = float(given.sets.all(1).double().mean()) if of == "top1-in-set" else 0.0
    if threshold is None or decision.verdict is not Verdict.PASSED or full < threshold:
        return decision
    rule = f"nothing could have failed it: {number(full, threshold)} of the samples show every class"
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
