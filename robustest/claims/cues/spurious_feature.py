"""Reliance on cues, proved by intervention: the same samples with a cue on and off, on the deployed model.

With `cue="auto"` cues are searched for, in images, without labels of who has one. One half of the samples proposes:
patches that mark a class (`robustest.discovery.patch_places`), marks that do wherever they lie
(`robustest.discovery.moving_marks`), changes of whole images that do (`robustest.discovery.fitted_changes`), and
classes that a patch leads to far too cheaply (`robustest.discovery.triggers`). The other half disposes:
each proposal is switched on and off there, towards its class. Only a cue that draws predictions to its class beyond
chance (McNemar, p <= alpha after Holm's correction over all proposals; of a cheapest patch no less than the chance that
one of so many classes is as cheap), and more than twice the share of the others' that it drives out of the class, fails
the claim; one that moves more than is claimed without that leaves it inconclusive. So does one that only few of the
class's images seem to have, and, where recall alone is limited, a sure cue that draws more than that and cannot be
taken from images that have it (brightness, a blur): switching it costs no recall. All samples are looked at.

A search that finds nothing proves little. A cue that training data had and the given data have not is found only if a
patch leads to its class far more cheaply than to others: give data as training had them. What turns as it moves, blends
in, or marks several classes alike is not found. Natural features at a fixed place may be found, and a cast may move a
model that never learned it. So a claim that passes must find a patch planted in the very samples: with `train` in a
model trained on it, else in a simulated model that says one class wherever the patch is, which proves that search and
samples suffice for what is as plain, and no more. With `control` it must find something in that model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Unpack

from robustest.claims.cues.controls import on_planted
from robustest.claims.cues.discovered_cues import CueLimits, measure_discovered, with_control
from robustest.claims.cues.interventions import NO_SPURIOUS_FEATURE, CueMeasurement, details_of, undoubted
from robustest.cues import Cue, planting
from robustest.decisions import optional_threshold
from robustest.decisions.cues import CueRule
from robustest.discovery import Discovery
from robustest.errors import ConfigError, expected
from robustest.results import Result, Verdict
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.finish import Changed, finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup, apply, deciding, of_task
from robustest.run.training.trainings import TrainFn, check_train
from robustest.tasks import Task


@measurement(NO_SPURIOUS_FEATURE)
def measure_no_spurious_feature(
    model: object,
    data: object,
    cue: Cue | Sequence[Cue] | Discovery | Literal["auto"],
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
    """How far a model's predictions rely on a cue (Wong, Santurkar and Madry, ICML 2021, made an intervention).

    The flip rate is the share of samples whose prediction the cue changes, on against off: towards `target_class`,
    among samples of other classes, where one is given; else to any class. The recall drop is the recall of the target
    class with the cue on minus that with it off; else of the class where it is largest.

    A null cue that moves more than is claimed, or a control that does not fail, makes the claim inconclusive. The
    module says how `cue="auto"` searches, and what it cannot find.

    Args:
        model, data: as for `measure_robust_accuracy`.
        cue: what to switch, e.g. `PixelPatch(top=0, left=0, height=2, width=2)`; or a list: the claim must hold for
            each, and p-values are corrected for all of them; or "auto", or a `Discovery`, which says how to search.
        max_flip_rate: the flip rate claimed at most, in 0..1.
        max_recall_drop: the recall drop claimed at most, in 0..1. Where both are given, both must hold.
        no_worse_than, tolerance: as for `measure_robust_accuracy`, about the samples whose prediction no cue changes.
            Not with cues that are searched for, which are others for another model, nor with max_recall_drop.
        target_class: the class the cue is suspected to stand for.
        task: what the answers are, as for `measure_robust_accuracy`; a prediction changes where it no longer holds by
            the one with the cue off. Recall, classes and searches for cues are of classification alone.
        control: a model that must fail this claim for every cue, measured where `model` passes.
        train: trains such a model instead, for each cue (with "auto" for a patch in a corner): maps samples (n, *S)
            float32, labels (n,) int64 and a seed to a model. It is given `train_data` with the cue switched on in 95 %
            of the samples of `target_class` (else of class 0, or with "auto" of the largest) and in 2 % of the others.
        train_data: samples to train on, as for `measure_robust_accuracy`, others than `data`; held in memory.
        **options: see `robustest.run.plan.Options`.

    Returns:
        The result. `details["cues"]` has for each cue its size (median over samples, L2 and L-infinity, input units),
        flips, accuracy on and off, and the classes most drawn, with McNemar p-values corrected by Holm's method over
        cues and classes; "sensitivity" what null cue and control showed; "discovery" what was looked at, proposed and
        confirmed, and advice. With "auto" outcomes are None for samples searched on.

    Raises:
        ConfigError: an argument is out of range or unknown, or target_class is no class.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    max_flip_rate = optional_threshold("max_flip_rate", max_flip_rate, trivial=1)
    max_recall_drop = optional_threshold("max_recall_drop", max_recall_drop, trivial=1)
    _check_asked(target_class, control, train, train_data)
    answers = deciding(task)
    if answers is not None and not answers.one_class:
        _check_flips_alone(answers, cue, max_recall_drop=max_recall_drop, target_class=target_class, train=train)
    learner = None if train is None else on_planted(train, train_data, apply(model, options)[1].seed)
    if cue == "auto" or isinstance(cue, Discovery):
        how = cue if isinstance(cue, Discovery) else Discovery()
        if no_worse_than is not None:
            raise ConfigError(
                "Expected cues that are named with no_worse_than= but got a search for them: it finds others for "
                "another model. Name the cues, or leave no_worse_than out."
            )
        claimed = CueLimits(max_flip_rate, max_recall_drop, target_class)
        return measure_discovered(model, data, how, claimed, options, control=control, learner=learner)
    cues = checked_cues(cue)
    limits: dict[str, Any] = {
        "max_flip_rate": max_flip_rate,
        "max_recall_drop": max_recall_drop,
        "target": target_class,
    }
    if no_worse_than is not None and max_recall_drop is not None:
        raise ConfigError(
            "Expected max_flip_rate= with no_worse_than= but got max_recall_drop=: what is compared are flips. Write "
            "an assertion for each."
        )
    result = _measured(model, data, cues, options, task=answers, against=(no_worse_than, tolerance), **limits)
    if result.verdict is not Verdict.PASSED or (control is None and learner is None):
        return result
    for each in cues:
        known = control if learner is None else learner(planting(each, target=target_class or 0))
        result = _beside_control(
            result, each, _measured(known, data, [each], options, task=answers, control=True, **limits)
        )
    return result


