"""`pytest --robust --robust-engine=ray`, and what it says where it cannot work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from processes import busy, workers
from robustest_ray import cluster as asked

from robustest import ConfigError, DeviceError, Linf, Settings, find_adversarial
from robustest.context import Context, over, running

installed = asked.version

NETS = """
import torch
from torch import nn

def build():
    generator = torch.Generator().manual_seed(0)
    made = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5))
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5
    return made.eval()

def data():
    x = torch.rand(2000, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, build()(x).argmax(1)
"""
TEST = """
from robustest import Factory, Linf, assert_robust_accuracy
import pytest, torch

torch.set_num_threads(1)

@pytest.mark.robust(exact=True, attack="fast")
def test_claim():
    assert_robust_accuracy(Factory("nets:build"), Factory("nets:data"), Linf(0.05), at_least=0.5)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "test_claim.py").write_text(TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    return tmp_path


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


def test_a_driver_that_is_killed_goes_on_where_it_was(cluster: Any, project: Path) -> None:
    alone = command(project, "alone")
    told = alone.communicate(timeout=120)[0]
    assert alone.returncode == 0, told
    ray_options = ("--robust-engine=ray", f"--robust-address={cluster.address}", "--robust-workers=2")
    first = command(project, "ray", *ray_options)
    deadline = time.monotonic() + 90
    while not list((project / ".ray").rglob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert not (project / "ray.json").exists(), "the run was over before it was killed"
    remembered = len(list((project / ".ray").rglob("*.safetensors")))
    assert remembered
    second = command(project, "ray", *ray_options)
    told = second.communicate(timeout=120)[0]
    assert second.returncode == 0, told
    assert outcome(project, "ray") == outcome(project, "alone")
    deadline = time.monotonic() + 30
    while workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers() == []
    assert not busy()


def test_a_cluster_that_is_not_there(net: Any, samples: Any) -> None:
    settings = Settings(engine="ray", address="127.0.0.1:1")
    with running(Context(settings=settings)), pytest.raises(DeviceError, match="Expected a Ray cluster at"):
        find_adversarial(net, *samples, Linf(0.05))


def test_a_node_that_lacks_something_is_named_before_work_starts(
    cluster: Any, net: Any, samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "_NEEDED", ("robustest", "no-such-package"))
    monkeypatch.setattr(asked, "version", lambda name: "1.0" if name == "no-such-package" else installed(name))
    settings = Settings(engine="ray", address=cluster.address)
    with (
        running(Context(settings=settings)),
        pytest.raises(ConfigError, match=r"Expected no-such-package on every node .* Install 'no-such-package==1.0'"),
    ):
        find_adversarial(net, *samples, Linf(0.05))
    assert not ray.is_initialized()


def test_a_node_of_another_version_is_named(
    cluster: Any, net: Any, samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "version", lambda name: "99.0" if name == "torch" else installed(name))
    settings = Settings(engine="ray", address=cluster.address)
    with running(Context(settings=settings)), pytest.raises(ConfigError, match=r"Expected torch 99\.0 on every node"):
        find_adversarial(net, *samples, Linf(0.05))


def test_gpus_that_the_cluster_has_not(cluster: Any, net: Any, samples: Any) -> None:
    settings = Settings(engine="ray", address=cluster.address, gpus_per_task=0.5)
    with running(Context(settings=settings)), pytest.raises(DeviceError, match="GPUs in the cluster"):
        find_adversarial(net, *samples, Linf(0.05))
    over()
