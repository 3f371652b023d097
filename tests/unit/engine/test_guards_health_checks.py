"""Guards of the health checks: each count, border and early return is held by a case on either side of it."""

from __future__ import annotations

import itertools
import math
import zlib
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import (
    L2,
    Append,
    Edits,
    Linf,
    ModelError,
    Patch,
    Regression,
    Snr,
    as_classifier,
    labels_model,
    rng,
    scores_model,
)
from robustest.attacks import (
    APGD,
    FGSM,
    PGD,
    Cascade,
    HopSkipJump,
    Needs,
    RandomDraws,
    Square,
    Stage,
    enough_queries,
    passes,
)
from robustest.data.strings import Strings
from robustest.engine.answer_checks import (
    ask_again,
    check_beside,
    check_forward,
    copied,
    hints,
    moved,
    probe_history,
    radius_mistake,
    usual_lead,
)
from robustest.engine.chunks import Chunk
from robustest.engine.coverage import Coverage, lacking
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import (
    climbers,
    count_unreached,
    probe_gradient,
    probe_inputs,
    probe_survivors,
)
from robustest.engine.score_diagnosis import (
    _AFFORDED,
    PASSES,
    ScoreDiagnosis,
    interaction,
    labels_alone,
    some_equal,
    suspected,
    unrelated,
    values_of_draws,
)
from robustest.engine.search import SearchOutcome, on_scale
from robustest.engine.stages import widened
from robustest.health import Health, HealthFinding, unlikely

CPU = torch.device("cpu")


def evaluator_of(model: Any, **options: Any) -> Evaluator:
    made = as_classifier(model)
    return Evaluator(made, CPU, batch_size=None, **{"suppress": (), "notes": [], **options})


def chunk_of(x: Tensor, y: Tensor | None = None, bounds: tuple[float, float] = (0.0, 1.0), seed: int = 0) -> Chunk:
    ids = torch.arange(len(x))
    return Chunk(ids, x, torch.zeros_like(ids) if y is None else y, rng.keys(seed, ids), bounds)


# Scores that say no more than labels


class Counted:
    """A function of arrays that counts the samples that it is asked about."""

    def __init__(self, fn: Any) -> None:
        self.fn, self.asked = fn, 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.asked += len(x)
        out: np.ndarray = self.fn(x)
        return out


def by_mean(levels: Any) -> Any:
    """Two scores that are a function of how far the mean is from .5."""
    return lambda x: np.stack([-levels(x.mean(1) - 0.5), levels(x.mean(1) - 0.5)], 1).astype(np.float32)


