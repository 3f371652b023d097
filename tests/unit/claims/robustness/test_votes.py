"""Certificates by votes: the draws, both rounds, and their columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import beta, norm
from torch import Tensor, nn

from robustest import L2, Settings, rng
from robustest.claims.robustness import certified_accuracy
from robustest.claims.robustness.certified_accuracy import Smoothed, Smoothing, certified_radius, count_votes
from robustest.context import Context, running
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.measure import measure_certified_accuracy
from robustest.models import as_classifier

CPU = torch.device("cpu")


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        away = (x[:, 0] - 0.5) * self.one
        return torch.stack([-away, away, away - 1], 1)


def evaluator_of(model: nn.Module, batch_size: int | None = None) -> Evaluator:
    evaluator = Evaluator(as_classifier(model), CPU, batch_size=batch_size, suppress=(), notes=[])
    evaluator.logits(torch.zeros(1, 2))
    return evaluator


@pytest.mark.parametrize("draws", [1, 2, 99, 100, 101, 250])
def test_votes_are_answers_to_these_draws(draws: int) -> None:
    model = Halves()
    evaluator = evaluator_of(model)
    model.rows.clear()
    x, key = torch.tensor([0.55, 0.2]), rng.fold(rng.keys(0, torch.tensor([3])), "guess")
    votes = count_votes(evaluator, x, key, sigma=0.2, draws=draws)
    generator, over = torch.Generator().manual_seed(int(key) % 2**63), 0
    for start in range(0, draws, 100):
        noise = torch.randn((min(100, draws - start), 2), generator=generator)
        over += int((x + 0.2 * noise)[:, 0].gt(0.5).sum())
    assert votes.tolist() == [draws - over, over, 0]
    alone = 0 if draws == 1 else 2
    assert model.rows == [min(100, draws), *[1] * alone, *[min(100, draws - s) for s in range(100, draws, 100)]]
    assert evaluator.health.counts("batch_dependence") == (0, alone)


def test_a_model_that_averages_its_batch_is_noticed() -> None:
    class Mean(Halves):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mean(0, keepdim=True).expand_as(x))

    evaluator = evaluator_of(Mean())
    count_votes(evaluator, torch.tensor([0.55, 0.2]), rng.keys(0, torch.tensor([3])), sigma=0.2, draws=50)
    assert evaluator.health.counts("batch_dependence") == (2, 2)


def test_a_radius_is_zero_up_to_a_half() -> None:
    for votes in range(21):
        low = float(beta.ppf(0.05, votes, 21 - votes)) if votes else 0.0
        assert certified_radius(votes, 20, 0.3, 0.05) == pytest.approx(
            0.3 * max(0.0, float(norm.ppf(low))) if low > 0.5 else 0
        )


@pytest.mark.parametrize(
    ("guesses", "votes", "proven", "held"),
    [
        ([60, 40, 0], [1000, 0, 0], True, True),  # the label has them all
        ([60, 40, 0], [0, 1000, 0], False, True),  # the label was guessed, and has none of the votes
        ([40, 60, 0], [0, 1000, 0], False, False),  # another class has them all
        ([40, 60, 0], [490, 510, 0], False, True),  # it may have the majority by chance
        ([60, 40, 0], [510, 490, 0], False, True),
    ],
)
def test_one_round_guesses_and_the_other_certifies(
    guesses: list[int], votes: list[int], proven: bool, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, float]] = []

    def counted(evaluator: Any, x: Tensor, key: Tensor, *, sigma: float, draws: int) -> Tensor:
        asked.append((draws, sigma))
        use = "guess" if len(asked) % 2 else "certify"
        assert int(key) == int(rng.fold(rng.keys(5, torch.tensor([(len(asked) - 1) // 2])), use))
        return torch.tensor(guesses if use == "guess" else votes)

    monkeypatch.setattr(certified_accuracy, "count_votes", counted)
    ids = torch.arange(2)
    chunk = Chunk(ids, torch.full((2, 2), 0.4), torch.zeros(2, dtype=torch.int64), rng.keys(5, ids), (0.0, 1.0))
    radius = certified_radius(1000, 1000, 0.25, 0.01)
    for eps, certain in ((radius, True), (radius * 1.001, False)):
        asked.clear()
        look = Smoothing(smoothed=Smoothed(None, 0.25), eps=eps, alpha=0.01)
        found = look(evaluator_of(Halves()), chunk).columns
        assert asked == [(100, 0.25), (1000, 0.25)] * 2
        assert found["proven"].tolist() == [proven and certain] * 2
        assert found["held"].tolist() == [held] * 2
        assert found["clean"].tolist() == [True] * 2
        label = guesses[0] > guesses[1]
        expected = certified_radius(votes[0], 1000, 0.25, 0.01) if label else 0.0
        assert found["radius"].tolist() == pytest.approx([expected] * 2)
    with pytest.raises(ValueError, match="guesses"):
        Smoothed(None, 0.1, guesses=0)
    assert (Smoothed(None, 1e-12).draws, Smoothed(None, 0.1, draws=1, guesses=1).guesses) == (1000, 1)


def test_certificates_of_one_error_are_not_recalled_for_a_smaller_one(tmp_path: Path) -> None:
    """A sample certified with an error of .05 may not be at .0001: its votes are the same, its radius is smaller."""
    torch.manual_seed(0)
    x = torch.rand(60, 2)
    y = (x[:, 0] > 0.5).long()
    halves = nn.Linear(2, 2)
    halves.weight.data, halves.bias.data = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.tensor([0.5, -0.5])
    model = Smoothed(halves.eval(), sigma=0.2, draws=200, guesses=20)

    def certified(alpha: float) -> Any:
        with running(Context(settings=Settings(store=str(tmp_path), recheck=0.0, alpha=alpha), test="test")):
            return measure_certified_accuracy(model, (x, y), L2(0.15), at_least=0.01, scope="population", exact=True)

    first, again, stricter = certified(0.05), certified(0.05), certified(0.0001)
    assert [bool(one.evidence.cached) for one in (first, again, stricter)] == [False, True, False]
    assert stricter.estimate < first.estimate
