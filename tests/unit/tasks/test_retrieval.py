"""Retrieval: recall as an exact search has it, ties, attacks, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustest import ConfigError, DataError, Linf, ModelError, Retrieval, Verdict
from robustest.measure import measure_accuracy, measure_consistency, measure_robust_accuracy


def drawn(n: int, seed: int, whole: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 3, (n, 3), generator=generator).float() if whole else torch.randn(n, 5, generator=generator)


@pytest.mark.parametrize("whole", [False, True], ids=["no ties", "ties"])
@pytest.mark.parametrize("k", [1, 3])
def test_recall_is_that_of_an_exact_search_in_which_right_items_come_last(k: int, whole: bool) -> None:
    items, queries = drawn(40, 0, whole), drawn(60, 1, whole)
    rows = Retrieval.same_label(torch.arange(60) % 4, torch.arange(40) % 4)
    unit = [
        one.double().numpy() / np.linalg.norm(one.double().numpy(), axis=1, keepdims=True) for one in (queries, items)
    ]
    near = np.round(unit[0] @ unit[1].T, 11)
    right = rows.numpy() == 1
    first = np.stack([right[i][np.lexsort((right[i], -near[i]))[:k]] for i in range(60)])
    task = Retrieval(items, k, copies=True)
    np.testing.assert_array_equal(task.score(queries, task.targets(rows)).numpy(), first.any(1))
    shared = Retrieval(items, k, "share", copies=True)
    np.testing.assert_allclose(shared.score(queries, rows).numpy(), first.sum(1) / right.sum(1))


def made() -> tuple[Any, Any, Retrieval]:
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(2))
    y = torch.arange(60) % 20
    items = x[:20] - 0.5
    queries = (x[:20][y] + 0.02 * torch.randn(60, 6, generator=torch.Generator().manual_seed(3))).clamp(0, 1)
    return (lambda batch: batch - 0.5), (queries, y), Retrieval(items, 2)


def test_claims_under_attack_with_a_fixed_gallery() -> None:
    model, data, task = made()
    assert measure_accuracy(model, data, task=task, at_least=0.8).verdict is Verdict.PASSED
    assert measure_robust_accuracy(model, data, Linf(0.005), task=task, at_least=0.6).verdict is Verdict.PASSED
    assert measure_robust_accuracy(model, data, Linf(0.4), task=task, at_least=0.6).verdict is Verdict.FAILED


def test_constant_embeddings_do_not_pass() -> None:
    _, data, task = made()
    constant = lambda batch: 0 * batch + torch.arange(1.0, 7.0)  # noqa: E731
    assert measure_accuracy(constant, data, task=task, at_least=0.05).verdict is not Verdict.PASSED
    still = measure_consistency(constant, data, lambda x: (x + 0.1).clamp(0, 1), task=task, max_flip_rate=0.2)
    assert still.verdict is not Verdict.PASSED


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Retrieval(torch.eye(4), 4), ConfigError, "more than k=4 items"),
        (lambda: Retrieval(torch.ones(5, 3), 1), DataError, "have one embedding"),
        (lambda: Retrieval(torch.zeros(5, 3), 1), DataError, "not 0"),
        (lambda: Retrieval(torch.full((5, 3), torch.nan), 1), DataError, "finite"),
        (lambda: Retrieval(torch.eye(4), 1).targets([4]), DataError, r"0\.\.3"),
        (lambda: Retrieval(torch.eye(4), 2).targets([[1, 1, 1, 0]]), DataError, "every answer would hold"),
        (lambda: Retrieval(torch.eye(4), 2).targets([[0, 0, 0, 0]]), DataError, "query 0 has none"),
        (lambda: Retrieval(torch.eye(4), 1).check_output(torch.zeros(2, 4), 2, 0), ModelError, "not 0"),
        (lambda: Retrieval(torch.eye(4), 1).score(torch.eye(4), torch.eye(4)), DataError, "it finds itself"),
    ],
)
def test_an_answer_that_says_nothing_is_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


HALVES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("gallery", HALVES)
@pytest.mark.parametrize("queries", HALVES)
def test_copies_in_half_precision_are_refused(gallery: torch.dtype, queries: torch.dtype) -> None:
    items = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    task = Retrieval(items.to(gallery).float(), 1)
    rows = task.targets(list(range(200)))
    with pytest.raises(DataError, match="finds itself"):
        task.score(items.to(queries).float(), rows)
    with pytest.raises(DataError, match="finds itself"):
        task.score(items[7:8].to(queries).float(), rows[7:8])


@pytest.mark.parametrize("kind", HALVES)
def test_neighbours_in_half_precision_are_no_copies(kind: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    items = torch.randn(200, 64, generator=generator)
    queries = (items + 0.02 * torch.randn(200, 64, generator=generator)).to(kind).float()
    assert Retrieval(items.to(kind), 1).score(queries, Retrieval(items, 1).targets(list(range(200)))).mean() == 1


def test_items_that_half_precision_makes_one_find_nothing() -> None:
    items = torch.tensor([[1.0, 0.3], [1.0, 0.30001], [0.0, 1.0]])
    query, exact, rounded = torch.tensor([[1.0, 0.32]]), Retrieval(items, 1), Retrieval(items.half(), 1)
    assert exact.score(query, exact.targets([1])) == 1
    assert rounded.score(query, rounded.targets([1])) == 0
