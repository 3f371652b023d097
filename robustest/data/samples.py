"""Samples by index, from tensors, arrays, data sets, loaders, frames of pandas and Lightning's data modules."""

# `unwrapped` reduces frames, data modules and types of packs to forms that `as_samples` reads.

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from robustest import devices, extensions
from robustest.checks import check_order, checked_whole, is_frame, require
from robustest.clock import check as check_clock
from robustest.data import decoded
from robustest.data.buffers import Buffers
from robustest.data.frames import Frames
from robustest.data.strings import Strings
from robustest.errors import DataError, PackError, expected
from robustest.factory import Factory
from robustest.tasks import CLASSIFICATION, Task, top_of

if TYPE_CHECKING:
    from robustest.data.coding import Coding


def unwrapped(
    data: Any, labels: Sequence[Any] | None = None, *, coded: bool = True, columns: Sequence[str] = ()
) -> Any:
    """Return data in a form that `as_samples` reads; unknown forms are unchanged.

    Frames of numbers in 0..1 become arrays, because every threat can search arrays.

    Args:
        data: `(x, labels)` with a frame, an array or a list of texts as x; a `LightningDataModule`, whose test loader
            is used; or anything else.
        labels: labels of a model's classes, in their order, to look up other labels; None if labels are class indices.
        coded: True if the model takes frames; otherwise frames must hold numbers, and become arrays.
        columns: names of the columns that the model was fitted on, which a frame that becomes an array must have in
            this order; empty if not known.

    Raises:
        DataError: a column has no numbers, columns are not those of the training, a label is unknown, labels are in
            another order than rows, or a data module has no test loader.
    """
    if isinstance(data, Waveforms):
        return replace(data, data=unwrapped(data.data, labels, coded=coded, columns=columns))
    data = read_by_pack(data)
    if hasattr(data, "test_dataloader") and hasattr(data, "setup"):
        module = data
        if getattr(module, "_robustest_set_up", None) is not True:
            module.setup("test")
            # `setup` may download or split data, so it runs once for each module.
            module._robustest_set_up = True
        data = module.test_dataloader()
        if data is None or isinstance(data, (list, tuple, Mapping)):
            raise DataError(
                expected("a data module whose test_dataloader() is one loader", data, "Pass one of its loaders.")
            )
    if not (isinstance(data, (tuple, list)) and len(data) == 2):
        return data
    x, y = data
    if isinstance(x, Mapping) and not isinstance(y, Mapping):  # the output of a tokenizer, say
        raise DataError(
            f"Expected samples as one array or a list of texts but got a mapping of {', '.join(map(str, x))}. Give the "
            "texts themselves, or one of them, and call the tokenizer, or add the others, in the function that is the "
            "model."
        )
    if _is_frame(x) and isinstance(y, str):
        raise DataError(
            f"Expected a label for each row but got the name {y!r}. Write (frame.drop(columns={y!r}), frame[{y!r}])."
        )
    if not (_is_frame(x) or hasattr(x, "shape") or are_strings(x)):
        return data
    check_order("labels", y, x)
    y = y.to_numpy() if hasattr(y, "to_numpy") else y
    if _is_frame(x) and not (coded and _needs_coding(x)):
        _check_columns([str(name) for name in x.columns], columns)
        x = _numbers(x)
    return x, _indices(y, labels)


def read_by_pack(data: Any) -> Any:
    """Return data as read by the first pack that knows their type; unchanged if none does.

    Raises:
        PackError: a pack is broken.
    """
    # Arrays, loaders and robustest's own types never reach a pack: an installed pack must not change their meaning.
    arrays = isinstance(data, (tuple, list)) and len(data) == 2 and isinstance(data[0], (Tensor, np.ndarray))
    if arrays or isinstance(data, DataLoader) or type(data).__module__.partition(".")[0] == "robustest":
        return data
    for pack, read in extensions.answers("robustest_read", data=data):
        if not (hasattr(read, "__getitem__") and hasattr(read, "__len__")) and not hasattr(read, "dataset"):
            what = f"robustest_read of the pack {pack!r} to return (x, y), a data set or a DataLoader"
            raise PackError(expected(what, read))
        return read
    return data


