"""robustest: pytest for model robustness.

Claim something about a model; robustest searches for a counterexample. Names load when first used, so that importing
the package, as pytest does, loads neither torch nor anything else heavy.
"""

from __future__ import annotations

from robustest.claims import named
from robustest.lazy import lazy_names
from robustest.version import VERSION

# Modules with the names that are not at the top: they load when first used, too.
_MODULES = frozenset({"attacks", "cues", "data", "measure", "plots", "shifts", "tasks", "threats"})
_HOME = {
    **named("assert_"),
    "claims.robustness.certified_accuracy": ("Smoothed", "assert_certified_accuracy"),
    "claims.robustness.attacking": (
        "Adversarial",
        "find_adversarial",
    ),
    "data.benchmarks": ("benchmark",),
    "data.samples": ("Waveforms",),
    "errors": (
        "ClaimFailed",
        "ClaimInconclusive",
        "ConfigError",
        "DataError",
        "DeviceError",
        "ModelError",
        "NoClaimError",
        "RobustestError",
        "StoreError",
        "TruthValueError",
        "TryAgain",
        "UnknownNameError",
    ),
    "factory": ("Factory",),
    "health": ("HealthWarning",),
    "models": (
        "Classifier",
        "ZeroShot",
        "adapting",
        "as_classifier",
        "jax_model",
        "keras_model",
        "labels_model",
        "scores_model",
        "tf_model",
    ),
    "reports": ("Result",),  # loaded with its card for notebooks
    "results": (
        "Cost",
        "Counterexample",
        "Verdict",
    ),
    "run.asking": (
        "Calls",
        "Deployed",
    ),
    "run.purse": ("Purse",),
    "settings": ("Settings",),
    "shifts": ("Shift",),
    "store.files": ("StoreWarning",),
    "tasks": (
        "Classification",
        "Detection",
        "MultiLabel",
        "Regression",
        "Retrieval",
        "Segmentation",
        "TopK",
    ),
    "threats": (
        "L0",
        "L1",
        "L2",
        "Append",
        "Columns",
        "Edits",
        "Insert",
        "Linf",
        "Patch",
        "Snr",
        "Spatial",
        "Unbounded",
    ),
}
_MODULE_OF, __getattr__, __dir__ = lazy_names(__name__, _HOME, _MODULES)

__version__ = VERSION
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - its stub lists them
