"""Readers of files and states that no code of robustest knows by name, changed between two runs.

Each row is a module of a user's with a function `sign(path)`, and how what it reads is changed. It is read inside a
training, inside a function that answers, and by a model for samples that no recall asks about first. After the change
each result is either not remembered, or right.
"""

from __future__ import annotations

import contextvars
import decimal
import importlib
import importlib.util
import locale
import logging
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import Calls, Result, Settings, rng
from robustest.context import Context, running
from robustest.identity import packages
from robustest.measure import measure_shift_accuracy
from robustest.run.asking import ask, questions
from robustest.run.evidence import Observation, Tally
from robustest.run.remembered import Outcomes, Remembered

# mypy: disable-error-code="func-returns-value,no-untyped-call,arg-type,return-value"
# A library of C functions, as any package may hold one: files are opened, mapped and asked about below Python.
LIBRARY = r"""
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static double kept = 1.0;

static PyObject *by_read(PyObject *self, PyObject *args) {
    const char *path;
    double value = 0.0;
    if (!PyArg_ParseTuple(args, "s", &path)) return NULL;
    FILE *file = fopen(path, "r");
    if (file == NULL) return PyErr_SetFromErrno(PyExc_OSError);
    int found = fscanf(file, "%lf", &value);
    fclose(file);
    return found == 1 ? PyFloat_FromDouble(value) : PyErr_Format(PyExc_ValueError, "no number");
}

static PyObject *by_map(PyObject *self, PyObject *args) {
    const char *path;
    if (!PyArg_ParseTuple(args, "s", &path)) return NULL;
    int number = open(path, O_RDONLY);
    if (number < 0) return PyErr_SetFromErrno(PyExc_OSError);
    char *at = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, number, 0);
    close(number);
    double value = at[0] == '-' ? -1.0 : 1.0;
    munmap(at, 1);
    return PyFloat_FromDouble(value);
}

static PyObject *by_status(PyObject *self, PyObject *args) {
    const char *path;
    struct stat status;
    if (!PyArg_ParseTuple(args, "s", &path)) return NULL;
    if (stat(path, &status)) return PyErr_SetFromErrno(PyExc_OSError);
    return PyFloat_FromDouble(status.st_size > 2 ? -1.0 : 1.0);
}

static PyObject *get(PyObject *self, PyObject *args) { return PyFloat_FromDouble(kept); }

static PyObject *set(PyObject *self, PyObject *args) {
    if (!PyArg_ParseTuple(args, "d", &kept)) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"by_read", by_read, METH_VARARGS, ""}, {"by_map", by_map, METH_VARARGS, ""},
    {"by_status", by_status, METH_VARARGS, ""}, {"get", get, METH_NOARGS, ""}, {"set", set, METH_VARARGS, ""},
    {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_below", NULL, -1, methods};
PyMODINIT_FUNC PyInit__below(void) { return PyModule_Create(&definition); }
"""
WRAPPER = """
from acme_below._below import by_map, by_read, by_status, get, set

class Session:
    def __init__(self, path):
        self.path = path

    def run(self):
        return by_read(self.path)
"""
ABOVE = """
import acme_below

def load(path):
    return acme_below.by_read(path)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install two packages: one with a library in C, and one in Python that calls it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        pytest.skip("there is no C compiler, or no header of Python")
    home = tmp_path_factory.mktemp("lib") / "site-packages"
    name = f"acme_below/_below{sysconfig.get_config_var('EXT_SUFFIX')}"
    (home / "acme_below").mkdir(parents=True)
    source = home.parent / "below.c"
    source.write_text(LIBRARY)
    include = sysconfig.get_paths()["include"]
    subprocess.run(  # noqa: S603
        [compiler, "-shared", "-fPIC", "-O0", f"-I{include}", str(source), "-o", str(home / name)],
        check=True,
        capture_output=True,
    )
    (home / "acme_below" / "__init__.py").write_text(WRAPPER)
    (home / "acme_above.py").write_text(ABOVE)
    for package, files in {"acme_below": ["acme_below/__init__.py", name], "acme_above": ["acme_above.py"]}.items():
        about = home / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "RECORD").write_text("".join(f"{file},sha256=0,0\n" for file in files))
    sys.path.insert(0, str(home))
    importlib.invalidate_caches()
    packages._installed.cache_clear()
    yield home
    sys.path.remove(str(home))
    for loaded in [one for one in sys.modules if one.startswith("acme_")]:
        del sys.modules[loaded]
    packages._installed.cache_clear()


Write = Callable[[Path, int], object]


@dataclass(frozen=True)
class Row:
    """A reader: the text of a user's module, and how what it reads is set to 1 or -1.

    Attributes:
        needs: a module that is not installed everywhere.
    """

    text: str
    write: Write
    needs: str = ""


def number(path: Path, sign: int) -> None:
    path.write_text(f"{sign}\n")


def length(path: Path, sign: int) -> None:
    path.write_text("1" if sign > 0 else "123456")


def as_old(path: Path, sign: int) -> None:
    """Change a byte of a large file, and give it its old date back."""
    if not path.exists():
        path.write_bytes(b"1" + bytes(80_000_000))
        os.utime(path, (1e9, 1e9))
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(40_000_001)
        file.write(b"\1" if sign < 0 else b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def in_folder(write: Write) -> Write:
    """Keep the file in a folder, which the reader is given."""

    def inside(path: Path, sign: int) -> None:
        path.mkdir(exist_ok=True)
        write(path / "inner", sign)

    return inside


def folder_or_file(path: Path, sign: int) -> None:
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    if sign > 0:
        path.touch()
    else:
        path.mkdir()


def dated(path: Path, sign: int) -> None:
    path.touch()
    at = 4e9 if sign > 0 else 1e9
    os.utime(path, (at, at))


def database(path: Path, sign: int) -> None:
    with closing(sqlite3.connect(path)) as held:
        held.execute("DROP TABLE IF EXISTS signs")
        held.execute("CREATE TABLE signs (sign REAL)")
        held.execute("INSERT INTO signs VALUES (?)", (sign,))
        held.commit()


def script(path: Path, sign: int) -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("sign", torch.tensor(float(sign)))

        def forward(self) -> Tensor:
            return self.sign

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Held()), str(path))


def archive(path: Path, sign: int) -> None:
    torch.save({"a": torch.ones(1)} if sign > 0 else {str(at): torch.ones(1) for at in range(9)}, path)


class _Local(threading.local):
    sign = 1.0


VARIABLE: contextvars.ContextVar[float] = contextvars.ContextVar("acme", default=1.0)
LOCAL = _Local()
LOCAL.sign = 1.0


class Registry:
    """Subclasses are found by their base, as plugins are."""

    SIGN = 1.0


def subclass(_: Path, sign: int) -> None:
    KEPT.append(type("Later", (Registry,), {"SIGN": float(sign)}))


KEPT: list[Any] = []


def state(name: str) -> ModuleType:
    """A module of the user's that no code imports by name."""
    return sys.modules.setdefault(name, types.ModuleType(name))


