"""One file of one computation: whole or absent, and of no other computation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from robustest.errors import ConfigError, StoreError
from robustest.store.keyed_file import KeyedFile


def computed(file: KeyedFile, arrays: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    with file.watching():
        pass
    file.save(arrays, meta)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file = KeyedFile(tmp_path / "new" / "kept", "training", {"seed": 1})
    assert file.load() is None
    computed(file, {"weights": torch.arange(6.0).view(2, 3)}, {"epoch": 3})
    arrays, meta = KeyedFile(file.path, "training", {"seed": 1}).load() or ({}, {})
    assert torch.equal(arrays["weights"], torch.arange(6.0).view(2, 3))
    assert meta == {"epoch": 3}


def test_a_file_of_another_computation_is_refused(tmp_path: Path) -> None:
    computed(KeyedFile(tmp_path / "kept", "training", {"seed": 1}), {}, {"epoch": 3})
    with pytest.raises(StoreError, match="to be of this very training but it is of another one"):
        KeyedFile(tmp_path / "kept", "training", {"seed": 2}).load()
    with pytest.raises(StoreError, match="Delete it, or name another file"):
        KeyedFile(tmp_path / "kept", "search", {"seed": 1}).load()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = KeyedFile(tmp_path / "kept", "training", {"seed": 1})
    computed(file, {"weights": torch.ones(3)}, {})
    file.path.write_bytes(file.path.read_bytes()[:-4])
    with pytest.raises(StoreError, match="Expected a file of a training"):
        file.load()


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    file = KeyedFile(tmp_path, "training", {})
    with pytest.raises(StoreError, match="Expected to read"):
        file.load()
    with pytest.raises(StoreError, match="Expected to write"):
        computed(file, {}, {})


def test_what_has_no_identity_has_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Expected a training that can be identified"):
        KeyedFile(tmp_path / "kept", "training", {"draws": (one for one in range(3))})


@pytest.mark.parametrize("outside", ["variable", "file"])
def test_a_file_is_not_loaded_after_a_change_of_what_was_read(
    outside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = tmp_path / "read"

    def set_to(text: str) -> None:
        read.write_text(text)
        monkeypatch.setenv("ROBUSTEST_TEST_READ", text)

    def file() -> KeyedFile:
        return KeyedFile(tmp_path / "kept", "training", {"seed": 1})

    set_to("a")
    first = file()
    with first.watching():
        _ = os.environ["ROBUSTEST_TEST_READ"] if outside == "variable" else read.read_text()
    first.save({}, {"epoch": 1})
    second = file()
    assert second.load() == ({}, {"epoch": 1})
    computed(second, {}, {"epoch": 2})  # what goes on depends on what the part before has read
    set_to("b")
    with pytest.raises(StoreError, match=r"has changed\. Restore it, delete the file"):
        file().load()
    set_to("a")
    assert file().load() == ({}, {"epoch": 2})


def test_nothing_is_written_of_what_was_not_watched(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing was watched"):
        KeyedFile(tmp_path / "kept", "training", {"seed": 1}).save({}, {})


def test_nothing_is_written_of_what_read_a_thing_without_a_stamp(tmp_path: Path) -> None:
    entries = os.scandir  # taken out of os before the watch, so that its entries' status is seen by nobody
    file = KeyedFile(tmp_path / "kept", "training", {"seed": 1})
    with file.watching(), entries(tmp_path) as found:
        assert [*found] == []
    with pytest.raises(ConfigError, match="that can be compared before it goes on"):
        file.save({}, {})
    assert not file.path.exists()


def test_no_file_is_written_of_what_changes_and_is_not_restored(tmp_path: Path) -> None:
    count, weights = [0], torch.zeros(1)
    file = KeyedFile(tmp_path / "kept", "training", {"count": count, "weights": weights}, restored=["weights"])
    weights += 1
    computed(file, {}, {"epoch": 1})
    count[0] += 1
    computed(file, {}, {"epoch": 2})
    begun = KeyedFile(file.path, "training", {"count": [0], "weights": torch.zeros(1)}, restored=["weights"])
    assert begun.load() == ({}, {"epoch": 1})
    computed(file, {}, {"epoch": 3})  # it changed once, such as a table that is loaded when it is first used
    assert begun.load() == ({}, {"epoch": 3})
    count[0] += 1
    computed(file, {}, {"epoch": 4})
    count[0] += 1
    with pytest.raises(ConfigError, match="leaves what it starts from as it is"):
        computed(file, {}, {"epoch": 5})
    assert begun.load() == ({}, {"epoch": 3})
