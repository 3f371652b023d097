"""Robust accuracy: the share of samples for which no misclassified input was found inside the threat."""

from __future__ import annotations

from functools import partial
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from robustest import context
from robustest.attacks import Cascade, Searcher, as_attack, draws_of
from robustest.data import as_samples
from robustest.engine.cascade import run_cascade
from robustest.engine.chunks import Chunk
from robustest.engine.draws import majority
from robustest.engine.evaluator import Evaluator
from robustest.engine.probes import climbers, probe_inputs, probe_survivors
from robustest.engine.search import margins
from robustest.errors import ConfigError, expected
from robustest.facts import Captions
from robustest.kinds import OUTCOMES, Kind, Quantity, clean_accuracy
from robustest.results import Pairing, Result
from robustest.rules import ShareRule
from robustest.run.comparison import Baseline, compared
from robustest.run.driver import observe
from robustest.run.evidence import REPLAYED, Evidence, Observed, exhibits_of
from robustest.run.noting import measures
from robustest.run.options import Options, apply, terms_of
from robustest.run.replay import Replay
from robustest.run.result_building import nothing_allowed, result_of
from robustest.statistics import checked_threshold, clopper_pearson
from robustest.threats import Threat

ROBUST_ACCURACY = Kind(
    name="robust_accuracy",
    quantities=(
        Quantity(
            name="robust accuracy",
            comparison=">=",
            threshold="at_least",
            statement="robust accuracy under {}, {}",
            counts=OUTCOMES,
        ),
    ),
    asks_too=("no_worse_than",),
    captions=Captions(
        setting="threat",
        after="adversarial",
        names={"largest_size": "largest size found", "stages": "broken, by stage"},
    ),
    lines=clean_accuracy,
    told=frozenset({"clean_accuracy"}),
)
"""Accuracy under the worst inputs that an attack finds inside a threat."""


