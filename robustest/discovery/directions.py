"""Failure directions: a linear direction in an embedding along which a model's errors lie apart from its hits.

Jain, Lawrence, Moitra and Madry, "Distilling Model Failures as Directions in Latent Space" (ICLR 2023): embeddings
standardised and brought to unit length, and for each class a balanced linear support vector machine on errors against
hits. Here the cross-validated score is held against the same search on permuted errors, over all classes at once.

**Use an embedding that is not the model's own last layer.** The model's decision is linear there, so its errors always
are on one side: every model, a good one too, has a failure direction in it. An encoder trained on another task, an
early layer, or pixels through `principal_components` tell something; or give the head's rows as `without`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_real, checked_whole
from robustest.discovery.svm import balanced, fit_machines
from robustest.errors import ConfigError, DataError, expected
from robustest.heads.feature_rows import checked_rows, standardisation

_PERMUTATIONS_AT_A_TIME = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FailureDirection:
    """The direction of one class.

    Attributes:
        label: the class.
        score: balanced accuracy of errors against hits on folds left out, in 0..1, at the best cost; .5 is chance.
        null_mean: what the same search scores on permuted errors, on average.
        p_value: share of permutations where some class stood out as much; over all classes, so corrected.
        cost: the machine's cost that scored best.
        weight, bias: (D,) and a number: the direction, fitted on all of the class's rows; negative is failing.
        rows: (n,) int64 the class's rows in the data given, the most failing first.
        decisions: (n,) float32 in the same order, each from a machine that had not seen the row.
        n_errors: errors among them.
    """

    label: int
    score: float
    null_mean: float
    p_value: float
    cost: float
    weight: Tensor
    bias: float
    rows: Tensor
    decisions: Tensor
    n_errors: int

    def precision(self, minority: Tensor, first: int) -> float:
        """Share of a known minority (N,) bool, of all rows given, among the `first` most failing rows of the class."""
        return float(minority[self.rows[:first]].double().mean())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FailureDirections:
    """What a search found.

    Attributes:
        directions: one for each class that could be looked at, the highest score first.
        skipped: why the others could not, by class.
        permutations: how many were drawn; fewer than asked for once nothing could be found any more.
        alpha, min_score: what counts as found.
        mean, scale: (D,) what standardises embeddings.
    """

    directions: tuple[FailureDirection, ...]
    skipped: Mapping[int, str]
    permutations: int
    alpha: float
    min_score: float
    mean: Tensor
    scale: Tensor

    @property
    def found(self) -> tuple[FailureDirection, ...]:
        """Those with p <= alpha and score > min_score."""
        return tuple(d for d in self.directions if d.p_value <= self.alpha and d.score > self.min_score)

    def decisions(self, direction: FailureDirection, embeddings: Tensor) -> Tensor:
        """(M,) of new embeddings (M, D) along a direction; negative is failing."""
        rows = unit((embeddings.to(self.mean) - self.mean) / self.scale)
        decisions: Tensor = rows @ direction.weight + direction.bias
        return decisions


def find_failure_directions(
    embeddings: Tensor,
    labels: Tensor,
    errors: Tensor,
    *,
    without: Tensor | None = None,
    folds: int = 5,
    costs: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0),
    permutations: int = 200,
    alpha: float = 0.005,
    min_score: float = 0.6,
    min_errors: int = 10,
    seed: int = 0,
) -> FailureDirections:
    """Search every class for a direction along which its errors can be told from its hits.

    Args:
        embeddings: (N, D) floats, finite; of an encoder that is not the model's own last layer.
        labels: (N,) int64 classes.
        errors: (N,) bool, where the model is wrong.
        without: (R, D) directions projected out first: the rows of the model's head, where embeddings are its input.
        folds: of the cross-validation, >= 2.
        costs: of the machines, > 0, on embeddings of unit length; the best one's score counts, on permuted errors too.
        permutations: of the errors within each class, >= 1; the smallest p is 1 / (permutations + 1), so 199 is the
            least that can find anything at the alpha below.
        alpha: largest corrected p that counts as found; also where the permutations may stop early.
        min_score: what a score must exceed to count as found.
        min_errors: classes with fewer errors, or hits, are skipped; >= folds.
        seed: draws folds and permutations.

    Raises:
        ConfigError: an argument is out of range.
        DataError: shapes, types or values are not as above.
    """
    checked_whole("folds", folds, 2)
    checked_whole("permutations", permutations, 1)
    checked_whole("min_errors", min_errors, folds)
    checked_real("alpha", alpha, 0.0, 1.0)
    checked_real("min_score", min_score, 0.0, 1.0)
    for cost in costs:
        checked_real("costs", cost, 1e-12)
    classes = checked_rows(embeddings, labels, complete=False)
    if not isinstance(errors, Tensor) or errors.dtype != torch.bool or errors.shape != labels.shape:
        raise DataError(expected(f"errors to be a bool tensor ({len(labels)},)", errors))
    if without is not None:
        embeddings = projected_out(embeddings, without)
    mean, scale = standardisation(embeddings, embeddings.device, torch.float32)
    rows = unit((embeddings.float() - mean) / scale)
    studies, skipped = dict[int, _Study](), dict[int, str]()
    for label in range(classes):
        members = (labels == label).nonzero().squeeze(1)
        wrong = int(errors[members].sum())
        if min(wrong, len(members) - wrong) < min_errors:
            skipped[label] = f"{wrong} errors among {len(members)}: fewer than {min_errors} on one side"
            continue
        studies[label] = _Study(rows[members], errors[members], members, folds=folds, costs=costs, seed=seed)
    done, p_values, null_means = _held_against_null(list(studies.values()), permutations, alpha)
    found = [
        s.direction(k, p, at_chance) for (k, s), p, at_chance in zip(studies.items(), p_values, null_means, strict=True)
    ]
    return FailureDirections(
        directions=tuple(sorted(found, key=lambda d: -d.score)),
        skipped=skipped,
        permutations=done,
        alpha=alpha,
        min_score=min_score,
        mean=mean,
        scale=scale,
    )


def unit(rows: Tensor) -> Tensor:
    """Rows (N, D) of length 1; rows of zeros stay."""
    length: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / length.clamp(min=1e-12)


def projected_out(rows: Tensor, directions: Tensor) -> Tensor:
    """Rows (N, D) without their part in the span of directions (R, D)."""
    if directions.ndim != 2 or directions.shape[1] != rows.shape[1]:
        raise ConfigError(expected(f"directions (R, {rows.shape[1]})", tuple(directions.shape)))
    basis = torch.linalg.svd(directions.double(), full_matrices=False)
    strength: Tensor = basis.S
    kept: Tensor = basis.Vh[strength > 1e-9 * float(strength.max())].to(rows)
    return rows - rows @ kept.T @ kept


def principal_components(rows: Tensor, limit: int) -> Tensor:
    """The first `limit` principal components (N, limit) of rows (N, D): an embedding that needs no network."""
    checked_whole("limit", limit, 1)
    flat = rows.flatten(1).float()
    centred = flat - flat.mean(0)
    values, vectors = torch.linalg.eigh((centred.T @ centred).double())
    largest = values.argsort(descending=True)[:limit]
    components: Tensor = centred @ vectors[:, largest].to(centred)
    return components


class _Study:
    """One class: its rows with a column of ones, folds, and the errors to be told."""

    def __init__(
        self, rows: Tensor, errors: Tensor, members: Tensor, *, folds: int, costs: tuple[float, ...], seed: int
    ) -> None:
        self.rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        self.errors, self.members, self.folds, self.costs = errors, members, folds, costs
        self.key = rng.fold(rng.keys(seed, members), "failure directions")
        scores, decisions = self.scored(self._folds(errors, self.key).unsqueeze(0), errors.unsqueeze(0))
        best = int(scores[0].argmax())
        self.score, self.cost, self.decisions = float(scores[0, best]), costs[best], decisions[0, best]

    def permuted(self, numbers: range) -> Tensor:
        """(len(numbers),) scores on permuted errors."""
        keys = [rng.fold(self.key, 1 + number) for number in numbers]
        errors = torch.stack([self.errors[rng.uniform(key, (1,)).flatten().argsort()] for key in keys])
        folds = torch.stack([self._folds(e, rng.fold(key, "folds")) for e, key in zip(errors, keys, strict=True)])
        return self.scored(folds, errors)[0].amax(1)

    def scored(self, folds: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
        """Balanced accuracies (P, costs) and decisions (P, costs, n) on folds left out.

        Args:
            folds: (P, n) int64 each row's fold.
            errors: (P, n) bool.
        """
        count, n = errors.shape
        shape, fold = (count, self.folds, n), folds.unsqueeze(1)
        used = (fold != torch.arange(self.folds, device=folds.device).view(1, -1, 1)).reshape(-1, n).float()
        targets = torch.where(errors, -1.0, 1.0).unsqueeze(1).expand(shape).reshape(-1, n)
        even, answers = balanced(targets, used), []
        for cost in self.costs:  # one after the other, for cheap machines are done in far fewer steps
            machines = fit_machines(self.rows, targets, cost * even, tolerance=1e-2, max_steps=200)
            answers.append((machines @ self.rows.T).view(shape).gather(1, fold).squeeze(1))
        decisions = torch.stack(answers, 1)
        right, wrong = (decisions > 0).float(), errors.unsqueeze(1).float()
        caught = ((1 - right) * wrong).sum(2) / wrong.sum(2)
        spared = (right * (1 - wrong)).sum(2) / (1 - wrong).sum(2)
        return (caught + spared) / 2, decisions

    def direction(self, label: int, p_value: float, null_mean: float) -> FailureDirection:
        targets = torch.where(self.errors, -1.0, 1.0).unsqueeze(0)
        costs = self.cost * balanced(targets, torch.ones_like(targets))
        weight = fit_machines(self.rows, targets, costs)[0]
        order = self.decisions.argsort(stable=True)
        return FailureDirection(
            label=label,
            score=self.score,
            null_mean=null_mean,
            p_value=p_value,
            cost=self.cost,
            weight=weight[:-1],
            bias=float(weight[-1]),
            rows=self.members[order],
            decisions=self.decisions[order],
            n_errors=int(self.errors.sum()),
        )

    def _folds(self, errors: Tensor, key: Tensor) -> Tensor:
        """(n,) int64: a fold for each row, errors and hits dealt out evenly."""
        order = rng.uniform(rng.fold(key, "deal"), (1,)).flatten().argsort()
        folds = torch.empty(len(errors), dtype=torch.int64, device=errors.device)
        for side in (errors, ~errors):
            dealt = order[side[order]]
            folds[dealt] = torch.arange(len(dealt), device=errors.device) % self.folds
        return folds


def _held_against_null(studies: list[_Study], permutations: int, alpha: float) -> tuple[int, list[float], list[float]]:
    """Permutations drawn, and each study's p-value and mean score on them.

    Scores are compared as distances from the null's mean in its standard deviations, and every permutation counts by
    its largest over the studies (Westfall and Young, 1993). Drawing stops once no p-value can come down to alpha.
    """
    if not studies:
        return 0, [], []
    allowed = int(alpha * (permutations + 1) + 1e-9) - 1
    drawn = torch.empty(0, len(studies), dtype=torch.float64)
    while True:
        numbers = range(len(drawn), min(permutations, len(drawn) + _PERMUTATIONS_AT_A_TIME))
        more = torch.stack([study.permuted(numbers).double().cpu() for study in studies], 1)
        drawn = torch.cat([drawn, more])
        seen = torch.tensor([[s.score for s in studies]], dtype=torch.float64)
        everyone = torch.cat([drawn, seen])  # what was seen is one of the draws under the null, and counts as one here
        mean, deviation = everyone.mean(0), everyone.std(0, correction=0).clamp(min=1e-6)
        largest = ((drawn - mean) / deviation).amax(1)
        seen = ((seen - mean) / deviation)[0]
        beaten = (largest.unsqueeze(1) >= seen - 1e-9).sum(0)
        if len(drawn) >= permutations or int(beaten.min()) > allowed:
            p_values = ((1 + beaten) / (1 + len(drawn))).tolist()
            return len(drawn), p_values, drawn.mean(0).tolist()
