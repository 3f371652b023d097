"""`robustest init`: a first test, its fixtures and a workflow for a project; nothing is overwritten."""

# The questions of the scan (`robustest.cli.commands.scan`) are here too: each is the source of a test, and some are the
# first tests of a new project.

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from robustest.cli.screen import Exit, Screen, wrong


def init(folder: str) -> int:
    """Write the files that are absent into the root of a project; print them and the next steps.

    Raises:
        Refused: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise wrong(f"Expected the folder of a project but there is none at {root}. Create it, or name another.")
    screen = Screen()
    framework = framework_of(root)
    rows = framework == "sklearn"
    _write(screen, root, "tests/test_robustness.py", ROWS_TESTS if rows else TESTS)
    fixtures = _write_fixtures(screen, root, framework)
    install = "'robustest[html]'"  # and the project's own requirements
    project = root / "pyproject.toml"
    if (root / "requirements.txt").is_file():
        install += " -r requirements.txt"
    elif project.is_file() and re.search(r"^\[project\]", project.read_text(encoding="utf-8", errors="replace"), re.M):
        install += " ."
    _write(screen, root, ".github/workflows/robustness.yml", workflow(install))
    _write(screen, root, ".robustest/.gitignore", IGNORED)
    screen.write_line()
    screen.write_line("Next:", bold=True)
    steps = [
        fixtures,
        f"Measure more claims, and write those that hold as tests: robustest init --scan {folder}",
        "Run the tests: pytest --robust -m robust",
        "Set their thresholds to values that the model keeps: robustest suggest -m robust",
        "Commit, and make the job a required check of your main branch",
    ]
    for number, step in enumerate(steps, 1):
        screen.write_line(f"  {number}. {step}")
    return Exit.OK


def _write(screen: Screen, root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Mode "x" never overwrites, even if the file appeared a moment ago.
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        screen.write_line(f"kept    {path}: it exists already", yellow=True)
        return
    screen.write_line(f"wrote   {path}", green=True)


def _write_fixtures(screen: Screen, root: Path, framework: str) -> str:
    """Write a conftest.py, or print the lines to add to the present one; return the next step."""
    data = ROWS_DATA if framework == "sklearn" else DATA
    model = MODEL
    if framework in _EXAMPLES:
        before, _, after = MODEL.partition("    #     import torch, torchvision")
        model = before + _EXAMPLES[framework] + after[after.index("    raise") :]
    there = [path for path in (root / "tests" / "conftest.py", root / "conftest.py") if path.is_file()]
    if not there:
        title = '"""The model and the samples of the robustness tests."""'
        _write(screen, root, "tests/conftest.py", f"{title}\n\nimport pytest\n\n\n{model}\n\n{data}")
        return f"Fill in robust_model and robust_data in {root / 'tests' / 'conftest.py'}"
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in there)
    fixtures = {"robust_model": model, "robust_data": data}
    lacking = [name for name in fixtures if not re.search(rf"\b{name}\b", text)]
    screen.write_line(f"kept    {there[0]}: it exists already", yellow=True)
    if not lacking:
        return f"Check that robust_model and robust_data in {there[0]} are the ones to test"
    screen.write_line(
        f"        add to it{'' if re.search(r'^import pytest$', text, re.M) else ', below import pytest'}:"
    )
    for name in lacking:
        screen.write_line()
        for line in fixtures[name].splitlines():
            screen.write_line(line)
    return f"Add {' and '.join(lacking)} to {there[0]}, as shown above, and fill in their return values"


def framework_of(root: Path) -> str:
    """Return the framework that the files of a project require; empty if it is none of `FRAMEWORKS`."""
    files = [*sorted(root.glob("requirements*.txt")), *sorted(root.glob("requirements/*.txt")), root / "pyproject.toml"]
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()).lower()
    named = (word for word in FRAMEWORKS if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text))
    return next((FRAMEWORKS[word] for word in named), "")


FRAMEWORKS = {
    "scikit-learn": "sklearn",
    "pytorch-lightning": "lightning",
    "lightning": "lightning",
    "timm": "timm",
    "transformers": "transformers",
}
"""Packages that a project may require, and their frameworks; the first one found counts."""

# ---- questions of the scan

PLACE = "THRESHOLD"
"""Placeholder of the threshold in a question's source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question to a model."""

    name: str  # name of its test
    source: str  # source of the test, a function with `PLACE` instead of the threshold
    loosest: float  # threshold that requires almost nothing, for the measurement
    weak: float  # threshold; a result that holds no stricter one is poor
    cause: str  # most frequent cause of a poor result
    step: str  # remedy for it


