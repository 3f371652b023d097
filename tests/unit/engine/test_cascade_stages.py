"""Stages by stages: searchers that reach a known distance, on samples at known distances from the boundary."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import ConfigError, Edits, Linf, rng, scores_model
from robustest.attacks import Cascade, Evaluation, Needs, Problem, Stage
from robustest.attacks.coherent import CoherentMoves
from robustest.data.strings import Strings
from robustest.engine.cascade import _drawn, run_cascade
from robustest.engine.chunks import Chunk
from robustest.engine.coverage import Coverage, lacking
from robustest.engine.evaluator import Evaluator
from robustest.engine.score_diagnosis import ScoreDiagnosis, interaction
from robustest.engine.search import SearchOutcome, bucket, join, pick, search
from robustest.engine.stages import serving, widened
from robustest.models import as_classifier

CPU = torch.device("cpu")
DISTANCES = [0.05, 0.40, 0.10, 0.30, 0.20, 0.15, 0.45, 0.35]


class Line(nn.Module):
    """Class 0 below .5 in the first feature; the second one is not read."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        away = (0.5 - x[:, 0]) * self.one
        return torch.stack([away, torch.zeros_like(away)], 1)


@dataclass(frozen=True)
class Reach:
    """Proposes the sample moved by each of `reach` in turn, and once more by the last."""

    name: str = "reach"
    reach: tuple[float, ...] = (0.1,)
    needs: Needs = Needs.SCORES
    log: list[tuple[str, list[float]]] = field(default_factory=list, compare=False)
    queries: int = 10

    @property
    def steps(self) -> int:
        return len(self.reach)

    def init(self, problem: Problem, key: Tensor) -> dict[str, Tensor]:
        self.log.append((self.name, [round(0.5 - a, 2) for a in problem.x[:, 0].tolist()]))
        return {"t": torch.zeros(len(problem.y), dtype=torch.int64)}

    def ask(self, problem: Problem, state: dict[str, Tensor]) -> Tensor:
        by = torch.tensor([*self.reach, self.reach[-1]])[state["t"]]
        return problem.x + torch.stack([by, torch.zeros_like(by)], 1)

    def objective(self, problem: Problem, state: dict[str, Tensor], logits: Tensor) -> Tensor:
        return logits[:, 1] - logits[:, 0]

    def tell(self, problem: Problem, state: dict[str, Tensor], evaluation: Evaluation) -> dict[str, Tensor]:
        return {"t": state["t"] + 1}


def chunk_of(distances: list[float]) -> Chunk:
    x = torch.tensor([[0.5 - d, 0.5] for d in distances])
    ids = torch.arange(len(x))
    return Chunk(ids, x, torch.zeros(len(x), dtype=torch.int64), rng.keys(0, ids), (0.0, 1.0))


def evaluator_of(model: nn.Module | None = None, batch_size: int | None = None, **options: Any) -> Evaluator:
    evaluator = Evaluator(
        as_classifier(model or Line()), CPU, batch_size=batch_size, **{"suppress": (), "notes": [], **options}
    )
    evaluator.logits(torch.zeros(1, 2))
    return evaluator


def cascade_on(
    stages: list[Stage], distances: list[float] = DISTANCES, *, eps: float = 0.5, **options: Any
) -> tuple[Any, list[tuple[str, list[float]]], Evaluator]:
    log: list[tuple[str, list[float]]] = []
    for stage in stages:
        stage.searcher.log.clear()  # type: ignore[attr-defined]
        object.__setattr__(stage.searcher, "log", log)
    evaluator, chunk = evaluator_of(), chunk_of(distances)
    margin = torch.tensor(distances)
    outcome = run_cascade(
        evaluator, Cascade(name="c", stages=tuple(stages)), Linf(eps), chunk, clean_margin=margin, **options
    )
    return outcome, log, evaluator


