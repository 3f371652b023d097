"""The figure of a result of robust generalization: accuracies by the number of training samples."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from robustest import ConfigError, Result
from robustest.plots import PlotFile, add_legend, add_title, empty_figure, save_figure

_OF = {"robust": ("#1f4e79", "robust accuracy"), "clean": ("#777777", "clean accuracy")}
_ROW = {"samples", *(f"{of}_{what}" for of in _OF for what in ("training", "test", "test_interval"))}


def plot_generalization(result: Result, path: str | os.PathLike[str] | None = None) -> PlotFile:
    """Save robust and clean accuracies by number of training samples, on training (dashed) and test samples (solid).

    The distance between two lines of one colour is the generalization gap. Bands are intervals on test samples, each
    for its size alone.

    Args:
        result: result of a claim of robust generalization.
        path: file that ends in .png or .svg; its folder is made if absent. None: a temporary file, for notebooks.

    Raises:
        ConfigError: no curve over training samples, another ending, or Matplotlib is missing.
        StoreError: the file cannot be written.
    """
    curve = result.details.get("curve")
    rows = list(curve) if isinstance(curve, Sequence) else []
    if not rows or not all(isinstance(row, Mapping) and set(row) >= _ROW for row in rows):
        raise ConfigError(
            f"Expected a result with accuracies by training samples but got one of {result.subject.kind!r} without. "
            "Give one of measure_robust_generalization(data, threat, train=, test_data=, min_train_accuracy=)."
        )
    rows.sort(key=lambda row: float(row["samples"]))
    figure = empty_figure(4.6, 3.4, path)
    panel = figure.subplots()
    samples = [row["samples"] for row in rows]
    for of, (colour, words) in _OF.items():
        low, high = zip(*(row[f"{of}_test_interval"] for row in rows), strict=True)
        panel.fill_between(samples, low, high, color=colour, alpha=0.15, linewidth=0)
        for where, line in (("training", "--"), ("test", "-")):
            values = [row[f"{of}_{where}"] for row in rows]
            how: dict[str, Any] = {"color": colour, "linestyle": line, "marker": "o", "markersize": 3, "linewidth": 1.2}
            panel.plot(samples, values, label=f"{words}, {where} samples", **how)
    panel.set_xscale("log")
    panel.set_xticks(samples, [f"{count:,}" for count in samples])
    panel.minorticks_off()
    panel.set_xlabel("training samples", fontsize=8)
    panel.set_ylabel("accuracy", fontsize=8)
    panel.tick_params(labelsize=7)
    # All figures share one scale: a steep-looking curve of small changes would mislead.
    panel.set_ylim(-0.03, 1.03)
    panel.grid(axis="y", linewidth=0.4, alpha=0.5)
    panel.spines[["top", "right"]].set_visible(False)
    add_legend(figure, panel, columns=2)
    add_title(figure, result.subject.statement)
    return save_figure(figure, path)
