"""Minimum perturbation: the smallest change found, for every sample, that makes the model wrong."""

# The interval's ends are order statistics: for any distribution of sizes, each is beyond the population's median with
# probability alpha at most (David and Nagaraja, Order Statistics, section 7.1).

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import rng
from robustest.attacks import Cascade, HopSkipJump, Searcher, Stage, as_attack
from robustest.attacks.cascades import MINIMUM
from robustest.decisions import (
    Decision,
    EarlyVerdict,
    ShareRule,
    checked_threshold,
    count_at_least,
    count_at_most,
)
from robustest.decisions.distributions import binom
from robustest.decisions.rule import Columns, ThresholdRule, decide_early, judge_interval
from robustest.decisions.share import evidence
from robustest.engine.chunks import Chunk
from robustest.engine.coverage import Coverage
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import climbers, count_unreached, probe_gradient, probe_inputs
from robustest.engine.score_diagnosis import Suspicion
from robustest.engine.search import search
from robustest.engine.stages import serving
from robustest.errors import ConfigError, expected, unknown
from robustest.kinds import Kind, Quantity, clean_accuracy
from robustest.results import Captions, Pairing, Result, Verdict
from robustest.run.driver import observe
from robustest.run.evidence import Observation, exhibits_of
from robustest.run.finish import finish
from robustest.run.grounds import Changed
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Setup, deciding, of_task
from robustest.tasks import Task
from robustest.threats import L1, L2, Linf, Threat, per_row

# The smallest perturbation of each sample of a chunk.

# 1. Every stage of a cascade searches every sample in a ball as wide as the bounds; the smallest misclassified input of
#    all is kept. Where gradients mislead, HopSkipJump searches as well.
# 2. Where nothing was found, the way to the nearest sample of another answer leaves the class somewhere: bisection
#    gives an upper bound of the size, marked `bounded`.


# A further stage where gradients mislead.
_BLIND = Stage(searcher=HopSkipJump(queries=1000))
# The way to a neighbour is cut to this power of one half.
_HALVINGS = 12


@dataclass(slots=True)
class Smallest:
    """The smallest perturbations of a chunk's n samples.

    Attributes:
        clean: (n,) predictions of the unchanged samples.
        right: (n,) bool: these hold.
        x: (n, *S) the inputs found; the sample itself where it is wrong unchanged or nothing was found.
        size: (n,) float64; 0 where it is wrong unchanged, infinite where nothing was found.
        predicted: (n,) predictions of `x`.
        bounded: (n,) bool: no search found anything, and `x` lies on the way to a sample of another answer.
    """

    clean: Tensor
    right: Tensor
    x: Tensor
    size: Tensor
    predicted: Tensor
    bounded: Tensor


