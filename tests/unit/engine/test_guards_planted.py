"""Guards of positive controls: where the hole lies, who searches for it, and what counts as missed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import as_classifier, labels_model, rng, scores_model
from robustest.attacks import PGD, Needs, RandomMoves, Square
from robustest.engine import planted
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.planted import draws, plant
from robustest.threats import Discrete
from robustest.threats.threat import OfInputs, Rows

CPU = torch.device("cpu")


class Grid(OfInputs, Discrete):
    """Whole numbers from 0 to 8 times the place's number, of which each proposal changes all but the first."""

    radius = 3.0

    def __init__(self, room: int = 9) -> None:
        self.room = room

    def region(self, x: Tensor, bounds: Any) -> Rows:
        return {"x": x}

    def start(self, region: Rows, key: Tensor) -> Tensor:
        x = region["x"]
        other = rng.integers(key, x.shape[1:], self.room) * torch.arange(x.shape[1]).float() ** 2
        return torch.where((x[:, :1] > 0) & (torch.arange(x.shape[1]) > 0), other, x)

    def project(self, z: Tensor, region: Rows) -> Tensor:
        return z

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return (z != region["x"]).sum(1).double()

    ascent = stride = places = choices = moved = point = None  # type: ignore[assignment]

    def points(self, region: Rows) -> Tensor:
        """The first element says whether there is room."""
        return torch.where(region["x"][:, 0] > 0, float(self.room), 1.0).double()


def chunk_of(x: Tensor, seed: int = 0) -> Chunk:
    ids = torch.arange(len(x))
    return Chunk(ids, x, torch.zeros(len(x), dtype=torch.int64), rng.keys(seed, ids), (-1e6, 1e6))


def evaluator_of(model: Any = None) -> Evaluator:
    model = scores_model(lambda x: x[:, :2]) if model is None else model
    return Evaluator(as_classifier(model), CPU, batch_size=7, suppress=(), notes=[])


X = torch.tensor([[1.0, 3.0, 2.0, 0.0], [1.0, 0.0, 8.0, 9.0], [1.0, 4.0, 16.0, 36.0], [1.0, 1.0, 1.0, 1.0]])


def test_draws_are_those_of_each_sample_and_number() -> None:
    chunk, threat = chunk_of(X), Grid()
    found = draws(threat, chunk, 5)
    assert found.shape == (4, 5, 4)
    for row in range(4):
        for number in range(5):
            key = rng.fold(rng.fold(chunk.key[row : row + 1], torch.tensor([number])), "planted")
            assert torch.equal(found[row, number], threat.start({"x": X[row : row + 1]}, key)[0])
    assert len({tuple(row.tolist()) for row in found[0]}) == 5


def scripted(
    monkeypatch: pytest.MonkeyPatch,
    finds: Any,
    x: Tensor = X,
    *,
    seed: int = 0,
    searchers: Any = None,
    model: Any = None,
) -> tuple[tuple[int, int], list[tuple[Evaluator, Tensor, str, Tensor]]]:
    """The counts, and each search: its judge, its sample, its searcher's name and its key."""
    asked: list[tuple[Evaluator, Tensor, str, Tensor]] = []

    def search(judge: Evaluator, searcher: Any, threat: Any, x: Tensor, y: Tensor, *, key: Tensor, bounds: Any) -> Any:
        asked.append((judge, x, searcher.name, key))
        assert y.tolist() == [0]
        assert judge.classes == 2
        assert judge.batch_size == 7
        outcome = torch.tensor([finds(len(asked))])
        return type("Outcome", (), {"broken": outcome})

    monkeypatch.setattr(planted, "search", search)
    evaluator = evaluator_of(model)
    plant(evaluator, [RandomMoves()] if searchers is None else searchers, Grid(), chunk_of(x, seed))
    return evaluator.health.counts("missed_control"), asked