@measures(ROBUST_ACCURACY)
def measure_robust_accuracy(
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
    """Accuracy under the worst inputs that an attack finds inside a threat model.

    A sample counts as held if the model classifies it correctly and the attack breaks it nowhere. The
    number is an upper bound on the true robust accuracy: a stronger attack can only lower it. So the result bounds from
    above, its interval begins at 0, and `details["left_interval"]` is that of the accuracy which this attack left.

    A model that answers at random needs an attack that averages its answers, such as `EOT(PGD(), draws=10)`:
    unchanged and found inputs are then judged by the majority of as many fresh draws. The details give the share
    of draws misclassified at the points found, on draws of their own, with a Clopper-Pearson interval: draws whose
    chances differ from sample to sample spread less than it allows for (Hoeffding, Ann. Math. Stat. 1956).

    Args:
        model: a torch module, TorchScript, or callable mapping images (N, *S) in the bounds to logits (N, K).
        data: `(x, y)`, a data set or a DataLoader; see `robustest.data.as_samples`.
        threat: what the attacker may do, e.g. `Linf(8 / 255)`; eps in input units.
        at_least: the accuracy claimed, in 0..1; without one the verdict is "inconclusive".
        no_worse_than: a baseline file: on the same samples, no more may be lost than `tolerance`, or than chance
            explains at alpha (exact one-sided McNemar test).
        tolerance: the fall from the baseline's accuracy that is no matter, in 0..1.
        attack: a name ("fgsm", "pgd") or a searcher such as `PGD(steps=100)`; the settings' where None.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: samples or labels cannot be measured on.
        ModelError: the model's answers cannot be judged.
        DeviceError: the device is absent or out of memory.
        StoreError: the baseline is missing, damaged, or of other samples.
    """
    if at_least is not None:
        at_least = checked_threshold("at_least", at_least, trivial=0)
    checked_threat(threat)
    classifier, settings = apply(model, options)
    cascade = as_attack(context.current().settings.attack if attack is None else attack)
    statement = ROBUST_ACCURACY.quantities[0].says(threat, cascade.name)
    draws = draws_in(cascade)
    if draws > 1:
        settings = settings.but({"suppress": (*settings.suppress, "random_forward")})

    samples, terms = as_samples(data), terms_of(settings)
    baseline = compared(
        ShareRule(threshold=at_least, at_least=True, terms=terms),
        settings,
        asked=at_least is not None,
        statement=statement,
        n=len(samples),
        terms=terms,
        no_worse_than=no_worse_than,
        tolerance=tolerance,
    )
    settings = baseline.settings
    hunt = Replay(threat, settings) if draws == 1 else None

    evidence = observe(
        statement,
        classifier,
        samples,
        settings,
        partial(attack_chunk, cascade=cascade, threat=threat, examples=settings.examples, hunt=hunt),
        rule=baseline.rule,
        identity=("robust accuracy", threat, cascade),
        hunt=hunt,
    )
    result = result_of(
        evidence,
        evidence.decision,
        settings,
        kind=ROBUST_ACCURACY,
        statement=statement if at_least is None else f"{statement} >= {at_least:g}",
        threshold=at_least,
        setting=str(threat),
        method=cascade.name,
        details={**_details(evidence, threat), **_drawn(evidence, draws, settings.alpha)},
        bounds="above",
        caveats=nothing_allowed(threat),
        pairing=Pairing(),
    )
    return baseline.told(result, evidence)


def checked_threat(threat: object) -> None:
    """Refuse what is no threat model.

    Raises:
        ConfigError: not a threat object.
    """
    if isinstance(threat, type) or not isinstance(threat, Threat):
        raise ConfigError(expected("a threat model such as Linf(8 / 255)", threat))


def draws_in(cascade: Cascade) -> int:
    """The most draws of a cascade's stages if all average over draws, for models that answer at random; else 1."""
    draws = [draws_of(stage.searcher) for stage in cascade.stages]
    return max(draws) if min(draws, default=1) > 1 else 1


def attack_chunk(
    evaluator: Evaluator,
    chunk: Chunk,
    cascade: Cascade,
    threat: Threat,
    *,
    examples: int,
    keep: bool = False,
    hunt: Replay | None = None,
) -> Observed:
    """Clean predictions of a chunk, then the attack on the samples that are right.

    Args:
        evaluator: makes the model's passes.
        chunk: the samples.
        cascade: what to try.
        threat: what is allowed.
        examples: how many samples may be shown, the worst.
        hunt: known counterexamples, whose samples are not attacked again; and where to keep new ones.
        keep: add the column "x" with the inputs found, best attempts where none was.
    """
    logits = evaluator.logits(chunk.x)
    draws = draws_in(cascade)
    clean = logits.argmax(1) if draws == 1 else majority(evaluator, chunk.x, chunk.y, draws)[0]
    probe_inputs(evaluator, chunk, logits, climbers(cascade, threat, evaluator, chunk), threat)
    predicted, after = clean.clone(), chunk.x.clone()
    size = torch.zeros(len(clean), dtype=torch.float64, device=clean.device)
    margin = torch.zeros(len(clean), device=clean.device)
    right = clean == chunk.y
    rows = {"predicted": predicted, "after": after, "size": size, "margin": margin}
    counts = _known(chunk, hunt, right, rows)
    left = (right & (predicted == chunk.y)).nonzero().squeeze(1)
    if len(left):
        part = chunk.rows(left)
        outcome = run_cascade(
            evaluator, cascade, threat, part, clean_margin=margins(logits[left], part.y), attempts=keep or draws > 1
        )
        found = outcome.found
        probe_survivors(evaluator, cascade, threat, part, found)
        counts |= outcome.stages
        predicted[left] = torch.where(found.broken, found.predicted, clean[left])
        after[left], size[left], margin[left] = found.x, found.size, found.margin
    held = predicted == chunk.y
    exhibits = exhibits_of(
        chunk,
        ~held & right,
        clean=clean,
        predicted=predicted,
        before=chunk.x,
        after=after,
        badness=-margin,
        size=size,
        most=examples,
    )
    columns = {"held": held, "clean": right, "size": size}
    if draws > 1:
        columns["missed"] = majority(evaluator, after, chunk.y, draws)[1]
    if keep:
        columns["x"] = after
    kept = None if hunt is None else hunt.found(evaluator, chunk, after, size, ~held & right)
    return Observed({name: column.cpu().numpy() for name, column in columns.items()}, exhibits, counts, kept)


def _known(chunk: Chunk, hunt: Replay | None, right: Tensor, rows: dict[str, Tensor]) -> dict[str, int]:
    """Enter known counterexamples of a chunk's right samples into its rows, and count them."""
    count = 0
    for row, index in enumerate(chunk.ids.tolist() if hunt is not None else ()):
        one = None if hunt is None else hunt.known.get(index)
        if one is not None and bool(right[row]):
            rows["predicted"][row], rows["after"][row] = one.predicted, one.x
            rows["size"][row], rows["margin"][row] = one.size, one.margin
            count += 1
    return {REPLAYED: count} if count else {}


def _details(evidence: Evidence, threat: Threat) -> dict[str, Any]:
    sizes = evidence.columns["size"][~evidence.columns["held"] & evidence.columns["clean"]]
    return {
        "clean_accuracy": evidence.share(evidence.columns["clean"]),
        "broken_by_attack": len(sizes),
        "largest_size": float(np.max(sizes)) if len(sizes) else None,
        "radius": float(threat.radius),
        "stages": {name: count for name, count in evidence.counts.items() if name != REPLAYED},
    }


def _drawn(evidence: Evidence, draws: int, alpha: float) -> dict[str, Any]:
    """For models that answer at random: the share of draws misclassified at the points found."""
    if draws == 1:
        return {}
    missed, of = int(evidence.columns["missed"].sum()), evidence.n * draws
    return {
        "draws": draws,
        "misclassified_draws": missed / of,
        "misclassified_draws_interval": list(clopper_pearson(missed, of, alpha)),
    }
