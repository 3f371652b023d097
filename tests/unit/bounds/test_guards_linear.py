"""What bounds hold in memory, and windows beside the whole matrices that they stand for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Linf
from robustest.bounds import linear
from robustest.bounds.graph import Matrix, Network, read_network
from robustest.bounds.linear import Bounding, Windows, ball_of, windows_of
from robustest.threats import Threat


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(sizes: tuple[int, ...] = (4, 7, 5, 3)) -> nn.Module:
    layers = list[nn.Module]()
    for place, (a, b) in enumerate(pairwise(sizes)):
        layer = nn.Linear(a, b)
        layer.weight.data, layer.bias.data = drawn(b, a, seed=place), drawn(b, seed=9 + place) / 3
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)


X = torch.rand(3, 4, generator=torch.Generator().manual_seed(3))
Y = torch.tensor([0, 1, 2])


def bounded(threat: Threat) -> tuple[Network, Tensor]:
    read, ball = read_network(network()), ball_of(threat, X, (0.0, 1.0))
    assert ball is not None
    bounding = Bounding(read, ball)
    assert bounding.run()
    return read, bounding.margins(Y, 3)


@pytest.mark.parametrize("threat", [Linf(0.2), L2(0.3)], ids=str)
@pytest.mark.parametrize("elements", [1, 7, 14, 20, 21, 10**6])
def test_coefficients_that_are_held_at_once_are_limited(
    threat: Threat, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of layers of at most seven elements as many rows as the limit has room for, and one at least."""
    _, expected = bounded(threat)
    passed, plain = list[int](), Bounding._transposed

    def counted(self: Any, segment: Any, a: Tensor) -> Any:
        passed.append(len(a))
        return plain(self, segment, a)

    monkeypatch.setattr(Bounding, "_transposed", counted)
    monkeypatch.setattr(linear, "_ELEMENTS", elements)
    _, found = bounded(threat)
    assert torch.allclose(found, expected, atol=1e-5)
    assert max(passed) == min(7, max(1, elements // 7)) if threat == L2(0.3) else max(passed) <= max(1, elements // 7)
    monkeypatch.setattr(linear, "_MATRIX", 0)
    assert torch.allclose(bounded(threat)[1], expected, atol=1e-5)
    assert max(passed) <= max(1, elements // 7)


def test_matrices_are_kept_up_to_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second map has 7 x 5 elements."""
    for limit, kept in ((35, True), (34, False)):
        monkeypatch.setattr(linear, "_MATRIX", limit)
        read, _ = bounded(Linf(0.2))
        assert (1 in read.rows) is kept
    (matrix,) = [one for depth, one in bounded_rows(monkeypatch).items() if depth == 1]
    second: Any = list(network())[2]  # type: ignore[call-overload]
    assert torch.allclose(matrix.height, second.bias)
    assert torch.allclose(matrix.coefficients[1].view(5, 7), second.weight)


def bounded_rows(monkeypatch: pytest.MonkeyPatch) -> dict[int, Matrix]:
    monkeypatch.setattr(linear, "_MATRIX", 10**6)
    return bounded(Linf(0.2))[0].rows


# Windows


def maps(groups: list[tuple[list[int], list[int], list[int]]], inner: int, inputs: int) -> tuple[Matrix, Matrix]:
    """Groups of outputs, what they read, and the inputs that this reads."""
    outputs = 1 + max(one for group, _, _ in groups for one in group)
    a, b = torch.zeros(outputs, inner), torch.zeros(inner, inputs)
    for group, between, reads in groups:
        for output in group:
            a[output, between] = drawn(len(between), seed=output) + 3
        for one in between:
            b[one, reads] = drawn(len(reads), seed=20 + one) - 3
    first = Matrix(height=drawn(inner, seed=50), coefficients={0: b})
    return first, Matrix(height=drawn(outputs, seed=51), coefficients={1: a})


def whole(found: Windows, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """The two maps together, as the windows have them: coefficients of the inputs, and outputs at zero."""
    table, height = torch.zeros(outputs, inputs), torch.full((outputs,), torch.nan)
    for group in range(len(found.outputs)):
        for place, output in enumerate(found.outputs[group].tolist()):
            pulled = found.coefficients[group, place] @ found.block[group]
            if output == outputs:
                assert not pulled.any()
                assert not found.height[group, place]
                continue
            table[output].index_add_(0, found.inputs[group], pulled[:-1])
            height[output] = found.height[group, place] + pulled[-1]
    return table, height


GROUPS = {
    "alike": [([0, 3], [0, 1], [0, 1, 2]), ([1, 4], [2, 3], [1, 2, 3]), ([2], [4], [4, 5])],
    "twice as many places": [([0, 1, 2], [0], [0]), ([3], [1], [1]), ([4], [2], [2]), ([5], [3], [3])],
    "three quarters of the inputs": [([0], [0], [0, 1, 2]), ([1], [1], [1, 2, 3])],
    "an output that reads nothing": [([0], [], []), ([1, 2], [0], [0, 1]), ([3, 4], [1], [2])],
}


@pytest.mark.parametrize("name", GROUPS)
def test_windows_are_the_whole_maps(name: str) -> None:
    groups = GROUPS[name]
    inputs = 4 if "inputs" in name else 6
    first, second = maps(groups, 5, inputs)
    found = windows_of(first, second, 1)
    assert found is not None
    outputs = len(second.height)
    assert found.outputs.shape == (len(groups), max(len(group) for group, _, _ in groups))
    assert sorted({tuple(sorted(set(row) - {outputs})) for row in found.outputs.tolist()}) == sorted(
        tuple(group) for group, _, _ in groups
    )
    table, height = whole(found, outputs, inputs)
    assert torch.allclose(table, second.coefficients[1] @ first.coefficients[0], atol=1e-5)
    assert torch.allclose(height, second.height + second.coefficients[1] @ first.height, atol=1e-5)


def test_no_windows_are_made_where_they_save_nothing() -> None:
    """More than three quarters of the inputs are read, or more than half of the places would hold nothing."""
    assert windows_of(*maps([([0], [0], [0, 1, 2, 3]), ([1], [1], [1, 2, 3, 4])], 2, 5), 1) is None
    lone = [([0, 1, 2, 3], [0], [0]), ([4], [1], [1]), ([5], [2], [2]), ([6], [3], [3])]
    assert windows_of(*maps(lone, 4, 6), 1) is None


def test_windows_are_made_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = maps(GROUPS["alike"], 5, 6)
    size = 3 * (2 * 2 + 2 * 3)  # three groups, of two outputs that read two elements, and those three inputs
    for limit, made in ((size, True), (size - 1, False)):
        monkeypatch.setattr(linear, "_LARGEST_WINDOWS", limit)
        assert (windows_of(first, second, 1) is not None) is made


@pytest.mark.parametrize("end", [float("inf"), float("nan")])
def test_a_sample_with_a_bound_that_is_no_number_on_either_side_is_given_up(
    end: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    low, high = torch.zeros(3, 7), torch.ones(3, 7)
    low[1, 2], high[2, 0] = -end, end
    monkeypatch.setattr(Bounding, "_interval", lambda *_: (low, high))
    ball = ball_of(Linf(0.2), X, (0.0, 1.0))
    assert ball is not None
    bounding = Bounding(read_network(network((4, 7, 3))), ball)
    assert bounding.run()
    assert bounding.given_up.tolist() == [False, True, True]
