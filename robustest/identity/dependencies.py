"""Stamps of everything that a computation reads from outside.

1. An audit hook receives every file opened, every folder listed, every process or connection started. Reads without
   an audit event are wrapped while a watch is on: `os.stat` and the like, entries of `os.scandir`, `os.environ`, the
   doors of `packages.COMPUTING`. Reads that neither shows are kept out by the identity of the code, which
   refuses compiled code that is not known (`robustest.identity.packages`), and by `Dependencies.unseen`.
2. Everything is stamped in the state before the computation changes it: a file by contents, a path by status, a
   folder by names, a variable by value. A file that the computation writes as a whole is no dependency; one to which it
   appends, and reads, is one in the state before.
3. `outdated` compares stamps with the present state. Connections and processes have no stamp
   (`Dependencies.unknowable`).
"""

from __future__ import annotations

import gc
import hashlib
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import wraps
from multiprocessing.process import BaseProcess
from types import CellType, FunctionType
from typing import Any

from robustest.identity.packages import COMPUTING

_COMPILED = (".pyc", ".pyi", ".so", ".pyd", ".dll")
_SYSTEM = ("/proc/", "/sys/", "/dev/")
# Modules that read code to run, to show or to count it; code has an identity by its text (`walk`) or its package.
_MACHINERY = (
    *("importlib", "_frozen_importlib", "linecache", "tokenize", "zipimport", "pkgutil"),
    *("_pytest.", "coverage."),
)
# Bytes from which the stamp of a file also holds its place and dates, by which it is compared first.
_LARGE = 1 << 24
# Between the two parts of such a stamp.
_AT = " at "
# The stamp of what is not there; and between the two stamps of a variable whose default the computation set itself.
_ABSENT, _OR = "absent", " or "
# Of a wrapped method that its class has from another one.
_INHERITED = object()
# Seconds after a write in which another write may leave size and date unchanged.
_RACY = 1.0

_OUTWARD = {
    "socket.connect": "opens a connection",
    "socket.getaddrinfo": "asks for an address in the network",
    "subprocess.Popen": "starts a process",
    "os.system": "starts a process",
    "os.posix_spawn": "starts a process",
    "os.exec": "starts a process",
    "os.fork": "starts a process",
    "os.forkpty": "starts a process",
}
"""Audit events that have no stamp."""

# Functions that open the file of their first argument without Python, of libraries that do so nowhere else.
_DOORS = {module: names for library in COMPUTING.values() for module, names in library.doors.items()}
_NAMES = {name.rpartition(".")[2] for names in _DOORS.values() for name in names}
_WRITES = {"w", "w-", "x", "wb", "xb", "w+", "w+b"}


def door(value: Any) -> str:
    """Return the path in its module, e.g. "Booster.load_model", of a function or class of `_DOORS`; "" for others."""
    for module, names in _DOORS.items() if getattr(value, "__name__", None) in _NAMES else ():
        for name in names:
            at: Any = sys.modules.get(module)
            for step in name.split("."):
                at = getattr(at, "__dict__", {}).get(step)
            at = getattr(at, "__func__", at)
            at = at.of if isinstance(at, NotingClass) else at
            if at is not None and at is getattr(value, "__func__", value):
                return name
    return ""


