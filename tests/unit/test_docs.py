"""The pages: their tables say what the code says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustest import L0, L1, L2, Columns, Linf, Patch, Spatial, Unbounded, rng
from robustest.attacks import ATTACKS, CASCADES, Cascade, Needs, Searcher, Stage, at_once, draws_of, passes, supports
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import search
from robustest.health import HEALTH_CHECKS
from robustest.models import as_classifier
from robustest.threats import Threat, Within

ROOT = Path(__file__).resolve().parents[2]
REFERENCE_PAGE = ROOT / "docs" / "attack-reference.md"

THREATS: dict[str, Threat] = {
    "Linf(eps)": Linf(0.1),
    "L2(eps)": L2(0.5),
    "L1(eps)": L1(1.0),
    "L0(pixels)": L0(2),
    "Patch(height, width)": Patch(2, 2),
    "Spatial()": Spatial(),
    "Columns(changes)": Columns({0: Within(-1, 1)}),
    "Unbounded()": Unbounded(),
}


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def cost(attack: Searcher) -> tuple[int, int]:
    """Samples passed backward and forward for a sample that an attack does not break."""
    draws = draws_of(attack)
    backward = attack.steps * draws if attack.needs is Needs.GRADIENT else 0
    return backward, passes(attack) + (draws if draws > 1 else 0)


def choice_rows() -> list[str]:
    """What there is for each threat, by the least that a model has to give."""
    rows = []
    for text, threat in THREATS.items():
        able = [attack for make in ATTACKS.values() if supports(attack := make(), threat)]
        cells = [
            ", ".join(f"`{attack.name}`" for attack in sorted(able, key=lambda a: a.name) if attack.needs is needs)
            for needs in (Needs.GRADIENT, Needs.SCORES, Needs.LABELS)
        ]
        rows.append(row(f"`{text}`", *(cell or "none" for cell in cells)))
    return rows


def cost_rows() -> list[str]:
    """The beginning of each attack's line: name, what it needs, steps, backward and forward passes."""
    attacks = [make() for make in ATTACKS.values()]
    return [
        row(f"`{a.name}`", a.needs.name.lower(), a.steps, *(f"{n:,}" for n in cost(a)))
        for a in sorted(attacks, key=lambda a: a.name)
    ]


def stages_of(stages: Sequence[Stage]) -> list[str]:
    """Each attack of a cascade with rounds x steps and how they are run; one text for a run of the same."""
    alike = groupby(stages, key=lambda s: (s.searcher.name, s.searcher.steps, how(s)))
    return [
        f"`{name}` {sum(s.rounds for s in group)} x {steps}" + (f" ({way})" if way else "")
        for (name, steps, way), group in alike
    ]


def how(stage: Stage) -> str:
    """In which ways the rounds of a stage are no plain ones."""
    many = at_once(stage.searcher)
    ways = (
        f"{many} at once" if many > 1 else "",
        "together" if stage.together else "",
        f"{stage.smallest:.3g} first" if stage.smallest < 1 else "",
        f"on at {stage.go_on:g}" if stage.go_on != Stage.__dataclass_fields__["go_on"].default else "",
        "if earned" if stage.earned else "",
        f"if {stage.near:g} times near" if stage.near is not None else "",
    )
    return ", ".join(way for way in ways if way)


def mean_cost(stages: Sequence[Stage]) -> tuple[int, int]:
    """Samples passed backward and forward, on average, for a sample that holds if all stages run."""
    spent = [[stage.smallest * stage.rounds * n for n in cost(stage.searcher)] for stage in stages]
    backward, forward = (round(sum(column)) for column in zip(*spent, strict=True))
    return backward, forward