def test_each_stage_gets_the_survivors_of_those_before_it() -> None:
    outcome, log, evaluator = cascade_on(
        [
            Stage(searcher=Reach("a", (0.12,))),
            Stage(searcher=Reach("b", (0.22,)), rounds=2),
            Stage(searcher=Reach("c", (0.33,))),
        ]
    )
    assert log == [
        ("a", DISTANCES),
        ("b", [0.40, 0.30, 0.20, 0.15, 0.45, 0.35]),
        ("b", [0.40, 0.30, 0.45, 0.35]),
        ("c", [0.40, 0.30, 0.45, 0.35]),
    ]
    assert outcome.stages == {"a": 2, "b #1": 2, "b #2": 0, "c": 1}
    found = outcome.found
    assert found.broken.tolist() == [True, False, True, True, True, True, False, False]
    reached = [0.12, 0, 0.12, 0.33, 0.22, 0.22, 0, 0]
    assert found.size.tolist() == pytest.approx(reached, abs=1e-6)
    assert (found.x[:, 0] - (0.5 - torch.tensor(DISTANCES))).tolist() == pytest.approx(reached, abs=1e-6)
    assert found.predicted.tolist() == [1, 0, 1, 1, 1, 1, 0, 0]
    least = [d - r for d, r in zip(DISTANCES, [0.12, 0.33, 0.12, 0.33, 0.22, 0.22, 0.33, 0.33], strict=True)]
    assert found.margin.tolist() == pytest.approx(least, abs=1e-6)
    assert evaluator.health.counts("weak_search") == (0, 3)
    assert (evaluator.health.searched_twice, evaluator.health.broken_again) == (3, 3)
    assert evaluator.probed


def test_rounds_together_are_one_search_of_repeated_rows() -> None:
    outcome, log, _ = cascade_on([Stage(searcher=Reach("a", (0.12,)), rounds=3, together=True)], DISTANCES[:3])
    assert log == [("a", [0.05, 0.05, 0.05, 0.40, 0.40, 0.40, 0.10, 0.10, 0.10])]
    assert outcome.stages == {"a": 2}
    assert outcome.found.broken.tolist() == [True, False, True]
    assert outcome.found.size.tolist() == pytest.approx([0.12, 0, 0.12], abs=1e-6)


@pytest.mark.parametrize(
    ("go_on", "groups"),
    [
        (0.5, [[0.20, 0.15], [0.40, 0.30]]),  # both of the first two break, and neither of the next two
        (0.0, [[0.20, 0.15], [0.40, 0.30], [0.45, 0.35]]),
        (1.1, [[0.20, 0.15]]),
    ],
)
def test_a_stage_for_the_smallest_margins_goes_on_where_it_pays(go_on: float, groups: list[list[float]]) -> None:
    """A quarter of eight samples at a time, nearest to the boundary first, in the order of the samples."""
    _, log, _ = cascade_on(
        [
            Stage(searcher=Reach("a", (0.12,))),
            Stage(searcher=Reach("b", (0.25,)), smallest=0.25, go_on=go_on),
        ]
    )
    by_margin = sorted((d for d in DISTANCES if d > 0.12), key=lambda d: d)
    found = [group for name, group in log if name == "b"]
    assert len(found) == len(groups)
    for place, group in enumerate(found):
        assert sorted(group) == by_margin[2 * place : 2 * place + 2]
        assert group == [d for d in DISTANCES if d in group]


def test_a_stage_is_left_out_where_nothing_was_earned_or_near() -> None:
    weak, strong = Reach("a", (0.12,)), Reach("b", (0.22,))
    last = Stage(searcher=Reach("c", (0.5,)), earned=True)
    assert [name for name, _ in cascade_on([Stage(searcher=weak), last])[1]] == ["a"]
    assert [name for name, _ in cascade_on([Stage(searcher=weak), Stage(searcher=strong), last])[1]] == ["a", "b", "c"]
    paid = Stage(searcher=Reach("c", (0.5,)), paid=True)
    for before, ran in ((0.22, ["a", "b", "c"]), (0.12, ["a", "b"])):
        stages = [Stage(searcher=weak), Stage(searcher=Reach("b", (before,))), paid]
        assert [name for name, _ in cascade_on(stages)[1]] == ran, "by what the stage just before it broke"
    again = Reach("b", (0.16,))
    # The first "b" leaves (.30 - .16) / (.30 - .12) = .78 of the smallest margin before it, and more of the other.
    for near, ran in ((0.77, False), (0.79, True)):
        stages = [Stage(searcher=weak), Stage(searcher=again), Stage(searcher=Reach("b", (0.3,)), near=near)]
        assert (len(cascade_on(stages, [0.30, 0.35])[1]) == 3) == ran


