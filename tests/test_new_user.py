"""A new user's way from an empty folder: the wheel, `robustest init`, a model and images of one's own, the gate.

The environment is new but for the packages that robustest depends on: those of the interpreter that runs this test are
on its path, so that nothing is downloaded (but the wheel's build backend, where that is not installed here).
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML reads workflows")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]

MODEL = """torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=2
    )"""

TRAINING = f"""
from pathlib import Path
import torch, torchvision
from torchvision import datasets, transforms
from torchvision.transforms.functional import to_pil_image

torch.manual_seed(0)
for part in ("train", "test"):
    for name, low in (("dark", 0.0), ("light", 0.6)):
        folder = Path("data", part, name)
        folder.mkdir(parents=True)
        for number in range(20):
            to_pil_image(low + 0.4 * torch.rand(3, 40, 40)).save(folder / f"{{number}}.png")
train = datasets.ImageFolder("data/train", transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()]))
x, y = torch.stack([x for x, _ in train]), torch.tensor([y for _, y in train])
model = {MODEL}
optimizer = torch.optim.Adam(model.parameters(), 0.003)
for _ in range(60):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
torch.save(model.state_dict(), "model.pt")
"""

TEST = """\
from robustest import L2, assert_robust_accuracy


def test_l2(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, L2(0.1), at_least=0.90)
"""


class User:
    """Somebody with a folder and an environment."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder = folder
        hidden = ("PYTEST", "ROBUSTEST", "PYTHONPATH", "COV", "CI", "BUILD_NUMBER", "GITHUB")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        scripts = environment / "bin"
        self.environ = {**kept, "PATH": f"{scripts}:{kept['PATH']}", "VIRTUAL_ENV": str(environment), "COLUMNS": "200"}
        self.environ |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def does(self, command: str, code: int = 0, **environ: str) -> str:
        """Type a command; what it printed."""
        done = subprocess.run(  # noqa: S603 - our own commands
            ["bash", "-euo", "pipefail", "-c", command],  # noqa: S607
            cwd=self.folder,
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == code, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    alone = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *alone, "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=300)  # noqa: S603
    (built,) = folder.glob("robustest-*.whl")
    return built


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> User:
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")
    person = User(tmp_path_factory.mktemp("project"), environment)
    script = f'#!/bin/sh\nexec "{environment}/bin/python" -m pytest "$@"\n'  # pip writes one only with what it installs
    (environment / "bin" / "pytest").write_text(script, encoding="utf-8")
    (environment / "bin" / "pytest").chmod(0o755)
    if (packages / "setuptools").is_dir():  # older than torch asks for, and before the one that it has
        person.does("pip uninstall --quiet --yes setuptools")
    person.does(f"pip install --quiet '{wheel}[html]'")
    where = person.does("python -c 'import robustest; print(robustest.__file__)'")
    assert where.startswith(str(packages))
    return person


def steps(text: str) -> list[str]:
    """What a workflow runs in its shell."""
    jobs = yaml.safe_load(text)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def filled_in(text: str) -> str:
    """The conftest.py of `init` with its own examples in the place of what it refuses, and the model of this test."""
    text = re.sub(r"^    raise pytest.UsageError.*\n", "", text, flags=re.M)
    text = re.sub(r"^    #     ", "    ", text, flags=re.M)
    return text.replace("torchvision.models.resnet18(num_classes=10)", MODEL).replace("(224, 224)", "(32, 32)")


def test_from_an_empty_folder_to_a_gate(user: User) -> None:
    said = user.does("robustest init")
    assert "Fill in robust_model and robust_data in tests/conftest.py" in said
    unfilled = user.does("pytest --robust", code=1)
    assert "Expected robust_model in conftest.py to return your model: it is still to be filled in." in unfilled

    user.does(f"python - <<'END'\n{TRAINING}\nEND")
    conftest = user.folder / "tests" / "conftest.py"
    conftest.write_text(filled_in(conftest.read_text(encoding="utf-8")), encoding="utf-8")
    own = user.folder / "tests" / "test_own.py"
    own.write_text(TEST, encoding="utf-8")
    (user.folder / "requirements.txt").write_text("robustest\n", encoding="utf-8")

    (workflow,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    copied = [user.does(step, CI="true") for step in steps(workflow)]
    assert re.search(r"test_own.py::test_l2 .* passed", copied[-1])
    assert "3 passed" in copied[-1]
    assert "torch.__trace" not in copied[-1]

    own.write_text(TEST.replace("L2(0.1)", "L2(30)"), encoding="utf-8")
    written = steps((user.folder / ".github" / "workflows" / "robustness.yml").read_text(encoding="utf-8"))
    user.does(written[0])
    red = user.does(written[1], code=1, CI="true")
    assert re.search(r"test_own.py::test_l2 .* FAILED", red)
    assert "2 passed" in red
    assert "cached" in red
    assert "torch.__trace" not in red
    assert "FAILED" in user.does("robustest show robust.json", code=1)
    user.does("pytest --robust --robust-html=report --robust-replay-only", code=1)
    assert (user.folder / "report" / "index.html").is_file()
