"""The command line: arguments of every verb, and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robustest import extensions
from robustest.cli.screen import Exit, Refused, Screen, wrong
from robustest.errors import RobustestError, StoreError
from robustest.version import VERSION

# Attribute with arguments of pytest, of verbs that run it; other verbs refuse unknown arguments.
_REST = "rest"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        The exit code, one of `robustest.cli.screen.Exit`. Wrong arguments end the process with 2, as in argparse.
    """
    added = []
    try:
        taken = dict.fromkeys(_COMMANDS, "")
        for pack, command in extensions.all_of("robustest_commands", extensions.Command):
            extensions.check_new("command", command.name, pack, taken)
            taken[command.name] = pack
            added.append(command)
    except RobustestError as error:
        return _print_error(error)
    parser = _parser(added)
    arguments, rest = parser.parse_known_args(argv)
    if rest and not hasattr(arguments, _REST):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest[1:] if rest[:1] == ["--"] else rest
    try:
        code = int({**_COMMANDS, **{one.name: one.run for one in added}}[arguments.command](arguments))
        sys.stdout.flush()
    except (Refused, RobustestError, OSError) as error:
        return _print_error(error)
    except KeyboardInterrupt:
        # The shell's code for a process that SIGINT ended: 128 + 2.
        return 130
    return code


def _print_error(error: Exception) -> int:
    if isinstance(error, BrokenPipeError):  # the reader has left; the interpreter must not write again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.NOT_PASSED
    # A damaged store means that there is no answer; any other error comes from wrong arguments.
    text, code = str(error), Exit.MISSING if isinstance(error, StoreError) else Exit.USAGE
    if isinstance(error, Refused):
        code = error.code
    elif isinstance(error, OSError):
        text = f"Expected to read and write files but got: {error}. Check the path and its permissions."
    sys.stdout.flush()
    screen = Screen(sys.stderr)
    first, *others = text.splitlines()
    screen.write_line(f"robustest: {first}", red=True)
    for line in others:
        screen.write_line(line)
    return int(code)


def _show(a: argparse.Namespace) -> int:
    # Modules of verbs are imported when they run, since some load torch or scipy.
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


def _history(a: argparse.Namespace) -> int:
    from robustest.cli.commands import history

    if a.action == "add":
        return history.add(a.history, a.sources)
    return history.show(a.history, a.only) if a.action == "show" else history.write_page(a.history, a.output)


def _suggest(a: argparse.Namespace) -> int:
    from robustest.cli.commands.suggest import suggest

    return suggest(a.rest)


def _estimate(a: argparse.Namespace) -> int:
    from robustest.cli.commands.estimate import estimate

    return estimate(a.rest)


def _floor(a: argparse.Namespace) -> int:
    from robustest.cli.commands.floor import floor

    return floor(a.files, loss=a.loss, alpha=a.alpha, reader=a.reader, score=a.score)


def _init(a: argparse.Namespace) -> int:
    if a.scan:
        from robustest.cli.commands.scan import scan

        return scan(a.folder)
    if a.example:
        from robustest.cli.commands.example import example

        return example(a.folder)
    from robustest.cli.commands.init import init

    return init(a.folder, model=a.model, data=a.data)


def _badge(a: argparse.Namespace) -> int:
    from robustest.cli.commands.send import write_badge

    return write_badge(a.file, a.output)


def _track(a: argparse.Namespace) -> int:
    from robustest.cli.commands.send import track

    return track(a.file, a.to)


def _watch(a: argparse.Namespace) -> int:
    from robustest.cli.commands.watch import watch

    return watch(a.rest)


def _index(a: argparse.Namespace) -> int:
    from robustest.reports.html import index

    folder = Path(a.folder)
    if not folder.is_dir():
        raise wrong(f"Expected a folder with the pages of runs but there is none at {folder}. Name another folder.")
    pages = index.write(folder)
    print(f"wrote {folder / 'index.html'}: {len(pages)} runs")  # noqa: T201 - the command's output
    return Exit.OK