def test_searches_by_gradients_are_checked_and_others_beside_them() -> None:
    climbing = Stage(searcher=Reach("g", (-0.1,), Needs.GRADIENT))
    outcome, log, evaluator = cascade_on([climbing, Stage(searcher=Reach("b", (0.22,)))])
    assert [name for name, _ in log] == ["g", "b"]
    # The first search moves away from the boundary on every sample, and the second breaks four that it left.
    assert evaluator.health.counts("loss_does_not_rise") == (8, 8)
    assert evaluator.health.counts("black_box_beats_white_box") == (4, 8)
    assert evaluator.health.counts("gradient_misleads")[0] == 0
    assert evaluator.health.counts("unreached_input") == (0, 4)
    assert outcome.stages == {"g": 0, "b": 4}
    _, _, evaluator = cascade_on([Stage(searcher=Reach("b", (0.22,))), climbing])
    assert evaluator.health.counts("loss_does_not_rise") == (0, 0)
    assert evaluator.health.counts("black_box_beats_white_box") == (0, 0)
    _, _, evaluator = cascade_on([Stage(searcher=Reach("g", (0.01,), Needs.GRADIENT))], eps=0.0)
    assert evaluator.health.counts("loss_does_not_rise") == (0, 0)
    assert evaluator.health.counts("weak_search") == (0, 0)
    assert evaluator.health.counts("gradient_misleads") == (0, 0)
    assert evaluator.probed


def test_attempts_keep_the_nearest_input_of_a_survivor() -> None:
    stages = [Stage(searcher=Reach("a", (0.12,))), Stage(searcher=Reach("b", (0.08,)))]
    outcome, _, _ = cascade_on(stages, [0.4, 0.1], attempts=True)
    assert outcome.found.size.tolist() == pytest.approx([0.12, 0.12], abs=1e-6)
    outcome, _, _ = cascade_on(stages, [0.4, 0.1])
    assert outcome.found.size.tolist() == pytest.approx([0.0, 0.12], abs=1e-6)


def test_a_budget_of_queries_cuts_stages() -> None:
    cascade = Cascade(
        name="c", stages=(Stage(searcher=Reach("a", (0.1,)), rounds=3), Stage(searcher=Reach("b", (0.2,))))
    )
    evaluator = evaluator_of()
    assert serving(evaluator, cascade, Linf(0.1), 2) == cascade.stages
    # Two passes and the judge's a round, and five around the attack.
    for limit, rounds in ((8, 1), (10, 1), (11, 2), (14, 3)):
        evaluator = evaluator_of()
        object.__setattr__(evaluator.model, "max_queries", limit)
        kept = serving(evaluator, cascade, Linf(0.1), 2)
        assert [(stage.searcher.name, stage.rounds) for stage in kept] == [("a", rounds)]
        assert evaluator.notes == [
            f"max_queries={limit} cut the attack from 3 x a of 2, 1 x b of 2 to {rounds} x a of 2"
        ]
    object.__setattr__(evaluator.model, "max_queries", 17)
    assert serving(evaluator, cascade, Linf(0.1), 2) == cascade.stages
    object.__setattr__(evaluator.model, "max_queries", 7)
    with pytest.raises(
        ConfigError, match="leave something for an attack but got 7, of which the checks around it take 5"
    ):
        serving(evaluator, cascade, Linf(0.1), 2)
    object.__setattr__(evaluator.model, "max_queries", 12)
    with pytest.raises(ConfigError, match="take 11"):
        serving(evaluator, cascade, Linf(0.1), 2, beside=6)


def test_stages_without_gradients_are_widened_where_gradients_mislead() -> None:
    climbing = Stage(searcher=Reach("g", (0.1,), Needs.GRADIENT), smallest=0.5, earned=True)
    free = Stage(searcher=Reach("a", (0.1,)), smallest=0.5, earned=True, near=0.3, rounds=2)
    kept, wide = widened((climbing, free), Linf(0.1))
    assert kept == climbing
    assert (wide.smallest, wide.earned, wide.near, wide.rounds) == (1.0, False, None, 2)
    assert wide.searcher.queries == 1000  # type: ignore[attr-defined]
    many = Stage(searcher=Reach("a", (0.1,) * 999), smallest=0.5)
    assert widened((many,), Linf(0.1))[0].searcher.queries == 10  # type: ignore[attr-defined]
    few = Stage(searcher=Reach("a", (0.1,) * 998), smallest=0.5)
    assert widened((few,), Linf(0.1))[0].searcher.queries == 1000  # type: ignore[attr-defined]


