"""Figures of a result: curves of accuracy by severity, and sheets of the worst images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from robustest import ConfigError, Counterexample, Result, StoreError
from robustest.plots import plot_severity, plot_worst

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

FOG = {str(k): {"accuracy": 0.9 - 0.1 * k, "interval": [0.85 - 0.1 * k, 0.95 - 0.1 * k]} for k in range(1, 6)}
BLUR = {"2": 0.75, "4": 0.25}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def savefig(self: Figure, *args: Any, **kwargs: Any) -> None:
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def shown(figure: Figure) -> list[Any]:
    return [panel for panel in figure.axes if panel.get_visible()]


@pytest.fixture
def severities(made: Callable[..., Result]) -> Result:
    details = {"by_severity": {"fog": FOG, "defocus_blur": BLUR}, "clean_accuracy": 0.95, "health": []}
    return made(kind="corruption_robustness", statement="mean accuracy over 2 corruptions >= 0.9", details=details)


@pytest.fixture
def pictured(
    made: Callable[..., Result], worst: Callable[..., Counterexample], tmp_path: Path
) -> Callable[..., Result]:
    """Builds a result with so many pictured counterexamples, the n-th of brightness n, and one without a picture."""

    def build(many: int, **changes: Any) -> Result:
        found = [worst(index=99)]
        for k in range(many):
            Image.fromarray(np.full((20, 66, 3), k, dtype=np.uint8)).save(tmp_path / f"{k}.png")
            found.append(worst(index=k, label=1, clean=1, predicted=0, size=3.0, image=str(tmp_path / f"{k}.png")))
        return made(counterexamples=tuple(found), **changes)

    return build


def test_a_panel_for_each_corruption_worst_first(severities: Result, tmp_path: Path, drawn: list[Figure]) -> None:
    """Defocus blur has a mean of .5, fog one of .6."""
    assert plot_severity(severities, tmp_path / "deep" / "curves.png").path == tmp_path / "deep" / "curves.png"
    blur, fog = shown(drawn[0])
    assert [panel.get_title() for panel in (blur, fog)] == ["defocus blur", "fog"]
    clean, curve = fog.get_lines()
    assert curve.get_xydata().tolist() == [[k, FOG[str(k)]["accuracy"]] for k in range(1, 6)]
    assert set(clean.get_ydata()) == {0.95}
    band = fog.collections[0].get_paths()[0].vertices
    for k in range(1, 6):
        assert {y for x, y in band if x == k} == set(FOG[str(k)]["interval"])
    assert blur.get_lines()[1].get_xydata().tolist() == [[2, 0.75], [4, 0.25]]
    assert not blur.collections  # a plain number has no interval
    assert drawn[0].get_suptitle() == severities.subject.statement
    with Image.open(tmp_path / "deep" / "curves.png") as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).min() < 128 < np.asarray(picture.convert("L")).max()


def test_many_corruptions_fill_rows(severities: Result, tmp_path: Path, made: Any, drawn: list[Figure]) -> None:
    names = [f"shift_{k}" for k in range(7)]
    plot_severity(made(details={"by_severity": dict.fromkeys(names, FOG)}), tmp_path / "curves.png")
    assert len(shown(drawn[0])) == 7
    assert all(len(panel.get_lines()) == 1 for panel in shown(drawn[0]))  # there is no clean accuracy to draw


def test_the_same_result_gives_the_same_bytes(severities: Result, pictured: Any, tmp_path: Path) -> None:
    for kind in ("svg", "png"):
        plots = [plot_severity(severities, tmp_path / f"{k}.{kind}").path.read_bytes() for k in "ab"]
        sheets = [plot_worst(pictured(2), tmp_path / f"{k}.{kind}").path.read_bytes() for k in "ab"]
        assert plots[0] == plots[1] != sheets[0] == sheets[1]
    assert ElementTree.fromstring((tmp_path / "a.svg").read_bytes()).tag.endswith("svg")  # noqa: S314 - our own


@pytest.mark.parametrize(("many", "most"), [(1, 12), (5, 12), (5, 3)])
def test_a_sheet_has_the_worst_in_their_order(
    many: int, most: int, pictured: Any, tmp_path: Path, drawn: list[Figure]
) -> None:
    plot_worst(pictured(many), tmp_path / "worst.svg", most=most)
    want = min(many, most)
    panels = [panel for panel in drawn[0].axes if panel.images]
    assert [int(panel.images[0].get_array().max()) for panel in panels] == list(range(want))
    assert [panel.get_title("left") for panel in panels] == [f"sample {k}, label 1: 1 → 0, size 3" for k in range(want)]


@pytest.mark.parametrize("names", [["cat", "$dog$"], {"0": "cat", "1": "$dog$"}])
def test_classes_have_their_names(names: Any, pictured: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    plot_worst(pictured(1, details={"class_names": names}), tmp_path / "worst.png")
    assert drawn[0].axes[0].get_title("left") == "sample 0, label $dog$: $dog$ → cat, size 3"


def test_nothing_of_matplotlibs_global_state_is_touched(tmp_path: Path, severities: Result) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot_severity(severities, tmp_path / "curves.svg")
    assert dict(matplotlib.rcParams) == before


def test_what_cannot_be_drawn_is_named(
    severities: Result, made: Any, pictured: Any, worst: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"with exact=True: a claim that was settled early has none"):
        plot_severity(made(), tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"in \.png or \.svg but got '.*a\.pdf'"):
        plot_severity(severities, tmp_path / "a.pdf")
    with pytest.raises(ConfigError, match=r"got one with 1 counterexamples and no picture"):
        plot_worst(made(counterexamples=(worst(),)), tmp_path / "a.png")
    with pytest.raises(ConfigError, match="most to be a whole number >= 1"):
        plot_worst(pictured(1), tmp_path / "a.png", most=0)
    with pytest.raises(StoreError, match=r"read the picture .*gone\.png"):
        plot_worst(made(counterexamples=(worst(image=str(tmp_path / "gone.png")),)), tmp_path / "a.png")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="write the picture to"):
        plot_severity(severities, tmp_path / "file" / "a.png")
    assert list(tmp_path.glob("a.*")) == []


def test_without_matplotlib_the_error_names_the_extra(
    severities: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'robustest\[pictures\]'"):
        plot_severity(severities, tmp_path / "a.png")


def test_a_notebook_shows_a_figure(severities: Any, tmp_path: Path) -> None:
    drawn = plot_severity(severities)
    assert drawn._repr_png_() == Path(drawn).read_bytes()
    assert drawn._repr_svg_() is None
    vector = plot_severity(severities, tmp_path / "a.svg")
    assert vector._repr_png_() is None
    assert "<svg" in (vector._repr_svg_() or "")
