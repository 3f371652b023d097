"""Errors to be expected of samples at the edge of their class, which a failure direction has to go beyond.

An ordinary error is of a sample that looks like another class. A sound model makes such errors too, and a direction
towards the other class tells them from hits. How much a sample looks like its class is asked of a linear classifier of
the embeddings, fitted to the labels of other samples; never of the model. How often the model is wrong where samples
look like that is a logistic regression within the class, of which less evidence may only mean more errors.

Errors are then compared with hits by overlap weights (Li, Morgan and Zaslavsky, Journal of the American Statistical
Association 2018): an error counts by its foreseen chance to be a hit, and a hit by its chance to be an error. Where all
chances are alike, these are the weights of a balanced machine.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustest import rng

_PENALTY = 10.0  # of the classifier, on rows of length sqrt(D)
_SLOPE_PENALTY = 0.1  # keeps the regression finite where the evidence tells errors from hits
_NEWTON_STEPS = 12
_LEAST = 0.01  # no error is foreseen, or ruled out, with more certainty than that


def class_evidence(rows: Tensor, labels: Tensor, keys: Tensor, *, folds: int) -> Tensor:
    """(N,) how much more each row looks like its own class than like the next one; >= 0 would be classified right.

    Least squares on targets -1 and 1 with a ridge, one output a class, fitted on the folds that a row is not in.

    Args:
        rows: (N, D) of unit length.
        labels: (N,) int64.
        keys: (N,) int64, which draw the folds.
        folds: >= 2.
    """
    n, wide = rows.shape
    x = torch.cat([rows.double() * wide**0.5, rows.new_ones(n, 1).double()], 1)
    targets = 2 * torch.nn.functional.one_hot(labels, max(2, int(labels.max()) + 1)).to(x) - 1
    fold = torch.empty_like(labels)
    fold[rng.uniform(keys, (1,)).flatten().argsort()] = torch.arange(n, device=labels.device) % folds
    ridge = _PENALTY * torch.eye(wide + 1, dtype=x.dtype, device=x.device)
    ridge[-1, -1] = 1e-6  # the intercept is free: where there is one class only, nothing looks like another
    outputs = torch.empty_like(targets)
    for k in range(folds):
        fitted, out = x[fold != k], fold == k
        outputs[out] = x[out] @ torch.linalg.solve(fitted.T @ fitted + ridge, fitted.T @ targets[fold != k])
    own = outputs.gather(1, labels.unsqueeze(1))
    others = outputs.scatter(1, labels.unsqueeze(1), -torch.inf)
    evidence: Tensor = (own.squeeze(1) - others.amax(1)).to(rows)
    return evidence


def foreseen_errors(evidence: Tensor, errors: Tensor) -> Tensor:
    """(P, n) chances of an error, in 0.01..0.99: a logistic regression on the evidence for each of P sets of errors.

    Args:
        evidence: (n,) of one class.
        errors: (P, n) bool.
    """
    apart = evidence.double() - evidence.double().mean()
    x = (apart / apart.std(correction=0).clamp(min=1e-4)).clamp(-3, 3)
    y = errors.double()
    weight = torch.zeros(2, len(y), dtype=x.dtype, device=x.device)  # intercepts and slopes
    weight[0] = torch.logit(y.mean(1), eps=_LEAST)
    for _ in range(_NEWTON_STEPS):
        chance = torch.sigmoid(weight[0].unsqueeze(1) + weight[1].unsqueeze(1) * x)
        rest, spread = chance - y, (chance * (1 - chance)).clamp(min=1e-6)
        g0, g1 = rest.sum(1), (rest * x).sum(1) + _SLOPE_PENALTY * weight[1]
        h00, h01, h11 = spread.sum(1), (spread * x).sum(1), (spread * x * x).sum(1) + _SLOPE_PENALTY
        scale = h00 * h11 - h01 * h01
        weight = weight - torch.stack([(h11 * g0 - h01 * g1) / scale, (h00 * g1 - h01 * g0) / scale]).clamp(-2, 2)
    # Errors where evidence is strongest are not ordinary: a minority that fails may be easy to tell from other classes.
    flat = torch.stack([torch.logit(y.mean(1), eps=_LEAST), torch.zeros_like(weight[1])])
    weight = torch.where(weight[1] <= 0, weight, flat)
    found: Tensor = torch.sigmoid(weight[0].unsqueeze(1) + weight[1].unsqueeze(1) * x).clamp(_LEAST, 1 - _LEAST)
    return found.float()


def overlap_weights(chances: Tensor, errors: Tensor) -> Tensor:
    """(P, n) weights, 1 on average: what compares errors with hits as if both had been foreseen alike.

    Args:
        chances: (P, n) of an error.
        errors: (P, n) bool.
    """
    weights = torch.where(errors, 1 - chances, chances)
    return weights / weights.mean(1, keepdim=True)


def redrawn_errors(chances: Tensor, keys: Tensor, count: int) -> Tensor:
    """(n,) bool: as many errors again, drawn as foreseen; where all chances are alike, a permutation.

    Each row's log-odds get logistic noise, and the `count` largest are errors: a logistic regression's own model of how
    errors come about, given how many there are.
    """
    noise = torch.logit(rng.uniform(keys, (1,)).flatten().double(), eps=1e-12)
    drawn = torch.zeros(len(chances), dtype=torch.bool, device=chances.device)
    drawn[(torch.logit(chances.double()) + noise).topk(count).indices] = True
    return drawn