@dataclass(slots=True, eq=False)
class Dependencies:
    """Stamps of everything that a computation has read from outside.

    Attributes:
        stamps: state of each thing when first read, by "<kind> <name>".
        unknowable: the first act without a stamp (a connection, a process), in words; empty if there was none.
        unseen: the first read that neither has a stamp nor shows in the answers to a few samples, in words.
        computed: True once anything was computed under watch.
    """

    stamps: dict[str, str] = field(default_factory=dict)
    unknowable: str = ""
    unseen: str = ""
    computed: bool = False
    _own: set[str] = field(default_factory=set)
    # By path: stamps of what the computation changed without having read it, by kind.
    _before: dict[str, dict[str, str]] = field(default_factory=dict)

    def read(self, kind: str, name: str) -> None:
        """Stamp a thing that is about to be read, unless the computation wrote it."""
        label = f"{kind} {name}"
        where = os.path.abspath(name) if kind != "variable" else label
        if label in self.stamps or where in self._own:
            return
        if kind == "file":  # contents say more than status: a new date need not mean new contents
            self.stamps.pop(f"path {name}", None)
        elif kind == "path" and f"file {name}" in self.stamps:
            return
        self.stamps[label] = self._before.get(where, {}).get(kind) or _STAMPS[kind](name)

    def changes(self, path: str, kinds: Iterable[str]) -> None:
        """Note a file or folder, by its absolute path, that the computation is about to change in part."""
        if path not in self._own:
            kept = self._before.setdefault(path, {})
            kept |= {kind: _STAMPS[kind](path) for kind in kinds if kind not in kept}

    def read_again(self, stamps: Mapping[str, str]) -> None:
        """Add the stamps of an earlier computation whose result this one takes."""
        for label, held in stamps.items():
            kind, _, name = label.partition(" ")
            if (os.path.abspath(name) if kind != "variable" else label) not in self._own:
                self.stamps.setdefault(label, held)

    def wrote(self, name: str) -> None:
        """Note a file or folder that is made, or a variable ("variable NAME") that is set."""
        self._own.add(name)

    def set_variable(self, name: str, value: str) -> None:
        """Note a variable that is set: where it had none, the first value is a default of the computation itself.

        The later passes of the computation have read that value, so that either state repeats it.
        """
        label = f"variable {name}"
        if self.stamps.get(label) == _ABSENT:
            self.stamps[label] = f"{_ABSENT}{_OR}{_hash_of(value)}"
        self.wrote(label)

    def moved(self, source: str, target: str) -> None:
        """Note a renamed file: if the computation wrote it, its new name needs no stamp either."""
        if source in self._own:
            self._own.add(target)


def outdated(stamps: Mapping[str, str]) -> str:
    """Return the first thing that differs from its stamp, in words; empty if none does."""
    for label, held in stamps.items():
        kind, _, name = label.partition(" ")
        if kind == "file" and _AT in held:
            if not _is_content(name, held):
                return name
        elif kind not in _STAMPS or _STAMPS[kind](name) not in (held, *held.split(_OR)):
            return {"variable": f"the environment variable {name}", "cwd": "the working folder"}.get(kind, name)
    return ""


@contextmanager
def watched(by: Dependencies, *, everywhere: bool = False) -> Iterator[None]:
    """Add to `by` everything that any thread of this process reads from outside inside the block.

    Args:
        everywhere: look for functions of `_DOORS` that other code took by name.
    """
    with _listening(), _everywhere() if everywhere else nullcontext():
        with _lock:
            _watching.append(by)
        try:
            yield
        finally:
            with _lock:
                _watching.reverse()  # blocks end in the reverse order; the same object may watch twice
                del _watching[next(place for place, one in enumerate(_watching) if one is by)]
                _watching.reverse()


@contextmanager
def many_watches() -> Iterator[None]:
    """Prepare for many short blocks of `watched` with `everywhere`: they look for names once, not each."""
    with _listening(), _everywhere():
        yield


@contextmanager
def watched_here(by: Dependencies) -> Iterator[None]:
    """Add to `by` too everything that this thread reads from outside inside the block, also where it is unwatched."""
    before = _thread.own
    with _listening():
        _thread.own = (*before, by)
        try:
            yield
        finally:
            _thread.own = before


@contextmanager
def unwatched() -> Iterator[None]:
    """Keep what this thread reads inside the block from every watch: for reads with an identity of their own."""
    before = _thread.away
    _thread.away = True
    try:
        yield
    finally:
        _thread.away = before


def watches() -> list[Dependencies]:
    """Return the dependencies to which this thread's reads are added now."""
    return [*_thread.own, *(() if _thread.away else _watching)]


class _Thread(threading.local):
    """State of a thread: it is making a stamp, its reads are `unwatched`, and watches of its reads alone."""

    stamping = False
    scanning = False
    away = False
    own: tuple[Dependencies, ...] = ()


_watching: list[Dependencies] = []
_blocks = 0  # blocks of any thread in which something is watched
_hooked = False
_wrapped = ExitStack()
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # a lock held by a thread of the parent would never be released
    os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.RLock()))
_thread = _Thread()


