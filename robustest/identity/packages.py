"""Origins of code: installed packages by version, libraries that are known to compute, replaced functions.

1. `home` separates the code of installed packages, which a version identifies, from the user's code, which only its
   text identifies. Packages other than NumPy, SciPy and torch also count by the hashes in their RECORD, since tox
   reinstalls a user's package under an unchanged version. An editable install is the user's code.
2. `replacements`, `replaced_anywhere` and `overridden` find functions and operators that were replaced at run time,
   which no version shows.
3. `refuse_opaque` is closed: compiled code, which may open files, map them or keep state where no Python code sees it,
   counts only if it belongs to a library that is known to compute (`COMPUTING`), and a module of the standard library
   only if it is known to keep no state that changes results (`_STANDARD`).
"""

from __future__ import annotations

import functools
import hashlib
import logging
import operator
import os
import platform
import re
import site
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from robustest.identity.plain import Unhashable, part, words
from robustest.loaded import loaded, with_torch

if TYPE_CHECKING:
    import torch
else:
    from robustest.loaded import torch

# Distributions that a version number identifies.
_RELEASED = frozenset({"numpy", "scipy", "torch", "torchaudio", "torchvision"})

# Top-level modules with results that depend on something outside this process.
_OUTWARD = words(
    "aiohttp asyncio boto3 botocore ctypes ftplib grpc http httpx multiprocessing openai paramiko ray requests socket"
    " ssl subprocess telnetlib tritonclient urllib urllib3 websocket websockets xmlrpc"
)

_OWN = os.path.realpath(Path(__file__).parents[1])
_PYTHON = f"{platform.python_implementation()} {platform.python_version()}"

REMEDY = "Give the model a method robustest_fingerprint() that returns the name of its version"


def home(module: str | None, file: str | None) -> str | None:
    """Return the package that a module belongs to, with its version; None for the user's code.

    Args:
        module: name of the module.
        file: its file, if any.
    """
    top = (module or "").partition(".")[0]
    if file is None:  # torch._C._nn has none, but torch has
        file = getattr(sys.modules.get(top), "__file__", None)
    return _home(top, file)


def home_of(module: ModuleType) -> str | None:
    """Return `home` of a module object."""
    return home(module.__name__, getattr(module, "__file__", None))


def home_of_class(cls: type) -> str | None:
    """Return `home` of a class's module."""
    name = cls.__module__
    return home(name, getattr(sys.modules.get(name), "__file__", None)) if isinstance(name, str) else None


@cache
def _home(top: str, file: str | None) -> str | None:
    if file is None:
        return _PYTHON if top in sys.stdlib_module_names or top in sys.builtin_module_names else None
    path = os.path.realpath(file)
    if path.startswith(_OWN + os.sep):
        return f"robustest {own_code()}"
    for folder in _installed():
        if path.startswith(folder + os.sep):
            return _release(path[len(folder) + 1 :].partition(os.sep)[0])
    # Nix and Bazel make a folder of packages of links into their stores. A link to a user's checkout has no files in a
    # RECORD.
    named = os.path.abspath(file)
    for folder in _named_folders():
        if named.startswith(folder + os.sep):
            first, _, rest = named[len(folder) + 1 :].partition(os.sep)
            if rest and _has_files(first):
                return _release(first)
    standard = os.path.realpath(sysconfig.get_paths()["stdlib"])
    return _PYTHON if path.startswith(standard + os.sep) and top in sys.stdlib_module_names else None


# Compiled code that is known


@dataclass(frozen=True, slots=True)
class Library:
    """A library with compiled code that only computes, apart from its doors.

    Attributes:
        doors: by module, all its functions, methods ("Class.method") and classes that open the file of their first
            argument without Python.
        settings: a function of the library, by its path, that returns settings on which results depend; empty if there
            is none.
    """

    doors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    settings: str = ""


