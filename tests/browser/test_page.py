"""The HTML report in Chromium: nothing loaded from elsewhere, nothing run from a name, search, sort, fold, print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium drives the browser")
pytest.importorskip("jinja2", reason="the HTML report is an extra")

from selenium.webdriver.common.keys import Keys

VISIBLE = "#overview tbody tr:not([hidden])"


@pytest.fixture(params=["full", "large", "single"])
def page(request: pytest.FixtureRequest) -> Path:
    """Each kind of page."""
    path: Path = request.getfixturevalue(request.param)
    return path


def settle(browser: Any) -> None:
    """Scroll to every picture, as they load when they come into sight, and wait for each."""
    browser.driver.execute_async_script(
        """const done = arguments[0];
        document.querySelectorAll('.claim > details').forEach(d => { d.open = true; });
        const load = image => { image.loading = 'eager'; return image.decode().catch(() => 0); };
        Promise.all([...document.images].map(load)).then(done);"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_console_is_silent_and_nothing_comes_from_elsewhere(browser: Any, page: Path, scheme: str) -> None:
    browser.open(page, scheme=scheme)
    settle(browser)
    assert browser.messages() == []
    asked = browser.requests()
    assert page.as_uri() in asked
    assert [address for address in asked if not address.startswith((page.parent.as_uri(), "data:image/"))] == []


def test_all_pictures_load(browser: Any, page: Path) -> None:
    browser.open(page)
    settle(browser)
    sizes = browser.ask("return [...document.images].map(i => [i.naturalWidth, i.naturalHeight, i.complete])")
    assert len(sizes) >= 3
    assert sizes == [[496, 160, True]] * len(sizes)


def test_names_stay_text(browser: Any, full: Path) -> None:
    browser.open(full)
    settle(browser)
    assert browser.ask("return window.hacked") is None
    assert browser.ask("return document.scripts.length") == 1
    for selector in ("#overview", ".lost", ".worst figcaption", ".problem", ".claim .test", ".plain", ".notes"):
        texts = [element.get_attribute("textContent") for element in browser.all(selector)]
        assert any("<script>window.hacked = 1</script><img src=x" in text for text in texts), selector


def test_even_a_script_that_got_in_would_not_run(browser: Any, full: Path, tmp_path: Path) -> None:
    """The policy is the second wall: here the first is torn down."""
    torn = full.read_text(encoding="utf-8").replace("<main>", "<main><script>window.hacked = 3</script>")
    (tmp_path / "torn.html").write_text(torn, encoding="utf-8")
    browser.open(tmp_path / "torn.html")
    assert browser.ask("return window.hacked") is None
    assert any("Content Security Policy" in message for message in browser.messages())


def test_two_hundred_claims_load_within_a_second(browser: Any, large: Path) -> None:
    """The best of three, as the machine may be busy with others."""
    took = []
    for _ in range(3):
        browser.open(large)
        took.append(browser.ask("return performance.getEntriesByType('navigation')[0].loadEventEnd"))
    assert len(browser.all(VISIBLE)) == 200
    assert 0 < min(took) < 1000


def test_search_finds_by_any_word_in_rows_and_evidence(
    browser: Any, large: Path, column: Callable[[Any, int], list[str]]
) -> None:
    browser.open(large)
    browser.one("#search").send_keys("MODEL3 0.004")
    expected = [k for k in range(200) if k % 5 == 3 and "0.004" in f"{0.001 * (k + 1):g}"]
    assert len(browser.all(VISIBLE)) == len(browser.all(".claim:not([hidden])")) == len(expected) > 0
    assert all("model3" in text and "0.004" in text for text in column(browser, 1))
    assert browser.one("#shown").text == f"{len(expected)} of 200 claims"
    browser.one("#search").send_keys("nowhere")
    assert browser.one("#shown").text == "0 of 200 claims"
    browser.one("#search").clear()
    browser.one("#search").send_keys(" ")
    assert browser.one("#shown").text == "200 claims"


def test_chips_show_some_verdicts_only(browser: Any, full: Path, column: Callable[[Any, int], list[str]]) -> None:
    browser.open(full)
    whole = len(browser.all(VISIBLE))
    failed, inconclusive = browser.one(".chip.failed"), browser.one(".chip.inconclusive")
    failed.click()
    assert {text.split()[-1] for text in column(browser, 0)} == {"failed"}
    assert failed.get_attribute("aria-pressed") == "true"
    inconclusive.click()
    assert {text.split()[-1] for text in column(browser, 0)} == {"failed", "inconclusive"}
    failed.click()
    inconclusive.click()
    assert len(browser.all(VISIBLE)) == whole


