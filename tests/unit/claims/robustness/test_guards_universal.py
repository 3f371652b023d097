"""One perturbation for all: its steps beside slow code, its starts, and the selection among them."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest import L2, Linf, Regression, as_classifier, rng
from robustest.claims.robustness import universal
from robustest.claims.robustness.universal import Perturbing, _climb, _lost, learn, perturb_chunk
from robustest.data import as_samples
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator

Floats = NDArray[np.float64]
BOUNDS = (-0.25, 1.0)
SPAN = 1.25
WEIGHT = torch.tensor([[1.0, -2.0, 0.5, 0.0], [-1.5, 1.0, 2.0, 0.0], [0.5, 0.75, -3.0, 0.0]])
BIAS = torch.tensor([0.1, -0.2, 0.3])
"""Three classes of four elements, of which the last one is not read."""


def linear(weight: Tensor = WEIGHT, bias: Tensor = BIAS) -> nn.Module:
    net = nn.Linear(weight.shape[1], weight.shape[0])
    net.weight.data, net.bias.data = weight, bias
    return net


def evaluator_of(model: nn.Module) -> Evaluator:
    return Evaluator(as_classifier(model), torch.device("cpu"), batch_size=None, suppress=(), notes=[], examples=3)


def chunk(n: int, seed: int = 0, size: int = 4) -> Chunk:
    ids = torch.arange(n)
    x = torch.rand(n, size, generator=torch.Generator().manual_seed(seed))
    return Chunk(ids, x, torch.zeros(n, dtype=torch.int64), rng.keys(seed, ids), BOUNDS)


@pytest.fixture
def gradients_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the starts that need no gradient, so that those by gradients are counted alone."""
    monkeypatch.setattr(universal, "_without_gradients", lambda *_: [])


def test_starts_without_gradients_are_the_best_of_many() -> None:
    """A model that reads the mean alone is fooled by moving all elements, and not by most other moves."""
    few = chunk(50)
    model = linear(torch.tensor([[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]]), torch.tensor([-2.0, 2.0]))
    evaluator, threat = evaluator_of(model), Linf(0.2)
    answers = evaluator.task.predictions(evaluator.logits(few.x))
    starts = universal._without_gradients(evaluator, few, answers, threat)
    assert len(starts) == 5
    region = threat.region(few.x, few.bounds)
    fooled = [
        float((evaluator.logits(threat.project(few.x + one, region)).argmax(1) != answers).double().mean())
        for one in starts
    ]
    assert fooled == sorted(fooled, reverse=True)
    assert starts[0].abs().amax() <= 0.2 + 1e-6
    assert abs(float(starts[0].sum())) == pytest.approx(0.8)


