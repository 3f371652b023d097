"""No worse than another model: the same samples and draws, counterexamples tried in both directions, pairs decided."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import (
    Classifier,
    ConfigError,
    Linf,
    ModelError,
    Regression,
    Result,
    Settings,
    Verdict,
    assert_robust_accuracy,
    clock,
    scores_model,
)
from robustest.attacks import Square
from robustest.context import Context, running
from robustest.decisions import BaselineRule, ScoreBaselineRule, ShareRule, Terms
from robustest.decisions.rule import Decision
from robustest.errors import ClaimFailed, NotSearched
from robustest.health import HEALTH_CHECKS
from robustest.measure import measure_accuracy, measure_robust_accuracy, measure_robust_score
from robustest.reports.text import failure_text
from robustest.run.plan import Setup
from robustest.store.corpus import Corpus

N, WIDTH, CLASSES = 120, 8, 3
THREAT = Linf(0.05)


def samples() -> tuple[Tensor, Tensor]:
    x = torch.rand(N, WIDTH, generator=torch.Generator().manual_seed(0))
    return x, net()(x).argmax(1)


def net(noise: float = 0.0, classes: int = CLASSES) -> nn.Linear:
    """The model that labels the samples, or a worse one."""
    generator = torch.Generator().manual_seed(1)
    made = nn.Linear(WIDTH, classes)
    with torch.no_grad():
        made.weight.copy_(torch.randn(classes, WIDTH, generator=generator))
        made.bias.copy_(-made.weight.sum(1) / 2)
        made.weight.add_(noise * torch.randn(classes, WIDTH, generator=generator))
    return made


def twin(model: nn.Linear) -> nn.Linear:
    """Another model of the same answers: its scores are larger by a tenth."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    return other


class Masked(nn.Module):
    """The same answers, without a gradient that leads anywhere."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.detach()) + 0 * x.sum(1, keepdim=True)


def scored(model: nn.Module) -> Classifier:
    """A model that gives its scores alone."""
    return scores_model(lambda x: model(torch.as_tensor(x)).detach().numpy())


def measured(model: object, other: object, **options: Any) -> Result:
    return measure_robust_accuracy(model, samples(), THREAT, no_worse_than=other, attack="fgsm", **options)


def about(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = dict(result.details["baseline"])
    return found


def test_a_worse_model_fails_and_a_better_one_passes() -> None:
    worse = measured(net(2.0), net())
    assert worse.verdict is Verdict.FAILED
    assert worse.rule.startswith("worse: fell by ")
    assert about(worse)["lost"] > about(worse)["gained"]
    assert about(worse)["drop_interval"][0] > 0
    better = measured(net(), net(2.0))
    assert better.verdict is Verdict.PASSED
    assert about(better)["lost"] == about(worse)["gained"]
    assert about(better)["gained"] == about(worse)["lost"]


@pytest.mark.parametrize("attack", ["fgsm", "fast", Square(queries=30)])
def test_a_model_is_no_worse_than_another_of_its_answers_and_against_itself_nothing_is_shown(attack: Any) -> None:
    model = net()

    def beside(other: nn.Module, *suppress: str) -> Result:
        off = ("weak_search", *suppress)
        found = measure_robust_accuracy(model, samples(), THREAT, no_worse_than=other, attack=attack, suppress=off)
        assert (about(found)["lost"], about(found)["gained"]) == (0, 0)
        return found

    assert beside(twin(model)).verdict is Verdict.PASSED
    for other in (model, copy.deepcopy(model)):
        found = beside(other)
        assert (found.verdict, found.rule) == (Verdict.INCONCLUSIVE, "health check: same_model")
        assert beside(other, "same_model").verdict is Verdict.PASSED
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_breaks_the_other_model_is_tried_on_this_one() -> None:
    """A model that masks its gradients is broken by the inputs that were found with the other's."""
    alone = measure_robust_accuracy(Masked(net()), samples(), THREAT, attack="fgsm")
    found = measured(Masked(net()), net())
    broken = sum(one is False for one in measured(net(), net()).outcomes)
    assert sum(one is False for one in alone.outcomes) == 0
    assert sum(one is False for one in found.outcomes) == broken > 20
    assert found.details["stages"]["other model"] == broken
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "zero_gradient" in found.rule
    assert found.counterexamples
    assert found.counterexamples[0].size == pytest.approx(0.05, abs=1e-6)