MEANS = torch.linspace(0.05, 0.95, 16).view(-1, 1).expand(-1, 4).contiguous()
SCORES = {
    "label": (by_mean(np.sign), True),
    "label, and a little more near the border": (by_mean(lambda d: np.sign(d) + 0.05 * np.tanh(4 * d)), True),
    "steps": (by_mean(lambda d: np.round(5 * d + 0.5)), False),
    "graded": (by_mean(lambda d: 3 * d), False),
    "steep": (by_mean(lambda d: np.tanh(8 * d)), False),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_that_change_only_where_the_label_does_are_labels(name: str) -> None:
    fn, alone = SCORES[name]
    counted = Counted(fn)
    evaluator = evaluator_of(scores_model(counted))
    assert (
        labels_alone(evaluator, chunk_of(MEANS[torch.randperm(16, generator=torch.Generator().manual_seed(0))]))
        is alone
    )
    assert counted.asked <= 8 * PASSES


def test_so_many_passes_of_a_sample_are_paid_for() -> None:
    """Of samples that alternate every way leads to another class, and each is followed to its end."""
    counted = Counted(by_mean(np.sign))
    assert labels_alone(
        evaluator_of(scores_model(counted)), chunk_of(torch.tensor([0.22, 0.81] * 8).view(-1, 1).expand(-1, 4))
    )
    assert counted.asked == 8 * PASSES


def test_one_score_a_class_is_labels_too_and_one_class_says_nothing() -> None:
    evaluator = evaluator_of(scores_model(by_mean(lambda d: np.where(d > 0, 3.0, -0.1))))
    assert labels_alone(evaluator, chunk_of(MEANS[::2]))
    constant = evaluator_of(scores_model(lambda x: np.tile(np.float32([1, 0]), (len(x), 1))))
    assert not labels_alone(constant, chunk_of(MEANS))


@pytest.mark.parametrize(
    ("margins", "suspect"),
    [
        ([1.0, 1.0, 1.0, 1.0], True),
        ([1.0, 1.2, 0.8, 1.0], True),
        ([1.0, 1.3, 0.7, 1.0], True),
        ([1.0, 1.4, 0.6, 1.0], False),
        ([1.0, 9.0, 0.1, 3.0], False),
        ([5.0, 0.1], True),
        ([5.0, 0.1, 3.0], False),
    ],
)
def test_margins_that_are_alike_are_suspect_and_too_few_are_looked_into(margins: list[float], suspect: bool) -> None:
    """A spread of a quarter of the mean is the border; of two margins none can be told."""
    evaluator = evaluator_of(scores_model(by_mean(np.sign)))
    y = torch.zeros(len(margins), dtype=torch.int64)
    assert suspected(evaluator, torch.tensor(margins), y) is suspect
    assert suspected(evaluator, -torch.tensor(margins), y) is suspect


def test_each_class_has_a_mean_of_its_own() -> None:
    evaluator = evaluator_of(scores_model(by_mean(np.sign)))
    margin = torch.tensor([1.0, 1.0, 1.0, 9.0, 9.0, 9.0])
    assert suspected(evaluator, margin, torch.tensor([0, 0, 0, 2, 2, 2]))
    assert not suspected(evaluator, margin, torch.zeros(6, dtype=torch.int64))
    assert suspected(evaluator, torch.tensor([1.0, 5.0, 1.0]), torch.tensor([0, 1, 0])), "one is left to vary"
    assert not suspected(evaluator, torch.tensor([5.0, 0.1, 3.0]), torch.full((3,), 4)), "a class without samples"
    assert not suspected(evaluator, torch.tensor([1.0, 5.0, 1.0, 3.0]), torch.tensor([0, 1, 0, 1]))


def test_who_gives_no_score_draws_at_random_or_pays_by_the_query_is_not_suspected() -> None:
    margin, y = torch.ones(6), torch.zeros(6, dtype=torch.int64)
    fn = by_mean(np.sign)
    assert suspected(evaluator_of(scores_model(fn)), margin, y)
    assert not suspected(evaluator_of(scores_model(fn)), margin[:0], y[:0])
    assert not suspected(evaluator_of(scores_model(fn), suppress=("random_forward",)), margin, y)
    assert not suspected(evaluator_of(labels_model(lambda x: np.zeros(len(x), int), classes=2)), margin, y)
    assert suspected(evaluator_of(scores_model(fn, max_queries=_AFFORDED * PASSES)), margin, y)
    assert not suspected(evaluator_of(scores_model(fn, max_queries=_AFFORDED * PASSES - 1)), margin, y)


# What was searched


def covered(
    stages: list[tuple[Stage, list[int], list[bool]]],
    *,
    n: int = 3,
    threat: Any = None,
    alone: Any = False,
    unread: Any = False,
) -> Any:
    """Return the counts after rounds of stages on rows, none of which broke but those marked."""
    threat = Linf(0.1) if threat is None else threat
    evaluator = evaluator_of(scores_model(by_mean(np.sign)))
    coverage = Coverage(torch.zeros(n, 4), threat, ScoreDiagnosis(bare=alone, unread=unread))
    left = torch.ones(n, dtype=torch.bool)
    for stage, rows, broken in stages:
        coverage.add(stage, torch.tensor(rows, dtype=torch.int64), torch.tensor(broken, dtype=torch.bool))
        left[torch.tensor(rows)[torch.tensor(broken, dtype=torch.bool)]] = False
    coverage.count(evaluator, left, tuple(stage for stage, _, _ in stages))
    return evaluator


GRADIENT = Stage(searcher=PGD(steps=10))
BLIND = Stage(searcher=Square(queries=10_000))
WEAK = Stage(searcher=RandomDraws(queries=1))


def test_a_row_counts_as_searched_by_what_searches_it() -> None:
    none = [False, False, False]
    health = covered([(GRADIENT, [0, 1, 2], none)]).health
    assert health.counts("weak_search") == (0, 3)
    assert (health.searched_twice, health.broken_again) == (0, 0)
    weak = covered([(WEAK, [0, 1, 2], none)])
    assert weak.health.counts("weak_search") == (3, 3)
    assert len(weak.notes) == 1
    assert weak.notes[0].startswith("weak_search: Linf(eps=0.1) of 4 features")
    part = covered([(WEAK, [0, 1, 2], none), (GRADIENT, [1], [False])]).health
    assert part.counts("weak_search") == (2, 3)
    broken = covered([(GRADIENT, [0, 1, 2], [True, False, False])]).health
    assert broken.counts("weak_search") == (0, 2)


def test_two_searches_without_gradients_carry_a_row_and_what_the_second_breaks_is_counted() -> None:
    none = [False, False, False]
    once = covered([(BLIND, [0, 1, 2], none)]).health
    assert (once.searched_twice, once.broken_again) == (0, 0)
    twice = covered([(BLIND, [0, 1, 2], none), (BLIND, [0, 1], [False, True])]).health
    assert (twice.counts("weak_search")[1], twice.searched_twice, twice.broken_again) == (2, 1, 1)
    first = covered([(BLIND, [0, 1, 2], [True, True, False])]).health
    assert (first.searched_twice, first.broken_again) == (0, 0)
    gradients = covered([(GRADIENT, [0, 1, 2], none), (GRADIENT, [0, 1, 2], [True, False, False])]).health
    assert (gradients.searched_twice, gradients.broken_again) == (0, 0)


def test_where_scores_are_labels_only_searches_of_labels_count() -> None:
    none = [False, False, False]
    scores = covered([(BLIND, [0, 1, 2], none), (GRADIENT, [0, 1, 2], none)], alone=True)
    assert scores.health.counts("weak_search")[0] == 3
    assert scores.notes[0].startswith("weak_search: the model's scores say no more than its labels")
    steps = Stage(searcher=HopSkipJump(queries=100_000))
    assert steps.searcher.needs is Needs.LABELS
    assert covered([(steps, [0, 1, 2], none)], alone=True, threat=L2(0.1)).health.counts("weak_search")[0] == 0


def test_of_some_rows_scores_may_be_labels() -> None:
    one = torch.tensor([True, False, False])
    some = covered([(BLIND, [0, 1, 2], [False] * 3), (BLIND, [1, 2], [False, True])], alone=one)
    assert some.health.counts("weak_search") == (1, 2)
    assert some.health.searched_twice == 1
    assert some.notes[0].startswith("weak_search: the model's scores say no more than its labels")
    unread = covered([(BLIND, [1, 2], [False] * 2)], alone=one, unread=one)
    assert unread.notes[0].startswith("weak_search: nothing that Linf(eps=0.1) does to the texts changes a bit")
    other = covered([(BLIND, [1, 2], [False] * 2), (BLIND, [0], [True])], alone=one)
    assert (other.health.counts("weak_search"), other.health.searched_twice, other.notes) == ((0, 2), 0, [])


def test_scores_of_each_text_are_examined() -> None:
    """Of the first text the scores stay, of the second they are labels, and of the others they move."""
    coding = Strings("str")
    threat = Edits(2, alphabet="xyz", keep=r"(?s)^.{13}")  # what stays says which text it is
    texts = ["still " * 4, "flips " * 4, "moves " * 4, "clear " * 4]

    def leads(x: np.ndarray) -> np.ndarray:
        made = coding.decode(torch.from_numpy(x).long())
        of = {
            "s": lambda text: 40.0 + 0 * len(text),
            "f": lambda text: 1.0 if text.count("x") != 1 else -1.0,
            "m": lambda text: 0.1 * len(text),
            "c": lambda text: 0.01 * text.count("e") + text.count("z"),
        }
        lead = np.array([of[text[12]](text) for text in made])
        return np.stack([-lead, lead], 1).astype(np.float32)

    x = coding.padded(coding.encode(texts), 2).float()
    chunk = chunk_of(x, bounds=(-2.0, 2e6))
    still, labels, moving, clear = values_of_draws(evaluator_of(scores_model(leads)), chunk, threat)
    assert (still, labels) == ([1], [1, 1])
    assert max(moving) > 2
    assert max(clear) > 2


def test_equal_margins_of_scores_are_noticed() -> None:
    y, margin = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([60.0, 60.0, 60.0, 1.0, 2.0])
    scores = evaluator_of(scores_model(by_mean(np.sign)))
    assert some_equal(scores, margin, y)
    assert not some_equal(scores, margin + torch.arange(5) * 1e-5, y)
    assert not some_equal(scores, margin[1:], y[1:])
    assert not some_equal(scores, margin, torch.tensor([0, 1, 0, 1, 1])), "of one class"
    assert not some_equal(scores, margin[:0], y[:0])
    assert not some_equal(evaluator_of(nn.Linear(4, 2)), margin, y)
    assert not some_equal(evaluator_of(scores_model(by_mean(np.sign), max_queries=_AFFORDED * PASSES - 1)), margin, y)


def by_pairs(text: str) -> float:
    """Pairs of letters, as character models read them."""
    return sum(((ord(a) * 7 + ord(b) * 13) % 11 - 5) / 5 for a, b in itertools.pairwise(text))


@pytest.mark.parametrize(
    ("lead", "low", "high"),
    [
        (lambda text: sum(ord(one) % 7 for one in text), -1e-9, 1e-9),
        (by_pairs, -1e-9, 0.05),
        (lambda text: math.tanh(by_pairs(text)), 0.0, 0.5),
        (lambda text: math.sin(zlib.crc32(text.encode()) % 997), 0.7, 2.0),
        (lambda text: len(text) + 9 * math.sin(zlib.crc32(text.encode()) % 997), 0.7, 2.0),
        (lambda text: 3.0 + 0 * len(text), -1e-9, 1e-9),
    ],
    ids=["letters", "pairs", "saturating pairs", "hash", "mostly hash", "constant"],
)
def test_scores_of_parts_add_up_and_those_of_a_hash_do_not(lead: Any, low: float, high: float) -> None:
    coding, threat = Strings("str"), Edits(2, alphabet="xyz")
    draw = np.random.default_rng(0)
    texts = ["".join(draw.choice(list("abcdefgh "), 30)) for _ in range(8)]
    asked: list[int] = []

    def leads(x: np.ndarray) -> np.ndarray:
        made = coding.decode(torch.from_numpy(x).long())
        asked.append(len(made))
        found = np.array([lead(text) for text in made])
        return np.stack([-found, found], 1).astype(np.float32)

    chunk = chunk_of(coding.padded(coding.encode(texts), 2).float(), bounds=(-2.0, 2e6))
    evaluator = evaluator_of(scores_model(leads))
    assert low <= interaction(evaluator, chunk, threat) <= high
    assert sum(asked) == 8 * 48
    assert unrelated(evaluator, chunk, threat) is (low > 0.6)
    assert not unrelated(evaluator, chunk, Edits(1, alphabet="xyz"))
    assert not unrelated(evaluator, chunk, Append(2, "xyz"))


def test_at_radius_zero_there_is_nothing_to_search() -> None:
    found = covered([(WEAK, [0, 1, 2], [False] * 3)], threat=Linf(0.0))
    assert (found.health.counts("weak_search"), list(found.notes)) == ((0, 0), [])


def test_what_it_would_take_is_named() -> None:
    least = enough_queries(Square(), Linf(0.1), 64)
    assert least is not None
    few, many = Stage(searcher=Square(queries=10)), Stage(searcher=Square(queries=least))
    assert f"takes square with {least:,} or more" in lacking(Linf(0.1), Needs.SCORES, (few, few), 64)
    assert "takes square on all samples" in lacking(Linf(0.1), Needs.SCORES, (many,), 64)
    ran = lacking(Linf(0.1), Needs.SCORES, (few, few, WEAK), 64)
    assert ran.count("square with 10 passes") == 1
    other = lacking(Patch(1, 1), Needs.LABELS, (Stage(searcher=Square(queries=10)),), 64)
    assert "an attack that can search it" in other
    assert "scores (scores_model) or gradients of the model" in other
    assert "of the model;" not in lacking(Patch(1, 1), Needs.GRADIENT, (few,), 64)


def test_where_gradients_mislead_the_others_get_every_sample_and_more_queries() -> None:
    stages = (
        Stage(searcher=PGD(steps=3), smallest=0.1),
        Stage(searcher=Square(queries=100), smallest=0.1, earned=True, near=1.1),
        Stage(searcher=Square(queries=5000), smallest=0.1),
        Stage(searcher=Square(queries=300, at_once=7), smallest=0.5),
    )
    gradient, short, long, several = widened(stages, Linf(0.1))
    assert gradient == stages[0]
    assert (short.smallest, short.earned, short.near) == (1.0, False, None)
    assert passes(short.searcher) >= 1000 > passes(stages[1].searcher)
    assert passes(short.searcher) < 1100
    assert long.searcher == stages[2].searcher
    assert 1000 <= several.searcher.queries < 1010
    assert several.searcher.queries % 7 == 0
    assert widened(stages[1:2], Patch(1, 1))[0].searcher == stages[1].searcher, "it does not search that"


# From counts to findings


def test_odd_is_a_test_at_one_per_cent_of_a_tenth() -> None:
    assert not unlikely(0, 0)
    assert not unlikely(0, 10)
    assert unlikely(2, 2)
    assert not unlikely(1, 2)
    assert not unlikely(1, 1)
    assert unlikely(26, 160)
    assert not unlikely(25, 160)


def test_a_finding_that_is_carried_or_suppressed_stops_nothing() -> None:
    for suppressed in (True, False):
        for carried in (True, False):
            one = HealthFinding(name="n", message="m", suppressed=suppressed, carried=carried)
            assert one.stops is not (suppressed or carried)
            assert asdict(one) == {"name": "n", "message": "m", "suppressed": suppressed, "carried": carried}


@pytest.mark.parametrize(
    ("survivors", "carried", "again", "let_off"),
    [(10, 10, 0, True), (10, 9, 0, False), (10, 10, 1, False), (0, 0, 0, False)],
)
def test_gradients_that_fail_are_let_off_where_others_searched_all(
    survivors: int, carried: int, again: int, let_off: bool
) -> None:
    health = Health(searched_twice=carried, broken_again=again)
    health.count("weak_search", failed=0, tried=survivors)
    health.count("zero_gradient", failed=9, tried=9)
    health.count("batch_dependence", failed=2, tried=4)
    found = health.findings(())
    assert {one.name: one.carried for one in found} == {"zero_gradient": let_off, "batch_dependence": False}


# Hints


def logits(x: Tensor) -> Tensor:
    return torch.stack([x.mean(1), 1 - x.mean(1)], 1)


@pytest.mark.parametrize(("n", "speaks"), [(15, False), (16, True)])
def test_sixteen_samples_of_one_class_are_no_accident(n: int, speaks: bool) -> None:
    x, y = torch.rand(n, 4), torch.full((n,), 3)
    evaluator: Any = SimpleNamespace(
        task=evaluator_of(logits).task, logits=logits, model=SimpleNamespace(preprocessing=None)
    )
    assert bool(hints(evaluator, chunk_of(x, y), logits(x))) is speaks
    y[0] = 1
    assert hints(evaluator, chunk_of(x, y), logits(torch.rand(n, 4) * torch.arange(n)[:, None])) == []
    assert hints(evaluator, chunk_of(x, torch.full((n,), 3.0)), logits(x)) == []
    assert hints(evaluator, chunk_of(x, torch.full((n, 2), 3)), logits(x)) == []


def test_one_answer_for_the_first_few_is_asked_of_all() -> None:
    """The first eight are alike, the others are not: there is nothing to hint at."""
    x = torch.full((20, 4), 0.9)
    y = torch.arange(20) % 2
    evaluator = evaluator_of(logits)
    assert len(hints(evaluator, chunk_of(x, y), logits(x[:8]))) == 1
    x[12:] = 0.1
    assert hints(evaluator, chunk_of(x, y), logits(x[:8])) == []
    asked: list[int] = []
    watched = evaluator_of(lambda x: (asked.append(len(x)), logits(x))[1])
    assert hints(watched, chunk_of(x, y), logits(x[8:])) == []
    assert not asked, "the first few differ: nobody is asked again"


@pytest.mark.parametrize(
    ("low", "bounds", "given", "speaks"),
    [
        (-0.5, (-1.0, 1.0), True, True),
        (-0.5, (-1.0, 1.0), False, False),
        (0.5, (-1.0, 1.0), True, False),
        (0.5, (0.0, 1.0), True, False),
        (-0.5, (-128.0, 127.0), True, False),
        (-0.5, (-128.0, 126.9), True, True),
    ],
)
def test_inputs_below_zero_are_normalised_twice(
    low: float, bounds: tuple[float, float], given: bool, speaks: bool
) -> None:
    x, y = torch.linspace(low, 0.9, 40).view(20, 2), torch.arange(20) % 2
    model: Any = SimpleNamespace(preprocessing=([0.5], [0.5]) if given else None)
    evaluator: Any = SimpleNamespace(task=evaluator_of(logits).task, logits=logits, model=model)
    told = hints(evaluator, chunk_of(x, y, bounds), torch.eye(2)[torch.arange(8) % 2])
    assert bool(told) is speaks


@pytest.mark.parametrize(
    ("threat", "bounds", "speaks"),
    [
        (Linf(1.0), (0.0, 1.0), True),
        (Linf(0.99), (0.0, 1.0), False),
        (L2(1.0), (0.0, 1.0), False),
        (Linf(1.0), (0.0, 127.5), True),
        (Linf(1.0), (0.0, 127.0), False),
        (Linf(1.01), (0.0, 255.0), False),
        (Linf(2.0), (-1.0, 1.0), True),
        (Linf(1.9), (-1.0, 1.0), False),
        (Linf(0.0), (0.0, 255.0), False),
        (Patch(1, 1), (0.0, 255.0), False),
    ],
    ids=str,
)
def test_a_radius_is_hinted_at_from_its_border_on(threat: Any, bounds: tuple[float, float], speaks: bool) -> None:
    assert bool(radius_mistake(threat, bounds, (3, 32, 32))) is speaks


def test_the_share_of_the_bounds_is_said_in_per_cent() -> None:
    assert "is less than 0.2 % of the bounds [0, 250]" in radius_mistake(Linf(0.5), (0.0, 250.0), (3, 32, 32))


# The forward pass


def checked(model: Any, n: int = 6, *, suppressed: tuple[str, ...] = (), **how: Any) -> Evaluator:
    evaluator = evaluator_of(model)
    x = torch.rand(n, 4, generator=torch.Generator().manual_seed(0))
    check_forward(evaluator, chunk_of(x), suppressed, **how)
    return evaluator


def leads(x: Tensor) -> Tensor:
    """Logits that are no shares."""
    return 9 * logits(x)


def of_neighbours(x: Tensor) -> Tensor:
    """Answers that lean on the mean of their batch."""
    return leads(x - x.mean(0, keepdim=True) + 0.5)


@pytest.mark.parametrize("n", [1, 2, 6, 20])
def test_answers_that_lean_on_their_batch_are_counted(n: int) -> None:
    assert checked(leads, n).health.counts("batch_dependence") == (0, min(n, 8))
    failed, tried = checked(of_neighbours, n).health.counts("batch_dependence")
    assert 0 < failed <= tried == min(n, 8)


def test_a_model_that_draws_is_an_error_and_one_that_may_draw_is_not_compared() -> None:
    draw = torch.Generator().manual_seed(0)

    def drawing(x: Tensor) -> Tensor:
        return leads(x) + torch.rand(len(x), 2, generator=draw)

    with pytest.raises(ModelError, match="random_forward: expected the same answer twice"):
        checked(drawing)
    assert checked(drawing, suppressed=("random_forward",)).health.counts("batch_dependence") == (0, 0)
    last_bits = checked(lambda x: leads(x) * (1 + 1e-6 * torch.rand(1, generator=draw)))
    assert last_bits.health.counts("batch_dependence") == (0, 6)


def test_a_model_that_adapts_is_put_back_and_not_compared() -> None:
    put_back: list[int] = []
    classifier = replace(as_classifier(of_neighbours), reset=lambda: put_back.append(1))
    evaluator = Evaluator(classifier, CPU, batch_size=None, suppress=(), notes=[])
    check_forward(evaluator, chunk_of(torch.rand(20, 4)), ())
    assert (put_back, evaluator.health.counts("batch_dependence"), evaluator.classes) == ([1], (0, 0), 2)


@pytest.mark.parametrize("first", [True, False])
def test_hints_come_from_the_first_samples_of_all(first: bool) -> None:
    evaluator = evaluator_of(leads)
    check_forward(evaluator, chunk_of(torch.rand(20, 4)), (), first_of_all=first)
    assert any(note.startswith("hint: all 20 samples") for note in evaluator.notes) is first


@pytest.mark.parametrize("n", [1, 2, 9])
def test_two_answers_are_compared_with_theirs_beside_inputs_of_another_kind(n: int) -> None:
    x = torch.rand(n, 4, generator=torch.Generator().manual_seed(0))
    for model, failed in ((leads, 0), (of_neighbours, min(n, 2))):
        evaluator = evaluator_of(model)
        check_beside(evaluator, x, evaluator.logits(x), torch.full((5, 4), 9.0))
        assert evaluator.health.counts("batch_dependence") == (failed, min(n, 2))


def test_a_number_added_to_all_logits_moves_no_class_and_any_other_output() -> None:
    before = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    classes, numbers = evaluator_of(logits), evaluator_of(logits, task=Regression(0.1))
    usual = torch.tensor(1.0)
    assert moved(classes, before, before + 5, usual).tolist() == [False, False]
    assert moved(numbers, before, before + 5, usual).tolist() == [True, True]
    # Of two logits, one that moves by .1 moves the other's half way: .05 of the usual lead is the border.
    for change, counted in ((0.099, False), (0.101, True)):
        assert moved(classes, before, before + torch.tensor([change, 0.0]), usual).tolist() == [counted] * 2
        assert moved(numbers, before, before + change / 2, usual).tolist() == [counted] * 2


def test_the_usual_lead_is_a_median_of_leads_and_of_other_outputs_their_spread() -> None:
    scores = torch.tensor([[5.0, 1.0, 0.0], [0.0, 1.0, 0.5], [0.0, 3.0, 1.0]])
    assert usual_lead(evaluator_of(logits), scores) == 2.0
    assert usual_lead(evaluator_of(logits), torch.full((3, 2), 4.0)) == pytest.approx(0.004)
    numbers = evaluator_of(logits, task=Regression(0.1))
    assert usual_lead(numbers, torch.tensor([[1.0], [3.0]])) == 1.0
    assert usual_lead(numbers, torch.tensor([[-4.0], [-4.0]])) == pytest.approx(0.004)


# What was asked before


class Remembers(nn.Module):
    """A linear model; `store` may keep what it was asked, in a place of the test's choice."""

    def __init__(self, kept: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[4.0, -4.0], [-4.0, 4.0]]))
        self.kept = kept

    def forward(self, x: Tensor) -> Tensor:
        out = x @ self.weight
        if isinstance(self.kept, Tensor):
            out = out + self.kept * torch.tensor([9.0, -9.0])
            self.kept += 1
        elif isinstance(self.kept, dict):
            out = out + len(self.kept.get("seen", ())) * torch.tensor([9.0, -9.0])
            self.kept.setdefault("seen", []).append(1)
        elif isinstance(self.kept, list):
            out = out + len(self.kept) * torch.tensor([9.0, -9.0])
            self.kept.append(1)
        return out


