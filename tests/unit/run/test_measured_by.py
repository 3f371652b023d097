"""A baseline that was measured in another way hides a loss: it is an error, not a comparison."""

from __future__ import annotations

import linecache
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import Linf, MultiLabel, Regression, Result, Shift, StoreError, Verdict, adapting, context
from robustest.account import Row
from robustest.attacks import PGD
from robustest.data import CorruptedBenchmark, SequenceBenchmark, as_samples
from robustest.identity.plain import Unhashable
from robustest.measure import (
    measure_calibrated,
    measure_corruption_robustness,
    measure_shift_accuracy,
    measure_stable_under_perturbations,
)
from robustest.measure import measure_robust_accuracy as accuracy
from robustest.measure import measure_robust_score as score
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


def test_what_cannot_be_read_is_no_measure_to_compare_with() -> None:
    assert measured_by(None, None) == ""
    assert measured_by((torch.sin,), None) != measured_by((torch.cos,), None)
    for value in (eval("lambda x: x"), (one for one in "")):  # noqa: S307 - without a source
        with pytest.raises(Unhashable):
            measured_by((value,), None)
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(Unhashable, match="nested"):
        measured_by(deep, None)


def test_the_words_of_a_measure_are_the_same() -> None:
    assert measured_by(("a", PGD(steps=3), Linf(0.1)), MultiLabel()) == measured_by(
        ("a", PGD(steps=3), Linf(0.1)), MultiLabel()
    )


SOURCE = """
import dataclasses
import enum
import functools
import random
import threading
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
class Gain:
    factor = 0.5

    def __init__(self, by):
        self.by, self.lock, self.random = by, threading.Lock(), random.Random()

    @functools.cached_property
    def whole(self):
        return self.by + 0.25

    @property
    def part(self):
        return self.by - 0.25

    @staticmethod
    def least():
        return 0.125

    def __call__(self, x, severity=1):
        return x * self.factor * self.by + self.whole - self.part

class Steeper(Gain):
    pass

class Net(torch.nn.Module):
    def __init__(self, by):
        super().__init__()
        self.weight, self.mode = torch.nn.Parameter(torch.tensor(by)), "plain"
        self.register_buffer("bias", torch.tensor(0.0625))

    def forward(self, x, severity=1):
        return x * self.weight

class Slotted:
    __slots__ = ("by",)

    def __init__(self, by):
        self.by = by

    def __call__(self, x, severity=1):
        return x * self.by

@dataclasses.dataclass(frozen=True)
class Frozen:
    by: float = 0.5
    at: float = dataclasses.field(default=0.0625, compare=False)
    levels: list = dataclasses.field(default_factory=lambda: [0.5])

    def __call__(self, x, severity=1):
        return x * self.by

class Kind(enum.Enum):
    LIGHT = 0.5

class Meta(type):
    share = 0.5

class Typed(metaclass=Meta):
    def __call__(self, x, severity=1):
        return x * type(self).share

class Table(dict):
    def level(self):
        return 0.375 + 1

table, typed = Table(level=0.5), Typed()

def by_own_table(x, severity=1):
    return table.level() + table["level"] * x

@torch.no_grad()
def quiet(x, severity=1):
    return x * 0.75

@functools.lru_cache
def level():
    return 0.375

def by_level(x, severity=1):
    return level() * x + Kind.LIGHT.value

def by_attribute(x, severity=1):
    return x * by_attribute.level

by_attribute.level = 0.5
gain, steeper, net, slotted, frozen = Gain(0.5), Steeper(0.5), Net(0.5), Slotted(0.5), Frozen()
bound, hooked, held = gain.__call__, torch.nn.Sequential(torch.nn.ReLU(), Net(0.5)), {"of": [Gain(0.5)]}
hooked[0].register_forward_hook(lambda *_: _[2] * 0.875)

def by_object(x, severity=1):
    return held["of"][0](x)

closed = inner(0.5)
short = lambda x, severity=1: x * 0.5
given = functools.partial(scaled, level=0.5)
"""


@pytest.fixture(autouse=True)
def no_module_is_left() -> Iterator[None]:
    yield
    sys.modules.pop("own_shifts", None)


