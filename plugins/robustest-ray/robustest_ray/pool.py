"""The actors: idle, starting, and busy ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError, RayError, RayTaskError

from robustest import clock
from robustest.errors import DeviceError, RobustestError
from robustest_ray.cluster import resources
from robustest_ray.worker import Worker

# Seconds in which something has to happen: a worker to start, or a chunk to be done.
_PATIENCE = 600.0


class Pool:
    """Actors by place. A task is given only to a running actor, never to one that may not find room.

    Args:
        count: number of actors; None for as many as the cluster has room for now.
        gpus: GPUs of each.
        device: of each, as it sees them; "" lets the job choose.
    """

    def __init__(self, count: int | None, gpus: float, device: str = "") -> None:
        has = resources()
        cpus = int(has.get("CPU", 1))
        count = count or max(1, int(has["GPU"] / gpus) if gpus else cpus)
        # Places of running actors without a task.
        self.idle: list[int] = []
        # No more than its share of the CPUs is asked for, so that more workers than cores still find room.
        self._make = ray.remote(Worker).options(
            num_cpus=min(1.0, cpus / count), num_gpus=gpus, scheduling_strategy="SPREAD"
        )
        self._device = device
        self._threads = min(torch.get_num_threads(), max(1, cpus // count))
        self._actors: dict[int, Any] = {}
        self._coming: dict[Any, int] = {}
        for place in range(count):
            self.replace(place)

    def submit(self, place: int, number: int, job: Any, task: Any) -> Any:
        """Return a reference to a worker's result of a task."""
        return self._actors[place].run.remote(number, [job], task)

    def next(self, running: Iterable[Any]) -> Any:
        """Return the next reference that ends: a running task's, or that of a worker that has started.

        Raises:
            DeviceError: nothing happens for a long time.
            OutOfTime: the claim's time is up.
        """
        left = clock.left()
        patience = _PATIENCE if left is None else min(_PATIENCE, left)
        done, _ = ray.wait([*running, *self._coming], num_returns=1, timeout=patience)
        if not done:
            if left is not None and left <= _PATIENCE:
                raise clock.OutOfTime  # workers end by themselves, with the pass that each has under way
            raise DeviceError(
                f"Expected a worker to start or a chunk to end but nothing happened for {_PATIENCE:.0f} s. Is there "
                "room in the cluster ('ray status')? Ask for fewer --robust-workers or --robust-gpus-per-task."
            )
        place = self._coming.pop(done[0], None)
        if place is not None:
            try:
                ray.get(done[0])
            except RayActorError:
                self.replace(place)
            except RayTaskError:  # a chunk nobody waits for any more
                self.idle.append(place)
            else:
                self.idle.append(place)
        return done[0]

    def replace(self, place: int) -> None:
        """Start an actor in the place of a lost one, or in an empty place."""
        actor: Any = self._make.remote(self._threads, self._device)
        self._actors[place] = actor
        self._coming[actor.up.remote()] = place

    def abandon(self, running: Mapping[Any, int]) -> None:
        """Ignore the results of running tasks; their workers are busy until they end."""
        self._coming |= running

    def close(self) -> None:
        for actor in self._actors.values():
            with suppress(RayError):
                ray.kill(actor)
        self._actors.clear()
        self._coming.clear()


def result_of(reference: Any) -> Any:
    """Return a worker's result of a task.

    Raises:
        RobustestError: the worker could not measure, or it failed otherwise.
        RayActorError: the worker was lost.
    """
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, RobustestError):
            raise error.cause from None
        raise DeviceError(f"Expected a worker to measure a chunk but got: {error}") from error
