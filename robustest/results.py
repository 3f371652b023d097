"""Facts, captions, counts, variations and limits: the parts of a result beside its value.

A kind of claim says them when it is measured, and they travel with the result. So a report prints what it is given, and
needs to know no kind of claim.


What a measurement found: frozen, made of plain JSON types, the only thing reports and workers see.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from importlib import import_module
from typing import Any

from robustest.errors import TruthValueError, expected
from robustest.words import count_of, exactly, sentence

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
    """Details that are single values, or few, as facts; what is a table is left to `robustest.reports.html.tables`.

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


class Verdict(StrEnum):
    """What became of a claim.

    Raises:
        TruthValueError: it was used as a truth value: as a string, "failed" would be true.
    """

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"

    def __bool__(self) -> bool:
        raise TruthValueError(
            f"Expected a comparison such as verdict is Verdict.PASSED but got the verdict {str(self)!r} as a truth "
            "value: any verdict would be true."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a measurement spent.

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
    """One sample that speaks against the claim.

    Attributes:
        index: position in the user's data.
        label: the class the data give.
        clean: the class the model gives the unchanged sample.
        predicted: the class the model gives the changed sample.
        size: how far the sample was moved, in the threat's norm or the shift's severity; None where
            it has no size.
        image: path of the picture saved for it, if one was.
        pixels: how many elements of the input (of all channels together: pixels) the change touches; None
            where they were not counted.
        told: what the answers were, in words, where they are no classes (which are -1 then); else empty.
    """

    index: int
    label: int
    clean: int
    predicted: int
    size: float | None = None
    image: str | None = None
    pixels: int | None = None
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """What of two results of one claim may be paired, sample by sample; each kind of claim says so of itself.

    Attributes:
        share: whether the verdict follows from the share of outcomes that hold: of all samples, or of each group.
        groups: positions of each group's samples, where the verdict follows from the lowest share among groups.
        under: what else an outcome depends on, in words: the change, the limits of a sample. Where it is another,
            outcomes say another thing.
        start: outcomes at the start of a fall, one per sample in their data's order, where the verdict follows from a
            fall to `Result.outcomes`: both ends are paired, or the model that started lower would look better.
        start_data: digest of the samples of `start`; empty where not all of them were looked at.
    """

    share: bool = True
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    under: str = ""
    start: tuple[bool | None, ...] = ()
    start_data: str = ""


REASONS: Mapping[str, str] = {
    "no_threshold": "nothing was required",
    "undecided": "the value lies too near the threshold for the samples there are",
    "budget": "not all samples were looked at before samples or time were spent",
    "health": "a health check shows that the search could not do its work",
    "unchanged": "the change changes no sample, or so few that nothing could have failed the claim",
    "no_fall": "what a fall starts from is no better than chance, or less than the fall allowed",
    "unaudited": "nothing could be attacked by other means, to see what the attack may have missed",
    "unfit": "what was fitted, or the samples to judge it by, cannot settle the claim",
    "control": "the control, which must fail, did not",
    "baseline": "the comparison with the baseline decided",
    "limit": "another limit than the threshold decided",
    "not_searched": "known counterexamples alone were replayed",
}
"""Why a verdict is not what the value alone would make it."""

NOT_PAIRED = Pairing(share=False)
"""Of a claim whose verdict follows from no share of outcomes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A measured claim.

    It is neither true nor false: `assert measure_robust_accuracy(...)` would pass whatever was found.

    Attributes:
        kind: the kind of claim, e.g. "robust_accuracy".
        claim: the key of the claim: the same in every run, whatever words reports have and whatever the threshold's
            value is; e.g. "robust_accuracy(Linf(eps=8/255), attack=fast) at_least". It begins with the kind; a result
            that no measurement made has its kind and its statement, unless it is given another.
        statement: the claim in words, without what it requires: `robustest.words.sentence` has that.
        verdict: passed, failed or inconclusive; inconclusive too where no threshold was given.
        rule: why the verdict holds, e.g. "certain: exact on this set", "alpha = 0.01 after 212 of 1000" or
            "population, alpha = 0.01 a side".
        quantity: what `estimate` is, e.g. "accuracy" or "flip rate".
        estimate: the measured value, in 0..1; None where the samples were not all looked at, as an early
            verdict measures no value.
        interval: confidence interval of the value, two-sided at 1 - 2 alpha; valid wherever the run stopped. Where a
            search only bounds the value, the end that nothing proves is as far as it can be.
        threshold: the value claimed, or None.
        threshold_name: the argument that it was given by, e.g. "at_least"; None where nothing is claimed.
        comparison: ">=" or "<=", how the estimate must relate to the threshold.
        n: samples evaluated.
        n_total: samples in the data.
        outcomes: one per sample in the data's own order: True held, False broken, None not evaluated.
        cost: model passes and seconds.
        seed: the seed that repeats the run.
        setting: the threat, shift or cue in words; `varied` has it as data.
        method: the attack or intervention in words.
        counterexamples: the worst samples, worst first.
        notes: what a reader must know (train mode, halved batches ...).
        details: further numbers of this kind of claim, plain JSON types only.
        cached: when and at which commit all of this was measured, e.g. "2026-11-25, commit 1a2b3c4"; empty where
            something was measured now.
        replayed: samples decided by counterexamples of an earlier run that still break.
        alpha: the chance that was allowed for a wrong verdict, before anything was looked at, in 0..0.5; 0 where every
            sample had to be looked at and nothing was inferred from them.
        at_alpha: whether the verdict rests on that chance; it is certain otherwise.
        data, model: digests of all samples and of the model, hexadecimal; empty where not all samples were looked at,
            and where the model has none.
        bounds: "above" or "below", where the value rests on a search that a stronger one may outdo: it then only bounds
            the true value, on that side. `details["left_interval"]` is of what this search left. Empty elsewhere.
        scope: what the claim is about: "set" (these samples) or "population" (what they were drawn from).
        caveats: what every line about this result must say, as the numbers alone would say too much.
        gated: whether the test's outcome hung on it; False where a test measured against a threshold and asserted
            nothing.
        pairing: what may be paired with another result of this claim; None where the kind of claim does not say.
        facts: what reports print beside the value, as the kind of claim says it (`robustest.kinds.Kind.facts`); where
            it says nothing, each of the details that is no table.
        captions: how reports name the parts of this result.
        counts: the whole numbers that the value is made of; None where it is made of none, or not all was looked at.
        trivial: the threshold that any model keeps, which no claim may ask; None where there is none or none is known.
        start: of a fall, the value that it starts from, e.g. the clean accuracy: a number, or words where not all
            samples were looked at. Every line that has the fall has it too. None where the value is no fall.
        family: the key of the claim without the number on its axis, and without its threshold: claims of one family
            make a curve.
        varied: the threats, shifts, cues or strategies of the claim, with their parameters; empty where it has none.
        axis, at: the parameter along which claims like this one make a curve, and where on it this one is, e.g. "eps"
            and 0.031, "severity" and 3, "pixels" and 5. None where nothing is varied by a number.
        limits: every number that the claim requires, by its argument.
        reasons: why the verdict is not what the value alone would make it; each is one of `REASONS`, after which a
            colon and a name may follow, e.g. "health:flat_steps". Empty where value and threshold decide.

    Raises:
        TruthValueError: it was used as a truth value.
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
        if not self.claim.startswith(self.kind):  # none is given, or this was made of a result of another kind
            object.__setattr__(self, "claim", f"{self.kind}: {self.statement}")
        if not self.facts and self.details:
            object.__setattr__(self, "facts", tuple(facts_of(self.details, self.captions.names)))

    def __repr__(self) -> str:
        claim = repr(self.statement)[1:-1].replace("##", r"\x23#")  # anybody's words: pytest prints this into logs
        return f"<{type(self).__name__} {self.verdict}: {claim}; {sentence(self)}; n={count_of(self)}>"

    def _repr_html_(self) -> str | None:
        """This result as a notebook shows it: the card of the page, its pictures inside; None without Jinja2."""
        shown: str | None = import_module("robustest.reports.html.page").card(self)  # a report, above this floor
        return shown

    def __bool__(self) -> bool:
        raise TruthValueError(
            "Expected an assertion but got a result as a truth value, which says nothing of its verdict "
            f"({self.verdict}). Write {self.asserted_by}(...) with the same arguments, or compare what you mean: "
            "result.verdict is Verdict.PASSED, result.estimate >= 0.9."
        )

    @property
    def value(self) -> float:
        """One number for what was measured: the estimate, or else the proven end or the middle of the interval."""
        low, high = self.interval
        ends = {"above": high, "below": low}
        return ends.get(self.bounds, (low + high) / 2) if self.estimate is None else self.estimate

    @property
    def left_interval(self) -> tuple[float, float]:
        """The interval of what this very search left, where the value rests on one; else the interval."""
        left = self.details.get("left_interval")
        ends = left if isinstance(left, (list, tuple)) and len(left) == 2 else self.interval  # files may hold anything
        low, high = ends if all(type(end) in (int, float) for end in ends) else self.interval
        return low, high

    @property
    def straddles(self) -> bool:
        """Whether a claim about the set was decided on all of it, and the interval has the threshold inside.

        The interval is then of the population that the samples were drawn from, and the verdict of the samples.
        """
        low, high = self.left_interval
        decided = self.scope == "set" and self.verdict is not Verdict.INCONCLUSIVE and self.estimate is not None
        return decided and self.threshold is not None and low < self.threshold < high

    @property
    def asserted_by(self) -> str:
        """The name of the assertion that gates a test on such a claim."""
        return f"assert_{self.kind}"

    @property
    def is_claim(self) -> bool:
        """Whether something was claimed: a threshold, or to be no worse than a baseline."""
        return self.threshold is not None or bool(self.details.get("baseline"))

    def to_dict(self) -> dict[str, Any]:
        """This result as plain JSON types (str, int, float, bool, None, list, dict)."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        """The result that `to_dict` wrote.

        Raises:
            KeyError: a field is missing.
            TypeError: there is a field this version does not know, or one that says how to read the others is wrong.
        """
        values = dict(data)
        known = {f.name for f in fields(cls)}
        if surplus := sorted(set(values) - known):
            raise TypeError(f"Expected the fields of a robustest result but got also {surplus}")
        if missing := sorted(known - set(values)):
            raise KeyError(", ".join(missing))
        values["verdict"] = Verdict(values["verdict"])
        values["interval"] = tuple(values["interval"])
        values["outcomes"] = tuple(values["outcomes"])
        values["notes"] = tuple(values["notes"])
        values["caveats"] = _texts("caveats", values["caveats"])
        values["reasons"] = _texts("reasons", values["reasons"])
        values["cost"] = Cost(**values["cost"])
        values["counterexamples"] = tuple(Counterexample(**c) for c in values["counterexamples"])
        if (stated := values.get("pairing")) is not None:
            groups = {name: tuple(ids) for name, ids in stated["groups"].items()}
            values["pairing"] = Pairing(**{**stated, "groups": groups, "start": tuple(stated["start"])})
        values["facts"] = tuple(Fact(**fact) for fact in values["facts"])
        values["captions"] = Captions(**values["captions"])
        values["counts"] = None if values["counts"] is None else Counts(**values["counts"])
        values["start"] = None if values["start"] is None else Fact(**values["start"])
        values["varied"] = tuple(Variation(**one) for one in values["varied"])
        values["limits"] = tuple(Limit(**one) for one in values["limits"])
        made = cls(**values)
        if made.bounds not in ("", "above", "below") or made.scope not in ("set", "population"):
            raise TypeError(f"Expected bounds and scope of a result but got {made.bounds!r} and {made.scope!r}")
        if made.trivial is not None and type(made.trivial) not in (int, float):
            raise TypeError(f"Expected trivial of a result to be a number but got {made.trivial!r}")
        names = (made.claim, made.family, made.threshold_name or "")
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"Expected claim, family and threshold_name of a result to be texts but got {names}")
        if not isinstance(made.axis, (str, type(None))) or type(made.at) not in (int, float, type(None)):
            raise TypeError(f"Expected an axis and a number on it but got {made.axis!r} and {made.at!r}")
        if type(made.gated) is not bool:
            raise TypeError(f"Expected gated of a result to be true or false but got {made.gated!r}")
        return made


def _texts(name: str, values: object) -> tuple[str, ...]:
    if not isinstance(values, (list, tuple)) or not all(type(value) is str for value in values):
        raise TypeError(f"Expected {name} of a result to be a list of texts but got {values!r}")
    return tuple(values)


LONG = frozenset({"outcomes", "pairing"})
"""Fields as long as the data, which short reports leave out."""


def _plain(value: object) -> object:
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value)):
        return value
    raise TypeError(f"Expected plain JSON types in a result but got {value!r} ({type(value).__name__})")
