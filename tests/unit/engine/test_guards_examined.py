"""Guards before the first stage of a cascade: which experiments are made, what they cost, and what they decide."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import (
    Columns,
    ConfigError,
    Edits,
    Linf,
    MultiLabel,
    Patch,
    Snr,
    as_classifier,
    labels_model,
    rng,
    scores_model,
)
from robustest.attacks import PGD, Cascade, GreedyMoves, HopSkipJump, Needs, RandomDraws, RandomMoves, Square, Stage
from robustest.engine import cascade as cascades
from robustest.engine import score_diagnosis as diagnoses
from robustest.engine.cascade import run_cascade
from robustest.engine.chunks import Chunk
from robustest.engine.coverage import Coverage, lacking
from robustest.engine.evaluator import Evaluator
from robustest.engine.score_diagnosis import ScoreDiagnosis, Suspicion, examinable, suspected
from robustest.engine.stages import serving
from robustest.threats import Within

CPU = torch.device("cpu")
N = 4


def chunk_of_images() -> Chunk:
    x, ids = torch.rand(N, 1, 2, 3), torch.arange(N)
    return Chunk(ids, x, torch.zeros(N, dtype=torch.int64), rng.keys(0, ids), (0.0, 1.0))


def diagnosed(
    monkeypatch: pytest.MonkeyPatch, threat: Any, **found: Any
) -> tuple[list[str], Suspicion, ScoreDiagnosis]:
    """Return what was asked, the suspicion and the diagnosis of scores in which experiments find what is given."""
    asked: list[str] = []

    def says(name: str, usual: Any) -> None:
        def answer(*_: Any) -> Any:
            asked.append(name)
            return found.get(name, usual)

        monkeypatch.setattr(diagnoses, name, answer)

    for name in ("suspected", "examinable", "some_equal", "labels_alone", "unrelated"):
        says(name, False)
    says("values_of_draws", [[3]] * N)
    evaluator, chunk = evaluator_of(), chunk_of_images()
    suspicion = Suspicion.of(evaluator, threat, torch.ones(N), chunk.y)
    assert not {"labels_alone", "unrelated", "values_of_draws"} & set(asked), "suspicion takes no pass of the model"
    return asked, suspicion, suspicion.diagnose(evaluator, chunk, threat)


def by_row(value: Any) -> list[bool]:
    """Return an answer for all samples as one for each."""
    return torch.as_tensor(value).expand(N).tolist()


class Still(Edits):
    """Edits of texts of which none is allowed."""

    radius = 0.0


STILL = Still(2, alphabet="xyz")
EDITS, COLUMNS = Edits(1, alphabet="xyz"), Columns({0: Within(-0.1, 0.2)}, max_changed=1)


@pytest.mark.parametrize(
    ("threat", "found", "beside", "alone", "unread"),
    [
        # Numbers: margins alike lead to ways between samples.
        (Linf(0.5), {}, 0, False, False),
        (Linf(0.5), {"suspected": True}, 38, False, False),
        (Linf(0.5), {"suspected": True, "labels_alone": True}, 38, True, False),
        (Linf(0.5), {"labels_alone": True, "examinable": True, "some_equal": True, "unrelated": True}, 0, False, False),
        (Linf(0.0), {"suspected": True, "labels_alone": True}, 0, False, False),
        (COLUMNS, {"suspected": True, "unrelated": True}, 38, False, False),
        (COLUMNS, {"examinable": True, "labels_alone": True}, 0, False, False),
        # Waves: equal margins lead to random inputs of each sample.
        (Snr(20.0), {}, 0, False, False),
        (Snr(20.0), {"some_equal": True}, 38 + 32, [False] * N, [False] * N),
        (Snr(20.0), {"suspected": True}, 38, False, False),
        (
            Snr(20.0),
            {"some_equal": True, "values_of_draws": [[1], [1, 1], [1, 2], []]},
            38 + 32,
            [True, True, False, False],
            [False] * N,
        ),
        (Snr(20.0), {"some_equal": True, "suspected": True, "labels_alone": True}, 38 + 32, True, [False] * N),
        # Texts are always examined, if they can be: beside a longer one (so is an edited text, which is passed
        # alone, too), by twice 32 random inputs, and by tables.
        (EDITS, {}, 3, False, False),
        (EDITS, {"suspected": True}, 3 + 64 + 48, [False] * N, [False] * N),
        (EDITS, {"examinable": True}, 3 + 64 + 48, [False] * N, [False] * N),
        (
            EDITS,
            {"examinable": True, "values_of_draws": [[1], [1, 1], [2, 1], []], "labels_alone": True},
            3 + 64 + 48,
            [True, True, False, False],
            [True, False, False, False],
        ),
        (EDITS, {"examinable": True, "unrelated": True}, 3 + 64 + 48, True, [False] * N),
        (EDITS, {"suspected": True, "labels_alone": True, "unrelated": True}, 115, True, [False] * N),
        (EDITS, {"some_equal": True, "labels_alone": True}, 3, False, False),
        (STILL, {"suspected": True, "examinable": True, "labels_alone": True}, 3, False, False),
    ],
)
def test_scores_are_examined_where_a_claim_may_rest_on_them(
    threat: Any, found: dict[str, Any], beside: int, alone: Any, *, unread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, suspicion, diagnosis = diagnosed(monkeypatch, threat, **found)
    assert suspicion.passes == beside
    assert (by_row(diagnosis.labels_alone), by_row(diagnosis.unread)) == (by_row(alone), by_row(unread))
    lost = torch.ones(N, dtype=torch.bool)
    scattered = found.get("unrelated") and threat is EDITS and not found.get("labels_alone")
    why = "as if the score of each text" if scattered else "no more than its labels" if any(by_row(alone)) else ""
    assert why in diagnosis.reason(lost, threat)
    assert bool(diagnosis.reason(lost, threat)) is bool(why)


def test_texts_whose_scores_are_all_labels_are_not_asked_for_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "unrelated" not in diagnosed(monkeypatch, EDITS, suspected=True, labels_alone=True)[0]
    assert "unrelated" in diagnosed(monkeypatch, EDITS, examinable=True)[0]
    assert "unrelated" not in diagnosed(monkeypatch, Linf(0.5), suspected=True)[0]


class Reached(Exception):
    """The first stage would begin now."""


@pytest.mark.parametrize("passes", [0, 38])
def test_a_cascade_pays_for_its_diagnosis_and_counts_by_it(passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made once, of the samples of the chunk, after the stages that it leaves are known."""
    steps: list[Any] = []
    found = ScoreDiagnosis(bare=True)

    class Suspect:
        def __init__(self) -> None:
            self.passes = passes

        def diagnose(self, evaluator: Any, chunk: Chunk, threat: Any) -> ScoreDiagnosis:
            steps.append(("diagnose", len(chunk.x), threat))
            return found

    def serves(evaluator: Any, cascade: Any, threat: Any, elements: int, *, beside: int) -> Any:
        steps.append(("serving", elements, beside))
        return cascade.stages

    def covers(x: Tensor, threat: Any, diagnosis: ScoreDiagnosis) -> None:
        assert diagnosis is found
        raise Reached

    monkeypatch.setattr(Suspicion, "of", lambda *_: Suspect())
    monkeypatch.setattr(cascades, "serving", serves)
    monkeypatch.setattr(cascades, "Coverage", covers)
    with pytest.raises(Reached):
        run_cascade(evaluator_of(), cascade_of(Square()), Linf(0.5), chunk_of_images(), clean_margin=torch.ones(N))
    assert steps == [("serving", 6, passes), ("diagnose", N, Linf(0.5))]


