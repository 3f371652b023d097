"""The pictures of a page: copied beside it, or put inside it."""

from __future__ import annotations

import base64
import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = 24  # bytes up to the end of width and height (PNG, third edition, sections 5.2 and 11.2.1)
_OURS = re.compile(r"claim-\d+-(?:worst|shown)-\d+\.png")
LARGEST = 8 * 2**20
"""Bytes of a picture that is taken, at most."""
INLINE = 24 * 2**20
"""Bytes of all pictures put inside the page, at most: what is larger opens slowly and mails badly."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Where the page finds a picture, and its size in pixels."""

    source: str
    width: int
    height: int


@dataclass(slots=True)
class Album:
    """Takes pictures in, one by one.

    Only PNG files are taken: results may come from a file, and a path in one must not carry any other file of this
    machine into a page that is published.

    Attributes:
        folder: the page's.
        origin: what relative paths of pictures start from.
        inline: whether pictures go inside the page.
        taken: names written so far.
        inside: bytes put inside so far.
    """

    folder: Path
    origin: Path
    inline: bool
    taken: set[str] = field(default_factory=set)
    inside: int = 0

    def take(self, path: str, name: str) -> Picture | str:
        """The picture as the page shows it, or why it shows none.

        Args:
            path: the file.
            name: of the copy, `claim-N-worst-K.png` or `claim-N-shown-K.png`.
        """
        try:
            file = self.origin / path
            if file.stat().st_size > LARGEST:
                return f"The picture is larger than {LARGEST // 2**20} MB."
            content = file.read_bytes()
        except (OSError, ValueError):  # ValueError: a path with a NUL in it
            return "The picture is no longer there."
        if len(content) < _HEADER or not content.startswith(_SIGNATURE):
            return "The file is no PNG."
        width, height = struct.unpack(">II", content[16:_HEADER])
        if not self.inline:
            self._copy(content, name)
            return Picture(f"images/{name}", width, height)
        if self.inside + len(content) > INLINE:
            return f"Left out: the pictures inside this page have {INLINE // 2**20} MB already."
        self.inside += len(content)
        return Picture(f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}", width, height)

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
