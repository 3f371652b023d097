"""One label for each item: ties, what each method detects, and the next questions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from robustest_people.aggregation import aggregate, dawid_skene, glad, share_interval
from robustest_people.responses import Responses
from scipy.stats import binomtest, spearmanr

from robustest import ConfigError, DataError, UnknownNameError


def test_ties_are_told_and_never_broken_by_the_order_of_classes() -> None:
    counts = np.array([[3, 3, 0], [0, 3, 3], [1, 2, 0], [0, 0, 0]])
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        found = aggregate(Responses.from_counts(counts[:, order]))
        assert found.tied.tolist() == [True, True, False, False]
        assert found.labels.tolist() == [-1, -1, order.index(1), -1]
    assert found.answers.tolist() == [6, 6, 3, 0]
    assert np.isnan(found.shares[3]).all()


def test_labels_asked_about_lead_by_how_often_they_were_selected_of_how_often_they_were_shown() -> None:
    """Class 0 was selected by 4 of 8, class 1 by 3 of 4; then 1 of 3 against 2 of 6, which is the same."""
    found = aggregate(Responses.from_counts([[4, 3], [1, 2], [0, 0]], shown=[[8, 4], [3, 6], [2, 2]]))
    assert found.labels.tolist() == [1, -1, -1]
    assert found.tied.tolist() == [False, True, False], "what nobody selected does not lead"


def crowd(seed: int, bad: str, *, checks: int = 0) -> tuple[Any, Responses]:
    """2,000 items of 10 classes, 5 answers each; 20 of 50 annotators are bad, the others right in 80 to 95 %."""
    random = np.random.default_rng(seed)
    items, k, annotators = 2000, 10, 50
    truth = random.integers(0, k, items)
    skill = random.uniform(0.8, 0.95, annotators)
    item = np.repeat(np.arange(items), 5)
    who = np.concatenate([random.choice(annotators, 5, replace=False) for _ in range(items)])
    right = random.random(len(item)) < skill[who]
    answer = np.where(right, truth[item], (truth[item] + random.integers(1, k, len(item))) % k)
    copied = random.integers(0, k, items)
    worse = {"zero": np.zeros_like(answer), "random": random.integers(0, k, len(item)), "collude": copied[item]}[bad]
    answer = np.where(who < 20, worse, answer)
    good = random.random((annotators, checks)) < np.where(np.arange(annotators) < 20, 0.1, skill)[:, None]
    seen = np.repeat(np.arange(annotators), checks)
    return truth, Responses.from_columns(
        [*item, *[None] * len(seen)],
        [*answer, *[0] * len(seen)],
        size=items,
        classes=k,
        annotator=[*who, *seen],
        check=[*[None] * len(item), *good.ravel().tolist()],
        checks_at_least=None,
    )


@pytest.mark.parametrize("seed", range(3))
def test_dawid_and_skene_see_who_always_says_the_same(seed: int) -> None:
    truth, says = crowd(seed, "zero")
    majority, found = (
        float((aggregate(says, method).labels == truth).mean()) for method in ("majority", "dawid-skene")
    )
    assert majority < 0.65
    assert found >= 0.93


def test_checks_alone_see_collusion() -> None:
    truth, says = crowd(0, "collude", checks=10)
    share = {m: float((aggregate(says, m).labels == truth).mean()) for m in ("majority", "dawid-skene", "checks")}
    assert share["checks"] > 0.8
    assert max(share["majority"], share["dawid-skene"]) < share["checks"] - 0.1


@pytest.mark.parametrize("model", [dawid_skene, glad])
def test_two_who_agree_are_believed(model: Any) -> None:
    """Against one who always says 0; nobody answered the last item."""
    item = np.repeat(np.arange(8), 3)
    answer = np.array([[t, t, 0] for t in [0, 1, 0, 1, 0, 1, 0, 1]]).ravel()
    fit = model(item, np.tile([0, 1, 2], 8), answer, items=9, annotators=3, classes=2)
    assert fit.converged
    assert fit.posterior[:8].argmax(1).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert fit.posterior[:8].max(1).min() > (0.99 if model is dawid_skene else 0.9)
    assert fit.posterior[8].tolist() == [0.5, 0.5]
    assert fit.posterior.sum(1) == pytest.approx(np.ones(9))
    assert fit.accuracy[0] == pytest.approx(fit.accuracy[1])
    assert fit.accuracy[2] < 0.7 < fit.accuracy[0]


@pytest.mark.parametrize("method", ["dawid-skene", "glad"])
@pytest.mark.parametrize("classes", [2, 5])
def test_two_who_differ_everywhere_leave_a_tie(method: str, classes: int) -> None:
    rows = [(item, who, (item + who) % classes) for item in range(classes * 2) for who in (0, 1)]
    item, who, answer = (np.array(column) for column in zip(*rows, strict=True))
    says = Responses.from_columns(item, answer, size=classes * 2, classes=classes, annotator=who)
    assert aggregate(says, method).tied.all()


@pytest.mark.parametrize("method", ["dawid-skene", "glad"])
def test_an_item_without_answers_has_no_label_and_no_tie(method: str) -> None:
    says = Responses.from_columns([0, 0, 1, 1], [1, 1, 0, 0], size=3, classes=2, annotator=["a", "b", "a", "b"])
    found = aggregate(says, method)
    assert found.labels.tolist() == [1, 0, -1]
    assert found.tied.tolist() == [False, False, False]
    assert found.answers.tolist() == [2, 2, 0]


def simulated(seed: int, *, classes: int = 3, items: int = 200, annotators: int = 12, each: int = 6) -> dict[str, Any]:
    """Answers of GLAD's model; annotators 0 and 1 say the wrong class more often than guesses would."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, items)
    ability = np.concatenate([[-1.5, -1.5], np.linspace(0.5, 3, annotators - 2)])
    log_ease = random.normal(0, 1, items)
    item = np.repeat(np.arange(items), each)
    who = np.concatenate([random.choice(annotators, each, replace=False) for _ in range(items)])
    right = random.random(len(item)) < 1 / (1 + np.exp(-ability[who] * np.exp(log_ease)[item]))
    answer = np.where(right, truth[item], (truth[item] + random.integers(1, classes, len(item))) % classes)
    return {"truth": truth, "ability": ability, "log_ease": log_ease, "item": item, "who": who, "answer": answer}


