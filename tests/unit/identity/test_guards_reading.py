"""Guards of identities: what cannot be read is refused, and what is read is told apart by all of its parts."""

from __future__ import annotations

import _thread
import dataclasses
import fnmatch
import functools
import sys
import threading
import time
import types
from collections import namedtuple
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustest import exporting, rng
from robustest.errors import ConfigError
from robustest.identity import dependencies, keys, packages, sources, walk
from robustest.identity import fingerprint as fingerprints
from robustest.identity.dependencies import Dependencies, watched
from robustest.identity.fingerprint import digest
from robustest.identity.plain import Unhashable, is_plain, part, simple

# Modules that are not loaded


class Finder:
    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        raise self.error(name)


@pytest.mark.parametrize("error", [ImportError, ValueError, AttributeError])
def test_a_module_whose_finder_breaks_down_is_not_found(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [Finder(error)])
    assert sources.file_of("acme_unknown") is None
    assert sources.file_of("acme_unknown.inner") is None


def test_the_file_of_a_module_is_found_without_loading_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme_above" / "deep").mkdir(parents=True)
    for name in ("acme_one.py", "acme_above/__init__.py", "acme_above/inner.py", "acme_above/deep/__init__.py"):
        (tmp_path / name).write_text("raise RuntimeError\n")
    (tmp_path / "acme_above" / "deep" / "deeper.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    before, file_of = set(sys.modules), sources.file_of
    assert file_of("acme_one") == str(tmp_path / "acme_one.py")
    assert file_of("acme_above") == str(tmp_path / "acme_above" / "__init__.py")
    assert file_of("acme_above.inner") == str(tmp_path / "acme_above" / "inner.py")
    assert file_of("acme_above.deep.deeper") == str(tmp_path / "acme_above" / "deep" / "deeper.py")
    assert file_of("acme_above.inner.none") is None, "a module that is no package"
    assert file_of("acme_none") is file_of("acme_none.inner") is file_of("math.inner") is None
    assert file_of("sys") == "", "it has no file"
    assert set(sys.modules) == before
    above = types.ModuleType("acme_above")
    monkeypatch.setitem(sys.modules, "acme_above", above)
    assert file_of("acme_above.inner") is None
    above.__path__ = [str(tmp_path / "acme_above")]
    assert file_of("acme_above.inner") == str(tmp_path / "acme_above" / "inner.py")


# Releases


class Distribution:
    def __init__(self, name: str, version: str, record: str | None) -> None:
        self.metadata, self.version, self.record = {"Name": name}, version, record

    def read_text(self, name: str) -> str | None:
        return self.record if name == "RECORD" else None


def release(monkeypatch: pytest.MonkeyPatch, first: str, named: Any, *every: Distribution) -> str | None:
    def distribution(name: str) -> Distribution:
        assert name == first.partition(".")[0]
        if named is None:
            raise packages.metadata.PackageNotFoundError(name)
        found: Distribution = named
        return found

    monkeypatch.setattr(packages.metadata, "distribution", distribution)
    monkeypatch.setattr(packages.metadata, "distributions", lambda: iter(every))
    return packages._release.__wrapped__(first)


def test_a_folder_is_of_every_distribution_that_has_it_in_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = (
        Distribution(name, version, f"{folder}/__init__.py,sha256={name},1\n")
        for name, version, folder in (("Acme", "1.0", "acme"), ("other", "2.0", "elsewhere"))
    )
    part = Distribution("acme-part", "3.0", "elsewhere/a.py,,\nacme/part.py,sha256=x,1\n")
    near = Distribution("near", "4.0", "acme_near/a.py,,\nnot/acme/b.py,,\nacmes.py,,\n")
    single = Distribution("single", "5.0", "acme.py,sha256=y,1\n")
    bare = Distribution("bare", "6.0", None)
    shown = [None, own, other, part, near, single, bare]
    assert str(release(monkeypatch, "acme", own, *shown[1:])).startswith("Acme 1.0 ")  # type: ignore[arg-type]
    # One of its name that does not have the folder is not its owner.
    for named in (None, other, near, bare):
        found = str(release(monkeypatch, "acme", named, own, other, part, near, bare)).split("; ")
        assert [one.rpartition(" ")[0] for one in found] == ["Acme 1.0", "acme-part 3.0"]
    assert str(release(monkeypatch, "acme.py", None, own, single, near)).startswith("single 5.0 ")
    assert release(monkeypatch, "acme", None, other, near, single, bare) is None
    assert release(monkeypatch, "acme", other, other) is None


@pytest.mark.parametrize(
    ("record", "same"),
    [
        ("b.py,sha256=2,1\nacme/a.py,sha256=1,1", True),  # in another order
        ("acme/a.py,sha256=1,1\nb.py,sha256=2,1\n../../bin/acme,sha256=3,1", True),
        ("acme/a.py,sha256=1,1\nb.py,sha256=2,1\nacme-1.dist-info/INSTALLER,sha256=4,1", True),
        ("acme/a.py,sha256=1,1\nb.py,sha256=2,1\nacme/__pycache__/a.pyc,,", True),
        ("acme/a.py,sha256=5,1\nb.py,sha256=2,1", False),
        ("acme/a.py,sha256=1,1\nb.py,sha256=2,1\nacme/c.py,sha256=6,1", False),
        ("acme/a.py,sha256=1,1", False),
    ],
)
def test_a_package_without_known_releases_counts_by_the_files_that_it_brings(
    record: str, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(name: str, text: str) -> str | None:
        return release(monkeypatch, "acme", Distribution(name, "1.0", text))

    before = "acme/a.py,sha256=1,1\nb.py,sha256=2,1"
    assert (of("acme", record) == of("acme", before)) is same
    assert of("NumPy", record) == of("NumPy", before) == "NumPy 1.0"


# Plain values


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        *((one, True) for one in (None, 1, "a", (), [], {}, set(), frozenset({1}), [1, ("a", {"b": [2.0]})])),
        *((one, True) for one in (np.zeros(2), np.float32(1), torch.ones(1), torch.nn.Parameter(torch.ones(1)))),
        *((one, False) for one in (len, object(), [len], (1, len), {"a": len}, {len: 1}, {len}, types)),
        (np.array([object()]), False),
        ({"a": [1, {"b": len}]}, False),
    ],
)
def test_data_alone_is_plain(value: object, plain: bool) -> None:
    assert is_plain(value) is plain


