"""Pictures of a page: copied beside it, or embedded in it."""

# For results that come from files, only whole PNG files below the folder of the file are taken: a path in a file from
# elsewhere must not carry any other file of this machine into a published page.

from __future__ import annotations

import base64
import hashlib
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from robustest.reports.pictures import sounds_of
from robustest.safe_files import UnsafeFile, read_below, read_regular, write_atomic

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WIDEST = 16_384  # largest side in pixels
# Header of a WAV file: RIFF, size, WAVE, fmt, 16, format, channels, rate, bytes a second and a frame, bits, data, size.
_WAV = struct.Struct("<4sI4s4sIHHIIHH4sI")
_OWN = re.compile(r"claim-\d+-(?:worst|shown)-\d+\.png")
_OWN_SOUND = re.compile(r"claim-\d+-worst-\d+-(?:clean|changed)\.wav")
# Text that `robustest.reports.pictures` stores in a picture: only a number, and the digests of sounds, are accepted.
_CHANGE = re.compile(rb"largest change\x00(\d{1,6}(?:\.\d{1,9})?(?:e[-+]\d{1,3})?)").fullmatch
_SOUNDS = re.compile(rb"sounds\x00([0-9a-f]{64} [0-9a-f]{64})").fullmatch
LARGEST = 8 * 2**20
"""Largest picture in bytes."""
INLINE = 24 * 2**20
"""Largest sum of embedded pictures in bytes: a larger page opens slowly and is hard to mail."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the page refers to it.

    Attributes:
        change: largest change that it shows, in input units, or empty.
        sounds: sources of the sounds before and after; empty for images.
    """

    source: str
    width: int
    height: int
    change: str = ""
    sounds: tuple[str, ...] = ()


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
            content = self._read(path, test)
            width, height, change, digests = _read_png(content)
        except UnsafeFile as unfit:
            return f"The picture is not shown: {unfit}."
        except (OSError, ValueError, KeyError):  # ValueError: a path with a NUL in it
            return "The picture is no longer there."
        if self.inline and self.inside + len(content) > INLINE:
            return f"Left out: the embedded pictures of this page have {INLINE // 2**20} MB already."
        sounds = self._sounds(path, name, test, digests)
        return Picture(self._placed(name, content, "image/png"), width, height, change, sounds)

    def _read(self, path: str, test: str) -> bytes:
        if self.below is None:
            return read_regular(self.origin / path, most=LARGEST)
        return read_below(self.below[test], path, most=LARGEST)

    def _placed(self, name: str, content: bytes, kind: str) -> str:
        if self.inline:
            self.inside += len(content)
            return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
        write_atomic(self.folder / "images" / name, content)
        self.taken.add(name)
        return f"images/{name}"

    def _sounds(self, path: str, name: str, test: str, digests: tuple[str, ...]) -> tuple[str, ...]:
        try:
            contents = [self._read(sound, test) for sound in sounds_of(path)] if digests else []
        except (UnsafeFile, OSError, ValueError, KeyError):
            return ()
        fit = tuple(hashlib.sha256(content).hexdigest() for content in contents) == digests
        if not contents or not fit or not all(map(_is_wav, contents)):
            return ()
        if self.inline and self.inside + sum(map(len, contents)) > INLINE:
            return ()
        pairs = zip(sounds_of(name), contents, strict=True)
        return tuple(self._placed(sound, content, "audio/wav") for sound, content in pairs)

    def tidy(self) -> None:
        """Remove pictures of earlier pages from the folder; files of other names stay."""
        images = self.folder / "images"
        for file in sorted(images.iterdir()) if images.is_dir() else ():
            own = _OWN.fullmatch(file.name) or _OWN_SOUND.fullmatch(file.name)
            if own and file.name not in self.taken:
                file.unlink(missing_ok=True)


def _is_wav(content: bytes) -> bool:
    if len(content) < _WAV.size:
        return False
    riff, size, wave, fmt, sixteen, pcm, channels, rate, per_second, per_frame, bits, data, length = _WAV.unpack_from(
        content
    )
    return (
        (riff, wave, fmt, data, sixteen, pcm, bits) == (b"RIFF", b"WAVE", b"fmt ", b"data", 16, 1, 16)
        and (size, length) == (len(content) - 8, len(content) - _WAV.size)
        and (per_frame, per_second) == (2 * channels, 2 * channels * rate)
    )


def _read_png(content: bytes) -> tuple[int, int, str, tuple[str, ...]]:
    """Return width, height, largest change and sounds of a whole PNG file; raise UnsafeFile (PNG, third edition, 5)."""
    if not content.startswith(_SIGNATURE):
        raise UnsafeFile("the file is no PNG")
    at, kinds, change, digests = len(_SIGNATURE), [], "", tuple[str, ...]()
    # Chunk: length, type, data, CRC-32 of type and data. The checksums keep truncated and disguised files out.
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content) or zlib.crc32(content[at + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]:
            break
        kinds.append((kind, length))
        if kind == b"tEXt" and (found := _CHANGE(content, at + 8, end - 4)):
            change = found[1].decode("ascii")
        elif kind == b"tEXt" and (found := _SOUNDS(content, at + 8, end - 4)):
            digests = tuple(found[1].decode("ascii").split())
        at = end
    # Nothing may follow the last chunk: any bytes after it would be published with the page.
    if at != len(content) or kinds[:1] != [(b"IHDR", 13)] or kinds[-1] != (b"IEND", 0):
        raise UnsafeFile("the file is no whole PNG")
    width, height = struct.unpack_from(">II", content, len(_SIGNATURE) + 8)
    if not (0 < width <= _WIDEST and 0 < height <= _WIDEST):
        raise UnsafeFile(f"it is {width} by {height} pixels")
    return width, height, change, digests