def are_strings(values: Any) -> bool:
    """Return True for a list, a tuple, an array or a column of a frame that holds texts alone, or bytes alone."""
    if isinstance(values, np.ndarray):
        if values.ndim != 1 or values.dtype.kind not in "USO":
            return False
    elif hasattr(values, "to_numpy") and not hasattr(values, "columns"):  # a column of pandas
        values = values.to_numpy()
        if values.dtype.kind not in "USOT":
            return False
    elif not isinstance(values, (list, tuple)):
        return False
    kinds = {type(value) for value in values}
    return len(values) > 0 and (kinds <= {str, np.str_} or kinds <= {bytes, np.bytes_})


def _is_frame(x: object) -> bool:
    return hasattr(x, "columns") and hasattr(x, "to_numpy") and hasattr(x, "dtypes")


def _needs_coding(frame: Any) -> bool:
    if not is_frame(frame):
        return False
    if not all(getattr(dtype, "kind", "O") in "biuf" for dtype in frame.dtypes):
        return True
    values = frame.to_numpy(dtype=np.float64)
    return not bool(((values >= 0) & (values <= 1)).all())


def _check_columns(given: Sequence[str], fitted: Sequence[str]) -> None:
    """Raise DataError for columns that the model would take for others: an array has no names."""
    if not fitted or list(given) == list(fitted):
        return
    if missing := [name for name in fitted if name not in given]:
        raise DataError(
            f"Expected the columns that the model was fitted on but the frame lacks {', '.join(missing[:5])}. Give the "
            "frame that the model is asked with elsewhere."
        )
    raise DataError(
        f"Expected the columns that the model was fitted on, in their order ({', '.join(fitted[:5])}), but got "
        f"{', '.join(given[:5])}. Write frame[list(model.feature_names_in_)]."
    )


def _numbers(frame: Any) -> NDArray[np.float32]:
    kinds = [getattr(dtype, "kind", "O") for dtype in frame.dtypes]  # types of pandas may lack `kind`
    wrong = [str(name) for name, kind in zip(frame.columns, kinds, strict=True) if kind not in "biuf"]
    if wrong:
        raise DataError(
            f"Expected columns of numbers for a torch module but got others: {', '.join(wrong[:5])}. Encode them "
            "before the model, or give a function that takes the frame."
        )
    return np.ascontiguousarray(frame.to_numpy(dtype=np.float32))


def _indices(y: Any, labels: Sequence[Any] | None) -> Any:
    if labels is None:
        return y
    # Labels that an estimator was fitted on may be booleans or floats, equal to its indices.
    if list(labels) == list(range(len(labels))) and getattr(getattr(y, "dtype", None), "kind", "i") not in "bf":
        return y
    given = np.asarray(y)
    if given.ndim != 1:
        return y
    place = {label: index for index, label in enumerate(labels)}
    strangers = sorted({str(label) for label in given.tolist() if label not in place})
    if strangers:
        if given.dtype.kind in "iu" and all(isinstance(label, str) for label in labels):
            return y  # indices beside names
        choices = ", ".join(map(str, labels[:10]))
        mend = "Give the labels as they were given to its fit()."
        wrong = ", ".join(strangers[:5])
        raise DataError(f"Expected labels among the model's classes ({choices}) but got {wrong}. {mend}")
    return np.array([place[label] for label in given.tolist()], dtype=np.int64)


def class_names(data: Any) -> tuple[str, ...]:
    """Return the names of the classes of a torchvision or Hugging Face data set, or of its loader; may be empty."""
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


_TEXT_KEYS = ("text", "sentence", "content", "bytes")
_IMAGE_KEYS = ("pixel_values", "image", "img", "x", "input")
_WHOLE = (torch.int16, torch.int32, torch.int64)
_LABEL_KEYS = ("label", "labels", "fine_label", "target", "y", "mask", "annotation")


