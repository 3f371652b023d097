"""Wrong labels of a set: by people who looked at a sample of it, and never by how many a model suspects."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
import torch
from robustest_people import Responses, Suspects, assert_label_quality, suspects
from robustest_people.measure import measure_label_quality

from robustest import ClaimFailed, ConfigError, DataError, Result, Verdict
from robustest.reports.text import measured

N, K = 2000, 3
LABELS = np.arange(N) % K


def looked(items: Any, wrong: Any = (), tied: Any = (), answers: int = 10) -> Responses:
    counts = np.zeros((N, K), dtype=int)
    items = np.asarray(items, int)
    counts[items, LABELS[items]] = answers
    for at, mine in ((np.asarray(wrong, int), answers // 2 - 1), (np.asarray(tied, int), answers // 2)):
        counts[at, LABELS[at]] = mine
        counts[at, (LABELS[at] + 1) % K] = answers - mine
    return Responses.from_counts(counts)


def draw(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).choice(N, n, replace=False)


def measure(says: Responses, **options: Any) -> Result:
    return measure_label_quality(LABELS, says, **options)


def test_a_sample_bounds_the_set() -> None:
    items = draw(600)
    result = measure(looked(items, wrong=items[:3]), max_error_rate=0.02)
    assert result.verdict is Verdict.PASSED
    assert (result.estimate, result.numbers.n, result.numbers.n_total) == (3 / 600, 600, N)
    assert result.interval[0] <= 0.005 < result.interval[1] <= 0.02
    told = [(row["item"], row["label"], row["preferred"]) for row in result.details["rejected"]]
    assert sorted(told) == sorted((int(at), str(LABELS[at]), str((LABELS[at] + 1) % K)) for at in items[:3])
    assert "if the sample was drawn uniformly" in measured(result)
    assert [result.outcomes[at] for at in items[:4]] == [False, False, False, True]
    assert result.outcomes.count(None) == N - 600
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def test_too_few_looks_settle_nothing_and_many_wrong_fail() -> None:
    items = draw(100)
    assert measure(looked(items, wrong=items[:1]), max_error_rate=0.02).verdict is Verdict.INCONCLUSIVE
    with pytest.raises(ClaimFailed):
        assert_label_quality(LABELS, looked(items, wrong=items[:20]))


def suspect(items: Any) -> Suspects:
    return Suspects(items=np.asarray(items), scores=np.zeros(N), method="a model")


OF_A_CLASS = np.flatnonzero(LABELS != 1)
CHOSEN: dict[str, Any] = {
    "the first of a sorted set": np.arange(600),
    "drawn from the first half": np.random.default_rng(0).choice(N // 2, 600, replace=False),
    "every second one": np.arange(0, N, 2),
    "two of four": np.flatnonzero(np.arange(N) % 4 < 2),
    "whole batches": (
        50 * np.random.default_rng(0).choice(N // 50, 12, replace=False)[:, None] + np.arange(50)
    ).ravel(),
    "one class left out": np.random.default_rng(0).choice(OF_A_CLASS, 600, replace=False),
    "more of one class": np.append(draw(300), np.setdiff1d(np.flatnonzero(LABELS == 1), draw(300))[:300]),
}


@pytest.mark.parametrize("items", CHOSEN.values(), ids=CHOSEN)
@pytest.mark.parametrize("scope", ["set", "population"])
def test_a_chosen_sample_says_nothing_of_the_other_labels(items: Any, scope: str) -> None:
    """Not one of the labels looked at is wrong: of a uniform sample that would be a pass."""
    result = measure(looked(items), max_error_rate=0.02, scope=scope)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.rule.startswith("no uniform sample, so that it says nothing of the other labels. ")
    assert "are expected of a uniform sample, p = " in result.rule
    assert f"drawn uniformly, for example by numpy.random.default_rng(0).choice({N}, {len(items)}" in result.rule
    assert "the sample was not drawn uniformly" in measured(result)
    assert result.estimate is None
    assert result.interval == ((0.0, 1 - len(items) / N) if scope == "set" else (0.0, 1.0))
    assert result.details["uniformity"]["p"] <= result.details["uniformity"]["level"] == 0.001


def test_a_sample_without_the_suspects_does_not_pass() -> None:
    """100 labels are wrong, and 100 suspected; nobody looks at one of them."""
    wrong = draw(100, seed=1)
    others = np.random.default_rng(2).choice(np.setdiff1d(np.arange(N), wrong), 500, replace=False)
    result = measure(looked(others), max_error_rate=0.02, suspects=suspect(wrong))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "suspects: 0, where 25 are expected of a uniform sample" in result.rule
    assert result.details["suspects"]["looked_at"] == 0
    with_them = np.append(draw(500, seed=3), wrong)  # a uniform sample, and all suspects on top
    assert (
        "suspects: 100, where"
        in measure(looked(np.unique(with_them)), max_error_rate=0.02, suspects=suspect(wrong)).rule
    )
    honest = draw(500, seed=3)
    told = measure(looked(honest), max_error_rate=0.02, suspects=suspect(wrong))
    assert (told.verdict, told.details["uniformity"]["p"] > 0.001) == (Verdict.PASSED, True)


def test_a_sample_of_labels_that_a_model_finds_easy_does_not_pass() -> None:
    """There is no suspect to leave out, and the easy ones lie anywhere in the set."""
    scores = np.random.default_rng(0).random(N)
    found = Suspects(items=np.array([], dtype=np.int64), scores=scores, method="a model")
    easy = np.random.default_rng(1).choice(np.flatnonzero(scores > np.quantile(scores, 0.15)), 600, replace=False)
    result = measure(looked(easy), max_error_rate=0.02, suspects=found)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "labels among the 10 % that a model finds most doubtful: 0, where 60 are expected" in result.rule
    assert measure(looked(easy), max_error_rate=0.02).verdict is Verdict.PASSED  # nothing tells them from others
    assert measure(looked(draw(600)), max_error_rate=0.02, suspects=found).verdict is Verdict.PASSED


def test_many_small_classes_of_which_half_are_left_out() -> None:
    """Of each class two labels would be in a uniform sample: no single class is missed."""
    labels = np.random.default_rng(0).permutation(np.arange(3000) % 300)
    items = np.random.default_rng(1).choice(np.flatnonzero(labels < 150), 600, replace=False)
    counts = np.zeros((3000, 300), dtype=int)
    counts[items, labels[items]] = 10
    result = measure_label_quality(labels, Responses.from_counts(counts), max_error_rate=0.02)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "chi-square of the classes" in result.rule


def test_a_chosen_sample_settles_what_is_certain() -> None:
    """Whatever the labels are that nobody looked at."""
    first = np.arange(600)
    failed = measure(looked(first, wrong=first[:41]), max_error_rate=0.02)
    assert (failed.verdict, failed.ruling.at_alpha) == (Verdict.FAILED, False)
    assert failed.rule == "certain: whatever the labels are that nobody looked at"
    assert measure(looked(first, wrong=first[:40]), max_error_rate=0.02).verdict is Verdict.INCONCLUSIVE
    most = np.arange(N - 20)
    assert measure(looked(most, wrong=most[:20]), max_error_rate=0.02).verdict is Verdict.PASSED
    assert (
        measure(looked(most, wrong=most[:20]), max_error_rate=0.02, scope="population").verdict is Verdict.INCONCLUSIVE
    )


def test_a_set_that_was_looked_at_whole_is_certain() -> None:
    every = looked(np.arange(N), wrong=np.arange(40))
    result = measure(every, max_error_rate=0.02)
    assert (result.verdict, result.rule, result.ruling.alpha) == (Verdict.PASSED, "certain: exact on this set", 0.01)
    assert "uniformly" not in measured(result)
    assert measure(every, max_error_rate=0.0199).verdict is Verdict.FAILED
    assert measure(every, max_error_rate=0.02, scope="population").verdict is Verdict.INCONCLUSIVE


def test_ties_are_told_and_count_for_neither_side() -> None:
    some = looked(np.arange(N), wrong=np.arange(30), tied=np.arange(30, 50))
    verdicts = [measure(some, max_error_rate=at).verdict for at in (0.01, 0.02, 0.025)]
    assert verdicts == [Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED]
    result = measure(some)
    assert (result.details["wrong"], result.details["tied"]) == (30, 20)
    assert result.interval == (30 / N, 50 / N)
    assert result.words.notes[0].startswith("30 labels are wrong and 20 undecided")


def test_who_was_asked_about_the_label_alone_says_no() -> None:
    shown, selected = (np.zeros((N, K), dtype=int) for _ in range(2))
    shown[np.arange(3), LABELS[:3]] = 4
    selected[np.arange(3), LABELS[:3]] = [4, 1, 2]
    result = measure(Responses.from_counts(selected, shown=shown))
    assert [(row["item"], row["preferred"]) for row in result.details["rejected"]] == [(1, "another"), (2, "tied")]
    assert (result.details["wrong"], result.details["tied"], result.outcomes[:3]) == (1, 1, (True, False, False))


def test_few_answers_a_label_are_told() -> None:
    items = draw(500)
    assert "as few as 1 answer a label" in measured(measure(looked(items, answers=1), max_error_rate=0.02))
    assert "as few as" not in measured(measure(looked(items), max_error_rate=0.02))


def test_wrong_labels_are_shown_with_what_people_see() -> None:
    x = torch.rand(N, 1, 4, 4)
    result = measure_label_quality((x, torch.from_numpy(LABELS)), looked(draw(50), wrong=[7]), max_error_rate=0.001)
    (shown,) = result.counterexamples
    assert (shown.index, shown.label, shown.predicted) == (7, LABELS[7], (LABELS[7] + 1) % K)


def test_suspects_are_shown_and_never_decide() -> None:
    items = draw(600)
    says = looked(items, wrong=items[:3])
    found = Suspects(items=np.arange(N), scores=np.zeros(N), method="all of them")
    with_them, without = measure(says, max_error_rate=0.02, suspects=found), measure(says, max_error_rate=0.02)
    assert (with_them.verdict, with_them.interval) == (without.verdict, without.interval)
    told = {"count": N, "method": "all of them", "looked_at": 600, "wrong": 3}
    assert with_them.details["suspects"] == told
    assert "a count of suspects decides nothing" in with_them.words.notes[-1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: measure(looked([3]), max_error_rate=1), ConfigError, "max_error_rate"),
        (lambda: measure("some"), ConfigError, "responses such as"),
        (lambda: measure(looked([3]), suspects=[3]), ConfigError, "suspects as"),
        (lambda: measure(looked([])), DataError, "there are none"),
        (lambda: measure_label_quality(LABELS[:9], looked([3])), DataError, "9 samples but got some about 2000"),
        (lambda: measure_label_quality(LABELS + 1, looked([2])), DataError, "that of item 2 is 3"),
        (lambda: measure_label_quality(LABELS * 1.0, looked([2])), DataError, "labels as whole numbers"),
        (lambda: measure_label_quality(LABELS - 1, looked([2])), DataError, "that of item 0 is -1"),
        (
            lambda: measure(Responses.from_columns([1], [True], size=N, classes=K, label=[0])),
            DataError,
            "of item 1 there are none",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def doubtful(flipped: int) -> Any:
    """Probabilities that are sure of the truth, of labels of which some were flipped."""
    random = np.random.default_rng(0)
    labels = LABELS.copy()
    labels[:flipped] = (labels[:flipped] + 1) % K
    scores = 0.05 + 0.1 * random.random((N, K))
    scores[np.arange(N), LABELS] = 0.8
    return labels, scores / scores.sum(1, keepdims=True)


def test_flipped_labels_are_suspect() -> None:
    pytest.importorskip("cleanlab", reason="cleanlab ranks suspects (the extra labels)")
    labels, probabilities = doubtful(60)
    for data in (labels, (torch.zeros(N, 1, 1, 1), torch.from_numpy(labels))):
        found = suspects(data, probabilities, out_of_sample=True)
        assert len(found) > 40, "cleanlab leaves some out, of a class's least doubtful"
        assert set(found.items.tolist()) <= set(range(60))
        assert found.scores[found.items].tolist() == sorted(found.scores[found.items])
    with_torch = suspects(torch.from_numpy(labels), torch.from_numpy(probabilities), out_of_sample=True)
    assert with_torch.items.tolist() == found.items.tolist()
    assert with_torch.method.startswith("cleanlab ")


def test_without_cleanlab_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(ConfigError, match=r"pip install 'robustest-people\[suspects\]'"):
        suspects(LABELS, np.full((N, K), 1 / K), out_of_sample=True)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"out_of_sample": False}, ConfigError, "out_of_sample=True"),
        ({"probabilities": np.full((N, K), 0.5)}, DataError, "those of item 0 do not"),
        ({"probabilities": np.full((N, K), np.nan)}, DataError, "those of item 0 do not"),
        ({"probabilities": np.full((7, K), 1 / K)}, DataError, "probabilities as floats"),
        ({"data": np.full(N, K)}, DataError, "that of item 0 is 3"),
    ],
)
def test_suspects_need_probabilities_of_other_samples(changes: Any, error: type[Exception], message: str) -> None:
    given = {"data": LABELS, "probabilities": np.full((N, K), 1 / K), "out_of_sample": True} | changes
    with pytest.raises(error, match=message):
        suspects(given.pop("data"), given.pop("probabilities"), **given)
