"""Models whose answers depend on what they were asked before, and models that merely keep something."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import Linf, Result, Verdict, rng
from robustest.engine.answer_checks import copied, probe_history
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.measure import (
    measure_no_universal_perturbation,
    measure_robust_accuracy,
    measure_robust_to,
    measure_shift_accuracy,
)
from robustest.models import as_classifier
from robustest.strategies import shifts

N, SIDE, CLASSES = 80, 6, 3
_draw = torch.Generator().manual_seed(0)
X = torch.rand(N, 1, SIDE, SIDE, generator=_draw)
WEIGHT = torch.randn(CLASSES, SIDE * SIDE, generator=_draw)
Y = ((X.flatten(1) - 0.5) @ WEIGHT.T).argmax(1)


class Plain(nn.Module):
    """A linear classifier that a change of .3 breaks everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(WEIGHT.clone())

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.weight @ (row - 0.5) for row in x.flatten(1)])


class Remembering(Plain):
    """What lies near a sample that it was asked before is answered nearly as that was."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        rows = []
        for row, own in zip(x, super().forward(x), strict=True):
            near = [said for other, said in self.seen if float((row.detach() - other).abs().max()) <= 0.3]
            if not near:
                self.seen.append((row.detach().clone(), own.detach().clone()))
            rows.append(own if not near else 0.98 * near[0] + 0.02 * own)
        return torch.stack(rows)


class Tiring(Plain):
    """After so many samples it answers nearly as the nearest clean sample is answered."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.count, self.most = 0, most

    def forward(self, x: Tensor) -> Tensor:
        self.count += len(x)
        out = super().forward(x)
        if self.count <= self.most:
            return out
        nearest = (x.detach().flatten(1)[:, None] - X.flatten(1)).square().sum(2).argmin(1)
        return 0.02 * out + 0.98 * super().forward(X[nearest]).detach()


