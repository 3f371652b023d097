"""Top-k classification: a label is right if it is among the k likeliest classes."""

# With logits z, a label y and z_(k) the k-th largest logit of the *other* classes, an answer holds if fewer than k of
# these are likelier than the label, and its margin is
#
#     m(z, y) = z_y - z_(k)
#
# which is the margin of classification for k = 1. A search that climbs -m raises one class a step, the one that has to
# overtake next. Its smooth form is the truncated top-k entropy (Lapin, Hein and Schiele, "Loss functions for top-k
# error", CVPR 2016, section 3.2), whose sum leaves out the k - 1 largest of the others: these are ahead anyway.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.checks import check_ranges, whole
from robustest.errors import ModelError
from robustest.tasks.classification import CLASSIFICATION
from robustest.tasks.protocol import Describing, Loss, by_row

_TINY = 1e-12
# Classes of an answer that a counterexample names.
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class TopK:
    """Targets are labels (B,) int64, outputs logits (B, K) of K > k classes; the k largest logits are the answer.

    The answer holds if the label is among them. Claims that compare two answers, such as consistency, ask whether the
    class that was likeliest before is still among the k.

    Args:
        k: number of classes that an answer names, >= 1.
    """

    k: int = field(metadata=whole(1))

    name = "top-k classification"
    one_class = False
    placed = False

    def __post_init__(self) -> None:
        check_ranges(self)

    def __str__(self) -> str:
        return f"label among the {self.k} likeliest"

    @property
    def top(self) -> int:
        return self.k

    @property
    def losses(self) -> Mapping[str, Loss]:
        """The negated margin, the truncated log-odds and entropy, and the margin over a gap that scales with it."""
        return {
            "ce": partial(by_row, lambda z, y: F.softplus(self._log_odds(z, y)), axes=1),
            "dlr": partial(by_row, self._dlr, axes=1),
            "log_odds": partial(by_row, self._log_odds, axes=1),
            "margin": partial(by_row, lambda z, y: -self._lead(z, y), axes=1),
        }

    def targets(self, given: object) -> Tensor:
        """Return (B,) int64 labels on the CPU, from integers in a tensor, an array or a sequence."""
        return CLASSIFICATION.targets(given)

    def check_targets(self, y: Tensor, width: int) -> None:
        CLASSIFICATION.check_targets(y, width)

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        classes = CLASSIFICATION.check_output(output, rows, width)
        if classes <= self.k:
            raise ModelError(
                f"Expected more than k={self.k} classes but the model has {classes}: every answer would hold. Choose "
                "a smaller k."
            )
        return classes

    def predictions(self, output: Tensor) -> Tensor:
        """Return (..., k) int64: the likeliest classes in order; of equal logits the smaller number comes first."""
        return output.argsort(dim=-1, descending=True, stable=True)[..., : self.k]

    def as_targets(self, predictions: Tensor) -> Tensor:
        """Return (...) int64: the likeliest class of each answer."""
        return predictions[..., 0]

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        return by_row(self._holds, output, y, 1)

    def _holds(self, output: Tensor, y: Tensor) -> Tensor:
        at = y.unsqueeze(1)
        own, number = output.gather(1, at), torch.arange(output.shape[1], device=output.device)
        # Ties as in `predictions`, without sorting a thousand classes.
        ahead = (output > own) | ((output == own) & (number < at))
        return ahead.sum(1) < self.k

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the label's logit minus the k-th largest other."""
        return by_row(self._lead, output, y, 1)

    def _lead(self, output: Tensor, y: Tensor) -> Tensor:
        at = y.unsqueeze(1)
        others = output.detach().scatter(1, at, -torch.inf)
        kth = others.topk(self.k, 1).indices[:, -1:]
        return (output.gather(1, at) - output.gather(1, kth)).squeeze(1)

    def _log_odds(self, output: Tensor, y: Tensor) -> Tensor:
        at = y.unsqueeze(1)
        others = output.scatter(1, at, -torch.inf)
        if self.k > 1:
            others = others.scatter(1, others.detach().topk(self.k - 1, 1).indices, -torch.inf)
        return others.logsumexp(1) - output.gather(1, at).squeeze(1)

    def _dlr(self, output: Tensor, y: Tensor) -> Tensor:
        # As for k = 1 (Croce and Hein, ICML 2020, equation 6): invariant to shift and scale where K >= k + 2.
        if output.shape[1] < self.k + 2:
            return -self._lead(output, y)
        largest = output.topk(self.k + 2, 1).values
        return -self._lead(output, y) / (largest[:, 0] - largest[:, -1]).clamp(min=_TINY)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        return self.holds(output, y).double()

    def agreement(self, predictions: Tensor, other: Tensor) -> Tensor:
        return self.right(predictions, other).double()

    def right(self, predictions: Tensor, other: Tensor) -> Tensor:
        return (predictions == other.unsqueeze(-1)).any(-1)

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        return y

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> Describing:
        more = " ..." if self.k > _SHOWN else ""
        before, after = (", ".join(map(str, one[:_SHOWN].tolist())) + more for one in (clean, predicted))
        return {"label": int(y), "answer": f"class {int(y)}; likeliest {before} before and {after} after"}
