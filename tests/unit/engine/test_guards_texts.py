"""Guards of models of texts, and of scores that may be labels: what the model is shown, and how it is judged."""

# ruff: noqa: ARG005 - scores of a text, of its batch and of nothing are all called the same way

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustest import Append, Edits, Linf, ModelError, MultiLabel, as_classifier, rng, scores_model
from robustest.data.strings import Strings
from robustest.engine import answer_checks, score_diagnosis
from robustest.engine.answer_checks import _beside_longer, _near_texts, check_forward, probe_history
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.planted import draws
from robustest.engine.score_diagnosis import interaction, labels_alone, unrelated, values_of_draws

CPU = torch.device("cpu")


def evaluator_of(model: Any, **options: Any) -> Evaluator:
    return Evaluator(as_classifier(model), CPU, batch_size=None, **{"suppress": (), "notes": [], **options})


class Reader:
    """Scores of texts by a function of a text and of the batch's longest one; it notes the batches."""

    def __init__(self, coding: Strings, lead: Callable[[Any, int], float]) -> None:
        self.coding, self.lead, self.batches = coding, lead, list[list[Any]]()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        texts = self.coding.decode(torch.from_numpy(x).long())
        self.batches.append(texts)
        lead = np.array([self.lead(text, max(map(len, texts))) for text in texts])
        return np.stack([-lead, lead], 1).astype(np.float32)


def texts_of(texts: list[Any], coding: Strings) -> Chunk:
    x, ids = coding.encode(texts).float(), torch.arange(len(texts))
    return Chunk(ids, x, torch.zeros_like(ids), rng.keys(0, ids), (-2.0, 2e6), coding)


# Beside a longer text


@pytest.mark.parametrize(
    ("texts", "longer"),
    [
        (["one", "a longer one"], "a longer onea longer one"),
        (["", ""], "aaaaaaaa"),
        ([b"ab", b"c"], b"abab"),
        ([b""], b"aaaaaaaa"),
    ],
)
def test_texts_are_passed_beside_one_twice_as_long_as_the_longest(texts: list[Any], longer: Any) -> None:
    coding = Strings.of(texts)
    for by, found in ((0.0, False), (0.1, True)):
        reader = Reader(coding, lambda text, most, by=by: 1.0 + by * most)  # type: ignore[misc]
        evaluator, chunk = evaluator_of(scores_model(reader)), texts_of(texts, coding)
        logits = evaluator.logits(chunk.x)
        reader.batches.clear()
        moved = _beside_longer(evaluator, coding, chunk.x, logits, torch.tensor(2.0))
        assert reader.batches == [[*texts, longer]]
        assert moved.tolist() == [found] * len(texts)


def test_padding_that_is_read_is_counted_and_a_model_made_for_shorter_texts_is_let_off() -> None:
    coding = Strings("str")
    for lead, failed in (
        (lambda text, most: 2.0 + text.count("e"), 0),
        (lambda text, most: 2.0 + text.count("e") + 1.0 * (most > 30), 3),
    ):
        evaluator = evaluator_of(scores_model(Reader(coding, lead)))
        check_forward(evaluator, texts_of(["some text", "another", "and a longer one"], coding), (), first_of_all=False)
        assert evaluator.health.counts("batch_dependence") == (failed, 3)

    class Short(Reader):
        def __call__(self, x: np.ndarray) -> np.ndarray:
            if x.shape[1] > 20:
                raise ValueError("too long")
            return super().__call__(x)

    evaluator = evaluator_of(scores_model(Short(coding, lambda text, most: 2.0)))
    check_forward(evaluator, texts_of(["some text", "another", "and a longer one"], coding), (), first_of_all=False)
    assert evaluator.health.counts("batch_dependence") == (0, 3)


