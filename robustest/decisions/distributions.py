"""SciPy's distributions and functions that rules use; SciPy is imported at the first call.

SciPy takes most of a second of the processor. Rules are imported wherever a claim is named, by commands and reports
too, and few of these decide anything.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final


class Later:
    """A function or distribution of SciPy by its name, e.g. "stats.beta"."""

    __slots__ = ("_held", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._held: Any = None

    def _load(self) -> Any:
        if self._held is None:
            module, _, name = self._path.partition(".")
            self._held = getattr(import_module(f"scipy.{module}"), name)
        return self._held

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._load()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


beta: Final = Later("stats.beta")
binom: Final = Later("stats.binom")
norm: Final = Later("stats.norm")
student: Final = Later("stats.t")

bdtrc: Final = Later("special.bdtrc")
betainc: Final = Later("special.betainc")
betaincinv: Final = Later("special.betaincinv")
gammaln: Final = Later("special.gammaln")
ndtri: Final = Later("special.ndtri")
ndtri_exp: Final = Later("special.ndtri_exp")
xlogy: Final = Later("special.xlogy")

brentq: Final = Later("optimize.brentq")
