"""Texts and bytes as data: lists, columns and data sets, models and shifts of a list, memory without padding."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from robustest import ConfigError, DataError, ModelError, Settings, StoreError, Verdict, scores_model
from robustest.account import Row
from robustest.claims.datasets import accuracy_plan
from robustest.context import Context, running
from robustest.data import as_samples
from robustest.data.coding import Coding
from robustest.data.samples import are_strings
from robustest.data.strings import Strings
from robustest.decisions import ShareRule
from robustest.engine.chunks import load
from robustest.measure import (
    measure_accuracy,
    measure_calibrated,
    measure_selective_accuracy,
    measure_shift_accuracy,
    measure_worst_group_accuracy,
)
from robustest.models import Needs, as_classifier
from robustest.pytest_plugin.reports import update_baselines
from robustest.reports.text import failure_text
from robustest.run.memory import WATCHED, listen
from robustest.run.plan import Setup
from robustest.run.units import ModelUnits
from robustest.run.workers import Work

pandas = pytest.importorskip("pandas")

WORDS = ("dreadful", "boring", "lovely", "superb")
TEXTS = [f"a {WORDS[k % 4]} film, no {k}" for k in range(80)]
LABELS = [k % 4 // 2 for k in range(80)]


def good(texts: list[str]) -> np.ndarray[Any, Any]:
    """Two scores a text: the words that speak for each class."""
    assert all(type(text) is str for text in texts)
    return np.array([[sum(w in t for w in WORDS[:2]) - 0.5, sum(w in t for w in WORDS[2:])] for t in texts])


def shout(texts: list[str]) -> list[str]:
    return [text.upper() for text in texts]


@example(["\ud800a", "\udfff\U0010ffff\0"], 3)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=5), st.integers(0, 5))
def test_texts_come_back_whatever_their_padding(texts: list[str], room: int) -> None:
    coding = Strings("str")
    x = coding.encode(texts)
    wider = coding.padded(x, room)
    assert coding.decode(x) == coding.decode(wider.float()) == texts
    assert coding.identities(x) == coding.identities(wider)
    assert json.dumps(coding.changes(x[0], x[-1])).encode("utf-8")
    assert isinstance(coding, Coding)


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=4))
def test_bytes_come_back_and_are_no_texts(rows: list[bytes]) -> None:
    coding = Strings("bytes")
    assert coding.decode(coding.encode(rows)) == rows
    assert coding.identities(coding.encode([b"a"])) != Strings("str").identities(Strings("str").encode(["a"]))


def parts(kind: str, before: Any, after: Any) -> list[list[str]]:
    coding = Strings(kind)
    x = coding.encode([before, after])
    return [list(part) for part in coding.changes(x[0], x[1])["diff"]]


def test_a_diff_has_every_change_and_the_text_beside_it() -> None:
    assert parts("str", "the cat sat", "the bat sats") == [
        ["=", "the "],
        ["-", "c"],
        ["+", "b"],
        ["=", "at sat"],
        ["+", "s"],
    ]
    long = "x" * 1000
    shown = parts("str", long + "a" + long, long + "b" + long)
    assert [mark for mark, _ in shown] == ["=", "-", "+", "="]
    assert sum(len(part) for _, part in shown) < 200
    assert parts("str", "same", "same") == [["=", "same"]]
    assert parts("str", "a dull film", "A DULL FILM") == [["-", "a dull film"], ["+", "A DULL FILM"]]
    assert parts("bytes", b"MZ\x00\\", b"MZ\xff\\") == [["=", "MZ"], ["-", "\\x00"], ["+", "\\xff"], ["=", "\\x5c"]]
    assert parts("str", "a", "a\ud800") == [["=", "a"], ["+", "\\ud800"]]


class Rows:
    """A data set as Hugging Face's, which says what its columns hold."""

    features: ClassVar[dict[str, Any]] = {
        "text": SimpleNamespace(dtype="string"),
        "label": SimpleNamespace(dtype="int64"),
    }

    def __len__(self) -> int:
        return len(TEXTS)

    def __getitem__(self, at: int) -> dict[str, Any]:
        return {"text": TEXTS[at], "label": LABELS[at]}


