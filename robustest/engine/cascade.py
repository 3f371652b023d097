"""A cascade on one chunk: each stage attacks the survivors of the stages before it."""

# The algorithm:
#
# 1. `serving`: the stages that work on the threat, with the outputs that the model gives and within its budget of
#    queries. Where gradients mislead, the stages without gradients get every survivor and more queries (`widened`).
# 2. Break or decide the rows of tree ensembles that can be read (`engine.tree_boxes`).
# 3. `sweeps`: the runs over all stages, one as a rule. With gradients in bfloat16 "alone" (`Evaluator.low_precision`),
#    the gradient stages run again in float32 on two kinds of survivors: all that came near the boundary, where rounding
#    decides what a search takes for a success; and, as a check, a few others, drawn by their keys. If float32 breaks
#    one of these, the claim is measured anew in float32 (`run.driver`).
# 4. For each stage of a sweep and each of its rounds: attack the survivors, those of smallest margin first. Where the
#    stage breaks enough of them (`Stage.go_on`), the next ones get it too: a stage that fits the model is worth its
#    price.
# 5. `CascadeState.pays`: skip a stage that cannot pay, that is `earned` ones where nothing after the first round broke
#    a sample, `paid` ones where the stage before did not, `near` ones where an earlier run of the same searcher stayed
#    far off everywhere.
# 6. Survivors of searches whose queries changed no score are searched by labels (`engine.blind_scores`).
# 7. `Coverage`: a survivor without a search that counts for the threat was not shown to be safe (`weak_search`). Which
#    searches count depends on the model's scores (`engine.score_diagnosis`).
#
# Every draw has a key folded from the sample's key, the stage and the round, so that it depends neither on the batch
# nor on which other samples are left.

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import Cascade, Needs, Problem, Searcher, Stage, decides, draws_of
from robustest.engine.blind_scores import search_blind
from robustest.engine.chunks import Chunk
from robustest.engine.coverage import Coverage
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import FIRST, count_unreached, probe_gradient, probe_precision
from robustest.engine.planted import plant
from robustest.engine.score_diagnosis import Suspicion
from robustest.engine.search import SearchOutcome, Still, pick, pick_problem, search
from robustest.engine.stages import serving, widened
from robustest.engine.tree_boxes import NAME as BY_LEAVES
from robustest.engine.tree_boxes import search_leaves
from robustest.threats import Rows, Threat, is_discrete, rendered

# Survivors of a search in bfloat16 that are attacked again in float32: in the first chunk so many that a gap of .15
# breaks one with a chance of 95 %, and a few in each later one.
_CHECKED, _CHECKED_LATER = 19, 4
# The boundary is near where the margin fell below this share of that of the unchanged sample: bfloat16 rounds to 1/256,
# and a network's layers add to that.
_NEAR = 0.15


@dataclass(slots=True)
class CascadeOutcome:
    """The outcome of a cascade on a chunk.

    Attributes:
        stages: the number of samples that each stage broke, by "name" or "name #round".
    """

    found: SearchOutcome
    stages: dict[str, int] = field(default_factory=dict)


def run_cascade(
    evaluator: Evaluator,
    cascade: Cascade,
    threat: Threat,
    chunk: Chunk,
    *,
    clean_margin: Tensor,
    attempts: bool = False,
    control: bool = True,
) -> CascadeOutcome:
    """Attack samples that the model gets right, stage by stage.

    Args:
        clean_margin: (N,) margins of the unchanged samples, for the check that the loss rises.
        attempts: keep the best attempt on samples that are never broken.
        control: search for planted inputs first, where the threat is discrete.

    Raises:
        ConfigError: no stage works on this threat with the outputs that the model gives.
    """
    suspicion = Suspicion.of(evaluator, threat, clean_margin, chunk.y)
    stages = serving(evaluator, cascade, threat, chunk.x[0].numel(), beside=suspicion.passes)
    coverage = Coverage(chunk.x, threat, suspicion.diagnose(evaluator, chunk, threat))
    climbing = [stage.searcher for stage in stages if stage.searcher.needs is Needs.GRADIENT]
    rests_on_gradients = bool(climbing) and threat.radius > 0 and not is_discrete(threat)
    if not rests_on_gradients:
        evaluator.probed = True
    elif probe_gradient(evaluator, chunk, draws=max(map(draws_of, climbing))):
        stages = widened(stages, threat)
    if control and is_discrete(threat) and threat.radius > 0:
        plant(evaluator, [stage.searcher for stage in stages], threat, chunk)

    schedule = StageSchedule(evaluator, stages, threat, chunk, clean_margin, coverage, attempts=attempts)
    if len(cascade.stages) > 1:  # one attack that a user chose runs alone
        schedule.run_by_leaves(breaks=control)
    for sweep in sweeps(evaluator, chunk, attempts=attempts) if rests_on_gradients else (Sweep(),):
        schedule.run(sweep)
    if control and threat.radius > 0:  # an audit leaves this to the attack that it audits
        schedule.run_by_labels()
    schedule.count_unsearched()
    return CascadeOutcome(schedule.state.found, schedule.state.broke)


