"""The objectives: their values, what leaves them unchanged, and that they have a gradient worth following."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustest.tasks import class_losses as losses

CLASSES = [2, 3, 4, 10, 1000]
Loss = Callable[[Tensor, Tensor], Tensor]


def least_likely(logits: Tensor, y: Tensor) -> Tensor:
    return losses.targeted_dlr(logits, y, losses.ranked_class(logits, y, 10_000))


def likeliest(logits: Tensor, y: Tensor) -> Tensor:
    return losses.targeted_dlr(logits, y, losses.ranked_class(logits, y, 0))


EVERY = [losses.cross_entropy, losses.margin_loss, losses.dlr, likeliest, least_likely]
FREE_OF_SCALE = [losses.dlr, likeliest, least_likely]


def drawn(classes: int, rows: int = 50) -> tuple[Tensor, Tensor]:
    """Logits (rows, classes) in float64 and labels, right in one half of the rows."""
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    y = torch.randint(0, classes, (rows,), generator=generator)
    y[: rows // 2] = logits[: rows // 2].argmax(1)
    return logits, y


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("loss", EVERY)
def test_a_shift_changes_nothing(loss: Loss, classes: int) -> None:
    logits, y = drawn(classes)
    shift = torch.linspace(-50, 50, len(y), dtype=torch.float64).unsqueeze(1)
    torch.testing.assert_close(loss(logits + shift, y), loss(logits, y))


@pytest.mark.parametrize("classes", CLASSES[1:])
@pytest.mark.parametrize("loss", FREE_OF_SCALE)
@pytest.mark.parametrize("scale", [1e-4, 3.0, 1e4])
def test_a_scale_changes_nothing_where_claimed(loss: Loss, scale: float, classes: int) -> None:
    logits, y = drawn(classes)
    torch.testing.assert_close(loss(scale * logits, y), loss(logits, y))


@pytest.mark.parametrize("loss", FREE_OF_SCALE)
def test_with_two_classes_it_is_the_margin(loss: Loss) -> None:
    logits, y = drawn(2)
    torch.testing.assert_close(loss(logits, y), losses.margin_loss(logits, y))


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("loss", [losses.margin_loss, losses.dlr, likeliest])
def test_it_is_positive_just_where_the_label_is_not_first(loss: Loss, classes: int) -> None:
    logits, y = drawn(classes)
    assert torch.equal(loss(logits, y) > 0, logits.argmax(1) != y)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.margin_loss, losses.dlr, likeliest])
def test_right_predictions_have_a_gradient_that_lowers_the_label(loss: Loss, classes: int) -> None:
    """No class count leaves an attack without a direction, and it never leads to a more certain label."""
    logits, y = drawn(classes)
    logits, y = logits[:25].requires_grad_(True), y[:25]
    (gradient,) = torch.autograd.grad(loss(logits, y).sum(), logits)
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient.gather(1, y.unsqueeze(1)) < 0).all())


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("rank", [0, 1, 10_000])
def test_the_targeted_gradient_raises_the_target(classes: int, rank: int) -> None:
    logits, y = drawn(classes)
    logits, y = logits[:25].requires_grad_(True), y[:25]
    target = losses.ranked_class(logits, y, rank)
    (gradient,) = torch.autograd.grad(losses.targeted_dlr(logits, y, target).sum(), logits)
    assert bool((gradient.gather(1, target.unsqueeze(1)) > 0).all())


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("loss", EVERY)
def test_equal_logits_give_numbers(loss: Loss, classes: int) -> None:
    logits = torch.zeros(3, classes, requires_grad=True)
    value = loss(logits, torch.tensor([0, 1, classes - 1]))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert bool(torch.isfinite(value).all() & torch.isfinite(gradient).all())


LOGITS = torch.tensor([[4.0, 1.0, 3.0, -1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "label", "value"),
    [
        (losses.margin_loss, 0, 3 - 4),
        (losses.margin_loss, 3, 4 - -1),
        (losses.dlr, 0, (3 - 4) / (4 - 1)),
        (losses.dlr, 1, (4 - 1) / (4 - 1)),
        (likeliest, 0, (3 - 4) / (4 - (1 + -1) / 2)),
        (least_likely, 0, (-1 - 4) / (4 - (1 + -1) / 2)),
    ],
)
def test_values_worked_out_by_hand(loss: Loss, label: int, value: float) -> None:
    assert loss(LOGITS, torch.tensor([label])).item() == pytest.approx(value, rel=1e-12)


def test_cross_entropy_is_minus_the_log_probability() -> None:
    logits, y = drawn(10)
    probability = logits.exp() / logits.exp().sum(1, keepdim=True)
    expected = -probability.gather(1, y.unsqueeze(1)).squeeze(1).log()
    torch.testing.assert_close(losses.cross_entropy(logits, y), expected)


def test_with_three_classes_a_target_that_is_last_has_a_slope() -> None:
    """Over largest minus smallest logit the value would be -1 all the way to where the two last ones meet."""
    y, target = torch.tensor([0]), torch.tensor([2])
    paths = torch.tensor([[3.0, 1.5, 0.3 * t] for t in range(5)], dtype=torch.float64)
    values = [losses.targeted_dlr(path.unsqueeze(0), y, target).item() for path in paths]
    assert values == sorted(values)
    assert len(set(values)) == 5


@pytest.mark.parametrize("classes", CLASSES)
def test_the_tangent_has_the_gradient_of_the_log_odds(classes: int) -> None:
    logits, y = drawn(classes)
    logits.requires_grad_(True)
    others = logits.scatter(1, y.unsqueeze(1), -torch.inf)
    log_odds = others.logsumexp(1) - logits.gather(1, y.unsqueeze(1)).squeeze(1)
    (want,) = torch.autograd.grad(log_odds.sum(), logits)
    (got,) = torch.autograd.grad(losses.log_odds_tangent(logits, y).sum(), logits)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("gap", [17.0, 104.0, 1e6])
def test_the_tangent_keeps_its_gradient_where_the_label_is_certain(gap: float) -> None:
    logits = torch.tensor([[gap, 0.0, -1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.log_odds_tangent(logits, torch.tensor([0])).sum(), logits)
    assert gradient[0, 0] == -1
    assert gradient[0, 1] > gradient[0, 2] > 0


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.data())
def test_the_margin_is_the_same_with_and_without_its_gradient(values: list[float], data: st.DataObject) -> None:
    logits, y = torch.tensor([values]), torch.tensor([data.draw(st.integers(0, len(values) - 1))])
    climbed = losses.margin_loss(logits.clone().requires_grad_(True), y)
    assert torch.equal(climbed.detach(), losses.margin_loss(logits, y))
    others = [value for place, value in enumerate(logits[0].tolist()) if place != int(y)]
    assert losses.margin_loss(logits, y).item() == torch.tensor(max(others)).sub(logits[0, int(y)]).item()


def test_the_margins_of_several_proposals_are_those_of_each() -> None:
    logits = torch.stack([drawn(5)[0], drawn(5)[0].flip(0)], 1)
    _, y = drawn(5)
    got = losses.margin_loss(logits, y)
    assert torch.equal(got, torch.stack([losses.margin_loss(logits[:, lane], y) for lane in (0, 1)], 1))


@pytest.mark.parametrize(("rank", "target"), [(0, 2), (1, 1), (2, 3), (3, 3), (1000, 3)])
def test_the_target_is_the_class_at_its_rank_and_beyond_them_the_last(rank: int, target: int) -> None:
    assert losses.ranked_class(LOGITS, torch.tensor([0]), rank).item() == target


def test_the_label_is_never_a_target() -> None:
    logits, y = drawn(4, rows=200)
    for rank in range(5):
        assert not bool((losses.ranked_class(logits, y, rank) == y).any())


def test_of_equal_logits_the_first_class_comes_first() -> None:
    assert losses.ranked_class(torch.zeros(1, 5), torch.tensor([1]), 1).item() == 2