def slow_climb(
    batches: list[Chunk], threat: Any, delta: Floats, *, share: float, target: int | None
) -> tuple[Floats, NDArray[np.bool_]]:
    """The text's steps, a sample at a time, in float64."""
    weight, bias, steps = WEIGHT.double().numpy(), BIAS.double().numpy(), len(batches)
    pace, alive, size = np.zeros(4), np.zeros(4, dtype=bool), 2 * SPAN * math.sqrt(4)
    across = min(threat.eps, 2 * SPAN) if isinstance(threat, Linf) else min(threat.eps, size)

    def unit(v: Floats) -> Floats:
        return np.sign(v) if isinstance(threat, Linf) else v / max(float(np.linalg.norm(v)), 1e-30)

    for step, batch in enumerate(batches):
        leads, answers = [], []
        for x in batch.x.double().numpy():
            logits = weight @ x + bias
            answers.append(int(logits.argmax()))
            leads.append(np.sort(logits)[-1] - np.sort(logits)[-2])
        done = step / (steps - 1) if steps > 1 else 0.0
        width = sorted(leads)[(len(leads) - 1) // 2] * (1.0 - 0.7 * done)
        signs = rng.signs(rng.fold(batch.key, f"universal {step}"), (4,)).double().numpy()
        gradient = np.zeros(4)
        for x, y, sign in zip(batch.x.double().numpy(), answers, signs, strict=True):
            logits = weight @ np.clip(x + delta + (1 - done) * across * unit(sign), *BOUNDS) + bias
            others = [k for k in range(3) if k != y] if target is None else [target]
            other = max(others, key=lambda k: logits[k])
            soft = 1 / (1 + np.exp(-(logits[other] - logits[y]) / width))
            each = soft * (1 - soft) / width * (weight[other] - weight[y])
            alive |= each != 0
            gradient += each / len(answers)
        pace = 0.9 * pace + gradient / np.abs(gradient).mean()
        length = max(share, 1 / steps) * (1 + math.cos(math.pi * step / steps)) * across
        delta = delta + length * unit(pace)
        if isinstance(threat, L2):
            delta = delta * min(1.0, threat.eps / float(np.linalg.norm(delta)))
        most = min(SPAN, threat.eps) if isinstance(threat, Linf) else SPAN
        delta = np.clip(delta, -most, most)
    return delta, alive


@pytest.mark.parametrize("threat", [Linf(0.2), L2(0.3), L2(3.0), Linf(1.5)], ids=str)
@pytest.mark.parametrize(
    ("steps", "share", "target"), [(1, 0.25, None), (2, 0.1, 1), (2, 0.1, None), (7, 0.1, None), (7, 0.25, 2)]
)
def test_steps_are_those_of_the_text(threat: Any, steps: int, share: float, target: int | None) -> None:
    batches = [chunk(9, seed) for seed in range(steps)]
    start = torch.tensor([[0.05, -0.02, 0.0, 0.01]])
    alive = torch.zeros(1, 4, dtype=torch.bool)
    found = _climb(
        evaluator_of(linear()), iter(batches), threat, start, steps=steps, share=share, target=target, alive=alive
    )
    expected, reached = slow_climb(batches, threat, start[0].double().numpy(), share=share, target=target)
    assert found[0].tolist() == pytest.approx(expected.tolist(), abs=2e-3)
    assert alive.tolist() == [reached.tolist()]
    assert reached.tolist() == [True, True, True, False]


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.2)], ids=str)
@pytest.mark.parametrize("steps", [1, 2, 6])
def test_numbers_are_led_away_in_tolerances(threat: Any, steps: int) -> None:
    """An error is zero at the clean answer: the soft step is as wide as the margin there, one tolerance."""
    weight, tolerance, share = np.array([1.0, -2.0, 0.5, 0.0]), 0.5, 0.25
    net = linear(torch.tensor([weight.tolist()]).float(), torch.tensor([0.1]))
    evaluator = Evaluator(
        as_classifier(net), torch.device("cpu"), batch_size=None, suppress=(), notes=[], task=Regression(tolerance)
    )
    batches = [chunk(9, seed) for seed in range(steps)]
    alive = torch.zeros(1, 4, dtype=torch.bool)
    found = _climb(evaluator, iter(batches), threat, torch.zeros(1, 4), steps=steps, share=share, alive=alive)

    def unit(v: Floats) -> Floats:
        return np.sign(v) if isinstance(threat, Linf) else v / max(float(np.linalg.norm(v)), 1e-30)

    delta, pace = np.zeros(4), np.zeros(4)
    for step, batch in enumerate(batches):
        done = step / (steps - 1) if steps > 1 else 0.0
        width = 1.0 - 0.7 * done
        signs = rng.signs(rng.fold(batch.key, f"universal {step}"), (4,)).double().numpy()
        gradient = np.zeros(4)
        for x, sign in zip(batch.x.double().numpy(), signs, strict=True):
            change = weight @ (np.clip(x + delta + (1 - done) * threat.eps * unit(sign), *BOUNDS) - x) / tolerance
            soft = 1 / (1 + math.exp(-abs(change) / width))
            gradient += soft * (1 - soft) / width * math.copysign(1, change) * weight / tolerance
        gradient /= len(batch.x)
        pace = 0.9 * pace + gradient / np.abs(gradient).mean()
        delta = delta + max(share, 1 / steps) * (1 + math.cos(math.pi * step / steps)) * threat.eps * unit(pace)
        if isinstance(threat, L2):
            delta = delta * min(1.0, threat.eps / float(np.linalg.norm(delta)))
        else:
            delta = np.clip(delta, -threat.eps, threat.eps)
    assert found[0].tolist() == pytest.approx(delta.tolist(), abs=2e-3)
    assert alive.tolist() == [[True, True, True, False]]


