"""Checks of answers beside slow code: what moved, by how much, in whose company, and after which queries."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L1, L2, DataError, Linf, ModelError, Regression, rng
from robustest.data import as_samples
from robustest.engine import answer_checks, chunks
from robustest.engine.answer_checks import (
    _places,
    ask_again,
    check_beside,
    check_forward,
    check_model,
    copied,
    hints,
    moved,
    probe_history,
    radius_mistake,
    usual_lead,
)
from robustest.engine.chunks import Chunk, check_data, check_same, partition, read
from robustest.engine.evaluator import Evaluator
from robustest.models import as_classifier

CPU = torch.device("cpu")


class Rows(nn.Module):
    """A linear model whose answer moves by `shift` times a function of its batch."""

    def __init__(self, shift: float = 0.0, kind: str = "") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        self.shift, self.kind, self.calls, self.rows = shift, kind, 0, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.rows.append(len(x))
        logits = x @ self.weight.T
        if self.kind == "size":
            by = float(len(x))
        elif self.kind == "place":
            return logits + self.shift * torch.stack([torch.arange(len(x)), torch.zeros(len(x))], 1)
        elif self.kind == "calls":
            by = float(self.calls)
        else:
            by = 0.0
        return logits + self.shift * by * torch.tensor([1.0, 0.0])


def setting(model: nn.Module, n: int = 12, **options: Any) -> tuple[Evaluator, Chunk]:
    evaluator = Evaluator(as_classifier(model), CPU, batch_size=None, **{"suppress": (), "notes": []} | options)
    x = torch.rand(n, 2, generator=torch.Generator().manual_seed(n)) * 0.5 + 0.5
    ids = torch.arange(n)
    return evaluator, Chunk(ids, x, torch.zeros(n, dtype=torch.int64), rng.keys(0, ids), (0.0, 1.0))


def test_an_answer_moves_from_a_twentieth_of_the_usual_lead_on() -> None:
    evaluator, _ = setting(Rows())
    before = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 1.0], [9.0, 1.0, 0.0]])
    usual = usual_lead(evaluator, before)
    assert float(usual) == 1.0  # leads are 1, 1 and 8
    for change, found in (
        ([0.078, 0, 0], True),
        ([0.074, 0, 0], False),
        ([0.1, 0.1, 0.1], False),
        ([-0.078, 0, 0], True),
    ):
        # The mean is taken off: two thirds of a change of one logit are left.
        assert moved(evaluator, before, before + torch.tensor(change), usual).tolist() == [found] * 3
    flat = torch.tensor([[500.0, 500.0], [500.0, 499.9]])
    assert float(usual_lead(evaluator, flat)) == pytest.approx(0.5)
    other = Evaluator(
        as_classifier(Rows()), CPU, batch_size=None, suppress=(), notes=[], task=Regression(tolerance=0.1)
    )
    outputs = torch.tensor([[1.0], [3.0]])
    assert float(usual_lead(other, outputs)) == 1.0
    assert moved(other, outputs, outputs + 0.051, torch.tensor(1.0)).tolist() == [True, True]
    assert moved(other, outputs, outputs + 0.049, torch.tensor(1.0)).tolist() == [False, False]


@pytest.mark.parametrize("n", [1, 2, 5, 8, 12])
def test_the_first_eight_are_passed_twice_mirrored_and_the_ends_alone(n: int) -> None:
    model = Rows()
    evaluator, chunk = setting(model, n)
    check_forward(evaluator, chunk, (), first_of_all=False)
    few = min(8, n)
    assert model.rows == [few, few, *([few, 1, 1] if n > 1 else [2])]
    assert evaluator.health.counts("batch_dependence") == (0, few)
    assert evaluator.notes == []


@pytest.mark.parametrize(("kind", "n", "failed"), [("size", 6, 2), ("size", 1, 1), ("place", 6, 6), ("place", 5, 4)])
def test_answers_that_lean_on_their_batch_are_counted(kind: str, n: int, failed: int) -> None:
    """By size the first and the last differ, which are passed alone; by place all but the one in the middle."""
    evaluator, chunk = setting(Rows(1.0, kind), n)
    check_forward(evaluator, chunk, (), first_of_all=False)
    assert evaluator.health.counts("batch_dependence") == (failed, n)


def test_a_model_that_draws_is_refused_from_rounding_on() -> None:
    for shift, refused in ((1e-6, False), (1e-3, True)):
        evaluator, chunk = setting(Rows(shift, "calls"))
        if refused:
            with pytest.raises(ModelError, match=r"random_forward.*differ by up to 0\.001"):
                check_forward(evaluator, chunk, ())
            check_forward(evaluator, chunk, ("random_forward",))
            assert evaluator.health.counts("batch_dependence") == (0, 0)
        else:
            check_forward(evaluator, chunk, ())


def test_two_samples_are_passed_beside_others() -> None:
    model = Rows(1.0, "size")
    evaluator, chunk = setting(model)
    logits = evaluator.logits(chunk.x[:1])
    model.rows.clear()
    check_beside(evaluator, chunk.x[:5], logits.expand(5, -1), chunk.x[5:])
    assert model.rows == [8, 8]
    assert evaluator.health.counts("batch_dependence") == (2, 2)
    check_beside(evaluator, chunk.x[:1], logits, chunk.x[:0])
    assert evaluator.health.counts("batch_dependence") == (2, 3)


class Remembers(nn.Module):
    """Gives an input near the query before it, in the same place of the batch, that query's answer."""

    def __init__(self, within: float) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))
        self.within, self.known = within, list[Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        wave = torch.cos(1000 * x[:, 0]) * self.one
        logits = torch.stack([wave, 0 * wave], 1)
        if self.known and self.known[0].shape == x.shape:
            near = (self.known[0] - x).abs().amax(1, keepdim=True) <= self.within
            logits = torch.where(near, self.known[1], logits)
        self.known[:] = [x.detach(), logits.detach()]
        return logits


@pytest.mark.parametrize(("within", "failed"), [(0.2, 4), (0.05, 3), (0.02, 2), (0.005, 1), (0.001, 0)])
def test_a_memory_of_queries_shows_at_its_distance(within: float, failed: int) -> None:
    """Second queries lie .1, .03, .01 and .003 from the first."""
    evaluator, chunk = setting(Remembers(within))
    early = probe_history(evaluator, replace(chunk, x=chunk.x - 0.25))  # far from the bounds
    assert evaluator.health.counts("history_dependence") == (failed, 4)
    assert early is not None
    assert len(early.x) == 2
    assert evaluator.forward == 2


@pytest.mark.parametrize(("whole", "decode"), [(False, False), (True, False), (False, True), (True, True)])
def test_models_of_whole_numbers_and_of_decoded_values_are_asked_no_made_up_inputs(whole: bool, decode: bool) -> None:
    model = Rows()
    evaluator, chunk = setting(model)
    object.__setattr__(evaluator.model, "whole", whole)
    object.__setattr__(evaluator.model, "decode", (lambda x: x) if decode else None)
    early = probe_history(evaluator, chunk)
    asked = not (whole or decode)
    assert (early is not None) is asked
    assert evaluator.forward == 2 * asked
    assert evaluator.health.counts("history_dependence") == (0, 4 * asked)
    assert model.rows == [2] * asked, "the copies got the other queries"


def test_answers_that_are_all_zero_have_not_moved() -> None:
    """Nor have those that changed by the share itself."""
    evaluator, _ = setting(Rows())
    zeros = torch.zeros(3, 2)
    assert float(usual_lead(evaluator, zeros)) == 0.0
    assert moved(evaluator, zeros, zeros, usual_lead(evaluator, zeros)).tolist() == [False] * 3
    change = torch.tensor([[0.5, -0.5], [0.75, -0.75], [0.0, 0.0]])
    assert moved(evaluator, zeros, change, torch.tensor(2.0), share=0.25).tolist() == [False, True, False]


def test_nothing_is_hinted_at_without_samples() -> None:
    evaluator, chunk = setting(Rows())
    object.__setattr__(evaluator.model, "preprocessing", ((0.5,), (0.5,)))
    wide = replace(chunk, bounds=(-3.0, 3.0))
    below = replace(wide, x=chunk.x - 1.0)
    answers = evaluator.logits(chunk.x)
    assert hints(evaluator, wide.rows(torch.arange(0)), answers[:0]) == []
    assert hints(evaluator, wide, answers) == []
    (found,) = hints(evaluator, below, answers)
    assert "look normalised" in found
    assert hints(evaluator, replace(below, bounds=(-127.5, 127.5)), answers) == [], "grey levels about zero"
    assert len(hints(evaluator, replace(below, bounds=(-127.5, 127.25)), answers)) == 1
    assert hints(evaluator, replace(below, bounds=(0.0, 3.0)), answers) == []
    object.__setattr__(evaluator.model, "preprocessing", lambda x: x)
    assert hints(evaluator, below, answers) == []


@pytest.mark.parametrize("check", [check_model, check_forward])
def test_hints_come_from_the_first_samples_of_all_unless_others_are_first(check: Any) -> None:
    for given, hinted in (({}, True), ({"first_of_all": True}, True), ({"first_of_all": False}, False)):
        evaluator, chunk = setting(Rows(), 16)
        early = check(evaluator, chunk, (), **given)
        assert len(evaluator.notes) == hinted
        assert (early is not None) is (check is check_model)
        assert evaluator.health.counts("history_dependence") == (0, 4 if check is check_model else 0)
        assert evaluator.health.counts("batch_dependence") == (0, 8)
    evaluator, chunk = setting(Rows(1e-3, "calls"))
    with pytest.raises(ModelError, match="random_forward"):
        check(evaluator, chunk, ())
    check(evaluator, chunk, ("random_forward",))


def test_places_lie_between_samples_and_are_these_draws() -> None:
    evaluator, chunk = setting(Rows())
    del evaluator
    found, x = _places(chunk, "later"), chunk.x[:4]
    off = rng.uniform(rng.fold(chunk.key[:4], "later"), (2,), -0.1, 0.1)
    assert torch.allclose(found, ((x + x.roll(1, 0)) / 2 + off).clamp(0, 1))
    one = _places(chunk.rows(torch.tensor([3])), "later")
    mirror = (chunk.x[3:4] + 1 - chunk.x[3:4]) / 2
    assert torch.allclose(one, mirror + rng.uniform(rng.fold(chunk.key[3:4], "later"), (2,), -0.1, 0.1))


def test_answers_are_asked_for_again_after_the_measurement() -> None:
    model = Rows()
    evaluator, chunk = setting(model)
    early = probe_history(evaluator, chunk)
    before = evaluator.forward
    ask_again(evaluator, early)
    assert evaluator.forward == before + 2
    assert evaluator.health.counts("history_dependence") == (0, 6)
    with torch.no_grad():
        model.weight.mul_(1.2)
    ask_again(evaluator, early)
    assert evaluator.health.counts("history_dependence") == (2, 8)
    ask_again(evaluator, None)
    assert evaluator.health.counts("history_dependence") == (2, 8)
    assert probe_history(*setting(Rows(), suppress=("random_forward",))) is None


def test_a_copy_shares_parameters_and_nothing_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_checks, "_LARGEST", 4)
    module = nn.Sequential(nn.Linear(2, 2))
    held: Any = module
    held.state = [1, {"a": torch.zeros(4)}, (3,), deque([1]), {5}, OrderedDict(b=torch.zeros(5))]
    held.itself, trainer = module, object()
    held.trainer = trainer
    own: Any = copied(module)
    assert own is not module
    assert own.itself is own
    assert own[0] is not module[0]
    assert own[0].weight is module[0].weight
    assert own.trainer is trainer
    assert own.state is not held.state
    assert own.state[1]["a"] is not held.state[1]["a"]  # four numbers are copied, five are shared
    assert own.state[5]["b"] is held.state[5]["b"]
    assert [type(one) for one in own.state] == [type(one) for one in held.state]
    for place in (3, 4):
        assert own.state[place] == held.state[place]
        assert own.state[place] is not held.state[place]


