"""The interface of packs: one hook for each thing that a package can add to robustest.

A pack names a module (or an object) in the entry-point group `robustest`, and implements some of the hooks below:

```toml
[project.entry-points.robustest]
dusk = "robustest_dusk.pack"
```

```python
from robustest.extensions import hookimpl


@hookimpl
def robustest_shifts():
    from robustest_dusk.shifts import dusk

    return {"dusk": dusk}
```

Packs are loaded once in a process: at the start of `pytest --robust`, by a command of the command line, or by the first
name that robustest does not have. pytest without `--robust` loads none. So the module of the entry point must be light,
and a hook imports its values when it is called.

A pack that cannot be loaded, or violates the interface, is a `PackError`, which ends a run before the first test:
nothing is measured or reported without an installed pack.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, TypeVar

import pluggy

from robustest.errors import PackError, RobustestError, expected, not_installed, unknown
from robustest.extras import given_by_extras
from robustest.results import Fact

GROUP = "robustest"
"""The entry-point group of packs, and the name of their hooks' project."""

hookimpl = pluggy.HookimplMarker(GROUP)
"""Decorator of a pack's function that implements the hook of its name."""

HOOKS: Mapping[str, tuple[str, ...]] = {
    "robustest_attacks": (),
    "robustest_searches": ("threat",),
    "robustest_shifts": (),
    "robustest_cue_searches": (),
    "robustest_tasks": (),
    "robustest_kinds": (),
    "robustest_read": ("data",),
    "robustest_outcomes": (),
    "robustest_engines": (),
    "robustest_sections": ("results",),
    "robustest_commands": (),
    "robustest_probes": ("facts",),
}
"""Arguments of each hook by its name; `robustest.hooks` specifies them."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of the command line: `robustest NAME ...`.

    Attributes:
        name: the command.
        help: its line in `robustest --help`.
        arguments: function that adds its arguments to a parser of `argparse`.
        run: function of the arguments that returns the exit code, one of `robustest.cli.screen.Exit`.
    """

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], object]
    run: Callable[[argparse.Namespace], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section below the claims of a report: a title, and labels with values."""

    title: str
    facts: tuple[Fact, ...]


@cache
def manager() -> pluggy.PluginManager:
    """Return the plugin manager with every installed pack, which the first call loads.

    Raises:
        PackError: a pack cannot be loaded, or implements an unknown hook.
    """
    found = pluggy.PluginManager(GROUP)
    for point in entry_points(group=GROUP):
        # `load_setuptools_entrypoints` would raise the error of a pack without the pack's name.
        try:
            found.register(point.load(), name=point.name)
        except Exception as error:
            raise _broken(point, error) from error
        for hook in found.get_hookcallers(found.get_plugin(point.name)) or ():
            # pluggy accepts functions without a specification, and a wrapper could change the answers of other packs.
            if hook.name not in HOOKS:
                raise _broken(point, unknown("hook", hook.name, HOOKS))
            for one in hook.get_hookimpls():
                if surplus := {*one.argnames} - {*HOOKS[hook.name]}:
                    raise _broken(point, f"arguments {sorted(surplus)} that {hook.name} does not have")
            if any(one.wrapper or one.hookwrapper for one in hook.get_hookimpls()):
                raise _broken(point, f"a wrapper of {hook.name}: a pack answers for itself alone")
    return found


def _broken(point: EntryPoint, problem: object) -> PackError:
    package = "the package that brings it" if point.dist is None else f"{point.dist.name} {point.dist.version}"
    what = f"{type(problem).__name__}: {problem}" if isinstance(problem, Exception) else str(problem)
    return PackError(
        f"Expected to load the pack {point.name!r} ({point.value}) but got {' '.join(what.split()).rstrip('.')}. "
        f"Upgrade or uninstall {package}."
    )


def names() -> list[str]:
    """Return the names of the installed packs.

    Raises:
        PackError: as for `manager`.
    """
    return [name for name, _ in manager().list_name_plugin()]


class Answer(NamedTuple):
    """The answer of a pack to a hook; `value` is never None."""

    pack: str
    value: Any


def answers(hook: str, **arguments: object) -> Iterator[Answer]:
    """Yield the answer of each pack that has one.

    Raises:
        PackError: a pack cannot be loaded, or its hook raised an error other than robustest's.
    """
    # In pluggy's order (`tryfirst`, `trylast`, else the last registered first). A call of the hook itself would return
    # values without the names of their packs.
    caller = getattr(manager().hook, hook, None)  # None if no pack has the hook
    for one in [] if caller is None else reversed(caller.get_hookimpls()):
        try:
            value = one.function(*[arguments[name] for name in one.argnames])
        except RobustestError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            whose = f"{hook} of the pack {one.plugin_name!r}"
            raise PackError(f"Expected {whose} to answer but it raised {what}. Upgrade or uninstall it.") from error
        if value is not None:
            yield Answer(one.plugin_name, value)


def all_of(hook: str, kind: type[T], **arguments: object) -> list[tuple[str, T]]:
    """Return the values of a hook that returns a sequence, each with the name of its pack.

    Args:
        hook: name of the hook.
        kind: type of each value.
        **arguments: arguments of the hook.

    Raises:
        PackError: as for `answers`, or a value has another type.
    """
    found: list[tuple[str, T]] = []
    for pack, values in answers(hook, **arguments):
        if not isinstance(values, Collection):
            raise _wrong(pack, hook, f"a sequence of {kind.__name__}", values)
        for value in values:
            if not isinstance(value, kind):
                raise _wrong(pack, hook, f"a sequence of {kind.__name__}", value)
            found.append((pack, value))
    return found


def by_name(hook: str, what: str, ours: Collection[str]) -> dict[str, Answer]:
    """Return the functions of a hook by name, each with the name of its pack.

    Args:
        hook: name of the hook.
        what: noun for the names, e.g. "attack".
        ours: names that robustest has.

    Raises:
        PackError: as for `answers`; a value is no function, or a name is taken.
    """
    found: dict[str, Answer] = {}
    for pack, values in answers(hook):
        if not isinstance(values, Mapping):
            raise _wrong(pack, hook, "functions by name", values)
        for name, value in values.items():
            if not isinstance(name, str) or not callable(value):
                raise _wrong(pack, hook, "functions by name", {name: value})
            check_new(what, name, pack, {**dict.fromkeys(ours, ""), **{one: found[one].pack for one in found}})
            found[name] = Answer(pack, value)
    return found


def made(hook: str, what: str, name: str, ours: Collection[str], *arguments: object) -> Any:
    """Call the function of a name and return its value.

    Args:
        hook, what, ours: as for `by_name`.
        name: the name as given.
        *arguments: arguments of the function.

    Raises:
        UnknownNameError: no pack has the name.
        NotInstalledError: a pack that is not installed has it.
        PackError: as for `by_name`, or the function raised.
    """
    found = by_name(hook, what, ours)
    if name not in found:
        extras = given_by_extras(what)
        if name in extras:
            raise not_installed(f"the {what} {name!r} of the pack robustest-{extras[name]}", extras[name])
        raise unknown(what, name, {*ours, *found, *extras})
    pack, make = found[name]
    try:
        return make(*arguments)
    except RobustestError:
        raise
    except Exception as error:
        raise PackError(
            f"Expected the pack {pack!r} to make the {what} {name!r} but it raised {type(error).__name__}: {error}"
        ) from error


def check_new(what: str, name: str, pack: str, taken: Mapping[str, str]) -> None:
    """Raise PackError for a name that robustest or another pack has.

    Args:
        what: noun for the name, e.g. "attack".
        name: the name.
        pack: the pack that gives it.
        taken: pack of each known name; empty for robustest.
    """
    # The meaning of the name would depend on the installed packs.
    if name in taken:
        owner = f"the pack {taken[name]!r}" if taken[name] else "robustest"
        raise PackError(
            f"Expected the pack {pack!r} to give its {what} a name of its own but {owner} has a {what} {name!r} too. "
            "Uninstall one of them, or rename it."
        )


def _wrong(pack: str, hook: str, what: str, got: object) -> PackError:
    return PackError(expected(f"{hook} of the pack {pack!r} to return {what}", got))
