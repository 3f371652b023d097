"""Failure directions: errors of a class along a direction of an embedding, beyond the errors foreseen from it."""

# A direction is fitted for each class, and orders samples left out of the fit. The value is the error rate of the
# samples that lie furthest, less the rate foreseen there: near 0 where errors are ordinary, near 1 where the model
# fails on a minority that training lacked.
#
# A direction does not name the common feature of the errors: look at the samples that lie furthest, and test their
# common feature with `measure_no_spurious_feature`.

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import Result, Verdict, rng
from robustest.errors import ConfigError, DataError, expected
from robustest.packs import (
    Chunk,
    Decision,
    Evaluator,
    Evidence,
    Exhibit,
    Fact,
    Kind,
    Observation,
    Options,
    Quantity,
    Setup,
    ShareRule,
    assertion,
    checked_real,
    checked_threshold,
    checked_whole,
    clopper_pearson,
    finish,
    measurement,
    number,
    observe,
)
from robustest_interpret.heads import checked_rows, standardisation

# Failure directions: for each class a direction of an embedding along which a model's errors differ from its hits, the
# correct answers.
#
# After Jain, Lawrence, Moitra and Madry, "Distilling Model Failures as Directions in Latent Space" (ICLR 2023): on
# standardised embeddings of unit length, a linear support vector machine per class separates errors from hits.
#
# Errors of a sound model can be separated too: they lie at the edge of their class. So the errors that the embedding
# foresees are taken out:
#
# 1. *Evidence*: e_i = how much more sample i looks like its own class than like the next one, by a linear classifier of
#    the embeddings fitted on other samples' labels.
# 2. *Chance*: c_i = P(error | e_i), a logistic regression within the class.
# 3. *Machine*: errors against hits with overlap weights (Li, Morgan and Zaslavsky, JASA 2018): an error counts 1 - c_i,
#    a hit c_i. Cross-validation gives each sample a decision.
# 4. *Excess*: the error rate of the slice of the class with the lowest decisions, less the mean c_i there.
# 5. *p-value*: a conditional randomisation test (Candes, Fan, Janson and Lv, JRSS B 2018): the same search on errors
#    drawn with chances c_i, over all classes at once.
#
# **Use an embedding that is not the model's own last layer**: where the model fails, that layer shows another class. An
# encoder trained on another task, an early layer, or pixels through `principal_components` show more.