FORMS = {
    "rows": Rows(),
    "lists": (TEXTS, LABELS),
    "arrays": (np.array(TEXTS), np.array(LABELS)),
    "objects": (np.array(TEXTS, dtype=object), torch.tensor(LABELS)),
    "columns": (pandas.Series(TEXTS, index=range(7, 87)), pandas.Series(LABELS)),
    "pairs": list(zip(TEXTS, LABELS, strict=True)),
    "dicts": [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_texts_is_the_same_data(form: str) -> None:
    result = measure_accuracy(good, FORMS[form], at_least=1.0, exact=True)
    assert result.verdict is Verdict.PASSED
    assert result.evidence.data == measure_accuracy(good, (TEXTS, LABELS), exact=True).evidence.data


def test_other_texts_and_other_labels_are_other_data() -> None:
    kinds = [
        (TEXTS, LABELS),
        ([*TEXTS[:-1], TEXTS[-1] + " "], LABELS),
        ([*TEXTS[:-1], TEXTS[-1] + "\0"], LABELS),
        (TEXTS, [*LABELS[:-1], 0]),
    ]
    assert len({measure_accuracy(good, data, exact=True).evidence.data for data in kinds}) == len(kinds)


def test_a_longer_text_in_the_data_changes_no_digest_of_the_others() -> None:
    short, long = as_samples((TEXTS, LABELS)), as_samples(([*TEXTS, "y" * 500], [*LABELS, 0]))
    ids, marks, notes = torch.arange(20), [], []
    for samples in (short, long):
        setup = Setup.of(good, samples, {})
        units = ModelUnits(model=setup.model, samples=samples, look=None)  # type: ignore[arg-type]
        chunk = load(samples, ids, bounds=(0.0, 1.0), seed=0, device=torch.device("cpu"), whole=True)
        marks.append(units.digests(chunk))

        def look(evaluator: Any, chunk: Any) -> None:
            evaluator.logits(chunk.x)

        model = replace(setup.model, whole=True)
        notes.append(listen(model, look, chunk, Settings(), task=setup.task, plan=WATCHED)[0])  # type: ignore[arg-type]
    assert marks[0] == marks[1]
    assert notes[0] is not None
    assert notes[0] == notes[1]


def test_a_second_run_recalls_the_chunks_of_texts(tmp_path: Path) -> None:
    asked = []

    def counted(texts: list[str]) -> Any:
        asked.append(len(texts))
        return good(texts)

    counted.robustest_fingerprint = lambda: "one model"  # type: ignore[attr-defined]
    settings = Settings(store=str(tmp_path), recheck=0.0, exact=True)
    with running(Context(settings=settings, test="t.py::t")):
        first = measure_shift_accuracy(counted, (TEXTS, LABELS), shout, at_least=0.9)
        cost = sum(asked)
        again = measure_shift_accuracy(counted, (TEXTS, LABELS), shout, at_least=0.9)
    assert again.evidence.cached
    assert not first.evidence.cached
    assert sum(asked) - cost < cost
    assert again.counterexamples == first.counterexamples
    assert again.counterexamples[0].changes


def test_a_baseline_of_texts_is_of_these_texts(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"

    def compared(model: Any, texts: list[str], **settings: Any) -> Any:
        with running(Context(settings=Settings(exact=True, **settings), test="t.py::t")):
            return measure_accuracy(model, (texts, LABELS), no_worse_than=file)

    made = compared(good, TEXTS, update_baseline=True)
    assert update_baselines([Row(test="", result=made, problem="", replay="")]) == []
    assert compared(good, TEXTS).verdict is Verdict.PASSED
    assert compared(lambda texts: good(texts)[:, ::-1], TEXTS).verdict is Verdict.FAILED
    with pytest.raises(StoreError, match="samples that the baseline"):
        compared(good, [*TEXTS[:-1], TEXTS[-1] + "!"])


def test_a_job_with_texts_travels_to_a_worker() -> None:
    setup = Setup.of(good, (TEXTS, LABELS), {})
    plan = accuracy_plan(setup, "accuracy", ShareRule(threshold=None, at_least=True, terms=setup.alone))
    with plan.units.open(setup.settings):
        job = pickle.loads(pickle.dumps(plan.units.job()))  # noqa: S301 - made here
        own = plan.units.load(torch.arange(20))
        marks = plan.units.digests(own)
    done = job.start("cpu")(Work(0, torch.arange(20)))
    assert done.error is None
    assert done.marks == marks
    assert done.observation.columns["held"].all()


def test_a_function_shifts_the_users_own_format_and_the_result_shows_a_diff() -> None:
    result = measure_shift_accuracy(good, (TEXTS, LABELS), shout, at_least=0.9)
    assert result.verdict is Verdict.FAILED
    worst = result.counterexamples[0]
    assert worst.changes is not None
    shown = dict(worst.changes["diff"])
    assert shown["-"].islower()
    assert shown["+"].isupper()
    assert f"[-{shown['-']}-]{{+{shown['+']}+}}" in failure_text(result, replay="")


def test_a_shift_that_changes_nothing_or_returns_something_else_does_not_pass() -> None:
    still = measure_shift_accuracy(good, (TEXTS, LABELS), lambda texts: [*texts], at_least=0.9)
    assert still.verdict is Verdict.INCONCLUSIVE
    assert still.ruling.reasons == ("unchanged",)
    for wrong, words in ((lambda t: t[:-1], "64 samples"), (lambda t: [b"x"] * len(t), "texts"), (len, "texts")):
        with pytest.raises(ModelError, match=words):
            measure_shift_accuracy(good, (TEXTS, LABELS), wrong, at_least=0.9)
    with pytest.raises(ConfigError, match="Images alone"):
        measure_shift_accuracy(good, (TEXTS, LABELS), "fog", at_least=0.9)


def test_a_model_of_a_list_gives_scores_and_no_gradient() -> None:
    for model in (good, scores_model(good), as_classifier(good)):  # type: ignore[arg-type]
        setup = Setup.of(model, (TEXTS, LABELS), {})
        assert setup.model.gives is Needs.SCORES
        assert measure_accuracy(model, (TEXTS, LABELS), at_least=1.0).verdict is Verdict.PASSED
    groups = measure_worst_group_accuracy(good, (TEXTS, LABELS), LABELS, at_least=0.9, min_group_size=1)
    assert groups.verdict is Verdict.PASSED
    beside = measure_accuracy(good, (TEXTS, LABELS), no_worse_than=lambda texts: good(texts) * 2, exact=True)
    assert beside.verdict is Verdict.PASSED


def test_a_single_text_and_empty_texts_are_measured() -> None:
    single = measure_accuracy(good, (["a lovely film"], [1]), at_least=1.0)
    assert (single.estimate, single.rule) == (1.0, "health check: constant_answer")
    assert measure_accuracy(good, (["", "lovely", WORDS[0]], [1, 1, 0]), at_least=1.0).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ((TEXTS, LABELS[1:]), DataError, "as many labels"),
        (([*TEXTS[:-1], 5], LABELS), DataError, "str for each sample but got 'int for sample 79'"),
        (([*TEXTS[:-1], b"x"], LABELS), DataError, "str for each sample but got 'bytes for sample 79'"),
        ([("a", 0), (b"b", 1), ("c", 0)], DataError, "a text for each sample"),
        ((TEXTS, ["x"] * 80), DataError, "labels as integers"),
    ],
)
def test_what_is_wrong_with_the_data_is_said(data: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        measure_accuracy(good, data, at_least=0.5)


def test_confidence_in_texts() -> None:
    logits = scores_model(lambda texts: 3 * good(texts))  # type: ignore[arg-type, operator]
    calibrated = measure_calibrated(logits, (TEXTS, LABELS), max_brier=0.4)
    assert calibrated.verdict is Verdict.PASSED
    chosen = measure_selective_accuracy(logits, (TEXTS, LABELS), coverage=0.5, at_least=0.9)
    assert chosen.verdict is Verdict.PASSED


def test_bounds_and_preprocessing_are_of_tensors() -> None:
    with pytest.raises(ConfigError, match="no bounds"):
        measure_accuracy(good, (TEXTS, LABELS), bounds=(0, 255))
    with pytest.raises(ConfigError, match="no preprocessing"):
        measure_accuracy(good, (TEXTS, LABELS), preprocessing=lambda x: x)


def test_lists_of_other_things_are_no_texts() -> None:
    for values in ([], [1, 2], ["a", 1], "text", {"a": 1}, np.zeros(3), np.array([["a"]]), None):
        assert not are_strings(values)


def test_names_of_classes_label_texts() -> None:
    names = ["bad", "good"]
    data = (TEXTS, [names[label] for label in LABELS])
    assert measure_accuracy(good, data, at_least=1.0, classes=names).verdict is Verdict.PASSED
