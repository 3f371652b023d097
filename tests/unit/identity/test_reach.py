"""How far the identity of a model reaches into its code."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from robustest.identity.fingerprint import digest, fingerprint

HELPERS = """
import math
GAIN = 2.0
UNUSED = 1.0
def scale(x):
    return x * GAIN
def unused(x):
    return x
"""

NETS = """
import functools
import operator
from dataclasses import dataclass, field
from enum import Enum

import torch
import torch.nn.functional as F
from torch import nn

import helpers

OFFSET = 0.5
TABLE = {"a": [1.0, 2.0], "b": torch.ones(2)}
IDLE = 7.0


def outer(x):
    return inner(x) + OFFSET


def inner(x, low=-1.0, *, high=1.0):
    return x.clamp(low, high)


def even(x, n):
    return x if n == 0 else odd(x, n - 1)


def odd(x, n):
    return x + 1 if n == 0 else even(x, n - 1)


def make(factor):
    def times(x):
        return x * factor
    return times


double = make(2.0)


def logged(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args) * 1.0
    return call


@logged
def wrapped(x):
    return x - 0.125


@functools.lru_cache
def cached(n):
    return n + 4


class Mode(Enum):
    UP = 1.0
    DOWN = -1.0

    def sign(self):
        return self.value * 3.0


@dataclass
class Config:
    alpha: float = 0.1
    mode: Mode = Mode.UP
    extra: list = field(default_factory=list)

    @property
    def beta(self):
        return self.alpha * 5.0

    def unused_but_callable(self):
        return 11.0


class Box:
    def __init__(self, x):
        self.x = x + 21.0

    def open(self):
        return self.x


class Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 31.0


class Base(nn.Module):
    level = 41.0

    def pre(self, x):
        return x * 51.0

    def training_step(self, batch):
        return 61.0


class Net(Base):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        torch.nn.init.constant_(self.linear.weight, 71.0)
        torch.nn.init.zeros_(self.linear.bias)
        self.config = Config()
        self.act = F.relu
        self.odd_one = operator.itemgetter(0)

    def forward(self, x):
        # a comment
        x = self.pre(helpers.scale(outer(x)))
        x = x * self.level + self.config.beta + TABLE["a"][0]
        x = double(wrapped(even(x, 3))) + cached(2) + Mode.UP.sign()
        x = Clip.apply(self.linear(self.act(Box(x).open())))
        return x

    def validation_step(self, batch):
        return 81.0


def build():
    return Net().eval()
