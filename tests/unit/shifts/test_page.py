"""The page on shifts: its tables say what the code says."""

from __future__ import annotations

import re
import runpy
from dataclasses import fields
from pathlib import Path

from robustest.shifts import CORRUPTIONS, SHIFTS, SIGNALS, tables

PAGE = Path(__file__).resolve().parents[3] / "docs" / "shifts.md"
SIGNALS_PAGE = PAGE.with_name("signals.md")


def section(heading: str) -> list[str]:
    """The lines of the part of the page under a heading, up to the next heading."""
    return re.split(r"\n#+ ", PAGE.read_text(encoding="utf-8").split(f"# {heading}\n")[1])[0].splitlines()


def names(heading: str) -> list[str]:
    """What the first column of a part's table names."""
    return [found.group(1) for line in section(heading) if (found := re.match(r"\| `(\w+)` \|", line))]


def test_the_parameters_on_the_site_are_those_of_the_code() -> None:
    made = runpy.run_path(str(PAGE.with_name("site_tables.py")))
    rows = made["with_tables"]("\n".join(section("Severities and the three sets of parameters"))).splitlines()
    assert [found[1] for line in rows if (found := re.match(r"\| `(\w+)` \|", line))] == list(CORRUPTIONS)
    noise = tables.GAUSSIAN_NOISE
    sides = (", ".join(f"{one:g}" for one in side) for side in (noise.large, noise.medium or (), noise.small or ()))
    assert f"| `gaussian_noise` | {' | '.join(sides)} |" in rows
    assert any(line.startswith("| `defocus_blur` | 3/0.1, 4/0.5, ") for line in rows)
    assert any("/water, " in line and "/mud |" in line for line in rows)


def test_the_page_names_every_shift_once_and_in_order() -> None:
    assert names("The corruptions of ImageNet-C") == list(CORRUPTIONS)
    assert names("Families beyond ImageNet-C") == [name for name in SHIFTS if name not in CORRUPTIONS]


def test_the_page_of_signals_has_every_shift_with_its_class_and_numbers() -> None:
    rows = [
        line.split(" | ") for line in SIGNALS_PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    assert [row[0].strip("| `") for row in rows] == list(SIGNALS)
    for row, shift in zip(rows, SIGNALS.values(), strict=True):
        kind = type(shift.changes[0])
        first, *others = (each.name for each in fields(kind))
        named = re.fullmatch(rf"`{kind.__name__}\({first}(?:, ({'|'.join(others)}))?\)`", row[1])
        assert named, row[1]
        numbers = ", ".join(f"{getattr(change, first):g}" for change in shift.changes)
        assert row[3].startswith(f"{numbers} "), (row[3], numbers)
