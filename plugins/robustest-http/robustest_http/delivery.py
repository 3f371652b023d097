"""How requests are sent: how many, how fast, and what is done when one gets no answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robustest.errors import ConfigError, expected

_LONGEST_WAIT = 30.0
"""Seconds between two tries at most, however often they failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How requests are sent. None of it changes what is measured.

    Attributes:
        batch_size: samples in one request at most.
        concurrency: requests on their way at once, at most.
        timeout: seconds that a request may take, from its start to the last byte of the reply.
        retries: how often a request that got no answer, or a server's error, is sent again.
        backoff: seconds before it is first sent again; doubled every time, up to 30.
        rate: requests a second at most, retries included; None for as fast as it goes.
        budget: samples that one model may send in all, retries included; None for any number. It is an error to need
            more: what was measured until then is remembered where the model has a version.

    Raises:
        ConfigError: a value is out of range.
    """

    batch_size: int = 32
    concurrency: int = 4
    timeout: float = 30.0
    retries: int = 6
    backoff: float = 0.5
    rate: float | None = None
    budget: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("concurrency", 1), ("retries", 0), ("budget", 1)):
            value = getattr(self, name)
            if not (value is None and name == "budget") and (type(value) is not int or value < least):
                raise ConfigError(expected(f"{name} to be a whole number >= {least}", value))
        for name in ("timeout", "backoff", "rate"):
            value = getattr(self, name)
            if not (value is None and name == "rate") and not _positive(value):
                raise ConfigError(expected(f"{name} to be a number > 0", value))

    def wait(self, tries: int) -> float:
        """Seconds to wait after that many tries, 1 or more, that failed."""
        return min(_LONGEST_WAIT, self.backoff * 2.0 ** min(tries - 1, 30))


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
