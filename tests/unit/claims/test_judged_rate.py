"""Rates of scores of a judge, corrected by people's labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustest import ConfigError, DataError, Result, Verdict
from robustest.claims.outcomes import measure_rate
from robustest.data import JudgeLabels, Outcomes
from robustest.decisions.share import clopper_pearson

RANDOM = np.random.default_rng(8)
N = 1000
TRUTH = RANDOM.random(N) < 0.8
LENIENT = np.where(TRUTH, RANDOM.random(N) < 0.98, RANDOM.random(N) < 0.4)
"""Accepts two of five wrong items: its rate is .86."""


def of(values: Any, prefix: str = "q", **columns: Any) -> Outcomes:
    return Outcomes.of(
        [
            {"item": f"{prefix}{i:04d}", "score": one if isinstance(one, float) else bool(one)}
            | {name: column[i] for name, column in columns.items()}
            for i, one in enumerate(values)
        ]
    )


SCORES, LABELS = of(LENIENT), of(TRUTH[:300])


def measured(at_least: float, judge: JudgeLabels, scores: Outcomes = SCORES, **more: Any) -> Result:
    return measure_rate(scores, at_least=at_least, judge=judge, **more)


def test_a_lenient_judge_does_not_raise_the_rate() -> None:
    assert measure_rate(SCORES, at_least=0.82).verdict is Verdict.PASSED
    for judge in (JudgeLabels(LABELS, drawn="random"), JudgeLabels(LABELS, drawn="chosen")):
        found = measured(0.82, judge)
        assert found.verdict is not Verdict.PASSED
        assert found.interval[0] < 0.8 < found.interval[1]
        assert found.subject.statement == "true rate"
    assert measured(0.72, JudgeLabels(LABELS, drawn="random")).verdict is Verdict.PASSED
    assert measured(0.9, JudgeLabels(LABELS, drawn="random")).verdict is Verdict.FAILED


def test_the_line_has_the_judge_s_errors_with_exact_intervals() -> None:
    found = measured(0.7, JudgeLabels(LABELS, drawn="random"))
    wrong = int((~TRUTH[:300]).sum())
    accepted = int((LENIENT & ~TRUTH)[:300].sum())
    assert found.details["judge"]["false_accepts"] == {
        "events": accepted,
        "n": wrong,
        "interval": [*clopper_pearson(accepted, wrong, 0.01)],
    }
    assert found.words.caveats[0] == "300 labels drawn at random"
    assert f"({accepted} of {wrong})" in found.words.caveats[1]
    chosen = measured(0.7, JudgeLabels(LABELS, drawn="chosen"))
    assert "not drawn at random: the judge is assumed to err as often" in chosen.words.caveats[0]


def test_a_judge_without_labels_passes_nothing() -> None:
    found = measured(0.1, JudgeLabels(None))
    assert (found.verdict, found.ruling.reasons) == (Verdict.INCONCLUSIVE, ("judge",))
    assert "unknown" in found.words.caveats[0]


def test_a_judge_no_better_than_chance_passes_nothing() -> None:
    coin = of(np.random.default_rng(1).random(N) < 0.9)
    for drawn in ("random", "chosen"):
        found = measured(0.3, JudgeLabels(LABELS, drawn=drawn), coin)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert drawn == "chosen" or found.ruling.reasons == ("judge",)
    # What remains is what the labels show by themselves.
    assert measure_rate(LABELS, at_least=0.7).verdict is Verdict.PASSED


def test_a_system_without_an_error_passes_though_no_label_shows_the_judge_to_be_better() -> None:
    right = np.ones(300, dtype=bool)
    assert measured(0.9, JudgeLabels(of(right[:200]), drawn="random"), of(right)).verdict is Verdict.PASSED
    assert measured(0.9, JudgeLabels(of(right[:200]), drawn="chosen"), of(right)).verdict is Verdict.INCONCLUSIVE


def test_labels_of_other_items_serve_another_share_of_right_ones() -> None:
    random = np.random.default_rng(4)
    truth = random.random(600) < 0.4
    other = np.where(truth, random.random(600) < 0.98, random.random(600) < 0.4)
    judge = JudgeLabels(of(truth, "c"), scores=of(other, "c"))
    found = measured(0.7, judge)
    assert found.verdict is Verdict.PASSED
    assert found.interval[0] < 0.8 < found.interval[1]
    assert measured(0.86, judge).verdict is not Verdict.PASSED
    same_names = JudgeLabels(of(truth), scores=of(other))  # of another system on the same items
    assert measured(0.7, same_names).interval[0] < found.interval[0]


def test_labels_that_were_not_drawn_at_random_are_seen_by_their_verdicts() -> None:
    """Somebody labelled what the judge accepts."""
    easy = np.flatnonzero(LENIENT)[:300]
    labels = Outcomes.of([{"item": f"q{i:04d}", "score": bool(TRUTH[i])} for i in easy])
    found = measured(0.7, JudgeLabels(labels, drawn="random"))
    assert found.verdict is not Verdict.PASSED


def test_counts_that_the_labels_cannot_explain_pass_nothing() -> None:
    """On the labelled items the judge accepts nine in ten right ones; here it accepts all but one in a hundred."""
    random = np.random.default_rng(4)
    truth = random.random(800) < 0.5
    strict = np.where(truth, random.random(800) < 0.9, random.random(800) < 0.1)
    found = measured(0.3, JudgeLabels(of(truth, "c"), scores=of(strict, "c")), of(np.arange(N) % 100 > 0))
    assert (found.verdict, found.interval) == (Verdict.INCONCLUSIVE, (0, 1))


def test_labels_that_are_the_judge_s_own_scores_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("item,score\n" + "".join(f"q{i},1\n" for i in range(9)))
    for outcomes, truth in ((SCORES, SCORES), (path, str(path))):
        with pytest.raises(ConfigError, match="judge's scores themselves"):
            measure_rate(outcomes, at_least=0.5, judge=JudgeLabels(truth, drawn="random"))


def test_labels_of_other_answers_or_of_no_item_are_refused() -> None:
    answers = [f"answer {i}" for i in range(N)]
    scores = of(LENIENT, answer=answers)
    with pytest.raises(DataError, match=r"300 items .* another input or answer"):
        measured(0.5, JudgeLabels(of(TRUTH[:300], answer=["another"] * 300), drawn="random"), scores)
    assert measured(0.5, JudgeLabels(of(TRUTH[:300], answer=answers), drawn="random"), scores).verdict is Verdict.PASSED
    with pytest.raises(DataError, match="300 items with a label are not there: 'z0000'"):
        measured(0.5, JudgeLabels(of(TRUTH[:300], "z"), drawn="random"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JudgeLabels(LABELS), 'drawn="random" or drawn="chosen"'),
        (lambda: JudgeLabels(LABELS, drawn="random", scores=SCORES), "no drawn="),
        (lambda: JudgeLabels(7, drawn="random"), "labels as outcomes"),
        (lambda: measured(0.5, LABELS), "judge to be JudgeLabels"),
        (lambda: measured(0.5, JudgeLabels(LABELS, drawn="random"), scope="set"), "Label every item"),
        (
            lambda: measured(0.5, JudgeLabels(LABELS, drawn="random"), no_worse_than=SCORES, tolerance=0.1),
            "at_least= alone",
        ),
    ],
)
def test_arguments_that_do_not_go_together_are_errors(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_rows_are_labels_too() -> None:
    rows = [{"item": f"q{i:04d}", "score": bool(one)} for i, one in enumerate(TRUTH[:300])]
    by_rows = measured(0.7, JudgeLabels(rows, drawn="random"))
    assert by_rows.interval == measured(0.7, JudgeLabels(LABELS, drawn="random")).interval


def test_graded_labels_need_a_random_draw() -> None:
    graded = of([0.5 + 0.3 * float(one) for one in LENIENT])
    labels = of([0.5 + 0.3 * float(one) for one in TRUTH[:300]])
    found = measured(0.7, JudgeLabels(labels, drawn="random"), graded)
    assert found.verdict is Verdict.PASSED
    assert found.interval[0] < 0.74 < found.interval[1]
    assert "differ from the labels by +0.0" in found.words.caveats[1]
    with pytest.raises(DataError, match="Draw the labelled items at random"):
        measured(0.7, JudgeLabels(labels, drawn="chosen"), graded)


def test_items_of_one_cluster_and_of_one_input_are_one_draw() -> None:
    single = measured(0.7, JudgeLabels(LABELS, drawn="random"))
    together = measured(0.7, JudgeLabels(LABELS, drawn="random"), cluster=lambda name: int(name[1:]) // 10)
    assert together.interval[0] < single.interval[0]
    assert "by 100 clusters" in together.rule
    for drawn in ("random", "chosen"):
        one = measured(0.3, JudgeLabels(LABELS, drawn=drawn), cluster=lambda _: 1)
        assert one.verdict is Verdict.INCONCLUSIVE
    prompts = [f"{i % 20}" for i in range(N)]
    twice = measured(0.7, JudgeLabels(LABELS, drawn="random"), of(LENIENT, prompt=prompts))
    assert (twice.verdict, twice.ruling.reasons) == (Verdict.INCONCLUSIVE, ("copies",))


def test_every_item_with_a_label_is_a_plain_rate() -> None:
    found = measured(0.7, JudgeLabels(of(TRUTH), drawn="random"))
    assert found.interval == clopper_pearson(int(TRUTH.sum()), N, 0.01)
    assert measured(0.7, JudgeLabels(of(TRUTH), drawn="random"), scope="set").verdict is Verdict.PASSED


def test_a_judged_claim_has_a_key_of_its_own() -> None:
    plain = measure_rate(SCORES, at_least=0.7).subject.claim
    judged = measured(0.7, JudgeLabels(LABELS, drawn="random")).subject.claim
    assert (plain, judged) == ("rate at_least", "rate(judged) at_least")
    # The history of one judged claim goes on as labels are added, or others are drawn.
    assert measured(0.8, JudgeLabels(LABELS, drawn="chosen")).subject.claim == judged