def search_smallest(evaluator: Evaluator, chunk: Chunk, cascade: Cascade, threat: Threat) -> Smallest:
    """Return the smallest misclassified inputs that any stage finds for each sample, in a ball as wide as the bounds.

    Raises:
        ConfigError: no stage works on this threat with the outputs that the model gives.
    """
    logits = evaluator.logits(chunk.x)
    clean, holds = evaluator.task.predictions(logits), evaluator.task.holds(logits, chunk.y)
    size = torch.where(holds, torch.inf, 0.0).double()
    best = Smallest(clean, holds, chunk.x.clone(), size, clean.clone(), torch.zeros_like(holds))
    right = holds.nonzero().squeeze(1)
    part = chunk.rows(right)
    suspicion = Suspicion.of(evaluator, threat, evaluator.task.margin(logits[right], part.y), part.y)
    stages = serving(evaluator, cascade, threat, chunk.x[0].numel(), beside=suspicion.passes)
    climbing = climbers(cascade, threat, evaluator, chunk)
    probe_inputs(evaluator, chunk, logits, climbing, threat)
    if climbing and len(right) and probe_gradient(evaluator, part) and isinstance(threat, (L2, Linf)):
        stages = (*stages, _BLIND)
    coverage = Coverage(part.x, threat, suspicion.diagnose(evaluator, part, threat))
    rows = torch.arange(len(right))
    followed = min(evaluator.probe_rows, len(right))
    alive, any_gradient = torch.zeros_like(part.x[:followed], dtype=torch.bool), False
    for place, stage in enumerate(stages):
        for number in range(stage.rounds if len(right) else 0):
            key = rng.fold(part.key, f"{stage.searcher.name}/{place}/{number}")
            found = search(
                evaluator,
                stage.searcher,
                threat,
                part.x,
                part.y,
                key=key,
                bounds=chunk.bounds,
                smallest=True,
                followed=followed,
            )
            if found.alive is not None:
                alive, any_gradient = alive | found.alive, True
            (won,) = evaluator.read(found.broken & (found.size < best.size[right]))
            better = won.nonzero().squeeze(1).to(right.device)
            at = right[better]
            best.x[at], best.size[at], best.predicted[at] = found.x[better], found.size[better], found.predicted[better]
            coverage.add(stage, rows, won)
    coverage.count(evaluator, torch.ones_like(rows, dtype=torch.bool), stages)
    if any_gradient and followed:
        count_unreached(evaluator, part.rows(rows[:followed].to(right.device)), threat, alive)
    lost = right[best.size[right].isinf()]
    if climbing:  # a search in a ball as wide as the bounds is one without a bound
        evaluator.health.count("unbounded_attack_fails", failed=len(lost), tried=len(right))
    _bound(evaluator, chunk, threat, best, lost)
    return best


def _bound(evaluator: Evaluator, chunk: Chunk, threat: Threat, best: Smallest, lost: Tensor) -> None:
    """Bound the size of rows (m,) without a finding: the way to the nearest sample of another answer leaves their
    class.
    """
    norm = {L1: 1.0, L2: 2.0, Linf: torch.inf}
    p = next((p for kind, p in norm.items() if isinstance(threat, kind)), None)
    if p is None or not len(lost):
        return
    x, y = chunk.x[lost], chunk.y[lost]
    apart = torch.cdist(x.flatten(1), chunk.x.flatten(1), p=p)
    task = evaluator.task
    # Exclude samples whose answer would be right for the row as well: the way to them need not leave its class.
    apart[torch.stack([task.right(best.clean, one.expand(len(best.clean), *one.shape)) for one in y])] = torch.inf
    near, at = apart.min(1)
    some = near.isfinite()
    lost, x, y, far = lost[some], x[some], y[some], chunk.x[at[some]]
    if not len(lost):
        return
    inside, outside = torch.zeros_like(near[some]), torch.ones_like(near[some])
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        holds = evaluator.task.holds(evaluator.logits(torch.lerp(x, far, per_row(middle, x))), y)
        inside, outside = torch.where(holds, middle, inside), torch.where(holds, outside, middle)
    found = torch.lerp(x, far, per_row(outside, x)).clamp(*chunk.bounds)
    logits = evaluator.logits(found)
    size = threat.size(found, threat.region(x, chunk.bounds))
    wrong, predicted = ~evaluator.task.holds(logits, y), evaluator.task.predictions(logits)
    at = lost[wrong]
    best.x[at], best.size[at], best.predicted[at] = found[wrong], size[wrong], predicted[wrong]
    best.bounded[at] = True


Norm = str | type[Linf] | type[L2] | type[L1]

_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_THREATS: dict[str, type[Linf] | type[L2] | type[L1]] = {"l1": L1, "l2": L2, "linf": Linf}


MIN_PERTURBATION = Kind(
    name="min_perturbation",
    varies="inputs",
    quantities=(Quantity.at_least("at_least", "median perturbation", "median {} perturbation, {}"),),
    captions=Captions(after="adversarial", names={"quantiles": "size, by share"}),
    lines=clean_accuracy,
    hidden=frozenset({"clean_accuracy"}),
)