@dataclass(frozen=True, slots=True)
class Samples:
    """Labelled samples in a fixed order."""

    # function from indices (n,) int64 to (x (n, *S), y (n, *T)); x is float32, or int64 for whole numbers; y the
    # task's targets, (n,) int64 labels of classes
    take: Callable[[Tensor], tuple[Tensor, Tensor]]
    size: int  # number of samples
    # the original data, as `as_samples` takes them, or their `Factory`; None if other processes cannot build them
    source: Any = None
    task: Task = CLASSIFICATION  # task that reads their targets
    # True if samples are read one by one, by code of the user that may take long: `robustest.run.reading` then reads
    # ahead of the measurement
    slow: bool = False
    # function from the positions of several chunks to an iterator over their samples, read ahead by worker processes;
    # None without workers
    stream: Callable[[Sequence[Tensor]], Iterator[tuple[Tensor, Tensor]]] | None = None
    coding: Coding | None = None  # of frames and texts; None for tensors
    sample_rate: int | None = None  # of waveforms, in Hz
    # (size,) whole numbers, equal for samples that were drawn together; None if all are independent draws
    clusters: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self.size

    @property
    def memory(self) -> tuple[Tensor, Tensor] | None:
        """All inputs (N, *S) and targets (N, *T) that `take` copies, if the host has them so; not to be written."""
        return self.take.memory if isinstance(self.take, _Copies) else None

    def __reduce__(self) -> tuple[Callable[[object, Task], Samples], tuple[object, Task]]:
        if self.source is None:
            raise TypeError(
                "Expected samples with a source, to send to another process, but these are a view. Send data instead."
            )
        return as_samples, (self.source, self.task)

    @property
    def labels(self) -> NDArray[Any] | None:
        """The label of every sample, (N,), where that takes no reading of samples; else None."""
        source = self.source
        given = (
            source[1] if isinstance(source, (tuple, list)) and len(source) == 2 else getattr(source, "targets", None)
        )
        if given is None or not top_of(self.task):
            return None
        labels = np.asarray(given)
        return labels if labels.shape == (len(self),) else None


@dataclass(frozen=True, slots=True)
class Waveforms:
    """Sounds with their sample rate; models see them inside the bounds (-1, 1) unless a call gives others.

    Args:
        data: `(x, y)` with x (N, T) or (N, C, T), or a data set, as for any claim.
        sample_rate: samples per second, in Hz.

    Raises:
        ConfigError: the rate is not a whole number > 0.
    """

    data: Any
    sample_rate: int

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        checked_whole("sample_rate", self.sample_rate, 1)


def as_samples(data: object, task: Task = CLASSIFICATION) -> Samples:
    """Return the samples of data in any supported form.

    Args:
        data: `(x, y)` as tensors or arrays; a map-style `torch.utils.data.Dataset` such as torchvision's `ImageFolder`;
            a `DataLoader` over one, whose collate function is used; a Hugging Face data set; `Samples`; or the
            `Factory` of any of them. Items are `(image, label)` or dicts with an image (`pixel_values`, `image`, `img`,
            ...) and a label; PIL images become floats in [0, 1]. `(texts, y)` has a list, an array or a column of
            texts, or of bytes; in data sets these are `text`, `sentence`, `content` or `bytes`. `(frame, y)` has a
            frame of pandas or polars. `Waveforms` of any of them have a sample rate.
        task: task that reads the targets: labels, masks, rows of labels, numbers.

    Raises:
        DataError: empty data, lengths that differ, wrong types, or data without random access.
    """
    if isinstance(data, Factory):
        return replace(as_samples(data.build(), task), source=data)
    if isinstance(data, Waveforms):
        return replace(as_samples(data.data, task), source=data, sample_rate=data.sample_rate)
    if isinstance(data, Samples):
        if data.task != task:
            raise DataError(
                f"Expected samples for {task.name} but got samples with targets for {data.task.name}. Pass the "
                "original data instead."
            )
        samples = data
    elif isinstance(data, DataLoader):
        samples = _loaded(data, task)
    elif isinstance(data, (tuple, list)) and len(data) == 2 and is_frame(data[0]):
        samples = _framed(data[0], data[1], task)
    elif isinstance(data, (tuple, list)) and len(data) == 2 and are_strings(data[0]):
        samples = _strings(data[0], data[1], task)
    elif isinstance(data, (tuple, list)) and len(data) == 2 and _is_array(data[0]):
        samples = _arrays(data[0], data[1], task)
    elif (read := read_by_pack(data)) is not data:
        samples = as_samples(read, task)
    elif (
        isinstance(data, (tuple, list))
        and len(data) == 2
        and isinstance(data[0], list)  # a tuple may be one item of a data set: a text and its label
        and isinstance(next(iter(data[0]), None), (str, bytes))
    ):
        stranger = next(place for place, one in enumerate(data[0]) if type(one) is not type(data[0][0]))
        kind, other = type(data[0][0]).__name__, type(data[0][stranger]).__name__
        raise DataError(expected(f"{kind} for each sample", f"{other} for sample {stranger}"))
    elif isinstance(data, (tuple, list)) and len(data) == 2 and (why := _no_samples(data[0], data[1])):
        raise DataError(why)
    elif (texts := _items_of_strings(data)) is not None:
        samples = _strings(*texts, task)
    else:
        samples = _indexed(data, None, task)
    # A claim on a share of no samples would be neither true nor false.
    if len(samples) == 0:
        raise DataError("Expected at least one sample but got empty data. Check the path or filter of the data.")
    return samples if samples is data else replace(samples, source=data)


