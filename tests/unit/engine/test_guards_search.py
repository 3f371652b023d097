"""Guards of one search: what is kept, ended and counted, beside a slow copy that takes one sample after the other."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import Linf, as_classifier, devices, rng
from robustest.attacks import EOT, FGSM, PGD, Evaluation, Needs, Problem
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import SearchOutcome, _parts_of, search

CPU = torch.device("cpu")
STEPS = 6
FEW = torch.tensor([0.05, 0.30, 0.12, 0.22, 0.45, 0.18, 0.26, 0.41, 0.09])
DISTANCES = torch.cat([FEW, FEW + 0.01])


def line(x: Tensor) -> Tensor:
    """Class 0 below .5 in the first element; the second is not read."""
    away = 0.5 - x[:, 0]
    return torch.stack([away, torch.zeros_like(away)], 1)


@dataclass(frozen=True)
class Drawn:
    """Moves the first element by a draw for each step and lane; samples near the boundary get fewer steps."""

    name = "drawn"
    steps = STEPS
    queries = 10
    at_once: int = 0
    confined: bool = True
    needs: Needs = Needs.SCORES
    uneven: bool = False

    def moves(self, key: Tensor) -> Tensor:
        return rng.uniform(key, (STEPS + 1, max(1, self.at_once)), -0.3, 0.55)

    def init(self, problem: Problem, key: Tensor) -> dict[str, Tensor]:
        return {"t": torch.zeros(len(key), dtype=torch.int64), "moves": self.moves(key)}

    def ask(self, problem: Problem, state: dict[str, Tensor]) -> Tensor:
        by = state["moves"][torch.arange(len(state["t"])), state["t"]]
        moved = problem.x.unsqueeze(1) + torch.stack([by, torch.zeros_like(by)], 2)
        return moved if self.at_once else moved.squeeze(1)

    def objective(self, problem: Problem, state: dict[str, Tensor], logits: Tensor) -> Tensor:
        return logits[:, 1] - logits[:, 0]

    def tell(self, problem: Problem, state: dict[str, Tensor], evaluation: Evaluation) -> dict[str, Tensor]:
        assert evaluation.z.shape == ((len(problem.y), self.at_once, 2) if self.at_once else problem.x.shape)
        return {**state, "t": state["t"] + 1}

    @property
    def rounds(self) -> Any:
        if not self.uneven:
            raise AttributeError
        return lambda problem: self.own(0.5 - problem.x[:, 0])

    def own(self, distance: Tensor) -> Tensor:
        return torch.where(distance < 0.2, STEPS - 3, STEPS)


def chunk_of(distances: Tensor = FEW) -> Chunk:
    x, ids = torch.stack([0.5 - distances, torch.full_like(distances, 0.25)], 1), torch.arange(len(distances))
    return Chunk(ids, x, torch.zeros_like(ids), rng.keys(0, ids), (0.0, 1.0))


def evaluator_of(batch_size: int | None = None, model: Any = line, **options: Any) -> Evaluator:
    made = Evaluator(as_classifier(model), CPU, batch_size=batch_size, **{"suppress": (), "notes": [], **options})
    made.classes = 2
    return made


def slow(searcher: Drawn, eps: float, *, smallest: bool, attempts: bool) -> list[tuple[bool, float, float]]:
    """By sample: broken, size of the input kept, and smallest margin on the way."""
    found, every = [], searcher.moves(chunk_of(DISTANCES).key).double()
    steps = searcher.own(DISTANCES).tolist() if searcher.uneven else [STEPS] * len(DISTANCES)
    for distance, moves, last in zip(DISTANCES.double().tolist(), every, steps, strict=True):
        kept, best, least, broken = 0.0, float("inf"), float("inf"), False
        for lanes in moves[: last + 1].tolist():
            inside = [min(max(move, distance - 0.5), distance + 0.5) for move in lanes]
            if searcher.confined:
                inside = [min(max(move, -eps), eps) for move in inside]
            if searcher.confined and not smallest:
                inside = [max(inside)]  # the smallest margin
            for move in inside:
                margin = distance - move if abs(move) <= eps * (1 + 1e-6) else float("inf")
                if attempts and margin < least and not broken:
                    kept = abs(move)
                least = min(least, margin)
                if margin < 0 and smallest and abs(move) < best:
                    kept = best = abs(move)
                    broken = True
                elif margin < 0 and not smallest:
                    kept, broken = abs(move), True
                    break
            if broken and not smallest:
                break
        found.append((broken, kept, least))
    return found


def like(outcome: SearchOutcome, expected: list[tuple[bool, float, float]]) -> None:
    assert outcome.broken.tolist() == [one[0] for one in expected]
    assert outcome.size.tolist() == pytest.approx([one[1] for one in expected], abs=1e-6)
    assert outcome.margin.tolist() == pytest.approx([one[2] for one in expected], abs=1e-6)
    assert outcome.predicted.tolist() == [int(one[0]) for one in expected]


@pytest.mark.parametrize("far", [False, True], ids=["host", "device"])
@pytest.mark.parametrize(
    "searcher",
    [
        Drawn(),
        Drawn(at_once=1),
        Drawn(at_once=3),
        Drawn(confined=False),
        Drawn(at_once=3, confined=False),
        Drawn(uneven=True),
        Drawn(at_once=2, uneven=True),
        Drawn(needs=Needs.GRADIENT),
        Drawn(needs=Needs.GRADIENT, confined=False),
    ],
    ids=str,
)
def test_a_search_keeps_what_a_slow_copy_keeps(searcher: Drawn, far: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if far:
        monkeypatch.setattr(devices, "on_host", lambda _: False)
    for (smallest, attempts), batch_size in itertools.product(
        [(False, False), (True, False), (False, True), (True, True)], [3, 10]
    ):
        evaluator, chunk = evaluator_of(batch_size), chunk_of(DISTANCES)
        outcome = search(
            evaluator, searcher, Linf(0.28), chunk.x, chunk.y, key=chunk.key, bounds=(0.0, 1.0),
            smallest=smallest, attempts=attempts,
        )  # fmt: skip
        evaluator.require_finite()
        expected = slow(searcher, 0.28, smallest=smallest, attempts=attempts)
        like(outcome, expected)
        assert 4 < sum(one[0] for one in expected) < 18
        assert evaluator.health.counts("unconfirmed_success") == (0, sum(one[0] for one in expected))


def test_broken_rows_make_room_and_the_others_take_all_their_steps() -> None:
    """With one row a batch every sample is passed by itself, until it breaks."""
    evaluator, chunk = evaluator_of(1), chunk_of()
    search(evaluator, Drawn(), Linf(0.28), chunk.x, chunk.y, key=chunk.key, bounds=(0.0, 1.0))
    moves = Drawn().moves(chunk.key)[:, :, 0]
    count = 0
    for distance, row in zip(FEW.tolist(), moves.tolist(), strict=True):
        hits = [at for at, move in enumerate(row) if min(move, 0.28) > distance]
        count += hits[0] + 2 if hits else STEPS + 1  # what is found is predicted once more
    assert evaluator.forward == count


@pytest.mark.parametrize("far", [False, True], ids=["host", "device"])
@pytest.mark.parametrize("batch_size", [2, 64])
def test_gradients_that_are_zero_at_the_start_are_counted_by_sample(
    batch_size: int, far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of nine samples four have no gradient, until they have moved."""
    chunk = chunk_of()
    start = chunk.x[:, 0].clone()

    def model(x: Tensor) -> Tensor:
        flat = ((x[:, :1].detach() - start).abs() < 1e-6)[:, ::2].any(1)
        away = 0.5 - torch.where(flat, x[:, 0].detach(), x[:, 0])
        return torch.stack([away, torch.zeros_like(away)], 1)

    if far:
        monkeypatch.setattr(devices, "on_host", lambda _: False)
    for probe in (False, True):
        evaluator = evaluator_of(batch_size, model)
        steps = PGD(steps=3, step_size=0.001, random_start=False)
        outcome = search(
            evaluator, steps, Linf(0.01), chunk.x, chunk.y, key=chunk.key, bounds=(0.0, 1.0), probe=probe, followed=4
        )
        evaluator.require_finite()
        assert evaluator.health.counts("zero_gradient") == ((0, 0) if probe else (5, 9))
        assert outcome.alive is not None
        assert outcome.alive.tolist() == [[row % 2 == 1, False] for row in range(4)]


