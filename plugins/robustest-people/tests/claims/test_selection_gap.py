"""The selection gap of models: over disagreements alone, with people behind every answer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from robustest_people import Responses, assert_selection_gap
from robustest_people.measure import measure_selection_gap

from robustest import ClaimInconclusive, ConfigError, DataError, Result, Verdict

N, K, ANNOTATORS = 600, 3, 20
LABELS = np.arange(N) % K
WRONG = 300
"""Samples below it are taken for the next class."""


def data(wrong: int = WRONG) -> Any:
    """The model's answer is written in the picture."""
    said = np.where(np.arange(N) < wrong, (LABELS + 1) % K, LABELS)
    x = torch.nn.functional.one_hot(torch.from_numpy(said), K).float().view(N, 1, 1, K)
    return x, torch.from_numpy(LABELS)


def model(x: torch.Tensor) -> torch.Tensor:
    return 5 * x.flatten(1)


def choosing(prefer: float, annotators: int = ANNOTATORS, seed: int = 0) -> Responses:
    """Everybody chooses label or prediction, the label with this probability, more or less."""
    random = np.random.default_rng(seed)
    lean = prefer + random.normal(0, 0.05, annotators)
    item, who = np.divmod(np.arange(WRONG * annotators), annotators)
    answer = np.where(random.random(len(item)) < lean[who], LABELS[item], (LABELS[item] + 1) % K)
    return Responses.from_columns(item, answer, size=N, classes=K, annotator=who)


def measured(says: Responses, **options: Any) -> Result:
    return measure_selection_gap(model, data(), says, **options)


def test_people_who_do_not_care_and_people_who_do() -> None:
    equal, label, prediction = (measured(choosing(share), at_most=0.15) for share in (0.5, 0.8, 0.2))
    assert [one.verdict for one in (equal, label, prediction)] == [Verdict.PASSED, Verdict.FAILED, Verdict.FAILED]
    assert label.details["gap"] > 0.4
    assert prediction.details["gap"] < -0.4
    assert prediction.estimate == pytest.approx(-prediction.details["gap"])
    assert (equal.subject.scope, equal.details["disagreements"], equal.numbers.n) == ("set", WRONG, N)
    of_others = measured(choosing(0.5), at_most=0.15, scope="population")
    assert (of_others.verdict, of_others.subject.scope) == (Verdict.INCONCLUSIVE, "population")
    assert 'claim it of these images and annotators (scope="set")' in of_others.rule
    assert measured(choosing(0.8), at_most=0.15, scope="population").verdict is Verdict.FAILED
    assert json.loads(json.dumps(equal.to_dict())) == equal.to_dict()


def test_it_does_not_depend_on_whether_they_chose_or_were_asked() -> None:
    """Everybody who chose is taken to have said yes to that class, and no to the other."""
    chose = choosing(0.6)
    item, who = np.repeat(chose.item, 2), np.repeat(chose.annotator, 2)
    label = np.stack([LABELS[chose.item], (LABELS[chose.item] + 1) % K], 1).ravel()
    answer = (label == np.repeat(chose.answer, 2)).astype(int)
    asked = Responses.from_columns(item, answer, size=N, classes=K, annotator=who, label=label)
    one, other = measured(chose), measured(asked)
    for name in ("gap", "error", "label_frequency", "prediction_frequency"):
        assert one.details[name] == pytest.approx(other.details[name])


def test_answers_about_hits_do_not_matter() -> None:
    some = choosing(0.5)
    item = np.concatenate([some.item, np.arange(WRONG, N)])
    answer, who = np.concatenate([some.answer, LABELS[WRONG:]]), np.concatenate([some.annotator, np.full(N - WRONG, 3)])
    more = Responses.from_columns(item, answer, size=N, classes=K, annotator=who)
    assert measured(more, at_most=0.15).details["gap"] == measured(some, at_most=0.15).details["gap"]


def test_fewer_than_ten_annotators_settle_nothing() -> None:
    for share in (0.5, 0.9):
        result = measured(choosing(share, annotators=9), at_most=0.3)
        assert (result.verdict, result.rule[:12]) == (Verdict.INCONCLUSIVE, "9 annotators")
    with pytest.raises(ClaimInconclusive):
        assert_selection_gap(model, data(), choosing(0.5, annotators=9))


def test_who_answered_must_be_known() -> None:
    with pytest.raises(DataError, match="of item 0 nobody says who did"):
        measured(Responses.from_counts(np.ones((N, K), dtype=int)))


def test_each_disagreement_must_have_been_looked_at() -> None:
    some = choosing(0.5)
    left = some.item != 17
    fewer = Responses.from_columns(
        some.item[left], some.answer[left], size=N, classes=K, annotator=some.annotator[left]
    )
    with pytest.raises(DataError, match="the first is item 17"):
        measured(fewer)
    label = LABELS[some.item]
    asked = Responses.from_columns(
        some.item, np.ones(len(label), int), size=N, classes=K, annotator=some.annotator, label=label
    )
    with pytest.raises(DataError, match="300 samples nobody was asked about the prediction; the first is item 0, '1'"):
        measured(asked)


def test_classes_that_nobody_could_choose_are_refused() -> None:
    """Of a class that was never offered, nobody selecting it says nothing."""
    item, who = np.divmod(np.arange(WRONG * ANNOTATORS), ANNOTATORS)
    says = Responses.from_columns(item, item % 2, size=N, classes=2, annotator=who)
    with pytest.raises(DataError, match="item 1 has label 1 and prediction 2"):
        measured(says)


def test_a_model_without_errors_has_no_gap() -> None:
    result = measure_selection_gap(model, data(wrong=0), choosing(0.5), at_most=0.05)
    assert (result.verdict, result.estimate) == (Verdict.INCONCLUSIVE, None)
    assert "fewer than two samples" in result.rule
    assert "0 samples of disagreement alone" in result.words.caveats


def test_arguments_out_of_range_are_refused() -> None:
    for margin in (1, 1.5, -0.1):
        with pytest.raises(ConfigError, match="at_most"):
            measured(choosing(0.5), at_most=margin)
    with pytest.raises(ConfigError, match="responses such as"):
        measured(None)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="600 samples but got some about 7 items"):
        measured(Responses.from_columns([0], [0], size=7, classes=K, annotator=["ann"]))
