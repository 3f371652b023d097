"""Blur: defocus, glass, motion, zoom and Gaussian, after Hendrycks and Dietterich (ICLR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest import rng
from robustest.shifts import tables
from robustest.shifts.filters import disk, gaussian, smear
from robustest.shifts.sampling import mean_of_zooms
from robustest.shifts.tables import family

# Chains of references are followed to length 2**5: fewer than one in 10**12 is longer.
_DOUBLINGS = 5


@family(tables.GAUSSIAN_BLUR)
def gaussian_blur(x: Tensor, sigma: float, key: Tensor) -> Tensor:
    """Blur by a Gaussian cut at four standard deviations, edges repeated."""
    return gaussian(x, sigma)


@family(tables.DEFOCUS_BLUR)
def defocus_blur(x: Tensor, parameters: tuple[float, float], key: Tensor) -> Tensor:
    """Take the mean over a disk with a smoothed rim, mirrored at the edges."""
    return disk(x, *parameters)


@family(tables.ZOOM_BLUR, cpu_elements=1 << 20)
def zoom_blur(x: Tensor, parameters: tuple[float, int], key: Tensor) -> Tensor:
    """Take the mean of the image, twice, and of itself zoomed by the factors over 1."""
    step, factors = parameters
    step = (1 + step) - 1  # the published factors are 1, 1 + step and so on in steps of their float64 difference
    return mean_of_zooms(x, tuple(1 + step * k for k in range(1, factors)))


@family(tables.MOTION_BLUR)
def motion_blur(x: Tensor, parameters: tuple[int, float], key: Tensor) -> Tensor:
    """Smear to one side along a line within 45 degrees of the horizontal."""
    angle = rng.uniform(rng.fold(key, "motion_blur"), (), -45.0, 45.0)
    return motion_smear(x, *parameters, angle)


def motion_smear(x: Tensor, radius: int, sigma: float, angle: Tensor) -> Tensor:
    """Smear images (N, C, H, W) to one side along a line, with the weights of half a Gaussian.

    Args:
        radius: there are 2 * radius + 1 taps, one pixel apart.
        angle: (N,) degrees; 0 reads to the right, 90 downwards.
    """
    taps = torch.arange(2 * radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / sigma) ** 2)
    # In float64 on the CPU for any device of x: the nearest pixel must not depend on the device.
    turn = torch.deg2rad(angle.cpu().double()).unsqueeze(1)
    down, right = (torch.ceil(taps * part - 0.5).to(torch.int64) for part in (turn.sin(), turn.cos()))
    return smear(x, down, right, (weights / weights.sum()).tolist())


@family(tables.GLASS_BLUR)
def glass_blur(x: Tensor, parameters: tuple[float, int, int], key: Tensor) -> Tensor:
    """Blur, quantise to 8 bits, displace pixels locally, and blur again."""
    sigma, farthest, rounds = parameters
    height, width = x.shape[-2:]
    grey = gaussian(x, sigma).mul(255).floor_().mul_(1 / 255)
    # The rounds are composed from the last to the first, so that pixels are moved only once.
    source: Tensor | None = None
    for k in reversed(range(rounds)):
        step = _displacement(rng.fold(rng.fold(key, "glass_blur"), k), height, width, farthest)
        source = step if source is None else step.gather(1, source)
    if source is not None:
        grey = grey.flatten(2).gather(2, source.unsqueeze(1).expand(-1, x.shape[1], -1)).view_as(x)
    return gaussian(grey, sigma)


def _displacement(key: Tensor, height: int, width: int, farthest: int) -> Tensor:
    # The published loop goes from the last pixel to the first. Each pixel takes the present value of another pixel, up
    # to `farthest` rows and columns away: that pixel's first value if it comes later in the loop, else the value that
    # it took itself. A pixel's source is therefore at the end of a chain of references. Following each reference's
    # reference doubles the length followed, so that five steps replace a loop over all pixels.
    n, pixels = len(key), height * width
    tall, wide = height - 2 * farthest, width - 2 * farthest
    place = torch.arange(pixels, device=key.device).view(1, height, width)
    # A reference under `pixels` is to the value that a pixel took, one from `pixels` on is to its first value.
    reference = (place + pixels).repeat(n, 1, 1)
    if tall > 0 and wide > 0:
        inside = (..., slice(farthest + 1, height - farthest + 1), slice(farthest + 1, width - farthest + 1))
        draw = rng.bits(key, (tall, wide))
        # Two numbers in -farthest..farthest-1 from the halves of one draw.
        down = draw.bitwise_and(0xFFFF).mul_(2 * farthest).bitwise_right_shift_(16).sub_(farthest)
        right = draw.bitwise_right_shift_(16).bitwise_and_(0xFFFF).mul_(2 * farthest).bitwise_right_shift_(16)
        offset = down.mul_(width).add_(right.sub_(farthest))
        later = offset.gt(0).to(torch.int64)  # in raster order, hence displaced before
        reference[inside] = place[inside] + offset + (1 - later) * pixels
    reference = reference.view(n, pixels)
    if farthest > 1:  # with displacements of 0 and -1 no pixel comes later
        both = torch.cat([reference, (place + pixels).view(1, -1).expand(n, -1)], 1)
        for _ in range(_DOUBLINGS):
            both[:, :pixels] = both.gather(1, both[:, :pixels])
        reference = both[:, :pixels]
    return (reference - pixels).clamp_(min=0)  # a chain that is too long ends at the first pixel
