"""Robust accuracy: the share of samples with no misclassified input found inside the threat."""

# With `certify`, bounds (`robustest.bounds`) try to prove the samples that the attack left. The interval then begins at
# the proven share.

from __future__ import annotations

from typing import Any, Unpack

from robustest.attacks import Cascade, Searcher
from robustest.claims.robustness import attacking
from robustest.decisions import CertifiedRule, Rule, ShareRule, checked_threshold, clopper_pearson
from robustest.kinds import Kind, Quantity, clean_accuracy
from robustest.results import Captions, Pairing, Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import REPLAYED
from robustest.run.finish import finish
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Setup, deciding, of_task
from robustest.run.replay import Replay
from robustest.tasks import Task
from robustest.threats import Columns, Threat

ROBUST_ACCURACY = Kind(
    name="robust_accuracy",
    varies="inputs",
    quantities=(
        Quantity.at_least(
            "at_least", "robust accuracy", "robust accuracy under {}, {}", counts="outcomes", constant=True
        ),
    ),
    further_claims=("no_worse_than",),
    captions=Captions(
        setting="threat",
        after="adversarial",
        searched="after attack",
        names={**attacking.SIZE_NAMES, "stages": "broken, by stage"},
    ),
    lines=clean_accuracy,
    hidden=frozenset({"clean_accuracy"}),
)


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
    """Measure accuracy under the worst inputs that an attack finds inside a threat model.

    A sample holds if it is classified correctly and the attack does not break it. A stronger attack can only lower the
    number, so the interval begins at 0; `details["left_interval"]` is that of the accuracy under this attack. A random
    model needs an attack that averages over draws, such as `EOT(PGD(), draws=10)`; the majority of fresh draws decides.

    Args:
        model: a torch module, TorchScript, or callable mapping images (N, *S) in the bounds to logits (N, K).
        data: `(x, y)`, a data set or a DataLoader; see `robustest.data.as_samples`.
        threat: the allowed changes, e.g. `Linf(8 / 255)`; eps in input units.
        at_least: accuracy claimed, in 0..1; without one the verdict is "inconclusive".
        no_worse_than: a baseline file, or another model (as `model`), searched in the same way; each model is also
            tried at the inputs that broke the other. The fall must be at most `tolerance`: on this set, or for a claim
            about the population by the exact paired interval at alpha.
        tolerance: allowed fall from the baseline's accuracy, in 0..1.
        attack: a name ("fgsm", "pgd") or a searcher such as `PGD(steps=100)`; None: the settings'.
        certify: "auto" or "linear": try to prove the samples that the attack left, for a torch module in L-inf, L2 and
            L1, and under discrete threats where all inputs can be evaluated; None: the settings'.
        task: defines predictions and when they are right, e.g. `Segmentation(19, floor=0.9)`; None: classification.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or does not fit the others.
        DataError: invalid samples or labels.
        ModelError: invalid outputs of the model.
        DeviceError: the device is absent or out of memory.
        StoreError: the baseline is missing, damaged, or of other samples.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    attacking.check_threat(threat)
    setup = Setup.of(model, data, options, deciding(task))
    threat = setup.resolve(threat, no_worse_than)
    cascade = attacking.attack_of_call(attack, threat)
    setup, draws = attacking.setup_for_draws(cascade, setup), attacking.draws_in(cascade)
    certified = attacking.check_certify(certify, draws)
    # A random model has no known counterexamples: an input breaks it in one draw and not in the next.
    replay = Replay(threat, setup.settings, setup.task, certifies=certified) if draws == 1 else None
    look = (attacking.Certifying if certified else attacking.Attacking)(cascade=cascade, threat=threat, replay=replay)
    rule: Rule = ShareRule(threshold=at_least, at_least=True, terms=setup.terms)
    if certified:
        rule = CertifiedRule(threshold=at_least, terms=setup.terms, proofs_alone=False)
    plan = setup.plan(
        ROBUST_ACCURACY.quantities[0].state(threat, cascade.name) + of_task(setup.task),
        look,
        rule,
        identity=("robust accuracy", threat, cascade, *(("certified",) if certified else ())),
        replay=replay,
    ).against(no_worse_than, tolerance, has_threshold=at_least is not None)
    evidence = observe(plan)
    sizes = evidence.columns["size"][~evidence.columns["held"] & evidence.columns["clean"]]
    details: dict[str, Any] = {
        "clean_accuracy": evidence.share(evidence.columns["clean"]),
        "broken_by_attack": len(sizes),
        **attacking.sizes_found(threat, sizes),
        **({"ranges": threat.spans} if isinstance(threat, Columns) else {}),
        "stages": {name: count for name, count in evidence.counts.items() if name != REPLAYED},
    }
    if draws > 1:
        # Clopper-Pearson allows for more spread than draws with different chances have (Hoeffding, Ann. Math. Stat.
        # 1956).
        missed, of = int(evidence.columns["missed"].sum()), evidence.n * draws
        details |= {
            "draws": draws,
            "misclassified_draws": missed / of,
            "misclassified_draws_interval": list(clopper_pearson(missed, of, setup.settings.alpha)),
        }
    return finish(
        plan,
        evidence,
        kind=ROBUST_ACCURACY,
        threshold=at_least,
        setting=str(threat),
        method=cascade.name,
        details={**details, **(attacking.certified_details(evidence) if certified else {})},
        threat=threat,
        # With proofs the interval has a lower end, else the value is only bounded from above.
        bounds="" if certified else "above",
        pairing=Pairing(under=of_task(setup.task).strip(", ")),
    )


@assertion(measure_robust_accuracy)
def assert_robust_accuracy() -> None:
    """Claim that accuracy under the worst inputs in a threat model is at least `at_least`, or not below a baseline."""
