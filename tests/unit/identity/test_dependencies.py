"""Which files are seen to be opened, and what tells their contents apart."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from robustest.identity.opened_files import opened, stamp


def read(path: Path) -> None:
    with path.open() as file:
        file.read()


def test_files_opened_to_read_inside_the_block_are_seen(tmp_path: Path) -> None:
    inside, before, written = (tmp_path / name for name in ("inside", "before", "written"))
    for path in (inside, before):
        path.write_text("1")
    read(before)
    with opened() as seen:
        read(inside)
        written.write_text("2")
    read(before)
    assert seen == {str(inside)}


def test_blocks_inside_each_other_see_their_own(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.touch(), two.touch()
    with opened() as outer:
        read(one)
        with opened() as inner:
            read(two)
    assert (outer, inner) == ({str(one), str(two)}, {str(two)})


def test_other_threads_and_bare_descriptors_are_seen(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.touch(), two.touch()
    with opened() as seen:
        thread = threading.Thread(target=read, args=(one,))
        thread.start()
        thread.join()
        os.close(os.open(two, os.O_RDONLY))
    assert seen == {str(one), str(two)}


@pytest.mark.parametrize("name", ["code.py", "code.pyc"])
def test_code_is_told_by_what_it_says(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with opened() as seen:
        read(tmp_path / name)
        read(Path("/proc/self/stat")) if Path("/proc/self/stat").exists() else None
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "nothing")
    assert seen == set()


def test_a_stamp_is_of_contents_whatever_the_date(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert stamp(str(path)) == "absent"
    path.write_text("1")
    first = stamp(str(path))
    os.utime(path, (1, 1))
    assert stamp(str(path)) == first
    path.write_text("2")
    assert stamp(str(path)) != first
