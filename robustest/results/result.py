"""The result of a measurement: frozen, of plain JSON types, and all that reports and other processes get."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NoReturn

from robustest.errors import TruthValueError, unknown
from robustest.results.evidence import Cost, Counterexample, KeptEvidence
from robustest.results.numbers import Numbers
from robustest.results.ruling import Ruling, Verdict
from robustest.results.sentences import count_of, headline, measured_value, requirement, sentence
from robustest.results.subject import Subject
from robustest.results.words import Words, facts_of
from robustest.typed import INLINE, from_plain, to_plain


# Without slots: with them, Python answers an assignment to a property with a TypeError about super().
@dataclass(frozen=True, kw_only=True)
class Result:
    """A measured claim; using it as a truth value raises TruthValueError.

    Five values, each of one idea; what tests ask for most can be read from the result itself, too. In JSON the fields
    of the five stand side by side, so a name belongs to one of them.
    """

    subject: Subject = field(metadata=INLINE)  # the claim
    ruling: Ruling = field(metadata=INLINE)  # its requirement and verdict
    numbers: Numbers = field(metadata=INLINE)  # the measured value
    evidence: KeptEvidence = field(metadata=INLINE)  # outcomes, counterexamples, what repeats the measurement
    words: Words = field(metadata=INLINE)  # names and sentences for reports

    def __post_init__(self) -> None:
        if not self.words.facts and self.details:
            words = replace(self.words, facts=tuple(facts_of(self.details, self.words.captions.names)))
            object.__setattr__(self, "words", words)

    @classmethod
    def of(cls, **values: Any) -> Result:
        """Return a result of the fields of its five parts, by their names.

        Raises:
            TypeError: a name is unknown, a field without a default is missing, or a value has another type.
        """
        given = _by_part(values)
        return cls(**{name: part(**given.get(name, {})) for name, part in _PARTS.items()})

    def but(self, **values: Any) -> Result:
        """Return this result with other values of fields of its parts, by their names; errors are those of `of`."""
        changed = {name: replace(getattr(self, name), **given) for name, given in _by_part(values).items()}
        return replace(self, **changed)

    @property
    def verdict(self) -> Verdict:
        """Passed, failed or inconclusive; inconclusive too without a threshold."""
        return self.ruling.verdict

    @property
    def rule(self) -> str:
        """Reason for the verdict, in words."""
        return self.ruling.rule

    @property
    def estimate(self) -> float | None:
        """Measured value; None if not all samples were measured, as after an early verdict."""
        return self.numbers.estimate

    @property
    def interval(self) -> tuple[float, float]:
        """Confidence interval of the value."""
        return self.numbers.interval

    @property
    def details(self) -> Mapping[str, Any]:
        """Further numbers of this kind of claim."""
        return self.numbers.details

    @property
    def outcomes(self) -> tuple[bool | None, ...]:
        """One per sample in the data's order: True held, False broken, None not evaluated."""
        return self.evidence.outcomes

    @property
    def counterexamples(self) -> tuple[Counterexample, ...]:
        """The worst samples, worst first."""
        return self.evidence.counterexamples

    @property
    def cost(self) -> Cost:
        """Model passes and seconds."""
        return self.evidence.cost

    @property
    def is_claim(self) -> bool:
        """True if something was claimed: a threshold, or to be no worse than a baseline."""
        return self.ruling.threshold is not None or bool(self.details.get("baseline"))

    @property
    def outcome(self) -> str:
        """The verdict, or "measured" for a result that claims nothing or that no assertion took."""
        alone = not self.ruling.gated or (self.verdict is Verdict.INCONCLUSIVE and not self.is_claim)
        return "measured" if alone else str(self.verdict)

    @property
    def straddles(self) -> bool:
        """True if a claim about the set was decided on all of it, and the interval contains the threshold."""
        low, high = self.numbers.left_interval
        # The interval is about the population that the samples were drawn from, the verdict about the samples.
        decided = self.verdict is not Verdict.INCONCLUSIVE and self.estimate is not None
        of_set = self.subject.scope == "set"
        return decided and of_set and self.ruling.threshold is not None and low < self.ruling.threshold < high

    @property
    def sentence(self) -> str:
        """The measured value and the requirement, in the one sentence that every report prints."""
        return sentence(self.numbers, self.ruling, self.words.captions.searched)

    @property
    def measured_value(self) -> str:
        """The measured value with its interval, and with its proven bound if a search found it."""
        return measured_value(self.numbers, self.ruling.threshold, self.words.captions.searched)

    @property
    def headline(self) -> str:
        """A claim that did not pass, in one line."""
        return headline(self.subject, self.numbers, self.ruling, self.words.captions.searched)

    @property
    def requirement(self) -> str:
        """The threshold, every further limit and the baseline in words; may be empty."""
        return requirement(self.ruling, self.details)

    def __repr__(self) -> str:
        # These are anybody's words, and pytest prints them into logs.
        claim = repr(self.subject.statement)[1:-1].replace("##", r"\x23#")
        return f"<{type(self).__name__} {self.outcome}: {claim}; {self.sentence}; n={count_of(self.numbers)}>"

    def __bool__(self) -> bool:
        # `assert measure_robust_accuracy(...)` would pass for any value.
        raise TruthValueError(
            "Expected an assertion but got a result as a truth value, which says nothing of its verdict "
            f"({self.verdict}). Write {self.subject.asserted_by}(...) with the same arguments, or compare what you "
            "mean: result.verdict is Verdict.PASSED, result.estimate >= 0.9."
        )

    def _no_number(self, other: object = None) -> NoReturn:
        raise TruthValueError(
            f"Expected a number but got a whole result. Write {self.subject.asserted_by}(...) with a limit, which also "
            "judges if the value can be trusted; the number alone is result.estimate."
        )

    __lt__ = __le__ = __gt__ = __ge__ = __float__ = _no_number

    def to_dict(self) -> dict[str, Any]:
        """Return this result as plain JSON types, the fields of its parts side by side."""
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


_PARTS = {"subject": Subject, "ruling": Ruling, "numbers": Numbers, "evidence": KeptEvidence, "words": Words}
_PART_OF = {one.name: name for name, part in _PARTS.items() for one in fields(part)}


def _by_part(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    given: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in _PART_OF:
            raise TypeError(unknown("field of a result", name, _PART_OF))
        given.setdefault(_PART_OF[name], {})[name] = value
    return given


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
