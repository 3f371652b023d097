"""Proofs for rows of tables under `Columns`: linear models and ensembles of trees, also behind encoders and scalers."""

# Relations are left out, which only enlarges the region. Every other input that the threat allows is covered:
#
# 1. A field (a column, or a block of one-hot columns) changes by itself. For each row and field, *variants* of the row
#    are encoded by the model's own steps: all values of a list, or the two ends of a range, between which each of the
#    numbers that the classifier reads lies, since the steps map columns one by one, rising or falling.
# 2. Linear models: a margin's least value is the sample's own plus, over fields, the worst variant's change; with at
#    most k changes, of the k worst. This is exact.
# 3. Trees: a leaf is within reach if, in every field, some variant (or the range) meets its box, and the sample itself
#    leaves the box in at most k fields. The sum over trees of the least values within reach is a lower bound. Where it
#    does not suffice, the region is split where the worst leaves contradict each other (branch and bound, as
#    Kantchelian et al., ICML 2016, and Chen et al., NeurIPS 2019, prove by MILP and cliques), until all parts are above
#    zero, or the worst leaves agree: then nothing can be proven.
#
# What was read from the model must give its scores at the variants, or nothing is proven.

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.bounds.operations import NoBound
from robustest.clock import check as check_clock
from robustest.models.estimators import named
from robustest.models.trees import ByColumns, FrameRows, Tree, by_columns, trees_of
from robustest.threats import Columns, Rows

