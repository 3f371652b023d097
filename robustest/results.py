"""The result of a measurement: frozen, of plain JSON types, and all that reports and other processes get."""

# Facts, captions, counts, variations and limits are parts of a result beside its value. The kind of claim makes them,
# so that a report prints a result without knowing its kind.

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import Any, NoReturn

from robustest.errors import TruthValueError, expected
from robustest.typed import check_fields, from_plain, to_plain
from robustest.words import count_of, exactly, sentence

Value = str | int | float | bool
"""The value of a fact: one plain JSON value."""

Changes = Mapping[str, Sequence[Sequence[str]]]
"""The difference between a sample and its counterexample that is no picture, as plain JSON; one key of two.

"diff": parts of a text in order, each a mark and its characters: "=" kept, "-" taken out, "+" put in.
"table": changed columns, each with its name, and its value before and after.
"""

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


@dataclass(frozen=True, slots=True)
class Limit:
    """A number that a claim requires.

    Raises:
        TypeError: a field has another type.
    """

    name: str  # its argument, e.g. "max_recall_drop"
    comparison: str  # required relation of the measured value to it, ">=" or "<="
    value: float  # the number

    def __post_init__(self) -> None:
        check_fields(self, "a limit")
        if not math.isfinite(self.value):
            raise TypeError(expected("value of a limit to be a finite number", self.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Captions:
    """Names that reports give to the parts of a result.

    Raises:
        TypeError: a field has another type.
    """

    setting: str = "setting"  # name of `Result.setting`: "threat", "setting"
    size: str = "size"  # name of a counterexample's size: "size", "severity"
    # names of a counterexample's two inputs, e.g. "cue off" and "cue on".
    before: str = "clean"
    after: str = "changed"
    # name of the single answer that a counterexample shows, e.g. "people select"; empty if it shows the model's
    # predictions before and after.
    answered: str = ""
    worst: str = "Worst samples"  # title of the counterexamples
    searched: str = "found"  # words that follow a value that a search left or found: "after attack", "found"
    # keys of `Result.details` in words, if the key itself is not enough
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, "captions")

    @property
    def tiles(self) -> tuple[str, str, str]:
        """Titles of a counterexample's picture, from left to right."""
        return self.before, self.after, "difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The whole numbers behind a value: `events` / `n`, or for a fall (`events` - `gained`) / `n`.

    Raises:
        TypeError: a field is no whole number.
    """

    n: int  # number of samples
    # samples that held, for a share that should be high; that did not, for one that should be low; lost samples, for
    # a fall
    events: int
    gained: int | None = None  # gained samples, for a fall; else None

    def __post_init__(self) -> None:
        check_fields(self, "counts")


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


def _written(value: object) -> str:
    """Return a plain JSON value in full, unlike `shown`: different values have different texts."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_written(part)}' for key, part in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(_written, value))})"
    return exactly(value) if isinstance(value, float) else str(value)


def _is_value(value: object) -> bool:
    return type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))


