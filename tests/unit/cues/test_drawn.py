"""Borders, logos and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from robustest import ConfigError
from robustest.cues import Border, CornerLogo, TextOverlay

X = torch.rand(2, 3, 10, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def logo(tmp_path: Path) -> Path:
    """2 x 4: red and opaque on the left half, green and see-through on the right."""
    picture = Image.new("RGBA", (4, 2), (255, 0, 0, 255))
    for row in range(2):
        for column in (2, 3):
            picture.putpixel((column, row), (0, 255, 0, 0))
    picture.save(tmp_path / "logo.png")
    return tmp_path / "logo.png"


def test_a_border_covers_the_edge_and_nothing_else() -> None:
    cue = Border(width=2, value=(1.0, 0.5, 0.0), off_value=0.25)
    inner = torch.zeros(10, 12, dtype=torch.bool)
    inner[2:-2, 2:-2] = True
    for got, want in ((cue.on(X), (1.0, 0.5, 0.0)), (cue.off(X), (0.25, 0.25, 0.25))):
        assert torch.equal(got[:, :, inner], X[:, :, inner])
        for channel, value in enumerate(want):
            assert bool((got[:, channel, ~inner] == value).all())
    assert Border().off(X) is X
    assert (Border().name, cue.name) == ("border of 1 pixel", "border of 2 pixels")


@pytest.mark.parametrize("options", [{"width": 0}, {"value": float("nan")}, {"off_value": "x"}], ids=str)
def test_borders_have_a_width_and_values(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Border(**options)


def test_a_border_leaves_something_of_the_image() -> None:
    with pytest.raises(ConfigError, match="larger than their border"):
        Border(width=5).on(X)
    with pytest.raises(ConfigError, match="or one for each of 3 channels"):
        Border(value=(1.0, 0.0)).on(X)


@pytest.mark.parametrize(
    ("corner", "rows", "columns"),
    [
        ("top left", slice(1, 3), slice(1, 3)),
        ("top right", slice(1, 3), slice(7, 9)),
        ("bottom left", slice(7, 9), slice(1, 3)),
        ("bottom right", slice(7, 9), slice(7, 9)),
    ],
)
def test_a_logo_lies_in_its_corner_where_it_is_opaque(logo: Path, corner: Any, rows: slice, columns: slice) -> None:
    on = CornerLogo(path=logo, corner=corner, margin=1).on(X)
    covered = torch.zeros(10, 12, dtype=torch.bool)
    covered[rows, columns] = True
    assert torch.equal(on[:, :, ~covered], X[:, :, ~covered])
    for channel, value in enumerate((1.0, 0.0, 0.0)):
        assert bool((on[:, channel, covered] == value).all())


def test_a_logo_may_be_half_transparent_grey_and_in_other_units(logo: Path) -> None:
    x = torch.zeros(1, 1, 4, 4)
    on = CornerLogo(path=logo, corner="top left", opacity=0.5, bounds=(-1.0, 1.0)).on(x)
    red = -1 + 2 * 0.299
    assert on[0, 0, :2, :2].flatten().tolist() == pytest.approx([red / 2] * 4)
    assert not on[0, 0, 2:].any()


def test_a_logo_keeps_its_proportions(logo: Path) -> None:
    on = CornerLogo(path=logo, corner="top left", height=4).on(torch.zeros(1, 3, 10, 12))
    lit = on[0, 0] > 0.5
    assert lit.any(1).nonzero().flatten().tolist() == [0, 1, 2, 3]
    assert lit.any(0).nonzero().flatten().tolist() == [0, 1, 2, 3]


def test_a_logo_needs_a_file_a_corner_and_room(logo: Path, tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no picture")
    for options in (
        {"path": tmp_path / "none.png"},
        {"path": tmp_path / "words.png"},
        {"path": logo, "corner": "middle"},
        {"path": logo, "opacity": 0.0},
        {"path": logo, "height": 0},
        {"path": logo, "margin": -1},
    ):
        with pytest.raises(ConfigError):
            CornerLogo(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="smaller height or margin"):
        CornerLogo(path=logo, margin=10).on(X)
    with pytest.raises(ConfigError, match="1 or 3 channels"):
        CornerLogo(path=logo).on(torch.zeros(1, 2, 9, 9))


def test_a_text_is_written_where_it_should_be() -> None:
    x = torch.full((1, 3, 20, 40), 0.5)
    on = TextOverlay(text="I", top=3, left=5, height=9, value=(1.0, 0.0, 0.5)).on(x)
    changed = (on != x).any(1)[0]
    rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
    assert rows.tolist() == list(range(3, 12))
    assert int(columns[0]) == 5
    assert float(on[0, 0].max()) > 0.8
    assert float(on[0, 1].min()) < 0.2
    assert bool((on[0, 2] == 0.5).all())


def test_longer_texts_are_wider() -> None:
    x = torch.zeros(1, 1, 20, 100)
    widths = [int((TextOverlay(text=t, height=8).on(x)[0, 0] > 0).any(0).sum()) for t in ("i", "cat", "catalogue")]
    assert widths == sorted(widths)
    assert widths[2] > 2 * widths[1]


@pytest.mark.parametrize(
    "options", [{"text": " "}, {"text": 3}, {"text": "a", "top": -1}, {"text": "a", "height": 0}], ids=str
)
def test_texts_say_something_somewhere(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TextOverlay(**options)


def test_a_text_needs_room() -> None:
    with pytest.raises(ConfigError, match="move it or give a smaller height"):
        TextOverlay(text="much too long a text", height=8).on(X)
