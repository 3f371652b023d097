"""`corrupt`: what it takes, what it refuses, and the published parameters."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from robustest import ConfigError, UnknownNameError
from robustest.shifts import CORRUPTIONS, Shift, corrupt, tables

X = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_ids_are_the_samples_indices() -> None:
    whole = corrupt(X, "gaussian_noise", 3)
    assert torch.equal(whole, corrupt(X, "gaussian_noise", 3, ids=torch.arange(4)))
    assert torch.equal(whole[2:], corrupt(X[2:], "gaussian_noise", 3, ids=[2, 3]))
    assert not torch.equal(whole[2:], corrupt(X[2:], "gaussian_noise", 3))


def test_parameters_are_chosen_by_size_or_by_name() -> None:
    for size, chosen in (((48, 9), "32"), ((64, 64), "64"), ((9, 49), "64"), ((65, 10), "224"), ((8, 8), "32")):
        x = torch.full((20, 3, *size), 0.5)
        change = corrupt(x, "gaussian_noise", 2) - x
        assert float(change.std()) == pytest.approx({"32": 0.06, "64": 0.08, "224": 0.12}[chosen], rel=0.05)
        assert torch.equal(corrupt(x, "gaussian_noise", 2), corrupt(x, "gaussian_noise", 2, parameters=chosen))
    assert torch.equal(
        corrupt(X, "fog", 2, parameters="224"), Shift("fog", 2, parameters="224").apply(X, key(), (0, 1))
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_of_64_pixels_have_parameters_of_their_own(name: str) -> None:
    """Tiny-ImageNet-C's: at severity 5 no corruption but zoom and snow's flakes is that of another size."""
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    tiny, small, large = (corrupt(x, name, 5, parameters=size) for size in ("64", "32", "224"))
    assert torch.equal(corrupt(x, name, 5), tiny)
    assert torch.equal(tiny, small) == (name == "zoom_blur")
    assert torch.equal(tiny, large) == (name in {"brightness", "contrast"})
    assert 0 < float((tiny - x).abs().mean()) < 0.6


def key() -> torch.Tensor:
    from robustest import rng

    return rng.keys(0, torch.arange(4))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "fogg"}, "Did you mean 'fog'"),
        ({"severity": 0}, "severity to be a whole number 1..5"),
        ({"severity": 2.0}, "severity to be a whole number 1..5"),
        ({"parameters": "128"}, 'parameters to be "auto", "224", "64" or "32"'),
        ({"ids": [0, 1]}, r"ids of shape \(4,\)"),
        ({"x": X[0]}, r"floats of shape \(N, C, H, W\).*\(3, 16, 16\)"),
        ({"x": (X * 255).to(torch.uint8)}, "floats.*uint8"),
        ({"x": X.numpy()}, "floats.*ndarray"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        corrupt(**({"x": X, "name": "fog", "severity": 3} | arguments))


def test_an_unknown_name_is_an_error_of_its_own() -> None:
    with pytest.raises(UnknownNameError):
        corrupt(X, "rain", 3)


def test_no_gradient_flows_and_none_is_needed() -> None:
    y = corrupt(X.clone().requires_grad_(), "gaussian_blur", 3)
    assert not y.requires_grad


def test_the_tables_are_the_published_ones(shared_networks: ModuleType) -> None:
    published = json.loads((shared_networks.HERE / "imagenet_c_params.json").read_text())["corruptions"]
    assert list(published) == list(CORRUPTIONS)
    for name, entry in published.items():
        table = getattr(tables, name.upper())
        for ours, theirs in ((table.large, entry["imagenet_224"]), (table.small, entry["cifar_32"])):
            if name == "zoom_blur":
                ours = tuple(np.round(1 + step * np.arange(n), 4).tolist() for step, n in ours)  # noqa: PLW2901
            assert [np.atleast_1d(value).tolist() for value in ours] == [np.atleast_1d(v).tolist() for v in theirs]
