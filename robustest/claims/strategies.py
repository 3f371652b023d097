"""Claims on the changes of a hypothesis strategy: search for the mildest change that breaks an accuracy."""

# 1. Hypothesis draws changes (`robustest.strategies`). Each is applied to the same samples (`Trials`); a change breaks
#    the claim if fewer samples than claimed are right.
# 2. Hypothesis maximises minus the margin of the sample that decides: with `least` of n samples to be right, the
#    (n - least + 1)-th smallest margin is negative if and only if the claim breaks.
# 3. It shrinks a change that breaks the claim, to fewer steps and lower severities.
# 4. That change, or else the one with the lowest accuracy, is measured on all samples.

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import chain
from typing import Any, Unpack
from unittest import SkipTest

import hypothesis
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, Verbosity, given, seed
from hypothesis.database import ExampleDatabase, InMemoryExampleDatabase
from hypothesis.errors import HypothesisException, InvalidArgument, Unsatisfiable
from hypothesis.strategies import SearchStrategy
from numpy.typing import NDArray

from robustest import clock, context, rng
from robustest.checks import checked_whole, require
from robustest.claims.shifts.shift_accuracy import Shifting
from robustest.columns import SHOWN
from robustest.decisions import Decision, ShareRule, checked_threshold
from robustest.decisions.thresholds import count_at_least
from robustest.engine.answer_checks import ask_again, check_model
from robustest.engine.chunks import check_data, partition, read
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError
from robustest.kinds import Kind, Quantity, clean_accuracy
from robustest.models import Needs, frozen
from robustest.results import Fact, Pairing, Result, Verdict
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Tally
from robustest.run.finish import result_of
from robustest.run.grounds import Changed
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Setup, deciding, of_task
from robustest.settings import Settings
from robustest.shifts import Shift, ShiftedInputs, follow_targets
from robustest.strategies import Change, as_change, code_of, strategy_words
from robustest.tasks import Task
from robustest.words import number

_LONGEST = 120


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    mildest = details["mildest"]
    found = [] if mildest is None else [("mildest", f"{mildest['change']}: accuracy {number(mildest['accuracy'])}")]
    found += [] if mildest is None else [("as code", mildest["code"])]
    return [*(Fact(label, words) for label, words in found), *clean_accuracy(details)]


