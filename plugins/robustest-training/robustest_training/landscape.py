"""The claim that a net's loss is smoother along its training than another's.

Every few steps the loss is probed along the gradient (Santurkar, Tsipras, Ilyas and Madry, "How Does Batch
Normalization Help Optimization?", NeurIPS 2018, section 3): its range, the turn of the gradient (its least cosine), its
rate of change (the effective beta), and internal covariate shift.

Rescaling weights under a normalisation sets the absolute beta of one function to any value, so it is only reported. A
net on a plateau has a smooth landscape, so both nets must learn.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from math import exp, isfinite, sqrt
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import Tensor, nn

from robustest import Factory, Result, Settings, Verdict, rng
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.packs import (
    Changed,
    Decision,
    Evidence,
    Kind,
    Observation,
    Options,
    Quantity,
    Remembered,
    Tally,
    Terms,
    assertion,
    checked_real,
    checked_threshold,
    checked_whole,
    decide_by_interval,
    digest,
    finish,
    frozen,
    measurement,
    seed_draws,
    settings_of,
)
from robustest.rng import keys

# A ratio of two positive values, measured in a few independent runs.


def decide_ratio(ratios: NDArray[np.float64], threshold: float | None, *, terms: Terms, doubt: str = "") -> Decision:
    """Return the verdict on the geometric mean of a ratio over all possible runs, from (n,) ratios of runs, n >= 2.

    Args:
        doubt: reason why the ratios mean nothing, or "".
    """
    # Logarithms of ratios are taken to be normal; a few runs allow no better than Student's t, so no claim about a
    # population rests on it.
    logs = np.log(ratios)
    n, mean = len(logs), float(logs.mean())
    reach = float(student.ppf(1 - terms.alpha, n - 1)) * float(logs.std(ddof=1)) / sqrt(n)
    return decide_by_interval(
        exp(mean),
        (exp(mean - reach), exp(mean + reach)),
        threshold,
        at_least=False,
        terms=terms,
        how="runs to come",
        by="Student's t over runs",
        units="runs",
        doubt=doubt,
    )


# The loss around a point in weight space, along its gradient (Santurkar et al., NeurIPS 2018, section 3).
#
# A step of size eta moves each tensor by eta of its norm, against its gradient; gradients are compared after
# multiplication by their tensor's norm. So rescaling a tensor under a normalisation, which leaves the function as it
# is, changes no measure but the absolute beta. A probe of n sizes takes n + 3 gradients.


Loss = Callable[[Any, Any], Tensor]

_TINY = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Measures around one point, on one batch."""

    loss: float  # at the point
    loss_range: float  # largest minus smallest loss along the relative steps, the point included
    cosine: float  # least cosine between the point's gradient and one along the steps, -1..1
    beta: float  # largest change of the gradient along the steps, over the distance, in relative units
    absolute_beta: float  # the change of the gradient over the distance for one plain step, in units of the weights
    # Internal covariate shift: relative change of a layer's gradient after a relative step of the layers before; NaN
    # without any.
    shift: float
    shift_cosine: float  # cosine between the two gradients; NaN without any


def probe(
    net: nn.Module, loss: Loss, x: Any, y: Any, *, etas: Sequence[float], learning_rate: float, number: int = 0
) -> Probe:
    """Probe the loss around the weights of a net; weights, buffers and random states are restored.

    Args:
        etas: sizes of relative steps, rising.
        learning_rate: of the plain step.
        number: of the probe: each measures the shift of another layer, by turns.

    Raises:
        ModelError: a loss or a gradient is not finite.
    """
    weights = trained_weights(net)
    with _put_back(net, weights) as at:
        return _look(_Point.of(net, loss, x, y, weights), at, etas, learning_rate, number)


def gradient_of(net: nn.Module, loss: Loss, x: Any, y: Any, weights: list[Tensor]) -> tuple[float, Tensor]:
    """Return the loss of a batch and its gradient (D,) by all weights in a row; no `.grad` is written.

    Raises:
        ModelError: the loss is no scalar with a gradient, or not finite.
    """
    with torch.enable_grad():
        value = loss(net(x), y)
        if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
            raise ModelError("Expected the loss to give a scalar tensor with a gradient. Take the mean over the batch.")
        found = torch.autograd.grad(value, weights, allow_unused=True)
    parts = [w.new_zeros(w.numel()) if g is None else g.reshape(-1) for w, g in zip(weights, found, strict=True)]
    gradient, level = torch.cat(parts), float(value.detach())
    if not isfinite(level) or not isfinite(float(gradient.sum())):  # no sum with NaN or infinite terms is finite
        raise ModelError(
            f"Expected finite losses and gradients but got a loss of {level:.4g}. The training diverges, or a step "
            "along the gradient leaves what float32 holds: lower learning_rate=, or the largest of etas=."
        )
    return level, gradient