def test_rows_that_follow_no_gradient_have_no_elements() -> None:
    chunk = chunk_of()
    how: dict[str, Any] = {"key": chunk.key, "bounds": (0.0, 1.0)}
    assert search(evaluator_of(), Drawn(), Linf(0.1), chunk.x, chunk.y, followed=4, **how).alive is None
    assert search(evaluator_of(), FGSM(), Linf(0.1), chunk.x, chunk.y, **how).alive is None
    alive = search(evaluator_of(), FGSM(), Linf(0.1), chunk.x, chunk.y, followed=9, **how).alive
    assert alive is not None
    assert alive.tolist() == [[True, False]] * 9


@pytest.mark.parametrize(("probe", "reduced"), [(False, False), (True, False), (False, True)])
def test_successes_that_a_second_look_does_not_confirm_are_no_successes(probe: bool, reduced: bool) -> None:
    """Where a gradient is asked for the model is wrong within .2 of the border; five samples come so near."""

    def model(x: Tensor) -> Tensor:
        away = 0.5 - x[:, 0] - 0.2 * x.requires_grad
        return torch.stack([away, torch.zeros_like(away)], 1).float()

    evaluator, chunk = evaluator_of(model=model), chunk_of()
    with evaluator.low(reduced):
        outcome = search(
            evaluator, PGD(steps=2, step_size=0.03, random_start=False), Linf(0.1), chunk.x, chunk.y,
            key=chunk.key, bounds=(0.0, 1.0), probe=probe,
        )  # fmt: skip
    assert not outcome.broken.any()
    assert outcome.predicted.tolist() == [0] * 9
    ended = int((FEW < 0.2 + 0.03).sum())
    assert evaluator.health.counts("unconfirmed_success") == ((0, 0) if probe or reduced else (ended, ended))


