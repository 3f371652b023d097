"""The command line: arguments of every verb, and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from robustest import extensions
from robustest.cli.screen import Exit, Refused, Screen
from robustest.errors import RobustestError, StoreError, needing_torch
from robustest.version import VERSION

VERBS = (
    *("show", "page", "merge", "compare", "corpus", "baseline", "suggest"),
    *("estimate", "floor", "init", "index", "evidence", "history", "badge", "track", "watch"),
)
"""The commands of robustest itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        The exit code, one of `robustest.cli.screen.Exit`. Wrong arguments end the process with 2, as in argparse.
    """
    added = []
    taken = dict.fromkeys(VERBS, "")
    try:
        for pack, command in extensions.all_of("robustest_commands", extensions.Command):
            extensions.check_new("command", command.name, pack, taken)
            taken[command.name] = pack
            added.append(command)
    except RobustestError as error:
        return _print_error(error)
    parser = _parser(added)
    arguments, rest = parser.parse_known_args(argv)
    # Verbs with `rest` pass arguments to pytest; other verbs refuse unknown ones.
    if hasattr(arguments, "rest"):
        arguments.rest = rest[1:] if rest[:1] == ["--"] else rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        code = int(arguments.run(arguments))
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


def _run(arguments: argparse.Namespace) -> int:
    module, _, name = arguments.verb.partition(".")
    given = {key: value for key, value in vars(arguments).items() if key not in ("command", "action", "run", "verb")}
    with needing_torch(f"robustest {arguments.command}"):
        # Its module is imported now, since some load torch or scipy.
        verb = getattr(import_module(f"robustest.cli.{module}"), name)
        return int(verb(**given))


def _add(commands: Any, name: str, text: str, verb: str = "", *, rest: bool = False) -> argparse.ArgumentParser:
    """Add a command, or an action of one.

    Args:
        verb: its function, as "module.name"; empty for a command of several actions or of a pack.
        rest: True to pass unknown arguments to pytest.
    """
    usage = "%(prog)s [pytest arguments]" if rest else None
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", usage=usage, allow_abbrev=False
    )
    if verb:
        parser.set_defaults(run=_run, verb=verb)
    if rest:
        parser.set_defaults(rest=[])
    return parser


def _actions(command: argparse.ArgumentParser) -> Any:
    return command.add_subparsers(dest="action", metavar="ACTION", required=True)


def _parser(added: Sequence[extensions.Command] = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="robustest",
        description="Show, merge and compare results of `pytest --robust`; manage the files that it keeps.",
        epilog="Exit codes: 0 success; 1 a claim did not pass, or is worse; 2 wrong usage; 3 results lost or missing.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"robustest {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    show = _add(commands, "show", "print the last results", "runs.show")
    show.add_argument(
        "paths",
        metavar="FILE|FOLDER",
        nargs="*",
        help="a robust.json, or a store (default: .robustest, or robust.json)",
    )
    show.add_argument("--markdown", action="store_true", help="print Markdown for a comment, with everything escaped")
    merge = _add(commands, "merge", "merge the shards of a run, or name the missing ones", "runs.merge")
    merge.add_argument("files", metavar="FILE", nargs="+", help="files of --robust-json, one for each shard")
    merge.add_argument("-o", "--output", metavar="FILE", help="write the whole run as JSON")
    merge.add_argument("--junit", metavar="FILE", help="write the whole run as JUnit XML")
    merge.add_argument("--html", metavar="DIR", help="write the whole run as an HTML page (robustest[html])")
    merge.add_argument("--html-inline", action="store_true", help="embed the pictures in the page")
    for one in (show, merge):
        one.add_argument("--details", action="store_true", help="print every number of every claim")
        one.add_argument("-v", "--verbose", action="store_true", help="print each claim of a large run")
    page = _add(commands, "page", "write the HTML page of a run (robustest[html])", "runs.write_page")
    page.add_argument("file", metavar="FILE", help="file of --robust-json")
    page.add_argument(
        "-o", "--output", metavar="DIR", default="robust-page", help="folder of the page (default: %(default)s)"
    )
    page.add_argument("--html-inline", action="store_true", help="embed the pictures in the page")
    compare = _add(commands, "compare", "compare two runs, claim by claim", "compare.compare")
    compare.add_argument("a", metavar="A", help="robust.json of the run before")
    compare.add_argument("b", metavar="B", help="robust.json of the run after")
    compare.add_argument("--alpha", type=_level, help="probability of calling any unchanged claim worse (default: B's)")
    compare.add_argument(
        "--fail-on-worse", action="store_true", help="exit 1 if a claim is worse, 3 if one is gone or not measured"
    )
    compare.add_argument("--allow-missing", action="store_true", help="accept claims that are gone")

    corpus = _add(commands, "corpus", "manage the counterexamples kept for replay")
    actions = _actions(corpus)
    ls = _add(actions, "ls", "list the claims, with counts, bytes and sizes", "kept.list_corpus")
    verify = _add(actions, "verify", "check that every file is whole", "kept.verify_corpus")
    prune = _add(actions, "prune", "remove counterexamples until the rest fits", "kept.prune_corpus")
    prune.add_argument("--max-mb", type=_megabytes, required=True, metavar="MB", help="largest size in megabytes")
    for one in (ls, verify, prune):
        one.add_argument(
            "--corpus", metavar="DIR", default=".robustest/corpus", help="folder of the corpus (default: %(default)s)"
        )
    baseline = _add(commands, "baseline", "show or update the file of committed outcomes")
    actions = _actions(baseline)
    _add(actions, "show", "print the claims of the file", "kept.show_baseline").add_argument(
        "file", metavar="FILE", nargs="?", default="robust-baseline.json", help="(default: %(default)s)"
    )
    _add(actions, "update", "run the tests and write their outcomes to the file", "kept.update_baseline", rest=True)
    _add(
        commands,
        "suggest",
        "measure on all samples, and print the thresholds that the tests could hold",
        "suggest.suggest",
        rest=True,
    )
    _add(
        commands,
        "estimate",
        "measure three batches of each claim, and print what all samples cost",
        "estimate.estimate",
        rest=True,
    )
    floor = _add(
        commands, "floor", "print how much runs of one system differ, and what loss gates would notice", "floor.floor"
    )
    floor.add_argument(
        "files", metavar="FILE", nargs="*", help="outcomes of runs of one system, in any format; or tables of gates"
    )
    floor.add_argument(
        "--gate", metavar="KEY=VALUE,...", dest="gates", action="append", default=[], help="a gate, as tolerance=0.02"
    )
    floor.add_argument(
        "--set",
        metavar="KEY=VALUE,...",
        dest="defaults",
        action="append",
        default=[],
        help="what gates do not say themselves, as n=1319",
    )
    floor.add_argument("--loss", type=_loss, help="the loss to show, in 0..1 (default: 0.01; 0.05 of gates)")
    floor.add_argument("--alpha", type=_level, default=0.01, help="chance of a red gate without a loss (default: 0.01)")
    floor.add_argument("--reader", metavar="NAME", help="format of the files (default: recognised)")
    floor.add_argument("--score", metavar="NAME", help="column or metric with the score")
    floor.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    init = _add(
        commands,
        "init",
        "write fixtures, first tests and a workflow; or tests that the model passes; or an example",
        "init.init",
    )
    init.add_argument("folder", metavar="DIR", nargs="?", default=".", help="root of the project (default: here)")
    init.add_argument(
        "--model", metavar="PLACE", default="", help="the model, as module:name, or the path of an ONNX file"
    )
    init.add_argument("--data", metavar="PLACE", default="", help="the samples, as module:name")
    instead = init.add_mutually_exclusive_group()
    instead.add_argument(
        "--scan", action="store_true", help="measure a battery of claims, explain them, and write those that hold"
    )
    instead.add_argument(
        "--example",
        action="store_true",
        help="write a small project with a green and a red test, run it, open its page",
    )
    badge = _add(commands, "badge", "write a badge of a run", "send.write_badge")
    badge.add_argument("file", metavar="FILE", help="file of --robust-json")
    badge.add_argument(
        "-o", "--output", metavar="FILE", default="robust-badge.svg", help=".svg, or .json (default: %(default)s)"
    )
    track = _add(commands, "track", "send a run to experiment trackers", "send.track")
    track.add_argument("file", metavar="FILE", help="file of --robust-json")
    track.add_argument(
        "--to",
        metavar="NAME[:PLACE],...",
        required=True,
        help="mlflow[:EXPERIMENT], wandb[:PROJECT], tensorboard[:DIR] (robustest[NAME])",
    )
    _add(commands, "watch", "run the tests again when a file that they depend on changes", "watch.watch", rest=True)
    pages = _add(
        commands, "index", "write an index page over the pages of several runs (robustest[html])", "kept.write_index"
    )
    pages.add_argument("folder", metavar="DIR", help="folder of the runs' pages, each in its own folder")

    evidence = _add(
        commands, "evidence", "write what a run found as files that others can check; verify or replay them"
    )
    actions = _actions(evidence)
    writing = _add(
        actions, "write", "write statement, test result, CycloneDX, SARIF, model card and scores", "evidence.write"
    )
    writing.add_argument("file", metavar="FILE", help="file of --robust-json, of a whole run")
    writing.add_argument("-o", "--output", metavar="DIR", default="evidence", help="the folder (default: %(default)s)")
    for option, value, words in (
        ("--dataset-id", "[TEST=]ID[@REVISION]", "benchmark of the Hugging Face Hub that a claim is a result of"),
        ("--task-id", "[TEST=]TASK", "the benchmark's task; with both a claim gets an entry in eval-results.yaml"),
    ):
        writing.add_argument(option, metavar=value, action="append", default=[], help=f"{words}; repeatable")
    verify = _add(actions, "verify", "check files and numbers, and measure nothing", "evidence.verify")
    replay = _add(actions, "replay", "run the tests again, and compare every result", "evidence.replay")
    for one in (verify, replay):
        one.add_argument(
            "folder", metavar="DIR", nargs="?", default="evidence", help="the folder (default: %(default)s)"
        )
    for one in (writing, verify, replay):
        one.add_argument(
            "--model",
            metavar="FILE",
            action="append",
            default=[],
            help="file of the model: the subject; repeatable",
        )
    for one in (writing, replay):
        one.add_argument(
            "--salt",
            metavar="FILE",
            help="file with the key for digests of data (default: .robustest/evidence-salt)",
        )

    history = _add(commands, "history", "keep and show the results of many runs")
    actions = _actions(history)
    add_runs = _add(
        actions, "add", "add runs or other histories; without arguments, sort lines that git joined", "kept.add_history"
    )
    add_runs.add_argument("sources", metavar="FILE|FOLDER", nargs="*", help="files of --robust-json, or histories")
    shown = _add(
        actions, "show", "print the state of each claim, its first bad commit and its changes", "kept.show_history"
    )
    shown.add_argument("--only", metavar="TEXT", help="only claims whose test or key contains TEXT")
    page = _add(
        actions, "html", "write a page with a chart for each claim (robustest[html])", "kept.write_history_page"
    )
    page.add_argument(
        "-o", "--output", metavar="DIR", default="robust-history-page", help="folder of the page (default: %(default)s)"
    )
    for one in (add_runs, shown, page):
        one.add_argument(
            "--history", metavar="DIR", default="robust-history", help="folder of the history (default: %(default)s)"
        )
    for command in added:
        own = _add(commands, command.name, command.help)
        command.arguments(own)
        own.set_defaults(run=command.run)
    return parser


def _level(text: str) -> float:
    value = float(text)
    if not 0 < value < 0.5:
        raise argparse.ArgumentTypeError(f"expected a number in (0, 0.5) but got {text}")
    return value


def _loss(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number in (0, 1) but got {text}")
    return value


def _megabytes(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected megabytes > 0 but got {text}")
    return value
