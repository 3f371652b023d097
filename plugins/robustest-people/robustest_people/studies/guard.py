"""What every request passes before a page sees it, and what every answer carries.

Links hold an annotator's key, so pages of other sites must neither learn them nor send forms in an annotator's name.
A name in `Host` that is not this server's may be another site's that points here (DNS rebinding), and a form sent from
elsewhere has another `Origin` (RFC 6454). The policy (Content Security Policy 3) lets a page load nothing but what this
server has.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from robustest.errors import ConfigError, expected

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
    """The names that a server answers to.

    Attributes:
        base: what links begin with.
        hosts: values of `Host`, in lower case.
        origins: values of `Origin` of its own pages.
    """

    base: str
    hosts: frozenset[str]
    origins: frozenset[str]


def address_of(host: str, port: int, public: str | None = None) -> Address:
    """The names of a server that listens at a host and a port.

    Args:
        host: what it listens at.
        port: the port.
        public: what browsers see, such as "https://study.example.org", where a proxy stands before it, or the host is
            every address of this machine.

    Raises:
        ConfigError: the public address has another form, or is needed.
    """
    if public is None and is_every(host):
        raise ConfigError(
            f"Expected --public with --host {host}, so that other names than this server's are refused. "
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
    """Whether only this machine reaches a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_every(host: str) -> bool:
    """Whether a host stands for every address of this machine."""
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
    """An origin, and the same without its scheme's own port, which browsers leave out."""
    yield origin
    scheme = origin.partition(":")[0]
    yield origin.removesuffix(f":{_PORTS[scheme]}")


class Guard:
    """An ASGI application in front of another.

    Args:
        app: what answers.
        address: the names that are answered to.
    """

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
        """The status and the words to refuse a request with; None where it may pass."""
        if _only(scope, b"host") not in self._address.hosts:
            return 421, "This server has another name.\n"
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST":
            return 405, "Only GET and POST are answered.\n"
        if _only(scope, b"origin") not in self._address.origins:
            return 403, "Forms are taken from this server's own pages alone.\n"
        if _only(scope, b"sec-fetch-site") not in (None, "same-origin"):
            return 403, "Forms are taken from this server's own pages alone.\n"
        return None


def _only(scope: Message, name: bytes) -> str | None:
    """The value of a header; None where there is none, and what matches nothing where there are several."""
    values = [value for key, value in scope["headers"] if key == name]
    if not values:
        return None
    return str(values[0].decode("latin-1").lower()) if len(values) == 1 else "\0"
