"""Guards of what holds where nobody says otherwise: nothing was measured, nothing claimed, nothing allowed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from accounts import RESULT

from robustest.account import EXPLAINED, RED, Account, Ending, Row, Session, exit_reason
from robustest.decisions import Decision
from robustest.results import (
    NOT_PAIRED,
    Cost,
    Counts,
    Fact,
    KeptEvidence,
    Numbers,
    Pairing,
    Result,
    Ruling,
    Subject,
    Verdict,
    Words,
    facts_of,
)
from robustest.run.evidence import Evidence, Observation, Stream, Tally
from robustest.run.workers import ChunkResult, Work
from robustest.store.corpus import EACH


def defaults(cls: type) -> dict[str, Any]:
    return {one.name: one.default for one in dataclasses.fields(cls) if one.default is not dataclasses.MISSING}


DECISION = Decision(verdict=Verdict.FAILED, rule="r", estimate=0.5, interval=(0.0, 1.0))


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Tally, {"forward": 0, "backward": 0, "calls": 0, "seconds": 0.0, "classes": 0, "notes": ()}),
        (Cost, {"forward": 0, "backward": 0, "seconds": 0.0}),
        (Stream, {"chunks": 0, "clusters": None}),
        (
            Evidence,
            {"bounds": (0.0, 1.0), "sample_rate": None, "findings": (), "cached": "", "data": "", "model": ""}
            | {"beside": None, "copies": None, "inputs": (), "may_repeat": True, "likely_clusters": ""}
            | {"remarks": (), "smaller": None},
        ),
        (Observation, {"kept": None}),
        (Work, {"compared": False, "until": None}),
        (ChunkResult, {"warned": (), "error": None, "over": False}),
        (Fact, {"unit": "", "leads": True}),
        (Pairing, {"share": True, "under": "", "start": (), "start_data": ""}),
        (Counts, {"gained": None}),
        (Ending, {"reason": "", "robust": True, "claimed": False, "replay": "", "attempt": 0}),
        (
            Session,
            {"stopped": "", "collected": 0, "deselected": (), "ran": 0, "selection": "", "files_left_out": 0},
        ),
        (Subject, {"claim": "", "family": "", "varied": (), "axis": None, "at": None, "scope": "set"}),
        (
            Ruling,
            {"threshold_name": None, "limits": (), "trivial": None, "reasons": ()}
            | {"alpha": 0.0, "at_alpha": False, "gated": True},
        ),
        (Numbers, {"bounds": "", "counts": None, "start": None}),
        (
            KeptEvidence,
            {"counterexamples": (), "replayed": 0, "pairing": None, "data": "", "model": "", "cached": ""},
        ),
        (Words, {"caveats": (), "notes": (), "facts": ()}),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_field_that_nobody_gives_says_nothing(cls: type, expected: dict[str, Any]) -> None:
    assert defaults(cls) == expected


def test_nothing_is_added_to_a_cost_by_nothing() -> None:
    nothing = Tally()
    assert nothing.plus(nothing) == nothing.since(nothing, 0.0) == nothing
    assert nothing.cost == Cost(forward=0, backward=0, seconds=0.0) == Cost()
    one = Tally(forward=3, backward=2, seconds=1.5, classes=4)
    assert one.plus(nothing).cost == one.since(nothing, 1.5).cost == Cost(forward=3, backward=2, seconds=1.5)
    assert one.plus(nothing).classes == nothing.plus(one).classes == 4


def test_a_stream_counts_its_chunks() -> None:
    stream = Stream(9)
    assert (stream.chunks, stream.n) == (0, 0)
    for place in (0, 1):
        held = torch.tensor([True, False])
        stream.add(torch.arange(2) + 2 * place, Observation({"held": held}, []), Tally(), examples=0, marks=[])
        assert (stream.chunks, stream.n) == (place + 1, 2 * place + 2)
    evidence = Evidence(decision=DECISION, columns=stream.columns, ids=stream.columns["id"], total=9)
    assert (evidence.bounds, evidence.whole, evidence.including().cached) == ((0.0, 1.0), False, "")
    assert not NOT_PAIRED.share
    assert EACH == 2


def test_a_result_is_asserted_unless_it_says_otherwise() -> None:
    parts = [getattr(RESULT, one.name) for one in dataclasses.fields(Result)]
    every = [(part, one) for part in parts for one in dataclasses.fields(part)]
    plain = {one.name: getattr(part, one.name) for part, one in every if one.name not in GIVEN}
    made = Result.of(**{**plain, **REQUIRED})
    assert (made.outcome, made.ruling.gated, made.ruling.at_alpha) == ("failed", True, False)
    assert (made.ruling.alpha, made.evidence.replayed) == (0.0, 0)
    assert {one.name for _, one in every if not one.repr} == {"outcomes", "pairing", "captions", "counts", "trivial"}
    assert [fact.leads for fact in facts_of({"a": 1}, {})] == [True]


PARTS = (Subject, Ruling, Numbers, KeptEvidence, Words)
GIVEN = {name for part in PARTS for name in defaults(part)} | {"details", "captions"}
REQUIRED: dict[str, Any] = {"verdict": Verdict.FAILED, "threshold": 0.5}


def test_an_ending_of_a_robust_test_is_red_where_it_says_so() -> None:
    ending = Ending(test="t", phase="call", outcome="failed")
    (row,) = Account(results=(), endings=(ending,), session=Session(exit=1)).rows
    assert (row.test, row.state, row.red) == ("t", "failed", True)
    assert row == Row("t", None, "", "", ending)
    assert {"failed", "error", "unfinished", "inconclusive", "tolerated"} == EXPLAINED == RED | {"tolerated"}
    words = [exit_reason(status) for status in range(8)]
    assert [one.split()[0] for one in words] == ["a", "something", "the", "an", "wrong", "no", "more", "a"]
