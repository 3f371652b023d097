"""The overview of a page of many claims: the worst one by one, and families as maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustest.account import Row
from robustest.reports.families import FEW, families_of, worst_first
from robustest.reports.html.overview import heat_of, overview_of

Build = Callable[..., Row]

HOSTILE = "<script>alert(1)</script></noscript></td>\"'&"


@pytest.fixture
def claim(made: Any) -> Build:
    """Builds a claim of a test: its value is required to be at least 0.9."""

    def build(test: str, value: float = 0.95, verdict: str | None = None, **changes: Any) -> Row:
        verdict = verdict or ("passed" if value >= 0.9 else "failed")
        interval = (value - 0.01, value + 0.01)
        return Row(test, made(verdict, estimate=value, interval=interval, outcomes=(), **changes))

    return build


def crossed(claim: Build, models: int, radii: int, *, bad: Callable[[int, int], bool]) -> list[Row]:
    return [
        claim(f"test_a.py::test_it[net-{model}-{0.1 * radius:g}]", 0.5 if bad(model, radius) else 0.95)
        for model in range(models)
        for radius in range(radii)
    ]


def test_a_small_run_is_one_list(claim: Build) -> None:
    rows = [claim(f"t.py::t[{k}]", 0.9 + k / 1000) for k in range(FEW)]
    found = overview_of(rows[::-1])
    assert found.listed == tuple(range(FEW, 0, -1)), "the narrowest pass comes first"
    assert (found.families, found.alone, found.hidden) == ((), (), 0)


@pytest.mark.parametrize("failing", [0, 5, 24, 25, 200])
def test_each_claim_is_listed_once_and_all_or_the_terminals_worst_come_first(claim: Build, failing: int) -> None:
    rows = [claim(f"t.py::test_{k % 4}[{k}]", 0.5 + k / 1000 if k < failing else 0.95) for k in range(300)]
    rows.append(claim("t.py::test_alone"))
    found = overview_of(rows)
    inside = [number for family in found.families for number in family.numbers]
    assert sorted([*found.listed, *found.alone, *inside]) == list(range(1, 302))
    assert found.alone == (301,)
    assert len(found.listed) + found.hidden == failing
    printed = {row.test for family in families_of(rows) for row in family.printed if row.red}
    listed = [rows[number - 1] for number in found.listed]
    assert {row.test for row in listed} >= printed
    assert listed == worst_first(listed)
    assert (found.hidden > 0) == (failing > 24)
    cells = [cell for family in found.families for line in family.rows for cell in line.cells if cell]
    assert sorted(cell.number for cell in cells) == list(range(1, 301)), "what is listed has a cell as well"
    assert [family.size for family in found.families] == [75] * 4
    worst = [rows[family.worst - 1] for family in found.families]
    assert worst == worst_first(worst)


def test_two_parameters_that_cross_are_the_axes_of_a_map(claim: Build) -> None:
    rows = crossed(claim, 5, 11, bad=lambda model, radius: model == 2 and radius > 6)
    (family,) = overview_of(rows).families
    assert [line.label for line in family.rows] == [f"net {k}" for k in range(5)]
    assert {len(line.cells) for line in family.rows} == {11}
    assert family.columns == ("0", "1")
    states = [[cell.state if cell else None for cell in line.cells] for line in family.rows]
    assert states[2] == ["passed"] * 7 + ["failed"] * 4
    assert family.counts == (("failed", 4), ("passed", 51))
    holed = overview_of(rows[:20] + rows[21:]).families[0]
    assert [cell is None for cell in holed.rows[1].cells].count(True) == 1


@pytest.mark.parametrize(
    "names",
    [
        [f"{k}" for k in range(60)],  # one parameter
        [f"a{k}-b{k}" for k in range(60)],  # two that do not cross
        [f"a{k % 2}-b{k // 2 % 15}" for k in range(60)],  # two claims in one place
        [f"a{k % 2}-b{k // 2}" if k else "a" for k in range(60)],  # not always two
        [f"a{k % 15}-b{k // 15 % 30}-{k // 30}" for k in range(450)],  # too high
        [HOSTILE] * 60,
    ],
)
def test_what_does_not_cross_is_a_sequence_in_the_order_of_the_run(claim: Build, names: list[str]) -> None:
    (family,) = overview_of([claim(f"t.py::t[{name}]") for name in names]).families
    (line,) = family.rows
    assert line.label == ""
    assert [cell.number for cell in line.cells if cell] == list(range(1, len(names) + 1))


def test_signs_and_exponents_of_numbers_join_no_parameters(claim: Build) -> None:
    rows = [claim(f"t.py::t[1e-{k}--{m}.5]") for k in range(11) for m in range(5)]
    (family,) = overview_of(rows).families
    assert [line.label for line in family.rows] == [f"-{m}.5" for m in range(5)]
    assert family.columns == ("1e-0", "1e-10")


def test_the_heat_is_the_distance_to_the_threshold(claim: Build, made: Any) -> None:
    values = {0.4: 2, 0.86: 1, 0.89: 0, 0.91: 2, 0.94: 1, 1.0: 0}
    assert {value: heat_of(claim("t", value)) for value in values} == values
    size = made(quantity="steps", estimate=300.0, interval=(299.0, 301.0), threshold=301.0)
    assert heat_of(Row("t", size)) == 0, "3 of 1,000 are little"
    fall = made(quantity="drop", estimate=0.5, interval=(0.4, 0.6), comparison="<=", threshold=0.1)
    assert heat_of(Row("t", fall)) == 2
    assert heat_of(Row("t", None, "broken")) == heat_of(claim("t", threshold=None)) == 0
    assert heat_of(claim("t", float("inf"))) == 0


def test_a_page_of_many_claims_escapes_names_in_maps_and_cards(page_of: Any, claim: Build) -> None:
    rows = [claim(f"t.py::{HOSTILE}[{HOSTILE}{k}]", 0.5 if k % 9 else 0.95, statement=HOSTILE) for k in range(60)]
    rows.append(Row(f"t.py::{HOSTILE}[none]", None, problem=HOSTILE * 9))
    page = page_of(*rows)
    cells = [a for a in page.all("a") if str(a.get("class", "")).startswith("cell ")]
    assert len(cells) == 61
    assert all(HOSTILE in str(cell["title"]) or "…" in str(cell["title"]) for cell in cells)
    assert len(page.all("script")) == 1
    assert len(page.all("noscript")) == 61
    assert len(page.all("article")) == 61, "without scripts all evidence can be read"
    assert page.text.count(HOSTILE) > 3 * 61
    assert not page.missing("and 42 more that did not pass, in the families below", "Evidence")


def test_a_check_names_three_of_its_claims(page_of: Any, claim: Build) -> None:
    finding = {"name": "zero_gradient", "message": "zero", "suppressed": False}
    rows = [claim(f"t.py::t[{k}]", details={"health": [finding]}, statement=f"claim {k}") for k in range(50)]
    page = page_of(*rows)
    assert not page.missing("claim 0 ; claim 1 ; claim 2 ; and 47 more, found by a search for the check's name")