COMPUTING: dict[str, Library] = {
    **{
        name: Library()
        for name in (
            *("PIL", "charset_normalizer", "contourpy", "einops", "gymnasium", "joblib", "kiwisolver", "markupsafe"),
            "matplotlib",
            *(
                "_pytest",
                "hypothesis",
                "numba",
                "pluggy",
                "pytest",
                "regex",
                "scipy",
                "statsmodels",
                "threadpoolctl",
                "tqdm",
                "yaml",
            ),
        )
    },
    "catboost": Library({"catboost.core": ("CatBoost.load_model", "Pool.__init__")}),
    "lightgbm": Library({"lightgbm.basic": ("Booster.__init__", "Dataset.__init__")}),
    "numpy": Library(settings="numpy.geterr"),
    "pandas": Library(
        {
            "pandas": tuple(
                f"read_{what}"
                for what in ("feather", "hdf", "iceberg", "orc", "parquet", "sas", "spss", "sql", "stata")
            ),
        },
        settings="pandas._config.config._global_config.copy",
    ),
    "safetensors": Library(dict.fromkeys(("safetensors", "safetensors.numpy", "safetensors.torch"), ("safe_open",))),
    "sklearn": Library(settings="sklearn.get_config"),
    "soundfile": Library({"soundfile": ("SoundFile.__init__",)}),
    "tokenizers": Library({"tokenizers": ("Tokenizer",)}),
    "torch": Library(
        {
            "torch": ("from_file", "UntypedStorage.from_file"),
            "torch._C": ("PyTorchFileReader", "import_ir_module"),
        }
    ),
    "torchaudio": Library({"torchaudio": ("info", "load")}),
    "torchvision": Library({"torchvision.io.image": ("read_file",)}),
    "xgboost": Library({"xgboost.core": ("Booster.load_model", "DMatrix.__init__")}),
}
"""The closed side: libraries, by their top-level module. Any other compiled code is taken to read what nobody sees."""


# Modules of the standard library without state that changes results, and whose reads Python's audit events show;
# `os` and `sys` by their members (`walk`).
_STANDARD = words(
    "abc argparse array ast atexit base64 binascii bisect blake2 builtins bz2 calendar cmath codecs"
    " collections colorsys concurrent configparser contextlib contextvars copy copyreg csv dataclasses"
    " datetime difflib email enum errno fnmatch fractions functools genericpath getopt glob graphlib gzip"
    " hashlib heapq hmac html io ipaddress itertools json keyword logging lzma marshal math md5 mimetypes"
    " mmap nt ntpath numbers opcode operator os pathlib pickle platform posix posixpath pprint pydatetime"
    " pyio queue random re reprlib secrets sha1 sha2 sha256 sha3 sha512 shlex shutil sre stat statistics"
    " string struct sys tarfile tempfile textwrap thread threading time timeit tomllib traceback types typing"
    " unicodedata unittest uuid warnings wave weakref weakrefset xml zipfile zlib zoneinfo"
)
# Parts of `importlib` that read data which belongs to packages.
_STANDARD_PARTS = ("importlib.metadata", "importlib.resources")
# Modules by which code in Python calls functions of any library.
_FOREIGN = words("_cffi_backend cffi ctypes cppyy")


def refuse_opaque(module: str) -> None:
    """Refuse code of an installed or standard module that may depend on what nobody sees.

    Raises:
        Unhashable: it is not known that the module, and what it imports, only computes.
    """
    top = module.partition(".")[0]
    if top in _OUTWARD:
        raise Unhashable(f"{module}, which reaches outside this process. {REMEDY}")
    if top in sys.stdlib_module_names or top.lstrip("_") in _STANDARD:
        if top.lstrip("_") not in _STANDARD and not module.startswith(_STANDARD_PARTS):
            raise Unhashable(f"{module}, whose state and reads are not known to be seen. {REMEDY}")
        return
    if why := _opaque(top, len(sys.modules), frozenset()):
        raise Unhashable(f"{module}, which calls {why}: it may read what nobody sees. {REMEDY}")


@cache
def _opaque(top: str, loaded: int, above: frozenset[str]) -> str:
    """Return the compiled code that a package reaches and that is not known, in words; empty if there is none.

    Args:
        loaded: number of modules in memory, an argument only to renew the cache.
        above: packages that lead to this one.
    """
    if top in COMPUTING or top.lstrip("_").startswith("robustest") or top.lstrip("_") in _STANDARD:
        return ""
    if top in _FOREIGN:
        return f"compiled code by {top}"
    imported: set[str] = set()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != top:
            continue
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(tuple(EXTENSION_SUFFIXES)):
            return f"compiled code of {top}"
        if isinstance(file, str) and file.endswith(".py"):
            imported |= _tops_imported(file)
    for name in sorted(imported - above - {top}):
        known = name not in sys.modules or name in sys.stdlib_module_names - _FOREIGN
        if not known and (why := _opaque(name, loaded, above | {top})):
            return why
    return ""


