"""One attack on one chunk of samples: continuous batching, with the engine as judge."""

# The algorithm, each step a method of `Batch`, until no sample is left:
#
# 1. `admit`: fill the batch up with samples that were not attacked yet, each with its own state from `init`.
# 2. `end`: take out the rows that had all their steps; their last proposal is evaluated, and they leave.
# 3. `step`: `ask` for proposals, project them into the threat's region, evaluate them, `keep` those that are
#    misclassified, and `tell` the searcher. PGD, for one, is `z = project(z + step * sign(gradient))`: gradient and
#    projection are made here, the step in its `tell`.
# 4. `compact`: drop broken rows where they are many, which makes room for 1.
#
# Then `judge`: project and render the best point of each row, and predict it afresh. Nothing but that counts as broken,
# so an attack cannot report a success that is outside the threat or that the model does not confirm.

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustest import devices
from robustest.attacks import Evaluation, Needs, Problem, Searcher, at_once, confined, draws_of
from robustest.engine.evaluator import Evaluator, Objective, Render, majority
from robustest.tasks import top_of
from robustest.threats import Bounds, Rows, Threat, is_discrete, per_row, rendered, within

# Broken rows are dropped once fewer than this share of a batch is alive: copying costs too.
_KEEP = 7 / 8
# On an accelerator the host looks at the device only every fifth round: a look waits for it.
_LOOK = 5
# A round's proposals may have this number of elements at any batch size: 1 MiB.
_LIGHT = 2**18


# The least probability whose logarithm is taken.
TINY = 1e-30


def on_scale(scores: Tensor) -> Tensor:
    """Return scores (n, K) on a log scale where they look like probabilities, whose leads saturate."""
    return scores.clamp(min=TINY).log() if shares(scores) else scores


def shares(scores: Tensor) -> bool:
    """Return True for scores (n, K) that look like probabilities."""
    scores = scores.detach()
    return bool((scores >= 0).all() & ((scores.sum(1) - 1).abs() < 1e-3).all())


@dataclass(slots=True)
class Still:
    """The queries of N samples whose scores were to the bit those of another input, the one before.

    Attributes:
        asked: (N,) queries of an input that differs from the one before.
        flat: (N,) those of them that changed no score.
        change: (N,) the sum over the others of the largest change of a score.
    """

    asked: Tensor
    flat: Tensor
    change: Tensor

    @classmethod
    def none(cls, n: int, device: torch.device) -> Still:
        return cls(*(torch.zeros(n, dtype=torch.float64, device=device) for _ in range(3)))

    def add(self, at: Tensor, other: Still) -> None:
        """Add the queries of rows `at` (m,), with repetitions."""
        for own, more in ((self.asked, other.asked), (self.flat, other.flat), (self.change, other.change)):
            own.index_add_(0, at, more)


@dataclass(slots=True)
class SearchOutcome:
    """The outcome of a search on N samples.

    Attributes:
        broken: (N,) bool: the input in `x` is inside the region and misclassified.
        x: (N, *S) the input found, the best attempt, or the sample itself.
        size: (N,) float64, of `x` in the threat.
        predicted: (N, *P), the prediction of `x` where broken; means nothing elsewhere.
        margin: (N,) float32, the task's smallest margin on the way.
        alive: (followed, *S) bool: elements that had a gradient at some point of the search. None where the search
            follows no gradient, or where its proposals are no inputs.
        still: how often scores alone stayed as they were; None for searches that follow no scores.
    """

    broken: Tensor
    x: Tensor
    size: Tensor
    predicted: Tensor
    margin: Tensor
    alive: Tensor | None = None
    still: Still | None = None

    def merge(self, part: SearchOutcome, rows: Tensor, better: Tensor) -> None:
        """Add the outcome of a later search on rows (m,) int64; those at `better` (k,) int64 have better inputs."""
        if len(better):
            at = rows[better]
            self.x[at], self.size[at], self.predicted[at] = part.x[better], part.size[better], part.predicted[better]
        self.broken[rows] |= part.broken
        self.margin[rows] = torch.minimum(self.margin[rows], part.margin)

    def best_of(self, rounds: int) -> SearchOutcome:
        """Return the outcome of N / rounds samples with `rounds` rows each: the first success, or the least margin."""
        margin = self.margin.view(-1, rounds)
        lane = torch.where(self.broken.view(-1, rounds), -torch.inf, margin).argmin(1)
        at = torch.arange(len(lane), device=lane.device) * rounds + lane
        return SearchOutcome(self.broken[at], self.x[at], self.size[at], self.predicted[at], margin.amin(1))


