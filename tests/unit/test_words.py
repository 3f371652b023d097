"""Numbers as they were written, first lines that say what failed, lines folded to a width."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import robustest
from robustest import Cost, Result, Verdict
from robustest.words import as_written, folded, interval_in_words, number


def result(verdict: Verdict = Verdict.FAILED, **changes: Any) -> Result:
    values: dict[str, Any] = {
        "kind": "robust_accuracy",
        "statement": "robust accuracy under Linf(eps=8/255), fast",
        "verdict": verdict,
        "rule": "certain: exact on this set",
        "quantity": "robust accuracy",
        "estimate": 0.0,
        "interval": (0.0, 0.01),
        "threshold": 0.4,
        "comparison": ">=",
        "n": 512,
        "n_total": 512,
        "outcomes": (False,) * 512,
        "cost": Cost(),
        "seed": 7,
        "setting": "Linf(eps=8/255)",
        "method": "fast",
        "bounds": "above",
    }
    return Result.of(**{**values, **changes})


@given(st.integers(1, 255))
def test_grey_levels_are_written_as_grey_levels(level: int) -> None:
    written = as_written(level / 255)
    over, _, under = written.partition("/")
    assert (int(over) / int(under) if under else float(written)) == level / 255
    assert under == "255" or len(written) <= 4


@pytest.mark.parametrize(
    ("value", "written"), [(0.3, "0.3"), (1.0, "1"), (8.0, "8"), (1 / 3, "1/3"), (0.0, "0"), (0.123456789, "0.1235")]
)
def test_other_numbers_are_as_short_as_they_were(value: float, written: str) -> None:
    assert as_written(value) == written


def test_the_first_line_of_a_failure_says_it() -> None:
    assert result().headline == "robust accuracy 0.000 < 0.40 under Linf(eps=8/255), fast"
    early = result(estimate=None, interval=(0.0, 0.3149), n=64)
    assert early.headline == "robust accuracy at most 0.315 < 0.40 under Linf(eps=8/255), fast"
    assert early.but(bounds="").headline == "robust accuracy in [0.000, 0.315] < 0.40 under Linf(eps=8/255), fast"
    assert result(statement="other words").headline == "robust accuracy 0.000 < 0.40: other words"


def test_a_value_is_never_said_to_be_on_the_other_side_of_its_threshold() -> None:
    near = result(estimate=0.39999, interval=(0.0, 0.45))
    about = "required >= 0.40 under Linf(eps=8/255), fast"
    assert near.headline == "robust accuracy 0.39999 < 0.40 under Linf(eps=8/255), fast"
    worse = result(estimate=0.5, interval=(0.0, 0.55), rule="worse than the baseline")
    assert worse.headline == (
        f"failed: robust accuracy 0.500 found (true value at most 0.550), {about} (worse than the baseline)"
    )
    open_ = result(estimate=None, interval=(0.0, 0.45), rule="certain after 300 of 512")
    assert open_.headline.startswith("failed: ")


def test_what_was_not_settled_says_so_first() -> None:
    open_ = result(Verdict.INCONCLUSIVE, estimate=None, interval=(0.0, 0.45))
    assert open_.headline == (
        "inconclusive: robust accuracy in [0.000, 0.450] found (true value at most 0.450), required >= 0.40 under "
        "Linf(eps=8/255), fast"
    )
    sick = result(
        Verdict.INCONCLUSIVE,
        estimate=0.9,
        interval=(0.0, 0.95),
        rule="health check: zero_gradient",
        reasons=("health:zero_gradient",),
    )
    assert sick.headline.startswith("inconclusive (health check: zero_gradient): robust accuracy 0.900 found")
    reworded = result(Verdict.INCONCLUSIVE, rule="health check: zero_gradient")
    assert reworded.headline.startswith("inconclusive: "), "the reasons count, and not the words of the rule"


@pytest.mark.parametrize(("wrong", "first"), [(33, True), (32, False), (0, False)])
def test_failures_that_no_attack_brought_about_are_said_first(wrong: int, first: bool) -> None:
    seen = {"right": 64 - wrong, "of": 64, "failures": 64, "wrong": wrong}
    line = result(details={"clean_seen": seen}).headline
    assert line.startswith("clean accuracy 0.484: 33 of 64 failures were wrong before any change; ") == first
    assert line.endswith("robust accuracy 0.000 < 0.40 under Linf(eps=8/255), fast")


@given(st.lists(st.text("ab/-.", min_size=1, max_size=12), min_size=1, max_size=30), st.integers(40, 120))
def test_folding_breaks_no_word_and_leaves_no_line_too_long(words: list[str], width: int) -> None:
    line = "  note      " + " ".join(words)
    parts = folded(line, width, " " * 12)
    assert all(len(part) <= width for part in parts)
    assert " ".join(" ".join(parts).split()) == " ".join(line.split())


def test_a_command_that_is_folded_is_still_one_command() -> None:
    line = f"replay: pytest --robust --robust-profile=dev --robust-seed=0 tests/{'a' * 30}.py::test"
    parts = folded(line, 60, "    ")
    assert len(parts) > 1
    assert "\n".join(parts).replace(" \\\n   ", "") == line
    assert all(len(part) <= 60 for part in parts)


def test_a_result_is_short_where_it_is_printed() -> None:
    assert repr(result()) == (
        "<Result failed: robust accuracy under Linf(eps=8/255), fast; "
        "robust accuracy 0.000 found (true value at most 0.010), required >= 0.40; n=512>"
    )


# Numbers of a report with an end rounded by hand show two intervals for one value. Settings that an error names as the
# user gave them (`:g`) are no measured ends.
parsed = lru_cache(maxsize=1)(ast.parse)
ENDS = {"low", "high", "lower", "upper", "interval", "left_interval", "drop_interval", "ends", "estimate"}


def rounded_by_hand(source: str) -> list[int]:
    """Return the lines of a source that round an end of an interval, or an estimate, to fixed decimals."""

    def names(value: ast.expr) -> Iterator[str]:
        match value:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                yield name
            case ast.Subscript(value=inner, slice=key):
                yield from (*names(inner), *names(key))
            case ast.BinOp(left=left, right=right):
                yield from (*names(left), *names(right))

    found = []
    for one in ast.walk(parsed(source)):
        if isinstance(one, ast.FormattedValue) and one.format_spec is not None:
            value, spec = one.value, ast.unparse(one.format_spec).strip("\"'")
        elif isinstance(one, ast.Call) and getattr(one.func, "id", "") in ("format", "round") and len(one.args) == 2:
            value, spec = one.args[0], ".f"
        else:
            continue
        if re.search(r"\.\w*[f%e]", spec) and ENDS & set(names(value)):
            found.append(one.lineno)
    return found


def rates_by_hand(source: str) -> list[int]:
    """Return the lines of a source that write a value with three or four decimals, unless it is a loss or megabytes."""
    found: list[int] = []
    if not re.search(r":\.[34]f\}", source):  # most have none
        return found
    for text in (one for one in ast.walk(parsed(source)) if isinstance(one, ast.JoinedStr)):
        for one, after in zip(text.values, [*text.values[1:], None], strict=True):
            if not isinstance(one, ast.FormattedValue) or one.format_spec is None:
                continue
            megabytes = isinstance(after, ast.Constant) and str(after.value).startswith(" MB")
            spec = one.format_spec.values[0] if isinstance(one.format_spec, ast.JoinedStr) else None
            rate = isinstance(spec, ast.Constant) and re.fullmatch(r"\.[34]f", str(spec.value))
            if rate and not megabytes and ast.unparse(one.value) != "loss":
                found.append(one.lineno)
    return found


def test_an_end_may_be_a_number_of_numpy() -> None:
    assert interval_in_words(np.float64(0.8499), np.float64(np.inf), digits=2) == "[0.84, inf]"


def test_ends_that_are_rounded_by_hand_are_seen() -> None:
    for line in ("f'{low:.3f}'", "f'{100 * row.interval[1]:.2%}'", "f'{one[\"high\"]:+.2f}'", "f'{x.estimate:.4f}'"):
        assert rounded_by_hand(line) == [1], line
    for line in ("f'{low:g}'", "f'{share:.3f}'", "f'{interval_in_words(low, high)}'", "round(low)", "f'{low}'"):
        assert rounded_by_hand(line) == [], line


def test_rates_that_are_rounded_by_hand_are_seen() -> None:
    for line in ("f'{share:.3f}'", "f'{len(a) / n:.4f} of {n}'", "f'{a}{row.rate:.3f}'"):
        assert rates_by_hand(line) == [1], line
    for line in ("f'{number(share)}'", "f'{size:.3f} MB'", "f'{loss:.3f}'", "f'{seconds:.1f} s'", "f'{gap:+.3f}'"):
        assert rates_by_hand(line) == [], line


@pytest.mark.parametrize("threshold", [0.95, 0.9496, 0.94955])
@pytest.mark.parametrize("value", [0.94949, 0.94951, 0.9496, 0.94996, 0.95, 0.95004])
def test_a_rate_is_written_on_its_side_of_the_threshold(value: float, threshold: float) -> None:
    text = number(value, threshold)
    assert (float(text) < threshold, float(text) > threshold) == (value < threshold, value > threshold)
    assert len(text) <= 7


def test_one_module_rounds_intervals_and_rates() -> None:
    root = Path(robustest.__file__).parents[1]
    if not (root / "plugins").is_dir():
        pytest.skip("packs lie beside a checkout alone")
    files = [*root.glob("robustest/**/*.py"), *root.glob("plugins/*/robustest_*/**/*.py")]
    apart = {root / "robustest" / "words.py", root / "robustest" / "reports" / "junit.py"}  # the latter writes seconds
    by_hand = [
        f"{path.relative_to(root)}:{line}"
        for path in files
        if path not in apart
        for text in [path.read_text(encoding="utf-8")]
        for line in (*rounded_by_hand(text), *rates_by_hand(text))
    ]
    assert not by_hand, "write it by robustest.words.interval_in_words, end_of or number"
