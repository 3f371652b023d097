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
from robustest.threats.columns import _GRID, _below

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
        values = random.integers(0, 10 ** int(random.integers(1, 8)), n)
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
    """Class 1 where a condition on the row holds, else by a fixed column, with scores that say nothing more."""

    def __init__(self, condition: Any) -> None:
        super().__init__()
        self.condition = condition

    def forward(self, x: Tensor) -> Tensor:
        turned = (x[:, 9] > 5) != self.condition(x)
        lead = 3.0 - 6.0 * turned.float() + 0.01 * x[:, 0]
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
    y = torch.arange(8) % 2
    x[:, 9] = 2.0 + 6.0 * y
    return Reacts(condition), x, y


FEW: dict[Any, Any] = {1: Whole(2), (2, 3, 4): AnyOf(), 5: AnyOf(0, 3, 7), 0: Within(-0.1, 0.1)}


@pytest.mark.parametrize("name", FEASIBLE)
def test_a_feasible_corner_never_passes(name: str) -> None:
    model, x, y = table(FEASIBLE[name])
    result = measure_robust_accuracy(
        model, (x, y), Columns(FEW, max_changed=2), at_least=0.6, attack="fast", bounds=BOUNDS
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
    assert any("missed_control" in reason for reason in result.ruling.reasons)


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
        (lambda: Columns({"a": Whole(1)}, ranges={"A": (0, 9)}).resolved(2, BOUNDS, names="ab"), "columns among a, b"),
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


def framed(rules: Any, frame: pd.DataFrame, **other: Any) -> tuple[Columns, Frames]:
    coding = Frames.of(frame)
    return Columns(rules, **other).resolved(len(coding.names), coding.bounds, coding=coding), coding


def changed(rules: Any, frame: pd.DataFrame) -> set[Any]:
    """Return the labels of the columns that random proposals change."""
    threat, coding = framed(rules, frame)
    x = coding.encode(frame)
    region = threat.region(x, coding.bounds)
    after = coding.decode(rendered(threat, threat.start(region, rng.keys(0, torch.arange(len(x)))), region))
    return {label for label in frame.columns if not after[label].equals(frame[label])}


def test_columns_are_named_by_their_labels_and_indices_are_in_the_users_order() -> None:
    """Rows hold columns in the order of their names as text: "10" comes before "2"."""
    values = np.random.default_rng(0).integers(0, 9, (30, 12))
    assert changed({2: Whole(3)}, pd.DataFrame(values)) == {2}
    assert changed({2: Whole(3)}, pd.DataFrame(values, columns=range(20, 8, -1)).rename(columns={15: 2})) == {2}
    assert changed({2: Whole(3)}, pd.DataFrame(values, columns=list("lkjihgfedcba"))) == {"j"}
    assert changed({"2": Whole(3), 4: Within(-1, 1)}, pd.DataFrame(values)) == {2, 4}


@pytest.mark.parametrize(
    ("frame", "rules", "other", "words"),
    [
        # Within 30 s of a moment in seconds since 1970 float32 holds one number, and a search would change nothing.
        ({"t": 1.7e9 + 1000 * np.arange(20)}, {"t": Within(-30, 30)}, {}, "float32 divides into 16"),
        ({"n": 10**9 + 640 * np.arange(20)}, {"n": Whole(300)}, {}, "Subtract a constant"),
        ({"n": np.arange(20, dtype=np.uint8)}, {"n": Whole(9)}, {"ranges": {"n": (-9, 99)}}, "inside 0 to 255"),
        ({"n": np.arange(20), "w": list("ab") * 10}, {"n": Whole(9)}, {"where": [Linear({"w": 1}, at_most=0)]}, "w"),
    ],
    ids=["moments", "large", "type", "words"],
)
def test_rules_that_a_frame_cannot_hold_are_refused(frame: Any, rules: Any, other: Any, words: str) -> None:
    made = pd.DataFrame(frame)
    with pytest.raises(ConfigError, match=words):
        framed(rules, made, **other)[0].region(Frames.of(made).encode(made), Frames.of(made).bounds)


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


# One column at a time


def grid(low: float, high: float) -> list[float]:
    return torch.linspace(low, high, _GRID).tolist()


ONE_COLUMN: list[tuple[Any, tuple[float, float], float, list[float]]] = [
    (Within(-1.5, 0.7), BOUNDS, 5.0, grid(3.5, 5.7)),
    (Within(-1.5, 0.7), BOUNDS, 0.5, grid(0.0, 1.2)),
    (Within(-1.5, 0.7), BOUNDS, 9.5, grid(8.0, 10.0)),
    (Within(-1.5, 0.7), BOUNDS, 12.0, grid(10.5, 12.0)),  # outside of its range: no farther
    (Within(-1.5, 0.7), BOUNDS, -1.0, grid(-1.0, -0.3)),
    (Relative(0.1), BOUNDS, 5.0, grid(4.5, 5.5)),
    (Relative(0.1), (-10.0, 10.0), -5.0, grid(-5.5, -4.5)),
    (Relative(0.1), BOUNDS, 0.0, []),
    (Increase(2), BOUNDS, 5.0, grid(5.0, 7.0)),
    (Increase(2), BOUNDS, 10.0, []),
    (Decrease(0.25), BOUNDS, 5.0, grid(4.75, 5.0)),
    (Decrease(0.25), BOUNDS, 0.0, []),
    (Whole(2), BOUNDS, 4.0, [2, 3, 5, 6]),
    (Whole(2), BOUNDS, 9.0, [7, 8, 10]),
    (Whole(2), BOUNDS, 0.0, [1, 2]),
    (Whole(-1, 3), BOUNDS, 4.0, [3, 5, 6, 7]),
    (Whole(0, 1), BOUNDS, 10.0, []),
    (Whole(2), (0.5, 5.5), 4.0, [2, 3, 5]),
    (AnyOf(0, 3, 7), BOUNDS, 3.0, [0, 7]),
    (AnyOf(7, 0, 3), BOUNDS, 5.0, [0, 3, 7]),
    (AnyOf(3), BOUNDS, 3.0, []),
]


@pytest.mark.parametrize(("rule", "bounds", "value", "want"), ONE_COLUMN, ids=str)
def test_a_column_has_these_values_and_its_own_again(
    rule: Any, bounds: tuple[float, float], value: float, want: list[float]
) -> None:
    threat = Columns({0: rule}).resolved(1, bounds)
    x = torch.tensor([[value]])
    region, place = threat.region(x, bounds), torch.tensor([0])
    assert int(threat.places(x, region)) == 1
    assert int(threat.choices(x, place, region)) == len(want)
    made = [float(threat.moved(x, place, torch.tensor([at]), region)) for at in range(len(want))]
    assert made == pytest.approx(want, rel=1e-6)
    assert made == sorted(made)
    shown = [rendered(threat, torch.tensor([[one]]), region) for one in made]
    assert [float(one) for one in shown] == made, "each is shown as it is"
    other = next((one for one in made if one != value), None)
    if other is not None:
        z = torch.tensor([[other]])
        assert float(threat.size(z, region)) == 1
        assert int(threat.choices(z, place, region)) == len(want) + 1, "it can be put back"
        assert float(threat.moved(z, place, torch.tensor([len(want)]), region)) == value
    for far in (-1e6, 1e6):
        z = threat.render(threat.project(torch.tensor([[far]]), region), region)
        ends = [*want, value]
        assert float(z) == pytest.approx(min(ends) if far < 0 else max(ends), rel=1e-6)
    finite = isinstance(rule, (Whole, AnyOf)) or not want
    assert float(threat.points(region)) == (1 + len(want) if finite else float("inf"))
    starts = threat.start(
        {name: one.repeat_interleave(200, 0) for name, one in region.items()}, rng.keys(0, torch.arange(200))
    )
    if want:
        assert min(ends) <= float(starts.min()) <= float(starts.max()) <= max(ends)
        assert bool((starts != value).float().mean() > 0.9)
        if finite:
            assert {float(one) for one in starts} == set(want)
        else:
            assert float(starts.max() - starts.min()) > 0.9 * (max(want) - min(want))
    else:
        assert bool((starts == value).all())


@pytest.mark.parametrize(
    ("rule", "own", "shown"),
    [
        (Whole(2), 4.0, {4.4: 4, 4.6: 5, 2.6: 3, 1.0: 2, 9.0: 6}),
        (AnyOf(0, 3, 7), 3.0, {1.4: 0, 1.6: 3, 4.9: 3, 5.1: 7, -9.0: 0, 99.0: 7}),
        (AnyOf(0, 3, 7), 5.0, {3.9: 3, 4.0: 5, 4.2: 5, 6.0: 5, 6.1: 7, 1.4: 0, 1.6: 3}),
        (Within(-1, 1), 5.0, {4.2: 4.2, 3.9: 4.0, 6.5: 6.0}),
    ],
    ids=str,
)
def test_a_proposal_is_shown_at_the_nearest_value(rule: Any, own: float, shown: dict[float, float]) -> None:
    threat = Columns({0: rule}).resolved(1, BOUNDS)
    x = torch.full((len(shown), 1), own)
    found = threat.render(torch.tensor([[one] for one in shown]), threat.region(x, BOUNDS))
    assert found.flatten().tolist() == pytest.approx(list(shown.values()))


def test_the_heaviest_allowed_place_of_a_block_is_shown_and_of_equal_ones_its_own() -> None:
    threat = Columns({(1, 2, 3): AnyOf(0, 2)}).resolved(5, BOUNDS)
    x = torch.tensor([[9.0, 0.0, 1.0, 0.0, 9.0]]).repeat(5, 1)  # its own place is none of those allowed
    weights = torch.tensor([[0.9, 0.1, 0.2], [0.2, 0.1, 0.9], [0.2, 0.9, 0.2], [0.5, 0.5, 0.5], [0.3, 0.3, 0.31]])
    region = threat.region(x, BOUNDS)
    z = torch.cat([x[:, :1], weights, x[:, 4:]], 1)
    assert threat.render(z, region)[:, 1:4].argmax(1).tolist() == [0, 2, 1, 1, 2]
    assert bool((threat.render(z, region)[:, [0, 4]] == 9).all())
    assert threat.size(z, region).tolist() == [1, 1, 0, 0, 1]
    assert int(threat.choices(x, torch.zeros(5, dtype=torch.int64), region)[0]) == 2
    assert region["high"][0].tolist() == [9, 1, 1, 1, 9]
    assert region["low"][0].tolist() == [9, 0, 0, 0, 9]
    two = Columns({(0, 1): AnyOf(), (2, 3, 4): AnyOf()}).resolved(5, BOUNDS)  # of different sizes
    own = torch.tensor([[0.0, 1.0, 0.0, 0.0, 1.0]])
    region = two.region(own, BOUNDS)
    assert two.points(region).tolist() == [6]
    every = two.point(torch.arange(6).view(1, -1), region)[0]
    assert bool((every[:, :2].sum(1) == 1).all())
    assert bool((every[:, 2:].sum(1) == 1).all())
    assert len(every.unique(dim=0)) == 6


def test_the_fields_that_moved_farthest_are_kept() -> None:
    rules: dict[Any, Any] = {0: Within(-1, 1), 1: Within(-4, 4), (2, 3): AnyOf()}
    x = torch.tensor([[5.0, 5.0, 1.0, 0.0]])
    z = torch.tensor([[5.9, 6.0, 0.4, 0.6]])  # .45 of the range, .125, and .2
    for most, want in ((1, [5.9, 5, 1, 0]), (2, [5.9, 5, 0, 1]), (3, [5.9, 6, 0, 1]), (None, [5.9, 6, 0, 1])):
        threat = Columns(rules, max_changed=most).resolved(4, BOUNDS)
        region = threat.region(x, BOUNDS)
        assert threat.render(z, region)[0].tolist() == pytest.approx(want)
        assert float(threat.size(z, region)) == min(most or 3, 3)
        assert threat.radius == min(most or 3, 3)


def test_one_change_too_many_puts_another_one_back_by_turns() -> None:
    threat = Columns({at: Whole(3) for at in range(4)}, max_changed=2).resolved(4, BOUNDS)
    x = torch.full((1, 4), 5.0)
    region, z = threat.region(x, BOUNDS), torch.tensor([[6.0, 5.0, 5.0, 6.0]])
    made = {c: threat.moved(z, torch.tensor([1]), torch.tensor([c]), region)[0].tolist() for c in range(4)}
    assert made == {0: [6, 2, 5, 5], 1: [5, 3, 5, 6], 2: [6, 4, 5, 5], 3: [5, 6, 5, 6]}
    again = threat.moved(z, torch.tensor([0]), torch.tensor([0]), region)[0].tolist()
    assert again == [2, 5, 5, 6], "a changed field changes once more"


# Relations


@pytest.mark.parametrize(
    ("relation", "own", "z", "want"),
    [
        (Linear({0: 1, 1: 1}, at_most=10), (4, 4), (8, 8), (5, 5)),
        (Linear({0: 1, 1: 1}, at_most=10), (4, 4), (8, 4), (6, 4)),
        (Linear({0: 1, 1: 1}, at_most=10), (4, 4), (5, 4), (5, 4)),
        (Linear({0: 1, 1: 1}, at_least=10), (6, 6), (2, 6), (4, 6)),
        (Linear({0: 1, 1: 1}, at_least=10), (6, 6), (2, 2), (5, 5)),
        (Linear({0: 1, 1: 1}, equals=10), (4, 6), (8, 6), (6, 4)),
        (Linear({0: 1, 1: 1}, equals=10), (4, 6), (2, 6), (3, 7)),
        (Linear({0: 2, 1: -1}, at_most=4), (4, 4), (6, 4), (4, 4)),
        (Linear({0: 1, 2: 1}, at_most=10), (4, 4), (8, 4), (7, 4)),  # a column that no rule changes counts
    ],
    ids=str,
)
def test_the_nearest_row_that_a_relation_allows_is_shown(relation: Linear, own: Any, z: Any, want: Any) -> None:
    threat = Columns({0: Within(-5, 5), 1: Within(-5, 5)}, where=[relation]).resolved(3, BOUNDS)
    x, proposal = (torch.tensor([[*map(float, one), 3.0]]) for one in (own, z))
    region = threat.region(x, BOUNDS)
    found = rendered(threat, proposal, region)
    assert found[0].tolist() == pytest.approx([*want, 3], abs=1e-3)
    assert bool(threat.feasible(found, region).all())


def test_whole_numbers_are_rounded_into_what_a_relation_allows() -> None:
    for sign, relation in ((1, Linear({0: 1, 1: 1}, at_most=10.5)), (-1, Linear({0: 1, 1: 1}, at_least=5.5))):
        threat = Columns({0: Whole(5), 1: Within(-5, 5)}, where=[relation]).resolved(2, BOUNDS)
        x = torch.tensor([[4.0, 4.0]])
        found = rendered(threat, x + sign * torch.tensor([[4.0, 0.0]]), threat.region(x, BOUNDS))
        assert found[0].tolist() == ([6, 4] if sign > 0 else [2, 4])


def test_a_row_that_a_rule_or_a_relation_denies_is_not_feasible() -> None:
    rules: dict[Any, Any] = {0: Within(-1, 1), 1: Whole(2), (2, 3): AnyOf(), 4: AnyOf(1, 2)}
    where = [Linear({0: 1, 1: 1}, at_most=10), lambda t: t[:, 0] < 5.9]
    threat = Columns(rules, max_changed=2, where=where).resolved(6, BOUNDS)
    own = torch.tensor([5.0, 4.0, 1.0, 0.0, 1.0, 9.0])
    rows = {
        (5.0, 4.0, 1.0, 0.0, 1.0, 9.0): True,
        (5.5, 4.0, 1.0, 0.0, 1.0, 9.0): True,
        (4.0, 4.0, 0.0, 1.0, 1.0, 9.0): True,
        (5.0, 2.0, 1.0, 0.0, 2.0, 9.0): True,
        (5.5, 3.0, 1.0, 0.0, 2.0, 9.0): False,  # three fields
        (3.9, 4.0, 1.0, 0.0, 1.0, 9.0): False,
        (5.0, 4.5, 1.0, 0.0, 1.0, 9.0): False,
        (5.0, 7.0, 1.0, 0.0, 1.0, 9.0): False,
        (5.0, 4.0, 0.5, 0.5, 1.0, 9.0): False,
        (5.0, 4.0, 1.0, 1.0, 1.0, 9.0): False,
        (5.0, 4.0, 1.0, 0.0, 3.0, 9.0): False,
        (5.0, 4.0, 1.0, 0.0, 1.0, 8.0): False,  # a column without a rule
        (5.0, 6.0, 1.0, 0.0, 1.0, 9.0): False,  # 11 in all
        (5.95, 4.0, 1.0, 0.0, 1.0, 9.0): False,
    }
    x = torch.tensor(list(rows))
    assert threat.feasible(x, threat.region(own.expand(len(rows), -1), BOUNDS)).tolist() == list(rows.values())


@pytest.mark.parametrize("answer", [lambda t: t, lambda t: (t[:, 0] > 0).float(), lambda t: [True] * (len(t) + 1)])
def test_a_relation_answers_with_a_bool_for_each_row(answer: Any) -> None:
    threat = Columns({0: Within(-1, 1)}, where=[answer]).resolved(2, BOUNDS)
    x = torch.rand(4, 2)
    with pytest.raises(ConfigError, match="4 bools of a relation"):
        rendered(threat, x + 0.1, threat.region(x, BOUNDS))
    held = Columns({0: Within(-1, 1)}, where=lambda t: [True] * len(t)).resolved(2, BOUNDS)  # type: ignore[arg-type]
    assert bool((rendered(held, x + 0.1, held.region(x, BOUNDS)) != x).any())


def test_steps_are_as_long_as_each_column_has_room() -> None:
    rules: dict[Any, Any] = {0: Within(-1, 3), 1: Relative(0.1), 2: AnyOf(0, 3, 7), (3, 4): AnyOf(), 5: Within(-50, 50)}
    gradient = torch.tensor([[1.0, -2.0, 0.5, 1.0, -1.0, 0.1, 7.0]])
    room = torch.tensor([4.0, 1.0, 10.0, 1.0, 1.0, 10.0, 0.0])
    plain = Columns(rules).resolved(7, BOUNDS)
    assert torch.allclose(plain.ascent(gradient), gradient.sign() * room)
    few = Columns(rules, max_changed=2).resolved(7, BOUNDS)
    pull = gradient * room
    assert torch.allclose(few.ascent(gradient), room * pull / pull.abs().amax())
    assert torch.equal(Columns(rules).ascent(gradient), gradient.sign()), "before the table is known"
    x = torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0]]).repeat(3, 1)
    assert few.stride(few.region(x, BOUNDS)).tolist() == [1, 1, 1]


