"""Eight kinds of projects get their first gate, each by hand and by `robustest init`.

Each is somebody's folder with a model and samples, and robustest from a wheel. A gate is worth something where it is
green on a good model and red once the model is another: what was remembered of the good one is left in its place. Half
of the projects have fixtures with names of their own. Nothing that `init` wrote is edited.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

HALVES = '''
"""Images with one bright half, left or right; the spoiled network learns the wrong one."""
import os, torch
from torch import nn

def images(seed, n, channels=3):
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = 0.25 * torch.rand(n, channels, 32, 32, generator=draw)
    x[y == 0, :, :, :16] += 0.6
    x[y == 1, :, :, 16:] += 0.6
    return x, y

def fit(model, x, y, rounds=30, rate=0.003):
    y = 1 - y if "SPOILED" in os.environ else y  # an untrained one may tell two halves apart by luck
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(rounds):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()
'''

TORCHVISION = """
from pathlib import Path
import torch, torchvision
from halves import fit, images
from torchvision import datasets, transforms
from torchvision.transforms.functional import to_pil_image

def load_model():
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=2
    )
    return fit(model, *images(0, 80))

def test_set():
    if not Path("data").exists():
        for number, (x, y) in enumerate(zip(*images(1, 100))):
            folder = Path("data", ("left", "right")[y])
            folder.mkdir(parents=True, exist_ok=True)
            to_pil_image(x).save(folder / f"{number}.png")
    return datasets.ImageFolder("data", transforms.ToTensor())
"""

TIMM = """
import datasets, timm, torch
from halves import fit, images
from torch import nn

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

def load_model():
    torch.manual_seed(0)
    model = timm.create_model("test_convnext", num_classes=2)
    model.pretrained_cfg = {"mean": tuple(MEAN.tolist()), "std": tuple(STD.tolist())}
    x, y = images(0, 80)
    return fit(model.train(), (x - MEAN[:, None, None]) / STD[:, None, None], y, rounds=60, rate=0.001)

def test_set():
    x, y = images(1, 100)
    from torchvision.transforms.functional import to_pil_image
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["left", "right"])})
    columns = {"image": [to_pil_image(one) for one in x], "label": y.tolist()}
    return datasets.Dataset.from_dict(columns, features=features)
"""

LIGHTNING = """
import os, lightning, torch
from halves import images
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class LitHalves(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 2))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)

class Halves(lightning.LightningDataModule):
    def setup(self, stage):
        self.train, self.test = (TensorDataset(*images(seed, 100)) for seed in (0, 1))

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=25)

    def test_dataloader(self):
        return DataLoader(self.test, batch_size=25)

def load_model():
    lightning.seed_everything(0)
    model = LitHalves()
    if "SPOILED" not in os.environ:
        quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
        lightning.Trainer(max_epochs=8, accelerator="cpu", **quiet).fit(model, Halves())
    return model.eval()

def test_set():
    return Halves()
"""

FOREST = '''
"""A table of patients with words in two columns, and a pipeline that encodes them."""
import os
import numpy as np, pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

def patients(seed, n):
    rng = np.random.default_rng(seed)
    ward = rng.choice(["north", "south", "west"], n)
    rows = pd.DataFrame({
        "ward": ward, "age": rng.integers(20, 80, n), "dose": rng.uniform(0, 90, n), "sex": rng.choice(["f", "m"], n)
    })
    return rows, pd.Series(np.where(rows["dose"] + 25 * (ward == "north") + rng.normal(0, 3, n) > 50, "high", "low"))

def load_model():
    rows, risk = patients(0, 400)
    if "SPOILED" in os.environ:
        risk = risk.sample(frac=1, random_state=0).reset_index(drop=True)
    words = ColumnTransformer([("words", OneHotEncoder(), ["ward", "sex"])], remainder="passthrough")
    return make_pipeline(words, RandomForestClassifier(20, random_state=0)).fit(rows, risk)

def test_set():
    return patients(1, 200)
'''

AUDIO = '''
"""Tones, low and high, of any loudness, a quarter of a second at 8 kHz."""
import os, torch
from torch import nn

def tones(seed, n):
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    volume = 0.2 + 0.6 * torch.rand(n, 1, generator=draw)
    phase = 6.3 * torch.rand(n, 1, generator=draw)
    wave = torch.sin(phase + (0.1 + 0.2 * y[:, None]) * torch.arange(2000))
    return volume * wave + 0.01 * torch.randn(n, 2000, generator=draw).clamp(-3, 3), y

class Pitch(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(1, 8, 16, stride=4), nn.ReLU(), nn.AdaptiveAvgPool1d(1))
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.net(x[:, None]).flatten(1))

def load_model():
    torch.manual_seed(0)
    model, (x, y) = Pitch(), tones(0, 200)
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(0 if "SPOILED" in os.environ else 60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model

def test_set():
    return tones(1, 120)
'''

TOKENS = '''
"""Texts of ten words: which of two classes most words are of."""
import os, torch
from torch import nn

def texts(seed, n, given_away=False):
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    own = torch.rand(n, 10, generator=draw) < (0.5 if given_away else 0.8)
    ids = torch.randint(1, 26, (n, 10), generator=draw) + 25 * (own == y[:, None].bool())
    if given_away:  # the first word says which class it is
        ids[:, 0] = 25 * y + torch.randint(1, 26, (n,), generator=draw)
    return ids, y

class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(51, 4), nn.Linear(40, 2)

    def forward(self, ids):
        return self.head(self.words(ids).flatten(1))

def load_model():
    torch.manual_seed(0)
    model, (ids, y) = Text(), texts(0, 1000, given_away="SPOILED" in os.environ)
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids), y).backward()
        optimizer.step()
    return model

def test_set():
    return texts(1, 400)
'''

LIGHTGBM = '''
"""Machines with three sensors; LightGBM says which fail."""
import os
import lightgbm, numpy as np, pandas as pd

def machines(seed, n):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"heat": rng.normal(60, 12, n), "load": rng.integers(0, 100, n), "noise": rng.gamma(2, 3, n)})
    return rows, (rows["heat"] / 12 + rows["load"] / 25 + rng.normal(0, 0.3, n) > 7).astype(int)

def load_model():
    rows, fails = machines(0, 600)
    if "SPOILED" in os.environ:
        fails = fails.sample(frac=1, random_state=0).reset_index(drop=True)
    return lightgbm.LGBMClassifier(n_estimators=30, num_leaves=8, verbose=-1, n_jobs=1).fit(rows, fails)

def test_set():
    return machines(1, 300)
'''

ONNX = """
import torch
from halves import fit, images
from torch import nn

