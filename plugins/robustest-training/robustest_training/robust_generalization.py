"""The claim that little robust accuracy is lost from training samples to others.

Robust training fits its samples long before it generalises (Schmidt et al., "Adversarially Robust Generalization
Requires More Data", NeurIPS 2018). The interval is about other seeds and other samples. Measurements of trainings are
stored (both by `robustest_training.trainings`): an interrupted run goes on after the last training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robustest import Result, Settings, Verdict, rng
from robustest.attacks import Cascade, Searcher
from robustest.errors import ConfigError, expected
from robustest.packs import (
    Attacking,
    Captions,
    Changed,
    Chunk,
    Controls,
    Decision,
    Evaluator,
    Evidence,
    Fact,
    Kind,
    Observation,
    Options,
    Quantity,
    Tally,
    Terms,
    assertion,
    check_train,
    checked_threshold,
    checked_whole,
    current,
    digest,
    finish,
    measurement,
    number,
    settings_of,
)
from robustest.threats import Threat
from robustest_training.trainings import (
    Bools,
    TrainFn,
    Trainings,
    TrainingSets,
    announced,
    decision_over_seeds,
    seeded_gap,
    seeded_gap_interval,
    seeded_share,
    seeded_share_interval,
    seen_whole,
    total,
)

# Models of several sizes and seeds, trained, and attacked on their training samples and on test samples.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """Settings of a training study; see `measure_robust_generalization`."""

    train: TrainFn
    sets: TrainingSets
    attacking: Attacking
    options: Options
    settings: Settings
    sizes: tuple[int, ...]
    seeds: int
    statement: str

    def measured(self) -> tuple[list[Size], Trainings]:
        settings, sets = self.settings, self.sets
        if settings.replay_only:
            raise current().not_searched(self.statement, "replayed only: nothing was trained")
        judged = self.judged
        model = {name: self.options.get(name) for name in ("bounds", "preprocessing")}
        about = (self.attacking.threat, self.attacking.cascade, model, sets.test_x[judged], sets.test_y[judged])
        trainings = Trainings(self.train, settings, about)
        found = []
        for place, size in enumerate(self.sizes):
            models: list[tuple[Observation, Tally]] = []
            for seed in range(settings.seed, settings.seed + self.seeds):
                announced(self.statement, place * self.seeds + len(models), len(self.sizes) * self.seeds)
                models.append(self._one(trainings, size, seed))
            found.append(Size.of(size, models))
        return found, trainings

    def _one(self, trainings: Trainings, size: int, seed: int) -> tuple[Observation, Tally]:
        sets = self.sets
        # A prefix of one permutation: the samples of a smaller size are among those of a larger one.
        chosen = rng.permutation(seed, len(sets.y))[:size]
        # As many training samples as test samples, so that both accuracies are equally precise.
        own = chosen[: len(self.judged)]

        def measure(model: object) -> tuple[Observation, Tally]:
            first = self._attacked(model, sets.x[own], sets.y[own])
            second = self._attacked(model, sets.test_x[self.judged], sets.test_y[self.judged])
            columns = {f"train {name}": first.columns[name] for name in ("held", "clean")}
            columns |= {f"test {name}": second.columns[name] for name in ("held", "clean")}
            return Observation(columns, []), first.tally.plus(second.tally)

        seen, tally = trainings.measured(sets.x[chosen], sets.y[chosen], seed, ("attacked", len(own)), measure)
        return replace(seen, columns={**seen.columns, "train id": own.numpy()}), tally

    def controls(self, trainings: Trainings) -> Controls:
        """Train on data that teach nothing, and attack the models on test samples."""
        sets, judged = self.sets, self.judged
        controls = Controls.of(sets.x, sets.y, judged=len(judged), seed=self.settings.seed, size=self.sizes[-1])
        test, other = (sets.test_x[judged], sets.test_y[judged]), (sets.x[controls.held_out], sets.y[controls.held_out])

        def measure(model: object) -> tuple[Observation, Tally]:
            on_test = self._attacked(model, *test)
            columns = {name: on_test.columns[name] for name in ("held", "clean")}
            if not len(other[1]):
                return Observation(columns | {"held out": np.zeros(0, bool)}, []), on_test.tally
            beside = seen_whole(
                model, *other, Right(), statement=self.statement, options=self.options, suppress=("softmax_outputs",)
            )
            return Observation(columns | {"held out": beside.columns["held"]}, []), on_test.tally.plus(beside.tally)

        done = count()

        def judge(x: Tensor, y: Tensor, seed: int) -> tuple[Bools, Bools, Bools]:
            announced(f"{self.statement}, controls", next(done), len(controls.sets))
            columns = trainings.measured(x, y, seed, ("control", other), measure)[0].columns
            return columns["held"], columns["clean"], columns["held out"]

        return controls.trained(judge)

    @property
    def judged(self) -> Tensor:
        return self.sets.judged(self.settings.seed, self.settings.max_samples)

    def _attacked(self, model: object, x: Tensor, y: Tensor) -> Evidence:
        look, options = self.attacking, self.options
        return seen_whole(model, x, y, look, statement=self.statement, options=options, suppress=look.suppress)


@dataclass(frozen=True, slots=True)
class Right:
    """Records the samples of a chunk that a model has right."""

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        return Observation({"held": evaluator.task.holds(evaluator.logits(chunk.x), chunk.y)}, [])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Size:
    """Outcomes of the models of one size."""

    samples: int  # number of training samples
    ids: NDArray[np.int64]  # (S, n) int64, training samples on which the model of each seed was attacked
    train_held: NDArray[np.bool_]  # train_held, train_clean: (S, n) bool, right under attack and without, on these
    train_clean: NDArray[np.bool_]
    test_held: NDArray[np.bool_]  # test_held, test_clean: (S, m) bool, the same on the test samples
    test_clean: NDArray[np.bool_]
    tally: Tally

    @classmethod
    def of(cls, samples: int, models: Sequence[tuple[Observation, Tally]]) -> Size:
        tally = total(one for _, one in models)
        rows = {name: np.stack([seen.columns[name] for seen, _ in models]) for name in models[0][0].columns}
        ids = rows.pop("train id")
        return cls(
            samples=samples, ids=ids, tally=tally, **{name.replace(" ", "_"): held for name, held in rows.items()}
        )

    @property
    def alike(self) -> bool:
        """Return True if the models of all seeds answer every test sample equally, attacked or not."""
        both = np.concatenate([self.test_held, self.test_clean], 1)
        return len(both) > 1 and bool((both == both[:1]).all())

    def row(self, alpha: float) -> dict[str, Any]:
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


# Default sizes: a sixteenth of the samples, a quarter, all.
_SHARES = (16, 4, 1)


def _lines(details: Any) -> list[Fact]:
    last = details["curve"][-1]
    names = {
        "robust_training": "robust accuracy in training",
        "robust_test": "on test samples",
        "clean_gap": "clean gap",
    }
    return [Fact(name, last[key]) for key, name in names.items()]


ROBUST_GENERALIZATION = Kind(
    name="robust_generalization",
    varies="inputs",
    quantities=(
        Quantity.at_most(
            "max_gap",
            "robust generalization gap",
            "robust accuracy in training less that on test samples under {}, {}",
            trivial=1,
            start="robust_training",
        ),
    ),
    captions=Captions(
        setting="threat",
        names={
            "curve": "by training samples",
            "controls": Controls.CAPTION,
            "seeds": "seeds",
            "robust_training": "robust accuracy in training",
        },
    ),
    lines=_lines,
    hidden=frozenset({"robust_training"}),
)


@measurement(ROBUST_GENERALIZATION)
def measure_robust_generalization(
    data: object,
    threat: Threat,
    *,
    train: TrainFn,
    test_data: object,
    max_gap: float | None = None,
    sizes: Sequence[int] | None = None,
    seeds: int = 3,
    min_train_accuracy: float,
    attack: str | Searcher | Cascade | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure the robust accuracy of models on their training samples, minus that on test samples.

    For each of `sizes` and `seeds` a model is trained on that many samples, drawn with the seed, and attacked on as
    many of them as there are test samples, and on these (Schmidt et al., NeurIPS 2018). The claim is about the largest
    size. Its interval is about other seeds and samples, also with `scope="set"`, and approximate: no claim about the
    population passes by it, and one seed is inconclusive.

    Args:
        data: samples to train on, as for `measure_robust_accuracy`, held in memory.
        threat: of the samples of both sets.
        train: called with samples (n, *S) float32, labels (n,) int64 and a seed, returns a new model:
            `adversarial_training(net(), (x, y), threat, recipe=Recipe(seed=seed)).model`, say. Global generators are
            seeded for it.
        test_data: other samples.
        max_gap: largest gap, in 0..1; without one the verdict is "inconclusive".
        sizes: rising numbers of training samples, >= 1; None takes a sixteenth of the data, a quarter, and all.
        seeds: models of each size, >= 1: `seed`, `seed` + 1, ...
        min_train_accuracy: robust accuracy in training, in 0..1, that every seed's model must reach at the largest
            size, or its gap means nothing; more than the share of the commonest class.
        attack: as for `measure_robust_accuracy`.
        **options: see `robustest.run.options.Options`; `max_samples` bounds the samples attacked in each set.

    Returns:
        The result; an outcome is True if a test sample holds in every seed at the largest size. `details["curve"]` has
            accuracies, gaps and intervals of each size, for `samples_for`.

    Raises:
        ConfigError: an argument is out of range or unknown, or a size is larger than the data.
        DataError: samples or labels cannot be measured on, all are of one class, or a test sample is in the data.
        ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`, or from `train`.
    """
    max_gap = checked_threshold("max_gap", max_gap, trivial=1, optional=True)
    min_train_accuracy = checked_threshold("min_train_accuracy", min_train_accuracy, trivial=0)
    attacking = Attacking.of(attack, threat)
    checked_whole("seeds", seeds, 1)
    check_train(train)
    study = _study(
        train,
        data,
        test_data,
        attacking=attacking,
        options=options,
        sizes=sizes,
        seeds=seeds,
        min_train_accuracy=min_train_accuracy,
    )
    return _result(study, max_gap, min_train_accuracy)


