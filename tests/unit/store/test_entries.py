"""Entries: what was saved comes back, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustest.errors import ConfigError, StoreError
from robustest.identity.keys import Key, key_of
from robustest.settings import Settings
from robustest.store.entries import Entry, Store, StoreWarning, pack, unpack
from robustest.store.files import Damaged, tidy


def made(name: str) -> Key:
    """A key under which something was computed."""
    key = key_of(name, {}, None, recheck=True)
    with key.watching():
        return key


ONE, TWO = made("one"), made("two")
KEY, OTHER = ONE.name, TWO.name
DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
]

SHAPES = st.lists(st.integers(0, 4), max_size=3)
ARRAYS = st.dictionaries(
    st.text(max_size=5).filter(lambda name: name != "__metadata__"),
    st.builds(
        lambda shape, dtype, seed: (
            torch.randint(-9, 9, shape, generator=torch.Generator().manual_seed(seed)).abs().to(dtype)
        ),
        SHAPES,
        st.sampled_from(DTYPES),
        st.integers(0, 9),
    ),
    max_size=4,
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)
META = st.dictionaries(st.text(max_size=5), JSON, max_size=4)


def same(one: Entry, other: Entry) -> bool:
    return one.meta == other.meta and same_arrays(one.arrays, other.arrays)


def same_arrays(one: Any, other: Any) -> bool:
    return set(one) == set(other) and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def path_of(folder: Path, key: str = KEY) -> Path:
    return folder / "chunks" / key[:2] / f"{key}.safetensors"


@given(ARRAYS, META)
def test_what_is_packed_comes_back(arrays: dict[str, Tensor], meta: dict[str, Any]) -> None:
    key, back, about = unpack("chunk", KEY, pack("chunk", KEY, arrays, meta))
    assert (key, about) == (KEY, meta)
    assert same_arrays(back, arrays)


@given(ARRAYS, META)
def test_equal_entries_are_equal_bytes(arrays: dict[str, Tensor], meta: dict[str, Any]) -> None:
    again = dict(reversed(meta.items()))
    assert pack("chunk", KEY, arrays, meta) == pack("chunk", KEY, {k: v.clone() for k, v in arrays.items()}, again)


def test_what_is_saved_comes_back(tmp_path: Path, entry: Entry) -> None:
    store = Store(tmp_path / "new" / "store")
    assert store.load(ONE) is None
    assert store.save(ONE, entry)
    found = Store(tmp_path / "new" / "store").load(ONE)
    assert found is not None
    assert same(found, entry)
    assert store.load(TWO) is None
    assert [p.name for p in (tmp_path / "new" / "store").rglob("*") if p.is_file()] == [f"{KEY}.safetensors"]
    found.arrays["x"].add_(1)  # what comes back is the caller's own
    assert same(Store(tmp_path / "new" / "store").load(ONE), entry)  # type: ignore[arg-type]


def test_a_later_entry_takes_the_place_of_an_earlier_one(tmp_path: Path, entry: Entry) -> None:
    store = Store(tmp_path)
    assert store.save(ONE, Entry({"x": torch.zeros(1)}))
    assert store.save(ONE, entry)
    found = store.load(ONE)
    assert found is not None
    assert same(found, entry)


def test_views_and_shared_tensors_are_stored_by_value(tmp_path: Path) -> None:
    x = torch.arange(12.0).reshape(3, 4)
    arrays = {"a": x, "b": x, "c": x.T, "d": x[:, 1], "e": torch.nn.Parameter(x), "f": x.expand(2, 3, 4)}
    store = Store(tmp_path)
    assert store.save(ONE, Entry(arrays))
    found = store.load(ONE)
    assert found is not None
    assert same_arrays(found.arrays, {name: value.detach() for name, value in arrays.items()})


def test_every_bit_counts() -> None:
    arrays, meta = {"x": torch.tensor([1.5, -2.0]), "y": torch.tensor([True])}, {"a": "b", "n": [1, 2.5]}
    data = pack("chunk", KEY, arrays, meta)
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        try:
            _, back, about = unpack("chunk", KEY, bytes(flipped))
        except Damaged:
            continue
        assert (about, same_arrays(back, arrays)) == (meta, True), place  # another way to write the same


def test_every_length_counts(entry: Entry) -> None:
    data = pack("chunk", KEY, entry.arrays, entry.meta)
    for length in range(len(data)):
        with pytest.raises(Damaged):
            unpack("chunk", KEY, data[:length])
    with pytest.raises(Damaged):
        unpack("chunk", KEY, data + b"\0")


def foreign_json(data: bytes) -> bytes:
    head = json.dumps({"__metadata__": {"robustest": "[1, 2]"}}).encode()
    return len(head).to_bytes(8, "little") + head


def another_schema(data: bytes) -> bytes:
    return data.replace(rb"\"schema\":1", rb"\"schema\":2")


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "no file of robustest's"),
    "cut": (lambda data: data[: len(data) // 2], "."),
    "text": (lambda _: b"not a tensor in sight" * 9, "no file of robustest's"),
    "zeros": (lambda data: bytes(len(data)), "no file of robustest's"),
    "a bit": (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "differ from their checksum"),
    "foreign": (
        lambda _: safetensors.torch.save({"x": torch.zeros(1)}),
        "no file of robustest's",
    ),
    "other json": (foreign_json, "no file of robustest's"),
    "schema": (another_schema, "schema 2 instead of 1"),
    "kind": (lambda _: pack("corpus", KEY, {}, {}), "another kind"),
    "name": (lambda _: pack("chunk", OTHER, {}, {}), f"under the name {OTHER}"),
    "pickle": (lambda _: b"\x80\x04\x95\x1b\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix", "no file of robustest's"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_named_and_set_aside(tmp_path: Path, entry: Entry, damage: str) -> None:
    store, (change, why) = Store(tmp_path), DAMAGE[damage]
    assert store.save(ONE, entry)
    path = path_of(tmp_path)
    damaged = change(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with pytest.warns(StoreWarning, match=why) as told:
        assert store.load(ONE) is None
    assert len(told) == 1
    assert str(path) in str(told[0].message)
    assert [p.read_bytes() for p in (tmp_path / "damaged").iterdir()] == [damaged]
    assert not path.exists()
    assert store.load(ONE) is None  # and quietly
    assert store.save(ONE, entry)
    assert same(store.load(ONE), entry)  # type: ignore[arg-type]
    assert store.notices == (str(told[0].message),)


def test_a_new_file_in_the_place_of_a_damaged_one_is_left_there(tmp_path: Path, entry: Entry) -> None:
    """Another process has measured it again between our reading and our moving it away."""
    store = Store(tmp_path)
    path = path_of(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    folder = store._folder
    seen = folder.read(path)
    assert seen is not None
    assert Store(tmp_path).save(ONE, entry)
    folder.set_aside(seen, "damage")
    assert same(store.load(ONE), entry)  # type: ignore[arg-type]
    assert store.notices == ()


def failing(number: int) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (errno.EROFS, "Make the folder writable"),
        (errno.EACCES, "Make the folder writable"),
        (errno.EIO, "Look at the folder"),
    ],
)
def test_a_folder_that_cannot_be_written_says_so_once(
    tmp_path: Path, entry: Entry, monkeypatch: pytest.MonkeyPatch, number: int, mend: str
) -> None:
    store = Store(tmp_path)
    assert store.save(TWO, entry)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(number))
        with pytest.warns(StoreWarning, match=mend) as told:
            assert not store.save(ONE, entry)
        assert not store.save(ONE, entry)
    assert not store.save(ONE, entry)  # once closed, it stays quiet
    assert len(told) == 1
    message = str(told[0].message)
    assert str(tmp_path) in message
    assert os.strerror(number) in message
    assert same(store.load(TWO), entry)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [f"{OTHER}.safetensors"]


@pytest.mark.parametrize("place", ["", "chunks", f"chunks/{KEY[:2]}"])
def test_a_file_where_a_folder_should_be(tmp_path: Path, entry: Entry, place: str) -> None:
    in_the_way = tmp_path / "store" / place
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("a file")
    store = Store(tmp_path / "store")
    with pytest.warns(StoreWarning, match="where a folder should be"):
        assert (store.load(ONE), store.save(ONE, entry), store.save(TWO, entry)) == (None, False, False)
    assert len(store.notices) == 1
    assert in_the_way.read_text() == "a file"


def test_a_folder_where_a_file_should_be(tmp_path: Path, entry: Entry) -> None:
    path_of(tmp_path).mkdir(parents=True)
    store = Store(tmp_path)
    with pytest.warns(StoreWarning, match="Is a directory"):
        assert (store.load(ONE), store.save(ONE, entry)) == (None, False)
    assert len(store.notices) == 1


def test_a_damaged_file_that_cannot_be_moved_is_named(
    tmp_path: Path, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.save(ONE, entry)
    path_of(tmp_path).write_bytes(b"damaged")
    monkeypatch.setattr(Path, "replace", failing(errno.EROFS))
    with pytest.warns(StoreWarning, match="could not be moved away"):
        assert store.load(ONE) is None


def test_warnings_that_are_errors_cost_no_verdict(tmp_path: Path, entry: Entry) -> None:
    (tmp_path / "chunks").write_text("a file")
    store = Store(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not store.save(ONE, entry)
    assert len(store.notices) == 1


READ_ONLY = """
import os, sys, warnings
from pathlib import Path
import torch
from robustest.identity.keys import key_of
from robustest.store.entries import Entry, Store
from robustest.store.files import save_record
folder = Path(".")
key = key_of("one", {}, None, recheck=True)
with key.watching():
    pass
