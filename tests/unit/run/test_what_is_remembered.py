"""Everything that a result can depend on, changed, for everything that robustest might remember.

Each row is one dependency: `sign()` is 1.0, and -1.0 once it was changed. A model's answers, or what a training makes,
turn round with it. After a change no result may be the old one. The rows of `UNSEEN`, for trainings alone, are those
which docs/verdicts.md#stored-results names as not seen.
"""

# ruff: noqa: ARG005, S311 - what takes the place of a function takes its arguments, and nothing is secret

from __future__ import annotations

import csv
import glob
import importlib.metadata
import json
import mmap
import os
import pickle
import random
import sqlite3
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from robustest import Linf, Result, Settings
from robustest.context import Context, running
from robustest.measure import measure_robust_accuracy

Sign = Callable[[], float]


@dataclass(frozen=True)
class Change:
    """A dependency: what depends on it, and `write(1)` or `write(-1)`, which sets it."""

    sign: Sign
    write: Callable[[int], object]


Make = Callable[[Path, pytest.MonkeyPatch], Change]
"""Makes a change in a folder of its own."""


def packaged(function: Callable[..., Any], *given: Any, **known: Any) -> Sign:
    """A function as an installed package has them: its code is not read, so what it reads must be seen as it runs."""
    told = {"__name__": "os", "__file__": os.__file__, "__builtins__": __builtins__, **known}
    return types.FunctionType(function.__code__, told, None, given)


def file_row(read: Callable[..., Any], write: Callable[[Path, int], object], **known: Any) -> Make:
    """A reader of files, in a package's code."""

    def make(folder: Path, patch: pytest.MonkeyPatch) -> Change:
        path = folder / "sign"
        return Change(packaged(read, str(path), **known), lambda sign: write(path, sign))

    return make


def text(path: Path, sign: int) -> None:
    path.write_text(f"{sign}\n")


def by_open(path: str) -> float:
    with open(path) as file:
        return float(file.read())


def by_path_open(path: str) -> float:
    with Path(path).open() as file:
        return float(file.read())


def by_read_bytes(path: str) -> float:
    return float(Path(path).read_bytes())


def by_descriptor(path: str) -> float:
    number = os.open(path, os.O_RDWR)
    try:
        return float(os.read(number, 9))
    finally:
        os.close(number)


def by_genfromtxt(path: str) -> float:
    return float(np.genfromtxt(path))


def by_load(path: str) -> float:
    return float(np.load(path + ".npy"))


def by_memmap(path: str) -> float:
    return float(np.memmap(path, dtype=np.float64, mode="r")[0])


def by_mmap(path: str) -> float:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        return float(held[:])


def by_image(path: str) -> float:
    with Image.open(path + ".png") as image:
        return 1.0 if image.getpixel((0, 0)) else -1.0


def by_existence(path: str) -> float:
    return -1.0 if os.path.exists(path) else 1.0


def by_missing_file(path: str) -> float:
    try:
        with open(path):
            return -1.0
    except FileNotFoundError:
        return 1.0


def by_listing(path: str) -> float:
    return -1.0 if len(os.listdir(path)) > 1 else 1.0


def by_glob(path: str) -> float:
    return -1.0 if len(glob.glob(path + "/*.txt")) > 1 else 1.0


def by_status(path: str) -> float:
    return 1.0 if os.stat(path).st_size < 5 else -1.0


def by_date(path: str) -> float:
    return 1.0 if os.path.getmtime(path) > 2e9 else -1.0


def by_joblib(path: str) -> float:
    return float(joblib.load(path))  # type: ignore[name-defined]  # noqa: F821 - a global of the package


def by_pickle(path: str) -> float:
    with open(path, "rb") as file:
        return float(pickle.load(file))  # noqa: S301


def by_json(path: str) -> float:
    with open(path) as file:
        return float(json.load(file)["sign"])


def by_csv(path: str) -> float:
    with open(path) as file:
        return float(next(csv.reader(file))[0])


def by_pandas(path: str) -> float:
    return float(pandas.read_csv(path)["sign"][0])  # type: ignore[name-defined]  # noqa: F821


