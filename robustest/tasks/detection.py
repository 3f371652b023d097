"""Object detection: boxes with their classes, from detectors of torchvision and of MAITE's protocol."""

# An `Adapter` turns a detector's answers into rows of boxes and class scores (B, R, 4 + K), which `Detection` judges.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustest.checks import checked_real, checked_whole, require
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.tasks.protocol import Describing, Loss, Scored, by_row, checked_floor, kept, reals
from robustest.words import number


@runtime_checkable
class Adapter(Protocol):
    """A frozen value that turns the answers of a kind of detector into rows."""

    @property
    def classes(self) -> int:
        """The number of class indices, including a background's."""

    @property
    def gradient(self) -> bool:
        """True if answers have a gradient in the images, which attacks follow."""

    def check(self, detector: Any, confidence: float) -> None:
        """Raise ConfigError for a detector that does not fit, or that withholds answers of this confidence."""

    def answers(self, detector: Any, x: Tensor) -> Tensor:
        """Return (B, R, 4 + K) for images x (B, C, H, W): boxes in pixels, then a score in [0, 1] for each class.

        R is the same for every batch; padding rows are 0.
        """


@dataclass(frozen=True, slots=True)
class TorchvisionDetector:
    """Detectors as torchvision's: a module that maps images to dicts of `boxes`, `labels` and `scores`.

    Args:
        classes: number of class indices, as the detector was built with; Faster R-CNN and SSD count the background.
        least: smallest score that is read, in (0, 1).
    """

    classes: int
    least: float = 0.001

    gradient = True

    def __post_init__(self) -> None:
        checked_whole("classes", self.classes, 1)
        checked_real("least", self.least, 0.0, 1.0)

    def check(self, detector: Any, confidence: float) -> None:
        threshold = _head(detector).score_thresh
        if threshold > confidence:
            raise ConfigError(
                f"Expected a detector that gives answers from the task's confidence, {confidence:g}, on but its "
                f"score_thresh is {threshold:g}. Pass confidence={threshold:g}."
            )

    def answers(self, detector: Any, x: Tensor) -> Tensor:
        """Return rows, R of them: the detector's `detections_per_img`."""
        head = _head(detector)
        # Read answers below the detector's own threshold too, so that an attack has a gradient to raise them; only
        # answers above the task's confidence count.
        own = head.score_thresh
        head.score_thresh = min(own, self.least)
        try:
            answers = detector(list(x))
        finally:
            head.score_thresh = own
        return padded(answers, x, rows=int(head.detections_per_img), classes=self.classes)


@dataclass(frozen=True, slots=True)
class MaiteDetector:
    """Detectors of MAITE's protocol: a sequence of images in, objects with `boxes`, `labels` and `scores` out.

    Args:
        classes: number of class indices.
        rows: largest number of boxes of an image.
        gradient: True if answers are tensors with a gradient in the images; otherwise only attacks by scores run.
    """

    classes: int
    rows: int = 100
    gradient: bool = False

    def __post_init__(self) -> None:
        checked_whole("classes", self.classes, 1)
        checked_whole("rows", self.rows, 1)

    def check(self, detector: Any, confidence: float) -> None:
        """Accept any detector: the protocol has no threshold."""

    def answers(self, detector: Any, x: Tensor) -> Tensor:
        return padded(detector(list(x)), x, rows=self.rows, classes=self.classes)


