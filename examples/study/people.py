"""A study from its plan to its answers, with simulated annotators who do what a browser does."""

from __future__ import annotations

import csv
import http.client
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from PIL import Image
from torch import Tensor

ANNOTATORS, EACH = 12, 11
SLIP = 0.04
"""How often a careful annotator chooses a wrong digit."""


ROBUSTEST = [sys.executable, "-m", "robustest.cli", "study"]


def run(*arguments: str) -> None:
    """One action of the command line."""
    subprocess.run([*ROBUSTEST, *arguments], check=True)  # noqa: S603 - ourselves


def make(folder: Path, x: Tensor, y: Tensor, checks: tuple[Tensor, Tensor]) -> Path:
    """Write images and the table of items, and plan the study.

    Args:
        folder: an empty one.
        x: (N, 1, H, W) in [0, 1], the images asked about.
        y: (N,) their labels, which no page shows.
        checks: the same of other images, clear ones: the attention checks.
    """
    with (folder / "items.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("item", "image", "expected"))
        for kind, images, labels in (("", x, y), ("check-", *checks)):
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                name = f"{kind}{number}.png"
                Image.fromarray(image[0].mul(255).byte().numpy()).resize((112, 112)).save(folder / name)
                table.writerow((f"{kind}{number}", name, int(label) if kind else ""))
    new = ("new", str(folder / "study"), "--task", "classify", "--items", str(folder / "items.csv"))
    plan = ("--annotators", str(ANNOTATORS), "--each", str(EACH), "--labels", "0,1,2,3,4,5,6,7,8,9")
    run(*new, *plan)
    return folder / "study"


@contextmanager
def served(study: Path) -> Iterator[str]:
    """The study's address while it is served, to this machine alone."""
    command = [*ROBUSTEST, "serve", str(study), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
    try:
        yield server.stdout.readline().split(" at ")[1].strip()
    finally:
        server.terminate()
        server.wait(30)
        server.stdout.close()


class Page(HTMLParser):
    """What an annotator sees: a form, and for each image its address and the choices."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action, self.token, self.images, self.choices = "", "", [], {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        if tag == "form":
            self.action = about["action"]
        elif tag == "img":
            self.images.append(about["src"])
        elif tag == "input" and about["type"] == "hidden":
            self.token = about["value"]
        elif tag == "input":
            self.choices.setdefault(about["name"], []).append(about["value"])


class Person:
    """An annotator who knows the digits by their pixels, and slips now and then, or does not look at all."""

    def __init__(self, base: str, link: str, known: dict[bytes, int], *, careful: bool, seed: int) -> None:
        self.base, self.link, self.known, self.careful = base, link, known, careful
        self.line = http.client.HTTPConnection(urlsplit(base).netloc, timeout=30)
        self.random = random.Random(seed)  # noqa: S311 - slips, no secrets

    def fetch(self, method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, bytes]:
        headers = {"Origin": self.base, "Content-Type": "application/x-www-form-urlencoded"} if fields else {}
        self.line.request(method, path, urlencode(fields) if fields else None, headers)
        answer = self.line.getresponse()
        return answer.status, answer.read()

    def answer_all(self) -> int:
        """Answer pages until none is left; how many there were."""
        for pages in range(1000):
            page = Page(self.fetch("GET", self.link)[1].decode())
            if not page.action:
                self.line.close()
                return pages
            chosen = {name: self.choose(image) for name, image in zip(page.choices, page.images, strict=True)}
            status, _ = self.fetch("POST", page.action, {"token": page.token, **chosen})
            assert status == 303, status
        raise AssertionError("pages do not end")

    def choose(self, image: str) -> str:
        label = self.known[self.fetch("GET", image)[1]]
        return str(label) if self.careful and self.random.random() > SLIP else str(self.random.randrange(10))


def answers(folder: Path, x: Tensor, y: Tensor, checks: tuple[Tensor, Tensor]) -> Path:
    """A table of answers: the study made, served, answered by all annotators, and exported.

    Args:
        folder, x, y, checks: as for `make`.
    """
    study = make(folder, x, y, checks)
    known = {(study / "images" / f"{n}.png").read_bytes(): label for n, label in labels_by_number(study, y, checks[1])}
    with served(study) as base, (study / "links.csv").open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            link = urlsplit(row["link"]).path
            Person(base, link, known, careful=number > 0, seed=number).answer_all()
    run("export", str(study), "-o", str(folder / "answers.csv"))
    return folder / "answers.csv"


def labels_by_number(study: Path, y: Tensor, checks: Tensor) -> Iterator[tuple[int, int]]:
    """The numbers of the study's images, with their labels."""
    from robustest_people.studies import open_study

    planned = open_study(study)
    return zip(planned.numbers, [*y.tolist(), *checks.tolist()], strict=True)
