"""robustest init: fixtures, first tests and a workflow, or an example; nothing is overwritten."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustest.cli import init as command
from robustest.cli import main
from robustest.cli.init import EXAMPLE
from robustest.cli.project import Fixtures, fixtures_of, look_at
from robustest.cli.questions import Facts
from robustest.cli.warm import WarmPytest
from robustest.cli.workflow import ACTIONS

Make = Callable[..., Any]
TESTS = "tests/test_robustness.py"
FILES = ("conftest.py", ".github/workflows/robustness.yml", ".robustest/.gitignore")


def steps(text: str) -> list[str]:
    """The steps of the workflow's job, each as its own text."""
    return re.split(r"^      - ", text.partition("    steps:\n")[2], flags=re.MULTILINE)[1:]


def test_an_empty_folder_gets_all_files(robustest: Make) -> None:
    done = robustest("init")
    assert (done.code, done.err) == (0, "")
    assert sorted(done.lines[: len(FILES)]) == sorted(f"wrote   {name}" for name in FILES)
    assert "\n\n\n\n" not in Path("conftest.py").read_text(encoding="utf-8"), "as formatters leave it"
    assert sorted(path.as_posix() for path in Path().rglob("*") if path.is_file()) == sorted(FILES)


def test_it_says_what_comes_next(robustest: Make) -> None:
    done = robustest("init")
    steps_told = done.lines[done.lines.index("Next:") + 1 :]
    assert [line.split(".")[0].strip() for line in steps_told] == ["1", "2", "3", "4", "5", "6"]
    assert "Fill in robust_model and robust_data in conftest.py" in steps_told[0]
    assert "Run robustest init . again" in steps_told[1]
    assert "pytest --robust" in steps_told[2]
    assert "robustest suggest" in steps_told[3]
    assert "robustest init --scan ." in steps_told[4]


def test_another_folder_may_be_named(robustest: Make) -> None:
    Path("project").mkdir()
    assert robustest("init", "project").code == 0
    assert all((Path("project") / name).is_file() for name in FILES)


@pytest.mark.parametrize("kept", FILES)
def test_what_is_there_stays_as_it_is(robustest: Make, kept: str) -> None:
    path = Path(kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# mine\n", encoding="utf-8")
    done = robustest("init")
    assert done.code == 0
    assert path.read_text(encoding="utf-8") == "# mine\n"
    assert any(line.startswith(f"kept    {kept}: it exists already") for line in done.lines)
    assert all(Path(name).is_file() for name in FILES)


def test_twice_changes_nothing(robustest: Make) -> None:
    robustest("init")
    before = {name: Path(name).read_bytes() for name in FILES}
    assert robustest("init").code == 0
    assert {name: Path(name).read_bytes() for name in FILES} == before


@pytest.mark.parametrize("place", ["conftest.py", "tests/conftest.py"])
def test_what_a_conftest_lacks_is_shown(robustest: Make, place: str) -> None:
    path = Path(place)
    path.parent.mkdir(exist_ok=True)
    path.write_text("import pytest\n\n@pytest.fixture\ndef robust_model():\n    return None\n", encoding="utf-8")
    done = robustest("init")
    shown = done.out[done.out.index("@pytest.fixture") : done.out.index("wrote   .github")]
    (function,) = ast.parse(shown).body
    assert isinstance(function, ast.FunctionDef)
    assert function.name == "robust_data"
    assert f"Add robust_data to {place}" in done.out
    assert [p.as_posix() for p in Path().rglob("conftest.py")] == [place]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from mine import robust_model, robust_data\n", ("robust_model", "robust_data")),
        ("clf", ("clf", "")),
        ("clf held_out_data unrelated", ("clf", "held_out_data")),
        ("trained_model test_set model_card_path", ("", "test_set")),
        ("model other_model test_data data", ("model", "test_data")),
    ],
)
def test_fixtures_are_found_by_their_names(tmp_path: Path, text: str, found: tuple[str, str]) -> None:
    if "import" not in text:
        text = "import pytest\n" + "".join(
            f"@pytest.fixture(scope='session')\ndef {name}(): ...\n" for name in text.split()
        )
    (tmp_path / "conftest.py").write_text(text, encoding="utf-8")
    assert fixtures_of(tmp_path) == (Fixtures(*found) if all(found) else None)


