"""Whether scores say more than labels do: else a search by scores has nothing to go by.

A one-hot prediction, a single tree with pure leaves, or a score that hides its size is the same all over a class, and
changes at once at its edge. What follows scores draws at random there, however many queries it has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import (
    Cascade,
    Needs,
    Stage,
    at_once,
    draws_of,
    enough_queries,
    passes,
    searches,
    suits,
    supports,
)
from robustest.attacks.protocol import affordable
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import count_unreached, on_scale, probe_gradient
from robustest.engine.search import Search, SearchOutcome, merge
from robustest.errors import ConfigError
from robustest.tasks import Task
from robustest.threats import Threat

_ALIKE = 0.25
"""Margins whose spread in a class is below this share of their mean are looked into; sound models' differ by more."""
_FEW = 3
"""Fewer margins of a class have no spread that says anything."""
_ROWS = 8
_PARTS = 8
"""Of a way from one class to another, and again of the part where most changes."""
_WITHIN = 0.1
"""Least share of all change on a way that lies where the class stays, if scores say more than labels."""
PASSES = 2 * (2 * _PARTS + 2) + 2
"""Most passes of one sample."""
_AFFORDED = 20
"""Budgets of fewer times as many passes are not spent on this."""


def suspected(evaluator: Evaluator, clean_margin: Tensor, y: Tensor) -> bool:
    """Whether the scores of unchanged samples have to be looked into: their margins are much alike in each class.

    Args:
        evaluator: knows what the model gives.
        clean_margin: (n,) margins of samples that are classified rightly.
        y: (n,) int64 their classes. Scores may be a number of their own for each class, and say no more than it.
    """
    if not evaluator.task.one_class:
        return evaluator.model.gives is Needs.SCORES
    if (
        evaluator.model.gives is Needs.LABELS or evaluator.random or not len(clean_margin)
    ):  # no score, or one that moves by itself
        return False
    limit = evaluator.model.max_queries
    if limit is not None and limit < _AFFORDED * PASSES:  # so few that no search of scores counts in any case
        return False
    count = y.bincount()
    free = len(y) - int((count > 0).sum())  # what is left to vary once each class has its own mean
    if free < _FEW - 1:
        return True
    margin = clean_margin.double()
    mean = margin.new_zeros(len(count)).index_add_(0, y, margin) / count.clamp(min=1)
    spread = ((margin - mean[y]).square().sum() / free).sqrt()
    return bool(spread <= _ALIKE * margin.mean().abs())


def labels_alone(evaluator: Evaluator, chunk: Chunk) -> bool:
    """Whether the scores of a chunk's first samples change, on ways to other classes, only where the class does.

    Ways lead to the next samples, and to mirrored ones. Scores that stay within classes on more than half of the ways
    that change the class say no more than labels; ways on which no class changes say nothing.

    Args:
        evaluator: makes the model's passes.
        chunk: the samples.
    """
    x = chunk.x[:_ROWS]
    if not evaluator.task.one_class:  # two numbers in all that it ever says
        return all(len(output.unique()) <= 2 for output in evaluator.logits(x))
    mirrored = x.amin() + x.amax() - x
    near, far = torch.cat([x, x]), torch.cat([x.roll(1, 0), mirrored])
    ends = evaluator.task.predictions(evaluator.logits(torch.cat([x, mirrored])))
    here, there = ends[: len(x)], ends[len(x) :]
    apart = torch.cat([here != here.roll(1, 0), here != there])
    near, far = near[apart], far[apart]
    ways = len(near)
    for _ in range(2):
        if 2 * len(near) <= ways:
            return False
        within, near, far = _steepest(evaluator, near, far)
        near, far = near[within <= _WITHIN], far[within <= _WITHIN]
    return 2 * len(near) > ways


