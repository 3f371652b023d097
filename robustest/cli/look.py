"""A look at a project's model and samples, in the project's own process: types, shapes and values.

1. Read at most 512 samples, evenly spread, as a claim does.
2. Choose the kind: strings are text; whole numbers for a network are tokens; two axes of space are images; for the
   others the first layer decides: a convolution over time or a recurrent layer reads a signal, anything else rows.
3. Measure what the questions depend on: the share of the most frequent label, the grid of each column, the column whose
   loss costs most, and whether a network's own mean and std belong before it.
"""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import plain_run
from robustest.checks import require
from robustest.cli.questions import Facts
from robustest.context import Context, running
from robustest.data.frames import MISSING, Frames
from robustest.data.strings import Strings
from robustest.errors import DataError
from robustest.measure import measure_accuracy, measure_shift_accuracy
from robustest.models.classifier import Needs
from robustest.results import Result
from robustest.run.plan import Setup
from robustest.settings import Settings

_MOST = 512
# Samples of each small measurement.
_FEW = 128
# Whole numbers with no more values than this may be names of something: none is a bit more than another.
_FLAGS = 10
# Columns whose loss is measured.
_COLUMNS = 40
# Time steps from which a signal in [-1, 1] is sound: a tenth of a second at 8 kHz.
_SOUND = 800


def write_facts(request: pytest.FixtureRequest, model: str, data: str, path: str) -> None:
    """Write the facts about the values of two fixtures as JSON, or as "problem" the error that they raised."""
    try:
        values = [request.getfixturevalue(name) for name in (model, data)]
        # This is no test of the project.
        with plain_run.running(plain_run.RunningTest()), running(Context(settings=Settings())):
            facts = look(*values)
    except BaseException as error:
        # An assertion without a message says what it is.
        line = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
        facts = {"problem": f"{type(error).__name__}: {line}"}
    Path(path).write_text(json.dumps(facts), encoding="utf-8")


def look(model: Any, data: Any) -> dict[str, Any]:
    """Return the facts about a model and its samples, as plain values.

    Raises:
        RobustestError: the model or the samples cannot be measured.
    """
    setup = Setup.of(model, data, {})
    n = len(setup.samples)
    ids = torch.linspace(0, n - 1, min(n, _MOST)).round().long()
    x, y = setup.samples.take(ids)
    require(x.numel(), "samples with values", tuple(x.shape), error=DataError)
    module = setup.model.module
    counts = torch.bincount(y - y.min())
    flat = x.flatten(1).double()
    facts: dict[str, Any] = {
        "kind": _kind(x, module),
        "n": n,
        "guess": float(counts.max()) / len(y),
        "low": float(flat.min()),
        "high": float(flat.max()),
        "gradient": setup.model.gives >= Needs.GRADIENT and module is not None,
        "length": x.shape[-1],
    }
    coding = setup.samples.coding
    if isinstance(coding, Strings):
        facts["kind"] = "text"
    elif isinstance(coding, Frames):
        facts["kind"] = "frame"
        facts |= _of_frame(model, data, coding, x)
    kind, options = facts["kind"], {"max_samples": min(_FEW, n), "exact": True}
    if kind == "images":
        facts["preprocessing"] = _preprocessing(model, data, module, facts, options)
    elif kind == "tokens":
        facts["common"] = int(x.flatten().mode().values)
        usual = [facts["common"]] * min(facts["length"], _COLUMNS)
        facts["relied"] = _relied(model, data, _replacements(usual), options)
    elif kind == "rows":
        names = getattr(data[0], "columns", None) if isinstance(data, (tuple, list)) else None
        facts["columns"] = [str(name) for name in (range(x.shape[1]) if names is None else names)]
        facts["units"] = [_unit(column) for column in flat.T]
        if not any(facts["units"]):
            facts["units"] = [_unit(column, coarse=10.0) for column in flat.T]
        facts["usual"] = [float(column.median()) for column in flat.T]
        room = max(1.0, facts["high"] - facts["low"])
        bounds = facts["low"] - room, facts["high"] + room
        shifts = _replacements(facts["usual"][:_COLUMNS])
        facts["relied"] = _relied(model, data, shifts, {**options, "bounds": bounds})
    return asdict(Facts.from_dict(facts))


def _kind(x: Tensor, module: nn.Module | None) -> str:
    if not x.is_floating_point() and module is not None and x.ndim == 2:
        return "tokens"
    if x.ndim == 4 and x.shape[1] in (1, 3):
        return "images"
    # The first layer with weights.
    layers = [] if module is None else [one for one in module.modules() if not list(one.children())]
    first = next((one for one in layers if any(True for _ in one.parameters())), None)
    signal = isinstance(first, (nn.Conv1d, nn.RNNBase)) or (x.ndim > 2 and not isinstance(first, nn.Linear))
    if x.ndim == 2 and not signal:
        # A function hides its layers; a thousand columns of a wave are no table.
        signal = module is None and first is None and _is_sound(x)
    if not signal:
        return "rows" if x.ndim == 2 else "series"
    return "audio" if _is_sound(x) else "series"


