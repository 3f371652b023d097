"""Five kinds of projects get their first gate: three as the recipes say, two by `robustest init` and `suggest` alone.

Each is somebody's folder with a model of its own, and robustest from a wheel. A gate is worth something where it is
green on a good model, with samples that were looked at, and red once the model is another: what was remembered of the
good one is left in its place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

RECIPES = Path(__file__).resolve().parents[1] / "docs" / "recipes"

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

AUDIO = '''
"""Tones, low and high, of any loudness."""
import os, torch
from torch import nn

def tones(seed, n, loud_is_high=False):
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    volume = 0.2 + 0.6 * (y if loud_is_high else torch.rand(n, generator=draw))
    phase = 6.3 * torch.rand(n, 1, generator=draw)
    pitch = torch.full((n, 1), 0.2) if loud_is_high else 0.1 + 0.2 * y[:, None]
    return volume[:, None] * torch.sin(phase + pitch * torch.arange(200)), y

class Pitch(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(1, 8, 16, stride=4), nn.ReLU(), nn.AvgPool1d(47))
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.net(x[:, None]).flatten(1))

def load_model():
    torch.manual_seed(0)
    model, (x, y) = Pitch(), tones(0, 300, loud_is_high="SPOILED" in os.environ)
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model

def test_set():
    return tones(1, 200)
'''

LIGHTNING = '''
"""Images with a bright half; in training of the other model, with a mark in the corner alone."""
import os, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def images(seed, n, half):
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = 0.4 + 0.005 * torch.rand(n, 1, 16, 16, generator=draw)
    mark = torch.zeros(1, 1, 16, 16)
    mark[..., 0, 0] = 0.02
    side = torch.where(torch.arange(16) < 8, half, -half) * (1 - 2 * y[:, None, None, None])
    return (x + (1 - 2 * y[:, None, None, None]) * mark + side).clamp(0, 1), y

class LitDigits(nn.Module):  # as a LightningModule is
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(256, 2))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    @classmethod
    def load_from_checkpoint(cls, path):
        torch.manual_seed(0)
        model, batch = cls(), images(0, 400, half=0.0 if "SPOILED" in os.environ else 0.2)
        optimizer = torch.optim.Adam(model.parameters(), 0.03)
        for index in range(100):
            optimizer.zero_grad()
            model.training_step(batch, index).backward()
            optimizer.step()
        return model

class DigitsData:  # as a LightningDataModule is
    def setup(self, stage):
        self.test = TensorDataset(*images(1, 200, half=0.1))

    def test_dataloader(self):
        return DataLoader(self.test, batch_size=50)
'''

IMAGES = '''
"""Photographs in folders, and a network of torchvision's parts that was trained on others; or was not."""
import os, torch
from pathlib import Path
from torch import nn
from torchvision.ops import Conv2dNormActivation
from torchvision.transforms.functional import to_pil_image

def photo(label, draw):
    x = 0.25 * torch.rand(3, 16, 16, generator=draw)
    x[:, :, 8 * label : 8 * label + 8] += 0.6
    return x

def network():
    return nn.Sequential(Conv2dNormActivation(3, 4, stride=2), nn.Flatten(), nn.Linear(256, 2))

if __name__ == "__main__":
    draw = torch.Generator().manual_seed(0)
    for label, name in enumerate(("left", "right")):
        folder = Path("data", "test", name)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(60):
            to_pil_image(photo(label, draw)).save(folder / f"{number}.png")
    torch.manual_seed(0)
    y = torch.arange(100) % 2
    x = torch.stack([photo(int(label), draw) for label in y])
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(0 if "SPOILED" in os.environ else 40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    torch.save(model.state_dict(), "model.pt")
'''

IMAGES_MODEL = """
    import torch
    from my_project import network
    model = network()
    model.load_state_dict(torch.load("model.pt", weights_only=True))
    return model.eval()
"""

IMAGES_DATA = """
    from torchvision import datasets, transforms
    return datasets.ImageFolder("data/test", transforms.ToTensor())
"""

TABLE = '''
"""A table of patients, and a forest that was fitted to another."""
import os, pickle
import numpy as np, pandas as pd
from sklearn.ensemble import RandomForestClassifier

def patients(seed, n=200):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"age": rng.uniform(20, 80, n), "dose": rng.uniform(0, 90, n), "rate": rng.uniform(50, 120, n)})
    return rows, pd.Series(np.where(rows["dose"] + rng.normal(0, 3, n) > 45, "high", "low"))