@pytest.mark.parametrize(
    ("threat", "bounds", "words"),
    [
        (Linf(1.0), (0.0, 1.0), "Linf(1 / 255)"),
        (Linf(0.99), (0.0, 1.0), ""),
        (L2(5.0), (0.0, 1.0), ""),
        (Linf(1.0), (0.0, 255.0), "Linf(255)"),
        (L1(0.5), (0.0, 127.5), "L1(127.5)"),
        (L1(20.0), (0.0, 127.4), ""),
        (Linf(1.01), (0.0, 255.0), ""),
        (Linf(0.0), (0.0, 255.0), ""),
    ],
)
def test_a_radius_is_hinted_at_by_the_width_of_its_bounds(threat: Any, bounds: tuple[float, float], words: str) -> None:
    found = radius_mistake(threat, bounds, (3, 32, 32))
    assert bool(found) == bool(words)
    assert words in found
    if bounds[1] == 255 and words:
        assert "less than 0.39 % of the bounds [0, 255]" in found


@pytest.mark.parametrize("n", [15, 16])
def test_one_label_or_one_answer_is_hinted_at_from_sixteen_samples_on(n: int) -> None:
    evaluator, chunk = setting(Rows(), n)
    answers = evaluator.logits(chunk.x[:8])
    (found,) = hints(evaluator, chunk, answers) or [""]
    assert ("all 16 samples looked at first have the label 0" in found) == (n == 16)
    mixed = Chunk(chunk.ids, chunk.x, torch.arange(n) % 2, chunk.key, chunk.bounds)
    (found,) = hints(evaluator, mixed, answers) or [""]
    assert ("class 0 for all 16 samples looked at first, which have 2 labels" in found) == (n == 16)
    turned = mixed.x.clone()
    turned[-1, 0] = -0.5  # of all samples one gets the other answer
    assert hints(evaluator, Chunk(chunk.ids, turned, mixed.y, chunk.key, chunk.bounds), answers) == []