@pytest.mark.parametrize("wrong", [0.2, 0.49, 0.51, 0.9])
def test_a_success_over_draws_is_one_of_most_fresh_draws(wrong: float) -> None:
    """The model is wrong in so many of each hundred passes, whatever the input is."""
    count = iter(range(100_000))

    def model(x: Tensor) -> Tensor:
        turned = -1.0 if next(count) * 37 % 100 < 100 * wrong else 1.0
        lead = turned * (1 + 0 * x[:, 0])
        return torch.stack([lead, torch.zeros_like(lead)], 1)

    evaluator, chunk = evaluator_of(model=model, suppress=("random_forward",)), chunk_of()
    searcher = EOT(PGD(steps=1, step_size=0.02, random_start=False), draws=100)
    outcome = search(evaluator, searcher, Linf(0.1), chunk.x, chunk.y, key=chunk.key, bounds=(0.0, 1.0))
    assert outcome.broken.tolist() == [wrong > 0.5] * 9
    assert outcome.predicted.tolist() == [int(wrong > 0.5)] * 9
    assert evaluator.health.counts("unconfirmed_success") == (0, 0)
    # A start and a step with gradients, the last look, and the judge's draws.
    assert (evaluator.backward, evaluator.forward) == (9 * 100, 9 * 300)


@pytest.mark.parametrize(("last", "broken"), [((True, True), True), ((True, False), False), ((False, False), False)])
def test_of_two_draws_both_have_to_be_wrong(last: tuple[bool, bool], broken: bool) -> None:
    """All draws before the last two are wrong."""
    turned = iter([True] * 4 + [*last])

    def model(x: Tensor) -> Tensor:
        lead = (-1.0 if next(turned) else 1.0) + 0 * x[:, 0]
        return torch.stack([lead, torch.zeros_like(lead)], 1)

    evaluator, chunk = evaluator_of(model=model, suppress=("random_forward",)), chunk_of()
    searcher = EOT(PGD(steps=1, step_size=0.02, random_start=False), draws=2)
    outcome = search(evaluator, searcher, Linf(0.1), chunk.x, chunk.y, key=chunk.key, bounds=(0.0, 1.0))
    assert outcome.broken.tolist() == [broken] * 9
    assert (evaluator.backward, evaluator.forward) == (9 * 2, 9 * 6)
    assert outcome.margin.tolist() == [-1.0] * 9


def test_the_searcher_cannot_move_what_is_judged() -> None:
    class Moves(Drawn):
        def init(self, problem: Problem, key: Tensor) -> dict[str, Tensor]:
            problem.y.fill_(1)
            for value in problem.region.values():
                value.add_(1.0)
            return super().init(problem, key)

    evaluator, chunk = evaluator_of(), chunk_of()
    outcome = search(evaluator, Moves(), Linf(0.01), chunk.x, chunk.y, key=chunk.key, bounds=(0.0, 1.0))
    assert not outcome.broken.any()
    assert torch.equal(chunk.x, chunk_of().x)
    assert float(outcome.size.max()) <= 0.01


@pytest.mark.parametrize("lanes", [2, 3, 7])
def test_a_sample_whose_proposals_fill_more_than_a_batch_is_searched_all_the_same(
    lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk, found = chunk_of(), []
    for light, size in ((None, None), (1, 1), (1, 2)):
        with monkeypatch.context() as patched:
            if light is not None:
                patched.setattr("robustest.engine.search._LIGHT", light)
            found.append(
                search(
                    evaluator_of(size), Drawn(at_once=lanes), Linf(0.5), chunk.x, chunk.y, key=chunk.key,
                    bounds=chunk.bounds,
                )
            )  # fmt: skip
    whole, *others = found
    assert bool(whole.broken.any())
    for other in others:
        assert torch.equal(other.broken, whole.broken)
        assert torch.equal(other.x, whole.x)


def test_each_part_of_a_batch_is_rendered_and_judged_with_its_own_rows() -> None:
    """A part is half of the samples where a batch of all is too large for the device."""
    x, y, state = torch.arange(4.0), torch.tensor([3, 1, 2, 0]), torch.tensor([10.0, 20.0, 30.0, 40.0])
    threat: Any = SimpleNamespace(render=lambda z, region: 100 * region["x"] + z)
    searcher: Any = SimpleNamespace(objective=lambda of, rows, logits: 100 * of.y + 10 * of.x + rows["by"] + logits)
    problem = Problem(threat, {"x": x}, y, 4, (0.0, 1.0))
    render, objective = _parts_of(searcher, threat, problem, {"by": state}, 4)
    point, logits = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.1, 0.2, 0.3, 0.4])
    for part in (slice(0, 4), slice(0, 2), slice(2, 4), slice(3, 4)):
        assert torch.equal(render(point[part], part), (100 * x + point)[part])
        assert torch.equal(objective(logits[part], part), (100 * y + 10 * x + state + logits)[part])
