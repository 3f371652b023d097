"""A cascade on one chunk: each stage attacks the survivors of the stages before it."""

# The algorithm:
#
# 1. `serving`: the stages that work on the threat, with the outputs that the model gives and within its budget of
#    queries. Where gradients mislead, the stages without gradients get every survivor and more queries.
# 2. Break or decide the rows of tree ensembles that can be read (`engine.tree_boxes`).
# 3. For each stage and round: attack the survivors, those of smallest margin first. Where the stage breaks enough of
#    them (`Stage.go_on`), the next ones get it too: a stage that fits the model is worth its price.
# 4. Skip a stage that cannot pay: `earned` ones where nothing after the first round broke a sample, `paid` ones where
#    the stage before did not, `near` ones where an earlier run of the same searcher stayed far off everywhere.
# 5. `Coverage`: a survivor without a search that counts for the threat was not shown to be safe
#    (`weak_search`). Where scores say no more than labels, only searches by labels count.
#
# 6. Survivors of searches whose queries changed no score are searched by labels (`engine.blind_scores`).
#
# With gradients in bfloat16 "alone" (`Evaluator.low_precision`), the gradient stages run again in float32 on two kinds
# of survivors: all that came near the boundary, where rounding decides what a search takes for a success; and, as a
# check, a few others, drawn by their keys. If float32 breaks one of these, the claim is measured anew in float32
# (`run.driver`).
#
# Every draw has a key folded from the sample's key, the stage and the round, so that it depends neither on the batch
# nor on which other samples are left.

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import (
    Cascade,
    Needs,
    Problem,
    Stage,
    at_once,
    decides,
    draws_of,
    enough_queries,
    passes,
    searches,
    suits,
    supports,
)
from robustest.attacks.coherent import CoherentMoves
from robustest.attacks.protocol import affordable
from robustest.engine.blind_scores import search_blind
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import FIRST, count_unreached, probe_gradient, probe_precision
from robustest.engine.planted import draws, plant
from robustest.engine.search import SearchOutcome, Still, on_scale, pick_problem, search
from robustest.engine.tree_boxes import NAME as BY_LEAVES
from robustest.engine.tree_boxes import search_leaves
from robustest.errors import ConfigError
from robustest.tasks import Task
from robustest.threats import Discrete, Snr, Threat, is_discrete, rendered