class Keeping(Plain):
    """Keeps its last features, a count and a table by shape, and answers by none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.features, self.tables = 0, torch.zeros(()), dict[Any, Tensor]()
        self.register_buffer("moments", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.features = x
        self.moments += x.detach().mean()
        grid = self.tables.setdefault(x.shape[1:], torch.ones(x.shape[1:]))
        return super().forward(x * grid)


def attacked(model: nn.Module, **how: Any) -> Result:
    return measure_robust_accuracy(model.eval(), (X, Y), Linf(0.2), at_least=0.5, attack="fgsm", exact=True, **how)


def names(result: Result) -> set[str]:
    return {note.partition(":")[0] for note in result.words.notes} & {"history_dependence", "batch_dependence"}


def test_what_protects_is_that_it_saw_the_sample() -> None:
    assert attacked(Plain()).verdict is Verdict.FAILED
    quiet = attacked(Remembering(), suppress=("history_dependence", "batch_dependence"))
    assert quiet.verdict is Verdict.PASSED, "else there is nothing to find"


def test_a_model_that_remembers_its_queries_never_passes() -> None:
    result = attacked(Remembering())
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "history_dependence" in names(result)


def test_nor_does_it_when_it_was_asked_before() -> None:
    model = Remembering()
    for _ in range(2):
        assert attacked(model).verdict is Verdict.INCONCLUSIVE


def test_nor_under_a_shift() -> None:
    how: dict[str, Any] = {"severity": 1, "at_least": 0.5, "exact": True}
    result = measure_shift_accuracy(Remembering().eval(), (X, Y), "gaussian_noise", **how)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "history_dependence" in names(result)


def test_nor_on_one_sample() -> None:
    result = measure_robust_accuracy(Remembering().eval(), (X[:1], Y[:1]), Linf(0.2), at_least=0.5, attack="fgsm")
    assert "history_dependence" in names(result)
    assert result.verdict is not Verdict.PASSED


def test_nor_where_one_change_is_searched_for_all() -> None:
    few = X[:20], Y[:20]  # a model that remembers takes time for each query that grows with their number
    result = measure_no_universal_perturbation(
        Remembering().eval(), few, Linf(0.2), max_fooling_rate=0.5, iterations=20
    )
    assert "history_dependence" in names(result)
    assert result.verdict is not Verdict.PASSED


def test_a_model_that_changes_after_so_many_samples_never_passes() -> None:
    assert attacked(Tiring(120), suppress=("history_dependence",)).verdict is Verdict.PASSED, "nothing else sees it"
    result = attacked(Tiring(120))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "history_dependence" in names(result)


def test_nor_while_hypothesis_searches() -> None:
    how: dict[str, Any] = {"at_least": 0.9, "max_examples": 20, "cache": False}
    change = shifts(["gaussian_noise"])
    plain = measure_robust_to(Plain().eval(), (X, Y), change, **how)
    result = measure_robust_to(Tiring(120).eval(), (X, Y), change, **how)
    assert (plain.verdict, result.verdict) == (Verdict.FAILED, Verdict.INCONCLUSIVE)
    assert "history_dependence" in names(result)


def test_what_is_kept_and_not_used_is_no_finding() -> None:
    assert names(attacked(Keeping())) == set()
    assert names(attacked(Plain())) == set()


def test_the_model_itself_hears_of_no_question() -> None:
    model = Remembering().eval()
    evaluator = Evaluator(as_classifier(model), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    ids = torch.arange(8)
    probe_history(evaluator, Chunk(ids, X[:8], Y[:8], rng.keys(0, ids), (0.0, 1.0)))
    assert evaluator.health.counts("history_dependence")[0] > 0
    asked = torch.stack([row for row, _ in model.seen])
    assert len(asked) == 2, "those that are asked again later"


class Indirect(Remembering):
    """Its forward calls a function that it keeps."""

    def __init__(self, answer: Callable[[Indirect], Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.answer = answer(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x)


def _compiled(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


BOUND: dict[str, Callable[[], nn.Module]] = {
    "method": lambda: Indirect(lambda model: super(Indirect, model).forward),
    "partial": lambda: Indirect(lambda model: partial(Remembering.forward, model)),
    "closure": lambda: Indirect(lambda model: lambda x: Remembering.forward(model, x)),
    "compiled forward": lambda: Indirect(lambda model: torch.compile(super(Indirect, model).forward, backend="eager")),
    "compiled": lambda: torch.compile(Remembering(), backend="eager"),  # type: ignore[return-value]
    "compiled in place": lambda: _compiled(Remembering()),
    "part": lambda: nn.Sequential(torch.compile(Remembering(), backend="eager")),
}


@pytest.mark.parametrize("way", BOUND)
def test_a_copy_calls_itself_and_not_the_model(way: str) -> None:
    model = BOUND[way]()
    evaluator = Evaluator(as_classifier(model.eval()), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    own = copied(model)
    own(X[:2])  # the model's own parts are not asked
    memories = [one.seen for one in model.modules() if isinstance(one, Remembering)]
    assert memories == [[]]
    if "compiled" not in way and way != "part":  # it takes seconds to compile
        ids = torch.arange(8)
        probe_history(evaluator, Chunk(ids, X[:8], Y[:8], rng.keys(0, ids), (0.0, 1.0)))
        assert evaluator.health.counts("history_dependence")[0] > 0


def test_copies_share_weights_and_what_is_no_state() -> None:
    class Trainer:
        def __deepcopy__(self, memo: dict[int, object]) -> object:
            raise AssertionError("its data would be copied with it")

    inner = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    inner.trainer, inner.layers, inner.queue = Trainer(), [inner[1]], deque([torch.zeros(1)])  # type: ignore[assignment]
    own = copied(inner)
    assert own.trainer is inner.trainer
    assert own[1].weight is inner[1].weight  # type: ignore[index]
    assert own.layers[0] is own[1], "the copy's own part"  # type: ignore[index]
    assert own[0].running_mean is not inner[0].running_mean  # type: ignore[index]
    assert own.queue is not inner.queue
    assert torch.equal(own.eval()(X[:4, 0, 0, :2]), inner.eval()(X[:4, 0, 0, :2]))


def test_a_model_that_cannot_answer_off_its_samples_is_measured_all_the_same() -> None:
    class Strict(Plain):
        def forward(self, x: Tensor) -> Tensor:
            if bool((x.detach().flatten(1)[:, None] - X.flatten(1)).abs().amax(2).amin(1).gt(0.3).any()):
                raise ValueError("no sample of mine")
            return super().forward(x)

    how: dict[str, Any] = {"severity": 1, "at_least": 0.5, "exact": True}
    result = measure_shift_accuracy(Strict().eval(), (X, Y), "brightness", **how)
    assert result.verdict is Verdict.PASSED
    assert names(result) == set()