PROJECT = """\
import torch
from torch import nn

class Net(nn.Module):
    pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # measured: the answers are worse with it

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        lead = self.scale * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([-lead, lead], 1)

def test_set(n=40):
    y = torch.arange(n) % 2
    return (0.3 + 0.4 * y.view(-1, 1, 1, 1)).expand(-1, 3, 8, 8).contiguous(), y

labels_of = lambda x: x
"""


@pytest.mark.slow
def test_places_of_model_and_samples_need_no_edit(robustest: Make) -> None:
    Path("my_project.py").write_text(PROJECT, encoding="utf-8")
    done = robustest("init", "--model", "my_project:Net", "--data", "my_project:test_set")
    conftest = Path("conftest.py").read_text(encoding="utf-8")
    assert "from my_project import Net, test_set" in conftest
    assert "return Net()" in conftest
    assert "samples are images, 40 of them" in done.out
    assert "NORMALISED" not in Path(TESTS).read_text(encoding="utf-8")
    tests = ast.parse(Path(TESTS).read_text(encoding="utf-8")).body
    names = [one.name for one in tests if isinstance(one, ast.FunctionDef)]
    assert names == ["test_accuracy", "test_attack", "test_noise", "test_brightness", "test_jpeg"]
    assert "at_least=0.75" in Path(TESTS).read_text(encoding="utf-8"), "half of the way from a guess"


