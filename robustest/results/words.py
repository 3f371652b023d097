"""Words of a result: names, facts, sentences for the reader, and what every line about it must say."""

# The kind of claim makes captions and facts, so that a report prints a result without knowing its kind.

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustest.errors import expected
from robustest.typed import check_fields

Value = str | int | float | bool
"""The value of a fact: one plain JSON value."""

# Most entries of a mapping that is shown in a line, not as a table.
_IN_A_LINE = 8

_NOTHING = "\N{EN DASH}"

SHOWN_ELSEWHERE = frozenset(
    {
        "health",
        "baseline",
        "changed",
        "class_names",
        "clean_seen",
        "constant_answer",
        "curves",
        "failures_of_class",
        "largest_class",
        "left_interval",
        "pictures",
    }
)
"""Details of any kind of claim that reports show outside of the facts."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A further number or sentence of a result."""

    label: str  # name in a few words
    value: Value  # a number, a bool, or words
    unit: str = ""  # unit of the number; empty for a share, and for words
    leads: bool = True  # True if short reports print it too: the terminal, JUnit and the summary

    def __post_init__(self) -> None:
        check_fields(self, "a fact")
        if not _is_value(self.value):
            raise TypeError(expected("value of a fact to be text, a finite number, true or false", self.value))

    def __str__(self) -> str:
        return f"{shown(self.value)} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Captions:
    """Names that reports give to the parts of a result.

    Raises:
        TypeError: a field has another type.
    """

    setting: str = "setting"  # name of `Subject.setting`: "threat", "setting"
    size: str = "size"  # name of a counterexample's size: "size", "severity"
    # names of a counterexample's two inputs, e.g. "cue off" and "cue on".
    before: str = "clean"
    after: str = "changed"
    # name of the single answer that a counterexample shows, e.g. "people select"; empty if it shows the model's
    # predictions before and after.
    answered: str = ""
    worst: str = "Worst samples"  # title of the counterexamples
    searched: str = "found"  # words that follow a value that a search left or found: "after attack", "found"
    # keys of `Numbers.details` in words, if the key itself is not enough
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, "captions")

    @property
    def tiles(self) -> tuple[str, str, str]:
        """Titles of a counterexample's picture, from left to right."""
        return self.before, self.after, "difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of a result. No verdict and no number rests on them."""

    caveats: tuple[str, ...] = ()  # sentences that every line about this result must have
    notes: tuple[str, ...] = ()  # sentences for the reader (train mode, halved batches ...)
    facts: tuple[Fact, ...] = ()  # texts beside the value in reports (`robustest.kinds.Kind.facts`)
    captions: Captions = field(default_factory=Captions, repr=False)  # names that reports give to its parts


def facts_of(
    details: Mapping[str, Any], names: Mapping[str, str], *, without: Collection[str] = (), leads: bool = True
) -> list[Fact]:
    """Return details that are single values, or few, as facts; tables are left out.

    Args:
        details: plain JSON types.
        names: keys in words.
        without: keys to leave out.
        leads: as in `Fact`.
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
            # A value and its interval become one fact.
            interval = details.get(f"{key}_interval")
            ends = f" {shown(interval, names)}" if isinstance(interval, Sequence) else ""
            facts.append(
                Fact(name, value if _is_value(value) and not ends else f"{shown(value, names)}{ends}", leads=leads)
            )
    return facts


def is_rows(value: object) -> bool:
    """Return True for the rows of a table: a list of mappings."""
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def is_table(value: object) -> bool:
    """Return True for one table or several, which are no facts."""
    if not isinstance(value, Mapping):
        return is_rows(value)
    parts = list(value.values())
    if not parts:
        return False
    mixed = any(is_rows(part) for part in parts) and not all(is_rows(part) for part in parts)
    return not mixed and (all(isinstance(part, Mapping) or is_rows(part) for part in parts) or len(parts) > _IN_A_LINE)


def interval_of_another(key: str, details: Mapping[str, Any]) -> bool:
    """Return True if a key is the interval of another one, beside which it is shown."""
    return key.endswith("_interval") and key.removesuffix("_interval") in details


_NAMES = {"without_looking": "best constant answer"}


def named(key: object, names: Mapping[str, str]) -> str:
    """Return a key of the details in words."""
    return names.get(str(key)) or _NAMES.get(str(key)) or str(key).replace("_", " ")


def shown(value: object, names: Mapping[str, str] = {}) -> str:
    """Return a plain JSON value in words: four figures, marked thousands, yes and no, a dash for None."""
    if isinstance(value, Mapping):
        return ", ".join(f"{named(key, names)}: {shown(part, names)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(shown(part, names) for part in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: _NOTHING}[value]
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return str(value)


def _is_value(value: object) -> bool:
    return type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))
