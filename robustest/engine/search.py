"""Moving rows of per-sample tensors about."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustest.attacks import Evaluation, Needs, Problem, Searcher, at_once, confined, draws_of
from robustest.engine.evaluator import Evaluator, majority
from robustest.threats import Bounds, Rows, Threat, per_row, within


def pick(rows: Rows, which: Tensor | slice) -> Rows:
    """The chosen rows: an index, a mask or a slice."""
    return {name: value[which] for name, value in rows.items()}


def join(first: Rows, second: Rows) -> Rows:
    """The rows of both, one after the other."""
    return {name: torch.cat([value, second[name]]) for name, value in first.items()}


def pick_problem(problem: Problem, which: Tensor | slice) -> Problem:
    """A problem of the chosen rows."""
    return replace(problem, region=pick(problem.region, which), y=problem.y[which])


def join_problems(first: Problem, second: Problem) -> Problem:
    """A problem of both problems' rows."""
    return replace(first, region=join(first.region, second.region), y=torch.cat([first.y, second.y]))


# The rows of a search that step together.


@dataclass(slots=True)
class Batch:
    """Rows that step together.

    What the host wants to know of them in every round it keeps as plain numbers: asking tensors costs as much as a
    small model's pass.
    """

    problem: Problem
    state: Rows
    position: Tensor  # rows of the chunk, on the device
    alive: Tensor  # not broken yet
    margin: Tensor  # smallest seen
    born: Tensor  # the round each was admitted in, on the host
    whole: bool  # the host knows that every row is alive
    changed: bool = True  # a row was broken, or rows came or went, since the batch was last compacted
    oldest: int = 0  # of `born`
    newest: int = 0
    _wide: Rows | None = None

    def __post_init__(self) -> None:
        self.oldest, self.newest = int(self.born.min()), int(self.born.max())

    def region(self, lanes: int) -> Rows:
        """The threat's rows, each as often in a row as it has proposals at once (0 and 1: once)."""
        if lanes <= 1:
            return self.problem.region
        if self._wide is None:
            self._wide = {name: value.repeat_interleave(lanes, 0) for name, value in self.problem.region.items()}
        return self._wide


def join_batches(first: Batch, second: Batch) -> Batch:
    """The rows of both, one after the other."""
    return Batch(
        join_problems(first.problem, second.problem),
        join(first.state, second.state),
        torch.cat([first.position, second.position]),
        torch.cat([first.alive, second.alive]),
        torch.cat([first.margin, second.margin]),
        torch.cat([first.born, second.born]),
        whole=first.whole and second.whole,
    )


def pick_batch(batch: Batch, rows: Tensor) -> Batch:
    """The chosen rows: a mask or an index, on any device."""
    here = rows.to(batch.position.device)
    return Batch(
        pick_problem(batch.problem, here),
        pick(batch.state, here),
        batch.position[here],
        batch.alive[here],
        batch.margin[here],
        batch.born[rows.to(batch.born.device)],
        whole=batch.whole,
    )


# One attack on one chunk of samples: continuous batching, and the engine as judge.
#
# The algorithm, until no sample is left:
#
# 1. Admit: fill the batch up with samples that were not attacked yet, each with a state of its own from `init`.
# 2. End: rows that had all their steps have their last proposal evaluated, and leave.
# 3. Step: `ask` for proposals, project them into the threat's region, evaluate them, note which are misclassified
# there,
#    and `tell` the searcher. PGD, for one, is `z = project(z + step * sign(gradient))`: the gradient and the projection
#    are made here, the step in its `tell`.
# 4. Compact: drop broken rows where they are many, which makes room for 1.
#
# Then judge: project and render the best point of each row, and predict it afresh. Nothing but that counts as broken.
#


_KEEP = 7 / 8
"""Rows that are broken are dropped once fewer than this share of a batch is alive: copying costs too."""
_LOOK = 5
"""On an accelerator the host looks at the device only every so many rounds."""
_LIGHT = 2**18
"""Elements that the proposals of a round may have whatever the batch size is: 1 MiB."""


