"""Work that a measurement leaves until its verdict is recorded: making counterexamples smaller."""

# A measurement collects it, and does it last. An assertion records the verdict in between, so that a run that is killed
# afterwards keeps it. Outside of a measurement nobody records anything, and the work is done at once.

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from robustest.results import Counterexample, Result, Verdict


@dataclass(slots=True)
class Afterwards:
    """The work that one measurement leaves.

    Attributes:
        record: records the verdict of an assertion before that work; None for a measurement alone.
    """

    record: Callable[[Result], None] | None = None
    _left: list[tuple[tuple[Counterexample, ...], Callable[[Result], Result]]] = field(default_factory=list)

    def leave(self, result: Result, fuller: Callable[[Result], Result]) -> Result:
        self._left.append((result.counterexamples, fuller))
        return result

    def done(self, result: Result) -> Result:
        """Do the work, and return the result with it; first of all its verdict is recorded."""
        if self._left and self.record is not None and result.verdict is Verdict.FAILED:
            self.record(result)
        for shown, fuller in self._left:
            made = fuller(result)
            # A claim of several parts shows the counterexamples of one of them; those of the others are kept as well.
            if result.counterexamples is shown:
                result = made
        return result


_recording: ContextVar[Callable[[Result], None] | None] = ContextVar("robustest_recording", default=None)
_collecting: ContextVar[Afterwards | None] = ContextVar("robustest_collecting", default=None)


@contextmanager
def recording(record: Callable[[Result], None]) -> Iterator[None]:
    """Have the verdict of the measurement inside the block recorded before the work that it leaves."""
    token = _recording.set(record)
    try:
        yield
    finally:
        _recording.reset(token)


@contextmanager
def collected() -> Iterator[Afterwards]:
    """Collect the work that results made inside the block leave."""
    afterwards = Afterwards(_recording.get())
    # A measurement inside this one is no claim of its own.
    inner, token = _recording.set(None), _collecting.set(afterwards)
    try:
        yield afterwards
    finally:
        _recording.reset(inner)
        _collecting.reset(token)


def after_verdict(result: Result, fuller: Callable[[Result], Result]) -> Result:
    """Return a result that `fuller` completes once its verdict is recorded."""
    collecting = _collecting.get()
    return fuller(result) if collecting is None else collecting.leave(result, fuller)
