"""Tables of the site that are made from the code: stages of cascades and audits, parameters of corruptions.

The site has them in place of the lines `<!-- table: NAME -->`; `python docs/site_tables.py` prints them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby

from robustest import L0, L1, L2, Append, Columns, Edits, Insert, Linf, Patch, Spatial, Unbounded
from robustest.attacks import ATTACKS, CASCADES, Cascade, Needs, Searcher, Stage, at_once, draws_of, passes, supports
from robustest.shifts import CORRUPTIONS, tables
from robustest.threats import Threat, Within

THREATS: dict[str, Threat] = {
    "Linf(eps)": Linf(0.1),
    "L2(eps)": L2(0.5),
    "L1(eps)": L1(1.0),
    "L0(pixels)": L0(2),
    "Patch(height, width)": Patch(2, 2),
    "Spatial()": Spatial(),
    "Columns(rules)": Columns({0: Within(-1, 1)}),
    "Edits(k)": Edits(2),
    "Append(n)": Append(8),
    "Insert(n)": Insert(8),
    "Unbounded()": Unbounded(),
}


def row(*cells: object) -> str:
    """Return a row of a table in Markdown."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def cost(attack: Searcher) -> tuple[int, int]:
    """Samples passed backward and forward for a sample that an attack does not break."""
    draws = draws_of(attack)
    backward = attack.steps * draws if attack.needs is Needs.GRADIENT else 0
    return backward, passes(attack) + (draws if draws > 1 else 0)


def everywhere() -> list[str]:
    """Return the names of the attacks that support every threat."""
    return [name for name, make in ATTACKS.items() if all(supports(make(), threat) for threat in THREATS.values())]


def choice_rows() -> list[str]:
    """Return the attacks for each threat, by the least that a model gives, but for those `everywhere`.

    Threats with the same attacks share a row.
    """
    threats: dict[tuple[str, ...], list[str]] = {}
    for text, threat in THREATS.items():
        able = sorted(name for name, make in ATTACKS.items() if supports(make(), threat) and name not in everywhere())
        cells = tuple(
            ", ".join(f"`{name}`" for name in able if ATTACKS[name]().needs is needs)
            for needs in (Needs.GRADIENT, Needs.SCORES, Needs.LABELS)
        )
        threats.setdefault(cells, []).append(f"`{text.partition('(')[0]}`")
    return [row(", ".join(names), *(cell or "-" for cell in cells)) for cells, names in threats.items()]


def cost_rows() -> list[str]:
    """Return the beginning of each attack's row: its name, and its passes backward and forward."""
    return [row(f"`{name}`", *(f"{n:,}" for n in cost(ATTACKS[name]()))) for name in sorted(ATTACKS)]


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
        "if paid" if stage.paid else "",
        "one class" if stage.of_classes else "",
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


def severities() -> str:
    """Return a row for each corruption of ImageNet-C, with the parameters of each set; several are joined by "/"."""

    def written(entry: object) -> str:
        parts = entry if isinstance(entry, tuple) else (entry,)
        return "/".join({True: "mud", False: "water"}[one] if isinstance(one, bool) else f"{one:g}" for one in parts)

    rows = [row("Corruption", "224 pixels, severities 1 to 5", "64 pixels", "32 pixels"), "|---|---|---|---|"]
    for name in CORRUPTIONS:
        of = getattr(tables, name.upper())
        rows.append(row(f"`{name}`", *(", ".join(map(written, side)) for side in (of.large, of.medium, of.small))))
    return "\n".join(rows)


def table(name: str) -> str:
    """Return a table in Markdown.

    Args:
        name: "cascades", "further" (stages for small samples), "audits", "further audits" or "severities".
    """
    if name == "severities":
        return severities()
    cascades = AUDITS if "audits" in name else CASCADES.values()
    limits = LIMITS if name.startswith("further") else [None]
    of_audits = " of its audit" if "audits" in name else ""
    parts = []
    for limit in limits:
        small = f"Further stages{of_audits}, for samples of at most {limit} elements"
        stages = f"Stages{of_audits or ' in order'}: attack, rounds x steps" if limit is None else small
        head = [row("Cascade", "Model gives", "Threats", stages, "Backward", "Forward"), "|---|---|---|---|---|---|"]
        if rows := cascade_rows(limit, cascades):
            parts.append("\n".join([*head, *rows]))
    return "\n\n".join(parts)


def with_tables(markdown: str) -> str:
    """Return a page with each table in its place."""
    return re.sub("<!-- table: (.+?) -->", lambda found: table(found[1]), markdown)


NAMES = ("cascades", "further", "audits", "further audits", "severities")

if __name__ == "__main__":
    sys.stdout.write("\n\n".join(table(name) for name in NAMES) + "\n")