def search(
    evaluator: Evaluator,
    searcher: Searcher,
    threat: Threat,
    x: Tensor,
    y: Tensor,
    *,
    key: Tensor,
    bounds: Bounds,
    smallest: bool = False,
    attempts: bool = False,
    probe: bool = False,
    followed: int = 0,
    region: Rows | None = None,
) -> SearchOutcome:
    """Attack samples that the model gets right.

    Args:
        x: (N, *S) on the evaluator's device.
        y: (N, *T) targets.
        key: (N,) int64.
        smallest: go on after a success, for the smallest one; else a broken row is dropped.
        attempts: keep the proposal with the smallest margin of rows that are never broken.
        probe: an experiment beside the claim: its zero gradients do not count for the health checks.
        followed: the number of first samples for `SearchOutcome.alive`.
        region: the threat's rows for these samples, if they are known; nobody else changes or keeps them.
    """
    batch = Batch(
        evaluator,
        searcher,
        threat,
        x,
        y,
        key=key,
        bounds=bounds,
        smallest=smallest,
        attempts=attempts,
        probe=probe,
        followed=followed,
        region=region,
    )
    while batch.admit():
        ending = batch.end()
        if ending is not None:
            batch.step(ending, final=True)
        if batch.rows is not None:
            batch.step(batch.rows)
            batch.compact()
    return batch.judge()


