"""A short training with probes of the loss, cached by all that it depends on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from robustest import Factory, rng
from robustest.errors import ConfigError, ModelError, StoreError, expected
from robustest.packs import Entry, Key, Settings, Store, Unhashable, digest, frozen, key_of, seed_draws
from robustest.packs import when as date_and_commit
from robustest_training.probes import Loss, Probe, gradient_of, in_a_row, probe, put, trained_weights

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
    when: str = ""  # date and commit if it was cached; empty if it was trained now

    def column(self, name: str) -> Tensor:
        return self.probes[:, _COLUMNS.index(name)]


class ProbedTrainings:
    """Trains nets on a course, or loads their traces.

    Attributes:
        why_not: reason why nothing is cached, or "".
    """

    def __init__(self, loss: Loss, batches: Batches, course: Course, settings: Settings) -> None:
        self.why_not = ""
        self._loss, self._batches, self._course, self._settings = loss, batches, course, settings
        self._store = Store.of(settings)
        self._key: Key | None = None
        if self._store is not None:
            about = {"loss": loss, "batches": list(batches), "course": course}
            # The key covers the net that the factory built (code and weights), the loss, the batches, the course and
            # the seed.
            try:
                self._key = key_of("probed training", about, settings, asked=False)
            except Unhashable as error:
                self.why_not = f"not remembered: {error}"

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
            begun = digest([weight.detach().cpu() for weight in weights])
            key = self._key_of(net, weights, number)
            # The key of the net asked it for a gradient, which may have drawn.
            seed_draws(draws)
            if self._store is None or key is None:
                return self._trained(net, weights, draws, begun)
            entry = self._store.load(key)
            found = None if entry is None else _trace_of(entry)
            if found is not None and not self._store.doubted():
                return found
            with key.watching():
                trace = self._trained(net, weights, draws, begun)
            if found is None:
                self._store.save(key, _entry_of(trace))
                if self._store.unknowable:
                    self.why_not = f"not remembered: the training {self._store.unknowable}"
            elif not torch.equal(found.probes, trace.probes):
                raise StoreError(
                    "Expected a remembered training to come out alike again but the probes of its loss differ. "
                    "Something that the net or the loss depends on shows neither in their code nor in what they read: "
                    "run with --robust-no-cache, or delete the store."
                )
        return trace if found is None else found

    def _key_of(self, net: nn.Module, weights: list[Tensor], number: int) -> Key | None:
        if self._key is None:
            return None
        # Not all code that a net depends on can be read, so the first batch's loss and gradient are part of the key:
        # training multiplies the slightest change.
        asked = copy.deepcopy(net)
        x, y = _on(weights[0].device, self._batches[0])
        level, gradient = gradient_of(asked, self._loss, x, y, trained_weights(asked))
        try:
            return self._key.part(net, weights[0].device.type, number, level, gradient.cpu())
        except Unhashable as error:
            self.why_not = f"not remembered: {error}"
            return None

    def _trained(self, net: nn.Module, weights: list[Tensor], key: Tensor, begun: str) -> Trace:
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
        return Trace(
            probes=torch.tensor(probes, dtype=torch.float64),
            final=final / len(self._batches),
            begun=begun,
            passed=passed + sum(len(x) for x, _ in self._batches),
        )

    def _at(self, key: Tensor, step: int) -> int:
        n = len(self._batches)
        keys = rng.fold(rng.fold(rng.keys(int(key[0]), torch.arange(n)), "batches"), step // n)
        return int(keys.argsort(stable=True)[step % n])


def _trace_of(entry: Entry) -> Trace:
    return Trace(probes=entry.arrays["probes"], **entry.meta)


def _entry_of(trace: Trace) -> Entry:
    meta = {"final": trace.final, "begun": trace.begun, "passed": trace.passed, "when": date_and_commit()}
    return Entry({"probes": trace.probes}, meta)


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
