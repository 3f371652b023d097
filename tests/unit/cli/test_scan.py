"""robustest init --scan: a battery is measured, explained, and written as the tests that hold it."""

from __future__ import annotations

import ast
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from robustest import Settings
from robustest.cli.project import Fixtures, fixtures_of, plan_of
from robustest.cli.questions import KINDS, PLACE, Facts, battery
from robustest.cli.screen import write_new
from robustest.cli.suggest import QUIET, measure
from robustest.cli.warm import WarmPytest
from robustest.reports import json_file

Make = Callable[..., Any]
FILE = "tests/test_robustness_scan.py"
IMAGES = battery(Facts(kind="images"))
NAMES = [probe.name for probe in IMAGES.probes]


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch, account: Make) -> Callable[..., list[Any]]:
    """Lets pytest be a stub that finds these rows in the scan's file: `scanned(rows, code=1, guess=0.5)`.

    Once the file has its thresholds it finds the rows `tried`, by default the same ones. Returns the plans of runs.
    """

    def of(
        rows: Sequence[Any], *, code: int = 1, guess: float = 0.1, tried: Sequence[Any] | None = None, **more: Any
    ) -> list[Any]:
        plans: list[Any] = []

        def run(arguments: Sequence[str]) -> int:
            (plan,) = [part.partition("=")[2] for part in arguments if part.startswith("--robust-plan=")]
            plans.append(json.loads(Path(plan).read_text(encoding="utf-8")))
            file = Path(plans[-1]["file"])
            source = file.read_text(encoding="utf-8")
            assert PLACE not in source
            assert not file.is_relative_to(Path.cwd()), "the questions lie outside of the project"
            (path,) = [part.partition("=")[2] for part in arguments if part.startswith("--robust-json=")]
            loosest = "at_least=0.001" in source
            found = rows if loosest or tried is None else tried
            json_file.write(path, account(found, **more), Settings())
            return code

        monkeypatch.setattr("robustest.cli.warm.WarmPytest.run", lambda _, arguments: run(arguments[1:]))
        facts = Facts(kind="images", n=200, guess=guess)
        monkeypatch.setattr("robustest.cli.scan.look_at", lambda *_: facts)
        return plans

    return of


def test_what_holds_is_written_and_what_does_not_is_explained(
    made: Make, row: Make, scanned: Make, robustest: Make
) -> None:
    strong, weak, none = [True] * 190 + [False] * 10, [True] * 60 + [False] * 140, [False] * 200
    found = [made(held, 0.001) for held in (weak, strong, none)]
    rows = [row(f"{FILE}::{name}", result) for name, result in zip(NAMES, found, strict=False)]
    scanned([*rows, row(f"{FILE}::{NAMES[3]}", problem="ConfigError: Expected images")])
    done = robustest("init", "--scan")
    assert done.code == 0
    written = Path(FILE).read_text(encoding="utf-8")
    functions = [one.name for one in ast.parse(written).body if isinstance(one, ast.FunctionDef)]
    assert functions == NAMES[:2], "what has no threshold to hold has no test"
    assert "at_least=0.001" not in written
    told = done.out.split("\ntest_")
    assert f"cause     {IMAGES.probes[0].cause}" in told[1]
    assert f"next      {IMAGES.probes[0].step}" in told[1]
    assert "likely" not in told[2]
    assert "no threshold" in told[3]
    assert f"{NAMES[3]}  could not measure: ConfigError: Expected images" in done.out
    assert f"{FILE}: 2 of 5 questions" in done.out


def test_a_threshold_that_a_guess_keeps_is_not_written(made: Make, row: Make, scanned: Make, robustest: Make) -> None:
    """Of two classes half is right without a look at the samples; on 200 samples up to .585 at times."""
    found = [made([True] * right + [False] * (200 - right), 0.001) for right in (134, 160)]
    scanned([row(f"{FILE}::{name}", one) for name, one in zip(NAMES, found, strict=False)], guess=0.5)
    done = robustest("init", "--scan")
    assert "no better than a guess" in done.out
    assert NAMES[0] not in Path(FILE).read_text(encoding="utf-8")
    assert NAMES[1] in Path(FILE).read_text(encoding="utf-8")


