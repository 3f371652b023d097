"""A tiny project whose right answers are known in closed form, and runs of pytest on it.

Images are constant, of value 0.25, 0.44, 0.56 and 0.75, eight of each, but for three marks of 0 or 1 in the last row.
The model tells by the mean of the rest whether an image is bright, and its class is that bit with those of the marks:
sixteen classes, two samples each, and all its answers are right. No radius here moves a mark beyond 0.5. So under
Linf(eps) a sample holds exactly if eps is smaller than its distance from 0.5: all 32 at eps 0.01, 16 at eps 0.1, none
at eps 0.4. One answer for every sample is right on two of 32.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from textwrap import dedent
from typing import Any

import pytest
import torch  # noqa: F401 - runs inside this process must find torch loaded: it cannot be loaded twice
import torchvision  # noqa: F401

import robustest
import robustest.reports.junit
import robustest.reports.terminal
from robustest.engine import shrink

for _name in robustest.__all__:
    getattr(robustest, _name)  # what a run inside this process loads first, pytester takes away again

PLUGINS = [
    one
    for one in importlib.metadata.distributions()
    if any(point.group == "pytest11" or point.group.startswith("robustest") for point in one.entry_points)
]
"""Installed packages that a run inside this process may load; to look through all of them takes it 30 ms."""

STEPS = 10
"""Of searches for a smaller counterexample in runs inside this process: the toy needs no more, and many claims fail."""
WHOLE = shrink.MINIMUM
SHORT: dict[str, Any] = {
    norm: replace(
        cascade,
        stages=tuple(replace(stage, searcher=replace(stage.searcher, steps=STEPS)) for stage in cascade.stages),
    )
    for norm, cascade in WHOLE.items()
}
Run = Callable[..., pytest.RunResult]
Rows = Callable[..., dict[str, dict[str, Any]]]

CONFTEST = """
import pytest

@pytest.fixture(scope="session")
def robust_model():
    from toy import Brightness
    return Brightness()

@pytest.fixture(scope="session")
def robust_data():
    from toy import data
    return data()
"""

TOY = """
import torch
from torch import nn

class Brightness(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, x):
        x = x.view(len(x), 1, 4, 4) if x.ndim == 2 else x
        marks = min(3, x.shape[-1] - 1)
        rest = torch.cat([x[:, :, :-1].flatten(1), x[:, :, -1, marks:].flatten(1)], 1)
        leads = self.scale * (rest.mean(1, keepdim=True) - 0.5)
        leads = torch.cat([leads, 10 * (x[:, 0, -1, :marks] - 0.5)], 1)
        bits = 2 * (torch.arange(2 ** leads.shape[1]).unsqueeze(1) >> torch.arange(leads.shape[1]) & 1) - 1
        return (leads.unsqueeze(1) * bits.to(leads)).sum(2)

