"""What bounds may not be read of: each guard before the first proof is held by a model that it must refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import Linf, ModelError, Verdict, as_classifier, rng, scores_model
from robustest.attacks import RandomDraws
from robustest.bounds.operations import NoBound
from robustest.engine import proving
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.proving import Proof
from robustest.measure import measure_certified_accuracy

N = 12
THREAT = Linf(0.0005)


def net() -> nn.Module:
    draw = torch.Generator().manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 3))
    for parameter in layers.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw)
    return layers.eval().requires_grad_(False)


X = torch.rand(N, 4, generator=torch.Generator().manual_seed(1))
Y = net()(X).argmax(1)


def measured(model: Any, **options: Any) -> Any:
    return measure_certified_accuracy(
        model, (X, Y), THREAT, at_least=0.8, attack="fgsm", exact=True, cache=False, **options
    )


def test_the_network_as_it_is_is_proven() -> None:
    found = measured(net())
    assert found.verdict is Verdict.PASSED
    assert found.details["proven"] > N / 2
    assert not any(note.startswith("no bound") for note in found.words.notes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_only_float32_is_bounded(dtype: torch.dtype) -> None:
    """The allowance for rounding is that of float32, and other formats are judged otherwise than they are bounded."""
    found = measured(net().to(dtype))
    assert found.details["proven"] == 0
    assert found.verdict is not Verdict.PASSED
    assert "no bound: the model is no torch module that computes in float32" in found.words.notes


@pytest.mark.parametrize("wrap", [lambda module: module.forward, lambda module: lambda x: 1.0 * module(x)])
def test_a_callable_is_not_bounded(wrap: Callable[[nn.Module], Any]) -> None:
    found = measured(wrap(net()))
    assert found.details["proven"] == 0
    assert "no bound: the model is no torch module that computes in float32" in found.words.notes


class Jump(nn.Module):
    """The network, and far from all samples something else, which a graph is not given to read."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        if isinstance(x, torch.fx.Proxy):
            return logits
        return logits + 1e-3 * (x.sum(1, keepdim=True) > 3.0)  # a few of the points lie there, no sample does


def test_a_graph_that_is_another_than_the_model_at_few_points_is_refused() -> None:
    inside = X[X.sum(1) < 2.9]
    y = net()(inside).argmax(1)
    sound = measure_certified_accuracy(net(), (inside, y), THREAT, attack="fgsm", exact=True, cache=False)
    assert sound.details["proven"] > 0
    found = measure_certified_accuracy(Jump(net()), (inside, y), THREAT, attack="fgsm", exact=True, cache=False)
    assert found.details["proven"] == 0
    assert "no bound: the graph read from the model does not answer as the model does" in found.words.notes


def test_every_one_of_the_points_is_compared_whatever_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    plain = proving._points

    def spied(evaluator: Any, chunk: Any, start: int, stop: int) -> Tensor:
        seen.append((start, stop))
        return plain(evaluator, chunk, start, stop)

    monkeypatch.setattr(proving, "_points", spied)
    for size in (5, 64, 1000):
        seen.clear()
        assert measured(net(), batch_size=size).details["proven"] > 0
        compared = [place for start, stop in seen[:-1] for place in range(start, stop)]
        assert compared == list(range(64))
        assert max(stop - start for start, stop in seen[:-1]) <= size
        assert seen[-1] == (0, 8)


def test_the_points_are_spread_over_the_bounds_and_differ() -> None:
    from types import SimpleNamespace

    evaluator: Any = SimpleNamespace(device=torch.device("cpu"))
    for low, high in ((0.0, 1.0), (-3.0, 5.0)):
        chunk: Any = SimpleNamespace(x=torch.zeros(1, 7), bounds=(low, high))
        x = proving._points(evaluator, chunk, 0, 64)
        assert x.shape == (64, 7)
        assert len(x.unique(dim=0)) == 64
        assert low <= float(x.min()) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < float(x.max()) <= high
        assert torch.equal(proving._points(evaluator, chunk, 9, 12), x[9:12])


@pytest.mark.parametrize("output", ["dict", "object"])
def test_logits_by_name_are_bounded_as_they_are(output: str) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x: Tensor) -> Any:
            from types import SimpleNamespace

            logits = self.inner(x)
            return {"logits": logits} if output == "dict" else SimpleNamespace(logits=logits)

    assert measured(Named().eval()).details["proven"] == measured(net()).details["proven"] > 0


def test_scores_of_a_function_prove_nothing() -> None:
    model = net()
    scores = scores_model(lambda x: model(torch.from_numpy(x)).numpy())
    draws = RandomDraws(queries=2)
    found = measure_certified_accuracy(scores, (X, Y), THREAT, at_least=0.1, attack=draws, cache=False)
    assert found.details["proven"] == 0


def test_a_refusal_stays() -> None:
    """What was refused once is not confirmed later, and says why."""
    from types import SimpleNamespace

    one = proving.Reading.__new__(proving.Reading)
    one.network, one.why, one._confirmed = None, "", False
    one.refuse("no bound: because")
    evaluator: Any = SimpleNamespace()
    assert one.refused()
    assert not one.confirm(evaluator, evaluator)
    assert one.why == "no bound: because"


