"""Failures in a corner of a class: errors along a direction of an embedding, beyond those that the embedding foresees.

`robustest.discovery.failure_directions` fits a direction for each class and orders samples left out by it. The value is
the error rate of the samples that lie furthest, less the rate foreseen there: near 0 where errors are ordinary, near 1
where a minority fails that training lacked.

A direction does not name the common feature of the errors: look at the samples that lie furthest, and test it with
`measure_no_spurious_feature`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.checks import checked_whole
from robustest.decisions import Decision, ShareRule, clopper_pearson, optional_threshold
from robustest.discovery.failure_directions import FailureDirections, find_failure_directions, principal_components
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError, DataError, expected
from robustest.kinds import Kind, Quantity
from robustest.results import Fact, Result, Verdict
from robustest.run.assertion import assertion
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Exhibit, Observation
from robustest.run.finish import finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup

Embedding = Callable[[Tensor], Tensor] | Tensor
"""Maps inputs (B, *S) to rows (B, D); or the rows (N, D) of all samples, in order."""

MAX_EXCESS = 0.45
"""The assertion's default limit; `benchmarks/failure_directions.py` shows which models it accuses."""

# Images are averaged down to this side at most before their principal components are taken.
_SIDE = 16


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    return [
        Fact(
            "errors", f"class {c['class']}: {c['errors']} of {c['n']} wrong, excess {c['excess']:.3f}, p = {c['p']:.2g}"
        )
        for c in details["classes"][:3]
    ]


NO_FAILURE_DIRECTION = Kind(
    name="no_failure_direction",
    quantities=(
        Quantity.at_most(
            "max_excess_error", "excess error rate", "errors beyond those foreseen, along a direction", trivial=1
        ),
    ),
    lines=_lines,
)


@measurement(NO_FAILURE_DIRECTION)
def measure_no_failure_direction(
    model: object,
    data: object,
    *,
    max_excess_error: float | None = None,
    embedding: Embedding | None = None,
    components: int = 64,
    permutations: int = 200,
    min_errors: int = 10,
    **options: Unpack[Options],
) -> Result:
    """Measure the errors along a linear direction beyond those that looks foresee (Jain et al., ICLR 2023).

    The claim fails if a class exceeds `max_excess_error` and chance does not (p <= alpha / 2, corrected for all
    classes); it passes if no class exceeds it and all could be decided, which takes `min_errors` errors and as many
    hits. It is about this set of samples, for any scope.

    Args:
        model, data: as for `measure_robust_accuracy`.
        max_excess_error: the error rate beyond the foreseen one that is claimed at most, in 0..1.
        embedding: the rows that machines are fitted on, not the model's own last layer: there its failures look like
            another class. None takes principal components of inputs, averaged down to 16 x 16.
        components: most principal components.
        permutations: draws of the errors, at least 2 / alpha - 1 to find anything.
        min_errors: classes with fewer errors, or hits, cannot be decided, >= 5.
        **options: see `robustest.run.plan.Options`.

    Returns:
        The result; the estimate is the highest excess of the classes found, else of all classes, at least 0.
            `details["classes"]` has each class's excess, p-value, errors, and worst samples.

    Raises:
        ConfigError: an argument is out of range.
        DataError: an embedding does not fit.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    max_excess_error = optional_threshold("max_excess_error", max_excess_error, trivial=1)
    checked_whole("components", components, 1)
    setup = Setup.of(model, data, options).unpictured()
    n, alpha = len(setup.samples), setup.settings.alpha
    if 1 / (permutations + 1) > alpha / 2 + 1e-12:
        raise ConfigError(expected(f"permutations >= {round(2 / alpha) - 1} at alpha = {alpha:g}", permutations))
    if isinstance(embedding, Tensor) and (embedding.ndim != 2 or len(embedding) != n):
        raise DataError(expected(f"embedding to have {n} rows (N, D)", tuple(embedding.shape)))
    rule = ShareRule(threshold=None, at_least=True, terms=setup.terms)
    look = EmbeddingMeasurement(embedding)
    plan = setup.plan(NO_FAILURE_DIRECTION.quantities[0].state(), look, rule, here=True)
    evidence = observe(plan)
    rows = torch.from_numpy(evidence.columns["embedding"])
    found = find_failure_directions(
        principal_components(rows, components) if embedding is None else rows,
        torch.from_numpy(evidence.columns["label"]),
        torch.from_numpy(~evidence.columns["held"]),
        permutations=permutations,
        alpha=alpha / 2,
        min_excess=max_excess_error or 0.0,
        min_errors=min_errors,
        seed=plan.settings.seed,
    )
    return finish(
        plan,
        replace(evidence, exhibits=_exhibits(evidence, found, plan.settings.examples)),
        decision=_decision(evidence, found, max_excess_error),
        kind=NO_FAILURE_DIRECTION,
        threshold=max_excess_error,
        setting=f"{len(found.directions)} classes, {len(found.skipped)} skipped",
        method=f"linear machines, {found.permutations} draws of the errors as foreseen",
        details={
            "accuracy": evidence.share(evidence.columns["held"]),
            "permutations": found.permutations,
            "found": [direction.label for direction in found.found],
            "classes": [
                {
                    "class": direction.label,
                    "excess": direction.excess,
                    "foreseen": direction.foreseen,
                    "slice": direction.slice,
                    "score": direction.score,
                    "chance": direction.null_mean,
                    "p": direction.p_value,
                    "errors": direction.n_errors,
                    "n": len(direction.rows),
                    "most_failing": np.asarray(evidence.ids)[direction.rows[:10].numpy()].tolist(),
                }
                for direction in found.directions
            ],
            "skipped": {str(label): why for label, why in found.skipped.items()},
        },
        scope="set",  # an excess has a p-value, and no bound on the population
    )


@assertion(measure_no_failure_direction, max_excess_error=MAX_EXCESS)
def assert_no_failure_direction() -> None:
    """Claim that along no linear direction a class has many more errors than similarity to other classes explains."""


@dataclass(frozen=True, slots=True)
class EmbeddingMeasurement:
    """The model's answers to a chunk, and the rows of its samples."""

    embedding: Embedding | None

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        embedding = self.embedding
        logits, task = evaluator.logits(chunk.x), evaluator.task
        if embedding is None:
            x = chunk.x
            # Few pixels keep the matrix of their covariances small.
            if x.ndim == 4 and max(x.shape[2:]) > _SIDE:
                x = F.adaptive_avg_pool2d(x, (min(_SIDE, x.shape[2]), min(_SIDE, x.shape[3])))
            rows: object = x.flatten(1)
        elif isinstance(embedding, Tensor):
            rows = embedding[chunk.ids.to(embedding.device)]
        else:
            with torch.no_grad():
                rows = embedding(chunk.x)
        if not isinstance(rows, Tensor) or rows.ndim != 2 or len(rows) != len(chunk.y):
            raise DataError(expected(f"embedding to give {len(chunk.y)} rows (B, D)", rows))
        held, predicted = task.holds(logits, chunk.y), task.predictions(logits)
        columns = {"held": held, "label": chunk.y, "predicted": predicted, "embedding": rows.float()}
        return Observation({name: column.detach().cpu().numpy() for name, column in columns.items()}, [])


