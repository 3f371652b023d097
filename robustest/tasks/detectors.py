"""What detectors answer, as rows of boxes and class scores: torchvision's, and those of MAITE's protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from robustest.checks import checked_real, checked_whole
from robustest.errors import ConfigError, ModelError, expected


@runtime_checkable
class Adapter(Protocol):
    """A frozen value that says what a kind of detector answers."""

    @property
    def classes(self) -> int:
        """How many class indices there are, a background's with them."""

    @property
    def gradient(self) -> bool:
        """Whether answers have a gradient in the images, which attacks follow."""

    def check(self, detector: Any, confidence: float) -> None:
        """Refuse a detector that this does not fit, or one that keeps answers of that confidence to itself.

        Raises:
            ConfigError: it is such a one.
        """

    def answers(self, detector: Any, x: Tensor) -> Tensor:
        """(B, R, 4 + K) for images x (B, C, H, W): boxes in pixels, then a score in [0, 1] for each class.

        Rows that fill up are 0. R is the same for every batch.

        Raises:
            ModelError: the detector answers in another form.
        """


@dataclass(frozen=True, slots=True)
class TorchvisionDetector:
    """Detectors as torchvision's: a module that maps images to dicts of `boxes`, `labels` and `scores`.

    Answers down to `least` are looked at, below the detector's own threshold, so that an attack sees what it could
    bring up; what counts is above the task's confidence. The threshold is put back after each pass.

    Args:
        classes: how many class indices there are, as the detector was built with: Faster R-CNN and SSD count the
            background as class 0.
        least: the smallest score looked at, in (0, 1).

    Raises:
        ConfigError: an argument is out of range.
    """

    classes: int
    least: float = 0.001

    gradient = True

    def __post_init__(self) -> None:
        checked_whole("classes", self.classes, 1)
        checked_real("least", self.least, 0.0, 1.0)

    def check(self, detector: Any, confidence: float) -> None:
        """As `Adapter.check`."""
        threshold = _head(detector).score_thresh
        if threshold > confidence:
            raise ConfigError(
                f"Expected a detector that gives answers from the task's confidence, {confidence:g}, on but its "
                f"score_thresh is {threshold:g}. Pass confidence={threshold:g}."
            )

    def answers(self, detector: Any, x: Tensor) -> Tensor:
        """As `Adapter.answers`; R is the detector's `detections_per_img`."""
        head = _head(detector)
        with _lower_threshold(head, self.least):
            said = detector(list(x))
        return padded(said, x, rows=int(head.detections_per_img), classes=self.classes)


@dataclass(frozen=True, slots=True)
class MaiteDetector:
    """Detectors of MAITE's protocol: they map a sequence of images to objects with `boxes`, `labels` and `scores`.

    Args:
        classes: how many class indices there are.
        rows: the most boxes that the detector gives an image.
        gradient: whether its answers are tensors with a gradient in the images. Without, only attacks by scores run.

    Raises:
        ConfigError: an argument is out of range.
    """

    classes: int
    rows: int = 100
    gradient: bool = False

    def __post_init__(self) -> None:
        checked_whole("classes", self.classes, 1)
        checked_whole("rows", self.rows, 1)

    def check(self, detector: Any, confidence: float) -> None:
        """As `Adapter.check`; nothing is known of such a detector."""

    def answers(self, detector: Any, x: Tensor) -> Tensor:
        """As `Adapter.answers`."""
        return padded(detector(list(x)), x, rows=self.rows, classes=self.classes)


def padded(said: Any, x: Tensor, *, rows: int, classes: int) -> Tensor:
    """(B, rows, 4 + classes) of one answer an image, each with `boxes` (n, 4), `labels` (n,) and `scores`.

    Args:
        said: B mappings or objects; scores are (n,), of the label, or (n, classes).
        x: (B, C, H, W) the images.
        rows: no answer has more boxes.
        classes: how many there are.

    Raises:
        ModelError: it has another form.
    """
    if not isinstance(said, Sequence) or len(said) != len(x):
        raise ModelError(expected(f"a list of {len(x)} answers, one an image", said))
    each = [_rows(one, x, rows, classes) for one in said]
    whole = torch.stack(each)
    if not torch.is_grad_enabled() or not x.requires_grad or whole.requires_grad or bool(whole.detach().any()):
        return whole
    return whole + 0 * x.flatten(1).sum(1).view(-1, 1, 1)  # no box at all: a gradient of 0, rather than none


def part_of(answer: Any, name: str) -> Any:
    """`boxes`, say, of a mapping or an object; None where it has none."""
    return answer.get(name) if isinstance(answer, Mapping) else getattr(answer, name, None)


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
        _check_likeliest(scores.detach().reshape(n, classes), labels)
    if scores.ndim < 2:
        scores = scores.reshape(n, 1) * nn.functional.one_hot(labels, classes)
    filled = torch.cat([boxes.reshape(n, 4), scores.reshape(n, classes)], 1)
    return nn.functional.pad(filled, (0, 0, 0, rows - n))


def _check_likeliest(scores: Tensor, labels: Tensor) -> None:
    """Refuse labels (n,) that are not the likeliest by scores (n, K): one of the two is what the detector answers."""
    off = scores.gather(1, labels.unsqueeze(1)).squeeze(1) < scores.amax(1)
    if bool(off.any()):
        at = int(off.nonzero()[0, 0])
        raise ModelError(
            f"Expected each label to be of the likeliest class by its scores but got label {int(labels[at])} where "
            f"class {int(scores[at].argmax())} has the largest. Give scores (n,), of the labels, if these are meant."
        )


class AdaptedModule(nn.Module):
    """A detector that is a module, answering in rows."""

    def __init__(self, detector: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.detector = detector
        self.adapter = adapter
        self.training = detector.training

    def forward(self, x: Tensor) -> Tensor:
        """(B, R, 4 + K) for images (B, C, H, W)."""
        return self.adapter.answers(self.detector, x)


@dataclass(frozen=True, slots=True)
class AdaptedCall:
    """A detector that is a function, answering in rows."""

    detector: Callable[..., Any]
    adapter: Adapter

    def __call__(self, x: Tensor) -> Tensor:
        """(B, R, 4 + K) for images (B, C, H, W)."""
        return self.adapter.answers(self.detector, x)


def built(recipe: Any, adapter: Adapter) -> AdaptedModule:
    """The module that a recipe builds, adapted; what workers build."""
    return AdaptedModule(recipe.build(), adapter)


def _head(detector: Any) -> Any:
    """The part of a detector that says how many answers it gives, and from which score on."""
    for part in (getattr(detector, "roi_heads", None), detector):
        if hasattr(part, "score_thresh") and hasattr(part, "detections_per_img"):
            return part
    mend = "Give other detectors an adapter of their own: see the page on tasks."
    raise ConfigError(expected("a detector of torchvision's, with score_thresh and detections_per_img", detector, mend))


@contextmanager
def _lower_threshold(head: Any, least: float) -> Iterator[None]:
    own = head.score_thresh
    head.score_thresh = min(own, least)
    try:
        yield
    finally:
        head.score_thresh = own