@measurement(MIN_PERTURBATION)
def measure_min_perturbation(
    model: object,
    data: object,
    norm: Norm,
    *,
    at_least: float | None = None,
    attack: str | Searcher | Cascade | None = None,
    task: Task | str | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure the median, over samples, of the smallest perturbation found that makes the model wrong.

    Samples that are wrong unchanged need 0. A found size is an upper bound: a failure is proven, a pass is as good as
    the search. If nothing is found, the boundary on the way to the nearest sample of another prediction bounds the
    size, or else the largest distance inside the bounds. A "set" claim holds if at least half of the samples need
    `at_least`.

    Args:
        model, data, task: as for `measure_robust_accuracy`.
        norm: "l2", "linf" or "l1", or the threat's class, e.g. `L2`.
        at_least: median claimed, in input units, > 0.
        attack: as for `measure_robust_accuracy`; every stage searches every sample for the smallest size. None:
            `robustest.attacks.cascades.MINIMUM` for the norm.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. A sample's outcome is True if it needs `at_least`, or more than 0 if that is None.
        `details["quantiles"]` has for each share q the largest size that at least 1 - q of the samples reach.
    """
    at_least = checked_threshold("at_least", at_least, within=(0.0, math.inf), trivial=0, optional=True)
    name = _named(norm)
    setup = Setup.of(model, data, options, deciding(task))
    cascade = MINIMUM[name] if attack is None else as_attack(attack)
    plan = setup.plan(
        MIN_PERTURBATION.quantities[0].state(_THREATS[name].__name__, cascade.name) + of_task(setup.task),
        MinimumSearch(name=name, cascade=cascade, least=at_least),
        MedianRule(threshold=at_least, terms=setup.terms),
        identity=("minimum perturbation", name, cascade, at_least),
    )
    evidence = observe(plan)
    clean, found, sizes, bounded = (evidence.columns[name] for name in ("clean", "found", "size", "bounded"))
    return finish(
        plan,
        evidence,
        kind=MIN_PERTURBATION,
        threshold=at_least,
        setting=f"{_THREATS[name].__name__} norm",
        method=cascade.name,
        details={
            "clean_accuracy": evidence.share(clean),
            "not_found": int((clean & ~found).sum()),
            "bounded_by_neighbours": int(bounded.sum()),
            "quantiles": {f"{share:g}": reached(np.sort(sizes), share) for share in _SHARES},
        },
        bounds="above",
        # A search without a radius may always change a sample; one that is wrong as it is needs no change.
        changed=[Changed(by=f"a search in the {_THREATS[name].__name__} norm", moved=clean)],
        pairing=Pairing(
            under=("no threshold" if at_least is None else f"the threshold {at_least:g}") + of_task(setup.task)
        ),
    )


@assertion(measure_min_perturbation)
def assert_min_perturbation() -> None:
    """Claim that at least half of the samples need a perturbation of at least `at_least` to become wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianRule(ThresholdRule):
    """The rule of a claim on the median of the column "size"; the column "widest" has the largest possible one."""

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        if self.threshold is None:
            return None
        return self._half.settle(columns, n)

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        ordered, widest = np.sort(columns["size"]), float(columns["widest"][0])
        # An early stop looks at the data many times: only an interval valid at any time may be used.
        if len(ordered) < n and self.terms.scope == "set":
            interval = self._median_interval(ordered, n, settled, widest)
            return decide_early(self.threshold, interval, len(ordered), n, settled, at_least=True, terms=self.terms)
        estimate, interval = reached(ordered, 0.5), median_interval(ordered, self.terms.alpha, widest)
        if len(ordered) < n:
            return decide_early(self.threshold, interval, len(ordered), n, None, at_least=True, terms=self.terms)
        if self.threshold is None:
            verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        elif self.terms.scope == "set":
            # By counts, as an early verdict is: comparing the median could disagree in the last bit.
            holds = int(columns["held"].sum()) >= count_at_least(0.5, n)
            verdict, rule = Verdict.PASSED if holds else Verdict.FAILED, "certain: exact on this set"
        else:
            verdict = judge_interval(interval, self.threshold, at_least=True)
            rule = f"population, alpha = {self.terms.alpha:g} a side"
        at_alpha = self.threshold is not None and self.terms.scope != "set"
        return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, at_alpha=at_alpha)

    def doomed(self, broken: int, n: int) -> bool:
        return self.threshold is not None and self._half.doomed(broken, n)

    @property
    def _half(self) -> ShareRule:
        # The median is at least the threshold if half of the samples reach it.
        return ShareRule(threshold=0.5, at_least=True, terms=self.terms)

    def _median_interval(
        self, ordered: NDArray[np.float64], n: int, settled: EarlyVerdict | None, widest: float
    ) -> tuple[float, float]:
        """Return the interval of the set's median, valid at any stopping time."""
        # The interval holds the thresholds that the test leaves open (Howard and Ramdas, Bernoulli 2022, section 3).
        half, limit = count_at_least(0.5, n), -np.log(self.terms.alpha)
        below = np.searchsorted(ordered, ordered)
        reach = len(ordered) - below
        low = ordered[evidence(reach, below, n, half - 1, above=True) >= limit]
        high = ordered[evidence(reach, below, n, half, above=False) >= limit]
        ends = sorted((float(low[-1]) if len(low) else 0.0, float(high[0]) if len(high) else widest))
        if settled is None or self.threshold is None:
            return ends[0], ends[1]
        if settled.verdict is Verdict.PASSED:
            return max(ends[0], self.threshold), max(ends[1], self.threshold)
        return min(ends[0], self.threshold), min(ends[1], self.threshold)


