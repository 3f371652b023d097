"""Votes under noise are draws of their own, or nothing is certified by them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustest import L2, Smoothed, Verdict
from robustest.measure import measure_certified_accuracy

X = torch.rand(20, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0.5).long()


class OfManyTheMean(nn.Module):
    """In large batches it answers by the mean of the batch, which of noisy copies is the sample without its noise."""

    def __init__(self, many: int) -> None:
        super().__init__()
        self.many = many

    def forward(self, x: Tensor) -> Tensor:
        lead = 20 * (x[:, 0] - 0.5)
        lead = lead.mean().expand(len(x)) if len(x) >= self.many else lead
        return torch.stack([-lead, lead], 1)


def test_a_batch_of_noisy_copies_does_not_vote_as_one() -> None:
    claim = {"threat": L2(0.4), "at_least": 0.6}
    found = measure_certified_accuracy(Smoothed(OfManyTheMean(100).eval(), 0.5, draws=200), (X, Y), **claim)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any(note.startswith("batch_dependence") for note in found.words.notes)
    sound = Smoothed(OfManyTheMean(10**6).eval(), 0.1, draws=200)
    assert measure_certified_accuracy(sound, (X, Y), L2(0.05), at_least=0.6).verdict is Verdict.PASSED