def test_edited_texts_are_passed_beside_longer_ones_too() -> None:
    """Of a model that reads padding behind an x alone, which no sample has; four samples are edited."""
    coding, threat = Strings("str"), Append(1, "x")
    texts = ["ab", "cd", "ef", "gh", "ij"]
    for radius, failed in ((1, 4), (0, 0)):
        reader = Reader(coding, lambda text, most: 2.0 + (text[-1] == "x") * (most - len(text)))
        chunk = texts_of(texts, coding)
        chunk = Chunk(chunk.ids, coding.padded(chunk.x, 2), chunk.y, chunk.key, chunk.bounds, coding)
        evaluator = evaluator_of(scores_model(reader))
        check_forward(evaluator, chunk, (), first_of_all=False, threat=threat if radius else None)
        assert evaluator.health.counts("batch_dependence")[1] == 5
        # A draw may change nothing.
        assert (evaluator.health.counts("batch_dependence")[0] > 0) is (failed > 0)
        assert evaluator.health.counts("batch_dependence")[0] <= failed


@pytest.mark.parametrize("coded", [True, False])
def test_one_text_is_passed_beside_itself_and_one_input_of_numbers_beside_its_mirror_image(coded: bool) -> None:
    coding = Strings("str")
    reader = Reader(coding, lambda text, most: 2.0)
    chunk = texts_of(["abc"], coding)
    seen: list[Tensor] = []

    def plain(x: np.ndarray) -> np.ndarray:
        seen.append(torch.from_numpy(x.copy()))
        return reader(x) if coded else np.tile(np.array([[-2, 2]], dtype=np.float32), (len(x), 1))

    evaluator = evaluator_of(scores_model(plain))
    if not coded:
        object.__setattr__(chunk, "coding", None)
    check_forward(evaluator, chunk, (), first_of_all=False)
    first = sum(chunk.bounds) - chunk.x if not coded else chunk.x
    assert torch.equal(seen[2], torch.cat([first, chunk.x]).float())
    assert len(seen) == 3 + coded


# Texts near others


def test_near_texts_are_those_that_a_cache_may_take_for_another() -> None:
    texts = ["One two three", "word", "A b", "", "fifth text"]
    coding = Strings("str")
    first, second = _near_texts(coding, coding.encode(texts))
    assert first == ["three two One", "drow", "b A", ""]
    assert second == ["THREE TWO oNE", "drowee", " b  A", "e"]
    first, second = _near_texts(Strings("bytes"), Strings("bytes").encode([b"Ab cd", b"Ef gh", b"ij kl", b"mn op"]))
    assert first == [b"cd Ab", b"gh Ef", b"kl ij", b"op mn"]
    assert second == [b"CD aB", b"gh Efee", b" kl  ij", b"ep mn"]


@pytest.mark.parametrize("kind", ["capitals", "end", "blanks", "beginning", "", "last bits"])
def test_a_cache_of_texts_shows_by_the_text_that_it_takes_for_another(kind: str) -> None:
    keys: dict[str, Callable[[str], str]] = {
        "capitals": str.lower,
        "end": lambda text: text[:5],
        "blanks": lambda text: text.replace(" ", ""),
        "beginning": lambda text: f"{len(text)} {text[-4:]}",
    }
    coding, kept = Strings("str"), dict[str, float]()

    def lead(text: str, _: int) -> float:
        own = 3.0 + sum(map(ord, text)) % 97
        if kind == "last bits":
            kept.setdefault("calls", 0.0)
            kept["calls"] += 1
            return own * (1 + 1e-6 * (kept["calls"] > 4))
        return kept.setdefault(keys[kind](text), own) if kind else own

    coding_chunk = texts_of(["Alpha beta", "Gamma delta", "Epsi zeta", "Eta theta"], coding)

    def scores(x: np.ndarray) -> np.ndarray:
        found = np.array([lead(text, 0) for text in coding.decode(torch.from_numpy(x).long())])
        return np.stack([-found, found], 1).astype(np.float32)

    evaluator = evaluator_of(scores_model(scores))
    assert probe_history(evaluator, coding_chunk) is None, "no module"
    failed, tried = evaluator.health.counts("history_dependence")
    assert tried == 4
    assert failed == (kind not in ("", "last bits"))
    assert kept == {}, "the model itself is asked nothing"
    paid = evaluator_of(scores_model(scores, max_queries=10_000))
    assert probe_history(paid, coding_chunk) is None
    assert paid.health.counts("history_dependence") == (0, 0), "each query counts"


