"""A measurement takes known keywords and ends in a result; an assertion claims something, and says what it lacks."""

from __future__ import annotations

import inspect
import time
from contextlib import nullcontext
from typing import Any

import pytest

from robustest import ConfigError, Settings, UnknownNameError, clock
from robustest.context import Context, running
from robustest.errors import ClaimInconclusive, NotSearched, PackError
from robustest.kinds import Kind, Quantity
from robustest.results import Cost, Result, Verdict
from robustest.run import measurement as module
from robustest.run.measurement import assertion, check_keywords, kind_of, measurement

HIGH, LOW = Quantity.at_least("at_least", "share", "share"), Quantity.at_most("at_most", "loss", "loss")
ONE = Kind(name="made_one", varies="nothing", quantities=(HIGH,))
TWO = Kind(name="made_two", varies="nothing", quantities=(HIGH, LOW))
THREE = Kind(name="made_three", varies="nothing", quantities=(HIGH, LOW), further_claims=("no_worse_than",))
TOGETHER = Kind(name="made_both", varies="nothing", quantities=(HIGH, LOW), together=True)
ADVICE = Kind(name="made_advice", varies="nothing", quantities=(HIGH,), advises=True)


def result(verdict: str = "passed", threshold: float | None = 0.5, kind: str = "made_one") -> Result:
    return Result.of(
        kind=kind,
        statement="it",
        verdict=Verdict(verdict),
        rule="by hand",
        quantity="share",
        estimate=0.75,
        interval=(0.5, 1.0),
        threshold=threshold,
        comparison=">=",
        n=4,
        n_total=4,
        outcomes=(True, True, True, False),
        cost=Cost(),
        seed=0,
        setting="",
        method="",
    )


def made(kind: Kind, **defaults: float) -> Any:
    """An assertion of a measurement that passes, whatever it is given."""

    @measurement(kind)
    def measure_it(
        model: object,
        threat: object = None,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        no_worse_than: object = None,
        **options: Any,
    ) -> Result:
        return result(threshold=at_least, kind=kind.name)

    @assertion(measure_it, **defaults)
    def assert_it() -> None:
        """Claim it."""

    return assert_it


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ONE, r"missing a required argument: 'at_least'"),
        (TOGETHER, r"missing a required argument: 'at_least'"),
        (TWO, r"Expected at_least= or at_most= but got neither: there is nothing to claim"),
        (THREE, r"Expected at_least=, at_most= or no_worse_than= but got none: there is nothing to claim"),
    ],
)
def test_an_assertion_without_a_threshold_says_which_there_are(kind: Kind, words: str) -> None:
    with pytest.raises((TypeError, ConfigError), match=words):
        made(kind)("model")
    none = {"at_least": None, "at_most": None, "no_worse_than": None}
    names = {1: "None", 2: "neither", 3: "none"}[len(kind.thresholds)]
    with pytest.raises(ConfigError, match=f"but got {names}: there is nothing to claim"):
        made(kind)("model", **{name: none[name] for name in kind.thresholds})
    given = dict.fromkeys(kind.thresholds, 0.5) if kind.together else {kind.thresholds[0]: 0.5}
    assert made(kind)("model", **given).verdict is Verdict.PASSED


def test_a_missing_argument_shows_the_call() -> None:
    with pytest.raises(TypeError, match=r"assert_it\(\) .* Write assert_it\(model, threat, at_least=\.\.\.\)"):
        made(TWO)(at_least=0.5)


def test_a_default_claims_and_advice_claims_nothing() -> None:
    assert made(ONE, at_least=0.25)("model").ruling.threshold == 0.25
    assert made(ONE, at_least=0.25)("model", at_least=0.5).ruling.threshold == 0.5
    assert made(ADVICE)("model").ruling.threshold is None
    with pytest.raises(ConfigError, match="defaults of the thresholds of 'made_one'"):
        made(ONE, atleast=0.25)
    shown = inspect.signature(made(TWO, at_most=0.1)).parameters
    assert {name: shown[name].default for name in ("at_least", "at_most")} == {"at_least": None, "at_most": 0.1}
    assert inspect.signature(made(ONE)).parameters["at_least"].default is inspect.Parameter.empty
    assert inspect.signature(made(ADVICE)).parameters["at_least"].default is None
    both = inspect.signature(made(TOGETHER)).parameters
    assert {both[name].default for name in ("at_least", "at_most")} == {inspect.Parameter.empty}


def test_an_unknown_keyword_is_named() -> None:
    def measure(model: object, threat: object, *, at_least: float = 0.0, **options: Any) -> None:
        """Measure."""

    def plain(model: object, **options: Any) -> None:
        """Measure without a threat."""

    check_keywords(measure, ["at_least", "seed", "device", "model"])
    for name in ("eps", "epsilon", "radius", "norm"):
        with pytest.raises(UnknownNameError, match=rf"Unknown option '{name}'. The threat holds the radius"):
            check_keywords(measure, [name])
        with pytest.raises(UnknownNameError, match=rf"option '?{name}"):
            check_keywords(plain, [name])
    with pytest.raises(UnknownNameError, match="Did you mean 'seed'"):
        check_keywords(measure, ["sead"])
    with pytest.raises(UnknownNameError):
        check_keywords(measure, ["options"])


