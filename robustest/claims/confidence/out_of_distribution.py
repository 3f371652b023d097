"""Whether samples of no class of a model's can be told by its scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.claims.confidence.answers import SCORES, Answering, answers_plan, sure_setup
from robustest.data import Samples, as_samples
from robustest.decisions import Decision, ShareRule, optional_threshold
from robustest.decisions.selection import TPR, decide_accepted
from robustest.errors import unknown
from robustest.kinds import Kind, Quantity
from robustest.results import Result, Verdict
from robustest.run.driver import observe
from robustest.run.evidence import Evidence
from robustest.run.finish import few, finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup

_BESIDE = 16
"""Samples inside that some of those outside are asked among."""

OOD_REJECTED = Kind(
    name="ood_rejected",
    quantities=(
        Quantity.at_most(
            "max_fpr",
            "false positive rate",
            "other data accepted where 95 % of the model's own are, by {}",
            trivial=1,
            counts=("accepted", "outside_n"),
        ),
    ),
)
"""The share of other data that passes for the model's own at a threshold that 95 % of its own pass."""


@measurement(OOD_REJECTED)
def measure_ood_rejected(
    model: object,
    data: object,
    outside: object,
    *,
    max_fpr: float | None = None,
    score: str = "msp",
    probabilities: bool = False,
    **options: Unpack[Options],
) -> Result:
    """The share of outside samples accepted at the score that 95 % of the inside ones reach.

    (Hendrycks and Gimpel, ICLR 2017; FPR at 95 % TPR as Liang et al., ICLR 2018.) All samples of both are looked at.
    About the populations, the score that 95 % reach is not known either, and the interval allows for it
    (`robustest.decisions.selection`). Outcomes are the outside samples': whether they are rejected.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`: samples like those the model was made for.
        outside: the same, of none of its classes; its labels are not looked at, and samples (N, *S) alone will do.
        max_fpr: the share of outside samples accepted that is claimed at most, in 0..1 and less than 1.
        score: "msp", the largest probability; "max_logit"; or "energy", the log of the logits' summed exponentials.
        probabilities: as for `measure_calibrated`.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError, ModelError, DeviceError, StoreError: as for `measure_calibrated`.
    """
    most = optional_threshold("max_fpr", max_fpr, trivial=1)
    if score not in SCORES:
        raise unknown("score", score, SCORES)
    setup = sure_setup(Setup.of(model, data, options), probabilities=probabilities)
    look = Answering(examples=setup.settings.examples, probabilities=probabilities)
    rule = ShareRule(threshold=None, at_least=True, terms=setup.alone)
    statement = OOD_REJECTED.quantities[0].state(score)
    own = observe(answers_plan(setup.unpictured(), statement, look, rule))
    # Batches are of one kind of samples each: a model that scores by the batch is found out where kinds are mixed.
    beside = setup.samples.take(torch.arange(min(_BESIDE, len(setup.samples))))[0]
    plan = answers_plan(setup.on(_unlabelled(outside)), statement, replace(look, beside=beside), rule)
    other = observe(plan)
    decision, edge = decide_accepted(own.columns[score], other.columns[score], most, setup.terms)
    if not (own.whole and other.whole):
        decision = _in_part(decision)
    return finish(
        plan,
        _judged(other, own, accepted=other.columns[score] >= edge),
        decision=decision,
        kind=OOD_REJECTED,
        threshold=most,
        setting=f"{own.n} samples inside, {other.n} outside",
        method=f"{score}, accepted from {edge:.4g}",
        details=_details(own.columns[score], other.columns[score], edge),
        caveats=few(own.n, " inside"),
    )


def _unlabelled(outside: object) -> Samples:
    """Samples whose labels say nothing: the model has no class for theirs."""
    if isinstance(outside, (Tensor, np.ndarray)):
        outside = outside, torch.zeros(len(outside), dtype=torch.int64)
    samples = as_samples(outside)

    def take(ids: Tensor) -> tuple[Tensor, Tensor]:
        x, y = samples.take(ids)
        return x, torch.zeros_like(y)

    return Samples(take, len(samples))


def _judged(outside: Evidence, inside: Evidence, *, accepted: NDArray[np.bool_]) -> Evidence:
    """Evidence of the samples outside, which hold where they are rejected, with what those inside took as well."""
    return replace(
        outside.including(inside),
        columns={**outside.columns, "held": ~accepted},
        exhibits=[one for one in outside.exhibits if accepted[np.searchsorted(outside.ids, one.index)]],
    )


def _in_part(decision: Decision) -> Decision:
    """No verdict where some samples were not looked at: the score that 95 % reach is that of all."""
    rule = f"budget: not all samples looked at; {decision.rule}"
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, estimate=None)


def _details(inside: Any, outside: Any, edge: float) -> dict[str, Any]:
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, "left") + np.searchsorted(ordered, inside, "right")
    return {
        "accepted": int((outside >= edge).sum()),
        "outside_n": len(outside),
        "inside_n": len(inside),
        "inside_accepted": float((inside >= edge).mean()),
        "score_from": edge,
        "auroc": float(below.mean() / (2 * len(outside))),
        "tpr": TPR,
    }
