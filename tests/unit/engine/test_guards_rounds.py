"""Guards of a cascade's rounds: which rows each search gets, by which keys, and what its outcome counts for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import Linf, as_classifier, rng
from robustest.attacks import Cascade, Needs, Problem, Stage
from robustest.engine import cascade as cascades
from robustest.engine.cascade import run_cascade
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.score_diagnosis import Suspicion
from robustest.engine.search import SearchOutcome
from robustest.threats import Discrete
from robustest.threats.threat import OfInputs, Rows

N = 5
CLEAN = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])


@dataclass(frozen=True)
class Named:
    """A searcher of a name, whose searches are scripted; it decides the samples at some places."""

    name: str
    needs: Needs = Needs.SCORES
    decided: tuple[int, ...] = ()
    steps = 1

    def decides(self, problem: Problem) -> Tensor:
        return torch.tensor([int(at) in self.decided for at in problem.x[:, 0].tolist()])


NAMED: Any = Named


class Moves(OfInputs, Discrete):
    """A threat by single moves."""

    radius = 1.0
    ascent = stride = places = choices = moved = point = start = project = points = None  # type: ignore[assignment]

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return (z != region["x"]).sum(1).double()


class Script:
    """Searches, one after the other: margins and breaks of the rows asked, by their places; the rows they got."""

    def __init__(self, *answers: dict[int, float] | Callable[[list[int]], list[float]]) -> None:
        self.answers, self.asked = list(answers), list[tuple[str, list[int], Tensor, dict[str, Any]]]()

    def __call__(self, evaluator: Any, searcher: Any, threat: Any, x: Tensor, y: Tensor, **how: Any) -> SearchOutcome:
        rows = x[:, 0].int().tolist()
        how["low"] = evaluator.reduced
        self.asked.append((searcher.name, rows, how.pop("key"), how))
        given = self.answers.pop(0) if self.answers else {}
        margins = given(rows) if callable(given) else [given.get(row, 9.0) for row in rows]
        margin = torch.tensor(margins)
        at = x.clone()
        at[:, 1] = torch.arange(len(x)) + 10.0 * len(self.asked)  # the place in the search, and its number
        alive = torch.ones(how["followed"], 2, dtype=torch.bool) if how["followed"] else None
        return SearchOutcome(margin < 0, at, at[:, 1].double(), (margin < 0).long(), margin, alive)

    @property
    def rows(self) -> list[tuple[str, list[int]]]:
        return [(name, rows) for name, rows, _, _ in self.asked]


def run(
    monkeypatch: pytest.MonkeyPatch, script: Script, *stages: Stage, threat: Any = None, rows: int = 8, **options: Any
) -> tuple[Any, Evaluator]:
    monkeypatch.setattr(cascades, "search", script)
    monkeypatch.setattr(cascades, "probe_gradient", lambda *_, **__: False)
    monkeypatch.setattr(Suspicion, "of", lambda *_: Suspicion())
    evaluator = Evaluator(as_classifier(lambda x: x), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    evaluator.classes, evaluator.probe_rows = 2, rows
    evaluator.low_precision = options.pop("way", "")
    x, ids = torch.stack([torch.arange(N).float(), torch.zeros(N)], 1), torch.arange(N)
    chunk = Chunk(ids, x, torch.zeros(N, dtype=torch.int64), rng.keys(0, ids), (-99.0, 99.0))
    outcome = run_cascade(
        evaluator, Cascade(name="c", stages=stages), Linf(0.5) if threat is None else threat, chunk,
        clean_margin=CLEAN, control=False, **options,
    )  # fmt: skip
    return outcome, evaluator


def gradient(name: str = "g", **options: Any) -> Stage:
    return Stage(searcher=NAMED(name, Needs.GRADIENT), **options)


def scores(name: str = "s", **options: Any) -> Stage:
    return Stage(searcher=NAMED(name), **options)


EVERY = list(range(N))
HALF = {0: 0.9, 1: 2.0, 2: 3.5, 3: 3.9, 4: 5.0}
"""Margins of which 1, 2 and 4 are no smaller than those of the unchanged samples."""


@pytest.mark.parametrize(
    ("stages", "threat", "flat"),
    [
        ([gradient()], None, (3, 5)),
        ([gradient()], Linf(2.0), (3, 5)),
        ([gradient()], Linf(0.0), (0, 0)),
        ([gradient()], Moves(), (0, 0)),
        ([scores()], None, (0, 0)),
        ([gradient(rounds=2)], None, (3, 5)),
        ([gradient(rounds=2, together=True)], None, (3, 5)),
        ([scores(), gradient(rounds=2)], None, (0, 0)),
        ([gradient(), gradient("h", rounds=2)], None, (3, 5)),
    ],
)
def test_the_first_round_of_gradients_has_to_lower_margins(
    stages: list[Stage], threat: Any, flat: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(*[lambda rows: [HALF[row] for row in rows]] * 3)
    _, evaluator = run(monkeypatch, script, *stages, threat=threat)
    assert evaluator.health.counts("loss_does_not_rise") == flat


@pytest.mark.parametrize(
    ("stages", "threat", "beaten"),
    [
        ([gradient(), scores()], None, (2, 5)),
        ([gradient(), scores(rounds=2)], None, (2, 8)),
        ([gradient(), scores()], Linf(3.0), (2, 5)),
        ([scores(), gradient()], None, (0, 0)),
        ([gradient(), gradient("h")], None, (0, 0)),
        ([gradient(), scores()], Moves(), (0, 0)),
        ([scores(), scores("t")], None, (0, 0)),
        ([gradient(), gradient("h"), scores()], None, (0, 3)),
    ],
)
def test_what_others_break_after_gradients_is_counted(
    stages: list[Stage], threat: Any, beaten: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second search breaks two rows."""
    _, evaluator = run(monkeypatch, Script({}, {1: -1.0, 3: -1.0}), *stages, threat=threat)
    assert evaluator.health.counts("black_box_beats_white_box") == beaten


