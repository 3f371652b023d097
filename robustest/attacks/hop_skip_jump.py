"""HopSkipJump: a walk along the decision boundary, by labels alone (Chen et al., IEEE S&P 2020, algorithm 2)."""

# A sample x goes through four phases, one query a step, in round t = 1, 2, ...
#
# 1. Start: noise, blended with the sample, until the label changes; the first is uniform between the bounds, later ones
#    between two random levels.
# 2. Halve: bisection between x and the point found, to d^-3/2 (L2) or d^-2 (L-inf) of the way; z is the boundary point.
# 3. Probe: B = b * sqrt(t) points z + delta u_i, phi_i = +1 where the label differs, else -1. The normal is
#    v = sum (phi_i - mean phi) u_i (equations 9 and 16).
# 4. Walk: z + s v with s = |z - x| / sqrt(t), halved until its end has another label. Then halve again.
#
# Probes are |z - x| / d long (the paper's choice, with its d^-3/2 or d^-2 inserted), a tenth of the bounds' span in the
# first round. It walks outside the ball and counts once it has come within the radius.

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from robustest import devices, rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.attacks.queries import OneByOne
from robustest.checks import check_ranges, whole
from robustest.threats import Euclidean, Linf, Rows, Threat, Unbounded, per_row

_START, _HALVE, _PROBE, _WALK = range(4)
# Fewest and most halvings of a search for the boundary: few dimensions need some, float32 can follow no more.
_HALVINGS = (10, 20)
# Probes in fewer dimensions are as short as in 16; in more dimensions no number of queries is enough.
_FEW = 16
_MOST_PROBES = 10_000
# Fewest queries that count as a search of a ball for samples of at most `_FEW` elements (docs/attacks.md).
_ENOUGH = 1000
# New probes are made where even a step halved this many times leaves the other class.
_SHORTENINGS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class HopSkipJump(OneByOne):
    """A walk along the decision boundary.

    Args:
        queries: model passes per sample, >= 1.
        probes: the paper's B_0, probes in round 1, >= 1. The paper makes 100, with up to 25,000 queries.
    """

    queries: int = field(default=5000, metadata=whole(1))
    probes: int = field(default=50, metadata=whole(1))

    name = "hop-skip-jump"
    needs = Needs.LABELS
    confined: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_ranges(self)

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Linf | Euclidean | Unbounded)

    def enough_queries(self, threat: Threat, features: int) -> int | None:
        if isinstance(threat, Unbounded):
            return 1
        # A label says little about the place of the boundary: 20,000 of them missed most of the samples that gradients
        # broke on a net of 784 features.
        return _ENOUGH if features <= _FEW else None

    def init(self, problem: Problem, key: Tensor) -> Rows:
        x, none = problem.x, torch.zeros_like(key)
        zero = torch.zeros(key.shape, device=key.device)
        return {
            "key": key,
            "age": none,
            "phase": none + _START,
            "count": none,  # queries in this phase
            "round": none + 1,
            "far": x,  # a point of another class, once there is one
            "low": zero,  # this share of the way to it has the sample's class
            "high": zero + 1,  # and this share has another
            "distance": zero,  # of the boundary point, `high` of the way to `far`
            "drift": torch.zeros_like(x),  # sum of the probes
            "normal": torch.zeros_like(x),  # sum of the probes times their signs; in the walk, its unit step
            "balance": zero,  # sum of the signs
            "length": zero,  # of the step tried
        }

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        phase = state["phase"]
        middle = (state["low"] + state["high"]) / 2
        z = _between(problem, state["far"], torch.where(phase == _HALVE, middle, state["high"]))
        if _any(probing := phase == _PROBE):
            u = rng.normal(rng.fold(state["key"], state["age"]), z.shape[1:])
            size = _probe_length(problem, state) / torch.linalg.vector_norm(u.flatten(1), dim=1)
            z = torch.addcmul(z, u, per_row(size * probing, z))
        if _any(walking := phase == _WALK):
            z = torch.addcmul(z, state["normal"], per_row(state["length"] * walking, z))
        if _any(starting := phase == _START):
            # The next start: noise between two levels, blended with the sample. The first is noise over all the bounds.
            low, high = problem.bounds
            key = rng.fold(state["key"], state["age"])
            draws = rng.uniform(rng.fold(key, "levels"), (3,))
            first = per_row(state["count"] == 0, draws)
            draws = torch.where(first, torch.tensor([0.0, 1.0, 1.0], device=key.device), draws)
            bottom, top, blend = (per_row(draws[:, k], z) for k in range(3))
            level = torch.lerp(bottom, top, rng.uniform(key, z.shape[1:]))
            noise = torch.lerp(problem.x, low + (high - low) * level, (1 + blend) / 2)
            z = torch.where(per_row(starting, z), noise, z)
        return z

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        wrong = ~problem.task.holds(evaluation.logits, problem.y)
        # Rows are in different phases: each phase that occurs is computed for all rows and taken by its own.
        after = {**state, "age": state["age"] + 1, "count": state["count"] + 1}
        for phase, hear in enumerate((self._after_start, self._after_halving, self._after_probe, self._after_walk)):
            if _any(rows := state["phase"] == phase):
                news = hear(problem, after, evaluation.z, wrong)
                after |= {name: torch.where(per_row(rows, new), new, after[name]) for name, new in news.items()}
        return after

    def _after_start(self, problem: Problem, state: Rows, z: Tensor, wrong: Tensor) -> Rows:
        return {
            "far": torch.where(per_row(wrong, z), z, state["far"]),
            "phase": torch.where(wrong, _HALVE, _START),
            "count": torch.where(wrong, 0, state["count"]),
        }

    def _after_halving(self, problem: Problem, state: Rows, z: Tensor, wrong: Tensor) -> Rows:
        middle = (state["low"] + state["high"]) / 2
        low, high = torch.where(wrong, state["low"], middle), torch.where(wrong, middle, state["high"])
        done = state["count"] >= halvings(problem.x[0].numel(), isinstance(problem.threat, Euclidean))
        return {
            "low": low,
            "high": high,
            "distance": _distance(problem, _between(problem, state["far"], high)),
            "phase": torch.where(done, _PROBE, _HALVE),
            "count": torch.where(done, 0, state["count"]),
        } | _no_probes(state)

    def _after_probe(self, problem: Problem, state: Rows, z: Tensor, wrong: Tensor) -> Rows:
        # The probe as it was made: the bounds may have cut it.
        u = z - _between(problem, state["far"], state["high"])
        u = u / per_row(_probe_length(problem, state), u)
        sign = torch.where(wrong, 1.0, -1.0)
        drift, normal = state["drift"] + u, torch.addcmul(state["normal"], u, per_row(sign, u))
        balance = state["balance"] + sign
        done = state["count"] >= probes_in(state["round"], self.probes)
        mean = balance / state["count"]
        # Signs minus their mean have less variance (section 3.2); where all agree, that would leave nothing.
        estimate = torch.where(per_row(mean.abs() < 1, u), normal - per_row(mean, u) * drift, normal)
        return {
            "drift": drift,
            "normal": torch.where(per_row(done, u), problem.threat.ascent(estimate), normal),
            "balance": balance,
            "length": state["distance"] / state["round"].sqrt(),
            "phase": torch.where(done, _WALK, _PROBE),
            "count": torch.where(done, 0, state["count"]),
        }

    def _after_walk(self, problem: Problem, state: Rows, z: Tensor, wrong: Tensor) -> Rows:
        # No length of the step reached the other class: the estimate of the normal is useless, so probe again.
        lost = ~wrong & (state["count"] >= _SHORTENINGS)
        over = wrong | lost
        none = _no_probes(state)
        return {
            "far": torch.where(per_row(wrong, z), z, state["far"]),
            "low": torch.where(wrong, 0.0, state["low"]),
            "high": torch.where(wrong, 1.0, state["high"]),
            "length": state["length"] / 2,
            "phase": torch.where(wrong, _HALVE, torch.where(lost, _PROBE, _WALK)),
            "round": state["round"] + over,
            "count": torch.where(over, 0, state["count"]),
        } | {name: torch.where(per_row(over, new), new, state[name]) for name, new in none.items()}