KEPT = {"tensor": lambda: torch.zeros(1), "list": list, "dict": dict, "nested": lambda: {"seen": [1, 2]}}


@pytest.mark.parametrize("kept", KEPT)
def test_a_copy_has_a_memory_of_its_own(kept: str) -> None:
    model = Remembers(KEPT[kept]())
    x = torch.rand(3, 2)
    before = copied(model)(x)
    own = copied(model)
    own(x)
    own(x)
    assert torch.equal(copied(model)(x), before), "the model has heard of nothing"
    assert own.weight is model.weight, "parameters are shared"


@pytest.mark.parametrize("kept", [None, *KEPT])
def test_a_model_that_answers_by_what_it_was_asked_is_counted(kept: str | None) -> None:
    model = Remembers(None if kept is None else KEPT[kept]())
    evaluator = evaluator_of(model)
    chunk = chunk_of(torch.rand(6, 2, generator=torch.Generator().manual_seed(0)))
    evaluator.logits(chunk.x)
    asked = probe_history(evaluator, chunk)
    assert evaluator.health.counts("history_dependence")[1] == 4
    assert bool(evaluator.health.counts("history_dependence")[0]) is (kept is not None)
    assert asked is not None
    assert len(asked.x) == 2
    before = evaluator.health.counts("history_dependence")[0]
    ask_again(evaluator, asked)
    assert evaluator.health.counts("history_dependence")[1] == 6
    assert (evaluator.health.counts("history_dependence")[0] > before) is (kept is not None)