# Survivors of a search in bfloat16 that are attacked again in float32: in the first chunk so many that a gap of .15
# breaks one with a chance of 95 %, and a few in each later one.
_CHECKED, _CHECKED_LATER = 19, 4
# The boundary is near where the margin fell below this share of that of the unchanged sample: bfloat16 rounds to 1/256,
# and a network's layers add to that.
_NEAR = 0.15
# Passes of a sample outside its attacks: a clean one, two that must agree, two that probe the input.
_AROUND = 5


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
    health, discrete = evaluator.health, is_discrete(threat)
    # Texts are always examined, each by itself: saturated scores of some hide behind the spread of the others' margins.
    of_texts = discrete and bool(getattr(threat, "of_strings", False))
    alike = threat.radius > 0 and suspected(evaluator, clean_margin, chunk.y)
    suspect = alike or (threat.radius > 0 and of_texts and examinable(evaluator))
    # So are waves, where margins are equal. Rows of a table are not: flat parts of trees are many, and safe.
    equal = isinstance(threat, Snr) and some_equal(evaluator, clean_margin, chunk.y)
    passes_beside = 3 * of_texts  # beside a longer text; an edited one alone and beside it
    if suspect or equal:
        passes_beside += 2 * _DRAWS + 4 * _TABLES if of_texts else PASSES + _DRAWS * equal
    stages = serving(evaluator, cascade, threat, chunk.x[0].numel(), beside=passes_beside)
    bare: bool | Tensor = alike and labels_alone(evaluator, chunk, threat)
    unread: bool | Tensor = False
    if equal or (suspect and of_texts):
        values = values_of_draws(evaluator, chunk, threat)
        bare = bare or torch.tensor([max(several, default=2) == 1 for several in values])
        unread = torch.tensor([several == [1] for several in values]) & of_texts
    scattered = suspect and of_texts and bare is not True and unrelated(evaluator, chunk, threat)
    draws = [draws_of(stage.searcher) for stage in stages if stage.searcher.needs is Needs.GRADIENT]
    if not draws or threat.radius == 0 or discrete:  # nothing rests on gradients
        evaluator.probed = True
    elif probe_gradient(evaluator, chunk, draws=max(draws)):
        stages = widened(stages, threat)

    why = _SCATTERED if scattered else _NO_SCORES
    coverage = Coverage(chunk.x, threat, labels_alone=scattered or bare, unread=unread, why=why)
    region = threat.region(chunk.x, chunk.bounds)
    whole = Problem(threat, region, chunk.y, evaluator.classes, chunk.bounds, evaluator.task)
    decided = torch.zeros(len(chunk.x), dtype=torch.bool)  # on the host: every input was evaluated
    if control and is_discrete(threat) and threat.radius > 0:
        plant(evaluator, [stage.searcher for stage in stages], threat, chunk)
    origin = threat.origin(region)
    found = SearchOutcome(
        broken=torch.zeros(len(chunk.x), dtype=torch.bool, device=chunk.x.device),
        x=rendered(threat, origin, region).clone(),
        size=threat.size(origin, region),
        predicted=chunk.y.clone(),
        margin=torch.full((len(chunk.x),), torch.inf, device=chunk.x.device),
    )
    outcome = CascadeOutcome(found)
    # The host decides on its own copies, which `Evaluator.read` brings up to date: one wait after each search.
    at_start = clean_margin.cpu()
    broken, margins = torch.zeros(len(chunk.x), dtype=torch.bool), torch.full((len(chunk.x),), torch.inf)
    early: int | None = None  # samples that the first round broke
    paid = False  # the stage before broke a sample
    ratio: dict[str, float] = {}  # by searcher: its smallest margins over those of all others, in its last stage
    alive = torch.zeros_like(chunk.x[: evaluator.probe_rows], dtype=torch.bool)  # elements that had a gradient
    any_gradient = False
    still = Still.none(len(chunk.x), chunk.x.device)
    if len(cascade.stages) > 1:  # one attack that a user chose runs alone
        leaves = search_leaves(evaluator, threat, chunk)
        coverage.decided(leaves.proven)
        if control:  # an audit asks about proven rows too, by other means
            decided |= leaves.proven
            if leaves.found is not None:
                found.merge(leaves.found, leaves.rows, leaves.found.broken.nonzero().squeeze(1))
                broken |= found.broken.cpu()
                outcome.stages[BY_LEAVES] = int(broken.sum())
    way = evaluator.low_precision if draws and threat.radius > 0 and not discrete else ""
    if way == "alone" and attempts:  # the check is of what breaks, not of how far a search came
        way = ""
    if way == "alone":
        if probe_precision(evaluator, chunk):
            evaluator.note("gradients in bfloat16, checked on a few samples in float32, in which all is judged")
        else:
            way = ""
            evaluator.note("gradients in float32: in bfloat16 they point elsewhere")
    left_out, drawn = torch.zeros_like(broken), torch.zeros_like(broken)  # of the stages in float32
    for low in (True, False) if way else (False,):
        if way == "alone" and not low:
            left, near = ~broken & ~decided, margins <= _NEAR * at_start
            drawn = _drawn(evaluator, chunk, left & ~near)
            left_out, early, ratio = ~(left & (drawn | near)), None, {}
        for place, stage in enumerate(stages):
            searcher, name = stage.searcher, stage.searcher.name
            climbs = searcher.needs is Needs.GRADIENT
            if (
                # Searches without gradients run once: after those in bfloat16, or beside them.
                (not climbs and (low if way == "first" else way == "alone" and not low))
                or (stage.earned and early == int(broken.sum()))
                or (stage.paid and not paid)
                or (stage.near is not None and ratio.get(name, 0.0) > stage.near)
            ):
                continue
            ratio[name], before = math.inf, int(broken.sum())
            after_gradients = any(one.searcher.needs is Needs.GRADIENT for one in stages[:place])
            for number in range(1 if stage.together else stage.rounds):
                uses = [f"{name}/{place}/{each}" for each in (range(stage.rounds) if stage.together else (number,))]
                broken_before = int(broken.sum())
                tried = broken | decided | left_out
                most = math.ceil(stage.smallest * len(tried))
                while len(rows := (~tried).nonzero().squeeze(1)):
                    rows = rows[margins[rows].argsort(stable=True)[:most]].sort().values
                    tried[rows] = True
                    at = rows.to(chunk.x.device)
                    # Rounds that run together are several rows of each sample, each with its own key.
                    each = at.repeat_interleave(len(uses))
                    keys = torch.stack([rng.fold(chunk.key[at], use) for use in uses], 1).flatten()
                    followed = 0 if discrete else int((rows < len(alive)).sum()) * len(uses)
                    with evaluator.low(low):
                        part = search(
                            evaluator,
                            searcher,
                            threat,
                            chunk.x[each],
                            chunk.y[each],
                            key=keys,
                            bounds=chunk.bounds,
                            attempts=attempts,
                            probe=discrete,
                            followed=followed,
                        )
                    if part.alive is not None:
                        any_gradient = True
                        alive.index_put_((each[:followed],), part.alive, accumulate=True)
                    if part.still is not None:
                        still.add(each, part.still)
                    if len(uses) > 1:  # of each sample the first success, or else the smallest margin
                        margin = part.margin.view(-1, len(uses))
                        lane = torch.where(part.broken.view(-1, len(uses)), -torch.inf, margin).argmin(1)
                        one = torch.arange(len(lane), device=lane.device) * len(uses) + lane
                        part = SearchOutcome(
                            part.broken[one], part.x[one], part.size[one], part.predicted[one], margin.amin(1)
                        )
                    every = decides(searcher, pick_problem(whole, at))
                    now, least, over = evaluator.read(part.broken, part.margin, every)
                    broke = int(now.sum())
                    if climbs and place == number == 0 and threat.radius > 0 and not discrete:
                        flat = int((least >= at_start[rows]).sum())
                        health.count("loss_does_not_rise", failed=flat, tried=len(rows))
                    if not climbs and after_gradients and not discrete:
                        health.count("black_box_beats_white_box", failed=broke, tried=len(rows))
                    # The round's least distance: its margins over the smallest known; 0 where it broke a sample.
                    near = torch.where(now, 0.0, least / margins[rows].clamp(min=1e-30))
                    ratio[name] = min(ratio[name], max(0.0, float(near.nan_to_num(nan=1.0).min())))
                    better = now | (least < margins[rows]) if attempts else now
                    found.merge(part, at, better.nonzero().squeeze(1).to(at.device))
                    broken[rows] |= now
                    margins[rows] = torch.minimum(margins[rows], least)
                    coverage.add(stage, rows, now)
                    decided[rows] |= over
                    coverage.decided(decided)
                    if float(now.float().mean()) < stage.go_on:
                        break
                label = name + ("" if len(uses) == stage.rounds else f" #{number + 1}")
                broke = int(broken.sum()) - broken_before
                outcome.stages[label] = outcome.stages.get(label, 0) + broke
                early = int(broken.sum()) if early is None else early
            paid = int(broken.sum()) > before
    if way == "alone":
        evaluator.health.count("reduced_precision", failed=int((broken & drawn).sum()), tried=int((~left_out).sum()))
    if control and threat.radius > 0:  # an audit leaves this to the attack that it audits
        by_labels = search_blind(evaluator, threat, chunk, found, still=still, decided=decided)
        if by_labels:
            outcome.stages["hop-skip-jump"] = outcome.stages.get("hop-skip-jump", 0) + by_labels
            broken |= found.broken.cpu()
    coverage.count(evaluator, ~broken, stages)
    rows = (~broken[: len(alive)]).nonzero().squeeze(1).to(chunk.x.device)
    if any_gradient and len(rows):
        count_unreached(evaluator, chunk.rows(rows), threat, alive[rows])
    return outcome