def test_moves_of_all_elements_are_not_widened() -> None:
    """There are two dozen of them, and no thousand."""
    moves = Stage(searcher=CoherentMoves(queries=4, at_once=4), paid=True)
    assert widened((moves,), Linf(0.1)) == (moves,)


def test_a_few_rows_are_drawn_by_their_keys() -> None:
    chunk, evaluator = chunk_of([0.1] * 40), evaluator_of()
    left = torch.arange(40) % 5 != 0
    order = rng.fold(chunk.key, "float32").argsort()
    eligible = [row for row in order.tolist() if row % 5]
    for rows, most in ((8, 19), (7, 4)):
        evaluator.probe_rows = rows
        assert sorted(_drawn(evaluator, chunk, left).nonzero().squeeze(1).tolist()) == sorted(eligible[:most])


def test_coverage_counts_by_row_what_searched_it() -> None:
    x, threat = torch.zeros(4, 2), Linf(0.1)
    scores, labels = (Stage(searcher=Reach("s", (0.1,), needs)) for needs in (Needs.SCORES, Needs.LABELS))
    every, none = torch.arange(4), torch.zeros(4, dtype=torch.bool)
    for alone, after_scores, after_labels in (
        (False, 0, 0),
        (True, 4, 0),
        (torch.tensor([True, False, True, False]), 2, 0),
    ):
        for stage, lost in ((scores, after_scores), (labels, after_labels)):
            coverage, evaluator = Coverage(x, threat, ScoreDiagnosis(bare=alone)), evaluator_of()
            coverage.add(stage, every, none)
            coverage.count(evaluator, ~none, (stage,))
            assert evaluator.health.counts("weak_search") == (lost, 4)
            assert bool(evaluator.notes) == bool(lost)
    coverage, evaluator = Coverage(x, threat), evaluator_of()
    coverage.add(scores, torch.tensor([0, 1]), torch.tensor([False, True]))
    coverage.add(scores, torch.tensor([0, 2]), torch.tensor([True, True]))
    coverage.decided(torch.tensor([False, False, False, True]))
    coverage.count(evaluator, torch.tensor([True, True, True, True]), (scores,))
    assert evaluator.health.counts("weak_search") == (0, 4)
    assert (evaluator.health.searched_twice, evaluator.health.broken_again) == (2, 1)
    climbing = Stage(searcher=Reach("g", (0.1,), Needs.GRADIENT))
    coverage, evaluator = Coverage(x, threat), evaluator_of()
    for _ in range(2):
        coverage.add(climbing, every, none)
    coverage.count(evaluator, ~none, (climbing,))
    assert (evaluator.health.counts("weak_search"), evaluator.health.searched_twice) == ((0, 4), 0)
    note = lacking(threat, Needs.SCORES, (scores,), 1234)
    assert (
        "of 1,234 features, with a model that gives scores, takes s on all samples; what ran: s with 2 passes" in note
    )


def low_precision(
    way: str,
    distances: list[float],
    *,
    rows: int = 8,
    attempts: bool = False,
    reaches: tuple[float, float] = (0.12, 0.12),
) -> tuple[Any, list[tuple[str, list[float]]], Evaluator]:
    """Gradients that reach so far in the first search, and so far in later ones; scores reach .22."""
    log: list[tuple[str, list[float]]] = []

    class Later(Reach):
        def ask(self, problem: Problem, state: dict[str, Tensor]) -> Tensor:
            by = reaches[sum(name == "g" for name, _ in log) > 1]
            return problem.x + torch.tensor([by, 0.0])

    stages = (Stage(searcher=Later("g", (0.1,), Needs.GRADIENT, log)), Stage(searcher=Reach("b", (0.22,), log=log)))
    evaluator, chunk = evaluator_of(), chunk_of(distances)
    evaluator.low_precision, evaluator.probe_rows = way, rows  # type: ignore[assignment]
    margin = torch.tensor(distances)
    outcome = run_cascade(
        evaluator, Cascade(name="c", stages=stages), Linf(0.5), chunk, clean_margin=margin, attempts=attempts
    )
    return outcome, log, evaluator


