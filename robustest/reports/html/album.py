"""The pictures of a page: copied beside it, or put inside it."""

from __future__ import annotations

import base64
import os
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from robustest.safe_files import UnsafeFile, read_below, read_regular

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WIDEST = 16_384  # pixels of a side, at most
_OURS = re.compile(r"claim-\d+-(?:worst|shown)-\d+\.png")
_CHANGE = re.compile(rb"largest change\x00(\d{1,6}(?:\.\d{1,9})?(?:e[-+]\d{1,3})?)").fullmatch
"""What `robustest.reports.pictures` keeps with a picture: a number, and nothing else is shown."""
LARGEST = 8 * 2**20
"""Bytes of a picture that is taken, at most."""
INLINE = 24 * 2**20
"""Bytes of all pictures put inside the page, at most: what is larger opens slowly and mails badly."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Where the page finds a picture, and what it is.

    Attributes:
        source: of the image's element.
        width, height: in pixels.
        change: the largest change that it shows, in input units, in words; empty where it shows none.
    """

    source: str
    width: int
    height: int
    change: str = ""


@dataclass(slots=True)
class Album:
    """Takes pictures in, one by one.

    Only PNG files are taken, and where results come from files only those beside them: a path in a file from elsewhere
    must not carry any other file of this machine into a page that is published.

    Attributes:
        folder: the page's.
        origin: what relative paths of pictures start from, where this run saved them.
        inline: whether pictures go inside the page.
        below: for each test the folder that its pictures must lie in, and that their paths start from; None where this
            run saved them.
        taken: names written so far.
        inside: bytes put inside so far.
    """

    folder: Path
    origin: Path
    inline: bool
    below: Mapping[str, Path] | None = None
    taken: set[str] = field(default_factory=set)
    inside: int = 0

    def take(self, path: str, name: str, test: str) -> Picture | str:
        """The picture as the page shows it, or why it shows none.

        Args:
            path: the file.
            name: of the copy, `claim-N-worst-K.png` or `claim-N-shown-K.png`.
            test: whose picture it is.
        """
        try:
            content = self._content(path, test)
            width, height, change = _read_png(content)
        except UnsafeFile as unfit:
            return f"The picture is not shown: {unfit}."
        except (OSError, ValueError, KeyError):  # ValueError: a path with a NUL in it
            return "The picture is no longer there."
        if not self.inline:
            self._copy(content, name)
            return Picture(f"images/{name}", width, height, change)
        if self.inside + len(content) > INLINE:
            return f"Left out: the pictures inside this page have {INLINE // 2**20} MB already."
        self.inside += len(content)
        return Picture(f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}", width, height, change)

    def _content(self, path: str, test: str) -> bytes:
        if self.below is None:
            return read_regular(self.origin / path, most=LARGEST)
        return read_below(self.below[test], path, most=LARGEST)

    def _copy(self, content: bytes, name: str) -> None:
        images = self.folder / "images"
        images.mkdir(parents=True, exist_ok=True)
        write_whole(images / name, content)
        self.taken.add(name)

    def tidy(self) -> None:
        """Remove the pictures of earlier pages in the same folder; files of other names stay."""
        images = self.folder / "images"
        for file in sorted(images.iterdir()) if images.is_dir() else ():
            if _OURS.fullmatch(file.name) and file.name not in self.taken:
                file.unlink(missing_ok=True)


def write_whole(target: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    partial.write_bytes(content)
    partial.replace(target)


def _read_png(content: bytes) -> tuple[int, int, str]:
    """Width, height and largest change of a PNG file that is whole: chunks with their checksums, nothing after them.

    (PNG, third edition, sections 5.2, 5.3, 11.2.1 and 11.3.3)

    Raises:
        UnsafeFile: it is none.
    """
    if not content.startswith(_SIGNATURE):
        raise UnsafeFile("the file is no PNG")
    at, kinds, change = len(_SIGNATURE), [], ""
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content) or zlib.crc32(content[at + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]:
            break
        kinds.append((kind, length))
        if kind == b"tEXt" and (found := _CHANGE(content, at + 8, end - 4)):
            change = found[1].decode("ascii")
        at = end
    if at != len(content) or kinds[:1] != [(b"IHDR", 13)] or kinds[-1] != (b"IEND", 0):
        raise UnsafeFile("the file is no whole PNG")
    width, height = struct.unpack_from(">II", content, len(_SIGNATURE) + 8)
    if not (0 < width <= _WIDEST and 0 < height <= _WIDEST):
        raise UnsafeFile(f"it is {width} by {height} pixels")
    return width, height, change
