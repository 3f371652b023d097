"""Object detection: boxes with their classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from robustest.checks import checked_real, checked_whole
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.tasks import boxes
from robustest.tasks.detectors import Adapter, part_of
from robustest.tasks.grading import above, checked_floor, kept
from robustest.tasks.lanes import by_row
from robustest.tasks.protocol import Describing, Loss
from robustest.tasks.reading import reals


@dataclass(frozen=True, slots=True, init=False)
class Detection:
    """Targets are lists of boxes (B, most, 6), outputs rows (B, R, 4 + K) that the adapter makes.

    An answer counts from `confidence` on, as its likeliest class. Of an image the score is F1: twice the targets found,
    over targets and answers; 1 where there are neither.

    Args:
        adapter: what the detector answers, `TorchvisionDetector(classes)` or `MaiteDetector(classes)`, say.
        iou: intersection over union from which on an answer meets a target of its class, in (0, 1).
        score: "f1".
        confidence: of the answers that count, in (0, 1).
        floor: the score from which on an image holds, in (0, 1]; None where only scores are asked for.
        most: the boxes of an image, targets or answers, >= 1; of more answers the surest count, as in COCO.

    Raises:
        ConfigError: an argument is out of range.
    """

    adapter: Adapter
    iou: float
    score_by: Literal["f1"]
    confidence: float
    floor: float | None
    most: int

    name = "detection"
    one_class = False
    placed = True
    nouns = ("box", "boxes")
    listed = True
    """Outputs are in no fixed order: what a row says at one input, another may say at the next."""

    def __init__(
        self,
        adapter: Adapter,
        iou: float = 0.5,
        score: Literal["f1"] = "f1",
        *,
        confidence: float = 0.5,
        floor: float | None = None,
        most: int = 100,
    ) -> None:
        if isinstance(adapter, type) or not isinstance(adapter, Adapter):
            raise ConfigError(expected("an adapter such as TorchvisionDetector(classes=91)", adapter))
        for name, value in (("iou", iou), ("confidence", confidence)):
            checked_real(name, value, 0.0, 1.0)
            if value in (0, 1):
                raise ConfigError(expected(f"{name} in (0, 1)", value))
        if score != "f1":
            raise ConfigError(expected('score to be "f1"', score))
        checked_whole("most", most, 1)
        values: dict[str, Any] = {
            "adapter": adapter,
            "iou": float(iou),
            "score_by": score,
            "confidence": float(confidence),
        }
        for field, given in {**values, "floor": checked_floor(floor), "most": most}.items():
            object.__setattr__(self, field, given)

    def __str__(self) -> str:
        what = f"F1 of boxes at confidence {self.confidence:g} and IoU {self.iou:g}"
        return what if self.floor is None else f"{what} of at least {self.floor:g}"

    @property
    def losses(self) -> Mapping[str, Loss]:
        """Of the surest answer on each target and of answers on none; "margin" is that of how near they are to turning.

        Scores that round to 1 have no log-odds left: where a detector gives them, no loss has a slope.
        """
        near = partial(boxes.turning, least=self.iou, confidence=self.confidence)
        ce, odds = (partial(loss, least=self.iou) for loss in (boxes.cross_entropy, boxes.log_odds))
        return {"ce": _Rowwise(ce), "log_odds": _Rowwise(odds), "margin": _Rowwise(near)}

    def targets(self, given: object) -> Tensor:
        """(B, most, 6) float32 on the CPU: box, class, 1.

        Args:
            given: for each image a mapping or an object with `boxes` (n, 4) and `labels` (n,), or all as this gives
                them.

        Raises:
            DataError: others, boxes without area, or more than `most`.
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
        if places is None or labels is None:
            raise DataError(expected("a target with boxes and labels", given))
        kinds = reals(labels, "labels").flatten()
        corners = reals(places, "boxes").reshape(-1, 4)
        if len(corners) != len(kinds) or len(kinds) > self.most:
            raise DataError(
                f"Expected a label for each box, and at most {self.most}, but got {len(corners)} boxes and "
                f"{len(kinds)} labels. Pass most= to Detection where images have more."
            )
        if bool((corners[:, 2:] <= corners[:, :2]).any()) or bool((kinds != kinds.round()).any()):
            raise DataError("Expected boxes (left, top, right, bottom) with an area, and whole labels, but got others.")
        row = torch.cat([corners, kinds.unsqueeze(1), torch.ones(len(kinds), 1)], 1)
        return torch.cat([row, _nothing(row).expand(self.most - len(row), 6)])

    def check_targets(self, y: Tensor, width: int) -> None:
        """Refuse labels that the adapter has no class for.

        Raises:
            DataError: there is one.
        """
        kinds, classes = y[..., 4], self.adapter.classes
        if len(y) and (int(kinds.max()) >= classes or int(kinds.min()) < boxes.IGNORED):
            raise DataError(f"Expected labels in 0..{classes - 1}, the adapter's classes, but got {int(kinds.max())}.")

    def strata(self, y: Tensor) -> Tensor:
        """(B,) int64, the number of boxes to be found in targets (B, most, 6); ignored ones do not count."""
        return (y[..., 4] >= 0).sum(1)

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        """The number of rows R of an answer (B, R, 4 + K).

        Raises:
            ModelError: they have another shape, or R is not as before.
        """
        wide = 4 + self.adapter.classes
        if output.ndim != 3 or output.shape != (rows, width or output.shape[1], wide):
            shape = f"({rows}, {width or 'R'}, {wide})"
            raise ModelError(f"Expected rows {shape} from the adapter but got {tuple(output.shape)}.")
        return output.shape[1]

    def predictions(self, output: Tensor) -> Tensor:
        """(..., most, 6) the answers that count of rows (..., R, 4 + K), the surest first."""
        rows = output.detach()
        sure = rows[..., 4:].max(-1)
        order = sure.values.argsort(dim=-1, descending=True, stable=True)[..., : self.most]
        listed = torch.cat([rows[..., :4], sure.indices.unsqueeze(-1).to(rows), sure.values.unsqueeze(-1)], -1)
        listed = listed.gather(-2, order.unsqueeze(-1).expand(*order.shape, 6))
        listed = torch.where(listed[..., 5:] >= self.confidence, listed, _nothing(rows))
        short = self.most - listed.shape[-2]
        if not short:
            return listed
        return torch.cat([listed, _nothing(rows).expand(*listed.shape[:-2], short, 6)], -2)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """(B,) float64 in [0, 1] of rows (B, R, 4 + K); (B, A) of (B, A, R, 4 + K)."""
        return by_row(lambda rows, targets: boxes.f1(self.predictions(rows), targets, self.iou), output, y, 2)

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        """(B,) bool: whether the score is the floor or more."""
        return kept(self.score(output, y), self.floor)

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        """(B,) the score above the floor, and a little of the log-odds, which orders equal scores."""
        return above(self.score(output, y), self.floor, self.losses["log_odds"](output, y))

    def agreement(self, said: Tensor, other: Tensor) -> Tensor:
        """(B,) float64, F1 of answers (B, most, 6) by targets, or by other answers."""
        return boxes.f1(said, other, self.iou)

    def right(self, said: Tensor, other: Tensor) -> Tensor:
        """(B,) bool: whether their agreement is the floor or more."""
        return kept(self.agreement(said, other), self.floor)

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        """As `Task.moved`: boxes where the image was stretched and moved along its axes; see `boxes.moved`.

        Raises:
            ConfigError: it was turned or bent.
        """
        after, fit = boxes.moved(y, source, inside)
        if not bool(fit.all()):
            raise ConfigError(
                "Expected a shift that moves or stretches images along their axes but it turns or bends them: a box "
                "around a turned box is too large for what is in it. Use translation, scale or crop, or data whose "
                "boxes were drawn anew."
            )
        return after

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> Describing:
        """Scores before and after, and what was missed or false after."""
        after = y if moved is None else moved
        pairs = [(clean[None].to(y), y[None]), (predicted[None].to(y), after[None])]
        before, now = (float(boxes.f1(said, target, self.iou)) for said, target in pairs)
        found, missed, false = (int(count) for count in boxes.matched(*pairs[1], self.iou))
        return {"told": f"F1 {before:.3f} -> {now:.3f}: {found} of {found + missed} boxes found, {false} false"}


def _nothing(like: Tensor) -> Tensor:
    """(6,) a row without a box."""
    return torch.tensor([0.0, 0.0, 0.0, 0.0, boxes.NONE, 0.0], dtype=like.dtype, device=like.device)


@dataclass(frozen=True, slots=True)
class _Rowwise:
    """A loss of rows, for outputs that have several answers as well."""

    loss: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, output: Tensor, y: Tensor) -> Tensor:
        return by_row(self.loss, output, y, 2)
