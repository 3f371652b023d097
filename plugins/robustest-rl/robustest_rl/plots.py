"""Plots of returns undisturbed and attacked, and of the lowest returns by radius, as PNG or SVG files."""

from __future__ import annotations

import io
import os
import textwrap
import zlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustest import Result
from robustest.errors import ConfigError, StoreError, expected
from robustest.packs import current

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _CLEAN = "#1f4e79", "#777777"
_BY_RADIUS = "lowest mean return found by radius"


def plot_returns(result: Result, path: str | os.PathLike[str]) -> Path:
    """Save a plot of an agent's returns.

    The left panel has the sorted returns of all episodes, undisturbed and attacked; the right one the lowest mean
    return by radius, on the episodes of the search.

    Args:
        result: of `measure_robust_return`.
        path: ends in .png or .svg; its folder is made if absent.

    Raises:
        ConfigError: a result of another kind, another ending, or Matplotlib is missing.
        StoreError: the file cannot be written.
    """
    returns = result.details.get("returns")
    if not isinstance(returns, Mapping):
        raise ConfigError(expected("a result of measure_robust_return", result))
    if Path(path).suffix.lower() not in (".png", ".svg"):
        raise ConfigError(expected("path to end in .png or .svg", str(path)))
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "Expected Matplotlib for pictures but it is not installed. Install it: pip install 'robustest-rl[pictures]'"
        )
    return _saved(_figure(result.details, result.subject.statement), Path(path))


def curves_by_radius(curve: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return the curve of returns by radius for the report's page; empty without a radius."""
    points = [{"x": point["radius"], "y": point["mean return"]} for point in curve if "radius" in point]
    # The page's axis starts at 0.
    if not points or min(point["y"] for point in points) < 0 or points[-1]["x"] == 0:
        return {}
    return {"curves": [{"title": _BY_RADIUS, "x": "radius", "y": "mean return", "points": points}]}


def picture_of(details: Mapping[str, Any], statement: str, folder: str | None) -> dict[str, Any]:
    """Return the plot for the report's page; empty if pictures are off or Matplotlib is missing."""
    if folder is None or find_spec("matplotlib") is None:
        return {}
    # The name follows from the content, so that a run repeated writes the same file.
    named = zlib.crc32(repr((statement, details["returns"], details.get("by_radius"))).encode())
    target = Path(folder) / f"robust_return-{named:08x}.png"
    path = current().picture(lambda: str(_written(_figure(details, statement), target)), folder)
    if path is None:
        return {}
    caption = "returns of all episodes played, untouched and attacked"
    return {"pictures": [{"caption": caption, "image": path}]}


def _figure(details: Mapping[str, Any], statement: str) -> Figure:
    from matplotlib.figure import Figure

    curve = [point for point in details.get("by_radius") or () if "radius" in point]
    figure = Figure(figsize=(6.8 if curve else 3.6, 2.9), layout="constrained")
    panels = figure.subplots(1, 2 if curve else 1, sharey=True, squeeze=False)[0]
    _episodes(panels[0], details["returns"], attacked="by_radius" in details)
    if curve:
        _by_radius(panels[1], curve)
    for panel in panels:
        panel.tick_params(labelsize=7)
        panel.grid(axis="y", linewidth=0.4, alpha=0.5)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(textwrap.fill(statement, int(14 * figure.get_figwidth())), fontsize=9, parse_math=False)
    return figure


def _episodes(panel: Axes, returns: Mapping[str, list[float]], *, attacked: bool) -> None:
    n = len(returns["untouched"])
    share = [(place + 0.5) / n for place in range(n)]
    panel.plot(share, sorted(returns["untouched"]), color=_CLEAN, linestyle="--", linewidth=1.0, label="untouched")
    if attacked:
        panel.plot(share, sorted(returns["attacked"]), color=_INK, linewidth=1.2, label="under the threat")
    panel.set_title(f"{n} episodes, sorted", fontsize=8, pad=3)
    panel.set_xlabel("share of episodes", fontsize=7, labelpad=1)
    panel.set_ylabel("return", fontsize=8)
    panel.set_xlim(0, 1)
    panel.legend(fontsize=7, frameon=False)


def _by_radius(panel: Axes, curve: Sequence[Mapping[str, float]]) -> None:
    radii = [point["radius"] for point in curve]
    panel.plot(
        radii,
        [point["mean return"] for point in curve],
        color=_INK,
        marker="o",
        markersize=3,
        linewidth=1.2,
        drawstyle="steps-post",  # what one radius found holds until a larger one finds more
    )
    panel.set_title(_BY_RADIUS, fontsize=8, pad=3)
    panel.set_xlabel("radius, in units of the scale", fontsize=7, labelpad=1)


def _saved(figure: Figure, target: Path) -> Path:
    try:
        return _written(figure, target)
    except OSError as error:
        raise StoreError(f"Expected to write the picture to {target} but got: {error}. Make it writable.") from error


def _written(figure: Figure, target: Path) -> Path:
    import matplotlib

    kind, drawn = target.suffix.lower()[1:], io.BytesIO()
    # A fixed salt and no date: the same result gives the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "robustest"}):
        figure.savefig(drawn, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(drawn.getvalue())
    return target
