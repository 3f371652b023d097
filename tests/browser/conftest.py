"""Chromium without a window, and the pages it opens.

Needs Debian's `chromium` and `chromium-driver` (or any Chromium and its driver on the PATH) and the Python package
`selenium`; the tests are skipped where one is absent. axe-core comes from npm: `npm install --prefix tests/browser
axe-core`, or its file is named in ROBUSTEST_AXE.
"""

from __future__ import annotations

import html
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accounts import account_of

from robustest import Cost, Counterexample, Result, Settings, Verdict
from robustest.account import OUTCOMES, Ending, Row
from robustest.reports.html.page import card, write
from robustest.reports.pictures import save_exhibit
from robustest.results import Variation

HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
    "</noscript></td></table><img src=x onerror='window.hacked = 4'>\"'&amp;&"
)


def made(verdict: str, eps: float, value: float, **changes: Any) -> Result:
    """A claim on 1,000 digits."""
    values: dict[str, Any] = {
        "kind": "robust_accuracy",
        "statement": f"robust accuracy under Linf(eps={eps:g}), fast",
        "verdict": Verdict(verdict),
        "rule": "certain: exact on this set",
        "quantity": "accuracy",
        "estimate": value,
        "interval": (max(0.0, value - 0.03), min(1.0, value + 0.03)),
        "threshold": 0.6,
        "comparison": ">=",
        "n": 1000,
        "n_total": 1000,
        "outcomes": (),
        "cost": Cost(forward=18089, backward=7645, seconds=round(100 * eps, 1)),
        "seed": 0,
        "setting": f"Linf(eps={eps:g})",
        "method": "fast",
        "varied": (Variation("Linf", {"eps": eps}, "eps"),),
        "axis": "eps",
        "at": eps,
        "details": {"clean_accuracy": 0.95, "stages": {"pgd": 646, "square": 4}, "health": []},
    }
    return Result.of(**{**values, **changes})


@pytest.fixture(name="made")
def _made() -> Callable[..., Result]:
    return made


def shift(severity: int, value: float, **changes: Any) -> Result:
    """A claim on shifted digits."""
    verdict = "passed" if value >= 0.6 else "failed"
    words = {
        "kind": "shift_accuracy",
        "statement": f"accuracy under gaussian_noise, severity {severity}",
        "setting": f"gaussian_noise, severity {severity}",
        "method": "paired with the unshifted samples",
        "varied": (Variation("gaussian_noise", {"severity": severity}, "severity"),),
        "axis": "severity",
        "at": severity,
    }
    return made(verdict, severity / 100, value, **words, **changes)


