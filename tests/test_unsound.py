"""Twenty models that look robust and are not: no claim on any of them passes above the truth."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from table_entries import check_entries
from torch import Tensor, nn

import robustest

sys.path.insert(0, str(Path(__file__).parent))
from masks import MASKED, PLACES, Around, levels, linear

from robustest import L0, L1, L2, Linf, ModelError, Patch, Snr, Verdict, find_adversarial, labels_model, scores_model
from robustest.attacks import EOT, PGD, HopSkipJump, Square
from robustest.measure import measure_robust_accuracy

EPS = 0.1
N = 32


@pytest.fixture(scope="module")
def digits() -> Any:
    """The quickstart's nets and digits."""
    source = Path(__file__).parents[1] / "examples" / "quickstart" / "model.py"
    spec = importlib.util.spec_from_file_location("quickstart_nets", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bare(digits: Any) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """An undefended net, digits, and what breaks the net there."""
    net = digits.load("standard")
    x, y = (part[::30][:N] for part in digits.digits())
    return net, x, y, find_adversarial(net, x, y, Linf(EPS), attack="standard").x


def truth(model: Any, bare: Any) -> float:
    """The most that a model's robust accuracy can be: on its unchanged samples and on what breaks the bare net."""
    _, x, y, worst = bare
    with torch.no_grad():
        held: Tensor = (model(x).argmax(1) == y) & (model(worst).argmax(1) == y)
    return float(held.float().mean())


def names(result: Any) -> set[str]:
    """The health checks that stop a claim."""
    return {one["name"] for one in result.details["health"] if not (one["suppressed"] or one["carried"])}


@pytest.mark.thinned
@pytest.mark.parametrize("attack", ["fast", "pgd"])
@pytest.mark.parametrize(
    "mask",  # each takes seconds: every third of them every day
    [pytest.param(mask, marks=pytest.mark.slow if place % 3 else ()) for place, mask in enumerate(MASKED)],
)
def test_a_mask_does_not_pass_above_the_truth(mask: str, attack: str, bare: Any) -> None:
    net, x, y, _ = bare
    model = Around(net, MASKED[mask]).eval()
    above = truth(model, bare) + 0.02
    assert above < 0.9
    found = measure_robust_accuracy(model, (x, y), Linf(EPS), attack=attack, at_least=above, exact=True)
    assert found.verdict is not Verdict.PASSED
    assert "gradient_misleads" in names(found)


KNOWN: dict[str, tuple[float, float]] = {
    "detached, brightness": (0.06, 0.81),
    "16 levels, linear": (0.04, 0.84),
    "9 levels, small linear": (0.1, 0.25),
    "rounded logits, sine": (0.1, 0.34),
}
"""Radii, and thresholds above the truth, that gradients alone say are kept."""


@pytest.mark.slow
@pytest.mark.parametrize("attacks", [("fast", "pgd"), ("standard",)], ids=str)
@pytest.mark.parametrize("mask", KNOWN)
def test_nor_at_other_radii(mask: str, attacks: tuple[str, ...], bare: Any, digits: Any) -> None:
    net, (x, y) = bare[0], (part[::7][:128] for part in digits.digits())
    (eps, above), model = KNOWN[mask], Around(net, MASKED[mask]).eval()
    worst = find_adversarial(net, x, y, Linf(eps), attack="standard").x
    assert truth(model, (net, x, y, worst)) <= above
    for attack in attacks:
        found = measure_robust_accuracy(model, (x, y), Linf(eps), attack=attack, at_least=above, exact=True)
        assert found.verdict is not Verdict.PASSED, attack


@pytest.mark.parametrize(
    ("mask", "threat"),  # each takes a second: every other one every day
    [
        pytest.param(mask, threat, id=f"{mask}-{threat}", marks=pytest.mark.slow if (place + at) % 2 else ())
        for place, mask in enumerate(list(MASKED)[:4])
        for at, threat in enumerate([L2(1.0), L1(5.0), L0(3), Linf(EPS), Snr(19.0)])
    ],
)
def test_nor_in_any_norm_and_on_four_samples(mask: str, threat: Any, bare: Any) -> None:
    net, x, y, _ = bare
    with torch.no_grad():
        right = (net(x).argmax(1) == y).nonzero().squeeze(1)[:4]
    found = measure_robust_accuracy(
        Around(net, MASKED[mask]).eval(), (x[right], y[right]), threat, attack="fast", at_least=0.01
    )
    assert found.verdict is not Verdict.PASSED


class Mine(Linf):
    """A ball of one's own."""


@pytest.mark.parametrize("mask", list(MASKED)[:2])
def test_nor_in_a_ball_of_ones_own(mask: str, bare: Any) -> None:
    net, x, y, _ = bare
    model = Around(net, MASKED[mask]).eval()
    found = measure_robust_accuracy(model, (x, y), Mine(EPS), attack="fast", at_least=truth(model, bare) + 0.02)
    assert found.verdict is not Verdict.PASSED
    sound = measure_robust_accuracy(net, (x, y), Mine(0.01), attack="fast", at_least=0.5)
    assert sound.verdict is Verdict.PASSED


def noisy(net: nn.Module, x: Tensor) -> Tensor:
    """Noise, levels and a linear path."""
    logits: Tensor = net(levels(x + 0.05 * torch.randn_like(x), 9)) + 4 * linear(x)
    return logits


def test_a_mask_that_draws_does_not_pass_either(bare: Any) -> None:
    net, x, y, _ = bare
    attack = EOT(PGD(steps=10), draws=4)
    model = Around(net, noisy).eval()
    found = measure_robust_accuracy(model, (x, y), Linf(EPS), attack=attack, at_least=truth(model, bare) + 0.02)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "gradient_misleads" in names(found)
    plain = Around(net, lambda net, x: net(x + 0.05 * torch.randn_like(x))).eval()
    sound = measure_robust_accuracy(plain, (x, y), Linf(0.01), attack=attack, at_least=0.8)
    assert (sound.verdict, names(sound)) == (Verdict.PASSED, set())


BESIDE: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "mean of the batch": lambda net, x: net((x - 0.5 * x.mean(0)).clamp(0, 1)),
    "statistics of the batch": lambda net, x: net(0.1 + 0.3 * (x - x.mean(0)) / (x.std(0, correction=0) + 0.1)),
    "noise by position": lambda net, x: net((x + 0.3 * PLACES[: len(x)]).clamp(0, 1)),
}