@dataclass(frozen=True, slots=True)
class DetrDetector:
    """Detectors as DETR and its kin of transformers: answers have `logits` and `pred_boxes` for each of R queries.

    Boxes are centre and size as shares of the image. The images go into the model as they are, so that it normalises
    them itself, or the claim has preprocessing=.

    Args:
        classes: number of class indices, without the one for no object.
        no_object: True if logits have one more class, of no object, and scores are their softmax, as DETR's; False if
            scores are their logistic function, as those of Deformable DETR and RT-DETR.
    """

    classes: int
    no_object: bool = True

    gradient = True

    def __post_init__(self) -> None:
        checked_whole("classes", self.classes, 1)

    def check(self, detector: Any, confidence: float) -> None:
        """Accept any detector: a query has an answer at every confidence."""

    def answers(self, detector: Any, x: Tensor) -> Tensor:
        answer = detector(x)
        logits, places = part_of(answer, "logits"), part_of(answer, "pred_boxes")
        if logits is None or places is None:
            mend = "For answers with boxes, labels and scores take TorchvisionDetector or MaiteDetector."
            raise ModelError(expected("answers with logits and pred_boxes", answer, mend))
        wide = self.classes + self.no_object
        if logits.ndim != 3 or logits.shape[2] != wide or places.shape != (*logits.shape[:2], 4):
            shapes = f"{tuple(logits.shape)} and {tuple(places.shape)}"
            mend = f"Pass classes={logits.shape[-1] - self.no_object} if these are the model's own."
            raise ModelError(f"Expected logits (B, R, {wide}) and pred_boxes (B, R, 4) but got {shapes}. {mend}")
        scores = logits.softmax(2)[..., : self.classes] if self.no_object else logits.sigmoid()
        middle, size = places[..., :2], places[..., 2:]
        scale = torch.tensor([x.shape[3], x.shape[2]] * 2).to(places)
        return torch.cat([torch.cat([middle - size / 2, middle + size / 2], 2) * scale, scores], 2).float()


def padded(answers: Any, x: Tensor, *, rows: int, classes: int) -> Tensor:
    """Return (B, rows, 4 + classes) of one answer for each image, with `boxes` (n, 4), `labels` (n,) and `scores`.

    The names of `supervision` (`xyxy`, `class_id`, `confidence`) and of Ultralytics (`boxes.xyxy`, `cls`, `conf`) are
    read too.

    Args:
        answers: B mappings or objects; scores are (n,), of the label, or (n, classes).
        x: (B, C, H, W) the images.
    """
    if not isinstance(answers, Sequence) or len(answers) != len(x):
        raise ModelError(expected(f"a list of {len(x)} answers, one an image", answers))
    each = [_rows(one, x, rows, classes) for one in answers]
    whole = torch.stack(each)
    if not torch.is_grad_enabled() or not x.requires_grad or whole.requires_grad or bool(whole.detach().any()):
        return whole
    return whole + 0 * x.flatten(1).sum(1).view(-1, 1, 1)  # no box at all: a gradient of 0, rather than none


# Names of supervision's detections and of Ultralytics' boxes.
_OTHER_NAMES = {"boxes": ("xyxy",), "labels": ("class_id", "cls"), "scores": ("confidence", "conf")}


def part_of(answer: Any, name: str) -> Any:
    """Return an entry, such as `boxes`, of a mapping or an object, by any of its names; None if absent."""
    if isinstance(answer, Mapping):
        return answer.get(name)
    if hasattr(boxes := getattr(answer, "boxes", None), "xyxy"):  # results of Ultralytics hold all in their boxes
        answer = boxes
    for own in (name, *_OTHER_NAMES.get(name, ())):
        if (found := getattr(answer, own, None)) is not None:
            return found
    return None


def _rows(answer: Any, x: Tensor, rows: int, classes: int) -> Tensor:
    boxes, labels, scores = (part_of(answer, name) for name in ("boxes", "labels", "scores"))
    if boxes is None or labels is None or scores is None:
        raise ModelError(expected("answers with boxes, labels and scores", answer))
    boxes, scores = (torch.as_tensor(v).to(x.device, torch.float32) for v in (boxes, scores))
    labels = torch.as_tensor(labels).to(x.device)
    if labels.is_floating_point() and bool((labels != labels.round()).any()):
        raise ModelError(expected("whole labels", labels.tolist()[:6]))
    labels = labels.to(torch.int64)
    n = len(labels)
    if boxes.numel() != 4 * n or scores.numel() not in (n, n * classes):
        shapes = f"{tuple(boxes.shape)} and {tuple(scores.shape)}"
        raise ModelError(f"Expected boxes ({n}, 4) and scores ({n},) or ({n}, {classes}) but got {shapes}.")
    if n > rows:
        raise ModelError(f"Expected at most {rows} boxes an image but got {n}. Pass rows={n}, or more, to the adapter.")
    if n and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        raise ModelError(f"Expected labels in 0..{classes - 1} but got {int(labels.min())}..{int(labels.max())}.")
    if scores.ndim == 2 and scores.numel() == n * classes and classes > 1:
        # A label that is not the likeliest class by its scores would make the answer ambiguous.
        each = scores.detach().reshape(n, classes)
        off = each.gather(1, labels.unsqueeze(1)).squeeze(1) < each.amax(1)
        if bool(off.any()):
            at = int(off.nonzero()[0, 0])
            raise ModelError(
                f"Expected each label to be of the likeliest class by its scores but got label {int(labels[at])} where "
                f"class {int(each[at].argmax())} has the largest. Give scores (n,), of the labels, if these are meant."
            )
    if scores.ndim < 2:
        scores = scores.reshape(n, 1) * F.one_hot(labels, classes)
    filled = torch.cat([boxes.reshape(n, 4), scores.reshape(n, classes)], 1)
    return F.pad(filled, (0, 0, 0, rows - n))


