"""Cascades: attacks in a row, each on what the last one left."""

from __future__ import annotations

from dataclasses import dataclass

from robustest.attacks.protocol import Searcher, supports
from robustest.models.needs import Needs
from robustest.threats import Threat


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One searcher, and who gets it.

    Args:
        searcher: the attack.
        rounds: times it is repeated on what is left, each time with fresh randomness.
        smallest: the survivors with the smallest margins get it, as many as this share of the samples attacked;
            in (0, 1]. So a stage costs at most this share of its budget, and where few survive, all get it.
    """

    searcher: Searcher
    rounds: int = 1
    smallest: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """Stages in order.

    Args:
        name: what reports call it.
        stages: cheap ones first.
    """

    name: str
    stages: tuple[Stage, ...]

    def serving(self, threat: Threat, gives: Needs) -> tuple[Stage, ...]:
        """The stages that work on a threat with what a model gives."""
        return tuple(s for s in self.stages if s.searcher.needs <= gives and supports(s.searcher, threat))
