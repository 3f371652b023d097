"""The server of a study (uvicorn, local to this machine by default), its pages, and a guard that checks requests."""

from __future__ import annotations

import csv
import io
import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from robustest.errors import ConfigError, expected
from robustest_people.studies.desk import Desk, Place
from robustest_people.studies.journal import Journal
from robustest_people.studies.study import LABEL, Study, Task, open_study, shown_label, write_private

JOURNAL = "journal.sqlite"
LINKS = "links.csv"


def open_journal(study: Study) -> Journal:
    """Return the journal of a study.

    Raises:
        StoreError: the journal is damaged, or of another study.
    """
    return Journal(study.folder / JOURNAL, study.digest)


def serve(folder: Path, *, host: str, port: int, public: str | None, tell: Callable[[Study, Address], None]) -> None:
    """Serve a study until the process is stopped.

    Args:
        port: 0 takes a free one.
        public: the address that browsers use, if it differs from host and port.
        tell: called with the study and its address once requests are taken.

    Raises:
        ConfigError: the extra `study` is not installed, or addresses do not fit together.
        StoreError: study or journal are missing or damaged.
        OSError: the server cannot listen there.
    """
    try:
        import uvicorn

        from robustest_people.studies.app import make_app
    except ModuleNotFoundError as error:
        raise extra_missing(error) from error
    address_of(host, port or 1, public)  # before anything is opened
    study = open_study(folder)
    pages = Pages(study)
    journal = open_journal(study)
    try:
        with listen(host, port) as listening:
            address = address_of(host, listening.getsockname()[1], public)
            app = make_app(Desk(study, journal), pages, folder / "images", address)
            _write_links(study, address)
            tell(study, address)
            # h11 limits the size of a request's head; headers of proxies are not trusted.
            config = uvicorn.Config(
                app, http="h11", ws="none", lifespan="off", log_level="warning", access_log=False, server_header=False,
                proxy_headers=False, timeout_keep_alive=30, timeout_graceful_shutdown=10, limit_concurrency=1000,
                h11_max_incomplete_event_size=32_768,
            )  # fmt: skip
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        journal.close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at a host and a port; 0 takes a free port.

    Raises:
        ConfigError: there is no such port.
        OSError: the server cannot listen there.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"Expected a port in 0..65535 but got {port}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the socket names its protocol, which that of `socket.create_server` does not.
    # Without it, the head and the body of an answer arrive 40 ms apart.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(512)
    except BaseException:
        listening.close()
        raise
    return listening


def _write_links(study: Study, address: Address) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("annotator", "link"))
    for name, link in zip(study.annotators, study.keys.links, strict=True):
        writer.writerow((name, f"{address.base}/a/{link}"))
    write_private(study.folder / LINKS, text.getvalue())


# Pages: Jinja2 templates that work without a script.


STATIC = {"study.css": "text/css", "keys.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""Files that pages load, with their types."""


def extra_missing(error: ModuleNotFoundError) -> ConfigError:
    """Return the error for the missing extra `study`."""
    return ConfigError(
        f"Expected Starlette, uvicorn and Jinja2 to serve a study but {error.name} is not installed. "
        "Install them: pip install 'robustest-people[study]'"
    )


def static(name: str) -> bytes:
    """Return a file that pages load."""
    return files("robustest_people.studies").joinpath("templates", name).read_bytes()


class Pages:
    """Renders the pages of a study.

    Raises:
        ConfigError: Jinja2 is not installed.
    """

    def __init__(self, study: Study) -> None:
        try:
            import jinja2
        except ModuleNotFoundError as error:
            raise extra_missing(error) from error
        self._study = study
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("robustest_people.studies"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {"title": study.title, "about": study.about}

    def task(
        self,
        place: Place,
        page: int,
        entries: tuple[int, ...],
        *,
        token: str,
        problem: str = "",
        given: Mapping[str, str] | None = None,
    ) -> str:
        """Return a page of questions, with a message about missing answers, and the answers already sent, if any."""
        return self._render(
            f"{'boxes' if self._study.task is Task.CONTAINS else 'choices'}.html",
            place=place,
            page=page,
            groups=self._groups(entries),
            question=self._study.question.partition(LABEL),
            token=token,
            problem=problem,
            given=given or {},
        )

    def _groups(self, entries: tuple[int, ...]) -> list[dict[str, Any]]:
        # Nothing here may mark an attention check: annotators can read the page's source.
        study = self._study
        fields = [
            {
                "name": f"a{number}",
                "number": number,
                "image": study.numbers[entry],
                "choices": study.choices(entry),
                "asked": shown_label(study.items[entry], study.question),
            }
            for number, entry in enumerate(entries, 1)
        ]
        return [
            {"asked": asked, "fields": list(own)} for asked, own in groupby(fields, key=lambda field: field["asked"])
        ]

    def done(self, place: Place) -> str:
        return self._render("done.html", place=place)

    def stop(self, place: Place, *, token: str) -> str:
        return self._render("stop.html", place=place, token=token)

    def problem(self, message: str, *, link: str = "") -> str:
        return self._render("problem.html", message=message, link=link)

    def _render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values)


# The guard: checks of every request, headers of every answer. A link holds an annotator's key, so pages of other
# sites must neither learn it nor send forms with it. A foreign name in `Host` may be DNS rebinding; a form sent from
# elsewhere has another `Origin` (RFC 6454); the policy (Content Security Policy 3) lets a page load from this server
# alone.


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # without a referrer, browsers name no origin of a form either
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-robots-tag", b"noindex, nofollow"),
]
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """The names that a server answers to."""

    base: str  # start of all links
    hosts: frozenset[str]  # values of `Host`, in lower case
    origins: frozenset[str]  # values of `Origin` of the server's pages