class Verdict(StrEnum):
    """The verdict on a claim; using it as a truth value raises TruthValueError."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"

    # As a string, "failed" would be true.
    def __bool__(self) -> bool:
        raise TruthValueError(
            f"Expected a comparison such as verdict is Verdict.PASSED but got the verdict {str(self)!r} as a truth "
            "value: any verdict would be true."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of a measurement.

    Attributes:
        forward: samples passed forward through the model (a sample passed twice counts twice).
        backward: samples passed backward, from the loss to the input.
        seconds: wall-clock seconds.
    """

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterexample:
    """A sample that contradicts the claim.

    Attributes:
        index: position in the user's data.
        label: class in the data.
        clean, predicted: the model's class for the unchanged and for the changed sample.
        size: size of the change, in the threat's norm or the shift's severity; or None.
        unit: unit of the size, such as "dB" of a signal-to-noise ratio; or empty.
        image: path of its picture, or None; the sounds of waveforms lie beside it.
        pixels: number of changed pixels (of all channels together), or None.
        answer: answers in words if they are no classes (these are then -1); else empty.
        changes: the change itself, of texts, bytes and rows of a table; or None.

    Raises:
        TypeError: changes have another form.
    """

    index: int
    label: int
    clean: int
    predicted: int
    size: float | None = None
    image: str | None = None
    pixels: int | None = None
    answer: str = ""
    changes: Changes | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if self.changes is None:
            return
        kind = next(iter(self.changes), "")
        width, parts = {"diff": 2, "table": 3}.get(kind), self.changes.get(kind, ())
        if (
            len(self.changes) != 1
            or width is None
            or any(len(p) != width or not all(type(t) is str for t in p) for p in parts)
        ):
            raise TypeError(expected("changes as parts of a diff or rows of a table", self.changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The way to pair two results of one claim, sample by sample."""

    # True if the verdict follows from the share of outcomes that hold, of all samples or of each group
    share: bool = True
    # positions of each group's samples, if the verdict follows from the lowest share among groups
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    # in words, the dependencies of an outcome besides model and sample; only outcomes with the same are paired
    under: str = ""
    # outcomes at the start of a fall to `Result.outcomes`, one per sample: both ends are paired, or the model that
    # started lower would look better
    start: tuple[bool | None, ...] = ()
    start_data: str = ""  # digest of the samples of `start`; empty if not all were measured


REASONS: Mapping[str, str] = {
    "no_threshold": "nothing was required",
    "undecided": "the value lies too near the threshold for the samples there are",
    "budget": "not all samples were looked at before samples or time were spent",
    "health": "a health check shows that the search could not do its work",
    "unchanged": "the change changes no sample, or so few that nothing could have failed the claim",
    "no_fall": "what a fall starts from is no better than chance, or less than the fall allowed",
    "copies": "samples are there several times, and too few are left if each counts once",
    "clusters": "samples that were drawn together are too few draws, or the claim cannot count them as such",
    "unaudited": "an attack by other means did not end, or broke so many samples that more must be taken to break",
    "unfit": "what was fitted, or the samples to judge it by, cannot settle the claim",
    "control": "the control, which must fail, did not",
    "baseline": "the comparison with the baseline decided",
    "limit": "another limit than the threshold decided",
    "not_searched": "known counterexamples alone were replayed",
}
"""Reasons for a verdict that the value alone does not explain."""

NOT_PAIRED = Pairing(share=False)
"""The pairing of a claim whose verdict follows from no share of outcomes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A measured claim; using it as a truth value raises TruthValueError.

    Attributes:
        kind: kind of claim, e.g. "robust_accuracy".
        claim: key of the claim, the same in every run, for any words and any value of the threshold; e.g.
            "robust_accuracy(Linf(eps=8/255), attack=fast) at_least".
        statement: the claim in words, without its requirement.
        verdict: passed, failed or inconclusive; inconclusive too without a threshold.
        rule: reason for the verdict, e.g. "certain: exact on this set" or "alpha = 0.01 after 212 of 1000".
        quantity: name of the estimate, e.g. "accuracy" or "flip rate".
        estimate: measured value; None if not all samples were measured, as after an early verdict.
        interval: confidence interval of the value, two-sided at 1 - 2 alpha, valid wherever the run stopped. If a
            search only bounds the value, the unproven end is the extreme possible value.
        threshold: claimed value, or None.
        threshold_name: its argument, e.g. "at_least"; None if nothing is claimed.
        comparison: required relation of the estimate to the threshold, ">=" or "<=".
        n: evaluated samples.
        n_total: samples in the data.
        outcomes: one per sample in the data's order: True held, False broken, None not evaluated.
        cost: model passes and seconds.
        seed: seed that repeats the run.
        setting: threat, shift or cue in words; `varied` has it as data.
        method: attack or intervention in words.
        counterexamples: the worst samples, worst first.
        notes: sentences for the reader (train mode, halved batches ...).
        details: further numbers of this kind of claim, plain JSON types.
        cached: date and commit of the measurement, e.g. "2026-11-25, commit 1a2b3c4"; empty for a new measurement.
        replayed: samples decided by counterexamples of an earlier run that still break.
        alpha: chance of a wrong verdict that was allowed beforehand, in 0..0.5; 0 if nothing was inferred.
        at_alpha: True if the verdict rests on that chance; otherwise it is certain.
        data, model: hexadecimal digests of all samples and of the model; empty if unknown, e.g. after an early verdict.
        bounds: "above" or "below" if a search found the value, which then bounds the true value on that side;
            `details["left_interval"]` is the interval of the value of this search. Else empty.
        scope: "set" (these samples) or "population" (the one that they were drawn from).
        caveats: sentences that every line about this result must have.
        gated: True if an assertion took it; False if a test measured against a threshold and asserted nothing.
        pairing: way to pair this with another result of the claim, or None.
        facts: texts beside the value in reports (`robustest.kinds.Kind.facts`).
        captions: names that reports give to the parts of this result.
        counts: whole numbers behind the value, or None.
        trivial: threshold that any model keeps, which no claim may have; or None.
        start: start of a fall, e.g. the clean accuracy: a number, or words if not all samples were measured. None if
            the value is no fall.
        family: key of the claim without its threshold and the number on its axis: claims of one family make a curve.
        varied: threats, shifts, cues or strategies of the claim, with their parameters.
        axis, at: parameter along which such claims make a curve, and its value here, e.g. "eps" and 0.031; or None.
        limits: every number that the claim requires, by its argument.
        reasons: keys of `REASONS`, which a colon and a name may follow, e.g. "health:flat_steps". Empty if value and
            threshold decide.
    """

    kind: str
    statement: str
    verdict: Verdict
    rule: str
    quantity: str
    estimate: float | None
    interval: tuple[float, float]
    threshold: float | None
    comparison: str
    n: int
    n_total: int
    outcomes: tuple[bool | None, ...] = field(repr=False)
    cost: Cost
    seed: int
    setting: str
    method: str
    counterexamples: tuple[Counterexample, ...] = ()
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    cached: str = ""
    replayed: int = 0
    alpha: float = 0.0
    at_alpha: bool = False
    data: str = ""
    model: str = ""
    bounds: str = ""
    scope: str = "set"
    caveats: tuple[str, ...] = ()
    gated: bool = True
    pairing: Pairing | None = field(default=None, repr=False)
    facts: tuple[Fact, ...] = ()
    captions: Captions = field(default_factory=Captions, repr=False)
    counts: Counts | None = field(default=None, repr=False)
    trivial: float | None = field(default=None, repr=False)
    start: Fact | None = None
    claim: str = ""
    family: str = ""
    threshold_name: str | None = None
    varied: tuple[Variation, ...] = ()
    axis: str | None = None
    at: float | None = None
    limits: tuple[Limit, ...] = ()
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.bounds not in ("", "above", "below") or self.scope not in ("set", "population"):
            raise TypeError(f"Expected bounds and scope of a result but got {self.bounds!r} and {self.scope!r}")
        if not self.claim.startswith(self.kind):  # not given, or of a result of another kind
            object.__setattr__(self, "claim", f"{self.kind}: {self.statement}")
        if not self.facts and self.details:
            object.__setattr__(self, "facts", tuple(facts_of(self.details, self.captions.names)))

    def __repr__(self) -> str:
        claim = repr(self.statement)[1:-1].replace("##", r"\x23#")  # anybody's words: pytest prints this into logs
        return f"<{type(self).__name__} {self.outcome}: {claim}; {sentence(self)}; n={count_of(self)}>"

    @property
    def outcome(self) -> str:
        """The verdict, or "measured" for a result that claims nothing or that no assertion took."""
        alone = not self.gated or (self.verdict is Verdict.INCONCLUSIVE and not self.is_claim)
        return "measured" if alone else str(self.verdict)

    def _repr_html_(self) -> str | None:
        """Return the card of the page for a notebook; None without Jinja2."""
        shown: str | None = import_module("robustest.reports.html.page").card(self)  # a report, above this floor
        return shown

    def __bool__(self) -> bool:
        # `assert measure_robust_accuracy(...)` would pass for any value.
        raise TruthValueError(
            "Expected an assertion but got a result as a truth value, which says nothing of its verdict "
            f"({self.verdict}). Write {self.asserted_by}(...) with the same arguments, or compare what you mean: "
            "result.verdict is Verdict.PASSED, result.estimate >= 0.9."
        )

    def _no_number(self, other: object = None) -> NoReturn:
        raise TruthValueError(
            f"Expected a number but got a whole result. Write {self.asserted_by}(...) with a limit, which also "
            "judges if the value can be trusted; the number alone is result.estimate."
        )

    __lt__ = __le__ = __gt__ = __ge__ = __float__ = _no_number

    @property
    def value(self) -> float:
        """The estimate, or else the proven end or the middle of the interval."""
        low, high = self.interval
        ends = {"above": high, "below": low}
        return ends.get(self.bounds, (low + high) / 2) if self.estimate is None else self.estimate

    @property
    def left_interval(self) -> tuple[float, float]:
        """The interval of the value that this search left, if there was one; else the interval."""
        left = self.details.get("left_interval")
        ends = left if isinstance(left, (list, tuple)) and len(left) == 2 else self.interval  # files may hold anything
        low, high = ends if all(type(end) in (int, float) for end in ends) else self.interval
        return low, high

    @property
    def straddles(self) -> bool:
        """True if a claim about the set was decided on all of it, and the interval contains the threshold."""
        low, high = self.left_interval
        # The interval is about the population that the samples were drawn from, the verdict about the samples.
        decided = self.scope == "set" and self.verdict is not Verdict.INCONCLUSIVE and self.estimate is not None
        return decided and self.threshold is not None and low < self.threshold < high

    @property
    def asserted_by(self) -> str:
        """Name of the assertion of this kind of claim."""
        return f"assert_{self.kind}"

    @property
    def is_claim(self) -> bool:
        """True if something was claimed: a threshold, or to be no worse than a baseline."""
        return self.threshold is not None or bool(self.details.get("baseline"))

    def to_dict(self) -> dict[str, Any]:
        """Return this result as plain JSON types."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        """Inverse of `to_dict`.

        Raises:
            KeyError: a field is missing.
            TypeError, ValueError: a field is unknown, or has a wrong value.
        """
        return from_plain(cls, data, "a result")


def numbers_apart(plain: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of a result's numbers cannot be true at once: value, interval, counts, threshold and verdict.

    Args:
        plain: a result as `Result.to_dict` makes it, with types as they are there.
    """
    low, high = plain["interval"]
    quantity, estimate, counts = plain["quantity"], plain["estimate"], plain["counts"]
    if not low <= high or (estimate is not None and not low - 1e-9 <= estimate <= high + 1e-9):
        yield f"{quantity} {estimate} outside of its interval [{low}, {high}]"
    if counts is not None and estimate is not None and counts["n"]:
        share = (counts["events"] - (counts["gained"] or 0)) / counts["n"]
        if abs(share - estimate) > 1e-9:
            yield f"{quantity} {estimate}, but its counts give {share}"
    threshold, comparison = plain["threshold"], plain["comparison"]
    if comparison not in (">=", "<="):
        yield f"required {comparison}, which is neither >= nor <="
    if plain["verdict"] == Verdict.PASSED and threshold is not None:
        # Without an estimate, as after an early verdict, the interval's better end is the most that can be true.
        best = estimate if estimate is not None else high if comparison == ">=" else low
        if (best - threshold if comparison == ">=" else threshold - best) < -1e-9:
            about = f"{estimate}" if estimate is not None else f"in [{low}, {high}]"
            yield f"passed with {quantity} {about}, required {comparison} {threshold}"


LONG = frozenset({"outcomes", "pairing"})
"""Fields as long as the data, which short reports leave out."""