def test_what_breaks_this_model_is_tried_on_the_other_and_is_no_loss_where_it_breaks_both() -> None:
    """A reference that masks its gradients only seems to hold; its health checks keep the claim from passing."""
    found = measured(net(), Masked(net()))
    assert (about(found)["lost"], about(found)["gained"]) == (0, 0)
    assert about(found)["accuracy"] < 0.9
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "zero_gradient" in found.rule
    told = [one for one in found.details["health"] if one["name"] == "zero_gradient"]
    assert "(of the model in no_worse_than=)" in told[0]["message"]
    assert measured(net(), Masked(net()), suppress=tuple(HEALTH_CHECKS)).verdict is Verdict.PASSED


def test_a_real_loss_is_not_hidden_by_inputs_that_break_both() -> None:
    """What only this model loses stays lost, however many of its counterexamples break the other one."""
    reference = Masked(net())
    found = measured(net(2.0), reference, suppress=tuple(HEALTH_CHECKS))
    plain = measured(net(2.0), net())
    assert found.verdict is plain.verdict is Verdict.FAILED
    assert about(found)["lost"] >= about(plain)["lost"]


def test_scores_are_compared_and_tried_in_both_directions() -> None:
    x, _ = samples()
    model = nn.Linear(WIDTH, 1)
    y = model(x).detach() + 0.1

    def score(one: nn.Module, other: nn.Module, **options: Any) -> Result:
        task = Regression(0.5)
        return measure_robust_score(one, (x, y), THREAT, task=task, attack="fgsm", no_worse_than=other, **options)

    off = tuple(HEALTH_CHECKS)
    lower = copy.deepcopy(model)
    lower.bias.data -= 1e-3
    plain = score(model, lower)  # the targets lie above both
    assert plain.verdict is Verdict.PASSED
    assert score(model, copy.deepcopy(model)).rule == "health check: same_model"
    assert about(plain)["of"] == "mean score"
    for first, second in ((Masked(model), model), (model, Masked(model))):
        assert about(score(first, second))["drop"] == pytest.approx(0, abs=1e-6)
        assert score(first, second).verdict is Verdict.INCONCLUSIVE
        assert score(first, second, suppress=off).verdict is Verdict.PASSED
    worse = copy.deepcopy(model)
    worse.weight.data *= 3
    assert score(worse, model).verdict is Verdict.FAILED


def test_both_models_are_searched_alike() -> None:
    """A search with gradients on one side alone would be a stronger one there."""
    setup = Setup.of(net(), samples(), {})
    units: Any = setup.plan("", lambda *_: None, ShareRule(threshold=None, at_least=True, terms=setup.terms)).units
    scores = replace(scored(net()), max_queries=50)
    for own, other in ((units, scores), (replace(units, model=scores), net())):
        first, second = own.beside(other, has_threshold=False)
        assert first.model.gives is second.model.gives is scores.gives
        assert first.model.max_queries == second.model.max_queries == 50


def test_a_threshold_is_not_measured_by_a_weaker_search() -> None:
    with pytest.raises(ConfigError, match="weaken the search that the threshold rests on"):
        measure_robust_accuracy(net(), samples(), THREAT, at_least=0.1, no_worse_than=scored(net()))
    assert measure_accuracy(net(), samples(), at_least=0.9, no_worse_than=scored(twin(net()))).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: Classifier(call=net(), bounds=(0.0, 2.0)), r"take inputs in \(0.0, 1.0\)"),
        (lambda: net(classes=CLASSES + 1), "to have 3 classes, as the model has, but got 4"),
        (lambda: 7, "the path of a baseline file, or another model"),
        (lambda: "model.onnx", "robustest-onnx"),
        (lambda: "https://example.org/model", "robustest-http"),
        (lambda: Classifier(call=net(), reset=lambda: None), "adapts to what it is shown"),
    ],
)
def test_models_that_do_not_go_together_are_refused(other: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        measured(net(), other())


def test_classes_in_another_order_are_refused() -> None:
    own, other = (Classifier(call=net(), labels=labels) for labels in (("a", "b", "c"), ("b", "a", "c")))
    alike = Classifier(call=twin(net()), labels=own.labels)
    x, y = samples()
    data = x, np.array(["a", "b", "c"])[y.numpy()]
    assert measure_accuracy(own, data, no_worse_than=alike).verdict is Verdict.PASSED
    with pytest.raises(ConfigError, match="in their order"):
        measure_accuracy(own, data, no_worse_than=other)


def test_a_model_that_does_not_answer_twice_alike_is_refused() -> None:
    class Moody(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net()(x) + torch.randn(len(x), CLASSES)

    with pytest.raises(ModelError):
        measured(net(), Moody())


def test_bounds_and_preprocessing_of_the_call_are_of_both_models() -> None:
    x, y = samples()
    given = {"bounds": (0.0, 255.0), "preprocessing": lambda batch: batch / 255}
    found = measure_robust_accuracy(net(), (255 * x, y), Linf(255 * 0.05), attack="fgsm", no_worse_than=net(), **given)
    assert about(found)["accuracy"] == about(measured(net(), net()))["accuracy"]


def test_budgets_leave_it_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    few = measured(net(), net(), max_samples=50)
    assert few.verdict is Verdict.INCONCLUSIVE
    assert "the baseline needs every sample" in few.rule
    assert "lost" not in about(few)

    now = [0.0]  # seconds pass in the slow model alone, on any machine
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0]))

    def slow(x: Tensor) -> Tensor:
        now[0] += 0.4
        return net()(x)

    found = measure_accuracy(net(), samples(), no_worse_than=slow, time_budget=0.5)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the other model was not asked about every sample" in found.rule
    failed = measure_accuracy(net(0.9), samples(), at_least=0.99, exact=True, no_worse_than=slow, time_budget=0.5)
    assert failed.verdict is Verdict.FAILED


