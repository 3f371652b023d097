"""A fall counts only from above chance: what is refused, when a pass may come early, and how often it is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robustest.decisions import DropRule, Terms
from robustest.decisions.drop import AboveChanceRule, doubt_of_start, share_of_largest_class
from robustest.results import Verdict

N, ALPHA = 400, 0.05
TERMS = Terms(scope="set", alpha=ALPHA, fail_alpha=ALPHA)
LABEL = np.arange(N) % 4


def rule(most: float, terms: Terms = TERMS) -> AboveChanceRule:
    return AboveChanceRule(other=DropRule(threshold=most, terms=terms), threshold=most, terms=terms)


def stream(random: np.random.Generator, clean: float) -> dict[str, Any]:
    """A set of which exactly so many are right, before and after, in an order drawn."""
    order = random.permutation(N)
    held = (np.arange(N) // 4 < round(clean * N / 4))[order]
    return {"clean": held, "held": held, "label": LABEL[order], "id": order}


def verdict(columns: dict[str, Any], most: float, *, step: int = 40) -> tuple[Verdict, int]:
    """As the driver reads: chunk by chunk, until it is settled."""
    for read in range(step, N + 1, step):
        seen = {name: column[:read] for name, column in columns.items()}
        settled = rule(most).settle(seen, N)
        if settled is not None or read == N:
            return rule(most).decide(seen, N, settled).verdict, read
    raise AssertionError


@pytest.mark.parametrize(
    ("right", "of", "chance", "threshold", "words"),
    [
        (20, 100, 0.0, 0.2, "nothing could have failed it: only 0.200 held before"),
        (21, 100, 0.0, 0.2, ""),
        (100, 100, 1.0, 0.1, "a model at chance cannot fall: 100 of 100 were right before"),
        (34, 100, 0.25, 0.01, "a model at chance cannot fall: 34 of 100"),
        (40, 100, 0.25, 0.15, "a model that stopped looking would keep it: 0.400 were right before, 0.250 are"),
        (40, 100, 0.25, 0.14, ""),
        (98, 100, 0.95, 0.02, "a model at chance cannot fall"),
        (990, 1000, 0.95, 0.05, "a model that stopped looking"),
        (990, 1000, 0.95, 0.03, ""),
    ],
)
def test_a_start_that_proves_nothing(right: int, of: int, chance: float, threshold: float, words: str) -> None:
    doubt = doubt_of_start(right, of, chance, threshold, alpha=0.01)
    assert doubt.startswith(words)
    assert bool(doubt) is bool(words)


def test_the_level_of_chance_is_that_of_the_labels_seen() -> None:
    assert share_of_largest_class({"label": np.array([0, 0, 0, 1])}) == 0.75
    assert share_of_largest_class({"clean": np.ones(3)}) == 0.0  # masks and numbers have none


def test_a_model_at_chance_passes_as_seldom_early_as_at_the_end() -> None:
    """Looked at chunk by chunk, a share that is .25 + .02 of the set would be high enough somewhere on the way."""
    random, draws = np.random.default_rng(0), 90
    passed = sum(verdict(stream(random, 0.26), 0.02)[0] is Verdict.PASSED for _ in range(draws))
    assert passed / draws <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / draws)


def test_a_pass_reads_on_until_the_start_is_settled() -> None:
    random = np.random.default_rng(1)
    columns = stream(random, 0.5)
    found, read = verdict(columns, 0.17)
    assert found is Verdict.PASSED
    alone = next(
        n
        for n in range(40, N + 1, 40)
        if rule(0.17).other.settle({name: column[:n] for name, column in columns.items()}, N)
    )
    assert alone < read < N
    low = verdict(stream(random, 0.5), 0.3)
    assert low == (Verdict.INCONCLUSIVE, N)


def test_a_failure_needs_no_start() -> None:
    columns = stream(np.random.default_rng(2), 0.27)
    columns["held"] = np.zeros(N, dtype=bool)
    found, read = verdict(columns, 0.05)
    assert found is Verdict.FAILED
    assert read < N
