"""Predictions beside people: what is told, what is refused, and that fewer answers make no claim easier."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from robustest_people import Responses, assert_label_agreement
from robustest_people.measure import measure_label_agreement
from torch import Tensor

from robustest import ClaimFailed, ConfigError, DataError, Result, Settings, Verdict
from robustest.context import Context, running
from robustest.reports.text import measured

N, K, ANSWERS = 200, 4, 50
LABELS = np.arange(N) % K


def model(x: Tensor) -> Tensor:
    """The brightest of four pixels."""
    return x.flatten(1)[:, :K]


def images(predicted: Any) -> Tensor:
    x = torch.zeros(len(predicted), 1, 2, 2)
    count = torch.arange(len(predicted))
    x.view(-1, K)[count, torch.as_tensor(predicted)] = 0.9 + 0.01 * count / len(count)  # no image is a copy
    return x


def scene(answers: int = ANSWERS) -> tuple[tuple[Tensor, Tensor], Any]:
    """Samples 0..19 are errors: 5 that people share, 5 that somebody does, 10 that nobody does; 20..24 are disputed."""
    predicted = LABELS.copy()
    predicted[:20] = (LABELS[:20] + 1) % K
    counts = np.zeros((N, K), dtype=int)
    counts[np.arange(N), LABELS] = answers
    rows, other = np.arange(25), (LABELS[:25] + 1) % K
    share = np.select([rows < 5, rows < 10, rows < 20], [0.6, 0.2, 0.0], 0.8)
    counts[rows, other] = np.round(share * answers)
    counts[rows, LABELS[:25]] = answers - counts[rows, other]
    return (images(predicted), torch.from_numpy(LABELS)), counts


DATA, COUNTS = scene()
SAYS = Responses.from_counts(COUNTS)


def measure(says: Responses = SAYS, **options: Any) -> Result:
    return measure_label_agreement(model, DATA, says, **options)


def test_errors_and_hits_are_counted_beside_people() -> None:
    result = measure()
    details = result.details
    assert (details["errors"], details["defensible"], details["unsupported"]) == (20, 5, 10)
    assert (details["disputed_hits"], details["tied"]) == (5, 0)
    assert details["label_accuracy"] == 180 / N
    assert details["main_accuracy"] == 180 / N  # 5 errors are what people select most, 5 hits are not
    assert details["contained_accuracy"] == (175 + 5) / N
    expected = (175 * 1.0 + 5 * 0.2 + 5 * 0.6 + 5 * 0.2) / N
    assert details["expected_accuracy"] == pytest.approx(expected)
    assert (result.verdict, result.ruling.threshold) == (Verdict.INCONCLUSIVE, None)
    assert result.words.caveats == ()
    assert "20 errors: 5 defensible, 10 unsupported; 5 hits" in result.words.notes[0]
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


@pytest.mark.parametrize(
    ("threshold", "passes", "fails", "value"),
    [
        ("min_contained", 0.9, 0.91, 180 / N),
        ("min_main", 0.9, 0.91, 180 / N),
        ("max_unsupported", 0.05, 0.04, 10 / N),
    ],
)
def test_each_threshold_is_certain_about_the_set(threshold: str, passes: float, fails: float, value: float) -> None:
    passed = measure(exact=True, **{threshold: passes})
    assert (passed.verdict, passed.estimate, passed.subject.scope) == (Verdict.PASSED, value, "set")
    failed = measure(exact=True, **{threshold: fails})
    assert failed.verdict is Verdict.FAILED
    broken = {at for at, held in enumerate(failed.outcomes) if not held}
    shown = {one.index for one in failed.counterexamples}
    assert shown
    assert shown <= broken
    population = measure(scope="population", **{threshold: passes})
    assert (population.verdict, population.subject.scope) == (Verdict.INCONCLUSIVE, "population")


def thinned(answers: int, seed: int = 0) -> Responses:
    """As many of the answers about each sample, drawn without replacement."""
    random = np.random.default_rng(seed)
    return Responses.from_counts(np.array([random.multivariate_hypergeometric(row, answers) for row in COUNTS]))


@pytest.mark.parametrize("threshold", ["min_contained", "min_main", "max_unsupported"])
@pytest.mark.parametrize("answers", [1, 5, 9])
def test_below_ten_answers_nothing_is_settled(threshold: str, answers: int) -> None:
    for value in (0.01, 0.5, 0.99):
        for exact in (False, True):
            result = measure(thinned(answers), exact=exact, **{threshold: value})
            assert result.verdict is Verdict.INCONCLUSIVE
            assert "fewer than 10 answers" in result.rule
            assert f"{N} samples with fewer than 10 answers" in measured(result)


@pytest.mark.parametrize("answers", [10, 20, 39])
def test_few_answers_are_told_on_every_line(answers: int) -> None:
    result = measure(thinned(answers), min_contained=0.5, exact=True)
    assert result.verdict is Verdict.PASSED
    assert f"as few as {answers} answers a sample" in measured(result)
    assert "answers a sample" not in measured(measure(min_contained=0.5))


def test_samples_that_too_few_looked_at_count_for_neither_side() -> None:
    """Twenty hits lose their answers: 160 of 200 certainly hold, 180 may."""
    counts = COUNTS.copy()
    counts[100:120] = np.minimum(counts[100:120], 9)
    says = Responses.from_counts(counts)
    verdicts = {at: measure(says, min_contained=at, exact=True).verdict for at in (0.8, 0.85, 0.91)}
    assert verdicts == {0.8: Verdict.PASSED, 0.85: Verdict.INCONCLUSIVE, 0.91: Verdict.FAILED}
    result = measure(says, min_contained=0.85, exact=True)
    assert result.rule == "20 samples have fewer than 10 answers, and could decide it"
    assert result.details["too_few_answers"] == 20


def test_labels_that_were_asked_about_do_as_well() -> None:
    """Each of 12 annotators is asked about the prediction and the label of each sample."""
    predicted = model(DATA[0]).argmax(1).numpy()
    shown = np.zeros((N, K), dtype=int)
    shown[np.arange(N), LABELS] = shown[np.arange(N), predicted] = 12
    selected = np.zeros_like(shown)
    selected[np.arange(N), LABELS] = 12
    result = measure(Responses.from_counts(selected, shown=shown))
    assert (result.details["errors"], result.details["unsupported"]) == (20, 20)
    assert result.details["fewest_answers"] == 12


def test_an_early_verdict_reads_no_more_than_it_needs() -> None:
    result = measure(min_contained=0.5)
    assert result.verdict is Verdict.PASSED
    assert result.numbers.n < N
    assert result.estimate is None
    assert result.details["label_accuracy"] is None


def test_other_answers_are_not_remembered_as_these(tmp_path: Path) -> None:
    with running(Context(settings=Settings(store=str(tmp_path), recheck=0.0))):
        first = measure(min_contained=0.5, exact=True)
        again = measure(min_contained=0.5, exact=True)
        other = measure(thinned(20), min_contained=0.5, exact=True)
        main = measure(min_main=0.5, exact=True)
    assert not first.evidence.cached
    assert again.evidence.cached
    assert again.outcomes == first.outcomes
    assert not other.evidence.cached
    assert not main.evidence.cached


def baseline(keep: Callable[..., Path], gone: int) -> Path:
    """A file with outcomes in which so many samples held that do not now."""
    now = measure(exact=True)
    broken = [at for at, held in enumerate(now.outcomes) if not held]
    held = tuple(bool(was) or at in broken[:gone] for at, was in enumerate(now.outcomes))
    return keep(now, held, ("label agreement", "min_contained", SAYS.digest))


def test_what_people_agreed_with_must_not_get_lost(baseline_of: Callable[..., Path]) -> None:
    with pytest.raises(ClaimFailed, match="15 lost, 0 gained of 200"):
        assert_label_agreement(model, DATA, SAYS, no_worse_than=baseline(baseline_of, 15))
    same = assert_label_agreement(model, DATA, SAYS, no_worse_than=baseline(baseline_of, 0))
    assert (same.verdict, same.details["baseline"]["lost"]) == (Verdict.PASSED, 0)


def test_what_cannot_be_claimed_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is nothing to claim"):
        assert_label_agreement(model, DATA, SAYS)
    with pytest.raises(ConfigError, match="min_contained and min_main"):
        measure(min_contained=0.5, min_main=0.5)
    with pytest.raises(ConfigError, match="responses such as"):
        measure(COUNTS)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="200 samples but got some about 10 items"):
        measure(Responses.from_counts(COUNTS[:10]))
    with pytest.raises(DataError, match="model's 4 classes but got some about 3"):
        measure(Responses.from_counts(COUNTS[:, :3]))
    with pytest.raises(ClaimFailed):
        assert_label_agreement(model, DATA, SAYS, min_main=0.95)