def by_sqlite(path: str) -> float:
    with closing(sqlite3.connect(path)) as database:
        return float(database.execute("SELECT sign FROM signs").fetchone()[0])


def by_load_model(path: str) -> float:
    layer = nn.Linear(1, 1, bias=False)
    safetensors.torch.load_model(layer, path)
    return float(layer.weight)


def by_load_file(path: str) -> float:
    return float(safetensors.torch.load_file(path)["weight"])


def by_safe_open(path: str) -> float:
    with safe_open(path, "pt") as file:  # taken by name, when this file was imported
        return float(file.get_tensor("weight"))


def by_torch_load(path: str) -> float:
    return float(torch.load(path))


def by_process(path: str) -> float:
    return float(subprocess.run(["/bin/cat", path], capture_output=True, check=True).stdout)  # noqa: S603


def by_reader_in_c(path: str) -> float:
    return -1.0 if len(torch._C.PyTorchFileReader(path).get_all_records()) > 9 else 1.0


def by_environment() -> float:
    return float(os.environ.get("ROBUSTEST_TEST_SIGN", "1"))


def by_getenv() -> float:
    return float(os.getenv("ROBUSTEST_TEST_SIGN", "1"))


def by_whole_environment() -> float:
    return float(dict(os.environ).get("ROBUSTEST_TEST_SIGN", "1"))


def by_clock(path: str) -> float:
    return 1.0 if time.time() < 4e9 else -1.0


def by_package_global() -> float:
    return SIGN  # type: ignore[name-defined]  # noqa: F821 - a global of the package


def write_table(path: Path, sign: int) -> None:
    path.with_name("sign").write_text(f"sign\n{sign}\n")


def write_database(path: Path, sign: int) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE IF EXISTS signs")
        database.execute("CREATE TABLE signs (sign REAL)")
        database.execute("INSERT INTO signs VALUES (?)", (sign,))
    database.close()


def write_tensor(path: Path, sign: int) -> None:
    safetensors.torch.save_file({"weight": torch.full((1, 1), float(sign))}, path)


def write_archive(path: Path, sign: int) -> None:
    torch.save({"a": torch.ones(1)} if sign > 0 else {str(at): torch.ones(1) for at in range(9)}, path)


def exist(path: Path, sign: int) -> None:
    path.unlink(missing_ok=True)
    if sign < 0:
        path.touch()


def write_folder(path: Path, sign: int) -> None:
    path.mkdir(exist_ok=True)
    (path / "a.txt").touch()
    exist(path / "b.txt", sign)


def write_length(path: Path, sign: int) -> None:
    path.write_text("1" if sign > 0 else "123456")


def write_date(path: Path, sign: int) -> None:
    path.touch()
    at = 4e9 if sign > 0 else 1e9
    os.utime(path, (at, at))


def of_module(name: str, read: Callable[..., Any], write: Callable[[Any, Path, int], object]) -> Make:
    """A reader of a package that may be absent."""

    def make(folder: Path, patch: pytest.MonkeyPatch) -> Change:
        module = pytest.importorskip(name)
        path = folder / "sign"
        return Change(packaged(read, str(path), **{name: module}), lambda sign: write(module, path, sign))

    return make


def environment_row(read: Callable[..., Any]) -> Make:
    def make(folder: Path, patch: pytest.MonkeyPatch) -> Change:
        return Change(packaged(read, os=os), lambda sign: patch.setenv("ROBUSTEST_TEST_SIGN", str(sign)))

    return make


def patched_row(owner: Any, name: str, sign: Sign, turned: Callable[[Any], Any]) -> Make:
    """A function of a package, replaced and put back."""

    def make(folder: Path, patch: pytest.MonkeyPatch) -> Change:
        was = getattr(owner, name)
        return Change(sign, lambda value: patch.setattr(owner, name, was if value > 0 else turned(was)))

    return make


def state_row(sign: Sign, put: Callable[[int], object]) -> Make:
    return lambda folder, patch: Change(sign, put)