def test_without_a_gradient_a_perturbation_stays_where_it_is() -> None:
    start, alive = torch.tensor([[0.05, -0.02, 0.0, 0.01]]), torch.zeros(1, 4, dtype=torch.bool)
    flat = evaluator_of(linear(torch.zeros(3, 4)))
    found = _climb(flat, iter([chunk(5)] * 3), L2(0.3), start, steps=3, share=0.1, alive=alive)
    assert torch.equal(found, start)
    assert not alive.any()


def test_a_lead_is_over_the_answer_and_of_any_other_or_of_one() -> None:
    logits, y = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 5.0]]), torch.tensor([0, 1])
    task: Any = SimpleNamespace(one_class=True)
    assert _lost(task, logits, y, None).tolist() == [-1.0, 4.0]
    assert _lost(task, logits, y, 1).tolist() == [-2.0, 0.0]
    other: Any = SimpleNamespace(one_class=False, losses={"margin": lambda output, y: output[:, 0] + y})
    assert _lost(other, logits, y, None).tolist() == [3.0, 1.0]


# Starts and their selection

CROSSED = [[0.5 - 0.04 * place - 0.02] for place in range(10)]
"""Samples of the lower class, of which the k-th nearest needs .04 k + .02."""


def learned(
    monkeypatch: pytest.MonkeyPatch, results: list[float], steps: int, classes: int = 2, eps: float = 0.3
) -> tuple[float, list[tuple[Any, ...]], list[Any]]:
    """Each climb returns the next of these results, then the last: the perturbation, the climbs, what was unreached."""
    weight, bias = torch.zeros(classes, 1), -2.0 - torch.arange(float(classes))
    weight[0], weight[1], bias[0], bias[1] = -1.0, 1.0, 0.5, -0.5
    evaluator, climbs, unreached, left = evaluator_of(linear(weight, bias)), [], list[Any](), iter(results)
    few = Chunk(torch.arange(10), torch.tensor(CROSSED), torch.ones(10).long(), rng.keys(0, torch.arange(10)), BOUNDS)

    def climb(_: Any, batches: int, threat: Any, delta: Tensor, *, alive: Tensor, **given: Any) -> Tensor:
        climbs.append((batches, float(delta), given["steps"], given["share"], given.get("target")))
        alive |= True
        return torch.full((1, 1), next(left, results[-1]))

    monkeypatch.setattr(universal, "_climb", climb)
    monkeypatch.setattr(universal, "count_unreached", lambda *given: unreached.append(given[1:]))
    found = learn(evaluator, lambda number: number, few, Linf(eps), steps)  # type: ignore[arg-type, return-value]
    return float(found), climbs, unreached