def halvings(dimensions: int, euclidean: bool) -> int:
    """Return the steps of bisection for the paper's threshold, d^-3/2 for L2 and d^-2 for L-inf."""
    fewest, most = _HALVINGS
    return min(most, max(fewest, math.ceil((1.5 if euclidean else 2) * math.log2(dimensions))))


def probes_in(rounds: Tensor, first: int) -> Tensor:
    """Return (B,) the number of probes in rounds (B,) int64, from 1: first * sqrt(round), rounded down."""
    return (first * rounds.double().sqrt()).floor().clamp(max=_MOST_PROBES)


def _any(rows: Tensor) -> bool:
    # On accelerators to wait for the answer costs more than the work it would save.
    return not devices.on_host(rows) or bool(rows.any())


def _distance(problem: Problem, z: Tensor) -> Tensor:
    away = (z - problem.x).flatten(1)
    order = 2 if isinstance(problem.threat, Euclidean) else math.inf
    distance: Tensor = torch.linalg.vector_norm(away, order, dim=1)
    return distance


def _between(problem: Problem, far: Tensor, share: Tensor) -> Tensor:
    """Return the point that share of the way from x: on the line for L2, in a box around x for L-inf."""
    if isinstance(problem.threat, Euclidean):
        return torch.lerp(problem.x, far, per_row(share, far))
    reach = per_row(share * _distance(problem, far), far)
    return far.clamp(problem.x - reach, problem.x + reach)


def _probe_length(problem: Problem, state: Rows) -> Tensor:
    """Return (B,) Euclidean lengths of the probes, long enough for float32."""
    low, high = problem.bounds
    d = problem.x[0].numel()
    later = (state["distance"] / max(d, _FEW)).clamp(min=math.sqrt(d) * (high - low) * 2.0**-20)
    return torch.where(state["round"] == 1, 0.1 * (high - low), later)


def _no_probes(state: Rows) -> Rows:
    return {name: torch.zeros_like(state[name]) for name in ("drift", "normal", "balance")}
