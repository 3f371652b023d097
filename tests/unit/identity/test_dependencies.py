"""A computation is seen to read from outside, and what it read is told from what is there later."""

from __future__ import annotations

import gc
import hashlib
import importlib
import io
import linecache
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from robustest.identity import dependencies
from robustest.identity.dependencies import Dependencies, many_watches, outdated, watched
from robustest.identity.fingerprint import digest


def read(path: Path) -> None:
    with path.open() as file:
        file.read()


def seen(by: Dependencies, kind: str = "file") -> set[str]:
    return {label.partition(" ")[2] for label in by.stamps if label.startswith(f"{kind} ")}


def of(work: Callable[[], object]) -> Dependencies:
    by = Dependencies()
    with watched(by, everywhere=True):
        work()
    return by


def test_files_read_inside_the_block_are_seen_and_those_written_there_are_its_own(tmp_path: Path) -> None:
    inside, before, written = (tmp_path / name for name in ("inside", "before", "written"))
    for path in (inside, before):
        path.write_text("1")
    read(before)

    def work() -> None:
        read(inside)
        written.write_text("2")
        read(written)
        assert written.exists()

    by = of(work)
    read(before)
    assert seen(by) == {str(inside)}
    assert seen(by, "path") == set()


def test_a_file_that_is_read_and_then_written_counts_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("1")
    by = of(lambda: path.write_text(str(int(path.read_text()) + 1)))
    assert outdated(by.stamps) == str(path)
    path.write_text("1")
    assert outdated(by.stamps) == ""


def test_what_is_written_under_another_name_first_is_its_own(tmp_path: Path) -> None:
    part, whole = tmp_path / "part", tmp_path / "whole"
    whole.write_text("0")

    def work() -> None:
        part.write_text("1")
        part.replace(whole)
        read(whole)
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            (Path(folder) / "a").write_text("1")
            read(Path(folder) / "a")

    assert seen(of(work)) == set()


def test_a_file_that_is_moved_here_from_elsewhere_is_not(tmp_path: Path) -> None:
    given, taken = tmp_path / "given", tmp_path / "taken"
    given.write_text("0")

    def work() -> None:
        shutil.copy(given, taken)
        read(taken)

    assert seen(of(work)) == {str(given)}


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT | os.O_APPEND])
def test_a_file_opened_to_read_and_write_is_read(tmp_path: Path, flags: int) -> None:
    (tmp_path / "a").touch()
    by = of(lambda: os.close(os.open(tmp_path / "a", flags)))
    assert seen(by) == {str(tmp_path / "a")}


def test_a_file_that_is_only_added_to_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "log").touch()

    def work() -> None:
        with (tmp_path / "log").open("a") as file:
            file.write("line\n")

    assert seen(of(work)) == set()


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_is_added_to_and_then_read_counts_as_it_was_before(tmp_path: Path, there: bool) -> None:
    """Else what the same call would make of the longer file is never asked again."""
    log = tmp_path / "log"
    if there:
        log.write_text("line\n")

    def work() -> None:
        with log.open("a") as file:
            file.write("line\n")
        os.truncate(log, 3)
        read(log)
        log.exists()

    by = of(work)
    assert outdated(by.stamps) == str(log)
    log.write_text("line\n") if there else log.unlink()
    assert outdated(by.stamps) == ""


def test_a_folder_that_gets_names_and_is_then_listed_counts_as_it_was_before(tmp_path: Path) -> None:
    (tmp_path / "old").touch()

    def work() -> None:
        (tmp_path / "new").touch()
        (tmp_path / "inner").mkdir()
        os.listdir(tmp_path)

    by = of(work)
    assert outdated(by.stamps) == str(tmp_path)
    (tmp_path / "new").unlink()
    (tmp_path / "inner").rmdir()
    assert outdated(by.stamps) == ""


