"""The command line: what is asked, and how it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from robustest import extensions
from robustest.cli.exits import Exit, Refused
from robustest.errors import RobustestError, StoreError
from robustest.version import VERSION

_REST = "rest"
"""Where arguments for pytest go, of commands that run it; others refuse what they do not know."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments, without the program's name; None takes the process's.

    Returns:
        The exit code: see `robustest.cli.exits.Exit`. Wrong arguments end the process, as argparse does, with 2.
    """
    try:
        added = _of_packs()
    except RobustestError as error:
        return _exit_code(error)
    parser = _parser(added)
    arguments, rest = parser.parse_known_args(argv)
    if rest and not hasattr(arguments, _REST):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest[1:] if rest[:1] == ["--"] else rest
    try:
        code = int({**_COMMANDS, **{one.name: one.run for one in added}}[arguments.command](arguments))
        sys.stdout.flush()
    except (Refused, RobustestError, OSError) as error:
        return _exit_code(error)
    except KeyboardInterrupt:
        return 130
    return code


def _exit_code(error: Exception) -> int:
    """Say what went wrong, in a line or two; the exit code for it."""
    if isinstance(error, BrokenPipeError):  # nobody reads on; leaving must not write again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.NOT_PASSED
    if isinstance(error, Refused):
        return _print_problem(str(error), error.code)
    if isinstance(error, OSError):
        return _print_problem(f"Expected to read and write files but got: {error}", Exit.USAGE)
    return _print_problem(str(error), Exit.MISSING if isinstance(error, StoreError) else Exit.USAGE)


def _print_problem(problem: str, code: Exit) -> int:
    from robustest.cli.screen import Screen

    sys.stdout.flush()
    screen = Screen(sys.stderr)
    first, *others = problem.splitlines()
    screen.write_line(f"robustest: {first}", red=True)
    for line in others:
        screen.write_line(line)
    return int(code)


def _show(a: argparse.Namespace) -> int:
    from robustest.cli.commands.show import show

    return show(a.path, details=a.details, markdown=a.markdown)


def _merge(a: argparse.Namespace) -> int:
    from robustest.cli.commands.merge import Targets, merge

    targets = Targets(output=a.output, xml=a.junit, page=a.html, inline=a.html_inline)
    return merge(a.files, targets, details=a.details)


def _compare(a: argparse.Namespace) -> int:
    from robustest.cli.commands.compare import compare

    return compare(a.a, a.b, alpha=a.alpha, fail_on_worse=a.fail_on_worse, allow_missing=a.allow_missing)


def _corpus(a: argparse.Namespace) -> int:
    from robustest.cli.commands import corpus

    if a.action == "prune":
        return corpus.prune(a.corpus, a.max_mb)
    return corpus.ls(a.corpus) if a.action == "ls" else corpus.verify(a.corpus)


def _baseline(a: argparse.Namespace) -> int:
    from robustest.cli.commands import baseline

    return baseline.show(a.file) if a.action == "show" else baseline.update(a.rest)


def _suggest(a: argparse.Namespace) -> int:
    from robustest.cli.first_gates.suggest import suggest

    return suggest(a.rest)


def _init(a: argparse.Namespace) -> int:
    if a.scan:
        from robustest.cli.first_gates.scan import scan

        return scan(a.folder)
    from robustest.cli.first_gates.init import init

    return init(a.folder)


def _history(a: argparse.Namespace) -> int:
    from robustest.cli.commands import history

    if a.action == "add":
        return history.add(a.history, a.sources)
    return history.show(a.history, a.only) if a.action == "show" else history.page(a.history, a.output)


def _index(a: argparse.Namespace) -> int:
    from robustest.cli.commands.index import index

    return index(a.folder)


_COMMANDS = {
    "show": _show,
    "merge": _merge,
    "compare": _compare,
    "corpus": _corpus,
    "baseline": _baseline,
    "history": _history,
    "suggest": _suggest,
    "init": _init,
    "index": _index,
}


def _of_packs() -> list[extensions.Command]:
    taken = dict.fromkeys(_COMMANDS, "")
    added = []
    for pack, command in extensions.all_of("robustest_commands", extensions.Command):
        extensions.check_new("command", command.name, pack, taken)
        taken[command.name] = pack
        added.append(command)
    return added


def _parser(added: Sequence[extensions.Command] = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="robustest",
        description="Read, merge and compare what `pytest --robust` found; look after what it keeps.",
        epilog="Exit codes: 0 well; 1 a claim did not pass, or is worse; 2 wrong usage; 3 results lost or missing.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"robustest {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_readers(commands)
    _add_keepers(commands)
    add = _adder(commands)
    add("suggest", "measure on all samples, and print the thresholds the tests could hold", rest=True)
    init = add("init", "write a first test, its fixtures and a workflow; or the tests of all that a scan finds")
    init.add_argument("folder", metavar="DIR", nargs="?", default=".", help="the project's root (default: here)")
    init.add_argument("--scan", action="store_true", help="measure a battery, explain it, and write the tests it holds")
    pages = add("index", "write an index over the pages of several runs (robustest[html])")
    pages.add_argument("folder", metavar="DIR", help="has the folders of the runs' pages in it")
    _add_history(commands)
    for command in added:
        command.arguments(add(command.name, command.help))
    return parser


def _add_readers(commands: Any) -> None:
    add = _adder(commands)
    show = add("show", "print the last results")
    show.add_argument(
        "path", metavar="FILE|FOLDER", nargs="?", help="a robust.json, or a store (default: .robustest, or robust.json)"
    )
    show.add_argument("--markdown", action="store_true", help="as Markdown, with everything escaped, for a comment")
    merge = add("merge", "make one run of its shards, or say what is missing")
    merge.add_argument("files", metavar="FILE", nargs="+", help="what --robust-json wrote, of each shard")
    merge.add_argument("-o", "--output", metavar="FILE", help="write the whole run as JSON")
    merge.add_argument("--junit", metavar="FILE", help="write the whole run as JUnit XML")
    merge.add_argument("--html", metavar="DIR", help="write the whole run as a page (robustest[html])")
    merge.add_argument("--html-inline", action="store_true", help="put the pictures into the page itself")
    for one in (show, merge):
        one.add_argument("--details", action="store_true", help="every number of every claim")
    compare = add("compare", "two runs, claim by claim")
    compare.add_argument("a", metavar="A", help="robust.json of the run before")
    compare.add_argument("b", metavar="B", help="robust.json of the run after")
    compare.add_argument("--alpha", type=_level, help="error of calling any claim worse by chance (default: B's)")
    compare.add_argument(
        "--fail-on-worse", action="store_true", help="exit 1 where a claim is worse, 3 where one is gone or unmeasured"
    )
    compare.add_argument("--allow-missing", action="store_true", help="claims may be gone")


def _add_keepers(commands: Any) -> None:
    corpus = _adder(commands)("corpus", "counterexamples kept for replay")
    actions = corpus.add_subparsers(dest="action", metavar="ACTION", required=True)
    ls = _adder(actions)("ls", "names, counts, bytes and sizes")
    verify = _adder(actions)("verify", "read every file, and check that it is whole")
    prune = _adder(actions)("prune", "remove counterexamples until the rest fits")
    prune.add_argument("--max-mb", type=_megabytes, required=True, metavar="MB", help="the most they may take")
    for one in (ls, verify, prune):
        one.add_argument("--corpus", metavar="DIR", default=".robustest/corpus", help="where (default: %(default)s)")
    baseline = _adder(commands)("baseline", "committed outcomes to compare with")
    actions = baseline.add_subparsers(dest="action", metavar="ACTION", required=True)
    _adder(actions)("show", "what is in the file").add_argument(
        "file", metavar="FILE", nargs="?", default="robust-baseline.json", help="(default: %(default)s)"
    )
    _adder(actions)("update", "run the tests and write their outcomes to the file", rest=True)


def _add_history(commands: Any) -> None:
    history = _adder(commands)("history", "what many runs found of each claim")
    actions = history.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = _adder(actions)("add", "add runs, or other histories; without any, put the lines in order that git joined")
    add.add_argument("sources", metavar="FILE|FOLDER", nargs="*", help="what --robust-json wrote, or a history")
    show = _adder(actions)("show", "where each claim stands, its first bad commit, what changed and when")
    show.add_argument("--only", metavar="TEXT", help="claims whose test or key has this in them")
    page = _adder(actions)("html", "write a page with a chart for each claim (robustest[html])")
    page.add_argument(
        "-o", "--output", metavar="DIR", default="robust-history-page", help="where (default: %(default)s)"
    )
    for one in (add, show, page):
        one.add_argument("--history", metavar="DIR", default="robust-history", help="where (default: %(default)s)")


def _adder(commands: Any) -> Any:
    def add(name: str, text: str, *, rest: bool = False) -> argparse.ArgumentParser:
        usage = "%(prog)s [pytest arguments]" if rest else None
        parser: argparse.ArgumentParser = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", usage=usage, allow_abbrev=False
        )
        if rest:
            parser.set_defaults(**{_REST: []})
        return parser

    return add


def _level(text: str) -> float:
    value = float(text)
    if not 0 < value < 0.5:
        raise argparse.ArgumentTypeError(f"expected a number in (0, 0.5) but got {text}")
    return value


def _megabytes(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected megabytes > 0 but got {text}")
    return value
