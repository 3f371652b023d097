"""Edits of a small project: after some, nothing that is remembered may count; after others, all of it must.

The project holds a net in `nets.py`, which builds on `layers.py`, which calls `helpers.py`, and two claims about the
net in `claims.py`. Each edit is made between two runs of a claim with one store. Packs run the table on trainings and
other values that they store, by a claim of their own.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from robustest import Result, Settings
from robustest.context import Context, running

FILES = {
    "helpers.py": """
GAIN = 2.0

def gain(x):
    return x * GAIN
""",
    "layers.py": """
import helpers
import torch
from torch import nn

STATE = [1.0]

def mix(x, low=-3.0):
    return helpers.gain(x).clamp(min=low) * STATE[0]

def times(factor):
    def scale(x):
        return x * factor
    return scale

class Base(nn.Module):
    LEVEL = 1.0

    def shift(self, x):
        return x + self.LEVEL
""",
    "nets.py": """
import os
from pathlib import Path

import torch
from layers import Base, mix, times
from torch import nn

BIAS = float(os.environ.get("ACME_BIAS", "0"))
GENERATED = {}
exec("def made(x):\\n    return x * 1.0", GENERATED)

class Net(Base):
    def __init__(self, folder):
        super().__init__()
        self.scale = times(1.5)
        self.last = lambda x: x * 10.0
        self.made = GENERATED["made"]
        self.weight = nn.Parameter(torch.load(folder / "weights.pt", weights_only=True))
        self.register_buffer("offset", torch.zeros(()))

    def shift(self, x):
        return super().shift(x) - 1.5

    def forward(self, x):
        with Path("offset.txt").open() as file:
            offset = float(file.read())
        z = torch.nn.functional.relu(x.flatten(1).mean(1)) * self.weight + offset + BIAS + self.offset
        z = self.last(self.scale(self.made(mix(self.shift(z)))))
        return torch.stack([-z, z], 1)
""",
    "claims.py": """
import torch
from nets import Net
from robustest import Linf
from robustest.measure import measure_robust_accuracy, measure_shift_accuracy

def images(n):
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(n)) * 0.2
    y = torch.arange(n) % 2
    return torch.where(y.view(-1, 1, 1, 1) == 1, 1 - x, x), y

QUIET = dict(attack="fgsm", suppress=("unbounded_attack_fails",))

def test_bright(net):
    return measure_robust_accuracy(net, images(32), Linf(0.01), at_least=0.25, **QUIET)

def test_other(net):
    assert net.training

def test_noisy(net):
    return measure_shift_accuracy(net, images(32), "gaussian_noise", severity=1, at_least=0.2)
