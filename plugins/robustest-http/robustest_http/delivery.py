"""Settings of requests: number, pace, and retries."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robustest.errors import ConfigError, expected

# Largest number of seconds between two tries.
_LONGEST_WAIT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Settings of requests. None of them changes the measured values.

    Raises:
        ConfigError: a value is out of range.
    """

    # Largest number of samples in one request. A model halves it for itself where the server refuses a request as too
    # large (status 413).
    batch_size: int = 32
    concurrency: int = 4  # largest number of simultaneous requests
    timeout: float = 30.0  # seconds of a request, from its start to the last byte of the reply
    retries: int = 6  # number of times that a request without an answer, or with a server's error, is sent again
    backoff: float = 0.5  # seconds before the first retry; doubled every time, up to 30
    rate: float | None = None  # largest number of requests per second, including retries; or None
    # largest number of samples that one model may send, including retries; or None. Exceeding it is an error; earlier
    # measurements are remembered if the model has a version.
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
        """Return the seconds to wait after `tries` >= 1 failed tries."""
        return min(_LONGEST_WAIT, self.backoff * 2.0 ** min(tries - 1, 30))


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
