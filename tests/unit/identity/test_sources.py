"""Digests of baselines: what computes otherwise has another one, what computes the same has the same, for years."""

from __future__ import annotations

import cmath
import collections
import dataclasses
import enum
import functools
import importlib
import logging
import math
import operator
import random
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict, runtime_checkable

import numpy as np
import PIL.ImageOps
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from robustest.identity.fingerprint import lasting_digest
from robustest.identity.plain import Unhashable

LEVELS = [lambda x: x * 0.5, lambda x: x * 0.9]
MAKERS = [lambda by: lambda x: x * by, lambda by: lambda x: x + by]
INNER, OTHER = MAKERS[0](0.5), MAKERS[1](0.5)
NUMBER = 1.5


def scaled(x: Tensor, by: float = 0.5) -> Tensor:
    return x * by


def weaker(*given: Any) -> Any:
    return given[-1]


def named(cls: Any) -> Any:
    """The class under a name that another has too."""
    cls.__name__ = cls.__qualname__ = "Own"
    return cls


def own(base: Any, name: str, by: float) -> Any:
    """A class of the user's, one of whose methods computes with a number."""

    def method(*_: Any) -> float:
        return by

    return named(type("Own", (base,), {name: method, "__module__": __name__}))


def of_network(**how: bool) -> nn.Module:
    def hook(_: Any, given: Any, *more: Any) -> Any:
        return given[0] if len(more) > 1 else None

    net = nn.ReLU()
    net.register_forward_hook(hook, **how)
    return net


