"""Where a result becomes a test's outcome."""

from __future__ import annotations

from robustest import context
from robustest.errors import ClaimFailed, ClaimInconclusive
from robustest.reports.text import failure_text
from robustest.results import Result, Verdict


def gate(result: Result) -> Result:
    """Record a result and let it through only if it passed.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: the samples do not settle it.
    """
    __tracebackhide__ = True
    running = context.current()
    running.record(result)
    if result.verdict is Verdict.PASSED:
        return result
    kind = ClaimFailed if result.verdict is Verdict.FAILED else ClaimInconclusive
    raise kind(failure_text(result, replay=running.replay(running.settings.seed)), result)
