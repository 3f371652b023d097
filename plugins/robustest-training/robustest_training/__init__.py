"""Training and synthetic data for robustest: claims about training, and repairs of models by training."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustest_training import repair as repair
    from robustest_training.landscape import assert_smooth_landscape as assert_smooth_landscape
    from robustest_training.landscape import measure_smooth_landscape as measure_smooth_landscape
    from robustest_training.learning_curve import SampleCount as SampleCount
    from robustest_training.learning_curve import samples_for as samples_for
    from robustest_training.nonrobust_reliance import assert_nonrobust_reliance as assert_nonrobust_reliance
    from robustest_training.nonrobust_reliance import measure_nonrobust_reliance as measure_nonrobust_reliance
    from robustest_training.plots import plot_generalization as plot_generalization
    from robustest_training.robust_generalization import assert_robust_generalization as assert_robust_generalization
    from robustest_training.robust_generalization import measure_robust_generalization as measure_robust_generalization
    from robustest_training.synthetic_covers import assert_synthetic_covers as assert_synthetic_covers
    from robustest_training.synthetic_covers import measure_synthetic_covers as measure_synthetic_covers

# Names load when first used: every robust run imports `robustest_training.pack`, and training is slow to import.
_HOME = {
    "assert_nonrobust_reliance": "nonrobust_reliance",
    "assert_robust_generalization": "robust_generalization",
    "assert_smooth_landscape": "landscape",
    "assert_synthetic_covers": "synthetic_covers",
    "measure_nonrobust_reliance": "nonrobust_reliance",
    "measure_robust_generalization": "robust_generalization",
    "measure_smooth_landscape": "landscape",
    "measure_synthetic_covers": "synthetic_covers",
    "plot_generalization": "plots",
    "SampleCount": "learning_curve",
    "samples_for": "learning_curve",
}


def __getattr__(name: str) -> object:
    if name == "repair":
        return import_module("robustest_training.repair")
    if name not in _HOME:
        raise AttributeError(f"module 'robustest_training' has no attribute {name!r}")
    return getattr(import_module(f"robustest_training.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "repair"})
