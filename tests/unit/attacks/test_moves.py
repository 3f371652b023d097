"""Searches by moves: what each can find, what it decides, and the control that says when it could find nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import find_adversarial, rng, scores_model
from robustest.attacks import Enumeration, GreedyMoves, Problem, RandomMoves, enough_queries, searches
from robustest.attacks.moves import enough_moves
from robustest.attacks.protocol import Evaluation
from robustest.data.strings import Strings
from robustest.errors import ConfigError
from robustest.measure import measure_robust_accuracy
from robustest.threats import AnyOf, Append, Columns, Edits, Insert, Linf, Rows, Whole, Within

BOUNDS = (0.0, 9.0)
RULES: dict[Any, Any] = {at: Whole(9) for at in range(6)}


def climbing(x: Any) -> Any:
    """Class 1 once four columns are 9; the scores rise with each."""
    t = torch.as_tensor(x)
    lead = 3.5 - (t[:, :4] == 9).sum(1)
    return torch.stack([lead, -lead], 1).numpy()


def plateau(x: Any) -> Any:
    """Class 1 if two columns are at opposite ends; the scores show nothing before."""
    t = torch.as_tensor(x)
    lead = 1 - 2.0 * ((t[:, 1] == 9) & (t[:, 4] == 0)) + 0.01 * torch.rand(len(t))
    return torch.stack([lead, -lead], 1).numpy()


X = torch.full((6, 6), 4.0)
Y = torch.zeros(6, dtype=torch.int64)


BOTH = torch.cat([X[:3], X[3:] + torch.eye(6)[5]]), torch.tensor([0, 0, 0, 1, 1, 1])


def by_last_column(x: Any) -> Any:
    """Class 1 where the last column is 5, with scores that say nothing more."""
    lead = 5.0 - 10.0 * (torch.as_tensor(x)[:, -1] == 5)
    return torch.stack([lead, -lead], 1).numpy()


def and_second(x: Any) -> Any:
    """The same classes, by a lead that the first two columns move."""
    t = torch.as_tensor(x)
    lead = (3 + t[:, 1] + 0.1 * t[:, 0]) * (1 - 2.0 * (t[:, -1] == 5))
    return torch.stack([lead, -lead], 1).numpy()


def broken(fn: Any, attack: Any, threat: Columns, rows: int = 6) -> float:
    options: Any = {"bounds": BOUNDS, "suppress": ("random_forward",)}
    found = find_adversarial(scores_model(fn, bounds=BOUNDS), X[:rows], Y[:rows], threat, attack=attack, **options)
    return float(found.broken.mean())


def test_a_beam_climbs_as_many_moves_as_it_has_sweeps() -> None:
    threat = Columns(RULES)
    assert broken(climbing, GreedyMoves(queries=960, at_once=60, sweeps=4), threat) == 1
    assert broken(climbing, GreedyMoves(queries=960, at_once=60, sweeps=3), threat) == 0
    assert broken(climbing, GreedyMoves(queries=960, at_once=60, sweeps=4), Columns(RULES, max_changed=3)) == 0


def test_random_moves_find_two_columns_that_matter_together() -> None:
    assert broken(plateau, RandomMoves(queries=2000), Columns(RULES, max_changed=2)) >= 0.8
    assert broken(climbing, RandomMoves(queries=2000), Columns(RULES)) >= 0.8


def test_enumeration_asks_as_many_rounds_as_a_region_has_points() -> None:
    x = torch.tensor([[4.0, 4.0], [0.0, 4.0], [9.0, 9.0]])
    threat = Columns({0: Whole(1), 1: Whole(4)}).resolved(2, BOUNDS)
    problem = Problem(threat, threat.region(x, BOUNDS), Y[:3], 2, BOUNDS)
    attack = Enumeration(queries=20, at_once=4)
    assert threat.points(problem.region).tolist() == [27, 18, 10]
    assert attack.decides(problem).tolist() == [False, True, True]
    assert attack.rounds(problem).tolist() == [4, 4, 2]
    assert not searches(attack, threat, 2), "it counts by sample"


def test_what_is_decided_counts_and_is_not_searched_again() -> None:
    """Labels alone, which no other search of moves can follow: every input is asked, and the claim passes."""
    result = measure_robust_accuracy(
        scores_model(by_last_column, bounds=BOUNDS),
        BOTH,
        Columns({0: Whole(1), 3: Whole(1)}),
        at_least=0.6,
        attack="fast",
        bounds=BOUNDS,
    )
    assert result.verdict == "passed"
    assert result.cost.forward < 6 * 150


def test_scores_that_are_labels_do_not_guide_a_search() -> None:
    """With real numbers no search decides, and scores that say no more than labels lead nowhere."""
    result = measure_robust_accuracy(
        scores_model(by_last_column, bounds=BOUNDS),
        BOTH,
        Columns({0: Within(-1, 1)}),
        at_least=0.6,
        attack="fast",
        bounds=BOUNDS,
    )
    assert result.verdict == "inconclusive"
    assert any("weak_search" in reason for reason in result.ruling.reasons)


@pytest.mark.parametrize("attack", [Enumeration(), GreedyMoves(), RandomMoves()])
def test_searches_by_moves_are_for_discrete_threats(attack: Any) -> None:
    assert not attack.supports(Linf(0.1))
    assert enough_queries(attack, Linf(0.1), 8) is None


@dataclass(frozen=True, slots=True)
class Stuck(Columns):
    """A threat of a user's own whose moves and points are all the sample."""

    def moved(self, z: Tensor, place: Tensor, choice: Tensor, region: Rows) -> Tensor:
        return z

    def point(self, number: Tensor, region: Rows) -> Tensor:
        return region["x"].unsqueeze(1).expand(-1, number.shape[1], -1)


