"""Sentences about a result, the same in every report: its value, its requirement, its headline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustest.results.numbers import Numbers
from robustest.results.ruling import Ruling, Verdict
from robustest.results.subject import Subject
from robustest.words import (
    clean_share,
    end_of,
    interval_in_words,
    number,
    threshold_in_words,
    value_in_words,
)


def sentence(numbers: Numbers, ruling: Ruling, searched: str) -> str:
    """Return the measured value and the requirement, in the one sentence that every report prints.

    A search only bounds the true value, so its own value comes first, then the proven bound: "robust accuracy 0.940
    [0.921, 0.952] after attack (true value at most 0.952), required >= 0.90". An early verdict has an interval and no
    value: "accuracy in [0.940, 0.982], required >= 0.93". A fall is followed by its start, as a worse model may fall
    less: "accuracy drop 0.050 [0.031, 0.071] from clean accuracy 0.750, required <= 0.08".

    Args:
        searched: words that follow a value that a search left or found (`Captions.searched`).
    """
    least = requirement(ruling, numbers.details)
    value = measured_value(numbers, ruling.threshold, searched)
    return f"{numbers.quantity} {value}, {f'required {least}' if least else 'nothing required'}"


def headline(subject: Subject, numbers: Numbers, ruling: Ruling, searched: str) -> str:
    """Return a claim that did not pass in one line: "robust accuracy 0.312 < 0.40 under Linf(eps=8/255), fast".

    If the value does not show why the claim did not pass, sentence and rule take its place.

    Args:
        searched: as in `sentence`.
    """
    # The comparison comes first, since pytest's short summary cuts lines at 80 columns.
    about = subject.statement.removeprefix(numbers.quantity)
    about = about if about != subject.statement else f": {about}"
    if ruling.verdict is Verdict.INCONCLUSIVE:
        health = any(reason.startswith("health") for reason in ruling.reasons)
        why = f" ({ruling.rule})" if health else ""
        claim = f"inconclusive{why}: {sentence(numbers, ruling, searched)}{about}"
    elif ruling.threshold is None or not _is_beyond(numbers, ruling):  # a baseline, another limit, or this set alone
        claim = f"{ruling.verdict}: {sentence(numbers, ruling, searched)}{about} ({ruling.rule})"
    else:
        low, high = numbers.interval
        above = numbers.bounds == "above"
        if numbers.estimate is not None:
            value = number(numbers.estimate, ruling.threshold)
        elif numbers.bounds:
            value = f"at {'most' if above else 'least'} {end_of(high if above else low, ruling.threshold, above=above)}"
        else:
            value = f"in {interval_in_words(low, high, ruling.threshold)}"
        sign, least = "<" if ruling.comparison == ">=" else ">", threshold_in_words(ruling.threshold)
        claim = f"{numbers.quantity} {value}{_start_of(numbers)} {sign} {least}{about}"
    # If most failures were wrong before any change, that comes first: neither attack nor shift is the cause.
    clean = numbers.details.get("clean_seen")
    if isinstance(clean, Mapping) and ruling.comparison == ">=" and numbers.quantity.endswith("accuracy"):
        failures, wrong, of = (int(clean.get(name, 0)) for name in ("failures", "wrong", "of"))
        if of and 2 * wrong > failures:
            before = f"{wrong} of {failures} failures were wrong before any change"
            claim = f"clean accuracy {number(clean_share(clean))}: {before}; {claim}"
    return claim


def measured_value(numbers: Numbers, threshold: float | None, searched: str) -> str:
    """Return the measured value with its interval, and with its proven bound if a search found it.

    Args:
        threshold: the value gets enough decimals to differ from it.
        searched: as in `sentence`.
    """
    value = value_in_words(
        numbers.estimate,
        numbers.interval,
        numbers.left_interval,
        bounds=numbers.bounds,
        searched=searched,
        threshold=threshold,
    )
    return f"{value}{_start_of(numbers)}"


def requirement(ruling: Ruling, details: Mapping[str, Any]) -> str:
    """Return the requirement: ">= 0.90", every further limit by its argument, and the baseline; may be empty.

    Args:
        details: as in `Numbers`.
    """
    parts = limits_in_words(ruling)
    baseline = details.get("baseline")
    if isinstance(baseline, Mapping) and baseline and "update" not in baseline:
        least = "no worse than the baseline"
        if "accuracy" in baseline:
            low, high = baseline["drop_interval"]
            of_set = baseline.get("scope", "set") == "set"
            where = "on this set" if of_set else f"{interval_in_words(low, high, digits=4)} of the population"
            least = (
                f"{least}'s {number(baseline['accuracy'])} (fell by {number(baseline['drop'], digits=4)} {where}, "
                f"tolerance {baseline['tolerance']:g})"
            )
        parts.append(least)
    return " and ".join(parts)


def limits_in_words(ruling: Ruling) -> list[str]:
    """Return the threshold of a claim, ">= 0.90", and every further limit by its argument."""
    parts = [] if ruling.threshold is None else [f"{ruling.comparison} {threshold_in_words(ruling.threshold)}"]
    return [*parts, *(f"{one.name} {one.comparison} {threshold_in_words(one.value)}" for one in ruling.further_limits)]


def count_of(numbers: Numbers) -> str:
    """Return the number of measured samples: "1000", or "212 of 1000"."""
    return str(numbers.n) if numbers.n == numbers.n_total else f"{numbers.n} of {numbers.n_total}"


def _start_of(numbers: Numbers) -> str:
    """Return the start of a fall, " from clean accuracy 0.750"; empty if the value is no fall."""
    if numbers.start is None:
        return ""
    start = numbers.start.value
    return f" from {numbers.start.label} {number(start) if isinstance(start, float) else start}"


def _is_beyond(numbers: Numbers, ruling: Ruling) -> bool:
    """Return True if the value, or all of the interval of an early verdict, is on the wrong side of the threshold."""
    low, high = numbers.interval
    at_least = ruling.comparison == ">="
    value = numbers.estimate if numbers.estimate is not None else high if at_least else low
    return ruling.threshold is not None and (value < ruling.threshold if at_least else value > ruling.threshold)
