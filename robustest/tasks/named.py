"""Tasks by name: those that need no settings, and those of packs."""

from __future__ import annotations

from collections.abc import Callable

from robustest import extensions
from robustest.errors import ConfigError, PackError, expected
from robustest.tasks.classification import Classification
from robustest.tasks.protocol import Task
from robustest.tasks.several_labels import MultiLabel

TASKS: dict[str, Callable[[], Task]] = {"classification": Classification, "multilabel": MultiLabel}
"""The tasks robustest brings that need no settings, by name."""


def checked_task(task: object) -> Task:
    """The task that a value or a name stands for.

    Raises:
        UnknownNameError: no task has this name.
        ConfigError: neither a name nor a task's value.
        PackError: a pack is broken.
    """
    if isinstance(task, str):
        made = TASKS[task]() if task in TASKS else extensions.made("robustest_tasks", "task", task, TASKS)
        if isinstance(made, type) or not isinstance(made, Task):
            raise PackError(expected(f"the task {task!r} of a pack to be a value with the members of Task", made))
        return made
    if isinstance(task, type) or not isinstance(task, Task):
        raise ConfigError(expected("a task such as Segmentation(classes=19, floor=0.9)", task))
    return task
