"""An index over the pages of several runs, each in a folder of its own below one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

from robustest.errors import StoreError
from robustest.reports.html.album import write_whole
from robustest.reports.html.page import MARKS, rendered
from robustest.reports.states import RED, STATES
from robustest.safe_files import read_below
from robustest.version import VERSION

_MOST = 64 * 2**20
"""Bytes of a page that is read: those with their pictures inside are large."""
_TITLE = "index of runs"
_SHOWN = ("date", "commit", "machine", "samples")
_OWN = f"<title>{_TITLE} ".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """A run's page, as it tells of itself.

    Attributes:
        name: of its folder.
        link: to the page, relative to the index.
        state: one of `STATES`, or "none" where nothing was claimed; "error" where the page is not whole.
        headline: the run in a sentence.
        facts: date, commit, machine and samples; empty where the page does not say.
    """

    name: str
    link: str
    state: str
    headline: str
    facts: tuple[str, ...]


@dataclass(slots=True)
class _Header(HTMLParser):
    """Reads what stands above a page's claims."""

    state: str = ""
    texts: dict[str, list[str]] = field(default_factory=lambda: {"h1": [], "dt": [], "dd": []})
    generator: str = ""
    _inside: str = ""

    def __post_init__(self) -> None:
        HTMLParser.__init__(self, convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        if tag == "meta" and about.get("name") == "generator":
            self.generator = about.get("content") or ""
        if tag in self.texts:
            self._inside = tag
            self.texts[tag].append("")
            self.state = (about.get("class") or "") if tag == "h1" else self.state

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside][-1] += data


def write(folder: Path) -> list[Indexed]:
    """Write `index.html` over the pages that lie one folder below, the latest first.

    Args:
        folder: of the runs' folders; an `index.html` in it must be an earlier index.

    Returns:
        What it shows.

    Raises:
        StoreError: there is no page below, one cannot be read, or another page is in the index's place.
        ConfigError: Jinja2 is not installed.
    """
    place = folder / "index.html"
    if place.exists() and _OWN not in _content(folder, "index.html")[:4096]:
        raise StoreError(f"Expected no page but an earlier index at {place}. Name the folder above those of the runs.")
    names = sorted(path.parent.name for path in folder.glob("*/index.html"))
    pages = [page for name in names if (page := _indexed(folder, name)) is not None]
    if not pages:
        raise StoreError(f"Expected pages of runs in folders below {folder} but there is none.")
    pages.sort(key=lambda page: page.facts[0], reverse=True)
    red = sum(page.state in RED for page in pages)
    text = rendered(
        "index.html",
        title=_TITLE,
        headline=f"{red} of {len(pages)} runs did not pass" if red else f"None of {len(pages)} runs is red",
        state="failed" if red else "passed",
        pages=pages,
        names=_SHOWN,
        marks={**MARKS, "none": MARKS["measured"]},
        version=VERSION,
    )
    write_whole(place, text.encode("utf-8", "backslashreplace"))
    return pages


def _content(folder: Path, name: str) -> bytes:
    try:
        return read_below(folder, name, most=_MOST)
    except OSError as error:
        raise StoreError(f"Expected to read {folder / name} but got: {error.strerror or error}.") from error


def _indexed(folder: Path, name: str) -> Indexed | None:
    """A page; None where it is no page of a run."""
    content = _content(folder, f"{name}/index.html")
    top, whole, rest = content.partition(b"</header>")
    header = _Header()
    header.feed(top[: 2**20].decode("utf-8", "replace"))
    if not header.generator.startswith("robustest ") or _OWN in top:
        return None
    link = f"{quote(name)}/index.html"
    if not (whole and rest.rstrip().endswith(b"</html>") and header.texts["h1"]):
        return Indexed(name=name, link=link, state="error", headline="The page is not whole", facts=("",) * len(_SHOWN))
    facts = dict(zip(header.texts["dt"], header.texts["dd"], strict=False))
    return Indexed(
        name=name,
        link=link,
        state=_state(header.state.split()),
        headline=" ".join(header.texts["h1"][0].split()),
        facts=tuple(" ".join(facts.get(one, "").split()) for one in _SHOWN),
    )


def _state(words: Sequence[str]) -> str:
    """The state that a headline is coloured by; what is none of ours is an error, never a pass."""
    return next((word for word in words if word in STATES or word == "none"), "error")