def median_interval(ordered: NDArray[np.float64], alpha: float, widest: float) -> tuple[float, float]:
    """Return the interval of a population's median from its samples' order statistics.

    Args:
        ordered: (n,) rising.
        alpha: most chance that the median is beyond either end.
        widest: the largest possible value: the end for too few samples.
    """
    n = len(ordered)
    # The k-th smallest is above the median with probability P(Binomial(n, 1/2) < k).
    k = int(binom.ppf(alpha, n, 0.5))
    k += int(binom.cdf(k, n, 0.5) <= alpha)
    return (float(ordered[k - 1]), float(ordered[n - k])) if k else (0.0, widest)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimumSearch:
    """The smallest perturbations of a chunk's samples, in the ball that contains every input."""

    name: str
    cascade: Cascade
    least: float | None

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        # The distance between opposite corners of the bounds: no perturbation is larger.
        elements = chunk.x[0].numel()
        corners = {"l1": elements, "l2": math.sqrt(elements), "linf": 1}[self.name]
        widest = (chunk.bounds[1] - chunk.bounds[0]) * corners
        # Twice the largest distance: the ball must contain every input, so that the search is limited by the bounds
        # alone.
        smallest = search_smallest(evaluator, chunk, self.cascade, _THREATS[self.name](2 * widest))
        # An infinite size means nothing found: the largest possible size replaces it.
        size = smallest.size.clamp(max=widest)
        found = smallest.right & smallest.size.isfinite()
        held = size > 0 if self.least is None else size >= self.least
        exhibits = exhibits_of(
            evaluator,
            chunk,
            # Counterexamples of a claim are perturbations below its threshold.
            found if self.least is None else found & ~held,
            clean=smallest.clean,
            predicted=smallest.predicted,
            after=smallest.x,
            badness=-size,
            size=size,
        )
        columns = {
            "held": held,
            "clean": smallest.right,
            "found": found,
            "bounded": smallest.bounded,
            "size": size,
            "widest": np.full(len(size), widest),
        }
        return Observation(columns, exhibits)


def reached(ordered: NDArray[np.float64], share: float) -> float:
    """Return the largest of (n,) rising sizes that at least 1 - share of them reach."""
    n = len(ordered)
    return float(ordered[min(n - 1, count_at_most(share, n))])


def _named(norm: object) -> str:
    if isinstance(norm, str):
        if norm not in _THREATS:
            raise unknown("norm", norm, _THREATS)
        return norm
    for name, threat in _THREATS.items():
        if norm is threat:
            return name
    raise ConfigError(expected('norm to be "l2", "linf", "l1" or the class L2, Linf or L1', norm))
