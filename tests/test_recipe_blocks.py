"""CONTRIBUTING's recipes, followed: a pack is written of their blocks, and what it adds is used in claims."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import toy_claim

from robustest import Linf, Verdict, assert_accuracy
from robustest.measure import measure_accuracy, measure_robust_accuracy, measure_shift_accuracy

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##)", TEXT.partition("\n## Recipes\n")[2], re.M | re.S))
BLOCKS = {
    path: (title, code)
    for title, body in RECIPES.items()
    for code in re.findall(r"^```python\n(.*?)^```$", body, re.M | re.S)
    for path in re.findall(r"^# dusk/(\w+)\.py$", code, re.M)
}
X = torch.linspace(0.2, 0.8, 24).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
Y = (X.mean((1, 2, 3)) > 0.5).long()


def by_light(x: torch.Tensor) -> torch.Tensor:
    light = 9 * (x.mean((1, 2, 3)) - 0.5)
    return torch.stack([-light, light], 1)


@pytest.fixture
def dusk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packs: Callable[..., None]) -> Iterator[SimpleNamespace]:
    """The pack, as its modules; loaded as one that is installed."""
    folder = tmp_path / "dusk"
    folder.mkdir()
    (folder / "__init__.py").write_text("", encoding="utf-8")
    for name, (_, code) in BLOCKS.items():
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = SimpleNamespace(**{name: importlib.import_module(f"dusk.{name}") for name in BLOCKS})
    packs(dusk=modules.pack)
    yield modules
    for name in [one for one in sys.modules if one.partition(".")[0] == "dusk"]:
        del sys.modules[name]


def test_every_recipe_that_a_pack_may_follow_has_a_block() -> None:
    wanted = {"pack": "A pack", "attack": "An attack", "shift": "A shift", "threat": "A threat", "task": "A task"}
    missing = sorted(title for name, title in wanted.items() if BLOCKS.get(name, ("", ""))[0] != title)
    assert not missing, f"no block `# dusk/NAME.py` in the recipes {missing} of CONTRIBUTING.md"


def test_the_attack_of_its_recipe_finds_what_a_closed_form_says(dusk: SimpleNamespace) -> None:
    truth = float(((X.mean((1, 2, 3)) - 0.5).abs() > 0.1).double().mean())
    for attack in ("corner", dusk.attack.Corner()):
        found = measure_robust_accuracy(by_light, (X, Y), Linf(0.1), attack=attack, exact=True)
        assert found.estimate == pytest.approx(truth)
    assert 0 < truth < 1


def test_the_shift_of_its_recipe_is_found_by_name(dusk: SimpleNamespace) -> None:
    for shift in ("darker", dusk.shift.darker):
        found = measure_shift_accuracy(by_light, (X, Y), shift, severity=3, exact=True)
        assert 0.3 < float(found.estimate or 0) < 1
    assert "darker" in found.subject.statement


def test_the_threat_of_its_recipe_is_searched_by_the_stages_of_the_pack(dusk: SimpleNamespace) -> None:
    threat = dusk.threat.Dimming(0.2)
    light = X.mean((1, 2, 3))
    truth = float(((light < 0.5) | (light * 0.8 > 0.5)).double().mean())
    found = measure_robust_accuracy(by_light, (X, Y), threat, exact=True)
    assert found.estimate == pytest.approx(truth)
    assert 0 < truth < 1
    assert "standard + dusk" in found.subject.statement or "fast + dusk" in found.subject.statement
    assert "Dimming(0.2)" in found.subject.statement
    assert all(0 < float(one.size or 0) <= 0.2 * (1 + 1e-6) for one in found.counterexamples)


def test_the_task_of_its_recipe_is_claimed_by_name(dusk: SimpleNamespace) -> None:
    signs = 2.0 * Y - 1

    def number(x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3)).unsqueeze(1) - 0.5

    assert_accuracy(number, (X, signs), task="sign", at_least=0.9)
    assert measure_accuracy(number, (X, -signs), task=dusk.task.Sign(), exact=True).estimate == 0
    found = measure_robust_accuracy(number, (X, signs), Linf(0.25), task="sign", at_least=0.9)
    assert found.verdict is Verdict.FAILED
    assert "became" in found.counterexamples[0].answer


def test_the_kind_that_its_recipe_names_is_measured() -> None:
    result: Any = toy_claim.measure_dusk(by_light, (X, Y), by=0.5, max_flip_rate=0.9, exact=True)
    light = X.mean((1, 2, 3))
    assert result.details["flips"] == int(((light > 0.5) != (light * 0.5 > 0.5)).sum())
