"""Agreement between annotators: published examples, other implementations, and answers that show nothing."""

from __future__ import annotations

import os
from math import isnan
from typing import Any

import numpy as np
import pytest
from robustest_people import (
    Responses,
    annotator_quality,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
)

from robustest import ConfigError, DataError, UnknownNameError

REQUIRED = os.environ.get("ROBUSTEST_PARITY") == "required"

# Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, section E: four observers, twelve units.
OBSERVERS = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
# Fleiss, Psychological Bulletin 1971, table 1: thirty patients, six psychiatrists, five diagnoses.
DIAGNOSES = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""


def answers_of(table: str) -> Responses:
    """Answers of annotators p0, p1, ..., one a line, to items, one a column; a point is none."""
    lines = enumerate(table.split("\n")[1:-1])
    rows = [(item, f"p{who}", int(a) - 1) for who, line in lines for item, a in enumerate(line.split()) if a != "."]
    item, who, answer = zip(*rows, strict=True)
    return Responses.from_columns(item, answer, size=12, classes=5, annotator=who)


def random_answers(seed: int, *, classes: int = 4, items: int = 40, annotators: int = 5) -> tuple[Any, Responses]:
    """A table (annotators, items) with NaN for a fifth of the answers, and the same as responses."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, items)
    table = np.where(random.random((annotators, items)) < 0.6, truth, random.integers(0, classes, (annotators, items)))
    table = np.where(random.random(table.shape) < 0.2, np.nan, table)
    who, item = np.nonzero(~np.isnan(table))
    order = random.permutation(len(who))  # rows stand in any order
    who, item = who[order], item[order]
    names = [f"p{one}" for one in who]
    answer = table[who, item].astype(int)
    return table, Responses.from_columns(item, answer, size=items, classes=classes, annotator=names)


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_krippendorffs_example(level: str, published: float) -> None:
    found = krippendorff_alpha(answers_of(OBSERVERS), level)
    assert round(found.estimate, 3) == published
    assert (found.items, found.answers, found.unpaired) == (11, 40, 1)
    assert found.estimate == pytest.approx(1 - found.observed / found.expected)
    assert found.interval[0] < found.estimate < found.interval[1] <= 1


def test_kappa_is_that_of_fleiss_example() -> None:
    counts = np.array([[int(n) for n in row] for row in DIAGNOSES.split()])
    found = fleiss_kappa(Responses.from_counts(counts))
    assert round(found.estimate, 3) == 0.430
    assert (found.items, found.answers) == (30, 180)


def test_kappa_of_two_is_that_of_the_fourfold_table() -> None:
    """(20 + 15) / 50 are equal and 0.5 by chance: 0.4."""
    cells = [(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15
    table = np.array(cells)
    says = Responses.from_columns(
        np.repeat(np.arange(50), 2), table.ravel(), size=50, classes=2, annotator=["a", "b"] * 50
    )
    assert cohen_kappa(says).estimate == pytest.approx(0.4, abs=1e-12)


def fleiss_by_hand(table: Any) -> float:
    """By pairs of annotators, one question at a time."""
    annotators, items = table.shape
    pairs = [(i, j) for i in range(annotators) for j in range(annotators) if i != j]
    equal = sum(table[i, item] == table[j, item] for item in range(items) for i, j in pairs) / (items * len(pairs))
    chance = sum(float((table == c).mean()) ** 2 for c in np.unique(table))
    return float((equal - chance) / (1 - chance))


@pytest.mark.parametrize("seed", range(5))
def test_fleiss_kappa_is_the_share_of_equal_pairs_beyond_chance(seed: int) -> None:
    random = np.random.default_rng(seed)
    table = np.where(random.random((4, 30)) < 0.5, random.integers(0, 3, 30), random.integers(0, 3, (4, 30)))
    who, item = np.indices(table.shape).reshape(2, -1)
    says = Responses.from_columns(item, table.ravel(), size=31, classes=3, annotator=who)  # nobody answers item 30
    assert fleiss_kappa(says).estimate == pytest.approx(fleiss_by_hand(table), abs=1e-9)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_that_of_krippendorffs_package(level: str, seed: int) -> None:
    if not REQUIRED:
        pytest.importorskip("krippendorff", reason="krippendorff is not installed: tox -e parity-labels")
    import krippendorff

    table, says = random_answers(seed)
    found = krippendorff_alpha(says, level)
    theirs = krippendorff.alpha(reliability_data=table, level_of_measurement=level)
    assert found.estimate == pytest.approx(theirs, abs=1e-9)
    values = [-3.0, 0.5, 1e6, 7.0]
    named = np.where(np.isnan(table), np.nan, np.array(values)[np.nan_to_num(table).astype(int)])
    theirs = krippendorff.alpha(reliability_data=named, level_of_measurement="interval")
    assert krippendorff_alpha(says, "interval", values=values).estimate == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(5))
def test_kappa_of_two_is_that_of_scikit_learn(weights: str | None, seed: int) -> None:
    if not REQUIRED:
        pytest.importorskip("sklearn", reason="scikit-learn is not installed: tox -e parity-labels")
    from sklearn.metrics import cohen_kappa_score

    table, says = random_answers(seed)
    both = ~np.isnan(table[[1, 3]]).any(0)
    theirs = cohen_kappa_score(table[1, both], table[3, both], weights=weights, labels=range(4))
    found = cohen_kappa(says, annotators=("p1", "p3"), weights=weights)
    assert found.estimate == pytest.approx(theirs, abs=1e-9)
    assert found.items == both.sum()
    assert found.unpaired == np.isnan(table[[1, 3]]).sum(0).tolist().count(1)


def test_values_are_refused_where_they_say_nothing() -> None:
    _, says = random_answers(0)
    for wrong in ([1, 2, 3], [1, 2, 3, 3], [1, 2, 3, float("nan")], "abcd", 3):
        with pytest.raises(ConfigError, match="values to be 4 finite numbers"):
            krippendorff_alpha(says, "interval", values=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match='Take level="interval"'):
        krippendorff_alpha(says, values=[1, 2, 3, 4])


def test_each_label_asked_about_is_a_question_and_the_bootstrap_draws_items() -> None:
    """Three labels of an item are answered alike: items are the evidence, three times fewer than questions."""
    random = np.random.default_rng(0)
    size = 40
    first, second = random.integers(0, 2, size), random.integers(0, 2, size)
    second = np.where(random.random(size) < 0.7, first, second)
    rows = [(i, c, who, one[i]) for i in range(size) for c in range(3) for who, one in (("a", first), ("b", second))]
    item, label, who, answer = zip(*rows, strict=True)
    asked = Responses.from_columns(item, answer, size=size, classes=3, label=label, annotator=who)
    item, answer = np.repeat(np.arange(size), 2), np.stack([first, second], axis=1).ravel()
    once = Responses.from_columns(item, answer, size=size, classes=2, annotator=["a", "b"] * size)
    for measure in (krippendorff_alpha, fleiss_kappa, cohen_kappa):
        many, few = measure(asked), measure(once)
        assert many.answers == 3 * few.answers
        assert many.items == few.items == size
        assert many.estimate == pytest.approx(few.estimate, abs=0.01)
        widths = [one.interval[1] - one.interval[0] for one in (many, few)]
        assert widths[0] == pytest.approx(widths[1], rel=0.05)


@pytest.mark.parametrize("measure", [krippendorff_alpha, fleiss_kappa, cohen_kappa])
def test_guesses_agree_by_chance_alone(measure: Any) -> None:
    random = np.random.default_rng(3)
    answer = (random.random(400) < 0.9).astype(int)  # nine of ten say the same class: four of five pairs are equal
    says = Responses.from_columns(np.arange(400) // 2, answer, size=200, classes=2, annotator=["a", "b"] * 200)
    found = measure(says)
    assert (answer[::2] == answer[1::2]).mean() > 0.75
    assert found.interval[0] < 0 < found.interval[1]
    assert found.interval[1] < 0.4


@pytest.mark.parametrize("measure", [krippendorff_alpha, fleiss_kappa, cohen_kappa])
def test_the_interval_covers_as_often_as_it_states(measure: Any) -> None:
    """Two annotators err in 15 %: the true coefficient of two equally frequent classes is (1 - 2 * 0.15)^2 = 0.49."""
    covered, size = 0, 60
    random = np.random.default_rng(11)
    for seed in range(200):
        truth = random.integers(0, 2, size)
        answer = (truth[:, None] ^ (random.random((size, 2)) < 0.15)).ravel()
        says = Responses.from_columns(
            np.repeat(np.arange(size), 2), answer, size=size, classes=2, annotator=["a", "b"] * size
        )
        low, high = measure(says, resamples=200, seed=seed).interval
        covered += low <= 0.49 <= high
    assert 0.89 <= covered / 200 <= 0.99


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_a_draw_is_alpha_of_the_items_drawn(level: str) -> None:
    """Each item drawn becomes an item of new responses, so that mid-ranks and chance are those of the draw."""
    table, says = random_answers(1, items=12)
    random, draws = np.random.default_rng(4), []
    for _ in range(100):
        drawn = table[:, random.integers(0, 12, 12)]
        who, item = np.nonzero(~np.isnan(drawn))
        again = Responses.from_columns(item, drawn[who, item].astype(int), size=12, classes=4, annotator=who)
        draws.append(krippendorff_alpha(again, level, resamples=100).estimate)
    found = krippendorff_alpha(says, level, resamples=100, seed=4)
    assert found.interval == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1e-9)


def test_the_draws_are_seeded_and_confidence_widens_the_interval() -> None:
    _, says = random_answers(0)
    found = krippendorff_alpha(says, seed=5)
    assert found == krippendorff_alpha(says, seed=5)
    assert found.interval != krippendorff_alpha(says, seed=6).interval
    wider = krippendorff_alpha(says, seed=5, confidence=0.99)
    assert wider.interval[0] < found.interval[0] < found.interval[1] < wider.interval[1]
    assert (found.confidence, found.seed, found.resamples) == (0.95, 5, 1000)


@pytest.mark.parametrize("measure", [krippendorff_alpha, fleiss_kappa, cohen_kappa])
def test_few_items_without_a_disagreement_prove_little(measure: Any) -> None:
    def agreeing(size: int) -> Responses:
        item = np.repeat(np.arange(size), 2)
        return Responses.from_columns(item, item % 2, size=size, classes=2, annotator=["a", "b"] * size)

    few, many = measure(agreeing(4)), measure(agreeing(400))
    assert few.estimate == many.estimate == 1
    assert few.interval[1] == many.interval[1] == 1
    assert few.interval[0] < 0.5, "four items may agree by chance"
    assert 0.97 < many.interval[0] < 0.99


def test_draws_of_one_class_widen_the_interval_and_are_counted() -> None:
    """One item in twenty shows another class: a third of the draws miss it."""
    item = np.repeat(np.arange(20), 2)
    says = Responses.from_columns(item, (item == 7).astype(int), size=20, classes=2, annotator=["a", "b"] * 20)
    found = krippendorff_alpha(says)
    assert 0.2 < found.undefined / found.resamples < 0.5
    assert found.interval == (-1, 1)


def test_questions_that_nobody_answered_are_counted() -> None:
    says = Responses.from_columns(
        [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 0, None], size=3, classes=2, annotator=["a", "b"] * 3
    )
    found = krippendorff_alpha(says)
    assert (found.unanswered, found.unpaired, found.answers) == (1, 1, 4)
    with pytest.raises(DataError, match=r"got 1 to 2. Take krippendorff_alpha"):
        fleiss_kappa(says)


@pytest.mark.parametrize("measure", [krippendorff_alpha, fleiss_kappa, cohen_kappa, annotator_quality])
def test_answers_that_show_nothing_are_refused(measure: Any) -> None:
    def says(items: list[int], answers: list[int], who: list[str]) -> Responses:
        return Responses.from_columns(items, answers, size=4, classes=["cat", "dog"], annotator=who)

    one = "answers of two annotators.*Collect answers of a second annotator"
    with pytest.raises(DataError, match=one):
        measure(says([0, 1], [0, 1], ["ann", "ann"]))
    with pytest.raises(DataError, match=r"(none has more than one|they share none).*(Collect|Let)"):
        measure(says([0, 1], [0, 1], ["ann", "bob"]))
    with pytest.raises(DataError, match=r"got none.*dropped by attention checks"):
        measure(Responses.from_columns([0], [None], size=4, classes=2, annotator=["ann"]))
    with pytest.raises(ConfigError, match="responses to be Responses"):
        measure([[0, 1], [1, 1]])
    if measure is not annotator_quality:
        with pytest.raises(DataError, match=r"all 4 compared answers are 'dog'.*undefined"):
            measure(says([0, 0, 1, 1], [1] * 4, ["ann", "bob"] * 2))
        with pytest.raises(DataError, match=r"two items or more.*got 1"):
            measure(says([0, 0], [0, 1], ["ann", "bob"]))
        good = says([0, 0, 1, 1], [1, 0, 1, 1], ["ann", "bob"] * 2)
        for wrong in ({"confidence": 1}, {"confidence": 0}, {"resamples": 99}, {"resamples": 1e3}, {"seed": -1}):
            with pytest.raises(ConfigError, match=next(iter(wrong))):
                measure(good, **wrong)


def test_a_class_that_only_lone_answers_have_leaves_alpha_undefined() -> None:
    says = Responses.from_columns([0, 0, 1, 1, 2], [0, 0, 0, 0, 1], size=3, classes=2, annotator=[*"ababa"])
    with pytest.raises(DataError, match="all 4 compared answers are '0'"):
        krippendorff_alpha(says)


def test_names_are_known_and_two() -> None:
    _, says = random_answers(0)
    with pytest.raises(DataError, match=r"got those of 5.*Name two with annotators="):
        cohen_kappa(says)
    with pytest.raises(UnknownNameError, match="p9"):
        cohen_kappa(says, annotators=("p0", "p9"))
    for wrong in (("p0", "p0"), ("p0",), "p0"):
        with pytest.raises(ConfigError, match="two different names"):
            cohen_kappa(says, annotators=wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="linear"):
        cohen_kappa(says, annotators=("p0", "p1"), weights="cubic")
    with pytest.raises(UnknownNameError, match="ordinal"):
        krippendorff_alpha(says, "ordered")
    with pytest.raises(UnknownNameError, match="consensus"):
        annotator_quality(says, "truth")
    for measure in (cohen_kappa, annotator_quality):
        with pytest.raises(DataError, match="know who gave each answer"):
            measure(Responses.from_counts([[2, 1], [1, 2]]))


def test_quality_is_agreement_with_the_others_alone() -> None:
    """Each is compared where the two others agree: ann on items 0 and 3, bob on 0, 2 and 3, cid on 0, 1 and 3."""
    table = {"ann": [0, 1, 0, 0], "bob": [0, 1, 1, 0], "cid": [0, 0, 0, 0]}
    rows = [(item, who, answer) for who, column in table.items() for item, answer in enumerate(column)]
    item, who, answer = zip(*rows, strict=True)
    ann, bob, cid = annotator_quality(Responses.from_columns(item, answer, size=4, classes=2, annotator=who))
    assert (ann.annotator, bob.annotator, cid.annotator) == ("ann", "bob", "cid")
    assert (ann.answers, ann.compared, ann.agreement) == (4, 2, 1.0)
    assert (bob.compared, bob.agreement) == (3, 2 / 3)
    assert (cid.compared, cid.agreement) == (3, 2 / 3)
    assert cid.by_chance == pytest.approx(2 / 3), "one who always says 0"
    assert cid.interval == pytest.approx((0.0943, 0.9916), abs=1e-4)


def test_quality_finds_who_guesses_and_who_always_says_the_same() -> None:
    random = np.random.default_rng(0)
    truth = (random.random(400) < 0.2).astype(int)
    good = [np.where(random.random(400) < 0.9, truth, 1 - truth) for _ in range(4)]
    table = [*good, random.integers(0, 2, 400), np.zeros(400, int)]
    item, names = np.tile(np.arange(400), 6), np.repeat(["g0", "g1", "g2", "g3", "guess", "zero"], 400)
    says = Responses.from_columns(item, np.concatenate(table), size=400, classes=2, annotator=names)
    *others, guess, zero = annotator_quality(says)
    assert min(one.interval[0] - one.by_chance for one in others) > 0.1
    assert guess.interval[0] < 0.5 < guess.interval[1]
    assert zero.agreement > 0.7
    assert zero.agreement == pytest.approx(zero.by_chance), "a share of equal answers alone would praise constants"


def test_quality_by_checks_and_of_who_has_nothing_to_compare() -> None:
    says = Responses.from_columns(
        [0, 0, *[None] * 6],
        [0, 1, *[0] * 6],
        size=2,
        classes=2,
        annotator=["ann", "bob", *["ann"] * 4, *["cid"] * 2],
        check=[None, None, True, True, True, False, False, False],
    )
    ann, bob, cid = annotator_quality(says, "checks", confidence=0.9)
    assert (ann.compared, ann.agreement, ann.answers) == (4, 0.75, 1)
    assert (bob.compared, bob.interval) == (0, (0.0, 1.0))
    assert isnan(bob.agreement)
    assert isnan(ann.by_chance)
    assert (cid.compared, cid.agreement, cid.answers) == (2, 0.0, 0)
    without = Responses.from_columns([0, 0], [0, 1], size=2, classes=2, annotator=["ann", "bob"])
    with pytest.raises(DataError, match="attention checks but nobody answered any"):
        annotator_quality(without, "checks")
    with pytest.raises(ConfigError, match="confidence"):
        annotator_quality(without, confidence=2)
