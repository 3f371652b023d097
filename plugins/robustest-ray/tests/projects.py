"""A project with one claim, and pytest run in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

NETS = """
import torch
from torch import nn

def build():
    generator = torch.Generator().manual_seed(0)
    made = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5))
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5
    with torch.no_grad():
        # Uncentred, it would give one class to nearly all images; rounded, the number of threads changes no bit.
        made[-1].bias -= made(images()).mean(0).round(decimals=2)
    return made.eval()

def images():
    return torch.rand(2000, 1, 8, 8, generator=torch.Generator().manual_seed(1))

def data():
    with torch.no_grad():
        return images(), build()(images()).argmax(1)
"""
TEST = """
from robustest import Factory, Linf, assert_robust_accuracy
import pytest, torch

torch.set_num_threads(1)

@pytest.mark.robust(exact=True, attack="fast")
def test_claim():
    assert_robust_accuracy(Factory("nets:build"), Factory("nets:data"), Linf(0.01), at_least=0.5)
"""


def write(folder: Path) -> None:
    (folder / "nets.py").write_text(NETS)
    (folder / "test_claim.py").write_text(TEST)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")


def command(project: Path, name: str, *options: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "pytest", "--robust", "-q", "--robust-json", f"{name}.json", *options]
    return subprocess.Popen(  # noqa: S603 - our own command line
        [*line, "-o", f"robust_store=.{name}", "-o", f"robust_corpus=.{name}/corpus"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project), "CI": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outcome(project: Path, name: str) -> Any:
    """The only result of a run, times aside."""
    (row,) = json.loads((project / f"{name}.json").read_text())["results"]
    result = row["result"]
    result["cost"]["seconds"] = 0
    return result