def _evidence(a: argparse.Namespace) -> int:
    from robustest.cli.commands import evidence

    if a.action == "write":
        return evidence.write(a.file, a.output, a.model, a.salt)
    return evidence.verify(a.folder, a.model, a.salt, run=not a.no_run)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "show": _show,
    "merge": _merge,
    "compare": _compare,
    "corpus": _corpus,
    "baseline": _baseline,
    "history": _history,
    "suggest": _suggest,
    "estimate": _estimate,
    "floor": _floor,
    "init": _init,
    "index": _index,
    "badge": _badge,
    "track": _track,
    "watch": _watch,
    "evidence": _evidence,
}


def _parser(added: Sequence[extensions.Command] = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="robustest",
        description="Show, merge and compare results of `pytest --robust`; manage the files that it keeps.",
        epilog="Exit codes: 0 success; 1 a claim did not pass, or is worse; 2 wrong usage; 3 results lost or missing.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"robustest {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add = _adder(commands)
    show = add("show", "print the last results")
    show.add_argument(
        "path", metavar="FILE|FOLDER", nargs="?", help="a robust.json, or a store (default: .robustest, or robust.json)"
    )
    show.add_argument("--markdown", action="store_true", help="print Markdown for a comment, with everything escaped")
    merge = add("merge", "merge the shards of a run, or name the missing ones")
    merge.add_argument("files", metavar="FILE", nargs="+", help="files of --robust-json, one for each shard")
    merge.add_argument("-o", "--output", metavar="FILE", help="write the whole run as JSON")
    merge.add_argument("--junit", metavar="FILE", help="write the whole run as JUnit XML")
    merge.add_argument("--html", metavar="DIR", help="write the whole run as an HTML page (robustest[html])")
    merge.add_argument("--html-inline", action="store_true", help="embed the pictures in the page")
    for one in (show, merge):
        one.add_argument("--details", action="store_true", help="print every number of every claim")
    compare = add("compare", "compare two runs, claim by claim")
    compare.add_argument("a", metavar="A", help="robust.json of the run before")
    compare.add_argument("b", metavar="B", help="robust.json of the run after")
    compare.add_argument("--alpha", type=_level, help="probability of calling any unchanged claim worse (default: B's)")
    compare.add_argument(
        "--fail-on-worse", action="store_true", help="exit 1 if a claim is worse, 3 if one is gone or not measured"
    )
    compare.add_argument("--allow-missing", action="store_true", help="accept claims that are gone")

    corpus = add("corpus", "manage the counterexamples kept for replay")
    actions = corpus.add_subparsers(dest="action", metavar="ACTION", required=True)
    ls = _adder(actions)("ls", "list the claims, with counts, bytes and sizes")
    verify = _adder(actions)("verify", "check that every file is whole")
    prune = _adder(actions)("prune", "remove counterexamples until the rest fits")
    prune.add_argument("--max-mb", type=_megabytes, required=True, metavar="MB", help="largest size in megabytes")
    for one in (ls, verify, prune):
        one.add_argument(
            "--corpus", metavar="DIR", default=".robustest/corpus", help="folder of the corpus (default: %(default)s)"
        )
    baseline = add("baseline", "show or update the file of committed outcomes")
    actions = baseline.add_subparsers(dest="action", metavar="ACTION", required=True)
    _adder(actions)("show", "print the claims of the file").add_argument(
        "file", metavar="FILE", nargs="?", default="robust-baseline.json", help="(default: %(default)s)"
    )
    _adder(actions)("update", "run the tests and write their outcomes to the file", rest=True)
    add("suggest", "measure on all samples, and print the thresholds that the tests could hold", rest=True)
    add("estimate", "measure three batches of each claim, and print what all samples cost", rest=True)
    floor = add("floor", "print how much runs of one system differ, and how many items show a loss")
    floor.add_argument("files", metavar="FILE", nargs="+", help="outcomes of runs of one system, in any format")
    floor.add_argument("--loss", type=_level, default=0.01, help="the loss to show, in 0..1 (default: %(default)s)")
    floor.add_argument("--alpha", type=_level, default=0.01, help="chance of a red gate without a loss (default: 0.01)")
    floor.add_argument("--reader", metavar="NAME", help="format of the files (default: recognised)")
    floor.add_argument("--score", metavar="NAME", help="column or metric with the score")
    init = add("init", "write fixtures, first tests and a workflow; or tests that the model passes; or an example")
    init.add_argument("folder", metavar="DIR", nargs="?", default=".", help="root of the project (default: here)")
    init.add_argument(
        "--model", metavar="PLACE", default="", help="the model, as module:name, or the path of an ONNX file"
    )
    init.add_argument("--data", metavar="PLACE", default="", help="the samples, as module:name")
    one = init.add_mutually_exclusive_group()
    one.add_argument(
        "--scan", action="store_true", help="measure a battery of claims, explain them, and write those that hold"
    )
    one.add_argument(
        "--example",
        action="store_true",
        help="write a small project with a green and a red test, run it, open its page",
    )
    for name, text in (("badge", "write a badge of a run"), ("track", "send a run to experiment trackers")):
        add(name, text).add_argument("file", metavar="FILE", help="file of --robust-json")
    commands.choices["badge"].add_argument(
        "-o", "--output", metavar="FILE", default="robust-badge.svg", help="the badge (default: %(default)s)"
    )
    commands.choices["track"].add_argument(
        "--to",
        metavar="NAME[:PLACE],...",
        required=True,
        help="mlflow[:EXPERIMENT], wandb[:PROJECT], tensorboard[:DIR] (robustest[NAME])",
    )
    add("watch", "run the tests again when a file that they depend on changes", rest=True)
    pages = add("index", "write an index page over the pages of several runs (robustest[html])")
    pages.add_argument("folder", metavar="DIR", help="folder of the runs' pages, each in its own folder")

    evidence = add("evidence", "write what a run found as files that others can check, or verify them")
    actions = evidence.add_subparsers(dest="action", metavar="ACTION", required=True)
    writing = _adder(actions)("write", "write statement, test result, CycloneDX, SARIF and model card")
    writing.add_argument("file", metavar="FILE", help="file of --robust-json, of a whole run")
    writing.add_argument("-o", "--output", metavar="DIR", default="evidence", help="the folder (default: %(default)s)")
    verify = _adder(actions)("verify", "check files and numbers, and measure again")
    verify.add_argument(
        "folder", metavar="DIR", nargs="?", default="evidence", help="the folder (default: %(default)s)"
    )
    verify.add_argument("--no-run", action="store_true", help="measure nothing")
    for one in (writing, verify):
        one.add_argument(
            "--model",
            metavar="FILE",
            action="append",
            default=[],
            help="file of the model: the subject; repeatable",
        )
        one.add_argument(
            "--salt",
            metavar="FILE",
            help="key of the digests of data (default: .robustest/evidence-salt)",
        )

    history = add("history", "keep and show the results of many runs")
    actions = history.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_runs = _adder(actions)("add", "add runs or other histories; without arguments, sort lines that git joined")
    add_runs.add_argument("sources", metavar="FILE|FOLDER", nargs="*", help="files of --robust-json, or histories")
    shown = _adder(actions)("show", "print the state of each claim, its first bad commit and its changes")
    shown.add_argument("--only", metavar="TEXT", help="only claims whose test or key contains TEXT")
    page = _adder(actions)("html", "write a page with a chart for each claim (robustest[html])")
    page.add_argument(
        "-o", "--output", metavar="DIR", default="robust-history-page", help="folder of the page (default: %(default)s)"
    )
    for one in (add_runs, shown, page):
        one.add_argument(
            "--history", metavar="DIR", default="robust-history", help="folder of the history (default: %(default)s)"
        )
    for command in added:
        command.arguments(add(command.name, command.help))
    return parser


def _adder(commands: Any) -> Any:
    def add(name: str, text: str, *, rest: bool = False) -> argparse.ArgumentParser:
        # Verbs with `rest` pass unknown arguments to pytest.
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