def battery(framework: str) -> tuple[str, tuple[Probe, ...]]:
    """Return the head of the file of tests, and the questions, for a framework."""
    return (ROWS_HEAD, ROWS) if framework == "sklearn" else (IMAGES_HEAD, IMAGES)


def _probe(body: str, loosest: float, weak: float, cause: str, step: str) -> Probe:
    name = body.partition("def ")[2].partition("(")[0]
    return Probe(name=name, source=body, loosest=loosest, weak=weak, cause=cause, step=step)


IMAGES_HEAD = '''\
"""What the model keeps, as it was measured. Run: pytest --robust"""

from robustest import Linf, assert_consistency, assert_robust_accuracy, assert_shift_accuracy
'''

ROWS_HEAD = '''\
"""What the model keeps, as it was measured. Run: pytest --robust"""

import numpy
import pytest
from robustest import assert_shift_accuracy


@pytest.fixture
def bounds(robust_data):
    rows = numpy.asarray(robust_data[0])
    reached = 0.0, 1.01 * rows.min(), 1.01 * rows.max()  # what the shifts below make of them, too
    return float(min(reached)), float(max(reached))


def a_little_more(x):
    return x * 1.01


def first_column_lost(x):
    x[:, 0] = 0
    return x


def last_column_lost(x):
    x[:, -1] = 0
    return x
'''

IMAGES = (
    _probe(
        """\
def test_attack(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(1 / 255), at_least=THRESHOLD)
""",
        0.001,
        0.5,
        "changes of one grey level flip many images: training did not flatten the scores around them",
        "train on attacked images (docs: repair), or drop this gate if the model meets no attacker",
    ),
    _probe(
        """\
def test_noise(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "gaussian_noise", severity=1, max_drop=THRESHOLD)
""",
        0.999,
        0.1,
        "the model relies on fine texture, which noise hides, and saw no noise in training",
        "add noise of this strength to the augmentation of training, and scan again",
    ),
    _probe(
        """\
def test_brightness(robust_model, robust_data):
    assert_consistency(robust_model, robust_data, "brightness", severity=1, max_flip_rate=THRESHOLD)
""",
        0.999,
        0.15,
        "exposure was constant in training, or images are normalised differently than in training",
        "check the normalisation first; then vary brightness in training",
    ),
    _probe(
        """\
def test_jpeg(robust_model, robust_data):
    assert_consistency(robust_model, robust_data, "jpeg_compression", severity=1, max_flip_rate=THRESHOLD)
""",
        0.999,
        0.15,
        "the model reads detail that a camera's own compression removes",
        "train on images as the camera stores them, compressed",
    ),
)

ROWS = (
    _probe(
        """\
def test_rounding(robust_model, robust_data, bounds):
    assert_shift_accuracy(robust_model, robust_data, a_little_more, at_least=THRESHOLD, bounds=bounds)
""",
        0.001,
        0.5,
        "the model is often wrong without any change, or many rows lie close to a split or to steep scores",
        "check its accuracy on unchanged rows; then smooth it (fewer splits, more regularisation)",
    ),
    _probe(
        """\
def test_first_column_missing(robust_model, robust_data, bounds):
    assert_shift_accuracy(robust_model, robust_data, first_column_lost, max_drop=THRESHOLD, bounds=bounds)
""",
        0.999,
        0.2,
        "the model relies on the first column",
        "check whether that column reveals the label, and define a replacement for missing values",
    ),
    _probe(
        """\
def test_last_column_missing(robust_model, robust_data, bounds):
    assert_shift_accuracy(robust_model, robust_data, last_column_lost, max_drop=THRESHOLD, bounds=bounds)
""",
        0.999,
        0.2,
        "the model relies on the last column",
        "check whether that column reveals the label, and define a replacement for missing values",
    ),
)
# The first question is about accuracy itself: a model with zero accuracy cannot drop.


# ---- files of a new project

TESTS = '''\
"""What the model must keep. Run: pytest --robust"""

from robustest import Linf, assert_accuracy, assert_consistency, assert_robust_accuracy, assert_shift_accuracy


def test_accuracy(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.50)


def test_attack(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(1 / 255), at_least=0.50)


def test_noise(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "gaussian_noise", severity=1, max_drop=0.05)


def test_brightness(robust_model, robust_data):
    assert_consistency(robust_model, robust_data, "brightness", severity=1, max_flip_rate=0.10)
'''

ROWS_TESTS = "\n\n".join(
    [
        ROWS_HEAD.replace("keeps, as it was measured", "must keep"),
        *(probe.source.replace(PLACE, f"{probe.weak:.2f}") for probe in ROWS),
    ]
)
"""First tests of a model of rows of numbers, as in scikit-learn."""