# Sweeps


@dataclass(frozen=True, slots=True)
class Sweep:
    """A run over the stages of a cascade.

    Attributes:
        low: gradients are taken in bfloat16.
        others: the stages without gradients run too; they run in one sweep only.
        checks: this sweep checks an earlier one in bfloat16, on survivors near the boundary and a few others.
    """

    low: bool = False
    others: bool = True
    checks: bool = False


def sweeps(evaluator: Evaluator, chunk: Chunk, *, attempts: bool) -> tuple[Sweep, ...]:
    """Return the sweeps of a cascade whose claim rests on gradients, by `Evaluator.low_precision`."""
    way = evaluator.low_precision
    if way == "first":
        return Sweep(low=True, others=False), Sweep()
    # The check is of what breaks, not of how far a search came.
    if way != "alone" or attempts:
        return (Sweep(),)
    if not probe_precision(evaluator, chunk):
        evaluator.note("gradients in float32: in bfloat16 they point elsewhere")
        return (Sweep(),)
    evaluator.note("gradients in bfloat16, checked on a few samples in float32, in which all is judged")
    return Sweep(low=True), Sweep(others=False, checks=True)


def _drawn(evaluator: Evaluator, chunk: Chunk, left: Tensor) -> Tensor:
    """Return (n,) bool: a few of the rows `left` (n,) bool, drawn by their keys, on the host."""
    most = _CHECKED if evaluator.probe_rows >= FIRST else _CHECKED_LATER
    order = rng.fold(chunk.key, "float32").cpu().argsort(stable=True)
    drawn = torch.zeros_like(left)
    drawn[order[left[order]][:most]] = True
    return drawn


# The state of a cascade, and its rules


@dataclass(slots=True)
class CascadeState:
    """The samples of a chunk between two rounds, and the results of the stages so far.

    The host decides on its own copies of `broken` and `margins`, which `Evaluator.read` brings up to date: it waits for
    the device once after each search.

    Attributes:
        found: the best inputs so far, on the device.
        broken, decided, left_out: (N,) bool on the host: a search broke the sample; every input of it was evaluated;
            this sweep leaves it out.
        margins: (N,) float32 on the host, the smallest so far.
        alive: (n, *S) bool: elements of the first samples that had a gradient; `any_gradient` if one was followed.
        still: how often scores stayed as they were.
        broke: the number of samples that each stage broke, by its label.
        first: the number of samples that the first round broke; None before it.
        paid: the stage before broke a sample.
        distance: by searcher, the smallest margins of its last stage over the smallest found before.
    """

    found: SearchOutcome
    broken: Tensor
    decided: Tensor
    left_out: Tensor
    margins: Tensor
    alive: Tensor
    still: Still
    any_gradient: bool = False
    broke: dict[str, int] = field(default_factory=dict)
    first: int | None = None
    paid: bool = False
    distance: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, chunk: Chunk, threat: Threat, region: Rows, *, followed: int, unanswered: Tensor) -> CascadeState:
        """Return the state before the first stage, in which every sample is its own best input."""
        n, origin = len(chunk.x), threat.origin(region)
        none = torch.zeros(n, dtype=torch.bool)
        found = SearchOutcome(
            broken=torch.zeros(n, dtype=torch.bool, device=chunk.x.device),
            x=rendered(threat, origin, region).clone(),
            size=threat.size(origin, region),
            predicted=unanswered,
            margin=torch.full((n,), torch.inf, device=chunk.x.device),
        )
        return cls(
            found,
            broken=none.clone(),
            decided=none.clone(),
            left_out=none,
            margins=torch.full((n,), torch.inf),
            alive=torch.zeros_like(chunk.x[:followed], dtype=torch.bool),
            still=Still.none(n, chunk.x.device),
        )

    @property
    def n_broken(self) -> int:
        return int(self.broken.sum())

    def pays(self, stage: Stage) -> bool:
        """Return False for a stage that can break nothing, by the results of the stages before it."""
        if stage.earned and self.first == self.n_broken:
            return False
        if stage.paid and not self.paid:
            return False
        return stage.near is None or self.distance.get(stage.searcher.name, 0.0) <= stage.near

    def waiting(self) -> Tensor:
        """Return (N,) bool: the samples that a round attacks."""
        return ~(self.broken | self.decided | self.left_out)

    def nearest(self, waiting: Tensor, most: int) -> Tensor:
        """Return (m,) int64: up to `most` of the samples `waiting` (N,) bool, of smallest margin, in their order."""
        rows = waiting.nonzero().squeeze(1)
        return rows[self.margins[rows].argsort(stable=True)[:most]].sort().values

    def add(
        self,
        name: str,
        rows: Tensor,
        at: Tensor,
        part: SearchOutcome,
        host: tuple[Tensor, Tensor],
        *,
        attempts: bool,
    ) -> None:
        """Add a searcher's outcome on rows (m,) int64.

        Args:
            at: the rows on the device, which they went up to once.
            host: `broken` and `margin` of the outcome, read by the host.
            attempts: keep the best attempt on samples that are not broken.
        """
        broken, margin = host
        # The round's least distance: its margins over the smallest known; 0 where it broke a sample.
        near = torch.where(broken, 0.0, margin / self.margins[rows].clamp(min=1e-30))
        self.distance[name] = min(self.distance[name], max(0.0, float(near.nan_to_num(nan=1.0).min())))
        better = broken | (margin < self.margins[rows]) if attempts else broken
        self.found.merge(part, at, better.nonzero().squeeze(1).to(at.device))
        self.broken[rows] |= broken
        self.margins[rows] = torch.minimum(self.margins[rows], margin)

    def count(self, label: str, broke: int) -> None:
        """Add the samples that a stage broke."""
        self.broke[label] = self.broke.get(label, 0) + broke


