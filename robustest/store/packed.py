"""Tensors and JSON in one safetensors file, with a checksum over both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from robustest.errors import ConfigError, expected
from robustest.identity.fingerprint import digest
from robustest.store.files import Damaged, to_json

SCHEMA = 1
_HEAD = "robustest"


def pack(kind: str, key: str, arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """The bytes of a file.

    Args:
        kind: what the file is; `unpack` refuses those of another kind.
        key: what the file stands for; `unpack` refuses those under another name.
        arrays: dense tensors by name, on any device; strides and gradients are not kept.
        meta: JSON types.

    Raises:
        ConfigError: meta or arrays are of other types.
    """
    for name in arrays:
        if not isinstance(name, str) or name == "__metadata__":
            raise ConfigError(expected("names of arrays to be texts other than '__metadata__'", name))
    whole = {name: held.detach().cpu().clone(memory_format=torch.contiguous_format) for name, held in arrays.items()}
    head = {"kind": kind, "schema": SCHEMA, "key": key, "meta": json.loads(to_json(dict(meta)))}
    head["checksum"] = _checksum(head, whole)
    try:
        return safetensors.torch.save(whole, {_HEAD: to_json(head)})
    except (KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise ConfigError(f"Expected dense tensors of common types to store but got: {error}") from error


def unpack(kind: str, key: str | None, data: bytes) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """Key, arrays on the CPU and meta of a file that `pack` made.

    Args:
        kind: what the file must be.
        key: what it must stand for; None for anything.
        data: its bytes.

    Raises:
        Damaged: it is anything else, or not as it was made.
    """
    head = _head(data)
    if head.get("kind") != kind:
        raise Damaged(f"a file of another kind ({head.get('kind')!r})")
    if head.get("schema") != SCHEMA:
        raise Damaged(f"schema {head.get('schema')!r} instead of {SCHEMA}")
    try:
        arrays = safetensors.torch.load(data)
        intact = head.pop("checksum") == _checksum(head, arrays)
        found, meta = head["key"], head["meta"]
    except (KeyError, TypeError, ValueError, RuntimeError, ConfigError, safetensors.SafetensorError) as error:
        raise Damaged(f"bytes that cannot be read ({error})") from error
    if not intact:
        raise Damaged("contents that differ from their checksum")
    if key is not None and found != key:
        raise Damaged(f"what belongs under the name {found}")
    return found, arrays, meta


def _head(data: bytes) -> dict[str, Any]:
    end = 8 + int.from_bytes(data[:8], "little")
    try:
        head = json.loads(json.loads(data[8:end])["__metadata__"][_HEAD])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise Damaged("bytes that are no file of robustest's") from error
    if not isinstance(head, dict):
        raise Damaged("bytes that are no file of robustest's")
    return head


def _checksum(head: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> str:
    return digest((to_json(dict(head)), dict(arrays)))