def _is_sound(x: Tensor) -> bool:
    """Return True for long samples in [-1, 1] around 0."""
    x = x.float()
    inside = bool((x.abs() <= 1).all()) and bool((x < 0).any()) and bool((x > 0).any())
    return x.shape[-1] >= _SOUND and inside and abs(float(x.mean())) < 0.1


def _unit(column: Tensor, coarse: float = 1.0) -> float:
    """Return the power of ten to which a column (n,) is rounded; 0 if it lies on the grid of `coarse` already."""
    spread = float(column.std()) if len(column) > 1 else 0.0
    if spread <= 0 or not math.isfinite(spread) or len(set(column.tolist())) <= 2:
        return 0.0
    unit = coarse * 10.0 ** (math.floor(math.log10(spread)) - 1)
    off = (column / unit - (column / unit).round()).abs()
    return 0.0 if float(off.max()) < 1e-4 else unit


def _right(result: Result) -> float:
    answers = [outcome for outcome in result.outcomes if outcome is not None]
    return sum(answers) / len(answers) if answers else 0.0


def _preprocessing(
    model: Any, data: Any, module: nn.Module | None, facts: Mapping[str, Any], options: Mapping[str, Any]
) -> str:
    named = getattr(module, "pretrained_cfg", None)
    mean, std = (named.get("mean"), named.get("std")) if isinstance(named, dict) else (None, None)
    if mean is None or std is None or facts["low"] < 0 or facts["high"] > 1:
        return ""
    pair = ([round(float(one), 6) for one in mean], [round(float(one), 6) for one in std])
    if pair == ([0.0] * len(pair[0]), [1.0] * len(pair[1])):
        return ""
    bare = _right(measure_accuracy(model, data, **options))
    normalised = _right(measure_accuracy(model, data, **options, preprocessing=pair))
    return f"({pair[0]}, {pair[1]})" if normalised > bare else ""


def _relied(model: Any, data: Any, shifts: Mapping[int, Callable[..., Any]], options: Mapping[str, Any]) -> int:
    worst, place = _right(measure_accuracy(model, data, **options)), -1
    for number, shift in shifts.items():
        left = _right(measure_shift_accuracy(model, data, shift, **options))
        if left < worst:
            worst, place = left, number
    return place


def _of_frame(model: Any, data: Any, coding: Frames, x: Tensor) -> dict[str, Any]:
    frame, pandas = data[0], coding.library == "pandas"
    units: list[float] = []
    usual: list[float | str | None] = []
    for place, column in enumerate(coding.columns):
        codes = x[:, place].double()
        codes = codes[codes > MISSING / 2]
        number = column.kind in {"number", "whole"} and len(codes) > 0
        unit = _unit(codes) if number else 0.0
        if column.whole and len(set(codes.tolist())) > _FLAGS:
            unit = max(1.0, unit)
        units.append(unit)
        named = next(name for name in frame.columns if str(name) == column.name)
        if number:
            usual.append(float(codes.median()))
        elif pandas and len(codes):
            value = frame[named].mode()[0]
            usual.append(value if isinstance(value, str) else None)
        else:
            usual.append(None)
    facts: dict[str, Any] = {
        "columns": list(coding.names),
        # Frames of polars have no `assign`.
        "units": units if pandas else [0.0] * len(units),
        "whole": [column.whole for column in coding.columns],
        "usual": ["" if one is None else one for one in usual],
        "n": len(frame),
    }
    shifts = {}
    for place, value in enumerate(usual[:_COLUMNS] if pandas else ()):
        column = coding.columns[place]
        whole = isinstance(value, float) and column.kind == "whole"
        if value is None or (whole and value % 1):
            continue
        shifts[place] = partial(_assigned, name=column.name, value=int(value) if whole else value)
    options = {"max_samples": min(_FEW, len(frame)), "exact": True}
    return {**facts, "relied": _relied(model, data, shifts, options)}


def _assigned(frame: Any, name: str, value: object) -> Any:
    return frame.assign(**{name: value})


def _replacements(usual: Sequence[float]) -> dict[int, Callable[[Tensor], Tensor]]:
    def replaced(x: Tensor, number: int, value: float) -> Tensor:
        x = x.clone()
        x[:, number] = value
        return x

    return {number: partial(replaced, number=number, value=value) for number, value in enumerate(usual)}