@contextmanager
def _listening() -> Iterator[None]:
    global _hooked, _blocks  # noqa: PLW0603 - an audit hook stays for as long as the process does
    with _lock:
        if not _hooked:
            _hooked = True
            sys.addaudithook(_hear)
        if not _blocks:
            _wrapped.enter_context(_wrappers())
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks:
                _wrapped.close()


def _note(kind: str, name: object) -> None:
    # Raise nothing in here: the code that reads would receive the error.
    if _thread.stamping or not (watching := watches()):
        return
    try:
        text = os.fsdecode(name)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # a descriptor: the file was noted as it was opened
        return
    if kind != "variable" and (text.startswith(_SYSTEM) or text.endswith(_COMPILED) or _machinery(text)):
        return
    with _silent():
        try:
            for one in watching:
                one.read(kind, text)
        except (OSError, ValueError):  # no working folder any more, a null byte
            for one in watching:
                one.unknowable = one.unknowable or f"reads {text!r}, which cannot be found again"


@contextmanager
def _silent() -> Iterator[None]:
    """Note nothing of what this thread does inside the block."""
    before = _thread.stamping
    _thread.stamping = True
    try:
        yield
    finally:
        _thread.stamping = before


def _note_unseen(why: str) -> None:
    for one in [] if _thread.stamping else watches():
        one.unseen = one.unseen or why


def _path_of(descriptor: int, name: Any = "") -> str | None:
    """Return the path of an open file, or of a name in an open folder; None if it cannot be told."""
    with _silent():
        try:
            return os.path.join(os.readlink(f"/proc/self/fd/{descriptor}"), os.fsdecode(name)).rstrip("/")
        except (OSError, TypeError, ValueError):
            return None


def _note_open(kind: str, descriptor: int, name: Any = "") -> None:
    """Stamp an open file, or a name in an open folder."""
    path = _path_of(descriptor, name)
    if path is None:
        _note_unseen("asks for an open file whose name cannot be told")
    elif path.startswith("/"):  # else a pipe or a socket
        _note(kind, path)


def _machinery(path: str) -> bool:
    frame = sys._getframe(2)
    while frame.f_globals.get("__name__") == __name__ and frame.f_back is not None:
        frame = frame.f_back
    name = str(frame.f_globals.get("__name__", ""))
    if name.startswith(_MACHINERY):
        return True
    # Some read code by way of other modules: only a source file is taken for code then.
    if not path.endswith(".py") or frame.f_back is None:
        return False
    caller = frame.f_back
    for _ in range(3):
        if str(caller.f_globals.get("__name__", "")).startswith(_MACHINERY):
            return True
        if caller.f_back is None:
            return False
        caller = caller.f_back
    return False


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if not _blocks or _thread.stamping:
        return
    heard = _EVENTS.get(event)
    if heard is not None:
        with suppress(OSError, TypeError, ValueError):
            heard(*args)
    elif event in _OUTWARD:
        for one in watches():
            one.unknowable = one.unknowable or _OUTWARD[event]


def _opened(path: Any, mode: Any, flags: Any) -> None:
    if isinstance(path, int) or not isinstance(flags, int):
        return
    if flags & os.O_TRUNC or (flags & os.O_CREAT and flags & os.O_EXCL):
        _made(path)
        return
    if not flags & os.O_WRONLY:
        _note("file", path)
    if flags & (os.O_WRONLY | os.O_RDWR):
        _changed(path)


def _changed(path: Any, *_: Any) -> None:
    """Note a file that is about to be changed in part, and its folder, which may get a name."""
    with _silent():
        whole = os.path.abspath(os.fsdecode(path))
        for one in watches():
            one.changes(whole, ("file", "path", "status", "type"))
            one.changes(os.path.dirname(whole), ("folder",))


def _made(path: Any, *_: Any) -> None:
    with _silent():
        whole = os.path.abspath(os.fsdecode(path))
        for one in watches():
            one.wrote(whole)
            one.changes(os.path.dirname(whole), ("folder",))


def _removed(path: Any, folder: int = -1) -> None:
    whole = _path_of(folder, path) if folder != -1 else os.path.abspath(os.fsdecode(path))
    if whole is None:
        return
    _note("path", whole)  # an error shows whether it is there
    with _silent():
        for one in watches():
            one.changes(os.path.dirname(whole), ("folder",))


