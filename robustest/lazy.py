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
            raise absent(module, name)
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


def absent(module: str, name: str) -> Exception:
    """Return the error for a name that a module does not have: an AttributeError unless an extra has it.

    `from robustest import NAME` puts a sentence of its own in the place of an AttributeError's.
    """
    from robustest.extras import extra_with

    extra = extra_with(name)
    if not extra:  # pytest itself looks for names that no module has
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    from robustest.errors import NotInstalledError

    return NotInstalledError(
        f"Expected {name} to be imported from robustest_{extra}, not from {module}: from robustest_{extra} import "
        f"{name}. The extra {extra!r} installs it: pip install 'robustest[{extra}]'"
    )
