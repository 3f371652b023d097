"""Code that reaches beyond the model: compiled modules, packages, random numbers, files, the network."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustest.identity import packages
from robustest.identity.fingerprint import fingerprint


@pytest.mark.parametrize(
    "draw",
    [
        "random.random()",
        "random.uniform(0, 1)",
        "np.random.rand()",
        "torch.rand(1)",
        "draw()",
        "torch.default_generator",
    ],
)
def test_the_state_of_the_process_s_random_numbers_makes_no_difference(module: Callable[..., Any], draw: str) -> None:
    text = (
        "import random, torch, numpy as np\nfrom random import random as draw\n"
        f"def predict(x):\n    if x is None: x = x + {draw}\n    return x"
    )
    predict = module(text).predict
    before = fingerprint(predict, None, None).digest
    random.shuffle([1, 2]), np.random.rand(), torch.rand(1)
    assert before is not None
    assert fingerprint(predict, None, None).digest == before
    assert fingerprint(module(text.replace("x is None", "x is not None")).predict, None, None).digest != before


REFUSED = {
    "def predict(x): return eval('x')": r"eval \(read by predict\) is eval\(\)",
    "def predict(x): return globals()['f'](x)": r"globals \(read by predict\)",
    "import urllib.request as u\ndef predict(x): return u.urlopen('http://a')": "urllib.request, which reaches out",
    "from http.client import HTTPConnection as H\ndef predict(x): return H('a')": r"http.client, which reaches outside",
    "import subprocess\ndef predict(x): return subprocess.run(['ls'])": "subprocess, which reaches outside",
    "def predict(x):\n    import not_loaded_yet as n\n    return n.f(x)": "_yet, imported by predict, is not loaded",
    "import torch\ndef predict(x): return torch.ops.mine.op(x)": "mine.op, an operator of one's own",
}


@pytest.mark.parametrize("text", REFUSED)
def test_code_that_reaches_beyond_the_model_is_refused(module: Callable[..., Any], text: str) -> None:
    with torch.library._scoped_library("mine", "DEF") as library:
        library.define("op(Tensor x) -> Tensor")
        found = fingerprint(module(text).predict, None, None)
    assert found.digest is None
    assert re.search(REFUSED[text], found.reason)


@pytest.mark.parametrize(
    "text",
    [
        "def predict(x): return open('weights').read()",
        "import os\ndef predict(x): return x * int(os.environ['SCALE'])",
        "import os\ndef predict(x): return x * int(os.getenv('SCALE'))",
        "import torch\ndef predict(x): return torch.load('x.pt')(x)",
        "import numpy as np\ndef predict(x): return x @ np.load('x.npy')",
        "from pathlib import Path\ndef predict(x): return Path('x').read_bytes()",
    ],
)
def test_code_whose_reads_get_stamps_has_an_identity(module: Callable[..., Any], text: str) -> None:
    """What it reads is compared before anything is recalled."""
    found = fingerprint(module(text).predict, None, None)
    assert found.digest is not None, found.reason
    assert found.digest != fingerprint(module(text.replace("x)", "x, y)")).predict, None, None).digest


def test_compiled_modules_of_one_s_own_are_refused(tmp_path: Path) -> None:
    """Nobody sees what they read."""
    spec = importlib.util.find_spec("_bisect")
    assert spec is not None
    if not spec.has_location or spec.origin is None:
        pytest.skip("this Python has _bisect built in: there is no small compiled module to copy")
    path = tmp_path / "own.so"
    path.write_bytes(Path(str(spec.origin)).read_bytes())
    loader = importlib.machinery.ExtensionFileLoader("_bisect", str(path))
    loaded = importlib.util.module_from_spec(importlib.util.spec_from_loader("_bisect", loader))  # type: ignore[arg-type]
    loader.exec_module(loaded)
    assert "compiled code" in fingerprint(loaded.bisect_left, None, None).reason


def test_packages_count_by_version_and_files(module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        packages.home_of(torch) == f"torch {importlib.metadata.version('torch')}"
    )  # torch adds to it what it is built for
    assert packages.home_of(sys) == packages.home_of(sys.modules["functools"])
    assert packages.home_of(module("", "helpers")) is None
    assert packages.home_of(module("", "test")) is None  # a name that the standard library has too
    label = packages.home_of(pytest)
    assert label is not None
    assert label.startswith(f"pytest {pytest.__version__} ")


def test_a_package_installed_anew_under_its_old_version_counts(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As tox does it, with the user's own package, in each of its runs."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("")
    about = tmp_path / "mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(packages, "_installed", lambda: (str(tmp_path),))

    def of(content: str) -> str | None:
        (about / "RECORD").write_text(f"mine/__init__.py,sha256={content},0\nmine-1.0.dist-info/RECORD,,\n")
        packages._home.cache_clear()
        packages._release.cache_clear()
        return packages.home("mine", str(tmp_path / "mine" / "__init__.py"))

    try:
        first = of("aaa")
        assert first is not None
        assert first.startswith("mine 1.0 ")
        assert first == of("aaa") != of("bbb")
    finally:
        packages._home.cache_clear()
        packages._release.cache_clear()


def test_packages_of_another_environment_on_the_path_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, "/base/lib/site-packages", "/own/code"])
    packages._installed.cache_clear()
    try:
        found = packages._installed()
        assert "/base/lib/site-packages" in found
        assert "/own/code" not in found
    finally:
        packages._installed.cache_clear()


def test_a_module_of_the_users_that_a_function_imports_counts_by_its_text_until_it_is_loaded(
    module: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    predict, late = module("def predict(x):\n    import acme_late\n    return acme_late.f(x)").predict, "acme_late.py"

    def of(text: str) -> str | None:
        (tmp_path / late).write_text(text)
        return fingerprint(predict, None, None).digest

    first = of("def f(x): return x  # one")
    assert first is not None
    assert first == of("def f(x):\n    return x") != of("def f(x): return -x")
    assert "acme_late" not in sys.modules


@pytest.mark.parametrize("statement", ["from torchvision.io import decode_jpeg as f", "import torchvision.io as f"])
def test_a_package_that_a_function_imports_need_not_be_loaded(
    module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    predict = module(f"def predict(x):\n    {statement}\n    return f(x)").predict
    importlib.import_module("torchvision.io")
    loaded = fingerprint(predict, None, None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    assert loaded.digest is not None
    assert fingerprint(predict, None, None).digest == loaded.digest
    assert "torchvision" not in sys.modules
