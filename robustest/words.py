"""Numbers and results in words: what every report says alike, and a result says of itself."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Any, Protocol

_DIGITS = Decimal("0.001")
"""Of a bound that is shown; it is rounded outwards, or it would be none."""
_ANY_FLOAT = Context(prec=400)
_LONGEST_DIVISOR = 1024
"""Of a fraction that somebody may have written."""
_PLAIN_DIVISOR = 10
"""Up to which a fraction of grey levels is read as one of its own: 1/3, not 85/255."""
_NAMED = re.compile(r"\((?:eps|pixels)=")


class Labelled(Protocol):
    """A number, or words, with its name; see `robustest.facts.Fact`."""

    @property
    def label(self) -> str: ...
    @property
    def value(self) -> object: ...


class Told(Protocol):
    """What there is to say of a measured claim; see `robustest.results.Result`."""

    @property
    def statement(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def quantity(self) -> str: ...
    @property
    def estimate(self) -> float | None: ...
    @property
    def interval(self) -> tuple[float, float]: ...
    @property
    def threshold(self) -> float | None: ...
    @property
    def comparison(self) -> str: ...
    @property
    def n_used(self) -> int: ...
    @property
    def n_total(self) -> int: ...
    @property
    def details(self) -> Mapping[str, Any]: ...
    @property
    def bounds(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def start(self) -> Labelled | None: ...


def as_written(value: float) -> str:
    """A number as a person would have written it: "8/255", "0.3"; four figures where no short form is the number."""
    short = f"{value:.4g}"
    if float(short) == value or not 0 < value < 1e6:
        return short
    near, grey = Fraction(value).limit_denominator(_LONGEST_DIVISOR), round(value * 255)
    if grey / 255 == value and near.denominator > _PLAIN_DIVISOR:  # 5/255, not 1/51
        return f"{grey}/255"
    return str(near) if near.numerator / near.denominator == value else short


def value_of(result: Told) -> str:
    """The measured value with its interval: "0.410 [0.370, 0.450]", "in [0.370, 0.450]", "at most 0.470".

    A fall is followed by the value that it starts from, as a worse model may well fall less: "0.050 [0.031, 0.071] from
    clean accuracy 0.750".
    """
    low, high = result.interval
    interval = f"[{low:.3f}, {high:.3f}]"
    if not result.bounds:
        return f"{'in' if result.estimate is None else f'{result.estimate:.3f}'} {interval}{_start_of(result)}"
    bound = _bound(result)
    shown = bound if result.estimate is None or low == high else f"{bound} {interval}"
    return f"{shown}{_start_of(result)}"


def _start_of(result: Told) -> str:
    """Return the start of a fall in words; empty where the value is no fall."""
    if result.start is None:
        return ""
    value = result.start.value
    return f" from {result.start.label} {f'{value:.3f}' if isinstance(value, float) else value}"


def _bound(result: Told) -> str:
    above = result.bounds == "above"
    outward = Decimal(repr(result.value)).quantize(_DIGITS, ROUND_CEILING if above else ROUND_FLOOR, _ANY_FLOAT)
    return f"at {'most' if above else 'least'} {outward:.3f}"


def count_of(result: Told) -> str:
    """The samples looked at: "1000", or "212 of 1000"."""
    return str(result.n_used) if result.n_used == result.n_total else f"{result.n_used} of {result.n_total}"


def headline(result: Told) -> str:
    """A claim that did not pass in one line: "robust accuracy 0.312 < 0.40 under Linf(8/255), fast".

    Where most of what failed was wrong before any change, that is said first: no attack, and no shift, is to blame.
    """
    claim = _compared(result)
    if result.verdict == "inconclusive":
        why = f" ({result.rule})" if result.rule.startswith("health check") else ""
        claim = f"inconclusive{why}: {claim}"
    return f"{_wrong_before(result)}{claim}"


def _compared(result: Told) -> str:
    """The value beside what was claimed of it; the claim and the rule where these alone do not tell the verdict."""
    rest = result.statement
    if result.threshold is None:
        return f"{result.verdict}: {rest} ({result.rule})"
    rest = rest.removesuffix(f" {result.comparison} {result.threshold:g}")
    about = rest.removeprefix(result.quantity)
    about = _NAMED.sub("(", about if about != rest else f": {rest}")
    limit = _threshold(result.threshold)
    if result.verdict == "inconclusive":
        return f"{result.quantity} {value_of(result)}, claimed {result.comparison} {limit}{about}"
    low, high = result.interval
    ends = {">=": high, "<=": low} if result.estimate is None else {}
    value = ends.get(result.comparison, result.value)
    wrong = value < result.threshold if result.comparison == ">=" else value > result.threshold
    if not wrong:  # another threshold, a baseline, or this set alone
        return f"{result.verdict}: {result.statement} ({result.rule})"
    sign = "<" if result.comparison == ">=" else ">"
    if result.estimate is None:
        shown = value_of(result)
    else:
        shown = f"{_apart(result.estimate, result.threshold)}{_start_of(result)}"
    return f"{result.quantity} {shown} {sign} {limit}{about}"


def _threshold(value: float) -> str:
    """A threshold with two decimals or more: shares are read as percent."""
    short = f"{value:g}"
    return f"{value:.2f}" if float(f"{value:.2f}") == value else short


def _apart(value: float, threshold: float) -> str:
    """A value in three decimals, or as many as it takes to differ from its threshold."""
    for digits in range(3, 18):
        shown = f"{value:.{digits}f}"
        if float(shown) != threshold:
            return shown
    return repr(value)


def _wrong_before(result: Told) -> str:
    """What to say first where most failures were no failure of the change that was tried."""
    seen = result.details.get("clean_seen")
    if not isinstance(seen, Mapping) or result.comparison != ">=" or not result.quantity.endswith("accuracy"):
        return ""
    failures, wrong, of = (int(seen.get(name, 0)) for name in ("failures", "wrong", "of"))
    if not of or 2 * wrong <= failures:
        return ""
    return f"clean accuracy {clean_share(seen):.3f}: {wrong} of {failures} failures were wrong before any change; "


def clean_share(seen: Mapping[str, Any]) -> float:
    """The accuracy on the unchanged samples that were looked at."""
    return int(seen["right"]) / int(seen["of"])


def folded(line: str, width: int, indent: str) -> list[str]:
    """A line of a report as lines of at most so many columns; words are never broken.

    A command is continued as a shell reads it, so that it can be copied whole.

    Args:
        line: without its line end.
        width: columns.
        indent: what further lines begin with.
    """
    if len(line) <= width:
        return [line]
    command = re.search(r"(?:^|\s)replay:? ", line)
    room = width - 2 if command else width
    parts = textwrap.wrap(
        line, room, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
    return [f"{part} \\" for part in parts[:-1]] + parts[-1:] if command else parts
