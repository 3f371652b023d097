"""Sparse linear heads on a model's features, along a path of penalties from no feature to many."""

# Wong, Santurkar and Madry, "Leveraging Sparse Linear Layers for Debuggable Deep Networks" (ICML 2021), section 2: the
# elastic net of Zou and Hastie (2005) on standardised features of a frozen network, at falling penalties lam_k. Each
# fit starts from the fit before, on the features that the strong rule admits (Tibshirani et al., JRSS B 2012): feature
# j takes part at lam_k if it did before, or if the gradient at lam_(k-1) exceeds l1_ratio (2 lam_k - lam_(k-1)). The
# rule can be wrong: features whose gradient exceeds l1_ratio lam_k are admitted until the duality gap over all features
# is small.
#
# A head explains; it is not the deployed model. The choice among correlated features is arbitrary: confirm a finding by
# an intervention on the model.

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.clock import check as check_clock
from robustest.errors import ConfigError, DataError, expected
from robustest.packs import checked_real, checked_whole
from robustest.tasks import CLASSIFICATION

# Elastic-net multinomial logistic regression at one penalty.
#
# Minimise over weights W (K, M) and a free bias b (K,), for standardised features x_i and labels y_i of N rows,
#     F(W, b) = f(W, b) + g(W),    f = mean_i cross-entropy(W x_i + b, y_i),
#     g = lam * (l1_ratio * sum |W| + (1 - l1_ratio) / 2 * sum W^2),
# by FISTA (Beck and Teboulle, SIAM J. Imaging Sciences 2009): a gradient step of length 1 / L on f from a momentum
# point, then the proximal map of g. Momentum is dropped whenever it points uphill (O'Donoghue and Candes, Found.
# Comput. Math. 2015). A relative duality gap ends the iteration.


# Factors of the curvature estimate after a step that was too long, and after one that was not.
_GROW, _SHRINK = 1.5, 0.95

# The estimate stops growing here: a bound that still fails is a matter of rounding, and no longer of curvature.
_LARGEST_CURVATURE = 1e8

# Steps between two duality gaps, each of which costs about as much as a step.
_CHECK_EVERY = 10


class Design:
    """Standardised features for products with weights; with `batch` they are streamed and never held on the device.

    Args:
        features: (N, D) floats, on any device, memory-mapped too.
        mean, scale: (D,) of the features, on `device`.
        batch: rows moved to the device at a time; None holds all there.
        columns: (M,) int64 features that take part; None for all.
    """

    def __init__(
        self,
        features: Tensor,
        mean: Tensor,
        scale: Tensor,
        *,
        device: torch.device,
        dtype: torch.dtype,
        batch: int | None = None,
        columns: Tensor | None = None,
    ) -> None:
        self.features, self.mean, self.scale = features, mean, scale
        self.device, self.dtype, self.batch, self.columns = device, dtype, batch, columns
        self._held: Tensor | None = None
        if batch is None:
            self._held = self._standardised(features)

    def __len__(self) -> int:
        return len(self.features)

    def restricted(self, columns: Tensor) -> Design:
        part = Design.__new__(Design)
        part.__dict__.update(self.__dict__)
        part.columns = columns
        part._held = None if self._held is None else self._held[:, columns]
        return part

    def scores(self, weight: Tensor) -> Tensor:
        """Return the scores (K, N) of weights (K, M)."""
        return torch.cat([weight @ part.T for part in self._parts()], 1)

    def weight_gradient(self, residual: Tensor) -> Tensor:
        """Return the gradient (K, M) of f by the weights, from residuals (K, N)."""
        total, start = torch.zeros((), device=self.device, dtype=self.dtype), 0
        for part in self._parts():
            total = total + residual[:, start : start + len(part)] @ part
            start += len(part)
        return total / len(self)

    def _parts(self) -> Iterator[Tensor]:
        if self._held is not None:
            yield self._held
            return
        for rows in torch.split(self.features, self.batch or len(self)):
            part = self._standardised(rows)
            yield part if self.columns is None else part[:, self.columns]

    def _standardised(self, rows: Tensor) -> Tensor:
        return (rows.to(self.device, self.dtype) - self.mean) / self.scale


@dataclass(frozen=True, slots=True)
class ElasticNetFit:
    """A solution at one penalty: weight (K, M) and bias (K,).

    Attributes:
        objective: F, in nats.
        gap: a certified bound on the objective minus the smallest one, as a share of the objective.
        curvature: a start for the next penalty.
    """

    weight: Tensor
    bias: Tensor
    objective: float
    gap: float
    curvature: float
    steps: int


