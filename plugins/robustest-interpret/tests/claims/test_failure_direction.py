"""Errors that lie apart from hits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from robustest_interpret import assert_no_failure_direction, measure_no_failure_direction
from torch import Tensor

from robustest import ClaimFailed, ConfigError, DataError, Result, Verdict
from robustest.decisions import clopper_pearson
from robustest.reports.text import failure_text

N = 600
Y = torch.arange(N) % 3
_draw = torch.Generator().manual_seed(0)
X = 0.1 * torch.rand(N, 1, 8, 8, generator=_draw)
X[torch.arange(N), 0, 4, Y] = 1.0  # the evidence: one lit pixel of row 4
MINORITY = (Y == 1).nonzero().squeeze(1)[:12]
X[MINORITY, 0, 0] = 0.8  # 12 of 200 of class 1 have a bright first row
LUCK = torch.rand(N, generator=_draw)
X[:, 0, 7, 7] = LUCK


def biased(x: Tensor) -> Tensor:
    """Wrong on the bright first row, and wherever the last pixel is nearly 1, which means nothing."""
    logits = 4 * x[:, 0, 4, :3]
    wrong = (x[:, 0, 0].mean(1) > 0.5).float()
    return logits.roll(1, 1) * wrong[:, None] + logits * (1 - wrong)[:, None]


def unlucky(x: Tensor) -> Tensor:
    """Wrong at random."""
    logits = 4 * x[:, 0, 4, :3]
    wrong = ((x[:, 0, 7, 7] * 1e4) % 1 < 0.1).float()
    return logits.roll(1, 1) * wrong[:, None] + logits * (1 - wrong)[:, None]


@pytest.fixture(scope="module")
def found() -> Result:
    return measure_no_failure_direction(biased, (X, Y), max_excess_error=0.6)


def test_a_minority_that_fails_is_found(found: Result) -> None:
    assert found.verdict is Verdict.FAILED
    assert found.estimate is not None
    assert found.estimate >= 0.8
    assert found.details["found"] == [1]
    assert set(found.details["classes"][0]["most_failing"]) <= set(MINORITY.tolist())
    assert found.details["classes"][0]["errors"] == 12
    assert found.details["skipped"].keys() == {"0", "2"}
    assert {shown.index for shown in found.counterexamples} <= set(MINORITY.tolist())
    assert found.outcomes.count(False) == 12
    assert found.rule.startswith("class 1: ")


def test_random_errors_pass() -> None:
    result = measure_no_failure_direction(unlucky, (X, Y), max_excess_error=0.6)
    assert result.verdict is Verdict.PASSED
    assert result.details["found"] == []
    assert result.counterexamples == ()
    assert result.outcomes.count(False) > 30


def test_results_are_plain_and_can_be_put_in_words(found: Result) -> None:
    assert Result.from_dict(found.to_dict()) == found
    text = failure_text(found, replay="")
    assert "excess error rate" in text
    assert "  errors    class 1: 12 of 200 wrong" in text


def test_an_embedding_may_be_given_as_a_function_or_as_rows(found: Result) -> None:
    def rows(x: Tensor) -> Tensor:
        return x[:, 0, :2].flatten(1)

    first = measure_no_failure_direction(biased, (X, Y), max_excess_error=0.6, embedding=rows)
    second = measure_no_failure_direction(biased, (X, Y), max_excess_error=0.6, embedding=rows(X))
    assert first.verdict is second.verdict is Verdict.FAILED
    assert first.details == second.details
    blind = measure_no_failure_direction(biased, (X, Y), max_excess_error=0.6, embedding=X[:, 0, 6])
    assert blind.verdict is Verdict.PASSED


def test_a_perfect_model_passes_and_one_with_a_few_errors_is_open() -> None:
    perfect = measure_no_failure_direction(lambda x: 4 * x[:, 0, 4, :3], (X, Y), max_excess_error=0.6)
    assert perfect.verdict is Verdict.PASSED
    assert perfect.rule == "certain: there are no errors"
    few = measure_no_failure_direction(biased, (X[5:305], Y[5:305]), max_excess_error=0.6, min_errors=50)
    assert few.verdict is Verdict.INCONCLUSIVE
    assert "too few in every class" in few.rule


def stumbling(*, wrong: int, on: int = 0) -> Any:
    """Wrong on the first `wrong` samples of class `on`, whatever they show."""
    first = (on == Y).nonzero().squeeze(1)[:wrong]
    unlucky = X[first, 0, 7, 7]

    def model(x: Tensor) -> Tensor:
        logits = 4 * x[:, 0, 4, :3]
        return torch.where(torch.isin(x[:, 0, 7, 7], unlucky)[:, None], logits.roll(1, 1), logits)

    return model


def test_a_class_that_is_wrong_throughout_cannot_be_judged() -> None:
    """200 of 200 wrong: there are no hits to tell its errors from."""
    result = measure_no_failure_direction(stumbling(wrong=200), (X, Y), max_excess_error=0.9)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "class 0" in result.rule or "too few in every class" in result.rule


@pytest.mark.parametrize("wrong", [1, 9])
def test_a_class_with_few_errors_is_open_beside_another_that_is_judged(wrong: int) -> None:
    def both(x: Tensor) -> Tensor:
        scattered = torch.where((Y_OF(x) == 1)[:, None], unlucky(x), 4 * x[:, 0, 4, :3])
        few = stumbling(wrong=wrong, on=2)(x)
        return torch.where((Y_OF(x) == 2)[:, None], few, scattered)

    result = measure_no_failure_direction(both, (X, Y), max_excess_error=0.9)
    assert [row["class"] for row in result.details["classes"]] == [1]
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.rule.startswith("class 2: errors, but too few")


def Y_OF(x: Tensor) -> Tensor:  # noqa: N802
    return x[:, 0, 4, :3].argmax(1)


def test_a_score_above_the_limit_that_chance_may_have_is_open() -> None:
    result = measure_no_failure_direction(unlucky, (X, Y), max_excess_error=0.02)
    assert result.estimate is not None
    assert result.estimate > 0.02
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "this may be chance" in result.rule


def test_the_interval_is_of_the_error_rate_in_the_slice(found: Result) -> None:
    """An interval without width would say that nothing is left to chance; the class shown was picked after looking."""
    first = next(row for row in found.details["classes"] if row["class"] == found.details["found"][0])
    wrong, n = round((first["excess"] + first["foreseen"]) * first["slice"]), first["slice"]
    low = clopper_pearson(wrong, n, 0.01 / len(found.details["classes"]))[0] - first["foreseen"]
    high = clopper_pearson(wrong, n, 0.01)[1] - first["foreseen"]
    assert list(found.interval) == pytest.approx([low, high])
    assert low < first["excess"] == found.estimate < high


def test_the_limit_itself_is_kept() -> None:
    measured = measure_no_failure_direction(unlucky, (X, Y)).estimate
    assert measured is not None
    below = math.nextafter(measured, 0.0)
    verdicts = [
        measure_no_failure_direction(unlucky, (X, Y), max_excess_error=limit).verdict for limit in (measured, below)
    ]
    assert verdicts == [Verdict.PASSED, Verdict.INCONCLUSIVE]


def test_the_default_limit_finds_errors_in_a_corner_of_their_own() -> None:
    with pytest.raises(ClaimFailed):
        assert_no_failure_direction(biased, (X, Y))
    assert assert_no_failure_direction(unlucky, (X, Y)).verdict is Verdict.PASSED


def test_without_a_threshold_it_is_only_measured() -> None:
    result = measure_no_failure_direction(biased, (X, Y))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.details["found"] == [1]


def test_a_part_of_the_samples_may_fail_a_claim_and_not_hold_it_up() -> None:
    part = measure_no_failure_direction(unlucky, (X, Y), max_excess_error=0.6, max_samples=400)
    assert part.verdict is Verdict.INCONCLUSIVE
    assert "budget: 400 of 600" in part.rule
    assert part.estimate is None


def test_the_assertion_raises() -> None:
    with pytest.raises(ClaimFailed, match="class 1"):
        assert_no_failure_direction(biased, (X, Y))
    assert assert_no_failure_direction(unlucky, (X, Y), max_excess_error=0.7).verdict is Verdict.PASSED


def test_rows_of_numbers_do_too() -> None:
    def table(x: Tensor) -> Tensor:
        return torch.stack([x[:, 0] * 0 + 1, 2.0 * (x[:, 1] > 2.0)], 1)

    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(1))
    x[:40, 1] += 5
    result = measure_no_failure_direction(
        table, (x, torch.zeros(400, dtype=torch.int64)), max_excess_error=0.6, bounds=(-9.0, 9.0)
    )
    assert result.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    "options",
    [{"max_excess_error": 1.5}, {"components": 0}, {"permutations": 100}, {"min_errors": 2}],
    ids=str,
)
def test_settings_are_in_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        measure_no_failure_direction(biased, (X, Y), **options)


@pytest.mark.parametrize(
    "embedding",
    [torch.zeros(3, 4), torch.zeros(N), lambda x: x, lambda x: x[:2, 0, 0], lambda x: x[:, 0, 0] / 0],
    ids=["few rows", "no columns", "images", "a few of each batch", "infinite"],
)
def test_embeddings_are_a_row_for_each_sample(embedding: Any) -> None:
    with pytest.raises(DataError):
        measure_no_failure_direction(biased, (X, Y), embedding=embedding)