ROBUST_TO = Kind(
    name="robust_to",
    varies="inputs",
    quantities=(
        Quantity.at_least("at_least", "lowest accuracy", "accuracy under any of {}", counts="outcomes", constant=True),
    ),
    lines=_lines,
    hidden=frozenset({"mildest", "clean_accuracy"}),
)


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
    """Search with hypothesis for the lowest accuracy under a strategy's changes, and the mildest that breaks a claim.

    A pass says that no example tried breaks the claim; it is not a proof. The accuracy is that of these samples for
    either `scope`, since they picked the change.

    Args:
        model: as for `measure_robust_accuracy`.
        data, task: as for `measure_shift_accuracy`.
        strategy: draws changes of `robustest.strategies`, or functions of a batch as for shifts.
        at_least: accuracy claimed under every change, in 0..1.
        max_examples: most examples tried before shrinking; None tries 100.
        **options: see `robustest.run.options.Options`. `max_samples` and `time_budget` limit the search, not the
            measurement of a counterexample. With `cache=False` hypothesis' database is not used.

    Returns:
        The result. `details["mildest"]` is the mildest change that breaks the claim, in words and as code for
        `assert_shift_accuracy`, or None; `details["worst"]` the change of lowest accuracy. Outcomes are those of the
        mildest, else of the worst. It is inconclusive if the samples that no example changed suffice for the claim.

    Raises:
        ConfigError: the strategy draws no changes.
        ConfigError, DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    require(isinstance(strategy, SearchStrategy), "a strategy such as robustest.strategies.shifts()", strategy)
    if max_examples is not None:
        checked_whole("max_examples", max_examples, 1)
    setup, words = Setup.of(model, data, options, deciding(task)), strategy_words(strategy)
    setting = words if len(words) <= _LONGEST else f"{words[: _LONGEST - 3]}..."
    settings, statement = setup.settings, ROBUST_TO.quantities[0].state(setting) + of_task(setup.task)
    with torch.inference_mode(False), frozen(setup.model.module) as notes:
        trials = Trials(setup, at_least, statement)
        ended = _search(trials, strategy, settings, max_examples, setting=setting, statement=statement)
        # A counterexample found in time refutes for certain: it is measured on all samples, however long that takes.
        with clock.unlimited() if ended.mildest is not None else nullcontext():
            trials.end()
    shown = ended.mildest if ended.mildest is not None else trials.worst
    with clock.unlimited() if ended.mildest is not None else nullcontext():
        evidence = _whole(shown, setup, statement)
    # `worst`: the accuracy of a model that is wrong on every sample that any change altered.
    moved, clean = trials.moved, evidence.columns["clean"][np.searchsorted(evidence.ids, trials.ids)]
    worst = float((clean & ~moved).mean())
    caveats = []
    if moved.any():
        names, still = trials.idle, sum(not trial.moved.any() for trial in trials.by_change.values())
        caveats += [f"{', '.join(names)} changed no sample"] if names else []
        if 2 * still > len(trials.by_change):
            caveats.append(f"{still} of {len(trials.by_change)} examples changed no sample")
    if short := [trial.shortfall for trial in trials.by_change.values() if trial.shortfall]:
        caveats.append(f"in {len(short)} of {len(trials.by_change)} examples {short[0]}")
    # The evidence is of one example, which may change nothing where others do; `changed` is of all.
    columns = {name: column for name, column in evidence.columns.items() if name != SHOWN}
    result = result_of(
        replace(evidence.with_search(trials.tally, settings), cached="", columns=columns),
        _decide(ended, trials, evidence, at_least),
        settings,
        kind=ROBUST_TO,
        statement=statement,
        threshold=at_least,
        setting=setting,
        method=f"hypothesis, {len(trials.by_change)} examples, {trials.broken} of them break the claim",
        details={
            "examples": len(trials.by_change),
            "examples_that_break": trials.broken,
            "searched_on": trials.n,
            "mildest": None if ended.mildest is None else _about(ended.mildest, trials),
            "worst": _about(trials.worst, trials),
            "clean_accuracy": evidence.share(evidence.columns["clean"]),
        },
        bounds="above",
        scope="set",
        pairing=Pairing(under=code_of(shown) + of_task(setup.task)),
        caveats=caveats,
        changed=[Changed(by="the strategy", moved=moved, cut=trials.cut, worst=worst)],
    )
    return result.but(notes=(*notes, *result.words.notes))


@assertion(measure_robust_to)
def assert_robust_to() -> None:
    """Claim that accuracy is at least `at_least` under every change that a hypothesis strategy draws.

    Hypothesis searches for a change that breaks the claim, and shrinks it to the mildest. A pass is a search without a
    counterexample, not a proof.
    """


@measurement()
def accuracy_under(
    model: object, data: object, change: Change, *, at_least: float | None = None, **options: Unpack[Options]
) -> float:
    """Return the accuracy on changed samples, for use in a hypothesis test, which also receives the margin.

    Args:
        model, data: as for `measure_robust_accuracy`.
        change: drawn by a strategy of `robustest.strategies`, or any shift.
        at_least: accuracy that the test requires, in 0..1; the margin is then that of the sample that decides. None:
            the mean margin.
        **options: see `robustest.run.options.Options`.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    setup = Setup.of(model, data, options)
    with torch.inference_mode(False), frozen(setup.model.module):
        trials = Trials(setup, at_least, "")
        trial = trials.measured(as_change(change))
    if hypothesis.currently_in_test_context():
        tell_hypothesis(trial.margin)
        if not trial.moved.any():
            hypothesis.event("the change changes no sample")
    return trial.right / trials.n


@dataclass(frozen=True, slots=True)
class _SearchEnd:
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
) -> _SearchEnd:
    errors: list[Exception] = []
    broken: list[object] = []

    def breaks(change: object) -> bool:
        clock.check()
        try:
            found = trials.breaks(change)
        except HypothesisException:
            raise
        except Exception as error:  # an error is no counterexample, but hypothesis would take it for one
            errors.append(error)
            raise clock.OutOfTime from error  # hypothesis does not catch it
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
            tried = f"{len(trials.by_change)} example{'' if len(trials.by_change) == 1 else 's'}"
            raise clock.OutOfTime(f"budget: no counterexample in {tried} before the time was up") from None
        return _SearchEnd(broken[-1], early=True)
    if settings.replay_only and mildest is None:
        reason = f"replayed only: none of {len(trials.by_change)} examples that hypothesis remembers breaks the claim"
        raise context.current().not_searched(statement, reason)
    return _SearchEnd(mildest)


