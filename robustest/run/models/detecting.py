"""A detector as robustest asks it: its answers in rows, by the adapter of the task."""

from __future__ import annotations

from dataclasses import replace

from robustest.factory import Factory
from robustest.models import Classifier, Needs
from robustest.tasks import AdaptedCall, AdaptedModule, Detection


def detecting(model: Classifier, task: Detection) -> Classifier:
    """The model with answers in rows, as the task reads them.

    Raises:
        ConfigError: the task's adapter does not fit the detector.
    """
    adapter = task.adapter
    adapter.check(model.call, task.confidence)
    gives = model.gives if adapter.gradient else min(model.gives, Needs.SCORES)
    if model.module is None or model.call is not model.module:
        return replace(model, call=AdaptedCall(model.call, adapter), gives=gives)
    module = AdaptedModule(model.module, adapter)
    path = "robustest.tasks.detectors:built"
    recipe = None if model.recipe is None else Factory(path, recipe=model.recipe, adapter=adapter)
    return replace(model, call=module, module=module, recipe=recipe, gives=gives)
