"""Baselines: one committed file with small differences, read only where it is whole."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustest.errors import RobustestError
from robustest.store.baselines import NAME, BaselineEntry, packed_scores, read, write
from robustest.store.files import StoreError

ENTRY = BaselineEntry(
    test="tests/test_a.py::test_robust",
    claim="robust accuracy ≥ 0.5",
    quantity="accuracy",
    outcomes=(True, False, True, True, True, True, False, False, True),
    data="d" * 64,
    model="m" * 64,
    seed=0,
    method="standard",
    date="2026-11-25",
    commit="abc1234",
    estimate=6 / 9,
    interval=(0.25, 0.9),
)


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.builds(
            dataclasses.replace,
            st.just(ENTRY),
            outcomes=st.lists(st.booleans(), max_size=40).map(tuple),
            test=st.text(max_size=4),
            model=st.none() | st.text(max_size=3),
            estimate=st.none() | st.floats(0, 1),
            seed=st.integers(),
        ),
        max_size=3,
    )
)
@settings(deadline=None, max_examples=50)  # files are written to disk
def test_entries_come_back(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, BaselineEntry]) -> None:
    path = tmp_path_factory.mktemp("b") / NAME
    write(path, entries)
    assert read(path) == entries


def test_no_file_has_no_entries(tmp_path: Path) -> None:
    assert read(tmp_path / NAME) == {}


def test_new_entries_are_laid_over_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "new" / NAME
    other = dataclasses.replace(ENTRY, seed=1)
    write(path, {"a": ENTRY, "b": ENTRY})
    write(path, {"b": other, "c": ENTRY})
    assert read(path) == {"a": ENTRY, "b": other, "c": ENTRY}
    assert [found.name for found in path.parent.iterdir()] == [NAME]


def test_the_file_is_the_same_for_the_same_entries(tmp_path: Path) -> None:
    write(tmp_path / "one", {"a": ENTRY, "b": ENTRY})
    write(tmp_path / "other", {"b": ENTRY})
    write(tmp_path / "other", {"a": ENTRY})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_one_change_is_a_small_difference(tmp_path: Path) -> None:
    path = tmp_path / NAME
    write(path, {"a": ENTRY, "b": ENTRY})
    before = path.read_text(encoding="utf-8").splitlines()
    write(path, {"b": dataclasses.replace(ENTRY, date="2026-12-01")})
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert sum(one != other for one, other in zip(before, text.splitlines(), strict=True)) == 1
    assert "≥" in text  # to be read in a review


def test_what_is_in_the_file(tmp_path: Path) -> None:
    write(tmp_path / NAME, {"a": ENTRY})
    content = json.loads((tmp_path / NAME).read_text(encoding="utf-8"))
    assert content["schema"] == 2
    assert content["entries"]["a"]["n"] == 9
    assert content["entries"]["a"]["held"] == 6
    assert base64.b64decode(content["entries"]["a"]["outcomes"]) == bytes([0b10111100, 0b10000000])


def changed(**changes: Any) -> Callable[[str], str]:
    def change(text: str) -> str:
        content = json.loads(text)
        content["entries"]["a"].update(changes)
        return json.dumps(content)

    return change


def without(name: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        content = json.loads(text)
        del content["entries"]["a"][name]
        return json.dumps(content)

    return change


DAMAGE: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda _: "", "Expected valid JSON"),
    "cut": (lambda text: text[:-30], "Expected valid JSON"),
    "a merge": (lambda text: f"<<<<<<< HEAD\n{text}", "Expected valid JSON"),
    "other json": (lambda _: "[]", "got other JSON"),
    "foreign": (lambda _: '{"schema": 1}', "got other JSON"),
    "no schema": (lambda text: text.replace('"schema"', '"scheme"'), "got other JSON"),
    "a later schema": (lambda text: text.replace('"schema": 2', '"schema": 3'), "Install that version"),
    "an earlier schema": (
        lambda text: text.replace('"schema": 2', '"schema": 1'),
        "delete the file and make it anew: pytest --robust-update-baseline",
    ),
    "no object": (lambda _: '{"schema": 2, "entries": {"a": 3}}', "the fields of a baseline"),
    "a field less": (without("seed"), "no field 'seed'"),
    "a field more": (changed(more=1), "got also .'more'."),
    "a type": (changed(seed="0"), "seed of a baseline to be a whole number"),
    "a bool": (changed(seed=True), "seed of a baseline to be a whole number"),
    "an estimate": (changed(estimate="high"), "estimate of a baseline to be"),
    "an interval": (changed(interval=[1]), "2 values"),
    "base64": (changed(outcomes="?"), "base64"),
    "no text": (changed(outcomes=3), "base64"),
    "length": (changed(n=20), "one bit for each of 20 outcomes but got '2 bytes'"),
    "a negative length": (changed(n=-1), "one bit for each"),
    "surplus bits": (changed(n=10, outcomes=base64.b64encode(bytes([255, 255])).decode()), "outcomes of which 6 held"),
    "a flipped bit": (
        changed(outcomes=base64.b64encode(bytes([0b10111101, 128])).decode()),
        "outcomes of which 6 held",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_an_error_and_stays(tmp_path: Path, damage: str) -> None:
    path, (change, why) = tmp_path / NAME, DAMAGE[damage]
    write(path, {"a": ENTRY})
    text = change(path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=why) as error:
        read(path)
    assert str(path) in str(error.value)
    with pytest.raises(StoreError, match=why):
        write(path, {"b": ENTRY})
    assert path.read_text(encoding="utf-8") == text


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match="Expected to read the baselines"):
        read(tmp_path / NAME)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / NAME, {"a": ENTRY})

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match="No space left on device"):
            write(tmp_path / NAME, {"b": ENTRY})
    assert read(tmp_path / NAME) == {"a": ENTRY}
    assert [found.name for found in tmp_path.iterdir()] == [NAME]
    (tmp_path / "file").write_text("")
    with pytest.raises(RobustestError, match="Expected to write the baselines"):
        write(tmp_path / "file" / NAME, {})


SCORED = dataclasses.replace(ENTRY, scores=tuple(k / 9 for k in range(1, 10)), estimate=5 / 9)


def test_scores_come_back_to_the_bit_and_are_what_is_compared(tmp_path: Path) -> None:
    path = tmp_path / NAME
    write(path, {"a": SCORED, "b": ENTRY})
    assert read(path) == {"a": SCORED, "b": ENTRY}
    assert (SCORED.values, ENTRY.values) == (SCORED.scores, ENTRY.outcomes)
    assert "scores" not in json.loads(path.read_text())["entries"]["b"]


@pytest.mark.parametrize(
    ("scores", "estimate", "message"),
    [
        ("!", 5 / 9, "scores in base64"),
        (3, 5 / 9, "scores in base64"),
        (base64.b64encode(b"1234567").decode(), 5 / 9, "scores in base64"),
        (packed_scores([0.5] * 8), 0.5, "9 scores in 0..1"),
        (packed_scores([0.5] * 8 + [float("nan")]), None, "9 scores in 0..1"),
        (packed_scores([0.5] * 8 + [1.5]), None, "9 scores in 0..1"),
        (packed_scores([0.5] * 9), 0.6, "whose mean is the estimate"),
    ],
)
def test_damaged_scores_are_refused(tmp_path: Path, scores: object, estimate: float | None, message: str) -> None:
    path = tmp_path / NAME
    write(path, {"a": SCORED})
    content = json.loads(path.read_text())
    content["entries"]["a"] |= {"scores": scores, "estimate": estimate}
    path.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=message):
        read(path)


WRITTEN = """{
  "entries": {
    "a": {
      "claim": "c",
      "commit": "abc1234",
      "data": "d",
      "date": "2026-11-25",
      "estimate": 0.75,
      "held": 3,
      "interval": [
        0.25,
        0.9
      ],
      "method": "m",
      "model": null,
      "n": 4,
      "outcomes": "sA==",
      "quantity": "accuracy",
      "seed": 7,
      "test": "t"
    }
  },
  "robustest": "VERSION",
  "schema": 2
}
"""


def test_a_file_of_an_earlier_version_is_read_and_written_alike(tmp_path: Path) -> None:
    """As it lies in repositories: another form needs another schema."""
    entry = dataclasses.replace(
        ENTRY,
        test="t",
        claim="c",
        quantity="accuracy",
        outcomes=(True, False, True, True),
        data="d",
        model=None,
        seed=7,
        method="m",
        estimate=0.75,
    )
    path = tmp_path / "b.json"
    path.write_text(WRITTEN)
    assert read(path) == {"a": entry}
    write(path, {"a": entry})
    assert path.read_text() == WRITTEN.replace("VERSION", json.loads(path.read_text())["robustest"])


@pytest.mark.parametrize(("score", "taken"), [(0.0, True), (1e-9, True), (1.01e-9, False), (-0.0, True)])
def test_a_mean_may_differ_by_the_rounding_of_a_sum(score: float, taken: bool, tmp_path: Path) -> None:
    path = tmp_path / NAME
    entry = dataclasses.replace(ENTRY, outcomes=(True,), scores=(score,), estimate=0.0)
    write(path, {"a": entry})
    if taken:
        assert read(path) == {"a": entry}
    else:
        with pytest.raises(StoreError, match="whose mean is the estimate"):
            read(path)


@pytest.mark.parametrize("estimate", [None, 0.5])
def test_a_baseline_of_no_scores_or_without_an_estimate_is_read(estimate: float | None, tmp_path: Path) -> None:
    none = dataclasses.replace(ENTRY, outcomes=(), scores=(), estimate=estimate)
    one = dataclasses.replace(ENTRY, outcomes=(False,), scores=(1.0,), estimate=None)
    write(tmp_path / NAME, {"a": none, "b": one})
    assert read(tmp_path / NAME) == {"a": none, "b": one}
