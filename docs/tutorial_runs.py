"""Run tutorials and examples while the site is built: a page shows the code that was run, its output and its pictures.

A tutorial is a page `tutorials/NAME.md` and the folder `tutorials/NAME` with its Python files.

1. A paragraph that is only a link to one of these files, `[model.py](NAME/model.py)`, becomes the text of the file.
2. A block with a command, followed by a comment with the outcome that the prose claims, is run:

       ```
       pytest --robust test_before.py
       ```

       <!-- run: failed test_marker, passed test_accuracy -->

   The comment becomes the failures and the section `robustness` of the output, the worst picture of each failed claim,
   and the HTML report of a run with a failed claim, in a frame.
3. The build stops if the outcomes differ from the comment: it names every test, and `failed` is a refuted claim, not an
   error and not an inconclusive one.

A page of a claim has an example on real data in the same way: a block of Python under the comment `<!-- result -->` is
run, and the comment becomes the sentence of its result. All these examples are one run of pytest, a test for each page.

The commands of a tutorial run one after the other in one copy of its folder, as its reader types them. Each run is a
fork of this process, which has loaded torch already: a new process for each would take longer than all the claims.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import resource
import shlex
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from textwrap import fill, indent
from typing import Any

from robustest import Result
from robustest.reports.html import page as report_page
from robustest.reports.text import measured

_FILE = re.compile(r"^\[(?P<name>\w+\.py)\]\((?P<path>[\w/]+\.py)\)$", re.MULTILINE)
_RUN = re.compile(r"```\n(?P<command>pytest .+)\n```\n\n<!-- run: (?P<outcomes>[^>]+) -->")
_EXAMPLE = re.compile(
    r"(?P<block>(<!-- setup\n((?!-->).)*-->\n)?```python\n((?!```).)*```)\n\n<!-- result -->", re.DOTALL
)
_SETUP_OR_CODE = re.compile(r"<!-- setup\n(.*?)-->|```python\n(.*?)```", re.DOTALL)
_SECTIONS = re.compile(r"^=+ (FAILURES|robustness) =+$")
_LEFT_OUT = re.compile(r"chance: |replay: |HTML report|JSON|robustness (page|report)")
_HIDDEN = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""robustest was loaded before pytest could rewrite its assertions; it has none."""
_LOADED = (
    *("hypothesis", "pytest", "_hypothesis_pytestplugin", "PIL.Image", "jinja2"),
    *("sklearn.datasets", "sklearn.ensemble", "sklearn.linear_model", "sklearn.feature_extraction.text", "pandas"),
    "torch._dynamo",  # which torch's optimizers load
)
_MEANT_FOR_CI = re.compile(r"CI$|BUILD_NUMBER$|GITHUB_|PYTEST_|ROBUSTEST_")
_FRAME = """\
<iframe src="report-{}.html" title="The HTML report of this run" loading="lazy"
 style="width: 100%; height: 36rem; border: 1px solid #8888"></iframe>
"""
_log = logging.getLogger("mkdocs.hooks.tutorials")


class TutorialError(Exception):
    """A tutorial does not end as its page says, or names something that is missing."""


@dataclass(frozen=True)
class Tutorial:
    """A page with its code and outputs in it, and the files that it links to by their paths in the docs."""

    markdown: str
    files: dict[str, bytes]


@dataclass(frozen=True)
class Run:
    """One command: its output, the outcome of each test, and its results as `--robust-json` has them."""

    output: str
    outcomes: dict[str, str]
    results: list[dict[str, Any]]
    report: bytes | None


def pages_with_output(docs: Path) -> Iterator[tuple[str, Tutorial]]:
    """Run everything; return each page's path in the docs with its Markdown and its files."""
    before = _cpu_seconds()
    _load()
    loaded = _cpu_seconds()
    yield from tutorials(docs)
    run_tutorials = _cpu_seconds()
    for page, text in examples(docs):
        yield page, Tutorial(markdown=text, files={})
    seconds = (loaded - before, run_tutorials - loaded, _cpu_seconds() - run_tutorials)
    _log.info("CPU seconds: %.1f to load packages, %.1f for tutorials, %.1f for examples", *seconds)


