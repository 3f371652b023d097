"""Guards of a history's files: both sides of each border of what is read, and what a write leaves as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from history_entries import made

from robustest.errors import StoreError
from robustest.history import ClaimId
from robustest.store import history
from robustest.store.history import Requirements, RunLine

CLAIM = ClaimId("test_a.py::test_it", "accuracy")


@pytest.mark.parametrize(
    ("claim", "taken"),
    [
        (ClaimId("t" * 4_000, "k" * 4_000), True),
        (ClaimId("t" * 4_001, "k"), False),
        (ClaimId("t", "k" * 4_001), False),
        (ClaimId("t", "k", 999_999), True),
        (ClaimId("t", "k", 1_000_000), False),
        (ClaimId("t", "k", -1), False),
    ],
    ids=["longest", "long test", "long key", "last place", "high place", "negative place"],
)
def test_a_claim_has_names_of_four_thousand_characters_and_a_place_below_a_million(
    claim: ClaimId, taken: bool, tmp_path: Path
) -> None:
    history.add(tmp_path, {claim: [made()]})
    if taken:
        assert history.read(tmp_path) == {claim: [made()]}
    else:
        with pytest.raises(StoreError, match=r"line 1, but got: .*texts of at most 4000 characters, and a place"):
            history.read(tmp_path)


def requirements(**changes: Any) -> list[Any]:
    one = Requirements("", 10, 0.5, ">=", "")._replace(**changes)
    return [history._digest(one), *one]


@pytest.mark.parametrize(
    ("row", "taken"),
    [
        (requirements(), True),
        (requirements(threshold=None), True),
        (requirements(threshold=3), True),
        (requirements(bounds="above", comparison="<=", required="x" * 300), True),
        (requirements(bounds="", comparison=""), True),
        (requirements(required="x" * 301), False),
        (requirements(bounds="beside"), False),
        (requirements(comparison="<"), False),
        (requirements(total=None), False),
        (requirements(total=1.0), False),
        (requirements(threshold=1.01e100), False),
        (requirements(threshold=True), False),
        (requirements()[:-1], False),
        ([*requirements(), ""], False),
        ({}, False),
        (["0" * 8, *requirements()[1:]], False),
    ],
    ids=json.dumps,
)
def test_requirements_of_every_form_are_read_and_no_others(row: Any, taken: bool, tmp_path: Path) -> None:
    history.add(tmp_path, {CLAIM: [made()]})
    path = tmp_path / CLAIM.file
    path.write_bytes(path.read_bytes() + json.dumps(row).encode() + b"\n")
    if taken:
        assert history.read(tmp_path) == {CLAIM: [made()]}
    else:
        with pytest.raises(StoreError, match=f"{CLAIM.file}, line 3, but got"):
            history.read(tmp_path)


def listed(*references: Any) -> bytes:
    return history._line([f"={history._digest(list(references))}", list(references)])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (listed("0" * 16 + "." + "0" * 8), None),  # of a claim that was deleted
        (listed(), None),
        (listed(f"{CLAIM.digest}.{'0' * 8}"), "Expected a line 00000000 in"),
        (listed("0" * 16 + "." + "0" * 7), "Expected a name and a list of claims"),
        (listed("0" * 15 + "." + "0" * 8), "Expected a name and a list of claims"),
        (listed("0" * 16 + "." + "0" * 9), "Expected a name and a list of claims"),
        (listed("g" * 16 + "." + "0" * 8), "Expected a name and a list of claims"),
        (listed("0" * 16 + "." + "0" * 8, 3), "Expected a name and a list of claims"),
        (listed(3), "Expected a name and a list of claims"),
        (b'["=00000000",{}]', "Expected a name and a list of claims"),
        (b'["=00000000"]', "Expected a name and a list of claims"),
        (listed()[:-1] + b",1]", "Expected a name and a list of claims"),
        (b'["=00000000",[]]', "Expected the name ="),
    ],
    ids=lambda one: None if isinstance(one, str) else str(one),
)
def test_a_list_of_claims_has_a_name_and_references(line: bytes, words: str | None, tmp_path: Path) -> None:
    history.add(tmp_path, {CLAIM: [made()]})
    path = tmp_path / "runs-2026-01.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")
    if words is None:
        assert history.read(tmp_path) == {CLAIM: [made()]}
    else:
        with pytest.raises(StoreError, match=rf"runs-2026-01\.jsonl, line 4, but got: {words}"):
            history.read(tmp_path)


def test_a_claim_that_was_deleted_is_dropped_from_a_run_and_the_others_stay(tmp_path: Path) -> None:
    others = [ClaimId(f"test_a.py::test_{name}") for name in "bcd"]
    entries = {claim: [made(estimate=place / 10)] for place, claim in enumerate([CLAIM, *others])}
    history.add(tmp_path, entries)
    (tmp_path / others[1].file).unlink()
    del entries[others[1]]
    assert history.read(tmp_path) == entries


def test_equal_entries_of_one_time_count_once_and_those_of_other_times_each(tmp_path: Path) -> None:
    """Two parts of a run, one claim in both; and two runs that found the same."""
    other = ClaimId("test_a.py::test_other")
    history.add(tmp_path, {CLAIM: [made(1)]})
    history.add(tmp_path, {CLAIM: [made(1), made(2)], other: [made(1)]})
    assert history.read(tmp_path) == {CLAIM: [made(1), made(2)], other: [made(1)]}


def test_what_is_hidden_or_has_another_ending_is_no_file_of_a_history(tmp_path: Path) -> None:
    history.add(tmp_path, {CLAIM: [made()]})
    for name in (".a.jsonl", "a.json", "a.jsonl.bak", "READ.me"):
        (tmp_path / name).write_text("odd\n")
    assert history.read(tmp_path) == {CLAIM: [made()]}
    (tmp_path / "a.jsonl").write_text("odd\n")
    with pytest.raises(StoreError, match=r"a\.jsonl, line 1, but got: 0 first lines instead of one"):
        history.read(tmp_path)


def test_attributes_that_the_user_has_changed_stay(tmp_path: Path) -> None:
    history.add(tmp_path, {CLAIM: [made()]})
    (tmp_path / ".gitattributes").write_text("* -text\n")
    history.add(tmp_path, {CLAIM: [made(2)]})
    assert (tmp_path / ".gitattributes").read_text() == "* -text\n"


def test_files_of_claims_are_written_before_those_of_months_and_only_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write: Callable[[Path, bytes], None] = history.write_atomic

    def noted(path: Path, data: bytes) -> None:
        written.append(path.name)
        write(path, data)

    monkeypatch.setattr(history, "write_atomic", noted)
    other = ClaimId("test_z.py::test_z")
    history.add(tmp_path, {other: [made(2, time="2025-12-01T00:00:00.000Z")], CLAIM: [made(1)]})
    assert written == [".gitattributes", CLAIM.file, other.file, "runs-2025-12.jsonl", "runs-2026-01.jsonl"]
    written.clear()
    history.add(tmp_path, {CLAIM: [made(1)]})
    assert written == []
    history.add(tmp_path, {CLAIM: [made(3)]})
    assert written == ["runs-2026-01.jsonl"]


@pytest.mark.parametrize(
    "line",
    [b'["a"', b'"a"]', b"", b'{"a": 1}', b"=======", b"[3]", b'[["a"]]'],
    ids=str,
)
def test_a_line_without_the_ends_of_one_is_not_sorted_away(line: bytes, tmp_path: Path) -> None:
    history.add(tmp_path, {CLAIM: [made()]})
    path = tmp_path / "runs-2026-01.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"runs-2026-01\.jsonl, line 4, but got"):
        history.add(tmp_path, {CLAIM: [made(2)]})
    assert path.read_bytes() == before


def test_an_entry_with_a_verdict_has_a_rising_interval_with_both_ends_and_a_comparison() -> None:
    """Tried on the line of a run itself, as a writer of another version may have it."""
    line = RunLine(*json.loads(history.run_lines([(CLAIM, made())])[0]))
    for low, high, comparison, verdict, taken in (
        (0.4, 0.6, ">=", "passed", True),
        (0.4, 0.4, "<=", "failed", True),
        (0.6, 0.4, ">=", "passed", False),
        (None, 0.4, ">=", "passed", False),
        (0.4, None, ">=", "passed", False),
        (0.4, 0.6, "", "passed", False),
        (0.6, 0.4, ">=", "", True),
        (None, None, "", "", True),
    ):
        kind = ["passed", verdict, *line.classes[0][2:]]
        run = line._replace(lows=[low], highs=[high], classes=[kind])
        asked = [Requirements("", 10, None, comparison, "")]
        if taken:
            (found,) = history._entries(run, asked)
            assert (found.low, found.high, found.comparison, found.verdict) == (low, high, comparison, verdict)
        else:
            with pytest.raises(ValueError, match="a verdict with an interval and a comparison"):
                history._entries(run, asked)
    with pytest.raises(TypeError, match="Expected claims in a run"):
        history._entries(line._replace(lows=[], highs=[], found=[], seconds=[], which=""), [])


@pytest.mark.parametrize(
    ("values", "kinds", "taken"),
    [
        ([], {int}, True),
        ([None], {int, type(None)}, True),
        ([None, 1e100, -1e100], {float, type(None)}, True),
        ([None, 1.1e100], {float, type(None)}, False),
        ([None, -1.1e100], {float, type(None)}, False),
        ([10**100], {int}, True),
        ([10**101], {int}, False),
        ([float("nan")], {float}, False),
        ([float("inf")], {float}, False),
        ([1, 2.0], {int}, False),
        ([True], {int}, False),
        ([None], {int}, False),
    ],
)
def test_numbers_are_of_their_kinds_and_finite(values: list[Any], kinds: set[type], taken: bool) -> None:
    if taken:
        history._check_numbers("x", values, kinds)
    else:
        with pytest.raises((TypeError, ValueError), match="Expected x of a run to be"):
            history._check_numbers("x", values, kinds)
