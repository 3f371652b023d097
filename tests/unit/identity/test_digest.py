"""Digests of values: equal for equal values, and for no others."""

from __future__ import annotations

import copy
import enum
import itertools
import math
from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from robustest import L2, Linf, Settings
from robustest.attacks import ATTACKS, CASCADES
from robustest.identity.fingerprint import Unhashable, digest

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3), st.binary(max_size=3)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.frozensets(LEAVES, max_size=3),
    ),
    max_leaves=8,
)


def typed(value: Any) -> Any:
    """A value such that == tells all that a digest should: 1, 1.0 and True apart, and -0.0 from 0.0."""
    if isinstance(value, dict):
        return ("dict", frozenset((key, typed(item)) for key, item in value.items()))
    if isinstance(value, frozenset):
        return ("frozenset", frozenset(map(typed, value)))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, tuple(map(typed, value)))
    return (type(value).__name__, value, math.copysign(1, value) if isinstance(value, float) else 0)


@given(VALUES)
def test_equal_values_have_equal_digests(value: Any) -> None:
    assert digest(value) == digest(copy.deepcopy(value))


@given(VALUES, VALUES)
def test_digests_are_equal_for_equal_values_only(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (typed(one) == typed(other))


@given(st.lists(st.tuples(st.text(max_size=2), st.integers()), unique_by=lambda pair: pair[0], min_size=2))
def test_the_order_of_a_dict_makes_no_difference(pairs: list[tuple[str, int]]) -> None:
    assert digest(dict(pairs)) == digest(dict(reversed(pairs)))


@given(nps.arrays(st.sampled_from([np.float32, np.int8, np.bool_, np.complex64]), nps.array_shapes(min_side=0)))
def test_arrays_count_by_what_they_hold(array: np.ndarray) -> None:
    assert digest(array) == digest(np.asfortranarray(array.copy()))
    assert digest(array) != digest(array.reshape((1, *array.shape)))


def test_records_that_hold_objects_count_by_these() -> None:
    kind = [("number", "i4"), ("held", "O")]
    table, same, other = (np.array([(1, held)], dtype=kind) for held in ("a", "a", "b"))
    assert digest(table) == digest(same) != digest(other)
    with pytest.raises(Unhashable, match="a numpy scalar that holds a Python object"):
        digest(table[0])


class Colour(enum.Enum):
    RED = 1
    BLUE = 1.0 + 1


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@dataclass(frozen=True)
class Place:
    x: float
    y: float = 0.0


DIFFERENT: list[Any] = [
    *(None, False, 0, 0.0, -0.0, "", b"", (), [], {}, frozenset(), set(), math.inf, 0j, ..., range(3), bytearray()),
    *([None], [[]], ["a", "b"], ["ab"], ("a", ("b",)), (("a",), "b"), {"a": 1}, [("a", 1)], {1: "a"}, {"1": "a"}),
    *(torch.float32, torch.float64, torch.device("cpu"), torch.device("cuda"), torch.device("cuda", 0), "cpu"),
    *(torch.Size([2]), (2,), torch.zeros(2), torch.zeros(2).double(), torch.zeros(1, 2), torch.zeros(2, 1)),
    *(torch.tensor(0.0), torch.tensor(-0.0), torch.tensor(0), torch.tensor(False), torch.zeros(2).bfloat16()),
    *(np.zeros(2, np.float32), np.zeros(2), np.zeros((2, 1)), np.float32(0), np.float64(0), np.dtype("f4"), np.int8(0)),
    *(
        Colour.RED,
        Colour.BLUE,
        Point(0.0),
        Point(1.0),
        Point(0, 0),
        Place(0.0),
        PurePosixPath("a"),
        deque([1]),
        deque(),
    ),
    *(OrderedDict(a=1, b=2), OrderedDict(b=2, a=1), partial(max, 1), partial(min, 1), partial(max, 2), len, max, int),
    *(Linf(0.3), Linf(0.1), L2(0.3), torch.relu, torch.nn.functional.relu, torch.nn.functional.gelu, np.exp, np.log),
    *(slice(1), slice(1, 2), torch.nn.ReLU(), torch.nn.ReLU6(), torch.empty(0), torch.empty(0, 3), 10**5000),
]


def test_values_of_every_kind_are_told_apart() -> None:
    digests = [digest(value) for value in DIFFERENT]
    same = [
        (DIFFERENT[i], DIFFERENT[j])
        for i, j in itertools.combinations(range(len(digests)), 2)
        if digests[i] == digests[j]
    ]
    assert same == []


def test_a_view_and_its_clone_are_equal() -> None:
    x = torch.arange(24.0).reshape(4, 6)
    for view in (x[::2], x.T, x[:, 1], x.expand(2, 4, 6), x.to(torch.bfloat16)[1:], torch.complex(x, x).conj()):
        assert digest(view) == digest(view.clone(memory_format=torch.contiguous_format)), view.dtype
    assert digest(x[0]) != digest(x[1])


def test_gradients_and_kind_of_parameter_make_no_difference() -> None:
    x = torch.ones(3)
    y = torch.nn.Parameter(torch.ones(3))
    y.sum().backward()
    assert digest(x) == digest(y) == digest(y.detach())


def test_one_bit_of_a_tensor_makes_a_difference() -> None:
    x = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    y = x.clone()
    y[500] = torch.nextafter(y[500], torch.tensor(2.0))
    assert digest(x) != digest(y)


def test_every_nan_is_one_value() -> None:
    assert digest(math.nan) == digest(-math.nan) == digest(float("nan"))


def test_what_pads_a_record_makes_no_difference() -> None:
    kind = np.dtype({"names": ["a", "b"], "formats": ["i1", "i4"], "offsets": [0, 4], "itemsize": 8})
    one, other = (np.frombuffer(bytes([1, pad, pad, pad, 2, 0, 0, 0]), kind) for pad in (0, 255))
    assert digest(one) == digest(other)
    assert digest(one) != digest(np.frombuffer(bytes([1, 0, 0, 0, 3, 0, 0, 0]), kind))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_tensors_count_by_integers_and_scale() -> None:
    def quantised(scale: float, value: float) -> torch.Tensor:
        return torch.quantize_per_tensor(torch.full((3,), value), scale, 0, torch.qint8)

    assert digest(quantised(0.5, 1.0)) == digest(quantised(0.5, 1.0))
    assert len({digest(quantised(0.5, 1.0)), digest(quantised(0.25, 0.5)), digest(quantised(0.5, 1.5))}) == 3


class Tagged(torch.Tensor):
    """A tensor of a class of its own, with bytes of its own."""


def test_tensors_of_other_classes_count_by_class_and_bytes() -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    zeros, ones = torch.zeros(2), torch.ones(2)
    values = [zeros, zeros.as_subclass(Tagged), ones.as_subclass(Tagged)]
    pairs = [TwoTensor(a, b) for a in (zeros, ones) for b in (zeros, ones)]  # around two tensors, without bytes
    assert len({digest(value) for value in values + pairs}) == 7
    assert digest(pairs[1]) == digest(TwoTensor(torch.zeros(2), torch.ones(2)))


def test_a_list_in_itself_has_a_digest() -> None:
    def ring(value: int) -> list[Any]:
        one: list[Any] = [value]
        one.append([one])
        return one

    assert digest(ring(1)) == digest(ring(1)) != digest(ring(2))


def test_sharing_makes_no_difference_to_plain_values() -> None:
    one = [1]
    assert digest((one, one)) == digest(([1], [1]))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ((i for i in range(3)), "the value is a generator"),
        ([{"a": iter(open(__file__, "rb"))}], r"the value\[0\]\['a'\] keeps what cannot be read"),  # noqa: SIM115
        (torch.zeros(2, 2).to_sparse(), "the value is a torch.sparse_coo tensor"),
        (torch.empty(2, device="meta"), "the value is a .* tensor on meta"),
        (eval, r"the value is eval\(\), which reaches beyond"),
        ({object(), object()}, "the value is a set of objects"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_has_no_identity_is_named(value: Any, what: str) -> None:
    with pytest.raises(Unhashable, match=what):
        digest(value)


def test_a_value_nested_too_deeply_is_no_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Unhashable, match="too deeply"):
        digest(deep)


@pytest.mark.parametrize("kind", ["attacks", "cascades", "settings"])
def test_what_claims_are_made_of_has_a_digest(kind: str) -> None:
    values: dict[str, list[Any]] = {
        "attacks": [make() for make in ATTACKS.values()],
        "cascades": list(CASCADES.values()),
        "settings": [Settings(), Settings(seed=1), Settings(alpha=0.02)],
    }
    digests = [digest(value) for value in values[kind]]
    assert len(set(digests)) == len(digests) == len(values[kind])
    assert digests == [digest(copy.deepcopy(value)) for value in values[kind]]


def test_what_was_pickled_is_what_it_was() -> None:
    """Pickling leaves a list of slots on the class, for the next time; workers are told of classes by pickling."""

    @dataclass(frozen=True)
    class Fresh:
        """A class that nobody has pickled yet."""

        n: int

    before = digest(Fresh(1))
    assert Fresh(1).__reduce_ex__(4)
    assert "__slotnames__" in vars(Fresh)
    assert digest(Fresh(1)) == before


def one(x: int) -> int:
    return x + 1


def other(x: int) -> int:
    return x + 2


class Holder:
    def __init__(self, **held: Any) -> None:
        vars(self).update(held)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: Any) -> None:
        self.a = a


