"""An attack on a chunk of samples: what every claim asks of it, and what became of each sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustest import context
from robustest.attacks import Cascade, Searcher, as_attack, draws_of
from robustest.engine.cascade import run_cascade
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator, majority, seed_draws
from robustest.engine.gradient_checks import climbers, probe_inputs, probe_survivors
from robustest.errors import ConfigError, expected
from robustest.run.evidence import REPLAYED, Observed, exhibits_of
from robustest.run.remembered.replay import Replay, kept_of
from robustest.run.setup import Setup
from robustest.store.corpus import Kept
from robustest.tasks import Task
from robustest.threats import Spatial, Threat, per_row


def checked_threat(threat: object) -> None:
    """Refuse what is no threat model.

    Raises:
        ConfigError: not a threat object.
    """
    if isinstance(threat, type) or not isinstance(threat, Threat):
        raise ConfigError(expected("a threat model such as Linf(8 / 255)", threat))


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


def asked_attack(attack: str | Searcher | Cascade | None, threat: Threat) -> Cascade:
    """The attack of a call, the settings' where it names none, with the stages that packs have for its threat.

    Raises:
        UnknownNameError: there is no attack of that name.
        ConfigError: it is no attack.
    """
    return as_attack(context.current().settings.attack if attack is None else attack, threat)


def ready_for(cascade: Cascade, setup: Setup) -> Setup:
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

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observed:
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
        kept, broken = None, ~held & right
        if self.replay is not None:
            kept = self.replay.found(evaluator, chunk, after, size, broken, every=self.every)
        elif self.every and bool(broken.any()):
            kept = kept_of(chunk, broken.nonzero().squeeze(1), after, size)
        return Observed({name: column.cpu().numpy() for name, column in columns.items()}, exhibits, counts, kept)

    def auditor(self, evaluator: Evaluator, chunk: Chunk) -> Attacking | None:
        """Return the look that audits these samples, by the stages of the cascade's audit; None without any."""
        audit = audit_of(self.cascade, self.threat, evaluator, chunk)
        return None if audit is None else replace(self, cascade=audit, replay=None, probing=False, every=False)

    def keeping(self) -> Attacking:
        """As `Searching.keeping`."""
        return replace(self, every=True)

    def tried(self, evaluator: Evaluator, chunk: Chunk, kept: Kept) -> Observed:
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
        return Observed({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)

    def _attacked(
        self, evaluator: Evaluator, chunk: Chunk, left: Tensor, clean_margin: Tensor, rows: dict[str, Tensor]
    ) -> Mapping[str, int]:
        """Attack the samples at `left` (m,), enter what became of them, and count what each stage broke."""
        cascade, threat, part = self.cascade, self.threat, chunk.rows(left)
        attempts = self.keep or draws_in(cascade) > 1
        outcome = run_cascade(evaluator, cascade, threat, part, clean_margin=clean_margin, attempts=attempts)
        found = outcome.found
        if self.probing:
            probe_survivors(evaluator, cascade, threat, part, found)
        was = rows["predicted"][left]
        rows["predicted"][left] = torch.where(per_row(found.broken, was), found.predicted.to(was), was)
        rows["held"][left], rows["after"][left] = ~found.broken, found.x
        rows["size"][left], rows["margin"][left] = found.size, found.margin
        return outcome.stages


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
