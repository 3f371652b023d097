"""Universal perturbations: one change that, added to any sample, changes the prediction.

It is learned by gradient steps on mini-batches (Shafahi et al., AAAI 2020, section 3; `robustest.engine.universal`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Unpack

from torch import Tensor

from robustest import rng
from robustest.checks import checked_whole
from robustest.decisions import ShareRule, optional_threshold
from robustest.engine.answer_checks import hints_on
from robustest.engine.chunks import Chunk, load
from robustest.engine.evaluator import Evaluator
from robustest.engine.universal import learn
from robustest.errors import ConfigError, DataError, expected
from robustest.kinds import OUTCOMES, Kind, Quantity, clean_accuracy
from robustest.results import Pairing, Result
from robustest.run.assertion import assertion
from robustest.run.driver import observe
from robustest.run.evidence import Observation, exhibits_of
from robustest.run.finish import finish, nothing_allowed
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup, deciding, of_task
from robustest.run.split_search import Halves
from robustest.settings import Settings
from robustest.tasks import Task
from robustest.threats import L2, Linf

# Samples of one gradient step; fixed, so that memory limits do not change the perturbation.
_BATCH = 64
# Most samples, of the half learned from, that select the best perturbation.
_JUDGED = 512


UNIVERSAL_PERTURBATION = Kind(
    name="no_universal_perturbation",
    quantities=(
        Quantity.at_most(
            "max_fooling_rate", "fooling rate", "samples fooled by one perturbation in {}", trivial=1, counts=OUTCOMES
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
        iterations: mini-batches of 64 samples, >= 1; each of up to 21 starts uses `iterations // 10` more.
        task: as for `measure_robust_accuracy`; the target is the prediction on the unchanged sample.
        **options: see `robustest.run.plan.Options`.

    Returns:
        The result, `outcomes` None for the half learned from; the rate is a lower bound.

    Raises:
        ConfigError, DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    max_fooling_rate = optional_threshold("max_fooling_rate", max_fooling_rate, trivial=1)
    if not isinstance(threat, (Linf, L2)):
        raise ConfigError(expected("threat to be Linf(eps) or L2(eps)", threat))
    checked_whole("iterations", iterations, 1)
    setup = Setup.of(model, data, options, deciding(task))
    if len(setup.samples) < 2:
        raise DataError(f"Expected two samples or more, to learn from and to measure on, but got {len(setup.samples)}.")
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
        caveats=nothing_allowed(threat),
        notes=hints_on(threat, setup.model.bounds),
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
        return perturb_chunk(evaluator, part, self.threat, self.learned[0], self.settings.examples)


def perturb_chunk(evaluator: Evaluator, chunk: Chunk, threat: Linf | L2, delta: Tensor, examples: int) -> Observation:
    """Return the outcomes of a chunk with the perturbation (1, *S)."""
    region = threat.region(chunk.x, chunk.bounds)
    # Clipped to the bounds, so that the changed sample is a valid input.
    after = threat.project(chunk.x + delta, region)
    task, before, logits = evaluator.task, evaluator.logits(chunk.x), evaluator.logits(after)
    clean = task.predictions(before)
    # The target is the clean prediction: fooling needs no label.
    same = task.holds(logits, clean)
    exhibits = exhibits_of(
        chunk,
        ~same,
        clean=clean,
        predicted=task.predictions(logits),
        before=chunk.x,
        after=after,
        badness=-task.margin(logits, clean),
        size=threat.size(after, region),
        most=examples,
        task=task,
    )
    columns = {"held": same, "clean": task.holds(before, chunk.y), "right": task.holds(logits, chunk.y)}
    return Observation({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)
