"""Everything a user can get wrong, in one table: the error of ours, and what its message must say.

A message says what was expected, what was got, and how to mend it. Whatever happens, the user's model and data
are afterwards as they were before.
"""

# ruff: noqa: ARG005 - every row of the table is called with the same arguments

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from robustest import (
    L2,
    ConfigError,
    DataError,
    DeviceError,
    HealthWarning,
    Linf,
    ModelError,
    RobustestError,
    Shift,
    UnknownNameError,
    assert_no_spurious_feature,
    assert_robust_accuracy,
    assert_shift_accuracy,
)
from robustest.attacks import FGSM, PGD
from robustest.cues import PixelPatch
from robustest.measure import measure_no_spurious_feature, measure_robust_accuracy, measure_shift_accuracy
from robustest.settings import profiles_from, resolve

NAN = float("nan")
N = 24
CUE = PixelPatch(top=0, left=0)


def attack(model: Any, data: Any, **options: Any) -> Any:
    return measure_robust_accuracy(model, data, Linf(0.1), **{"attack": PGD(steps=2), **options})


def shift(model: Any, data: Any, **options: Any) -> Any:
    return measure_shift_accuracy(model, data, "rotation", **options)


def cue(model: Any, data: Any, **options: Any) -> Any:
    return measure_no_spurious_feature(model, data, CUE, max_flip_rate=0.5, max_recall_drop=0.5, **options)


MEASUREMENTS = {"attack": attack, "shift": shift, "cue": cue}


class Row(NamedTuple):
    """One mistake.

    Attributes:
        call: makes it with (model, x, y), all of them sound.
        error: the class of the error.
        words: what its message must hold.
    """

    call: Callable[[nn.Module, Tensor, Tensor], object]
    error: type[RobustestError]
    words: tuple[str, ...]


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return iter([(torch.zeros(1, 4, 4), 0)])


class Wrapped(nn.Module):
    """A module with something before it and something after it."""

    def __init__(
        self, inner: nn.Module, *, before: Callable[[Tensor], Tensor] = lambda x: x, after: Callable[[Tensor], Any]
    ) -> None:
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, x: Tensor) -> Any:
        return self.after(self.inner(self.before(x)))


def cut(model: nn.Module, before: Callable[[Tensor], Tensor]) -> nn.Module:
    return Wrapped(model, before=before, after=lambda logits: logits)


