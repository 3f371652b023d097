"""Changes of whole images that explain the marks of a class: their kind and strength from data, without a model."""

# 1. Each classifier of each family scores the images (`image_features`); classes with a large and unusual gap are
#    marked (`find_marks`).
# 2. Every change of the family (`changes`) is made in images of other classes. It explains the part (a - b) / (own - b)
#    of the mark: b and a are the shares of these images that score like the class before and after, own the share of
#    the class's own images.
# 3. The changes that explain at least half are weakened to the strength that the class's images show, and must still
#    explain half. Changes that the class's images cannot have are dropped.
# 4. One cause is sought before several: the change that explains most over all marks of the class is proposed first,
#    with changes of other kinds that explain nearly as much; then the next change for the marks left.

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.cues import Cue, FrequencyBand, Grating, distances, for_samples, switched
from robustest_interpret.discovery import image_features
from robustest_interpret.discovery.carrying_parts import SMALLEST_PARTS
from robustest_interpret.discovery.changes import (
    SMALLEST_BLOCKS,
    compressions_like,
    filters_like,
    limit_strength,
    margins_like,
    noises_like,
    shadings_like,
    tones_like,
    without_waves,
)
from robustest_interpret.discovery.proposals import CHANNELS, EDGES, NOISE, OWN, PROPERTIES, SPECTRA, Proposal
from robustest_interpret.discovery.whole_marks import may_be_added

# Classes that a small classifier recognises by whole images, each image scored by a classifier fitted without it.
#
# For features phi(x) of a family (`image_features`) and each class k:
# 1. A scorer s_k is fitted: ridge regression of membership m in k on the features cut into bins, w = (C'C + r I)^-1
#    C'(m
#    - mean m) with C the centred bin indicators; or a matched filter on the pixels.
# 2. In five folds, each fold is scored by a scorer fitted on the four others.
# 3. The gap of k is the share of its images with s_k >= t, less the largest such share of another class, at the best
#    limit t. A large gap means that whole images of k differ from all other classes.


Scorer = Callable[[Tensor], Tensor]
"""Maps features (N, D), or images for a matched filter, to scores (N, K)."""

_FOLDS = 5

# Quantiles at which features are cut into bins: finer at the ends, where marks lie.
_CUTS = torch.tensor([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98], dtype=torch.float64)

_RIDGE = 3.0

