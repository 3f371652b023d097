"""Packages by links, as Nix and Bazel lay them out, are installed; a link to a checkout is the user's code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from robustest.identity import packages


@pytest.mark.parametrize(
    ("record", "installed"), [("linked/__init__.py,sha256=abc,3\n", True), ("linked,,\n", False), (None, False)]
)
def test_a_link_in_a_folder_of_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str | None, installed: bool
) -> None:
    store, folder = tmp_path / "store" / "linked", tmp_path / "site-packages"
    store.mkdir(parents=True)
    folder.mkdir()
    (store / "__init__.py").write_text("x=1", encoding="utf-8")
    (folder / "linked").symlink_to(store)
    if record is not None:
        about = folder / "linked-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: linked\nVersion: 1.0\n", encoding="utf-8")
        (about / "RECORD").write_text(record, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    for one in (packages._installed, packages._home, packages._release):
        one.cache_clear()
    try:
        label = packages.home("linked", str(folder / "linked" / "__init__.py"))
        assert (label or "").startswith("linked 1.0") is installed
    finally:
        for one in (packages._installed, packages._home, packages._release):
            one.cache_clear()
