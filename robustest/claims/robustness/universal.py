"""Universal perturbations: one change that, added to any sample, changes the prediction."""

# It is learned by gradient steps on mini-batches (Shafahi et al., AAAI 2020, section 3).

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Unpack

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.coherent import direction
from robustest.checks import checked_whole, require
from robustest.decisions import ShareRule, checked_threshold
from robustest.engine.chunks import Chunk, load
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import count_unreached
from robustest.kinds import Kind, Quantity, clean_accuracy
from robustest.results import Pairing, Result
from robustest.run.driver import observe
from robustest.run.evidence import Observation, exhibits_of
from robustest.run.finish import finish
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Setup, deciding, of_task
from robustest.run.split_search import Halves
from robustest.settings import Settings
from robustest.tasks import Task, as_targets
from robustest.threats import L2, Linf

# One perturbation for many samples: learned from several starts, of which the best four are refined.

# With the model's own answers y(x), the lead l(x) of another answer over y(x), and a soft step of width w:
#
# 1. Starts: no perturbation; random corners of the ball; and, where an answer is a class, no perturbation again with
#    the ten likeliest classes as targets, in which the random corners take turns: what leads one answer away leads
#    another one back, and without a target such steps cancel out. Then the five that fool most of 200 samples among
#    perturbations that need no gradient, as a part of the model may have none anywhere near the samples: moves of all
#    elements together (`attacks.coherent`), and the differences between the means of the samples of two answers,
#    which are where a network that knows little else looks. Each start runs `steps` // 10 steps, at least one: starts
#    end at very different rates, and fewer steps do not tell them apart.
# 2. A step climbs the mean over a mini-batch of sigmoid(l(x + delta) / w), so that samples that are fooled already, or
#    far from it, have little weight. w falls from 1 to 0.3 usual leads, so that the scale of the logits does not
#    matter.
# 3. The gradient is taken beside x + delta, at a random corner of a ball that shrinks to zero: a clamp, a threshold
#    or a rectifier in the model is flat at many samples, and has a slope beside them.
# 4. delta = project(delta + a_t * ascent(momentum)), the gradient over its mean size, a_t along half a cosine to zero.
# 5. The four perturbations that fool most samples share `steps` between them; the best of all is returned.


Batches = Callable[[int], Iterator[Chunk]]
"""Makes the given number of mini-batches, the same ones each time."""

_SHORT = 10
# Starts at random, and towards the classes that are likeliest on average.
_RANDOM = 10
_CLASSES = 10
# Moves of all elements together, and differences of means, that are compared, on so many samples; starts among them.
_COHERENT, _MEANS, _COMPARED, _BEST = 40, 20, 200, 5
# Starts that are refined further.
_GO_ON = 4
_MOMENTUM = 0.9
# The first and the last width of the soft step, in usual leads of the likeliest class.
_WIDTHS = (1.0, 0.3)
# Half the length of the first step of a start, and of a refined one, as a share of the way across the ball.
_FIRST_SHARE, _LATER_SHARE = 0.25, 0.1


