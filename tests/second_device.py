"""A second device on a machine that has one alone: tensors far from the host, whose every transfer is counted.

A far tensor keeps its numbers in a tensor of the host and says that it is on another device. All operations on it go
through `Counter`, which computes what they compute on the host, so that outcomes are those of the host to the bit, and

1. raises where a far tensor meets one of the host, as CUDA does (numbers without an axis may come along), and for
   operations that CUDA refuses where torch is to be deterministic;
2. counts uploads, downloads, and operations for which the host waits for the device: reading a number, and results
   whose shape is a matter of values (`nonzero`, an index by a mask).

Nothing here is faster than the host, and no kernel of another device runs.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from robustest.data import levels
from robustest.engine.gathering import Member
from robustest.results import Result

FAR = torch.device("lazy:0")
"""A kind of device that torch knows, that computes nothing by itself, and whose gradients the host's thread makes."""
_HERE = torch.device("cpu")
# Their results have a shape that the host has to know.
_SHAPED_BY_VALUES = {"nonzero", "masked_select", "unique_consecutive", "_unique2", "unique_dim", "bincount"}


# Of those that CUDA has in no deterministic way, the ones that are used or were; running sums besides, of floats alone.
_INDETERMINATE = {"median.dim", "nanmedian.dim", "kthvalue.default", "histc.default"}


@dataclass
class Counts:
    """Traffic between host and device: `waits` of the host, and copies with their bytes, by direction."""

    waits: int = 0
    uploads: int = 0
    downloads: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    operations: int = 0

    def since(self, before: Counts) -> Counts:
        return Counts(**{name: value - getattr(before, name) for name, value in vars(self).items()})

    @property
    def copies(self) -> int:
        return self.uploads + self.downloads


class Far(Tensor):
    """A tensor on `FAR`, of which `near` has the numbers."""

    near: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        made: Far = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, near.size(), strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype, device=FAR
        )
        made.near = near
        return made

    def __repr__(self, **_: Any) -> str:
        return f"Far({self.near})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made: Any = Far(self.near.clone())
        if isinstance(self, nn.Parameter):
            made = nn.Parameter(made, requires_grad=self.requires_grad)
        memo[id(self)] = made
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{function} on a far tensor outside of its counter")


