"""What training makes of data, and what more data would buy. `pytest --robust examples/training`."""

import pytest
from robustest_training import (
    assert_nonrobust_reliance,
    assert_robust_generalization,
    assert_synthetic_covers,
    samples_for,
)

from robustest import L2, ClaimFailed, ClaimInconclusive

from .conftest import THREAT, bland, train_plainly, train_robustly

HOW = {"attack": "pgd", "sizes": [75, 300, 1200]}


def test_robust_training_holds_on_other_digits_what_it_holds_on_its_own(train, test):
    result = assert_robust_generalization(
        train, THREAT, train=train_robustly, test_data=test, max_gap=0.25, min_train_accuracy=0.5, **HOW
    )
    first, *_, last = result.details["curve"]
    assert first["robust_gap"] > first["clean_gap"]  # robust accuracy takes more samples than accuracy ...
    assert first["robust_gap"] > last["robust_gap"]  # ... and its gap closes as there are more
    half = (first["robust_test"] + last["robust_test"]) / 2
    assert 75 < samples_for(result, half).samples < 1200


def test_what_plain_training_never_held_it_cannot_lose(train, test):
    """A gap near 0, and a claim that does not pass for it."""
    how = HOW | {"sizes": [1200]}
    with pytest.raises(ClaimInconclusive, match="has no gap"):
        assert_robust_generalization(
            train, THREAT, train=train_plainly, test_data=test, max_gap=0.25, min_train_accuracy=0.5, **how
        )


def test_classes_can_be_learned_from_what_an_attack_moves(standard_model, train, test):
    """A claim that fails, with its reason: digits that look like a 3 and are labelled 4 teach what a 4 is."""
    with pytest.raises(ClaimFailed):
        assert_nonrobust_reliance(
            standard_model, train, L2(2), train=train_plainly, test_data=test, max_transfer=0.3, iterations=20
        )


def test_digits_drawn_about_the_mean_of_each_class_do_not_stand_in_for_real_ones(train, test):
    """A claim that fails, with its reason: nothing is copied and every label is right, and yet little is taught."""
    limits = {"max_gap": 0.03, "max_label_shift": 0.1, "max_diversity_factor": 3.0}
    with pytest.raises(ClaimFailed) as caught:
        assert_synthetic_covers(train, bland(*train, seed=0), test_data=test, **limits)
    parts = caught.value.result.details["parts"]
    assert [part["part"] for part in parts if part["verdict"] == "failed"] == ["accuracy gap", "diversity factor"]


def test_half_of_the_digits_stand_in_for_the_other_half(train, test):
    (x, y), half = train, len(train[1]) // 2
    assert_synthetic_covers(
        (x[half:], y[half:]), (x[:half], y[:half]), test_data=test, max_gap=0.05, max_label_shift=0.15
    )
