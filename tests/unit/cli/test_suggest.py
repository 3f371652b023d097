"""robustest suggest: the thresholds that a suite could hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from robustest import Settings
from robustest.cli import main
from robustest.cli.suggest import QUIET, fewest
from robustest.reports import json_file
from robustest.results import Fact

Make = Callable[..., Any]


class Call(list[str]):
    """Arguments of pytest, with the plan that they name."""

    def __init__(self, arguments: Sequence[str], plan: dict[str, Any]) -> None:
        super().__init__(arguments)
        self.plan = plan


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch, account: Make) -> Callable[..., list[Call]]:
    """Lets pytest be a stub that writes rows and ends so: `suite(rows, code=1)`; gives what it was called with."""

    def of(rows: Sequence[Any] | None, *, code: int = 0, **more: Any) -> list[Call]:
        calls: list[Call] = []

        def run(arguments: Sequence[str]) -> int:
            (plan,) = [part.partition("=")[2] for part in arguments if part.startswith("--robust-plan=")]
            calls.append(Call(arguments, json.loads(Path(plan).read_text(encoding="utf-8"))))
            (path,) = [part.partition("=")[2] for part in arguments if part.startswith("--robust-json=")]
            seconds = {"tests": {"t::a": 1.5}, "values": {"t::a": [1.0]}, "recalled": False, "spent": 1.5}
            Path(calls[-1].plan["timing"]).write_text(json.dumps(seconds), encoding="utf-8")
            if rows is not None:
                json_file.write(path, account(rows, lost=more.get("lost", [])), more.get("settings", Settings()))
            return code

        monkeypatch.setattr("robustest.cli.warm.WarmPytest.run", lambda _, arguments: run(arguments[1:]))
        return calls

    return of


def test_it_measures_all_samples_with_the_users_arguments(made: Make, row: Make, suite: Make, robustest: Make) -> None:
    calls = suite([row("t::a", made([True] * 50))])
    assert robustest("suggest", "-m", "robust", "tests").code == 0
    arguments, again = calls
    assert list(again[-len(QUIET) - 4 :]) == ["-m", "robust", "tests", *QUIET, "--robust-seed=1"], "one more seed"
    assert list(arguments[:2]) == ["--robust-exact", "--robust-audit-values"], "a value is audited as a pass of it is"
    assert list(arguments[-3:]) == ["-m", "robust", "tests"]
    assert not Path(arguments[2].partition("=")[2]).exists(), "nothing is left behind"


def test_each_run_knows_the_time_of_the_first(made: Make, row: Make, suite: Make, robustest: Make) -> None:
    calls = suite([row("t::a", made([True] * 50))])
    robustest("suggest")
    first, second = (call.plan for call in calls)
    assert (first["after"], second["after"]) == (1, 0)
    assert (first["further"], second["further"]) == (3, 3)
    between = second["before"].pop("between")
    assert second["before"] == {"tests": {"t::a": 1.5}, "values": {"t::a": [1.0]}, "recalled": False, "spent": 1.5}
    assert between == pytest.approx(-1.5, abs=1)  # the stub takes no time
    assert second["title"] == "seed 1"


def test_an_interruption_says_that_what_was_measured_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: Sequence[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("robustest.cli.warm.WarmPytest.run", lambda _, arguments: interrupted(arguments))
    assert main(["suggest"]) == 130
    assert "the same command goes on with it" in capsys.readouterr().err


def test_present_and_possible_thresholds_stand_together(made: Make, row: Make, suite: Make, robustest: Make) -> None:
    suite([row("t::a", made([True] * 180 + [False] * 20, 0.5)), row("t::b", made([True] * 180 + [False] * 20, 0.95))])
    done = robustest("suggest")
    k = fewest(180, 200, 0.01)
    place = done.lines.index("t::a  robust accuracy under Linf(eps=0.1), fast")
    assert done.lines[place + 1 : place + 4] == [
        f"    measured    accuracy 0.900 {done.lines[place + 1].partition('0.900 ')[2]}",
        "    now         >= 0.50  passed",
        f"    could hold  >= {k / 200:g}  margin {0.9 - k / 200:.3g}  tighter than now",
    ]
    assert done.lines[place + 6] == "    now         >= 0.95  failed"
    assert done.lines[place + 7].endswith("looser than now")
    assert done.code == 0, "a suite that fails now can be measured all the same"


def test_the_runs_own_alpha_counts(made: Make, row: Make, suite: Make, robustest: Make) -> None:
    suite([row("t::a", made([True] * 180 + [False] * 20, 0.5))], settings=Settings(alpha=0.2))
    done = robustest("suggest")
    assert f">= {fewest(180, 200, 0.2) / 200:g} " in done.out
    assert "with probability 0.8" in done.out


def test_the_same_threshold_is_as_it_is(made: Make, row: Make, suite: Make, robustest: Make) -> None:
    suite([row("t::a", made([True] * 180 + [False] * 20, fewest(180, 200, 0.01) / 200))])
    assert any(line.endswith("  as it is") for line in robustest("suggest").lines)


def test_a_bound_on_the_population_alone_says_so(made: Make, row: Make, suite: Make, robustest: Make) -> None:
    about = made([True] * 50).but(quantity="median perturbation", estimate=0.4, interval=(0.3, 0.6))
    suite([row("t::a", about.but(threshold=0.2, counts=None))])
    done = robustest("suggest")
    assert any(line.startswith("    could hold  >= 0.3*") for line in done.lines)
    assert any(line.startswith("* ") for line in done.lines)


def test_without_such_a_bound_there_is_no_footnote(made: Make, row: Make, suite: Make, robustest: Make) -> None:
    suite([row("t::a", made([True] * 50))])
    assert "*" not in robustest("suggest").out


def test_an_interval_that_is_too_wide_says_no_number_of_samples(
    made: Make, row: Make, suite: Make, robustest: Make
) -> None:
    """Where clusters are too few, as subclasses are, a number of samples would send a reader for the wrong thing."""
    fall = made([True] * 50).but(comparison="<=", trivial=1.0, estimate=0.1, interval=(0.0, 0.8), counts=None)
    start = Fact("source accuracy", 0.9)
    suite([row("t::a", fall.but(threshold=0.3, start=start, details={"without_looking": 0.5}))])
    why = "its interval is too wide: only 0.400 was right before beyond chance, so a drop of 0.8 could not fail"
    assert f"    could hold  none: {why}" in robustest("suggest").lines


def test_where_there_is_none_the_reason_is_told(early: Make, row: Make, suite: Make, robustest: Make) -> None:
    suite([row("t::a", early(64, 1000))])
    assert "    could hold  none: only 64 of 1000 samples were evaluated" in robustest("suggest").lines


def test_what_could_not_be_measured_is_told_and_not_well(made: Make, row: Make, suite: Make, robustest: Make) -> None:
    suite([row("t::a", made([True] * 50)), row("t::b")], code=1)
    done = robustest("suggest")
    assert done.code == 3
    assert any(line.startswith("t::b  could not measure: ModelError") for line in done.lines)


def test_claims_without_a_threshold_are_left_out(made: Make, row: Make, suite: Make, robustest: Make) -> None:
    suite([row("t::a", made([True] * 50)), row("t::b", made([True] * 50, None))])
    assert "t::b" not in robustest("suggest").out


def test_a_suite_without_a_threshold_says_so(made: Make, row: Make, suite: Make, robustest: Make) -> None:
    suite([row("t::b", made([True] * 50, None))])
    done = robustest("suggest")
    assert done.code == 3
    assert "threshold" in done.err


@pytest.mark.parametrize(("code", "ours"), [(2, 2), (3, 3), (4, 2), (5, 3)])
def test_where_pytest_did_not_run_the_tests_there_is_no_table(
    made: Make, row: Make, suite: Make, robustest: Make, *, code: int, ours: int
) -> None:
    suite([row("t::a", made([True] * 50))], code=code)
    done = robustest("suggest")
    assert done.code == ours
    assert "could hold" not in done.out


@pytest.mark.parametrize(("code", "ours"), [(0, 3), (1, 3), (4, 2), (-11, 2)])
def test_where_nothing_was_written_the_exit_code_is_told(suite: Make, robustest: Make, code: int, ours: int) -> None:
    suite(None, code=code)
    done = robustest("suggest")
    assert done.code == ours
    assert f"exit code {code} " in done.err


def test_a_rate_of_single_runs_is_counted_and_one_of_means_is_not(row: Make, suite: Make, robustest: Make) -> None:
    from robustest.data import Outcomes
    from robustest.measure import measure_rate

    once = Outcomes.of([{"item": i, "score": i % 10 != 0} for i in range(200)])
    twice = Outcomes.of([{"item": i, "score": (i + run) % 10 != 0, "run": run} for i in range(200) for run in (0, 1)])
    suite(
        [
            row("t::once", measure_rate(once, at_least=0.7, scope="set")),
            row("t::twice", measure_rate(twice, at_least=0.7)),
        ]
    )
    lines = [line for line in robustest("suggest").out.splitlines() if "could hold" in line]
    assert ">= 0.815 " in lines[0]
    assert "*" not in lines[0]
    assert "*" in lines[1]