def test_numbers_and_their_ranges_are_named() -> None:
    rules: dict[Any, Any] = {0: Within(-1, 3), "b": Whole(1), (3, 4): AnyOf(), 2: AnyOf(1, 2), 5: Fixed()}
    threat = Columns(rules, ranges={0: (-2.0, 8.0)})
    assert threat.spans == {}
    assert threat.numbers() == []
    known = threat.resolved(6, BOUNDS, names=["a", "b", "c", "d", "e", "f"])
    assert known.numbers() == [(0, -2.0, 8.0), (1, 0.0, 10.0)]
    assert known.spans == {"0": "-2 to 8", "b": "0 to 10"}
    for name in (-1, 6, "z"):
        with pytest.raises(ConfigError, match="columns among a, b, c, d, e, f"):
            Columns({name: Whole(1)}).resolved(6, BOUNDS, names=list("abcdef"))


def test_rows_of_very_many_fields_are_not_counted() -> None:
    for fields, most, counted in ((17, None, True), (18, None, False), (18, 17, True), (18, 3, True)):
        threat = Columns({at: Whole(0, 1) for at in range(fields)}, max_changed=most).resolved(fields, BOUNDS)
        points = threat.points(threat.region(torch.zeros(1, fields), BOUNDS))
        assert bool(points.isfinite()) is counted
        if counted and most is None:
            assert float(points) == 2.0**fields
    wide = Columns({at: Whole(0, 10**6) for at in range(3)}).resolved(3, (0.0, 2.0**24))
    assert not bool(wide.points(wide.region(torch.zeros(1, 3), (0.0, 2.0**24))).isfinite())
    related = Columns({0: Within(-2, 2)}, where=[small]).resolved(2, BOUNDS, cells=[[1.0], []])
    assert not bool(related.points(related.region(torch.ones(1, 2), BOUNDS)).isfinite())


