"""What is proven of a batch: whose bound is above zero, is finite, and was not given up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from robustest.engine import proving
from robustest.engine.proving import nothing_shown, prove

Y = torch.tensor([0, 0, 1, 1])
CLEAN = torch.tensor([[2.0, 0.0, -1.0], [2.0, 0.0, 1.0], [0.0, 4.0, 1.0], [0.0, 1.0, 2.0]])
"""Logits of the unchanged inputs: margins 2, 1, 3, -1."""


class Bounds:
    """Stands in for linear bounds: margins as given."""

    def __init__(self, margins: Tensor, given_up: Tensor | None = None, runs: bool = True) -> None:
        self._margins, self._runs = margins, runs
        self.given_up = torch.zeros(len(margins), dtype=torch.bool) if given_up is None else given_up

    def run(self) -> bool:
        return self._runs

    def margins(self, y: Tensor, classes: int) -> Tensor:
        return self._margins


def proof(monkeypatch: pytest.MonkeyPatch, bounds: Bounds, better: Any = None) -> tuple[Any, list[list[bool]]]:
    """Return the proof, and which rows better slopes were tried for."""
    tried: list[list[bool]] = []

    def tightened(_: Any, y: Tensor, classes: int, margins: Tensor, rows: Tensor) -> Tensor:
        tried.append(rows.tolist())
        return margins if better is None else better

    monkeypatch.setattr(proving, "Bounding", lambda *_: bounds)
    monkeypatch.setattr(proving, "tightened", tightened)
    network, ball = torch.nn.Identity(), SimpleNamespace(x=CLEAN)
    return prove(cast("Any", network), cast("Any", ball), Y, 3), tried


def margins(*least: float) -> Tensor:
    """Of two other classes each: the least, and one that is larger."""
    return torch.tensor([[value, 9.0] for value in least])


def test_only_a_bound_above_zero_proves(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = proof(monkeypatch, Bounds(margins(0.1, 0.0, -0.1, 1e-9)))
    assert found.proven.tolist() == [True, False, False, True]
    assert found.margin.tolist() == pytest.approx([0.1, 0.0, -0.1, 1e-9])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_proves_nothing(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    table = torch.full((4, 2), value)
    table[0] = 1.0
    found, _ = proof(monkeypatch, Bounds(table))
    assert found.proven.tolist() == [True, False, False, False]
    assert found.margin[1:].tolist() == [-float("inf")] * 3


def test_what_was_given_up_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = torch.tensor([True, False, False, True])
    found, tried = proof(monkeypatch, Bounds(margins(1.0, 1.0, -0.1, -0.1), given_up))
    assert found.proven.tolist() == [False, True, False, False]
    assert found.margin[0] == -float("inf")
    assert tried == [[False, False, True, False]]


def test_better_slopes_are_tried_for_what_is_nearly_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the clean margin below zero is the border; what is proven already needs none, and a tie is not proven."""
    _, tried = proof(monkeypatch, Bounds(margins(-0.99, -0.5, 0.0, -0.1)))
    assert tried == [[True, False, True, False]]
    _, tried = proof(monkeypatch, Bounds(margins(-1.0, -0.49, 0.1, 0.4)))
    assert tried == [[False, True, False, False]]
    found, _ = proof(monkeypatch, Bounds(margins(-0.99, -0.5, 0.0, -0.1)), margins(0.2, -0.5, 0.3, -0.1))
    assert found.proven.tolist() == [True, False, True, False]


def test_a_network_that_cannot_be_bounded_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found, tried = proof(monkeypatch, Bounds(margins(1.0, 1.0, 1.0, 1.0), runs=False))
    assert not found.proven.any()
    assert not tried
    assert nothing_shown(Y).margin.tolist() == [-float("inf")] * 4
    assert not nothing_shown(Y).proven.any()
