"""What strategies draw: changes of images, as values that can be told, compared and applied again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from inspect import signature
from typing import ClassVar

import torch
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, expected
from robustest.shifts import Shift, ShiftFunction, as_shift
from robustest.threats import Bounds, Spatial, Threat
from robustest.threats.threat import per_row

_ANYWHERE = Spatial(rotation=180.0, translation=1.0, scale=0.9)


@dataclass(frozen=True, slots=True)
class Pose:
    """Every image turned, moved and zoomed alike; a shift that can be passed to any claim on one.

    Args:
        degrees: counter-clockwise about the centre, in -180..180.
        right, down: the way, as a share of the image's width and height, in -1..1.
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
        """The images (N, C, H, W) inside the bounds, so posed; what comes in from outside is black, the lower one."""
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
    """Every sample moved to a random place inside a threat of its own; a shift that can be passed to any claim on one.

    Args:
        threat: the threat; lengths such as eps are in input units, as in every claim.
        share: how far from the image towards that place, in 0..1.
        draw: number of the draw: another one has other places.

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
        """The samples (N, *S) inside the bounds, so moved."""
        region = self.threat.region(x, bounds)
        origin = self.threat.origin(region)
        far = self.threat.start(region, rng.fold(rng.fold(key, "perturbation"), self.draw))
        share = per_row(x.new_full((len(x),), float(self.share)), far)
        return self.threat.render(self.threat.project(torch.lerp(origin, far, share), region), region)

    def __str__(self) -> str:
        return f"{self.share:g} of the way to a random place in {self.threat}, draw {self.draw}"

    @property
    def moves(self) -> bool:
        """Return True if targets that are places have to follow the change."""
        return isinstance(self.threat, Spatial)

    @property
    def __name__(self) -> str:
        return str(self)


Step = Shift | Pose | Perturbation
"""What a `Composition` is made of."""


@dataclass(frozen=True, slots=True)
class Composition:
    """Steps one after the other, each on what the last one left; a shift that can be passed to any claim on one.

    A step draws what it would draw by itself, whatever steps are beside it; one of several of the same name has draws
    of its own.

    Args:
        steps: in their order; none at all leaves samples as they are.

    Raises:
        ConfigError: a step is none.
    """

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        for step in self.steps:
            if not isinstance(step, (Shift, Pose, Perturbation)):
                raise ConfigError(expected("steps to be of Shift, Pose or Perturbation", step))

    def __call__(self, x: Tensor, key: Tensor, bounds: Bounds = (0.0, 1.0)) -> Tensor:
        """The samples (N, *S) inside the bounds, so changed; each step gets the units that it would get by itself."""
        for step, own in self.in_turn(key):
            x = step.apply(x, own, bounds)
        return x

    def in_turn(self, key: Tensor) -> Iterator[tuple[Shift, Tensor]]:
        """The steps as shifts, each with its keys (N,)."""
        seen = Counter[str]()
        for step in self.steps:
            name = step.name if isinstance(step, Shift) else type(step).__qualname__
            own = rng.fold(key, seen[name]) if seen[name] else key
            seen[name] += 1
            yield as_shift(step, None), own

    def __str__(self) -> str:
        return ", then ".join(map(str, self.steps)) or "no change"

    @property
    def __name__(self) -> str:
        return str(self)


Change = Step | Composition | ShiftFunction
"""What strategies draw, and what claims on a shift take."""


def as_change(drawn: object) -> Shift:
    """The shift that a drawn value is.

    Raises:
        ConfigError: it is no shift and no function of a batch.
    """
    if isinstance(drawn, Shift) or (callable(drawn) and not isinstance(drawn, type)):
        return as_shift(drawn, None)
    raise ConfigError(expected("a strategy that draws shifts, or functions of a batch", drawn))


def code_of(drawn: object) -> str:
    """A Python expression that makes a drawn value again; a function's own name, and what it keeps of its making."""
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
    """An object by its own words, or, where these say only where it lies in memory, by its type and arguments."""
    kind, kept = type(drawn), getattr(drawn, "__dict__", {})
    names = [name for name in signature(kind).parameters if name in kept]
    if kind.__repr__ is not object.__repr__ or len(names) < len(signature(kind).parameters):
        return repr(drawn)
    return f"{kind.__name__}({', '.join(f'{name}={kept[name]!r}' for name in names)})"


def _closure_words(function: object) -> str:
    """What a function made inside another keeps of it: its name alone would not make it again."""
    cells, code = getattr(function, "__closure__", None) or (), getattr(function, "__code__", None)
    kept = [
        f"{name}={cell.cell_contents!r}" for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False)
    ]
    return f" with {', '.join(kept)}" if kept else ""


def as_is(shift: Shift) -> bool:
    """Whether a shift's name says it all."""
    try:
        return Shift(shift.name, shift.severity).function is shift.function
    except ConfigError:
        return False
