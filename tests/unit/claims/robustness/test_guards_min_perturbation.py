"""The smallest of what several stages find, the way to the nearest sample, and the median's ends beside slow counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest import L1, L2, Linf, Verdict, as_classifier, rng
from robustest.attacks import FGSM, PGD, Cascade, HopSkipJump, Stage
from robustest.claims.robustness import min_perturbation
from robustest.claims.robustness.min_perturbation import (
    MedianRule,
    MinimumSearch,
    Smallest,
    median_interval,
    reached,
    search_smallest,
)
from robustest.decisions import Terms
from robustest.decisions.rule import EarlyVerdict
from robustest.decisions.share import evidence
from robustest.engine import score_diagnosis
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import SearchOutcome

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.05)
P, F, Q = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


class Line(nn.Module):
    """Class 0 below .5 in the first element; without a gradient where it is flat."""

    def __init__(self, *, flat: bool = False) -> None:
        super().__init__()
        self.flat, self.one = flat, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        away = (0.5 - x[:, 0]) * self.one
        if self.flat:
            away = away.detach().sign() + 0 * x.sum(1)
        return torch.stack([away, -away], 1)


def setting(x: Any, y: Any, model: nn.Module | None = None) -> tuple[Evaluator, Chunk]:
    x, ids = torch.tensor(x), torch.arange(len(y))
    evaluator = Evaluator(
        as_classifier(model or Line()), torch.device("cpu"), batch_size=None, suppress=(), notes=[], examples=9
    )
    return evaluator, Chunk(ids, x, torch.tensor(y), rng.keys(0, ids), (0.0, 1.0))


# Every stage searches every sample, and the smallest counts

X, Y = [[0.1], [0.6], [0.2], [0.3], [0.4]], [0, 0, 0, 0, 0]
"""The second is wrong unchanged."""


def searched(
    monkeypatch: pytest.MonkeyPatch, rounds: list[list[float]], *, alive: list[bool | None] | None = None
) -> tuple[Smallest, list[dict[str, Any]], list[Any], Evaluator]:
    """Rounds of the first stage, but for the last, which is the second's: a size each, infinite for none."""
    left, calls, unreached = list(enumerate(rounds)), [], list[Any]()

    def search(evaluator: Any, searcher: Any, threat: Any, x: Tensor, y: Tensor, **given: Any) -> SearchOutcome:
        turn, sizes = left.pop(0)
        calls.append({"searcher": searcher, "x": x, "y": y, "threat": threat, **given})
        size = torch.tensor(sizes, dtype=torch.float64)
        moving = (
            None if alive is None or alive[turn] is None else torch.full_like(x[: given["followed"]], alive[turn]) > 0
        )
        return SearchOutcome(
            size.isfinite(), x + 10 * (turn + 1), size.nan_to_num(posinf=0.1), y + turn + 1, size.float(), moving
        )  # fmt: skip

    monkeypatch.setattr(min_perturbation, "search", search)
    monkeypatch.setattr(min_perturbation, "count_unreached", lambda *given: unreached.append(given[1:]))
    evaluator, chunk = setting(X, Y)
    stages = (Stage(searcher=PGD(steps=3), rounds=len(rounds) - 1), Stage(searcher=FGSM(), rounds=1))
    found = search_smallest(evaluator, chunk, Cascade(name="two", stages=stages), Linf(2.0))
    assert not left
    return found, calls, unreached, evaluator


INF = math.inf


def test_of_all_rounds_and_stages_the_smallest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found, calls, _, evaluator = searched(
        monkeypatch, [[0.5, INF, 0.3, INF], [0.5, 0.4, 0.2, INF], [0.6, INF, 0.25, INF]]
    )
    assert found.right.tolist() == [True, False, True, True, True]
    assert found.clean.tolist() == [0, 1, 0, 0, 0]
    assert found.size.tolist() == pytest.approx([0.5, 0.0, 0.4, 0.2, 0.1], rel=1e-3)  # the last is on the way to .6
    assert found.x[:, 0].tolist() == pytest.approx([10.1, 0.6, 20.2, 20.3, 0.5], rel=1e-3)
    assert found.predicted.tolist() == [1, 1, 2, 2, 1]
    assert found.bounded.tolist() == [False] * 4 + [True]
    assert [one["searcher"].name for one in calls] == ["pgd", "pgd", "fgsm"]
    assert all(one["smallest"] is True and len(one["x"]) == 4 for one in calls)
    assert {tuple(one["y"].tolist()) for one in calls} == {(0,) * 4}
    assert len({tuple(one["key"].tolist()) for one in calls}) == 3, "every round has its own randomness"
    # A search without a bound that finds nothing of a sample that is right.
    assert evaluator.health.counts("unbounded_attack_fails") == (1, 4)
    assert evaluator.health.counts("weak_search") == (0, 4)


