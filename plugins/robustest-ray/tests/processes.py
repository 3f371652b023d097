"""Ray's processes on this machine."""

from __future__ import annotations

import psutil


def workers() -> list[psutil.Process]:
    """Processes in which actors of this plugin run."""
    return [process for process in psutil.process_iter() if _line(process).startswith("ray::Worker")]


def busy() -> bool:
    """Whether one of them measures a chunk: Ray names a process after what it runs."""
    return any(_line(process).startswith("ray::Worker.run") for process in workers())


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""