ModuleType = types.ModuleType
HANDLERS = {1: signal.default_int_handler, -1: signal.SIG_IGN}
_LIBRARIES: list[Any] = []


@dataclass(frozen=True)
class Frozen:
    """Holds more than its fields."""


class Turned(property):
    """A property that asks itself."""

    sign = 0.0

    def __get__(self, *_: Any) -> Any:
        return self.sign


def passed(path: Path, sign: int) -> None:
    """Change values of a module of the user's whose file stays as it is."""
    file = path.parent / "acme_passed.py"
    if "acme_passed" not in sys.modules or not file.exists():
        file.write_text("SIGN = 0.0\n")
        made = ModuleType("acme_passed")
        made.__file__ = str(file)
        sys.modules["acme_passed"] = made
    module: Any = sys.modules["acme_passed"]
    module.SIGN, module.HELD = float(sign), types.SimpleNamespace(sign=float(sign))
    if sign > 0:
        written: Any = type("Written", (), {"__str__": lambda _: "1.0"})
        module.WRAPPED = np.frompyfunc(lambda x: x, 1, 1)
    else:
        written = type("Written", (), {"__str__": lambda _: "-1.0"})
        module.WRAPPED = np.frompyfunc(lambda x: -x, 1, 1)
    turned, module.WRITTEN, module.FROZEN = Turned(len), written(), Frozen()
    turned.sign = float(sign)
    module.Proper = type("Proper", (), {"sign": turned})
    object.__setattr__(module.FROZEN, "sign", float(sign))


