"""The keys of everything that is stored: what it depends on, as far as that can be read beforehand, and by watching.

A key is made by `key_of`, and by nothing else; `robustest.store.entries.Store` takes no other. It covers

1. what the caller names: data, seeds, settings, functions and models, by `digest`;
2. robustest's own code, and the versions of Python and torch;
3. of what is not asked anew before it is recalled (a training, say), all that surrounds it in this process and could
   move its outcome: torch's flags, threads, the processor, every installed package's version, and functions of packages
   that somebody replaced. A model that is asked shows these itself, and only where they matter;
4. what is read from outside while it is computed (`Key.watching`): stamps of files, paths, folders and variables go
   into the entry, and an entry whose stamps do not hold any more is not loaded.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import final

import torch

from robustest.identity.dependencies import Dependencies, watched
from robustest.identity.fingerprint import Unhashable as Unhashable
from robustest.identity.fingerprint import digest as digest
from robustest.identity.packages import own_code, replaced_anywhere
from robustest.settings import Settings

_FORMAT = "entries hold stamps of what was read from outside"
"""Part of every key: entries written before it hold no stamps that could be compared."""

_MAKER = object()


@final
class Key:
    """The name under which something is stored, and what it read from outside while it was computed.

    `key_of` makes it; keys of parts of it come from `part`.

    Attributes:
        name: 64 hex digits.
        dependencies: what was read from outside, by this computation and those of all its parts so far.
        computed: whether anything was computed under watch.
    """

    __slots__ = ("_asked", "_shared", "name")

    def __init__(self, name: str, shared: _Shared, *, asked: bool, maker: object) -> None:
        if maker is not _MAKER:
            raise TypeError("Expected a key from robustest.identity.keys.key_of, the only place that makes one.")
        self.name = name
        self._shared = shared
        self._asked = asked

    def __init_subclass__(cls) -> None:
        raise TypeError("Expected no class of its own: what passes for a key must be made by key_of.")

    def part(self, *what: object) -> Key:
        """Return the key of a part of this computation, told from others by `what`.

        What one part reads from outside counts for all that follow: a user's code may keep what it read.

        Raises:
            Unhashable: `what` has no identity.
        """
        return Key(digest((self.name, *what), asked=self._asked), self._shared, asked=self._asked, maker=_MAKER)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside the block it is computed: all that is read from outside belongs to the key."""
        with watched(self._shared.dependencies):
            yield
        self._shared.computed = True

    @property
    def dependencies(self) -> Dependencies:
        return self._shared.dependencies

    @property
    def computed(self) -> bool:
        return self._shared.computed

    @property
    def unknowable(self) -> str:
        """Why nothing could be compared before this is recalled, in words; empty where all can be."""
        return "" if self._asked else self._shared.dependencies.unknowable


class _Shared:
    """State that a key shares with the keys of its parts."""

    def __init__(self) -> None:
        self.dependencies = Dependencies()
        self.computed = False


def key_of(kind: str, about: Mapping[str, object], settings: Settings | None, *, asked: bool) -> Key:
    """Return the key of something that may be stored.

    Args:
        kind: what it is: "chunk", "training", ...
        about: all that it depends on besides the settings, by name: values that `digest` takes.
        settings: of the claim; None where it has none.
        asked: whether what is measured is asked anew before anything is recalled, so that a change of what surrounds it
            shows in its answers. Pass False wherever that is not so.

    Raises:
        Unhashable: something that it depends on has no identity; the message names it.
    """
    parts: dict[str, object] = {
        "format": _FORMAT,
        "kind": kind,
        "code": own_code(),
        "torch": torch.__version__,
        "python": (platform.python_implementation(), platform.python_version()),
    }
    if settings is not None:
        parts |= {
            "seed": settings.seed,
            "precision": settings.precision,
            "random": "random_forward" in settings.suppress,
        }
    if not asked:
        parts |= {"surroundings": _surroundings(), "replaced": replaced_anywhere()}
    name = digest({**parts, "about": dict(about)}, asked=asked)
    return Key(name, _Shared(), asked=asked, maker=_MAKER)


def _surroundings() -> dict[str, object]:
    """Return what moves the outcome of a computation in torch, and is nobody's code."""
    cuda = torch.cuda.is_available()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old flags, once a process: no part of what they say
        flags = {name: _state(read) for name, read in _FLAGS.items()}
    return {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "flags": flags,
        "processor": (platform.machine(), _processor()),
        "devices": [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())] if cuda else [],
        "packages": _installed(),
    }


def _backend(path: str) -> Callable[[], object]:
    """Return what reads a flag of a backend; a precision that is not set is that of what it is part of."""

    def read() -> object:
        *parts, name = path.split(".")
        while True:
            value = attrgetter(".".join([*parts, name]))(torch.backends)
            if value != "none":
                return value
            if not parts:
                return "ieee"
            # The backend of CUDA itself has no precision, only its parts have.
            parts = [] if parts[0] == "cuda" else parts[:-1]

    return read


_FLAGS: dict[str, Callable[[], object]] = {
    "dtype": torch.get_default_dtype,
    "device": torch.get_default_device,
    "deterministic": torch.are_deterministic_algorithms_enabled,
    "warned only": torch.is_deterministic_algorithms_warn_only_enabled,
    "fill": lambda: attrgetter("fill_uninitialized_memory")(torch.utils.deterministic),
    "matmul": torch.get_float32_matmul_precision,
    "denormals": lambda: float(torch.tensor(1e-310, dtype=torch.float64) * 1.0),
    "anomalies": torch.is_anomaly_enabled,
    "autocast": lambda: [torch.is_autocast_enabled(device) for device in ("cpu", "cuda")],
    **{
        path: _backend(path)
        for path in (
            "fp32_precision",
            "cuda.matmul.allow_tf32",
            "cuda.matmul.fp32_precision",
            "cuda.matmul.allow_fp16_reduced_precision_reduction",
            "cuda.matmul.allow_bf16_reduced_precision_reduction",
            "cudnn.enabled",
            "cudnn.allow_tf32",
            "cudnn.fp32_precision",
            "cudnn.conv.fp32_precision",
            "cudnn.rnn.fp32_precision",
            "cudnn.benchmark",
            "cudnn.deterministic",
            "mkldnn.enabled",
            "mkldnn.fp32_precision",
            "mkldnn.matmul.fp32_precision",
            "mkldnn.conv.fp32_precision",
            "mkldnn.rnn.fp32_precision",
        )
    },
}
"""Flags of torch, by a name; some exist in some versions only, and some raise once another was set."""


def _state(read: Callable[[], object]) -> str:
    try:
        return str(read())
    except Exception as error:  # a flag that this version has not, or that another interface has set
        return type(error).__name__


def _processor() -> str:
    """Return the name of the processor, by whose kind rounding differs; training makes large differences of these."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return torch.backends.cpu.get_cpu_capability()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else ''} {torch.backends.cpu.get_cpu_capability()}"


def _installed() -> list[str]:
    """Return name and version of every installed distribution, by the names of their folders."""
    found: set[str] = set()
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        found.update(name for name in names if name.endswith((".dist-info", ".egg-info")))
    return sorted(found)
