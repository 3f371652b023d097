"""The balls' numbers beside slow code: regions, strides, starts, steps and nearest points."""

from __future__ import annotations

import math
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustest import L1, L2, ConfigError, Linf, Snr, rng
from robustest.threats import L0
from robustest.threats.threat import (
    Unbounded,
    box,
    by_pixel,
    clip,
    count,
    filled,
    images,
    is_discrete,
    length,
    nearest_in_l1,
    number,
    per_row,
    rendered,
    shrunk,
    sparse,
    within,
)

BOUNDS = (-1.0, 3.0)


def samples(n: int = 4, shape: tuple[int, ...] = (2, 3), seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) * 4 - 1


def keys(n: int = 4) -> Tensor:
    return rng.keys(3, torch.arange(n))


def test_a_box_holds_its_bounds_and_their_width() -> None:
    region = box(samples(), BOUNDS)
    assert {name: tuple(value.shape) for name, value in region.items()} == {
        "x": (4, 2, 3), "low": (4, 1, 1), "high": (4, 1, 1), "span": (4,),
    }  # fmt: skip
    assert (region["low"].flatten().tolist(), region["high"].flatten().tolist()) == ([-1.0] * 4, [3.0] * 4)
    assert region["span"].tolist() == [4.0] * 4
    assert clip(torch.tensor([[[-2.0]], [[5.0]]]), box(samples(2), BOUNDS)).flatten().tolist() == [-1.0, 3.0]


@pytest.mark.parametrize("eps", [0.0, 0.3, 7.0])
def test_a_stride_crosses_the_ball_or_the_bounds(eps: float) -> None:
    x = samples()
    for threat, room in ((Linf(eps), 4.0), (L2(eps), 4 * math.sqrt(6)), (L1(eps), 24.0)):
        stride = threat.stride(threat.region(x, BOUNDS))
        assert stride.tolist() == pytest.approx([min(eps, room)] * 4)
    assert L0(2).stride(L0(2).region(x, BOUNDS)).tolist() == [128.0] * 4
    everything = Unbounded()
    assert everything.stride(everything.region(x, BOUNDS)).tolist() == [4.0] * 4


@pytest.mark.parametrize("threat", [Linf(0.3), L2(0.3), L1(0.3), L0(1), Snr(10), Unbounded()], ids=str)
@pytest.mark.parametrize("n", [0, 1])
def test_one_sample_and_none_have_the_numbers_that_they_have_among_others(threat: Any, n: int) -> None:
    x, key = samples(), keys()
    many, few = threat.region(x, BOUNDS), threat.region(x[:n], BOUNDS)
    assert all(torch.equal(few[name], many[name][:n]) for name in many)
    gradient = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(2))
    assert torch.equal(threat.ascent(gradient[:n]), threat.ascent(gradient)[:n])
    if n:
        assert torch.equal(threat.stride(few), threat.stride(many)[:n])
        assert torch.equal(threat.start(few, key[:n]), threat.start(many, key)[:n])
    assert torch.equal(threat.project(x[:n] + 1, few), threat.project(x + 1, many)[:n])
    assert torch.equal(threat.size(x[:n] + 0.1, few), threat.size(x + 0.1, many)[:n])
    assert torch.equal(threat.render(threat.origin(few), few), x[:n])


def test_a_box_of_linf_is_rounded_inwards() -> None:
    x = samples(200)
    for eps in (0.1, 1e-8, 8 / 255):
        region = Linf(eps).region(x, BOUNDS)
        for end, sign in (("low", -1), ("high", 1)):
            wanted = (x.double() + sign * eps).clamp(*BOUNDS)
            assert float(((region[end].double() - wanted) * sign).max()) <= 0
            outwards = torch.nextafter(region[end], torch.full_like(x, sign * torch.inf)).double()
            outside = (outwards - x.double()).abs() > eps
            assert bool((outside | (region[end] == BOUNDS[sign > 0])).all())


def test_a_radius_of_l2_leaves_room_for_rounding() -> None:
    for shape in ((1,), (7,), (3, 20, 20)):
        for bounds in ((0.0, 1.0), (-5.0, 2.0)):
            reach = L2(0.7).region(samples(2, shape), bounds)["reach"]
            expected = 0.7 * (1 - 1e-6) - math.sqrt(math.prod(shape)) * max(map(abs, bounds)) / 2**24
            assert reach.tolist() == pytest.approx([expected] * 2, rel=1e-7)
    assert L2(1e-9).region(samples(2), (0.0, 255.0))["reach"].tolist() == [0.0] * 2


