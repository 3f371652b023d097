"""Errors of files of outcomes whose remedy is a call, which was made once before it is shown."""

# Whoever raises a `Mendable` knows what may mend it: other values of the keywords of the call. These are tried one
# after the other, and together where one problem hides the next; the first call that gives outcomes stands in the
# message. A remedy that was never tried may lead to the next error, or back to the first.

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike, fspath
from typing import Any, Final, TypeVar

from robustest.errors import RobustestError

T = TypeVar("T")
Keywords = Mapping[str, Any]

DROPPED: Final = object()
"""In a mend: the keyword is left out."""

# Calls that are tried for one message, and problems of a call that are mended together.
_TRIES, _DEPTH = 40, 5


class Mendable(Exception):
    """An error, and changes of the call's keywords that may mend it.

    Attributes:
        error: the error that a user gets.
        mends: keywords that replace those of the call, the most likely ones first.
        command: a command that writes the file again, for damage that no keyword mends; or "".
    """

    def __init__(self, error: RobustestError, *mends: Keywords, command: str = "") -> None:
        super().__init__(str(error))
        self.error: Final = error
        self.mends: Final = mends
        self.command: Final = command


def remedied(make: Callable[[Keywords], T], keywords: Keywords, call: Callable[[Keywords], str]) -> T:
    """Return the value of a call, or raise its error with a call that works.

    Args:
        make: function of the keywords, which raises `Mendable` or an error of robustest.
        keywords: the keywords that were given.
        call: source of the call with some keywords.

    Raises:
        RobustestError: the error of the problem. Its message ends with the call, if any of those tried works.
    """
    try:
        return make(keywords)
    except Mendable as problem:
        works = _working(make, keywords, problem)
        sentences = [str(problem.error)]
        if problem.command:
            sentences.append(f"Write it again: {problem.command}")
        if works is not None:
            sentences.append(f"{'Or' if problem.command else 'For example'}: {call(works)}")
        message = " ".join(one if one.endswith((".", "?", "!")) else f"{one}." for one in sentences[:-1])
        raise type(problem.error)(f"{message} {sentences[-1]}".strip()) from None


def _working(make: Callable[[Keywords], object], keywords: Keywords, problem: Mendable) -> Keywords | None:
    """Return the first keywords with which a call works, by the mends of its problem and of those behind it."""
    tried: list[Keywords] = [keywords]

    def search(given: Keywords, mends: tuple[Keywords, ...], depth: int) -> Keywords | None:
        further: list[tuple[Keywords, Mendable]] = []
        for mend in mends:
            changed = {name: value for name, value in {**given, **mend}.items() if value is not DROPPED}
            if changed in tried or len(tried) > _TRIES:
                continue
            tried.append(changed)
            try:
                make(changed)
            except Mendable as other:
                further.append((changed, other))
            except RobustestError:
                continue
            else:
                return changed
        # The call that changes least is the easiest to judge: two changes are tried once no single one works.
        for start, behind in further if depth else ():
            if (deeper := search(start, behind.mends, depth - 1)) is not None:
                return deeper
        return None

    return search(keywords, problem.mends, _DEPTH)


def source_of(function: str, subject: str | PathLike[str], keywords: Keywords) -> str:
    """Return the source of a call: `function(subject, name=value, ...)`; the subject is source, or a path."""
    first = subject if isinstance(subject, str) else repr(fspath(subject))
    return f"{function}({', '.join([first, *(f'{name}={value!r}' for name, value in keywords.items())])})"
