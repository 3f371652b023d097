"""Requests spaced out in time, and samples counted, over all threads."""

from __future__ import annotations

import threading
import time

from robustest.clock import OutOfTime
from robustest.errors import ModelError


class Pace:
    """Limit of requests per second, and of samples in all."""

    def __init__(self, rate: float | None, budget: int | None) -> None:
        self.sent = 0
        self._gap = 0.0 if rate is None else 1 / rate
        self._budget = budget
        self._next = 0.0
        self._lock = threading.Lock()

    def turn(self, samples: int, stop: threading.Event, end: float) -> bool:
        """Wait for the turn of a request; return False if all requests were called off.

        Raises:
            OutOfTime: its turn comes after the end, by the monotonic clock.
            ModelError: its samples exceed the rest of the budget.
        """
        with self._lock:
            if self._budget is not None and self.sent + samples > self._budget:
                raise ModelError(
                    f"Expected at most {self._budget} samples to be sent, the budget of this model, but {self.sent} "
                    f"were and {samples} more are needed. What was measured is remembered if the model has a version; "
                    "run again to go on, or allow more."
                )
            now = time.monotonic()
            mine = max(now, self._next)
            if mine > end:
                raise OutOfTime
            self.sent += samples
            self._next = mine + self._gap
        return not stop.wait(mine - now) if mine > now else not stop.is_set()
