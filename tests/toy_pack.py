"""A pack with one of each thing that a pack can add: `robustest.extensions` has the hooks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustest import Result, Settings
from robustest.attacks import PGD, Searcher, Stage
from robustest.cli.questions import Facts
from robustest.cues import NullCue
from robustest.data import Outcomes
from robustest.extensions import Command, Section, hookimpl
from robustest.kinds import Kind, Quantity
from robustest.measure import measure_no_spurious_feature
from robustest.packs import Probe
from robustest.results import Fact
from robustest.run.workers import InProcess
from robustest.tasks import Classification, Task
from robustest.threats import Linf, Threat

TOY = Kind(name="toy", varies="nothing", quantities=(Quantity.at_least("at_least", "toys", "toys {}"),))


@dataclass(frozen=True)
class Table:
    """Data of a type that robustest does not read."""

    rows: tuple[tuple[float, ...], ...]
    labels: tuple[int, ...]


class Counted(InProcess):
    """An engine that counts its jobs."""

    jobs = 0

    def put(self, job: Any) -> object:
        type(self).jobs += 1
        return super().put(job)


def half(x: Tensor) -> Tensor:
    """Half the light."""
    return x / 2


@hookimpl
def robustest_attacks() -> Mapping[str, Callable[[], Searcher]]:
    return {"toy-steps": lambda: PGD(steps=3)}


@hookimpl
def robustest_searches(threat: Threat) -> Sequence[Stage]:
    return [Stage(searcher=PGD(steps=7))] if isinstance(threat, Linf) and threat.eps == 0.25 else []


@hookimpl
def robustest_shifts() -> Mapping[str, Callable[..., Tensor]]:
    return {"half": half}


class NoCues:
    """A search that finds no cue, so that the claim is about the null cue."""

    def measure_cues(self, model: object, data: object, options: Any, **_: object) -> Result:
        result: Result = measure_no_spurious_feature(model, data, NullCue(), **options)
        return result


@hookimpl
def robustest_cue_searches() -> Mapping[str, Callable[[], NoCues]]:
    return {"toy-cues": NoCues}


@hookimpl
def robustest_tasks() -> Mapping[str, Callable[[], Task]]:
    return {"toy-classes": Classification}


@hookimpl
def robustest_kinds() -> Sequence[Kind]:
    return [TOY]


@hookimpl
def robustest_read(data: object) -> object | None:
    return (torch.tensor(data.rows), torch.tensor(data.labels)) if isinstance(data, Table) else None


@hookimpl
def robustest_outcomes() -> Mapping[str, Callable[[Path, Mapping[str, Any]], Outcomes]]:
    def lines(path: Path, options: Mapping[str, Any]) -> Outcomes:
        rows = path.read_text(encoding="utf-8").split()
        return Outcomes.of([{"item": place, "score": row == "right"} for place, row in enumerate(rows)])

    return {"toy-lines": lines}


@hookimpl
def robustest_engines() -> Mapping[str, Callable[[Settings], Counted]]:
    return {"counted": lambda settings: Counted()}  # noqa: ARG005


@hookimpl
def robustest_sections(results: Sequence[Result]) -> Sequence[Section]:
    held = sum(result.verdict == "passed" for result in results)
    return [Section(title="Toys <b>", facts=(Fact("claims that held", held, "of all"),))]


@hookimpl
def robustest_commands() -> Sequence[Command]:
    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--times", type=int, default=1)

    def run(given: argparse.Namespace) -> int:
        print("toy " * given.times)  # noqa: T201
        return 1

    return [Command(name="toy", help="print toys", arguments=arguments, run=run)]


@hookimpl
def robustest_probes(facts: Facts) -> Sequence[Probe]:
    source = """\
def test_toys(robust_model, robust_data):
    from robustest import assert_accuracy

    assert_accuracy(robust_model, robust_data, at_least=THRESHOLD)
"""
    words = {"cause": "it has few toys", "step": "give it some"}
    return [] if facts.kind == "none" else [Probe(name="test_toys", source=source, loosest=0.01, weak=0.5, **words)]
