"""The stages of a cascade that serve a claim: its threat, the model's outputs, and its budget of queries."""

# - `serving` takes the stages that work on the threat, with the outputs that the model gives, and within its budget of
#   queries. What is left out, or shortened, is noted; where nothing is left, a `ConfigError` says what would serve.
# - `widened` gives the stages without gradients every survivor and more queries, where gradients mislead.

from __future__ import annotations

from dataclasses import replace
from typing import Any

from robustest.attacks import Cascade, Needs, Stage, at_once, passes, suits, supports
from robustest.attacks.coherent import CoherentMoves
from robustest.attacks.protocol import affordable
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError
from robustest.tasks import Task
from robustest.threats import Threat

# Passes of a sample outside its attacks: a clean one, two that must agree, two that probe the input.
_AROUND = 5
# Queries of each stage without gradients where gradients mislead: they break samples that break easily. To show that
# survivors are robust may take more (`enough_queries`), which a claim has to ask for.
_WIDE = 1000


def serving(
    evaluator: Evaluator, cascade: Cascade, threat: Threat, elements: int, *, beside: int = 0
) -> tuple[Stage, ...]:
    """Return the stages that can be used, and note the others.

    Args:
        elements: of a sample.
        beside: passes of a sample outside the stages.

    Raises:
        ConfigError: none is left.
    """
    gives, task = evaluator.model.gives, evaluator.task
    stages = cascade.serving(threat, gives, elements, task)
    if not stages:
        raise ConfigError(_why_no_stage(cascade, threat, gives, task))
    beyond = [stage.searcher for stage in cascade.stages if stage.searcher.needs > gives]
    out = {searcher.name for searcher in beyond if supports(searcher, threat, task)}
    if out:
        names = ", ".join(sorted(out))
        evaluator.note(f"the model gives {gives.name.lower()} only; {cascade.name} ran without {names}")
    if not task.one_class:
        served = cascade.serving(threat, gives, elements)
        unfit = {stage.searcher.name for stage in served if not suits(stage.searcher, task)}
        unfit -= {stage.searcher.name for stage in stages}
        if unfit:
            names = ", ".join(sorted(unfit))
            evaluator.note(f"{cascade.name} ran without {names}: an answer is no single class")
    limit, around = evaluator.model.max_queries, _AROUND + beside
    if limit is None:
        return stages
    kept = affordable(stages, limit - around)
    if not kept:
        raise ConfigError(
            f"Expected max_queries to leave something for an attack but got {limit}, of which the checks around it "
            f"take {around}. Allow more queries, or choose an attack that can do with fewer."
        )
    if kept != stages:
        evaluator.note(f"max_queries={limit} cut the attack from {_stage_list(stages)} to {_stage_list(kept)}")
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


def widened(stages: tuple[Stage, ...], threat: Threat) -> tuple[Stage, ...]:
    """Return stages for a model whose gradients mislead: those without gradients get all samples, and more queries."""
    wide = []
    for stage in stages:
        searcher: Any = stage.searcher
        # Stages by gradients stay: a sample that they break is broken, whatever the gradients are.
        if searcher.needs is Needs.GRADIENT:
            wide.append(stage)
            continue
        if isinstance(searcher, CoherentMoves):  # so many different moves there are not
            wide.append(stage)
            continue
        if supports(searcher, threat) and passes(searcher) < _WIDE and hasattr(searcher, "queries"):
            lanes = max(1, at_once(searcher))
            searcher = replace(searcher, queries=-(-_WIDE // lanes) * lanes)
        wide.append(replace(stage, searcher=searcher, smallest=1.0, earned=False, near=None))
    return tuple(wide)