def test_a_test_that_does_not_pass_as_it_would_be_written_is_not(
    made: Make, row: Make, scanned: Make, robustest: Make
) -> None:
    """It may stop early, and then audits other samples than a measurement of all."""
    strong = [True] * 190 + [False] * 10
    rows = [row(f"{FILE}::{name}", made(strong, 0.001)) for name in NAMES[:3]]
    scanned(rows, tried=[rows[0], row(f"{FILE}::{NAMES[1]}", made([True] * 150 + [False] * 50, 0.9))])
    done = robustest("init", "--scan")
    assert done.code == 0
    functions = [
        one.name for one in ast.parse(Path(FILE).read_text(encoding="utf-8")).body if isinstance(one, ast.FunctionDef)
    ]
    assert functions == NAMES[:1]
    assert f"{NAMES[1]}  not written: at " in done.out
    assert f"{NAMES[2]}  not written: " in done.out
    assert "its test did not run" in done.out


@pytest.mark.parametrize("code", [1, 4])
def test_nothing_measured_is_red_and_leaves_no_file(row: Make, scanned: Make, robustest: Make, code: int) -> None:
    scanned([row(f"{FILE}::{name}") for name in NAMES], code=code)
    done = robustest("init", "--scan")
    assert done.code in (2, 3)
    assert not Path("tests").exists()
    if code == 1:
        assert "no test was written" in done.err


def test_no_cause_is_told_of_what_was_well_measured(made: Make, row: Make, scanned: Make, robustest: Make) -> None:
    """A health check speaks of the search: nothing is known of the model that would need a cause."""
    finding = {"name": "zero_gradient", "message": "zero", "suppressed": False}
    unsure = made([True] * 200, 0.001, details={"health": [finding]})
    scanned([row(f"{FILE}::{NAMES[0]}", unsure), row(f"{FILE}::{NAMES[1]}", made([True] * 200, 0.001))])
    done = robustest("init", "--scan")
    assert "no threshold: health check" in done.out
    assert IMAGES.probes[0].cause not in done.out


def test_nobody_is_told_to_claim_more_than_a_question_does(
    made: Make, row: Make, scanned: Make, robustest: Make
) -> None:
    message = "constant_answer: one answer reaches 0.500, and at_least=0.001 is claimed. Claim more"
    finding = {"name": "constant_answer", "message": message, "suppressed": False}
    loose = made([True] * 200, 0.001, notes=(message, "another"), details={"health": [finding], "constant_answer": 0.5})
    scanned([row(f"{FILE}::{NAMES[0]}", loose)])
    done = robustest("init", "--scan")
    assert "at_least=0.001" not in done.out
    assert "a model that ignores its input reaches 0.500; a threshold lies above that" in done.out
    assert "note      another" in done.out


def test_what_a_run_lost_is_red(made: Make, row: Make, scanned: Make, robustest: Make) -> None:
    scanned([row(f"{FILE}::{NAMES[0]}", made([True] * 200, 0.001))], lost=["a worker's results"])
    assert robustest("init", "--scan").code == 3


def test_a_health_check_writes_no_test(made: Make, row: Make, scanned: Make, robustest: Make) -> None:
    from robustest.results import Verdict

    masked = made([True] * 200, 0.001, verdict=Verdict.INCONCLUSIVE)
    scanned([row(f"{FILE}::{NAMES[0]}", masked)])
    assert robustest("init", "--scan").code == 3
    assert not Path(FILE).exists()


def test_places_are_written_as_fixtures_before_the_scan(made: Make, row: Make, scanned: Make, robustest: Make) -> None:
    scanned([row(f"{FILE}::{NAMES[0]}", made([True] * 200, 0.001))])
    Path("conftest.py").unlink(missing_ok=True)
    assert robustest("init", "--model", "net:model", "--data", "net:data", "--scan").code == 0
    written = Path("conftest.py").read_text(encoding="utf-8")
    assert "from net import data, model" in written
    assert fixtures_of(Path()) is not None
    Path(FILE).unlink()
    assert robustest("init", "--model", "other:model", "--data", "other:data", "--scan").code == 0
    assert Path("conftest.py").read_text(encoding="utf-8") == written, "fixtures that are there stay"


def test_a_file_that_is_there_is_not_touched(robustest: Make) -> None:
    Path("tests").mkdir()
    Path(FILE).write_text("# mine\n", encoding="utf-8")
    assert robustest("init", "--scan").code == 2
    assert Path(FILE).read_text(encoding="utf-8") == "# mine\n"


def test_tests_go_where_the_project_collects_them(made: Make, row: Make, scanned: Make, robustest: Make) -> None:
    Path("pytest.ini").write_text("[pytest]\ntestpaths = quality/checks\npython_files = check_*.py\n", encoding="utf-8")
    Path("quality/checks").mkdir(parents=True)
    name = "quality/checks/check_robustness_scan.py"
    plans = scanned([row(f"{name}::{NAMES[0]}", made([True] * 200, 0.001))])
    assert robustest("init", "--scan").code == 0
    assert NAMES[0] in Path(name).read_text(encoding="utf-8")
    assert not Path("tests").exists()
    assert {(plan["folder"], plan["name"]) for plan in plans} == {(str(Path("quality/checks").resolve()), name)}


