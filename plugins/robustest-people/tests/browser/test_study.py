"""The pages of a study in Chromium: done by keyboard alone, for everybody, and with nothing for the console to say."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("selenium", reason="selenium drives the browser")
pytest.importorskip("jinja2", reason="studies are served by the extra `study`")
pytest.importorskip("starlette", reason="studies are served by the extra `study`")
pytest.importorskip("uvicorn", reason="studies are served by the extra `study`")

from robustest_people.studies import Item, create, open_study, rows_of
from robustest_people.studies.journal import Progress
from robustest_people.studies.serve import open_journal
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow  # a browser takes seconds a page; tox -e plugins-people runs it
LABELS = ("cat", "dog", "cow")
TASKS = ("contains", "classify", "simulate")


def items_of(task: str) -> list[Item]:
    """Nine items and three checks, about two labels."""
    made = []
    for number in range(12):
        check = number > 8
        asked, truth = (LABELS[number % 2], "") if task == "contains" else ("", "" if check else LABELS[number % 3])
        expected = "" if not check else "yes" if task == "contains" else "dog"
        made.append(Item(item=str(number), image=f"{number}.png", asked=asked, truth=truth, expected=expected))
    return made


class Served:
    """A study with one annotator, served by the command line."""

    def __init__(self, folder: Path, task: str, labels: tuple[str, ...] = LABELS) -> None:
        for number in range(12):
            noise = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
            folder.joinpath("files").mkdir(exist_ok=True)
            Image.fromarray(noise).save(folder / "files" / f"{number}.png")
        self.study = create(
            folder / "study",
            items_of(task),
            task=task,
            files=folder / "files",
            annotators=["Ada"],
            each=1,
            labels=() if task == "contains" else labels,
            page=6,
            checks=3,
            title="A study",
            about="Look closely.",
        )
        command = [sys.executable, "-m", "robustest.cli", "study", "serve", str(self.study.folder), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
        assert self.process.stdout is not None
        self.base = self.process.stdout.readline().split(" at ")[1].strip()
        with (self.study.folder / "links.csv").open(encoding="utf-8", newline="") as file:
            (self.link,) = (row["link"] for row in csv.DictReader(file))

    def rows(self) -> list[Any]:
        study = open_study(self.study.folder)
        journal, progress = open_journal(study), Progress(study)
        progress.follow(journal.read())
        journal.close()
        return rows_of(progress)

    def stored(self) -> list[tuple[str, ...]]:
        study = open_study(self.study.folder)
        journal, progress = open_journal(study), Progress(study)
        progress.follow(journal.read())
        journal.close()
        return [progress.stored[key].answers for key in sorted(progress.stored)]

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Serves studies: `served("contains")`, `served("classify", labels)`; the servers end with the test."""
    started: list[Served] = []

    def start(task: str, labels: tuple[str, ...] = LABELS) -> Served:
        started.append(Served(tmp_path, task, labels))
        return started[-1]

    yield start
    for one in started:
        one.end()


def show(browser: Any, address: str, **how: Any) -> None:
    """Open an address as `Browser.open` opens a file."""

    class Address:
        def as_uri(self) -> str:
            return address

    browser.open(Address(), **how)


def focused(browser: Any) -> str:
    return str(browser.ask("const e = document.activeElement; return e.name || e.textContent.trim()"))


def heading(browser: Any) -> str:
    return str(browser.one("h1").text)


def send(browser: Any) -> None:
    """Go to the button by Tab alone, and press it; then wait for what comes."""
    for _ in range(40):
        if browser.ask("return document.activeElement.type === 'submit'"):
            break
        browser.press(Keys.TAB)
    assert browser.ask("return document.activeElement.type") == "submit"
    before = browser.one("html").id
    browser.press(Keys.ENTER)
    browser.wait(lambda: browser.one("html").id != before and browser.ask("return document.readyState") == "complete")


def unheard(browser: Any, served: Served) -> None:
    """The console was told nothing, and nothing was asked of anybody else."""
    assert browser.messages() == []
    assert {"/".join(address.split("/")[:3]) for address in browser.requests()} <= {served.base, "about:"} | {
        "about:blank"
    }


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_images_are_selected_by_keyboard_alone(browser: Any, served: Any, script: bool) -> None:
    one = served("contains")
    show(browser, one.link, script=script)
    try:
        for number in (1, 2):
            assert f"Page {number} of 2" in browser.one("header").text
            while focused(browser) != "a1":
                browser.press(Keys.TAB)
            browser.press(Keys.SPACE)
            browser.press(Keys.TAB)
            browser.press(Keys.TAB)
            assert focused(browser) == "a3"
            browser.press(Keys.SPACE)
            send(browser)
        assert heading(browser) == "Thank you"
        unheard(browser, one)
    finally:
        show(browser, "about:blank")
    assert one.stored() == [("yes", "no", "yes", "no", "no", "no")] * 2
    assert len(one.rows()) == 12


