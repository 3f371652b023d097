"""The command on runs that pytest really made, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys

import pytest

from robustest.cli.suggest import fewest
from robustest.reports.json_file import SCHEMA

MODEL = """
import pytest
import torch
from torch import nn

class Brightness(nn.Module):
    # bright (class 1) where the mean exceeds 0.5, so that a constant image holds where it is farther than eps from it
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, x):
        z = self.scale * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-z, z], 1)

@pytest.fixture(scope="session")
def robust_model():
    torch.set_num_threads(1)
    return Brightness().eval()

@pytest.fixture(scope="session")
def robust_data():
    value = torch.tensor([0.25, 0.44, 0.56, 0.75] * 40)
    return value.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous(), (value > 0.5).long()
"""

CLAIMS = """
from robustest import Linf, assert_robust_accuracy

def test_all_hold(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(0.01), at_least=0.5, attack="fgsm")

def test_half_hold(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.9, attack="fgsm")

def test_kept(robust_model, robust_data, robust_baseline):
    assert_robust_accuracy(robust_model, robust_data, Linf(0.1), attack="fgsm", no_worse_than=robust_baseline)
"""

RECORDED = """
import pytest
from robustest.results import Cost, Result, Verdict

def made(verdict, n):
    return Result.of(
        kind="robust_accuracy", statement=f"made up {n} >= 0.5", verdict=Verdict(verdict), rule="made up",
        quantity="accuracy", estimate=0.5, interval=(0.25, 0.75), threshold=0.5, comparison=">=", n=4, n_total=4,
        outcomes=(True, False, True, False), cost=Cost(), seed=0, setting="nothing", method="none",
    )

@pytest.mark.parametrize("n", range(5))
def test_it(robust, n):
    for number in range(n % 2 + 1):
        robust.record(made("passed", number))

def test_last(robust):
    robust.record(made("failed", 0))
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty project, tried out as if by hand, outside any other run of pytest."""
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "300")
    return pytester


def command(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.run(sys.executable, "-m", "robustest.cli", *arguments)


def robust(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.run(sys.executable, "-m", "pytest", "--robust", "-q", *arguments)


@pytest.mark.slow
def test_suggest_measures_a_suite(project: pytest.Pytester) -> None:
    project.makeconftest(MODEL)
    project.makepyfile(test_claims=CLAIMS)
    files = {path: path.read_bytes() for path in project.path.glob("*.py")}
    done = command(project, "suggest", "-q", "-k", "hold")
    assert done.ret == 0
    table = done.outlines[next(n for n, line in enumerate(done.outlines) if re.fullmatch("=+ thresholds =+", line)) :]
    measured = [line.split()[3] for line in table if line.startswith("    measured")]
    held = [line.split()[3] for line in table if line.startswith("    could hold")]
    assert measured == ["1.000", "0.500"], "exact, though both verdicts could have come early"
    assert [float(value) for value in held] == pytest.approx([fewest(k, 160, 0.01) / 160 for k in (160, 80)], abs=1e-3)
    assert [line.split()[-3] for line in table if line.startswith("    could hold")] == ["tighter", "looser"]
    assert {path: path.read_bytes() for path in project.path.glob("*.py")} == files


@pytest.mark.slow
def test_estimate_measures_the_first_samples_alone(project: pytest.Pytester) -> None:
    project.makeconftest(MODEL.replace("* 40", "* 400"))
    project.makepyfile(test_claims=CLAIMS)
    done = command(project, "estimate", "--robust-device=cpu", "-k", "half")
    assert done.ret == 0
    shown = next(line.split() for line in done.outlines if " samples, " in line)
    assert shown[:2] == ["1,600", "samples,"]
    limits = ("--robust-exact", "--robust-max-samples=192", "--robust-no-cache", "--robust-device=cpu")
    shutil.rmtree(project.path / ".robustest")  # its counterexamples would be replayed
    robust(project, *limits, "--robust-json=first.json", "-k", "half")
    first = json.loads((project.path / "first.json").read_text())["results"][0]["result"]
    assert (first["n"], first["n_total"]) == (192, 1600)
    passes = [f"{first['cost'][kind] / 192:.1f}" for kind in ("forward", "backward")]
    assert shown[2:7:4] == passes, "of each of the 192 measured samples, not of all"
    assert re.fullmatch(r" {4}cpu +\d+(\.\d)? s", next(line for line in done.outlines if line.startswith("    cpu")))


@pytest.mark.slow
def test_a_baseline_is_made_shown_and_kept(project: pytest.Pytester) -> None:
    project.makeconftest(MODEL)
    project.makepyfile(test_claims=CLAIMS)
    kept = "test_claims.py::test_kept"
    assert command(project, "baseline", "update", "-q", kept).ret == 0
    shown = command(project, "baseline", "show")
    assert shown.ret == 0
    assert "0.500 (80 of 160 hold)" in shown.stdout.str()
    assert robust(project, kept).ret == 0
    assert command(project, "show").ret == 0, "what was remembered of it"


def test_ci_makes_no_baseline(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makepyfile(test_recorded=RECORDED)
    monkeypatch.setenv("CI", "true")
    done = command(project, "baseline", "update")
    assert (done.ret, done.outlines) == (2, [])
    assert not (project.path / "robust-baseline.json").exists()


def test_merged_shards_are_the_run_that_was_not_sharded(project: pytest.Pytester) -> None:
    project.makepyfile(test_recorded=RECORDED)
    assert robust(project, "--robust-json=whole.json").ret == 0
    for shard in (1, 2):
        assert robust(project, f"--robust-shard={shard}/2", f"--robust-json=shard-{shard}/robust.json").ret == 0
    done = command(project, "merge", "shard-2/robust.json", "shard-1/robust.json", "-o", "merged.json")
    assert done.ret == 0, "as pytest: the claim that failed was recorded, and failed no test"
    merged, whole = (json.loads((project.path / f"{name}.json").read_bytes()) for name in ("merged", "whole"))
    assert merged["origin"].pop("time") > whole["origin"].pop("time")  # when it was: the runs were not one
    assert merged == whole
    assert merged["schema"] == SCHEMA
    shown = command(project, "show", "whole.json")
    assert shown.outlines == done.outlines


@pytest.mark.slow
def test_what_init_writes_runs_once_the_fixtures_are_filled_in(project: pytest.Pytester) -> None:
    assert command(project, "init").ret == 0
    assert "raise pytest.UsageError" in (project.path / "conftest.py").read_text(encoding="utf-8")
    assert not (project.path / "tests").exists(), "no test is right for samples that nobody knows"
    (project.path / "conftest.py").write_text(MODEL, encoding="utf-8")
    assert command(project, "init").ret == 0
    filled = robust(project, "-m", "robust", "--robust-json=robust.json")
    filled.assert_outcomes(passed=5)
    assert command(project, "show", "robust.json").ret == 0
