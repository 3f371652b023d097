"""Hypothesis strategies of changes: shifts, severities, poses, perturbations, and chains of them."""

# Hypothesis shrinks towards fewer steps, lower severities and shares, smaller poses, and earlier names, and lowers
# severities before it tries other names. The changes are values: they can be printed as code, compared and applied
# again.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from inspect import signature
from types import FunctionType
from typing import Any, ClassVar

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from robustest import rng
from robustest.checks import checked_severity, checked_whole, require
from robustest.errors import ConfigError, expected
from robustest.shifts import SHIFTS, Shift, ShiftFunction, as_shift
from robustest.threats import Bounds, Spatial, Threat, rendered
from robustest.threats.threat import per_row

__all__ = [
    "Change",
    "Composition",
    "Perturbation",
    "Pose",
    "Step",
    "as_change",
    "changes",
    "compositions",
    "images",
    "perturbations",
    "poses",
    "severities",
    "shifts",
    "strategy_words",
]

_SHARES = 10
# Private functions in hypothesis' words for the strategies of this module.
_PRIVATE = ("_shifts(", "_changes(", "_poses(", "_perturbations(", "_compositions(")
_DRAWS = 99


def severities(*, min_severity: int = 1, max_severity: int = 5) -> SearchStrategy[int]:
    """Return a strategy of severities, the lowest the simplest.

    Raises:
        ConfigError: not 1 <= min_severity <= max_severity <= 5.
    """
    for name, value in (("min_severity", min_severity), ("max_severity", max_severity)):
        checked_severity(value, name)
    require(min_severity <= max_severity, f"max_severity to be at least min_severity, {min_severity}", max_severity)
    return st.integers(min_severity, max_severity)


def shifts(
    names: Sequence[str | ShiftFunction] | None = None,
    *,
    min_severity: int = 1,
    max_severity: int = 5,
    parameters: str = "auto",
) -> SearchStrategy[Shift]:
    """Return a strategy of shifts at severities; the lowest severity of the first name is the simplest.

    Args:
        names: names of shifts, or functions of a batch; None takes all shifts of images.
        min_severity, max_severity: whole numbers in 1..5.
        parameters: as in `Shift`.

    Raises:
        UnknownNameError: no shift has this name.
        ConfigError: there are no names, or an argument is out of range.
    """
    severities(min_severity=min_severity, max_severity=max_severity)
    if isinstance(names, str) or (names is not None and not len(names)):
        raise ConfigError(expected("names of one shift or more, as a list", names))
    for name in SHIFTS if names is None else names:
        # A wrong name is an error here, not in the middle of a search.
        _shift(name, min_severity, parameters)
    given = {
        "names": None if names is None else tuple(names),
        "min_severity": min_severity,
        "max_severity": max_severity,
        "parameters": parameters,
    }
    return _shifts(**_unusual(given, {"names": None, "min_severity": 1, "max_severity": 5, "parameters": "auto"}))


@st.composite
def _shifts(
    draw: DrawFn,
    names: tuple[str | ShiftFunction, ...] | None = None,
    min_severity: int = 1,
    max_severity: int = 5,
    parameters: str = "auto",
) -> Shift:
    severity = draw(st.integers(min_severity, max_severity))  # drawn before the name: hypothesis lowers it first
    return _shift(draw(st.sampled_from(names or tuple(SHIFTS))), severity, parameters)


def _shift(name: str | ShiftFunction, severity: int, parameters: str) -> Shift:
    found = as_shift(name, severity)
    if found.level is None:  # no severity argument: five severities would be five identical changes
        return as_shift(name, None)
    return Shift(found.name, severity, found.function, parameters) if found.name in SHIFTS else found


def _unusual(given: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value != usual[name]}


_HUNDREDTHS = 100


def changes(kind: Callable[..., Any], **numbers: Any) -> SearchStrategy[Any]:
    """Return a strategy of changes with numbers, `kind(**numbers)`; the first number of each range is the simplest.

    Args:
        kind: a class such as `robustest.shifts.Gain` or a frozen data class of yours, whose instances are functions of
            a batch; or a function of a batch, whose arguments of these names are then fixed.
        **numbers: for each a range (mildest, most severe), in either direction: of whole numbers, or in hundredths of
            the range where one end is none. Any other value is fixed.

    Raises:
        ConfigError: kind cannot be called, no number has a range, or kind refuses an end of one.
    """
    require(callable(kind), "a class or a function of a batch", kind)
    ranges = {name: given for name, given in numbers.items() if _is_range(given)}
    require(ranges, "a range (mildest, most severe) for one number or more", numbers)
    fixed = {name: given for name, given in numbers.items() if name not in ranges}
    for end in (0, 1):  # an end out of range is an error here, not in the middle of a search
        as_change(_change(kind, {**fixed, **{name: given[end] for name, given in ranges.items()}}))
    return _changes(kind, **numbers)


