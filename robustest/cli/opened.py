"""A plugin of the run that `robustest evidence verify` repeats: which files its tests opened."""

# A statement's subject is a file that somebody named. What the tests found says nothing about it unless they read it,
# so the repeated run, a process of its own, notes every file that it opens.

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import safetensors

_opened: set[str] = set()


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(args[0], (str, bytes)) and not int(args[2] or 0) & os.O_WRONLY:
        _note(args[0])


def _note(path: Any) -> None:
    with suppress(OSError, TypeError, ValueError):
        _opened.add(os.path.abspath(os.fsdecode(path)))  # at once: the test may change the folder


def _noting(call: Any) -> Any:
    @wraps(call, updated=())
    def safe_open(filename: Any, *args: Any, **kwargs: Any) -> Any:
        _note(filename)
        return call(filename, *args, **kwargs)

    return safe_open


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the place of the lists, and note files from here on: no conftest.py is loaded yet."""
    parser.addoption("--robust-opened", help=argparse.SUPPRESS)
    sys.addaudithook(_hear)
    # Its code in Rust opens files without an event. Its other modules take the name from the first one.
    for name in ("safetensors", "safetensors.torch", "safetensors.numpy"):
        if name in sys.modules:
            sys.modules[name].__dict__["safe_open"] = _noting(safetensors.safe_open)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the list of this process: each worker of pytest-xdist has one."""
    path = Path(f"{config.getoption('--robust-opened')}.{os.getpid()}")
    path.write_text(json.dumps(sorted(_opened)), encoding="utf-8")