def hidden(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """A plain function around a module."""
    return lambda x: model(x)  # noqa: PLW0108 - that is the point


def evaluated(model: nn.Module) -> nn.Module:
    """A copy in eval mode, for functions that hide their module."""
    return copy.deepcopy(model).eval()


def changed(x: Tensor, value: float) -> Tensor:
    """The images with one element of sample 3 replaced."""
    out = x.clone()
    out[3, 0, 1, 2] = value
    return out


def relabelled(y: Tensor, label: int) -> Tensor:
    out = y.clone()
    out[3] = label
    return out


# Mistakes in the data: (x, y) -> what is passed as data.
DATA: dict[str, tuple[Callable[[Tensor, Tensor], Any], tuple[str, ...]]] = {
    "values above the bounds": (
        lambda x, y: (x * 255, y),
        ("inside the bounds [0, 1]", "spans [", "bounds=(low, high)", "preprocessing=(mean, std)"),
    ),
    "normalised values": (lambda x, y: (x - 0.5, y), ("inside the bounds [0, 1]", "spans [-0", "preprocessing")),
    "NaN input": (lambda x, y: (changed(x, NAN), y), ("finite inputs", "sample 3", "NaN")),
    "infinite input": (lambda x, y: (changed(x, float("inf")), y), ("finite inputs", "sample 3", "infinite")),
    "a label too large": (lambda x, y: (x, relabelled(y, 12)), ("0..9", "10 classes", "12")),
    "labels from one to ten": (lambda x, y: (x, y + 1), ("0..9", "10 classes", "1..10")),
    "a negative label": (lambda x, y: (x, relabelled(y, -1)), ("0..9", "10 classes", "-1")),
    "float labels": (lambda x, y: (x, y.float()), ("integer class labels", "torch.float32", "y.long()")),
    "bool labels": (lambda x, y: (x, y > 4), ("integer class labels", "torch.bool")),
    "one-hot labels": (lambda x, y: (x, torch.eye(10)[y].long()), ("shape (N,)", "(24, 10)", "One class index")),
    "fewer labels": (lambda x, y: (x, y[:-1]), ("as many labels as samples", "24 samples", "23 labels")),
    "fewer samples": (lambda x, y: (x[:-1], y), ("as many labels as samples", "23 samples", "24 labels")),
    "no samples": (lambda x, y: (x[:0], y[:0]), ("at least one sample", "empty data")),
    "an empty list": (lambda x, y: [], ("at least one sample", "empty data")),
    "8-bit images": (
        lambda x, y: ((x * 255).byte(), y),
        ("floating-point inputs", "torch.uint8", "Divide 8-bit images by 255"),
    ),
    "8-bit arrays in a list": (
        lambda x, y: [(np.zeros((1, 4, 4), np.uint8), 0)] * 3,
        ("floating-point inputs", "torch.uint8", "Divide 8-bit images by 255"),
    ),
    "a stream": (lambda x, y: Stream(), ("(x, y), a data set", "Stream", "collect it into (x, y)")),
    "a loader over a stream": (lambda x, y: DataLoader(Stream()), ("Stream", "collect it into (x, y)")),
    "images without labels": (lambda x, y: x, ("(x, y), a data set", "(Tensor)", "Add its labels")),
    "the path of the data": (lambda x, y: "data/test", ("(x, y), a data set", "(str)", "Load it first")),
    "nothing": (lambda x, y: None, ("(x, y), a data set", "None (NoneType)")),
    "a dict of columns": (lambda x, y: {"x": x, "y": y}, ("(x, y)",)),
}


def after(change: Callable[[Tensor], Any]) -> Callable[[nn.Module], nn.Module]:
    return lambda model: Wrapped(model, after=change)


# Mistakes in the model: (model) -> what is passed as model.
MODELS: dict[str, tuple[Callable[[nn.Module], Any], type[RobustestError], tuple[str, ...]]] = {
    "NaN logits": (after(lambda z: z * NAN), ModelError, ("finite logits", "NaN", "log(0)")),
    "infinite logits": (after(lambda z: z / 0), ModelError, ("finite logits", "infinite", "overflow")),
    "logits (N,)": (after(lambda z: z[:, 0]), ModelError, ("(8, K >= 2)", "(8,)", "two logits")),
    "logits (N, 1)": (after(lambda z: z[:, :1]), ModelError, ("(8, K >= 2)", "(8, 1)", "two logits")),
    "logits (M, K)": (after(lambda z: z[:5]), ModelError, ("(8, K >= 2)", "(5, 10)")),
    "logits (N, K, 1)": (after(lambda z: z.unsqueeze(2)), ModelError, ("(8, K >= 2)", "(8, 10, 1)")),
    "a word as output": (after(lambda z: "cat"), ModelError, ("logits as a tensor", "'cat' (str)", "Wrap the model")),
    "dropout that is always on": (
        lambda m: nn.Sequential(AlwaysDropout(), m),
        ModelError,
        ("random_forward", "same answer twice", "eval mode", "dropout"),
    ),
    "a model that is a name": (lambda m: "resnet18", ConfigError, ("module or a callable", "'resnet18' (str)")),
    "no model": (lambda m: None, ConfigError, ("module or a callable", "None (NoneType)")),
    "a class for a model": (type, ConfigError, ("module or a callable", "Sequential", "(type)")),
    "a state_dict": (lambda m: m.state_dict(), ConfigError, ("module or a callable", "OrderedDict")),
}


class AlwaysDropout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5, training=True)