def test_arrows_move_between_images_and_enter_sends_nothing(browser: Any, served: Any) -> None:
    one = served("contains")
    show(browser, one.link)
    assert focused(browser) == "a1"
    assert "arrows" in browser.one("#keys").text
    browser.press(Keys.ARROW_RIGHT)
    browser.press(Keys.SPACE)
    assert focused(browser) == "a2"
    browser.press(Keys.ARROW_LEFT)
    assert focused(browser) == "a1"
    rows = browser.ask("return new Set([...document.images].map(i => i.getBoundingClientRect().top)).size")
    for _ in range(rows):
        assert focused(browser) != "none"
        browser.press(Keys.ARROW_DOWN)
    assert focused(browser) == "none"
    for _ in range(rows):
        browser.press(Keys.ARROW_UP)
    assert focused(browser) == "a1"
    browser.press(Keys.ENTER)
    assert one.stored() == []
    send(browser)
    assert [answers.count("yes") for answers in one.stored()] == [1]
    unheard(browser, one)


@pytest.mark.parametrize("task", ["classify", "simulate"])
def test_labels_are_chosen_by_keyboard_alone(browser: Any, served: Any, task: str) -> None:
    one = served(task)
    show(browser, one.link)
    for number in (1, 2):
        assert f"Page {number} of 2" in browser.one("header").text
        assert focused(browser) == "a1"
        for key in "132213":
            browser.press(key)
        send(browser)
    assert heading(browser) == "Thank you"
    assert one.stored() == [("cat", "cow", "dog", "dog", "cat", "cow")] * 2
    unheard(browser, one)


MANY = (*LABELS, *(f"kind {number}" for number in range(3, 64)))
"""More labels than keys: 10 digits, 26 letters, and these with Shift."""


def test_each_choice_has_a_key_that_stands_beside_it(browser: Any, served: Any) -> None:
    one = served("classify", MANY)
    show(browser, one.link)
    labels = browser.all(".card:first-of-type label")
    keys = [label.text.split("\n")[-1].split()[-1] for label in labels[:62]]
    assert "".join(keys) == "1234567890abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert [label.text for label in labels[62:]] == list(MANY[62:]), "without a key: arrows reach it"
    told = browser.ask("return [...document.querySelectorAll('[name=a1]')].map(i => i.ariaKeyShortcuts)")
    assert told == [*keys[:36], *(f"Shift+{key}" for key in keys[36:]), *[None] * (len(MANY) - 62)]
    chosen = ["1", "0", "a", "z", "A", "Z"]
    for number, key in enumerate(chosen, 1):
        assert focused(browser) == f"a{number}"
        browser.press(key)
    assert browser.ask("return document.activeElement.type") == "submit"
    browser.ask("document.querySelector('[name=a2]').focus()")
    browser.press("-")  # no choice's key
    assert focused(browser) == "a2"
    send(browser)
    by_key = dict(zip(keys, MANY, strict=False))
    assert one.stored() == [tuple(by_key[key] for key in chosen)]
    browser.press("Z")
    browser.ask("document.querySelector('[name=a1]:checked').focus()")
    browser.press(Keys.ARROW_DOWN)  # from the last that has a key
    for _ in range(5):
        while browser.ask("return !!document.querySelector(`[name=${document.activeElement.name}]:checked`)"):
            browser.press(Keys.TAB)
        browser.press("1")
    send(browser)
    assert one.stored()[1] == (MANY[62], *["cat"] * 5)
    unheard(browser, one)


def test_caps_lock_takes_no_other_choice(browser: Any, served: Any) -> None:
    """Caps Lock makes letters large without Shift, and small with it."""
    one = served("classify", MANY)
    show(browser, one.link)
    for key, shift in (("B", "false"), ("b", "true")):
        event = f"new KeyboardEvent('keydown', {{key: '{key}', shiftKey: {shift}, bubbles: true}})"
        browser.ask(f"document.activeElement.dispatchEvent({event})")
    taken = browser.ask("return [...document.querySelectorAll(':checked')].map(i => Number(i.value))")
    assert taken == [11, 37]


def test_end_goes_to_none_and_home_to_the_first_image(browser: Any, served: Any) -> None:
    one = served("contains")
    show(browser, one.link)
    browser.press(Keys.END)
    assert focused(browser) == "none"
    browser.press(Keys.HOME)
    assert focused(browser) == "a1"
    browser.press(Keys.END)
    browser.press(Keys.SPACE)
    send(browser)
    assert one.stored() == [("no",) * 6]
    unheard(browser, one)


