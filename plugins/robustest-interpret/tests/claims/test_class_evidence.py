"""Evidence that a judge sees too: judges who look where the model looks, elsewhere, or nowhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from robustest_interpret import assert_class_evidence, measure_class_evidence
from torch import Tensor, nn

from robustest import ClaimFailed, ClaimInconclusive, ConfigError, Result, Verdict, labels_model

N = 300
Y = torch.arange(N) % 3
X = 0.2 * torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(0))
X[torch.arange(N), 0, 0, Y] += 0.5
X[torch.arange(N), 0, 1, Y] += 0.5


class Row(nn.Module):
    """Reads its class off one row of pixels."""

    def __init__(self, row: int) -> None:
        super().__init__()
        self.row = row
        self.scale = nn.Parameter(torch.tensor(6.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x[:, 0, self.row, :3]


def same(x: Tensor) -> Tensor:
    """Of another kind, looking at the same row."""
    return x[:, 0, 0, :3] ** 3


def other(x: Tensor) -> Tensor:
    return x[:, 0, 1, :3]


@pytest.fixture(scope="module")
def blind() -> Result:
    return measure_class_evidence(Row(0).eval(), (X, Y), judge=other, eps=1.0, min_transfer=0.5, exact=True)


def test_a_judge_who_looks_at_the_same_evidence_agrees() -> None:
    result = measure_class_evidence(Row(0).eval(), (X, Y), judge=same, eps=1.0, min_transfer=0.9, exact=True)
    assert (result.verdict, result.estimate) == (Verdict.PASSED, 1.0)
    assert result.details["own_success"] == 1.0
    assert result.details["ratio"] == 1.0
    assert result.details["judge_accuracy"] == 1.0


def test_a_judge_who_looks_elsewhere_does_not(blind: Result) -> None:
    assert (blind.verdict, blind.estimate) == (Verdict.FAILED, 0.0)
    assert blind.details["driven"] == N
    assert blind.details["judge_before"] == 0.0
    worst = blind.counterexamples[0]
    assert worst.clean == worst.label != worst.predicted
    assert worst.size is not None
    assert worst.size <= 1.0
    assert blind.cost.backward == 60 * N + 8 * 7 + 4 * 4 * 5  # and a few of each of five chunks: are they true?


def test_an_early_verdict_is_that_of_all(blind: Result) -> None:
    early = measure_class_evidence(Row(0).eval(), (X, Y), judge=other, eps=1.0, min_transfer=0.5)
    assert early.verdict is Verdict.FAILED
    assert early.numbers.n < N


def test_an_early_verdict_waits_until_enough_were_driven() -> None:
    result = measure_class_evidence(Row(0).eval(), (X, Y), judge=other, eps=1.0, min_transfer=0.5, min_driven=150)
    assert result.verdict is Verdict.FAILED
    assert 150 <= result.details["driven"] < N


def test_where_nobody_is_driven_nothing_is_shown() -> None:
    result = measure_class_evidence(Row(0).eval(), (X, Y), judge=same, eps=0.0, min_transfer=0.5)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.estimate is None
    part = measure_class_evidence(Row(0).eval(), (X[:24], Y[:24]), judge=same, eps=1.0, min_transfer=0.5)
    assert part.verdict is Verdict.INCONCLUSIVE
    assert "fewer than 30" in part.rule


def test_what_the_model_took_for_the_class_before_was_not_driven_there() -> None:
    wrong = (Y + 1) % 3
    result = measure_class_evidence(Row(0).eval(), (X, wrong), judge=same, eps=0.0, min_transfer=0.5, exact=True)
    assert result.details["own_success"] > 0.3
    assert (result.details["driven"], result.verdict) == (0, Verdict.INCONCLUSIVE)


def test_what_the_judge_took_for_the_class_before_is_no_evidence() -> None:
    """A judge that the changes never move, and that is wrong on two samples of five: by the class aimed at."""
    y, wrong = torch.arange(N) % 2, torch.arange(N) % 5 < 2
    x = 0.2 * torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    x[torch.arange(N), 0, 0, y] += 0.5
    x[torch.arange(N), 0, 3, torch.where(wrong, 1 - y, y)] += 0.5

    class Two(Row):
        def forward(self, x: Tensor) -> Tensor:
            return self.scale * x[:, 0, self.row, :2]

    result = measure_class_evidence(
        Two(0).eval(), (x, y), judge=lambda x: x[:, 0, 3, :2], eps=1.0, min_transfer=0.3, exact=True
    )
    assert result.details["own_success"] == 1.0
    assert result.details["judge_before"] == pytest.approx(0.4)
    assert (result.verdict, result.estimate) == (Verdict.FAILED, 0.0), result.rule
    assert result.details["driven"] == 180


def test_a_transfer_of_the_few_that_could_be_driven_says_so_on_every_line() -> None:
    few = torch.arange(N) % 5 == 0
    x = X.clone()
    x[~few, 0, 0] = nn.functional.one_hot(Y[~few], 4).float()  # too sure to be driven
    result = measure_class_evidence(Row(0).eval(), (x, Y), judge=same, eps=0.6, min_transfer=0.5, exact=True)
    assert result.verdict is Verdict.PASSED
    assert result.details["driven"] < N / 2
    assert any(f"{result.details['driven']} of {N} samples were driven" in caveat for caveat in result.words.caveats)


def test_a_judge_at_chance_judges_nothing() -> None:
    result = measure_class_evidence(
        Row(0).eval(), (X, Y), judge=lambda x: x[:, 0, 3, :3], eps=1.0, min_transfer=0.1, exact=True
    )
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the judge is no better than chance" in result.rule


def test_a_judge_may_give_labels_alone() -> None:
    judge = labels_model(lambda x: other(x).argmax(1), classes=3)
    result = measure_class_evidence(Row(0).eval(), (X, Y), judge=judge, eps=1.0, min_transfer=0.5)
    assert result.verdict is Verdict.FAILED


def test_a_population_claim_needs_its_bound() -> None:
    result = measure_class_evidence(Row(0).eval(), (X, Y), judge=same, eps=1.0, min_transfer=0.9, scope="population")
    assert result.verdict is Verdict.PASSED
    assert 0.9 < result.interval[0] < 1.0


def test_the_assertion_is_advisory_without_a_threshold(blind: Result) -> None:
    model = Row(0).eval()
    assert assert_class_evidence(model, (X, Y), judge=other, eps=1.0).verdict is Verdict.INCONCLUSIVE
    with pytest.raises(ClaimFailed, match="transfer"):
        assert_class_evidence(model, (X, Y), judge=other, eps=1.0, min_transfer=0.5)
    with pytest.raises(ClaimInconclusive):
        assert_class_evidence(model, (X, Y), judge=other, eps=0.0, min_transfer=0.5)
    assert Result.from_dict(blind.to_dict()) == blind


def test_nobody_judges_himself() -> None:
    model = Row(0).eval()
    with pytest.raises(ConfigError, match="judge= to be another model"):
        measure_class_evidence(model, (X, Y), judge=model, eps=1.0)


@pytest.mark.parametrize(
    "options",
    [{"eps": -1.0}, {"min_transfer": 1.1}, {"iterations": 0}, {"min_driven": 0}],
    ids=str,
)
def test_settings_are_in_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        measure_class_evidence(Row(0).eval(), (X, Y), judge=other, **{"eps": 1.0, **options})