def version_row(folder: Path, patch: pytest.MonkeyPatch) -> Change:
    home = folder / "site-packages"
    patch.syspath_prepend(home)

    def write(sign: int) -> None:
        for old in home.glob("*.dist-info"):
            (old / "METADATA").unlink()
            old.rmdir()
        about = home / f"acme_sign-{1 if sign > 0 else 2}.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-sign\nVersion: {1 if sign > 0 else 2}.0\n")
        sys.path_importer_cache.pop(str(home), None)

    write(1)
    read = packaged(by_version, version=importlib.metadata.version)
    return Change(read, write)


def by_version() -> float:
    return 1.0 if version("acme_sign") == "1.0" else -1.0  # type: ignore[name-defined]  # noqa: F821


def package_global_row(folder: Path, patch: pytest.MonkeyPatch) -> Change:
    sign: Any = packaged(by_package_global, SIGN=1.0)
    return Change(sign, lambda value: sign.__globals__.update(SIGN=float(value)))


def clock_row(folder: Path, patch: pytest.MonkeyPatch) -> Change:
    """Only the clock moves: what stands for it is a package's global, as the clock is."""
    clock = types.SimpleNamespace(time=lambda: 0.0)
    sign = packaged(by_clock, "", time=clock)
    return Change(sign, lambda value: setattr(clock, "time", (lambda: 0.0) if value > 0 else (lambda: 5e9)))


def closure_row(folder: Path, patch: pytest.MonkeyPatch) -> Change:
    held = 1.0

    def write(sign: int) -> None:
        nonlocal held
        held = float(sign)

    return Change(lambda: held, write)


def default_row(folder: Path, patch: pytest.MonkeyPatch) -> Change:
    def sign(held: float = 1.0) -> float:
        return held

    return Change(sign, lambda value: setattr(sign, "__defaults__", (float(value),)))


def object_row(folder: Path, patch: pytest.MonkeyPatch) -> Change:
    class Held:
        SIGN = 1.0

        def __call__(self) -> float:
            return self.SIGN

    return Change(Held(), lambda sign: setattr(Held, "SIGN", float(sign)))


def cached_row(folder: Path, patch: pytest.MonkeyPatch) -> Change:
    """A file that was read before anything was measured, by a function that keeps what it read."""
    from functools import lru_cache

    path = folder / "sign"
    text(path, 1)
    read = packaged(by_open, str(path))

    @lru_cache(maxsize=1)
    def sign() -> float:
        return read()

    def write(value: int) -> None:
        text(path, value)
        sign.cache_clear()
        sign()

    return Change(sign, write)


CONSTANT = 1.0
STATE = [1.0]


def of_constant() -> float:
    return CONSTANT


def of_state() -> float:
    return STATE[0]


def of_code() -> float:
    return 1.0


def of_other_code() -> float:
    return -1.0