@pytest.mark.filterwarnings("ignore:torch.quantize_per")
def test_quantised_tensors_differ_by_scale_zero_axis_type_and_numbers() -> None:
    x = torch.tensor([[0.5, 1.0], [1.5, -2.0]])

    def each(scales: tuple[float, float] = (0.1, 0.2), zeros: tuple[int, int] = (0, 1), axis: int = 0) -> Any:
        q = torch.quantize_per_channel(torch.zeros(2, 2), torch.tensor(scales), torch.tensor(zeros), axis, torch.qint8)
        return torch._make_per_channel_quantized_tensor(
            torch.ones_like(q.int_repr()), q.q_per_channel_scales(), q.q_per_channel_zero_points(), axis
        )

    def whole(scale: float = 0.1, zero: int = 0, dtype: torch.dtype = torch.qint8, of: Any = x) -> Any:
        return torch.quantize_per_tensor(of, scale, zero, dtype)

    found = [
        *(each(), each(scales=(0.1, 0.3)), each(zeros=(0, 2)), each(axis=1)),
        *(whole(), whole(scale=0.2), whole(zero=1), whole(dtype=torch.qint32), whole(of=-x)),
    ]
    digests = [simple(one) for one in found]
    assert None not in digests
    assert len(set(digests)) == len(found)
    assert simple(each()) == digests[0]
    assert simple(whole()) == digests[4]


# Functions and objects


def unset(value: Any = None) -> Callable[[], Any]:
    def read() -> Any:
        return late

    if value is not None:
        late = value
    return read


def test_a_variable_of_an_outer_function_that_is_not_set_yet_counts_as_none() -> None:
    assert digest(unset()) == digest(unset())
    assert digest(unset()) != digest(unset(1)) != digest(unset(2))


class Packed:
    """Stands for an object of TorchScript's in C++."""

    def __init__(self, name: str, state: Any, *, readable: bool = True) -> None:
        self.name_, self.state, self.readable = name, state, readable

    def _has_method(self, name: str) -> bool:
        return name == "__getstate__" and self.readable

    def _type(self) -> Any:
        return types.SimpleNamespace(name=lambda: self.name_)

    def __getstate__(self) -> Any:
        return self.state


def test_an_object_of_torchscript_counts_by_its_class_and_state_or_is_refused() -> None:
    def of(*about: Any, **more: Any) -> bytes:
        return walk._packed(walk.Walk(), Packed(*about, **more), "the model")

    assert of("Linear", [1]) == of("Linear", [1])
    assert len({of("Linear", [1]), of("Linear", [2]), of("Conv", [1])}) == 3
    with pytest.raises(Unhashable, match="a Linear, whose state cannot be read"):
        of("Linear", [1], readable=False)


# Reads from a thread without code above it