def test_each_search_has_its_own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script({2: -1.0})
    run(monkeypatch, script, gradient(rounds=2), scores(rounds=3, together=True))
    assert script.rows == [("g", EVERY), ("g", [0, 1, 3, 4]), ("s", [0, 0, 0, 1, 1, 1, 3, 3, 3, 4, 4, 4])]
    keys = rng.keys(0, torch.arange(N))
    rest = torch.tensor([0, 1, 3, 4])
    assert torch.equal(script.asked[0][2], rng.fold(keys, "g/0/0"))
    assert torch.equal(script.asked[1][2], rng.fold(keys[rest], "g/0/1"))
    together = torch.stack([rng.fold(keys[rest], f"s/1/{number}") for number in range(3)], 1).flatten()
    assert torch.equal(script.asked[2][2], together)


@pytest.mark.parametrize("threat", [None, Moves()], ids=["ball", "moves"])
def test_the_first_rows_are_followed_in_balls(threat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five rows the first three are probed."""
    script, seen = Script({1: -1.0}), list[tuple[list[int], Tensor]]()
    monkeypatch.setattr(
        cascades, "count_unreached", lambda _, part, __, alive: seen.append((part.x[:, 0].int().tolist(), alive))
    )
    run(monkeypatch, script, gradient(), gradient("h", rounds=2, together=True), threat=threat, rows=3)
    followed = [how["followed"] for _, _, _, how in script.asked]
    assert followed == ([0, 0] if threat is not None else [3, 4])
    assert [how["probe"] for _, _, _, how in script.asked] == [threat is not None] * 2
    assert [rows for rows, _ in seen] == ([] if threat is not None else [[0, 2]])
    assert all(bool(alive.all()) and alive.shape == (2, 2) for _, alive in seen)


def test_where_all_followed_rows_broke_none_is_left_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(cascades, "count_unreached", lambda *_: seen.append(1))
    run(monkeypatch, Script(dict.fromkeys(range(3), -1.0)), gradient(), rows=3)
    assert seen == []
    run(monkeypatch, Script(dict.fromkeys(range(2), -1.0)), gradient(), rows=3)
    assert seen == [1]


@pytest.mark.parametrize("attempts", [True, False])
def test_of_rounds_together_the_first_success_or_the_nearest_is_kept(
    attempts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    margins = {0: [-1.0, -5.0, 2.0], 1: [3.0, 0.5, 0.7], 2: [4.0, -1.0, -2.0], 3: [0.2, 0.3, 0.4], 4: [9.0, 9.0, 1.0]}
    script = Script(lambda _: [one for row in range(N) for one in margins[row]])
    outcome, _ = run(monkeypatch, script, scores(rounds=3, together=True), attempts=attempts)
    assert outcome.found.broken.tolist() == [True, False, True, False, False]
    kept = [0, 4 if attempts else None, 7, 9 if attempts else None, 14 if attempts else None]
    assert outcome.found.x[:, 1].tolist() == [0.0 if at is None else 10.0 + at for at in kept]
    assert outcome.found.margin.tolist() == pytest.approx([-5.0, 0.5, -2.0, 0.2, 1.0])
    assert outcome.found.predicted.tolist() == [1, 0, 1, 0, 0]
    assert outcome.stages == {"s": 2}


@pytest.mark.parametrize("attempts", [True, False])
def test_a_nearer_attempt_takes_the_place_of_one_before_it(attempts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script({0: 0.5, 1: 0.5, 2: -1.0}, {0: 0.4, 1: 0.5, 3: -1.0})
    outcome, _ = run(monkeypatch, script, scores(rounds=2), attempts=attempts)
    assert script.rows == [("s", EVERY), ("s", [0, 1, 3, 4])]
    expected = [20.0, 11.0, 12.0, 22.0, 14.0] if attempts else [0.0, 0.0, 12.0, 22.0, 0.0]
    assert outcome.found.x[:, 1].tolist() == expected
    assert outcome.stages == {"s #1": 1, "s #2": 1}
    assert [how["attempts"] for _, _, _, how in script.asked] == [attempts] * 2


def test_stages_of_one_name_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, _ = run(monkeypatch, Script({0: -1.0, 1: -1.0}, {2: -1.0}), scores(), scores())
    assert outcome.stages == {"s": 3}


@pytest.mark.parametrize(
    ("first", "second", "third"),
    [({}, {}, False), ({0: -1.0}, {}, False), ({}, {1: -1.0}, True), ({0: -1.0}, {1: -1.0}, True)],
)
def test_a_stage_is_earned_by_what_broke_after_the_first_round(
    first: dict[int, float], second: dict[int, float], third: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(first, second)
    run(monkeypatch, script, scores("a"), scores("b"), scores("c", earned=True), scores("d"))
    assert [name for name, _ in script.rows] == ["a", "b", *("c" if third else ""), "d"]
    alone = Script()
    run(monkeypatch, alone, scores("c", earned=True))
    assert alone.rows == [("c", EVERY)]


@pytest.mark.parametrize(
    ("answers", "near", "ran"),
    [
        ([{0: 2.0}, {0: 1.0}], 0.5, True),  # half of the smallest margin so far
        ([{0: 2.0}, {0: 1.0}], 0.49, False),
        ([{0: 2.0, 1: 4.0}, {0: 1.9, 1: 1.0}], 0.25, True),
        ([{0: 2.0}, {0: -1.0}], 0.0, True),
        ([{0: 2.0}, {0: 0.0}], 0.0, True),
        ([{0: 2.0}, {0: 6.0}], 1.0, True),  # others are where they were
        ([dict.fromkeys(EVERY, 2.0), dict.fromkeys(EVERY, 3.0)], 1.49, False),
        ([dict.fromkeys(EVERY, 2.0), dict.fromkeys(EVERY, 3.0)], 1.5, True),
        ([dict.fromkeys(EVERY, float("inf"))] * 2, 0.99, False),
        ([dict.fromkeys(EVERY, float("inf"))] * 2, 1.0, True),
    ],
)
def test_a_stage_comes_again_where_the_last_of_its_name_came_near(
    answers: list[dict[int, float]], near: float, ran: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(*answers)
    run(monkeypatch, script, scores("a"), scores("b"), scores("b", near=near))
    assert len(script.asked) == 2 + ran
    other = Script(*answers)
    run(monkeypatch, other, scores("a"), scores("b"), scores("c", near=near))
    assert len(other.asked) == 3, "nothing of its name came before it"


@pytest.mark.parametrize(
    ("smallest", "broken", "go_on", "asked"),
    [
        (0.4, 1, 0.5, [[0, 1], [2, 3], [4]]),
        (0.4, 1, 0.51, [[0, 1]]),
        (0.4, 0, 0.01, [[0, 1]]),
        (0.41, 2, 0.6, [[0, 1, 2], [3, 4]]),
        (0.41, 1, 0.4, [[0, 1, 2]]),
        (1.0, 0, 0.9, [EVERY]),
        (0.05, 1, 1.0, [[0], [1], [2], [3], [4]]),
    ],
)
def test_so_many_of_the_nearest_go_first(
    smallest: float, broken: int, go_on: float, asked: list[list[int]], *, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each slice so many break; margins grow with the places."""
    near = lambda rows: [-1.0 if at < broken else 9.0 for at, _ in enumerate(rows)]  # noqa: E731
    script = Script({row: float(row + 1) for row in EVERY}, *[near] * 5)
    run(monkeypatch, script, scores("a"), scores("b", smallest=smallest, go_on=go_on))
    assert [rows for name, rows in script.rows if name == "b"] == asked


def test_what_was_decided_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every input of samples 1 and 3 was evaluated; 3 broke."""
    script = Script({3: -1.0, 0: -1.0})
    outcome, evaluator = run(
        monkeypatch, script, Stage(searcher=NAMED("a", decided=(1, 3))), scores("b", rounds=2), scores("c")
    )
    assert script.rows == [("a", EVERY), ("b", [2, 4]), ("b", [2, 4]), ("c", [2, 4])]
    assert outcome.found.broken.tolist() == [True, False, False, True, False]
    assert evaluator.health.counts("weak_search") == (0, 3)
    assert evaluator.health.searched_twice == 3
    assert evaluator.health.broken_again == 0


@pytest.mark.parametrize("agrees", [True, False])
@pytest.mark.parametrize("way", ["", "first", "alone"])
def test_gradients_in_bfloat16_come_first_where_they_are_used(
    way: str, agrees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name, rows and precision. In the check all rows are drawn that were left, and one breaks."""
    monkeypatch.setattr(cascades, "probe_precision", lambda *_: agrees)
    script = Script({0: -1.0}, {1: -1.0}, {2: -1.0})
    outcome, evaluator = run(monkeypatch, script, gradient(), scores(), gradient("h", earned=True), way=way)
    asked = [(name, rows, how["low"]) for name, rows, _, how in script.asked]
    left = [1, 2, 3, 4]
    if way == "first":
        assert asked[:2] == [("g", EVERY, True), ("g", left, False)]
        assert asked[2:] == [("s", [2, 3, 4], False), ("h", [3, 4], False)]
    elif way == "alone" and agrees:
        assert asked[:3] == [("g", EVERY, True), ("s", left, True), ("h", [2, 3, 4], True)]
        assert asked[3:] == [("g", [3, 4], False)]
        assert evaluator.health.counts("reduced_precision") == (0, 2)
        assert outcome.found.broken.tolist() == [True, True, True, False, False]
    else:
        assert asked == [("g", EVERY, False), ("s", left, False), ("h", [2, 3, 4], False)]
    noted = "gradients in float32: in bfloat16 they point elsewhere"
    assert (noted in evaluator.notes) is (way == "alone" and not agrees)


@pytest.mark.parametrize(
    ("stage", "threat", "attempts", "reduced"),
    [
        (gradient(), None, False, True),
        (gradient(), Linf(3.0), False, True),
        (gradient(), Linf(0.0), False, False),
        (gradient(), Moves(), False, False),
        (scores(), None, False, False),
        (gradient(), None, True, False),
    ],
)
def test_bfloat16_is_for_gradients_that_break(
    stage: Stage, threat: Any, attempts: bool, reduced: bool, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cascades, "probe_precision", lambda *_: True)
    script = Script()
    run(monkeypatch, script, stage, threat=threat, way="alone", attempts=attempts)
    assert [how["low"] for _, _, _, how in script.asked] == ([True, False] if reduced else [False])


@pytest.mark.parametrize(
    ("radius", "control", "planted"), [(1.0, True, 1), (0.5, True, 1), (0.0, True, 0), (1.0, False, 0)]
)
def test_inputs_are_planted_for_searches_by_moves(
    radius: float, control: bool, planted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(cascades, "plant", lambda _, searchers, *__: asked.append([one.name for one in searchers]))
    threat = type("Other", (Moves,), {"radius": radius})()
    monkeypatch.setattr(cascades, "search", Script())
    evaluator = Evaluator(as_classifier(lambda x: x), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    evaluator.classes = 2
    x, ids = torch.rand(N, 2), torch.arange(N)
    chunk = Chunk(ids, x, torch.zeros(N, dtype=torch.int64), rng.keys(0, ids), (0.0, 1.0))
    for one in (threat, Linf(0.1)):
        run_cascade(
            evaluator,
            Cascade(name="c", stages=(scores("a"), scores("b"))),
            one,
            chunk,
            clean_margin=CLEAN,
            control=control,
        )
    assert asked == [["a", "b"]] * planted
