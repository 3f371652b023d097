"""Samples and a model as units: their identity, their digests, what may be measured together, and a second model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import ConfigError, ModelError, Settings, labels_model, scores_model
from robustest.attacks import as_attack
from robustest.claims.datasets import Predicting
from robustest.claims.robustness.attacking import Attacking
from robustest.data import Waveforms, as_samples
from robustest.identity.fingerprint import Fingerprint
from robustest.models import Needs, as_classifier
from robustest.models.classifier import Classifier
from robustest.run import units as module
from robustest.run.evidence import CLASS, TARGET, Observation
from robustest.run.plan import Setup
from robustest.run.units import WHOLE, ModelJob, ModelUnits, with_labels
from robustest.run.workers import versions
from robustest.tasks import CLASSIFICATION
from robustest.threats import Linf

X = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 0, 1, 1, 0])


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()


ATTACK = Attacking(cascade=as_attack("fast"), threat=Linf(0.1))


def units(model: Any = None, look: Any = None, *, data: Any = None, **options: Any) -> ModelUnits:
    setup = Setup.of(net() if model is None else model, (X, Y) if data is None else data, options)
    return ModelUnits(
        model=setup.model,
        samples=setup.samples,
        look=Predicting() if look is None else look,
        task=setup.task,
        classifier_of=setup.classifier_of,
    )


# Identity


@pytest.mark.parametrize(
    ("exported", "known", "changes", "graph"),
    [
        (True, False, {}, True),
        (False, False, {}, False),  # an export takes long
        (True, True, {}, False),  # the code has an identity
        (True, False, {"module": None}, False),
        (True, False, {"call": lambda x: x}, False),  # the graph of a module is not that of the function around it
        (True, False, {"decode": lambda x: x}, False),  # a graph takes tensors
    ],
)
def test_a_graph_is_asked_for_where_the_code_has_no_identity_and_the_graph_is_the_model(
    exported: bool, known: bool, changes: dict[str, Any], graph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples: list[Any] = []

    def fingerprint(call: Any, of: Any, preprocessing: Any, *, example: Tensor | None = None) -> Fingerprint:
        examples.append(None if example is None else tuple(example.shape))
        return Fingerprint("a" if known else None if example is None else "graph", "why")

    monkeypatch.setattr(module, "fingerprint", fingerprint)
    one = units()
    one.model = replace(one.model, **changes)
    found = one.fingerprint(Settings(), exported=exported)
    assert examples == ([None, (1, 1, 2, 2)] if graph else [None])
    assert found.digest == ("graph" if graph else "a" if known else None)


def test_an_identity_depends_on_bounds_budget_access_rate_and_task() -> None:
    one = units()
    assert one.about() == {"gives": "GRADIENT", "max_queries": None, "bounds": (0.0, 1.0)}
    assert units(bounds=(-1.0, 2.0)).about()["bounds"] == (-1.0, 2.0)
    assert units(labels_model(lambda x: np.zeros(len(x), int), classes=2)).about()["gives"] == "LABELS"
    one.sample_rate = 8000
    assert one.about()["sample_rate"] == 8000
    other: Any = SimpleNamespace(name="another task")
    one.task = other
    assert one.about()["task"] is other


def digests(x: Any = X, y: Any = Y, **fields: Any) -> list[bytes]:
    one = units(data=(x, y), bounds=(-9.0, 9.0))
    with one.open(Settings(device="cpu")):
        chunk = one.load(torch.arange(len(x)))
        return one.digests(replace(chunk, **fields))


def test_a_digest_is_of_one_sample_and_its_label() -> None:
    before = digests()
    assert len(set(before)) == 6
    assert digests(X.flip(0), Y.flip(0)) == before[::-1]
    other = X.clone()
    other[2, 0, 0, 0] += 0.5
    assert [a == b for a, b in zip(before, digests(other), strict=True)] == [True, True, False, True, True, True]
    wrong = Y.clone()
    wrong[4] = 0
    assert [a == b for a, b in zip(before, digests(X, wrong), strict=True)] == [True] * 4 + [False, True]


def test_digests_are_those_of_earlier_versions() -> None:
    """Those of baselines in repositories: another form would make all of them of other samples."""
    for rate, words in ((None, ""), (8000, "8000 Hz ")):
        found = digests(X, Y, sample_rate=rate)
        about = f"<f4 (1, 2, 2) <i8 {words}".encode()
        parts = zip(X.numpy(), Y.numpy(), strict=True)
        assert [one[:WHOLE] for one in found] == [sha256(about + x.tobytes() + y.tobytes()).digest() for x, y in parts]
    maps = torch.zeros(6, 2, 2, dtype=torch.int64)
    one = ModelUnits(model=as_classifier(net()), samples=as_samples((X, Y)), look=Predicting())
    with one.open(Settings(device="cpu")):
        chunk = replace(one.load(torch.arange(6)), y=maps)
        about = b"<f4 (1, 2, 2) <i8 (2, 2) "
        assert one.digests(chunk)[0][:WHOLE] == sha256(about + X[0].numpy().tobytes() + bytes(32)).digest()
    texts = ModelUnits(model=as_classifier(net()), samples=as_samples((["ab", "c", "ab"], Y[:3])), look=Predicting())
    with texts.open(Settings(device="cpu")):
        chunk = texts.load(torch.arange(3))
        coding: Any = chunk.coding
        rows = coding.identities(chunk.x)
        assert texts.digests(chunk) == [
            sha256(b"<i8 () " + len(row).to_bytes(8, "big") + row + y.tobytes()).digest()
            for row, y in zip(rows, chunk.y.numpy(), strict=True)
        ]


def test_behind_the_digest_is_that_of_the_input_alone() -> None:
    own, wrong = ([one[WHOLE:] for one in digests(X, y)] for y in (Y, Y.flip(0) + 1))
    assert own == wrong
    assert len(set(own)) == 6
    assert {len(one) for one in own} == {16}


def test_a_digest_is_also_of_shape_type_and_rate() -> None:
    before = digests()
    for other in (digests(X.reshape(6, 1, 4, 1)), digests(sample_rate=8000), digests(sample_rate=0)):
        assert not set(other) & set(before)
    assert not set(digests(sample_rate=8000)) & set(digests(sample_rate=16000))


@pytest.mark.parametrize(
    ("data", "repeats"),
    [
        ((X, Y), False),  # images
        ((X.flatten(1), Y), True),  # rows of a table
        ((torch.zeros(6, 2, 3), Y), False),
        ((list("abcaba"), Y), True),  # texts
        (Waveforms((torch.zeros(6, 4), Y), sample_rate=8000), False),
    ],
    ids=["images", "table", "series", "texts", "sounds"],
)
def test_equal_rows_and_texts_may_be_draws_and_equal_images_and_sounds_are_copies(data: Any, repeats: bool) -> None:
    model = replace(as_classifier(net()), bounds=(-1.0, 1.0))
    one = ModelUnits(model=model, samples=as_samples(data), look=Predicting())
    one.check(torch.arange(6))
    assert one.may_repeat is repeats
    assert module.Units.may_repeat is True


# Classes and strata of samples


def test_the_classes_of_samples_are_a_column_or_numbers_of_equal_targets() -> None:
    found = Observation({"held": np.ones(6, bool)}, [])

    def of(y: Tensor) -> Any:
        return SimpleNamespace(x=X, y=y, ids=torch.arange(6))

    chunk = of(Y)
    columns = with_labels(found, CLASSIFICATION, chunk).columns
    assert columns[CLASS].tolist() == Y.tolist()
    assert columns["held"] is found.columns["held"]
    assert CLASS not in with_labels(found, CLASSIFICATION, of(Y.reshape(6, 1))).columns
    other: Any = SimpleNamespace(one_class=False)
    masks = of(torch.stack([Y, 2 * Y], 1))
    columns = with_labels(found, other, masks).columns
    assert CLASS not in columns
    assert np.array_equal(columns[TARGET][:, None] == columns[TARGET], (Y[:, None] == Y).numpy())


# Several chunks at a time


@pytest.mark.parametrize(
    ("changes", "gathers"),
    [
        ({}, True),
        ({"busy": False}, False),
        ({"fills": True}, False),
        ({"look": Predicting()}, False),
        ({"random": True}, False),
        ({"model": {"max_queries": 9}}, False),
        ({"model": {"decode": lambda x: x}}, False),
        ({"model": {"reset": lambda: None}}, False),
        ({"model": {"module": None}}, False),
        ({"model": {"call": lambda x: x}}, False),
    ],
    ids=lambda one: str(one)[:30],
)
def test_chunks_share_passes_where_nothing_but_the_module_is_called(
    changes: dict[str, Any], gathers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.devices, "gathers", lambda _: not changes.get("fills", False))
    one = units(look=changes.get("look", replace_gathers(ATTACK)))
    with one.open(Settings(device="cpu")):
        one._busy = changes.get("busy", True)
        one.evaluator = SimpleNamespace(device=torch.device("cpu"), random=changes.get("random", False))  # type: ignore[assignment]
        one.model = replace(one.model, **changes.get("model", {}))
        assert one.gathers is gathers


def replace_gathers(look: Any) -> Any:
    return SimpleNamespace(gathers=True, whole_inputs=False, look=look)


# A second model


@dataclass(frozen=True)
class Beside:
    """Two pairs of access and budget."""

    own: tuple[Needs, int | None] = (Needs.GRADIENT, None)
    other: tuple[Needs, int | None] = (Needs.GRADIENT, None)


def prepared(model: Any, gives: Needs, queries: int | None) -> Classifier:
    return replace(as_classifier(model), gives=gives, max_queries=queries)


@pytest.mark.parametrize(
    ("pair", "has_threshold", "found"),
    [
        (Beside(), True, (Needs.GRADIENT, None)),
        (Beside(), False, (Needs.GRADIENT, None)),
        (Beside(other=(Needs.SCORES, None)), False, (Needs.SCORES, None)),
        (Beside(other=(Needs.SCORES, None)), True, None),
        (Beside(own=(Needs.SCORES, None)), True, (Needs.SCORES, None)),  # weaker already
        (Beside(own=(Needs.SCORES, 9), other=(Needs.LABELS, 5)), False, (Needs.LABELS, 5)),
        (Beside(own=(Needs.SCORES, 9)), True, (Needs.SCORES, 9)),
        (Beside(own=(Needs.SCORES, 9), other=(Needs.SCORES, 9)), True, (Needs.SCORES, 9)),
        (Beside(own=(Needs.SCORES, 9), other=(Needs.SCORES, 8)), True, None),
        (Beside(own=(Needs.SCORES, 9), other=(Needs.SCORES, 10)), True, (Needs.SCORES, 9)),
        (Beside(other=(Needs.GRADIENT, 8)), False, (Needs.GRADIENT, 8)),
        (Beside(other=(Needs.GRADIENT, 8)), True, None),
    ],
)
@pytest.mark.parametrize("searches", [True, False])
def test_two_models_are_searched_with_the_weaker_access_of_both(
    pair: Beside, has_threshold: bool, found: tuple[Needs, int | None] | None, searches: bool
) -> None:
    one = units(look=ATTACK if searches else Predicting())
    one.model = prepared(net(), *pair.own)
    one.classifier_of = lambda model: prepared(model, *pair.other)
    if found is None and searches:
        with pytest.raises(ConfigError, match="would weaken the search that the threshold rests on"):
            one.beside(net(1), has_threshold=has_threshold)
        return
    first, second = one.beside(net(1), has_threshold=has_threshold)
    weaker = min(pair.own[0], pair.other[0])
    budget = min((one for one in (pair.own[1], pair.other[1]) if one is not None), default=None)
    assert found in (None, (weaker, budget))
    assert [(side.model.gives, side.model.max_queries) for side in (first, second)] == [(weaker, budget)] * 2
    assert first.model.call is one.model.call
    assert second.model.call is not one.model.call
    assert (first.replay, second.replay) == (None, None)
    assert first.look is second.look
    assert (first.look is one.look) is not searches, "every counterexample is kept, to be tried on the other model"


@pytest.mark.parametrize(
    ("own", "other", "words"),
    [
        ({"bounds": (0.0, 2.0)}, {}, r"take inputs in \(0.0, 2.0\), as the model does, but got \(0.0, 1.0\)"),
        ({"labels": ("a", "b")}, {"labels": ("b", "a")}, "to have the model's classes"),
        ({"reset": lambda: None}, {}, "one of them adapts to what it is shown"),
        ({}, {"reset": lambda: None}, "one of them adapts to what it is shown"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(own: dict[str, Any], other: dict[str, Any], words: str) -> None:
    one = units()
    one.model = replace(one.model, **own)
    one.classifier_of = lambda model: replace(as_classifier(model), **other)
    with pytest.raises(ConfigError, match=words):
        one.beside(net(1), has_threshold=False)


def test_names_of_classes_are_compared_where_both_models_have_them() -> None:
    for own, other in ((("a", "b"), ("a", "b")), (None, ("a", "b")), (("a", "b"), None)):
        one = units()
        one.model = replace(one.model, labels=own)
        one.classifier_of = lambda model, names=other: replace(as_classifier(model), labels=names)  # type: ignore[misc]
        assert len(one.beside(net(1), has_threshold=False)) == 2


def test_another_model_that_is_none_names_what_is_taken() -> None:
    with pytest.raises(ConfigError, match="no_worse_than= takes the path of a baseline file, or another model"):
        units().beside(3, has_threshold=False)
    fixed = replace(units(), classifier_of=None)
    with pytest.raises(ConfigError, match="no_worse_than to be the path of a baseline file"):
        fixed.beside(net(1), has_threshold=False)


def test_a_model_that_adapts_has_one_condition() -> None:
    adapting = replace(as_classifier(net()), reset=lambda: None)
    with pytest.raises(ConfigError, match="this one adapts to what it is shown"):
        replace(units(), model=adapting)
    assert replace(units(), model=adapting, adapts=True).adapts


# What is asked of units before the measurement


def test_what_no_search_looks_at_is_neither_audited_nor_tried() -> None:
    one = units()
    with one.open(Settings(device="cpu")):
        assert one.audit(torch.arange(2), first=True) is None
        assert one.trial(SimpleNamespace(ids=torch.arange(2))) is None  # type: ignore[arg-type]
        assert one.still_broken() == set()
    searched = units(look=ATTACK)
    with searched.open(Settings(device="cpu")):
        assert searched.audit(torch.arange(2), first=True) is not None
        searched.model = replace(searched.model, max_queries=9)
        assert searched.audit(torch.arange(2), first=True) is None, "a budget has no queries left"


@pytest.mark.parametrize(("n", "rows"), [(6, 2), (2, 2), (1, 2)])
def test_a_model_is_shipped_by_two_samples(n: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[Any] = []
    monkeypatch.setattr(module, "ship", lambda _, example: shapes.append(tuple(example().shape)))
    one = units(data=(X[:n], Y[:n]))
    with one.open(Settings(device="cpu")):
        job = one.job()
    assert shapes == [(rows, 1, 2, 2)]
    assert (job.digest, job.answered, job.look, job.task) == ("", None, one.look, CLASSIFICATION)


def test_only_the_first_chunk_has_the_cost_of_the_checks() -> None:
    def cost(*places: int) -> list[int]:
        one = units()
        with one.open(Settings(device="cpu")):
            return [one.measure(one.load(torch.arange(6)), first=place == 0)[1].forward for place in places]

    first, later = cost(0, 1)
    assert first > later >= 6
    assert cost(1, 2) == [later, later], "a worker's checks are counted by nobody"


def test_a_function_of_scores_is_a_model_without_module() -> None:
    one = units(scores_model(lambda x: np.stack([x.reshape(len(x), -1).mean(1)] * 2, 1)))
    assert one.model.module is None
    assert one.device(Settings(device="cpu")) == torch.device("cpu")
    assert len(one) == 6


def test_time_is_that_of_the_measurement_and_comes_from_the_member_where_chunks_share_passes() -> None:
    one = units()
    with one.open(Settings(device="cpu")):
        chunk = one.load(torch.arange(6))
        assert 0 <= one.measure(chunk, first=True)[1].seconds < 60
        assert one.measure_among(one.evaluator, chunk)[1].seconds == 0
        look = one._counted(lambda evaluator: one.look(evaluator, chunk))
        assert 0 <= look[1].seconds < 60


@pytest.mark.parametrize("first", [True, False])
def test_gradients_are_compared_on_more_rows_of_the_first_chunk(first: bool) -> None:
    rows: list[int] = []

    def look(evaluator: Any, chunk: Any) -> Observation:
        rows.append(evaluator.probe_rows)
        return Observation({"held": torch.ones(len(chunk.x), dtype=torch.bool)}, [])

    one = units(look=look)
    with one.open(Settings(device="cpu")):
        one.measure(one.load(torch.arange(6)), first=first)
        one.measure_among(one.evaluator, one.load(torch.arange(6)))
    assert rows == [8 if first else 4, 4]


@pytest.mark.parametrize(
    ("sent", "here", "refused"),
    [
        (("a:b", "same"), "same", False),
        (("a:b", "same"), "other", True),
        (("a:b", "same"), None, False),
        (("a:b", ""), "other", False),
        ((None, "same"), "other", False),  # an exported model is the same everywhere
    ],
)
@pytest.mark.parametrize("answered", [False, True])
def test_a_worker_measures_the_model_that_was_sent(
    sent: tuple[str | None, str], here: str | None, refused: bool, answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recipe, digest), made = sent, units().model
    monkeypatch.setattr(module, "fingerprint", lambda *_: Fingerprint(here, ""))
    shipped: Any = SimpleNamespace(open=lambda: made, module=made.module, recipe=recipe)
    x = X[:1]
    job = ModelJob(
        model=shipped,
        digest=digest,
        samples=units().samples,
        settings=Settings(device="cpu"),
        look=Predicting(),
        versions=versions(),
        answered=(x, torch.zeros(1, 2)) if answered else None,
    )
    if refused:
        with pytest.raises(ConfigError, match="Expected a:b to build the model that is measured"):
            job.start("cpu")
        return
    station = job.start("cpu")
    evaluator = station._units.evaluator  # type: ignore[attr-defined]
    assert bool((evaluator.model.ask(x) == 0).all()) is answered
    assert not bool((evaluator.model.ask(x) == 0).all()), "an answer that is known is given once"
    station._blocks.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("declared", "gives", "queries", "asked"),
    [
        (False, Needs.GRADIENT, None, ((32, 8), (2, 96))),
        (True, Needs.GRADIENT, None, ((32, 8), (2, 96))),
        (False, Needs.SCORES, None, ((32, 8), (2, 96))),
        (True, Needs.SCORES, None, ((8, 1),)),  # an endpoint
        (True, Needs.LABELS, None, ((8, 1),)),
        (False, Needs.GRADIENT, 9, ((8, 1),)),  # a budget
    ],
)
def test_a_model_that_costs_is_asked_little_and_its_answer_is_not_asked_for_again(
    declared: bool, gives: Needs, queries: int | None, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Any] = []
    answer = X[:1], torch.zeros(1, 2)

    def listen(*_: Any, plan: Any, **__: Any) -> Any:
        plans.append(plan)
        return "notes", answer

    monkeypatch.setattr(module, "listen", listen)
    costs = asked == ((8, 1),)
    told: list[Any] = []

    def ask(hear: Any, marks: Any, *, hear_at: Any, costly: bool) -> None:
        told.extend([hear(False), hear(True), marks, costly])
        assert callable(hear_at)

    one = units()
    one.model = replace(one.model, gives=gives, max_queries=queries)
    with one.open(Settings(device="cpu")):
        one.ask(SimpleNamespace(self_declared=declared, ask=ask), one.load(torch.arange(6)), [b"a"])  # type: ignore[arg-type]
        assert told == ["notes", "notes", [b"a"], costs]
        assert plans == [((4, 1),), asked]
        assert (one.job().answered is not None) is costs
        assert bool((one.evaluator.model.ask(X[:1]) == 0).all()) is costs


@pytest.mark.parametrize(
    ("precision", "errors", "raised"),
    [("alone", 0, False), ("alone", 1, False), ("alone", 2, True), ("", 1, True), ("first", 1, True)],
)
def test_what_has_no_gradient_in_bfloat16_is_measured_anew_in_float32(
    precision: Any, errors: int, raised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    notes: list[str] = []

    def look(evaluator: Any, chunk: Any) -> Observation:
        seen.append(evaluator.low_precision)
        evaluator.health.count("weak_attack", failed=1, tried=1)
        if len(seen) <= errors:
            raise ModelError("not finite")
        return Observation({"held": torch.ones(6, dtype=torch.bool)}, [])

    one = units(look=look)
    with one.open(Settings(device="cpu")):
        chunk, evaluator = one.load(torch.arange(6)), one.evaluator
        one.look = Predicting()
        one.measure(chunk, first=True)
        one.look = look
        monkeypatch.setattr(evaluator, "note", notes.append)
        evaluator.low_precision, before = precision, evaluator.health.counts("weak_attack")[1]
        if raised:
            with pytest.raises(ModelError, match="not finite"):
                one._looked(evaluator, chunk, first=True)
        else:
            one._looked(evaluator, chunk, first=True)
            assert evaluator.health.counts("weak_attack")[1] == before + 1, "nothing of what was not finite counts"
    anew = precision == "alone" and errors > 0
    assert seen == [precision, *([""] if anew else [])]
    assert len(notes) == anew


def test_a_graph_is_made_of_the_first_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    examples: list[Any] = []

    def fingerprint(*_: Any, example: Any = None) -> Fingerprint:
        examples.append(example)
        return Fingerprint(None if example is None else "graph", "")

    monkeypatch.setattr(module, "fingerprint", fingerprint)
    one = units()
    assert one.fingerprint(Settings(device="cpu"), exported=True).digest == "graph"
    assert examples[0] is None
    assert torch.equal(examples[1], X[:1])
    assert len(examples) == 2
    decoding = replace(one, model=replace(one.model, decode=lambda x: x))
    assert decoding.fingerprint(Settings(device="cpu"), exported=True).digest is None
    assert examples[2:] == [None]
    for known, asked in (("meta", "cpu"), (None, "meta")):
        where = None if known is None else torch.device(known)
        placed = replace(one, model=replace(one.model, device=where))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ModelUnits, "device", lambda *_, asked=asked: torch.device(asked))
            placed.fingerprint(Settings(device="cpu"), exported=True)
        assert examples[-1].device.type == "meta", "the model's own device, or the one that is asked for"


def test_a_chunk_goes_to_the_device_once_and_integers_with_bounds_of_their_own_are_whole() -> None:
    one = units()
    with one.open(Settings(device="cpu")):
        chunk = one.load(torch.arange(3))
        there = one._there(chunk)
        assert one._there(chunk) is there
        assert not one.evaluator.model.whole
        other = one.load(torch.arange(3))
        assert one._there(other) is not there
        assert one._there(replace(chunk, bounds=(0.0, 9.0))).bounds == (0.0, 9.0)
        assert one.evaluator.model.whole


@pytest.mark.parametrize(("given", "room", "whole"), [({}, 0, False), ({"room": 3, "whole_inputs": True}, 3, True)])
def test_a_chunk_is_read_with_the_room_that_its_look_asks_for(
    given: dict[str, Any], room: int, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    real = module.read
    monkeypatch.setattr(module, "read", lambda *about, **how: asked.append(how) or real(*about, **how))

    def look(evaluator: Any, chunk: Any) -> Observation:
        raise AssertionError

    vars(look).update(given)
    one = units(look=look, bounds=(-1.0, 2.0))
    with one.open(Settings(device="cpu", seed=5)):
        one.load(torch.arange(3))
    how = {"bounds": (-1.0, 2.0), "seed": 5, "room": room, "whole": whole}
    assert asked == [{**how, "taken": None, "marked": False, "device": torch.device("cpu")}]


@pytest.mark.parametrize(
    ("gradients", "checks", "probes"), [(False, False, 0), (True, False, 1), (True, True, 0), (False, True, 0)]
)
def test_gradients_that_a_look_took_and_did_not_check_are_checked(
    gradients: bool, checks: bool, probes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[Any] = []
    monkeypatch.setattr(module, "probe_gradient", lambda *_, searched: probed.append(searched))

    def look(evaluator: Any, chunk: Any) -> Observation:
        evaluator.backward += gradients
        evaluator.probed = checks or evaluator.probed
        return Observation({"held": torch.ones(len(chunk.x), dtype=torch.bool)}, [])

    one = units(look=look)
    with one.open(Settings(device="cpu")):
        for times in (1, 2):
            one.measure(one.load(torch.arange(6)), first=times == 1)
            assert probed == [False] * probes * times


def test_what_was_not_finite_in_bfloat16_is_forgotten_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Any] = []

    def look(evaluator: Any, chunk: Any) -> Observation:
        held.append((evaluator.low_precision, evaluator._bad, list(evaluator._owed)))
        if len(held) == 1:
            evaluator._bad, evaluator._owed = "not finite", ["owed"]
            raise ModelError("not finite")
        return Observation({"held": torch.ones(len(chunk.x), dtype=torch.bool)}, [])

    one = units(look=look)
    with one.open(Settings(device="cpu")):
        monkeypatch.setattr(
            module, "choose_precision", lambda evaluator, *_: setattr(evaluator, "low_precision", "alone")
        )
        one.measure(one.load(torch.arange(6)), first=True)
    assert held == [("alone", None, []), ("", None, [])]
