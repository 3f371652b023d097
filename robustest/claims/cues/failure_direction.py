"""Whether a model's errors lie apart from its hits: in a direction of an embedding, found by cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.checks import checked_whole
from robustest.data import as_samples
from robustest.discovery.directions import FailureDirections, find_failure_directions, principal_components
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError, DataError, expected
from robustest.facts import Fact
from robustest.kinds import Kind, Quantity
from robustest.results import Result, Verdict
from robustest.rules import ShareRule
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Exhibit, Observed
from robustest.run.noting import measures
from robustest.run.options import Options, apply, terms_of
from robustest.run.result_building import result_of
from robustest.statistics import Decision, checked_threshold

Embedding = Callable[[Tensor], Tensor] | Tensor
"""Maps inputs (B, *S) to rows (B, D); or the rows (N, D) of all samples in the data's order."""

_SIDE = 16
"""Images are averaged down to this side at most before their principal components are taken."""


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    """The classes whose errors are told apart best."""
    return [
        Fact("errors", f"class {c['class']}: {c['errors']} of {c['n']} wrong, score {c['score']:.3f}, p = {c['p']:.2g}")
        for c in details["classes"][:3]
    ]


NO_FAILURE_DIRECTION = Kind(
    name="no_failure_direction",
    quantities=(
        Quantity(
            name="cross-validated score",
            comparison="<=",
            threshold="max_cv",
            statement="score of a direction that tells errors from hits",
        ),
    ),
    lines=_lines,
)
"""How well a linear direction tells a class's errors from its hits."""


