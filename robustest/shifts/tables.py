"""The parameters of the corruptions by severity and image size, and the frame that every shift shares.

The corruptions and their parameters are those of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations" (ICLR 2019), and of the authors' scripts, which make ImageNet-C (images of 224
pixels), Tiny-ImageNet-C (64) and CIFAR-10-C (32).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from robustest import devices
from robustest.checks import checked_severity, require
from robustest.errors import ConfigError, expected

P = TypeVar("P")

LARGE, MEDIUM = 65, 49
"""Pixels of the longer side from which the parameters for 224, and for 64, are taken."""

PARAMETERS = ("auto", "224", "64", "32")
"""Values of `parameters`: chosen by the image's size, or one of the three sets."""


@dataclass(frozen=True, slots=True)
class SeverityTable(Generic[P]):
    """The parameters of a shift at severities 1 to 5, for images of 224, 64 and 32 pixels.

    Without `medium` and `small`, `large` is for all sizes.
    """

    large: tuple[P, P, P, P, P]
    medium: tuple[P, P, P, P, P] | None = None
    small: tuple[P, P, P, P, P] | None = None

    def at(self, severity: int, height: int, width: int, parameters: str) -> P:
        """Return the value for a severity and an image size."""
        checked_severity(severity)
        require(parameters in PARAMETERS, 'parameters to be "auto", "224", "64" or "32"', parameters)
        longer = max(height, width)
        size = "224" if longer >= LARGE else "64" if longer >= MEDIUM else "32"
        chosen = {"224": self.large, "64": self.medium, "32": self.small}[size if parameters == "auto" else parameters]
        return (chosen or self.large)[severity - 1]

    def pixels(self, value: P) -> int:
        """Return the size of the images that a value is for."""
        return 64 if value in (self.medium or ()) else 32 if value in (self.small or ()) else 224


Body = Callable[[Tensor, P, Tensor], Tensor]
"""Maps x (n, C, H, W) float32 in [0, 1], one severity's parameters and keys (n,) to images of the same shape.

It must not write on x. Its result may be x, and need not be in [0, 1].
"""

# Elements of a piece of a batch on a CPU: one colour image of 224 pixels, as a body has several tensors of its size at
# a time and all of them have to stay in the second cache. Pieces of three images took up to twice as long.
_CPU_ELEMENTS = 1 << 18

MANY_STEPS = 1 << 19
"""Elements of a piece on a CPU for a function of many steps on tensors that are smaller than the images."""

# Elements of a piece elsewhere.
_ELEMENTS = 1 << 26

# Images that were rescaled to [0, 1] may leave it by their rounding.
_ROUNDING = 1e-3


class Family(Protocol):
    """A built-in shift: a `ShiftFunction` that also takes a set of parameters."""

    __name__: str

    def __call__(self, x: Tensor, severity: int, key: Tensor, *, parameters: str = "auto") -> Tensor:
        """Return shifted images (N, C, H, W) in [0, 1], of x's type, computed in float32 without gradients.

        Args:
            x: (N, C, H, W) floats in [0, 1], on any device; not changed.
        """


def family(table: SeverityTable[P], *, cpu_elements: int = _CPU_ELEMENTS) -> Callable[[Body[P]], Family]:
    """Make a built-in shift of a function of one piece of a batch, with parameters by severity.

    Args:
        cpu_elements: of a piece on a CPU. More suit a function of many small steps, whose calls cost most.
    """

    def decorate(body: Body[P]) -> Family:
        @functools.wraps(body)
        def shift(x: Tensor, severity: int, key: Tensor, *, parameters: str = "auto") -> Tensor:
            require(x.ndim == 4, "images of shape (N, C, H, W) for a shift", tuple(x.shape))
            chosen = table.at(severity, x.shape[2], x.shape[3], parameters)
            out = torch.empty(x.shape, dtype=torch.float32, device=x.device)
            # The batch is worked on piece by piece, so that memory does not grow with it.
            limit = cpu_elements if devices.on_host(x) else _ELEMENTS
            step = max(1, limit // max(1, x[:1].numel()))
            with torch.no_grad():
                for start in range(0, len(x) if x.numel() else 0, step):
                    piece = x[start : start + step].to(torch.float32).contiguous()
                    # A user's function may call this one on inputs in other units, of which a clamp leaves nothing.
                    # In two passes, which are vectorised: torch's `aminmax` is not.
                    low, high = float(piece.amin()), float(piece.amax())
                    if low < -_ROUNDING or high > 1 + _ROUNDING:
                        mend = "Give the shift by its name, or use corrupt(..., bounds=): these rescale."
                        got = f"[{low:.4g}, {high:.4g}]"
                        raise ConfigError(expected(f"images in [0, 1] for {body.__name__}", got, mend))
                    made = body(piece, chosen, key[start : start + step])
                    torch.clamp(made, 0.0, 1.0, out=out[start : start + step])
                return out.to(x.dtype)

        del shift.__wrapped__  # `inspect.signature` would show the body's arguments
        return shift

    return decorate


# Standard deviation.
GAUSSIAN_NOISE = SeverityTable(
    (0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.08, 0.12, 0.15, 0.18), (0.04, 0.06, 0.08, 0.09, 0.10)
)

# Photons that a white pixel receives.
SHOT_NOISE = SeverityTable((60, 25, 12, 5, 3), (250, 100, 50, 30, 15), (500, 250, 100, 75, 50))

# Share of elements replaced.
IMPULSE_NOISE = SeverityTable(
    (0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.05, 0.08, 0.14), (0.01, 0.02, 0.03, 0.05, 0.07)
)

# Standard deviation, as a share of the element's value.
SPECKLE_NOISE = SeverityTable((0.15, 0.2, 0.35, 0.45, 0.6), (0.15, 0.2, 0.25, 0.3, 0.35), (0.06, 0.1, 0.12, 0.16, 0.2))

# Radius of the disk, and standard deviation of the Gaussian that smooths its rim.
DEFOCUS_BLUR = SeverityTable(
    ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
    ((0.5, 0.6), (1.0, 0.1), (1.5, 0.1), (2.5, 0.01), (3.0, 0.1)),
    ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
)

# Standard deviation of the blurs, farthest displacement, rounds of displacement.
GLASS_BLUR = SeverityTable(
    ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
)

# Radius and standard deviation of the half Gaussian.
MOTION_BLUR = SeverityTable(
    ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
    ((10, 1.0), (10, 1.5), (10, 2.0), (10, 2.5), (12, 3.0)),
    ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
)

# Step of the zoom factors, which begin at 1, and their number.
ZOOM_BLUR = SeverityTable(
    ((0.01, 12), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11)),
    ((0.01, 7), (0.01, 12), (0.01, 16), (0.01, 21), (0.01, 26)),
    ((0.01, 7), (0.01, 12), (0.01, 16), (0.01, 21), (0.01, 26)),
)

