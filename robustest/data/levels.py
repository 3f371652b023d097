"""8-bit pictures among floats: rows of which every value is k / 255 in float32, told and coded as the bytes k.

Most images are files of bytes that a transform has divided by 255. As bytes they are a quarter as large: digests and
copies to a device take a quarter of the time. The code is exact: it is used for a row if each of its values comes back
to the bit, so that two rows have one code if and only if they are equal; -0.0, NaN and all else have none.

1. k = 255 x, rounded, as a byte; for a value that is no level, any byte.
2. x' = k / 255, in float32.
3. The row is coded if x' and x have the same bits.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

_MOST = 255
_HALF = torch.full((), 0.5, dtype=torch.float32, device="cpu")
# Rows with fewer values are not coded: what is saved does not pay for the look.
LEAST = 1024
# Values of each row that are tried before all of them: other floats are no levels at the first glance.
_GLANCE = 32


def likely(rows: Tensor) -> Tensor:
    """Return (n,) bool: rows (n, D) float32 whose first values are levels, and which are worth coding."""
    glance = rows[:, : _GLANCE if rows.shape[1] >= LEAST else 0].contiguous()
    if not glance.numel():
        return torch.zeros(len(rows), dtype=torch.bool)
    return coded(glance, torch.empty_like(glance, dtype=torch.uint8))


def coded(rows: Tensor, levels: Tensor) -> Tensor:
    """Write the codes of rows of levels, and return which rows these are.

    Args:
        rows: (n, D) float32 on the host, contiguous; at best few enough for a cache.
        levels: (n, D) uint8, written; rows that are not coded hold anything afterwards.

    Returns:
        (n,) bool.
    """
    # 255 x + 1/2 in one step, which the cast below cuts to the nearest level.
    back = torch.add(_HALF, rows, alpha=_MOST)
    # Casting what is not in 0..255 gives anything, which step 3 refuses. By int32: that has vector instructions.
    back.copy_(levels.copy_(back.int())).div_(_MOST)
    # Two values at a time, where they lie so: the comparison goes word by word.
    word = torch.int32 if rows.shape[1] % 2 or rows.storage_offset() % 2 else torch.int64
    # By NumPy: `torch.equal` has no vector instructions, and takes three times as long.
    return torch.from_numpy((back.view(word).numpy() == rows.view(word).numpy()).all(1))


def decoded(levels: Tensor) -> Tensor:
    """Return the floats of levels (n, *S) uint8, on their device; see `exact_on`."""
    # By a tensor of the device: CUDA multiplies by the reciprocal of a plain number, which rounds otherwise.
    return levels.float().div_(torch.full((), float(_MOST), device=levels.device))


@cache
def exact_on(device: torch.device) -> bool:
    """Return True if a device decodes all levels as the host does, to the bit."""
    every = torch.arange(_MOST + 1, dtype=torch.uint8)
    return torch.equal(decoded(every.to(device)).cpu(), decoded(every))
