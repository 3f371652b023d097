"""What people foresee and notice: by annotator, against what no one need know, and with controls that must work."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from robustest_people import Responses, assert_cue_noticed, assert_simulatable
from robustest_people.measure import measure_cue_noticed, measure_simulatable

from robustest import ClaimFailed, ClaimInconclusive, ConfigError, DataError, UnknownNameError, Verdict

ITEMS, K = 40, 2


def foreseeing(share: float, seed: int = 0, annotators: int = 20, each: int = 20, spread: float = 0.08) -> Responses:
    """People of differing skill foresee the model's answer to items of their own draw."""
    random = np.random.default_rng(seed)
    skill = np.clip(share + random.normal(0, spread, annotators), 0, 1)
    item = np.concatenate([random.choice(ITEMS, each, replace=False) for _ in range(annotators)])
    who = np.repeat(np.arange(annotators), each)
    truth = np.arange(ITEMS)[item] % K
    answer = np.where(random.random(len(item)) < skill[who], truth, 1 - truth)
    return Responses.from_columns(item, answer, size=ITEMS, classes=K, annotator=who, truth=truth)


def test_people_who_foresee_the_model() -> None:
    result = assert_simulatable(foreseeing(0.8), at_least=0.55)
    assert (result.verdict, result.subject.scope, result.numbers.n) == (Verdict.PASSED, "set", 400)
    assert "about alpha = 0.01" in result.rule
    assert result.details["chance"] == 0.5
    assert 0.4 < result.details["constant"] < 0.6
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    with pytest.raises(ClaimFailed):
        assert_simulatable(foreseeing(0.5), at_least=0.8)


def test_20_people_and_20_answers_each_see_63_percent() -> None:
    """Skill spread by 0.08: the claim of more than chance passes in 19 of 20 studies; at chance in one of 100."""
    passed = [measure_simulatable(foreseeing(0.63, seed), at_least=0.5).verdict for seed in range(100)]
    assert passed.count(Verdict.PASSED) >= 88  # the most frequent answer is right a little more often than chance
    wrong = [measure_simulatable(foreseeing(0.5, 1000 + seed), at_least=0.5).verdict for seed in range(200)]
    assert wrong.count(Verdict.PASSED) <= 4


def test_of_other_people_bets_decide() -> None:
    """Twenty people say little of rare ones, and sixty enough; the words are exact."""
    few, many = (
        measure_simulatable(foreseeing(0.8, annotators=people), at_least=0.6, scope="population") for people in (10, 60)
    )
    assert (few.verdict, many.verdict, many.subject.scope) == (Verdict.INCONCLUSIVE, Verdict.PASSED, "population")
    assert "about" not in many.rule
    assert "approximate" not in many.details
    assert few.interval[0] < measure_simulatable(foreseeing(0.8, annotators=10)).interval[0]


def test_rare_people_who_foresee_nothing_are_not_passed_over() -> None:
    """One person in twenty foresees nothing: of 20 a third of the samples hold none of them, and look alike."""
    random, passed, runs = np.random.default_rng(0), {"set": 0, "population": 0}, 100
    item, who = np.divmod(np.arange(20 * 20), 20)
    for _ in range(runs):
        truth, nothing = item % K, (random.random(20) < 0.05)[who]
        answer = np.where((random.random(len(item)) < 0.97) & ~nothing, truth, 1 - truth)
        study = Responses.from_columns(item, answer, size=20, classes=K, annotator=who, truth=truth)
        for scope in passed:
            found = measure_simulatable(study, at_least=0.97 * 0.95 + 0.01, scope=scope)
            passed[scope] += found.verdict is Verdict.PASSED
    assert passed["population"] <= 4, passed
    assert passed["set"] > 10, "which is why that rule says about"


def test_rare_people_who_take_the_null_cue_for_spurious_are_not_passed_over() -> None:
    random, passed = np.random.default_rng(0), {"set": 0, "population": 0}
    kind, who, item = (part.ravel() for part in np.meshgrid(range(3), range(20), range(4), indexing="ij"))
    for _ in range(100):
        odd = (random.random(20) < 0.05)[who]
        answer = np.where(odd, kind == 0, kind > 0).astype(int)
        study = Responses.from_columns(
            4 * kind + item, answer, size=12, classes=("null", "planted", "logo"), label=kind, annotator=who
        )
        for scope in passed:
            found = measure_cue_noticed(study, "logo", at_least=0.91, scope=scope)
            passed[scope] += found.verdict is Verdict.PASSED
    assert passed["population"] <= 4, passed