def test_under_moves_a_module_is_asked_inputs_of_the_threat_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first three draws of four samples: one that is asked before, its neighbour, and one for later."""
    coding, threat = Strings("str"), Append(2, "xyz")
    chunk = texts_of([*"abcdef"], Strings("str"))
    chunk = Chunk(chunk.ids, coding.padded(chunk.x, 2), chunk.y, chunk.key, chunk.bounds)
    module = torch.nn.Linear(3, 2)
    evaluator = evaluator_of(module)
    compared: list[Tensor] = []
    monkeypatch.setattr(answer_checks, "_compare_copies", lambda *given: compared.extend(given[2:]))
    early = probe_history(evaluator, chunk, threat)
    drawn = draws(threat, chunk.rows(torch.arange(4)), 3)
    assert torch.equal(compared[0], drawn[:, 0])
    assert torch.equal(compared[1], drawn[:, 1])
    assert early is not None
    assert torch.equal(early.x, drawn[:2, 2])
    assert evaluator.forward == 2


# Scores that may be labels


def slow_labels_alone(score: Callable[[Tensor], Tensor], x: Tensor) -> tuple[bool, list[Tensor]]:
    """The answer, and the points of each round of ways, one way after the other."""
    x = x[:8]
    mirrored = x.min() + x.max() - x
    here, there = score(x).argmax(1), score(mirrored).argmax(1)
    asked: list[Tensor] = []
    ways = [(x[row], x[row - 1]) for row in range(len(x)) if here[row] != here[row - 1]]
    ways += [(x[row], mirrored[row]) for row in range(len(x)) if here[row] != there[row]]
    count = len(ways)
    for _ in range(2):
        if 2 * len(ways) <= count:
            return False, asked
        left, points = [], []
        for a, b in ways:
            along = torch.stack([a + (part / 8) ** 1.1 * (b - a) for part in range(9)])
            points.append(along)
            scores = score(along)
            answers = scores.argmax(1)
            if bool((scores >= 0).all()) and bool(((scores.sum(1) - 1).abs() < 1e-3).all()):
                scores = scores.log()
            changes = (scores[1:].double() - scores[:-1].double()).abs().amax(1)
            inside = float(changes[answers[1:] == answers[:-1]].sum())
            if inside <= 0.1 * max(float(changes.sum()), 1e-30):
                steepest = int(changes.argmax())
                left.append((along[steepest], along[steepest + 1]))
        asked.append(torch.stack(points, 1))
        ways = left
    return 2 * len(ways) > count, asked


def steep(weight: Tensor, by: float, graded: float, shares: bool) -> Callable[[Tensor], Tensor]:
    def score(x: Tensor) -> Tensor:
        away = (x - 0.5) @ weight
        lead = torch.tanh(by * away) + graded * away
        scores = torch.stack([-lead, lead], 1)
        return (3 * scores).softmax(1) if shares else scores

    return score


@pytest.mark.parametrize("shares", [True, False])
def test_ways_to_other_classes_are_followed_as_a_slow_copy_follows_them(shares: bool) -> None:
    draw, answers = torch.Generator().manual_seed(0), list[bool]()
    for number in range(16):
        x, weight = torch.rand(3 + number % 8, 5, generator=draw), torch.randn(5, generator=draw)
        by, graded = (10 ** (torch.rand(2, generator=draw) * 4 - torch.tensor([-1.0, 5.0]))).tolist()
        score = steep(weight, by, graded, shares)
        asked: list[Tensor] = []

        def model(x: Tensor, score: Any = score, asked: Any = asked) -> Any:
            asked.append(x.detach().clone())
            return score(x)

        ids = torch.arange(len(x))
        alone = labels_alone(evaluator_of(model), Chunk(ids, x, 0 * ids, rng.keys(0, ids), (0.0, 1.0)))
        expected, points = slow_labels_alone(score, x)
        assert alone is expected
        answers.append(alone)
        assert torch.cat(asked[1:]).shape == torch.cat([one.flatten(0, 1) for one in points] or asked[1:]).shape
        if points:
            assert torch.allclose(torch.cat(asked[1:]), torch.cat([one.flatten(0, 1) for one in points]), atol=1e-6)
    assert 3 < sum(answers) < 14


def test_a_way_whose_change_is_lost_in_rounding_says_nothing_against_labels() -> None:
    """From .9 to 1e-9 a way ends in 0, which has the class of .9; the way back begins in the other class."""

    def one_hot(x: Tensor) -> Tensor:
        hit = ((x > 5e-10) & (x < 1e-8)).any(1) | ((x[:, 0] == 0) & (x[:, 1] > 0.5))
        return 3 * torch.stack([~hit, hit], 1).float()

    x, ids = torch.tensor([[0.9, 0.9], [0.9, 1e-9]]), torch.arange(2)
    assert labels_alone(evaluator_of(one_hot), Chunk(ids, x, ids, rng.keys(0, ids), (0.0, 1.0)))


def test_other_outputs_are_labels_where_two_numbers_are_all_of_each() -> None:
    x, ids = torch.rand(12, 3, generator=torch.Generator().manual_seed(0)), torch.arange(12)
    chunk = Chunk(ids, x, torch.ones(12, 3), rng.keys(0, ids), (0.0, 1.0))
    for row, alone in ((7, False), (8, True)):  # of the first eight samples one has three numbers
        graded = x.clone()
        graded[row] = torch.tensor([0.2, 0.3, 0.4])

        def fn(z: np.ndarray, graded: Tensor = graded) -> np.ndarray:
            return np.where(graded[: len(z)].numpy() == x[: len(z)].numpy(), np.sign(z - 0.5), graded[: len(z)].numpy())

        assert labels_alone(evaluator_of(scores_model(fn), task=MultiLabel()), chunk) is alone


def leads_of(values: dict[str, list[float]]) -> Callable[[Any, int], float]:
    """Leads of texts by their first letter, one after the other."""
    given = {letter: iter(several * 100) for letter, several in values.items()}
    return lambda text, _: next(given[text[0]])


@pytest.mark.parametrize(
    ("values", "expected", "alone"),
    [
        ({"a": [1.0], "b": [1.0]}, [[1], [1]], True),
        ({"a": [1.0, -1.0], "b": [2.0]}, [[1, 1], [1]], True),
        ({"a": [1.0, 2.0], "b": [1.0]}, [[2], [1]], True),
        ({"a": [1.0, 2.0, 3.0], "b": [1.0]}, [[3], [1]], False),
        ({"a": [1.0, -1.0, -2.0, -3.0, -4.0], "b": [1.0]}, [[1, 4], [1]], False),
    ],
)
def test_scores_of_random_inputs_are_counted_by_class(
    values: dict[str, list[float]], expected: list[list[int]], alone: bool
) -> None:
    coding, threat = Strings("str"), Append(2, "xyz")
    chunk = texts_of(["a", "b"], coding)
    chunk = Chunk(chunk.ids, coding.padded(chunk.x, 2), chunk.y, chunk.key, chunk.bounds)
    reader = Reader(coding, leads_of(values))
    assert values_of_draws(evaluator_of(scores_model(reader)), chunk, threat) == expected
    assert [len(batch) for batch in reader.batches] == [64]
    assert labels_alone(evaluator_of(scores_model(Reader(coding, leads_of(values)))), chunk, threat) is alone
    empty = chunk.rows(torch.zeros(0, dtype=torch.int64))
    assert values_of_draws(evaluator_of(scores_model(reader)), empty, threat) == []
    other = evaluator_of(scores_model(reader), task=MultiLabel())
    assert values_of_draws(other, chunk, threat) == [[], []]
    assert not labels_alone(other, chunk, threat)


@pytest.mark.parametrize(("ratio", "found"), [(0.6, True), (0.59, False)])
def test_texts_are_examined_for_scores_that_do_not_add_up(
    ratio: float, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []

    def noted(evaluator: Evaluator, part: Chunk, threat: Any) -> float:
        rows.append(len(part.x))
        return ratio

    monkeypatch.setattr(score_diagnosis, "interaction", noted)
    coding = Strings("str")
    chunk = texts_of([*"abcdefghij"], coding)
    evaluator = evaluator_of(scores_model(lambda x: x[:, :2]))
    two = Edits(2, alphabet="xyz")
    assert unrelated(evaluator, chunk, two) is found
    assert unrelated(evaluator, chunk.rows(torch.arange(3)), two) is found
    assert rows == [8, 3]
    for threat in (Edits(1, alphabet="xyz"), Linf(3.0), Append(2, "xyz")):
        assert not unrelated(evaluator, chunk, threat)
    assert not unrelated(evaluator, chunk.rows(torch.zeros(0, dtype=torch.int64)), two)
    assert not unrelated(evaluator_of(scores_model(lambda x: x), task=MultiLabel()), chunk, two)
    assert rows == [8, 3]


@pytest.mark.parametrize("length", [1, 2, 4, 7, 8, 9, 30])
def test_tables_are_of_two_edits_in_the_two_halves(length: int) -> None:
    """Text by text and table by table: one of two edits in the first half, then one of two in the second."""
    coding, threat = Strings("str"), Edits(2, alphabet="xyz")
    draw = np.random.default_rng(length)
    texts = ["".join(draw.choice(list("abcdefgh"), length)) for _ in range(3)]
    reader = Reader(coding, lambda text, most: float(len(text) + 0.1 * text.count("x")))
    chunk = texts_of(texts, coding)
    chunk = Chunk(chunk.ids, coding.padded(chunk.x, 2), chunk.y, chunk.key, chunk.bounds)
    interaction(evaluator_of(scores_model(reader)), chunk, threat)
    asked = [text for batch in reader.batches for text in batch]
    expected: list[list[str]] = [[], [], [], []]
    for row in range(3):
        for number in range(12):
            region = threat.region(chunk.x[row : row + 1], chunk.bounds)
            z = threat.origin(region)
            key = rng.fold(rng.fold(chunk.key[row : row + 1], torch.tensor([number])), "tables")
            u = rng.uniform(key, (6,)).double()[0].tolist()
            half = (int(threat.places(z, region)) - 1) // 2
            first, second = torch.tensor([int(u[0] * half)]), half + 2 + int(u[3] * max(1, half - 3))
            for one, other in itertools.product((1, 2), (4, 5)):
                choice = torch.tensor([int(u[one] * int(threat.choices(z, first, region)))])
                a = threat.moved(z, first, choice, region)
                grown = int((a >= 0).sum()) - int((z >= 0).sum())
                place = torch.tensor([min(second + grown, int(threat.places(a, region)) - 1)])
                choice = torch.tensor([int(u[other] * int(threat.choices(a, place, region)))])
                made = threat.moved(a, place, choice, region)
                expected[2 * (one - 1) + other - 4].append(coding.decode(made)[0])
    assert asked == [text for part in expected for text in part]


def test_errors_of_other_kinds_are_not_let_off() -> None:
    coding = Strings("str")

    def fails(x: np.ndarray) -> np.ndarray:
        raise KeyError("x")

    with pytest.raises(ModelError):
        check_forward(evaluator_of(scores_model(fails)), texts_of(["a", "b"], coding), ())