class ElasticNetObjective:
    """The objective F of one penalty on a design, with labels (N,) int64 of K classes on its device."""

    def __init__(self, design: Design, labels: Tensor, *, lam: float, l1_ratio: float, classes: int) -> None:
        self.design, self.labels = design, labels
        self.hot = F.one_hot(labels, classes).T.to(design.dtype)
        self.l1, self.l2 = lam * l1_ratio, lam * (1 - l1_ratio)

    def cross_entropy(self, logits: Tensor) -> float:
        """Return f at logits (K, N), in nats."""
        picked = logits.gather(0, self.labels.view(1, -1)).squeeze(0)
        return float((torch.logsumexp(logits, 0) - picked).double().mean())

    def penalty(self, weight: Tensor) -> float:
        wide = weight.double()
        return float(self.l1 * wide.abs().sum() + 0.5 * self.l2 * wide.square().sum())

    def residual(self, logits: Tensor) -> Tensor:
        """Return the derivative (K, N) of each sample's cross-entropy by its logits."""
        return torch.softmax(logits, 0) - self.hot

    def proximal(self, weight: Tensor, step: float) -> Tensor:
        """Return the proximal map of g: soft thresholding, then shrinkage."""
        size = (weight.abs() - step * self.l1).clamp_(min=0)
        return size * weight.sign() / (1 + step * self.l2)

    def refit_bias(self, scores: Tensor, bias: Tensor) -> Tensor:
        """Return the bias after two Newton steps with the weights fixed."""
        # Much cheaper than a product with the features.
        for _ in range(2):
            chance = torch.softmax(scores + bias[:, None], 0).double()
            slope = (chance - self.hot.double()).mean(1)
            # A constant added to every bias changes nothing, so that the Hessian is singular in that direction: adding
            # the matrix of ones gives it a curvature.
            bend = torch.diag(chance.mean(1)) - chance @ chance.T / chance.shape[1]
            bend += torch.eye(len(bias), dtype=bend.dtype, device=bend.device) * 1e-9 + 1.0
            bias = (bias.double() - torch.linalg.solve(bend, slope)).to(bias.dtype)
        return bias

    def gap(self, logits: Tensor, bias: Tensor, gradient: Tensor, objective: float) -> float:
        """Return a bound on the distance of `objective` from the smallest one, as a share of it."""
        # Fenchel's dual of F at a point P (K, N), a distribution over classes for each row, is
        #     mean_i entropy(P_i) - sum (|grad| - l1)_+^2 / (2 l2),    grad = (P - hot) X / N.
        # It is evaluated at the softmax of the logits, and at the point between softmax and labels where no gradient
        # exceeds l1 any more. Either is a lower bound; the better one counts.
        chance, best = torch.softmax(logits, 0).double(), -math.inf
        largest = float(gradient.abs().max()) if gradient.numel() else 0.0
        wide, hot = gradient.double(), self.hot.double()
        # A free bias has no finite dual value unless residuals sum to exactly 0. So the bound is for all biases within
        # 1 of this one.
        lean = (chance - hot).mean(1)
        free = float((lean * bias.double()).sum() - lean.abs().sum())
        for scale in {1.0, min(1.0, self.l1 / max(largest, 1e-300))}:
            point = scale * chance + (1 - scale) * hot
            excess = (scale * wide.abs() - self.l1).clamp_(min=0).square().sum() / (2 * self.l2)
            best = max(best, float(torch.special.entr(point).sum(0).mean() - excess) + scale * free)
        return (objective - best) / max(objective, 1e-300)


def solve(
    objective: ElasticNetObjective,
    weight: Tensor,
    bias: Tensor,
    *,
    tolerance: float,
    curvature: float,
    max_steps: int,
) -> ElasticNetFit:
    """Return the minimiser, from a warm start.

    Args:
        weight, bias: (K, M), (K,) start.
        tolerance: the relative duality gap to reach, > 0.
        curvature: a first estimate, > 0.
    """
    iteration = _Fista(objective, weight, bias, curvature)
    fit = iteration.fit()
    while fit.gap > tolerance and iteration.steps < max_steps:
        for _ in range(_CHECK_EVERY):
            iteration.step()
        fit = iteration.fit()
    return fit


