"""Guards of plans: which threats fit which samples, which options are passed on, and what a plan may not store."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustest import ConfigError, Linf, Settings, scores_model
from robustest.claims.datasets import Predicting
from robustest.data import Waveforms, as_samples
from robustest.decisions import ShareRule, Terms
from robustest.models import Needs, as_classifier
from robustest.run.options import Options
from robustest.run.plan import Setup, adapt_detector, apply
from robustest.tasks import CLASSIFICATION, AdaptedCall, AdaptedModule, Segmentation
from robustest.threats import Append, Columns, Edits, Spatial, Within


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.one * x.flatten(1)[:, :2]


Y = torch.tensor([0, 1])
DATA = {
    "images": as_samples((torch.rand(2, 1, 2, 2), Y)),
    "texts": as_samples((["abc", "bcd"], Y)),
    "bytes": as_samples(([b"abc", b"bcd"], Y)),
    "table": as_samples((torch.rand(2, 3), Y)),
}


def setup(data: str = "images", task: Any = CLASSIFICATION, **fields: Any) -> Setup:
    return Setup(as_classifier(Net()), DATA[data], Settings(), task, **fields)


@pytest.mark.parametrize(
    ("data", "task", "threat", "words"),
    [
        ("images", CLASSIFICATION, Linf(0.1), None),
        ("images", CLASSIFICATION, Spatial(), None),
        ("images", Segmentation(classes=2), Spatial(), "a threat that does not move the image"),
        ("images", Segmentation(classes=2), Linf(0.1), None),
        ("images", CLASSIFICATION, Edits(1), "texts or bytes for"),
        ("images", CLASSIFICATION, Append(1), "texts or bytes for"),
        ("texts", CLASSIFICATION, Edits(1), None),
        ("texts", CLASSIFICATION, Linf(0.1), "a threat of texts: Edits, Append or Insert"),
        ("texts", CLASSIFICATION, Edits(1, alphabet="é€"), None),
        ("bytes", CLASSIFICATION, Edits(1), None),
        ("bytes", CLASSIFICATION, Edits(1, alphabet="€"), "characters below 256 and no words"),
        ("images", CLASSIFICATION, Columns({0: Within(-0.1, 0.1)}), "of a table for"),
        ("table", CLASSIFICATION, Linf(0.1), None),
    ],
)
def test_a_threat_is_one_of_such_samples(data: str, task: Any, threat: Any, words: str | None) -> None:
    one = setup(data, task)
    if words is None:
        assert one.resolve(threat) is threat
    else:
        with pytest.raises(ConfigError, match=words):
            one.resolve(threat)


def test_texts_are_looked_at_for_words_in_places_spread_over_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, given = [], []  # type: ignore[var-annotated]
    monkeypatch.setattr(Append, "with_words_of", lambda _, x, labels: given.append((x, labels)) or "resolved")
    for n, places in ((3, [0, 1, 2]), (1, [0]), (1023, [])):

        def take(at: Tensor) -> tuple[Tensor, Tensor]:
            taken.append(at.tolist())
            return torch.zeros(len(at), 3, dtype=torch.int64), torch.ones(len(at), dtype=torch.int64)

        class Samples(SimpleNamespace):
            def __len__(self, n: int = n) -> int:
                return n

        samples: Any = Samples(coding=DATA["texts"].coding, take=take)
        assert setup().on(samples).resolve(Append(1)) == "resolved"
        assert len(taken[-1]) == min(n, 512)
        assert (taken[-1][0], taken[-1][-1]) == (0, n - 1)
        assert n > 512 or taken[-1] == places
        assert given[-1][1] == [1] * len(taken[-1])
    assert replace(setup("texts"), task=Segmentation(classes=2)).resolve(Append(1)) == "resolved"
    assert given[-1][1] == [0, 0]


def test_columns_are_resolved_by_their_places_and_ranges() -> None:
    named: Any = setup("table", columns=("a", "b", "c")).resolve(Columns({"b": Within(-0.1, 0.1)}))
    placed: Any = setup("table").resolve(Columns({1: Within(-0.1, 0.1)}))
    assert [one.layout.spots.tolist() for one in (named, placed)] == [[[1]], [[1]]]
    assert [one.layout.names for one in (named, placed)] == [("b",), ("1",)]


def test_a_model_s_thresholds_are_used_for_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustest.run import plan as module

    asked: list[Any] = []
    monkeypatch.setattr(module, "cells_of", lambda *given, **_: asked.append(given) and None)
    threat, one = Columns({1: Within(-0.1, 0.1)}), setup("table")
    trees = replace(one, model=replace(one.model, estimator=object()))
    for made, other, times in (
        (one, None, 0),
        (trees, None, 1),
        (trees, "baseline.json", 1),
        (trees, Net(), 0),
        (replace(trees, model=replace(trees.model, preprocessing=lambda x: x)), None, 0),
    ):
        asked.clear()
        made.resolve(threat, other)
        assert len(asked) == times


def test_thresholds_are_looked_for_in_the_format_that_the_model_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustest.run import plan as module

    asked: list[Any] = []
    monkeypatch.setattr(module, "cells_of", lambda *given: asked.append(given))
    frame = pd.DataFrame({"b": ["x", "y", "x"], "a": [0.1, 2.5, 4.5], "w": [3, 5, 9]})
    frames = as_samples((frame, torch.tensor([0, 1, 0])))
    one = replace(setup("table"), samples=frames)
    one = replace(one, model=replace(one.model, estimator=object()), columns=("b", "a", "w"))
    coding: Any = frames.coding
    at = coding.names.index("a")
    one.resolve(Columns({"a": Within(-0.1, 0.1)}))
    _, rows, movable, given = asked[0]
    assert [column for column, _, _ in movable] == [at]
    x = frames.take(torch.arange(3))[0]
    assert torch.equal(torch.from_numpy(rows), x[:2])
    assert given is coding
    plain = replace(setup("table"), samples=as_samples((torch.rand(1, 3), Y[:1])))
    replace(plain, model=replace(plain.model, estimator=object())).resolve(Columns({1: Within(-0.1, 0.1)}))
    assert (asked[-1][1].shape, asked[-1][3]) == ((1, 3), None)


def test_options_are_those_of_the_settings_and_of_the_model() -> None:
    classifier, settings = apply(Net(), {"classes": ["a", "b"], "bounds": (0.0, 2.0), "seed": 4})
    assert (classifier.classes, classifier.bounds, settings.seed) == (("a", "b"), (0.0, 2.0), 4)
    for names in ("ab", 3, ["a", 1]):
        with pytest.raises(ConfigError, match="classes to be a list of names"):
            apply(Net(), {"classes": names})  # type: ignore[typeddict-item]
    for option in ("attack", "attempts", "store", "colour"):
        with pytest.raises(Exception, match=option):
            apply(Net(), {option: "x"})  # type: ignore[misc]
    assert apply(Net(), {})[1] == Settings()


@pytest.mark.parametrize(
    ("options", "own", "bounds"),
    [
        ({}, (0.0, 1.0), (-1.0, 1.0)),
        ({"bounds": (0.0, 1.0)}, (0.0, 1.0), (0.0, 1.0)),
        ({}, (0.0, 2.0), (0.0, 2.0)),
    ],
)
def test_sounds_swing_around_zero_unless_somebody_says_otherwise(
    options: Options, own: Any, bounds: tuple[float, float]
) -> None:
    model = replace(as_classifier(Net()), bounds=own)
    waves = Waveforms((torch.rand(2, 8) - 0.5, Y), sample_rate=8000)
    made = Setup.of(model, waves, options)
    assert made.model.bounds == bounds
    assert made.classifier_of is not None
    assert made.classifier_of(model).bounds == bounds


@pytest.mark.parametrize(("reset", "here"), [(None, False), (None, True), (lambda: None, False)])
def test_a_model_that_adapts_is_measured_here_and_stored_nowhere(reset: Any, here: bool) -> None:
    one = setup()
    one = replace(one, model=replace(one.model, reset=reset))
    rule = ShareRule(threshold=0.5, at_least=True, terms=one.terms)
    made = one.plan("s", Predicting(), rule, identity="x", here=here, adapts=True)
    assert (made.identity, made.here) == ("x" if reset is None else None, here or reset is not None)
    assert made.rule is rule
    plain = one.plan("s", Predicting(), rule, adapts=True)
    assert (plain.identity, plain.here, plain.units.replay) == (None, reset is not None, None)
    if reset is not None:
        with pytest.raises(ConfigError, match="answers alike each time"):
            one.plan("s", Predicting(), rule)


def test_terms_of_a_number_that_no_test_claims_share_nothing() -> None:
    one = replace(setup(), settings=Settings(alpha=0.02, family_size=50, pictures="p"))
    assert (one.alone.alpha, one.alone.fail_alpha, one.alone.scope) == (0.02, 0.02, "set")
    assert one.terms == Terms.of(one.settings)
    assert one.terms.fail_alpha == pytest.approx(0.02 / 50)
    assert one.unpictured().settings == replace(one.settings, pictures=None)
    assert one.but(seed=3).settings.seed == 3


class Adapter:
    """Rows of a detector, with or without a gradient."""

    def __init__(self, *, gradient: bool) -> None:
        self.gradient, self.checked = gradient, []  # type: ignore[var-annotated]

    def check(self, call: Any, confidence: float) -> None:
        self.checked.append(confidence)


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("recipe", ["a:b", None])
@pytest.mark.parametrize("own", [True, False])
def test_a_detector_is_adapted_with_its_recipe(gradient: bool, recipe: Any, own: bool) -> None:
    adapter = Adapter(gradient=gradient)
    # Answers of low confidence count in an average precision.
    score_by, checked = ("f1", 0.25) if own else ("ap", 1.0)
    task: Any = SimpleNamespace(adapter=adapter, least=0.25, score_by=score_by)
    model = replace(as_classifier(Net()), recipe=recipe)
    if not own:
        model = replace(model, call=lambda x: x)
    made = adapt_detector(model, task)
    assert adapter.checked == [checked]
    assert made.gives is (model.gives if gradient else Needs.SCORES)
    assert (made.module is made.call) is own
    if own:
        assert isinstance(made.module, AdaptedModule)
        assert (made.recipe is None) is (recipe is None)
    else:
        assert isinstance(made.call, AdaptedCall)
        assert made.module is model.module


@pytest.mark.parametrize("kind", [tuple, list])
def test_columns_have_the_names_of_the_frame(kind: Any) -> None:
    frame = pd.DataFrame({"b": [0.5, 1.5], "a": [1.0, 2.0]})
    model = scores_model(lambda given: np.zeros((len(given), 2)))
    assert Setup.of(model, kind((frame, Y)), {}).columns == ("b", "a")
    assert Setup.of(model, kind((frame.to_numpy(np.float32), Y)), {"bounds": (0.0, 2.0)}).columns == ()