class RootAtZero(nn.Module):
    """Finite at zero, where its gradient is 0/0."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sqrt()


# Mistakes of other kinds.
CALLS: dict[str, Row] = {
    "NaN gradients": Row(
        lambda m, x, y: attack(nn.Sequential(RootAtZero(), m), (x * 0, y), attack=PGD(steps=2, random_start=False)),
        ModelError,
        ("finite logits and gradients", "NaN", "sqrt(0)"),
    ),
    "no gradient: detach": Row(
        lambda m, x, y: attack(cut(m, lambda z: z.detach()), (x, y), attack="pgd"),
        ModelError,
        ("gradients from the model's input", "got none", "torch.no_grad()", ".detach()"),
    ),
    "no gradient: detach behind a function": Row(
        lambda m, x, y: attack(hidden(cut(evaluated(m), lambda z: z.detach())), (x, y), attack="pgd"),
        ModelError,
        ("gradients from the model's input", "got none", ".detach()"),
    ),
    "no gradient: numpy": Row(
        lambda m, x, y: attack(cut(m, lambda z: torch.from_numpy(z.numpy())), (x, y), attack="fgsm"),
        ModelError,
        ("gradient", "numpy"),
    ),
    "no gradient: no_grad": Row(
        lambda m, x, y: attack(torch.no_grad()(evaluated(m).forward), (x, y)),
        ModelError,
        ("gradients from the model's input", "torch.no_grad()"),
    ),
    "a negative eps": Row(lambda m, x, y: Linf(-0.1), ConfigError, ("eps >= 0", "-0.1 (float)", "8 / 255")),
    "a NaN eps": Row(lambda m, x, y: L2(NAN), ConfigError, ("eps >= 0", "nan (float)", "8 / 255")),
    "an eps that is a word": Row(lambda m, x, y: Linf("8/255"), ConfigError, ("eps to be a number", "'8/255' (str)")),
    "no eps": Row(lambda m, x, y: L2(None), ConfigError, ("eps to be a number", "None (NoneType)")),
    "an unknown device": Row(
        lambda m, x, y: attack(m, (x, y), device="gpu"), ConfigError, ("auto, cpu, cuda", "'gpu' (str)")
    ),
    "no CUDA": Row(
        lambda m, x, y: attack(m, (x, y), device="cuda"),
        DeviceError,
        ("CUDA device", "'cuda'", torch.__version__, "--robust-device=cpu"),
    ),
    "an unknown attack": Row(
        lambda m, x, y: attack(m, (x, y), attack="pdg"), UnknownNameError, ("attack 'pdg'", "Did you mean 'pgd'")
    ),
    "the class of an attack": Row(
        lambda m, x, y: attack(m, (x, y), attack=FGSM), ConfigError, ("attack to be a name", "FGSM", "PGD(steps=100)")
    ),
    "a function as attack": Row(
        lambda m, x, y: attack(m, (x, y), attack=lambda z: z), ConfigError, ("attack to be a name", "function")
    ),
    "no steps": Row(lambda m, x, y: PGD(steps=0), ConfigError, ("steps to be a whole number >= 1", "0 (int)")),
    "half a step": Row(lambda m, x, y: PGD(steps=1.5), ConfigError, ("steps to be a whole number", "1.5 (float)")),
    "a step backwards": Row(lambda m, x, y: PGD(step_size=-1.0), ConfigError, ("step_size > 0", "-1.0 (float)")),
    "an eps for a threat": Row(
        lambda m, x, y: measure_robust_accuracy(m, (x, y), 8 / 255),
        ConfigError,
        ("threat model such as Linf", "(float)"),
    ),
    "the class of a threat": Row(
        lambda m, x, y: measure_robust_accuracy(m, (x, y), Linf), ConfigError, ("threat model such as Linf", "(type)")
    ),
    "an unknown shift": Row(
        lambda m, x, y: measure_shift_accuracy(m, (x, y), "rotate"),
        UnknownNameError,
        ("shift 'rotate'", "Did you mean 'rotation'"),
    ),
    "the class of a shift": Row(
        lambda m, x, y: measure_shift_accuracy(m, (x, y), Shift), ConfigError, ("a shift's name", "(type)")
    ),
    "a severity too high": Row(
        lambda m, x, y: shift(m, (x, y), severity=9), ConfigError, ("severity to be a whole number 1..5", "9 (int)")
    ),
    "a shift of tables": Row(
        lambda m, x, y: shift(m, (x.flatten(1), y)), ConfigError, ("images of shape (N, C, H, W)", "(24, 16)")
    ),
    "a shift that gives NaN": Row(
        lambda m, x, y: measure_shift_accuracy(m, (x, y), lambda z, severity, key: z * NAN),
        ModelError,
        ("finite inputs", "(24, 1, 4, 4)", "NaN"),
    ),
    "a shift that gives an array": Row(
        lambda m, x, y: measure_shift_accuracy(m, (x, y), lambda z, severity, key: z.numpy()),
        ModelError,
        ("(24, 1, 4, 4)", "ndarray"),
    ),
    "an unknown option": Row(
        lambda m, x, y: attack(m, (x, y), batchsize=8), UnknownNameError, ("'batchsize'", "Did you mean 'batch_size'")
    ),
    "an unknown health check": Row(
        lambda m, x, y: attack(m, (x, y), suppress=("softmax",)),
        UnknownNameError,
        ("Did you mean 'saturated_softmax' or 'softmax_outputs'",),
    ),
    "a number of health checks": Row(
        lambda m, x, y: attack(m, (x, y), suppress=2), ConfigError, ("suppress", "2 (int)")
    ),
    "an unknown profile": Row(
        lambda m, x, y: resolve(profiles=profiles_from(Path("absent.toml")), profile="nigthly"),
        UnknownNameError,
        ("profile 'nigthly'", "Did you mean 'nightly'"),
    ),
    "bounds upside down": Row(
        lambda m, x, y: attack(m, (x, y), bounds=(1, 0)), ConfigError, ("lowest < highest", "(1, 0) (tuple)")
    ),
    "a deviation of zero": Row(
        lambda m, x, y: attack(m, (x, y), preprocessing=(0.5, 0)), ConfigError, ("one std > 0", "(0.5, 0)")
    ),
    "both thresholds of a shift": Row(
        lambda m, x, y: assert_shift_accuracy(m, (x, y), "rotation", at_least=0.5, max_drop=0.1),
        ConfigError,
        ("at_least or max_drop", "got both", "two assertions"),
    ),
    "neither threshold of a shift": Row(
        lambda m, x, y: assert_shift_accuracy(m, (x, y), "rotation"),
        ConfigError,
        ("at_least=, max_drop= or no_worse_than=", "got none"),
    ),
    "no threshold of a cue": Row(
        lambda m, x, y: assert_no_spurious_feature(m, (x, y), CUE),
        ConfigError,
        ("max_flip_rate=, max_recall_drop= or no_worse_than=", "got none"),
    ),
    "a cue outside the image": Row(
        lambda m, x, y: measure_no_spurious_feature(m, (x, y), PixelPatch(top=3, left=0, height=2), max_flip_rate=0.1),
        ConfigError,
        ("2x1 patch at row 3", "(24, 1, 4, 4)", "Move or shrink"),
    ),
    "a cue brighter than white": Row(
        lambda m, x, y: measure_no_spurious_feature(m, (x, y), PixelPatch(top=0, left=0, value=255), max_flip_rate=0.1),
        ConfigError,
        ("inside [0, 1]", "255"),
    ),
    "the class of a cue": Row(
        lambda m, x, y: measure_no_spurious_feature(m, (x, y), PixelPatch, max_flip_rate=0.1),
        ConfigError,
        ("a cue such as PixelPatch(top=0, left=0)", "(type)"),
    ),
    "a target that is no class": Row(
        lambda m, x, y: cue(m, (x, y), target_class=10), ConfigError, ("target in 0..9", "10")
    ),
    "a negative target": Row(lambda m, x, y: cue(m, (x, y), target_class=-1), ConfigError, ("class index", "-1 (int)")),
    "a target that is a name": Row(
        lambda m, x, y: cue(m, (x, y), target_class="dog"), ConfigError, ("class index", "'dog' (str)")
    ),
    "a target without samples": Row(
        lambda m, x, y: cue(m, (x[y != 3], y[y != 3]), target_class=3), ConfigError, ("class 3", "lack one")
    ),
}

_CLAIMS: dict[str, Callable[..., object]] = {
    "at_least": lambda m, x, y, v: assert_robust_accuracy(m, (x, y), Linf(0.1), at_least=v),
    "at_least ": lambda m, x, y, v: assert_shift_accuracy(m, (x, y), "rotation", at_least=v),
    "max_drop": lambda m, x, y, v: assert_shift_accuracy(m, (x, y), "rotation", max_drop=v),
    "max_flip_rate": lambda m, x, y, v: assert_no_spurious_feature(m, (x, y), CUE, max_flip_rate=v),
    "max_recall_drop": lambda m, x, y, v: assert_no_spurious_feature(m, (x, y), CUE, max_recall_drop=v),
}
_THRESHOLDS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "in per cent": (40, ("40 (int)", "Write 0.4 for 40 %")),
    "negative": (-0.1, ("-0.1 (float)",)),
    "NaN": (NAN, ("nan (float)",)),
    "a word": ("0.4", ("'0.4' (str)",)),
    "a bool": (True, ("True (bool)",)),
}


def table() -> Iterator[Any]:
    for kind, measure in MEASUREMENTS.items():
        for name, (spoil, words) in DATA.items():
            row = Row(lambda m, x, y, f=spoil, g=measure: g(m, f(x, y)), DataError, words)
            yield pytest.param(row, id=f"{kind}: {name}")
        for name, (wrap, error, words) in MODELS.items():
            row = Row(lambda m, x, y, f=wrap, g=measure: g(f(m), (x, y)), error, words)
            yield pytest.param(row, id=f"{kind}: {name}")
    for claim, assert_ in _CLAIMS.items():
        for name, (value, words) in _THRESHOLDS.items():
            row = Row(
                lambda m, x, y, f=assert_, v=value: f(m, x, y, v), ConfigError, (f"{claim.strip()} in 0..1", *words)
            )
            yield pytest.param(row, id=f"{claim}: {name}")
    for name, row in CALLS.items():
        marks = [pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")] * (name == "no CUDA")
        yield pytest.param(row, id=name, marks=marks)


@pytest.fixture
def model() -> nn.Module:
    """Ten classes; in train mode, with running statistics and gradients to lose."""
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.BatchNorm1d(20), nn.Dropout(0.5), nn.Linear(20, 10))
    net(torch.rand(8, 1, 4, 4)).sum().backward()
    return net


@pytest.fixture
def x() -> Tensor:
    return torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def y() -> Tensor:
    return torch.arange(N) % 10


@pytest.mark.parametrize("row", list(table()))
def test_a_mistake_is_an_error_of_ours_that_says_how_to_mend_it(
    row: Row, model: nn.Module, x: Tensor, y: Tensor, snapshot: Any
) -> None:
    before, x_before, y_before = snapshot(model), x.clone(), y.clone()
    with pytest.raises(row.error) as caught:
        row.call(model, x, y)
    text = str(caught.value)
    for word in row.words:
        assert word in text
    assert "\n" not in text
    assert len(text) < 600  # whatever was passed, its repr must not bury the message
    assert snapshot(model) == before
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)


@pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)
def test_the_sound_model_and_data_of_the_table_are_sound(
    measure: Callable[..., Any], model: nn.Module, x: Tensor, y: Tensor, snapshot: Any
) -> None:
    before = snapshot(model)
    result = measure(model, (x, y))
    assert result.numbers.n == N
    assert snapshot(model) == before
    assert any("train mode" in note and "eval mode" in note for note in result.words.notes)


@pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)
def test_probabilities_for_logits_are_a_warning(
    measure: Callable[..., Any], model: nn.Module, x: Tensor, y: Tensor, snapshot: Any
) -> None:
    net = nn.Sequential(model, nn.Softmax(1))
    before = snapshot(net)
    with pytest.warns(HealthWarning, match="^softmax_outputs: .*probabilities.*remove the final softmax"):
        measure(net, (x, y))
    measure(net, (x, y), suppress=("softmax_outputs",))  # warnings are errors here: there is none
    assert snapshot(net) == before