def _no_samples(x: object, y: object) -> str:
    """Return the reason why a pair with labels y is not (x, y); "" if it may be two items of a data set."""
    if not (isinstance(y, (list, Tensor, np.ndarray)) or hasattr(y, "to_numpy")):
        return ""
    if isinstance(x, Iterator):
        mend = "It can be read only once: collect it first, torch.stack(list(x))."
    elif isinstance(x, (str, bytes)):
        mend = "Give a list of them, also of a single one: ([text], [label])."
    elif hasattr(x, "toarray"):
        mend = "Write x.toarray(): samples are changed value by value, and zeros as well."
    else:
        return ""
    return expected("the samples of (x, y) as an array, a frame or a list of texts", x, mend)


def _is_array(value: object) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _arrays(x: object, y: object, task: Task) -> Samples:
    images = _tensor(x).detach()
    if images.ndim < 2:
        several = getattr(y, "ndim", 0) > 1
        mend = "Pass samples before labels: (x, y)." if several else "Make it a batch of one: x[None]."
        raise DataError(expected("x of shape (N, ...)", tuple(images.shape), mend))
    labels = task.targets(y)
    if len(images) != len(labels):
        raise DataError(
            f"Expected as many labels as samples but got {len(images)} samples and {len(labels)} labels. Take both "
            "from the same selection."
        )
    _check_floats(images)

    return Samples(_Copies(images, labels), len(images), task=task)