def data(values=(0.25, 0.44, 0.56, 0.75), times=8, size=4):
    value = torch.tensor(values).repeat(times)
    x = value.view(-1, 1, 1, 1).repeat(1, 1, size, size)
    y = (value > 0.5).long()
    if size > 1:
        own = torch.arange(len(x)) / 2**20  # no image is a copy, and the means are the same
        x[:, 0, 0, 0] += own
        x[:, 0, 0, 1] -= own
        marks = (torch.arange(len(x)) // 4).unsqueeze(1) >> torch.arange(min(3, size - 1)) & 1
        x[:, 0, -1, : marks.shape[1]] = marks.float()
        y += (marks * torch.tensor([2, 4, 8])[: marks.shape[1]]).sum(1)
    return x, y
"""

MADE = """
from robustest.results import Cost, Result, Verdict

def made(verdict="passed", **changes):
    fields = dict(
        kind="robust_accuracy", statement="made up >= 0.5", verdict=Verdict(verdict), rule="made up",
        quantity="accuracy", estimate=0.5, interval=(0.25, 0.75), threshold=0.5, comparison=">=", n=4, n_total=4,
        outcomes=(True, False, True, False), cost=Cost(), seed=0, setting="nothing", method="none",
    )
    return Result.of(**{**fields, **changes})

def claimed():  # a claim that passed, for tests that are about something else
    from robustest import context
    context.current().record(made())
"""

IMPORTS = """
import pytest
from made import claimed
from robustest import *
from robustest.attacks import *
from robustest.cues import *
from robustest.measure import *

def claim(model, data, eps, at_least, **options):
    __tracebackhide__ = True
    return assert_robust_accuracy(model, data, Linf(eps), at_least=at_least, attack="fgsm", **options)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with the model, the data, and `made()` for results that need neither."""
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)  # so that these tests run inside a worker too
    for name in ("PYTEST_ADDOPTS", "CI", "BUILD_NUMBER"):  # pytest too looks at the last two
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "300")  # no message is cut
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: iter(PLUGINS))
    monkeypatch.setattr(shrink, "MINIMUM", SHORT)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(toy=TOY, made=MADE)
    return pytester


@pytest.fixture
def as_in_other_processes(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search for smaller counterexamples as long as processes of their own do."""
    monkeypatch.setattr(shrink, "MINIMUM", WHOLE)


@pytest.fixture
def write(project: pytest.Pytester) -> Callable[..., None]:
    """Write test modules: `write(test_a="def test_x(): ...")`; pytest, the public names and `claim` are imported."""

    def _write(**sources: str) -> None:
        for name, source in sources.items():
            (project.path / f"{name}.py").write_text(IMPORTS + dedent(source), encoding="utf-8")

    return _write


@pytest.fixture
def write_light(project: pytest.Pytester) -> Callable[..., None]:
    """Write test modules that load no torch, so that a process of their own starts soon: pytest and `made` only."""

    def _write(**sources: str) -> None:
        for name, source in sources.items():
            text = f"import pytest\nfrom made import made\n{dedent(source)}"
            (project.path / f"{name}.py").write_text(text, encoding="utf-8")

    return _write


@pytest.fixture
def run(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest on the project inside this process; `ci` is what the variable CI holds, None for unset."""

    def _run(*args: str, ci: str | None = None) -> pytest.RunResult:
        _set_ci(monkeypatch, ci)
        return project.runpytest_inprocess("-W", "error", *args)

    return _run


@pytest.fixture
def run_apart(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest on the project in a process of its own."""

    def _run(*args: str, ci: str | None = None) -> pytest.RunResult:
        _set_ci(monkeypatch, ci)
        return project.runpytest_subprocess("-W", "error", *args)

    return _run


def _set_ci(monkeypatch: pytest.MonkeyPatch, ci: str | None) -> None:
    for name in ("CI", "BUILD_NUMBER"):  # pytest too looks at both
        monkeypatch.delenv(name, raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)


@pytest.fixture
def read_json(project: pytest.Pytester) -> Callable[[], dict[str, Any]]:
    """What `--robust-json=out.json` wrote, if it is JSON by the standard (no NaN, no Infinity)."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    def _read() -> dict[str, Any]:
        text = (project.path / "out.json").read_text(encoding="utf-8")
        content: dict[str, Any] = json.loads(text, parse_constant=refuse)
        return content

    return _read


@pytest.fixture
def rows_of(run: Run, read_json: Callable[[], dict[str, Any]]) -> Rows:
    """The rows of a robust run, by the test's name; for tests with one claim each."""

    def _rows(*args: str, ci: str | None = None) -> dict[str, dict[str, Any]]:
        run("--robust", "--robust-json=out.json", *args, ci=ci)
        return {row["test"].split("::", 1)[1]: row for row in read_json()["results"]}

    return _rows


@pytest.fixture
def section() -> Callable[[pytest.RunResult], list[str]]:
    """The lines of the terminal's section `robustness`; none where there is no section."""

    def _section(result: pytest.RunResult) -> list[str]:
        lines = iter(result.outlines)
        for line in lines:
            if re.fullmatch(r"=+ robustness =+", line):
                break
        inside = []
        for line in lines:
            if line.startswith("==="):
                break
            inside.append(line)
        return inside

    return _section
