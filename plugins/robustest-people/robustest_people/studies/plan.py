"""The assignment of items to annotators and pages, a function of numbers and a seed.

1. Each item goes to the `each` annotators of least load.
2. Ties go to the annotators who share no item yet with most others; once all pairs have met, a seeded draw decides.
3. An annotator's items, attention checks among them, are sorted by their question in an order drawn for the annotator,
   and cut into pages of even size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.errors import ConfigError, DataError

# Pages of an annotator, each the entries in the order shown.
Pages = tuple[tuple[int, ...], ...]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Plan:
    """The pages of each annotator; entries are positions in the study's items."""

    pages: tuple[Pages, ...]

    def table(self) -> NDArray[np.int32]:
        """Return (slots, 3) int32: annotator, page and entry, in the order shown."""
        rows = [(a, p, e) for a, pages in enumerate(self.pages) for p, page in enumerate(pages) for e in page]
        return np.array(rows, dtype=np.int32).reshape(-1, 3)

    @classmethod
    def from_table(cls, table: NDArray[np.int32], annotators: int) -> Plan:
        """Return the plan of a table. Raises DataError if it is damaged."""
        pages: list[list[list[int]]] = [[] for _ in range(annotators)]
        for annotator, page, entry in table.tolist():
            if not 0 <= annotator < annotators or page not in (n := len(pages[annotator]), n - 1) or page < 0:
                raise DataError("Expected pages in their order but the plan is damaged.")
            if page == len(pages[annotator]):
                pages[annotator].append([])
            pages[annotator][page].append(entry)
        return cls(tuple(tuple(map(tuple, own)) for own in pages))


def assign(items: int, annotators: int, each: int, *, seed: int) -> NDArray[np.int32]:
    """Return the annotators of each item, (items, each) int32, in rising order; loads differ by one item at most.

    Raises:
        ConfigError: `each` is not in 1..annotators.
    """
    if not 1 <= each <= annotators:
        raise ConfigError(
            f"Expected 1 or more annotators an item, and no more than there are, but got {each} of {annotators}."
        )
    rng = np.random.default_rng([abs(seed), seed < 0, 0])
    load, met = np.zeros(annotators, np.int64), np.eye(annotators, dtype=bool)
    holders = np.empty((items, each), np.int32)
    strangers = annotators > 1
    for item in rng.permutation(items):
        ties = rng.random(annotators)
        if strangers:
            # Annotators are compared by items in common. All pairs meet if there are a few more items than just enough;
            # `strangers` counts the rest.
            chosen = _introduce(load, met, ties, each)
            met[np.ix_(chosen, chosen)] = True
            strangers = not met.all()
        else:
            chosen = np.argpartition(load + ties, each - 1)[:each]  # loads are whole, ties below 1: load decides
        load[chosen] += 1
        holders[item] = np.sort(chosen)
    return holders


def _introduce(load: Ints, met: NDArray[np.bool_], ties: NDArray[np.float64], each: int) -> Ints:
    # Least load first; among equals the most pairs still to meet. The factors keep load above pairs above ties.
    chosen = [int(np.argmin(load * (len(load) + 1) - (~met).sum(0) + ties))]
    while len(chosen) < each:
        new = (~met[chosen]).sum(0)  # pairs that meet for the first time; at most `each`, so that load decides
        score = load * (each + 1) - new + ties
        score[chosen] = np.inf
        chosen.append(int(np.argmin(score)))
    return np.array(chosen)


def lay_out(
    holders: NDArray[np.int32], asks: Sequence[Any], *, annotators: int, checks: int, page: int, seed: int
) -> Plan:
    """Return the pages of each annotator; their numbers differ by one at most.

    Args:
        holders: (items, each), annotators of the first entries; further entries are attention checks.
        asks: the question of each entry; equal questions stand together.
        checks: attention checks for each annotator.

    Raises:
        ConfigError: there are fewer checks.
    """
    items, there = len(holders), len(asks) - len(holders)
    if not 0 <= checks <= there:
        raise ConfigError(f"Expected at most {there} attention checks for each annotator but got {checks}.")
    if page < 1:
        raise ConfigError(f"Expected 1 item a page or more but got {page}.")
    kinds = {ask: number for number, ask in enumerate(dict.fromkeys(asks))}
    kind = np.array([kinds[ask] for ask in asks])
    rng = np.random.default_rng([abs(seed), seed < 0, 1])
    plan = []
    for annotator in range(annotators):
        own = np.flatnonzero((holders == annotator).any(1))
        mine = np.concatenate([own, items + rng.permutation(there)[:checks]])
        rank = rng.permutation(len(kinds))  # the order of what is asked is the annotator's own
        # Sorted by question, in a random order within each.
        mine = mine[np.lexsort((rng.random(len(mine)), rank[kind[mine]]))]
        # An annotator without items gets no checks either.
        pages = np.array_split(mine, max(1, -(-len(mine) // page))) if len(own) else []
        plan.append(tuple(tuple(pages[n].tolist()) for n in rng.permutation(len(pages))))
    return Plan(tuple(plan))


def hand_on(
    entries: Sequence[int], held: Mapping[int, frozenset[int]], *, page: int, seed: int
) -> tuple[dict[int, Pages], tuple[int, ...]]:
    """Assign entries that were given up to annotators of least load; return further pages, and entries nobody can take.

    Args:
        held: for each remaining annotator, all entries that they have or had.
    """
    rng = np.random.default_rng([abs(seed), seed < 0, 2])
    load = {annotator: len(own) for annotator, own in held.items()}
    taken: dict[int, list[int]] = {}
    nobody = []
    for entry in entries:
        able = [annotator for annotator, own in held.items() if entry not in own]
        if not able:
            nobody.append(entry)
            continue
        least = min(load[annotator] for annotator in able)
        to = int(rng.choice([annotator for annotator in able if load[annotator] == least]))
        taken.setdefault(to, []).append(entry)
        load[to] += 1
    return {to: _pages(own, page) for to, own in sorted(taken.items())}, tuple(nobody)


def _pages(entries: list[int], page: int) -> Pages:
    ends = [*range(0, len(entries), page), len(entries)]
    return tuple(tuple(entries[a:b]) for a, b in pairwise(ends))


def strangers(holders: Sequence[frozenset[int]]) -> int:
    """Return the number of annotator pairs without a common item."""
    return sum(not (a & b) for n, a in enumerate(holders) for b in holders[:n])
