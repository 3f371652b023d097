"""An index page over the pages of several runs, whose folders lie below one folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

from robustest.account import RED, STATES
from robustest.errors import StoreError
from robustest.reports.html.page import MARKS, rendered
from robustest.reports.json_file import write_whole
from robustest.safe_files import read_below
from robustest.version import VERSION

# Largest page that is read, in bytes: pages with embedded pictures are large.
_MOST = 64 * 2**20
_TITLE = "index of runs"
_SHOWN = ("date", "commit", "machine", "samples")
_OWN = f"<title>{_TITLE} ".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """The page of one run, as its header describes it."""

    name: str
    link: str  # link to the page, relative to the index
    state: str  # one of `STATES`, "none" if nothing was claimed, "error" if the page is not whole
    headline: str
    facts: tuple[str, ...]  # date, commit, machine and samples; empty texts if the page has none


@dataclass(slots=True)
class _Header(HTMLParser):
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


def write(folder: Path) -> list[IndexRow]:
    """Write `index.html` over the pages that lie one folder below, the latest first.

    Raises:
        StoreError: no page lies below, a page cannot be read, or another page is in the index's place.
        ConfigError: Jinja2 is not installed.
    """
    place = folder / "index.html"
    # Never overwrite the page of a run, or one of somebody else.
    if place.exists() and _OWN not in _content(folder, "index.html")[:4096]:
        raise StoreError(f"Expected an earlier index at {place} but got another page. Name the folder above the runs'.")
    names = sorted(path.parent.name for path in folder.glob("*/index.html"))
    pages = [page for name in names if (page := _indexed(folder, name)) is not None]
    if not pages:
        raise StoreError(
            f"Expected pages of runs in folders below {folder} but there is none. Write one: "
            f"pytest --robust --robust-html={folder / 'RUN'}"
        )
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
        raise StoreError(
            f"Expected to read {folder / name} but got: {error.strerror or error}. Delete it, or write the page again."
        ) from error


def _indexed(folder: Path, name: str) -> IndexRow | None:
    """Return the row of a page; None if it is no page of a run."""
    content = _content(folder, f"{name}/index.html")
    top, whole, rest = content.partition(b"</header>")
    header = _Header()
    # A header has a few kilobytes; the limit keeps a page of another kind from being parsed whole.
    header.feed(top[: 2**20].decode("utf-8", "replace"))
    if not header.generator.startswith("robustest ") or _OWN in top:
        return None
    link = f"{quote(name)}/index.html"
    # The end of the page is missing: an interrupted copy could have lost its red claims.
    if not (whole and rest.rstrip().endswith(b"</html>") and header.texts["h1"]):
        return IndexRow(
            name=name, link=link, state="error", headline="The page is not whole", facts=("",) * len(_SHOWN)
        )
    facts = dict(zip(header.texts["dt"], header.texts["dd"], strict=False))
    return IndexRow(
        name=name,
        link=link,
        # An unknown state is an error, never a pass.
        state=next((word for word in header.state.split() if word in STATES or word == "none"), "error"),
        headline=" ".join(header.texts["h1"][0].split()),
        facts=tuple(" ".join(facts.get(one, "").split()) for one in _SHOWN),
    )
