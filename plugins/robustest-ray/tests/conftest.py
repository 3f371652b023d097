"""A cluster of several nodes on this machine, and nets and samples that can be attacked there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import projects
import pytest
import ray
import torch
from ray.cluster_utils import Cluster
from torch import Tensor, nn

from robustest.context import over


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """What is computed differs in the last bits with the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    made.wait_for_nodes()
    yield made
    over()
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="session")
def net() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    made = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5))
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5
    return made.eval()


@pytest.fixture(scope="session")
def samples(net: nn.Module) -> tuple[Tensor, Tensor]:
    x = torch.rand(2000, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, net(x).argmax(1)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    projects.write(tmp_path)
    return tmp_path
