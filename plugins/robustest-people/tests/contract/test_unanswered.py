"""Who skips the hard questions shows nothing: no claim on answers passes, or fails, by those that are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from robustest_people import Responses
from robustest_people.annotations import Annotations
from robustest_people.measure import (
    measure_cue_noticed,
    measure_label_agreement,
    measure_label_quality,
    measure_selection_gap,
    measure_simulatable,
)

from robustest import DataError, Result, Verdict

N, PEOPLE, K = 400, 20, 3
LABELS = np.arange(N) % K
RNG = np.random.default_rng(0)
X = torch.nn.functional.one_hot(torch.from_numpy(LABELS), K).float().view(N, 1, 1, K)
X = 0.9 * X + 0.05 * torch.arange(N).view(N, 1, 1, 1) / N  # no image is a copy


def table(answers: Any, *, skip: Any, asked: Any = None, truth: bool = False, of: int = N) -> Responses:
    """Answers (of, PEOPLE), of which those to be skipped are missing."""
    item, who = np.divmod(np.arange(of * PEOPLE), PEOPLE)
    given = [
        None if gone else int(one)
        for one, gone in zip(np.ravel(answers), np.broadcast_to(skip, (of, PEOPLE)).ravel(), strict=True)
    ]
    more: dict[str, Any] = {"truth": LABELS[item]} if truth else {}
    if asked is not None:
        more["label"] = asked[item]
    classes: Any = K if asked is None else ("null", "planted", "logo")
    return Responses.from_columns(item, given, size=of, classes=classes, annotator=who, **more)


def model(x: torch.Tensor) -> torch.Tensor:
    return 5 * x.flatten(1)


def others(share: float) -> Any:
    """(N, PEOPLE) True where somebody sees another class than the label."""
    return np.random.default_rng(1).random((N, PEOPLE)) < share


def wrong_labels(skip: Callable[[Any], Any]) -> Result:
    """A tenth of the labels are wrong."""
    wrong = (np.arange(N) % 10 == 0)[:, None] & np.ones((1, PEOPLE), bool)
    says = table((LABELS[:, None] + wrong) % K, skip=skip(wrong))
    return measure_label_quality(LABELS, says, max_error_rate=0.05)


def unlike_people(skip: Callable[[Any], Any]) -> Result:
    """On a tenth of the samples nobody selects what the model says."""
    wrong = (np.arange(N) % 10 == 0)[:, None] & np.ones((1, PEOPLE), bool)
    says = table((LABELS[:, None] + wrong) % K, skip=skip(wrong))
    return measure_label_agreement(model, (X, torch.from_numpy(LABELS)), says, min_main=0.95)


def unforeseen(skip: Callable[[Any], Any]) -> Result:
    """Two fifths of the answers are foreseen wrongly."""
    wrong = others(0.4)
    says = table((LABELS[:, None] + wrong) % K, skip=skip(wrong), truth=True)
    return measure_simulatable(says, at_least=0.75)


def unnoticed(skip: Callable[[Any], Any]) -> Result:
    """The cue is called spurious as often as the null cue."""
    asked = np.arange(N) % 3
    called = np.random.default_rng(2).random((N, PEOPLE)) < np.array([0.1, 0.9, 0.1])[asked][:, None]
    says = table(called, skip=skip(~called & (asked == 2)[:, None]), asked=asked)
    return measure_cue_noticed(says, cue="logo", at_least=0.1)


def preferred(skip: Callable[[Any], Any]) -> Result:
    """Where prediction and label differ, people prefer the label."""
    label = np.random.default_rng(3).random((N, PEOPLE)) < 0.75
    says = table(
        (LABELS[:, None] + ~label) % K, skip=skip(label & (np.random.default_rng(4).random(label.shape) < 0.67))
    )
    return measure_selection_gap(lambda x: model(x).roll(1, 1), (X, torch.from_numpy(LABELS)), says, at_most=0.15)


CLAIMS = (wrong_labels, unlike_people, unforeseen, unnoticed, preferred)


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_false_claim_does_not_pass_by_skipping(claim: Callable[..., Result]) -> None:
    assert claim(lambda against: 0 * against).verdict is Verdict.FAILED
    result = claim(lambda against: against)
    assert result.verdict is not Verdict.PASSED
    assert "have no answer, taken at their worst" in " ".join(result.words.caveats)
    assert result.details["unanswered"] > 0


def no_wrong_label(skip: Any) -> Result:
    return measure_label_quality(LABELS, table(np.repeat(LABELS, PEOPLE), skip=skip), max_error_rate=0.02)


def like_people(skip: Any) -> Result:
    says = table(np.repeat(LABELS, PEOPLE), skip=skip)
    return measure_label_agreement(model, (X, torch.from_numpy(LABELS)), says, min_main=0.95)


def foreseen(skip: Any) -> Result:
    says = table((LABELS[:, None] + others(0.1)) % K, skip=skip, truth=True)
    return measure_simulatable(says, at_least=0.75)


def noticed(skip: Any) -> Result:
    asked = np.arange(N) % 3
    called = np.random.default_rng(2).random((N, PEOPLE)) < np.array([0.1, 0.9, 0.7])[asked][:, None]
    return measure_cue_noticed(table(called, skip=skip, asked=asked), cue="logo", at_least=0.2)


def alike(skip: Any) -> Result:
    label = np.random.default_rng(3).random((N, PEOPLE)) < 0.5
    says = table((LABELS[:, None] + ~label) % K, skip=skip)
    return measure_selection_gap(lambda x: model(x).roll(1, 1), (X, torch.from_numpy(LABELS)), says, at_most=0.2)


@pytest.mark.parametrize("claim", [no_wrong_label, like_people, foreseen, noticed, alike])
def test_a_true_claim_passes_though_a_few_answers_are_missing(claim: Callable[[Any], Result]) -> None:
    few = np.random.default_rng(5).random((N, PEOPLE)) < 0.05
    assert claim(few).verdict is Verdict.PASSED
    assert claim(few & False).verdict is Verdict.PASSED


@pytest.mark.parametrize("claim", CLAIMS)
def test_no_claim_fails_by_what_is_missing(claim: Callable[..., Result]) -> None:
    """Everybody skips nine questions of ten."""
    nearly_all = np.random.default_rng(6).random((N, PEOPLE)) < 0.9
    assert claim(lambda against: nearly_all & (against | True)).verdict is Verdict.INCONCLUSIVE


def test_an_item_that_nobody_answered_about_is_not_forgotten() -> None:
    """The first item is skipped by all, and the second is answered by somebody who failed the checks."""
    rows = [{"item": 2, "annotator": "ann", "answer": 1}, {"item": 0, "annotator": "ann", "answer": None}]
    rows += [{"item": None, "annotator": "bob", "answer": 0, "check": "failed"} for _ in range(5)]
    rows += [{"item": item, "annotator": "bob", "answer": 1} for item in (1, 2)]
    says = Responses.from_records(rows, size=4, classes=2)
    assert (len(says), says.dropped, says.unanswered.item.tolist()) == (1, 2, [0, 1])
    assert says.counts_unanswered().tolist() == [[1, 1], [1, 1], [0, 0], [0, 0]]
    found = measure_label_quality(np.ones(4, dtype=int), says)
    assert (found.details["looked_at"], found.details["wrong"], found.details["tied"]) == (3, 0, 2)


def test_who_answers_later_has_answered() -> None:
    rows = [{"item": 0, "annotator": "ann", "answer": answer} for answer in (None, 1, None)]
    says = Responses.from_records(rows, size=1, classes=2)
    assert (says.answer.tolist(), len(says.unanswered), says.repeats) == ([1], 0, 2)


def test_frequencies_need_every_answer() -> None:
    says = Responses.from_records([{"item": 0, "answer": 0}, {"item": 0, "answer": None}], size=1, classes=2)
    with pytest.raises(DataError, match="1 have none"):
        Annotations.of(says, [0], independent=True)
