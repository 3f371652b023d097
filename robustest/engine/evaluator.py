"""Every model pass: in parts that fit in memory, counted, and checked."""

from __future__ import annotations

import math
import random
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from robustest import clock, rng
from robustest.errors import DeviceError, ModelError, RobustestError
from robustest.health import Health
from robustest.models import Classifier, Needs
from robustest.tasks import CLASSIFICATION, Task
from robustest.threats import per_row

T = TypeVar("T")

_MOST_OUTPUT = 1 << 26
"""Numbers that a model may give in one pass, 256 MiB: batches of tasks with large outputs are smaller."""
_FIRST = 8
"""Outputs that `Judgement` keeps."""

_NO_GRADIENT = (
    "Expected gradients from the model's input to its logits but got none. Remove torch.no_grad(), .detach() or "
    "numpy from its forward, or choose an attack that needs scores only."
)

_NOT_FINITE = (
    "nan_values: expected finite logits and gradients but the model gave NaN or infinite ones. No accuracy can be "
    "trusted: look for 0/0, log(0), sqrt(0) or overflow in its forward."
)
_AS_IT_IS = nullcontext()

DEFAULT_BATCH = {"cpu": 128, "cuda": 512, "mps": 256}


class HealthWarning(UserWarning):
    """A health check spoke; its name stands first in the message."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a task says of many answers, of which the outputs themselves are not kept.

    Attributes:
        holds: (N,) bool.
        margin: (N,) float32.
        predicted: (N, *T) predictions.
        score: (N,) float64; None where it was not asked for.
        first: (n, *O) the first few outputs.
    """

    holds: Tensor
    margin: Tensor
    predicted: Tensor
    score: Tensor | None
    first: Tensor


