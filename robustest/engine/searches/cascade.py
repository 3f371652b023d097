"""A cascade on one chunk: each stage on the survivors, the budget where the margin is small."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import Cascade, Needs, Stage, draws_of, passes, suits, supports
from robustest.attacks.cascade import affordable
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.health_checks.coverage import Coverage, widened
from robustest.engine.health_checks.levels import PASSES, labels_alone, suspected
from robustest.engine.health_checks.truth import probe_gradient
from robustest.engine.health_checks.unreached import count_unreached
from robustest.engine.searches.search import Found, Search
from robustest.errors import ConfigError
from robustest.tasks import Task
from robustest.threats import Threat

_AROUND = 5
"""Passes that a sample gets outside its attacks: a clean one, two that must agree, two that probe the input."""


@dataclass(slots=True)
class Outcome:
    """What a cascade did to a chunk.

    Attributes:
        found: rows as in the samples given.
        stages: how many samples each stage broke, by "name" or "name #round".
    """

    found: Found
    stages: dict[str, int] = field(default_factory=dict)


def run_cascade(
    evaluator: Evaluator,
    cascade: Cascade,
    threat: Threat,
    chunk: Chunk,
    *,
    clean_margin: Tensor,
    attempts: bool = False,
) -> Outcome:
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
    outcome = Outcome(found)
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


def _ratio(part: Found, known: Tensor) -> float:
    """How near a round came at best: its margins over the smallest (n,) known before; 0 where it broke a sample."""
    ratio = part.margin / known.clamp(min=1e-30)
    return max(0.0, float(torch.where(part.broken, 0.0, ratio).nan_to_num(nan=1.0).amin()))


def _nothing(threat: Threat, chunk: Chunk) -> Found:
    """What was found of a chunk before anything was tried: each sample where the threat begins."""
    x = chunk.x
    region = threat.region(x, chunk.bounds)
    origin = threat.origin(region)
    return Found(
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
    search: Search, stage: Stage, chunk: Chunk, uses: list[str], found: Found, *, followed: int
) -> Iterator[tuple[Tensor, Found]]:
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


def _best_of(found: Found, times: int) -> Found:
    """What was found on samples of which each had so many rows: the first success, or else the smallest margin."""
    if times == 1:
        return found
    margin = found.margin.view(-1, times)
    best = torch.where(found.broken.view(-1, times), -torch.inf, margin).argmin(1)
    at = torch.arange(len(best), device=best.device) * times + best
    return Found(found.broken[at], found.x[at], found.size[at], found.predicted[at], margin.amin(1))


def _watch(evaluator: Evaluator, stage: Stage, part: Found, after_gradients: bool, clean_margin: Tensor | None) -> None:
    """Count what the health checks need of one round."""
    health, blind = evaluator.health, stage.searcher.needs < Needs.GRADIENT
    if blind and after_gradients:
        health.asked += len(part.broken)
        health.broken_blind += int(part.broken.sum())
    if not blind and clean_margin is not None:
        health.climbed_first += len(part.margin)
        health.flat += int((part.margin >= clean_margin).sum())


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


def merge(found: Found, part: Found, rows: Tensor, *, attempts: bool) -> None:
    """Take over what a later search found on some rows."""
    better = part.broken | ((part.margin < found.margin[rows]) if attempts else False)
    at = rows[better]
    found.x[at], found.size[at], found.predicted[at] = part.x[better], part.size[better], part.predicted[better]
    found.broken[rows] |= part.broken
    found.margin[rows] = torch.minimum(found.margin[rows], part.margin)