@pytest.mark.parametrize("threshold", [0.5, 0.1, 1 / 3, -0.1, 1e-3, 16777217.0])
def test_a_threshold_is_the_largest_stored_number_that_is_not_above_it(threshold: float) -> None:
    found = _below(threshold)
    assert found == float(np.float32(found))
    assert found <= threshold < float(np.nextafter(np.float32(found), np.float32(np.inf)))


class Check:
    def __init__(self, **statistics: float) -> None:
        self.statistics = statistics


class Schema:
    """As pandera's: columns by name, with checks."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns = {name: type("Column", (), {"checks": checks})() for name, checks in columns.items()}


def test_ranges_come_from_the_checks_of_a_schema() -> None:
    schema = Schema(
        a=[Check(min_value=0), Check(min_value=1, max_value=9), Check(max_value=8)],
        b=[Check(min_value=0)],
        c=[type("Check", (), {"statistics": None})(), object()],
    )
    assert Columns({"a": Within(-1, 1)}, ranges=schema).ranges == (("a", (1.0, 8.0)),)
    model = type("Model", (), {"to_schema": staticmethod(lambda: schema)})
    assert Columns({"a": Within(-1, 1)}, ranges=model).ranges == (("a", (1.0, 8.0)),)
    for wrong in (3, object(), "a"):
        with pytest.raises(ConfigError, match="ranges by column, or a schema of pandera"):
            Columns({"a": Within(-1, 1)}, ranges=wrong)
    for ends in ((1, 1), (2, 1)):
        with pytest.raises(ConfigError, match="least < largest"):
            Columns({"a": Within(-1, 1)}, ranges={"a": ends})


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Within(-1.5, 0), "-1.5..+0"),
        (Relative(0.05), "±5 %"),
        (Whole(-1, 3), "-1..+3 whole"),
        (AnyOf(), "any"),
        (AnyOf(1, 2, 3, 4), "1|2|3|4"),
        (AnyOf(1, 2, 3, 4, 5), "1|2|3|4|..."),
        (Increase(2), "0..+2"),
        (Decrease(0.5), "-0.5..0"),
        (Fixed(), "fixed"),
        (Linear({"a": 1, "b": -0.5}, at_most=0), "1 a - 0.5 b <= 0"),
        (Linear({"a": 1}, at_least=2), "1 a >= 2"),
        (Linear({"a": 1}, equals=0), "1 a = 0"),
    ],
    ids=str,
)
def test_rules_and_relations_in_words(rule: Any, words: str) -> None:
    assert str(rule) == words


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Within(-1, -0.5), "below <= 0 <= above"),
        (lambda: Within(True, 1), "below"),
        (lambda: Relative(-0.1), "share >= 0"),
        (lambda: Increase(-1), "below <= 0 <= above"),
        (lambda: Decrease(-1), "below <= 0 <= above"),
        (lambda: Whole(-2), "below <= 0 <= above"),
        (lambda: Whole(-1, 2.5), "whole numbers"),
        (lambda: Linear({0: 1}, at_most=1, at_least=0), "one of at_most"),
        (lambda: Linear({}, at_most=1), "weights"),
        (lambda: Linear({0: "1"}, at_most=1), "weight of 0"),
        (lambda: Columns({0: Within}), "a rule such as"),
        (lambda: Columns({0: Whole(1)}, where=[3]), "relations to be"),
        (lambda: Columns({0: Whole(1)}, max_changed=1.5), "max_changed"),
        (lambda: Columns({(0, 0): AnyOf()}).resolved(3, BOUNDS), "each column in one rule"),
        (lambda: Columns({(0, 1): AnyOf(2)}).resolved(3, BOUNDS), "places 0 to 1"),
        (lambda: Columns({(0, 1): AnyOf(-1)}).resolved(3, BOUNDS), "places 0 to 1"),
        (lambda: Columns({0: Whole(1)}).region(torch.zeros(2, 3, 1), BOUNDS), r"rows \(N, D\)"),
    ],
)
def test_more_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


# Whole numbers that a column of floats holds, because one is missing


def households(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Children as pandas holds them beside a gap, and an income."""
    random = np.random.default_rng(seed)
    children = random.integers(0, 6, n).astype(float)
    children[7] = np.nan
    return pd.DataFrame({"children": children, "income": random.normal(50, 10, n)})