class _Copies:
    """Copies samples by index from tensors: the `take` of `Samples`."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels, self._buffers = images, labels, Buffers()

    @property
    def memory(self) -> tuple[Tensor, Tensor] | None:
        images = self._images
        # Tensors of other types are converted as they are copied.
        return (images, self._labels) if devices.on_host(images) and images.dtype is torch.float32 else None

    def __call__(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        images = self._images
        if not devices.on_host(images):
            return _read(images[ids.to(images.device)]), self._labels[ids]
        rows = self._buffers.empty((len(ids), *images.shape[1:]), images.dtype)
        return _read(torch.index_select(images, 0, ids, out=rows)), self._labels[ids]


def _framed(frame: Any, y: Any, task: Task) -> Samples:
    labels = task.targets(y.to_numpy() if hasattr(y, "to_numpy") else y)
    if len(frame) != len(labels):
        raise DataError(
            f"Expected as many labels as samples but got {len(frame)} samples and {len(labels)} labels. Take both from "
            "the same selection."
        )
    coding = Frames.of(frame)
    rows = coding.encode(frame)
    return Samples(lambda ids: (rows[ids], labels[ids]), len(rows), task=task, coding=coding)


def _strings(texts: Any, y: Any, task: Task) -> Samples:
    rows = list(texts)
    labels = task.targets(y.to_numpy() if hasattr(y, "to_numpy") else y)
    if len(rows) != len(labels):
        raise DataError(
            f"Expected as many labels as samples but got {len(rows)} samples and {len(labels)} labels. Take both from "
            "the same selection."
        )
    coding = Strings.of(rows)
    width = max(map(len, rows))

    def take(ids: Tensor) -> tuple[Tensor, Tensor]:
        x = coding.encode([rows[place] for place in ids.tolist()])
        # One width for all chunks, so that rows of several chunks can be joined.
        return coding.padded(x, max(1, width) - x.shape[1]), labels[ids]

    return Samples(take, len(rows), task=task, coding=coding)


def _items_of_strings(data: Any) -> tuple[list[Any], list[Any]] | None:
    # Other data sets are not searched for texts: reading an item may be slow, and waits until it is needed.
    key: object = None
    if isinstance(getattr(data, "features", None), Mapping):
        names = {name: str(getattr(kind, "dtype", "")) for name, kind in data.features.items()}
        key = next((name for name in _TEXT_KEYS if names.get(name) in ("string", "large_string", "binary")), None)
    elif isinstance(data, (list, tuple)) and data:
        first = data[0]
        if isinstance(first, Mapping):
            key = next((name for name in _TEXT_KEYS if isinstance(first.get(name), (str, bytes))), None)
        elif isinstance(first, Sequence) and len(first) == 2 and isinstance(first[0], (str, bytes)):
            key = 0
    if key is None:
        return None
    texts, labels = [], []
    for place in range(len(data)):
        check_clock()
        item = data[place]
        texts.append(item[key])
        labels.append(_one(item, _LABEL_KEYS, "label") if isinstance(item, Mapping) else item[1])
    if not are_strings(texts):
        raise DataError("Expected a text for each sample, or bytes for each, but some items hold something else.")
    return texts, labels


def _tensor(x: object) -> Tensor:
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "biufc":
            mend = "Convert it to np.float32; a model that was fitted on a frame takes the frame, (frame, labels)."
            raise DataError(f"Expected floating-point inputs but got an array of {x.dtype}. {mend}")
        native = x.astype(x.dtype.newbyteorder("="), copy=False)
        # torch cannot share arrays that are read-only, reversed, or of another byte order: these are copied.
        shareable = native.flags.writeable and all(step >= 0 for step in native.strides)
        return torch.from_numpy(native if shareable else native.copy())
    return torch.as_tensor(x)


def _loaded(loader: DataLoader[Any], task: Task) -> Samples:
    samples = _indexed(loader.dataset, loader.collate_fn, task)
    # A sampler that weights or drops samples would be ignored, as samples are read by index: refuse it. A loader that
    # was given batches of positions holds a sampler as well, of the whole data set and not used.
    batches: Any = loader.batch_sampler
    order = loader.sampler if batches is None else getattr(batches, "sampler", batches)
    if batches is None or type(batches) is BatchSampler:
        drawn = bool(getattr(order, "replacement", False))  # as often as there are samples, some twice and some never
        whole = isinstance(order, (SequentialSampler, RandomSampler)) and len(order) == len(samples) and not drawn
    else:  # buckets of a length, say; they may never end
        whole = sorted(islice(chain.from_iterable(batches), len(samples) + 1)) == list(range(len(samples)))
    if not whole:
        raise DataError(
            expected(
                "a DataLoader over its whole data set",
                order,
                "Its sampler is not used: pass the samples you mean, as torch.utils.data.Subset(dataset, indices).",
            )
        )
    samples = replace(samples, source=loader)
    return replace(samples, stream=_stream_of(loader, samples)) if loader.num_workers else samples


def _stream_of(
    loader: DataLoader[Any], samples: Samples
) -> Callable[[Sequence[Tensor]], Iterator[tuple[Tensor, Tensor]]]:
    # A chunk is split into pieces, one or more for each worker, unless the user gave a collate function: its result for
    # a sample may depend on the other samples of the piece.
    one_by_one = loader.collate_fn is default_collate
    about = _about(loader.collate_fn, samples.task)

    def read(chunks: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        # Chunks that an earlier claim has decoded are not read again.
        known = [one_by_one and decoded.is_known(loader.dataset, about, chunk) for chunk in chunks]
        pieces = [
            () if before else chunk.tensor_split(_pieces(len(chunk), loader.num_workers) if one_by_one else 1)
            for chunk, before in zip(chunks, known, strict=True)
        ]
        workers: Any = DataLoader(
            _Reads(samples),
            batch_size=None,
            sampler=[piece for of_chunk in pieces for piece in of_chunk],
            num_workers=loader.num_workers,
            # Pieces are taken in their order: a worker with one alone waits for the slowest of them all.
            prefetch_factor=2 if one_by_one else 1,
            collate_fn=_as_it_is,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            # Otherwise the workers' seed would be drawn from the process's global generator.
            generator=torch.Generator(),
        )
        found = iter(workers) if not all(known) else iter(())  # starts the workers now, in the caller's thread

        def joined() -> Iterator[tuple[Tensor, Tensor]]:
            for ids, of_chunk in zip(chunks, pieces, strict=True):
                if not of_chunk:
                    yield samples.take(ids)
                    continue
                read = [next(found) for _ in of_chunk]
                for piece, part in zip(of_chunk, read, strict=True) if one_by_one else ():
                    # No key covers the effects of `worker_init_fn`, so these samples do not outlast the claim.
                    decoded.put(loader.dataset, about, piece, part, lasts=loader.worker_init_fn is None)
                yield torch.cat([part.x for part in read]), torch.cat([part.y for part in read])

        return joined()

    return read


def _pieces(n: int, workers: int) -> int:
    """Return the number of pieces of a chunk of n samples: as many for each worker."""
    return min(n, workers * -(-n // (workers * _PIECE)))


# Most samples that a worker reads at once.
_PIECE = 64


def _as_it_is(part: Any) -> Any:
    return part


class _Reads(Dataset[decoded.ReadElsewhere]):
    """Samples as a data set that is indexed by tensors of positions and returns batches."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, ids: Tensor) -> decoded.ReadElsewhere:
        # A spawned worker gets only the source and the task of the samples (`Samples.__reduce__`).
        return decoded.ReadElsewhere.of(ids, self._samples.take)

    def __len__(self) -> int:
        return len(self._samples)