def _is_range(given: object) -> bool:
    numbers = isinstance(given, tuple) and len(given) == 2
    return numbers and all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in given)  # type: ignore[attr-defined]


def _change(kind: Callable[..., Any], numbers: dict[str, Any]) -> Any:
    return kind(**numbers) if isinstance(kind, type) else partial(kind, **numbers)


@st.composite
def _changes(draw: DrawFn, /, kind: Callable[..., Any], **numbers: Any) -> Any:
    for name, given in numbers.items():
        if not _is_range(given):
            continue
        mild, severe = given
        # Steps from the mild end, so that hypothesis shrinks towards it, one number after the other.
        if isinstance(mild, int) and isinstance(severe, int):
            step = draw(st.integers(0, abs(severe - mild)))
            numbers[name] = mild + step * (1 if severe > mild else -1)
        else:
            share = draw(st.integers(0, _HUNDREDTHS)) / _HUNDREDTHS
            numbers[name] = float(f"{mild + share * (severe - mild):.12g}")  # 0.3, not 0.30000000000000004
    return _change(kind, numbers)


def poses(*, degrees: int = 30, translation: float = 0.1, zoom: float = 0.1) -> SearchStrategy[Pose]:
    """Return a strategy of poses, in whole degrees and hundredths; the unchanged image is the simplest.

    Args:
        degrees: largest rotation in either direction, a whole number in 0..180.
        translation: largest shift along each axis, as a share of the image's side, in 0..1.
        zoom: largest relative change of size in either direction, in 0..0.9.

    Raises:
        ConfigError: an argument is out of range.
    """
    require(type(degrees) is int, "degrees to be a whole number in 0..180", degrees)
    Pose(degrees, translation, translation, zoom)
    require(min(degrees, translation, zoom) >= 0, "limits >= 0", (degrees, translation, zoom))
    # Arguments that are defaults are left out, so that hypothesis' repr is as short as the user's code.
    given = {"degrees": degrees, "translation": translation, "zoom": zoom}
    return _poses(**_unusual(given, {"degrees": 30, "translation": 0.1, "zoom": 0.1}))


@st.composite
def _poses(draw: DrawFn, degrees: int = 30, translation: float = 0.1, zoom: float = 0.1) -> Pose:
    turn = draw(st.integers(-degrees, degrees))
    hundredths = [int(round(limit * 100, 6)) for limit in (translation, translation, zoom)]
    right, down, larger = (draw(st.integers(-most, most)) / 100 for most in hundredths)
    return Pose(turn, right, down, larger)


def perturbations(threat: Threat) -> SearchStrategy[Perturbation]:
    """Return a strategy of random places inside a threat, in tenths of the way there; the image is the simplest.

    Args:
        threat: e.g. Linf(8 / 255); lengths are in input units.

    Raises:
        ConfigError: this is no threat.
    """
    Perturbation(threat)
    # A search among random places is weak: alone, an attack (`assert_robust_accuracy`) finds far more. This is for
    # chains that add a little of it to a shift.
    return _perturbations(threat)


@st.composite
def _perturbations(draw: DrawFn, threat: Threat) -> Perturbation:
    return Perturbation(threat, draw(st.integers(0, _SHARES)) / _SHARES, draw(st.integers(0, _DRAWS)))


def images(x: Tensor, threat: Threat, *, bounds: Bounds = (0.0, 1.0)) -> SearchStrategy[Tensor]:
    """Return a strategy of images inside a threat around given ones, for your own tests; x itself is the simplest.

    Args:
        x: (N, C, H, W) floats inside the bounds.
        threat: as for `perturbations`.
        bounds: smallest and largest value of an input.

    Raises:
        ConfigError: x are no such images, or this is no threat.
    """
    if not isinstance(x, Tensor) or x.ndim != 4 or not x.is_floating_point():
        raise ConfigError(expected("images as a tensor of floats (N, C, H, W)", getattr(x, "shape", x)))
    key = rng.keys(0, torch.arange(len(x))).to(x.device)
    return perturbations(threat).map(lambda one: one(x, key, bounds))


