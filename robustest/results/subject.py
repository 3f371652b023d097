"""Subject of a result: the claim, its key, and the things that it varies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustest.errors import expected
from robustest.typed import check_fields
from robustest.words import exactly


@dataclass(frozen=True, slots=True)
class Variation:
    """A threat, shift, cue or strategy as data.

    Raises:
        TypeError: a field has another type.
    """

    name: str  # name of its class or function, e.g. "Linf" or "gaussian_noise"
    # A parameter that a later version adds must not make another variation, so defaults are left out.
    # plain JSON values by name, without those that are defaults
    parameters: Mapping[str, Any] = field(default_factory=dict)
    axis: str | None = None  # parameter along which claims make a curve, a number, e.g. "eps"; or None

    def __post_init__(self) -> None:
        check_fields(self, "a variation")
        if self.axis is not None and type(self.at) not in (int, float):
            raise TypeError(expected(f"the parameter {self.axis!r} of a variation to be a number", self.at))

    def __str__(self) -> str:
        """Return the variation as code, with exact numbers: "Linf(eps=8/255)"."""
        given = ", ".join(f"{name}={_written(value)}" for name, value in self.parameters.items())
        return f"{self.name}({given})" if given else self.name

    @property
    def without_axis(self) -> Variation:
        """Return the variation without the parameter on the axis, which all points of its curve share."""
        return Variation(self.name, {name: value for name, value in self.parameters.items() if name != self.axis})

    @property
    def at(self) -> float | None:
        """Place on the axis, or None."""
        place: float | None = None if self.axis is None else self.parameters.get(self.axis)
        return place


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The claim of a result, whatever was measured and decided.

    Raises:
        TypeError: the scope is unknown.
    """

    kind: str  # kind of claim, e.g. "robust_accuracy"
    # the same in every run, for any words and any value of the threshold; e.g.
    # "robust_accuracy(Linf(eps=8/255), attack=fast) at_least"
    claim: str = ""
    statement: str  # the claim in words, without its requirement
    # key of the claim without its threshold and the number on its axis: claims of one family make a curve
    family: str = ""
    setting: str  # threat, shift or cue in words; `varied` has it as data
    method: str  # attack or intervention in words
    varied: tuple[Variation, ...] = ()  # threats, shifts, cues or strategies of the claim, with their parameters
    # parameter along which such claims make a curve, and its value here, e.g. "eps" and 0.031; or None
    axis: str | None = None
    at: float | None = None
    scope: str = "set"  # "set" (these samples) or "population" (the one that they were drawn from)

    def __post_init__(self) -> None:
        if self.scope not in ("set", "population"):
            raise TypeError(expected('scope of a result to be "set" or "population"', self.scope))
        if not self.claim.startswith(self.kind):  # not given, or of a result of another kind
            object.__setattr__(self, "claim", f"{self.kind}: {self.statement}")

    @property
    def asserted_by(self) -> str:
        """Name of the assertion of this kind of claim."""
        return f"assert_{self.kind}"


def _written(value: object) -> str:
    """Return a plain JSON value in full, unlike `shown`: different values have different texts."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_written(part)}' for key, part in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(_written, value))})"
    return exactly(value) if isinstance(value, float) else str(value)
