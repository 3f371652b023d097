"""The share of one-character changes ("mutants") of the guards that the tests notice.

Cosmic Ray (https://cosmic-ray.readthedocs.io) makes the mutants; `benchmarks/mutants.toml` lists its operators, the
modules, and the tests that are likeliest to notice a mutant of each module:

    1. Copy the checkout to a temporary folder; the checkout itself is never changed.
    2. List the mutants of every module. Leave out what no test should hold: type annotations, texts of messages, what
       is raised with an error, `__tracebackhide__`, and the options of `@dataclass`. Draw a seeded sample of them.
    3. Write each mutant into the copy, run the module's tests up to the first failure, and put the module back. A
       mutant is killed where a test fails or the time is up. Where all pass, the other tests of the module's folder
       are run: it survives if none fails in time.
    4. Run the tests that failed on the code as it is: all must pass there, or no share is given.

Each run of the tests is a fork of a process that has already imported torch and pytest, which takes longer than most
tests do. robustest itself is imported in the fork alone.

    python benchmarks/mutants.py 300                      # a sample of 300; `all` takes hours
    python benchmarks/mutants.py 300 --only decisions     # those of the sample in modules with this in their path
    python benchmarks/mutants.py 300 --resume FILE        # go on: mutants that FILE calls dead are not judged again

Prints the share and writes the survivors, each with its place and its change. The exit code is 1 below `least`.
"""

from __future__ import annotations

import argparse
import ast
import difflib
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
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

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

# CPU seconds after which the tests of a mutant are stopped; on the code as it is they take half of that at most.
_LIMIT = 240
# Most seconds on the clock for each of them: a process that waits for ever takes no CPU time.
_WAIT = 10

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
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.JoinedStr, ast.Raise)):
            left_out.append(span(node))
        elif isinstance(node, ast.BinOp):  # Cosmic Ray takes the `*` of keyword-only arguments for a product, too
            operations.append((span(node.left)[1], span(node.right)[0]))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__tracebackhide__":
            left_out.append(span(node))
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
            if not inside and (not binary or any(first <= place < last for first, last in operations)):
                yield Mutant(module, name, occurrence, place[0])


class FirstFailure:
    """A plugin of pytest that writes the id of the first test, or file, that fails, and fails a run that skips all."""

    def __init__(self, path: Path) -> None:
        self.path, self.passed = path, False
        path.write_text("", encoding="utf-8")

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


