"""The command line itself: usage, exit codes, errors without tracebacks, and what it loads."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from robustest import __version__
from robustest.cli import main
from robustest.cli.command import VERBS, _parser
from robustest.errors import ConfigError, StoreError

Make = Callable[..., Any]


def test_help_names_every_command_and_exit_code(robustest: Make) -> None:
    done = robustest("--help")
    assert done.code == 0
    assert all(f"\n    {name} " in done.out for name in VERBS)
    assert all(f"{code} " in done.out for code in range(4))


@pytest.mark.parametrize("command", [*VERBS, "corpus ls", "corpus verify", "corpus prune", "baseline show"])
def test_every_command_has_help(robustest: Make, command: str) -> None:
    done = robustest(*command.split(), "--help")
    assert done.code == 0
    assert f"usage: robustest {command}" in done.out


def test_the_version_is_told(robustest: Make) -> None:
    assert robustest("--version").out == f"robustest {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["show", "--detail"],
        ["merge"],
        ["compare", "a.json"],
        ["corpus"],
        ["corpus", "prune"],
        ["corpus", "prune", "--max-mb=0"],
        ["corpus", "prune", "--max-mb=inf"],
        ["baseline"],
        ["baseline", "show", "-q"],
        ["init", "a", "b"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_says_what_is_right(robustest: Make, arguments: list[str]) -> None:
    done = robustest(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "usage: robustest" in done.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreError("Expected a whole file"), 3),
        (ConfigError("Expected a number"), 2),
        (PermissionError(13, "Permission denied", "robust.json"), 2),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_have_their_code_and_no_traceback(
    robustest: Make, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr("robustest.cli.init.init", fail)
    done = robustest("init")
    assert (done.code, done.out) == (code, "")
    assert str(error).split(":", maxsplit=1)[0] in done.err


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("robustest.cli.init.init", fail)
    with pytest.raises(ZeroDivisionError):
        main(["init"])


def test_errors_steer_no_terminal(robustest: Make) -> None:
    done = robustest("show", "\x1b[2Jrobust.json")
    assert done.code == 3
    assert "\x1b" not in done.err


LOADS = """
import sys
from robustest.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "torchvision", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
sys.exit(code)
"""


@pytest.mark.parametrize("command", ["show", "merge", "compare", "init"])
def test_reading_results_loads_no_torch(
    made: Make, row: Make, run_file: Make, pytester: pytest.Pytester, *, command: str
) -> None:
    path = run_file("a.json", [row("t::a", made([True]))], shard=(1, 1, ["t::a"]))
    files = {"show": ["a.json"], "merge": ["a.json"], "compare": ["a.json", "a.json"], "init": ["."]}[command]
    done = pytester.run(sys.executable, "-c", LOADS, command, *(path.parent / file for file in files))
    assert (done.ret, done.errlines) == (0, [])


def test_nobody_reading_on_is_no_traceback(made: Make, row: Make, run_file: Make, pytester: pytest.Pytester) -> None:
    path = run_file("a.json", [row(f"t::test_{n}", made([True])) for n in range(3000)])
    show = shlex.join([sys.executable, "-m", "robustest.cli", "show", str(path)])
    done = pytester.run("bash", "-c", f"({show}; echo $? > code) | head -1")
    assert (len(done.outlines), done.errlines) == (1, [])
    assert (pytester.path / "code").read_text(encoding="utf-8").strip() == "1"


def leaves(parser: Any) -> Iterator[Any]:
    """The parsers of verbs and their actions."""
    inner = [
        one for action in parser._actions if action.dest in ("command", "action") for one in action.choices.values()
    ]
    for one in inner:
        yield from leaves(one)
    if not inner:
        yield parser


def test_every_verb_takes_the_arguments_of_its_parser() -> None:
    found = list(leaves(_parser()))
    assert len(found) == 23
    for one in found:
        module, _, name = one.get_default("verb").partition(".")
        verb = inspect.signature(getattr(import_module(f"robustest.cli.{module}"), name))
        given = {action.dest for action in one._actions} - {"help"}
        given |= {"rest"} if one.get_default("rest") is not None else set()
        assert given == set(verb.parameters), one.prog