def function_of(folder: Path, name: str, old: str = "", new: str = "") -> Any:
    """A function of a file of the user's, in which a text was replaced."""
    linecache.clearcache()
    file = folder / "own_shifts.py"
    text = SOURCE.replace(old, new) if old else SOURCE
    file.write_text(text, encoding="utf-8")
    assert text != SOURCE or not old
    module = types.ModuleType("own_shifts")
    module.__file__ = str(file)
    sys.modules["own_shifts"] = module  # data classes look there
    exec(compile(text, str(file), "exec"), module.__dict__)  # noqa: S102
    return getattr(module, name)


NAMES = ("darker", "by_table", "by_list", "closed", "short", "given", "gain", "steeper", "bound", "net", "hooked")
NAMES += ("typed", "by_own_table", "slotted", "frozen", "quiet", "by_level", "by_attribute", "by_object")
FROZEN = "[0.5])\n\n    def __call__(self, x, severity=1):\n        return x"


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
        ("gain", "factor = 0.5", "factor = 1.0"),
        ("gain", "gain, steeper, net, slotted, frozen = Gain(0.5)", "gain, steeper, net, slotted, frozen = Gain(1.0)"),
        ("gain", "self.factor * self.by", "self.factor"),
        ("gain", "self.by + 0.25", "self.by + 0.5"),
        ("gain", "self.by - 0.25", "self.by - 0.5"),
        ("gain", "return 0.125", "return 0.25"),
        ("steeper", "self.factor * self.by", "self.factor"),
        ("steeper", "Steeper(0.5)", "Steeper(1.0)"),
        ("bound", "self.factor * self.by", "self.factor"),
        ("bound", "gain, steeper, net, slotted, frozen = Gain(0.5)", "gain, steeper, net, slotted, frozen = Gain(1.0)"),
        ("net", "Steeper(0.5), Net(0.5)", "Steeper(0.5), Net(1.0)"),
        ("net", "x * self.weight", "x + self.weight"),
        ("net", '"plain"', '"other"'),
        ("net", "0.0625", "0.5"),
        ("net", "Frozen()\n", "Frozen()\nnet.eval()\n"),
        ("hooked", "ReLU(), Net(0.5)", "ReLU(), Net(1.0)"),
        ("hooked", "nn.ReLU", "nn.Tanh"),
        ("hooked", "0.875", "0.75"),
        ("slotted", "Slotted(0.5)", "Slotted(1.0)"),
        ("slotted", "self.by = by", "self.by = by * 2"),
        ("frozen", "by: float = 0.5", "by: float = 1.0"),
        ("frozen", "Frozen()", "Frozen(1.0)"),
        ("frozen", "lambda: [0.5]", "lambda: [1.0]"),
        ("frozen", "bound, hooked", "object.__setattr__(frozen, 'kept', 1.0)\nbound, hooked"),
        ("frozen", "at: float = dataclasses.field(default=0.0625", "at: float = dataclasses.field(default=0.125"),
        ("frozen", "[0.5])\n\n    def __call__(self, x, severity=1):\n        return x * self.by", FROZEN),
        ("typed", "share = 0.5", "share = 1.0"),
        ("by_own_table", "0.375 + 1", "0.375 + 2"),
        ("by_own_table", "Table(level=0.5)", "Table(level=1.0)"),
        ("quiet", "0.75", "1.0"),
        ("by_level", "0.375", "1.0"),
        ("by_level", "LIGHT = 0.5", "LIGHT = 1.0"),
        ("by_attribute", "level = 0.5", "level = 1.0"),
        ("by_object", "[Gain(0.5)]", "[Gain(1.0)]"),
        ("by_object", "factor = 0.5", "factor = 1.0"),
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


@pytest.mark.thinned
@pytest.mark.parametrize("new", ["\n\nLEVEL", "OTHER = 3\nLEVEL", "# Half of the light.\nLEVEL"])
@pytest.mark.parametrize("name", NAMES)
def test_a_function_that_was_moved_is_the_same_measure(tmp_path: Path, name: str, new: str) -> None:
    before = measured_by(("shift", function_of(tmp_path, name)), None)
    assert measured_by(("shift", function_of(tmp_path, name, "\nLEVEL", f"\n{new}")), None) == before