def _read(x: Tensor) -> Tensor:
    x = x.detach()  # of a transform with weights
    return x.float() if x.is_floating_point() else x.long()


def _check_floats(x: Tensor) -> None:
    if not x.is_floating_point() and x.dtype not in _WHOLE:
        raise DataError(
            f"Expected floating-point inputs but got {x.dtype}. "
            "Divide 8-bit images by 255, or give floats and their bounds=(low, high)."
        )


def _indexed(data: Any, collate: Callable[[list[Any]], Any] | None, task: Task) -> Samples:
    if isinstance(data, (str, PurePath)):
        mend = "Load it first, e.g. torchvision.datasets.ImageFolder(path, transform)."
        raise DataError(expected("(x, y), a data set or a DataLoader", data, mend))
    if isinstance(data, type):
        mend = "This is a class: make an instance of it."
        raise DataError(expected("(x, y), a data set or a DataLoader", data, mend))
    first = data[0] if isinstance(data, tuple) and len(data) == 2 else None
    # A list of two may be one item, its image and its label.
    if isinstance(first, list) and len(first) > 2 and all(map(_is_array, first)):
        stack = "torch.stack(x)" if isinstance(first[0], Tensor) else "np.stack(x)"
        given = f"a list of {len(first)} {type(first[0]).__name__}s"
        raise DataError(f"Expected x as one tensor or array (N, ...) but got {given}. Stack them: ({stack}, y).")
    listed = (
        isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], list) and not any(map(_is_array, data[0]))
    )
    arrays = isinstance(data, tuple) and len(data) != 2 and all(_is_array(one) and one.ndim > 0 for one in data)
    if isinstance(data, (Tensor, np.ndarray)) or _is_frame(data) or listed or arrays:
        mend = "Add its labels: (x, y)."
        if _is_frame(data):
            mend = "Give columns and labels apart: (frame[columns], frame[label])."
        elif listed:
            mend = "Convert lists to arrays: (np.asarray(x, np.float32), np.asarray(y))."
        elif isinstance(data, (tuple, list)):
            mend = "Pass samples and labels only: (x, y)."
        raise DataError(expected("(x, y), a data set with len() and indexing, or a DataLoader over one", data, mend))
    if isinstance(data, (IterableDataset, Mapping)) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        mend = "An iterable-only set cannot be read in a seeded order; collect it into (x, y) first."
        if isinstance(data, Mapping):
            mend = "Pass its samples and labels: (data[samples], data[labels])."
            if len(data) == 2 and all(isinstance(name, str) for name in data):
                mend = f"Pass its samples and labels: ({', '.join(f'data[{name!r}]' for name in data)})."
        elif not (isinstance(data, IterableDataset) or hasattr(data, "__iter__")):
            mend = "Give tensors or arrays: (x, y)."
        raise DataError(expected("(x, y), a data set with len() and indexing, or a DataLoader over one", data, mend))

    batched = _reads_batches(type(data))

    def read(ids: list[int]) -> list[Any]:
        found: list[Any] = []
        for start in range(0, len(ids), _AT_ONCE if batched else 1):
            check_clock()  # reading may take longer than the model does
            part = ids[start : start + _AT_ONCE]
            with _reading, devices.users_default():
                found += data.__getitems__(part) if batched else [data[part[0]]]
        return found

    def decode(ids: list[int]) -> tuple[Tensor, Tensor]:
        items = read(ids)
        require(len(items) == len(ids), f"__getitems__ to give {len(ids)} items", len(items), error=DataError)
        if collate is not None:
            with devices.users_default():
                x, y = _split(collate(items))
            require(_is_array(x), "the loader's batches to hold a tensor of inputs", x, error=DataError)
            images = _tensor(x)
            _check_floats(images)
            return _read(images), task.targets(y)
        pairs: list[tuple[Tensor, Any]] = []
        for item in items:
            x, y = _split(item)
            image = _image(x)
            _check_floats(image)
            pairs.append((image, _label(y) if top_of(task) else y))
        # Stacking would raise an error of torch that does not name the remedy.
        shapes = {tuple(x.shape) for x, _ in pairs}
        if len(shapes) > 1:
            raise DataError(
                f"Expected samples of one shape but got {sorted(shapes)}. Resize them in the data set's transform."
            )
        return _read(torch.stack([x for x, _ in pairs])), task.targets([y for _, y in pairs])

    def take(ids: Tensor) -> tuple[Tensor, Tensor]:
        # A batch of the user's collate function may depend on all its samples, so single ones cannot be kept.
        if collate is not None and collate is not default_collate:
            return decode(ids.tolist())
        return decoded.take(data, _about(collate, task), ids, decode)

    return Samples(take, len(data), task=task, slow=True)


