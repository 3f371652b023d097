"""Fitted classifiers of scikit-learn: their answers, scores at full resolution, and torch graphs of known ones.

- `Estimator`: what `predict` says is the answer. Scores only lead a search, so they must not saturate: they are the
  graph's, or `decision_function`, or `predict_log_proba`, and probabilities only where there is nothing else.
- `network_of`: linear models, multilayer perceptrons, naive Bayes, discriminants and kernel machines, behind scalers
  and other steps that are known, as a module in float64. A search follows its gradients; whether an input is broken
  is decided by the estimator itself.
"""

# Each `_READERS` entry makes modules for one class of scikit-learn, by the exact class: a subclass may predict
# otherwise. The graph that was read must answer as the estimator does at random inputs, or the estimator has no graph:
# another release may keep other attributes under the same names.
#
# The softmax of a graph's outputs is `predict_proba` wherever the estimator defines that by such a softmax. Probability
# 1 - 1e-20 is 1 in float64, beside a logarithm of -46 of the other class: differences of outputs keep what
# probabilities lose, which is why a graph ends before the softmax.

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest.checks import require
from robustest.errors import ConfigError, expected

# Methods `predict` that return the first of the largest probabilities: asking for both would take twice the time.
_FORESTS = frozenset({"RandomForestClassifier", "ExtraTreesClassifier"})
_FOLLOWING = frozenset({"ForestClassifier.predict"})
# The logarithm of a probability of 0.
_LEAST = math.log(1e-12)


class Estimator:
    """A fitted classifier or pipeline as a function from an array (B, D) to scores (B, K) or labels (B,).

    Attributes:
        classes: the labels, in the order of the scores.
        network: maps (B, *S) to scores (B, K) in float64, with gradients; None where the estimator has no graph.
        scored: True if it gives scores.
    """

    def __init__(self, model: Any, *, probable: bool = False) -> None:
        """Read an estimator.

        Args:
            probable: scores are logarithms of `predict_proba`, for claims on confidence.

        Raises:
            ConfigError: not fitted, or not a classifier of two classes or more.
        """
        classes = _classes(model)
        self.model = model
        self.classes = tuple(classes.tolist())
        ways = ("predict_proba",) if probable else ("decision_function", "predict_log_proba", "predict_proba")
        self._score = next((name for name in ways if _has(model, name)), "")
        if self._score == "decision_function" and _in_pairs(model, len(classes)):
            self._score = "predict_log_proba" if _has(model, "predict_log_proba") else ""
        last = model.steps[-1][1] if hasattr(model, "steps") else model
        self._forest = type(model).__name__ in _FORESTS and type(model).__module__ == "sklearn.ensemble._forest"
        self._follows = getattr(type(last).predict, "__qualname__", "") in _FOLLOWING and not np.ndim(classes[0])
        self.network = None if probable else network_of(model)
        self._behind = None if probable or self.network is not None else _behind_steps(model)
        self.scored = bool(self._score) or self.network is not None or self._behind is not None

    def __call__(self, x: Any) -> NDArray[Any]:
        # Texts and frames are passed on as they are.
        rows: Any = x.reshape(len(x), -1) if isinstance(x, np.ndarray) else x
        if self._forest and isinstance(x, np.ndarray):
            # The forest's own sum, to the bit, without its pool of threads, which takes longer than a small batch.
            total = np.zeros((len(rows), len(self.classes)))
            for one in self.model.estimators_:
                total += one.tree_.predict(np.ascontiguousarray(rows))[:, : len(self.classes)]
            return cast("NDArray[Any]", np.log((total / len(self.model.estimators_)).clip(1e-12)))
        given = named(self.model, rows) if isinstance(x, np.ndarray) else rows
        if self._follows:
            return cast("NDArray[Any]", np.log(np.asarray(self.model.predict_proba(given), np.float64).clip(1e-12)))
        place = {label: index for index, label in enumerate(self.classes)}
        answer = np.array(
            [place[label] for label in np.asarray(self.model.predict(given)).ravel().tolist()], dtype=np.int64
        )
        if not self.scored:
            return answer
        scores = self._scores(rows, given)
        # An estimator's `predict` need not follow its scores (SVC with probabilities, thresholds), and a graph rounds
        # elsewhere: the score of its answer is lifted just above the others.
        every = np.arange(len(scores))
        others = scores.copy()
        others[every, answer] = -np.inf
        best = others.max(1)
        behind = scores[every, answer] <= best
        scores[every[behind], answer[behind]] = np.nextafter(best[behind].astype(np.float32), np.float32(np.inf))
        return scores

    def _scores(self, rows: Any, given: Any) -> NDArray[Any]:
        if self.network is not None and isinstance(rows, np.ndarray):
            with torch.no_grad():
                return cast("NDArray[Any]", self.network(torch.from_numpy(rows)).numpy())
        if self._behind is not None:
            made = self.model[:-1].transform(given)
            dense = np.asarray(made.toarray() if hasattr(made, "toarray") else made, dtype=np.float64)
            with torch.no_grad():
                return cast("NDArray[Any]", self._behind(torch.from_numpy(dense)).numpy())
        with np.errstate(divide="ignore"):  # the logarithm of a probability of 0
            scores = np.array(getattr(self.model, self._score)(given), dtype=np.float64)
        if scores.ndim == 1:  # a margin of two classes
            scores = np.stack([-scores, scores], 1)
        if self._score == "predict_proba":
            # Logits, as attacks and margins expect: log p, with p = 0 clipped.
            return cast("NDArray[Any]", np.log(scores.clip(1e-12)))
        if self._score == "predict_log_proba":  # -inf where the estimator takes the logarithm of a probability of 0
            lowest = np.where(np.isneginf(scores), _LEAST, scores).min(1, keepdims=True)
            scores = np.where(np.isneginf(scores), np.minimum(lowest, _LEAST), scores)
        return scores


