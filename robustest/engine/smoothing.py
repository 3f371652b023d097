"""A model's answers under Gaussian noise, counted."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest.engine.answer_checks import moved, usual_lead
from robustest.engine.evaluator import Evaluator

_PART = 100
"""Noisy inputs of one pass, whatever the batch size may hold: what is drawn must not depend on it."""
_ALONE = 2
"""Of each sample's noisy inputs, how many are passed on their own too: votes count each answer as a draw of its own."""


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
        logits = evaluator.logits(noisy)
        if not start and len(noisy) > 1:
            _check_alone(evaluator, noisy[:_ALONE], logits)
        answers = evaluator.task.predictions(logits)
        votes += torch.bincount(answers, minlength=evaluator.classes)
    return votes


def _check_alone(evaluator: Evaluator, noisy: Tensor, among: Tensor) -> None:
    """Count inputs (n, *S) that are answered otherwise than among others, whose logits come first in `among`.

    A model that takes the mean of a batch takes the noise out of one of noisy copies.
    """
    alone = torch.cat([evaluator.logits(one) for one in torch.split(noisy, 1)])
    apart = moved(evaluator, among[: len(noisy)], alone, usual_lead(evaluator, alone))
    evaluator.health.count("batch_dependence", failed=int(apart.sum()), tried=len(noisy))
