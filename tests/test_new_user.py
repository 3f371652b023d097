"""A new user's way from an empty folder: the wheel, `robustest init`, a model and images of one's own, the gate."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

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


def steps(text: str) -> list[str]:
    """What a workflow runs in its shell."""
    jobs = yaml.safe_load(text)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


CONFTEST = f"""\
import pytest, torch, torchvision
from torchvision import datasets, transforms


@pytest.fixture(scope="session")
def robust_model():
    model = {MODEL}
    model.load_state_dict(torch.load("model.pt", weights_only=True))
    return model.eval()


@pytest.fixture(scope="session")
def robust_data():
    to_tensor = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    return datasets.ImageFolder("data/test", to_tensor)
"""


def test_from_an_empty_folder_to_a_gate(user: Any) -> None:
    said = user.does("robustest init")
    assert "Fill in robust_model and robust_data in conftest.py" in said
    user.does(f"python - <<'END'\n{TRAINING}\nEND")
    user.writes("conftest.py", CONFTEST)
    assert "samples are images, 40 of them" in user.does("robustest init")
    own = user.folder / "tests" / "test_own.py"
    own.write_text(TEST, encoding="utf-8")
    (user.folder / "requirements.txt").write_text("robustest\n", encoding="utf-8")

    (workflow,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    copied = [user.does(step, CI="true") for step in steps(workflow)]
    assert re.search(r"test_own.py::test_l2 .* passed", copied[-1])
    assert "6 passed" in copied[-1]
    assert "torch.__trace" not in copied[-1]

    own.write_text(TEST.replace("L2(0.1)", "L2(30)"), encoding="utf-8")
    written = steps((user.folder / ".github" / "workflows" / "robustness.yml").read_text(encoding="utf-8"))
    user.does(written[0])
    red = user.does(written[1], code=1, CI="true")
    assert re.search(r"test_own.py::test_l2 .* FAILED", red)
    assert "5 passed" in red
    assert "cached" in red
    assert "torch.__trace" not in red
    assert "FAILED" in user.does("robustest show robust.json", code=1)
    user.does("pytest --robust --robust-html=report --robust-replay-only", code=1)
    assert (user.folder / "report" / "index.html").is_file()