def test_only_modules_that_neither_adapt_nor_draw_are_asked() -> None:
    chunk = chunk_of(torch.rand(6, 2))
    model = Remembers(None)
    assert probe_history(evaluator_of(model, suppress=("random_forward",)), chunk) is None
    assert probe_history(evaluator_of(model.forward), chunk) is None
    assert probe_history(evaluator_of(replace(as_classifier(model), reset=lambda: None)), chunk) is None
    around = replace(as_classifier(model), call=lambda x: 1 * model(x))
    assert probe_history(evaluator_of(around), chunk) is None, "a copy of the module is no copy of what is called"
    evaluator = evaluator_of(model)
    ask_again(evaluator, None)
    assert evaluator.health.counts("history_dependence") == (0, 0)


def test_what_cannot_be_answered_any_more_is_counted_against_the_model() -> None:
    model = Remembers(None)
    evaluator = evaluator_of(model)
    chunk = chunk_of(torch.rand(6, 2))
    evaluator.logits(chunk.x)
    asked = probe_history(evaluator, chunk)
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    ask_again(evaluator, asked)
    assert evaluator.health.counts("history_dependence")[0] == 2


def test_places_lie_between_samples_inside_the_bounds_even_of_one_sample() -> None:
    from robustest.engine.answer_checks import _places

    for n, bounds in ((1, (0.0, 1.0)), (2, (-3.0, 5.0)), (9, (0.0, 255.0))):
        low, high = bounds
        x = low + (high - low) * torch.rand(n, 50, generator=torch.Generator().manual_seed(n))
        places = _places(chunk_of(x, bounds=bounds), "use")
        first = x[:4]
        other = first.roll(1, 0) if n > 1 else low + high - first
        off = (places - (first + other) / 2) / (high - low)
        assert places.shape == first.shape
        assert low <= float(places.min()) <= float(places.max()) <= high
        assert 0.05 < float(off.abs().max()) <= 0.1 + 1e-5
        assert float(off.min()) < 0 < float(off.max())


