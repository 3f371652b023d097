"""Data sets made of one kind of feature."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from robustest_training.repair import mislabelled, robustified
from torch import Tensor, nn

from robustest import L2, ConfigError, DataError
from robustest.engine.ascent import relative_distance

pytestmark = pytest.mark.filterwarnings("ignore:Expected a constructed data set")


class Rows(nn.Module):
    """Reads the means of rows 0, 1 and 2; three classes are three rows. All else of an image it cannot see."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(4 * torch.eye(3))

    def features(self, x: Tensor) -> Tensor:
        return x[:, 0, :3].mean(2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(x))
        return out


GENERATOR = torch.Generator().manual_seed(0)
Y = torch.arange(30) % 3
X = 0.3 * torch.rand(30, 1, 5, 5, generator=GENERATOR)
X[torch.arange(30), 0, Y] += 0.5


@pytest.fixture
def model() -> Rows:
    return Rows()


def test_what_the_features_hold_is_kept_and_the_rest_is_anothers(model: Rows) -> None:
    made = robustified(model, (X, Y), steps=200, step_size=0.2)
    assert torch.equal(made.y, Y)
    assert float(made.reached.max()) < 0.02
    with torch.no_grad():
        assert torch.allclose(relative_distance(model.features(made.x), model.features(X)), made.reached, atol=1e-6)
    rest, originals = made.x[:, 0, 3:], X[:, 0, 3:]
    apart = (rest.unsqueeze(1) - originals.unsqueeze(0)).abs().flatten(2).amax(2)
    assert float(apart.amin(1).max()) < 1e-6  # rows that no feature sees come from one of the images ...
    assert int((apart.argmin(1) == torch.arange(30)).sum()) < 8  # ... and that is seldom the image itself
    assert 0 <= float(made.x.min()) <= float(made.x.max()) <= 1


@pytest.mark.parametrize("labels", ["random", "next"])
def test_images_move_a_little_and_get_the_label_they_moved_to(model: Rows, labels: Any) -> None:
    made = mislabelled(model, (X, Y), L2(0.5), labels=labels, steps=10)
    apart = (made.x - X).flatten(1).norm(dim=1)
    assert float(apart.max()) <= 0.5
    with torch.no_grad():
        before, after = model(X), model(made.x)
    at = made.y.unsqueeze(1)
    lead = torch.log_softmax(after, 1).gather(1, at) - torch.log_softmax(before, 1).gather(1, at)
    assert float(lead.min()) > 0
    assert torch.equal(made.reached == 1, after.argmax(1) == made.y)
    if labels == "next":
        assert torch.equal(made.y, (Y + 1) % 3)
    else:
        assert set(made.y.tolist()) == {0, 1, 2}
        assert not torch.equal(made.y, mislabelled(model, (X, Y), L2(0.5), labels="random", steps=1, seed=1).y)


def test_a_wide_ball_reaches_every_target(model: Rows) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mislabelled(model, (X, Y), L2(3.0), labels="next", steps=20).reached.eq(1).all()


def test_a_set_that_did_not_become_what_it_should_warns(model: Rows) -> None:
    with pytest.warns(UserWarning, match=r"only 0\.\d+ of the samples are taken for the class"):
        made = mislabelled(model, (X, Y), L2(0.1), labels="next", steps=20)
    assert float(made.reached.mean()) < 0.9
    with pytest.warns(UserWarning, match=r"only 0\.\d+ of the samples have features within 0\.1"):
        robustified(model, (X, Y), steps=1, step_size=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        robustified(model, (X, Y), steps=200, step_size=0.2)


def test_the_model_stays_as_it_was(model: Rows, snapshot: Any) -> None:
    model.train()
    before = snapshot(model)
    robustified(model, (X, Y), steps=2)
    mislabelled(model, (X, Y), L2(0.5), labels="next", steps=2)
    assert snapshot(model) == before


def test_arguments_that_make_no_sense_are_refused(model: Rows) -> None:
    with pytest.raises(ConfigError, match='"random" or "next"'):
        mislabelled(model, (X, Y), L2(0.5), labels="last")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="steps"):
        mislabelled(model, (X, Y), L2(0.5), labels="next", steps=0)
    with pytest.raises(ConfigError, match="step_size"):
        robustified(model, (X, Y), step_size=0.0)
    with pytest.raises(ConfigError, match="to be a linear one"):
        robustified(model, (X, Y), layer="body")
    with pytest.raises(DataError, match=r"labels in 0\.\.2"):
        mislabelled(model, (X, Y + 1), L2(0.5), labels="next")
