"""Scores that hide the way to the boundary: rounded, saturated, clipped or remembered ones, found by what queries
changed.
"""

# A search without gradients learns from the change of a score. Where scores are rounded to decimals, saturated, clipped
# to a plateau, or answers to an earlier input nearby, most queries change no bit, and the search draws at random: that
# it found nothing says nothing. For a sample that such a search left, with q queries of an input other than the one
# before, of which s changed no score:
#
# 1. It is suspect if s / q is at least `_STILL`.
# 2. A score may also stay because the model does not read what a query changed: few weights of many, words out of a
#    vocabulary. Where inputs are numbers, every element is moved a little, at once, which changes any smooth score; the
#    sample is blind if one of a few such moves changes none. Elsewhere all scores must lie on a grid of decimals, and
#    the changes that occurred be a few steps of that grid.
# 3. Trees, their ensembles and nearest neighbours are constant in regions by nature. Their steps are the model, not a
#    rounding in front of it, and are searched as before.
#
# Labels then search the boundary (HopSkipJump). That counts where its queries are enough for the number of features.
# Elsewhere labels can only break a sample, and are asked as often as the search asked: the other blind samples are
# failures of the health check `blind_scores`.

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import HopSkipJump, Needs, searches, supports
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import SearchOutcome, Still, search
from robustest.models.classifier import constant_by_nature
from robustest.tasks import top_of
from robustest.threats import Threat, is_discrete

# Share of queries that change no score; sound models that are smooth have next to none.
_STILL = 0.05
# Moves of all elements at once, and their sizes, as shares of the bounds' width.
_MOVES = (0.002, 0.005, 0.01, 0.02)
# Decimals that scores may be rounded to, and the largest distance from the grid, in its steps: float32 rounds too.
_DECIMALS, _NEAR = 6, 0.05
# Changes of fewer steps of the grid are about as large as those that rounding hides.
_STEPS = 10.0
_BY_LABELS = HopSkipJump(queries=2000)


def search_blind(
    evaluator: Evaluator, threat: Threat, chunk: Chunk, found: SearchOutcome, *, still: Still, decided: Tensor
) -> int:
    """Search samples by labels that a search by blind scores left, and count those that this does not settle.

    Args:
        found: the outcome so far, to which the search by labels adds.
        still: the changes that queries made.
        decided: (N,) bool: samples of which every input was evaluated.

    Returns:
        The number of samples that labels broke.
    """
    left = ~found.broken & ~decided.to(found.broken.device)
    if evaluator.model.gives is not Needs.SCORES or evaluator.random or not top_of(evaluator.task):
        return 0
    evaluator.health.count("blind_scores", failed=0, tried=int((~found.broken).sum()))
    suspect = (left & (still.flat >= _STILL * still.asked) & (still.flat > 0)).nonzero().squeeze(1)
    if not len(suspect) or constant_by_nature(evaluator.model):
        return 0
    part = chunk.rows(suspect)
    counts = searches(_BY_LABELS, threat, chunk.x[0].numel())
    limited = evaluator.model.max_queries is not None  # the searches before have taken all queries
    if limited:
        blind = still.flat[suspect] >= still.asked[suspect]
    elif is_discrete(threat):
        blind = _on_grid(evaluator, part, still, suspect)
    else:
        blind = _unmoved(evaluator, part)
    rows = suspect[blind]
    broke = 0
    if len(rows) and supports(_BY_LABELS, threat) and not limited:
        key, by_labels = rng.fold(chunk.key[rows], "boundary by labels"), _BY_LABELS
        if not counts:
            by_labels = replace(_BY_LABELS, queries=max(1, min(_BY_LABELS.queries, int(still.asked[rows].max()))))
        again = search(evaluator, by_labels, threat, chunk.x[rows], chunk.y[rows], key=key, bounds=chunk.bounds)
        evaluator.require_finite()
        found.merge(again, rows, again.broken.nonzero().squeeze(1))
        broke = int(again.broken.sum())
        rows = rows[~again.broken]
        if counts:
            return broke
    evaluator.health.count("blind_scores", failed=len(rows), tried=0)
    if len(rows):
        asked, flat = float(still.asked[rows].sum()), float(still.flat[rows].sum())
        evaluator.note(
            f"blind_scores: {flat / max(1.0, asked):.0%} of the queries around such samples changed no bit of a score"
        )
    return broke


def _unmoved(evaluator: Evaluator, part: Chunk) -> Tensor:
    """Return (n,) bool: samples of which one of a few small moves of all elements changes no score."""
    (low, high), own = part.bounds, evaluator.logits(part.x)
    flat = torch.zeros(len(part.x), dtype=torch.int64, device=part.x.device)
    for number, size in enumerate(_MOVES):
        key = rng.fold(part.key, f"move {number}")
        # Of different lengths: in a model that reads means, as many equal moves up as down cancel out.
        way = rng.signs(key, part.x.shape[1:]) * rng.uniform(rng.fold(key, "length"), part.x.shape[1:], 0.5, 1.5)
        moved = evaluator.logits((part.x + size * (high - low) * way).clamp(low, high))
        flat += (moved == own).all(1)
    return flat > 0


def _on_grid(evaluator: Evaluator, part: Chunk, still: Still, rows: Tensor) -> Tensor:
    """Return (n,) bool: samples whose scores are rounded to decimals that the search's changes hardly exceed."""
    scores = evaluator.logits(part.x).double()
    moves = still.asked[rows] - still.flat[rows]
    change = still.change[rows] / moves.clamp(min=1)
    for decimals in range(_DECIMALS + 1):
        steps = scores * 10.0**decimals
        if bool(((steps - steps.round()).abs() <= _NEAR).all()):
            return (change <= _STEPS * 10.0**-decimals) | (moves == 0)
    return torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