def test_people_asked_about_one_cue_each_are_compared_as_two_groups() -> None:
    """No person was asked about both: the shares of two groups of people are what bets are on."""
    kind = np.repeat(np.arange(3), 40 * 4)
    who = np.repeat(np.arange(120), 4)
    study = Responses.from_columns(
        np.arange(480) % 12,
        (kind > 0).astype(int),
        size=12,
        classes=("null", "planted", "logo"),
        label=kind,
        annotator=who,
    )
    result = measure_cue_noticed(study, "logo", at_least=0.6, scope="population")
    assert (result.verdict, result.estimate) == (Verdict.PASSED, 1.0)
    assert measure_cue_noticed(study, "logo", at_least=0.95, scope="population").verdict is Verdict.INCONCLUSIVE


def test_people_who_were_asked_about_chosen_items_alone() -> None:
    """They foresee the first tenth of the items, which are the easy ones; a uniform tenth says something of all."""
    size = 400
    truth = np.arange(size) % K

    def asked_about(items: Any) -> Responses:
        who = np.repeat(np.arange(20), len(items))
        item = np.tile(items, 20)
        answer = np.where(np.random.default_rng(0).random(len(item)) < 0.9, truth[item], 1 - truth[item])
        return Responses.from_columns(item, answer, size=size, classes=K, annotator=who)

    for chosen in (np.arange(40), np.flatnonzero(truth == 1)[:40], np.arange(0, size, 10)):
        result = measure_simulatable(asked_about(chosen), truth=truth, at_least=0.6)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert result.rule.startswith("no uniform sample of the items"), result.rule
    drawn = np.random.default_rng(1).choice(size, 40, replace=False)
    assert measure_simulatable(asked_about(drawn), truth=truth, at_least=0.6).verdict is Verdict.PASSED


def test_saying_always_the_same_foresees_nothing() -> None:
    """The model says class 0 to 9 of 10 items, and so does everybody."""
    item, who = np.divmod(np.arange(ITEMS * 20), 20)
    truth = (item % 10 == 0).astype(int)
    study = Responses.from_columns(item, np.zeros_like(item), size=ITEMS, classes=K, annotator=who, truth=truth)
    result = measure_simulatable(study, at_least=0.5)
    assert (result.verdict, result.estimate) == (Verdict.INCONCLUSIVE, 0.9)
    assert "no foresight is shown" in result.rule


def test_guessing_among_few_choices_foresees_nothing() -> None:
    """Ten classes, of which two are offered for each item: a half is chance, and three of ten are no feat."""
    study = foreseeing(0.5)
    ten = Responses.from_columns(
        study.item, study.answer + 2 * (study.item % 5), size=ITEMS, classes=10, annotator=study.annotator
    )
    truth = np.arange(ITEMS) % K + 2 * (np.arange(ITEMS) % 5)
    assert measure_simulatable(ten, truth=truth, at_least=0.3).verdict is Verdict.PASSED
    result = measure_simulatable(ten, truth=truth, at_least=0.3, choices=2)
    assert (result.verdict, result.details["chance"]) == (Verdict.INCONCLUSIVE, 0.5)
    with pytest.raises(ConfigError, match="choices"):
        measure_simulatable(ten, truth=truth, choices=1)


def test_the_models_answers_may_be_given() -> None:
    study = foreseeing(0.8)
    bare = Responses.from_columns(study.item, study.answer, size=ITEMS, classes=K, annotator=study.annotator)
    given = measure_simulatable(bare, truth=np.arange(ITEMS) % K)
    assert given.interval == measure_simulatable(study).interval
    with pytest.raises(DataError, match="a study with a truth"):
        measure_simulatable(bare)
    with pytest.raises(DataError, match="to item 3 it is -1"):
        measure_simulatable(bare, truth=np.where(np.arange(ITEMS) == 3, -1, 0))
    with pytest.raises(DataError, match="truth as whole numbers"):
        measure_simulatable(bare, truth=[0, 1])


def test_fewer_than_ten_people_settle_nothing() -> None:
    for share, at_least in ((0.95, 0.5), (0.2, 0.9)):
        result = measure_simulatable(foreseeing(share, annotators=9, each=40), at_least=at_least)
        assert (result.verdict, result.rule[:12]) == (Verdict.INCONCLUSIVE, "9 annotators")


