"""Tasks: the kinds of answers that models give, their correctness, and the losses that searches climb."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from robustest import extensions
from robustest.errors import ConfigError, PackError, expected
from robustest.tasks.classification import CLASSIFICATION as CLASSIFICATION
from robustest.tasks.classification import Classification as Classification
from robustest.tasks.conformance import check_answers as check_answers
from robustest.tasks.conformance import check_members
from robustest.tasks.detection import AdaptedCall as AdaptedCall
from robustest.tasks.detection import AdaptedModule as AdaptedModule
from robustest.tasks.detection import Detection as Detection
from robustest.tasks.detection import DetrDetector as DetrDetector
from robustest.tasks.detection import MaiteDetector as MaiteDetector
from robustest.tasks.detection import TorchvisionDetector as TorchvisionDetector
from robustest.tasks.protocol import Constant as Constant
from robustest.tasks.protocol import Counting as Counting
from robustest.tasks.protocol import Loss as Loss
from robustest.tasks.protocol import OwnForm as OwnForm
from robustest.tasks.protocol import Ranked as Ranked
from robustest.tasks.protocol import Sided as Sided
from robustest.tasks.protocol import Stratified as Stratified
from robustest.tasks.protocol import Task as Task
from robustest.tasks.protocol import WorstScore as WorstScore
from robustest.tasks.protocol import as_targets as as_targets
from robustest.tasks.protocol import top_of as top_of
from robustest.tasks.regression import Regression as Regression
from robustest.tasks.retrieval import Retrieval as Retrieval
from robustest.tasks.segmentation import Segmentation as Segmentation
from robustest.tasks.several_labels import MultiLabel as MultiLabel
from robustest.tasks.top_k import TopK as TopK

TASKS: dict[str, Callable[[], Task]] = {"classification": Classification, "multilabel": MultiLabel}
"""The tasks of robustest that need no settings, by name."""
_WITH_SETTINGS = {
    "segmentation": "Segmentation(classes=19, floor=0.9)",
    "regression": "Regression(tolerance=0.5)",
    "top-k": "TopK(5)",
    "retrieval": "Retrieval(gallery, k=5)",
    "detection": "Detection(TorchvisionDetector(), floor=0.9)",
}
"""The other tasks, as they are made."""


def checked_task(task: object) -> Task:
    """Return the task of a value or a name.

    Raises:
        ConfigError: an unknown name, or no task; of a value that was meant as one, the member that is wrong.
        PackError: a pack is broken.
    """
    if isinstance(task, str):
        if (example := _WITH_SETTINGS.get(task.lower())) is not None:
            mend = f"Make it, with its settings: task={example}, from robustest.tasks."
            raise ConfigError(expected("a task that needs no settings where it is given by name", task, mend))
        made = TASKS[task]() if task in TASKS else extensions.made("robustest_tasks", "task", task, TASKS)
        try:
            check_members(made)
        except ConfigError as error:
            what = f"Expected the task {task!r} of a pack to be a value with the members of Task"
            raise PackError(f"{what} but it is none. {error}") from None
        return made
    check_members(task)
    return cast("Task", task)
