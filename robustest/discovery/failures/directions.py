"""Failure directions: a linear direction in an embedding along which a model's errors lie apart from its hits.

Jain, Lawrence, Moitra and Madry, "Distilling Model Failures as Directions in Latent Space" (ICLR 2023): embeddings
standardised and brought to unit length, and for each class a linear support vector machine on errors against hits.

That errors can be separated from hits is no fault: those of a sound model lie at the edge of their class, and a
direction towards the next class tells them, with balanced accuracies of .8 to .95. So errors that the looks of samples
foresee are taken out (`foreseen`): machines and scores weigh errors and hits by overlap, the error rate furthest along
the direction is compared with the rate foreseen there, and that with what the same search has on errors drawn as
foreseen, over all classes at once: a conditional randomisation test (Candes, Fan, Janson and Lv, Journal of the Royal
Statistical Society B 2018), as good as the regression that foresees them.

**Use an embedding that is not the model's own last layer.** Its rows say what the model sees, and where it fails it
sees another class. An encoder trained on another task, an early layer, or pixels through `principal_components` tell
more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_real, checked_whole
from robustest.discovery.failures.failure_study import Study, held_against_null
from robustest.discovery.failures.foreseen import class_evidence, overlap_weights
from robustest.discovery.failures.svm import balanced, fit_machines
from robustest.errors import ConfigError, DataError, expected
from robustest.heads.feature_rows import checked_rows, standardisation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FailureDirection:
    """The direction of one class.

    Attributes:
        label: the class.
        excess: the error rate of the slice that lies furthest along it, less the rate foreseen there, in -1..1; 0 is
            chance. Sides are told by machines that had not seen the row.
        foreseen: the rate foreseen in the slice, in 0..1.
        slice: samples in it: as many as the class has errors, a tenth of the class at most.
        score: accuracy at telling errors from hits on folds left out, by overlap weights, in 0..1; .5 is chance.
        null_mean: the excess that the same search has on errors drawn as foreseen, on average.
        p_value: share of these draws where some class stood out as much; over all classes, so corrected.
        cost: the machine's cost that scored best.
        weight, bias: (D,) and a number: the direction, fitted on all of the class's rows; negative is failing.
        rows: (n,) int64 the class's rows in the data given, the most failing first.
        decisions: (n,) float32 in the same order, each from a machine that had not seen the row.
        n_errors: errors among them.
    """

    label: int
    excess: float
    foreseen: float
    slice: int
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
        directions: one for each class that could be looked at, the highest excess first.
        skipped: why the others could not, by class.
        permutations: how many were drawn; fewer than asked for once nothing could be found any more.
        alpha, min_excess: what counts as found.
        mean, scale: (D,) what standardises embeddings.
    """

    directions: tuple[FailureDirection, ...]
    skipped: Mapping[int, str]
    permutations: int
    alpha: float
    min_excess: float
    mean: Tensor
    scale: Tensor

    @property
    def found(self) -> tuple[FailureDirection, ...]:
        """Those with p <= alpha and excess > min_excess."""
        return tuple(d for d in self.directions if d.p_value <= self.alpha and d.excess > self.min_excess)

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
    min_excess: float = 0.0,
    min_errors: int = 10,
    seed: int = 0,
) -> FailureDirections:
    """Search every class for a direction along which there are more errors than the looks of its samples foresee.

    Args:
        embeddings: (N, D) floats, finite; of an encoder that is not the model's own last layer.
        labels: (N,) int64 classes.
        errors: (N,) bool, where the model is wrong.
        without: (R, D) directions projected out first: the rows of the model's head, where embeddings are its input.
        folds: of the cross-validation, >= 2.
        costs: of the machines, > 0, on embeddings of unit length; that of the best score counts, on drawn errors too.
        permutations: draws of the errors within each class, >= 1; the smallest p is 1 / (permutations + 1).
        alpha: largest corrected p that counts as found; also where the draws may stop early.
        min_excess: what an excess must exceed to count as found, in 0..1.
        min_errors: classes with fewer errors, or hits, are skipped; >= folds.
        seed: draws folds and permutations.

    Raises:
        ConfigError: an argument is out of range.
        DataError: shapes, types or values are not as above.
    """
    checked_whole("folds", folds, 2)
    checked_whole("permutations", permutations, 1)
    checked_whole("min_errors", min_errors, folds)
    _check_reals(alpha=alpha, min_excess=min_excess, costs=costs)
    classes = _checked_rows(embeddings, labels, errors)
    embeddings = embeddings if without is None else projected_out(embeddings, without)
    mean, scale = standardisation(embeddings, embeddings.device, torch.float32)
    rows = unit((embeddings.float() - mean) / scale)
    evidence = _class_evidence(rows, labels, folds, seed)
    grouped = [(labels == label).nonzero().squeeze(1) for label in range(classes)]
    skipped = _skipped(errors, grouped, min_errors)
    studies = {
        label: Study(rows[of], errors[of], of, evidence[of], folds=folds, costs=costs, seed=seed)
        for label, of in enumerate(grouped)
        if label not in skipped
    }
    done, p_values, null_means = held_against_null(list(studies.values()), permutations, alpha)
    found = [_direction(*one) for one in zip(studies.values(), studies, p_values, null_means, strict=True)]
    return FailureDirections(
        directions=tuple(sorted(found, key=lambda d: -d.excess)),
        skipped=skipped,
        permutations=done,
        alpha=alpha,
        min_excess=min_excess,
        mean=mean,
        scale=scale,
    )


