"""The claim that a net's loss is smoother along its training than another's.

Every few steps the loss is probed along the gradient (Santurkar, Tsipras, Ilyas and Madry, "How Does Batch
Normalization Help Optimization?", NeurIPS 2018, section 3): its range, the turn of the gradient (its least cosine), its
rate of change (the effective beta), and internal covariate shift.

Rescaling weights under a normalisation sets the absolute beta of one function to any value, so it is only reported. A
net on a plateau has a smooth landscape, so both nets must learn.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.packs import (
    NOT_PAIRED,
    Decision,
    Evidence,
    Kind,
    Options,
    Quantity,
    Result,
    Settings,
    Tally,
    Verdict,
    approximate,
    assertion,
    checked_real,
    checked_whole,
    digest,
    frozen,
    measurement,
    no_lines,
    optional_threshold,
    result_of,
    seed_draws,
    settings_of,
    terms_of,
)
from robustest.rng import keys
from robustest_training.probed_training import Batches, Course, ProbedTrainings, Trace, best_constant, built
from robustest_training.probes import Loss
from robustest_training.ratios import decide_ratio

LANDSCAPE = Kind(
    name="smooth_landscape",
    quantities=(
        Quantity.at_most(
            "max_ratio", "ratio of relative loss ranges", "loss range along relative steps, over the reference's"
        ),
    ),
    advises=True,
    lines=no_lines,
)

# A net has learned if its loss ends at most at this share of the best constant answer's.
_LEARNED = 0.5
# A net is on a plateau while its loss is more than this share of it.
_PLATEAU = 0.9
_MEASURES = ("loss_range", "cosine", "beta", "absolute_beta", "shift", "shift_cosine")


@measurement(LANDSCAPE)
def measure_smooth_landscape(
    model: object,
    data: Sequence[tuple[Tensor, Tensor]],
    *,
    loss: Loss,
    reference: object,
    max_ratio: float | None = None,
    seeds: int = 3,
    train_steps: int = 100,
    every: int = 10,
    learning_rate: float = 0.1,
    etas: Sequence[float] = (0.05, 0.15, 0.4),
    **options: Unpack[Options],
) -> Result:
    """Measure the range of the loss along the gradient while a net trains, beside a reference.

    Both nets are trained by gradient descent on the same batches in the same order, and probed every few steps
    (Santurkar et al., NeurIPS 2018, section 3). The claim is on the range along relative steps, in which each tensor
    moves in proportion to its norm. Advisory: without `max_ratio` nothing is claimed.

    Args:
        model: a function without arguments, or a `Factory`, that builds the net with weights drawn from torch's
            generator, which is seeded for each run.
        data: batches to train on, (x, y) tensors, in an order drawn for each run.
        loss: maps outputs and targets to a positive scalar tensor: the mean of a batch.
        reference: another function that builds a net.
        max_ratio: largest ratio of relative loss ranges, > 0.
        seeds: runs of each net, >= 2.
        train_steps: steps of gradient descent per run, >= 1.
        every: steps from one probe to the next, >= 1.
        learning_rate: of each step, > 0.
        etas: sizes of the relative steps, in (0, 1], rising.
        **options: see `robustest.run.plan.Options`. The interval is about further runs, and approximate: no claim about
            the population passes by it.

    Returns:
        The result. The estimate is the geometric mean over runs of the ratio of median loss ranges; an outcome is True
            if a run keeps the threshold. It is inconclusive if a net has not learned: its loss ends above half of the
            best constant answer's, or is above 0.9 of that at half of the probes.

    Raises:
        ConfigError: an argument is out of range or unknown, or a factory builds no net, equal weights each time, or is
            the reference.
        DataError: a batch is malformed or not finite, or all targets are one class.
        ModelError: a loss or a gradient is not finite, or the loss is no positive scalar.
    """
    max_ratio = optional_threshold("max_ratio", max_ratio, within=(0.0, float("inf")))
    course = _course(train_steps, every, learning_rate, etas)
    checked_whole("seeds", seeds, 2)
    if model is reference:
        raise ConfigError("Expected reference= to be another factory but got the same one: its ratio is 1.")
    checked_batches(data)
    settings, started = settings_of(options), time.perf_counter()
    constant = _constant(model, loss, data, settings.seed)
    trainings = ProbedTrainings(loss, data, course, settings)
    runs = [Run(trainings.of(model, n), trainings.of(reference, n), constant) for n in range(seeds)]
    _check_draws(runs)
    tally = Tally(seconds=time.perf_counter() - started, notes=(trainings.why_not,) if trainings.why_not else ())
    return _result(runs, course, max_ratio, settings, tally=tally, data=digest([(settings.seed, seeds), list(data)]))


def _result(
    runs: list[Run], course: Course, max_ratio: float | None, settings: Settings, *, tally: Tally, data: str
) -> Result:
    decision = approximate(
        _decision(runs, max_ratio, settings.alpha), terms_of(settings), by="Student's t over runs", units="runs"
    )
    return result_of(
        _evidence(runs, decision, max_ratio, tally, data),
        decision,
        settings,
        kind=LANDSCAPE,
        statement=LANDSCAPE.quantities[0].state(),
        threshold=max_ratio,
        setting=f"{course.steps} steps of {course.learning_rate:g}, relative steps of {list(course.etas)}",
        method=f"probes every {course.every} steps, {len(runs)} runs of each net",
        details=_details(runs),
        pairing=NOT_PAIRED,
    )


@dataclass(frozen=True, slots=True, kw_only=False)
class Run:
    """Both nets with one seed; constant is the loss of the best constant answer."""

    net: Trace
    reference: Trace
    constant: float

    @property
    def ratio(self) -> float:
        # Medians: a few probes at sharp turns must not decide.
        own, other = (float(trace.column("loss_range").median()) for trace in (self.net, self.reference))
        return own / other if own > 0 and other > 0 else float("nan")

    def unlearned(self) -> list[str]:
        """Return reasons why the nets have not learned, so that their landscapes mean nothing."""
        told = []
        for name, trace in (("net", self.net), ("reference", self.reference)):
            off = float((trace.column("loss") <= _PLATEAU * self.constant).double().mean())
            if trace.final > _LEARNED * self.constant:
                told.append(
                    f"the {name} ends at a loss of {trace.final:.3g}, a constant answer has {self.constant:.3g}"
                )
            elif off <= 0.5:
                told.append(f"the {name} is no better than a constant answer at {1 - off:.0%} of the probes")
            if not bool(trace.column("loss_range").median() > 0):
                told.append(f"the {name} has no gradient to step along at half of the probes")
        return told


def _evidence(runs: list[Run], decision: Decision, threshold: float | None, tally: Tally, data: str) -> Evidence:
    traces = [trace for run in runs for trace in (run.net, run.reference)]
    passed = sum(trace.passed for trace in traces)
    return Evidence(
        decision=decision,
        columns={"held": np.array([threshold is None or run.ratio <= threshold for run in runs])},
        ids=np.arange(len(runs)),
        total=len(runs),
        tally=tally.plus(Tally(forward=passed, backward=passed)),
        cached=min(trace.when for trace in traces),  # empty where one was trained now
        data=data,
        model=digest([trace.begun for trace in traces]),
    )


def _decision(runs: list[Run], threshold: float | None, alpha: float) -> Decision:
    told = [why for run in runs for why in run.unlearned()]
    ratios: NDArray[np.float64] = np.array([run.ratio for run in runs])
    if not told:
        return decide_ratio(ratios, threshold, alpha=alpha)
    known = decide_ratio(ratios, None, alpha=alpha) if bool(np.isfinite(ratios).all()) else None
    return Decision(
        verdict=Verdict.INCONCLUSIVE,
        rule=f"not learned in {sum(bool(run.unlearned()) for run in runs)} of {len(runs)} runs: {told[0]}",
        estimate=None if known is None else known.estimate,
        interval=(0.0, 1e30) if known is None else known.interval,
        reasons=("unfit",),
    )


def checked_batches(batches: object) -> None:
    """Raise DataError for batches that are missing, malformed, not finite, or of one class."""
    if not isinstance(batches, (list, tuple)) or not batches:
        raise DataError(expected("batches as a list of (x, y), one or more", batches))
    for number, batch in enumerate(batches):
        if not (isinstance(batch, (list, tuple)) and len(batch) == 2 and all(isinstance(b, Tensor) for b in batch)):
            raise DataError(expected(f"batch {number} to be (x, y) of tensors", batch))
        x, y = batch
        if len(x) != len(y) or len(x) == 0:
            raise DataError(f"Expected as many targets as inputs in batch {number} but got {len(x)} and {len(y)}.")
        if not all(bool(torch.isfinite(part).all()) for part in (x, y) if part.is_floating_point()):
            raise DataError(f"Expected finite inputs and targets but batch {number} has NaN or infinite values.")
    targets = [y for _, y in batches if not y.is_floating_point() and y.ndim == 1]
    if len(targets) == len(batches) and bool((torch.cat(targets) == targets[0][0]).all()):
        raise DataError(f"Expected targets of two classes or more but every one is {int(targets[0][0])}.")


def _course(steps: int, every: int, learning_rate: float, etas: Sequence[float]) -> Course:
    checked_whole("train_steps", steps, 1)
    checked_whole("every", every, 1)
    checked_real("learning_rate", learning_rate, 1e-12)
    sizes = tuple(etas)
    for eta in sizes:
        checked_real("each of etas", eta, 1e-6, 1.0)
    if not sizes or list(sizes) != sorted(set(sizes)):
        raise ConfigError(expected("etas to rise, one or more", etas))
    return Course(steps=steps, every=every, learning_rate=float(learning_rate), etas=tuple(map(float, sizes)))


def _constant(factory: object, loss: Loss, batches: Batches, seed: int) -> float:
    with torch.inference_mode(False), frozen(None):
        seed_draws(keys(seed, torch.tensor([0])))
        net = built(factory)
        device = next((weight.device for weight in net.parameters()), torch.device("cpu"))
        with torch.no_grad():
            outputs = net(batches[0][0].to(device))
        if not isinstance(outputs, Tensor) or outputs.ndim < 2:
            raise ModelError(expected("the net to give a tensor (B, ...)", type(outputs).__name__))
        return best_constant(loss, batches, outputs)


def _check_draws(runs: list[Run]) -> None:
    for name, begun in (("factory", [r.net.begun for r in runs]), ("reference", [r.reference.begun for r in runs])):
        # Equal first weights would make the runs copies of one another, and the interval far too narrow.
        if len(set(begun)) < len(begun):
            raise ConfigError(
                f"Expected the {name} to draw its weights anew from torch's generator but it gave the same ones twice: "
                "runs that begin alike say nothing of runs to come. Build the net inside the factory."
            )


def _details(runs: list[Run]) -> dict[str, Any]:
    def medians(of: str, name: str) -> float | None:
        values = torch.stack([getattr(run, of).column(name).nanmedian() for run in runs])
        return None if bool(values.isnan().all()) else float(values.nanmedian())

    landscape = [
        {"measure": name.replace("_", " "), "net": medians("net", name), "reference": medians("reference", name)}
        for name in _MEASURES
    ]
    each = [
        {
            "run": number,
            "ratio": None if np.isnan(run.ratio) else run.ratio,
            "net_loss_at_the_end": run.net.final,
            "reference_loss_at_the_end": run.reference.final,
        }
        for number, run in enumerate(runs)
    ]
    return {"constant_loss": runs[0].constant, "landscape": landscape, "runs": each}


@assertion(measure_smooth_landscape)
def assert_smooth_landscape() -> None:
    """Claim that a net's loss ranges less along its training than a reference's, on relative steps.

    Advisory: without `max_ratio` nothing is claimed. A smooth landscape does not prove faster or better training.

    Raises:
        ClaimFailed: it ranges more.
        ClaimInconclusive: too few runs to decide, or one of the nets has not learned.
    """
