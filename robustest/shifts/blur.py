"""Blur: defocus, glass, motion, zoom and Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest import rng
from robustest.shifts import tables
from robustest.shifts.filters import disk, gaussian, smear
from robustest.shifts.sampling import MOST_PIXELS, mean_of_zooms, middle, mixed, zoomed
from robustest.shifts.tables import family

_DOUBLINGS = 5
"""Of the length to which chains of copies are followed: fewer than one in 10**12 is longer than 2**5."""


@family(tables.GAUSSIAN_BLUR)
def gaussian_blur(x: Tensor, sigma: float, key: Tensor) -> Tensor:
    """A Gaussian cut at four standard deviations, edges repeated."""
    return gaussian(x, sigma)


@family(tables.DEFOCUS_BLUR)
def defocus_blur(x: Tensor, parameters: tuple[float, float], key: Tensor) -> Tensor:
    """The mean over a disk with a smoothed rim, mirrored at the edges."""
    return disk(x, *parameters)


@family(tables.ZOOM_BLUR)
def zoom_blur(x: Tensor, parameters: tuple[float, int], key: Tensor) -> Tensor:
    """The mean of the image, twice, and of itself zoomed by the factors over 1."""
    step, factors = parameters
    step = (1 + step) - 1  # the published factors are 1, 1 + step and so on in steps of their float64 difference
    zooms = tuple(1 + step * k for k in range(1, factors))
    height, width = x.shape[-2:]
    if x.device.type == "cpu" and height * width <= MOST_PIXELS:
        return mixed(mean_of_zooms(height, width, zooms), x)
    total = x * 2
    for factor in zooms:
        (top, tall), (left, wide) = middle(height, factor), middle(width, factor)
        total.add_(zoomed(x[..., top : top + tall, left : left + wide], factor, height, width))
    return total.mul_(1 / (factors + 1))


@family(tables.MOTION_BLUR)
def motion_blur(x: Tensor, parameters: tuple[int, float], key: Tensor) -> Tensor:
    """Smeared to one side along a line within 45 degrees of the horizontal."""
    angle = rng.uniform(rng.fold(key, "motion_blur"), (), -45.0, 45.0)
    return moved(x, *parameters, angle)


def moved(x: Tensor, radius: int, sigma: float, angle: Tensor) -> Tensor:
    """Smeared to one side along a line, with the weights of half a Gaussian.

    Args:
        x: (N, C, H, W).
        radius: there are 2 * radius + 1 taps, one pixel apart along the line, each at the nearest pixel.
        sigma: standard deviation of the Gaussian.
        angle: (N,) degrees; 0 reads to the right, 90 downwards.
    """
    taps = torch.arange(2 * radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / sigma) ** 2)
    # On the CPU in float64 wherever x is: which pixel is nearest shall not depend on the device.
    turn = torch.deg2rad(angle.cpu().double()).unsqueeze(1)
    down, right = (torch.ceil(taps * part - 0.5).to(torch.int64) for part in (turn.sin(), turn.cos()))
    return smear(x, down, right, (weights / weights.sum()).tolist())


@family(tables.GLASS_BLUR)
def glass_blur(x: Tensor, parameters: tuple[float, int, int], key: Tensor) -> Tensor:
    """Blurred, quantised to 8 bits, pixels displaced locally, blurred again."""
    sigma, farthest, rounds = parameters
    height, width = x.shape[-2:]
    grey = gaussian(x, sigma).mul(255).floor_().mul_(1 / 255)
    source: Tensor | None = None
    for k in reversed(range(rounds)):
        step = _displaced(rng.fold(rng.fold(key, "glass_blur"), k), height, width, farthest)
        source = step if source is None else step.gather(1, source)
    if source is not None:
        grey = grey.flatten(2).gather(2, source.unsqueeze(1).expand(-1, x.shape[1], -1)).view_as(x)
    return gaussian(grey, sigma)


def _displaced(key: Tensor, height: int, width: int, farthest: int) -> Tensor:
    """Where each pixel's value comes from in one round, (N, H * W) indices into the flattened image.

    From the last pixel to the first, each takes the value that another, up to `farthest` rows and columns away, has
    by then: its own first value where it comes later, else what it took itself. That is a chain of references, and
    following a reference's reference doubles the length followed.
    """
    n, pixels = len(key), height * width
    tall, wide = height - 2 * farthest, width - 2 * farthest
    place = torch.arange(pixels, device=key.device).view(1, height, width)
    # References under `pixels` are to what a pixel took, those from `pixels` to what it had.
    reference = (place + pixels).repeat(n, 1, 1)
    if tall > 0 and wide > 0:
        inside = (..., slice(farthest + 1, height - farthest + 1), slice(farthest + 1, width - farthest + 1))
        draw = rng.bits(key, (tall, wide))
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