# Chunks


def test_chunks_have_these_sizes() -> None:
    expected, start = [], 0
    while start < 6000:
        expected.append(min(max(64, min(512, start // 6 // 64 * 64)), 6000 - start))
        start += expected[-1]
    assert [len(part) for part in partition(torch.arange(6000))] == expected
    assert expected[:14] == [64] * 12 + [128, 128]


def test_whole_numbers_are_read_below_two_to_the_24() -> None:
    y = torch.zeros(2, dtype=torch.int64)
    for value in (2**24 - 1, 2**24):
        samples = as_samples((torch.tensor([[value, 0], [1, -3]]), y))
        with pytest.raises(DataError, match="floating-point inputs"):
            read(samples, torch.arange(2), bounds=(0.0, 1.0), seed=0)
        if value == 2**24:
            with pytest.raises(DataError, match="below 16,777,216 but got 16,777,216"):
                read(samples, torch.arange(2), bounds=(0.0, 1.0), seed=0, whole=True)
            continue
        found = read(samples, torch.arange(2), bounds=(0.0, 1.0), seed=0, whole=True)
        assert found.x.tolist() == [[value, 0], [1, -3]]
        assert found.bounds == (-(2.0**24), 2.0**24)
        with pytest.raises(DataError, match="inside the bounds"):
            read(samples, torch.arange(2), bounds=(0.0, 9.0), seed=0, whole=True)


def test_two_reads_are_compared_to_the_bit() -> None:
    x, y, ids = torch.rand(3, 2), torch.arange(3), torch.tensor([5, 6, 7])
    x[0, 0] = torch.nan
    check_same((x, y), (x.clone(), y.clone()), ids)
    other = x.clone()
    other[2, 1] = torch.nextafter(other[2, 1], torch.tensor(9.0))
    with pytest.raises(DataError, match="1 of 3 changed, the first of them 7"):
        check_same((x, y), (other, y), ids)
    with pytest.raises(DataError, match="2 of 3 changed, the first of them 6"):
        check_same((x, y), (x, y + torch.tensor([0, 1, 1])), ids)
    with pytest.raises(DataError, match=r"shapes \(3, 2\) and \(3, 1\)"):
        check_same((x, y), (x[:, :1], y), ids)


def test_sixteen_samples_are_read_once_more_in_reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    samples = as_samples((torch.rand(40, 2), torch.arange(40)))

    def take(ids: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(ids.tolist())
        return samples.take(ids)

    few = type(samples)(take, 40)
    x, y = check_data(few, torch.arange(39, -1, -1))
    assert asked == [list(range(39, 23, -1)), list(range(24, 40))]
    assert (len(x), y.tolist()) == (16, list(range(39, 23, -1)))
    monkeypatch.setattr(chunks, "_READ_TWICE", 3)
    assert len(check_data(few, torch.arange(40))[0]) == 3


@pytest.mark.parametrize(
    ("shape", "right", "hinted"),
    [((6, 6, 3), False, True), ((6, 6, 3), True, False), ((3, 6, 6), False, False), ((3, 3, 3), False, False)],
)
def test_channels_that_come_last_are_hinted_at_where_most_answers_are_wrong(
    shape: tuple[int, ...], right: bool, hinted: bool
) -> None:
    evaluator, chunk = setting(Rows())
    pictures = replace(chunk, x=torch.zeros(len(chunk.y), *shape))
    said = chunk.y if right else 1 - chunk.y
    found = hints(evaluator, pictures, torch.eye(2)[said])
    assert any("x.permute(0, 3, 1, 2)" in one for one in found) is hinted
