"""Signs of clusters in names and groups: units that were probably drawn together, though nothing says so."""

# - Names: two numbers, as in video12_frame3.png. Without the last one, names of one video are equal.
# - Groups: labels of them with digits, as ids have, and few units each.
#
# Many small groups must show a sign, and more of them than there are classes: as many are what classes look like.

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePath

# Fewest groups, most units of a group on average, and the least share of units that are in a group with others.
_GROUPS, _UNITS, _SHARE = 10, 60, 0.5
MOST_NAMES = 20_000
"""Most names that are looked at; of a longer list the beginning."""


def by_names(names: Sequence[str], classes: int = 1, *, units: str = "samples") -> str:
    """Return what names of files or items say of clusters, in words; "" if nothing.

    Args:
        classes: number of classes, which names of files often tell as well.
        units: the units, in words.
    """
    counts = Counter(_without_number(name) for name in names[:MOST_NAMES])
    digits = sum(count for name, count in counts.items() if re.search(r"\d", PurePath(name).name))
    folders = len({str(PurePath(name).parent) for name in counts})
    if 2 * digits < counts.total() and folders <= 2 * classes:
        return ""
    return _words(counts, classes, units, "names")


def by_groups(labels: Iterable[str], *, units: str = "items") -> str:
    """Return what labels of groups say of clusters, in words; "" if nothing; an empty label is no group."""
    counts = Counter(label for label in labels if label)
    if not counts or 2 * sum(bool(re.search(r"\d", name)) for name in counts) < len(counts):
        return ""
    return _words(counts, 1, units, "groups")


def _without_number(name: str) -> str:
    folder, slash, file = name.replace("\\", "/").rpartition("/")
    left = re.sub(r"\d+(?=\D*$)", "", re.sub(r"\.[A-Za-z]\w{0,4}$", "", file), count=1)
    # The same video or patient may be in the folders of several classes.
    return left if re.search(r"\d", left) else f"{folder}{slash}{left or '#'}"


def _words(counts: Counter[str], classes: int, units: str, what: str) -> str:
    total, shared = counts.total(), sum(count for count in counts.values() if count > 1)
    groups = sum(count > 1 for count in counts.values())
    if groups < max(_GROUPS, 2 * classes + 1) or shared < _SHARE * total or shared > _UNITS * groups:
        return ""
    return (
        f"the {what} of {units} look like {groups} clusters of about {round(shared / groups)}: if {units} were drawn "
        "together, say so with cluster="
    )