"""

CHANGES = {
    "a line of forward": ("+ cached(2)", "- cached(2)"),
    "a function that forward calls": ("inner(x) + OFFSET", "inner(x) - OFFSET"),
    "a function two calls away": ("x.clamp(low, high)", "x.clamp(high, low)"),
    "a default": ("low=-1.0", "low=-2.0"),
    "a keyword default": ("high=1.0", "high=2.0"),
    "a constant of the module": ("OFFSET = 0.5", "OFFSET = 0.25"),
    "an item of a table": ("[1.0, 2.0]", "[1.0, 3.0]"),
    "a tensor in a table": ("torch.ones(2)", "torch.zeros(2)"),
    "a function that calls itself by another": ("x + 1 if n", "x + 2 if n"),
    "a value of an enclosing function": ("make(2.0)", "make(3.0)"),
    "a function made by another": ("x * factor", "x / factor"),
    "a decorator": ("function(*args) * 1.0", "function(*args) * 2.0"),
    "a decorated function": ("x - 0.125", "x - 0.5"),
    "a function with a cache": ("return n + 4", "return n + 5"),
    "an enum's value": ("UP = 1.0", "UP = 2.0"),
    "an enum's method": ("self.value * 3.0", "self.value * 4.0"),
    "a default of a dataclass": ("alpha: float = 0.1", "alpha: float = 0.2"),
    "a property": ("self.alpha * 5.0", "self.alpha * 6.0"),
    "a method that a library could call": ("return 11.0", "return 12.0"),
    "the making of an object": ("x + 21.0", "x + 22.0"),
    "a method of an object": ("return self.x", "return -self.x"),
    "a gradient of one's own": ("gradient * 31.0", "gradient * 32.0"),
    "an attribute of a base class": ("level = 41.0", "level = 42.0"),
    "a method of a base class": ("x * 51.0", "x * 52.0"),
    "a function kept as an attribute": ("F.relu", "F.gelu"),
    "weights": ("weight, 71.0", "weight, 72.0"),
    "which module is used": ("import helpers", "import helpers2 as helpers"),
}

NO_CHANGES = {
    "a comment": ("# a comment", "# another comment\n        # and more"),
    "a docstring": ("def outer(x):\n", 'def outer(x):\n    """What it does."""\n'),
    "a docstring of a class": ("class Net(Base):\n", 'class Net(Base):\n    """What it is."""\n'),
    "formatting": ("Clip.apply(self.linear(", "Clip.apply(\n            self.linear(\n"),
    "blank lines above": ("\nOFFSET", "\n\n\n\n# moved down\nOFFSET"),
    "a method that forward does not call": ("return 81.0", "return 82.0"),
    "one of a base class": ("return 61.0", "return 62.0"),
    "a constant that nothing reads": ("IDLE = 7.0", "IDLE = 8.0"),
    "annotations": ("def outer(x):", "def outer(x: torch.Tensor) -> torch.Tensor:"),
    "a statement that does nothing": ("# a comment", "pass"),
}


def identity(module: Callable[..., Any], nets: str = NETS, helpers: str = HELPERS, folder: str = "a") -> str:
    module(helpers, "helpers", folder)
    module(helpers.replace("x * GAIN", "x / GAIN"), "helpers2", folder)
    model = module(nets, "nets", folder).build()
    found = fingerprint(model, model, None)
    assert found.digest is not None, found.reason
    return found.digest


@pytest.mark.parametrize("change", CHANGES)
def test_code_that_outputs_depend_on_counts(module: Callable[..., Any], change: str) -> None:
    old, new = CHANGES[change]
    assert NETS.count(old) == 1
    assert identity(module) != identity(module, NETS.replace(old, new))


@pytest.mark.parametrize("change", NO_CHANGES)
def test_what_outputs_do_not_depend_on_makes_no_difference(module: Callable[..., Any], change: str) -> None:
    old, new = NO_CHANGES[change]
    assert NETS.count(old) == 1
    assert identity(module) == identity(module, NETS.replace(old, new))


def test_the_folder_makes_no_difference(module: Callable[..., Any]) -> None:
    assert identity(module, folder="a") == identity(module, folder="another")


def test_order_in_the_file_makes_no_difference(module: Callable[..., Any]) -> None:
    function = "def inner(x, low=-1.0, *, high=1.0):\n    return x.clamp(low, high)\n\n\n"
    moved = NETS.replace(function, "").replace("def build", f"{function}def build")
    assert moved != NETS
    assert identity(module) == identity(module, moved)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("x * GAIN", "x - GAIN", False),
        ("GAIN = 2.0", "GAIN = 3.0", False),
        ("UNUSED = 1.0", "UNUSED = 2.0", False),
        ("def unused(x):\n    return x", 'def unused(x):\n    """Idle."""\n    # nothing\n    return x', True),
        ("def unused(x):", "def test_unused(x):\n    assert unused(x) < 0.5\ndef unused(x):", False),
    ],
)
def test_of_a_module_its_source_counts(module: Callable[..., Any], old: str, new: str, same: bool) -> None:
    assert HELPERS.count(old) == 1
    assert (identity(module) == identity(module, helpers=HELPERS.replace(old, new))) == same


def test_of_a_module_that_is_passed_on_the_source_counts(module: Callable[..., Any]) -> None:
    nets = NETS.replace("helpers.scale(", "(lambda m: m.scale)(helpers)(")
    assert nets != NETS
    digests = [
        identity(module, nets),
        identity(module, nets, HELPERS.replace("x * GAIN", "x - GAIN")),
        identity(module, nets, HELPERS.replace("UNUSED = 1.0", "UNUSED = 2.0")),
    ]
    assert len(set(digests)) == 3
    assert identity(module, nets, folder="b") == digests[0]


def test_of_a_file_of_tests_the_tests_do_not_count(module: Callable[..., Any]) -> None:
    nets = "import {0} as helpers\ndef predict(x):\n    return helpers.scale(x)"
    helpers = "def scale(x): return x\ndef test_scale():\n    assert scale(1) > {0}"

    def of(name: str, threshold: float) -> str | None:
        module(helpers.format(threshold), name)
        return fingerprint(module(nets.format(name)).predict, None, None).digest

    assert of("test_helpers", 0.5) == of("test_helpers", 0.6)
    assert of("helpers", 0.5) != of("helpers", 0.6)


def test_modules_behind_a_module_that_is_passed_on_count(module: Callable[..., Any]) -> None:
    nets = "import helpers\ndef predict(x):\n    return (lambda m: m.scale)(helpers)(x)"
    helpers = "from deeper import scale"

    def of(deeper: str) -> str | None:
        module(deeper, "deeper")
        module(helpers, "helpers")
        return fingerprint(module(nets).predict, None, None).digest

    assert of("def scale(x): return x") == of("def scale(x): return x") != of("def scale(x): return -x")


def test_a_global_replaced_at_run_time_counts(module: Callable[..., Any]) -> None:
    model = module(HELPERS, "helpers") and module(NETS).build()
    before = fingerprint(model, model, None).digest
    sys.modules["helpers"].GAIN = 5.0  # type: ignore[attr-defined]
    assert fingerprint(model, model, None).digest != before


def test_a_package_function_replaced_at_run_time_counts(
    module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import torch\nimport torch.nn.functional as F\ndef predict(x): return F.relu(x)"
    predict = module(text).predict
    before = fingerprint(predict, None, None).digest
    monkeypatch.setattr(torch.nn.functional, "relu", lambda x: x)
    assert fingerprint(predict, None, None).digest != before


def test_a_package_forward_replaced_at_run_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(torch.nn.ReLU())
    before = fingerprint(model, model, None).digest
    monkeypatch.setattr(torch.nn.ReLU, "forward", lambda _, x: x)
    assert fingerprint(model, model, None).digest != before


def test_names_made_up_at_run_time_make_every_method_count(module: Callable[..., Any]) -> None:
    text = (
        "from torch import nn\nclass Net(nn.Module):\n"
        "    def forward(self, x): return {read}\n    def step_a(self, x): return x * {value}\n"
    )

    def of(read: str, value: int) -> str | None:
        model = module(text.format(read=read, value=value)).Net()
        return fingerprint(model, model, None).digest

    dynamic, static, idle = "getattr(self, 'step_' + 'ab'[0])(x)", "getattr(self, 'step_a')(x)", "x"
    assert of(dynamic, 1) != of(dynamic, 2)
    assert of(static, 1) != of(static, 2)
    assert of(idle, 1) == of(idle, 2)


def test_methods_that_a_package_calls_count(module: Callable[..., Any]) -> None:
    """A class over a package's may be called by its base, whose code nobody reads."""
    text = (
        "from torchvision.models import VisionTransformer\nclass Net(VisionTransformer):\n"
        "    def _process_input(self, x): return super()._process_input(x) * {0}\n"
        "def build():\n    import torch\n    torch.manual_seed(0)\n"
        "    return Net(image_size=8, patch_size=4, num_layers=1, num_heads=1, hidden_dim=4, mlp_dim=4)\n"
    )

    def of(value: int) -> str | None:
        model = module(text.format(value)).build()
        return fingerprint(model, model, None).digest

    assert of(1) == of(1) != of(2)