@pytest.mark.parametrize("way", BESIDE)
def test_what_depends_on_neighbours_does_not_pass(way: str, bare: Any) -> None:
    net, x, y, _ = bare
    for rows in (slice(None), slice(3)):
        model = Around(net, BESIDE[way]).eval()
        found = measure_robust_accuracy(model, (x[rows], y[rows]), Linf(0.001), attack="pgd", at_least=0.01)
        assert found.verdict is not Verdict.PASSED
        assert "batch_dependence" in names(found)


class Flattering(nn.Module):
    """Lowers its largest logit a little in passes with a gradient, so that searches end too early."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by
        self.weight = nn.Parameter(torch.randn(12, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        out = (x.flatten(1) - 0.5) @ self.weight
        if x.requires_grad:
            largest = out.detach().argmax(1, keepdim=True)
            out = out.scatter_add(1, largest, torch.full_like(out[:, :1], -self.by))
        return out


@pytest.mark.parametrize("by", [0.0, 0.02])
def test_searches_that_end_before_an_input_is_misclassified_are_noticed(by: float) -> None:
    x, model = torch.rand(128, 12, generator=torch.Generator().manual_seed(1)), Flattering(by)
    y = model(x).argmax(1)
    found = measure_robust_accuracy(model, (x, y), Linf(0.1), attack="pgd", exact=True)
    assert ("unconfirmed_success" in names(found)) == (by > 0)
    assert by or not names(found)


def test_noise_by_call_is_an_error(bare: Any) -> None:
    net, x, y, _ = bare
    calls = iter(range(10**6))
    counted = Around(net, lambda net, x: net(x) + 0.5 * next(calls) * linear(x)).eval()
    with pytest.raises(ModelError, match="random_forward"):
        measure_robust_accuracy(counted, (x, y), Linf(EPS), attack="pgd", at_least=0.01)


WEAK: dict[str, Callable[[nn.Module], tuple[Any, Any, Any]]] = {
    "steps that choose no pixels": lambda net: (net, L0(5), "pgd"),
    "random draws": lambda net: (net, Linf(EPS), "random-draws"),
    "few queries of scores": lambda net: (scores_model(numpy(net), max_queries=200), Linf(EPS), "fast"),
    "few queries of labels": lambda net: (
        labels_model(lambda x: numpy(net)(x).argmax(1), classes=10, max_queries=200),
        Linf(EPS),
        "fast",
    ),
}


def numpy(net: nn.Module) -> Callable[[Any], Any]:
    """A net as a function of arrays."""

    def call(x: Any) -> Any:
        with torch.no_grad():
            return net(torch.from_numpy(np.asarray(x))).numpy()

    return call


@pytest.mark.parametrize("case", WEAK)
def test_a_search_that_does_not_count_vouches_for_nothing(case: str, bare: Any) -> None:
    net, x, y, _ = bare
    model, threat, attack = WEAK[case](net)
    found = measure_robust_accuracy(model, (x[:40], y[:40]), threat, attack=attack, at_least=0.05, exact=True)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "weak_search" in names(found)
    assert [note for note in found.words.notes if note.startswith(f"weak_search: {threat}") and "takes" in note]


BALLS = [Linf(EPS), L2(2.0), L1(10.0), L0(8), Patch(5, 5)]


@pytest.mark.parametrize(
    ("threat", "gives"),  # each takes seconds: three of them every day
    [
        pytest.param(
            threat,
            gives,
            id=f"{threat}-{gives}",
            marks=pytest.mark.slow if (place + at) % 2 or isinstance(threat, (L1, Patch)) else (),
        )
        for place, threat in enumerate(BALLS)
        for at, gives in enumerate(["scores", "labels"])
    ],
)
def test_queries_do_not_vouch_for_more_than_gradients_leave(threat: Any, gives: str, bare: Any) -> None:
    net, x, y, _ = bare
    x, y = x[:16], y[:16]
    left = measure_robust_accuracy(net, (x, y), threat, attack="standard", exact=True).estimate
    fn = numpy(net)
    model = scores_model(fn) if gives == "scores" else labels_model(lambda x: fn(x).argmax(1), classes=10)
    found = measure_robust_accuracy(model, (x, y), threat, attack="fast", at_least=left + 0.02, exact=True)
    assert found.verdict is not Verdict.PASSED


def test_labels_of_many_features_are_never_searched(bare: Any) -> None:
    net, x, y, _ = bare
    model = labels_model(lambda x: numpy(net)(x).argmax(1), classes=10)
    attack = HopSkipJump(queries=1500)
    few = slice(None, None, -(-len(x) // 4))  # of several classes
    found = measure_robust_accuracy(model, (x[few], y[few]), Linf(0.01), attack=attack, at_least=0.5)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert names(found) == {"weak_search"}
    notes = found.words.notes
    assert [note for note in notes if "of 784 features" in note and "scores (scores_model) or gradients" in note]


def one_hot(z: Tensor) -> Tensor:
    return nn.functional.one_hot(z.argmax(1), z.shape[1]).float()


TABLE = (np.eye(10) * np.linspace(0.3, 0.9, 10) + 0.02 * np.random.RandomState(0).rand(10, 10)).astype(np.float32)
"""Scores of each class, by the class that is predicted."""
LABELS_ALONE: dict[str, Callable[[nn.Module], tuple[Any, Any]]] = {
    "one-hot scores": lambda net: (scores_model(lambda x: one_hot(torch.from_numpy(numpy(net)(x))).numpy()), "square"),
    "one-hot scores, scaled by class": lambda net: (
        scores_model(lambda x: (one_hot(torch.from_numpy(numpy(net)(x))) * torch.arange(1, 11)).numpy()),
        Square(queries=1000),
    ),
    "one-hot scores and a rest by class": lambda net: (
        scores_model(lambda x: nn.functional.one_hot(torch.from_numpy(numpy(net)(x)).argmax(1), 10).numpy() @ TABLE),
        Square(queries=1000),
    ),
    "one-hot logits, small linear": lambda net: (
        Around(net, lambda net, x: 10 * one_hot(net(x)) + 0.02 * linear(x)).eval(),
        "standard",
    ),
}


@pytest.mark.parametrize(
    ("case", "rows"),  # each takes seconds: every other one every day
    [
        pytest.param(case, rows, id=f"{case}-{rows}", marks=pytest.mark.slow if (place + at) % 2 else ())
        for place, case in enumerate(LABELS_ALONE)
        for at, rows in enumerate((40, 2))
    ],
)
def test_scores_that_say_no_more_than_labels_carry_no_search(case: str, rows: int, bare: Any) -> None:
    net, x, y, worst = bare
    with torch.no_grad():
        at = ((net(x).argmax(1) == y) & (net(worst).argmax(1) != y)).nonzero().squeeze(1)[:rows]  # truth: none is held
    model, attack = LABELS_ALONE[case](net)
    found = measure_robust_accuracy(model, (x[at], y[at]), Linf(EPS), attack=attack, at_least=0.3, exact=True)
    assert found.verdict is not Verdict.PASSED
    assert "weak_search" in names(found)
    assert [note for note in found.words.notes if "no more than its labels" in note]


def claims(model: Any, data: Any) -> dict[str, Callable[[], Any]]:
    """Every claim that follows gradients, with a threshold that everything meets."""
    return {
        "robust_accuracy": lambda: measure_robust_accuracy(model, data, Linf(0.01), attack="pgd", at_least=0.5),
        "certified_accuracy": lambda: robustest.measure.measure_certified_accuracy(
            model, data, Linf(0.01), attack="pgd", at_least=0.01
        ),
        "robust_score": lambda: robustest.measure.measure_robust_score(
            model, data, Linf(0.01), task=robustest.Classification(), attack="pgd", at_least=0.01
        ),
        "min_perturbation": lambda: robustest.measure.measure_min_perturbation(
            model, data, "l2", at_least=1e-6, attack=robustest.attacks.DDN(steps=50)
        ),
        "no_universal_perturbation": lambda: robustest.measure.measure_no_universal_perturbation(
            model, data, Linf(0.1), max_fooling_rate=0.999, iterations=5
        ),
    }


CLAIMS = set(claims(None, None))
GRADIENT_FREE = {
    "consistent_runs",
    "directional",
    "invariant",
    "worst_change_rate",
    "rate",
    "reliable",
    "worst_group_rate",
    "worst_item_rate",
    "accuracy",
    "calibrated",
    "consistency",
    "corruption_robustness",
    "no_spurious_feature",
    "ood_rejected",
    "robust_to",
    "same_answers",  # two copies with one mask answer alike: the claim is true
    "selective_accuracy",
    "shift_accuracy",
    "stable_under_perturbations",
    "subpopulation_shift",
    "transfer_accuracy",
    "worst_group_accuracy",
}


class Features(nn.Module):
    """The undefended net behind 9 levels and a small way around them; its logits are a linear layer's outputs."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.body, self.head = net[:-1], net[-1]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(levels(x, 9) + 0.02 * x))
        return out


QUICK = {"robust_accuracy", "min_perturbation"}
"""Of three families; the others take seconds each, and are slow."""


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in sorted(CLAIMS)]
)
def test_every_claim_that_follows_gradients_is_judged_alike(kind: str, bare: Any, digits: Any) -> None:
    net, (x, y) = bare[0], (part[::15][:64] for part in digits.digits())
    few = slice(None, None, 4 if kind == "min_perturbation" else 1)  # its search takes long
    data = x[few], y[few]
    masked = claims(Features(net).eval(), data)[kind]()
    assert masked.verdict is Verdict.INCONCLUSIVE
    assert "gradient_misleads" in names(masked)
    bare_one = claims(net, data)[kind]()
    assert (bare_one.verdict, names(bare_one)) == (Verdict.PASSED, set())


def test_no_claim_is_left_out() -> None:
    measured = {name.removeprefix("measure_") for name in robustest.measure.__all__ if name.startswith("measure_")}
    check_entries([*CLAIMS, *GRADIENT_FREE], measured, "claims() in tests/test_unsound.py, or GRADIENT_FREE")
