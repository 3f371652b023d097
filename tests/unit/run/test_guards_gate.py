"""What lets a result through: each verdict under each setting, by results made by hand."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from robustest.context import Context, running
from robustest.errors import ClaimFailed, ClaimInconclusive, NotSearched
from robustest.results import Cost, Result, Verdict
from robustest.run.measurement import gate, unsearched
from robustest.settings import Settings


class Skipped(Exception):
    """Ends a test as pytest.skip does."""


def skip(reason: str) -> None:
    raise Skipped(reason)


def made(verdict: str, **changes: Any) -> Result:
    fields: dict[str, Any] = {
        "kind": "robust_accuracy",
        "statement": "made up >= 0.5",
        "verdict": Verdict(verdict),
        "rule": "by hand",
        "quantity": "accuracy",
        "estimate": 0.5,
        "interval": (0.25, 0.75),
        "threshold": 0.5,
        "comparison": ">=",
        "n": 4,
        "n_total": 4,
        "outcomes": (True, False, True, False),
        "cost": Cost(),
        "seed": 0,
        "setting": "nothing",
        "method": "none",
    }
    return Result.of(**{**fields, **changes})


def ended(result: Result, through: Any = gate, **settings: Any) -> tuple[str, Context]:
    """Return what `through` does with a result in a test, and the test's context."""
    context = Context(settings=Settings(**settings), test="t.py::t", skip=skip)
    context.note(result)
    with running(context):
        try:
            assert through(result) is result
        except (ClaimFailed, Skipped, NotSearched) as raised:
            return type(raised).__name__, context
    return "through", context


@pytest.mark.parametrize(
    ("verdict", "settings", "end"),
    [
        ("passed", {}, "through"),
        ("failed", {}, "ClaimFailed"),
        ("inconclusive", {}, "ClaimInconclusive"),
        ("passed", {"inconclusive": "skip"}, "through"),
        ("failed", {"inconclusive": "skip"}, "ClaimFailed"),
        ("inconclusive", {"inconclusive": "skip"}, "Skipped"),
        ("inconclusive", {"inconclusive": "fail"}, "ClaimInconclusive"),
        ("passed", {"replay_only": True}, "NotSearched"),
        ("inconclusive", {"replay_only": True}, "NotSearched"),
        ("failed", {"replay_only": True}, "ClaimFailed"),
    ],
)
def test_only_what_passed_is_let_through(verdict: str, settings: dict[str, Any], end: str) -> None:
    result = made(verdict)
    found, context = ended(result, **settings)
    assert found == end
    assert context.results == ([] if end == "NotSearched" else [result])
    assert context.ungated == [], "an assertion has taken it"


def test_without_a_test_to_skip_an_inconclusive_claim_is_an_error() -> None:
    with running(Context(settings=Settings(inconclusive="skip"))), pytest.raises(ClaimInconclusive):
        gate(made("inconclusive"))


@pytest.mark.parametrize(
    ("verdict", "threshold", "settings", "end"),
    [
        ("inconclusive", None, {}, "through"),
        ("inconclusive", 0.5, {}, "ClaimInconclusive"),
        ("failed", 0.0, {}, "ClaimFailed"),
        ("passed", 0.5, {}, "through"),
        ("inconclusive", None, {"replay_only": True}, "NotSearched"),
    ],
)
def test_advice_is_gated_where_a_threshold_is_claimed(
    verdict: str, threshold: float | None, settings: dict[str, Any], end: str
) -> None:
    found, context = ended(made(verdict, threshold=threshold), partial(gate, advises=True), **settings)
    assert found == end
    assert len(context.results) == (end != "NotSearched")


def test_what_no_replay_refutes_says_nothing_of_the_number() -> None:
    with running(Context(settings=Settings(seed=7))):
        result = unsearched("robust_accuracy", NotSearched("accuracy >= 0.5", "replayed only"))
    assert (result.verdict, result.estimate, result.interval) == (Verdict.INCONCLUSIVE, None, (0.0, 1.0))
    assert (result.ruling.threshold, result.numbers.n, result.numbers.n_total, result.outcomes) == (None, 0, 0, ())
    assert (result.subject.statement, result.rule, result.evidence.seed) == ("accuracy >= 0.5", "replayed only", 7)


@pytest.mark.parametrize("test", ["t.py::t", ""])
@pytest.mark.parametrize("verdict", ["passed", "failed"])
def test_the_latest_result_of_each_claim_of_a_test_is_kept(verdict: str, test: str, tmp_path: Path) -> None:
    context = Context(settings=Settings(store=str(tmp_path / "store")), test=test)
    with running(context):
        for result in (made("passed"), made(verdict), made("passed", kind="another")):
            with suppress(ClaimFailed):
                gate(result)
    files = list((tmp_path / "store").rglob("*.json"))
    assert len(files) == (2 if test else 0)