ONE = torch.tensor(1.0)
SOFTSIGN = nn.Softsign()
CODE = (of_code.__code__, of_other_code.__code__)
CHANGES: dict[str, Make] = {
    # files, by their readers
    "open": file_row(by_open, text),
    "Path.open": file_row(by_path_open, text, Path=Path),
    "Path.read_bytes": file_row(by_read_bytes, text, Path=Path),
    "os.open": file_row(by_descriptor, text, os=os),
    "np.genfromtxt": file_row(by_genfromtxt, text, np=np),
    "np.load": file_row(by_load, lambda path, sign: np.save(path, np.float64(sign)), np=np),
    "np.memmap": file_row(by_memmap, lambda path, sign: path.write_bytes(np.float64(sign).tobytes()), np=np),
    "mmap": file_row(by_mmap, text, mmap=mmap),
    "PIL": file_row(
        by_image,
        lambda path, sign: Image.fromarray(np.full((2, 2), 255 if sign > 0 else 0, np.uint8)).save(f"{path}.png"),
        Image=Image,
    ),
    "os.path.exists": file_row(by_existence, exist, os=os),
    "a file that is not there": file_row(by_missing_file, exist),
    "os.listdir": file_row(by_listing, write_folder, os=os),
    "glob": file_row(by_glob, write_folder, glob=glob),
    "os.stat": file_row(by_status, write_length, os=os),
    "os.path.getmtime": file_row(by_date, write_date, os=os),
    "joblib.load": of_module("joblib", by_joblib, lambda module, path, sign: module.dump(float(sign), path)),
    "pickle": file_row(by_pickle, lambda path, sign: path.write_bytes(pickle.dumps(float(sign))), pickle=pickle),
    "json": file_row(by_json, lambda path, sign: path.write_text(json.dumps({"sign": sign})), json=json),
    "csv": file_row(by_csv, text, csv=csv),
    "pandas.read_csv": of_module("pandas", by_pandas, lambda _, path, sign: write_table(path, sign)),
    "sqlite3": file_row(by_sqlite, write_database, sqlite3=sqlite3, closing=closing),
    "safetensors.torch.load_model": file_row(by_load_model, write_tensor, safetensors=safetensors, nn=nn),
    "safetensors.torch.load_file": file_row(by_load_file, write_tensor, safetensors=safetensors),
    "safetensors.safe_open": file_row(by_safe_open, write_tensor, safe_open=safe_open),
    "torch.load": file_row(by_torch_load, lambda path, sign: torch.save(torch.tensor(float(sign)), path), torch=torch),
    "a process that reads a file": file_row(by_process, text, subprocess=subprocess),
    "a reader in C": file_row(by_reader_in_c, write_archive, torch=torch),
    "what a cache holds": cached_row,
    # the environment
    "os.environ": environment_row(by_environment),
    "os.getenv": environment_row(by_getenv),
    "dict(os.environ)": environment_row(by_whole_environment),
    "the clock": clock_row,
    "a package's version": version_row,
    "a package's global": package_global_row,
    # patched functions
    "F.relu": patched_row(F, "relu", lambda: float(F.relu(ONE)), lambda was: lambda x, inplace=False: -was(x)),
    "Tensor.mul": patched_row(Tensor, "mul", lambda: float(ONE.mul(1.0)), lambda was: lambda a, b: -was(a, b)),
    "np.mean": patched_row(np, "mean", lambda: float(np.mean([1.0])), lambda was: lambda a: -was(a)),
    "random.random": patched_row(
        random, "random", lambda: 1.0 if random.random() >= 0 else -1.0, lambda _: lambda: -1.0
    ),
    "nn.Softsign.forward": patched_row(
        nn.Softsign, "forward", lambda: 2 * float(SOFTSIGN(ONE)), lambda was: lambda self, x: -was(self, x)
    ),
    # torch as it is
    "threads": state_row(
        lambda: 1.0 if torch.get_num_threads() == 1 else -1.0, lambda sign: torch.set_num_threads(1 if sign > 0 else 2)
    ),
    "determinism": state_row(
        lambda: -1.0 if torch.are_deterministic_algorithms_enabled() else 1.0,
        lambda sign: torch.use_deterministic_algorithms(sign < 0),
    ),
    "denormal numbers": state_row(
        lambda: 1.0 if float(torch.tensor(1e-310, dtype=torch.float64) * 1.0) > 0 else -1.0,
        lambda sign: torch.set_flush_denormal(sign < 0),
    ),
    # the user's own code
    "a closure": closure_row,
    "a default": default_row,
    "a class attribute": object_row,
    "a module constant": state_row(of_constant, lambda sign: globals().update(CONSTANT=float(sign))),
    "a global changed in place": state_row(of_state, lambda sign: STATE.__setitem__(0, float(sign))),
    "code": state_row(of_code, lambda sign: setattr(of_code, "__code__", CODE[0 if sign > 0 else 1])),
}
UNMOVED: dict[str, Make] = {
    "dtype": state_row(
        lambda: 1.0 if torch.get_default_dtype() is torch.float32 else -1.0,
        lambda sign: torch.set_default_dtype(torch.float32 if sign > 0 else torch.float64),
    ),
    "precision": state_row(
        lambda: 1.0 if torch.get_float32_matmul_precision() == "highest" else -1.0,
        lambda sign: torch.set_float32_matmul_precision("highest" if sign > 0 else "medium"),
    ),
}
"""State of the process that a claim sets for itself, so that no outcome depends on the user's; see `full_float32`."""
UNSEEN = {
    "the clock": "the clock",
    "a package's global": "the state of an installed package (a global that it holds)",
}
"""Of trainings, with the words by which docs/verdicts.md#stored-results names them."""
FORGOTTEN = {"a process that reads a file", "what a cache holds"}
"""What is not remembered at all of a training, whatever changes."""


