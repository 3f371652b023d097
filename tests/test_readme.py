"""README as a package index shows it: short, rendered, and with no link or picture that needs the checkout."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from robustest.version import HOME

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
PICTURES = SOURCE.replace("github.com", "raw.githubusercontent.com")


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 150


PACKS = sorted((ROOT / "plugins").glob("*/README.md"))


@pytest.mark.parametrize("path", [ROOT / "README.md", *PACKS], ids=lambda path: path.parent.name)
def test_every_link_is_absolute_and_leads_to_a_file(path: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    assert len(links) > (15 if path.parent == ROOT else -1)
    for link in links:
        base = f"{PICTURES}/main/" if link.endswith(".png") else f"{SOURCE}/blob/main/"
        assert link.startswith(base), link
        assert (ROOT / link.removeprefix(base).partition("#")[0]).is_file(), link


def test_the_home_is_one_setting() -> None:
    assert HOME == SOURCE


def test_it_renders_as_a_long_description() -> None:
    markdown = pytest.importorskip("readme_renderer.markdown", reason="readme-renderer renders long descriptions")
    page = markdown.render(README)
    if page is None:
        pytest.skip("no Markdown for readme-renderer: its extra md")
    assert re.search(r"<h1[^>]*>robustest<", page)
    targets = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(targets) > 15
    assert [
        target for target in targets if not target.startswith(("https://", "#"))
    ] == []  # headings link to themselves
    assert "ModuleType" not in re.sub(r"<[^>]+>", "", page), "what tests need is not shown"
