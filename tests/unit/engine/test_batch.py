"""The steps of one search, each by itself: admit, end, step, keep, compact, judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import Linf, as_classifier, devices
from robustest.attacks import Evaluation, Needs, Problem
from robustest.engine import search as searches
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import Batch

CPU = torch.device("cpu")


def line(x: Tensor) -> Tensor:
    """Class 0 below .5."""
    return torch.stack([0.5 - x[:, 0], torch.zeros(len(x))], 1)


@dataclass(frozen=True)
class Moves:
    """Moves each sample by `by`; the sample at position p takes `own[p]` rounds."""

    by: float = 0.1
    steps: int = 3
    own: tuple[int, ...] = ()
    needs: Needs = Needs.SCORES
    name: str = "moves"

    def rounds(self, problem: Problem) -> Tensor:
        start = (problem.x[:, 0] * 100).round().long()
        return torch.tensor([self.own[at] if self.own else self.steps for at in start.tolist()])

    def init(self, problem: Problem, key: Tensor) -> dict[str, Tensor]:
        return {"told": torch.zeros(len(problem.y), dtype=torch.int64)}

    def ask(self, problem: Problem, state: dict[str, Tensor]) -> Tensor:
        return problem.x + self.by

    def objective(self, problem: Problem, state: dict[str, Tensor], logits: Tensor) -> Tensor:
        return logits[:, 1] - logits[:, 0]

    def tell(self, problem: Problem, state: dict[str, Tensor], evaluation: Evaluation) -> dict[str, Tensor]:
        return {"told": state["told"] + 1}


@dataclass(frozen=True)
class Several(Moves):
    """Four proposals at once, of which the third one goes furthest."""

    at_once: int = 4

    def ask(self, problem: Problem, state: dict[str, Tensor]) -> Tensor:
        return problem.x.unsqueeze(1) + torch.tensor([0.1, 0.2, 0.4, 0.3]).view(1, 4, 1)


def batch_of(searcher: Any, x: list[float] | None = None, *, batch_size: int = 3, **options: Any) -> Batch:
    """A search of samples at these places, or at 0, .01, .02 ..., within .3."""
    places = [at / 100 for at in range(7)] if x is None else x
    evaluator = Evaluator(as_classifier(line), CPU, batch_size=batch_size, suppress=(), notes=[])
    evaluator.classes = 2
    n, inputs = len(places), torch.tensor(places).unsqueeze(1)
    labels = torch.zeros(n, dtype=torch.int64)
    threat = options.pop("threat", Linf(0.3))
    return Batch(evaluator, searcher, threat, inputs, labels, key=torch.arange(n), bounds=(0.0, 1.0), **options)


def in_flight(batch: Batch) -> list[int]:
    return [] if batch.rows is None else batch.rows.position.tolist()


def test_samples_are_admitted_in_order_as_far_as_there_is_room() -> None:
    batch = batch_of(Moves())
    assert batch.admit()
    assert (in_flight(batch), batch.admitted) == ([0, 1, 2], 3)
    assert batch.admit()
    assert in_flight(batch) == [0, 1, 2], "there is no room"
    assert batch.rows is not None
    batch.rows = batch.rows.pick(torch.tensor([0, 2]))
    batch.admit()
    assert in_flight(batch) == [0, 2, 3]
    batch.rows = None
    batch.admit()
    assert in_flight(batch) == [4, 5, 6]
    batch.rows = None
    assert not batch.admit()


@pytest.mark.parametrize(("light", "rows"), [(0, 2), (12, 3), (1000, 7)])
def test_proposals_at_once_fill_a_batch_or_are_few_elements(
    light: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searches, "_LIGHT", light)
    batch = batch_of(Several(), batch_size=8)
    batch.admit()
    assert len(in_flight(batch)) == rows


def test_rows_end_after_their_own_rounds() -> None:
    """Rows that take fewer rounds than `steps` are as if they had been admitted earlier."""
    batch = batch_of(Moves(own=(3, 1, 2)), [0.0, 0.01, 0.02])
    batch.admit()
    assert batch.end() is None
    ended = []
    for _ in range(3):
        assert batch.rows is not None
        batch.step(batch.rows)
        ending = batch.end()
        assert ending is not None
        ended.append(ending.position.tolist())
    assert (ended, batch.rows) == ([[1], [2], [0]], None)


def test_a_step_is_told_to_the_searcher_and_the_last_proposal_is_not() -> None:
    batch = batch_of(Moves())
    batch.admit()
    rows = batch.rows
    assert rows is not None
    batch.step(rows)
    assert (rows.state["told"].tolist(), batch.round) == ([1, 1, 1], 1)
    assert batch.margin.isinf().all()
    batch.step(rows, final=True)
    assert (rows.state["told"].tolist(), batch.round) == ([1, 1, 1], 1)
    assert batch.margin.tolist() == pytest.approx([0.4, 0.39, 0.38] + [float("inf")] * 4)


def test_a_search_that_ends_where_it_began_is_idle() -> None:
    for by, probe, failed in ((0.0, False, 3), (0.1, False, 0), (0.0, True, 0)):
        batch = batch_of(Moves(by=by), probe=probe)
        batch.admit()
        assert batch.rows is not None
        batch.step(batch.rows, final=True)
        assert batch.evaluator.health.counts("idle_search") == (failed, 0 if probe else 3)


@pytest.mark.parametrize(
    ("options", "points", "best", "size", "hit", "alive"),
    [
        # A success ends a row, and later points do not count.
        ({}, [0.55, 0.6], 0.55, None, True, False),
        ({}, [0.4, 0.45], 0.3, None, False, True),
        # Attempts: the nearest point of a row that is not broken.
        ({"attempts": True}, [0.45, 0.4], 0.45, None, False, True),
        ({"attempts": True}, [0.4, 0.55], 0.55, None, True, False),
        # The smallest success, wherever it comes; a point outside the threat is none.
        ({"smallest": True}, [0.58, 0.55], 0.55, 0.25, True, True),
        ({"smallest": True}, [0.55, 0.58], 0.55, 0.25, True, True),
        ({"smallest": True}, [0.7, 0.58], 0.58, 0.28, True, True),
        ({"smallest": True}, [0.7, 0.65], 0.3, None, False, True),
    ],
)
def test_points_are_kept_by_what_a_search_is_for(
    options: dict[str, bool], points: list[float], best: float, size: float | None, *, hit: bool, alive: bool
) -> None:
    for on_host in (True, False):
        batch = batch_of(Moves(), [0.3], **options)
        batch.eager = on_host
        batch.admit()
        rows = batch.rows
        assert rows is not None
        rows.whole = on_host
        for at in points:
            point = torch.tensor([[at]])
            batch.keep(rows, point, line(point))
        assert float(batch.best) == pytest.approx(best)
        assert (bool(batch.hit), bool(rows.alive)) == (hit, alive)
        if size is not None:
            assert float(batch.size) == pytest.approx(size)


def test_a_broken_row_s_margin_stays() -> None:
    """How long it goes on depends on its neighbours."""
    batch = batch_of(Moves(), [0.3, 0.3])
    batch.admit()
    rows = batch.rows
    assert rows is not None
    for points in ([[0.55], [0.4]], [[0.6], [0.45]]):
        point = torch.tensor(points)
        batch.keep(rows, point, line(point))
    assert rows.margin.tolist() == pytest.approx([-0.05, 0.05])


def test_of_proposals_at_once_the_best_is_kept_or_each_where_sizes_count() -> None:
    z = torch.tensor([[[0.1], [0.6], [0.55]], [[0.4], [0.2], [0.3]]])
    logits = line(z.flatten(0, 1)).view(2, 3, 2)
    y = torch.zeros(2, dtype=torch.int64)
    ((best, output),) = batch_of(Several())._candidates(z, logits, y)
    assert best.flatten().tolist() == pytest.approx([0.6, 0.4])
    assert torch.equal(output, line(best))
    each = batch_of(Several(), smallest=True)._candidates(z, logits, y)
    assert [point.flatten().tolist() for point, _ in each] == [pytest.approx(one) for one in z.squeeze(2).T.tolist()]


@pytest.mark.parametrize(
    ("on_host", "round_", "broken", "left"),
    [
        (True, 1, [], 8),
        (True, 1, [3], 7),
        (True, 1, range(8), 0),
        (False, 5, [3], 8),  # a bucket of eight holds seven
        (False, 5, [0, 1, 2, 3], 4),
        (False, 5, [0, 1, 2, 3, 4], 4),  # a bucket of four holds three, and the first broken row
        (False, 5, range(8), 0),
        (False, 4, range(8), 8),  # the host does not look
    ],
)
def test_broken_rows_are_dropped_where_they_are_many(on_host: bool, round_: int, broken: Any, left: int) -> None:
    batch = batch_of(Moves(), [0.0] * 8, batch_size=8)
    batch.admit()
    batch.eager, batch.round, rows = on_host, round_, batch.rows
    assert rows is not None
    rows.alive[list(broken)] = False
    rows.margin = torch.arange(8.0)
    batch.compact()
    assert len(in_flight(batch)) == left
    alive = [at for at in range(8) if at not in broken]
    if 0 < left < 8:
        assert in_flight(batch) == [*alive, *list(broken)[: left - len(alive)]]
    assert batch.margin.isfinite().all() if left < 8 else batch.margin.isinf().all()


def test_rows_that_did_not_change_are_not_looked_at_again() -> None:
    batch = batch_of(Moves(), [0.0] * 8, batch_size=8)
    batch.admit()
    batch.compact()
    assert batch.rows is not None
    batch.rows.alive[:4] = False
    batch.compact()
    assert len(in_flight(batch)) == 8
    batch.rows.changed = True
    batch.compact()
    assert len(in_flight(batch)) == 4


def test_the_judge_asks_again_and_believes_nothing_else() -> None:
    """A hit that the model does not confirm is not broken, nor is one outside the threat, or without a hit."""
    batch = batch_of(Moves(), [0.3, 0.3, 0.3, 0.3])
    batch.best = torch.tensor([[0.55], [0.45], [0.55], [0.9]])
    batch.hit = torch.tensor([True, True, False, True])
    found = batch.judge()
    assert found.broken.tolist() == [True, False, False, True]
    assert found.x.flatten().tolist() == pytest.approx([0.55, 0.45, 0.55, 0.6]), "projected into the threat first"
    assert found.predicted.tolist() == [1, 0, 0, 1]
    assert batch.evaluator.health.counts("unconfirmed_success") == (1, 3)


def test_the_searcher_s_arrays_are_its_own() -> None:
    batch = batch_of(Moves(), [0.3, 0.3])
    batch.problem.region["x"].fill_(0.9)
    batch.problem.y.fill_(1)
    found = batch.judge()
    assert found.x.flatten().tolist() == pytest.approx([0.3, 0.3])
    assert not found.broken.any()


def test_an_accelerator_is_recognised_by_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert batch_of(Moves()).eager
    monkeypatch.setattr(devices, "on_host", lambda _: False)
    assert not batch_of(Moves()).eager
