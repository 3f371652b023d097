"""Print the tox environments that a change can break, as JSON: the matrix of the job `environments` in ci.yml.

    git diff --name-only --no-renames -z HEAD^1 HEAD | python .ci/affected.py
    python .ci/affected.py --all

The first reads the changed paths, separated by NUL, from standard input.
"""

# The environments of a set of paths:
#
#   1. `ALWAYS`, whatever changed: the core's tests read pages, packs' lists, workflows and fragments as well.
#   2. For each path the first row of `RULES` that matches it.
#   3. Each environment whose section of tox.ini names the path: plugins-onnx runs tests/test_docs.py.
#   4. For a page, the packs that it names: their environments run its blocks.
#   5. For a pack, the packs that require it.
#
# A path without a row, and a run without paths, stand for everything: a forgotten row costs minutes, never a test.

from __future__ import annotations

import argparse
import configparser
import json
import re
import sys
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKS = {f"plugins-{folder.name.removeprefix('robustest-')}" for folder in (ROOT / "plugins").glob("robustest-*")}
ALWAYS = {"lint", "py312-pytestlatest-xdist"}
EVERYTHING = {*ALWAYS, "docs", "examples", "release", "types", "workflows", *PACKS}
RULES: tuple[tuple[str, set[str]], ...] = (
    ("robustest/*", {"docs", "examples", "types", *PACKS}),
    ("plugins/*/pyproject.toml", {"examples", "release"}),
    ("plugins/*/hatch_build.py", {"release"}),
    ("plugins/*", {"examples"}),
    ("tests/type_checks/*", {"types"}),
    ("tests/*", set()),
    ("docs/*", {"docs"}),
    ("mkdocs.yml", {"docs"}),
    ("examples/github/*", {"workflows"}),
    ("examples/*", {"docs", "examples"}),
    (".github/workflows/nightly.yml", {"workflows"}),
    (".github/workflows/release.yml", {"workflows"}),
    (".github/workflows/*", EVERYTHING),
    (".github/*", {"workflows"}),
    ("action.yml", {"workflows"}),
    (".ci/release.py", {"release"}),
    (".ci/smokes/*", {"release"}),
    (".ci/publish.txt", {"release"}),
    (".ci/run", set()),  # nightly
    ("benchmarks/*", set()),
    ("changes/*", set()),
    ("*.md", set()),
)
"""Patterns of paths, where * also matches slashes, and the environments that each adds to `ALWAYS`."""


def _sections() -> dict[str, str]:
    """Return the text of each environment that tox.ini defines by name."""
    read = configparser.ConfigParser(interpolation=None)
    read.read(ROOT / "tox.ini", encoding="utf-8")
    return {
        name.removeprefix("testenv:"): "\n".join(read[name].values())
        for name in read.sections()
        if name.startswith("testenv:")
    }


def _with_dependents(environments: set[str]) -> set[str]:
    """Add the packs that require one of these packs, also through others."""
    requirements = {
        f"plugins-{path.parent.name.removeprefix('robustest-')}": {
            "plugins-" + re.split(r"[^\w-]", line.removeprefix("robustest-"))[0]
            for line in tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]
            if line.startswith("robustest-")
        }
        for path in (ROOT / "plugins").glob("robustest-*/pyproject.toml")
    }
    while True:
        added = {pack for pack, required in requirements.items() if required & environments} - environments
        if not added:
            return environments
        environments = environments | added


def affected(paths: Iterable[str]) -> set[str]:
    """Return the tox environments that a change of these paths can break, of those that pull requests run.

    Args:
        paths: relative to the repository's root, with slashes. Removed files count, as do both names of a renamed one.
    """
    found, changed = set(ALWAYS), list(paths)
    if not changed:
        return EVERYTHING
    sections = _sections()
    for path in changed:
        row = next((added for pattern, added in RULES if fnmatchcase(path, pattern)), EVERYTHING)
        found |= row | {name for name in EVERYTHING & {*sections} if path in sections[name]}
        if path.startswith("plugins/robustest-"):
            found |= _with_dependents({"plugins-" + path.split("/")[1].removeprefix("robustest-")} & PACKS)
        elif path.endswith(".md") and path.startswith("docs/"):
            page = ROOT / path
            named = (
                set(re.findall(r"robustest[_-](\w+)", page.read_text(encoding="utf-8"))) if page.is_file() else set()
            )
            found |= {f"plugins-{name}" for name in named} & PACKS
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--all", action="store_true", help="the environments of a change to everything")
    everything = parser.parse_args().all
    given = [] if everything else [path for path in sys.stdin.read().split("\0") if path]
    print(json.dumps(sorted(affected(given))))
