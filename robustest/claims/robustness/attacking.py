"""An attack on a chunk of samples, and proofs for correctly predicted samples, for all claims on robustness."""

# 1. The model predicts each sample unchanged. A wrong prediction is not attacked.
# 2. A known counterexample that still breaks a sample (`robustest.run.replay`) replaces the attack.
# 3. All others are attacked by the stages of the cascade, each stage on the samples that earlier stages left.
# 4. With `Certifying`, bounds then try to prove the samples that the model predicts correctly.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import context
from robustest.attacks import Cascade, Searcher, as_attack, draws_of
from robustest.checks import require
from robustest.decisions import ShareRule
from robustest.engine.cascade import run_cascade
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator, majority, seed_draws
from robustest.engine.gradient_checks import climbers, probe_inputs, probe_survivors
from robustest.engine.search import SearchOutcome
from robustest.errors import ConfigError, expected
from robustest.results import Cost
from robustest.run.driver import observe
from robustest.run.evidence import REPLAYED, Evidence, Observation, exhibits_of
from robustest.run.measurement import measurement
from robustest.run.options import Options
from robustest.run.plan import Setup
from robustest.run.replay import Replay, counterexamples_at
from robustest.store.corpus import Kept
from robustest.threats import Snr, Threat, is_discrete, per_row

_WAYS = ("auto", "linear")


def check_threat(threat: object) -> None:
    """Raise ConfigError unless this is a threat model."""
    mend = ""
    if isinstance(threat, (list, tuple)) and threat and all(isinstance(one, Threat) for one in threat):
        mend = 'Write a claim for each: @pytest.mark.parametrize("threat", [...]).'
    elif isinstance(threat, (list, tuple, dict, Tensor)):
        mend = "The model comes first, then the data, then the threat: (model, (x, y), Linf(8 / 255))."
    fits = not isinstance(threat, type) and isinstance(threat, Threat)
    require(fits, "a threat model such as Linf(8 / 255)", threat, mend)


def attack_of_call(attack: str | Searcher | Cascade | None, threat: Threat) -> Cascade:
    """Return the attack of a call, or of the settings, with the stages that packs add for its threat."""
    return as_attack(context.current().settings.attack if attack is None else attack, threat)


def draws_in(cascade: Cascade) -> int:
    """Return the most draws of any stage of a cascade if all average over draws (for random models), else 1."""
    draws = [draws_of(stage.searcher) for stage in cascade.stages]
    # One stage on single predictions makes the whole attack one on single predictions.
    return max(draws) if min(draws, default=1) > 1 else 1


def setup_for_draws(cascade: Cascade, setup: Setup) -> Setup:
    """Return the setup for an attack; if it averages over draws, a model may be random."""
    if draws_in(cascade) == 1:
        return setup
    if not setup.task.one_class:
        raise ConfigError(
            f"Expected one class a sample for an attack that averages over draws but got {setup.task.name}. Choose an "
            "attack on single answers."
        )
    return setup.but(suppress=(*setup.settings.suppress, "random_forward"))


