"""A search on one half of the samples that is evaluated on the other, and a second model beside the measured one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from robustest import rng
from robustest.data import Samples
from robustest.engine.answer_checks import ask_again, check_forward, check_model
from robustest.engine.chunks import Chunk, load
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import probe_gradient
from robustest.errors import ConfigError, DataError
from robustest.identity.fingerprint import fingerprint
from robustest.models import Classifier, as_classifier, frozen
from robustest.results import Result
from robustest.run.evidence import Evidence, Tally
from robustest.run.options import Options
from robustest.settings import Settings
from robustest.tasks.class_losses import cross_entropy


@dataclass(frozen=True, slots=True)
class Halves:
    """The samples of a search, and the samples that evaluate its result.

    Attributes:
        searched: (m,) int64 positions, in the seeded order.
        unseen: (n,) int64 positions, rising.
    """

    samples: Samples
    searched: Tensor
    unseen: Tensor

    @classmethod
    def of(cls, samples: Samples, seed: int, most: int) -> Halves:
        """Return half of the samples, at most `most`, to search on; all others evaluate.

        Raises:
            DataError: there are fewer than two samples.
        """
        if len(samples) < 2:
            raise DataError(f"Expected two samples or more, to search on and to judge on, but got {len(samples)}.")
        # By the seed, so that the halves do not depend on an order in the data, such as by class.
        order = rng.permutation(seed, len(samples))
        count = min(most, len(order) // 2)
        return cls(samples, order[:count], order[count:].sort().values)

    @property
    def view(self) -> Samples:
        """Return the samples that evaluate, with positions from 0."""
        whole = self.samples
        return Samples(
            lambda ids: whole.take(self.unseen[ids]),
            len(self.unseen),
            slow=whole.slow,
            coding=whole.coding,
            sample_rate=whole.sample_rate,
        )

    def whole(self, result: Result) -> Result:
        outcomes: list[bool | None] = [None] * len(self.samples)
        for at, outcome in zip(self.unseen.tolist(), result.outcomes, strict=True):
            outcomes[at] = outcome
        return result.but(n_total=len(self.samples), outcomes=tuple(outcomes))


@dataclass(slots=True)
class Bench:
    """A model ready to be searched.

    Attributes:
        chunk: the samples of the search, (m, *S).
        tally: cost of the search; complete after the block of `opened`.
    """

    evaluator: Evaluator
    chunk: Chunk
    tally: Tally = field(default_factory=Tally)

    @classmethod
    @contextmanager
    def opened(cls, model: Classifier, halves: Halves, settings: Settings) -> Iterator[Bench]:
        """Return a block with the frozen model and the samples of the search.

        Raises:
            RobustestError: something could not be measured.
        """
        started = time.perf_counter()
        with torch.inference_mode(False), frozen(model.module) as notes:
            evaluator = Evaluator.of(model, settings, notes)
            chunk = load(
                halves.samples, halves.searched, bounds=model.bounds, seed=settings.seed, device=evaluator.device
            )
            early = check_model(evaluator, chunk, settings.suppress)
            made = cls(evaluator, chunk)
            yield made
            if evaluator.backward:
                probe_gradient(evaluator, chunk, searched=False)
            ask_again(evaluator, early)
            evaluator.require_finite()
            made.tally = Tally.of(evaluator).since(Tally(), time.perf_counter() - started)

    def answers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions (B,) int64 and logits (B, K) of inputs x (B, *S)."""
        logits = self.evaluator.logits(x)
        return self.evaluator.task.predictions(logits), logits

    def gradient(self, points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, K) at points (B, *S), and the gradient (B, *S) of the cross-entropy to targets (B,)."""

        def objective(logits: Tensor, part: slice) -> Tensor:
            return cross_entropy(logits, targets[part])

        return self.evaluator.gradient(points, lambda z, _: z, objective)


@dataclass(slots=True)
class SecondModel:
    """Another model that is asked beside the measured one.

    Attributes:
        evaluator: makes and counts its passes.
    """

    evaluator: Evaluator
    settings: Settings

    @classmethod
    @contextmanager
    def opened(
        cls, model: object, first: Classifier, settings: Settings, options: Options, name: str
    ) -> Iterator[SecondModel]:
        """Return a block with a second model, frozen.

        Args:
            first: the measured model.
            options: bounds and preprocessing of both models.
            name: the argument that gave the model.

        Raises:
            ConfigError: it is the first model, or has its weights and code, or is no model.
        """
        second = as_classifier(model, bounds=options.get("bounds"), preprocessing=options.get("preprocessing"))
        same = second.call is first.call or (second.module is not None and second.module is first.module)
        digests = [fingerprint(one.call, one.module, one.preprocessing).digest for one in (first, second)]
        if same or (digests[0] is not None and digests[0] == digests[1]):
            raise ConfigError(f"Expected {name}= to be another model but got the one that is measured.")
        if second.bounds != first.bounds:
            raise ConfigError(
                f"Expected {name}= to take inputs in {first.bounds}, as the model does, but got {second.bounds}."
            )
        suppress = (*settings.suppress, "softmax_outputs")  # it is not attacked
        with torch.inference_mode(False), frozen(second.module) as notes:
            device = second.place(settings.device)
            evaluator = Evaluator(second, device, batch_size=settings.batch_size, suppress=suppress, notes=notes)
            yield cls(evaluator, settings)
            evaluator.require_finite()

    def given(self, chunk: Chunk, *, random: bool = False, gradients: bool = False) -> Chunk:
        """Return a chunk on this model's device; the first one is used for the checks that the engine makes of a model.

        Args:
            random: True if it may answer at random, as the measured model does.
            gradients: True if its gradients are used.

        Raises:
            RobustestError: a check failed.
        """
        there = replace(chunk, x=chunk.x.to(self.evaluator.device), y=chunk.y.to(self.evaluator.device))
        if not self.evaluator.classes:
            suppress = ("random_forward",) if random else self.settings.suppress
            check_forward(self.evaluator, there, suppress)
            self.evaluator.check_labels(there.y)
        if gradients and not self.evaluator.probed:
            probe_gradient(self.evaluator, there, searched=False)
        return there

    def included(self, evidence: Evidence) -> Evidence:
        """Return evidence with the passes and the health findings of this model."""
        # The chunks have its time.
        return evidence.with_search(replace(Tally.of(self.evaluator), seconds=0.0), self.settings)
