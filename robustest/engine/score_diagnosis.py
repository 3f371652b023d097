"""The diagnosis of a model's scores: more than its labels or not, and if a search can follow them."""

# A one-hot prediction, a tree with pure leaves, a saturated probability or a score that hides its size is constant
# within a class and jumps at its edge; a score of noise seeded by its input jumps everywhere. A search that follows
# such a score draws at random, with any number of queries: that it found nothing says nothing.
#
# 1. `Suspicion.of`, without a pass of the model: the margins of unchanged samples are `alike` within each class, or
#    some of them are `equal`. Texts are always suspect, each by itself.
# 2. `Suspicion.passes`: the price of a closer look, taken off the budget of queries before it begins.
# 3. `Suspicion.diagnose`, the closer look:
#    - `labels_alone`: on ways between samples, the scores change only where the class does;
#    - `values_of_draws`: within each class, random inputs of a sample's region all get one score;
#    - `unrelated`: two edits of a text change its score as if the score of each text were independent.
#
# `Coverage` reads the diagnosis: which searches of a survivor count, and why not.

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import Needs
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.planted import draws
from robustest.engine.search import on_scale
from robustest.tasks import Task, as_targets, top_of
from robustest.threats import Discrete, Snr, Threat, is_discrete

_NO_SCORES = (
    "weak_search: the model's scores say no more than its labels, so that no search that follows scores or gradients "
    "counts. Give the scores before they become labels or saturate or, for few features, measure labels_model(...)"
)


_SCATTERED = (
    "weak_search: two edits of a text change the model's scores as if the score of each text were independent, as that "
    "of a hash is, so that no search that follows scores counts. Measure the model without the noise that it adds, or "
    'one edit by attack="standard", which tries all'
)


_UNREAD = (
    "weak_search: nothing that {threat} does to the texts changes a bit of their scores. Either the model does not "
    "read so far, or its scores are saturated, and no search can tell. If it cuts its input, change what it reads "
    '(Insert, Edits) or accept the cut: suppress=("weak_search",). If not, give scores before they saturate'
)


@dataclass(frozen=True, slots=True)
class ScoreDiagnosis:
    """The use of the scores of a chunk's samples, on the host.

    Attributes:
        bare: (n,) bool: scores that say no more than labels; or one answer for all samples.
        unread: (n,) bool: texts whose scores no random input of the threat changes; or one answer for all samples.
        scattered: the scores of two texts are independent of each other, however near the texts are.
    """

    bare: bool | Tensor = False
    unread: bool | Tensor = False
    scattered: bool = False

    @property
    def labels_alone(self) -> bool | Tensor:
        """The samples, (n,) bool, of which only searches by labels count; or one answer for all samples."""
        return self.scattered or self.bare

    def reason(self, lost: Tensor, threat: Threat) -> str:
        """Return a note on samples `lost` (n,) bool that no search counted for, or "" where their scores are sound."""
        if bool(torch.as_tensor(self.unread).expand(len(lost))[lost].all()):
            return _UNREAD.format(threat=threat)
        if bool((lost & torch.as_tensor(self.labels_alone)).any()):
            return _SCATTERED if self.scattered else _NO_SCORES
        return ""


SOUND = ScoreDiagnosis()
"""Scores that a search can follow."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Signs, seen without a pass of the model, that its scores need a closer look.

    Attributes:
        alike: the margins of unchanged samples are alike within each class.
        equal: samples are waves, and some margins of a class are equal.
        texts: samples are texts.
        examined: texts are looked at closely.
    """

    alike: bool = False
    equal: bool = False
    texts: bool = False
    examined: bool = False

    @classmethod
    def of(cls, evaluator: Evaluator, threat: Threat, margin: Tensor, y: Tensor) -> Suspicion:
        """Return the suspicion of samples with margins (n,) and targets y (n, *T), all of them right when unchanged."""
        moves = threat.radius > 0
        texts = is_discrete(threat) and bool(getattr(threat, "of_strings", False))
        alike = moves and suspected(evaluator, margin, y)
        return cls(
            alike=alike,
            # Rows of a table are not suspect where margins are equal: flat parts of trees are many, and safe.
            equal=isinstance(threat, Snr) and some_equal(evaluator, margin, y),
            texts=texts,
            # Saturated scores of some texts hide behind the spread of the others' margins.
            examined=texts and (alike or (moves and examinable(evaluator))),
        )

    @property
    def passes(self) -> int:
        """Passes of a sample that the closer look takes, those of texts beside a longer one (`answer_checks`)
        included.
        """
        if self.texts:  # beside a longer text; an edited one alone and beside it
            return 3 + (2 * _DRAWS + 4 * _TABLES) * self.examined
        return PASSES * (self.alike or self.equal) + _DRAWS * self.equal

    def diagnose(self, evaluator: Evaluator, chunk: Chunk, threat: Threat) -> ScoreDiagnosis:
        """Look at the scores closely where they are suspect; arguments as for `run_cascade`."""
        bare: bool | Tensor = self.alike and labels_alone(evaluator, chunk, threat)
        unread: bool | Tensor = False
        if self.equal or self.examined:
            values = values_of_draws(evaluator, chunk, threat)
            bare = bare or torch.tensor([max(several, default=2) == 1 for several in values], dtype=torch.bool)
            unread = self.texts and torch.tensor([several == [1] for several in values], dtype=torch.bool)
        scattered = self.examined and bare is not True and unrelated(evaluator, chunk, threat)
        return ScoreDiagnosis(bare, unread, scattered)