def divergence(chance: Tensor, change: Tensor) -> float:
    """Return the rise of the mean cross-entropy above its tangent when logits change.

    Args:
        chance: (K, N) probabilities before.
        change: (K, N) of the logits.
    """
    # The mean of KL(before || after), written so that small changes do not vanish in rounding, as they would in a
    # difference of two cross-entropies.
    centred = change - (chance * change).sum(0)
    return float(torch.log1p((chance * (torch.expm1(centred) - centred)).sum(0)).double().mean())


class _Fista:
    def __init__(self, objective: ElasticNetObjective, weight: Tensor, bias: Tensor, curvature: float) -> None:
        self.objective, self.curvature, self.steps, self.momentum = objective, curvature, 0, 1.0
        # Scores are linear in the weights: a momentum point's scores cost no product.
        self.weight, self.bias, self.scores = weight, bias, objective.design.scores(weight)
        self.before = (self.weight, self.bias, self.scores)

    def step(self) -> None:
        check_clock()
        objective, ahead = self.objective, (1 + math.sqrt(1 + 4 * self.momentum**2)) / 2
        beta = (self.momentum - 1) / ahead
        here = (self.weight, self.bias, self.scores)
        weight, bias, scores = (now + beta * (now - old) for now, old in zip(here, self.before, strict=True))
        chance = torch.softmax(scores + bias[:, None], 0)
        residual = chance - objective.hot
        by_weight, by_bias = objective.design.weight_gradient(residual), residual.mean(1)
        while True:
            self.steps += 1
            length = 1 / self.curvature
            new_weight = objective.proximal(weight - length * by_weight, length)
            new_bias = bias - length * by_bias
            new_scores = objective.design.scores(new_weight)
            moved, shifted = new_weight - weight, new_bias - bias
            # Accept the step if f is under its quadratic bound, f(new) - tangent <= L / 2 |new - old|^2.
            rise = divergence(chance, new_scores - scores + shifted[:, None])
            reach = float(moved.double().square().sum() + shifted.double().square().sum())
            if rise <= self.curvature / 2 * reach or self.curvature > _LARGEST_CURVATURE:
                break
            self.curvature *= _GROW
        # Restart where the generalised gradient, old - new, has a positive product with the last move.
        uphill = -(moved * (new_weight - self.weight)).sum() - (shifted * (new_bias - self.bias)).sum()
        self.momentum = 1.0 if float(uphill) > 0 else ahead
        self.before = here
        self.weight, self.bias, self.scores = new_weight, new_bias, new_scores
        # The curvature of cross-entropy falls as samples are fitted. A global bound would allow far shorter steps.
        self.curvature *= _SHRINK

    def fit(self) -> ElasticNetFit:
        objective, bias = self.objective, self.objective.refit_bias(self.scores, self.bias)
        logits = self.scores + bias[:, None]
        # Newton's steps may overshoot far from the optimum (and give NaN): then the bias reached stays.
        if not objective.cross_entropy(logits) <= objective.cross_entropy(self.scores + self.bias[:, None]):
            bias, logits = self.bias, self.scores + self.bias[:, None]
        value = objective.cross_entropy(logits) + objective.penalty(self.weight)
        gradient = objective.design.weight_gradient(objective.residual(logits))
        gap = objective.gap(logits, bias, gradient, value)
        return ElasticNetFit(self.weight, bias, value, gap, self.curvature, self.steps)


Rows = tuple[Tensor, Tensor]

