"""Cascades: attacks in a row, each on what the last one left."""

from __future__ import annotations

from dataclasses import dataclass, replace

from robustest.attacks.protocol import Searcher, draws_of, passes, supports
from robustest.models.needs import Needs
from robustest.tasks import CLASSIFICATION, Task
from robustest.threats import Threat


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One searcher, and who gets it.

    Args:
        searcher: the attack.
        rounds: times it is repeated on what is left, each time with fresh randomness.
        together: the rounds are run at once, on the same samples: faster where those are few, and no round spares
            another what it breaks.
        smallest: the survivors with the smallest margins get it, as many as this share of the samples attacked;
            in (0, 1]. Where it breaks enough of them, the next ones get it too, and so on: a stage that fits the model
            is worth its price, one that does not costs this share of it.
        go_on: the share of those that it has to break to get the next ones; more where a sample is expensive.
        only: for models that give exactly this; None for all that give what the searcher needs.
        on: kinds of threat it is for; None for all that the searcher supports.
        features: for samples of at most so many elements; None for all.
        earned: only where anything after the cascade's first round broke a sample of the chunk: where the first round
            found all that later ones did, more of them is not worth its passes.
        near: only where the last stage before it with a searcher of that name left a sample of the chunk with a margin
            of at most so many times the smallest that any stage had found of it: where it stayed farther off
            everywhere, more of the same is not worth its passes. None for no such condition.
    """

    searcher: Searcher
    rounds: int = 1
    together: bool = False
    smallest: float = 1.0
    go_on: float = 0.25
    only: Needs | None = None
    on: tuple[type, ...] | None = None
    features: int | None = None
    earned: bool = False
    near: float | None = None

    def serves(self, threat: Threat, gives: Needs, elements: int, task: Task = CLASSIFICATION) -> bool:
        """Whether it works on a threat, with what a model of a task gives, for samples of so many elements."""
        asked = self.searcher.needs <= gives and self.only in (None, gives)
        asked = asked and (self.features is None or elements <= self.features)
        return asked and (self.on is None or isinstance(threat, self.on)) and supports(self.searcher, threat, task)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """Stages in order.

    Args:
        name: what reports call it.
        stages: cheap ones first.
        audit: stages that a random few of the samples that held get before a claim passes (`robustest.run.audit`);
            none where the stages are strong enough to stand alone.
    """

    name: str
    stages: tuple[Stage, ...]
    audit: tuple[Stage, ...] = ()

    def serving(self, threat: Threat, gives: Needs, elements: int, task: Task = CLASSIFICATION) -> tuple[Stage, ...]:
        """The stages that work on a threat, with what a model of a task gives, for samples of so many elements."""
        return tuple(stage for stage in self.stages if stage.serves(threat, gives, elements, task))


def affordable(stages: tuple[Stage, ...], queries: int) -> tuple[Stage, ...]:
    """What of some stages fits into a budget, earlier ones first.

    A stage that is too expensive is repeated less often or, where not even once fits, shortened if its searcher has a
    method `within(queries: int) -> Searcher`, and left out if not. A round costs a query more than its searcher asks:
    what it found is judged by another.

    Args:
        stages: what would be run.
        queries: model passes per sample, for all of them.
    """
    kept: list[Stage] = []
    for stage in stages:
        searcher, rounds = stage.searcher, min(stage.rounds, queries // _price(stage.searcher))
        shorten = getattr(searcher, "within", None)
        if rounds == 0 and shorten is not None and queries >= 2:
            searcher, rounds = shorten(queries - 1), 1
        if rounds > 0 and rounds * _price(searcher) <= queries:
            kept.append(replace(stage, searcher=searcher, rounds=rounds))
            queries -= rounds * _price(searcher)
    return tuple(kept)


def _price(searcher: Searcher) -> int:
    """Most passes of one sample in a round: the searcher's own, and the judge's."""
    return passes(searcher) + draws_of(searcher)
