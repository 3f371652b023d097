"""What a robustness test claimed, looked at once its body has ended without an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from robustest.errors import NoClaimError
from robustest.results import Result, Verdict

if TYPE_CHECKING:
    import pytest

    from robustest.context import Context


class Claimant(NamedTuple):
    """A fixture of several tests, with one of its parameters.

    Attributes:
        name: the fixture's.
        scope: node id of what it is set up for: a class, a module, the session.
        parameter: place of its parameter; 0 where it has none.
    """

    name: str
    scope: str
    parameter: int


def claimants(item: pytest.Item) -> set[Claimant]:
    """Every fixture that a test may have used, with each scope that it may have had."""
    plain: Any = item
    names = set(getattr(item, "fixturenames", ()))
    request = getattr(item, "funcargs", {}).get("request")
    names |= set(getattr(request, "fixturenames", ()))  # those that it asked for by name, too
    indices = getattr(getattr(plain, "callspec", None), "indices", {})
    return {Claimant(name, node.nodeid, indices.get(name, 0)) for name in names for node in item.listchain()}


def settle(context: Context, arguments: Mapping[str, object], *, shared: bool) -> None:
    """Refuse a test that claimed and measured nothing, and have reports say what was measured and not gated.

    Args:
        context: the test's.
        arguments: its fixtures' values: a result that a fixture measured, once for many tests, counts.
        shared: whether a fixture of several tests that this one uses made a claim or measured.

    Raises:
        NoClaimError: nothing was recorded, and nothing measured.
    """
    recorded = {id(result): place for place, result in enumerate(context.results)}
    for result in context.ungated:
        if result.verdict is Verdict.PASSED:
            continue
        told = f"{result.verdict}, but nothing was gated: write {result.asserted_by}"
        loose = replace(result, gated=False, caveats=(*result.caveats, told))
        if id(result) in recorded:
            context.results[recorded[id(result)]] = loose
        else:
            context.results.append(loose)
    context.ungated.clear()
    told_here = context.measured or context.results
    if not told_here and not shared and not any(map(_has_result, arguments.values())):
        raise NoClaimError(
            "Expected a claim in a robustness test but it ended without one, and without a measurement: it would pass "
            "whatever the model does. Call an assert_ function in it, record what was measured elsewhere "
            "(robust.record(result)), or take the marker and robustest's fixtures from it."
        )


def _has_result(value: object) -> bool:
    values: Iterable[object] = (value,)
    if isinstance(value, Mapping):
        values = value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        values = value
    return any(isinstance(one, Result) for one in values)