def compositions(
    steps: SearchStrategy[Step] | None = None, *, max_steps: int = 3, min_steps: int = 0
) -> SearchStrategy[Composition]:
    """Return a strategy of chains of different steps, in the order of application; no step is the simplest.

    Args:
        steps: a strategy of steps, e.g. `shifts(max_severity=3) | poses()`; None takes `shifts()`.
        max_steps: the longest chain, >= 1.
        min_steps: the shortest chain, in 0..max_steps.

    Raises:
        ConfigError: an argument is out of range, or steps are no strategy.
    """
    if steps is not None and not isinstance(steps, SearchStrategy):
        raise ConfigError(expected("steps to be a strategy such as shifts()", steps))
    checked_whole("max_steps", max_steps, 1)
    if type(min_steps) is not int or not 0 <= min_steps <= max_steps:
        raise ConfigError(expected(f"min_steps to be a whole number in 0..{max_steps}", min_steps))
    given = {"steps": steps, "max_steps": max_steps, "min_steps": min_steps}
    return _compositions(**_unusual(given, {"steps": None, "max_steps": 3, "min_steps": 0}))


@st.composite
def _compositions(
    draw: DrawFn, steps: SearchStrategy[Step] | None = None, max_steps: int = 3, min_steps: int = 0
) -> Composition:
    step = _ANY if steps is None else steps
    return Composition(tuple(draw(st.lists(step, min_size=min_steps, max_size=max_steps, unique_by=_kind))))


_ANY: SearchStrategy[Step] = _shifts()


def _kind(step: object) -> object:
    if isinstance(step, Shift):
        return step.name
    while isinstance(step, partial):
        step = step.func
    name = getattr(step, "__name__", None)
    # An object with numbers may be named by them.
    return name if isinstance(step, FunctionType) and name != "<lambda>" else type(step).__qualname__


def strategy_words(strategy: SearchStrategy[Any]) -> str:
    """Return a strategy as code: hypothesis' repr, with the public names of this module."""
    words = repr(strategy)
    for name in _PRIVATE:
        words = words.replace(name, name.removeprefix("_"))
    # A memory address would differ in every run, and with it the key of the claim.
    return "a strategy" if " at 0x" in words else words


_ANYWHERE = Spatial(rotation=180.0, translation=1.0, scale=0.9)