def learn(evaluator: Evaluator, batches: Batches, few: Chunk, threat: Linf | L2, steps: int) -> Tensor:
    """Return a perturbation (1, *S) inside the threat's ball that changes many of the model's own answers.

    Args:
        batches: the samples to learn from.
        few: some of these samples, on which perturbations are compared.
        steps: steps of the two refined starts together.
    """
    clean, task = evaluator.logits(few.x), evaluator.task
    evaluator.check_task(clean, few.y)  # nothing is judged by the samples' own targets here
    answers = as_targets(task, task.predictions(clean))
    found: list[tuple[float, Tensor]] = []

    def keep(delta: Tensor) -> None:
        fooled = ~task.holds(evaluator.logits(threat.project(few.x + delta, region)), answers)
        found.append((float(fooled.double().mean()), delta))

    region = threat.region(few.x, few.bounds)
    alive = torch.zeros_like(few.x[:1], dtype=torch.bool)  # elements with a gradient anywhere that was climbed from
    short = max(1, steps // _SHORT)
    # Perturbations to begin with, and the target class of their first steps or None.
    nothing = torch.zeros_like(few.x[:1])
    ball = _ball(threat, nothing, few)
    keys = [rng.fold(few.key[:1], f"universal start {number}") for number in range(_RANDOM)]
    random = [threat.stride(ball) * threat.ascent(rng.signs(key, nothing.shape[1:])) for key in keys]
    targets: list[int | None] = []
    if task.one_class:
        near = (clean - clean.amax(1, keepdim=True)).mean(0).argsort(descending=True, stable=True)[:_CLASSES]
        targets += near.tolist()
    turns = targets or [None]
    starts = [(nothing, None), *((threat.project(d, ball), turns[n % len(turns)]) for n, d in enumerate(random))]
    starts += [(nothing, target) for target in targets]
    # Compared with their climbs' results, too: steps by gradients may lead away from parts without any.
    for start in _without_gradients(evaluator, few, answers, threat):
        starts.append((start, None))
        keep(start)
    for delta, target in starts:
        climbed = _climb(
            evaluator, batches(short), threat, delta, steps=short, share=_FIRST_SHARE, target=target, alive=alive
        )
        keep(climbed)
    best = sorted(found, key=lambda one: -one[0])[:_GO_ON]
    for number, (_, delta) in enumerate(best):
        own = steps // _GO_ON + (steps % _GO_ON if number == 0 else 0)
        if own:
            keep(_climb(evaluator, batches(own), threat, delta, steps=own, share=_LATER_SHARE, alive=alive))
    best_of_all = max(found, key=lambda one: one[0])[1]
    same = task.holds(evaluator.logits(threat.project(few.x + best_of_all, region)), answers)
    left = same.nonzero().squeeze(1)[: evaluator.probe_rows]
    if len(left):
        part = replace(few.rows(left), y=answers[left])
        count_unreached(evaluator, part, threat, alive.expand(len(left), *alive.shape[1:]))
    return best_of_all


def _without_gradients(evaluator: Evaluator, few: Chunk, answers: Tensor, threat: Linf | L2) -> list[Tensor]:
    """Return the perturbations (1, *S) that change most answers, of coherent moves and of differences of means.

    Args:
        answers: (N, *T) the model's answers on `few`.
    """
    task, first, zero = evaluator.task, few.rows(torch.arange(min(_COMPARED, len(few.x)))), torch.zeros_like(few.x[:1])
    ball, n = _ball(threat, zero, few), _COHERENT
    number = torch.arange(n, device=zero.device)
    ways = list(direction(few.x.mean(0, keepdim=True).expand(n, *zero.shape[1:]), number, few.key[:1].expand(n)))
    if task.one_class:
        # The answers with most samples first.
        counts = answers.bincount()
        labels = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
        means = [few.x[answers == label].mean(0) for label in labels.tolist()]
        pairs = [means[last] - means[place] for last in range(len(means)) for place in range(last)]
        ways += [sign * pair for pair in pairs[: _MEANS // 2] for sign in (1.0, -1.0)]
    made = [threat.project(threat.stride(ball) * threat.ascent(way.unsqueeze(0)), ball) for way in ways]
    region = threat.region(first.x, first.bounds)
    own = answers[: len(first.x)]
    held = [task.holds(evaluator.logits(threat.project(first.x + delta, region)), own) for delta in made]
    rates = [-float(one.double().mean()) for one in held]
    order = sorted(range(len(made)), key=lambda place: -rates[place])[:_BEST]
    return [made[place] for place in order]


def _climb(
    evaluator: Evaluator,
    batches: Iterator[Chunk],
    threat: Linf | L2,
    delta: Tensor,
    *,
    steps: int,
    share: float,
    alive: Tensor,
    target: int | None = None,
) -> Tensor:
    """Return the perturbation after `steps` steps; mark elements with a gradient in `alive` (1, *S) bool."""
    pace, share = torch.zeros_like(delta), max(share, 1 / steps)  # few steps cross the ball, too
    for step, batch in enumerate(batches):
        ball = _ball(threat, delta, batch)
        logits, task = evaluator.logits(batch.x), evaluator.task
        answers = as_targets(task, task.predictions(logits))
        # The usual distance of the model's answers from other ones. Objectives other than the margin may be zero there,
        # as an error is: then the margin gives the scale.
        lead = -_lost(task, logits, answers, target=None)
        if not task.one_class:
            lead = torch.maximum(lead, task.margin(logits, answers).to(lead))
        done = step / max(1, steps - 1)
        width = lead.median() * (_WIDTHS[0] + (_WIDTHS[1] - _WIDTHS[0]) * done)
        fooled = _Fooled(task, answers, target, width.clamp(min=torch.finfo(lead.dtype).tiny))
        corner = threat.stride(ball) * threat.ascent(
            rng.signs(rng.fold(batch.key, f"universal {step}"), delta.shape[1:])
        )
        # In clipped elements too, so that the perturbation can grow out of the clipped side again.
        point = (batch.x + delta + (1 - done) * corner).clamp(*batch.bounds)
        each = evaluator.gradient(point, lambda z, _: z, fooled)[1]
        alive |= (each != 0).any(0, keepdim=True)
        gradient = each.mean(0, keepdim=True)
        pace = _MOMENTUM * pace + gradient / gradient.abs().mean().clamp(min=torch.finfo(gradient.dtype).tiny)
        length = share * (1 + math.cos(math.pi * step / steps)) * threat.stride(ball)
        delta = threat.project(delta + length * threat.ascent(pace), ball)
    return delta


@dataclass(frozen=True, slots=True)
class _Fooled:
    """A soft step of the lead of any other answer, or of one class, over answers y (N, *T)."""

    task: Task
    y: Tensor
    target: int | None
    width: Tensor

    def __call__(self, logits: Tensor, part: slice) -> Tensor:
        return torch.sigmoid(_lost(self.task, logits, self.y[part], self.target) / self.width)


def _lost(task: Task, output: Tensor, y: Tensor, target: int | None) -> Tensor:
    """Return (B,) the lead of another answer over answers y (B, *T), negative while they hold."""
    if not task.one_class:
        return task.losses["margin"](output, y)
    at = y.unsqueeze(1)
    own = output.gather(1, at).squeeze(1)
    return (output.scatter(1, at, -torch.inf).amax(1) if target is None else output[:, target]) - own


def _ball(threat: Linf | L2, delta: Tensor, batch: Chunk) -> dict[str, Tensor]:
    """Return the region of perturbations themselves: around zero, bounded by the width of the bounds."""
    span = batch.bounds[1] - batch.bounds[0]
    return threat.region(torch.zeros_like(delta), (-span, span))


# Samples of one gradient step; fixed, so that memory limits do not change the perturbation.
_BATCH = 64
# Most samples, of the half learned from, that select the best perturbation.
_JUDGED = 512


UNIVERSAL_PERTURBATION = Kind(
    name="no_universal_perturbation",
    varies="inputs",
    quantities=(
        Quantity.at_most(
            "max_fooling_rate", "fooling rate", "samples fooled by one perturbation in {}", trivial=1, counts="outcomes"
        ),
    ),
    lines=clean_accuracy,
    hidden=frozenset({"clean_accuracy"}),
)


@measurement(UNIVERSAL_PERTURBATION)
def measure_no_universal_perturbation(
    model: object,
    data: object,
    threat: Linf | L2,
    *,
    max_fooling_rate: float | None = None,
    iterations: int = 200,
    task: Task | str | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure the share of samples with a predicted class that one and the same perturbation changes.

    The perturbation is learned on one half of the samples, drawn with the seed, and measured on the other half: the
    fooling rate of Moosavi-Dezfooli et al. (CVPR 2017, section 2). Labels are not used.

    Args:
        model: as for `measure_robust_accuracy`; it must give gradients.
        data: as for `measure_robust_accuracy`; at least two samples.
        threat: contains the perturbation, `Linf(eps)` or `L2(eps)` in input units.
        max_fooling_rate: largest fooling rate claimed, in 0..1.
        iterations: mini-batches of 64 samples, >= 1; each of up to 26 starts uses `iterations // 10` more.
        task: as for `measure_robust_accuracy`; the target is the prediction on the unchanged sample.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result, `outcomes` None for the half learned from; the rate is a lower bound.
    """
    max_fooling_rate = checked_threshold("max_fooling_rate", max_fooling_rate, trivial=1, optional=True)
    require(isinstance(threat, (Linf, L2)), "threat to be Linf(eps) or L2(eps)", threat)
    checked_whole("iterations", iterations, 1)
    setup = Setup.of(model, data, options, deciding(task))
    halves = Halves.of(setup.samples, setup.settings.seed, len(setup.samples))
    plan = setup.on(halves.view).plan(
        UNIVERSAL_PERTURBATION.quantities[0].state(threat) + of_task(setup.task),
        Perturbing(halves=halves, threat=threat, iterations=iterations, settings=setup.settings),
        ShareRule(threshold=max_fooling_rate, at_least=False, terms=setup.terms),
        here=True,
    )
    evidence = observe(plan)
    learned = len(halves.searched)
    result = finish(
        plan,
        evidence,
        kind=UNIVERSAL_PERTURBATION,
        threshold=max_fooling_rate,
        setting=str(threat),
        method=f"learned on {learned} samples in {iterations} iterations, measured on the {len(halves.unseen)} others",
        details={
            "fooled": int((~evidence.columns["held"]).sum()),
            "clean_accuracy": evidence.share(evidence.columns["clean"]),
            "accuracy_under_perturbation": evidence.share(evidence.columns["right"]),
            "learned_on": learned,
            "iterations": iterations,
            "radius": threat.radius,
        },
        bounds="below",
        pairing=Pairing(under=of_task(setup.task).strip(", ")),
    )
    return halves.whole(result)


@assertion(measure_no_universal_perturbation)
def assert_no_universal_perturbation() -> None:
    """Claim that no single perturbation, learned on half of the samples, fools many of the other half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbing:
    """Predictions of a chunk, unchanged and with the perturbation (1, *S), which is learned at the first chunk."""

    halves: Halves
    threat: Linf | L2
    iterations: int
    settings: Settings
    learned: list[Tensor] = field(default_factory=list)

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        if not self.learned:
            samples, ids, seed = self.halves.samples, self.halves.searched, self.settings.seed
            # Selection sees only the half learned from, never the samples measured.
            few = load(samples, ids[:_JUDGED], bounds=chunk.bounds, seed=seed, device=chunk.x.device)

            def batches(steps: int) -> Iterator[Chunk]:
                step, lap = 0, 0
                while step < steps:
                    # Shuffled anew in each round, by keys of the samples: the order does not depend on batch size or
                    # device.
                    key = rng.fold(rng.fold(rng.keys(seed, ids), "universal"), lap)
                    shuffled = ids[key.argsort(stable=True)]
                    for start in range(0, len(ids), _BATCH)[: steps - step]:
                        part = shuffled[start : start + _BATCH]
                        yield load(samples, part, bounds=chunk.bounds, seed=seed, device=chunk.x.device)
                        step += 1
                    lap += 1

            self.learned.append(learn(evaluator, batches, few, self.threat, self.iterations))
        # Exhibits have positions in the user's data, not in the half.
        part = replace(chunk, ids=self.halves.unseen[chunk.ids])
        return perturb_chunk(evaluator, part, self.threat, self.learned[0])


def perturb_chunk(evaluator: Evaluator, chunk: Chunk, threat: Linf | L2, delta: Tensor) -> Observation:
    """Return the outcomes of a chunk with the perturbation (1, *S)."""
    region = threat.region(chunk.x, chunk.bounds)
    # Clipped to the bounds, so that the changed sample is a valid input.
    after = threat.project(chunk.x + delta, region)
    task, before, logits = evaluator.task, evaluator.logits(chunk.x), evaluator.logits(after)
    clean = task.predictions(before)
    # The target is the clean prediction: fooling needs no label.
    said = as_targets(task, clean)
    same = task.holds(logits, said)
    exhibits = exhibits_of(
        evaluator,
        chunk,
        ~same,
        clean=clean,
        predicted=task.predictions(logits),
        after=after,
        badness=-task.margin(logits, said),
        size=threat.size(after, region),
    )
    columns = {"held": same, "clean": task.holds(before, chunk.y), "right": task.holds(logits, chunk.y)}
    return Observation(columns, exhibits)
