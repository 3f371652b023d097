"""The half that decides and reports, where torch cannot be imported: recorded outcomes, asking, the plugin."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import robustest
from robustest import loaded
from robustest.identity.fingerprint import digest

ROOT = Path(__file__).resolve().parents[2]
HALF = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"][-1]

# A process without torch, and without the packs that may be installed here: they need it.
WITHOUT_TORCH = """
import importlib.metadata, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
entry_points = importlib.metadata.entry_points
importlib.metadata.entry_points = lambda **how: [] if how.get("group") == "robustest" else entry_points(**how)
"""


def run_without_torch(folder: Path, code: str, *arguments: str) -> str:
    script = folder / "script.py"  # a function without a file has no identity
    script.write_text(WITHOUT_TORCH + code, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - the program is our own
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={"PYTHONPATH": str(Path(robustest.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_module_of_the_half_is_imported_without_torch(tmp_path: Path) -> None:
    assert len(HALF["source_modules"]) > 40
    told = run_without_torch(
        tmp_path,
        "import importlib\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\nprint('torch' in sys.modules)",
        *HALF["source_modules"],
    )
    assert told.strip() == "False"


def test_an_import_loads_no_scipy_and_takes_less_than_a_third_of_a_second(tmp_path: Path) -> None:
    told = run_without_torch(
        tmp_path,
        "import time\nbegun = time.process_time()\nimport robustest\nlasted = time.process_time() - begun\n"
        "import robustest.claims.outcomes\nprint(lasted, 'scipy' in sys.modules)",
    )
    lasted, scipy = told.split()
    assert float(lasted) < 0.3  # of the processor, not of the clock: machines are shared
    assert scipy == "False"


def test_recorded_outcomes_and_asking_need_no_torch_and_answers_are_remembered(tmp_path: Path) -> None:
    code = """
import json
from robustest import Settings, context
from robustest.data import Outcomes
from robustest.measure import measure_rate
scores = Outcomes.of([{"item": f"{i}", "score": i % 10 > 0} for i in range(200)])
rate = measure_rate(scores, at_least=0.7)
class Echo:
    def robustest_fingerprint(self):
        return "1"

    def __call__(self, item):
        return item["prompt"].upper()

items = [{"prompt": f"say {i}", "expected": f"SAY {i}"} for i in range(30)]
found = []
for _ in range(2):
    with context.running(context.Context(settings=Settings(store=sys.argv[1]))):
        score = lambda answer, item: answer == item["expected"]
        found.append(measure_rate(Echo(), items, score=score, at_least=0.5, exact=True))
calls = [(one.details["calls"], one.details["recalled"]) for one in found]
print(json.dumps([rate.verdict, rate.estimate, [one.verdict for one in found], calls, "torch" in sys.modules]))
"""
    told = json.loads(run_without_torch(tmp_path, code, str(tmp_path / "store")).splitlines()[-1])
    assert told == ["passed", 0.9, ["passed", "passed"], [[30, 0], [0, 30]], False]


def test_what_needs_torch_says_what_to_install(tmp_path: Path) -> None:
    code = """
import robustest
for name in ("assert_robust_accuracy", "Linf", "attacks", "as_classifier"):
    try:
        getattr(robustest, name)
    except robustest.ConfigError as error:
        print(error)
"""
    lines = run_without_torch(tmp_path, code).splitlines()
    assert len(lines) == 4
    for line, name in zip(lines, ("assert_robust_accuracy", "Linf", "attacks", "as_classifier"), strict=True):
        assert f"robustest.{name}" in line
        assert "pip install robustest." in line


def test_another_missing_module_is_not_taken_for_torch(tmp_path: Path) -> None:
    code = """
from robustest.errors import needing_torch
for name in ("torch.nn", "numpy_that_is_not_there"):
    try:
        with needing_torch("this"):
            __import__(name)
    except Exception as error:
        print(type(error).__name__)
"""
    assert run_without_torch(tmp_path, code).split() == ["ConfigError", "ModuleNotFoundError"]


def test_pytest_runs_claims_on_recorded_outcomes_without_torch(tmp_path: Path) -> None:
    (tmp_path / "test_rate.py").write_text(
        """
import pytest
from robustest import assert_rate
from robustest.data import Outcomes

@pytest.mark.parametrize("limit", [0.7, 0.95])
def test_rate(limit):
    scores = Outcomes.of([{"item": f"{i}", "score": i % 10 > 0} for i in range(200)])
    assert_rate(scores, at_least=limit)
"""
    )
    code = """
import pytest, os
os.chdir(sys.argv[1])
reports = ["--robust-json=out.json", "--robust-html=page", "--junit-xml=out.xml"]
code = pytest.main(["-p", "no:cacheprovider", "-q", "--robust", *reports])
print("exit", int(code), "torch" in sys.modules)
"""
    told = run_without_torch(tmp_path, code, str(tmp_path))
    assert told.splitlines()[-1] == "exit 1 False", told
    rows = json.loads((tmp_path / "out.json").read_text())
    assert json.dumps(rows).count('"verdict": "failed"') == 1
    assert (tmp_path / "out.xml").exists()


def test_a_name_of_an_absent_module_has_no_instances() -> None:
    absent = loaded.Absent
    assert absent.nn.Module is absent
    assert not isinstance(3, absent)
    assert not issubclass(int, absent)
    with pytest.raises(TypeError):
        absent()
    with pytest.raises(AttributeError):
        absent.__wrapped__  # noqa: B018 - the look at an attribute is what is tested


def test_a_module_that_is_still_being_imported_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    half = type(sys)("half_imported")
    half.__spec__ = type("Spec", (), {"_initializing": True})()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "half_imported", half)
    assert loaded.loaded("half_imported") is None
    half.__spec__._initializing = False  # type: ignore[union-attr]
    assert loaded.loaded("half_imported") is half


def test_values_have_the_same_digest_whether_torch_is_loaded_or_not(tmp_path: Path) -> None:
    values = {"a": [1, 2.5, None, b"x", (True, "y")], "b": {"c": frozenset({1, 2})}}
    told = run_without_torch(
        tmp_path,
        "from robustest.identity.fingerprint import digest\n"
        "print(digest({'a': [1, 2.5, None, b'x', (True, 'y')], 'b': {'c': frozenset({1, 2})}}))",
    )
    assert told.strip() == digest(values)
