"""One address: batches sent concurrently, each retried while that may help, and answers in order."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import SystemRandom
from typing import Any, TypedDict
from urllib.parse import urlsplit, urlunsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from robustest import clock
from robustest.errors import ConfigError, ModelError, RobustestError, TryAgain, expected
from robustest_http.binary_tensors import JSON_SIZE, unpacked
from robustest_http.cassette import Cassette, Taken, digest_of
from robustest_http.certificates import checked_pins, pinned
from robustest_http.credentials import HeaderFromEnv, Secrets, checked_headers
from robustest_http.delivery import Delivery
from robustest_http.pace import Pace

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Multipart:
    """The body of a request as a form with files (RFC 7578), as servers take uploads; return it from `encode`.

    Attributes:
        files: contents by the name of their field: bytes or a text, or a list of several under one name.
        fields: further fields of the form, as texts.
        filename: name of each file; its ending is the type that servers go by.
    """

    files: Mapping[str, bytes | str | Sequence[bytes | str]]
    fields: Mapping[str, str] = field(default_factory=dict)
    filename: str = "file.bin"

    def encoded(self) -> tuple[bytes, dict[str, str]]:
        """Return the content of the request and its headers."""
        parts = [
            (name, (self.filename, one.encode() if isinstance(one, str) else bytes(one)))
            for name, held in self.files.items()
            for one in ([held] if isinstance(held, (bytes, str)) else held)
        ]
        # httpx draws a boundary, and a recorded request must be the same as the next one.
        named = [text for name, (filename, content) in parts for text in (name, filename, content)]
        fields = [text for field in self.fields.items() for text in field]
        headers = {"Content-Type": f"multipart/form-data; boundary={digest_of(*named, *fields)[:32]}"}
        # httpx knows how to write forms; the address is not used.
        request = httpx.Request("POST", "http://localhost", files=parts, data=dict(self.fields), headers=headers)
        return request.read(), headers


@dataclass(frozen=True, slots=True)
class Raw:
    """The body of a request that is sent as it is."""

    content: bytes
    kind: str  # its type, such as text/plain
    # Number of bytes of its JSON, which tensors in binary follow (`binary_tensors`); None if there are none.
    json_size: int | None = None

    def encoded(self) -> tuple[bytes, dict[str, str]]:
        """Return the content of the request and its headers."""
        return self.content, {"Content-Type": self.kind} | (
            {} if self.json_size is None else {JSON_SIZE: str(self.json_size)}
        )


_LOG = logging.getLogger(__name__)

# Statuses below 500 that ask to be tried again (RFC 9110, section 15; RFC 6585, section 4; RFC 8470).
_AGAIN = frozenset({408, 425, 429})
_LARGEST_REPLY = 1 << 28
# Largest number of seconds that a server may ask to wait.
_PATIENCE = 60.0
# Characters of a reply that a message shows.
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Trouble:
    """Reason why a request got no usable answer."""

    what: str  # in words, without secrets
    again: bool  # True if a retry may help
    after: float = 0.0  # seconds that the server asked to wait
    status: int | None = None  # status of the reply, if one came


class _TooLarge(Exception):
    """A server refused a request of several samples as too large (status 413)."""


@dataclass(frozen=True, slots=True)
class _Sent:
    method: str
    path: str
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)  # of the content


class Access(TypedDict, total=False):
    """Arguments of every model and function: how a server is reached."""

    # A name that changes with what is deployed; with it, what was measured or answered is remembered.
    version: str | None
    # Fixed headers without secrets, such as {"X-Tenant": "eu"}. They count as part of the model.
    headers: Mapping[str, str] | None
    # Headers with secrets of the environment: one, or a list.
    auth: HeaderFromEnv | Sequence[HeaderFromEnv] | None
    # SHA-256 of the server's certificate, or of the public key in it, as 64 hex digits: one of them must fit.
    pins: Sequence[str] | None
    # A file to record the server's replies in, or to replay them from without the server.
    cassette: Cassette | None


class Connection(Access, total=False):
    """Arguments of every model: how a server is reached, and how requests are sent."""

    delivery: Delivery | None  # None for the defaults of `Delivery`


class Endpoint:
    """Connection to one server; safe to use from several threads."""

    # Slots, so that copies of a model, which health checks make, share it with its pace, budget and cassette.
    __slots__ = (
        "__weakref__",
        "_answered",
        "_batch_size",
        "_cassette",
        "_clients",
        "_delivery",
        "_headers",
        "_lock",
        "_pace",
        "_pins",
        "_random",
        "_replays",
        "_secrets",
        "url",
        "version",
    )

    def __init__(
        self,
        url: str,
        *,
        version: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: HeaderFromEnv | Sequence[HeaderFromEnv] | None = None,
        pins: Sequence[str] | None = None,
        cassette: Cassette | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        """Check an address and the arguments of a `Connection`; nothing is sent.

        Raises:
            ConfigError: it is no address, or has a password, or an argument is of a wrong type.
        """
        self.url = _checked(url)
        if version is not None and (not isinstance(version, str) or not version):
            raise ConfigError(expected("version to be a text that names what is deployed, or None", version))
        self._secrets = Secrets(auth)
        self._headers = checked_headers(headers, self._secrets)
        delivery = Delivery() if delivery is None else delivery
        if not isinstance(delivery, Delivery):
            raise ConfigError(expected("delivery to be a Delivery", delivery))
        self._pins = checked_pins(pins, self.url)
        if cassette is not None and not isinstance(cassette, Cassette):
            raise ConfigError(expected("cassette to be a Cassette", cassette))
        self._cassette = cassette
        self._replays = cassette is not None and not cassette.records
        # User's name for the deployed model; None if nothing may be remembered of it.
        self.version = version
        self._delivery = delivery
        # Samples in a request: fewer than the delivery's once the server refused so many.
        self._batch_size = delivery.batch_size
        self._pace = Pace(delivery.rate, delivery.budget)
        self._random = SystemRandom()
        self._clients: dict[int, httpx.Client] = {}
        self._lock = threading.Lock()
        self._answered = False

    def robustest_fingerprint(self) -> str:
        """Return address, version, fixed headers and cassette; raise ConfigError without a version or cassette."""
        cassette = "" if self._cassette is None else f" {self._cassette.robustest_fingerprint()}"
        if self.version is None and not cassette:
            raise ConfigError(
                f"Expected version=, a name for what is deployed at {shown(self.url)}, to remember what was measured "
                "of it but got None"
            )
        # Weights behind an address cannot be read, so only the user's version shows that the model changed.
        headers = f" {sorted(self._headers.items())}" if self._headers else ""
        return f"{self.url} {self.version}{headers}{cassette}"

    def predict(
        self,
        x: Any,
        path: str,
        body: Callable[[Any], object],
        read: Callable[[Any, int], Array],
        *,
        single: bool = False,
    ) -> Array:
        """Return answers (B, ...) to samples (B, *S), or to a list of texts or bytes, in their order.

        Args:
            x: the samples.
            path: path after the address.
            body: function from samples to the JSON of a request, or to its `Multipart` or `Raw`.
            read: function from the JSON of a reply and the number of samples to answers; it raises `ModelError` for an
                invalid reply.
            single: True if a request has one sample, whatever the delivery says.

        Raises:
            ConfigError: the secret is not in the environment.
            ModelError: no answer came, or an invalid one; or the budget is spent.
        """
        stop = threading.Event()
        size, end = 1 if single else self._batch_size, _end()
        parts = [x[start : start + size] for start in range(0, len(x), size)]

        def sent(part: Any) -> _Sent:
            made = body(part)
            content = made.encoded() if isinstance(made, (Multipart, Raw)) else as_json(made)
            return _Sent("POST", path, *content)

        def digests(part: Any) -> list[str]:
            """Return the digests of the requests that would ask about one sample each."""
            return [self._digest(sent(part[place : place + 1])) for place in range(len(part))]

        if self._replays:
            return self._replayed(digests(x), path, read)

        def ask(part: Any) -> Array:
            size = self._batch_size  # read once: other threads, and the first of these two requests, may lower it
            if len(part) > size:
                return np.concatenate([ask(part[:size]), ask(part[size:])])
            asked = [] if self._cassette is None else digests(part)
            try:
                reply = self._reply(sent(part), len(part), stop=stop, end=end, asked=asked)
            except _TooLarge:
                self._learn(len(part))
                return ask(part)
            answer = read(reply, len(part))
            self._answered = True
            return answer

        with nullcontext() if self._delivery.purse is None else self._delivery.purse.open():
            return np.concatenate(_at_once(ask, parts, self._delivery.concurrency, stop))

    def post_once(self, content: bytes, headers: Mapping[str, str]) -> Any:
        """Return the JSON of the reply to one request, at the pace of the delivery.

        Raises:
            TryAgain: no answer came, and one may come later.
            ModelError: the server refused.
            ConfigError: the secret is not in the environment.
        """
        sent = _Sent("POST", "", content, headers)
        if self._replays:
            found = self._recalled(sent)
        else:
            self._secrets.check()
            end = _end()
            self._pace.turn(1, threading.Event(), end)
            found = self._once(sent, end)
            if isinstance(found, Trouble) and time.monotonic() > end:
                raise clock.OutOfTime
            self._keep(found, [] if self._cassette is None else [self._digest(sent)])
        if not isinstance(found, Trouble):
            self._answered = True
            return found
        message = f"Expected an answer to POST {shown(self.url)} but got {found.what}"
        raise TryAgain(message, found.after) if found.again else ModelError(message)

    def get(self, path: str) -> Any:
        sent = _Sent("GET", path)
        if self._replays:
            found = self._recalled(sent)
            if isinstance(found, Trouble):
                raise ModelError(found.what)
            return found
        asked = [] if self._cassette is None else [self._digest(sent)]
        return self._reply(sent, 0, stop=threading.Event(), end=_end(), asked=asked)

    def fault(self, path: str, what: str) -> ModelError:
        return ModelError(self._secrets.hide(f"Expected {shown(self.url + path)} to give {what}"))

    def _learn(self, refused: int) -> None:
        """Halve the number of samples in a request, after the server refused `refused` >= 2 of them as too large."""
        with self._lock:
            if refused // 2 >= self._batch_size:  # another request was refused before
                return
            self._batch_size = refused // 2
        _LOG.warning(
            "%s refuses requests of %d samples as too large: requests have %d from now on. Delivery(batch_size=%d) "
            "spares the refusals.",
            *(shown(self.url), refused, refused // 2, refused // 2),
        )

    def _digest(self, sent: _Sent) -> str:
        """Return the digest of a request, with all that its answer depends on but its secrets."""
        headers = sorted({**self._headers, **sent.headers}.items())
        return digest_of(sent.method, self.url + sent.path, json.dumps(headers), sent.content)

    def _keep(self, found: Any, asked: Sequence[str]) -> None:
        """Record a reply or a failure, if there is a cassette."""
        if self._cassette is None:
            return
        if isinstance(found, Trouble):
            self._cassette.add(asked, Taken(None, len(asked), found.what, found.again))
        else:
            self._cassette.add(asked, Taken(found, len(asked)))

    def _recalled(self, sent: _Sent) -> Any:
        """Return the recorded reply to a request, or its `Trouble`."""
        assert self._cassette is not None  # noqa: S101 - callers have looked
        taken, _ = self._cassette.take(self._digest(sent), f"{sent.method} {shown(self.url + sent.path)}")
        return taken.reply if taken.failure is None else Trouble(taken.failure, again=taken.again)

    def _replayed(self, asked: Sequence[str], path: str, read: Callable[[Any, int], Array]) -> Array:
        """Return the recorded answers (B, ...) to samples with these digests."""
        assert self._cassette is not None  # noqa: S101 - callers have looked
        decoded: dict[int, Array] = {}  # by the identity of the reply: several samples have one
        rows = []
        for digest in asked:
            taken, row = self._cassette.take(digest, f"POST {shown(self.url + path)}")
            if taken.failure is not None:
                raise ModelError(taken.failure)
            if id(taken) not in decoded:
                decoded[id(taken)] = read(taken.reply, taken.of)
            rows.append(decoded[id(taken)][row])
        return np.stack(rows)

    def _reply(self, sent: _Sent, samples: int, *, stop: threading.Event, end: float, asked: Sequence[str]) -> Any:
        self._secrets.check()
        tries = 0
        while self._pace.turn(samples, stop, end):
            tries += 1
            found = self._paid(sent, samples, stop, end)
            if not isinstance(found, Trouble):
                self._keep(found, asked)
                return found
            if time.monotonic() > end:
                raise clock.OutOfTime
            if found.status == httpx.codes.REQUEST_ENTITY_TOO_LARGE and samples > 1:
                raise _TooLarge
            if not found.again or tries > self._delivery.retries:
                remedy = ""
                if found.status == httpx.codes.REQUEST_ENTITY_TOO_LARGE and samples:
                    remedy = " One sample is too large for it, so that no Delivery(batch_size=) helps: raise its limit."
                message = (
                    f"Expected an answer to {sent.method} {shown(self.url + sent.path)} but got {found.what} "
                    f"(try {tries} of {self._delivery.retries + 1}).{remedy}"
                )
                self._keep(Trouble(message, again=False), asked)
                raise ModelError(message)
            # Between half of the time and all of it, so that requests which failed together do not return together.
            pause = max(found.after, self._delivery.wait(tries) * (0.5 + 0.5 * self._random.random()))
            stop.wait(min(pause, max(0.0, end - time.monotonic())))
        raise ModelError("called off: another request failed")

    def _paid(self, sent: _Sent, samples: int, stop: threading.Event, end: float) -> Any:
        """Return the reply to a request, or its `Trouble`, and count it in the purse, if there is one.

        Raises:
            OutOfTime: the purse is spent, or the time is up.
        """
        purse = self._delivery.purse
        if purse is None or not samples:  # metadata is free
            return self._once(sent, end)
        while not purse.begin():  # until the costs of the requests under way are known
            if stop.wait(0.002):
                return Trouble("called off: another request failed", again=False)
            if time.monotonic() > end:
                raise clock.OutOfTime
        money = 0.0
        try:
            found = self._once(sent, end)
            if not isinstance(found, Trouble):
                money = self._cost(found, samples)
            return found
        finally:
            purse.end(money, 0.0)

    def _cost(self, reply: Any, samples: int) -> float:
        """Return what `Delivery.cost` says of a reply; raise ConfigError if it is no amount."""
        if self._delivery.cost is None:
            return 0.0
        try:
            money = self._delivery.cost(reply, samples)
        except Exception as error:
            raise ConfigError(
                f"Expected cost to price a reply to {samples} samples but it raised {error!r}."
            ) from error
        if isinstance(money, bool) or not isinstance(money, (int, float)) or not 0 <= money < math.inf:
            raise ConfigError(expected("cost to give an amount >= 0", money))
        return float(money)

    def _once(self, sent: _Sent, end: float) -> Any:
        now = time.monotonic()
        deadline = min(now + self._delivery.timeout, end)
        timeout = max(0.001, deadline - now)
        headers = {**self._headers, **sent.headers}
        try:
            with self._client().stream(
                sent.method, self.url + sent.path, content=sent.content, headers=headers, timeout=timeout
            ) as response:
                text = _read(response, deadline)
        except TimeoutError as error:
            return Trouble(str(error), again=True)
        except Exception as error:  # none of httpx's own leaves here: frames inside it hold the headers
            what = self._secrets.hide(" ".join(str(error).split()))
            again = isinstance(error, (httpx.TransportError, httpx.DecodingError, OSError))
            return Trouble(f"{type(error).__name__}: {what}"[:_SHOWN], again=again)
        excerpt = self._secrets.hide(" ".join(text.decode(errors="replace").split()))[:_SHOWN]
        if response.status_code != 200:
            again = response.status_code >= 500 or response.status_code in _AGAIN
            # A server that is starting does not know its models yet.
            again = again or (response.status_code == 404 and self._answered)
            what = f"status {response.status_code}: {excerpt}"
            return Trouble(what, again=again, after=_asked_to_wait(response), status=response.status_code)
        json_size = response.headers.get(JSON_SIZE, "")
        try:
            if not (json_size.isascii() and json_size.isdigit()):
                return self._secrets.parsed(text)
            return unpacked(self._secrets.parsed(text[: int(json_size)]), text[int(json_size) :])
        except ModelError as error:
            what = str(error)
        except (ValueError, RecursionError):
            return Trouble(f"a reply that is no JSON: {excerpt}", again=True)
        raise self.fault(sent.path, what)

    def _client(self) -> httpx.Client:
        """Return this process's connections."""
        with self._lock:
            # A forked process must not use the connections of its parent.
            client = self._clients.get(os.getpid())
            if client is None:
                limits = httpx.Limits(max_connections=self._delivery.concurrency)
                # A redirect is never followed: it would take the secrets along.
                client = httpx.Client(
                    auth=self._secrets,
                    timeout=self._delivery.timeout,
                    limits=limits,
                    verify=pinned(self._pins) if self._pins else True,
                    follow_redirects=False,
                )
                self._clients[os.getpid()] = client
                weakref.finalize(self, client.close)
            return client