def tutorials(docs: Path) -> Iterator[tuple[str, Tutorial]]:
    """Run all tutorials; return each page's path in the docs with its tutorial.

    Raises:
        TutorialError: a page names a missing file, or an outcome differs from the page's.
    """
    for page in sorted((docs / "tutorials").glob("*.md")):
        folder = page.with_suffix("")
        if folder.is_dir():
            with tempfile.TemporaryDirectory() as copies:
                copy = Path(copies) / folder.name
                shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
                yield page.relative_to(docs).as_posix(), written(page, partial(run, copy))


def written(page: Path, run: Callable[[str, bool], Run]) -> Tutorial:
    """Return a page with its files and the outputs of its commands in it."""
    name, files, number = page.stem, dict[str, bytes](), 0

    def output(found: re.Match[str]) -> str:
        nonlocal number
        number += 1
        command, claimed = found["command"], _outcomes(page, found["outcomes"])
        done = run(command, "failed" in claimed.values())
        if done.outcomes != claimed:
            raise TutorialError(
                f"Expected that `{command}` in {page.name} ends with {_listed(claimed)} but got "
                f"{_listed(done.outcomes)}: correct the tutorial's code, or its text and comment `run:`.\n{done.output}"
            )
        pictures, report = [], []
        if done.report is not None:
            files[f"tutorials/{name}/report-{number}.html"] = done.report
            report = [_FRAME.format(number), f"[Open this report]({name}/report-{number}.html){{ target=_blank }}\n"]
        for row in done.results:
            picture, test = _first_picture(row), row["test"].rpartition("::")[2]
            if picture is not None:
                text, content = picture
                file = f"{name}/{number}-{re.sub('[^a-z0-9_]+', '-', test)}.png"
                files[f"tutorials/{file}"] = content
                pictures += [f"![{test}: {text}]({file})\n\n`{test}`: {text}\n"]
        return "\n".join(
            [
                f"```\n{command}\n```\n",
                f'``` {{ .text title="{_counts(claimed)}" }}\n{_shown(done.output)}\n```\n',
                *pictures,
                *report,
            ]
        )

    def file(found: re.Match[str]) -> str:
        path = page.parent / found["path"]
        if not path.is_file():
            raise TutorialError(f"Expected a file {found['path']} beside {page.name}, which shows it, but got none.")
        return f'``` {{ .python title="{found["name"]}" }}\n{path.read_text(encoding="utf-8").rstrip()}\n```'

    text = page.read_text(encoding="utf-8")
    whole = _RUN.sub(output, _FILE.sub(file, text))
    if not files or "<!-- run:" in whole:
        raise TutorialError(f"Expected each `<!-- run: ... -->` of {page.name} below a block with one pytest command.")
    return Tutorial(markdown=whole, files=files)


def examples(docs: Path) -> Iterator[tuple[str, str]]:
    """Run the examples on real data; return each page's path in the docs with its Markdown.

    Raises:
        TutorialError: an example's claim does not pass.
    """
    claims = sorted([*(docs / "claims").glob("*.md"), *(docs / "training").glob("*.md")])
    pages = {page: page.read_text(encoding="utf-8") for page in claims}
    found = {page: _EXAMPLE.search(text) for page, text in pages.items()}
    with tempfile.TemporaryDirectory() as folder:
        for page, example in found.items():
            if example is not None:
                parts = ["".join(part) for part in _SETUP_OR_CODE.findall(example["block"])]
                code = f"def test_{page.stem}():\n{indent(''.join(parts), '    ')}"
                Path(folder, f"test_{page.stem}.py").write_text(code, encoding="utf-8")
        done = run(Path(folder), "pytest --robust", report=False)
    sentences: dict[str, list[str]] = {page.stem: [] for page, example in found.items() if example is not None}
    for row in done.results:
        if _outcome(row) == "passed":
            sentences[_test(row).removeprefix("test_")].append(measured(Result.from_dict(row["result"])))
    wrong = [name for name, of_page in sentences.items() if not of_page]
    if wrong or any(_outcome(row) != "passed" for row in done.results):
        raise TutorialError(f"Expected the examples on real data to pass, such as {', '.join(wrong)}:\n{done.output}")
    for page, example in found.items():
        if example is not None:
            result = "\n".join(fill(line, 80, subsequent_indent="  ") for line in sentences[page.stem])
            shown = f'{example["block"]}\n\n``` {{ .text title="The result" }}\n{result}\n```'
            yield page.relative_to(docs).as_posix(), pages[page].replace(example[0], shown)


