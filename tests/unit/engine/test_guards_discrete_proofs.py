"""Guards of proofs under threats by single moves: which samples are bounded, enumerated, and held against bounds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import Columns, ModelError, as_classifier, rng
from robustest.attacks import Enumeration
from robustest.bounds.operations import NoBound
from robustest.data.frames import Frames
from robustest.engine import proving
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.proving import Proven, _both, prove_rows, reading_of
from robustest.threats import Discrete, Within
from robustest.threats.threat import OfInputs, Rows

N = 9
COLUMNS = Columns({0: Within(-0.1, 0.2)}, max_changed=1)


class Points(OfInputs, Discrete):
    """A threat by single moves whose regions hold as many inputs as the first element says."""

    radius = 1.0
    ascent = stride = places = choices = moved = point = start = project = size = None  # type: ignore[assignment]

    def points(self, region: Rows) -> Tensor:
        return region["x"][:, 0].double()


def setting(first: list[float] | None = None, **model: Any) -> tuple[Evaluator, Chunk]:
    x = torch.rand(N, 2, generator=torch.Generator().manual_seed(0))
    if first is not None:
        x[:, 0] = torch.tensor(first)
    evaluator = Evaluator(as_classifier(lambda x: x), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    for name, value in model.items():
        object.__setattr__(evaluator.model, name, value)
    ids = torch.arange(N) + 100
    return evaluator, Chunk(ids, x, torch.zeros(N, dtype=torch.int64), rng.keys(0, ids), (0.0, 1.0))


def rows(*places: int) -> Tensor:
    mask = torch.zeros(N, dtype=torch.bool)
    mask[list(places)] = True
    return mask


# By enumeration


def test_regions_of_few_inputs_are_evaluated_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample 1 was broken by the attack, 3 has an input too many, 5 is of unknown size, and 4 breaks now."""
    most = Enumeration().queries
    evaluator, chunk = setting([1, 2, 3, most + 1, most, float("inf"), 5, 6, 7])
    asked: list[Any] = []

    def search(evaluator: Any, searcher: Any, threat: Any, x: Tensor, y: Tensor, *, key: Tensor, bounds: Any) -> Any:
        asked.append((searcher, x, key))
        return SimpleNamespace(broken=x[:, 0] == most)

    monkeypatch.setattr(proving, "search", search)
    found = prove_rows(evaluator, chunk, Points(), ~rows(1), torch.ones(N))
    assert found.rows.nonzero().squeeze(1).tolist() == [0, 2, 6, 7, 8]
    assert found.note == "no proof for 3 samples: their regions are not finite, or too large"
    ((searcher, x, key),) = asked
    assert searcher == Enumeration()
    tried = [0, 2, 4, 6, 7, 8]
    assert torch.equal(x, chunk.x[tried])
    assert torch.equal(key, rng.fold(chunk.key[tried], "proof"))
    found = prove_rows(evaluator, chunk, Points(), rows(0, 8), torch.ones(N))
    assert (found.rows.nonzero().squeeze(1).tolist(), found.note) == ([0, 8], "")
    asked.clear()
    assert prove_rows(evaluator, chunk, Points(), rows(3), torch.ones(N)).note.startswith("no proof for 1 samples")
    assert asked == []


# By bounds of trees and linear models