others = [key.part(number) for number in range(5000)]
near = next(other for other in others if other.name[:2] == key.name[:2])
far = next(other for other in others if other.name[:2] != key.name[:2])
assert Store(folder).save(key, Entry({"x": torch.ones(2)}, {"a": 1}))
for path in [*folder.rglob("*"), folder]:
    path.chmod(0o555)
if os.getuid() == 0:
    os.setuid(65534)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    store = Store(folder)
    assert store.load(key).meta == {"a": 1}
    assert not store.save(far, Entry({"x": torch.ones(2)}))
    assert not store.save(near, Entry({"x": torch.ones(2)}))
    assert not save_record(folder, key.name, {"test": "t"})
print([str(one.message) for one in told])
"""


@pytest.mark.skipif(os.name == "nt", reason="permissions are another matter on Windows")
def test_a_read_only_folder(tmp_path: Path, fork: Callable[..., str]) -> None:
    tmp_path.chmod(0o755)
    output = fork(READ_ONLY, cwd=tmp_path)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755)
    told = json.loads(output.replace("'", '"'))
    assert len(told) == 2  # one of the store, one of the record
    assert all("Permission denied" in one and "Make the folder writable" in one for one in told)


FULL = """
import resource, sys, warnings
from pathlib import Path
import torch
from robustest.identity.keys import key_of
from robustest.store.entries import Entry, Store
folder, key = Path(sys.argv[1]), key_of("one", {}, None, recheck=True)
with key.watching():
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    store = Store(folder)
    assert store.save(key, Entry({"x": torch.ones(10)}))
    assert not store.save(key, Entry({"x": torch.ones(10_000)}))
    assert store.load(key).arrays["x"].shape == (10,)
