"""The state of a cascade between two rounds, and the plan of its sweeps, each rule by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from robustest import Linf, as_classifier, rng
from robustest.attacks import Square, Stage
from robustest.engine import cascade as cascades
from robustest.engine.cascade import CascadeState, Sweep, sweeps
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import SearchOutcome

N = 5


def chunk_of() -> Chunk:
    x, ids = torch.rand(N, 3, generator=torch.Generator().manual_seed(0)), torch.arange(N)
    return Chunk(ids, x, torch.zeros(N, dtype=torch.int64), rng.keys(0, ids), (0.0, 1.0))


def state_of(**fields: Any) -> CascadeState:
    chunk, threat = chunk_of(), Linf(0.1)
    state = CascadeState.of(chunk, threat, threat.region(chunk.x, chunk.bounds), followed=3, unanswered=chunk.y.clone())
    for name, value in fields.items():
        setattr(state, name, value)
    return state


def mask(*rows: int) -> torch.Tensor:
    return torch.tensor([row in rows for row in range(N)])


def test_at_first_each_sample_is_its_own_best_input() -> None:
    state = state_of()
    assert torch.equal(state.found.x, chunk_of().x)
    assert (state.found.size == 0).all()
    assert not state.found.broken.any()
    assert state.waiting().all()
    assert state.margins.isinf().all()
    assert state.alive.shape == (3, 3)
    state.broken[0] = True
    assert not state.decided.any(), "each has its own array"
    assert not state.left_out.any()
    assert not state.found.broken.any()


@pytest.mark.parametrize(
    ("rule", "state", "pays"),
    [
        ({}, {}, True),
        # Earned: a sample broke after the first round, or there was none.
        ({"earned": True}, {"first": None}, True),
        ({"earned": True}, {"first": 2, "broken": mask(0, 1)}, False),
        ({"earned": True}, {"first": 1, "broken": mask(0, 1)}, True),
        ({"earned": True}, {"first": 0}, False),
        # Paid: the stage before broke a sample.
        ({"paid": True}, {"paid": False}, False),
        ({"paid": True}, {"paid": True}, True),
        # Near: the last stage of this name came near; of another name it does not matter.
        ({"near": 0.8}, {}, True),
        ({"near": 0.8}, {"distance": {"square": 0.8}}, True),
        ({"near": 0.8}, {"distance": {"square": 0.81}}, False),
        ({"near": 0.8}, {"distance": {"pgd": 9.0}}, True),
        ({"near": 0.8, "earned": True}, {"distance": {"square": 0.1}, "first": 0}, False),
    ],
)
def test_a_stage_that_can_break_nothing_does_not_pay(rule: dict[str, Any], state: dict[str, Any], pays: bool) -> None:
    assert state_of(**state).pays(Stage(searcher=Square(), **rule)) is pays


def test_samples_that_are_broken_decided_or_left_out_are_not_waiting() -> None:
    state = state_of(broken=mask(0), decided=mask(0, 1), left_out=mask(4))
    assert state.waiting().tolist() == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("waiting", "most", "rows"),
    [
        (range(5), 2, [1, 4]),
        (range(5), 3, [0, 1, 4]),  # of equal margins the first
        (range(5), 9, [0, 1, 2, 3, 4]),
        ([2, 3], 1, [2]),
        ([], 3, []),
    ],
)
def test_the_nearest_samples_come_in_their_own_order(waiting: Any, most: int, rows: list[int]) -> None:
    state = state_of(margins=torch.tensor([3.0, 1.0, 3.0, 3.0, 0.5]))
    assert state.nearest(mask(*waiting), most).tolist() == rows


def outcome(broken: list[bool], margin: list[float]) -> SearchOutcome:
    n = len(broken)
    return SearchOutcome(
        torch.tensor(broken), torch.full((n, 3), 0.7), torch.full((n,), 0.1).double(), torch.ones(n).long(),
        torch.tensor(margin),
    )  # fmt: skip


@pytest.mark.parametrize("attempts", [True, False])
def test_an_outcome_is_added_by_row(attempts: bool) -> None:
    state = state_of(margins=torch.tensor([4.0, 4.0, 4.0, 1.0, 1.0]), distance={"pgd": 9.0})
    part, rows = outcome([True, False, False], [-1.0, 2.0, 5.0]), torch.tensor([0, 2, 3])
    state.add("pgd", rows, rows, part, (part.broken, part.margin), attempts=attempts)
    assert state.broken.tolist() == state.found.broken.tolist() == [True, False, False, False, False]
    assert state.margins.tolist() == [-1.0, 4.0, 2.0, 1.0, 1.0]
    better = [True, False, attempts, False, False]
    assert (state.found.x == 0.7).all(1).tolist() == better
    assert state.distance == {"pgd": 0.0}, "it broke a sample"


@pytest.mark.parametrize(
    ("before", "margin", "distance"),
    [(9.0, [2.0, 3.0], 0.5), (0.4, [2.0, 3.0], 0.4), (9.0, [0.0, 3.0], 0.0), (9.0, [float("inf")] * 2, 1.0)],
)
def test_a_distance_is_a_share_of_the_smallest_margin_known(
    before: float, margin: list[float], distance: float
) -> None:
    known = 4.0 if margin[0] < 9 else float("inf")
    state = state_of(margins=torch.full((N,), known), distance={"pgd": before})
    part = outcome([False, False], margin)
    state.add("pgd", torch.tensor([1, 2]), torch.tensor([1, 2]), part, (part.broken, part.margin), attempts=False)
    assert state.distance["pgd"] == pytest.approx(distance)


def test_of_rounds_together_the_first_success_counts_or_the_nearest() -> None:
    part = outcome([False, False, False, True, False, True], [3.0, 1.0, 2.0, -1.0, -9.0, -5.0])
    part.x = torch.arange(6.0).unsqueeze(1)
    best = part.best_of(3)
    assert best.x.flatten().tolist() == [1.0, 3.0]
    assert best.broken.tolist() == [False, True]
    assert best.margin.tolist() == [1.0, -9.0]


LOW = Sweep(low=True)


@pytest.mark.parametrize("agrees", [True, False])
@pytest.mark.parametrize(
    ("way", "attempts", "planned"),
    [
        ("", False, (Sweep(),)),
        ("first", False, (Sweep(low=True, others=False), Sweep())),
        ("first", True, (Sweep(low=True, others=False), Sweep())),
        ("alone", False, (LOW, Sweep(others=False, checks=True))),
        ("alone", True, (Sweep(),)),
    ],
)
def test_sweeps_are_planned_by_the_way_to_use_bfloat16(
    way: Any, attempts: bool, planned: tuple[Sweep, ...], agrees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascades, "probe_precision", lambda *_: agrees)
    evaluator = Evaluator(as_classifier(lambda x: x), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    evaluator.low_precision = way
    found = sweeps(evaluator, chunk_of(), attempts=attempts)
    assert found == (planned if agrees or LOW not in planned else (Sweep(),))
    assert bool(evaluator.notes) is (LOW in planned)
