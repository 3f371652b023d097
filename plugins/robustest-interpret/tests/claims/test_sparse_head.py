"""Heads of few features: what they need, what they lose, and when nothing can be said of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from robustest_interpret import assert_sparse_head, measure_sparse_head
from robustest_interpret.sparse_head import without_seen
from torch import Tensor, nn

from robustest import ClaimFailed, ClaimInconclusive, ConfigError, DataError, ModelError, Result, Settings, Verdict
from robustest.context import Context, running
from robustest.decisions import DropRule, Terms
from robustest.reports.text import failure_text
from robustest.run.evidence import Evidence

N = 480
Y = torch.arange(N) % 3
QUICK: dict[str, Any] = {"n_lambdas": 12, "subsamples": 3}


def images(seed: int = 0) -> Tensor:
    """(N, 1, 4, 4): pixel k of the first row is bright in class k; all else is noise."""
    x = 0.5 * torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    x[torch.arange(N), 0, 0, Y] += 0.45
    return x


X = images()


class Net(nn.Module):
    """Reads its features off the pixels: `spread` False, each pixel one; True, mixtures of them all."""

    def __init__(self, *, spread: bool = False, scale: float = 8.0, shuffled: bool = False) -> None:
        super().__init__()
        mix = torch.eye(16)
        if spread:
            mix = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(1)))[0]
        self.body = nn.Linear(16, 16, bias=False)
        self.head = nn.Linear(16, 3, bias=False)
        wanted = torch.eye(3, 16).roll(1 if shuffled else 0, 0)
        with torch.no_grad():
            self.body.weight.copy_(mix)
            self.head.weight.copy_(scale * wanted @ mix.T)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x.flatten(1)))
        return out


@pytest.fixture(scope="module")
def passed() -> Result:
    return measure_sparse_head(Net().eval(), (X, Y), max_features_per_class=3, max_drop=0.1, **QUICK)


def test_a_model_of_three_features_needs_no_more(passed: Result) -> None:
    assert passed.verdict is Verdict.PASSED
    assert passed.estimate is not None
    assert passed.estimate <= 0.1
    assert passed.interval[0] <= passed.estimate <= passed.interval[1]
    assert (passed.numbers.n, passed.numbers.n_total) == (N // 2, N)
    assert passed.outcomes.count(None) == N // 2
    assert {row["feature"] for row in passed.details["heads"]} <= {0, 1, 2}
    assert all(row["stability"] == 1.0 for row in passed.details["heads"] if row["feature"] == row["class"])
    assert passed.details["fitted_on"] + passed.details["chosen_on"] == N // 2
    assert [row["chosen"] for row in passed.details["path"]].count(True) == 1


def test_the_samples_named_are_those_where_a_feature_is_highest(passed: Result) -> None:
    fitted_on = torch.tensor([i for i, outcome in enumerate(passed.outcomes) if outcome is None])
    row = next(row for row in passed.details["heads"] if (row["class"], row["feature"]) == (1, 1))
    values = X[fitted_on, 0, 0, 1]
    assert row["top_samples"] == fitted_on[values.argsort(descending=True)[:5]].tolist()


def test_features_that_each_say_a_little_are_too_many() -> None:
    result = measure_sparse_head(Net(spread=True).eval(), (X, Y), max_features_per_class=3, max_drop=0.05, **QUICK)
    assert result.verdict is Verdict.FAILED
    assert "features in the sparsest head" in result.rule
    assert result.details["most_features"] > 3


def test_a_head_that_loses_too_much_fails_though_it_is_sparse() -> None:
    result = measure_sparse_head(
        Net(spread=True).eval(), (X, Y), max_features_per_class=15, max_drop=0.05, slack=0.5, **QUICK
    )
    assert result.verdict is Verdict.FAILED
    assert result.estimate is not None
    assert result.estimate > 0.05
    lost = [shown.index for shown in result.counterexamples]
    assert lost
    assert all(result.outcomes[at] is False for at in lost)
    assert all(shown.clean == shown.label != shown.predicted for shown in result.counterexamples)


def test_a_model_at_chance_has_nothing_to_tell() -> None:
    wrong = (Y + torch.randint(3, (N,), generator=torch.Generator().manual_seed(5))) % 3
    result = measure_sparse_head(Net().eval(), (X, wrong), max_features_per_class=15, max_drop=0.9, **QUICK)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the model is no better than chance" in result.rule


def test_a_head_without_a_feature_does_not_pass_however_much_may_be_lost() -> None:
    result = measure_sparse_head(
        Net().eval(), (X, Y), max_features_per_class=3, max_drop=0.9, slack=1.0, n_lambdas=4, subsamples=0
    )
    assert result.details["most_features"] == 0
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the sparse head is no better than chance" in result.rule


def test_heads_on_too_few_samples_say_nothing_against_a_model() -> None:
    few = measure_sparse_head(
        Net(spread=True).eval(), (X[:36], Y[:36]), max_features_per_class=15, max_drop=0.0, min_per_class=2, **QUICK
    )
    assert few.details["best_accuracy"] < few.details["accuracy"]
    assert few.verdict is Verdict.INCONCLUSIVE
    assert "give more samples" in few.rule


def test_a_class_of_a_handful_is_refused() -> None:
    rows = torch.cat([(Y != 2).nonzero().squeeze(1), (Y == 2).nonzero().squeeze(1)[:12]])
    with pytest.raises(DataError, match=r"10 samples or more of each of the model's 3 classes .* fewer of \[2\]"):
        measure_sparse_head(Net().eval(), (X[rows], Y[rows]), **QUICK)
    with pytest.raises(DataError, match=r"fewer of \[2\] \(class 2: 0\)"):
        measure_sparse_head(Net().eval(), (X[Y != 2], Y[Y != 2]), **QUICK)


def test_a_part_of_the_samples_holds_no_claim_up() -> None:
    part = measure_sparse_head(Net().eval(), (X, Y), max_features_per_class=3, max_drop=0.1, max_samples=150, **QUICK)
    assert part.verdict is Verdict.INCONCLUSIVE
    assert part.estimate is None
    assert part.details["accuracy"] is None


def test_without_limits_it_is_only_measured() -> None:
    result = measure_sparse_head(Net().eval(), (X, Y), **QUICK)
    assert (result.verdict, result.rule) == (Verdict.INCONCLUSIVE, "no threshold given")
    assert result.estimate is not None


def test_features_that_are_no_numbers_are_an_error() -> None:
    class Bad(Net):
        def forward(self, x: Tensor) -> Tensor:
            features = self.body(x.flatten(1))
            features = torch.where(x.flatten(1)[:, :1] > 0.9, torch.nan, features)
            out: Tensor = self.head(features)
            return out.nan_to_num(0.0)

    with pytest.raises(ModelError, match="nan_values"):
        measure_sparse_head(Bad().eval(), (X, Y), **QUICK)


def test_the_assertion_raises() -> None:
    model = Net(spread=True).eval()
    with pytest.raises(ClaimFailed, match="features in the sparsest head") as caught:
        assert_sparse_head(model, (X, Y), max_features_per_class=3, max_drop=0.05, **QUICK)
    assert "a class on average" in str(caught.value)
    with pytest.raises(ClaimInconclusive, match="budget"):
        assert_sparse_head(Net().eval(), (X, Y), max_features_per_class=3, max_drop=0.1, max_samples=150, **QUICK)


def test_results_are_plain_and_repeat(passed: Result) -> None:
    assert Result.from_dict(passed.to_dict()) == passed
    assert "they agree on" in failure_text(passed, replay="")
    again = measure_sparse_head(Net().eval(), (X, Y), max_features_per_class=3, max_drop=0.1, batch_size=7, **QUICK)
    assert again.outcomes == passed.outcomes
    assert again.details["heads"] == passed.details["heads"]
    assert (again.cost.forward, again.cost.backward) == (passed.cost.forward, passed.cost.backward)


def test_pictures_show_what_drives_a_feature_and_the_samples_that_have_most_of_it(tmp_path: Path) -> None:
    with running(Context(settings=Settings(pictures=str(tmp_path)), test="t")):
        result = measure_sparse_head(Net().eval(), (X, Y), max_features_per_class=3, max_drop=0.1, **QUICK)
    assert result.verdict is Verdict.PASSED
    assert len(result.details["pictures"]) == 3
    for told in result.details["pictures"]:
        with Image.open(told["image"]) as picture:
            assert picture.width == 6 * 160 + 5 * 8  # one that was made, five samples
    first = result.details["pictures"][1]
    assert first["caption"].startswith("class 1: feature 1 (+")
    with Image.open(first["image"]) as picture:
        driven = torch.tensor(list(picture.convert("L").crop((0, 0, 160, 160)).resize((4, 4), 0).tobytes()))
    assert driven.view(4, 4)[0, 1] == 255
    assert driven.view(4, 4)[1:].float().sub(128).abs().max() < 64  # what the feature does not read stays grey
    assert result.cost.backward > 0


def test_a_model_without_gradients_shows_samples_alone(tmp_path: Path) -> None:
    class Cut(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach())

    with running(Context(settings=Settings(pictures=str(tmp_path)), test="t")):
        result = measure_sparse_head(Cut().eval(), (X, Y), **QUICK)
    with Image.open(result.details["pictures"][0]["image"]) as picture:
        assert picture.width == 5 * 160 + 4 * 8
    assert [note for note in result.words.notes if "not visualised" in note]


@pytest.mark.parametrize(
    "options",
    [
        {"max_drop": 0.1},
        {"max_features_per_class": 3},
        {"max_features_per_class": 0, "max_drop": 0.1},
        {"max_features_per_class": 3, "max_drop": 1.5},
        {"slack": -0.1},
        {"l1_ratio": 1.0},
        {"n_lambdas": 1},
        {"subsamples": -1},
        {"fit_samples": 1},
        {"min_per_class": 1},
        {"listed_features": 0},
        {"listed_samples": 0},
        {"layer": "nowhere"},
    ],
    ids=str,
)
def test_settings_are_in_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        measure_sparse_head(Net().eval(), (X, Y), **{**QUICK, **options})


def test_a_model_whose_layers_cannot_be_seen_is_refused() -> None:
    with pytest.raises(ConfigError, match="a torch module"):
        measure_sparse_head(lambda x: x.flatten(1)[:, :3], (X, Y))


class Scores(nn.Module):
    """Right wherever the sum of all pixels, each with a weight of its own, is high: few pixels are not enough."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(100, 2)
        weight = 20 * torch.randn(100, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            self.head.weight.copy_(torch.stack([-weight, weight]))
            self.head.bias.copy_(torch.stack([weight.sum(), -weight.sum()]) / 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(x.flatten(1))
        return out


def pixels(n: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(n, 1, 10, 10, generator=torch.Generator().manual_seed(seed))
    return x, Scores()(x).argmax(1)


def of_copies(n: int, times: int, more: int = 0, *, scope: Any = "set", flat: bool = False) -> Result:
    """Of `n` images, each there several times, and of more images that are there once."""
    (x, y), (once, classes) = pixels(n, 1), pixels(more, 2)
    x, y = torch.cat([x.repeat(times, 1, 1, 1), once]), torch.cat([y.repeat(times), classes])
    with running(Context(settings=Settings(scope=scope))):
        return measure_sparse_head(
            Scores(),
            (x.flatten(1) if flat else x, y),
            max_features_per_class=75,
            max_drop=0.1,
            min_per_class=5,
            n_lambdas=12,
            subsamples=0,
        )


@pytest.mark.parametrize("scope", ["set", "population"])
@pytest.mark.parametrize("more", [0, 60])
def test_a_head_is_not_judged_by_copies_of_what_it_was_fitted_on(scope: str, more: int) -> None:
    """Of images that it has not seen the head loses a quarter."""
    result = of_copies(100, 10, more, scope=scope)
    assert result.estimate is not None
    assert result.estimate < 0.1
    assert (result.verdict, result.ruling.reasons) == (Verdict.INCONCLUSIVE, ("copies",))
    if scope == "set":
        judged = 500 + more // 2
        assert f"of {judged} samples judged are copies, to the bit, of samples fitted on: not shown" in result.rule


def test_equal_rows_of_a_table_are_no_copies() -> None:
    assert of_copies(100, 10, flat=True).verdict is Verdict.PASSED


@pytest.mark.parametrize("scope", ["set", "population"])
def test_a_head_that_others_show_too_passes_with_copies(scope: Any) -> None:
    x, y = torch.cat([X, X[:48], X[:48]]), torch.cat([Y, Y[:48], Y[:48]])
    with running(Context(settings=Settings(scope=scope))):
        result = measure_sparse_head(Net().eval(), (x, y), max_features_per_class=3, max_drop=0.15, **QUICK)
    assert result.verdict is Verdict.PASSED
    assert any("samples judged are copies, to the bit, of samples fitted on" in note for note in result.words.notes)


def test_samples_that_are_left_beside_the_copies_count_once() -> None:
    """Left are copies of one another: eight images of each class, which no head was fitted on."""
    columns = {name: np.array([True] * 40) for name in ("held", "clean", "best", "same")}
    columns |= {"label": np.arange(40) % 2, "seen": np.arange(40) < 24}
    evidence = Evidence(decision=None, columns=columns, ids=np.arange(40), total=40, copies=np.arange(40) >= 36)  # type: ignore[arg-type]
    for scope, left in (("set", 16), ("population", 12)):
        rule = DropRule(threshold=0.5, terms=Terms(scope=scope, alpha=0.05, fail_alpha=0.05))
        found = without_seen(evidence, rule)
        assert found is not None
        assert (found.n, found.total, found.ids.tolist()) == (left, left, list(range(24, 24 + left)))
        assert found.decision == rule.decide({k: v[24 : 24 + left] for k, v in columns.items()}, left, None)
    assert without_seen(replace(evidence, columns=columns | {"seen": np.ones(40, bool)}), rule) is None
