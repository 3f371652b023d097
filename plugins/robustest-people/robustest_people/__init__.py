"""People for robustest: labels against annotators, label quality, and studies of what people foresee and notice."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustest_people.aggregation import Consensus as Consensus
    from robustest_people.aggregation import aggregate as aggregate
    from robustest_people.agreement import Agreement as Agreement
    from robustest_people.agreement import AnnotatorQuality as AnnotatorQuality
    from robustest_people.agreement import annotator_quality as annotator_quality
    from robustest_people.agreement import cohen_kappa as cohen_kappa
    from robustest_people.agreement import fleiss_kappa as fleiss_kappa
    from robustest_people.agreement import krippendorff_alpha as krippendorff_alpha
    from robustest_people.annotations import Annotations as Annotations
    from robustest_people.cue_noticed import assert_cue_noticed as assert_cue_noticed
    from robustest_people.label_agreement import assert_label_agreement as assert_label_agreement
    from robustest_people.label_quality import Suspects as Suspects
    from robustest_people.label_quality import assert_label_quality as assert_label_quality
    from robustest_people.label_quality import suspects as suspects
    from robustest_people.multilabel_accuracy import assert_multilabel_accuracy as assert_multilabel_accuracy
    from robustest_people.replication_gap import assert_replication_gap as assert_replication_gap
    from robustest_people.responses import Responses as Responses
    from robustest_people.selection_gap import assert_selection_gap as assert_selection_gap
    from robustest_people.simulatable import assert_simulatable as assert_simulatable

# Names load when first used: every robust run imports `robustest_people.pack`.
_HOME = {
    "Consensus": "robustest_people.aggregation",
    "aggregate": "robustest_people.aggregation",
    "Agreement": "robustest_people.agreement",
    "AnnotatorQuality": "robustest_people.agreement",
    "annotator_quality": "robustest_people.agreement",
    "cohen_kappa": "robustest_people.agreement",
    "fleiss_kappa": "robustest_people.agreement",
    "krippendorff_alpha": "robustest_people.agreement",
    "Annotations": "robustest_people.annotations",
    "assert_cue_noticed": "robustest_people.cue_noticed",
    "assert_label_agreement": "robustest_people.label_agreement",
    "assert_label_quality": "robustest_people.label_quality",
    "assert_multilabel_accuracy": "robustest_people.multilabel_accuracy",
    "assert_replication_gap": "robustest_people.replication_gap",
    "assert_selection_gap": "robustest_people.selection_gap",
    "assert_simulatable": "robustest_people.simulatable",
    "Responses": "robustest_people.responses",
    "Suspects": "robustest_people.label_quality",
    "suspects": "robustest_people.label_quality",
}

__all__ = sorted(_HOME)  # noqa: PLE0605 - a test holds it equal to the imports above


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'robustest_people' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
