"""Hypothesis strategies of changes.

Simplest first: hypothesis shrinks towards fewer steps, lower severities and shares, smaller poses, and names that
stand earlier, and tries to lower severities before it tries other names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from robustest import rng
from robustest.checks import checked_whole
from robustest.errors import ConfigError, expected
from robustest.shifts import SHIFTS, Shift, ShiftFunction, as_shift
from robustest.strategies.changes import Composition, Perturbation, Pose, Step
from robustest.threats import Bounds, Threat

_SHARES = 10
_PRIVATE = ("_shifts(", "_poses(", "_perturbations(", "_compositions(")
"""Functions by which hypothesis names the strategies of this module."""
_DRAWS = 99


def severities(*, min_severity: int = 1, max_severity: int = 5) -> SearchStrategy[int]:
    """Severities, the lowest the simplest.

    Raises:
        ConfigError: not 1 <= min_severity <= max_severity <= 5.
    """
    for name, value in (("min_severity", min_severity), ("max_severity", max_severity)):
        if type(value) is not int or not 1 <= value <= 5:
            raise ConfigError(expected(f"{name} to be a whole number 1..5", value))
    if min_severity > max_severity:
        raise ConfigError(expected(f"max_severity to be at least min_severity, {min_severity}", max_severity))
    return st.integers(min_severity, max_severity)


def shifts(
    names: Sequence[str | ShiftFunction] | None = None,
    *,
    min_severity: int = 1,
    max_severity: int = 5,
    parameters: str = "auto",
) -> SearchStrategy[Shift]:
    """Shifts at severities; the lowest severity of the first name is the simplest.

    Args:
        names: shifts' names, or functions of a batch; None takes all that robustest brings.
        min_severity, max_severity: of 1..5.
        parameters: as in `Shift`.

    Raises:
        UnknownNameError: no shift has this name.
        ConfigError: there are no names, or an argument is out of range.
    """
    severities(min_severity=min_severity, max_severity=max_severity)
    if isinstance(names, str) or (names is not None and not len(names)):
        raise ConfigError(expected("names of one shift or more, as a list", names))
    for name in SHIFTS if names is None else names:
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
    severity = draw(st.integers(min_severity, max_severity))  # before the name: milder comes before earlier
    return _shift(draw(st.sampled_from(names or tuple(SHIFTS))), severity, parameters)


def _shift(name: str | ShiftFunction, severity: int, parameters: str) -> Shift:
    found = as_shift(name, severity)
    if found.level is None:  # else one function at five severities would be five changes that are alike
        return as_shift(name, None)
    return Shift(found.name, severity, found.function, parameters) if found.name in SHIFTS else found


def _unusual(given: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """What is not as usual, so that a strategy's repr is as short as what a person wrote."""
    return {name: value for name, value in given.items() if value != usual[name]}


def poses(*, degrees: int = 30, translation: float = 0.1, zoom: float = 0.1) -> SearchStrategy[Pose]:
    """Poses, in whole degrees and hundredths; the image as it is is the simplest.

    Args:
        degrees: farthest turn, either way, a whole number in 0..180.
        translation: farthest way along each axis, as a share of the image's side, in 0..1.
        zoom: largest relative change of size, either way, in 0..0.9.

    Raises:
        ConfigError: an argument is out of range.
    """
    if type(degrees) is not int:
        raise ConfigError(expected("degrees to be a whole number in 0..180", degrees))
    Pose(degrees, translation, translation, zoom)
    if min(degrees, translation, zoom) < 0:
        raise ConfigError(expected("limits >= 0", (degrees, translation, zoom)))
    given = {"degrees": degrees, "translation": translation, "zoom": zoom}
    return _poses(**_unusual(given, {"degrees": 30, "translation": 0.1, "zoom": 0.1}))


@st.composite
def _poses(draw: DrawFn, degrees: int = 30, translation: float = 0.1, zoom: float = 0.1) -> Pose:
    turn = draw(st.integers(-degrees, degrees))
    right, down, larger = (_hundredths(draw, limit) for limit in (translation, translation, zoom))
    return Pose(turn, right, down, larger)


def _hundredths(draw: DrawFn, limit: float) -> float:
    most = int(round(limit * 100, 6))
    return draw(st.integers(-most, most)) / 100


def perturbations(threat: Threat) -> SearchStrategy[Perturbation]:
    """Random places inside a threat, in tenths of the way from the image; the image itself is the simplest.

    A search among random places is a weak one: for norm balls, patches and poses of each image's own, an attack
    (`assert_robust_accuracy`) finds far more. This is for chains, where a little of it comes on top of a shift.

    Args:
        threat: e.g. Linf(8 / 255); lengths are in input units.

    Raises:
        ConfigError: this is no threat.
    """
    Perturbation(threat)
    return _perturbations(threat)


@st.composite
def _perturbations(draw: DrawFn, threat: Threat) -> Perturbation:
    return Perturbation(threat, draw(st.integers(0, _SHARES)) / _SHARES, draw(st.integers(0, _DRAWS)))


def images(x: Tensor, threat: Threat, *, bounds: Bounds = (0.0, 1.0)) -> SearchStrategy[Tensor]:
    """Images inside a threat around given ones, for tests of a user's own; x itself is the simplest.

    Args:
        x: (N, C, H, W) floats inside the bounds.
        threat: as for `perturbations`.
        bounds: the least and the largest value of an input.

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
    """Chains of steps, in the order in which they are applied, none of them twice; no step at all is the simplest.

    Args:
        steps: what a step may be, e.g. `shifts(max_severity=3) | poses()`; None takes `shifts()`.
        max_steps: the longest chain, >= 1.
        min_steps: the shortest one, in 0..max_steps.

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


def _kind(step: Step) -> object:
    return step.name if isinstance(step, Shift) else type(step)


def strategy_words(strategy: SearchStrategy[Any]) -> str:
    """Return a strategy as a person wrote it: hypothesis' own words, with the public names of this module.

    A strategy in whose words an address in memory stands is only "a strategy": it would be another in every run.
    """
    words = repr(strategy)
    for name in _PRIVATE:
        words = words.replace(name, name.removeprefix("_"))
    return "a strategy" if " at 0x" in words else words