# The schedule


@dataclass(slots=True)
class StageSchedule:
    """The stages of a cascade on one chunk, in order.

    Attributes:
        clean_margin: (N,) margins of the unchanged samples.
        coverage: takes every round.
        attempts: keep the best attempt on samples that are never broken.
    """

    evaluator: Evaluator
    stages: tuple[Stage, ...]
    threat: Threat
    chunk: Chunk
    clean_margin: Tensor
    coverage: Coverage
    attempts: bool
    state: CascadeState = field(init=False)
    problem: Problem = field(init=False)

    def __post_init__(self) -> None:
        chunk = self.chunk
        region = self.threat.region(chunk.x, chunk.bounds)
        task, classes = self.evaluator.task, self.evaluator.classes
        self.problem = Problem(self.threat, region, chunk.y, classes, chunk.bounds, task)
        followed, unanswered = self.evaluator.probe_rows, self.evaluator.unanswered(chunk.y)
        self.state = CascadeState.of(chunk, self.threat, region, followed=followed, unanswered=unanswered)
        self.clean_margin = self.clean_margin.cpu()

    def run(self, sweep: Sweep) -> None:
        """Run each stage that this sweep has, and that may pay."""
        state, drawn = self.state, None
        if sweep.checks:
            left, near = ~state.broken & ~state.decided, state.margins <= _NEAR * self.clean_margin
            drawn = _drawn(self.evaluator, self.chunk, left & ~near)
            state.left_out, state.first, state.distance = ~(left & (drawn | near)), None, {}
        for place, stage in enumerate(self.stages):
            if (sweep.others or stage.searcher.needs is Needs.GRADIENT) and state.pays(stage):
                self.run_stage(place, low=sweep.low)
        if drawn is not None:
            failed, tried = int((state.broken & drawn).sum()), int((~state.left_out).sum())
            self.evaluator.health.count("reduced_precision", failed=failed, tried=tried)

    def run_stage(self, place: int, *, low: bool) -> None:
        """Run the rounds of a stage, one by one or together."""
        stage, state = self.stages[place], self.state
        name, before = stage.searcher.name, state.n_broken
        state.distance[name] = math.inf
        for number in range(1 if stage.together else stage.rounds):
            uses = [f"{name}/{place}/{each}" for each in (range(stage.rounds) if stage.together else (number,))]
            round_before = state.n_broken
            self.run_round(place, uses, low=low, first=place == number == 0)
            label = name + ("" if len(uses) == stage.rounds else f" #{number + 1}")
            state.count(label, state.n_broken - round_before)
            state.first = state.n_broken if state.first is None else state.first
        state.paid = state.n_broken > before

    def run_round(self, place: int, uses: list[str], *, low: bool, first: bool) -> None:
        """Attack the survivors, those of smallest margin first, as long as that breaks enough of them.

        Args:
            uses: the words that the keys of the samples are folded with, one for each of the rounds that run together.
            first: the first round of the cascade.
        """
        stage, state = self.stages[place], self.state
        waiting = state.waiting()
        most = math.ceil(stage.smallest * len(waiting))
        while bool(waiting.any()):
            rows = state.nearest(waiting, most)
            waiting[rows] = False
            at = rows.to(self.chunk.x.device)
            part = self.searched(stage.searcher, rows, at, uses, low=low)
            every = decides(stage.searcher, pick_problem(self.problem, at))
            broken, margin, over = self.evaluator.read(part.broken, part.margin, every)
            self.check(place, rows, broken, margin, first=first)
            state.add(stage.searcher.name, rows, at, part, (broken, margin), attempts=self.attempts)
            self.coverage.add(stage, rows, broken)
            state.decided[rows] |= over
            self.coverage.decided(state.decided)
            if float(broken.float().mean()) < stage.go_on:
                break

    def searched(self, searcher: Searcher, rows: Tensor, at: Tensor, uses: list[str], *, low: bool) -> SearchOutcome:
        """Return the outcome of a search on rows (m,) int64, `at` on the device: of rounds together, the best of each
        sample.
        """
        state, chunk, discrete = self.state, self.chunk, is_discrete(self.threat)
        # Rounds that run together are several rows of each sample, each with its own key.
        each = at.repeat_interleave(len(uses))
        keys = torch.stack([rng.fold(chunk.key[at], use) for use in uses], 1).flatten()
        followed = 0 if discrete else int((rows < len(state.alive)).sum()) * len(uses)
        region = pick(self.problem.region, each)
        with self.evaluator.low(low):
            part = search(
                self.evaluator,
                searcher,
                self.threat,
                region["x"],
                chunk.y[each],
                key=keys,
                bounds=chunk.bounds,
                attempts=self.attempts,
                probe=discrete,
                followed=followed,
                region=region,
            )
        if part.alive is not None:
            state.any_gradient = True
            state.alive.index_put_((each[:followed],), part.alive, accumulate=True)
        if part.still is not None:
            state.still.add(each, part.still)
        return part if len(uses) == 1 else part.best_of(len(uses))

    def check(self, place: int, rows: Tensor, broken: Tensor, margin: Tensor, *, first: bool) -> None:
        """Count a round of a stage for the health checks that compare searches by gradients with others."""
        if is_discrete(self.threat):  # its claims rest on searches without gradients
            return
        health = self.evaluator.health
        if self.stages[place].searcher.needs is not Needs.GRADIENT:
            if any(stage.searcher.needs is Needs.GRADIENT for stage in self.stages[:place]):
                health.count("black_box_beats_white_box", failed=int(broken.sum()), tried=len(rows))
        elif first and self.threat.radius > 0:
            flat = int((margin >= self.clean_margin[rows]).sum())
            health.count("loss_does_not_rise", failed=flat, tried=len(rows))

    def run_by_leaves(self, *, breaks: bool) -> None:
        """Break the rows of an ensemble of trees that its leaves break, and decide those that none can.

        Args:
            breaks: False for an audit, which asks about such rows by other means.
        """
        leaves, state = search_leaves(self.evaluator, self.threat, self.chunk), self.state
        self.coverage.decided(leaves.proven)
        if not breaks:
            return
        state.decided |= leaves.proven
        if leaves.found is not None:
            state.found.merge(leaves.found, leaves.rows, leaves.found.broken.nonzero().squeeze(1))
            state.broken |= state.found.broken.cpu()
            state.count(BY_LEAVES, state.n_broken)

    def run_by_labels(self) -> None:
        """Search survivors by labels whose scores did not change with the queries of the stages."""
        state = self.state
        broke = search_blind(
            self.evaluator, self.threat, self.chunk, state.found, still=state.still, decided=state.decided
        )
        if broke:
            state.count("hop-skip-jump", broke)
            state.broken |= state.found.broken.cpu()

    def count_unsearched(self) -> None:
        """Count the survivors that no search counts for, and those with a part that gradients did not reach."""
        state = self.state
        self.coverage.count(self.evaluator, ~state.broken, self.stages)
        rows = (~state.broken[: len(state.alive)]).nonzero().squeeze(1).to(self.chunk.x.device)
        if state.any_gradient and len(rows):
            count_unreached(self.evaluator, self.chunk.rows(rows), self.threat, state.alive[rows])