def trained_weights(net: nn.Module) -> list[Tensor]:
    """Return the parameters that require a gradient, in the order of their registration."""
    return [weight for weight in net.parameters() if weight.requires_grad]


def in_a_row(weights: list[Tensor]) -> Tensor:
    """Return (D,) a copy of all values of some tensors."""
    return torch.cat([weight.detach().reshape(-1) for weight in weights])


def put(weights: list[Tensor], row: Tensor) -> None:
    """Set weights to the values of a row (D,)."""
    at = 0
    with torch.no_grad():
        for weight in weights:
            weight.copy_(row[at : at + weight.numel()].view_as(weight))
            at += weight.numel()


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """A net's weights, one row for all: many small tensors would cost more than the net."""

    ask: Callable[[], tuple[float, Tensor]]  # the loss and its gradient (D,) at the present weights
    weights: list[Tensor]
    start: Tensor  # (D,) the first values
    norms: Tensor  # (D,) the norm of the tensor that each belongs to

    @classmethod
    def of(cls, net: nn.Module, loss: Loss, x: Any, y: Any, weights: list[Tensor]) -> _Point:
        start = in_a_row(weights)
        return cls(lambda: gradient_of(net, loss, x, y, weights), weights, start, cls.by_tensor(weights, start))

    @staticmethod
    def by_tensor(weights: list[Tensor], row: Tensor) -> Tensor:
        sizes = [weight.numel() for weight in weights]
        norms = torch.stack([part.norm() for part in torch.split(row, sizes)])
        return norms.repeat_interleave(torch.tensor(sizes, device=row.device))


def _look(point: _Point, at: Callable[[], None], etas: Sequence[float], learning_rate: float, number: int) -> Probe:
    level, gradient = point.ask()
    relative = point.norms * gradient
    own = point.by_tensor(point.weights, gradient)
    steps = point.norms * gradient / own.clamp(min=_TINY)
    # Tensors that move: each makes a step of its norm, so the whole step is sqrt(moving) * eta long in relative units.
    moving = sum(bool(part.any()) for part in torch.split(steps, [weight.numel() for weight in point.weights]))
    losses, cosines, betas = [level], [1.0], [0.0]
    for eta in etas:
        at()
        put(point.weights, point.start - eta * steps)
        value, there = point.ask()
        there = point.norms * there
        losses.append(value)
        cosines.append(_cosine(relative, there))
        betas.append(float((relative - there).norm()) / (eta * sqrt(max(1, moving))))
    at()
    put(point.weights, point.start - learning_rate * gradient)
    there = point.ask()[1]
    absolute = float((gradient - there).norm()) / max(_TINY, learning_rate * float(gradient.norm()))
    at()
    put(point.weights, point.start)
    shift, shift_cosine = _shift(point, point.start - etas[0] * steps, gradient, number)
    return Probe(
        loss=level,
        loss_range=max(losses) - min(losses),
        cosine=min(cosines),
        beta=max(betas),
        absolute_beta=absolute,
        shift=shift,
        shift_cosine=shift_cosine,
    )


def _shift(point: _Point, moved: Tensor, gradient: Tensor, number: int) -> tuple[float, float]:
    # Weights of two axes or more are layers; the first has none before it.
    layers = [i for i, weight in enumerate(point.weights) if weight.ndim >= 2][1:]  # in the order of registration
    if not layers:
        return float("nan"), float("nan")
    layer = layers[number % len(layers)]
    put(point.weights[:layer], moved)
    first = sum(weight.numel() for weight in point.weights[:layer])
    part = slice(first, first + point.weights[layer].numel())
    before, after = gradient[part], point.ask()[1][part]
    return float((before - after).norm()) / max(_TINY, float(before.norm())), _cosine(before, after)


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / max(_TINY, float(a.norm()) * float(b.norm()))


@contextmanager
def _put_back(net: nn.Module, weights: list[Tensor]) -> Iterator[Callable[[], None]]:
    start = in_a_row(weights)
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
    draws = rng.keys(torch.initial_seed() % 2**62, torch.tensor([0])).to(start.device)

    # Before each pass buffers are restored and generators seeded alike, so that all passes are of one function.
    def again() -> None:
        seed_draws(draws)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)

    with frozen(None):  # random states are as before after the block
        try:
            yield again
        finally:
            again()
            put(weights, start)


# A short training with probes of the loss, cached by all that it depends on.


Batches = Sequence[tuple[Tensor, Tensor]]
_COLUMNS = tuple(field.name for field in fields(Probe))


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Course of a training."""

    steps: int  # of gradient descent
    every: int  # steps from one probe to the next
    learning_rate: float  # of each step, and of the plain step of a probe
    etas: tuple[float, ...]  # relative sizes of a probe's steps, rising


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """Probes of one net's training."""

    probes: Tensor  # (P, 7) float64, one row per probe, columns as in `Probe`
    final: float  # mean loss over all batches at the end
    begun: str  # digest of the first weights
    passed: int  # samples passed forward, and backward

    def column(self, name: str) -> Tensor:
        return self.probes[:, _COLUMNS.index(name)]