def test_a_file_that_is_removed_or_moved_counts_as_it_was_before(tmp_path: Path) -> None:
    given, taken, gone = tmp_path / "given", tmp_path / "taken", tmp_path / "gone"
    given.write_text("1")
    gone.touch()

    def work() -> None:
        given.replace(taken)
        gone.unlink()
        read(taken)

    by = of(work)
    assert outdated(by.stamps)
    taken.replace(given)
    gone.touch()
    assert {one.rpartition(" ")[2] for one in by.stamps} >= {str(given), str(gone)}

    def within() -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            (Path(folder) / "a").touch()

    assert outdated(of(within).stamps) == "", "what is made and removed again is its own"


def test_blocks_inside_each_other_see_their_own(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.touch(), two.touch()
    outer, inner = Dependencies(), Dependencies()
    with watched(outer):
        read(one)
        with watched(inner), watched(inner):
            read(two)
    assert (seen(outer), seen(inner)) == ({str(one), str(two)}, {str(two)})


def test_other_threads_are_seen(tmp_path: Path) -> None:
    def work() -> None:
        thread = threading.Thread(target=read, args=(path,))
        thread.start()
        thread.join()

    path = tmp_path / "one"
    path.touch()
    assert seen(of(work)) == {str(path)}


def test_what_is_wrapped_is_put_back_also_after_an_error() -> None:
    def held() -> list[Any]:
        environment: Any = os.environ
        return [
            *(getattr(os, name) for name in ("stat", "lstat", "access", "readlink")),
            environment.encodekey,
            environment.decodekey,
            multiprocessing.process.BaseProcess.start,
            safetensors.safe_open,
            safetensors.torch.safe_open,
        ]

    before = held()

    def broken() -> None:
        assert all(one is not other for one, other in zip(held(), before, strict=True))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), watched(Dependencies()), watched(Dependencies()):
        broken()
    assert all(one is other for one, other in zip(held(), before, strict=True))


def test_code_is_told_by_what_it_says_and_a_source_file_read_as_data_is_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("acme_code", "acme_data"):
        (tmp_path / f"{name}.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def work() -> None:
        importlib.import_module("acme_code")
        linecache.getline(str(tmp_path / "acme_code.py"), 1)
        read(tmp_path / "acme_data.py")

    by = of(work)
    sys.modules.pop("acme_code")
    assert seen(by) == {str(tmp_path / "acme_data.py")}
    assert not any("acme_code" in label for label in by.stamps)


@pytest.mark.parametrize(("module", "noted"), [("coverage.files", False), ("coverage_of_mine", True)])
def test_files_that_coverage_looks_at_are_no_data(tmp_path: Path, module: str, noted: bool) -> None:
    (tmp_path / "acme.txt").write_text("1")
    names: dict[str, Any] = {"__name__": module, "os": os, "path": str(tmp_path / "acme.txt")}
    exec("def work(): os.stat(path)", names)  # noqa: S102 - a module of this name
    assert any("acme" in label for label in of(names["work"]).stamps) == noted


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a system without /proc")
def test_what_the_system_tells_of_itself_is_left_out() -> None:
    assert seen(of(lambda: read(Path("/proc/self/stat")))) == set()


def test_a_relative_path_is_looked_up_from_the_folder_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
    monkeypatch.chdir(tmp_path / "one")
    by = of(lambda: read(Path("weights")))
    assert outdated(by.stamps) == ""
    monkeypatch.chdir(tmp_path / "two")
    assert outdated(by.stamps) == "weights"


@pytest.mark.parametrize(
    ("work", "change"),
    [
        (lambda path: path.exists(), lambda path: path.touch()),
        (lambda path: path.is_dir(), lambda path: path.mkdir()),
        (lambda path: os.access(path, os.R_OK), lambda path: path.touch()),
        (os.path.lexists, lambda path: path.touch()),
        (lambda path: list(path.parent.iterdir()), lambda path: path.touch()),
        (lambda path: list(os.walk(path.parent)), lambda path: path.touch()),
        (lambda path: list(path.parent.rglob("*.txt")), lambda path: path.touch()),
        (lambda path: path.read_text() if path.is_file() else "", lambda path: path.touch()),
    ],
    ids=["exists", "is_dir", "access", "lexists", "iterdir", "walk", "rglob", "is_file"],
)
def test_what_is_asked_of_a_path_is_seen(
    tmp_path: Path, work: Callable[[Path], object], change: Callable[[Path], object]
) -> None:
    path = tmp_path / "asked"
    by = of(lambda: work(path))
    assert outdated(by.stamps) == ""
    change(path)
    assert outdated(by.stamps) != ""


def test_contents_count_and_dates_do_not_where_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("1")
    by = of(lambda: path.exists() and read(path))
    os.utime(path, (1, 1))
    assert outdated(by.stamps) == ""
    path.write_text("2")
    os.utime(path, (1, 1))
    assert outdated(by.stamps) == str(path)


def test_a_large_file_written_again_under_its_old_size_and_date_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "_LARGE", 1 << 23)
    path = tmp_path / "file"
    path.write_bytes(bytes(9 << 20))
    os.utime(path, (1, 1))
    by = of(lambda: read(path))
    os.utime(path, (1, 1))
    assert outdated(by.stamps) == ""
    path.write_bytes(b"1" * (9 << 20))
    os.utime(path, (1, 1))
    assert outdated(by.stamps) == str(path)


