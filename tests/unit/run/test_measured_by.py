"""A baseline that was measured in another way hides a loss: it is an error, not a comparison."""

from __future__ import annotations

import linecache
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import Linf, MultiLabel, Regression, Result, StoreError, Verdict, context
from robustest.account import Row
from robustest.attacks import PGD
from robustest.measure import measure_robust_accuracy as accuracy
from robustest.measure import measure_robust_score as score
from robustest.measure import measure_shift_accuracy
from robustest.pytest_plugin.reports import update_baselines
from robustest.run.comparison import measured_by
from robustest.settings import Settings

X = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))
Y = (X > 0.5).long()
EPS = Linf(0.02)


def model(x: Tensor) -> Tensor:
    return 4 * (x - 0.5)


def made(file: Path, measure: Callable[[], Result]) -> None:
    """The baseline of a claim, as a run of its test writes it."""
    with context.running(context.Context(settings=Settings(update_baseline=True))):
        result = measure()
    assert update_baselines([Row(test="", result=result, problem="", replay="")]) == []


def by_attack(file: Path, steps: int) -> Result:
    return accuracy(model, (X, Y[:, 0]), EPS, attack=PGD(steps=steps), no_worse_than=file)


def by_cut(file: Path, threshold: float) -> Result:
    return accuracy(model, (X, Y), EPS, attack="pgd", task=MultiLabel(threshold), no_worse_than=file)


def by_scale(file: Path, scale: float) -> Result:
    task = Regression(1.0, scale=scale)
    return score(model, (X, Y.float()), EPS, attack="pgd", task=task, no_worse_than=file)


@pytest.mark.parametrize(
    ("measure", "was", "now"),
    [(by_attack, 20, 1), (by_cut, 0.5, 0.4), (by_scale, 4.0, 40.0)],
    ids=["attack", "cut", "scale"],
)
def test_another_measure_is_an_error(measure: Callable[..., Result], was: float, now: float, tmp_path: Path) -> None:
    file = tmp_path / "was.json"
    made(file, lambda: measure(file, was))
    assert measure(file, was).verdict is Verdict.PASSED
    with pytest.raises(StoreError, match="measured as those of the baseline"):
        measure(file, now)


def test_what_has_no_words_is_not_compared() -> None:
    assert measured_by(None, None) == measured_by((torch.sin,), None) == ""
    assert measured_by((eval("lambda x: x"),), None) == ""  # noqa: S307 - without a source
    assert measured_by(("a", PGD(steps=3), Linf(0.1)), MultiLabel()) == measured_by(
        ("a", PGD(steps=3), Linf(0.1)), MultiLabel()
    )


SOURCE = """
import functools
import torch

LEVEL, MASK = 0.5, torch.ones(2)
TABLE, LIST = {"level": 0.5}, [0.5]

def scaled(x, level):
    return x * level

def darker(x, severity=1):
    "Darker images."
    return scaled(x, LEVEL) * MASK

def inner(by):
    def closed(x, severity=1):
        return x * by
    return closed

def by_table(x, severity=1):
    return x * TABLE["level"]

def by_list(x, severity=1):
    return EVERY[0] is by_list and x * LIST[-1]

EVERY = (by_list, by_table)
closed = inner(0.5)
short = lambda x, severity=1: x * 0.5
given = functools.partial(scaled, level=0.5)
"""


def function_of(folder: Path, name: str, old: str = "", new: str = "") -> Any:
    """A function of a file of the user's, in which a text was replaced."""
    linecache.clearcache()
    file = folder / "own_shifts.py"
    text = SOURCE.replace(old, new) if old else SOURCE
    file.write_text(text, encoding="utf-8")
    module = types.ModuleType("own_shifts")
    exec(compile(text, str(file), "exec"), module.__dict__)  # noqa: S102
    return getattr(module, name)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("darker", "LEVEL) * MASK", "LEVEL * 0.9)"),
        ("darker", "LEVEL, MASK = 0.5", "LEVEL, MASK = 1.0"),
        ("darker", "return x * level", "return x * level + 0.1"),
        ("darker", "torch.ones(2)", "torch.zeros(2)"),
        ("by_table", '"level": 0.5', '"level": 1.0'),
        ("by_list", 'LIST = {"level": 0.5}, [0.5]', 'LIST = {"level": 0.5}, [1.0]'),
        ("by_list", 'TABLE["level"]', 'TABLE["level"] * 2'),
        ("darker", 'severity=1):\n    "Darker', 'severity=2):\n    "Darker'),
        ("closed", "x * by", "x + by"),
        ("closed", "inner(0.5)", "inner(1.0)"),
        ("short", "x * 0.5", "x * 1.0"),
        ("given", "level=0.5", "level=1.0"),
        ("given", "return x * level", "return x"),
    ],
)
def test_an_edited_function_is_another_measure(tmp_path: Path, name: str, old: str, new: str) -> None:
    before = measured_by(("shift", function_of(tmp_path, name)), None)
    assert before == measured_by(("shift", function_of(tmp_path, name)), None) != ""
    assert measured_by(("shift", function_of(tmp_path, name, old, new)), None) != before


@pytest.mark.parametrize("new", ["\n\nLEVEL", "OTHER = 3\nLEVEL", "# Half of the light.\nLEVEL"])
@pytest.mark.parametrize("name", ["darker", "by_table", "by_list", "closed", "short", "given"])
def test_a_function_that_was_moved_is_the_same_measure(tmp_path: Path, name: str, new: str) -> None:
    before = measured_by(("shift", function_of(tmp_path, name)), None)
    assert measured_by(("shift", function_of(tmp_path, name, "\nLEVEL", f"\n{new}")), None) == before


def test_a_constant_in_another_module_of_the_users_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    monkeypatch.syspath_prepend(tmp_path)
    for level in ("0.5", "1.0"):
        (tmp_path / "own_levels.py").write_text(f"LEVEL = {level}  # of the light\n", encoding="utf-8")
        linecache.clearcache()
        own = types.ModuleType("own_levels")
        own.__file__ = str(tmp_path / "own_levels.py")
        darker = function_of(tmp_path, "darker", "LEVEL) * MASK", "own.LEVEL)")
        darker.__globals__["own"] = own
        texts.append(measured_by((darker,), None))
    assert "" not in texts
    assert texts[0] != texts[1]


def test_a_weaker_shift_of_the_users_hides_no_loss(tmp_path: Path) -> None:
    def measure(shift: Any) -> Result:
        return measure_shift_accuracy(model, (X, Y[:, 0]), shift, no_worse_than=tmp_path / "was.json", tolerance=0.01)

    strong = function_of(tmp_path, "short")
    made(tmp_path / "was.json", lambda: measure(strong))
    assert measure(strong).verdict is Verdict.PASSED
    weak = function_of(tmp_path, "short", "x * 0.5", "x * 1.0")
    with pytest.raises(StoreError, match="measured as those of the baseline"):
        measure(weak)
