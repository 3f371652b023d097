"""Changes of whole images that make a classifier take other images for those of a class: kind and strength from data.

A family is a way of describing images, a small classifier on it, and changes that might explain what it sees. Where
the classifier marks a class, each change is made in images of other classes; the one after which most of them score
like the class is proposed, if it explains half of the mark. Whether the model uses it is for an intervention to say.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from robustest import rng
from robustest.cues.cue import Cue, distances, for_samples, switched
from robustest.cues.whole_images import FrequencyBand, Grating
from robustest.discovery.changes import (
    SMALLEST_BLOCKS,
    compressions_like,
    filters_like,
    held,
    margins_like,
    noises_like,
    shadings_like,
    tones_like,
    without_waves,
)
from robustest.discovery.class_marks import (
    ClassMark,
    Scorer,
    binned_ridge,
    cross_fitted,
    marked,
    matched_filter,
    membership,
)
from robustest.discovery.image_features import (
    block_features,
    channel_features,
    edge_features,
    noise_features,
    property_features,
    shading_features,
    spectrum_features,
)
from robustest.discovery.proposals import CHANNELS, EDGES, NOISE, PROPERTIES, SPECTRA, Proposal

_EXPLAINED = 0.5
"""Part of a mark that a change has to explain."""
_RIVAL = 0.75
"""Part of what the best change explains that one of another kind has to, to be proposed beside it."""
_ODD = 0.25
"""How far a gap exceeds the median of the other classes': what marks most classes alike is what they are about."""
_FAINT, _FAINTLY_ODD, _FAINTLY_SHARED = 0.2, 0.12, 0.1
"""The gap of a mark that few images of a class have, how far it exceeds the median of the other classes', and the
largest share of another class's images that may have it: of what is natural others have as much."""
_CLASSES = 5
"""Classes that changes are fitted for, at most: those of the largest gaps."""
_OF_A_VIEW = 4
"""Changes that explain one mark best, and are then asked whether they explain a class's other marks."""
_SCREENED_ON, _LIKELY = 10, 7
"""Images that all changes are tried on first, and changes that are then tried on more."""
_TRIED_ON = 40
"""Images of other classes that changes are tried on."""
_MEASURED_ON = 128
"""Images of a class, and of others, that tell how strong a change is in the class."""
_AT_A_TIME = 12
"""Changes whose images are described together: as long as there are few, calls cost more than what they compute."""

SMALLEST_NOISY = 8
"""Pixels of the shorter side from which noise can be told from what an image shows."""

_THERE = 0.5
"""Part of the change in other images that a cue may make, in the median, in images that have it."""

Describe = Callable[[Tensor, tuple[float, float]], Tensor]


