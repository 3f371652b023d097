"""Pictures of a page: copied beside it, or embedded in it."""

# For results that come from files, only whole PNG files below the folder of the file are taken: a path in a file from
# elsewhere must not carry any other file of this machine into a published page.

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from robustest.reports.json_file import write_whole
from robustest.safe_files import UnsafeFile, read_below, read_regular

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WIDEST = 16_384  # largest side in pixels
_OWN = re.compile(r"claim-\d+-(?:worst|shown)-\d+\.png")
# Text that `robustest.reports.pictures` stores in a picture: only a number is accepted.
_CHANGE = re.compile(rb"largest change\x00(\d{1,6}(?:\.\d{1,9})?(?:e[-+]\d{1,3})?)").fullmatch
LARGEST = 8 * 2**20
"""Largest picture in bytes."""
INLINE = 24 * 2**20
"""Largest sum of embedded pictures in bytes: a larger page opens slowly and is hard to mail."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the page refers to it; `change` is the largest change that it shows, in input units, or empty."""

    source: str
    width: int
    height: int
    change: str = ""


@dataclass(slots=True)
class Album:
    """The pictures of one page."""

    folder: Path
    origin: Path  # folder that relative paths start from, if this run saved the pictures
    inline: bool
    below: Mapping[str, Path] | None = None  # for each test the folder of its pictures; None if this run saved them
    taken: set[str] = field(default_factory=set)  # names written so far
    inside: int = 0  # bytes embedded so far

    def take(self, path: str, name: str, test: str) -> Picture | str:
        """Return the picture as the page shows it, or the reason why it cannot be shown.

        Args:
            name: name of the copy, `claim-N-worst-K.png` or `claim-N-shown-K.png`.
            test: id of the test that saved it.
        """
        try:
            if self.below is None:
                content = read_regular(self.origin / path, most=LARGEST)
            else:
                content = read_below(self.below[test], path, most=LARGEST)
            width, height, change = _read_png(content)
        except UnsafeFile as unfit:
            return f"The picture is not shown: {unfit}."
        except (OSError, ValueError, KeyError):  # ValueError: a path with a NUL in it
            return "The picture is no longer there."
        if not self.inline:
            write_whole(self.folder / "images" / name, content)
            self.taken.add(name)
            return Picture(f"images/{name}", width, height, change)
        if self.inside + len(content) > INLINE:
            return f"Left out: the embedded pictures of this page have {INLINE // 2**20} MB already."
        self.inside += len(content)
        return Picture(f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}", width, height, change)

    def tidy(self) -> None:
        """Remove pictures of earlier pages from the folder; files of other names stay."""
        images = self.folder / "images"
        for file in sorted(images.iterdir()) if images.is_dir() else ():
            if _OWN.fullmatch(file.name) and file.name not in self.taken:
                file.unlink(missing_ok=True)


def _read_png(content: bytes) -> tuple[int, int, str]:
    """Return width, height and largest change of a whole PNG file, or raise UnsafeFile (PNG, third edition, 5)."""
    if not content.startswith(_SIGNATURE):
        raise UnsafeFile("the file is no PNG")
    at, kinds, change = len(_SIGNATURE), [], ""
    # Chunk: length, type, data, CRC-32 of type and data. The checksums keep truncated and disguised files out.
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content) or zlib.crc32(content[at + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]:
            break
        kinds.append((kind, length))
        if kind == b"tEXt" and (found := _CHANGE(content, at + 8, end - 4)):
            change = found[1].decode("ascii")
        at = end
    # Nothing may follow the last chunk: any bytes after it would be published with the page.
    if at != len(content) or kinds[:1] != [(b"IHDR", 13)] or kinds[-1] != (b"IEND", 0):
        raise UnsafeFile("the file is no whole PNG")
    width, height = struct.unpack_from(">II", content, len(_SIGNATURE) + 8)
    if not (0 < width <= _WIDEST and 0 < height <= _WIDEST):
        raise UnsafeFile(f"it is {width} by {height} pixels")
    return width, height, change