def test_only_a_measurement_has_a_kind() -> None:
    @measurement()
    def helper() -> int:
        return 3

    @measurement(ONE)
    def measure(*, at_least: float | None = None) -> Result:
        return result(threshold=at_least)

    assert kind_of(measure) is ONE
    for other in (helper, max):
        with pytest.raises(ConfigError, match="a measurement made by"):
            kind_of(other)
    with pytest.raises(ConfigError, match=r"\['at_most'\]"):
        measurement(TWO)(measure)


@pytest.mark.parametrize(
    ("name", "same", "refused"), [("made_one", False, True), ("made_one", True, False), ("other", False, False)]
)
def test_a_kind_of_a_pack_has_a_name_of_its_own(
    name: str, same: bool, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ONE if same else Kind(name=name, varies="nothing", quantities=(HIGH,))
    monkeypatch.setattr(module, "_kinds_of_packs", lambda _: [("a pack", other)])
    with pytest.raises(PackError, match="'a pack' to give its kind") if refused else nullcontext():
        module.check_unique(ONE)


def test_the_running_test_hears_of_every_measurement_that_has_ended() -> None:
    @measurement(ONE)
    def measure(*, at_least: float | None = None) -> Result:
        if at_least == 0.9:
            raise ZeroDivisionError
        return result(threshold=at_least)

    @measurement()
    def helper() -> int:
        return 3

    context = Context(test="t")
    with running(context):
        first = measure(at_least=0.5)
        assert helper() == 3
        with pytest.raises(ZeroDivisionError):
            measure(at_least=0.9)
    assert context.measured == 2
    assert [one is first for one in context.ungated] == [True]
    assert context.claims


@pytest.mark.parametrize(
    ("given", "quantity", "threshold", "comparison"),
    [
        ({"at_least": 0.5}, "share", 0.5, ">="),
        ({"at_most": 0.25}, "loss", 0.25, "<="),
        ({"at_least": 0.0, "at_most": 0.25}, "share", 0.0, ">="),
        ({}, "share", None, ">="),
    ],
)
def test_a_claim_out_of_time_is_undecided(
    given: dict[str, float], quantity: str, threshold: float | None, comparison: str
) -> None:
    @measurement(TWO)
    def measure(
        words: str = "", *, at_least: float | None = None, at_most: float | None = None, **options: Any
    ) -> Result:
        raise clock.OutOfTime(words)

    found = measure("budget: all spent", seed=7, **given)
    assert (found.verdict, found.ruling.reasons, found.rule) == (Verdict.INCONCLUSIVE, ("budget",), "budget: all spent")
    numbers, ruling = found.numbers, found.ruling
    assert (numbers.quantity, ruling.threshold, ruling.comparison) == (quantity, threshold, comparison)
    assert (numbers.n, numbers.n_total, numbers.estimate, numbers.interval) == (0, 0, None, (0.0, 1.0))
    assert found.evidence.seed == 7
    assert measure().rule == "the clock: the time was up before the search had ended"
    with running(Context(settings=Settings(seed=5))):
        assert measure().evidence.seed == 5


@pytest.mark.parametrize(("budget", "left"), [(None, None), (50.0, 50), (50, 50)])
def test_the_clock_of_a_claim_is_that_of_its_call_or_of_its_test(budget: float | None, left: float | None) -> None:
    seen: list[Any] = []

    @measurement(ONE)
    def measure(*, at_least: float | None = None, **options: Any) -> Result:
        seen.append(clock.left())
        return result()

    measure(at_least=0.5, time_budget=budget)
    with running(Context(settings=Settings(time_budget=budget))):
        measure(at_least=0.5)
    with running(Context(settings=Settings(time_budget=9.0))):
        measure(at_least=0.5, time_budget=budget)
    assert all(one is None if left is None else left - 5 < one <= left for one in seen)


def test_what_was_not_searched_is_an_open_result_of_its_claim() -> None:
    nothing = NotSearched("it", "replayed only")
    nothing.claim = "made_one: it"
    found = module.unsearched("made_one", nothing)
    assert (found.verdict, found.ruling.reasons) == (Verdict.INCONCLUSIVE, ("not_searched",))
    assert found.subject.claim == "made_one: it"
    assert (found.subject.statement, found.rule, found.ruling.threshold) == ("it", "replayed only", None)


@pytest.mark.parametrize(
    ("verdict", "threshold", "advises", "replay_only", "passes"),
    [
        ("passed", 0.5, False, False, True),
        ("inconclusive", None, True, False, True),
        ("inconclusive", None, False, False, False),
        ("inconclusive", 0.5, True, False, False),
        ("passed", 0.5, False, True, False),
        ("inconclusive", None, True, True, False),
    ],
)
def test_a_result_is_let_through_if_it_passed_or_claims_nothing(
    verdict: str, threshold: float | None, advises: bool, replay_only: bool, passes: bool
) -> None:
    context = Context(test="t", settings=Settings(replay_only=replay_only), skip=pytest.skip)
    one = result(verdict, threshold)
    context.note(one)
    with running(context):
        if passes:
            assert module.gate(one, advises=advises) is one
        else:
            with pytest.raises(NotSearched if replay_only else ClaimInconclusive):
                module.gate(one, advises=advises)
    free = advises and threshold is None and not replay_only
    assert [each is one for each in context.ungated] == ([True] if free else [])
    assert len(context.results) == int(not replay_only)


def test_a_claim_of_its_own_clock_ends_nothing_else() -> None:
    began = time.monotonic()
    with clock.budget(0.0), clock.unlimited():
        assert clock.left() is None
    assert time.monotonic() - began < 5