def check_certify(how: str | None, draws: int) -> bool:
    """Return True if the call, or else the settings, ask for proofs; raise ConfigError if there cannot be any."""
    how = context.current().settings.certify if how is None else how
    if how is None:
        return False
    if how not in _WAYS:
        raise ConfigError(expected(f"certify to be one of {', '.join(_WAYS)}, or None", how))
    if draws > 1:
        raise ConfigError(
            f"Expected an attack on single answers with certify={how!r} but got one that averages {draws} draws. "
            "Bounds need a model without randomness: leave certify out."
        )
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacking:
    """Clean predictions of a chunk, then the attack on the samples that are right.

    Attributes:
        keep: add the column "x" with the inputs found, or the best attempts.
        probing: run the experiments of health checks.
        every: return every counterexample, to be tried on another model.
    """

    cascade: Cascade
    threat: Threat
    keep: bool = False
    replay: Replay | None = None
    probing: bool = True
    every: bool = False

    @classmethod
    def of(cls, attack: str | Searcher | Cascade | None, threat: Threat) -> Attacking:
        """Return the attack of a call: by its name, an attack, or None for that of the settings.

        Raises:
            ConfigError: the threat is none.
            UnknownNameError: no attack has the name.
        """
        check_threat(threat)
        return cls(cascade=attack_of_call(attack, threat), threat=threat)

    @property
    def suppress(self) -> tuple[str, ...]:
        """Health checks that do not hold of this attack: averages over draws are meant for random models."""
        return ("random_forward",) if draws_in(self.cascade) > 1 else ()

    @property
    def gathers(self) -> bool:
        """True if chunks may share their model passes: this look calls the model by its evaluator alone."""
        return not is_discrete(self.threat)  # controls are judged by evaluators of their own

    @property
    def whole_inputs(self) -> bool:
        """True for texts, which are whole numbers and have no gradient."""
        return bool(getattr(self.threat, "of_strings", False))

    @property
    def room(self) -> int:
        """Columns that the threat's texts may need beyond the longest sample."""
        return int(getattr(self.threat, "room", 0))

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        cascade, threat = self.cascade, self.threat
        judgement, draws = evaluator.judge(chunk.x, chunk.y), draws_in(cascade)
        clean, right = judgement.predicted, judgement.holds
        if draws > 1:
            # A random model: the majority of fresh draws decides, ties in its favour.
            clean, missed = majority(evaluator, chunk.x, chunk.y, draws)
            right = 2 * missed <= draws
        climbing = climbers(cascade, threat, evaluator, chunk) if self.probing else ()
        if climbing and not cascade.audit:  # cross-entropy of probabilities hardly climbs, and nothing else looks
            evaluator.count_probabilities(len(chunk.y))
        if self.probing:
            # An audit leaves the experiments of health checks to the attack that it audits.
            probe_inputs(evaluator, chunk, judgement.first, climbing, threat)
        held, predicted, after = right.clone(), clean.clone(), chunk.x.clone()
        # float64: a size in float32 may round across eps.
        size = torch.zeros(len(clean), dtype=torch.float64, device=clean.device)
        margin = torch.zeros(len(clean), device=clean.device)

        counts: dict[str, int] = {}
        if self.replay is not None:
            for row, index in enumerate(chunk.ids.tolist()):
                known = self.replay.counterexamples.get(index)
                # Only correctly predicted samples: a wrong one needs no counterexample.
                if known is not None and bool(held[row]):
                    held[row], predicted[row], after[row] = False, known.predicted.to(predicted), known.x
                    size[row], margin[row] = known.size, known.margin
                    counts[REPLAYED] = counts.get(REPLAYED, 0) + 1

        left = held.nonzero().squeeze(1)
        if len(left):
            part, attempts = chunk.rows(left), self.keep or draws > 1
            outcome = run_cascade(
                evaluator,
                cascade,
                threat,
                part,
                clean_margin=judgement.margin[left],
                attempts=attempts,
                control=self.probing,
            )
            found = outcome.found
            if self.probing:
                self.probe(evaluator, part, found)
            # Samples that the attack left keep their clean prediction.
            was = predicted[left]
            predicted[left] = torch.where(per_row(found.broken, was), found.predicted.to(was), was)
            held[left], after[left], size[left], margin[left] = ~found.broken, found.x, found.size, found.margin
            counts |= outcome.stages

        # Samples that are wrong without a change do not hold, but no attack has broken them.
        broken = ~held & right
        exhibits = exhibits_of(
            evaluator, chunk, broken, clean=clean, predicted=predicted, after=after, badness=-margin, size=size
        )
        columns = {"held": held, "clean": right, "size": size}
        if draws > 1:
            # Fresh draws at the inputs found: the attack chose these inputs by other draws.
            columns["missed"] = majority(evaluator, after, chunk.y, draws)[1]
        if self.keep:
            columns["x"] = after
        kept = None
        if self.replay is not None:
            kept = self.replay.collect(evaluator, chunk, after, size, broken, every=self.every)
        elif self.every and bool(broken.any()):
            kept = counterexamples_at(chunk, broken.nonzero().squeeze(1), after, size)
        return Observation(columns | self.further(predicted), exhibits, counts, kept)

    def probe(self, evaluator: Evaluator, part: Chunk, found: SearchOutcome) -> None:
        """Attack a few of the samples that the search left by other radii, for the health checks."""
        probe_survivors(evaluator, self.cascade, self.threat, part, found)

    def further(self, predicted: Tensor) -> dict[str, Tensor]:
        """Return further columns of a chunk, from the answers (n, *P) that are judged; none here."""
        return {}

    def auditor(self, evaluator: Evaluator, chunk: Chunk, *, many: bool = False) -> Attacking | None:
        audit = audit_of(self.cascade, self.threat, evaluator, chunk, many=many)
        return None if audit is None else Attacking(cascade=audit, threat=self.threat, keep=self.keep, probing=False)

    def keeping(self) -> Attacking:
        return replace(self, every=True)

    def transfer(self, evaluator: Evaluator, chunk: Chunk, kept: Kept) -> Observation:
        # Not checked against the threat: the inputs were found inside it for the same samples.
        draws, x, size = draws_in(self.cascade), kept.x.to(chunk.x), kept.sizes.to(chunk.x.device)
        seed_draws(chunk.key)
        judgement = evaluator.judge(x, chunk.y)
        held, predicted = judgement.holds, judgement.predicted
        columns = {"size": size}
        if draws > 1:
            predicted, missed = majority(evaluator, x, chunk.y, draws)
            held = 2 * missed <= draws
            columns["missed"] = missed
        exhibits = exhibits_of(
            evaluator,
            chunk,
            ~held,
            clean=evaluator.judge(chunk.x, chunk.y).predicted,
            predicted=predicted,
            after=x,
            badness=-judgement.margin,
            size=size,
        )
        columns["held"] = held
        return Observation(columns, exhibits)


