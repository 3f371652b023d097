"""The core's fixtures and tables of tests: these tests run from a checkout, beside the core's."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[3]
for folder in ("tests", "tests/contract", "tests/unit/run", "benchmarks"):
    sys.path.append(str(ROOT / folder))

_spec = importlib.util.spec_from_file_location("core_fixtures", ROOT / "tests" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_core = importlib.util.module_from_spec(_spec)
sys.modules["core_fixtures"] = _core
_spec.loader.exec_module(_core)
pytest_plugins = ["pytester", "core_fixtures"]


class Task(NamedTuple):
    """Images (N, 1, 6, 6) of two classes: a bright stripe in row 2 or in row 3, and noise."""

    x: Tensor
    y: Tensor


def stripes(n: int = 256, seed: int = 0) -> Task:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = 0.3 * torch.rand(n, 1, 6, 6, generator=generator)
    x[torch.arange(n), 0, 2 + y] += 0.5
    return Task(x, y)


def net(*, dropout: float = 0.0, norm: bool = False, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hidden: list[nn.Module] = [nn.Flatten(), nn.Linear(36, 16)]
        if norm:
            hidden.append(nn.BatchNorm1d(16))
        return nn.Sequential(*hidden, nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 2)).eval()


@pytest.fixture
def few_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train each control once: for tests to which the answers of controls are of no matter."""
    for number in ("_TRAININGS", "_OF_TWO_CLASSES"):
        monkeypatch.setattr(f"robustest.claims.training_controls.{number}", 1)


@pytest.fixture(scope="session")
def task() -> Task:
    return stripes()


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    return stripes


@pytest.fixture(scope="session")
def make_net() -> Callable[..., nn.Sequential]:
    return net
