"""A pack as version 0.1 documents it: docs/plugins.md, and an attack of CONTRIBUTING."""

# mypy: ignore-errors

from dataclasses import dataclass

import torch

from robustest.attacks import Needs
from robustest.extensions import hookimpl


@dataclass(frozen=True, kw_only=True)
class Corner:
    """One step along the gradient of the margin, as long as the region allows."""

    steps: int = 1
    name = "corner"
    needs = Needs.GRADIENT

    def init(self, problem, key):
        return {"z": problem.threat.origin(problem.region)}

    def ask(self, problem, state):
        return state["z"]

    def objective(self, problem, state, logits):
        return problem.task.losses["margin"](logits, problem.y)

    def tell(self, problem, state, evaluation):
        threat, region = problem.threat, problem.region
        step = torch.einsum("n,n...->n...", threat.stride(region), threat.ascent(evaluation.gradient))
        return {"z": evaluation.z + step}


@hookimpl
def robustest_attacks():
    return {"corner": Corner}
