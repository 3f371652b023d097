"""Trees of ensembles, and their thresholds: the numbers at which answers may change, column by column."""

# A tree compares single columns with thresholds. Between two neighbouring thresholds of all trees the ensemble is
# constant, so that a region of rows has finitely many cells, and one row of each decides it
# (`robustest.threats.Columns.resolved`). All comparisons are written as `x <= t` for float32 x:
#
# - scikit-learn, LightGBM and CatBoost (`x > border`) compare so themselves;
# - XGBoost asks `x < t`, which is `x <= t'` for the next smaller float32 t'.
#
# A pipeline may transform columns before its trees. Where a column of the user's feeds outputs that depend on it alone
# and rise or fall with it (scaling, imputing, binning), the thresholds are found in the user's unit by bisection of the
# transformation, which asks no model.

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Halvings of the way between two float32 numbers until they are neighbours.
_HALVINGS = 60


class FrameRows(Protocol):
    """The part of a frame's coding that finds out what the frame's model reads."""

    @property
    def order(self) -> tuple[int, ...]:
        """The place in a row of each of the frame's columns."""

    def decode(self, x: Tensor) -> Any:
        """Return rows x (N, D) as a frame."""

    def numbers(self, column: int, codes: Tensor) -> Tensor:
        """Return the numbers (N,) float64 of a column of the frame with these codes (N,)."""


def thresholds(model: object, columns: int) -> list[list[float]] | None:
    """Return the thresholds of each of the columns of a model's input; None for models that are no tree ensembles.

    A column that is split by category has NaN among its own: every category is told apart, and no number.
    """
    found: list[list[float]] = [[] for _ in range(columns)]
    try:
        pairs = _catboost(model) if _library(model) == "catboost" else None
        if pairs is None:
            trees = _trees(model)
            if trees is None:
                return None
            pairs = [
                (int(column), float(threshold))
                for tree in trees
                for column, threshold in zip(tree.column, tree.threshold, strict=True)
                if column >= 0
            ]
    except Exception:  # another version of the library: the model is then searched as any other
        return None
    for column, threshold in pairs:
        if not 0 <= column < columns:
            return None
        found[column].append(float(threshold))
    return [sorted(set(one), key=lambda t: (t != t, t)) for one in found]  # noqa: PLR0124 - NaN comes last


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """One tree of M nodes, the root first.

    Attributes:
        column: (M,) int64 column that a node compares; -1 for leaves.
        threshold: (M,) float64: `x <= threshold` goes left; NaN for a split by category.
        left, right: (M,) int64 children.
        value: (M, K) float64: what a leaf adds to the score of each class.
    """

    column: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: NDArray[np.float64]


Splits = list[tuple[int, float]]


def _library(model: object) -> str:
    return type(model).__module__.partition(".")[0]


def trees_of(model: object) -> tuple[Sequence[Tree], Callable[[Any], NDArray[np.float64]]] | None:
    """Return the trees of a classifier, and a function from inputs to its scores (N, K); None where they are not read.

    The scores are sums of the trees' values and of a constant for each class; the largest one is predicted.
    """
    try:
        trees = _trees(model)
    except Exception:  # another version of the library
        return None
    if not trees or any(np.isnan(tree.threshold[tree.column >= 0]).any() for tree in trees):
        return None
    known: Any = model
    name, kind = _library(model), type(model).__name__

    def scores(x: Any) -> NDArray[np.float64]:
        if name == "lightgbm":
            found = known.predict(x, raw_score=True)
        elif name == "xgboost":
            found = known.predict(x, output_margin=True)
        elif kind in _BOOSTED:
            found = known.decision_function(x)
        else:
            found = known.predict_proba(x)
        found = np.asarray(found, dtype=np.float64)
        return found if found.ndim == 2 else np.stack([np.zeros_like(found), found], 1)

    return trees, scores


_BOOSTED = frozenset({"AdaBoostClassifier", "GradientBoostingClassifier", "HistGradientBoostingClassifier"})


