"""robustest init --scan: a battery is measured, explained, and written as the tests that hold it."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest

from robustest import Settings
from robustest.cli.commands.init import IMAGES, IMAGES_HEAD, PLACE, ROWS, ROWS_HEAD, Probe
from robustest.cli.commands.scan import FILE, source_of
from robustest.reports import json_file

Make = Callable[..., Any]
NAMES = [probe.name for probe in IMAGES]


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch, account: Make) -> Callable[..., None]:
    """Lets pytest be a stub that finds these rows in the scan's file: `scanned(rows, code=1)`."""

    def of(rows: Sequence[Any], *, code: int = 1, **more: Any) -> None:
        def run(arguments: Sequence[str]) -> int:
            assert PLACE not in Path(FILE).read_text(encoding="utf-8")
            (path,) = [part.partition("=")[2] for part in arguments if part.startswith("--robust-json=")]
            json_file.write(path, account(rows, **more), Settings())
            return code

        monkeypatch.setattr("robustest.cli.commands.suggest.run_pytest", run)

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
    assert f"cause     {IMAGES[0].cause}" in told[1]
    assert f"next      {IMAGES[0].step}" in told[1]
    assert "likely" not in told[2]
    assert "no threshold" in told[3]
    assert f"{NAMES[3]}  could not measure: ConfigError: Expected images" in done.out
    assert f"{FILE}: 2 of 4 questions" in done.out


@pytest.mark.parametrize("code", [1, 4])
def test_nothing_measured_is_red_and_leaves_no_file(row: Make, scanned: Make, robustest: Make, code: int) -> None:
    scanned([row(f"{FILE}::{name}") for name in NAMES], code=code)
    done = robustest("init", "--scan")
    assert done.code in (2, 3)
    assert not Path(FILE).exists()
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
    assert IMAGES[0].cause not in done.out


def test_what_a_run_lost_is_red(made: Make, row: Make, scanned: Make, robustest: Make) -> None:
    scanned([row(f"{FILE}::{NAMES[0]}", made([True] * 200, 0.001))], lost=["a worker's results"])
    assert robustest("init", "--scan").code == 3


def test_a_health_check_writes_no_test(made: Make, row: Make, scanned: Make, robustest: Make) -> None:
    from robustest.results import Verdict

    masked = made([True] * 200, 0.001, verdict=Verdict.INCONCLUSIVE)
    scanned([row(f"{FILE}::{NAMES[0]}", masked)])
    assert robustest("init", "--scan").code == 3
    assert not Path(FILE).exists()


def test_a_file_that_is_there_is_not_touched(robustest: Make) -> None:
    Path("tests").mkdir()
    Path(FILE).write_text("# mine\n", encoding="utf-8")
    assert robustest("init", "--scan").code == 2
    assert Path(FILE).read_text(encoding="utf-8") == "# mine\n"


@pytest.mark.parametrize(("head", "probes"), [(IMAGES_HEAD, IMAGES), (ROWS_HEAD, ROWS)], ids=["images", "rows"])
def test_every_question_has_a_test_a_cause_and_a_step(head: str, probes: tuple[Probe, ...]) -> None:
    functions = {
        one.name
        for one in ast.parse(source_of(head, dict.fromkeys(probes, 0.5))).body
        if isinstance(one, ast.FunctionDef)
    }
    for probe in probes:
        assert probe.name in functions
        assert probe.source.count(PLACE) == 1
        assert probe.cause
        assert probe.step


@pytest.mark.parametrize(("low", "high"), [(20.0, 80.0), (-80.0, -20.0), (-5.0, 5.0)])
def test_what_the_shifts_make_of_rows_is_inside_their_bounds(low: float, high: float) -> None:
    """Zeros in the place of a column are zeros, though no row has one: what is cut off at the bounds is not tested."""
    written: dict[str, Any] = {}
    exec(ROWS_HEAD, written)  # noqa: S102 - our own source
    rows = numpy.random.default_rng(0).uniform(low, high, (50, 3))
    least, most = written["bounds"].__wrapped__((rows, None))
    for name in ("a_little_more", "first_column_lost", "last_column_lost"):
        shifted = written[name](rows.copy())
        assert ((shifted >= least) & (shifted <= most)).all(), name
        assert not numpy.array_equal(shifted, rows)


CONFTESTS = {
    "images": """\
import pytest, torch


@pytest.fixture(scope="session")
def robust_data():
    labels = torch.arange(200) % 2
    return 0.3 + 0.4 * labels.float().reshape(-1, 1, 1, 1).expand(-1, 3, 16, 16), labels


@pytest.fixture(scope="session")
def robust_model():
    return lambda x: torch.stack([0.5 - x.mean((1, 2, 3)), x.mean((1, 2, 3)) - 0.5], 1)
""",
    "rows": """\
import numpy, pytest
from sklearn.tree import DecisionTreeClassifier

x = numpy.random.default_rng(0).random((200, 3)) * 50
y = (x[:, 0] > 25).astype(int)
y[:10] = 1 - y[:10]  # some are labelled wrongly, so that less is right than all


@pytest.fixture(scope="session")
def robust_data():
    return x, y


@pytest.fixture(scope="session")
def robust_model():
    return DecisionTreeClassifier(random_state=0).fit(x[10:], y[10:])
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFTESTS)
def test_a_project_gets_its_first_gate_by_init_alone(robustest: Make, tmp_path: Path, kind: str) -> None:
    """A conftest of the model's own loading, and no line of test; what is written passes on the next run."""
    from robustest.cli.screen import run_pytest

    if kind == "rows":
        pytest.importorskip("sklearn")
        Path("requirements.txt").write_text("scikit-learn\n", encoding="utf-8")
    Path("conftest.py").write_text(CONFTESTS[kind], encoding="utf-8")
    done = robustest("init", "--scan", tmp_path)
    assert done.code == 0, done.out + done.err
    if kind == "rows":
        shutil.rmtree(".robustest", ignore_errors=True)
        assert run_pytest(["-q", str(tmp_path / FILE)]) == 0
        assert "it rests on the first column" in done.out
        assert "it rests on the last column" not in done.out
