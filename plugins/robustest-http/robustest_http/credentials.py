"""Headers: fixed ones, and secrets, which are read from the environment for each request and stored nowhere."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from robustest.errors import ConfigError, expected

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Characters that RFC 9110, section 5, allows in a header; an HTTP library would quote an invalid value in its error.
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")

HIDDEN = "[secret]"
"""Replacement of the secret in texts."""


@dataclass(frozen=True, slots=True)
class HeaderFromEnv:
    """A header with a secret from an environment variable.

    Raises:
        ConfigError: a name is invalid.
    """

    variable: str  # name of the environment variable; it is read anew for every request
    header: str = "Authorization"  # name of the header
    scheme: str = "Bearer"  # word before the secret; may be empty

    def __post_init__(self) -> None:
        if not isinstance(self.variable, str) or not self.variable or "=" in self.variable:
            raise ConfigError(expected("variable to be the name of an environment variable", self.variable))
        if not isinstance(self.header, str) or not _NAME.fullmatch(self.header):
            raise ConfigError(expected("header to be the name of an HTTP header", self.header))
        if not isinstance(self.scheme, str) or (self.scheme and not _NAME.fullmatch(self.scheme)):
            raise ConfigError(expected("scheme to be a word such as Bearer, or empty", self.scheme))

    def check(self) -> None:
        """Raise ConfigError, without the value, if the variable is not set or its value is no header value."""
        if self.variable not in os.environ:
            raise ConfigError(
                f"Expected the environment variable {self.variable}, whose value goes into the header {self.header}, "
                "but it is not set."
            )
        if not _VALUE.fullmatch(os.environ[self.variable]):
            raise ConfigError(
                f"Expected the value of the environment variable {self.variable} to be printable ASCII without spaces "
                "around it, but it is not (it is not shown)."
            )


class Secrets(httpx.Auth):
    """The headers with secrets of one connection.

    As an authentication of httpx it adds them at sending, so that no object of robustest holds a secret.
    """

    def __init__(self, auth: HeaderFromEnv | Sequence[HeaderFromEnv] | None) -> None:
        """Check the sources.

        Raises:
            ConfigError: one is no `HeaderFromEnv`, or two have the same header.
        """
        sources = () if auth is None else (auth,) if isinstance(auth, HeaderFromEnv) else auth
        if not isinstance(sources, Sequence) or not all(isinstance(one, HeaderFromEnv) for one in sources):
            # The type alone: somebody may have passed the secret itself.
            raise ConfigError(expected("auth to be a HeaderFromEnv or a list of them", type(auth).__name__))
        self._sources = tuple(sources)
        self.names = [source.header.lower() for source in self._sources]
        _no_duplicates(self.names)

    def check(self) -> None:
        """Raise ConfigError, without a value, if a variable is not set or its value is no header value."""
        for source in self._sources:
            source.check()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        for source in self._sources:
            start = f"{source.scheme} " if source.scheme else ""
            request.headers[source.header] = start + os.environ[source.variable]
        yield request

    def hide(self, text: str) -> str:
        """Return a text without the secrets, which a server may have sent back, as they are or quoted."""
        for form in self._forms():
            text = text.replace(form, HIDDEN)
        return text

    def parsed(self, content: bytes) -> Any:
        """Return the value of JSON, with the secrets replaced in its texts.

        Everything that is made of a reply is made of this value: answers, errors, stored answers and recordings.

        Raises:
            ValueError, RecursionError: it is no JSON.
        """
        text = content.decode(json.detect_encoding(content), "surrogatepass")
        value = json.loads(text)
        # Without a backslash a text of JSON is as it is written, so that most replies need no second look.
        suspect = bool(self._sources) and ("\\" in text or any(form in text for form in self._forms()))
        return self._hidden(value) if suspect else value

    def _forms(self) -> list[str]:
        """Return the ways in which the secrets may be written, the longest first: one may contain another."""
        secrets = {os.environ.get(source.variable, "") for source in self._sources} - {""}
        forms = set(secrets)
        for secret in secrets:
            quoted = json.dumps(secret)[1:-1]
            forms |= {quoted, quoted.replace("/", "\\/"), repr(secret)[1:-1], quote(secret), quote(secret, safe="")}
        return sorted(forms, key=len, reverse=True)

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list):
            return [self._hidden(item) for item in value]
        if isinstance(value, dict):
            return {self.hide(name): self._hidden(item) for name, item in value.items()}
        return value


# Words of the names of headers whose values are secrets.
_SECRET = re.compile(
    r"(^|-)(authorization|auth|token|secret|password|cookie|credentials?|apikey|(api|access|subscription|auth)-?key)(-|$)"
)
# Headers that are made of the request.
_OWN = {"content-type", "content-length", "transfer-encoding", "connection", "inference-header-content-length"}


def checked_headers(headers: Mapping[str, str] | None, secrets: Secrets) -> dict[str, str]:
    """Return fixed headers.

    Raises:
        ConfigError: a name or a value is invalid, a header seems to hold a secret, is made of the request, or is one
            of `secrets`.
    """
    given = {} if headers is None else headers
    if not isinstance(given, Mapping):
        raise ConfigError(expected("headers to map names to texts", type(headers).__name__))
    for name, value in given.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(expected("headers to have names of HTTP headers", name))
        if _SECRET.search(name.lower()):
            raise ConfigError(
                f"Expected headers without secrets, since they count as part of the model, but got {name} (its value "
                f"is not shown). Put the value into an environment variable and pass auth=HeaderFromEnv(variable, "
                f"header={name!r}, scheme='')."
            )
        if name.lower() in _OWN:
            raise ConfigError(f"Expected headers that the request does not set but got {name}. Leave it out.")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ConfigError(expected(f"the header {name} to be printable ASCII without spaces around it", value))
    _no_duplicates([name.lower() for name in given] + secrets.names)
    return dict(given)


def _no_duplicates(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Expected each header once but got {name} twice, in headers and auth.")
