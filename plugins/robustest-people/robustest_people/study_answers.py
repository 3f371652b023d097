"""Shared checks of claims on answers, and tests that a sample was drawn uniformly, which use no outcomes.

If all sets of n of N items are equally likely, counts in the sample have known distributions (`uniformity`). A uniform
sample is refused with probability at most `LEVEL`, in finite samples. A choice by outcomes alone is not detected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from robustest.errors import ConfigError, DataError, expected
from robustest.packs import Decision, Evidence
from robustest_people.responses import Responses

# The probability of refusing a uniform sample. It is below a claim's alpha, as the only remedy is a new sample.
LEVEL = 0.001

# Items are marked by position: the first 1, 2, ... tenths of the set, and each remainder modulo these periods.
_TENTHS, _PERIODS = 10, range(2, 11)

# Most simulated samples (the smallest p-value, 1 / 5000, is well below half of the level), samples drawn at once, and
# extreme ones after which the simulation stops.
_DRAWS, _AT_ONCE, _ENOUGH = 4999, 100, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniformity:
    """The strongest sign that a sample was chosen."""

    what: str  # name of the count
    seen: float  # the count in the sample
    expected: float  # mean of the count in uniform samples
    p: float  # corrected for the number of tests, at most 1
    tests: int  # number of tests

    @property
    def chosen(self) -> bool:
        return self.p <= LEVEL

    def __str__(self) -> str:
        beside = f"where {self.expected:.4g} are expected of a uniform sample"
        return f"{self.what}: {self.seen:.4g}, {beside}, p = {self.p:.2g} (corrected for {self.tests} tests)"


def uniformity(
    ids: NDArray[np.int64], total: int, *, label: NDArray[np.int64], marks: Mapping[str, NDArray[np.int64]], seed: int
) -> Uniformity:
    """Return the strongest sign that a sample was chosen.

    Args:
        ids: (n,) positions of the drawn items, each once, n >= 1.
        label: (N,) the class of each item.
        marks: positions of items with a further mark, by its name, e.g. {"suspects": ...}.
        seed: of the simulated samples.
    """
    drawn = np.zeros(total, dtype=bool)
    drawn[ids] = True
    n = len(ids)
    # 1. Of K items with a mark (suspects, the labels of one class, the first tenths of the set, every m-th item) the
    # number drawn is hypergeometric with (N, K, n).
    counted = [(what, int(drawn[mark].sum()), int(mark.sum())) for what, mark in _marks(total, label, marks)]
    # 2. The number b of blocks of neighbours is hypergeometric with (N, N - n + 1, n), as P(b) = C(n - 1, b - 1) C(N -
    # n + 1, b) / C(N, n) (Stevens, Annals of Eugenics 1939): small for stretches, large for every k-th item.
    blocks = int(drawn[0]) + int((drawn[1:] & ~drawn[:-1]).sum())
    counted.append(("blocks of neighbours", blocks, total - n + 1))
    counts, of = np.array([one[1] for one in counted]), np.array([one[2] for one in counted])
    tails = hypergeom.cdf(counts, total, of, n), hypergeom.sf(counts - 1, total, of, n)
    # Two-sided tests, which share half of the level (Bonferroni); the third test has the other half.
    both = np.minimum(1.0, 2 * np.minimum(*tails))
    at, tests = int(both.argmin()), len(counted) + 1
    what, seen, marked = counted[at]
    # Scaled by the share of the level, so that p <= LEVEL if the test rejects at its share.
    p = min(1.0, 2 * len(counted) * float(both[at]))
    exact = Uniformity(what=what, seen=seen, expected=n * marked / total, p=p, tests=tests)
    # 3. In uniform samples the counts of the classes are multivariate hypergeometric. Their chi-square statistic finds
    # many small missing classes.
    square, mean, p = _classes_together(drawn, label, seed)
    together = Uniformity(what="chi-square of the classes", seen=square, expected=mean, p=min(1.0, 2 * p), tests=tests)
    return min(exact, together, key=lambda one: one.p)


def _marks(
    total: int, label: NDArray[np.int64], marks: Mapping[str, NDArray[np.int64]]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for what, ids in marks.items():
        mark = np.zeros(total, dtype=bool)
        mark[ids] = True
        yield what, mark
    for k in np.unique(label).tolist():
        yield f"labels of class {k}", label == k
    at = np.arange(total)
    for part in range(1, _TENTHS):
        yield f"items in the first {part * 100 // _TENTHS} % of the set", at * _TENTHS < part * total
    for period in _PERIODS:
        for rest in range(period):
            yield f"items {rest}, {rest + period}, {rest + 2 * period} and so on", at % period == rest


def _classes_together(drawn: NDArray[np.bool_], label: NDArray[np.int64], seed: int) -> tuple[float, float, float]:
    """Return the chi-square of the sample's classes, its mean in uniform samples, and its p-value."""
    sizes = np.unique(label, return_counts=True)[1]
    place = np.unique(label, return_inverse=True)[1]
    n, expected = int(drawn.sum()), drawn.sum() * sizes / len(label)

    def square(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(((counts - expected) ** 2 / expected).sum(-1))

    seen = float(square(np.bincount(place[drawn], minlength=len(sizes))))
    random, others = np.random.default_rng(seed % 2**64), np.empty(0)
    # Sequential: stop after 20 statistics as large (Besag and Clifford, Biometrika 1991), so that an honest sample
    # costs few draws.
    while len(others) < _DRAWS:
        size = min(_AT_ONCE, _DRAWS - len(others))
        others = np.append(others, square(random.multivariate_hypergeometric(sizes, n, size=size)))
        # The factor allows for rounding: the order of the terms changes the last digit of the sum.
        as_large = np.flatnonzero(others >= seen * (1 - 1e-9))
        if len(as_large) >= _ENOUGH:
            return seen, float(others.mean()), _ENOUGH / (1 + int(as_large[_ENOUGH - 1]))
    return seen, float(others.mean()), (1 + len(as_large)) / (1 + _DRAWS)


# Checks and details that the claims on answers share.


def evidence_of(held: NDArray[np.bool_], decision: Decision) -> Evidence:
    """Return evidence whose units are answers, all evaluated.

    Args:
        held: (R,) True for an answer that supports the claim.
    """
    ids = np.arange(len(held))
    return Evidence(
        decision=decision,
        columns={"held": held, "id": ids},
        ids=ids,
        total=len(held),
    )


def checked_responses(responses: object) -> Responses:
    """Return `responses`. Raises ConfigError if they are not `Responses`."""
    if not isinstance(responses, Responses):
        raise ConfigError(expected("responses such as Responses.from_csv(...) gives", responses))
    return responses


def check_about(responses: Responses, n: int) -> None:
    """Raise DataError if the answers are not about a set of `n` items."""
    if responses.size != n:
        raise DataError(f"Expected answers about a data set of {n} samples but got some about {responses.size} items.")


def left_out(responses: Responses) -> dict[str, Any]:
    """Return details about the answers that were left out."""
    return {
        "repeats": responses.repeats,
        "dropped": responses.dropped,
        "inattentive": list(responses.inattentive),
        "unanswered": len(responses.unanswered),
    }


# Questions without an answer. Who skips the hard ones makes the answered ones look easy, so a pass and a failure hold
# for whatever the missing answers would have been (bounds without assumptions: Manski, The American Economic Review
# 1990).


def completed(
    selected: NDArray[np.int64],
    shown: NDArray[np.int64],
    unanswered: NDArray[np.int64],
    of: NDArray[np.int64],
    *,
    chosen: bool,
    selecting: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return counts as they would be if every missing answer selected a class of its item, or spoke against it.

    Args:
        selected, shown, unanswered: (n, K), of `Responses.counts` and `Responses.counts_unanswered`.
        of: (n,) the class of each item.
        chosen: True if annotators chose among the classes.
        selecting: True to select `of`; False to select the class that is selected most of the others, or all others
            that were asked about.
    """
    rows, more = np.arange(len(of)), np.zeros(selected.shape, dtype=np.int64)
    if chosen:
        rivals = selected.copy()
        rivals[rows, of] = -1
        to = of if selecting else rivals.argmax(1)
        more[rows, to] = unanswered.max(1)
    else:
        own = np.zeros(selected.shape, dtype=bool)
        own[rows, of] = True
        more = np.where(own == selecting, unanswered, 0)
    return selected + more, shown + unanswered


def widened(interval: tuple[float, float], unanswered: int, answered: int) -> tuple[float, float]:
    """Return the interval of a share of answers, wide enough for questions without one: all wrong, or all right."""
    if not unanswered:
        return interval
    missing = unanswered / (unanswered + answered)
    return (1 - missing) * interval[0], (1 - missing) * interval[1] + missing


def of_unanswered(responses: Responses) -> list[str]:
    """Return a caveat that names the questions without an answer; empty for none."""
    missing = len(responses.unanswered)
    return (
        [f"{missing} of {missing + len(responses)} questions have no answer, taken at their worst"] if missing else []
    )


def uniformity_of(
    items: NDArray[np.int64], label: NDArray[np.int64], marks: Mapping[str, NDArray[np.int64]], seed: int
) -> Uniformity | None:
    """Return the strongest sign that the items with an answer were chosen; None if all have one."""
    return uniformity(items, len(label), label=label, marks=marks, seed=seed) if len(items) < len(label) else None


def chosen_sample(sign: Uniformity | None, n: int, total: int) -> str:
    """Return why a sample cannot be uniform, with a remedy; "" if nothing speaks against it."""
    if sign is None or not sign.chosen:
        return ""
    draw = f"numpy.random.default_rng(0).choice({total}, {n}, replace=False)"
    return (
        f"{sign}. Expected answers about items drawn uniformly, for example by {draw}: leave out answers about other "
        "items, or collect answers about all items"
    )


def uniformity_details(sign: Uniformity | None) -> dict[str, Any]:
    """Return the details of the tests of uniformity; empty without a test."""
    if sign is None:
        return {}
    found = {"p": sign.p, "level": LEVEL, "tests": sign.tests, "seen": sign.seen, "expected": sign.expected}
    return {"uniformity": {"sign": sign.what, **found}}


def checked_study(study: object, why: str) -> Responses:
    """Return a study's answers if all annotators are known; errors give `why` as the reason.

    Raises:
        ConfigError: another type.
        DataError: no answers, or an unknown annotator.
    """
    if not isinstance(study, Responses):
        raise ConfigError(expected("a study's answers, such as Responses.from_csv(...) gives", study))
    if not len(study):
        raise DataError("Expected answers of annotators but the study has none.")
    study.known_annotators(why)
    return study
