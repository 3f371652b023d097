"""Trained policies from outside the project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import scipy.stats
import torch
from safetensors.torch import load_file
from torch import nn

pytest_plugins = ["pytester"]
# Rules load SciPy at the first verdict. pytester takes the modules that a run has loaded out again, and those of NumPy
# that are compiled can be loaded once in a process: they are loaded before.
assert scipy.stats
torch.set_num_threads(1)

_SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "policies"


@pytest.fixture(autouse=True)
def _at_a_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs inside a test are a person's, wherever the tests run: CI forbids to write baselines, among other things."""
    for name in ("PYTEST_ADDOPTS", "CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def trained() -> Callable[[str], nn.Module]:
    """Trained policies by name: two hidden layers of 64, tanh."""
    if not _SHARED.is_dir():
        pytest.skip("the trained policies (../shared/data beside the repository) are not here")

    def load(name: str) -> nn.Module:
        held = load_file(_SHARED / f"{name}.safetensors")
        layers: list[nn.Module] = []
        for part in ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"):
            weight, bias = held[f"{part}.weight"], held[f"{part}.bias"]
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            layer.load_state_dict({"weight": weight, "bias": bias})
            layers += [layer, nn.Tanh()]
        return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)

    return load