def address_of(host: str, port: int, public: str | None = None) -> Address:
    """Return the names of a server that listens at a host and a port.

    Args:
        public: the address that browsers see; needed behind a proxy, or if the host is every address of this machine.

    Raises:
        ConfigError: the public address is malformed, or missing.
    """
    if public is None and is_every(host):
        raise ConfigError(
            f"Expected --public with --host {host}, so that requests for other names are refused, but got none. "
            "Give the address that annotators see: --public http://NAME:PORT"
        )
    named = [f"http://{_bracketed(host)}:{port}"]
    if is_loopback(host):
        named += [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    if public is not None:
        named.insert(0, _checked(public))
    origins = {short for name in named for short in _shortened(name)}
    hosts = frozenset(origin.partition("://")[2] for origin in origins)
    return Address(named[0], hosts, frozenset(origins))


def is_loopback(host: str) -> bool:
    """Return True for a host that only this machine reaches."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_every(host: str) -> bool:
    """Return True for a host that stands for every address of this machine."""
    try:
        return not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _checked(public: str) -> str:
    try:
        parts = urlsplit(public.rstrip("/").lower())
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in _PORTS or not parts.hostname or parts.path or parts.query or parts.fragment or "@" in public:
        raise ConfigError(expected("a public address such as https://study.example.org", public))
    return f"{parts.scheme}://{parts.netloc}"


def _shortened(origin: str) -> Iterable[str]:
    # Browsers leave out the default port of a scheme.
    yield origin
    scheme = origin.partition(":")[0]
    yield origin.removesuffix(f":{_PORTS[scheme]}")


class Guard:
    """An ASGI application that checks requests before another one answers."""

    def __init__(self, app: App, address: Address) -> None:
        self._app, self._address = app, address

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no lifespan is needed, and no web socket is answered

        async def carry(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        refused = self._refused(scope)
        if refused is None:
            await self._app(scope, receive, carry)
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await carry({"type": "http.response.start", "status": refused[0], "headers": headers})
        await carry({"type": "http.response.body", "body": refused[1].encode()})

    def _refused(self, scope: Message) -> tuple[int, str] | None:
        if _only(scope, b"host") not in self._address.hosts:
            return 421, "This server has another name: use the link that you were given.\n"
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST":
            return 405, "Only GET and POST are answered.\n"
        # Browsers name the origin of a form; old ones leave out `Sec-Fetch-Site`.
        if _only(scope, b"origin") not in self._address.origins:
            return 403, "Only forms of this server's pages are accepted: open the link again.\n"
        if _only(scope, b"sec-fetch-site") not in (None, "same-origin"):
            return 403, "Only forms of this server's pages are accepted: open the link again.\n"
        return None


def _only(scope: Message, name: bytes) -> str | None:
    """Return the value of a header; None if absent, a value that matches nothing if repeated."""
    values = [value for key, value in scope["headers"] if key == name]
    if not values:
        return None
    return str(values[0].decode("latin-1").lower()) if len(values) == 1 else "\0"