@pytest.mark.parametrize("db", [26, -20])
def test_a_ratio_of_noise_is_a_ball_by_each_samples_own_energy(db: float) -> None:
    threat, x = Snr(db), samples()
    x[1] = 0
    region = threat.region(x, BOUNDS)
    energy = x.double().flatten(1).square().sum(1).sqrt()
    radius = 10 ** (-db / 20)
    assert threat.radius == pytest.approx(radius)
    assert region["loudness"].tolist() == pytest.approx(energy.tolist())
    ball = energy * radius * (1 - 1e-6)
    room = (x.double().abs().flatten(1).amax(1) + ball) * math.sqrt(6) / 2**24
    assert region["reach"].tolist() == pytest.approx((ball - room).clamp(min=0).tolist(), rel=1e-7)
    assert threat.radii(region).tolist() == pytest.approx((energy * radius).tolist())
    assert threat.ratio(radius) == pytest.approx(db)
    z = x.clone()
    z[:, 0, 0] += 0.5
    assert threat.size(x, region).tolist() == [0.0] * 4
    assert threat.size(z, region).tolist() == pytest.approx([0.5 / e if e else math.inf for e in energy.tolist()])
    assert str(Snr(26)) == "Snr(26 dB)"
    for allowed in (300, -300, 0):
        assert Snr(allowed).db == float(allowed)
    for wrong in (300.1, -300.1, True, "3"):
        with pytest.raises(ConfigError, match="db to be a number"):
            Snr(wrong)  # type: ignore[arg-type]


def test_sizes_are_norms() -> None:
    x, z = samples(), samples(seed=1)
    delta = (z.double() - x.double()).flatten(1)
    z[0] = x[0]
    delta[0] = 0
    for threat, norm in (
        (Linf(1.0), delta.abs().amax(1)),
        (L2(1.0), delta.square().sum(1).sqrt()),
        (L1(1.0), delta.abs().sum(1)),
        (Unbounded(), delta.abs().amax(1) / 4),
        (L0(1), torch.tensor([0.0, 3.0, 3.0, 3.0]).double()),
    ):
        found = threat.size(z, threat.region(x, BOUNDS))
        assert found.dtype == torch.float64
        assert found.tolist() == pytest.approx(norm.tolist())
    size = torch.tensor([1.0, 1 + 0.9e-6, 1 + 1.1e-6], dtype=torch.float64)
    assert within(size, Linf(1.0)).tolist() == [True, True, False]


def test_starts_are_these_draws() -> None:
    x, key = samples(), keys()
    region = Linf(0.5).region(x, BOUNDS)
    u = rng.uniform(key, (2, 3))
    assert torch.equal(Linf(0.5).start(region, key), clip(region["low"] + u * (region["high"] - region["low"]), region))
    region = Unbounded().region(x, BOUNDS)
    assert torch.allclose(Unbounded().start(region, key), -1 + 4 * u)
    direction = rng.normal(rng.fold(key, "direction"), (2, 3))
    direction = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1)
    share = rng.uniform(rng.fold(key, "radius"), (1,)).double() ** (1 / 6)
    region = L2(0.5).region(x, BOUNDS)
    expected = (x + direction * 0.5 * share.view(-1, 1, 1).float()).clamp(*BOUNDS)
    assert torch.allclose(L2(0.5).start(region, key), expected, atol=1e-5)
    parts = -(rng.uniform(rng.fold(key, "parts"), (7,)) + 2.0**-25).log()
    shares = rng.signs(rng.fold(key, "signs"), (6,)) * parts[:, :6] / parts.sum(1, keepdim=True)
    region = L1(0.01).region(x, (-2.0, 4.0))  # no bound is near
    assert torch.allclose(L1(0.01).start(region, key), x + 0.01 * shares.view(4, 2, 3), atol=1e-6)
    region = L0(2).region(x, BOUNDS)
    started = L0(2).start(region, key)
    value = -1 + 4 * rng.uniform(rng.fold(key, "values"), (2, 3))
    order = rng.uniform(rng.fold(key, "pixels"), (3,)).argsort(descending=True)
    for row in range(4):
        for place in range(3):
            chosen = place in order[row, :2].tolist()
            assert torch.allclose(started[row, :, place], (value if chosen else x)[row, :, place])


