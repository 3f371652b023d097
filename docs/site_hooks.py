"""Add to the site what no Markdown file holds: the references of claims, threats and the API, tables of cascades.

A page `claims/NAME.md` ends with the docstrings of `assert_NAME` and its twin, of robustest or of one of its packs; the
page `threats.md` with those of all threats. A claim without a page gets one with its reference alone. The claims are in
the nav under the headings of `which-claim.md`; a page that the nav does not list is an error. Tutorials and examples
are run: see `tutorial_runs.py`.
"""

from __future__ import annotations

import posixpath
import re
import runpy
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

import robustest
from robustest.version import HOME

_SETUP = re.compile(r"<!-- setup\n.*?-->\n", re.DOTALL)
_PACKAGES = ("robustest", "robustest_interpret", "robustest_people")
"""Packages whose assertions have a page."""
_TABLES = runpy.run_path(str(Path(__file__).with_name("site_tables.py")))
_TUTORIALS = runpy.run_path(str(Path(__file__).with_name("tutorial_runs.py")))
_PAGES_WITH_OUTPUT = dict[str, str]()
_UPWARDS = re.compile(r"\[([^\]]*)\]\((\.\./[^)\s]*)\)")


def on_config(config: Any) -> Any:
    """Add the address, and the claims to the nav; refuse a page that no section lists: a reader would never find it."""
    config["extra"]["social"][0]["link"] = HOME
    docs = Path(config["docs_dir"])
    families = _families((docs / "which-claim.md").read_text(encoding="utf-8"))
    reference = next(at for at, entry in enumerate(config["nav"]) if "Reference" in entry)
    config["nav"].insert(reference, {"Claims by family": families})
    there = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")} | {page for page, _ in _generated(docs)}
    unlisted = sorted(there - set(_listed(config["nav"])) - {"architecture.md"})
    if unlisted:
        raise PluginError(
            f"Expected every page in the nav of mkdocs.yml but found {', '.join(unlisted)} in no section."
        )
    return config


def on_files(files: Any, config: Any) -> Any:
    """Run tutorials and examples, and add their pictures and reports; claims without a page get one."""
    try:
        for page, tutorial in _TUTORIALS["pages_with_output"](Path(config["docs_dir"])):
            _PAGES_WITH_OUTPUT[page] = tutorial.markdown
            for path, content in tutorial.files.items():
                files.append(File.generated(config, path, content=content))
    except _TUTORIALS["TutorialError"] as error:
        raise PluginError(str(error)) from None
    for page, content in _generated(Path(config["docs_dir"])):
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The references; and no links to files that are not on the site."""
    markdown = _PAGES_WITH_OUTPUT.get(page.file.src_uri, markdown)
    folder = posixpath.dirname(page.file.src_uri)

    def kept(link: re.Match[str]) -> str:
        # A link that leaves docs/ leads nowhere on the site: its text stays.
        outside = posixpath.normpath(posixpath.join(folder, link[2])).startswith("..")
        return link[1] if outside else link[0]

    text = _TABLES["with_tables"](_UPWARDS.sub(kept, _SETUP.sub("", markdown)))
    kind, _, name = page.file.src_uri.removesuffix(".md").rpartition("/")
    if kind == "tutorials":
        page.meta["hide"] = ["toc"]  # files and outputs need the width of 100 characters
    if kind == "claims":
        package = next(one for one in _PACKAGES if f"assert_{name}" in import_module(one).__all__)
        top = f"measure_{name}" in import_module(package).__all__
        twin = f"measure_{name}" if top else f"measure.measure_{name}"
        return f"{text}\n## Reference\n\n" + _references([f"assert_{name}", twin], package)
    if name == "threats":
        threats = [one for one in robustest.__all__ if robustest._MODULE_OF[one].startswith("robustest.threats")]
        return f"{text}\n## Reference\n\n{_references(threats)}"
    return text.replace("<!-- reference -->", _api()) if name == "api" else text


def _families(page: str) -> list[dict[str, list[str]]]:
    """Return the claims of robustest under each heading of the page on the choice of a claim, in its order."""
    ours = {f"claims/{name.removeprefix('assert_')}.md" for name in robustest.__all__ if name.startswith("assert_")}
    families = []
    for section in page.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        claims = [link for link in dict.fromkeys(re.findall(r"\]\((claims/\w+\.md)", body)) if link in ours]
        ours -= {*claims}
        families += [{title: claims}] if claims else []
    return families


def _generated(docs: Path) -> list[tuple[str, str]]:
    claims = [name.removeprefix("assert_") for name in robustest.__all__ if name.startswith("assert_")]
    missing = [name for name in claims if not (docs / "claims" / f"{name}.md").exists()]
    return [(f"claims/{name}.md", f"# {name.replace('_', ' ').capitalize()}\n") for name in missing]


def _listed(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for entry in (nav.values() if isinstance(nav, dict) else nav) for page in _listed(entry)]


def _references(names: Any, package: str = "robustest") -> str:
    return "".join(f"::: {package}.{name}\n\n" for name in names)


def _api() -> str:
    """A section for the names at the top and one for each module beside it; claims and threats have their own pages."""
    top = [one for one in robustest.__all__ if not one.startswith("assert_")]
    sections = {"robustest": [one for one in top if not robustest._MODULE_OF[one].startswith("robustest.threats")]}
    for module in sorted(robustest._MODULES - {"threats"}):
        names = _public(getattr(robustest, module))
        sections[f"robustest.{module}"] = [f"{module}.{one}" for one in names if not one.startswith("measure_")]
    return "\n".join(f"## {title}\n\n{_references(names)}" for title, names in sections.items())


def _public(module: Any) -> list[str]:
    """The names that a module exports: those that its source imports under their own name, and its own."""
    source = Path(module.__file__)
    stub = source.with_suffix(".pyi")
    text = (stub if stub.exists() else source).read_text(encoding="utf-8")
    exported = re.findall(r"^ *from [\w.]+ import (?:\(\s*)?(\w+) as \1", text, re.MULTILINE)
    return sorted({*exported} - set(robustest.__all__))
