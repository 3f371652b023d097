"""Figures of results as PNG or SVG files: `robustest[pictures]`."""

# Matplotlib (the extra `pictures`) draws them; none of its global state is changed.

from __future__ import annotations

import atexit
import io
import math
import os
import shutil
import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from PIL import Image

from robustest.checks import checked_whole
from robustest.errors import ConfigError, StoreError, expected, not_installed
from robustest.lazy import absent
from robustest.reports.text import name_of_class
from robustest.results import Counterexample, Result
from robustest.safe_files import open_regular

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def __getattr__(name: str) -> object:
    raise absent(__name__, name)


_COLUMNS = 5
_INK, _PALE, _CLEAN = "#1f4e79", "#9db8d2", "#777777"


@dataclass(frozen=True, slots=True)
class PlotFile:
    """A saved figure; a notebook shows it."""

    path: Path  # the file, .png or .svg

    def __fspath__(self) -> str:
        return str(self.path)

    def _repr_png_(self) -> bytes | None:
        return self.path.read_bytes() if self.path.suffix.lower() == ".png" else None

    def _repr_svg_(self) -> str | None:
        return self.path.read_text(encoding="utf-8") if self.path.suffix.lower() == ".svg" else None


def plot_severity(result: Result, path: str | os.PathLike[str] | None = None) -> PlotFile:
    """Save curves of accuracy by severity, one panel for each corruption, worst first.

    The intervals hold for all panels together; a dashed line marks the clean accuracy.

    Args:
        result: result of a claim of corruption robustness that evaluated every sample.
        path: file that ends in .png or .svg; its folder is made if absent. None: a temporary file, for notebooks.

    Raises:
        ConfigError: no accuracies by severity, another ending, or Matplotlib is missing.
        StoreError: the file cannot be written.
    """
    table = result.details.get("by_severity")
    if not table:
        raise ConfigError(
            f"Expected a result with accuracies by severity but got one of {result.subject.kind!r} without. Measure "
            "corruption robustness with exact=True: a claim that was settled early has none."
        )
    names = sorted(table, key=lambda name: math.fsum(map(_accuracy, table[name].values())) / len(table[name]))
    rows, columns = math.ceil(len(names) / _COLUMNS), min(len(names), _COLUMNS)
    width = max(1.75 * columns + 0.6, 3.6)
    figure = empty_figure(width, 1.8 * rows + 0.9, path)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel, name in zip(panels.flat, names, strict=False):
        _curve(panel, name, table[name], result.details.get("clean_accuracy"))
    for panel in panels.flat[len(names) :]:
        panel.set_visible(False)
    add_legend(figure, panels.flat[0])
    add_title(figure, result.subject.statement)
    figure.supylabel("accuracy", fontsize=8)
    return save_figure(figure, path)


def plot_worst(result: Result, path: str | os.PathLike[str] | None = None, *, most: int = 12) -> PlotFile:
    """Save a sheet of the pictures of a result's counterexamples, worst first.

    Args:
        result: result that did not pass, measured in a notebook or in a run of pytest --robust, which save pictures.
        path: file that ends in .png or .svg; its folder is made if absent. None: a temporary file, for notebooks.
        most: largest number of pictures, at least 1.

    Raises:
        ConfigError: no pictures, a wrong `most` or ending, or Matplotlib is missing.
        StoreError: a picture cannot be read, or the file cannot be written.
    """
    checked_whole("most", most, 1)
    shown = [one for one in result.counterexamples if one.image is not None][:most]
    if not shown:
        raise ConfigError(
            f"Expected a result whose worst samples were pictured but got one with {len(result.counterexamples)} "
            "counterexamples and no picture. They are saved in notebooks, and for claims that do not pass in a run of "
            "pytest --robust."
        )
    pictures = []
    for one in shown:
        try:
            with open_regular(Path(one.image or "")) as file, Image.open(file) as picture:
                pictures.append(np.asarray(picture.convert("RGB")))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"Expected to read the picture {one.image} but got: {error}. Measure again to save it."
            ) from error
    columns = 1 if len(shown) < 3 else 2
    rows = math.ceil(len(shown) / columns)
    tall = max(pixels.shape[0] / pixels.shape[1] for pixels in pictures)
    figure = empty_figure(3.6 * columns, rows * (3.4 * tall + 0.22) + 0.6, path)
    panels = figure.subplots(rows, columns, squeeze=False)
    names = result.details.get("class_names")
    for panel, one, pixels in zip(panels.flat, shown, pictures, strict=False):
        panel.imshow(pixels, interpolation="nearest")
        panel.set_title(_caption(one, names), fontsize=8, loc="left", pad=3, parse_math=False)
    for panel in panels.flat:
        panel.set_axis_off()
    add_title(figure, f"{result.subject.statement}: before, after, difference")
    return save_figure(figure, path)


