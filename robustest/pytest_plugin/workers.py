"""The number of processes that `pytest -n auto --robust` starts, and the threads and the GPU of each."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustest.settings import Settings

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # CUDA, CUDA in WSL, ROCm
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Return the number of cores that this process may use, by its affinity and a container's quota; at least 1."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="utf-8").split()
        return max(1, min(there, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup (version 2), or "max"
        return there


def gpus(settings: Settings) -> list[str]:
    """Return the GPUs that workers may share, as CUDA_VISIBLE_DEVICES names them; empty on other devices."""
    if settings.device not in ("auto", "cuda") or not (sys.platform == "win32" or any(map(os.path.exists, _DRIVERS))):
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        named = [name.strip() for name in given.split(",")]
        return named[: next((at for at, name in enumerate(named) if name in ("", "-1")), len(named))]
    # Loading torch takes seconds, so only a machine with a driver does it.
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def auto(settings: Settings) -> int:
    """Return the number of workers for `-n auto`: one for each GPU, else one for each core."""
    if settings.engine != "local" or settings.device not in ("auto", "cpu", "cuda"):
        # A cluster, a named device, or all devices at once serve one process.
        return 1
    if settings.workers:
        # The engine of each worker starts processes too.
        return max(1, cores() // settings.workers)
    return len(gpus(settings)) or cores()


def share_out(specs: list[Any], settings: Settings) -> None:
    """Give each local worker its threads and its GPU by environment variables; variables that are set stay.

    Args:
        specs: execnet's specifications of the workers.
        settings: settings of the run.
    """
    devices = gpus(settings)
    for place, spec in enumerate(specs):
        if not spec.popen:
            continue  # cores and GPUs of another machine are unknown here
        if "OMP_NUM_THREADS" not in os.environ:
            # By default every worker starts a thread for each core; they would compete for the cores.
            spec.env.setdefault("OMP_NUM_THREADS", str(max(1, cores() // len(specs))))
        if len(devices) > 1:
            spec.env.setdefault("CUDA_VISIBLE_DEVICES", devices[place % len(devices)])
