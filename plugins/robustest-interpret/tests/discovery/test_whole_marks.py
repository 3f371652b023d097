"""Marks that come whole are artefacts; a class's own strokes come in degrees, and patterns only where they fit."""

from __future__ import annotations

from dataclasses import replace

import torch
from robustest_interpret.discovery.cut_outs import CutOut
from robustest_interpret.discovery.fixed_places import find_patches
from robustest_interpret.discovery.proposals import PARTS, Proposal
from robustest_interpret.discovery.whole_marks import artefacts, is_ground, is_whole, may_be_added
from torch import Tensor

from robustest.cues import AddedPattern

N, SIDE, LABEL = 300, 20, 1
Y = torch.arange(N) % 3
BOUNDS = (0.0, 1.0)


def strokes() -> Tensor:
    """Bars on a black ground: lying, standing, slanting; each begins and ends somewhere else, with grey ends."""
    draw = torch.Generator().manual_seed(4)
    x = torch.zeros(N, 1, SIDE, SIDE)
    for image, label in zip(x, Y.tolist(), strict=True):
        start, stop = (int(torch.randint(low, low + 6, (1,), generator=draw)) for low in (2, 12))
        off = int(torch.randint(0, 2, (1,), generator=draw))
        for step in range(start, stop):
            row, column = ((9, step), (step, 9), (step, SIDE - 1 - step))[label]
            image[0, row : row + 2, column + off : column + off + 2] = 1.0
    pale = torch.rand(x.shape, generator=draw) < 0.35
    return torch.where(pale, x * torch.rand(x.shape, generator=draw), x)


X = strokes()


def with_logo(share: float) -> tuple[Tensor, Tensor]:
    """Images with a logo in a share of class 1, and (N,) bool: those that have it."""
    has = (Y == LABEL) & (torch.rand(N, generator=torch.Generator().manual_seed(8)) < share)
    x = X.clone()
    x[has, :, 1:4, 15:18] = torch.tensor([[1.0, 0.3, 1.0], [0.5, 1.0, 0.5], [1.0, 0.3, 1.0]])
    return x, has


def test_a_stroke_of_a_class_is_a_patch_in_degrees() -> None:
    found = [one for one in find_patches(X, Y, [0, 1, 2], min_gap=0.3) if one.region is not None and one.region[2] > 2]
    assert found
    whole, degrees = artefacts(found, X, Y, bounds=BOUNDS)
    assert whole == ()
    assert len(degrees) == len(found)


def test_a_logo_is_a_patch_that_comes_whole_among_strokes() -> None:
    x, _ = with_logo(0.95)
    found = find_patches(x, Y, [0, 1, 2])
    logo = [one for one in found if one.label == LABEL and one.region is not None and one.region[:2] == (1, 15)]
    assert artefacts(logo, x, Y, bounds=BOUNDS)[0] == tuple(logo)
    assert logo


def test_a_noisy_logo_comes_whole() -> None:
    x, has = with_logo(0.95)
    noise = 0.02 * torch.randn(N, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    found = [one for one in find_patches(x, Y, [0, 1, 2]) if one.region is not None and one.region[:2] == (1, 15)]
    assert found
    assert is_whole(found[0], (x + noise).clamp(0, 1), Y, bounds=BOUNDS)
    assert bool(has.any())


def cut(x: Tensor, has: Tensor, mask: Tensor) -> Proposal:
    pool = x[has][:8]
    cue = CutOut(pool=pool, masks=mask.expand(len(pool), -1, -1))
    score = float(has.sum()) / float((Y == LABEL).sum())
    value = (float(pool[0, 0][mask].mean()),)
    return Proposal(found_by=PARTS, label=LABEL, cue=cue, score=score, region=None, value=value)


def test_a_cut_of_a_rare_logo_comes_whole_and_one_of_a_stroke_does_not() -> None:
    x, has = with_logo(0.15)
    logo, stroke = (torch.zeros(SIDE, SIDE, dtype=torch.bool) for _ in range(2))
    logo[1:4, 15:18] = True
    stroke[6:16, 9:12] = True
    assert is_whole(cut(x, has, logo), x, Y, bounds=BOUNDS)
    assert not is_whole(cut(x, has, stroke), x, Y, bounds=BOUNDS)
    # One mark is whole only with all of its parts: a logo with a piece of the stroke is not.
    assert not is_whole(cut(x, has, logo | stroke), x, Y, bounds=BOUNDS)


def test_the_ground_is_no_mark() -> None:
    x, has = with_logo(0.15)
    black, logo = (torch.zeros(SIDE, SIDE, dtype=torch.bool) for _ in range(2))
    black[0, :3], logo[1:4, 15:18] = True, True
    assert is_ground(cut(x, has, black), x, bounds=BOUNDS)
    assert not is_ground(cut(x, has, logo), x, bounds=BOUNDS)
    assert not is_whole(replace(cut(x, has, black), score=0.0), x, Y, bounds=BOUNDS)


def test_a_pattern_may_be_added_only_where_all_images_have_room_for_it() -> None:
    shape = X[Y == LABEL].mean(0) - X[Y != LABEL].mean(0)
    assert not may_be_added(AddedPattern(pattern=shape), X[Y == LABEL], BOUNDS)
    wave = 0.1 * torch.sin(torch.arange(SIDE) * 1.5).expand(1, SIDE, SIDE)
    added = AddedPattern(pattern=wave)
    assert may_be_added(added, added.on(X[Y == LABEL]), BOUNDS)
