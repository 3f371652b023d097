"""robustest init: a first test, its fixtures and a workflow; nothing is overwritten."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustest.cli.commands.init import ACTIONS

Make = Callable[..., Any]
FILES = ("tests/test_robustness.py", "tests/conftest.py", ".github/workflows/robustness.yml", ".robustest/.gitignore")


def steps(text: str) -> list[str]:
    """The steps of the workflow's job, each as its own text."""
    return re.split(r"^      - ", text.partition("    steps:\n")[2], flags=re.MULTILINE)[1:]


def test_an_empty_folder_gets_all_files(robustest: Make) -> None:
    done = robustest("init")
    assert (done.code, done.err) == (0, "")
    assert sorted(done.lines[: len(FILES)]) == sorted(f"wrote   {name}" for name in FILES)
    assert sorted(path.as_posix() for path in Path().rglob("*") if path.is_file()) == sorted(FILES)


def test_it_says_what_comes_next(robustest: Make) -> None:
    done = robustest("init")
    steps_told = done.lines[done.lines.index("Next:") + 1 :]
    assert [line.split(".")[0].strip() for line in steps_told] == ["1", "2", "3", "4", "5"]
    assert "Fill in robust_model and robust_data in tests/conftest.py" in steps_told[0]
    assert "robustest init --scan ." in steps_told[1]
    assert "pytest --robust" in steps_told[2]
    assert "robustest suggest" in steps_told[3]


def test_another_folder_may_be_named(robustest: Make) -> None:
    Path("project").mkdir()
    assert robustest("init", "project").code == 0
    assert all((Path("project") / name).is_file() for name in FILES)


@pytest.mark.parametrize("kept", FILES)
def test_what_is_there_stays_as_it_is(robustest: Make, kept: str) -> None:
    path = Path(kept)
    path.parent.mkdir(parents=True)
    path.write_text("# mine\n", encoding="utf-8")
    done = robustest("init")
    assert done.code == 0
    assert path.read_text(encoding="utf-8") == "# mine\n"
    assert f"kept    {kept}: it exists already" in done.lines
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


def test_a_conftest_with_both_fixtures_needs_nothing(robustest: Make) -> None:
    Path("conftest.py").write_text("from mine import robust_model, robust_data\n", encoding="utf-8")
    done = robustest("init")
    assert "@pytest.fixture" not in done.out
    assert not Path("tests/conftest.py").exists()


def test_no_folder_is_wrong_usage(robustest: Make) -> None:
    done = robustest("init", "absent")
    assert done.code == 2
    assert "absent" in done.err
    assert not Path("absent").exists()


def test_a_file_where_a_folder_should_be_is_no_traceback(robustest: Make) -> None:
    Path("tests").write_text("", encoding="utf-8")
    done = robustest("init")
    assert done.code == 2
    assert "tests" in done.err


@pytest.mark.parametrize(
    ("files", "install"),
    [
        ({}, "'robustest[html]'"),
        ({"requirements.txt": "torch\n"}, "'robustest[html]' -r requirements.txt"),
        ({"pyproject.toml": "[project]\nname = 'mine'\n"}, "'robustest[html]' ."),
        ({"pyproject.toml": "[tool.ruff]\n"}, "'robustest[html]'"),
    ],
    ids=["nothing", "requirements", "package", "settings"],
)
def test_the_workflow_installs_what_the_project_needs(robustest: Make, files: dict[str, str], install: str) -> None:
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    robustest("init")
    text = Path(FILES[2]).read_text(encoding="utf-8")
    assert f"run: python -m pip install {install}\n" in text


def test_actions_are_pinned_to_commits(robustest: Make) -> None:
    robustest("init")
    used = re.findall(r"uses: (.*)", Path(FILES[2]).read_text(encoding="utf-8"))
    assert sorted(used) == sorted(ACTIONS.values())
    assert all(re.fullmatch(r"actions/[a-z/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)


def test_nothing_is_interpolated_into_a_script_and_no_right_is_given_but_reading(robustest: Make) -> None:
    robustest("init")
    text = Path(FILES[2]).read_text(encoding="utf-8")
    assert re.findall(r"^permissions:\n((?:  .*\n)+)", text, re.MULTILINE) == [
        "  contents: read # to check the repository out\n"
    ]
    assert text.count("permissions:") == 1
    assert "persist-credentials: false" in text
    assert not [step for step in steps(text) if "run:" in step and "${{" in step]
    assert not re.search(r"@[a-z-]+@", text), "every placeholder is filled in"


def test_results_are_kept_whatever_came_out(robustest: Make) -> None:
    robustest("init")
    after = [step for step in steps(Path(FILES[2]).read_text(encoding="utf-8")) if "!cancelled()" in step]
    assert [step.partition("uses: ")[2].partition("@")[0] for step in after] == [
        "actions/cache/save",
        "actions/upload-artifact",
    ]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "torchvision.models"),
        ({"requirements.txt": "scikit-learn>=1.4\n"}, "a fitted classifier or pipeline"),
        ({"pyproject.toml": "[project]\ndependencies = ['timm']\n"}, "timm.create_model"),
        ({"requirements-dev.txt": "pytorch-lightning\n"}, "load_from_checkpoint"),
        ({"requirements.txt": "transformers\n"}, "from_pretrained"),
        ({"requirements.txt": "my-timm-fork\n"}, "torchvision.models"),
    ],
    ids=["nothing", "scikit-learn", "timm", "lightning", "transformers", "another package"],
)
def test_the_conftest_shows_how_the_projects_framework_makes_a_model(
    robustest: Make, files: dict[str, str], words: str
) -> None:
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    robustest("init")
    conftest = Path("tests/conftest.py").read_text(encoding="utf-8")
    assert words in conftest
    assert conftest.count("For example:") == 2
    functions = ast.parse(Path(FILES[0]).read_text(encoding="utf-8")).body
    claims = [node for node in functions if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    assert len(claims) == (3 if "requirements.txt" in files and "scikit" in files["requirements.txt"] else 4)


def test_what_is_remembered_stays_out_of_git_and_the_page_is_kept(robustest: Make) -> None:
    robustest("init")
    assert "\n*\n" in Path(".robustest/.gitignore").read_text(encoding="utf-8")
    workflow = Path(FILES[2]).read_text(encoding="utf-8")
    assert "--robust-html=robust-page" in workflow
    assert "            robust-page\n" in workflow