def _whole(shown: object, setup: Setup, statement: str) -> Evidence:
    # The result's number is of all samples, whatever the search was limited to.
    every = setup.but(exact=True, max_samples=None, time_budget=None, replay_only=False)
    change = as_change(shown)
    look = Shifting(shift=change)
    rule = ShareRule(threshold=None, at_least=True, terms=replace(setup.alone, scope="set"))
    return observe(every.plan(statement, look, rule, identity=("shift accuracy", change)))


def _decide(ended: _SearchEnd, trials: Trials, evidence: Evidence, at_least: float | None) -> Decision:
    # A counterexample on all samples refutes for certain; a search without one proves nothing.
    accuracy = float(evidence.columns["held"].mean())
    lowest = min(accuracy, trials.lowest) if trials.n == evidence.n else accuracy
    tried = f"{len(trials.by_change)} examples"
    # The lowest accuracy under all changes is at most that under any of them.
    decide = partial(Decision, estimate=lowest, interval=(0.0, lowest))
    if at_least is None:
        return decide(verdict=Verdict.INCONCLUSIVE, rule="no threshold given")
    # The claim is about these samples, so that their outcomes refute it without an interval.
    if int(evidence.columns["held"].sum()) < count_at_least(at_least, evidence.n):
        cut = "; the search for a milder one ended with the time budget" if ended.early else ""
        return decide(verdict=Verdict.FAILED, rule=f"certain: a counterexample among {tried}{cut}")
    # The change breaks the samples of the search, but not all samples.
    if ended.mildest is not None:
        rule = f"the change found breaks the {trials.n} samples searched on, not all {evidence.n}: raise max_samples"
        return decide(verdict=Verdict.INCONCLUSIVE, rule=rule)
    on = "" if trials.n == evidence.n else f" on {trials.n} of {evidence.n} samples"
    return decide(verdict=Verdict.PASSED, rule=f"no counterexample in {tried}{on}: a search, not a proof")


def _about(change: object, trials: Trials) -> dict[str, Any]:
    return {"change": str(as_change(change)), "code": code_of(change), "accuracy": trials.share(change)}


# Label of the margin in hypothesis' statistics.
GOAL = "margin"

_FARTHEST = 1e9


@dataclass(frozen=True, slots=True)
class Trial:
    """The samples' outcomes under one change.

    Attributes:
        moved, cut: (n,) bool, as in `ShiftedInputs`, in the order of `Trials.ids`.
        margin: of the sample that decides, negative if the claim breaks; the mean if nothing is claimed.
        shortfall: how far the change's promised size is from what arrives inside the bounds; "" if it arrives.
    """

    right: int
    margin: float
    moved: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    shortfall: str = ""

    def harms_more_than(self, other: Trial) -> bool:
        # Fewer right samples, or equally many by a smaller margin.
        return (self.right, self.margin) < (other.right, other.margin)