def test_moves_that_do_not_move_miss_the_control() -> None:
    threat = Stuck({0: Within(-3, 3), 1: Within(-3, 3)})
    arguments: Any = {"at_least": 0.6, "attack": GreedyMoves(), "bounds": BOUNDS}
    result = measure_robust_accuracy(scores_model(and_second, bounds=BOUNDS), BOTH, threat, **arguments)
    assert result.verdict == "inconclusive"
    assert any("missed_control" in reason for reason in result.ruling.reasons)
    sound = Columns({0: Within(-3, 3), 1: Within(-3, 3)})
    assert (
        measure_robust_accuracy(scores_model(and_second, bounds=BOUNDS), BOTH, sound, **arguments).verdict == "passed"
    )


def test_a_region_of_one_other_input_has_its_control() -> None:
    def fn(x: Any) -> Any:
        lead = 3 - torch.as_tensor(x)[:, 1]
        return torch.stack([lead, -lead], 1).numpy()

    x, y = torch.full((6, 2), 0.0), torch.arange(6) % 2
    x[:, 1] = 6.0 * y
    result = measure_robust_accuracy(
        scores_model(fn, bounds=BOUNDS), (x, y), Columns({0: AnyOf(9)}), at_least=0.6, attack="fast", bounds=BOUNDS
    )
    assert result.verdict == "passed"


# How many queries, and where


@pytest.mark.parametrize(
    ("threat", "features", "queries"),
    [
        (Columns(RULES), 10, 300),
        (Columns(RULES), 24, 312),
        (Columns(RULES), 769, 9997),
        (Columns(RULES), 800, 10_000),
        (Edits(1), 20, 300),
        (Edits(1), 40, 400),
        (Edits(1), 2000, 10_000),
        (Insert(5), 40, 400),
        (Append(5), 40, 300),  # what is appended is all there is to ask about
        (Append(50), 4000, 500),
        (Append(50), 40, 400),
        (Linf(0.1), 40, None),
    ],
    ids=str,
)
def test_a_search_of_scores_counts_from_so_many_queries_on(threat: Any, features: int, queries: int | None) -> None:
    assert enough_moves(threat, features) == queries