TARGETS = """return [...document.querySelectorAll("a, button, label:has(input)")].map(e => {
    const r = e.getBoundingClientRect();
    return [e.textContent.trim(), r.width, r.height];
})"""


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("task", ["contains", "classify"])
def test_targets_are_large_enough_for_fingers(browser: Any, served: Any, task: str, width: int) -> None:
    """44 px either way (WCAG 2.2, target size, enhanced): answers, buttons and links of every page."""
    one = served(task)
    seen = []
    for address in (one.link, f"{one.link}/stop"):
        show(browser, address, width=width)
        seen += browser.ask(TARGETS)
    show(browser, one.link, width=width)
    # The page is sent elsewhere meanwhile, with other answers: the one that says so has a link.
    answers = "none=on" if task == "contains" else "&".join(f"a{number}=0" for number in range(1, 7))
    token, action = browser.ask("const form = document.forms[0]; return [form.token.value, form.action]")
    sent = Request(action, f"token={token}&{answers}".encode(), {"origin": one.base})  # noqa: S310 - our own server
    with urlopen(sent) as reply:  # noqa: S310
        assert reply.status == 200
    for key in [Keys.SPACE] if task == "contains" else "222222":
        browser.press(key)
    send(browser)
    assert heading(browser) == "This was not done"
    seen += browser.ask(TARGETS)
    names = {name for name, *_ in seen}
    assert {"Send and go on", "Stop for good", "Go on instead", "Go on"} <= names
    assert len(seen) >= 5 + 7, "with each answer's label"
    assert [one for one in seen if min(one[1:]) < 44] == []


def test_labels_are_chosen_without_a_script(browser: Any, served: Any) -> None:
    one = served("classify")
    show(browser, one.link, script=False)
    try:
        for _ in range(2):
            for number in range(1, 7):
                while focused(browser) != f"a{number}":
                    browser.press(Keys.TAB)
                browser.press(Keys.SPACE)
                browser.press(Keys.ARROW_DOWN)
            send(browser)
        assert heading(browser) == "Thank you"
        unheard(browser, one)
    finally:
        show(browser, "about:blank")
    assert one.stored() == [("dog",) * 6] * 2


def test_an_answer_that_is_missing_is_said_where_it_is_read_first(browser: Any, served: Any) -> None:
    one = served("contains")
    show(browser, one.link)
    send(browser)
    assert "You chose no image" in browser.ask("return document.activeElement.textContent")
    assert one.stored() == []
    boxes = browser.all("input[name=none]")
    boxes[0].send_keys(Keys.SPACE)
    send(browser)
    assert one.stored() == [("no",) * 6]
    told = browser.messages()
    assert all("422" in line for line in told), told  # Chromium itself notes the status; nothing else is said


def test_stopping_for_good_is_asked_about_first(browser: Any, served: Any) -> None:
    one = served("contains")
    show(browser, one.link)
    browser.one("footer a").send_keys(Keys.ENTER)
    browser.wait(lambda: heading(browser) == "Stop for good?")
    send(browser)
    assert "The rest goes to others" in browser.one("main").text
    assert open_study(one.study.folder)
    unheard(browser, one)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, axe: str, tmp_path: Path, scheme: str, width: int) -> None:
    """No rule of axe-core is broken on any page: those that ask, one that lacks an answer, and those that end it."""
    for task in ("contains", "classify"):
        folder = tmp_path / task
        folder.mkdir()
        one = Served(folder, task)
        try:
            for address in (one.link, f"{one.link}/stop", one.base):
                show(browser, address, scheme=scheme, width=width)
                assert_for_everybody(browser, axe)
            show(browser, one.link, scheme=scheme, width=width)
            browser.ask("document.querySelector('form').noValidate = true")
            send(browser)
            assert browser.all("#problem")
            assert_for_everybody(browser, axe)
            while browser.all("form"):
                browser.ask(
                    "document.querySelectorAll('input[value=\"0\"], .tile input').forEach(i => i.checked = true)"
                )
                send(browser)
            assert heading(browser) == "Thank you"
            assert_for_everybody(browser, axe)
        finally:
            one.end()


def assert_for_everybody(browser: Any, axe: str) -> None:
    assert browser.ask("return document.documentElement.scrollWidth <= window.innerWidth")
    # The page's policy admits no script of others: axe-core goes in by the debugger, as extensions do.
    browser.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
    found = browser.driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert len(found["passes"]) > 8
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found["violations"]] == []


@pytest.mark.parametrize("task", TASKS)
def test_nothing_in_the_browser_tells_a_check(browser: Any, served: Any, task: str) -> None:
    """Images of checks have the sizes, kinds and addresses of all; what the page was sent names none."""
    one = served(task)
    show(browser, one.link)
    browser.driver.execute_async_script(
        "const done = arguments[0]; Promise.all([...document.images].map(i => i.decode())).then(done)"
    )
    entries = one.study.plan.pages[0][0]
    seen = browser.ask(
        """return [...document.images].map(i => {
            const r = i.getBoundingClientRect(), style = getComputedStyle(i);
            const sizes = [i.naturalWidth, i.naturalHeight, Math.round(r.width), Math.round(r.height)];
            return [...sizes, style.opacity, style.filter, i.title];
        })"""
    )
    assert len(seen) == len(entries)
    assert len({tuple(about) for about in seen}) == 1
    addresses = [urlsplit(image.get_attribute("src")).path for image in browser.all("img")]
    assert [int(path.rpartition("/")[2]) for path in addresses] == [one.study.numbers[e] for e in entries]
    assert len({path.rpartition("/")[0] for path in addresses}) == 1
    unheard(browser, one)
