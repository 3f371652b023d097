"""A header whose value is a secret: it is read from the environment for each request, and stored nowhere."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from dataclasses import dataclass

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

    def hide(self, text: str) -> str:
        """Return a text without the secret, which a server may have sent back."""
        return text.replace(os.environ[self.variable], HIDDEN) if os.environ.get(self.variable) else text


class Signer(httpx.Auth):
    """Authentication of httpx that adds the header at sending, so that no object of robustest holds the secret."""

    def __init__(self, source: HeaderFromEnv) -> None:
        self._source = source

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        start = f"{self._source.scheme} " if self._source.scheme else ""
        request.headers[self._source.header] = start + os.environ[self._source.variable]
        yield request
