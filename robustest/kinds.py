"""A kind of claim: its name, its quantities and their thresholds, and the facts that reports show of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack, get_args

from robustest.checks import require
from robustest.errors import ConfigError, expected
from robustest.results import Captions, Counts, Fact, Result, facts_of, named
from robustest.words import clean_share, number

Varied = Literal["inputs", "sets", "nothing"]
"""The variable of a kind of claim: the samples that the model sees, the set that they come from, or nothing."""


class _More(TypedDict, total=False):
    counts: Literal["outcomes"] | tuple[str, str] | None
    fall: bool
    trivial: float | None
    start: str
    constant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A measured quantity, and the threshold that bounds it."""

    name: str  # name in words, e.g. "accuracy drop"
    comparison: Literal[">=", "<="]  # required relation of the value to the threshold, ">=" or "<="
    threshold: str  # argument with the threshold, e.g. "max_drop"
    statement: str  # the claim in words without its threshold; `state` fills in each {}
    # source of the whole numbers behind the value: "outcomes" for a share of `Result.outcomes`, the names of two
    # details (events and n, or lost and gained), or None
    counts: Literal["outcomes"] | tuple[str, str] | None = None
    fall: bool = False  # True if the two details are lost and gained
    # threshold that any model keeps; None if there is none, or it depends on the measurement
    trivial: float | None = None
    start: str = ""  # detail with the value from which a fall starts, e.g. "clean_accuracy"; else empty
    # True if the value is a share of right answers: one class said of every sample reaches the share of that class
    constant: bool = False

    @classmethod
    def at_least(cls, threshold: str, name: str, statement: str, **more: Unpack[_More]) -> Quantity:
        """Return a quantity that must not be below its threshold; arguments are attributes."""
        return cls(name=name, comparison=">=", threshold=threshold, statement=statement, **more)

    @classmethod
    def at_most(cls, threshold: str, name: str, statement: str, **more: Unpack[_More]) -> Quantity:
        """Return a quantity that must not be above its threshold; arguments are attributes."""
        return cls(name=name, comparison="<=", threshold=threshold, statement=statement, **more)

    def state(self, *about: object) -> str:
        return self.statement.format(*about)

    def counts_of(self, result: Result) -> Counts | None:
        """Return the whole numbers behind a measured value, or None."""
        if self.counts is None or result.estimate is None:
            return None
        if self.counts == "outcomes":
            # The events of a share that should be high are the samples that held; of one that should be low, those
            # that did not.
            return Counts(n=result.numbers.n, events=sum(one is (self.comparison == ">=") for one in result.outcomes))
        first, second = (result.details.get(name) for name in self.counts)
        if type(first) is not int or type(second) is not int:
            return None
        return Counts(n=result.numbers.n, events=first, gained=second) if self.fall else Counts(n=second, events=first)

    def start_of(self, result: Result, names: Mapping[str, str]) -> Fact | None:
        """Return the value from which a measured fall starts, or None; `names` are keys of details in words."""
        value, clean = result.details.get(self.start), result.details.get("clean_seen")
        label = named(self.start, names)
        if isinstance(value, float | str):
            return Fact(label, value)
        # After an early verdict the clean accuracy is known for the evaluated samples alone.
        if self.start != "clean_accuracy" or not clean:
            return None
        return Fact(label, f"{number(clean_share(clean))} of the {clean['of']} seen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of claim. Reports and the command line know none by name: their texts are in the result.

    Raises:
        ConfigError: it has no name or no quantity, does not say what it varies, or its axis is none of its parameters.
    """

    name: str  # `Subject.kind`, e.g. "robust_accuracy"
    # "inputs": a pass needs samples that were shown changed; "sets": a second set with samples that the first lacks;
    # "nothing": the model, or the records, are taken as they are
    varies: Varied | None = None
    # one for each threshold that asks for another; the first one without a threshold. Two may have the same threshold
    # if something else, such as the task, decides between them.
    quantities: tuple[Quantity, ...]
    further_claims: tuple[str, ...] = ()  # further arguments that claim something, e.g. "no_worse_than"
    together: bool = False  # True if all of these must be given at once; else one is enough
    limits: tuple[str, ...] = ()  # arguments that bound other values and claim nothing alone, e.g. "max_copies"
    # arguments whose numbers are part of the claim and its key, e.g. "coverage"; other numbers are effort.
    parameters: tuple[str, ...] = ()
    axis: str = ""  # parameter along which claims make a curve; may be empty
    advises: bool = False  # True if it may be asserted without a threshold; the result is then only recorded
    captions: Captions = field(default_factory=Captions)  # names that reports give to parts of the result
    brief: bool = False  # True if short reports have the value alone; the page has every fact
    # facts made of several details, for short reports too; None if each single detail is a fact
    lines: Callable[[Mapping[str, Any]], Sequence[Fact]] | None = None
    hidden: frozenset[str] = frozenset()  # details that are no facts, as `lines` or the statement have them

    def __post_init__(self) -> None:
        require(self.name.isidentifier(), "a kind of claim to have a name that Python allows", self.name)
        if self.varies not in get_args(Varied):
            what = f'varies= of the kind {self.name!r} to be "inputs", "sets" or "nothing"'
            remedy = (
                'A pass is refused where nothing was varied: say "inputs" if its look shows the model changed samples, '
                '"sets" if it compares two sets of samples, "nothing" if it takes samples as they are.'
            )
            raise ConfigError(expected(what, self.varies, remedy))
        require(self.quantities, f"the kind {self.name!r} to measure one quantity or more", self.quantities)
        if self.axis and self.axis not in self.parameters:
            raise ConfigError(expected(f"the axis of {self.name!r} to be one of its parameters", self.axis))

    @property
    def assertion(self) -> str:
        return f"assert_{self.name}"

    @property
    def thresholds(self) -> tuple[str, ...]:
        """Arguments of which one or more must be given to claim something."""
        return (*dict.fromkeys(one.threshold for one in self.quantities), *self.further_claims)

    def quantity_of(self, threshold: str) -> Quantity:
        """Return the first quantity that an argument bounds."""
        return next(one for one in self.quantities if one.threshold == threshold)

    def facts(self, details: Mapping[str, Any]) -> tuple[Fact, ...]:
        """Return all facts of a result's details, those for short reports first; tables are left out."""
        names, parts = self.captions.names, []
        # The mean over all samples may hide a part that is much worse.
        if rows := details.get("strata"):  # the mean over all samples may hide one part
            values = "; ".join(f"{row['part']}: {number(row['value'])} of {row['samples']}" for row in rows)
            parts = [Fact("by part", values)]
        lines = () if self.lines is None else self.lines(details)
        leads = self.lines is None and not self.brief
        return (*lines, *parts, *facts_of(details, names, without=self.hidden, leads=leads))

    def describe(self, result: Result, **more: Any) -> Result:
        """Return a result of this kind with facts, captions, counts, trivial threshold and start of its fall.

        Args:
            **more: further fields to replace.
        """
        quantity = next((one for one in self.quantities if one.name == result.numbers.quantity), self.quantities[0])
        return result.but(
            captions=self.captions,
            facts=self.facts(result.details),
            counts=quantity.counts_of(result),
            trivial=quantity.trivial if result.ruling.trivial is None else result.ruling.trivial,
            start=quantity.start_of(result, self.captions.names),
            **more,
        )


def clean_accuracy(details: Mapping[str, Any]) -> list[Fact]:
    """Return the accuracy on unchanged samples, the leading fact of most kinds."""
    accuracy, clean = details.get("clean_accuracy"), details.get("clean_seen")
    if accuracy is not None:
        return [Fact("clean accuracy", accuracy)]
    return [] if not clean else [Fact("clean accuracy", f"{number(clean_share(clean))} of the {clean['of']} seen")]
