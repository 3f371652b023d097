"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import random
import sys
import sysconfig
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import hypothesis
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robustest
from robustest import extensions

sys.path.insert(0, str(Path(__file__).parent))  # modules that several test files share
pytest_plugins = ["pytester"]

# Tests start hundreds of Pythons: each would compile all of robustest again, where nothing that one compiled is kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_finish() -> None:
    """Compile no more to disk: tests change a module within the second, which is how finely compiled files are dated.

    Until here the test modules are: pytest rewrites their assertions, which is half of the time of a collection.
    """
    sys.dont_write_bytecode = True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the collector of garbage what stays to the end, tests and torch: two million objects a full collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


_FAST = frozenset((Path(__file__).parent / "fast.txt").read_text(encoding="utf-8").split())


def is_fast(module: Path, marks: Collection[str] = ()) -> bool:
    """Whether `pytest -m fast` runs a test: its module is in tests/fast.txt, and it is neither slow nor for a GPU."""
    tests = Path(__file__).parent
    return (
        module.is_relative_to(tests)
        and module.relative_to(tests).as_posix() in _FAST
        and not {"slow", "gpu"} & {*marks}
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m fast` imports the modules of fast tests alone: importing all of them takes longer than the fast tests."""
    if config.option.markexpr != "fast" or collection_path.is_dir():
        return None
    return not is_fast(collection_path) or None


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the modules in tests/fast.txt, and rows of thinned tables as slow."""
    importlib.import_module("pairwise").thin(items)
    for item in items:
        if is_fast(item.path, {mark.name for mark in item.iter_markers()}):
            item.add_marker("fast")


_TESTED = Path(robustest.__file__).resolve().parent


def pytest_configure() -> None:
    """`ROBUSTEST_TESTED=wheel`: these are the tests of an installed robustest, and of no checkout that lies beside."""
    asked, paths = os.environ.get("ROBUSTEST_TESTED", ""), sysconfig.get_paths()
    installed = {Path(paths[kind]).resolve() for kind in ("purelib", "platlib")}
    if asked not in ("", "wheel") or (asked and _TESTED.parent not in installed):
        raise pytest.UsageError(
            f"Expected ROBUSTEST_TESTED={asked} to be `wheel`, in site-packages, but got {_TESTED}."
        )


def pytest_report_header() -> str:
    """Which code is tested."""
    return f"tested: {_TESTED}"


# No power fails during a test, and a disk takes milliseconds to have written; processes that tests start wait for it.
os.fsync = os.fstat

# The same code must give the same answer, on a loaded machine too.
hypothesis.settings.register_profile("robustest", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("robustest")
torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Nets and samples drawn without a generator are the same whichever tests ran before, on whichever worker."""
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # `torch.manual_seed` keeps a call with its stack for each device to come


_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_networks() -> ModuleType:
    """Trained networks and images from outside the project: `load(name)` and `images(name, n)`."""
    source = _SHARED / "models.py"
    if not source.is_file():
        pytest.skip("the trained networks (../shared/data beside the repository) are not here")
    spec = importlib.util.spec_from_file_location("shared_networks", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.dont_write_bytecode", True)  # the folder is not ours to write in
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with robustest from a wheel of this checkout, made when first asked for."""
    return importlib.import_module("newcomer").environment(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def user(installed: Path, tmp_path: Path) -> Any:
    """Somebody in an empty folder, with robustest installed: `user.does("pytest --robust")`."""
    return importlib.import_module("newcomer").User(tmp_path, installed)


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install packs: `packs(toy=toy_pack)`; one that is an exception is raised when its pack is loaded."""
    installed: list[Any] = []

    def install(**given: object) -> None:
        for name, pack in given.items():

            def load(pack: object = pack) -> object:
                if isinstance(pack, Exception):
                    raise pack
                return pack

            dist = SimpleNamespace(name=f"robustest-{name}", version="1.2")
            installed.append(SimpleNamespace(name=name, value=f"{name}.pack", load=load, dist=dist))
        extensions.manager.cache_clear()

    monkeypatch.setattr(extensions, "entry_points", lambda group: installed if group == "robustest" else [])
    extensions.manager.cache_clear()
    yield install
    extensions.manager.cache_clear()


@pytest.fixture
def short_shrinking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search a few steps for smaller counterexamples: for claims that fail where counterexamples are of no matter."""
    shrink = importlib.import_module("robustest.engine.shrink")

    def short(whole: Any) -> Any:
        return replace(whole, stages=tuple(replace(s, searcher=replace(s.searcher, steps=5)) for s in whole.stages))

    monkeypatch.setattr(shrink, "MINIMUM", {norm: short(whole) for norm, whole in shrink.MINIMUM.items()})


class Toy(NamedTuple):
    """A classifier with data that it gets right."""

    model: nn.Module
    x: Tensor
    y: Tensor


class Linear(nn.Module):
    """Flattened input to logits, row by row: a matrix product may add in another order for another batch size."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.double())
        self.bias = nn.Parameter(bias.double())

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1).to(self.weight.dtype).unsqueeze(1) * self.weight).sum(2) + self.bias


class Watched(nn.Module):
    """A module that keeps count of the samples that really pass through it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls: list[int] = []
        self.backward_samples = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        if x.requires_grad:
            x.register_hook(self._on_gradient)
        out: Tensor = self.inner(x)
        return out

    def _on_gradient(self, gradient: Tensor) -> None:
        self.backward_samples += len(gradient)


@pytest.fixture(scope="session")
def linear() -> Callable[[Tensor, Tensor], nn.Module]:
    """Builds a linear classifier from weights (K, D) and biases (K,)."""
    return Linear


@pytest.fixture(scope="session")
def watched() -> Callable[[nn.Module], Watched]:
    """Wraps a module so that its `calls` and `backward_samples` can be read."""
    return Watched


@pytest.fixture(scope="session")
def toys() -> Callable[..., Toy]:
    """Builds linear classifiers with inputs that they get right: `toys(n=40, classes=3, shape=(1, 6, 6), seed=0)`."""

    def build(n: int = 40, *, classes: int = 3, shape: tuple[int, ...] = (1, 6, 6), seed: int = 0) -> Toy:
        generator = torch.Generator().manual_seed(seed)
        size = torch.Size(shape).numel()
        weight = torch.randn(classes, size, generator=generator)
        model = Linear(weight, -weight.sum(1) / 2)  # no class is favoured at grey
        x = torch.rand(n, *shape, generator=generator)
        with torch.no_grad():
            return Toy(model, x, model(x).argmax(1))

    return build


@pytest.fixture
def toy(toys: Callable[..., Toy]) -> Toy:
    """Forty images (40, 1, 6, 6), three classes, and a linear model that gets all of them right."""
    return toys()


@pytest.fixture(scope="session")
def snapshot() -> Callable[[nn.Module], dict[str, Any]]:
    """Maps a module to all that a measurement must leave alone; compare with ==."""

    def take(module: nn.Module) -> dict[str, Any]:
        return {
            "modes": [part.training for part in module.modules()],
            "flags": [parameter.requires_grad for parameter in module.parameters()],
            "state": {name: value.detach().tolist() for name, value in module.state_dict().items()},
            "grads": [None if p.grad is None else p.grad.tolist() for p in module.parameters()],
            "places": [p.data_ptr() for p in module.parameters()],
        }

    return take
