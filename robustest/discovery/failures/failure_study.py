"""The search for a failure direction in one class, and in the errors that chance would have drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest import rng
from robustest.discovery.failures.foreseen import foreseen_errors, overlap_weights, redrawn_errors
from robustest.discovery.failures.svm import balanced, fit_machines

_PERMUTATIONS_AT_A_TIME = 10
_SLICE = 0.1  # of a class at most, and as many as it has errors at most: where an error rate is taken


class Study:
    """One class: its rows with a column of ones, folds, and the errors to be told."""

    def __init__(
        self,
        rows: Tensor,
        errors: Tensor,
        members: Tensor,
        evidence: Tensor,
        *,
        folds: int,
        costs: tuple[float, ...],
        seed: int,
    ) -> None:
        self.rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        self.errors, self.members, self.evidence, self.folds, self.costs = errors, members, evidence, folds, costs
        self.count = int(errors.sum())
        self.slice = min(self.count, max(self.folds, round(_SLICE * len(rows))))
        self.chances = foreseen_errors(evidence, errors.unsqueeze(0))
        self.key = rng.fold(rng.keys(seed, members), "failure directions")
        scores, decisions = self.scored(self._folds(errors, self.key).unsqueeze(0), errors.unsqueeze(0), self.chances)
        best = int(scores[0].argmax())
        self.score, self.cost, self.decisions = float(scores[0, best]), costs[best], decisions[0, best]
        self.excess = float(self.excesses(self.decisions.unsqueeze(0), errors.unsqueeze(0), self.chances)[0])

    def drawn(self, numbers: range) -> Tensor:
        """(len(numbers),) excesses on errors drawn as foreseen."""
        keys = [rng.fold(self.key, 1 + number) for number in numbers]
        errors = torch.stack([redrawn_errors(self.chances[0], key, self.count) for key in keys])
        folds = torch.stack([self._folds(e, rng.fold(key, "folds")) for e, key in zip(errors, keys, strict=True)])
        chances = foreseen_errors(self.evidence, errors)
        scores, decisions = self.scored(folds, errors, chances)
        best = scores.argmax(1).view(-1, 1, 1).expand(-1, 1, errors.shape[1])
        return self.excesses(decisions.gather(1, best).squeeze(1), errors, chances)

    def scored(self, folds: Tensor, errors: Tensor, chances: Tensor) -> tuple[Tensor, Tensor]:
        """Accuracies by overlap weights (P, costs) and decisions (P, costs, n) on folds left out.

        Args:
            folds: (P, n) int64 each row's fold.
            errors: (P, n) bool.
            chances: (P, n) of an error, as foreseen.
        """
        count, n = errors.shape
        shape, fold = (count, self.folds, n), folds.unsqueeze(1)
        weights = overlap_weights(chances, errors).unsqueeze(1)
        used = (fold != torch.arange(self.folds, device=folds.device).view(1, -1, 1)) * weights
        targets = torch.where(errors, -1.0, 1.0).unsqueeze(1).expand(shape).reshape(-1, n)
        even, answers = balanced(targets, used.reshape(-1, n)), []
        for cost in self.costs:  # one after the other, for cheap machines are done in far fewer steps
            machines = fit_machines(self.rows, targets, cost * even, tolerance=1e-2, max_steps=200)
            answers.append((machines @ self.rows.T).view(shape).gather(1, fold).squeeze(1))
        decisions = torch.stack(answers, 1)
        right, wrong = (decisions > 0).float(), errors.unsqueeze(1).float()
        caught = ((1 - right) * wrong * weights).sum(2) / (wrong * weights).sum(2)
        spared = (right * (1 - wrong) * weights).sum(2) / ((1 - wrong) * weights).sum(2)
        return (caught + spared) / 2, decisions

    def excesses(self, decisions: Tensor, errors: Tensor, chances: Tensor) -> Tensor:
        """(P,) error rates in the slice that fails most, less those foreseen there; all (P, n)."""
        first = decisions.argsort(dim=1, stable=True)[:, : self.slice]
        return (errors.float() - chances).gather(1, first).mean(1)

    def _folds(self, errors: Tensor, key: Tensor) -> Tensor:
        """(n,) int64: a fold for each row, errors and hits dealt out evenly."""
        order = rng.uniform(rng.fold(key, "deal"), (1,)).flatten().argsort()
        folds = torch.empty(len(errors), dtype=torch.int64, device=errors.device)
        for side in (errors, ~errors):
            dealt = order[side[order]]
            folds[dealt] = torch.arange(len(dealt), device=errors.device) % self.folds
        return folds


def held_against_null(studies: list[Study], permutations: int, alpha: float) -> tuple[int, list[float], list[float]]:
    """How often errors were drawn, and each study's p-value and mean excess on them.

    Excesses are compared as distances from the null's mean in its standard deviations, and every draw counts by
    its largest over the studies (Westfall and Young, 1993). Drawing stops once no p-value can come down to alpha.
    """
    if not studies:
        return 0, [], []
    allowed = int(alpha * (permutations + 1) + 1e-9) - 1
    drawn = torch.empty(0, len(studies), dtype=torch.float64)
    while True:
        numbers = range(len(drawn), min(permutations, len(drawn) + _PERMUTATIONS_AT_A_TIME))
        more = torch.stack([study.drawn(numbers).double().cpu() for study in studies], 1)
        drawn = torch.cat([drawn, more])
        seen = torch.tensor([[s.excess for s in studies]], dtype=torch.float64)
        everyone = torch.cat([drawn, seen])  # what was seen is one of the draws under the null, and counts as one here
        mean, deviation = everyone.mean(0), everyone.std(0, correction=0).clamp(min=1e-6)
        largest = ((drawn - mean) / deviation).amax(1)
        seen = ((seen - mean) / deviation)[0]
        beaten = (largest.unsqueeze(1) >= seen - 1e-9).sum(0)
        if len(drawn) >= permutations or int(beaten.min()) > allowed:
            p_values = ((1 + beaten) / (1 + len(drawn))).tolist()
            return len(drawn), p_values, drawn.mean(0).tolist()
