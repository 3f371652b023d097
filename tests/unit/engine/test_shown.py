"""What a look showed the model of its samples: once, again, changed, not aligned, or nothing; and what it answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Columns, Edits, Linf, Patch, Settings, as_classifier, rng
from robustest.columns import AGAIN, ALONE, ANSWER, APART, CHANGED, LEAD, PAST, SHOWN
from robustest.decisions import ShareRule
from robustest.engine import shown as module
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.shown import Shown, mixed
from robustest.measure import measure_robust_accuracy
from robustest.run.driver import observe
from robustest.run.evidence import Observation
from robustest.run.plan import Setup
from robustest.tasks import CLASSIFICATION
from robustest.threats import AnyOf, Within

N = 6


def chunk(x: Tensor | None = None) -> Chunk:
    ids = torch.arange(N)
    x = torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(0)) if x is None else x
    return Chunk(ids, x, ids % 2, rng.keys(0, ids), (0.0, 1.0))


def kinds(seen: Shown) -> list[int]:
    found: list[int] = seen.columns()[SHOWN].tolist()
    return found


# Passes of a look


def test_a_sample_is_shown_alone_once_and_again_twice() -> None:
    seen = Shown(chunk())
    assert kinds(seen) == [ALONE] * N
    seen.see(seen.chunk.x)
    assert kinds(seen) == [ALONE] * N
    seen.see(seen.chunk.x)
    assert kinds(seen) == [AGAIN] * N


def test_a_copy_of_the_samples_is_the_samples_again() -> None:
    seen = Shown(chunk())
    seen.see(seen.chunk.x)
    seen.see(seen.chunk.x.clone())
    assert kinds(seen) == [AGAIN] * N
    alone = Shown(chunk())
    alone.see(alone.chunk.x * (1 + 1e-7))
    assert kinds(alone) == [AGAIN] * N, "rounding is no change, whether the samples were shown before or not"


def test_each_sample_counts_by_itself_and_over_all_passes() -> None:
    seen = Shown(chunk())
    seen.see(seen.chunk.x)
    for row in (1, 4):
        after = seen.chunk.x.clone()
        after[row, 0, 0, 0] += 0.01
        seen.see(after)
    assert kinds(seen) == [AGAIN, CHANGED, AGAIN, AGAIN, CHANGED, AGAIN]


def test_whole_numbers_are_compared_as_they_are() -> None:
    tokens = torch.arange(12).view(N, 2)
    seen = Shown(chunk(tokens))
    after = tokens.clone()
    after[2, 1] += 1
    seen.see(after)
    assert kinds(seen) == [AGAIN, AGAIN, CHANGED, AGAIN, AGAIN, AGAIN]


@pytest.mark.parametrize(
    "other",
    [lambda x: x[:3], lambda x: torch.cat([x, x]), lambda x: x[..., :2], lambda x: x.double()],
    ids=["fewer", "more", "crops", "another type"],
)
def test_inputs_that_are_not_aligned_are_apart(other: Any) -> None:
    seen = Shown(chunk())
    seen.see(seen.chunk.x + 0.1)
    assert kinds(seen) == [CHANGED] * N
    seen.see(other(seen.chunk.x))
    assert kinds(seen) == [APART] * N
    seen.see(seen.chunk.x + 0.1)
    assert kinds(seen) == [APART] * N, "and stay so"


def test_a_look_of_many_passes_is_a_search_that_says_itself_what_it_changed() -> None:
    seen = Shown(chunk())
    for _ in range(module._MOST_COMPARED):
        seen.see(seen.chunk.x + 0.1)
    assert kinds(seen) == [CHANGED] * N
    seen.see(seen.chunk.x)
    assert kinds(seen) == [CHANGED] * N, "the samples themselves are not compared"
    seen.see(seen.chunk.x + 0.1)
    assert kinds(seen) == [APART] * N


def test_a_look_that_made_no_pass_says_so_whatever_its_threat() -> None:
    for threat in (None, Linf(0.1)):
        assert kinds(Shown(chunk(), threat, past=True)) == [PAST] * N


# Regions of threats


@pytest.mark.parametrize(
    ("threat", "x", "moves"),
    [
        (Linf(0.1), None, [True] * N),
        (Linf(0.0), None, [False] * N),
        (L2(1e-9), None, [False] * N),
        (L2(0.1), None, [True] * N),
        (Patch(2, 2), None, [True] * N),
    ],
    ids=["ball", "radius 0", "less than float32 tells apart", "L2", "patch"],
)
def test_of_a_search_the_region_tells(threat: Any, x: Any, moves: list[bool]) -> None:
    seen = Shown(chunk(x), threat)
    seen.see(seen.chunk.x)
    seen.see(seen.chunk.x.clone())
    seen.see(seen.chunk.x[:2])  # passes of a search are not compared
    assert kinds(seen) == [CHANGED if one else AGAIN for one in moves]


def test_a_region_without_room_holds_the_sample_alone() -> None:
    """A ball around an input in a corner of the bounds has room, one whose bounds are a point has not."""
    corner = Shown(chunk(torch.zeros(N, 3)), Linf(0.1))
    assert kinds(corner) == [CHANGED] * N
    ids = torch.arange(N)
    point = Chunk(ids, torch.full((N, 3), 0.5), ids % 2, rng.keys(0, ids), (0.5, 0.5))
    assert kinds(Shown(point, Linf(0.1))) == [AGAIN] * N


def test_rows_of_a_table_by_the_rules_of_their_columns() -> None:
    x = torch.zeros(N, 3)
    x[:, 0], x[:3, 1] = torch.linspace(0.2, 1.0, N), 1.0
    bounds = (0.0, 1.0)

    def of(rules: Any, **more: Any) -> list[int]:
        return kinds(Shown(chunk(x), Columns(rules, **more).resolved(3, bounds)))

    assert of({0: Within(-0.1, 0.1)}) == [CHANGED] * N
    assert of({0: Within(0, 0.1)}) == [CHANGED] * (N - 1) + [AGAIN], "the last lies at the end of its range"
    assert of({1: AnyOf(0, 1)}) == [CHANGED] * N
    assert of({1: AnyOf(1)}) == [AGAIN] * 3 + [CHANGED] * 3


def test_rows_that_stay_in_the_cell_of_a_tree_are_other_rows() -> None:
    """A cell counts as one point, since a tree answers alike in it."""
    x = torch.full((N, 2), 0.5)
    threat = Columns({0: Within(-0.1, 0.1)}).resolved(2, (0.0, 1.0), cells=[[0.9], []])
    assert threat.points(threat.region(x, (0.0, 1.0))).tolist() == [1] * N
    assert kinds(Shown(chunk(x), threat)) == [CHANGED] * N
    upwards = Columns({0: Within(0, 0.1)}).resolved(2, (0.0, 1.0), cells=[[0.9], []])
    assert kinds(Shown(chunk(x), upwards)) == [CHANGED] * N
    assert kinds(Shown(chunk(x + 0.5), upwards)) == [AGAIN] * N, "at the end of the range nothing may change"


def test_of_texts_that_no_edit_changes_the_planted_inputs_tell() -> None:
    """Edits are counted by places and letters, which may be more than there are."""
    texts = ["b" * length for length in range(1, 9)]
    labels = [int(len(text) > 4) for text in texts]

    def model(texts: Any) -> Any:
        return np.array([[4.5 - len(text), len(text) - 4.5] for text in texts])

    for letters, reasons in (("b", ("health:missed_control",)), ("bc", ())):
        threat = Edits(1, kinds=("substitute",), alphabet=letters)
        found = measure_robust_accuracy(model, (texts, labels), threat, attack="fast", at_least=0.9)
        assert (found.ruling.reasons, list(found.details["changed"].values())) == (reasons, [8])


# Answers


def test_answers_are_those_to_the_samples_as_they_are_or_as_they_were_shown_first() -> None:
    seen = Shown(chunk())
    x = seen.chunk.x
    assert seen.columns()[ANSWER].isnan().all()
    assert seen.columns()[LEAD].isnan().all()
    first, second, third = (torch.full((N,), float(value)) for value in (1, 2, 3))
    assert seen.see(x + 0.1)
    seen.hear(x + 0.1, first, first)
    assert not seen.see(x + 0.2), "the first answer is known"
    assert seen.see(x), "that of the samples themselves is wanted all the same"
    seen.hear(x, second, third)
    assert not seen.see(x)
    columns = seen.columns()
    assert (columns[ANSWER].tolist(), columns[LEAD].tolist()) == ([2.0] * N, [3.0] * N)


def test_of_a_search_the_samples_alone_are_wanted() -> None:
    seen = Shown(chunk(), Linf(0.1))
    assert not seen.see(seen.chunk.x + 0.1)
    assert seen.see(seen.chunk.x)


def test_answers_of_several_numbers_are_mixed_into_one() -> None:
    rows = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    found = mixed(rows)
    assert found[0] == found[2]
    assert len(set(found.tolist())) == 4
    assert mixed(torch.tensor([[3], [4]])).tolist() == [3.0, 4.0]
    seen = Shown(chunk())
    masks = torch.zeros(N, 2, 2, dtype=torch.int64)
    masks[3, 1, 0] = 1
    seen.hear(seen.chunk.x, masks, torch.zeros(N, 4))
    answer = seen.columns()[ANSWER]
    assert [bool(answer[3] == one) for one in answer] == [False, False, False, True, False, False]


def test_answers_to_several_inputs_of_each_sample_count_together() -> None:
    seen = Shown(chunk())
    answers = torch.arange(2 * N) // 4  # two inputs a sample
    seen.hear(torch.zeros(2 * N, 1), answers, answers.double())
    assert len(set(seen.columns()[ANSWER].tolist())) == 3
    odd = Shown(chunk())
    odd.hear(torch.zeros(4, 1), torch.zeros(4), torch.zeros(4))
    assert odd.columns()[ANSWER].isnan().all()


# Where the evaluator and the units note it


class Bright(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        lead = 4 * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-lead, lead], 1)


X = torch.rand(20, 1, 3, 3, generator=torch.Generator().manual_seed(0))
Y = (X.flatten(1).mean(1) > 0.5).long()


class Asks:
    """A look that asks about inputs that functions of the samples give."""

    def __init__(self, *changes: Any, judged: bool = True, threat: Any = None) -> None:
        self.changes, self.judged = changes, judged
        if threat is not None:
            self.threat = threat

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        for change in self.changes:
            x = change(chunk.x)
            if self.judged and len(x) == len(chunk.y):
                evaluator.judge(x, chunk.y)
            else:
                evaluator.logits(x)
        return Observation({"held": torch.ones(len(chunk.y), dtype=torch.bool)}, [])


def observed(look: Asks) -> dict[str, Any]:
    setup = Setup.of(as_classifier(Bright()), (X, Y), {})
    return observe(setup.plan("it", look, ShareRule(threshold=None, at_least=True, terms=setup.terms))).columns


def itself(x: Tensor) -> Tensor:
    return x


def darker(x: Tensor) -> Tensor:
    return 0.9 * x


@pytest.mark.parametrize("judged", [True, False])
@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ((itself,), ALONE),
        ((itself, itself), AGAIN),
        ((itself, torch.clone), AGAIN),
        ((itself, darker), CHANGED),
        ((darker,), CHANGED),
        ((itself, lambda x: x.repeat(2, 1, 1, 1)), APART),
        ((), PAST),
    ],
    ids=["alone", "twice", "a copy", "darker", "darker alone", "joined", "no pass"],
)
def test_passes_of_a_look_are_noted_by_the_evaluator(changes: Any, kind: int, judged: bool) -> None:
    columns = observed(Asks(*changes, judged=judged))
    assert columns[SHOWN].tolist() == [kind] * 20
    if changes:
        scores = Bright()(X if itself in changes else darker(X))
        assert columns[ANSWER].tolist() == scores.argmax(1).tolist()
        assert len(np.unique(columns[LEAD])) == 20
    else:
        assert np.isnan(columns[ANSWER]).all()


def test_the_threat_of_a_look_is_asked_instead() -> None:
    for threat, kind in ((Linf(0.1), CHANGED), (Linf(0.0), AGAIN)):
        assert observed(Asks(itself, darker, threat=threat))[SHOWN].tolist() == [kind] * 20


def test_checks_outside_of_a_look_are_not_noted() -> None:
    evaluator = Evaluator.of(as_classifier(Bright()), Settings(), [], task=CLASSIFICATION, device="cpu")
    assert evaluator.shown is None
    evaluator.logits(X)
    evaluator.judge(X, Y)
    assert evaluator.shown is None
