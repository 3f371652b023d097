"""The count of changed pixels: the nearest point by enumeration, random pixels, and what a pixel is."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from robustest import L0, ConfigError, rng
from robustest.threats import by_pixel, sparse

Pair = tuple[Tensor, Tensor]


@st.composite
def pairs(draw: Any) -> Pair:
    shape = draw(st.sampled_from([(6,), (2, 5), (3, 2, 3), (1, 4, 1)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    x = torch.rand(4, *shape, generator=generator)
    return x, x + torch.randn(x.shape, generator=generator) * 10 ** draw(st.floats(-2, 1))


@given(pairs(), st.integers(0, 7))
def test_no_choice_of_pixels_is_nearer(pair: Pair, pixels: int) -> None:
    x, z = pair
    region = L0(pixels).region(x, (0.0, 1.0))
    got = L0(pixels).project(z, region)
    clipped, count = z.clamp(0, 1), by_pixel(x).shape[2]
    nearest = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for chosen in combinations(range(count), min(pixels, count)):
        kept = torch.zeros(count, dtype=torch.bool)
        kept[list(chosen)] = True
        tried = torch.where(kept, by_pixel(clipped), by_pixel(x)).reshape(x.shape)
        nearest = torch.minimum(nearest, (tried.double() - z.double()).flatten(1).norm(dim=1))
    assert torch.allclose((got.double() - z.double()).flatten(1).norm(dim=1), nearest, rtol=1e-9)


@given(pairs(), st.integers(0, 7))
def test_pixels_are_taken_whole(pair: Pair, pixels: int) -> None:
    x, z = pair
    threat = L0(pixels)
    got = threat.project(z, threat.region(x, (0.0, 1.0)))
    changed = (by_pixel(got) != by_pixel(x)).any(1)
    assert int(changed.sum(1).max()) <= pixels
    kept = by_pixel(z.clamp(0, 1)).transpose(1, 2)[changed]
    assert torch.equal(by_pixel(got).transpose(1, 2)[changed], kept)
    assert torch.equal(threat.size(got, {"x": x}), changed.sum(1).double())


def test_the_largest_change_stays() -> None:
    x = torch.full((1, 2, 1, 3), 0.5)
    z = torch.tensor([[[[0.7, 0.5, 0.9]], [[0.7, 0.9, 0.7]]]])  # squared changes .08, .16, .20
    threat = L0(2)
    got = threat.project(z, threat.region(x, (0.0, 1.0)))
    assert got.tolist() == torch.tensor([[[[0.5, 0.5, 0.9]], [[0.5, 0.9, 0.7]]]]).tolist()


def test_of_equal_changes_the_first_stay() -> None:
    x = torch.zeros(1, 5)
    threat = L0(2)
    assert threat.project(torch.ones(1, 5), threat.region(x, (0.0, 1.0))).tolist() == [[1, 1, 0, 0, 0]]


def test_rows_may_have_budgets_of_their_own() -> None:
    x = torch.zeros(4, 5)
    region = L0(0).region(x, (0.0, 1.0))
    got = sparse(torch.ones(4, 5), region, torch.tensor([0, 2, 5, 9]))
    assert got.sum(1).tolist() == [0, 2, 5, 5]


@pytest.mark.parametrize(("shape", "pixels"), [((3, 8, 8), 64), ((4, 6), 6), ((9,), 9), ((2, 3, 4, 5), 60)])
def test_channels_of_a_position_are_one_pixel(shape: tuple[int, ...], pixels: int) -> None:
    x = torch.zeros(1, *shape)
    assert L0(1).size(torch.ones_like(x), {"x": x}).item() == pixels


def test_starts_choose_pixels_evenly_and_fill_them_evenly() -> None:
    x = torch.full((3000, 2, 2, 3), 0.5)
    threat = L0(2)
    z = threat.start(threat.region(x, (0.0, 1.0)), rng.keys(0, torch.arange(3000)))
    changed = (z != x).any(1).flatten(1)
    assert changed.sum(1).tolist() == [2] * 3000
    assert stats.chisquare(changed.sum(0).numpy()).pvalue > 1e-6
    values = z.flatten(2).transpose(1, 2)[changed].flatten()
    assert stats.kstest(values.double().numpy(), "uniform").pvalue > 1e-6


def test_ascent_is_the_gradient_at_a_mean_size_of_one() -> None:
    g = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    g *= torch.logspace(-30, 30, 5).view(-1, 1, 1, 1)
    v = L0(3).ascent(g)
    assert torch.allclose(v.abs().flatten(1).mean(1), torch.ones(5), rtol=1e-5)
    cosine = torch.nn.functional.cosine_similarity(v.double().flatten(1), g.double().flatten(1), eps=0)
    assert torch.allclose(cosine, torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize("pixels", [-1, 1.0, True, None, "3"], ids=repr)
def test_pixels_are_counted(pixels: object) -> None:
    with pytest.raises(ConfigError, match="Expected pixels"):
        L0(pixels)  # type: ignore[arg-type]


def test_it_is_shown_with_its_count() -> None:
    assert str(L0(5)) == "L0(pixels=5)"
    assert L0(5).radius == 5.0