LASTING = {
    "darker": "a6b5a368f18e75a7",
    "gain": "65b8661987f3cbd6",
    "net": "b1e67a92fdaf7ab8",
    "frozen": "c5e55b8497034709",
    "quiet": "6d1dfe5d078523e2",
    "by_object": "47cd07bd957597af",
}


@pytest.mark.parametrize("name", LASTING)
def test_digests_are_those_of_earlier_versions(tmp_path: Path, name: str) -> None:
    """Baselines lie in repositories for years: another digest would make each of them one of another measure."""
    assert f"with digest {LASTING[name]}" in measured_by((function_of(tmp_path, name),), None)


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


IMPORTS = """
def shift(x, severity=1):
    from own_package.own_inner import scaled
    return scaled(x)
"""


@pytest.mark.parametrize("edited", ["own_package/own_inner.py", "own_package/own_deep.py", "own_package/__init__.py"])
def test_a_module_that_a_function_imports_counts_before_and_after_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_package").mkdir()
    for name, text in (
        ("__init__.py", "NOTHING = 0.5\n"),
        ("own_inner.py", "from . import own_deep\nfrom torch import nn\nscaled = lambda x: 0.5 * x * own_deep.LEVEL\n"),
        ("own_deep.py", "LEVEL = 0.5\n"),
    ):
        (tmp_path / "own_package" / name).write_text(text, encoding="utf-8")
    (tmp_path / "own_shifts.py").write_text(IMPORTS, encoding="utf-8")
    module = types.ModuleType("own_shifts")
    exec(compile(IMPORTS, str(tmp_path / "own_shifts.py"), "exec"), module.__dict__)  # noqa: S102
    before = measured_by((module.shift,), None)
    module.shift(torch.ones(1))
    assert measured_by((module.shift,), None) == before
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        monkeypatch.delitem(sys.modules, name)
    file = tmp_path / edited
    file.write_text(file.read_text(encoding="utf-8").replace("0.5", "1.0"), encoding="utf-8")
    assert measured_by((module.shift,), None) != before


def test_what_is_read_by_a_computed_name_is_not_known() -> None:
    def shift(x: Tensor) -> Tensor:
        return x * globals()["LEV" + "EL"]

    with pytest.raises(Unhashable, match=r"is globals\(\), which reaches beyond"):
        measured_by((shift,), None)
    shift.robustest_fingerprint = lambda: "1"  # type: ignore[attr-defined]
    assert measured_by((shift,), None) == measured_by((shift,), None) != ""


def test_a_compiled_function_is_that_which_was_compiled(tmp_path: Path) -> None:
    """As torch.compile wraps it, in a function whose own state changes when it is called."""

    def compiled(of: Any) -> Any:
        calls: list[int] = []

        def wrapper(x: Tensor) -> Tensor:
            calls.append(1)
            return of(x)

        wrapper._torchdynamo_orig_callable = of  # type: ignore[attr-defined]
        return wrapper

    one, other = compiled(function_of(tmp_path, "short")), compiled(function_of(tmp_path, "darker"))
    before = measured_by((one,), None)
    one(torch.ones(1))
    assert measured_by((one,), None) == before != measured_by((other,), None)


def test_a_weaker_shift_of_the_users_hides_no_loss(tmp_path: Path) -> None:
    def measure(shift: Any) -> Result:
        return measure_shift_accuracy(model, (X, Y[:, 0]), shift, no_worse_than=tmp_path / "was.json", tolerance=0.01)

    strong = function_of(tmp_path, "short")
    made(tmp_path / "was.json", lambda: measure(strong))
    assert measure(strong).verdict is Verdict.PASSED
    weak = function_of(tmp_path, "short", "x * 0.5", "x * 1.0")
    with pytest.raises(StoreError, match="measured as those of the baseline"):
        measure(weak)


