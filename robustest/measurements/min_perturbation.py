"""Minimum perturbation: the smallest change found, for every sample, that makes the model wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch import Tensor

from robustest import rng
from robustest.attacks import Cascade, Searcher, Stage, as_attack
from robustest.attacks.alma import ALMA
from robustest.attacks.ddn import DDN
from robustest.attacks.fab import FAB
from robustest.attacks.fmn import FMN
from robustest.data import as_samples
from robustest.engine.cascade import serving
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.probes import probe_inputs
from robustest.engine.search import Search
from robustest.errors import ConfigError, expected, unknown
from robustest.measurements.driver import Evidence, Observed, exhibits_of, observe
from robustest.measurements.finish import healthy, result_of
from robustest.measurements.options import Options, apply
from robustest.results import Result, Verdict
from robustest.settings import Settings
from robustest.threats import L1, L2, Linf, Threat
from robustest.verdicts import Decision, need
from robustest.verdicts.fixed import beyond

Norm = str | type[Linf] | type[L2] | type[L1]

_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_THREATS: dict[str, type[Linf] | type[L2] | type[L1]] = {"l1": L1, "l2": L2, "linf": Linf}

SEARCHES = {
    "l1": Cascade(
        name="minimum-l1",
        stages=(Stage(searcher=FMN(gamma=0.2, random_start=True)), Stage(searcher=FAB())),
    ),
    "l2": Cascade(
        name="minimum-l2",
        stages=(
            Stage(searcher=DDN.outside_in(steps=40), rounds=2),
            Stage(searcher=ALMA()),
            Stage(searcher=FAB(steps=40)),
        ),
    ),
    "linf": Cascade(
        name="minimum-linf",
        stages=(Stage(searcher=FMN(gamma=0.1, random_start=True)), Stage(searcher=FAB())),
    ),
}
"""The searches for each norm: every stage on every sample, the smallest of what they find kept."""


def measure_min_perturbation(
    model: object,
    data: object,
    norm: Norm,
    *,
    median_at_least: float | None = None,
    attack: str | Searcher | Cascade | None = None,
    **options: Unpack[Options],
) -> Result:
    """The median, over samples, of the smallest perturbation found that makes the model wrong.

    Samples that are wrong unchanged need 0. What is found is an upper bound on what is there: a stronger search can
    only lower the number, so a failure is proved by its samples and a pass is as good as the search. Where nothing is
    found, the way from one corner of the bounds to the other is taken, and counted in the details.

    The estimate is the value that at least half of the samples reach: the middle one, the larger of two in the middle.
    A "set" claim holds if at least half of the samples need `median_at_least`. The interval's ends are order statistics
    of the samples: whatever the sizes' distribution, each is beyond the median of the population with probability
    alpha at most (David and Nagaraja, Order Statistics, section 7.1).

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`.
        norm: "l2", "linf" or "l1", or the threat's class, e.g. `L2`.
        median_at_least: the median claimed, in input units, >= 0; without one the verdict is "inconclusive".
        attack: as for `measure_robust_accuracy`; every stage searches every sample, for the smallest size. None stands
            for the norm's own in `SEARCHES`.
        **options: see `robustest.measurements.options.Options`.

    Returns:
        The result. Its outcomes are True where a sample needs `median_at_least`, or where it needs more than 0 if that
        is not given; its counterexamples are the smallest perturbations found. `details["quantiles"]` has the sizes
        that 0, 10, 25, 50, 75, 90 and 100 % of the samples do not exceed.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    if median_at_least is not None:
        median_at_least = _checked(median_at_least)
    name = _named(norm)
    classifier, settings = apply(model, options)
    cascade = SEARCHES[name] if attack is None else as_attack(attack)
    statement = f"median {_THREATS[name].__name__} perturbation, {cascade.name}"
    widest = [0.0]

    def look(evaluator: Evaluator, chunk: Chunk) -> Observed:
        widest[0] = _across(name, chunk)
        smallest = search_chunk(evaluator, chunk, cascade, _THREATS[name](2 * widest[0]))
        return _observed(chunk, smallest, median_at_least, widest=widest[0], most=settings.examples)

    evidence = observe(statement, classifier, as_samples(data), settings, look)
    decision = decide_median(evidence.columns["size"], median_at_least, settings, widest=widest[0])
    return result_of(
        evidence,
        healthy(decision, evidence.health),
        settings,
        claim="min_perturbation",
        statement=statement if median_at_least is None else f"{statement} >= {median_at_least:g}",
        quantity="median perturbation",
        threshold=median_at_least,
        comparison=">=",
        setting=f"{_THREATS[name].__name__} norm",
        method=cascade.name,
        details=_details(evidence),
    )


@dataclass(slots=True)
class Smallest:
    """The smallest perturbations found; rows as in the chunk.

    Attributes:
        clean: (n,) classes of the unchanged samples.
        x: (n, *S) the inputs found; the sample itself where it is wrong unchanged or nothing was found.
        size: (n,) float64; 0 where it is wrong unchanged, infinite where nothing was found.
        predicted: (n,) classes of `x`.
    """

    clean: Tensor
    x: Tensor
    size: Tensor
    predicted: Tensor


def search_chunk(evaluator: Evaluator, chunk: Chunk, cascade: Cascade, threat: Threat) -> Smallest:
    """The smallest misclassified inputs that any stage finds for each sample, in a ball as wide as the bounds.

    Raises:
        ConfigError: no stage works on this threat with what the model gives.
    """
    clean = evaluator.logits(chunk.x).argmax(1)
    probe_inputs(evaluator, chunk)
    size = torch.where(clean == chunk.y, torch.inf, 0.0).double()
    best = Smallest(clean, chunk.x.clone(), size, clean.clone())
    right = (clean == chunk.y).nonzero().squeeze(1)
    for place, stage in enumerate(serving(evaluator, cascade, threat, chunk.x[0].numel())):
        for number in range(stage.rounds if len(right) else 0):
            search = Search(evaluator, stage.searcher, threat, chunk.bounds, smallest=True)
            key = rng.fold(chunk.key[right], f"{stage.searcher.name}/{place}/{number}")
            found = search.run(chunk.x[right], chunk.y[right], key)
            evaluator.settle()
            better = found.broken & (found.size < best.size[right])
            at = right[better]
            best.x[at], best.size[at], best.predicted[at] = found.x[better], found.size[better], found.predicted[better]
    return best


def decide_median(
    sizes: NDArray[np.float64], threshold: float | None, settings: Settings, *, widest: float
) -> Decision:
    """A verdict on the median of sizes.

    Args:
        sizes: (n,) >= 0, none infinite.
        threshold: the median claimed, or None.
        settings: the kind of claim, and the error allowed on each side.
        widest: the largest size there can be, the interval's end where there are too few samples for a smaller one.
    """
    ordered = np.sort(sizes)
    n = len(ordered)
    # The k-th smallest is above the median with probability P(Binomial(n, 1/2) < k).
    k = int(binom.ppf(settings.alpha, n, 0.5))
    k += int(binom.cdf(k, n, 0.5) <= settings.alpha)
    interval = (float(ordered[k - 1]), float(ordered[n - k])) if k else (0.0, float(widest))
    estimate = float(ordered[n // 2])
    if threshold is None:
        return Decision(verdict=Verdict.INCONCLUSIVE, rule="no threshold given", estimate=estimate, interval=interval)
    if settings.claim == "set":
        holds = int((sizes >= threshold).sum()) >= need(0.5, n)
        verdict, rule = Verdict.PASSED if holds else Verdict.FAILED, "certain: exact on this set"
    else:
        verdict = beyond(interval, threshold, at_least=True)
        rule = f"population, alpha = {settings.alpha:g} a side"
    return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval)


def _observed(chunk: Chunk, smallest: Smallest, threshold: float | None, *, widest: float, most: int) -> Observed:
    size = smallest.size.clamp(max=widest)
    found = (smallest.predicted != chunk.y) & (smallest.clean == chunk.y)
    held = size > 0 if threshold is None else size >= threshold
    exhibits = exhibits_of(
        chunk,
        found if threshold is None else found & ~held,
        clean=smallest.clean,
        predicted=smallest.predicted,
        before=chunk.x,
        after=smallest.x,
        badness=-size,
        size=size,
        most=most,
    )
    columns = {
        "held": held.cpu().numpy(),
        "clean": (smallest.clean == chunk.y).cpu().numpy(),
        "found": found.cpu().numpy(),
        "size": size.cpu().numpy(),
    }
    return Observed(columns, exhibits)


def _details(evidence: Evidence) -> dict[str, Any]:
    clean, found, sizes = (evidence.columns[name] for name in ("clean", "found", "size"))
    return {
        "clean_accuracy": float(clean.mean()),
        "not_found": int((clean & ~found).sum()),
        "quantiles": {f"{share:g}": float(np.quantile(sizes, share, method="inverted_cdf")) for share in _SHARES},
    }


def _across(name: str, chunk: Chunk) -> float:
    """The size of the way from one corner of the bounds to the opposite one; no perturbation is larger."""
    elements = chunk.x[0].numel()
    return (chunk.bounds[1] - chunk.bounds[0]) * {"l1": elements, "l2": math.sqrt(elements), "linf": 1}[name]


def _checked(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigError(expected("median_at_least to be a number >= 0", value, "Give it in input units."))
    return float(value)


def _named(norm: object) -> str:
    if isinstance(norm, str):
        if norm not in _THREATS:
            raise unknown("norm", norm, _THREATS)
        return norm
    for name, threat in _THREATS.items():
        if norm is threat:
            return name
    raise ConfigError(expected('norm to be "l2", "linf", "l1" or the class L2, Linf or L1', norm))