def test_steps_climb_as_steeply_as_their_norm_allows() -> None:
    gradient = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0], [-2.0, 2.0, 1.0]])
    assert Linf(1).ascent(gradient).tolist() == [[1, -1, 0], [0, 0, 0], [-1, 1, 1]]
    assert L2(1).ascent(gradient)[:2].flatten().tolist() == pytest.approx([0.6, -0.8, 0, 0, 0, 0])
    assert L1(1).ascent(gradient).tolist() == [[0, -1, 0], [0, 0, 0], [-1, 0, 0]]
    dense = L0(1).ascent(gradient)
    assert dense[0].tolist() == pytest.approx([9 / 7, -12 / 7, 0])
    assert dense[1].tolist() == [0, 0, 0]
    assert length(gradient)[[0, 2]].tolist() == [5.0, 3.0]
    assert 0 < float(length(gradient)[1]) < 1e-37


def test_a_projection_in_l2_shortens_to_the_reach_and_clips() -> None:
    x, z = samples(), samples(seed=1) * 3
    region = L2(0.8).region(x, BOUNDS)
    delta = (z - x).double()
    scale = (region["reach"].double() / delta.flatten(1).norm(dim=1)).clamp(max=1)
    expected = (x.double() + delta * scale.view(-1, 1, 1)).clamp(*BOUNDS)
    assert torch.allclose(L2(0.8).project(z, region).double(), expected, atol=1e-6)
    assert torch.equal(L2(80.0).project(x, L2(80.0).region(x, BOUNDS)), x)


@pytest.mark.parametrize("eps", [0.0, 0.3, 2.0, 100.0])
def test_moves_in_l1_are_those_of_a_bisection(eps: float) -> None:
    draw = torch.Generator().manual_seed(1)
    way, room = (torch.rand(6, 9, generator=draw, dtype=torch.float64) for _ in range(2))
    way[0], room[1], way[2, 4] = 0.0, 0.0, 1.0
    found = shrunk(way, room, torch.full((6, 1), eps, dtype=torch.float64))
    for row in range(6):
        low, high = 0.0, 1.0
        if float(torch.minimum(way[row], room[row]).sum()) <= eps:
            high = 0.0
        for _ in range(60):
            middle = (low + high) / 2
            total = float(torch.minimum((way[row] - middle).clamp(min=0), room[row]).sum())
            low, high = (low, middle) if total <= eps else (middle, high)
        expected = torch.minimum((way[row] - high).clamp(min=0), room[row])
        assert found[row].tolist() == pytest.approx(expected.tolist(), abs=1e-9)
        assert float(found[row].sum()) <= eps


def test_a_nearest_point_in_l1_is_exact_in_what_is_stored() -> None:
    x, z = samples(50), samples(50, seed=1) * 2
    region = box(x, BOUNDS)
    radius = torch.linspace(0, 6, 50, dtype=torch.float64)
    found = nearest_in_l1(z, region, radius)
    spent = (found.double() - x.double()).abs().flatten(1).sum(1)
    assert bool((spent <= radius).all())
    wide = (z.clamp(*BOUNDS).double() - x.double()).abs().flatten(1).sum(1)
    assert spent.tolist() == pytest.approx(torch.minimum(wide, radius).tolist(), abs=2e-6)
    assert float(found.min()) >= -1.0
    assert float(found.max()) <= 3.0


def test_a_step_in_l1_fills_the_steepest_elements_in_turn() -> None:
    x = torch.tensor([[0.0, 0.5, -0.5, 1.0]])
    region = box(x, (-1.0, 1.0))
    gradient = torch.tensor([[1.0, -3.0, 2.0, 0.0]])
    for spent, expected in (
        (0.0, [0, 0, 0, 0]), (1.0, [0, -1, 0, 0]), (1.5, [0, -1.5, 0, 0]), (2.0, [0, -1.5, 0.5, 0]),
        (3.5, [0.5, -1.5, 1.5, 0]), (9.0, [1.0, -1.5, 1.5, 0]),
    ):  # fmt: skip
        assert filled(gradient, x, region, torch.tensor([spent])).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("pixels", [0, 1, 2, 3])
