"""The index of runs in Chromium: for everybody, and no wider than the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accounts import account_of

from robustest import Settings
from robustest.reports.html.page import write
from robustest.reports.html.several import write_index

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>\"'&"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of runs of which one lost something and one is cut, with a commit that tries to be markup."""
    folder = tmp_path_factory.mktemp("runs")
    for number in range(3):
        about = {"date": f"2026-01-0{number + 1}", "commit": HOSTILE, "machine": "Linux x86_64, a rather long name" * 2}
        write(
            str(folder / f"run-{number}"),
            account_of([], ["a worker's results"] * (number == 1)),
            Settings(),
            about=about,
        )
    cut = folder / "run-2" / "index.html"
    cut.write_bytes(cut.read_bytes()[:-9])
    write_index(folder)
    return folder / "index.html"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_and_nothing_overflows(browser: Any, page: Path, axe: str, scheme: str, width: int) -> None:
    browser.open(page, scheme=scheme, width=width)
    assert browser.ask("return document.querySelectorAll('tbody tr').length") == 3
    assert browser.ask("return document.documentElement.scrollWidth") <= width
    assert browser.ask("return window.hacked === undefined")
    # The page's policy admits no script of others: axe-core goes in by the debugger, as extensions do.
    browser.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
    found = browser.driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert len(found["passes"]) > 10
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]][:3]) for rule in found["violations"]] == []
