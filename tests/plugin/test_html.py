"""--robust-html=DIR: the page says of which commit it is, where there is one."""

from __future__ import annotations

import re

import pytest

from robustest.history import Origin
from robustest.store import provenance

pytest.importorskip("jinja2", reason="the HTML report is an extra")


@pytest.mark.parametrize(
    ("commit", "dirty", "shown"),
    [("1a2b3c4d5e6f", False, "1a2b3c4d5"), ("1a2b3c4d5e6f", True, "1a2b3c4d5, changed"), ("", False, None)],
)
def test_the_page_names_the_commit(project, write_light, run, monkeypatch, *, commit, dirty, shown):
    made = Origin(time="2026-01-31T12:00:00.000Z", commit=commit, dirty=dirty)
    monkeypatch.setattr(provenance, "origin", lambda **_: made)
    write_light(test_a="def test_it(robust): robust.record(made())")
    assert run("--robust", "--robust-html=report").ret == 0
    page = (project.path / "report" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<dt>commit</dt>\s*<dd>([^<]*)</dd>", page) == ([] if shown is None else [shown])
