"""A verdict depends on its claim alone: not on which tests were selected, nor on what ran before, nor on where."""

from __future__ import annotations

import pytest

COUNTED = """
import os
import torch
from torch import nn

class Threshold(nn.Module):
    '''Calls an image bright where its mean exceeds AT.'''

    def __init__(self):
        super().__init__()
        self.at = nn.Parameter(torch.tensor(float(os.environ.get("AT", "0.5"))))

    def forward(self, x):
        z = 10 * (x.flatten(1).mean(1) - self.at)
        return torch.stack([-z, z], 1)

def ramp(n):
    '''n images of rising brightness; a model whose threshold moves by k / n loses k of them.'''
    value = (torch.arange(n) + 0.5) / n
    return value.view(-1, 1, 1, 1), (value > 0.5).long()

def mixed(n, wrong, seed):
    '''n images of which so many are labelled wrongly, in some order.'''
    value = torch.tensor([0.25, 0.75]).repeat(n)[:n]
    label = (value > 0.5).long()
    at = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:wrong]
    label[at] = 1 - label[at]
    return value.view(-1, 1, 1, 1), label
"""

LOST = """
    def test_claim(robust_baseline):
        from counted import Threshold, ramp
        assert_robust_accuracy(Threshold(), ramp(1000), Linf(0.0), attack="fgsm", no_worse_than=robust_baseline)
"""


@pytest.fixture
def counted(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makepyfile(counted=COUNTED)
    monkeypatch.delenv("AT", raising=False)


def test_a_comparison_with_a_baseline_fails_alike_beside_a_hundred_other_tests(
    counted, write, run, rows_of, monkeypatch
) -> None:
    """13 lost, none gained: p = .00012, far below alpha = .01 and above a hundredth of it."""
    write(test_a=LOST, test_b="\n".join(f"    def test_{i}(robust): pass" for i in range(100)))
    run("--robust", "--robust-update-baseline", "test_a.py").assert_outcomes(passed=1)
    monkeypatch.setenv("AT", "0.513")
    alone, beside = (rows_of(*where)["test_claim"]["result"] for where in (["test_a.py"], []))
    assert (alone["details"]["baseline"]["lost"], alone["details"]["baseline"]["gained"]) == (13, 0)
    assert alone["verdict"] == "failed"
    assert beside["verdict"] == "failed"
    assert beside["rule"] == alone["rule"]
