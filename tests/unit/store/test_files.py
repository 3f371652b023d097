"""A folder that fails costs a warning and no verdict; one process writes at a time; keys and JSON are checked."""

from __future__ import annotations

import errno
import os
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from robustest import ConfigError
from robustest.safe_files import UNFINISHED
from robustest.store import files
from robustest.store.files import Folder, StoreWarning, alone, checked, tidy, to_json


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "store")


def test_a_file_is_read_as_it_was_written_and_has_a_size_and_an_age(folder: Folder) -> None:
    path = folder.root / "a" / "one.json"
    assert folder.read(path) is None
    assert (folder.size(path), folder.age(path)) == (0, 0.0)
    assert folder.write(path, b"data")
    os.utime(path, (9, 9))
    found = folder.read(path)
    assert found is not None
    assert (found.path, found.data, found.number) == (path, b"data", (path.stat().st_dev, path.stat().st_ino))
    assert (folder.size(path), folder.age(path)) == (4, 9.0)
    assert folder.remove(path)
    assert not folder.remove(path)
    assert folder.notices == []


def test_hidden_files_folders_and_what_is_damaged_are_not_found(folder: Folder) -> None:
    for name in ("b.json", "a.json", ".hidden.json", "damaged/c.json", "other/d.json", "damaged2/e.json"):
        (folder.root / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.root / name).touch()
    (folder.root / "f.json").mkdir()
    found = [path.relative_to(folder.root).as_posix() for path in folder.find("**/*.json")]
    assert found == ["a.json", "b.json", "damaged2/e.json", "other/d.json"]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (errno.EROFS, "Make the folder writable"),
        (errno.EACCES, "Make the folder writable"),
        (errno.EPERM, "Make the folder writable"),
        (errno.ENOTDIR, "Move the file that is where a folder should be"),
        (errno.EEXIST, "Move the file that is where a folder should be"),
        (errno.EIO, "Look at the folder"),
        (None, "Look at the folder"),
    ],
)
def test_a_folder_that_cannot_be_written_is_given_up_with_one_remedy(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, number: int | None, remedy: str
) -> None:
    tries: list[Path] = []

    def refuse(path: Path, data: bytes) -> None:
        tries.append(path)
        raise OSError(number, "no", "place") if number is not None else OSError("no")

    monkeypatch.setattr(files, "write_atomic", refuse)
    with pytest.warns(StoreWarning, match=remedy):
        assert not folder.write(folder.root / "a", b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not folder.write(folder.root / "b", b"")
    assert len(tries) == 1
    (notice,) = folder.notices
    assert f"{remedy}, or name another folder. Nothing more is stored in this run; its verdicts are the same." in notice
    assert ("no, place" in notice) is (number in {errno.ENOTDIR, errno.EEXIST})


def test_what_cannot_be_read_or_deleted_is_said_once(folder: Folder) -> None:
    (folder.root / "a").mkdir(parents=True)
    with pytest.warns(StoreWarning, match=r"Expected to read .* What it holds is computed again"):
        assert folder.read(folder.root / "a") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not folder.remove(folder.root / "a"), "a folder"
    assert len(folder.notices) == 1


def test_a_damaged_file_is_moved_aside_under_its_whole_name(folder: Folder) -> None:
    path = folder.root / "a" / "b" / "c.json"
    folder.write(path, b"x")
    content = folder.read(path)
    assert content is not None
    with pytest.warns(StoreWarning, match=r"got odd bytes. It was moved to .*a\.b\.c\.json; what it held"):
        folder.set_aside(content, "odd bytes")
    assert not path.exists()
    assert (folder.root / "damaged" / "a.b.c.json").read_bytes() == b"x"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder.set_aside(content, "odd bytes")  # another process was faster
        folder.write(path, b"new")
        folder.set_aside(content, "odd bytes")  # this is another file
    assert path.read_bytes() == b"new"
    assert len(folder.notices) == 1
    newer = folder.read(path)
    assert newer is not None
    with pytest.warns(StoreWarning):
        folder.set_aside(newer, "odd bytes")
    assert (folder.root / "damaged" / "a.b.c.json").read_bytes() == b"new"


@pytest.mark.parametrize(("age", "stays"), [(0, True), (3590, True), (3610, False)])
def test_unfinished_files_are_removed_once_nobody_can_be_writing_them(folder: Folder, age: float, stays: bool) -> None:
    path = folder.root / "a" / "one"
    unfinished, other = path.with_name(f".one{UNFINISHED}"), path.with_name(".other")
    path.parent.mkdir(parents=True)
    for one in (unfinished, other):
        one.touch()
        os.utime(one, (time.time() - age, time.time() - age))
    assert folder.write(path, b"")
    assert unfinished.exists() is stays
    assert other.exists()
    os.utime(other, (1, 1))
    unfinished.touch()
    os.utime(unfinished, (1, 1))
    assert folder.write(path, b"")
    assert unfinished.exists(), "once a run"
    tidy(path.parent)
    assert not unfinished.exists()
    tidy(folder.root / "nowhere")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such lock")
def test_one_writes_at_a_time(tmp_path: Path) -> None:
    steps: list[str] = []

    def second() -> None:
        with alone(tmp_path / "new"):
            steps.append("second")

    with alone(tmp_path / "new"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        steps.append("first")
        assert thread.is_alive()
    thread.join(10)
    assert steps == ["first", "second"]


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        ("a" * 16, True),
        ("0" * 128, True),
        ("a" * 15, False),
        ("a" * 129, False),
        ("A" * 16, False),
        ("g" * 16, False),
        ("a" * 16 + "\n", False),
        (b"a" * 16, False),
        (None, False),
    ],
)
def test_a_key_is_a_name_of_a_file(key: Any, taken: bool) -> None:
    if taken:
        assert checked(key) == key
    else:
        with pytest.raises(ConfigError, match="a key of 16 to 128 hex digits"):
            checked(key)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1.5, None, True, "x"]}, '{"a":[1.5,null,true,"x"],"b":1}'),
        ((1, (2,)), "[1,[2]]"),
        ({"a": {"b": ()}}, '{"a":{"b":[]}}'),
        ({1: 2}, None),
        ({"a": float("inf")}, None),
        ([float("nan")], None),
        ({"a": {"b": {1}}}, None),
        (b"x", None),
        (1j, None),
    ],
)
def test_json_is_one_text_for_equal_values(value: Any, text: str | None) -> None:
    if text is None:
        with pytest.raises(ConfigError):
            to_json(value)
    else:
        assert to_json(value) == text


@pytest.mark.parametrize(("age", "stays"), [(3599.0, True), (3600.0, True), (3600.5, False)])
def test_an_unfinished_file_is_old_after_an_hour(
    age: float, stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished = tmp_path / f".one{UNFINISHED}"
    unfinished.touch()
    os.utime(unfinished, (1024, 1024))
    monkeypatch.setattr(files.time, "time", lambda: 1024 + age)
    tidy(tmp_path)
    assert unfinished.exists() is stays


def test_a_folder_to_be_locked_is_made_with_those_above_it_and_may_be_there(tmp_path: Path) -> None:
    for _ in range(2):
        with alone(tmp_path / "a" / "b" / "c"):
            assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_warning_names_the_line_that_writes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(StoreWarning) as told:
        Folder(tmp_path / "file").write(tmp_path / "file" / "one", b"")
    assert told[0].filename == __file__
