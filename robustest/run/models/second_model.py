"""A second model beside the one that is measured: a baseline, or a judge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from robustest.engine.evaluator import Evaluator, resolve
from robustest.errors import ConfigError
from robustest.models import Classifier, as_classifier, frozen
from robustest.run.evidence import Evidence, Tally
from robustest.run.models.split_search import with_search
from robustest.run.options import Options
from robustest.settings import Settings


@contextmanager
def beside(model: object, first: Classifier, settings: Settings, options: Options, name: str) -> Iterator[Evaluator]:
    """An evaluator of a second model, frozen; it is as it was at the end.

    Args:
        model: as for `measure_robust_accuracy`.
        first: the model that is measured.
        settings: device and batch size.
        options: bounds and preprocessing, for both models alike.
        name: what it is there for, as its argument is called.

    Raises:
        ConfigError: it is the first model itself, or no model.
    """
    second = as_classifier(model, bounds=options.get("bounds"), preprocessing=options.get("preprocessing"))
    same = second.call is first.call or (second.module is not None and second.module is first.module)
    if same:
        raise ConfigError(f"Expected {name}= to be another model but got the one that is measured.")
    if second.bounds != first.bounds:
        raise ConfigError(
            f"Expected {name}= to take inputs in {first.bounds}, as the model does, but got {second.bounds}."
        )
    suppress = (*settings.suppress, "softmax_outputs")  # nobody attacks it
    with torch.inference_mode(False), frozen(second.module) as notes:
        device = resolve(settings.device, second.device or first.device)
        evaluator = Evaluator(second, device, batch_size=settings.batch_size, suppress=suppress, notes=notes)
        yield evaluator
        evaluator.settle()


def with_second(evidence: Evidence, second: Evaluator, settings: Settings) -> Evidence:
    """Evidence that rests on a second model too: its passes, and what speaks against it; its time is in the chunks'."""
    return with_search(evidence, replace(Tally.of(second), seconds=0.0), settings)
