"""What an attack is: an ask/tell searcher over per-sample state. It never sees the model.

The engine calls `init` once for a set of samples, then `steps` rounds of `ask` (where shall the model
be evaluated?) and `tell` (this is what it said there), then `ask` once more and evaluates that last
proposal without a gradient. It projects every proposal into the threat's region before it evaluates
it (a searcher with `confined = False` is only clipped to the bounds while it searches: minimum-norm attacks
walk outside), and alone decides what is broken. All tensors of problem and state lead with the batch axis, so the
engine may drop rows, add fresh ones and split batches as it likes: rows of one batch can be at
different rounds, and nothing may depend on a row's neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from robustest.models.classifier import Needs as Needs
from robustest.tasks import CLASSIFICATION, Task
from robustest.threats import L0, Bounds, Patch, Rows, Threat


@dataclass(frozen=True, slots=True)
class Problem:
    """What is attacked.

    Attributes:
        threat: the threat model.
        region: the threat's rows for these samples; `region["x"]` is the samples (B, *S).
        y: (B,) int64 labels; the task's targets.
        classes: number of classes K.
        bounds: smallest and largest value of an input element.
        task: what the model's answers are, when they are right, and the losses there are to climb.
    """

    threat: Threat
    region: Rows
    y: Tensor
    classes: int
    bounds: Bounds
    task: Task = CLASSIFICATION

    @property
    def x(self) -> Tensor:
        """(B, *S) the unchanged samples."""
        return self.region["x"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the model said of the last proposals.

    Attributes:
        z: (B, *Z) the proposals as the engine evaluated them, inside the region; (B, at_once, *Z) where the searcher
            makes several at once.
        logits: (B, K) float32, or outputs (B, *O) of another task, or one-hot rows where the model gives labels alone;
            (B, at_once, *O) likewise.
        gradient: (B, *Z) of the sum of `objective` with respect to z; None where not asked for.
    """

    z: Tensor
    logits: Tensor
    gradient: Tensor | None


@runtime_checkable
class Searcher(Protocol):
    """An attack: a frozen dataclass of its settings, and these pure functions.

    Three more attributes are optional: `confined` (False where proposals may leave the region while searching, or a
    method that says of a threat whether they stay inside; True), `draws` (model evaluations averaged at each proposal,
    for randomised models; 1) and, for attacks without gradients, `at_once` (proposals a sample makes in every round;
    where it is there, even as 1, what `ask` returns and `tell` gets has an axis of that length behind the batch's). So
    are four methods: `supports(threat) -> bool` and `suits(task) -> bool` (True where absent), `within(queries) ->
    Searcher`, a shorter version of itself that asks at most so many model passes per sample, its last proposal's
    included (without it, an attack too expensive for a budget of queries is left out), and `enough_queries(threat,
    features) -> int | None`, the fewest model passes of a sample of so many elements with which it counts as a search
    of the threat, None where it never does (1 where absent).
    """

    @property
    def name(self) -> str:
        """The registry's name, e.g. "pgd"."""

    @property
    def needs(self) -> Needs:
        """What it must be told of the model."""

    @property
    def steps(self) -> int:
        """Rounds of ask and tell a sample gets; known beforehand, so that no device has to be asked."""

    def init(self, problem: Problem, key: Tensor) -> Rows:
        """The state to begin with; `key` (B,) int64 seeds each sample's randomness."""

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        """(B, *Z) where the model shall be evaluated next; never changes the state's tensors in place.

        (B, at_once, *Z) where several are made at once.
        """

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        """(B,) the value to climb; the engine differentiates it. Unused unless `needs` is GRADIENT."""

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        """The state after hearing what the model said."""


def supports(searcher: Searcher, threat: Threat, task: Task = CLASSIFICATION) -> bool:
    """Whether a searcher works on a threat, and on answers of a task."""
    check = getattr(searcher, "supports", None)
    return suits(searcher, task) and (True if check is None else bool(check(threat)))


def suits(searcher: Searcher, task: Task) -> bool:
    """Whether a searcher works on answers of a task: one that aims at classes, or climbs a loss of theirs, does not."""
    check = getattr(searcher, "suits", None)
    return True if check is None else bool(check(task))


def at_once(searcher: Searcher) -> int:
    """Proposals that a sample makes in every round; 0 where a searcher makes one, without an axis for it."""
    return int(getattr(searcher, "at_once", 0))


def confined(searcher: Searcher, threat: Threat) -> bool:
    """Whether a searcher's proposals stay inside a threat's region while it searches."""
    value = getattr(searcher, "confined", True)
    return bool(value(threat)) if callable(value) else bool(value)


def draws_of(searcher: Searcher) -> int:
    """Model passes averaged at each of a searcher's proposals; 1 for those that do not say."""
    return int(getattr(searcher, "draws", 1))


def passes(searcher: Searcher) -> int:
    """Model passes forward of one sample that is not broken: those of its steps and of its last proposals."""
    return (searcher.steps + 1) * max(1, at_once(searcher)) * draws_of(searcher)


def enough_queries(searcher: Searcher, threat: Threat, features: int) -> int | None:
    """Fewest model passes forward of a sample with which a searcher counts as a search of a threat.

    None where it never does, however long it runs: where it does not work on the threat, and where finding nothing
    says next to nothing (random draws; steps that cannot reach most of the region; labels alone of many features).

    Args:
        searcher: the attack.
        threat: what it searches.
        features: elements of a sample: what knows no gradient has to ask about each of them.
    """
    check = getattr(searcher, "supports", None)
    if check is not None and not check(threat):
        return None
    least = getattr(searcher, "enough_queries", None)
    return 1 if least is None else least(threat, features)


def searches(searcher: Searcher, threat: Threat, features: int) -> bool:
    """Whether a searcher, with its budget, counts as a search of a threat for samples of so many elements."""
    least = enough_queries(searcher, threat, features)
    return least is not None and passes(searcher) >= least


# Attacks that climb a loss from where they stand.


class Climbing:
    """What such attacks share: the point that is asked about is the state's "z", and a loss there is differentiated.

    Attributes:
        climbs: the name of the loss, one of the task's.
    """

    __slots__ = ()

    climbs: ClassVar[str] = "margin"

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["z"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        return problem.task.losses[self.climbs](logits, problem.y)


# Cascades: attacks in a row, each on what the last one left.


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


def cosine(first: float, last: float, step: Tensor, steps: int) -> Tensor:
    """(B,) float32 from `first` at step 0 to `last` at step `steps`, along half a cosine."""
    return last + (first - last) * 0.5 * (1 + torch.cos(math.pi / steps * step.float()))


def enough_steps(threat: Threat) -> int | None:
    """Fewest steps along the gradient of a sample that count as a search of a threat.

    Any number, but never where pixels or a place must be chosen: gradients of this kind hardly move those.
    """
    choosing = isinstance(threat, L0) or (isinstance(threat, Patch) and None in (threat.top, threat.left))
    return None if choosing else 1
