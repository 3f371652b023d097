"""Which samples proofs are tried on, in which order, and what becomes of them; the bounds themselves are scripted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Linf, ModelError, rng
from robustest.bounds.linear import ball_of
from robustest.bounds.operations import NoBound
from robustest.engine import proving
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.proving import Proof, nothing_shown, prove, prove_rows, reading_of
from robustest.models import as_classifier
from robustest.threats import L0, Threat

N = 50


def setting(n: int = N, module: nn.Module | None = None) -> tuple[Evaluator, Chunk]:
    module = module or nn.Linear(2, 2)
    evaluator = Evaluator(as_classifier(module), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    ids = torch.arange(n) + 100
    x = torch.stack([torch.arange(n) / n, torch.full((n,), 0.5)], 1)
    evaluator.logits(x[:1])
    return evaluator, Chunk(ids, x, torch.zeros(n, dtype=torch.int64), rng.keys(0, ids), (0.0, 1.0))


def scripted(monkeypatch: pytest.MonkeyPatch, bounds: dict[int, float], otherwise: float) -> list[list[int]]:
    """Bounds by the sample's place; return the places that each call is about."""
    asked: list[list[int]] = []

    def bound(network: Any, ball: Any, y: Tensor, classes: int) -> Proof:
        places = [round(float(a) * N) for a in ball.x[:, 0]]
        asked.append(places)
        assert len(y) == len(places)
        assert classes == 2
        margin = torch.tensor([bounds.get(place, otherwise) for place in places])
        return Proof(proven=margin > 0, margin=margin)

    monkeypatch.setattr(proving, "prove", bound)
    return asked


def run(held: list[int], margin: Tensor, threat: Threat | None = None) -> Any:
    evaluator, chunk = setting()
    mask = torch.zeros(N, dtype=torch.bool)
    mask[torch.tensor(held, dtype=torch.int64)] = True
    return prove_rows(evaluator, chunk, threat or Linf(0.1), mask, margin)


def test_the_clearest_sample_goes_first_then_seven_more_then_groups_of_thirty_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = scripted(monkeypatch, dict.fromkeys([45, 3], 1.0), -1.0)
    held = [place for place in range(N) if place % 10]  # 45 samples; five are broken
    found = run(held, torch.arange(N).float())
    order = held[::-1]
    assert asked == [order[:1], order[1:8], order[8:40], order[40:], [40, 30, 20, 10]]
    assert found.rows.nonzero().squeeze(1).tolist() == [3, 45]
    assert found.note == ""


@pytest.mark.parametrize(("share", "pilot"), [(29.9, 8), (30.1, 1)])
def test_a_hopeless_bound_of_the_clearest_ends_the_pilot(
    share: float, pilot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = scripted(monkeypatch, {N - 1: -share * 2}, -1.0)
    found = run(list(range(N)), torch.linspace(1, 2, N))
    assert sum(map(len, asked)) == pilot
    assert not found.rows.any()
    assert found.note == f"no bound: given up where none of a chunk's {pilot} clearest samples was proven"


def test_a_bound_that_is_not_finite_is_not_hopeless(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = scripted(monkeypatch, {N - 1: -torch.inf, N - 2: 1.0}, -1.0)
    found = run(list(range(N)), torch.arange(N).float())
    assert [len(one) for one in asked] == [1, 7, 32, 10, 0][: len(asked)]
    assert found.rows.nonzero().squeeze(1).tolist() == [N - 2]


def test_a_sample_both_proven_and_broken_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, {7: 1.0, 5: 1.0}, -1.0)
    with pytest.raises(ModelError, match="sample 107 is"):
        run([place for place in range(N) if place != 7], torch.arange(N).float().flip(0))
    # Beyond the four clearest broken ones none is looked at.
    held = [place for place in range(N) if place not in {7, 1, 2, 3, 4}]
    assert run(held, torch.arange(N).float().flip(0)).rows.nonzero().squeeze(1).tolist() == [5]
    with pytest.raises(ModelError, match="sample 107 is"):
        run([place for place in range(N) if place not in {7, 1, 2, 3}], torch.arange(N).float().flip(0))


def test_a_graph_that_is_refused_on_the_way_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def bound(network: Any, ball: Any, y: Tensor, classes: int) -> Proof:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise NoBound("no bound: of the test")
        margin = torch.ones(len(y))
        return Proof(proven=margin > 0, margin=margin)

    monkeypatch.setattr(proving, "prove", bound)
    found = run(list(range(N)), torch.arange(N).float())
    assert (bool(found.rows.any()), found.note) == (False, "no bound: of the test")


def test_a_graph_that_answers_otherwise_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, {}, 1.0)
    held, margin = list(range(N)), torch.arange(N).float()
    assert run(held, margin).rows.all()
    for name, note in (("_agrees", "does not answer as the model does"), ("_keeps_to_its_lines", "is not affine")):
        with monkeypatch.context() as patch:
            patch.setattr(proving, name, lambda *_: False)
            found = run(held, margin)
        assert not found.rows.any()
        assert note in found.note


def test_threats_and_models_without_bounds_are_named() -> None:
    held, margin = list(range(N)), torch.arange(N).float()
    assert run(held, margin, L0(1)).note == "no bound: L0 is no ball in L-inf, L2 or L1"
    evaluator, chunk = setting(module=nn.Sequential(nn.Linear(2, 2), nn.Softplus()))
    every = torch.ones(N, dtype=torch.bool)
    found = prove_rows(evaluator, chunk, Linf(0.1), every, margin)
    assert "Softplus" in found.note
    assert not found.rows.any()
    assert reading_of(evaluator, chunk) is reading_of(evaluator, chunk)
    assert nothing_shown(torch.zeros(3)).margin.tolist() == [-torch.inf] * 3


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1)], ids=str)
def test_linear_models_are_proven_from_the_distance_on(threat: Any) -> None:
    layer = nn.Linear(2, 2)
    layer.weight.data, layer.bias.data = torch.tensor([[1.0, 0.5], [-1.0, 0.0]]), torch.zeros(2)
    evaluator, chunk = setting(module=layer)
    slope = torch.tensor([2.0, 0.5])
    lead = chunk.x @ slope - 0.6
    layer.bias.data[1] = 0.6
    held = lead > 0
    found = prove_rows(evaluator, chunk, threat, held, lead)
    # The box of the bounds cuts some balls short: these are proven as well.
    reach = (chunk.x - (chunk.x - 0.1).clamp(0, 1)) @ slope
    if isinstance(threat, L2):
        reach = reach.clamp(max=0.1 * float(slope.norm()))
    clear = (lead - reach).abs() > 1e-3
    assert found.rows[clear].tolist() == (lead > reach)[clear].tolist()
    assert 5 < int(found.rows.sum()) < int(held.sum())
    ball = ball_of(threat, chunk.x, (0.0, 1.0))
    network = reading_of(evaluator, chunk).network
    assert ball is not None
    assert network is not None
    proof = prove(network, ball, chunk.y, 2)
    assert proof.margin.tolist() == pytest.approx((lead - reach).tolist(), abs=1e-4)
    assert proof.proven.tolist() == (proof.margin > 0).tolist()
