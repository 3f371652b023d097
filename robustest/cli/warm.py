"""One process for several runs of pytest, which loads torch and other packages once.

A run of a few small claims takes a second, and a start of Python with torch four: `init`, `init --scan` and `suggest`
look at a project and measure it several times.

1. The command starts `python -m robustest.cli.warm` and writes a request, one line of JSON, for each run.
2. That process calls `pytest.main`, and answers with its exit code. Before the next run it puts the environment, the
   working folder and `sys.path` back, and forgets the modules of the project and of the questions: they are imported
   anew, so that a run begins with the project's state as in a new process. Packages that are installed stay.
3. Some projects cannot run twice in one process: they register a name, or start a server. Where a later run ends
   otherwise than the first, the command repeats it in a new process (`robustest.cli.suggest`).
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import TracebackType
from typing import Any

from robustest.cli.screen import terminable

# robustest, which runs this process, is loaded before pytest could rewrite its assertions; it has none.
_IMPORTED = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
_PACKAGES = ("site-packages", "dist-packages")


class WarmPytest:
    """A process that runs pytest; it is started by the first run, and ends with the block."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._requests = self._answers = -1

    def __enter__(self) -> WarmPytest:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.renew()

    @property
    def started(self) -> bool:
        """True if a run of this process came before."""
        return self._child is not None

    def renew(self) -> None:
        """End the process: the next run begins in a new one."""
        if self._child is None:
            return
        for one in (self._requests, self._answers):
            os.close(one)
        child, self._child = self._child, None
        with suppress(subprocess.TimeoutExpired):
            child.wait(5)
        child.kill()
        child.wait()

    def run(self, arguments: Sequence[str], output: Path | None = None) -> int:
        """Run pytest with these arguments; return pytest's exit code, or the process's if it ended.

        If this process is interrupted or terminated meanwhile, that process ends first.

        Args:
            output: file for all that is printed; None prints it.
        """
        sys.stdout.flush()
        child = self._child or self._start()
        request = {"arguments": [*arguments], "output": None if output is None else str(output)}
        with terminable():
            try:
                with suppress(BrokenPipeError):
                    os.write(self._requests, f"{json.dumps(request)}\n".encode())
                answer = os.read(self._answers, 16)
                if answer:
                    return int(answer)
                self.renew()  # it ended in the middle of a run
            except BaseException:
                # On a terminal Ctrl-C has reached pytest too, which then writes what it has.
                with suppress(subprocess.TimeoutExpired):
                    child.wait(1)
                child.terminate()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(5)
                self.renew()
                raise
        return child.returncode

    def _start(self) -> subprocess.Popen[bytes]:
        theirs, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        command = [sys.executable, "-m", "robustest.cli.warm", str(theirs), str(answers)]
        # The tests of a project may change the process, so they never run in the command's own.
        self._child = subprocess.Popen(command, pass_fds=(theirs, answers))  # noqa: S603 - no shell
        os.close(theirs)
        os.close(answers)
        return self._child


def serve(requests: int, answers: int) -> None:
    """Run pytest for each request, until there are no more."""
    import pytest

    environ, folder, path, first = dict(os.environ), os.getcwd(), list(sys.path), set(sys.modules)
    frozen = 0
    # Until the first run's modules are imported, torch among them: each collection walks through all of them so far.
    gc.disable()
    with os.fdopen(requests, encoding="utf-8") as lines:
        for runs, line in enumerate(lines):
            request: dict[str, Any] = json.loads(line)
            _forget(first)
            if runs == 1 or gc.get_freeze_count() > frozen > 0:
                # Packages stay, what the run left goes: collections at the end of a run need not walk through torch.
                gc.unfreeze()
                gc.collect()
                gc.freeze()
                frozen = gc.get_freeze_count()
            os.chdir(folder)
            sys.path[:] = path
            if dict(os.environ) != environ:
                os.environ.clear()
                os.environ.update(environ)
            with _printed_to(request["output"]):
                code = int(pytest.main([*_IMPORTED, *request["arguments"]], plugins=[_Imported()]))
                gc.enable()  # also where the collection of tests has failed
                sys.stdout.flush()
                sys.stderr.flush()
            try:
                os.write(answers, str(code).encode())
            except BrokenPipeError:  # the command has ended
                return


class _Imported:
    """Hooks of a run: once its modules are imported, no collection walks through them."""

    def pytest_collection_finish(self) -> None:
        if not gc.isenabled():
            gc.freeze()
            gc.enable()


def _forget(first: set[str]) -> None:
    """Remove the modules that were loaded from files outside of Python and its packages."""
    installed = tuple(os.path.realpath(one) + os.sep for one in (sys.base_prefix, *_own()))
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    # Compiled code cannot be loaded twice, wherever a link farm or a build has put its package.
    endings = tuple(EXTENSION_SUFFIXES)
    compiled = {name.partition(".")[0] for name, file in files.items() if str(file).endswith(endings)}
    for name, file in files.items():
        if name in first or name.partition(".")[0] in compiled or not isinstance(file, str):
            continue
        if set(_PACKAGES) & set(Path(file).parts) or os.path.realpath(file).startswith(installed):
            continue
        del sys.modules[name]


def _own() -> list[str]:
    """Return the folders of robustest and of its packs, which may be checkouts."""
    tops = [module for name, module in list(sys.modules.items()) if name.startswith("robustest") and "." not in name]
    return [os.path.dirname(one.__file__) for one in tops if one.__file__ is not None]


class _printed_to:  # noqa: N801 - a block
    """Send what this process prints to a file inside the block, if there is one."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._kept: list[int] = []

    def __enter__(self) -> None:
        if self._path is not None:
            sys.stdout.flush()
            self._kept = [os.dup(1), os.dup(2)]
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1)
            os.dup2(file, 2)
            os.close(file)

    def __exit__(self, *_: object) -> None:
        for place, kept in enumerate(self._kept, 1):
            os.dup2(kept, place)
            os.close(kept)


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:3]))
    # To take torch apart takes a second; what a project wants done at the end is done.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
