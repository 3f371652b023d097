"""Claims outside of a test: the place of the call, the sentence about it, and the exit code of a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple

# Modules that stand between pytest and a user's module, by the first part of their names.
_RUNNERS = ("_pytest", "pluggy", "pytest", "xdist", "runpy")


class RefusedClaim(NamedTuple):
    """A claim that was refused."""

    name: str  # function that was called
    file: str  # its caller
    line: int
    caller: str = ""  # place in a module's own code that led there, "file:line"; empty if it is the caller itself

    def place(self, start: str) -> str:
        """Return "file:line", relative to the folder `start` if the file lies below it."""
        return f"{_relative(self.file, start)}:{self.line}"

    def sentence(self, start: str) -> str:
        file, _, line = self.caller.rpartition(":")
        via = f" (called at {_relative(file, start)}:{line})" if self.caller else ""
        return (
            f"Expected {self.name} in a test or a fixture but got a call outside of any test, at {self.place(start)}"
            f"{via}: it would be in no test's report. Nothing was measured. Move it into a test, or into a fixture of "
            "any scope that a test uses."
        )


def _relative(file: str, start: str) -> str:
    below = os.path.join(start, "")
    return file.removeprefix(below) if file.startswith(below) else file


def refusal(name: str) -> RefusedClaim:
    """Return the refusal of a claim that is being made, with the place of the user's call."""
    frames = list(_users_frames(sys._getframe(1)))
    if not frames:
        return RefusedClaim(name, "<unknown>", 0)
    first = frames[0]
    file, line = _file(first), first.f_lineno
    if first.f_code.co_name == "<module>":
        return RefusedClaim(name, file, line)
    # A helper's line alone does not say which module called it while it was imported.
    module = next((one for one in frames if one.f_code.co_name == "<module>"), None)
    return RefusedClaim(name, file, line, "" if module is None else f"{_file(module)}:{module.f_lineno}")


def _file(frame: FrameType) -> str:
    name = frame.f_code.co_filename
    return name if name.startswith("<") else os.path.abspath(name)


def _users_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield frames of the user's code, from the claim outwards to the code that pytest or Python runs."""
    begun = False
    while frame is not None:
        root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if not root.startswith("robustest"):  # packs as well
            begun = True
        if begun:
            if root in _RUNNERS:
                return
            if not frame.f_code.co_filename.startswith("<frozen "):
                yield frame
        frame = frame.f_back


class _ExitCode:
    """End the process with an exit code when the interpreter clears its last module."""

    # Functions of `atexit` cannot change the exit code. They may be the ones that claim, and others follow them, such
    # as coverage.py's: it is not the time yet to leave. Python clears `sys` always and last; the names of another
    # module stay as long as anything refers to them.
    def __init__(self, code: int) -> None:
        self._code = code

    def __del__(self, leave: Callable[[int], object] = os._exit) -> None:
        leave(self._code)


def exit_in_error(code: int = 3) -> None:
    """Have this process end with an exit code, though pytest has returned another one."""
    names = vars(sys)
    if "_robustest_exit_code" not in names:  # an object too many would end the process where it is freed
        names["_robustest_exit_code"] = _ExitCode(code)
