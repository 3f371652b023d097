"""Copies of samples are one draw from a population: claims about it are decided as if each sample counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions import Decision, EarlyVerdict, Rule
from robustest.decisions.clusters import counted_once
from robustest.results import Verdict


def copies_among(inputs: Sequence[bytes]) -> NDArray[np.bool_] | None:
    """Return (n,) bool, True for inputs that are equal to an earlier one; None if all differ.

    Args:
        inputs: digests, of the inputs alone where they are known: the same image with another target is no other draw.
    """
    if len(set(inputs)) == len(inputs):
        return None
    copies = np.ones(len(inputs), dtype=bool)
    copies[[*{mark: place for place, mark in reversed([*enumerate(inputs)])}.values()]] = False
    return copies


def decided_once(
    rule: Rule, columns: dict[str, NDArray[Any]], total: int, early: EarlyVerdict | None, copies: NDArray[np.bool_]
) -> Decision:
    """Return a rule's decision on a population, without the copies among the samples.

    Args:
        columns: outcomes of all evaluated samples, (n,) each, with their positions in "id".
        total: number of samples in the data.
        early: the point at which the outcomes decided the claim, if they did.
        copies: (n,) bool, True for copies of earlier samples.
    """
    decision = rule.decide(columns, total, early)
    kept = np.delete(np.arange(total), columns["id"][copies])
    left = {name: column[~copies] for name, column in columns.items()}
    left["id"] = np.searchsorted(kept, left["id"])
    alone = rule.among(kept)
    found = alone.decide(left, len(kept), None if early is None else alone.settle(left, len(kept)))
    once = counted_once(decision, found, "copies counted once")
    unshown = decision.verdict is Verdict.PASSED and once.verdict is Verdict.INCONCLUSIVE
    return without_copies(once, copies) if unshown else once


def without_copies(decision: Decision, *copies: NDArray[np.bool_] | None) -> Decision:
    """Return the decision of a claim on a population that does not pass if each sample counts once.

    Args:
        copies: of each data set, (n,) bool, True for copies; None for none.
    """
    found = [one for one in copies if one is not None]
    n, more = sum(map(len, found)), sum(int(one.sum()) for one in found)
    counted = f"{more} of {n} samples are copies of others, to the bit"
    why = f"{counted}, and no draws from the population: not shown by the other {n - more}"
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why, reasons=("copies",))
