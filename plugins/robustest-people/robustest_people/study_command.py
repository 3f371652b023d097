"""`robustest study`: plan, serve and inspect a study, and export its answers."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from robustest.errors import ConfigError
from robustest.packs import Screen


def add_arguments(study: argparse.ArgumentParser) -> None:
    """Add the actions of the command, with their arguments."""
    actions = study.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
        )
        return parser

    _add_new(add("new", "plan a study, and write it to a folder"))
    serve = add("serve", "serve its pages to annotators, each by a link")
    status = add("status", "how far annotators are")
    export = add("export", "write the answers")
    release = add("release", "hand an annotator's open pages on to others")
    for one in (serve, status, export, release):
        one.add_argument("folder", metavar="DIR", help="the study")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine)")
    serve.add_argument("--port", type=int, default=8000, help="port to listen at, 0 for any (default: %(default)s)")
    serve.add_argument(
        "--public", metavar="URL", help="what annotators' browsers see, such as https://study.example.org"
    )
    export.add_argument("-o", "--output", metavar="FILE", help="where to (default: the screen)")
    export.add_argument("--format", choices=("csv", "label-studio"), default="csv", help="(default: %(default)s)")
    release.add_argument("annotator", metavar="NAME", help="who does not go on")


def _add_new(new: argparse.ArgumentParser) -> None:
    new.add_argument("folder", metavar="DIR", help="what is made; it must not be there")
    new.add_argument("--task", required=True, choices=("contains", "classify", "simulate"), help="what annotators do")
    new.add_argument("--items", required=True, metavar="FILE", help="a CSV table, or Label Studio's tasks (.json)")
    new.add_argument("--images", metavar="DIR", help="where the items' images are (default: beside the items)")
    new.add_argument("--annotators", required=True, metavar="N|FILE", help="how many, or their names, one a line")
    new.add_argument("--each", required=True, type=int, metavar="K", help="annotators an item")
    new.add_argument("--labels", default="", metavar="A,B,...", help="what is chosen from, for classify and simulate")
    new.add_argument("--page", type=int, metavar="N", help="items a page (default: 48 for contains, 12 otherwise)")
    new.add_argument("--checks", type=int, metavar="N", help="attention checks for each annotator (default: a tenth)")
    new.add_argument("--seed", type=int, default=0, help="of the plan (default: %(default)s)")
    new.add_argument("--title", default="", help="what pages are headed with")
    new.add_argument(
        "--question",
        default="",
        metavar="TEXT",
        help="what pages ask; {label} is the label asked, and hidden without it",
    )
    new.add_argument("--about", default="", metavar="TEXT", help="what annotators are told beside the question")


def study(a: argparse.Namespace) -> int:
    """Run one of the actions.

    Raises:
        RobustestError: arguments, items or the study are malformed.
    """
    return {"new": _new, "serve": _serve, "status": _status, "export": _export, "release": _release}[a.action](a)


def _new(a: argparse.Namespace) -> int:
    from robustest_people.studies.export import read_items
    from robustest_people.studies.journal import Progress
    from robustest_people.studies.study import create, read_table

    path, screen = Path(a.items), Screen()
    items, ignored = read_items(path) if path.suffix == ".json" else (read_table(path), 0)
    made = create(
        Path(a.folder),
        items,
        task=a.task,
        files=Path(a.images) if a.images else path.parent,
        annotators=_annotators(a.annotators),
        each=a.each,
        labels=[label.strip() for label in a.labels.split(",") if label.strip()],
        page=a.page,
        checks=a.checks,
        seed=a.seed,
        title=a.title,
        question=a.question,
        about=a.about,
    )
    pages = [len(own) for own in made.plan.pages]
    checks = sum(bool(item.expected) for item in made.items)
    screen.write_line(f"wrote   {a.folder}", green=True)
    screen.write_line(
        f"        {_counted(len(made.items) - checks, 'item')}, {_counted(checks, 'check')}, "
        f"{_counted(len(pages), 'annotator')}, {_between(pages)} each"
    )
    apart, pairs = Progress(made).apart()
    if apart:
        screen.write_line(f"        {apart} of {pairs} pairs of annotators have no item in common", yellow=True)
    if ignored:
        screen.write_line(f"        {ignored} annotations and predictions of the file are no answers", yellow=True)
    screen.write_line(f"Next: robustest study serve {a.folder}")
    return 0


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _between(pages: list[int]) -> str:
    few, many = min(pages), max(pages)
    return _counted(many, "page") if few == many else f"{few} to {many} pages"


def _annotators(text: str) -> list[str]:
    if not text.isdigit():
        # One name per line, or numbered annotators below.
        return [line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines() if line.strip()]
    count = int(text) if len(text) < 6 else 10**6
    if not 1 <= count <= 10_000:
        raise ConfigError(f"Expected 1 to 10,000 annotators but got {text}.")
    return [f"annotator-{n:0{len(text)}}" for n in range(1, count + 1)]


def _serve(a: argparse.Namespace) -> int:
    from robustest_people.studies.serve import LINKS, Address, is_loopback, serve
    from robustest_people.studies.study import Study

    def tell(study: Study, address: Address) -> None:
        screen = Screen()
        screen.write_line(f"serving {a.folder} at {address.base}", green=True)
        screen.write_line(f"        the annotators' links: {study.folder / LINKS}")
        if is_loopback(a.host) and a.public is None:
            screen.write_line("        only this machine reaches it; see --host and --public")
        screen.write_line("        end with Ctrl-C; annotators go on where they were when it serves again")
        sys.stdout.flush()

    with suppress(KeyboardInterrupt):
        serve(Path(a.folder), host=a.host, port=a.port, public=a.public, tell=tell)
    return 0


def _status(a: argparse.Namespace) -> int:
    progress = _progress(a.folder)
    study, screen = progress.study, Screen()
    lacking = progress.lacking()
    width = max(map(len, study.annotators))
    for number, name in enumerate(study.annotators):
        passed, checks = progress.checks(number)
        done = sum(key[0] == number for key in progress.stored)
        told = f"{done:4} of {len(progress.pages[number]):4} pages"
        told += f"   checks {passed} of {checks}" if checks else ""
        told += "   left out" if progress.is_dropped(number) else ""
        screen.write_line(f"{name:{width}}  {told}{'   stopped' if number in progress.stopped else ''}")
    asked = sum(not item.expected for item in study.items)
    apart, pairs = progress.apart()
    screen.write_line(f"{asked - len(lacking)} of {_counted(asked, 'item')} have all {study.each} answers")
    screen.write_line(f"{apart} of {pairs} pairs of annotators have no item in common")
    lost = sum(lack > coming for lack, coming in lacking.values())
    if lost:
        screen.write_line(f"{_counted(lost, 'item')} will have fewer: no annotator is left for them", yellow=True)
    return 0


def _export(a: argparse.Namespace) -> int:
    from robustest_people.studies.export import as_csv, as_tasks, rows_of, unanswered_rows

    progress = _progress(a.folder)
    if a.format == "csv":
        text = as_csv(rows_of(progress) + unanswered_rows(progress))
    else:
        text = json.dumps(as_tasks(progress), indent=1, ensure_ascii=False) + "\n"
    if a.output is None:
        sys.stdout.write(text)
        return 0
    target = Path(a.output)
    # Written beside and renamed: a reader never finds half a table.
    partial = target.with_name(f"{target.name}.tmp")
    partial.write_text(text, encoding="utf-8", newline="")
    partial.replace(target)
    screen = Screen()
    screen.write_line(f"wrote   {target}: {_counted(len(rows_of(progress)), 'answer')}", green=True)
    if missing := len(unanswered_rows(progress)):
        screen.write_line(
            f"        {_counted(missing, 'planned answer')} missing, which claims take at their worst", yellow=True
        )
    return 0


def _release(a: argparse.Namespace) -> int:
    from robustest_people.studies.desk import give_up
    from robustest_people.studies.journal import Progress
    from robustest_people.studies.serve import open_journal
    from robustest_people.studies.study import open_study

    study = open_study(Path(a.folder))
    if a.annotator not in study.annotators:
        raise ConfigError(
            f"Expected an annotator of the study but {a.annotator!r} is not one. See: robustest study status {a.folder}"
        )
    journal, progress = open_journal(study), Progress(study)
    try:
        added = give_up(journal, progress, study.annotators.index(a.annotator))
    finally:
        journal.close()
    Screen().write_line(f"{a.annotator}'s open pages went to others{'' if added else ' before'}")
    return 0


def _progress(folder: str) -> Any:
    from robustest_people.studies.journal import Progress
    from robustest_people.studies.serve import open_journal
    from robustest_people.studies.study import open_study

    study = open_study(Path(folder))
    journal, progress = open_journal(study), Progress(study)
    try:
        progress.follow(journal.read())
    finally:
        journal.close()
    return progress
