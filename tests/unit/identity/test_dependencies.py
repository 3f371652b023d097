"""A computation is seen to read from outside, and what it read is told from what is there later."""

from __future__ import annotations

import importlib
import linecache
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from robustest.identity import dependencies
from robustest.identity.dependencies import Dependencies, outdated, watched


def read(path: Path) -> None:
    with path.open() as file:
        file.read()


def seen(by: Dependencies, kind: str = "file") -> set[str]:
    return {label.partition(" ")[2] for label in by.stamps if label.startswith(f"{kind} ")}


def of(work: Callable[[], object]) -> Dependencies:
    by = Dependencies()
    with watched(by):
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
    for number in range(100):  # of one size, within one tick of the clock that stamps files
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
        of(lambda: os.environ.get("ACME"))
    assert "variable ACME" in of(lambda: os.environ.get("ACME")).stamps


def test_a_variable_that_is_set_first_is_its_own_and_no_value_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_SECRET", "hunter2")

    def work() -> None:
        os.environ["ACME"] = "1"
        assert os.environ["ACME"] == "1"
        assert os.environ["ACME_SECRET"]

    by = of(work)
    monkeypatch.delenv("ACME", raising=False)
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


ACME = """
class Table:  # stands for a class in C
    def __init__(self, path=None, mode="r"):
        self.path = path

class Reader:
    def load(self, path):
        return path

def read(path=None, mode="r"):
    return path
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module whose functions open files without an audit event, importable but not imported."""
    name = f"acme_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(ACME)
    (tmp_path / f"{name}_user.py").write_text(f"from {name} import read as taken, Table\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(dependencies._BLIND, name, ("read", "Table", "Reader.load"))
    yield name
    for module in (name, f"{name}_user"):
        sys.modules.pop(module, None)


def test_calls_that_open_files_in_c_are_seen_wherever_they_are_called_from(acme: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("1")
    module, user = importlib.import_module(acme), importlib.import_module(f"{acme}_user")
    read, table = module.read, module.Table
    calls: list[Callable[[], object]] = [
        lambda: module.read(path),
        lambda: module.read(path=str(path)),
        lambda: user.taken(os.fsencode(path)),
        lambda: user.Table(path),
        lambda: module.Reader().load(path),
    ]
    for call in calls:
        by = of(call)
        assert seen(by) == {str(path)}
        assert by.unknowable == ""
    assert (module.read, user.taken, module.Table) == (read, read, table)  # nothing stays wrapped


def test_a_module_imported_by_the_computation_itself_is_seen_too(acme: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("1")
    by = of(lambda: importlib.import_module(f"{acme}_user").taken(path))
    assert str(path) in seen(by)
    assert importlib.import_module(acme).read.__qualname__ == "read"
    path.write_text("2")
    assert outdated(by.stamps) == str(path)
    assert seen(of(lambda: importlib.import_module(f"{acme}_user").taken(path))) == {str(path)}


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


@pytest.mark.parametrize("package", ["h5py", "pandas", "polars", "pyarrow", "soundfile", "xgboost"])
def test_readers_of_tables_sounds_and_trees_are_seen(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    package_ = pytest.importorskip(package)
    if package == "h5py":
        with package_.File("x", "w") as file:
            file["a"] = np.ones(3)
        calls = [lambda: package_.File("x")["a"][:], lambda: package_.File("x", "r")["a"][:]]
    elif package == "soundfile":
        package_.write("x", np.zeros(100), 8000, format="WAV")
        calls = [lambda: package_.read("x"), lambda: package_.SoundFile("x").read()]
    elif package == "xgboost":
        package_.train({}, package_.DMatrix(np.ones((9, 2)), np.arange(9.0)), 1).save_model("x.json")
        os.rename("x.json", "x")
        calls = [lambda: package_.Booster().load_model("x")]
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").table({"a": [1, 2]}), "x")
        if package == "pandas":
            calls = [lambda: package_.read_parquet("x")]
        elif package == "polars":
            calls = [lambda: package_.read_parquet("x"), lambda: package_.scan_parquet("x").collect()]
        else:
            calls = [lambda: parquet.read_table("x"), lambda: parquet.ParquetFile("x").read()]
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