def test_methods_of_objects_inside_a_package_s_object_count(module: Callable[..., Any]) -> None:
    text = (
        "import functools\nclass Step:\n    def transform(self, x): return x * {0}\n"
        "def build(): return functools.partial(map, Step())\n"
    )

    def of(value: int) -> str | None:
        return fingerprint(module(text.format(value)).build(), None, None).digest

    assert of(1) == of(1) != of(2)


def test_an_import_inside_a_function_counts(module: Callable[..., Any]) -> None:
    module("def scale(x): return x\ndef idle(x): return x", "helpers")
    predict = module("def predict(x):\n    from helpers import scale\n    return scale(x)").predict
    before = fingerprint(predict, None, None).digest
    module("# idle\ndef scale(x): return x\ndef idle(x): return x", "helpers")
    assert fingerprint(predict, None, None).digest == before
    module("def scale(x): return -x\ndef idle(x): return x", "helpers")
    assert fingerprint(predict, None, None).digest != before


PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import math, torch, nets
from robustest.identity.fingerprint import digest, fingerprint
from robustest import scores_model, L2
from robustest.attacks import CASCADES
torch.manual_seed(0)
model = nets.build()
things = [model, torch.nn.LSTM(2, 2), torch.jit.script(torch.nn.Sequential(torch.nn.Linear(2, 2))),
          scores_model(nets.outer).call, torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.ReLU()))]
