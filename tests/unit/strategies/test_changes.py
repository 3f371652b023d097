"""Changes: what they do to images, in words and as code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import find
from torch import Tensor

from robustest import L0, L2, ConfigError, Linf, Patch, Shift, Spatial, rng
from robustest.measure import measure_robust_to, measure_shift_accuracy
from robustest.shifts import Delay, Gain, Noise, Reverberation, as_shift
from robustest.strategies import (
    Composition,
    Perturbation,
    Pose,
    Step,
    as_change,
    changes,
    code_of,
    compositions,
    strategy_words,
)
from robustest.threats import Threat

KEY = rng.keys(3, torch.arange(4))
UNIT = (0.0, 1.0)


def images() -> Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def darker(x: Tensor) -> Tensor:
    return x * 0.5


def dimmer(x: Tensor, severity: int) -> Tensor:
    return x * (1 - 0.1 * severity)


def test_no_step_changes_nothing() -> None:
    assert torch.equal(Composition()(images(), KEY), images())


def test_a_single_step_is_the_step_itself() -> None:
    fog = Shift("fog", 2)
    assert torch.equal(Composition((fog,))(images(), KEY), fog.apply(images(), KEY, UNIT))


def test_steps_are_applied_in_their_order() -> None:
    noise, contrast = Shift("gaussian_noise", 3), Shift("contrast", 3)
    x = images()
    one = Composition((noise, contrast))(x, KEY)
    assert torch.equal(one, contrast.apply(noise.apply(x, KEY, UNIT), KEY, UNIT))
    assert not torch.allclose(one, Composition((contrast, noise))(x, KEY))


def test_what_a_step_draws_does_not_hang_on_the_steps_before_it() -> None:
    x = torch.full((4, 3, 16, 16), 0.5)
    alone = Composition((Shift("impulse_noise", 5),))(x, KEY)
    later = Composition((Shift("contrast", 5), Shift("impulse_noise", 5)))(x, KEY)  # a flat image has no contrast
    assert torch.equal(alone, later)


@dataclass(frozen=True)
class Fainter:
    """A user's own change with a number."""

    units: ClassVar[dict[str, str]] = {"db": "dB"}

    db: float

    def __call__(self, x: Tensor) -> Tensor:
        return x * 10 ** (-self.db / 20)


def test_a_chain_takes_any_function_of_a_batch() -> None:
    x = images()
    chain = Composition((Fainter(6), darker, partial(dimmer, severity=2), Shift("contrast", 3), Gain(-6)))
    by_hand = dimmer(darker(Fainter(6)(x)), 2)
    assert torch.allclose(Composition(chain.steps[:3])(x, KEY), by_hand)
    assert str(chain) == (
        "Fainter(db=6 dB), then darker, then dimmer(severity=2), then contrast, severity 3, then Gain (gain -6 dB)"
    )
    assert code_of(chain) == (
        "Composition((Fainter(db=6), darker, partial(dimmer, severity=2), Shift('contrast', 3), Gain(gain=-6),))"
    )
    assert hash(chain) == hash(Composition(chain.steps))


def shouted(texts: list[str], words: int) -> list[str]:
    return [" ".join([*(word.upper() for word in text.split()[:words]), *text.split()[words:]]) for text in texts]


def test_texts_are_changed_in_a_chain_as_images_are() -> None:
    texts = [
        "a good film, a very good film",
        "a bad film, no good at all",
        "so good that it hurts",
        "as bad as it gets",
    ]

    def model(given: list[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([[-1.0, 1.0] if "good" in text else [1.0, -1.0] for text in given])

    y = model(texts).argmax(1)
    chain = Composition((partial(shouted, words=2), Shift("whitespace", 5)))
    found = measure_shift_accuracy(model, (texts, y), chain, exact=True)
    assert found.estimate == (model(shouted(texts, 2)).argmax(1) == y).mean() == 0.75
    assert "shouted(words=2), then whitespace, severity 5" in found.subject.setting
    searched = measure_robust_to(model, (texts, y), changes(shouted, words=(0, 6)), at_least=1.0, max_examples=20)
    assert searched.details["mildest"]["code"] == "partial(shouted, words=2)"
    with pytest.raises(ConfigError, match="images of shape"):
        measure_shift_accuracy(model, (texts, y), Composition((Shift("fog", 2),)))
    with pytest.raises(ConfigError, match="signals"):
        measure_shift_accuracy(model, (texts, y), Composition((Shift("noise", 2),)))


def test_each_number_shrinks_towards_the_first_of_its_range() -> None:
    drawn = changes(Noise, snr=(40, 0))
    assert find(drawn, lambda one: one.snr <= 25) == Noise(25)
    assert find(changes(Gain, gain=(-6, 6)), lambda one: one.gain > 1.5) == Gain(2)
    room = find(changes(Reverberation, rt60=(0.1, 1.1), drr=(6, -6)), lambda one: one.rt60 > 0.5 and one.drr < 0)
    assert room == Reverberation(0.51, -1)
    of_function = find(changes(dimmer, severity=(1, 5)), lambda one: one.keywords["severity"] >= 3)
    assert code_of(of_function) == "partial(dimmer, severity=3)"
    chains = compositions(changes(Gain, gain=(0, -40)) | changes(Noise, snr=(40, 0)), max_steps=3)
    found = find(chains, lambda chain: len(chain.steps) > 1 and any(getattr(s, "gain", 0) < -7 for s in chain.steps))
    assert set(found.steps) == {Gain(-8), Noise(40)}
    assert strategy_words(drawn) == "changes(Noise, snr=(40, 0))"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: changes(3, snr=(40, 0)), "a class or a function of a batch"),
        (lambda: changes(Noise, snr=20), "a range .mildest, most severe."),
        (lambda: changes(Delay, delay=(0, -10)), "delay in"),
        (lambda: changes(dict, delay=(0, 10)), "functions of a batch"),
    ],
)
def test_a_strategy_of_numbers_is_checked_before_the_search(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make()


def test_two_steps_of_one_name_draw_differently() -> None:
    x = torch.full((4, 3, 16, 16), 0.5)
    once = Composition((Shift("impulse_noise", 5),))(x, KEY)
    twice = Composition((Shift("impulse_noise", 5), Shift("impulse_noise", 5)))(x, KEY)
    assert (twice != 0.5).float().mean() > 1.4 * (once != 0.5).float().mean()


def test_the_pose_of_nothing_is_the_image_to_the_bit() -> None:
    assert torch.equal(Pose()(images(), KEY), images())


def test_a_pose_moves_by_shares_of_the_sides_and_outside_is_black() -> None:
    x = images()
    moved = Pose(right=0.25, down=-0.5)(x, KEY)
    assert torch.allclose(moved[:, :, :8, 4:], x[:, :, 8:, :12], atol=1e-5)
    assert (moved[:, :, 8:] == 0).all()
    assert (moved[..., :4] == 0).all()


def test_a_quarter_turn_is_counter_clockwise() -> None:
    assert torch.allclose(Pose(degrees=90)(images(), KEY), images().rot90(1, (2, 3)), atol=1e-4)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5), L0(3), Patch(3, 3)], ids=str)