def _as_they_are(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    return x


@dataclass(frozen=True, slots=True)
class _View:
    """One classifier of a family: what it sees, how it is fitted, and whether it tells kinds, not strengths."""

    describe: Describe
    fit: Callable[[Tensor, Tensor], Scorer]
    of_kinds: bool = False


_VIEWS: dict[str, tuple[_View, ...]] = {
    PROPERTIES: (
        _View(property_features, partial(binned_ridge, most=40)),
        _View(shading_features, partial(binned_ridge, most=40), of_kinds=True),
    ),
    CHANNELS: (_View(channel_features, partial(binned_ridge, most=40)),),
    SPECTRA: (_View(spectrum_features, partial(binned_ridge, most=8)), _View(_as_they_are, matched_filter)),
    EDGES: (
        _View(edge_features, partial(binned_ridge, most=40)),
        _View(block_features, partial(binned_ridge, most=8), of_kinds=True),
    ),
    NOISE: (_View(noise_features, partial(binned_ridge, most=40), of_kinds=True),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePool:
    """Images that suggest changes.

    Attributes:
        x, y: (N, C, H, W) inside the bounds, and (N,) int64 labels.
        bounds: smallest and largest input value.
        seed: draws folds, and the images that changes are tried on.
    """

    x: Tensor
    y: Tensor
    bounds: tuple[float, float]
    seed: int

    def others(self, label: int) -> tuple[Tensor, Tensor]:
        """Some images of other classes, and their positions."""
        return self._some(self.y != label)

    def lacks(self, cue: Cue, label: int, having: Tensor | None = None) -> bool:
        """Return True if a class's images are sure not to have a cue already.

        Bars, or a channel taken away, change nothing where they are: images of a class that they mark stay as they are.
        Of a cue that adds to what is there (brightness, a pattern, a blur) this cannot be told.

        Args:
            cue: the cue.
            label: the class.
            having: (N,) bool, its images that are to have the cue, of which there may be few; None for all.
        """
        (have, at), (lack, at_) = self._some(self.y == label if having is None else having), self.others(label)
        once = switched(for_samples(cue, at_), lack, self.bounds)[0]
        twice = switched(for_samples(cue, at_), once, self.bounds)[0]
        if not torch.allclose(once, twice, rtol=0, atol=1e-4 * (self.bounds[1] - self.bounds[0])):
            return False
        sizes = [
            distances(switched(for_samples(cue, ids), x, self.bounds)[0], x).median_l2
            for x, ids in ((have, at), (lack, at_))
        ]
        return sizes[0] > _THERE * sizes[1]

    def held(self, cue: Cue, label: int, having: Tensor) -> Cue | None:
        """A change no stronger than images of a class, those (N,) that are to have it, show it; None if they do not."""
        have, _ = self._some(having, _MEASURED_ON)
        lack, ids = self._some(self.y != label, _MEASURED_ON)
        return held(cue, have, lack, ids, self.bounds)

    def some_of(self, label: int) -> Tensor:
        """Some images of a class."""
        return self._some(self.y == label)[0]

    def _some(self, which: Tensor, most: int = _TRIED_ON) -> tuple[Tensor, Tensor]:
        rows = which.nonzero().squeeze(1)
        rows = rows[rng.permutation(self.seed, len(rows)).to(rows.device)[:most]]
        return self.x[rows], rows.cpu()


@dataclass(frozen=True, slots=True)
class FamilyClassifier:
    """What one classifier of a family makes of the images.

    Attributes:
        family: one of `FAMILIES`.
        marks: one a class.
        scores: maps images (M, C, H, W) to scores (M, K), by a classifier fitted on all.
        labels: the classes, in the order of scores.
        of_kinds: what explains half of a mark explains it as well as what explains all: a stronger change is no better.
    """

    family: str
    marks: tuple[ClassMark, ...]
    scores: Callable[[Tensor], Tensor]
    labels: tuple[int, ...]
    of_kinds: bool = False

    def odd(self, min_mark: float, by: float = _ODD) -> list[ClassMark]:
        """Marks of a gap of `min_mark` or more that exceeds by far what most other classes have."""
        found = []
        for mark in self.marks:
            others = [other.gap for other in self.marks if other.label != mark.label]
            if mark.gap >= min_mark and mark.gap - statistics.median(others) >= by:
                found.append(mark)
        return found

    def alike(self, x: Tensor, mark: ClassMark) -> float:
        """Share of images (M, C, H, W) that score like the marked class."""
        return self.each_alike([x], mark)[0]

    def each_alike(self, images: Sequence[Tensor], mark: ClassMark) -> list[float]:
        """`alike` of each of some sets of as many images."""
        found, own = list[float](), self.labels.index(mark.label)
        for first in range(0, len(images), _AT_A_TIME):
            some = images[first : first + _AT_A_TIME]
            like = self.scores(torch.cat(list(some)))[:, own] >= mark.limit
            found += like.view(len(some), -1).double().mean(1).tolist()
        return found

    def having(self, pool: ImagePool, mark: ClassMark) -> Tensor:
        """(N,) bool: as many images of the marked class as the gap is wide, those that score most like it.

        Scores of images that a classifier was fitted on order them well enough, and are too high for a limit.
        """
        own = (pool.y == mark.label).nonzero().squeeze(1)
        scores = self.scores(pool.x[own])[:, self.labels.index(mark.label)]
        has = torch.zeros_like(pool.y, dtype=torch.bool)
        has[own[scores.topk(max(1, round(mark.gap * len(own)))).indices]] = True
        return has

    def explained(self, after: Sequence[Tensor], before: Tensor, mark: ClassMark) -> list[float]:
        """Part of a mark's gap that each change of images of other classes makes up.

        Args:
            after: the images (M, C, H, W) with each change.
            before: the same as they are.
            mark: of a class.
        """
        start = self.alike(before, mark)
        return [(share - start) / max(mark.own - start, 1e-9) for share in self.each_alike(after, mark)]


def seen_by_families(
    pool: ImagePool, labels: Sequence[int], families: Collection[str] | None = None
) -> list[FamilyClassifier]:
    """Return how the classifier of each family rates images of some classes; no image is rated by one fitted on it.

    Args:
        pool: the images.
        labels: the classes.
        families: those asked for; None for all.
    """
    rows = torch.isin(pool.y, torch.tensor(list(labels), device=pool.y.device))
    x, y = pool.x[rows], pool.y[rows]
    found = []
    for family, views in _VIEWS.items():
        if families is not None and family not in families:
            continue
        if (family == CHANNELS and x.shape[1] == 1) or (family == NOISE and min(x.shape[2:]) < SMALLEST_NOISY):
            continue
        for view in views:
            if view.describe is block_features and min(x.shape[2:]) < SMALLEST_BLOCKS:
                continue
            features = view.describe(x, pool.bounds)
            marks = marked(cross_fitted(features, y, labels, view.fit, seed=pool.seed), y, labels)
            scorer = view.fit(features, membership(y, labels))
            scores = partial(_scored, scorer, view.describe, pool.bounds)
            found.append(FamilyClassifier(family, tuple(marks), scores, tuple(labels), view.of_kinds))
    return found


def _scored(scorer: Scorer, describe: Describe, bounds: tuple[float, float], x: Tensor) -> Tensor:
    return scorer(describe(x, bounds))


def fitted_proposals(
    seen: Sequence[FamilyClassifier], pool: ImagePool, *, min_mark: float
) -> tuple[list[Proposal], list[tuple[str, ClassMark]]]:
    """The changes that explain what marks a class, and the marks that none explains.

    One cause is sought before several: of the changes that explain a mark of a class best in some family, the one that
    explains most of all its marks is proposed first; others for what it leaves unexplained.

    Args:
        seen: of `seen_by_families`.
        pool: the images.
        min_mark: the gap at which a class is marked.
    """
    proposals: list[Proposal] = []
    left: list[tuple[str, ClassMark]] = []
    by_label: dict[int, list[tuple[FamilyClassifier, ClassMark]]] = {}
    for one in seen:
        for mark in one.odd(min_mark):
            by_label.setdefault(mark.label, []).append((one, mark))
    order = sorted(by_label, key=lambda label: -max(mark.gap for _, mark in by_label[label]))
    for label in order[:_CLASSES]:
        made, rest = _Trial(by_label[label], pool, label).causes()
        proposals += made
        left += rest
    return proposals, left


class _Trial:
    """Changes tried on images of other classes, to see which of them explain what marks a class."""

    def __init__(self, views: list[tuple[FamilyClassifier, ClassMark]], pool: ImagePool, label: int) -> None:
        self._views, self._bounds = views, pool.bounds
        self._pool, self._label = pool, label
        self._others, self._ids = pool.others(label)
        self._cues = changes_by_family(sorted({one.family for one, _ in views}), pool, label)
        self._made: dict[tuple[int, int], tuple[Cue, Tensor]] = {}
        self._strengths: dict[tuple[int, int], tuple[Cue, Cue | None]] = {}

    def causes(self) -> tuple[list[Proposal], list[tuple[str, ClassMark]]]:
        """Proposals, the one that explains most first, and the marks that they leave unexplained."""
        views = range(len(self._views))
        cues = [cue for at in views for cue in self._best(at)]
        columns = [self._explained(at, cues) for at in views]
        table = [list(row) for row in zip(*columns, strict=True)]
        sizes = [self._size(cue) for cue in cues]
        open_, proposals = list(range(len(self._views))), list[Proposal]()
        while open_ and cues:

            def worth(number: int, open_: list[int] = open_) -> tuple[float, bool, float]:
                parts = (table[number][at] / (_EXPLAINED if self._views[at][0].of_kinds else 1.0) for at in open_)
                # Much changes the power of a band, noise for one: a band is what is left where nothing plainer fits.
                plain = not isinstance(cues[number], FrequencyBand)
                return round(sum(min(1.0, part) for part in parts), 1), plain, -sizes[number]

            order = sorted(range(len(cues)), key=worth, reverse=True)
            solved = [at for at in open_ if table[order[0]][at] >= _EXPLAINED]
            if not solved:
                break
            kinds: set[type] = set()
            for number in order:
                # What explains nearly as much is another suspect: a blur looks like less contrast, to a classifier.
                if worth(number)[0] >= _RIVAL * worth(order[0])[0] and type(cues[number]) not in kinds:
                    kinds.add(type(cues[number]))
                    proposals.append(self._proposed(cues[number], table[number], open_))
            open_ = [at for at in open_ if at not in solved]
        return proposals, [(self._views[at][0].family, self._views[at][1]) for at in open_]

    def _proposed(self, cue: Cue, explained: list[float], open_: list[int]) -> Proposal:
        most = max(explained[at] for at in open_)
        return _proposal([self._views[at] for at in open_ if explained[at] >= min(_EXPLAINED, most)], cue)

    def _best(self, at: int) -> list[Cue]:
        one, mark = self._views[at]
        column = self._cues[one.family]
        first = self._explained(at, column, _SCREENED_ON)
        likely = [column[number] for number in sorted(range(len(column)), key=lambda number: -first[number])[:_LIKELY]]
        having = one.having(self._pool, mark)
        # What is too strong explains more than a change of the strength that the class's images have.
        strong = [cue for cue, part in zip(likely, self._explained(at, likely), strict=True) if part >= _EXPLAINED]
        weak = [cue for cue in (self._held(at, cue, having) for cue in strong) if cue is not None]
        parts = zip(self._explained(at, weak), weak, strict=True)
        good = sorted((part for part in parts if part[0] >= _EXPLAINED), key=lambda part: -part[0])
        there = (
            cue
            for _, cue in good
            if not self._pool.lacks(cue, self._label, having) and self._stands_for(cue, one, mark)
        )
        return list(itertools.islice(there, _OF_A_VIEW))

    def _held(self, at: int, cue: Cue, having: Tensor) -> Cue | None:
        """The change no stronger than the class has it, worked out once."""
        if (at, id(cue)) not in self._strengths:
            self._strengths[at, id(cue)] = cue, self._pool.held(cue, self._label, having)
        return self._strengths[at, id(cue)][1]

    def _stands_for(self, cue: Cue, one: FamilyClassifier, mark: ClassMark) -> bool:
        """Return True if images of the class lose their mark with the cue, as far as it can be taken away.

        Much else makes images score like those with waves, noise for one; waves that mark a class are all that does.
        """
        if not isinstance(cue, Grating):
            return True
        own = self._pool.some_of(self._label)
        lost = one.alike(own, mark) - one.alike(without_waves(own, cue), mark)
        return lost >= _EXPLAINED * (mark.own - mark.rest)

    def _size(self, cue: Cue) -> float:
        return distances(*switched(for_samples(cue, self._ids), self._others, self._bounds)).median_l2

    def _explained(self, at: int, cues: Sequence[Cue], most: int = _TRIED_ON) -> list[float]:
        one, mark = self._views[at]
        return one.explained([self._with(cue, most) for cue in cues], self._others[:most], mark)

    def _with(self, cue: Cue, most: int) -> Tensor:
        """The first of the other images with a change, made once: every classifier of a class sees the same."""
        if (id(cue), most) not in self._made:
            # The change is kept beside its images, or another one might take its place in memory and its number.
            self._made[id(cue), most] = cue, for_samples(cue, self._ids[:most]).on(self._others[:most])
        return self._made[id(cue), most][1]


def explains(
    seen: Sequence[FamilyClassifier], cue: Cue, label: int, pool: ImagePool, *, min_mark: float
) -> Proposal | None:
    """A change as a proposal for a class, if it explains half of what marks it, in the mean over all its marks."""
    views = [(one, mark) for one in seen for mark in one.odd(min_mark) if mark.label == label]
    if not views:
        return None
    first, mark = max(views, key=lambda view: view[1].gap)
    weak = pool.held(cue, label, first.having(pool, mark))
    if weak is None:
        return None
    others, ids = pool.others(label)
    after = for_samples(weak, ids).on(others)
    parts = [one.explained([after], others, mark)[0] for one, mark in views]
    if statistics.fmean(min(1.0, part) for part in parts) < _EXPLAINED:
        return None
    explained = [view for view, part in zip(views, parts, strict=True) if part >= _EXPLAINED]
    one, mark = max(explained, key=lambda view: view[1].gap)
    return None if pool.lacks(weak, label, one.having(pool, mark)) else _proposal(explained, weak)


def faintly_explains(seen: Sequence[FamilyClassifier], cue: Cue, label: int, pool: ImagePool) -> Proposal | None:
    """Return a change as a proposal for a class if few of the class's images look like it, and few of any other's.

    So few cannot say that the change is what marks them: the proposal is no more than a reason not to pass.
    """
    marks = [(one, mark) for one in seen for mark in one.odd(_FAINT, _FAINTLY_ODD) if mark.label == label]
    views = [(one, mark) for one, mark in marks if mark.rest <= _FAINTLY_SHARED]
    others, ids = pool.others(label)
    for one, mark in sorted(views, key=lambda view: -view[1].gap):
        having = one.having(pool, mark)
        weak = pool.held(cue, label, having)
        if weak is None or pool.lacks(weak, label, having):
            continue
        if one.explained([for_samples(weak, ids).on(others)], others, mark)[0] >= _EXPLAINED:
            return replace(_proposal([(one, mark)], weak), faint=True)
    return None


def changes_by_family(families: Sequence[str], pool: ImagePool, label: int) -> dict[str, list[Cue]]:
    """Changes that might explain why families mark a class."""
    own, made = pool.y == label, dict[str, list[Cue]]()
    tones = tones_like(pool.x, own, pool.bounds) if {PROPERTIES, CHANNELS} & set(families) else []
    filters = filters_like(pool.x, pool.y, label, pool.bounds) if {SPECTRA, EDGES} & set(families) else []
    for family in families:
        if family in {PROPERTIES, CHANNELS}:
            made[family] = [*tones, *shadings_like(pool.bounds)] if family == PROPERTIES else tones
        elif family == EDGES:
            coded = compressions_like(pool.x.shape[1:], pool.bounds)
            made[family] = [*margins_like(pool.x, own, pool.bounds), *filters, *coded]
        else:
            made[family] = filters if family == SPECTRA else noises_like(pool.x, own, pool.bounds)
    return made


def _proposal(views: Sequence[tuple[FamilyClassifier, ClassMark]], cue: Cue) -> Proposal:
    first, mark = max(views, key=lambda view: view[1].gap)
    families = tuple(sorted({one.family for one, _ in views}))
    return Proposal(
        found_by=first.family, label=mark.label, cue=cue, score=mark.gap, region=None, value=(), families=families
    )
