"""Results and rows by hand, for every report alike."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accounts import account_of
from PIL import Image

from robustest import Cost, Counterexample, Result, Settings, Verdict
from robustest.account import Row
from robustest.claims.robustness.robust_accuracy import ROBUST_ACCURACY
from robustest.kinds import Kind


def made(verdict: str = "failed", *, made_of: Kind | None = None, **changes: Any) -> Result:
    """A result on eight samples, described by its kind; `changes` replaces its fields."""
    values: dict[str, Any] = {
        "kind": "robust_accuracy",
        "statement": "robust accuracy under Linf(eps=0.1), fast",
        "verdict": Verdict(verdict),
        "rule": "certain: exact on this set",
        "quantity": "accuracy",
        "estimate": 0.25,
        "interval": (0.125, 0.375),
        "threshold": 0.9,
        "comparison": ">=",
        "n": 8,
        "n_total": 8,
        "outcomes": (True, True, *[False] * 6),
        "cost": Cost(forward=12345, backward=678, seconds=1.5),
        "seed": 7,
        "setting": "Linf(eps=0.1)",
        "method": "fast",
        "details": {"clean_accuracy": 1.0, "health": []},
    }
    return (made_of or ROBUST_ACCURACY).describe(Result.of(**{**values, **changes}))


def early(**changes: Any) -> Result:
    """A verdict before every sample was looked at: it has an interval and no value."""
    values = {"estimate": None, "n": 5, "outcomes": (*[False] * 5, None, None, None), **changes}
    return made(rule="alpha = 0.01 after 5 of 8", **values)


@pytest.fixture(name="made")
def _made() -> Callable[..., Result]:
    return made


@pytest.fixture(name="early")
def _early() -> Callable[..., Result]:
    return early


@pytest.fixture
def row() -> Callable[..., Row]:
    """Builds a row: `row("test_a.py::test_it", result)`."""
    return Row


@pytest.fixture
def worst() -> Callable[..., Counterexample]:
    """Builds a counterexample: `worst(image=path)`."""

    def build(**changes: Any) -> Counterexample:
        values: dict[str, Any] = {"index": 3, "label": 7, "clean": 7, "predicted": 8, "size": 0.0999, "pixels": 42}
        return Counterexample(**{**values, **changes})

    return build


@pytest.fixture
def png(tmp_path: Path) -> Path:
    """A small picture, 30 wide and 10 high."""
    path = tmp_path / "saved" / "sample.png"
    path.parent.mkdir()
    Image.fromarray(np.full((10, 30, 3), 200, dtype=np.uint8)).save(path)
    return path


class Page(HTMLParser):
    """Elements with their attributes, and the text that stands in the page."""

    VOID = frozenset(("meta", "link", "img", "input", "wbr"))

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        self.text += "" if tag == "wbr" else " "
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.text += " "
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data

    def all(self, tag: str, **having: str) -> list[dict[str, str | None]]:
        wanted = {name.replace("_", "-").rstrip("-"): value for name, value in having.items()}
        return [a for t, a in self.elements if t == tag and all(a.get(k) == v for k, v in wanted.items())]

    def missing(self, *texts: str) -> list[str]:
        """Those of some texts that the page does not show."""
        flat = " ".join(self.text.split())
        return [text for text in texts if text not in flat]


@pytest.fixture
def page_of(tmp_path: Path) -> Any:
    """Writes rows as an HTML report and reads the page."""
    from robustest.reports.html.page import write

    def build(*rows: Any, lost: tuple[str, ...] = (), settings: Settings | None = None, **options: Any) -> Page:
        write(str(tmp_path / "report"), account_of(rows, lost), settings or Settings(), **options)
        return Page((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))

    return build
