"""A kind of claim: its name, what it measures and against which thresholds, and what reports say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypedDict, Unpack

from robustest.errors import ConfigError, expected
from robustest.results import Captions, Counts, Fact, Result, facts_of, named
from robustest.words import clean_share

OUTCOMES: Final = "outcomes"
"""Of a `Quantity` that is a share of `Result.outcomes`."""


class _More(TypedDict, total=False):
    """What a `Quantity` may be told beside the words."""

    counts: Literal["outcomes"] | tuple[str, str] | None
    fall: bool
    trivial: float | None
    start: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """What a kind of claim measures, and how a threshold is held against it.

    Attributes:
        name: in words, e.g. "accuracy drop".
        comparison: ">=" or "<=", how the value must relate to the threshold.
        threshold: the argument that asks for it, e.g. "max_drop".
        statement: the words of the claim without its threshold; {} stands for what `says` is given.
        counts: where the whole numbers of the value are: `OUTCOMES` for a share of `Result.outcomes`; names of details
            with the events and n, or with what was lost and gained; None where the value is made of none.
        fall: whether these are what was lost and gained.
        trivial: the threshold that any model keeps; None where there is none, or where each measurement has its own.
        start: the detail with the value that a fall starts from, e.g. "clean_accuracy"; empty where it is no fall.
    """

    name: str
    comparison: Literal[">=", "<="]
    threshold: str
    statement: str
    counts: Literal["outcomes"] | tuple[str, str] | None = None
    fall: bool = False
    trivial: float | None = None
    start: str = ""

    @classmethod
    def at_least(cls, threshold: str, name: str, statement: str, **more: Unpack[_More]) -> Quantity:
        """What must not be below its threshold; the arguments are the attributes of these names."""
        return cls(name=name, comparison=">=", threshold=threshold, statement=statement, **more)

    @classmethod
    def at_most(cls, threshold: str, name: str, statement: str, **more: Unpack[_More]) -> Quantity:
        """What must not be above its threshold; the arguments are the attributes of these names."""
        return cls(name=name, comparison="<=", threshold=threshold, statement=statement, **more)

    def state(self, *about: object) -> str:
        """The words of the claim without its threshold."""
        return self.statement.format(*about)

    def counts_of(self, result: Result) -> Counts | None:
        """The whole numbers of a value that was measured; None where there are none."""
        if self.counts is None or result.estimate is None:
            return None
        if self.counts == OUTCOMES:
            return Counts(n=result.n, events=sum(one is (self.comparison == ">=") for one in result.outcomes))
        first, second = (result.details.get(name) for name in self.counts)
        if type(first) is not int or type(second) is not int:
            return None
        return Counts(n=result.n, events=first, gained=second) if self.fall else Counts(n=second, events=first)

    def start_of(self, result: Result, names: Mapping[str, str]) -> Fact | None:
        """Return the value that a measured fall starts from; of the samples seen, where not all were looked at.

        Args:
            result: as measured.
            names: keys of details in words.
        """
        value, seen = result.details.get(self.start), result.details.get("clean_seen")
        label = named(self.start, names)
        if isinstance(value, float | str):
            return Fact(label, value)
        if self.start != "clean_accuracy" or not seen:
            return None
        return Fact(label, f"{clean_share(seen):.3f} of the {seen['of']} seen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of claim. Reports and the command line know none by name: what they print travels with the result.

    Attributes:
        name: `Result.kind`, e.g. "robust_accuracy".
        quantities: what it may measure, one for each threshold that asks for another; the first where none is given.
            Two may have one threshold, where something else decides which of them is measured: a task, say.
        further_claims: further arguments that claim something, e.g. "no_worse_than".
        together: whether all of these must be given at once; else one of them will do.
        limits: arguments that bound something else than the quantity and claim nothing alone, e.g. "max_copies".
        parameters: arguments whose numbers say what is claimed, e.g. "coverage", and so are part of the claim's key;
            all other numbers say how hard a claim is tried.
        axis: the one of these along which claims make a curve; empty where there is none.
        advises: whether it may be asserted without a threshold: it is recorded then, and nothing is claimed.
        captions: how reports name the parts of its results.
        lines: facts made of several details, for short reports too; None where each single detail is such a fact.
        hidden: details that are no facts, as `lines` or the statement have them.

    Raises:
        ConfigError: it has no name, or measures nothing.
    """

    name: str
    quantities: tuple[Quantity, ...]
    further_claims: tuple[str, ...] = ()
    together: bool = False
    limits: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    axis: str = ""
    advises: bool = False
    captions: Captions = field(default_factory=Captions)
    lines: Callable[[Mapping[str, Any]], Sequence[Fact]] | None = None
    hidden: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError(expected("a kind of claim to have a name that Python allows", self.name))
        if not self.quantities:
            raise ConfigError(expected(f"the kind {self.name!r} to measure one quantity or more", self.quantities))
        if self.axis and self.axis not in self.parameters:
            raise ConfigError(expected(f"the axis of {self.name!r} to be one of its parameters", self.axis))

    @property
    def assertion(self) -> str:
        """Return the name of the assertion of this kind."""
        return f"assert_{self.name}"

    @property
    def thresholds(self) -> tuple[str, ...]:
        """Arguments of which one or more must be given, or there is nothing to claim."""
        return (*dict.fromkeys(one.threshold for one in self.quantities), *self.further_claims)

    def quantity_of(self, threshold: str) -> Quantity:
        """What a threshold asks for; the first where there are two.

        Args:
            threshold: the argument.
        """
        return next(one for one in self.quantities if one.threshold == threshold)

    def facts(self, details: Mapping[str, Any]) -> tuple[Fact, ...]:
        """Everything that there is to say of details, what leads first; tables are left out."""
        names, parts = self.captions.names, _by_part(details)
        if self.lines is None:
            return (*parts, *facts_of(details, names, without=self.hidden))
        return (*self.lines(details), *parts, *facts_of(details, names, without=self.hidden, leads=False))

    def describe(self, result: Result) -> Result:
        """Return a result of this kind with facts, captions, counts, trivial threshold and start of its fall."""
        asked = next((one for one in self.quantities if one.name == result.quantity), self.quantities[0])
        counts = asked.counts_of(result)
        trivial = asked.trivial if result.trivial is None else result.trivial
        facts, start = self.facts(result.details), asked.start_of(result, self.captions.names)
        return replace(result, captions=self.captions, facts=facts, counts=counts, trivial=trivial, start=start)


def _by_part(details: Mapping[str, Any]) -> list[Fact]:
    """The value on each part of the samples by itself, where parts were judged: the mean over all may hide one."""
    rows = details.get("strata")
    if not rows:
        return []
    told = "; ".join(f"{row['part']}: {row['value']:.3f} of {row['samples']}" for row in rows)
    return [Fact("by part", told)]


def no_lines(details: Mapping[str, Any]) -> list[Fact]:
    """Nothing for short reports, which have the value; the page has every fact."""
    return []


def clean_accuracy(details: Mapping[str, Any]) -> list[Fact]:
    """The accuracy on unchanged samples, of those that were looked at: the line that most kinds of claim lead with."""
    clean, seen = details.get("clean_accuracy"), details.get("clean_seen")
    if clean is not None:
        return [Fact("clean accuracy", clean)]
    return [] if not seen else [Fact("clean accuracy", f"{clean_share(seen):.3f} of the {seen['of']} seen")]
