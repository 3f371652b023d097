"""State of the process that a measurement leaves as it was: that of Python and NumPy; `models.frozen` has torch's."""

from __future__ import annotations

import os
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

_lock = threading.RLock()


def _in_a_child() -> None:
    global _lock  # noqa: PLW0603 - a lock held by a thread of the parent would never be released
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_child)


@contextmanager
def unchanged(*readers: Callable[[], Callable[[], None]]) -> Iterator[None]:
    """Restore the state of the process after the block, also after an error or an interrupt.

    This covers random states of NumPy and Python, warning filters, and NumPy's errors.

    Args:
        readers: functions that read further state, and return a function that restores it.
    """
    # The state belongs to the process: of two threads at once, the second would take the first one's settings for the
    # user's.
    with _lock, ExitStack() as stack:
        for read in (*readers, _random_states, _numpy_errors, _warning_filters):
            stack.callback(read())
        yield


def _random_states() -> Callable[[], None]:
    python, numpy = random.getstate(), np.random.get_state()

    def restore() -> None:
        random.setstate(python)
        np.random.set_state(numpy)

    return restore


def _numpy_errors() -> Callable[[], None]:
    how, call = np.geterr(), np.geterrcall()

    def restore() -> None:
        np.seterr(**how)
        if np.geterrcall() is not call:
            np.seterrcall(call)

    return restore


def _warning_filters() -> Callable[[], None]:
    held: Any = warnings.filters
    filters, show = list(held), warnings.showwarning

    def restore() -> None:
        warnings.showwarning = show
        if list(warnings.filters) != filters:
            warnings.resetwarnings()  # the only public call that makes Python forget earlier warnings
            held[:] = filters

    return restore
