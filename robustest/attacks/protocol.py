"""The ask/tell interface of attacks, cascades of attacks, and arithmetic that several attacks share."""

# An attack never sees the model. For a set of samples the engine calls
#
#     state = searcher.init(problem, key)
#     for _ in range(searcher.steps):
#         z = project(searcher.ask(problem, state))                   # where to evaluate the model
#         evaluation = (z, logits, gradient of searcher.objective)    # by the engine
#         state = searcher.tell(problem, state, evaluation)
#     last proposal = searcher.ask(problem, state)                    # evaluated without a gradient
#
# The engine projects every proposal into the threat's region before it evaluates it (with `confined = False` it only
# clips to the bounds: minimum-norm attacks walk outside), and it alone decides that a sample is broken. All tensors of
# problem and state lead with the batch axis, so the engine may drop rows, add fresh ones and split batches: rows of one
# batch can be at different rounds, and nothing may depend on a row's neighbours.

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from robustest.models.classifier import Needs as Needs
from robustest.tasks import CLASSIFICATION, Task, top_of
from robustest.threats import L0, Bounds, Patch, Rows, Threat, is_discrete


@dataclass(frozen=True, slots=True)
class Problem:
    """Samples under attack.

    Attributes:
        region: the threat's rows for these samples; `region["x"]` is the samples (B, *S).
        y: (B,) int64 labels, or the task's targets.
        classes: number of classes K.
        bounds: range of an input element.
    """

    threat: Threat
    region: Rows
    y: Tensor
    classes: int
    bounds: Bounds
    task: Task = CLASSIFICATION

    @property
    def x(self) -> Tensor:
        return self.region["x"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The model's outputs at the last proposals.

    Attributes:
        z: (B, *Z) the proposals as evaluated; (B, at_once, *Z) where the searcher makes several at once.
        logits: (B, K) float32, or outputs (B, *O) of another task, or one-hot rows where the model gives labels alone;
            with an axis for `at_once` as z has.
        gradient: (B, *Z) of the sum of `objective` with respect to z; None for proposals without gradient.
    """

    z: Tensor
    logits: Tensor
    gradient: Tensor | None


@runtime_checkable
class Searcher(Protocol):
    """An attack: a frozen dataclass of its settings, and these pure functions.

    Optional attributes:
        confined: False where proposals may leave the region while searching, or a method with this answer for a threat.
        draws: model evaluations averaged at each proposal, for randomised models; 1 where absent.
        at_once: proposals of a sample in every round, for attacks without gradients. If present, even as 1, the tensors
            of `ask` and `tell` have an axis of that length behind the batch's.

    Optional methods:
        supports(threat) -> bool, suits(task) -> bool: True where absent. within(queries) -> Searcher: a shorter version
        with at most this many passes of a sample, the last proposal's
            included. Without it, an attack too expensive for a budget of queries is left out.
        enough_queries(threat, features) -> int | None: see the function of that name.
        rounds(problem) -> Tensor: (B,) the steps that each sample takes, at most `steps`; all of them where absent.
        decides(problem) -> Tensor: (B,) bool: samples of which it evaluates every input that the threat allows.
    """

    @property
    def name(self) -> str:
        """The registry's name, e.g. "pgd"."""

    @property
    def needs(self) -> Needs:
        """The outputs that the model must give."""

    @property
    def steps(self) -> int:
        """Rounds of ask and tell per sample; known beforehand, so that the host need not wait for a device."""

    def init(self, problem: Problem, key: Tensor) -> Rows:
        """Return the first state; `key` (B,) int64 seeds each sample's randomness."""

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        """Return the next proposals, (B, *Z) or (B, at_once, *Z); never change the state's tensors in place."""

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        """Return (B,) the value to climb, or (B, *T) terms of it: the engine differentiates the sum.

        Unused unless `needs` is GRADIENT.
        """

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        """Return the state after an evaluation."""


class AtPoint:
    """Attacks that evaluate the state's "z"."""

    __slots__ = ()

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["z"]


class Climbing(AtPoint):
    """Attacks that evaluate the state's "z" and differentiate a loss there, `climbs` by name."""

    __slots__ = ()

    climbs: ClassVar[str] = "margin"

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        losses = problem.task.losses
        return losses.get(f"{self.climbs}_terms", losses[self.climbs])(logits, problem.y)


def cosine(first: float, last: float, step: Tensor, steps: int) -> Tensor:
    """Return (B,) float32 from `first` at step 0 to `last` at step `steps`, along half a cosine."""
    return last + (first - last) * 0.5 * (1 + torch.cos(math.pi / steps * step.float()))


# Properties of a searcher: supported threats and tasks, and the cost and use of its search


def supports(searcher: Searcher, threat: Threat, task: Task = CLASSIFICATION) -> bool:
    """Return True if a searcher works on a threat, and on answers of a task."""
    check, fits = getattr(searcher, "supports", None), getattr(searcher, "suits", None)
    return (fits is None or bool(fits(task))) and (check is None or bool(check(threat)))


def suits(searcher: Searcher, task: Task) -> bool:
    """Return True if a searcher works on a task's answers."""
    fits = getattr(searcher, "suits", None)
    return fits is None or bool(fits(task))


def at_once(searcher: Searcher) -> int:
    """Return a searcher's proposals per sample and round; 0 for one proposal without an axis."""
    return int(getattr(searcher, "at_once", 0))


def confined(searcher: Searcher, threat: Threat) -> bool:
    """Return True if a searcher's proposals stay inside a threat's region while it searches."""
    value = getattr(searcher, "confined", True)
    return bool(value(threat)) if callable(value) else bool(value)


def draws_of(searcher: Searcher) -> int:
    """Return the model passes averaged at each proposal."""
    return int(getattr(searcher, "draws", 1))


def passes(searcher: Searcher) -> int:
    """Return the model passes forward of one unbroken sample, those of its last proposals included."""
    return (searcher.steps + 1) * max(1, at_once(searcher)) * draws_of(searcher)


def enough_queries(searcher: Searcher, threat: Threat, features: int) -> int | None:
    """Return the fewest model passes of a sample with which a searcher counts as a search of a threat.

    None where no number is enough: the searcher does not work on the threat, or finding nothing means next to nothing
    (random draws; steps that cannot reach most of the region; labels alone of many features). 1 for a searcher without
    this method.

    Args:
        features: elements of a sample: a search without gradients must query each of them.
    """
    check = getattr(searcher, "supports", None)
    if check is not None and not check(threat):
        return None
    least = getattr(searcher, "enough_queries", None)
    return 1 if least is None else least(threat, features)


def enough_steps(threat: Threat) -> int | None:
    """Return 1, or None where pixels, places or values must be chosen: steps along a gradient hardly move those."""
    choosing = (
        isinstance(threat, L0)
        or is_discrete(threat)
        or (isinstance(threat, Patch) and None in (threat.top, threat.left))
    )
    return None if choosing else 1


def searches(searcher: Searcher, threat: Threat, features: int) -> bool:
    """Return True if a searcher, with its budget, counts as a search of a threat for samples of `features`
    elements.
    """
    least = enough_queries(searcher, threat, features)
    return least is not None and passes(searcher) >= least


def decides(searcher: Searcher, problem: Problem) -> Tensor:
    """Return (B,) bool: samples that a searcher decides, since it evaluates every input that the threat allows."""
    check = getattr(searcher, "decides", None)
    none = torch.zeros(len(problem.y), dtype=torch.bool, device=problem.y.device)
    return none if check is None else none | check(problem)


# Cascades: attacks in a row, each on the survivors of the ones before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One searcher, and the samples that get it.

    Args:
        rounds: repetitions on the survivors, each with fresh randomness.
        together: run the rounds at once, on the same samples, which is faster where those are few.
        smallest: share of the samples that get it, those with the smallest margins; in (0, 1]. Where it breaks enough
            of them, the next ones get it too, and so on.
        go_on: the share that it has to break for that.
        only: for models that give exactly this; None for all that give enough.
        on: kinds of threat; None for all that the searcher supports.
        features: most elements of a sample; None for any number.
        earned: only where anything after the cascade's first round broke a sample of the chunk.
        paid: only where the stage before it broke a sample of the chunk.
        of_classes: only for tasks whose answers are classes.
        near: only where the last stage with this searcher's name left a sample with a margin of at most `near` times
            the smallest found before it.
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
    paid: bool = False
    of_classes: bool = False
    near: float | None = None

    def serves(self, threat: Threat, gives: Needs, elements: int, task: Task = CLASSIFICATION) -> bool:
        """Return True if it works on a threat, with a model of a task that gives `gives`, for samples of
        `elements`.
        """
        able = self.searcher.needs <= gives and self.only in (None, gives)
        able = able and (self.features is None or elements <= self.features)
        able = able and (not self.of_classes or top_of(task) > 0)
        return able and (self.on is None or isinstance(threat, self.on)) and supports(self.searcher, threat, task)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """Stages in order.

    Args:
        stages: cheap ones first.
        otherwise: stages for threats that `stages` have none for.
        audit: stages on a random few of the samples that held, before a claim passes (`robustest.run.driver`); none
            where the stages are strong enough to stand alone.
        audit_of_many: cheaper stages, on more samples where the audit broke none and the claim has little room; where
            none serves, no more samples are audited.
    """

    name: str
    stages: tuple[Stage, ...]
    audit: tuple[Stage, ...] = ()
    audit_of_many: tuple[Stage, ...] = ()
    otherwise: tuple[Stage, ...] = ()

    def serving(self, threat: Threat, gives: Needs, elements: int, task: Task = CLASSIFICATION) -> tuple[Stage, ...]:
        def those(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
            return tuple(stage for stage in stages if stage.serves(threat, gives, elements, task))

        return those(self.stages) or those(self.otherwise)


def affordable(stages: tuple[Stage, ...], queries: int) -> tuple[Stage, ...]:
    """Return the stages, earlier ones first, that fit into a budget of `queries` model passes per sample.

    A stage that is too expensive is repeated less often, or shortened by its searcher's `within`, or left out.
    """

    def price(searcher: Searcher) -> int:
        # The judge's query comes on top of the searcher's.
        return passes(searcher) + draws_of(searcher)

    kept: list[Stage] = []
    for stage in stages:
        searcher, rounds = stage.searcher, min(stage.rounds, queries // price(stage.searcher))
        shorten = getattr(searcher, "within", None)
        if rounds == 0 and shorten is not None and queries >= 2:
            searcher, rounds = shorten(queries - 1), 1
        if rounds > 0 and rounds * price(searcher) <= queries:
            kept.append(replace(stage, searcher=searcher, rounds=rounds))
            queries -= rounds * price(searcher)
    return tuple(kept)
