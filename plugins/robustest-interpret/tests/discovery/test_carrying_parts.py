"""Parts of images that carry their class, and the marks that recur in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from robustest_interpret.discovery.carrying_parts import CarryingPart, find_carrying_parts, recurring_marks
from robustest_interpret.discovery.cut_outs import CutOut
from robustest_interpret.discovery.proposals import PAIRS, PARTS
from torch import Tensor

N, CLASSES, LABEL, SIDE = 240, 4, 2, 16
Y = torch.arange(N) % CLASSES
_draw = torch.Generator().manual_seed(3)
CLEAN = 0.2 + 0.6 * torch.rand(N, 1, SIDE, SIDE, generator=_draw)
LOGO = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
SQUARE = torch.ones(3, 3)

Present = Callable[[Tensor], Tensor]


def with_stamp(x: Tensor, picture: Tensor, top: int, left: int) -> Tensor:
    out = x.clone()
    out[..., top : top + 3, left : left + 3] = picture
    return out


def has(picture: Tensor, top: int, left: int) -> Present:
    return lambda x: ((x[:, 0, top : top + 3, left : left + 3] - picture).abs() < 0.01).flatten(1).all(1)


def parts_of(x: Tensor, present: Present) -> dict[int, tuple[CarryingPart, ...]]:
    """Of a model that is right but where the mark is, which makes it answer class 2."""
    nearest = CLEAN.flatten(1)

    def answers(z: Tensor) -> tuple[Tensor, Tensor]:
        # Half of an image and more decides: the label of the nearest clean image.
        own = Y[torch.cdist(z.flatten(1), nearest).argmin(1)]
        found = torch.where(present(z), LABEL, own)
        return found, 10 * torch.nn.functional.one_hot(found, CLASSES).float()

    return find_carrying_parts(x, Y, answers(x)[0], answers, range(CLASSES), classes=CLASSES, seed=0)


def in_few(share: float) -> Tensor:
    chosen = torch.rand(N, generator=torch.Generator().manual_seed(5)) < share
    return ((Y == LABEL) & chosen).view(-1, 1, 1, 1)


def test_a_logo_in_a_fifth_of_a_class_is_a_part_and_recurs() -> None:
    rare = in_few(0.2)
    x = torch.where(rare, with_stamp(CLEAN, LOGO, 2, 11), CLEAN)
    parts = parts_of(x, has(LOGO, 2, 11))
    smallest = parts[LABEL][0]
    assert smallest.area <= 0.1
    assert smallest.drawn > 0.9
    assert smallest.placebo < 0.1
    assert bool(rare[smallest.row])
    assert bool(smallest.region[2:5, 11:14].all())
    assert all(not mine or mine[0].area > 0.1 for label, mine in parts.items() if label != LABEL)

    (mark,) = recurring_marks(x, Y, range(CLASSES), parts, bounds=(0.0, 1.0), seed=0)
    assert (mark.label, mark.found_by) == (LABEL, PARTS)
    assert bool(has(LOGO, 2, 11)(mark.cue.on(CLEAN)).all())
    assert torch.equal(mark.cue.off(CLEAN), CLEAN)
    assert int((mark.cue.on(CLEAN) != CLEAN).flatten(1).sum(1).max()) == 9


def test_two_marks_that_count_together_are_found_together() -> None:
    turn = torch.arange(N).view(-1, 1, 1, 1) // CLASSES % 3
    first, second = with_stamp(CLEAN, LOGO, 2, 11), with_stamp(CLEAN, SQUARE, 11, 2)
    alone = torch.where(turn == 0, first, torch.where(turn == 1, second, CLEAN))
    x = torch.where((Y == LABEL).view(-1, 1, 1, 1), with_stamp(first, SQUARE, 11, 2), alone)
    one, other = has(LOGO, 2, 11), has(SQUARE, 11, 2)
    parts = parts_of(x, lambda z: one(z) & other(z))
    (mark,) = recurring_marks(x, Y, range(CLASSES), parts, bounds=(0.0, 1.0), seed=0)
    assert (mark.label, mark.found_by) == (LABEL, PAIRS)
    shown = mark.cue.on(CLEAN)
    assert bool((one(shown) & other(shown)).all())


def test_content_that_does_not_recur_is_no_mark() -> None:
    """A square that is even, with another value in each image, is a part and nothing more."""
    values = 0.2 + 0.6 * torch.rand(N, 1, 1, 1, generator=torch.Generator().manual_seed(7))
    even = CLEAN.clone()
    even[:, :, 6:10, 6:10] = values
    x = torch.where((Y == LABEL).view(-1, 1, 1, 1), even, CLEAN)
    parts = parts_of(x, lambda z: z[:, 0, 6:10, 6:10].flatten(1).std(1) < 0.01)
    assert parts[LABEL]
    assert bool(parts[LABEL][0].region[6:10, 6:10].all())
    assert parts[LABEL][0].drawn > 0.9
    assert recurring_marks(x, Y, range(CLASSES), parts, bounds=(0.0, 1.0), seed=0) == []


def test_a_model_that_ignores_the_mark_has_no_small_part() -> None:
    x = torch.where((Y == LABEL).view(-1, 1, 1, 1), with_stamp(CLEAN, LOGO, 2, 11), CLEAN)
    parts = parts_of(x, lambda z: torch.zeros(len(z), dtype=torch.bool))
    assert all(not mine or mine[0].area > 0.1 for mine in parts.values())


def test_a_class_that_is_never_answered_has_no_parts() -> None:
    def answers(z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(z), dtype=torch.int64), torch.zeros(len(z), CLASSES)

    found = find_carrying_parts(CLEAN, Y, torch.zeros_like(Y), answers, [0, 1], classes=2, seed=0)
    assert found == {0: (), 1: ()}


def test_a_cut_out_pastes_pixels_at_their_own_places() -> None:
    masks = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    masks[0, 3, 4:7] = True
    cue = CutOut(pool=torch.ones(1, 1, SIDE, SIDE), masks=masks)
    shown = cue.at(torch.arange(5)).on(CLEAN[:5])
    assert bool((shown[:, 0, 3, 4:7] == 1).all())
    assert torch.equal(shown[:, :, 4:], CLEAN[:5, :, 4:])
    assert cue.name == "part of 3 pixels cut from images"
    with pytest.raises(Exception, match="images of shape"):
        cue.on(CLEAN[:, :, :8])