def _steepest(evaluator: Evaluator, near: Tensor, far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of ways near -> far (n, *S): the share of change where the class stays (n,), and the steepest part's ends."""
    points = torch.stack([near + part / _PARTS * (far - near) for part in range(_PARTS + 1)])
    scores = torch.stack([evaluator.logits(place) for place in points])
    stays = evaluator.task.predictions(scores).diff(dim=0) == 0
    changes = on_scale(scores.flatten(0, 1)).view_as(scores).double().diff(dim=0).abs().amax(2)
    at, rows = changes.argmax(0), torch.arange(len(near), device=near.device)
    within = (changes * stays).sum(0) / changes.sum(0).clamp(min=1e-30)
    return within, points[at, rows], points[at + 1, rows]


# What the samples that a cascade did not break were looked at by: what a claim that they are safe rests on.


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
        health.count("weak_search", failed=unsearched, tried=int(left.sum()))
        health.searched_twice += int((left & (self._blind > 1)).sum())
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


# A cascade on one chunk: each stage on the survivors, the budget where the margin is small.


_AROUND = 5
"""Passes that a sample gets outside its attacks: a clean one, two that must agree, two that probe the input."""


@dataclass(slots=True)
class CascadeOutcome:
    """What a cascade did to a chunk.

    Attributes:
        found: rows as in the samples given.
        stages: how many samples each stage broke, by "name" or "name #round".
    """

    found: SearchOutcome
    stages: dict[str, int] = field(default_factory=dict)


def run_cascade(
    evaluator: Evaluator,
    cascade: Cascade,
    threat: Threat,
    chunk: Chunk,
    *,
    clean_margin: Tensor,
    attempts: bool = False,
) -> CascadeOutcome:
    """Attack samples the model gets right, stage by stage.

    Args:
        evaluator: makes the model's passes.
        cascade: what to try.
        threat: what is allowed.
        chunk: the samples.
        clean_margin: (N,) margins of the unchanged samples, for the check that the loss rises.
        attempts: keep the best attempt on samples that are never broken.

    Raises:
        ConfigError: no stage works on this threat with what the model gives.
    """
    suspect = threat.radius > 0 and suspected(evaluator, clean_margin, chunk.y)
    stages = serving(evaluator, cascade, threat, chunk.x[0].numel(), beside=PASSES if suspect else 0)
    bare = suspect and labels_alone(evaluator, chunk)
    if _gradients_mislead(evaluator, stages, threat, chunk):
        stages = widened(stages, threat)
    coverage, found = Coverage(chunk.x, threat, labels_alone=bare), _nothing(threat, chunk)
    outcome = CascadeOutcome(found)
    early: int | None = None  # what the first round broke
    # Of the first samples: where the search had a gradient.
    alive = torch.zeros_like(chunk.x[: evaluator.probe_rows], dtype=torch.bool)
    any_gradient = False
    ratio: dict[str, float] = {}  # by name, how near the last stage came
    for low in (True, False) if evaluator.low_precision else (False,):
        for place, stage in enumerate(stages):
            name = stage.searcher.name
            if (low and stage.searcher.needs is not Needs.GRADIENT) or (
                (stage.earned and early == int(found.broken.sum()))
                or (stage.near is not None and ratio.get(name, 0.0) > stage.near)
            ):
                continue
            ratio[name] = math.inf
            after_gradients = any(s.searcher.needs is Needs.GRADIENT for s in stages[:place])
            for number in range(1 if stage.together else stage.rounds):
                numbers = range(stage.rounds) if stage.together else (number,)
                uses = [f"{name}/{place}/{each}" for each in numbers]
                search = Search(evaluator, stage.searcher, threat, chunk.bounds, attempts=attempts)
                before = int(found.broken.sum())
                with evaluator.low(low):
                    for rows, part in _round(search, stage, chunk, uses, found, followed=len(alive)):
                        if search.alive is not None:
                            any_gradient = True
                            at = rows[rows < len(alive)].repeat_interleave(len(uses))
                            alive.index_put_((at,), search.alive, accumulate=True)
                        first = place == number == 0 and threat.radius > 0
                        _watch(evaluator, stage, part, after_gradients, clean_margin[rows] if first else None)
                        ratio[name] = min(ratio[name], _ratio(part, found.margin[rows]))
                        merge(found, part, rows, attempts=attempts)
                        coverage.add(stage, rows, part.broken)
                label = name + ("" if len(uses) == stage.rounds else f" #{number + 1}")
                outcome.stages[label] = outcome.stages.get(label, 0) + int(found.broken.sum()) - before
                early = int(found.broken.sum()) if early is None else early
    coverage.count(evaluator, ~found.broken, stages)
    rows = (~found.broken[: len(alive)]).nonzero().squeeze(1)
    if any_gradient and len(rows):
        count_unreached(evaluator, chunk.rows(rows), threat, alive[rows])
    return outcome


def _ratio(part: SearchOutcome, known: Tensor) -> float:
    """How near a round came at best: its margins over the smallest (n,) known before; 0 where it broke a sample."""
    ratio = part.margin / known.clamp(min=1e-30)
    return max(0.0, float(torch.where(part.broken, 0.0, ratio).nan_to_num(nan=1.0).amin()))


def _nothing(threat: Threat, chunk: Chunk) -> SearchOutcome:
    """What was found of a chunk before anything was tried: each sample where the threat begins."""
    x = chunk.x
    region = threat.region(x, chunk.bounds)
    origin = threat.origin(region)
    return SearchOutcome(
        broken=torch.zeros(len(x), dtype=torch.bool, device=x.device),
        x=threat.render(origin, region).clone(),
        size=threat.size(origin, region),
        predicted=chunk.y.clone(),
        margin=torch.full((len(x),), torch.inf, device=x.device),
    )


def _gradients_mislead(evaluator: Evaluator, stages: tuple[Stage, ...], threat: Threat, chunk: Chunk) -> bool:
    """Whether stages follow gradients that do not tell the truth of these samples."""
    draws = [draws_of(stage.searcher) for stage in stages if stage.searcher.needs is Needs.GRADIENT]
    if not draws or threat.radius == 0:  # nothing rests on them
        evaluator.probed = True
        return False
    return probe_gradient(evaluator, chunk, draws=max(draws))


def _round(
    search: Search, stage: Stage, chunk: Chunk, uses: list[str], found: SearchOutcome, *, followed: int
) -> Iterator[tuple[Tensor, SearchOutcome]]:
    """A round of a stage on survivors, those of smallest margin first; on to the next where it breaks many.

    With several uses of the samples' randomness several rounds, all at once. The first `followed` samples of the chunk
    are those of which the search tells where it had a gradient.
    """
    tried = found.broken.clone()
    most = len(tried) if stage.smallest >= 1 else math.ceil(stage.smallest * len(tried))
    while True:
        rows = (~tried).nonzero().squeeze(1)
        if len(rows) == 0:
            return
        rows = rows[found.margin[rows].argsort(stable=True)[:most]]
        rows = rows.sort().values
        tried[rows] = True
        each = rows.repeat_interleave(len(uses))
        keys = torch.stack([rng.fold(chunk.key[rows], use) for use in uses], 1).flatten()
        watched = int((rows < followed).sum()) * len(uses)
        part = _best_of(search.run(chunk.x[each], chunk.y[each], keys, followed=watched), len(uses))
        search.evaluator.settle()
        yield rows, part
        if float(part.broken.float().mean()) < stage.go_on:
            return


def _best_of(found: SearchOutcome, times: int) -> SearchOutcome:
    """What was found on samples of which each had so many rows: the first success, or else the smallest margin."""
    if times == 1:
        return found
    margin = found.margin.view(-1, times)
    best = torch.where(found.broken.view(-1, times), -torch.inf, margin).argmin(1)
    at = torch.arange(len(best), device=best.device) * times + best
    return SearchOutcome(found.broken[at], found.x[at], found.size[at], found.predicted[at], margin.amin(1))


def _watch(
    evaluator: Evaluator, stage: Stage, part: SearchOutcome, after_gradients: bool, clean_margin: Tensor | None
) -> None:
    """Count what the health checks need of one round."""
    health, blind = evaluator.health, stage.searcher.needs < Needs.GRADIENT
    if blind and after_gradients:
        health.count("black_box_beats_white_box", failed=int(part.broken.sum()), tried=len(part.broken))
    if not blind and clean_margin is not None:
        health.count("loss_does_not_rise", failed=int((part.margin >= clean_margin).sum()), tried=len(part.margin))


def serving(
    evaluator: Evaluator, cascade: Cascade, threat: Threat, elements: int, *, beside: int = 0
) -> tuple[Stage, ...]:
    """The stages that can be used, where `beside` passes of a sample go elsewhere; what is left out is noted.

    Raises:
        ConfigError: none is left.
    """
    gives, task = evaluator.model.gives, evaluator.task
    stages = cascade.serving(threat, gives, elements, task)
    if not stages:
        raise ConfigError(_why_no_stage(cascade, threat, gives, task))
    able = [stage for stage in cascade.stages if supports(stage.searcher, threat, task)]
    out = {stage.searcher.name for stage in able if stage.searcher.needs > gives}
    if out:
        _note(evaluator, f"the model gives {gives.name.lower()} only; {cascade.name} ran without {_names(out)}")
    if not task.one_class:
        served = cascade.serving(threat, gives, elements)
        unfit = {stage.searcher.name for stage in served if not suits(stage.searcher, task)}
        unfit -= {stage.searcher.name for stage in stages}
        if unfit:
            _note(evaluator, f"{cascade.name} ran without {_names(unfit)}: an answer is no single class")
    return _within_budget(evaluator, stages, _AROUND + beside)


def _note(evaluator: Evaluator, note: str) -> None:
    if note not in evaluator.notes:
        evaluator.notes.append(note)


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _within_budget(evaluator: Evaluator, stages: tuple[Stage, ...], around: int) -> tuple[Stage, ...]:
    limit = evaluator.model.max_queries
    if limit is None:
        return stages
    kept = affordable(stages, limit - around)
    if not kept:
        raise ConfigError(
            f"Expected max_queries to leave something for an attack but got {limit}, of which the checks around it "
            f"take {around}. Allow more queries, or choose an attack that can do with fewer."
        )
    if kept != stages:
        _note(evaluator, f"max_queries={limit} cut the attack from {_stage_list(stages)} to {_stage_list(kept)}")
    return kept


def _stage_list(stages: tuple[Stage, ...]) -> str:
    return ", ".join(f"{s.rounds} x {s.searcher.name} of {passes(s.searcher)}" for s in stages)


def _why_no_stage(cascade: Cascade, threat: Threat, gives: Needs, task: Task) -> str:
    needs = [stage.searcher.needs for stage in cascade.stages if supports(stage.searcher, threat, task)]
    if not needs:
        what = str(threat) if task.one_class else f"{task.name} under {threat}"
        return (
            f"Expected an attack that works on {what} but {cascade.name!r} does not. Choose another attack or threat."
        )
    if min(needs) <= gives:
        return (
            f"Expected an attack for samples like these but every stage of {cascade.name!r} is for others (its `on`, "
            "`only` or `features`). Choose another attack."
        )
    mend = {Needs.LABELS: "hop-skip-jump", Needs.SCORES: "square"}.get(gives, "pgd")
    return (
        f"Expected an attack that works on {threat} with a model that gives {gives.name.lower()} but {cascade.name!r} "
        f"needs {min(needs).name.lower()}. Choose another attack or threat, for example {mend!r}."
    )