def test_a_file_written_again_at_once_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for number in range(40):  # of one size, within one tick of the clock that stamps files
        path.write_text(f"{number:03}")
        by = of(lambda: read(path))
        path.write_text(f"{number + 1:03}")
        assert outdated(by.stamps) == str(path)


def test_readers_in_c_that_are_known_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    safetensors.torch.save_file({"x": torch.ones(2)}, path)

    def load() -> None:
        with safetensors.safe_open(path, "pt") as file:
            assert file.get_tensor("x").sum() == 2

    assert seen(of(load)) == {str(path)}
    raw = tmp_path / "raw"
    np.ones(3, np.float32).tofile(raw)
    assert seen(of(lambda: torch.from_file(str(raw), size=3))) == {str(raw)}


@pytest.mark.parametrize(
    "work",
    [
        lambda: os.environ.get("ACME"),
        lambda: os.getenv("ACME"),
        lambda: "ACME" in os.environ,
        lambda: dict(os.environ),
        os.environ.copy,
        lambda: os.path.expandvars("$ACME"),
    ],
)
def test_variables_are_seen_however_they_are_read(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    by = of(work)
    assert outdated(by.stamps) == ""
    monkeypatch.setenv("ACME_OTHER", "1")
    assert (outdated(by.stamps) != "") is ("variable *" in by.stamps)
    monkeypatch.delenv("ACME_OTHER")
    monkeypatch.setenv("ACME", "1")
    assert "the environment variable" in outdated(by.stamps)


def test_variables_are_seen_in_a_process_that_has_watched_often() -> None:
    """A class that is changed a thousand times is read by what CPython 3.13 specialised on: changes go unseen."""
    for _ in range(1200):
        with watched(Dependencies()):  # of this thread alone: all that refers to a function is not looked for
            os.environ.get("ACME")
    assert "variable ACME" in of(lambda: os.environ.get("ACME")).stamps


def test_a_variable_that_is_set_first_is_its_own_and_no_value_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_SECRET", "hunter2")
    monkeypatch.setenv("ACME", "0")  # undone afterwards, whatever `work` sets

    def work() -> None:
        os.environ["ACME"] = "1"
        assert os.environ["ACME"] == "1"
        assert os.environ["ACME_SECRET"]

    by = of(work)
    assert seen(by, "variable") == {"ACME_SECRET"}
    assert "hunter2" not in str(by.stamps)


def spawned() -> None:
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0,))  # which imports no torch
    process.start()
    process.join()


