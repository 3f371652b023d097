"""Safe reading of files from other machines (regular, of limited size, inside a folder), and writing whole ones."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path, PurePath

UNFINISHED = ".tmp"
"""Ending of a file that is being written."""


class UnsafeFile(OSError):
    """A file that is not read: not regular, too large, or outside of its folder."""


class SafeFolder:
    """A folder with files from other machines: regular ones, by names that stay below it, of limited size."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def read_file(cls, path: Path, *, most: int) -> bytes:
        """Return the bytes of a regular file of at most `most` bytes, by a trusted path; links are followed.

        Raises:
            OSError: it cannot be read, is no regular file, or is larger.
        """
        return read_regular(path, most=most)

    def read(self, name: str, *, most: int) -> bytes:
        """Return the bytes of a regular file of at most `most` bytes by an untrusted name; no link is followed.

        Raises:
            OSError: it cannot be read, is no regular file, or is larger; or the name leads out of the folder.
        """
        return read_below(self.path, name, most=most)

    def open(self, name: str) -> BufferedReader:
        """Open a regular file of any size by an untrusted name; links are followed.

        Raises:
            OSError: it cannot be read, or is no regular file; or the name leads out of the folder.
        """
        return open_regular(self.path.joinpath(*parts_below(name)))


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, without waiting for a device or a pipe; links are followed.

    Raises:
        UnsafeFile: it is no regular file.
        OSError: it cannot be read.
    """
    number = os.open(path, _FLAGS)
    try:
        # The open file is checked, not the path, which could be replaced in between.
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise UnsafeFile("it is no regular file")
        return open(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_regular(path: Path, *, most: int) -> bytes:
    """Return the bytes of a regular file of at most `most` bytes, as `open_regular`.

    Raises:
        UnsafeFile: it is no regular file, or larger.
        OSError: it cannot be read.
    """
    return _read_and_close(os.open(path, _FLAGS), most)


def read_below(folder: Path, name: str, *, most: int) -> bytes:
    """Return the bytes of a regular file below a folder; no link is followed.

    Args:
        folder: a trusted folder.
        name: a relative path without "..", from an untrusted source.
        most: largest size in bytes.

    Raises:
        UnsafeFile: the name leads elsewhere, the file is no regular one, or is larger.
        OSError: it cannot be read.
    """
    parts = parts_below(name)
    if os.open not in os.supports_dir_fd:  # Windows
        path = folder.joinpath(*parts)
        if path.resolve() != folder.resolve().joinpath(*parts):
            raise UnsafeFile(f"{name!r} is a link")
        return read_regular(path, most=most)
    # Each part is opened relative to the folder before it: a check of the whole path could be outrun by a new link.
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = deeper
        number = os.open(parts[-1], _FLAGS | os.O_NOFOLLOW, dir_fd=here)
    finally:
        os.close(here)
    return _read_and_close(number, most)


def parts_below(name: str) -> tuple[str, ...]:
    """Return the parts of a relative path that stays below its start, else raise UnsafeFile."""
    path = PurePath(name)
    if not path.parts or path.is_absolute() or path.drive or ".." in path.parts or "\0" in name:
        raise UnsafeFile(f"{name!r} is no path inside the folder")
    return path.parts


# Opening a pipe without a writer must not wait.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def _read_and_close(number: int, most: int) -> bytes:
    try:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            raise UnsafeFile("it is no regular file")
        if about.st_size > most:
            raise UnsafeFile(f"it has {about.st_size:,} bytes, and more than {most:,} are not read")
        with open(number, "rb", closefd=False) as file:
            content = file.read(most + 1)  # the file may grow meanwhile
    finally:
        os.close(number)
    if len(content) > most:
        raise UnsafeFile(f"more than {most:,} bytes are not read")
    return content


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file that is whole or unchanged at any moment, also if the process is killed.

    Raises:
        OSError: folder or file cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # By process and chance: two writers of one file do not share an unfinished one.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with unfinished.open("xb") as file:
            file.write(data)
            file.flush()
            # Before the rename, or a crash could leave an empty file under the final name.
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    with suppress(OSError):  # not every system can; the file itself is on disk already
        # A rename is on disk only after its folder is.
        number = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
