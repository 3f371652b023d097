"""The program of an actor: one job at a time, started once, then task after task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
import torch

from robustest.packs import Job


class Worker:
    """Measures chunks on the CPUs, or the GPU, that Ray gave this actor.

    Args:
        threads: of torch.
        device: of the model; "" lets the job choose. Ray shows an actor its own GPU alone, which is number 0 there.
    """

    def __init__(self, threads: int, device: str) -> None:
        torch.set_num_threads(threads)
        self._device = device
        self._job: tuple[int, Callable[[Any], Any]] | None = None

    def up(self) -> None:
        """Return once the actor has found room and started."""

    def run(self, number: int, job: list[Any], task: Any) -> Any:
        """Return the result of a task.

        Args:
            number: number of the job.
            job: one reference to the job, in a list, so that Ray does not fetch it for every task.
            task: the task.
        """
        if self._job is None or self._job[0] != number:
            self._job = None  # the last job's model goes before the next one comes
            fetched: Job = ray.get(job[0])
            self._job = number, fetched.start(self._device)
        return self._job[1](task)