@dataclass(slots=True)
class SearchOutcome:
    """What a search found; rows as in the samples given.

    Attributes:
        broken: (N,) bool: the input in `x` is inside the region and misclassified.
        x: (N, *S) the inputs found; the best attempt, or the sample itself, where nothing was found.
        size: (N,) float64, the threat's size of `x`.
        predicted: (N, *T), what the model says of `x` where broken, else the target.
        margin: (N,) float32, the smallest of the task's margins seen.
    """

    broken: Tensor
    x: Tensor
    size: Tensor
    predicted: Tensor
    margin: Tensor


def bucket(rows: int) -> int:
    """Rows that a batch keeps for so many that are alive, where shapes shall repeat: the next power of two.

    Accelerators choose kernels, and compiled models are compiled, for shapes: a handful serve a whole run.
    """
    return 1 << max(0, rows - 1).bit_length()


class Search:
    """One searcher against one chunk. Rows are admitted, stepped, dropped and refilled until none is left."""

    def __init__(
        self,
        evaluator: Evaluator,
        searcher: Searcher,
        threat: Threat,
        bounds: Bounds,
        *,
        smallest: bool = False,
        attempts: bool = False,
        probe: bool = False,
    ) -> None:
        """Prepare a search.

        Args:
            evaluator: makes the model's passes.
            searcher: proposes.
            threat: judges what is inside.
            bounds: the input's bounds.
            smallest: go on after a success, for the smallest one; else a broken row is dropped.
            attempts: keep the proposal with the smallest margin of rows that are never broken.
        """
        self.evaluator = evaluator
        self._task = evaluator.task
        self.searcher = searcher
        self.threat = threat
        self.bounds = bounds
        self._confined = confined(searcher, threat)
        self._draws = draws_of(searcher)
        self._lanes = at_once(searcher)
        self._smallest = smallest
        self._attempts = attempts
        self._probe = probe
        self._eager = evaluator.device.type == "cpu"

    def run(self, x: Tensor, y: Tensor, key: Tensor, *, followed: int = 0) -> SearchOutcome:
        """Attack samples the model gets right.

        Args:
            x: (N, *S) on the evaluator's device.
            y: (N, *T) targets.
            key: (N,) keys of the samples' randomness.
            followed: `alive` tells afterwards, of so many of the first samples, where the search had a gradient.
        """
        region = self.threat.region(x, self.bounds)
        # A searcher gets arrays of its own: one that works in place moves neither the samples nor the judge.
        own = {name: value.clone() for name, value in region.items()}
        whole = Problem(self.threat, own, y.clone(), self.evaluator.classes, self.bounds, self._task)
        self._best = self.threat.origin(region).clone()
        # A row more than are followed takes what is told of all others, so that the device is never asked who is who.
        follow = followed and self.searcher.needs is Needs.GRADIENT and self._best.shape == x.shape
        self._alive = torch.zeros((followed + 1, *x.shape[1:]), dtype=torch.bool, device=x.device) if follow else None
        self._hit = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self._size = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        self._margin = torch.full((len(x),), torch.inf, device=x.device)
        self._round = 0
        batch, admitted, n = None, 0, len(x)
        while True:
            room = self._rows(x) - (0 if batch is None else len(batch.position)) if admitted < n else 0
            if room > 0:
                fresh = slice(admitted, min(n, admitted + room))
                batch = self._admit(batch, whole, key, fresh)
                admitted = fresh.stop
            if batch is None:
                break
            batch = self._end(batch)
            if batch is None:
                continue
            self._step(batch)
            batch = self._compact(batch)
        return self._judge(region, y)

    @property
    def alive(self) -> Tensor | None:
        """(followed, *S) bool: elements of the followed samples that had a gradient at some point of the last run.

        None where the search follows no gradient, or where its proposals are no inputs.
        """
        return None if self._alive is None else self._alive[:-1]

    def _rows(self, x: Tensor) -> int:
        """How many samples like x (N, *S) step together: what they propose at once shall fill a batch, or be small."""
        if self._lanes <= 1:
            return self.evaluator.batch_size
        few = _LIGHT // (self._lanes * x[0].numel())  # the evaluator parts them; their state weighs nothing
        return max(1, self.evaluator.batch_size // self._lanes, few)

    def _admit(self, batch: Batch | None, whole: Problem, key: Tensor, rows: slice) -> Batch:
        problem = pick_problem(whole, rows)
        fresh = Batch(
            problem,
            self.searcher.init(problem, key[rows]),
            torch.arange(rows.start, rows.stop, device=key.device),
            torch.ones(len(problem.y), dtype=torch.bool, device=key.device),
            torch.full((len(problem.y),), torch.inf, device=key.device),
            torch.full((len(problem.y),), self._round),
            whole=self._eager,
        )
        return fresh if batch is None else join_batches(batch, fresh)

    def _proposals(self, batch: Batch) -> Tensor:
        """(B, *Z) where the model is to be evaluated; (B A, *Z) where a row makes A proposals at once."""
        z = self.searcher.ask(batch.problem, batch.state)
        if self._lanes:
            z = z.flatten(0, 1)
        return self.threat.project(z, batch.region(self._lanes)) if self._confined else z.clamp(*self.bounds)

    def _evaluated(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Proposals and logits without gradients, as searchers are told of them; what they showed is noted."""
        z = self._proposals(batch)
        logits = self._logits(self.threat.render(z, batch.region(self._lanes)))
        if not self._lanes:
            self._note(batch, z, logits)
            return z, logits
        z, logits = (rows.view(-1, self._lanes, *rows.shape[1:]) for rows in (z, logits))
        if self._smallest or not self._confined:  # the smallest success need not have the smallest margin
            for lane in range(self._lanes):
                self._note(batch, z[:, lane], logits[:, lane])
        else:
            best = torch.arange(len(z), device=z.device), self._task.margin(logits, batch.problem.y).argmin(1)
            self._note(batch, z[best], logits[best])
        return z, logits

    def _step(self, batch: Batch) -> None:
        """One round: ask, evaluate, note what broke, tell."""
        problem, state = batch.problem, batch.state
        gradient = None
        if self.searcher.needs is Needs.GRADIENT:
            z = self._proposals(batch)
            logits, gradient = self._differentiated(problem, state, z)
            if batch.newest == self._round and not self._probe:
                self._watch(batch, gradient)
            if self._alive is not None:  # rows of a batch are in the order of the samples: the first ones come first
                first = len(self._alive) - 1
                place = batch.position[:first].clamp(max=first)
                self._alive[place] |= gradient[:first] != 0
            self._note(batch, z, logits)
        else:
            z, logits = self._evaluated(batch)
        batch.state = self.searcher.tell(problem, state, Evaluation(z, logits, gradient))
        self._round += 1

    def _differentiated(self, problem: Problem, state: Rows, z: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K) at z, and the gradient of the searcher's objective."""
        whole = slice(0, z.shape[0])

        def render(point: Tensor, part: slice) -> Tensor:
            return self.threat.render(point, problem.region if part == whole else pick(problem.region, part))

        def objective(logits: Tensor, part: slice) -> Tensor:
            if part == whole:
                return self.searcher.objective(problem, state, logits)
            return self.searcher.objective(pick_problem(problem, part), pick(state, part), logits)

        return self.evaluator.gradient(z, render, objective, draws=self._draws)

    def _logits(self, x: Tensor) -> Tensor:
        """(B, K) logits, the mean of a randomised model's."""
        if self._draws == 1:
            return self.evaluator.logits(x)
        return torch.stack([self.evaluator.logits(x) for _ in range(self._draws)]).mean(0)

    def _watch(self, batch: Batch, gradient: Tensor) -> None:
        """Count rows whose first gradient is zero everywhere."""
        first = batch.born == self._round
        rows = gradient[first.to(gradient.device)].flatten(1)
        self.evaluator.health.count("zero_gradient", failed=int((rows == 0).all(1).sum()), tried=len(rows))

    def _end(self, batch: Batch) -> Batch | None:
        """Evaluate the last proposal of rows that had all their rounds, without a gradient, and let them go."""
        last = self._round - self.searcher.steps
        if batch.oldest > last:
            return batch
        over = batch.born <= last
        ending = batch if batch.newest <= last else pick_batch(batch, over)
        self._evaluated(ending)
        self._margin[ending.position] = ending.margin
        return None if ending is batch else pick_batch(batch, ~over)

    def _note(self, batch: Batch, z: Tensor, logits: Tensor) -> None:
        """Keep what these evaluations showed: new successes, smaller ones, better attempts."""
        margin = self._task.margin(logits, batch.problem.y)
        quiet = self._eager and margin.amin().item() > 0  # no row is misclassified
        size = None
        if not self._confined or self._smallest:
            if quiet and not bool((margin < batch.margin).any()):
                return
            size = self.threat.size(z, batch.problem.region)
            inside = within(size, self.threat)
            margin = torch.where(inside, margin, torch.inf)
        if self._attempts or self._draws > 1:
            self._store(batch, z, (margin < batch.margin) & ~self._hit[batch.position])
        # A broken row goes on until the batch is compacted, which depends on its neighbours: its margin must not.
        least = torch.minimum(batch.margin, margin)
        batch.margin = least if batch.whole else torch.where(batch.alive, least, batch.margin)
        # No success on some draws ends a search: the judge looks at the best point, on fresh ones.
        if quiet or self._draws > 1:
            return
        hit = batch.alive & ~self._task.holds(logits, batch.problem.y)
        if size is not None:
            hit = hit & inside
        if self._eager and not bool(hit.any()):
            return
        self._take(batch, z, hit, size)

    def _take(self, batch: Batch, z: Tensor, hit: Tensor, size: Tensor | None) -> None:
        """Keep the successes at `hit` (B,); their sizes (B,) are given where they matter."""
        if self._smallest and size is not None:
            hit = hit & (size < self._size[batch.position])
            self._size[batch.position] = torch.where(hit, size, self._size[batch.position])
        else:
            batch.alive = batch.alive & ~hit
            batch.whole, batch.changed = False, True
        self._store(batch, z, hit)
        self._hit[batch.position] |= hit

    def _store(self, batch: Batch, z: Tensor, which: Tensor) -> None:
        if self._eager:
            at = which.nonzero().squeeze(1)
            self._best[batch.position[at]] = z[at]
        else:  # the same without asking the device how many there are
            self._best[batch.position] = torch.where(per_row(which, z), z, self._best[batch.position])

    def _compact(self, batch: Batch) -> Batch | None:
        """Drop broken rows, where they are many."""
        if self._eager:
            if not batch.changed:
                return batch
        elif self._round % _LOOK:
            return batch
        batch.changed = False
        alive = int(batch.alive.sum())
        if alive == 0:
            self._margin[batch.position] = batch.margin
            return None
        keep = alive if self._eager else bucket(alive)
        if keep > _KEEP * len(batch.alive):
            return batch
        self._margin[batch.position] = batch.margin
        # Where shapes shall repeat, the first of the broken rows fill up the bucket.
        rows = batch.alive if self._eager else batch.alive.logical_not().to(torch.int8).argsort(stable=True)[:keep]
        return pick_batch(batch, rows)

    def _judge(self, region: Rows, y: Tensor) -> SearchOutcome:
        """Re-predict what was found, on the very arrays that are kept."""
        z = self.threat.project(self._best, region)
        x = self.threat.render(z, region)
        size = self.threat.size(z, region)
        predicted, wrong = y.clone(), torch.zeros_like(self._hit)
        at = self._hit.nonzero().squeeze(1)
        if self._draws > 1:
            predicted, missed = majority(self.evaluator, x, y, self._draws)
            wrong = 2 * missed > self._draws
        elif len(at):
            seen = self.evaluator.judged(x[at], y[at])
            predicted[at], wrong[at] = seen.predicted.to(predicted), ~seen.holds
        broken = wrong & within(size, self.threat)
        return SearchOutcome(broken, x, size, predicted, self._margin)


def merge(found: SearchOutcome, part: SearchOutcome, rows: Tensor, *, attempts: bool) -> None:
    """Take over what a later search found on some rows."""
    better = part.broken | ((part.margin < found.margin[rows]) if attempts else False)
    at = rows[better]
    found.x[at], found.size[at], found.predicted[at] = part.x[better], part.size[better], part.predicted[better]
    found.broken[rows] |= part.broken
    found.margin[rows] = torch.minimum(found.margin[rows], part.margin)
