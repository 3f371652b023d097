"""Robust accuracy: the share of samples for which no misclassified input was found inside the threat.

Where it is certified, what the attack left is bounded too (`robustest.bounds`): a sample that is proven holds whatever
the attack. The interval goes from what is proven to what was not broken, and enough proofs pass the claim.

Of a model that answers at random the details give the share of draws misclassified at the points found, on draws of
their own, with a Clopper-Pearson interval: draws whose chances differ from sample to sample spread less than it allows
for (Hoeffding, Ann. Math. Stat. 1956).
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from robustest.attacks import Cascade, Searcher
from robustest.claims.robustness.attacking import (
    Attacking,
    Certifying,
    attack_of_call,
    certified_details,
    check_threat,
    check_threat_fits_task,
    checked_certify,
    draws_in,
    setup_for_draws,
)
from robustest.decisions import CertifiedRule, Rule, ShareRule, clopper_pearson, optional_threshold
from robustest.engine.answer_checks import hints_on
from robustest.kinds import OUTCOMES, Kind, Quantity, clean_accuracy
from robustest.results import Captions, Pairing, Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import REPLAYED, Evidence, Look
from robustest.run.finish import finish, nothing_allowed
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Plan, Setup, deciding, of_task
from robustest.run.replay import Replay
from robustest.tasks import Task
from robustest.threats import Threat

ROBUST_ACCURACY = Kind(
    name="robust_accuracy",
    quantities=(Quantity.at_least("at_least", "robust accuracy", "robust accuracy under {}, {}", counts=OUTCOMES),),
    further_claims=("no_worse_than",),
    captions=Captions(
        setting="threat",
        after="adversarial",
        searched="after attack",
        names={"largest_size": "largest size found", "stages": "broken, by stage"},
    ),
    lines=clean_accuracy,
    hidden=frozenset({"clean_accuracy"}),
)
"""Accuracy under the worst inputs that an attack finds inside a threat."""


@measurement(ROBUST_ACCURACY)
def measure_robust_accuracy(
    model: object,
    data: object,
    threat: Threat,
    *,
    at_least: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    attack: str | Searcher | Cascade | None = None,
    certify: str | None = None,
    task: Task | str | None = None,
    **options: Unpack[Options],
) -> Result:
    """Accuracy under the worst inputs that an attack finds inside a threat model.

    A sample counts as held if the model classifies it correctly and the attack breaks it nowhere. The
    number is an upper bound on the true robust accuracy: a stronger attack can only lower it. So the result bounds from
    above, its interval begins at 0, and `details["left_interval"]` is that of the accuracy which this attack left.

    A model that answers at random needs an attack that averages its answers, such as `EOT(PGD(), draws=10)`:
    unchanged and found inputs are then judged by the majority of as many fresh draws. The details give the share of
    draws misclassified at the points found, with an interval.

    Args:
        model: a torch module, TorchScript, or callable mapping images (N, *S) in the bounds to logits (N, K).
        data: `(x, y)`, a data set or a DataLoader; see `robustest.data.as_samples`.
        threat: what the attacker may do, e.g. `Linf(8 / 255)`; eps in input units.
        at_least: the accuracy claimed, in 0..1; without one the verdict is "inconclusive".
        no_worse_than: a baseline file, or another model (anything that `model` may be), which is asked and searched
            alike, with the same draws, and each model is tried at what broke the other. On the same samples, no more
            may be lost than `tolerance`, or than chance explains at alpha (exact one-sided McNemar test).
        tolerance: the fall from the baseline's accuracy that is allowed, in 0..1.
        attack: a name ("fgsm", "pgd") or a searcher such as `PGD(steps=100)`; the settings' where None.
        certify: "auto" or "linear": prove what can be proven of what the attack left, in L-inf, L2 and L1, of a torch
            module, so that the interval begins at what is proven, and enough proofs pass the claim; the settings'
            where None.
        task: what the answers are, and when they are right, e.g. `Segmentation(19, floor=0.9)`; classification where
            None. A sample that keeps its floor holds.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or the task has no floor, or does not go with the threat.
        DataError: samples or labels cannot be measured on.
        ModelError: the model's answers cannot be judged.
        DeviceError: the device is absent or out of memory.
        StoreError: the baseline is missing, damaged, or of other samples.
    """
    at_least = optional_threshold("at_least", at_least, trivial=0)
    check_threat(threat)
    setup = Setup.of(model, data, options, deciding(task))
    check_threat_fits_task(setup.task, threat)
    cascade = attack_of_call(attack, threat)
    setup = setup_for_draws(cascade, setup)
    how = checked_certify(certify, draws_in(cascade))
    plan = _plan(setup, threat, cascade, at_least, certified=how is not None)
    plan = plan.against(no_worse_than, tolerance, has_threshold=at_least is not None)
    return _result(plan, setup, threat, cascade, at_least, certified=how is not None)


def _plan(setup: Setup, threat: Threat, cascade: Cascade, at_least: float | None, *, certified: bool) -> Plan:
    """An attack, and bounds of what it left where samples are certified."""
    replay = Replay(threat, setup.settings, setup.task, certifies=certified) if draws_in(cascade) == 1 else None
    look: Look = Attacking(cascade=cascade, threat=threat, examples=setup.settings.examples, replay=replay)
    rule: Rule = ShareRule(threshold=at_least, at_least=True, terms=setup.terms)
    if certified:
        look = Certifying(attack=look, threat=threat, replay=replay)
        rule = CertifiedRule(threshold=at_least, terms=setup.terms, proofs_alone=False)
    return setup.plan(
        ROBUST_ACCURACY.quantities[0].state(threat, cascade.name) + of_task(setup.task),
        look,
        rule,
        identity=("robust accuracy", threat, cascade, *(("certified",) if certified else ())),
        replay=replay,
    )


def _result(
    plan: Plan, setup: Setup, threat: Threat, cascade: Cascade, at_least: float | None, *, certified: bool
) -> Result:
    evidence = observe(plan)
    return finish(
        plan,
        evidence,
        kind=ROBUST_ACCURACY,
        threshold=at_least,
        setting=str(threat),
        method=cascade.name,
        details={
            **_details(evidence, threat),
            **_draw_details(evidence, draws_in(cascade), setup.settings.alpha),
            **(certified_details(evidence) if certified else {}),
        },
        bounds="" if certified else "above",
        caveats=nothing_allowed(threat),
        notes=hints_on(threat, setup.model.bounds),
        pairing=Pairing(under=of_task(setup.task).strip(", ")),
    )


def _details(evidence: Evidence, threat: Threat) -> dict[str, Any]:
    sizes = evidence.columns["size"][~evidence.columns["held"] & evidence.columns["clean"]]
    return {
        "clean_accuracy": evidence.share(evidence.columns["clean"]),
        "broken_by_attack": len(sizes),
        "largest_size": float(np.max(sizes)) if len(sizes) else None,
        "radius": float(threat.radius),
        "stages": {name: count for name, count in evidence.counts.items() if name != REPLAYED},
    }


def _draw_details(evidence: Evidence, draws: int, alpha: float) -> dict[str, Any]:
    """For models that answer at random: the share of draws misclassified at the points found."""
    if draws == 1:
        return {}
    missed, of = int(evidence.columns["missed"].sum()), evidence.n * draws
    return {
        "draws": draws,
        "misclassified_draws": missed / of,
        "misclassified_draws_interval": list(clopper_pearson(missed, of, alpha)),
    }