def _trees(model: Any) -> list[Tree] | None:
    """Return the trees of a classifier other than CatBoost's; None for other models."""
    if not {"decision_function", "predict", "predict_proba"}.isdisjoint(getattr(model, "__dict__", ())):
        return None  # a method put in the place of the library's need not follow the trees
    read = {"sklearn": _sklearn, "lightgbm": _lightgbm, "xgboost": _xgboost}.get(_library(model))
    return None if read is None else read(model)


def _classes_of(tree: int, classes: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (M, K) values of a boosted tree: of its class, by turns, or of the second of two."""
    out = np.zeros((len(values), max(2, classes)))
    out[:, tree % classes if classes > 2 else 1] = values
    return out


def _sklearn(model: Any) -> list[Tree] | None:
    kind = type(model).__name__
    classes = len(getattr(model, "classes_", ()))
    if kind == "HistGradientBoostingClassifier":
        if getattr(model, "is_categorical_", None) is not None and np.any(model.is_categorical_):
            return None  # an encoder of its own has reordered the columns
        found = []
        for stage in model._predictors:
            for at, one in enumerate(stage):
                nodes, leaf = one.nodes, one.nodes["is_leaf"].astype(bool)
                found.append(
                    Tree(
                        column=np.where(leaf, -1, nodes["feature_idx"]).astype(np.int64),
                        threshold=nodes["num_threshold"].astype(np.float64),
                        left=nodes["left"].astype(np.int64),
                        right=nodes["right"].astype(np.int64),
                        value=_classes_of(at, classes, nodes["value"]),
                    )
                )
        return found
    if kind == "AdaBoostClassifier":
        return _adaboost(model, classes)
    boosted = kind == "GradientBoostingClassifier"
    if hasattr(model, "tree_"):
        fitted = [model]
    elif boosted or kind in {"RandomForestClassifier", "ExtraTreesClassifier"}:
        fitted = list(np.ravel(model.estimators_))
        first = getattr(model, "init_", None)
        if first is not None and first != "zero" and type(first).__name__ != "DummyClassifier":
            return None
    else:
        return None
    found = []
    for at, one in enumerate(fitted):
        tree = one.tree_
        if tree.value.shape[1] != 1:  # several outputs
            return None
        if boosted:
            value = model.learning_rate * _classes_of(at, classes, tree.value[:, 0, 0])
        else:
            value = tree.value[:, 0] / tree.value[:, 0].sum(1, keepdims=True) / len(fitted)
        left, right = tree.children_left.astype(np.int64), tree.children_right.astype(np.int64)
        column = np.where(left < 0, -1, tree.feature).astype(np.int64)
        found.append(Tree(column, tree.threshold.astype(np.float64), left, right, value))
    return found


def _adaboost(model: Any, classes: int) -> list[Tree] | None:
    """Return the trees of AdaBoost by SAMME: a tree of weight w adds w to the class that it predicts.

    The other classes lose w / (K - 1); of two classes, the margin of the second one gains or loses 2 w.
    """
    weights = np.asarray(model.estimator_weights_, dtype=np.float64)[: len(model.estimators_)]
    if getattr(model, "algorithm", "SAMME") == "SAMME.R" or not all(hasattr(one, "tree_") for one in model.estimators_):
        return None
    found = []
    for one, weight in zip(model.estimators_, weights / weights.sum(), strict=True):
        tree = one.tree_
        said = np.searchsorted(model.classes_, one.classes_)[tree.value[:, 0].argmax(1)]
        value = np.where(said[:, None] == np.arange(classes), weight, -weight / (classes - 1))
        if classes == 2:
            value = np.stack([np.zeros(len(value)), value[:, 1] - value[:, 0]], 1)
        column = np.where(tree.children_left < 0, -1, tree.feature).astype(np.int64)
        left, right = tree.children_left.astype(np.int64), tree.children_right.astype(np.int64)
        found.append(Tree(column, tree.threshold.astype(np.float64), left, right, value))
    return found


class _Nodes:
    """A tree that is written node by node."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []  # column, threshold, left, right, value

    def add(self, column: int, threshold: float, value: float) -> int:
        self.rows.append([column, threshold, -1, -1, value])
        return len(self.rows) - 1

    def tree(self, number: int, classes: int) -> Tree:
        column, threshold, left, right, value = np.array(self.rows, dtype=np.float64).T
        whole = [one.astype(np.int64) for one in (column, left, right)]
        return Tree(whole[0], threshold, whole[1], whole[2], _classes_of(number, classes, value))


def _lightgbm(model: Any) -> list[Tree] | None:
    booster = getattr(model, "booster_", model)
    dump = booster.dump_model()
    found = []
    for number, tree in enumerate(dump["tree_info"]):
        made = _Nodes()
        # Linear trees are not constant between thresholds, and where zero counts as missing it goes its own way.
        if not _lightgbm_node(made, tree["tree_structure"]):
            return None
        found.append(made.tree(number, dump["num_tree_per_iteration"]))
    return found


def _lightgbm_node(made: _Nodes, node: dict[str, Any]) -> bool:
    if "split_feature" not in node:
        made.add(-1, 0.0, node["leaf_value"])
        return "leaf_coeff" not in node
    number = node["decision_type"] == "<="
    at = made.add(node["split_feature"], node["threshold"] if number else math.nan, 0.0)
    for place, side in ((2, "left_child"), (3, "right_child")):
        made.rows[at][place] = len(made.rows)
        if not _lightgbm_node(made, node[side]):
            return False
    return node.get("missing_type") != "Zero"


def _xgboost(model: Any) -> list[Tree] | None:
    missing = getattr(model, "missing", None)
    if missing is not None and missing == missing:  # noqa: PLR0124 - a number that goes its own way in every split
        return None
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    kinds = booster.feature_types or []
    if {"int", "i"} & set(kinds):
        # The thresholds of whole numbers are rounded as they are dumped, and the model may be asked for others.
        booster = booster.copy()
        booster.feature_types = ["float" if kind in ("int", "i") else kind for kind in kinds]
    names = {name: at for at, name in enumerate(booster.feature_names or ())}
    if json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear":
        return None
    least = np.float32(-np.inf)
    classes = max(2, len(getattr(model, "classes_", ())))

    def walk(made: _Nodes, node: dict[str, Any]) -> None:
        if "split" not in node:
            made.add(-1, 0.0, node["leaf"])
            return
        column = names.get(node["split"], -1)
        column = int(node["split"][1:]) if column < 0 else column
        cut = node["split_condition"]
        number = isinstance(cut, (int, float))
        at = made.add(column, float(np.nextafter(np.float32(cut), least)) if number else math.nan, 0.0)
        children = {child["nodeid"]: child for child in node["children"]}
        for place, side in ((2, "yes"), (3, "no")):
            made.rows[at][place] = len(made.rows)
            walk(made, children[node[side]])

    found = []
    for number, text in enumerate(booster.get_dump(dump_format="json")):
        made = _Nodes()
        walk(made, json.loads(text))
        found.append(made.tree(number, classes))
    return found


def _catboost(model: Any) -> Splits | None:
    # The borders are numbered among the columns of numbers; without categories these are all columns.
    categories = set(model.get_cat_feature_indices())
    if model.get_text_feature_indices() or model.get_embedding_feature_indices():
        raise TypeError("texts and embeddings")
    numbers = [at for at in range(len(model.feature_names_)) if at not in categories]
    pairs = [(numbers[int(at)], border) for at, borders in model.get_borders().items() for border in borders]
    return [*pairs, *((at, math.nan) for at in categories)]


# Pipelines


def cells_of(
    model: Any,
    rows: NDArray[np.float32],
    movable: Sequence[tuple[int, float, float]],
    frame: FrameRows | None = None,
) -> list[list[float]] | None:
    """Return the thresholds of each column of a fitted classifier or pipeline; None if it is no tree ensemble.

    Args:
        rows: (N, D) a few samples, as the run holds them.
        movable: columns of numbers, with the least and largest value that they may get.
        frame: the coding of such rows; None for models of plain arrays.
    """
    steps = getattr(model, "steps", None)
    if steps is None:
        found = thresholds(model, rows.shape[1])
        if found is not None and frame is not None:
            found = [found[frame.order.index(place)] for place in range(len(frame.order))]
        # A column of numbers that the trees read as categories has no thresholds.
        by_category = found is not None and any(math.isnan(t) for at, _, _ in movable for t in found[at])
        if found is not None and not by_category and frame is not None and not _reads_float32(model):
            for at, _, _ in movable:
                found[at] = _codes_at(np.array(found[at]), frame, at)
        return None if by_category else found
    made = by_columns(model, frame)
    if made is None:
        return None

    def transform(some: NDArray[np.float32]) -> NDArray[Any]:
        # A distant number replaces missing values: unlike NaN, it equals itself.
        numbers: NDArray[Any] = np.nan_to_num(made.transform(made.given(some)), nan=-1e30)
        return numbers

    try:
        inner = thresholds(made.last, transform(rows).shape[1])
        by_category = inner is not None and any(math.isnan(t) for one in inner for t in one)
        return None if inner is None or by_category else through(transform, inner, rows, movable)
    except Exception:  # a transformation that refuses rows at the ends of the ranges
        return None


def _codes_at(cuts: NDArray[np.float64], frame: FrameRows, column: int) -> list[float]:
    """Return for each threshold of a column the largest code whose number is at most that."""

    def numbers(codes: NDArray[np.float32]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = frame.numbers(column, torch.from_numpy(codes)).numpy()
        return found

    near = cuts.clip(-1e37, 1e37).astype(np.float32)
    below, above = np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))
    code = np.where(numbers(above) <= cuts, above, np.where(numbers(near) <= cuts, near, below))
    return sorted(set(code.astype(np.float64).tolist()))


