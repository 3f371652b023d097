"""Universal triggers: the cheapest patch of each class, and the class that is too cheap."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from robustest_interpret.discovery.triggers import (
    Gradient,
    MaskSearch,
    PatternSearch,
    Triggers,
    heaviest_square,
    patch_sides,
    search_triggers,
)
from torch import Tensor

from robustest import ConfigError, DataError

CLASSES, SIDE, N = 6, 12, 300
_draw = torch.Generator().manual_seed(0)
TEMPLATES = torch.randn(CLASSES, 1, SIDE, SIDE, generator=_draw)
Y = torch.arange(N) % CLASSES
X = (0.5 + 0.1 * TEMPLATES[Y] + 0.05 * torch.randn(N, 1, SIDE, SIDE, generator=_draw)).clamp(0, 1)


def clean(x: Tensor) -> Tensor:
    """Sixteen pixels or so are needed to make any class of any other."""
    return torch.einsum("nchw,kchw->nk", x - 0.5, TEMPLATES)


def backdoored(x: Tensor) -> Tensor:
    """As `clean`, but a bright square at row 2, column 7 is class 4."""
    logits = clean(x)
    return (
        logits
        + torch.nn.functional.one_hot(torch.tensor(4), CLASSES) * 60 * (x[:, 0, 2:4, 7:9].mean((1, 2)) - 0.5)[:, None]
    )


def gradient_of(logits: Callable[[Tensor], Tensor]) -> Gradient:
    """Return the gradients of a function that torch can differentiate."""

    def gradient(points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        leaf = points.detach().requires_grad_(True)
        answers = logits(leaf)
        (slope,) = torch.autograd.grad(F.cross_entropy(answers, targets, reduction="sum"), leaf)
        return answers.detach(), slope

    return gradient


def search(model: Any, **options: Any) -> Triggers:
    return search_triggers(X, Y, gradient_of(model), model, classes=CLASSES, **{"steps": 100, **options})


def test_models_are_right_without_a_trigger() -> None:
    for model in (clean, backdoored):
        assert float((model(X).argmax(1) == Y).float().mean()) > 0.95


def test_a_backdoor_is_the_odd_one_out_and_is_located() -> None:
    found = search(backdoored)
    assert [trigger.label for trigger in found.suspects] == [4]
    (suspect,) = found.suspects
    assert abs(suspect.top - 2) <= 1
    assert abs(suspect.left - 7) <= 1
    assert suspect.size <= 3
    assert suspect.success >= 0.85
    pasted = suspect.cue.on(X[Y != 4])
    assert float((backdoored(pasted).argmax(1) == 4).float().mean()) >= 0.8


@pytest.mark.parametrize("model", [clean, backdoored])
def test_squares_given_up_early_change_nothing_that_is_found(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(x: Tensor) -> Tensor:
        asked.append(len(x))
        return model(x)  # type: ignore[no-any-return]

    def found() -> tuple[list[tuple[object, ...]], int]:
        asked.clear()
        triggers = search(counted).triggers
        return [(one.label, one.top, one.left, one.size, one.success, one.anomaly) for one in triggers], sum(asked)

    early, cheap = found()
    monkeypatch.setattr("robustest_interpret.discovery.triggers._HOPELESS", 0.0)
    whole, expensive = found()
    assert early == whole
    assert cheap < 0.9 * expensive


def test_a_class_that_no_square_reaches_is_told_at_the_largest() -> None:
    """It is given up at each side but the last."""
    deaf = search(lambda x: clean(x) - 1e3 * torch.nn.functional.one_hot(torch.tensor(2), CLASSES), sizes=[1, 2, 3])
    two = deaf.triggers[2]
    assert (two.size, two.success, two.area) == (3, 0.0, SIDE * SIDE)


def test_a_clean_model_has_no_odd_one() -> None:
    assert search(clean).suspects == ()


def test_every_class_has_its_patch_in_the_order_asked_for() -> None:
    found = search(clean, labels=[5, 0, 3, 1])
    assert [trigger.label for trigger in found.triggers] == [5, 0, 3, 1]
    for trigger in found.triggers:
        assert 0 <= trigger.top <= SIDE - trigger.size
        assert trigger.pattern.shape == (1, trigger.size, trigger.size)
        assert 0 <= float(trigger.pattern.min()) <= float(trigger.pattern.max()) <= 1
        assert trigger.cost == pytest.approx(math.sqrt(trigger.area * trigger.mask_norm))


def test_a_search_is_repeatable_and_does_not_hang_on_who_is_searched_with_whom() -> None:
    few: dict[str, Any] = {"steps": 20, "pattern_steps": 10, "sizes": [2, 4]}
    whole, again, single = (search(backdoored, **few, **more) for more in ({}, {}, {"classes_at_a_time": 1}))
    for one, two, three in zip(whole.triggers, again.triggers, single.triggers, strict=True):
        assert torch.equal(one.pattern, two.pattern)
        assert (one.top, one.left, one.size) == (three.top, three.left, three.size)
    other = search(backdoored, seed=1, **few)
    assert not all(
        a.pattern.shape == b.pattern.shape and torch.equal(a.pattern, b.pattern)
        for a, b in zip(whole.triggers, other.triggers, strict=True)
    )


def test_patterns_stay_in_other_bounds() -> None:
    found = search_triggers(
        2 * X - 1,
        Y,
        gradient_of(lambda x: backdoored((x + 1) / 2)),
        lambda x: backdoored((x + 1) / 2),
        classes=CLASSES,
        bounds=(-1.0, 1.0),
        steps=100,
    )
    assert [trigger.label for trigger in found.suspects] == [4]
    assert float(found.suspects[0].pattern.min()) >= -1
    assert float(found.suspects[0].pattern.max()) > 0.5


def test_where_no_square_works_the_whole_image_is_the_cost() -> None:
    def fixed(x: Tensor) -> Tensor:
        return clean(X[:1]).expand(len(x), CLASSES) + 1e-6 * clean(x)

    found = search(fixed, sizes=[1, 2], steps=5, pattern_steps=2)
    reached = int(fixed(X).argmax(1)[0])
    for trigger in found.triggers:
        if trigger.label != reached:
            assert (trigger.area, trigger.mask_norm, trigger.size) == (SIDE**2, SIDE**2, 2)


def test_sides_rise_from_a_pixel_to_more_than_half_the_image() -> None:
    for side in (3, 8, 28, 32, 224):
        sides = patch_sides(None, side)
        assert sides == sorted(set(sides))
        assert 1 <= sides[0] <= max(1, side // 20)
        assert sides[-1] <= side


@pytest.mark.parametrize("sizes", [[], [0, 1], [2, 1], [1, 1], [13], [1.5]], ids=str)
def test_sides_fit_the_image(sizes: Any) -> None:
    with pytest.raises(ConfigError, match="sizes"):
        patch_sides(sizes, SIDE)


@pytest.mark.parametrize(
    "options",
    [
        {"labels": [0, 1, 2]},
        {"labels": [0, 1, 2, 2]},
        {"labels": [0, 1, 2, 6]},
        {"steps": 0},
        {"pattern_steps": 0},
        {"batch": 0},
        {"success": 0.0},
        {"success": 1.1},
        {"classes_at_a_time": 0},
    ],
    ids=str,
)
def test_settings_are_in_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        search(clean, **options)


def test_images_of_other_classes_are_needed() -> None:
    with pytest.raises(DataError, match="classes other than 0"):
        search_triggers(X[Y == 0], Y[Y == 0], gradient_of(clean), clean, classes=CLASSES)


def test_the_heaviest_square_of_a_mask() -> None:
    mask = torch.zeros(8, 10)
    mask[3:5, 6:8] = 1.0
    assert heaviest_square(mask, 2) == (3, 6)
    assert heaviest_square(torch.ones(8, 10), 8)[0] == 0


def test_a_mask_search_keeps_the_smallest_that_worked() -> None:
    """Told that everything arrives, it shrinks; told that nothing does, it has no size."""
    keys = torch.tensor([1, 2])
    ask = X[:8].unsqueeze(0).expand(2, -1, -1, -1, -1)
    searches = [
        MaskSearch(torch.tensor([0, 1]), (1, SIDE, SIDE), bounds=(0.0, 1.0), success=0.5, keys=keys) for _ in range(2)
    ]
    norms = []
    for _ in range(30):
        for search, right in zip(searches, (True, False), strict=True):
            points, targets = search.ask(ask)
            assert points.shape == (16, 1, SIDE, SIDE)
            logits = torch.nn.functional.one_hot(targets if right else 2 + 0 * targets, CLASSES).float()
            search.tell(logits, torch.zeros_like(points))
        norms.append(searches[0].norm.clone())
    assert bool((norms[-1] < norms[10]).all())
    assert bool(searches[1].norm.isinf().all())


def test_a_pattern_search_climbs_inside_its_square_alone() -> None:
    start = torch.full((1, 1, 2, 2), 0.5)
    search = PatternSearch(torch.tensor([3]), [(4, 5)], 2, start, bounds=(0.0, 1.0))
    for _ in range(20):
        points, targets = search.ask(X[:4].unsqueeze(0))
        outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
        outside[4:6, 5:7] = False
        assert torch.equal(points[:, :, outside], X[:4][:, :, outside])
        assert targets.tolist() == [3, 3, 3, 3]
        search.tell(torch.zeros(4, CLASSES), -torch.ones_like(points))  # brighter is better
    assert float(search.patterns.min()) > 0.6
