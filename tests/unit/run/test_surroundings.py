"""Whatever is changed around a model, in whatever order: what is remembered is what a fresh measurement says."""

from __future__ import annotations

import os
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustest import Linf, Result, Settings
from robustest.context import Context, running
from robustest.measure import measure_robust_accuracy, measure_shift_accuracy

GLOBAL = [1.0]
PACKAGE = types.ModuleType("acme_surroundings")
"""As an installed package's: what it holds is not read."""
PACKAGE.__file__ = os.__file__
PACKAGE.scale = 1.0  # type: ignore[attr-defined]
VARIABLE = "ROBUSTEST_TEST_SURROUNDINGS"


class Surrounded(nn.Module):
    """A net of two layers whose answers depend on files, globals, the environment, and torch as it is."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3))
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        self.folder = str(folder)
        self.read = by_way_of_a_package

    def forward(self, x: Tensor) -> Tensor:
        with Path(self.folder, "text").open() as file:
            bias = float(file.readline())
        array = torch.from_numpy(np.genfromtxt(f"{self.folder}/array")).float()
        z = self.layers(x.flatten(1) * GLOBAL[0] + bias)
        scale = self.read()
        z = torch.where(x.flatten(1).amax(1, keepdim=True) > 0.98, z * scale, z) + array
        logits: Tensor = z.mul(-1.0) if os.path.exists(f"{self.folder}/flag") else z
        return logits


def _scale() -> float:
    return float(PACKAGE.scale) * float(os.environ.get(VARIABLE, "1"))


by_way_of_a_package = types.FunctionType(
    _scale.__code__,
    {"PACKAGE": PACKAGE, "os": os, "VARIABLE": VARIABLE, "float": float, "__name__": "os", "__file__": os.__file__},
)
"""Installed code, by the module that it says it is from."""

VALUES = st.sampled_from([1.0, 1.0 + 2**-20, 0.5, -1.0])
CHANGES = st.one_of(
    st.tuples(st.sampled_from(["text", "array", "global", "package", "environment", "weight"]), VALUES),
    st.tuples(st.sampled_from(["flag", "relu", "mul", "linear"]), st.booleans()),
)


class Surroundings:
    """What can be changed, and put back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = Surrounded(folder)
        self.weight = float(self.model.layers[2].weight.detach()[0, 0])
        self.patch = pytest.MonkeyPatch()
        for name, value in {"text": 1.0, "array": 1.0}.items():
            self.change(name, value)

    def change(self, what: str, value: Any) -> None:
        if what in ("text", "array"):
            shift = float(value) - 1
            (self.folder / what).write_text(str(shift) if what == "text" else f"{shift} 0 {-shift}")
        elif what == "flag":
            (self.folder / "flag").touch() if value else (self.folder / "flag").unlink(missing_ok=True)
        elif what == "environment":
            self.patch.setenv(VARIABLE, str(value))
        elif what == "global":
            GLOBAL[0] = value
        elif what == "package":
            self.patch.setattr(PACKAGE, "scale", value)
        elif what == "weight":
            self.model.layers[2].weight.data[0, 0] = self.weight * value
        else:
            owner, name, turned = PATCHES[what]
            self.patch.setattr(owner, name, turned if value else ORIGINAL[what])


def _shifted_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return ORIGINAL["linear"](x, weight, bias) + 0.5


PATCHES: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "relu": (F, "relu", lambda x, inplace=False: x.clamp(max=0.0)),  # noqa: ARG005
    "mul": (Tensor, "mul", lambda a, b: torch.mul(a, b) + torch.arange(3)),
    "linear": (F, "linear", _shifted_linear),
}
ORIGINAL: dict[str, Callable[..., Any]] = {name: getattr(owner, at) for name, (owner, at, _) in PATCHES.items()}


@contextmanager
def surroundings() -> Iterator[Surroundings]:
    with tempfile.TemporaryDirectory() as name:
        made = Surroundings(Path(name))
        try:
            yield made
        finally:
            made.patch.undo()
            GLOBAL[0] = 1.0


X = torch.rand(80, 1, 3, 3, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 3, (80,), generator=torch.Generator().manual_seed(2))
CLAIMS: dict[str, Callable[..., Result]] = {
    "attack": lambda model, **how: measure_robust_accuracy(
        model, (X, Y), Linf(0.02), attack="fgsm", at_least=0.3, **how
    ),
    "shift": lambda model, **how: measure_shift_accuracy(model, (X, Y), "brightness", at_least=0.3, **how),
}


def _holds(claim: str, changes: list[tuple[str, Any]]) -> None:
    with surroundings() as around:
        used = Settings(store=str(around.folder / "store"), recheck=0.0, exact=True)
        with running(Context(settings=used, test="t.py::t")):
            CLAIMS[claim](around.model)
            for what, value in changes:
                around.change(what, value)
                remembered = CLAIMS[claim](around.model)
                fresh = _fresh(claim, around.model)
                assert remembered.outcomes == fresh.outcomes, (what, value, remembered.evidence.cached)
                assert (remembered.verdict, remembered.estimate) == (fresh.verdict, fresh.estimate)
            assert CLAIMS[claim](around.model).evidence.cached


def _fresh(claim: str, model: nn.Module) -> Result:
    with running(Context(settings=Settings(exact=True), test="t.py::t")):
        return CLAIMS[claim](model)


DRAWN = st.tuples(st.sampled_from(sorted(CLAIMS)), st.lists(CHANGES, min_size=1, max_size=4))


@given(DRAWN)
@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_remembered_differs_from_what_is_measured_afresh(drawn: tuple[str, list[tuple[str, Any]]]) -> None:
    _holds(*drawn)


@pytest.mark.slow
@given(DRAWN)
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_remembered_differs_in_five_hundred_draws(drawn: tuple[str, list[tuple[str, Any]]]) -> None:
    _holds(*drawn)