# Mean and standard deviation of the flakes' layer, its zoom, the threshold under which there is none, radius and
# standard deviation of the motion blur, and the weight of the image that is not whitened.
SNOW = SeverityTable(
    (
        (0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8),
        (0.2, 0.3, 2.0, 0.5, 12, 4.0, 0.7),
        (0.55, 0.3, 4.0, 0.9, 12, 8.0, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
    ),
    (
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.8),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.6),
    ),
    (
        (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
    ),
)

# Weights of the image and of the frost.
FROST = SeverityTable(
    ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    ((1.0, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
)

# Strength, and the factor by which each finer level of the fractal is weaker.
FOG = SeverityTable(
    ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    ((0.4, 3.0), (0.7, 3.0), (1.0, 2.5), (1.5, 2.0), (2.0, 1.75)),
    ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
)

# Added to the value (HSV).
BRIGHTNESS = SeverityTable((0.1, 0.2, 0.3, 0.4, 0.5), (0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3))

# Factor of the distance to the channel's mean.
CONTRAST = SeverityTable((0.4, 0.3, 0.2, 0.1, 0.05), (0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15))

# Size and smoothness of the displacement field, and farthest jitter of the affine map's three points; pixels.
ELASTIC_TRANSFORM = SeverityTable(
    ((488.0, 170.8, 24.4), (488.0, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88)),
    ((0.0, 0.0, 5.12), (3.2, 19.2, 3.84), (6.4, 5.12, 3.84), (6.4, 1.92, 1.92), (10.24, 1.92, 1.28)),
    ((0.0, 0.0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
)

# Share of each side's pixels that is left.
PIXELATE = SeverityTable((0.6, 0.5, 0.4, 0.3, 0.25), (0.9, 0.8, 0.7, 0.6, 0.5), (0.95, 0.9, 0.85, 0.75, 0.65))

# Quality.
JPEG_COMPRESSION = SeverityTable((25, 18, 15, 10, 7), (65, 58, 50, 40, 25), (80, 65, 58, 50, 40))

# Standard deviation.
GAUSSIAN_BLUR = SeverityTable((1.0, 2.0, 3.0, 4.0, 6.0), (0.5, 0.75, 1.0, 1.25, 1.5), (0.4, 0.6, 0.7, 0.8, 1.0))

# Mean and standard deviation of the liquid's layer, its smoothness, the threshold under which there is none, the
# intensity of water or the smoothness of mud, and whether it is mud.
SPATTER = SeverityTable(
    (
        (0.65, 0.3, 4.0, 0.69, 0.6, False),
        (0.65, 0.3, 3.0, 0.68, 0.6, False),
        (0.65, 0.3, 2.0, 0.68, 0.5, False),
        (0.65, 0.3, 1.0, 0.65, 1.5, True),
        (0.67, 0.4, 1.0, 0.65, 1.5, True),
    ),
    (
        (0.62, 0.1, 0.7, 0.7, 0.6, False),
        (0.65, 0.1, 0.8, 0.7, 0.6, False),
        (0.65, 0.3, 1.0, 0.69, 0.6, False),
        (0.65, 0.1, 0.7, 0.68, 0.6, True),
        (0.65, 0.1, 0.5, 0.67, 0.6, True),
    ),
    (
        (0.62, 0.1, 0.7, 0.7, 0.5, False),
        (0.65, 0.1, 0.8, 0.7, 0.5, False),
        (0.65, 0.3, 1.0, 0.69, 0.5, False),
        (0.65, 0.1, 0.7, 0.69, 0.6, True),
        (0.65, 0.1, 0.5, 0.68, 0.6, True),
    ),
)

# Factor of the saturation (HSV), and the number added to it.
SATURATE = SeverityTable(
    ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
    ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (30.0, 0.2)),
    ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
)