# Parts that a row's region may be split into.
_PARTS = 1000
# Comparisons of leaves' boxes that the search of one box may take: some tenth of a second.
_WORK = 3 * 10**7
# Elements of all leaves' boxes.
_LARGEST = 2**24
# Variants at which what was read must give the model's scores.
_POINTS = 300
# Share of the sums' magnitude that rounding may add: the model may sum in float32.
_ROUNDING = 2.0**-18
# Quantiles and powers are computed in several steps, each of which rounds.
_WIDER = 2.0**-21

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of one row, in the numbers (E) that the classifier reads.

    Attributes:
        at: (A,) int64 the numbers that it changes.
        variants: (V, A) of a list, the sample's own first; of a range its least and largest numbers.
        listed: False for a range.
    """

    at: NDArray[np.int64]
    variants: Floats
    listed: bool


@dataclass(frozen=True, slots=True)
class RowRegion:
    """The inputs that a threat allows in place of one row.

    Attributes:
        own: the row itself (E,).
        fields: fields that can change.
        most: number of them that may change at once.
    """

    own: Floats
    fields: Sequence[Field]
    most: int


def prove_columns(
    estimator: Any,
    threat: Columns,
    x: Tensor,
    y: Tensor,
    *,
    bounds: tuple[float, float],
    frame: FrameRows | None = None,
) -> Tensor:
    """Return (N,) bool: rows x (N, D) of labels y (N,) that no input of the threat, resolved for them, changes.

    Args:
        frame: the coding of such rows; None for models of plain arrays.

    Raises:
        NoBound: the model is neither linear nor an ensemble of trees, or does not answer as it was read.
    """
    steps = by_columns(estimator, frame)
    linear = None if steps is None else linear_of(steps.last)
    ensemble = None if steps is None or linear is not None else Ensemble.of(steps.last)
    if steps is None or (linear is None and ensemble is None):
        raise NoBound(f"no bound: {type(estimator).__name__} is no linear model or tree ensemble that can be read")
    model: Any = linear or ensemble
    region = threat.region(x, bounds)
    try:
        rows, variants, scores = _regions(threat, region, steps, model)
    except (TypeError, ValueError) as error:  # columns that are no numbers, in a model without steps
        raise NoBound(f"no bound: the model's inputs are no numbers ({str(error).splitlines()[0][:80]})") from error
    base = _constant(model, variants, scores)
    proven = [
        row is not None and model.holds(row, int(label), base) for row, label in zip(rows, y.tolist(), strict=True)
    ]
    return torch.tensor(proven, dtype=torch.bool, device=x.device)


@dataclass(frozen=True, slots=True)
class Escapes:
    """Rows (N,) of an ensemble of trees in boxes.

    Attributes:
        x: (N, D) an input of the box at which another class has the largest score, or the row itself.
        found: (N,) bool: there is such an input.
        proven: (N,) bool: there is none.
    """

    x: Tensor
    found: Tensor
    proven: Tensor


def escapes_of(estimator: Any, x: Tensor, y: Tensor, low: Tensor, high: Tensor) -> Escapes:
    """Find the inputs of boxes [low, high] (N, D) at which an ensemble of trees no longer says y (N,), or prove none.

    Raises:
        NoBound: the model is no ensemble of trees, or does not answer as it was read.
    """
    ensemble = Ensemble.of(estimator)
    if ensemble is None:
        raise NoBound(f"no bound: {type(estimator).__name__} is no tree ensemble that can be read")
    rows, least, most = (one.cpu().double().numpy() for one in (x, low, high))
    between = least + (most - least) * np.random.default_rng(0).random(least.shape)
    points = np.concatenate([rows, least, most, between])[:: max(1, 4 * len(rows) // _POINTS)].astype(np.float32)
    base = _constant(ensemble, points.astype(np.float64), ensemble.scores(named(estimator, points)))
    made, found, proven = rows.copy(), np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    for at, label in enumerate(y.tolist()):
        check_clock()
        with suppress(Undecided):
            point = ensemble.escape(rows[at], (least[at], most[at]), int(label), base)
            found[at], proven[at] = point is not None, point is None
            made[at] = rows[at] if point is None else point
    return Escapes(torch.from_numpy(made).to(x), *(torch.from_numpy(one).to(x.device) for one in (found, proven)))


def _constant(model: LinearScores | Ensemble, variants: Floats, scores: Floats) -> Floats:
    """Return (K,) the constant that the model's scores have beside what was read.

    Raises:
        NoBound: the scores at the variants are no such sums.
    """
    found = model.sums(variants)
    if found.shape != scores.shape:
        raise NoBound("no bound: the model has other scores than were read from it")
    base = scores[0] - found[0]
    allowed = 4 * _ROUNDING * (np.abs(found).max() + np.abs(base).max() + model.magnitude + 1e-12)
    if not bool((np.abs(found + base - scores) <= allowed).all()):
        raise NoBound("no bound: what was read from the model does not give its scores")
    return np.asarray(base, dtype=np.float64)


# Regions in the numbers that a classifier reads


def _regions(
    threat: Columns, region: Rows, steps: ByColumns, model: Any
) -> tuple[list[RowRegion | None], Floats, Floats]:
    """Return the rows' regions, None for those with missing numbers, and variants (M, E) with scores (M, K)."""
    own, u, n = region["x"].cpu(), region["u"].cpu(), len(region["x"])
    if threat.layout is None:
        raise NoBound("no bound: the threat is not resolved for these rows")
    table = threat.layout.on(own.device)
    made, of = [own], [torch.stack([torch.arange(n), torch.full((n,), -1)], 1)]
    for at in range(u.shape[1]):
        listed = bool(table.block[at] | ((table.used[at] > 0) & ~table.cells[at]))
        if bool(table.block[at]):
            values = table.allowed[at].nonzero().squeeze(1).float().expand(n, -1)
        elif listed:
            values = table.table[at, : int(table.used[at])].expand(n, -1)
        else:
            values = torch.stack([region["least"][:, at], region["most"][:, at]], 1).cpu()
        for value in values.unbind(1):
            new = u.clone()
            new[:, at] = value
            made.append(table.unfold(new, own))
            of.append(torch.stack([torch.arange(n), torch.full((n,), at)], 1))
    every, origin = torch.cat(made), torch.cat(of).numpy()
    given = steps.given(every.numpy())
    read = np.asarray(steps.transform(given), dtype=np.float64)
    if read.ndim != 2 or len(read) != len(every):
        raise NoBound("no bound: the model's steps give other numbers than one row each")
    check_clock()
    most = min(u.shape[1], threat.max_changed or u.shape[1])
    # Rows apart by their place in `origin`, which is the same for every row.
    numbers = read.reshape(-1, n, read.shape[1])
    fields = origin.reshape(-1, n, 2)[:, 0, 1]
    # An array without steps holds the very numbers that are read, and a threshold may be the end of a range.
    wider = 0.0 if isinstance(given, np.ndarray) and not steps.steps else _WIDER
    rows = [_row(numbers[:, row], fields, table, most, wider) for row in range(n)]
    whole = np.flatnonzero(np.isfinite(read).all(1))
    if not len(whole):
        raise NoBound("no bound: the classifier reads missing values in every row")
    some = whole[np.linspace(0, len(whole) - 1, min(len(whole), _POINTS)).astype(int)]
    inputs = given.iloc[some] if hasattr(given, "iloc") else given[some]
    return rows, read[some], model.scores(steps.transform(inputs) if steps.steps else inputs)


