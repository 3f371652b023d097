"""Guards of the plugin that need no run: options, what a test claimed, and what is put on its report."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from accounts import RESULT

from robustest.context import Context
from robustest.errors import AttemptsFailed, ClaimFailed, ModelError, NoClaimError
from robustest.pytest_plugin import options
from robustest.pytest_plugin.options import SETTINGS
from robustest.pytest_plugin.outcome import FixtureScope, attach, columns, fixture_scopes, list_measured, require_claim
from robustest.results import Result, Verdict
from robustest.settings import Settings
from robustest.words import folded


def config(tmp_path: Path | None = None, settings: Settings | None = None, **given: Any) -> Any:
    """Stands in for pytest's: options by name, all others off."""
    folder = Path.cwd() if tmp_path is None else tmp_path
    return SimpleNamespace(
        getoption=lambda name, default=None: given.get(
            name.removeprefix("--").removeprefix("robust-").replace("-", "_"), default
        ),
        invocation_params=SimpleNamespace(dir=folder),
        rootpath=folder,
        inipath=given.get("inipath"),
        stash={SETTINGS: Settings() if settings is None else settings},
    )


@pytest.mark.parametrize("given", ["1/1", "1/4", "4/4", "12/20"])
def test_a_shard_is_one_of_so_many(given: str) -> None:
    index, count = map(int, given.split("/"))
    assert options.shard_of(config(shard=given)) == (index, count)


@pytest.mark.parametrize("given", ["0/4", "5/4", "1", "1/2/3", "a/b", "1/", "-1/4", "1/0", "", "1.0/2"])
def test_anything_else_is_no_shard(given: str) -> None:
    with pytest.raises(pytest.UsageError, match="K/N"):
        options.shard_of(config(shard=given))
    assert options.shard_of(config()) is None


@pytest.mark.parametrize(("value", "there"), [(None, False), ("", False), ("0", False), ("FALSE", False), ("1", True)])
def test_a_service_says_so_in_the_environment(value: str | None, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    if value is not None:
        monkeypatch.setenv("CI", value)
    assert options.in_ci() is there


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"robust": True}, []),
        ({}, []),
        ({"json": "x", "seed": 3}, ["no effect without --robust: --robust-json"]),
        ({"json": "x", "device": "cpu"}, ["no effect without --robust: --robust-device, --robust-json"]),
        ({"robust": True, "json": "x"}, []),
        ({"robust": True, "html_inline": True}, ["--robust-html-inline has no effect without --robust-html=DIR"]),
        ({"robust": True, "html_inline": True, "html": "x"}, []),
        (
            {"html_inline": True},
            ["--robust-html-inline has no effect without --robust-html=DIR"],
        ),
        ({"robust": True, "replay_only": True}, ["no corpus at known"]),
    ],
    ids=str,
)
def test_what_changes_nothing_is_said(given: dict[str, Any], said: list[str], tmp_path: Path) -> None:
    found = options.unused(config(tmp_path, Settings(corpus=str(tmp_path / "known")), **given))
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def test_a_corpus_that_is_there_is_replayed(tmp_path: Path) -> None:
    (tmp_path / "known").mkdir()
    given = {"robust": True, "replay_only": True}
    assert options.unused(config(tmp_path, Settings(corpus=str(tmp_path / "known")), **given)) == []
    (missing,) = options.unused(config(tmp_path, Settings(corpus=None), **given))
    assert missing.endswith("there is no corpus at -")


@pytest.mark.parametrize(("page", "there", "refused"), [(None, False, False), ("x", True, False), ("x", False, True)])
def test_a_page_needs_its_library(
    page: str | None, there: bool, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "find_spec", lambda _: object() if there else None)
    if refused:
        with pytest.raises(pytest.UsageError, match="Jinja2"):
            options.check_reports(config(html=page))
    else:
        options.check_reports(config(html=page))


# What a test claimed


def made(verdict: str = "passed", threshold: float | None = 0.5) -> Result:
    return RESULT.but(verdict=Verdict(verdict), threshold=threshold)