def problem_of(threat: Columns, x: Tensor) -> Problem:
    known = threat.resolved(x.shape[1], BOUNDS)
    return Problem(known, known.region(x, BOUNDS), torch.zeros(len(x), dtype=torch.int64), 2, BOUNDS)


def test_a_region_is_decided_up_to_as_many_points_as_are_asked() -> None:
    rules = {0: AnyOf(0, 1, 2, 4), 1: AnyOf(0, 1, 2, 3, 4)}
    problem = problem_of(Columns(rules), torch.full((2, 2), 4.0))
    assert problem.threat.points(problem.region).tolist() == [20, 20]  # type: ignore[attr-defined]
    for queries, at_once, part, decided, rounds in (
        (20, 4, 8, True, 4),
        (20, 10, 8, True, 1),
        (23, 4, 8, True, 4),
        (19, 4, 8, False, 1),
        (19, 4, 9, False, 2),
        (19, 4, 1, False, 0),
        (19, 4, 1000, False, 3),
    ):
        attack = Enumeration(queries=queries, at_once=at_once, part=part)
        assert attack.decides(problem).tolist() == [decided] * 2
        assert attack.rounds(problem).tolist() == [rounds] * 2


def test_enumeration_asks_the_points_in_their_order() -> None:
    problem = problem_of(Columns({0: AnyOf(0, 1, 2, 4)}), torch.full((1, 1), 4.0))
    attack = Enumeration(queries=4, at_once=2)
    state = attack.init(problem, rng.keys(0, torch.arange(1)))
    asked = []
    for _ in range(2):
        z = attack.ask(problem, state)
        asked += z.flatten().tolist()
        state = attack.tell(problem, state, Evaluation(z, torch.zeros(1, 2, 2), None))
    assert asked == [4, 0, 1, 2]


def asked_of(attack: GreedyMoves, problem: Problem, rounds: int, logits: Any = None) -> list[list[tuple[int, int]]]:
    """The places and choices of each round of the first sample, and their points by `tell`."""
    state, found = attack.init(problem, rng.keys(0, torch.arange(len(problem.y)))), []
    for _ in range(rounds):
        _, place, choice = attack._moves(problem, state)
        found.append(list(zip(place.tolist(), choice.tolist(), strict=True))[: attack.at_once])
        z = attack.ask(problem, state)
        answers = torch.zeros(*z.shape[:2], 2) if logits is None else logits(z)
        state = attack.tell(problem, state, Evaluation(z, answers, None))
    return found


def test_a_sweep_that_is_long_enough_tries_every_choice_of_every_place_once() -> None:
    problem = problem_of(Columns({0: Whole(2), 1: Whole(-1, 3), 2: AnyOf(0, 1, 2, 3)}), torch.full((2, 3), 4.0))
    rounds = asked_of(GreedyMoves(queries=12, at_once=6, sweeps=1), problem, 2)
    pairs = [pair for one in rounds for pair in one]
    assert sorted(pairs) == [(place, choice) for place in range(3) for choice in range(4)]
    short = asked_of(GreedyMoves(queries=6, at_once=6, sweeps=1), problem, 1)[0]
    assert sorted(short) == [(place, choice) for place in range(3) for choice in (0, 3)], "the first and the last"


