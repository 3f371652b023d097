"""Votes of a model under Gaussian noise: the number of times that each class answers x + sigma * e, e standard
normal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustest.engine.answer_checks import moved, usual_lead
from robustest.engine.evaluator import Evaluator

# Noisy inputs of one pass at any batch size: the draws must not depend on it.
_PART = 100
# Noisy inputs of each sample that are passed alone too: votes count as independent draws.
_ALONE = 2


def count_votes(evaluator: Evaluator, x: Tensor, key: Tensor, *, sigma: float, draws: int) -> Tensor:
    """Return (K,) int64 votes of `draws` answers to one input x (*S) under noise.

    Args:
        key: () int64, of the sample and the use of the draws.
        sigma: standard deviation in input units; noisy inputs may leave the bounds.
    """
    seed = int(key) % 2**63
    generator = torch.Generator(x.device).manual_seed(seed)
    votes = torch.zeros(evaluator.classes, dtype=torch.int64, device=x.device)
    for start in range(0, draws, _PART):
        shape = (min(_PART, draws - start), *x.shape)
        noisy = x + sigma * torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
        logits = evaluator.logits(noisy)
        if not start and len(noisy) > 1:
            # A model that takes the mean of a batch takes the noise out of a batch of noisy copies.
            alone = torch.cat([evaluator.logits(one) for one in torch.split(noisy[:_ALONE], 1)])
            apart = moved(evaluator, logits[: len(alone)], alone, usual_lead(evaluator, alone))
            evaluator.health.count("batch_dependence", failed=int(apart.sum()), tried=len(alone))
        answers = evaluator.task.predictions(logits)
        votes += torch.bincount(answers, minlength=evaluator.classes)
    return votes
