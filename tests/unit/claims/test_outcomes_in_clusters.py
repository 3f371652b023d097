"""Rates of items that were drawn together: recorded outcomes, and functions that are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest import ConfigError, DataError
from robustest.claims.outcomes import measure_consistent_runs, measure_rate, measure_worst_group_rate
from robustest.data import Outcomes
from robustest.errors import UnknownNameError
from robustest.results import Result, Verdict
from robustest.run.asking import Calls, questions

PASSAGES, QUESTIONS = 50, 20


def rows(right: NDArray[np.bool_], **more: Any) -> list[dict[str, Any]]:
    """Questions (passages, questions) on passages, as rows."""
    return [
        {
            "item": f"p{p:02}/q{q:02}",
            "prompt": f"{p} {q}?",
            "score": bool(one),
            "passage": f"p{p:02}",
            "lot": q % 2,
            **more,
        }
        for p, of in enumerate(right)
        for q, one in enumerate(of)
    ]


def drawn(random: np.random.Generator, mean: float = 0.8, icc: float = 0.625) -> NDArray[np.bool_]:
    total = 1 / icc - 1
    share = random.beta(mean * total, (1 - mean) * total, (PASSAGES, 1))
    return random.random((PASSAGES, QUESTIONS)) < share


ALL_RIGHT = np.ones((PASSAGES, QUESTIONS), dtype=bool)
MOSTLY = np.arange(PASSAGES * QUESTIONS).reshape(PASSAGES, QUESTIONS) % 20 > 0


@pytest.mark.parametrize(("draws", "least", "most"), [(30, 1, 2), pytest.param(60, 2, 3, marks=pytest.mark.slow)])
def test_a_claim_of_082_where_080_is_true_seldom_passes(draws: int, least: int, most: int) -> None:
    random, by_item, by_passage = np.random.default_rng(2), 0, 0
    for _ in range(draws):
        right = rows(drawn(random))
        by_item += measure_rate(Outcomes.of(right), at_least=0.82).verdict is Verdict.PASSED
        by_passage += measure_rate(Outcomes.of(right, cluster="passage"), at_least=0.82).verdict is Verdict.PASSED
    assert by_item >= least, "else the case is none"
    assert by_passage <= most, "of 60, more than 3 have a chance below .005 at an error of .01, as more than 2 of 30"


def write(path: Path) -> Path:
    names = list(rows(MOSTLY)[0])
    lines = [",".join(names), *(",".join(str(one[name]) for name in names) for one in rows(MOSTLY))]
    path.write_text("\n".join(lines))
    return path


def ways(path: Path) -> dict[str, Result]:
    made, claim = Outcomes.of(rows(MOSTLY)), {"at_least": 0.85}
    return {
        "a column, as it is made": measure_rate(Outcomes.of(rows(MOSTLY), cluster="passage"), **claim),
        "a column of this name": measure_rate(
            Outcomes.of([{**one, "cluster": one["passage"]} for one in rows(MOSTLY)]), **claim
        ),
        "a column of a file": measure_rate(write(path), cluster="passage", **claim),
        "of a file that is read": measure_rate(Outcomes.read(write(path), cluster="passage"), **claim),
        "an id for each row": measure_rate(made, cluster=np.repeat(np.arange(PASSAGES), QUESTIONS), **claim),
        "a function of a name": measure_rate(made, cluster=lambda name: name.split("/")[0], **claim),
        "of the names in a file": measure_rate(write(path), cluster=lambda name: name.split("/")[0], **claim),
        "groups": measure_rate(Outcomes.of(rows(MOSTLY), group="passage"), cluster="group", **claim),
        "a key of items": measure_rate(answer, rows(MOSTLY), score=is_right, cluster="passage", exact=True, **claim),
        "a function of items": measure_rate(
            answer, rows(MOSTLY), score=is_right, cluster=lambda item: item["passage"], exact=True, **claim
        ),
        "an id for each item": measure_rate(
            answer, rows(MOSTLY), score=is_right, cluster=list(np.repeat([*"abcde"], 200)), exact=True, **claim
        ),
    }


def answer(item: dict[str, Any]) -> str:
    """Return an answer of the item's own, and if it is right."""
    return f"{item['prompt']}: {bool(item['score'])}"


