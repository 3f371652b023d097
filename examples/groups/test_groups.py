"""Nobody left behind: accuracy in every group, not only on average. `pytest --robust examples/groups`."""

from robustest import assert_transfer_accuracy, assert_worst_group_accuracy


def test_every_digit_is_recognised(robust_model, robust_data):
    _, y = robust_data
    assert_worst_group_accuracy(robust_model, robust_data, [f"digit {k}" for k in y.tolist()], at_least=0.85)


def test_thin_strokes_as_well_as_thick_ones(robust_model, robust_data):
    """Groups by how much ink there is; any property of the images or of whoever made them will do."""
    x, _ = robust_data
    ink = x.flatten(1).mean(1)
    thin, thick = ink.quantile(0.25), ink.quantile(0.75)
    groups = ["thin" if value <= thin else "thick" if value >= thick else "medium" for value in ink]
    assert_worst_group_accuracy(robust_model, robust_data, groups, at_least=0.88)


def test_thick_digits_are_no_other_world(robust_model, robust_data):
    """From one data set to another: what is lost between them."""
    x, y = robust_data
    thick = x.flatten(1).mean(1) >= x.flatten(1).mean(1).median()
    assert_transfer_accuracy(robust_model, (x[~thick], y[~thick]), (x[thick], y[thick]), max_drop=0.10)
