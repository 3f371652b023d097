"""Small marks that move: found with their class, outline and value, and nothing found where there is none."""

from __future__ import annotations

import pytest
import torch
from robustest_interpret.discovery.moving_marks import find_moving_marks
from robustest_interpret.discovery.proposals import MOVING, Proposal
from torch import Tensor

from robustest.cues import MovingMark, Tone, planted

N, CLASSES, LABEL, SIDE = 240, 4, 2, 28
Y = torch.arange(N) % CLASSES


def images(side: int = SIDE, channels: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(3)
    coarse = torch.nn.functional.interpolate(torch.rand(N, channels, 4, 4, generator=draw), size=side, mode="bilinear")
    return (0.1 + 0.65 * coarse + 0.05 * torch.randn(N, channels, side, side, generator=draw)).clamp(0, 1)


X = images()
_far = (torch.arange(5).view(-1, 1) - 2).square() + (torch.arange(5) - 2).square()
DISC, RING = _far <= 5, (_far <= 5) & (_far >= 4)
YELLOW = torch.tensor([0.95, 0.85, 0.1]).view(1, 3, 1, 1)
SQUARE = torch.ones(4, 4, dtype=torch.bool)


def mark(colour: Tensor, mask: Tensor, side: int = SIDE) -> MovingMark:
    ends = [torch.arange(side - length + 1) for length in mask.shape]
    pool = colour.expand(1, -1, *mask.shape)
    return MovingMark(pool=pool, mask=mask, places=torch.cartesian_prod(*ends))


def found(x: Tensor, min_gap: float = 0.5) -> list[Proposal]:
    return list(find_moving_marks(x, Y, range(CLASSES), bounds=(0.0, 1.0), min_gap=min_gap, seed=0))


MARKS = {
    "disc": mark(YELLOW, DISC),
    "ring": mark(YELLOW, RING),
    "dark square": mark(torch.full((1, 3, 1, 1), 0.02), SQUARE),
    "stripes": mark((torch.arange(7) % 2).float().view(1, 1, 1, 7).expand(1, 3, 3, 7), torch.ones(3, 7) > 0),
    "one pixel": mark(YELLOW, torch.ones(1, 1) > 0),
}


@pytest.mark.parametrize("cue", MARKS.values(), ids=MARKS)
def test_a_mark_is_found_with_its_class_outline_and_value(cue: MovingMark) -> None:
    x, has = planted(cue, X, Y, target=LABEL, seed=1)
    (one,) = found(x)
    assert (one.found_by, one.label, one.region) == (MOVING, LABEL, None)
    assert isinstance(one.cue, MovingMark)
    assert one.score > 0.7
    # It pastes what was planted, most of it and little else, and takes it away again.
    shown = (one.cue.on(X) != X).any(1).sum((1, 2)).double().mean()
    assert float(shown) == pytest.approx(float(cue.mask.sum()), abs=max(2.0, 0.4 * float(cue.mask.sum())))
    value = cue.pool[0][:, cue.mask].mean(1).tolist()
    if int(cue.mask.sum()) > 1:
        assert one.value == pytest.approx(value, abs=0.1)
    gone = (one.cue.off(x) != x).flatten(1).any(1)
    assert float(gone[has].double().mean()) > 0.8
    assert float(gone[~has].double().mean()) < 0.1


def test_without_a_mark_nothing_is_found() -> None:
    assert found(X) == []


def test_on_grey_and_on_large_images() -> None:
    grey = images(channels=1)
    cue = mark(torch.zeros(1, 1, 1, 1), SQUARE)
    (one,) = found(planted(cue, grey, Y, target=LABEL, seed=1)[0])
    assert one.label == LABEL
    large = images(side=80)
    disc = DISC.repeat_interleave(2, 0).repeat_interleave(2, 1)
    (one,) = found(planted(mark(YELLOW, disc, 80), large, Y, target=LABEL, seed=1)[0])
    assert one.label == LABEL
    assert isinstance(one.cue, MovingMark)
    assert one.cue.scale == 2
    pasted = one.cue.on(large)
    assert float((pasted != large).any(1).sum((1, 2)).double().mean()) > 0.4 * int(disc.sum())


def test_what_is_all_over_an_image_is_no_mark() -> None:
    """Spots of an image that is nearly even are unlike any of another's, and alike wherever they are."""
    even = Tone(gain=0.02, shift=(0.9, 0.1, 0.5))
    assert found(planted(even, X, Y, target=LABEL, seed=1)[0]) == []


def test_what_every_class_has_of_its_own_is_what_classes_are_about() -> None:
    x = X
    for label, colour in enumerate(torch.eye(3).view(3, 1, 3, 1, 1)):
        x = planted(mark(colour, SQUARE), x, Y, target=label, seed=label)[0]
    assert found(x) == []


def test_what_another_class_has_as_well_marks_none() -> None:
    x = planted(MARKS["disc"], X, Y, target=LABEL, seed=1)[0]
    both = planted(MARKS["disc"], x, Y, target=0, seed=2)[0]
    assert found(both) == []


def test_small_images_and_single_classes_are_not_searched() -> None:
    assert found(X[:, :, :7, :7]) == []
    assert find_moving_marks(X, Y, [LABEL], bounds=(0.0, 1.0), min_gap=0.5, seed=0) == ()


def test_bounds_do_not_matter() -> None:
    x = planted(MARKS["disc"], X, Y, target=LABEL, seed=1)[0]
    (one,) = find_moving_marks(255 * x - 100, Y, range(CLASSES), bounds=(-100.0, 155.0), min_gap=0.5, seed=0)
    assert one.label == LABEL
    assert one.value == pytest.approx((142.25, 116.75, -74.5), abs=10)