def test_fixtures_are_found_where_the_project_collects_its_tests(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\ntestpaths = checks\n", encoding="utf-8")
    (tmp_path / "checks").mkdir()
    source = "import pytest\n@pytest.fixture\ndef clf(): ...\n@pytest.fixture\ndef held_out_samples(): ...\n"
    (tmp_path / "checks" / "conftest.py").write_text(source, encoding="utf-8")
    assert fixtures_of(tmp_path) == Fixtures("clf", "held_out_samples")


FACTS = {
    "images": {},
    "rows": {"columns": ("age", "dose"), "units": (0.0, 1.0), "usual": (40.0, 3.5), "relied": 1, "high": 90.0},
    "frame": {
        "columns": ("age", "dose", "ward"),
        "units": (10.0, 0.1, 0.0),
        "whole": (True, False, False),
        "usual": (40.0, 3.5, "north"),
        "relied": 2,
    },
    "text": {},
    "tokens": {"common": 7, "length": 10},
    "audio": {"low": -0.8, "high": 0.8, "length": 4000},
    "series": {"low": -3.0, "high": 5.0, "length": 60},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_question_has_a_test_a_cause_and_a_step(kind: str) -> None:
    facts: dict[str, Any] = {"kind": kind, "model": "clf", "data": "held_out", "guess": 0.25, **FACTS[kind]}
    questions = battery(Facts.from_dict(facts))
    source = questions.source(dict.fromkeys((probe.name for probe in questions.probes), 0.5))
    tree = ast.parse(source)
    functions = {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}
    assert "pytestmark = pytest.mark.robust" in source, "fixtures with names of one's own mark no test"
    assert all(len(line) <= 120 for line in source.splitlines())
    for probe in questions.probes:
        assert [one.arg for one in functions[probe.name].args.args] == ["clf", "held_out"]
        assert probe.source.count(PLACE) == 1
        assert "at_least" in probe.source, "an untrained model keeps its answers too; what is right counts"
        assert (probe.cause, probe.step) > ("", "")
        assert probe.weak == pytest.approx(0.62, abs=0.01), "half of the way from a guess to all"


def test_a_file_appears_whole_and_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.py"
    write_new(path, "one\n")
    with pytest.raises(FileExistsError):
        write_new(path, "two\n")
    assert path.read_text(encoding="utf-8") == "one\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.slow
def test_options_of_the_projects_own_runs_reach_no_question(tmp_path: Path) -> None:
    """They require almost nothing: a badge of them would be green, and a baseline theirs. All of them are asked."""
    root, questions = tmp_path / "project", tmp_path / "questions.py"
    (root / "page").mkdir(parents=True)
    reports = "--robust-badge=badge.svg --robust-html=page --robust-history=runs --robust-json=run.json"
    options = f"{reports} --junitxml=junit.xml --robust-update-baseline -x -k nothing -m slow --lf --robust-shard=1/2"
    (root / "pytest.ini").write_text(f"[pytest]\naddopts = {options}\n", encoding="utf-8")
    names = ("badge.svg", "page/index.html", "junit.xml", "robust-baseline.json", "run.json")
    for name in names:
        (root / name).write_text("mine", encoding="utf-8")
    rows = "Outcomes.of([{'item': str(i), 'score': 1.0} for i in range(100)])"
    tests = [
        f"def test_{name}():\n    assert_rate({rows}, at_least={least})\n" for name, least in (("a", 1), ("b", 0.5))
    ]
    imports = "from robustest import assert_rate\nfrom robustest.data import Outcomes\n"
    questions.write_text("\n\n".join([imports, *tests]), encoding="utf-8")
    with WarmPytest() as warm:
        about = {**plan_of(root, questions, FILE), "title": "a try", "after": 0}
        run, code = measure(warm, [*QUIET, str(root)], about)
    assert (code, [row.state for row in run.account.results]) == (1, ["inconclusive", "passed"])
    assert {(root / name).read_text(encoding="utf-8") for name in names} == {"mine"}
    assert not (root / "runs").exists()
    assert not (root / ".pytest_cache").exists()


# Scans that are killed

PROJECT = """\
import os
import pytest
import torch
from torch import nn


def squares(seed, n):
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 4
    x = 0.2 * torch.rand(n, 1, 16, 16, generator=draw)
    for one, label in enumerate(y.tolist()):
        row, column = divmod(label, 2)
        x[one, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 0.6
    return x, y


@pytest.fixture(scope="session")
def model():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 4))
    x, y = squares(0, 400)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(0 if "UNTRAINED" in os.environ else 60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="session")
def test_data():
    return squares(1, 120)
"""


# The command, without a look at the project, which takes as long as the rest.
LOOKED = """\
import sys
from robustest.cli import main
from robustest.cli import scan
from robustest.cli.project import Fixtures, fixtures_of, plan_of
from robustest.cli.questions import Facts

scan.look_at = lambda *_: Facts(kind="images", n=120, guess=0.25, model="model", data="test_data")
sys.exit(main(["init", "--scan"]))
"""

# The same with two of the questions, under one seed.
QUICK = LOOKED.replace(
    "sys.exit",
    """\
from dataclasses import replace
from robustest.cli import suggest
whole = scan.battery
scan.battery = lambda facts: replace(whole(facts), probes=whole(facts).probes[:3:2])
suggest.SEEDS = 1
sys.exit""",
)


def scan_in(folder: Path, *command: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in [name for name in environ if name.startswith("PYTEST_")]:
        del environ[name]
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, *(command or ("-m", "robustest.cli", "init", "--scan", "."))],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def passing_gate(folder: Path) -> list[Path]:
    """Files of tests in a project that an untrained model passes, or in part passes."""
    left = [path for path in folder.rglob("*.py") if path.name != "conftest.py"]
    for path in left:
        code, printed = run_in(folder, "--robust-no-cache", str(path), UNTRAINED="1")
        if " passed" in printed or code != 1:
            return [path]
    return []


def run_in(folder: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    done = subprocess.run(  # noqa: S603 - our own project
        [sys.executable, "-m", "pytest", "--robust", "-q", "-o", "addopts=", *arguments],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def project(folder: Path) -> Path:
    (folder / "conftest.py").write_text(PROJECT, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_scan_that_is_terminated_leaves_no_test_and_no_process(tmp_path: Path) -> None:
    scan = scan_in(project(tmp_path), "-c", LOOKED)
    assert scan.stdout is not None
    seen = ""
    while "measuring" not in seen:
        line = scan.stdout.readline()
        assert line, seen
        seen += line
    scan.send_signal(signal.SIGTERM)
    rest, _ = scan.communicate(timeout=60)
    assert scan.returncode == 128 + signal.SIGTERM
    assert "What was measured is kept" in seen + rest
    assert [path.name for path in tmp_path.rglob("*.py")] == ["conftest.py"]
    with pytest.raises(ProcessLookupError):  # pytest ended with it
        os.killpg(scan.pid, 0)


@pytest.mark.slow
def test_a_scan_killed_at_any_moment_leaves_no_gate_that_an_untrained_model_passes(tmp_path: Path) -> None:
    """Scans run four at a time: whole ones, which are timed, then twenty, killed at moments spread over that time."""

    def start(name: str, *, looks: bool) -> tuple[Path, subprocess.Popen[str]]:
        folder = tmp_path / name
        folder.mkdir()
        return folder, scan_in(project(folder)) if looks else scan_in(project(folder), "-c", QUICK)

    def timed(looks: bool) -> float:
        began = time.monotonic()
        folder, scan = start(f"whole {began}", looks=looks)
        told, _ = scan.communicate(timeout=500)
        took = time.monotonic() - began
        assert scan.returncode == 0, told
        assert (folder / FILE).is_file()
        assert not looks or passing_gate(folder) == []
        return took

    def killed(number: int) -> tuple[bool, list[Path]]:
        """Whether the scan was still running, and the gates that it left."""
        looks = number % 7 == 0  # the whole command; its look writes nothing, so most moments lie after one
        # Every third moment lies near the end, where the file is written.
        moment = rng[number].uniform(0.9, 1.02) if number % 3 == 0 else rng[number].uniform(0, 1)
        folder, scan = start(str(number), looks=looks)
        with suppress(subprocess.TimeoutExpired):
            scan.wait(moment * seconds[looks])
        running = scan.poll() is None
        how = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)[number % 3]
        if how == signal.SIGINT:  # as a terminal does, to every process
            with suppress(ProcessLookupError):
                os.killpg(scan.pid, how)
        else:
            scan.send_signal(how)
        scan.communicate(timeout=600)  # also what a killed one started has ended
        return running, passing_gate(folder)

    rng = [random.Random(number) for number in range(20)]  # noqa: S311
    with ThreadPoolExecutor(4) as pool:
        with_look, *without = pool.map(timed, (True, False, False))
        seconds = {True: with_look, False: min(without)}
        ends = list(pool.map(killed, range(20)))
    assert [left for _, left in ends] == [[]] * 20
    assert sum(running for running, _ in ends) >= 12, "most were killed before they had ended"


@pytest.mark.slow
def test_a_scan_goes_on_where_it_was_stopped_and_its_gate_is_kept(tmp_path: Path) -> None:
    """The options of the project's own runs neither select nor stop its questions."""
    own = "addopts = -x -k nothing -m slow --lf --robust-replay-only --robust-shard=1/2 --robust-badge=badge.svg"
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{own}\n", encoding="utf-8")
    scan = scan_in(project(tmp_path))
    told, _ = scan.communicate(timeout=300)
    assert scan.returncode == 0, told
    assert "s spent, about" in told
    assert not (tmp_path / "badge.svg").exists()
    assert run_in(tmp_path, "--robust-json=run.json")[0] == 0
    results = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["results"]
    assert len(results) >= 4
    assert all(one["result"]["cached"] for one in results), "what the scan measured is remembered"
    assert passing_gate(tmp_path) == []


def test_the_command_chooses_thresholds_without_packages_that_its_runs_load() -> None:
    """They take as much of the processor as the runs of a scan that recalls all."""
    code = """
import sys
import robustest.cli.scan
from robustest.cli.suggest import fewest
from robustest.decisions.distributions import binomial_quantile
assert (fewest(190, 200, 0.01), binomial_quantile(0.99, 200, 0.5)) == (177, 116)
print({"scipy", "pytest", "torch"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.stdout.strip() == "set()", done.stderr
