"""The size of a cue beside a ball: robust training only removes cues inside the ball."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.cues import Cue, for_samples
from robustest.data import Samples, as_samples
from robustest.errors import ConfigError, expected
from robustest.threats import Threat, within

_LOOKED_AT = 512


@dataclass(frozen=True, slots=True)
class CueFit:
    """The size of a cue beside the radius of a ball.

    Attributes:
        inside: share of samples, in 0..1, whose pair (cue off, cue on) is no further apart than the radius.
        median, largest: distances of pairs, in the threat's norm.
        radius: the threat's radius.
    """

    inside: float
    median: float
    largest: float
    radius: float

    @property
    def fits(self) -> bool:
        return self.inside == 1


def cue_fit(cue: Cue, threat: Threat, data: object, *, bounds: tuple[float, float] = (0.0, 1.0)) -> CueFit:
    """Compare a cue's size with a ball's radius, on at most 512 samples.

    Training for a ball teaches a model to ignore changes inside it, but gives no reason to ignore others.

    Args:
        threat: a norm ball.
        data: samples, as for `measure_robust_accuracy`.
        bounds: smallest and largest input value.

    Raises:
        ConfigError: the threat's proposals are no inputs (a patch, a pose), so that cues have no size in it.
    """
    samples = data if isinstance(data, Samples) else as_samples(data)
    ids = rng.permutation(0, len(samples))[:_LOOKED_AT]
    x, _ = samples.take(ids)
    here = for_samples(cue, ids)
    off, on = here.off(x.clone()), here.on(x.clone())
    region = threat.region(off, bounds)
    if threat.origin(region).shape != x.shape or not torch.equal(threat.render(on, region), on):
        raise ConfigError(expected("a ball of inputs (Linf, L2, L1 or L0), in which a cue has a size", threat))
    size: Tensor = threat.size(on, region)
    return CueFit(
        inside=float(within(size, threat).double().mean()),
        median=float(size.median()),
        largest=float(size.max()),
        radius=threat.radius,
    )


def check_fit(cue: Cue, threat: Threat, data: object, bounds: tuple[float, float]) -> None:
    """Raise ConfigError for a cue with a pair outside the ball."""
    fit = cue_fit(cue, threat, data, bounds=bounds)
    if not fit.fits:
        raise ConfigError(
            f"Expected a cue inside {threat} but {cue.name} has size {fit.median:.4g} (median; {fit.inside:.0%} of "
            "samples are inside). Training for a ball does not take away what lies outside it, and can make a model "
            "rely on it more. Use counterfactual_training or last_layer_retraining, or a wider ball."
        )