@pytest.mark.parametrize(
    "work",
    [
        lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        lambda: os.system("true"),  # noqa: S605, S607
        lambda: list(torch.utils.data.DataLoader([torch.ones(1)], num_workers=1)),
        spawned,
    ],
    ids=["subprocess", "system", "DataLoader", "spawn"],
)
def test_processes_have_no_stamp(work: Callable[[], object]) -> None:
    assert of(work).unknowable == "starts a process"
    assert of(lambda: None).unknowable == ""


def test_a_stamp_of_a_kind_that_is_not_known_does_not_hold() -> None:
    assert outdated({"oracle x": "1"}) == "x"


@pytest.mark.parametrize("at", [0, 50, 99])
def test_every_byte_of_a_large_file_counts_and_no_date_that_a_program_can_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(dependencies, "_LARGE", 100)
    monkeypatch.setattr(dependencies, "_RACY", 0.0)
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    os.utime(path, (9, 9))
    by = of(lambda: read(path))
    assert outdated(by.stamps) == ""
    os.utime(path, (7, 7))  # another date of the same contents
    assert outdated(by.stamps) == ""
    os.replace(shutil.copy(path, tmp_path / "b"), path)  # another file with them
    assert outdated(by.stamps) == ""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"1")
    os.utime(path, (9, 9))
    assert outdated(by.stamps) == str(path)


def test_a_large_file_that_nobody_touched_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "_LARGE", 100)
    monkeypatch.setattr(dependencies, "_RACY", 0.0)
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    stamps = of(lambda: read(path)).stamps
    monkeypatch.setattr(dependencies, "_hashes", {})
    monkeypatch.setattr(dependencies, "_file", lambda _: pytest.fail("it was read"))
    assert outdated(stamps) == ""


@pytest.mark.parametrize(("age", "kept"), [(0.0, False), (0.5, False), (1.0, True), (60.0, True)])
def test_the_hash_of_a_file_is_kept_once_another_write_would_change_its_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, kept: bool
) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    now = path.stat().st_ctime + age
    os.utime(path, (now - age, now - age - 100))  # an older date of the content, as a copy has
    now = path.stat().st_ctime + age
    monkeypatch.setattr(dependencies, "_hashes", {})
    monkeypatch.setattr(dependencies.time, "time", lambda: now)
    first = dependencies._file(str(path))
    assert bool(dependencies._hashes) is kept
    assert dependencies._file(str(path)) == first == hashlib.sha256(b"1").hexdigest()


def test_what_stands_for_a_file_is_none_of_a_folder_or_of_nothing(tmp_path: Path) -> None:
    assert dependencies._file(str(tmp_path)) == "no regular file"
    assert dependencies._file(str(tmp_path / "none")) == "absent"
    assert dependencies._path(str(tmp_path)) == "folder"
    assert dependencies._path(str(tmp_path / "none")) == "absent"
    assert dependencies._folder(str(tmp_path / "none")) == "absent"


