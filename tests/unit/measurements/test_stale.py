"""What a model depends on beyond its code and weights: a change is never covered by what is remembered.

Each row has a twin: as long as nothing changes, what was measured is recalled.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from robustest import (
    Linf,
    ModelError,
    Result,
    Settings,
    Verdict,
    measure_corruption_robustness,
    measure_robust_accuracy,
    measure_shift_accuracy,
)
from robustest.context import Context, running
from robustest.store import packages


def images(n: int = 32) -> tuple[Tensor, Tensor]:
    """(n, 1, 4, 4) images of random brightness, and whether each is bright."""
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.2
    bright = torch.arange(n) % 2 == 1
    return torch.where(bright.view(-1, 1, 1, 1), 1 - x, x), bright.long()


class Bright(nn.Module):
    """Tells bright images from dark ones, or the other way round where its surroundings say so."""

    def __init__(self, path: Path | str = "") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(10.0))
        self.path = str(path)

    def sign(self, x: Tensor) -> Any:
        return 1.0

    def forward(self, x: Tensor) -> Tensor:
        z = self.weight * (x.flatten(1).mean(1) - 0.5) * self.sign(x)
        return torch.stack([-z, z], 1)


class Row:
    """A model whose answers hang on something: `write(1)` leaves that as it is, `write(-1)` turns them round."""

    def __init__(self, model: nn.Module, write: Callable[[int], object], folder: Path) -> None:
        self.model = model
        self.write = write
        self.folder = folder


class OfOpenedPath(Bright):
    def sign(self, x: Tensor) -> Any:
        with Path(self.path).open() as file:
            return float(file.readline())


class OfImage(Bright):
    def sign(self, x: Tensor) -> Any:
        with Image.open(self.path) as image:
            return 1.0 if image.getpixel((0, 0)) else -1.0


class OfTorchvisionImage(Bright):
    def sign(self, x: Tensor) -> Any:
        from torchvision.io import read_image

        return 1.0 if int(read_image(self.path).max()) else -1.0


class OfTable(Bright):
    def sign(self, x: Tensor) -> Any:
        import pandas

        return float(pandas.read_csv(self.path)["sign"][0])


class OfDump(Bright):
    def sign(self, x: Tensor) -> Any:
        import joblib

        return float(joblib.load(self.path))


class OfMap(Bright):
    def sign(self, x: Tensor) -> Any:
        return float(np.memmap(self.path, dtype=np.float64, mode="r")[0])


class OfText(Bright):
    def sign(self, x: Tensor) -> Any:
        return float(np.genfromtxt(self.path))


class OfExistence(Bright):
    def sign(self, x: Tensor) -> Any:
        return -1.0 if os.path.exists(self.path) else 1.0  # noqa: PTH110 - one of those that are told of no hook


class OfTime(Bright):
    def sign(self, x: Tensor) -> Any:
        return 1.0 if time.time() < os.stat(self.path).st_mtime else -1.0  # noqa: PTH116


class OfThreads(Bright):
    def sign(self, x: Tensor) -> Any:
        return 1.0 if torch.get_num_threads() == 1 else -1.0


class OfPackage(Bright):
    def __init__(self, package: Any) -> None:
        super().__init__()
        self.package = package.answer

    def sign(self, x: Tensor) -> Any:
        return self.package(x)


class OfMultiplication(Bright):
    def sign(self, x: Tensor) -> Any:
        return torch.ones(()).mul(1.0)


def file_row(kind: type[Bright], name: str, contents: Callable[[Path, int], object]) -> Callable[..., Row]:
    def make(folder: Path, patch: pytest.MonkeyPatch) -> Row:
        path = folder / name
        return Row(kind(path), lambda sign: contents(path, sign), folder)

    return make


def write_image(path: Path, sign: int) -> None:
    Image.fromarray(np.full((2, 2), 255 if sign > 0 else 0, np.uint8)).save(path)


def write_table(path: Path, sign: int) -> None:
    pytest.importorskip("pandas")
    path.write_text(f"sign\n{sign}\n")


def write_dump(path: Path, sign: int) -> None:
    pytest.importorskip("joblib").dump(float(sign), path)


def exist(path: Path, sign: int) -> None:
    path.unlink(missing_ok=True)
    if sign < 0:
        path.touch()


def age(path: Path, sign: int) -> None:
    path.touch()
    at = 4e9 if sign > 0 else 1e9
    os.utime(path, (at, at))


def threads_row(folder: Path, patch: pytest.MonkeyPatch) -> Row:
    return Row(OfThreads(), lambda sign: torch.set_num_threads(1 if sign > 0 else 2), folder)


def patched_row(owner: Any, name: str, model: Callable[[], nn.Module], turned: Callable[[Any], Any]) -> Any:
    """A function of torch's, replaced and put back."""

    def make(folder: Path, patch: pytest.MonkeyPatch) -> Row:
        original = getattr(owner, name)

        def write(sign: int) -> None:
            patch.setattr(owner, name, original if sign > 0 else turned(original))

        return Row(model(), write, folder)

    return make


def rectified() -> nn.Module:
    """Brightness by a linear layer behind nn.ReLU, which calls torch.nn.functional.relu."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 1), nn.ReLU(), nn.Linear(1, 2))
    with torch.no_grad():
        net[1].weight.fill_(1 / 16)
        net[1].bias.fill_(1.0)  # so that it is never negative
        net[3].weight.copy_(torch.tensor([[-10.0], [10.0]]))
        net[3].bias.copy_(torch.tensor([15.0, -15.0]))
    return net


def convolved() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 2, 4), nn.Flatten())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 4, 4))
        net[0].bias.copy_(torch.tensor([8.0, -8.0]))
    return net


PACKAGE = """
import os
SIGN = {sign}

