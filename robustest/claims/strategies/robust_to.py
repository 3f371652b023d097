"""Accuracy under anything that a strategy draws: hypothesis searches for the mildest change that breaks the claim.

Hypothesis is told how near the claim is to breaking, climbs towards that, and then shrinks what breaks it: fewer steps,
lower severities, and so on (see `robustest.strategies`). What it ends with is the simplest change that it tried, and no
simpler neighbour that it tried breaks the claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Unpack

import hypothesis
import numpy as np
import torch
from hypothesis.errors import HypothesisException
from hypothesis.strategies import SearchStrategy

from robustest import clock, context
from robustest.checks import checked_whole
from robustest.claims.shifts.shift_accuracy import Shifting
from robustest.claims.strategies.hypothesis_search import hunt
from robustest.claims.strategies.tried_changes import Trials, tell
from robustest.decisions import Decision, ShareRule, optional_threshold
from robustest.decisions.thresholds import count_at_least
from robustest.errors import ConfigError, expected
from robustest.kinds import OUTCOMES, Kind, Quantity, clean_accuracy
from robustest.models import frozen
from robustest.results import Fact, Pairing, Result, Verdict
from robustest.run.driver import observe
from robustest.run.evidence import Evidence
from robustest.run.finish import Changed, result_of
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup, deciding, of_task
from robustest.run.split_search import with_search
from robustest.settings import Settings
from robustest.strategies import Change, as_change, strategy_words
from robustest.strategies.changes import code_of
from robustest.tasks import Task

_LONGEST = 120


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    """The mildest change that breaks the claim, in words and as code."""
    mildest = details["mildest"]
    found = [] if mildest is None else [("mildest", f"{mildest['change']}: accuracy {mildest['accuracy']:.3f}")]
    found += [] if mildest is None else [("as code", mildest["code"])]
    return [*(Fact(label, words) for label, words in found), *clean_accuracy(details)]


ROBUST_TO = Kind(
    name="robust_to",
    quantities=(Quantity.at_least("at_least", "lowest accuracy", "accuracy under any of {}", counts=OUTCOMES),),
    lines=_lines,
    hidden=frozenset({"mildest", "clean_accuracy"}),
)
"""The lowest accuracy under any change that a hypothesis strategy draws."""


@measurement(ROBUST_TO)
def measure_robust_to(
    model: object,
    data: object,
    strategy: SearchStrategy[Any],
    *,
    at_least: float | None = None,
    max_examples: int | None = None,
    task: Task | str | None = None,
    **options: Unpack[Options],
) -> Result:
    """The lowest accuracy that hypothesis finds under a strategy's changes, and the mildest that breaks a claim.

    A search, not a proof: that nothing was found says that nothing was found among so many examples. The accuracy is
    that on these very samples, whatever `scope` says, since the change was picked by looking at them.

    The search depends on the strategy, the model, the samples and the settings' seed alone: hypothesis' profiles and
    its own seed do not change it. Its current profile says where examples are remembered, which are tried first.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_shift_accuracy`. What is searched on is held in memory.
        strategy: draws changes: those of `robustest.strategies`, or functions of a batch, as shifts are.
        at_least: the accuracy claimed under every change, in 0..1.
        max_examples: examples tried before shrinking, at most; None tries 100.
        task: what the answers are, and when they are right, as for `measure_shift_accuracy`.
        **options: see `robustest.run.plan.Options`. With `max_samples` the search looks at so many
            samples, and what it ends with is measured on all. After `time_budget` seconds the search ends where it
            is, and only a counterexample that it has found is measured on all.
            With `cache=False` what hypothesis remembers is not used.

    Returns:
        The result. `details["mildest"]` is the mildest change that breaks the claim, in words and as code that
        `assert_shift_accuracy` takes, or None; `details["worst"]` the one under which accuracy is lowest. Outcomes and
        counterexamples are those under the mildest, where there is one, else under the worst. Where no example changed
        a sample, or so few were changed that the others suffice for the claim, it is inconclusive.

    Raises:
        ConfigError: an argument is out of range or unknown, or the strategy draws no changes.
        DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = optional_threshold("at_least", at_least, trivial=0)
    if not isinstance(strategy, SearchStrategy):
        raise ConfigError(expected("a strategy such as robustest.strategies.shifts()", strategy))
    if max_examples is not None:
        checked_whole("max_examples", max_examples, 1)
    setup, words = Setup.of(model, data, options, deciding(task)), strategy_words(strategy)
    setting = words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."
    settings, statement = setup.settings, ROBUST_TO.quantities[0].state(setting) + of_task(setup.task)
    with torch.inference_mode(False), frozen(setup.model.module) as notes:
        trials = Trials.of(setup, at_least, statement)
        ended = _search(trials, strategy, settings, max_examples, setting=setting, statement=statement)
        # A counterexample found in time refutes for certain: it is measured on all samples, however long that takes.
        with clock.unlimited() if ended.early else nullcontext():
            trials.end()
    result = _result(trials, ended, setup, at_least, setting=setting, statement=statement)
    return replace(result, notes=(*notes, *result.notes))


@measurement()
def accuracy_under(
    model: object, data: object, change: Change, *, at_least: float | None = None, **options: Unpack[Options]
) -> float:
    """Accuracy on changed samples, for hypothesis tests of a user's own.

    Inside a test under `@given`, hypothesis is told the margin (see `measure_robust_to`), and so searches for changes
    that do more harm. Nothing is recorded for the reports.

    Args:
        model, data: as for `measure_robust_accuracy`.
        change: what a strategy of `robustest.strategies` drew, or any shift.
        at_least: the accuracy that the test will ask for, in 0..1; the margin told is then that of the sample on which
            it hangs. None tells the mean margin.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    at_least = optional_threshold("at_least", at_least, trivial=0)
    setup = Setup.of(model, data, options)
    with torch.inference_mode(False), frozen(setup.model.module):
        trials = Trials.of(setup, at_least, "")
        trial = trials.measured(as_change(change))
    if hypothesis.currently_in_test_context():
        tell(trial.margin)
        if not trial.moved.any():
            hypothesis.event("the change changes no sample")
    return trial.right / trials.n


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a search ended: with the mildest change that breaks the claim, with none, or before its end."""

    mildest: object | None
    early: bool = False


def _search(
    trials: Trials,
    strategy: SearchStrategy[Any],
    settings: Settings,
    max_examples: int | None,
    *,
    setting: str,
    statement: str,
) -> _Ended:
    """Let hypothesis search.

    Raises:
        Exception: what a change could not be measured for.
        NotSearched: nothing was searched for, and no example remembered breaks the claim.
    """
    errors: list[Exception] = []
    broken: list[object] = []

    def breaks(change: object) -> bool:
        clock.check()
        try:
            found = trials.breaks(change)
        except HypothesisException:
            raise
        except Exception as error:  # no counterexample, though hypothesis would take it for one
            errors.append(error)
            raise clock.OutOfTime from error  # which hypothesis does not catch
        broken.extend([change] if found else [])
        return found

    try:
        mildest = hunt(
            strategy,
            breaks,
            seeded=settings.seed,
            max_examples=max_examples,
            key=f"{context.current().test} {setting}{of_task(trials.task)}",
            remember=settings.cache,
            replay_only=settings.replay_only,
        )
    except clock.OutOfTime:
        if errors:
            raise errors[0] from None
        if not broken:
            tried = f"{len(trials.seen)} example{'' if len(trials.seen) == 1 else 's'}"
            raise clock.OutOfTime(f"budget: no counterexample in {tried} before the time was up") from None
        return _Ended(broken[-1] if broken else None, early=True)
    if settings.replay_only and mildest is None:
        reason = f"replayed only: none of {len(trials.seen)} examples that hypothesis remembers breaks the claim"
        raise context.current().not_searched(statement, reason)
    return _Ended(mildest)


def _result(
    trials: Trials, ended: _Ended, setup: Setup, at_least: float | None, *, setting: str, statement: str
) -> Result:
    """What becomes of all samples under the mildest change that breaks the claim, or else under the worst."""
    shown = ended.mildest if ended.mildest is not None else trials.worst
    with clock.unlimited() if ended.early else nullcontext():
        evidence = _whole(shown, setup, statement)
    decision = _decide(ended, trials, evidence, at_least)
    return result_of(
        replace(with_search(evidence, trials.tally, setup.settings), cached=""),
        decision,
        setup.settings,
        kind=ROBUST_TO,
        statement=statement,
        threshold=at_least,
        setting=setting,
        method=f"hypothesis, {len(trials.seen)} examples, {trials.broken} of them break the claim",
        details=_details(trials, evidence, ended),
        bounds="above",
        scope="set",
        pairing=Pairing(under=code_of(shown) + of_task(setup.task)),
        caveats=_idle(trials),
        changed=[_changed(trials, evidence)],
    )


def _changed(trials: Trials, evidence: Evidence) -> Changed:
    """The samples searched on that some change changed, and the accuracy were the model wrong on all of them."""
    moved = trials.moved
    clean = evidence.columns["clean"][np.searchsorted(evidence.ids, trials.ids)]
    return Changed(by="the strategy", moved=moved, cut=trials.cut, worst=float((clean & ~moved).mean()))


def _idle(trials: Trials) -> tuple[str, ...]:
    """Return the caveat of examples that changed nothing, beside others that did."""
    if not trials.moved.any():
        return ()
    names, still = trials.idle, sum(not trial.moved.any() for trial in trials.seen.values())
    lines = [f"{', '.join(names)} changed no sample"] if names else []
    if 2 * still > len(trials.seen):
        lines.append(f"{still} of {len(trials.seen)} examples changed no sample")
    return tuple(lines)


def _whole(shown: object, setup: Setup, statement: str) -> Evidence:
    """What becomes of all samples under the change that is shown."""
    every = setup.but(exact=True, max_samples=None, time_budget=None, replay_only=False)
    change = as_change(shown)
    look = Shifting(shift=change, examples=setup.settings.examples)
    rule = ShareRule(threshold=None, at_least=True, terms=replace(setup.alone, scope="set"))
    return observe(every.plan(statement, look, rule, identity=("shift accuracy", change)))


def _decide(ended: _Ended, trials: Trials, evidence: Evidence, at_least: float | None) -> Decision:
    """The verdict: a counterexample on all samples refutes for certain; to find none proves nothing more."""
    accuracy = float(evidence.columns["held"].mean())
    lowest = min(accuracy, trials.lowest) if trials.n == evidence.n else accuracy
    tried = f"{len(trials.seen)} examples"
    # The lowest accuracy under all changes is at most that under any of them.
    told = partial(Decision, estimate=lowest, interval=(0.0, lowest))
    if at_least is None:
        return told(verdict=Verdict.INCONCLUSIVE, rule="no threshold given")
    if int(evidence.columns["held"].sum()) < count_at_least(at_least, evidence.n):
        cut = "; the search for a milder one ended with the time budget" if ended.early else ""
        return told(verdict=Verdict.FAILED, rule=f"certain: a counterexample among {tried}{cut}")
    if ended.mildest is not None:
        rule = f"the change found breaks the {trials.n} samples searched on, not all {evidence.n}: raise max_samples"
        return told(verdict=Verdict.INCONCLUSIVE, rule=rule)
    on = "" if trials.n == evidence.n else f" on {trials.n} of {evidence.n} samples"
    return told(verdict=Verdict.PASSED, rule=f"no counterexample in {tried}{on}: a search, not a proof")


def _details(trials: Trials, evidence: Evidence, ended: _Ended) -> dict[str, Any]:
    return {
        "examples": len(trials.seen),
        "examples_that_break": trials.broken,
        "searched_on": trials.n,
        "mildest": None if ended.mildest is None else _about(ended.mildest, trials),
        "worst": _about(trials.worst, trials),
        "clean_accuracy": evidence.share(evidence.columns["clean"]),
    }


def _about(change: object, trials: Trials) -> dict[str, Any]:
    """A change in words and as code, and the accuracy on what was searched on."""
    return {"change": str(as_change(change)), "code": code_of(change), "accuracy": trials.share(change)}