def is_right(given: str, item: dict[str, Any]) -> bool:
    return given.endswith(": True")


def test_clusters_are_a_column_ids_or_a_function(tmp_path: Path) -> None:
    for way, found in ways(tmp_path / "outcomes.csv").items():
        if way == "an id for each item":
            assert (found.verdict, found.details["clusters"]) == (Verdict.INCONCLUSIVE, "5 clusters of 200 units"), way
            continue
        assert found.details["clusters"] == "50 clusters of 20 units", way
        assert "by 50 clusters of 20 units" in found.rule, way
        assert found.interval[0] < 0.9, way
        assert found.estimate == 0.95, way


def test_without_clusters_and_about_a_set_nothing_changes() -> None:
    alone, plain = Outcomes.of(rows(MOSTLY)), Outcomes.of(rows(MOSTLY), cluster="passage")
    assert measure_rate(alone, at_least=0.9).verdict is Verdict.PASSED
    of_set, of_both = measure_rate(plain, at_least=0.95, scope="set"), measure_rate(alone, at_least=0.95, scope="set")
    assert (of_set.verdict, of_set.interval) == (Verdict.PASSED, of_both.interval)
    assert "clusters" not in of_set.details


@pytest.mark.parametrize("passages", [1, 2])
def test_few_clusters_pass_nothing(passages: int) -> None:
    rows = [{"item": i, "score": 1, "cluster": i % passages, "group": "g"} for i in range(400)]
    for measure in (measure_rate, measure_worst_group_rate):
        found = measure(Outcomes.of(rows), at_least=0.01)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert f"by {passages} cluster" in found.rule
        assert measure(Outcomes.of(rows), at_least=0.01, scope="set").verdict is Verdict.PASSED


def test_scores_groups_and_consistency_count_clusters() -> None:
    scores = [{**one, "score": 0.9 * one["score"]} for one in rows(ALL_RIGHT)]
    assert measure_rate(Outcomes.of(scores), at_least=0.85).verdict is Verdict.PASSED
    found = measure_rate(Outcomes.of(scores, cluster="passage"), at_least=0.85)
    assert (found.verdict, found.details["clusters"]) == (Verdict.INCONCLUSIVE, "50 clusters of 20 units")
    assert measure_rate(Outcomes.of(scores, cluster="passage"), at_least=0.75).verdict is Verdict.PASSED

    groups = measure_worst_group_rate(Outcomes.of(rows(ALL_RIGHT), group="lot", cluster="passage"), at_least=0.95)
    assert groups.verdict is Verdict.INCONCLUSIVE
    assert "50 clusters of 10 units" in groups.rule
    easier = measure_worst_group_rate(Outcomes.of(rows(ALL_RIGHT), group="lot", cluster="passage"), at_least=0.85)
    assert easier.verdict is Verdict.PASSED

    twice = [{**one, "run": run} for one in rows(ALL_RIGHT) for run in "ab"]
    flips = measure_consistent_runs(Outcomes.of(twice, cluster="passage"), max_flip_rate=0.05)
    assert (flips.verdict, flips.details["clusters"]) == (Verdict.INCONCLUSIVE, "50 clusters of 20 units")
    assert measure_consistent_runs(Outcomes.of(twice), max_flip_rate=0.05).verdict is Verdict.PASSED
    assert measure_consistent_runs(Outcomes.of(twice, cluster="passage"), max_flip_rate=0.15).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("given", "cluster", "error", "words"),
    [
        (Outcomes.of(rows(MOSTLY)), "cluster", ConfigError, "to have clusters but it has none. Name the column"),
        (Outcomes.of(rows(MOSTLY)), "passage", ConfigError, "an id for each row"),
        (Outcomes.of(rows(MOSTLY)), "group", ConfigError, "an id for each row"),
        (Outcomes.of(rows(MOSTLY)), 5, ConfigError, "an id for each row"),
        (Outcomes.of(rows(MOSTLY)), [1, 2], DataError, "the cluster of each of 1000 rows but got 2 ids"),
        (Outcomes.of(rows(MOSTLY)), lambda _: None, DataError, "the id of a cluster for row 0 but got None"),
    ],
)
def test_other_clusters_are_refused(given: Any, cluster: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as raised:
        measure_rate(given, at_least=0.5, cluster=cluster)
    assert words in str(raised.value)


def test_a_file_without_the_column_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'passage'"):
        measure_rate(write(tmp_path / "outcomes.csv"), at_least=0.5, cluster="pasage")


def test_an_item_has_one_cluster_and_every_item_has_one() -> None:
    with pytest.raises(DataError, match="one cluster for each item but item 'a'"):
        Outcomes.of([{"item": "a", "run": run, "score": 1, "cluster": run} for run in (1, 2)])
    with pytest.raises(DataError, match="a cluster for each item in values in memory but item 'b' has none"):
        Outcomes.of([{"item": "a", "score": 1, "cluster": 3}, {"item": "b", "score": 1, "cluster": None}])


def test_clusters_survive_runs_parts_and_repeated_rows(tmp_path: Path) -> None:
    made = Outcomes.of([*rows(MOSTLY, run=1), *rows(MOSTLY, run=1)], cluster="passage")
    assert len(made.item) == 1000
    assert made.items.cluster.tolist() == [name[:3] for name in made.items.name.tolist()]
    for part in (0, 1):
        lines = [f'{{"item": "{i}", "score": 1, "cluster": {i % 30}}}' for i in range(500 * part, 500 * (part + 1))]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(lines))
    both = Outcomes.read([tmp_path / "0.jsonl", tmp_path / "1.jsonl"])
    assert len(set(both.cluster.tolist())) == 30
    assert measure_rate(both, at_least=0.8).details["clusters"] == "30 clusters of 33..34 units"


