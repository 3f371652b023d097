"""An attack of one's own: random signs, kept where they lower the margin. Needs scores, no gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import Evaluation, Needs, Problem
from robustest.threats import Linf, Rows, Threat, per_row


@dataclass(frozen=True, kw_only=True)
class RandomSigns:
    """Each step flips the sign of a tenth of the elements of a corner of the L-inf ball."""

    steps: int = 200
    name = "random-signs"
    needs = Needs.SCORES

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Linf)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        signs = rng.signs(rng.fold(key, "first"), problem.x.shape[1:])
        worst = torch.full((len(key),), torch.inf, device=key.device)
        return {"best": signs, "next": signs, "margin": worst, "key": key, "step": torch.zeros_like(key)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return problem.x + problem.threat.radius * state["next"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        raise TypeError("this attack takes no gradients")

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        own = evaluation.logits.gather(1, problem.y.unsqueeze(1)).squeeze(1)
        other = evaluation.logits.scatter(1, problem.y.unsqueeze(1), -torch.inf).amax(1)
        margin = own - other
        better = margin < state["margin"]
        best = torch.where(per_row(better, evaluation.z), state["next"], state["best"])
        key = rng.fold(state["key"], state["step"])  # fresh numbers for every sample and step
        flips = rng.uniform(key, problem.x.shape[1:]) < 0.1
        return {
            "best": best,
            "next": torch.where(flips, -best, best),
            "margin": torch.minimum(margin, state["margin"]),
            "key": state["key"],
            "step": state["step"] + 1,
        }
