"""One attack on one chunk of samples: continuous batching, with the engine as judge."""

# The algorithm, until no sample is left:
#
# 1. Admit: fill the batch up with samples that were not attacked yet, each with its own state from `init`.
# 2. End: rows that had all their steps have their last proposal evaluated, and leave.
# 3. Step: `ask` for proposals, project them into the threat's region, evaluate them, keep those that are misclassified,
#    and `tell` the searcher. PGD, for one, is `z = project(z + step * sign(gradient))`: gradient and projection are
#    made here, the step in its `tell`.
# 4. Compact: drop broken rows where they are many, which makes room for 1.
#
# Then judge: project and render the best point of each row, and predict it afresh. Nothing but that counts as broken,
# so an attack cannot report a success that is outside the threat or that the model does not confirm.

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustest import devices
from robustest.attacks import Evaluation, Needs, Problem, Searcher, at_once, confined, draws_of
from robustest.engine.evaluator import Evaluator, Objective, Render, majority
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
        predicted: (N, *T), the prediction of `x` where broken, else the target.
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
    """
    task, n = evaluator.task, len(x)
    always_inside, draws, lanes = confined(searcher, threat), draws_of(searcher), at_once(searcher)
    climbs = searcher.needs is Needs.GRADIENT
    # Reading a number from a CPU tensor costs little, so that every round may look.
    eager = devices.on_host(evaluator.device)
    region = threat.region(x, bounds)
    # The searcher gets its own arrays: one that works in place moves neither the samples nor the judge.
    own = {name: value.clone() for name, value in region.items()}
    whole = Problem(threat, own, y.clone(), evaluator.classes, bounds, task)

    best = threat.origin(region).clone()
    hit = torch.zeros(n, dtype=torch.bool, device=x.device)
    sizes = torch.full((n,), torch.inf, dtype=torch.float64, device=x.device)
    margins = torch.full((n,), torch.inf, device=x.device)
    # The extra row at the end takes the gradients of all samples that are not followed, so that the device never has
    # to say which rows are.
    follow = followed and climbs and best.shape == x.shape
    alive = torch.zeros((followed + 1, *x.shape[1:]), dtype=torch.bool, device=x.device) if follow else None

    def keep(position: Tensor, z: Tensor, which: Tensor) -> None:
        """Keep the proposals z (B, *Z) at `which` (B,) bool, for the chunk's rows at `position` (B,)."""
        if eager:
            at = which.nonzero().squeeze(1)
            best[position[at]] = z[at]
        else:  # the same without asking the device how many there are
            best[position] = torch.where(per_row(which, z), z, best[position])

    def settle(rows: Batch) -> None:
        """Note the elements that had a gradient, before rows go; others come only after some have gone."""
        if alive is not None and rows.followed is not None:
            # Rows of later samples than those followed have the place of the extra row. The others come first: rows
            # are in the order of the samples.
            alive[rows.position[: len(rows.followed)].clamp(max=followed)] |= rows.followed
            rows.followed = None

    # Only where scores are all that a search sees.
    only_scores = evaluator.model.gives is Needs.SCORES and searcher.needs is Needs.SCORES and task.one_class
    still = Still.none(n, x.device) if only_scores else None

    batch, admitted, round_ = None, 0, 0
    while True:
        # 1. Admit. All proposals that rows make at once should fill a batch, or be few elements: the evaluator passes
        # them in parts, and their state is small.
        room = evaluator.batch_size
        if lanes > 1:
            room = max(1, evaluator.batch_size // lanes, _LIGHT // (lanes * x[0].numel()))
        if batch is not None:
            room -= len(batch.position)
        if admitted < n and room > 0:
            fresh = slice(admitted, min(n, admitted + room))
            problem = pick_problem(whole, fresh)
            n_fresh = len(problem.y)
            newcomers = Batch(
                problem,
                searcher.init(problem, key[fresh]),
                torch.arange(fresh.start, fresh.stop, device=x.device),
                torch.ones(n_fresh, dtype=torch.bool, device=x.device),
                torch.full((n_fresh,), torch.inf, device=x.device),
                round_ - searcher.steps + _rounds(searcher, problem).cpu(),
                whole=eager,
            )
            batch = newcomers if batch is None else batch.joined(newcomers)
            admitted = fresh.stop
        if batch is None:
            break

        # 2. End.
        last, ending = round_ - searcher.steps, None
        if batch.oldest <= last:
            settle(batch)
            over = batch.born <= last
            # By rows that the host knows: a mask would make it wait for the number of rows.
            ending = batch if batch.newest <= last else batch.pick(over.nonzero().squeeze(1))
            batch = None if ending is batch else batch.pick((~over).nonzero().squeeze(1))

        # 3. Step. A last proposal needs no gradient, and is not reported to the searcher.
        for rows, final in ((ending, True), (batch, False)):
            if rows is None:
                continue
            problem, state, gradient = rows.problem, rows.state, None
            z = searcher.ask(problem, state)
            if lanes:
                z = z.flatten(0, 1)
            wide = problem.region if lanes <= 1 else rows.wide(lanes)
            z = threat.project(z, wide) if always_inside else z.clamp(*bounds)
            if climbs and not final:
                render, objective = _parts_of(searcher, threat, problem, state, len(z))
                logits, gradient = evaluator.gradient(z, render, objective, draws=draws)
                if rows.newest == round_ and not probe:
                    # Newcomers are the last rows.
                    fresh_rows = int((rows.born == round_).sum())
                    first = gradient[len(gradient) - fresh_rows :].flatten(1)
                    evaluator.count("zero_gradient", failed=(first == 0).all(1).sum(), tried=fresh_rows)
                if alive is not None and not rows.every:
                    rows.follow(gradient[:followed], look=eager)
                shown = [(z, logits)]
            else:
                inputs = rendered(threat, z, wide)
                if draws == 1:
                    logits = evaluator.logits(inputs)
                else:
                    logits = torch.stack(list(map(evaluator.logits, [inputs] * draws))).mean(0)
                shown = [(z, logits)]
                if still is not None:
                    # A probability near 1 has lost in float32 the digits that the logarithms of the others still show.
                    logits = on_scale(logits)
                    rows.listen(still, inputs, logits)
                    shown = [(z, logits)]
                if lanes:
                    z, logits = z.view(-1, lanes, *z.shape[1:]), logits.view(-1, lanes, *logits.shape[1:])
                    if smallest or not always_inside:  # the smallest success need not have the smallest margin
                        shown = list(zip(z.unbind(1), logits.unbind(1), strict=True))
                    else:
                        lane = torch.arange(len(z), device=z.device), task.margin(logits, problem.y).argmin(1)
                        shown = [(z[lane], logits[lane])]

            # Keep the results of the evaluations: new successes, smaller ones, better attempts.
            for point, output in shown:
                margin = task.margin(output, problem.y)
                # No row is misclassified but those that were broken before.
                quiet = eager and (margin if rows.whole else margin.where(rows.alive, torch.inf)).min().item() > 0
                size = inside = None
                if not always_inside or smallest:
                    if quiet and not bool((margin < rows.margin).any()):
                        continue
                    size = threat.size(point, problem.region)
                    inside = within(size, threat)
                    margin = torch.where(inside, margin, torch.inf)
                if attempts or draws > 1:
                    keep(rows.position, point, (margin < rows.margin) & ~hit[rows.position])
                # A broken row goes on until the batch is compacted, which depends on its neighbours: its margin must
                # not.
                least = torch.minimum(rows.margin, margin)
                rows.margin = least if rows.whole else torch.where(rows.alive, least, rows.margin)
                # No success on some draws ends a search: the judge looks at the best point, on fresh ones.
                if quiet or draws > 1:
                    continue
                wrong = rows.alive & ~task.holds(output, problem.y)
                if inside is not None:
                    wrong = wrong & inside
                if eager and not bool(wrong.any()):
                    continue
                if smallest and size is not None:
                    wrong = wrong & (size < sizes[rows.position])
                    sizes[rows.position] = torch.where(wrong, size, sizes[rows.position])
                else:
                    rows.alive = rows.alive & ~wrong
                    rows.whole, rows.changed = False, True
                keep(rows.position, point, wrong)
                hit[rows.position] |= wrong

            if final:
                margins[rows.position] = rows.margin
                # A grid of poses may end with the one that changes nothing, and moves may take the last change back.
                if z.shape == inputs.shape and not probe and threat.radius > 0 and not is_discrete(threat):
                    unmoved = (z == problem.region["x"]).flatten(1).all(1)
                    evaluator.count("idle_search", failed=unmoved.sum(), tried=len(unmoved))
            else:
                rows.state = searcher.tell(problem, state, Evaluation(z, logits, gradient))
        if batch is None:
            continue
        round_ += 1

        # 4. Compact.
        if not batch.changed if eager else round_ % _LOOK != 0:
            continue
        batch.changed = False
        left = int(batch.alive.sum())
        if left == 0:
            settle(batch)
            margins[batch.position] = batch.margin
            batch = None
            continue
        kept = left if eager else bucket(left)
        if kept <= _KEEP * len(batch.alive):
            settle(batch)
            margins[batch.position] = batch.margin
            # To repeat shapes, the first of the broken rows fill up the bucket.
            batch = batch.pick(batch.alive.logical_not().to(torch.int8).argsort(stable=True)[:kept])
            batch.whole = eager

    # Judge: predict again, on the very arrays that are kept.
    z = threat.project(best, region)
    found = rendered(threat, z, region)
    size = threat.size(z, region)
    predicted, wrong = y.clone(), torch.zeros_like(hit)
    at = hit.nonzero().squeeze(1)
    if draws > 1:
        predicted, missed = majority(evaluator, found, y, draws)
        wrong = 2 * missed > draws
    elif len(at):
        judgement = evaluator.judge(found[at], y[at])
        predicted[at], wrong[at] = judgement.predicted.to(predicted), ~judgement.holds
        # Such a sample holds, though its search ended early. In bfloat16 that is usual, and the cascade sees to it.
        if not probe and not evaluator.reduced:
            evaluator.count("unconfirmed_success", failed=judgement.holds.sum(), tried=len(at))
    reached = None if alive is None else alive[:-1]
    return SearchOutcome(wrong & within(size, threat), found, size, predicted, margins, reached, still)


@dataclass(slots=True)
class Batch:
    """Rows of a search that step together."""

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

    def joined(self, other: Batch) -> Batch:
        region = join(self.problem.region, other.problem.region)
        return Batch(
            replace(self.problem, region=region, y=torch.cat([self.problem.y, other.problem.y])),
            join(self.state, other.state),
            torch.cat([self.position, other.position]),
            torch.cat([self.alive, other.alive]),
            torch.cat([self.margin, other.margin]),
            torch.cat([self.born, other.born]),
            whole=self.whole and other.whole,
        )

    def pick(self, rows: Tensor) -> Batch:
        here = rows.to(self.position.device)
        same = self.oldest == self.newest  # all were admitted at once
        return Batch(
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
