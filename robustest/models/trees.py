"""The thresholds of tree ensembles: the numbers at which their answers may change, column by column."""

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
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Halvings of the way between two float32 numbers until they are neighbours.
_HALVINGS = 60


def thresholds(model: object, columns: int) -> list[list[float]] | None:
    """Return the thresholds of each of the columns of a model's input; None for models that are no tree ensembles.

    A column that is split by category has NaN among its own: every category is told apart, and no number.
    """
    name = type(model).__module__.partition(".")[0]
    read = {"sklearn": _sklearn, "lightgbm": _lightgbm, "xgboost": _xgboost, "catboost": _catboost}.get(name)
    found: list[list[float]] = [[] for _ in range(columns)]
    if read is None:
        return None
    try:
        pairs = read(model)
    except Exception:  # another version of the library: the model is then searched as any other
        return None
    if pairs is None:
        return None
    for column, threshold in pairs:
        if not 0 <= column < columns:
            return None
        found[column].append(float(threshold))
    return [sorted(set(one), key=lambda t: (t != t, t)) for one in found]  # noqa: PLR0124 - NaN comes last


Splits = list[tuple[int, float]]


def _sklearn(model: Any) -> Splits | None:
    kind = type(model).__name__
    if kind == "HistGradientBoostingClassifier":
        if getattr(model, "is_categorical_", None) is not None and np.any(model.is_categorical_):
            return None  # an encoder of its own has reordered the columns
        nodes = [one.nodes for stage in model._predictors for one in stage]
        return [
            (int(column), float(threshold))
            for part in nodes
            for column, threshold, leaf in zip(part["feature_idx"], part["num_threshold"], part["is_leaf"], strict=True)
            if not leaf
        ]
    if hasattr(model, "tree_"):
        trees = [model.tree_]
    elif kind in {"RandomForestClassifier", "ExtraTreesClassifier", "GradientBoostingClassifier"}:
        trees = [one.tree_ for one in np.ravel(model.estimators_)]
        first = getattr(model, "init_", None)
        if first is not None and first != "zero" and type(first).__name__ != "DummyClassifier":
            return None
    else:
        return None
    return [
        (int(column), float(threshold))
        for tree in trees
        for column, threshold in zip(tree.feature, tree.threshold, strict=True)
        if column >= 0
    ]


def _lightgbm(model: Any) -> Splits | None:
    booster = getattr(model, "booster_", model)
    pairs: Splits = []

    def walk(node: dict[str, Any]) -> bool:
        if "split_feature" not in node:
            return "leaf_coeff" not in node  # linear trees are not constant
        pairs.append((node["split_feature"], node["threshold"] if node["decision_type"] == "<=" else math.nan))
        return walk(node["left_child"]) and walk(node["right_child"])

    sound = all(walk(tree["tree_structure"]) for tree in booster.dump_model()["tree_info"])
    return pairs if sound else None


def _xgboost(model: Any) -> Splits | None:
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    names = {name: at for at, name in enumerate(booster.feature_names or ())}
    pairs: Splits = []

    def walk(node: dict[str, Any]) -> None:
        if "split" not in node:
            return
        column = names.get(node["split"], -1)
        column = int(node["split"][1:]) if column < 0 else column
        number = isinstance(node["split_condition"], (int, float))
        least = np.float32(-np.inf)
        pairs.append((column, float(np.nextafter(np.float32(node["split_condition"]), least)) if number else math.nan))
        for child in node["children"]:
            walk(child)

    if json.loads(booster.save_config())["learner"]["gradient_booster"]["name"] == "gblinear":
        return None
    for tree in booster.get_dump(dump_format="json"):
        walk(json.loads(tree))
    return pairs


def _catboost(model: Any) -> Splits | None:
    # The borders are numbered among the columns of numbers; without categories these are all columns.
    categories = set(model.get_cat_feature_indices())
    if model.get_text_feature_indices() or model.get_embedding_feature_indices():
        return None
    numbers = [at for at in range(len(model.feature_names_)) if at not in categories]
    pairs = [(numbers[int(at)], border) for at, borders in model.get_borders().items() for border in borders]
    return [*pairs, *((at, math.nan) for at in categories)]


# Pipelines


def cells_of(
    model: Any,
    rows: NDArray[np.float32],
    movable: Sequence[tuple[int, float, float]],
    decode: Callable[[NDArray[np.float32]], Any] | None = None,
    order: Sequence[int] = (),
) -> list[list[float]] | None:
    """Return the thresholds of each column of a fitted classifier or pipeline; None if it is no tree ensemble.

    Args:
        rows: (N, D) a few samples, as the run holds them.
        movable: columns of numbers, with the least and largest value that they may get.
        decode: makes the format that the model takes of such rows; None for models of plain arrays.
        order: the place in a row of each column of that format.
    """
    steps = getattr(model, "steps", None)
    if steps is None:
        found = thresholds(model, rows.shape[1])
        if found is not None and order:
            found = [found[list(order).index(place)] for place in range(len(order))]
        # A column of numbers that the trees read as categories has no thresholds.
        by_category = found is not None and any(math.isnan(t) for at, _, _ in movable for t in found[at])
        return None if by_category else found
    if not all(_rises_or_falls(step) for _, step in steps[:-1]):
        return None

    def transform(some: NDArray[np.float32]) -> NDArray[Any]:
        given: Any = some
        names = getattr(model, "feature_names_in_", None)
        if decode is not None:
            given = decode(some)
        elif names is not None:
            given = import_module("pandas").DataFrame(some, columns=list(names))
        made = model[:-1].transform(given)
        dense = np.asarray(made.toarray() if hasattr(made, "toarray") else made)
        # Trees of scikit-learn and XGBoost read float32.
        narrow = type(steps[-1][1]).__module__.partition(".")[0] in {"sklearn", "xgboost"}
        # A missing value is as good as a number far away here: it equals itself.
        return np.nan_to_num(dense.astype(np.float64), nan=-1e30).astype(np.float32 if narrow else np.float64)

    try:
        inner = thresholds(steps[-1][1], transform(rows).shape[1])
        by_category = inner is not None and any(math.isnan(t) for one in inner for t in one)
        return None if inner is None or by_category else through(transform, inner, rows, movable)
    except Exception:  # a transformation that refuses rows at the ends of the ranges
        return None


# Steps that map each column of numbers by one rise or fall, of which a few points show everything that bisection needs.
# Others may answer to a single value anywhere: functions of a user's, encoders of numbers, products of columns.
_MONOTONE = frozenset(
    {
        "MaxAbsScaler",
        "MinMaxScaler",
        "PowerTransformer",
        "QuantileTransformer",
        "RobustScaler",
        "SimpleImputer",
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
            _rises_or_falls(one, words=_holds_words(one)) for _, one, columns in step.transformers_ if len(columns)
        )
    if name == "KBinsDiscretizer":
        return bool(step.encode == "ordinal")
    return name in _MONOTONE or (name in _ENCODERS and words)


def _holds_words(step: Any) -> bool:
    last = step.steps[-1][1] if hasattr(step, "steps") else step
    categories = getattr(last, "categories_", None)
    return categories is not None and all(np.asarray(one).dtype.kind in "OUSb" for one in categories)


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
