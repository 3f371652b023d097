"""`pytest --robust --robust-engine=ray`, and what it says where it cannot work."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from processes import busy, workers
from projects import command, outcome
from robustest_ray import cluster as asked

from robustest import ConfigError, DeviceError, Linf, Settings, find_adversarial
from robustest.context import Context, over, running

installed = asked.version


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


def test_a_cluster_without_gpus_for_cuda(cluster: Any, net: Any, samples: Any) -> None:
    settings = Settings(engine="ray", address=cluster.address, device="cuda:all")
    with running(Context(settings=settings)), pytest.raises(DeviceError, match="--robust-device=cuda:all but it has"):
        find_adversarial(net, *samples, Linf(0.05))
    over()
