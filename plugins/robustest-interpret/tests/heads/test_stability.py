"""Which features of a head are chosen again from half of the data."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from robustest_interpret.heads import sparse_stability, subsample

from robustest.errors import ConfigError

GENERATOR = torch.Generator().manual_seed(0)
Y = torch.arange(200) % 2
X = torch.randn(200, 8, generator=GENERATOR)
X[:, 0] += 2 * Y
X[:, 1] -= 2 * Y


def test_what_tells_the_classes_apart_is_chosen_every_time_and_noise_seldom() -> None:
    found = sparse_stability(X, Y, 0.05, subsamples=10)
    kept = dict(found.kept(1, at_least=0.8))
    assert kept[0] == 1.0
    assert kept[1] == -1.0
    assert float((found.positive + found.negative)[:, 2:].max()) < 0.8
    assert found.subsamples == 10


def test_a_subsample_has_a_share_of_every_class() -> None:
    labels = torch.tensor([0] * 40 + [1] * 10)
    rows = subsample(labels, 0.5, 0, 0)
    assert torch.bincount(labels[rows]).tolist() == [20, 5]
    assert len(rows.unique()) == 25
    assert not torch.equal(rows, subsample(labels, 0.5, 0, 1))


@pytest.mark.parametrize(
    "arguments", [{"lam": 0.0}, {"subsamples": 0}, {"share": 0.0}, {"share": 1.0}, {"l1_ratio": 1.0}], ids=str
)
def test_arguments_that_make_no_sense_are_refused(arguments: Any) -> None:
    with pytest.raises(ConfigError):
        sparse_stability(X, Y, **{"lam": 0.05, "subsamples": 1, **arguments})
