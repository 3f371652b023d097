"""Votes of a model under Gaussian noise: how often each class is the answer to x + sigma * e, e standard normal."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest.engine.answer_checks import moved, usual_lead
from robustest.engine.evaluator import Evaluator

_PART = 100
"""Noisy inputs of one pass, whatever the batch size: the draws must not depend on it."""
_ALONE = 2
"""Noisy inputs of each sample that are passed alone too: votes are counted as independent draws."""


def count_votes(evaluator: Evaluator, x: Tensor, key: Tensor, *, sigma: float, draws: int) -> Tensor:
    """Return (K,) int64: the number of draws that each class is the answer to an input under noise.

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
    """Count inputs (n, *S) whose answers alone differ from those among others, whose logits come first in `among`.

    A model that takes the mean of a batch takes the noise out of a batch of noisy copies.
    """
    alone = torch.cat([evaluator.logits(one) for one in torch.split(noisy, 1)])
    apart = moved(evaluator, among[: len(noisy)], alone, usual_lead(evaluator, alone))
    evaluator.health.count("batch_dependence", failed=int(apart.sum()), tried=len(noisy))
