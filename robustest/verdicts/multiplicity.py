"""Many claims in one run: how much error each may take, so that true claims seldom block a merge by chance.

A green run needs no correction: every claim must pass at alpha, and the run is wrongly green only if one of them is
(an intersection-union test, Berger, Technometrics 1982). A red run does: with 200 claims at their thresholds, one is
wrongly refuted in most runs. The error of failing is therefore shared out: each of m tests may spend alpha / m. A
test's j-th claim takes 6 / (pi j)^2 of what the test has, as how many there will be is not known, and a refuted claim
hands its share on to the test's next (the fallback procedure of Wiens, Pharmaceutical Statistics 2003: Holm's idea for
claims that are judged one after the other, without knowing those to come). Nothing is handed on to another test: which
tests came before it in the same process is chance, and a verdict must not depend on workers and shards. What is too
close to fail at such a level is not let off: it is looked at until it is certain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class FailureBudget:
    """The error of wrong failures of one test of a run.

    Attributes:
        tests: tests with claims in the whole run, in all its processes and shards, >= 1.
        bonus: share of alpha handed on by a refuted claim of the test, for its next claim to take.
    """

    tests: int = 1
    bonus: float = 0.0

    def share(self, number: int) -> float:
        """The share of alpha that a test's claim may take for failing.

        Args:
            number: 1 for the test's first claim, 2 for its second, and so on.
        """
        return min(1.0, 6 / (math.pi * number) ** 2 / self.tests + self.bonus)

    def spent(self, share: float, *, refuted: bool) -> None:
        """Tell what became of a claim that had this share."""
        self.bonus = share if refuted else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for all of them (Holm, Scandinavian Journal of Statistics 1979), in their order.

    Args:
        p_values: of tests that may depend on each other in any way, in 0..1.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected
