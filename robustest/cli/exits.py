"""How a command ends."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the shell is told.

    Attributes:
        OK: all is well.
        NOT_PASSED: a claim did not pass, or a comparison is worse.
        USAGE: what was asked cannot be done.
        MISSING: results are lost, missing or damaged, so that nothing can be said.
    """

    OK = 0
    NOT_PASSED = 1
    USAGE = 2
    MISSING = 3


class Refused(Exception):
    """A command stops: the message says what was expected, what was got, and how to mend it.

    Attributes:
        code: what the shell is told.
    """

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


def wrong(message: str) -> Refused:
    """What was asked cannot be done."""
    return Refused(message, Exit.USAGE)


def missing(message: str) -> Refused:
    """Results that are needed are not there, or cannot be relied on."""
    return Refused(message, Exit.MISSING)
