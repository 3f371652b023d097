"""Moving rows of per-sample tensors about."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from robustest.attacks import Problem
from robustest.threats import Rows


def cut(rows: Tensor, part: slice) -> Tensor:
    """A part of some rows; the rows themselves where it is all of them."""
    return rows if part.stop - part.start == rows.shape[0] else rows[part]


def pick(rows: Rows, which: Tensor | slice) -> Rows:
    """The chosen rows: an index, a mask or a slice."""
    return {name: value[which] for name, value in rows.items()}


def join(first: Rows, second: Rows) -> Rows:
    """The rows of both, one after the other."""
    return {name: torch.cat([value, second[name]]) for name, value in first.items()}


def pick_problem(problem: Problem, which: Tensor | slice) -> Problem:
    """A problem of the chosen rows."""
    return replace(problem, region=pick(problem.region, which), y=problem.y[which])


def join_problems(first: Problem, second: Problem) -> Problem:
    """A problem of both problems' rows."""
    return replace(first, region=join(first.region, second.region), y=torch.cat([first.y, second.y]))