@pytest.mark.usefixtures("gradients_alone")
@pytest.mark.parametrize(("steps", "short", "own"), [(203, 20, [53, 50, 50, 50]), (3, 1, [3]), (4, 1, [1] * 4)])
def test_starts_are_climbed_shortly_and_four_share_the_steps(
    steps: int, short: int, own: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, climbs, _ = learned(monkeypatch, [0.0], steps)
    starts, refined = climbs[:13], climbs[13:]
    assert [one[0] for one in starts] == [one[2] for one in starts] == [short] * 13
    assert {one[3] for one in starts} == {0.25}
    assert (starts[0][1], starts[0][4]) == (0.0, None)
    assert {round(abs(one[1]), 6) for one in starts[1:11]} == {0.3}
    assert len({one[1] for one in starts[1:11]}) == 2
    assert [one[4] for one in starts] == [None] + [0, 1] * 6
    assert [one[1] for one in starts[11:]] == [0.0, 0.0]
    assert [one[0] for one in refined] == [one[2] for one in refined] == own
    assert {(one[3], one[4]) for one in refined} == {(0.1, None)}


@pytest.mark.usefixtures("gradients_alone")
def test_starts_go_towards_the_ten_likeliest_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    _, climbs, _ = learned(monkeypatch, [0.0], 3, classes=14)
    assert [one[4] for one in climbs[1:11]] == [one[4] for one in climbs[11:-1]] == list(range(10))


@pytest.mark.usefixtures("gradients_alone")
def test_where_an_answer_is_no_class_no_start_goes_towards_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The k-th sample is fooled where its answer moves by more than .1, as it does from a change of .1 on."""
    climbs: list[tuple[Any, ...]] = []

    def climb(_: Any, batches: int, threat: Any, delta: Tensor, *, alive: Tensor, **given: Any) -> Tensor:
        climbs.append((float(delta), given.get("target")))
        return torch.full((1, 1), 0.02 * len(climbs))

    monkeypatch.setattr(universal, "_climb", climb)
    monkeypatch.setattr(universal, "count_unreached", lambda *_: None)
    evaluator = Evaluator(
        as_classifier(linear(torch.ones(1, 1), torch.zeros(1))), torch.device("cpu"), batch_size=None, suppress=(),
        notes=[], task=Regression(0.1),
    )  # fmt: skip
    few = Chunk(torch.arange(10), torch.tensor(CROSSED), torch.ones(10, 1), rng.keys(0, torch.arange(10)), BOUNDS)
    found = learn(evaluator, lambda number: number, few, Linf(0.3), 8)  # type: ignore[arg-type, return-value]
    assert len(climbs) == 11 + 4
    assert {target for _, target in climbs} == {None}
    assert {round(abs(delta), 6) for delta, _ in climbs[1:11]} == {0.3}
    assert [delta for delta, _ in climbs[11:]] == pytest.approx([0.12, 0.14, 0.16, 0.18])
    assert float(found) == pytest.approx(0.12), "of equals the first"


@pytest.mark.usefixtures("gradients_alone")
def test_the_best_four_are_refined_and_the_best_of_all_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = [0.0, 0.03, 0.3, 0.11, 0.07, 0.19, 0.0, 0.23, *[0.0] * 5]
    found, climbs, unreached = learned(monkeypatch, [*starts, 0.1, 0.24, 0.1, 0.1], 8)
    assert [one[1] for one in climbs[13:]] == pytest.approx([0.3, 0.23, 0.19, 0.11])
    assert found == pytest.approx(0.3)
    # Beyond the ball a result counts as what it is inside it: .9 fools no more than .3, and of equals the first counts.
    assert learned(monkeypatch, [*starts, 0.9, 0.24, 0.1, 0.1], 8)[0] == pytest.approx(0.3)
    assert learned(monkeypatch, [*[0.0] * 13, 0.1, 0.24, 0.1, 0.1], 8)[0] == pytest.approx(0.24)
    # Samples that it does not fool, with the model's own answers, and what was climbed from.
    ((part, threat, alive),) = unreached
    assert part.ids.tolist() == [8 - 1, 8, 9]
    assert part.y.tolist() == [0, 0, 0]
    assert (threat, alive.tolist()) == (Linf(0.3), [[True]] * 3)


@pytest.mark.usefixtures("gradients_alone")
def test_where_all_are_fooled_nothing_is_left_to_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _, unreached = learned(monkeypatch, [0.45], 8, eps=0.5)
    assert found == pytest.approx(0.45)
    assert not unreached


# The half learned from, and the half measured


def test_laps_show_every_sample_once_in_another_order_and_the_same_ones_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = torch.arange(200.0).view(200, 1) / 200
    samples = as_samples((x, torch.zeros(200, dtype=torch.int64)))
    searched, unseen = torch.arange(100), torch.arange(199, 99, -1)
    halves: Any = SimpleNamespace(samples=samples, searched=searched, unseen=unseen)
    seen: dict[str, Any] = {}

    def learn_nothing(_: Any, batches: Any, few: Chunk, threat: Any, steps: int) -> Tensor:
        seen.update(few=few, steps=steps, laps=list(batches(5)), again=list(batches(5)), one=list(batches(1)))
        assert list(batches(0)) == []
        return torch.zeros(1, 1)

    monkeypatch.setattr(universal, "learn", learn_nothing)
    look = Perturbing(halves=halves, threat=Linf(0.1), iterations=17, settings=SimpleNamespace(seed=4))  # type: ignore[arg-type]
    part = Chunk(torch.tensor([0, 3]), x[unseen[[0, 3]]], torch.zeros(2).long(), rng.keys(4, searched[:2]), BOUNDS)
    evaluator = evaluator_of(linear(torch.tensor([[1.0], [-1.0]]), torch.zeros(2)))
    found = look(evaluator, part)
    assert seen["steps"] == 17
    assert seen["few"].ids.tolist() == searched.tolist()
    laps = [one.ids.tolist() for one in seen["laps"]]
    assert [len(one) for one in laps] == [64, 36, 64, 36, 64]
    assert sorted(laps[0] + laps[1]) == sorted(laps[2] + laps[3]) == searched.tolist()
    assert laps[0] != laps[2] != laps[4]
    for lap in range(3):
        key = rng.fold(rng.fold(rng.keys(4, searched), "universal"), lap)
        assert laps[2 * lap] == searched[key.argsort(stable=True)][:64].tolist()
    assert [one.ids.tolist() for one in seen["again"]] == laps
    assert [one.ids.tolist() for one in seen["one"]] == laps[:1]
    assert found.columns["held"].tolist() == [True, True]
    assert len(look.learned) == 1
    look(evaluator, part)
    assert len(look.learned) == 1, "it is learned once"


@pytest.mark.parametrize("n", [511, 512, 513, 600])
def test_perturbations_are_compared_on_some_hundred_samples(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = as_samples((torch.zeros(n, 1), torch.zeros(n, dtype=torch.int64)))
    halves: Any = SimpleNamespace(samples=samples, searched=torch.arange(n), unseen=torch.arange(n))
    seen = list[int]()

    def learn_nothing(_: Any, __: Any, few: Chunk, *more: Any) -> Tensor:
        seen.append(len(few.y))
        return torch.zeros(1, 1)

    monkeypatch.setattr(universal, "learn", learn_nothing)
    look = Perturbing(halves=halves, threat=Linf(0.1), iterations=1, settings=SimpleNamespace(seed=0))  # type: ignore[arg-type]
    look(evaluator_of(linear(torch.tensor([[1.0], [-1.0]]), torch.zeros(2))), chunk(2, size=1))
    assert seen == [min(n, 512)]


def test_a_chunk_is_judged_by_the_clean_answers_and_shown_by_how_far_it_is_fooled() -> None:
    x = torch.tensor([[0.45], [0.1], [0.6], [0.98], [0.4]])
    part = replace(chunk(5, size=1), x=x, y=torch.tensor([0, 0, 0, 1, 1]), ids=torch.tensor([7, 5, 3, 9, 8]))
    evaluator = evaluator_of(linear(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.5, -0.5])))
    found = perturb_chunk(evaluator, part, Linf(0.2), torch.tensor([[0.2]]))
    assert found.columns["held"].tolist() == [False, True, True, True, False]
    assert found.columns["clean"].tolist() == [True, True, False, True, False]
    assert found.columns["right"].tolist() == [False, True, False, True, True]
    shown = {one.index: one for one in found.exhibits}
    assert sorted(shown) == [7, 8]
    assert (shown[7].clean, shown[7].predicted, shown[7].label) == (0, 1, 0)
    assert shown[7].badness == pytest.approx(2 * 0.15)
    assert shown[8].badness == pytest.approx(2 * 0.1)
    assert shown[7].size == pytest.approx(0.2)
    assert float(shown[7].after) == pytest.approx(0.65)


def test_one_process_measures_all_chunks_as_the_perturbation_is_kept_from_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans: list[Any] = []

    def observed(plan: Any) -> Any:
        plans.append(plan)
        raise KeyError("observed")

    monkeypatch.setattr(universal, "observe", observed)
    x = torch.rand(20, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(KeyError, match="observed"):
        universal.measure_no_universal_perturbation(
            linear(), (x, torch.zeros(20, dtype=torch.int64)), Linf(0.1), max_fooling_rate=0.5, iterations=3
        )
    (plan,) = plans
    assert plan.here