def _drawn(evaluator: Evaluator, chunk: Chunk, left: Tensor) -> Tensor:
    """Return (n,) bool: a few of the rows `left` (n,) bool, drawn by their keys, on the host."""
    most = _CHECKED if evaluator.probe_rows >= FIRST else _CHECKED_LATER
    order = rng.fold(chunk.key, "float32").cpu().argsort(stable=True)
    drawn = torch.zeros_like(left)
    drawn[order[left[order]][:most]] = True
    return drawn


# The stages


def serving(
    evaluator: Evaluator, cascade: Cascade, threat: Threat, elements: int, *, beside: int = 0
) -> tuple[Stage, ...]:
    """Return the stages that can be used, and note the others.

    Args:
        elements: of a sample.
        beside: passes of a sample outside the stages.

    Raises:
        ConfigError: none is left.
    """
    gives, task = evaluator.model.gives, evaluator.task
    stages = cascade.serving(threat, gives, elements, task)
    if not stages:
        raise ConfigError(_why_no_stage(cascade, threat, gives, task))
    beyond = [stage.searcher for stage in cascade.stages if stage.searcher.needs > gives]
    out = {searcher.name for searcher in beyond if supports(searcher, threat, task)}
    if out:
        names = ", ".join(sorted(out))
        evaluator.note(f"the model gives {gives.name.lower()} only; {cascade.name} ran without {names}")
    if not task.one_class:
        served = cascade.serving(threat, gives, elements)
        unfit = {stage.searcher.name for stage in served if not suits(stage.searcher, task)}
        unfit -= {stage.searcher.name for stage in stages}
        if unfit:
            names = ", ".join(sorted(unfit))
            evaluator.note(f"{cascade.name} ran without {names}: an answer is no single class")
    limit, around = evaluator.model.max_queries, _AROUND + beside
    if limit is None:
        return stages
    kept = affordable(stages, limit - around)
    if not kept:
        raise ConfigError(
            f"Expected max_queries to leave something for an attack but got {limit}, of which the checks around it "
            f"take {around}. Allow more queries, or choose an attack that can do with fewer."
        )
    if kept != stages:
        evaluator.note(f"max_queries={limit} cut the attack from {_stage_list(stages)} to {_stage_list(kept)}")
    return kept