class Differentiable:
    """An estimator's answers, and where a gradient is asked for the outputs of its graph."""

    def __init__(self, answers: Callable[[Tensor], Tensor], network: Graph) -> None:
        self.answers, self.network = answers, network

    def __call__(self, x: Any) -> Tensor:
        if isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled():
            return cast("Tensor", self.network(x)).to(x.device)
        return self.answers(x)


def named(model: Any, rows: NDArray[Any]) -> Any:
    """Return rows (N, D) as an estimator takes them: one fitted on a frame warns, or fails, without columns' names."""
    names = getattr(model, "feature_names_in_", None)
    return rows if names is None else import_module("pandas").DataFrame(rows, columns=list(names))


def _classes(model: Any) -> NDArray[Any]:
    name = type(model).__name__
    kind = getattr(model, "_estimator_type", None) or None
    if kind is None:
        with suppress(Exception):  # an estimator of an older protocol; classes_ then decide
            kind = getattr(model.__sklearn_tags__(), "estimator_type", None)
    if kind not in (None, "classifier"):
        mend = "robustest judges which class is predicted: bin the target, or claim it with task=."
        raise ConfigError(expected("a classifier", f"{name}, a {kind}", mend))
    try:
        classes = np.asarray(model.classes_)
    except AttributeError:
        raise ConfigError(expected("a fitted classifier with classes_", name, "Call fit(x, y) first.")) from None
    require(classes.ndim == 1 and len(classes) >= 2, "a classifier of one label a sample and two classes or more", name)
    return classes


def _has(model: Any, name: str) -> bool:
    try:
        return callable(getattr(model, name, None))
    except AttributeError:  # a pipeline raises if its last step lacks the method
        return False


def _in_pairs(model: Any, classes: int) -> bool:
    """Return True if `decision_function` has a column for each pair of classes."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    return classes > 2 and getattr(last, "decision_function_shape", "ovr") == "ovo"


# Piecewise constant models

_TREES = frozenset(
    {
        "AdaBoostClassifier",
        "DecisionTreeClassifier",
        "ExtraTreeClassifier",
        "ExtraTreesClassifier",
        "GradientBoostingClassifier",
        "HistGradientBoostingClassifier",
        "RandomForestClassifier",
    }
)
_STEPS = _TREES | {
    "BernoulliNB",
    "CategoricalNB",
    "DummyClassifier",
    "KNeighborsClassifier",
    "RadiusNeighborsClassifier",
}
_ENSEMBLES = frozenset({"AdaBoostClassifier", "BaggingClassifier", "VotingClassifier"})
_BOOSTERS = frozenset({"catboost", "lightgbm", "xgboost"})


def piecewise_constant(model: object) -> bool:
    """Return True for trees, their ensembles and nearest neighbours, whose scores are constant by nature in regions."""
    last: Any = model
    while True:
        if getattr(last, "steps", None):
            last = last.steps[-1][1]
        elif (inner := getattr(last, "best_estimator_", None)) is not None:
            last = inner
        else:
            break
    name, home = type(last).__name__, type(last).__module__.partition(".")[0]
    if home in _BOOSTERS:
        return True
    if home != "sklearn":
        return False
    members = getattr(last, "estimators_", None)
    if name in _ENSEMBLES and members is not None and len(members):
        return all(piecewise_constant(one) for one in np.ravel(np.asarray(members, dtype=object)))
    return name in _STEPS


# Graphs


class _Scaled(nn.Module):
    """x * weight + bias, column by column."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__()
        self.register_buffer("weight", _doubles(weight))
        self.register_buffer("bias", _doubles(bias))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.bias


