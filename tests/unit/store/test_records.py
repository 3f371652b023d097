"""Records: one JSON file each, in the order of tests; damaged ones set aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustest.errors import ConfigError
from robustest.store.files import Folder, StoreWarning, load_records, save_record

KEYS = [f"{n:064x}" for n in range(1, 400, 37)]
RECORDS = st.lists(
    st.fixed_dictionaries(
        {"test": st.text(max_size=3), "claim": st.text(max_size=3)},
        optional={"outcomes": st.lists(st.one_of(st.none(), st.booleans())), "estimate": st.floats(0, 1)},
    ),
    max_size=len(KEYS),
)


@given(RECORDS)
@settings(deadline=None, max_examples=30)  # files are written to disk
def test_records_come_back_in_order(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("store")
    for key, record in zip(KEYS, records, strict=False):
        assert save_record(folder, key, record)
    found = load_records(folder)
    order = [(record["test"], record["claim"]) for record in found]
    assert order == sorted(order)
    written = [sorted(json.dumps(record, sort_keys=True) for record in some) for some in (found, records)]
    assert written[0] == written[1]


def test_records_of_one_test_and_claim_come_by_their_keys(tmp_path: Path) -> None:
    for value, key in enumerate(reversed(KEYS)):
        save_record(tmp_path, key, {"test": "a", "claim": "b", "value": value, "more": {"x": value}})
    assert [record["value"] for record in load_records(tmp_path)] == list(reversed(range(len(KEYS))))


def test_hidden_and_damaged_files_are_no_records(tmp_path: Path) -> None:
    """An unfinished file of another process, and what was set aside from a store inside of a store."""
    save_record(tmp_path, KEYS[0], {"test": "a"})
    whole = next(tmp_path.rglob("*.json"))
    whole.with_name(f".{whole.name}.json").write_bytes(b"half")
    for place in ("damaged/results", "results/damaged"):
        other = tmp_path / place / whole.parent.name / whole.name
        other.parent.mkdir(parents=True)
        other.write_bytes(b"half")
    found = Folder(tmp_path)
    assert set(found.find("**/*.json")) == {tmp_path / "results/damaged" / whole.parent.name / whole.name, whole}
    assert [record["test"] for record in load_records(tmp_path)] == ["a"]
    assert found.find("*/*/*.json") == [whole]


def test_an_absent_folder_has_no_records(tmp_path: Path) -> None:
    assert load_records(tmp_path / "absent") == []


def test_a_record_is_one_file_that_can_be_read(tmp_path: Path) -> None:
    record = {"test": "tests/test_a.py::test_b", "claim": "ü", "outcomes": [True, None]}
    assert save_record(tmp_path, KEYS[1], record)
    path = tmp_path / "results" / KEYS[1][:2] / f"{KEYS[1]}.json"
    assert json.loads(path.read_text())["record"] == record
    before = path.read_bytes()
    assert save_record(tmp_path, KEYS[1], dict(reversed(record.items())))
    assert path.read_bytes() == before


def test_folders_merge_by_copying(tmp_path: Path) -> None:
    for place, key in zip("abc", KEYS, strict=False):
        save_record(tmp_path / place, key, {"test": place})
        source = next((tmp_path / place).rglob("*.json"))
        target = tmp_path / "all" / source.relative_to(tmp_path / place)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    assert [record["test"] for record in load_records(tmp_path / "all")] == ["a", "b", "c"]


def rewritten(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), **changes}).encode()


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "no record"),
    "cut": (lambda data: data[:-9], "no record"),
    "bytes": (lambda _: b"\xff\xfe\x00", "no record"),
    "other json": (lambda _: b"[1, 2]", "no record"),
    "a number": (lambda _: b"3", "no record"),
    "deep": (lambda _: b"[" * 100_000, "no record"),
    "a digit": (lambda data: data.replace(b"0.5", b"0.9"), "differ from their checksum"),
    "infinity": (lambda data: data.replace(b"0.5", b"Infinity"), "no record"),
    "schema": (rewritten(schema=1), "schema 1 instead of 2"),
    "no checksum": (rewritten(sha256=None), "differ from their checksum"),
    "no object": (rewritten(record=[1]), "differ from their checksum"),
    "pickle": (lambda _: b"\x80\x04K\x01.", "no record"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_records_are_named_and_set_aside(tmp_path: Path, damage: str) -> None:
    for key in KEYS[:3]:
        assert save_record(tmp_path, key, {"test": key, "estimate": 0.5})
    path = tmp_path / "results" / KEYS[1][:2] / f"{KEYS[1]}.json"
    change, why = DAMAGE[damage]
    damaged = change(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.warns(StoreWarning, match=why) as told:
        assert [record["test"] for record in load_records(tmp_path)] == [KEYS[0], KEYS[2]]
    assert len(told) == 1
    assert str(path) in str(told[0].message)
    assert [kept.read_bytes() for kept in (tmp_path / "damaged").iterdir()] == [damaged]
    assert len(load_records(tmp_path)) == 2  # and quietly


def test_a_record_under_another_name_is_set_aside(tmp_path: Path) -> None:
    save_record(tmp_path, KEYS[0], {"test": "a"})
    path = tmp_path / "results" / KEYS[0][:2] / f"{KEYS[0]}.json"
    path.rename(path.with_stem(KEYS[1]))
    with pytest.warns(StoreWarning, match="under the name"):
        assert load_records(tmp_path) == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.warns(StoreWarning, match="where a folder should be"):
        assert not save_record(tmp_path, KEYS[0], {})
    assert load_records(tmp_path) == []


@pytest.mark.parametrize("record", [{"a": float("nan")}, {1: 2}, {"a": object()}])
def test_records_are_json(tmp_path: Path, record: Any) -> None:
    with pytest.raises(ConfigError, match="JSON"):
        save_record(tmp_path, KEYS[0], record)


def test_keys_are_hex_digits(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hex digits"):
        save_record(tmp_path, "../x", {})


def test_records_and_baselines_do_not_load_torch(program: Callable[..., str]) -> None:
    text = "import sys, robustest.store.files, robustest.store.baselines; print('torch' in sys.modules)"
    assert program(text) == "False"


def test_a_record_of_an_earlier_run_can_be_read(tmp_path: Path) -> None:
    """As it lies in stores: another form needs another schema."""
    key = "0" * 63 + "1"
    text = '{"claim":"c","n":[1,null,true],"test":"t"}'
    summed = sha256(f"2 {key} {text}".encode()).hexdigest()
    path = tmp_path / "results" / "00" / f"{key}.json"
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"key":"{key}","record":{text},"schema":2,"sha256":"{summed}"}}\n')
    assert load_records(tmp_path) == [{"test": "t", "claim": "c", "n": [1, None, True]}]
    before = path.read_bytes()
    assert save_record(tmp_path, key, {"test": "t", "n": (1, None, True), "claim": "c"})
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in KEYS[:3]:
        save_record(tmp_path, key, {"test": key})
    read = Folder.read
    monkeypatch.setattr(Folder, "read", lambda self, path: None if path.stem == KEYS[0] else read(self, path))
    assert [record["test"] for record in load_records(tmp_path)] == KEYS[1:3]
