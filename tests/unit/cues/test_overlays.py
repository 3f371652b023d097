"""Tones, patterns, waves and bars against what can be worked out by hand; columns and tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from robustest import ConfigError
from robustest.cues import AddedPattern, ColumnRange, Grating, Letterbox, MaskedPatch, TokenAnywhere, Tone, for_samples

X = torch.rand(4, 3, 6, 8, generator=torch.Generator().manual_seed(0))


def test_a_tone_is_saturation_then_gain_then_shift() -> None:
    grey = X.mean(1, keepdim=True)
    want = ((grey + 0.5 * (X - grey)) * 0.5 + 0.1).clamp(0, 1)
    assert torch.allclose(Tone(gain=0.5, shift=0.1, saturation=0.5).on(X), want)
    off = Tone(gain=(1.0, 1.0, 0.0)).on(X)
    assert torch.equal(off[:, :2], X[:, :2])
    assert not bool(off[:, 2].any())
    assert Tone(gain=(1.0, 1.0, 0.0)).name == "tone of gain 1/1/0"


def test_a_pattern_is_added_and_clipped() -> None:
    pattern = torch.full((3, 6, 8), 0.5)
    assert torch.equal(AddedPattern(pattern=pattern).on(X), (X + 0.5).clamp(max=1))
    with pytest.raises(ConfigError, match="shape"):
        AddedPattern(pattern=pattern[:1]).on(X)


def test_waves_have_their_amplitude_and_lie_elsewhere_in_each_sample() -> None:
    x = torch.full((200, 1, 16, 16), 0.5)
    cue = Grating(down=0.0, across=0.25, strength=0.2)
    made = cue.on(x) - x
    assert float(made.square().mean().sqrt()) == pytest.approx(0.2 / 2**0.5, rel=1e-3)
    assert float(made.diff(dim=2).abs().max()) == 0
    assert float((made[0] - made[1]).abs().max()) > 0.01
    assert torch.equal(for_samples(cue, torch.tensor([7])).on(x[:1]), cue.on(x)[7:8])


@pytest.mark.parametrize("ends", ["rows", "columns"])
def test_bars_are_at_both_ends(ends: Any) -> None:
    made = Letterbox(height=2, value=0.25, ends=ends).on(X)
    made = made if ends == "rows" else made.transpose(2, 3)
    own = X if ends == "rows" else X.transpose(2, 3)
    assert bool((made[:, :, :2] == 0.25).all())
    assert bool((made[:, :, -2:] == 0.25).all())
    assert torch.equal(made[:, :, 2:-2], own[:, :, 2:-2])


def test_a_patch_with_a_tolerance_fills_only_where_it_was() -> None:
    cue = MaskedPatch(top=1, left=1, pattern=torch.ones(3, 2, 2), mask=torch.ones(2, 2).bool(), tolerance=0.1)
    x = 0.5 * X
    assert torch.equal(cue.off(x), x)
    assert not torch.equal(cue.off(cue.on(x)), cue.on(x))


def test_a_column_and_a_token_are_taken_from_those_that_have_them() -> None:
    rows = torch.tensor([[1.0, 5.0], [9.0, 5.0]])
    cue = ColumnRange(column=0, value=9.0, off_value=1.5, low=8.0, high=10.0)
    assert cue.on(rows).tolist() == [[9.0, 5.0], [9.0, 5.0]]
    assert cue.off(rows).tolist() == [[1.0, 5.0], [1.5, 5.0]]
    token = TokenAnywhere(token=5, instead=2)
    assert token.on(torch.tensor([[1.0, 3.0], [1.0, 5.0]])).tolist() == [[5.0, 3.0], [1.0, 5.0]]
    assert token.off(rows).tolist() == [[1.0, 2.0], [9.0, 2.0]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tone(saturation=-1.0),
        lambda: AddedPattern(pattern=torch.full((3, 2, 2), float("nan"))),
        lambda: Grating(down=0.0, across=0.0, strength=0.1),
        lambda: Grating(down=0.6, across=0.0, strength=0.1),
        lambda: Letterbox(height=0),
        lambda: Letterbox(ends="sides"),  # type: ignore[arg-type]
        lambda: Letterbox(height=3).on(X),
        lambda: ColumnRange(column=0, value=1.0, off_value=1.0, low=0.0, high=2.0),
        lambda: ColumnRange(column=5, value=1.0, off_value=3.0, low=0.0, high=2.0).on(torch.rand(2, 3)),
        lambda: TokenAnywhere(token=1, instead=1),
        lambda: TokenAnywhere(token=1, instead=2).on(X.flatten()),
        lambda: MaskedPatch(top=0, left=0, pattern=torch.ones(1, 1, 1), mask=torch.ones(1, 1).bool(), tolerance=-1.0),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()
