"""From how many queries on an attack counts as a search."""

from __future__ import annotations

from dataclasses import replace

import pytest

from robustest import L0, L1, L2, Columns, Linf, Patch, Spatial, Unbounded
from robustest.attacks import (
    ATTACKS,
    EOT,
    FGSM,
    PGD,
    SPSA,
    HopSkipJump,
    RandomDraws,
    Searcher,
    SparseRS,
    SpatialGrid,
    Square,
    enough_queries,
    passes,
    searches,
    supports,
)
from robustest.threats import Threat, Whole

FEW, MANY = 8, 784
ROWS = Columns({0: Whole(1)})
THREATS: list[Threat] = [Linf(0.1), L2(0.5), L0(3), Patch(2, 2), Spatial(), Unbounded()]


def test_random_draws_never_are_a_search() -> None:
    assert not any(searches(RandomDraws(queries=10**6), threat, FEW) for threat in THREATS)


def test_an_attack_that_does_not_work_on_a_threat_does_not_search_it() -> None:
    assert enough_queries(Square(), Spatial(), FEW) is None
    assert enough_queries(SpatialGrid(), Linf(0.1), FEW) is None


def test_gradient_steps_do_not_choose_pixels_or_places() -> None:
    for attack in (PGD(), FGSM(), EOT(PGD())):
        assert searches(attack, Linf(0.1), FEW)
        assert searches(attack, Patch(2, 2, top=1, left=1), FEW)
        assert not any(searches(attack, threat, FEW) for threat in (L0(3), Patch(2, 2), Patch(2, 2, top=1)))


@pytest.mark.parametrize("name", ["square", "spsa", "hop-skip-jump"])
def test_too_few_queries_are_no_search(name: str) -> None:
    attack = ATTACKS[name]()
    least = enough_queries(attack, L2(0.5), FEW)
    assert least is not None
    assert searches(replace(attack, queries=least), L2(0.5), FEW)  # type: ignore[type-var]
    assert not searches(replace(attack, queries=least - 1), L2(0.5), FEW)  # type: ignore[type-var]
    assert searches(replace(attack, queries=1), Unbounded(), FEW)  # type: ignore[type-var]


def test_labels_of_many_features_never_are_a_search() -> None:
    attack = HopSkipJump(queries=10**6)
    assert [searches(attack, threat, MANY) for threat in (Linf(0.1), L2(0.5))] == [False, False]
    assert searches(attack, Unbounded(), MANY)


def test_scores_take_more_queries_the_more_features_there_are() -> None:
    least = [enough_queries(Square(), Linf(0.1), features) for features in (8, 64, 100, 784, 3072)]
    assert least == [1000, 1000, 1300, 10_000, 10_000]
    assert enough_queries(SparseRS(), L0(3), MANY) == 10_000
    for attack, threat in ((Square(), L2(0.5)), (Square(), L1(3.0)), (SPSA(), L2(0.5)), (SparseRS(), L1(3.0))):
        assert enough_queries(attack, threat, FEW) is not None
        assert enough_queries(attack, threat, MANY) is None


def test_averaged_passes_count_as_one() -> None:
    assert enough_queries(EOT(PGD(), draws=7), Linf(0.1), FEW) == 7


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"random-draws", "enumeration"}))
def test_every_other_attack_searches_some_threat_as_it_is(name: str) -> None:
    attack: Searcher = ATTACKS[name]()
    served = [threat for threat in (*THREATS, Patch(2, 2, top=1, left=1), ROWS) if supports(attack, threat)]
    assert any(searches(attack, threat, FEW) for threat in served)
    assert passes(attack) >= 1
