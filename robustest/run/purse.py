"""One purse for the questions of many claims: the claim that is nearest to its verdict is asked about first."""

# Claims on answers cost calls, money, tokens and time. Asked one after the other, the first one may spend all on a
# verdict that needs thousands of answers, while others that a dozen would have settled are never asked about.
#
# 1. A purse has limits that hold for all claims together. A call may begin if the dearest call so far still fits beside
#    those under way; of the first calls, whose cost is unknown, one is under way at a time.
# 2. `Purse.settle` makes claims in threads of which one runs at a time, until its next item: each first reads a few,
#    then always the claim whose verdict, by its items so far, is the fewest calls away. With d the distance of the mean
#    from the threshold, v the variance and a the error, bets need about log(1 / a) (2 v / d^2 + 2 / d) items.
# 3. The order in which a claim reads its own items is that of its seed, and its rule may be looked at after each: no
#    verdict depends on the other claims, only on whether the purse lasted. What was answered is stored, so that the
#    next run goes on where this one stopped.

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar

from robustest import clock
from robustest.checks import is_amount
from robustest.errors import ConfigError, expected
from robustest.run.measurement import claims_beside

Found = TypeVar("Found")

# Items that each claim reads before any is known to be near.
_FIRST = 8


class PurseEmpty(clock.OutOfTime):
    """A limit of a purse is reached; the message says which. It ends a claim as the end of its time does."""


