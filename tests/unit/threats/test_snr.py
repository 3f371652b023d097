"""`Snr`: claims on it against the exact answer of a linear model, and silence."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Regression, Settings, Snr, Waveforms, find_adversarial, scores_model
from robustest.context import Context, running
from robustest.measure import measure_robust_accuracy, measure_robust_score
from robustest.reports.pictures import sounds_of
from robustest.reports.text import failure_text
from robustest.threats import Threat

LENGTH = 48


def problem(n: int = 60) -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    """A linear model, waves of loudness 1 to 300, their classes, and the exact ratio in dB that breaks each."""
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(LENGTH, generator=generator)
    x = torch.randn(n, LENGTH, generator=generator)
    x = 0.3 * x / x.abs().amax(1, keepdim=True) * torch.logspace(0, -2.5, n).view(-1, 1)
    model = nn.Linear(LENGTH, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.stack([-weight, weight]))
    y = (x @ weight > 0).long()
    # The nearest point of the other class is |w x| / |w| away.
    away = (x @ weight).double().abs() / weight.double().norm()
    return model.eval(), x, y, 20 * (x.double().norm(dim=1) / away).log10()


@pytest.mark.thinned
@pytest.mark.parametrize("db", [6.0, 14.0, 25.0])
@pytest.mark.parametrize("gives", ["gradients", "scores"])
def test_accuracy_is_that_of_the_exact_distances(db: float, gives: str) -> None:
    model, x, y, ratio = problem()
    near = (ratio - db).abs() < 0.4  # a search need not reach the last tenths of a decibel
    rows = (~near).nonzero().squeeze(1)[:: 2 if gives == "scores" else 1]  # queries take longer
    x, y, ratio = x[rows], y[rows], ratio[rows]
    asked = model if gives == "gradients" else scores_model(lambda z: model(torch.from_numpy(z)).detach().numpy())
    # Most samples fall at the first stage: a share of that would leave counterexamples as they were found.
    with running(Context(settings=Settings(shrink_budget=100.0))):
        result = measure_robust_accuracy(asked, Waveforms((x, y), 8000), Snr(db), exact=True, at_least=0.99)
    held = torch.tensor([bool(one) for one in result.outcomes])
    assert not bool((~held & (ratio < db)).any()), "an input outside the threat counted"
    assert float((held & (ratio > db)).float().mean()) <= (0.0 if gives == "gradients" else 0.15)
    assert (result.subject.axis, result.subject.at) == ("db", db)
    assert result.details["db"] == db
    broken = result.details["lowest_db"]
    assert broken is None or broken >= db - 1e-4
    for one in result.counterexamples:
        assert one.unit == "dB"
        if gives == "gradients":  # made smaller, they lie at the exact distance
            assert one.size == pytest.approx(float(ratio[one.index]), abs=0.2)


def test_the_ratio_is_shown_in_decibels_and_is_that_of_the_sound_that_is_saved(tmp_path: Path) -> None:
    model, x, _, _ = problem(8)
    x = 0.3 * x / x.abs().amax(1, keepdim=True)
    data = Waveforms((x, model(x).argmax(1)), 8000)
    with running(Context(settings=Settings(pictures=str(tmp_path), exact=True), test="t.py::t")):
        result = measure_robust_accuracy(model, data, Snr(10), at_least=0.99)
    assert result.verdict == "failed"
    text = failure_text(result, replay="")
    facts = {fact.label: str(fact) for fact in result.words.facts}
    assert facts["ratio allowed, dB"] == "10"
    assert facts["lowest ratio found, dB"] == f"{result.details['lowest_db']:.4g}"
    assert result.counterexamples
    for worst in result.counterexamples:
        assert worst.image is not None
        assert f", size {worst.size:.4g} dB, {worst.image}" in text
        waves = []
        for sound in sounds_of(worst.image):
            with wave.open(sound) as file:
                waves.append(np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float))
        before, after = waves
        saved = 10 * np.log10((before**2).sum() / ((after - before) ** 2).sum())
        assert worst.size == pytest.approx(saved, abs=0.1)
        assert worst.size >= 10


def test_one_radius_in_l2_would_be_another_claim() -> None:
    model, x, y, _ = problem()
    loud = float(x.norm(dim=1).max())
    ball = measure_robust_accuracy(model, Waveforms((x, y), 8000), L2(loud * 10 ** (-25 / 20)))
    assert ball.estimate is not None
    own = measure_robust_accuracy(model, Waveforms((x, y), 8000), Snr(25))
    assert own.estimate is not None
    assert ball.estimate < own.estimate - 0.2  # quiet waves drown in it


@pytest.mark.parametrize("silent", [60, 6])
def test_silence_that_may_not_change_passes_nothing(silent: int) -> None:
    model, x, y, _ = problem()
    quiet = x.clone()
    quiet[:silent] = 0
    # In silence the bias alone decides, and class 0 is right.
    with torch.no_grad():
        model = nn.Sequential(model)
        model[0].bias = nn.Parameter(torch.tensor([1e-6, 0.0]))
        y = torch.where(torch.arange(60) < silent, torch.zeros_like(y), y)
    result = measure_robust_accuracy(model, Waveforms((quiet, y), 8000), Snr(90), at_least=0.5)
    assert result.verdict == "inconclusive"
    assert "health:no_room" in result.ruling.reasons
    one = x.clone()
    one[0] = 0
    result = measure_robust_accuracy(model, Waveforms((one, model(one).argmax(1)), 8000), Snr(90), at_least=0.5)
    assert "health:no_room" not in result.ruling.reasons


@pytest.mark.parametrize("silent", [60, 12, 0])
def test_nor_do_scores_of_silence(silent: int) -> None:
    model, x, _, _ = problem()
    x = x / x.abs().amax(1, keepdim=True) * 0.3
    x[:silent] = 0
    aim = model(x)[:, 1].detach()
    first = nn.Sequential(model, nn.Linear(2, 1, bias=False)).eval()
    with torch.no_grad():
        first[1].weight.copy_(torch.tensor([[0.0, 1.0]]))
    result = measure_robust_score(first, Waveforms((x, aim), 8000), Snr(60), task=Regression(1.0), at_least=0.5)
    assert ("health:no_room" in result.ruling.reasons) == (silent > 0)
    assert (result.verdict == "passed") == (silent == 0)


class Rounded(nn.Module):
    """Gradients are zero almost everywhere: the model reads its input in steps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model((x * 256).round() / 256)
        return logits