class _Columns(nn.Module):
    """Chosen columns of each part's outputs, side by side."""

    def __init__(self, parts: Sequence[tuple[Sequence[int], nn.Module]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(part for _, part in parts)
        for number, (places, _) in enumerate(parts):
            self.register_buffer(f"at{number}", torch.as_tensor(list(places), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x[:, getattr(self, f"at{k}")]) for k, part in enumerate(self.parts)], 1)


class _Normalised(nn.Module):
    def __init__(self, norm: str) -> None:
        super().__init__()
        self.order = {"l1": 1.0, "l2": 2.0, "max": math.inf}[norm]

    def forward(self, x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, self.order, dim=1, keepdim=True)
        return x / torch.where(size == 0, 1.0, size)


class _Powers(nn.Module):
    """Products of powers of columns."""

    powers: Tensor

    def __init__(self, powers: Any) -> None:
        super().__init__()
        self.register_buffer("powers", _doubles(powers))

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1).pow(self.powers).prod(2)


class _Quadratic(nn.Module):
    """height - |(x - mean) turn|^2 / 2 for each class: the log-likelihood of a Gaussian, up to a constant."""

    def __init__(self, means: Any, turns: Sequence[Any], heights: Any) -> None:
        super().__init__()
        self.register_buffer("means", _doubles(means))
        self.register_buffer("heights", _doubles(heights))
        for number, turn in enumerate(turns):
            self.register_buffer(f"turn{number}", _doubles(turn))

    def forward(self, x: Tensor) -> Tensor:
        means = cast("Tensor", self.means)
        far = [((x - mean) @ getattr(self, f"turn{k}")).square().sum(1) for k, mean in enumerate(means)]
        return cast("Tensor", self.heights) - torch.stack(far, 1) / 2


class _Machine(nn.Module):
    """Kernel machines of pairs of classes, as libsvm has them: a class scores its least lead in a pair.

    A class that wins all of its pairs is predicted, and has the largest score.
    """

    def __init__(self, model: Any, kernel: str) -> None:
        super().__init__()
        self.kernel, self.classes = kernel, len(model.classes_)
        self.gamma, self.degree, self.coef0 = float(model._gamma), int(model.degree), float(model.coef0)
        self.register_buffer("vectors", _doubles(model.support_vectors_))
        count, dual = np.asarray(model.n_support_), np.asarray(model.dual_coef_, dtype=np.float64)
        starts = np.concatenate([[0], np.cumsum(count)])
        rows = []
        for i in range(self.classes):
            for j in range(i + 1, self.classes):
                row = np.zeros(len(model.support_vectors_))
                row[starts[i] : starts[i + 1]] = dual[j - 1, starts[i] : starts[i + 1]]
                row[starts[j] : starts[j + 1]] = dual[i, starts[j] : starts[j + 1]]
                rows.append(row)
        # scikit-learn turns the sign of two classes' machine, so that positive is the second class.
        sign = -1.0 if self.classes == 2 else 1.0
        self.register_buffer("weights", sign * _doubles(np.array(rows)))
        self.register_buffer("offsets", sign * _doubles(model.intercept_))

    def forward(self, x: Tensor) -> Tensor:
        vectors = cast("Tensor", self.vectors)
        if self.kernel == "rbf":
            apart = (x.square().sum(1, keepdim=True) + vectors.square().sum(1) - 2 * x @ vectors.T).clamp(min=0)
            like = torch.exp(-self.gamma * apart)
        else:
            like = x @ vectors.T
            if self.kernel != "linear":
                like = self.gamma * like + self.coef0
                like = like.pow(self.degree) if self.kernel == "poly" else like.tanh()
        pairs = like @ cast("Tensor", self.weights).T + cast("Tensor", self.offsets)
        leads: list[list[Tensor]] = [[] for _ in range(self.classes)]
        number = 0
        for i in range(self.classes):
            for j in range(i + 1, self.classes):
                leads[i].append(pairs[:, number])
                leads[j].append(-pairs[:, number])
                number += 1
        return torch.stack([torch.stack(own, 1).amin(1) for own in leads], 1)


