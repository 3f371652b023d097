"""Models and data by the name of what builds them."""

from __future__ import annotations

import pickle

import pytest
import torch

from robustest import ConfigError, Factory, as_classifier
from robustest.data import as_samples


def test_it_builds_what_it_names() -> None:
    built = Factory("torch.nn:Linear", in_features=3, out_features=2).build()
    assert built.weight.shape == (2, 3)


def test_it_travels() -> None:
    made = Factory("collections:Counter", a=2)
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301
    assert str(made) == "collections:Counter(a=2)"


@pytest.mark.parametrize("path", ["torch.nn", "torch.nn:", ":Linear", 3], ids=str)
def test_a_path_has_a_module_and_a_name(path: str) -> None:
    with pytest.raises(ConfigError, match=r"package\.module:name"):
        Factory(path)


@pytest.mark.parametrize("path", ["no_such_module:build", "torch.nn:NoSuchLayer", "torch.nn:Linear"])
def test_what_cannot_be_built_is_a_config_error(path: str) -> None:
    with pytest.raises(ConfigError, match=f"Expected {path}"):
        Factory(path).build()


def test_it_stands_for_a_model() -> None:
    model = as_classifier(Factory("torch.nn:Linear", in_features=3, out_features=2))
    assert model.recipe == Factory("torch.nn:Linear", in_features=3, out_features=2)
    assert model(torch.zeros(4, 3)).shape == (4, 2)


def test_it_stands_for_data_which_then_travel_by_name() -> None:
    made = Factory("robustest.data:as_samples", data=(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)))
    samples = as_samples(made)
    assert samples.source == made
    there = pickle.loads(pickle.dumps(samples))  # noqa: S301
    assert len(there) == 2
    assert torch.equal(there.take(torch.arange(2))[0], torch.zeros(2, 3))