class ProbedTrainings:
    """Trains nets on a course, or recalls their traces."""

    def __init__(self, loss: Loss, batches: Batches, course: Course, settings: Settings) -> None:
        self._loss, self._batches, self._course, self._settings = loss, batches, course, settings
        about = {"loss": loss, "batches": list(batches), "course": course}
        # Probes are numbers of a deterministic training: they come out alike to the bit.
        self.remembered = Remembered("probed training", about, settings, exact=True)

    def of(self, factory: object, number: int) -> Trace:
        """Return the trace of the net that a factory builds, in run `number`; random states are restored.

        Raises:
            ConfigError: the factory builds no torch module, or one with nothing to train.
            ModelError: a loss or a gradient is not finite.
        """
        draws = rng.keys(self._settings.seed, torch.tensor([number]))
        with torch.inference_mode(False), frozen(None):
            seed_draws(draws)
            net = built(factory)
            weights = trained_weights(net)
            if not weights:
                raise ConfigError("Expected parameters to train but the factory's net has none.")
            first = [weight.detach().cpu() for weight in weights]
            begun, start = digest(first), copy.deepcopy(net.state_dict())

            def made() -> tuple[Observation, Tally]:
                net.load_state_dict(start)
                # What came before may have drawn.
                seed_draws(draws)
                probes, final, passed = self._trained(net, weights, draws)
                columns = {"probes": probes, "final": torch.tensor([final], dtype=torch.float64)}
                return Observation(columns, [], {"passed": passed}), Tally()

            # Not all code that a net depends on can be read, so the first batch's loss and gradient are part of the
            # key: training multiplies the slightest change.
            asked = copy.deepcopy(net)
            x, y = _on(weights[0].device, self._batches[0])
            level, gradient = gradient_of(asked, self._loss, x, y, trained_weights(asked))
            what = (net, weights[0].device.type, number, level, gradient.cpu())
            found = self.remembered.outcomes(what, made)[0]
        return Trace(
            probes=torch.as_tensor(found.columns["probes"]),
            final=float(found.columns["final"][0]),
            begun=begun,
            passed=found.counts["passed"],
        )

    def _trained(self, net: nn.Module, weights: list[Tensor], key: Tensor) -> tuple[Tensor, float, int]:
        """Train a net; return its probes (P, 7), its mean loss at the end, and the samples passed."""
        course, passed = self._course, 0
        probes: list[tuple[float, ...]] = []
        for step in range(course.steps):
            x, y = _on(weights[0].device, self._batches[self._at(key, step)])
            if step % course.every == 0:
                how: dict[str, Any] = {"etas": course.etas, "learning_rate": course.learning_rate}
                probes.append(astuple(probe(net, self._loss, x, y, number=len(probes), **how)))
                passed += len(x) * (len(course.etas) + 3)
            _, gradient = gradient_of(net, self._loss, x, y, weights)
            passed += len(x)
            put(weights, in_a_row(weights) - course.learning_rate * gradient)
        final = sum(gradient_of(net, self._loss, *_on(weights[0].device, b), weights)[0] for b in self._batches)
        passed += sum(len(x) for x, _ in self._batches)
        return torch.tensor(probes, dtype=torch.float64), final / len(self._batches), passed

    def _at(self, key: Tensor, step: int) -> int:
        n = len(self._batches)
        keys = rng.fold(rng.fold(rng.keys(int(key[0]), torch.arange(n)), "batches"), step // n)
        return int(keys.argsort(stable=True)[step % n])


def built(factory: object) -> nn.Module:
    """Return a copy, in train mode, of the net that a factory builds.

    Raises:
        ConfigError: the argument is no factory, or builds no torch module.
    """
    if isinstance(factory, nn.Module) or not (callable(factory) or isinstance(factory, Factory)):
        raise ConfigError(expected("a factory: a function of no arguments that builds a net", factory))
    net: object = factory.build() if isinstance(factory, Factory) else factory()
    if not isinstance(net, nn.Module):
        raise ConfigError(expected("the factory to build a torch module", net))
    return copy.deepcopy(net).train()  # what the factory may keep of it stays as it is


def best_constant(loss: Loss, batches: Batches, outputs: Tensor, *, rounds: int = 60) -> float:
    """Return the lowest mean loss of a constant answer: the level of a net that has learned nothing.

    Raises:
        ModelError: the loss of a constant is not finite, or not positive.
    """
    answer = torch.zeros(outputs.shape[1:], requires_grad=True)
    optimizer = torch.optim.LBFGS([answer], max_iter=rounds, line_search_fn="strong_wolfe")
    lowest: list[float] = []

    def mean() -> Tensor:
        optimizer.zero_grad()
        total = torch.stack([loss(answer.expand(len(x), *answer.shape), y.cpu()) for x, y in batches]).mean()
        total.backward()  # type: ignore[no-untyped-call]
        lowest.append(float(total.detach()))
        return total

    with torch.enable_grad():
        optimizer.step(mean)  # type: ignore[no-untyped-call]
    found = min(value for value in [*lowest, float("inf")] if value == value)  # noqa: PLR0124 - NaN is not itself
    if not 0 < found < float("inf"):
        raise ModelError(
            f"Expected a loss that is positive for a model that answers every sample alike but got {found:.4g}: by it "
            "is judged whether a net has learned. Give a loss such as the cross-entropy."
        )
    return found


def _on(device: torch.device, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch[0].to(device), batch[1].to(device)


LANDSCAPE = Kind(
    name="smooth_landscape",
    varies="nothing",
    quantities=(
        Quantity.at_most(
            "max_ratio", "ratio of relative loss ranges", "loss range along relative steps, over the reference's"
        ),
    ),
    advises=True,
    brief=True,
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
        **options: see `robustest.run.options.Options`. The interval is about further runs, and approximate: no
            claim about the population passes by it.

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
    max_ratio = checked_threshold("max_ratio", max_ratio, within=(0.0, float("inf")), optional=True)
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
    tally = Tally(seconds=time.perf_counter() - started, notes=trainings.remembered.notices)
    digest_of_data, when = digest([(settings.seed, seeds), list(data)]), trainings.remembered.when
    return _result(runs, course, max_ratio, settings, tally=tally, data=digest_of_data, when=when)


def _result(
    runs: list[Run], course: Course, max_ratio: float | None, settings: Settings, *, tally: Tally, data: str, when: str
) -> Result:
    decision = _decision(runs, max_ratio, Terms.of(settings))
    return finish(
        settings,
        _evidence(runs, decision, max_ratio, tally=tally, data=data, when=when),
        decision=decision,
        kind=LANDSCAPE,
        statement=LANDSCAPE.quantities[0].state(),
        threshold=max_ratio,
        setting=f"{course.steps} steps of {course.learning_rate:g}, relative steps of {list(course.etas)}",
        method=f"probes every {course.every} steps, {len(runs)} runs of each net",
        details=_details(runs),
        # A factory may build the same net as another one.
        changed=[
            Changed(
                by="the reference",
                moved=np.full(len(runs), any(run.ratio != 1 for run in runs)),
                verb="differs from the net in",
            )
        ],
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
            start = float(trace.column("loss")[0])  # before the first step
            off = float((trace.column("loss") <= _PLATEAU * self.constant).double().mean())
            if trace.final > _LEARNED * self.constant:
                told.append(
                    f"the {name} ends at a loss of {trace.final:.3g}, a constant answer has {self.constant:.3g}"
                )
            elif start <= _LEARNED * self.constant:
                told.append(
                    f"the {name} starts at a loss of {start:.3g}, where a constant answer has {self.constant:.3g}: it "
                    "knew the samples before it was trained"
                )
            elif off <= 0.5:
                told.append(f"the {name} is no better than a constant answer at {1 - off:.0%} of the probes")
            if not bool(trace.column("loss_range").median() > 0):
                told.append(f"the {name} has no gradient to step along at half of the probes")
        return told


def _evidence(
    runs: list[Run], decision: Decision, threshold: float | None, *, tally: Tally, data: str, when: str
) -> Evidence:
    traces = [trace for run in runs for trace in (run.net, run.reference)]
    passed = sum(trace.passed for trace in traces)
    return Evidence(
        decision=decision,
        columns={"held": np.array([threshold is None or run.ratio <= threshold for run in runs])},
        ids=np.arange(len(runs)),
        total=len(runs),
        tally=tally.plus(Tally(forward=passed, backward=passed)),
        cached=when,
        data=data,
        model=digest([trace.begun for trace in traces]),
    )


def _decision(runs: list[Run], threshold: float | None, terms: Terms) -> Decision:
    told = [why for run in runs for why in run.unlearned()]
    ratios: NDArray[np.float64] = np.array([run.ratio for run in runs])
    if not told:
        return decide_ratio(ratios, threshold, terms=terms)
    why = f"not learned in {sum(bool(run.unlearned()) for run in runs)} of {len(runs)} runs: {told[0]}"
    if bool(np.isfinite(ratios).all()):
        return replace(decide_ratio(ratios, None, terms=terms, doubt=why), reasons=("unfit",))
    return Decision(
        verdict=Verdict.INCONCLUSIVE,
        rule=why,
        estimate=None,
        interval=(0.0, 1e30),
        approximate=True,
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
