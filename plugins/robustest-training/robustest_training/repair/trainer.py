"""The training loop of repairs: recipe, checkpoints, progress, what a method changes, and epochs."""

from __future__ import annotations

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from robustest import Classifier, as_classifier, devices, rng
from robustest.data import Samples
from robustest.errors import ConfigError, ModelError, expected
from robustest.packs import (
    Chunk,
    Evaluator,
    KeyedFile,
    digest,
    frozen,
    seed_draws,
)
from robustest_training.repair.log import EpochLog, Repaired, RepairLog
from robustest_training.trainings import Preprocessing

# Recipes: optimiser, schedule and machine of a training.


_OPTIMIZERS = ("adam", "sgd")
_PRECISIONS = ("fp32", "bf16", "auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Optimiser, schedule and machine.

    Args:
        epochs: passes over the data, >= 1.
        batch_size: samples per step, >= 1.
        learning_rate: the highest; it rises linearly over the share `warm_up` of the steps, then falls to 0 along a
            cosine.
        optimizer: "adam", or "sgd" with Nesterov momentum 0.9.
        weight_decay: >= 0, decoupled from the gradient ("adam" is AdamW then).
        warm_up: in [0, 1).
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "fp32"; "bf16" for passes in bfloat16 with float32 weights; "auto": bf16 on a CUDA device that has
            it.
        seed: of order, draws and the model's randomness.

    Raises:
        ConfigError: an argument is out of range.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 2e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    weight_decay: float = 0.0
    warm_up: float = 0.3
    device: str = "auto"
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ConfigError(expected(f"{name} to be a whole number >= 1", getattr(self, name)))
        if type(self.seed) is not int:
            raise ConfigError(expected("seed to be a whole number", self.seed))
        _check("learning_rate > 0", self.learning_rate, self.learning_rate > 0)
        _check("weight_decay >= 0", self.weight_decay, self.weight_decay >= 0)
        _check("warm_up in [0, 1)", self.warm_up, 0 <= self.warm_up < 1)
        if self.optimizer not in _OPTIMIZERS:
            raise ConfigError(expected(f"optimizer to be one of {', '.join(_OPTIMIZERS)}", self.optimizer))
        if self.precision not in _PRECISIONS:
            raise ConfigError(expected(f"precision to be one of {', '.join(_PRECISIONS)}", self.precision))

    def optimizer_for(self, module: nn.Module) -> torch.optim.Optimizer:
        """Return an optimiser of the trainable parameters.

        Raises:
            ConfigError: there are none.
        """
        free = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not free:
            raise ConfigError("Expected parameters to train but every one of them has requires_grad=False.")
        if self.optimizer == "adam":
            return torch.optim.AdamW(free, self.learning_rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(free, self.learning_rate, momentum=0.9, nesterov=True, weight_decay=self.weight_decay)

    def rate(self, done: int, total: int) -> float:
        # A function of the place alone: a checkpoint need not keep a schedule's state.
        share = (done + 1) / (total + 1)
        if share < self.warm_up:
            return self.learning_rate * share / self.warm_up
        return self.learning_rate * (1 + math.cos(math.pi * (share - self.warm_up) / (1 - self.warm_up))) / 2

    def low(self, device: torch.device) -> bool:
        if self.precision == "auto":
            return devices.fast_in_bfloat16(device)
        return self.precision == "bf16"


def _check(what: str, value: object, fits: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or not fits:
        raise ConfigError(expected(what, value))


# Checkpoints of a training: tensors and JSON in one file, written whole or not at all.


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The file and frequency of checkpoints.

    Args:
        path: a file; it stays after the training, so that the same call again only reads it.
        seconds: between two writes, >= 0; each epoch ends with one anyway.
    """

    path: str | Path
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, (int, float)) or not self.seconds >= 0:
            raise ConfigError(expected("seconds >= 0", self.seconds))


@dataclass(frozen=True, slots=True)
class Saved:
    """Content of a checkpoint."""

    model: dict[str, Tensor]  # the network's state
    optimizer: dict[int, dict[str, Any]]  # the optimiser's state, per parameter: tensors and numbers by name
    method: dict[str, Tensor]  # the training method's tensors
    meta: dict[str, Any]  # the place, and the log so far


def save_checkpoint(file: KeyedFile, saved: Saved) -> None:
    """Write a checkpoint.

    Raises:
        ConfigError: the training changes something that a checkpoint does not bring back, or reads what has no stamp.
        StoreError: the file cannot be written.
    """
    arrays = {f"model/{name}": value for name, value in saved.model.items()}
    arrays.update({f"method/{name}": value for name, value in saved.method.items()})
    numbers: dict[str, dict[str, Any]] = {}
    for index, state in saved.optimizer.items():
        numbers[str(index)] = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
        arrays.update({f"optimizer/{index}/{n}": v for n, v in state.items() if isinstance(v, Tensor)})
    try:
        file.save(arrays, {**saved.meta, "optimizer": numbers})
    except ConfigError as error:
        raise ConfigError(f"{error} Train without checkpoint=.") from error


def load_checkpoint(file: KeyedFile) -> Saved | None:
    """Return the content of a checkpoint; None without a file.

    Raises:
        StoreError: the file is damaged, or of another run.
    """
    found = file.load()
    if found is None:
        return None
    arrays, meta = found
    optimizer: dict[int, dict[str, Any]] = {int(index): dict(held) for index, held in meta.pop("optimizer").items()}
    parts: Mapping[str, dict[str, Tensor]] = {"model": {}, "method": {}}
    for name, value in arrays.items():
        part, _, rest = name.partition("/")
        if part == "optimizer":
            index, _, inner = rest.partition("/")
            optimizer.setdefault(int(index), {})[inner] = value
        else:
            parts[part][rest] = value
    return Saved(parts["model"], optimizer, parts["method"], meta)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """Return an optimiser's state of each parameter."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return state


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[int, dict[str, Any]]) -> None:
    """Restore an optimiser's state; its settings stay."""
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


# Progress of a training, in one line of a terminal.


Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, mean loss of this epoch so far)."""

# Seconds between two lines.
_PAUSE = 0.2


@contextmanager
def screen(progress: Progress | None, name: str) -> Iterator[Progress]:
    """Yield the caller's callback; else one that writes a line on stderr if that is a terminal."""
    if progress is not None:
        yield progress
    elif not sys.stderr.isatty():
        yield _silent
    else:
        try:
            yield _Line(name)
        finally:
            sys.stderr.write("\n")


def _silent(done: int, total: int, loss: float) -> None:
    pass


class _Line:
    def __init__(self, name: str) -> None:
        self._name, self._started, self._told, self._first = name, time.monotonic(), 0.0, 0

    def __call__(self, done: int, total: int, loss: float) -> None:
        now = time.monotonic()
        if not self._first:
            self._first = done
        if now - self._told < _PAUSE and done < total:
            return
        self._told = now
        each = (now - self._started) / max(1, done - self._first + 1)  # a run that was resumed did the rest before
        left = each * (total - done)
        text = f"{self._name}: {done} of {total} steps, loss {loss:.3f}, {left:.0f} s left"
        sys.stderr.write(f"\r{text:<79}")
        sys.stderr.flush()


# The interface of a training method: the order of samples, and the steps on a batch.


class Method(Protocol):
    """A training method.

    A method that goes through every sample once an epoch, without state, defines name, settings and `learn`, and
    `identity` if its fields do not cover all.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        pass

    @property
    def settings(self) -> Mapping[str, Any]:
        pass

    @property
    def identity(self) -> object:
        """Everything that the training depends on besides recipe, model and data, for the key of a checkpoint."""
        return self

    @property
    def state(self) -> dict[str, Tensor]:
        """Tensors that change during training, in place."""
        return {}

    def order(self, epoch: int, n: int, seed: int) -> Tensor:
        """Return (M,) int64 positions in the data, in the order of the epoch."""
        return shuffled(epoch, n, seed)

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        """Take one or more steps on a batch, whose keys are of this epoch."""


def shuffled(epoch: int, n: int, seed: int) -> Tensor:
    """Return (n,) int64: every sample once, in an order drawn for the epoch."""
    return torch.argsort(rng.fold(rng.fold(rng.keys(seed, torch.arange(n)), "training order"), epoch), stable=True)


def drawn_evenly(key: Tensor, use: str, members: Tensor, sizes: Tensor) -> Tensor:
    """Return (M,) int64 positions: draws of a group, and then of one of its members (N,), with replacement.

    Args:
        key: (M, 2) one for each draw.
        sizes: (G,) int64 of the groups, each >= 1.
    """
    which = rng.integers(rng.fold(key, use), (1,), len(sizes)).flatten()
    place = rng.integers(rng.fold(key, "member"), (1,), sizes[which].unsqueeze(1)).flatten()
    return members[(sizes.cumsum(0) - sizes)[which] + place]


# The training loop of all repairs: a copy of the model, order and draws by counter, checkpoints, a log.


# Samples read at once for the digest of a checkpoint's data.
_READ = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The loss of a step, and correctness for the log."""

    # Maps logits (B, K) and targets (B, ...) to (B,) values in nats, with a gradient.
    loss: Callable[[Tensor, Tensor], Tensor]
    holds: Callable[[Tensor, Tensor], Tensor]  # maps both to (B,) bool


class Trainer:
    """A copy of a model in training, with the share of the training that is done, in 0..1."""

    def __init__(self, classifier: Classifier, recipe: Recipe) -> None:
        given = module_of(classifier, "a torch module to train a copy of")
        device = classifier.place(recipe.device)
        module = copy.deepcopy(given).to(device)
        self.recipe, self.module, self.device, self.share = recipe, module, device, 0.0
        self.classifier = replace(classifier, call=module, module=module, device=device)
        self.notes: list[str] = []
        self.evaluator = Evaluator(
            self.classifier, device, batch_size=recipe.batch_size, suppress=("softmax_outputs",), notes=self.notes
        )
        self.low = recipe.low(device)
        self.optimizer = recipe.optimizer_for(module)
        self.loss, self.right, self.seen = 0.0, 0, 0

    def descend(
        self,
        x: Tensor,
        y: Tensor,
        *,
        goal: Goal | None = None,
        weigh: Callable[[Tensor], Tensor] | None = None,
        to: Tensor | None = None,
    ) -> Tensor | None:
        """Take one step on inputs x (B, *S) with labels or targets y (B, ...), in train mode.

        Args:
            goal: None for the task's cross-entropy.
            weigh: maps each sample's loss (B,) to the loss; None takes the mean.
            to: a leaf that x was made from; its gradient of the summed loss is returned.

        Raises:
            ModelError: the loss is NaN or infinite.
        """
        self.module.train()
        task = self.evaluator.task
        goal = Goal(loss=task.losses["ce"], holds=task.holds) if goal is None else goal
        with torch.enable_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.low):
            logits = self.classifier(x)
            each = goal.loss(logits, y)
            loss = each.mean() if weigh is None else weigh(each)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(f"Expected a finite loss but got {value}. Lower the learning rate.")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.module.eval()
        self.loss += value * len(y)
        self.right += int(goal.holds(logits.detach(), y).sum())
        self.seen += len(y)
        return None if to is None or to.grad is None else to.grad * len(y)

    def epoch_log(self, seconds: float) -> EpochLog:
        of = max(1, self.seen)
        log = EpochLog(loss=self.loss / of, accuracy=self.right / of, seconds=seconds)
        self.loss, self.right, self.seen = 0.0, 0, 0
        return log


