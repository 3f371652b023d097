"""`robustest init`: fixtures, first tests and a workflow for a project, or a small example; nothing is overwritten.

The example's model is a small network that learns four shapes in seconds, from images that a seeded script draws. It
keeps its answers under noise. Nothing in its training prepared it for an attack, so the claim about attacks is red.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import webbrowser
from importlib.resources import files
from pathlib import Path

from robustest.cli.installation import Project, installation_of, python_of
from robustest.cli.project import DATA, MODEL, UNFILLED, Fixtures, Reference, conftests, fixtures_of, look_at
from robustest.cli.questions import battery
from robustest.cli.results_file import read_results
from robustest.cli.screen import Exit, Screen, exit_of_pytest, write_new, wrong
from robustest.cli.warm import WarmPytest
from robustest.cli.workflow import FILE as WORKFLOW
from robustest.cli.workflow import extended, job_of, workflow
from robustest.repository import repository_of, service_of
from robustest.safe_files import write_atomic

_TEMPLATES = files("robustest.cli").joinpath("templates")


def init(folder: str, *, model: str, data: str, scan: bool, example: bool) -> int:
    """Write missing files into the root of a project; print their names and the next steps.

    Args:
        model, data: places of the model and of the samples, as `module:name`, for a new conftest.py; "" asks the
            user on a terminal, unless a conftest.py defines them.
    """
    if example:
        return write_example(folder)
    root = Path(folder)
    if not root.is_dir():
        raise wrong(f"Expected the folder of a project but there is none at {root}. Create it, or name another.")
    if bool(model) != bool(data):
        raise wrong("Expected --model and --data together but got one of them. Name both, as module:name.")
    screen = Screen()
    fixtures = fixtures_of(root)
    if scan:
        from robustest.cli.scan import write_scan  # loads scipy

        if fixtures is None and model:
            _write_fixtures(screen, root, None, [Reference.of(model), Reference.of(data)])
        return write_scan(folder)
    if fixtures is None and not model and sys.stdin.isatty() and sys.stdout.isatty():
        screen.write(
            "Model and samples, as two places such as my_project:load_model my_project:test_set (Enter: later): "
        )
        sys.stdout.flush()
        answer = sys.stdin.readline().split()
        model, data = answer if len(answer) == 2 else ("", "")
    project = Project(root, repository_of(root))
    steps = [_write_fixtures(screen, root, fixtures, [Reference.of(one) for one in (model, data) if one])]
    looked, further = _write_tests(screen, project, fixtures_of(root))
    steps += further
    _write_workflow(screen, project)
    _write(screen, root, ".robustest/.gitignore", IGNORED)
    screen.write_line()
    screen.write_line("Next:", bold=True)
    steps += [
        "Run the tests: pytest --robust -m robust",
        "Set their thresholds to values that the model keeps: robustest suggest -m robust",
        f"Or have tests with such thresholds written: robustest init --scan {folder}",
        "Commit, and make the job a required check of your main branch",
    ]
    for number, step in enumerate(filter(None, steps), 1):
        screen.write_line(f"  {number}. {step}")
    return Exit.OK if looked else Exit.MISSING


def _write_workflow(screen: Screen, project: Project) -> None:
    """Write a workflow into the repository's root, or add a job for this project to the one that `init` wrote."""
    root, top = project.root, repository_of(project.root)
    service = service_of(root)
    texts = [
        path.read_text(encoding="utf-8", errors="replace") for path in [*conftests(root), *root.glob("*/test_*.py")]
    ]
    packs = sorted({one.replace("_", "-") for text in texts for one in re.findall(r"\brobustest_\w+", text)})
    about = installation_of(root, top, packs), service, python_of(project)
    path = top / WORKFLOW
    if service and path.is_file():
        before = path.read_text(encoding="utf-8")
        after = extended(before, *about)
        if after is None:  # somebody's own
            _write(screen, top, f".github/workflows/{job_of(service)}.yml", workflow(*about))
            return
        if after != before:
            write_atomic(path, after.encode())
            screen.write_line(f"added   the job {job_of(service)} to {os.path.relpath(path)}", green=True)
            return
    _write(screen, top, WORKFLOW, workflow(*about))


