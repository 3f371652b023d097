"""Where a result becomes a test's outcome."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from robustest import context
from robustest.errors import ClaimFailed, ClaimInconclusive, NotSearched
from robustest.identity.fingerprint import digest
from robustest.reports.text import failure_text
from robustest.results import Cost, Result, Verdict
from robustest.store.provenance import when
from robustest.store.records import save_record


def gate(result: Result) -> Result:
    """Record a result and let it through only if it passed.

    An inconclusive claim skips its test where the settings say so; it never passes. In a run that only replays known
    counterexamples, a claim that does not fail was not measured by them, and does not pass.

    Raises:
        ClaimFailed: the claim does not hold.
        ClaimInconclusive: the samples do not settle it.
    """
    __tracebackhide__ = True
    running = context.current()
    running.gate(result)
    if running.settings.replay_only and result.verdict is not Verdict.FAILED:
        raise running.not_searched(result.statement, "replayed only: nothing was searched for")
    _record(result)
    if result.verdict is Verdict.PASSED:
        return result
    if result.verdict is Verdict.INCONCLUSIVE and running.settings.inconclusive == "skip" and running.skip is not None:
        running.skip(f"inconclusive: {result.statement}: {result.rule}")
    kind = ClaimFailed if result.verdict is Verdict.FAILED else ClaimInconclusive
    raise kind(failure_text(result, replay=""), result)  # the report of the run says how to repeat its test, once


def advise(result: Result) -> Result:
    """Record a result; it is let through where nothing was claimed, and gated where something was.

    Raises:
        As `gate`, where there is a threshold.
    """
    __tracebackhide__ = True
    if result.threshold is not None or context.current().settings.replay_only:
        return gate(result)
    _record(result)
    return result


def unvouched(kind: str, nothing: NotSearched) -> Result:
    """What an assertion returns where known counterexamples alone do not refute its claim: nothing was searched for.

    Its test goes on to the next claim, and is skipped at its end unless one of its claims failed. There is neither an
    estimate nor details.

    Args:
        kind: of the claim.
        nothing: what said so.
    """
    running = context.current()
    return Result(
        kind=kind,
        claim=nothing.claim,
        statement=nothing.statement,
        verdict=Verdict.INCONCLUSIVE,
        rule=nothing.reason,
        quantity="",
        estimate=None,
        interval=(0.0, 1.0),
        threshold=None,
        comparison=">=",
        n=0,
        n_total=0,
        outcomes=(),
        cost=Cost(),
        seed=running.settings.seed,
        setting="",
        method="",
        reasons=("not_searched",),
    )


def _record(result: Result) -> None:
    running = context.current()
    running.record(result)
    if running.test and running.settings.store is not None:
        _remember(Path(running.settings.store), running.test, result)


def _remember(folder: Path, test: str, result: Result) -> None:
    """Keep the latest result of each claim, as it would be had it all been measured now."""
    plain = replace(result, cached="").to_dict()
    record = {"test": test, "claim": result.claim, "when": when(), "result": plain}
    key = digest((test, result.claim))
    save_record(folder, key, record)  # another threshold replaces it