def _decision(evidence: Evidence, found: FailureDirections, max_excess_error: float | None) -> Decision:
    excess = max(0.0, *(direction.excess for direction in found.directions), 0.0)
    if max_excess_error is None:
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    elif found.found:
        first = found.found[0]
        verdict, excess = Verdict.FAILED, first.excess
        rule = (
            f"class {first.label}: {first.excess + first.foreseen:.2f} wrong where {first.foreseen:.2f} is foreseen, "
            f"p = {first.p_value:.2g}"
        )
    elif not evidence.whole:
        verdict, rule = Verdict.INCONCLUSIVE, f"budget: {evidence.n} of {evidence.total} samples looked at"
    elif doubt := _doubt(evidence, found, max_excess_error):
        verdict, rule = Verdict.INCONCLUSIVE, doubt
    elif not found.directions:
        verdict, rule = Verdict.PASSED, "certain: there are no errors"
    else:
        highest = found.directions[0]
        verdict, rule = Verdict.PASSED, f"no class has more: {highest.excess:.3f} in class {highest.label}"
    shown = next(iter(found.found or found.directions), None)
    if shown is None:
        interval = 0.0, 1.0  # no class could be judged, and nothing is ruled out
    else:
        # The exact interval of the error rate in the slice shown, less the foreseen rate. Each decision in the slice is
        # from a machine fitted without that sample. The class was chosen by these data, so that all classes share
        # the error of the lower end.
        alpha, wrong = found.alpha * 2, round((shown.excess + shown.foreseen) * shown.slice)
        low = clopper_pearson(wrong, shown.slice, alpha / len(found.directions))[0]
        high = clopper_pearson(wrong, shown.slice, alpha)[1]
        interval = max(0.0, low - shown.foreseen), max(0.0, high - shown.foreseen)
    return Decision(verdict=verdict, rule=rule, estimate=excess if evidence.whole else None, interval=interval)


def _doubt(evidence: Evidence, found: FailureDirections, max_excess_error: float) -> str:
    """Return the reason why a claim that did not fail does not pass; empty if it passes."""
    wrong = evidence.columns["label"][~evidence.columns["held"]]
    few = [label for label in found.skipped if (wrong == label).any()]
    if few and not found.directions:
        return f"{len(wrong)} errors, too few in every class to tell a direction"
    if few:
        classes = f"class{'es' if len(few) > 1 else ''} {', '.join(map(str, few))}"
        return (
            f"{classes}: errors, but too few of them, or of hits, to tell a direction (min_errors); give more samples"
        )
    over = [direction for direction in found.directions if direction.excess > max_excess_error]
    if not over:
        return ""
    least = min(over, key=lambda direction: direction.p_value)
    return f"class {least.label}: {least.excess:.3f}, p = {least.p_value:.2g}: chance or not, give more samples"


def _exhibits(evidence: Evidence, found: FailureDirections, most: int) -> list[Exhibit]:
    # Without pictures: the samples were not changed.
    nothing = torch.empty(0)
    shown = []
    for direction in found.found:
        for row, badness in zip(direction.rows.tolist(), (-direction.decisions).tolist(), strict=True):
            predicted = int(evidence.columns["predicted"][row])
            if predicted != direction.label:
                shown.append(
                    Exhibit(
                        index=int(evidence.ids[row]),
                        label=direction.label,
                        clean=predicted,
                        predicted=predicted,
                        size=None,
                        before=nothing,
                        after=nothing,
                        badness=badness,
                    )
                )
    return sorted(shown, key=lambda exhibit: -exhibit.badness)[:most]
