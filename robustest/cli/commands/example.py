"""`robustest init --example`: a small project with a green and a red test, run at once, and its page.

The model is a small network that learns four shapes in seconds, from images that a seeded script draws. It keeps its
answers under noise. Nothing in its training prepared it for an attack, so the claim about attacks is red.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import webbrowser
from pathlib import Path

from robustest.cli.screen import Exit, Screen, exit_of_pytest, write_new, wrong

FOLDER = "robustest-example"
"""Folder of the example, if none is named."""


def example(folder: str) -> int:
    """Write the project, run its tests, and open the page on a screen.

    Args:
        folder: a folder for it; "." for `FOLDER` below the current one.

    Returns:
        0 if the tests ran and ended as the example says: one green, one red.

    Raises:
        Refused: a file of the example exists already.
    """
    root = Path(FOLDER if folder == "." else folder)
    screen = Screen()
    for name in FILES:
        if (root / name).exists():
            raise wrong(f"Expected no {root / name} but it exists already. Name another folder.")
    for name, text in FILES.items():
        write_new(root / name, text)
        screen.write_line(f"wrote   {root / name}", green=True)
    has_page = importlib.util.find_spec("jinja2") is not None
    command = "python -m pytest --robust" + (" --robust-html=report" if has_page else "")
    screen.write_line(f"run     cd {root} && {command}")
    sys.stdout.flush()
    done = subprocess.run(  # noqa: S603 - the example's own tests, and no shell
        [sys.executable, *command.split()[1:]], cwd=root, check=False
    )
    if done.returncode != 1:
        return Exit.NOT_PASSED if done.returncode == 0 else exit_of_pytest(done.returncode)
    screen.write_line()
    screen.write_line("One claim holds and one fails, as it should: see the samples that it fails on.", bold=True)
    page = root / "report" / "index.html"
    if not page.is_file():
        screen.write_line("The page of a run needs jinja2: pip install 'robustest[html]'", yellow=True)
    elif not (sys.stdout.isatty() and _has_screen() and webbrowser.open(page.resolve().as_uri())):
        screen.write_line(f"page    {page}")
    screen.write_line(f"Your own model: see {root / 'conftest.py'}, or run robustest init in your project.")
    return Exit.OK


def _has_screen() -> bool:
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


_SHAPES = '''\
"""Images of four shapes, drawn with a seed, and a network that learns them in seconds."""

import torch
from torch import nn

NAMES = ["square", "disc", "cross", "ring"]


def shapes(seed, n):
    """Return n grey images (n, 1, 16, 16) in [0, 1], and the numbers of their shapes."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 4
    row, column = torch.rand(2, n, 1, 1, generator=draw) * 4 + 6
    radius = 3 + 1.5 * torch.rand(n, 1, 1, generator=draw)
    at = torch.arange(16.0)
    down, right = (at[:, None] - row).abs(), (at[None, :] - column).abs()
    far = (down**2 + right**2).sqrt()
    near = torch.maximum(down, right)
    drawn = torch.stack(
        [
            near < radius,
            far < radius,
            (near < radius) & (torch.minimum(down, right) < 1),
            (far < radius) & (far > radius - 1.6),
        ],
        1,
    )[torch.arange(n), y]
    dark, light = 0.35 * torch.rand(n, 1, 1, generator=draw), 0.65 + 0.35 * torch.rand(n, 1, 1, generator=draw)
    x = torch.where(drawn, light, dark) + 0.03 * torch.randn(n, 16, 16, generator=draw)
    return x.clamp(0, 1).unsqueeze(1), y


def trained():
    """Return a network trained as usual, without any defence."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24 * 16, 4),
    )
    x, y = shapes(0, 2000)
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    for step in range(240):
        batch = torch.arange(64 * step, 64 * (step + 1)) % len(x)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    return model.eval()
'''

_CONFTEST = '''\
"""The model and the samples: put your own in their place."""

import pytest
import shapes


@pytest.fixture(scope="session")
def robust_model():
    return shapes.trained()


@pytest.fixture(scope="session")
def robust_data():
    return shapes.shapes(seed=1, n=200)  # not those of the training
'''

_TESTS = '''\
"""What the model must keep. Run: pytest --robust --robust-html=report"""

import shapes
from robustest import Linf, assert_robust_accuracy, assert_shift_accuracy


def test_noise(robust_model, robust_data):
    """Holds: noise of a cheap camera costs few answers."""
    assert_shift_accuracy(
        robust_model, robust_data, "gaussian_noise", severity=2, at_least=0.80, classes=shapes.NAMES
    )


def test_attack(robust_model, robust_data):
    """Fails: small changes that are chosen against the model turn most of its answers."""
    assert_robust_accuracy(robust_model, robust_data, Linf(8 / 255), at_least=0.80, classes=shapes.NAMES)
'''

# Without settings of its own the project would run with those of a project around it.
FILES = {"pytest.ini": "[pytest]\n", "shapes.py": _SHAPES, "conftest.py": _CONFTEST, "test_shapes.py": _TESTS}
"""Files of the example by name."""