# Probes of inputs and survivors


def lead_model(scale: float) -> Any:
    def model(x: Tensor) -> Tensor:
        lead = scale * (x.mean(1) - 0.2)
        return torch.stack([lead, torch.zeros_like(lead)], 1)

    return model


def probed(model: Any, x: Tensor, searchers: Any = None, **options: Any) -> Health:
    evaluator = evaluator_of(model, **options)
    chunk = chunk_of(x)
    climbing = [PGD()] if searchers is None else searchers
    probe_inputs(evaluator, chunk, evaluator.logits(x), climbing, Linf(0.1))
    return evaluator.health


@pytest.mark.parametrize(("scale", "saturated"), [(1.0, 0), (20.0, 0), (400.0, 5)])
def test_a_softmax_of_exactly_one_is_saturated(scale: float, saturated: int) -> None:
    """Of a lead of 17 and more float32 keeps no slope in cross-entropy; a loss on logits has one."""
    x = torch.full((5, 4), 0.8)
    ce = probed(lead_model(scale), x, [APGD(loss="ce")])
    assert ce.counts("saturated_softmax") == (saturated, 5)
    assert probed(lead_model(scale), x, [APGD(loss="margin")]).counts("saturated_softmax")[0] == 0
    assert probed(lead_model(scale), x, [APGD(loss="ce"), APGD(loss="margin")]).counts("saturated_softmax")[0] == 0


