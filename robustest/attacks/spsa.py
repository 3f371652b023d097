"""SPSA, simultaneous perturbation stochastic approximation (Uesato et al., ICML 2018, algorithm 1)."""

#     g = mean over n pairs of  (L(z + d v_i) - L(z - d v_i)) / (2 d) * v_i,   v_i a random vector of signs
#     z = project(z + a * Adam(g))
#
# (signs: Spall, 1992). One probe z +- d v a step; after `pairs` pairs their mean moves z. The probes are projected too,
# so that each may already be a counterexample. L2 takes a step of length a along the running mean of the estimates:
# Adam's division, coordinate by coordinate, is made for L-inf and weakens it there.

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustest import devices, rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.attacks.queries import OneByOne, enough_scores
from robustest.checks import POSITIVE, check_ranges, whole
from robustest.threats import Euclidean, Linf, Rows, Threat, Unbounded, per_row

# Adam's defaults (Kingma and Ba, ICLR 2015).
_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8
# Fewest queries that count as a search of a ball, for few features (docs/attacks.md).
_ENOUGH = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class SPSA(OneByOne):
    """Adam on gradients estimated from pairs of opposite probes.

    Args:
        queries: model passes per sample, >= 1; two for each pair, and one for the last point.
        pairs: pairs whose estimates make one step, >= 1. The paper takes more, with many more queries.
        delta: length of a probe along each coordinate, in input units; None means 0.01 of the span of the bounds.
        step_size: in input units; None means a fifth of the way across the ball.
    """

    queries: int = field(default=2000, metadata=whole(1))
    pairs: int = field(default=32, metadata=whole(1))
    delta: float | None = field(default=None, metadata=POSITIVE)
    step_size: float | None = field(default=None, metadata=POSITIVE)

    name = "spsa"
    needs = Needs.SCORES

    def __post_init__(self) -> None:
        check_ranges(self)

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Linf | Euclidean | Unbounded)

    def enough_queries(self, threat: Threat, features: int) -> int | None:
        return enough_scores(threat, features, _ENOUGH)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        z = problem.threat.start(problem.region, rng.fold(key, "start"))
        zero = torch.zeros_like(z)
        value = torch.zeros(len(z), device=z.device)
        return {"z": z, "sum": zero, "m": zero, "v": zero, "value": value, "key": key, "age": torch.zeros_like(key)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        age, (low, high) = state["age"], problem.bounds
        delta = 0.01 * (high - low) if self.delta is None else self.delta
        # Even ages probe in the direction of the signs, odd ones against it.
        sign = torch.where(age >= self.steps, 0, 1 - 2 * (age % 2)).float()  # the last one is z itself
        return state["z"] + per_row(sign * delta, problem.x) * self._signs(problem, state)

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        age, value = state["age"], problem.task.losses["margin"](evaluation.logits, problem.y)
        slope = (age % 2) * (state["value"] - value)  # 0 after the first of a pair
        after = {**state, "value": value, "age": age + 1}
        after["sum"] = torch.addcmul(state["sum"], per_row(slope, problem.x), self._signs(problem, state))
        # A step after every `pairs` pairs, and with the last pair, however few came before it.
        due = ((age + 1) % (2 * self.pairs) == 0) | (age + 1 == self.steps)
        if devices.on_host(due) and not bool(due.any()):
            return after
        # Adam's step for these rows. The factor 1 / (2 d n) of the estimate cancels in Adam's quotient, and in a
        # direction.
        moving, gradient = per_row(due.float(), problem.x), after["sum"]
        m = torch.lerp(state["m"], gradient, moving * (1 - _BETA1))
        v = torch.lerp(state["v"], gradient.square(), moving * (1 - _BETA2))
        count = -(-after["age"] // (2 * self.pairs))
        # Adam's bias correction: moving averages that start at zero are too small at first.
        m_hat = m / per_row(1 - _BETA1**count, m)
        v_hat = v / per_row(1 - _BETA2**count, v)
        threat, region = problem.threat, problem.region
        step = threat.ascent(m_hat) if isinstance(threat, Euclidean) else m_hat / (v_hat.sqrt() + _TINY)
        length = (
            threat.stride(region) / 5 if self.step_size is None else torch.full_like(region["span"], self.step_size)
        )
        z = threat.project(state["z"] + per_row(length, step) * step, region)
        return {**after, "z": torch.lerp(state["z"], z, moving), "m": m, "v": v, "sum": gradient * (1 - moving)}

    def _signs(self, problem: Problem, state: Rows) -> Tensor:
        return rng.signs(rng.fold(state["key"], state["age"] // 2), problem.x.shape[1:])