def _reads_float32(model: object) -> bool:
    """Return True for ensembles that compare float32, as those by histograms and LightGBM do not."""
    return _library(model) in {"catboost", "sklearn", "xgboost"} and not type(model).__name__.startswith("Hist")


@dataclass(frozen=True, slots=True)
class ByColumns:
    """A classifier behind steps that map every column by itself, each column of numbers rising or falling.

    Attributes:
        last: the classifier.
        steps: True if there are steps before it.
        given: makes of rows (N, D) what the whole model takes.
        transform: makes of that the numbers (N, E) that the classifier reads.
    """

    last: Any
    steps: bool
    given: Callable[[NDArray[np.float32]], Any]
    transform: Callable[[Any], NDArray[Any]]


def by_columns(model: Any, frame: FrameRows | None = None) -> ByColumns | None:
    """Return a fitted classifier or pipeline as its steps; None where a step may do anything else.

    Args:
        frame: the coding of the rows; None for models of plain arrays.
    """
    steps = getattr(model, "steps", None) or [("", model)]
    if not all(_rises_or_falls(step) for _, step in steps[:-1]):
        return None
    last, names = steps[-1][1], getattr(model, "feature_names_in_", None)
    narrow = _reads_float32(last)

    def given(rows: NDArray[np.float32]) -> Any:
        if frame is not None:
            return frame.decode(torch.from_numpy(rows))
        return rows if names is None else import_module("pandas").DataFrame(rows, columns=list(names))

    def transform(some: Any) -> NDArray[Any]:
        made = model[:-1].transform(some) if len(steps) > 1 else some
        dense = np.asarray(made.toarray() if hasattr(made, "toarray") else made)
        return dense.astype(np.float64).astype(np.float32 if narrow else np.float64)

    return ByColumns(last, len(steps) > 1, given, transform)


