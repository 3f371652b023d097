"""Claims on perturbation sequences: frequency and size of changes of the prediction between frames."""

# Flip probability and top-5 distance (Hendrycks and Dietterich, ICLR 2019, section 4.3). The claim is on a weighted
# mean of the figures of perturbations (`decisions.corruption_error.WeightedRule`).

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from robustest.checks import moved_rows, require
from robustest.columns import ANSWER, LEAD
from robustest.data.benchmarks import SequenceBenchmark
from robustest.data.benchmarks.corrupted import SequenceFrames
from robustest.decisions import checked_not_both
from robustest.decisions.corruption_error import WeightedRule
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.shown import mixed
from robustest.errors import ConfigError, DataError, expected, unknown
from robustest.kinds import Kind, Quantity
from robustest.results import Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Observation
from robustest.run.finish import finish
from robustest.run.grounds import Changed
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Setup

_TOP = 5
# Top-5 distance if all five classes leave the first five places.
LARGEST = _TOP * (_TOP + 1) / 2

STABLE = Kind(
    name="stable_under_perturbations",
    varies="inputs",
    quantities=(
        Quantity.at_most("max_mfp", "mean flip probability", "mean flip probability over {} perturbations"),
        Quantity.at_most("max_mt5d", "mean top-5 distance", "mean top-5 distance over {} perturbations"),
    ),
    further_claims=("no_worse_than",),
    brief=True,
)


@measurement(STABLE)
def measure_stable_under_perturbations(
    model: object,
    data: SequenceBenchmark,
    *,
    perturbations: Sequence[str] | None = None,
    max_mfp: float | None = None,
    max_mt5d: float | None = None,
    reference: Mapping[str, Mapping[str, float]] | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    **options: Unpack[Options],
) -> Result:
    """Measure the mean flip probability (mFP) or mean top-5 distance (mT5D) over perturbations of sequences.

    (Hendrycks and Dietterich, ICLR 2019, section 4.3.) A flip is another predicted class than in the frame before, or,
    for noise, than in the first frame. The top-5 distance is the movement of one frame's five likeliest classes in the
    order of the other.

    Args:
        model: as for `measure_robust_accuracy`.
        data: sequences, as `robustest.benchmark("imagenet-p", root)` reads them.
        perturbations: names; None for all.
        max_mfp: largest mean flip probability claimed, > 0; with a reference the mean flip rate.
        max_mt5d: largest mean top-5 distance claimed, > 0; not together with max_mfp.
        reference: `details` of another model's result. Each figure is then a share of that model's: 1 is equal.
        no_worse_than, tolerance: as for `measure_robust_score`, about each sequence's share of the largest figure.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. A sequence's outcome is True if no frame of any perturbation flips. It is inconclusive if a
        perturbation changes no frame.

    Raises:
        DataError: a sequence has fewer than two frames, or values outside the bounds.
        ConfigError, DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    require(isinstance(data, SequenceBenchmark), 'sequences as benchmark("imagenet-p", root) reads them', data)
    checked_not_both(max_mfp=max_mfp, max_mt5d=max_mt5d)
    names = tuple(data.sequences) if perturbations is None else tuple(dict.fromkeys(perturbations))
    for name in names:
        if name not in data.sequences:
            raise unknown(f"perturbation of {data.name}", name, data.sequences)
    if not names:
        raise ConfigError("Expected one perturbation or more but got none.")
    by_distance = max_mt5d is not None
    setup = Setup.of(model, data.samples(), options)
    threshold = max_mt5d if by_distance else max_mfp
    quantity = STABLE.quantity_of("max_mt5d" if by_distance else "max_mfp")
    rule = WeightedRule.of(
        quantity.threshold, threshold, _weights(names, reference, by_distance=by_distance), setup.terms
    )
    look = Flickering(sequences=tuple((name, data.sequences[name]) for name in names), weights=rule.weights)
    # Files may change under their names: nothing is stored.
    plan = setup.plan(quantity.state(len(names)), look, rule, measure=("perturbations", names)).against(
        no_worse_than,
        tolerance,
        has_threshold=threshold is not None,
        scored=f"mean of 1 - {quantity.name} / {rule.mean.scale:.3g}",
    )
    evidence = observe(plan)
    moved = {name: evidence.columns[f"moved/{name}"] for name in names}
    # `worst`: every frame that differs flips, by the largest distance.
    lost = {
        f"{kind}/{name}": np.maximum(evidence.columns[f"{kind}/{name}"], one)
        for name, one in moved.items()
        for kind in ("fp", "t5d")
    }
    worst = rule.mean_of({**evidence.columns, **lost})
    details: dict[str, Any] = {"perturbations": len(names)}
    if evidence.whole:
        flips = {name: float(evidence.columns[f"fp/{name}"].mean()) for name in names}
        distances = {name: float(LARGEST * evidence.columns[f"t5d/{name}"].mean()) for name in names}
        details = {
            "mfp": float(np.mean(list(flips.values()))),
            "mt5d": float(np.mean(list(distances.values()))),
            "flip_probability": flips,
            "top5_distance": distances,
        }
        for key, figure, found in (("flip_probability", "mfr", flips), ("top5_distance", "mt5d_rate", distances)):
            given = {} if reference is None else reference.get(key, {})
            if all(given.get(name, 0) > 0 for name in names):
                details[figure] = float(np.mean([found[name] / given[name] for name in names]))
    return finish(
        plan,
        evidence,
        kind=STABLE,
        quantity=quantity,
        threshold=threshold,
        setting=", ".join(names),
        method=f"frames of {data.name}{'' if reference is None else ', as a share of a reference model'}",
        details=details,
        trivial=rule.mean.scale,
        caveats=data.caveats,
        changed=[Changed(by=f"the perturbation {name}", moved=one, worst=worst) for name, one in moved.items()],
    )


@assertion(measure_stable_under_perturbations)
def assert_stable_under_perturbations() -> None:
    """Claim that predictions rarely change, or change little, from frame to frame of a perturbation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flickering:
    """Changes of predictions along sequences; the weights of columns in a sequence's figure have the sum 1."""

    sequences: tuple[tuple[str, SequenceFrames], ...]
    weights: Mapping[str, float]

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        columns: dict[str, np.ndarray[Any, Any]] = {name: np.full(len(chunk.ids), np.nan) for name in (ANSWER, LEAD)}
        low, high = chunk.bounds
        for name, frames in self.sequences:
            flips, distances, moved = [], [], []
            for row, at in enumerate(chunk.ids.tolist()):
                x = frames[at].to(evaluator.device) * (high - low) + low
                if len(x) < 2 or not bool(((x >= low) & (x <= high)).all()):
                    raise DataError(
                        f"Expected two frames or more in [0, 1] of sequence {at} of {name} but got fewer, or values "
                        "outside. Divide 8-bit frames by 255."
                    )
                # Identical frames test nothing (see `finish`).
                moved.append(bool(moved_rows(x[:1].expand_as(x), x).any()))
                logits = evaluator.logits(x)
                predicted = evaluator.task.predictions(logits)
                columns[ANSWER][row], columns[LEAD][row] = predicted[0], mixed(logits.reshape(1, -1))
                flips.append(flip_probability(predicted, noise="noise" in name))
                distances.append(top5_distance(logits, noise="noise" in name))
            columns[f"fp/{name}"], columns[f"t5d/{name}"] = np.array(flips), np.array(distances) / LARGEST
            columns[f"moved/{name}"] = np.array(moved)
        still = np.all([columns[f"fp/{name}"] == 0 for name, _ in self.sequences], axis=0)
        # As a baseline compares it: more is better.
        score = 1 - np.sum([weight * columns[name] for name, weight in self.weights.items()], axis=0)
        return Observation({"held": still, "score": score, **columns}, [])


