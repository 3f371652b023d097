"""Models and data by the function that builds them, for processes and machines that cannot receive the object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from robustest.checks import require
from robustest.errors import ConfigError


@dataclass(frozen=True, slots=True, init=False)
class Factory:
    """A model or a data set by the function that builds it.

    `Factory("shop.nets:build", width=64)` stands for `shop.nets.build(width=64)` wherever a model or data are expected.

    Args:
        path: "package.module:name" of a function or class that every process can import.
        **arguments: its arguments, plain values.

    Raises:
        ConfigError: the path has another form.
    """

    path: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __init__(self, path: str, /, **arguments: Any) -> None:
        module, colon, name = path.partition(":") if isinstance(path, str) else ("", "", "")
        require(module and colon and name, "the path of a factory as 'package.module:name'", path)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "arguments", dict(arguments))

    def build(self) -> Any:
        """Call the function and return the model or data.

        Raises:
            ConfigError: it cannot be imported, or it fails.
        """
        module, _, name = self.path.partition(":")
        try:
            # Workers build it themselves, so only a model's weights are sent, and data are read beside the worker.
            made: Any = import_module(module)
            for part in name.split("."):
                made = getattr(made, part)
            return made(**self.arguments)
        except Exception as error:
            raise ConfigError(
                f"Expected {self} to build something but got {type(error).__name__}: {error}. The module must be "
                "importable wherever it is built: here, and on every worker."
            ) from error

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.path}({given})"