def _check_asked(target: object, control: object, train: object, train_data: object) -> None:
    if target is not None and (type(target) is not int or target < 0):
        raise ConfigError(expected("target_class to be a class index", target))
    if (train is None) != (train_data is None):
        given, missing = ("train_data=", "train=") if train is None else ("train=", "train_data=")
        raise ConfigError(f"Expected {missing} with {given} but got none: a control is trained on data with the cue.")
    if train is not None:
        check_train(train)
    if control is not None and train is not None:
        raise ConfigError("Expected control= or train= but got both: one model is enough to show that it can fail.")


def _check_flips_alone(task: Task, cue: object, **given: object) -> None:
    """Refuse what is about classes where an answer is none.

    Raises:
        ConfigError: it is asked for.
    """
    asked = [f"{name}=" for name, value in given.items() if value is not None]
    if cue == "auto" or isinstance(cue, Discovery):
        asked.append("a search for cues")
    if asked:
        raise ConfigError(
            f"Expected max_flip_rate= and cues that are named of {task.name} but got {', '.join(asked)}: these are "
            "about classes."
        )


def _beside_control(result: Result, cue: Cue, shown: Result) -> Result:
    """The result with what a control showed, which relies on the cue: it must fail."""
    missed = f"a model that relies on {cue.name} would not be noticed"
    failed = shown.verdict is Verdict.FAILED
    problem = "" if failed else f"the control does not fail ({shown.verdict}): {missed}"
    return with_control(result, shown, cue=cue.name, problem=problem)


def checked_cues(cue: object) -> list[Cue]:
    """A cue or several, as a list.

    Raises:
        ConfigError: there is none, or something is no cue.
    """
    given = list(cue) if isinstance(cue, (list, tuple)) else [cue]
    cues = [each for each in given if isinstance(each, Cue) and not isinstance(each, type)]
    if len(cues) < len(given) or not cues:
        raise ConfigError(expected("a cue such as PixelPatch(top=0, left=0), a list of them, or 'auto'", cue))
    return cues


def _measured(
    model: object,
    data: object,
    cues: list[Cue],
    options: Options,
    *,
    target: int | None,
    task: Task | None,
    against: tuple[Baseline | None, float] = (None, 0.0),
    control: bool = False,
    **limits: float | None,
) -> Result:
    """The claim on one model; a control's is not the test's: it spends none of its error and has no pictures."""
    setup = Setup.of(model, data, options, task)
    terms = setup.terms
    if control:
        setup = setup.unpictured()
        terms = replace(setup.alone, scope="set")
    targets = (target,) * len(cues)
    rule = CueRule(targets=targets, terms=terms, **limits)
    about = cues[0].name if len(cues) == 1 else f"{len(cues)} cues"
    asked = NO_SPURIOUS_FEATURE.quantity_of("max_recall_drop" if rule.by_recall else "max_flip_rate")
    plan = setup.plan(
        asked.state(about, "" if target is None else f" towards class {target}") + of_task(setup.task),
        CueMeasurement(cues=tuple(cues), targets=targets, examples=setup.settings.examples),
        rule,
        identity=("cues", tuple(cues), target),
    ).against(*against, has_threshold=any(limit is not None for limit in limits.values()))
    evidence = observe(plan)
    return finish(
        plan,
        evidence,
        decision=undoubted(evidence.decision, evidence, rule, None if against[0] is None else against[1]),
        kind=NO_SPURIOUS_FEATURE,
        quantity=asked,
        threshold=rule.max_recall_drop if rule.by_recall else rule.max_flip_rate,
        setting="; ".join(each.name for each in cues),
        method="paired intervention, cue on and off",
        details=details_of(evidence, cues, rule),
        changed=[
            Changed(
                by=f"the cue {each.name}",
                moved=evidence.columns[f"moved {at}"],
                worst=rule.worst(evidence.columns, at, evidence.columns[f"moved {at}"]),
            )
            for at, each in enumerate(cues)
        ],
    )