def runs(tests: list[str], folder: Path, limit: int) -> tuple[str, str]:
    """Run tests of a copy in a fork: "passed", "failed" or "timeout", and the id of the test that failed."""
    start, first = time.monotonic(), folder / "first_failure.txt"
    first.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        os.environ["PYTHONPATH"] = str(folder)
        sys.dont_write_bytecode = True
        log = os.open(folder / "pytest.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = 99
        try:
            # To rewrite assertions takes longer than most tests; only runs of pytest inside of a test must have it so.
            plain = [] if any("tests/plugin" in test for test in tests) else ["--assert=plain"]
            how = ["-x", "-q", *plain, "-p", "no:cacheprovider", "-p", "no:randomly"]
            code = int(pytest.main([*how, *tests], plugins=[FirstFailure(first)]))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    while time.monotonic() - start < _WAIT * limit:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended and os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
            return "timeout", ""
        if ended:
            failed = first.read_text(encoding="utf-8") if first.exists() else ""
            return "passed" if status == 0 else "failed", failed
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout", ""


def remember(file: Path | None, key: str, found: str) -> None:
    if file is not None:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(f"{key}\t{found}\n")


def tests_of(module: str, folder: Path) -> tuple[list[str], list[str]]:
    """Return the test files of a module, and the others of its folder."""
    place = Path(module).relative_to("robustest")
    room = Path("tests/unit") / place.parent
    own = room / f"test_{place.stem}.py"
    first = list({**CONFIG["tests"], **CONFIG["more"]}[module])
    if (folder / own).exists() and str(own) not in first:
        first.append(str(own))
    others = sorted(f"{room}/{one.name}" for one in (folder / room).glob("test_*.py"))
    return first, [one for one in others if one not in first]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("number", nargs="?", default="300", help="size of the sample, or `all` (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", default="", help="a part of the paths of the modules whose mutants are judged")
    parser.add_argument("--more", action="store_true", help="also the modules that search and read, and guard nothing")
    parser.add_argument("--out", type=Path, default=Path("mutants.txt"), help="file of the survivors")
    parser.add_argument("--resume", type=Path, help="file of what was judged, which is added to")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="judge no further mutant after so long")
    asked = parser.parse_args()

    modules = [*CONFIG["tests"], *(CONFIG["more"] if asked.more else ())]
    every = [mutant for module in modules for mutant in mutants(module)]
    chosen = every
    if asked.number != "all":
        chosen = random.Random(asked.seed).sample(every, min(int(asked.number), len(every)))
    chosen = sorted(mutant for mutant in chosen if asked.only in mutant.module)
    print(f"{len(every)} mutants of {len(modules)} modules, of which {len(chosen)} are judged", flush=True)

    known = {}
    if asked.resume and asked.resume.exists():
        known = dict(line.split("\t") for line in asked.resume.read_text(encoding="utf-8").splitlines())

    torch.set_num_threads(1)
    ended, survivors, began = Counter[str](), list[str](), time.monotonic()
    confirmed = set[str]()  # what must pass on the code as it is
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkout"
        listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        for name in subprocess.check_output(listing, cwd=ROOT, text=True).split("\0"):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        subprocess.check_call([sys.executable, "-m", "compileall", "-q", "robustest"], cwd=folder)
        for number, mutant in enumerate(chosen):
            path, (tests, others) = folder / mutant.module, tests_of(mutant.module, folder)
            source, dates = path.read_text(encoding="utf-8"), path.stat()
            key = f"{mutant} of {sha256(source.encode()).hexdigest()[:12]}"
            outcome, _, failed = known.get(key, "").partition(" ")
            if outcome not in ("failed", "timeout"):
                if time.monotonic() - began > asked.seconds:
                    ended["not judged"] += 1
                    continue
                path.write_text(mutant.code(source), encoding="utf-8")
                os.utime(path, (number, number))  # a date of its own: no compiled code of another mutant is taken
                start = time.monotonic()
                outcome, failed = runs(tests, folder, _LIMIT)
                if outcome == "passed" and others:
                    outcome, failed = runs(others, folder, _LIMIT)
                    # That these many tests take long, or are not selected here, says nothing.
                    outcome = "failed" if failed else "passed"
                took = time.monotonic() - start
                path.write_text(source, encoding="utf-8")
                os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
                print(f"{'SURVIVED' if outcome == 'passed' else outcome:8} {took:5.1f} s  {mutant}", flush=True)
                remember(asked.resume, key, f"{outcome} {failed}")
            if outcome == "failed" and failed:
                confirmed.add(failed)
            elif outcome != "passed":  # the time was up, or the tests could not even be collected
                confirmed |= {test for test in tests if test.startswith("tests/")}
            ended[outcome] += 1
            if outcome == "passed":
                survivors.append(f"{mutant}\n{mutant.diff(source)}\n")
        if confirmed:
            outcome, failed = runs(sorted(confirmed), folder, _LIMIT // 2)
            if outcome != "passed":
                print((folder / "pytest.log").read_text(encoding="utf-8")[-5000:])
                sys.exit(f"Expected the tests that failed to pass on the code as it is but got: {outcome} {failed}.")
    asked.out.write_text("\n".join(survivors), encoding="utf-8")
    judged = ended["failed"] + ended["timeout"] + ended["passed"]
    share = 1 - ended["passed"] / judged if judged else 0.0
    print(
        f"{ended['failed']} killed, {ended['timeout']} timed out, {ended['passed']} survived, "
        f"{ended['not judged']} not judged: {share:.1%} of {judged} died, expected {CONFIG['least']:.0%}; "
        f"survivors are in {asked.out}"
    )
    return 0 if share >= CONFIG["least"] and not ended["not judged"] else 1


if __name__ == "__main__":
    sys.exit(main())