def sheet(path: Path) -> str:
    """A picture as counterexamples have it: before, after and difference side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(len(path.name))
    before = draw.random((3, 32, 32))
    return str(
        save_exhibit(str(path.parent), path.stem, before, before + draw.uniform(-0.1, 0.1, before.shape), (0, 1))
    )


def all_there_is(folder: Path) -> list[Row]:
    """One row for everything the page can show, with names that try to be markup."""
    shown = tuple(
        Counterexample(index=k, label=k % 3, clean=k % 3, predicted=9, size=0.1, pixels=42, image=sheet(path))
        for k, path in enumerate(folder / f"{number}.png" for number in range(4))
    )
    baseline = {"file": "robust-baseline.json", "key": "k", "tolerance": 0.01, "lost": 40, "gained": 2, "p": 1e-6}
    baseline |= {
        "drop": 0.038,
        "drop_interval": [0.02, 0.05],
        "accuracy": 0.3,
        "date": "2026-11-01",
        "commit": "1a2b3c4",
    }
    finding = {"name": "zero_gradient", "message": "zero for 900 of 1000", "suppressed": True}
    groups = [
        {"group": f"{name}", "n": 100, "held": 50, "accuracy": 0.5, "interval": [0.4, 0.6], "small": False}
        for name in ("night", "day", HOSTILE)
    ]
    rich = {"clean_accuracy": 0.95, "class_names": [f"digit {k}" for k in range(9)] + [HOSTILE], "groups": groups}
    results = [
        made("failed", 0.1, 0.26, counterexamples=shown, details={**rich, "baseline": baseline, "health": [finding]}),
        made("passed", 0.05, 0.8, cached="2026-11-25, commit 1a2b3c4", replayed=31),
        made("failed", 0.08, 0.5, estimate=None, n=212, rule="alpha = 0.01 after 212 of 1000"),
        made("inconclusive", 0.07, 0.61, rule="population, alpha = 0.01 a side", notes=(HOSTILE,)),
        *(shift(severity, 1.1 - severity / 5) for severity in (1, 2, 3, 4)),
        made(
            "passed",
            0.0,
            2.5,
            quantity="median perturbation",
            threshold=2.0,
            setting="L2 norm",
            statement="median L2",
            varied=(),
            axis=None,
            at=None,
        ),
    ]
    rows = [
        Row(f"tests/test_a.py::test_it[{k}]", result, replay=f"pytest --robust '{k}'")
        for k, result in enumerate(results)
    ]
    rows.append(Row(f"tests/test_a.py::test_hostile[{HOSTILE}]", made("failed", 0.2, 0.1, statement=HOSTILE)))
    rows.append(
        Row("tests/test_a.py::test_broken", None, problem=f"ModelError: NaN\n{HOSTILE}", replay="pytest broken")
    )
    return rows


def every_state() -> list[Row]:
    """A row of each state with and without a result, an attempt, and worst samples that are texts and columns."""
    name = "tests/robustness/test_a_rather_long_name_of_a_file.py::TestOfAClass::test_of_a_long_name[parameter-0.1]"
    rows = []
    for outcome in OUTCOMES:
        ending = Ending(test=name, phase="call", outcome=outcome, reason="because", claimed=True, attempt=2)
        verdict = "passed" if outcome in ("passed", "xpassed") else "failed"
        replay = f"pytest --robust '{name}'"
        rows.append(Row(name, made(verdict, 0.1, 0.5), replay=replay, ending=ending))
        rows.append(Row(name, None, "OSError: no data", replay, replace(ending, claimed=False)))
    tolerated = Ending(test=name, phase="call", outcome="passed")
    rows.append(Row(name, made("failed", 0.2, 0.1), ending=tolerated))
    rows.append(Row(name, made("inconclusive", 0.2, 0.1), replay=replay))
    rows.append(Row(name, made("inconclusive", 0.2, 0.1, threshold=None), ending=tolerated))
    words = [["=", "I did not expect a "], ["-", "dreadful"], ["+", "dreadfu1"], ["=", f" film {'x' * 200}"]]
    columns = [["age", "41", "42"], ["a_name_of_a_column_without_a_blank_in_it", "0.123456789", "0.223456789"]]
    for changes in ({"diff": words}, {"table": columns}):
        worst = (Counterexample(index=1, label=0, clean=0, predicted=1, size=2.0, changes=changes),)
        rows.append(Row(name, made("failed", 0.3, 0.1, counterexamples=worst), replay=replay))
    return rows


def families(folder: Path, count: int) -> list[Row]:
    """Claims of four parametrised tests: every fourth one failed, with three pictures each, and some are undecided."""
    picture = sheet(folder / "one.png")
    shown = tuple(Counterexample(index=k, label=k, clean=k, predicted=9, size=0.1, image=picture) for k in range(3))
    finding = {"name": "zero_gradient", "message": "zero for 900 of 1000", "suppressed": False}
    rows = []
    for k in range(count):
        family, at = k // 4 % 4, k // 16 * 4 + k % 4  # its test, and its place there
        verdict = "passed" if k % 4 else "inconclusive" if k % 28 == 0 else "failed"
        value = 0.61 + (k * 37 % 380) / 1000 if k % 4 else 0.6 if k % 28 == 0 else 0.59 - k / 2000
        radius = 0.004 * (at // 5 + 1)
        parameters = f"model{at % 5}-{radius:g}"
        test = f"tests/test_many.py::test_{'abcd'[family]}[{parameters if family else HOSTILE + parameters}]"
        made_of = {"details": {"health": [finding]}, "counterexamples": shown} if verdict == "failed" else {}
        rows.append(
            Row(test, made(verdict, radius, value, notes=(f"note{k}.",), **made_of), replay=f"pytest --robust '{test}'")
        )
    return rows


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything on it."""
    folder = tmp_path_factory.mktemp("full")
    lost = [f"no report came from {HOSTILE}"]
    write(str(folder), account_of(all_there_is(folder / "saved"), lost), Settings(), about={"commit": "1a2b3c4"})
    return folder / "index.html"


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every state."""
    folder = tmp_path_factory.mktemp("states")
    write(str(folder), account_of(every_state()), Settings())
    return folder / "index.html"


@pytest.fixture(scope="session")
def cards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The cards of results in a notebook, each as the page inside its frame."""
    folder = tmp_path_factory.mktemp("cards")
    results = [row.result for row in every_state()[-4:] if row.result is not None]
    for number, result in enumerate(results):
        framed = card(result) or ""
        page = html.unescape(framed.partition('srcdoc="')[2].partition('"')[0])
        (folder / f"{number}.html").write_text(page, encoding="utf-8")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that shows a long and a short card as the outputs of a notebook do."""
    path = tmp_path_factory.mktemp("notebook") / "book.html"
    results = [row.result for row in every_state()[-2:] if row.result is not None]
    shown = [
        card(one.but(counterexamples=one.counterexamples * times)) or ""
        for one, times in zip(results, (30, 1), strict=True)
    ]
    path.write_text("".join(f"<div>{one}</div>" for one in shown), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 301 claims of four families."""
    folder = tmp_path_factory.mktemp("large")
    write(str(folder), account_of(families(folder / "saved", 301)), Settings())
    return folder / "index.html"