def as_json(value: object) -> tuple[bytes, dict[str, str]]:
    """Return the content of a request and its headers; raise TypeError or ValueError if the value is no JSON."""
    return json.dumps(value, allow_nan=False).encode(), {"Content-Type": "application/json"}


def _end() -> float:
    # The limit is a context variable, which the threads of the pool do not have: read it here.
    left = clock.left()
    return math.inf if left is None else time.monotonic() + left


def shown(url: str) -> str:
    """Return an address without its query, which may contain a key."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def _checked(url: object) -> str:
    try:
        parts = urlsplit(str(url))
        known = isinstance(url, str) and parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        known = False
    if not known:
        raise ConfigError(expected("an address that begins with http:// or https://", url))
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            "Expected an address without a user or password in it, since addresses are written to reports. Put the "
            "secret into an environment variable and pass auth=HeaderFromEnv(name)."
        )
    return str(url).rstrip("/")


def _at_once(
    ask: Callable[[Array], Array], parts: Sequence[Array], concurrency: int, stop: threading.Event
) -> list[Array]:
    """Return the answers to all parts, in order; the first error cancels the others."""
    if len(parts) == 1:
        return [ask(parts[0])]
    with ThreadPoolExecutor(min(concurrency, len(parts)), thread_name_prefix="robustest-http") as pool:
        futures = [pool.submit(ask, part) for part in parts]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [error for future in done if (error := future.exception()) is not None]
            if failed:
                # Requests that were called off fail too, with a RobustestError: other errors, such as OutOfTime, come
                # first.
                raise next((error for error in failed if not isinstance(error, RobustestError)), failed[0])
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _read(response: httpx.Response, deadline: float) -> bytes:
    """Return the body of a reply; raise TimeoutError after the deadline, or if it is too large."""
    held = bytearray()
    # httpx limits the time between two bytes, not that of the whole reply.
    for part in response.iter_bytes():
        held += part
        if time.monotonic() > deadline:
            raise TimeoutError("a reply that did not end before the timeout")
        if len(held) > _LARGEST_REPLY:
            raise TimeoutError(f"a reply of more than {_LARGEST_REPLY} bytes")
    return bytes(held)


def _asked_to_wait(response: httpx.Response) -> float:
    """Return the seconds of Retry-After (RFC 9110, section 10.2.3), a number or a date; 0 for neither."""
    asked = response.headers.get("Retry-After", "").strip()
    if asked.isascii() and asked.isdigit():
        return min(_PATIENCE, float(asked))
    until = _date(asked)
    if until is None:
        return 0.0
    # By the server's clock, which need not agree with this machine's.
    now = _date(response.headers.get("Date", "")) or datetime.now(UTC)
    return min(_PATIENCE, max(0.0, (until - now).total_seconds()))


def _date(text: str) -> datetime | None:
    """Return a date of HTTP (RFC 9110, section 5.6.7), or None."""
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
