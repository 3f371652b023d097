"""Facts, captions, counts, variations and limits: the parts of a result beside its value.

A kind of claim says them when it is measured, and they travel with the result. So a report prints what it is given, and
needs to know no kind of claim.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from robustest.errors import expected
from robustest.words import exactly

Value = str | int | float | bool
"""A fact's: one plain JSON value."""

_IN_A_LINE = 8
"""Entries of a mapping that are still read at a glance without a table."""

_NOTHING = "\N{EN DASH}"

SHOWN_ELSEWHERE = frozenset({"health", "baseline", "changed", "class_names", "clean_seen", "curves", "pictures"})
"""Details that any result may have, and for which reports have a place of its own."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One further number or sentence of a result.

    Attributes:
        label: what it is, in a few words.
        value: a number, yes or no, or words.
        unit: what the number counts or measures; empty for a share, and for words.
        leads: whether short reports print it too: the terminal, JUnit and the summary. The page and the JSON file have
            every fact.

    Raises:
        TypeError: a field has another type, or the number is not finite.
    """

    label: str
    value: Value
    unit: str = ""
    leads: bool = True

    def __post_init__(self) -> None:
        _check("a fact", {"label": self.label, "unit": self.unit}, str, "text")
        _check("a fact", {"leads": self.leads}, bool, "true or false")
        if not _is_value(self.value):
            raise TypeError(expected("value of a fact to be text, a finite number, true or false", self.value))

    def __str__(self) -> str:
        """The value as a report prints it."""
        return f"{shown(self.value)} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Variation:
    """A threat, shift, cue, strategy or another thing that a claim varies, as data.

    Attributes:
        name: of its class or function, e.g. "Linf" or "gaussian_noise".
        parameters: plain JSON values by name; those that have their default are left out, so that a parameter that a
            later version adds is no other variation.
        axis: the parameter along which claims make a curve, e.g. "eps", which is a number; None where there is none.

    Raises:
        TypeError: a field has another type.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    axis: str | None = None

    def __post_init__(self) -> None:
        _check("a variation", {"name": self.name}, str, "text")
        _check("a variation", {"parameters": self.parameters}, Mapping, "values by name")
        if self.axis is not None and type(self.at) not in (int, float):
            raise TypeError(expected(f"the parameter {self.axis!r} of a variation to be a number", self.at))

    def __str__(self) -> str:
        """Return the variation as a person writes it, every number exact: "Linf(eps=8/255)"."""
        given = ", ".join(f"{name}={_written(value)}" for name, value in self.parameters.items())
        return f"{self.name}({given})" if given else self.name

    @property
    def without_axis(self) -> Variation:
        """The same without the parameter on the axis: what it has in common with the others on its curve."""
        return Variation(self.name, {name: value for name, value in self.parameters.items() if name != self.axis})

    @property
    def at(self) -> float | None:
        """The place on the axis; None where there is no axis."""
        place: float | None = None if self.axis is None else self.parameters.get(self.axis)
        return place


@dataclass(frozen=True, slots=True)
class Limit:
    """One number that a claim requires.

    Attributes:
        name: the argument that asked for it, e.g. "max_recall_drop".
        comparison: ">=" or "<=", how the measured value must relate to it.
        value: the number.

    Raises:
        TypeError: a field has another type.
    """

    name: str
    comparison: str
    value: float

    def __post_init__(self) -> None:
        _check("a limit", {"name": self.name, "comparison": self.comparison}, str, "text")
        if type(self.value) not in (int, float) or not math.isfinite(self.value):
            raise TypeError(expected("value of a limit to be a finite number", self.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Captions:
    """How reports name the parts of a result.

    Attributes:
        assertion: the assertion that gates a test on such a claim; empty for "assert_" and the kind's name.
        setting: what `Result.setting` is: "threat", "setting".
        size: what a counterexample's size is: "size", "severity".
        before, after: what a counterexample's pair of inputs is, e.g. "cue off" and "cue on".
        answered: who gave the one answer that a counterexample shows, e.g. "people select"; empty where it shows what
            the model predicts before and after.
        worst: what the counterexamples are.
        searched: what follows a value that a search left or found: "after attack", "found".
        names: keys of `Result.details` in words, where the key itself would not do.

    Raises:
        TypeError: a field has another type.
    """

    assertion: str = ""
    setting: str = "setting"
    size: str = "size"
    before: str = "clean"
    after: str = "changed"
    answered: str = ""
    worst: str = "Worst samples"
    searched: str = "found"
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        words = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "names"}
        _check("captions", words, str, "text")
        _check("captions", {"names": self.names}, Mapping, "texts by name")
        _check("names of captions", {**{f"{key!r}": key for key in self.names}, **self.names}, str, "text")

    @property
    def tiles(self) -> tuple[str, str, str]:
        """What a counterexample's picture shows, from left to right."""
        return self.before, self.after, "difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The whole numbers that a value is made of: `events` / `n`; of a fall, (`events` - `gained`) / `n`.

    From them follows what another sample of the same population may give (`robustest suggest`).

    Attributes:
        n: samples counted.
        events: how many held, where the value is a share that should be high; how many did not, where it should be
            low; how many were lost, where it is a fall.
        gained: how many were gained, where it is a fall; else None.

    Raises:
        TypeError: a field is no whole number.
    """

    n: int
    events: int
    gained: int | None = None

    def __post_init__(self) -> None:
        for name, value in {"n": self.n, "events": self.events, "gained": self.gained}.items():
            if type(value) is not int and not (name == "gained" and value is None):
                raise TypeError(expected(f"{name} of counts to be a whole number", value))


def facts_of(
    details: Mapping[str, Any], names: Mapping[str, str], *, without: Collection[str] = (), leads: bool = True
) -> list[Fact]:
    """Details that are single values, or few, as facts; what is a table is left to `robustest.reports.html.figures`.

    A value and its "..._interval" become one fact.

    Args:
        details: plain JSON types.
        names: keys in words.
        without: keys that are left out.
        leads: see `Fact`.
    """
    facts: list[Fact] = []
    for key, value in details.items():
        if key in without or key in SHOWN_ELSEWHERE or interval_of_another(key, details) or is_table(value):
            continue
        name = named(key, names)
        if isinstance(value, Mapping) and any(is_rows(part) for part in value.values()):
            inside = {f"{name}: {named(part, names)}": one for part, one in value.items()}
            facts += facts_of(inside, names, without=without, leads=leads)
        elif value is not None and not (isinstance(value, (Mapping, list)) and not value):
            interval = details.get(f"{key}_interval")
            ends = f" {shown(interval, names)}" if isinstance(interval, Sequence) else ""
            facts.append(
                Fact(name, value if _is_value(value) and not ends else f"{shown(value, names)}{ends}", leads=leads)
            )
    return facts


def is_rows(value: object) -> bool:
    """Whether a value is a table's rows: a list of mappings."""
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def is_table(value: object) -> bool:
    """Whether a value is one table or several, and no fact."""
    if not isinstance(value, Mapping):
        return is_rows(value)
    parts = list(value.values())
    if not parts:
        return False
    mixed = any(is_rows(part) for part in parts) and not all(is_rows(part) for part in parts)
    return not mixed and (all(isinstance(part, Mapping) or is_rows(part) for part in parts) or len(parts) > _IN_A_LINE)


def interval_of_another(key: str, details: Mapping[str, Any]) -> bool:
    """Whether a key is the interval of another one, beside which it is shown."""
    return key.endswith("_interval") and key.removesuffix("_interval") in details


def named(key: object, names: Mapping[str, str]) -> str:
    """A key of the details in words."""
    return names.get(str(key), str(key).replace("_", " "))


def shown(value: object, names: Mapping[str, str] = {}) -> str:
    """A plain JSON value in words: four figures, thousands marked, yes and no, a dash for nothing."""
    if isinstance(value, Mapping):
        return ", ".join(f"{named(key, names)}: {shown(part, names)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(shown(part, names) for part in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: _NOTHING}[value]
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return str(value)


def _written(value: object) -> str:
    """Return a plain JSON value in full, unlike `shown`: two values never look alike."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_written(part)}' for key, part in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(_written, value))})"
    return exactly(value) if isinstance(value, float) else str(value)


def _is_value(value: object) -> bool:
    return type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))


def _check(of: str, values: Mapping[str, object], kind: type, what: str) -> None:
    for name, value in values.items():
        if not isinstance(value, kind):
            raise TypeError(expected(f"{name} of {of} to be {what}", value))