def _write(screen: Screen, root: Path, name: str, text: str) -> None:
    path = root / name
    try:
        write_new(path, text)
    except FileExistsError:
        screen.write_line(f"kept    {path}: it exists already", yellow=True)
        return
    screen.write_line(
        f"wrote   {os.path.relpath(path) if '..' in path.parts or path.is_absolute() else path}", green=True
    )


def _write_fixtures(screen: Screen, root: Path, fixtures: Fixtures | None, places: list[Reference]) -> str:
    there = conftests(root)
    if fixtures is not None:
        screen.write_line(f"kept    {there[0]}: model and samples are its {fixtures.model} and {fixtures.data}")
        return "" if not _unfilled(root) else f"Fill in {fixtures.model} and {fixtures.data} in {there[0]}"
    imports, functions = _fixtures(root, places)
    if not there:
        # In the root, so that pytest puts the root on sys.path, and tests can import the modules there.
        head = "\n".join(['"""The model and the samples of the robustness tests."""', "", *imports])
        text = "\n\n\n".join([head, *(function.rstrip("\n") for function in functions)]) + "\n"
        _write(screen, root, "conftest.py", text)
        return "" if places else f"Fill in robust_model and robust_data in {root / 'conftest.py'}"
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in there)
    lacking = [name for name in (MODEL, DATA) if not re.search(rf"\b{name}\b", text)]
    screen.write_line(f"kept    {there[0]}: it exists already; add to it:", yellow=True)
    for line in [one for one in imports if one not in text.splitlines()]:
        screen.write_line(line)
    for name, function in zip((MODEL, DATA), functions, strict=True):
        if name in lacking:
            screen.write_line()
            for line in function.splitlines():
                screen.write_line(line)
    filled = "" if places else ", and fill in their return values"
    return f"Add {' and '.join(lacking)} to {there[0]}, as shown above{filled}"


def _fixtures(root: Path, places: list[Reference]) -> tuple[list[str], list[str]]:
    bodies, imports = [_MODEL, _DATA], {"import pytest"}
    for number, place in enumerate(places):
        if place.notebook:
            imports |= {"import json", "import sys", "from functools import cache", "from pathlib import Path"}
            imports.add("from types import ModuleType")
            bodies[number] = f"    return notebook({place.notebook!r}).{place.name}{place.call(root)}\n"
        elif place.module:
            imports.add(f"from {place.module} import {place.name}")
            bodies[number] = f"    return {place.name}{place.call(root)}\n"
        else:
            imports.add("from robustest_onnx import onnx_model")
            bodies[number] = f"    return onnx_model({place.name!r})\n"
    names = zip((MODEL, DATA), bodies, strict=True)
    functions = [f'@pytest.fixture(scope="session")\ndef {name}():\n{body}' for name, body in names]
    if any(place.notebook for place in places):
        functions[0] = f"{_NOTEBOOK}\n\n{functions[0]}"
    merged: dict[str, set[str]] = {}
    for line in (one for one in imports if one.startswith("from ")):
        module, _, name = line.removeprefix("from ").partition(" import ")
        merged.setdefault(module, set()).add(name)
    plain = sorted(one for one in imports if one.startswith("import "))
    return [
        *plain,
        *(f"from {one} import {', '.join(sorted(merged[one]))}" for one in sorted(merged)),
    ], functions


def _unfilled(root: Path) -> bool:
    return any(UNFILLED in path.read_text(encoding="utf-8", errors="replace") for path in conftests(root))


def _write_tests(screen: Screen, project: Project, fixtures: Fixtures | None) -> tuple[bool, list[str]]:
    """Write tests that fit the samples; return False if these could not be looked at, and what comes next."""
    root = project.root
    again = f"Run robustest init {root} again: it then inspects model and samples, and writes tests that fit them"
    name = project.tests_file("robustness")
    path = root / name
    if path.exists():
        screen.write_line(f"kept    {path}: it exists already", yellow=True)
        return True, []
    if fixtures is None or _unfilled(root):
        return True, [again]
    screen.write_line("inspecting model and samples")
    with WarmPytest() as pytest:
        facts = look_at(root, fixtures, pytest)
    if isinstance(facts, str):
        screen.write_line(f"could not inspect them: {facts.splitlines()[0]}", yellow=True)
        for line in facts.splitlines()[1:]:
            screen.write_line(f"    {line}")
        return False, [f"Fix the error above. {again}"]
    if facts.guess == 1:
        screen.write_line("wrote no tests: all samples that were inspected have the same label", yellow=True)
        return False, [f"Give samples of every class, or a model that says one thing of all would pass. {again}"]
    questions = battery(facts)
    thresholds = {probe.name: probe.weak for probe in questions.probes if probe.first}
    screen.write_line(f"samples are {facts.kind}, {facts.n} of them")
    _write(screen, root, name, questions.source(thresholds))
    return True, []


