"""What a claim rests on beside the samples that it counts speaks against it as well."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest import Result, Verdict
from robustest.measure import measure_ood_rejected, measure_transfer_accuracy

N = 100
SAMPLES = torch.linspace(0.3, 0.7, N).unsqueeze(1)
MARKED = torch.cat([SAMPLES, torch.ones(N, 1)], 1)
PLAIN = torch.cat([SAMPLES, torch.zeros(N, 1)], 1)
LABELS = (SAMPLES.flatten() > 0.5).long()


def worse_in_company(x: Tensor) -> Tensor:
    """The class of a sample without a mark; of one with it, that of the batch's mean, so that half is wrong."""
    value = torch.where((x[:, 1] > 0.5) & (len(x) > 1), x[:, 0].mean(), x[:, 0])
    return torch.stack([0.5 - value, value - 0.5], 1)


def spoke(result: Result) -> bool:
    return any(note.startswith("batch_dependence") for note in result.notes)


def test_a_source_that_is_answered_by_batches_vouches_for_no_fall() -> None:
    result = measure_transfer_accuracy(worse_in_company, (MARKED, LABELS), (PLAIN, LABELS), max_drop=0.1)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert spoke(result)


def test_nor_does_such_an_inside_for_what_is_rejected() -> None:
    far = torch.cat([torch.full((N, 1), 0.5), torch.zeros(N, 1)], 1)
    result = measure_ood_rejected(worse_in_company, (MARKED, LABELS), far, max_fpr=0.9)
    assert spoke(result)
    assert result.verdict is Verdict.INCONCLUSIVE


def test_both_together_cost_what_both_cost() -> None:
    def answer(x: Tensor) -> Tensor:
        return torch.stack([0.5 - x[:, 0], x[:, 0] - 0.5], 1)

    result = measure_transfer_accuracy(answer, (MARKED, LABELS), (PLAIN, LABELS), max_drop=0.1)
    assert result.verdict is Verdict.PASSED
    assert result.cost.forward >= 2 * N