# Largest share of a class in its slice, which has at most as many samples as the class has errors.
_SLICE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FailureDirection:
    """The direction of one class.

    Attributes:
        excess: error rate of the slice furthest along the direction, less the rate foreseen there, in -1..1; 0 is
            chance.
        foreseen: the rate foreseen in the slice, in 0..1.
        slice: samples in the slice.
        score: accuracy on folds left out, by overlap weights, in 0..1; 0.5 is chance.
        null_mean: mean excess on errors drawn as foreseen.
        p_value: share of these draws in which any class stood out as much.
        weight, bias: (D,) and a number; negative is failing.
        rows: (n,) int64 the class's rows in the data given, the most failing first.
        decisions: (n,) float32 in the same order, each from a machine fitted without the row.
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FailureDirections:
    """The directions of all classes.

    Attributes:
        directions: the highest excess first.
        skipped: the reason per class that could not be searched.
        permutations: draws made; fewer than requested once no p-value could fall to alpha any more.
    """

    directions: tuple[FailureDirection, ...]
    skipped: Mapping[int, str]
    permutations: int
    alpha: float
    min_excess: float

    @property
    def found(self) -> tuple[FailureDirection, ...]:
        """The directions with p <= alpha and excess > min_excess."""
        return tuple(d for d in self.directions if d.p_value <= self.alpha and d.excess > self.min_excess)


def find_failure_directions(
    embeddings: Tensor,
    labels: Tensor,
    errors: Tensor,
    *,
    folds: int = 5,
    costs: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0),
    permutations: int = 200,
    alpha: float = 0.005,
    min_excess: float = 0.0,
    min_errors: int = 10,
    seed: int = 0,
) -> FailureDirections:
    """Search every class for a direction with more errors than the samples' embeddings foresee.

    Args:
        embeddings: (N, D) floats, finite; not the model's own last layer.
        labels: (N,) int64 classes.
        errors: (N,) bool, True where the model is wrong.
        folds: of the cross-validation, >= 2.
        costs: of the support vector machines, > 0; the cost with the best score counts.
        permutations: draws of the errors within each class, >= 1; the smallest p is 1 / (permutations + 1).
        alpha: largest corrected p that counts as found.
        min_excess: an excess must exceed this to count as found, in 0..1.
        min_errors: classes with fewer errors, or hits, are skipped; >= folds.

    Raises:
        ConfigError: an argument is out of range.
        DataError: shapes, types or values do not fit.
    """
    checked_whole("folds", folds, 2)
    checked_whole("permutations", permutations, 1)
    checked_whole("min_errors", min_errors, folds)
    checked_real("alpha", alpha, 0.0, 1.0)
    checked_real("min_excess", min_excess, 0.0, 1.0)
    for cost in costs:
        checked_real("costs", cost, 1e-12)
    classes = checked_rows(embeddings, labels, complete=False)
    if not isinstance(errors, Tensor) or errors.dtype != torch.bool or errors.shape != labels.shape:
        raise DataError(expected(f"errors to be a bool tensor ({len(labels)},)", errors))
    mean, scale = standardisation(embeddings, embeddings.device, torch.float32)
    rows = unit_rows((embeddings.float() - mean) / scale)
    keys = rng.fold(rng.keys(seed, torch.arange(len(rows), device=rows.device)), "class evidence")
    evidence = class_evidence(rows, labels, keys, folds=folds)
    skipped, searches = dict[int, str](), dict[int, _ClassDirection]()
    for label in range(classes):
        members = (labels == label).nonzero().squeeze(1)
        wrong = int(errors[members].sum())
        if min(wrong, len(members) - wrong) < min_errors:
            skipped[label] = f"{wrong} errors among {len(members)}: fewer than {min_errors} on one side"
        else:
            searches[label] = _ClassDirection(
                rows[members], errors[members], members, evidence[members], folds=folds, costs=costs, seed=seed
            )
    done, p_values, null_means = _compare_with_null(list(searches.values()), permutations, alpha)
    results = zip(searches.items(), p_values, null_means, strict=True)
    found = [search.direction(label, p_value, null_mean) for (label, search), p_value, null_mean in results]
    return FailureDirections(
        directions=tuple(sorted(found, key=lambda d: -d.excess)),
        skipped=skipped,
        permutations=done,
        alpha=alpha,
        min_excess=min_excess,
    )


def unit_rows(rows: Tensor) -> Tensor:
    """Return rows (N, D) scaled to length 1; rows of zeros stay."""
    length: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / length.clamp(min=1e-12)


def principal_components(rows: Tensor, limit: int) -> Tensor:
    """Return the first principal components (N, limit) of rows (N, D): an embedding without a network."""
    checked_whole("limit", limit, 1)
    flat = rows.flatten(1).float()
    centred = flat - flat.mean(0)
    values, vectors = torch.linalg.eigh((centred.T @ centred).double())
    largest = values.argsort(descending=True)[:limit]
    components: Tensor = centred @ vectors[:, largest].to(centred)
    return components


class _ClassDirection:
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
        self.rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)  # the column of ones gives machines a bias
        self.errors, self.members, self.evidence, self.folds, self.costs = errors, members, evidence, folds, costs
        self.count = int(errors.sum())
        self.slice = min(self.count, max(self.folds, round(_SLICE * len(rows))))
        self.chances = foreseen_chances(evidence, errors.unsqueeze(0))
        self.key = rng.fold(rng.keys(seed, members), "failure directions")
        folded = self._folds(errors, self.key).unsqueeze(0)
        scores, decisions = self._cross_validated(folded, errors.unsqueeze(0), self.chances)
        best = int(scores[0].argmax())
        self.score, self.cost, self.decisions = float(scores[0, best]), costs[best], decisions[0, best]
        self.excess = float(self._excesses(self.decisions.unsqueeze(0), errors.unsqueeze(0), self.chances)[0])

    def null_excesses(self, numbers: range) -> Tensor:
        keys = [rng.fold(self.key, 1 + number) for number in numbers]
        errors = torch.stack([draw_errors(self.chances[0], key, self.count) for key in keys])
        folds = torch.stack([self._folds(e, rng.fold(key, "folds")) for e, key in zip(errors, keys, strict=True)])
        # Chances are estimated and the cost is chosen again for each draw, as they were for the model's errors.
        chances = foreseen_chances(self.evidence, errors)
        scores, decisions = self._cross_validated(folds, errors, chances)
        best = scores.argmax(1).view(-1, 1, 1).expand(-1, 1, errors.shape[1])
        return self._excesses(decisions.gather(1, best).squeeze(1), errors, chances)

    def direction(self, label: int, p_value: float, null_mean: float) -> FailureDirection:
        # The direction itself is fitted on all of the class's rows.
        targets = torch.where(self.errors, -1.0, 1.0).unsqueeze(0)
        costs = self.cost * balanced_costs(targets, overlap_weights(self.chances, self.errors.unsqueeze(0)))
        weight = fit_machines(self.rows, targets, costs)[0]
        order = self.decisions.argsort(stable=True)
        return FailureDirection(
            label=label,
            excess=self.excess,
            foreseen=float(self.chances[0, order[: self.slice]].mean()),
            slice=self.slice,
            score=self.score,
            null_mean=null_mean,
            p_value=p_value,
            cost=self.cost,
            weight=weight[:-1],
            bias=float(weight[-1]),
            rows=self.members[order],
            decisions=self.decisions[order],
            n_errors=self.count,
        )

    def _cross_validated(self, folds: Tensor, errors: Tensor, chances: Tensor) -> tuple[Tensor, Tensor]:
        # Accuracies by overlap weights (P, costs), and decisions (P, costs, n) on folds left out.
        count, n = errors.shape
        shape, fold = (count, self.folds, n), folds.unsqueeze(1)
        weights = overlap_weights(chances, errors).unsqueeze(1)
        used = (fold != torch.arange(self.folds, device=folds.device).view(1, -1, 1)) * weights
        targets = torch.where(errors, -1.0, 1.0).unsqueeze(1).expand(shape).reshape(-1, n)
        even, answers = balanced_costs(targets, used.reshape(-1, n)), []
        for cost in self.costs:  # one after the other: machines of low cost need far fewer steps
            machines = fit_machines(self.rows, targets, cost * even, tolerance=1e-2, max_steps=200)
            answers.append((machines @ self.rows.T).view(shape).gather(1, fold).squeeze(1))
        decisions = torch.stack(answers, 1)
        right, wrong = (decisions > 0).float(), errors.unsqueeze(1).float()
        caught = ((1 - right) * wrong * weights).sum(2) / (wrong * weights).sum(2)
        spared = (right * (1 - wrong) * weights).sum(2) / ((1 - wrong) * weights).sum(2)
        return (caught + spared) / 2, decisions

    def _excesses(self, decisions: Tensor, errors: Tensor, chances: Tensor) -> Tensor:
        # The slice that fails most: the lowest decisions. All arguments are (P, n).
        first = decisions.argsort(dim=1, stable=True)[:, : self.slice]
        return (errors.float() - chances).gather(1, first).mean(1)

    def _folds(self, errors: Tensor, key: Tensor) -> Tensor:
        # Errors and hits are dealt evenly over the folds.
        order = rng.uniform(rng.fold(key, "deal"), (1,)).flatten().argsort()
        folds = torch.empty(len(errors), dtype=torch.int64, device=errors.device)
        for side in (errors, ~errors):
            dealt = order[side[order]]
            folds[dealt] = torch.arange(len(dealt), device=errors.device) % self.folds
        return folds


_PERMUTATIONS_AT_A_TIME = 10


def _compare_with_null(
    searches: list[_ClassDirection], permutations: int, alpha: float
) -> tuple[int, list[float], list[float]]:
    """Return the number of draws, and each class's p-value and mean excess over them."""
    if not searches:
        return 0, [], []
    # Excesses are compared as distances from the null's mean in its standard deviations, and every draw counts by its
    # largest distance over the classes (Westfall and Young, 1993). Drawing stops once no p-value can fall to alpha.
    allowed = int(alpha * (permutations + 1) + 1e-9) - 1
    drawn = torch.empty(0, len(searches), dtype=torch.float64)
    while True:
        numbers = range(len(drawn), min(permutations, len(drawn) + _PERMUTATIONS_AT_A_TIME))
        more = torch.stack([search.null_excesses(numbers).double().cpu() for search in searches], 1)
        drawn = torch.cat([drawn, more])
        observed = torch.tensor([[search.excess for search in searches]], dtype=torch.float64)
        everyone = torch.cat([drawn, observed])  # under the null the observed excesses are one more draw
        mean, deviation = everyone.mean(0), everyone.std(0, correction=0).clamp(min=1e-6)
        largest = ((drawn - mean) / deviation).amax(1)
        distance = ((observed - mean) / deviation)[0]
        beaten = (largest.unsqueeze(1) >= distance - 1e-9).sum(0)
        if len(drawn) >= permutations or int(beaten.min()) > allowed:
            p_values = ((1 + beaten) / (1 + len(drawn))).tolist()
            return len(drawn), p_values, drawn.mean(0).tolist()


