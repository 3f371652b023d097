"""Keys of everything that is stored.

`key_of` makes every key, and `robustest.store.entries.Store` takes nothing else. A key covers

1. the caller's data, seeds, settings, functions and models, by `digest`;
2. robustest's own code, and the versions of Python and torch;
3. for results that are recalled without asking the model again (a training): torch's flags, threads, the processor,
   installed packages, and replaced functions of packages. A model that is asked again shows these in its logits;
4. everything read from outside during the computation (`Key.watching`): its stamps are part of the entry, which is
   not loaded once a stamp differs.

A computation may write what its key covers: a global that it counts in, an attribute in which it keeps a net. The next
one then starts from another state, so that its key is taken anew (`Key.now`), and a result counts as a function of its
key only if the name is the same after the computation.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, final

from robustest import devices
from robustest.identity.dependencies import Dependencies, many_watches, watched
from robustest.identity.fingerprint import Unhashable as Unhashable
from robustest.identity.fingerprint import digest as digest
from robustest.identity.packages import overridden, own_code, replaced_anywhere
from robustest.loaded import loaded, torch_version, with_torch
from robustest.settings import Settings

if TYPE_CHECKING:
    import torch
else:
    from robustest.loaded import torch

# Part of every key, so that entries of older versions without stamps are never found.
_FORMAT = "entries hold stamps of what was read from outside"

_MAKER = object()


@final
class Key:
    """The name of a stored result, and the things that its computation read from outside.

    Attributes:
        name: 64 hex digits.
        dependencies: stamps of this computation and of all its parts so far.
    """

    __slots__ = ("_declared", "_named", "_recheck", "dependencies", "name")

    def __init__(
        self,
        named: Callable[[], str],
        dependencies: Dependencies,
        *,
        recheck: bool,
        declared: bool = False,
        maker: object,
    ) -> None:
        if maker is not _MAKER:
            raise TypeError("Expected a key from robustest.identity.keys.key_of, the only place that makes one.")
        self.name = named()
        self._named = named
        self.dependencies = dependencies
        self._recheck = recheck
        self._declared = declared

    def __init_subclass__(cls) -> None:
        raise TypeError("Expected no class of its own: what passes for a key must be made by key_of.")

    def part(self, *what: object) -> Key:
        """Return the key of a part of this computation, distinguished by `what`."""
        return self._with(lambda: digest((self.name, *what), recheck=self._recheck))

    def now(self) -> Key:
        """Return the key of the same computation in its present state, which its earlier parts may have changed.

        Raises:
            Unhashable: a part of the state has no identity.
        """
        return self._with(self._named)

    def _with(self, named: Callable[[], str]) -> Key:
        # All parts share their dependencies: the user's code may keep what one part reads for a later one.
        return Key(named, self.dependencies, recheck=self._recheck, declared=self._declared, maker=_MAKER)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Add everything that is read from outside inside the block to the key's dependencies."""
        # Where nothing is asked again, nothing may be read unseen.
        with watched(self.dependencies, everywhere=not self._recheck):
            yield
        self.dependencies.computed = True

    def many_watches(self) -> AbstractContextManager[None]:
        """Prepare for many short blocks of `watching`, of any thread, inside this one."""
        return nullcontext() if self._recheck else many_watches()

    @property
    def unknowable(self) -> str:
        """Return the reason why the result cannot be checked before it is recalled; empty if it can."""
        if self._declared:
            return ""
        return self.dependencies.unseen or ("" if self._recheck else self.dependencies.unknowable)


def key_of(
    kind: str,
    about: Mapping[str, object],
    settings: Settings | None,
    *,
    recheck: bool,
    declared: bool = False,
) -> Key:
    """Return the key of a result that may be stored.

    Args:
        kind: "chunk", "training", ...
        about: everything that the result depends on besides the settings, by name: values for `digest`.
        settings: of the claim, if any.
        recheck: True only if the model is asked again before anything is recalled, or the user declares its version.
        declared: True if the user's name for a version stands for everything that is read.
    """
    about = dict(about)
    parts: dict[str, object] = {
        "format": _FORMAT,
        "kind": kind,
        "code": own_code(),
        "torch": torch_version(),
        "python": (platform.python_implementation(), platform.python_version()),
    }
    if settings is not None:
        parts |= {
            "seed": settings.seed,
            "precision": settings.precision,
            "random": "random_forward" in settings.suppress,
        }

    def named() -> str:
        around: dict[str, object] = {}
        if not recheck:
            around = {"surroundings": _surroundings(), "replaced": replaced_anywhere(), "operators": overridden()}
        return digest({**parts, **around, "about": about}, recheck=recheck)

    return Key(named, Dependencies(), recheck=recheck, declared=declared, maker=_MAKER)


def _surroundings() -> dict[str, object]:
    machine: dict[str, object] = {"processor": (platform.machine(), _processor()), "packages": _installed()}
    if loaded("torch") is None:  # what does not use it does not depend on its flags
        return machine
    flags = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation warnings of old flags, once per process
        for name, read in _flags().items():
            try:
                flags[name] = str(read())
            except Exception as error:  # a flag that this version has not, or that another interface has set
                flags[name] = type(error).__name__
    return machine | {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "flags": flags,
        "devices": devices.present(),
    }


def _backend(path: str) -> Callable[[], object]:
    def read() -> object:
        *parts, name = path.split(".")
        while True:
            # A precision of "none" is inherited from the level above.
            value = attrgetter(".".join([*parts, name]))(torch.backends)
            if value != "none":
                return value
            if not parts:
                return "ieee"
            # The backend of CUDA itself has no precision, only its parts have.
            parts = [] if parts[:1] == ["cuda"] else parts[:-1]

    return read


# Some flags exist in some versions of torch only, and some raise once another was set (see `_state`).
_flags: Callable[[], dict[str, Callable[[], object]]] = with_torch(
    lambda: {
        "dtype": torch.get_default_dtype,
        "device": devices.default_of_user,
        "deterministic": torch.are_deterministic_algorithms_enabled,
        "warned only": torch.is_deterministic_algorithms_warn_only_enabled,
        "fill": lambda: attrgetter("fill_uninitialized_memory")(torch.utils.deterministic),
        "matmul": torch.get_float32_matmul_precision,
        "denormals": lambda: float(torch.tensor(1e-310, dtype=torch.float64) * 1.0),
        "anomalies": torch.is_anomaly_enabled,
        "autocast": lambda: [torch.is_autocast_enabled(kind) for kind in devices.kinds()],
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
)


def _processor() -> str:
    able = "" if loaded("torch") is None else torch.backends.cpu.get_cpu_capability()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return able
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    # Kinds of processors round differently, and training amplifies the differences.
    return f"{names[0] if names else ''} {able}"


def _installed() -> list[str]:
    # By the names of folders: reading the metadata of all distributions takes seconds.
    found: set[str] = set()
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        found.update(name for name in names if name.endswith((".dist-info", ".egg-info")))
    return sorted(found)
