"""Numbers in words, the same in every report."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Any

UNSEEN = "(unseen)"
"""A word of a table's column that no row of the data has."""

_ANY_FLOAT = Context(prec=400)
# Largest number of decimals that a value gets to differ from its threshold.
_MOST_DIGITS = 18
# Largest number of decimals that a person gives a threshold.
_WRITTEN_DIGITS = 7
# Largest divisor of a fraction that a person may have written.
_LONGEST_DIVISOR = 1024
# Largest divisor of a fraction that is written as such: 1/3, not 85/255.
_PLAIN_DIVISOR = 10


def as_written(value: float) -> str:
    """Return a number as a person would write it: "8/255", "0.3"; four figures if no short form is exact."""
    short = f"{value:.4g}"
    if float(short) == value or not 0 < value < 1e6:
        return short
    near, grey = Fraction(value).limit_denominator(_LONGEST_DIVISOR), round(value * 255)
    if grey / 255 == value and near.denominator > _PLAIN_DIVISOR:  # 5/255, not 1/51
        return f"{grey}/255"
    return str(near) if near.numerator / near.denominator == value else short


def exactly(value: float) -> str:
    """Return a number as a person would write it, if that is exact; else all its figures."""
    short = as_written(value)
    try:
        return short if float(Fraction(short)) == value else repr(value)
    except (ValueError, OverflowError):  # infinite, or not a number
        return repr(value)


def number(value: float, threshold: float | None = None, *, digits: int = 3) -> str:
    """Return a measured value in `digits` decimals, or in as many as show on which side of a threshold it lies.

    Every sentence writes rates with this function, so that none says "0.950 is below 0.950" or "0.9500 is below 0.95".
    """
    if value == threshold:  # with the decimals that a person would give the threshold
        texts = (f"{value:.{places}f}" for places in range(digits, _WRITTEN_DIGITS))
        return next((text for text in texts if float(text) == value), f"{value:.{digits}f}")
    for places in range(digits, _MOST_DIGITS):
        text = f"{value:.{places}f}"
        if threshold is None or (float(text) - threshold) * (value - threshold) > 0:
            return text
    return repr(value)


def interval_in_words(low: float, high: float, threshold: float | None = None, *, digits: int = 3) -> str:
    """Return the interval of a value, "[0.849, 0.971]", rounded outwards: rounded inwards it would promise too much.

    Every report writes intervals with this function, so that no two of them show different ends.
    """
    ends = (end_of(end, threshold, above=above, digits=digits) for end, above in ((low, False), (high, True)))
    return f"[{', '.join(ends)}]"


def end_of(end: float, threshold: float | None = None, *, above: bool, digits: int = 3) -> str:
    """Return an end of an interval, rounded up if it is the upper one, else down.

    Args:
        end: the end; may be infinite.
        threshold: the end gets enough decimals to lie on its side of this number, as it does unrounded.
        above: True for the upper end.
        digits: fewest decimals.
    """
    if not math.isfinite(end):
        return str(end)
    exact = Decimal(repr(float(end)))  # NumPy's numbers have another repr
    for places in range(digits, _MOST_DIGITS):
        text = f"{exact.quantize(Decimal(1).scaleb(-places), ROUND_CEILING if above else ROUND_FLOOR, _ANY_FLOAT):f}"
        if threshold is None or end == threshold or (float(text) - threshold) * (end - threshold) > 0:
            break
    return text.removeprefix("-") if float(text) == 0 else text


def value_in_words(
    estimate: float | None,
    interval: tuple[float, float],
    left: tuple[float, float],
    *,
    bounds: str,
    searched: str = "",
    threshold: float | None = None,
) -> str:
    """Return "0.940 [0.921, 0.952]", "in [0.905, 0.952]", or either with "after attack (true value at most 0.952)".

    Args:
        estimate: the value; None for an early verdict.
        interval: interval of the true value.
        left: interval of the value that a search left; else `interval`.
        bounds: "above" or "below" if a search only bounds the value; else empty.
        searched: words that follow the value of a search.
        threshold: the value gets enough decimals to differ from it.
    """
    low, high = left
    if bounds:
        # The proven end is shown in two places, which must show the same number.
        above = bounds == "above"
        low, high = (low, interval[1]) if above else (interval[0], high)
        proven = (
            f"(true value at {'most' if above else 'least'} {end_of(high if above else low, threshold, above=above)})"
        )
    ends = interval_in_words(low, high, threshold)
    if estimate is None:
        value = f"in {ends}"
    else:
        # The interval of a value that was searched on these very samples is open on one side, and adds nothing.
        closed = not bounds or tuple(left) != tuple(interval)
        value = f"{number(estimate, threshold)} {ends}" if closed else number(estimate, threshold)
    if not bounds:
        return value
    return " ".join(part for part in (value, searched, proven) if part)


def threshold_in_words(value: float) -> str:
    """Return a threshold with two decimals or more, since shares are read as percent."""
    short = f"{value:g}"
    return f"{value:.2f}" if float(f"{value:.2f}") == value else short


def clean_share(clean: Mapping[str, Any]) -> float:
    """Return the accuracy on the evaluated unchanged samples."""
    return int(clean["right"]) / int(clean["of"])


def folded(line: str, width: int, indent: str) -> list[str]:
    """Return a line of a report as lines of at most `width` columns; words are not broken.

    Args:
        line: the line, without its line end.
        width: columns.
        indent: start of further lines.
    """
    if len(line) <= width:
        return [line]
    command = re.search(r"(?:^|\s)replay:? ", line)
    room = width - 2 if command else width
    parts = textwrap.wrap(
        line, room, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
    # A command is continued as a shell reads it, so that it can be copied whole.
    return [f"{part} \\" for part in parts[:-1]] + parts[-1:] if command else parts
