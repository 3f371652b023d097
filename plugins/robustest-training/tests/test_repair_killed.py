"""A training that is killed, without a chance to tidy up, goes on to the weights that it would have come to."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = """
import sys, time
import torch
from safetensors.torch import save_file
from torch import nn
from robustest import Linf
from robustest_training.repair import Checkpoint, Recipe, adversarial_training

torch.set_num_threads(1)
out, place, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
generator = torch.Generator().manual_seed(0)
y = torch.arange(96) % 2
x = torch.rand(96, 1, 6, 6, generator=generator) * 0.5
x[torch.arange(96), 0, 2 + y] += 0.4
torch.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))

def tell(done, total, loss):
    time.sleep(pause)

trained, log = adversarial_training(
    model, (x, y), Linf(0.1), steps=2, recipe=Recipe(epochs=3, batch_size=16, learning_rate=0.01), progress=tell,
    checkpoint=None if place == "none" else Checkpoint(path=place, seconds=0),
)
save_file(trained.state_dict(), out)
"""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The script in this process; the steps that a checkpoint spared it."""
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    names: dict[str, Any] = {}
    exec(SCRIPT, names)  # noqa: S102 - our own script
    return int(names["log"].resumed)


def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "place.safetensors"
    assert run(monkeypatch, tmp_path / "whole", "none", 0) == 0
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "never"), str(place), "0.1"]
    victim = subprocess.Popen(command, cwd=tmp_path)  # noqa: S603 - there, for "-c" imports from where it stands first
    deadline = time.monotonic() + 200
    try:
        while not place.exists() and time.monotonic() < deadline and victim.poll() is None:
            time.sleep(0.02)
        time.sleep(0.3)  # anywhere: in a step, in a write
    finally:
        victim.kill()
    assert victim.wait() == -signal.SIGKILL
    assert not (tmp_path / "never").exists()
    resumed = run(monkeypatch, tmp_path / "resumed", place, 0)
    assert 0 < resumed < 18
    whole, later = load_file(tmp_path / "whole"), load_file(tmp_path / "resumed")
    assert whole.keys() == later.keys()
    assert all(torch.equal(whole[name], later[name]) for name in whole)