@pytest.mark.parametrize("bare", [False, True])
def test_a_source_file_that_a_thread_looks_at_is_data(bare: bool, tmp_path: Path) -> None:
    path, by = tmp_path / "data.py", Dependencies()
    path.touch()
    with watched(by):
        import os

        if bare:
            _thread.start_new_thread(os.stat, (str(path),))
            until = time.monotonic() + 60
            while not by.stamps and time.monotonic() < until:
                time.sleep(0.001)
        else:
            thread = threading.Thread(target=os.stat, args=(str(path),))
            thread.start()
            thread.join()
    assert list(by.stamps) == [f"status {path}"]


# Surroundings


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor : 0\nmodel name\t: Acme Pro : 2\nflags : a\nmodel name : Other\n", "Acme Pro : 2"),
        ("processor : 0\nthe model name : x\n", ""),
        ("", ""),
    ],
)
def test_a_processor_is_the_first_that_the_system_names_and_its_instructions(
    text: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: text if str(path) == "/proc/cpuinfo" else "")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX9")
    assert keys._processor() == f"{name} AVX9"


def test_a_system_that_names_no_processor_has_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", none)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX9")
    assert keys._processor() == "AVX9"


def test_packages_are_known_by_the_folders_of_their_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b-2.dist-info", "a-1.dist-info", "c-3.egg-info", "d", "e.dist-info.bak"):
        (tmp_path / "one" / name).mkdir(parents=True)
    (tmp_path / "two" / "a-1.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none"), str(tmp_path / "one"), "", str(tmp_path / "two")])
    (tmp_path / "here" / "f-4.dist-info").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert keys._installed() == ["a-1.dist-info", "b-2.dist-info", "c-3.egg-info", "f-4.dist-info"]


def test_a_flag_that_cannot_be_read_is_named_by_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise RuntimeError("set by another interface")

    monkeypatch.setattr(keys, "_flags", lambda: {"a": lambda: 3, "b": broken, "c": lambda: None})
    assert keys._surroundings()["flags"] == {"a": "3", "b": "RuntimeError", "c": "None"}


def tree(**levels: Any) -> Any:
    return types.SimpleNamespace(**levels)


@pytest.mark.parametrize(
    ("path", "backends", "value"),
    [
        ("cudnn.conv.p", {"cudnn": tree(conv=tree(p="tf32"), p="a"), "p": "b"}, "tf32"),
        ("cudnn.conv.p", {"cudnn": tree(conv=tree(p="none"), p="a"), "p": "b"}, "a"),
        ("cudnn.conv.p", {"cudnn": tree(conv=tree(p="none"), p="none"), "p": "b"}, "b"),
        ("cudnn.conv.p", {"cudnn": tree(conv=tree(p="none"), p="none"), "p": "none"}, "ieee"),
        ("cuda.matmul.p", {"cuda": tree(matmul=tree(p="none")), "p": "b"}, "b"),  # CUDA itself has none
        ("p", {"p": "none"}, "ieee"),
        ("p", {"p": False}, False),
    ],
)
def test_a_precision_of_none_is_that_of_the_level_above(
    path: str, backends: dict[str, Any], value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "backends", tree(**backends))
    assert keys._backend(path)() == value


# Sources of modules that are not loaded