def test_a_perturbation_is_inside_its_threat(threat: Threat) -> None:
    x = images()
    for share in (0.0, 0.3, 1.0):
        moved = Perturbation(threat, share)(x, KEY)
        region = threat.region(x, UNIT)
        if not isinstance(threat, Patch):
            assert (threat.size(moved, region) <= threat.radius * (1 + 1e-6)).all()
        assert (moved != x).flatten(1).any(1).all() == (share > 0)
        assert ((moved >= 0) & (moved <= 1)).all()
    if isinstance(threat, Patch):
        assert ((moved != x).any(1).flatten(1).sum(1) <= 9).all()


def test_half_the_way_is_half_the_distance_and_another_draw_another_place() -> None:
    x = torch.full((4, 3, 16, 16), 0.5)
    whole, half = Perturbation(Linf(0.1), 1.0)(x, KEY), Perturbation(Linf(0.1), 0.5)(x, KEY)
    assert torch.allclose(half - x, (whole - x) / 2, atol=1e-6)
    assert not torch.allclose(whole, Perturbation(Linf(0.1), 1.0, draw=1)(x, KEY))


def test_a_perturbation_does_not_hang_on_the_batch() -> None:
    change = Composition((Perturbation(L2(1.0)), Pose(degrees=10), Shift("snow", 2)))
    assert torch.equal(change(images(), KEY)[2:], change(images()[2:], KEY[2:]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Composition(), "no change"),
        (Composition((Shift("fog", 2), Pose(degrees=5))), "fog, severity 2, then pose (degrees 5)"),
        (Pose(right=0.1, zoom=-0.05), "pose (right 0.1, zoom -0.05)"),
        (Pose(), "pose (as it is)"),
        (Perturbation(Linf(0.1), 0.3, 7), "0.3 of the way to a random place in Linf(eps=0.1), draw 7"),
    ],
)
def test_changes_in_words(change: Composition, words: str) -> None:
    assert str(change) == words
    assert str(as_change(change)) == words  # and so they are called in claims


@pytest.mark.parametrize(
    "change",
    [
        Composition(),
        Composition((Shift("fog", 2), Pose(degrees=5, zoom=0.1), Perturbation(Linf(0.1), 0.3, 7))),
        Composition((Shift("snow", 1, parameters="32"),)),
        Shift("contrast", 4),
        Pose(1, 0.2, -0.3, 0.05),
        Perturbation(Spatial(rotation=10)),
    ],
    ids=str,
)
def test_the_code_of_a_change_makes_it_again(change: Step) -> None:
    names = {each.__name__: each for each in (Composition, Shift, Pose, Perturbation, Linf, Spatial)}
    assert eval(code_of(change), names) == change  # noqa: S307 - our own words


def test_the_code_of_a_function_of_ones_own_is_its_name() -> None:
    """With a severity only where the function asks for one."""
    assert code_of(as_shift(darker, 2)) == "Shift('darker', function=darker)"
    assert eval(code_of(as_shift(darker, None)), {"Shift": Shift, "darker": darker}) == as_shift(darker, None)  # noqa: S307 - our own words
    assert code_of(as_shift(dimmer, 2)) == "Shift('dimmer', 2, dimmer)"
    assert code_of(darker) == "darker"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pose(degrees=181), "degrees to be a number in -180..180"),
        (lambda: Pose(zoom=True), "zoom to be a number"),
        (lambda: Perturbation(Linf), "a threat model such as"),
        (lambda: Perturbation(Linf(0.1), share=1.5), "share to be a number in 0..1"),
        (lambda: Composition((0.5,)), "a strategy that draws shifts, or functions of a batch"),
        (lambda: as_change("fog"), "a strategy that draws shifts"),
        (lambda: as_change(Shift), "a strategy that draws shifts"),
    ],
)
def test_what_is_no_change_is_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=message):
        make()


def test_only_what_has_severities_tells_one() -> None:
    assert str(as_shift(darker, 2)) == "darker"
    assert str(as_shift(dimmer, 2)) == "dimmer, severity 2"
    assert str(Shift("fog", 2)) == "fog, severity 2"
