"""The training loop of all repairs: a copy of the model, order and draws by counter, checkpoints, a log."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustest import Classifier, as_classifier, rng
from robustest.data import Samples
from robustest.errors import ConfigError, ModelError, expected
from robustest.packs import Chunk, Evaluator, Key, Preprocessing, Unhashable, digest, frozen, key_of, seed_draws
from robustest.packs import load as load_chunk
from robustest.packs import resolve as resolve_device
from robustest_training.repair.checkpoints import Checkpoint, Saved, optimizer_state, restore_optimizer
from robustest_training.repair.checkpoints import load as load_checkpoint
from robustest_training.repair.checkpoints import save as save_checkpoint
from robustest_training.repair.log import EpochLog, Repaired, RepairLog
from robustest_training.repair.methods import Method
from robustest_training.repair.progress import Progress, screen
from robustest_training.repair.recipe import Recipe

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
        device = resolve_device(recipe.device, classifier.device)
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
    kept: tuple[Path, Key] | None
    seconds: float
    place: tuple[int, int] = (0, 0)  # epoch, batch
    epochs: list[EpochLog] | None = None
    spent: float = 0.0  # seconds in this epoch, by earlier runs

    def resume(self) -> int:
        saved = None if self.kept is None else load_checkpoint(*self.kept)
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
        save_checkpoint(*self.kept, saved)

    def batches(self, epoch: int) -> tuple[Tensor, ...]:
        recipe = self.trainer.recipe
        order = self.method.order(epoch, len(self.samples), recipe.seed)
        # Nearly equal sizes: batch norm cannot learn from a last batch of one.
        return torch.tensor_split(order, -(-len(order) // recipe.batch_size))

    def read(self, ids: Tensor, epoch: int) -> Chunk:
        trainer = self.trainer
        bounds, seed = trainer.classifier.bounds, trainer.recipe.seed
        batch = load_chunk(self.samples, ids, bounds=bounds, seed=seed, device=trainer.device)
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
        with trainer.evaluator.low(trainer.low):
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
            kept = Path(checkpoint.path), _key(trainer, samples, method)
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


def _key(trainer: Trainer, samples: Samples, method: Method) -> Key:
    """Return the key of a checkpoint: the model, its code, every sample, the method and the recipe."""
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
        return key_of("checkpoint", about, None, asked=True)
    except Unhashable as error:
        raise ConfigError(
            f"Expected a training that can be identified, to keep a checkpoint, but got {error}. "
            "Train without checkpoint=."
        ) from error
