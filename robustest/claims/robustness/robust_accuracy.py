"""Robust accuracy: the share of samples for which no misclassified input was found inside the threat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from robustest import context
from robustest.attacks import Cascade, Searcher, as_attack, draws_of
from robustest.claims.robustness.certifying import Certifying, certified_details, checked_certify
from robustest.engine.cascade import run_cascade
from robustest.engine.chunks import Chunk
from robustest.engine.draws import majority
from robustest.engine.evaluator import Evaluator
from robustest.engine.hints import hints_on
from robustest.engine.probes import climbers, probe_inputs, probe_survivors
from robustest.errors import ConfigError, expected
from robustest.facts import Captions
from robustest.kinds import OUTCOMES, Kind, Quantity, clean_accuracy
from robustest.results import Pairing, Result
from robustest.rules import CertifiedRule, Rule, ShareRule
from robustest.run.chunk_measurement import Look
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import REPLAYED, Evidence, Observed, exhibits_of
from robustest.run.noting import measures
from robustest.run.options import Options
from robustest.run.replay import Replay
from robustest.run.result_building import finish, nothing_allowed
from robustest.run.setup import Setup, deciding, of_task
from robustest.statistics import asked_threshold, clopper_pearson
from robustest.tasks import Task
from robustest.threats import Spatial, Threat, per_row

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
    certify: str | None = None,
    task: Task | None = None,
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

    With `certify` what the attack left is bounded too (`robustest.bounds`): a sample that is proven holds whatever the
    attack. The interval then goes from what is proven to what was not broken, and enough proofs pass the claim.

    Args:
        model: a torch module, TorchScript, or callable mapping images (N, *S) in the bounds to logits (N, K).
        data: `(x, y)`, a data set or a DataLoader; see `robustest.data.as_samples`.
        threat: what the attacker may do, e.g. `Linf(8 / 255)`; eps in input units.
        at_least: the accuracy claimed, in 0..1; without one the verdict is "inconclusive".
        no_worse_than: a baseline file: on the same samples, no more may be lost than `tolerance`, or than chance
            explains at alpha (exact one-sided McNemar test).
        tolerance: the fall from the baseline's accuracy that is allowed, in 0..1.
        attack: a name ("fgsm", "pgd") or a searcher such as `PGD(steps=100)`; the settings' where None.
        certify: "auto" or "linear": prove what can be proven, in L-inf, L2 and L1, of a torch module; the settings'
            where None.
        task: what the answers are, and when they are right, e.g. `Segmentation(19, floor=0.9)`; classification where
            None. A sample that keeps its floor holds.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or the task has no floor, or does not go with the threat.
        DataError: samples or labels cannot be measured on.
        ModelError: the model's answers cannot be judged.
        DeviceError: the device is absent or out of memory.
        StoreError: the baseline is missing, damaged, or of other samples.
    """
    at_least = asked_threshold("at_least", at_least, trivial=0)
    checked_threat(threat)
    setup = Setup.of(model, data, options, deciding(task))
    checked_together(setup.task, threat)
    cascade = as_attack(context.current().settings.attack if attack is None else attack)
    draws = draws_in(cascade)
    if draws > 1:
        setup = _answering_at_random(setup)
    how = checked_certify(certify, draws)
    replay = Replay(threat, setup.settings, setup.task, certifies=how is not None) if draws == 1 else None
    look: Look = Attacking(cascade=cascade, threat=threat, examples=setup.settings.examples, replay=replay)
    rule: Rule = ShareRule(threshold=at_least, at_least=True, terms=setup.terms)
    if how is not None:
        look = Certifying(attack=look, threat=threat, replay=replay)
        rule = CertifiedRule(threshold=at_least, terms=setup.terms, proofs_alone=False)
    plan = setup.plan(
        ROBUST_ACCURACY.quantities[0].says(threat, cascade.name) + of_task(setup.task),
        look,
        rule,
        identity=("robust accuracy", threat, cascade, *(() if how is None else ("certified",))),
        replay=replay,
    ).against(no_worse_than, tolerance, asked=at_least is not None)
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
            **_draw_details(evidence, draws, setup.settings.alpha),
            **({} if how is None else certified_details(evidence)),
        },
        bounds="above" if how is None else "",
        caveats=nothing_allowed(threat),
        notes=hints_on(threat, setup.model.bounds),
        pairing=Pairing(under=of_task(setup.task).strip(", ")),
    )


def checked_together(task: Task, threat: Threat) -> None:
    """Refuse a threat that moves images whose targets would have to move with them.

    Raises:
        ConfigError: it does.
    """
    if task.placed and isinstance(threat, Spatial):
        raise ConfigError(
            f"Expected a threat that leaves things where they are but {threat} moves them, and the targets of "
            f"{task.name} do not follow a search. Use a norm ball, or claim accuracy under the shifts rotation, "
            "translation and scale."
        )