def audit_of(
    cascade: Cascade, threat: Threat, evaluator: Evaluator, chunk: Chunk, *, many: bool = False
) -> Cascade | None:
    """Return the stages of a cascade's audit, of a few or of many samples, that fit a chunk, or None."""
    stages = Cascade(name=f"{cascade.name} audit", stages=cascade.audit_of_many if many else cascade.audit).serving(
        threat, evaluator.model.gives, chunk.x[0].numel(), evaluator.task
    )
    if evaluator.model.max_queries is not None:  # the attack has taken what a sample may be asked
        stages = tuple(stage for stage in stages if is_discrete(threat))
    return Cascade(name=f"{cascade.name} audit", stages=stages) if stages and threat.radius > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Certifying(Attacking):
    """An attack on a chunk, then bounds for the correctly predicted samples.

    The driver refuses another model's inputs that break a proven sample.
    """

    @property
    def gathers(self) -> bool:
        return False  # bounds are computed from the module itself

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        from robustest.engine.proving import prove_rows  # here, as no other claim needs it

        observation = Attacking.__call__(self, evaluator, chunk)
        clean = torch.from_numpy(observation.columns["clean"].astype(bool)).to(chunk.x.device)
        held = torch.from_numpy(observation.columns["held"].astype(bool)).to(chunk.x.device)
        right = clean.nonzero().squeeze(1)
        proven = np.zeros(len(clean), dtype=bool)
        if len(right):
            part = chunk.rows(right)
            margin = evaluator.task.margin(evaluator.logits(part.x), part.y)
            proofs = prove_rows(evaluator, part, self.threat, held[right], margin)
            proven[right.cpu().numpy()] = proofs.rows.cpu().numpy()
            if proofs.note and proofs.note not in evaluator.notes:
                evaluator.notes.append(proofs.note)
        return replace(observation, columns={**observation.columns, "proven": proven})


def sizes_found(threat: Threat, sizes: NDArray[np.float64]) -> dict[str, float | None]:
    """Return the largest of the sizes (n,) that an attack needed, and the radius; of `Snr` both as ratios in dB."""
    largest = float(np.max(sizes)) if len(sizes) else None
    if isinstance(threat, Snr):
        return {"lowest_db": threat.ratio(largest) if largest else None, "db": threat.db}
    return {"largest_size": largest, "radius": float(threat.radius)}


SIZE_NAMES = {
    "largest_size": "largest size found",
    "lowest_db": "lowest ratio found, dB",
    "db": "ratio allowed, dB",
}
"""The keys of `sizes_found` in words."""


def certified_details(evidence: Evidence) -> dict[str, Any]:
    """Return the counts of proven, of broken or wrong, and of open samples."""
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
    """The inputs that an attack found; rows in the order given.

    Attributes:
        x: like the x given, inside the threat: the input found, else the best attempt.
        broken: (N,) bool, True for misclassified rows of `x`.
        norms: (N,) float64, sizes of the changes in the threat's unit.
        stages: number of samples that each stage broke.
        notes: for the reader.
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
    x: Tensor | NDArray[Any] | Sequence[str] | Sequence[bytes],
    y: Tensor | NDArray[Any] | Sequence[Any],
    threat: Threat,
    *,
    attack: str | Searcher | Cascade = "standard",
    **options: Unpack[Options],
) -> Adversarial:
    """Return the worst inputs that an attack finds for some samples.

    Args:
        model: as for `measure_robust_accuracy`.
        x: (N, *S) floats inside the bounds, a tensor or an array, like the inputs returned; or a list of texts or of
            bytes.
        y: (N,) integer labels.
        **options: see `robustest.run.options.Options`.
    """
    check_threat(threat)
    cascade = as_attack(attack, threat)
    setup = Setup.of(model, (x, y), options).but(max_samples=None, time_budget=None, examples=0)
    setup = setup_for_draws(cascade, setup)
    threat = setup.resolve(threat)
    look = Attacking(cascade=cascade, threat=threat, keep=True)
    # No claim: every sample is attacked, and no verdict ends the search early.
    nothing = ShareRule(threshold=None, at_least=True, terms=setup.alone)
    evidence = observe(setup.plan(f"{cascade.name} under {threat}", look, nothing))
    found, coding = torch.from_numpy(evidence.columns["x"]), setup.samples.coding
    like: Any
    if coding is not None:
        like = coding.decode(found)
    elif isinstance(x, Tensor):
        like = found.to(x.dtype).to(x.device)
    else:
        like = found.numpy().astype(np.asarray(x).dtype)
    return Adversarial(
        x=like,
        broken=~evidence.columns["held"],
        norms=evidence.columns["size"],
        cost=evidence.tally.cost,
        stages=dict(evidence.counts),
        notes=evidence.tally.notes,
    )
