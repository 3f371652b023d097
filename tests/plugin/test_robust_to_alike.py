"""A search among changes ends alike for a seed at a desk, in CI, on workers and when its command is replayed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SEEDS = 30
MODULE = '''
import torch
from robustest.strategies import compositions, shifts


def data(n=60):
    x = torch.linspace(0, 1, n).view(-1, 1, 1, 1).repeat(1, 1, 4, 4)
    y = (x[:, 0, 3, 3] > 0.5).long()
    x[:, 0, 0, :3] = 0.0
    return x, y


def first(x, severity):
    out = x.clone()
    out[:, :, 0, 0] = severity / 5
    return out


def second(x, severity):
    out = x.clone()
    out[:, :, 0, 1] = severity / 5
    out[:, :, 0, 2] = x[:, :, 0, 0]
    return out


def idle(x, severity):
    return x.clone()


class Planted(torch.nn.Module):
    """Right, but for `first` at severity 2 or more followed by `second` at 3 or more."""

    def forward(self, x):
        value = (x[:, 0, 3, 3] - 0.5).sign()
        broken = (x[:, 0, 0, 2] > 0.3) & (x[:, 0, 0, 1] > 0.5)
        value = torch.where(broken, -value, value)
        return torch.stack([-value, value], 1)


CHAINS = compositions(shifts([idle, first, second]))
'''
TESTS = f"""
import pytest
from planted_chain import CHAINS, Planted, data
from robustest import assert_robust_to


@pytest.mark.robust
@pytest.mark.parametrize("seed", range({SEEDS}))
def test_chain(seed):
    assert_robust_to(Planted(), data(), CHAINS, at_least=0.9, max_examples=20, seed=seed)
"""


def told(folder: Path, *arguments: str, ci: bool = False) -> dict[str, tuple[Any, ...]]:
    """What each test's claim ended with, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "GITHUB_ACTIONS"}}
    environment |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"} | ({"CI": "1"} if ci else {})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--robust-json=out.json", *arguments]
    done = subprocess.run(  # noqa: S603 - this very interpreter
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    rows = json.loads((folder / "out.json").read_text())["results"]
    told.replays = {row["test"]: row["replay"] for row in rows}  # type: ignore[attr-defined]
    return {
        row["test"]: (
            row["result"]["verdict"],
            row["result"]["rule"],
            row["result"]["details"]["examples"],
            row["result"]["details"].get("mildest"),
        )
        for row in rows
    }


@pytest.mark.slow
def test_thirty_seeds_end_alike_wherever_they_run(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    (tmp_path / "planted_chain.py").write_text(MODULE)
    (tmp_path / "test_chains.py").write_text(TESTS)
    fresh = ("--robust", "--robust-no-cache")
    desk = told(tmp_path, *fresh)
    replays = told.replays  # type: ignore[attr-defined]
    assert len(desk) == SEEDS
    assert {verdict for verdict, *_ in desk.values()} == {"passed", "failed"}, "some find what is planted, some do not"
    assert told(tmp_path, *fresh, ci=True) == desk
    assert told(tmp_path, *fresh, "-n", "2") == desk
    assert told(tmp_path, *fresh, "-n", "2", ci=True) == desk
    for verdict in ("passed", "failed"):
        test = next(test for test, said in desk.items() if said[0] == verdict)
        program, *command = shlex.split(replays[test])
        assert program == "pytest"
        assert told(tmp_path, *command, "--robust-no-cache") == {test: desk[test]}
        assert told(tmp_path, *command, "--robust-no-cache", ci=True) == {test: desk[test]}
