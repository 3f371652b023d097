"""A run killed at any moment goes on where it was, and ends as if it had never been disturbed."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Verdict, assert_robust_accuracy, context
from robustest.attacks import PGD
from robustest.context import Context
from robustest.errors import ClaimFailed
from robustest.run import replay
from robustest.settings import Settings


class Slow(nn.Module):
    """A small net that takes long enough to be killed in."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 3))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


def _claim(folder: Path, at_least: float, **options: Any) -> None:
    torch.set_num_threads(1)
    model = Slow().eval()
    x = torch.rand(240, 12, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    settings = Settings(store=str(folder), corpus=str(folder / "corpus"), recheck=0.0, exact=True)
    with context.running(Context(settings=settings, test="test_a.py::test_killed")), suppress(ClaimFailed):
        assert_robust_accuracy(model, (x, y), L2(0.15), at_least=at_least, attack=PGD(steps=12), **options)


def _files(folder: Path) -> dict[str, Any]:
    """Every result file, times aside."""

    def timeless(path: Path) -> Any:
        record = json.loads(path.read_text())["record"]
        record.pop("when", None)
        record["result"]["cost"]["seconds"] = 0.0
        return record

    return {str(path.relative_to(folder)): timeless(path) for path in sorted((folder / "results").rglob("*.json"))}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # a fork is what is killed
@pytest.mark.parametrize(
    "at_least", [pytest.param(0.01, id="passes", marks=pytest.mark.slow), pytest.param(1.0, id="fails")]
)
def test_a_killed_run_resumes_to_the_undisturbed_result(tmp_path: Path, at_least: float) -> None:
    started = time.monotonic()
    _claim(tmp_path / "whole", at_least)
    took = time.monotonic() - started
    expected = _files(tmp_path / "whole")
    assert len(expected) == 1
    fork = multiprocessing.get_context("fork")
    moments = random.Random(int(at_least))  # noqa: S311
    interrupted = attempts = 0
    while interrupted < 10:  # 20 over both claims
        folder = tmp_path / f"run{attempts}"
        for _ in range(2):
            child = fork.Process(target=_claim, args=(folder, at_least))
            child.start()
            time.sleep(moments.uniform(0.0, took))
            if child.is_alive() and child.pid is not None:
                os.kill(child.pid, signal.SIGKILL)
                interrupted += 1
            child.join()
        _claim(folder, at_least)
        assert _files(folder) == expected
        attempts += 1
        assert attempts < 50, "the runs end before they can be killed"


def _stopped(folder: Path, cache: bool) -> None:
    """Claim what is false, and stay for ever where its counterexamples are made smaller."""

    def stay(*_: Any) -> Any:
        (folder / "there").touch()
        time.sleep(600)

    replay.shrink = stay  # type: ignore[assignment, attr-defined]
    _claim(folder, 1.0, cache=cache)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("cache", [True, False])
def test_a_run_killed_while_counterexamples_are_made_smaller_keeps_its_verdict(tmp_path: Path, cache: bool) -> None:
    _claim(tmp_path / "whole", 1.0)
    [(name, whole)] = _files(tmp_path / "whole").items()
    folder = tmp_path / "killed"
    folder.mkdir()
    child = multiprocessing.get_context("fork").Process(target=_stopped, args=(folder, cache))
    child.start()
    while not (folder / "there").exists():
        assert child.is_alive()
        time.sleep(0.01)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    [(there, killed)] = _files(folder).items()
    assert there == name
    verdict, shown = killed["result"], killed["result"]["counterexamples"]
    assert verdict["verdict"] == Verdict.FAILED
    later = {"counterexamples", "cost", "notes"}
    assert {key: verdict[key] for key in verdict if key not in later} == {
        key: whole["result"][key] for key in verdict if key not in later
    }
    # Each breaks its sample inside the threat, and is larger than what becomes of it.
    smaller = {one["index"]: one["size"] for one in whole["result"]["counterexamples"]}
    assert len(shown) == 3
    assert all(smaller[one["index"]] < one["size"] <= 0.15 + 1e-6 for one in shown)
    assert all(one["predicted"] != one["label"] == one["clean"] for one in shown)
    _claim(folder, 1.0)
    assert _files(folder) == {name: whole}