# Quantiles of a class's own scores that are tried as limits: a part of its images may have the mark.
_LIMITS = torch.linspace(0.02, 0.85, 42, dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class ClassMark:
    """The mark of a class by scores.

    `own` is the share of its images that score `limit` or more, `rest` the largest such share of another class.
    """

    label: int
    gap: float
    own: float
    rest: float
    limit: float


def membership(y: Tensor, labels: Sequence[int]) -> Tensor:
    """Return (N, K) float64: 1 where a sample is of a class."""
    return torch.stack([(y == label).double() for label in labels], 1)


def cross_fitted_scores(
    features: Tensor, y: Tensor, labels: Sequence[int], fit: Callable[[Tensor, Tensor], Scorer], *, seed: int
) -> Tensor:
    """Return the scores (N, K) of every sample by a scorer fitted without it.

    Args:
        fit: maps features (n, ...) and membership (n, K) to a scorer.
        seed: draws the folds.
    """
    member = membership(y, labels)
    fold = rng.permutation(seed, len(y)).to(y.device) % _FOLDS
    scores = torch.zeros(len(y), len(labels), dtype=torch.float64, device=y.device)
    for k in range(_FOLDS):
        out = fold == k
        scores[out] = fit(features[~out], member[~out])(features[out])
    return scores


def find_marks(scores: Tensor, y: Tensor, labels: Sequence[int]) -> list[ClassMark]:
    """Return each class's mark, at the limit of its scores (N, K) with the largest gap."""
    members = membership(y, labels).bool()
    found = []
    for own, label in enumerate(labels):
        mine = scores[:, own]
        limits = mine[members[:, own]].quantile(_LIMITS.to(y.device))
        beyond = (mine.unsqueeze(1) >= limits).double()
        shares = torch.stack([beyond[rows].mean(0) for rows in members.unbind(1)])
        rest = torch.cat([shares[:own], shares[own + 1 :]]).amax(0)
        best = int((shares[own] - rest).argmax())
        share, other = float(shares[own, best]), float(rest[best])
        found.append(ClassMark(label, share - other, share, other, float(limits[best])))
    return found


def binned_ridge(features: Tensor, member: Tensor, *, most: int) -> Scorer:
    """Fit ridge regressions of membership (N, K) on features (N, D) cut into bins.

    Args:
        most: features used per class, those in which it differs most.
    """
    # The features whose means differ most between each class and all samples, in standard errors.
    centred = features - features.mean(0)
    spread = centred.std(0).clamp(min=1e-12)
    size = member.sum(0).clamp(min=1).view(-1, 1)
    apart = (member.T @ centred).abs() / size / spread * size.sqrt()
    columns = torch.unique(apart.topk(min(most, features.shape[1]), dim=1).indices)

    # Bins let a linear model see that a feature is unusual at either end, or in the middle.
    cuts = torch.quantile(features[:, columns], _CUTS.to(features.device), dim=0).T.contiguous()
    width = len(_CUTS) + 1
    first = width * torch.arange(len(columns), device=features.device)

    def bins(rows: Tensor) -> Tensor:
        return torch.searchsorted(cuts, rows[:, columns].T.contiguous()).T + first

    code = torch.zeros(len(features), width * len(columns), dtype=torch.float64, device=features.device)
    code.scatter_(1, bins(features), 1.0)
    centre = code.mean(0)
    code = code - centre
    gram = code.T @ code
    gram.diagonal().add_(_RIDGE)
    weight = torch.linalg.solve(gram, code.T @ (member - member.mean(0)))
    offset = centre @ weight
    # In a row's indicators one bin of each column is 1 and all others are 0: its score is a sum of a few weights.
    return lambda rows: F.embedding_bag(bins(rows), weight, mode="sum") - offset


def matched_filter(images: Tensor, member: Tensor) -> Scorer:
    """Fit whitened filters, one per class, for patterns added to images (N, C, H, W) at a fixed place."""
    # Natural images have most of their power in low frequencies. A pattern too faint for any single image stands out in
    # the mean of a class once all frequencies have the same weight.
    amplitude = image_features.centred_spectrum(images).abs().mean(0).clamp(min=1e-6)

    def white(x: Tensor) -> Tensor:
        flat: Tensor = torch.fft.irfft2(image_features.centred_spectrum(x) / amplitude, s=x.shape[2:]).flatten(1)
        return flat

    rows, weights = white(images), member.to(images.dtype)
    size = weights.sum(0).clamp(min=1).view(-1, 1)
    mean = weights.T @ rows / size
    rest = (1 - weights).T @ rows / (len(rows) - size).clamp(min=1)
    # Soft thresholding by a standard error: pixels outside of the pattern would add noise to the filter.
    apart = mean - rest
    noise = rows.std(0) / size.sqrt()
    filters = apart.sign() * (apart.abs() - noise).clamp(min=0)
    filters = filters / filters.norm(dim=1, keepdim=True).clamp(min=1e-9)
    centre = rows.mean(0)
    return lambda x: ((white(x) - centre) @ filters.T).double()


# Part of a mark that a change has to explain.
_EXPLAINED = 0.5

# Part of a mark that parts of images that carry the class have to explain: they are the smallest that the model
# follows, and no more than some of what the mark is. And the least gap of such a mark: shapes that differ by their
# content, ends of a cross for example, have marks of .4 to .5 that a few of their pixels bring.
_CARRIED, _CARRIED_MARK = 0.25, 0.65

# Part of the best change's worth from which a change of another kind is proposed beside it.
_RIVAL = 0.75

# Least difference between a gap and the median gap of the other classes: a mark of most classes is their content.
_ODD = 0.25

# For a mark that few images of a class have: least gap, least difference from the median gap of the other classes, and
# largest share of another class's images that may have it. Natural properties are about as common in other classes.
_FAINT, _FAINTLY_ODD, _FAINTLY_SHARED = 0.2, 0.12, 0.1

# For a mark that nature lacks, as for marks that recur in parts: least gap, and the largest part of its share that any
# other class's images may have.
_RECURS, _ELSEWHERE = 0.06, 0.25

# Least gap of a mark that a frequency band explains: a ring has more power in a band than a disc, by nature. A smaller
# mark is named as one that nothing explains.
_BAND_MARK = 0.5

# Classes that changes are fitted for, at most: those of the largest gaps.
_CLASSES = 5

# Changes that explain one mark best, and are then tried on the class's other marks.
_BEST_OF_A_MARK = 4

# Images that all changes are tried on first, and changes that are then tried on more.
_SCREENED_ON, _LIKELY = 10, 7

# Images of other classes that changes are tried on.
_TRIED_ON = 40

# Images of a class, and of others, that strengths are estimated on.
_MEASURED_ON = 128

# Changes whose images are described together: small calls cost more than their arithmetic.
_AT_A_TIME = 12

SMALLEST_NOISY = 8
"""Shorter side in pixels from which noise differs from the content of an image."""

# A class lacks a cue that changes its images by more than this part of the change in other images (medians).
_PRESENT = 0.5

Describe = Callable[[Tensor, tuple[float, float]], Tensor]


def _pixels(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    return x


@dataclass(frozen=True, slots=True)
class _View:
    """One classifier of a family.

    Attributes:
        of_kinds: it recognises the kind of a change, and not its strength.
        unnatural: natural images have next to nothing of its features.
    """

    describe: Describe
    fit: Callable[[Tensor, Tensor], Scorer]
    of_kinds: bool = False
    unnatural: bool = False


_VIEWS: dict[str, tuple[_View, ...]] = {
    PROPERTIES: (
        _View(image_features.property_features, partial(binned_ridge, most=40)),
        _View(image_features.shading_features, partial(binned_ridge, most=40), of_kinds=True),
    ),
    CHANNELS: (_View(image_features.channel_features, partial(binned_ridge, most=40)),),
    SPECTRA: (_View(image_features.spectrum_features, partial(binned_ridge, most=8)), _View(_pixels, matched_filter)),
    EDGES: (
        _View(image_features.edge_features, partial(binned_ridge, most=40)),
        _View(image_features.block_features, partial(binned_ridge, most=8), of_kinds=True),
    ),
    NOISE: (_View(image_features.noise_features, partial(binned_ridge, most=40), of_kinds=True),),
    OWN: (_View(image_features.structure_features, partial(binned_ridge, most=40), of_kinds=True, unnatural=True),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePool:
    """The images that are searched: x (N, C, H, W) inside the bounds, y (N,) int64."""

    x: Tensor
    y: Tensor
    bounds: tuple[float, float]
    seed: int

    def others(self, label: int) -> tuple[Tensor, Tensor]:
        """Return some images of other classes, and their positions."""
        return self._some(self.y != label)

    def members(self, label: int) -> Tensor:
        return self._some(self.y == label)[0]

    def lacks(self, cue: Cue, label: int, having: Tensor) -> bool:
        """Return True if the images `having` (N,) bool of a class certainly lack a cue."""
        # Bars, or a channel that is off, change nothing in images that have them. For a cue that adds to the image
        # (brightness, a pattern, a blur) nothing is certain, and the answer is False.
        (have, at), (lack, at_) = self._some(having), self.others(label)
        once = switched(for_samples(cue, at_), lack, self.bounds)[0]
        twice = switched(for_samples(cue, at_), once, self.bounds)[0]
        if not torch.allclose(once, twice, rtol=0, atol=1e-4 * (self.bounds[1] - self.bounds[0])):
            return False
        sizes = [
            float(distances(switched(for_samples(cue, ids), x, self.bounds)[0], x).l2.median())
            for x, ids in ((have, at), (lack, at_))
        ]
        return sizes[0] > _PRESENT * sizes[1]

    def limited(self, cue: Cue, label: int, having: Tensor) -> Cue | None:
        """Return a change no stronger than the images `having` (N,) bool of a class show it, or None."""
        have, _ = self._some(having, _MEASURED_ON)
        lack, ids = self._some(self.y != label, _MEASURED_ON)
        weak = limit_strength(cue, have, lack, ids, self.bounds)
        return weak if weak is not None and may_be_added(weak, have, self.bounds) else None

    def _some(self, chosen: Tensor, most: int = _TRIED_ON) -> tuple[Tensor, Tensor]:
        rows = chosen.nonzero().squeeze(1)
        rows = rows[rng.permutation(self.seed, len(rows)).to(rows.device)[:most]]
        return self.x[rows], rows.cpu()


@dataclass(frozen=True, slots=True)
class FamilyClassifier:
    """One classifier of a family, fitted on the images searched, and the marks of its cross-fitted scores.

    Attributes:
        scores: maps images (M, C, H, W) to scores (M, K), by a classifier fitted on all images.
        of_kinds: it recognises the kind of a change, not its strength: a change that explains half of a mark counts as
            much as one that explains all.
        unnatural: natural images have next to nothing of its features: a small share of a class is a mark.
    """

    family: str
    marks: tuple[ClassMark, ...]
    scores: Callable[[Tensor], Tensor]
    labels: tuple[int, ...]
    of_kinds: bool = False
    unnatural: bool = False

    def odd_marks(self, min_mark: float, by: float = _ODD) -> list[ClassMark]:
        """Return marks with a gap of `min_mark` or more that exceeds the median of the other classes by `by`."""
        if self.unnatural:
            return [mark for mark in self.marks if mark.gap >= _RECURS and mark.rest <= _ELSEWHERE * mark.own]
        found = []
        for mark in self.marks:
            others = [other.gap for other in self.marks if other.label != mark.label]
            if mark.gap >= min_mark and mark.gap - statistics.median(others) >= by:
                found.append(mark)
        return found

    def shares_like(self, images: Sequence[Tensor], mark: ClassMark) -> list[float]:
        """Return the share of each set of images (M, C, H, W) that scores like the class; sets have the same size."""
        found, own = list[float](), self.labels.index(mark.label)
        for first in range(0, len(images), _AT_A_TIME):
            some = images[first : first + _AT_A_TIME]
            like = self.scores(torch.cat(list(some)))[:, own] >= mark.limit
            found += like.view(len(some), -1).double().mean(1).tolist()
        return found

    def likely_marked(self, pool: ImagePool, mark: ClassMark) -> Tensor:
        """Return (N,) bool: the images with the highest scores, a share `gap` of the marked class."""
        # Scores of images that a classifier was fitted on are too high for a limit, and good enough for an order.
        own = (pool.y == mark.label).nonzero().squeeze(1)
        scores = self.scores(pool.x[own])[:, self.labels.index(mark.label)]
        has = torch.zeros_like(pool.y, dtype=torch.bool)
        has[own[scores.topk(max(1, round(mark.gap * len(own)))).indices]] = True
        return has

    def explained(self, after: Sequence[Tensor], before: Tensor, mark: ClassMark) -> list[float]:
        """Return the part of a mark that changes of images `before` to images `after` explain."""
        (start,) = self.shares_like([before], mark)
        return [(share - start) / max(mark.own - start, 1e-9) for share in self.shares_like(after, mark)]


MarkView = tuple[FamilyClassifier, ClassMark]
"""A mark of a class with the classifier that found it."""


def fit_families(
    pool: ImagePool, labels: Sequence[int], families: Collection[str] | None = None
) -> list[FamilyClassifier]:
    """Fit the classifiers of each family on images of some classes, with the marks that they find."""
    rows = torch.isin(pool.y, torch.tensor(list(labels), device=pool.y.device))
    x, y = pool.x[rows], pool.y[rows]
    found = []
    for family, views in _VIEWS.items():
        if families is not None and family not in families:
            continue
        if (family == CHANNELS and x.shape[1] == 1) or (family == NOISE and min(x.shape[2:]) < SMALLEST_NOISY):
            continue
        for view in views:
            if view.unnatural and min(x.shape[2:]) < SMALLEST_PARTS:
                continue
            if view.describe is image_features.block_features and min(x.shape[2:]) < SMALLEST_BLOCKS:
                continue
            features = view.describe(x, pool.bounds)
            marks = find_marks(cross_fitted_scores(features, y, labels, view.fit, seed=pool.seed), y, labels)
            scores = partial(_scores, view.fit(features, membership(y, labels)), view.describe, pool.bounds)
            found.append(FamilyClassifier(family, tuple(marks), scores, tuple(labels), view.of_kinds, view.unnatural))
    return found


def _scores(scorer: Scorer, describe: Describe, bounds: tuple[float, float], x: Tensor) -> Tensor:
    return scorer(describe(x, bounds))


def fitted_proposals(
    classifiers: Sequence[FamilyClassifier], pool: ImagePool, *, min_mark: float
) -> tuple[list[Proposal], list[tuple[str, ClassMark]]]:
    """Return the changes that explain marks, and the marks (with their families) that no change explains."""
    proposals: list[Proposal] = []
    left: list[tuple[str, ClassMark]] = []
    by_label: dict[int, list[MarkView]] = {}
    for one in classifiers:
        for mark in one.odd_marks(min_mark):
            by_label.setdefault(mark.label, []).append((one, mark))
    order = sorted(by_label, key=lambda label: -max(mark.gap for _, mark in by_label[label]))
    for label in order[:_CLASSES]:
        made, rest = _ClassTrial(by_label[label], pool, label).causes()
        proposals += made
        left += rest
    return proposals, left


class _ClassTrial:
    """Changes tried on images of other classes, as explanations of the marks of one class."""

    def __init__(self, views: list[MarkView], pool: ImagePool, label: int) -> None:
        self._views, self._bounds = views, pool.bounds
        self._pool, self._label = pool, label
        self._others, self._ids = pool.others(label)
        self._cues = changes_by_family(sorted({one.family for one, _ in views}), pool, label)
        self._images: dict[tuple[int, int], tuple[Cue, Tensor]] = {}

    def causes(self) -> tuple[list[Proposal], list[tuple[str, ClassMark]]]:
        """Return proposals, the one that explains most first, and the marks that stay unexplained."""
        views = range(len(self._views))
        cues = [cue for at in views for cue in self._best(at)]
        columns = [self._explained(at, cues) for at in views]
        table = [list(row) for row in zip(*columns, strict=True)]
        sizes = [
            float(distances(*switched(for_samples(cue, self._ids), self._others, self._bounds)).l2.median())
            for cue in cues
        ]
        unexplained, proposals = list(views), list[Proposal]()
        while unexplained and cues:

            def worth(number: int, unexplained: list[int] = unexplained) -> tuple[float, bool, float]:
                parts = (table[number][at] / (_EXPLAINED if self._views[at][0].of_kinds else 1.0) for at in unexplained)
                # Many changes alter the power of a band, noise for example: a band is proposed where no other kind
                # explains as much. Of equals the smaller change comes first.
                other_kind = not isinstance(cues[number], FrequencyBand)
                return round(sum(min(1.0, part) for part in parts), 1), other_kind, -sizes[number]

            order = sorted(range(len(cues)), key=worth, reverse=True)
            solved = [at for at in unexplained if table[order[0]][at] >= _EXPLAINED]
            if not solved:
                break
            kinds: set[type] = set()
            for number in order:
                # A change of another kind that explains nearly as much is a suspect too: a blur looks like less
                # contrast to a classifier.
                if worth(number)[0] >= _RIVAL * worth(order[0])[0] and type(cues[number]) not in kinds:
                    kinds.add(type(cues[number]))
                    part = table[number]
                    least = min(_EXPLAINED, max(part[at] for at in unexplained))
                    chosen = [self._views[at] for at in unexplained if part[at] >= least]
                    proposals.append(_proposal(chosen, cues[number]))
            unexplained = [at for at in unexplained if at not in solved]
        return proposals, [(self._views[at][0].family, self._views[at][1]) for at in unexplained]

    def _best(self, at: int) -> list[Cue]:
        """Return the changes that explain mark number `at` best, no stronger than the class's images show them."""
        one, mark = self._views[at]
        column = self._cues[one.family]
        if mark.gap < _BAND_MARK:
            column = [cue for cue in column if not isinstance(cue, FrequencyBand)]
        first = self._explained(at, column, _SCREENED_ON)
        likely = [column[number] for number in sorted(range(len(column)), key=lambda number: -first[number])[:_LIKELY]]
        having = one.likely_marked(self._pool, mark)
        # A change that is too strong explains more than one of the strength in the class's images. So weaken first, and
        # compare then.
        strong = [cue for cue, part in zip(likely, self._explained(at, likely), strict=True) if part >= _EXPLAINED]
        limited = (self._pool.limited(cue, self._label, having) for cue in strong)
        weak = [cue for cue in limited if cue is not None]
        parts = zip(self._explained(at, weak), weak, strict=True)
        good = sorted((part for part in parts if part[0] >= _EXPLAINED), key=lambda part: -part[0])
        present = (
            cue
            for _, cue in good
            if not self._pool.lacks(cue, self._label, having) and self._removal_agrees(cue, one, mark)
        )
        return list(itertools.islice(present, _BEST_OF_A_MARK))

    def _removal_agrees(self, cue: Cue, one: FamilyClassifier, mark: ClassMark) -> bool:
        # Many changes, noise for example, make images score like images with waves. Where waves are the mark, images
        # lose it with them.
        if not isinstance(cue, Grating):
            return True
        own = self._pool.members(self._label)
        with_waves, without = one.shares_like([own], mark)[0], one.shares_like([without_waves(own, cue)], mark)[0]
        return with_waves - without >= _EXPLAINED * (mark.own - mark.rest)

    def _explained(self, at: int, cues: Sequence[Cue], most: int = _TRIED_ON) -> list[float]:
        one, mark = self._views[at]
        # Changed images are made once for all classifiers of the class.
        for cue in cues:
            if (id(cue), most) not in self._images:
                # Keep the change beside its images: a freed change's id may be given to another one.
                self._images[id(cue), most] = cue, for_samples(cue, self._ids[:most]).on(self._others[:most])
        return one.explained([self._images[id(cue), most][1] for cue in cues], self._others[:most], mark)


def changes_by_family(families: Sequence[str], pool: ImagePool, label: int) -> dict[str, list[Cue]]:
    """Return the changes of each family that may explain marks of a class."""
    own, made = pool.y == label, dict[str, list[Cue]]()
    tones = tones_like(pool.x, own, pool.bounds) if {PROPERTIES, CHANNELS} & set(families) else []
    filters = filters_like(pool.x, pool.y, label, pool.bounds) if {SPECTRA, EDGES} & set(families) else []
    for family in families:
        if family in {PROPERTIES, CHANNELS}:
            made[family] = [*tones, *shadings_like(pool.bounds)] if family == PROPERTIES else tones
        elif family == EDGES:
            coded = compressions_like(pool.x.shape[1:], pool.bounds)
            made[family] = [*margins_like(pool.x, own, pool.bounds), *filters, *coded]
        elif family == OWN:
            made[family] = []  # its marks are named: no change of whole images makes them
        else:
            made[family] = filters if family == SPECTRA else noises_like(pool.x, own, pool.bounds)
    return made


def explaining_proposal(
    classifiers: Sequence[FamilyClassifier], cue: Cue, label: int, pool: ImagePool, *, min_mark: float
) -> Proposal | None:
    """Return a change as a proposal if it explains half of a class's marks, in the mean over all of them; else None."""
    views = [(one, mark) for one in classifiers for mark in one.odd_marks(min_mark) if mark.label == label]
    if not views:
        return None
    first, mark = max(views, key=lambda view: view[1].gap)
    if isinstance(cue, FrequencyBand) and mark.gap < _BAND_MARK:
        return None
    weak = pool.limited(cue, label, first.likely_marked(pool, mark))
    if weak is None:
        return None
    others, ids = pool.others(label)
    after = for_samples(weak, ids).on(others)
    parts = [one.explained([after], others, mark)[0] for one, mark in views]
    if statistics.fmean(min(1.0, part) for part in parts) < _EXPLAINED:
        return None
    explained = [view for view, part in zip(views, parts, strict=True) if part >= _EXPLAINED]
    one, mark = max(explained, key=lambda view: view[1].gap)
    return None if pool.lacks(weak, label, one.likely_marked(pool, mark)) else _proposal(explained, weak)


def faint_proposal(classifiers: Sequence[FamilyClassifier], cue: Cue, label: int, pool: ImagePool) -> Proposal | None:
    """Return a change as a faint proposal if few images of a class look like it, and fewer of any other class."""
    # Few images cannot show that the change is their mark: the proposal is no more than a reason not to pass.
    marks = [(one, mark) for one in classifiers for mark in one.odd_marks(_FAINT, _FAINTLY_ODD) if mark.label == label]
    views = [(one, mark) for one, mark in marks if mark.rest <= _FAINTLY_SHARED]
    others, ids = pool.others(label)
    for one, mark in sorted(views, key=lambda view: -view[1].gap):
        having = one.likely_marked(pool, mark)
        weak = pool.limited(cue, label, having)
        if weak is None or pool.lacks(weak, label, having):
            continue
        if one.explained([for_samples(weak, ids).on(others)], others, mark)[0] >= _EXPLAINED:
            return replace(_proposal([(one, mark)], weak), faint=True)
    return None


def carried_proposal(
    classifiers: Sequence[FamilyClassifier], cue: Cue, label: int, pool: ImagePool, *, min_mark: float
) -> Proposal | None:
    """Return parts cut from a class's images as a faint proposal if they explain some of its marks; else None.

    Content draws answers to its class too, and classes differ by nature. What the model follows and what marks the
    whole images is one thing only where pasting the first brings the second.
    """
    others, ids = pool.others(label)
    after = for_samples(cue, ids).on(others)
    views = [(one, mark) for one in classifiers for mark in one.odd_marks(min_mark) if mark.label == label]
    plain = [(one, mark) for one, mark in views if mark.gap >= _CARRIED_MARK]
    explained = [(one, mark) for one, mark in plain if one.explained([after], others, mark)[0] >= _CARRIED]
    return replace(_proposal(explained, cue), faint=True) if explained else None


def _proposal(views: Sequence[MarkView], cue: Cue) -> Proposal:
    first, mark = max(views, key=lambda view: view[1].gap)
    families = tuple(sorted({one.family for one, _ in views}))
    return Proposal(
        found_by=first.family, label=mark.label, cue=cue, score=mark.gap, region=None, value=(), families=families
    )
