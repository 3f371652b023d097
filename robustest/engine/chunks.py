"""The unit of work: a chunk of samples, read and checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.data import Samples
from robustest.engine.evaluator import Evaluator
from robustest.engine.health_checks.hints import hints
from robustest.errors import DataError, ModelError
from robustest.threats import Bounds

_SMALLEST, _LARGEST = 64, 512
_SHARE = 4
"""A chunk is at most this fraction of what was read before it: an early verdict reads little beyond its point."""
EXACT = 2**24
"""Whole numbers below it are float32 numbers, each of them."""
_PROBE = 8
"""Samples that the checks of the forward pass twice, and once more among other neighbours."""
_ASKED_BESIDE = 2
"""Samples that are asked among others of another kind, where a claim has two."""
_APART = 0.05
"""Answers differ where a logit moves by this share of the usual lead; batches alone move last bits."""
_READ_TWICE = 16
"""Samples that the check for data that change reads twice."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples with what their randomness needs; rows are in the order they are looked at.

    Attributes:
        ids: (n,) int64 on the CPU, indices in the user's data.
        x: (n, *S) float32 on the device, inside the bounds.
        y: (n, *T) on the device, the targets of the task: (n,) int64 classes in classification.
        key: (n,) int64 on the device, keys of the samples' randomness.
        bounds: the input's bounds.
    """

    ids: Tensor
    x: Tensor
    y: Tensor
    key: Tensor
    bounds: Bounds

    def rows(self, which: Tensor) -> Chunk:
        """The chunk of the rows at `which` (m,) int64."""
        return Chunk(self.ids[which.cpu()], self.x[which], self.y[which], self.key[which], self.bounds)


def partition(order: Tensor) -> Iterator[Tensor]:
    """The chunks of an order of samples: small at first, so that an early verdict is cheap, then growing.

    It depends on the place in the order alone, never on workers, batches or memory, nor on where a run stops.
    """
    start = 0
    while start < len(order):
        size = min(_LARGEST, max(_SMALLEST, start // _SHARE // _SMALLEST * _SMALLEST))
        yield order[start : start + size]
        start += size


def load(
    samples: Samples, ids: Tensor, *, bounds: Bounds, seed: int, device: torch.device, whole: bool = False
) -> Chunk:
    """Read samples by index and check them.

    Args:
        samples: the data.
        ids: (n,) int64, their positions.
        bounds: of the inputs.
        seed: of their randomness.
        device: where they go.
        whole: whether inputs may be whole numbers, which have no gradient and are in no ball.

    Raises:
        DataError: NaN, infinite or out-of-bounds values, or as many labels as samples are not there.
    """
    x, y = samples.take(ids)
    if len(x) != len(ids) or len(y) != len(ids):
        raise DataError(f"Expected {len(ids)} samples and labels but the data gave {len(x)} and {len(y)}.")
    if x.ndim < 2:
        raise DataError(f"Expected samples of one axis or more but got a number for each, {tuple(x.shape)} in all.")
    if not x.is_floating_point():
        x, bounds = _whole(x, bounds, whole)
    finite = torch.isfinite(x).flatten(1).all(1)
    if not bool(finite.all()):
        raise DataError(f"Expected finite inputs but sample {_first(ids, ~finite)} has NaN or infinite values.")
    low, high = bounds
    outside = ((x < low) | (x > high)).flatten(1).any(1)
    if bool(outside.any()):
        raise DataError(
            f"Expected inputs inside the bounds [{low:g}, {high:g}] but sample {_first(ids, outside)} spans "
            f"[{float(x.min()):.4g}, {float(x.max()):.4g}] (this chunk). Pass bounds=(low, high), or give raw inputs "
            "and pass the normalisation as preprocessing=(mean, std)."
        )
    x, y = x.to(device), y.to(device)
    return Chunk(ids, x, y, rng.keys(seed, ids).to(device), bounds)


def _whole(x: Tensor, bounds: Bounds, allowed: bool) -> tuple[Tensor, Bounds]:
    """Whole numbers (n, *S) int64 as float32, and their bounds, which nobody gave.

    Raises:
        DataError: the claim needs numbers that can move by less than one, or float32 cannot hold these.
    """
    if not allowed:
        raise DataError(
            "Expected floating-point inputs but got torch.int64: this claim moves inputs by fractions of one. Divide "
            "8-bit images by 255, give floats and their bounds=(low, high), or claim groups, transfer, cues or shifts."
        )
    if int(x.abs().max()) >= EXACT:
        raise DataError(f"Expected whole numbers below {EXACT:,} but got {int(x.abs().max()):,}.")
    return x.float(), (-float(EXACT), float(EXACT)) if bounds == (0.0, 1.0) else bounds


def check_data(samples: Samples, ids: Tensor) -> None:
    """Read the first few samples twice: a verdict on samples that are others each time could not be repeated.

    Args:
        samples: the data.
        ids: (n,) int64, positions in the order in which they are looked at.

    Raises:
        DataError: values, shapes or labels differ.
    """
    few = ids[:_READ_TWICE]
    for first, again in zip(samples.take(few), samples.take(few), strict=True):
        if first.shape != again.shape:
            raise DataError(_vanishing(f"shapes {tuple(first.shape)} and {tuple(again.shape)}"))
        others = ~torch.isclose(first, again, rtol=0, atol=0, equal_nan=True).flatten(1 if first.ndim > 1 else 0)
        others = others.any(1) if others.ndim > 1 else others
        if bool(others.any()):
            told = f"{int(others.sum())} of {len(few)} were others, the first of them {_first(few, others)}"
            raise DataError(_vanishing(told))


def _vanishing(got: str) -> str:
    return (
        f"Expected the data to give the same samples when they are read twice but got: {got}. Switch off random "
        "transforms (crops, flips, noise) and draws in __getitem__, or collect the samples into (x, y) first."
    )


def check_forward(evaluator: Evaluator, chunk: Chunk, suppress: Collection[str], *, first_of_all: bool = True) -> None:
    """Pass the first few samples again: labels, logits, a forward that answers the same, whatever stands beside.

    Args:
        evaluator: asks the model.
        chunk: the samples.
        suppress: names of health checks that shall not stop a claim.
        first_of_all: whether the order begins with these samples. Hints speak of such alone: a run that is resumed,
            or a worker that joins in, begins elsewhere and must tell the same.

    Raises:
        DataError: labels outside the model's classes.
        ModelError: the logits differ between two passes in eval mode.
    """
    x, y = chunk.x[:_PROBE], chunk.y
    if evaluator.model.reset is not None:  # a model that adapts answers otherwise each time, and is measured fresh
        evaluator.logits(x)
        evaluator.check_labels(y)
        evaluator.model.reset()
        return
    first, second = evaluator.logits(x), evaluator.logits(x)
    evaluator.check_labels(y)
    evaluator.check_first(first)
    if first_of_all:
        evaluator.notes += [hint for hint in hints(evaluator, chunk, first) if hint not in evaluator.notes]
    if "random_forward" in suppress:
        return
    if not torch.allclose(first, second, rtol=1e-4, atol=1e-5):
        apart = float((first - second).abs().max())
        raise ModelError(
            f"random_forward: expected the same answer twice but logits differ by up to {apart:.3g} in eval mode. "
            "Switch off dropout or noise in forward; a verdict on one draw could not be repeated. A "
            "model that adapts to "
            "what it is shown is told of by robustest.adapting(model)."
        )
    evaluator.health.beside += len(x)
    evaluator.health.beside_apart += int(_moved_beside(evaluator, x, first, chunk.bounds).sum())


def check_beside(evaluator: Evaluator, x: Tensor, logits: Tensor, others: Tensor) -> None:
    """Whether the first inputs (n, *S) are answered as they were, (n, *O), each alone among others of another kind.

    One among many: what is of the batch is then of the others.
    """
    usual = usual_lead(evaluator, logits[:_PROBE])
    for at in range(min(_ASKED_BESIDE, len(x))):
        one = slice(at, at + 1)
        again = evaluator.logits(torch.cat([others, x[one]]))[-1:]
        evaluator.health.beside += 1
        evaluator.health.beside_apart += int(moved(evaluator, logits[one], again, usual).sum())


def moved(evaluator: Evaluator, before: Tensor, after: Tensor, usual: Tensor) -> Tensor:
    """(n,) bool: logits (n, *O) that changed by more than rounding does where leads are usually so large."""
    change = after - before
    if evaluator.task.one_class:  # what all logits share decides nothing
        change = change - change.mean(1, keepdim=True)
    return change.flatten(1).abs().amax(1) > _APART * usual


def usual_lead(evaluator: Evaluator, logits: Tensor) -> Tensor:
    """By how much the largest of logits (n, K) usually leads; the spread of outputs that are no logits of one class."""
    least = 1e-3 * float(logits.abs().max())
    if evaluator.task.one_class:
        lead = logits.topk(2, 1).values
        return (lead[:, 0] - lead[:, 1]).median().clamp(min=least)
    return logits.std(correction=0).clamp(min=least)


def _moved_beside(evaluator: Evaluator, x: Tensor, logits: Tensor, bounds: Bounds) -> Tensor:
    """(n,) bool: samples that are answered otherwise in another order, or the first and the last of them alone."""
    found, usual = torch.zeros(len(x), dtype=torch.bool, device=x.device), usual_lead(evaluator, logits)
    others = x.flip(0) if len(x) > 1 else torch.cat([sum(bounds) - x, x])
    seen = [(torch.arange(len(x), device=x.device), evaluator.logits(others).flip(0)[: len(x)])]
    for row in {0, len(x) - 1} if len(x) > 1 else ():
        seen.append((torch.tensor([row], device=x.device), evaluator.logits(x[row : row + 1])))
    for rows, again in seen:
        found[rows] |= moved(evaluator, logits[rows], again, usual)
    return found


def _first(ids: Tensor, mask: Tensor) -> int:
    return int(ids[mask.nonzero()[0, 0]])
