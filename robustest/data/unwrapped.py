"""What projects keep their data in, as what samples are read from: frames of pandas, Lightning's data modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from robustest import extensions
from robustest.errors import DataError, PackError, expected


def unwrapped(data: Any, labels: Sequence[Any] | None = None) -> Any:
    """Data as `robustest.data.as_samples` reads them; what it reads already stays as it is.

    Args:
        data: `(frame, series)` of pandas, a frame or a list with labels; a `LightningDataModule`, of which the test
            loader counts; or anything else.
        labels: the labels that a model's classes have, in the order of the classes; labels of the data that are no
            class indices are found among them. None where they are indices already.

    Raises:
        DataError: a column holds no numbers, a label is no class of the model, or a data module has no test loader.
    """
    data = read_by_pack(data)
    if hasattr(data, "test_dataloader") and hasattr(data, "setup"):
        data = _test_loader(data)
    if not (isinstance(data, (tuple, list)) and len(data) == 2 and (_is_frame(data[0]) or hasattr(data[0], "shape"))):
        return data
    x, y = data
    return (_numbers(x) if _is_frame(x) else x), _indices(_plain(y), labels)


def read_by_pack(data: Any) -> Any:
    """Data as the first pack reads them that knows their type; what none knows stays as it is.

    Raises:
        PackError: a pack is broken, or what it read is nothing that samples are read from.
    """
    arrays = isinstance(data, (tuple, list)) and len(data) == 2 and isinstance(data[0], (Tensor, np.ndarray))
    if arrays or isinstance(data, DataLoader) or type(data).__module__.partition(".")[0] == "robustest":
        return data
    for pack, read in extensions.answers("robustest_read", data=data):
        if not (hasattr(read, "__getitem__") and hasattr(read, "__len__")) and not hasattr(read, "dataset"):
            what = f"robustest_read of the pack {pack!r} to return (x, y), a data set or a DataLoader"
            raise PackError(expected(what, read))
        return read
    return data


def _test_loader(module: Any) -> Any:
    if getattr(module, "_robustest_set_up", None) is not True:
        module.setup("test")
        module._robustest_set_up = True
    loader = module.test_dataloader()
    if loader is None or isinstance(loader, (list, tuple, Mapping)):
        raise DataError(
            expected("a data module whose test_dataloader() is one loader", loader, "Pass the one that is meant.")
        )
    return loader


def _is_frame(x: object) -> bool:
    return hasattr(x, "columns") and hasattr(x, "to_numpy") and hasattr(x, "dtypes")


def _numbers(frame: Any) -> NDArray[np.float32]:
    """(N, D) of a frame's columns.

    Raises:
        DataError: naming the columns that hold no numbers.
    """
    wrong = [str(name) for name, kind in zip(frame.columns, frame.dtypes, strict=True) if not _is_number(kind)]
    if wrong:
        raise DataError(
            f"Expected columns of numbers but got others: {', '.join(wrong[:5])}. Encode them before the model, and "
            "give the encoded columns."
        )
    return np.ascontiguousarray(frame.to_numpy(dtype=np.float32))


def _is_number(kind: Any) -> bool:
    return getattr(kind, "kind", "O") in "biuf"


def _plain(y: Any) -> Any:
    return y.to_numpy() if hasattr(y, "to_numpy") else y


def _indices(y: Any, labels: Sequence[Any] | None) -> Any:
    """Labels as indices of classes, where they are not already."""
    if labels is None or list(labels) == list(range(len(labels))):
        return y
    given = np.asarray(y)
    if given.ndim != 1:
        return y
    place = {label: index for index, label in enumerate(labels)}
    strangers = sorted({str(label) for label in given.tolist() if label not in place})
    if strangers:
        if given.dtype.kind in "iu" and all(isinstance(label, str) for label in labels):
            return y  # indices beside names
        known = ", ".join(map(str, labels[:10]))
        raise DataError(f"Expected labels among the model's classes ({known}) but got {', '.join(strangers[:5])}.")
    return np.array([place[label] for label in given.tolist()], dtype=np.int64)


def class_names(data: Any) -> tuple[str, ...]:
    """The names of a data set's classes, where it has them; empty elsewhere.

    Args:
        data: a torchvision data set (`classes`), a Hugging Face data set (`ClassLabel`), or a loader or subset of one.
    """
    for _ in range(8):  # loaders of subsets of subsets
        names = getattr(data, "classes", None)
        if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
        features = getattr(data, "features", None)
        if isinstance(features, Mapping):
            for key in ("label", "labels", "fine_label", "target", "y"):
                named = getattr(features.get(key), "names", None)
                if named:
                    return tuple(map(str, named))
        data = getattr(data, "dataset", None)
        if data is None:
            break
    return ()
