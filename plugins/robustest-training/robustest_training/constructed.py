"""Data sets made of one kind of feature (Ilyas et al., "Adversarial examples are not bugs, they are features")."""

# `robustified` keeps of each image only the content of a network's features: robust ones of a robust network (D_R), any
# of a standard one (D_NR). `mislabelled` leaves images as they look, moves other features towards another class, and
# labels them so: D_rand and D_det. A network trained on these that does well on the unchanged test set has learned from
# features that people do not see.

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from robustest import as_classifier, rng
from robustest.data import as_samples
from robustest.errors import ConfigError, expected
from robustest.packs import (
    Chunk,
    Evaluator,
    Features,
    ascend,
    checked_real,
    checked_whole,
    number,
)
from robustest.threats import Threat
from robustest_training.trainings import Preprocessing, asked_on

# Share of the samples that must reach their target: the labels of the others match nothing in them.
_REACHED = 0.9
# Relative distance of features up to which an image counts as having those of its target.
_APART = 0.1


class Constructed(NamedTuple):
    """A constructed data set.

    Attributes:
        x: (N, *S) float32 on the CPU, inside the bounds; rows as in the given data.
        y: (N,) int64 labels to train with.
        reached: (N,) float32; for `mislabelled` 1 if the network predicts the label, else 0; for `robustified` the
            relative distance of the features from their target.
    """

    x: Tensor
    y: Tensor
    reached: Tensor


def robustified(
    model: object,
    data: object,
    *,
    layer: str | None = None,
    steps: int = 1000,
    step_size: float = 0.1,
    device: str = "auto",
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Constructed:
    """Return images that start at other images, drawn at random, and end at the features of each image.

    Normalised gradient descent on the distance of the features (section 3.1, appendix C). Features need few dimensions:
    a wide layer returns the images themselves. Warns if the features of more than a tenth of the images are further
    than 0.1 from their target.

    Args:
        model: a torch module, or a `Classifier` of one: a robust one for D_R, a standard one for D_NR.
        data: as for `measure_robust_accuracy`.
        layer: the linear layer whose inputs are the features; None takes the last.
        steps: gradient steps, >= 1.
        step_size: Euclidean length of the first step, in input units; it falls to 0.
        device, seed: as in `Recipe`.
        bounds, preprocessing: as for `robustest.as_classifier`.

    Raises:
        ConfigError: an argument is out of range, or the logits are no linear layer's outputs.
        ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    checked_whole("steps", steps, 1)
    checked_real("step_size", step_size, 1e-12)
    classifier, samples = as_classifier(model, bounds=bounds, preprocessing=preprocessing), as_samples(data)
    others = rng.permutation(seed, len(samples))
    x, y, apart = [], [], []
    with Evaluator.opened(classifier, asked_on(device)) as evaluator:
        first = next(Chunk.each(samples, evaluator, seed=seed, ids=torch.zeros(1, dtype=torch.int64)))
        features = Features.of(evaluator, first.x, layer=layer)
        for chunk in Chunk.each(samples, evaluator, seed=seed):
            start = next(Chunk.each(samples, evaluator, seed=seed, ids=others[chunk.ids])).x
            how: dict[str, Any] = {"steps": steps, "step_size": step_size}
            made, distance = features.inverted(start, features(chunk.x), bounds=chunk.bounds, **how)
            x.append(made.cpu())
            y.append(chunk.y.cpu())
            apart.append(distance.cpu())
    data_set = Constructed(torch.cat(x), torch.cat(y), torch.cat(apart))
    _warn_unless(data_set.reached <= _APART, f"have features within {_APART:g} of those aimed at (relative distance)")
    return data_set


def mislabelled(
    model: object,
    data: object,
    threat: Threat,
    *,
    labels: Literal["random", "next"],
    steps: int = 100,
    step_size: float | None = None,
    device: str = "auto",
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Constructed:
    """Return images moved a little towards another class of the network, and labelled as that class.

    Section 3.2: "random" classes (D_rand) match robust features by chance, "next" ones (D_det: y + 1) always contradict
    them. Warns if the model predicts fewer than 0.9 of the labels.

    Args:
        model: as for `robustified`: a standard one.
        data: as for `measure_robust_accuracy`.
        threat: the allowed change: `L2(0.5)` in the paper.
        labels: "random", the image's class among them, or "next".
        steps: gradient steps, >= 1.
        step_size: length of each step, in input units; None takes 2 * stride / steps.
        device, seed, bounds, preprocessing: as for `robustified`.

    Raises:
        As `robustified`.
    """
    checked_whole("steps", steps, 1)
    if labels not in ("random", "next"):
        raise ConfigError(expected('labels to be "random" or "next"', labels))
    classifier, samples = as_classifier(model, bounds=bounds, preprocessing=preprocessing), as_samples(data)
    x, y, hit = [], [], []
    with Evaluator.opened(classifier, asked_on(device)) as evaluator:
        for chunk in Chunk.each(samples, evaluator, seed=seed):
            # A first batch tells the number of classes, which labels are checked against.
            evaluator.logits(chunk.x[:1])
            evaluator.check_labels(chunk.y)
            made = moved_to_others(evaluator, threat, chunk, labels=labels, steps=steps, step_size=step_size)
            x.append(made.x.cpu())
            y.append(made.y.cpu())
            hit.append(made.reached.cpu())
    data_set = Constructed(torch.cat(x), torch.cat(y), torch.cat(hit))
    _warn_unless(data_set.reached == 1, "are taken for the class that they are labelled as")
    return data_set


def _warn_unless(reached: Tensor, what: str) -> None:
    share = float(reached.double().mean())
    if share < _REACHED:
        warnings.warn(
            f"Expected a constructed data set but only {number(share, _REACHED)} of the samples {what}: features "
            "learned from the "
            "others show nothing. Allow more steps or a larger change, or keep the rows that `reached` marks.",
            stacklevel=3,
        )


def moved_to_others(
    evaluator: Evaluator,
    threat: Threat,
    chunk: Chunk,
    *,
    labels: Literal["random", "next"],
    steps: int,
    step_size: float | None = None,
) -> Constructed:
    """Return a chunk of `mislabelled`, on the evaluator's device; the evaluator must have seen a batch."""
    if labels == "next":
        target = (chunk.y + 1) % evaluator.classes
    else:
        target = rng.integers(rng.fold(chunk.key, "target"), (1,), evaluator.classes).flatten()

    def towards(logits: Tensor, part: slice) -> Tensor:
        return -evaluator.task.losses["ce"](logits, target[part])

    made = ascend(evaluator, threat, chunk.x, towards, bounds=chunk.bounds, steps=steps, step_size=step_size)
    return Constructed(made, target, evaluator.task.holds(evaluator.logits(made), target).float())
