"""The pages: their tables say what the code says."""

from __future__ import annotations

import re
import runpy
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from table_entries import check_entries
from torch import Tensor, nn

from robustest import Columns, rng
from robustest.attacks import ATTACKS, CASCADES, supports
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import search
from robustest.health import HEALTH_CHECKS
from robustest.models import as_classifier

ROOT = Path(__file__).resolve().parents[2]
MADE = runpy.run_path(str(ROOT / "docs" / "site_tables.py"))
LIMITS, THREATS, cost, table = MADE["LIMITS"], MADE["THREATS"], MADE["cost"], MADE["table"]
cascade_rows, choice_rows, cost_rows = MADE["cascade_rows"], MADE["choice_rows"], MADE["cost_rows"]
everywhere = MADE["everywhere"]
REFERENCE_PAGE = ROOT / "docs" / "attack-reference.md"


class Unmoved(nn.Module):
    """Right whatever the input: class 0, with gradients all the same."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return torch.stack([10 + flat.mean(1), flat[:, 0], flat[:, -1]], 1)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_stated_cost_is_what_the_engine_spends(name: str) -> None:
    attack = ATTACKS[name]()
    attack = attack.within(60) if hasattr(attack, "within") else attack
    threat = next(threat for threat in THREATS.values() if supports(attack, threat))
    evaluator = Evaluator(as_classifier(Unmoved()), torch.device("cpu"), batch_size=None, suppress=(), notes=[])
    x, y = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(2, dtype=torch.int64)
    x = x.flatten(1) if isinstance(threat, Columns) else x
    evaluator.logits(x)
    before = evaluator.forward
    found = search(evaluator, attack, threat, x, y, key=rng.keys(0, torch.arange(2)), bounds=(0.0, 1.0))
    assert not found.broken.any()
    assert (evaluator.backward, evaluator.forward - before) == tuple(2 * n for n in cost(attack))


@pytest.mark.parametrize("line", choice_rows())
def test_the_table_of_attacks_for_threats_says_what_the_code_says(line: str) -> None:
    assert line in REFERENCE_PAGE.read_text(encoding="utf-8").splitlines(), (
        f"Write in a table of docs/attack-reference.md: {line}"
    )


def test_the_attacks_for_every_threat_are_named() -> None:
    (line,) = [
        line
        for line in REFERENCE_PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("These work for every threat: ")
    ]
    check_entries(re.findall("`(.+?)`", line), everywhere(), 'the line "These work for every threat" of the page')


TABLES = ("cascades", "further", "audits", "further audits")


def test_the_tables_of_cascades_are_made_for_the_site() -> None:
    """Each has its place on the page, and a hook of the site puts it there."""
    assert '_TABLES["with_tables"](' in (ROOT / "docs" / "site_hooks.py").read_text(encoding="utf-8")
    page = REFERENCE_PAGE.read_text(encoding="utf-8")
    text = MADE["with_tables"](page)
    for name in TABLES:
        assert page.count(f"<!-- table: {name} -->") == 1
        assert f"\n{table(name)}\n" in text
    assert "<!-- table" not in text


def test_the_tables_of_cascades_have_every_cascade_and_limit() -> None:
    check_entries({line.split("`")[1] for line in cascade_rows()}, CASCADES, "cascade_rows of docs/site_tables.py")
    assert all(f"for samples of at most {limit} elements" in table("further") for limit in LIMITS)
    assert "Stages of its audit" in table("audits")
    assert "`odi-margin` 2 x 8; " in table("cascades")


@pytest.mark.parametrize("line", cost_rows())
def test_the_table_of_costs_says_what_the_code_says(line: str) -> None:
    lines = REFERENCE_PAGE.read_text(encoding="utf-8").splitlines()
    assert any(there.startswith(line) for there in lines), (
        f"Add under What each costs in docs/attack-reference.md: {line} ... |"
    )


@pytest.mark.parametrize("name", [*ATTACKS, *CASCADES])
def test_every_attack_and_cascade_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in REFERENCE_PAGE.read_text(encoding="utf-8"), f"Add {name} to docs/attack-reference.md."


@pytest.mark.parametrize(("heading", "names"), [("What each costs", ATTACKS), ("Health checks", HEALTH_CHECKS)])
def test_a_table_names_what_there_is_and_nothing_else(heading: str, names: Mapping[str, object]) -> None:
    section = REFERENCE_PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `([a-z0-9_-]+)` \|", section, re.MULTILINE)
    check_entries(listed, names, f"the table {heading} of docs/attack-reference.md")


def test_the_attack_on_the_page_is_that_of_the_example() -> None:
    source = (ROOT / "examples" / "own_attack" / "attack.py").read_text(encoding="utf-8")
    code = source.split('"""', 2)[2].strip()
    assert code in (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")


def test_the_glossary_is_in_order_and_brief() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    for part in page.split("\n## ")[1:]:
        entries = re.findall(r"^\*\*(.+)\*\*\n:   ((?:.+\n)+)", part, re.M)
        assert len(entries) == part.count("\n:   ")
        assert [word.lower() for word, _ in entries] == sorted(word.lower() for word, _ in entries)
        assert [
            word for word, meaning in entries if len(re.findall(r"\.(?:\s|$)", meaning)) > 3
        ] == []  # the last one leads on