@dataclass(slots=True)
class _Run:
    trainer: Trainer
    method: Method
    samples: Samples
    kept: KeyedFile | None
    seconds: float
    place: tuple[int, int] = (0, 0)  # epoch, batch
    epochs: list[EpochLog] | None = None
    spent: float = 0.0  # seconds in this epoch, by earlier runs

    def resume(self) -> int:
        saved = None if self.kept is None else load_checkpoint(self.kept)
        self.epochs = []
        if saved is None:
            return 0
        trainer, meta = self.trainer, saved.meta
        trainer.module.load_state_dict(saved.model)
        restore_optimizer(trainer.optimizer, saved.optimizer)
        for name, value in self.method.state.items():
            value.copy_(saved.method[name])
        self.place, self.spent = (meta["epoch"], meta["batch"]), meta["spent"]
        trainer.loss, trainer.right, trainer.seen = meta["loss"], meta["right"], meta["seen"]
        self.epochs = [EpochLog(**epoch) for epoch in meta["epochs"]]
        return int(meta["steps"])

    def keep(self, epoch: int, batch: int, steps: int, spent: float) -> None:
        if self.kept is None:
            return
        trainer = self.trainer
        meta = {
            "epoch": epoch,
            "batch": batch,
            "steps": steps,
            "spent": spent,
            "loss": trainer.loss,
            "right": trainer.right,
            "seen": trainer.seen,
            "epochs": [asdict(log) for log in self.epochs or ()],
        }
        state = optimizer_state(trainer.optimizer)
        saved = Saved(trainer.module.state_dict(), state, self.method.state, meta)
        save_checkpoint(self.kept, saved)

    def batches(self, epoch: int) -> tuple[Tensor, ...]:
        recipe = self.trainer.recipe
        order = self.method.order(epoch, len(self.samples), recipe.seed)
        # Nearly equal sizes: batch norm cannot learn from a last batch of one.
        return torch.tensor_split(order, -(-len(order) // recipe.batch_size))

    def read(self, ids: Tensor, epoch: int) -> Chunk:
        trainer = self.trainer
        bounds, seed = trainer.classifier.bounds, trainer.recipe.seed
        batch = Chunk.of(self.samples, ids, bounds=bounds, seed=seed, device=trainer.device)
        # Keys of this epoch: draws by counter make a resumed training equal to one without a break.
        return replace(batch, key=rng.fold(rng.fold(batch.key, "epoch"), epoch))

    def walk(self, steps: int, tell: Progress) -> None:
        recipe, written = self.trainer.recipe, time.monotonic()
        for epoch in range(self.place[0], recipe.epochs):
            batches, started = self.batches(epoch), time.monotonic() - self.spent
            total = recipe.epochs * len(batches)
            first = self.place[1] if epoch == self.place[0] else 0
            for at in range(first, len(batches)):
                self._learn(batches[at], epoch, steps, total)
                steps += 1
                tell(steps, total, self.trainer.loss / max(1, self.trainer.seen))
                if self.kept is not None and time.monotonic() - written >= self.seconds:
                    self.keep(epoch, at + 1, steps, time.monotonic() - started)
                    written = time.monotonic()
            assert self.epochs is not None  # noqa: S101 - resume comes first
            self.epochs.append(self.trainer.epoch_log(time.monotonic() - started))
            self.spent = 0.0
            self.keep(epoch + 1, 0, steps, 0.0)

    def _learn(self, ids: Tensor, epoch: int, steps: int, total: int) -> None:
        trainer = self.trainer
        batch = self.read(ids, epoch)
        seed_draws(batch.key)
        trainer.share = steps / total
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.recipe.rate(steps, total)
        if not trainer.evaluator.classes:
            trainer.evaluator.logits(batch.x[:1])
        trainer.evaluator.check_labels(batch.y)
        # Not the data's own reads: each sample is part of the key.
        watching = nullcontext() if self.kept is None else self.kept.watching()
        with trainer.evaluator.low(trainer.low), watching:
            self.method.learn(trainer, batch)


def train(
    model: object,
    samples: Samples,
    method: Method,
    recipe: Recipe,
    *,
    checkpoint: Checkpoint | str | Path | None,
    progress: Progress | None,
    bounds: tuple[float, float] | None,
    preprocessing: Preprocessing | None,
) -> Repaired:
    """Train a copy of a model.

    Raises:
        ConfigError: the model is no torch module, or has nothing to train.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
        StoreError: the checkpoint is of another training, or cannot be written.
    """
    if not isinstance(recipe, Recipe):
        raise ConfigError(expected("recipe to be a Recipe", recipe))
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(path=checkpoint)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(frozen(None))  # the caller's random states come back, and float32 is float32
        trainer = Trainer(as_classifier(model, bounds=bounds, preprocessing=preprocessing), recipe)
        trainer.module.eval()
        if checkpoint is None:
            run = _Run(trainer, method, samples, None, math.inf)
        else:
            kept = _file(Path(checkpoint.path), trainer, samples, method)
            run = _Run(trainer, method, samples, kept, checkpoint.seconds)
        resumed = run.resume()
        with screen(progress, method.name) as tell:
            run.walk(resumed, tell)
    log = RepairLog(
        method=method.name,
        settings={**method.settings, **asdict(recipe)},
        epochs=tuple(run.epochs or ()),
        samples=len(samples),
        device=str(trainer.device),
        precision="bf16" if trainer.low else "fp32",
        resumed=resumed,
        notes=tuple(trainer.notes),
        details={name: value.tolist() for name, value in method.state.items()},
    )
    return Repaired(handed_back(model, trainer.classifier), log)


def module_of(classifier: Classifier, wanted: str = "a torch module to copy") -> nn.Module:
    """Return the network of a classifier. Raises ConfigError, with `wanted`, if it is no torch module."""
    if classifier.module is None or classifier.call is not classifier.module:
        raise ConfigError(expected(wanted, classifier.call))
    return classifier.module


def handed_back(given: object, classifier: Classifier) -> Any:
    """Return the repaired model in the form and on the device of the given one."""
    assert classifier.module is not None  # noqa: S101 - a trainer has one
    first = as_classifier(given)
    module = classifier.module.to(first.device or classifier.device).eval()
    if isinstance(given, Classifier):
        return replace(given, call=module, module=module)
    return module


def _file(path: Path, trainer: Trainer, samples: Samples, method: Method) -> KeyedFile:
    """Return the file of a checkpoint, by the model, its code, every sample, the method and the recipe."""
    about = {
        "method": (method.name, method.identity),
        # The device is left out: a training may go on on another machine, as claims measure the model that comes out.
        "recipe": asdict(replace(trainer.recipe, device="auto")),
        "model": trainer.module,
        "preprocessing": trainer.classifier.preprocessing,
        "bounds": trainer.classifier.bounds,
        "samples": [digest(samples.take(ids)) for ids in torch.split(torch.arange(len(samples)), _READ)],
    }
    try:
        return KeyedFile(path, "training", about, restored=["model"])
    except ConfigError as error:
        raise ConfigError(f"{error} Train without checkpoint=.") from error
