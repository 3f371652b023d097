"""Same answers: planted faults of exports are found, sound copies are green, and an empty comparison is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from robustest import (
    ClaimFailed,
    ClaimInconclusive,
    ConfigError,
    Linf,
    ModelError,
    RobustestError,
    Verdict,
    assert_same_answers,
    labels_model,
    scores_model,
)
from robustest.attacks import APGD
from robustest.context import Context, running
from robustest.measure import measure_same_answers
from robustest.models import Classifier
from robustest.settings import Settings

NEAR = {"change": Linf(0.1), "attack": APGD(steps=15, loss="margin"), "at_least": 0.98}
"""A claim about inputs close to samples."""


class Net(nn.Module):
    """A network of coloured digits, with a batch norm and a square layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.middle = nn.Linear(128, 128)
        self.last = nn.Linear(128, 10)

    def hidden(self, x: Tensor) -> Tensor:
        return F.relu(self.middle(F.max_pool2d(F.relu(self.norm(self.first(x))), 2).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x))


def coloured(grey: Tensor) -> Tensor:
    """Return (N, 3, 8, 8): red a little brighter than blue."""
    return torch.cat([grey, 0.9 * grey, 0.8 * grey], 1)


DIGITS = load_digits()
IMAGES = coloured(torch.tensor(DIGITS.images / 16, dtype=torch.float32).unsqueeze(1))
LABELS = torch.tensor(DIGITS.target)
X, Y = IMAGES[1000:1200], LABELS[1000:1200]


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    made = Net()
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    for _ in range(6):
        for rows in torch.randperm(1000).split(50):
            optimiser.zero_grad()
            F.cross_entropy(made(IMAGES[rows]), LABELS[rows]).backward()
            optimiser.step()
    return made.eval()