@dataclass(frozen=True, slots=True)
class Pose:
    """One rotation, translation and zoom of all images; a shift for any claim on a shift.

    Args:
        degrees: rotation counter-clockwise about the centre, in -180..180.
        right, down: shift as a share of the image's width and height, in -1..1.
        zoom: relative change of size, in -0.9..0.9: 0.1 enlarges by a tenth.

    Raises:
        ConfigError: a number is out of its range.
    """

    moves: ClassVar[bool] = True

    degrees: float = 0.0
    right: float = 0.0
    down: float = 0.0
    zoom: float = 0.0

    def __post_init__(self) -> None:
        for field, limit in zip(fields(self), _ANYWHERE.limits, strict=True):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not -limit <= value <= limit:
                raise ConfigError(expected(f"{field.name} to be a number in -{limit:g}..{limit:g}", value))

    def __call__(self, x: Tensor, key: Tensor, bounds: Bounds = (0.0, 1.0)) -> Tensor:
        """Return the images (N, C, H, W) in this pose; pixels from outside have the lower bound (black)."""
        pose = x.new_tensor([self.degrees, self.right, self.down, self.zoom]).expand(len(x), -1)
        return _ANYWHERE.render(pose, _ANYWHERE.region(x, bounds))

    def __str__(self) -> str:
        parts = (f"{field.name} {getattr(self, field.name):g}" for field in fields(self) if getattr(self, field.name))
        return f"pose ({', '.join(parts) or 'as it is'})"

    @property
    def __name__(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A random place inside each sample's threat; a shift for any claim on a shift.

    Args:
        threat: the threat; lengths such as eps are in input units.
        share: share of the way from the image to that place, in 0..1.
        draw: number of the draw; each has other places.

    Raises:
        ConfigError: share is out of range, or this is no threat.
    """

    threat: Threat
    share: float = 1.0
    draw: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.threat, type) or not isinstance(self.threat, Threat):
            raise ConfigError(expected("a threat model such as Linf(8 / 255)", self.threat))
        if isinstance(self.share, bool) or not isinstance(self.share, (int, float)) or not 0 <= self.share <= 1:
            raise ConfigError(expected("share to be a number in 0..1", self.share))

    def __call__(self, x: Tensor, key: Tensor, bounds: Bounds = (0.0, 1.0)) -> Tensor:
        region = self.threat.region(x, bounds)
        origin = self.threat.origin(region)
        far = self.threat.start(region, rng.fold(rng.fold(key, "perturbation"), self.draw))
        share = per_row(x.new_full((len(x),), float(self.share)), far)
        return rendered(self.threat, self.threat.project(torch.lerp(origin, far, share), region), region)

    def __str__(self) -> str:
        return f"{self.share:g} of the way to a random place in {self.threat}, draw {self.draw}"

    @property
    def moves(self) -> bool:
        """True if targets that are places must follow the change."""
        return isinstance(self.threat, Spatial)

    @property
    def __name__(self) -> str:
        return str(self)


Step = Shift | Pose | Perturbation | ShiftFunction
"""A step of a `Composition`: any function of a batch, best a frozen data class of numbers."""


@dataclass(frozen=True, slots=True)
class Composition:
    """Steps one after the other; a shift for any claim on a shift.

    Args:
        steps: in their order; no step leaves samples unchanged.

    Raises:
        ConfigError: a step is invalid.
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        for step in self.steps:
            as_change(step)

    def __call__(self, x: Tensor, key: Tensor, bounds: Bounds = (0.0, 1.0), sample_rate: int | None = None) -> Tensor:
        """Return the changed samples (N, *S), or samples in their own format; each step receives the same as alone."""
        for step, own in self.in_turn(key):
            x = step.apply(x, own, bounds, sample_rate) if isinstance(x, Tensor) else step.of_values(x, own)
        return x

    def in_turn(self, key: Tensor) -> Iterator[tuple[Shift, Tensor]]:
        """Yield the steps as shifts, each with its keys (N,)."""
        counts = Counter[str]()
        for step in self.steps:
            name = str(_kind(step))
            # A step has the same draws as alone, with any steps beside it; each further step of the same name has
            # other draws.
            own = rng.fold(key, counts[name]) if counts[name] else key
            counts[name] += 1
            yield as_change(step), own

    def __str__(self) -> str:
        return ", then ".join(str(as_change(step)) for step in self.steps) or "no change"

    @property
    def __name__(self) -> str:
        return str(self)


Change = Step | Composition
"""A value that strategies draw, and that claims on a shift take."""


def as_change(drawn: object) -> Shift:
    """Return a drawn value as a shift.

    Raises:
        ConfigError: it is no shift and no function of a batch.
    """
    if isinstance(drawn, Shift) or (callable(drawn) and not isinstance(drawn, type)):
        return as_shift(drawn, None)
    raise ConfigError(expected("a strategy that draws shifts, or functions of a batch", drawn))


def code_of(drawn: object) -> str:
    """Return a Python expression that makes a drawn value again; for a function its name and its closure."""
    if isinstance(drawn, Composition):
        steps = "".join(f"{code_of(step)}, " for step in drawn.steps)
        return f"Composition(({steps.rstrip()}))" if steps else "Composition()"
    if isinstance(drawn, Shift):
        given = [repr(drawn.name)]
        if drawn.level is not None:
            given.append(str(drawn.severity))
        if not as_is(drawn):
            given.append(f"{'function=' * (drawn.level is None)}{code_of(drawn.function)}")
        if drawn.parameters != "auto":
            given.append(f"parameters={drawn.parameters!r}")
        return f"Shift({', '.join(given)})"
    if isinstance(drawn, partial):
        given = [*map(repr, drawn.args), *(f"{name}={value!r}" for name, value in drawn.keywords.items())]
        return f"partial({', '.join([code_of(drawn.func), *given])})"
    if isinstance(drawn, (Pose, Perturbation)) or is_dataclass(drawn):
        return repr(drawn)
    name = getattr(drawn, "__name__", None)
    return _made(drawn) if name is None else f"{name}{_closure_words(drawn)}"


def _made(drawn: object) -> str:
    kind, kept = type(drawn), getattr(drawn, "__dict__", {})
    names = [name for name in signature(kind).parameters if name in kept]
    if kind.__repr__ is not object.__repr__ or len(names) < len(signature(kind).parameters):
        return repr(drawn)
    return f"{kind.__name__}({', '.join(f'{name}={kept[name]!r}' for name in names)})"


def _closure_words(function: object) -> str:
    cells, code = getattr(function, "__closure__", None) or (), getattr(function, "__code__", None)
    kept = [
        f"{name}={cell.cell_contents!r}" for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False)
    ]
    return f" with {', '.join(kept)}" if kept else ""


def as_is(shift: Shift) -> bool:
    """Return True if a shift's name determines its function."""
    try:
        return Shift(shift.name, shift.severity).function is shift.function
    except ConfigError:
        return False