def cascade_rows(features: int | None = None, cascades: Iterable[Cascade] = CASCADES.values()) -> list[str]:
    """What each cascade does, by what the model gives and by threat; threats with the same stages share a line.

    Args:
        features: of the stages, only those with this limit of elements a sample.
        cascades: in the order of the page.
    """
    rows, earlier = [], dict[tuple[str, str], str]()
    for cascade in cascades:
        for gives, word in ((Needs.GRADIENT, "gradients"), (Needs.SCORES, "scores"), (Needs.LABELS, "labels")):
            threats: dict[tuple[Stage, ...], list[str]] = {}
            for text, threat in THREATS.items():
                serving = cascade.serving(threat, gives, features or 10**9)
                stages = tuple(s for s in serving if s.features == features)
                threats.setdefault(stages, []).append(f"`{text.partition('(')[0]}`")
            for stages, on in threats.items():
                names, what = ", ".join(on), "; ".join(stages_of(stages))
                same = earlier.get((word, names), "\0")
                shown = f"`standard`'s{what.removeprefix(same)}" if what.startswith(same) else what
                if stages:
                    rows.append(row(f"`{cascade.name}`", word, names, shown, *(f"{n:,}" for n in mean_cost(stages))))
                if cascade.name == "standard":
                    earlier[word, names] = what
    return rows


AUDITS = [Cascade(name=one.name, stages=one.audit) for one in CASCADES.values() if one.audit]
LIMITS = sorted({s.features for cascade in CASCADES.values() for s in cascade.stages if s.features is not None})


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


@pytest.mark.parametrize(
    "line", [*choice_rows(), *cascade_rows(), *(line for limit in LIMITS for line in cascade_rows(limit))]
)
def test_the_tables_of_attacks_and_cascades_say_what_the_code_says(line: str) -> None:
    assert line in REFERENCE_PAGE.read_text(encoding="utf-8").splitlines(), (
        f"Write in a table of docs/attack-reference.md: {line}"
    )


@pytest.mark.parametrize("line", [line for limit in (None, *LIMITS) for line in cascade_rows(limit, AUDITS)])
def test_the_table_of_audits_says_what_the_code_says(line: str) -> None:
    section = REFERENCE_PAGE.read_text(encoding="utf-8").split("\n### An audit before a pass\n")[1].split("\n### ")[0]
    assert line in section.splitlines(), f"Write in a table of that section of docs/attack-reference.md: {line}"


@pytest.mark.parametrize("limit", LIMITS)
def test_the_page_says_for_how_many_elements_the_further_stages_are(limit: int) -> None:
    assert f"| Further stages, for samples of at most {limit} elements |" in REFERENCE_PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", cost_rows())
def test_the_table_of_costs_says_what_the_code_says(line: str) -> None:
    lines = REFERENCE_PAGE.read_text(encoding="utf-8").splitlines()
    assert any(there.startswith(line) for there in lines), (
        f"Add under What each costs in docs/attack-reference.md: {line} ... |"
    )


@pytest.mark.parametrize("name", [*ATTACKS, *CASCADES])
def test_every_attack_and_cascade_is_on_the_page(name: str) -> None:
    assert f"`{name}`" in REFERENCE_PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("heading", "names"), [("What each costs", ATTACKS), ("Cascades", CASCADES), ("Health checks", HEALTH_CHECKS)]
)
def test_a_table_names_what_there_is_and_nothing_else(heading: str, names: Mapping[str, object]) -> None:
    section = REFERENCE_PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z0-9_-]+)` \|", section, re.MULTILINE)) == set(names)


def test_the_attack_on_the_page_is_that_of_the_example() -> None:
    source = (ROOT / "examples" / "own_attack" / "attack.py").read_text(encoding="utf-8")
    code = source.split('"""', 2)[2].strip()
    assert code in (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")


def test_the_reference_names_every_attack_and_cascade_and_no_other() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (?:Attacks with gradients|With scores, or labels alone|Cascades of attacks) \| .*", text, re.M
    )
    assert set(re.findall(r"`([^`]+)`", "".join(rows))) == {*ATTACKS, *CASCADES}


def test_the_glossary_is_in_order_and_brief() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    for part in page.split("\n## ")[1:]:
        entries = re.findall(r"^\*\*(.+)\*\*\n:   ((?:.+\n)+)", part, re.M)
        assert len(entries) == part.count("\n:   ")
        assert [word.lower() for word, _ in entries] == sorted(word.lower() for word, _ in entries)
        assert [
            word for word, meaning in entries if len(re.findall(r"\.(?:\s|$)", meaning)) > 3
        ] == []  # the last one leads on
