"""Backgrounds swapped behind an object, and objects taken from their background."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from robustest import ConfigError
from robustest.cues import BackgroundSwap, ForegroundRemoval, for_samples

N = 6
X = torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MASKS = torch.zeros(N, 1, 8, 8)
for _row in range(N):
    MASKS[_row, 0, 2, _row : _row + 2] = 1.0  # an object of two pixels, at another place in each
POOL = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 8, 8) / 10
IDS = torch.arange(N)


def test_the_object_stays_and_the_background_is_another() -> None:
    cue = for_samples(BackgroundSwap(masks=MASKS, backgrounds=POOL), IDS)
    on = cue.on(X)
    body = MASKS.bool().expand_as(X)
    assert torch.equal(on[body], X[body])
    behind = torch.stack([on[row][~body[row]] for row in range(N)])
    assert bool((behind == behind[:, :1]).all())
    assert set(behind[:, 0].tolist()) <= set(POOL[:, 0, 0, 0].tolist())
    assert len(set(behind[:, 0].tolist())) > 1
    assert cue.off(X) is X


def test_a_sample_draws_its_background_by_its_index() -> None:
    cue = BackgroundSwap(masks=MASKS, backgrounds=POOL)
    order = torch.tensor([4, 1, 5])
    assert torch.equal(for_samples(cue, order).on(X[order]), for_samples(cue, IDS).on(X)[order])
    others = for_samples(BackgroundSwap(masks=MASKS, backgrounds=POOL, seed=1), IDS).on(X)
    assert not torch.equal(others, for_samples(cue, IDS).on(X))


def test_backgrounds_may_be_chosen() -> None:
    choice = torch.tensor([3, 2, 1, 0, 3, 2])
    on = for_samples(BackgroundSwap(masks=MASKS, backgrounds=POOL, choice=choice), IDS).on(X)
    assert torch.equal(on[:, 0, 7, 0], POOL[choice, 0, 0, 0])


def test_masks_may_be_computed_and_soft() -> None:
    cue = BackgroundSwap(masks=lambda x: torch.full((len(x), 1, 8, 8), 0.25), backgrounds=POOL[:1])
    assert torch.allclose(cue.on(X), 0.25 * X)


def test_the_object_is_filled_with_the_mean_of_its_background() -> None:
    on = for_samples(ForegroundRemoval(masks=MASKS, box=False), IDS).on(X)
    for row in range(N):
        body = MASKS[row, 0].bool()
        for channel in range(3):
            mean = float(X[row, channel][~body].mean())
            assert on[row, channel][body].tolist() == pytest.approx([mean] * 2, abs=1e-6)
            assert torch.equal(on[row, channel][~body], X[row, channel][~body])


def test_a_box_hides_the_outline() -> None:
    masks = torch.zeros(1, 1, 8, 8)
    masks[0, 0, 1, 2] = masks[0, 0, 4, 5] = 1.0
    changed = ForegroundRemoval(masks=masks, fill=0.0).on(torch.ones(1, 1, 8, 8))[0, 0] == 0
    want = torch.zeros(8, 8, dtype=torch.bool)
    want[1:5, 2:6] = True
    assert torch.equal(changed, want)


def test_an_object_may_fill_its_image_and_may_be_absent() -> None:
    full = ForegroundRemoval(masks=torch.ones(1, 1, 8, 8)).on(X[:1])
    assert torch.allclose(full, X[:1].mean((2, 3), keepdim=True).expand_as(full), atol=1e-6)
    assert torch.equal(ForegroundRemoval(masks=torch.zeros(1, 1, 8, 8)).on(X[:1]), X[:1])


@pytest.mark.parametrize(
    "masks",
    [MASKS[:3], torch.zeros(N, 3, 8, 8), torch.zeros(N, 1, 4, 4), MASKS * 2, MASKS - 0.1],
    ids=["few", "channels", "small", "above", "below"],
)
def test_masks_fit_the_images(masks: Any) -> None:
    for cue in (BackgroundSwap(masks=masks, backgrounds=POOL), ForegroundRemoval(masks=masks)):
        with pytest.raises(ConfigError, match="masks"):
            cue.on(X)


@pytest.mark.parametrize("pool", [None, torch.zeros(3, 8, 8), torch.zeros(0, 3, 8, 8)], ids=["none", "one", "empty"])
def test_a_pool_holds_images(pool: Any) -> None:
    with pytest.raises(ConfigError, match="backgrounds"):
        BackgroundSwap(masks=MASKS, backgrounds=pool)


def test_backgrounds_fit_the_images() -> None:
    with pytest.raises(ConfigError, match=r"backgrounds of shape \(3, 8, 8\)"):
        BackgroundSwap(masks=MASKS, backgrounds=torch.zeros(2, 3, 9, 9)).on(X)
