"""Reports and the command line know no kind of claim by name: what they print of one travels with its result."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import robustest
from robustest.cli.commands import init

SOURCES = (init.IMAGES_HEAD, init.ROWS_HEAD, *(probe.source for probe in (*init.IMAGES, *init.ROWS)))
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
    # "accuracy" is a kind, and what half of the sentences are about; its assertion is named nowhere all the same.
    words = {word for kind in kinds().values() for word in (kind.name, kind.assertion)} - {"accuracy"}
    return re.compile(rf"\b({'|'.join(sorted(words))})\b")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_kind_of_claim_is_named(path: Path, names: re.Pattern[str]) -> None:
    text = path.read_text(encoding="utf-8")
    for first_tests in (init.TESTS, init.ROWS_TESTS, *SOURCES):  # of a user, which name what they claim
        text = text.replace(first_tests, "")
    assert not names.findall(text)


def test_a_name_would_be_found(names: re.Pattern[str]) -> None:
    assert names.findall('if result.kind == "robust_accuracy":') == ["robust_accuracy"]
    assert all(
        names.findall(left_out) for left_out in (init.TESTS, init.ROWS_TESTS, init.IMAGES_HEAD, init.ROWS_HEAD)
    ), "it is there"