def _study(
    train: TrainFn,
    data: object,
    test: object,
    *,
    attacking: Attacking,
    options: Options,
    sizes: Sequence[int] | None,
    seeds: int,
    min_train_accuracy: float,
) -> Study:
    settings = settings_of(options, inputs=True)
    sets = TrainingSets.of(data, test, options.get("bounds", (0.0, 1.0)))
    chosen = _checked_sizes(sizes, len(sets.y))
    # A model that always gives the commonest class is robust to any attack.
    if min_train_accuracy <= sets.majority:
        held = (
            f"Always giving the commonest class holds for {number(sets.majority, min_train_accuracy)} of the "
            "data, under any attack."
        )
        raise ConfigError(
            expected(
                f"min_train_accuracy to be more than {number(sets.majority, min_train_accuracy)}",
                min_train_accuracy,
                held,
            )
        )
    return Study(
        train=train,
        sets=sets,
        attacking=attacking,
        options=options,
        settings=settings,
        sizes=chosen,
        seeds=seeds,
        statement=ROBUST_GENERALIZATION.quantities[0].state(attacking.threat, attacking.cascade.name),
    )


def _checked_sizes(sizes: Sequence[int] | None, n: int) -> tuple[int, ...]:
    if sizes is None:
        return tuple(sorted({max(1, n // share) for share in _SHARES}))
    try:
        chosen = tuple(sizes)
    except TypeError:
        chosen = ()
    whole = all(type(size) is int and size >= 1 for size in chosen)
    if not chosen or not whole or any(a >= b for a, b in pairwise(chosen)):
        raise ConfigError(expected("sizes to be rising whole numbers >= 1", sizes))
    if chosen[-1] > n:
        raise ConfigError(expected(f"sizes of at most {n}, as many samples as there are to train on", chosen[-1]))
    return chosen


def _result(study: Study, max_gap: float | None, min_train_accuracy: float) -> Result:
    curve, trainings = study.measured()
    last, settings = curve[-1], study.settings
    decision = _decided(last, max_gap, min_train_accuracy, study.sets.majority, Terms.of(settings))
    controls: Controls | None = None
    doubt = ""
    if decision.verdict is Verdict.PASSED or max_gap is None:
        controls = study.controls(trainings)
        taught = float(last.train_held.mean())
        doubt = controls.doubt(taught=taught, allowed=0.0 if max_gap is None else max_gap)
        if doubt:
            decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=doubt)
    judged = study.judged.numpy()
    evidence = Evidence(
        decision=decision,
        columns={"held": np.asarray(last.test_held.all(0)), "id": judged},
        ids=judged,
        total=len(study.sets.test_y),
        tally=total(size.tally for size in curve),
        bounds=study.options.get("bounds", (0.0, 1.0)),
        findings=last.tally.health.findings(settings.suppress),
        cached=trainings.remembered.when,
        data=digest((study.sets.test_x, study.sets.test_y)),
    )
    result = finish(
        settings,
        evidence,
        decision=decision,
        kind=ROBUST_GENERALIZATION,
        statement=study.statement,
        threshold=max_gap,
        setting=f"{study.attacking.threat}, {last.samples} training samples, {study.seeds} seeds",
        method=f"{study.attacking.cascade.name}, variance by seed and sample",
        details={
            "curve": [size.row(settings.alpha) for size in curve],
            "seeds": study.seeds,
            "data_size": len(study.sets.y),
            "robust_training": float(last.train_held.mean()),
            "least_training": float(last.train_held.mean(1).min()),
            "commonest_class": study.sets.majority,
            **({} if controls is None else controls.details),
            **({"taught_nothing": doubt} if doubt else {}),
        },
        changed=[Changed.within(study.attacking.threat, len(judged))],
        further={"to train on": last.samples},
    )
    return result.but(notes=(*result.words.notes, *_notes(last), *trainings.remembered.notices))


def _decided(last: Size, max_gap: float | None, min_train_accuracy: float, majority: float, terms: Terms) -> Decision:
    interval = seeded_gap_interval(last.train_held, last.ids, last.test_held, terms.alpha)
    gap = seeded_gap(last.train_held, last.ids, last.test_held).value
    trained, least = float(last.train_held.mean()), float(last.train_held.mean(1).min())
    doubt = ""
    if least < min_train_accuracy:
        doubt = (
            f"robust accuracy in training is {number(least, min_train_accuracy)} in one of the seeds, less than "
            f"min_train_accuracy={min_train_accuracy:g}: a model that learned nothing has no gap"
        )
    elif max_gap is not None and interval[1] <= max_gap and trained <= max_gap:
        doubt = (
            f"nothing could have failed it: only {number(trained, max_gap)} hold in training, and a gap of "
            f"{max_gap:g} is allowed"
        )
    elif max_gap is not None and interval[1] <= max_gap and trained - majority <= max_gap:
        doubt = (
            f"a model that stopped looking would keep it: {number(trained, max_gap)} hold in training, "
            f"{number(majority)} would by "
            f"always giving the commonest class, and a gap of {max_gap:g} is allowed"
        )
    return decision_over_seeds(gap, interval, max_gap, len(last.ids), terms, doubt=doubt)


def _notes(last: Size) -> Iterator[str]:
    if last.alike:
        yield (
            "the models of all seeds answer alike: the training does not depend on its seed at this size, and nothing "
            "is known of other draws of the training samples"
        )


@assertion(measure_robust_generalization)
def assert_robust_generalization() -> None:
    """Claim that robust accuracy on test samples is at most `max_gap` less than on training samples.

    Raises:
        ClaimFailed: more is lost.
        ClaimInconclusive: too few seeds or samples to decide, or training reaches less than `min_train_accuracy`.
    """