def test_an_unloaded_module_of_a_package_counts_by_its_version_and_one_of_the_user_by_its_text(
    module: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def of(value: int, release: str | None) -> bytes:
        (tmp_path / "acme_dependency.py").write_text(f"VALUE = {value}{'0' * value}\n")
        monkeypatch.setattr(packages, "_home", lambda top, _: release if top == "acme_dependency" else None)
        made = module("def late():\n    import acme_dependency")
        return sources.source(made.__name__, made.__file__, packages.home)

    assert of(1, "acme 1.0") == of(2, "acme 1.0") != of(2, "acme 1.1")
    assert of(1, None) != of(2, None)
    assert "acme_dependency" not in sys.modules


# Simple values


def test_simple_values_are_told_apart_by_type_and_by_every_part() -> None:
    record = np.dtype([("a", "i4"), ("b", "f4")])
    values: list[Any] = [
        *(None, ..., NotImplemented, True, False, 0, 1, -1, 255, 0.0, -0.0, 1.0, float("nan"), float("inf")),
        *(complex(0, 0), complex(0, -0.0), complex(1, 2), complex(2, 1), complex(1, 3)),
        *("", "1", "a", "\ud800", b"", b"1", b"a", bytearray(), bytearray(b"a")),
        *(range(3), range(1, 3), range(0, 3, 2), Path("a"), Path("b")),
        *(torch.float32, torch.float64, torch.device("cpu"), torch.device("meta"), torch.strided, torch.sparse_coo),
        *(torch.contiguous_format, torch.channels_last, torch.Size([2]), torch.Size([2, 1]), torch.Size([])),
        *(torch.finfo(torch.float32), torch.finfo(torch.float64), torch.iinfo(torch.int8), torch.iinfo(torch.int16)),
        *(np.dtype("f4"), np.dtype("f8"), record, np.dtype([("a", "i4"), ("c", "f4")])),
        *(np.float32(1), np.float64(1), np.int64(1), np.bool_(True)),
        *(np.array([1, 2]), np.array([2, 1]), np.array([[1, 2]]), np.array([1, 2], "f4"), np.array([], "f4")),
        *(np.array([(1, 2.0)], record), np.array([(2, 2.0)], record), np.array([(1, 3.0)], record)),
        *(torch.tensor([1, 2]), torch.tensor([2, 1]), torch.tensor([[1, 2]]), torch.tensor([1.0, 2.0]), torch.ones(0)),
        *(torch.tensor([1 + 2j]), torch.tensor([1 - 2j]), torch.tensor([1 + 2j]).conj().conj().imag),
    ]
    found = [simple(one) for one in values]
    assert None not in found
    assert len(set(found)) == len(found)
    assert [simple(one) for one in values] == found
    assert simple(torch.tensor([1 + 2j]).conj()) == simple(torch.tensor([1 - 2j]))
    assert simple(float("nan")) == simple(-float("nan"))
    padded = np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True))
    padded.view(np.uint8)[1] = 7  # what pads a record is whatever was in memory
    assert simple(padded) == simple(np.zeros(2, padded.dtype))
    assert [simple(one) for one in ([], {}, len, object(), np.array([object()]))] == [None] * 5
    for unreadable in (torch.ones(1, device="meta"), torch.eye(2).to_sparse()):
        with pytest.raises(Unhashable, match="whose bytes cannot be read"):
            simple(unreadable)


# Functions that reach further than their code


@pytest.mark.parametrize("lasting", [False, True])
def test_functions_that_read_beyond_the_code_are_refused_and_computed_names_noted(lasting: bool) -> None:
    one = walk.Walk(lasting=lasting)
    for harmless in (len, print, sorted, open):
        walk._seek(one, harmless, "here")
    assert not one.everything
    for seeking in walk._SEEKING:
        one.everything = False
        walk._seek(one, seeking, "here")
        assert one.everything
        walk._seek(one, len, "here")
        assert one.everything, "what another function does not read does not end it"
    for beyond in walk._HIDDEN:
        with pytest.raises(Unhashable, match="which reaches beyond the model's code and state"):
            walk._seek(one, beyond, "here")
    for beyond in walk._BEYOND:
        with nullcontext() if lasting else pytest.raises(Unhashable, match="which reaches beyond"):
            walk._seek(one, beyond, "here")


def test_modules_of_numerical_packages_are_looked_through_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def own() -> None:
        pass

    before = set(packages.replaced_anywhere())
    for name in ("numpy.acme", "torch.acme", "torch.fx.acme", "torch._acme", "numpyish", "numpyish.acme"):
        here = type("Here", (), {"method": own, "value": 1, "__module__": name})
        there = type("There", (), {"method": own, "__module__": "elsewhere"})
        module = types.ModuleType(name)
        vars(module).update(function=own, here=here, there=there, value=1, package=np.exp)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "numpy.none", None)  # type: ignore[arg-type] - as an import that is forbidden
    found = set(packages.replaced_anywhere()) - before
    assert found == {f"{name}.acme.{at}" for name in ("numpy", "torch") for at in ("function", "here.method")}


# Fingerprints of models


class Declares(torch.nn.Module):
    """A model that declares its identity, or raises."""

    def __init__(self, declared: Any) -> None:
        super().__init__()
        self.declared = declared

    def robustest_fingerprint(self) -> Any:
        if isinstance(self.declared, Exception):
            raise self.declared
        return self.declared

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ("v1", "weights, settings and code"),
        (ZeroDivisionError("odd"), "the model could not be looked at: ZeroDivisionError: odd"),
        (ConfigError("no version yet"), "no version yet"),
        ("", "robustest_fingerprint"),
        (3, "robustest_fingerprint"),
    ],
)
def test_an_identity_that_is_declared_counts_or_says_why_not(declared: Any, reason: str) -> None:
    model = Declares(declared)
    found = fingerprints.fingerprint(model, model, None)
    assert (found.digest is not None, found.declared) == (declared == "v1",) * 2
    assert reason in found.reason
    other = fingerprints.fingerprint(torch.relu, None, None)
    assert (other.digest is not None, other.declared) == (True, False)