print(len(told), sum(path.is_file() for path in folder.rglob("*")))
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no limit on the size of files on Windows")
def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path: Path, fork: Callable[..., str]) -> None:
    assert fork(FULL, tmp_path) == "1 1"


def test_what_killed_writers_left_is_ignored_and_removed_when_it_is_old(tmp_path: Path, entry: Entry) -> None:
    store = Store(tmp_path)
    folder = path_of(tmp_path).parent
    folder.mkdir(parents=True)
    old, new = folder / f".{KEY}.safetensors.1-aa.tmp", folder / f".{KEY}.safetensors.2-bb.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert store.load(ONE) is None
    assert store.save(ONE, entry)
    assert not old.exists()
    assert new.exists()
    assert same(store.load(ONE), entry)  # type: ignore[arg-type]
    tidy(tmp_path / "absent")


@pytest.mark.parametrize("key", ["", KEY, b"", 3, None])
def test_nothing_is_stored_or_recalled_but_under_a_key_that_covers_all(tmp_path: Path, entry: Entry, key: Any) -> None:
    with pytest.raises(TypeError, match="key_of"):
        Store(tmp_path).load(key)
    with pytest.raises(TypeError, match="key_of"):
        Store(tmp_path).save(key, entry)


def test_what_was_not_watched_as_it_was_computed_is_not_stored(tmp_path: Path, entry: Entry) -> None:
    key = key_of("unwatched", {}, None, recheck=False)
    with pytest.raises(StoreError, match="watching"):
        Store(tmp_path).save(key, entry)
    with pytest.raises(ZeroDivisionError), key.watching():
        raise ZeroDivisionError
    with pytest.raises(StoreError, match="watching"):  # what broke off was not computed
        Store(tmp_path).save(key.part(1), entry)
    with key.part(2).watching():
        pass
    assert Store(tmp_path).save(key.part(1), entry)