def exported(forward: Callable[[Tensor], Tensor]) -> Classifier:
    """Return a copy that gives scores alone, as a runtime of files does."""

    def scores(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.no_grad():
            return forward(torch.from_numpy(x)).numpy()

    return scores_model(scores)


def with_state(net: Net, change: Callable[[Net], object]) -> Net:
    made = copy.deepcopy(net)
    with torch.no_grad():
        change(made)
    return made


def rounded_weights(net: Net) -> None:
    for weights in net.parameters():
        scale = weights.abs().max() / 127
        weights.copy_((weights / scale).round() * scale)


def half_of_middle(net: Net, x: Tensor) -> Tensor:
    """Sums of float16 that overflow, and are saturated as some runtimes do."""
    large = (net.hidden(x) * 12_000).half().float()
    return net.last(torch.nan_to_num(large, posinf=65504.0) / 12_000)


FAULTS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "wrong resize": lambda net, x: net(F.interpolate(F.interpolate(x, 7, mode="bilinear"), 8, mode="bilinear")),
    "swapped channels": lambda net, x: net(x.flip(1)),
    "saturated scale": lambda net, x: net(x.clamp(max=0.8)),
    "rounded softmax": lambda net, x: net(x).softmax(1).mul(10).round() / 10,
    "batch norm in train mode": lambda net, x: with_state(net, lambda one: one.norm.train())(x),
    "wrong mean and std": lambda net, x: net((x - 0.05) / 0.9),
    "clipped activations": lambda net, x: net.last(net.hidden(x).clamp(max=1.5)),
    "float16 overflow": half_of_middle,
    "transposed weight": lambda net, x: with_state(
        net, lambda one: one.first.weight.copy_(one.first.weight.transpose(2, 3).contiguous())
    )(x),
    "crop one pixel off": lambda net, x: net(F.pad(x, (1, 0))[..., :8]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(net: Net, name: str) -> None:
    result = measure_same_answers({"torch": net, "file": exported(lambda x: FAULTS[name](net, x))}, (X, Y), **NEAR)
    assert result.verdict is Verdict.FAILED


def test_accuracy_alone_finds_fewer_than_half_of_the_faults(net: Net) -> None:
    def accuracy(forward: Callable[[Tensor], Tensor]) -> float:
        with torch.no_grad():
            return float((forward(X).argmax(1) == Y).double().mean())

    whole = accuracy(net)
    fallen = [name for name, fault in FAULTS.items() if accuracy(lambda x, f=fault: f(net, x)) < whole - 0.02]  # type: ignore[misc]
    assert whole > 0.93
    assert len(fallen) < len(FAULTS) / 2, fallen


@pytest.mark.parametrize("change", [None, "gaussian_noise", Linf(0.1)])
def test_sound_exports_are_green(net: Net, change: Any) -> None:
    script, file = (torch.jit.freeze(torch.jit.script(copy.deepcopy(net))) for _ in range(2))
    claim = {**NEAR, "change": change} if isinstance(change, Linf) else {"change": change, "at_least": 0.9}
    result = assert_same_answers({"torch": net, "script": script, "file": exported(file)}, (X, Y), **claim)
    assert result.details["disagreements"] == {"torch and script": 0, "torch and file": 0, "script and file": 0}
    assert max(result.details["score_difference"].values()) < 1e-4


def test_numerical_differences_stand_apart_from_changed_answers(net: Net) -> None:
    rounded = with_state(net, rounded_weights)
    result = measure_same_answers({"torch": net, "int8": exported(rounded)}, (X, Y), at_least=0.9, exact=True)
    assert result.verdict is Verdict.PASSED
    with torch.no_grad():
        assert result.details["score_difference"]["int8"] == pytest.approx(float((net(X) - rounded(X)).abs().max()))
        changed = int((net(X).argmax(1) != rounded(X).argmax(1)).sum())
    assert result.details["disagreements"]["torch and int8"] == changed
    assert result.details["accuracy"].keys() == {"torch", "int8"}


def test_the_counterexample_names_sample_copies_and_answers(net: Net) -> None:
    wrong = exported(lambda x: net(x).roll(1, 1))
    with pytest.raises(ClaimFailed) as caught:
        assert_same_answers({"torch": net, "file": wrong}, (X, Y), at_least=0.9)
    shown = caught.value.result.counterexamples[0]
    with torch.no_grad():
        answer = int(net(X[shown.index][None]).argmax())
    assert shown.answer == f"classes answered: torch {answer}, file {(answer + 1) % 10}"
    assert any("another order" in line for line in caught.value.result.words.caveats)


def test_a_counterexample_lies_inside_the_threat_and_is_replayed_first(net: Net, tmp_path: Any) -> None:
    copies = {"torch": net, "file": exported(lambda x: FAULTS["swapped channels"](net, x))}
    with running(Context(settings=Settings(store=None, corpus=str(tmp_path)))):
        first, again = (measure_same_answers(copies, (X, Y), **{**NEAR, "at_least": 1.0}) for _ in range(2))
    assert first.verdict is again.verdict is Verdict.FAILED
    assert 0 < first.counterexamples[0].size <= 0.1
    assert again.cost.forward < first.cost.forward / 2


def test_copies_that_answer_one_class_are_not_green() -> None:
    flat = {name: (lambda x, shift=shift: torch.zeros(len(x), 3) + shift) for name, shift in (("a", 0.0), ("b", 0.1))}
    for change in (None, Linf(0.1)):
        with pytest.raises((RobustestError, ClaimInconclusive)):
            assert_same_answers(flat, (X, Y % 3), change, at_least=0.9)


def test_one_model_given_twice_is_not_green(net: Net) -> None:
    with pytest.raises(ConfigError, match="one object"):
        assert_same_answers([net, net], (X, Y), at_least=0.9)
    for other in (lambda x: net(x) + 0.0, copy.deepcopy(net)):
        with pytest.raises(ClaimInconclusive, match="same_model"):
            assert_same_answers([net, other], (X, Y), at_least=0.9)
    result = assert_same_answers([net, copy.deepcopy(net)], (X, Y), at_least=0.9, suppress=("same_model",))
    assert result.verdict is Verdict.PASSED


def test_labels_that_agree_are_green(net: Net) -> None:
    labels = labels_model(lambda x: net(torch.from_numpy(x)).detach().argmax(1).numpy(), classes=10)
    assert assert_same_answers([net, labels], (X, Y), at_least=0.9).verdict is Verdict.PASSED


def test_a_claim_that_the_usual_class_alone_would_keep_is_not_green(net: Net) -> None:
    seven = Y == 7
    few = torch.cat([X[seven], X[~seven][:1]]), torch.cat([Y[seven], Y[~seven][:1]])
    result = measure_same_answers([net, exported(with_state(net, rounded_weights))], few, at_least=0.5, exact=True)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "constant_answer" in result.ruling.rule


def test_errors_name_the_copy(net: Net) -> None:
    def broken(x: Any) -> Any:
        raise ValueError("no such node")

    claim: dict[str, Any] = {"at_least": 0.9}
    with pytest.raises(ModelError, match=r"copy 'file'.*no such node"):
        assert_same_answers({"torch": net, "file": scores_model(broken)}, (X, Y), **claim)
    with pytest.raises(ModelError, match=r"file \(\d+, 9\)"):
        assert_same_answers({"torch": net, "file": lambda x: net(x)[:, :9]}, (X, Y), **claim)
    with pytest.raises(ModelError, match=r"nan_values.*'file'"):
        assert_same_answers({"torch": net, "file": lambda x: net(x) * torch.nan}, (X, Y), **claim)
    with pytest.raises(ConfigError, match="two copies"):
        assert_same_answers([net], (X, Y), **claim)
    with pytest.raises(ConfigError, match="same bounds"):
        assert_same_answers([net, scores_model(lambda x: x, bounds=(0, 255))], (X, Y), **claim)
    with pytest.raises(ConfigError, match="attack"):
        assert_same_answers([net, exported(net)], (X, Y), attack="pgd", **claim)
