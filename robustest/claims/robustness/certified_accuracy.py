"""Certified accuracy: the share of samples that are proven to have no misclassified input inside the threat."""

# The proofs are linear bounds for the samples that an attack left (Zhang et al., NeurIPS 2018, section 3;
# `robustest.bounds`), or, for a majority vote under noise, draws of that noise (Cohen et al., ICML 2019).

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import Cascade, Searcher
from robustest.checks import checked_real, checked_whole, require
from robustest.claims.robustness.attacking import (
    Certifying,
    attack_of_call,
    certified_details,
    check_certify,
    check_threat,
    draws_in,
)
from robustest.decisions import CertifiedRule, checked_threshold, clopper_pearson
from robustest.decisions.distributions import norm
from robustest.engine.answer_checks import moved, usual_lead
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError, expected
from robustest.kinds import Kind, Quantity, clean_accuracy
from robustest.results import NOT_PAIRED, Captions, Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Observation
from robustest.run.finish import finish
from robustest.run.grounds import Changed
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Plan, Setup
from robustest.run.replay import Replay
from robustest.threats import L1, L2, Columns, Linf, Threat

# Randomised smoothing (Cohen, Rosenfeld and Kolter, ICML 2019): the radius that a majority under noise withstands.

# If class c is the answer to x + sigma * e with a probability of at least p > 1/2, the majority at every input within
# sigma * Phi^-1(p) of x, in L2, is c. p is the lower end of the exact interval of the votes for c.


@dataclass(frozen=True, slots=True)
class Smoothed:
    """The classifier that gives a model's most frequent answer under Gaussian noise.

    The certificate is about this classifier, not about the model alone. `assert_certified_accuracy` takes it in the
    place of a model.

    Args:
        model: see `measure_robust_accuracy`; best trained under the same noise.
        sigma: the noise's standard deviation, in input units, > 0.
        draws: answers that a radius is computed from, >= 1.
        guesses: further answers that select the class, >= 1.

    Raises:
        ConfigError: sigma, draws or guesses are out of range.
    """

    model: Any
    sigma: float
    draws: int = 1000
    guesses: int = 100

    def __post_init__(self) -> None:
        checked_real("sigma", self.sigma, 1e-12)
        checked_whole("draws", self.draws, 1)
        checked_whole("guesses", self.guesses, 1)


def certified_radius(votes: int, draws: int, sigma: float, alpha: float) -> float:
    """Return the L2 radius, >= 0, within which the majority stays the same, with error alpha (section 3.2.2).

    Args:
        votes: answers of the class, of `draws` drawn after the class was selected.
        sigma: in input units.
        alpha: the largest chance that the radius is too large.
    """
    chance = clopper_pearson(votes, draws, alpha)[0]
    return max(0.0, sigma * float(norm.ppf(chance))) if chance > 0.5 else 0.0


# Votes of a model under Gaussian noise: the number of times that each class answers x + sigma * e, e standard
# normal.


# Noisy inputs of one pass at any batch size: the draws must not depend on it.
_PART = 100
# Noisy inputs of each sample that are passed alone too: votes count as independent draws.
_ALONE = 2


def count_votes(evaluator: Evaluator, x: Tensor, key: Tensor, *, sigma: float, draws: int) -> Tensor:
    """Return (K,) int64 votes of `draws` answers to one input x (*S) under noise.

    Args:
        key: () int64, of the sample and the use of the draws.
        sigma: standard deviation in input units; noisy inputs may leave the bounds.
    """
    seed = int(key) % 2**63
    generator = torch.Generator(x.device).manual_seed(seed)
    votes = torch.zeros(evaluator.classes, dtype=torch.int64, device=x.device)
    for start in range(0, draws, _PART):
        shape = (min(_PART, draws - start), *x.shape)
        noisy = x + sigma * torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
        logits = evaluator.logits(noisy)
        if not start and len(noisy) > 1:
            # A model that takes the mean of a batch takes the noise out of a batch of noisy copies.
            alone = torch.cat([evaluator.logits(one) for one in torch.split(noisy[:_ALONE], 1)])
            apart = moved(evaluator, logits[: len(alone)], alone, usual_lead(evaluator, alone))
            evaluator.health.count("batch_dependence", failed=int(apart.sum()), tried=len(alone))
        answers = evaluator.task.predictions(logits)
        votes += torch.bincount(answers, minlength=evaluator.classes)
    return votes


# The column compared with a baseline: proofs alone pass the claim.
_PROVEN = ("proven",)

CERTIFIED_ACCURACY = Kind(
    name="certified_accuracy",
    varies="inputs",
    quantities=(
        Quantity.at_least(
            "at_least",
            "certified accuracy",
            "certified accuracy under {}, {}",
            counts=("proven", "looked_at"),
            constant=True,
        ),
    ),
    further_claims=("no_worse_than",),
    captions=Captions(
        setting="threat",
        after="adversarial",
        names={"attacked": "not broken by the attack", "not_held": "wrong or broken"},
    ),
    lines=clean_accuracy,
    hidden=frozenset({"clean_accuracy", "certified", "looked_at"}),
)