@pytest.mark.parametrize("seed", range(8))
def test_the_hole_is_as_good_as_the_best_draw_along_a_random_form(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each element counts by its own spread; where the sample is the best of all, the form is turned round."""
    counts, asked = scripted(monkeypatch, lambda _: True, seed=seed)
    assert counts == (0, 3), "three samples have a control"
    chunk = chunk_of(X, seed)
    every = draws(Grid(), chunk, 48).double()
    for row, (judge, x, _, _) in enumerate(asked):
        assert torch.equal(x, X[row : row + 1])
        inputs = torch.cat([X[row : row + 1].double(), every[row]])
        form = rng.normal(rng.fold(chunk.key[row : row + 1], "form"), (4,))[0].double()
        form = torch.where(inputs.std(0) > 0, form / inputs.std(0), 0)
        score = inputs @ form
        if int(score.argmax()) == 0:
            score = -score
        inside = score >= score.max() - 1e-6 * (score.max() - score[0])
        # A thousandth more than the best is inside as well, and a thousandth less is not.
        assert judge.logits(inputs.float()).argmax(1).tolist() == inside.int().tolist()
        assert not inside[0]
        assert 1 <= int(inside.sum()) < 6
        best = inputs[inside][:1]
        for share, hit in ((0.999, 0), (1.001, 1)):
            point = (inputs[:1] + share * (best - inputs[:1])).float()
            assert judge.logits(point).argmax(1).tolist() == [hit]
        form_of_hole: Any = judge.model.call
        scores = form_of_hole.score(inputs)
        assert float(scores.max()) - form_of_hole.least == pytest.approx(
            1e-6 * float(scores.max() - scores[0]), rel=1e-4
        )
        lead = judge.logits(best.float())
        assert torch.equal(lead[:, 0], -lead[:, 1])


def test_an_edge_of_the_hole_belongs_to_it() -> None:
    model = planted._Planted(torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 0.5]).double(), 0.25)
    x = torch.tensor([[0.75, 0.5], [0.5, 0.25], [0.5, 0.5]])
    assert model.score(x).tolist() == [0.25, 0.5, 0.0]
    assert model(x).argmax(1).tolist() == [1, 1, 0]


def test_one_search_has_to_find_it_and_the_next_ones_are_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    searchers = [PGD(), RandomMoves(), Square(), RandomMoves()]
    counts, asked = scripted(monkeypatch, lambda _: False, searchers=searchers)
    assert counts == (3, 3)
    assert [name for _, _, name, _ in asked] == ["random-moves", "square", "random-moves"] * 3, "none by gradients"
    assert len({int(key) for _, _, _, key in asked}) == 9
    counts, asked = scripted(monkeypatch, lambda number: number in (2, 3, 6), searchers=searchers)
    assert counts == (0, 3)
    moves, square = "random-moves", "square"
    assert [name for _, _, name, _ in asked] == [moves, square, moves, moves, square, moves]
    assert scripted(monkeypatch, lambda _: True, searchers=[PGD()]) == ((3, 3), [])


def test_samples_without_another_input_have_no_control(monkeypatch: pytest.MonkeyPatch) -> None:
    x = X.clone()
    x[[0, 2], 0] = 0.0
    counts, asked = scripted(monkeypatch, lambda _: False, x)
    assert counts == (1, 1)
    assert torch.equal(asked[0][1], x[1:2])
    assert scripted(monkeypatch, lambda _: False, x[:1]) == ((0, 0), [])
    assert scripted(monkeypatch, lambda _: False, x[1:2])[0] == (1, 1)


def test_draws_that_are_all_the_sample_are_a_control_that_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The region is said to hold more inputs, and none is ever drawn: nothing can be planted, nothing is searched."""
    assert scripted(monkeypatch, lambda _: True, torch.tensor([[1.0]])) == ((1, 1), [])


def test_draws_that_are_all_the_same_input_hold_the_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Grid, "start", lambda *given: given[1]["x"] + 1)
    for seed in range(4):
        counts, ((judge, x, _, _),) = scripted(monkeypatch, lambda _: True, X[:1], seed=seed)
        assert counts == (0, 1)
        assert judge.logits(torch.cat([x, x + 1])).argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("model", "gives"),
    [
        (labels_model(lambda x: x[:, 0] > 1, classes=2), Needs.LABELS),
        (scores_model(lambda x: x[:, :2]), Needs.SCORES),
        (lambda x: x[:, :2], Needs.SCORES),
    ],
)
def test_the_planted_model_gives_what_the_claims_model_does(
    model: Any, gives: Needs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = scripted(monkeypatch, lambda _: True, model=model)[1]
    assert {judge.model.gives for judge, _, _, _ in asked} == {gives}
    assert {judge.model.bounds for judge, _, _, _ in asked} == {(-1e6, 1e6)}


def test_what_no_draw_changes_has_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, asked = scripted(monkeypatch, lambda _: True, x=torch.cat([X[:, :1] + 0.1, X[:, 1:]], 1))
    assert counts == (0, 3)
    for judge, _, _, _ in asked:
        form: Any = judge.model.call
        assert (form.weights != 0).tolist() == [False, True, True, True]
        assert bool((form.weights.abs() < 1e3).all())
