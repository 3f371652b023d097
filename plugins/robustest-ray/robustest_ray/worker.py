"""What runs in an actor: one job at a time, started once, then task after task."""

from __future__ import annotations

from typing import Any

import ray
import torch

from robustest.packs import Job, Mapper


class Worker:
    """Measures chunks on what Ray gave this actor: its CPUs, or its share of a GPU.

    Args:
        threads: of torch.
    """

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self._job: tuple[int, Mapper] | None = None

    def up(self) -> None:
        """Answers once the actor has found room and started."""

    def run(self, number: int, job: list[Any], task: Any) -> Any:
        """What becomes of a task.

        Args:
            number: tells jobs apart.
            job: one reference to the job, in a list, so that Ray does not fetch it for every task.
            task: the task.
        """
        if self._job is None or self._job[0] != number:
            self._job = None  # the last job's model goes before the next one comes
            fetched: Job = ray.get(job[0])
            self._job = number, fetched.start("")
        return self._job[1](task)