MODEL = """\
@pytest.fixture(scope="session")
def robust_model():
    # A torch.nn.Module that maps a batch (N, ...) to logits (N, classes), or any function that does. For example:
    #     import torch, torchvision
    #     model = torchvision.models.resnet18(num_classes=10)
    #     model.load_state_dict(torch.load("model.pt", weights_only=True))
    #     return model.eval()
    raise pytest.UsageError("Expected robust_model in conftest.py to return your model: it is still to be filled in.")
"""

DATA = """\
@pytest.fixture(scope="session")
def robust_data():
    # Labelled samples the model was not trained on, floats in [0, 1], not normalised: (x, y), a data set or a loader.
    # (A model that wants normalised inputs: assert_...(..., preprocessing=(mean, std)).) For example:
    #     from torchvision import datasets, transforms
    #     to_tensor = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor()])
    #     return datasets.ImageFolder("data/test", to_tensor)
    raise pytest.UsageError("Expected robust_data in conftest.py to return your samples: it is still to be filled in.")
"""

ROWS_DATA = """\
@pytest.fixture(scope="session")
def robust_data():
    # Labelled rows the model was not fitted on: (frame, series) of pandas, or (x, y) as arrays. For example:
    #     import pandas
    #     rows = pandas.read_csv("data/test.csv")
    #     return rows.drop(columns="label"), rows["label"]
    raise pytest.UsageError("Expected robust_data in conftest.py to return your samples: it is still to be filled in.")
"""

# Lines that load a model of each framework; torchvision's are in `MODEL`.
_EXAMPLES = {
    "sklearn": """\
    #     import skops.io
    #     return skops.io.load("model.skops")  # a fitted classifier or pipeline, as it is
""",
    "lightning": """\
    #     from my_project import LitModel
    #     return LitModel.load_from_checkpoint("model.ckpt").eval()
""",
    "timm": """\
    #     import timm
    #     return timm.create_model("resnet18", num_classes=10, checkpoint_path="model.safetensors").eval()
""",
    "transformers": """\
    #     from transformers import AutoModelForImageClassification
    #     return AutoModelForImageClassification.from_pretrained("model").eval()
""",
}

IGNORED = """\
# What robustest remembers, and its pictures; only counterexamples may be committed.
*
!.gitignore
!corpus/
!corpus/**
"""
"""Content of `.robustest/.gitignore`."""


def workflow(install: str) -> str:
    """Return the workflow for GitHub; `install` are arguments of "python -m pip install"."""
    text = _WORKFLOW.replace("@install@", install)
    for name, action in ACTIONS.items():
        text = text.replace(f"@{name}@", action)
    return text


ACTIONS = {
    "checkout": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "setup-python": "actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0",
    "restore": "actions/cache/restore@55cc8345863c7cc4c66a329aec7e433d2d1c52a9 # v6.1.0",
    "save": "actions/cache/save@55cc8345863c7cc4c66a329aec7e433d2d1c52a9 # v6.1.0",
    "upload": "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1",
}
"""Actions of the workflow, pinned to commits."""

_WORKFLOW = """\
name: robustness

on:
  pull_request:
  push:
    branches: [main, master]

permissions:
  contents: read # to check the repository out

concurrency:
  group: ${{ github.workflow }}-${{ github.ref }}
  cancel-in-progress: true

jobs:
  robustness:
    name: claims about the model
    runs-on: ubuntu-latest
    timeout-minutes: 60
    steps:
      - uses: @checkout@
        with:
          persist-credentials: false
      - uses: @setup-python@
        with:
          python-version: "3.12"
      - name: Install
        run: python -m pip install @install@
      - name: Recall what was measured before
        uses: @restore@
        with:
          path: .robustest
          key: robustest-${{ runner.os }}-${{ github.base_ref || github.ref_name }}-${{ github.run_id }}
          restore-keys: robustest-${{ runner.os }}-${{ github.base_ref || github.ref_name }}-
      - name: Test the claims
        run: python -m pytest --robust -m robust --robust-json=robust.json --robust-html=robust-page
      # A pull request saves nothing: it could save what was never measured, and be green by it.
      - name: Remember what was measured on the default branch, whatever came out
        if: >-
          ${{ !cancelled() && github.event_name == 'push' &&
          github.ref == format('refs/heads/{0}', github.event.repository.default_branch) }}
        uses: @save@
        with:
          path: .robustest
          key: robustest-${{ runner.os }}-${{ github.ref_name }}-${{ github.run_id }}-${{ github.run_attempt }}
      - name: Keep results and counterexamples
        if: ${{ !cancelled() }}
        uses: @upload@
        with:
          name: robustness
          path: |
            robust.json
            robust-page
            .robustest/pictures
          include-hidden-files: true
          if-no-files-found: ignore
          retention-days: 14
"""