def _renamed(source: Any, target: Any, *_: Any) -> None:
    _note("file", source)
    with _silent():
        for one in watches():
            for place in (source, target):
                one.changes(os.path.dirname(os.path.abspath(os.fsdecode(place))), ("folder",))
        for one in watches():
            one.moved(os.path.abspath(os.fsdecode(source)), os.path.abspath(os.fsdecode(target)))


def _linked(source: Any, target: Any, *_: Any) -> None:
    _note("file", source)
    _made(target)


def _listed(path: Any) -> None:
    if isinstance(path, int):
        _note_open("folder", path)
    else:
        _note("folder", "." if path is None else path)


def _scanned(path: Any) -> None:
    _listed(path)
    if not _thread.scanning:
        _note_unseen("asks for the entries of a folder by a function that was taken out of os")


def _loaded(name: Any, file: Any = None, *_: Any) -> None:
    """Note compiled code that is loaded while the computation runs."""
    top = str(name).partition(".")[0]
    if file is None or not str(file).endswith(_COMPILED) or top in COMPUTING or top in sys.stdlib_module_names:
        return
    _note_unseen(f"loads compiled code of {top}, which may read what nobody sees")


def _connected(database: Any) -> None:
    text = os.fsdecode(database)
    if text in ("", ":memory:"):
        return
    if text.startswith("file:"):  # an address with options; which file it is, SQLite alone knows
        for one in watches():
            one.unknowable = one.unknowable or f"opens the database {text}"
    # The last writes may still be in the log beside the file.
    for name in (text, f"{text}-wal", f"{text}-journal"):
        _note("file", name)


def _set(name: Any, value: Any) -> None:
    for one in watches():
        one.set_variable(os.fsdecode(name), os.fsdecode(value))


def _unset(name: Any) -> None:
    for one in watches():
        one.wrote(f"variable {os.fsdecode(name)}")


_EVENTS: dict[str, Callable[..., None]] = {
    "open": _opened,
    "import": _loaded,
    "os.link": _linked,
    "os.listdir": _listed,
    "os.scandir": _scanned,
    "os.symlink": _linked,
    "os.mkdir": _made,
    "os.remove": _removed,
    "os.rmdir": _removed,
    "os.truncate": _changed,
    "os.rename": _renamed,
    "os.putenv": _set,
    "os.unsetenv": _unset,
    "sqlite3.connect": _connected,
}


