"""Which code is an installed package's, told by a version, and which is the user's own, told by what it says."""

from __future__ import annotations

import hashlib
import os
import platform
import site
import sys
import sysconfig
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import ModuleType

from robustest.identity.plain import Unhashable, part, words

_RELEASED = frozenset({"numpy", "scipy", "torch", "torchaudio", "torchvision"})
"""Distributions that a version number tells apart; a package of the user's own may be installed anew under its old."""

_OUTWARD = words(
    "aiohttp asyncio boto3 botocore ctypes ftplib grpc http httpx multiprocessing openai paramiko ray requests socket"
    " ssl subprocess telnetlib tritonclient urllib urllib3 websocket websockets xmlrpc"
)
"""Top-level modules whose answers depend on something outside this process."""

_OWN = os.path.realpath(Path(__file__).parents[1])

MEND = "Give the model a method robustest_fingerprint() that returns the name of its version"


def home(module: str | None, file: str | None) -> str | None:
    """The package that a module is part of, with its version; None for the user's own code.

    Args:
        module: its name.
        file: its file, where it has one.

    Raises:
        Unhashable: what the module does depends on something outside this process.
    """
    top = (module or "").partition(".")[0]
    if file is None:  # torch._C._nn has none, but torch has
        file = getattr(sys.modules.get(top), "__file__", None)
    label = _home(top, file)
    if label is not None and top in _OUTWARD:
        raise Unhashable(f"{module}, which reaches outside this process. {MEND}")
    return label


def home_of(module: ModuleType) -> str | None:
    """`home` of a module object."""
    return home(module.__name__, getattr(module, "__file__", None))


def home_of_class(cls: type) -> str | None:
    """`home` of the module that a class says it is from."""
    name = cls.__module__
    return home(name, getattr(sys.modules.get(name), "__file__", None)) if isinstance(name, str) else None


@lru_cache(maxsize=4096)
def _home(top: str, file: str | None) -> str | None:
    if file is None:
        return _PYTHON if top in sys.stdlib_module_names or top in sys.builtin_module_names else None
    path = os.path.realpath(file)
    if path.startswith(_OWN + os.sep):
        return f"robustest {own_code()}"
    for folder in _installed():
        if path.startswith(folder + os.sep):
            first = path[len(folder) + 1 :].partition(os.sep)[0]
            return _release(first)
    standard = os.path.realpath(sysconfig.get_paths()["stdlib"])
    return _PYTHON if path.startswith(standard + os.sep) and top in sys.stdlib_module_names else None


@lru_cache(maxsize=1)
def own_code() -> str:
    """What measures: SHA-256, as 64 hex digits, of every source file of this package.

    It stands for robustest however that was installed, so that a wheel and a checkout of the same code are one, and
    no other version of it is taken at its word.
    """
    home = Path(_OWN)
    files = sorted((path.relative_to(home).as_posix(), path) for path in home.rglob("*.py"))
    return hashlib.sha256(
        b"".join(part("file", name.encode()) + part("is", p.read_bytes()) for name, p in files)
    ).hexdigest()


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = [paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()]
    folders += [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]  # by a .pth
    return tuple(dict.fromkeys(os.path.realpath(folder) for folder in folders))


@lru_cache(maxsize=1024)
def _release(first: str) -> str | None:
    """Name, version and contents of the distributions that own a file or folder of site-packages."""
    named = _owner(first.partition(".")[0])
    owners = [named] if named is not None and _owns(named, first) else _owners(first)
    return "; ".join(sorted(map(_label, owners))) or None


def _owner(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return None


def _owners(first: str) -> list[metadata.Distribution]:
    return [owner for owner in metadata.distributions() if _owns(owner, first)]


def _owns(owner: metadata.Distribution, first: str) -> bool:
    record = "\n" + (owner.read_text("RECORD") or "")
    return f"\n{first}/" in record or f"\n{first}," in record


def _label(owner: metadata.Distribution) -> str:
    name = owner.metadata["Name"]
    if name.lower() in _RELEASED:
        return f"{name} {owner.version}"
    # Hashes of the files themselves; scripts and the notes of the installer differ from place to place.
    lines = [
        line
        for line in (owner.read_text("RECORD") or "").splitlines()
        if not line.startswith("..") and ".dist-info/" not in line and ".pyc," not in line
    ]
    return f"{name} {owner.version} {hashlib.sha256(chr(10).join(sorted(lines)).encode()).hexdigest()}"


_PYTHON = f"{platform.python_implementation()} {platform.python_version()}"
