"""Corrupting a batch, outside any test."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, expected
from robustest.shifts.registry import Shift


def corrupt(
    x: Tensor,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    ids: Tensor | Sequence[int] | None = None,
    parameters: str = "auto",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Corrupted images, as a test under this seed sees them.

    Each image's randomness depends on the seed and its index alone: neither the batch nor its order nor the device
    changes what it draws.

    Args:
        x: (N, C, H, W) floats inside the bounds, on any device; left as it is.
        name: one of `CORRUPTIONS`, or of any other shift.
        severity: 1 (mild) to 5 (severe).
        seed: of the randomness.
        ids: (N,) the images' indices in the data; None means 0..N-1.
        parameters: "224", "64" or "32" for one of ImageNet-C's three sets of parameters; "auto" takes the first for
            images whose longer side has 65 pixels or more, the second from 49 pixels on.
        bounds: the least and the largest value an input may have.

    Returns:
        (N, C, H, W) inside the bounds, of x's type and on its device.

    Raises:
        UnknownNameError: no shift has this name.
        ConfigError: another argument is out of range, or ids are not one for each image.
    """
    shift = Shift(name, severity, parameters=parameters)
    if not isinstance(x, Tensor) or x.ndim != 4 or not x.is_floating_point():
        got = f"{tuple(x.shape)}, {x.dtype}" if isinstance(x, Tensor) else x
        raise ConfigError(expected("a tensor of floats of shape (N, C, H, W)", got))
    index = torch.arange(len(x)) if ids is None else torch.as_tensor(ids, dtype=torch.int64)
    if index.shape != (len(x),):
        raise ConfigError(expected(f"ids of shape ({len(x)},), one for each image", tuple(index.shape)))
    return shift.apply(x, rng.keys(seed, index.to(x.device)), bounds)