def counts_children(frame: Any) -> Tensor:
    """Two classes that part between two and three children; no model answers for a third of a child."""
    held = frame["children"].to_list()  # of pandas and of polars
    children = torch.tensor([0.0 if one is None or pd.isna(one) else float(one) for one in held])
    odd = children != children.round()
    many = (children > 2.5) ^ odd
    return torch.stack([(~many).float(), many.float()], 1)


def of_children(frame: Any, rules: dict[Any, Any]) -> Any:
    labels = counts_children(frame).argmax(1).numpy()
    return measure_robust_accuracy(counts_children, (frame, labels), Columns(rules), exact=True)


def test_no_household_has_a_third_of_a_child() -> None:
    frame = households()
    children = frame["children"].fillna(0.0)
    # One more or one less, inside 0 to 5: 2 and 3 are on the border. A gap stays one.
    truth = float((~children.isin([2.0, 3.0])).mean())
    assert of_children(frame, {"children": Within(-1, 1)}).estimate == pytest.approx(truth)
    assert of_children(frame, {"children": Relative(0.9)}).details["ranges"] == {"children": "0 to 5 whole"}
    whole = frame.assign(children=pd.array(frame["children"], dtype="Int64"))
    assert of_children(whole, {"children": Within(-1, 1)}).estimate == pytest.approx(truth)


