"""Adversarial training on the worst inputs that a threat allows, searched anew in every step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import torch
from torch import Tensor

from robustest import rng
from robustest.cues import Cue, for_samples
from robustest.data import Samples, as_samples
from robustest.errors import ConfigError, expected
from robustest.packs import Chunk, ascend
from robustest.threats import L1, L2, Linf, Rows, Threat, filled, per_row, within
from robustest_training.repair.log import Repaired
from robustest_training.repair.trainer import Method, Trainer
from robustest_training.repair.training import Training, TrainingOptions

# Comparison of a cue's size with a ball's radius: robust training only removes cues inside the ball.


_LOOKED_AT = 512


@dataclass(frozen=True, slots=True)
class CueFit:
    """A cue's size compared with the radius of a ball.

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
        ConfigError: the threat's proposals are not inputs (but patches or poses), so a cue has no size in it.
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
            "samples are inside). Training for a ball does not remove a cue outside it, and can make a model rely "
            "on it more. Use counterfactual_training or last_layer_retraining, or a wider ball."
        )


Way = Literal["pgd", "fast", "free"]
_WAYS = ("pgd", "fast", "free")
# FGSM's step in units of the radius, from a random start (Wong, Rice and Kolter, section 4).
_FAST_STEP = 1.25


def adversarial_training(
    model: object,
    data: object,
    threat: Threat,
    *,
    method: Way = "pgd",
    steps: int | None = None,
    widening: float = 1 / 3,
    cue: Cue | None = None,
    **options: Unpack[TrainingOptions],
) -> Repaired:
    """Train on adversarial examples, from the weights that the model has.

    - "pgd": projected gradient steps from a random start (Madry et al., ICLR 2018, section 2); costs `steps` + 1 times
      plain training.
    - "fast": one step of 1.25 eps from a random start (Wong, Rice and Kolter, "Fast is better than free", ICLR 2020);
      costs twice plain training. It may suddenly overfit to its step: measure the result with an attack of more steps.
    - "free": each batch is trained on `steps` times, and each gradient moves the inputs as well (Shafahi et al.,
      NeurIPS 2019); an epoch costs as much as `steps` plain epochs, so train for fewer.

    Args:
        model: a torch module, or a `Classifier` of one; it stays unchanged.
        data: samples to train on, as for `measure_robust_accuracy`.
        threat: any threat of `robustest`, or a subclass of `Threat`.
        method: as above.
        steps: gradient steps per batch, >= 1; None takes 7, or 4 for "free"; 1 for "fast".
        widening: share of the training, in [0, 1), over which the radius grows from 0: a model learns little from a
            wide ball at once.
        cue: a cue to unlearn; it must fit inside the ball: a trained model relies on a larger cue as much as before,
            and often more.
        options: as in `TrainingOptions`.

    Returns:
        The new model and the log.

    Raises:
        ConfigError: an argument is out of range, the model is no torch module, or the cue is larger than the threat.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
        StoreError: the checkpoint is of another training, is damaged, or cannot be written.
    """
    if not isinstance(threat, Threat) or isinstance(threat, type):
        raise ConfigError(expected("a threat such as Linf(0.1)", threat))
    if method not in _WAYS:
        raise ConfigError(expected(f"method to be one of {', '.join(_WAYS)}", method))
    steps = {"pgd": 7, "fast": 1, "free": 4}[method] if steps is None else steps
    if type(steps) is not int or steps < 1 or (method == "fast" and steps != 1):
        raise ConfigError(expected("steps to be 1" if method == "fast" else "steps to be a whole number >= 1", steps))
    if isinstance(widening, bool) or not isinstance(widening, (int, float)) or not 0 <= widening < 1:
        raise ConfigError(expected("widening in [0, 1)", widening))
    samples = as_samples(data)
    training = Training.of(options)
    if cue is not None:
        check_fit(cue, threat, samples, training.classifier(model).bounds)
    return training.repair(
        model, samples, Adversarial(threat=threat, way=method, steps=steps, widening=float(widening))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversarial(Method):
    """Training on the worst inputs of a threat; see `adversarial_training`."""

    threat: Threat
    way: Way
    steps: int
    widening: float

    @property
    def name(self) -> str:
        return f"adversarial training ({self.way}) under {self.threat}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"threat": str(self.threat), "method": self.way, "steps": self.steps, "widening": self.widening}

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        threat = narrowed(self.threat, trainer.share / self.widening) if self.widening else self.threat
        if self.way == "free":
            self._free(trainer, batch, threat)
            return
        fast = self.way == "fast" and isinstance(threat, Linf)

        def away(logits: Tensor, part: slice) -> Tensor:
            return trainer.evaluator.task.losses["ce"](logits, batch.y[part])

        worst = ascend(
            trainer.evaluator,
            threat,
            batch.x,
            away,
            bounds=batch.bounds,
            steps=self.steps,
            step_size=_FAST_STEP * threat.radius if fast else None,
            key=batch.key,
        )
        trainer.descend(worst, batch.y)

    def _free(self, trainer: Trainer, batch: Chunk, threat: Threat) -> None:
        # The perturbation starts at random with each batch; the paper keeps the last batch's.
        region = threat.region(batch.x, batch.bounds)
        z, size = (
            threat.start(region, batch.key),
            threat.stride(region),
        )  # each step is as long as the radius, as in the paper
        for _ in range(self.steps):
            point = z.detach().requires_grad_(True)
            gradient = trainer.descend(threat.render(point, region), batch.y, to=point)
            if gradient is not None:
                z = threat.project(z + _step(threat, region, gradient, size, z), region)


def _step(threat: Threat, region: Rows, gradient: Tensor, size: Tensor, z: Tensor) -> Tensor:
    """Return the step of proposals z (N, *Z) along a gradient, each of length `size` (N,)."""
    if isinstance(threat, L1):  # the steepest step is along one element, and often past its bound
        return filled(gradient, z, region, size)
    return per_row(size, z) * threat.ascent(gradient)


def narrowed(threat: Threat, share: float) -> Threat:
    """Return a ball with this share of its radius, at most the whole radius; other threats stay unchanged."""
    if share >= 1 or not isinstance(threat, (Linf, L2, L1)):
        return threat
    return replace(threat, eps=threat.eps * share)