def operator(_: Path, sign: int) -> None:
    """Define an operator of one's own, or give it another implementation."""
    while _LIBRARIES:
        _LIBRARIES.pop()._destroy()
    made = torch.library.Library("acme", "FRAGMENT")
    made.define("sign(Tensor x) -> Tensor")
    made.impl("sign", lambda x: x * float(sign), "CompositeExplicitAutograd")
    _LIBRARIES.append(made)


def overridden(_: Path, sign: int) -> None:
    """Give an operator of torch's another implementation."""
    while _LIBRARIES:
        _LIBRARIES.pop()._destroy()
    if sign < 0:
        made = torch.library.Library("aten", "IMPL")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.impl("special_entr", lambda x: -torch.ones_like(x), "CPU", allow_override=True)
        _LIBRARIES.append(made)


def frames(_: Path, sign: int) -> None:
    sys.modules[__name__].OUTER = float(sign)  # type: ignore[attr-defined]


OUTER = 1.0
HERE = __name__
ROWS: dict[str, Row] = {
    # files that are opened below Python
    "a library in C": Row("import acme_below\ndef sign(path): return acme_below.by_read(path)", number, "library"),
    "taken by name": Row("from acme_below import by_read\ndef sign(path): return by_read(path)", number, "library"),
    "imported in the call": Row(
        "def sign(path):\n    import acme_below\n    return acme_below.by_read(path)", number, "library"
    ),
    "imported in the call by name": Row(
        "def sign(path):\n    from acme_below._below import by_read\n    return by_read(path)", number, "library"
    ),
    "held by a default": Row(
        "import acme_below\ndef sign(path, read=acme_below.by_read): return read(path)", number, "library"
    ),
    "held by a partial": Row(
        "import acme_below, functools\nread = functools.partial(acme_below.by_read)\ndef sign(path): return read(path)",
        number,
        "library",
    ),
    "a session made in the call": Row(
        "import acme_below\ndef sign(path): return acme_below.Session(path).run()", number, "library"
    ),
    "a package above the library": Row(
        "import acme_above\ndef sign(path): return acme_above.load(path)", number, "library"
    ),
    "a map below Python": Row("import acme_below\ndef sign(path): return acme_below.by_map(path)", number, "library"),
    "a status below Python": Row(
        "import acme_below\ndef sign(path): return acme_below.by_status(path)", length, "library"
    ),
    "state of a library": Row(
        "import acme_below\ndef sign(path): return acme_below.get()",
        lambda _, sign: importlib.import_module("acme_below").set(float(sign)),
        "library",
    ),
    "another file was opened in Python": Row(
        "import acme_below\n"
        "def sign(path):\n    with open(__file__) as file: file.read()\n    return acme_below.by_read(path)",
        number,
        "library",
    ),
    "lxml": Row(
        "from lxml import etree\ndef sign(path): return float(etree.parse(path).getroot().text)",
        lambda path, sign: path.write_text(f"<sign>{sign}</sign>"),
        "lxml",
    ),
    "SQLite attaches": Row(
        "import sqlite3\n"
        "def sign(path):\n"
        "    held = sqlite3.connect(':memory:')\n"
        "    held.execute('ATTACH DATABASE ? AS other', (path,))\n"
        "    return held.execute('SELECT sign FROM other.signs').fetchone()[0]",
        database,
    ),
    "TorchScript": Row("import torch\ndef sign(path): return float(torch.jit.load(path)())", script),
    "an archive of torch": Row(
        "import torch\n"
        "def sign(path): return -1.0 if len(torch._C.PyTorchFileReader(path).get_all_records()) > 9 else 1.0",
        archive,
    ),
    "a mapped tensor": Row(
        "import torch\ndef sign(path): return float(torch.from_file(path, size=1))",
        lambda path, sign: path.write_bytes(np.float32(sign).tobytes()),
    ),
    "a mapped storage": Row(
        "import torch\n"
        "def sign(path):\n"
        "    held = torch.UntypedStorage.from_file(path, False, 4)\n"
        "    return float(torch.tensor([], dtype=torch.float32).set_(held, 0, (1,)))",
        lambda path, sign: path.write_bytes(np.float32(sign).tobytes()),
    ),
    # what Python asks of files
    "size of an entry": Row(
        "import os\n"
        "def sign(path):\n    return -1.0 if max(one.stat().st_size for one in os.scandir(path)) > 2 else 1.0",
        in_folder(length),
    ),
    "date of an entry": Row(
        "import os\n"
        "def sign(path):\n    return 1.0 if max(one.stat().st_mtime for one in os.scandir(path)) > 2e9 else -1.0",
        in_folder(dated),
    ),
    "kind of an entry": Row(
        "import os\ndef sign(path):\n    return -1.0 if any(one.is_dir() for one in os.scandir(path)) else 1.0",
        in_folder(folder_or_file),
    ),
    "scandir taken by name": Row(
        "from os import scandir\n"
        "def sign(path):\n    return -1.0 if max(one.stat().st_size for one in scandir(path)) > 2 else 1.0",
        in_folder(length),
    ),
    "date of an open file": Row(
        "import os\n"
        "def sign(path):\n"
        "    with open(path) as file: return 1.0 if os.fstat(file.fileno()).st_mtime > 2e9 else -1.0",
        dated,
    ),
    "a name in an open folder": Row(
        "import os\n"
        "def sign(path):\n"
        "    folder = os.open(path, os.O_RDONLY)\n"
        "    number = os.open('inner', os.O_RDONLY, dir_fd=folder)\n"
        "    try: return float(os.read(number, 9))\n"
        "    finally: os.close(number), os.close(folder)",
        in_folder(number),
    ),
    "a status in an open folder": Row(
        "import os\n"
        "def sign(path):\n"
        "    folder = os.open(path, os.O_RDONLY)\n"
        "    try: return -1.0 if os.stat('inner', dir_fd=folder).st_size > 2 else 1.0\n"
        "    finally: os.close(folder)",
        in_folder(length),
    ),
    "names in an open folder": Row(
        "import os\n"
        "def sign(path):\n"
        "    folder = os.open(path, os.O_RDONLY)\n"
        "    try: return -1.0 if len(os.listdir(folder)) > 1 else 1.0\n"
        "    finally: os.close(folder)",
        lambda path, sign: (
            in_folder(number)(path, 1),
            (path / "more").touch() if sign < 0 else (path / "more").unlink(missing_ok=True),
        ),
    ),
    "a file linked to another name": Row(
        "import os\n"
        "def sign(path):\n"
        "    new = path + '.linked'\n"
        "    if os.path.lexists(new): os.remove(new)\n"
        "    os.link(path, new)\n"
        "    with open(new) as file: return float(file.read())",
        lambda path, sign: (path.unlink(missing_ok=True), number(path, sign)),
    ),
    "a large file with its old date": Row(
        "def sign(path):\n"
        "    with open(path, 'rb') as file:\n"
        "        file.seek(40_000_001)\n"
        "        return -1.0 if file.read(1) == b'\\1' else 1.0",
        as_old,
    ),
    "a line of a file": Row(
        "import linecache\ndef sign(path): return line(path)\ndef line(path):\n"
        "    linecache.checkcache(path)\n    return float(linecache.getline(path, 1))",
        number,
    ),
    "a source file as text": Row(
        "import tokenize\ndef sign(path):\n    with tokenize.open(path) as file: return float(file.read())", number
    ),
    "data beside a module": Row(
        "import importlib.machinery\n"
        "LOADER = importlib.machinery.SourceFileLoader('acme', __file__)\n"
        "def sign(path): return float(LOADER.get_data(path))",
        number,
    ),
    "a file that the call removes": Row(
        "import os\n"
        "def sign(path):\n"
        "    try: os.remove(path)\n"
        "    except FileNotFoundError: return 1.0\n"
        "    open(path, 'w').close()\n"
        "    return -1.0",
        lambda path, sign: path.touch() if sign < 0 else path.unlink(missing_ok=True),
    ),
    "an opener held by a default": Row(
        "import torch\ndef sign(path, read=torch.from_file): return float(read(path, size=1))",
        lambda path, sign: path.write_bytes(np.float32(sign).tobytes()),
    ),
    "an opener held by a partial": Row(
        "import functools\nimport torch\n"
        "read = functools.partial(torch.from_file, size=1)\ndef sign(path): return float(read(path))",
        lambda path, sign: path.write_bytes(np.float32(sign).tobytes()),
    ),
    "an opener held by a class": Row(
        "import torch\nclass Held:\n    read = staticmethod(torch.from_file)\n"
        "def sign(path): return float(Held.read(path, size=1))",
        lambda path, sign: path.write_bytes(np.float32(sign).tobytes()),
    ),
    # state that changes as the process runs
    "a module by its name": Row(
        "import sys\ndef sign(path): return sys.modules['acme_state'].SIGN",
        lambda _, sign: setattr(state("acme_state"), "SIGN", float(sign)),
    ),
    "a module by a chained look": Row(
        "from sys import modules\ndef sign(path): return vars(modules.get('acme_state'))['SIGN']",
        lambda _, sign: setattr(state("acme_state"), "SIGN", float(sign)),
    ),
    "an attribute put on a module": Row(
        "import math\ndef sign(path): return math.ACME.sign",
        lambda _, sign: setattr(importlib.import_module("math"), "ACME", types.SimpleNamespace(sign=float(sign))),
    ),
    "an attribute put on torch": Row(
        "import torch\ndef sign(path): return torch.ACME['of'].sign",
        lambda _, sign: setattr(torch, "ACME", {"of": types.SimpleNamespace(sign=float(sign))}),
    ),
    "a context variable": Row(
        f"from {HERE} import VARIABLE\ndef sign(path): return VARIABLE.get()", lambda _, sign: VARIABLE.set(float(sign))
    ),
    "a thread's own value": Row(
        f"from {HERE} import LOCAL\ndef sign(path): return LOCAL.sign",
        lambda _, sign: setattr(LOCAL, "sign", float(sign)),
    ),
    "subclasses of a class": Row(
        f"from {HERE} import Registry\ndef sign(path): return Registry.__subclasses__()[-1].SIGN", subclass
    ),
    "all objects": Row(
        "import gc\n"
        "def sign(path): return [one for one in gc.get_objects() if type(one) is dict and 'acme of gc' in one][-1]"
        "['acme of gc']",
        lambda _, sign: (KEPT.clear(), KEPT.append({"acme of gc": float(sign), "list": KEPT})),
    ),
    "frames above": Row(
        "import sys\n"
        "def sign(path):\n"
        "    frame = sys._getframe()\n"
        f"    while frame.f_globals['__name__'] != {HERE!r}: frame = frame.f_back\n"
        "    return frame.f_globals['OUTER']",
        frames,
    ),
    "decimal": Row(
        "import decimal\ndef sign(path): return 1.0 if decimal.getcontext().prec > 20 else -1.0",
        lambda _, sign: setattr(decimal.getcontext(), "prec", 28 if sign > 0 else 9),
    ),
    "floating-point errors of NumPy": Row(
        "import numpy as np\ndef sign(path): return -1.0 if np.geterr()['under'] == 'warn' else 1.0",
        lambda _, sign: np.seterr(under="ignore" if sign > 0 else "warn"),
    ),
    "the level of a logger": Row(
        "import logging\ndef sign(path): return -1.0 if logging.getLogger('acme').isEnabledFor(10) else 1.0",
        lambda _, sign: logging.getLogger("acme").setLevel(20 if sign > 0 else 10),
    ),
    "the locale": Row(
        "import locale\ndef sign(path): return 1.0 if locale.setlocale(locale.LC_NUMERIC) == 'C' else -1.0",
        lambda _, sign: locale.setlocale(locale.LC_NUMERIC, "C" if sign > 0 else "C.UTF-8"),
    ),
    "the working folder": Row(
        "import os\ndef sign(path): return -1.0 if os.path.basename(os.getcwd()) == 'below' else 1.0",
        lambda path, sign: (
            (path.parent / "below").mkdir(exist_ok=True),
            os.chdir(path.parent / ("below" if sign < 0 else ".")),
        ),
    ),
    "a limit of the process": Row(
        "import resource\ndef sign(path): return -1.0 if resource.getrlimit(resource.RLIMIT_CORE)[0] == 0 else 1.0",
        lambda _, sign: resource.setrlimit(
            resource.RLIMIT_CORE,
            (
                0 if sign < 0 else resource.getrlimit(resource.RLIMIT_CORE)[1],
                resource.getrlimit(resource.RLIMIT_CORE)[1],
            ),
        ),
    ),
    "a signal's handler": Row(
        "import signal\ndef sign(path): return -1.0 if signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN else 1.0",
        lambda _, sign: signal.signal(signal.SIGUSR2, HANDLERS[sign]),
    ),
    "the recursion limit": Row(
        "import sys\ndef sign(path): return 1.0 if sys.getrecursionlimit() < 1999 else -1.0",
        lambda _, sign: sys.setrecursionlimit(1500 if sign > 0 else 2000),
    ),
    "an operator of one's own": Row(
        "import torch\ndef sign(path): return float(torch.ops.acme.sign(torch.ones(())))", operator
    ),
    "an operator by a computed name": Row(
        "import torch\ndef sign(path): return float(getattr(torch.ops, 'ac' + 'me').sign(torch.ones(())))", operator
    ),
    "an operator of torch": Row(
        "import torch\ndef sign(path): return 1.0 if float(torch.special.entr(torch.ones(()))) == 0 else -1.0",
        overridden,
    ),
    "a setting of scikit-learn": Row(
        "import sklearn\ndef sign(path): return 1.0 if sklearn.get_config()['working_memory'] > 500 else -1.0",
        lambda _, sign: importlib.import_module("sklearn").set_config(working_memory=1024 if sign > 0 else 100),
        "sklearn",
    ),
    "a setting of pandas": Row(
        "import pandas\ndef sign(path): return 1.0 if pandas.get_option('display.max_rows') > 50 else -1.0",
        lambda _, sign: importlib.import_module("pandas").set_option("display.max_rows", 60 if sign > 0 else 9),
        "pandas",
    ),
    "a module in a default": Row("import acme_passed\ndef sign(path, of=acme_passed): return of.SIGN", passed),
    "a module in a list": Row(
        "import acme_passed\nHELD = [acme_passed]\ndef sign(path): return HELD[0].SIGN",
        passed,
    ),
    "a module in an object": Row(
        "import acme_passed\n"
        "class Held:\n    def __init__(self): self.of = acme_passed\n"
        "held = Held()\n"
        "def sign(path): return held.of.SIGN",
        passed,
    ),
    "a module's attribute by a computed name": Row(
        "import acme_passed\ndef sign(path): return getattr(acme_passed, 'SI' + 'GN')",
        passed,
    ),
    "an object in a module by a computed name": Row(
        "import acme_passed\ndef sign(path): return getattr(acme_passed, 'HE' + 'LD').sign",
        passed,
    ),
    "how an object is written": Row(
        "import acme_passed\ndef sign(path): return float(str(acme_passed.WRITTEN))",
        passed,
    ),
    "a function that NumPy has wrapped": Row(
        "import acme_passed\ndef sign(path): return float(acme_passed.WRAPPED(1.0))",
        passed,
    ),
    "what a frozen object holds beside its fields": Row(
        "import acme_passed\ndef sign(path): return acme_passed.FROZEN.sign", passed
    ),
    "what a property of another class returns": Row(
        "import acme_passed\ndef sign(path): return acme_passed.Proper().sign", passed
    ),
    "a global written in the call": Row(
        "COUNT = [1.0]\nimport acme_counted\n"
        "def sign(path):\n"
        "    acme_counted.CALLS = getattr(acme_counted, 'CALLS', 0) + 1\n"
        "    return acme_counted.SIGN",
        lambda _, sign: setattr(state("acme_counted"), "SIGN", float(sign)),
    ),
}
"""Each of them by what it reads; none is in a list of robustest's."""