@pytest.mark.thinned
@pytest.mark.parametrize("threat", [Snr(10.0), Snr(20.0)], ids=str)
@pytest.mark.parametrize("attack", ["fgsm", "pgd", "fast"])
def test_a_model_without_gradients_does_not_pass(threat: Threat, attack: str) -> None:
    model, x, y, _ = problem()
    loud = x / x.abs().amax(1, keepdim=True) * 0.3
    y = model(loud).argmax(1)
    result = measure_robust_accuracy(Rounded(model), Waveforms((loud, y), 8000), threat, at_least=0.3, attack=attack)
    assert result.verdict != "passed"


def framed(x: Tensor) -> Tensor:
    return x.unflatten(1, (-1, 4))


GATES: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "eight bits": lambda model, x: model((x * 128).round() / 128),
    "mu-law": lambda model, x: model(x.sign() * ((x.abs() * 255 + 1).log() / 5.545 * 15).round() / 15),
    "a noise gate": lambda model, x: model(x * (x.abs() > 0.05)),
    "rounded, with a small linear path": lambda model, x: model((x * 16).round() / 16) + 0.02 * model(x),
    "saturated": lambda model, x: (1e6 * model(x)).clamp(-30, 30),
    "half of them saturated": lambda model, x: (300 * (1 + 1e4 * (x[:, :1] > 0)) * model(x)).clamp(-30, 30),
    "one-hot scores": lambda model, x: nn.functional.one_hot(model(x).argmax(1), 2).float(),
    "one-hot scores, louder with the wave": lambda model, x: (
        nn.functional.one_hot(model(x).argmax(1), 2) * (1 + x.square().mean(1, keepdim=True))
    ),
    "frames in steps": lambda model, x: model(
        ((framed(x).mean(2, keepdim=True) * 32).round() / 32 + 0 * framed(x)).flatten(1)
    ),
    "a wave without its gradient": lambda model, x: model(x.detach()) + 0.05 * model(x.flip(1)),
}
QUICK_GATES = [("saturated", "scores", "fast"), ("half of them saturated", "scores", "fast")]
GIVES = [(gate, gives) for gate in GATES for gives in ("gradients", "scores")]
GIVES.remove(("one-hot scores", "gradients"))  # an error: there are none
EVERY_GATE = [(*one, attack) for one in GIVES for attack in ("fast", "standard")]


class Gated(nn.Module):
    """A linear model behind a gate."""

    def __init__(self, model: nn.Module, gate: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.gate = model, gate

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(self.model, x)


@pytest.mark.parametrize(
    ("gate", "gives", "attack"),
    [*QUICK_GATES, *(pytest.param(*one, marks=pytest.mark.slow) for one in EVERY_GATE if one not in QUICK_GATES)],
)
def test_no_claim_passes_above_the_truth_behind_a_gate(gate: str, gives: str, attack: str) -> None:
    """The truth is at most the share of waves that the nearest waves of the other class leave."""
    bare, x, _, _ = problem(40)
    x = 0.3 * x / x.abs().amax(1, keepdim=True)
    model = Gated(bare, GATES[gate]).eval()
    with torch.no_grad():
        y = model(x).argmax(1)
        worst = find_adversarial(bare, x, bare(x).argmax(1), Snr(8.0), attack="standard", bounds=(-1, 1)).x
        left = float((model(worst).argmax(1) == y).float().mean())
    asked = model if gives == "gradients" else scores_model(lambda z: model(torch.from_numpy(z)).detach().numpy())
    result = measure_robust_accuracy(
        asked, Waveforms((x, y), 8000), Snr(8.0), at_least=min(0.99, left + 0.05), attack=attack, exact=True
    )
    assert left < 0.9
    assert result.verdict != "passed"