class Trials:
    """Changes tried on the same samples.

    Attributes:
        ids: (n,) int64, positions in the data.
        least: samples that must be right; None if nothing is claimed.
        by_change: the trial of each change, by its key.
        worst: the change with the fewest right samples.
    """

    def __init__(self, setup: Setup, at_least: float | None, statement: str) -> None:
        classifier, samples, settings = setup.model, setup.samples, setup.settings
        self._evaluator = evaluator = Evaluator.of(classifier, settings, [], task=setup.task)
        # A random part of the samples, the same as the first of any other claim with this seed.
        order = rng.permutation(settings.seed, len(samples))[: settings.max_samples]
        check_data(samples, order)
        how: dict[str, Any] = {"bounds": classifier.bounds, "seed": settings.seed, "whole": True}
        self._chunks = [read(samples, ids, **how).on(evaluator.device) for ids in partition(order)]
        if self._chunks[0].bounds != classifier.bounds:  # whole numbers, such as tokens: the model must get these again
            evaluator.model = replace(evaluator.model, whole=True)
        self._early = check_model(evaluator, self._chunks[0], settings.suppress)
        for chunk in self._chunks:
            evaluator.check_labels(chunk.y)
        self.ids = torch.cat([chunk.ids for chunk in self._chunks]).numpy()
        self.n = len(self.ids)
        self.least = None if at_least is None else count_at_least(at_least, self.n)
        self.by_change: dict[object, Trial] = {}
        self.worst: object = None
        self.broken = 0
        self._drawn: list[object] = []  # kept alive: keys may be ids of objects
        self._statement = statement
        self._started = time.perf_counter()

    @property
    def task(self) -> Task:
        return self._evaluator.task

    @property
    def lowest(self) -> float:
        return self.share(self.worst)

    @property
    def moved(self) -> NDArray[np.bool_]:
        return np.asarray(np.any([trial.moved for trial in self.by_change.values()], axis=0))

    @property
    def cut(self) -> NDArray[np.bool_]:
        """Return (n,) bool: samples that were altered, but by no change inside the bounds."""
        whole = np.any([trial.moved & ~trial.cut for trial in self.by_change.values()], axis=0)
        return np.asarray(self.moved & ~whole)

    @property
    def idle(self) -> tuple[str, ...]:
        """Return the names of shifts that altered no sample at any parameter."""
        moved: dict[str, bool] = {}
        for drawn in self._drawn:
            if isinstance(drawn, Shift):
                moved[drawn.name] = moved.get(drawn.name, False) or bool(self.by_change[_key(drawn)].moved.any())
        return tuple(name for name, any_moved in moved.items() if not any_moved)

    def share(self, change: object) -> float:
        return self.by_change[_key(change)].right / self.n

    @property
    def tally(self) -> Tally:
        return Tally.of(self._evaluator).since(Tally(), time.perf_counter() - self._started)

    def end(self) -> None:
        # Repeat the first predictions, to detect a model that changed during the search.
        ask_again(self._evaluator, self._early)
        self._evaluator.require_finite()

    def breaks(self, change: object) -> bool:
        trial = self.by_change.get(_key(change))
        if trial is None:
            trial = self.by_change[_key(change)] = self.measured(as_change(change))
            self._drawn.append(change)
            self.broken += self._broken(trial)
            if self.worst is None or trial.harms_more_than(self.by_change[_key(self.worst)]):
                self.worst = change
            watch = context.current().progress
            if watch is not None and self._statement:
                watch(self._statement, len(self.by_change), len(self.by_change), self.broken)
        tell_hypothesis(trial.margin)
        return self._broken(trial)

    def measured(self, change: Shift) -> Trial:
        right, found, task = 0, [], self._evaluator.task
        changed: list[ShiftedInputs] = []
        for chunk in self._chunks:
            after = change.shifted(chunk.x, chunk.key, chunk.bounds, chunk.coding, chunk.sample_rate)
            # Targets that are places move with the image.
            y = follow_targets(task, change, chunk.x, chunk.y, chunk.key, bounds=chunk.bounds)
            judgement = self._evaluator.judge(after.x, y)
            right += int(judgement.holds.sum())
            found.append(judgement.margin.double())
            changed.append(after)
        self._evaluator.require_finite()
        margin = torch.cat(found)
        moved, cut = (torch.cat([getattr(one, name) for one in changed]).cpu().numpy() for name in ("moved", "cut"))
        sizes = [one.size for one in changed if one.size is not None]
        signal = change.signal_change if sizes else None
        shortfall = "" if signal is None else signal.shortfall(torch.cat(sizes).cpu().numpy())
        trial = partial(Trial, right, moved=moved, cut=cut, shortfall=shortfall)
        if self._evaluator.model.gives is Needs.LABELS:  # its margins say only right or wrong: count
            return trial(margin=right / self.n if self.least is None else float(right - self.least))
        if self.least is None:
            return trial(margin=float(margin.mean()))
        return trial(margin=float(margin.sort().values[min(self.n, self.n - self.least + 1) - 1]))

    def _broken(self, trial: Trial) -> bool:
        return self.least is not None and trial.right < self.least


