"""Measurements: like the assertions, but each returns its `Result` whatever the verdict."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustest_people.cue_noticed import measure_cue_noticed as measure_cue_noticed
    from robustest_people.label_agreement import measure_label_agreement as measure_label_agreement
    from robustest_people.label_quality import measure_label_quality as measure_label_quality
    from robustest_people.multilabel_accuracy import measure_multilabel_accuracy as measure_multilabel_accuracy
    from robustest_people.replication_gap import measure_replication_gap as measure_replication_gap
    from robustest_people.selection_gap import measure_selection_gap as measure_selection_gap
    from robustest_people.simulatable import measure_simulatable as measure_simulatable

_HOME = {
    "measure_cue_noticed": "robustest_people.cue_noticed",
    "measure_label_agreement": "robustest_people.label_agreement",
    "measure_label_quality": "robustest_people.label_quality",
    "measure_multilabel_accuracy": "robustest_people.multilabel_accuracy",
    "measure_replication_gap": "robustest_people.replication_gap",
    "measure_selection_gap": "robustest_people.selection_gap",
    "measure_simulatable": "robustest_people.simulatable",
}

__all__ = sorted(_HOME)  # noqa: PLE0605 - a test holds it equal to the imports above


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'robustest_people.measure' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