def test_gradients_in_bfloat16_are_checked_on_survivors_in_float32() -> None:
    left = [0.40, 0.30, 0.45, 0.35]
    outcome, log, evaluator = low_precision("alone", DISTANCES)
    assert log == [("g", DISTANCES), ("b", [0.40, 0.30, 0.20, 0.15, 0.45, 0.35]), ("g", left)]
    assert evaluator.health.counts("reduced_precision") == (0, 4)
    assert outcome.stages == {"g": 2, "b": 2}
    assert evaluator.notes[0] == "gradients in bfloat16, checked on a few samples in float32, in which all is judged"
    outcome, log, evaluator = low_precision("alone", DISTANCES, reaches=(0.12, 0.32))
    assert evaluator.health.counts("reduced_precision") == (1, 4)
    assert outcome.stages == {"g": 3, "b": 2}
    outcome, log, evaluator = low_precision("first", DISTANCES)
    assert log == [
        ("g", DISTANCES),
        ("g", [d for d in DISTANCES if d > 0.12]),
        ("b", [d for d in DISTANCES if d > 0.12]),
    ]
    assert evaluator.health.counts("reduced_precision") == (0, 0)
    for way in ("", "alone"):
        _, log, evaluator = low_precision(way, DISTANCES, attempts=way == "alone")
        assert [name for name, _ in log] == ["g", "b"]
        assert evaluator.health.counts("reduced_precision") == (0, 0)
        assert evaluator.notes == []


def test_what_came_near_the_boundary_is_attacked_again_besides_a_few_others() -> None:
    """.24 less .22 is less than .15 of .24, and the third is not; all others are too many but for the first chunk."""
    distances = [0.40, 0.24, 0.27] + [0.42] * 30
    for rows, checked in ((8, 19), (7, 4)):
        _, log, evaluator = low_precision("alone", distances, rows=rows)
        again = log[2][1]
        assert len(again) == checked + 1
        assert 0.24 in again
        assert evaluator.health.counts("reduced_precision") == (0, checked + 1)
    _, _, evaluator = low_precision("alone", distances, reaches=(0.12, 0.25))
    assert evaluator.health.counts("reduced_precision") == (0, 20)  # the near one breaks, which is no finding


# Texts whose scores do not add up


@pytest.mark.parametrize("length", [30, 8])
def test_an_interaction_is_that_of_two_way_tables_of_edits(length: int) -> None:
    """Scores are those of a hash, so that only the right four texts in the right places give this number."""
    coding, threat, draw = Strings("str"), Edits(2, alphabet="xyz"), np.random.default_rng(length)
    texts = ["".join(draw.choice(list("abcdefgh"), length)) for _ in range(5)]
    asked: list[str] = []

    def score(text: str) -> float:
        return float(np.float32(math.sin(zlib.crc32(text.encode()) % 997)))

    def leads(x: Any) -> Any:
        asked.extend(coding.decode(torch.from_numpy(x).long()))
        found = np.array([score(text) for text in coding.decode(torch.from_numpy(x).long())])
        return np.stack([-found, found], 1).astype(np.float32)

    x, ids = coding.padded(coding.encode(texts), 2).float(), torch.arange(5)
    chunk = Chunk(ids, x, torch.ones(5, dtype=torch.int64), rng.keys(0, ids), (-2.0, 2e6))
    evaluator = Evaluator(as_classifier(scores_model(leads)), CPU, batch_size=None, suppress=(), notes=[])
    found = interaction(evaluator, chunk, threat)
    four = [asked[part * 60 : part * 60 + 60] for part in range(4)]
    ratios = []
    for text in range(5):
        both = main = 0.0
        for table in range(12 * text, 12 * text + 12):
            ab, a2, b2, last = (part[table] for part in four)
            # The edits of the first half are shared by two texts each, and so are those of the second half.
            middle = length // 2 - 2
            assert ab[:middle] == a2[:middle]
            assert b2[:middle] == last[:middle]
            assert ab[-1:] == b2[-1:] or length < 30
            if len({ab, a2, b2, last}) < 4:
                continue
            f = [2 * score(one) for one in (ab, a2, b2, last)]
            main += ((f[0] + f[1] - f[2] - f[3]) ** 2 + (f[0] - f[1] + f[2] - f[3]) ** 2) / 2
            both += (f[0] - f[1] - f[2] + f[3]) ** 2
        if main:
            ratios.append(both / main)
    assert found == pytest.approx(np.mean(ratios), rel=1e-4)