class Graph(nn.Module):
    """Layers one after the other, on the host and in float64: estimators compute so, and some devices have none."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.layers(x.flatten(1).to("cpu", torch.float64)))

    def in_float32(self) -> nn.Module:
        """Return the layers in float32, for bounds: these allow for more than its rounding."""
        return nn.Sequential(nn.Flatten(), *(copy.deepcopy(layer) for layer in self.layers)).float().eval()


def network_of(model: object) -> Graph | None:
    """Return the graph of a fitted classifier or pipeline of known steps; None where there is none."""
    try:
        layers = _read(model)
    except Exception:  # attributes of another release
        return None
    return None if layers is None else _checked(model, layers)


def _behind_steps(model: Any) -> Graph | None:
    """Return the graph of a pipeline's last step, behind steps that are not known."""
    steps = getattr(model, "steps", None)
    if not steps or len(steps) < 2:
        return None
    return network_of(steps[-1][1]) if not _has(model, "decision_function") else None


# Inputs at which a graph must answer as its estimator does, and the share of the largest output that float32 in a step
# before the classifier may move it by.
_POINTS, _OFF = 128, 1e-4


def _checked(model: Any, layers: Sequence[nn.Module]) -> Graph | None:
    graph = Graph(nn.Sequential(*layers)).eval().requires_grad_(False)
    width = int(getattr(model, "n_features_in_", 0) or 0)
    if not width:
        return None
    draws = np.random.default_rng(0)
    ends = draws.random((_POINTS, width)), 3 * draws.normal(size=(_POINTS, width)), _fitted_points(model, draws, width)
    shown = 0
    for points in ends:
        if points is None:
            continue
        x = points.astype(np.float32)
        try:
            answer = np.asarray(model.predict(named(model, x)))
        except ValueError:  # of numbers that it may not get, as negative counts
            continue
        with torch.no_grad():
            scores = graph(torch.from_numpy(x)).numpy()
        if scores.shape != (len(x), len(model.classes_)) or not np.isfinite(scores).all():
            return None
        most = np.sort(scores, 1)
        clear = most[:, -1] - most[:, -2] > _OFF * np.abs(scores).max(1)
        if (np.asarray(model.classes_)[scores.argmax(1)] != answer)[clear].any():
            return None
        if not _leads_agree(model, x, scores):
            return None
        shown += 1
    return graph if shown else None


def _leads_agree(model: Any, x: NDArray[np.float32], scores: NDArray[np.float64]) -> bool:
    """Return True if scores (N, K) differ between classes as the estimator's own do, where it has comparable ones."""
    last = model.steps[-1][1] if getattr(model, "steps", None) else model
    if type(last).__name__ == "NearestCentroid":  # its other scores are of columns divided by their spread
        return True
    given, lead = named(model, x), scores - scores[:, :1]
    if len(model.classes_) == 2 and _has(model, "decision_function"):
        own = np.asarray(model.decision_function(given), dtype=np.float64).reshape(-1)
        ratio = float((own @ lead[:, 1]) / max(float(own @ own), 1e-300))
        return ratio > 0 and bool((np.abs(ratio * own - lead[:, 1]) <= 1e-3 * np.abs(lead[:, 1]).max() + 1e-9).all())
    if not _has(model, "predict_log_proba") or _has(model, "decision_function"):
        return True
    with np.errstate(divide="ignore"):
        logs = np.asarray(model.predict_log_proba(given), dtype=np.float64)
    seen = (logs > -8).all(1)  # one minus a probability in float32 says little of smaller ones
    off = np.abs(logs[seen] - logs[seen, :1] - lead[seen])
    return bool((off <= 1e-3 * np.abs(lead[seen]) + 1e-3).all()) if seen.any() else True


def _fitted_points(model: Any, draws: np.random.Generator, width: int) -> NDArray[np.float64] | None:
    """Return (N, D) points like those that the first step was fitted on, by its own statistics."""
    first = model.steps[0][1] if getattr(model, "steps", None) else model
    for middle, spread in (("mean_", "scale_"), ("center_", "scale_"), ("data_min_", "data_range_")):
        at, wide = getattr(first, middle, None), getattr(first, spread, None)
        if at is not None and wide is not None and np.shape(at) == np.shape(wide) == (width,):
            return cast("NDArray[np.float64]", np.asarray(at) + np.asarray(wide) * draws.normal(size=(_POINTS, width)))
    return None