@pytest.mark.parametrize(
    ("threat", "searchers", "asked"),
    [
        (Linf(0.5), [PGD()], True),
        (Linf(2.0), [Square(), PGD()], True),
        (Linf(0.5), [Square()], False),
        (Linf(0.0), [PGD()], False),
        (COLUMNS, [PGD()], False),
    ],
)
@pytest.mark.parametrize("misleads", [True, False])
def test_gradients_are_asked_where_a_claim_rests_on_them(
    threat: Any, searchers: list[Any], asked: bool, misleads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes, wide = list[dict[str, Any]](), list[Any]()

    def probe(*_: Any, **options: Any) -> bool:
        probes.append(options)
        return misleads

    def begins(*_: Any, **__: Any) -> None:
        raise Reached

    monkeypatch.setattr(cascades, "probe_gradient", probe)
    monkeypatch.setattr(cascades, "widened", lambda _, threat: wide.append(threat))
    monkeypatch.setattr(cascades, "StageSchedule", begins)
    monkeypatch.setattr(diagnoses, "suspected", lambda *_: False)
    evaluator, cascade = evaluator_of(lambda x: x.flatten(1)[:, :2]), cascade_of(*searchers)
    with pytest.raises(Reached):
        run_cascade(evaluator, cascade, threat, chunk_of_images(), clean_margin=torch.ones(N), control=False)
    assert probes == [{"draws": 1}] * asked
    assert wide == [threat] * (asked and misleads)
    assert evaluator.probed is not asked, "the probe itself says that it ran"


@pytest.mark.parametrize(("limit", "enough"), [(None, True), (761, True), (760, True), (759, False), (1, False)])
def test_scores_are_examined_where_queries_for_a_search_are_left(limit: int | None, enough: bool) -> None:
    """38 passes of a sample are the price of ways between samples; a twentieth of the budget may go there."""
    assert examinable(evaluator_of(scores_model(lambda x: x[:, :2], max_queries=limit))) is enough


def test_labels_and_models_that_draw_have_no_scores_to_examine() -> None:
    assert not examinable(evaluator_of(labels_model(lambda x: x[:, 0] > 0, classes=2)))
    assert not examinable(evaluator_of(suppress=("random_forward",)))
    assert examinable(evaluator_of(lambda x: x[:, :2]))


@pytest.mark.parametrize(("model", "found"), [(None, True), (lambda x: x[:, :2], False)])
def test_outputs_of_other_tasks_are_suspect_where_scores_are_all(model: Any, found: bool) -> None:
    assert suspected(evaluator_of(model, task=MultiLabel()), torch.ones(0), torch.ones(0)) is found


# Stages that serve


def evaluator_of(model: Any = None, **options: Any) -> Evaluator:
    model = scores_model(lambda x: x[:, :2]) if model is None else model
    return Evaluator(as_classifier(model), CPU, batch_size=None, **{"suppress": (), "notes": [], **options})


def cascade_of(*searchers: Any) -> Cascade:
    return Cascade(name="some", stages=tuple(Stage(searcher=one) for one in searchers))


def test_stages_that_need_more_than_the_model_gives_are_named_if_they_fit_the_threat() -> None:
    both = cascade_of(PGD(), Square())
    evaluator = evaluator_of()
    assert [stage.searcher.name for stage in serving(evaluator, both, Linf(0.1), 4)] == ["square"]
    assert evaluator.notes == ["the model gives scores only; some ran without pgd"]
    evaluator = evaluator_of(lambda x: x[:, :2])
    assert len(serving(evaluator, both, Linf(0.1), 4)) == 2
    assert evaluator.notes == []
    evaluator = evaluator_of()
    serving(evaluator, cascade_of(Square(), HopSkipJump(), RandomMoves()), Linf(0.1), 4)
    assert evaluator.notes == [], "another threat's"
    labels = evaluator_of(labels_model(lambda x: x[:, 0] > 0, classes=2))
    serving(labels, cascade_of(PGD(), Square(), RandomDraws()), Linf(0.1), 4)
    assert labels.notes == ["the model gives labels only; some ran without pgd, square"] or [
        note for note in labels.notes if "ran without" in note
    ] == ["the model gives labels only; some ran without pgd"]


def test_stages_that_are_of_one_class_alone_are_named_for_other_tasks() -> None:
    class Alone(RandomDraws):
        name = "alone"

        def suits(self, task: Any) -> bool:
            return bool(task.one_class)

    evaluator = evaluator_of(task=MultiLabel())
    kept = serving(evaluator, cascade_of(Alone(), RandomDraws()), Linf(0.1), 4)
    assert [stage.searcher.name for stage in kept] == ["random-draws"]
    assert evaluator.notes == ["some ran without alone: an answer is no single class"]
    with_classes = evaluator_of()
    assert len(serving(with_classes, cascade_of(Alone(), RandomDraws()), Linf(0.1), 4)) == 2
    assert with_classes.notes == []


@pytest.mark.parametrize(
    ("searcher", "threat", "model", "words"),
    [
        (RandomMoves(), Linf(0.1), None, r"an attack that works on Linf\(eps=0.1\) but 'some' does not"),
        (PGD(), Linf(0.1), None, "gives scores but 'some' needs gradient.*for example 'square'"),
        (Square(), Linf(0.1), labels_model(lambda x: x, classes=2), "gives labels but 'some' needs scores.*'hop-skip"),
        (PGD(), Patch(1, 1), None, "works on Patch|needs gradient"),
    ],
)
def test_what_is_missing_is_named(searcher: Any, threat: Any, model: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        serving(evaluator_of(model), cascade_of(searcher), threat, 4)


# Searches that count


def test_at_radius_zero_and_without_samples_nothing_is_counted() -> None:
    evaluator = evaluator_of()
    Coverage(torch.zeros(0, 3), Linf(0.1)).count(evaluator, torch.zeros(0, dtype=torch.bool), ())
    assert evaluator.health.counts("weak_search") == (0, 0)
    Coverage(torch.zeros(3, 3), Linf(0.0)).count(evaluator, torch.ones(3, dtype=torch.bool), ())
    assert evaluator.health.counts("weak_search") == (0, 0)
    Coverage(torch.zeros(3, 3), Linf(0.5)).count(evaluator, torch.ones(3, dtype=torch.bool), ())
    assert evaluator.health.counts("weak_search") == (3, 3)


def test_what_was_decided_counts_as_two_searches() -> None:
    for rounds, twice in ((0, 1), (1, 3), (3, 3)):
        coverage, evaluator = Coverage(torch.zeros(3, 2), Linf(0.1)), evaluator_of()
        stage = Stage(searcher=Square(queries=100_000))
        for _ in range(rounds):
            coverage.add(stage, torch.arange(3), torch.zeros(3, dtype=torch.bool))
        coverage.decided(torch.tensor([True, rounds > 0, rounds > 0]))
        coverage.count(evaluator, torch.ones(3, dtype=torch.bool), (stage,))
        assert evaluator.health.searched_twice == twice
        assert evaluator.health.counts("weak_search") == (0 if rounds else 2, 3)


def test_reasons_are_those_of_the_rows_that_were_lost() -> None:
    rows = torch.tensor([True, True, False, False])
    stage, weak = Stage(searcher=Square(queries=100_000)), Stage(searcher=RandomDraws(queries=1))
    labels = "weak_search: the model's scores say no more than its labels"
    cases = [
        ({"bare": rows, "unread": rows}, [0, 1, 2, 3], stage, "weak_search: nothing that"),
        ({"bare": rows, "unread": torch.tensor([True, False, False, False])}, [2, 3], stage, labels),
        ({"bare": rows}, [0, 1, 2, 3], stage, labels),
        ({"bare": rows}, [0, 1, 2, 3], weak, labels),
        ({"scattered": True}, [0, 1, 2, 3], stage, "weak_search: two edits of a text"),
        ({}, [0, 1, 2, 3], weak, "weak_search: Linf(eps=0.1) of 2 features"),
    ]
    for given, searched, used, reason in cases:
        coverage, evaluator = Coverage(torch.zeros(4, 2), Linf(0.1), ScoreDiagnosis(**given)), evaluator_of()
        coverage.add(used, torch.tensor(searched), torch.zeros(len(searched), dtype=torch.bool))
        coverage.count(evaluator, torch.ones(4, dtype=torch.bool), (used,))
        assert [note.startswith(reason) for note in evaluator.notes] == [True], (reason, evaluator.notes)


def test_what_would_count_is_named_by_its_least_number_of_queries() -> None:
    class Needy(RandomDraws):
        name = "needy"

        def enough_queries(self, threat: Any, features: int) -> int | None:  # type: ignore[override]
            return 50

    def said(queries: int, gives: Needs = Needs.GRADIENT) -> str:
        return lacking(Linf(0.1), gives, (Stage(searcher=Needy(queries=queries)),), 7)

    assert "takes needy with 50 or more; what ran: needy with 49 passes" in said(49)
    assert "takes needy on all samples; what ran: needy with 50 passes" in said(50)
    greedy = (Stage(searcher=GreedyMoves()),)
    for gives, more in (
        (Needs.LABELS, ", or scores (sc"),
        (Needs.SCORES, ", or gradients of"),
        (Needs.GRADIENT, "; w"),
    ):
        assert f"(docs/attacks.md has a table){more}" in lacking(Linf(0.1), gives, greedy, 7)
