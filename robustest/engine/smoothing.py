"""A model's answers under Gaussian noise, counted."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest.engine.evaluator import Evaluator

_PART = 100
"""Noisy inputs of one pass, whatever the batch size may hold: what is drawn must not depend on it."""


def count_votes(evaluator: Evaluator, x: Tensor, key: Tensor, *, sigma: float, draws: int) -> Tensor:
    """(K,) int64: how often each class is the answer to an input under noise.

    Args:
        evaluator: makes the model's passes.
        x: (*S) one input.
        key: () int64 the key of these draws, of the sample and of their use.
        sigma: the noise's standard deviation, in input units; noisy inputs may leave the bounds.
        draws: answers.
    """
    seed = int(key) % 2**63
    generator = torch.Generator(x.device).manual_seed(seed)
    votes = torch.zeros(evaluator.classes, dtype=torch.int64, device=x.device)
    for start in range(0, draws, _PART):
        shape = (min(_PART, draws - start), *x.shape)
        noisy = x + sigma * torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
        answers = evaluator.task.predictions(evaluator.logits(noisy))
        votes += torch.bincount(answers, minlength=evaluator.classes)
    return votes
