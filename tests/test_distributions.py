"""The two distributions, built from the checkout: alone, together, and the suites of the half that needs no torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUITES = (
    "claims/test_outcomes.py",
    "claims/test_outcomes_in_clusters.py",
    "claims/test_asked_outcomes.py",
    "data/test_outcomes.py",
    "data/test_outcome_files.py",
    "data/test_readers.py",
    "data/test_odd_files.py",
)

pytestmark = pytest.mark.slow  # what builds and installs needs an index


def run(*command: str | Path, cwd: Path | None = None) -> str:
    # Neither the checkout nor another environment may be imported in the place of what is installed.
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ROBUSTEST_TESTED")}
    done = subprocess.run(  # noqa: S603 - our own commands
        [str(part) for part in command], cwd=cwd, env=own, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dist")
    projects = (ROOT, ROOT / "distributions" / "robustest-base")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, *projects)
    return {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture
def python(tmp_path: Path) -> Path:
    venv.create(tmp_path / "env", with_pip=True)
    return tmp_path / "env" / "bin" / "python"


def files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as held:
        return set(held.namelist())


def metadata(wheel: Path, folder: Path) -> Distribution:
    with zipfile.ZipFile(wheel) as held:
        held.extractall(folder)
    return Distribution.at(next(folder.glob(f"{wheel.name.partition('-')[0]}-*.dist-info")))


def test_no_file_is_in_both(wheels: dict[str, Path], tmp_path: Path) -> None:
    assert set(wheels) == {"robustest", "robustest_base"}
    assert not files(wheels["robustest"]) & files(wheels["robustest_base"])
    whole, base = (
        metadata(wheels["robustest"], tmp_path / "whole"),
        metadata(wheels["robustest_base"], tmp_path / "base"),
    )
    required = [one.partition(";")[0].strip() for one in whole.requires or () if "extra ==" not in one]
    assert f"robustest-base=={base.version}" in required
    assert {"torch", "torchvision"} <= {one.partition(">")[0] for one in required}
    # A script of both would be lost with the first that is removed.
    assert not list(whole.entry_points)
    assert {(one.group, one.name) for one in base.entry_points} == {
        ("console_scripts", "robustest"),
        ("pytest11", "robustest"),
    }
    assert not any("torch" in one for one in base.requires or ())


@pytest.mark.parametrize("order", [("robustest", "robustest-base"), ("robustest-base", "robustest")])
def test_each_is_installed_and_removed_in_any_order(
    order: tuple[str, str], wheels: dict[str, Path], python: Path, tmp_path: Path
) -> None:
    def pip(*arguments: str | Path) -> None:
        run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)

    def works() -> bool:
        where = run(
            python, "-c", "import importlib.util as i; print(i.find_spec('robustest') is not None)", cwd=tmp_path
        )
        if where.strip() == "True":
            run(python, "-c", "import robustest; print(robustest.Verdict, robustest.__version__)", cwd=tmp_path)
        return where.strip() == "True"

    first, second = (wheels[name.replace("-", "_")] for name in order)
    pip("install", "--no-deps", first)
    assert works() is (order[0] == "robustest-base")
    pip("install", "--no-deps", second)
    assert works()
    pip("uninstall", "--yes", order[0])
    assert works() is (order[0] == "robustest")
    pip("install", "--no-deps", first)
    assert works()
    pip("uninstall", "--yes", order[1])
    assert works() is (order[0] == "robustest-base")


def test_the_checkout_is_all_of_it_and_needs_no_other_package_of_ours(python: Path, tmp_path: Path) -> None:
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "-e", ROOT)
    told = run(
        python,
        "-c",
        "from importlib.metadata import distribution as d; x = d('robustest')\n"
        "print(*sorted(one.name for one in x.entry_points))\n"
        "print(*[r for r in x.requires if 'extra' not in r], sep='|')",
        cwd=tmp_path,
    )
    names, required = told.splitlines()
    assert names == "robustest robustest"
    assert "robustest-base" not in required
    assert {"torch", "numpy", "scipy"} <= {one.partition(">")[0] for one in required.split("|")}


def test_suites_of_outcomes_and_asking_pass_without_torch(
    wheels: dict[str, Path], python: Path, tmp_path: Path
) -> None:
    base = f"robustest-base[html,outcomes] @ {wheels['robustest_base'].as_uri()}"
    run(python, "-m", "pip", "install", "--quiet", base, "hypothesis")
    for suite in SUITES:
        place = tmp_path / "suites" / suite
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / "unit" / suite, place)
    shutil.copytree(ROOT / "tests" / "unit" / "data" / "outcomes", tmp_path / "suites" / "data" / "outcomes")
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "suites")  # pytest's options
    assert run(python, "-c", "import importlib.util as i; print(i.find_spec('torch'))").strip() == "None"
    # Of the processor, not of the clock: machines are shared.
    timed = "import time; t = time.process_time(); import robustest; print(time.process_time() - t)"
    assert float(run(python, "-c", timed, cwd=tmp_path)) < 0.3
    told = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES, cwd=tmp_path / "suites")
    assert " passed" in told
    assert "failed" not in told