@pytest.fixture(scope="session")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 1,000 claims."""
    folder = tmp_path_factory.mktemp("thousand")
    write(str(folder), account_of(families(folder / "saved", 1000)), Settings())
    return folder / "index.html"


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with everything on it as one file."""
    folder = tmp_path_factory.mktemp("single")
    write(str(folder / "page"), account_of(all_there_is(folder / "saved")), Settings(), inline=True)
    return folder / "page" / "index.html"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser; tests use `browser`."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    arguments = ["--headless=new", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses its sandbox to root
    for argument in arguments:
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield browser
    browser.quit()


class Browser:
    """Opens pages and asks them questions."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, *, scheme: str = "light", width: int = 1280, script: bool = True, at: str = "") -> None:
        """Open a page afresh, in a colour scheme and a width."""
        told = {"features": [{"name": "prefers-color-scheme", "value": scheme}], "media": ""}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", told)
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get("about:blank")
        self.messages()
        self.requests()
        self.driver.get(page.as_uri() + at)

    def ask(self, script: str, *arguments: Any) -> Any:
        """What a function body returns in the page."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def wait(self, happened: Callable[[], object], seconds: float = 10) -> None:
        """Until something is so."""
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end
            time.sleep(0.02)

    def press(self, *keys: str) -> None:
        """Keys for whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def messages(self) -> list[str]:
        """What the console was told since the last question."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses asked for since the last question."""
        told = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [one["params"]["request"]["url"] for one in told if one["method"] == "Network.requestWillBeSent"]


@pytest.fixture
def browser(chromium: Any) -> Browser:
    """A browser that shows nothing yet."""
    return Browser(chromium)


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's source."""
    here = Path(__file__).with_name("node_modules") / "axe-core" / "axe.min.js"
    file = Path(os.environ.get("ROBUSTEST_AXE", here))
    if not file.is_file():
        pytest.skip("no axe-core: npm install --prefix tests/browser axe-core")
    return file.read_text(encoding="utf-8")


@pytest.fixture
def column() -> Callable[[Browser, int], list[str]]:
    """The texts of the shown rows in a column of the overview."""

    def texts(browser: Browser, number: int) -> list[str]:
        rows = "[...document.querySelectorAll('#overview tr[data-claim].shown')]"
        return list(browser.ask(f"return {rows}.map(row => row.cells[arguments[0]].innerText)", number))

    return texts
