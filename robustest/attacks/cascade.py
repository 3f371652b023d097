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
            in (0, 1]. Where it breaks a quarter of them or more, the next ones get it too, and so on: a stage that
            fits the model is worth its price, one that does not costs this share of it.
        only: for models that give exactly this; None for all that give what the searcher needs.
    """

    searcher: Searcher
    rounds: int = 1
    smallest: float = 1.0
    only: Needs | None = None

    def serves(self, threat: Threat, gives: Needs) -> bool:
        """Whether it works on a threat with what a model gives."""
        asked = self.searcher.needs <= gives and self.only in (None, gives)
        return asked and supports(self.searcher, threat)


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
        return tuple(stage for stage in self.stages if stage.serves(threat, gives))
