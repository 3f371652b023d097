"""Rows of a table: nothing but feasible rows is ever shown, and every feasible row can be reached."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustest import rng
from robustest.data.frames import Frames
from robustest.errors import ConfigError
from robustest.measure import measure_robust_accuracy
from robustest.threats import (
    AnyOf,
    Columns,
    Decrease,
    Fixed,
    Increase,
    Linear,
    Relative,
    Threat,
    Whole,
    Within,
    rendered,
)

BOUNDS = (0.0, 10.0)
RULES: dict[Any, Any] = {
    0: Within(-1.5, 0.7),
    1: Whole(2),
    (2, 3, 4): AnyOf(),
    5: AnyOf(0, 3, 7),
    6: Relative(0.1),
    7: Increase(2),
    8: Fixed(),
    10: Decrease(0.25),
}


def small(t: Tensor) -> Tensor:
    return t[:, 0] * t[:, 1] < 60


RELATIONS = [
    [],
    [small],
    [Linear({0: 1, 6: 1}, at_most=12)],
    [Linear({0: 1, 1: 1}, at_least=2), Linear({6: 2, 10: -1}, at_most=15), small],
    [Linear({0: 1, 6: 1, 10: 1}, equals=14)],
]


def samples(n: int, seed: int = 0) -> Tensor:
    """Rows of twelve columns: real numbers, whole numbers, a block, codes."""
    generator = torch.Generator().manual_seed(seed)
    x = 10 * torch.rand(n, 12, generator=generator)
    x[:, [1, 8]] = x[:, [1, 8]].round()
    x[:, 2:5] = torch.eye(3)[torch.randint(3, (n,), generator=generator)]
    x[:, 5] = torch.tensor([0.0, 3.0, 7.0, 5.0])[torch.randint(4, (n,), generator=generator)]
    return x


def infeasible(x: Tensor, own: Tensor, threat: Columns, number: int) -> Tensor:
    """Rows that break a rule, written down once more, in NumPy and float64."""
    new, old = x.double().numpy(), own.double().numpy()
    ok = np.ones(len(new), dtype=bool)
    ok &= (new[:, [8, 9, 11]] == old[:, [8, 9, 11]]).all(1)
    ok &= ((new[:, 0] >= old[:, 0] - 1.5) & (new[:, 0] <= old[:, 0] + 0.7)) & (new[:, 0] >= 0) & (new[:, 0] <= 10)
    ok &= (np.abs(new[:, 1] - old[:, 1]) <= 2) & (new[:, 1] == new[:, 1].round()) & (new[:, 1] >= 0)
    ok &= (new[:, 1] <= 10) & (new[:, 2:5].sum(1) == 1) & (new[:, 2:5].max(1) == 1)
    ok &= np.isin(new[:, 5], [0, 3, 7]) | (new[:, 5] == old[:, 5])
    ok &= (np.abs(new[:, 6] - old[:, 6]) <= 0.1 * old[:, 6]) & (new[:, 6] <= 10)
    ok &= (new[:, 7] >= old[:, 7]) & (new[:, 7] <= np.minimum(old[:, 7] + 2, 10))
    ok &= (new[:, 10] <= old[:, 10]) & (new[:, 10] >= np.maximum(old[:, 10] - 0.25, 0))
    changed = (new != old)[:, [0, 1, 5, 6, 7, 10]].sum(1) + (new != old)[:, 2:5].any(1)
    ok &= changed <= (threat.max_changed or 7)
    if number in {1, 3}:
        ok &= new[:, 0] * new[:, 1] < 60
    if number == 2:
        ok &= new[:, 0] + new[:, 6] <= 12
    if number == 3:
        ok &= (new[:, 0] + new[:, 1] >= 2) & (2 * new[:, 6] - new[:, 10] <= 15)
    if number == 4:
        ok &= np.abs(new[:, 0] + new[:, 6] + new[:, 10] - 14) <= 1e-4
    same = (new == old).all(1)
    return torch.from_numpy(~(ok | same))


def proposals(
    threat: Columns, x: Tensor, seed: int, power: float, bounds: tuple[float, float] = BOUNDS
) -> list[Tensor]:
    """Anything that a search may propose: noise of any size, random rows, moves after moves, numbered points."""
    region, key = threat.region(x, bounds), rng.keys(seed, torch.arange(len(x)))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)) * 10**power
    out = [threat.project(x + noise, region), threat.start(region, key)]
    z = out[1]
    for move in range(3):
        u = rng.uniform(rng.fold(key, move), (2,)).double()
        place = (u[:, 0] * threat.places(z, region)).long()
        choice = (u[:, 1] * threat.choices(z, place, region)).long()
        z = threat.moved(z, place, choice, region)
        out.append(z)
    return [*out, threat.point(rng.integers(key, (1,), 5000), region)[:, 0]]


def check(number: int, most: int | None, seed: int, power: float, n: int) -> int:
    threat = Columns(RULES, max_changed=most, where=RELATIONS[number]).resolved(12, BOUNDS)
    x = samples(n, seed)
    region, shown = threat.region(x, BOUNDS), 0
    for z in proposals(threat, x, seed, power):
        rows = rendered(threat, z, region)
        bad = infeasible(rows, x, threat, number)
        assert not bool(bad.any()), (rows[bad][:1], x[bad][:1])
        assert bool((threat.size(rows, region) <= threat.radius).all())
        shown += len(rows)
    return shown


@settings(max_examples=15)
@given(st.integers(0, 4), st.sampled_from([None, 1, 2, 4]), st.integers(0, 10**6), st.floats(-3, 3))
def test_only_feasible_rows_are_shown(number: int, most: int | None, seed: int, power: float) -> None:
    check(number, most, seed, power, 20)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(0, 4), st.sampled_from([None, 1, 2, 4]), st.integers(0, 10**6), st.floats(-3, 3))
def test_of_a_million_rows_none_is_infeasible(number: int, most: int | None, seed: int, power: float) -> None:
    assert check(number, most, seed, power, 3000) >= 18_000  # 60 times


# Frames with random rules, judged in the user's own format

Judge = Callable[[Any, Any], Any]
"""Says of new and old values (N,) of a column which changed ones a rule allows."""


def a_column(random: Any, kind: str, n: int) -> tuple[Any, Any, Judge]:
    """Return values of a column, a rule for it, and the rule once more in NumPy and float64."""
    if kind == "word":
        listed: list[Any] = ([], ["a"], ["b", None])[random.integers(3)]
        words = random.choice(["a", "b", "c"], n)
        gone = None in listed
        return words, AnyOf(*listed), lambda new, _: np.isin(new, listed or list("abc")) | (pd.isna(new) & gone)
    if kind == "boolean":
        return random.random(n) > 0.5, AnyOf(), lambda new, _: np.isin(new, [True, False])
    if kind == "whole":
        below, above = int(random.integers(-4, 1)), int(random.integers(0, 5)) + 1
        values = random.integers(0, 10 ** int(random.integers(1, 10)), n)
        return values, Whole(below, above), lambda new, old: (new >= old + below) & (new <= old + above)
    # Numbers that float32 has to round.
    values = random.normal(0, 10 ** random.uniform(-3, 7), n)
    values[random.random(n) < 0.1] = np.nan
    room = float(np.nanstd(values) * 10 ** random.uniform(-4, 0.5))
    rules: list[tuple[Any, Judge]] = [
        (Within(-room, 2 * room), lambda new, old: (new >= old - room) & (new <= old + 2 * room)),
        (Relative(0.1), lambda new, old: np.abs(new - old) <= 0.1 * np.abs(old)),
        (Increase(room), lambda new, old: (new >= old) & (new <= old + room)),
        (Decrease(room), lambda new, old: (new <= old) & (new >= old - room)),
        (AnyOf(float(values[0]), None), lambda new, _: np.isnan(new) | (new == values[0])),
    ]
    values[0] = np.nan_to_num(values[0])
    rule, judge = rules[random.integers(len(rules))]
    return values, rule, judge if isinstance(rule, AnyOf) else lambda new, old: judge(new, old) & ~np.isnan(new)


def check_frames(seed: int, n: int) -> tuple[int, int]:
    """Return the rows that were rendered for a random frame with random rules, and those among them that changed."""
    random = np.random.default_rng(seed)
    kinds = random.choice(["number", "whole", "word", "boolean"], random.integers(1, 7), p=[0.5, 0.2, 0.2, 0.1])
    made = {f"c{at}": a_column(random, kind, n) for at, kind in enumerate(kinds)}
    frame = pd.DataFrame({**{name: values for name, (values, _, _) in made.items()}, "fixed": random.random(n)})
    coding, most = Frames.of(frame), random.choice([None, 1, 2])
    numbers = [name for name, kind in zip(made, kinds, strict=True) if kind in {"number", "whole"}][:2]
    weights = {name: float(random.normal()) for name in numbers}
    where = [Linear(weights, at_most=float((frame[numbers] @ list(weights.values())).median()))] if numbers else []
    where = where if random.random() < 0.4 else []
    cells = None
    if random.random() < 0.3:  # as of a tree: a few thresholds in each column
        cells = [sorted(one) for one in coding.encode(frame)[:3].double().T.tolist()]
    rules = {name: rule for name, (_, rule, _) in made.items()}
    threat = Columns(rules, max_changed=most, where=where).resolved(
        len(coding.names), coding.bounds, coding=coding, cells=cells
    )
    x = coding.encode(frame)
    before = coding.decode(x)
    region, shown, moved = threat.region(x, coding.bounds), 0, 0
    for z in proposals(threat, x, seed, 3 * random.random(), coding.bounds):
        after = coding.decode(rendered(threat, z, region))
        changes, ok = np.zeros(n, dtype=int), np.ones(n, dtype=bool)
        for name, (_, rule, judge) in made.items():
            new, old = after[name].to_numpy(), before[name].to_numpy()
            same = (new == old) | (pd.isna(new) & pd.isna(old))
            with np.errstate(invalid="ignore"):
                fine = judge(new, old)
                if not isinstance(rule, AnyOf):  # inside the range of the data
                    fine &= (new >= np.nanmin(old)) & (new <= np.nanmax(old))
            ok &= same | fine
            changes += ~same
        if where:
            total = after[numbers].to_numpy(dtype=float) @ list(weights.values())
            ok &= ~(total > where[0].at_most) | (changes == 0)  # a missing number says nothing
        ok &= changes <= (most or len(made))
        pd.testing.assert_series_equal(after["fixed"], frame["fixed"])
        assert ok.all(), (seed, frame[~ok].head(1).to_dict(), after[~ok].head(1).to_dict(), rules)
        shown, moved = shown + n, moved + int((changes > 0).sum())
    return shown, moved


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_frames_show_feasible_rows_only(seed: int) -> None:
    check_frames(seed, 30)


@pytest.mark.slow
def test_of_a_million_rows_of_frames_none_is_infeasible() -> None:
    shown = [check_frames(seed, 600) for seed in range(300)]
    assert sum(one for one, _ in shown) >= 1_000_000
    assert sum(moved for _, moved in shown) >= 500_000


@pytest.mark.parametrize("number", range(1, 5))
def test_relations_leave_room(number: int) -> None:
    """A projection that gave up everywhere would be feasible, too."""
    threat = Columns(RULES, where=RELATIONS[number]).resolved(12, BOUNDS)
    x = samples(200)
    if number == 4:
        x[:, 10] = 0.5
        x[:, 6] = 6
        x[:, 0] = 7.5
    region = threat.region(x, BOUNDS)
    rows = rendered(threat, threat.start(region, rng.keys(1, torch.arange(200))), region)
    assert float((rows != x).any(1).double().mean()) > 0.3


def test_numbered_points_are_all_feasible_rows() -> None:
    rules: dict[Any, Any] = {1: Whole(-1, 2), (2, 3, 4): AnyOf(0, 2), 5: AnyOf(0, 3, 7)}
    x = samples(30)
    for most in (None, 1, 2):
        threat = Columns(rules, max_changed=most).resolved(12, BOUNDS)
        region = threat.region(x, BOUNDS)
        points = threat.points(region)
        every = threat.point(torch.arange(int(points.max()) + 3).expand(30, -1), region)
        for row, own in enumerate(x):
            whole = [own[1] + step for step in range(-1, 3) if 0 <= own[1] + step <= 10]
            blocks = {*[0, 2], int(own[2:5].argmax())}
            codes = {0.0, 3.0, 7.0, float(own[5])}
            expected = set()
            for one, block, code in itertools.product(whole, blocks, codes):
                new = own.clone()
                new[1], new[5], new[2:5] = one, code, torch.eye(3)[block]
                moves = int(new[1] != own[1]) + int(new[5] != own[5]) + int((new[2:5] != own[2:5]).any())
                if moves <= (most or 3):
                    expected.add(tuple(new.tolist()))
            count = int(points[row])
            assert {tuple(point) for point in every[row, :count].tolist()} == expected
            assert count == len(expected)
            moves = (every[row, :count] != own)[:, [1, 5]].sum(1) + (every[row, :count] != own)[:, 2:5].any(1)
            assert bool((moves.diff() >= 0).all()), "few changes first"


def test_thresholds_of_a_model_are_its_cells() -> None:
    """With the thresholds of a step function, every one of its values is reached, and the region has a size."""
    cuts = [[1.0, 2.5, 2.75, 6.0], [0.5, 1.5, 8.0]]
    threat = Columns({0: Within(-2, 2), 1: Whole(100)}).resolved(2, (0.0, 200.0), cells=cuts)
    x = torch.tensor([[2.5, 2.0], [1.0, 9.0], [5.9, 150.0]])
    region = threat.region(x, (0.0, 200.0))
    count = threat.points(region)
    assert count.tolist() == [4 * 4, 4 * 4, 2 * 1]

    def answer(rows: Tensor) -> set[tuple[int, int]]:
        return {(sum(float(a) > c for c in cuts[0]), sum(float(b) > c for c in cuts[1])) for a, b in rows}

    for row in range(3):
        points = threat.point(torch.arange(int(count[row])).expand(3, -1), region)[row]
        fine = torch.cartesian_prod(torch.linspace(-2, 2, 81), torch.arange(-100, 101).float()) + x[row]
        fine = fine[((fine >= 0) & (fine <= 200)).all(1)]
        assert answer(points) == answer(fine)
    plain = Columns({0: Within(-2, 2)}).resolved(2, (0.0, 200.0))
    assert bool(plain.points(plain.region(x, (0.0, 200.0))).isinf().all()), "real numbers without cells have no end"


def test_gradients_go_straight_through() -> None:
    threat = Columns(RULES, max_changed=2).resolved(12, BOUNDS)
    x = samples(5)
    region = threat.region(x, BOUNDS)
    z = x.clone().requires_grad_(True)
    weight = torch.arange(12.0)
    (gradient,) = torch.autograd.grad((rendered(threat, z, region) * weight).sum(), z)
    assert torch.equal(gradient, weight.expand(5, -1))


class Reacts(nn.Module):
    """Class 1 where a condition on the row holds, else class 0, with scores that say nothing more."""

    def __init__(self, condition: Any) -> None:
        super().__init__()
        self.condition = condition

    def forward(self, x: Tensor) -> Tensor:
        lead = 3.0 - 6.0 * self.condition(x).float() + 0.01 * x[:, 0]
        return torch.stack([lead, -lead], 1)


FEASIBLE = {
    "rare category": lambda x: x[:, 4] == 1,
    "boundary": lambda x: x[:, 1] >= 6,
    "two columns": lambda x: (x[:, 5] == 7) & (x[:, 1] == 5),
}
INFEASIBLE = {
    "half a block": lambda x: x[:, 2:5].amax(1) < 1,
    "no category": lambda x: x[:, 2:5].sum(1) != 1,
    "part of a whole number": lambda x: x[:, 1] != x[:, 1].round(),
    "beyond the range": lambda x: (x[:, 1] > 6) | (x[:, 1] < 2),
    "a fixed column": lambda x: x[:, 8] != 3,
    "three columns": lambda x: (x[:, 5] == 7) & (x[:, 1] == 5) & (x[:, 3] == 1),
}


def table(condition: Any) -> tuple[nn.Module, Tensor, Tensor]:
    x = samples(8)
    x[:, 1], x[:, 5], x[:, 8] = 4.0, 0.0, 3.0
    x[:, 2:5] = torch.tensor([1.0, 0.0, 0.0])
    return Reacts(condition), x, torch.zeros(8, dtype=torch.int64)


FEW: dict[Any, Any] = {1: Whole(2), (2, 3, 4): AnyOf(), 5: AnyOf(0, 3, 7), 0: Within(-0.1, 0.1)}


@pytest.mark.parametrize("name", FEASIBLE)
def test_a_feasible_corner_never_passes(name: str) -> None:
    model, x, y = table(FEASIBLE[name])
    result = measure_robust_accuracy(
        model, (x, y), Columns(FEW, max_changed=2), at_least=0.5, attack="fast", bounds=BOUNDS
    )
    assert result.verdict == "failed"
    assert result.counterexamples[0].size in {1.0, 2.0}


@pytest.mark.parametrize("name", INFEASIBLE)
def test_an_infeasible_row_never_fails(name: str) -> None:
    model, x, y = table(INFEASIBLE[name])
    # One case has a real number, of which no enumeration finds the end; the others are decided at once.
    few = FEW if name == "half a block" else {at: rule for at, rule in FEW.items() if at != 0}
    threat = Columns(few, max_changed=2)
    result = measure_robust_accuracy(model, (x, y), threat, at_least=0.6, attack="fast", bounds=BOUNDS)
    assert result.verdict == "passed"
    assert result.estimate == 1


def test_a_search_that_cannot_move_is_inconclusive() -> None:
    """Relations that refuse every change leave the sample alone, and moves that change nothing find no control."""
    model, x, y = table(FEASIBLE["rare category"])
    threat = Columns(FEW, where=[lambda t: torch.zeros(len(t), dtype=torch.bool)])
    result = measure_robust_accuracy(model, (x, y), threat, at_least=0.5, attack="fast", bounds=BOUNDS)
    assert result.verdict == "inconclusive"
    assert any("missed_control" in reason for reason in result.reasons)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Within(1, 2), "below <= 0 <= above"),
        (lambda: Whole(1.5), "whole numbers"),  # type: ignore[arg-type]
        (lambda: Columns({}), "rules by column"),  # type: ignore[arg-type]
        (lambda: Columns({0: 3}), "a rule such as"),  # type: ignore[arg-type,dict-item]
        (lambda: Columns({(0, 1): Within(-1, 1)}), "one-hot"),  # type: ignore[arg-type]
        (lambda: Columns({0: Within(-1, 1)}, max_changed=0), "max_changed"),  # type: ignore[arg-type]
        (lambda: Linear({0: 1}), "at_most"),
        (lambda: Columns({9: Within(-1, 1)}).resolved(3, BOUNDS), "columns among"),  # type: ignore[arg-type]
        (lambda: Columns({0: AnyOf(1), (0, 1): AnyOf()}).resolved(3, BOUNDS), "each column in one rule"),  # type: ignore[arg-type]
        (lambda: Columns({0: AnyOf()}).resolved(3, BOUNDS), "values in AnyOf"),  # type: ignore[arg-type]
        (lambda: Columns({(0, 1): AnyOf(2)}).resolved(3, BOUNDS), "places 0 to 1, of the block"),  # type: ignore[arg-type]
        (lambda: Columns({("a", "b"): AnyOf("c")}).resolved(2, BOUNDS, names="ab"), "of the block"),
        (lambda: Columns({0: Whole(1)}).region(torch.rand(2, 3), BOUNDS), "whole numbers in column"),  # type: ignore[arg-type]
        (lambda: Columns({(0, 1): AnyOf()}).region(torch.rand(2, 3), BOUNDS), "one-hot columns"),  # type: ignore[arg-type]
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_block_is_named_by_its_columns() -> None:
    named = Columns({("a", "b", "c"): AnyOf("a", "c")}).resolved(3, BOUNDS, names="abc")
    x = torch.eye(3)
    region = named.region(x, BOUNDS)
    every = named.point(torch.arange(3).expand(3, -1), region).argmax(2)
    assert [sorted(set(row)) for row in every.tolist()] == [[0, 2], [0, 1, 2], [0, 2]]


def test_it_is_a_threat() -> None:
    assert isinstance(Columns(FEW), Threat)
    assert str(Columns(FEW, max_changed=2)) == (
        "Columns(1 -2..+2 whole, 2/3/4 any, 5 0|3|7, 0 -0.1..+0.1; at most 2 changed)"
    )


@pytest.mark.parametrize("rule", [Within(0, 0), Relative(0), Whole(0), Whole(0, 0), Increase(0), Fixed()], ids=str)
def test_rules_that_allow_no_change_claim_nothing(rule: Any) -> None:
    assert Columns({0: rule, 1: Within(-1, 0)}).radius == 1
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(6, 1)
    with pytest.raises(ConfigError, match="a column that may change"):
        measure_robust_accuracy(lambda z: z, (x, x.argmax(1)), Columns({0: rule}), at_least=0.5)