def test_what_cannot_be_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> bool:
        raise NoBound("no bound: its graph cannot be run")

    monkeypatch.setattr(proving, "_agrees", refuses)
    found = measured(net())
    assert found.details["proven"] == 0
    assert "no bound: its graph cannot be run" in found.words.notes


def evaluator_and_chunk(n: int) -> tuple[Evaluator, Chunk, Tensor]:
    """A network, n samples with ids from 100 on, and their margins; the last samples have the largest."""
    evaluator = Evaluator(as_classifier(net()), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    x = torch.rand(n, 4, generator=torch.Generator().manual_seed(1))
    logits = evaluator.logits(x)
    ids = 100 + torch.arange(n)
    return evaluator, Chunk(ids, x, logits.argmax(1), rng.keys(0, ids), (0.0, 1.0)), torch.arange(n) / n


def proving_all_but(
    monkeypatch: pytest.MonkeyPatch, *unproven: int, margin: float = 1.0
) -> tuple[list[list[int]], Chunk, Evaluator, Tensor]:
    """Bounds that prove all rows but some; the rows that are asked for, in order."""
    evaluator, chunk, margins = evaluator_and_chunk(50)
    asked: list[list[int]] = []
    where = {tuple(row.tolist()): at for at, row in enumerate(chunk.x)}

    def bounds(network: Any, ball: Any, y: Tensor, classes: int) -> Proof:
        rows = [where[tuple(row.tolist())] for row in ball.x]
        asked.append(rows)
        proven = torch.tensor([row not in unproven for row in rows])
        return Proof(proven=proven, margin=torch.where(proven, margin, -margin))

    monkeypatch.setattr(proving, "prove", bounds)
    return asked, chunk, evaluator, margins


def test_the_clearest_samples_are_bounded_first_and_the_others_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, chunk, evaluator, margins = proving_all_but(monkeypatch, 3, 44)
    held = torch.arange(50) > 2
    with pytest.raises(ModelError, match="Expected no sample both proven and broken but sample 102 is"):
        proving.prove_rows(evaluator, chunk, THREAT, held, margins)
    assert asked[:4] == [[49], list(range(48, 41, -1)), list(range(41, 9, -1)), list(range(9, 2, -1))]
    assert asked[4] == [2, 1, 0], "and those that the attack broke"


def test_four_broken_samples_are_bounded_at_most_and_the_first_that_is_proven_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, chunk, evaluator, margins = proving_all_but(monkeypatch, 49, 48)
    with pytest.raises(ModelError, match="sample 147 is"):
        proving.prove_rows(evaluator, chunk, THREAT, torch.arange(50) < 40, margins)
    assert asked[-1] == [49, 48, 47, 46]
    sound, chunk, evaluator, margins = proving_all_but(monkeypatch, 49, 48, 47, 46)
    found = proving.prove_rows(evaluator, chunk, THREAT, torch.arange(50) < 40, margins)
    assert found.rows.tolist() == [True] * 40 + [False] * 10
    assert sound[-1] == [49, 48, 47, 46]


def test_what_is_proven_is_returned_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    _, chunk, evaluator, margins = proving_all_but(monkeypatch, 0, 7, 20, 49)
    found = proving.prove_rows(evaluator, chunk, THREAT, torch.ones(50, dtype=torch.bool), margins)
    assert [at for at, proven in enumerate(found.rows.tolist()) if not proven] == [0, 7, 20, 49]
    assert found.note == ""
    nothing = proving.prove_rows(evaluator, chunk, THREAT, torch.arange(50) < 1, margins)
    assert not nothing.rows.any()


@pytest.mark.parametrize(("held", "tried"), [(50, 8), (8, 8), (5, 5)])
def test_a_chunk_is_given_up_where_none_of_its_pilot_is_proven(
    held: int, tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, chunk, evaluator, margins = proving_all_but(monkeypatch, *range(50))
    found = proving.prove_rows(evaluator, chunk, THREAT, torch.arange(50) < held, margins)
    assert found.note == f"no bound: given up where none of a chunk's {tried} clearest samples was proven"
    assert [len(rows) for rows in asked] == [1, tried - 1]
    assert not found.rows.any()
    none = proving.prove_rows(evaluator, chunk, THREAT, torch.zeros(50, dtype=torch.bool), margins)
    assert none.note == ""


def test_a_graph_that_raises_or_gives_another_shape_is_not_the_models() -> None:
    evaluator, chunk, _ = evaluator_and_chunk(12)

    def raises(x: Tensor) -> Tensor:
        raise RuntimeError("y" * 200 + "\nsecond line")

    with pytest.raises(NoBound, match=r"cannot be run \(y{120}\)"):
        proving._agrees(raises, evaluator, chunk)  # type: ignore[arg-type]
    model = evaluator.model
    for other in (lambda x: model(x)[:, :2], lambda x: model(x)[:5], lambda x: model(x) + 1e-6):
        assert not proving._agrees(other, evaluator, chunk)  # type: ignore[arg-type]
    assert proving._agrees(model, evaluator, chunk)  # type: ignore[arg-type]


def test_a_task_of_other_outputs_has_no_bound() -> None:
    from robustest import Regression

    evaluator, chunk, margins = evaluator_and_chunk(12)
    evaluator.task = Regression(0.1)
    found = proving.prove_rows(evaluator, chunk, THREAT, torch.ones(12, dtype=torch.bool), margins)
    assert found.note == "no bound: regression is another task than classification"
    assert not found.rows.any()