# Penalty of the classifier of the evidence, on rows of length sqrt(D).
_RIDGE = 10.0

# Keeps the regression finite where the evidence separates errors from hits.
_SLOPE_PENALTY = 0.1

_NEWTON_STEPS = 12

# Chances are kept between this and 1 - this.
_LEAST_CHANCE = 0.01


def class_evidence(rows: Tensor, labels: Tensor, keys: Tensor, *, folds: int) -> Tensor:
    """Return (N,) the score of each row's class less the highest score of another class.

    It is >= 0 where the row is classified right.
    """
    # Least squares on targets -1 and 1 with a ridge, one output per class, fitted on the folds that a row is not in.
    n, wide = rows.shape
    x = torch.cat([rows.double() * wide**0.5, rows.new_ones(n, 1).double()], 1)
    targets = 2 * torch.nn.functional.one_hot(labels, max(2, int(labels.max()) + 1)).to(x) - 1
    fold = torch.empty_like(labels)
    fold[rng.uniform(keys, (1,)).flatten().argsort()] = torch.arange(n, device=labels.device) % folds
    ridge = _RIDGE * torch.eye(wide + 1, dtype=x.dtype, device=x.device)
    ridge[-1, -1] = 1e-6  # the intercept is free: with a single class, nothing looks like another
    outputs = torch.empty_like(targets)
    for k in range(folds):
        fitted, out = x[fold != k], fold == k
        outputs[out] = x[out] @ torch.linalg.solve(fitted.T @ fitted + ridge, fitted.T @ targets[fold != k])
    own = outputs.gather(1, labels.unsqueeze(1))
    others = outputs.scatter(1, labels.unsqueeze(1), -torch.inf)
    evidence: Tensor = (own.squeeze(1) - others.amax(1)).to(rows)
    return evidence