class Counter(TorchDispatchMode):
    """Computes on far tensors inside the block, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()
        self.places: dict[str, int] = {}

    def __enter__(self) -> Counter:
        # `torch.tensor(values, device=...)` would otherwise copy in C++, unseen.
        self._lift = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        torch._C._set_only_lift_cpu_tensors(self._lift)
        super().__exit__(*error)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = function.overloadpacket.__name__
        inputs = list(_tensors((args, kwargs)))
        far = [one for one in inputs if isinstance(one, Far)]
        asked = kwargs.get("device")
        if not far and (asked is None or torch.device(asked).type != FAR.type):
            return function(*args, **kwargs)
        if asked is not None and torch.device(asked).type == FAR.type:
            kwargs["device"] = _HERE
        if far and torch.are_deterministic_algorithms_enabled():
            kind = f"{name}.{function._overloadname}"
            if kind in _INDETERMINATE or (name == "cumsum" and inputs[0].is_floating_point()):
                raise RuntimeError(f"{kind} does not have a deterministic implementation")
        to_far = bool(far) if asked is None else torch.device(asked).type == FAR.type
        self.counts.operations += 1
        if name == "_to_copy":
            if to_far and not far:
                self._copied("up", inputs[0])
            elif far and not to_far:
                self._copied("down", far[0])
        elif name == "copy_":
            if isinstance(args[0], Far) != isinstance(args[1], Far):
                self._copied("up" if isinstance(args[0], Far) else "down", args[1])
        elif far:
            near = [one for one in inputs if not isinstance(one, Far)]
            # A number without an axis goes along with the call; an index may lie on the host, and is copied.
            index = name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
            for one in near:
                if one.ndim and not index:
                    raise RuntimeError(
                        f"Expected all tensors on one device but {function} got {[t.device for t in inputs]}"
                    )
                if one.ndim:
                    self._copied("up", one)
            if name == "_local_scalar_dense" or name in _SHAPED_BY_VALUES or (index and _by_mask(args[1])):
                self.counts.waits += 1
                self._note(name)
        out = function(*tree_map(_near, args), **tree_map(_near, kwargs))
        if name == "_local_scalar_dense":
            return out
        if function._schema.name.endswith("_") and name != "_to_copy":
            return args[0]
        if "out" in kwargs:
            return kwargs["out"]
        return tree_map(_far, out) if to_far else out

    def _copied(self, direction: str, tensor: Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        if direction == "up":
            self.counts.uploads += 1
            self.counts.up_bytes += size
        else:
            self.counts.downloads += 1
            self.counts.down_bytes += size
        self._note(direction)

    def _note(self, what: str) -> None:
        frame = sys._getframe(1)
        while frame.f_back is not None and not str(frame.f_globals.get("__name__")).startswith("robustest."):
            frame = frame.f_back
        place = f"{what} {frame.f_globals.get('__name__')}:{frame.f_lineno}"
        self.places[place] = self.places.get(place, 0) + 1


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _by_mask(index: Any) -> bool:
    return any(one.dtype in (torch.bool, torch.uint8) for one in _tensors(index))


def _near(value: Any) -> Any:
    return value.near if isinstance(value, Far) else value


def _far(value: Any) -> Any:
    return Far(value) if isinstance(value, Tensor) and not isinstance(value, Far) else value


def sent(module: nn.Module) -> nn.Module:
    """Return a copy of a module on the far device; inside a `Counter`."""
    there = copy.deepcopy(module)
    for part in there.modules():
        for name, value in list(part._parameters.items()):
            if value is not None:
                part._parameters[name] = nn.Parameter(Far(value.detach()), requires_grad=value.requires_grad)
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = Far(buffer.detach())
    return there


@contextlib.contextmanager
def far_device(kind: type[Counter] = Counter) -> Iterator[Counter]:
    """A block with the far device, also in the threads of its chunks."""
    with kind() as counter, pytest.MonkeyPatch.context() as patch:
        levels.exact_on(FAR)  # once in a process, and no traffic of a claim
        counter.counts = Counts()
        counter.places.clear()
        run = Member.run

        def inside(member: Member) -> None:
            own = kind()
            own.counts, own.places = counter.counts, counter.places
            with own:
                run(member)

        patch.setattr(Member, "run", inside)
        yield counter


@dataclass
class Second:
    """The device, with a counter of its traffic where it is the far one."""

    device: torch.device
    counter: Counter | None = None

    @property
    def exact(self) -> bool:
        return self.counter is not None

    def put(self, value: Any) -> Any:
        """Send tensors, and modules, to the device; leave the rest."""
        if isinstance(value, nn.Module):
            return sent(value) if self.counter is not None else copy.deepcopy(value).to(self.device)
        if isinstance(value, dict):
            return {name: self.put(one) for name, one in value.items()}
        return value.to(self.device) if isinstance(value, Tensor) else value

    def same(self, here: Tensor, there: Tensor, *, atol: float = 1e-5) -> None:
        """Assert that a tensor is on the device and has the host's values."""
        assert there.device.type == self.device.type
        there = there.detach().cpu()
        assert there.dtype == here.dtype
        if self.exact:
            assert torch.equal(torch.nan_to_num(here), torch.nan_to_num(there))
        else:
            assert torch.allclose(here, there, atol=atol, rtol=1e-4, equal_nan=True)

    def alike(self, here: Result, there: Result) -> None:
        """Assert that a claim came out as on the host: at most 1 % of the samples differ on a device that rounds."""
        if self.exact:
            assert there.outcomes == here.outcomes
            assert (there.estimate, there.interval) == (here.estimate, here.interval)
            assert there.details.get("health") == here.details.get("health")
        differ = sum(a != b for a, b in zip(here.outcomes, there.outcomes, strict=True))
        assert differ <= len(here.outcomes) // 100
        assert there.verdict is here.verdict
        if here.estimate is not None:
            assert np.isclose(here.estimate, there.estimate or 0.0, atol=0.01)
