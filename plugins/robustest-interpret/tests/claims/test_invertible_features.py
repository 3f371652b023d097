"""Images recovered from features: where all is kept, where most is lost, and where the search fell short."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from robustest_interpret import assert_invertible_features, measure_invertible_features
from torch import Tensor, nn

from robustest import ClaimFailed, ConfigError, Result, Settings, Verdict
from robustest.context import Context, running

N = 96
Y = torch.arange(N) % 2
X = 0.1 + 0.8 * torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Features are the first `width` pixels, turned about."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.turn = nn.Parameter(
            torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(1)))[0]
        )
        self.head = nn.Linear(width, 2)
        with torch.no_grad():  # it says both classes, about as often
            self.head.bias -= self(X).mean(0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x.flatten(1)[:, : self.width] @ self.turn)
        return out


@pytest.fixture(scope="module")
def narrow() -> Result:
    return measure_invertible_features(Net(6).eval(), (X, Y), max_image_error=0.2, iterations=60, exact=True)


def test_what_keeps_all_can_be_inverted() -> None:
    result = measure_invertible_features(Net(16).eval(), (X, Y), max_image_error=0.05, iterations=60, exact=True)
    assert (result.verdict, result.estimate) == (Verdict.PASSED, 1.0)
    assert result.details["image_error"] < 0.03
    assert result.details["rep_error"] < 0.02
    assert [note for note in result.words.notes if "16 features for 16 elements" in note]


def test_what_keeps_little_cannot(narrow: Result) -> None:
    assert narrow.verdict is Verdict.FAILED
    assert narrow.details["inverted"] == N
    # Ten of sixteen pixels stay grey: their share of the length is what is missing.
    missing = (X.flatten(1)[:, 6:] - 0.5).norm(dim=1) / X.flatten(1).norm(dim=1)
    assert narrow.details["image_error"] == pytest.approx(float(missing.median()), abs=0.05)
    assert narrow.details["start_error"] > narrow.details["image_error"]
    assert not [note for note in narrow.words.notes if "can be inverted" in note]
    assert narrow.counterexamples[0].size == pytest.approx(float(missing.max()), abs=0.1)


def test_a_search_that_fell_short_shows_nothing() -> None:
    for width in (6, 16):
        result = measure_invertible_features(Net(width).eval(), (X, Y), max_image_error=0.2, iterations=1)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "give more iterations" in result.rule
    grey = {"max_image_error": 0.5, "iterations": 1, "step_size": 1e-6}
    near = measure_invertible_features(Net(6).eval(), (0 * X + 0.5, Y), **grey)  # type: ignore[arg-type]
    assert near.details["image_error"] < 0.5
    assert near.verdict is Verdict.INCONCLUSIVE  # what begins close to the start was not inverted


def test_images_that_are_nearly_grey_carry_no_claim() -> None:
    """The search begins at grey: 44 of 96 images are there already, and of the other 52 ten come back."""
    x = X.clone()
    x[:44] = 0.5 + 0.02 * (X[:44] - 0.5)
    x[44:54] = torch.where(torch.arange(16).view(1, 1, 4, 4) < 6, X[44:54], 0.5)
    how: dict[str, Any] = {"max_image_error": 0.2, "iterations": 60, "exact": True}
    carried = measure_invertible_features(Net(6).eval(), (x, Y), **how)
    assert carried.estimate is not None
    assert carried.estimate >= 0.5
    assert carried.verdict is Verdict.INCONCLUSIVE, carried.rule
    assert "of the others" in carried.rule
    whole = measure_invertible_features(Net(16).eval(), (x, Y), **how)
    assert whole.verdict is Verdict.PASSED, whole.rule


def test_an_early_verdict_is_that_of_all(narrow: Result) -> None:
    early = measure_invertible_features(Net(6).eval(), (X, Y), max_image_error=0.2, iterations=60)
    assert early.verdict is narrow.verdict
    assert early.numbers.n < N
    assert early.estimate is None


def test_batches_do_not_matter(narrow: Result) -> None:
    again = measure_invertible_features(
        Net(6).eval(), (X, Y), max_image_error=0.2, iterations=60, exact=True, batch_size=7
    )
    assert again.details["image_error"] == pytest.approx(narrow.details["image_error"], abs=1e-4)
    assert (
        again.cost.backward == narrow.cost.backward == 60 * N + 8 * 7 + 4 * 5  # and a few: are they true?
    )  # 5 for a few of each of two chunks: are they true?


def test_workers_do_not_matter(narrow: Result) -> None:
    with running(Context(settings=Settings(workers=2), test="t")):
        result = measure_invertible_features(Net(6).eval(), (X, Y), max_image_error=0.2, iterations=60, exact=True)
    assert result.outcomes == narrow.outcomes


def test_without_a_threshold_nothing_is_claimed(narrow: Result) -> None:
    model = Net(6).eval()
    result = assert_invertible_features(model, (X, Y), iterations=10, max_samples=64)
    assert (result.verdict, result.numbers.n) == (Verdict.INCONCLUSIVE, 64)
    with pytest.raises(ClaimFailed, match="images that come back"):
        assert_invertible_features(model, (X, Y), max_image_error=0.2, iterations=60)
    assert Result.from_dict(narrow.to_dict()) == narrow


@pytest.mark.parametrize(
    "options",
    [
        {"max_image_error": 0.0},
        {"max_representation_error": -1.0},
        {"step_size": 0.0},
        {"iterations": 0},
        {"layer": "nowhere"},
    ],
    ids=str,
)
def test_settings_are_in_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        measure_invertible_features(Net(6).eval(), (X, Y), **options)


def test_a_model_whose_layers_cannot_be_seen_is_refused() -> None:
    with pytest.raises(ConfigError, match="a torch module"):
        measure_invertible_features(lambda x: x.flatten(1)[:, :2], (X, Y))
