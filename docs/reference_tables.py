"""The tables of docs/reference.md that are made from signatures: run this file after a signature has changed.

`python docs/reference_tables.py` writes them; a test holds that the page has what this writes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import robustest
from robustest.claims import kinds

PAGE = Path(__file__).with_name("reference.md")
_TABLE = re.compile(
    r"(?P<start><!-- (?P<name>[a-z]+): made by docs/reference_tables.py -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)


def page(text: str) -> str:
    """Return the page with each of its tables made anew."""
    return _TABLE.sub(lambda found: f"{found['start']}{_TABLES[found['name']]()}\n{found['end']}", text)


def claims() -> str:
    """Return a row for each assertion: its positional arguments and thresholds, and the claim in a sentence."""
    rows = []
    for name in (one for one in robustest.__all__ if one.startswith("assert_")):
        assertion = getattr(robustest, name)
        claim = inspect.cleandoc(assertion.__doc__).partition("\n\n")[0].replace("\n", " ")
        claim = re.sub(r", or (not below|of no more than in) a baseline", "", claim)  # a keyword of many: see the page
        link = f"claims/{name.removeprefix('assert_')}.md"
        rows.append(f"| [`{name}({arguments(assertion)})`]({link}) | {claim.removeprefix('Claim that ')} |")
    return "\n".join(["| Assertion | Claim |", "|---|---|", *rows])


def arguments(assertion: Callable[..., object]) -> str:
    """Return the positional arguments of an assertion by name, and its thresholds with an equals sign."""
    places = [
        one.name for one in inspect.signature(assertion).parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD
    ]
    kind = next(kind for kind in kinds().values() if kind.assertion == assertion.__name__)
    return ", ".join([*places, *(f"{one}=" for one in kind.thresholds if one != "no_worse_than")])


_TABLES = {"claims": claims}


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