_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseHead:
    """A linear classifier on standardised features.

    Attributes:
        weight: (K, D), mostly zeros; logits per standard deviation of the feature.
        mean, scale: (D,) of the features.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    @property
    def counts(self) -> Tensor:
        """(K,) int64: the number of features with a weight, by class."""
        return (self.weight != 0).sum(1)

    def standardised(self, features: Tensor) -> Tensor:
        """Return standardised features (N, D) of raw features (N, D)."""
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise DataError(expected(f"features (N, {len(self.mean)})", tuple(features.shape)))
        return (features.to(self.weight.device, self.weight.dtype) - self.mean) / self.scale

    def logits(self, features: Tensor) -> Tensor:
        """Return logits (N, K) of raw features (N, D)."""
        return self.standardised(features) @ self.weight.T + self.bias

    def top(self, class_index: int, limit: int | None = None) -> tuple[tuple[int, float], ...]:
        """Return the features of a class with their signed weights, the largest in size first.

        Raises:
            ConfigError: there is no such class.
        """
        if type(class_index) is not int or not 0 <= class_index < len(self.bias):
            raise ConfigError(expected(f"class_index to be a class in 0..{len(self.bias) - 1}", class_index))
        row = self.weight[class_index]
        order = row.abs().argsort(descending=True, stable=True)[: int((row != 0).sum())]
        return tuple((int(j), float(row[j])) for j in order[:limit])

    def fidelity(self, features: Tensor, predictions: Tensor) -> float:
        """Return the share of rows where the head agrees with the deployed model's predictions (N,) int64."""
        return float(CLASSIFICATION.holds(self.logits(features), predictions.to(self.weight.device)).double().mean())

    def contributions(self, on: Tensor, off: Tensor) -> Tensor:
        """Return (K, D): the mean change of each class's logit through each feature when a cue is switched on.

        Args:
            on, off: (N, D) raw features of the same inputs with the cue and without.
        """
        # The sum over features separates networks that rely on a cue from others; the largest weights alone do not.
        change = (self.standardised(on) - self.standardised(off)).mean(0)
        return self.weight * change


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparsePath:
    """Heads from the sparsest to the densest.

    Attributes:
        lambdas: L penalties, falling.
        weights, biases: L sparse COO tensors (K, D); (L, K).
        mean, scale: (D,) of the features of the training rows.
        objectives: in nats.
        gaps: relative duality gaps; at most the tolerance where the fit converged.
        accuracies: on the validation rows, in 0..1.
    """

    lambdas: tuple[float, ...]
    weights: tuple[Tensor, ...]
    biases: Tensor
    mean: Tensor
    scale: Tensor
    objectives: tuple[float, ...]
    gaps: tuple[float, ...]
    accuracies: tuple[float, ...] | None
    l1_ratio: float
    n_train: int
    n_validation: int

    def __len__(self) -> int:
        return len(self.lambdas)

    @property
    def nonzeros(self) -> tuple[int, ...]:
        """The number of nonzero weights, along the path."""
        return tuple(weight.values().numel() for weight in self.weights)

    def head(self, index: int) -> SparseHead:
        weight = self.weights[index].to_dense()
        return SparseHead(weight=weight, bias=self.biases[index], mean=self.mean, scale=self.scale)

    def select(self, *, slack: float = 0.05, reference: float | None = None) -> int:
        """Return the index of the sparsest head whose validation accuracy is within `slack` of a reference.

        If there is none, it is the most accurate head.

        Args:
            slack: in 0..1.
            reference: an accuracy in 0..1, for example of the deployed model; None means that of the densest head.

        Raises:
            ConfigError: an argument is not in 0..1, or there were no validation rows.
        """
        if isinstance(slack, bool) or not isinstance(slack, (int, float)) or not 0 <= slack <= 1:
            raise ConfigError(expected("slack in 0..1", slack))
        if self.accuracies is None:
            raise ConfigError("Expected validation rows to choose a head by but the path was fitted without any.")
        if reference is not None and not 0 <= reference <= 1:
            raise ConfigError(expected("reference in 0..1", reference))
        scores, sizes = self.accuracies, self.nonzeros
        least = min((scores[-1] if reference is None else reference) - slack, max(scores))
        enough = [i for i in range(len(self)) if scores[i] >= least - 1e-12]
        return min(enough, key=lambda i: (sizes[i], -scores[i]))

    def selected(self, *, slack: float = 0.05) -> SparseHead:
        return self.head(self.select(slack=slack))


