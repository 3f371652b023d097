"""Tutorials: a page shows the files that were run, and stops the build if a run ends otherwise than it says.

The runs themselves belong to the build of the site: `tox -e docs`.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_results import FAIL, PASS, finished

DOCS = Path(__file__).resolve().parents[2] / "docs"
MADE = runpy.run_path(str(DOCS / "tutorial_runs.py"))
TutorialError, run_of, written = MADE["TutorialError"], MADE["Run"], MADE["written"]
TUTORIALS = sorted(page for page in (DOCS / "tutorials").glob("*.md") if page.stem != "index")

PAGE = """# A page

[model.py](page/model.py)

```
pytest --robust test_a.py
```

<!-- run: failed test_one, passed test_two -->
"""
OUTPUT = """collected 2 items
== FAILURES ==
E   ClaimFailed: accuracy 0.5
== robustness ==
FAILED  test_a.py::test_one
chance: 2 of 2 verdicts rest on alpha = 0.01: at most 0.02 wrong verdicts
    expected
hint: shuffle the samples,
    or leave some out
replay: pytest --robust \\
    test_a.py::test_one
== 1 failed, 1 passed in 3.14s ==
"""


def row(test: str, outcome: str, verdict: str | None, image: bytes | None = None) -> dict[str, Any]:
    worst = {"index": 3, "label": 1, "clean": 1, "predicted": 0, "image": image}
    result = verdict and {"verdict": verdict, "counterexamples": [worst]}
    return {"test": f"test_a.py::{test}", "result": result, "ending": {"outcome": outcome, "claimed": True}}


def page_of(folder: Path, rows: list[dict[str, Any]], text: str = PAGE) -> Any:
    (folder / "page").mkdir()
    (folder / "page" / "model.py").write_text("SIZE = 8\n", encoding="utf-8")
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    outcomes = {MADE["_test"](one): MADE["_outcome"](one) for one in rows}
    return written(page, lambda _, report: run_of(OUTPUT, outcomes, rows, b"a page" if report else None))


RED = row("test_one", "failed", "failed", b"a picture")
GREEN = row("test_two", "passed", "passed")


def test_a_page_shows_files_output_picture_and_report(tmp_path: Path) -> None:
    made = page_of(tmp_path, [RED, GREEN])
    assert "SIZE = 8" in made.markdown
    assert "ClaimFailed: accuracy 0.5" in made.markdown
    assert 'title="1 failed, 1 passed"' in made.markdown
    assert "3.14s" not in made.markdown  # a page is the same at each build
    assert "hint: shuffle the samples,\n    or leave some out\n```" in made.markdown  # without `chance` and `replay`
    assert "sample 3, label 1, predicted 1 -> 0" in made.markdown
    assert made.files == {"tutorials/page/1-test_one.png": b"a picture", "tutorials/page/report-1.html": b"a page"}
    for path in made.files:
        assert f"]({path.removeprefix('tutorials/')})" in made.markdown


@pytest.mark.parametrize(
    "rows",
    [
        [row("test_one", "passed", "passed"), GREEN],
        [row("test_one", "failed", "inconclusive"), GREEN],
        [row("test_one", "failed", None), GREEN],
        [RED, row("test_two", "failed", "failed")],
        [RED],
        [RED, GREEN, row("test_three", "passed", "passed")],
        [],
    ],
    ids=["green", "inconclusive", "error", "red", "missing", "not named", "nothing"],
)
def test_another_outcome_than_the_pages_stops_the_build(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(TutorialError, match="ends with failed test_one, passed test_two but got"):
        page_of(tmp_path, rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PAGE.replace("page/model.py", "page/other.py"), "Expected a file page/other.py"),
        (PAGE.replace("```\n\n<!-- run", "```\n\nWords.\n\n<!-- run"), "below a block with one pytest command"),
        (PAGE.replace("passed test_two", "green"), "Expected `<!-- run: failed test_a"),
    ],
)
def test_a_page_that_cannot_be_run_stops_the_build(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TutorialError, match=message):
        page_of(tmp_path, [RED, GREEN], text)


CLAIM = """# A claim

```python
print("no example on real data")
```

<!-- setup
size = 8
-->
```python
print(size)
```

<!-- result -->
"""


def examples_of(folder: Path, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    (folder / "claims").mkdir()
    (folder / "claims" / "one.md").write_text(CLAIM, encoding="utf-8")
    (folder / "claims" / "other.md").write_text("# Without an example", encoding="utf-8")

    def run(at: Path, command: str, report: bool) -> Any:
        assert {path.name: path.read_text(encoding="utf-8") for path in at.iterdir()} == {
            "test_one.py": "def test_one():\n    size = 8\n    print(size)\n"
        }
        return run_of(OUTPUT, {}, [row], None)

    monkeypatch.setitem(MADE["examples"].__globals__, "run", run)
    return list(MADE["examples"](folder))


def result_of(verdict: str) -> dict[str, Any]:
    row = {
        "test": "test_one.py::test_one",
        "result": finished(decision=PASS if verdict == "passed" else FAIL).to_dict(),
    }
    return {**row, "ending": {"outcome": "passed" if verdict == "passed" else "failed", "claimed": True}}


def test_an_example_on_real_data_shows_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((page, text),) = examples_of(tmp_path, result_of("passed"), monkeypatch)
    assert page == "claims/one.md"
    assert 'title="The result"' in text
    assert "accuracy 0.750" in text
    assert "<!-- result -->" not in text


def test_an_example_that_does_not_pass_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TutorialError, match="Expected the examples on real data to pass, such as one"):
        examples_of(tmp_path, result_of("failed"), monkeypatch)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_has_a_worry_data_red_mend_green_and_limits(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert text.split("\n\n")[1].startswith("**The worry.**")
    assert [one for one in headings if one != "Next"] == [
        "The data",
        "The claims",
        "Red",
        "The mend",
        "Green",
        "What green does not show",
    ]
    red, green = re.findall(r"<!-- run: (.+) -->", text)
    assert "failed" in red
    assert set(re.findall(r"(\w+) test_", green)) == {"passed"}
    shown = set(re.findall(r"^\[\w+\.py\]\((\S+)\)$", text, re.MULTILINE))
    assert shown == {path.relative_to(page.parent).as_posix() for path in page.with_suffix("").glob("*.py")}


@pytest.mark.slow
def test_a_run_in_a_fork_ends_as_pytest_does(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(
        "import torch\n"
        "from robustest import assert_accuracy\n"
        "x = torch.linspace(0, 1, 40).view(40, 1)\n"
        "y = (x[:, 0] > 0.5).long()\n"
        "def model(x):\n"
        "    return torch.cat([0.5 - x, x - 0.5], 1)\n"
        "def test_right():\n"
        "    assert_accuracy(model, (x, y), at_least=0.9)\n"
        "def test_wrong():\n"
        "    assert_accuracy(model, (x, 1 - y), at_least=0.9)\n"
        "def test_broken():\n"
        "    assert_accuracy(None, (x, y), at_least=0.9)\n",
        encoding="utf-8",
    )
    program = (
        "import runpy, sys; from pathlib import Path\n"
        f"made = runpy.run_path({str(DOCS / 'tutorial_runs.py')!r})\n"
        "print(made['run'](Path(sys.argv[1]), 'pytest --robust test_a.py', False).outcomes)"
    )
    command = [sys.executable, "-c", program, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own file
    assert done.stdout.strip() == str({"test_right": "passed", "test_wrong": "failed", "test_broken": "error"})