def _key(change: object) -> Hashable:
    # The change, or its fields if these can be hashed; else the object's id, which `Trials._drawn` keeps alive.
    values: Iterator[object] = iter((change,))
    if is_dataclass(change):
        values = chain(values, [(type(change), tuple(getattr(change, field.name) for field in fields(change)))])
    for value in values:
        try:
            hash(value)
        except TypeError:
            continue
        return value
    return id(change)


def tell_hypothesis(margin: float) -> None:
    """Pass a margin to hypothesis as a target to minimise."""
    try:
        # hypothesis maximises, and refuses infinite values.
        hypothesis.target(-max(-_FARTHEST, min(_FARTHEST, margin)), label=GOAL)
    except InvalidArgument:  # a test with several accuracies: hypothesis takes one number per label
        return


# Default number of examples before shrinking.
EXAMPLES = 100


def hunt(
    strategy: SearchStrategy[object],
    breaks: Callable[[object], bool],
    *,
    seeded: int,
    max_examples: int | None,
    key: str,
    remember: bool,
    replay_only: bool = False,
) -> object | None:
    """Return the simplest change that hypothesis finds to break a claim, or None.

    Args:
        breaks: True if a change breaks the claim, always the same for one change; an `Exception` counts as broken.
        seeded: seed of the search.
        max_examples: most examples before shrinking; None tries 100.
        key: of stored examples in the database of hypothesis' current profile; they are tried first.
        remember: True to use that database.
        replay_only: try the stored examples alone.

    Raises:
        ConfigError: the strategy draws nothing.
    """
    most = max_examples or EXAMPLES
    # The current profile's database, so that examples of earlier runs are found.
    database = hypothesis.settings().database if remember else None
    kept = None if database is None else _Keyed(database, key)
    if kept is not None:
        phases = [Phase.reuse] if replay_only else [Phase.reuse, Phase.shrink]
        known = _run_hypothesis(strategy, breaks, seeded=seeded, most=most, database=kept, phases=phases)
        if known is not None:
            return known
    if replay_only:
        return None
    # Without a database hypothesis searches differently, and its profile for CI has none: give it an empty one.
    fresh = InMemoryExampleDatabase()
    found = _run_hypothesis(strategy, breaks, seeded=seeded, most=most, database=fresh, phases=_PHASES)
    if found is not None and kept is not None:
        for name, values in fresh.data.items():
            for value in values:
                kept.save(name, value)
    return found


# All but `explain`, which varies the change found only for its report.
_PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink]


def _run_hypothesis(
    strategy: SearchStrategy[object],
    breaks: Callable[[object], bool],
    *,
    seeded: int,
    most: int,
    database: ExampleDatabase,
    phases: Sequence[Phase],
) -> object | None:
    found: list[object] = []

    # Every setting is given: the current profile's would apply otherwise.
    @hypothesis.settings(
        max_examples=most,
        database=database,
        phases=phases,
        derandomize=False,
        backend="hypothesis",
        verbosity=Verbosity.normal,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @seed(seeded)
    @given(strategy)
    def search(change: object) -> None:
        if breaks(change):
            found.append(change)
            raise _Broken

    named: Any = search
    named._hypothesis_internal_database_key = b"robustest"  # else --hypothesis-seed leaves it without a database
    try:
        search()
    except _Broken:
        return found[-1]  # hypothesis runs the simplest last
    except SkipTest:  # nothing to try: no stored example
        return None
    except Unsatisfiable as error:
        raise ConfigError(f"Expected a strategy that draws changes but hypothesis says: {error}") from error
    return None


class _Broken(Exception):
    """Raised if the claim does not hold under a change."""


class _Keyed(ExampleDatabase):
    def __init__(self, whole: ExampleDatabase, key: str) -> None:
        super().__init__()
        self._whole = whole
        self._prefix = sha256(f"robustest {key}".encode()).digest()

    def save(self, key: bytes, value: bytes) -> None:
        self._whole.save(self._prefix + key, value)

    def fetch(self, key: bytes) -> Iterable[bytes]:
        return self._whole.fetch(self._prefix + key)

    def delete(self, key: bytes, value: bytes) -> None:
        self._whole.delete(self._prefix + key, value)
