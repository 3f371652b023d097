"""Checkpoints of a training: tensors and JSON in one file, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustest.errors import ConfigError, StoreError, expected
from robustest.packs import Damaged, Key, write_atomic
from robustest.packs import pack as pack_tensors
from robustest.packs import unpack as unpack_tensors

_KIND = "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The file and frequency of checkpoints.

    Args:
        path: a file; it stays after the training, so that the same call again only reads it.
        seconds: between two writes, >= 0; each epoch ends with one anyway.
    """

    path: str | Path
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, (int, float)) or not self.seconds >= 0:
            raise ConfigError(expected("seconds >= 0", self.seconds))


@dataclass(frozen=True, slots=True)
class Saved:
    """Content of a checkpoint."""

    model: dict[str, Tensor]  # the network's state
    optimizer: dict[int, dict[str, Any]]  # the optimiser's state, per parameter: tensors and numbers by name
    method: dict[str, Tensor]  # the training method's tensors
    meta: dict[str, Any]  # the place, and the log so far


def save(path: Path, key: Key, saved: Saved) -> None:
    """Write a checkpoint: safetensors, with the JSON in its header.

    Raises:
        StoreError: the file cannot be written.
    """
    arrays = {f"model/{name}": value for name, value in saved.model.items()}
    arrays.update({f"method/{name}": value for name, value in saved.method.items()})
    numbers: dict[str, dict[str, Any]] = {}
    for index, state in saved.optimizer.items():
        numbers[str(index)] = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
        arrays.update({f"optimizer/{index}/{n}": v for n, v in state.items() if isinstance(v, Tensor)})
    try:
        write_atomic(path, pack_tensors(_KIND, key.name, arrays, {**saved.meta, "optimizer": numbers}))
    except OSError as error:
        raise StoreError(f"Expected to write the checkpoint {path} but got: {error}.") from error


def load(path: Path, key: Key) -> Saved | None:
    """Return the content of a checkpoint; None without a file.

    Raises:
        StoreError: the file is damaged, or of another run.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"Expected to read the checkpoint {path} but got: {error}.") from error
    try:
        found, arrays, meta = unpack_tensors(_KIND, None, data)
    except Damaged as error:
        raise StoreError(
            f"Expected a checkpoint in {path} but got {error}. Delete it, or name another file."
        ) from error
    if found != key.name:
        raise StoreError(
            f"Expected {path} to be a checkpoint of this very training but it is of another one (other weights or code "
            "to begin with, data, method or recipe, or another version of robustest). Delete it, or name another file."
        )
    optimizer: dict[int, dict[str, Any]] = {int(index): dict(held) for index, held in meta.pop("optimizer").items()}
    parts: Mapping[str, dict[str, Tensor]] = {"model": {}, "method": {}}
    for name, value in arrays.items():
        part, _, rest = name.partition("/")
        if part == "optimizer":
            index, _, inner = rest.partition("/")
            optimizer.setdefault(int(index), {})[inner] = value
        else:
            parts[part][rest] = value
    return Saved(parts["model"], optimizer, parts["method"], meta)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """Return an optimiser's state of each parameter."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return state


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[int, dict[str, Any]]) -> None:
    """Restore an optimiser's state; its settings stay."""
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