def test_a_number_that_fails_needs_no_other_model() -> None:
    def never(x: Tensor) -> Tensor:
        raise AssertionError

    found = measure_accuracy(net(0.9), samples(), at_least=0.99, no_worse_than=never)
    assert found.verdict is Verdict.FAILED
    assert "lost" not in about(found)


def test_of_a_population_the_whole_interval_must_be_tolerated() -> None:
    narrow = measured(net(), net(), scope="population")
    assert narrow.verdict is Verdict.INCONCLUSIVE
    assert narrow.rule.startswith("not decided: fell by 0.0000 [-0.0377, 0.0377], tolerance 0 (population; ")
    assert measured(net(), twin(net()), scope="population", tolerance=0.1).verdict is Verdict.PASSED


def test_a_model_that_never_holds_cannot_be_compared_with() -> None:
    hopeless = net()
    hopeless.weight.data *= -1
    hopeless.bias.data *= -1
    for options in ({}, {"tolerance": 0.5}):
        found = measure_accuracy(net(), samples(), no_worse_than=hopeless, **options)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert "no loss could exceed the tolerance" in found.rule
    assert measured(net(), net(), tolerance=0.95).verdict is Verdict.INCONCLUSIVE


def test_what_is_remembered_of_both_models_is_compared_alike(tmp_path: Path) -> None:
    settings = Settings(store=str(tmp_path / "store"), cache=True)
    found = []
    for _ in range(2):
        with running(Context(settings=settings, test="t.py::t")):
            found.append(measured(Masked(net()), net(), recheck=0.0))
    first, second = found
    assert not first.evidence.cached
    assert second.evidence.cached
    assert second.cost.forward == first.cost.forward
    assert about(second) == about(first)
    assert second.outcomes == first.outcomes
    assert about(first)["model"].startswith("Linear ")
    assert len(about(first)["model"].split()[1]) == 12
    with running(Context(settings=settings, test="t.py::t")):  # nor is one of another reference taken for it
        assert about(measured(Masked(net()), net(2.0), recheck=0.0)) != about(first)


def test_chunks_that_were_remembered_without_their_counterexamples_are_not_taken(tmp_path: Path) -> None:
    with running(Context(settings=Settings(store=str(tmp_path), cache=True), test="t.py::t")):
        measure_robust_accuracy(net(), samples(), THREAT, attack="fgsm", recheck=0.0)
        found = measured(net(), Masked(net()), recheck=0.0)
    assert (about(found)["lost"], about(found)["gained"]) == (0, 0)


def test_the_corpus_keeps_what_breaks_this_model_and_not_the_other(tmp_path: Path) -> None:
    def kept(model: object, other: object) -> list[int]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with running(Context(settings=Settings(corpus=str(folder)), test="t.py::t")):
            found = measured(model, other)
        assert found.numbers.n == N
        listed = Corpus(folder, 20.0).listing()
        return [one.samples for one in listed]

    assert kept(net(), net(2.0)) == kept(net(), None)


