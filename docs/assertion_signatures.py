"""What the pages show of assertions, which are made of their measurements when they load: signature and docstring.

The pages are made by reading the source, where an assertion has no arguments: so they are taken from what was made.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import griffe


class AssertionSignatures(griffe.Extension):
    """Gives each assertion its measurement's parameters, with the defaults that it has itself."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        for name, function in _assertions(pkg):
            made = getattr(import_module(pkg.name), name)
            measure = made.__wrapped__
            source = pkg[measure.__module__.partition(".")[2]][measure.__name__]
            parameters = inspect.signature(made).parameters
            function.parameters = griffe.Parameters(
                *(_parameter(one, parameters[one.name]) for one in source.parameters)
            )
            function.returns = source.returns
            function.decorators = []
            function.docstring = griffe.Docstring(inspect.cleandoc(made.__doc__), parent=function)
            # The stub has overloads alone of an assertion with several thresholds, which leaves the package without it.
            pkg.set_member(name, griffe.Alias(name, function.path))


def _assertions(pkg: griffe.Module) -> list[tuple[str, griffe.Function]]:
    members = [
        (name, one) for home in _modules(pkg) for name, one in home.members.items() if name.startswith("assert_")
    ]
    return [(name, one) for name, one in members if isinstance(one, griffe.Function)]


def _modules(pkg: griffe.Module) -> list[griffe.Module]:
    """Every module of a package: assertions are beside their measurements."""
    inner = [one for one in pkg.members.values() if isinstance(one, griffe.Module)]
    return [pkg, *(module for one in inner for module in _modules(one))]


def _parameter(source: griffe.Parameter, made: inspect.Parameter) -> griffe.Parameter:
    default = source.default  # as it was written: a name says more than its value
    if made.default is made.empty:
        default = None if made.kind is not made.VAR_KEYWORD else source.default
    elif default == "None":
        default = repr(made.default)
    return griffe.Parameter(source.name, annotation=source.annotation, kind=source.kind, default=default)