@pytest.mark.parametrize("label", [0, 1])
def test_each_sample_is_saturated_by_its_own_slope(label: int) -> None:
    """Of six samples those at .8 are, of either class; those at .21 have a lead of 4 and a slope."""
    for flat in ((1, 2, 3, 4), (0, 5), (), (2,)):
        x = torch.full((6, 4), 0.21)
        x[list(flat)] = 0.8

        def model(x: Tensor) -> Tensor:
            scores = lead_model(400.0)(x)
            return scores if label == 0 else scores.flip(1)

        evaluator, chunk = evaluator_of(model), chunk_of(x, torch.full((6,), label))
        probe_inputs(evaluator, chunk, evaluator.logits(x), [APGD(loss="ce")], Linf(0.1))
        assert evaluator.health.counts("saturated_softmax") == (len(flat), 6)


def test_probabilities_of_zero_and_one_are_saturated_whatever_the_loss() -> None:
    def model(x: Tensor) -> Tensor:
        return torch.stack([torch.ones(len(x)), torch.zeros(len(x))], 1) + 0 * x.sum(1, keepdim=True)

    health = probed(model, torch.rand(9, 4), [APGD(loss="margin")])
    assert health.counts("quantised_input") == (0, 8)
    assert health.counts("saturated_softmax") == (8, 8)


def test_one_hot_answers_are_saturated_among_any_number_of_classes() -> None:
    for classes in (2, 3, 5):
        one_hot = torch.eye(classes)[0]
        health = probed(lambda x, row=one_hot: row.expand(len(x), -1) + 0 * x.sum(1, keepdim=True), torch.rand(4, 4))
        assert health.counts("saturated_softmax") == (4, 4)
        graded = probed(
            lambda x, row=one_hot: (row + 0.1).expand(len(x), -1) + 0 * x.sum(1, keepdim=True), torch.rand(4, 4)
        )
        assert graded.counts("saturated_softmax") == (0, 4)
        assert graded.counts("quantised_input") == (4, 4)


def test_waveforms_without_energy_have_no_room() -> None:
    x = torch.rand(5, 1, 8) - 0.5
    x[1] = 0
    evaluator = evaluator_of(lambda x: logits(x.flatten(1)))
    for climbing in ([], [PGD()]):
        probe_inputs(evaluator, chunk_of(x, bounds=(-1.0, 1.0)), evaluator.logits(x), climbing, Snr(20))
    assert evaluator.health.counts("no_room") == (2, 10)
    probe_inputs(evaluator, chunk_of(x, bounds=(-1.0, 1.0)), evaluator.logits(x), [], Linf(0.1))
    assert evaluator.health.counts("no_room") == (2, 10)


@pytest.mark.parametrize("read", [True, False])
def test_every_sample_is_counted_once_for_parts_without_a_gradient(read: bool) -> None:
    """The search had gradients in the first two of four elements; the model reads the others too, or does not."""
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    alive = torch.tensor([True, True, False, False]).expand(6, -1)

    def model(x: Tensor) -> Tensor:
        return logits(torch.cat([x[:, :2], x[:, 2:].detach() if read else x[:, :2]], 1))

    evaluator = evaluator_of(model)
    evaluator.logits(x)
    for _ in range(2):
        count_unreached(evaluator, chunk_of(x), Linf(0.1), alive)
    assert evaluator.health.counts("unreached_input") == (12 if read else 0, 12)
    assert [note.partition(" ")[0] for note in evaluator.notes] == (["50%"] if read else [])


@pytest.mark.parametrize(("share", "counted"), [(0.09, 0), (0.11, 6)])
def test_a_part_matters_from_a_tenth_of_what_the_rest_can_do(share: float, counted: int) -> None:
    x = torch.full((6, 40), 0.5)
    alive = torch.arange(40) < 20

    def model(x: Tensor) -> Tensor:
        lead = x[:, :20].mean(1) + share * x[:, 20:].detach().mean(1)
        return torch.stack([lead, -lead], 1)

    evaluator = evaluator_of(model)
    evaluator.logits(x)
    # Every draw of signs differs: of 40 samples of the same kind the most likely side is taken.
    found = 0
    for seed in range(5):
        one = evaluator_of(model)
        one.logits(x)
        count_unreached(one, chunk_of(x, seed=seed), Linf(0.1), alive.expand(6, -1))
        found += one.health.counts("unreached_input")[0]
    assert abs(found / 5 - counted) <= 2.5


def test_inputs_are_probed_only_for_gradients_and_only_eight() -> None:
    x = torch.rand(20, 4)
    assert probed(lead_model(1.0), x).counts("quantised_input")[1] == 8
    assert probed(lead_model(1.0), x[:3]).counts("quantised_input")[1] == 3
    none = probed(lead_model(1.0), x, [])
    assert (none.counts("quantised_input"), none.counts("precision_disagreement")) == ((0, 0), (0, 0))


