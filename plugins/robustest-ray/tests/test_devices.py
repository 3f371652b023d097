"""One worker process a GPU, on a cluster whose GPUs are declared and do not exist."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from robustest_ray.engine import RayEngine

from robustest import DeviceError, Linf, Settings, find_adversarial
from robustest.context import Context, over, running


@pytest.fixture(scope="module")
def gpus() -> Iterator[Cluster]:
    """Two nodes with two and one of three GPUs."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 2})
    made.add_node(num_cpus=1, num_gpus=1)
    made.wait_for_nodes()
    yield made
    over()
    ray.shutdown()
    made.shutdown()


@dataclass(frozen=True)
class Where:
    """A job that says where it runs; it waits for the others, so that each worker gets a task."""

    def start(self, device: str) -> Any:
        import time

        def where(task: int) -> tuple[str, str, str, int]:
            time.sleep(0.5)
            node = ray.get_runtime_context().get_node_id()
            return device, os.environ.get("CUDA_VISIBLE_DEVICES", ""), node, os.getpid()

        return where


def places(cluster: Cluster, **settings: Any) -> set[tuple[str, str, str, int]]:
    engine = RayEngine(Settings(engine="ray", address=cluster.address, **settings))
    try:
        return set(engine.imap_unordered(engine.put(Where()), range(12)))
    finally:
        engine.close()


def test_every_gpu_has_a_process_which_sees_it_alone(gpus: Cluster) -> None:
    found = places(gpus, device="cuda:all")
    assert {device for device, *_ in found} == {"cuda:0"}
    assert all(len(visible.split(",")) == 1 and visible for _, visible, *_ in found)
    assert len({(node, visible) for _, visible, node, _ in found}) == 3
    assert len({pid for *_, pid in found}) == 3


def test_a_numbered_gpu_is_the_one_that_the_worker_sees(gpus: Cluster) -> None:
    assert {device for device, *_ in places(gpus, device="cuda:1", workers=1)} == {"cuda:0"}


def test_without_gpus_a_worker_keeps_to_the_cpu(gpus: Cluster) -> None:
    assert {device for device, *_ in places(gpus, gpus_per_task=0.0, workers=1)} == {"cpu"}


def test_the_device_is_the_clusters_not_the_drivers(
    gpus: Cluster, net: Any, samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process has no GPU, and needs none; the workers' torch has none either, and says so."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = Settings(engine="ray", address=gpus.address, device="cuda:all")
    with running(Context(settings=settings)), pytest.raises(DeviceError, match="Expected a CUDA device for 'cuda:0'"):
        find_adversarial(net, *samples, Linf(0.05))
    over()


@pytest.mark.parametrize(("settings", "lacks"), [({"gpus_per_task": 0.0}, "gets none by")])
def test_gpus_that_are_asked_for_and_not_given(gpus: Cluster, settings: dict[str, Any], lacks: str) -> None:
    with pytest.raises(DeviceError, match=f"Expected GPUs in the cluster for --robust-device=cuda:all but it {lacks}"):
        RayEngine(Settings(engine="ray", address=gpus.address, device="cuda:all", **settings))
    ray.shutdown()
