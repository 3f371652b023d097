"""The number of processes that `pytest -n auto --robust` starts, and the threads and the GPU of each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustest import devices

if TYPE_CHECKING:
    from robustest.settings import Settings

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Return the number of cores that this process may use, by its affinity and a container's quota; at least 1."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="utf-8").split()
        return max(1, min(there, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup (version 2), or "max"
        return there


def process_count(settings: Settings) -> int:
    """Return the number of workers for `-n auto`: one for each GPU, else one for each core."""
    if settings.engine != "local" or not (settings.device == "cpu" or devices.may_be_shared(settings.device)):
        # A cluster, a named device, or all devices at once serve one process.
        return 1
    if settings.workers:
        # The engine of each worker starts processes too.
        return max(1, cores() // settings.workers)
    return len(devices.shared_out(settings.device)) or cores()


def share_machine(specs: list[Any], settings: Settings) -> None:
    """Give each local worker its threads and its GPU by environment variables; variables that are set stay.

    Args:
        specs: execnet's specifications of the workers.
        settings: settings of the run.
    """
    gpus = devices.shared_out(settings.device)
    for place, spec in enumerate(specs):
        if not spec.popen:
            continue  # cores and GPUs of another machine are unknown here
        if "OMP_NUM_THREADS" not in os.environ:
            # By default every worker starts a thread for each core; they would compete for the cores.
            spec.env.setdefault("OMP_NUM_THREADS", str(max(1, cores() // len(specs))))
        if len(gpus) > 1:
            spec.env.setdefault(devices.VISIBLE, gpus[place % len(gpus)])