def test_a_sweep_of_fewer_moves_than_places_is_spread_over_them() -> None:
    problem = problem_of(Columns({at: Whole(1) for at in range(40)}), torch.full((1, 40), 4.0))
    rounds = asked_of(GreedyMoves(queries=10, at_once=5, sweeps=1), problem, 2)
    places = [place for one in rounds for place, _ in one]
    assert [place // 4 for place in places] == list(range(10))


def test_later_sweeps_go_on_from_each_of_the_best() -> None:
    problem = problem_of(Columns({at: Whole(4) for at in range(3)}), torch.full((1, 3), 4.0))
    attack = GreedyMoves(queries=60, at_once=30, sweeps=2, beam=3)

    def higher(z: Tensor) -> Tensor:  # the loss rises with the sum
        lead = -z.sum(2)
        return torch.stack([lead, -lead], 2)

    state = attack.init(problem, rng.keys(0, torch.arange(1)))
    assert torch.equal(state["beam"], torch.full((1, 3, 3), 4.0))
    z = attack.ask(problem, state)
    assert bool(((z != 4).sum(2) <= 1).all()), "one move from the sample"
    state = attack.tell(problem, state, Evaluation(z, higher(z), None))
    best = state["beam"][0]
    assert len(best.unique(dim=0)) == 3, "no point twice"
    assert best.sum(1).tolist() == [16, 16, 16]
    assert state["value"][0].tolist() == [32, 32, 32]
    points, _, _ = attack._moves(problem, state)
    assert [points[at].tolist() for at in range(6)] == [*best.tolist(), *best.tolist()], "each in turn"
    z = attack.ask(problem, state)
    worse = attack.tell(problem, state, Evaluation(z, -higher(z), None))
    assert torch.equal(worse["value"], state["value"]), "the best of all sweeps stay"
    assert torch.equal(worse["beam"], state["beam"])


def test_a_beam_changes_at_the_end_of_a_sweep_alone() -> None:
    problem = problem_of(Columns({at: Whole(4) for at in range(3)}), torch.full((1, 3), 4.0))
    attack = GreedyMoves(queries=40, at_once=10, sweeps=2, beam=2)
    state, seen = attack.init(problem, rng.keys(0, torch.arange(1))), []
    for _ in range(4):
        z = attack.ask(problem, state)
        lead = -z.sum(2)
        after = attack.tell(problem, state, Evaluation(z, torch.stack([lead, -lead], 2), None))
        seen.append(torch.equal(after["beam"], state["beam"]))
        state = after
    assert seen == [True, False, True, False]
    assert state["age"].tolist() == [4]


def test_the_last_part_of_a_sweep_goes_where_moves_raised_the_loss() -> None:
    problem = problem_of(Columns({at: Whole(4) for at in range(20)}), torch.full((1, 20), 4.0))
    attack = GreedyMoves(queries=80, at_once=40, sweeps=1, focus=0.5)

    def at_seven(z: Tensor) -> Tensor:
        lead = -(z[:, :, 7] != 4).float()
        return torch.stack([lead, -lead], 2)

    first, second = ([place for place, _ in one] for one in asked_of(attack, problem, 2, at_seven))
    assert [first.count(place) for place in range(20)] == [2] * 20
    assert second.count(7) == max(second.count(place) for place in range(20)) > 8
    state = attack.init(problem, rng.keys(0, torch.arange(1)))
    z = attack.ask(problem, state)
    state = attack.tell(problem, state, Evaluation(z, at_seven(z), None))
    assert state["place"].shape == (1, 21)
    assert int(state["place"].argmax()) == 7
    assert state["place"][0, :20].isfinite().all()
    z = attack.ask(problem, state)
    ended = attack.tell(problem, state, Evaluation(z, at_seven(z), None))
    assert not ended["place"].isfinite().any(), "the next sweep begins anew"


def problem_of_texts(texts: list[str], threat: Edits) -> Problem:
    coding = Strings("str")
    x = coding.padded(coding.encode(texts), threat.k).float()
    labels = torch.zeros(len(texts), dtype=torch.int64)
    return Problem(threat, threat.region(x, (-2.0, 2e6)), labels, 2, (-2.0, 2e6))


def in_the_fourth_word(z: Tensor) -> Tensor:
    lead = -(z[:, :, 18:23] != ord("a")).any(2).float()
    return torch.stack([lead, -lead], 2)


def test_a_search_of_texts_asks_for_each_word_once_and_goes_on_in_the_best() -> None:
    problem = problem_of_texts([" ".join(["aaaaa"] * 6)], Edits(1, kinds=("substitute",), alphabet="xyz"))
    attack = GreedyMoves(queries=40, at_once=5, sweeps=1, focus=0.5)
    rounds = asked_of(attack, problem, 8, in_the_fourth_word)
    places = [place for one in rounds for place, _ in one]
    assert places[:6] == [2, 8, 14, 20, 26, 32], "the middle of each word"
    assert sum(18 <= place < 23 for place in places[10:]) > 10, "4 by chance"
    # A longer sweep begins alike; then it is spread over all places, and ends at the best.
    longer = asked_of(GreedyMoves(queries=200, at_once=5, sweeps=1, focus=0.5), problem, 40, in_the_fourth_word)
    assert longer[:2] == rounds[:2]
    spread = [place for one in longer[15:26] for place, _ in one]
    assert {*range(35)} <= {*spread}
    last = [place for one in longer[28:] for place, _ in one]
    assert sum(18 <= place < 23 for place in last) > len(last) / 3


def test_few_queries_are_shared_by_many_words_and_spread_where_nothing_is_known() -> None:
    attack = GreedyMoves(queries=20, at_once=10, sweeps=1, focus=0.5)
    problem = problem_of_texts(["ab " * 40], Edits(1, alphabet="xyz"))
    first = [place for place, _ in asked_of(attack, problem, 1)[0]]
    assert first == [1 + 3 * 4 * at for at in range(10)]
    # All in one round: words first, and the others anywhere, not at the start of the text.
    once = GreedyMoves(queries=40, at_once=40, sweeps=1, focus=0.5)
    problem = problem_of_texts(["ab " * 10], Edits(1, alphabet="xyz"))
    (places,) = ([place for place, _ in one] for one in asked_of(once, problem, 1))
    assert places[:10] == [1 + 3 * at for at in range(10)]
    assert sum(place >= 15 for place in places[10:]) > 9


def test_later_sweeps_begin_with_the_best_moves_of_the_sweep_before() -> None:
    coding, problem = Strings("str"), problem_of_texts(["a" * 20] * 2, Edits(2, alphabet="xyz"))
    attack = GreedyMoves(queries=400, at_once=50, sweeps=2, focus=0.5)
    state = attack.init(problem, rng.keys(0, torch.arange(2)))

    def worth(text: str) -> float:
        """An insertion at the start, and another one near the end."""
        return 2.0 * text.startswith("y") + 1.0 * (text.rstrip("a")[-1:] == "z")

    for _ in range(4):
        z = attack.ask(problem, state)
        lead = torch.tensor([[-worth(text) for text in coding.decode(row.long())] for row in z])
        state = attack.tell(problem, state, Evaluation(z, torch.stack([lead, -lead], 2), None))
    assert state["lead"].shape == (2, 16)
    assert int(state["lead"][0, 0]) == 0
    texts = coding.decode(attack.ask(problem, state)[0].long())
    assert max(map(worth, texts[:8])) == 3, "the second best move follows the best one at once"
    assert not any(len(text) > 22 for text in texts)
    # Of tables, whose places do not move, too.
    table = problem_of(Columns({at: Whole(4) for at in range(9)}), torch.full((1, 9), 4.0))
    later = GreedyMoves(queries=80, at_once=20, sweeps=2, focus=0.5)

    def ends(z: Tensor) -> Tensor:
        lead = -(z[:, :, 2] != 4).float() * 2 - (z[:, :, 6] != 4).float()
        return torch.stack([lead, -lead], 2)

    rounds = asked_of(later, table, 3, ends)
    assert {place for place, _ in rounds[2][:8]} >= {2, 6}


@pytest.mark.parametrize(("age", "moves"), [(0, {1, 2, 3}), (24, {1, 2}), (49, {1})])
def test_random_moves_become_fewer_and_a_quarter_begins_at_the_sample(age: int, moves: set[int]) -> None:
    problem = problem_of(Columns({at: Whole(4) for at in range(30)}), torch.full((1, 30), 4.0))
    attack = RandomMoves(queries=50 * 400, at_once=400)
    state = attack.init(problem, rng.keys(0, torch.arange(1)))
    z = torch.full((1, 30), 5.0)  # far from the sample
    found = attack.ask(problem, {**state, "z": z, "age": torch.tensor([age])})[0]
    from_sample = (found != 4).sum(1) <= 3
    assert 0.17 < float(from_sample.float().mean()) < 0.33
    kept = (found[~from_sample] != 5).sum(1)
    assert {int(one) for one in kept} <= {0, *moves}
    assert max(int(one) for one in kept) == max(moves)
    again = (found[from_sample] != 4).sum(1)
    assert {1, 2, 3} <= {int(one) for one in again} <= {0, 1, 2, 3}
    made = found[~from_sample]
    changed = made[made != 5]
    ends = (changed == 0) | (changed == 4)  # the last choice puts a changed column back
    assert 0.5 < float(ends.float().mean()) < 0.8, "half of the draws, and some of the others"
    assert {int(one) for one in changed} == {0, 1, 2, 3, 4, 6, 7, 8}


def test_a_fifth_of_random_moves_repeats_each_move_of_a_text_in_turn() -> None:
    coding, threat = Strings("str"), Edits(3, alphabet="xyz")
    problem = problem_of_texts(["a" * 12], threat)
    attack = RandomMoves(queries=100, at_once=20)
    state = attack.init(problem, rng.keys(0, torch.arange(1)))
    found = []
    for age in range(2):
        z = attack.ask(problem, {**state, "age": torch.tensor([age])})
        assert z.shape == (1, 20, problem.region["x"].shape[1])
        assert bool((threat.size(z[0], {k: v.expand(20, *v.shape[1:]) for k, v in problem.region.items()}) <= 3).all())
        found += coding.decode(z[0, -4:].long())
    assert [text.strip("a")[:1] for text in found[:6]] == ["x", "y", "z", "x", "y", "z"]
    assert [len(text) for text in found[:3]] == [15] * 3
    assert found[6] == "a" * 9
    few = RandomMoves(queries=16, at_once=4).ask(problem, state)
    assert few.shape == (1, 4, problem.region["x"].shape[1])


def test_a_point_is_kept_unless_it_gets_worse() -> None:
    problem = problem_of(Columns({0: Whole(4)}), torch.full((3, 1), 4.0))
    attack = RandomMoves(queries=10, at_once=2)
    state = attack.init(problem, rng.keys(0, torch.arange(3)))
    before = {**state, "z": torch.full((3, 1), 5.0), "value": torch.tensor([1.0, 1.0, 1.0])}
    z = torch.tensor([[[6.0], [7.0]]] * 3)
    lead = -torch.tensor([[0.5, 0.0], [0.2, 0.5], [0.0, 0.4]])  # losses of 1 and 0, .4 and 1, 0 and .8
    after = attack.tell(problem, before, Evaluation(z, torch.stack([lead, -lead], 2), None))
    assert after["z"].flatten().tolist() == [6, 7, 5]
    assert after["value"].tolist() == pytest.approx([1, 1, 1])
    assert after["age"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Enumeration(part=0),
        lambda: GreedyMoves(sweeps=0),
        lambda: GreedyMoves(beam=0),
        lambda: GreedyMoves(focus=-0.1),
        lambda: GreedyMoves(focus=1.0),
        lambda: RandomMoves(queries=10, at_once=11),
    ],
)
def test_numbers_of_searches_are_checked(make: Any) -> None:
    with pytest.raises(ConfigError, match="Expected"):
        make()