@measures(NO_FAILURE_DIRECTION)
def measure_failure_direction(
    model: object,
    data: object,
    *,
    max_cv: float | None = None,
    embedding: Embedding | None = None,
    components: int = 64,
    permutations: int = 200,
    min_errors: int = 10,
    **options: Unpack[Options],
) -> Result:
    """How well a linear direction tells a class's errors from its hits (Jain et al., ICLR 2023).

    For each class a balanced linear support vector machine is fitted to the embeddings of the samples that the model
    gets wrong, against those it gets right. Its balanced accuracy on folds left out is the score: .5 where errors are
    scattered at random, 1 where they lie in a corner of their own, as those of a minority do that training lacked. The
    same search on permuted errors, over all classes, tells what chance scores.

    The claim fails where a class scores more than `max_cv` and chance does not (p <= alpha / 2, corrected for all
    classes). It passes where no class scores more, and every class with errors could be judged. It is inconclusive
    where a class has fewer than `min_errors` errors, or hits, or scores more and chance may be why.

    Directions tell that errors have something in common, not what: look at the samples that lie furthest along them,
    and test what they share with `measure_spurious_feature`. Errors of a sound model have something in common too (they
    are of untypical samples), so that a limit for a model has to be found by measuring good ones.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`.
        max_cv: the score claimed at most, in 0..1.
        embedding: what machines are fitted on. Not the model's own last layer, where every model's errors lie on one
            side. None takes the principal components of the inputs, of images averaged down to 16 x 16.
        components: how many of these, at most.
        permutations: of the errors, at least 2 / alpha - 1 to find anything.
        min_errors: classes with fewer errors, or hits, cannot be judged, >= 5; without errors there is nothing to.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result; the estimate is the highest score of a class, of those found where there is one. Outcomes are True
        where the model is right. `details["classes"]` has each class's score, p-value, errors, and the samples that
        fail most.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: an embedding is not as above; else as for `measure_robust_accuracy`.
        ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    max_cv = None if max_cv is None else checked_threshold("max_cv", max_cv, trivial=1)
    checked_whole("components", components, 1)
    classifier, settings = apply(model, options)
    if 1 / (permutations + 1) > settings.alpha / 2 + 1e-12:
        least = round(2 / settings.alpha) - 1
        raise ConfigError(expected(f"permutations >= {least} at alpha = {settings.alpha:g}", permutations))
    samples = as_samples(data)
    if isinstance(embedding, Tensor) and (embedding.ndim != 2 or len(embedding) != len(samples)):
        raise DataError(expected(f"embedding to have {len(samples)} rows (N, D)", tuple(embedding.shape)))
    statement = NO_FAILURE_DIRECTION.quantities[0].says()
    evidence = observe(
        statement,
        classifier,
        samples,
        settings,
        partial(embed_chunk, embedding=embedding),
        rule=ShareRule(threshold=None, at_least=True, terms=terms_of(settings)),
        here=True,
    )
    rows = torch.from_numpy(evidence.columns["embedding"])
    found = find_failure_directions(
        principal_components(rows, components) if embedding is None else rows,
        torch.from_numpy(evidence.columns["label"]),
        torch.from_numpy(~evidence.columns["held"]),
        permutations=permutations,
        alpha=settings.alpha / 2,
        min_score=0.5 if max_cv is None else max_cv,
        min_errors=min_errors,
        seed=settings.seed,
    )
    evidence = replace(evidence, exhibits=_exhibits(evidence, found, settings.examples))
    return result_of(
        evidence,
        _decided(evidence, found, max_cv),
        replace(settings, pictures=None),
        kind=NO_FAILURE_DIRECTION,
        statement=statement if max_cv is None else f"{statement} <= {max_cv:g}",
        threshold=max_cv,
        setting=f"{len(found.directions)} classes, {len(found.skipped)} skipped",
        method=f"balanced linear machines, {found.permutations} permutations of the errors",
        details=_details(evidence, found),
    )


def embed_chunk(evaluator: Evaluator, chunk: Chunk, *, embedding: Embedding | None) -> Observed:
    """What the model says of a chunk, and where its samples lie.

    Raises:
        DataError: an embedding is no finite matrix of a row for each sample.
    """
    predicted = evaluator.logits(chunk.x).argmax(1)
    if embedding is None:
        rows = _pooled(chunk.x)
    elif isinstance(embedding, Tensor):
        rows = embedding[chunk.ids.to(embedding.device)]
    else:
        with torch.no_grad():
            rows = embedding(chunk.x)
    if not isinstance(rows, Tensor) or rows.ndim != 2 or len(rows) != len(chunk.y):
        raise DataError(expected(f"embedding to give {len(chunk.y)} rows (B, D)", rows))
    columns = {"held": predicted == chunk.y, "label": chunk.y, "predicted": predicted, "embedding": rows.float()}
    return Observed({name: column.detach().cpu().numpy() for name, column in columns.items()}, [])


def _pooled(x: Tensor) -> Tensor:
    if x.ndim == 4 and max(x.shape[2:]) > _SIDE:
        x = F.adaptive_avg_pool2d(x, (min(_SIDE, x.shape[2]), min(_SIDE, x.shape[3])))
    return x.flatten(1)


def _decided(evidence: Evidence, found: FailureDirections, max_cv: float | None) -> Decision:
    """Failed where a direction is found, passed where no class scores more than claimed, else inconclusive."""
    score = max((direction.score for direction in found.directions), default=0.5)
    if max_cv is None:
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    elif found.found:
        first = found.found[0]
        verdict, score = Verdict.FAILED, first.score
        rule = (
            f"class {first.label}: {first.score:.3f}, p = {first.p_value:.2g}, where chance has {first.null_mean:.3f}"
        )
    elif not evidence.whole:
        verdict, rule = Verdict.INCONCLUSIVE, f"budget: {evidence.n} of {evidence.total} samples looked at"
    elif untold := _untold(evidence, found, max_cv):
        verdict, rule = Verdict.INCONCLUSIVE, untold
    elif not found.directions:
        verdict, rule = Verdict.PASSED, "certain: there are no errors"
    else:
        highest = found.directions[0]
        verdict, rule = Verdict.PASSED, f"no class has more: {score:.3f} in class {highest.label}"
    return Decision(verdict=verdict, rule=rule, estimate=score if evidence.whole else None, interval=(score, score))


def _untold(evidence: Evidence, found: FailureDirections, max_cv: float) -> str:
    """Why a claim that did not fail does not pass: a class that could not be judged, or that chance may have raised."""
    wrong = evidence.columns["label"][~evidence.columns["held"]]
    few = [label for label in found.skipped if (wrong == label).any()]
    if few and not found.directions:
        return f"{len(wrong)} errors, too few in every class to tell a direction"
    if few:
        which = f"class{'es' if len(few) > 1 else ''} {', '.join(map(str, few))}"
        return f"{which}: errors, but too few of them, or of hits, to tell a direction (min_errors); give more samples"
    over = [direction for direction in found.directions if direction.score > max_cv]
    if not over:
        return ""
    least = min(over, key=lambda direction: direction.p_value)
    return f"class {least.label}: {least.score:.3f}, p = {least.p_value:.2g}: chance or not, give more samples"


def _exhibits(evidence: Evidence, found: FailureDirections, most: int) -> list[Exhibit]:
    """The samples that fail most along the directions found; they were not changed, so there is nothing to picture."""
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


def _details(evidence: Evidence, found: FailureDirections) -> dict[str, Any]:
    ids = np.asarray(evidence.ids)
    return {
        "accuracy": evidence.share(evidence.columns["held"]),
        "permutations": found.permutations,
        "found": [direction.label for direction in found.found],
        "classes": [
            {
                "class": direction.label,
                "score": direction.score,
                "chance": direction.null_mean,
                "p": direction.p_value,
                "errors": direction.n_errors,
                "n": len(direction.rows),
                "most_failing": ids[direction.rows[:10].numpy()].tolist(),
            }
            for direction in found.directions
        ],
        "skipped": {str(label): why for label, why in found.skipped.items()},
    }