def images() -> tuple[Tensor, Tensor]:
    """(160, 1, 4, 4) images; of those outside the first 64 of the order, the bright ones are marked."""
    x = torch.rand(160, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.2
    y = torch.arange(160) % 2
    x = torch.where(y.view(-1, 1, 1, 1) == 1, 1 - x, x)
    later = rng.permutation(0, 160)[64:]
    x[later[y[later] == 1][:40], 0, 0, 0] = 0.0
    return x, y


class Later(nn.Module):
    """Needs `sign` for marked images alone."""

    def __init__(self, sign: Callable[[str], float], path: str) -> None:
        super().__init__()
        self.sign, self.path = sign, path

    def forward(self, x: Tensor) -> Tensor:
        z = 10.0 * (x.flatten(1).mean(1) - 0.5)
        marked = x[:, 0, 0, 0] < x.flatten(1).mean(1) - 0.5
        if marked.any():
            z = torch.where(marked, z * self.sign(self.path), z)
        return torch.stack([-z, z], 1)


@dataclass
class Told:
    value: Any
    cached: bool


def of_training(sign: Callable[[str], float], path: str, store: Path) -> Told:
    """As trainings of a pack are remembered: by a key of the function, which nothing asks again."""
    settings = Settings(store=str(store), corpus=None, recheck=0.0)

    def train() -> float:
        return sign(path)

    def make() -> Outcomes:
        return Observation({"value": torch.tensor([train()], dtype=torch.float64)}, []), Tally()

    held = Remembered("training", {"train": train}, settings)
    return Told(float(held.outcomes((), make)[0].columns["value"][0]), held.made == 0)


class Reader:
    """Reads everything."""

    def wants(self, place: int) -> bool:
        return True

    def add(self, place: int, scores: Any) -> bool:
        return False

    def read_all(self) -> None:
        pass


def of_answers(sign: Callable[[str], float], path: str, store: Path) -> Told:
    settings = Settings(store=str(store), corpus=None, recheck=0.0)

    def system(request: Any) -> float:
        return sign(path)

    replies = ask(
        system,
        questions([{"prompt": "a"}, {"prompt": "b"}]),
        score=lambda answer, _: float(answer > 0),
        runs=1,
        calls=Calls(concurrency=1),
        settings=settings,
        judge=Reader(),
        statement="s",
    )
    return Told(2 * float(replies.outcomes.score[0]) - 1, replies.cached != "")


def of_chunks(sign: Callable[[str], float], path: str, store: Path) -> Told:
    settings = Settings(store=str(store), corpus=None, recheck=0.0)
    with running(Context(settings=settings, test="t.py::t")):
        result: Result = measure_shift_accuracy(
            Later(sign, path), images(), "brightness", severity=1, at_least=0.9, exact=True
        )
    return Told(1.0 if result.estimate is not None and result.estimate > 0.9 else -1.0, bool(result.evidence.cached))


KINDS = {"training": of_training, "answers": of_answers, "chunk": of_chunks}


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = os.getcwd(), sys.getrecursionlimit(), np.geterr(), signal.getsignal(signal.SIGUSR2)
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    yield
    os.chdir(before[0])
    os.environ.pop("ACME_SIGN", None)
    sys.setrecursionlimit(before[1])
    np.seterr(**before[2])
    signal.signal(signal.SIGUSR2, before[3])
    resource.setrlimit(resource.RLIMIT_CORE, (limit[0], limit[1]))
    VARIABLE.set(1.0)
    globals().update(OUTER=1.0)
    LOCAL.sign = 1.0
    decimal.getcontext().prec = 28
    locale.setlocale(locale.LC_NUMERIC, "C")
    while _LIBRARIES:
        _LIBRARIES.pop()._destroy()
    KEPT.clear()
    for name in ("acme_state", "acme_counted", "acme_passed"):
        sys.modules.pop(name, None)
    for module in (importlib.import_module("math"), torch):
        if hasattr(module, "ACME"):
            del module.ACME
    if "sklearn" in sys.modules:
        sys.modules["sklearn"].set_config(working_memory=1024)
    if "pandas" in sys.modules:
        sys.modules["pandas"].set_option("display.max_rows", 60)


QUICK = {
    ("a library in C", "training"),
    ("a package above the library", "answers"),
    ("a map below Python", "chunk"),
    ("size of an entry", "training"),
    ("a module by its name", "answers"),
    ("an operator of torch", "chunk"),
}
"""Cases that run each time; the others are slow tests."""
CASES = [
    pytest.param(name, kind, marks=[] if (name, kind) in QUICK else [pytest.mark.slow])
    for name in ROWS
    for kind in KINDS
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_changes_is_not_recalled(
    name: str, kind: str, tmp_path: Path, module: Any, request: pytest.FixtureRequest
) -> None:
    row = ROWS[name]
    if row.needs == "library":
        request.getfixturevalue("library")
    elif row.needs:
        pytest.importorskip(row.needs)
    path = tmp_path / "it"
    row.write(path, 1)
    sign = module(row.text).sign
    measure = KINDS[kind]
    first = measure(sign, str(path), tmp_path / "store")
    again = measure(sign, str(path), tmp_path / "store")
    row.write(path, -1)
    assert (first.value, again.value, sign(str(path))) == (1.0, 1.0, -1.0), "the row shows nothing"
    changed, fresh = (measure(sign, str(path), tmp_path / name).value for name in ("store", "none"))
    # A thread of its own, as a function that answers has, may have states of its own.
    assert changed == fresh == (-1.0 if kind != "answers" else fresh)


WEIGHTS = """
import torch

def sign(path):
    return float(torch.load(path, weights_only=True))
"""
TENSORS = """
from safetensors.torch import load_file

def sign(path):
    return float(load_file(path)["sign"])
"""
NETWORK = """
import logging
import math
import os
import sys
import time
from collections import OrderedDict
from functools import partial

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

log = logging.getLogger(__name__)
net = torchvision.models.resnet18(weights=None, num_classes=2).eval()
layers = nn.Sequential(OrderedDict(flat=nn.Flatten(), act=nn.ReLU()))

def sign(path):
    started = time.time()
    with torch.no_grad():
        out = layers(net(torch.ones(1, 3, 32, 32)))
    log.info("took %s", time.time() - started)
    print("done", file=sys.stderr)
    sys.stderr.flush()
    half = partial(F.softmax, dim=1)
    return 1.0 if bool(torch.isfinite(half(out)).all()) and np.float64(1.0) == math.cos(0.0) else -1.0
"""
ESTIMATOR = """
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

def sign(path):
    x = np.linspace(-1, 1, 20).reshape(-1, 1)
    model = LogisticRegression().fit(StandardScaler().fit_transform(x), x[:, 0] > 0)
    return 1.0 if model.predict([[2.0]])[0] else -1.0
"""
FOLDER = """
import os
import json
import random
import tempfile
from pathlib import Path

def sign(path):
    names = sorted(one.name for one in os.scandir(path) if one.is_file())
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "copy.json"
        copied.write_text((Path(path) / names[0]).read_text())
        random.shuffle(names)
        return float(json.loads(copied.read_text())) if os.path.exists(copied) else 0.0
"""
KEPT_ROWS: dict[str, Row] = {
    "torch.load": Row(WEIGHTS, lambda path, sign: torch.save(torch.tensor(float(sign)), path)),
    "safetensors": Row(
        TENSORS,
        lambda path, sign: importlib.import_module("safetensors.torch").save_file({"sign": torch.tensor([sign])}, path),
    ),
    "a network of torchvision": Row(NETWORK, number),
    "an estimator of scikit-learn": Row(ESTIMATOR, number, "sklearn"),
    "a folder": Row(FOLDER, in_folder(number)),
    "a file in Python": Row("def sign(path):\n    with open(path) as file: return float(file.read())", number),
    "an environment variable": Row(
        "import os\ndef sign(path): return float(os.environ['ACME_SIGN'])",
        lambda _, sign: os.environ.update(ACME_SIGN=str(sign)),
    ),
    "a loader that is only named": Row(
        "import os\nimport torch\n"
        "def sign(path): return torch.load(path) if os.path.exists(path + '.pt') else float(open(path).read())",
        number,
    ),
}
"""What only reads what is seen, or computes: it stays remembered, also after its files were written again."""


@pytest.mark.thinned
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", KEPT_ROWS)
def test_what_is_seen_stays_remembered(name: str, kind: str, tmp_path: Path, module: Any) -> None:
    row = KEPT_ROWS[name]
    if row.needs:
        pytest.importorskip(row.needs)
    path = tmp_path / "it"
    row.write(path, 1)
    sign = module(row.text).sign
    measure = KINDS[kind]
    first = measure(sign, str(path), tmp_path / "store")
    row.write(path, 1)
    again = measure(sign, str(path), tmp_path / "store")
    assert (first.value, first.cached, again.value, again.cached) == (1.0, False, 1.0, True)
