"""README as a package index shows it: short, rendered, and with no link or picture that needs the checkout."""

from __future__ import annotations

import re
import runpy
import subprocess
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from robustest.reports.badge import Badge, drawn, label_of
from robustest.version import HOME

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 150


# mkdocs reads the links of docs alone.
PAGES = ("*.md", "distributions/*/README.md", "examples/**/README.md", "plugins/**/README.md")
OTHERS = sorted(path for name in PAGES for path in ROOT.glob(name))


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        assert link.startswith(("https://", "#")) or (path.parent / link.partition("#")[0]).exists(), link


def test_one_file_names_the_address() -> None:
    """Whatever else leads to the project is made from it: metadata, the site's link, links in reports."""
    owner = HOME.partition("://")[2].removesuffix("/robustest")
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], check=False, capture_output=True, text=True)  # noqa: S603, S607 - our own command
    if tracked.returncode:
        pytest.skip("not a checkout")
    naming = re.compile(rf"(?:github|githubusercontent|gitlab)\.com/[\w-]+/robustest\b|{re.escape(owner)}/robustest\b")
    named = set()
    for name in filter(None, tracked.stdout.split("\0")):
        path = ROOT / name
        if (
            path.is_file()
            and not path.is_symlink()
            and naming.search(path.read_text(encoding="utf-8", errors="ignore"))
        ):
            named.add(name)
    assert named == {"robustest/version.py"}


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
    assert f"(docs/img/{name})" in README


def test_the_picture_of_the_page_is_small() -> None:
    for path in BADGES.glob("*.png"):
        assert path.stat().st_size < 150_000


@pytest.fixture(scope="module")
def address() -> dict[str, Any]:
    """The names of what makes metadata."""
    return runpy.run_path(str(ROOT / "distributions" / "address.py"))


def test_links_become_absolute_and_code_stays(address: dict[str, Any]) -> None:
    page = "[a](../../docs/a.md#b) ![p](p.svg) [c](https://c.org) [d](#)\n```\nx[0](y)\n```\n[e](e.md)"
    assert address["absolute"](page, "https://h.org/r", "plugins/one") == (
        "[a](https://h.org/r/blob/main/docs/a.md#b) ![p](https://h.org/r/raw/main/plugins/one/p.svg) "
        "[c](https://c.org) [d](#)\n```\nx[0](y)\n```\n[e](https://h.org/r/blob/main/plugins/one/e.md)"
    )


def test_it_renders_as_a_long_description(address: dict[str, Any]) -> None:
    markdown = pytest.importorskip("readme_renderer.markdown", reason="readme-renderer renders long descriptions")
    page = markdown.render(address["absolute"](README, HOME, "."))
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
