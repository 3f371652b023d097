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

The search for a failure direction in one class, and in the errors that chance would have drawn.

Errors to be expected of samples at the edge of their class, which a failure direction has to go beyond.

An ordinary error is of a sample that looks like another class. A sound model makes such errors too, and a direction
towards the other class tells them from hits. How much a sample looks like its class is asked of a linear classifier of
the embeddings, fitted to the labels of other samples; never of the model. How often the model is wrong where samples
look like that is a logistic regression within the class, of which less evidence may only mean more errors.

Errors are then compared with hits by overlap weights (Li, Morgan and Zaslavsky, Journal of the American Statistical
Association 2018): an error counts by its foreseen chance to be a hit, and a hit by its chance to be an error. Where all
chances are alike, these are the weights of a balanced machine.

Many weighted linear support vector machines on the same rows, solved together.

Each minimises 1/2 |w|^2 + sum_i c_i max(0, 1 - t_i w.x_i)^2, the squared hinge (Chapelle, Neural Computation 2007),
with the rows x of all and targets t and costs c of its own. So the folds and permutations of a study are one batch of
matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_real, checked_whole
from robustest.errors import ConfigError, DataError, expected
from robustest.heads.sparse_head import checked_rows, standardisation


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
        label: ClassDirectionSearch(rows[of], errors[of], of, evidence[of], folds=folds, costs=costs, seed=seed)
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


def _direction(study: ClassDirectionSearch, label: int, p_value: float, null_mean: float) -> FailureDirection:
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


_PERMUTATIONS_AT_A_TIME = 10

_SLICE = 0.1  # of a class at most, and as many as it has errors at most: where an error rate is taken


class ClassDirectionSearch:
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


def held_against_null(
    studies: list[ClassDirectionSearch], permutations: int, alpha: float
) -> tuple[int, list[float], list[float]]:
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


_CHECK_EVERY = 10


def fit_machines(
    rows: Tensor, targets: Tensor, costs: Tensor, *, tolerance: float = 1e-3, max_steps: int = 500
) -> Tensor:
    """Weights (B, D) of B machines, by Nesterov's method for strongly convex functions.

    Args:
        rows: (N, D); append a column of ones for a bias, which is then penalised as liblinear's is.
        targets: (B, N) of -1 and 1.
        costs: (B, N) >= 0; 0 leaves a row out.
        tolerance: the gradient's norm at which a machine is done, as a share of its norm at 0.
        max_steps: steps at most.
    """
    # The largest curvature of a machine, by the larger of two bounds' smaller: all rows alike, or its costs' sum.
    largest = (2 * costs.amax(1) * top_eigenvalue(rows)).minimum(2 * costs @ rows.square().sum(1))
    curvature = (1 + largest).unsqueeze(1)
    root = curvature.sqrt()
    beta = (root - 1) / (root + 1)
    weight = rows.new_zeros(len(targets), rows.shape[1])
    ahead, goal = weight, None
    for step in range(max_steps):
        gradient = ahead - 2 * ((costs * targets) * (1 - targets * (ahead @ rows.T)).clamp_(min=0)) @ rows
        if step % _CHECK_EVERY == 0:
            norm = gradient.norm(dim=1)
            goal = tolerance * norm if goal is None else goal
            if bool((norm <= goal).all()):
                break
        after = ahead - gradient / curvature
        ahead, weight = after + beta * (after - weight), after
    return weight


def top_eigenvalue(rows: Tensor, steps: int = 20) -> float:
    """An upper estimate of the largest eigenvalue of rows.T @ rows: power steps, a tenth added."""
    vector = rows.new_ones(rows.shape[1]) / math.sqrt(rows.shape[1])
    size = 0.0
    for _ in range(steps):
        vector = rows.T @ (rows @ vector)
        size = float(vector.norm())
        if size == 0:
            return 0.0
        vector = vector / size
    return 1.1 * size


def balanced(targets: Tensor, used: Tensor) -> Tensor:
    """Costs (B, N) that give both sides of each machine the same weight, and sum to its used rows.

    Args:
        targets: (B, N) of -1 and 1.
        used: (B, N) of 0 and 1; both sides of every machine are used.
    """
    total = used.sum(1, keepdim=True)
    costs = torch.zeros_like(used)
    for side in (-1, 1):
        members = used * (targets == side)
        costs += members * (total / (2 * members.sum(1, keepdim=True).clamp(min=1)))
    return costs