@measurement(CERTIFIED_ACCURACY)
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
    """Measure the accuracy that no attack inside a threat model can lower, by linear bounds.

    First a cheap attack finds samples that cannot be proven; then bounds try the others. The claim passes on proven
    samples alone, and fails once too many are wrong or broken. The estimate is the proven share, the interval goes from
    there to the unbroken share. Usually only small or robustly trained networks can be certified.

    Args:
        model: a torch module of affine layers, ReLU, leaky ReLU, sigmoid, tanh, max pooling, in float32; for `Columns`
            also a linear classifier or tree ensemble, behind encoders and scalers; or `Smoothed(model, sigma)`,
            certified in L2 by draws (Cohen et al., ICML 2019), each sample at alpha over twice the number of samples,
            for a claim about the majority under noise.
        data: as for `measure_robust_accuracy`.
        threat: `Linf`, `L2` or `L1`, eps in input units; or `Columns`.
        at_least: certified accuracy claimed, in 0..1.
        no_worse_than, tolerance: as for `measure_robust_accuracy`, about proven samples; a model beside `Smoothed(...)`
            is `Smoothed(...)` too.
        attack: as for `measure_robust_accuracy`; it cannot pass the claim.
        **options: see `robustest.run.options.Options`.

    Raises:
        ModelError: a sample is both proven and broken.
        ConfigError, DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    check_threat(threat)
    if isinstance(model, Smoothed):
        if attack is not None:
            raise ConfigError(f"Expected no attack on a Smoothed model, certified by its draws, but got {attack!r}.")
        setup = Setup.of(model.model, data, options)
        return _smoothed(model, setup, threat, at_least, no_worse_than=no_worse_than, tolerance=tolerance)
    require(type(threat) in (Linf, L2, L1, Columns), "Linf, L2, L1 or Columns, of which bounds can be proven", threat)
    setup = Setup.of(model, data, options)
    threat = setup.resolve(threat, no_worse_than)
    cascade = attack_of_call(attack, threat)
    # Bounds are of a model that gives the same logits every time.
    check_certify("auto", draws_in(cascade))
    replay = Replay(threat, setup.settings, certifies=True)
    plan = setup.plan(
        CERTIFIED_ACCURACY.quantities[0].state(threat, cascade.name),
        Certifying(cascade=cascade, threat=threat, replay=replay),
        CertifiedRule(threshold=at_least, terms=setup.terms, proofs_alone=True),
        identity=("robust accuracy", threat, cascade, "certified"),
        replay=replay,
    ).against(no_worse_than, tolerance, has_threshold=at_least is not None, columns=_PROVEN)
    kind = "bounds" if isinstance(threat, Columns) else "linear bounds"
    return _finished(plan, threat, at_least, f"{kind} after {cascade.name}")


@assertion(measure_certified_accuracy)
def assert_certified_accuracy() -> None:
    """Claim that at least `at_least` of the samples are proven to hold for every input inside a threat model."""


def _smoothed(
    model: Smoothed,
    setup: Setup,
    threat: Threat,
    at_least: float | None,
    *,
    no_worse_than: Baseline | None,
    tolerance: float,
) -> Result:
    if isinstance(no_worse_than, Smoothed):
        how, other = ((one.sigma, one.draws, one.guesses) for one in (model, no_worse_than))
        if how != other:
            raise ConfigError(
                f"Expected no_worse_than= to be smoothed by (sigma, draws, guesses) = {how} but got {other}: the "
                "certified radii depend on them. Smooth both models equally."
            )
        no_worse_than = no_worse_than.model
    elif no_worse_than is not None and not isinstance(no_worse_than, (str, os.PathLike)):
        raise ConfigError(
            expected("no_worse_than to be Smoothed(...), as the model is, or a baseline file", no_worse_than)
        )
    require(type(threat) is L2, "L2, the norm in which smoothing certifies", threat)
    # All samples share half of alpha, so that their certificates hold together; the verdict on their number has the
    # other half.
    look = Smoothing(
        # The noise alone: the model is that of the units.
        smoothed=replace(model, model=None),
        eps=threat.radius,
        alpha=setup.settings.alpha / (2 * max(1, len(setup.samples))),
    )
    # The other half of alpha; see `Smoothing` below for the first.
    halved = replace(setup.terms, alpha=setup.terms.alpha / 2)
    plan = setup.plan(
        CERTIFIED_ACCURACY.quantities[0].state(threat, f"smoothed by noise of {model.sigma:g}"),
        look,
        CertifiedRule(threshold=at_least, terms=halved, proofs_alone=True, drawn=True),
        identity=("smoothed accuracy", threat, model.sigma, model.draws, model.guesses, look.alpha),
    ).against(no_worse_than, tolerance, has_threshold=at_least is not None, columns=_PROVEN)
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
        changed=[Changed.within(threat, evidence.n)],
        pairing=NOT_PAIRED,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothing:
    """Two rounds of noisy predictions of each sample: the first guesses a class, the second certifies it.

    Attributes:
        eps: the L2 radius to prove.
        alpha: most chance of a wrong certificate of one sample, on either side.
    """

    smoothed: Smoothed
    eps: float
    alpha: float

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """Return outcomes: "proven" if the label has the majority within eps, not "held" if another class has it."""
        task, how = evaluator.task, self.smoothed
        clean = task.holds(evaluator.logits(chunk.x), chunk.y)
        radius, held = np.zeros(len(chunk.y)), np.ones(len(chunk.y), dtype=bool)
        for row, label in enumerate(chunk.y.tolist()):
            # Two rounds of independent draws: the class must not be chosen by the draws that certify it.
            guess = int(self._votes(evaluator, chunk, row, "guess", how.guesses).argmax())
            votes = int(self._votes(evaluator, chunk, row, "certify", how.draws)[guess])
            found = certified_radius(votes, how.draws, how.sigma, self.alpha)
            if guess == label:
                radius[row] = found
            # Another class certainly has the majority at the sample itself.
            elif found > 0:
                held[row] = False
        return Observation({"held": held, "clean": clean, "proven": radius >= self.eps, "radius": radius}, [])

    def _votes(self, evaluator: Evaluator, chunk: Chunk, row: int, use: str, draws: int) -> Tensor:
        key = rng.fold(chunk.key[row : row + 1], use)
        return count_votes(evaluator, chunk.x[row], key, sigma=self.smoothed.sigma, draws=draws)