def test_functions_and_classes_in_a_set_have_an_order_that_lasts() -> None:
    assert digest({one, other}) == digest({other, one}) != digest({one})
    assert digest(frozenset({one, other})) != digest({one, other})
    assert digest({one, Holder, 3, "a", (1, 2)}) == digest({(1, 2), "a", 3, Holder, one})
    with pytest.raises(Unhashable, match="the value is a set of objects"):
        digest({Holder(a=1), Holder(a=2)})
    assert digest({Holder(a=1)}) != digest({Holder(a=2)}), "one alone needs no order"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (lambda g: Holder(a=1, stream=g), "the value.stream is"),
        (Slotted, "the value.a is"),
        (lambda g: [Holder(b=[g])], r"the value\[0\].b\[0\] is"),
        (lambda g: {"a" * 38: g}, r"the value\['a{38}'\] is"),
        (lambda g: {"a" * 39: g}, r"the value\[\.\.\.\] is"),
        (lambda g: {3: g}, r"the value\[3\] is"),
        (lambda g: {(1,): g}, r"the value\[\.\.\.\] is"),
        (lambda g: (1, g), r"the value\[1\] is"),
        (Point, "the value.x is"),
        (lambda g: partial(max, g), "the value"),
        (lambda g: OrderedDict(a=g), "the value"),
    ],
)
def test_what_has_no_identity_is_named_by_its_place(value: Any, place: str) -> None:
    with pytest.raises(Unhashable, match=f"^{place}.* a generator") as error:
        digest(value(i for i in ()))
    assert error.value.placed


