"""Reports and the command line know no kind of claim by name: what they print of one travels with its result."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import robustest

TESTS_OF_USERS = ("questions.py", "example.py", "floor.py", "gate_tables.py")
"""Files of the command line with the sources of users' tests, which name what they claim, or with advice on one."""
PACKAGE = Path(robustest.__file__).parent
FILES = [
    path
    for room in ("reports", "cli")
    for path in sorted((PACKAGE / room).rglob("*"))
    if path.is_file() and path.suffix in (".py", ".html", ".js", ".css")
]


@pytest.fixture(scope="module")
def names() -> re.Pattern[str]:
    """Every kind of claim that there is, and its assertion, as they register themselves."""
    for name in robustest.__all__:
        getattr(robustest, name)  # what is made when it is first asked for
    from robustest.claims import kinds

    assert len(kinds()) >= sum(name.startswith("assert_") for name in robustest.__all__)
    # "accuracy" is a kind, and what half of the sentences are about, and "rate" one of samples, too; their assertions
    # are named nowhere all the same.
    words = {word for kind in kinds().values() for word in (kind.name, kind.assertion)} - {"accuracy", "rate"}
    return re.compile(rf"\b({'|'.join(sorted(words))})\b")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_kind_of_claim_is_named(path: Path, names: re.Pattern[str]) -> None:
    assert bool(names.findall(path.read_text(encoding="utf-8"))) is (path.name in TESTS_OF_USERS)


def test_a_name_would_be_found(names: re.Pattern[str]) -> None:
    assert names.findall('if result.subject.kind == "robust_accuracy":') == ["robust_accuracy"]