class AdaptedModule(nn.Module):
    """A detector that is a module, answering in rows (B, R, 4 + K) for images (B, C, H, W)."""

    def __init__(self, detector: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.detector = detector
        self.adapter = adapter
        self.training = detector.training

    def forward(self, x: Tensor) -> Tensor:
        return self.adapter.answers(self.detector, x)


@dataclass(frozen=True, slots=True)
class AdaptedCall:
    """A detector that is a function, answering in rows (B, R, 4 + K) for images (B, C, H, W)."""

    detector: Callable[..., Any]
    adapter: Adapter

    def __call__(self, x: Tensor) -> Tensor:
        return self.adapter.answers(self.detector, x)


def built(recipe: Any, adapter: Adapter) -> AdaptedModule:
    """Return the adapted module of a recipe; workers build it."""
    return AdaptedModule(recipe.build(), adapter)


def _head(detector: Any) -> Any:
    for part in (getattr(detector, "roi_heads", None), detector):
        if hasattr(part, "score_thresh") and hasattr(part, "detections_per_img"):
            return part
    mend = "Give other detectors an adapter of their own: see the page on tasks."
    raise ConfigError(expected("a detector of torchvision's, with score_thresh and detections_per_img", detector, mend))


@dataclass(frozen=True, slots=True)
class Detection(Scored):
    """Targets are lists of boxes (B, most, 6), outputs rows (B, R, 4 + K) of the adapter.

    An answer of `confidence` or more counts, as its likeliest class. The score of an image is

    - "f1": twice the found targets over targets and answers; 1 if there are neither;
    - "ap": the average precision of all its answers together, in falling order of score, averaged over the overlaps
      .50, .55 .. .95; without a target one minus the largest score of an answer. Claims with metric="map" take the
      mean average precision of the set, as COCO defines it (`robustest.decisions.average_precision`); searches then
      lower the score of each image.

    Args:
        adapter: e.g. `TorchvisionDetector(classes)` or `MaiteDetector(classes)`.
        iou: smallest intersection over union of an answer and a target of its class, in (0, 1); with "ap" of the
            losses that attacks climb alone.
        score_by: "f1" or "ap".
        confidence: smallest score of answers that count, in (0, 1); None for .5 with "f1", and .001 with "ap".
        floor: smallest score of an image that holds, in (0, 1]; None if only scores are needed.
        most: largest number of boxes of an image, >= 1; of more answers the most confident count, as in COCO.
    """

    adapter: Adapter
    iou: float = 0.5
    _: KW_ONLY
    score_by: Literal["f1", "ap"] = "f1"
    confidence: float | None = None
    floor: float | None = None
    most: int = 100

    name = "detection"
    one_class = False
    placed = True
    nouns = ("box", "boxes")
    listed = True
    """Outputs are in no fixed order: a row may be another object's at the next input."""

    def __post_init__(self) -> None:
        if isinstance(self.adapter, type) or not isinstance(self.adapter, Adapter):
            raise ConfigError(expected("an adapter such as TorchvisionDetector(classes=91)", self.adapter))
        require(self.score_by in ("f1", "ap"), 'score_by to be "f1" or "ap"', self.score_by)
        if self.confidence is None:
            object.__setattr__(self, "confidence", _SURE if self.score_by == "f1" else _LEAST)
        for name in ("iou", "confidence"):
            value = getattr(self, name)
            checked_real(name, value, 0.0, 1.0)
            require(value not in (0, 1), f"{name} in (0, 1)", value)
            object.__setattr__(self, name, float(value))
        checked_whole("most", self.most, 1)
        object.__setattr__(self, "floor", checked_floor(self.floor))

    def __str__(self) -> str:
        what = f"F1 of boxes at confidence {self.least:g} and IoU {self.iou:g}"
        if self.score_by == "ap":
            what = f"average precision of boxes from confidence {self.least:g}"
        return what if self.floor is None else f"{what} of at least {self.floor:g}"

    @property
    def least(self) -> float:
        """The smallest score of answers that count."""
        return _SURE if self.confidence is None else self.confidence

    @property
    def losses(self) -> Mapping[str, Loss]:
        """Losses of the surest answer on each target and of stray answers; "margin" climbs the nearest to turning.

        "delete" lowers answers on targets, "add" raises stray ones, and "move" pulls answers off their targets.
        """
        # Scores that round to 1 have no log-odds left: then no loss has a slope.
        # Average precision has no confidence from which on answers count: there the usual one is the cut.
        near = partial(turning, least=self.iou, confidence=self.least if self.score_by == "f1" else _SURE)
        each = {"ce": cross_entropy, "log_odds": log_odds, "delete": deleting, "add": adding, "move": moving}
        losses = {name: partial(loss, least=self.iou) for name, loss in each.items()} | {"margin": near}
        return {name: partial(by_row, loss, axes=2) for name, loss in losses.items()}

    def targets(self, given: object) -> Tensor:
        """Return (B, most, 6) float32 on the CPU: box, class, area; from mappings or objects with `boxes` and `labels`.

        They may have an `area` in pixels and `iscrowd`. The area is kept as a share of the box's, negative for a crowd:
        a region that need not be found, and in which answers of its class do not count.
        """
        if isinstance(given, (Tensor, np.ndarray)):
            lists = reals(given, "lists of boxes")
            if lists.ndim != 3 or lists.shape[1:] != (self.most, 6):
                raise DataError(expected(f"lists of boxes of shape (N, {self.most}, 6)", tuple(lists.shape)))
            return lists
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise DataError(expected("boxes and labels for each image", given))
        return torch.stack([self._listed(one) for one in given]) if len(given) else torch.zeros(0, self.most, 6)

    def _listed(self, given: Any) -> Tensor:
        if isinstance(given, Tensor):
            return given.detach().float().cpu()
        places, labels = part_of(given, "boxes"), part_of(given, "labels")
        require(places is not None and labels is not None, "a target with boxes and labels", given, error=DataError)
        kinds = reals(labels, "labels").flatten()
        corners = reals(places, "boxes").reshape(-1, 4)
        if len(corners) != len(kinds) or len(kinds) > self.most:
            raise DataError(
                f"Expected a label for each box, and at most {self.most}, but got {len(corners)} boxes and "
                f"{len(kinds)} labels. Pass most= to Detection where images have more."
            )
        if bool((corners[:, 2:] <= corners[:, :2]).any()) or bool((kinds != kinds.round()).any()):
            raise DataError("Expected boxes (left, top, right, bottom) with an area, and whole labels, but got others.")
        areas, crowd = part_of(given, "area"), part_of(given, "iscrowd")
        share = torch.ones(len(kinds))
        if areas is not None:
            share = reals(areas, "areas").flatten() / (corners[:, 2:] - corners[:, :2]).prod(1)
            if len(share) != len(kinds) or bool((share <= 0).any()):
                raise DataError("Expected a positive area in pixels for each box but got others. Leave out `area`.")
        if crowd is not None:
            marks = torch.as_tensor(np.asarray(crowd)).flatten() != 0
            require(len(marks) == len(kinds), "iscrowd for each box", len(marks), error=DataError)
            share = torch.where(marks, -share, share)
        row = torch.cat([corners, kinds.unsqueeze(1), share.unsqueeze(1)], 1)
        return torch.cat([row, _nothing(row).expand(self.most - len(row), 6)])

    def check_targets(self, y: Tensor, width: int) -> None:
        kinds, classes = y[..., 4], self.adapter.classes
        if len(y) and (int(kinds.max()) >= classes or int(kinds.min()) < IGNORED):
            raise DataError(f"Expected labels in 0..{classes - 1}, the adapter's classes, but got {int(kinds.max())}.")

    def strata(self, y: Tensor) -> Tensor:
        """Return the number of boxes in targets (B, most, 6) that are not ignored."""
        return wanted(y).sum(1)

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        wide = 4 + self.adapter.classes
        if output.ndim != 3 or output.shape != (rows, width or output.shape[1], wide):
            shape = f"({rows}, {width or 'R'}, {wide})"
            raise ModelError(f"Expected rows {shape} from the adapter but got {tuple(output.shape)}.")
        return output.shape[1]

    def predictions(self, output: Tensor) -> Tensor:
        """Return (..., most, 6) the answers that count of rows (..., R, 4 + K), the most confident first."""
        rows = output.detach()
        sure = rows[..., 4:].max(-1)
        order = sure.values.argsort(dim=-1, descending=True, stable=True)[..., : self.most]
        listed = torch.cat([rows[..., :4], sure.indices.unsqueeze(-1).to(rows), sure.values.unsqueeze(-1)], -1)
        listed = listed.gather(-2, order.unsqueeze(-1).expand(*order.shape, 6))
        listed = torch.where(listed[..., 5:] >= self.least, listed, _nothing(rows))
        short = self.most - listed.shape[-2]
        if not short:
            return listed
        return torch.cat([listed, _nothing(rows).expand(*listed.shape[:-2], short, 6)], -2)

    def as_targets(self, predictions: Tensor) -> Tensor:
        """Return answers (..., most, 6) that others are held up to: with "ap" those of score .5 or more."""
        if self.score_by == "f1":
            return predictions
        listed = torch.where(predictions[..., 5:] >= _SURE, predictions, _nothing(predictions))
        return torch.cat([listed[..., :5], (listed[..., 4:5] >= 0).to(listed)], -1)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        return by_row(lambda rows, targets: self.graded(self.predictions(rows), targets), output, y, 2)

    def graded(self, predictions: Tensor, y: Tensor) -> Tensor:
        """Return the scores of answers (B, most, 6) by targets, or by other answers."""
        return f1(predictions, y, self.iou) if self.score_by == "f1" else image_precision(predictions, y)

    def agreement(self, predictions: Tensor, other: Tensor) -> Tensor:
        """Return the F1 of sure answers by others, for "ap" too: at an overlap of .95 a fraction of a pixel counts, so
        that average precision would call answers different that differ by rounding.
        """
        if self.score_by == "f1":
            return self.graded(predictions, other)
        sure = predictions[..., 5:] >= max(_SURE, self.least)
        return f1(torch.where(sure, predictions, _nothing(predictions)), other, self.iou)

    def right(self, predictions: Tensor, other: Tensor) -> Tensor:
        return kept(self.graded(predictions, other), self.floor)

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        """Return moved boxes; raise ConfigError if the image was turned or bent."""
        after, fit = moved_boxes(y, source, inside)
        if not bool(fit.all()):
            raise ConfigError(
                "Expected a shift that moves or stretches images along their axes but it turns or bends them: a box "
                "around a turned box is too large for what is in it. Use translation, scale or crop, or data whose "
                "boxes were drawn anew."
            )
        return after

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> Describing:
        after = y if moved is None else moved
        pairs = [(clean[None].to(y), y[None]), (predicted[None].to(y), after[None])]
        before, now = (float(self.graded(predictions, target)) for predictions, target in pairs)
        found, missed, false = (int(count) for count in matched(*pairs[1], self.iou))
        what = "F1" if self.score_by == "f1" else "average precision"
        boxes = f"{found} of {found + missed} boxes found, {false} false"
        return {"answer": f"{what} {number(before)} -> {number(now)}: {boxes}"}


def _nothing(like: Tensor) -> Tensor:
    return torch.tensor([0.0, 0.0, 0.0, 0.0, NONE, 0.0], dtype=like.dtype, device=like.device)


# ---- boxes: overlaps, matching of answers to targets, losses for attacks, and moves by shifts
#
# A box is (left, top, right, bottom) in pixels: pixel (row, column) covers column..column + 1 and row..row + 1. A list
# of boxes is (B, M, 6): the box, its class, its confidence; the class is `NONE` in rows that fill up a list.

NONE, IGNORED = -1, -2
"""Classes of rows that hold no box, and of targets that need not be found and make no answer on them false."""
# Smallest score of answers that count: of a single threshold, and where they are ranked.
_SURE, _LEAST = 0.5, 0.001
_OVERLAPS = [0.5 + 0.05 * step for step in range(10)]
# An answer of which at least this share lies on an ignored target is not counted, as on a crowd in COCO.
_COVERED = 0.5
# A target of which less than this share is left inside the image is ignored.
_VISIBLE = 0.5
# Pixels that a shift may depart from a stretch and a move along the axes before boxes would no longer fit.
_STRAIGHT = 0.5
# Answers further from turning than this number of mean leads weigh little in the margin loss.
_NEAR = 0.2
# The same distance in overlap.
_NEAR_EDGE = 0.1
_TINY = 1e-6


def overlaps(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (B, R, M) intersections of boxes (B, R, 4) and (B, M, 4), and their areas (B, R) and (B, M)."""
    low = torch.maximum(one[:, :, None, :2], other[:, None, :, :2])
    high = torch.minimum(one[:, :, None, 2:], other[:, None, :, 2:])
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (one, other)]
    return (high - low).clamp(min=0).prod(-1), areas[0], areas[1]


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Return (B, R, M) intersection over union of boxes (B, R, 4) and (B, M, 4); 0 if both are empty."""
    both, first, second = overlaps(one, other)
    union = first.unsqueeze(2) + second.unsqueeze(1) - both
    return both / union.clamp(min=_TINY)


def wanted(y: Tensor) -> Tensor:
    """Return (B, M) bool: targets (B, M, 6) that are to be found: neither ignored nor crowds."""
    return (y[..., 4] >= 0) & (y[..., 5] >= 0)


def matched(answers: Tensor, y: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return (B,) int64 numbers of found targets, missed targets and false answers.

    Args:
        answers: (B, R, 6) answers, the most confident first.
        y: (B, M, 6) targets.
        least: intersection over union of a match.
    """
    hit, excused = hits(answers, y, least)
    found = hit.sum(1)
    return found, wanted(y).sum(1) - found, ((answers[..., 4] >= 0) & ~hit & ~excused).sum(1)


def _excused(both: Tensor, area: Tensor, kind: Tensor, y: Tensor) -> Tensor:
    """Return (B, R) bool: answers of a class (B, R) that lie on an ignored target, or on a crowd of their class."""
    crowd = (y[..., 4] >= 0) & (y[..., 5] < 0)
    on = (y[:, None, :, 4] == IGNORED) | (crowd.unsqueeze(1) & (y[:, None, :, 4] == kind.unsqueeze(2)))
    return ((both >= _COVERED * area.unsqueeze(2)) & on).any(2)


def hits(answers: Tensor, y: Tensor, least: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, R) bool, True for answers that find a target, and for those that are excused where they find none.

    Args:
        answers, y: as for `matched`.
        least: intersection over union of a match; a number, or (B, 1, 1).
    """
    real, there = wanted(y), answers[..., 4] >= 0
    both, area, _ = overlaps(answers[..., :4], y[..., :4])
    meets = iou(answers[..., :4], y[..., :4]) * (answers[:, :, None, 4] == y[:, None, :, 4]) * real.unsqueeze(1)
    meets = torch.where(meets >= least, meets, 0.0)
    excused = _excused(both, area, answers[..., 4], y)
    free, hit = real.clone(), torch.zeros_like(there)
    # As in COCO's evaluation: answers choose in falling order of confidence, each the free target of its class with the
    # largest overlap.
    for row in range(int(there.sum(1).max()) if there.numel() else 0):
        best = (meets[:, row] * free).max(1)
        hit[:, row] = there[:, row] & (best.values > 0)
        free.scatter_(1, best.indices[:, None], free.gather(1, best.indices[:, None]) & ~hit[:, row, None])
    return hit, excused


def image_precision(answers: Tensor, y: Tensor) -> Tensor:
    """Return (B,) float64: average precision of each image's answers, over the overlaps .50 .. .95, all classes ranked
    together; without a target one minus the largest score of an answer.

    Args:
        answers: (B, R, 6) answers, the most confident first.
        y: (B, M, 6) targets.
    """
    times, images = len(_OVERLAPS), len(y)
    least = torch.tensor(_OVERLAPS, dtype=answers.dtype, device=y.device).repeat_interleave(images).view(-1, 1, 1)
    hit, excused = hits(answers.repeat(times, 1, 1), y.repeat(times, 1, 1), least)
    false = (answers[..., 4] >= 0).repeat(times, 1) & ~hit & ~excused
    right, wrong = hit.double().cumsum(1), false.double().cumsum(1)
    precision = right / (right + wrong).clamp(min=1)
    # As in COCO's evaluation: the largest precision at this recall or a larger one.
    best = precision.flip(1).cummax(1).values.flip(1) if precision.shape[1] else precision
    number = wanted(y).sum(1)
    mean = ((best * hit).sum(1).view(times, images) / number.clamp(min=1)).mean(0)
    if not answers.shape[1]:
        return torch.where(number > 0, mean, 1.0)
    loudest = torch.where(false[:images], answers[..., 5].double(), 0.0).amax(1)
    return torch.where(number > 0, mean, 1 - loudest)


def f1(answers: Tensor, y: Tensor, least: float) -> Tensor:
    """Return (B,) float64: twice the found targets over targets and answers; 1 if there are neither."""
    found, missed, false = (count.double() for count in matched(answers, y, least))
    errors = missed + false
    return torch.where(errors == 0, 1.0, 2 * found / (2 * found + errors).clamp(min=1))


class Stand(NamedTuple):
    """Relations of differentiable answers to targets."""

    odds: Tensor  # (B, M) log-odds, for the target's class, of the most confident answer on each target
    overlap: Tensor  # (B, M) intersection over union of that answer and the target
    met: Tensor  # (B, M) bool, True if such an answer exists
    stray: Tensor  # (B, R) log-odds of each answer's likeliest class
    lost: Tensor  # (B, R) bool, True if the answer is on no target of that class


def standing(rows: Tensor, y: Tensor, least: float) -> Stand:
    """Return the relations of answers (B, R, 4 + K), boxes and class scores in [0, 1], to targets (B, M, 6)."""
    place, scores = rows[..., :4], rows[..., 4:]
    kind, real = y[..., 4].long(), wanted(y)
    shared = iou(place, y[..., :4].to(rows))
    near = (shared.detach() >= least) & real.unsqueeze(1) & (scores.detach().amax(2) > 0).unsqueeze(2)
    own = scores.gather(2, kind.clamp(min=0).unsqueeze(1).expand(-1, rows.shape[1], -1))
    best = own.detach().masked_fill(~near, -1.0).argmax(1, keepdim=True)
    top = scores.max(2)
    on_own = (near & (top.indices.unsqueeze(2) == kind.unsqueeze(1))).any(2)
    both, area, _ = overlaps(place.detach(), y[..., :4].to(rows))
    excused = _excused(both, area, top.indices, y)
    return Stand(
        odds=_log_odds(own.gather(1, best).squeeze(1)),
        overlap=shared.gather(1, best).squeeze(1),
        met=near.any(1),
        stray=_log_odds(top.values),
        lost=~on_own & ~excused & (top.values.detach() > 0),
    )


def cross_entropy(rows: Tensor, y: Tensor, least: float) -> Tensor:
    """Return (B,) means over targets of -log score, -log overlap, and -log(1 - score) of stray answers."""
    stand = standing(rows, y, least)
    hidden = F.softplus(-stand.odds) - stand.overlap.clamp(min=_TINY).log()
    return _per_target(hidden, F.softplus(stand.stray), stand, y)


def log_odds(rows: Tensor, y: Tensor, least: float) -> Tensor:
    """Return (B,) cross-entropy with the log-odds of targets instead of their softplus, whose slope vanishes."""
    stand = standing(rows, y, least)
    hidden = -stand.odds - stand.overlap.clamp(min=_TINY).log()
    return _per_target(hidden, F.softplus(stand.stray), stand, y)


def deleting(rows: Tensor, y: Tensor, least: float) -> Tensor:
    """Return (B,) means over targets of the negated log-odds of the surest answer on each: it makes answers vanish."""
    stand = standing(rows, y, least)
    # A target without an answer has the odds of a score of 0, so that a step that loses it never looks worse.
    return _over_targets(torch.where(stand.met, -stand.odds, -_log_odds(torch.zeros_like(stand.odds))), y)


def adding(rows: Tensor, y: Tensor, least: float) -> Tensor:
    """Return (B,) sums of the softplus of stray answers' log-odds: it makes false answers."""
    stand = standing(rows, y, least)
    return (F.softplus(stand.stray) * stand.lost).sum(1)


def moving(rows: Tensor, y: Tensor, least: float) -> Tensor:
    """Return (B,) means over targets of one minus the overlap of the surest answer on each: it moves boxes."""
    stand = standing(rows, y, least)
    return _over_targets(1 - stand.overlap * stand.met, y)


def turning(rows: Tensor, y: Tensor, least: float, confidence: float) -> Tensor:
    """Return (B,) the softplus of each negated lead: targets that are far from turning weigh little."""
    stand, cut = standing(rows, y, least), _log_odds(torch.tensor(confidence)).item()
    # A target's leads are its odds above the confidence and its overlap above `least`; a stray's is its distance below
    # the confidence.
    sure, quiet = stand.odds - cut, cut - stand.stray
    leads, counts = torch.cat([sure, quiet], 1).detach().abs(), torch.cat([stand.met, stand.lost], 1)
    usual = (leads * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp(min=1)
    # Dividing by the image's mean lead removes the scale of the odds.
    scale = _NEAR * usual.clamp(min=_TINY)
    hidden = F.softplus(-sure / scale) + F.softplus((least - stand.overlap) / _NEAR_EDGE)
    return _per_target(hidden, F.softplus(-quiet / scale), stand, y)


def moved_boxes(y: Tensor, source: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets (B, M, 6) of moved images, and (B,) bool, True if boxes fit; arguments as for `Task.moved`.

    Boxes are cut at the image's edge, and ignored if less than half remains.
    """
    height, width = source.shape[-2:]
    lines = [torch.arange(n, dtype=torch.float64, device=y.device) for n in (height, width)]
    grid = torch.stack(torch.meshgrid(*lines, indexing="ij")).expand(len(y), -1, -1, -1)
    # Boxes fit if the image was only stretched and moved along its axes: a box around a turned box is too large for its
    # contents. So fit source = slope * grid + offset for rows and columns by least squares, and reject large residuals.
    weight, position = inside.unsqueeze(1).double(), source.double()
    count = weight.sum((2, 3), keepdim=True).clamp(min=1)
    middle, target = ((weight * v).sum((2, 3), keepdim=True) / count for v in (grid, position))
    spread = (weight * (grid - middle) ** 2).sum((2, 3), keepdim=True)
    slope = (weight * (grid - middle) * (position - target)).sum((2, 3), keepdim=True) / spread.clamp(min=_TINY)
    off = ((position - target - slope * (grid - middle)).abs() * weight).flatten(1).amax(1)
    smooth = (slope.abs() > _TINY).flatten(1).all(1)
    slope = torch.where(slope.abs() > _TINY, slope, 1.0)
    # a pixel's centre is half a pixel from its edge; rows come before columns, and in boxes after them
    step, at, back = (v.flatten(1).flip(1)[:, None, None] for v in (slope, middle + 0.5, target + 0.5))
    # Inverse of the fitted map; a negative slope (a flip) exchanges the corners, so they are sorted.
    corners = ((y[..., :4].double().view(len(y), -1, 2, 2) - back) / step + at).sort(2).values
    whole = (corners[:, :, 1] - corners[:, :, 0]).prod(-1)
    kept = corners.clamp(min=0).minimum(torch.tensor([width, height], device=y.device, dtype=corners.dtype))
    left = (kept[:, :, 1] - kept[:, :, 0]).prod(-1)
    kind = torch.where((left < _VISIBLE * whole) & (y[..., 4] >= 0), IGNORED, y[..., 4])
    kind = torch.where((left <= 0) | ~smooth.unsqueeze(1), NONE, kind)
    after = torch.cat([kept.flatten(2).to(y), kind.unsqueeze(2).to(y), y[..., 5:]], 2)
    return torch.where(kind.unsqueeze(2) == NONE, torch.tensor([0.0, 0, 0, 0, NONE, 0]).to(y), after), off <= _STRAIGHT


def _per_target(hidden: Tensor, shown: Tensor, stand: Stand, y: Tensor) -> Tensor:
    targets = wanted(y).sum(1).clamp(min=1)
    return ((hidden * stand.met).sum(1) + (shown * stand.lost).sum(1)) / targets


def _over_targets(values: Tensor, y: Tensor) -> Tensor:
    real = wanted(y)
    return (values * real).sum(1) / real.sum(1).clamp(min=1)


def _log_odds(scores: Tensor) -> Tensor:
    scores = scores.clamp(_TINY, 1 - _TINY)
    return scores.log() - torch.log1p(-scores)