def foreseen_chances(evidence: Tensor, errors: Tensor) -> Tensor:
    """Return chances (P, n) of an error by a logistic regression on the evidence (n,), for each of P sets of errors."""
    apart = evidence.double() - evidence.double().mean()
    x = (apart / apart.std(correction=0).clamp(min=1e-4)).clamp(-3, 3)
    y = errors.double()
    # Newton's steps for intercepts and slopes, with the 2 x 2 Hessians inverted by hand, all sets at once.
    weight = torch.zeros(2, len(y), dtype=x.dtype, device=x.device)
    weight[0] = torch.logit(y.mean(1), eps=_LEAST_CHANCE)
    for _ in range(_NEWTON_STEPS):
        chance = torch.sigmoid(weight[0].unsqueeze(1) + weight[1].unsqueeze(1) * x)
        rest, spread = chance - y, (chance * (1 - chance)).clamp(min=1e-6)
        g0, g1 = rest.sum(1), (rest * x).sum(1) + _SLOPE_PENALTY * weight[1]
        h00, h01, h11 = spread.sum(1), (spread * x).sum(1), (spread * x * x).sum(1) + _SLOPE_PENALTY
        scale = h00 * h11 - h01 * h01
        weight = weight - torch.stack([(h11 * g0 - h01 * g1) / scale, (h00 * g1 - h01 * g0) / scale]).clamp(-2, 2)
    # Errors where evidence is strongest are not ordinary: a minority that fails may be easy to tell from other classes.
    # So a slope in that direction is replaced by a constant chance.
    flat = torch.stack([torch.logit(y.mean(1), eps=_LEAST_CHANCE), torch.zeros_like(weight[1])])
    weight = torch.where(weight[1] <= 0, weight, flat)
    found: Tensor = torch.sigmoid(weight[0].unsqueeze(1) + weight[1].unsqueeze(1) * x)
    return found.clamp(_LEAST_CHANCE, 1 - _LEAST_CHANCE).float()


