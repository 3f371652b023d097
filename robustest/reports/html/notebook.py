"""A result as a notebook shows it: its card of the page, in a frame of its own."""

from __future__ import annotations

import html
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from robustest.endings import Ending
from robustest.results import Result

_HEIGHT = 30
"""Of the frame, in lines of text; what is longer scrolls inside."""


@dataclass(frozen=True, slots=True)
class _Alone:
    """A result that no test recorded, as a row of a report."""

    result: Result
    test: str = ""
    problem: str = ""
    replay: str = ""
    ending: Ending | None = None


def card(result: Result) -> str | None:
    """A frame with the card of a result, its pictures inside it; None where Jinja2 is not installed.

    The frame keeps the page's style from the notebook's, and the notebook's from the page's.
    """
    if find_spec("jinja2") is None:
        return None
    from robustest.reports.html.album import Album
    from robustest.reports.html.claims import claims_of
    from robustest.reports.html.page import MARKS, rendered

    album = Album(folder=Path(), origin=Path(), inline=True)
    (claim,) = claims_of([_Alone(result)], album)
    page = html.escape(rendered("card.html", claim=claim, marks=MARKS), quote=True)
    title = html.escape(f"{result.verdict}: {result.statement}", quote=True)
    return f'<iframe srcdoc="{page}" title="{title}" style="width:100%;height:{_HEIGHT}em;border:0"></iframe>'