def flip_probability(predicted: Tensor, *, noise: bool) -> float:
    """Return the share of flips of predictions (T,), from the frame before, or for noise the first."""
    # Noise frames are independent draws: the first is the reference, not the frame before.
    before = predicted[:1] if noise else predicted[:-1]
    return float((predicted[1:] != before).double().mean())


def top5_distance(logits: Tensor, *, noise: bool) -> float:
    """Return the mean top-5 distance, in 0..15, along a sequence of logits (T, K).

    For two frames it is the sum, over the five likeliest classes of the first, of their movements among the first five
    places and the one behind them (section 4.3).
    """
    # rank[t, k]: the place of class k in frame t; stable, so that ties are the same on every device.
    order = torch.argsort(logits, dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    top = order[:, :_TOP]
    now, before = rank[1:], (top[:1].expand(len(top) - 1, -1) if noise else top[:-1])
    # Places beyond the fifth count as the sixth (0-based: 5).
    moved = now.gather(1, before).clamp(max=_TOP) - torch.arange(before.shape[1], device=order.device)
    return float(moved.abs().sum(1).double().mean())


def _weights(
    names: Sequence[str], reference: Mapping[str, Mapping[str, float]] | None, *, by_distance: bool
) -> dict[str, float]:
    # Distances are stored as shares of the largest.
    key, kind, unit = ("top5_distance", "t5d", LARGEST) if by_distance else ("flip_probability", "fp", 1.0)
    if reference is None:
        return {f"{kind}/{name}": unit / len(names) for name in names}
    given = reference.get(key) if isinstance(reference, Mapping) else None
    weights = {}
    for name in names:
        value = given.get(name) if isinstance(given, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ConfigError(expected(f"reference[{key!r}][{name!r}] to be a number > 0", value))
        weights[f"{kind}/{name}"] = unit / (len(names) * value)
    return weights