# Steps that map each column of numbers by one rise or fall, of which a few points show everything that bisection needs.
# Others may answer to a single value anywhere: functions of a user's, encoders of numbers, products of columns.
_MONOTONE = frozenset(
    {
        "MaxAbsScaler",
        "MinMaxScaler",
        "PowerTransformer",
        "QuantileTransformer",
        "RobustScaler",
        "StandardScaler",
    }
)
_ENCODERS = frozenset({"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"})


def _rises_or_falls(step: Any, *, words: bool = False) -> bool:
    """Return True if a fitted step maps every column of numbers by itself, rising or falling.

    Args:
        words: its columns hold words or categories.
    """
    if step is None or isinstance(step, str):  # "passthrough", "drop"
        return True
    name, home = type(step).__name__, type(step).__module__.partition(".")[0]
    if home != "sklearn":
        return False
    if name == "Pipeline":
        return all(_rises_or_falls(one, words=words) for _, one in step.steps)
    if name == "ColumnTransformer":
        return all(
            _rises_or_falls(one, words=_holds_words(one))
            for _, one, columns in step.transformers_
            if not (hasattr(columns, "__len__") and len(columns) == 0)  # a single column, or a slice, has no length
        )
    if name == "FunctionTransformer":  # a fitted "passthrough"
        return step.func is None
    if name == "KBinsDiscretizer":
        return bool(step.encode == "ordinal")
    if name == "SimpleImputer":
        # A number that counts as missing is replaced by a distant one, and no end of a range shows that.
        return words or step.missing_values is None or str(step.missing_values) in {"nan", "<NA>"}
    return name in _MONOTONE or (name in _ENCODERS and words)