def test_every_column_sorts_both_ways_by_keyboard(browser: Any, full: Path) -> None:
    browser.open(full)
    heads = browser.all("#overview th[data-sort]")
    assert [head.text.strip(" ▲▼") for head in heads] == [
        "verdict", "claim", "measured", "required", "baseline", "n", "seconds",
    ]  # fmt: skip
    for head in heads[1:]:
        keys = []
        for direction in ("ascending", "descending"):
            head.find_element("css selector", "button").send_keys(Keys.ENTER)
            assert head.get_attribute("aria-sort") == direction
            assert len(browser.all("#overview th[aria-sort]")) == 1
            place = browser.ask("return arguments[0].cellIndex", head)
            script = "return [...document.querySelectorAll('#overview tbody tr')].map(r => r.cells[arguments[0]])"
            cells = browser.ask(f"{script}.map(c => c.dataset.key ?? c.textContent.trim().toLowerCase())", place)
            keys.append(cells)
        if head.get_attribute("data-sort") == "number":
            up, down = ([float(key) for key in part if key] for part in keys)
            assert up == sorted(up)
            assert down == sorted(down, reverse=True)
            assert len(set(up)) > 1 or head.text.startswith("baseline")
            assert all(not key for key in (keys[0][len(up) :] + keys[1][len(up) :]))  # without a value: last, both ways
        else:
            assert keys[0] == keys[1][::-1]
            assert keys[0] != sorted(keys[0], reverse=True)
    heads[0].find_element("css selector", "button").click()
    verdicts = [row.get_attribute("data-verdict") for row in browser.all("#overview tbody tr")]
    assert verdicts == sorted(verdicts, key=["failed", "error", "inconclusive", "passed"].index)


def test_a_row_leads_to_its_evidence_even_where_that_is_folded_or_hidden(browser: Any, full: Path) -> None:
    browser.open(full)
    link = browser.one("#overview tr[data-verdict=passed] a")
    target = link.get_attribute("href").rpartition("#")[2]
    claim = browser.one(f"#{target}")
    part = claim.find_element("tag name", "details")
    assert part.get_property("open") is False
    for _ in range(2):  # the second time the address does not change
        link.click()
        browser.wait(lambda: browser.ask("return document.activeElement.closest('.claim')?.id") == target)
        assert part.get_property("open") is True
        browser.ask("arguments[0].open = false; document.activeElement.blur(); scrollTo(0, 0)", part)
    browser.ask("location.hash = ''")
    browser.one("#search").send_keys("nothing has this name")
    assert not claim.is_displayed()
    browser.ask("location.hash = arguments[0]", target)
    browser.wait(claim.is_displayed)
    browser.open(full, at=f"#{target}")
    assert browser.one(f"#{target} > details").get_property("open") is True


def test_all_can_be_folded_and_unfolded(browser: Any, full: Path) -> None:
    browser.open(full)
    for state, expected in (("open", True), ("shut", False)):
        browser.one(f"[data-fold={state}]").click()
        assert {part.get_property("open") for part in browser.all(".claim > details")} == {expected}


def test_a_command_is_copied_or_at_least_selected(browser: Any, full: Path) -> None:
    browser.open(full)
    button = browser.one(".replay button")
    button.click()
    browser.driver.execute_async_script("setTimeout(arguments[0], 200)")
    assert button.text in ("Copied", "Selected")
    assert browser.one("#said").get_attribute("textContent") == f"Command {button.text.lower()}"


def test_the_keyboard_reaches_the_claims_first(browser: Any, full: Path) -> None:
    browser.open(full)
    browser.press(Keys.TAB)
    assert browser.ask("return document.activeElement.className") == "skip"
    assert browser.ask("return document.activeElement.getBoundingClientRect().left") >= 0
    browser.press(Keys.ENTER)
    assert browser.ask("return document.activeElement.id") == "claims"


def test_focus_is_seen(browser: Any, full: Path) -> None:
    browser.open(full)
    seen = set()
    for _ in range(12):
        browser.press(Keys.TAB)
        seen.add(browser.ask("return getComputedStyle(document.activeElement).outlineStyle"))
    assert seen == {"solid"}


def test_without_scripts_all_is_there_but_the_controls(browser: Any, full: Path) -> None:
    browser.open(full, script=False)
    assert len(browser.all("#overview tbody tr")) == 11
    assert [control.is_displayed() for control in browser.all(".controls, .fold")] == [False, False]
    assert browser.all("thead button, .replay button") == []
    assert browser.one(".replay code").is_displayed()


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1920])
def test_no_width_needs_sideways_scrolling(browser: Any, full: Path, width: int) -> None:
    browser.open(full, width=width)
    settle(browser)
    assert browser.ask("return document.documentElement.scrollWidth") <= width


def test_paper_has_the_evidence_of_what_did_not_pass_and_no_buttons(browser: Any, full: Path) -> None:
    browser.open(full)
    browser.one("[data-fold=shut]").click()
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.ask("window.dispatchEvent(new Event('beforeprint'))")
    opened = {claim.get_attribute("class"): claim.find_element("tag name", "details").get_property("open")
              for claim in browser.all(".claim")}  # fmt: skip
    assert opened == {"claim failed": True, "claim error": True, "claim inconclusive": True, "claim passed": False}
    assert not any(button.is_displayed() for button in browser.all(".controls, .fold button, .replay button"))
    browser.ask("window.dispatchEvent(new Event('afterprint'))")
    assert not any(part.get_property("open") for part in browser.all(".claim > details"))
    printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert printed["data"].startswith("JVBERi0")  # %PDF-