def run(folder: Path, command: str, report: bool) -> Run:
    """Run a pytest command in a folder, in a fork of this process; with `report` it writes the HTML report too."""
    output, results, page = folder / ".output", folder / ".results.json", folder / ".report"
    hidden = [*_HIDDEN, f"--robust-json={results}"]
    hidden += [f"--robust-html={page}", "--robust-html-inline"] if report else []
    with warnings.catch_warnings():
        # Python warns of forks beside threads; those of this process are idle pools of NumPy and torch.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _pytest([*shlex.split(command)[1:], *hidden], folder, output)
    os.waitpid(child, 0)
    text = output.read_text(encoding="utf-8")
    if not results.is_file():
        raise TutorialError(f"Expected results of `{command}` in {folder.name} but got none:\n{text}")
    rows = json.loads(results.read_text(encoding="utf-8"))["results"]
    for row in rows:
        for one in (row["result"] or {}).get("counterexamples", ()):
            one["image"] = one["image"] and (folder / one["image"]).read_bytes()
    whole = (page / "index.html").read_bytes() if report else None
    results.unlink()
    return Run(output=text, outcomes={_test(row): _outcome(row) for row in rows}, results=rows, report=whole)


def _pytest(arguments: list[str], folder: Path, output: Path) -> None:
    """Run pytest and end this process, a fork, without a return to the build."""
    try:
        os.chdir(folder)
        for name in filter(_MEANT_FOR_CI.match, [*os.environ]):
            del os.environ[name]
        os.environ["COLUMNS"] = "80"  # the width of a page
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = (os.fdopen(one, "w", closefd=False) for one in (1, 2))

        import pytest
        import torch

        gc.freeze()  # nothing of the parent is garbage
        torch.set_num_threads(1)  # a fork has none of its parent's threads, and waits for them forever
        pytest.main(arguments)
        sys.stdout.flush()
    finally:
        os._exit(0)


def _load() -> None:
    """Load all that tutorials, claims and reports import, once for all of the runs."""
    for name in _LOADED:
        import_module(name)
    for module in walk_packages(import_module("robustest").__path__, "robustest."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for template in Path(report_page.__file__).with_name("templates").glob("*.html"):
        report_page._template(template.name)  # compiled, and kept by Jinja2 for the forks


def _test(row: dict[str, Any]) -> str:
    return row["test"].rpartition("::")[2]


def _outcome(row: dict[str, Any]) -> str:
    """Return "passed", "failed", "inconclusive" or "error"."""
    if row["ending"]["outcome"] == "passed":
        return "passed"
    return row["result"]["verdict"] if row["result"] is not None and row["ending"]["claimed"] else "error"


def _outcomes(page: Path, text: str) -> dict[str, str]:
    pairs = [entry.split() for entry in text.split(",")]
    if not all(len(pair) == 2 for pair in pairs):
        raise TutorialError(f"Expected `<!-- run: failed test_a, passed test_b -->` in {page.name} but got {text!r}.")
    return {test: outcome for outcome, test in pairs}


def _listed(outcomes: dict[str, str]) -> str:
    return ", ".join(f"{outcome} {test}" for test, outcome in outcomes.items()) or "no test"


def _counts(outcomes: dict[str, str]) -> str:
    found = [*outcomes.values()]
    return ", ".join(f"{found.count(one)} {one}" for one in dict.fromkeys(sorted(found)))


def _first_picture(row: dict[str, Any]) -> tuple[str, bytes] | None:
    """Return the caption and the file of a failed claim's worst picture; None without one."""
    if _outcome(row) != "failed":
        return None
    for one in row["result"]["counterexamples"]:
        if one["image"]:
            before, after = one["clean"], one["predicted"]
            answers = f"{after}" if before == after else f"{before} -> {after}"
            return f"sample {one['index']}, label {one['label']}, predicted {answers}", one["image"]
    return None


def _shown(output: str) -> str:
    """Return the failures and the section `robustness`, without the lines that differ from machine to machine."""
    kept, inside, left_out = [], False, False
    for line in output.splitlines():
        if line.startswith("="):
            inside = _SECTIONS.match(line) is not None
            kept += [line] if inside else []
        elif inside:
            left_out = _LEFT_OUT.match(line) is not None or (left_out and line.startswith("    "))  # a folded line
            kept += [] if left_out else [line]
    return "\n".join(kept)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
