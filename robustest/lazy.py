"""Names of a module that load when first used, so that importing robustest loads neither torch nor scipy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module


def lazy_names(
    module: str, homes: Mapping[str, tuple[str, ...]], submodules: Collection[str] = ()
) -> tuple[dict[str, str], Callable[[str], object], Callable[[], list[str]]]:
    """Return the home of each name of a module, and its `__getattr__` and `__dir__`.

    Args:
        module: name of the module.
        homes: names by defining module, e.g. {"errors": ("ConfigError",)} for `robustest.errors`.
        submodules: modules below it, if it is a package, that load in the same way.
    """
    module_of = {name: f"robustest.{home}" for home, names in homes.items() for name in names}

    def load(name: str) -> object:
        if name not in submodules and name not in module_of:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        # Here, as every run of pytest reads this file.
        from robustest.errors import needing_torch

        with needing_torch(f"{module}.{name}"):
            if name in submodules:
                return import_module(f"{module}.{name}")
            value = getattr(import_module(module_of[name]), name)
        # The next use finds the value without `__getattr__`.
        setattr(sys.modules[module], name, value)
        return value

    return module_of, load, lambda: sorted({*vars(sys.modules[module]), *module_of, *submodules})
