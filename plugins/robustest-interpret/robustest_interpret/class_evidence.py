"""Evidence of a class that another model accepts too."""

# Each sample x is driven to another class t: targeted PGD minimises the cross-entropy of t inside an L2 ball around x
# (Santurkar et al., "Image Synthesis with a Single (Robust) Classifier", NeurIPS 2019, section 3). The change that
# drives a robustly trained network is evidence of the class for other networks as well: a second model, the judge, is
# asked.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
from torch import Tensor

from robustest import Result, Verdict, rng
from robustest.first_party import AgreementRule, SecondModel
from robustest.packs import (
    Captions,
    Chunk,
    Decision,
    Evaluator,
    Evidence,
    Kind,
    Observation,
    Options,
    Quantity,
    Setup,
    ascend,
    assertion,
    checked_threshold,
    checked_whole,
    clopper_pearson,
    exhibits_of,
    finish,
    measurement,
    observe,
)
from robustest.threats import L2

CLASS_EVIDENCE = Kind(
    name="class_evidence",
    varies="inputs",
    parameters=("eps",),
    axis="eps",
    quantities=(Quantity.at_least("min_transfer", "transfer", "transfer of class evidence under {}"),),
    advises=True,
    captions=Captions(after="driven"),
    brief=True,
)


@measurement(CLASS_EVIDENCE)
def measure_class_evidence(
    model: object,
    data: object,
    *,
    judge: object,
    eps: float,
    min_transfer: float | None = None,
    iterations: int = 60,
    min_driven: int = 30,
    **options: Unpack[Options],
) -> Result:
    """Measure how often another model agrees with the class that this one is driven to.

    Each sample is moved by gradient steps, inside an L2 ball, towards another class, drawn at random (Santurkar et al.,
    NeurIPS 2019, section 3). The transfer is the share on which the judge agrees, of the samples where the model then
    answers that class, and neither did before.

    Advisory: without `min_transfer` nothing is claimed. **The judge must be of another family than the model, and
    trained on other data**: networks of one kind share blind spots. Where `eps` is so large that a sample becomes one
    of the other class, any model reaches a transfer of 1.

    Args:
        model, data: as for `measure_robust_accuracy`; the model must give gradients.
        judge: another model that gives logits, scores or (by `labels_model`) labels.
        eps: radius of the L2 ball, in input units, >= 0.
        min_transfer: the transfer claimed at least, in 0..1.
        iterations: gradient steps, >= 1.
        min_driven: with fewer samples that the model was driven on the verdict is "inconclusive", >= 1.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result; the estimate is the transfer. It is inconclusive where the judge is no better than chance.

    Raises:
        ConfigError: an argument is out of range, or the judge is the model itself.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    min_transfer = checked_threshold("min_transfer", min_transfer, trivial=0, optional=True)
    checked_whole("iterations", iterations, 1)
    checked_whole("min_driven", min_driven, 1)
    threat = L2(eps)
    setup = Setup.of(model, data, options)
    rule = AgreementRule(threshold=min_transfer, terms=setup.terms, least=min_driven)
    with SecondModel.opened(judge, setup.model, setup.settings, options, "judge") as second:
        look = EvidenceMeasurement(second=second, threat=threat, iterations=iterations)
        plan = setup.plan(CLASS_EVIDENCE.quantities[0].state(threat), look, rule, here=True)
        evidence = second.included(observe(plan))
    columns = evidence.columns
    decision, doubts = _decided(evidence, min_driven), dict[str, str]()
    if decision.verdict is Verdict.PASSED and columns["judge alike"].all():
        same = "judge= gives the scores of the model on every sample, to the bit. Give a judge of another family"
        doubts = {"same_model": same}
    driven, own, agreed = (int(columns[name].sum()) for name in ("counts", "own", "agreed"))
    # A transfer of less than half of the samples is that of those easiest to drive.
    caveats = [f"{driven} of {evidence.n} samples were driven, and judged"] if 2 * driven < evidence.n else []
    return finish(
        plan,
        evidence,
        decision=decision,
        kind=CLASS_EVIDENCE,
        threshold=min_transfer,
        setting=str(threat),
        method=f"{iterations} gradient steps towards another class",
        details={
            "driven": driven,
            "own_success": evidence.share(columns["own"]),
            "judge_success": evidence.share(columns["agreed"]),
            "ratio": agreed / own if own else None,
            "judge_before": evidence.share(columns["judge before"]),
            "judge_accuracy": evidence.share(columns["judge right"]),
        },
        # A judge that answers at random agrees with one class in so many.
        constant=1 / evidence.tally.classes,
        further={"driven": driven},
        doubts=doubts,
        caveats=caveats,
    )


@assertion(measure_class_evidence)
def assert_class_evidence() -> None:
    """Claim that image changes that drive the model to a class are evidence of that class for another model too.

    Advisory: without `min_transfer` the result is recorded, and nothing is claimed. The judge must be of another family
    and trained on other data, or it shares the model's blind spots.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceMeasurement:
    """A chunk driven towards other classes, and both models' answers."""

    second: SecondModel
    threat: L2
    iterations: int

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        judge, threat = self.second.evaluator, self.threat
        target = rng.integers(rng.fold(chunk.key, "class evidence"), (1,), evaluator.classes - 1).flatten()
        # Drawn from all classes but the sample's own.
        target = target + (target >= chunk.y)

        def towards(logits: Tensor, part: slice) -> Tensor:
            return -evaluator.task.losses["ce"](logits, target[part])

        made = ascend(evaluator, threat, chunk.x, towards, bounds=chunk.bounds, steps=self.iterations)
        own = evaluator.logits(chunk.x)
        before, after = (evaluator.task.predictions(logits) for logits in (own, evaluator.logits(made)))
        there = self.second.given(chunk, random=evaluator.random)
        others = judge.logits(there.x).to(own)
        unmoved = judge.task.predictions(others)
        scores = judge.logits(made.to(judge.device)).to(chunk.x)
        says = judge.task.predictions(scores)
        # A judge that answered the target before has not been convinced by the change.
        driven, agreed = (after == target) & (before != target) & (unmoved != target), says == target
        exhibits = exhibits_of(
            evaluator,
            chunk,
            # Shown are changes that convinced the model alone.
            driven & ~agreed,
            clean=before,
            predicted=after,
            after=made,
            badness=judge.task.margin(scores, says),
            size=threat.size(made, threat.region(chunk.x, chunk.bounds)),
        )
        columns = {
            "held": ~driven | agreed,
            "counts": driven,
            "agreed": agreed,
            "own": after == target,
            "judge right": unmoved == chunk.y,
            "judge before": unmoved == target,
            "judge alike": (others == own).all(1),
            "label": chunk.y,
        }
        return Observation(columns, exhibits)


def _decided(evidence: Evidence, min_driven: int) -> Decision:
    decision, columns = evidence.decision, evidence.columns
    if decision.verdict is Verdict.INCONCLUSIVE:
        return decision
    driven, right, n = int(columns["counts"].sum()), int(columns["judge right"].sum()), evidence.n
    if driven < min_driven:
        rule = (
            f"{driven} of {n} samples were driven to the class aimed at, fewer than {min_driven}: give a larger eps, "
            "more steps or more samples"
        )
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
    # Chance answers the largest class.
    chance = int(np.bincount(columns["label"]).max()) / n
    if clopper_pearson(right, n, 0.01)[0] <= chance:
        rule = f"the judge is no better than chance: right on {right} of {n} samples as they are"
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
    return decision
