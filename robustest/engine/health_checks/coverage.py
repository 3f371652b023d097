"""What the samples that a cascade did not break were looked at by: what a claim that they are safe rests on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from robustest.attacks import Needs, Stage, at_once, enough_queries, passes, searches, supports
from robustest.engine.evaluator import Evaluator
from robustest.threats import Threat

_WIDE = 1000
"""Queries of each stage without gradients where gradients mislead: they break what is easily broken. To show that what
they leave is robust may take more (`enough_queries`), which a claim has to ask for."""
_NO_SCORES = (
    "weak_search: the model's scores say no more than its labels, so that no search that follows scores or gradients "
    "counts. Give the scores before they become labels or, for few features, measure labels_model(...)"
)


class Coverage:
    """Which rows were searched, and which of them without gradients, by stages that count as a search of the threat.

    Where the model's scores say no more than labels (`labels_alone`), only what works on labels counts.
    """

    def __init__(self, x: Tensor, threat: Threat, *, labels_alone: bool = False) -> None:
        """Prepare for samples x (n, *S)."""
        self._threat, self._features, self._labels_alone = threat, x[0].numel() if len(x) else 1, labels_alone
        self._searched = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self._blind = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        self._broken_again = 0

    def add(self, stage: Stage, rows: Tensor, broken: Tensor) -> None:
        """Take note of a round.

        Args:
            stage: what was run.
            rows: (m,) int64 the rows that it had.
            broken: (m,) bool those of them that it broke.
        """
        blind_to_scores = self._labels_alone and stage.searcher.needs > Needs.LABELS
        if blind_to_scores or not searches(stage.searcher, self._threat, self._features):
            return
        self._searched[rows] = True
        if stage.searcher.needs < Needs.GRADIENT:
            self._broken_again += int((broken & (self._blind[rows] > 0)).sum())
            self._blind[rows] += 1

    def count(self, evaluator: Evaluator, left: Tensor, stages: tuple[Stage, ...]) -> None:
        """Count for the health checks what the rows left (n,) bool were looked at by; what they lack is noted."""
        if self._threat.radius == 0:  # there is nothing to look at
            return
        health, unsearched = evaluator.health, int((left & ~self._searched).sum())
        health.survivors += int(left.sum())
        health.unsearched += unsearched
        health.carried += int((left & (self._blind > 1)).sum())
        health.broken_again += self._broken_again
        if unsearched:
            gives = evaluator.model.gives
            note = _NO_SCORES if self._labels_alone else lacking(self._threat, gives, stages, self._features)
            if note not in evaluator.notes:
                evaluator.notes.append(note)


def lacking(threat: Threat, gives: Needs, stages: tuple[Stage, ...], features: int) -> str:
    """What it would take to search a threat with what a model gives, where the stages that ran do not count.

    Args:
        threat: what was to be searched.
        gives: what the model gives.
        stages: what ran.
        features: elements of a sample.
    """
    ran, needed = [], []
    for stage in stages:
        least, name = enough_queries(stage.searcher, threat, features), stage.searcher.name
        ran.append(f"{name} with {passes(stage.searcher):,} passes of a sample")
        if least is not None and passes(stage.searcher) >= least:
            needed.append(f"{name} on all samples")
        elif least is not None:
            needed.append(f"{name} with {least:,} or more")
    more = {Needs.LABELS: "scores (scores_model) or gradients", Needs.SCORES: "gradients"}.get(gives)
    other = "an attack that can search it (docs/attacks.md has a table)" + (f", or {more} of the model" if more else "")
    asked = " or ".join(dict.fromkeys(needed)) or other
    return (
        f"weak_search: {threat} of {features:,} features, with a model that gives {gives.name.lower()}, takes {asked}; "
        f"what ran: {', '.join(dict.fromkeys(ran))}"
    )


def widened(stages: tuple[Stage, ...], threat: Threat) -> tuple[Stage, ...]:
    """The stages for a model whose gradients mislead: those without gradients get every sample, and more queries."""
    return tuple(stage if stage.searcher.needs is Needs.GRADIENT else _wide(stage, threat) for stage in stages)


def _wide(stage: Stage, threat: Threat) -> Stage:
    searcher: Any = stage.searcher
    if supports(searcher, threat) and passes(searcher) < _WIDE and hasattr(searcher, "queries"):
        rounds = -(-_WIDE // max(1, at_once(searcher)))
        searcher = replace(searcher, queries=rounds * max(1, at_once(searcher)))
    return replace(stage, searcher=searcher, smallest=1.0, earned=False, near=None)