def fit_sparse_head(
    features: Tensor,
    labels: Tensor,
    *,
    validation: Rows | None = None,
    validation_share: float = 0.1,
    l1_ratio: float = 0.99,
    n_lambdas: int = 100,
    lambda_ratio: float = 1e-3,
    lambdas: Sequence[float] | None = None,
    classes: int | None = None,
    tolerance: float = 1e-4,
    max_steps: int = 5000,
    batch: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SparsePath:
    """Fit elastic-net multinomial logistic regression along a path of penalties, from the sparsest head to the densest.

    At each penalty lam it minimises mean cross-entropy + lam * (l1_ratio * sum |W| + (1 - l1_ratio) / 2 * sum W^2) with
    a free bias, on features standardised by the training rows.

    Args:
        features: (N, D) floats, finite. With `batch` they may be memory-mapped.
        labels: (N,) int64 in 0..K-1, every class present.
        validation: rows that choose the head; None holds out `validation_share` of the rows given.
        validation_share: of each class, in [0, 1).
        l1_ratio: share of absolute values in the penalty, in (0, 1).
        n_lambdas: penalties on the path, >= 2, evenly spaced in the logarithm.
        lambda_ratio: the last penalty over the first, in (0, 1). The first is the smallest without any feature.
        lambdas: falling penalties > 0, instead of the two above.
        classes: K; None takes the largest label + 1.
        tolerance: relative duality gap that ends a fit, > 0.
        max_steps: most steps at one penalty.
        batch: rows moved to the device at a time; None holds all there.
        progress: called with the numbers of penalties done, and of all penalties.

    Raises:
        ConfigError: an argument is out of range.
        DataError: features or labels are malformed or not finite, or a class has no rows.
    """
    for name, value in (("l1_ratio", l1_ratio), ("lambda_ratio", lambda_ratio)):
        require(_real(value) and 0 < value < 1, f"{name} in (0, 1)", value)
    require(_real(validation_share) and 0 <= validation_share < 1, "validation_share in [0, 1)", validation_share)
    checked_whole("n_lambdas", n_lambdas, 2)
    checked_whole("max_steps", max_steps, 1)
    checked_whole("batch", 1 if batch is None else batch, 1)
    require(_real(tolerance) and tolerance > 0, "tolerance > 0", tolerance)
    require(dtype in (torch.float32, torch.float64), "dtype to be torch.float32 or torch.float64", dtype)
    k = checked_rows(features, labels, classes)

    train, held = (features, labels), validation
    if validation is not None:
        checked_rows(*validation, k, complete=False)
        if validation[0].shape[1] != features.shape[1]:
            raise DataError(expected(f"validation features (M, {features.shape[1]})", tuple(validation[0].shape)))
    else:
        kept, rest = stratified_split(labels, validation_share, seed)
        if len(rest):
            place, y = features.device, labels.cpu()
            train, held = (features[kept.to(place)], y[kept]), (features[rest.to(place)], y[rest])

    place = torch.device(device) if device is not None else features.device
    mean, scale = standardisation(train[0], place, dtype)
    design = Design(train[0], mean, scale, device=place, dtype=dtype, batch=batch)
    path = _WarmStartPath(
        design, train[1].to(place), l1_ratio=l1_ratio, classes=k, tolerance=tolerance, max_steps=max_steps
    )
    if lambdas is None:
        grid = [path.last * lambda_ratio ** (i / (n_lambdas - 1)) for i in range(n_lambdas)]
    else:
        grid = list(lambdas)
        if not grid or not all(_real(lam) and lam > 0 for lam in grid) or any(b >= a for a, b in pairwise(grid)):
            raise ConfigError(expected("lambdas to be falling numbers > 0", lambdas))
    fits = []
    for lam in grid:
        fits.append(path.down_to(lam))
        if progress is not None:
            progress(len(fits), len(grid))

    accuracies: tuple[float, ...] | None = None
    if held is not None:
        test = Design(held[0], mean, scale, device=place, dtype=dtype, batch=batch or _ROWS_AT_A_TIME)
        guesses = ((test.scores(fit.weight) + fit.bias[:, None]).argmax(0).cpu() for fit in fits)
        accuracies = tuple(float((guess == held[1].cpu()).double().mean()) for guess in guesses)
    return SparsePath(
        lambdas=tuple(grid),
        weights=tuple(fit.weight.detach().cpu().to_sparse().coalesce() for fit in fits),
        biases=torch.stack([fit.bias.detach().cpu() for fit in fits]),
        mean=mean.cpu(),
        scale=scale.cpu(),
        objectives=tuple(fit.objective for fit in fits),
        gaps=tuple(fit.gap for fit in fits),
        accuracies=accuracies,
        l1_ratio=l1_ratio,
        n_train=len(train[1]),
        n_validation=0 if held is None else len(held[1]),
    )


class _WarmStartPath:
    def __init__(
        self, design: Design, labels: Tensor, *, l1_ratio: float, classes: int, tolerance: float, max_steps: int
    ) -> None:
        self.design, self.labels, self.l1_ratio, self.classes = design, labels, l1_ratio, classes
        self.tolerance, self.max_steps, self.curvature = tolerance, max_steps, 0.01
        hot = F.one_hot(labels, classes).T.to(design.dtype)
        # Without features the best bias gives each class its share of the rows.
        self.bias = hot.mean(1).log()
        self.weight = hot.new_zeros(classes, len(design.mean))
        self.gradient = design.weight_gradient(hot.mean(1, keepdim=True) - hot)
        # The last penalty: at first the smallest one that leaves no feature.
        self.last = max(float(self.gradient.abs().max()) / l1_ratio, 1e-12)
        self.admitted = torch.zeros(len(design.mean), dtype=torch.bool, device=design.device)
        self.part = design.restricted(self.admitted.nonzero().squeeze(1))

    def down_to(self, lam: float) -> ElasticNetFit:
        self._admit(self.l1_ratio * (2 * lam - self.last))  # the strong rule
        how = {"lam": lam, "l1_ratio": self.l1_ratio}
        whole = ElasticNetObjective(self.design, self.labels, classes=self.classes, **how)
        while True:
            columns = self.admitted.nonzero().squeeze(1)
            fit = solve(
                ElasticNetObjective(self.part, self.labels, classes=self.classes, **how),
                self.weight[:, columns],
                self.bias,
                tolerance=self.tolerance,
                curvature=self.curvature,
                max_steps=self.max_steps,
            )
            self.weight[:, columns] = fit.weight
            self.bias, self.curvature = fit.bias, fit.curvature
            # The gap over all features: a feature that the rule left out wrongly shows in it.
            logits = self.part.scores(fit.weight) + fit.bias[:, None]
            self.gradient = self.design.weight_gradient(whole.residual(logits))
            gap = whole.gap(logits, fit.bias, self.gradient, fit.objective)
            if gap <= self.tolerance or not self._admit(self.l1_ratio * lam):
                break
        self.last = lam
        return ElasticNetFit(self.weight.clone(), fit.bias, fit.objective, gap, fit.curvature, fit.steps)

    def _admit(self, threshold: float) -> bool:
        admitted = self.admitted | (self.gradient.abs().amax(0) > threshold)
        # False ends the search for features that the rule left out.
        if bool((admitted == self.admitted).all()):
            return False
        self.admitted = admitted
        self.part = self.design.restricted(admitted.nonzero().squeeze(1))
        return True


def checked_rows(features: Tensor, labels: Tensor, classes: int | None = None, *, complete: bool = True) -> int:
    """Return the number of classes K of features (N, D) with labels (N,).

    Raises:
        ConfigError: classes is no whole number >= 2.
        DataError: features or labels are malformed or not finite, or a class has no rows, if `complete`.
    """
    if (
        not isinstance(features, Tensor)
        or features.ndim != 2
        or 0 in features.shape
        or not features.is_floating_point()
    ):
        got = tuple(features.shape) if isinstance(features, Tensor) and features.ndim != 2 else features
        raise DataError(expected("features to be a floating tensor (N, D)", got))
    if not isinstance(labels, Tensor) or labels.shape != features.shape[:1] or labels.dtype != torch.int64:
        raise DataError(expected(f"labels to be an int64 tensor ({len(features)},)", labels))
    if classes is not None and (type(classes) is not int or classes < 2):
        raise ConfigError(expected("classes to be a whole number >= 2", classes))
    if not all(bool(torch.isfinite(part).all()) for part in torch.split(features, _ROWS_AT_A_TIME)):
        raise DataError("Expected finite features but got NaN or infinity among them.")
    k = max(2, int(labels.max()) + 1) if classes is None else classes
    if int(labels.min()) < 0 or int(labels.max()) >= k:
        raise DataError(expected(f"labels in 0..{k - 1}", (int(labels.min()), int(labels.max()))))
    missing = (torch.bincount(labels, minlength=k) == 0).nonzero().flatten().tolist()
    if complete and missing:
        raise DataError(f"Expected rows of every class in 0..{k - 1} but got none of {missing[:10]}.")
    return k


def stratified_split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return rows to train on and rows held out, a rounded share of each class, both int64 in rising order."""
    order = rng.permutation(seed, len(labels))
    shuffled, out = labels.cpu()[order], torch.zeros(len(labels), dtype=torch.bool)
    for k in torch.unique(shuffled).tolist():
        members = order[shuffled == k]
        # A class keeps at least one row to train on.
        out[members[: min(len(members) - 1, round(share * len(members)))]] = True
    return (~out).nonzero().squeeze(1), out.nonzero().squeeze(1)


def standardisation(features: Tensor, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (D,) over rows (N, D), summed in float64; 1 where a feature is constant."""
    mean = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    for part in torch.split(features, _ROWS_AT_A_TIME):
        mean += part.double().sum(0) / len(features)
    square = torch.zeros_like(mean)
    for part in torch.split(features, _ROWS_AT_A_TIME):
        square += (part.double() - mean).square().sum(0)
    scale = (square / len(features)).sqrt()
    # A constant feature keeps some rounding noise, which must not be scaled up to unit variance.
    scale = torch.where(scale > 1e-6 * mean.abs().clamp(min=1e-6), scale, torch.ones_like(scale))
    return mean.to(device, dtype), scale.to(device, dtype)


def require(holds: object, what: str, got: object) -> None:
    """Raise ConfigError that expected `what` but got `got`, unless a condition holds."""
    if not holds:
        raise ConfigError(expected(what, got))


def _real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


# Stability selection (Meinshausen and Buhlmann, JRSS B 2010): features that a penalised fit selects from nearly every
# half of the rows are not selected by accident. Of features that carry the same information, though, each half may
# select another.

# The path to a penalty starts this many times above it, and has this many steps; those without features are free.
_FAR, _WAYPOINTS = 100.0, 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stability:
    """Shares (K, D) of subsamples, in 0..1, in which features are selected with a weight above and below 0."""

    positive: Tensor
    negative: Tensor
    subsamples: int

    def kept(self, class_index: int, *, at_least: float = 0.8) -> tuple[tuple[int, float], ...]:
        """Return the features selected with one sign in a share of the subsamples, with that signed share."""
        checked_real("at_least", at_least, 0.0, 1.0)
        rise, fall = self.positive[class_index], self.negative[class_index]
        share = torch.where(rise >= fall, rise, -fall)
        order = share.abs().argsort(descending=True, stable=True)
        return tuple((int(j), float(share[j])) for j in order if abs(float(share[j])) >= max(at_least, 1e-9))


def sparse_stability(
    features: Tensor,
    labels: Tensor,
    lam: float,
    *,
    l1_ratio: float = 0.99,
    subsamples: int = 20,
    share: float = 0.5,
    tolerance: float = 1e-3,
    device: torch.device | str | None = None,
    seed: int = 0,
) -> Stability:
    """Fit the head at one penalty on many subsamples, and count the features that are selected.

    Args:
        lam: the penalty, > 0, of the head that was selected.
        subsamples: number of subsamples, >= 1.
        share: rows of each class in a subsample, in (0, 1).

    Raises:
        ConfigError: an argument is out of range.
        DataError: as for `fit_sparse_head`.
    """
    checked_real("lam", lam, 1e-300)
    checked_whole("subsamples", subsamples, 1)
    require(not isinstance(share, bool) and isinstance(share, (int, float)) and 0 < share < 1, "share in (0, 1)", share)
    k = checked_rows(features, labels)
    lambdas = [lam * _FAR ** (1 - i / _WAYPOINTS) for i in range(1, _WAYPOINTS + 1)]  # warm starts, as on a path
    positive = torch.zeros(k, features.shape[1])
    negative = torch.zeros_like(positive)
    for number in range(subsamples):
        rows = subsample(labels, share, seed, number).to(features.device)
        path = fit_sparse_head(
            features[rows],
            labels.to(features.device)[rows],
            lambdas=lambdas,
            l1_ratio=l1_ratio,
            classes=k,
            tolerance=tolerance,
            device=device,
            validation_share=0.0,
        )
        weight = path.weights[-1].to_dense()
        positive += weight > 0
        negative += weight < 0
    return Stability(positive=positive / subsamples, negative=negative / subsamples, subsamples=subsamples)


def subsample(labels: Tensor, share: float, seed: int, number: int) -> Tensor:
    """Return rows (M,) int64, rising: a share of each class, rounded, at least one row."""
    keys = rng.fold(rng.fold(rng.keys(seed, torch.arange(len(labels))), "subsample"), number)
    order, chosen = rng.uniform(keys, (1,)).flatten().argsort(stable=True), []
    shuffled = labels.cpu()[order]
    for k in torch.unique(shuffled).tolist():
        members = order[shuffled == k]
        chosen.append(members[: max(1, round(share * len(members)))])
    return torch.cat(chosen).sort().values
