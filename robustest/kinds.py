"""A kind of claim: its name, its quantities and their thresholds, and the facts that reports show of it."""

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
    counts: Literal["outcomes"] | tuple[str, str] | None
    fall: bool
    trivial: float | None
    start: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A measured quantity, and the threshold that bounds it.

    Attributes:
        name: in words, e.g. "accuracy drop".
        comparison: ">=" or "<=", how the value must relate to the threshold.
        threshold: the argument with the threshold, e.g. "max_drop".
        statement: the claim in words without its threshold; `state` fills in each {}.
        counts: source of the whole numbers behind the value: `OUTCOMES` for a share of `Result.outcomes`, or the names
            of two details: events and n, or lost and gained. None where there are none.
        fall: True if the two details are lost and gained.
        trivial: the threshold that any model keeps; None where there is none, or it depends on the measurement.
        start: the detail with the value from which a fall starts, e.g. "clean_accuracy"; "" where it is no fall.
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
        """Return a quantity that must not be below its threshold; arguments are attributes."""
        return cls(name=name, comparison=">=", threshold=threshold, statement=statement, **more)

    @classmethod
    def at_most(cls, threshold: str, name: str, statement: str, **more: Unpack[_More]) -> Quantity:
        """Return a quantity that must not be above its threshold; arguments are attributes."""
        return cls(name=name, comparison="<=", threshold=threshold, statement=statement, **more)

    def state(self, *about: object) -> str:
        """Return the claim in words without its threshold."""
        return self.statement.format(*about)

    def counts_of(self, result: Result) -> Counts | None:
        """Return the whole numbers behind a measured value, or None."""
        if self.counts is None or result.estimate is None:
            return None
        if self.counts == OUTCOMES:
            return Counts(n=result.n, events=sum(one is (self.comparison == ">=") for one in result.outcomes))
        first, second = (result.details.get(name) for name in self.counts)
        if type(first) is not int or type(second) is not int:
            return None
        return Counts(n=result.n, events=first, gained=second) if self.fall else Counts(n=second, events=first)

    def start_of(self, result: Result, names: Mapping[str, str]) -> Fact | None:
        """Return the value from which a measured fall starts; of the measured samples, where these are not all.

        Args:
            result: as measured.
            names: keys of details in words.
        """
        value, clean = result.details.get(self.start), result.details.get("clean_seen")
        label = named(self.start, names)
        if isinstance(value, float | str):
            return Fact(label, value)
        if self.start != "clean_accuracy" or not clean:
            return None
        return Fact(label, f"{clean_share(clean):.3f} of the {clean['of']} seen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of claim. Reports and the command line know none by name: the texts that they print are in the result.

    Attributes:
        name: `Result.kind`, e.g. "robust_accuracy".
        quantities: one for each threshold that asks for another; the first where none is given. Two may have the same
            threshold if something else, such as the task, decides which of them is measured.
        further_claims: further arguments that claim something, e.g. "no_worse_than".
        together: True if all of these must be given at once; else one is enough.
        limits: arguments that bound other values and claim nothing alone, e.g. "max_copies".
        parameters: arguments whose numbers are part of the claim and its key, e.g. "coverage"; other numbers say how
            hard a claim is tried.
        axis: the parameter along which claims make a curve, or "".
        advises: True if it may be asserted without a threshold; the result is then only recorded.
        captions: names that reports give to parts of the result.
        lines: facts made of several details, for short reports too; None where each single detail is such a fact.
        hidden: details that are no facts, as `lines` or the statement have them.

    Raises:
        ConfigError: it has no name or no quantity, or its axis is not one of its parameters.
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
        """Return the arguments of which one or more must be given to claim something."""
        return (*dict.fromkeys(one.threshold for one in self.quantities), *self.further_claims)

    def quantity_of(self, threshold: str) -> Quantity:
        """Return the quantity that an argument bounds; the first of several."""
        return next(one for one in self.quantities if one.threshold == threshold)

    def facts(self, details: Mapping[str, Any]) -> tuple[Fact, ...]:
        """Return all facts of a result's details, those for short reports first; tables are left out."""
        names, parts = self.captions.names, []
        if rows := details.get("strata"):  # the mean over all samples may hide one part
            values = "; ".join(f"{row['part']}: {row['value']:.3f} of {row['samples']}" for row in rows)
            parts = [Fact("by part", values)]
        if self.lines is None:
            return (*parts, *facts_of(details, names, without=self.hidden))
        return (*self.lines(details), *parts, *facts_of(details, names, without=self.hidden, leads=False))

    def describe(self, result: Result, **more: Any) -> Result:
        """Return a result with facts, captions, counts, trivial threshold and start of its fall.

        Args:
            result: of this kind.
            **more: further fields to replace.
        """
        quantity = next((one for one in self.quantities if one.name == result.quantity), self.quantities[0])
        return replace(
            result,
            captions=self.captions,
            facts=self.facts(result.details),
            counts=quantity.counts_of(result),
            trivial=quantity.trivial if result.trivial is None else result.trivial,
            start=quantity.start_of(result, self.captions.names),
            **more,
        )


def no_lines(details: Mapping[str, Any]) -> list[Fact]:
    """Return no facts for short reports, which have the value; the page has every fact."""
    return []


def clean_accuracy(details: Mapping[str, Any]) -> list[Fact]:
    """Return the accuracy on unchanged samples, of those that were measured: the leading fact of most kinds."""
    accuracy, clean = details.get("clean_accuracy"), details.get("clean_seen")
    if accuracy is not None:
        return [Fact("clean accuracy", accuracy)]
    return [] if not clean else [Fact("clean accuracy", f"{clean_share(clean):.3f} of the {clean['of']} seen")]
