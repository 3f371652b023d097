"""Plain values and tensors as bytes: type-tagged, self-delimiting, the same in every process."""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from robustest.errors import RobustestError
from robustest.loaded import with_torch

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    from robustest.loaded import torch


class Unhashable(RobustestError, TypeError):
    """A value has no identity.

    Attributes:
        reason: in words.
        placed: True if the reason names the place of the value.
    """

    def __init__(self, reason: str, *, placed: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.placed = placed


def words(text: str) -> frozenset[str]:
    """Split a text into a set of words."""
    return frozenset(text.split())


def part(tag: str, payload: bytes = b"") -> bytes:
    """Return a payload with its tag (no digits) and length, so that no part is a prefix of another."""
    return b"%b%d:%b" % (tag.encode(), len(payload), payload)


def joined(tag: str, parts: Iterable[bytes]) -> bytes:
    """Return one part of fixed length for several."""
    return part(tag, hashlib.sha256(b"".join(parts)).digest())


def simple(value: object) -> bytes | None:
    """Return the bytes of a value; None for containers and unknown types."""
    encode = _SIMPLE.get(type(value)) or _of_torch().get(type(value))
    if encode is not None:
        return encode(value)
    if isinstance(value, PurePath):
        return part("path", str(value).encode("utf-8", "surrogatepass"))
    if isinstance(value, (np.generic, np.dtype)):
        return _numpy(value)
    if type(value) in (np.ndarray, np.memmap) and not value.dtype.hasobject:  # type: ignore[attr-defined]
        return _array(value)  # type: ignore[arg-type]
    return None


def is_plain(value: object) -> bool:
    """Return True if a value contains data only: no functions, objects or modules."""
    if type(value) in (list, tuple, set, frozenset):
        return all(map(is_plain, value))  # type: ignore[call-overload]
    if type(value) is dict:
        return all(is_plain(k) and is_plain(v) for k, v in value.items())
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject
    return type(value) in _SIMPLE or type(value) in _of_torch() or isinstance(value, (np.generic, enum.Enum))


def _float(value: float) -> bytes:
    return struct.pack(">d", value) if value == value else b"nan"  # noqa: PLR0124 - NaNs have many bit patterns


def _text(tag: str) -> Callable[[Any], bytes]:
    return lambda value: part(tag, str(value).encode())


def _nothing(tag: str) -> Callable[[Any], bytes]:
    return lambda _: part(tag)


def _numpy(value: Any) -> bytes:
    if isinstance(value, np.dtype):
        return part("numpy.dtype", repr(value.descr if value.names else value.str).encode())
    if value.dtype.hasobject:
        raise Unhashable("a numpy scalar that holds a Python object")
    return joined("numpy", [_array(np.asarray(value))])


def _array(value: np.ndarray[Any, Any]) -> bytes:
    about = [part("dtype", value.dtype.str.encode()), part("shape", repr(value.shape).encode())]
    if value.dtype.names:  # field by field: what pads a record is whatever was in memory
        fields = [part("field", name.encode()) + _array(value[name]) for name in value.dtype.names]
        return joined("record array", about + fields)
    flat = np.ascontiguousarray(value).reshape(-1)
    return joined("array", [*about, hashlib.sha256(flat.view(np.uint8).data if flat.size else b"").digest()])


def _tensor(value: Tensor) -> bytes:
    if value.is_quantized:
        if value.qscheme() is torch.per_tensor_affine:
            scale = [part("scale", _float(value.q_scale())), part("zero", b"%d" % value.q_zero_point())]
        else:
            axis = part("axis", b"%d" % value.q_per_channel_axis())
            scale = [_tensor(value.q_per_channel_scales()), _tensor(value.q_per_channel_zero_points()), axis]
        dtype = part("dtype", str(value.dtype).encode())
        return joined("quantised", [dtype, _tensor(value.int_repr()), *scale])
    if value.layout is not torch.strided or value.is_meta:
        raise Unhashable(f"a {value.layout} tensor on {value.device}, whose bytes cannot be read")
    whole = value.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    raw = torch.view_as_real(whole).reshape(-1) if whole.is_complex() else whole
    if raw.stride(0) != 1:  # one element, which is contiguous with any stride
        raw = raw.clone(memory_format=torch.contiguous_format)
    content = raw.view(torch.uint8).numpy().data if raw.numel() else b""
    about = [part("dtype", str(value.dtype).encode()), part("shape", repr(tuple(value.shape)).encode())]
    return joined("tensor", [*about, hashlib.sha256(content).digest()])


_SIMPLE: dict[type, Callable[[Any], bytes]] = {
    type(None): _nothing("none"),
    type(Ellipsis): _nothing("ellipsis"),
    type(NotImplemented): _nothing("not implemented"),
    bool: lambda v: part("bool", b"1" if v else b"0"),
    int: lambda v: part("int", b"%x" % v),
    float: lambda v: part("float", _float(v)),
    complex: lambda v: part("complex", _float(v.real) + b"," + _float(v.imag)),
    str: lambda v: part("str", v.encode("utf-8", "surrogatepass")),
    bytes: lambda v: part("bytes", v),
    bytearray: lambda v: part("bytearray", bytes(v)),
    range: lambda v: part("range", repr(v).encode()),
}

_of_torch: Callable[[], dict[type, Callable[[Any], bytes]]] = with_torch(
    lambda: {
        torch.Tensor: _tensor,
        torch.nn.Parameter: _tensor,
        torch.dtype: _text("torch.dtype"),
        torch.device: _text("torch.device"),
        torch.layout: _text("torch.layout"),
        torch.memory_format: _text("torch.memory_format"),
        torch.Size: lambda v: part("torch.Size", repr(tuple(v)).encode()),
        torch.finfo: _text("torch.finfo"),
        torch.iinfo: _text("torch.iinfo"),
    }
)