def _holds_words(step: Any) -> bool:
    last = step.steps[-1][1] if hasattr(step, "steps") else step
    categories = getattr(last, "categories_", None)
    # By the values: behind a step that joins words and numbers, numbers are objects too.
    return categories is not None and all(_is_word(value) for one in categories for value in np.asarray(one).tolist())


def _is_word(value: object) -> bool:
    return value is None or isinstance(value, str | bytes | bool) or value != value  # noqa: PLR0124 - NaN


def through(
    transform: Callable[[NDArray[np.float32]], NDArray[Any]],
    inner: Sequence[Sequence[float]],
    rows: NDArray[np.float32],
    movable: Sequence[tuple[int, float, float]],
) -> list[list[float]] | None:
    """Return the thresholds of columns before a transformation, from those behind it.

    Args:
        transform: maps rows (N, D) to (N, E).
        inner: the thresholds of each of the E columns.
        rows: (N, D) a few samples.
        movable: columns of numbers with the least and largest value they may get.

    Returns:
        None where a column acts on others or by anything else than a rise or fall.
    """
    found: list[list[float]] = [[] for _ in range(rows.shape[1])]
    base = transform(rows)
    for column, low, high in movable:
        grid = np.linspace(low, high, 33, dtype=np.float32)
        lines = np.repeat(rows[:2], len(grid), 0)
        lines[:, column] = np.tile(grid, 2)
        made = transform(lines).reshape(2, len(grid), -1)
        touched = np.flatnonzero((made != made[:, :1]).any((0, 1)) | (made[:, 0] != base[:2]).any(0))
        if not np.array_equal(made[0][:, touched], made[1][:, touched]):
            return None  # what becomes of the column depends on others
        for out in touched:
            values = made[0][:, out].astype(np.float64)
            steps = np.diff(values)
            if not ((steps >= 0).all() or (steps <= 0).all()):
                return None
            rising = values[-1] >= values[0]
            cuts = np.array(
                [t for t in inner[int(out)] if min(values[0], values[-1]) <= t < max(values[0], values[-1])]
            )
            if not len(cuts):
                continue
            # x <= t before and x > t behind, until both are neighbours in float32.
            left, right = np.full(len(cuts), np.float32(low)), np.full(len(cuts), np.float32(high))
            probe = np.repeat(rows[:1], len(cuts), 0)
            for _ in range(_HALVINGS):
                middle = (left.astype(np.float64) + right).astype(np.float32) / 1
                middle = (middle / 2).astype(np.float32)
                middle = np.where((middle <= left) | (middle >= right), left, middle)
                if (middle == left).all():
                    break
                probe[:, column] = middle
                below = (transform(probe)[:, out].astype(np.float64) <= cuts) == rising
                left, right = np.where(below, middle, left), np.where(below, right, middle)
            found[column] += left.tolist()
    return [sorted(set(one)) for one in found]