for thing in things:
    print(fingerprint(thing, thing if isinstance(thing, torch.nn.Module) else None, lambda x: x in {"a", "b", "c"}))
print(digest({math.sin, math.cos, max, min, "a", "b", L2}), digest(CASCADES["standard"]), digest({"b", "c", "a"}))
"""


def test_identities_are_the_same_in_every_process(program: Callable[..., str], tmp_path: Any) -> None:
    outputs = []
    for seed, folder in enumerate(("a", "somewhere/else")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "nets.py").write_text("\n" * seed * 9 + NETS)
        (tmp_path / folder / "helpers.py").write_text(HELPERS)
        outputs.append(program(PROGRAM, tmp_path / folder, PYTHONHASHSEED=str(seed)))
    assert outputs[0] == outputs[1]
    assert "None" not in outputs[0]


@pytest.mark.parametrize(
    ("statement", "counts"),
    [
        ("from . import tool", {"acme.inner.tool"}),
        ("from .tool import scale", {"acme.inner.tool"}),
        ("from ..tool import scale", {"acme.tool"}),
        ("from .. import tool", {"acme.tool"}),
        ("import tool", {"tool"}),
        ("from tool import scale", {"tool"}),
    ],
)
def test_a_relative_import_is_of_any_package_above(
    module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, statement: str, counts: set[str]
) -> None:
    scale, name = "def scale(x): return x * {0}", "tool.scale(x)" if statement.endswith("import tool") else "scale(x)"

    def of(changed: str) -> str | None:
        for place in ("tool", "acme.tool", "acme.inner.tool", "other.tool"):
            loaded = module(scale.format(2 if place == changed else 1), place)
            monkeypatch.setitem(sys.modules, place, loaded)
            package, _, last = place.rpartition(".")
            if package:
                above = module(f"from {place} import scale", package)
                setattr(above, last, loaded)
                monkeypatch.setitem(sys.modules, package, above)
        predict = module(f"def predict(x):\n    {statement}\n    return {name}").predict
        predict.__globals__["__package__"] = "acme.inner"
        return fingerprint(predict, None, None).digest

    before = of("")
    assert before is not None
    assert of("other.tool") == before
    for place in counts:
        assert of(place) != before, place


@pytest.mark.parametrize("statement", ["from .own_tool import scale", "from ..own_tool import scale"])
@pytest.mark.parametrize("place", ["acme.inner.own_tool", "acme.own_tool"])
def test_a_relative_import_is_found_where_no_module_of_that_name_is(
    module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, statement: str, place: str
) -> None:
    def of(by: int) -> str | None:
        monkeypatch.setitem(sys.modules, place, module(f"def scale(x): return x * {by}", place))
        predict = module(f"def predict(x):\n    {statement}\n    return scale(x)").predict
        predict.__globals__["__package__"] = "acme.inner"
        return fingerprint(predict, None, None).digest

    assert of(1) == of(1) != of(2)
    assert of(1) is not None


def test_what_is_imported_from_nowhere_is_named(module: Callable[..., Any]) -> None:
    for package in ("", "acme_absent", "acme_absent.inner"):
        predict = module("def predict(x):\n    from .tool_absent import f\n    return f(x)").predict
        predict.__globals__["__package__"] = package
        found = fingerprint(predict, None, None)
        assert found.digest is None
        assert "tool_absent, imported by predict, is not loaded before it is needed" in found.reason


PARTS = """
import functools
import torch
from torch import nn

