"""Runs of many claims in the terminal: one line for a family, and the worst of its failures in full."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from accounts import account_of

from robustest.account import Row
from robustest.cli.screen import Screen
from robustest.reports.families import families_of, worst_first
from robustest.reports.terminal import summary

Rows = Callable[..., list[Row]]


@pytest.fixture
def many(made: Any) -> Rows:
    """Builds claims of four parametrised tests; every `failing`-th failed, by more the later it comes."""

    def build(count: int, failing: int = 4, **changes: Any) -> list[Row]:
        rows = []
        for k in range(count):
            value = 0.9 if k % failing else 0.89 - k / 1000
            verdict = "passed" if k % failing else "failed"
            interval = (value - 0.02, value + 0.02)
            result = made(verdict, estimate=value, interval=interval, outcomes=(), **changes)
            test = f"tests/test_a.py::test_{k // failing % 4}[{k}]"
            rows.append(Row(test, result, replay=f"pytest --robust '{test}'"))
        return rows

    return build


def lines_of(rows: list[Row], **options: Any) -> list[str]:
    written = io.StringIO()
    screen = Screen(written)
    screen.folding = 80
    summary(screen, account_of(rows), details=False, **options)
    return written.getvalue().splitlines()


def test_a_large_run_fits_on_the_screen_and_hides_no_failure(many: Rows) -> None:
    lines = lines_of(many(301))
    assert len(lines) <= 150
    families = [line for line in lines if " claims: " in line]
    assert len(families) == 4
    failed = sum(int(line.partition(" claims: ")[2].split()[0]) for line in families)
    assert failed == 76  # every fourth of 301
    shown = [line for line in lines if line.startswith("FAILED  ")]
    hidden = sum(int(line.split()[0]) for line in lines if line.endswith("more did not pass"))
    assert len(shown) + hidden == 76
    assert len([line for line in lines if line.startswith("replay: ")]) == len(shown)


def test_each_claim_of_a_large_run_is_printed_on_request(many: Rows) -> None:
    lines = lines_of(many(301), verbose=True)
    assert sum(line.startswith(("FAILED  ", "passed  ")) for line in lines) == 301


def test_a_small_run_has_a_line_for_each_claim(many: Rows) -> None:
    assert sum(line.startswith(("FAILED  ", "passed  ")) for line in lines_of(many(40))) == 40


def test_a_run_of_tests_without_parameters_is_grouped_by_file(made: Any) -> None:
    rows = [Row(f"tests/test_{k % 3}.py::test_{k}", made("passed", estimate=0.95)) for k in range(300)]
    assert [family.name for family in families_of(rows)] == [f"tests/test_{k}.py" for k in range(3)]


def test_the_worst_is_the_farthest_on_the_wrong_side(many: Rows, made: Any) -> None:
    rows = many(41)
    order = worst_first(rows)
    assert [row.test.partition("[")[2] for row in order[:3]] == ["40]", "36]", "32]"]
    # A drop fails upwards, and a size of 300 of 301 steps is nearer than 0.2 of an accuracy.
    fall = {"quantity": "accuracy drop", "comparison": "<=", "threshold": 0.1}
    drop = Row("drop", made(estimate=0.5, interval=(0.4, 0.6), **fall))
    size = Row("size", made(quantity="steps", estimate=300.0, interval=(299.0, 301.0), threshold=301.0))
    share = Row("share", made(estimate=0.6, interval=(0.5, 0.7), threshold=0.8))
    assert [row.test for row in worst_first([size, share, drop])] == ["drop", "share", "size"]


def test_columns_that_no_change_touched_are_left_out(made: Any, worst: Any) -> None:
    table = [[f"column {k}", "1.0", "1.0"] for k in range(30)]
    plain = Row("t", made(counterexamples=(worst(changes={"table": table}),)))
    assert not any("column" in line for line in lines_of([plain]))
    changed = Row("t", made(counterexamples=(worst(changes={"table": [*table, ["age", "41", "42"]]}),)))
    assert [line.strip() for line in lines_of([changed]) if " -> 42" in line] == ["age: 41 -> 42"]
