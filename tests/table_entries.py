"""Tables that must have an entry for each thing there is: what differs is said by name, and where to mend it."""

from __future__ import annotations

from collections.abc import Iterable


def check_entries(entries: Iterable[str], wanted: Iterable[str], where: str) -> None:
    """Raise AssertionError unless a table has the wanted entries, each once, and no others.

    Args:
        entries: names that the table has.
        wanted: names of the things that it is about.
        where: the table and its file, as a sentence goes on after "Add to" and "Remove from".
    """
    entries, wanted = list(entries), set(wanted)
    twice = sorted({name for name in entries if entries.count(name) > 1})
    missing, other = sorted(wanted - set(entries)), sorted(set(entries) - wanted)
    assert not missing, f"Add to {where}: {', '.join(missing)}."
    assert not other, f"Remove from {where}, or make what it is about: {', '.join(other)}."
    assert not twice, f"Name once in {where}: {', '.join(twice)}."