class Traced(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return wrapped(x)


def wrapped(x: Tensor) -> Tensor:
    return x * 0.5


fx.wrap("wrapped")


def traced(of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> fx.GraphModule:
    monkeypatch.setitem(globals(), "wrapped", of)
    return fx.symbolic_trace(Traced())


def with_attribute(by: float) -> Any:
    made: Any = functools.partial(scaled)
    made.by = by
    return made


def imported_invert() -> Any:
    from torchvision.transforms.functional import invert

    return invert


class Halved:
    def forward(self, x: Tensor) -> Tensor:
        return x * 0.5


@named
class MixedIn(Halved, nn.ReLU):
    pass


@named
class MixedAfter(nn.ReLU, Halved):
    pass


# How an object is written, and which member of an enumeration an unknown value is.
TEXTS = ("__str__", "__format__", "__repr__", "_missing_")


class Known:
    """An object that a module is said to have under a name."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __reduce__(self) -> str:
        return "known"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: LEVELS[0], lambda: LEVELS[1]),
        (lambda: INNER, lambda: OTHER),
        (lambda: math.sqrt, lambda: cmath.sqrt),
        (lambda: pow, lambda: operator.pow),
        (lambda: PIL.ImageOps.invert, imported_invert),
        (lambda: nn.Linear, lambda: torch.ao.nn.quantized.Linear),
        (
            lambda: own(functools.partial, "__call__", 0.5)(scaled),
            lambda: own(functools.partial, "__call__", 0.9)(scaled),
        ),
        (lambda: with_attribute(0.5), lambda: with_attribute(0.9)),
        (lambda: own(property, "__get__", 0.5)(scaled), lambda: own(property, "__get__", 0.9)(scaled)),
        (lambda: own(staticmethod, "__get__", 0.5)(scaled), lambda: own(staticmethod, "__get__", 0.9)(scaled)),
        (lambda: own(classmethod, "__get__", 0.5)(scaled), lambda: own(classmethod, "__get__", 0.9)(scaled)),
        (own(random.Random, "random", 0.5), own(random.Random, "random", 0.9)),
        (lambda: own(logging.Logger, "more", 0.5)("a"), lambda: own(logging.Logger, "more", 0.9)("a")),
        (of_network, lambda: of_network(with_kwargs=True)),
        (lambda: Known(0.5), lambda: Known(0.9)),
        (MixedIn, MixedAfter),
        *((lambda at=at: own(object, at, 0.5)(), lambda at=at: own(object, at, 0.9)()) for at in TEXTS),
    ],
    ids=[
        *("lambdas in a line", "lambdas in lambdas", "modules of one package", "builtins", "packages", "classes"),
        *("partial", "attribute of a partial", "property", "static method", "class method"),
        *("random numbers", "logger", "hook", "known by name", "order of bases", *TEXTS),
    ],
)
def test_what_computes_otherwise_has_another_digest(one: Callable[[], Any], other: Callable[[], Any]) -> None:
    assert lasting_digest(one()) == lasting_digest(one()) != lasting_digest(other())


def test_a_graph_counts_with_the_functions_that_it_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    strong, weak = traced(wrapped, monkeypatch), traced(functools.wraps(wrapped)(lambda x: x * 0.9), monkeypatch)
    assert strong.code == weak.code
    assert lasting_digest(strong) != lasting_digest(weak)


class Vectorized:
    """What numpy and packages in C call a function, without its code."""

    half = np.frompyfunc(lambda x: x * 0.5, 1, 1)


def test_functions_without_a_source_have_no_digest() -> None:
    filled: dict[str, Any] = {"__name__": __name__, "__file__": __file__}
    lines = "\n" * (scaled.__code__.co_firstlineno - 1)
    exec(compile(f"{lines}def scale(x, by=0.5):\n    return x\n", __file__, "exec"), filled)  # noqa: S102

    @dataclasses.dataclass
    class Holder:
        by: float = 0.5

    Holder.method = eval("lambda self: 0.5")  # type: ignore[attr-defined]  # noqa: S307
    for value in (Vectorized.half, filled["scale"], Holder()):
        with pytest.raises(Unhashable):
            lasting_digest(value)


def test_lambdas_of_a_line_without_their_columns_have_no_digest() -> None:
    for one in LEVELS:
        bare = one.__code__.replace(co_linetable=b"")
        with pytest.raises(Unhashable, match="<lambda>, a function without a source"):
            lasting_digest(types.FunctionType(bare, globals()))


# Modules of the user's


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    folder = tmp_path / "own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "own_deep.py").write_text("BY = 0.5\ndef scaled(x):\n    return x * BY\n", encoding="utf-8")
    (folder / "own_noise.py").write_text(
        "from own_package.own_deep import scaled\nLEVEL = 0.5\ndef blur(x):\n    return scaled(x)\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("own_package.own_noise")
    monkeypatch.setitem(globals(), "own_package", sys.modules["own_package"])
    monkeypatch.setitem(globals(), "own_noise", sys.modules["own_package.own_noise"])
    yield folder
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        del sys.modules[name]


def by_chain(x: Any) -> Any:
    return own_package.own_noise.blur(x)  # type: ignore[name-defined]  # noqa: F821


def constant_by_chain(x: Any) -> Any:
    return own_package.own_noise.LEVEL * x  # type: ignore[name-defined]  # noqa: F821


def by_default(x: Any, of: Any = None) -> Any:
    return of.LEVEL * x


def by_keyword(x: Any, *, of: Any = None) -> Any:
    return of.LEVEL * x


def by_computed_name(x: Any, name: str = "blur") -> Any:
    return getattr(own_noise, name)(x)  # type: ignore[name-defined]  # noqa: F821


class Holds:
    def __init__(self, of: Any) -> None:
        self.of = of

    def __call__(self, x: Any) -> Any:
        return self.of.LEVEL * self.of.blur(x)


def with_defaults(of: Any, **changed: Any) -> Any:
    made = types.FunctionType(of.__code__, globals(), closure=of.__closure__)
    made.__qualname__, made.__defaults__, made.__kwdefaults__ = of.__qualname__, of.__defaults__, of.__kwdefaults__
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def closed(of: Any) -> Any:
    def inner(x: Any) -> Any:
        return of.LEVEL * x

    return inner


@pytest.mark.parametrize(
    ("reader", "at", "name"),
    [
        (lambda _: by_chain, "own_package.own_deep", "BY"),
        (lambda _: constant_by_chain, "own_package.own_noise", "LEVEL"),
        (closed, "own_package.own_noise", "LEVEL"),
        (lambda of: with_defaults(by_default, __defaults__=(of,)), "own_package.own_noise", "LEVEL"),
        (lambda of: with_defaults(by_keyword, __kwdefaults__={"of": of}), "own_package.own_noise", "LEVEL"),
        (Holds, "own_package.own_noise", "LEVEL"),
        (lambda of: [of], "own_package.own_noise", "LEVEL"),
        (lambda _: by_computed_name, "own_package.own_noise", "LEVEL"),
    ],
    ids=["chain", "constant by chain", "closure", "default", "keyword", "object", "list", "computed name"],
)
def test_a_changed_value_in_a_module_counts(
    package: Path, monkeypatch: pytest.MonkeyPatch, reader: Callable[[Any], Any], at: str, name: str
) -> None:
    value = reader(sys.modules["own_package.own_noise"])
    before = lasting_digest(value)
    monkeypatch.setattr(sys.modules[at], name, 0.9)
    assert lasting_digest(value) != before


@pytest.mark.parametrize("reader", [lambda _: by_computed_name, Holds], ids=["computed name", "object"])
def test_an_edited_file_behind_a_module_that_is_passed_on_counts(
    package: Path, monkeypatch: pytest.MonkeyPatch, reader: Callable[[Any], Any]
) -> None:
    value = reader(sys.modules["own_package.own_noise"])
    before = lasting_digest(value)
    file = package / "own_deep.py"
    file.write_text(file.read_text(encoding="utf-8").replace("x * BY", "x"), encoding="utf-8")
    assert lasting_digest(value) != before


def test_a_module_of_which_names_are_read_counts_by_these(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit elsewhere, of the model's own code say, makes no baseline one of another measure."""
    before = lasting_digest(constant_by_chain)
    monkeypatch.setattr(sys.modules["own_package.own_noise"], "blur", weaker)
    (package / "own_deep.py").write_text("BY = 0.9\n", encoding="utf-8")
    assert lasting_digest(constant_by_chain) == before


def test_a_package_without_a_file_has_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_folder").mkdir()
    (tmp_path / "own_folder" / "own_level.py").write_text("LEVEL = 0.5\n", encoding="utf-8")
    monkeypatch.delitem(sys.modules, "own_folder", raising=False)
    module = importlib.import_module("own_folder.own_level")
    folder = sys.modules["own_folder"]
    assert folder.__file__ is None
    assert lasting_digest(folder) == lasting_digest(folder) != lasting_digest(module)
    for name in ("own_folder", "own_folder.own_level"):
        del sys.modules[name]


def by_import_module(x: Any) -> Any:
    return importlib.import_module("own_" + "package").LEVEL * x


def test_a_module_that_is_imported_by_a_computed_name_is_not_known() -> None:
    with pytest.raises(Unhashable, match=r"\(read by by_import_module\) is import_module\(\), which"):
        lasting_digest(by_import_module)


# What the user put in a package's place


def of_torch(x: Tensor) -> Tensor:
    return torch.relu(F.pad(x, (1, 1)))


@pytest.mark.parametrize(
    ("value", "place", "name"),
    [(of_torch, torch, "relu"), (of_torch, F, "pad"), (nn.ReLU(), nn.ReLU, "forward"), (nn.ReLU, nn.Module, "train")],
    ids=["function", "function in a part", "method", "method of a base"],
)
def test_a_replaced_function_of_a_package_counts(
    monkeypatch: pytest.MonkeyPatch, value: Any, place: Any, name: str
) -> None:
    before = lasting_digest(value)
    monkeypatch.setattr(place, name, weaker)
    assert lasting_digest(value) != before
    monkeypatch.undo()
    assert lasting_digest(value) == before


def test_a_method_that_a_package_writes_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As attrs writes them, in a file and a module of no name."""
    before, made = lasting_digest(nn.ReLU()), dict[str, Any]()
    exec(compile("def __eq__(self, other): return True", "<attrs generated methods>", "exec"), made)  # noqa: S102
    monkeypatch.setattr(nn.ReLU, "__eq__", made["__eq__"])
    assert lasting_digest(nn.ReLU()) == before


# What computes the same has the same digest


class Settings(NamedTuple):
    by: float = 0.5
    at: int = 1

    def half(self) -> float:
        return self.by / 2


Pair = collections.namedtuple("Pair", "by at", defaults=[1])


@runtime_checkable
class Shape(Protocol):
    def area(self) -> float: ...


class Square(Shape):
    def area(self) -> float:
        return 0.5


class Fields(TypedDict):
    by: float


class Kind(enum.Enum):
    LIGHT = 0.5


@functools.singledispatch
def dispatched(x: Any) -> Any:
    return x


@dispatched.register
def _(x: int) -> int:
    return x + 1


class Cached:
    @functools.cached_property
    def by(self) -> float:
        return 0.5


class WithState(Cached):
    def __init__(self) -> None:
        self.at = 1


def text_of(x: dict[str, float]) -> list[str]:
    return [f"{x['by']!r:>{len('width')}}", f"a{x}b\n{'quoted'}c", f"{x=}", f"{NUMBER:.3f}"]


def test_named_tuples_have_digests() -> None:
    values = [Settings(), Settings(0.9), Pair(1), Pair(2), Settings, Pair]
    assert len({lasting_digest(value) for value in values}) == len(values)


def test_what_a_call_keeps_changes_no_digest() -> None:
    for value, call in (
        (dispatched, lambda: dispatched(1)),
        (cached := Cached(), lambda: cached.by),
        (state := WithState(), lambda: state.by),
        (Square(), lambda: isinstance(1, Shape)),
    ):
        before = lasting_digest(value)
        call()
        assert lasting_digest(value) == before


def test_a_parameter_without_a_value_has_no_digest() -> None:
    with pytest.raises(Unhashable, match="no value yet"):
        lasting_digest(nn.LazyLinear(3))


# Made with Python 3.11, torch 2.13 and numpy 2.4, and the same with Python 3.13, torch 2.15 and numpy 2.5.
LASTING: dict[str, tuple[Any, str]] = {
    "formatted": (text_of, "66a931e316eaa83c"),
    "named tuple": (Settings(), "9e1c57311e213d16"),
    "protocol": (Square(), "c138310441157603"),
    "typed dictionary": (Fields, "8e537f9eeaa858c1"),
    "enumeration": (Kind.LIGHT, "9cbb871a3a0d5109"),
    "object": (WithState(), "961928d8bc0f421d"),
    "lambda": (LEVELS[0], "aa8f127481c828a0"),
    "inner lambda": (INNER, "eb319be28f788dce"),
    "builtin": (math.sqrt, "a39aa5040215df23"),
    "network": (nn.Sequential(nn.ReLU(), nn.Identity()), "df84892c0f8482c2"),
}


@pytest.mark.parametrize("name", LASTING)
def test_digests_are_those_of_other_releases(name: str) -> None:
    value, digest = LASTING[name]
    assert lasting_digest(value)[:16] == digest