def checked_threat(threat: object) -> None:
    """Refuse what is no threat model.

    Raises:
        ConfigError: not a threat object.
    """
    if isinstance(threat, type) or not isinstance(threat, Threat):
        raise ConfigError(expected("a threat model such as Linf(8 / 255)", threat))


def _answering_at_random(setup: Setup) -> Setup:
    """The setup of a model whose answers an attack averages: that they differ is no reason to stop.

    Raises:
        ConfigError: an answer is no class, so that there is no majority.
    """
    if not setup.task.one_class:
        raise ConfigError(
            f"Expected one class a sample for an attack that averages over draws but got {setup.task.name}."
        )
    return setup.but(suppress=(*setup.settings.suppress, "random_forward"))


def draws_in(cascade: Cascade) -> int:
    """The most draws of a cascade's stages if all average over draws, for models that answer at random; else 1."""
    draws = [draws_of(stage.searcher) for stage in cascade.stages]
    return max(draws) if min(draws, default=1) > 1 else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacking:
    """Clean predictions of a chunk, then the attack on the samples that are right.

    Attributes:
        cascade: what to try.
        threat: what is allowed.
        examples: how many samples may be shown, the worst.
        keep: add the column "x" with the inputs found, best attempts where none was.
        replay: known counterexamples, whose samples are not attacked again; and where to keep new ones.
    """

    cascade: Cascade
    threat: Threat
    examples: int
    keep: bool = False
    replay: Replay | None = None

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observed:
        """What became of a chunk."""
        cascade, threat = self.cascade, self.threat
        seen, draws = evaluator.judged(chunk.x, chunk.y), draws_in(cascade)
        clean, right = seen.said, seen.holds
        if draws > 1:
            clean, missed = majority(evaluator, chunk.x, chunk.y, draws)
            right = 2 * missed <= draws
        probe_inputs(evaluator, chunk, seen.first, climbers(cascade, threat, evaluator, chunk), threat)
        rows = {
            "held": right.clone(),
            "predicted": clean.clone(),
            "after": chunk.x.clone(),
            "size": torch.zeros(len(clean), dtype=torch.float64, device=clean.device),
            "margin": torch.zeros(len(clean), device=clean.device),
        }
        counts = _enter_known(chunk, self.replay, rows)
        left = rows["held"].nonzero().squeeze(1)
        if len(left):
            counts |= self._attacked(evaluator, chunk, left, seen.margin[left], rows)
        held, after, size = rows["held"], rows["after"], rows["size"]
        exhibits = exhibits_of(
            chunk,
            ~held & right,
            clean=clean,
            predicted=rows["predicted"],
            before=chunk.x,
            after=after,
            badness=-rows["margin"],
            size=size,
            most=self.examples,
            task=evaluator.task,
        )
        columns = {"held": held, "clean": right, "size": size}
        if draws > 1:
            columns["missed"] = majority(evaluator, after, chunk.y, draws)[1]
        if self.keep:
            columns["x"] = after
        kept = None if self.replay is None else self.replay.found(evaluator, chunk, after, size, ~held & right)
        return Observed({name: column.cpu().numpy() for name, column in columns.items()}, exhibits, counts, kept)

    def _attacked(
        self, evaluator: Evaluator, chunk: Chunk, left: Tensor, clean_margin: Tensor, rows: dict[str, Tensor]
    ) -> Mapping[str, int]:
        """Attack the samples at `left` (m,), enter what became of them, and count what each stage broke."""
        cascade, threat, part = self.cascade, self.threat, chunk.rows(left)
        attempts = self.keep or draws_in(cascade) > 1
        outcome = run_cascade(evaluator, cascade, threat, part, clean_margin=clean_margin, attempts=attempts)
        found = outcome.found
        probe_survivors(evaluator, cascade, threat, part, found)
        was = rows["predicted"][left]
        rows["predicted"][left] = torch.where(per_row(found.broken, was), found.predicted.to(was), was)
        rows["held"][left], rows["after"][left] = ~found.broken, found.x
        rows["size"][left], rows["margin"][left] = found.size, found.margin
        return outcome.stages


def _enter_known(chunk: Chunk, replay: Replay | None, rows: dict[str, Tensor]) -> dict[str, int]:
    """Enter known counterexamples of a chunk's right samples into its rows, and count them."""
    count = 0
    for row, index in enumerate(chunk.ids.tolist() if replay is not None else ()):
        one = None if replay is None else replay.known.get(index)
        if one is not None and bool(rows["held"][row]):
            rows["held"][row] = False
            rows["predicted"][row], rows["after"][row] = one.predicted.to(rows["predicted"]), one.x
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