def test_one_person_has_no_error_and_a_file_of_results_can_hold_that() -> None:
    one, other = foreseeing(0.8, annotators=1), noticing(0.8, annotators=1)
    for result in (measure_simulatable(one, at_least=0.5), measure_cue_noticed(other, "logo", at_least=0.0)):
        assert (result.verdict, result.details["error"]) == (Verdict.INCONCLUSIVE, None)
        assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def test_studies_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(ConfigError, match="a study's answers"):
        measure_simulatable([1])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the study has none"):
        measure_simulatable(Responses.from_counts([[0, 0]]))
    with pytest.raises(DataError, match="nobody says who did"):
        measure_simulatable(Responses.from_counts([[1, 0]]))
    with pytest.raises(DataError, match="one at a time"):
        measure_simulatable(Responses.from_columns([0], [1], size=1, classes=2, label=[0], annotator=["ann"]))
    with pytest.raises(DataError, match="they chose among all"):
        measure_cue_noticed(foreseeing(0.5), "0")


NAMES = ("null", "planted", "logo")


def noticing(logo: float, planted: float = 0.9, null: float = 0.1, **changes: Any) -> Responses:
    """30 people call each of three cues spurious, more or less often, on 6 pictures each."""
    given = {"annotators": 30, "cues": NAMES, "seed": 0} | changes
    random, people = np.random.default_rng(given["seed"]), given["annotators"]
    rates = dict(zip(NAMES, (null, planted, logo), strict=True))
    rows = [(6 * NAMES.index(c) + i, c, who) for c in given["cues"] for i in range(6) for who in range(people)]
    item, label, who = zip(*rows, strict=True)
    lean = random.normal(0, 0.05, people)
    answer = [bool(random.random() < rates[c] + lean[w]) for c, w in zip(label, who, strict=True)]
    return Responses.from_columns(item, answer, size=18, classes=NAMES, label=label, annotator=who)


def test_a_cue_that_is_noticed_and_one_that_is_not() -> None:
    result = assert_cue_noticed(noticing(0.6), "logo")
    assert result.verdict is Verdict.PASSED
    assert result.estimate == pytest.approx(0.5, abs=0.1)
    assert (result.numbers.n, len(result.outcomes)) == (180, 180)
    assert result.details["planted"]["interval"][0] > 0.5
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    with pytest.raises(ClaimFailed):
        assert_cue_noticed(noticing(0.1), "logo", at_least=0.2)


def test_a_cue_like_the_null_cue_is_not_noticed_more_often() -> None:
    passed = [measure_cue_noticed(noticing(0.1, seed=seed), "logo", at_least=0).verdict for seed in range(100)]
    assert passed.count(Verdict.PASSED) <= 4
    with pytest.raises(ClaimInconclusive):
        assert_cue_noticed(noticing(0.0, null=0.0), "logo")


@pytest.mark.parametrize("cues", [("logo",), ("logo", "null"), ("logo", "planted")])
def test_without_controls_nothing_is_shown(cues: tuple[str, ...]) -> None:
    for at_least in (-0.9, 0.0, 0.9):
        result = measure_cue_noticed(noticing(0.8, cues=cues), "logo", at_least=at_least)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert result.rule.startswith("the study lacks the cue or the planted cue")
        assert (result.estimate is None) is ("null" not in cues)


def test_a_planted_cue_that_nobody_notices_settles_nothing() -> None:
    for planted in (0.1, 0.0):
        result = measure_cue_noticed(noticing(0.8, planted=planted), "logo", at_least=0.0)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "do not notice the planted cue either" in result.rule


def test_few_people_notice_nothing_for_others() -> None:
    result = measure_cue_noticed(noticing(0.8, annotators=9), "logo", at_least=0.0)
    assert (result.verdict, result.rule[:12]) == (Verdict.INCONCLUSIVE, "9 annotators")


def test_cues_that_are_none_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'logo'"):
        measure_cue_noticed(noticing(0.5), "log")
    with pytest.raises(ConfigError, match="another cue than the null"):
        measure_cue_noticed(noticing(0.5), "null")
    with pytest.raises(DataError, match="nobody was asked about it"):
        measure_cue_noticed(noticing(0.5, cues=("null", "planted")), "logo")
    with pytest.raises(ConfigError, match="at_least"):
        measure_cue_noticed(noticing(0.5), "logo", at_least=-1)
