"""Settings of requests: number, pace, and retries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from robustest import Purse
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
    # Limits that models, functions (`robustest.Calls`) and claims share, or None. A claim that it does not settle is
    # inconclusive. A request counts as a call, and its seconds and money count.
    purse: Purse | None = None
    # Function from the JSON of a reply and its number of samples to the money that it cost, >= 0, for a purse of money.
    # A request without a reply is free. After the first one, none begins unless the dearest so far still fits.
    cost: Callable[[Any, int], float] | None = None

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("concurrency", 1), ("retries", 0), ("budget", 1)):
            value = getattr(self, name)
            if not (value is None and name == "budget") and (type(value) is not int or value < least):
                raise ConfigError(expected(f"{name} to be a whole number >= {least}", value))
        for name in ("timeout", "backoff", "rate"):
            value = getattr(self, name)
            if not (value is None and name == "rate") and not _positive(value):
                raise ConfigError(expected(f"{name} to be a number > 0", value))
        if self.purse is not None and not isinstance(self.purse, Purse):
            raise ConfigError(expected("purse to be a Purse", self.purse))
        if self.purse is not None and self.purse.tokens is not None:
            raise ConfigError("Expected a purse without tokens, which nothing counts for models. Limit its money.")
        if self.cost is not None and not callable(self.cost):
            raise ConfigError(expected("cost to be a function of a reply and its number of samples", self.cost))
        if (self.cost is None) != (self.purse is None or self.purse.money is None):
            mend = "cost=lambda reply, samples: 1e-4 * samples"
            raise ConfigError(expected("cost together with a purse of money, or neither", self.cost, mend))

    def wait(self, tries: int) -> float:
        """Return the seconds to wait after `tries` >= 1 failed tries."""
        return min(_LONGEST_WAIT, self.backoff * 2.0 ** min(tries - 1, 30))


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