_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+(\w+)[\w.]*[ \t]+import|import[ \t]+([^#\n;]+))", re.MULTILINE)


@cache
def _tops_imported(file: str) -> frozenset[str]:
    """Return the top-level modules that a file of a package names in its imports, also in those inside functions."""
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found = set()
    for origin, names in _IMPORT.findall(text):
        found |= {origin} if origin else {name.strip().partition(" ")[0].partition(".")[0] for name in names.split(",")}
    return frozenset(found - {""})


def settings_of(libraries: Iterable[str]) -> dict[str, str]:
    """Return the settings of libraries of `COMPUTING`, by their top-level modules, on which results depend."""
    found = {}
    if "logging" in libraries:
        loggers = {"": logging.root, **logging.root.manager.loggerDict}
        levels = {name: one.level for name, one in sorted(loggers.items()) if isinstance(one, logging.Logger)}
        found["logging"] = repr({name: level for name, level in levels.items() if level})
    for top in sorted(libraries):
        if top in COMPUTING and COMPUTING[top].settings and top in sys.modules:
            with suppress(Exception):  # a release without it
                read = operator.attrgetter(COMPUTING[top].settings.partition(".")[2])
                found[top] = repr(read(sys.modules[top])())
    return found


# Kernels that torch registers in Python itself, for shapes and for derivatives.
_OWN_KERNELS = ("Meta", "Autograd", "Autocast", "Python", "Functionalize", "BackendSelect")


def overridden() -> list[str]:
    """Return the operators of torch and torchvision to which Python code outside of torch gave an implementation."""
    if loaded("torch") is None:
        return []
    known = torch.library._impls
    return _overridden(len(known), hash(frozenset(known)))


@cache
def _overridden(_count: int, _all: int) -> list[str]:
    found = []
    for name in sorted(torch.library._impls):
        space, _, rest = name.partition("/")
        operation, _, key = rest.partition("/")
        if space not in ("aten", "torchvision") or (space == "torchvision" and key.startswith(_OWN_KERNELS)):
            continue
        try:
            lines = torch._C._dispatch_dump(f"{space}::{operation}").splitlines()
        except RuntimeError:
            continue
        where = [
            line.partition("registered at ")[2] for line in lines if line.partition("[")[0].partition(":")[0] == key
        ]
        files = [one.rpartition(".py:")[0] + ".py" for one in where if ".py:" in one]
        if any(not _is_torch(file) or file.endswith("torch/library.py") for file in files):
            found.append(name)
    return found


@cache
def _is_torch(path: str) -> bool:
    return os.path.realpath(path).startswith(os.path.realpath(Path(torch.__file__).parent) + os.sep)


@cache
def own_code() -> str:
    """Return SHA-256, as 64 hex digits, of every source file of robustest."""
    folder = Path(_OWN)
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py"))
    parts = [part("file", name.encode()) + part("is", path.read_bytes()) for name, path in files]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _has_files(first: str) -> bool:
    records = (owner.read_text("RECORD") or "" for owner in metadata.distributions())
    return any(f"\n{first}/" in f"\n{record}" for record in records)


@cache
def _installed() -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(os.path.realpath, _named_folders())))


def _named_folders() -> tuple[str, ...]:
    """Return the folders of installed packages by the names that `sys.path` has, which may be links."""
    paths = sysconfig.get_paths()
    folders = [paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()]
    folders += [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]  # by a .pth
    return tuple(dict.fromkeys(map(os.path.abspath, folders)))