def answer(x):
    return SIGN * float(os.environ.get("{name}_SIGN", "1"))
"""


def package_row(change: str) -> Callable[..., Row]:
    """An installed package: a global set at run time, its file edited in place, the environment that it reads."""

    def make(folder: Path, patch: pytest.MonkeyPatch) -> Row:
        name = f"acme_{change}"
        home = folder / "lib" / "site-packages"
        about = home / f"{name}-1.0.dist-info"
        about.mkdir(parents=True)
        (home / name).mkdir()
        source = home / name / "__init__.py"
        source.write_text(PACKAGE.format(sign=1, name=name))
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "RECORD").write_text(f"{name}/__init__.py,sha256=0,0\n{name}-1.0.dist-info/RECORD,,\n")
        patch.syspath_prepend(home)
        patch.setattr(sys, "dont_write_bytecode", True)
        packages._installed.cache_clear()
        package = importlib.import_module(name)
        patch.setitem(sys.modules, name, package)
        model = OfPackage(package)

        def write(sign: int) -> None:
            if change == "global":
                patch.setattr(package, "SIGN", sign)
            elif change == "environment":
                patch.setenv(f"{name}_SIGN", str(sign))
            else:
                source.write_text(PACKAGE.format(sign=sign, name=name))
                importlib.invalidate_caches()
                importlib.reload(package)
                model.package = package.answer

        return Row(model, write, folder)

    return make


ROWS: dict[str, Callable[..., Row]] = {
    "Path.open": file_row(OfOpenedPath, "sign.txt", lambda path, sign: path.write_text(str(sign))),
    "PIL.Image.open": file_row(OfImage, "sign.png", write_image),
    "pandas.read_csv": file_row(OfTable, "sign.csv", write_table),
    "joblib.load": file_row(OfDump, "sign.joblib", write_dump),
    "torchvision.io.read_image": file_row(OfTorchvisionImage, "sign.png", write_image),
    "np.memmap": file_row(OfMap, "sign.bin", lambda path, sign: path.write_bytes(np.float64(sign).tobytes())),
    "np.genfromtxt": file_row(OfText, "sign.txt", lambda path, sign: path.write_text(str(sign))),
    "os.path.exists": file_row(OfExistence, "reversed", exist),
    "a package's global": package_row("global"),
    "a package's file": package_row("file"),
    "a package's environment": package_row("environment"),
    "F.relu": patched_row(F, "relu", rectified, lambda _: lambda x, inplace=False: 3 - x),
    "Conv2d._conv_forward": patched_row(
        nn.Conv2d, "_conv_forward", convolved, lambda was: lambda self, x, w, b: -was(self, x, w, b)
    ),
    "Tensor.mul": patched_row(Tensor, "mul", OfMultiplication, lambda was: lambda a, b: -was(a, b)),
    "time.time": file_row(OfTime, "until", age),
    "get_num_threads": threads_row,
}


Measure = Callable[..., Result]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Measures with a store: `measure(model, data=..., claim=..., **options)`."""
    settings = Settings(store=str(tmp_path / "store"), recheck=0.0)

    def run(model: Any, data: Any = None, claim: Any = None, **options: Any) -> Result:
        with running(Context(settings=settings, test="t.py::t")):
            if claim is not None:
                return claim(model, images() if data is None else data, **options)
            data = images() if data is None else data
            return measure_robust_accuracy(model, data, Linf(0.01), at_least=0.9, attack="fgsm", **options)

    return run


@pytest.fixture
def one_thread() -> Any:
    yield
    torch.set_num_threads(1)
    packages._installed.cache_clear()


def check(measure: Measure, row: Row, *, told: bool = True, **how: Any) -> None:
    """Recalled while nothing changes, measured anew when something did, and recalled again once it is as it was."""
    row.write(1)
    first = measure(row.model, **how)
    assert (first.verdict, first.cached) == (Verdict.PASSED, ""), first.notes
    row.write(1)
    again = measure(row.model, **how)
    assert again.cached, again.notes
    assert again.outcomes == first.outcomes
    row.write(-1)
    changed = measure(row.model, **how)
    assert (changed.verdict, changed.cached) == (Verdict.FAILED, "")
    assert any(note.startswith("measured anew: the model answers") for note in changed.notes) is told
    assert changed.outcomes == measure(row.model, cache=False, **how).outcomes
    row.write(1)
    back = measure(row.model, **how)
    assert (back.verdict, back.outcomes) == (Verdict.PASSED, first.outcomes)


@pytest.mark.parametrize("name", ROWS)
def test_what_surrounds_a_model_is_seen_by_asking_it(
    name: str, tmp_path: Path, measure: Measure, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    check(measure, ROWS[name](tmp_path, monkeypatch))


@pytest.mark.parametrize("shape", [(32, 4, 4, 1), (32, 4, 4), (32, 16)], ids=str)
def test_samples_of_another_shape_are_other_samples(shape: tuple[int, ...], measure: Measure) -> None:
    """What the model cannot run on is no pass that is remembered of the same bytes."""
    x, y = images()
    model = nn.Sequential(nn.Conv2d(1, 2, 4), nn.Flatten())
    with torch.no_grad():
        y = model(x).argmax(1)
    measure(model, (x, y))
    assert measure(model, (x, y)).cached
    with pytest.raises(ModelError):
        measure(model, (x.reshape(shape), y[: shape[0]]))
