"""ObjectNet's classes among ImageNet's, by the mappings that are part of its archive."""

from __future__ import annotations

import json
from pathlib import Path

from robustest.data.benchmarks.classes import ClassMap
from robustest.errors import DataError


def shared_classes(mappings: Path) -> ClassMap:
    """The classes that ObjectNet shares with ImageNet, named by their folders, each with ImageNet's classes that it is.

    (Barbu et al., NeurIPS 2019.) A folder has a label, a label some of ImageNet's labels, a label a line in ImageNet's
    list, and a line an output of the usual models.

    Raises:
        DataError: a mapping is absent, or names what another does not have.
    """
    try:
        label_of = _json(mappings / "folder_to_objectnet_label.json")
        shared = _json(mappings / "objectnet_to_imagenet_1k.json")
        line_of = _json(mappings / "pytorch_to_imagenet_2012_id.json")
        lines = (mappings / "imagenet_to_label_2012_v2").read_text(encoding="utf-8").splitlines()
        output = {lines[int(line)].strip(): int(index) for index, line in line_of.items()}
        folder = {label: name for name, label in label_of.items()}
        chosen = sorted((folder[label], [output[one] for one in names.split("; ")]) for label, names in shared.items())
    except (OSError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise DataError(
            f"Expected ObjectNet's four mappings in {mappings} but got {type(error).__name__}: "
            f"{error}. They are part of "
            "its archive."
        ) from error
    return ClassMap(names=tuple(name for name, _ in chosen), groups=tuple(tuple(group) for _, group in chosen))


def _json(path: Path) -> dict[str, str]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
