"""Models whose gradients say nothing, or mislead: each is named by its health check, and none passes."""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import Linf, ModelError, Verdict
from robustest.measure import measure_robust_accuracy

EPS = 0.2


@pytest.fixture(scope="module")
def digits() -> ModuleType:
    """The quickstart's undefended net and 1,000 real digits."""
    source = Path(__file__).parents[1] / "examples" / "quickstart" / "model.py"
    spec = importlib.util.spec_from_file_location("quickstart_model", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def undefended(digits: ModuleType) -> tuple[nn.Module, Tensor, Tensor]:
    x, y = digits.digits()
    return digits.load("standard"), x[::8], y[::8]


class Around(nn.Module):
    """A net with something before or after it."""

    def __init__(self, net: nn.Module, before: Any = None, after: Any = None) -> None:
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x if self.before is None else self.before(x))
        out: Tensor = logits if self.after is None else self.after(logits)
        return out


def poisoned(x: Tensor) -> Tensor:
    """x itself, with a gradient of NaN: the root's slope at zero is infinite, and is multiplied by zero."""
    return x + 0 * torch.sqrt(0 * x)


def names(result: Any) -> set[str]:
    return {finding["name"] for finding in result.details["health"]}


def quantised(x: Tensor) -> Tensor:
    return torch.round(x * 16) / 16


def test_a_quantised_input_is_named_and_its_true_accuracy_found(undefended: Any) -> None:
    net, x, y = undefended
    bare, found = (
        measure_robust_accuracy(model, (x, y), Linf(EPS), attack="standard", at_least=0.5, exact=True)
        for model in (net, Around(net, before=quantised).eval())
    )
    assert abs(found.estimate - bare.estimate) <= 0.04
    assert found.verdict is Verdict.FAILED
    assert "zero_gradient" in names(found)
    assert "black_box_beats_white_box" in names(found)


def test_what_gradients_alone_find_safe_does_not_pass(undefended: Any) -> None:
    net, x, y = undefended
    model = Around(net, before=quantised).eval()
    found = measure_robust_accuracy(model, (x, y), Linf(EPS), attack="pgd", at_least=0.5, exact=True)
    assert found.estimate > 0.5  # false safety, which the peers report without a word
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "zero_gradient" in found.rule


def test_a_suppressed_check_only_notes(undefended: Any) -> None:
    net, x, y = undefended
    found = measure_robust_accuracy(
        Around(net, before=quantised).eval(),
        (x, y),
        Linf(EPS),
        attack="pgd",
        at_least=0.5,
        suppress=(
            "zero_gradient",
            "loss_does_not_rise",
            "gradient_misleads",
            "unbounded_attack_fails",
            "quantised_input",
            "unreached_input",
        ),
    )
    assert found.verdict is Verdict.PASSED
    assert any(note.startswith("zero_gradient") for note in found.words.notes)


def test_nan_gradients_are_an_error_with_a_name(undefended: Any) -> None:
    net, x, y = undefended
    with pytest.raises(ModelError, match="nan_values"):
        measure_robust_accuracy(Around(net, before=poisoned).eval(), (x, y), Linf(EPS), attack="pgd")


def test_a_random_forward_is_an_error_with_a_name(undefended: Any) -> None:
    net, x, y = undefended
    noisy = Around(net, before=lambda x: x + 0.1 * torch.randn_like(x)).eval()
    with pytest.raises(ModelError, match="random_forward"):
        measure_robust_accuracy(noisy, (x, y), Linf(EPS), attack="pgd")


@pytest.mark.filterwarnings("ignore:softmax_outputs")
@pytest.mark.parametrize(
    ("after", "attack"),
    [(lambda z: 1e4 * z, "apgd-ce"), (lambda z: (100 * z).softmax(1), "standard")],
    ids=["scale", "softmax"],
)
def test_a_saturated_softmax_is_named_and_does_not_pass(undefended: Any, after: Any, attack: str) -> None:
    net, x, y = undefended
    found = measure_robust_accuracy(Around(net, after=after).eval(), (x, y), Linf(EPS), attack=attack, at_least=0.3)
    assert "saturated_softmax" in names(found)
    assert found.verdict is not Verdict.PASSED