def overlap_weights(chances: Tensor, errors: Tensor) -> Tensor:
    """Return overlap weights (P, n), with mean 1, of errors (P, n) with chances (P, n)."""
    weights = torch.where(errors, 1 - chances, chances)
    return weights / weights.mean(1, keepdim=True)


def draw_errors(chances: Tensor, keys: Tensor, count: int) -> Tensor:
    """Return (n,) bool: `count` errors drawn with chances (n,); with equal chances a permutation."""
    # The logistic regression's own model of errors, given their number: each row's log-odds get logistic noise, and the
    # `count` largest are errors.
    noise = torch.logit(rng.uniform(keys, (1,)).flatten().double(), eps=1e-12)
    drawn = torch.zeros(len(chances), dtype=torch.bool, device=chances.device)
    drawn[(torch.logit(chances.double()) + noise).topk(count).indices] = True
    return drawn


# Many weighted linear support vector machines on the same rows x_i, solved together. Each minimises
#     1/2 |w|^2 + sum_i c_i max(0, 1 - t_i w.x_i)^2
# with its own targets t and costs c: the squared hinge (Chapelle, Neural Computation 2007). So the folds and draws of a
# class are one batch of matrix products.

# Steps between two evaluations of the gradients' norms, which wait for the device.
_CHECK_EVERY = 10


def fit_machines(
    rows: Tensor, targets: Tensor, costs: Tensor, *, tolerance: float = 1e-3, max_steps: int = 500
) -> Tensor:
    """Return the weights (B, D) of B machines, by Nesterov's method for strongly convex functions.

    Args:
        rows: (N, D); the bias of a column of ones is penalised, as liblinear's is.
        targets: (B, N) of -1 and 1.
        costs: (B, N) >= 0; 0 leaves a row out.
        tolerance: the gradient's norm at the end, as a share of its norm at 0.
    """
    # The curvature of a machine is at most 1 + 2 |sum c_i x_i x_i'|; each of two bounds of that norm may be the
    # smaller.
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
    """Return an upper estimate of the largest eigenvalue of rows.T @ rows."""
    vector = rows.new_ones(rows.shape[1]) / math.sqrt(rows.shape[1])
    size = 0.0
    for _ in range(steps):
        vector = rows.T @ (rows @ vector)
        size = float(vector.norm())
        if size == 0:
            return 0.0
        vector = vector / size
    # Power steps approach the eigenvalue from below: add a tenth.
    return 1.1 * size


def balanced_costs(targets: Tensor, used: Tensor) -> Tensor:
    """Return costs (B, N) that give both sides (-1, 1) of each machine the same weight, with the sum of `used`."""
    total = used.sum(1, keepdim=True)
    costs = torch.zeros_like(used)
    for side in (-1, 1):
        members = used * (targets == side)
        costs += members * (total / (2 * members.sum(1, keepdim=True).clamp(min=1)))
    return costs


Embedding = Callable[[Tensor], Tensor] | Tensor
"""Maps inputs (B, *S) to rows (B, D); or the rows (N, D) of all samples, in order."""

MAX_EXCESS = 0.45
"""The assertion's default limit; `benchmarks/failure_directions.py` shows which models exceed it."""

# Images are averaged down to this side at most before their principal components are taken.
_SIDE = 16


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    return [
        Fact(
            "errors",
            f"class {c['class']}: {c['errors']} of {c['n']} wrong, excess {number(c['excess'])}, p = {c['p']:.2g}",
        )
        for c in details["classes"][:3]
    ]


NO_FAILURE_DIRECTION = Kind(
    name="no_failure_direction",
    varies="nothing",
    quantities=(
        Quantity.at_most(
            "max_excess_error", "excess error rate", "errors beyond those foreseen, along a direction", trivial=1
        ),
    ),
    lines=_lines,
)