def _doubles(values: Any) -> Tensor:
    dense = values.toarray() if hasattr(values, "toarray") else values
    return torch.as_tensor(np.array(dense, dtype=np.float64))


def _linear(weights: Any, offsets: Any) -> nn.Linear:
    weight, bias = np.atleast_2d(_doubles(weights).numpy()), np.ravel(_doubles(offsets).numpy())
    layer = nn.Linear(weight.shape[1], len(weight), dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(np.broadcast_to(bias, len(weight)).copy()))
    return layer


def _two(weights: Any, offsets: Any) -> nn.Linear:
    """Return a layer whose two outputs differ by w x + b: their softmax is that margin's logistic function."""
    weight, bias = _doubles(weights).reshape(1, -1).numpy() / 2, _doubles(offsets).reshape(-1)[:1].numpy() / 2
    return _linear(np.concatenate([-weight, weight]), np.concatenate([-bias, bias]))


Layers = list[nn.Module]


def _read(model: Any) -> Layers | None:
    """Return the layers of a fitted classifier, or of a step before one; None where it is not known."""
    if model is None or model == "passthrough":
        return []
    name, home = type(model).__name__, type(model).__module__.partition(".")[0]
    reader = _READERS.get(name) if home == "sklearn" else None
    return None if reader is None else reader(model)


def _pipeline(model: Any) -> Layers | None:
    layers: Layers = []
    for _, step in model.steps:
        part = _read(step)
        if part is None:
            return None
        layers += part
    return layers


def _columns(model: Any) -> Layers | None:
    width, names = int(model.n_features_in_), list(getattr(model, "feature_names_in_", ()))
    parts: list[tuple[list[int], nn.Module]] = []
    for _, step, columns in model.transformers_:
        if isinstance(step, str) and step == "drop":
            continue
        one = isinstance(columns, (int, str))
        if isinstance(columns, slice):
            places = list(range(width))[columns]
        else:
            listed = np.ravel(np.asarray(columns, dtype=object)).tolist()
            if listed and isinstance(listed[0], (bool, np.bool_)):
                places = [at for at, kept in enumerate(listed) if kept]
            else:
                places = [names.index(at) if isinstance(at, str) else range(width)[int(at)] for at in listed]
        layers = None if one else _read(step)
        if layers is None:
            return None
        if places:
            parts.append((places, nn.Sequential(*layers)))
    return [_Columns(parts)]


def _standard(model: Any) -> Layers:
    width = int(model.n_features_in_)
    scale = np.ones(width) if model.scale_ is None else np.asarray(model.scale_)
    middle = np.zeros(width) if getattr(model, "mean_", None) is None or not model.with_mean else model.mean_
    return [_Scaled(1 / scale, -np.asarray(middle) / scale)]


def _robust(model: Any) -> Layers:
    width = int(model.n_features_in_)
    scale = np.ones(width) if model.scale_ is None else np.asarray(model.scale_)
    middle = np.zeros(width) if model.center_ is None else np.asarray(model.center_)
    return [_Scaled(1 / scale, -middle / scale)]


def _between(model: Any) -> Layers:
    layers: Layers = [_Scaled(model.scale_, model.min_)]
    return (
        [*layers, nn.Hardtanh(min_val=float(model.feature_range[0]), max_val=float(model.feature_range[1]))]
        if model.clip
        else layers
    )


def _imputer(model: Any) -> Layers | None:
    # Samples without gaps pass unchanged; a column without any value was dropped, and an indicator adds columns.
    whole = not model.add_indicator and not np.isnan(np.asarray(model.statistics_, dtype=np.float64)).any()
    return [] if whole and str(model.missing_values) == "nan" else None


def _function(model: Any) -> Layers | None:
    return [] if model.func is None else None


def _chosen(model: Any) -> Layers:
    return [_Columns([(model.get_support(indices=True).tolist(), nn.Identity())])]


def _components(model: Any) -> Layers:
    turn, mean = np.asarray(model.components_, dtype=np.float64), getattr(model, "mean_", None)
    turn = turn / np.sqrt(model.explained_variance_)[:, None] if getattr(model, "whiten", False) else turn
    return [_linear(turn, np.zeros(len(turn)) if mean is None else -turn @ np.ravel(mean))]