class Evaluator:
    """A classifier on a device, with a memory limit and counters.

    Attributes:
        task: what the model's answers are, and when they are right: the one place where looks, searches and cascades
            ask for it.
        forward: samples passed forward so far.
        backward: samples passed backward so far.
        notes: what a reader of the result must know.
        classes: number of classes, known after the first pass; 0 before.
        health: signs that attacks could not do their work.
        random: whether the user said that the model answers at random.
        low_precision: whether cascades run their gradient stages in bfloat16 first, then again in float32 on
            what is left.
        channels_last: whether images (B, C, H, W) go into those passes with their channels last in memory.
        probed: whether it was asked, in this chunk, if gradients tell the truth
            (`robustest.engine.gradient_checks`).
        probe_rows: how many samples of a chunk are asked so.
    """

    def __init__(
        self,
        model: Classifier,
        device: torch.device,
        *,
        batch_size: int | None,
        suppress: Collection[str],
        notes: list[str],
        task: Task = CLASSIFICATION,
    ) -> None:
        self.model = model.on(device)
        self.device = device
        self.task = task
        self.batch_size = batch_size or DEFAULT_BATCH.get(device.type, 128)
        self.forward = self.backward = 0
        self.notes = notes
        self.classes = 0
        self.health = Health()
        self.random = "random_forward" in suppress
        self._suppress = suppress
        self._bad: Tensor | None = None
        self._low = False
        self._writes = False  # known after the first pass: whether the model changes its input in place
        self.low_precision = self.channels_last = False
        self.probed, self.probe_rows = False, 8

    @contextmanager
    def low(self, on: bool) -> Iterator[None]:
        """Inside the block gradients are taken in bfloat16 if `on`; passes without gradient stay float32."""
        self._low = on
        try:
            yield
        finally:
            self._low = False

    def logits(self, x: Tensor) -> Tensor:
        """(B, K) float32 logits of inputs (B, *S) on this device, without gradients.

        Raises:
            ModelError: logits are misshapen or not finite.
            DeviceError: out of memory at a batch of one.
        """

        def run(part: slice) -> Tensor:
            with torch.no_grad(), self._precision(low=False):
                return self._checked(self._ask(_cut(x, part)), part)

        parts = self._in_parts(x.shape[0], run)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def judged(self, x: Tensor, y: Tensor, *, scored: bool = False) -> Judgement:
        """What the task says of the model's answers, however large outputs are: they are looked at part by part.

        Args:
            x: (N, *S) inputs on this device.
            y: (N, *T) targets.
            scored: whether scores are wanted as well.

        Raises:
            ModelError, DeviceError: as for `logits`.
        """
        task = self.task

        def run(part: slice) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
            with torch.no_grad(), self._precision(low=False):
                output, target = self._checked(self._ask(_cut(x, part)), part), _cut(y, part)
                score = task.score(output, target) if scored else None
                first = output[: max(0, _FIRST - part.start)]
                return task.holds(output, target), task.margin(output, target), task.predictions(output), score, first

        holds, margin, said, score, first = zip(*self._in_parts(len(x), run), strict=True)
        scores = torch.cat([one for one in score if one is not None]) if scored else None
        return Judgement(torch.cat(holds), torch.cat(margin), torch.cat(said), scores, torch.cat(first))

    def bfloat16(self, x: Tensor) -> Tensor | None:
        """(B, *T) what the model predicts in bfloat16, -1 where its outputs are not finite.

        Returns:
            None where it cannot be asked: on devices other than CPU and CUDA, or where the model's forward fails so.
        """

        def run(part: slice) -> Tensor:
            with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16):
                logits = self._shaped(self._ask(_cut(x, part)), part)
            finite, said = torch.isfinite(logits).flatten(1).all(1), self.task.predictions(logits)
            return torch.where(per_row(finite, said), said, -1)

        if self.device.type not in ("cpu", "cuda"):
            return None
        try:
            return torch.cat(self._in_parts(len(x), run))
        except ModelError:  # an operation that bfloat16 has not
            return None

    def gradient(
        self,
        z: Tensor,
        render: Callable[[Tensor, slice], Tensor],
        objective: Callable[[Tensor, slice], Tensor],
        *,
        draws: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, K) at proposals z (B, *Z), and the gradient (B, *Z) of the summed objective.

        Args:
            z: proposals on this device.
            render: maps a part of z to model inputs; the slice says which part.
            objective: maps a part's logits to (b,) values to climb.
            draws: passes averaged, for models that answer at random (logits are averaged too).

        Raises:
            ModelError: logits or gradients are not finite, or no gradient reaches the input.
            DeviceError: out of memory at a batch of one.
        """

        def run(part: slice) -> tuple[Tensor, Tensor]:
            pairs = [once(part) for _ in range(draws)]
            if draws == 1:
                return pairs[0]
            return torch.stack([a for a, _ in pairs]).mean(0), torch.stack([b for _, b in pairs]).mean(0)

        def once(part: slice) -> tuple[Tensor, Tensor]:
            with torch.enable_grad(), self._precision(low=self._low):
                point = _cut(z, part).detach().requires_grad_(True)
                logits = self._checked(self._ask(self._laid_out(render(point, part))), part)
                value = objective(logits, part).sum()
                # Weights behind a plain callable may ask for gradients where the input gets none.
                asked = value.requires_grad
                gradient = torch.autograd.grad(value, point, allow_unused=True)[0] if asked else None
                if gradient is None:
                    raise ModelError(_NO_GRADIENT)
            self.backward += part.stop - part.start
            self._suspect(gradient.sum())
            return logits.detach(), gradient

        pairs = self._in_parts(z.shape[0], run)
        if len(pairs) == 1:
            return pairs[0]
        return torch.cat([logits for logits, _ in pairs]), torch.cat([gradient for _, gradient in pairs])

    def _laid_out(self, x: Tensor) -> Tensor:
        if self._low and self.channels_last and x.ndim == 4:
            return x.contiguous(memory_format=torch.channels_last)
        return x

    def settle(self) -> None:
        """Raise if anything since the last call was not finite (one look at the device for many passes).

        Raises:
            ModelError: logits or gradients are NaN or infinite.
        """
        bad, self._bad = self._bad, None
        if bad is not None and not math.isfinite(bad.item()):
            raise ModelError(_NOT_FINITE)

    def check_labels(self, y: Tensor) -> None:
        """Refuse labels (B,) that the model has no class for.

        Raises:
            DataError: a label is no class of the model.
        """
        self.task.check_targets(y, self.classes)

    def check_first(self, logits: Tensor) -> None:
        """What only real samples can tell: whether logits are logits.

        Args:
            logits: (B, K) of unchanged samples.
        """
        if not self.task.one_class and logits.ndim == 2:  # shares of a whole mean nothing there
            return
        if self.model.gives is not Needs.GRADIENT:  # nothing climbs them; what a forest gives has no softmax to remove
            return
        sums = logits.sum(1)
        probabilities = bool((logits >= 0).all() & (logits <= 1).all() & ((sums - 1).abs() < 1e-3).all())
        if probabilities and "softmax_outputs" not in self._suppress:
            self._warn(
                "softmax_outputs: the model's outputs look like probabilities. Attacks on logits are stronger: remove "
                'the final softmax, or pass suppress=("softmax_outputs",) if this is meant.'
            )

    def _warn(self, message: str) -> None:
        if message not in self.notes:
            self.notes.append(message)
            warnings.warn(message, HealthWarning, stacklevel=2)

    def _ask(self, x: Tensor) -> Tensor:
        try:
            if self.classes and not self._writes:
                return self.model(x)
            own = x.clone()  # some models write on what they get; neither samples nor leaves bear that
            before = own._version
            logits = self.model(own)
            self._writes = self._writes or own._version != before
            return logits
        except RobustestError:
            raise
        except Exception as error:
            if isinstance(error, RuntimeError) and _out_of_memory(error):
                raise
            if "numpy() on Tensor that requires grad" in str(error):
                raise ModelError(_NO_GRADIENT) from error
            raise ModelError(
                f"Expected the model to answer a batch of shape {tuple(x.shape)} but it raised "
                f"{type(error).__name__}: {error}"
            ) from error

    def _checked(self, logits: Tensor, part: slice) -> Tensor:
        self._shaped(logits, part)
        self._suspect(logits.detach().sum())
        return logits

    def _shaped(self, logits: Tensor, part: slice) -> Tensor:
        n = part.stop - part.start
        self.forward += n
        self.classes = self.task.check_output(logits, n, self.classes)
        if self.batch_size * logits.numel() > _MOST_OUTPUT * n:
            self.batch_size = max(1, _MOST_OUTPUT * n // logits.numel())
        return logits

    def _suspect(self, value: Tensor) -> None:
        """Refuse a sum that is NaN or infinite, as it is if any term was.

        Not at once on accelerators, where the sum would have to be waited for: it is remembered, times 0, for `settle`.
        """
        if self.device.type != "cpu":
            self._bad = value * 0 if self._bad is None else self._bad + value * 0
        elif not math.isfinite(value.item()):
            raise ModelError(_NOT_FINITE)

    def _precision(self, *, low: bool) -> AbstractContextManager[object]:
        """A block in bfloat16 if `low`, else in float32, whatever precision the caller asked for around it."""
        kind = self.device.type
        if not low and not torch.is_autocast_enabled(kind):
            return _AS_IT_IS
        return torch.autocast(kind, torch.bfloat16, enabled=low)

    def _in_parts(self, n: int, run: Callable[[slice], T]) -> list[T]:
        done: list[T] = []
        start = 0
        while start < n:
            clock.check()
            part = slice(start, min(n, start + self.batch_size))
            try:
                done.append(run(part))
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                done_size = part.stop - part.start
            else:
                start = part.stop
                continue
            self._halve(done_size)
        return done

    def _halve(self, size: int) -> None:
        if size == 1:
            raise DeviceError(f"Expected one sample to fit but {self.device} ran out of memory at a batch of one.")
        self.batch_size = size // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._warn_memory(size)

    def _warn_memory(self, size: int) -> None:
        self.notes.append(f"out of memory at a batch of {size}; went on with {self.batch_size}")


def _out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


# Which device to measure on.


def resolve(name: str, own: torch.device | None) -> torch.device:
    """The device a setting stands for.

    Args:
        name: "auto", "cpu", "cuda", "cuda:N", "cuda:all" (for this process, the first) or "mps".
        own: where the model is, if it has parameters. "auto" stays there unless that is the CPU and
            there is an accelerator.

    Raises:
        DeviceError: the device asked for is absent.
    """
    if name == "auto":
        if own is not None and own.type != "cpu":
            return own
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if name.startswith("cuda"):
        return _cuda(name.removesuffix(":all"))
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("Expected an Apple GPU for device 'mps' but got none. Use --robust-device=cpu or auto.")
    return torch.device(name)


def _cuda(name: str) -> torch.device:
    if not torch.cuda.is_available():
        raise DeviceError(
            f"Expected a CUDA device for {name!r} but this torch ({torch.__version__}) sees none. "
            "Use --robust-device=cpu or auto, or install a CUDA build of torch."
        )
    device = torch.device(name)
    index = device.index or 0
    if index >= torch.cuda.device_count():
        raise DeviceError(f"Expected a CUDA device below {torch.cuda.device_count()} but got {name!r}.")
    return torch.device("cuda", index)


# Models that answer at random: their draws seeded, their answers judged by the majority.


def seed_draws(key: Tensor) -> None:
    """Put the global generators where these samples' keys say, so that a model's own draws can be repeated.

    Only inside `robustest.models.frozen`, which puts them back. What a model draws then depends on the samples
    and the order of its passes, hence on the batch size.

    Args:
        key: (n,) int64, the keys of a chunk's samples, on the device of the model.
    """
    seed = int(rng.fold(key, "model").sum())
    torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
    if key.device.type == "cuda":
        torch.cuda.set_rng_state(torch.Generator(key.device).manual_seed(seed).get_state(), key.device)
    random.setstate(random.Random(seed).getstate())  # noqa: S311 - no secrets here
    np.random.set_state(np.random.RandomState(seed % 2**32).get_state())


def majority(evaluator: Evaluator, x: Tensor, y: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Judge inputs on fresh draws.

    Args:
        evaluator: makes the model's passes.
        x: (N, *S) inputs.
        y: (N,) labels.
        draws: passes of each input.

    Returns:
        (N,) int64, the label or, where more than half of the draws are misclassified, the other class that most
        of them gave; and (N,) int64, how many were misclassified.
    """
    votes = torch.zeros(len(y), evaluator.classes, dtype=torch.int64, device=y.device)
    for _ in range(draws):
        answer = evaluator.task.predictions(evaluator.logits(x)).unsqueeze(1)
        votes.scatter_add_(1, answer, torch.ones_like(answer))
    at = y.unsqueeze(1)
    missed = draws - votes.gather(1, at).squeeze(1)
    other = votes.scatter(1, at, -1).argmax(1)  # of votes, not of logits
    return torch.where(2 * missed > draws, other, y), missed


