"""What a robustness test comes to: attempts together, results that nobody asserted, and reports that carry them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import accounts
import pytest

from robustest import Settings
from robustest.context import Attempt, Context
from robustest.errors import AttemptsFailed, ClaimFailed, ConfigError, NoClaimError
from robustest.pytest_plugin import outcome
from robustest.pytest_plugin.outcome import attach, fixture_scopes, list_measured, require_attempts, require_claim
from robustest.results import Result, Verdict

PASSED = accounts.RESULT
FAILED, OPEN = (PASSED.but(verdict=one) for one in (Verdict.FAILED, Verdict.INCONCLUSIVE))
MEASURED = OPEN.but(threshold=None)


def attempt(ended: str, reason: str = "first line\nsecond") -> Attempt:
    return Attempt((), "call", ended, reason)


# Attempts


@pytest.mark.parametrize(
    ("earlier", "passed", "rule", "holds"),
    [
        ([], True, "every", True),
        ([], False, "every", True),
        (["failed"], True, "every", False),
        (["failed"], True, "majority", False),  # one of two
        (["failed", "passed"], True, "majority", True),  # two of three
        (["failed", "passed"], True, "every", False),
        (["failed", "passed"], False, "majority", False),  # the last is skipped
        (["failed", "failed", "passed"], True, "majority", False),
        (["error", "error"], True, "every", True),  # nothing was measured
        (["error", "failed"], True, "majority", False),
        (["passed"], False, "every", True),
    ],
)
def test_a_pass_after_a_failure_holds_by_the_rule_alone(
    earlier: list[str], passed: bool, rule: str, holds: bool
) -> None:
    context = Context(settings=Settings(attempts=rule), claims=True, attempts=[attempt(one) for one in earlier])
    with nullcontext() if holds else pytest.raises(AttemptsFailed) as error:
        require_attempts(context, passed=passed)
    assert context.forgiven is holds
    if not holds:
        failed = earlier.count("failed")
        assert str(error.value) == (
            f"failed in {failed} of {len(earlier) + 1} attempts: a later pass does not undo a failure. The setting "
            f'attempts = "{rule}" is not met; attempt {earlier.index("failed") + 1}: first line'
        )
    other = Context(attempts=[attempt("failed")])
    require_attempts(other, passed=True)  # it claims nothing
    assert not other.forgiven


# Measurements that nobody asserted


def test_what_was_measured_and_not_asserted_is_listed_once() -> None:
    context = Context(results=[PASSED], ungated=[MEASURED, MEASURED.but(), MEASURED.but(n=3)])
    list_measured(context)
    assert [(one.ruling.gated, one.numbers.n) for one in context.results] == [(True, 4), (False, 4), (False, 3)]
    assert context.ungated == []


@pytest.mark.parametrize(("result", "listed"), [(PASSED, False), (FAILED, True), (OPEN, True), (MEASURED, False)])
def test_a_recorded_result_that_nobody_asserted_says_so_unless_it_passed(result: Result, listed: bool) -> None:
    context = Context(results=[PASSED.but(n=1), result, PASSED.but(n=2)], ungated=[result])
    list_measured(context)
    assert len(context.results) == 3
    found = context.results[1]
    assert found.ruling.gated is not listed
    caveat = f"{result.verdict}, but the test does not assert it: write assert_robust_accuracy"
    assert found.words.caveats == ((caveat,) if listed else ())


@pytest.mark.parametrize("field", ["claim", "threshold", "verdict", "model", "data", "estimate", "interval", "n"])
def test_measurements_that_differ_are_listed_both(field: str) -> None:
    changed: dict[str, Any] = {"claim": "robust_accuracy, other", "threshold": 0.25, "verdict": Verdict.PASSED}
    changed |= {"model": "b", "data": "c", "estimate": 0.25, "interval": (0.0, 1.0), "n": 2}
    other = (PASSED if field == "threshold" else MEASURED).but(**{field: changed[field]})
    first = PASSED if field == "threshold" else MEASURED
    context = Context(ungated=[first, other, other.but(), first.but(seed=3)])
    list_measured(context)
    assert len(context.results) == 2


@pytest.mark.parametrize(
    ("context", "arguments", "shared", "claims"),
    [
        (Context(), {}, False, False),
        (Context(measured=1), {}, False, True),
        (Context(results=[PASSED]), {}, False, True),
        (Context(), {}, True, True),
        (Context(), {"a": PASSED}, False, True),
        (Context(), {"a": 3, "b": [1, PASSED]}, False, True),
        (Context(), {"b": (PASSED,)}, False, True),
        (Context(), {"b": {"c": PASSED}}, False, True),
        (Context(), {"b": [[PASSED]], "c": "text"}, False, False),
    ],
)
def test_a_robustness_test_needs_a_claim_or_a_measurement(
    context: Context, arguments: dict[str, Any], shared: bool, claims: bool
) -> None:
    with nullcontext() if claims else pytest.raises(NoClaimError, match="Expected a claim in a robustness test"):
        require_claim(context, arguments, shared=shared)


def test_a_test_may_have_used_its_fixtures_at_every_scope() -> None:
    nodes = [SimpleNamespace(nodeid=name) for name in ("", "t.py", "t.py::test")]
    item: Any = SimpleNamespace(
        fixturenames=["a"],
        funcargs={"request": SimpleNamespace(fixturenames=["a", "b"])},
        callspec=SimpleNamespace(indices={"b": 2}),
        listchain=lambda: nodes,
    )
    expected = {(name, node.nodeid, 2 if name == "b" else 0) for name in "ab" for node in nodes}
    assert {tuple(one) for one in fixture_scopes(item)} == expected
    plain: Any = SimpleNamespace(listchain=lambda: nodes)
    assert fixture_scopes(plain) == set()


# Reports


def attached(
    when: str, context: Context, raised: BaseException | None = None, *, failed: bool = False, short: bool = False
) -> Any:
    report: Any = SimpleNamespace(when=when, failed=failed, longrepr=None, user_properties=[])
    excinfo: Any = None
    if raised is not None:
        excinfo = SimpleNamespace(value=raised, getrepr=SimpleNamespace, traceback=Frames(TRACEBACK))
    attach(report, context, excinfo, properties=PROPERTIES, short_traceback=short)
    return report


PROPERTIES: list[tuple[str, object]] = []
TRACEBACK: list[Any] = []


class Frames(list[Any]):
    """Stands in for a traceback of pytest's."""

    def filter(self, keep: Callable[[Any], bool]) -> Frames:
        return Frames(one for one in self if keep(one))


