"""An attack on a chunk of samples: what every claim asks of it, and what became of each sample.

What of the samples that an attack leaves is proven: the look, and what a result says of it.

Adversarial examples themselves, for use outside a gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import context
from robustest.attacks import Cascade, Searcher, as_attack, draws_of
from robustest.decisions import ShareRule
from robustest.engine.cascade import run_cascade
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator, majority, seed_draws
from robustest.engine.gradient_checks import climbers, probe_inputs, probe_survivors
from robustest.errors import ConfigError, expected
from robustest.results import Cost
from robustest.run.driver import observe
from robustest.run.evidence import REPLAYED, Evidence, Look, Observation, exhibits_of
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup
from robustest.run.replay import Replay, kept_of
from robustest.store.corpus import Kept
from robustest.tasks import Task
from robustest.threats import Spatial, Threat, per_row


def check_threat(threat: object) -> None:
    """Refuse what is no threat model.

    Raises:
        ConfigError: not a threat object.
    """
    if isinstance(threat, type) or not isinstance(threat, Threat):
        raise ConfigError(expected("a threat model such as Linf(8 / 255)", threat))


def check_threat_fits_task(task: Task, threat: Threat) -> None:
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


def attack_of_call(attack: str | Searcher | Cascade | None, threat: Threat) -> Cascade:
    """The attack of a call, the settings' where it names none, with the stages that packs have for its threat.

    Raises:
        UnknownNameError: there is no attack of that name.
        ConfigError: it is no attack.
    """
    return as_attack(context.current().settings.attack if attack is None else attack, threat)


def setup_for_draws(cascade: Cascade, setup: Setup) -> Setup:
    """The setup of a model that is attacked: where answers are averaged, that they differ is no reason to stop.

    Raises:
        ConfigError: answers are averaged, and an answer is no class, so that there is no majority.
    """
    if draws_in(cascade) == 1:
        return setup
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
        probing: make the experiments beside the attack that feed the health checks; an audit leaves them to the attack
            that it audits.
        every: hand over every counterexample, to be tried on another model, and not only what there is room for.
    """

    cascade: Cascade
    threat: Threat
    examples: int
    keep: bool = False
    replay: Replay | None = None
    probing: bool = True
    every: bool = False

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """What became of a chunk."""
        cascade, threat = self.cascade, self.threat
        seen, draws = evaluator.judged(chunk.x, chunk.y), draws_in(cascade)
        clean, right = seen.predicted, seen.holds
        if draws > 1:
            clean, missed = majority(evaluator, chunk.x, chunk.y, draws)
            right = 2 * missed <= draws
        if self.probing:
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
            part, margin = chunk.rows(left), seen.margin[left]
            attempts = self.keep or draws > 1
            outcome = run_cascade(evaluator, cascade, threat, part, clean_margin=margin, attempts=attempts)
            found = outcome.found
            if self.probing:
                probe_survivors(evaluator, cascade, threat, part, found)
            was = rows["predicted"][left]
            rows["predicted"][left] = torch.where(per_row(found.broken, was), found.predicted.to(was), was)
            rows["held"][left], rows["after"][left] = ~found.broken, found.x
            rows["size"][left], rows["margin"][left] = found.size, found.margin
            counts |= outcome.stages
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
        kept, broken = None, ~held & right
        if self.replay is not None:
            kept = self.replay.found(evaluator, chunk, after, size, broken, every=self.every)
        elif self.every and bool(broken.any()):
            kept = kept_of(chunk, broken.nonzero().squeeze(1), after, size)
        return Observation({name: column.cpu().numpy() for name, column in columns.items()}, exhibits, counts, kept)

    def auditor(self, evaluator: Evaluator, chunk: Chunk) -> Attacking | None:
        """Return the look that audits these samples, by the stages of the cascade's audit; None without any."""
        audit = audit_of(self.cascade, self.threat, evaluator, chunk)
        return None if audit is None else replace(self, cascade=audit, replay=None, probing=False, every=False)

    def keeping(self) -> Attacking:
        """As `Searching.keeping`."""
        return replace(self, every=True)

    def tried(self, evaluator: Evaluator, chunk: Chunk, kept: Kept) -> Observation:
        """As `Searching.tried`: the inputs lie inside the threat, as they were found there for the same samples."""
        draws, x, size = draws_in(self.cascade), kept.x.to(chunk.x), kept.sizes.to(chunk.x.device)
        seed_draws(chunk.key)
        seen = evaluator.judged(x, chunk.y)
        held, said = seen.holds, seen.predicted
        columns = {"size": size}
        if draws > 1:
            said, missed = majority(evaluator, x, chunk.y, draws)
            held = 2 * missed <= draws
            columns["missed"] = missed
        exhibits = exhibits_of(
            chunk,
            ~held,
            clean=evaluator.judged(chunk.x, chunk.y).predicted,
            predicted=said,
            before=chunk.x,
            after=x,
            badness=-seen.margin,
            size=size,
            most=self.examples,
            task=evaluator.task,
        )
        columns["held"] = held
        return Observation({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)


def audit_of(cascade: Cascade, threat: Threat, evaluator: Evaluator, chunk: Chunk) -> Cascade | None:
    """Return the stages of a cascade's audit that work on a chunk, as a cascade; None where there are none."""
    stages = Cascade(name=f"{cascade.name} audit", stages=cascade.audit).serving(
        threat, evaluator.model.gives, chunk.x[0].numel(), evaluator.task
    )
    return Cascade(name=f"{cascade.name} audit", stages=stages) if stages and threat.radius > 0 else None


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


WAYS = ("auto", "linear")


def checked_certify(how: str | None, draws: int) -> str | None:
    """The way in which samples are proven: the call's, or the settings' where it names none.

    Raises:
        ConfigError: no such way, or the model is said to answer at random.
    """
    how = context.current().settings.certify if how is None else how
    if how is None:
        return None
    if how not in WAYS:
        raise ConfigError(expected(f"certify to be one of {', '.join(WAYS)}, or None", how))
    if draws > 1:
        raise ConfigError(
            f"Expected an attack on single answers with certify={how!r} but got one that averages {draws} draws. "
            "Bounds are of a model that answers alike every time: leave certify out."
        )
    return how


@dataclass(frozen=True, slots=True, kw_only=True)
class Certifying:
    """An attack on a chunk, then bounds of what it left.

    Attributes:
        attack: the attack's own look, with the columns "held" and "clean".
        threat: what is allowed.
        replay: known counterexamples, for the attack.
    """

    attack: Look
    threat: Threat
    replay: Replay | None = None

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """What became of a chunk; the column "proven" holds what no attack can break."""
        from robustest.engine.proving import prove_rows  # here, as no other claim needs it

        attack: Any = self.attack
        observed = replace(attack, replay=self.replay)(evaluator, chunk)
        clean = torch.from_numpy(observed.columns["clean"].astype(bool)).to(chunk.x.device)
        held = torch.from_numpy(observed.columns["held"].astype(bool)).to(chunk.x.device)
        right = clean.nonzero().squeeze(1)
        proven = np.zeros(len(clean), dtype=bool)
        if len(right):
            part = chunk.rows(right)
            margin = evaluator.task.margin(evaluator.logits(part.x), part.y)
            found = prove_rows(evaluator, part, self.threat, held[right], margin)
            proven[right.cpu().numpy()] = found.rows.cpu().numpy()
            if found.note and found.note not in evaluator.notes:
                evaluator.notes.append(found.note)
        columns = {**observed.columns, "proven": proven}
        return Observation(columns, observed.exhibits, observed.counts, observed.kept)

    def auditor(self, evaluator: Evaluator, chunk: Chunk) -> Look | None:
        """Return the attack's own auditor: what is proven needs none."""
        attack: Any = self.attack
        found: Look | None = attack.auditor(evaluator, chunk)
        return found

    def keeping(self) -> Certifying:
        """As `Searching.keeping`."""
        attack: Any = self.attack
        return replace(self, attack=attack.keeping())

    def tried(self, evaluator: Evaluator, chunk: Chunk, kept: Kept) -> Observation:
        """As `Searching.tried`; the driver refuses what breaks a sample that is proven."""
        attack: Any = self.attack
        found: Observation = attack.tried(evaluator, chunk, kept)
        return found


def certified_details(evidence: Evidence) -> dict[str, Any]:
    """What was proven, what was broken or wrong, and what is open, of the samples looked at."""
    proven, held = (evidence.columns[name].astype(bool) for name in ("proven", "held"))
    return {
        "certified": evidence.share(proven),
        "attacked": evidence.share(held),
        "proven": int(proven.sum()),
        "looked_at": evidence.n,
        "not_held": int((~held).sum()),
        "open": int((held & ~proven).sum()),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversarial:
    """What an attack made of some samples; rows in the order given.

    Attributes:
        x: like the x given, inside the threat: the input found where `broken`, the best attempt elsewhere
            (the sample itself where it was misclassified from the start).
        broken: (N,) bool: the model misclassifies the row of `x`.
        norms: (N,) float64, the threat's size of each row's change.
        cost: model passes and seconds.
        stages: how many samples each stage broke.
        notes: what a reader must know.
    """

    x: Any
    broken: NDArray[np.bool_]
    norms: NDArray[np.float64]
    cost: Cost
    stages: Mapping[str, int]
    notes: tuple[str, ...]


@measurement()
def find_adversarial(
    model: object,
    x: Tensor | NDArray[Any],
    y: Tensor | NDArray[Any],
    threat: Threat,
    *,
    attack: str | Searcher | Cascade = "standard",
    **options: Unpack[Options],
) -> Adversarial:
    """The worst inputs that an attack finds for some samples.

    Args:
        model: as for `measure_robust_accuracy`.
        x: (N, *S) floats inside the bounds, a tensor or an array; what is returned is of the same kind.
        y: (N,) integer labels.
        threat: what may be done to a sample.
        attack: a name, a searcher or a cascade.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError, DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    check_threat(threat)
    cascade = as_attack(attack, threat)
    setup = setup_for_draws(cascade, Setup.of(model, (x, y), options).but(max_samples=None, time_budget=None))
    look = Attacking(cascade=cascade, threat=threat, examples=0, keep=True)
    nothing = ShareRule(threshold=None, at_least=True, terms=setup.alone)
    evidence = observe(setup.plan(f"{cascade.name} under {threat}", look, nothing))
    found = torch.from_numpy(evidence.columns["x"])
    like: Any = found.to(x.dtype).to(x.device) if isinstance(x, Tensor) else found.numpy().astype(x.dtype)
    return Adversarial(
        x=like,
        broken=~evidence.columns["held"],
        norms=evidence.columns["size"],
        cost=evidence.tally.cost,
        stages=dict(evidence.counts),
        notes=evidence.tally.notes,
    )
