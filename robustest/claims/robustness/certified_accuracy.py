"""Certified accuracy: the share of samples for which it is proven that no input inside the threat is misclassified."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Unpack

from robustest.attacks import Cascade, Searcher
from robustest.bounds.smoothing import Smoothed
from robustest.claims.robustness.attacking import Attacking, asked_attack, checked_threat, draws_in
from robustest.claims.robustness.certifying import Certifying, certified_details, checked_certify
from robustest.claims.robustness.smoothing import Smoothing
from robustest.decisions import CertifiedRule, optional_threshold
from robustest.errors import ConfigError, expected
from robustest.facts import Captions
from robustest.kinds import Kind, Quantity, clean_accuracy
from robustest.results import NOT_PAIRED, Result
from robustest.run.driver import observe
from robustest.run.noting import measures
from robustest.run.options import Options
from robustest.run.plan import Plan
from robustest.run.remembered.comparison import Baseline
from robustest.run.remembered.replay import Replay
from robustest.run.result_building import finish, nothing_allowed
from robustest.run.setup import Setup
from robustest.threats import L1, L2, Linf, Threat

_PROVEN = ("proven",)
"""What is compared with a baseline: proofs alone pass the claim."""

CERTIFIED_ACCURACY = Kind(
    name="certified_accuracy",
    quantities=(
        Quantity.at_least(
            "at_least", "certified accuracy", "certified accuracy under {}, {}", counts=("proven", "looked_at")
        ),
    ),
    asks_too=("no_worse_than",),
    captions=Captions(
        setting="threat",
        after="adversarial",
        names={"attacked": "not broken by the attack", "not_held": "wrong or broken"},
    ),
    lines=clean_accuracy,
    told=frozenset({"clean_accuracy", "certified", "looked_at"}),
)
"""Accuracy that no attack inside a threat can lower."""


@measures(CERTIFIED_ACCURACY)
def measure_certified_accuracy(
    model: object,
    data: object,
    threat: Threat,
    *,
    at_least: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    attack: str | Searcher | Cascade | None = None,
    **options: Unpack[Options],
) -> Result:
    """Accuracy that no attack inside a threat model can lower, by linear bounds.

    An attack looks first, as it is cheap and finds what cannot be proven; then backward linear bounds (Zhang et al.,
    NeurIPS 2018, section 3; `robustest.bounds`) of what it left. A sample is proven, wrong or broken, or open.
    The claim passes on proven samples alone, fails once too many are wrong or broken, and is inconclusive between.
    The estimate is the share that is proven, the interval goes from there to what the attack left. Small networks,
    and such as were trained to be robust, have something to be proven; an ordinary large one has not, and a note says
    why: an operator without bounds, or samples of which none could be proven.

    Args:
        model: a torch module of affine layers, ReLU, leaky ReLU, sigmoid, tanh, max pooling, in float32; or
            `Smoothed(model, sigma)`, which is certified in L2 by draws (Cohen et al., ICML 2019), each sample at alpha
            over twice the number of samples. The statement is then about the majority under noise.
        data: as for `measure_robust_accuracy`.
        threat: `Linf`, `L2` or `L1`; eps in input units.
        at_least: the certified accuracy claimed, in 0..1; without one the verdict is "inconclusive".
        no_worse_than, tolerance: as for `measure_robust_accuracy`, about the samples that are proven. With
            `Smoothed(...)` another model is smoothed alike.
        attack: as for `measure_robust_accuracy`; it proves nothing and cannot pass the claim.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or the threat is no ball in L-inf, L2 or L1.
        ModelError: a sample is both proven and broken; else as for `measure_robust_accuracy`.
        DataError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = optional_threshold("at_least", at_least, trivial=0)
    checked_threat(threat)
    if isinstance(model, Smoothed):
        if attack is not None:
            raise ConfigError(f"Expected no attack on a Smoothed model, certified by its draws, but got {attack!r}.")
        setup = Setup.of(model.model, data, options)
        return _smoothed(model, setup, threat, at_least, no_worse_than=no_worse_than, tolerance=tolerance)
    if type(threat) not in (Linf, L2, L1):
        raise ConfigError(expected("Linf, L2 or L1, of which bounds can be proven", threat))
    setup = Setup.of(model, data, options)
    cascade = asked_attack(attack, threat)
    checked_certify("auto", draws_in(cascade))
    replay = Replay(threat, setup.settings, certifies=True)
    look = Attacking(cascade=cascade, threat=threat, examples=setup.settings.examples, replay=replay)
    plan = setup.plan(
        CERTIFIED_ACCURACY.quantities[0].says(threat, cascade.name),
        Certifying(attack=look, threat=threat, replay=replay),
        CertifiedRule(threshold=at_least, terms=setup.terms, proofs_alone=True),
        identity=("robust accuracy", threat, cascade, "certified"),
        replay=replay,
    ).against(no_worse_than, tolerance, asked=at_least is not None, columns=_PROVEN)
    return _finished(plan, threat, at_least, f"linear bounds after {cascade.name}")


def _smoothed(
    model: Smoothed,
    setup: Setup,
    threat: Threat,
    at_least: float | None,
    *,
    no_worse_than: Baseline | None,
    tolerance: float,
) -> Result:
    """Of the majority under noise.

    All of a set's samples share half of alpha, so that what is said of all of them holds; the verdict on how many they
    are has the other half.
    """
    if isinstance(no_worse_than, Smoothed):
        how, other = ((one.sigma, one.draws, one.guesses) for one in (model, no_worse_than))
        if how != other:
            raise ConfigError(
                f"Expected no_worse_than= to be smoothed by (sigma, draws, guesses) = {how} but got {other}: what is "
                "certified depends on them."
            )
        no_worse_than = no_worse_than.model
    elif no_worse_than is not None and not isinstance(no_worse_than, (str, os.PathLike)):
        raise ConfigError(
            expected("no_worse_than to be Smoothed(...), as the model is, or a baseline file", no_worse_than)
        )
    if type(threat) is not L2:
        raise ConfigError(expected("L2, the norm in which smoothing certifies", threat))
    look = Smoothing(
        sigma=model.sigma,
        draws=model.draws,
        guesses=model.guesses,
        eps=threat.radius,
        alpha=setup.settings.alpha / (2 * max(1, len(setup.samples))),
    )
    halved = replace(setup.terms, alpha=setup.terms.alpha / 2)
    plan = setup.plan(
        CERTIFIED_ACCURACY.quantities[0].says(threat, f"smoothed by noise of {model.sigma:g}"),
        look,
        CertifiedRule(threshold=at_least, terms=halved, proofs_alone=True, drawn=True),
        identity=("smoothed accuracy", threat, model.sigma, model.draws, model.guesses, look.alpha),
    ).against(no_worse_than, tolerance, asked=at_least is not None, columns=_PROVEN)
    method = f"smoothing, sigma {model.sigma:g}, {model.guesses} + {model.draws} draws a sample"
    return _finished(plan, threat, at_least, method)


def _finished(plan: Plan, threat: Threat, at_least: float | None, method: str) -> Result:
    evidence = observe(plan)
    return finish(
        plan,
        evidence,
        kind=CERTIFIED_ACCURACY,
        threshold=at_least,
        setting=str(threat),
        method=method,
        details={"clean_accuracy": evidence.share(evidence.columns["clean"]), **certified_details(evidence)},
        caveats=nothing_allowed(threat),
        pairing=NOT_PAIRED,
    )
