"""The page of a history in Chromium: for everybody, no wider than the screen, with nothing for the console to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustest.history import ClaimId, HistoryEntry, claim_histories
from robustest.reports.html.several import write_history

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>\"'&"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Claims that hold, fell, are open and are not measured any more, with changes; names that try to be markup."""
    found: dict[ClaimId, list[HistoryEntry]] = {}
    for number in range(8):
        words = HOSTILE if number == 3 else f"robust accuracy under Linf(eps={number}/255), fast"
        found[ClaimId(f"tests/test_model.py::test_a_rather_long_name[{number}]", words)] = [
            HistoryEntry(
                f"2026-02-{1 + at // 24:02d}T{at % 24:02d}:00:00.000Z",
                f"{at * 7919:012x}",
                f"2026-01-{1 + at // 24:02d}T{at % 24:02d}:00:00Z",
                False,
                (verdict := "failed" if number < 3 and at > 90 else "inconclusive" if number == 4 else "passed"),
                verdict,
                low=0.3 + at / 400,
                high=0.4 + at / 300,
                threshold=0.35 if at < 60 else 0.3,
                comparison=">=",
                required=">= 0.35" if at < 60 else ">= 0.3",
                model="a" if at < 91 else "b",
                problem=HOSTILE,
            )
            for at in range(120 if number != 5 else 80)
        ]
    found[ClaimId("tests/test_model.py::test_breaks")] = [
        HistoryEntry(
            "2026-02-05T23:00:00.000Z", f"{119 * 7919:012x}", "2026-01-05T23:00:00Z", False, "error", problem=HOSTILE
        )
    ]
    folder = tmp_path_factory.mktemp("history")
    write_history(str(folder), claim_histories(found))
    return folder / "index.html"


@pytest.mark.thinned
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_overflows(browser: Any, page: Path, axe: str, scheme: str, width: int) -> None:
    browser.open(page, scheme=scheme, width=width)
    browser.ask("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.ask("return document.querySelectorAll('svg.plot').length") == 8
    assert browser.ask("return document.documentElement.scrollWidth") <= width
    assert browser.ask("return window.hacked === undefined")
    # The page's policy admits no script of others: axe-core goes in by the debugger, as extensions do.
    browser.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
    found = browser.driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert len(found["passes"]) > 15
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]][:3]) for rule in found["violations"]] == []


def test_the_console_is_silent(browser: Any, page: Path) -> None:
    browser.open(page)
    assert [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"] == []