@cache
def _release(first: str) -> str | None:
    def owns(owner: metadata.Distribution) -> bool:
        record = "\n" + (owner.read_text("RECORD") or "")
        return f"\n{first}/" in record or f"\n{first}," in record

    owners: list[metadata.Distribution]
    try:  # most distributions have the name of their folder; reading the RECORD of all takes a second
        owners = [metadata.distribution(first.partition(".")[0])]
    except (metadata.PackageNotFoundError, ValueError):
        owners = []
    if not any(map(owns, owners)):
        owners = [owner for owner in metadata.distributions() if owns(owner)]
    labels = []
    for owner in owners:
        name = owner.metadata["Name"]
        labels.append(f"{name} {owner.version}")
        if name.lower() not in _RELEASED:
            # Hashes of the files themselves; scripts and the notes of the installer differ from place to place.
            lines = [
                line
                for line in (owner.read_text("RECORD") or "").splitlines()
                if not line.startswith("..") and ".dist-info/" not in line and ".pyc," not in line
            ]
            labels[-1] += f" {hashlib.sha256(chr(10).join(sorted(lines)).encode()).hexdigest()}"
    return "; ".join(sorted(labels)) or None


# Places in which torch's own code looks up the functions that it calls.
places: Callable[[], tuple[Any, ...]] = with_torch(
    lambda: (
        (
            *(loaded("torch"), torch.nn.functional, torch.Tensor, torch._C._nn),
            *(torch.linalg, torch.special, torch.fft),
        )
        if loaded("torch") is not None
        else ()
    )
)

FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType)
_SCANNED = frozenset({"numpy", "random", "torch", "torchvision"})
# Parts of torch with many names that no training calls directly.
_UNSCANNED = ("torch._", "torch.ao", "torch.distributed", "torch.export", "torch.fx", "torch.jit", "torch.onnx")


def replacements(place: Any) -> tuple[list[tuple[str, Any]], list[tuple[str, str]]]:
    """Return the user's functions in a package's module or class, and the package's functions under another's name."""
    # Aliases are the same in every process, unless one of the package's functions was put in another's place.
    members = tuple(vars(place).values())
    before, aliases = _without_replacements.get(place, ((), []))
    if len(members) == len(before) and all(map(operator.is_, members, before)):
        return [], aliases
    held = sorted(vars(place).items())
    own = [(name, one) for name, one in held if is_own(one)]
    aliases = [
        (name, one.__qualname__)
        for name, one in held
        if isinstance(one, FUNCTIONS) and one.__name__ != name and not is_own(one)
    ]
    if not own:
        _without_replacements[place] = members, aliases
    return own, aliases


# Members and aliases of places that held no function of the user's when they were last read.
_without_replacements: dict[Any, tuple[tuple[Any, ...], list[tuple[str, str]]]] = {}


def replaced_anywhere() -> dict[str, Any]:
    """Return the user's functions and mocks inside numerical packages and their classes, by place."""
    # This takes a tenth of a second: every name of every loaded module is read.
    found: dict[str, Any] = {"aliases": [replacements(place)[1] for place in places()]}
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] not in _SCANNED or name.startswith(_UNSCANNED) or module is None:
            continue
        for at, held in list(getattr(module, "__dict__", {}).items()):
            if _may_be_own(held):
                found[f"{name}.{at}"] = held
            elif isinstance(held, type) and held.__module__ == name:
                found |= {f"{name}.{at}.{inner}": one for inner, one in list(vars(held).items()) if _may_be_own(one)}
    for place in places():
        found |= {f"{place.__name__}.{at}": one for at, one in replacements(place)[0]}
    return found


def _unbound(held: Any) -> Any:
    while isinstance(held, (functools.partial, types.MethodType)):
        held = held.func if isinstance(held, functools.partial) else held.__func__
    return held


def _may_be_own(held: Any) -> bool:
    held = _unbound(held)
    if type(held) is not types.FunctionType:
        return type(held).__module__ == "unittest.mock"
    top = str(held.__globals__.get("__name__")).partition(".")[0]
    return top not in _SCANNED and not top.startswith("namedtuple_") and is_own(held)


def is_own(held: Any) -> bool:
    """Return True for a function of the user's, or an object of one of the user's classes that can be called."""
    held = _unbound(held)
    if type(held).__module__ == "unittest.mock":
        return True
    if isinstance(held, types.FunctionType):
        return home(held.__globals__.get("__name__"), held.__globals__.get("__file__")) is None
    if isinstance(held, (*FUNCTIONS, type, ModuleType)) or not callable(held):
        return False
    return home_of_class(type(held)) is None
