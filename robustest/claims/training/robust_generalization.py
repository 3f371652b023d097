"""How much robust accuracy is lost from training samples to others (Schmidt et al., NeurIPS 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import context, rng
from robustest.attacks import Cascade, Searcher, as_attack
from robustest.checks import checked_whole
from robustest.claims.robustness.robust_accuracy import Attacking, checked_threat, draws_in
from robustest.errors import ConfigError, expected
from robustest.facts import Captions, Fact
from robustest.identity.fingerprint import digest
from robustest.kinds import Kind, Quantity
from robustest.results import Result, Verdict
from robustest.rules import ShareRule, Terms
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observed, Tally
from robustest.run.noting import measures
from robustest.run.options import Options, apply, terms_of
from robustest.run.result_building import few, nothing_allowed, result_of
from robustest.run.setup import Setup
from robustest.run.training_sets import TrainingSets
from robustest.run.trainings import TrainFn, Trainings, announced, check_train_fn
from robustest.settings import Settings
from robustest.statistics import Decision, checked_threshold
from robustest.statistics.fixed import beyond
from robustest.statistics.seeded import seeded_gap, seeded_gap_interval, seeded_share, seeded_share_interval
from robustest.threats import Threat

_SHARES = (16, 4, 1)
"""Where no sizes are given: a sixteenth of the samples, a quarter, all."""


def _lines(details: Any) -> list[Fact]:
    last = details["curve"][-1]
    names = {"robust_training": "robust accuracy in training", "robust_test": "on test samples", "clean_gap": "clean gap"}
    return [Fact(name, last[key]) for key, name in names.items()]


ROBUST_GENERALIZATION = Kind(
    name="robust_generalization",
    quantities=(
        Quantity(
            name="robust generalization gap",
            comparison="<=",
            threshold="max_gap",
            statement="robust accuracy in training less that on test samples under {}, {}",
        ),
    ),
    captions=Captions(setting="threat", names={"curve": "by training samples", "seeds": "seeds"}),
    lines=_lines,
)
"""Robust accuracy on the samples that models were trained on, less that on others."""


@measures(ROBUST_GENERALIZATION)
def measure_robust_generalization(
    train_fn: TrainFn,
    data: object,
    test: object,
    threat: Threat,
    *,
    max_gap: float | None = None,
    sizes: Sequence[int] | None = None,
    seeds: int = 3,
    min_train: float,
    attack: str | Searcher | Cascade | None = None,
    **options: Unpack[Options],
) -> Result:
    """The robust accuracy of models on samples that they were trained on, less that on test samples.

    Robust training fits its samples long before it holds on others: that takes many more of them than accuracy does
    (Schmidt et al., "Adversarially Robust Generalization Requires More Data", NeurIPS 2018). For each of `sizes` and
    `seeds` a model is trained on so many samples, drawn with the seed (those of a smaller size are among those of a
    larger one), and attacked on as many of its own as there are test samples, and on these. The claim is about the
    largest size. Its interval is for other seeds and other samples, whatever `scope` says: by Student's t with one degree
    of freedom less than seeds, so that three seeds tell much more than two, and one tells nothing.

    What was measured of a training is remembered by the samples that it was given, its seed, the code that
    `train_fn` reaches, threat, attack and test samples; a run that was killed goes on behind the last training.

    Args:
        train_fn: called with samples (n, *S) float32, labels (n,) int64 and a seed, returns a new model as
            `measure_robust_accuracy` takes it: `adversarial_training(net(), (x, y), threat,
            recipe=Recipe(seed=seed)).model`, say. What it draws without a generator follows from the seed as well.
        data: samples to train on, as for `measure_robust_accuracy`. They are held in memory.
        test: other samples.
        threat: what the attacker may do to both.
        max_gap: the gap claimed at most, in 0..1; without one the verdict is "inconclusive".
        sizes: rising numbers of training samples, >= 1; None takes a sixteenth of the data, a quarter, and all.
        seeds: models of each size, >= 1: `seed`, `seed` + 1, ...
        min_train: robust accuracy in training, in 0..1, that the model of every seed must have at the largest size, or
            it has learned too little for its gap to mean anything. It must be more than always giving the commonest
            class would have.
        attack: as for `measure_robust_accuracy`.
        **options: see `robustest.run.options.Options`; `max_samples` bounds the samples attacked in each set.

    Returns:
        The result; its outcomes are whether a test sample holds in every seed at the largest size.
        `details["curve"]` has a row for each size: robust and clean accuracies, gaps, intervals; `samples_for` reads it.
        The gap is of the accuracies that this attack leaves: a stronger one may lower either.

    Raises:
        ConfigError: an argument is out of range or unknown, or a size is larger than the data.
        DataError: samples or labels cannot be measured on, all are of one class, or a test sample is in the data.
        ModelError, DeviceError: as for `measure_robust_accuracy`. What `train_fn` raises comes as it is.
    """
    max_gap = None if max_gap is None else checked_threshold("max_gap", max_gap, trivial=1)
    min_train = checked_threshold("min_train", min_train, trivial=0)
    checked_threat(threat)
    checked_whole("seeds", seeds, 1)
    check_train_fn(train_fn)
    classifier, settings = apply(lambda x: x, options)
    sets = TrainingSets.of(data, test, classifier.bounds)
    chosen = _checked_sizes(sizes, len(sets.y))
    if min_train <= sets.majority:
        held = f"Always giving the commonest class holds for {sets.majority:.3f} of the data, under any attack."
        raise ConfigError(expected(f"min_train to be more than {sets.majority:.3f}", min_train, held))
    cascade = as_attack(context.current().settings.attack if attack is None else attack)
    study = Study(
        train_fn=train_fn,
        sets=sets,
        threat=threat,
        cascade=cascade,
        options=options,
        settings=settings,
        sizes=chosen,
        seeds=seeds,
        statement=ROBUST_GENERALIZATION.quantities[0].says(threat, cascade.name),
    )
    return _result(study, max_gap, min_train)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """What is trained, and how it is attacked; see `measure_robust_generalization`."""

    train_fn: TrainFn
    sets: TrainingSets
    threat: Threat
    cascade: Cascade
    options: Options
    settings: Settings
    sizes: tuple[int, ...]
    seeds: int
    statement: str

    def measured(self) -> tuple[list[Size], Trainings]:
        """Every size, the smallest first."""
        settings, sets = self.settings, self.sets
        if settings.replay_only:
            raise context.current().not_searched(self.statement, "replayed only: nothing was trained")
        judged = self.judged
        model = {name: self.options.get(name) for name in ("bounds", "preprocessing")}
        about = (self.threat, self.cascade, model, sets.test_x[judged], sets.test_y[judged])
        trainings = Trainings(self.train_fn, settings, about)
        found = []
        for place, size in enumerate(self.sizes):
            models = []
            for seed in range(settings.seed, settings.seed + self.seeds):
                announced(self.statement, place * self.seeds + len(models), len(self.sizes) * self.seeds)
                models.append(self._one(trainings, size, seed))
            found.append(Size.of(size, models))
        return found, trainings

    def _one(self, trainings: Trainings, size: int, seed: int) -> tuple[Observed, Tally]:
        """What is seen of the model of a size and a seed: on its own samples, and on test samples."""
        sets = self.sets
        chosen = rng.permutation(seed, len(sets.y))[:size]
        own = chosen[: len(self.judged)]

        def measure(model: object) -> tuple[Observed, Tally]:
            first = self._attacked(model, sets.x[own], sets.y[own])
            second = self._attacked(model, sets.test_x[self.judged], sets.test_y[self.judged])
            columns = {f"train {name}": first.columns[name] for name in ("held", "clean")}
            columns |= {f"test {name}": second.columns[name] for name in ("held", "clean")}
            return Observed(columns, []), first.tally.plus(second.tally)

        seen, tally = trainings.measured(sets.x[chosen], sets.y[chosen], seed, ("attacked", len(own)), measure)
        return replace(seen, columns={**seen.columns, "train id": own.numpy()}), tally

    @property
    def judged(self) -> Tensor:
        """The test samples that are attacked, rising."""
        return self.sets.judged(self.settings.seed, self.settings.max_samples)

    def _attacked(self, model: object, x: Tensor, y: Tensor) -> Evidence:
        """Every sample attacked, whatever it shows: a gap needs both accuracies whole."""
        setup = Setup.of(model, (x, y), self.options)
        changes: dict[str, Any] = {"exact": True, "max_samples": None, "time_budget": None}
        if draws_in(self.cascade) > 1:
            changes["suppress"] = (*setup.settings.suppress, "random_forward")
        setup = setup.but(**changes).unpictured()
        # Remembered with the training it is of: the model itself need not be told from others.
        setup = replace(setup, settings=replace(setup.settings, store=None, corpus=None))
        terms = Terms(scope="set", alpha=setup.settings.alpha, fail_alpha=setup.settings.alpha)
        look = Attacking(cascade=self.cascade, threat=self.threat, examples=0)
        rule = ShareRule(threshold=None, at_least=True, terms=terms)
        return observe(setup.plan(self.statement, look, rule, here=True))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Size:
    """What the models of one size showed.

    Attributes:
        samples: they were trained on.
        ids: (S, n) int64, which of its own samples the model of each seed was attacked on.
        train_held, train_clean: (S, n) whether it holds there under attack, and is right without.
        test_held, test_clean: (S, m) the same of the test samples.
        tally: what it took.
    """

    samples: int
    ids: NDArray[np.int64]
    train_held: NDArray[np.bool_]
    train_clean: NDArray[np.bool_]
    test_held: NDArray[np.bool_]
    test_clean: NDArray[np.bool_]
    tally: Tally

    @classmethod
    def of(cls, samples: int, models: Sequence[tuple[Observed, Tally]]) -> Size:
        """The models of all seeds together."""
        tally = Tally()
        for _, one in models:
            tally = tally.plus(one)
        rows = {name: np.stack([seen.columns[name] for seen, _ in models]) for name in models[0][0].columns}
        ids = rows.pop("train id")
        return cls(
            samples=samples, ids=ids, tally=tally, **{name.replace(" ", "_"): held for name, held in rows.items()}
        )

    @property
    def alike(self) -> bool:
        """Whether the models of all seeds answer every test sample alike, right or wrong, attacked or not."""
        both = np.concatenate([self.test_held, self.test_clean], 1)
        return len(both) > 1 and bool((both == both[:1]).all())

    def row(self, alpha: float) -> dict[str, Any]:
        """This size in the curve."""
        row: dict[str, Any] = {"samples": self.samples}
        for name, train, test in (
            ("robust", self.train_held, self.test_held),
            ("clean", self.train_clean, self.test_clean),
        ):
            on_test = seeded_share(test)
            row |= {
                f"{name}_training": float(train.mean()),
                f"{name}_test": on_test.value,
                f"{name}_test_interval": list(seeded_share_interval(test, alpha)),
                f"{name}_test_errors": [on_test.by_seed if len(test) > 1 else None, on_test.by_sample],
                f"{name}_gap": float(train.mean() - test.mean()),
            }
        return row


def _checked_sizes(sizes: Sequence[int] | None, n: int) -> tuple[int, ...]:
    if sizes is None:
        return tuple(sorted({max(1, n // share) for share in _SHARES}))
    try:
        chosen = tuple(sizes)
    except TypeError:
        chosen = ()
    whole = all(type(size) is int and size >= 1 for size in chosen)
    if not chosen or not whole or any(a >= b for a, b in zip(chosen, chosen[1:], strict=False)):
        raise ConfigError(expected("sizes to be rising whole numbers >= 1", sizes))
    if chosen[-1] > n:
        raise ConfigError(expected(f"sizes of at most {n}, as many samples as there are to train on", chosen[-1]))
    return chosen


def _result(study: Study, max_gap: float | None, min_train: float) -> Result:
    curve, trainings = study.measured()
    last, settings = curve[-1], study.settings
    decision = _decided(last, max_gap, min_train, terms_of(settings))
    judged = study.judged.numpy()
    evidence = Evidence(
        decision=decision,
        columns={"held": last.test_held.all(0), "id": judged},
        ids=judged,
        total=len(study.sets.test_y),
        exhibits=[],
        tally=_total(size.tally for size in curve),
        counts={},
        bounds=study.options.get("bounds", (0.0, 1.0)),
        findings=last.tally.health.findings(settings.suppress),
        cached=trainings.when,
        data=digest((study.sets.test_x, study.sets.test_y)),
    )
    result = result_of(
        evidence,
        decision,
        settings,
        kind=ROBUST_GENERALIZATION,
        statement=study.statement if max_gap is None else f"{study.statement} <= {max_gap:g}",
        threshold=max_gap,
        setting=f"{study.threat}, {last.samples} training samples, {study.seeds} seeds",
        method=f"{study.cascade.name}, variance by seed and sample",
        details={
            "curve": [size.row(settings.alpha) for size in curve],
            "seeds": study.seeds,
            "data_size": len(study.sets.y),
            "least_training": float(last.train_held.mean(1).min()),
            "commonest_class": study.sets.majority,
        },
        scope="population",
        caveats=(*nothing_allowed(study.threat), *few(last.samples, " to train on")),
    )
    return replace(result, notes=(*result.notes, *_notes(last), *trainings.notices))


def _decided(last: Size, max_gap: float | None, min_train: float, terms: Terms) -> Decision:
    interval = seeded_gap_interval(last.train_held, last.ids, last.test_held, terms.alpha)
    gap = seeded_gap(last.train_held, last.ids, last.test_held).value
    trained, least = float(last.train_held.mean()), float(last.train_held.mean(1).min())
    verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    if max_gap is not None:
        verdict = beyond(interval, max_gap, at_least=False)
        rule = f"other seeds and samples, alpha = {terms.alpha:g} a side"
        if len(last.ids) == 1:
            rule = "one seed says nothing of others: give seeds=3 or more"
    if least < min_train:
        rule = (
            f"robust accuracy in training is {least:.3f} in one of the seeds, less than min_train={min_train:g}: a model "
            "that learned nothing has no gap"
        )
        verdict = Verdict.INCONCLUSIVE
    elif max_gap is not None and verdict is Verdict.PASSED and trained <= max_gap:
        rule = f"nothing could have failed it: only {trained:.3f} hold in training, and a gap of {max_gap:g} is allowed"
        verdict = Verdict.INCONCLUSIVE
    return Decision(verdict=verdict, rule=rule, estimate=gap, interval=interval, at_alpha=max_gap is not None)


def _notes(last: Size) -> Iterator[str]:
    if last.alike:
        yield (
            "the models of all seeds answer alike: the training does not depend on its seed at this size, and nothing is "
            "known of other draws of the training samples"
        )


def _total(tallies: Iterator[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total = total.plus(tally)
    return total
