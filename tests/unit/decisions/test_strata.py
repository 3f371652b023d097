"""Claims judged in every stratum: which strata there are, which are beyond, and how often chance accuses one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest.decisions import CertifiedRule, DropRule, ShareRule, Terms
from robustest.decisions.corruption_error import CellsRule
from robustest.decisions.mean import ScoreRule
from robustest.decisions.mean_iou import MeanIoURule
from robustest.decisions.multiplicity import group_level
from robustest.decisions.rule import Rule
from robustest.decisions.strata import STRATUM, StrataRule
from robustest.results import Verdict

TERMS = Terms(scope="set", alpha=0.01, fail_alpha=0.01)
SHARE = ShareRule(threshold=0.6, at_least=True, terms=TERMS)


def strata(rule: Rule = SHARE, *, gates: bool = True, **more: Any) -> StrataRule:
    return StrataRule(whole=rule, nouns=("object", "objects"), gates=gates, alpha=0.01, **more)


def columns(held: NDArray[np.bool_], stratum: NDArray[Any], **more: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {"held": held, STRATUM: stratum, "id": np.arange(len(held)), **more}


ORDER = np.random.default_rng(0).permutation(1000)  # outcomes come in a random order, which some rules bet on
BOTH = np.where(np.arange(1000) < 800, 1, 2)[ORDER]
HIDDEN = (np.arange(1000) < 820)[ORDER]  # .82 of all, .1 of two objects


def test_the_strata_have_names_sizes_values_and_intervals() -> None:
    one, two = strata().strata(columns(HIDDEN, BOTH))
    assert (one.name, one.n, one.value, one.beyond) == ("1 object", 800, 1.0, False)
    assert (two.name, two.n, two.value, two.beyond) == ("2 objects", 200, 0.1, True)
    assert two.interval[0] < 0.1 < two.interval[1] < 0.6
    assert strata().strata(columns(HIDDEN, np.ones(1000, dtype=int))) == ()


@pytest.mark.parametrize("scope", ["set", "population"])
def test_a_pass_is_held_back_and_a_failure_is_not(scope: str) -> None:
    rule = replace(SHARE, terms=replace(TERMS, scope=scope))
    hidden = strata(rule).decide(columns(HIDDEN, BOTH), 1000, None)
    assert hidden.verdict is Verdict.INCONCLUSIVE
    assert hidden.at_alpha
    assert "0.100" in hidden.rule
    overall = strata(rule, gates=False).decide(columns(HIDDEN, BOTH), 1000, None)
    assert overall.verdict is Verdict.PASSED
    assert [one.beyond for one in overall.strata] == [False, True]
    failed = strata(replace(rule, threshold=0.95)).decide(columns(HIDDEN, BOTH), 1000, None)
    assert failed.verdict is Verdict.FAILED


def test_many_counts_are_grouped_into_quarters_and_nothing_is_left_out() -> None:
    counts = np.arange(1000) % 40
    parts = strata().strata(columns(np.ones(1000, dtype=bool), counts))
    assert [part.name for part in parts] == [
        "0 to 9 objects",
        "10 to 19 objects",
        "20 to 29 objects",
        "30 to 39 objects",
    ]
    assert sum(part.n for part in parts) == 1000
    skewed = np.where(np.arange(1000) < 900, 0.0, np.arange(1000) / 1000)
    found = strata().strata(columns(np.ones(1000, dtype=bool), skewed))
    assert sum(part.n for part in found) == 1000
    assert found[0].n == 900


LOST = columns(
    HIDDEN,
    BOTH,
    clean=np.ones(1000, dtype=bool),
    proven=HIDDEN,
    score=HIDDEN.astype(float),
    **{"fog/1": HIDDEN},
    counts=np.tile([[1, 1, 2, 2]], (1000, 1)),
)
RULES: dict[str, Rule] = {
    "a share": SHARE,
    "at most": ShareRule(threshold=0.4, at_least=False, terms=TERMS),
    "a drop": DropRule(threshold=0.4, terms=TERMS),
    "certified": CertifiedRule(threshold=0.6, terms=TERMS, proofs_alone=False),
    "a score": ScoreRule(threshold=0.6, terms=TERMS),
    "corruptions": CellsRule.of_cells([("fog", 1)], None, TERMS, min_accuracy=0.6, max_drop=None, max_mce=None),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_is_judged_by_its_own_quantity(rule: Rule) -> None:
    whole = rule.decide(LOST, 1000, None)
    assert whole.verdict is Verdict.PASSED
    held_back = strata(rule).decide(LOST, 1000, None)
    assert held_back.verdict is Verdict.INCONCLUSIVE
    both = held_back.strata
    assert [one.beyond for one in both] == [False, True]
    mean = sum(one.value * one.n for one in both) / 1000
    assert mean == pytest.approx(whole.estimate)


def test_strata_are_disjoint_and_share_alpha_by_sidak() -> None:
    seen = columns(HIDDEN, BOTH)
    level = group_level(0.01, 2, disjoint=True)
    terms = Terms(scope="population", alpha=level, fail_alpha=level)
    for count, stratum in zip((1, 2), strata().strata(seen), strict=True):
        held = HIDDEN[count == BOTH]
        assert stratum.interval == replace(SHARE, terms=terms).decide(columns(held, BOTH), len(held), None).interval


@pytest.mark.parametrize(("different", "found"), [(2, 2), (8, 8), (9, 4), (12, 4)])
def test_up_to_eight_counts_are_strata_of_their_own(different: int, found: int) -> None:
    parts = strata().strata(columns(np.ones(360, dtype=bool), np.arange(360) % different + 1))
    assert len(parts) == found
    assert parts[0].name == ("1 object" if found == different else f"1 to {-(-different // 4)} objects")


def test_a_mean_iou_is_told_by_the_scores_of_images_and_judged_by_none() -> None:
    rule = MeanIoURule(threshold=0.4, terms=TERMS, seed=0)
    decision = strata(rule).decide(LOST, 1000, None)
    assert decision.verdict is Verdict.PASSED
    assert [round(one.value, 2) for one in decision.strata] == [1.0, 0.1]


def test_an_early_pass_waits_for_strata_that_are_not_rare_and_a_failure_does_not() -> None:
    rule, held, stratum = strata(), np.ones(1000, dtype=bool), BOTH

    def settled(read: int, held: NDArray[np.bool_] = held) -> Any:
        return rule.settle(columns(held[:read], stratum[:read]), 1000)

    assert SHARE.settle(columns(held[:64], stratum[:64]), 1000) is not None
    assert settled(64) is None
    assert settled(128) is not None  # about 25 of two objects
    assert settled(64, ~held).verdict is Verdict.FAILED
    rare = np.where(np.arange(1000) % 50 == 0, 2, 1)
    assert rule.settle(columns(held[:128], rare[:128]), 1000) is not None


@pytest.mark.parametrize(
    ("read", "second", "waits"),
    [
        (400, 20, False),  # a twentieth, and enough
        (400, 19, False),  # rare
        (200, 20, False),
        (200, 19, True),
        (200, 10, True),  # a twentieth is not rare
        (200, 9, False),
        (100, 0, False),
        (99, 0, True),
    ],
)
def test_an_early_pass_waits_for_twenty_samples_of_a_twentieth_and_for_a_hundred_in_all(
    read: int, second: int, waits: bool
) -> None:
    stratum = np.where(np.arange(read) < second, 2, 1)
    seen = columns(np.ones(read, dtype=bool), stratum)
    assert SHARE.settle(seen, 1000) is not None
    assert (strata().settle(seen, 1000) is None) is waits
    assert strata(gates=False).settle(seen, 1000) is not None


def test_only_what_stays_open_for_its_strata_says_that_they_are_too_small() -> None:
    """Of 1,000 samples 64 were read: a share of a set would have passed there."""
    seen = columns(np.ones(64, dtype=bool), BOTH[:64])
    open_yet = strata().decide(seen, 1000, None)
    assert open_yet.verdict is Verdict.INCONCLUSIVE
    assert "too few to judge the claim by the number of objects" in open_yet.rule
    mixed = columns(ORDER[:64] % 2 == 0, BOTH[:64])
    assert "too few" not in strata().decide(mixed, 1000, None).rule
    drawn = strata(replace(SHARE, terms=replace(TERMS, scope="population"))).decide(seen, 1000, None)
    assert drawn.verdict is Verdict.PASSED
    assert "too few" not in drawn.rule


def test_chance_accuses_a_stratum_as_seldom_as_alpha_says() -> None:
    """All strata are exactly at the threshold, one of them rare: at most .01 of the sets have one that is beyond."""
    draw, runs = np.random.default_rng(1), 2000
    rule = strata()
    stratum = np.repeat([1, 2, 3], [300, 60, 12])
    accused = sum(
        any(one.beyond for one in rule.strata(columns(draw.random(len(stratum)) < 0.6, stratum))) for _ in range(runs)
    )
    assert accused <= runs * 0.01 + 3 * (runs * 0.01 * 0.99) ** 0.5


def test_a_stratum_at_a_third_of_what_is_claimed_is_found() -> None:
    draw = np.random.default_rng(2)
    stratum = np.repeat([1, 2], [270, 30])
    share = np.where(stratum == 1, 0.9, 0.2)
    found = sum(strata().strata(columns(draw.random(300) < share, stratum))[1].beyond for _ in range(200))
    assert found > 190
