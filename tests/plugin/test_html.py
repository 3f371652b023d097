"""--robust-html=DIR: the page says of which commit it is, where there is one."""

from __future__ import annotations

import pytest

from robustest.store import provenance

pytest.importorskip("jinja2", reason="the HTML report is an extra")


@pytest.mark.parametrize("name", ["1a2b3c4", ""])
def test_the_page_names_the_commit(project, write_light, run, monkeypatch, name):
    monkeypatch.setattr(provenance, "commit", lambda: name)
    write_light(test_a="def test_it(robust): robust.record(made())")
    assert run("--robust", "--robust-html=report").ret == 0
    page = (project.path / "report" / "index.html").read_text(encoding="utf-8")
    assert ("<dt>commit</dt>" in page) == bool(name)
    assert name in page
