"""Fixtures of the pack's tests; those that core's tests have are taken from a checkout's `tests/`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from core_tests import load

from robustest.cli import main

pytest_plugins = ["pytester"]


def pytest_configure(config: pytest.Config) -> None:
    """Take core's fixtures: trained networks, its small project, baselines, a browser."""
    for folder in ("", "unit/", "unit/claims/", "plugin/", "browser/"):
        config.pluginmanager.register(load(f"{folder}conftest.py"))


@dataclass
class Ended:
    """The exit code of a command, and its output."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@pytest.fixture
def robustest(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Call the command: `robustest("study", "status", folder)`; wrong arguments end as their exit code."""

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(str(stop.code))
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(code, out, err)

    return call
