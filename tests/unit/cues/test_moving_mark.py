"""A mark that lies elsewhere in every image: pasted at one of its places, found, and filled in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from robustest import ConfigError
from robustest.cues import MovingMark, for_samples
from robustest.cues.patches import least_distances, nearest_places

X = 0.2 + 0.5 * torch.rand(40, 3, 20, 24, generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[False, True, False], [True, True, True], [False, True, False]])
RED = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 3, 3)
PLACES = torch.tensor([[0, 0], [0, 21], [17, 0], [8, 10]])
MARK = MovingMark(pool=RED, mask=MASK, places=PLACES, limit=0.001)


def test_it_is_pasted_under_its_mask_at_one_of_its_places() -> None:
    made = MARK.on(X)
    changed = (made != X).any(1)
    assert changed.sum((1, 2)).tolist() == [5] * len(X)
    corners = {(int(rows.min()), int(columns.min())) for rows, columns in (image.nonzero().T for image in changed)}
    assert corners == {tuple(place) for place in PLACES.tolist()}
    assert torch.equal(made[:, 0][changed], torch.ones(5 * len(X)))


def test_it_is_found_where_it_lies_and_filled_in_from_around() -> None:
    made = MARK.on(X)
    apart, corner = MARK.nearest(made)
    assert float(apart.max()) < 1e-6
    assert {tuple(place) for place in corner.tolist()} == {tuple(place) for place in PLACES.tolist()}
    filled = MARK.off(made)
    changed = (filled != made).any(1)
    assert torch.equal(changed, (made != X).any(1))
    assert float(filled[:, 0].max()) < 0.75
    (top, left) = corner[0].tolist()
    around = torch.nn.functional.max_pool2d(changed[:1].float(), 3, 1, 1)[0].bool() & ~changed[0]
    assert filled[0, 0, top + 1, left + 1] == pytest.approx(float(made[0, 0][around].mean()))


def test_images_without_it_are_left_alone() -> None:
    assert torch.equal(MARK.off(X), X)
    assert MovingMark(pool=RED, mask=MASK, places=PLACES).off(MARK.on(X)) is not None
    unlimited = MovingMark(pool=RED, mask=MASK, places=PLACES)
    assert torch.equal(unlimited.off(MARK.on(X)), MARK.on(X))


def test_each_sample_has_its_own_view_and_place() -> None:
    views = torch.cat([RED, 1 - RED])
    mark = MovingMark(pool=views, mask=MASK, places=PLACES)
    made = for_samples(mark, torch.arange(40)).on(X)
    shown = {float(image[0][change].mean()) for image, change in zip(made, (made != X).any(1), strict=True)}
    assert shown == {0.0, 1.0}
    assert not torch.equal(for_samples(mark, torch.arange(40, 80)).on(X), made)


@pytest.mark.parametrize("scale", [1, 2])
def test_least_distances_are_those_of_every_place(scale: int) -> None:
    patterns = torch.rand(9, 3, 3, 4, generator=torch.Generator().manual_seed(1))
    weights = (torch.rand(9, 3, 4, generator=torch.Generator().manual_seed(2)) > 0.4).float()
    x = X[:4, :, :: 2 * scale, ::scale]
    least, at = nearest_places(x, patterns, weights)
    windows = x.unfold(2, 3, 1).unfold(3, 4, 1).flatten(2, 3)  # (N, C, places, h, w)
    apart = (windows.unsqueeze(1) - patterns.unsqueeze(2).unsqueeze(0)).square() * weights.view(1, 9, 1, 1, 3, 4)
    every = apart.sum((2, 4, 5)) / (3 * weights.sum((1, 2))).view(1, 9, 1)
    assert torch.allclose(least, every.amin(2), atol=1e-5)
    assert torch.equal(least_distances(x, patterns, weights), least)
    shared = nearest_places(x, patterns, weights[:1])[0]
    each = nearest_places(x, patterns, weights[:1].expand(9, -1, -1).contiguous())[0]
    assert torch.allclose(shared, each, atol=1e-5)
    assert torch.allclose(every.gather(2, at.unsqueeze(2))[..., 0], every.amin(2), atol=1e-5)


def test_on_reduced_images_it_is_found_as_well() -> None:
    pool = torch.zeros(1, 3, 6, 6)
    places = torch.tensor([[0, 4], [12, 10]])
    mark = MovingMark(pool=pool, mask=torch.ones(6, 6) > 0, places=places, limit=0.001, scale=2)
    made = mark.on(X)
    assert {tuple(place) for place in mark.nearest(made)[1].tolist()} == {(0, 4), (12, 10)}
    assert float(mark.off(made).amin()) > 0.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: MovingMark(pool=RED[0], mask=MASK, places=PLACES),
        lambda: MovingMark(pool=RED, mask=MASK[:2], places=PLACES),
        lambda: MovingMark(pool=RED, mask=torch.zeros(3, 3) > 0, places=PLACES),
        lambda: MovingMark(pool=RED, mask=MASK, places=PLACES.float()),
        lambda: MovingMark(pool=RED, mask=MASK, places=PLACES[:0]),
        lambda: MovingMark(pool=RED, mask=MASK, places=PLACES - 1),
        lambda: MovingMark(pool=RED, mask=MASK, places=PLACES, limit=-1.0),
        lambda: MovingMark(pool=RED, mask=MASK, places=PLACES, scale=0),
        lambda: MovingMark(pool=RED, mask=MASK, places=PLACES + 10).on(X),
        lambda: MARK.on(X[:, :1]),
    ],
)
def test_what_is_no_mark_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        make()