def _powers(model: Any) -> Layers:
    return [_Powers(model.powers_)]


def _by_largest(model: Any) -> Layers | None:
    classes, weights = len(model.classes_), np.atleast_2d(_doubles(model.coef_).numpy())
    if len(weights) != (classes if classes > 2 else 1):
        return None
    if classes == 2:
        return [_two(weights, model.intercept_)]
    return [_linear(weights, np.broadcast_to(np.ravel(model.intercept_), (classes,)))]


def _perceptron(model: Any) -> Layers | None:
    bends: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "logistic": nn.Sigmoid, "tanh": nn.Tanh}
    if model.activation not in {*bends, "identity"} or model.out_activation_ not in {"logistic", "softmax"}:
        return None
    layers: Layers = []
    for weights, offsets in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        layers.append(_linear(np.asarray(weights).T, offsets))
        layers += [bends[model.activation]()] if model.activation in bends else []
    last = np.asarray(model.coefs_[-1]).T
    if len(model.classes_) == 2:
        return [*layers, _two(last, model.intercepts_[-1])]
    return [*layers, _linear(last, model.intercepts_[-1])]


def _machine(model: Any) -> Layers | None:
    if model.kernel not in {"linear", "rbf", "poly", "sigmoid"}:
        return None
    if model.kernel == "linear" and len(model.classes_) == 2:
        return [_two(model.coef_, model.intercept_)]
    return [_Machine(model, model.kernel)]


def _gaussian(model: Any) -> Layers:
    turns = [np.diag(1 / np.sqrt(var)) for var in np.asarray(model.var_)]
    heights = np.log(model.class_prior_) - 0.5 * np.log(2 * np.pi * np.asarray(model.var_)).sum(1)
    return [_Quadratic(model.theta_, turns, heights)]


def _counts(model: Any) -> Layers:
    prior = model.class_log_prior_
    if type(model).__name__ == "ComplementNB" and len(model.classes_) > 1:
        prior = np.zeros(len(model.classes_))
    return [_linear(model.feature_log_prob_, prior)]


def _discriminant(model: Any) -> Layers:
    turns = [turn / np.sqrt(scale) for turn, scale in zip(model.rotations_, model.scalings_, strict=True)]
    spread = np.array([np.log(scale).sum() for scale in model.scalings_])
    return [_Quadratic(model.means_, turns, np.log(model.priors_) - spread / 2)]


def _centroids(model: Any) -> Layers | None:
    if model.metric != "euclidean":
        return None
    at = np.asarray(model.centroids_, dtype=np.float64)
    return [_linear(2 * at, -np.square(at).sum(1))]


def _searched(model: Any) -> Layers | None:
    return _read(model.best_estimator_)


_READERS: dict[str, Callable[[Any], Layers | None]] = {
    "ColumnTransformer": _columns,
    "ComplementNB": _counts,
    "FunctionTransformer": _function,
    "GaussianNB": _gaussian,
    "GridSearchCV": _searched,
    "LinearDiscriminantAnalysis": _by_largest,
    "LinearSVC": _by_largest,
    "LogisticRegression": _by_largest,
    "LogisticRegressionCV": _by_largest,
    "MLPClassifier": _perceptron,
    "MaxAbsScaler": lambda model: [_Scaled(1 / np.asarray(model.scale_), np.zeros(int(model.n_features_in_)))],
    "MinMaxScaler": _between,
    "MultinomialNB": _counts,
    "NearestCentroid": _centroids,
    "Normalizer": lambda model: [_Normalised(model.norm)],
    "NuSVC": _machine,
    "PCA": _components,
    "PassiveAggressiveClassifier": _by_largest,
    "Perceptron": _by_largest,
    "Pipeline": _pipeline,
    "PolynomialFeatures": _powers,
    "QuadraticDiscriminantAnalysis": _discriminant,
    "RandomizedSearchCV": _searched,
    "RidgeClassifier": _by_largest,
    "RidgeClassifierCV": _by_largest,
    "RobustScaler": _robust,
    "SGDClassifier": _by_largest,
    "SVC": _machine,
    "SelectFromModel": _chosen,
    "SelectKBest": _chosen,
    "SelectPercentile": _chosen,
    "SimpleImputer": _imputer,
    "StandardScaler": _standard,
    "TruncatedSVD": lambda model: [_linear(model.components_, np.zeros(len(model.components_)))],
    "VarianceThreshold": _chosen,
}