class Batch:
    """A search under way: the rows in flight, and the best point that was found for each of N samples.

    Attributes:
        rows: the rows in flight; None where there are none.
        admitted: number of samples admitted so far, in their order.
        round: number of rounds that rows in flight have made.
        best: (N, *Z) the point kept for each sample; the sample itself at first.
        hit: (N,) bool: that point was misclassified when it was evaluated.
        size: (N,) float64, of that point; infinite unless the smallest success is searched for.
        margin: (N,) float32, the smallest margin on the way, of samples that have left.
        alive: (followed + 1, *S) bool: elements that had a gradient; None where no gradient is followed.
        still: how often scores stayed as they were; None where a search sees more, or less, than scores.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        searcher: Searcher,
        threat: Threat,
        x: Tensor,
        y: Tensor,
        *,
        key: Tensor,
        bounds: Bounds,
        smallest: bool = False,
        attempts: bool = False,
        probe: bool = False,
        followed: int = 0,
        region: Rows | None = None,
    ) -> None:
        """Prepare a search; arguments as for `search`."""
        self.evaluator, self.searcher, self.threat = evaluator, searcher, threat
        self.key, self.smallest, self.attempts, self.probe, self.followed = key, smallest, attempts, probe, followed
        self.confined, self.draws, self.lanes = confined(searcher, threat), draws_of(searcher), at_once(searcher)
        self.climbs = searcher.needs is Needs.GRADIENT
        # Reading a number from a CPU tensor costs little, so that every round may look.
        self.eager = devices.on_host(evaluator.device)
        self.region, self.y = threat.region(x, bounds) if region is None else region, y
        # The searcher gets its own arrays: one that works in place moves neither the samples nor the judge.
        own = {name: value.clone() for name, value in self.region.items()}
        self.problem = Problem(threat, own, y.clone(), evaluator.classes, bounds, evaluator.task)

        n = len(x)
        self.best = threat.origin(self.region).clone()
        self.hit = torch.zeros(n, dtype=torch.bool, device=x.device)
        self.size = torch.full((n,), torch.inf, dtype=torch.float64, device=x.device)
        self.margin = torch.full((n,), torch.inf, device=x.device)
        # The extra row at the end takes the gradients of all samples that are not followed, so that the device never
        # has to say which rows are.
        follows = followed and self.climbs and self.best.shape == x.shape
        alive = (followed + 1, *x.shape[1:])
        self.alive = torch.zeros(alive, dtype=torch.bool, device=x.device) if follows else None
        # Only where scores are all that a search sees.
        by_scores = evaluator.model.gives is Needs.SCORES and searcher.needs is Needs.SCORES
        self.still = Still.none(n, x.device) if by_scores and top_of(evaluator.task) else None
        self.rows: InFlight | None = None
        self.admitted = self.round = 0

    def admit(self) -> bool:
        """Fill the batch up with samples that were not attacked yet; return False where no row is in flight."""
        n, device = self.y.shape[0], self.y.device
        if self.admitted == n:
            return self.rows is not None
        room = self.evaluator.batch_size
        if self.lanes > 1:
            # All proposals that rows make at once should fill a batch, or be few elements: the evaluator passes them
            # in parts, and their state is small.
            elements = self.region["x"][0].numel()
            room = max(1, room // self.lanes, _LIGHT // (self.lanes * elements))
        if self.rows is not None:
            room -= len(self.rows.position)
        if room > 0:
            fresh = slice(self.admitted, min(n, self.admitted + room))
            problem = pick_problem(self.problem, fresh)
            count = len(problem.y)
            newcomers = InFlight(
                problem,
                self.searcher.init(problem, self.key[fresh]),
                torch.arange(fresh.start, fresh.stop, device=device),
                torch.ones(count, dtype=torch.bool, device=device),
                torch.full((count,), torch.inf, device=device),
                self.round - self.searcher.steps + _rounds(self.searcher, problem).cpu(),
                whole=self.eager,
            )
            self.rows = newcomers if self.rows is None else self.rows.joined(newcomers)
            self.admitted = fresh.stop
        return self.rows is not None

    def end(self) -> InFlight | None:
        """Take the rows that had all their steps out of the batch, and return them."""
        rows, last = self.rows, self.round - self.searcher.steps
        if rows is None or rows.oldest > last:
            return None
        self._note_alive(rows)
        if rows.newest <= last:
            self.rows = None
            return rows
        # By rows that the host knows: a mask would make it wait for the number of rows.
        over = rows.born <= last
        self.rows = rows.pick((~over).nonzero().squeeze(1))
        return rows.pick(over.nonzero().squeeze(1))

    def step(self, rows: InFlight, *, final: bool = False) -> None:
        """Evaluate the next proposals of rows, keep the best of them, and tell the searcher.

        Args:
            final: the last proposal of rows: it needs no gradient, and is not reported to the searcher.
        """
        problem, state, gradient = rows.problem, rows.state, None
        z = self.searcher.ask(problem, state)
        if self.lanes:
            z = z.flatten(0, 1)
        region = problem.region if self.lanes <= 1 else rows.wide(self.lanes)
        z = self.threat.project(z, region) if self.confined else z.clamp(*problem.bounds)
        if self.climbs and not final:
            logits, gradient = self._slope(rows, z)
            candidates = [(z, logits)]
        else:
            logits = self._scores(rows, z, region)
            if self.lanes:
                z, logits = z.view(-1, self.lanes, *z.shape[1:]), logits.view(-1, self.lanes, *logits.shape[1:])
            candidates = self._candidates(z, logits, problem.y)
        for point, output in candidates:
            self.keep(rows, point, output)
        if final:
            self._leave(rows, z)
        else:
            rows.state = self.searcher.tell(problem, state, Evaluation(z, logits, gradient))
            self.round += 1

    def _slope(self, rows: InFlight, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and gradients at proposals z (b, *Z); note the elements that have none."""
        render, objective = _parts_of(self.searcher, self.threat, rows.problem, rows.state, z.shape[0])
        logits, gradient = self.evaluator.gradient(z, render, objective, draws=self.draws)
        if rows.newest == self.round and not self.probe:
            # Newcomers are the last rows.
            fresh = int((rows.born == self.round).sum())
            first = gradient[len(gradient) - fresh :].flatten(1)
            self.evaluator.count("zero_gradient", failed=(first == 0).all(1).sum(), tried=fresh)
        if self.alive is not None and not rows.every:
            rows.follow(gradient[: self.followed], look=self.eager)
        return logits, gradient

    def _scores(self, rows: InFlight, z: Tensor, region: Rows) -> Tensor:
        """Return logits at proposals z (b * lanes, *Z), without a gradient."""
        inputs = rendered(self.threat, z, region)
        if self.draws == 1:
            logits = self.evaluator.logits(inputs)
        else:
            logits = torch.stack(list(map(self.evaluator.logits, [inputs] * self.draws))).mean(0)
        if self.still is not None:
            # A probability near 1 has lost in float32 the digits that the logarithms of the others still show.
            logits = on_scale(logits)
            task, heard = self.evaluator.task, logits
            if not task.one_class:  # of many classes some score moves always; the search follows the margin alone
                y = rows.problem.y.repeat_interleave(len(logits) // len(rows.position), 0)
                heard = task.margin(logits, y).unsqueeze(1)
            rows.listen(self.still, inputs, heard)
        return logits

    def _candidates(self, z: Tensor, logits: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the proposals (b, *Z) to be kept if they are good, and their logits: each, or the best of each row."""
        if not self.lanes:
            return [(z, logits)]
        if self.smallest or not self.confined:  # the smallest success need not have the smallest margin
            return list(zip(z.unbind(1), logits.unbind(1), strict=True))
        lane = torch.arange(len(z), device=z.device), self.evaluator.task.margin(logits, y).argmin(1)
        return [(z[lane], logits[lane])]

    def keep(self, rows: InFlight, point: Tensor, output: Tensor) -> None:
        """Keep new successes, smaller ones and better attempts among points (b, *Z), whose outputs are (b, *O)."""
        task, problem = self.evaluator.task, rows.problem
        margin = task.margin(output, problem.y)
        # No row is misclassified but those that were broken before.
        quiet = self.eager and (margin if rows.whole else margin.where(rows.alive, torch.inf)).min().item() > 0
        size = inside = None
        if not self.confined or self.smallest:
            if quiet and not bool((margin < rows.margin).any()):
                return
            size = self.threat.size(point, problem.region)
            inside = within(size, self.threat)
            margin = torch.where(inside, margin, torch.inf)
        if self.attempts or self.draws > 1:
            self._put(rows, point, (margin < rows.margin) & ~self.hit[rows.position])
        # A broken row goes on until the batch is compacted, which depends on its neighbours: its margin must not.
        least = torch.minimum(rows.margin, margin)
        rows.margin = least if rows.whole else torch.where(rows.alive, least, rows.margin)
        # No success on some draws ends a search: the judge looks at the best point, on fresh ones.
        if quiet or self.draws > 1:
            return
        wrong = rows.alive & ~task.holds(output, problem.y)
        if inside is not None:
            wrong = wrong & inside
        if self.eager and not bool(wrong.any()):
            return
        if self.smallest and size is not None:
            wrong = wrong & (size < self.size[rows.position])
            self.size[rows.position] = torch.where(wrong, size, self.size[rows.position])
        else:
            rows.alive = rows.alive & ~wrong
            rows.whole, rows.changed = False, True
        self._put(rows, point, wrong)
        self.hit[rows.position] |= wrong

    def _put(self, rows: InFlight, z: Tensor, which: Tensor) -> None:
        """Put points z (b, *Z) at `which` (b,) bool in the place of those kept before."""
        position = rows.position
        if self.eager:
            at = which.nonzero().squeeze(1)
            self.best[position[at]] = z[at]
        else:  # the same without asking the device how many there are
            self.best[position] = torch.where(per_row(which, z), z, self.best[position])

    def _leave(self, rows: InFlight, z: Tensor) -> None:
        """Note the margins of rows that leave, and count those whose last proposals z (b, *Z) are where they began."""
        self.margin[rows.position] = rows.margin
        x = rows.problem.x
        # A grid of poses may end with the one that changes nothing, and moves may take the last change back.
        moves = self.threat.radius > 0 and not is_discrete(self.threat)
        if moves and not self.probe and self.lanes <= 1 and z.shape == x.shape:
            unmoved = (z == x).flatten(1).all(1)
            self.evaluator.count("idle_search", failed=unmoved.sum(), tried=len(unmoved))

    def compact(self) -> None:
        """Drop broken rows where they are many, or all."""
        rows = self.rows
        # An accelerator is waited for in every fifth round only.
        if rows is None or not (rows.changed if self.eager else self.round % _LOOK == 0):
            return
        rows.changed = False
        left = int(rows.alive.sum())
        # To repeat shapes, the first of the broken rows fill up the bucket.
        kept = left if self.eager or left == 0 else bucket(left)
        if left > 0 and kept > _KEEP * len(rows.alive):
            return
        self._note_alive(rows)
        self.margin[rows.position] = rows.margin
        self.rows = None
        if left > 0:
            self.rows = rows.pick(rows.alive.logical_not().to(torch.int8).argsort(stable=True)[:kept])
            self.rows.whole = self.eager

    def _note_alive(self, rows: InFlight) -> None:
        """Note the elements that had a gradient, before rows go; others come only after some have gone."""
        if self.alive is not None and rows.followed is not None:
            # Rows of later samples than those followed have the place of the extra row. The others come first: rows
            # are in the order of the samples.
            self.alive[rows.position[: len(rows.followed)].clamp(max=self.followed)] |= rows.followed
            rows.followed = None

    def judge(self) -> SearchOutcome:
        """Predict the best points again, on the very arrays that are kept: nothing else counts as broken."""
        evaluator, y = self.evaluator, self.y
        z = self.threat.project(self.best, self.region)
        found = rendered(self.threat, z, self.region)
        size = self.threat.size(z, self.region)
        predicted, wrong = evaluator.unanswered(y), torch.zeros_like(self.hit)
        at = self.hit.nonzero().squeeze(1)
        if self.draws > 1:
            predicted, missed = majority(evaluator, found, y, self.draws)
            wrong = 2 * missed > self.draws
        elif len(at):
            judgement = evaluator.judge(found[at], y[at])
            predicted[at], wrong[at] = judgement.predicted.to(predicted), ~judgement.holds
            # Such a sample holds, though its search ended early. In bfloat16 that is usual, and the cascade sees to it.
            if not self.probe and not evaluator.reduced:
                evaluator.count("unconfirmed_success", failed=judgement.holds.sum(), tried=len(at))
        alive = None if self.alive is None else self.alive[:-1]
        return SearchOutcome(wrong & within(size, self.threat), found, size, predicted, self.margin, alive, self.still)


@dataclass(slots=True)
class InFlight:
    """Rows of a search that step together, as many as fit into a batch."""

    problem: Problem
    state: Rows
    position: Tensor  # rows of the chunk, on the device
    alive: Tensor  # not broken yet
    margin: Tensor  # the smallest seen
    born: Tensor  # the round in which each was admitted, on the host; earlier for samples that take fewer rounds
    # Plain numbers on the host: it needs them in every round, and reading a tensor costs as much as a small model's
    # pass.
    whole: bool  # the host knows that every row is alive
    changed: bool = True  # a row was broken, or rows came or went, since the batch was last compacted
    oldest: int = 0  # of `born`
    newest: int = 0
    _wide: Rows | None = None
    followed: Tensor | None = None  # (first rows, *S) bool: elements that had a gradient since rows went
    every: bool = False  # the host knows that all of `followed` are True, as they mostly are after one step
    heard: tuple[Tensor, Tensor] | None = None  # inputs and scores of the last queries; forgotten where rows change

    def __post_init__(self) -> None:
        self.oldest, self.newest = int(self.born.min()), int(self.born.max())

    def wide(self, lanes: int) -> Rows:
        """Return the threat's rows, each repeated for its proposals at once."""
        if self._wide is None:
            self._wide = {name: value.repeat_interleave(lanes, 0) for name, value in self.problem.region.items()}
        return self._wide

    def follow(self, gradient: Tensor, *, look: bool) -> None:
        """Add the gradient (b, *S) of the first rows to `followed`; `look` if the host may look at it."""
        moves = gradient.bool()  # True for NaN, too
        if not self.whole:  # how long a broken row goes on depends on its neighbours
            moves &= per_row(self.alive[: len(moves)], moves)
        if self.followed is None:
            self.followed, self.every = moves, look and bool(moves.all())
        else:
            self.followed.logical_or_(moves)

    def listen(self, still: Still, x: Tensor, scores: Tensor) -> None:
        """Compare the scores of inputs x (b * lanes, *S) with those of the inputs before them."""
        before, self.heard = self.heard, (x, scores)
        if before is None or before[0].shape != x.shape:
            return
        change = (scores - before[1]).abs().amax(1).double()
        flat = change == 0
        same = flat.clone()  # the same input again says nothing
        at = flat.nonzero().squeeze(1)
        if len(at):
            same[at] = (x[at] == before[0][at]).flatten(1).all(1)
        lanes = len(x) // len(self.position)
        live = self.alive.repeat_interleave(lanes)
        counts = (live & ~same, live & flat & ~same, torch.where(live, change, 0.0))
        still.add(self.position.repeat_interleave(lanes), Still(*(one.double() for one in counts)))

    def joined(self, other: InFlight) -> InFlight:
        region = join(self.problem.region, other.problem.region)
        return InFlight(
            replace(self.problem, region=region, y=torch.cat([self.problem.y, other.problem.y])),
            join(self.state, other.state),
            torch.cat([self.position, other.position]),
            torch.cat([self.alive, other.alive]),
            torch.cat([self.margin, other.margin]),
            torch.cat([self.born, other.born]),
            whole=self.whole and other.whole,
        )

    def pick(self, rows: Tensor) -> InFlight:
        here = rows.to(self.position.device)
        same = self.oldest == self.newest  # all were admitted at once
        return InFlight(
            pick_problem(self.problem, here),
            pick(self.state, here),
            self.position[here],
            self.alive[here],
            self.margin[here],
            self.born[: len(rows)] if same else self.born[rows.to(self.born.device)],
            whole=self.whole,
        )


def _rounds(searcher: Searcher, problem: Problem) -> Tensor:
    """Return (B,) int64: the steps that each sample takes."""
    own = getattr(searcher, "rounds", None)
    return torch.full((len(problem.y),), searcher.steps) if own is None else own(problem)


def _parts_of(searcher: Searcher, threat: Threat, problem: Problem, state: Rows, n: int) -> tuple[Render, Objective]:
    whole = slice(0, n)

    def render(point: Tensor, part: slice) -> Tensor:
        return rendered(threat, point, problem.region if part == whole else pick(problem.region, part))

    def objective(logits: Tensor, part: slice) -> Tensor:
        if part == whole:
            return searcher.objective(problem, state, logits)
        return searcher.objective(pick_problem(problem, part), pick(state, part), logits)

    return render, objective


def bucket(rows: int) -> int:
    """Return the size of a batch for `rows` alive: the next power of two."""
    # Accelerators choose kernels, and compiled models are compiled, for shapes: a handful serve a whole run.
    return 1 << (rows - 1).bit_length()


def pick(rows: Rows, which: Tensor | slice) -> Rows:
    """Return the chosen rows: an index, a mask or a slice."""
    return {name: value[which] for name, value in rows.items()}


def join(first: Rows, second: Rows) -> Rows:
    """Return the rows of both, one after the other."""
    return {name: torch.cat([value, second[name]]) for name, value in first.items()}


def pick_problem(problem: Problem, which: Tensor | slice) -> Problem:
    """Return a problem of the chosen rows."""
    return replace(problem, region=pick(problem.region, which), y=problem.y[which])
