"""Guards of smaller counterexamples: halving by the number of changes and along the way, and edits put back."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import L0, L1, L2, Linf, Patch, Snr, as_classifier, labels_model, rng
from robustest.attacks import Needs
from robustest.attacks.cascades import MINIMUM
from robustest.engine import shrink as shrinking
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import SearchOutcome
from robustest.engine.shrink import _fewest, pixels_changed, shrink, shrinks, with_fewer_edits


def chunk_of(x: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> Chunk:
    ids = torch.arange(len(x))
    return Chunk(ids, x, torch.zeros_like(ids), rng.keys(0, ids), bounds)


def judging(breaks: Any) -> Any:
    """An evaluator whose answers break by a function of the inputs, and which counts nothing."""
    return SimpleNamespace(
        judge=lambda *given: SimpleNamespace(holds=~breaks(given[0]), predicted=breaks(given[0]) * 1),
        **dict.fromkeys(("calls", "forward", "backward"), 0),
    )


# By the number of changes


def slow_fewest(table: list[bool], most: int, rounds: int) -> int:
    """The changes kept, where so many of the largest break or not."""
    low, high, best = 0, most, most
    for _ in range(rounds):
        middle = (low + high) // 2
        if middle < high and table[middle]:
            best = high = middle
        else:
            low = min(middle + 1, high)
    return best


@pytest.mark.parametrize("shape", [(9,), (1, 3, 3), (2, 3, 3), (4, 5)], ids=str)
def test_the_largest_changes_are_kept_as_a_slow_copy_keeps_them(shape: tuple[int, ...]) -> None:
    """Breaking need not be monotone in their number: any table of it gives the slow copy's number."""
    draw, n = torch.Generator().manual_seed(0), 40
    x = torch.rand(n, *shape, generator=draw)
    change = torch.randn(n, *shape, generator=draw)
    pixels = (change.abs().sum(1) if len(shape) > 1 else change.abs()).flatten(1)
    spared = torch.rand(pixels.shape, generator=draw) < 0.3  # these pixels are as they were
    spared[:, 0] = False
    pixels = torch.where(spared, 0.0, pixels)
    change = torch.where(spared.view(n, 1, *shape[1:]) if len(shape) > 1 else spared, 0.0, change)
    far, most = x + change, (pixels > 0).sum(1).tolist()
    tables = [[bool(torch.rand((), generator=draw) < 0.6) for _ in range(one)] + [True] for one in most]

    def kept(z: Tensor) -> list[int]:
        return pixels_changed(x, z).tolist()

    found = _fewest(
        judging(lambda z: torch.tensor([t[k] for t, k in zip(tables, kept(z), strict=True)])), chunk_of(x), far
    )
    rounds = max(most).bit_length() + 1
    assert kept(found) == [slow_fewest(table, one, rounds) for table, one in zip(tables, most, strict=True)]
    for row, count in enumerate(kept(found)):
        largest = pixels[row].argsort(descending=True)[:count]
        same = (found[row] != x[row]).any(0).flatten() if len(shape) > 1 else found[row] != x[row]
        assert sorted(same.nonzero().squeeze(1).tolist()) == sorted(largest.tolist())


# Edits put back


class Columns:
    """Changed columns; each milder proposal puts one back, and the last one two."""

    def region(self, x: Tensor, bounds: Any) -> dict[str, Tensor]:
        return {"x": x}

    def size(self, z: Tensor, region: dict[str, Tensor]) -> Tensor:
        return (z != region["x"]).sum(1).double()

    def milder(self, z: Tensor, region: dict[str, Tensor]) -> Iterator[Tensor]:
        for columns in ([0], [1], [2], [3], [1, 2]):
            made = z.clone()
            made[:, columns] = region["x"][:, columns]
            yield made