""",
    "unrelated.py": "VALUE = 1\n",
    "README.md": "A net.\n",
    "offset.txt": "0.0",
}


@dataclass
class Project:
    """A copy of the project, and how it is run: `write` changes its files, `change` the net once it is built.

    Attributes:
        folder: where the files are.
        patch: undone after the test.
        change: what is done with the net and its modules before they are measured.
    """

    folder: Path
    store: Path
    patch: pytest.MonkeyPatch
    change: Callable[[Any], object] = id

    def write(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert text.count(old) == 1, (name, old)
        (self.folder / name).write_text(text.replace(old, new))

    def modules(self) -> dict[str, ModuleType]:
        """Import the files anew, as a fresh process does."""
        loaded = {}
        for name in ("helpers", "layers", "nets", "claims"):
            path = self.folder / f"{name}.py"
            loaded[name] = ModuleType(name)
            loaded[name].__file__ = str(path)
            self.patch.setitem(sys.modules, name, loaded[name])
            exec(compile(path.read_text(), path, "exec"), vars(loaded[name]))  # noqa: S102 - as imports do
        return loaded

    def run(self, *kinds: str) -> dict[str, Result]:
        """Return the result of each claim."""
        modules = self.modules()
        net = modules["nets"].Net(self.folder)
        self.change(net)
        settings = Settings(store=str(self.store), corpus=None, recheck=0.0)
        found = {}
        self.patch.chdir(self.folder)
        for kind in kinds:
            with running(Context(settings=settings, test="t.py::t")):
                found[kind] = getattr(modules["claims"], kind)(net)
        return found


Edit = Callable[[Project], object]


def edited(name: str, old: str, new: str) -> Edit:
    return lambda project: project.write(name, old, new)


def patched(owner: Any, name: str, make: Callable[[Any], Any]) -> Edit:
    return lambda project: project.patch.setattr(owner, name, make(getattr(owner, name)))


def changed(change: Callable[[Any], object]) -> Edit:
    def edit(project: Project) -> None:
        project.change = change

    return edit


def increase(tensor: torch.Tensor) -> None:
    with torch.no_grad():
        tensor += 0.25


def moved(project: Project) -> None:
    target = project.folder.parent / "elsewhere" / "project"
    shutil.copytree(project.folder, target)
    shutil.rmtree(project.folder)
    project.folder = target


def touched(project: Project) -> None:
    for path in project.folder.iterdir():
        os.utime(path, (1, 1))


def saved_again(project: Project) -> None:
    torch.save(torch.load(project.folder / "weights.pt", weights_only=True).clone(), project.folder / "weights.pt")


FORGETS: dict[str, Edit] = {
    "a function two modules away": edited("helpers.py", "x * GAIN", "x * GAIN + 0.5"),
    "a constant of an imported module": edited("helpers.py", "GAIN = 2.0", "GAIN = 3.0"),
    "a closure's value": edited("nets.py", "times(1.5)", "times(2.5)"),
    "a default argument": edited("layers.py", "low=-3.0", "low=-2.0"),
    "a function replaced in torch": patched(F, "relu", lambda was: lambda x, inplace=False: was(x) + 0.25),  # noqa: ARG005
    "weights in place": changed(lambda net: increase(net.weight)),
    "a buffer": changed(lambda net: increase(net.offset)),
    "a hook": changed(lambda net: net.register_forward_hook(lambda module, x, out: out.flip(1))),  # noqa: ARG005
    "a file that the model reads": edited("offset.txt", "0.0", "0.5"),
    "an environment variable": lambda project: project.patch.setenv("ACME_BIAS", "0.5"),
    "a global changed at run time": changed(lambda _: sys.modules["layers"].STATE.__setitem__(0, 2.0)),
    "a lambda": edited("nets.py", "lambda x: x * 10.0", "lambda x: x * 11.0"),
    "a class attribute": edited("layers.py", "LEVEL = 1.0", "LEVEL = 1.25"),
    "a method of a subclass": edited("nets.py", "super().shift(x) - 1.5", "super().shift(x) - 1.25"),
    "a function without source": edited("nets.py", "return x * 1.0", "return x * 1.125"),
    "another version of torch": patched(torch, "__version__", lambda was: f"{was}.post1"),
}
KEEPS: dict[str, Edit] = {
    "comments and blank lines in the model's file": edited("nets.py", "class Net", "\n# The net.\n\nclass Net"),
    "another file": edited("unrelated.py", "1", "2"),
    "the test's threshold": edited("claims.py", "at_least=0.25", "at_least=0.3"),
    "another test's name": edited("claims.py", "def test_other", "def test_another"),
    "the project's folder": moved,
    "the files' dates": touched,
    "weights saved again": saved_again,
    "a new file": lambda project: (project.folder / "new.py").write_text("NEW = 1\n"),
    "the README": edited("README.md", "A net.", "A small net."),
}
KINDS = ("test_bright", "test_noisy")
"""The claims, by the functions that make them."""


def made(folder: Path, patch: pytest.MonkeyPatch) -> Project:
    """Write the project into a new folder."""
    files = folder / "project"
    files.mkdir()
    for name, text in FILES.items():
        (files / name).write_text(text)
    torch.save(torch.tensor(1.0), files / "weights.pt")
    patch.delenv("ACME_BIAS", raising=False)
    return Project(files, folder / "store", patch)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return made(tmp_path, monkeypatch)


@pytest.mark.thinned
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edit", FORGETS)
def test_a_result_is_measured_anew_after(edit: str, kind: str, project: Project) -> None:
    first = project.run(kind)[kind]
    again = project.run(kind)[kind]
    assert again.evidence.cached, again.words.notes
    FORGETS[edit](project)
    assert not project.run(kind)[kind].evidence.cached
    assert not first.evidence.cached


@pytest.mark.thinned
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edit", KEEPS)
def test_a_result_is_remembered_after(edit: str, kind: str, project: Project) -> None:
    first = project.run(kind)[kind]
    KEEPS[edit](project)
    again = project.run(kind)[kind]
    assert again.evidence.cached, again.words.notes
    assert again.estimate == first.estimate


def test_a_result_is_remembered_in_another_order_of_the_tests(project: Project) -> None:
    project.run(*KINDS)
    assert all(result.evidence.cached for result in project.run(*reversed(KINDS)).values())


PROCESS = """
import sys
sys.path.insert(0, ".")
sys.dont_write_bytecode = True
from pathlib import Path
import torch
torch.set_num_threads(1)
import claims, nets
from robustest import Settings
from robustest.context import Context, running

net = nets.Net(Path("."))
with running(Context(settings=Settings(store=sys.argv[1], corpus=None, recheck=0.0), test="t.py::t")):
    print(*(bool(getattr(claims, name)(net).evidence.cached) for name in sys.argv[2:]))
"""


def test_a_result_is_remembered_in_another_process(
    project: Project, fork: Callable[..., str], program: Callable[..., str]
) -> None:
    outputs = [run(PROCESS, project.store, *KINDS, cwd=project.folder) for run in (fork, program)]
    assert outputs == [" ".join(["False"] * len(KINDS)), " ".join(["True"] * len(KINDS))]
