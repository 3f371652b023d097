"""One attack on one chunk of samples: continuous batching, and the engine as judge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.attacks import Evaluation, Problem, Searcher
from robustest.engine.evaluator import Evaluator
from robustest.engine.rows import join, join_problems, pick, pick_problem
from robustest.threats import Bounds, Rows, Threat

_KEEP = 7 / 8
"""Rows that are broken are dropped once fewer than this share of a batch is alive: copying costs too."""
_LOOK = 5
"""On an accelerator the host looks at the device only every so many rounds."""


@dataclass(slots=True)
class Found:
    """What a search found; rows as in the samples given.

    Attributes:
        broken: (N,) bool: some input of the region, stored in `x`, is misclassified.
        x: (N, *S) the inputs found; the sample itself where nothing was found.
        size: (N,) float64, the threat's size of what was found.
        predicted: (N,) int64, what the model says of `x`.
        margin: (N,) float32, smallest margin seen: logit of the label minus the largest other.
    """

    broken: Tensor
    x: Tensor
    size: Tensor
    predicted: Tensor
    margin: Tensor


@dataclass(slots=True)
class _Batch:
    problem: Problem
    state: Rows
    position: Tensor  # rows of the chunk, on the device
    alive: Tensor  # not broken yet
    age: Tensor  # rounds had, on the host


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """(B,) logit of the label minus the largest other; negative where misclassified."""
    own = logits.gather(1, y.view(-1, 1)).squeeze(1)
    return own - logits.scatter(1, y.view(-1, 1), -torch.inf).amax(1)


class Search:
    """One searcher against one chunk. Rows are admitted, stepped, dropped and refilled until none is left."""

    def __init__(self, evaluator: Evaluator, searcher: Searcher, threat: Threat, bounds: Bounds) -> None:
        self.evaluator = evaluator
        self.searcher = searcher
        self.threat = threat
        self.bounds = bounds

    def run(self, x: Tensor, y: Tensor, key: Tensor) -> Found:
        """Attack samples the model gets right.

        Args:
            x: (N, *S) on the evaluator's device.
            y: (N,) labels.
            key: (N,) keys of the samples' randomness.
        """
        region = self.threat.region(x, self.bounds)
        whole = Problem(self.threat, region, y, self.evaluator.classes)
        self._best = self.threat.origin(region).clone()
        self._hit = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self._margin = torch.full((len(x),), torch.inf, device=x.device)
        look = 1 if x.device.type == "cpu" else _LOOK
        batch, admitted, rounds = None, 0, 0
        while True:
            room = self.evaluator.batch_size - (0 if batch is None else len(batch.position))
            if admitted < len(x) and room > 0:
                fresh = slice(admitted, min(len(x), admitted + room))
                batch = self._admit(batch, whole, key, fresh)
                admitted = fresh.stop
            if batch is None:
                break
            batch = self._end(batch)
            if batch is None:
                continue
            self._step(batch)
            rounds += 1
            if rounds % look == 0:
                batch = self._compact(batch)
        return self._judge(region, y)

    def _admit(self, batch: _Batch | None, whole: Problem, key: Tensor, rows: slice) -> _Batch:
        problem = pick_problem(whole, rows)
        state = self.searcher.init(problem, key[rows])
        position = torch.arange(rows.start, rows.stop, device=key.device)
        alive = torch.ones(len(position), dtype=torch.bool, device=key.device)
        age = torch.zeros(len(position), dtype=torch.int64)
        if batch is None:
            return _Batch(problem, state, position, alive, age)
        return _Batch(
            join_problems(batch.problem, problem),
            join(batch.state, state),
            torch.cat([batch.position, position]),
            torch.cat([batch.alive, alive]),
            torch.cat([batch.age, age]),
        )

    def _step(self, batch: _Batch) -> None:
        """One round: ask, evaluate with a gradient, note what broke, tell."""
        problem, state = batch.problem, batch.state
        z = self.threat.project(self.searcher.ask(problem, state), problem.region)

        def render(point: Tensor, part: slice) -> Tensor:
            return self.threat.render(point, pick(problem.region, part))

        def objective(logits: Tensor, part: slice) -> Tensor:
            if part.stop - part.start == len(z):
                return self.searcher.objective(problem, state, logits)
            return self.searcher.objective(pick_problem(problem, part), pick(state, part), logits)

        logits, gradient = self.evaluator.gradient(z, render, objective)
        self._note(batch, z, logits)
        batch.state = self.searcher.tell(problem, state, Evaluation(z, logits, gradient))
        batch.age += 1

    def _end(self, batch: _Batch) -> _Batch | None:
        """Evaluate the last proposal of rows that had all their rounds, without a gradient, and let them go."""
        over = batch.age >= self.searcher.steps
        if not bool(over.any()):
            return batch
        ending = _pick(batch, over)
        region = ending.problem.region
        z = self.threat.project(self.searcher.ask(ending.problem, ending.state), region)
        self._note(ending, z, self.evaluator.logits(self.threat.render(z, region)))
        return None if bool(over.all()) else _pick(batch, ~over)

    def _note(self, batch: _Batch, z: Tensor, logits: Tensor) -> None:
        margin = margins(logits, batch.problem.y)
        self._margin[batch.position] = torch.minimum(self._margin[batch.position], margin)
        hit = (logits.argmax(1) != batch.problem.y) & batch.alive
        batch.alive = batch.alive & ~hit
        if z.device.type == "cpu":
            at = hit.nonzero().squeeze(1)
            self._best[batch.position[at]] = z[at]
            self._hit[batch.position[at]] = True
        else:  # the same without asking the device how many there are
            old = self._best[batch.position]
            self._best[batch.position] = torch.where(hit.view(-1, *[1] * (z.ndim - 1)), z, old)
            self._hit[batch.position] |= hit

    def _compact(self, batch: _Batch) -> _Batch | None:
        alive = int(batch.alive.sum())
        if alive == 0:
            return None
        return _pick(batch, batch.alive) if alive <= _KEEP * len(batch.alive) else batch

    def _judge(self, region: Rows, y: Tensor) -> Found:
        """Re-predict what was found, on the very arrays that are kept."""
        z = self.threat.project(self._best, region)
        x = self.threat.render(z, region)
        size = self.threat.size(z, region)
        predicted = y.clone()
        at = self._hit.nonzero().squeeze(1)
        if len(at):
            predicted[at] = self.evaluator.logits(x[at]).argmax(1)
        broken = (predicted != y) & (size <= self.threat.radius * (1 + 1e-6))
        return Found(broken, x, size, predicted, self._margin)


def _pick(batch: _Batch, rows: Tensor) -> _Batch:
    here = rows.to(batch.position.device)
    return _Batch(
        pick_problem(batch.problem, here),
        pick(batch.state, here),
        batch.position[here],
        batch.alive[here],
        batch.age[rows.to(batch.age.device)],
    )
