"""Small studies, a browser without a window for them, and a server in a process of its own."""

from __future__ import annotations

import asyncio
import csv
import http.client
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from PIL import Image
from robustest_people.studies import Item, Study, create

HOST = "127.0.0.1:8000"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Form(HTMLParser):
    """The form of a page, and the images on it."""

    action: str = ""
    hidden: dict[str, str] = field(default_factory=dict)
    boxes: list[str] = field(default_factory=list)
    radios: dict[str, list[str]] = field(default_factory=dict)
    checked: dict[str, str] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self.tags.append((tag, about))
        name, value = str(about.get("name")), str(about.get("value", "on"))
        if tag == "form":
            self.action = str(about["action"])
        elif tag == "img":
            self.images.append(str(about["src"]))
        elif tag == "input":
            if about["type"] == "hidden":
                self.hidden[name] = value
            elif about["type"] == "checkbox":
                self.boxes.append(name)
            else:
                self.radios.setdefault(name, []).append(value)
            if "checked" in about:
                self.checked[name] = value


def form_of(answer: Answer) -> Form:
    """The form on a page."""
    found = Form()
    found.feed(answer.text)
    return found


class Visitor:
    """Asks an application, as a browser at the server's own address does."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def fetch(
        self, method: str, path: str, body: bytes = b"", headers: list[tuple[str, str]] | None = None
    ) -> Answer:
        """One request; further headers come after those that every browser sends."""
        given = headers if headers is not None else self.usual(method)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given],
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50_000),
        }
        parts = [body[k : k + 65_536] for k in range(0, len(body), 65_536)] or [b""]
        told: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if not parts:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: dict[str, Any]) -> None:
            told.append(message)

        await self.app(scope, receive, send)
        start, *rest = told
        names = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], names, b"".join(part.get("body", b"") for part in rest))

    @staticmethod
    def usual(method: str) -> list[tuple[str, str]]:
        """The headers that matter."""
        if method != "POST":
            return [("host", HOST)]
        return [("host", HOST), ("origin", f"http://{HOST}"), ("content-type", FORM)]

    def ask(self, *arguments: Any, **named: Any) -> Answer:
        """The same, and wait."""
        return asyncio.run(self.fetch(*arguments, **named))

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        return self.ask("POST", path, urlencode(fields).encode())

    def send_page(self, link: str, fields: Mapping[str, str]) -> Answer:
        """Fill in the page that waits behind a link, and send it."""
        form = form_of(self.get(link))
        return self.post(form.action, {**form.hidden, **fields})


def picture(path: Path, seed: int, size: tuple[int, int] = (8, 8)) -> None:
    """An image of noise."""
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of thirty images."""
    for number in range(30):
        picture(tmp_path / "files" / f"{number}.png", number)
    return tmp_path / "files"


def items_of(task: str, items: int = 20, checks: int = 6) -> list[Item]:
    """Items that ask about two labels, and checks among them."""
    made = []
    for number in range(items + checks):
        check = number >= items
        asked = ("cat", "dog")[number % 2]
        expected = ("no" if number % 3 else "yes") if task == "contains" else asked
        made.append(
            Item(
                item=f"check {number}" if check else str(number),
                image=f"{number}.png",
                asked=asked if task == "contains" else "",
                truth="" if task == "contains" or check else asked,
                expected=expected if check else "",
            )
        )
    return made


@pytest.fixture
def study(tmp_path: Path, files: Path) -> Callable[..., Study]:
    """Makes a study of 20 items and 6 checks: `study("contains", annotators=4, each=2, page=6)`."""

    def make(task: str = "contains", *, annotators: int = 4, name: str = "study", **changes: Any) -> Study:
        values = {"each": 2, "page": 6, "checks": 3, "labels": () if task == "contains" else ("cat", "dog")}
        return create(
            tmp_path / name,
            changes.pop("items", items_of(task)),
            task=task,
            files=files,
            annotators=[f"person {n}" for n in range(annotators)],
            **{**values, **changes},
        )

    return make


@pytest.fixture
def visit() -> Iterator[Callable[[Study], Visitor]]:
    """Serves a study to a visitor in this process."""
    pytest.importorskip("starlette", reason="studies are served by the extra `study`")
    pytest.importorskip("uvicorn", reason="studies are served by the extra `study`")
    pytest.importorskip("jinja2", reason="studies are served by the extra `study`")
    from robustest_people.studies.app import make_app
    from robustest_people.studies.desk import Desk
    from robustest_people.studies.serve import Pages, address_of, open_journal

    opened = []

    def make(study: Study) -> Visitor:
        opened.append(open_journal(study))
        address = address_of("127.0.0.1", 8000)
        return Visitor(make_app(Desk(study, opened[-1]), Pages(study), study.folder / "images", address))

    yield make
    for journal in opened:
        journal.close()


class Served:
    """`robustest study serve` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "robustest.cli", "study", "serve", str(folder), "--port", "0"]
        self.log = folder.parent / "serve.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - ourselves
                command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert " at http://" in said, said + self.log.read_text()
        self.base = said.split(" at ")[1].strip()
        self.host, self.port = str(urlsplit(self.base).hostname), int(urlsplit(self.base).port or 0)
        with (folder / "links.csv").open(encoding="utf-8", newline="") as file:
            self.links = {row["annotator"]: urlsplit(row["link"]).path for row in csv.DictReader(file)}

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=20)

    def ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, fields: Mapping[str, str] | None = None
    ) -> Answer:
        """One request of a browser."""
        headers = {} if fields is None else {"origin": self.base, "content-type": FORM}
        connection.request(method, path, None if fields is None else urlencode(fields), headers)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def end(self, *, kill: bool = False) -> int:
        """End the process."""
        (self.process.kill if kill else self.process.terminate)()
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Served]]:
    """Starts servers; they end with the test."""
    for name in ("starlette", "uvicorn", "jinja2"):
        pytest.importorskip(name, reason="studies are served by the extra `study`")
    started: list[Served] = []

    def start(folder: Path) -> Served:
        started.append(Served(folder))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.end(kill=True)
        served.process.stdout.close()  # type: ignore[union-attr]


@pytest.fixture
def read_form() -> Callable[[Answer], Form]:
    """The form on a page."""
    return form_of


@pytest.fixture
def draw() -> Callable[..., None]:
    """Writes an image of noise: `draw(path, seed, (width, height))`."""
    return picture


@pytest.fixture
def make_items() -> Callable[..., list[Item]]:
    """Items and checks: `make_items("contains", items=20, checks=6)`."""
    return items_of