class Meta(type):
    def __call__(cls, *args):
        return super().__call__(*args)

class Slots:
    __slots__ = ("a", "unset")
    def __init__(self):
        self.a = 2.0

class Sets(set):
    pass

class Hook:
    def __call__(self, *args):
        return None

class Named:
    def __reduce__(self):
        return "NAMED"

NAMED = Named()

class Given:
    def __init__(self, a):
        self.a = a
    def __reduce__(self):
        return (Given, (4.0,))

class Stateful:
    def __getstate__(self):
        return {"b": 5.0}

class Read:
    @property
    def a(self):
        return 6.0
    @a.setter
    def a(self, value):
        self.b = 7.0
    @staticmethod
    def s():
        return 8.0
    @classmethod
    def c(cls):
        return 9.0

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.kept = nn.Buffer(torch.tensor([11.0]))
        self.scratch = nn.Buffer(torch.tensor([12.0]), persistent=False)
        self.idle = 13.0
        self.call = made(14.0)

    def forward(self, x):
        return self.call(x) * self.kept

class Made(nn.Module):
    def __init__(self, a=15.0):
        super().__init__()
        self.a = a

    def forward(self, x):
        return x * self.a

def made(a):
    def call(x):
        return x * a
    call.level = 16.0
    return call

def factory(x):
    return Made()(x)

def keyed(x, *, a=17.0):
    return x[0:18] if x in {19.0, "20", (21.0, 22)} else keyed_again(x, a=23.0)

def keyed_again(x, a, b=24.0, /, c=25.0):
    def inner(y):
        return y + 26.0
    return inner(x)

def tried(x):
    try:
        return x / 27.0
    except ZeroDivisionError:
        return 28.0

def looped(x):
    while x < 29.0:
        x = x + 30.0
    return -x if not x else ~x

def late(x):
    return unknown_name(x) + 31.0

def held(x):
    return call.level * call(x)

call = made(32.0)
UP = {"a": [33.0, {"b": (34.0,)}]}

def table(x):
    return UP["a"]

def compared(x):
    return x < 35.0, x <= 36.0, x == 37.0, x is None, x not in (38.0,)

things = [Slots(), Sets([3.0]), Hook(), NAMED, Given(1.0), Stateful(), Read(), Net(), factory, keyed, tried, looped,
          late, held, table, compared, Meta("New", (), {"a": 39.0}), functools.partial(keyed, a=40.0)]
