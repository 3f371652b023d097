"""Whether a network learns its classes from features that nobody sees (Ilyas et al., NeurIPS 2019, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import context, rng
from robustest.checks import checked_whole
from robustest.claims.robustness.robust_accuracy import checked_threat
from robustest.engine.chunks import Chunk
from robustest.engine.constructed import moved_to_others
from robustest.engine.evaluator import Evaluator
from robustest.facts import Captions, Fact
from robustest.identity.fingerprint import digest
from robustest.kinds import Kind, Quantity
from robustest.results import Result, Verdict
from robustest.rules import ShareRule, Terms
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observed, Tally, exhibits_of
from robustest.run.noting import measures
from robustest.run.options import Options, terms_of
from robustest.run.result_building import nothing_allowed, result_of
from robustest.run.setup import Setup
from robustest.run.training_sets import TrainingSets
from robustest.run.trainings import TrainFn, Trainings, announced, check_train_fn
from robustest.settings import Settings
from robustest.statistics import Decision, checked_threshold
from robustest.statistics.fixed import beyond
from robustest.statistics.seeded import seeded_share_interval
from robustest.threats import Threat

_FITTED = 0.5
"""Share of the samples that a learner was trained on that it must answer as labelled: else it has learned nothing."""

_SETS = ("next class", "random class", "labels permuted", "unchanged")
"""D_det, D_rand, the null and the control, in the words of reports."""


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    rows = {row["trained_on"]: row for row in details["by_set"]}
    return [
        Fact("targets reached", details["reached"]),
        Fact("next class taught", rows["next class"]["next_class"]),
        Fact("transfer with labels permuted", rows["labels permuted"]["transfer"]),
    ]


NONROBUST_RELIANCE = Kind(
    name="nonrobust_reliance",
    quantities=(
        Quantity(
            name="transfer",
            comparison="<=",
            threshold="max_transfer",
            statement="accuracy learned from what changes under {} alone, labels being the next class's",
        ),
    ),
    captions=Captions(
        setting="threat",
        after="relabelled",
        worst="Samples moved to the next class",
        names={"by_set": "what learners that were trained on a set do on unchanged test samples", "seeds": "seeds"},
    ),
    lines=_lines,
)
"""How well a learner does on unchanged samples after one whose visible content always contradicts the label."""


@measures(NONROBUST_RELIANCE)
def measure_nonrobust_reliance(
    model: object,
    train_fn: TrainFn,
    data: object,
    test: object,
    threat: Threat,
    *,
    max_transfer: float | None = None,
    seeds: int = 3,
    steps: int = 100,
    min_reached: float = 0.5,
    **options: Unpack[Options],
) -> Result:
    """How much of a model's classes another one learns from features that are small enough to be moved unseen.

    Each sample is moved, inside the threat, towards the class after its own, and labelled so (D_det: Ilyas et al.,
    "Adversarial Examples Are Not Bugs, They Are Features", NeurIPS 2019, section 3.2; as `repair.mislabelled` does).
    What people see in it speaks for another class than its label, always; what speaks for the label is what the model
    was moved by. A learner that was trained on that, and recognises unchanged test samples all the same, has learned
    from the latter: its accuracy is the transfer.

    Beside it stand learners of three other sets, each of every seed:

    - D_rand, moved towards a class drawn at random: there visible features may leak, as those of the label's class are
      no rarer than others. It decides nothing.
    - the null: D_det with its labels permuted, which teaches nothing. Where that learner recognises more than the
      commonest class, it knew the classes before, and nothing is claimed.
    - the control, which must fail: the samples as they are. Where its learner does not recognise surely more than
      `max_transfer`, no set could have failed the claim.

    The verdict also waits where the learner of D_det answers less than half of its own samples as they are labelled.
    The interval is for other seeds and other test samples, whatever `scope` says. What was measured of a training is
    remembered, as by `measure_robust_generalization`.

    Args:
        model: as for `measure_robust_accuracy`: the network in question, which must give gradients.
        train_fn: as for `measure_robust_generalization`: trains the learner, best of the network's own kind.
        data: samples that are moved, as for `measure_robust_accuracy`. They are held in memory.
        test: other samples, which stay as they are.
        threat: how far samples may be moved: `L2(0.5)` in the paper.
        max_transfer: the transfer claimed at most, in 0..1; without one the verdict is "inconclusive".
        seeds: learners of each set, >= 1: `seed`, `seed` + 1, ...
        steps: gradient steps towards the class, >= 1.
        min_reached: share of the samples, in 0..1, that the model must take for the next class once they are moved:
            with fewer there is nothing to learn from, whatever the model relies on.
        **options: see `robustest.run.options.Options`; `max_samples` bounds the test samples.

    Returns:
        The result; its outcomes are whether a test sample is recognised by no seed's learner of D_det.
        `details["by_set"]` has a row for each set: transfer, the share taught the next class, samples fitted.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: samples or labels cannot be measured on, all are of one class, or a test sample is in the data.
        ModelError, DeviceError: as for `measure_robust_accuracy`. What `train_fn` raises comes as it is.
    """
    max_transfer = None if max_transfer is None else checked_threshold("max_transfer", max_transfer, trivial=1)
    min_reached = checked_threshold("min_reached", min_reached)
    checked_threat(threat)
    checked_whole("seeds", seeds, 1)
    checked_whole("steps", steps, 1)
    check_train_fn(train_fn)
    setup = Setup.of(model, data, options)
    sets = TrainingSets.of(data, test, setup.model.bounds)
    statement = NONROBUST_RELIANCE.quantities[0].says(threat)
    if setup.settings.replay_only:
        raise context.current().not_searched(statement, "replayed only: nothing was trained")
    setup = setup.on(Setup.of(model, (sets.x, sets.y), options).samples)
    made = {labels: _moved(setup, statement, threat, labels, steps) for labels in ("next", "random")}
    trainings = Trainings(train_fn, setup.settings, {name: options.get(name) for name in ("bounds", "preprocessing")})
    study = _Study(trainings=trainings, sets=sets, options=options, settings=setup.settings, statement=statement)
    learned = study.learned(made, seeds)
    classes = made["next"].tally.classes
    found = _Found(learned, sets.test_y[study.judged].numpy(), classes, float(made["next"].columns["reached"].mean()))
    decision = _decided(found, max_transfer, min_reached, terms_of(setup.settings))
    return _result(study, found, decision, made, threat=threat, max_transfer=max_transfer, steps=steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """A chunk moved towards other classes, and labelled so; see `measure_nonrobust_reliance`."""

    threat: Threat
    labels: Literal["next", "random"]
    steps: int
    examples: int

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observed:
        """What became of a chunk."""
        logits = evaluator.logits(chunk.x)
        made = moved_to_others(evaluator, self.threat, chunk, labels=self.labels, steps=self.steps)
        reached = made.reached == 1
        exhibits = exhibits_of(
            chunk,
            reached,
            clean=evaluator.task.predictions(logits),
            predicted=made.y,
            before=chunk.x,
            after=made.x,
            badness=evaluator.task.margin(logits, chunk.y),
            size=self.threat.size(made.x, self.threat.region(chunk.x, chunk.bounds)),
            most=self.examples,
        )
        columns = {"held": ~reached, "reached": reached, "x": made.x, "y": made.y}
        return Observed({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)


@dataclass(frozen=True, slots=True)
class Answering:
    """What a learner says of a chunk."""

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observed:
        """Its predictions, and whether they are right."""
        logits = evaluator.logits(chunk.x)
        columns = {"held": evaluator.task.holds(logits, chunk.y), "predicted": evaluator.task.predictions(logits)}
        return Observed({name: column.cpu().numpy() for name, column in columns.items()}, [])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Study:
    """Learners, and the samples that they are asked about."""

    trainings: Trainings
    sets: TrainingSets
    options: Options
    settings: Settings
    statement: str

    @property
    def judged(self) -> Tensor:
        """The test samples that learners are asked about, rising."""
        return self.sets.judged(self.settings.seed, self.settings.max_samples)

    def learned(self, made: Mapping[str, Evidence], seeds: int) -> dict[str, list[tuple[Observed, Tally]]]:
        """What the learners of each set and seed answer."""
        first = self.settings.seed
        found: dict[str, list[tuple[Observed, Tally]]] = {name: [] for name in _SETS}
        for seed in range(first, first + seeds):
            for place, (name, (x, y)) in enumerate(self._training_sets(made, seed).items()):
                announced(self.statement, (seed - first) * len(_SETS) + place, len(_SETS) * seeds)
                found[name].append(self._one(x, y, seed))
        return found

    def _training_sets(self, made: Mapping[str, Evidence], seed: int) -> dict[str, tuple[Tensor, Tensor]]:
        moved = {name: [torch.from_numpy(one.columns[key]) for key in ("x", "y")] for name, one in made.items()}
        (x, y), (random_x, random_y) = moved["next"], moved["random"]
        # Another permutation for every seed: one alone may agree with the classes by chance.
        keys = rng.fold(rng.keys(seed, torch.arange(len(y))), "permutation null")
        pairs = ((x, y), (random_x, random_y), (x, y[keys.argsort(stable=True)]), (self.sets.x, self.sets.y))
        return dict(zip(_SETS, pairs, strict=True))

    def _one(self, x: Tensor, y: Tensor, seed: int) -> tuple[Observed, Tally]:
        judged = self.judged
        own = rng.permutation(seed, len(y))[: len(judged)]
        test_x, test_y = self.sets.test_x[judged], self.sets.test_y[judged]

        def measure(learner: object) -> tuple[Observed, Tally]:
            on_test, fitted = self._answers(learner, test_x, test_y), self._answers(learner, x[own], y[own])
            columns = {"predicted": on_test.columns["predicted"], "fitted": fitted.columns["held"]}
            return Observed(columns, []), on_test.tally.plus(fitted.tally)

        return self.trainings.measured(x, y, seed, ("answers", own, test_x), measure)

    def _answers(self, learner: object, x: Tensor, y: Tensor) -> Evidence:
        setup = Setup.of(learner, (x, y), self.options)
        # A learner may give labels, scores or probabilities: no gradient is asked of it.
        changes: dict[str, Any] = {"exact": True, "max_samples": None, "time_budget": None}
        changes["suppress"] = (*setup.settings.suppress, "softmax_outputs")
        setup = setup.but(**changes).unpictured()
        setup = replace(setup, settings=replace(setup.settings, store=None, corpus=None))
        return observe(setup.plan(self.statement, Answering(), _seen(setup.settings), here=True))


def _moved(setup: Setup, statement: str, threat: Threat, labels: Literal["next", "random"], steps: int) -> Evidence:
    """Every sample moved towards another class."""
    setup = setup.but(exact=True, max_samples=None, time_budget=None)
    look = Moving(threat=threat, labels=labels, steps=steps, examples=setup.settings.examples)
    identity = ("moved to other classes", threat, labels, steps)
    return observe(setup.plan(statement, look, _seen(setup.settings), identity=identity, here=True))


def _seen(settings: Settings) -> ShareRule:
    """A rule that asks for every outcome and decides nothing."""
    terms = Terms(scope="set", alpha=settings.alpha, fail_alpha=settings.alpha)
    return ShareRule(threshold=None, at_least=True, terms=terms)


class _Found:
    """What learners do on unchanged test samples.

    Attributes:
        classes: of the model.
        reached: share of the samples that the model took for the next class.
        right: by set, (S, m) whether the learner of each seed recognises each test sample.
        next: by set, (S, m) whether it takes it for the class after its own.
        fitted: by set, (S, n) whether it answers its own samples as they were labelled.
        chance: share of the commonest class of test samples.
    """

    def __init__(
        self,
        learned: Mapping[str, list[tuple[Observed, Tally]]],
        label: NDArray[np.int64],
        classes: int,
        reached: float,
    ) -> None:
        said = {name: np.stack([seen.columns["predicted"] for seen, _ in ones]) for name, ones in learned.items()}
        self.classes, self.reached = classes, reached
        self.right = {name: one == label for name, one in said.items()}
        self.next = {name: one == (label + 1) % classes for name, one in said.items()}
        self.fitted = {name: np.stack([seen.columns["fitted"] for seen, _ in ones]) for name, ones in learned.items()}
        self.chance = float(np.bincount(label).max() / len(label))
        self.tally = Tally()
        for ones in learned.values():
            for _, tally in ones:
                self.tally = self.tally.plus(tally)

    def rows(self, alpha: float) -> list[dict[str, Any]]:
        """A row for each set."""
        return [
            {
                "trained_on": name,
                "transfer": float(right.mean()),
                "transfer_interval": list(seeded_share_interval(right, alpha)),
                "next_class": float(self.next[name].mean()),
                "fitted": float(self.fitted[name].mean()),
            }
            for name, right in self.right.items()
        ]


def _decided(found: _Found, max_transfer: float | None, min_reached: float, terms: Terms) -> Decision:
    right = found.right["next class"]
    interval = seeded_share_interval(right, terms.alpha)
    verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    if max_transfer is not None:
        verdict = beyond(interval, max_transfer, at_least=False)
        rule = f"other seeds and samples, alpha = {terms.alpha:g} a side"
        if len(right) == 1:
            rule = "one seed says nothing of others: give seeds=3 or more"
    if doubt := _doubt(found, max_transfer, min_reached, terms.alpha):
        verdict, rule = Verdict.INCONCLUSIVE, doubt
    return Decision(
        verdict=verdict, rule=rule, estimate=float(right.mean()), interval=interval, at_alpha=max_transfer is not None
    )


def _doubt(found: _Found, max_transfer: float | None, min_reached: float, alpha: float) -> str:
    """Why transfer would say nothing of the model; empty where it does."""
    if found.reached < min_reached:
        return (
            f"few targets reached: the model takes {found.reached:.3f} of the samples for the next class, less than "
            f"min_reached={min_reached:g}: give a larger eps or more steps"
        )
    fitted = float(found.fitted["next class"].mean(1).min())
    if fitted < _FITTED:
        return f"the learner of one seed answers only {fitted:.3f} of the samples that it was trained on as labelled"
    null = found.right["labels permuted"]
    if seeded_share_interval(null, alpha)[0] > found.chance:
        return (
            f"a learner of permuted labels recognises {null.mean():.3f} of the test samples, more than the commonest "
            f"class's {found.chance:.3f}: it knew the classes before"
        )
    control = found.right["unchanged"]
    if max_transfer is not None and seeded_share_interval(control, alpha)[0] <= max_transfer:
        return (
            f"the control does not fail: a learner of the samples as they are recognises {control.mean():.3f}, not "
            f"surely more than max_transfer={max_transfer:g}"
        )
    return ""


def _result(
    study: _Study,
    found: _Found,
    decision: Decision,
    made: Mapping[str, Evidence],
    *,
    threat: Threat,
    max_transfer: float | None,
    steps: int,
) -> Result:
    settings, judged, moved = study.settings, study.judged.numpy(), made["next"]
    remembered = [moved.cached, made["random"].cached, study.trainings.when]
    evidence = Evidence(
        decision=decision,
        columns={"held": ~found.right["next class"].any(0), "id": judged},
        ids=judged,
        total=len(study.sets.test_y),
        exhibits=moved.exhibits,
        tally=moved.tally.plus(made["random"].tally).plus(found.tally),
        counts={},
        bounds=moved.bounds,
        findings=moved.findings,
        cached=min(remembered) if all(remembered) else "",
        data=digest((study.sets.test_x, study.sets.test_y)),
        model=moved.model,
    )
    seeds = len(found.right["next class"])
    result = result_of(
        evidence,
        decision,
        settings,
        kind=NONROBUST_RELIANCE,
        statement=study.statement if max_transfer is None else f"{study.statement} <= {max_transfer:g}",
        threshold=max_transfer,
        setting=f"{threat}, {len(study.sets.y)} training samples, {seeds} seeds",
        method=f"{steps} gradient steps towards the next class, variance by seed and sample",
        details={
            "reached": found.reached,
            "reached_at_random": float(made["random"].columns["reached"].mean()),
            "by_set": found.rows(settings.alpha),
            "seeds": seeds,
            "commonest_class": found.chance,
        },
        scope="population",
        caveats=nothing_allowed(threat),
    )
    return replace(result, notes=(*result.notes, *study.trainings.notices))
