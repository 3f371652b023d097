"""Files from elsewhere: regular ones alone, of a known size, inside their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robustest.safe_files import SafeFolder, UnsafeFile, open_regular, read_below, read_regular


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, a deeper one, and all that must not be read; beside it a secret."""
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    (inside / "fine").write_bytes(b"fine")
    (inside / "deep" / "fine").write_bytes(b"deep")
    (tmp_path / "secret").write_bytes(b"secret")
    os.mkfifo(inside / "pipe")
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "zero").symlink_to("/dev/zero")
    (inside / "away").symlink_to(tmp_path)
    return inside


def test_what_lies_below_is_read(folder: Path) -> None:
    assert read_below(folder, "fine", most=4) == b"fine"
    assert read_below(folder, "deep/fine", most=4) == b"deep"
    assert read_below(folder, "./deep/./fine", most=4) == b"deep"


OUTSIDE = ("", ".", "..", "../secret", "deep/../../secret", "/dev/zero", "/etc/passwd", "nul\0", "away/secret")
UNFIT = ("pipe", "link", "zero", "deep", "fine/fine", "absent", "a" * 300)


@pytest.mark.parametrize("name", [*OUTSIDE, *UNFIT])
def test_nothing_else_is(folder: Path, name: str) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    with pytest.raises(UnsafeFile if name in OUTSIDE[:8] else OSError):
        read_below(folder, name, most=100)
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before, "no file stays open"


@pytest.mark.parametrize("name", ["pipe", "zero", "deep"])
def test_what_is_no_regular_file_is_refused_at_once(folder: Path, name: str) -> None:
    with pytest.raises(UnsafeFile, match="no regular file"):
        read_regular(folder / name, most=100)
    with pytest.raises(UnsafeFile, match="no regular file"):
        open_regular(folder / name)


def test_links_are_followed_where_the_path_is_trusted(folder: Path) -> None:
    assert read_regular(folder / "link", most=6) == b"secret"
    with open_regular(folder / "link") as file:
        assert file.read() == b"secret"


def test_what_is_too_large_is_refused(folder: Path) -> None:
    with pytest.raises(UnsafeFile, match="4 bytes, and more than 3"):
        read_below(folder, "fine", most=3)


def test_a_folder_reads_files_below_it_alone(folder: Path) -> None:
    inside = SafeFolder(folder)
    assert inside.read("deep/fine", most=4) == b"deep"
    with inside.open("deep/fine") as file:
        assert file.read() == b"deep"
    with inside.open("link") as file:  # of any size, and where links lead
        assert file.read() == b"secret"
    assert SafeFolder.read_file(folder / "link", most=6) == b"secret"
    with pytest.raises(OSError, match="link"):
        inside.read("link", most=100)
    for name in OUTSIDE[:8]:
        with pytest.raises(UnsafeFile):
            inside.read(name, most=100)
        with pytest.raises(UnsafeFile):
            inside.open(name)
    with pytest.raises(UnsafeFile, match="6 bytes, and more than 5"):
        SafeFolder.read_file(folder / "link", most=5)
