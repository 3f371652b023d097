"""Record which inputs a look showed the model, beside the samples themselves."""

# A claim about a change says nothing unless the model saw the change. A look need not report that: every pass of a
# chunk goes through the evaluator, which compares its inputs with the samples, row by row.
# `robustest.columns` names what it may find.
#
# A search shows many inputs, most of them for its own checks. For a look with a threat the question is another one:
# does the threat's region hold any input but the sample?

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import moved_rows
from robustest.columns import AGAIN, ALONE, ANSWER, APART, CHANGED, LEAD, PAST, SHOWN
from robustest.engine.chunks import Chunk
from robustest.threats import Columns, Threat, is_discrete, rendered

# Passes of a look that are compared with the samples: one with more is a search, which reports its changes itself.
_MOST_COMPARED = 8
# Weights that turn an answer of several numbers into one; any fixed ones do.
_MIXING = 0.6180339887498949


@dataclass(slots=True, eq=False)
class Shown:
    """What one look showed the model of one chunk.

    Attributes:
        threat: of a search, whose passes are not compared; None for other looks.
        changed: (n,) bool, True for samples that were shown with other values.
        again: the samples were shown once more as they are, as another tensor.
        apart: inputs were shown that are not aligned with the samples.
        past: the look made no pass.
        answer: (n,) float64, the model's answer to each sample, in one number: to the sample as it is if the look asks
            about that, else as it was shown first; None while it is unknown.
        lead: (n,) float64, a number of the scores of that answer, which no two models have in common; None while it is
            unknown.
    """

    chunk: Chunk
    threat: Threat | None = None
    changed: Tensor | None = None
    again: bool = False
    apart: bool = False
    past: bool = False
    answer: Tensor | None = None
    lead: Tensor | None = None
    _asked: bool = field(default=False, repr=False)
    _own_heard: bool = field(default=False, repr=False)
    _compared: int = field(default=0, repr=False)

    def see(self, x: Tensor) -> bool:
        """Note the inputs of a pass; return True if its answers are wanted."""
        own = self.chunk.x
        if x is own:
            first, self._asked = not self._asked, True
            self.again |= not first
            return not self._own_heard
        if self.threat is not None:
            return False
        self._compare(x)
        return self.answer is None

    def _compare(self, x: Tensor) -> None:
        """Note if inputs are the samples changed, the samples again, or not aligned with them."""
        own = self.chunk.x
        if x.shape != own.shape or x.dtype != own.dtype or self._compared == _MOST_COMPARED:
            self.apart = True
            return
        self.again, self._compared = True, self._compared + 1
        moved = moved_rows(own, x) if x.is_floating_point() else (x != own).flatten(1).any(1)
        self.changed = moved if self.changed is None else self.changed | moved

    def hear(self, x: Tensor, predicted: Tensor, scores: Tensor) -> None:
        """Note the answers to inputs x (b, *S): predictions (b, *T), and scores (b, ...): logits or margins."""
        n = len(self.chunk.ids)
        if len(predicted) % n:  # neither one nor several inputs of each sample
            return
        self._own_heard |= x is self.chunk.x
        self.answer, self.lead = (mixed(one.detach().reshape(n, -1)) for one in (predicted, scores))

    def columns(self) -> dict[str, Any]:
        """Return the columns "shown", "answer" and "lead" of the chunk; unknown answers are NaN."""
        n, device = len(self.chunk.ids), self.chunk.x.device
        shown = torch.full((n,), AGAIN if self.again else ALONE, dtype=torch.int8, device=device)
        if self.past:
            shown = torch.full_like(shown, PAST)
        elif self.threat is not None:
            shown = torch.where(self._movable(self.threat), CHANGED, AGAIN).to(torch.int8)
        elif self.apart:
            shown = torch.full_like(shown, APART)
        elif self.changed is not None:
            shown[self.changed.to(device)] = CHANGED
        unknown = torch.full((n,), torch.nan, dtype=torch.float64)
        return {
            SHOWN: shown,
            ANSWER: unknown if self.answer is None else self.answer,
            LEAD: unknown if self.lead is None else self.lead,
        }

    def _movable(self, threat: Threat) -> Tensor:
        """Return (n,) bool, True for samples of which the threat's region holds another input."""
        chunk = self.chunk
        if not threat.radius > 0:
            return torch.zeros(len(chunk.ids), dtype=torch.bool, device=chunk.x.device)
        region = threat.region(chunk.x, chunk.bounds)
        if is_discrete(threat):
            other = threat.points(region) > 1
            # Rows of one cell get one answer from a tree, and count as one point: they are other rows all the same.
            return other | threat.moves_inside_cells(region) if isinstance(threat, Columns) else other
        # A random input of a continuous region is the sample itself only where there is no other, or none that float32
        # tells apart from it.
        x = rendered(threat, threat.start(region, rng.fold(chunk.key, "movable")), region)
        return moved_rows(chunk.x, x)


def mixed(rows: Tensor) -> Tensor:
    """Return (n,) float64, one number for each of rows (n, k), equal where all numbers of two rows are."""
    rows = rows.double()
    if rows.shape[1] == 1:
        return rows.squeeze(1)
    weights = torch.arange(1, rows.shape[1] + 1, dtype=torch.float64).mul_(_MIXING).frac_().add_(0.5)
    return rows @ weights.to(rows.device)
