"""What a model depends on beyond its code and weights: a change is never covered by what is remembered.

Each row has a twin: as long as nothing changes, what was measured is recalled.
"""

# ruff: noqa: ARG005 - what takes the place of a function takes its arguments

from __future__ import annotations

import importlib
import os
import random
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from robustest import Linf, ModelError, Result, Settings, StoreError, Verdict, rng
from robustest.context import Context, running
from robustest.identity import packages
from robustest.measure import measure_robust_accuracy, measure_shift_accuracy


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
    """A model whose answers depend on something: `write(1)` leaves that as it is, `write(-1)` turns them round."""

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

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # since torchvision 0.29; while it reads, it counts
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
        return -1.0 if os.path.exists(self.path) else 1.0


class OfTime(Bright):
    def sign(self, x: Tensor) -> Any:
        return 1.0 if time.time() < os.stat(self.path).st_mtime else -1.0


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
READ = {"F.relu", "Conv2d._conv_forward", "Tensor.mul"}
"""Rows that reading the model shows too: nothing is found that the model would have to be asked about."""

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
    assert (first.verdict, first.evidence.cached) == (Verdict.PASSED, ""), first.words.notes
    row.write(1)
    again = measure(row.model, **how)
    assert again.evidence.cached, again.words.notes
    assert again.outcomes == first.outcomes
    row.write(-1)
    changed = measure(row.model, **how)
    assert (changed.verdict, changed.evidence.cached) == (Verdict.FAILED, "")
    # A file, path or variable that was read is named; of all else the answers alone show that something changed.
    assert any(note.startswith("measured anew: ") for note in changed.words.notes) is told
    assert changed.outcomes == measure(row.model, cache=False, **how).outcomes
    row.write(1)
    back = measure(row.model, **how)
    assert (back.verdict, back.outcomes) == (Verdict.PASSED, first.outcomes)


