"""What a robustness test claimed, looked at once its body has ended without an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from robustest.errors import NoClaimError
from robustest.results import Result, Verdict

if TYPE_CHECKING:
    from robustest.context import Context


def settle(context: Context, arguments: Mapping[str, object]) -> None:
    """Refuse a test that claimed and measured nothing, and have reports say what was measured and not gated.

    Args:
        context: the test's.
        arguments: its fixtures' values: a result that a fixture measured, once for many tests, counts.

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
    if not context.measured and not context.results and not any(map(_has_result, arguments.values())):
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