# Whether gradients are taken in bfloat16 first.
#
# A verdict never rests on bfloat16: what breaks there is re-predicted in float32, and what is left is attacked
# again in float32. So low precision can only save time where much breaks, and never makes a model look safer.
#


_FASTER = 1.5
"""How much faster bfloat16 must be, for a second attack in float32 to be worth it."""


def choose_precision(evaluator: Evaluator, x: Tensor, y: Tensor, setting: str) -> None:
    """Set `evaluator.low_precision` by the setting "fp32", "bf16" or "auto", and `evaluator.channels_last` by timing.

    "auto" times a gradient pass of a few samples each way; as timings differ between machines, so may the path the
    attack takes, though never what counts as broken. The same goes for how images lie in memory in bfloat16: with
    the channels last wide convolutions are faster, small ones slower.
    """
    if setting == "fp32":
        return
    evaluator.low_precision = setting == "bf16"
    try:
        low = _low_seconds(evaluator, x, y)
        if setting == "bf16":
            return
        full = _seconds(evaluator, x, y, on=False)
    except ModelError:  # no gradients, or none in bfloat16: nothing to choose
        return
    evaluator.low_precision = full > _FASTER * low
    evaluator.notes.append(
        f"precision auto: a gradient pass takes {1000 * full:.1f} ms in fp32, {1000 * low:.1f} ms in bf16; "
        f"{'bf16 first' if evaluator.low_precision else 'fp32'}"
    )


