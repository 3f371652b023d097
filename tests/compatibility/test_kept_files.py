"""What version 0.1 wrote is read: docs/stability.md. The files in `0.1` are kept as they were written."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from robustest import extensions
from robustest.attacks import as_attack
from robustest.cli.results_file import read_results
from robustest.cli.screen import Refused
from robustest.store.entries import unpack
from robustest.store.files import Damaged

KEPT = Path(__file__).parent / "0.1"


def test_a_result_file_is_read() -> None:
    file = read_results(KEPT / "robust.json")
    results = [row.result for row in file.account.rows if row.result is not None]
    assert [str(one.verdict) for one in results] == ["passed", "inconclusive"]
    assert [one.estimate for one in results] == [0.9, 0.9]
    assert [one.outcomes.count(False) for one in results] == [10, 10]


def test_a_file_of_a_later_schema_is_refused_with_the_remedy(tmp_path: Path) -> None:
    text = (KEPT / "robust.json").read_text(encoding="utf-8")
    later = tmp_path / "robust.json"
    later.write_text(text.replace('"schema": 5', '"schema": 6', 1), encoding="utf-8")
    with pytest.raises(Refused, match="Install the version that wrote it"):
        read_results(later)


def test_an_entry_of_the_store_is_read_and_a_damaged_one_is_not() -> None:
    data = (KEPT / "entry.safetensors").read_bytes()
    key, arrays, meta = unpack("outcomes", "k" * 64, data)
    assert (key, meta) == ("k" * 64, {"n": 3, "names": ["a", "b"]})
    assert torch.equal(arrays["held"], torch.tensor([True, False, True]))
    assert torch.equal(arrays["moved"], torch.tensor([0.5, 0.25, 0.0]))
    with pytest.raises(Damaged):
        unpack("outcomes", "k" * 64, data[:-1] + bytes([data[-1] ^ 1]))


def test_a_pack_is_loaded_and_its_attack_is_known(packs: Callable[..., None]) -> None:
    packs(old=SimpleNamespace(**runpy.run_path(str(KEPT / "old_pack.py"))))
    assert extensions.names() == ["old"]
    assert as_attack("corner").stages
