"""README as a package index shows it: short, rendered, and with no link or picture that needs the checkout."""

from __future__ import annotations

import re
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from robustest.reports.badge import Badge, drawn, label_of
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
        base = f"{PICTURES}/main/" if link.endswith((".png", ".svg")) else f"{SOURCE}/blob/main/"
        assert link.startswith(base), link
        assert (ROOT / link.removeprefix(base).partition("#")[0]).is_file(), link


# mkdocs reads the links of docs alone.
OTHERS = sorted(path for name in ("*.md", "examples/**/README.md", "plugins/README.md") for path in ROOT.glob(name))


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        assert link.startswith(("https://", "#")) or (path.parent / link.partition("#")[0]).exists(), link


def test_the_home_is_one_setting() -> None:
    assert HOME == SOURCE
    named = {}
    for path in (
        *ROOT.glob("*.*"),
        *ROOT.glob(".github/**/*.*"),
        *ROOT.glob("docs/**/*.*"),
        *ROOT.glob("plugins/*/*.*"),
    ):
        if path.suffix in (".md", ".toml", ".yml", ".cff", ".py"):
            text = path.read_text(encoding="utf-8")
            named[path] = set(re.findall(r"(?:github|githubusercontent)\.com/([\w-]+/robustest)\b", text))
    assert set().union(*named.values()) == {HOME.removeprefix("https://github.com/")}


BADGES = ROOT / "docs" / "img"


def badges() -> dict[str, str]:
    """The badges of README by file: of the quickstart's claims, which `.ci/run` measures, and of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    claims = (ROOT / "examples" / "quickstart" / "test_quickstart.py").read_text(encoding="utf-8").count("\ndef test_")
    return {
        "badge-claims.svg": drawn(Badge(f"{claims} claims hold", "brightgreen"), label_of("quickstart")),
        "badge-python.svg": drawn(Badge(" | ".join(versions), "blue"), "python"),
        "badge-license.svg": drawn(Badge(project["license"], "blue"), "license"),
    }


@pytest.mark.parametrize("name", badges())
def test_badges_are_files_and_true(name: str) -> None:
    """Written by `python tests/test_readme.py`."""
    assert (BADGES / name).read_text(encoding="utf-8") == badges()[name]
    ET.parse(BADGES / name)  # noqa: S314 - our own file
    assert f"{PICTURES}/main/docs/img/{name})" in README


def test_the_picture_of_the_page_is_small() -> None:
    for path in BADGES.glob("*.png"):
        assert path.stat().st_size < 150_000


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


if __name__ == "__main__":
    for _name, _text in badges().items():
        (BADGES / _name).write_text(_text, encoding="utf-8")