def _about(collate: object, task: Task) -> dict[str, object]:
    return {"collated": collate is not None, "task": task}


# Most items read between two checks of the clock, if the data set has `__getitems__`.
_AT_ONCE = 32
# Data sets may not be thread-safe, and a thread reads ahead.
_reading = threading.RLock()
if hasattr(os, "register_at_fork"):  # a worker of a DataLoader would wait for ever for a thread that it does not have
    os.register_at_fork(after_in_child=lambda: globals().update(_reading=threading.RLock()))


def _reads_batches(kind: type) -> bool:
    # A subclass that overrides `__getitem__` alone (a `Subset` with a transform) inherits a `__getitems__` without
    # the change.
    for base in kind.__mro__:
        if "__getitems__" in vars(base):
            return callable(vars(base)["__getitems__"])
        if "__getitem__" in vars(base):
            return False
    return False


def _split(item: object) -> tuple[object, object]:
    if isinstance(item, Mapping):
        return _one(item, _IMAGE_KEYS, "image"), _one(item, _LABEL_KEYS, "label")
    if isinstance(item, Sequence) and not isinstance(item, str) and len(item) >= 2:
        return item[0], item[1]
    mend = "Return both from __getitem__, or give (x, y)."
    raise DataError(expected("items to be (image, label) or dicts with both", item, mend))


def _one(item: Mapping[Any, Any], names: Sequence[str], what: str) -> object:
    for name in names:
        if name in item:
            return item[name]
    raise DataError(
        f"Expected a dict item with one of {', '.join(names)} as its {what} but got the keys {sorted(map(str, item))}. "
        "Rename the column, or give (x, y)."
    )


def _image(x: object) -> Tensor:
    if _is_array(x):
        return _tensor(x)
    if isinstance(x, (list, tuple)):
        return _tensor(np.asarray(x))
    if hasattr(x, "getbands"):  # a PIL image
        from torchvision.transforms.functional import to_tensor  # whoever has such images has loaded it

        tensor: Tensor = to_tensor(x)
        return tensor
    mend = "Convert it in the data set's transform, or give arrays: (np.asarray(x, np.float32), np.asarray(y))."
    raise DataError(expected("an image as a tensor, an array or a PIL image", x, mend))


def _label(y: object) -> int:
    if isinstance(y, (Tensor, np.ndarray)) and y.ndim == 0:
        y = y.item()
    # bool is a subclass of int, but True is no class index.
    if isinstance(y, (bool, np.bool_)) or not isinstance(y, (int, np.integer)):
        mend = "Number the classes from 0, in the order of the model's logits."
        raise DataError(expected("an integer class label", y, mend))
    return int(y)
