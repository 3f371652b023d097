"""Populations whose loss sits in rare people, items and labels: cases for the core's table of false passes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from rare_strata import HAIR, Case, Passes, Random, passed
from robustest_people.annotator_shares import (
    decide_foreseen,
    decide_noticed,
    difference_by_annotator,
    foreseen_interval,
    noticed_interval,
    share_by_annotator,
)
from robustest_people.beta_mixture import Cells
from robustest_people.label_quality import decide_wrong
from robustest_people.replication_gap import decide_gap, replication_gaps
from robustest_people.selection_gap import Answers, Missing, decide_selection_gap, selection_gap

from robustest.packs import Terms

CASES: list[Case] = []


def _case(
    rule: str, population: str, *kinds: str, about: bool = False, costly: bool = False
) -> Callable[[Passes], Passes]:
    def register(passes: Passes) -> Passes:
        CASES.append(Case(rule, kinds, population, passes, about, costly))
        return passes

    return register


@cache
def _wrong(wrong: int, n: int, at_most: float, terms: Terms) -> bool:
    return passed(decide_wrong(wrong, 0, n, 10 * n, at_most, scope=terms.scope, alpha=terms.alpha))


@_case("decide_wrong", "2 % of labels wrong", "label_quality")
def wrong_labels(random: Random, n: int, terms: Terms) -> bool:
    return _wrong(int(random.binomial(n, 0.02)), n, 0.02 - HAIR, terms)


@_case("decide_foreseen: bets on annotators", "5 % of people foresee nothing", "simulatable")
def foreseen(random: Random, n: int, terms: Terms) -> bool:
    who = np.repeat(np.arange(n), 10)
    held = (random.random(10 * n) < 0.97) & (random.random(n) >= 0.05)[who]
    found = share_by_annotator(held, np.tile(np.arange(10), n), who)
    interval = foreseen_interval(held, who, found, terms)
    return passed(decide_foreseen(interval, found, 0.95 * 0.97 + HAIR, idle=0.1, terms=terms))


@_case("decide_noticed: bets on annotators", "5 % of people call the null cue, and not the cue", "cue_noticed")
def noticed(random: Random, n: int, terms: Terms) -> bool:
    who, kind = np.tile(np.repeat(np.arange(n), 4), 3), np.repeat(np.arange(3), 4 * n)
    odd = (random.random(n) < 0.05)[who]
    held = np.where(odd, kind == 0, kind > 0)
    item = np.arange(12 * n) % 4
    pairs = []
    for one in (1, 2):
        kinds = kind == one, kind == 0
        found = difference_by_annotator(*kinds, held, item, who)
        pairs.append((found, noticed_interval(kinds, held, who, found, terms)))
    return passed(decide_noticed(pairs[0], pairs[1], 0.9 + HAIR, terms=terms))


@_case("decide_selection_gap", "5 % of people select the label alone", "selection_gap", about=True)
def gap_of_selection(random: Random, n: int, terms: Terms) -> bool:
    people = 20
    item, who = np.repeat(np.arange(n), people), np.tile(np.arange(people), n)
    alone = (random.random(people) < 0.05)[who]
    label, prediction = np.ones(len(item), bool), ~alone
    every = np.ones(len(item), bool)
    found = selection_gap(
        Answers(
            item=item, annotator=who, about_label=every, about_prediction=every, label=label, prediction=prediction
        ),
        Missing(),
    )
    return passed(decide_selection_gap(found, 0.05 - HAIR, terms=terms))


@_case("decide_gap", "5 % of the replication's items lost", "replication_gap", about=True, costly=True)
def gap_of_replication(random: Random, n: int, terms: Terms) -> bool:
    shown = np.full(n, 10)
    sides = [Cells.of(random.binomial(10, 0.7, n), shown, random.random(n) < share) for share in (1.0, 0.95)]
    gaps = replication_gaps(*sides, None, resamples=200, seed=int(random.integers(1 << 30)))
    return passed(decide_gap(gaps, 0.05 - HAIR, terms=terms))
