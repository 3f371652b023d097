"""The one look at samples on the host: range, finiteness, digests, and the memory from which a device copies them.

Samples are looked at in blocks that a cache holds, so that memory is read once for all of this:

1. Rows of 8-bit pictures are coded as bytes (`robustest.data.levels`), which are in 0..1.
2. Of others the least and the largest value tell of every value outside the bounds, and of every one that is not
   finite: NaN becomes both, infinity one.
3. The digest of a row is SHA-256 of its bytes, or of those of its code, behind its type and shape; then of its target.
4. What goes to a device is collected for it: codes as long as all rows have one, then floats.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import devices
from robustest.data import levels
from robustest.errors import DataError
from robustest.threats import Bounds

# Bytes of a block: half of the second-level cache of a small core.
_BLOCK = 1 << 19


def rows_of_block(row: Tensor) -> int:
    """Return the number of samples like `row` (*S) in a block."""
    return max(1, _BLOCK // max(1, row.numel() * row.element_size()))


class Inspection:
    """The look at one chunk of samples, block by block.

    Args:
        ids: (n,) int64, positions of the samples, for messages.
        marked: make digests.
        bounds: None for samples that were looked at before.
        about: all else that belongs to the digests, in words.
        device: collect the samples for this accelerator; None to leave them where they are.

    Attributes:
        marks: for each sample, a digest with its target, of 32 bytes, and 16 bytes of that of the input alone.
    """

    def __init__(
        self, ids: Tensor, bounds: Bounds | None, *, marked: bool, about: str = "", device: torch.device | None = None
    ) -> None:
        self.marks: list[bytes] = []
        self._ids, self._bounds, self._about, self._marked, self._device = ids, bounds, about, marked, device
        self._seen = 0
        self._as_before = False  # the last block was coded: the next one is not glanced at first
        self._collected: Tensor | None = None
        # Codes of a block that are not collected.
        self._scratch = torch.empty(0, dtype=torch.uint8)

    def look(self, x: Tensor, y: Tensor) -> None:
        """Look at the next samples: x (b, *S) float32 and their targets y (b, *T), on the host and contiguous.

        Raises:
            DataError: a value is not finite, or outside the bounds.
        """
        if not x.shape[0]:
            return
        rows, targets = x.flatten(1), y.numpy()
        coding = (self._marked or self._device is not None) and rows.shape[1] >= levels.LEAST
        step = rows_of_block(x[0])
        for start in range(0, x.shape[0], step):
            block = rows[start : start + step]
            codes, coded = None, [False] * block.shape[0]
            if coding and (self._as_before or bool(levels.likely(block).any())):
                codes = self._codes(block)
                coded = levels.coded(block, codes).tolist()
            # Levels are in 0..1: inside such bounds their own values need no look.
            bounds, all_coded = self._bounds, all(coded)
            self._as_before = all_coded
            if bounds is not None and block.numel() and not (all_coded and bounds[0] <= 0 and bounds[1] >= 1):
                least, most = torch.aminmax(block)
                # Bounds may be infinite themselves: infinity is inside them, and no sample all the same.
                finite = torch.isfinite(least) & torch.isfinite(most)
                if not bool((least >= bounds[0]) & (most <= bounds[1]) & finite):
                    seen = self._ids[self._seen : self._seen + block.shape[0]]
                    raise _refused(x[start : start + step], seen, bounds)
            if self._marked:
                self._mark(x.shape[1:], targets[start : start + step], block, codes, coded)
            if self._device is not None:
                self._collect(x[start : start + step], all_coded, self._device)
            self._seen += block.shape[0]

    def collected(self) -> Tensor:
        """Return all samples (n, *S), in memory from which the device copies: codes (uint8) if all have one, else x."""
        if self._collected is None:
            raise LookupError("no samples were collected")
        return self._collected

    def _codes(self, rows: Tensor) -> Tensor:
        """Return memory for the codes of a block: that in which they are collected, if any."""
        kept = self._collected
        if self._device is not None and kept is None:
            kept = self._collected = devices.staging((len(self._ids), rows.shape[1]), torch.uint8, self._device)
        if kept is not None and kept.dtype is torch.uint8:
            return kept.view(self._ids.shape[0], -1)[self._seen : self._seen + rows.shape[0]]
        if self._scratch.shape != rows.shape:
            self._scratch = torch.empty(rows.shape, dtype=torch.uint8)
        return self._scratch

    def _mark(
        self, shape: torch.Size, targets: NDArray[Any], rows: Tensor, codes: Tensor | None, coded: list[bool]
    ) -> None:
        # The type and the shape belong to the digest: other arrays may have the same bytes.
        of_target = f"{targets.shape[1:]} " if targets.ndim > 1 else ""
        header = f"<f4 {tuple(shape)} {targets.dtype.str} {of_target}{self._about}".encode()
        of_floats, of_codes = sha256(header), sha256(b"8-bit " + header)
        floats = rows.numpy()
        bytes_of = floats if codes is None else codes.numpy()
        for row, is_coded in enumerate(coded):
            digest = (of_codes if is_coded else of_floats).copy()
            digest.update((bytes_of if is_coded else floats)[row].data)
            of_input = digest.digest()[:16]
            digest.update(targets[row].tobytes())
            self.marks.append(digest.digest() + of_input)  # an image with another target is a copy, too

    def _collect(self, x: Tensor, coded: bool, device: torch.device) -> None:
        """Keep the samples of a block x (b, *S); as codes they were written where they are kept (`_codes`)."""
        n, kept = self._ids.shape[0], self._collected
        if kept is not None and kept.dtype is torch.uint8 and coded:
            self._collected = kept.view(n, *x.shape[1:])
            return
        if kept is None or kept.dtype is torch.uint8:
            floats = devices.staging((n, *x.shape[1:]), x.dtype, device)
            if kept is not None and self._seen:  # exactly what was coded
                done = levels.decoded(kept.view(n, -1)[: self._seen])
                floats[: self._seen] = done.view(self._seen, *x.shape[1:])
            self._collected = kept = floats
        kept[self._seen : self._seen + x.shape[0]] = x


def _refused(x: Tensor, ids: Tensor, bounds: Bounds) -> DataError:
    """Return the error of samples x (b, *S) of which a value is not finite or outside the bounds."""
    # NaN would pass the tests of the bounds below: any comparison with it is False.
    finite, (low, high) = torch.isfinite(x).flatten(1).all(1), bounds
    if not bool(finite.all()):
        return DataError(
            f"Expected finite inputs but sample {first_of(ids, ~finite)} has NaN or infinite values. Leave such "
            "samples out, or fill the gaps as in training."
        )
    outside = ((x < low) | (x > high)).flatten(1).any(1)
    first = x[outside][0]
    return DataError(
        f"Expected inputs inside the bounds [{low:g}, {high:g}] but sample {first_of(ids, outside)} spans "
        f"[{float(first.min()):.4g}, {float(first.max()):.4g}]. Pass bounds=(low, high), or give raw inputs and "
        "pass the normalisation as preprocessing=(mean, std)."
    )


def first_of(ids: Tensor, mask: Tensor) -> int:
    """Return the first of positions ids (n,) int64 where a mask (n,) is True."""
    return int(ids[mask.nonzero()[0, 0]])


def marks_of(x: Tensor, y: Tensor, *, about: str = "") -> list[bytes]:
    """Return the digests of samples x (n, *S) float32 with targets y (n, *T), see `Inspection`."""
    look = Inspection(torch.arange(len(x)), None, marked=True, about=about)
    look.look(x.contiguous(), y.contiguous())
    return look.marks
