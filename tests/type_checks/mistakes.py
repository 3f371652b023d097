"""Mistakes that a type checker finds before a test runs: one in each marked line, and no other."""

from __future__ import annotations

from torch import Tensor, nn

from robustest import (
    Linf,
    assert_accuracy,
    assert_calibrated,
    assert_min_perturbation,
    assert_no_spurious_feature,
    assert_no_universal_perturbation,
    assert_ood_rejected,
    assert_robust_accuracy,
    assert_shift_accuracy,
    assert_worst_group_accuracy,
)

Data = tuple[Tensor, Tensor]


def sloppy(model: nn.Module, data: Data) -> None:
    assert_robust_accuracy(model, data, Linf(0.1), min_accuracy=0.5)  # mistake: a keyword that there is not
    assert_robust_accuracy(model, data, "linf", at_least=0.5)  # mistake: a name for a threat
    assert_robust_accuracy(model, data, Linf, at_least=0.5)  # mistake: the class of a threat
    assert_robust_accuracy(model, data, Linf(0.1), 0.5)  # mistake: a threshold by position
    assert_robust_accuracy(model, data, Linf(0.1))  # mistake: nothing is claimed, of several thresholds
    assert_min_perturbation(model, data, "linf")  # mistake: nothing is claimed, of one threshold
    assert_accuracy(model, data, at_least="0.9")  # mistake: text for a number
    assert_accuracy(model, data, at_least=0.9, sede=3)  # mistake: an option that there is not
    assert_accuracy(model, data, at_least=0.9, seed="3")  # mistake: an option of another type
    assert_accuracy(model, data, at_least=0.9, task=3)  # mistake: no task
    assert_shift_accuracy(model, data, "fog", severity=2.5, max_drop=0.1)  # mistake: half a severity
    assert_shift_accuracy(model, data, max_drop=0.1)  # mistake: no shift
    assert_no_spurious_feature(model, data, 3, max_flip_rate=0.1)  # mistake: no cue and no search for cues
    assert_no_universal_perturbation(model, data, max_fooling_rate=0.3, threat=None)  # mistake: None for a threat
    assert_ood_rejected(model, data, max_fpr=0.3)  # mistake: no other data
    assert_calibrated(model, data, max_ece=None, max_brier=None)  # mistake: thresholds of None
    assert_worst_group_accuracy(model, data, ["a"], at_least=0.7, min_group_size="ten")  # mistake: a number in words
    accuracy: float = assert_accuracy(model, data, at_least=0.9)  # mistake: a result is no number
    print(accuracy)