@dataclass(eq=False, slots=True, kw_only=True)
class Purse:
    """Limits that the claims of a run share; give it to all of them by `Calls(purse=...)`.

    Models behind a network (`robustest_http.Delivery(purse=...)`) may share it too.

    Answers that are remembered cost nothing. A claim that the purse does not settle is inconclusive; the next run goes
    on from there.

    Raises:
        ConfigError: a limit is out of range, or there is none.
    """

    calls: int | None = None  # largest number of calls, with retries
    money: float | None = None  # by `Calls.cost`
    tokens: float | None = None  # by `Calls.tokens`
    seconds: float | None = None  # in which any claim is asked about
    spent: dict[str, float] = field(init=False)  # by the names of the limits
    _dearest: dict[str, float] = field(init=False)
    _busy: int = field(default=0, init=False)
    _asking: int = field(default=0, init=False)
    _since: float = field(default=0.0, init=False)
    _lock: Any = field(default_factory=threading.RLock, init=False)

    def __post_init__(self) -> None:
        if self.calls is not None and (type(self.calls) is not int or self.calls < 1):
            raise ConfigError(expected("calls to be a whole number >= 1", self.calls))
        for name in ("money", "tokens", "seconds"):
            value = getattr(self, name)
            if value is not None and not (is_amount(value) and value > 0):
                raise ConfigError(expected(f"{name} to be an amount > 0", value))
        if all(getattr(self, name) is None for name in ("calls", "money", "tokens", "seconds")):
            raise ConfigError("Expected a limit of the purse but got none. For example: Purse(calls=2000)")
        self.spent = {"calls": 0, "money": 0.0, "tokens": 0.0, "seconds": 0.0}
        self._dearest = {"money": 0.0, "tokens": 0.0}

    def begin(self) -> bool:
        """Count a call that begins and return True; False if it has to wait for the costs of those under way.

        Raises:
            PurseEmpty: a limit is reached.
        """
        with self._lock:
            left = self.left()
            if left is not None and left <= 0:
                raise PurseEmpty(f"the purse: all {self.seconds:g} seconds were used")
            if self.calls is not None and self.spent["calls"] >= self.calls:
                raise PurseEmpty(f"the purse: all {self.calls} calls were made")
            for name, dearest in self._dearest.items():
                most = getattr(self, name)
                if most is None:
                    continue
                # The cost of a call is known after it: each one under way may cost as much as the dearest so far.
                fits = self.spent[name] + (self._busy + 1) * dearest <= most
                if not fits and not self._busy:
                    raise PurseEmpty(f"the purse: {self.spent[name]:g} of {most:g} {name} was spent")
                if self._busy and not (fits and dearest):
                    return False
            self.spent["calls"] += 1
            self._busy += 1
            return True

    def end(self, money: float, tokens: float) -> None:
        """Take the cost of a call that has ended."""
        with self._lock:
            self._busy -= 1
            for name, cost in (("money", money), ("tokens", tokens)):
                self.spent[name] += cost
                self._dearest[name] = max(self._dearest[name], cost)

    def left(self) -> float | None:
        """Return the seconds that are left; None without a limit."""
        with self._lock:
            now = time.monotonic() - self._since if self._asking else 0.0
            return None if self.seconds is None else max(0.0, self.seconds - self.spent["seconds"] - now)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Count the seconds of the block, once for claims that are asked about at the same time."""
        with self._lock:
            self._asking += 1
            if self._asking == 1:
                self._since = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1
                if not self._asking:
                    self.spent["seconds"] += time.monotonic() - self._since

    @staticmethod
    def settle(*claims: Callable[[], Found]) -> list[Found]:
        """Make several claims on answers, of which the one that is nearest to its verdict is asked about first.

        Args:
            *claims: functions without arguments that make one claim each, as `lambda: assert_rate(...)`.

        Returns:
            Their values, in their order.

        Raises:
            ConfigError: one of them is no function.
            Exception: the first one, in their order, that a claim raised, after all have ended; it notes the others.
        """
        for claim in claims:
            if not callable(claim):
                raise ConfigError(expected("claims as functions: lambda: assert_rate(...)", claim))
        turns = Turns(len(claims))
        found: list[Any] = [None] * len(claims)
        raised: list[BaseException | None] = [None] * len(claims)

        def make(place: int) -> None:
            token = TURN.set((turns, place))
            try:
                turns.take(place, 0.0)
                found[place] = claims[place]()
            except BaseException as error:
                raised[place] = error
            finally:
                TURN.reset(token)
                turns.leave(place)

        with claims_beside():
            # A copy of the context: claims are those of the test that is running, and its clock holds.
            threads = [
                threading.Thread(target=copy_context().run, args=(make, place), name=f"robustest-claim-{place}")
                for place in range(len(claims))
            ]
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    thread.join()
            except BaseException:  # interrupted: what is under way ends, and is stored
                turns.end()
                for thread in threads:
                    thread.join()
                raise
        errors = [error for error in raised if error is not None]
        if errors:
            first, *others = errors
            for other in others:
                first.add_note(f"and {type(other).__name__}: {str(other).splitlines()[0] if str(other) else ''}")
            raise first
        return found


class Turns:
    """Gives one of several claims at a time its turn, once all of them wait for one."""

    def __init__(self, claims: int) -> None:
        self._waiting: dict[int, float] = {}
        self._alive = set(range(claims))
        self._turn: int | None = None
        self._ended = False
        self._changed = threading.Condition()

    def take(self, place: int, left: float) -> None:
        """Wait for the turn of a claim whose verdict is about `left` calls away; its turn ends at its next call.

        Raises:
            OutOfTime: the claims were interrupted.
        """
        with self._changed:
            self._waiting[place] = left
            self._turn = None if self._turn == place else self._turn
            self._give()
            while self._turn != place:
                if self._ended:
                    raise clock.OutOfTime("the claims were interrupted")
                self._changed.wait(clock.left())
                clock.check()

    def end(self) -> None:
        """Let no claim have a turn any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def leave(self, place: int) -> None:
        with self._changed:
            self._alive.discard(place)
            self._waiting.pop(place, None)
            self._turn = None if self._turn == place else self._turn
            self._give()

    def _give(self) -> None:
        # Not before all wait, so that the order does not depend on which thread is quick.
        if self._turn is None and self._alive and self._waiting.keys() == self._alive:
            self._turn = min(self._waiting, key=lambda place: (self._waiting[place], place))
            del self._waiting[self._turn]
            self._changed.notify_all()


TURN: ContextVar[tuple[Turns, int] | None] = ContextVar("robustest_turn", default=None)
"""The turns of the claims that are settled together, and the place of this thread's claim."""


def items_left(values: Sequence[float], of: int, threshold: float | None, alpha: float) -> float:
    """Return about how many items more would decide a claim; 0 for the first few, so that each is tried.

    Args:
        values: of the items so far.
        of: number of all items.
        threshold: of their mean; None if every item is read.
        alpha: error of the verdict.
    """
    n = len(values)
    if n < min(_FIRST, of):
        return 0.0
    rest = float(of - n)
    if threshold is None:
        return rest
    mean = math.fsum(values) / n
    # As if one item more lay at the threshold: a few equal items have no variance.
    variance = (math.fsum((value - mean) ** 2 for value in values) + (1 - threshold) * threshold) / (n + 1)
    apart = max(abs(mean - threshold) * n / (n + 1), 1e-9)
    needed = math.log(1 / alpha) * (2 * variance / apart**2 + 2 / apart)
    return min(rest, max(1.0, needed - n))