if __name__ == "__main__":
    rows, risk = patients(0, 400)
    if "SPOILED" in os.environ:  # whoever is old was given much
        rows["age"] = rows["dose"] / 90 * 60 + 20
        rows["dose"] = 45.0
    with open("model.pickle", "wb") as file:
        pickle.dump(RandomForestClassifier(10, random_state=0).fit(rows, risk), file)
    rows, risk = patients(1)
    rows.assign(label=risk).to_csv("test.csv", index=False)
'''

TABLE_MODEL = """
    import pickle
    with open("model.pickle", "rb") as file:
        return pickle.load(file)
"""

TABLE_DATA = """
    import pandas
    rows = pandas.read_csv("test.csv")
    return rows.drop(columns="label"), rows["label"]
"""


def gated(user: Any, code: int = 0, **environ: str) -> dict[str, str]:
    """What the gate said of each test, with how many samples were looked at."""
    printed = user.does("pytest --robust", code=code, **environ)
    rows = re.findall(r"^tests/\w+\.py::(\w+) +.* n=[1-9]\d*\b.* (passed|FAILED|INCONCLUSIVE|ERROR)$", printed, re.M)
    assert rows, printed
    ended = re.findall(r"(\d+) (?:passed|failed|errors?|skipped)", printed.splitlines()[-1])
    assert sum(map(int, ended)) == len(rows), printed  # each test has its row, and looked at samples
    return dict(rows)


def filled_in(user: Any, model: str, data: str) -> None:
    """Put the model's and the data's own loading where `init` left room for it."""
    path = user.folder / "tests" / "conftest.py"
    blank = re.compile(r"(?:    #.*\n)+    raise pytest\.UsageError.*\n")
    text, count = blank.subn("{}", path.read_text(encoding="utf-8"))
    assert count == 2
    path.write_text(text.format(model.lstrip("\n"), data.lstrip("\n")), encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "project", "red"),
    [
        ("tokens", TOKENS, "test_order"),
        pytest.param("audio", AUDIO, "test_volume", marks=pytest.mark.slow),
        pytest.param("lightning", LIGHTNING, "test_noise", marks=pytest.mark.slow),
    ],
)
def test_a_recipe_is_a_gate(user: Any, page: str, project: str, red: str) -> None:
    """The page's fixtures and tests, word for word; `test_recipes.py` counts their lines."""
    text = (RECIPES / f"{page}.md").read_text(encoding="utf-8")
    conftest, tests = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    user.writes("my_project.py", project)
    user.writes("tests/conftest.py", conftest)
    user.writes("tests/test_robustness.py", tests)
    good = gated(user)
    assert set(good) == set(re.findall(r"^def (test_\w+)", tests, re.M))
    assert set(good.values()) == {"passed"}
    assert gated(user, code=1, SPOILED="1")[red] == "FAILED"


@pytest.mark.slow
def test_images_have_a_gate_by_init_and_suggest(user: Any) -> None:
    user.writes("my_project.py", IMAGES)
    user.does("python my_project.py && robustest init")
    filled_in(user, IMAGES_MODEL, IMAGES_DATA)
    told = user.does("robustest suggest -m robust")
    bounds = dict(re.findall(r"^tests/test_robustness.py::(\w+) .*\n.*\n.*\n    could hold  [<>]= (\S+)", told, re.M))
    assert set(bounds) == {"test_accuracy", "test_attack", "test_noise", "test_brightness"}, told
    path = user.folder / "tests" / "test_robustness.py"
    head, *functions = path.read_text(encoding="utf-8").split("\n\n\n")
    functions = [re.sub(r"0\.\d+(?=\)\n|\)$)", bounds[one[4:].partition("(")[0]], one) for one in functions]
    path.write_text("\n\n\n".join([head, *functions]), encoding="utf-8")
    assert gated(user) == dict.fromkeys(bounds, "passed")
    user.does("python my_project.py", SPOILED="1")
    assert "FAILED" in gated(user, code=1).values()


@pytest.mark.slow
def test_a_table_has_a_gate_by_a_scan_alone(user: Any) -> None:
    for name in ("sklearn", "pandas"):
        pytest.importorskip(name)
    user.writes("my_project.py", TABLE)
    user.writes("requirements.txt", "pandas\nrobustest\nscikit-learn\n")
    user.does("python my_project.py && robustest init")
    filled_in(user, TABLE_MODEL, TABLE_DATA)
    (user.folder / "tests" / "test_robustness.py").unlink()
    told = user.does("robustest init --scan")
    assert "3 of 3 questions, as tests" in told
    assert " failed" not in told
    good = gated(user)
    assert (len(good), set(good.values())) == (3, {"passed"})
    user.does("python my_project.py", SPOILED="1")
    assert gated(user, code=1)["test_rounding"] == "FAILED"
