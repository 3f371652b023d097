"""Who is asked about what: each item to so many, even loads, pairs that meet, and what is handed on."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from robustest_people.studies.plan import Plan, assign, hand_on, lay_out, strangers

from robustest.errors import ConfigError, DataError

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 12), st.integers(1, 12), st.integers(-3, 2**70)).filter(
    lambda s: s[2] <= s[1]
)


def held(holders: np.ndarray, annotators: int) -> list[frozenset[int]]:
    return [frozenset(np.flatnonzero((holders == a).any(1)).tolist()) for a in range(annotators)]


@given(SIZES)
@settings(max_examples=60)
def test_each_item_has_so_many_different_annotators_and_loads_are_even(sizes: tuple[int, int, int, int]) -> None:
    items, annotators, each, seed = sizes
    holders = assign(items, annotators, each, seed=seed)
    assert holders.shape == (items, each)
    assert all(len(set(row)) == each for row in holders.tolist())
    assert holders.min() >= 0
    loads = np.bincount(holders.ravel(), minlength=annotators)
    assert len(loads) == annotators
    assert np.ptp(loads) <= 1


@pytest.mark.parametrize(
    ("items", "annotators", "each"), [(30, 10, 3), (40, 10, 3), (15, 6, 3), (200, 50, 9), (1400, 50, 2), (1, 5, 5)]
)
def test_every_pair_of_annotators_meets(items: int, annotators: int, each: int) -> None:
    for seed in range(5):
        assert strangers(held(assign(items, annotators, each, seed=seed), annotators)) == 0


def test_where_items_are_too_few_for_all_pairs_almost_none_meets_twice() -> None:
    apart = strangers(held(assign(100, 20, 2, seed=0), 20))  # 100 items join 100 of 190 pairs at best
    assert 90 <= apart <= 95


def test_a_plan_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    tables = [whole(200, 10, 3, seed=seed).table().tobytes() for seed in (5, 5, 6)]
    assert tables[0] == tables[1] != tables[2]


def test_a_study_of_ten_thousand_items_is_planned_in_a_second() -> None:
    before = time.process_time()
    plans = whole(10_000, 50, 9, seed=0, checks=20, page=48)
    assert time.process_time() - before < 1
    owned = [frozenset(e for page in own for e in page if e < 10_000) for own in plans.pages]
    assert strangers(owned) == 0
    assert {len(own) for own in owned} == {1800}


def whole(items: int, annotators: int, each: int, *, seed: int, checks: int = 2, page: int = 7) -> Plan:
    asks = [n % 5 for n in range(items + 3 * checks)]
    return lay_out(
        assign(items, annotators, each, seed=seed), asks, annotators=annotators, checks=checks, page=page, seed=seed
    )


@given(SIZES, st.integers(0, 6), st.integers(1, 20))
@settings(max_examples=60)
def test_pages_hold_an_annotators_items_and_checks_once(
    sizes: tuple[int, int, int, int], checks: int, page: int
) -> None:
    items, annotators, each, seed = sizes
    holders = assign(items, annotators, each, seed=seed)
    plan = lay_out(
        holders, [n % 3 for n in range(items + 6)], annotators=annotators, checks=checks, page=page, seed=seed
    )
    for own, pages in zip(held(holders, annotators), plan.pages, strict=True):
        entries = [entry for one in pages for entry in one]
        assert len(entries) == len(set(entries)) == (len(own) + checks if own else 0)
        assert {entry for entry in entries if entry < items} == own
        assert all(0 < len(one) <= page for one in pages)
    lengths = [len(pages) for pages in plan.pages if pages]
    assert max(lengths) - min(lengths) <= 1
    assert Plan.from_table(plan.table(), annotators) == plan


def test_a_page_asks_about_few_labels_in_an_order_of_the_annotators_own() -> None:
    plan = whole(500, 5, 1, seed=3, page=10)
    labels = [[entry % 5 for page in own for entry in page] for own in plan.pages]
    assert max(len({entry % 5 for entry in page}) for own in plan.pages for page in own) <= 2
    assert len({tuple(dict.fromkeys(own)) for own in labels}) > 1


def test_checks_stand_anywhere_on_pages() -> None:
    """Place tells nothing: over many pages, checks are as often first, last and between as chance has it."""
    places = []
    for seed in range(40):
        plan = whole(60, 6, 2, seed=seed, checks=4, page=12)
        places += [k / (len(page) - 1) for own in plan.pages for page in own for k, e in enumerate(page) if e >= 60]
    assert len(places) == 40 * 6 * 4
    assert abs(np.mean(places) - 0.5) < 4 * np.sqrt(1 / 12 / len(places))


@pytest.mark.parametrize(("annotators", "each"), [(3, 4), (3, 0), (0, 0)])
def test_more_annotators_an_item_than_there_are_cannot_be(annotators: int, each: int) -> None:
    with pytest.raises(ConfigError, match="Expected 1 or more annotators an item"):
        assign(5, annotators, each, seed=0)


@pytest.mark.parametrize(("checks", "page"), [(7, 3), (-1, 3), (2, 0)])
def test_pages_that_cannot_be_laid_out_are_refused(checks: int, page: int) -> None:
    with pytest.raises(ConfigError, match="Expected"):
        lay_out(assign(5, 3, 2, seed=0), [0] * 11, annotators=3, checks=checks, page=page, seed=0)


@pytest.mark.parametrize("row", [[0, 1, 0], [5, 0, 0], [-1, 0, 0], [0, -1, 0]])
def test_a_damaged_table_is_no_plan(row: list[int]) -> None:
    with pytest.raises(DataError, match="damaged"):
        Plan.from_table(np.array([row], np.int32), 2)


@given(
    st.sets(st.integers(0, 30), min_size=1),
    st.dictionaries(st.integers(0, 6), st.frozensets(st.integers(0, 40)), max_size=5),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_what_is_given_up_goes_to_others_who_have_not_had_it(
    entries: set[int], others: dict[int, frozenset[int]], page: int, seed: int
) -> None:
    to, nobody = hand_on(sorted(entries), others, page=page, seed=seed)
    taken = {a: [entry for one in pages for entry in one] for a, pages in to.items()}
    assert sorted([*nobody, *(entry for own in taken.values() for entry in own)]) == sorted(entries)
    for annotator, own in taken.items():
        assert not others[annotator] & set(own)
        assert all(0 < len(one) <= page for one in to[annotator])
    assert all(entry in own for entry in nobody for own in others.values())


def test_what_is_given_up_is_shared_out_evenly() -> None:
    others = {a: frozenset(range(100 * a, 100 * a + 10)) for a in range(1, 5)}
    to, nobody = hand_on(range(20), others, page=6, seed=0)
    assert nobody == ()
    assert [sum(map(len, pages)) for pages in to.values()] == [5, 5, 5, 5]
    assert to == hand_on(range(20), others, page=6, seed=0)[0]