# Scores that say no more than labels
#
# Margins whose spread in a class is below this share of their mean are examined; sound models' spread is larger.
_ALIKE = 0.25
# Fewer margins of a class have no meaningful spread.
_FEW = 3
_ROWS = 8
# Random inputs of each region, for threats without ways between inputs.
_DRAWS = 32
# Parts of a way from one class to another, and again of its steepest part. Each is a little longer than the one before:
# in the very middle between a wave and its mirror image lies silence, where a saturated score may be 0.
_PARTS, _LONGER = 8, 1.1
# Least share of a way's change that lies where the class stays, if scores say more than labels.
_WITHIN = 0.1
# Most passes of one sample.
PASSES = 2 * (2 * _PARTS + 2) + 2
# The check is left out where the budget is less than this number times its passes.
_AFFORDED = 20


def suspected(evaluator: Evaluator, clean_margin: Tensor, y: Tensor) -> bool:
    """Return True if the margins of unchanged samples are so similar within each class that scores need a closer look.

    Args:
        clean_margin: (n,) margins of samples that are classified correctly.
        y: (n,) int64 their classes; each may have its own constant score.
    """
    if not top_of(evaluator.task):
        return evaluator.model.gives is Needs.SCORES
    if not examinable(evaluator) or not len(clean_margin):
        return False
    count = y.bincount()
    free = len(y) - int((count > 0).sum())  # degrees of freedom once each class has its own mean
    if free < _FEW - 1:
        return True
    margin = clean_margin.double()
    mean = margin.new_zeros(len(count)).index_add_(0, y, margin) / count
    spread = ((margin - mean[y]).square().sum() / free).sqrt()
    return bool(spread <= _ALIKE * margin.mean().abs())


def some_equal(evaluator: Evaluator, clean_margin: Tensor, y: Tensor) -> bool:
    """Return True if a model gives scores alone, and some margins of a class are equal, as saturated ones are.

    Such samples hide behind the spread of the others' margins.
    """
    if evaluator.model.gives is not Needs.SCORES or not top_of(evaluator.task) or not examinable(evaluator):
        return False
    count = Counter(zip(y.tolist(), clean_margin.tolist(), strict=True))
    return max(count.values(), default=0) >= _FEW


def examinable(evaluator: Evaluator) -> bool:
    """Return True if the scores of a model can be examined: there are some, steady ones, and queries enough."""
    # Labels have no score, and the scores of a model that answers at random move by themselves.
    if evaluator.model.gives is Needs.LABELS or evaluator.random:
        return False
    limit = evaluator.model.max_queries  # with fewer no search of scores counts in any case
    return limit is None or limit >= _AFFORDED * PASSES


def values_of_draws(evaluator: Evaluator, chunk: Chunk, threat: Threat) -> list[list[int]]:
    """Return for each sample, and each class that random inputs of its region get, the number of different scores.

    Where it is 1 in each class, the model may not read what the threat changes, or hide behind a saturated score what
    it reads. Empty lists for tasks without a class.
    """
    if not top_of(evaluator.task) or not len(chunk.x):
        return [[] for _ in range(len(chunk.x))]
    x = draws(threat, chunk, _DRAWS)
    scores = evaluator.logits(x.flatten(0, 1))
    classes = as_targets(evaluator.task, evaluator.task.predictions(scores)).view(len(x), -1).tolist()
    values: list[dict[int, set[tuple[float, ...]]]] = [{} for _ in classes]
    for of_row, by_class, rows in zip(values, classes, on_scale(scores).view(len(x), _DRAWS, -1).tolist(), strict=True):
        for one, score in zip(by_class, rows, strict=True):
            of_row.setdefault(one, set()).add(tuple(score))
    return [[len(several) for several in of_row.values()] for of_row in values]


