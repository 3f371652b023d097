"""Every model pass: on one device, in parts that fit into memory, counted, and checked."""

# Attacks, probes and claims never call the model themselves. A pass of N rows goes to the model in parts of at most
# `batch_size` rows; a part that does not fit into memory halves the batch size and is passed again. Logits and
# gradients that are NaN or infinite raise `ModelError`. Answers are judged in float32: bfloat16 is used for
# gradients alone, and only where that is faster.

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from robustest import clock, devices, rng
from robustest.engine.model_errors import NO_GRADIENT, failed_forward, out_of_memory, quoted
from robustest.engine.shown import Shown
from robustest.errors import DeviceError, ModelError, RobustestError
from robustest.health import Health, HealthWarning
from robustest.models import Classifier, Needs
from robustest.models.frozen import frozen, tensor_float32
from robustest.settings import Settings
from robustest.tasks import CLASSIFICATION, Task, check_answers, top_of
from robustest.threats import per_row

_T = TypeVar("_T")
Render = Callable[[Tensor, slice], Tensor]
"""Maps proposals of a part of the rows, a slice, to model inputs."""
Objective = Callable[[Tensor, slice], Tensor]
"""Maps the model's outputs (b, *O) for a part of the rows, a slice, to values to climb, (b,) or (b, *T): their sum."""

# Estimators take milliseconds for a call, and next to nothing for a row.
_ESTIMATOR_BATCH = 8192
# Numbers that a model may give in one pass, 256 MiB: tasks with large outputs get smaller batches.
_MOST_OUTPUT = 1 << 26
# A pass backward costs about as much as two forward.
BACKWARD = 2
# Batch sizes of passes of fixed shapes: the largest one, and halves of it.
_SIZES = 6
# Outputs that a `Judgement` keeps.
_FIRST = 8

