"""Measurements: the twins of the assertions. Each returns its `Result` and raises no error over its verdict.

`measure_NAME` takes the arguments of `assert_NAME`; without a threshold the verdict is inconclusive. Further functions
compute on results, e.g. effective robustness.
"""

from __future__ import annotations

from robustest.claims import named
from robustest.lazy import lazy_names

_HOME = {
    **named("measure_"),
    "claims.strategies": ("accuracy_under", "measure_robust_to"),
    "decisions.effective_robustness": ("EffectiveRobustness", "effective_robustness"),
}
_MODULE_OF, __getattr__, __dir__ = lazy_names(__name__, _HOME)
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - its stub lists them
