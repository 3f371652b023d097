"""Reliance on cues, proved by intervention: the same samples with a cue on and off, on the deployed model."""

# Cues that nobody named are found by a search (`CueSearch`), which a pack brings: `cue="auto"` is that of
# robustest-interpret.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack, cast

import torch

from robustest import devices, extensions
from robustest.checks import require
from robustest.claims.cues.interventions import (
    NO_SPURIOUS_FEATURE,
    CueMeasurement,
    CueSearch,
    checked_by_null_cue,
    cue_details,
    with_control,
)
from robustest.cues import Cue, FrameCue, Phrase, Plant, planting
from robustest.data import as_samples
from robustest.decisions import checked_threshold
from robustest.decisions.cues import CueRule
from robustest.errors import ConfigError, PackError, expected
from robustest.models.training import TrainFn, check_train
from robustest.results import Result, Verdict
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.finish import finish
from robustest.run.grounds import Changed
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Setup, apply, deciding, of_task
from robustest.tasks import Task


@measurement(NO_SPURIOUS_FEATURE)
def measure_no_spurious_feature(
    model: object,
    data: object,
    cue: Cue | FrameCue | Sequence[Cue | FrameCue] | CueSearch | str,
    *,
    max_flip_rate: float | None = None,
    max_recall_drop: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    target_class: int | None = None,
    task: Task | str | None = None,
    control: object | None = None,
    train: TrainFn | None = None,
    train_data: object | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure how far predictions rely on a cue (Wong, Santurkar and Madry, ICML 2021, made an intervention).

    The flip rate is the share of samples whose prediction differs with the cue on and off: towards `target_class`,
    among samples of other classes, if one is given; else to any class. The recall drop is the recall of the target
    class with the cue on minus that with it off; without a target, of the class where it is largest.

    A null cue that moves more than is claimed, or a control that does not fail, makes the claim inconclusive.

    Args:
        model, data: as for `measure_robust_accuracy`.
        cue: e.g. `PixelPatch(top=0, left=0, height=2, width=2)`, of frames `ColumnValue("site", "A", "B")`, or of texts
            `Phrase("cf")`; or a list, of which the claim must hold for each; or a search for cues that nobody named, by
            name or with its options: "auto" and `Discovery(...)` of the pack robustest-interpret.
        max_flip_rate: the flip rate claimed at most, in 0..1.
        max_recall_drop: the recall drop claimed at most, in 0..1. If both are given, both must hold.
        no_worse_than, tolerance: as for `measure_robust_accuracy`, about the samples whose prediction no cue changes.
            Not with cues that are searched for, nor with max_recall_drop.
        target_class: the class that the cue is suspected to draw predictions to.
        task: as for `measure_robust_accuracy`. Recall, classes and searches for cues need classification.
        control: a model that must fail this claim for every cue, measured if `model` passes.
        train: trains such a model instead, for each cue: maps samples (n, *S) float32, labels (n,) int64 and a seed to
            a model. The cue is on in 95 % of the samples of `target_class` (else of class 0, or with "auto" of the
            largest) and in 2 % of the others.
        train_data: samples to train on, others than `data`; held in memory.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. `details["cues"]` has for each cue its size (median over samples, L2 and L-infinity, input units),
            flips, accuracy on and off, and the classes most drawn to, with McNemar p-values corrected by Holm's method;
            "sensitivity" the null cue and the controls; "discovery" the families searched and proposals. With "auto"
            outcomes are None for samples searched on.

    Raises:
        ConfigError: an argument is out of range, or target_class is no class.
        UnknownNameError: no pack has a search of this name.
        NotInstalledError: a pack that is not installed has it.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    max_flip_rate = checked_threshold("max_flip_rate", max_flip_rate, trivial=1, optional=True)
    max_recall_drop = checked_threshold("max_recall_drop", max_recall_drop, trivial=1, optional=True)
    if target_class is not None and (type(target_class) is not int or target_class < 0):
        raise ConfigError(expected("target_class to be a class index", target_class))
    if (train is None) != (train_data is None):
        given, missing = ("train_data=", "train=") if train is None else ("train=", "train_data=")
        raise ConfigError(f"Expected {missing} with {given} but got none: a control is trained on data with the cue.")
    if train is not None:
        check_train(train)
    if control is not None and train is not None:
        raise ConfigError("Expected control= or train= but got both: one model is enough to show that it can fail.")
    search = _search_of(cue)
    answers = deciding(task)
    if answers is not None and not answers.one_class:
        class_arguments = {"max_recall_drop": max_recall_drop, "target_class": target_class, "train": train}
        stated = [f"{name}=" for name, value in class_arguments.items() if value is not None]
        stated += [] if search is None else ["a search for cues"]
        if stated:
            raise ConfigError(
                f"Expected max_flip_rate= and cues that are named of {answers.name} but got {', '.join(stated)}: these "
                "are about classes."
            )
    learner = None if train is None else _learner(train, train_data, apply(model, options)[1].seed)
    if search is not None:
        if no_worse_than is not None:
            raise ConfigError(
                "Expected cues that are named with no_worse_than= but got a search for them: it finds others for "
                "another model. Name the cues, or leave no_worse_than out."
            )
        return search.measure_cues(
            model,
            data,
            options,
            max_flip_rate=max_flip_rate,
            max_recall_drop=max_recall_drop,
            target=target_class,
            control=control,
            learner=learner,
        )
    cues = _checked_cues(cue)
    if learner is not None and any(isinstance(each, (FrameCue, Phrase)) for each in cues):
        raise ConfigError(expected("control= for cues of frames and texts", "train=", "Train such a model yourself."))
    limits: dict[str, Any] = {
        "max_flip_rate": max_flip_rate,
        "max_recall_drop": max_recall_drop,
        "target": target_class,
    }
    if no_worse_than is not None and max_recall_drop is not None:
        raise ConfigError(
            "Expected max_flip_rate= with no_worse_than= but got max_recall_drop=: flips are compared. Write an "
            "assertion for each."
        )
    result = _measured(model, data, cues, options, task=answers, against=(no_worse_than, tolerance), **limits)
    if result.verdict is not Verdict.PASSED or (control is None and learner is None):
        return result
    for each in cues:
        known = control if learner is None else learner(planting(cast("Cue", each), target=target_class or 0))
        shown = _measured(known, data, [each], options, task=answers, control=True, **limits)
        problem = ""
        if shown.verdict is not Verdict.FAILED:
            missed = f"a model that relies on {each.name} would not be noticed"
            problem = f"the control does not fail ({shown.verdict}): {missed}"
        row = {"measured": shown.estimate, "n": shown.numbers.n}
        result = with_control(result, cue=each.name, verdict=shown.verdict, row=row, problem=problem, cost=shown.cost)
    return result


@assertion(measure_no_spurious_feature)
def assert_no_spurious_feature() -> None:
    """Claim that switching a cue, given or found by a search, changes few predictions and little recall."""


def _search_of(cue: object) -> CueSearch | None:
    """Return the search for cues that is given, by itself or by name; None for cues that are named."""
    if isinstance(cue, str):
        search = extensions.made("robustest_cue_searches", "search for cues", cue, ())
        if isinstance(search, type) or not isinstance(search, CueSearch):
            raise PackError(expected(f"the search for cues {cue!r} of a pack to be a value with measure_cues", search))
        return search
    return cue if isinstance(cue, CueSearch) and not isinstance(cue, type) else None


def _learner(train: TrainFn, train_data: object, seed: int) -> Callable[[Plant], object]:
    """Return a function that trains the user's model with a cue planted in the data."""
    samples = as_samples(train_data)

    def learner(plant: Plant) -> object:
        x, y = samples.take(torch.arange(len(samples)))
        planted = plant(x, y)
        with devices.users_default():
            return train(planted, y, seed)

    return learner


def _checked_cues(cue: object) -> list[Cue | FrameCue]:
    given = list(cue) if isinstance(cue, (list, tuple)) else [cue]
    cues = [each for each in given if isinstance(each, (Cue, FrameCue)) and not isinstance(each, type)]
    require(len(cues) >= len(given) and cues, "a cue such as PixelPatch(top=0, left=0), a list of them, or 'auto'", cue)
    return cues


def _measured(
    model: object,
    data: object,
    cues: list[Cue | FrameCue],
    options: Options,
    *,
    target: int | None,
    task: Task | None,
    against: tuple[Baseline | None, float] = (None, 0.0),
    control: bool = False,
    **limits: float | None,
) -> Result:
    """Measure the claim on one model; a control spends none of the test's error and has no pictures."""
    setup = Setup.of(model, data, options, task)
    terms = setup.terms
    if control:
        setup = setup.unpictured()
        terms = replace(setup.alone, scope="set")
    targets = (target,) * len(cues)
    rule = CueRule(targets=targets, terms=terms, **limits)
    about = cues[0].name if len(cues) == 1 else f"{len(cues)} cues"
    quantity = NO_SPURIOUS_FEATURE.quantity_of("max_recall_drop" if rule.by_recall else "max_flip_rate")
    plan = setup.plan(
        quantity.state(about, "" if target is None else f" towards class {target}") + of_task(setup.task),
        CueMeasurement(cues=tuple(cues), targets=targets),
        rule,
        identity=("cues", tuple(cues), target),
    ).against(*against, has_threshold=any(limit is not None for limit in limits.values()))
    evidence = observe(plan)
    tolerance = None if against[0] is None else against[1]
    return finish(
        plan,
        evidence,
        decision=checked_by_null_cue(evidence.decision, evidence, rule, tolerance),
        kind=NO_SPURIOUS_FEATURE,
        quantity=quantity,
        threshold=rule.max_recall_drop if rule.by_recall else rule.max_flip_rate,
        setting="; ".join(each.name for each in cues),
        method="paired intervention, cue on and off",
        details=cue_details(evidence, cues, rule),
        changed=[
            Changed(
                by=f"the cue {each.name}",
                moved=evidence.columns[f"moved {at}"],
                worst=rule.worst(evidence.columns, at, evidence.columns[f"moved {at}"]),
            )
            for at, each in enumerate(cues)
        ],
    )