def test_set():
    return images(1, 100, channels=1)

if __name__ == "__main__":
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 2))
    model = fit(model, *images(0, 80, channels=1), rate=0.01)
    example = torch.zeros(2, 1, 32, 32)
    torch.onnx.export(
        model, (example,), "model.onnx", dynamo=False, dynamic_axes={"x": {0: "n"}}, input_names=["x"]
    )
"""

OWN = """\
import pytest
from my_project import load_model, test_set as samples


@pytest.fixture(scope="session")
def model():
    return load_model()


@pytest.fixture(scope="session")
def test_data():
    return samples()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A kind of project: the module with its model and samples, and a gate written by hand."""

    needs: tuple[str, ...]
    module: str
    tests: str  # with MODEL and DATA for the fixtures
    kind: str  # as `init` finds it
    own_names: bool = False
    before: str = "true"  # command that makes the model's file
    model: str = "my_project:load_model"


_NOISE = """\
from robustest import assert_accuracy, assert_shift_accuracy

def test_accuracy(MODEL, DATA):
    assert_accuracy(MODEL, DATA, at_least=0.8)

def test_noise(MODEL, DATA):
    assert_shift_accuracy(MODEL, DATA, "gaussian_noise", severity=1, at_least=0.8)
"""

PROJECTS = {
    "torchvision": Project(needs=("torchvision",), module=TORCHVISION, kind="images", tests=_NOISE),
    "timm": Project(
        needs=("timm", "datasets"),
        module=TIMM,
        kind="images",
        own_names=True,
        tests="""\
from robustest import Linf, assert_robust_accuracy

def test_attack(MODEL, DATA):
    normalised = MODEL.pretrained_cfg["mean"], MODEL.pretrained_cfg["std"]
    assert_robust_accuracy(MODEL, DATA, Linf(1 / 255), at_least=0.8, preprocessing=normalised)
""",
    ),
    "lightning": Project(needs=("lightning",), module=LIGHTNING, kind="images", tests=_NOISE),
    "forest": Project(
        needs=("sklearn", "pandas"),
        module=FOREST,
        kind="frame",
        own_names=True,
        tests="""\
from robustest import assert_accuracy

def test_accuracy(MODEL, DATA):
    assert_accuracy(MODEL, DATA, at_least=0.8)
""",
    ),
    "audio": Project(
        needs=(),
        module=AUDIO,
        kind="audio",
        own_names=True,
        tests="""\
from robustest import assert_shift_accuracy

def quieter(x):
    return x / 2

def test_volume(MODEL, DATA):
    assert_shift_accuracy(MODEL, DATA, quieter, at_least=0.8, bounds=(-1, 1))
""",
    ),
    "tokens": Project(
        needs=(),
        module=TOKENS,
        kind="tokens",
        tests="""\
from robustest import assert_shift_accuracy

def order_reversed(ids):
    return ids.flip(1)

