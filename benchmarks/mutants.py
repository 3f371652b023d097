"""The share of one-character changes ("mutants") of the guards that the tests notice.

Cosmic Ray (https://cosmic-ray.readthedocs.io) makes the mutants; `benchmarks/mutants.toml` lists its operators, the
modules, and the tests that are asked:

    1. Copy the checkout to a temporary folder; the checkout itself is never changed.
    2. List the mutants of every module. Leave out what no test should hold: type annotations, texts of messages, what
       is raised with an error, `__tracebackhide__`, `strict=` of `zip`, and the options of `@dataclass`. Draw a seeded
       sample of them.
    3. Run each test once, on the code as it is, and note the lines of the modules that it runs and its CPU time
       (coverage.py). Tests that fail under that watch, or that take longer than 8 seconds, are not asked.
    4. One process imports robustest and collects the tests. For each mutant it forks: the child gives the functions
       that the mutant changes their new code, and runs the tests that run the changed statement, the quickest first,
       up to the first failure, 45 seconds of them in all. A mutant is killed where a test fails or the time is up.
    5. A mutant outside of functions (a constant, a default) changes what an import makes, and one that no test of
       step 4 kills may be noticed in another process (a worker of pytest-xdist). Both are written into the copy, and
       their tests run in a fork that imports robustest anew: the tests that run the lines that use the name, and the
       module's tests of [apart]. Where there are none, the import alone must succeed.
    6. Run the tests that failed on the code as it is: all must pass there, or no share is given.

    python benchmarks/mutants.py 300                      # a sample of 300; `all` takes hours
    python benchmarks/mutants.py all --only decisions     # those in modules with this in their path
    python benchmarks/mutants.py 300 --every              # of all modules, asked of the tests that mirror each
    python benchmarks/mutants.py 300 --resume FILE        # go on: mutants that FILE calls dead are not judged again
    python benchmarks/mutants.py 300 --lines FILE         # keep what step 3 noted; only changed files are run again

With `--every` the sample is of all modules of the package, step 3 is left out, and step 4 asks the tests that mirror a
module: the file of its name in `tests/unit`, those that import it, and for the plugin `tests/plugin`. That takes a
tenth of the time, and calls a mutant alive that another module's test would kill. A test that fails on the code as it
is kills nothing: its mutants are not judged.

Prints the share, by folder and of the guards, and writes the survivors, each with its place and its change. The exit
code is 1 below `least`.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import gc
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import coverage
import numpy as np  # noqa: F401 - imported here so that no fork has to
import pytest
import scipy.stats  # noqa: F401
import torch
import torchvision  # noqa: F401
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).resolve().parents[1]
CONFIG = tomllib.loads((ROOT / "benchmarks" / "mutants.toml").read_text(encoding="utf-8"))

# A test that takes more CPU seconds is not asked.
_SLOWEST = 8.0
# CPU seconds that the tests which are asked of one mutant take at most.
_MOST = 45.0
# A test is stopped after so many times the CPU seconds that it took, and so many more; before the first test, after
# the seconds that an import and a collection take at most.
_TIMES, _MORE, _START = 4, 10, 60
# Seconds on the clock for each CPU second of the tests, and more: a process that waits for ever takes no CPU time.
_WAIT, _WAIT_MORE = 8, 120
# The exit code of a fork that did not find the functions to change.
_UNPATCHED = 97

Place = tuple[int, int]
"""Line, from 1, and column."""


class Mutant(NamedTuple):
    """One change of one module: the `occurrence`-th place where an operator of Cosmic Ray applies."""

    module: str
    operator: str
    occurrence: int
    line: int

    def code(self, source: str) -> str:
        """Return the source with the change."""
        changed = mutate_code(source, get_operator(self.operator)(), self.occurrence)
        assert changed is not None
        return changed

    def diff(self, source: str) -> str:
        """Return the change: one line out, one line in."""
        lines = difflib.unified_diff(source.splitlines(), self.code(source).splitlines(), lineterm="", n=0)
        return "\n".join(line for line in lines if line[:3] not in ("---", "+++") and line[:2] != "@@")

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.operator.rpartition('/')[2]} {self.occurrence}"


def span(node: ast.AST) -> tuple[Place, Place]:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]


def mutants(module: str) -> Iterator[Mutant]:
    """List a module's mutants that count."""
    source = (ROOT / module).read_text(encoding="utf-8")
    left_out, operations = [], []
    not_negated = set[Place]()  # `if not name := value` is no Python
    dotted = set[Place]()  # names with a dot in a tuple of exceptions, which Cosmic Ray cannot replace
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.If, ast.While)) and isinstance(node.test, ast.NamedExpr):
            not_negated.add(span(node.test)[0])
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Tuple):
            dotted |= {span(one)[0] for one in node.type.elts if isinstance(one, ast.Attribute)}
        if isinstance(node, (ast.JoinedStr, ast.Raise)):
            left_out.append(span(node))
        elif isinstance(node, ast.BinOp):  # Cosmic Ray takes the `*` of keyword-only arguments for a product, too
            operations.append((span(node.left)[1], span(node.right)[0]))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__tracebackhide__":
            left_out.append(span(node))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "zip":  # no input gives lengths that differ
            left_out += [span(one.value) for one in node.keywords]
        elif isinstance(node, ast.ClassDef):
            left_out += [span(one) for one in node.decorator_list]
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            left_out.append(span(node))
        annotations = [getattr(node, name, None) for name in ("annotation", "returns")]
        left_out += [span(one) for one in annotations if one is not None]
    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        if not re.fullmatch(CONFIG["operators"], name.rpartition("/")[2]):
            continue
        operator = get_operator(name)()
        places = (place for node in nodes for place, _ in operator.mutation_positions(node))
        for occurrence, place in enumerate(places):
            inside = any(first <= place < last for first, last in left_out)
            binary = "BinaryOperator" in name
            if (name.endswith("/AddNot") and place in not_negated) or (
                name.endswith("/ExceptionReplacer") and place in dotted
            ):
                continue
            if not inside and (not binary or any(first <= place < last for first, last in operations)):
                yield Mutant(module, name, occurrence, place[0])