def test_pixels_are_kept_where_that_is_nearest(pixels: int) -> None:
    x, z = samples(), samples(seed=1) * 2
    region = box(x, BOUNDS)
    clipped = z.clamp(*BOUNDS)
    for row in range(4):
        best = min(
            (
                torch.where(torch.isin(torch.arange(3), torch.tensor(kept, dtype=torch.int64)), clipped[row], x[row])
                for kept in combinations(range(3), pixels)
            ),
            key=lambda one: float((one.double() - z[row].double()).square().sum()),
        )
        assert torch.equal(sparse(z, region, pixels)[row], best)
    each = sparse(z, region, torch.tensor([0, 1, 2, 3]))
    assert [int((each != x).any(1)[row].sum()) for row in range(4)] == [0, 1, 2, 3]
    assert by_pixel(torch.zeros(2, 3, 4, 5)).shape == (2, 3, 20)
    assert by_pixel(torch.zeros(2, 3, 4)).shape == (2, 3, 4)
    assert by_pixel(torch.zeros(2, 3)).shape == (2, 1, 3)


def test_an_input_that_is_not_feasible_is_the_sample_and_keeps_its_gradient() -> None:
    class Sparse(Linf):
        __slots__ = ()

        def feasible(self, x: Tensor, region: dict[str, Tensor]) -> Tensor:
            return x.flatten(1).sum(1) < 1

    threat, x = Sparse(1.0), torch.zeros(2, 2)
    region = threat.region(x, BOUNDS)
    z = torch.tensor([[0.2, 0.3], [0.9, 0.9]], requires_grad=True)
    found = rendered(threat, z, region)
    assert found.tolist() == [pytest.approx([0.2, 0.3]), [0, 0]]
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None
    assert z.grad.tolist() == [[1, 1], [1, 1]]
    assert rendered(threat, z.detach(), region)[1].tolist() == [0, 0]
    assert per_row(torch.tensor([1.0, 2.0]), torch.zeros(2, 3, 4)).shape == (2, 1, 1)


def test_settings_have_their_ranges() -> None:
    assert (number("a", 0, largest=2), number("a", 2, largest=2.0), count("a", 0), count("a", 5)) == (0.0, 2.0, 0, 5)
    wrong: list[Any] = [-0.1, 2.1, True, "1", None, math.nan]
    for value in wrong:
        with pytest.raises(ConfigError, match="a to be"):
            number("a", value, largest=2)
    for value in (-1, 1.0, True, None):
        with pytest.raises(ConfigError, match="whole number"):
            count("a", value)
    assert images(torch.zeros(2, 3, 4, 5), Linf(1)) == (4, 5)
    with pytest.raises(ConfigError, match="images of shape"):
        images(torch.zeros(2, 3, 4), Linf(1))
    largest = float(np.finfo(np.float32).max)
    assert Linf(largest).radius == largest
    assert type(L2(1).eps) is float
    for eps in (-1e-9, largest * 1.01, math.nan):
        with pytest.raises(ConfigError, match="eps"):
            L1(eps)
    assert (Linf.axis, Snr.axis, L0.axis, str(Unbounded()), Unbounded().radius) == (
        "eps",
        "db",
        "pixels",
        "Unbounded()",
        1,
    )


def test_a_threat_of_moves_has_all_of_their_methods() -> None:
    names = ("places", "choices", "moved", "points", "point")
    for count_of in range(len(names) + 1):
        for some in combinations(names, count_of):
            threat: Any = SimpleNamespace(**dict.fromkeys(some))
            assert is_discrete(threat) is (len(some) == 5)
    assert not is_discrete(None)
    assert not is_discrete(Linf(0.1))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_starts_in_l2_fill_small_balls_by_their_volume(size: int) -> None:
    x, key = torch.zeros(40, size), keys(40)
    started = L2(0.5).start(L2(0.5).region(x, BOUNDS), key)
    share = rng.uniform(rng.fold(key, "radius"), (1,)).double() ** (1 / size)
    assert torch.allclose(started.double().norm(dim=1), 0.5 * share[:, 0], atol=1e-5)
