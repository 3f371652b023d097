"""The tables of docs/reference.md that are made from signatures: run this file after a signature has changed.

`python docs/reference_tables.py` writes them; a test holds that the page has what this writes.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import robustest

PAGE = Path(__file__).with_name("reference.md")
_TABLE = re.compile(
    r"(?P<start><!-- (?P<name>[a-z]+): made by docs/reference_tables.py -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)


def page(text: str) -> str:
    """Return the page with each of its tables made anew."""
    return _TABLE.sub(lambda found: f"{found['start']}{_TABLES[found['name']]()}\n{found['end']}", text)


def claims() -> str:
    """Return a row for each assertion: its signature without defaults, and the claim in a sentence."""
    rows = []
    for name in (one for one in robustest.__all__ if one.startswith("assert_")):
        assertion = getattr(robustest, name)
        claim = inspect.cleandoc(assertion.__doc__).partition("\n\n")[0].replace("\n", " ")
        link = f"claims/{name.removeprefix('assert_')}.md"
        rows.append(f"| [`{name}({arguments(assertion)})`]({link}) | {claim.removeprefix('Claim that ')} |")
    return "\n".join(["| Assertion | Claim |", "|---|---|", *rows])


def arguments(assertion: object) -> str:
    """Return the arguments of an assertion: positional ones by name, keywords with an equals sign."""
    parts = inspect.signature(assertion).parameters.values()  # type: ignore[arg-type]
    return ", ".join(
        f"{one.name}=" if one.kind is one.KEYWORD_ONLY else one.name for one in parts if one.kind is not one.VAR_KEYWORD
    )


_TABLES = {"claims": claims}


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