def _curve(panel: Axes, name: str, by_severity: Mapping[str, Any], clean: float | None) -> None:
    points = sorted((int(severity), entry) for severity, entry in by_severity.items())
    severities = [severity for severity, _ in points]
    accuracy = [_accuracy(entry) for _, entry in points]
    if bounds := [entry["interval"] for _, entry in points if isinstance(entry, Mapping) and "interval" in entry]:
        low, high = zip(*bounds, strict=True)
        panel.fill_between(severities, low, high, color=_PALE, alpha=0.5, linewidth=0, label="interval")
    if clean is not None:
        panel.axhline(clean, color=_CLEAN, linestyle="--", linewidth=0.8, label="clean images")
    panel.plot(severities, accuracy, color=_INK, marker="o", markersize=3, linewidth=1.2, label="corrupted images")
    panel.set_title(name.replace("_", " "), fontsize=8, pad=3, parse_math=False)
    panel.set_xlabel("severity", fontsize=7, labelpad=1)
    panel.tick_params(labelsize=7, labelbottom=True)
    panel.set_ylim(-0.03, 1.03)
    panel.set_xlim(0.7, 5.3)
    panel.set_xticks(range(1, 6))
    panel.set_yticks((0, 0.5, 1), ("0", "0.5", "1"))
    panel.grid(axis="y", linewidth=0.4, alpha=0.5)
    panel.spines[["top", "right"]].set_visible(False)


def _accuracy(entry: Any) -> float:
    return float(entry["accuracy"] if isinstance(entry, Mapping) else entry)


def _caption(one: Counterexample, names: Any) -> str:
    size = "" if one.size is None else f", size {one.size:.3g} {one.unit}".rstrip()
    label, clean, predicted = (
        name_of_class(number, names) or str(number) for number in (one.label, one.clean, one.predicted)
    )
    answer = one.answer or f"label {label}: {clean} → {predicted}"
    return f"sample {one.index}, {answer}{size}"


def empty_figure(width: float, height: float, path: str | os.PathLike[str] | None) -> Figure:
    """Return an empty figure; width and height in inches.

    Raises:
        ConfigError: the path has another ending, or Matplotlib is missing.
    """
    if path is not None and Path(path).suffix.lower() not in (".png", ".svg"):
        raise ConfigError(expected("path to end in .png or .svg", str(path)))
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise not_installed("Matplotlib for pictures", "pictures") from error
    # `pyplot` would choose a backend and keep the figure for the life of the process.
    return Figure(figsize=(width, height), layout="constrained")


@cache
def _temporary() -> str:
    folder = tempfile.mkdtemp(prefix="robustest-plots-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def save_figure(figure: Figure, path: str | os.PathLike[str] | None) -> PlotFile:
    """Draw and write a figure to a path, or to a temporary file for None; the same result gives the same bytes."""
    import matplotlib

    target = Path(_temporary(), f"{uuid4().hex}.png") if path is None else Path(path)
    drawn, kind = io.BytesIO(), target.suffix.lower()[1:]
    # Matplotlib makes ids in SVG files from a random salt, and adds the date.
    with matplotlib.rc_context({"svg.hashsalt": "robustest"}):
        figure.savefig(drawn, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(drawn.getvalue())
    except OSError as error:
        raise StoreError(f"Expected to write the picture to {target} but got: {error}. Make it writable.") from error
    return PlotFile(target)


def add_legend(figure: Figure, panel: Axes, columns: int | None = None) -> None:
    """Add the legend of a panel below all panels."""
    handles, words = panel.get_legend_handles_labels()
    columns = len(words) if columns is None else columns
    figure.legend(handles, words, loc="outside lower center", ncols=columns, fontsize=7, frameon=False)


def add_title(figure: Figure, text: str) -> None:
    """Add a title, wrapped to the figure's width."""
    figure.suptitle(textwrap.fill(text, int(14 * figure.get_figwidth())), fontsize=9, parse_math=False)