def test_fractions_are_shown_where_a_rule_asks_for_them() -> None:
    frame = households()
    assert of_children(frame, {"children": Within(-1, 1, whole=False)}).estimate < 0.1
    assert of_children(frame.assign(children=frame["children"] / 2), {"children": Within(-1, 1)}).estimate < 0.1
    large = frame.assign(children=frame["children"] + 2.0**25)  # float32 lacks some of these
    assert not Frames.of(large).whole_in(0)


def test_a_column_of_polars_is_whole_by_its_values() -> None:
    polars = pytest.importorskip("polars")
    frame = households()
    truth = of_children(frame, {"children": Within(-1, 1)}).estimate
    for column in (
        polars.Series("children", [None if np.isnan(one) else one for one in frame["children"]]),
        polars.Series("children", frame["children"].to_numpy()),
    ):
        other = polars.DataFrame({"children": column, "income": frame["income"].to_numpy()})
        assert of_children(other, {"children": Within(-1, 1)}).estimate == pytest.approx(truth)
        assert Columns.from_frame(other, eps=0.2).changes[0] == ("children", Whole(1))


def test_a_proposal_for_whole_values_is_of_whole_steps() -> None:
    frame = households()
    assert dict(Columns.from_frame(frame, eps=0.2).changes)["children"] == Whole(1)
    assert isinstance(dict(Columns.from_frame(frame / 2, eps=0.2).changes)["children"], Within)


