"""The terminal as people see it: every ending at 80 and 120 columns, with and without colour, and under xdist."""

from __future__ import annotations

import re

import pytest

SIX = """
    def test_pass(robust_model, robust_data):
        claim(robust_model, robust_data, 0.01, at_least=0.5)

    def test_fail(robust_model, robust_data):
        claim(robust_model, robust_data, 51 / 255 + 0.2, at_least=0.4)

    def test_open(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, at_least=0.5, scope="population")

    def test_error(robust_model, robust_data):
        claim(lambda x: robust_model(x) * float("nan"), robust_data, 0.1, at_least=0.5)

    @pytest.mark.skip(reason="no data yet")
    def test_skip(robust_model, robust_data): ...

    @pytest.mark.xfail(reason="known")
    def test_xfail(robust_model, robust_data):
        claim(robust_model, robust_data, 0.4, at_least=0.4)
"""

ALL = "robust accuracy 1.000 [0.865, 1.000] after attack (true value at most 1.000)"
NONE = "robust accuracy 0.000 after attack (true value at most 0.135)"
HALF = "robust accuracy 0.500 [0.290, 0.710] after attack (true value at most 0.710)"
WIDE = [
    f"test_a.py::test_pass   {ALL}, required >= 0.50; n=32  passed",
    f"test_a.py::test_fail   {NONE}, required >= 0.40; n=32  FAILED",
    f"test_a.py::test_open   {HALF}, required >= 0.50; n=32  INCONCLUSIVE",
    "test_a.py::test_error  could not measure: ModelError: nan_values: *  ERROR",
    "test_a.py::test_skip   skipped: no data yet  skipped",
    f"test_a.py::test_xfail  {NONE}, required >= 0.40; n=32  *known  xfailed",
]
NARROW = [
    "passed  test_a.py::test_pass",
    f"  {ALL},*",
    "FAILED  test_a.py::test_fail",
    f"  {NONE}, required >=*",
    "INCONCLUSIVE  test_a.py::test_open",
    f"  {HALF},*",
    "ERROR  test_a.py::test_error",
    "  could not measure: ModelError: nan_values: expected finite logits and*",
    "skipped  test_a.py::test_skip",
    "  skipped: no data yet",
    "xfailed  test_a.py::test_xfail",
    f"  {NONE}, required >=*",
]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


_WIDTHS = ((300, WIDE), (80, NARROW), (120, NARROW))
SCREENS = [(columns, rows, colour) for columns, rows in _WIDTHS for colour in ("yes", "no")]


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: f"{screen[0]}-{screen[2]}")
def test_every_ending(write, run, monkeypatch, screen):
    columns, rows, colour = screen
    monkeypatch.setenv("COLUMNS", str(columns))
    write(test_a=SIX)
    result = run("--robust", f"--color={colour}")
    coloured = [line for line in result.outlines if COLOUR.search(line)]
    assert bool(coloured) == (colour == "yes")
    plain = [COLOUR.sub("", line) for line in result.outlines]
    start = next(place for place, line in enumerate(plain) if re.fullmatch(r"=+ robustness =+", line))
    inside = plain[start + 1 :]
    inside = inside[: next(place for place, line in enumerate(inside) if line.startswith("==="))]
    pytest.LineMatcher(inside).fnmatch_lines([row.replace("[0", "[[]0") for row in rows], consecutive=False)
    assert [line for line in inside if len(line) > columns] == []
    if colour == "yes":
        assert any("\x1b[31mFAILED" in line for line in result.outlines), "what failed is red"


@pytest.mark.slow
def test_under_xdist_the_section_is_the_same(write, run_apart, section, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    write(test_a=SIX)
    pytest.LineMatcher(section(run_apart("--robust", "-n", "1"))).fnmatch_lines(
        [row.replace("[0", "[[]0") for row in NARROW]
    )
