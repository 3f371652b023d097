"""What the samples that a cascade did not break were looked at by: what a claim that they are safe rests on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from robustest.attacks import Needs, Stage, at_once, enough_queries, passes, searches
from robustest.engine.evaluator import Evaluator
from robustest.threats import Threat

_NO_SCORES = (
    "weak_search: the model's scores say no more than its labels, so that no search that follows scores or gradients "
    "counts. Give the scores before they become labels, or measure labels_model(...) with hop-skip-jump"
)


class Coverage:
    """Which rows were searched, and which of them without gradients, by stages that count as a search of the threat.

    Where the model's scores say no more than labels (`labels_alone`), only what works on labels counts.
    """

    def __init__(self, rows: int, threat: Threat, device: torch.device, *, labels_alone: bool = False) -> None:
        self._threat, self._labels_alone = threat, labels_alone
        self._searched = torch.zeros(rows, dtype=torch.bool, device=device)
        self._blind = torch.zeros(rows, dtype=torch.int64, device=device)
        self._broken_again = 0

    def add(self, stage: Stage, rows: Tensor, broken: Tensor) -> None:
        """Take note of a round.

        Args:
            stage: what was run.
            rows: (m,) int64 the rows that it had.
            broken: (m,) bool those of them that it broke.
        """
        blind_to_scores = self._labels_alone and stage.searcher.needs > Needs.LABELS
        if blind_to_scores or not searches(stage.searcher, self._threat):
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
            note = _NO_SCORES if self._labels_alone else lacking(self._threat, evaluator.model.gives, stages)
            if note not in evaluator.notes:
                evaluator.notes.append(note)


def lacking(threat: Threat, gives: Needs, stages: tuple[Stage, ...]) -> str:
    """What it would take to search a threat with what a model gives, where the stages that ran do not count."""
    ran, needed = [], []
    for stage in stages:
        least, name = enough_queries(stage.searcher, threat), stage.searcher.name
        ran.append(f"{name} with {passes(stage.searcher):,} passes of a sample")
        if least is not None and passes(stage.searcher) >= least:
            needed.append(f"{name} on all samples")
        elif least is not None:
            needed.append(f"{name} with {least:,} or more")
    asked = " or ".join(dict.fromkeys(needed)) or "an attack that can search it (docs/attacks.md has a table)"
    return (
        f"weak_search: {threat}, with a model that gives {gives.name.lower()}, takes {asked}; what ran: "
        f"{', '.join(dict.fromkeys(ran))}"
    )


def widened(stages: tuple[Stage, ...], threat: Threat) -> tuple[Stage, ...]:
    """The stages for a model whose gradients mislead: those without gradients get every sample, and enough queries."""
    return tuple(stage if stage.searcher.needs is Needs.GRADIENT else _wide(stage, threat) for stage in stages)


def _wide(stage: Stage, threat: Threat) -> Stage:
    searcher: Any = stage.searcher
    least = enough_queries(searcher, threat)
    if least is not None and passes(searcher) < least and hasattr(searcher, "queries"):
        rounds = -(-least // max(1, at_once(searcher)))
        searcher = replace(searcher, queries=rounds * max(1, at_once(searcher)))
    return replace(stage, searcher=searcher, smallest=1.0, earned=False)