def statement(source: str, line: int) -> range:
    """Return the lines of the innermost statement at a line; of a compound one, those before its body.

    Python compiles most of `continue` and `break` away: theirs begin with the statement before them.
    """
    best = range(line, line + 1)
    for node in ast.walk(ast.parse(source)):
        for block in (getattr(node, "body", None), getattr(node, "orelse", None)):
            for before, jump in pairwise([node, *block]) if isinstance(block, list) else ():
                if isinstance(jump, (ast.Break, ast.Continue)) and jump.lineno == line:
                    return range(before.lineno, line + 1)  # type: ignore[attr-defined]
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if isinstance(body, list) and body else node.end_lineno or line
            if node.lineno <= line <= last and (best == range(line, line + 1) or last - node.lineno < len(best)):
                best = range(node.lineno, last + 1)
    return best


def users(module: str, source: str, line: int) -> list[tuple[str, int]]:
    """Return the lines, and their modules, that use what a statement outside of functions defines.

    These are the lines that load a name which it sets, in any module. For the defaults of a function and for what a
    class holds, all lines of its body count as well.
    """
    lines, names = set[tuple[str, int]](), set[str]()
    for node in ast.parse(source).body:
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        if first <= line <= (node.end_lineno or first):
            names |= {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(node.name)
                inner = [one for one in ast.walk(node) if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
                here = [one for one in inner if one.lineno <= line <= (one.end_lineno or line)]
                for one in here or inner:
                    lines |= {(module, at) for at in range(one.body[0].lineno, (one.end_lineno or 0) + 1)}
    for other in CONFIG["modules"]:
        lines |= {(other, at) for name, at in _loads(other) if name in names}
    return sorted(lines)


@cache
def _loads(module: str) -> list[tuple[str, int]]:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    found = [(one.id, one.lineno) for one in ast.walk(tree) if isinstance(one, ast.Name)]
    return found + [(one.attr, one.lineno) for one in ast.walk(tree) if isinstance(one, ast.Attribute)]


class Watch:
    """A plugin of pytest that notes the lines of the modules that each test runs, its CPU time, and its failure."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.found = folder, dict[str, dict[str, Any]]()
        # `None` keeps the data in memory.
        include = [str(folder / module) for module in CONFIG["modules"]]
        self.coverage = coverage.Coverage(data_file=None, include=include, config_file=False)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        note = self.found[item.nodeid] = {"seconds": 0.0, "lines": {}, "failed": False}
        data = self.coverage.get_data()
        data.erase()
        start = time.process_time()
        self.coverage.start()
        try:
            return (yield)
        finally:
            self.coverage.stop()
            note["seconds"] = round(time.process_time() - start, 3)
            data = self.coverage.get_data()
            for file in data.measured_files():
                if lines := data.lines(file):
                    note["lines"][str(Path(file).relative_to(self.folder))] = sorted(lines)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.skipped:
            self.found[report.nodeid]["failed"] = True


def trace_audit_hooks() -> None:
    """Have the lines of audit hooks noted too; Python traces only those that ask for it."""
    add = sys.addaudithook

    def added(hook: Any) -> None:
        hook.__cantrace__ = True
        add(hook)

    sys.addaudithook = added


def limit(seconds: float) -> None:
    """Stop this process after so many CPU seconds from now."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 1, hard))


def in_fork(work: Callable[[], int], wait: float, log: Path) -> str:
    """Do work in a fork that leads a group of processes: "passed" where it returns 0, "failed", or "timeout".

    The time is up after `wait` seconds on the clock, or at a limit that the work sets itself.
    """
    start, child = time.monotonic(), os.fork()
    if child == 0:
        code = 99
        try:
            os.setsid()
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            code = work()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    while time.monotonic() - start < wait:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended and os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
            return "timeout"
        if ended:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # what it has started and left
            return {0: "passed", _UNPATCHED: "unpatched"}.get(os.waitstatus_to_exitcode(status), "failed")
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def enter(folder: Path) -> None:
    """Make the copy the place from which this process imports robustest and runs tests."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)
    sys.dont_write_bytecode = True


def pytest_in(tests: list[str], *plugins: object) -> int:
    # To rewrite assertions takes longer than most tests; only runs of pytest inside of a test must have it so.
    plain = [] if any("tests/plugin" in test for test in tests) else ["--assert=plain"]
    return int(pytest.main(["-q", *plain, "-p", "no:cacheprovider", "-p", "no:randomly", *tests], plugins=[*plugins]))


class FirstFailure:
    """A plugin of pytest that writes the id of the first test, or file, that fails, and fails a run that skips all.

    `seconds` are those of each test: one that takes far longer is stopped.
    """

    def __init__(self, path: Path, seconds: Mapping[str, float] | None = None) -> None:
        self.path, self.seconds, self.passed = path, seconds, False
        path.write_text("", encoding="utf-8")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.seconds is not None:
            limit(_MORE + _TIMES * self.seconds.get(nodeid, _SLOWEST))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        # A mutant of the plugin is at work in this very run, and may skip every test.
        if exitstatus == 0 and not self.passed:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed |= report.when == "call" and report.passed
        if report.failed and not self.path.read_text(encoding="utf-8"):
            self.path.write_text(report.nodeid, encoding="utf-8")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.path.read_text(encoding="utf-8"):
            self.path.write_text(report.nodeid, encoding="utf-8")


class Failures:
    """A plugin of pytest that writes the id of each test that fails, one a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_text("", encoding="utf-8")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(f"{report.nodeid}\n")


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:12]


def lines_of_tests(folder: Path, kept: Path | None, jobs: int) -> dict[str, dict[str, Any]]:
    """Return, of each test, its CPU seconds and the lines that it runs.

    Tests of files as `kept` knows them are not run again. The lines are those of the modules at that time: after
    larger changes of a module the file is removed.
    """
    known = json.loads(kept.read_text(encoding="utf-8")) if kept and kept.exists() else {"files": {}, "tests": {}}
    files = sorted({str(one.relative_to(folder)) for root in CONFIG["asked"] for one in found_in(folder / root)})
    now = {name: digest(folder / name) for name in files}
    todo = [name for name in files if known["files"].get(name) != now[name]]
    old = {
        test: note
        for test, note in known["tests"].items()
        if (name := test.partition("::")[0]) in now and name not in todo
    }
    parts = [folder / f"lines{part}.json" for part in range(jobs)]

    def measure(part: int) -> int:
        enter(folder)
        trace_audit_hooks()
        watch = Watch(folder)
        pytest_in(todo[part::jobs], watch)
        parts[part].write_text(json.dumps(watch.found), encoding="utf-8")
        return 0

    if todo:
        print(f"the lines of {len(todo)} files of tests are noted", flush=True)
        together(jobs, lambda part: in_fork(lambda: measure(part), 10_000, folder / f"lines{part}.log"))
        for part in parts:
            old |= json.loads(part.read_text(encoding="utf-8")) if part.exists() else {}
    if kept:
        kept.write_text(json.dumps({"files": now, "tests": old}), encoding="utf-8")
    return {test: note for test, note in old.items() if not note["failed"] and note["seconds"] <= _SLOWEST}


def found_in(root: Path) -> list[Path]:
    return sorted(root.rglob("test_*.py")) if root.is_dir() else [root]


def together(jobs: int, work: Callable[[int], object]) -> None:
    """Do `work` for each job in a process, and wait for all."""
    children = []
    for job in range(jobs):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(job)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def changes(old: types.CodeType, new: types.CodeType, pairs: list[tuple[Any, Any]], function: bool = False) -> bool:
    """Collect the code objects of functions that differ, with their new ones: False where code of a module does."""
    if old == new:
        return True
    inner, others = ([c for c in code.co_consts if isinstance(c, types.CodeType)] for code in (old, new))
    if function:
        pairs.append((old, new))
    if len(inner) != len(others):
        return function
    whole = function or parts(old) == parts(new)
    for one, other in zip(inner, others, strict=True):
        # 0x2: not of a class. An import runs the comprehensions of a module once; those of a function are made anew.
        own = bool(one.co_flags & 0x2) and (function or not one.co_name.endswith(("comp>", "expr>")))
        whole &= changes(one, other, pairs, own)
    return whole


def parts(code: types.CodeType) -> tuple[Any, ...]:
    """Return what a code object does, but for the code that it holds."""
    values = tuple(repr(one) for one in code.co_consts if not isinstance(one, types.CodeType))
    return code.co_code, values, code.co_names, code.co_varnames, code.co_freevars


Tell = Callable[[Mutant, str, str, float], None]
"""Note the outcome of a mutant, the test that failed, and the seconds that it took."""


class Judge:
    """What judges mutants of functions: a plugin of pytest that takes the place of its loop over the tests."""

    def __init__(self, folder: Path, queue: list[Asked], tell: Tell, until: float, most: float) -> None:
        self.folder, self.queue, self.tell, self.until, self.most = folder, queue, tell, until, most

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for module in {one.mutant.module for one in self.queue}:
            importlib.import_module(module_name(module))
        items = {item.nodeid: item for item in session.items}
        live = defaultdict(list)
        gc.unfreeze()
        for one in gc.get_objects():
            if isinstance(one, types.FunctionType):
                live[one.__code__.co_filename].append(one)
        gc.freeze()  # so that forks share the memory
        for asked in self.queue:
            if time.monotonic() > self.until:
                break
            start, first = time.monotonic(), self.folder / f"first{os.getpid()}.txt"
            chosen = [items[test] for test in asked.tests if test in items]
            if not asked.seconds:  # files, not tests
                chosen = [item for test in asked.tests for item in session.items if item.nodeid.startswith(f"{test}::")]
            work = self.work(session, asked, chosen, live[str(self.folder / asked.mutant.module)], first)
            outcome = in_fork(work, asked.wait, self.folder / f"log{os.getpid()}.txt") if chosen else "passed"
            failed = first.read_text(encoding="utf-8") if first.exists() else ""
            if outcome == "failed" and not failed:  # no test says so: judged anew
                outcome = "unpatched"
            self.tell(asked.mutant, outcome, failed, time.monotonic() - start)
        return True

    def work(self, session, asked, items, functions, first) -> Callable[[], int]:  # type: ignore[no-untyped-def]
        def work() -> int:
            failure, began = FirstFailure(first, asked.seconds), time.process_time()
            pairs, patched = list[tuple[Any, Any]](), False
            source = (self.folder / asked.mutant.module).read_text(encoding="utf-8")
            path = str(self.folder / asked.mutant.module)
            changes(compile(source, path, "exec"), compile(asked.mutant.code(source), path, "exec"), pairs)
            for function in functions:
                for old, new in pairs:
                    if function.__code__ == old and old.co_freevars == new.co_freevars:
                        function.__code__ = new
                        patched = True
                        break
            if not patched:  # a comprehension that an import has run, or a function that now takes less from outside
                return _UNPATCHED
            session.config.pluginmanager.register(failure)
            for at, item in enumerate(items):
                following = items[at + 1] if at + 1 < len(items) else None
                if time.process_time() - began > self.most:
                    break
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if first.read_text(encoding="utf-8"):
                    return 1
            return 0 if failure.passed else 1

        return work


class Asked(NamedTuple):
    """A mutant, the tests that are asked, and the CPU seconds that each takes; or files of tests, without seconds."""

    mutant: Mutant
    tests: list[str]
    seconds: dict[str, float]

    @property
    def wait(self) -> float:
        return _WAIT_MORE + _WAIT * (sum(self.seconds.values()) or _MOST)


def asked_of(mutant: Mutant, where: list[tuple[str, int]], running: Running, most: float) -> Asked:
    """Return the tests that run one of the lines, the quickest first, up to some seconds."""
    tests = sorted({test for place in where for test in running.at[place]}, key=lambda test: running.seconds[test])
    chosen, total = list[str](), 0.0
    for test in tests:
        total += running.seconds[test]
        if total > most and chosen:
            break
        chosen.append(test)
    return Asked(mutant, chosen, {test: running.seconds[test] for test in chosen})


class Running(NamedTuple):
    """The tests that run each line of a module, and the CPU seconds of each test."""

    at: dict[tuple[str, int], set[str]]
    seconds: dict[str, float]

    @classmethod
    def of(cls, tests: dict[str, dict[str, Any]], places: set[tuple[str, int]]) -> Running:
        at: dict[tuple[str, int], set[str]] = {place: set() for place in places}
        for test, note in tests.items():
            for module, lines in note["lines"].items():
                for line in lines:
                    if (module, line) in at:
                        at[module, line].add(test)
        return cls(at, {test: note["seconds"] for test, note in tests.items()})


def mirrors(folder: Path, module: str) -> list[str]:
    """Return the files of tests that mirror a module: that of its name, those that import it, and their folder's else.

    A module of a package's name is mirrored by the tests that import a name of the package.
    """
    name = module_name(module)
    room, _, stem = name.rpartition(".")
    here = Path("tests/unit", *room.split(".")[1:])
    imports = re.compile(rf"(from|import) {re.escape(name)}\b|from {re.escape(room)} import [^\n]*\b{stem}\b")
    own = [path for path in found_in(folder / here) if path.parent == folder / here and stem.strip("_") in path.stem]
    others = [
        path
        for root in CONFIG["asked"]
        for path in found_in(folder / root)
        if path not in own and imports.search(path.read_text(encoding="utf-8"))
    ]
    if module.startswith("robustest/pytest_plugin/"):
        others += [path for path in found_in(folder / "tests/plugin") if path not in others]
    files = own + others or [path for path in found_in(folder / here) if path.is_file()]
    return [str(path.relative_to(folder)) for path in files]


def module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def judge_anew(asked: Asked, copy: Path) -> tuple[str, str]:
    """Run the tests of a mutant in a process that imports it: its outcome, and the test that failed.

    Without tests, the import alone.
    """
    path, first = copy / asked.mutant.module, copy / "first_failure.txt"
    first.unlink(missing_ok=True)
    source, dates = path.read_text(encoding="utf-8"), path.stat()

    def work() -> int:
        enter(copy)
        limit(_START)
        if not asked.tests:
            importlib.import_module(module_name(asked.mutant.module))
            return 0
        return pytest_in(["-x", *asked.tests], FirstFailure(first, asked.seconds))

    path.write_text(asked.mutant.code(source), encoding="utf-8")
    os.utime(path, (asked.mutant.line, asked.mutant.occurrence + 1))  # no compiled code of another mutant is taken
    try:
        outcome = in_fork(work, asked.wait, copy / "pytest.log")
    finally:
        path.write_text(source, encoding="utf-8")
        os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    return outcome, first.read_text(encoding="utf-8") if first.exists() else ""


def tell_by_folder(ended: Mapping[Mutant, tuple[str, str]]) -> None:
    """Print the share of mutants that died, in each folder of the package and in the guards."""
    died = defaultdict[str, list[bool]](list)
    for mutant, (outcome, _) in ended.items():
        if outcome != "not judged":
            folders = mutant.module.split("/")[1:-1]
            for place in {
                folders[0] if folders else "robustest",
                *(("guards",) * (mutant.module in CONFIG["modules"])),
            }:
                died[place].append(outcome in ("failed", "timeout"))
    for place, ends in sorted(died.items(), key=lambda row: (row[0] == "guards", row[0])):
        print(f"{place:16} {sum(ends):4} of {len(ends):4} died")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("number", nargs="?", default="300", help="size of the sample, or `all` (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", default="", help="a part of the paths of the modules whose mutants are judged")
    parser.add_argument("--more", action="store_true", help="also the modules that search and read, and guard nothing")
    parser.add_argument("--every", action="store_true", help="all modules, each asked of the tests that mirror it")
    parser.add_argument("--out", type=Path, default=Path("mutants.txt"), help="file of the survivors")
    parser.add_argument("--resume", type=Path, help="file of what was judged, which is added to")
    parser.add_argument("--lines", type=Path, help="file of the lines that each test runs, which is brought up to date")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="judge no further mutant after so long")
    parser.add_argument(
        "--most", type=float, default=_MOST, help="CPU seconds of tests asked of a mutant, in each step"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes that judge")
    asked = parser.parse_args()

    modules = [*CONFIG["modules"], *(CONFIG["more"] if asked.more else ())]
    if asked.every:
        modules = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "robustest").rglob("*.py"))
    sources = {module: (ROOT / module).read_text(encoding="utf-8") for module in modules}
    every = [mutant for module in modules for mutant in mutants(module)]
    chosen = every
    if asked.number != "all":
        chosen = random.Random(asked.seed).sample(every, min(int(asked.number), len(every)))
    chosen = sorted(mutant for mutant in chosen if asked.only in mutant.module)
    print(f"{len(every)} mutants of {len(modules)} modules, of which {len(chosen)} are judged", flush=True)

    torch.set_num_threads(1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder, judged = Path(temporary).resolve() / "checkout", (asked.resume or Path(temporary) / "judged").resolve()
        listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        for name in subprocess.check_output(listing, cwd=ROOT, text=True).split("\0"):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        subprocess.check_call([sys.executable, "-m", "compileall", "-q", "robustest"], cwd=folder)
        tests = {} if asked.every else lines_of_tests(folder, asked.lines, asked.jobs)

        def key(mutant: Mutant) -> str:
            return f"{mutant} of {sha256(sources[mutant.module].encode()).hexdigest()[:12]}"

        def told() -> dict[str, tuple[str, str]]:
            lines = judged.read_text(encoding="utf-8").splitlines() if judged.exists() else []
            read = (line.split("\t") for line in lines)
            return {name: (outcome, failed) for name, outcome, failed in read}

        def tell(mutant: Mutant, outcome: str, failed: str, seconds: float) -> None:
            print(f"{'SURVIVED' if outcome == 'passed' else outcome:8} {seconds:5.1f} s  {mutant}", flush=True)
            with judged.open("a", encoding="utf-8") as lines:
                lines.write(f"{key(mutant)}\t{outcome}\t{failed}\n")

        # Step 4: what changes functions alone.
        before, alone = told(), dict[Mutant, bool]()
        where = dict[Mutant, list[tuple[str, int]]]()
        for mutant in chosen:
            if before.get(key(mutant), ("", ""))[0] not in ("failed", "timeout"):
                source = sources[mutant.module]
                code, changed = (compile(text, mutant.module, "exec") for text in (source, mutant.code(source)))
                alone[mutant] = changes(code, changed, [])
                own = [(mutant.module, line) for line in statement(source, mutant.line)]
                where[mutant] = own if alone[mutant] else users(mutant.module, source, mutant.line)
        running = Running.of(tests, {place for places in where.values() for place in places})
        del tests

        def ask(mutant: Mutant) -> Asked:
            if asked.every:
                return Asked(mutant, mirrors(folder, mutant.module), {})
            return asked_of(mutant, where[mutant], running, asked.most)

        inside = [ask(mutant) for mutant in where if alone[mutant]]
        anew = [ask(mutant) for mutant in where if not alone[mutant]]

        def judge(job: int) -> None:
            queue = inside[job :: asked.jobs]
            if not asked.every:
                return judge_in_one(job, queue)
            # A module's tests are collected for its own mutants alone.
            for module in sorted({one.mutant.module for one in queue}):
                part = [one for one in queue if one.mutant.module == module]
                in_fork(lambda part=part: judge_in_one(job, part) or 0, 10_000, folder / f"part{job}.log")  # type: ignore[misc]
            return None

        def judge_in_one(job: int, queue: list[Asked]) -> None:
            files = sorted({test.partition("::")[0] for one in queue for test in one.tests})
            enter(folder)
            judge = Judge(folder, queue, tell, began + asked.seconds, asked.most)
            log = os.open(folder / f"judge{job}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 2)
            pytest_in([*files, "-s"], judge)

        together(asked.jobs, judge)

        # Step 5: what is outside of functions, and what only another process may notice.
        now = told()
        for one in inside:
            outcome, _ = now.get(key(one.mutant), ("", ""))
            apart = CONFIG["apart"].get(one.mutant.module, [])
            if outcome == "unpatched":
                anew.append(ask(one.mutant))
            elif outcome == "passed" and apart and not asked.every:
                anew.append(Asked(one.mutant, apart, dict.fromkeys(apart, 60.0)))

        def judge_each(job: int) -> None:
            copy = Path(temporary) / f"copy{job}"
            shutil.copytree(folder, copy)
            for one in anew[job :: asked.jobs]:
                if time.monotonic() - began < asked.seconds:
                    start = time.monotonic()
                    outcome, failed = judge_anew(one, copy)
                    tell(one.mutant, outcome, failed, time.monotonic() - start)

        together(asked.jobs, judge_each)

        now = told()
        ended = {mutant: now.get(key(mutant), ("not judged", "")) for mutant in chosen}
        confirmed = sorted({failed for outcome, failed in ended.values() if outcome == "failed" and failed})
        first = folder / "first_failure.txt"

        def confirm() -> int:
            enter(folder)
            return (
                pytest_in(confirmed, Failures(first))
                if asked.every
                else pytest_in(["-x", *confirmed], FirstFailure(first))
            )

        if confirmed and in_fork(confirm, 10_000, folder / "pytest.log") != "passed":
            failing = first.read_text(encoding="utf-8").splitlines()
            if not asked.every or not failing:
                print((folder / "pytest.log").read_text(encoding="utf-8")[-5000:])
                sys.exit(f"Expected the tests that failed to pass on the code as it is but got: {failing} fails.")
            print("fail on the code as it is:", *failing, sep="\n  ")
            ended |= {mutant: ("not judged", "") for mutant, (_, test) in ended.items() if test in failing}
    survivors = [mutant for mutant, (outcome, _) in ended.items() if outcome in ("passed", "unpatched")]
    text = "\n".join(f"{mutant}\n{mutant.diff(sources[mutant.module])}\n" for mutant in survivors)
    asked.out.write_text(text, encoding="utf-8")
    if asked.every:
        tell_by_folder(ended)
    counts = Counter(outcome for outcome, _ in ended.values())
    died = counts["failed"] + counts["timeout"]
    share = died / (died + len(survivors)) if died else 0.0
    print(
        f"{counts['failed']} killed, {counts['timeout']} timed out, {len(survivors)} survived, "
        f"{counts['not judged']} not judged: {share:.1%} of {died + len(survivors)} died, "
        f"expected {CONFIG['least']:.0%}; survivors are in {asked.out}"
    )
    return 0 if share >= CONFIG["least"] and not counts["not judged"] else 1


if __name__ == "__main__":
    sys.exit(main())
