"""robustest estimate: the cost of all samples, by that of the first ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from robustest import Settings, devices
from robustest.cli.estimate import words
from robustest.reports import json_file
from robustest.results import Cost

Make = Callable[..., Any]


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch, account: Make) -> Callable[..., list[list[str]]]:
    """Lets pytest be a stub that writes rows: `suite({"cpu": rows}, code=1)`; gives the arguments of its calls."""
    monkeypatch.setattr(devices, "default", lambda: None)

    def of(rows: dict[str, Sequence[Any]], *, code: int = 0, lost: Sequence[str] = ()) -> list[list[str]]:
        calls: list[list[str]] = []

        def run(arguments: Sequence[str]) -> int:
            calls.append(list(arguments))
            (path,) = [one.partition("=")[2] for one in arguments if one.startswith("--robust-json=")]
            device = [one.partition("=")[2] for one in arguments if one.startswith("--robust-device=")][-1]
            if device in rows:
                json_file.write(path, account(rows[device], lost=lost), Settings())
            return code

        monkeypatch.setattr("robustest.cli.estimate.run_pytest", run)
        return calls

    return of


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_the_seconds_of_all_samples_follow_from_the_first(
    early: Make, row: Make, suite: Make, robustest: Make, device: str
) -> None:
    calls = suite({device: [row("t::a", early(192, 50_000, "inconclusive"))]}, code=1)
    done = robustest("estimate", "tests", *(() if device == "cpu" else [f"--robust-device={device}"]))
    assert done.code == 0, "a claim that is not decided by few samples was measured"
    assert "    50,000 samples, 10.0 passes forward and 3.0 backward of each" in done.lines
    assert [line.split() for line in done.lines if line.startswith(f"    {device} ")] == [[device, "6.5", "min"]]
    (arguments,) = calls
    assert {"tests", "--robust-exact", "--robust-max-samples=192", "--robust-no-cache"} <= {*arguments}
    assert not Path(next(one for one in arguments if "json" in one).partition("=")[2]).exists()


def test_an_accelerator_is_measured_too(
    early: Make, row: Make, suite: Make, robustest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = early(192, 50_000, cost=Cost(forward=1920, backward=576, seconds=0.01))
    suite({"cpu": [row("t::a", early(192, 50_000))] * 2, "xla:0": [row("t::a", fast)] * 2})
    monkeypatch.setattr(devices, "default", lambda: torch.device("xla", 0))
    done = robustest("estimate")
    assert done.code == 0
    assert "all claims on cpu: 13.0 min" in done.lines
    assert "all claims on xla:0: 5.2 s" in done.lines
    assert "no accelerator was found" not in done.lines


def test_a_claim_that_could_not_be_measured_has_no_cost(early: Make, row: Make, suite: Make, robustest: Make) -> None:
    suite({"cpu": [row("t::a", early(192, 1000)), row("t::b")]}, code=1)
    done = robustest("estimate")
    assert done.code == 3
    assert "t::b  could not measure: ModelError: Expected finite logits but got NaN" in done.lines


def test_nor_has_one_that_the_accelerator_did_not_measure(
    early: Make, row: Make, suite: Make, robustest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = row("t::a", early(192, 1000)), row("t::b", early(192, 1000))
    suite({"cpu": [one, other], "xla:0": [one]})
    monkeypatch.setattr(devices, "default", lambda: torch.device("xla", 0))
    done = robustest("estimate")
    assert done.code == 3
    assert "    xla:0    not measured" in done.lines


def test_lost_results_are_no_estimate(early: Make, row: Make, suite: Make, robustest: Make) -> None:
    suite({"cpu": [row("t::a", early(192, 1000))]}, lost=["t::b"])
    assert robustest("estimate").code == 3


@pytest.mark.parametrize(("code", "expected"), [(2, 2), (3, 3), (5, 3)])
def test_tests_that_could_not_run_end_the_command(suite: Make, robustest: Make, code: int, expected: int) -> None:
    suite({}, code=code)
    done = robustest("estimate")
    assert (done.code, done.out) == (expected, "")


def test_tests_without_a_claim_are_named(suite: Make, robustest: Make) -> None:
    suite({"cpu": []})
    done = robustest("estimate")
    assert done.code == 3
    assert "Expected a claim" in done.err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.24, "0.2 s"),
        (9.96, "10.0 s"),
        (10, "10 s"),
        (119, "119 s"),
        (120, "2.0 min"),
        (7200, "2.0 h"),
        (90_000, "25.0 h"),
    ],
)
def test_a_time_has_its_unit(seconds: float, text: str) -> None:
    assert words(seconds) == text
