"""Fields of JSON objects, each held to its type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from robustest.account import Row
from robustest.errors import expected
from robustest.reports.html.album import Album
from robustest.reports.html.claims import claims_of
from robustest.reports.html.curves import curves_of
from robustest.reports.html.plots import plot_of
from robustest.reports.text import failure_text
from robustest.results import Result


def field_of(data: object, name: str, kind: type) -> Any:
    """A field.

    Args:
        data: the object.
        name: the field's.
        kind: int, str, dict or list.

    Raises:
        KeyError: there is none of that name.
        TypeError: `data` is no object, or the field of another type.
    """
    if not isinstance(data, dict):
        raise TypeError(expected("an object", data))
    value = data[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(expected(f"{name} to be {_KINDS[kind]}", value))
    return value


_KINDS = {int: "a whole number", str: "text", dict: "an object", list: "a list"}


def texts(values: list[Any], name: str) -> list[str]:
    """A list of texts.

    Raises:
        TypeError: something else is in it.
    """
    for value in values:
        if not isinstance(value, str):
            raise TypeError(expected(f"{name} to list texts", value))
    return values


def result_of(data: object) -> Result:
    """A result as files hold it, that can be told of in words.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    if not isinstance(data, dict):
        raise TypeError(expected("a result", data))
    for name, kind in (("interval", list), ("outcomes", list), ("notes", list), ("counterexamples", list)):
        field_of(data, name, kind)
    try:
        result = Result.from_dict(data)
    except AttributeError as error:
        raise TypeError(str(error)) from None
    _check(result, _TYPES, "a result")
    _check(result.cost, _COST, "a result's cost")
    for worst in result.counterexamples:
        _check(worst, _WORST, "a counterexample")
    texts(list(result.notes), "notes of a result")
    if len(result.interval) != 2 or not all(type(end) in (int, float) for end in result.interval):
        raise TypeError(expected("interval of a result to be two numbers", result.interval))
    if type(result.at_alpha) is not bool:
        raise TypeError(expected("at_alpha of a result to be true or false", result.at_alpha))
    if not all(outcome is None or type(outcome) is bool for outcome in result.outcomes):
        raise TypeError("Expected outcomes of a result to be true, false or null")
    _tell(result)
    return result


def _check(value: object, types: Mapping[str, tuple[tuple[type, ...], str]], of: str) -> None:
    for name, (kinds, what) in types.items():
        field = getattr(value, name)
        if not isinstance(field, kinds) or isinstance(field, bool):
            raise TypeError(expected(f"{name} of {of} to be {what}", field))


def _tell(result: Result) -> None:
    """Refuse what no report could print: details have no form of their own, and only the reports know which they need.

    Raises:
        TypeError: they cannot be told.
    """
    try:
        failure_text(result, replay="")
        shown = claims_of([Row(test="", result=result, problem="", replay="")], _EMPTY)
        _ = [plot_of(curve) for curve in curves_of(shown)]
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, StopIteration) as error:
        problem = f"{type(error).__name__}: {error}"[:200]
        raise TypeError(f"details of {result.kind!r} that cannot be told of ({problem})") from None


_EMPTY = Album(folder=Path(), origin=Path(), inline=True, below={})
"""Takes no picture of any test."""


def _all(names: Iterable[str], kinds: tuple[type, ...], what: str) -> dict[str, tuple[tuple[type, ...], str]]:
    return dict.fromkeys(names, (kinds, what))


_NUMBER = (int, float, type(None))
_TYPES = {
    **_all(("kind", "statement", "rule", "quantity", "comparison", "setting", "method"), (str,), "text"),
    **_all(("cached", "data", "model"), (str,), "text"),
    **_all(("estimate", "threshold"), _NUMBER, "a number or null"),
    **_all(("alpha",), (int, float), "a number"),
    **_all(("n", "n_total", "seed", "replayed"), (int,), "a whole number"),
    **_all(("details",), (dict,), "an object"),
}
_COST = {
    **_all(("forward", "backward"), (int,), "a whole number"),
    **_all(("seconds",), (int, float), "a number"),
}
_WORST = {
    **_all(("index", "label", "clean", "predicted"), (int,), "a whole number"),
    **_all(("size",), _NUMBER, "a number or null"),
    **_all(("pixels",), (int, type(None)), "a whole number or null"),
    **_all(("image",), (str, type(None)), "text or null"),
}