@measurement(NO_FAILURE_DIRECTION)
def measure_no_failure_direction(
    model: object,
    data: object,
    *,
    max_excess_error: float | None = None,
    embedding: Embedding | None = None,
    components: int = 64,
    permutations: int = 200,
    min_errors: int = 10,
    **options: Unpack[Options],
) -> Result:
    """Measure errors along a linear direction, beyond those foreseen from the embedding (Jain et al., ICLR 2023).

    The claim fails if a class exceeds `max_excess_error` and chance does not explain it (p <= alpha / 2, corrected for
    all classes). It passes if no class exceeds it and all classes could be decided, which takes `min_errors` errors and
    as many hits. The verdict holds for this set of samples, whatever the scope.

    Args:
        model, data: as for `measure_robust_accuracy`.
        max_excess_error: the largest error rate beyond the foreseen one, in 0..1.
        embedding: the rows that machines are fitted on, not the model's own last layer: there its failures look like
            another class. None takes principal components of inputs, averaged down to 16 x 16.
        components: most principal components.
        permutations: draws of the errors, at least 2 / alpha - 1 to find anything.
        min_errors: classes with fewer errors, or hits, cannot be decided, >= 5.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result; the estimate is the highest excess of the classes found, else of all classes, at least 0.
            `details["classes"]` has each class's excess, p-value, errors, and worst samples.

    Raises:
        ConfigError: an argument is out of range.
        DataError: an embedding does not fit.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    max_excess_error = checked_threshold("max_excess_error", max_excess_error, trivial=1, optional=True)
    checked_whole("components", components, 1)
    setup = Setup.of(model, data, options).unpictured()
    n, alpha = len(setup.samples), setup.settings.alpha
    if 1 / (permutations + 1) > alpha / 2 + 1e-12:
        raise ConfigError(expected(f"permutations >= {round(2 / alpha) - 1} at alpha = {alpha:g}", permutations))
    if isinstance(embedding, Tensor) and (embedding.ndim != 2 or len(embedding) != n):
        raise DataError(expected(f"embedding to have {n} rows (N, D)", tuple(embedding.shape)))
    rule = ShareRule(threshold=None, at_least=True, terms=setup.terms)
    look = EmbeddingMeasurement(embedding)
    plan = setup.plan(NO_FAILURE_DIRECTION.quantities[0].state(), look, rule, here=True)
    evidence = observe(plan)
    rows = torch.from_numpy(evidence.columns["embedding"])
    found = find_failure_directions(
        principal_components(rows, components) if embedding is None else rows,
        torch.from_numpy(evidence.columns["label"]),
        torch.from_numpy(~evidence.columns["held"]),
        permutations=permutations,
        alpha=alpha / 2,
        min_excess=max_excess_error or 0.0,
        min_errors=min_errors,
        seed=plan.settings.seed,
    )
    return finish(
        plan,
        replace(evidence, exhibits=_exhibits(evidence, found, plan.settings.examples)),
        decision=_decision(evidence, found, max_excess_error),
        kind=NO_FAILURE_DIRECTION,
        threshold=max_excess_error,
        setting=f"{len(found.directions)} classes, {len(found.skipped)} skipped",
        method=f"linear machines, {found.permutations} draws of the errors as foreseen",
        details={
            "accuracy": evidence.share(evidence.columns["held"]),
            "permutations": found.permutations,
            "found": [direction.label for direction in found.found],
            "classes": [
                {
                    "class": direction.label,
                    "excess": direction.excess,
                    "foreseen": direction.foreseen,
                    "slice": direction.slice,
                    "score": direction.score,
                    "chance": direction.null_mean,
                    "p": direction.p_value,
                    "errors": direction.n_errors,
                    "n": len(direction.rows),
                    "most_failing": np.asarray(evidence.ids)[direction.rows[:10].numpy()].tolist(),
                }
                for direction in found.directions
            ],
            "skipped": {str(label): why for label, why in found.skipped.items()},
        },
        scope="set",  # an excess has a p-value, and no bound on the population
    )


@assertion(measure_no_failure_direction, max_excess_error=MAX_EXCESS)
def assert_no_failure_direction() -> None:
    """Claim that no class has, along a linear direction, many more errors than its similarity to others explains."""


@dataclass(frozen=True, slots=True)
class EmbeddingMeasurement:
    """The model's answers to a chunk, and the rows of its samples."""

    embedding: Embedding | None

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        embedding = self.embedding
        logits, task = evaluator.logits(chunk.x), evaluator.task
        if embedding is None:
            x = chunk.x
            # Few pixels keep the matrix of their covariances small.
            if x.ndim == 4 and max(x.shape[2:]) > _SIDE:
                x = F.adaptive_avg_pool2d(x, (min(_SIDE, x.shape[2]), min(_SIDE, x.shape[3])))
            rows: object = x.flatten(1)
        elif isinstance(embedding, Tensor):
            rows = embedding[chunk.ids.to(embedding.device)]
        else:
            with torch.no_grad():
                rows = embedding(chunk.x)
        if not isinstance(rows, Tensor) or rows.ndim != 2 or len(rows) != len(chunk.y):
            raise DataError(expected(f"embedding to give {len(chunk.y)} rows (B, D)", rows))
        held, predicted = task.holds(logits, chunk.y), task.predictions(logits)
        columns = {"held": held, "label": chunk.y, "predicted": predicted, "embedding": rows.float()}
        return Observation({name: column.detach().cpu().numpy() for name, column in columns.items()}, [])