@pytest.mark.parametrize("kind", ["estimator", "network", "frames", "moves"])
def test_bounds_come_before_enumeration(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, chunk = setting(estimator=object() if kind == "estimator" else None)
    if kind == "frames":
        object.__setattr__(chunk, "coding", object())
    asked: list[str] = []

    def bounds(name: str) -> Any:
        def bounded(*_: Any) -> Proven:
            asked.append(name)
            return Proven(rows(1, 2), "no bound: of the test")

        return bounded

    def enumerated(evaluator: Any, chunk: Any, threat: Any, held: Tensor) -> Proven:
        asked.append(",".join(map(str, held.nonzero().squeeze(1).tolist())))
        return Proven(rows(3), "no proof" if 8 in held.nonzero() else "")

    monkeypatch.setattr(proving, "_of_columns", bounds("trees"))
    monkeypatch.setattr(proving, "_in_balls", bounds("balls"))
    monkeypatch.setattr(proving, "_enumerated", enumerated)
    threat: Any = Points() if kind == "moves" else COLUMNS
    by = {"estimator": ["trees"], "network": ["balls"]}.get(kind, [])
    left = "3,4,8" if by else "1,2,3,4,8"
    found = prove_rows(evaluator, chunk, threat, rows(1, 2, 3, 4, 8), torch.ones(N))
    assert asked == [*by, left]
    assert found.rows.nonzero().squeeze(1).tolist() == ([1, 2, 3] if by else [3])
    assert found.note == ("no proof; no bound: of the test" if by else "no proof")
    assert prove_rows(evaluator, chunk, threat, rows(1, 2, 3, 4), torch.ones(N)).note == ""


def of_columns(
    monkeypatch: pytest.MonkeyPatch, proven: Any, held: Tensor, **model: Any
) -> tuple[Proven, list[tuple[Tensor, Any]], Chunk]:
    evaluator, chunk = setting(estimator="trees", **model)
    asked: list[tuple[Tensor, Any]] = []

    def prove_columns(estimator: Any, threat: Any, x: Tensor, y: Tensor, *, bounds: Any, frame: Any) -> Tensor:
        assert (estimator, bounds, len(x)) == ("trees", (0.0, 1.0), len(y))
        asked.append((x, frame))
        if isinstance(proven, Exception):
            raise proven
        places = [next(at for at in range(N) if torch.equal(chunk.x[at], row)) for row in x]
        return torch.tensor([at in proven for at in places])

    monkeypatch.setattr(proving, "prove_columns", prove_columns)
    return proving._of_columns(evaluator, chunk, COLUMNS, held), asked, chunk


def test_four_broken_rows_are_bounded_besides_those_that_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    held = rows(1, 3, 8)
    found, ((x, frame),), chunk = of_columns(monkeypatch, (1, 8), held)
    assert torch.equal(x, chunk.x[[0, 1, 2, 3, 4, 5, 8]]), "of the six broken rows the first four"
    assert frame is None
    assert (found.rows.nonzero().squeeze(1).tolist(), found.note) == ([1, 8], "")
    found, ((x, _),), chunk = of_columns(monkeypatch, (), ~rows(2))
    assert torch.equal(x, chunk.x)
    assert not found.rows.any()


@pytest.mark.parametrize("wrong", [0, 5])
def test_a_broken_row_that_is_proven_is_an_error_that_names_it(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=f"sample {100 + wrong} is"):
        of_columns(monkeypatch, (1, wrong), rows(1, 3, 8))
    assert str(_both(7)).startswith("Expected no sample both proven and broken but sample 7 is")


def test_what_has_no_bounds_proves_nothing_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _, _ = of_columns(monkeypatch, NoBound("no bound: of the test"), rows(1, 3))
    assert (bool(found.rows.any()), found.note) == (False, "no bound: of the test")
    found, asked, _ = of_columns(monkeypatch, (1,), rows(1, 3), preprocessing=lambda x: x)
    assert (bool(found.rows.any()), found.note, asked) == (False, "no bound: the model has preprocessing", [])


def test_rows_of_frames_are_read_by_their_coding(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, chunk = setting(estimator="trees")
    coding = Frames.__new__(Frames)
    object.__setattr__(chunk, "coding", coding)
    given: list[Any] = []

    def prove_columns(*_: Any, bounds: Any, frame: Any) -> Tensor:
        given.append(frame)
        return torch.zeros(N, dtype=torch.bool)

    monkeypatch.setattr(proving, "prove_columns", prove_columns)
    proving._of_columns(evaluator, chunk, COLUMNS, ~rows())
    assert given[0] is coding


# The graph of a model with preprocessing


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("kind", ["none", "statistics", "function"])
def test_preprocessing_is_part_of_the_graph(kind: str, images: bool) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12 if images else 3, 2)).eval().requires_grad_(False)
    given: Any = {
        "none": {},
        "statistics": {"preprocessing": ([0.1, 0.2, 0.3], [0.5, 2.0, 4.0])},
        "function": {"preprocessing": lambda x: 2 * x - 1},
    }[kind]
    model = as_classifier(net, **given)
    evaluator = Evaluator(model, torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    x = torch.rand(5, 3, 2, 2) if images else torch.rand(5, 3)
    logits, ids = evaluator.logits(x), torch.arange(5)
    chunk = Chunk(ids, x, logits.argmax(1), rng.keys(0, ids), (0.0, 1.0))
    reading = reading_of(evaluator, chunk)
    assert reading.network is not None
    assert torch.equal(reading.network(x), logits)
    assert reading.confirm(evaluator, chunk)
    assert not reading.refused()