@pytest.mark.parametrize("name", ROWS)
def test_what_surrounds_a_model_is_seen_by_asking_it(
    name: str, tmp_path: Path, measure: Measure, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    check(measure, ROWS[name](tmp_path, monkeypatch), told=name not in READ)


@pytest.mark.parametrize("shape", [(32, 4, 4, 1), (32, 4, 4), (32, 16)], ids=str)
def test_samples_of_another_shape_are_other_samples(shape: tuple[int, ...], measure: Measure) -> None:
    """What the model cannot run on is no pass that is remembered of the same bytes."""
    x, y = images()
    model = nn.Sequential(nn.Conv2d(1, 2, 4), nn.Flatten())
    with torch.no_grad():
        y = model(x).argmax(1)
    measure(model, (x, y))
    assert measure(model, (x, y)).evidence.cached
    with pytest.raises(ModelError):
        measure(model, (x.reshape(shape), y[: shape[0]]))


STATE = [1.0]


class OfList(Bright):
    def sign(self, x: Tensor) -> Any:
        return STATE[0]


class OfClass(Bright):
    SIGN = 1.0

    def sign(self, x: Tensor) -> Any:
        return self.SIGN


class OfFunction(Bright):
    def __init__(self, function: Callable[[], float]) -> None:
        super().__init__()
        self.function = function

    def sign(self, x: Tensor) -> Any:
        return self.function()


class OfFlag(Bright):
    def sign(self, x: Tensor) -> Any:
        return -1.0 if torch.are_deterministic_algorithms_enabled() else 1.0


class OfRareFile(Bright):
    """Opens its file always, and needs it for images of which none is among the first."""

    def sign(self, x: Tensor) -> Any:
        with Path(self.path).open() as file:
            sign = float(file.readline())
        return torch.where(x[:, 0, 0, 0] < x.flatten(1).mean(1) - 0.5, sign, 1.0)


class Climb(torch.autograd.Function):
    """Nothing, whose gradient is turned round where a file says so."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, path: str) -> Tensor:
        ctx.path = path
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        with Path(ctx.path).open() as file:
            return gradient * float(file.readline()), None


class OfGradient(Bright):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Climb.apply(x, self.path))


def in_place(folder: Path, patch: pytest.MonkeyPatch) -> Row:
    return Row(OfList(), lambda sign: STATE.__setitem__(0, float(sign)), folder)


def on_the_class(folder: Path, patch: pytest.MonkeyPatch) -> Row:
    return Row(OfClass(), lambda sign: patch.setattr(OfClass, "SIGN", float(sign)), folder)


def called_otherwise(folder: Path, patch: pytest.MonkeyPatch) -> Row:
    class Called(Bright):
        pass

    def write(sign: int) -> None:
        if sign > 0 and "__call__" in vars(Called):
            del Called.__call__
        if sign < 0:
            Called.__call__ = lambda self, x: -nn.Module.__call__(self, x)  # type: ignore[method-assign]

    return Row(Called(), write, folder)


def in_a_cell(folder: Path, patch: pytest.MonkeyPatch) -> Row:
    held = 1.0

    def write(sign: int) -> None:
        nonlocal held
        held = float(sign)

    return Row(OfFunction(lambda: held), write, folder)


def flagged(folder: Path, patch: pytest.MonkeyPatch) -> Row:
    return Row(OfFlag(), lambda sign: torch.use_deterministic_algorithms(sign < 0), folder)


def hooked(folder: Path, patch: pytest.MonkeyPatch) -> Row:
    handles: list[Any] = []

    def write(sign: int) -> None:
        while handles:
            handles.pop().remove()
        if sign < 0:
            handles.append(nn.modules.module.register_module_forward_hook(lambda module, x, out: -out))

    return Row(Bright(), write, folder)


def parametrized(folder: Path, patch: pytest.MonkeyPatch) -> Row:
    class Minus(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return -weight

    model = Bright()

    def write(sign: int) -> None:
        if nn.utils.parametrize.is_parametrized(model):
            nn.utils.parametrize.remove_parametrizations(model, "weight", leave_parametrized=False)
        if sign < 0:
            nn.utils.parametrize.register_parametrization(model, "weight", Minus())

    return Row(model, write, folder)


def another_of_torch_s(folder: Path, patch: pytest.MonkeyPatch) -> Row:
    """A function of torch's in the place of another of torch's."""
    original = F.relu
    return Row(rectified(), lambda sign: patch.setattr(F, "relu", original if sign > 0 else F.hardtanh), folder)


OWN: dict[str, Callable[..., Row]] = {
    "a list changed in place": in_place,
    "an attribute of a class": on_the_class,
    "__call__ of a subclass": called_otherwise,
    "what a closure holds": in_a_cell,
    "a hook of every module": hooked,
    "a parametrization": parametrized,
    "a function of torch in another's place": another_of_torch_s,
}
"""What reading the model shows."""

MORE: dict[str, Callable[..., Row]] = {"a flag of torch": flagged}
"""What asking shows."""


@pytest.fixture
def flags() -> Any:
    yield
    torch.use_deterministic_algorithms(False)
    STATE[0] = 1.0


@pytest.mark.parametrize("name", [*OWN, *MORE])
def test_what_a_model_is_made_of_is_seen(
    name: str, tmp_path: Path, measure: Measure, monkeypatch: pytest.MonkeyPatch, flags: None
) -> None:
    check(
        measure, {**OWN, **MORE}[name](tmp_path, monkeypatch), told=name in MORE, suppress=("unbounded_attack_fails",)
    )


def signed_file(folder: Path) -> tuple[Path, Callable[[int], object]]:
    path = folder / "sign.txt"
    return path, lambda sign: path.write_text(str(sign))


def test_a_gradient_that_changes_alone_is_seen(tmp_path: Path, measure: Measure) -> None:
    """The answers are the same: what an attack finds is not."""
    path, write = signed_file(tmp_path)
    model, quiet = OfGradient(path), ("unbounded_attack_fails", "loss_does_not_rise", "gradient_misleads")

    def claim() -> Result:
        how = {"attack": "fgsm", "at_least": 0.6, "suppress": quiet}
        return measure(model, claim=measure_robust_accuracy, threat=Linf(0.6), **how)

    write(-1)
    first = claim()
    assert first.verdict is Verdict.PASSED, first.words.notes
    assert claim().evidence.cached
    write(1)
    second = claim()
    assert (second.verdict, second.evidence.cached) == (Verdict.FAILED, "")


def test_a_file_that_no_sample_asked_about_needs_is_seen_where_it_is_opened(tmp_path: Path, measure: Measure) -> None:
    path, write = signed_file(tmp_path)
    x, y = images(400)
    later = rng.permutation(0, 400)[64:]
    rare = later[y[later] == 1][:80]
    x[rare, 0, 0, 0] = 0.0
    model, how = OfRareFile(path), {"claim": measure_shift_accuracy, "shift": "brightness", "severity": 1}
    write(1)
    first = measure(model, (x, y), **how, at_least=0.9, exact=True)
    assert first.verdict is Verdict.PASSED
    path.touch()
    assert measure(model, (x, y), **how, at_least=0.9, exact=True).evidence.cached
    write(-1)
    second = measure(model, (x, y), **how, at_least=0.9, exact=True)
    assert (second.verdict, second.evidence.cached) == (Verdict.FAILED, "")
    assert any("sign.txt, which is read as the model answers" in note for note in second.words.notes)


@pytest.mark.parametrize("what", ["shift", "preprocessing", "labels"])
def test_what_stands_around_the_model_is_asked_too(what: str, tmp_path: Path, measure: Measure) -> None:
    path, write = signed_file(tmp_path)
    x, y = images()

    def sign() -> float:
        with path.open() as file:
            return float(file.readline())

    def turn(x: Tensor) -> Tensor:
        return 0.9 * x if sign() > 0 else 1 - x  # a shift that changes nothing would pass no claim

    def labels(i: int) -> int:
        return int(y[i]) if sign() > 0 else 1 - int(y[i])

    class Read(list[Any]):
        def __getitem__(self, i: Any) -> Any:
            return x[i], labels(i)

    model = Bright()

    def claim() -> Result:
        if what == "shift":
            return measure(model, claim=measure_shift_accuracy, shift=turn, at_least=0.9)
        if what == "preprocessing":
            return measure(
                model, claim=measure_shift_accuracy, shift="brightness", severity=1, at_least=0.9, preprocessing=turn
            )
        return measure(
            model, Read(range(32)), claim=measure_shift_accuracy, shift="brightness", severity=1, at_least=0.9
        )

    write(1)
    assert claim().verdict is Verdict.PASSED
    assert claim().evidence.cached
    write(-1)
    changed = claim()
    assert (changed.verdict, changed.evidence.cached) == (Verdict.FAILED, "")


class OfLaterFile(Bright):
    """Needs what nobody sees for images of which none is among the first."""

    def sign(self, x: Tensor) -> Any:
        marked = x[:, 0, 0, 0] < x.flatten(1).mean(1) - 0.5
        return torch.where(marked, UNSEEN["sign"](), 1.0)

    def robustest_fingerprint(self) -> str:
        return "a version that its user forgot to change"


UNSEEN: dict[str, Callable[[], float]] = {"sign": lambda: 1.0}


def test_a_change_of_later_samples_alone_is_seen_by_samples_drawn_anew(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustest.run.memory.secrets.SystemRandom", lambda: random.Random(0))  # noqa: S311
    x, y = images(400)
    first = set(rng.permutation(0, 400)[:40].tolist())
    later = torch.tensor([i not in first for i in range(400)])
    x[later & (y == 1), 0, 0, 0] = 0.0
    model = OfLaterFile()

    def claim() -> Result:
        how = {"shift": "brightness", "severity": 1, "at_least": 0.9, "exact": True}
        return measure(model, (x, y), claim=measure_shift_accuracy, **how)

    assert claim().verdict is Verdict.PASSED
    assert claim().evidence.cached
    monkeypatch.setitem(UNSEEN, "sign", lambda: -1.0)
    changed = claim()
    assert (changed.verdict, changed.evidence.cached) == (Verdict.FAILED, "")
    assert any("samples of a remembered chunk otherwise" in note for note in changed.words.notes)
    # What the changed model gave is remembered in its turn.
    assert claim().evidence.cached
    assert claim().verdict is Verdict.FAILED


class Always(random.Random):
    """Asks every recalled chunk about its samples."""

    def random(self) -> float:
        return 0.0


def test_a_change_that_shows_after_a_chunk_was_recalled_ends_the_claim(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustest.run.memory.secrets.SystemRandom", lambda: Always(0))
    n = 800
    x, y = images(n)
    early = set(rng.permutation(0, n)[: n // 2].tolist())
    later = torch.tensor([i not in early for i in range(n)])
    x[later & (y == 1), 0, 0, 0] = 0.0
    model = OfLaterFile()

    def claim() -> Result:
        how = {"shift": "brightness", "severity": 1, "at_least": 0.9, "exact": True}
        return measure(model, (x, y), claim=measure_shift_accuracy, **how)

    assert claim().verdict is Verdict.PASSED
    assert claim().evidence.cached
    monkeypatch.setitem(UNSEEN, "sign", lambda: -1.0)
    with pytest.raises(StoreError, match=r"remembered chunks to hold .* samples of a remembered chunk otherwise"):
        claim()
    # The chunks that were recalled before it count no more either.
    again = claim()
    assert (again.verdict, again.evidence.cached) == (Verdict.FAILED, "")
    assert claim().evidence.cached