def images(n: int) -> tuple[Tensor, Tensor]:
    """(n, 1, 4, 4) images of random brightness, and whether each is bright."""
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(n), dtype=torch.float32) * 0.2
    bright = torch.arange(n) % 2 == 1
    return torch.where(bright.view(-1, 1, 1, 1), 1 - x, x), bright.long()


class Bright(nn.Module):
    """Tells bright images from dark ones, or the other way round, by one of three features."""

    def __init__(self, sign: Sign) -> None:
        super().__init__()
        self.sign = sign
        self.head = nn.Linear(3, 2, bias=False).float()
        self.head.weight.data.copy_(torch.tensor([[-10.0, 0.0, 0.0], [10.0, 0.0, 0.0]]))

    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1).mean(1) - 0.5).float() * self.sign()
        out: Tensor = nn.functional.linear(self.features(z), self.head.weight)
        return out

    def features(self, z: Tensor) -> Tensor:
        return torch.stack([z, z.square(), z.square() * 0.5], 1)


QUIET: dict[str, Any] = {"suppress": ("unbounded_attack_fails",)}
KINDS: dict[str, Callable[[Sign], Result]] = {
    "chunk": lambda sign: measure_robust_accuracy(
        Bright(sign), images(32), Linf(0.01), at_least=0.9, attack="fgsm", **QUIET
    ),
}
CASES = [(kind, name) for kind in KINDS for name in CHANGES]


def measured(kind: str, sign: Sign, store: Path | None) -> Result:
    settings = Settings(store=None if store is None else str(store), corpus=None, recheck=0.0)
    with running(Context(settings=settings, test="t.py::t")):
        return KINDS[kind](sign)


def told(result: Result) -> tuple[Any, ...]:
    return result.verdict, result.estimate, result.outcomes, json.dumps(result.details, sort_keys=True)


def test_what_is_not_seen_of_a_training_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "verdicts.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|") and "**not seen**" in line]
    for words in UNSEEN.values():
        assert any(words in row for row in rows), words
    assert len(CHANGES) >= 30


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    globals().update(CONSTANT=1.0)
    STATE[0] = 1.0
    of_code.__code__ = CODE[0]
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(False)
    torch.set_flush_denormal(False)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_what_changes_is_measured_anew(kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, store = tmp_path / "it", tmp_path / "store"
    folder.mkdir()
    change = CHANGES[name](folder, monkeypatch)
    change.write(1)
    first = measured(kind, change.sign, store)
    again = measured(kind, change.sign, store)
    assert told(again) == told(first)
    if kind in ("chunk", "training"):
        assert bool(again.evidence.cached) is not (kind == "training" and name in FORGOTTEN), again.words.notes
    change.write(-1)
    changed, fresh = measured(kind, change.sign, store), measured(kind, change.sign, None)
    assert told(fresh) != told(first)  # else the row shows nothing
    if kind == "training" and name in UNSEEN:
        assert told(changed) == told(first)  # once it is seen, it leaves the documented table
    else:
        assert told(changed) == told(fresh), changed.words.notes


@pytest.mark.parametrize("name", UNMOVED)
@pytest.mark.parametrize("kind", KINDS)
def test_state_that_a_claim_sets_for_itself_moves_nothing(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers would turn round with the user's state: they come out alike, and are recalled."""
    change = UNMOVED[name](tmp_path, monkeypatch)
    change.write(1)
    first = measured(kind, change.sign, tmp_path / "store")
    change.write(-1)
    assert change.sign() == -1.0
    assert told(measured(kind, change.sign, None)) == told(first)
    again = measured(kind, change.sign, tmp_path / "store")
    assert change.sign() == -1.0  # the user's state is back
    assert told(again) == told(first)
    if kind in ("chunk", "training"):
        assert again.evidence.cached, again.words.notes
