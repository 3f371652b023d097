"""Ensembles of trees in a box: the input that breaks a row, or the proof that there is none."""

# A search by scores asks a thousand inputs around a row, and follows nothing where no threshold is crossed. The trees
# of an estimator can be read, and their leaves say where its answer changes in the box that L-inf allows
# (`robustest.bounds.tables`): sums of stumps are decided column by column, other ensembles by branch and bound.
#
# 1. Find for each row leaves that meet in the box and in which another class leads.
# 2. Evaluate the model there: it alone decides that a row is broken.
# 3. Rows without such leaves are decided, as if every input had been evaluated. The others are searched as ever.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.attacks import Needs, Problem
from robustest.attacks.protocol import AtPoint, Evaluation
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import SearchOutcome, search
from robustest.threats import Linf, Rows, Threat

NAME = "tree-leaves"


@dataclass(frozen=True, slots=True)
class _Given(AtPoint):
    """Evaluate one input of each row: that at the place which is the row's key."""

    points: Tensor
    name = NAME
    needs = Needs.LABELS
    steps = 0

    def supports(self, threat: Threat) -> bool:
        return True

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"z": self.points[key]}

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        raise TypeError("this attack takes no gradients")

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        return state


@dataclass(frozen=True, slots=True)
class Leaves:
    """Rows (N,) of a chunk, as their leaves say.

    Attributes:
        proven: (N,) bool, on the host: no input of the box has another class.
        rows: (m,) int64 rows with an input at which another class should lead.
        found: the model's answers there; None where there is no such row.
    """

    proven: Tensor
    rows: Tensor
    found: SearchOutcome | None = None


def search_leaves(evaluator: Evaluator, threat: Threat, chunk: Chunk) -> Leaves:
    """Read the leaves of an ensemble of trees in the boxes of a chunk's rows; nothing is found for other models."""
    model, estimator = evaluator.model, evaluator.model.estimator
    nothing = Leaves(torch.zeros(len(chunk.x), dtype=torch.bool), torch.empty(0, dtype=torch.int64))
    boxes = isinstance(threat, Linf) and threat.radius > 0 and chunk.coding is None and evaluator.task.one_class
    if estimator is None or not boxes or model.preprocessing is not None or model.max_queries is not None:
        return nothing
    from robustest.bounds.operations import NoBound  # other models need no bounds
    from robustest.bounds.tables import escapes_of

    region = threat.region(chunk.x, chunk.bounds)
    try:
        ends = (region["low"].flatten(1), region["high"].flatten(1))
        escapes = escapes_of(estimator, chunk.x.flatten(1), chunk.y, *ends)
    except NoBound:
        return nothing
    rows, proven = escapes.found.nonzero().squeeze(1), escapes.proven.cpu()
    if not len(rows):
        return Leaves(proven, rows)
    points, place = _Given(escapes.x[rows].view(-1, *chunk.x.shape[1:])), torch.arange(len(rows), device=rows.device)
    found = search(evaluator, points, threat, chunk.x[rows], chunk.y[rows], key=place, bounds=chunk.bounds)
    evaluator.require_finite()
    return Leaves(proven, rows, found)
