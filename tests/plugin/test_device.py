"""--robust-device: where claims are measured."""

from __future__ import annotations

import pytest
import torch

CLAIM = """
    def test_it(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, at_least=0.5)
"""


def test_cpu_is_always_there(write, run):
    write(test_a=CLAIM)
    result = run("--robust", "--robust-device=cpu")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["robustest *device=cpu *"])


@pytest.mark.parametrize("device", ["gpu", "CPU", "cuda:", "cuda:x", "cpu:0 ", "-1"])
def test_nonsense_is_a_usage_error(write, run, device):
    write(test_a=CLAIM)
    result = run("--robust", f"--robust-device={device}")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        [f"ERROR: Expected device to be auto, cpu, cuda, cuda:N, cuda:all, mps, xpu, xla or another *{device!r} *"]
    )


@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_an_absent_device_is_an_error_not_a_failed_claim(write, run, section, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write(test_a=CLAIM)
    result = run("--robust", f"--robust-device={device}")
    result.assert_outcomes(errors=1)
    assert result.ret == 1
    row, replay = section(result)
    assert row.startswith(f"test_a.py::test_it  could not measure: DeviceError: Expected a CUDA device for {device!r}")
    assert "Use --robust-device=cpu or auto" in row
    assert row.endswith("  ERROR")
    assert f"--robust-device={device}" in replay


def test_the_option_beats_the_marker(write, run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write(test_a='    @pytest.mark.robust(device="cuda")' + CLAIM)
    run("--robust").assert_outcomes(errors=1)
    run("--robust", "--robust-device=cpu").assert_outcomes(passed=1)