_NOT_FINITE = (
    "nan_values: expected finite logits and gradients but the model gave NaN or infinite ones. No accuracy can be "
    "trusted: look for 0/0, log(0), sqrt(0) or overflow in its forward."
)
_AS_IT_IS = nullcontext()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A task's judgement of many answers, without the outputs, which may be large.

    Attributes:
        holds: (N,) bool: the answer is right.
        margin: (N,) float32.
        predicted: (N, *T).
        score: (N,) float64, or None.
        first: (n, *O) the first few outputs.
    """

    holds: Tensor
    margin: Tensor
    predicted: Tensor
    score: Tensor | None
    first: Tensor


@dataclass(frozen=True, slots=True)
class Slope:
    """A request for logits and a gradient at proposals z (b, *Z), the rows `part` of a search.

    Attributes:
        check: counts and checks the outputs (b, *O), and returns them.
        low: compute in bfloat16.
    """

    z: Tensor
    part: slice
    render: Render
    objective: Objective
    check: Callable[[Tensor], Tensor]
    low: bool


Request = Tensor | Slope | Callable[[], Any]
"""A pass: of inputs x (b, *S) without gradients, of a slope, or of a function that calls the model itself."""


class Evaluator:
    """A classifier on a device, with a memory limit and counters.

    Attributes:
        task: decides if answers are right.
        forward, backward: samples passed so far.
        calls: passes so far of any number of samples; one backward counts as `BACKWARD` forward.
        notes: sentences for the reader of the result.
        batch_size: most rows of a pass; `batch_chosen` if the user set it.
        classes: number of classes; 0 before the first pass.
        health: counts for the health checks.
        examples: most samples of a chunk that a report may show.
        random: the user declared that the model answers at random.
        low_precision: "first": cascades run their gradient stages in bfloat16 first, then again in float32 on the
            survivors; "alone": on a few of them only, as a check; "": in float32 alone.
        reduced: gradients are taken in bfloat16 now.
        fixed_shapes: passes are filled up to one of a few batch sizes, with copies of their own rows, so that a device
            meets the same shapes again. The copies are not counted, and nobody reads their answers.
        channels_last: images (B, C, H, W) go into those passes with their channels last in memory.
        joint: returns the answer to a request, whose pass it makes together with those of other measurements
            (`robustest.engine.gathering`); None to make each pass alone.
        probed: `gradient_checks.probe_gradient` ran on this chunk.
        probe_rows: samples of a chunk for that probe.
        shown: follows the inputs that the look at this chunk shows the model; None outside of a look.
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
        examples: int = 0,
    ) -> None:
        self.model = model.on(device)
        self.device = device
        self.task, self.examples = task, examples
        usual = devices.default_batch(device) if model.estimator is None else _ESTIMATOR_BATCH
        self.batch_size = batch_size or usual
        self.batch_chosen = batch_size is not None
        self._rounds: bool | None = None
        self.forward = self.backward = self.calls = 0
        self.notes = notes
        self.classes = 0
        self._checked_task = (
            type(task).__module__.partition(".")[0] == "robustest"
        )  # a user's own is checked on the first outputs
        self._no_answers: Tensor | None = None  # (0, *P), known after the first pass
        self.health = Health()
        self.random = "random_forward" in suppress
        self._suppress = suppress
        self._bad: Tensor | None = None  # NaN once anything on an accelerator was not finite, see `_suspect`
        # Counts for the health checks that are still on an accelerator.
        self._owed: list[tuple[str, Tensor, int | None]] = []
        self.reduced = False
        self._casts = devices.casts(device)
        self._writes = False  # the model changes its input in place; known after the first pass
        self.low_precision: Literal["", "first", "alone"] = ""
        self.channels_last = self.fixed_shapes = False
        self.joint: Callable[[Request], Any] | None = None
        self.probed, self.probe_rows = False, 8
        self.shown: Shown | None = None

    def apart(self, joint: Callable[[Request], Any]) -> Evaluator:
        """Return an evaluator of the same model with counters of its own, whose passes `joint` makes."""
        own = copy(self)
        own.joint, own.forward, own.backward, own.calls = joint, 0, 0, 0
        own.health, own.notes, own._bad, own._owed = Health(), list(self.notes), None, []
        return own

    @classmethod
    def of(
        cls, model: Classifier, settings: Settings, notes: list[str], *, task: Task = CLASSIFICATION, device: str = ""
    ) -> Evaluator:
        """Return the evaluator of a model, already frozen, with a claim's settings.

        Args:
            device: in place of that of the settings, if given.

        Raises:
            DeviceError: the device is absent.
        """
        return cls(
            model,
            model.place(device or settings.device),
            batch_size=settings.batch_size,
            suppress=settings.suppress,
            notes=notes,
            task=task,
            examples=settings.examples,
        )

    @classmethod
    @contextmanager
    def opened(cls, model: Classifier, settings: Settings) -> Iterator[Evaluator]:
        """Return a block with the evaluator of a model that is frozen in it; its last pass is checked at the end.

        Tensors that are made inside may take part in gradients. Module, random states and precision are as before
        after the block.

        Args:
            settings: its device, batch size, and suppressed health checks.

        Raises:
            DeviceError: the device is absent.
            ModelError: logits or a gradient were not finite.
        """
        with torch.inference_mode(False), frozen(model.module) as notes:
            evaluator = cls.of(model, settings, notes)
            yield evaluator
            evaluator.require_finite()

    def logits(self, x: Tensor) -> Tensor:
        """Return (B, K) float32 logits of inputs (B, *S) on this device, without gradients.

        Raises:
            ModelError: logits are misshapen or not finite.
            DeviceError: out of memory at a batch of one.
        """
        parts: list[Tensor] = []
        for attempt in self._parts(len(x)):
            with attempt as part, torch.no_grad(), self._precision(low=False):
                parts.append(self._checked(self._outputs(_cut(x, part)), part))
        logits = parts[0] if len(parts) == 1 else torch.cat(parts)
        if self.shown is not None and self.shown.see(x):
            self.shown.hear(x, self.task.predictions(logits), logits)
        return logits

    def check_task(self, output: Tensor, y: Tensor) -> None:
        """Check a user's own task on the model's first outputs (B, *O) and their targets (B, *T).

        Raises:
            ConfigError: a member answers otherwise than the protocol says.
        """
        if not self._checked_task:
            self._checked_task = True
            check_answers(self.task, output, y)

    def judge(self, x: Tensor, y: Tensor, *, scored: bool = False) -> Judgement:
        """Judge the answers to inputs x (N, *S) by targets y (N, *T), part by part.

        Raises:
            ModelError, DeviceError: see `logits`.
        """
        task = self.task
        holds: list[Tensor] = []
        margin: list[Tensor] = []
        predicted: list[Tensor] = []
        scores: list[Tensor] = []
        first: list[Tensor] = []
        for attempt in self._parts(len(x)):
            with attempt as part, torch.no_grad(), self._precision(low=False):
                output, target = self._checked(self._outputs(_cut(x, part)), part), _cut(y, part)
                self.check_task(output, target)
                verdicts = task.holds(output, target), task.margin(output, target), task.predictions(output)
                score = task.score(output, target) if scored else None
                # Nothing is kept before all of it is there: a part that runs out of memory comes again.
                for kept, one in zip((holds, margin, predicted), verdicts, strict=True):
                    kept.append(one)
                first.append(output[: max(0, _FIRST - part.start)])
                if score is not None:
                    scores.append(score)
        judgement = Judgement(
            torch.cat(holds),
            torch.cat(margin),
            torch.cat(predicted),
            torch.cat(scores) if scored else None,
            torch.cat(first),
        )
        if self.shown is not None and self.shown.see(x):
            self.shown.hear(x, judgement.predicted, judgement.margin)
        return judgement

    def unanswered(self, y: Tensor) -> Tensor:
        """Return (B, *P) in the form of predictions, for rows without one: targets y (B, *T) themselves, or zeros."""
        form = self._no_answers
        if form is None or form.shape[1:] == y.shape[1:]:
            return y.clone()
        return form.new_zeros((len(y), *form.shape[1:]), device=y.device)

    def bfloat16(self, x: Tensor) -> Tensor | None:
        """Return (B, *P) predictions in bfloat16, -1 where outputs are not finite.

        None on devices without autocast, and for models whose forward fails in bfloat16.
        """
        if not devices.casts(self.device):
            return None
        parts: list[Tensor] = []
        try:
            for attempt in self._parts(len(x)):
                with attempt as part:
                    logits = self._shaped(self.called(partial(self._cast, _cut(x, part))), part)
                    finite, predicted = torch.isfinite(logits).flatten(1).all(1), self.task.predictions(logits)
                    parts.append(torch.where(per_row(finite, predicted), predicted, -1))
        except ModelError:  # an operation that bfloat16 does not have
            return None
        return torch.cat(parts)

    def gradient(self, z: Tensor, render: Render, objective: Objective, *, draws: int = 1) -> tuple[Tensor, Tensor]:
        """Return logits (B, K) at proposals z (B, *Z), and the gradient (B, *Z) of the summed objective.

        Args:
            draws: passes averaged, for models that answer at random (logits are averaged too).

        Raises:
            ModelError: logits or gradients are not finite, or no gradient reaches the input.
            DeviceError: out of memory at a batch of one.
        """
        all_logits: list[Tensor] = []
        gradients: list[Tensor] = []
        for attempt in self._parts(z.shape[0]):
            with attempt as part:
                drawn_logits, drawn_gradients = [], []
                check = partial(self._checked, part=part)
                request = Slope(_cut(z, part), part, render, objective, check, self.reduced)
                for _ in range(draws):
                    logits, gradient = self.slopes([request])[0] if self.joint is None else self.joint(request)
                    if gradient is None:
                        raise ModelError(NO_GRADIENT)
                    self.backward += part.stop - part.start
                    self.calls += BACKWARD
                    self._suspect(gradient.sum())
                    drawn_logits.append(logits)
                    drawn_gradients.append(gradient)
                if draws > 1:
                    drawn_logits = [torch.stack(drawn_logits).mean(0)]
                    drawn_gradients = [torch.stack(drawn_gradients).mean(0)]
                all_logits += drawn_logits
                gradients += drawn_gradients
        logits = all_logits[0] if len(all_logits) == 1 else torch.cat(all_logits)
        gradient = gradients[0] if len(gradients) == 1 else torch.cat(gradients)
        if self.shown is not None and self.shown.answer is None and z is self.shown.chunk.x:
            self.shown.hear(z, self.task.predictions(logits), logits)
        return logits, gradient

    def _cast(self, x: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16):
            return self.model.unmasked(self._ask(x))

    def called(self, function: Callable[[], _T]) -> _T:
        """Return the value of a function that calls the model itself."""
        return function() if self.joint is None else cast("_T", self.joint(function))

    def slopes(self, requests: Sequence[Slope]) -> list[tuple[Tensor, Tensor | None]]:
        """Return logits and gradients for requests of one precision, in one pass of the model.

        Gradients are neither counted nor checked; one that does not reach the proposals is None.
        """
        low = requests[0].low
        points: list[Tensor] = []
        inputs: list[Tensor] = []
        with torch.enable_grad():
            for one in requests:
                points.append(one.z.detach().requires_grad_(True))
                inputs.append(one.render(points[-1], one.part))
            with self._precision(low=low):
                x = inputs[0] if len(inputs) == 1 else torch.cat(inputs)
                if low and self.channels_last and x.ndim == 4:
                    x = x.contiguous(memory_format=torch.channels_last)
                logits = self._ask(x)
                each = (logits,) if len(inputs) == 1 else torch.split(logits, [len(one) for one in inputs])
                checked: list[Tensor] = []
                climbed: list[Tensor] = []
                for one, out in zip(requests, each, strict=True):
                    checked.append(one.check(out))
                    value = one.objective(checked[-1], one.part)
                    # Weights behind a plain callable may ask for gradients where the input gets none.
                    if value.requires_grad:
                        climbed.append(value)
                found = _gradients(climbed, points)
        return [(out.detach(), gradient) for out, gradient in zip(checked, found, strict=True)]

    def outputs(self, x: Tensor) -> Tensor:
        """Return outputs of inputs x (b, *S) in one pass in float32 without gradients, neither counted nor checked."""
        with torch.no_grad(), self._precision(low=False):
            return self._ask(x)

    def read(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Return small tensors of at most 53 bits a number on the host, and add the counts owed: one wait for all.

        Raises:
            ModelError: logits or gradients since the last call are NaN or infinite.
        """
        bad, self._bad, owed, self._owed = self._bad, None, self._owed, []
        if devices.on_host(self.device):
            return values
        parts = [*values, *(failed for _, failed, _ in owed), *([] if bad is None else [bad])]
        if not parts:
            return ()
        # One copy for all: each would make the host wait for everything that the device was asked to do before.
        joined = torch.cat([part.reshape(-1).double() for part in parts]).cpu()
        here = [
            whole.view(part.shape).to(part.dtype)
            for whole, part in zip(torch.split(joined, [part.numel() for part in parts]), parts, strict=True)
        ]
        if bad is not None and not math.isfinite(here.pop().item()):
            raise ModelError(_NOT_FINITE)
        for (name, _, tried), failed in zip(owed, here[len(values) :], strict=True):
            self._count(name, int(failed), tried)
        return tuple(here[: len(values)])

    def _count(self, name: str, failed: int, tried: int | None) -> None:
        if failed or tried is not None:
            self.health.count(name, failed=failed, tried=failed if tried is None else tried)

    def require_finite(self) -> None:
        """Raise if anything since the last call was not finite (one look at the device for many passes).

        Raises:
            ModelError: logits or gradients are NaN or infinite.
        """
        self.read()

    def count(self, name: str, *, failed: Tensor, tried: int | None) -> None:
        """Count for a health check; on an accelerator once the host reads from it anyway.

        Args:
            tried: None for trials in large batches, which not every device has: only failures are counted.
        """
        if devices.on_host(failed):
            self._count(name, int(failed), tried)
        else:
            self._owed.append((name, failed, tried))

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    def check_labels(self, y: Tensor) -> None:
        """Raise DataError if a label of y (B,) is no class of the model."""
        self.task.check_targets(y, self.classes)

    def check_first(self, logits: Tensor) -> None:
        """Warn where logits (B, K) of unchanged samples look like probabilities."""
        # Outputs of other tasks may be shares; scores of models without gradients are not climbed, and a forest has
        # no softmax to remove.
        if (not top_of(self.task) and logits.ndim == 2) or self.model.gives is not Needs.GRADIENT:
            return
        probabilities = bool((logits >= 0).all() & ((logits.sum(1) - 1).abs() < 1e-3).all())
        message = (
            "softmax_outputs: the model's outputs look like probabilities. Attacks on logits are stronger: remove "
            'the final softmax, or pass suppress=("softmax_outputs",) if this is meant.'
        )
        if probabilities and "softmax_outputs" not in self._suppress and message not in self.notes:
            self.notes.append(message)
            warnings.warn(message, HealthWarning, stacklevel=2)

    def count_probabilities(self, n: int) -> None:
        """Count n samples for the health check of outputs that look like probabilities, as `check_first` noted."""
        noted = any(note.startswith("softmax_outputs") for note in self.notes)
        self.health.count("softmax_outputs", failed=n if noted else 0, tried=n)

    def rounds_factors(self) -> bool:
        """Return True if the device does not multiply in float32, though all its settings say so."""
        if self._rounds is None:
            with torch.no_grad(), self._precision(low=False):
                self._rounds = devices.rounds_factors(self.device)
        return self._rounds

    @contextmanager
    def low(self, on: bool) -> Iterator[None]:
        """Take gradients in bfloat16 inside the block if `on`; passes without gradient stay float32."""
        self.reduced = on
        try:
            yield
        finally:
            self.reduced = False

    @contextmanager
    def in_float32(self, *, anew: bool = False) -> Iterator[None]:
        """Take all gradients in float32 inside the block; with `anew`, what was not finite before it is forgotten."""
        before, self.low_precision = self.low_precision, ""
        if anew:
            self._bad, self._owed = None, []
        try:
            yield
        finally:
            self.low_precision = before

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Make passes for their cost alone: whether their numbers are finite decides nothing."""
        bad = self._bad
        yield
        self._bad = bad

    def _outputs(self, x: Tensor) -> Tensor:
        return self._ask(x) if self.joint is None else cast("Tensor", self.joint(x))

    def _ask(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        if self.fixed_shapes and (size := filled_size(n, self.batch_size)) > n:
            others = x.detach()
            x = torch.cat([x, *[others] * (size // n - 1), others[: size % n]])
            return self._answered(x)[:n]
        return self._answered(x)

    def _answered(self, x: Tensor) -> Tensor:
        try:
            if self.classes and not self._writes:
                before = x._version
                logits = self.model.answer(x)
                if x._version != before:  # these were the samples themselves, and no clone of them is left
                    raise ModelError(
                        "Expected a model that leaves its input as it is, as it did in its first pass, but it wrote on "
                        "a later one: further answers would be to other samples. Clone the input where the model "
                        "changes it (x = x.clone())."
                    )
                return logits
            # Some models write on their inputs, and neither samples nor leaves of a graph may be changed: give a
            # clone until it is known that this model does not.
            own = x.clone()
            before = own._version
            logits = self.model.answer(own)
            self._writes = self._writes or own._version != before
            return logits
        except RobustestError:
            raise
        except Exception as error:
            if out_of_memory(error):
                raise
            raise ModelError(failed_forward(self.model, x, error)) from error

    def _checked(self, logits: Tensor, part: slice) -> Tensor:
        self._shaped(logits, part)
        # A finite sum, in the usual case, says that no class is masked, too.
        if not devices.on_host(self.device) or not math.isfinite(logits.detach().sum().item()):
            logits = self.model.unmasked(logits)
            self._suspect(logits.detach().sum())
        return logits

    def _shaped(self, logits: Tensor, part: slice) -> Tensor:
        n = part.stop - part.start
        self.forward += n
        self.calls += 1
        if self._no_answers is None:
            self.classes = self.task.check_output(logits, n, self.classes)
            self._no_answers = self.task.predictions(logits[:1].detach())[:0]
        else:
            self.classes = self.task.check_output(logits, n, self.classes)
        if self.batch_size * logits.numel() > _MOST_OUTPUT * n:
            self.batch_size = max(1, _MOST_OUTPUT * n // logits.numel())
        return logits

    def _suspect(self, value: Tensor) -> None:
        """Refuse a sum that is not finite, as it is if any term was not."""
        if not devices.on_host(self.device):
            # Reading the sum would wait for the accelerator in every pass. Times 0 it is 0, or NaN for ever:
            # `require_finite` reads that once for many passes.
            self._bad = value * 0 if self._bad is None else self._bad + value * 0
        elif not math.isfinite(value.item()):
            raise ModelError(_NOT_FINITE)

    def _precision(self, *, low: bool) -> AbstractContextManager[object]:
        """Return a block in bfloat16 if `low`, else in float32, inside any precision of the caller."""
        kind = self.device.type
        if not low and not (self._casts and torch.is_autocast_enabled(kind)):
            return _AS_IT_IS
        cast = torch.autocast(kind, torch.bfloat16, enabled=low)
        if not low or not devices.has_tf32(self.device):
            return cast
        block = ExitStack()
        block.enter_context(tensor_float32())  # for products that autocast leaves in float32
        block.enter_context(cast)
        return block

    def _parts(self, n: int) -> Iterator[_Attempt]:
        # A loop of blocks, not a callback for each part, keeps the stack of a model's own error short.
        start = 0
        while start < n:
            clock.check()
            attempt = _Attempt(self, slice(start, min(n, start + self.batch_size)))
            yield attempt
            if attempt.fitted:
                start = attempt.part.stop

    def halve(self, size: int) -> None:
        """Halve the batch size after a part of `size` rows ran out of memory; rows that filled it up go first.

        Raises:
            DeviceError: the part was a single row.
        """
        # The passes of a chunk among others were filled up by the evaluator that makes them.
        if self.fixed_shapes and self.joint is None and filled_size(size, self.batch_size) > size:
            self.fixed_shapes = False
            devices.free(self.device)
            return
        if size == 1:
            raise DeviceError(f"Expected one sample to fit but {self.device} ran out of memory at a batch of one.")
        self.batch_size = size // 2
        devices.free(self.device)
        self.notes.append(f"out of memory at a batch of {size}; went on with {self.batch_size}")


class _Attempt:
    """A block around one part of a pass; running out of memory inside halves the batch size."""

    __slots__ = ("_evaluator", "fitted", "part")

    def __init__(self, evaluator: Evaluator, part: slice) -> None:
        self._evaluator, self.part, self.fitted = evaluator, part, False

    def __enter__(self) -> slice:
        return self.part

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None:
            self.fitted = True
        elif out_of_memory(error):
            self._evaluator.halve(self.part.stop - self.part.start)
            return True
        return False


def _gradients(climbed: Sequence[Tensor], points: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Return the gradient of the summed values `climbed` at each of the points; None where it does not get there."""
    if not climbed:
        return [None] * len(points)
    # Sums, as weights of the rows would have torch import SymPy: half a second of every run.
    values = [value.sum() for value in climbed]
    try:
        return torch.autograd.grad(values, points, allow_unused=True)
    except Exception as error:
        if isinstance(error, RobustestError) or out_of_memory(error):
            raise
        # In bfloat16, or with the channels last, one of its own operations may fail that does not in float32.
        raise ModelError(
            f"Expected a gradient of the model but its backward pass raised {quoted(error)}. Mend it, or choose an "
            "attack that needs scores only."
        ) from error


def filled_size(n: int, batch_size: int) -> int:
    """Return the least of a few batch sizes that holds n rows; n itself beyond the largest, `batch_size`."""
    sizes = [max(1, batch_size >> halved) for halved in range(_SIZES)]
    return min((size for size in sizes if size >= n), default=n)


def _cut(rows: Tensor, part: slice) -> Tensor:
    """Return a part of rows, without a copy or a new tensor where it is all of them."""
    return rows if part.stop - part.start == rows.shape[0] else rows[part]


# Models that answer at random


def seed_draws(key: Tensor) -> None:
    """Seed the global generators with samples' keys (n,) int64, so that a model's own draws can be repeated.

    Only inside `robustest.models.frozen`, which restores the generators. The draws then depend on the samples and the
    order of passes, hence on the batch size.
    """
    seed = int(rng.fold(key, "model").sum())
    torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
    devices.seed_device(key.device, seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def majority(evaluator: Evaluator, x: Tensor, y: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Judge inputs x (N, *S) with labels y (N,) by the majority of fresh draws.

    Returns:
        (N,) int64: the label or, where more than half of the draws are misclassified, their most frequent class; and
        (N,) int64: the number of misclassified draws.
    """
    votes = torch.zeros(len(y), evaluator.classes, dtype=torch.int64, device=y.device)
    for _ in range(draws):
        answer = evaluator.task.predictions(evaluator.logits(x)).unsqueeze(1)
        votes.scatter_add_(1, answer, torch.ones_like(answer))
    at = y.unsqueeze(1)
    missed = draws - votes.gather(1, at).squeeze(1)
    other = votes.scatter(1, at, -1).argmax(1)
    return torch.where(2 * missed > draws, other, y), missed