@pytest.mark.parametrize("recheck", [False, True])
def test_what_opened_a_connection_is_stored_only_where_it_is_asked_again(
    tmp_path: Path, entry: Entry, recheck: bool
) -> None:
    key, store = key_of("outward", {}, None, recheck=recheck), Store(tmp_path)
    with key.watching(), socket.socket() as one:
        one.settimeout(0.01)
        with suppress(OSError):
            one.connect(("127.0.0.1", 9))
    assert store.save(key, entry) is recheck
    assert store.unknowable == ("" if recheck else "opens a connection")


def test_an_entry_is_loaded_only_while_all_that_was_read_is_what_it_was(tmp_path: Path, entry: Entry) -> None:
    key, read, store = key_of("reader", {}, None, recheck=False), tmp_path / "read", Store(tmp_path / "store")
    read.write_text("1")
    with key.watching(), read.open() as file:
        file.read()
    assert store.save(key, entry)
    assert same(store.load(key), entry)  # type: ignore[arg-type]
    assert store.outdated == ""
    read.write_text("2")
    assert store.load(key) is None
    assert store.outdated == str(read)
    read.write_text("1")
    assert same(Store(tmp_path / "store").load(key), entry)  # type: ignore[arg-type]


@pytest.mark.parametrize(("recheck", "share"), [(0.0, (0, 0)), (0.3, (200, 400)), (1.0, (1000, 1000))])
def test_a_share_is_doubted(tmp_path: Path, recheck: float, share: tuple[int, int]) -> None:
    store = Store(tmp_path, recheck=recheck)
    assert share[0] <= sum(store.doubted() for _ in range(1000)) <= share[1]


def test_without_reading_everything_is_computed_and_saved(tmp_path: Path, entry: Entry) -> None:
    store = Store(tmp_path, read=False)
    assert store.save(ONE, entry)
    assert store.load(ONE) is None
    assert Store(tmp_path).load(ONE) is not None


@pytest.mark.parametrize(
    "meta", [{1: "a"}, {"a": float("nan")}, {"a": float("inf")}, {"a": object()}, {"a": {1}}, {"a": b""}]
)
def test_meta_is_json(tmp_path: Path, meta: Any) -> None:
    with pytest.raises(ConfigError, match="JSON"):
        Store(tmp_path).save(ONE, Entry({}, meta))


@pytest.mark.parametrize("name", ["__metadata__", 3])
def test_names_of_arrays(tmp_path: Path, name: Any) -> None:
    with pytest.raises(ConfigError, match="names of arrays"):
        Store(tmp_path).save(ONE, Entry({name: torch.zeros(1)}))


def test_arrays_that_safetensors_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dense tensors"):
        Store(tmp_path).save(ONE, Entry({"x": torch.zeros(1, dtype=torch.complex128)}))


@pytest.mark.parametrize(
    ("drawn", "recheck", "doubted"),
    [(0.0, 0.0, False), (0.0, 0.1, True), (0.25, 0.25, False), (0.25, 0.26, True), (0.999, 1.0, True)],
)
def test_an_entry_is_doubted_where_a_number_below_one_falls_below_the_share(
    drawn: float, recheck: float, doubted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, recheck=recheck)
    monkeypatch.setattr(store._random, "random", lambda: drawn)
    assert store.doubted() is doubted


def test_a_store_is_that_of_the_settings(tmp_path: Path) -> None:
    assert Store.of(Settings()) is None
    store = Store.of(Settings(store=str(tmp_path / "s"), cache=False, recheck=0.5))
    assert store is not None
    assert (store._folder.root, store._read, store._recheck) == (tmp_path / "s", False, 0.5)
    assert Store.of(Settings(store=str(tmp_path), cache=True))._read is True  # type: ignore[union-attr]