def log_posterior(parameters: Any, known: Any, annotators: int, classes: int) -> float:
    """Of GLAD's parameters given the answers, summed over the true classes; up to a constant."""
    item, who, answer = known
    ability, log_ease = parameters[:annotators], parameters[annotators:]
    right = 1 / (1 + np.exp(-ability[who] * np.exp(log_ease)[item]))
    each = np.zeros((len(log_ease), classes))
    for c in range(classes):
        np.add.at(each[:, c], item, np.log(np.where(answer == c, right, (1 - right) / (classes - 1))))
    prior = -((parameters - 1) ** 2).sum() / 2
    return float(np.log(np.exp(each).mean(1)).sum() + prior)


@pytest.mark.parametrize("seed", range(2))
def test_glad_is_at_a_maximum_of_its_posterior(seed: int) -> None:
    """By central differences of the sum over classes, which EM never computes."""
    crowd = simulated(seed, items=40, each=3)
    crowd["item"] = np.append(crowd["item"], 40)  # an item with one answer must move nothing
    crowd["who"], crowd["answer"] = np.append(crowd["who"], 5), np.append(crowd["answer"], 0)
    known = crowd["item"], crowd["who"], crowd["answer"]
    fit = glad(*known, items=41, annotators=12, classes=3)
    assert fit.ability is not None
    assert fit.ease is not None

    def steepest(at: Any) -> float:
        def slope(step: Any) -> float:
            ends = (log_posterior(at + sign * step, known, 12, 3) for sign in (1, -1))
            return abs(next(ends) - next(ends)) / 2e-5

        return max(slope(1e-5 * step) for step in np.eye(len(at)))

    assert steepest(np.ones(12 + 41)) > 1
    assert steepest(np.concatenate([fit.ability, np.log(fit.ease)])) < 0.01


def test_glad_finds_ability_and_ease() -> None:
    crowd = simulated(0, annotators=20, items=600, each=8)
    says = Responses.from_columns(crowd["item"], crowd["answer"], size=600, classes=3, annotator=crowd["who"])
    found = aggregate(says, "glad")
    assert found.fit is not None
    assert found.fit.ability is not None
    assert found.fit.ease is not None
    names = np.array(says.annotators, dtype=int)
    assert set(names[found.fit.ability < 0].tolist()) == {0, 1}
    assert spearmanr(found.fit.ability, crowd["ability"][names]).statistic > 0.9
    assert spearmanr(found.fit.ease, crowd["log_ease"]).statistic > 0.5
    wrong = {method: (aggregate(says, method).labels != crowd["truth"]).mean() for method in ("majority", "glad")}
    assert wrong["glad"] < 0.7 * wrong["majority"]


def test_accuracy_is_the_share_of_right_answers() -> None:
    crowd = simulated(1, items=800, each=8)
    says = Responses.from_columns(crowd["item"], crowd["answer"], size=800, classes=3, annotator=crowd["who"])
    names = np.array(says.annotators, dtype=int)
    right = crowd["answer"] == crowd["truth"][crowd["item"]]
    share = (np.bincount(crowd["who"], right) / np.bincount(crowd["who"]))[names]
    for method in ("dawid-skene", "glad"):
        fit = aggregate(says, method).fit
        assert fit is not None
        assert np.abs(fit.accuracy - share).max() < 0.08