def labels_alone(evaluator: Evaluator, chunk: Chunk, threat: Threat | None = None) -> bool:
    """Return True if, on ways to other classes, the scores of the first samples change only where the class does."""
    x = chunk.x[:_ROWS]
    if is_discrete(threat):  # nothing lies between two inputs: compare random inputs of the same class
        if not top_of(evaluator.task):
            return False
        values = values_of_draws(evaluator, chunk.rows(torch.arange(len(x))), threat)
        return all(max(several) <= 2 for several in values)
    if not top_of(evaluator.task):  # outputs with two numbers in all
        return all(len(output.unique()) <= 2 for output in evaluator.logits(x))
    mirrored = x.min() + x.max() - x
    # Ways to the next samples, and to mirrored ones: only those on which the class changes say anything.
    near, far = torch.cat([x, x]), torch.cat([x.roll(1, 0), mirrored])
    task = evaluator.task
    ends = task.predictions(evaluator.logits(torch.cat([x, mirrored])))
    here, there = ends[: len(x)], ends[len(x) :]
    apart = ~torch.cat([_alike(task, here, here.roll(1, 0)), _alike(task, here, there)])
    near, far = near[apart], far[apart]
    ways = len(near)
    for _ in range(2):
        if 2 * len(near) <= ways:
            return False
        points = torch.stack([near + (part / _PARTS) ** _LONGER * (far - near) for part in range(_PARTS + 1)])
        scores = torch.stack([evaluator.logits(point) for point in points])
        answers = task.predictions(scores)
        stays = _alike(task, answers[1:], answers[:-1])
        changes = on_scale(scores.flatten(0, 1)).view_as(scores).double().diff(dim=0).abs().amax(2)
        # A change that is lost in rounding, at the very end of a way, lies within no class.
        within = (changes * stays).sum(0) / changes.sum(0).clamp(min=1e-30)
        # Go on with the steepest part of each way: a smooth score that is steep at the edge changes within it too.
        at, rows = changes.argmax(0), torch.arange(len(near), device=near.device)
        near, far = points[at, rows][within <= _WITHIN], points[at + 1, rows][within <= _WITHIN]
    # Scores that stay within classes on more than half of these ways say no more than labels.
    return 2 * len(near) > ways


def _alike(task: Task, one: Tensor, other: Tensor) -> Tensor:
    """Return (...) bool: equal answers (...), each one class, or several (..., k) in order."""
    same = one == other
    return same if task.one_class else same.all(-1)


# Scores that do not add up
#
# For edits a or a' in the first half of a text, and b or b' in its second half, a two-way table of a score f:
#
#     main effects  A = f(ab) + f(ab') - f(a'b) - f(a'b'),  B = f(ab) - f(ab') + f(a'b) - f(a'b')
#     interaction   I = f(ab) - f(ab') - f(a'b) + f(a'b')
#
# Models read texts mostly part by part, and I is small. If each text has an independent score, as that of a hash or of
# noise seeded by the text, A, B and I have the same variance, and a search that follows f draws at random.

_TABLES = 12
# Least mean of a text's sum of I^2 over that of (A^2 + B^2) / 2. It is 1.1 for independent scores.
_INDEPENDENT = 0.6


def unrelated(evaluator: Evaluator, chunk: Chunk, threat: Threat) -> bool:
    """Return True if the scores of the first texts of a chunk look independent of each other within two edits."""
    if not is_discrete(threat) or not getattr(threat, "kinds", ()) or threat.radius < 2:
        return False
    if not top_of(evaluator.task) or not len(chunk.x):
        return False
    part = chunk.rows(torch.arange(min(_ROWS, len(chunk.x)), device=chunk.x.device))
    return interaction(evaluator, part, threat) >= _INDEPENDENT


def interaction(evaluator: Evaluator, part: Chunk, threat: Discrete) -> float:
    """Return the mean over texts of sum I^2 / sum (A^2 + B^2) / 2, over `_TABLES` tables of each; 0 if none moves."""
    x, rows = part.x.repeat_interleave(_TABLES, 0), len(part.x) * _TABLES
    region = threat.region(x, part.bounds)
    z, number = threat.origin(region), torch.arange(rows, device=x.device) % _TABLES
    draw = rng.fold(rng.fold(part.key.repeat_interleave(_TABLES), number), "tables")
    u = rng.uniform(draw, (6,)).double()
    middle, length = (threat.places(z, region) - 1) // 2, (z >= 0).sum(1)
    first, second = (u[:, 0] * middle).long(), middle + 2 + (u[:, 3] * (middle - 3).clamp(min=1)).long()
    made = []
    for one in (1, 2):
        a = threat.moved(z, first, (u[:, one] * threat.choices(z, first, region)).long(), region)
        # The same character of the text, wherever the first edit has moved it.
        place = torch.minimum(second + (a >= 0).sum(1) - length, threat.places(a, region) - 1)
        for other in (4, 5):
            choice = (u[:, other] * threat.choices(a, place, region)).long()
            made.append(threat.moved(a, place, choice, region))
    scores = on_scale(evaluator.logits(torch.cat(made)))
    margins = evaluator.task.margin(scores, part.y.repeat_interleave(_TABLES).repeat(4)).double()
    # Where two of the four texts are the same there is no table.
    four = torch.stack(made)
    twins = (four.unsqueeze(0) == four.unsqueeze(1)).all(3).sum((0, 1)) > 4
    f = torch.where(twins, 0.0, margins.view(4, -1)).view(4, len(part.x), _TABLES)
    main = ((f[0] + f[1] - f[2] - f[3]).square() + (f[0] - f[1] + f[2] - f[3]).square()).sum(1) / 2
    both, moves = (f[0] - f[1] - f[2] + f[3]).square().sum(1), main > 0
    return float((both[moves] / main[moves]).mean()) if bool(moves.any()) else 0.0