def _stage_list(stages: tuple[Stage, ...]) -> str:
    return ", ".join(f"{s.rounds} x {s.searcher.name} of {passes(s.searcher)}" for s in stages)


def _why_no_stage(cascade: Cascade, threat: Threat, gives: Needs, task: Task) -> str:
    needs = [stage.searcher.needs for stage in cascade.stages if supports(stage.searcher, threat, task)]
    if not needs:
        what = str(threat) if task.one_class else f"{task.name} under {threat}"
        return (
            f"Expected an attack that works on {what} but {cascade.name!r} does not. Choose another attack or threat."
        )
    if min(needs) <= gives:
        return (
            f"Expected an attack for samples like these but every stage of {cascade.name!r} is for others (its `on`, "
            "`only` or `features`). Choose another attack."
        )
    mend = {Needs.LABELS: "hop-skip-jump", Needs.SCORES: "square"}.get(gives, "pgd")
    return (
        f"Expected an attack that works on {threat} with a model that gives {gives.name.lower()} but {cascade.name!r} "
        f"needs {min(needs).name.lower()}. Choose another attack or threat, for example {mend!r}."
    )


# Queries of each stage without gradients where gradients mislead: they break samples that break easily. To show that
# survivors are robust may take more (`enough_queries`), which a claim has to ask for.
_WIDE = 1000


