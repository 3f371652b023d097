"""Why a model answers as it does, for robustest: searches for unnamed cues, sparse heads and representations."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustest_interpret.backdoor_trigger import assert_no_backdoor_trigger as assert_no_backdoor_trigger
    from robustest_interpret.backdoor_trigger import measure_no_backdoor_trigger as measure_no_backdoor_trigger
    from robustest_interpret.class_evidence import assert_class_evidence as assert_class_evidence
    from robustest_interpret.class_evidence import measure_class_evidence as measure_class_evidence
    from robustest_interpret.discovery.proposals import Discovery as Discovery
    from robustest_interpret.failure_direction import assert_no_failure_direction as assert_no_failure_direction
    from robustest_interpret.failure_direction import measure_no_failure_direction as measure_no_failure_direction
    from robustest_interpret.feature_pictures import picture_features as picture_features
    from robustest_interpret.feature_pictures import picture_inversions as picture_inversions
    from robustest_interpret.gradient_alignment import assert_gradient_alignment as assert_gradient_alignment
    from robustest_interpret.gradient_alignment import measure_gradient_alignment as measure_gradient_alignment
    from robustest_interpret.heads import fit_sparse_head as fit_sparse_head
    from robustest_interpret.heads import sparse_stability as sparse_stability
    from robustest_interpret.invertible_features import assert_invertible_features as assert_invertible_features
    from robustest_interpret.invertible_features import measure_invertible_features as measure_invertible_features
    from robustest_interpret.sparse_head import assert_sparse_head as assert_sparse_head
    from robustest_interpret.sparse_head import measure_sparse_head as measure_sparse_head

# Names load when first used: every robust run imports `robustest_interpret.pack`.
_HOME = {
    "assert_class_evidence": "class_evidence",
    "assert_gradient_alignment": "gradient_alignment",
    "assert_invertible_features": "invertible_features",
    "assert_no_backdoor_trigger": "backdoor_trigger",
    "assert_no_failure_direction": "failure_direction",
    "assert_sparse_head": "sparse_head",
    "Discovery": "discovery.proposals",
    "fit_sparse_head": "heads",
    "measure_class_evidence": "class_evidence",
    "measure_gradient_alignment": "gradient_alignment",
    "measure_invertible_features": "invertible_features",
    "measure_no_backdoor_trigger": "backdoor_trigger",
    "measure_no_failure_direction": "failure_direction",
    "measure_sparse_head": "sparse_head",
    "picture_features": "feature_pictures",
    "picture_inversions": "feature_pictures",
    "sparse_stability": "heads",
}

__all__ = sorted(_HOME)  # noqa: PLE0605 - a test holds it equal to the imports above


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'robustest_interpret' has no attribute {name!r}")
    return getattr(import_module(f"robustest_interpret.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