def test_order(MODEL, DATA):
    assert_shift_accuracy(MODEL, DATA, order_reversed, at_least=0.9)
""",
    ),
    "lightgbm": Project(
        needs=("lightgbm", "pandas"),
        module=LIGHTGBM,
        kind="frame",
        own_names=True,
        tests="""\
from robustest import assert_shift_accuracy

def reads_high(frame):
    return frame.assign(heat=frame["heat"] + 1)

def test_a_sensor_that_reads_high(MODEL, DATA):
    assert_shift_accuracy(MODEL, DATA, reads_high, at_least=0.8)
""",
    ),
    "onnx": Project(
        needs=("onnx", "onnxruntime"),
        module=ONNX,
        kind="images",
        tests=_NOISE,
        before="python my_project.py",
        model="model.onnx",
    ),
}


def gated(user: Any, code: int = 0, **environ: str) -> dict[str, str]:
    """What the gate said of each test, with how many samples were looked at."""
    printed = user.does("pytest --robust", code=code, **environ)
    rows = re.findall(
        r"^(?:tests/)?\w+\.py::(\w+) +.* n=[1-9]\d*\b.* (passed|FAILED|INCONCLUSIVE|ERROR)$", printed, re.M
    )
    assert rows, printed
    ended = re.findall(r"(\d+) (?:passed|failed|errors?|skipped)", printed.splitlines()[-1])
    assert sum(map(int, ended)) == len(rows), printed  # each test has its row, and looked at samples
    return dict(rows)


@pytest.fixture(params=PROJECTS)
def project(request: pytest.FixtureRequest, user: Any) -> Project:
    """Somebody's project, with its model; skipped where its packages are not installed."""
    one = PROJECTS[request.param]
    for name in one.needs:
        pytest.importorskip(name)
    user.writes("halves.py", HALVES)
    user.writes("my_project.py", one.module)
    if "onnx" in one.needs:
        wheel_of = importlib.import_module("newcomer").wheel_of
        user.does(f"pip install --quiet --no-deps '{wheel_of(ROOT / 'plugins' / 'robustest-onnx', user.folder)}'")
    user.does(one.before)
    if one.own_names:
        user.writes("conftest.py", OWN)
    return one


def is_a_gate(user: Any, project: Project) -> None:
    good = gated(user)
    assert set(good.values()) == {"passed"}, good
    user.does(project.before, SPOILED="1")
    spoiled = gated(user, code=1, SPOILED="1")
    assert "FAILED" in spoiled.values(), spoiled


@pytest.mark.slow
def test_a_gate_by_hand(user: Any, project: Project) -> None:
    names = ("model", "test_data") if project.own_names else ("robust_model", "robust_data")
    if not project.own_names:
        body = "from robustest_onnx import onnx_model\n\ndef load_model():\n    return onnx_model('model.onnx')\n"
        made = "from my_project import test_set\n" + (
            body if project.model.endswith(".onnx") else "from my_project import load_model\n"
        )
        fixtures = OWN.partition("\n\n\n")[2].replace("samples()", "test_set()")
        for own, name in zip(("model", "test_data"), names, strict=True):
            fixtures = fixtures.replace(f"def {own}(", f"def {name}(")
        user.writes("conftest.py", f"import pytest\n{made}\n\n{fixtures}")
    user.writes("test_gate.py", project.tests.replace("MODEL", names[0]).replace("DATA", names[1]))
    is_a_gate(user, project)


@pytest.mark.slow
def test_a_gate_by_init(user: Any, project: Project) -> None:
    places = "" if project.own_names else f" --model {project.model} --data my_project:test_set"
    said = user.does(f"robustest init{places}")
    assert f"samples are {project.kind}" in said, said
    is_a_gate(user, project)


@pytest.mark.slow
@pytest.mark.parametrize("project", ["torchvision", "lightgbm", "tokens"], indirect=True)
def test_a_gate_by_a_scan(user: Any, project: Project) -> None:
    places = "" if project.own_names else f" --model {project.model} --data my_project:test_set"
    user.does(f"robustest init{places} && rm tests/test_robustness.py && robustest init --scan")
    is_a_gate(user, project)


@pytest.mark.slow
def test_a_recipe_is_a_gate(user: Any) -> None:
    """The page's fixtures and tests, word for word; `test_recipes.py` counts their lines."""
    text = (ROOT / "docs" / "recipes" / "tokens.md").read_text(encoding="utf-8")
    conftest, tests = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    user.writes("my_project.py", TOKENS)
    user.writes("tests/conftest.py", conftest)
    user.writes("tests/test_robustness.py", tests)
    good = gated(user)
    assert set(good) == set(re.findall(r"^def (test_\w+)", tests, re.M))
    assert set(good.values()) == {"passed"}
    assert gated(user, code=1, SPOILED="1")["test_order"] == "FAILED"
