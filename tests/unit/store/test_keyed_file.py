"""One file of one computation: whole or absent, and of no other computation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robustest.errors import ConfigError, StoreError
from robustest.store.keyed_file import KeyedFile


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file = KeyedFile(tmp_path / "new" / "kept", "training", {"seed": 1})
    assert file.load() is None
    file.save({"weights": torch.arange(6.0).view(2, 3)}, {"epoch": 3})
    arrays, meta = KeyedFile(file.path, "training", {"seed": 1}).load() or ({}, {})
    assert torch.equal(arrays["weights"], torch.arange(6.0).view(2, 3))
    assert meta == {"epoch": 3}


def test_a_file_of_another_computation_is_refused(tmp_path: Path) -> None:
    KeyedFile(tmp_path / "kept", "training", {"seed": 1}).save({}, {"epoch": 3})
    with pytest.raises(StoreError, match="to be of this very training but it is of another one"):
        KeyedFile(tmp_path / "kept", "training", {"seed": 2}).load()
    with pytest.raises(StoreError, match="Delete it, or name another file"):
        KeyedFile(tmp_path / "kept", "search", {"seed": 1}).load()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = KeyedFile(tmp_path / "kept", "training", {"seed": 1})
    file.save({"weights": torch.ones(3)}, {})
    file.path.write_bytes(file.path.read_bytes()[:-4])
    with pytest.raises(StoreError, match="Expected a file of a training"):
        file.load()


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    file = KeyedFile(tmp_path, "training", {})
    with pytest.raises(StoreError, match="Expected to read"):
        file.load()
    with pytest.raises(StoreError, match="Expected to write"):
        file.save({}, {})


def test_what_has_no_identity_has_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Expected a training that can be identified"):
        KeyedFile(tmp_path / "kept", "training", {"draws": (one for one in range(3))})