@pytest.fixture(autouse=True)
def no_properties() -> None:
    PROPERTIES.clear()
    TRACEBACK.clear()


def test_results_ride_on_the_report_of_the_phase_that_ends_them() -> None:
    context = Context(test="t", rerun="pytest --robust", results=[PASSED], unwritten=["a picture"])
    setup = attached("setup", context)
    assert not hasattr(setup, "robustest_results"), "results of the setup wait for the call"
    assert setup.robustest_unwritten == ["a picture"]
    assert setup.robustest_replay == "pytest --robust --robust-seed=0 t"
    assert not hasattr(setup, "robustest_recorded")
    context.results.append(FAILED)
    call = attached("call", context)
    assert call.robustest_unwritten == []
    assert [one["verdict"] for one in call.robustest_results] == ["passed", "failed"]
    assert [name for name, _ in call.user_properties] == ["robustest.1", "robustest.2"]
    shown = json.loads(str(call.user_properties[1][1]))
    assert (shown["verdict"], shown["threshold"]) == ("failed", 0.5)
    assert not {"outcomes", "pairing"} & shown.keys()
    quiet = attached("teardown", context)
    assert quiet.robustest_recorded == 2
    assert not hasattr(quiet, "robustest_results")
    context.results.append(OPEN)
    late = attached("teardown", context)
    assert late.robustest_recorded == 3
    assert [one["verdict"] for one in late.robustest_results] == ["inconclusive"]
    assert [name for name, _ in late.user_properties] == ["robustest.1", "robustest.2", "robustest.3"]
    assert context.sent == 3
    broken = attached("setup", Context(results=[PASSED]), failed=True)
    assert len(broken.robustest_results) == 1, "no call will follow"
    assert not hasattr(broken, "robustest_attempts")