def _decision(evidence: Evidence, found: FailureDirections, max_excess_error: float | None) -> Decision:
    excess = max(0.0, *(direction.excess for direction in found.directions), 0.0)
    if max_excess_error is None:
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    elif found.found:
        first = found.found[0]
        verdict, excess = Verdict.FAILED, first.excess
        rule = (
            f"class {first.label}: {number(first.excess + first.foreseen, first.foreseen, digits=2)} wrong where "
            f"{number(first.foreseen, digits=2)} is foreseen, "
            f"p = {first.p_value:.2g}"
        )
    elif not evidence.whole:
        verdict, rule = Verdict.INCONCLUSIVE, f"budget: {evidence.n} of {evidence.total} samples looked at"
    elif doubt := _doubt(evidence, found, max_excess_error):
        verdict, rule = Verdict.INCONCLUSIVE, doubt
    elif not found.directions:
        verdict, rule = Verdict.PASSED, "certain: there are no errors"
    else:
        highest = found.directions[0]
        verdict, rule = (
            Verdict.PASSED,
            f"no class has more: {number(highest.excess, max_excess_error)} in class {highest.label}",
        )
    shown = next(iter(found.found or found.directions), None)
    if shown is None:
        interval = 0.0, 1.0  # no class could be judged, and nothing is ruled out
    else:
        # The exact interval of the error rate in the slice shown, less the foreseen rate. Each decision in the slice is
        # from a machine fitted without that sample. The class was chosen by these data, so that all classes share
        # the error of the lower end.
        alpha, wrong = found.alpha * 2, round((shown.excess + shown.foreseen) * shown.slice)
        low = clopper_pearson(wrong, shown.slice, alpha / len(found.directions))[0]
        high = clopper_pearson(wrong, shown.slice, alpha)[1]
        interval = max(0.0, low - shown.foreseen), max(0.0, high - shown.foreseen)
    return Decision(verdict=verdict, rule=rule, estimate=excess if evidence.whole else None, interval=interval)


def _doubt(evidence: Evidence, found: FailureDirections, max_excess_error: float) -> str:
    """Return the reason why a claim that did not fail does not pass; empty if it passes."""
    wrong = evidence.columns["label"][~evidence.columns["held"]]
    few = [label for label in found.skipped if (wrong == label).any()]
    if few and not found.directions:
        return f"{len(wrong)} errors, too few in every class to tell a direction"
    if few:
        classes = f"class{'es' if len(few) > 1 else ''} {', '.join(map(str, few))}"
        return (
            f"{classes}: errors, but too few of them, or of hits, to tell a direction (min_errors); give more samples"
        )
    over = [direction for direction in found.directions if direction.excess > max_excess_error]
    if not over:
        return ""
    least = min(over, key=lambda direction: direction.p_value)
    return (
        f"class {least.label}: {number(least.excess, max_excess_error)}, p = {least.p_value:.2g}: this may be "
        "chance, give more samples"
    )


def _exhibits(evidence: Evidence, found: FailureDirections, most: int) -> list[Exhibit]:
    # Without pictures: the samples were not changed.
    nothing = torch.empty(0)
    shown = []
    for direction in found.found:
        for row, badness in zip(direction.rows.tolist(), (-direction.decisions).tolist(), strict=True):
            predicted = int(evidence.columns["predicted"][row])
            if predicted != direction.label:
                shown.append(
                    Exhibit(
                        index=int(evidence.ids[row]),
                        label=direction.label,
                        clean=predicted,
                        predicted=predicted,
                        size=None,
                        before=nothing,
                        after=nothing,
                        badness=badness,
                    )
                )
    return sorted(shown, key=lambda exhibit: -exhibit.badness)[:most]