def _noting_key(encode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def encodekey(key: Any) -> Any:
        # Writes encode the variable's name too, and are no reads.
        if sys._getframe(1).f_code.co_name not in ("__setitem__", "__delitem__"):
            _note("variable", key)
        return encode(key)

    return encodekey


def _noting_names(decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decodekey(key: Any) -> Any:
        # os.environ decodes names only to list all variables.
        _note("variable", "*")
        return decode(key)

    return decodekey


def _note_first(call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Stamp the file that a blind call opens, or note that what it reads has no stamp."""
    names = [one for one in (*args, *kwargs.values()) if isinstance(one, (str, bytes, os.PathLike))]
    mode = kwargs.get("mode", args[1] if len(args) > 1 else "")
    files = [one for one in names if os.path.isfile(one)]
    if isinstance(mode, str) and mode in _WRITES:
        _made(next((one for one in names if one is not mode), mode))
    elif files:
        for one in files:
            _note("file", one)
    # An address, a pattern, a query or a camera. An open file or an array was read elsewhere.
    elif not args or args[0] is None or isinstance(args[0], (str, bytes, os.PathLike, int, list, tuple)):
        for watch in [] if _thread.stamping else watches():
            watch.unknowable = watch.unknowable or f"reads by {call.__name__} what has no stamp"


def _noting_first(call: Any, *, method: bool) -> Any:
    """Return what stands for a blind function, method or class while a watch is on."""
    if isinstance(call, type):
        return NotingClass(call)

    @wraps(call, updated=())
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _note_first(call, args[1:] if method else args, kwargs)
        return call(*args, **kwargs)

    return wrapper


class NotingClass:
    """Stands for a class in C, many of which cannot be derived from.

    Attributes:
        of: the class; it stands for both in an identity.
    """

    def __init__(self, of: type) -> None:
        self.of = of

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _note_first(self.of, args, kwargs)
        return self.of(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, self.of)

    def __subclasscheck__(self, cls: type) -> bool:
        return issubclass(cls, self.of)

    def __mro_entries__(self, bases: object) -> tuple[type]:
        return (self.of,)


# What stands for blind functions and classes now, by their ids: the original and its wrapper.
_wrapping: dict[int, tuple[Any, Any]] = {}
# Names that `_everywhere` has wrapped: the cell of a closure or the globals of code, the name in these, the original.
_named: list[tuple[Any, str, Any]] = []
_searched: set[int] = set()  # ids of the originals whose names are in `_named`
_searches = 0  # blocks of any thread that need what is in `_named`


@contextmanager
def _everywhere() -> Iterator[None]:
    """Wrap blind functions also where they were taken by name (`from safetensors import safe_open`).

    These are globals of modules and of other code, and closures; to find them takes about 30 ms. They stay wrapped
    until the last block ends: one that began later found them wrapped, and would see nothing once they are put back.
    Code that is imported meanwhile takes what stands for them.
    """
    global _searches  # noqa: PLW0603 - as `_blocks`
    with _lock:
        _searches += 1
    try:
        with _lock:
            _wrap_names()
        yield
    finally:
        with _lock:
            _searches -= 1
            if not _searches:
                _put_names_back()


def _wrap_names() -> None:
    new = [original for original, _ in _wrapping.values() if id(original) not in _searched]
    if not new:
        return
    own = {id(cell) for _, made in _wrapping.values() for cell in getattr(made, "__closure__", None) or ()}
    # Objects that somebody has frozen, as `robustest.cli.warm` does, are no referrers that Python knows.
    if frozen := gc.get_freeze_count():
        gc.unfreeze()
    holders = gc.get_referrers(*new)
    if frozen:
        gc.freeze()
    for holder in holders:
        if isinstance(holder, CellType) and id(holder) not in own:
            _named.append((holder, "", holder.cell_contents))
            holder.cell_contents = _wrapping[id(holder.cell_contents)][1]
        elif isinstance(holder, dict) and "__builtins__" in holder:
            for alias, value in list(holder.items()):
                if id(value) in _wrapping:
                    _named.append((holder, alias, value))
                    holder[alias] = _wrapping[id(value)][1]
    _searched.update(map(id, new))


def _put_names_back() -> None:
    for holder, alias, value in _named:  # unless the computation has set it anew
        new = _wrapping[id(value)][1]
        if alias and holder.get(alias) is new:
            holder[alias] = value
        elif not alias and _content(holder) is new:
            holder.cell_contents = value
    _named.clear()
    _searched.clear()


def _content(cell: CellType) -> Any:
    with suppress(ValueError):  # it is empty now
        return cell.cell_contents
    return None


class _Late:
    """An import hook: modules of `_DOORS` that are imported while a watch is on."""

    def __init__(self, see: Callable[[str], None]) -> None:
        self._see = see

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _DOORS:
            return None
        others = (one for one in sys.meta_path if one is not self and not isinstance(one, _Late))
        spec = next(filter(None, (one.find_spec(name, path, target) for one in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                self._see(name)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


# Functions that ask for the type or the size of a path, which its contents show as well.
_OF_TYPE = {
    *("exists", "isfile", "isdir", "islink", "lexists", "ismount", "getsize", "realpath", "_joinrealpath", "resolve"),
    *("is_file", "is_dir", "is_symlink", "_iterdir", "_isrecursive", "makedirs"),
}
_OF_PATHS = {"genericpath", "posixpath", "ntpath", "pathlib", "pathlib._local", "pathlib._abc", "glob", "os"}


def _noting_path(call: Any) -> Any:
    @wraps(call, updated=())
    def wrapper(path: Any = None, *args: Any, **kwargs: Any) -> Any:
        frame: Any = sys._getframe(0).f_back or sys._getframe(0)  # a thread may begin here
        if frame.f_globals.get("__name__") in _OF_PATHS and frame.f_code.co_name in ("stat", "lstat"):
            frame = frame.f_back or frame
        of_type = frame.f_globals.get("__name__") in _OF_PATHS and frame.f_code.co_name in _OF_TYPE
        kind = "path" if of_type or call.__name__ != "stat" else "status"
        folder = kwargs.get("dir_fd")
        if isinstance(path, int):
            _note_open(kind, path)
        elif folder is not None:
            _note_open(kind, folder, path)
        else:
            _note(kind, path)
        return call(path, *args, **kwargs)

    return wrapper


def _noting_status(call: Any) -> Any:
    @wraps(call, updated=())
    def wrapper(descriptor: int) -> Any:
        _note_open("status", descriptor)
        return call(descriptor)

    return wrapper


def _noting_place(call: Any) -> Any:
    @wraps(call, updated=())
    def wrapper() -> Any:
        _note("cwd", "")
        return call()

    return wrapper


def _noting_name(call: Any) -> Any:
    @wraps(call, updated=())
    def wrapper(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is None:
            return int(call(path, flags, mode))
        inside = _path_of(dir_fd, path)
        if inside is None:
            _note_unseen("opens a file by its name in an open folder")
        else:
            _opened(inside, None, flags)
        with _silent():  # the audit event has the name alone
            return int(call(path, flags, mode, dir_fd=dir_fd))

    return wrapper


class _Entry:
    """Stands for an entry of a folder while a watch is on."""

    def __init__(self, entry: Any, folder: int | None) -> None:
        self._entry, self._folder = entry, folder
        self.name, self.path = entry.name, entry.path

    def _note(self, kind: str) -> None:
        if self._folder is None:
            _note(kind, self.path)
        else:
            _note_open(kind, self._folder, self.name)

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        self._note("status")
        return self._entry.stat(follow_symlinks=follow_symlinks)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        self._note("type")
        return bool(self._entry.is_dir(follow_symlinks=follow_symlinks))

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        self._note("type")
        return bool(self._entry.is_file(follow_symlinks=follow_symlinks))

    def is_symlink(self) -> bool:
        self._note("type")
        return bool(self._entry.is_symlink())

    def __getattr__(self, name: str) -> Any:  # inode, is_junction
        self._note("status")
        return getattr(self._entry, name)

    def __fspath__(self) -> Any:
        return self._entry.path

    def __repr__(self) -> str:
        return repr(self._entry)


class _Entries:
    """Stands for an iterator over a folder."""

    def __init__(self, entries: Any, folder: int | None) -> None:
        self._entries, self._folder = entries, folder

    def __iter__(self) -> _Entries:
        return self

    def __next__(self) -> _Entry:
        return _Entry(next(self._entries), self._folder)

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self._entries.close()

    def close(self) -> None:
        self._entries.close()


def _noting_entries(call: Any) -> Any:
    @wraps(call, updated=())
    def wrapper(path: Any = None) -> Any:
        _thread.scanning = True
        try:
            found = call() if path is None else call(path)
        finally:
            _thread.scanning = False
        # Without a watch of this thread, entries are what they are without a wrapper.
        return _Entries(found, path if isinstance(path, int) else None) if watches() else found

    return wrapper


# Functions of `os` without an audit event, or with one that does not name the whole path, by what stands for each of
# them while a watch is on. A function that was taken out of `os` is not seen: `walk` refuses one.
WRAPPED: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("stat", "lstat", "access", "readlink"), _noting_path),
    **dict.fromkeys(("getcwd", "getcwdb"), _noting_place),
    "fstat": _noting_status,
    "open": _noting_name,
    "scandir": _noting_entries,
}


@contextmanager
def _wrappers() -> Iterator[None]:
    replaced: list[tuple[Any, str, Any]] = []

    def put(owner: Any, name: str, new: Any) -> None:
        replaced.append((owner, name, vars(owner).get(name, _INHERITED)))
        setattr(owner, name, new)

    try:
        for name, noting in WRAPPED.items():
            put(os, name, noting(getattr(os, name)))
        # By attributes of the two objects, never of their class: a class that was changed a thousand times has no more
        # version tags, and CPython 3.13 then goes on with the `__getitem__` that it specialised on.
        for variables in filter(None, (os.environ, getattr(os, "environb", None))):
            put(variables, "encodekey", _noting_key(variables.encodekey))
            put(variables, "decodekey", _noting_names(variables.decodekey))
        start = BaseProcess.start

        def started(self: Any) -> Any:  # a process that is spawned raises no event
            for one in [] if _thread.stamping else watches():
                one.unknowable = one.unknowable or _OUTWARD["os.fork"]
            return start(self)

        put(BaseProcess, "start", started)

        def see(blind: str) -> None:
            """Wrap what a module opens files with."""
            for name in _DOORS[blind] if blind in sys.modules else ():
                owner: Any = sys.modules[blind]
                *classes, attribute = name.split(".")
                for one in classes:
                    owner = getattr(owner, one, None)
                call = getattr(owner, attribute, None)
                if call is not None:
                    # A method that belongs to the class itself, not to an instance, is called without one.
                    method = bool(classes) and isinstance(vars(owner).get(attribute), FunctionType)
                    new = _noting_first(call, method=method)
                    put(owner, attribute, new if method or not classes else staticmethod(new))
                    if not classes:
                        _wrapping[id(call)] = call, new

        for blind in _DOORS:
            see(blind)
        late = _Late(see)
        sys.meta_path.insert(0, late)
        try:
            yield
        finally:
            with suppress(ValueError):  # the computation has put another list there
                sys.meta_path.remove(late)
    finally:
        _wrapping.clear()
        for owner, name, old in reversed(replaced):
            if old is _INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, old)


def _file(path: str) -> str:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return "no regular file"
        which = _which(status)
        if (path, which) not in _hashes:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            # A file this new may change again without a new date: nothing but its contents stands for it.
            if time.time() - max(status.st_mtime, status.st_ctime) < _RACY:
                return found
            _hashes[path, which] = found
        found = _hashes[path, which]
        return f"{found}{_AT}{which}" if status.st_size >= _LARGE and _DATED else found
    except OSError:
        return _ABSENT


def _is_content(path: str, held: str) -> bool:
    """Return True if a large file has the contents of its stamp; read it only if it was touched since."""
    digest, _, which = held.partition(_AT)
    try:
        if _DATED and _which(os.stat(path)) == which:
            return True
    except OSError:
        return False
    return _file(path).partition(_AT)[0] == digest


# No call sets the date of a file's last change of status, which each write renews; on Windows it is another date.
_DATED = os.name != "nt"


def _which(status: os.stat_result) -> str:
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


# By path, inode, size and dates: a store of many entries compares the same files again and again.
_hashes: dict[tuple[str, str], str] = {}


def _path(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return _ABSENT
    # A folder's date changes with every file in it, so only its type counts.
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    return f"{stat.S_IFMT(status.st_mode)} {status.st_size} {status.st_mtime_ns}"


def _status(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return _ABSENT
    return f"{stat.S_IFMT(status.st_mode)} {status.st_size} {status.st_mtime_ns}"


def _type(path: str) -> str:
    try:
        return f"{stat.S_IFMT(os.stat(path).st_mode)}"
    except OSError:
        return _ABSENT


def _cwd(_: str) -> str:
    return _hash_of(os.getcwd())


def _folder(path: str) -> str:
    try:
        return hashlib.sha256("\0".join(sorted(os.listdir(path))).encode("utf-8", "surrogateescape")).hexdigest()
    except OSError:
        return _ABSENT


def _variable(name: str) -> str:
    if name == "*":
        # pytest names the running test in a variable: it differs from run to run of one computation.
        held = sorted(pair for pair in os.environ.items() if pair[0] != "PYTEST_CURRENT_TEST")
        return hashlib.sha256(repr(held).encode("utf-8", "surrogateescape")).hexdigest()
    value = os.environ.get(name)
    return _ABSENT if value is None else _hash_of(value)


def _hash_of(value: str) -> str:
    """Return the stamp of a variable's value, which may be a secret."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


_STAMPS: dict[str, Callable[[str], str]] = {
    "file": _file,
    "path": _path,
    "type": _type,
    "status": _status,
    "folder": _folder,
    "cwd": _cwd,
    "variable": _variable,
}