def test_arrays_are_whole_by_their_rules_alone() -> None:
    x = torch.arange(12).view(6, 2).float()
    for rule, whole in ((Within(-1, 1), False), (Whole(1), True), (Within(-1, 1, whole=True), True)):
        layout = Columns({0: rule}).resolved(2, (0.0, 20.0)).layout
        assert layout is not None
        assert layout.whole.tolist() == [whole]
    region = Columns({0: Within(-1, 1)}).resolved(2, (0.0, 20.0)).region(x, (0.0, 20.0))
    assert region is not None


def test_a_rule_without_room_for_a_whole_step_is_named() -> None:
    with pytest.raises(ConfigError, match=r"room for a whole step.*whole=False"):
        of_children(households(), {"children": Within(-0.5, 0.5)})
    whole = households().assign(children=np.arange(60))
    with pytest.raises(ConfigError, match="a column of floats for fractions of 'children'"):
        of_children(whole, {"children": Within(-1, 1, whole=False)})
    for make in (lambda: Within(-1, 1, whole=1), lambda: Relative(0.1, whole="no"), lambda: Increase(1, whole=0)):
        with pytest.raises(ConfigError, match="whole to be True, False or None"):
            make()
    assert [str(one) for one in (Within(-1, 1, whole=False), Increase(2, whole=True))] == [
        "-1..+1 with fractions",
        "0..+2 whole",
    ]
