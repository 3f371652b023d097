"""Settings of requests: number, pace, and retries."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robustest.errors import ConfigError, expected

# Seconds between two tries at most, however often they failed.
_LONGEST_WAIT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Settings of requests. None of them changes the measured values.

    Attributes:
        batch_size: largest number of samples in one request.
        concurrency: largest number of simultaneous requests.
        timeout: seconds of a request, from its start to the last byte of the reply.
        retries: number of times that a request without an answer, or with a server's error, is sent again.
        backoff: seconds before the first retry; doubled every time, up to 30.
        rate: largest number of requests per second, including retries; or None.
        budget: largest number of samples that one model may send, including retries; or None. Exceeding it is an error;
            earlier measurements are remembered if the model has a version.

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
        """Return the seconds to wait after `tries` >= 1 failed tries."""
        return min(_LONGEST_WAIT, self.backoff * 2.0 ** min(tries - 1, 30))


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