@pytest.mark.parametrize(
    ("context", "arguments", "shared", "claims"),
    [
        ({}, {}, False, False),
        ({}, {"x": 3, "y": [1, "a"], "z": {"k": 1}}, False, False),
        ({"measured": 1}, {}, False, True),
        ({"results": [made()]}, {}, False, True),
        ({}, {}, True, True),
        ({}, {"x": made()}, False, True),
        ({}, {"x": [1, made()]}, False, True),
        ({}, {"x": (made(),)}, False, True),
        ({}, {"x": {"k": made()}}, False, True),
        ({"ungated": [made("failed")]}, {}, False, True),
        ({"ungated": [made("passed")]}, {}, False, True),
    ],
    ids=str,
)
def test_a_test_that_neither_claims_nor_measures_does_not_pass(
    context: dict[str, Any], arguments: dict[str, Any], shared: bool, claims: bool
) -> None:
    one = Context(test="t.py::t", **{name: list(v) if isinstance(v, list) else v for name, v in context.items()})
    list_measured(one)
    if claims:
        require_claim(one, arguments, shared=shared)
    else:
        with pytest.raises(NoClaimError):
            require_claim(one, arguments, shared=shared)
    assert one.ungated == []


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("verdict", ["failed", "inconclusive", "passed"])
def test_what_was_measured_and_not_gated_is_said_unless_it_holds(verdict: str, recorded: bool) -> None:
    other, loose = made(threshold=0.4), made(verdict)
    one = Context(test="t.py::t", measured=1, ungated=[loose], results=[other, *([loose] if recorded else [])])
    list_measured(one)
    if verdict == "passed" and recorded:
        assert one.results == [other, loose]
        return
    assert len(one.results) == 2
    assert one.results[0] is other
    assert one.results[1].ruling.gated is False
    said = f"{verdict}, but the test does not assert it: write assert_"
    assert [one.startswith(said) for one in one.results[1].words.caveats] == [True] * (verdict != "passed")


def test_fixtures_are_told_by_scope_and_parameter() -> None:
    """By all that a test names, and what it asks for by name, with each scope that these may have had."""
    nodes = [SimpleNamespace(nodeid=nodeid) for nodeid in ("", "t.py", "t.py::t")]
    item: Any = SimpleNamespace(
        fixturenames=["a", "b"],
        funcargs={"request": SimpleNamespace(fixturenames=["c"])},
        callspec=SimpleNamespace(indices={"a": 2}),
        listchain=lambda: nodes,
    )
    found = fixture_scopes(item)
    assert found == {FixtureScope(n, s.nodeid, 2 if n == "a" else 0) for n in "abc" for s in nodes}
    bare: Any = SimpleNamespace(listchain=lambda: nodes)
    assert fixture_scopes(bare) == set()


# What is put on its report


def report_of(when: str, context: Context, error: BaseException | None = None, *, failed: bool = False) -> Any:
    report: Any = SimpleNamespace(when=when, failed=failed, longrepr=None)
    excinfo: Any = None if error is None else pytest.ExceptionInfo.from_exc_info((type(error), error, None))  # type: ignore[arg-type]
    attach(report, context, excinfo, properties=[], short_traceback=False)
    return report


def test_results_ride_on_the_report_of_their_phase_once() -> None:
    context = Context(test="t.py::t", results=[made()])
    setup = report_of("setup", context)
    assert not hasattr(setup, "robustest_results"), "setup's wait for the call"
    context.results.append(made("failed"))
    call = report_of("call", context)
    assert [row["verdict"] for row in call.robustest_results] == ["passed", "failed"]
    assert [name for name, _ in call.user_properties] == ["robustest.1", "robustest.2"]
    teardown = report_of("teardown", context)
    assert not hasattr(teardown, "robustest_results")
    assert teardown.robustest_recorded == 2
    assert not hasattr(call, "robustest_recorded")


