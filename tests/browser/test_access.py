"""The HTML report for everybody: contrast by the arithmetic of WCAG 2.2, and axe-core's rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium drives the browser")
pytest.importorskip("jinja2", reason="the HTML report is an extra")

CONTRAST = """
const channel = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parse = text => {
  const mixed = text.match(/color\\(srgb ([^)]*)\\)/);
  if (mixed) {
    const [r, g, b, a = 1] = mixed[1].split(/[ \\/]+/).map(Number);
    return [255 * r, 255 * g, 255 * b, a];
  }
  const found = text.match(/rgba?\\(([^)]*)\\)/);
  if (!found) return null;
  const parts = found[1].split(/[ ,\\/]+/).map(Number);
  return parts.length > 3 ? parts : [...parts, 1];
};
const over = (front, back) => front.slice(0, 3).map((v, k) => v * front[3] + back[k] * (1 - front[3]));
const behind = element => {
  const layers = [];
  for (let e = element; e; e = e.parentElement) {
    const colour = parse(getComputedStyle(e).backgroundColor);
    if (colour && colour[3] > 0) layers.push(colour);
    if (colour && colour[3] === 1) break;
  }
  return layers.reverse().reduce((back, front) => over(front, back), [255, 255, 255]);
};
const ratio = (a, b) => {
  const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
};
const poor = [];
let count = 0;
const judge = (element, text, colour, least) => {
  const back = behind(element);
  const opacity = Number(getComputedStyle(element).opacity);
  const found = ratio(over([...colour.slice(0, 3), colour[3] * opacity], back), back);
  count += 1;
  const name = `${element.tagName}.${element.getAttribute('class')}`;
  if (found < least) poor.push(`${found.toFixed(2)} < ${least}: ${name} ${text}`);
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, element = node.parentElement;
  if (!node.data.trim() || ['SCRIPT', 'STYLE', 'TITLE', 'title'].includes(element.tagName)) continue;
  if (!element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const drawn = element instanceof SVGElement;
  const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  judge(element, node.data.trim().slice(0, 30), parse(drawn ? style.fill : style.color), large ? 3 : 4.5);
}
const drawings = '.scale .interval, .scale .threshold, .mark .interval, .mark .cross, .plot .line';
for (const part of document.querySelectorAll(drawings)) {
  if (part.checkVisibility()) judge(part, 'drawing', parse(getComputedStyle(part).stroke), 3);
}
return [count, poor];
"""


# Schemes are colours and widths are layout: each of the two with one of the other, on a full page and on a large one.
PAGES = [("full", "light", 390), ("full", "dark", 1280), ("large", "light", 1280), ("large", "dark", 390)]


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Path:
    """A page by the name of its fixture."""
    path: Path = request.getfixturevalue(request.param)
    return path


def prepare(browser: Any, page: Path, scheme: str, width: int) -> None:
    browser.open(page, scheme=scheme, width=width)
    browser.ask("document.querySelectorAll('.unfold').forEach(button => button.click())")
    browser.one("[data-fold=open]").click()
    browser.ask("document.querySelectorAll('details').forEach(d => { d.open = true; })")


@pytest.mark.parametrize(("page", "scheme", "width"), PAGES, indirect=["page"])
def test_every_text_and_every_mark_stands_out(browser: Any, page: Path, scheme: str, width: int) -> None:
    prepare(browser, page, scheme, width)
    count, poor = browser.ask(CONTRAST)
    assert count > 300
    assert poor == []
    for chip in browser.all(".chip"):
        chip.click()  # a pressed chip has colours of its own
    assert browser.ask(CONTRAST)[1] == []
    background = browser.ask("return getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(246, 247, 249)", "dark": "rgb(16, 20, 24)"}[scheme]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_and_every_card_of_a_notebook_stands_out(
    browser: Any, states: Path, cards: list[Path], scheme: str
) -> None:
    for page in (states, *cards):
        browser.open(page, scheme=scheme, width=390)
        browser.ask("document.querySelectorAll('[data-fold=open]').forEach(button => button.click())")
        browser.ask("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        count, poor = browser.ask(CONTRAST)
        assert count > 15
        assert poor == []
        assert browser.ask("return document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [390, 1280])
def test_a_card_is_as_high_as_its_content(browser: Any, notebook: Path, width: int) -> None:
    browser.open(notebook, width=width)
    sizes = "[frame.clientHeight, frame.contentDocument.body.offsetHeight, frame.contentDocument.body.scrollWidth]"
    heights = browser.ask(f"return [...document.querySelectorAll('iframe')].map(frame => {sizes})")
    assert len(heights) == 2
    assert all(inside - 1 <= frame <= inside + 1 and wide <= width for frame, inside, wide in heights), heights
    assert heights[0][0] > 1.5 * heights[1][0]


def test_the_arithmetic_finds_poor_contrast(browser: Any, full: Path) -> None:
    browser.open(full)
    browser.ask(
        "document.querySelector('h1').style.color = '#999'; document.querySelector('.brand').style.opacity = 0.5"
    )
    _, poor = browser.ask(CONTRAST)
    assert [line.split(":")[1].split(".")[0].strip() for line in poor] == ["P", "H1"]


@pytest.mark.parametrize(("page", "scheme", "width"), PAGES, indirect=["page"])
def test_axe_finds_nothing(browser: Any, page: Path, axe: str, scheme: str, width: int) -> None:
    browser.open(page, scheme=scheme, width=width)
    if "large" not in str(page):
        prepare(browser, page, scheme, width)
    browser.ask("document.querySelector('.what a').click()")
    browser.ask(axe)
    found = browser.driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert len(found["passes"]) > 20
    violations = [
        (rule["id"], rule["impact"], [node["html"][:200] for node in rule["nodes"]][:5]) for rule in found["violations"]
    ]
    assert violations == []
