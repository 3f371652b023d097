"""Results of measurements, and the values that they are made of."""

from __future__ import annotations

from robustest.results.evidence import NOT_PAIRED, Changes, Cost, Counterexample, KeptEvidence, Pairing
from robustest.results.numbers import Counts, Numbers
from robustest.results.result import LONG, Result, numbers_apart
from robustest.results.ruling import REASONS, Limit, Ruling, Verdict
from robustest.results.subject import Subject, Variation
from robustest.results.words import (
    SHOWN_ELSEWHERE,
    Captions,
    Fact,
    Value,
    Words,
    facts_of,
    interval_of_another,
    is_rows,
    is_table,
    named,
    shown,
)

__all__ = [
    "LONG",
    "NOT_PAIRED",
    "REASONS",
    "SHOWN_ELSEWHERE",
    "Captions",
    "Changes",
    "Cost",
    "Counterexample",
    "Counts",
    "Fact",
    "KeptEvidence",
    "Limit",
    "Numbers",
    "Pairing",
    "Result",
    "Ruling",
    "Subject",
    "Value",
    "Variation",
    "Verdict",
    "Words",
    "facts_of",
    "interval_of_another",
    "is_rows",
    "is_table",
    "named",
    "numbers_apart",
    "shown",
]
