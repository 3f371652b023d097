"""A run killed at any moment goes on where it was, and ends as if it had never been disturbed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from robustest_rl import Away, Observation, measure_robust_return
from torch import nn
from walks import Line

from robustest import context
from robustest.context import Context
from robustest.settings import Settings

KILLS = 4


class Long(Line):
    """Forty steps, each of which returns 1 within 1 of 0."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 40

    def step(self, action: Any) -> Any:
        seen, _, *rest = super().step(action)
        return seen, float(abs(self.at) <= 1), *rest


def claim(folder: Path) -> Mapping[str, Any]:
    """What is measured, times aside: a search for an adversary, and 150 episodes in several chunks."""
    torch.set_num_threads(1)
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    layer.bias.data.zero_()
    settings = Settings(store=str(folder), recheck=0.0, exact=True)
    threat = Observation(1, scale=(1, 0))
    with context.running(Context(settings=settings, test="test_a.py::test_killed")):
        found = measure_robust_return(
            layer.eval(), Long, threat, at_least=30, min_share=0.5, episodes=150, attack=Away(steps=3)
        )
    return found.to_dict()


def chunks(folder: Path) -> set[tuple[str, int]]:
    """Files of what is remembered, each with when it was written."""
    return {(str(path), path.stat().st_mtime_ns) for path in (folder / "chunks").rglob("*") if path.is_file()}


def timeless(found: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in found.items() if name not in ("cached", "cost")}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # a fork is what is killed
def test_a_killed_run_resumes_to_the_undisturbed_result(tmp_path: Path) -> None:
    started = time.monotonic()
    whole = claim(tmp_path / "whole")
    took = time.monotonic() - started
    fork = multiprocessing.get_context("fork")
    moments = random.Random(0)  # noqa: S311
    interrupted = attempts = 0
    while interrupted < KILLS:
        folder = tmp_path / f"run{attempts}"
        for _ in range(2):
            child = fork.Process(target=claim, args=(folder,))
            child.start()
            time.sleep(moments.uniform(0.0, took))
            if child.is_alive() and child.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
                    interrupted += 1
            child.join()
        assert timeless(claim(folder)) == timeless(whole)
        attempts += 1
        assert attempts < 40, "the runs end before they can be killed"


def test_a_second_run_is_remembered_whole(tmp_path: Path) -> None:
    first = claim(tmp_path)
    kept = chunks(tmp_path)
    second = claim(tmp_path)
    assert chunks(tmp_path) == kept
    assert len(kept) >= 3  # the search, and episodes in two chunks or more
    assert not first["cached"]
    assert second["cached"]
    assert timeless(second) == timeless(first)