def widened(stages: tuple[Stage, ...], threat: Threat) -> tuple[Stage, ...]:
    """Return stages for a model whose gradients mislead: those without gradients get all samples, and more queries."""
    wide = []
    for stage in stages:
        searcher: Any = stage.searcher
        # Stages by gradients stay: a sample that they break is broken, whatever the gradients are.
        if searcher.needs is Needs.GRADIENT:
            wide.append(stage)
            continue
        if isinstance(searcher, CoherentMoves):  # so many different moves there are not
            wide.append(stage)
            continue
        if supports(searcher, threat) and passes(searcher) < _WIDE and hasattr(searcher, "queries"):
            lanes = max(1, at_once(searcher))
            searcher = replace(searcher, queries=-(-_WIDE // lanes) * lanes)
        wide.append(replace(stage, searcher=searcher, smallest=1.0, earned=False, near=None))
    return tuple(wide)


# Coverage: the searches behind a claim that survivors are safe

_NO_SCORES = (
    "weak_search: the model's scores say no more than its labels, so that no search that follows scores or gradients "
    "counts. Give the scores before they become labels or saturate or, for few features, measure labels_model(...)"
)


_SCATTERED = (
    "weak_search: two edits of a text change the model's scores as if the score of each text were independent, as that "
    "of a hash is, so that no search that follows scores counts. Measure the model without the noise that it adds, or "
    'one edit by attack="standard", which tries all'
)


_UNREAD = (
    "weak_search: nothing that {threat} does to the texts changes a bit of their scores. Either the model does not "
    "read so far, or its scores are saturated, and no search can tell. If it cuts its input, change what it reads "
    '(Insert, Edits) or accept the cut: suppress=("weak_search",). If not, give scores before they saturate'
)


class Coverage:
    """The rows that stages that count for the threat searched, and those searched without gradients."""

    def __init__(
        self,
        x: Tensor,
        threat: Threat,
        *,
        labels_alone: bool | Tensor = False,
        unread: bool | Tensor = False,
        why: str = _NO_SCORES,
    ) -> None:
        """Prepare for samples x (n, *S).

        Args:
            labels_alone: rows (n,) in which only searches by labels count, or True for all.
            unread: rows (n,) of texts whose scores no random input of the threat changes.
            why: reason for `labels_alone`, as a note.
        """
        self._threat, self._features = threat, x.shape[1:].numel()
        self._labels_alone, self._why = torch.as_tensor(labels_alone).cpu().expand(len(x)), why
        self._unread = torch.as_tensor(unread).cpu().expand(len(x))
        # On the host, which decides with them.
        self._searched = torch.zeros(len(x), dtype=torch.bool)
        self._blind = torch.zeros(len(x), dtype=torch.int64)
        self._broken_again = 0

    def add(self, stage: Stage, rows: Tensor, broken: Tensor) -> None:
        """Add a round of a stage on rows (m,) int64, of which it broke (m,) bool."""
        if not searches(stage.searcher, self._threat, self._features):
            return
        if stage.searcher.needs > Needs.LABELS:
            guided = ~self._labels_alone[rows]
            rows, broken = rows[guided], broken[guided]
        self._searched[rows] = True
        if stage.searcher.needs < Needs.GRADIENT:
            self._broken_again += int((broken & (self._blind[rows] > 0)).sum())
            self._blind[rows] += 1

    def decided(self, rows: Tensor) -> None:
        """Enter rows (n,) bool of which every input was evaluated: no second search can add to that."""
        self._searched |= rows
        self._blind[rows] = self._blind[rows].clamp(min=2)

    def count(self, evaluator: Evaluator, left: Tensor, stages: tuple[Stage, ...]) -> None:
        """Count the searches of survivors `left` (n,) bool for the health checks, and note missing ones."""
        if self._threat.radius == 0:  # there is nothing to search
            return
        health, lost = evaluator.health, left & ~self._searched
        unsearched = int(lost.sum())
        health.count("weak_search", failed=unsearched, tried=int(left.sum()))
        health.searched_twice += int((left & (self._blind > 1)).sum())
        health.broken_again += self._broken_again
        if unsearched:
            gives = evaluator.model.gives
            if bool(self._unread[lost].all()):
                evaluator.note(_UNREAD.format(threat=self._threat))
            elif bool((lost & self._labels_alone).any()):
                evaluator.note(self._why)
            else:
                evaluator.note(lacking(self._threat, gives, stages, self._features))


def lacking(threat: Threat, gives: Needs, stages: tuple[Stage, ...], features: int) -> str:
    """Return a note on the search that a threat would take, where the stages that ran do not count."""
    ran, needed = [], []
    for stage in stages:
        least, name = enough_queries(stage.searcher, threat, features), stage.searcher.name
        ran.append(f"{name} with {passes(stage.searcher):,} passes of a sample")
        if least is not None and passes(stage.searcher) >= least:
            needed.append(f"{name} on all samples")
        elif least is not None:
            needed.append(f"{name} with {least:,} or more")
    more = {Needs.LABELS: "scores (scores_model) or gradients", Needs.SCORES: "gradients"}.get(gives)
    other = "an attack that can search it (docs/attacks.md has a table)" + (f", or {more} of the model" if more else "")
    takes = " or ".join(dict.fromkeys(needed)) or other
    return (
        f"weak_search: {threat} of {features:,} features, with a model that gives {gives.name.lower()}, takes {takes}; "
        f"what ran: {', '.join(dict.fromkeys(ran))}"
    )


# Scores that say no more than labels: a one-hot prediction, a tree with pure leaves, or a score that hides its size
# is constant within a class and jumps at its edge. A search that follows it draws at random, with any number of
# queries.
#
# Margins whose spread in a class is below this share of their mean are examined; sound models' spread is larger.
_ALIKE = 0.25
# Fewer margins of a class have no meaningful spread.
_FEW = 3
_ROWS = 8
# Random inputs of each region, for threats without ways between inputs.
_DRAWS = 32
# Parts of a way from one class to another, and again of its steepest part. Each is a little longer than the one before:
# in the very middle between a wave and its mirror image lies silence, where a saturated score may be 0.
_PARTS, _LONGER = 8, 1.1
# Least share of a way's change that lies where the class stays, if scores say more than labels.
_WITHIN = 0.1
# Most passes of one sample.
PASSES = 2 * (2 * _PARTS + 2) + 2
# The check is left out where the budget is less than this number times its passes.
_AFFORDED = 20


def suspected(evaluator: Evaluator, clean_margin: Tensor, y: Tensor) -> bool:
    """Return True if the margins of unchanged samples are so similar within each class that scores need a closer look.

    Args:
        clean_margin: (n,) margins of samples that are classified correctly.
        y: (n,) int64 their classes; each may have its own constant score.
    """
    if not evaluator.task.one_class:
        return evaluator.model.gives is Needs.SCORES
    if not examinable(evaluator) or not len(clean_margin):
        return False
    count = y.bincount()
    free = len(y) - int((count > 0).sum())  # degrees of freedom once each class has its own mean
    if free < _FEW - 1:
        return True
    margin = clean_margin.double()
    mean = margin.new_zeros(len(count)).index_add_(0, y, margin) / count
    spread = ((margin - mean[y]).square().sum() / free).sqrt()
    return bool(spread <= _ALIKE * margin.mean().abs())


def some_equal(evaluator: Evaluator, clean_margin: Tensor, y: Tensor) -> bool:
    """Return True if a model gives scores alone, and some margins of a class are equal, as saturated ones are.

    Such samples hide behind the spread of the others' margins.
    """
    if evaluator.model.gives is not Needs.SCORES or not evaluator.task.one_class or not examinable(evaluator):
        return False
    count = Counter(zip(y.tolist(), clean_margin.tolist(), strict=True))
    return max(count.values(), default=0) >= _FEW


def examinable(evaluator: Evaluator) -> bool:
    """Return True if the scores of a model can be examined: there are some, steady ones, and queries enough."""
    # Labels have no score, and the scores of a model that answers at random move by themselves.
    if evaluator.model.gives is Needs.LABELS or evaluator.random:
        return False
    limit = evaluator.model.max_queries  # with fewer no search of scores counts in any case
    return limit is None or limit >= _AFFORDED * PASSES


def values_of_draws(evaluator: Evaluator, chunk: Chunk, threat: Threat) -> list[list[int]]:
    """Return for each sample, and each class that random inputs of its region get, the number of different scores.

    Where it is 1 in each class, the model may not read what the threat changes, or hide behind a saturated score what
    it reads. Empty lists for tasks without a class.
    """
    if not evaluator.task.one_class or not len(chunk.x):
        return [[] for _ in range(len(chunk.x))]
    x = draws(threat, chunk, _DRAWS)
    scores = evaluator.logits(x.flatten(0, 1))
    classes = evaluator.task.predictions(scores).view(len(x), -1).tolist()
    values: list[dict[int, set[tuple[float, ...]]]] = [{} for _ in classes]
    for of_row, by_class, rows in zip(values, classes, on_scale(scores).view(len(x), _DRAWS, -1).tolist(), strict=True):
        for one, score in zip(by_class, rows, strict=True):
            of_row.setdefault(one, set()).add(tuple(score))
    return [[len(several) for several in of_row.values()] for of_row in values]


def labels_alone(evaluator: Evaluator, chunk: Chunk, threat: Threat | None = None) -> bool:
    """Return True if, on ways to other classes, the scores of the first samples change only where the class does."""
    x = chunk.x[:_ROWS]
    if is_discrete(threat):  # nothing lies between two inputs: compare random inputs of the same class
        if not evaluator.task.one_class:
            return False
        values = values_of_draws(evaluator, chunk.rows(torch.arange(len(x))), threat)
        return all(max(several) <= 2 for several in values)
    if not evaluator.task.one_class:  # outputs with two numbers in all
        return all(len(output.unique()) <= 2 for output in evaluator.logits(x))
    mirrored = x.min() + x.max() - x
    # Ways to the next samples, and to mirrored ones: only those on which the class changes say anything.
    near, far = torch.cat([x, x]), torch.cat([x.roll(1, 0), mirrored])
    ends = evaluator.task.predictions(evaluator.logits(torch.cat([x, mirrored])))
    here, there = ends[: len(x)], ends[len(x) :]
    apart = torch.cat([here != here.roll(1, 0), here != there])
    near, far = near[apart], far[apart]
    ways = len(near)
    for _ in range(2):
        if 2 * len(near) <= ways:
            return False
        points = torch.stack([near + (part / _PARTS) ** _LONGER * (far - near) for part in range(_PARTS + 1)])
        scores = torch.stack([evaluator.logits(point) for point in points])
        stays = evaluator.task.predictions(scores).diff(dim=0) == 0
        changes = on_scale(scores.flatten(0, 1)).view_as(scores).double().diff(dim=0).abs().amax(2)
        # A change that is lost in rounding, at the very end of a way, lies within no class.
        within = (changes * stays).sum(0) / changes.sum(0).clamp(min=1e-30)
        # Go on with the steepest part of each way: a smooth score that is steep at the edge changes within it too.
        at, rows = changes.argmax(0), torch.arange(len(near), device=near.device)
        near, far = points[at, rows][within <= _WITHIN], points[at + 1, rows][within <= _WITHIN]
    # Scores that stay within classes on more than half of these ways say no more than labels.
    return 2 * len(near) > ways


# Scores that do not add up
#
# For edits a or a' in the first half of a text, and b or b' in its second half, a two-way table of a score f:
#
#     main effects  A = f(ab) + f(ab') - f(a'b) - f(a'b'),  B = f(ab) - f(ab') + f(a'b) - f(a'b')
#     interaction   I = f(ab) - f(ab') - f(a'b) + f(a'b')
#
# Models read texts mostly part by part, and I is small. If each text has an independent score, as that of a hash or of
# noise seeded by the text, A, B and I have the same variance, and a search that follows f draws at random.

_TABLES = 12
# Least mean of a text's sum of I^2 over that of (A^2 + B^2) / 2. It is 1.1 for independent scores.
_INDEPENDENT = 0.6


def unrelated(evaluator: Evaluator, chunk: Chunk, threat: Threat) -> bool:
    """Return True if the scores of the first texts of a chunk look independent of each other within two edits."""
    if not is_discrete(threat) or not getattr(threat, "kinds", ()) or threat.radius < 2:
        return False
    if not evaluator.task.one_class or not len(chunk.x):
        return False
    part = chunk.rows(torch.arange(min(_ROWS, len(chunk.x)), device=chunk.x.device))
    return interaction(evaluator, part, threat) >= _INDEPENDENT


def interaction(evaluator: Evaluator, part: Chunk, threat: Discrete) -> float:
    """Return the mean over texts of sum I^2 / sum (A^2 + B^2) / 2, over `_TABLES` tables of each; 0 if none moves."""
    x, rows = part.x.repeat_interleave(_TABLES, 0), len(part.x) * _TABLES
    region = threat.region(x, part.bounds)
    z, number = threat.origin(region), torch.arange(rows, device=x.device) % _TABLES
    draw = rng.fold(rng.fold(part.key.repeat_interleave(_TABLES), number), "tables")
    u = rng.uniform(draw, (6,)).double()
    middle, length = (threat.places(z, region) - 1) // 2, (z >= 0).sum(1)
    first, second = (u[:, 0] * middle).long(), middle + 2 + (u[:, 3] * (middle - 3).clamp(min=1)).long()
    made = []
    for one in (1, 2):
        a = threat.moved(z, first, (u[:, one] * threat.choices(z, first, region)).long(), region)
        # The same character of the text, wherever the first edit has moved it.
        place = torch.minimum(second + (a >= 0).sum(1) - length, threat.places(a, region) - 1)
        for other in (4, 5):
            choice = (u[:, other] * threat.choices(a, place, region)).long()
            made.append(threat.moved(a, place, choice, region))
    scores = on_scale(evaluator.logits(torch.cat(made)))
    margins = evaluator.task.margin(scores, part.y.repeat_interleave(_TABLES).repeat(4)).double()
    # Where two of the four texts are the same there is no table.
    four = torch.stack(made)
    twins = (four.unsqueeze(0) == four.unsqueeze(1)).all(3).sum((0, 1)) > 4
    f = torch.where(twins, 0.0, margins.view(4, -1)).view(4, len(part.x), _TABLES)
    main = ((f[0] + f[1] - f[2] - f[3]).square() + (f[0] - f[1] + f[2] - f[3]).square()).sum(1) / 2
    both, moves = (f[0] - f[1] - f[2] + f[3]).square().sum(1), main > 0
    return float((both[moves] / main[moves]).mean()) if bool(moves.any()) else 0.0
