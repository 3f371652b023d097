"""What holds for every cue: shapes, bounds, pairs, and nothing changed in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from robustest import ConfigError
from robustest.cues import (
    AddedNoise,
    AddedPattern,
    BackgroundSwap,
    Blur,
    Border,
    ColourCast,
    ColumnRange,
    Compression,
    ConstantToken,
    CornerLogo,
    Cue,
    ForegroundRemoval,
    FrequencyBand,
    FunctionCue,
    Grating,
    Letterbox,
    MaskedPatch,
    MovingMark,
    NullCue,
    PatternPatch,
    PixelPatch,
    TextOverlay,
    Texture,
    TokenAnywhere,
    Tone,
    Transplant,
    Vignette,
    distances,
    for_samples,
    planted,
    switched,
)
from robustest.identity.fingerprint import digest

X = torch.rand(5, 3, 16, 20, generator=torch.Generator().manual_seed(0))
MASKS = (torch.rand(5, 1, 16, 20, generator=torch.Generator().manual_seed(1)) > 0.5).float()
IDS = torch.arange(5)
PLACES = torch.tensor([[0, 0], [3, 7], [11, 14]])


@pytest.fixture(scope="module")
def logo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red, opaque on the left half and see-through on the right."""
    path = tmp_path_factory.mktemp("logo") / "logo.png"
    picture = Image.new("RGBA", (4, 2), (255, 0, 0, 255))
    for row in range(2):
        for column in (2, 3):
            picture.putpixel((column, row), (255, 0, 0, 0))
    picture.save(path)
    return path


CUES: dict[str, Callable[[Path], Any]] = {
    "patch": lambda _: PixelPatch(top=1, left=2, height=3, width=4),
    "coloured patch": lambda _: PixelPatch(top=1, left=2, value=(1.0, 0.0, 0.0), off_value=(0.0, 0.5, 1.0)),
    "pattern on what is there": lambda _: PatternPatch(top=1, left=2, pattern=torch.ones(3, 2, 5)),
    "masked patch": lambda _: MaskedPatch(top=2, left=3, pattern=torch.rand(3, 2, 2), mask=torch.eye(2) < 0.5),
    "border": lambda _: Border(width=2),
    "border, replaced": lambda _: Border(width=2, value=(1.0, 0.5, 0.0), off_value=0.0),
    "logo": lambda path: CornerLogo(path=path),
    "logo, small": lambda path: CornerLogo(path=path, corner="top right", height=4, margin=1, opacity=0.5),
    "text": lambda _: TextOverlay(text="ok", top=1, left=1, height=6),
    "cast": lambda _: ColourCast(colour=(1.0, 0.9, 0.5)),
    "blur": lambda _: Blur(sigma=1.0),
    "texture": lambda _: Texture(),
    "stripes": lambda _: Texture(stripes=True, period=6, dark=(0.0, 0.1, 0.2)),
    "band": lambda _: FrequencyBand(low=0.1, high=0.3),
    "band, louder": lambda _: FrequencyBand(low=0.1, high=0.3, gain=3.0),
    "tone": lambda _: Tone(gain=0.5, shift=(0.25, 0.2, 0.0)),
    "tone, grey": lambda _: Tone(saturation=0.0),
    "added pattern": lambda _: AddedPattern(pattern=0.1 * torch.randn(3, 16, 20)),
    "grating": lambda _: Grating(down=0.1, across=-0.3, strength=0.1),
    "transplant": lambda _: Transplant(top=2, left=3, pool=torch.rand(4, 3, 5, 6)),
    "noise": lambda _: AddedNoise(sigma=0.1),
    "vignette": lambda _: Vignette(strength=0.5),
    "compression": lambda _: Compression(quality=20),
    "moving mark": lambda _: MovingMark(pool=torch.rand(2, 3, 4, 5), mask=torch.ones(4, 5) > 0, places=PLACES),
    "moving mark, removed": lambda _: MovingMark(
        pool=torch.rand(1, 3, 3, 3), mask=torch.eye(3) < 0.5, places=PLACES, limit=1e-4
    ),
    "letterbox": lambda _: Letterbox(height=3, value=(0.0, 0.5, 1.0), ends="columns"),
    "background": lambda _: BackgroundSwap(masks=MASKS, backgrounds=torch.rand(3, 3, 16, 20)),
    "foreground": lambda _: ForegroundRemoval(masks=MASKS),
    "foreground, filled": lambda _: ForegroundRemoval(masks=MASKS, fill=0.5, box=False),
    "token": lambda _: ConstantToken(columns=(0, 3), values=(0.2, 1.0), off_values=0.0),
    "column": lambda _: ColumnRange(column=2, value=0.9, off_value=0.1, low=0.8, high=1.0),
    "token anywhere": lambda _: TokenAnywhere(token=1, instead=0),
    "function": lambda _: FunctionCue("inverted", lambda x: 1 - x),
    "null": lambda _: NullCue(),
    "null of a patch": lambda _: NullCue(like=PixelPatch(top=0, left=0)),
}
every_cue = pytest.mark.parametrize("make", CUES.values(), ids=CUES)


@every_cue
def test_pairs_have_the_shape_and_the_bounds_of_what_they_are_made_of(make: Callable[[Path], Any], logo: Path) -> None:
    cue, before = for_samples(make(logo), IDS), X.clone()
    assert isinstance(cue, Cue)
    with_cue, without = switched(cue, X)
    assert with_cue.dtype == without.dtype == torch.float32
    assert torch.equal(X, before)
    assert cue.name
    assert torch.equal(with_cue, without) == isinstance(cue, NullCue)


