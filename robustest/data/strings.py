"""Texts and bytes as rows of code points or byte values, padded with -1 on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from robustest.errors import DataError, expected
from robustest.results import Changes

PADDING = -1
# Characters of an unchanged part that a report shows on each side of a change.
_CONTEXT = 40
# Characters of longer changed parts at which a report cuts them.
_LONGEST = 400
# Fewest characters in a row that a diff shows as shared, between two changes.
_SHARED = 3
# Product of the lengths from which on a diff marks one block only: an alignment takes time in proportion to it.
_ALIGNED = 4_000_000


@dataclass(frozen=True, slots=True)
class Strings:
    """The coding of texts (`kind` "str") or of bytes ("bytes") as int64 (N, length of the longest).

    Raises:
        ValueError: another kind.
    """

    kind: str
    bounds: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.kind not in ("str", "bytes"):
            raise ValueError(expected('kind to be "str" or "bytes"', self.kind))

    @classmethod
    def of(cls, values: Sequence[Any]) -> Strings:
        return cls("bytes" if isinstance(values[0], bytes) else "str")

    def encode(self, values: Any) -> Tensor:
        held = list(values) if isinstance(values, (list, tuple)) or hasattr(values, "tolist") else None
        wanted = bytes if self.kind == "bytes" else str
        strangers = [] if held is None else [one for one in held if not isinstance(one, wanted)]
        if held is None or strangers:
            what = "bytes" if self.kind == "bytes" else "texts"
            raise DataError(expected(f"a list of {what}", type(values if held is None else strangers[0]).__name__))
        # A lone surrogate is a code point like any other.
        rows = [np.frombuffer(_raw(one), dtype="u1" if self.kind == "bytes" else "<u4") for one in held]
        # One column at least: a batch of empty texts is a batch all the same.
        x = np.full((len(rows), max([1, *map(len, rows)])), PADDING, dtype=np.int64)
        for place, row in enumerate(rows):
            x[place, : len(row)] = row
        return torch.from_numpy(x)

    def decode(self, x: Tensor) -> list[Any]:
        rows = x.detach().cpu().numpy()
        held, every = rows >= 0, []
        for row, inside in zip(rows, held, strict=True):
            codes = row[inside]
            if self.kind == "bytes":
                every.append(codes.astype("u1").tobytes())
            else:
                every.append(codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass"))
        return every

    def identities(self, x: Tensor) -> list[bytes]:
        return [self.kind.encode() + b" " + _raw(value) for value in self.decode(x)]

    def padded(self, x: Tensor, room: int) -> Tensor:
        return pad(x, (0, room), value=PADDING)

    def fitted(self, x: Tensor, width: int) -> Tensor:
        if x.shape[1] > width and bool((x[:, width:] == PADDING).all()):
            return x[:, :width]
        return self.padded(x, max(0, width - x.shape[1]))

    def changes(self, before: Tensor, after: Tensor) -> Changes:
        a, b = (self._shown(row) for row in (before, after))
        return {"diff": [[mark, "".join(part)] for mark, part in _shortened(_differences(a, b))]}

    def _shown(self, row: Tensor) -> list[str]:
        """Return the characters of a row; bytes that are no printable ASCII, and lone surrogates, as escapes."""
        codes = [int(code) for code in row.tolist() if code >= 0]
        if self.kind == "bytes":
            return [chr(code) if 32 <= code < 127 and code != 92 else f"\\x{code:02x}" for code in codes]
        # A lone surrogate cannot be written to a file.
        return [f"\\u{code:04x}" if 0xD800 <= code < 0xE000 else chr(code) for code in codes]


def _raw(value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes) else str(value).encode("utf-32-le", "surrogatepass")


def _differences(a: list[str], b: list[str]) -> list[tuple[str, list[str]]]:
    """Return the differing parts in order: "=" in both, "-" in a alone, "+" in b alone."""
    first, most = 0, min(len(a), len(b))
    while first < most and a[first] == b[first]:
        first += 1
    last = 0
    while last < most - first and a[-1 - last] == b[-1 - last]:
        last += 1
    middle_a, middle_b = a[first : len(a) - last], b[first : len(b) - last]
    parts = [("=", a[:first])]
    out: list[str] = []
    put: list[str] = []
    codes: Sequence[tuple[str, int, int, int, int]] = [("replace", 0, len(middle_a), 0, len(middle_b))]
    if len(middle_a) * len(middle_b) <= _ALIGNED:
        codes = SequenceMatcher(None, middle_a, middle_b, autojunk=False).get_opcodes()
    for name, i, j, k, m in codes:
        # A letter or two that both share by chance would tear a change to pieces.
        if name == "equal" and j - i >= _SHARED:
            parts += [("-", out), ("+", put), ("=", middle_a[i:j])]
            out, put = [], []
        else:
            out, put = out + middle_a[i:j], put + middle_b[k:m]
    parts += [("-", out), ("+", put), ("=", a[len(a) - last :])]
    return [part for part in parts if part[1]] or [("=", [])]


def _shortened(parts: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    shown, end = [], len(parts) - 1
    for place, (mark, whole) in enumerate(parts):
        before, after = _CONTEXT * (place > 0), _CONTEXT * (place < end)
        if end == 0:  # nothing differs: the beginning of the text itself
            before, after = _LONGEST, 0
        if mark != "=":
            before, after = _LONGEST, 0
        part, left_out = whole, len(whole) - before - after
        if left_out > 1:
            part = [*whole[:before], f" …{left_out} more… ", *(whole[-after:] if after else [])]
        shown.append((mark, part))
    return shown