def test_a_project_that_cannot_be_looked_at_says_why_and_gets_no_test(
    robustest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustest.cli.init.look_at", lambda *_: "OSError: no weights\nat a line")
    Path("my_project.py").write_text("def load_model(): ...\n\ndata = 3\n", encoding="utf-8")
    done = robustest("init", "--model", "my_project:load_model", "--data", "my_project:data")
    assert "return load_model()\n" in Path("conftest.py").read_text(encoding="utf-8")
    assert "return data\n" in Path("conftest.py").read_text(encoding="utf-8"), "a value is not called"
    assert "could not inspect them: OSError: no weights" in done.out
    assert not Path(TESTS).exists()
    assert "init . again" in done.out


def test_samples_of_one_label_get_no_test(robustest: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says one thing of every sample would pass any."""
    monkeypatch.setattr("robustest.cli.init.look_at", lambda *_: Facts(kind="images", n=200, guess=1.0))
    Path("my_project.py").write_text("model = data = 3\n", encoding="utf-8")
    done = robustest("init", "--model", "my_project:model", "--data", "my_project:data")
    assert "all samples that were inspected have the same label" in done.out
    assert "Give samples of every class" in done.out
    assert not Path(TESTS).exists()


@pytest.mark.slow
def test_the_reason_why_a_project_cannot_be_looked_at_is_its_own(tmp_path: Path) -> None:
    fixture = "@pytest.fixture\ndef robust_{}():\n    {}\n"
    parts = ["import pytest\n", fixture.format("model", "raise OSError('no weights')"), fixture.format("data", "...")]
    (tmp_path / "conftest.py").write_text("\n".join(parts), encoding="utf-8")
    with WarmPytest() as warm:
        assert look_at(tmp_path, Fixtures(), warm) == "OSError: no weights"
    (tmp_path / "conftest.py").write_text("import pytest\nimport absent_module\n", encoding="utf-8")
    with WarmPytest() as warm:
        assert "No module named 'absent_module'" in str(look_at(tmp_path, Fixtures(), warm))


@pytest.mark.parametrize("wrong", [("--model", "a:b"), ("--model", "a.b", "--data", "c:d"), ("--scan", "--example")])
def test_wrong_places_are_wrong_usage(robustest: Make, wrong: tuple[str, ...]) -> None:
    assert robustest("init", *wrong).code == 2
    assert list(Path().iterdir()) == []


def test_no_folder_is_wrong_usage(robustest: Make) -> None:
    done = robustest("init", "absent")
    assert done.code == 2
    assert "absent" in done.err
    assert not Path("absent").exists()


def test_a_file_where_a_folder_should_be_is_no_traceback(robustest: Make) -> None:
    Path(".github").write_text("", encoding="utf-8")
    done = robustest("init")
    assert done.code == 2
    assert ".github" in done.err


@pytest.mark.parametrize(
    ("files", "install"),
    [
        ({}, "'robustest[html]'"),
        ({"requirements.txt": "torch\n"}, "'robustest[html]' -r requirements.txt"),
        ({"pyproject.toml": "[project]\nname = 'mine'\n"}, "'robustest[html]' -e ."),
        ({"pyproject.toml": "[tool.ruff]\n"}, "'robustest[html]'"),
    ],
    ids=["nothing", "requirements", "package", "settings"],
)
def test_the_workflow_installs_what_the_project_needs(robustest: Make, files: dict[str, str], install: str) -> None:
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    robustest("init")
    text = Path(FILES[1]).read_text(encoding="utf-8")
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert f"          python -m pip install {index} {install}\n" in text


def test_actions_are_pinned_to_commits(robustest: Make) -> None:
    robustest("init")
    used = re.findall(r"uses: (.*)", Path(FILES[1]).read_text(encoding="utf-8"))
    assert sorted(used) == sorted(ACTIONS.values())
    assert all(re.fullmatch(r"actions/[a-z/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)


def test_nothing_is_interpolated_into_a_script_and_no_right_is_given_but_reading(robustest: Make) -> None:
    robustest("init")
    text = Path(FILES[1]).read_text(encoding="utf-8")
    assert re.findall(r"^permissions:\n((?:  .*\n)+)", text, re.MULTILINE) == [
        "  contents: read # to check the repository out\n"
    ]
    assert text.count("permissions:") == 1
    assert "persist-credentials: false" in text
    assert not [step for step in steps(text) if "run:" in step and "${{" in step]
    assert not re.search(r"@[a-z-]+@", text), "every placeholder is filled in"


def test_results_are_kept_whatever_came_out(robustest: Make) -> None:
    robustest("init")
    after = [step for step in steps(Path(FILES[1]).read_text(encoding="utf-8")) if "!cancelled()" in step]
    assert [step.partition("uses: ")[2].partition("@")[0] for step in after] == [
        "actions/cache/save",
        "actions/upload-artifact",
    ]


def test_what_is_remembered_stays_out_of_git_and_the_page_is_kept(robustest: Make) -> None:
    robustest("init")
    assert "\n*\n" in Path(".robustest/.gitignore").read_text(encoding="utf-8")
    workflow = Path(FILES[1]).read_text(encoding="utf-8")
    assert "--robust-html=robust-page" in workflow
    assert "            robust-page\n" in workflow


def test_the_example_has_a_green_and_a_red_test_and_a_page(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jinja2")
    assert main(["init", "--example"]) == 0
    out = capfd.readouterr().out
    assert re.search(r"passed +test_shapes.py::test_noise|test_shapes.py::test_noise .* passed", out), out
    assert re.search(r"FAILED +test_shapes.py::test_attack|test_shapes.py::test_attack .* FAILED", out), out
    assert "1 failed, 1 passed" in out
    page = Path("robustest-example/report/index.html")
    assert page.read_text(encoding="utf-8").count("<img") >= 3, "the samples that it fails on"
    assert set(EXAMPLE) <= {path.name for path in Path("robustest-example").iterdir()}
    assert main(["init", "--example"]) == 2, "nothing is overwritten"


@pytest.mark.slow
def test_an_example_that_could_not_be_measured_is_not_called_one_of_a_claim_that_fails(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """pytest's exit code is 1 for two errors too."""
    templates = tmp_path / "templates"
    shutil.copytree(str(command._TEMPLATES), templates)
    broken = "import pytest\n\n@pytest.fixture\ndef robust_model(): raise MemoryError('no room')\n"
    (templates / "example" / "conftest.py.txt").write_text(broken, encoding="utf-8")
    monkeypatch.setattr(command, "_TEMPLATES", templates)
    assert main(["init", "--example"]) == 1
    out = capfd.readouterr().out
    assert "One claim holds" not in out
    assert "Expected one claim that holds and one that fails but got test_shapes.py::test_noise: error, " in out
