"""Tests that another plugin runs again when they fail (pytest-rerunfailures, flaky, pytest-retry and others).

Whoever repeats a claim until it passes finds the draw that suits it: a claim that holds in one draw of ten passes in
27 % of all series of three attempts. So a later pass takes no failure back, unless the rule over all attempts says so
(the setting `attempts`):

- "every", the default: every attempt must hold.
- "majority": more than half of the attempts must hold.

An attempt that ended in an error, neither in a claim nor in an assertion that does not hold, says nothing of the model
and does not count. Every attempt keeps its rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustest.context import Context


def hold(context: Context, *, passed: bool) -> None:
    """Refuse an attempt that passes, or is skipped, where the attempts together do not hold.

    Raises:
        AttemptsFailed: an earlier attempt failed, and the rule over all attempts is not kept.
    """
    __tracebackhide__ = True
    from robustest.errors import AttemptsFailed

    failed = [(number, one) for number, one in enumerate(context.attempts, 1) if one.outcome == "failed"]
    held = passed + sum(one.outcome == "passed" for one in context.attempts)
    context.forgiven = not failed or (context.settings.attempts == "majority" and held > len(failed))
    if context.forgiven:
        return
    every = len(context.attempts) + 1
    number, first = failed[0]
    raise AttemptsFailed(
        f"failed in {len(failed)} of {every} attempts: a later pass does not undo a failure. "
        f'attempts = "{context.settings.attempts}" is not kept; attempt {number}: {first.reason.partition(chr(10))[0]}'
    )
