"""Memory for copies of samples that is used again once nothing refers to it.

Touching new memory for the first time takes several times as long as the copy into it. A lease is an array over a
buffer; the tensor made of it holds the lease, and so does every view of that tensor. When the last of them is gone the
lease is finalised, and its buffer is free again: no caller gives anything back, and none can be too early.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Buffers that are kept while they are free.
_MOST = 3
# Rows that a buffer has room for, unless it would be larger than so many bytes.
_ROWS, _LARGEST = 512, 1 << 30


class Buffers:
    """The buffers of one set of samples: they are freed with it."""

    def __init__(self) -> None:
        self._free: list[NDArray[np.uint8]] = []

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return a tensor of the host with any values, which nothing else refers to."""
        size = math.prod(shape) * dtype.itemsize
        if not size:
            return torch.empty(*shape, dtype=dtype)
        buffer = None
        while buffer is None and self._free:
            kept = self._free.pop()  # atomic: threads may ask at the same time
            buffer = kept if kept.nbytes >= size else None
        if buffer is None:
            # Chunks grow: room for larger ones takes no memory before it is touched. NumPy asks the system for large
            # pages.
            room = size // shape[0] * _ROWS
            buffer = np.empty(max(size, room if room <= _LARGEST else 0), dtype=np.uint8)
        lease = buffer[:size]
        weakref.finalize(lease, _release, weakref.ref(self), buffer).atexit = False
        return torch.from_numpy(lease).view(dtype).view(*shape)


def _release(owner: weakref.ref[Buffers], buffer: NDArray[np.uint8]) -> None:
    buffers = owner()
    if buffers is not None and len(buffers._free) < _MOST:
        buffers._free.append(buffer)