def test_of_a_path_that_is_asked_for_type_size_and_date_count(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "folder"
    path.write_text("1")
    os.utime(path, (9, 9))
    found = [dependencies._path(str(path))]
    for text, date in (("22", 9), ("22", 8), ("1", 9)):
        path.write_text(text)
        os.utime(path, (date, date))
        found.append(dependencies._path(str(path)))
    assert found[0] == found[-1]
    assert len(set(found)) == 3
    link.mkdir()
    before = dependencies._path(str(link)), dependencies._folder(str(link))
    (link / "b").touch()
    assert dependencies._path(str(link)) == before[0], "the date of a folder is that of its files"
    assert dependencies._folder(str(link)) != before[1]


def test_the_contents_of_a_file_take_the_place_of_its_status(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    Path(path).touch()
    by = Dependencies()
    by.read("path", path)
    assert list(by.stamps) == [f"path {path}"]
    by.read("file", path)
    by.read("path", path)
    by.read("folder", str(tmp_path))
    assert list(by.stamps) == [f"file {path}", f"folder {tmp_path}"]


def test_stamps_of_an_earlier_computation_are_added_but_for_what_this_one_wrote(tmp_path: Path) -> None:
    by, own = Dependencies(), tmp_path / "own"
    by.stamps["file b"] = "as read here"
    by.wrote(str(own))
    by.wrote("variable MINE")
    by.read_again({f"file {own}": "1", "file a": "2", "file b": "3", "variable MINE": "4", "variable THEIRS": "5"})
    assert by.stamps == {"file b": "as read here", "file a": "2", "variable THEIRS": "5"}
    by.read("file", os.path.relpath(own))
    by.read("variable", "MINE")
    assert len(by.stamps) == 3
    by.moved(str(own), "/elsewhere/new")
    by.moved("/elsewhere/theirs", "/elsewhere/old")
    by.read("file", "/elsewhere/new")
    by.read("file", "/elsewhere/old")
    assert seen(by) == {"a", "b", "/elsewhere/old"}


def test_a_thread_of_its_own_watch_hears_itself_alone_and_also_what_no_other_watch_hears(tmp_path: Path) -> None:
    names = ("outside", "here", "away", "there")
    for name in names:
        (tmp_path / name).touch()
    every, here = Dependencies(), Dependencies()
    with watched(every):
        read(tmp_path / "outside")
        with dependencies.watched_here(here):
            read(tmp_path / "here")
            thread = threading.Thread(target=read, args=(tmp_path / "there",))
            thread.start(), thread.join()
            assert dependencies.watches() == [here, every]
            with dependencies.unwatched():
                read(tmp_path / "away")
                assert dependencies.watches() == [here]
            assert dependencies.watches() == [here, every]
        assert dependencies.watches() == [every]
    assert dependencies.watches() == []
    assert seen(every) == {str(tmp_path / name) for name in ("outside", "here", "there")}
    assert seen(here) == {str(tmp_path / name) for name in ("here", "away")}


def test_what_cannot_be_found_again_is_no_dependency_that_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    by, first = Dependencies(), Dependencies(unknowable="asks an oracle")
    with watched(by), watched(first):
        gone.rmdir()
        with suppress(OSError):
            os.stat("weights")
        os.chdir(tmp_path)
    assert by.unknowable == "reads 'weights', which cannot be found again"
    assert first.unknowable == "asks an oracle", "the first one is named"


def test_a_descriptor_is_no_path(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()

    def work() -> None:
        number = os.open(path, os.O_RDONLY)
        os.stat(number)
        with os.fdopen(number) as file:
            file.read()
        os.listdir(os.fspath(tmp_path))
        os.listdir()

    by = of(work)
    # What is asked of an open file may be its date.
    assert set(by.stamps) == {f"file {path}", f"status {path}", f"folder {tmp_path}", "folder ."}
    assert (by.unknowable, by.unseen) == ("", "")


@pytest.mark.parametrize("name", ["a.so", "a.pyc", "a.pyi", "a.dll", "a.pyd"])
def test_compiled_code_has_an_identity_of_its_own(tmp_path: Path, name: str) -> None:
    for one in (name, f"{name}.txt"):
        (tmp_path / one).touch()
    assert seen(of(lambda: [read(tmp_path / one) for one in (name, f"{name}.txt")])) == {str(tmp_path / f"{name}.txt")}


def test_a_database_is_its_file_and_its_logs(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    sqlite3.connect(path).close()

    def work(name: str, **how: Any) -> Dependencies:
        return of(lambda: sqlite3.connect(name, **how).close())

    by = work(str(path))
    assert {f"file {path}{end}" for end in ("", "-wal", "-journal")} <= set(by.stamps)
    assert by.unknowable == ""
    for name in ("", ":memory:"):
        assert (work(name).stamps, work(name).unknowable) == ({}, "")
    assert work(f"file:{path}?mode=ro", uri=True).unknowable == f"opens the database file:{path}?mode=ro"


@pytest.mark.parametrize("event", sorted(dependencies._OUTWARD))
def test_what_reaches_outward_is_named_while_it_is_watched(event: str) -> None:
    by = of(lambda: sys.audit(event))
    assert by.unknowable == dependencies._OUTWARD[event]
    other = Dependencies()
    with watched(other), dependencies.unwatched():
        sys.audit(event)
        sys.audit("robustest.of_no_interest")
    assert other.unknowable == ""


def test_nothing_is_stamped_or_wrapped_after_the_last_block(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    by = of(lambda: None)
    read(path)
    os.environ.get("ACME")
    assert by.stamps == {}
    assert dependencies._blocks == 0


def test_an_entry_names_the_first_thing_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME", "1")
    for name in "ab":
        (tmp_path / name).write_text("1")

    def work() -> None:
        read(tmp_path / "a")
        read(tmp_path / "b")
        os.environ.get("ACME")

    by = of(work)
    assert outdated(by.stamps) == ""
    monkeypatch.setenv("ACME", "2")
    assert outdated(by.stamps) == "the environment variable ACME"
    (tmp_path / "b").write_text("2")
    assert outdated(by.stamps) == str(tmp_path / "b")
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "a")
    every = of(lambda: dict(os.environ)).stamps["variable *"]
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "b")
    assert of(lambda: dict(os.environ)).stamps["variable *"] == every


ACME = """
class Table:  # stands for a class in C
    def __init__(self, path=None, mode="r"):
        self.path = path

class Reader:
    def load(self, path):
        return path

def read(path=None, mode="r", **options):
    return path
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module whose functions open files without an audit event, importable but not imported."""
    name = f"acme_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(ACME)
    (tmp_path / f"{name}_user.py").write_text(f"from {name} import read as taken, Table\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(dependencies._DOORS, name, ("read", "Table", "Reader.load"))
    yield name
    for module in (name, f"{name}_user"):
        sys.modules.pop(module, None)


@pytest.fixture(params=[False, True], ids=["", "frozen"])
def frozen(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Freeze all that there is, as the process of several runs does with packages; or nothing."""
    yield gc.freeze if request.param else lambda: None
    gc.unfreeze()


def test_calls_that_open_files_in_c_are_seen_wherever_they_are_called_from(
    acme: str, tmp_path: Path, frozen: Callable[[], None]
) -> None:
    path = tmp_path / "data"
    path.write_text("1")
    module, user = importlib.import_module(acme), importlib.import_module(f"{acme}_user")
    read, table = module.read, module.Table
    elsewhere: dict[str, Any] = {"taken": read}
    frozen()
    exec("def work(path): return taken(path)", elsewhere)  # noqa: S102
    calls: list[Callable[[], object]] = [
        lambda: module.read(path),
        lambda: module.read(path=str(path)),
        lambda: module.read(path, name_of_rows="x"),  # "x" is also a mode in which files are made
        lambda: module.read(metadata=np.ones(2), path=path),
        lambda: user.taken(os.fsencode(path)),
        lambda: user.Table(path),
        lambda: read(path),  # a closure
        lambda: elsewhere["work"](path),
        lambda: module.Reader().load(path),
    ]
    for call in calls:
        by = of(call)
        assert seen(by) == {str(path)}
        assert by.unknowable == ""
    assert (module.read, user.taken, elsewhere["taken"], user.Table) == (read, read, read, table)
    assert read.__module__ == acme  # nothing stays wrapped
    assert not hasattr(read, "__wrapped__")


@pytest.mark.parametrize("ends", [0, 1])
def test_a_block_sees_names_on_where_another_that_ran_beside_it_has_ended(acme: str, tmp_path: Path, ends: int) -> None:
    path = tmp_path / "data"
    path.write_text("1")
    read, user = importlib.import_module(acme).read, importlib.import_module(f"{acme}_user")
    blocks, seen_by = (ExitStack(), ExitStack()), (Dependencies(), Dependencies())
    for block, by in zip(blocks, seen_by, strict=True):  # of two threads, in whichever order they end
        block.enter_context(watched(by, everywhere=True))
    blocks[ends].close()
    user.taken(path)
    blocks[1 - ends].close()
    assert seen(seen_by[1 - ends]) == {str(path)}
    assert seen(seen_by[ends]) == set()
    assert user.taken is read


def test_names_are_looked_for_once_for_many_watches(acme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data"
    path.write_text("1")
    read, user = importlib.import_module(acme).read, importlib.import_module(f"{acme}_user")
    searches: list[int] = []
    referrers = gc.get_referrers
    monkeypatch.setattr(gc, "get_referrers", lambda *of: [searches.append(len(of)), referrers(*of)][1])
    with many_watches():
        for _ in range(5):
            assert seen(of(lambda: user.taken(path))) == {str(path)}
    assert len(searches) == 1
    assert user.taken is read
    of(lambda: None)
    assert len(searches) == 2


def test_a_class_has_one_identity_while_it_is_watched() -> None:
    taken = safetensors.safe_open

    def by_name(path: str) -> object:
        return taken(path, "pt")

    def by_module(path: str) -> object:
        return safetensors.safe_open(path, "pt")

    for system in (by_name, by_module):
        before = digest(system, recheck=False)
        with watched(Dependencies(), everywhere=True):
            assert digest(system, recheck=False) == before


def test_a_module_imported_by_the_computation_itself_is_seen_too(acme: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("1")
    by = of(lambda: importlib.import_module(f"{acme}_user").taken(path))
    assert str(path) in seen(by)
    assert importlib.import_module(acme).read.__qualname__ == "read"
    path.write_text("2")
    assert outdated(by.stamps) == str(path)
    assert seen(of(lambda: importlib.import_module(f"{acme}_user").taken(path))) == {str(path)}


def test_a_name_that_the_computation_sets_anew_stays_as_it_set_it(acme: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("1")
    module, user = importlib.import_module(acme), importlib.import_module(f"{acme}_user")

    def work() -> None:
        user.taken(path)
        user.taken = print

    assert seen(of(work)) == {str(path)}
    assert user.taken is print
    assert module.read.__name__ == "read"


def test_what_such_a_call_reads_and_no_file_has_is_named(acme: str, tmp_path: Path) -> None:
    module = importlib.import_module(acme)
    for first in ("https://example.com/a.csv", str(tmp_path / "*.csv"), str(tmp_path), ["a", "b"], None, 0):
        assert "read" in of(lambda first=first: module.read(first)).unknowable
    with open(os.devnull) as file:
        assert of(lambda: module.read(file)).unknowable == ""
    assert of(lambda: module.read(np.ones(2))).unknowable == ""

    def write() -> None:
        module.read(tmp_path / "new", "w")
        (tmp_path / "new").write_text("1")
        module.read(tmp_path / "new")

    written = of(write)
    assert seen(written) == set()
    assert written.unknowable == ""


def test_a_class_in_c_stays_a_class_while_it_is_watched(acme: str) -> None:
    module = importlib.import_module(acme)
    before = module.Table()

    def work() -> None:
        assert isinstance(before, module.Table)
        assert isinstance(module.Table(), module.Table)
        assert issubclass(types.new_class("Derived", (module.Table,)), module.Table)
        assert module.Table.__name__ == "Table"

    of(work)


@pytest.mark.parametrize("package", ["pandas", "soundfile", "xgboost"])
def test_readers_of_tables_sounds_and_trees_are_seen(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    package_ = pytest.importorskip(package)
    if package == "soundfile":
        package_.write("x", np.zeros(100), 8000, format="WAV")
        calls = [lambda: package_.read("x"), lambda: package_.SoundFile("x").read()]
    elif package == "xgboost":
        package_.train({}, package_.DMatrix(np.ones((9, 2)), np.arange(9.0)), 1).save_model("x.json")
        os.rename("x.json", "x")
        calls = [lambda: package_.Booster().load_model("x")]
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").table({"a": [1, 2]}), "x")
        calls = [lambda: package_.read_parquet("x")]
    for call in calls:
        by = of(call)
        assert "file x" in by.stamps
        assert by.unknowable == ""


def test_a_variable_without_value_may_have_the_default_that_the_computation_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ACME", raising=False)
    by = of(lambda: os.environ.setdefault("ACME", "cache"))
    assert outdated(by.stamps) == ""
    monkeypatch.setenv("ACME", "other")
    assert outdated(by.stamps) == "the environment variable ACME"
    monkeypatch.delenv("ACME")
    assert outdated(by.stamps) == ""


def test_a_variable_that_the_computation_changes_again_and_again_is_no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACME", raising=False)

    def count() -> None:
        for _ in range(3):
            os.environ["ACME"] = str(int(os.environ.get("ACME", "0")) + 1)

    by = of(count)
    assert outdated(by.stamps) == "the environment variable ACME"
    monkeypatch.setenv("ACME", "5")
    kept = of(count)
    assert outdated(kept.stamps) == "the environment variable ACME"


def test_a_process_gets_one_hook_for_all_its_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[Any] = []
    monkeypatch.setattr(dependencies, "_hooked", False)
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    for _ in range(3):
        with watched(Dependencies()), watched(Dependencies()):
            pass
    assert hooks == [dependencies._hear]


@pytest.mark.parametrize(
    ("args", "kwargs", "unknowable"),
    [
        ((), {}, True),
        ((None,), {}, True),
        (("no file",), {}, True),
        ((b"no file", np.ones(1)), {}, True),
        ((Path("no file"),), {}, True),
        ((3, np.ones(1)), {}, True),
        ((["a"],), {}, True),
        ((("a",),), {}, True),
        ((np.ones(1),), {}, False),
        ((np.ones(1), 3), {}, False),
        ((np.ones(1), "r"), {}, False),
        ((np.ones(1),), {"rows": "x"}, False),
        ((io.BytesIO(), None), {}, False),
    ],
    ids=lambda one: type(one).__name__ if not isinstance(one, (bool, dict)) else str(one),
)
def test_a_blind_call_without_a_file_is_unknowable_by_its_first_argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], unknowable: bool
) -> None:
    by, before = Dependencies(), Dependencies(unknowable="asks an oracle")
    with watched(by), watched(before):
        dependencies._note_first(read, args, kwargs)
    assert by.unknowable == ("reads by read what has no stamp" if unknowable else "")
    assert (before.unknowable, seen(by)) == ("asks an oracle", set())


@pytest.mark.parametrize(
    ("name", "above", "stamped"),
    [
        ("a.bin", ["linecache.acme"], False),  # read by what reads code
        ("a.bin", ["_pytest.acme"], False),
        ("a.bin", ["acme"], True),
        ("a.bin", ["linecachet"], False),
        ("a.py", ["acme", "linecache"], False),
        ("a.py", ["acme", "acme", "linecache"], False),
        ("a.py", ["acme", "acme", "acme", "linecache"], False),
        ("a.py", ["acme", "acme", "acme", "acme", "linecache"], True),
        ("a.bin", ["acme", "linecache"], True),  # no source file
        ("a.py", ["acme", "acme"], True),
    ],
    ids=str,
)
def test_what_reads_code_is_known_by_the_modules_of_its_frames(
    name: str, above: list[str], stamped: bool, tmp_path: Path
) -> None:
    """The first is the module that looks at the file; each further one calls the one before."""
    path = str(tmp_path / name)
    Path(path).touch()

    call: Any = None
    for place, module in enumerate(above):
        space: dict[str, Any] = {"__name__": module, "os": os, "path": path, "below": call}
        exec(f"def call():\n    return {'os.stat(path)' if place == 0 else 'below()'}", space)  # noqa: S102
        call = space["call"]
    assert seen(of(call), "status") == ({path} if stamped else set())
