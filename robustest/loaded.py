"""Modules as far as this process has loaded them, for code that looks for their values without loading them.

A process that has not imported torch holds no tensor. Code that meets values of any kind (names of claims, digests)
asks here, so that recorded outcomes and asking neither load torch nor need it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")


class _Nowhere(type):
    """Makes a class whose attributes are classes without instances as well."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class Absent(metaclass=_Nowhere):
    """The class that stands for each name of a module that is not loaded; it has no instances and no subclasses."""

    def __new__(cls) -> Absent:
        raise TypeError("Expected no instance of a class that stands for one of a module that is not loaded.")


def loaded(name: str) -> ModuleType | None:
    """Return a module if it is imported to its end, else None."""
    module = sys.modules.get(name)
    # Another thread may be importing it: its names are not all there yet.
    if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
        return None
    return module


def of_class(value: object, module: str, name: str) -> bool:
    """Return True for an instance of a class of a module; False if the module is not loaded, as there is none then."""
    home = loaded(module)
    return home is not None and isinstance(value, getattr(home, name))


class _Torch:
    """Torch once it is loaded; before, each of its names is `Absent`."""

    def __getattr__(self, name: str) -> Any:
        module = loaded("torch")
        return Absent if module is None else getattr(module, name)


torch: Any = _Torch()
"""Stands for the module torch in modules of the half that needs no torch, which must not import it."""


def with_torch(make: Callable[[], T]) -> Callable[[], T]:
    """Return a function that returns `make()`, made once before torch is loaded and once afterwards.

    Args:
        make: makes a table that names torch's types by `torch` above.
    """
    made: dict[bool, T] = {}

    def get() -> T:
        now = loaded("torch") is not None
        if now not in made:
            made[now] = make()
        return made[now]

    return get


def torch_version() -> str:
    """Return the version of torch, loaded or not; empty if it is not installed."""
    module = loaded("torch")
    if module is not None:
        return str(module.__version__)
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""
