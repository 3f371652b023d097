"""What every shift of ours does around its own work: parameters, float32, pieces that fit a cache, bounds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from robustest.errors import ConfigError, expected
from robustest.shifts.corruptions.tables import P, Table

Body = Callable[[Tensor, P, Tensor], Tensor]
"""Maps x (n, C, H, W) float32 in [0, 1], one severity's parameters and keys (n,) to images of the same shape.

It neither writes on x nor needs to stay in [0, 1]; what it returns may be x itself.
"""

_CPU_ELEMENTS = 1 << 19
_ELEMENTS = 1 << 26
_ROUNDING = 1e-3
"""Images that were rescaled to [0, 1] may leave it by their rounding."""


class Family(Protocol):
    """A shift of ours: a `ShiftFunction` that may be told which set of parameters to take."""

    __name__: str

    def __call__(self, x: Tensor, severity: int, key: Tensor, *, parameters: str = "auto") -> Tensor:
        """Shifted images.

        Args:
            x: (N, C, H, W) floats in [0, 1], on any device; left as it is.
            severity: 1..5.
            key: (N,) int64 keys, on x's device.
            parameters: "224", "64" or "32" for one of ImageNet-C's sets; "auto" takes the first for images
                whose longer side has 65 pixels or more, the second from 49 pixels on.

        Returns:
            (N, C, H, W) in [0, 1], of x's type, computed in float32. No gradient flows back to x.

        Raises:
            ConfigError: x is not four-dimensional or not in [0, 1], or an argument is out of range.
        """


def family(table: Table[P]) -> Callable[[Body[P]], Family]:
    """Makes a shift of the work on one piece of a batch.

    The work goes piece by piece: on a CPU pieces of some megabytes, which stay in its cache, so that
    memory does not grow with the batch either.

    Args:
        table: the parameters by severity.
    """

    def make(body: Body[P]) -> Family:
        @functools.wraps(body)
        def shift(x: Tensor, severity: int, key: Tensor, *, parameters: str = "auto") -> Tensor:
            if x.ndim != 4:
                raise ConfigError(expected("images of shape (N, C, H, W) for a shift", tuple(x.shape)))
            # A function of the user's may call this one on inputs in other units, of which a clamp leaves nothing.
            low, high = (float(end) for end in x.detach().aminmax()) if x.numel() else (0.0, 1.0)
            if low < -_ROUNDING or high > 1 + _ROUNDING:
                mend = "Give the shift by its name, or use corrupt(..., bounds=): these rescale."
                raise ConfigError(expected(f"images in [0, 1] for {body.__name__}", f"[{low:.4g}, {high:.4g}]", mend))
            chosen = table.at(severity, x.shape[2], x.shape[3], parameters)
            with torch.no_grad():
                return _by_pieces(functools.partial(_call, body, chosen), x, key)

        del shift.__wrapped__  # its signature is its own
        return shift

    return make


def _call(body: Body[P], chosen: P, x: Tensor, key: Tensor) -> Tensor:
    return body(x, chosen, key)


def _by_pieces(work: Callable[[Tensor, Tensor], Tensor], x: Tensor, key: Tensor) -> Tensor:
    out = torch.empty(x.shape, dtype=torch.float32, device=x.device)
    limit = _CPU_ELEMENTS if x.device.type == "cpu" else _ELEMENTS
    step = max(1, limit // max(1, x[:1].numel()))
    for start in range(0, len(x), step):
        piece = x[start : start + step].to(torch.float32).contiguous()
        torch.clamp(work(piece, key[start : start + step]), 0.0, 1.0, out=out[start : start + step])
    return out.to(x.dtype)