def test_what_a_failed_setup_or_a_teardown_recorded_is_not_lost() -> None:
    context = Context(test="t.py::t", results=[made()])
    setup = report_of("setup", context, failed=True)
    assert len(setup.robustest_results) == 1
    context.results.append(made())
    teardown = report_of("teardown", context)
    assert len(teardown.robustest_results) == 1
    assert [name for name, _ in teardown.user_properties] == ["robustest.2"]
    assert context.sent == 2


@pytest.mark.parametrize(
    ("error", "claimed", "unmeasured"),
    [
        (None, False, None),
        (ModelError("NaN"), True, "ModelError: NaN"),
        (ClaimFailed("no", made("failed")), True, None),
        (AttemptsFailed("failed in 1 of 2 attempts"), True, None),
        (AssertionError("no"), False, None),
        (pytest.skip.Exception("inconclusive: it"), True, None),
        (pytest.skip.Exception("by hand"), False, None),
    ],
    ids=str,
)
def test_who_ended_a_test_is_on_its_report(error: BaseException | None, claimed: bool, unmeasured: str | None) -> None:
    context = Context(test="t.py::t", results=[made("inconclusive")], unwritten=["a picture"])
    report = report_of("call", context, error, failed=error is not None)
    assert report.robustest_claimed is claimed
    assert getattr(report, "robustest_unmeasured", None) == unmeasured
    assert report.robustest_unwritten == ["a picture"]
    assert context.unwritten == []


def test_an_error_that_came_out_of_a_claim_is_ours_to_tell_and_any_other_is_the_tests() -> None:
    inside, beside = ZeroDivisionError("inside"), ZeroDivisionError("inside")
    context = Context(test="t.py::t", results=[made()], stumbled=[inside])
    report = report_of("call", context, inside, failed=True)
    assert (report.robustest_claimed, report.robustest_unmeasured) == (True, "ZeroDivisionError: inside")
    report = report_of("call", context, beside, failed=True)
    assert (report.robustest_claimed, getattr(report, "robustest_unmeasured", None)) == (False, None)


@pytest.mark.parametrize("results", [[], [made()], [made("inconclusive", None)], [made("inconclusive"), made()]])
def test_a_skip_in_our_words_is_ours_only_after_an_inconclusive_claim(results: list[Result]) -> None:
    report = report_of("call", Context(test="t.py::t", results=results), pytest.skip.Exception("inconclusive: it"))
    assert report.robustest_claimed is False


@pytest.mark.parametrize(("given", "taken"), [("39", 80), ("40", 40), ("41", 41), ("120", 120)])
def test_a_terminal_is_at_least_forty_columns_wide(given: str, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", given)
    assert columns() == taken


@pytest.mark.parametrize(
    ("given", "setting"),
    [
        ({"exact": True}, {"exact": True}),
        ({"no_cache": True}, {"cache": False}),
        ({"replay_only": True}, {"replay_only": True}),
        ({"update_baseline": True}, {"update_baseline": True}),
        ({"seed": 0, "device": "cpu", "gpus_per_task": 0.5}, {"seed": 0, "device": "cpu", "gpus_per_task": 0.5}),
        ({}, {}),
    ],
    ids=str,
)
def test_a_flag_on_the_command_line_is_a_setting(given: dict[str, Any], setting: dict[str, Any]) -> None:
    assert options._command_line(config(**given)) == setting


def test_a_corpus_on_the_command_line_lies_where_the_run_was_started(tmp_path: Path) -> None:
    assert options._command_line(config(tmp_path, corpus="known")) == {"corpus": str(tmp_path / "known")}


def test_what_does_not_fit_a_line_goes_on_below_its_value() -> None:
    line = f"E     claim     {'robust accuracy under a long threat ' * 4}"
    first, *others = folded(line, 60, indent="E" + " " * 15)
    assert others
    assert all(len(part) <= 60 for part in (first, *others))
    place = line.index("robust")
    assert all(part[:place] == "E".ljust(place) and part[place] != " " for part in others)
