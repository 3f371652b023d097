"""What a model says of samples that show several objects: by hand, by number of objects, and what must not be green."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from robustest_people import assert_multilabel_accuracy
from robustest_people.measure import measure_multilabel_accuracy
from torch import Tensor, nn

from robustest import ClaimFailed, ConfigError, DataError, ModelError, Result, Settings, Verdict
from robustest.context import Context, running
from robustest.data.groups import LabelSets
from robustest.reports.text import measured

N, K = 200, 4
AT = torch.arange(N)
SETS = torch.zeros(N, K, dtype=torch.bool)
SETS[AT, AT % K] = True
SETS[AT[::5], (AT[::5] + 1) % K] = True  # 40 samples of two objects
# Images that are equal to the bit would count as one draw from a population.
X = SETS.float().view(N, 1, 2, 2) * 0.8 + 0.1 + torch.linspace(0, 0.01, N).view(N, 1, 1, 1)


class Logits(nn.Module):
    """The pixels less a half, or whatever is made of them."""

    def __init__(self, change: Any = lambda z: z) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.change(x.flatten(1) - 0.5)
        return out


def only_first(z: Tensor) -> Tensor:
    """A model that never finds a second object."""
    return torch.where(nn.functional.one_hot(z.argmax(1), K).bool(), 1.0, -1.0)


def test_a_model_that_sees_every_object_holds_everywhere() -> None:
    for of in ("top1-in-set", "exact-set"):
        result = measure_multilabel_accuracy(Logits(), (X, SETS), at_least=0.99, metric=of, exact=True)
        assert (result.verdict, result.estimate) == (Verdict.PASSED, 1.0)
    assert result.details["by_objects"] == [
        {"objects": 1, "samples": 160, "top1_in_set": 1.0, "exact_set": 1.0},
        {"objects": 2, "samples": 40, "top1_in_set": 1.0, "exact_set": 1.0},
    ]


def test_one_object_of_two_is_in_the_set_and_not_the_set() -> None:
    top = measure_multilabel_accuracy(Logits(only_first), (X, SETS), at_least=0.99, exact=True)
    assert top.verdict is Verdict.PASSED
    exact = measure_multilabel_accuracy(Logits(only_first), (X, SETS), at_least=0.9, metric="exact-set", exact=True)
    assert (exact.verdict, exact.estimate) == (Verdict.FAILED, 0.8)
    assert exact.details["by_objects"][1]["exact_set"] == 0.0
    assert {c.index % 5 for c in exact.counterexamples} == {0}


def test_a_share_that_single_objects_carry_does_not_pass_but_by_the_mean_alone() -> None:
    """The mean holds, though of two objects the second is never found."""
    how: dict[str, Any] = {"at_least": 0.75, "metric": "exact-set", "exact": True}
    result = measure_multilabel_accuracy(Logits(only_first), (X, SETS), **how)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "0.000 on 40 samples of 2 objects" in measured(result)
    overall = measure_multilabel_accuracy(Logits(only_first), (X, SETS), by="overall", **how)
    assert overall.verdict is Verdict.PASSED
    assert "0.000 on 40 samples of 2 objects" in measured(overall)
    seen = measure_multilabel_accuracy(Logits(), (X, SETS), **how)
    assert seen.verdict is Verdict.PASSED
    assert "samples of" not in measured(seen)


def test_a_model_that_says_everything_fails_the_exact_set_and_is_told_of_in_the_other() -> None:
    everything = Logits(lambda z: torch.ones_like(z) + torch.tensor([0.1, 0, 0, 0]))
    exact = measure_multilabel_accuracy(everything, (X, SETS), at_least=0.01, metric="exact-set", exact=True)
    assert (exact.verdict, exact.estimate) == (Verdict.FAILED, 0.0)
    top = measure_multilabel_accuracy(everything, (X, SETS), at_least=0.25, exact=True)
    share = float(SETS[:, 0].float().mean())
    assert (top.estimate, top.details["without_looking"]) == (pytest.approx(share), pytest.approx(share))
    assert f"saying one thing of every sample reaches {share:.3f}" in measured(top)


def test_samples_that_show_every_class_do_not_carry_a_claim() -> None:
    full = SETS.clone()
    full[:150] = True
    wrong = Logits(lambda z: -z)
    assert measure_multilabel_accuracy(wrong, (X, full), at_least=0.7, exact=True).verdict is Verdict.INCONCLUSIVE
    assert measure_multilabel_accuracy(wrong, (X, full), at_least=0.8, exact=True).verdict is Verdict.FAILED
    reached = measure_multilabel_accuracy(Logits(), (X, full), at_least=0.9, exact=True)
    assert reached.verdict is Verdict.PASSED


def test_which_classes_are_said() -> None:
    logits = torch.tensor([[2.0, 1.4, 1.2, -1.0], [-1.0, -1.1, -3.0, -4.0]])
    assert LabelSets.predicted(logits, "sigmoid").tolist() == [[True, True, True, False], [False] * 4]
    assert LabelSets.predicted(logits, "softmax").tolist() == [[True, True, False, False], [True, True, False, False]]


def test_batches_make_no_difference_and_a_second_run_is_remembered(tmp_path: Any) -> None:
    how: dict[str, Any] = {"at_least": 0.9, "metric": "exact-set", "exact": True}
    found = [measure_multilabel_accuracy(Logits(only_first), (X, SETS), batch_size=b, **how) for b in (1, 7, 128)]
    assert len({(one.verdict, one.estimate, one.outcomes) for one in found}) == 1
    model = Plain()
    with running(Context(settings=Settings(store=str(tmp_path), corpus=None, recheck=0.0))):
        first = measure_multilabel_accuracy(model, (X, SETS), **how)
        again = measure_multilabel_accuracy(model, (X, SETS), **how)
        assert again.evidence.cached
        assert not first.evidence.cached
        assert again.outcomes == first.outcomes
        other = SETS.clone()
        other[0] = torch.tensor([False, False, True, True])
        assert not measure_multilabel_accuracy(model, (X, other), **how).evidence.cached


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) - 0.5


def test_early_verdicts_and_populations() -> None:
    early = measure_multilabel_accuracy(Logits(), (X, SETS), at_least=0.5)
    assert early.verdict is Verdict.PASSED
    assert early.numbers.n < N
    assert early.details["exact_set"] is None
    population = measure_multilabel_accuracy(Logits(), (X, SETS), at_least=0.97, scope="population")
    assert (population.verdict, population.subject.scope) == (Verdict.PASSED, "population")
    assert Result.from_dict(early.to_dict()) == early


def test_a_failed_claim_says_what_was_claimed() -> None:
    with pytest.raises(ClaimFailed, match=r"multi-label accuracy .* < 0\.90 \(exact set of what a sample shows\)\n"):
        assert_multilabel_accuracy(Logits(only_first), (X, SETS), at_least=0.9, metric="exact-set")
    with pytest.raises(ConfigError, match="nothing to claim"):
        assert_multilabel_accuracy(Logits(), (X, SETS), metric="exact-set")


def test_what_cannot_be_measured_is_an_error() -> None:
    empty = SETS.clone()
    empty[3] = False
    with pytest.raises(DataError, match="sample 3 shows none"):
        measure_multilabel_accuracy(Logits(), (X, empty), at_least=0.5)
    assert measure_multilabel_accuracy(Logits(), (X, empty), at_least=0.5, metric="exact-set").verdict is Verdict.PASSED
    with pytest.raises(DataError, match="every one shows"):
        measure_multilabel_accuracy(Logits(), (X, torch.ones(N, K)), at_least=0.5)
    with pytest.raises(DataError, match=r"model's 4 classes but got 3 columns"):
        measure_multilabel_accuracy(Logits(), (X, SETS[:, :3]), at_least=0.5, metric="exact-set")
    with pytest.raises(ModelError, match="nan_values"):
        measure_multilabel_accuracy(Logits(lambda z: z / 0.0 * 0), (X, SETS), at_least=0.5)
    with pytest.raises(DataError, match="finite inputs"):
        measure_multilabel_accuracy(Logits(), (X / 0.0, SETS), at_least=0.5)
    for wrong in ({"metric": "top5"}, {"scores": "logits"}):
        with pytest.raises(ConfigError, match="to be one of"):
            measure_multilabel_accuracy(Logits(), (X, SETS), at_least=0.5, **wrong)  # type: ignore[arg-type]