def test_a_large_scale_is_no_matter_to_an_attack_on_margins(undefended: Any) -> None:
    net, x, y = undefended
    scaled = Around(net, after=lambda z: 1e4 * z).eval()
    found = measure_robust_accuracy(scaled, (x, y), Linf(0.01), attack="fast", at_least=0.8)
    assert found.verdict is Verdict.PASSED
    assert names(found) == set()


@pytest.fixture(scope="module")
def defended(digits: ModuleType) -> tuple[nn.Module, Tensor, Tensor]:
    """A net that holds at 0.1, and digits."""
    x, y = digits.digits()
    return digits.load("robust"), x[::8], y[::8]


def claimed(model: nn.Module, data: Any, **options: Any) -> Any:
    """What becomes of a claim that the defended net keeps."""
    return measure_robust_accuracy(model, data, Linf(0.1), at_least=0.85, attack="fast", **options)


def shifted(z: Tensor) -> Tensor:
    """Logits so far from zero that bfloat16 holds no difference between them, and float32 all of it."""
    return z + 10_000


class Stuck(Around):
    """A net whose parts eval mode does not reach; the dropout drops nothing that matters."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, after=lambda z: z + 0 * self.drop(z))
        self.drop = nn.Dropout(0.1)

    def train(self, mode: bool = True) -> nn.Module:
        return self


NAMED_ALONE: dict[str, Callable[[nn.Module], nn.Module]] = {
    "train_mode": Stuck,
    "precision_disagreement": lambda net: Around(net, after=shifted).eval(),
}
"""Models that are right about every sample, and in a way that makes the claim worth nothing."""


@pytest.mark.parametrize(("name", "build"), NAMED_ALONE.items(), ids=NAMED_ALONE)
def test_a_check_that_speaks_alone_keeps_a_claim_from_passing(
    name: str, build: Callable[[nn.Module], nn.Module], defended: Any
) -> None:
    net, x, y = defended
    found = claimed(build(copy.deepcopy(net)), (x, y))
    assert names(found) == {name}
    assert found.verdict is Verdict.INCONCLUSIVE
    assert name in found.rule


@pytest.mark.parametrize(("name", "build"), NAMED_ALONE.items(), ids=NAMED_ALONE)
def test_its_name_suppresses_it(name: str, build: Callable[[nn.Module], nn.Module], defended: Any) -> None:
    net, x, y = defended
    found = claimed(build(copy.deepcopy(net)), (x, y), suppress=(name,))
    assert found.verdict is Verdict.PASSED
    assert [note for note in found.words.notes if note.startswith(f"{name}: ")] == [
        found.details["health"][0]["message"]
    ]


def test_train_mode_is_no_matter_where_eval_mode_reaches_every_part(defended: Any) -> None:
    net, x, y = defended
    found = claimed(Around(copy.deepcopy(net), after=nn.Dropout(0.1)).train(), (x, y))
    assert found.verdict is Verdict.PASSED
    assert names(found) == set()
    assert [note for note in found.words.notes if "train mode" in note]


def test_a_failed_claim_stays_failed_in_train_mode(undefended: Any) -> None:
    net, x, y = undefended
    found = claimed(Stuck(copy.deepcopy(net)), (x, y))
    assert "train_mode" in names(found)
    assert found.verdict is Verdict.FAILED


def test_a_finding_ends_with_what_to_do_and_its_name(undefended: Any) -> None:
    net, x, y = undefended
    found = measure_robust_accuracy(Around(net, before=quantised).eval(), (x, y), Linf(EPS), attack="pgd")
    assert len(names(found)) == len(found.details["health"]) >= 2
    for finding in found.details["health"]:
        assert finding["message"].endswith(f'If this is known and meant: suppress=("{finding["name"]}",).')
        assert found.words.notes.count(finding["message"]) == 1


def test_a_sound_model_is_named_by_none(digits: ModuleType) -> None:
    x, y = digits.digits()
    found = measure_robust_accuracy(
        digits.load("robust"), (x[::8], y[::8]), Linf(0.1), attack="standard", at_least=0.85
    )
    assert found.verdict is Verdict.PASSED
    assert names(found) == set()