@pytest.mark.parametrize("name", ["net", "gain"])
def test_another_state_of_a_users_object_hides_no_loss(tmp_path: Path, name: str) -> None:
    def measure(shift: Any) -> Result:
        return measure_shift_accuracy(model, (X, Y[:, 0]), shift, no_worse_than=tmp_path / "was.json", tolerance=0.01)

    strong = function_of(tmp_path, name)
    made(tmp_path / "was.json", lambda: measure(strong))
    assert measure(strong).verdict is Verdict.PASSED
    for old, new in (
        ("x * self.", "x * 1.0 + 0 * self."),
        ("= Gain(0.5), Steeper(0.5), Net(0.5)", "= Gain(1.0), 0, Net(1.0)"),
    ):
        weak = function_of(tmp_path, name, old, new)
        with pytest.raises(StoreError, match="measured as those of the baseline"):
            measure(weak)


@pytest.mark.parametrize("update", [True, False])
def test_a_shift_that_cannot_be_read_is_compared_with_no_baseline(tmp_path: Path, update: bool) -> None:
    weak = eval("lambda x: x * 0.9")  # noqa: S307 - without a source
    with (
        context.running(context.Context(settings=Settings(update_baseline=update))),
        pytest.raises(StoreError, match=r"<lambda>, a function without a source.*robustest_fingerprint"),
    ):
        measure_shift_accuracy(model, (X, Y[:, 0]), weak, no_worse_than=tmp_path / "was.json", tolerance=0.01)


def test_a_declared_version_stands_for_what_cannot_be_read(tmp_path: Path) -> None:
    class Remote:
        def __init__(self, version: str) -> None:
            self.version, self.open = version, (one for one in "")

        def robustest_fingerprint(self) -> str:
            return self.version

    words = [measured_by((Remote(version),), None) for version in ("one", "two", "one")]
    assert words[0] == words[2] != words[1]


SHADES = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(1))
DARK = (SHADES.mean((1, 2, 3)) > 0.5).long()


def shades(x: Tensor) -> Tensor:
    z = x.mean((1, 2, 3)) - 0.5
    return torch.stack([-z, z], 1)


def of_files(name: str, by: float) -> CorruptedBenchmark:
    cells = {(name, severity): as_samples((SHADES * by**severity, DARK)) for severity in range(1, 6)}
    return CorruptedBenchmark(name="own", cells=cells, clean=None, classes=("a", "b"), published=60)


def of_sequences(name: str, by: float) -> SequenceBenchmark:
    frames = torch.stack([SHADES, SHADES * by], 1)
    return SequenceBenchmark(name="own", sequences={name: frames}, published=60)


def of_an_adapting_model(name: str, by: float, file: Path) -> Result:
    def dimmed(x: Tensor) -> Tensor:
        return x * by

    shifts: Any = [Shift("dimmed", function=dimmed)]
    how: dict[str, Any] = {"corruptions": shifts, "severities": [3], "no_worse_than": file, "tolerance": 0.01}
    return measure_corruption_robustness(adapting(shades, reset=lambda: None), (SHADES, DARK), **how)


@pytest.mark.parametrize(
    "measure",
    [
        lambda name, by, file: measure_corruption_robustness(shades, of_files(name, by), no_worse_than=file),
        lambda name, by, file: measure_stable_under_perturbations(shades, of_sequences(name, by), no_worse_than=file),
        of_an_adapting_model,
    ],
    ids=["corruptions of files", "perturbations of files", "an adapting model"],
)
def test_other_changes_than_in_the_baseline_are_another_measure(measure: Callable[..., Result], tmp_path: Path) -> None:
    """Though nothing of such a claim is stored: its files may change under their names, and its model adapts."""
    file = tmp_path / "was.json"
    made(file, lambda: measure("dark", 0.9, file))
    assert measure("dark", 0.9, file).verdict is Verdict.PASSED
    with pytest.raises(StoreError, match="measured as those of the baseline"):
        measure("darker", 0.98, file)


def test_a_brier_score_is_compared_though_it_is_no_mean_of_scores(tmp_path: Path) -> None:
    file = tmp_path / "was.json"

    def brier(sure: float) -> Result:
        return measure_calibrated(lambda x: sure * shades(x), (SHADES, DARK), no_worse_than=file, tolerance=0.01)

    made(file, lambda: brier(20))
    assert brier(20).verdict is Verdict.PASSED
    assert brier(1).verdict is not Verdict.PASSED