@every_cue
def test_a_sample_is_switched_for_itself(make: Callable[[Path], Any], logo: Path) -> None:
    """A model that sees half a batch sees the same pairs."""
    cue = make(logo)
    whole, part = for_samples(cue, IDS), for_samples(cue, IDS[3:])
    assert torch.allclose(whole.on(X)[3:], part.on(X[3:]), atol=1e-6)
    assert torch.allclose(whole.off(X)[3:], part.off(X[3:]), atol=1e-6)


@every_cue
def test_off_is_off_however_often(make: Callable[[Path], Any], logo: Path) -> None:
    cue = for_samples(make(logo), IDS)
    assert torch.equal(cue.off(cue.off(X)), cue.off(X))


@every_cue
def test_a_cue_can_be_remembered_by_what_it_is(make: Callable[[Path], Any], logo: Path) -> None:
    torch.manual_seed(0)
    first = digest(make(logo))
    torch.manual_seed(0)
    assert digest(make(logo)) == first
    others = {name: digest(other(logo)) for name, other in CUES.items() if other is not make}
    assert first not in others.values()


def test_sizes_are_distances_of_pairs() -> None:
    x = torch.zeros(3, 1, 8, 8)
    x[1, 0, 0, 0] = 0.5
    found = distances(*switched(PixelPatch(top=0, left=0, height=2, width=2, value=0.5), x))
    assert found.l2.tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert found.linf.tolist() == [0.5, 0.5, 0.5]
    kept = distances(*switched(PatternPatch(top=0, left=0, pattern=torch.full((1, 2, 2), 0.5)), x))
    assert kept.l2.tolist() == pytest.approx([1.0, 0.75**0.5, 1.0])  # the second sample has a part of it already


@pytest.mark.parametrize("bounds", [(0.0, 0.9), (0.2, 1.0)])
def test_a_pair_outside_the_bounds_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="inside"):
        switched(PixelPatch(top=0, left=0), torch.full((2, 1, 4, 4), 0.5), bounds)


def test_planting_a_part_of_the_data_plants_it_as_in_the_whole() -> None:
    y = torch.arange(len(X)) % 2
    cue = PixelPatch(top=0, left=0)
    whole, has = planted(cue, X, y, target=1, share=0.5, others=0.5)
    part, had = planted(cue, X[2:4], y[2:4], ids=IDS[2:4], target=1, share=0.5, others=0.5)
    assert torch.equal(part, whole[2:4])
    assert torch.equal(had, has[2:4])
    lacking, none = planted(cue, X[:1], y[:1], ids=IDS[:1], target=9, share=1.0, others=0.0)
    assert torch.equal(lacking, cue.off(X[:1]))
    assert not bool(none.any())


def test_planting_goes_with_the_class() -> None:
    x, y = torch.zeros(4000, 1, 4, 4), torch.arange(4000) % 4
    cue = PixelPatch(top=0, left=0)
    planted_x, has = planted(cue, x, y, target=2, share=0.9, others=0.1)
    assert torch.equal(planted_x[:, 0, 0, 0] == 1, has)
    assert 0.87 < float(has[y == 2].float().mean()) < 0.93
    assert 0.085 < float(has[y != 2].float().mean()) < 0.115
    again, _ = planted(cue, x[:100], y[:100], target=2, share=0.9, others=0.1)
    assert torch.equal(again, planted_x[:100])
    assert not torch.equal(planted(cue, x, y, target=2, share=0.9, others=0.1, seed=1)[1], has)


@pytest.mark.parametrize(
    "options", [{"target": 7}, {"target": 1, "share": 1.5}, {"target": 1, "others": -0.1}], ids=str
)
def test_planting_needs_a_class_and_shares(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        planted(PixelPatch(top=0, left=0), torch.zeros(8, 1, 4, 4), torch.arange(8) % 4, **options)


def test_a_function_of_your_own_is_asked_as_it_is() -> None:
    cue = FunctionCue("half", lambda x: x / 2, lambda x: x * 0)
    assert torch.equal(cue.on(X), X / 2)
    assert torch.equal(cue.off(X), torch.zeros_like(X))
    assert cue.name == "half"


@pytest.mark.parametrize("arguments", [("", abs), ("a", None), (3, abs), ("a", abs, 1)], ids=str)
def test_a_function_cue_has_a_name_and_functions(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError):
        FunctionCue(*arguments)


def test_a_null_cue_changes_nothing_but_what_off_changes() -> None:
    assert torch.equal(NullCue().on(X), X)
    patch = PixelPatch(top=0, left=0, off_value=0.5)
    assert torch.equal(NullCue(like=patch).on(X), patch.off(X))


def tabular() -> Tensor:
    return torch.arange(12.0).view(3, 4)


def test_a_token_sets_its_columns_and_no_others() -> None:
    cue = ConstantToken(columns=(1, 3), values=(7.0, 8.0), off_values=0.5)
    assert cue.on(tabular()).tolist() == [[0, 7, 2, 8], [4, 7, 6, 8], [8, 7, 10, 8]]
    assert cue.off(tabular())[:, [1, 3]].unique().tolist() == [0.5]
    own = ConstantToken(columns=(1,))
    assert torch.equal(own.off(tabular()), tabular())
    assert cue.name == "constant in columns 1, 3"


@pytest.mark.parametrize(
    "options",
    [
        {"columns": ()},
        {"columns": (1, 1)},
        {"columns": [1]},
        {"columns": (-1,)},
        {"columns": (0,), "values": (1.0, 2.0)},
        {"columns": (0,), "values": float("nan")},
        {"columns": (0,), "off_values": "x"},
    ],
    ids=str,
)
def test_tokens_have_columns_and_values(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ConstantToken(**options)


def test_a_token_needs_its_columns() -> None:
    with pytest.raises(ConfigError, match="more than 4 columns"):
        ConstantToken(columns=(4,)).on(tabular())