def _row(numbers: Floats, fields: NDArray[np.int64], table: Any, most: int, wider: float) -> RowRegion | None:
    own = numbers[0]
    taken = np.zeros(len(own), dtype=bool)
    found = []
    for at in range(int(fields.max()) + 1):
        variants = numbers[fields == at]
        same = (variants == own) | (np.isnan(variants) & np.isnan(own))
        places = np.flatnonzero(~same.all(0))
        if not len(places):
            continue
        if taken[places].any():
            raise NoBound("no bound: two columns act on one number that the classifier reads")
        taken[places] = True
        part, kept = variants[:, places], own[places]
        if np.isnan(part).any() or np.isnan(kept).any():
            return None
        listed = bool(table.block[at] | ((table.used[at] > 0) & ~table.cells[at]))
        if not listed:
            low, high = part.min(0), part.max(0)
            around = wider * np.maximum(np.abs(low), np.abs(high))
            low, high = low - around, high + around
            if not bool(((kept >= low) & (kept <= high)).all()):
                raise NoBound("no bound: the model's steps neither rise nor fall with a column")
            found.append(Field(places, np.stack([low, high]), listed=False))
        else:
            others = np.unique(part[(part != kept).any(1)], axis=0)
            found.append(Field(places, np.concatenate([kept[None], others]), listed=True))
    return RowRegion(own, found, most)


# Linear models


@dataclass(frozen=True, slots=True)
class LinearScores:
    """Scores W z + b."""

    weights: Floats  # (K, E)
    scores: Callable[[Any], Floats]

    @property
    def magnitude(self) -> float:
        return 0.0

    def sums(self, z: Floats) -> Floats:
        return np.asarray(z @ self.weights.T, dtype=np.float64)

    def holds(self, row: RowRegion, label: int, base: Floats) -> bool:
        """Return True if the label has the largest score everywhere in a region."""
        score = self.sums(row.own[None])[0] + base
        if not np.isfinite(score).all():
            return False
        for other in range(len(base)):
            if other == label:
                continue
            weight = self.weights[label] - self.weights[other]
            falls, size = [0.0], np.abs(weight * row.own).sum() + np.abs(base).sum()
            for one in row.fields:
                change = (one.variants - row.own[one.at]) * weight[one.at]
                fall = change.sum(1).min() if one.listed else change.min(0).sum()
                if not np.isfinite(change).all():
                    return False
                falls.append(min(0.0, fall))
                size += np.abs(one.variants * weight[one.at]).max(0).sum()
            worst = sum(sorted(falls)[: row.most])
            if score[label] - score[other] + worst <= _ROUNDING * size:
                return False
        return True


# Linear classifiers of scikit-learn that predict the class of the largest score. Others have `coef_` too: with three
# classes SVC's scores are of pairs of classes, and its prediction is the class that wins most pairs.
_LARGEST_SCORE = frozenset(
    {
        "LinearDiscriminantAnalysis",
        "LinearSVC",
        "LogisticRegression",
        "LogisticRegressionCV",
        "PassiveAggressiveClassifier",
        "Perceptron",
        "RidgeClassifier",
        "RidgeClassifierCV",
        "SGDClassifier",
    }
)


def linear_of(model: Any) -> LinearScores | None:
    """Return the weights of a fitted linear classifier of scikit-learn; None for other models."""
    pairs = type(model).__name__ in {"NuSVC", "SVC"} and len(getattr(model, "classes_", ())) == 2
    weights = getattr(model, "coef_", None) if pairs or type(model).__name__ in _LARGEST_SCORE else None
    if type(model).__module__.partition(".")[0] != "sklearn" or weights is None or not hasattr(model, "intercept_"):
        return None
    classes, decide = len(getattr(model, "classes_", ())), getattr(model, "decision_function", None)
    held = np.atleast_2d(np.asarray(weights.toarray() if hasattr(weights, "toarray") else weights, dtype=np.float64))
    if decide is None or held.ndim != 2 or len(held) != (classes if classes > 2 else 1):
        return None

    def scores(x: Any) -> Floats:
        found = np.asarray(decide(x), dtype=np.float64)
        return found if found.ndim == 2 else np.stack([np.zeros_like(found), found], 1)

    return LinearScores(held if classes > 2 else np.concatenate([np.zeros_like(held), held]), scores)


# Trees


class Undecided(Exception):
    """A region takes more parts than are allowed."""


