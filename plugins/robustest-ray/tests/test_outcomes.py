"""What a cluster finds is what this process finds, whatever becomes of its workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import ray
import torch
from processes import busy, workers

from robustest import Adversarial, Linf, Settings, Verdict, find_adversarial
from robustest.context import Context, over, running
from robustest.measure import measure_robust_accuracy

THREAT = Linf(0.05)


def attacked(net: Any, samples: Any, attack: str = "fast", **settings: Any) -> Adversarial:
    with running(Context(settings=Settings(**settings), test="test")):
        return find_adversarial(net, *samples, THREAT, attack=attack)


@pytest.fixture(scope="module")
def alone(net: Any, samples: Any) -> Adversarial:
    found = attacked(net, samples)
    assert 0.05 < found.broken.mean() < 0.8
    return found


def same(found: Adversarial, alone: Adversarial) -> None:
    """Bit for bit, costs included; only the time differs."""
    assert torch.equal(found.x, alone.x)
    assert (found.broken == alone.broken).all()
    assert (found.norms == alone.norms).all()
    assert (found.cost.forward, found.cost.backward) == (alone.cost.forward, alone.cost.backward)
    assert found.stages == alone.stages
    assert found.notes == alone.notes


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_finds_the_same(
    workers: int, cluster: Any, net: Any, samples: Any, alone: Adversarial
) -> None:
    same(attacked(net, samples, engine="ray", address=cluster.address, workers=workers), alone)
    over()


def disturbed(disturb: Callable[[], None], measure: Callable[[], Adversarial]) -> Adversarial:
    """What is found while something is done to the cluster, once a chunk is being measured.

    The measurement has a thread of its own: Ray starts nodes in the main thread only.
    """
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(measure)
        while not busy():
            time.sleep(0.01)
            assert not found.done(), "the run was over before anything happened to it"
        disturb()
        return found.result()


def test_a_worker_killed_in_the_middle_of_a_chunk_costs_time_alone(
    cluster: Any, net: Any, samples: Any, alone: Adversarial
) -> None:
    def kill() -> None:
        os.kill(workers()[0].pid, signal.SIGKILL)

    same(disturbed(kill, lambda: attacked(net, samples, engine="ray", address=cluster.address, workers=2)), alone)
    over()


def test_a_node_removed_and_replaced_costs_time_alone(cluster: Any, net: Any, samples: Any, alone: Adversarial) -> None:
    node = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()

    def swap() -> None:
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1)

    same(disturbed(swap, lambda: attacked(net, samples, engine="ray", address=cluster.address, workers=4)), alone)
    over()


def test_an_early_verdict_leaves_nothing_to_do(cluster: Any, net: Any, samples: Any) -> None:
    settings = Settings(engine="ray", address=cluster.address, workers=2)
    with running(Context(settings=settings, test="test")):
        result = measure_robust_accuracy(net, samples, THREAT, at_least=0.99, attack="standard")
        assert result.verdict is Verdict.FAILED
        assert result.numbers.n < 1000
        started = time.monotonic()
        while busy():
            time.sleep(0.05)
        assert time.monotonic() - started < 30  # the chunk under way, and no other
    over()


def test_nothing_runs_once_it_is_over(cluster: Any, net: Any, samples: Any) -> None:
    attacked(net, samples, engine="ray", address=cluster.address, workers=2)
    assert workers()
    over()
    assert not ray.is_initialized()
    deadline = time.monotonic() + 20
    while workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers() == []