@pytest.mark.parametrize(
    ("made", "example", "own", "found"),
    [
        ("graph", True, True, ("graph", "weights and exported graph, since the model could")),
        ("graph", False, True, (None, "the model could")),
        ("graph", True, False, (None, "the model could")),
        (RuntimeError("\n  first\nsecond"), True, True, (None, "and torch.export cannot take its place: first")),
        (RuntimeError(""), True, True, (None, "and torch.export cannot take its place: RuntimeError")),
    ],
)
def test_a_graph_takes_the_place_of_code_that_cannot_be_read(
    made: Any, example: bool, own: bool, found: tuple[str | None, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exported(*_: Any) -> str:
        if isinstance(made, Exception):
            raise made
        return str(made)

    monkeypatch.setattr(fingerprints, "_exported", exported)
    model = Declares(ZeroDivisionError())
    call = model if own else model.forward
    got = fingerprints.fingerprint(call, model, None, example=torch.ones(1, 2) if example else None)
    assert (got.digest, got.declared) == (found[0], False)
    assert found[1] in got.reason
    none = fingerprints.fingerprint(model, None, None, example=torch.ones(1, 2))
    assert none.digest is None


@pytest.mark.parametrize("n", [1, 5])
def test_a_graph_is_made_of_two_samples_and_counts_with_weights_constants_and_modes(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[torch.Tensor] = []
    example = torch.arange(3.0 * n).view(n, 3, 1) + 1

    def of(code: str = "c", state: float = 0.0, held: Any = 0.0, *, training: bool = True, how: Any = None) -> str:
        def exported(module: Any, batch: torch.Tensor, dim: Any) -> Any:
            batches.append(batch)
            return types.SimpleNamespace(
                graph_module=types.SimpleNamespace(code=code),
                state_dict={"w": torch.tensor(state)},
                constants={"a": torch.tensor(held), "b": object()},
            )

        monkeypatch.setattr(exporting, "exported", exported)
        return fingerprints._exported(torch.nn.Identity().train(training), how, example)

    found = [of(), of("d"), of(state=1.0), of(held=1.0), of(training=False), of(how=(0.5, 0.5))]
    assert len(set(found)) == len(found)
    assert of() == found[0]
    for batch in batches:
        assert torch.equal(batch, torch.stack([example[0], example[0]]))
        assert batch.is_contiguous()


# Sets, operators and objects


def one() -> int:
    return 1


def two() -> int:
    return 2


class Held:
    """An object with a state, or one that cannot be read."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce_ex__(self, protocol: Any) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return super().__reduce_ex__(protocol)


def test_a_set_has_no_order_and_its_objects_have_names() -> None:
    assert digest({one, two, 1, "a"}) == digest({"a", two, 1, one})
    assert digest({one, two}) != digest({one}) != digest({two})
    assert digest({one}) != digest(frozenset({one}))
    assert digest({Held(1)}) == digest({Held(1)}) != digest({Held(2)})
    with pytest.raises(Unhashable, match="a set of objects, which have no order that lasts"):
        digest({Held(1), Held(2)})
    with pytest.raises(Unhashable, match=r"keeps what cannot be read \(odd\)"):
        digest(Held(ZeroDivisionError("odd")))


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *((f"{top}.relu", True) for top in ("aten", "prim", "prims", "torchvision")),
        ("mine.aten", False),
        ("at.n", False),
    ],
)
def test_operators_of_torch_count_by_its_version_and_others_are_refused(name: str, known: bool) -> None:
    if known:
        assert walk._operator_part(walk.Walk(), name) != walk._operator_part(walk.Walk(), f"{name}_")
    else:
        with pytest.raises(Unhashable, match="an operator of one's own"):
            walk._operator_part(walk.Walk(), name)


def test_a_cache_of_a_package_may_hold_answers_and_one_of_the_user_may_not() -> None:
    @functools.lru_cache
    def mine(value: int) -> int:
        return value

    fnmatch.fnmatch("a", "a*")  # which compiles its pattern, and keeps it
    assert fnmatch._compile_pattern.cache_info().currsize
    assert digest(fnmatch._compile_pattern, recheck=False)
    assert digest(mine, recheck=False)
    mine(1)
    assert digest(mine, recheck=True)
    with pytest.raises(Unhashable, match="a cache that holds answers already"):
        digest(mine, recheck=False)


class Tagged(torch.Tensor):
    """A tensor of another class."""


def test_a_tensor_of_another_class_counts_by_its_class_and_its_numbers() -> None:
    values = [torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]), torch.ones(0)]
    found = [digest(value) for value in values] + [digest(value.as_subclass(Tagged)) for value in values]
    assert len(set(found)) == len(found)
    assert digest(values[0].clone().as_subclass(Tagged)) == found[3]
    odd = torch.ones(4)[::2][:1]  # one element with a stride of two
    assert digest(odd) == digest(torch.ones(1))


# Code


def same(x: int) -> int:
    return x + 1


def around() -> Callable[[int], int]:
    def same(x: int) -> int:
        """Add one."""
        return x + 1

    return same


def test_a_function_inside_another_with_a_docstring_is_the_same_code() -> None:
    assert sources.text_of(same.__code__) == sources.text_of(around().__code__) is not None  # type: ignore[attr-defined]
    assert sources.text_of(same.__code__) != sources.text_of(one.__code__)


def test_code_of_robustest_is_what_lies_in_its_own_folder() -> None:
    folder = Path(rng.__file__).parent
    assert str(folder.resolve()) == packages._OWN
    for file, own in ((rng.__file__, True), (packages.__file__, True), (folder.parent / "conftest.py", False)):
        assert str(packages.home("robustest.a", str(file))).startswith("robustest ") is own
    digits = packages.own_code.__wrapped__()
    assert len(digits) == 64
    assert packages.own_code() == digits


# TorchScript, by stand-ins: a graph with blocks, and the modules in it


class Step:
    """One step of a graph, with its attributes and its blocks."""

    def __init__(self, kind: str, *, blocks: Any = (), **attributes: Any) -> None:
        self.kind_, self.blocks_, self.attributes = kind, blocks, attributes

    def kind(self) -> str:
        return self.kind_

    def blocks(self) -> list[Any]:
        return [Graph(*steps) for steps in self.blocks_]

    def attributeNames(self) -> list[str]:  # noqa: N802 - as torch has it
        return list(self.attributes)

    def kindOf(self, name: str) -> str:  # noqa: N802
        held = self.attributes[name]
        return "t" if isinstance(held, torch.Tensor) else "ts" if isinstance(held, list) else "s"

    def t(self, name: str) -> Any:
        return self.attributes[name]

    ts = s = t


class Graph:
    def __init__(self, *steps: Step, text: str = "graph") -> None:
        self.steps, self.text = steps, text

    def nodes(self) -> tuple[Step, ...]:
        return self.steps

    def __str__(self) -> str:
        return self.text


def scripted(*steps: Step, text: str = "graph") -> bytes:
    return walk._script_text(walk.Walk(), types.SimpleNamespace(inlined_graph=Graph(*steps, text=text)), "the model")


def test_a_graph_counts_by_its_text_and_constants_at_any_depth() -> None:
    ones, twos = torch.ones(2), torch.ones(2) * 2

    def nested(value: torch.Tensor) -> Step:
        return Step(
            "prim::If", blocks=[[Step("a")], [Step("prim::If", blocks=[[Step("prim::Constant", value=value)]])]]
        )

    found = [
        *(scripted(), scripted(text="other"), scripted(Step("prim::Constant", value=ones))),
        *(scripted(Step("prim::Constant", value=twos)), scripted(nested(twos)) + b"nested"),
        scripted(Step("prim::Constant", value=[ones, twos])),
    ]
    assert len(set(found)) == len(found)
    assert scripted(nested(ones)) == scripted(Step("prim::Constant", value=ones)) != scripted(nested(twos))
    assert scripted(Step("prim::Constant", value="in the text")) == scripted()
    # Files, callers and numbers of classes are of one process.
    for place in (" # a.py:3:4", ", scope: A::b", ".___torch_mangle_3."):
        assert scripted(text=f"x{place}") == scripted(text=f"x{'.' if 'mangle' in place else ''}")
    assert scripted(text="x # a.py:3:4 + 1") != scripted(text="x + 1")


@pytest.mark.parametrize("kind", ["prim::CallMethod", "prim::PythonOp", "^"])
@pytest.mark.parametrize("deep", [True, False])
def test_what_a_graph_does_not_show_has_no_identity(kind: str, deep: bool) -> None:
    step = Step("prim::If", blocks=[[Step(kind)]]) if deep else Step(kind)
    with pytest.raises(Unhashable, match="calls what TorchScript does not show"):
        scripted(Step("a"), step)


# Functions that stand in torch's places


@pytest.mark.parametrize("place", range(len(packages.places())))
def test_a_function_of_the_user_or_another_of_torch_in_any_of_its_places_counts(
    place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of() -> str:
        made = walk.Walk()
        return made.digest(walk.replaced_in_torch(made))

    before, at = of(), packages.places()[place]
    assert of() == before
    name = next(
        name for name, held in sorted(vars(at).items()) if isinstance(held, packages.FUNCTIONS) and name[0] != "_"
    )
    found = [before]
    for other in (one, two, torch.frexp):
        with monkeypatch.context() as patch:
            patch.setattr(at, name, other)
            found.append(of())
    assert len(set(found)) == 4
    assert of() == before


def test_a_module_that_is_imported_late_is_seen_or_left_to_others() -> None:
    """An import hook: for modules of the list alone, and only where another finder has a loader."""
    seen: list[str] = []
    ran: list[Any] = []
    late = dependencies._Late(seen.append)

    class Others:
        def __init__(self, spec: Any) -> None:
            self.spec = spec

        def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
            return self.spec

    loader = types.SimpleNamespace(exec_module=ran.append)
    whole, bare = types.SimpleNamespace(loader=loader), types.SimpleNamespace(loader=None)
    with pytest.MonkeyPatch.context() as patch:
        for spec in (None, bare, whole):
            patch.setattr(sys, "meta_path", [late, dependencies._Late(seen.append), Others(None), Others(spec)])
            assert late.find_spec("robustest.of_no_interest") is None
            assert late.find_spec("soundfile") is spec
    assert seen == []
    whole.loader.exec_module("module")
    assert (ran, seen) == (["module"], ["soundfile"])


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: Any


@dataclasses.dataclass
class Thawed:
    value: Any


def test_frozen_data_are_values_and_others_are_objects_of_their_own() -> None:
    a, b = Frozen([1]), Frozen([1])
    assert digest([a, a]) == digest([a, b]) != digest([a, Frozen([2])])
    c, d = Thawed([1]), Thawed([1])
    assert digest([c, c]) != digest([c, d]) != digest([c, Thawed([2])])
    assert digest(c) == digest(d) != digest(Thawed([2]))
    c.value = c  # a cycle
    assert digest(c) != digest(d)


def test_surroundings_are_part_of_a_key_where_nothing_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def names(recheck: bool) -> list[str]:
        found = []
        for surroundings, replaced in ((1, 1), (2, 1), (1, 2)):
            monkeypatch.setattr(keys, "_surroundings", lambda held=surroundings: {"held": held})
            monkeypatch.setattr(keys, "replaced_anywhere", lambda held=replaced: {"held": held})
            found.append(keys.key_of("k", {"a": 1}, None, recheck=recheck).name)
        return found

    asked, remembered = names(True), names(False)
    assert (len(set(asked)), len(set(remembered))) == (1, 3)
    assert not set(asked) & set(remembered)


def test_functions_that_python_makes_for_named_tuples_are_nobody_s() -> None:
    made = namedtuple("made", "a")
    assert not packages._may_be_own(made.__new__)
    assert packages._may_be_own(one)
    assert packages._may_be_own(functools.partial(one))
    assert not packages._may_be_own(np.mean)
    assert not packages._may_be_own(len)


def test_a_function_of_a_package_counts_by_name_where_the_package_has_it() -> None:
    def of(value: Any) -> bytes:
        return walk._function(walk.Walk(), value, "here")

    for value, name in (
        (torch.nn.functional.relu, "torch.nn.functional.relu"),
        (torch.nn.Linear.forward, "torch.nn.modules.linear.Linear.forward"),
    ):
        owner = packages.home_of(sys.modules[value.__module__])
        assert of(value) == part("function", f"{owner} {name}".encode())
    copy = types.FunctionType(torch.nn.functional.relu.__code__, torch.nn.functional.relu.__globals__, "relu")
    copy.__module__, copy.__qualname__ = "torch.nn.functional", "relu"
    assert of(copy) != of(torch.nn.functional.relu)
    assert of(copy).startswith(b"function of")


class Holds(torch.nn.Module):
    """A module with a part that torch.compile's wrapper has too."""

    def __init__(self, width: float) -> None:
        super().__init__()
        self.width = width
        self._orig_mod = torch.nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._orig_mod(x) * self.width  # type: ignore[no-any-return]


def test_a_wrapper_of_torch_compile_is_the_model_in_it_and_nothing_else_is() -> None:
    wrapper = type("OptimizedModule", (Holds,), {})
    named = type("OptimizedModule", (torch.nn.ReLU,), {})
    assert digest(Holds(1.0)) != digest(Holds(2.0))
    assert digest(wrapper(1.0)) == digest(wrapper(2.0))
    assert digest(named()) == digest(named()) != digest(torch.nn.ReLU())


def test_a_file_is_of_the_folder_of_packages_that_it_lies_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, standard = tmp_path / "site", tmp_path / "standard"
    monkeypatch.setattr(packages, "_installed", lambda: (str(tmp_path / "other"), str(site)))
    monkeypatch.setattr(packages, "_named_folders", lambda: ())
    monkeypatch.setattr(packages, "_release", lambda first: f"release of {first}")
    monkeypatch.setattr(packages.sysconfig, "get_paths", lambda: {"stdlib": str(standard)})
    for top, file, home in (
        ("acme", site / "acme" / "inner" / "a.py", "release of acme"),
        ("acme", site / "acme.py", "release of acme.py"),
        ("acme", tmp_path / "site_of_mine" / "acme.py", None),
        ("acme", tmp_path / "acme.py", None),
        ("json", standard / "json" / "__init__.py", packages._PYTHON),
        ("acme", standard / "acme.py", None),  # that lies there, and is none of Python's
        ("json", tmp_path / "standard_of_mine" / "json.py", None),
        ("json", tmp_path / "json.py", None),  # the user's own
    ):
        assert packages._home.__wrapped__(top, str(file)) == home, file
    for top, home in (("json", packages._PYTHON), ("sys", packages._PYTHON), ("acme", None)):
        assert packages._home.__wrapped__(top, None) == home


def test_folders_of_packages_are_python_s_and_those_that_are_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.sysconfig, "get_paths", lambda: {"purelib": "/pure", "platlib": "/plat"})
    monkeypatch.setattr(packages.site, "getsitepackages", lambda: ["/pure", "/global"])
    monkeypatch.setattr(packages.site, "getusersitepackages", lambda: "/mine")
    monkeypatch.setattr(sys, "path", ["/a/site-packages", "/b/dist-packages", "/c/packages", "/a/site-packages/x", ""])
    expected = ("/pure", "/plat", "/global", "/mine", "/a/site-packages", "/b/dist-packages")
    assert packages._installed.__wrapped__() == expected


@pytest.mark.parametrize(
    ("file", "name", "code", "imports"),
    [
        ("a.py", "p.q.a", "import x.y, z", ("x.y", "z")),
        ("a.py", "p.q.a", "from m import b, c", ("m", "m.b", "m.c")),
        ("a.py", "p.q.a", "from . import b", ("p.q", "p.q.b")),
        ("a.py", "p.q.a", "from .. import b", ("p", "p.b")),
        ("a.py", "p.q.a", "from .m import b", ("p.q.m", "p.q.m.b")),
        ("a.py", "p.q.a", "from ..m.n import b", ("p.m.n", "p.m.n.b")),
        ("__init__.py", "p.q", "from . import b", ("p.q", "p.q.b")),
        ("__init__.py", "p.q", "from .. import b", ("p", "p.b")),
        ("a.py", "a", "def late():\n    import x", ("x",)),
        ("a.py", "a", "this is no code", ()),
        ("a.py", "a", "x = '\0'", ()),
    ],
)
def test_imports_of_a_file_are_found_by_their_full_names(
    *, file: str, name: str, code: str, imports: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / file).write_text(code)
    assert sources._parsed.__wrapped__(str(tmp_path / file), 0, 0, name)[1] == imports


TEXT = (
    '"""Words."""\nclass A:\n    """Words."""\n    def b(self):\n        """Words."""\n        return 1\n\n'
    "def {}():\n    pass\n"
)


@pytest.mark.parametrize(
    ("file", "other", "same"),
    [
        ("a.py", TEXT.format("c").replace("Words", "Others"), True),
        ("a.py", TEXT.format("c").replace('    """Words."""\n', ""), True),
        ("a.py", TEXT.format("c").replace("return 1", "return  1  # one"), True),
        ("a.py", TEXT.format("c").replace("return 1", "return 2"), False),
        ("a.py", TEXT.format("test_c"), False),
        ("test_a.py", TEXT.format("test_d"), False),  # the function c is gone
        ("test_a.py", TEXT.format("c") + "\ndef test_d():\n    return 5\n", True),
        ("test_a.py", TEXT.format("c") + "\nasync def test_d():\n    return 5\n", True),
        ("a_test.py", TEXT.format("c") + "\ndef test_d():\n    return 5\n", True),
        ("a_tests.py", TEXT.format("c") + "\ndef test_d():\n    return 5\n", False),
        ("a.py", TEXT.format("c") + "\ndef test_d():\n    return 5\n", False),
        ("test_a.py", TEXT.format("c") + "\ndef check_d():\n    return 5\n", False),
        ("test_a.py", TEXT.format("c") + "\nclass test_d:\n    pass\n", False),
    ],
)
def test_a_file_counts_by_its_code_without_words_and_tests(file: str, other: str, same: bool, tmp_path: Path) -> None:
    def of(text: str) -> bytes:
        (tmp_path / file).write_text(text)
        found: bytes = sources._parsed.__wrapped__(str(tmp_path / file), 0, 0, "a")[0]
        return found

    assert (of(other) == of(TEXT.format("c"))) is same