@pytest.mark.parametrize(
    ("items", "cluster", "error", "words"),
    [
        (rows(MOSTLY), "pasage", UnknownNameError, "Unknown key of an item 'pasage'. Did you mean 'passage'?"),
        (["a", "b"], "passage", UnknownNameError, "Unknown key of an item"),
        (["a", "b"], 7, ConfigError, "an id for each item, a key of the items, or a function of an item"),
        (["a", "b"], [1], DataError, "the cluster of each of 2 items but got 1 ids"),
        (["a", "b"], lambda _: None, DataError, "the id of a cluster for item 0"),
        ([{"prompt": "a", "cluster": 1}, {"prompt": "b"}], None, DataError, "the id of a cluster for item 1"),
    ],
)
def test_other_clusters_of_items_are_refused(items: Any, cluster: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as raised:
        questions(items, cluster)
    assert words in str(raised.value)


def test_a_function_gets_the_key_that_names_the_cluster() -> None:
    # It may be what the question is about, as a text that several questions share.
    (one,) = questions([{"passage": "long", "prompt": "?"}], "passage")
    assert one.request == {"passage": "long", "prompt": "?"}
    assert one.row["cluster"] == "0"


def passages(found: Result) -> list[int]:
    """Passages of the items that were asked, (n,) with one entry for each."""
    return [place // QUESTIONS for place, one in enumerate(found.outcomes) if one is not None]


def test_asking_goes_from_cluster_to_cluster_and_ends_at_the_end_of_one() -> None:
    how: dict[str, Any] = {"score": is_right, "cluster": "passage", "cache": False, "seed": 3}
    found = measure_rate(answer, rows(ALL_RIGHT), at_least=0.6, **how)
    order = list(dict.fromkeys(passages(found)))
    assert passages(found) == [number for number in order for _ in range(QUESTIONS)]
    assert order != list(range(len(order))), "drawn by the seed"
    assert found.verdict is Verdict.PASSED
    assert 12 <= len(order) <= 15, "ln(4 / .01) / ln(1 / .6), and what the other stakes cost"
    assert f"{len(order)} clusters of 20 units" in found.rule
    assert found.details["clusters"] == f"{len(order)} clusters of 20 units"
    of_set = measure_rate(answer, rows(ALL_RIGHT), at_least=0.6, scope="set", **how)
    assert of_set.numbers.n == 17
    assert len(set(passages(of_set))) == 16, "items of a set are asked in an order of their own"


def test_a_budget_that_ends_in_a_cluster_leaves_it_out() -> None:
    how: dict[str, Any] = {"score": is_right, "cluster": "passage", "cache": False}
    found = measure_rate(answer, rows(ALL_RIGHT), at_least=0.99, calls=Calls(budget=107), **how)
    assert (found.verdict, found.numbers.n) == (Verdict.INCONCLUSIVE, 107)
    assert "5 clusters of 20 units" in found.rule
    few = measure_rate(answer, rows(ALL_RIGHT), at_least=0.99, calls=Calls(budget=7), **how)
    assert (few.verdict, few.interval) == (Verdict.INCONCLUSIVE, (0.0, 1.0))
    most = measure_rate(answer, rows(ALL_RIGHT), at_least=0.99, max_samples=107, **how)
    assert most.numbers.n == 100, "clusters as a whole"


def test_a_group_is_settled_by_its_clusters() -> None:
    items = [{**one, "group": one["lot"]} for one in rows(ALL_RIGHT)]
    how: dict[str, Any] = {"score": is_right, "cluster": "passage", "cache": False}
    found = measure_worst_group_rate(answer, items, at_least=0.6, **how)
    assert found.verdict is Verdict.PASSED
    assert "clusters of 10 units" in found.rule
    assert len(passages(found)) % QUESTIONS == 0
    assert found.numbers.n < 1000
    items = [{**one, "group": one["lot"]} for one in rows(ALL_RIGHT) if one["passage"] < "p02"]
    assert measure_worst_group_rate(answer, items, at_least=0.01, **how).verdict is Verdict.INCONCLUSIVE


@pytest.mark.slow
@pytest.mark.parametrize("draws", [10, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("exact", [False, True])
def test_asking_until_certain_is_seldom_wrong(*, exact: bool, draws: int) -> None:
    random, passes, alone = np.random.default_rng(5), 0, 0
    for _ in range(draws):
        right = rows(drawn(random))
        how: dict[str, Any] = {"score": is_right, "at_least": 0.82, "exact": exact, "cache": False}
        passes += measure_rate(answer, right, cluster="passage", **how).verdict is Verdict.PASSED
        alone += measure_rate(answer, right, **how).verdict is Verdict.PASSED
    assert alone >= 1, "else the case is none"
    assert passes <= draws // 10, "more have a chance below .005 at an error of .01"


def test_items_of_one_input_in_clusters_count_once() -> None:
    # 300 inputs, five items each, in 60 clusters of 25 items
    made = [
        {"item": f"{i}-{k}", "prompt": f"p{i}", "score": 1, "cluster": i // 5} for i in range(300) for k in range(5)
    ]
    found = measure_rate(Outcomes.of(made), at_least=0.9)
    assert found.verdict is Verdict.PASSED
    assert "60 clusters of 5 units, items of one input counted once" in found.rule
    items = [{"nr": f"{i}-{k}", "prompt": f"p{i}", "score": 1, "cluster": i // 5} for i in range(300) for k in range(5)]
    for exact in (False, True):
        live = measure_rate(answer, items, score=is_right, at_least=0.9, exact=exact, cache=False)
        assert live.verdict is Verdict.PASSED
        assert "of 5 units, items of one input counted once" in live.rule


def test_the_interval_is_that_of_the_verdict() -> None:
    # Items of one input: 20 draws, whatever their number.
    made = [{"item": f"q{i}-{k}", "prompt": f"p{i}", "score": i < 19} for i in range(20) for k in range(50)]
    for at_least in (0.5, 0.9):
        found = measure_rate(Outcomes.of(made), at_least=at_least)
        assert found.interval == pytest.approx((0.71, 0.9995), abs=0.01)
        assert found.verdict is (Verdict.PASSED if found.interval[0] >= at_least else Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("live", [False, True])
def test_the_seed_alone_orders_clusters(live: bool) -> None:
    right = rows(drawn(np.random.default_rng(1)))

    def interval(right: list[dict[str, Any]], **how: Any) -> tuple[float, float]:
        if live:
            how = {"score": is_right, "cluster": "passage", "exact": True, "cache": False, **how}
            return measure_rate(answer, right, at_least=0.5, **how).interval
        how = {"cluster": [int(one["passage"][1:]) for one in right], **how}
        return measure_rate(Outcomes.of(right), at_least=0.5, **how).interval

    assert interval(right) == interval(right[::-1])
    assert interval(right) != interval(right, seed=9)