# One search


SEARCH = [0.05, 0.30, 0.12, 0.22, 0.45, 0.18, 0.26]


def slow_search(reaches: list[float], *, smallest: bool, attempts: bool) -> list[tuple[bool, float, float]]:
    """By sample: broken, size of the input kept, and smallest margin on the way."""
    found = []
    for d in SEARCH:
        kept, best, margin, broken = 0.0, float("inf"), float("inf"), False
        for reach in [*reaches, reaches[-1]]:
            left = d - reach
            if attempts and left < margin and not broken:
                kept = reach
            margin = min(margin, left)
            if left < 0 and smallest and reach < best:
                kept, best, broken = reach, reach, True
            elif left < 0 and not smallest:
                kept, broken = reach, True
                break
        found.append((broken, kept, margin))
    return found


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 7, 64])
@pytest.mark.parametrize(("smallest", "attempts"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("needs", [Needs.SCORES, Needs.GRADIENT])
def test_a_search_keeps_what_a_slow_one_does(batch_size: int, smallest: bool, attempts: bool, needs: Needs) -> None:
    reaches = [0.02, 0.2, 0.1, 0.28, 0.25, 0.01]
    model, chunk = Line(), chunk_of(SEARCH)
    evaluator = evaluator_of(model, batch_size)
    model.rows.clear()
    outcome = search(
        evaluator, Reach("a", tuple(reaches), needs), Linf(0.5), chunk.x, chunk.y, key=chunk.key, bounds=(0.0, 1.0),
        smallest=smallest, attempts=attempts, followed=3,
    )  # fmt: skip
    expected = slow_search(reaches, smallest=smallest, attempts=attempts)
    assert outcome.broken.tolist() == [one[0] for one in expected]
    assert outcome.size.tolist() == pytest.approx([one[1] for one in expected], abs=1e-6)
    assert outcome.margin.tolist() == pytest.approx([one[2] for one in expected], abs=1e-6)
    assert outcome.predicted.tolist() == [int(one[0]) for one in expected]
    assert max(model.rows) <= batch_size
    if needs is Needs.GRADIENT:
        assert outcome.alive is not None
        assert outcome.alive.tolist() == [[True, False]] * 3
        assert evaluator.health.counts("zero_gradient") == (0, 7)
        if smallest:  # every sample takes each step and the last proposal
            assert evaluator.backward == 7 * 6
    else:
        assert outcome.alive is None
    if smallest:
        assert sum(model.rows) == 7 * 7 + sum(one[0] for one in expected)


def test_outcomes_merge_by_row() -> None:
    def outcome(broken: list[bool], value: float) -> SearchOutcome:
        n = len(broken)
        return SearchOutcome(
            torch.tensor(broken), torch.full((n, 1), value), torch.full((n,), value, dtype=torch.float64),
            torch.full((n,), int(value)), torch.full((n,), value),
        )  # fmt: skip

    whole = outcome([False, True, False, False], 5.0)
    whole.merge(outcome([True, False, False], 2.0), torch.tensor([3, 1, 0]), torch.tensor([0]))
    assert whole.broken.tolist() == [False, True, False, True]
    assert whole.x.flatten().tolist() == [5, 5, 5, 2]
    assert (whole.size.tolist(), whole.predicted.tolist()) == ([5, 5, 5, 2], [5, 5, 5, 2])
    assert whole.margin.tolist() == [2, 2, 5, 2]


def test_rows_are_picked_joined_and_rounded_up() -> None:
    rows = {"a": torch.arange(3), "b": torch.arange(6).view(3, 2)}
    assert pick(rows, torch.tensor([2, 0]))["b"].tolist() == [[4, 5], [0, 1]]
    assert join(rows, rows)["a"].tolist() == [0, 1, 2, 0, 1, 2]
    assert [bucket(n) for n in (1, 2, 3, 4, 5, 8, 9)] == [1, 2, 4, 4, 8, 8, 16]