"""

PART_CHANGES = {
    **{
        f"{number}.0": (f"{number}.0", f"{number}.5")
        for number in (2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14, 15, 16, 17, 19, 21, 23, 24, 25, 26, 27, 28, 29)
    },
    **{f"{number}.0": (f"{number}.0", f"{number}.5") for number in range(30, 41)},
    "a stop": ("0:18", "0:19"),
    "a start": ("0:18", "1:18"),
    "a text in a set": ('"20"', '"2"'),
    "an item of a tuple": ("21.0, 22)", "21.0, 23)"),
    "kinds of arguments": ("b=24.0, /, c=25.0", "b=24.0, c=25.0"),
    "keywords alone": ("def keyed(x, *, a=17.0)", "def keyed(x, a=17.0)"),
    "a name of an argument": ("def keyed_again(x, a, b=24.0, /", "def keyed_again(x, d, b=24.0, /"),
    "a caught error": ("except ZeroDivisionError", "except ArithmeticError"),
    "a comparison": ("x <= 36.0", "x >= 36.0"),
    "an identity": ("x is None", "x is not None"),
    "a membership": ("x not in (38.0,)", "x in (38.0,)"),
    "a sign": ("-x if not x", "+x if not x"),
    "a condition": ("if not x", "if x"),
    "a branch": ("x = x + 30.0", "x = x - 30.0"),
    "an absent name": ("unknown_name", "another_name"),
    "a setter": ("self.b = 7.0", "self.c = 7.0"),
    "a static method": ("@staticmethod\n    def s():", "@classmethod\n    def s(cls):"),
    "a name in its module": ('return "NAMED"', 'return "things"'),
    "a method of a metaclass": ("return super().__call__(*args)", "return super().__call__()"),
    "a base": ("class Sets(set)", "class Sets(frozenset)"),
    "an attribute that is not set": ("self.a = 2.0", "self.a = self.unset = 2.0"),
}


@pytest.fixture(scope="module")
def parts_before() -> list[Any]:
    return []


def parts(module: Callable[..., Any], text: str) -> str:
    found = digest(
        [fingerprint(one, None, None).digest or str(fingerprint(one, None, None)) for one in module(text).things]
    )
    return str(found)


@pytest.mark.parametrize("change", PART_CHANGES)
def test_every_part_of_objects_and_of_code_counts(
    module: Callable[..., Any], parts_before: list[Any], change: str
) -> None:
    old, new = PART_CHANGES[change]
    changed, count = re.subn(rf"(?<!\d){re.escape(old)}", lambda _: new, PARTS)
    assert count == 1
    if not parts_before:
        parts_before.append(parts(module, PARTS))
        assert parts(module, PARTS) == parts_before[0]
        assert parts(module, PARTS.replace("self.idle = 13.0", "self.idle = 13.0  # idle")) == parts_before[0]
        for one in module(PARTS).things:
            assert fingerprint(one, None, None).digest is not None, fingerprint(one, None, None)
    assert parts(module, changed) != parts_before[0]


@pytest.mark.parametrize("name", ["__getitem__", "__len__", "__contains__"])
def test_special_methods_of_a_net_count_though_nothing_names_them(module: Callable[..., Any], name: str) -> None:
    text = (
        "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n"
        "        return self[0] + len(self) + (0 in self) + x\n"
        f"    def {name}(self, *args):\n        return {{0}}\n"
    )

    def of(value: int) -> str | None:
        model = module(text.format(value)).Net()
        return fingerprint(model, model, None).digest

    assert of(1) == of(1) != of(2)
    assert of(1) is not None


@pytest.mark.parametrize("place", ["_check_input_dim", "reset_running_stats", "_load_from_state_dict"])
def test_any_method_of_a_package_s_net_that_was_replaced_counts(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.BatchNorm2d(2).eval()
    before = fingerprint(model, model, None).digest
    assert before is not None
    owner = next(base for base in type(model).__mro__ if place in vars(base))
    found = []
    for replaced in (lambda self, *args: None, lambda self, *args: 1):  # noqa: ARG005 - as the method is called
        monkeypatch.setattr(owner, place, replaced)
        found.append(fingerprint(model, model, None).digest)
    assert len({before, *found}) == 3
    monkeypatch.undo()
    assert fingerprint(model, model, None).digest == before
