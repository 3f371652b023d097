"""Tensors in binary (Triton's extension of the Open Inference Protocol): JSON, and after it the bytes of the tensors.

A tensor in binary has no "data" in the JSON but the number of its bytes, as "binary_data_size" of its "parameters". Its
numbers are little-endian, in row-major order; each text of BYTES comes after its length, a little-endian uint32. A
header has the size of the JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.errors import ModelError

JSON_SIZE = "Inference-Header-Content-Length"
"""Header with the number of bytes of the JSON."""

DATATYPES = {
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
}
"""Types of numbers by the protocol's names."""


def packed(values: NDArray[Any] | Sequence[str | bytes], datatype: str) -> bytes:
    """Return the bytes of a tensor.

    Raises:
        ModelError: a number is not in the range of the datatype.
    """
    if isinstance(values, np.ndarray):
        with np.errstate(over="ignore"):
            numbers = values.astype(DATATYPES[datatype])
        if not np.isfinite(numbers).all():
            raise ModelError(f"Expected inputs in the range of {datatype}, which the model takes, but some are beyond.")
        return numbers.tobytes()
    texts = [text.encode() if isinstance(text, str) else text for text in values]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def joined(request: dict[str, Any], tensors: Sequence[bytes]) -> tuple[bytes, int]:
    """Return the content of a request, its JSON and the bytes of its tensors, and the number of bytes of the JSON."""
    head = json.dumps(request, allow_nan=False).encode()
    return b"".join([head, *tensors]), len(head)


def unpacked(reply: Any, tail: bytes) -> Any:
    """Return a reply whose outputs all have "data", as float64 or 64-bit whole numbers.

    Args:
        reply: the JSON of the reply.
        tail: the bytes after it.

    Raises:
        ModelError: an output does not fit the bytes; the message names its field.
    """
    outputs = reply.get("outputs") if isinstance(reply, dict) else None
    if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
        raise ModelError(f"a list of outputs but got {reply!r:.200}")
    start, found = 0, []
    for output in outputs:
        parameters = output.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            found.append(output)
            continue
        name = f"output {output.get('name')!r}"
        if type(size) is not int or not 0 <= size <= len(tail) - start:
            raise ModelError(
                f"{name} with a binary_data_size in 0..{len(tail) - start}, the bytes that are left, but got {size!r}"
            )
        data, start = tail[start : start + size], start + size
        dtype, shape = DATATYPES.get(str(output.get("datatype"))), output.get("shape")
        if dtype is None:  # texts, which no model of robustest answers with: an error if they are read
            found.append(output)
            continue
        if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
            raise ModelError(f"{name} with a shape that is a list of lengths but got {shape!r}")
        needed = math.prod(shape) * dtype.itemsize
        if needed != size:
            what = f"{output['datatype']} of shape {shape}"
            raise ModelError(f"{name} with a binary_data_size of {needed}, for {what}, but got {size}")
        wide = {"f": np.float64, "i": np.int64, "u": np.uint64}[dtype.kind]
        found.append({**output, "data": np.frombuffer(data, dtype).astype(wide)})
    if start != len(tail):
        raise ModelError(f"{start} bytes of tensors, the sum of binary_data_size of its outputs, but got {len(tail)}")
    return {**reply, "outputs": found}
