"""The patch: what is rendered is the sample with a rectangle replaced, and nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustest import ConfigError, Patch, rng

BOUNDS = (-1.0, 2.0)


def images(n: int = 5, shape: tuple[int, ...] = (2, 5, 7)) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


def proposal(content: Tensor, corner: list[float]) -> Tensor:
    place = torch.tensor([corner] * len(content))
    return torch.cat([content.flatten(1), place], 1)


@given(st.integers(1, 5), st.integers(1, 7), st.floats(-3, 9), st.floats(-3, 9))
def test_a_rectangle_is_replaced(height: int, width: int, top: float, left: float) -> None:
    x = images()
    content = torch.randn(5, 2, height, width, generator=torch.Generator().manual_seed(1))
    threat = Patch(height, width)
    region = threat.region(x, BOUNDS)
    z = threat.project(proposal(content, [top, left]), region)
    row = round(min(max(top, 0), 5 - height))
    column = round(min(max(left, 0), 7 - width))
    wanted = x.clone()
    wanted[:, :, row : row + height, column : column + width] = content.clamp(*BOUNDS)
    assert torch.equal(threat.render(z, region), wanted)
    assert torch.equal(threat.size(z, region), (wanted != x).flatten(1).any(1).double())


@pytest.mark.parametrize(("top", "left"), [(1, 2), (3, 0), (None, 4), (2, None)])
def test_a_fixed_place_is_kept(top: int | None, left: int | None) -> None:
    x = images(200)
    threat = Patch(2, 3, top=top, left=left)
    region = threat.region(x, BOUNDS)
    starts = threat.start(region, rng.keys(0, torch.arange(200)))
    away = starts + 100 * torch.randn(starts.shape, generator=torch.Generator().manual_seed(2))
    for z in (starts, threat.project(away, region)):
        changed = (threat.render(z, region) != x).any(1)
        rows, columns = changed.any(2), changed.any(1)
        assert bool((rows.sum(1) <= 2).all())
        assert bool((columns.sum(1) <= 3).all())
        if top is not None:
            assert set(rows.nonzero()[:, 1].tolist()) == {top, top + 1}
        if left is not None:
            assert set(columns.nonzero()[:, 1].tolist()) == {left, left + 1, left + 2}


def test_starts_are_everywhere_and_anything() -> None:
    x = images(3000)
    threat = Patch(2, 3)
    z = threat.start(threat.region(x, BOUNDS), rng.keys(0, torch.arange(3000)))
    corners = {tuple(c) for c in z[:, -2:].tolist()}
    assert corners == {(r, c) for r in range(4) for c in range(5)}
    assert float(z[:, :-2].min()) < -0.99
    assert float(z[:, :-2].max()) > 1.99


def test_the_gradient_reaches_the_content_and_not_the_place() -> None:
    x = images()
    threat = Patch(2, 3)
    region = threat.region(x, BOUNDS)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    z = threat.start(region, rng.keys(1, torch.arange(5))).requires_grad_(True)
    (gradient,) = torch.autograd.grad((threat.render(z, region) * weight).sum(), z)
    for i in range(5):
        row, column = (int(v) for v in z[i, -2:])
        assert torch.equal(gradient[i, :-2], weight[i, :, row : row + 2, column : column + 3].flatten())
    assert torch.equal(gradient[:, -2:], torch.zeros(5, 2))
    assert torch.equal(threat.ascent(gradient), gradient.sign())


def test_any_corner_holds_the_sample() -> None:
    x = images()
    threat = Patch(2, 3)
    region = threat.region(x, BOUNDS)
    corner = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 2.0], [3.0, 0.0], [2.0, 1.0]])
    z = threat.placed(corner, region)
    assert torch.equal(z[:, -2:], corner)
    assert torch.equal(threat.render(z, region), x)


def test_a_patch_as_large_as_the_image_is_the_image() -> None:
    x = images()
    threat = Patch(5, 7)
    region = threat.region(x, BOUNDS)
    content = torch.rand(x.shape, generator=torch.Generator().manual_seed(4))
    assert torch.equal(threat.render(proposal(content, [0.0, 0.0]), region), content)


@pytest.mark.parametrize("shape", [(7,), (5, 7), (1, 5, 7, 2)])
def test_only_images_have_patches(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"Expected images of shape \(N, C, H, W\)"):
        Patch(1, 1).region(torch.zeros(2, *shape), BOUNDS)


@pytest.mark.parametrize("threat", [Patch(6, 1), Patch(1, 8), Patch(2, 2, top=4), Patch(2, 2, left=6)], ids=str)
def test_a_patch_fits(threat: Patch) -> None:
    with pytest.raises(ConfigError, match="to fit into the images"):
        threat.region(images(), BOUNDS)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("height", (-1, 2)), ("height", (1.5, 2)), ("width", (1, True)), ("top", (1, 1, -1)), ("left", (1, 1, 0, "2"))],
)
def test_pixels_are_whole(name: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(ConfigError, match=f"Expected {name} to be a whole number >= 0"):
        Patch(*arguments)  # type: ignore[arg-type]


def test_it_is_shown_with_its_place() -> None:
    assert str(Patch(3, 4)) == "Patch(height=3, width=4)"
    assert str(Patch(3, 4, top=0, left=5)) == "Patch(height=3, width=4, top=0, left=5)"
