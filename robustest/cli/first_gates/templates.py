"""What `robustest init` writes."""

from __future__ import annotations

from robustest.cli.first_gates import battery

ACTIONS = {
    "checkout": "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2",
    "setup-python": "actions/setup-python@a309ff8b426b58ec0e2a45f0f869d46889d02405 # v6.2.0",
    "restore": "actions/cache/restore@0057852bfaa89a56745cba8c7296529d2fc39830 # v4.3.0",
    "save": "actions/cache/save@0057852bfaa89a56745cba8c7296529d2fc39830 # v4.3.0",
    "upload": "actions/upload-artifact@b7c566a772e6b6bfb58ed0dc250532a479d7789f # v6.0.0",
}
"""Actions of the workflow, each pinned to a commit."""

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

ROWS = "\n\n".join(
    [
        battery.ROWS_HEAD.replace("keeps, as it was measured", "must keep"),
        *(probe.source.replace(battery.PLACE, f"{probe.weak:.2f}") for probe in battery.ROWS),
    ]
)
"""The tests of a model of rows, as scikit-learn has them."""

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
"""How a model of each framework is made; torchvision's is in `MODEL`."""

FRAMEWORKS = {
    "scikit-learn": "sklearn",
    "pytorch-lightning": "lightning",
    "lightning": "lightning",
    "timm": "timm",
    "transformers": "transformers",
}
"""The packages that a project's files name, and the framework that each stands for; the first found counts."""


def tests(framework: str) -> str:
    """Three claims about a model of this framework."""
    return ROWS if framework == "sklearn" else TESTS


def data_fixture(framework: str) -> str:
    """The fixture of the data, for this framework."""
    return ROWS_DATA if framework == "sklearn" else DATA


def model_fixture(framework: str) -> str:
    """The fixture of the model, with how one of this framework is made.

    Args:
        framework: a value of `FRAMEWORKS`; torchvision's where it is none.
    """
    if framework not in _EXAMPLES:
        return MODEL
    before, _, after = MODEL.partition("    #     import torch, torchvision")
    return before + _EXAMPLES[framework] + after[after.index("    raise") :]


IGNORED = """\
# What robustest remembers, and its pictures; only counterexamples may be committed.
*
!.gitignore
!corpus/
!corpus/**
"""
"""`.robustest/.gitignore`."""


def conftest(framework: str) -> str:
    """A `conftest.py` with both fixtures to fill in.

    Args:
        framework: as for `model_fixture`.
    """
    title = '"""The model and the samples that the robustness tests are about."""'
    return f"{title}\n\nimport pytest\n\n\n{model_fixture(framework)}\n\n{data_fixture(framework)}"


def workflow(install: str) -> str:
    """The workflow for GitHub.

    Args:
        install: what follows "python -m pip install".
    """
    text = _WORKFLOW.replace("@install@", install)
    for name, action in ACTIONS.items():
        text = text.replace(f"@{name}@", action)
    return text


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