def test_a_nudge_is_less_than_a_grey_level_and_inside_the_bounds() -> None:
    seen: list[Tensor] = []

    def model(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return lead_model(1.0)(x)

    x = torch.rand(6, 30)
    x[:, :5], x[:, 5:10] = 0.0, 1.0
    probed(model, x)
    moved = seen[1]
    steps = (moved - x).abs()
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1
    assert float(steps.max()) == pytest.approx(0.2 / 255, rel=1e-3)
    nudge = rng.signs(rng.fold(rng.keys(0, torch.arange(6)), "nudge"), (30,)) * 0.2 / 255
    assert torch.allclose(moved, (x + nudge).clamp(0, 1), atol=1e-7)
    inner = (moved - x)[:, 10:]
    assert 0.3 < float((inner > 0).float().mean()) < 0.7


def survivors(model: Any, threat: Any, n: int, broken: int = 0, stage: Any = None) -> tuple[Health, SearchOutcome]:
    x = torch.full((n, 4), 0.8)
    evaluator = evaluator_of(model)
    evaluator.logits(x)
    none = torch.zeros(n)
    found = SearchOutcome(
        torch.arange(n) < broken, x.clone(), none.double(), torch.zeros(n, dtype=torch.int64), none + torch.inf
    )
    cascade = Cascade(name="one", stages=(Stage(searcher=PGD()) if stage is None else stage,))
    probe_survivors(evaluator, cascade, threat, chunk_of(x), found)
    return evaluator.health, found


@pytest.mark.parametrize(("n", "broken", "probed"), [(1, 0, 1), (2, 0, 2), (3, 0, 3), (9, 0, 3), (9, 7, 2), (4, 4, 0)])
def test_three_survivors_are_probed_at_most(n: int, broken: int, probed: int) -> None:
    """The model breaks at .6 below: without a bound always, at half of .7 never, at half of 1.4 too."""
    health, found = survivors(lead_model(1.0), Linf(0.7), n, broken)
    assert health.counts("unbounded_attack_fails") == (0, probed)
    assert health.counts("not_monotone") == (0, probed)
    assert int(found.broken.sum()) == broken
    health, found = survivors(lead_model(1.0), Linf(1.4), n, broken)
    assert health.counts("not_monotone")[0] == probed
    assert int(found.broken.sum()) == broken + probed


def test_what_holds_without_a_bound_is_counted() -> None:
    def masked(x: Tensor) -> Tensor:
        return torch.stack([torch.ones(len(x)), torch.zeros(len(x))], 1) + 0 * x.sum(1, keepdim=True)

    health, _ = survivors(masked, Linf(0.1), 5)
    assert health.counts("unbounded_attack_fails") == (3, 3)
    assert health.counts("not_monotone")[0] == 0
    assert health.counts("zero_gradient") == (0, 0)


def test_near_ties_may_turn_in_bfloat16_and_clear_answers_may_not() -> None:
    """A lead is clear from a quarter of the median lead on, however large the logits are."""
    x = torch.tensor([[1.0], [0.24], [0.26], [1.0], [1.0]])
    for turned, changed in (((), 0), ((1,), 0), ((2,), 1), ((1, 2), 1), ((0, 1, 2, 3, 4), 4)):

        def model(x: Tensor, turned: Any = turned) -> Tensor:
            scores = torch.cat([100 + x, torch.full_like(x, 100.0)], 1).float()
            rows = torch.isin(torch.arange(len(x)), torch.tensor(turned, dtype=torch.int64)).unsqueeze(1)
            return torch.where(rows & torch.is_autocast_enabled("cpu"), scores.flip(1), scores)

        assert probed(model, x).counts("precision_disagreement") == (changed, 5)


def test_an_output_that_is_no_class_is_saturated_where_its_error_has_no_slope() -> None:
    """The error of an exact answer is flat; that of another is not."""
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    evaluator = evaluator_of(lambda x: x[:, :1], task=Regression(0.1))
    for exact in ((), (0, 1, 2, 3, 4), (1, 3)):
        y = x[:, :1] + 0.05
        y[list(exact)] = x[list(exact), :1]
        before = evaluator.health.counts("saturated_softmax")
        probe_inputs(evaluator, chunk_of(x, y), evaluator.logits(x), [PGD()], Linf(0.1))
        after = evaluator.health.counts("saturated_softmax")
        assert (after[0] - before[0], after[1] - before[1]) == (len(exact), 5)


@pytest.mark.parametrize("turned", [False, True])
def test_the_first_path_leads_down_the_gradient(turned: bool) -> None:
    x = 0.3 + 0.4 * torch.rand(8, 6, generator=torch.Generator().manual_seed(3))
    evaluator, ends = evaluator_of(lambda x: 7 * (logits(x).flip(1) if turned else logits(x))), list[Tensor]()
    answer = evaluator.logits

    def noted(x: Tensor) -> Tensor:
        ends.append(x)
        return answer(x)

    evaluator.logits = noted  # type: ignore[method-assign]
    probe_gradient(evaluator, chunk_of(x))
    width = float(x.max() - x.min())
    towards = torch.where(x.mean(1) > 0.5, -1.0, 1.0).unsqueeze(1)
    assert torch.allclose(ends[0][:8], x + 0.03 * width * towards, atol=1e-5)


def test_survivors_are_probed_only_after_gradients_and_where_there_is_a_radius() -> None:
    assert survivors(lead_model(1.0), Linf(0.0), 5)[0].counts("unbounded_attack_fails")[1] == 0
    assert survivors(lead_model(1.0), Linf(0.1), 5, stage=BLIND)[0].counts("unbounded_attack_fails")[1] == 0
    evaluator = evaluator_of(lead_model(1.0))
    cascade = Cascade(name="two", stages=(BLIND, Stage(searcher=FGSM())))
    assert [one.name for one in climbers(cascade, Linf(0.1), evaluator, chunk_of(torch.rand(3, 4)))] == ["fgsm"]


# What gradients promise


class Cut(torch.autograd.Function):
    """The identity, whose gradient is `times` that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, times: float) -> Tensor:
        ctx.times = times
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.times, None


def followed(times: float, n: int = 8, curve: float = 0.0, searched: bool = True) -> tuple[bool, Health]:
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)) * 3

    def model(x: Tensor) -> Tensor:
        z = Cut.apply(x, times)
        return z @ weight + curve * torch.sin(6 * z) @ weight

    x = torch.rand(n, 4, generator=torch.Generator().manual_seed(2))
    evaluator = evaluator_of(model)
    return probe_gradient(evaluator, chunk_of(x), searched=searched), evaluator.health


@pytest.mark.parametrize(
    ("times", "misleads"),
    [(1.0, False), (0.8, False), (1.3, False), (0.3, True), (4.0, True), (-1.0, True), (0.0, True)],
)
def test_a_gradient_off_by_more_than_half_misleads(times: float, misleads: bool) -> None:
    found, health = followed(times)
    assert found is misleads
    assert health.counts("gradient_misleads")[1] >= 16
    assert (health.counts("gradient_misleads")[0] == 0) is not misleads


def test_a_curved_model_keeps_its_promises() -> None:
    found, health = followed(1.0, curve=0.3)
    assert not found
    assert health.counts("gradient_misleads")[1] > 0


@pytest.mark.parametrize("searched", [True, False])
def test_zeros_are_counted_where_no_search_does(searched: bool) -> None:
    health = followed(0.0, searched=searched)[1]
    assert health.counts("zero_gradient") == ((0, 0) if searched else (8, 8))
    health = followed(1.0, searched=searched)[1]
    assert health.counts("zero_gradient") == ((0, 0) if searched else (0, 8))


def test_shares_are_put_on_a_log_scale_and_logits_are_not() -> None:
    shares = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    assert torch.equal(on_scale(shares), shares.log())
    for scores in (shares * 1.01, shares - 0.2, torch.tensor([[0.9, 0.1], [1.2, -0.2]])):
        assert torch.equal(on_scale(scores), scores)
    assert bool(torch.isfinite(on_scale(torch.tensor([[1.0, 0.0]]))).all())


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (-100.0, 100.0), (3.0, 5.0)], ids=str)
@pytest.mark.parametrize("n", [1, 4])
def test_paths_are_shares_of_the_samples_width_wherever_their_bounds_lie(bounds: tuple[float, float], n: int) -> None:
    """The step against the gradient is .03 of the samples' width, or of bounds that are narrower; ways to others a
    tenth of the way."""
    low, high = bounds
    x = (low + high) / 2 + torch.rand(n, 6, generator=torch.Generator().manual_seed(0)) - 0.5
    evaluator = evaluator_of(lambda x: 7 * logits(x))
    ends: list[Tensor] = []
    answer, rows = evaluator.logits, n

    def noted(x: Tensor) -> Tensor:
        ends.extend(torch.split(x, rows))
        return answer(x)

    evaluator.logits = noted  # type: ignore[method-assign]
    probe_gradient(evaluator, chunk_of(x, bounds=bounds))
    width = float(x.max() - x.min())
    inner = (x > low + 0.1 * width) & (x < high - 0.1 * width)
    assert torch.allclose((ends[0] - x).abs()[inner], torch.tensor(0.03 * width), rtol=1e-3)
    other = x.roll(1, 0) if n > 1 else low + high - x
    assert torch.allclose(ends[1] - x, 0.1 * (other - x), atol=1e-4)
    assert len(ends) == 1 + max(1, n - 1)
    flat = chunk_of(torch.full((1, 6), (low + high) / 2 + 0.1), bounds=bounds)
    ends.clear()
    rows = 1
    probe_gradient(evaluator, flat)
    assert float((ends[0] - flat.x).abs().max()) == pytest.approx(0.03 * (high - low), rel=1e-3)


@pytest.mark.parametrize(("rows", "n", "promises"), [(8, 8, 8 * 3), (8, 5, 5 * 5), (8, 3, 3 * 3), (3, 9, 3 * 2)])
def test_so_many_ways_of_each_sample_are_followed(rows: int, n: int, promises: int) -> None:
    """One against the gradient; two to other samples for each of eight, more where there are fewer, one of a few."""
    weight = torch.randn(4, 2, generator=torch.Generator().manual_seed(1)) * 3
    evaluator = evaluator_of(lambda x: x @ weight)
    evaluator.probe_rows = rows
    probe_gradient(evaluator, chunk_of(torch.rand(n, 4, generator=torch.Generator().manual_seed(2))))
    assert evaluator.health.counts("gradient_misleads")[1] == promises


@pytest.mark.parametrize(("random", "passes"), [(False, [8, 48, 24]), (True, [8] * 11)])
def test_all_ways_share_their_passes_unless_the_model_draws(random: bool, passes: list[int]) -> None:
    """Three ways of eight samples, two points each and an end; a model that draws is seeded at each point."""
    weight, seen = torch.randn(4, 2, generator=torch.Generator().manual_seed(1)), []

    def model(x: Tensor) -> Tensor:
        seen.append(len(x))
        # Every point gets the same draw, or the slope would not predict the change.
        return x @ weight * (1 + torch.rand(()) if random else 1)

    evaluator = evaluator_of(model, suppress=("random_forward",) if random else ())
    probe_gradient(evaluator, chunk_of(torch.rand(8, 4, generator=torch.Generator().manual_seed(2))))
    assert seen == passes
    assert evaluator.health.counts("gradient_misleads") == (0, 24)


def test_a_spread_of_a_quarter_is_suspect_and_more_is_not() -> None:
    evaluator = evaluator_of(scores_model(by_mean(np.sign)))
    y = torch.zeros(5, dtype=torch.int64)
    margins = torch.tensor([0.75, 1.25, 1.25, 0.75, 1.0])  # a mean of 1, and a spread of exactly a quarter
    assert suspected(evaluator, margins, y)
    assert not suspected(evaluator, margins + torch.tensor([-0.01, 0.01, 0.01, -0.01, 0.0]), y)


def test_outputs_that_are_no_classes_and_do_not_move_are_counted() -> None:
    still = evaluator_of(lambda x: 0 * x[:, :1] + 0.5, task=Regression(0.1))
    moving = evaluator_of(lambda x: x[:, :1], task=Regression(0.1))
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    for evaluator, unmoved in ((still, 5), (moving, 0)):
        chunk = chunk_of(x, x[:, :1])
        probe_inputs(evaluator, chunk, evaluator.logits(x), [PGD()], Linf(0.1))
        assert evaluator.health.counts("quantised_input") == (unmoved, 5)


@pytest.mark.parametrize(("levels", "alone"), [(1, True), (2, True), (3, False)])
def test_outputs_of_two_numbers_in_all_are_labels(levels: int, alone: bool) -> None:
    from robustest import MultiLabel

    def fn(x: np.ndarray) -> np.ndarray:
        return np.floor(x * levels).clip(0, levels - 1).astype(np.float32)

    x = torch.linspace(0.01, 0.99, 4).expand(10, 4)
    assert labels_alone(evaluator_of(scores_model(fn), task=MultiLabel()), chunk_of(x)) is alone