@pytest.mark.parametrize("seed", range(4))
def test_edits_are_put_back_while_the_rest_breaks(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x, broken = torch.zeros(12, 4), torch.ones(12, 4)
    breaking = torch.rand(12, 16, generator=draw) < 0.6
    breaking[:, 15] = breaking[:, 0] = True  # nothing at all breaks too, and is no counterexample
    asked: list[Tensor] = []

    def breaks(z: Tensor) -> Tensor:
        asked.append(z)
        number = (z * torch.tensor([1, 2, 4, 8])).sum(1).long()
        return breaking[torch.arange(12), number]

    found = with_fewer_edits(judging(breaks), Columns(), chunk_of(x), broken)  # type: ignore[arg-type]
    for row, (table, kept) in enumerate(zip(breaking.tolist(), found.x.int().tolist(), strict=True)):
        best, again = [1, 1, 1, 1], True
        while again:
            again, start = False, best
            for columns in ([0], [1], [2], [3], [1, 2]):
                made = [0 if at in columns else one for at, one in enumerate(start)]
                if 0 < sum(made) < sum(best) and table[sum(one << at for at, one in enumerate(made))]:
                    best, again = made, True
        assert kept == best, row
    assert found.size.tolist() == found.x.sum(1).tolist() == found.pixels.tolist()
    assert found.predicted.tolist() == [1] * 12
    assert all(bool((z.sum(1) > 0).all()) for z in asked)


# Along the way


def away(x: Tensor) -> Tensor:
    """Class 0 while the first element is below .5."""
    lead = 0.5 - x.flatten(1)[:, 0]
    return torch.stack([lead, torch.zeros_like(lead)], 1)


def shrunk(
    monkeypatch: pytest.MonkeyPatch,
    threat: Any,
    found: list[tuple[bool, float]],
    *,
    model: Any = away,
    x: Tensor | None = None,
) -> tuple[Any, list[tuple[Any, Any, Tensor]]]:
    """Three samples at .1, broken at .9 in the first element, where each search finds what is given by sample."""
    asked: list[tuple[Any, Any, Tensor]] = []
    x = torch.full((3, 4), 0.1)
    given = x.clone()
    given[:, 0] = 0.9

    def search(
        evaluator: Any, searcher: Any, ball: Any, x: Tensor, y: Tensor, *, key: Tensor, bounds: Any, smallest: bool
    ) -> SearchOutcome:
        assert smallest
        asked.append((searcher, ball, key))
        at = x.clone()
        at[:, 0] = torch.tensor([one for _, one in found])
        size = ball.size(at, ball.region(x, bounds))
        broken = torch.tensor([one for one, _ in found])
        return SearchOutcome(broken, at, size, broken.long(), torch.zeros(3))

    monkeypatch.setattr(shrinking, "search", search)
    evaluator = Evaluator(as_classifier(model), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    evaluator.logits(x)
    return shrink(evaluator, threat, chunk_of(x, (-1.0, 2.0)), given), asked


@pytest.mark.parametrize("threat", [Linf(0.9), L2(0.9), L1(0.9)], ids=str)
def test_the_way_to_what_is_known_is_halved_twelve_times(threat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What searches find counts where it breaks and is smaller; then the way from the sample is halved."""
    found, asked = shrunk(monkeypatch, threat, [(True, 0.6), (False, 0.55), (True, 0.95)])
    ends = [0.6, 0.9, 0.9]
    for x, size, end in zip(found.x.tolist(), found.size.tolist(), ends, strict=True):
        way = end - 0.1
        least = next(part for part in range(1, 2**12 + 1) if 0.1 + way * part / 2**12 > 0.5) / 2**12 * way
        assert x[0] == pytest.approx(0.1 + least, abs=2e-5)
        assert size == pytest.approx(least, abs=2e-5)
        assert x[1:] == pytest.approx([0.1] * 3)
    assert found.predicted.tolist() == [1, 1, 1]
    assert found.pixels.tolist() == [1, 1, 1]
    stages = MINIMUM[type(threat).__name__.lower()].stages
    assert [searcher for searcher, _, _ in asked] == [stage.searcher for stage in stages for _ in range(stage.rounds)]
    assert {ball for _, ball, _ in asked} == {type(threat)(3.0 * 4)}
    assert len({int(key[0]) for _, _, key in asked}) == len(asked)


def test_balls_by_energy_are_searched_without_a_bound_and_counts_are_not_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, asked = shrunk(monkeypatch, Snr(1.0), [(False, 0.9)] * 3)
    assert {ball for _, ball, _ in asked} == {Snr(-80.0)}
    assert len(asked) == sum(stage.rounds for stage in MINIMUM["l2"].stages)
    found, asked = shrunk(monkeypatch, L0(3), [(False, 0.9)] * 3)
    assert asked == []
    assert found.size.tolist() == [1, 1, 1]
    assert float((found.x[:, 0] - 0.5).max()) < 1e-3


def test_a_model_without_gradients_is_searched_with_what_it_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = labels_model(lambda x: (x[:, 0] > 0.5).astype(int), classes=2)
    asked = shrunk(monkeypatch, Linf(0.9), [(False, 0.9)] * 3, model=labels)[1]
    assert all(searcher.needs is Needs.LABELS for searcher, _, _ in asked)


def test_what_does_not_break_when_all_is_judged_is_given_back_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first two samples every input breaks on the way, and that which is left does not at its end."""
    monkeypatch.setattr(shrinking, "_breaks", lambda *_: torch.tensor([True, True, False]))
    found, _ = shrunk(monkeypatch, L2(2.0), [(True, 0.6), (False, 0.2), (True, 0.7)])
    assert found.x[:, 0].tolist() == pytest.approx([0.9, 0.9, 0.7])
    assert found.size.tolist() == pytest.approx([0.8, 0.8, 0.6])
    assert found.predicted.tolist() == [1, 1, 1]
    assert found.pixels.tolist() == [1, 1, 1]


def test_norm_balls_are_made_smaller() -> None:
    assert [shrinks(one) for one in (L0(1), L1(1.0), L2(1.0), Linf(1.0), Snr(20.0), Patch(1, 1))] == [True] * 5 + [
        False
    ]


@pytest.mark.parametrize("threat", [L2(0.6), L1(0.9), L0(2)], ids=str)
def test_one_sample_alone_is_shrunk_to_the_boundary(threat: Any) -> None:
    """Class 0 lies below .5 in the first element; the second is not read."""

    def model(x: Tensor) -> Tensor:
        away = 0.5 - x[:, 0]
        return torch.stack([away, torch.zeros_like(away)], 1)

    evaluator = Evaluator(as_classifier(model), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    chunk = chunk_of(torch.tensor([[0.2, 0.25]]))
    evaluator.logits(chunk.x)
    found = shrink(evaluator, threat, chunk, torch.tensor([[0.75, 0.5]]))
    assert found.predicted.tolist() == [1]
    assert found.pixels.tolist() == [1]
    assert found.x.tolist() == [[pytest.approx(0.5, abs=1e-3), 0.25]]
    assert found.size.tolist() == [1.0 if isinstance(threat, L0) else pytest.approx(0.3, abs=1e-3)]