@pytest.mark.parametrize(
    ("alive", "counted"),
    [
        ([None, None], None),
        ([False, None], False),
        ([False, True], True),
        ([True, False], True),
        ([None, False], False),
    ],
)
def test_elements_count_as_reached_where_any_stage_had_a_gradient(
    alive: list[bool | None], counted: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, calls, unreached, _ = searched(monkeypatch, [[INF] * 4] * 2, alive=alive)
    if counted is None:
        assert not unreached
        return
    ((part, threat, reached_by),) = unreached
    assert part.ids.tolist() == [0, 2, 3, 4][: calls[0]["followed"]]
    assert (threat, set(reached_by.flatten().tolist())) == (Linf(2.0), {counted})


def test_where_gradients_mislead_labels_are_searched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    names = list[Any]()
    for misled, threat, more in ((True, L2(2.0), 1), (True, Linf(2.0), 1), (True, L1(2.0), 0), (False, L2(2.0), 0)):
        names.clear()

        def search(evaluator: Any, searcher: Any, _: Any, x: Tensor, y: Tensor, **given: Any) -> Any:
            names.append(searcher)
            nothing = torch.zeros(len(x), dtype=torch.bool)
            return SearchOutcome(nothing, x, nothing.double(), y, nothing.float())

        monkeypatch.setattr(min_perturbation, "search", search)
        monkeypatch.setattr(min_perturbation, "probe_gradient", lambda *_, misled=misled: misled)
        search_smallest(*setting(X, Y), Cascade(name="one", stages=(Stage(searcher=PGD(steps=1)),)), threat)
        assert names == [PGD(steps=1), *[HopSkipJump(queries=1000)] * more]


def test_where_all_are_wrong_unchanged_nothing_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(min_perturbation, "search", None)
    found = search_smallest(
        *setting([[0.7], [0.8]], [0, 0]), Cascade(name="one", stages=(Stage(searcher=PGD(steps=1)),)), L2(2.0)
    )
    assert (found.size.tolist(), found.right.any().item(), found.bounded.any().item()) == ([0.0, 0.0], False, False)


@pytest.mark.parametrize("similar", [True, False])
@pytest.mark.parametrize("labels", [True, False])
def test_scores_that_say_no_more_than_labels_are_looked_at_where_they_are_similar(
    similar: bool, labels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The closer look takes passes beside the stages, and is not taken of scores that differ."""
    beside, covered, looked = list[int](), list[bool](), list[int]()
    serving, coverage = min_perturbation.serving, min_perturbation.Coverage

    def served(*given: Any, **more: Any) -> Any:
        beside.append(more["beside"])
        assert given[3] == 1
        return serving(*given, **more)

    def cover(x: Tensor, threat: Any, diagnosis: score_diagnosis.ScoreDiagnosis) -> Any:
        covered.append(bool(diagnosis.labels_alone))
        return coverage(x, threat, diagnosis)

    def look(*_: Any) -> bool:
        looked.append(1)
        return labels

    for name, instead in (("suspected", lambda *_: similar), ("labels_alone", look)):
        monkeypatch.setattr(score_diagnosis, name, instead)
    for name, by in (("serving", served), ("Coverage", cover)):
        monkeypatch.setattr(min_perturbation, name, by)
    searched(monkeypatch, [[0.5] * 4] * 2)
    assert beside == [score_diagnosis.PASSES if similar else 0]
    assert covered == [similar and labels]
    assert len(looked) == similar


# The way to the nearest sample

START = [0.2, 0.5, 0.5, 0.5]
WAYS = {
    "by the sum": [0.35, 0.1, 0.0, 0.0],
    "by squares": [0.31, 0.15, 0.0, 0.0],
    "of one element": [0.75, 0.0, 0.0, 0.0],
    "by cubes": [0.35, 0.11, 0.10, 0.0],
    "by the largest": [0.305, 0.305, 0.305, 0.305],
}


@pytest.mark.parametrize(
    ("threat", "way", "others"),
    [
        (L1(4.0), "by the sum", ["by squares", "of one element", "by the largest"]),
        (L2(2.0), "by squares", ["by the sum", "of one element", "by the largest"]),
        (L2(2.0), "by the sum", ["by cubes", "of one element", "by the largest"]),
        (Linf(1.0), "by the largest", ["by the sum", "by squares", "of one element"]),
    ],
)
def test_the_nearest_sample_is_that_of_the_threat_s_norm(
    threat: Any, way: str, others: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(min_perturbation, "probe_gradient", lambda *_: False)
    moves = [WAYS[name] for name in (*others, way)]
    x = [START, *[[a + b for a, b in zip(START, move, strict=True)] for move in moves]]
    norm = {L1: 1, L2: 2, Linf: np.inf}[type(threat)]
    assert min(moves, key=lambda move: float(np.linalg.norm(move, norm))) == WAYS[way]
    cascade = Cascade(name="one", stages=(Stage(searcher=PGD(steps=1, random_start=False)),))
    found = search_smallest(*setting(x, [0, 1, 1, 1, 1], Line(flat=True)), cascade, threat)
    expected = float(np.linalg.norm(WAYS[way], norm)) * 0.3 / WAYS[way][0]
    assert bool(found.bounded[0])
    assert expected * (1 - 1e-6) <= float(found.size[0]) <= expected * (1 + 2**-10)
    assert int(found.predicted[0]) == 1
    assert torch.allclose(found.x[0], torch.tensor(START) + torch.tensor(WAYS[way]) * 0.3 / WAYS[way][0], atol=1e-3)


def test_a_way_that_leaves_at_its_end_leads_to_the_sample_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(min_perturbation, "probe_gradient", lambda *_: False)
    cascade = Cascade(name="one", stages=(Stage(searcher=PGD(steps=1, random_start=False)),))
    x = [[0.2, 0.1], [0.5000001, 0.1]]
    found = search_smallest(*setting(x, [0, 1], Line(flat=True)), cascade, L2(2.0))
    assert found.bounded.tolist() == [True, True]
    assert torch.equal(found.x[0], torch.tensor(x[1]))


# A chunk's columns


@pytest.mark.parametrize(("name", "widest"), [("linf", 1.0), ("l2", 2.0), ("l1", 4.0)])
@pytest.mark.parametrize("least", [None, 0.25, 0.2999, 1.0])
def test_a_chunk_has_sizes_up_to_the_widest(
    name: str, widest: float, least: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    threats = list[Any]()
    right = torch.tensor([True, True, False, True])
    sizes = torch.tensor([0.25, INF, 0.0, 0.3], dtype=torch.float64)

    def smallest(evaluator: Any, chunk: Chunk, cascade: Any, threat: Any) -> Smallest:
        threats.append(threat)
        bounded = torch.tensor([False, False, False, True])
        return Smallest(1 - right.long(), right, chunk.x + 0.1, sizes, torch.ones(4).long(), bounded)

    monkeypatch.setattr(min_perturbation, "search_smallest", smallest)
    evaluator, chunk = setting([[0.1, 0.2, 0.3, 0.4]] * 4, [0, 0, 0, 0])
    found = MinimumSearch(name=name, cascade=Cascade(name="c", stages=()), least=least)(evaluator, chunk)
    assert threats == [{"linf": Linf, "l2": L2, "l1": L1}[name](2 * widest)]
    size = [0.25, widest, 0.0, 0.3]
    assert found.columns["size"].tolist() == size
    assert found.columns["widest"].tolist() == [widest] * 4
    assert found.columns["held"].tolist() == [s > 0 if least is None else s >= least for s in size]
    assert found.columns["clean"].tolist() == right.tolist()
    assert found.columns["found"].tolist() == [True, False, False, True]
    assert found.columns["bounded"].tolist() == [False, False, False, True]
    below = [(0.25, 0), (0.3, 3)]  # the smallest is shown first
    assert [(one.size, one.index) for one in found.exhibits] == [
        one for one in below if least is None or one[0] < least
    ]


def test_the_bounds_width_scales_the_widest() -> None:
    evaluator, chunk = setting([[0.1, 0.2, 0.3, 0.4]], [0])
    wide = Chunk(chunk.ids, chunk.x, chunk.y, chunk.key, (-1.0, 2.0))
    cascade = Cascade(name="one", stages=(Stage(searcher=PGD(steps=1)),))
    for name, widest in (("linf", 3.0), ("l2", 6.0), ("l1", 12.0)):
        assert MinimumSearch(name=name, cascade=cascade, least=None)(evaluator, wide).columns["widest"] == [widest]


# The median


def rule(threshold: float | None, terms: Terms = SET) -> MedianRule:
    return MedianRule(threshold=threshold, terms=terms)


def columns(sizes: NDArray[np.float64], threshold: float | None) -> dict[str, Any]:
    held = sizes > 0 if threshold is None else sizes >= threshold
    return {"size": sizes, "held": held, "widest": np.full(len(sizes), 10.0)}


@pytest.mark.parametrize("n", [4, 5])
@pytest.mark.parametrize("held", [0, 1, 2, 3, 4])
def test_a_median_holds_where_half_of_the_samples_do(n: int, held: int) -> None:
    sizes = np.where(np.arange(n) < held, 2.0, 1.0)
    for threshold, holds in ((2.0, 2 * held >= n), (1.0, True), (2.5, False)):
        found = rule(threshold).decide(columns(sizes, threshold), n, None)
        assert (found.verdict, found.rule, found.at_alpha) == (P if holds else F, "certain: exact on this set", False)
        assert found.estimate == (2.0 if 2 * held >= n else 1.0)
        assert (found.estimate >= threshold) is holds
    assert rule(1.5).doomed(n - held, n) is (2 * held < n)
    assert not rule(None).doomed(n, n)
    assert rule(None).settle(columns(sizes, None), n) is None
    nothing = rule(None).decide(columns(sizes, None), n, None)
    assert (nothing.verdict, nothing.at_alpha) == (Q, False)
    drawn = rule(1.5, POPULATION).decide(columns(sizes, 1.5), n, None)
    assert (drawn.interval, drawn.at_alpha) == (median_interval(np.sort(sizes), 0.05, 10.0), True)


@pytest.mark.parametrize("read", [3, 40, 150, 260])
def test_the_ends_before_the_last_sample_are_the_thresholds_left_open(read: int) -> None:
    """Of each size that was read, bets say whether more than half of the set reach it, or fewer; by a slow loop."""
    n, alpha = 301, 0.05
    sizes = np.random.default_rng(read).permutation(np.linspace(0.1, 3.0, n))[:read].round(1)
    limit, low, high = -math.log(alpha), 0.0, 10.0
    for size in sorted(set(sizes.tolist())):
        reach, below = int((sizes >= size).sum()), int((sizes < size).sum())
        if float(evidence(reach, below, n, 150, above=True)) >= limit:  # 151 of 301 are half of the set
            low = max(low, size)
        if float(evidence(reach, below, n, 151, above=False)) >= limit:
            high = min(high, size)
    found = rule(1.0).decide(columns(sizes, 1.0), n, None)
    assert found.interval == pytest.approx((low, high))
    assert (found.verdict, found.estimate, found.at_alpha) == (Q, None, False)
    # An early verdict's threshold is an end that the interval keeps to.
    for verdict, threshold in (
        (P, low - 0.05),
        (P, low + 0.05),
        (P, 11.0),
        (F, high + 0.05),
        (F, high - 0.05),
        (F, 0.0),
    ):
        early = EarlyVerdict(verdict, 2, False, 0.05)
        ends = rule(threshold).decide(columns(sizes, threshold), n, early).interval
        keep = max if verdict is P else min
        assert ends == pytest.approx((keep(low, threshold), keep(high, threshold)))


def test_few_samples_leave_the_median_open() -> None:
    assert [median_interval(np.arange(1.0, n + 1), 0.05, 10.0) for n in (4, 5, 8)] == [
        (0.0, 10.0),
        (1.0, 5.0),
        (2.0, 7.0),
    ]
    assert median_interval(np.arange(1.0, 5), 1 / 16, 10.0) == (1.0, 4.0), "a chance of exactly alpha is allowed"


def test_a_share_reaches_the_size_at_its_place() -> None:
    for n in (1, 2, 5, 10):
        ordered = np.arange(1.0, n + 1)
        for share in (0.0, 0.1, 0.25, 0.5, 0.9, 1.0):
            most = max((s for s in ordered if (ordered >= s).sum() >= (1 - share) * n - 1e-9), default=None)
            assert reached(ordered, share) == most
