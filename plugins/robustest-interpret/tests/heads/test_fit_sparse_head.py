"""The path of sparse heads: where it begins, what it selects, and that scikit-learn's saga finds nothing better."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from robustest_interpret.heads import fit_sparse_head
from torch import Tensor

from robustest.errors import ConfigError, DataError


def data(n: int = 300, d: int = 20, k: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (N, D) of which the first K tell the classes apart; scales differ by features."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % k
    x = torch.randn(n, d, generator=generator)
    x[torch.arange(n), y] += 2.5
    return x * torch.logspace(-2, 2, d) + 3, y


X, Y = data()


def test_the_path_begins_where_no_feature_is_left_and_grows() -> None:
    path = fit_sparse_head(X, Y, n_lambdas=15)
    assert path.nonzeros[0] == 0
    assert path.nonzeros[2] > 0
    assert path.nonzeros[-1] > path.nonzeros[5]
    assert max(path.gaps) <= 1e-4
    assert list(path.objectives) == sorted(path.objectives, reverse=True)
    assert path.lambdas[-1] == pytest.approx(1e-3 * path.lambdas[0])


def test_the_sparsest_head_that_is_good_enough_is_selected() -> None:
    path = fit_sparse_head(X, Y, n_lambdas=20)
    assert path.accuracies is not None
    chosen = path.select(slack=0.05)
    assert path.accuracies[chosen] >= path.accuracies[-1] - 0.05
    good = [i for i in range(len(path)) if path.accuracies[i] >= path.accuracies[-1] - 0.05]
    assert path.nonzeros[chosen] == min(path.nonzeros[i] for i in good)
    head = path.selected()
    used = (head.weight != 0).any(0).nonzero().flatten().tolist()
    assert set(used) == {0, 1, 2}  # those that tell the classes apart, and no other
    assert head.top(0)[0][0] == 0
    assert head.top(0)[0][1] > 0


def test_a_head_may_be_held_against_the_deployed_models_accuracy() -> None:
    path = fit_sparse_head(X, Y, n_lambdas=20)
    assert path.accuracies is not None
    best = max(path.accuracies)
    near = path.select(slack=0.05, reference=0.9)
    assert path.accuracies[near] >= 0.85
    assert all(path.accuracies[i] < 0.85 for i in range(near))
    none = path.select(slack=0.0, reference=1.0)
    assert path.accuracies[none] == best
    assert path.nonzeros[none] == min(n for n, a in zip(path.nonzeros, path.accuracies, strict=True) if a == best)
    with pytest.raises(ConfigError, match="reference"):
        path.select(reference=1.5)


def test_the_head_counts_for_raw_features() -> None:
    fresh, labels = data(200, seed=1)
    head = fit_sparse_head(X, Y, n_lambdas=20).selected()
    right = float((head.logits(fresh).argmax(1) == labels).double().mean())
    assert right > 0.9
    assert head.fidelity(fresh, labels) == right


def test_the_shift_of_a_cue_is_shared_out_among_features() -> None:
    head = fit_sparse_head(X, Y, n_lambdas=20).selected()
    on = X.clone()
    on[:, 1] += 100
    parts = head.contributions(on, X)
    shift = (head.logits(on) - head.logits(X)).mean(0)
    assert torch.allclose(parts.sum(1), shift, atol=1e-3)
    assert int(parts[1].argmax()) == 1
    assert parts[:, [0, 2, 5]].abs().max() == 0


def test_a_path_streamed_in_batches_is_the_same() -> None:
    whole, streamed = (fit_sparse_head(X, Y, n_lambdas=8, batch=batch) for batch in (None, 37))
    assert streamed.objectives == pytest.approx(whole.objectives, rel=2e-4)
    assert streamed.accuracies == pytest.approx(whole.accuracies, abs=0.07)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saga_finds_nothing_better(dtype: torch.dtype) -> None:
    linear_model: Any = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    path = fit_sparse_head(X, Y, n_lambdas=6, lambda_ratio=0.01, validation_share=0.0, dtype=dtype)
    z = ((X - path.mean) / path.scale).double()
    for i, lam in enumerate(path.lambdas):
        model = linear_model.LogisticRegression(
            solver="saga", l1_ratio=0.99, C=1 / (lam * len(Y)), tol=1e-7, max_iter=3000, random_state=0
        ).fit(z.numpy(), Y.numpy())
        weight, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
        penalty = lam * (0.99 * weight.abs().sum() + 0.005 * weight.square().sum())
        theirs = float(torch.nn.functional.cross_entropy(z @ weight.T + bias, Y) + penalty)
        assert path.objectives[i] == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"l1_ratio": 0.0},
        {"l1_ratio": 1.0},
        {"n_lambdas": 1},
        {"lambda_ratio": 1.0},
        {"lambdas": [0.1, 0.2]},
        {"lambdas": []},
        {"tolerance": 0.0},
        {"validation_share": 1.0},
        {"batch": 0},
        {"dtype": torch.float16},
        {"classes": 1},
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused(arguments: Any) -> None:
    with pytest.raises(ConfigError):
        fit_sparse_head(X, Y, **arguments)


def test_data_that_make_no_sense_are_refused() -> None:
    bad = X.clone()
    bad[3, 4] = torch.nan
    for features, labels in ((bad, Y), (X[0], Y), (X, Y[:-1]), (X, Y.float()), (X, Y - 1), (X, 2 * Y)):
        with pytest.raises(DataError):
            fit_sparse_head(features, labels)


def test_without_validation_rows_nothing_can_be_selected() -> None:
    path = fit_sparse_head(X, Y, n_lambdas=3, validation_share=0.0)
    assert path.accuracies is None
    with pytest.raises(ConfigError, match="validation rows"):
        path.select()
    with pytest.raises(ConfigError, match="slack"):
        fit_sparse_head(X, Y, n_lambdas=3).select(slack=2.0)
    with pytest.raises(ConfigError, match="class_index"):
        path.head(0).top(3)
    with pytest.raises(DataError, match="features"):
        path.head(0).logits(X[:, :5])
