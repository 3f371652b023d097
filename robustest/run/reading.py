"""Reading of samples one chunk ahead of the measurement, in a thread.

While a chunk is measured, a thread reads the next one: an accelerator does not wait for a decoder, nor a decoder for
the accelerator. Where the user's DataLoader has worker processes, they read, and the thread waits for them.

1. The order is known, so the chunk read ahead is the one that is asked for next, unless the claim ends before.
2. The thread inherits the clock of the claim, and ends with its item under way once the claim has ended. It ends before
   the state of the process is restored.
3. Whatever goes wrong in the thread, the chunk is read again without it, and so are all after it: a data set may be
   bound to the thread that made it (a connection to SQLite), and an error is raised in the chunk's turn.
4. What the thread reads is no dependency of the model (`identity.dependencies`): samples have digests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from threading import Event
from typing import Any

from torch import Tensor

from robustest import clock
from robustest.identity.dependencies import unwatched

Taken = tuple[Tensor, Tensor]


class Reader:
    """Reads the chunks of an order.

    Args:
        read: returns the chunk at positions (n,) int64; of samples that were read already, if it gets them too.
        chunks: positions of every chunk, in the order in which they will be asked for.
        ahead: returns True to read one chunk ahead; asked when the first chunk is.
        stream: see `robustest.data.Samples`; used only with `ahead`.
    """

    def __init__(
        self,
        read: Callable[[Tensor, Taken | None], Any],
        chunks: Sequence[Tensor],
        *,
        ahead: Callable[[], bool],
        stream: Callable[[Sequence[Tensor]], Iterator[Taken]] | None = None,
    ) -> None:
        self._read, self._chunks, self._may_ahead = read, chunks, ahead
        self._ahead = False
        self._stop = Event()
        self._thread: ThreadPoolExecutor | None = None
        self._next: tuple[int, Future[Any]] | None = None
        self._source = stream
        self._stream: Iterator[Taken] | None = None
        self._streamed = 0  # the place of the next chunk in the stream

    def start_stream(self) -> None:
        """Start the workers of the user's DataLoader.

        Called before this process reads a sample: a file that the data set opens at its first read is then opened by
        each process, not shared, and reads here cost no time.
        """
        if self._source is not None and len(self._chunks) > 1:
            # Not every data set can be sent to processes that are spawned.
            with suppress(Exception), unwatched():
                self._stream = self._source(self._chunks)

    def take(self, place: int) -> Any:
        """Return the chunk at a place of the order; places are asked for one after the other.

        Raises:
            RobustestError: it cannot be read.
        """
        chunk = self._finished(place)
        if place == 0:
            self._ahead = len(self._chunks) > 1 and self._may_ahead()
            self._stream = self._stream if self._ahead else None
        if chunk is None:
            chunk = self._read_here(place)
        if self._ahead and place + 1 < len(self._chunks):
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="robustest-reader")
            self._next = place + 1, self._thread.submit(copy_context().run, self._read_ahead, place + 1)
        return chunk

    def close(self) -> None:
        """End the thread, and the workers of the user's DataLoader."""
        self._stop.set()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None
        self._stream = self._next = None  # the last reference to the workers ends them

    def _finished(self, place: int) -> Any:
        """Return the chunk that was read ahead for a place; None if there is none, or if reading it failed."""
        begun, self._next = self._next, None
        if begun is None:
            return None
        try:
            chunk = begun[1].result()
            return chunk if begun[0] == place else None
        except (Exception, clock.OutOfTime):
            self._ahead, self._stream = False, None
            return None

    def _read_here(self, place: int) -> Any:
        try:
            return self._read(self._chunks[place], self._from_stream(place))
        except Exception:
            if self._stream is None:
                raise
        self._ahead, self._stream = False, None
        return self._read(self._chunks[place], None)

    def _read_ahead(self, place: int) -> Any:
        with unwatched(), clock.until_set(self._stop):
            return self._read(self._chunks[place], self._from_stream(place))

    def _from_stream(self, place: int) -> Taken | None:
        # A stream has its own order: once a place was left out, its samples would be those of another chunk.
        if self._stream is None or place != self._streamed:
            self._stream = None
            return None
        self._streamed += 1
        return next(self._stream)
