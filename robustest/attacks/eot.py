"""EOT, expectation over the model's own randomness (Athalye, Engstrom, Ilyas and Kwok, ICML 2018, section 2.1)."""

#     maximise E_r L(f_r(z), y)  by steps along  (1 / n) sum_i grad L(f_(r_i)(z), y)
#
# At every proposal the engine passes the model n = `draws` times and averages logits and gradients. One wrong answer is
# luck, so no sample is dropped on one: of all proposals the one with the smallest mean margin is kept, and the engine
# judges it on n fresh draws. It is broken where more than half of them are misclassified.
#
# The draws come from the global generators, which are seeded by seed and samples for the measurement and restored
# after it: the same seed and batch size give the same outcome.

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from robustest.attacks.protocol import Evaluation, Needs, Problem, Searcher, confined, enough_queries, suits, supports
from robustest.checks import checked_whole
from robustest.errors import ConfigError, expected
from robustest.tasks import Task
from robustest.threats import Rows, Threat


@dataclass(frozen=True, slots=True)
class EOT:
    """A gradient attack on a model that answers at random.

    Args:
        searcher: the attack; it must use gradients.
        draws: model passes averaged at each proposal, and passes of the judge; >= 2.

    Raises:
        ConfigError: the attack uses no gradients, or draws < 2.
    """

    searcher: Searcher
    draws: int = field(default=10, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.searcher, type) or not isinstance(self.searcher, Searcher):
            raise ConfigError(expected("an attack to average over draws", self.searcher, "For example EOT(PGD())."))
        if self.searcher.needs is not Needs.GRADIENT:
            raise ConfigError(expected("an attack that uses gradients", self.searcher, "For example EOT(PGD())."))
        checked_whole("draws", self.draws, 2)

    @property
    def name(self) -> str:
        return f"eot-{self.searcher.name}"

    @property
    def needs(self) -> Needs:
        return self.searcher.needs

    @property
    def steps(self) -> int:
        return self.searcher.steps

    def confined(self, threat: Threat) -> bool:
        return confined(self.searcher, threat)

    def supports(self, threat: Threat) -> bool:
        return supports(self.searcher, threat)

    def suits(self, task: Task) -> bool:
        return task.one_class and suits(self.searcher, task)

    def enough_queries(self, threat: Threat, features: int) -> int | None:
        least = enough_queries(self.searcher, threat, features)
        return None if least is None else least * self.draws

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return self.searcher.init(problem, key)

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return self.searcher.ask(problem, state)

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        return self.searcher.objective(problem, state, logits)

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        return self.searcher.tell(problem, state, evaluation)