def test_what_is_not_set_in_a_slot_is_no_value() -> None:
    full = Slotted(1)
    full.b = None
    assert digest(Slotted(1)) == digest(Slotted(1))
    assert len({digest(Slotted(1)), digest(Slotted(2)), digest(full)}) == 3


@pytest.mark.parametrize("depth", [1, 2])
def test_containers_in_themselves_are_told_apart_by_how_far_up_they_lead(depth: int) -> None:
    def ring(up: int) -> list[Any]:
        outer: list[Any] = [[[]]]
        at: list[Any] = [outer, outer[0], outer[0][0]]
        at[2].append(at[2 - up])
        return outer

    assert digest(ring(depth)) == digest(ring(depth))
    assert digest(ring(depth)) != digest(ring(depth - 1))


class Level(int):
    pass


class Name(str):
    __slots__ = ()


class Pair(tuple[int, ...]):
    __slots__ = ()


class Ratio(float):
    pass


@pytest.mark.parametrize(
    ("kind", "first", "second"), [(Level, 1, 2), (Name, "a", "b"), (Pair, (1, 2), (1, 3)), (Ratio, 0.5, 0.25)]
)
def test_values_of_classes_of_ones_own_count_by_what_they_hold(kind: Any, first: Any, second: Any) -> None:
    assert digest(kind(first)) == digest(kind(first))
    assert len({digest(kind(first)), digest(kind(second)), digest(first)}) == 3


def test_plain_members_of_a_set_need_no_names() -> None:
    assert digest({(1, 2), (3, 4)}) == digest({(3, 4), (1, 2)}) != digest({(1, 2), (3, 5)})
    assert digest({frozenset({1}), frozenset({2})}) == digest({frozenset({2}), frozenset({1})})
