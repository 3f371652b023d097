"""A plugin of the run that `robustest evidence replay` runs: which files its tests opened."""

# A statement's subject is a file that somebody named. What the tests found says nothing about it unless they read it,
# so the repeated run, a process of its own, notes every file that it opens.

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from robustest.identity.dependencies import Dependencies, watched


@dataclass(slots=True, eq=False)
class _Opened(Dependencies):
    """Names of all files that are read, those that the tests wrote before included; no stamps."""

    files: set[str] = field(default_factory=set)

    def read(self, kind: str, name: str) -> None:
        if kind == "file":
            self.files.add(os.path.abspath(name))  # at once: the test may change the folder


_opened = _Opened()
_watch = ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the place of the lists, and note files from here on: no conftest.py is loaded yet."""
    parser.addoption("--robust-opened", help=argparse.SUPPRESS)
    _watch.enter_context(watched(_opened, everywhere=True))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the list of this process: each worker of pytest-xdist has one."""
    _watch.close()
    path = Path(f"{config.getoption('--robust-opened')}.{os.getpid()}")
    path.write_text(json.dumps(sorted(_opened.files)), encoding="utf-8")
