"""Models that answer at random: their draws seeded, their answers judged by the majority."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from robustest import rng
from robustest.engine.evaluator import Evaluator


def seed_draws(key: Tensor) -> None:
    """Put the global generators where these samples' keys say, so that a model's own draws can be repeated.

    Only inside `robustest.models.frozen`, which puts them back. What a model draws then depends on the samples
    and the order of its passes, hence on the batch size.

    Args:
        key: (n,) int64, the keys of a chunk's samples, on the device of the model.
    """
    seed = int(rng.fold(key, "model").sum())
    torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
    if key.device.type == "cuda":
        torch.cuda.set_rng_state(torch.Generator(key.device).manual_seed(seed).get_state(), key.device)
    random.setstate(random.Random(seed).getstate())  # noqa: S311 - no secrets here
    np.random.set_state(np.random.RandomState(seed % 2**32).get_state())


def majority(evaluator: Evaluator, x: Tensor, y: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Judge inputs on fresh draws.

    Args:
        evaluator: makes the model's passes.
        x: (N, *S) inputs.
        y: (N,) labels.
        draws: passes of each input.

    Returns:
        (N,) int64, the label or, where more than half of the draws are misclassified, the other class that most
        of them gave; and (N,) int64, how many were misclassified.
    """
    votes = torch.zeros(len(y), evaluator.classes, dtype=torch.int64, device=y.device)
    for _ in range(draws):
        answer = evaluator.task.predictions(evaluator.logits(x)).unsqueeze(1)
        votes.scatter_add_(1, answer, torch.ones_like(answer))
    at = y.unsqueeze(1)
    missed = draws - votes.gather(1, at).squeeze(1)
    other = votes.scatter(1, at, -1).argmax(1)  # of votes, not of logits
    return torch.where(2 * missed > draws, other, y), missed