def test_counterexamples_of_earlier_runs_are_tried_on_both(tmp_path: Path) -> None:
    settings = Settings(corpus=str(tmp_path))
    with running(Context(settings=settings, test="t.py::t")):
        measure_robust_accuracy(net(), samples(), THREAT, attack="fgsm")
        found = measured(net(), Masked(net()))
        assert (about(found)["lost"], about(found)["gained"]) == (0, 0)
        assert found.evidence.replayed > 0
        # What is known of this model is not known of the other one, which may hold there: that would hide a loss.
        weak = net(2.0)
        fresh = about(measured(weak, net()))
        measure_robust_accuracy(weak, samples(), THREAT, attack="fgsm")
        known = measured(weak, net())
        assert known.evidence.replayed > 0
        assert about(known)["lost"] == fresh["lost"] > 0
    with (
        running(Context(settings=replace(settings, replay_only=True), test="t.py::t")),
        pytest.raises((ConfigError, NotSearched), match="replay"),
    ):
        measured(net(), net())


def test_a_baseline_that_is_being_made_is_no_matter() -> None:
    with running(Context(settings=Settings(update_baseline=True), test="t.py::t")):
        found = measured(net(2.0), net())
    assert found.verdict is Verdict.FAILED
    assert "update" not in about(found)


def test_a_proof_that_the_other_models_counterexample_breaks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustest.engine import proving

    def all_proven(evaluator: Any, chunk: Any, threat: Any, held: Tensor, margin: Tensor) -> Any:
        return proving.Proven(held.clone())

    monkeypatch.setattr(proving, "prove_rows", all_proven)
    with pytest.raises(ModelError, match="both proven and broken"):
        measured(Masked(net()), net(), certify="auto")


def test_a_counterexample_of_the_other_model_may_break_what_no_bound_proves(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustest.engine import proving

    def none_proven(evaluator: Any, chunk: Any, threat: Any, held: Tensor, margin: Tensor) -> Any:
        return proving.Proven(torch.zeros_like(held))

    plain = measured(Masked(net()), net())
    monkeypatch.setattr(proving, "prove_rows", none_proven)
    found = measured(Masked(net()), net(), certify="auto")
    assert (about(found)["lost"], found.estimate) == (about(plain)["lost"], plain.estimate)


def test_a_proof_of_the_number_proves_nothing_of_the_loss() -> None:
    """A health check that speaks of the search stops the comparison, though enough samples are proven to hold."""
    terms = Terms(scope="set", alpha=0.01, fail_alpha=0.01)

    class Sure:
        def settle(self, columns: Any, n: int) -> None:
            return None

        def decide(self, columns: Any, n: int, settled: Any) -> Decision:
            return Decision(verdict=Verdict.PASSED, rule="proven", estimate=1.0, interval=(1.0, 1.0), proven=True)

        def doomed(self, broken: int, n: int) -> bool:
            return False

    held = np.ones(10, dtype=bool)
    seen = {"held": held, "proven": held, "id": np.arange(10)}
    common: dict[str, Any] = {"other": Sure(), "has_threshold": True, "tolerance": 0.0, "terms": terms, "before": held}
    assert not BaselineRule(**common).decide(seen, 10, None).proven
    assert BaselineRule(**common, columns=("proven",)).decide(seen, 10, None).proven


@pytest.mark.parametrize("kind", [BaselineRule, ScoreBaselineRule])
def test_without_every_outcome_of_the_other_model_nothing_passes(kind: Any) -> None:
    terms = Terms(scope="set", alpha=0.01, fail_alpha=0.01)
    scored = {} if kind is BaselineRule else {"seed": 0}
    held = np.ones(4, dtype=bool)
    for threshold, share, verdict in ((None, 1.0, "inconclusive"), (0.5, 1.0, "inconclusive"), (0.5, 0.0, "failed")):
        rule = kind(
            other=ShareRule(threshold=threshold, at_least=True, terms=terms),
            has_threshold=threshold is not None,
            before=np.empty(0),
            tolerance=0.0,
            terms=terms,
            **scored,
        )
        columns = {"held": held if share else ~held, "score": held.astype(float), "id": np.arange(4)}
        found = rule.decide(columns, 4, None)
        assert found.verdict == verdict
        assert ("was not asked about every sample" in found.rule) == (verdict == "inconclusive")


def test_reports_say_which_model_it_was() -> None:
    assert "the model Linear" in failure_text(measured(net(2.0), net()), replay="")
    with pytest.raises(ClaimFailed, match="the model Linear"):
        assert_robust_accuracy(net(2.0), samples(), THREAT, no_worse_than=net(), attack="fgsm")