Leaves = tuple[Floats, Floats, Floats]
"""Boxes (L, E) from `low`, exclusive, to `high`, and what each adds to the scores (L, K)."""


def _leaves_of(tree: Tree, width: int) -> Leaves | None:
    """Return the leaves of a tree; None if it reads other columns than there are."""
    low, high, value = [], [], []
    stack = [(0, np.full(width, -np.inf), np.full(width, np.inf))]
    while stack:
        node, least, most = stack.pop()
        at = tree.column[node]
        if at < 0:
            low.append(least)
            high.append(most)
            value.append(tree.value[node])
            continue
        if at >= width:
            return None
        left_most, right_least = most.copy(), least.copy()
        left_most[at] = min(most[at], tree.threshold[node])
        right_least[at] = max(least[at], tree.threshold[node])
        stack += [(int(tree.left[node]), least, left_most), (int(tree.right[node]), right_least, most)]
    return np.array(low), np.array(high), np.array(value)


def _summed(several: Sequence[Leaves], column: int) -> Leaves:
    """Return trees of one and the same column as one tree: their worst leaves never contradict each other.

    Sums of stumps become sums over columns, whose least value in a box is exact.
    """
    cuts = np.unique(np.concatenate([high[:, column] for _, high, _ in several]))
    low, high = (
        np.full((len(cuts), several[0][0].shape[1]), -np.inf),
        np.full((len(cuts), several[0][0].shape[1]), np.inf),
    )
    low[1:, column], high[:, column] = cuts[:-1], cuts
    total = np.zeros((len(cuts), several[0][2].shape[1]))
    for least, most, value in several:
        total += ((cuts[:, None] > least[:, column]) & (cuts[:, None] <= most[:, column])) @ value
    return low, high, total


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The leaves of T trees as boxes: `low < z <= high`; trees of a single column are summed, column by column.

    Attributes:
        low, high: (L, E).
        value: (L, K).
        starts: (T,) int64 the first leaf of each tree.
    """

    low: Floats
    high: Floats
    value: Floats
    starts: NDArray[np.int64]
    trees: Sequence[Tree]
    scores: Callable[[Any], Floats]

    @classmethod
    def of(cls, model: Any) -> Ensemble | None:
        """Return the leaves of a classifier; None if it is no ensemble of trees that can be read."""
        found = trees_of(model)
        width = int(getattr(model, "n_features_in_", 0) or 0)
        if found is None or not width:
            return None
        trees, scores = found
        leaves = sum(int((tree.column < 0).sum()) for tree in trees)
        if leaves * width > _LARGEST:
            return None
        boxes: list[Leaves] = []
        of_column: dict[int, list[Leaves]] = {}
        for tree in trees:
            made = _leaves_of(tree, width)
            if made is None:
                return None
            read = np.unique(tree.column[tree.column >= 0])
            if len(read) == 1:
                of_column.setdefault(int(read[0]), []).append(made)
            else:
                boxes.append(made)
        boxes += [_summed(several, column) for column, several in of_column.items()]
        low, high, value = (np.concatenate(each) for each in zip(*boxes, strict=True))
        starts = np.cumsum([0, *(len(one[0]) for one in boxes[:-1])])
        return cls(low, high, value, starts, trees, scores)

    @property
    def magnitude(self) -> float:
        """The largest sum of the trees' values."""
        return float(np.maximum.reduceat(np.abs(self.value).max(1), self.starts).sum())

    def sums(self, z: Floats) -> Floats:
        out = np.zeros((len(z), self.value.shape[1]))
        for tree in self.trees:
            node = np.zeros(len(z), dtype=np.int64)
            for _ in range(len(tree.column)):
                column = tree.column[node]
                inner = column >= 0
                if not inner.any():
                    break
                left = z[np.arange(len(z)), np.maximum(column, 0)] <= tree.threshold[node]
                node = np.where(inner, np.where(left, tree.left[node], tree.right[node]), node)
            out += tree.value[node]
        return out

    def holds(self, row: RowRegion, label: int, base: Floats) -> bool:
        """Return True if the label has the largest score everywhere in a region."""
        fixed = np.ones(len(row.own), dtype=bool)
        for one in row.fields:
            fixed[one.at] = False
        # Leaves that a missing number may reach on either side stay.
        inside = ((row.own > self.low) & (row.own <= self.high)) | np.isnan(row.own)
        leaves = np.flatnonzero(inside[:, fixed].all(1))
        slack = _ROUNDING * (self.magnitude + np.abs(base).sum())
        search = _Search.of(self, row, leaves)
        return search is not None and all(
            search.above(self.value[leaves, label] - self.value[leaves, other], slack - base[label] + base[other])
            for other in range(self.value.shape[1])
            if other != label
        )

    def escape(self, own: Floats, ends: tuple[Floats, Floats], label: int, base: Floats) -> Floats | None:
        """Return an input (E,) of float32 numbers in a box at which another class has the largest score.

        Args:
            own: (E,) the row, inside the box.
            ends: (E,) the least and the largest float32 numbers of the box.

        Returns:
            None if the label has the largest score everywhere in the box.

        Raises:
            Undecided: neither was found.
        """
        (least, most), width = ends, len(own)
        # Columns that no threshold cuts inside the box, and leaves outside of it, decide nothing.
        leaves = np.flatnonzero(((least <= self.high) & (most > self.low)).all(1))
        cut = np.flatnonzero(((self.low[leaves] >= least) | (self.high[leaves] < most)).any(0))
        fields = [Field(np.array([at]), np.array([[least[at]], [most[at]]]), listed=False) for at in cut]
        search = _Search.of(self, RowRegion(own, fields, width), leaves)
        slack = _ROUNDING * (self.magnitude + np.abs(base).sum())
        parts = min(_PARTS, _WORK // max(1, len(leaves) * len(cut)))
        if search is None:
            raise Undecided
        for other in range(self.value.shape[1]):
            if other == label:
                continue
            lead = self.value[leaves, label] - self.value[leaves, other]
            search.parts = 0
            chosen = search.escape(lead, slack - base[label] + base[other], parts)
            if chosen is None:
                continue
            low, high = self.low[leaves[chosen]].max(0), self.high[leaves[chosen]].min(0)
            below = np.nextafter(low.astype(np.float32), np.float32(np.inf)).astype(np.float64)
            near = low.astype(np.float32).astype(np.float64)
            low = np.maximum(np.where(near > low, near, below), least)
            near = high.astype(np.float32).astype(np.float64)
            below = np.nextafter(high.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
            high = np.minimum(np.where(near <= high, near, below), most)
            if (low > high).any():  # no float32 number lies between two thresholds
                raise Undecided
            return np.asarray(np.clip(own, low, high), dtype=np.float64)
        return None


@dataclass(slots=True)
class _Subregion:
    """A part of a region: the active variants of each list, the box of the ranges, and which fields have changed."""

    active: list[NDArray[np.bool_]]
    low: Floats
    high: Floats
    changed: NDArray[np.bool_]  # (F,)
    kept: NDArray[np.bool_]  # (F,)


@dataclass(slots=True)
class _Search:
    """Branch and bound of one row over the leaves within reach of it.

    Attributes:
        low, high: (L, A) boxes of the leaves in the numbers of ranges.
        meets: for each list (L, V): the variant lies in the leaf's box.
        own: (A,) the sample's numbers of ranges.
        field_of: (A,) the field of each number; ranges come behind the lists.
        outside: (L, F) bool: the sample itself is outside of the leaf in this field.
        starts: (T,) int64 the first leaf of each tree.
        root: the whole region.
        most: fields that may change.
        parts: bounded so far.
    """

    low: Floats
    high: Floats
    meets: list[NDArray[np.bool_]]
    own: Floats
    field_of: NDArray[np.int64]
    outside: NDArray[np.bool_]
    starts: NDArray[np.int64]
    root: _Subregion
    most: int
    parts: int = field(default=0)

    @classmethod
    def of(cls, ensemble: Ensemble, row: RowRegion, leaves: NDArray[np.int64]) -> _Search | None:
        lists = [one for one in row.fields if one.listed]
        ranges = [one for one in row.fields if not one.listed]
        low, high = ensemble.low[leaves], ensemble.high[leaves]
        meets: list[NDArray[np.bool_]] = [
            np.all((one.variants > low[:, None, one.at]) & (one.variants <= high[:, None, one.at]), axis=2)
            for one in lists
        ]
        at = np.concatenate([one.at for one in ranges]) if ranges else np.empty(0, dtype=np.int64)
        own = row.own[at]
        sizes = [len(one.at) for one in ranges]
        field_of = np.repeat(np.arange(len(ranges)), sizes) + len(lists)
        low, high = low[:, at], high[:, at]
        out = ~((own > low) & (own <= high))
        outside = np.zeros((len(leaves), len(row.fields)), dtype=bool)
        for number, met in enumerate(meets):
            outside[:, number] = ~met[:, 0]
        for number in range(len(lists), len(row.fields)):
            outside[:, number] = out[:, field_of == number].any(1)
        tree = np.searchsorted(ensemble.starts, leaves, side="right") - 1
        starts = np.searchsorted(tree, np.arange(len(ensemble.starts)))
        if len(np.unique(tree)) < len(ensemble.starts):
            return None
        ends = [np.concatenate([one.variants[side] for one in ranges]) if ranges else own for side in (0, 1)]
        none = np.zeros(len(row.fields), dtype=bool)
        active = [np.ones(met.shape[1], dtype=bool) for met in meets]
        root = _Subregion(active, ends[0], ends[1], none, none)
        return cls(low, high, meets, own, field_of, outside, starts, root, row.most)

    def above(self, value: Floats, least: float) -> bool:
        """Return True if the sum of the trees' values (L,) is above `least` everywhere in the region."""
        try:
            return self.escape(value, least, _PARTS) is None
        except Undecided:
            return False

    def escape(self, value: Floats, least: float, parts: int) -> NDArray[np.int64] | None:
        """Return leaves, one of each tree, that meet and whose values (L,) sum up to `least` or less; None if none do.

        Raises:
            Undecided: the region has to be split into more parts.
        """
        stack = [self.root]
        while stack:
            self.parts += 1
            if self.parts > parts:
                raise Undecided
            if self.parts % 50 == 0:
                check_clock()
            part = stack.pop()
            if (part.changed & part.kept).any() or part.changed.sum() > self.most:
                continue
            reach = ((part.low <= self.high) & (part.high > self.low)).all(1)
            for one, active in zip(self.meets, part.active, strict=True):
                reach &= one[:, active].any(1)
            reach &= (self.outside | part.changed).sum(1) <= self.most
            reach &= ~(self.outside & part.kept).any(1)
            held = np.where(reach, value, np.inf)
            worst = np.minimum.reduceat(held, self.starts)
            # A part in which some tree has no leaf within reach holds no input.
            if not np.isfinite(worst).all() or worst.sum() > least:
                continue
            tree = np.repeat(np.arange(len(self.starts)), np.diff(np.r_[self.starts, len(value)]))
            hit = np.flatnonzero(reach & (held == worst[tree]))
            chosen = hit[np.unique(tree[hit], return_index=True)[1]]
            children = self._split(part, chosen)
            if not children:
                return chosen
            stack += children
        return None

    def _split(self, part: _Subregion, chosen: NDArray[np.int64]) -> list[_Subregion]:
        """Return the two parts apart in which chosen leaves contradict each other; none if they have a point."""
        for number, (one, active) in enumerate(zip(self.meets, part.active, strict=True)):
            if not (one[chosen].all(0) & active).any():
                count = one[chosen][:, active].sum(1)
                side = one[chosen[np.flatnonzero(count < active.sum())[0]]]
                parts = []
                for mask in (active & side, active & ~side):
                    changed = part.changed.copy()
                    changed[number] |= not mask[0]
                    lists = [mask if at == number else old for at, old in enumerate(part.active)]
                    parts.append(_Subregion(lists, part.low, part.high, changed, part.kept))
                return parts
        if len(self.own):
            below, above = self.low[chosen].max(0), self.high[chosen].min(0)
            apart = (self.low[chosen] >= above).sum(0) * (below >= above)
            at = int(apart.argmax())
            if apart[at]:
                cut = above[at]
                parts = []
                for side in (0, 1):
                    low, high, changed = part.low.copy(), part.high.copy(), part.changed.copy()
                    if side == 0:
                        high[at] = min(high[at], cut)
                    else:
                        low[at] = max(low[at], np.nextafter(cut, np.inf))
                    changed[self.field_of[at]] |= not low[at] <= self.own[at] <= high[at]
                    parts.append(_Subregion(part.active, low, high, changed, part.kept))
                return parts
        need = self.outside[chosen].any(0) | part.changed
        if need.sum() <= self.most:
            return []
        # More changes than are allowed: one of these fields keeps the sample's value, or is one of the changed ones.
        open_ = self.outside[chosen].sum(0) * (~part.changed & ~part.kept)
        at = int(open_.argmax())
        if not open_[at]:
            return []
        changed, kept = part.changed.copy(), part.kept.copy()
        changed[at] = kept[at] = True
        return [
            _Subregion(part.active, part.low, part.high, part.changed, kept),
            _Subregion(part.active, part.low, part.high, changed, part.kept),
        ]
