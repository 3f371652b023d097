"""Advisory assertions: recorded and shown, gating nothing until a threshold is set."""

from __future__ import annotations

import pytest

TESTS = """
from robustest_interpret import assert_gradient_alignment
from toy import data

def unmarked():
    x, y = data(times=80)
    return x[y < 2], y[y < 2]

def test_known(robust_model):
    assert_gradient_alignment(robust_model, unmarked())

def test_claimed(robust_model):
    assert_gradient_alignment(robust_model, unmarked(), at_least=0.9)

def test_refuted(robust_model, robust_data):
    import torch
    assert_gradient_alignment(robust_model, robust_data, at_least=0.1, evidence=torch.zeros(32, 1, 4, 4))
"""


def test_without_a_threshold_it_is_told_and_gates_nothing(write, run, read_json):
    write(test_a=TESTS)
    result = run("--robust", "--robust-json=out.json")
    result.assert_outcomes(passed=2, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told = {row["test"].split("::")[1]: row["result"] for row in read_json()["results"]}
    assert {name: row["verdict"] for name, row in told.items()} == {
        "test_known": "inconclusive",
        "test_claimed": "passed",
        "test_refuted": "failed",
    }
    assert told["test_known"]["rule"] == "no threshold given"
    assert told["test_known"]["estimate"] > 0.99  # brightness alone tells the classes apart, and is all that it reads