def _check_reals(*, alpha: float, min_excess: float, costs: Sequence[float]) -> None:
    checked_real("alpha", alpha, 0.0, 1.0)
    checked_real("min_excess", min_excess, 0.0, 1.0)
    for cost in costs:
        checked_real("costs", cost, 1e-12)


def _checked_rows(embeddings: Tensor, labels: Tensor, errors: Tensor) -> int:
    """How many classes there are.

    Raises:
        DataError: shapes, types or values are not as for `find_failure_directions`.
    """
    classes = checked_rows(embeddings, labels, complete=False)
    if not isinstance(errors, Tensor) or errors.dtype != torch.bool or errors.shape != labels.shape:
        raise DataError(expected(f"errors to be a bool tensor ({len(labels)},)", errors))
    return classes


def _class_evidence(rows: Tensor, labels: Tensor, folds: int, seed: int) -> Tensor:
    keys = rng.fold(rng.keys(seed, torch.arange(len(rows), device=rows.device)), "class evidence")
    return class_evidence(rows, labels, keys, folds=folds)


def _skipped(errors: Tensor, grouped: Sequence[Tensor], least: int) -> dict[int, str]:
    """Classes that cannot be judged, and why, by the positions of each class's samples."""
    out = dict[int, str]()
    for label, members in enumerate(grouped):
        wrong = int(errors[members].sum())
        if min(wrong, len(members) - wrong) < least:
            out[label] = f"{wrong} errors among {len(members)}: fewer than {least} on one side"
    return out


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


def _direction(study: Study, label: int, p_value: float, null_mean: float) -> FailureDirection:
    targets = torch.where(study.errors, -1.0, 1.0).unsqueeze(0)
    costs = study.cost * balanced(targets, overlap_weights(study.chances, study.errors.unsqueeze(0)))
    weight = fit_machines(study.rows, targets, costs)[0]
    order = study.decisions.argsort(stable=True)
    return FailureDirection(
        label=label,
        excess=study.excess,
        foreseen=float(study.chances[0, order[: study.slice]].mean()),
        slice=study.slice,
        score=study.score,
        null_mean=null_mean,
        p_value=p_value,
        cost=study.cost,
        weight=weight[:-1],
        bias=float(weight[-1]),
        rows=study.members[order],
        decisions=study.decisions[order],
        n_errors=study.count,
    )