@pytest.mark.parametrize(
    ("raised", "results", "claimed", "unmeasured"),
    [
        (None, [FAILED], False, ""),
        (AssertionError("a"), [FAILED], False, ""),
        (ClaimFailed("a", FAILED), [FAILED], True, ""),
        (AttemptsFailed("a"), [], True, ""),
        (ConfigError("a"), [], True, "ConfigError: a"),
        (pytest.skip.Exception("inconclusive: a"), [OPEN], True, ""),
        (pytest.skip.Exception("inconclusive: a"), [PASSED, OPEN], True, ""),
        (pytest.skip.Exception("inconclusive: a"), [OPEN, PASSED], False, ""),
        (pytest.skip.Exception("inconclusive: a"), [MEASURED], False, ""),
        (pytest.skip.Exception("inconclusive: a"), [], False, ""),
        (pytest.skip.Exception("no GPU"), [OPEN], False, ""),
    ],
)
def test_a_report_says_if_a_claim_caused_its_ending(
    raised: BaseException | None, results: list[Result], claimed: bool, unmeasured: str
) -> None:
    report = attached("call", Context(results=results), raised)
    assert report.robustest_claimed is claimed
    assert getattr(report, "robustest_unmeasured", "") == unmeasured
    assert not hasattr(attached("setup", Context(), raised), "robustest_unmeasured")


def test_an_error_that_stopped_a_claim_keeps_it_from_being_measured() -> None:
    error = ZeroDivisionError("x")
    report = attached("call", Context(stumbled=[error]), error)
    assert report.robustest_claimed
    assert report.robustest_unmeasured == "ZeroDivisionError: x"
    other = attached("call", Context(stumbled=[ZeroDivisionError("x")]), error)
    assert not other.robustest_claimed


@pytest.mark.parametrize(
    ("error", "short", "cut"),
    [
        (ClaimFailed("a", FAILED), True, True),
        (ConfigError("a"), True, True),
        (AttemptsFailed("a"), True, True),
        (ClaimFailed("a", FAILED), False, False),
        (AssertionError("a"), True, False),
    ],
)
def test_the_traceback_of_a_claim_is_short_unless_another_is_asked_for(
    error: BaseException, short: bool, cut: bool
) -> None:
    own = SimpleNamespace(path=outcome.__file__)
    TRACEBACK.append(own)
    assert getattr(attached("call", Context(), error, short=short).longrepr, "style", None) == (
        "value" if cut else None
    )
    TRACEBACK[:0] = [SimpleNamespace(path="/user/test_it.py"), SimpleNamespace(path="/user/helper.py")]
    report = attached("call", Context(), error, short=short)
    if cut:
        assert (report.longrepr.style, report.longrepr.funcargs) == ("short", False)
        assert report.longrepr.tbfilter(SimpleNamespace(traceback=Frames(TRACEBACK))) == TRACEBACK[1:2]
        assert report.longrepr.tbfilter(SimpleNamespace(traceback=Frames([own]))) == [own]
    else:
        assert report.longrepr is None


@pytest.mark.parametrize(("forgiven", "outcomes"), [(False, ["failed", "passed"]), (True, ["rerun", "passed"])])
def test_every_report_has_all_attempts(forgiven: bool, outcomes: list[str]) -> None:
    earlier = [Attempt((FAILED,), "call", "failed", "why"), Attempt((), "setup", "passed", "")]
    context = Context(attempts=earlier, results=[PASSED], forgiven=forgiven)
    found = attached("setup", context).robustest_attempts
    assert [one.get("outcome") for one in found] == [*outcomes, None]
    assert [len(one["results"]) for one in found] == [1, 0, 1]
    assert [(one["phase"], one["reason"]) for one in found[:2]] == [("call", "why"), ("setup", "")]


@pytest.mark.parametrize(("columns", "taken"), [(200, 200), (40, 40), (39, 80), (0, 80)])
def test_a_terminal_that_is_too_narrow_to_be_one_is_none(
    columns: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size: Callable[..., Any] = lambda fallback: SimpleNamespace(columns=columns)  # noqa: ARG005, E731
    monkeypatch.setattr(outcome.shutil, "get_terminal_size", size)
    assert outcome.columns() == taken