_NOTEBOOK = '''\
@cache
def notebook(name):
    """Run the cells of a notebook beside this file, without commands of IPython; return its names as a module."""
    cells = json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    module = sys.modules[Path(name).stem] = ModuleType(Path(name).stem)
    for text in texts:
        if not text.lstrip().startswith("%%"):
            code = "\\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("%", "!")))
            exec(compile(code, name, "exec"), vars(module))
    return module
'''

_MODEL = f"""\
    # A torch module, a fitted classifier of scikit-learn or LightGBM, or a function from a batch to logits.
    raise pytest.UsageError("Expected {MODEL} in conftest.py to return your model: {UNFILLED}.")
"""

_DATA = f"""\
    # Samples that the model was not trained on: (x, y), (frame, labels), a data set or a loader; images in [0, 1].
    raise pytest.UsageError("Expected {DATA} in conftest.py to return your samples: {UNFILLED}.")
"""

IGNORED = """\
# Results and pictures that robustest stores; only counterexamples may be committed.
*
!.gitignore
!corpus/
!corpus/**
"""
"""Content of `.robustest/.gitignore`."""


# Without a pytest.ini, pytest would use the settings of a project in a parent folder.
EXAMPLE = ("pytest.ini", "shapes.py", "conftest.py", "test_shapes.py")
"""Files of the example."""


def write_example(folder: str) -> int:
    """Write the example project, run its tests, and open the report in a browser if there is a screen.

    Returns:
        0 if the tests ran and ended as the example says: one green, one red.
    """
    root = Path("robustest-example" if folder == "." else folder)
    screen = Screen()
    templates = {path.name.removesuffix(".txt"): path for path in _TEMPLATES.joinpath("example").iterdir()}
    for name in EXAMPLE:
        if (root / name).exists():
            raise wrong(f"Expected no {root / name} but it exists already. Name another folder.")
    for name in EXAMPLE:
        write_new(root / name, templates[name].read_text(encoding="utf-8"))
        screen.write_line(f"wrote   {root / name}", green=True)
    has_page = importlib.util.find_spec("jinja2") is not None
    command = "python -m pytest --robust" + (" --robust-html=report" if has_page else "")
    screen.write_line(f"run     cd {root} && {command}")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as temporary:
        results = Path(temporary) / "run.json"
        done = subprocess.run(  # noqa: S603 - the example's own tests, and no shell
            [sys.executable, *command.split()[1:], f"--robust-json={results}"], cwd=root, check=False
        )
        rows = read_results(results).account.rows if results.is_file() else []
    # Exit code 1 is also that of two errors.
    if sorted(row.state for row in rows) != ["failed", "passed"]:
        states = ", ".join(f"{row.test}: {row.state}" for row in rows) or "no result"
        screen.write_line(f"Expected one claim that holds and one that fails but got {states}.", red=True)
        return Exit.NOT_PASSED if done.returncode == 0 else exit_of_pytest(done.returncode)
    screen.write_line()
    screen.write_line("One claim holds and one fails, as it should: see the samples that it fails on.", bold=True)
    has_screen = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    page = root / "report" / "index.html"
    if not page.is_file():
        screen.write_line("The page of a run needs jinja2: pip install 'robustest[html]'", yellow=True)
    elif not (sys.stdout.isatty() and has_screen and webbrowser.open(page.resolve().as_uri())):
        screen.write_line(f"page    {page}")
    screen.write_line(f"Your own model: see {root / 'conftest.py'}, or run robustest init in your project.")
    return Exit.OK
