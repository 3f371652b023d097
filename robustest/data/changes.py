"""Changes of items by name: functions from an item to the item as it is asked about too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robustest.errors import ConfigError, expected

Change = Callable[[Any], Any]
"""Function from an item to the changed item; None, or the item as it is, where the change has no meaning."""
Changes = Change | Sequence[Change] | Mapping[str, Change]
"""One change, several, or changes by name."""

_MEND = 'Name them: changes={"upper case": str.upper}.'


def named_changes(given: object) -> dict[str, Change]:
    """Return changes by name: the name that is given, else that of the function.

    Raises:
        ConfigError: they are no functions, there is none, or two have one name.
    """
    if isinstance(given, Mapping):
        pairs = [*given.items()]
    else:
        several = [*given] if isinstance(given, (list, tuple)) else [given]
        pairs = [(getattr(one, "__name__", type(one).__name__), one) for one in several]
    for name, change in pairs:
        if not callable(change):
            raise ConfigError(expected("changes to be functions of an item", change, _MEND))
        if not isinstance(name, str) or not name or (name == "<lambda>" and not isinstance(given, Mapping)):
            raise ConfigError(expected("a name of each change", name, _MEND))
    found = dict(pairs)
    if len(found) < len(pairs) or not found:
        raise ConfigError(expected("changes of different names, at least one", [name for name, _ in pairs], _MEND))
    return found