def _low_seconds(evaluator: Evaluator, x: Tensor, y: Tensor) -> float:
    """Seconds of a gradient pass in bfloat16, in the faster layout, which is kept."""
    evaluator.channels_last = False
    first = _seconds(evaluator, x, y, on=True)
    if x.ndim != 4:
        return first
    evaluator.channels_last = True
    try:
        second = _seconds(evaluator, x, y, on=True)
    except ModelError:  # `view` needs the usual layout
        second = math.inf
    evaluator.channels_last = second < first
    return min(first, second)


def _seconds(evaluator: Evaluator, x: Tensor, y: Tensor, *, on: bool) -> float:
    x, y = x[:32], y[:32]

    def render(z: Tensor, part: slice) -> Tensor:
        return z

    def objective(logits: Tensor, part: slice) -> Tensor:
        return evaluator.task.losses["ce" if evaluator.task.one_class else "margin"](logits, y[part])

    best = float("inf")
    with evaluator.low(on):
        for _ in range(3):  # the first pays for set-up
            started = time.perf_counter()
            evaluator.gradient(x, render, objective)
            if evaluator.device.type == "cuda":
                torch.cuda.synchronize(evaluator.device)
            best = min(best, time.perf_counter() - started)
    return best


def _cut(rows: Tensor, part: slice) -> Tensor:
    """Return a part of some rows; the rows themselves where it is all of them."""
    return rows if part.stop - part.start == rows.shape[0] else rows[part]