@pytest.mark.parametrize("method", ["dawid-skene", "glad"])
def test_the_least_certain_item_is_asked_about_next(method: str) -> None:
    """Ann, bob and cid agree; dan says the other class; item 3 has two answers that differ, item 4 none."""
    items = [0, 1, 2, 5, 6, 7]
    rows = [(i, who, (i + (who == "dan")) % 2) for i in items for who in ("ann", "bob", "cid", "dan")]
    rows += [(3, "ann", 0), (3, "bob", 1)]
    item, who, answer = zip(*rows, strict=True)
    found = aggregate(Responses.from_columns(item, answer, size=8, classes=2, annotator=who), method)
    first, second, third = found.ask_next(3)
    assert (first.item, second.item, third.item) == (4, 3, 0)
    assert first.uncertainty == pytest.approx(1)
    assert second.uncertainty > third.uncertainty
    assert set(first.annotators) == {"ann", "bob", "cid"}, "the better ones"
    assert second.annotators[0] == "cid"
    assert not {"ann", "bob"} & set(second.annotators), "who answered is not asked again"
    assert len(found.ask_next(100, annotators=1)) == 8
    assert all(len(question.annotators) <= 1 for question in found.ask_next(100, annotators=1))


@pytest.mark.parametrize("method", ["dawid-skene", "glad"])
def test_few_answers_make_no_item_certain(method: str) -> None:
    """Item 0 has three equal answers, item 1 one: fewer answers are asked about first."""
    rows = [(i, who, 0 if i < 2 else i % 2) for i in (0, *range(2, 12)) for who in ("ann", "bob", "cid")]
    item, who, answer = zip(*rows, (1, "ann", 0), strict=True)
    found = aggregate(Responses.from_columns(item, answer, size=12, classes=2, annotator=who), method)
    assert found.ask_next(1)[0].item == 1


def test_who_is_worse_than_chance_or_failed_the_checks_is_not_asked() -> None:
    crowd = simulated(0, annotators=12, items=300)
    names, kept = [f"p{who}" for who in crowd["who"]], len(crowd["who"])
    says = Responses.from_columns(
        [*crowd["item"], *[None] * 5],
        [*crowd["answer"], *[0] * 5],
        size=301,
        classes=3,
        annotator=[*names, *["p11"] * 5],
        check=[*[None] * kept, *[False] * 5],
    )
    assert says.inattentive == ("p11",)
    asked = aggregate(says, "glad").ask_next(1, annotators=12)[0]
    assert asked.item == 300
    assert {"p0", "p1", "p11"} & set(asked.annotators) == set()
    assert len(asked.annotators) >= 8
    assert asked.annotators[0] in {"p9", "p10", "p8", "p7"}


def test_the_majority_knows_nobody_to_ask() -> None:
    found = aggregate(Responses.from_columns([0, 0], [0, 1], size=1, classes=2, annotator=["a", "b"]))
    with pytest.raises(ConfigError, match=r'method=.majority.\. Aggregate with "dawid-skene" or "glad"'):
        found.ask_next(1)
    model = aggregate(found.responses, "glad")
    for wrong in (0, True, 1.5):
        with pytest.raises(ConfigError, match="k to be a whole number >= 1"):
            model.ask_next(wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="annotators to be a whole number >= 1"):
            model.ask_next(1, annotators=wrong)  # type: ignore[arg-type]


def test_intervals_of_shares_are_exact() -> None:
    events, n = np.array([0, 3, 10, 0]), np.array([10, 10, 10, 0])
    low, high = share_interval(events, n)
    for k, of, ends in zip(events[:3], n[:3], zip(low, high, strict=True), strict=False):
        exact = binomtest(int(k), int(of)).proportion_ci(0.95, method="exact")
        assert ends == pytest.approx((exact.low, exact.high))
    assert (low[3], high[3]) == (0, 1)


def test_what_cannot_be_taken_together_is_refused() -> None:
    counts = Responses.from_counts([[1, 2]])
    with pytest.raises(UnknownNameError, match="majority"):
        aggregate(counts, "mean")
    for method in ("dawid-skene", "glad", "checks"):
        with pytest.raises(DataError, match="of item 0 nobody says who did"):
            aggregate(counts, method)
    asked = Responses.from_columns([0], [1], size=1, classes=2, label=[0], annotator=["ann"])
    alone = Responses.from_columns([0, 1], [1, 0], size=2, classes=2, annotator=["ann", "bob"])
    same = Responses.from_columns([0, 0], [0, 0], size=1, classes=1, annotator=["ann", "bob"])
    for method in ("dawid-skene", "glad"):
        with pytest.raises(DataError, match="one at a time"):
            aggregate(asked, method)
        with pytest.raises(DataError, match="no item has more than one answer"):
            aggregate(alone, method)
        with pytest.raises(DataError, match="two classes or more"):
            aggregate(same, method)
    with pytest.raises(DataError, match="5 attention checks or more but nobody did"):
        aggregate(asked, "checks")
    with pytest.raises(ConfigError, match="checks_at_least"):
        aggregate(asked, "checks", checks_at_least=2)
