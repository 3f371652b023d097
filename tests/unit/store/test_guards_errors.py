"""Guards of files: each kind of error is a damaged file, a warning or a refusal, and none ends a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from robustest.errors import ConfigError, DataError, StoreError
from robustest.store import baselines, corpus, entries, files, history
from robustest.store.corpus import Corpus, Kept
from robustest.store.files import Damaged, FileContent, Folder, StoreWarning


def raising(error: BaseException) -> Any:
    def raises(*args: Any, **kwargs: Any) -> Any:
        raise error

    return raises


# Packed files

ARRAYS = {"a": torch.arange(3), "b": torch.ones(2, 2)}
ERRORS = (KeyError, TypeError, ValueError, RuntimeError)


@pytest.mark.parametrize("error", [*ERRORS, safetensors.SafetensorError])
def test_arrays_that_cannot_be_written_are_an_error_of_the_caller(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safetensors.torch, "save", raising(error("odd")))
    with pytest.raises(ConfigError, match=r"Expected dense tensors of common types to store but got: .*odd"):
        entries.pack("chunk", "k", ARRAYS, {})


@pytest.mark.parametrize("error", [*ERRORS, ConfigError, safetensors.SafetensorError])
def test_arrays_that_cannot_be_read_are_damage(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    data = entries.pack("chunk", "k", ARRAYS, {"m": 1})
    monkeypatch.setattr(safetensors.torch, "load", raising(error("odd")))
    with pytest.raises(Damaged, match="bytes that cannot be read"):
        entries.unpack("chunk", "k", data)


@pytest.mark.parametrize("error", [KeyError, TypeError, ValueError, RecursionError])
@pytest.mark.parametrize("place", [entries, files])
def test_heads_that_cannot_be_read_are_damage(
    place: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place.json, "loads", raising(error("odd")))
    read = {entries: lambda: entries.unpack("chunk", "k", bytes(100)), files: lambda: files._record(content)}
    content = FileContent(Path("a.json"), b"{}", (0, 0))
    with pytest.raises(Damaged, match="bytes that are no"):
        read[place]()


def test_a_packed_file_is_taken_under_its_kind_and_key_alone() -> None:
    data = entries.pack("chunk", "k", ARRAYS, {"m": 1})
    for key in ("k", None):
        found, arrays, meta = entries.unpack("chunk", key, data)
        assert (found, meta, sorted(arrays)) == ("k", {"m": 1}, ["a", "b"])
    for kind, key, words in (
        ("corpus", "k", "a file of another kind"),
        ("chunk", "j", "what belongs under the name k"),
    ):
        with pytest.raises(Damaged, match=words):
            entries.unpack(kind, key, data)
    for cut in (0, 7, 8, 30, len(data) - 1):
        with pytest.raises(Damaged):
            entries.unpack("chunk", "k", data[:cut])


# Folders


def test_what_is_not_there_has_no_contents_size_or_age(tmp_path: Path) -> None:
    folder, gone = Folder(tmp_path), tmp_path / "gone"
    assert (folder.read(gone), folder.size(gone), folder.age(gone), folder.remove(gone)) == (None, 0, 0.0, False)
    folder.set_aside(FileContent(gone, b"", (0, 0)), "odd")
    assert folder.notices == []
    (tmp_path / "there").write_bytes(b"abc")
    assert (folder.size(tmp_path / "there"), folder.remove(tmp_path / "there")) == (3, True)


@pytest.mark.parametrize("what", ["read", "remove", "find"])
def test_what_cannot_be_read_deleted_or_listed_is_said_once(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, inside = Folder(tmp_path), tmp_path / "inside"
    inside.mkdir()
    monkeypatch.setattr(Path, "glob", raising(PermissionError(13, "Permission denied")))
    work = {"read": (None, inside), "remove": (False, inside), "find": ([], "*")}
    with pytest.warns(StoreWarning, match=f"Expected to {'delete files of' if what == 'remove' else 'read'}"):
        assert getattr(folder, what)(work[what][1]) == work[what][0]
    for other, (found, argument) in work.items():
        assert getattr(folder, other)(argument) == found
    assert len(folder.notices) == 1


def test_a_damaged_file_that_cannot_be_moved_stays_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = Folder(tmp_path), tmp_path / "a"
    path.write_text("odd")
    content = folder.read(path)
    assert content is not None
    monkeypatch.setattr(Path, "replace", raising(PermissionError(13, "Permission denied")))
    with pytest.warns(StoreWarning, match=r"to be whole but got odd. It could not be moved away \(Permission denied\)"):
        folder.set_aside(content, "odd")
    assert path.read_text() == "odd"
    monkeypatch.undo()
    # One that another process has put there by now stays too.
    folder.set_aside(FileContent(path, b"", (content.number[0], content.number[1] + 1)), "odd")
    folder.set_aside(FileContent(path, b"", (content.number[0] + 1, content.number[1])), "odd")
    assert path.exists()
    assert len(folder.notices) == 1


# The corpus


def kept(sizes: list[float], shape: tuple[int, ...] = (1, 2, 2)) -> Kept:
    x = torch.rand(len(sizes), *shape, generator=torch.Generator().manual_seed(len(sizes)))
    y = torch.zeros(len(sizes), dtype=torch.int64)
    return Kept(torch.arange(len(sizes)), x, y, torch.tensor(sizes, dtype=torch.float64))


def test_as_many_of_the_smallest_inputs_are_kept_as_fit() -> None:
    """Compared with all numbers that there are."""
    whole = kept([0.5, 0.1, 0.9, 0.3, 0.2, 0.8, 0.4], (1, 8, 8))
    small = torch.zeros(7, dtype=torch.bool)
    order, packed = whole.sizes.argsort(), {}
    for count in range(1, 8):
        which = order[:count].sort().values
        packed[count] = corpus._packed("a", whole.rows(which), small[which], (0.0, 1.0))
    for limit in sorted({len(data) + by for _, data in packed.values() for by in (-1, 0, 1)} | {0, 1}):
        count = max([0, *(count for count, (_, data) in packed.items() if len(data) <= limit)])
        found = corpus._fitting("a", whole, small, (0.0, 1.0), limit)
        assert found == ((*packed[count], 7 - count) if count else ("", None, 7))


def test_an_addition_that_cannot_be_written_is_not_held(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one = Corpus(tmp_path / "file", 1)
    with pytest.warns(StoreWarning):
        assert one.add("a", kept([0.5])) is False
    assert one.load("a") is None


@pytest.mark.parametrize("error", [DataError, KeyError, TypeError, ValueError, RuntimeError])
def test_inputs_that_cannot_be_read_are_damage(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "from_levels", raising(error("odd")))
    with pytest.raises(Damaged, match="a file without its inputs"):
        corpus._inputs({"x8": torch.zeros(0)}, {"bounds": [0.0, 1.0]})


@pytest.mark.parametrize("full", [False, True])
def test_of_the_last_file_what_fits_is_left_after_pruning(
    full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Corpus(tmp_path, 1)
    one.add("a", kept([0.1, 0.2, 0.3, 0.4], (3, 16, 16)))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    if full:  # the disk: nothing can be written, but something deleted
        monkeypatch.setattr(Folder, "write", lambda *_: False)
    pruned = one.prune((size - 1) / 1e6)
    left = one.load("a")
    assert pruned.files == 1
    if full:
        assert (left, pruned.freed, pruned.left) == (None, size, 0)
    else:
        assert left is not None
        assert left.sizes.tolist() == [0.1, 0.2, 0.3]
        assert (
            pruned.left == sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) == size - pruned.freed
        )


def test_the_most_frequent_shape_is_that_of_most_inputs() -> None:
    few, many, others = kept([0.1] * 2, (1, 2, 2)), kept([0.1] * 3, (1, 4)), kept([0.1] * 3, (1, 3))
    assert corpus._of_shape([few, many, few], None) == [few, few]
    assert corpus._of_shape([many, few, others], None) == [others], "of equal ones the first by size"
    assert corpus._of_shape([few, many], (1, 4)) == [many]
    assert corpus._of_shape([], None) == []


def test_a_file_is_superseded_by_the_two_smallest_of_each_sample(tmp_path: Path) -> None:
    def file(name: str, size: float, *, of: str = "a", y: int = 0, x: float = 0.0) -> Any:
        one = Kept(torch.tensor([0]), torch.full((1, 2), x + size), torch.tensor([y]), torch.tensor([size]).double())
        return corpus._File(tmp_path / name, of, one, (0.0, 1.0), 1, 0.0)

    made = [file("1", 0.1), file("2", 0.2), file("3", 0.3), file("4", 0.4, y=1), file("5", 0.5, of="b")]
    assert corpus._superseded(made) == {tmp_path / "3"}
    assert corpus._superseded(made[2:]) == set()


# Baselines


@pytest.mark.parametrize("error", [OSError, UnicodeDecodeError])
def test_a_baseline_file_that_cannot_be_read_is_an_error(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = OSError("odd") if error is OSError else UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd")
    monkeypatch.setattr(Path, "read_text", raising(made))
    with pytest.raises(StoreError, match="Expected to read the baselines in"):
        baselines.read(tmp_path / "b.json")
    monkeypatch.setattr(Path, "read_text", raising(FileNotFoundError()))
    assert baselines.read(tmp_path / "b.json") == {}


@pytest.mark.parametrize("error", [TypeError, ValueError])
def test_outcomes_and_scores_that_are_no_base64_are_refused(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines.base64, "b64decode", raising(error("odd")))
    with pytest.raises(StoreError, match="outcomes in base64"):
        baselines._outcomes(Path("b"), "k", 1, 1, "AA==")
    with pytest.raises(StoreError, match="scores in base64"):
        baselines._scores(Path("b"), "k", 1, 0.5, "AA==")


@pytest.mark.parametrize(
    ("n", "held", "outcomes"),
    [(n, sum(of), of) for n in (0, 1, 7, 8, 9, 16, 17) for of in ([at % 3 == 0 for at in range(n)],)],
)
def test_outcomes_of_any_number_come_back_and_no_others(n: int, held: int, outcomes: list[bool]) -> None:
    text = baselines.packed(outcomes)["outcomes"]
    assert baselines._outcomes(Path("b"), "k", n, held, text) == tuple(outcomes)
    assert baselines.unpacked({"n": n, "outcomes": text}) == tuple(outcomes)
    wrong: list[tuple[Any, Any]] = [(n, held + 1), (n, held - 1), (n + 8, held), (n - 8, held), (float(n), held)]
    for other, count in wrong:
        with pytest.raises(StoreError):
            baselines._outcomes(Path("b"), "k", other, count, text)


@pytest.mark.parametrize(
    ("scores", "n", "mean", "taken"),
    [
        ([0.0, 1.0], 2, 0.5, True),
        ([0.0, 1.0], 2, None, True),
        ([0.0, 1.0], 2, 0.5 + 0.9e-9, True),
        ([0.0, 1.0], 2, 0.5 + 1.1e-9, False),
        ([0.0, 1.0], 2, 0.5 - 1.1e-9, False),
        ([0.0, 1.0], 3, 0.5, False),
        ([-0.1, 1.0], 2, None, False),
        ([0.0, 1.1], 2, None, False),
        ([], 0, 0.5, True),
        ([float("nan")], 1, None, False),
    ],
)
def test_scores_lie_in_their_range_and_have_their_mean(
    scores: list[float], n: int, mean: float | None, taken: bool
) -> None:
    text = baselines.packed_scores(scores)
    if taken:
        assert baselines._scores(Path("b"), "k", n, mean, text) == tuple(scores)
    else:
        with pytest.raises(StoreError):
            baselines._scores(Path("b"), "k", n, mean, text)


# Histories


def lines_of(folder: Path, name: str, *lines: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\n".join(lines))
    return folder


HEAD = history.first_line(runs="2026-01")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((HEAD, b'["a"]', b""), None),
        ((HEAD, b'["a"]'), "line 2, but got: a line without an end"),
        ((HEAD,), "line 1, but got: a line without an end"),
        ((b'["a"]', b""), "line 1, but got: 0 first lines instead of one"),
        ((HEAD, b'["# other"]', b""), "line 1, but got: 2 first lines instead of one"),
        ((HEAD, HEAD, b'["a"]', b'["a"]', b""), None),  # a union of lines may have each twice
    ],
)
def test_a_file_has_one_first_line_and_an_end(lines: tuple[bytes, ...], words: str | None, tmp_path: Path) -> None:
    folder = lines_of(tmp_path / "h", "runs-2026-01.jsonl", *lines)
    if words is None:
        head, others = history._numbered(folder, "runs-2026-01.jsonl")
        assert (head, others) == (HEAD, [(lines.index(b'["a"]') + 1, b'["a"]')])
    else:
        with pytest.raises(StoreError, match=words):
            history._numbered(folder, "runs-2026-01.jsonl")


@pytest.mark.parametrize(
    ("line", "refused"), [(b'["a"]', False), (b"<<<<<<< ours", True), (b'["a"', True), (b"[1]", True), (b"", True)]
)
def test_a_line_that_git_left_is_named_before_anything_is_added(line: bytes, refused: bool, tmp_path: Path) -> None:
    folder = lines_of(tmp_path / "h", "runs-2026-01.jsonl", HEAD, b'["b"]', line, b"")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    if refused:
        with pytest.raises(StoreError, match="line 3, but got"):
            history._join(folder, {"runs-2026-01.jsonl": {b'["c"]'}})
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    else:
        history._join(folder, {"runs-2026-01.jsonl": {b'["c"]'}})
        assert (folder / "runs-2026-01.jsonl").read_bytes() == b"\n".join([HEAD, b'["a"]', b'["b"]', b'["c"]', b""])


@pytest.mark.parametrize(
    ("values", "kinds", "taken"),
    [
        ([], {int}, True),
        ([1, -5], {int}, True),
        ([1, 1.5], {int}, False),
        ([True], {int}, False),
        ([1, None], {int}, False),
        ([None, None], {float, type(None)}, True),
        ([1e100, -1e100, None], {float, type(None)}, True),
        ([1.1e100], {float}, False),
        ([-1.1e100], {float}, False),
        ([0.5, 10**101], {int, float}, False),
    ],
)
def test_numbers_are_of_their_kinds_and_finite(values: list[Any], kinds: set[type], taken: bool) -> None:
    if taken:
        history._check_numbers("a", values, kinds)
    else:
        with pytest.raises((TypeError, ValueError), match="Expected a of a run to be"):
            history._check_numbers("a", values, kinds)


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError])
def test_a_claim_that_cannot_be_read_is_named_with_its_line(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = history.first_line(claim={"test": "a", "key": "b", "place": 0})
    folder = lines_of(tmp_path / "h", "x.jsonl", head, b'["1"]', b'["2"]', b"")
    monkeypatch.setattr(history, "from_plain", raising(error("odd")))
    with pytest.raises(StoreError, match=r"x.jsonl, line 1, but got: .*odd"):
        history._read_claim(folder, "x.jsonl")
    monkeypatch.setattr(history, "_parsed_head", raising(error("odd")))
    if error is not KeyError:
        with pytest.raises(StoreError, match=r"x.jsonl, line 1, but got: odd"):
            history._read_month(folder, "x.jsonl", "2026-01", {}, {})


def test_json_is_read_as_it_is_defined() -> None:
    assert history._parsed(b'["a", 1.5, null]') == ["a", 1.5, None]
    for text in (b"[NaN]", b"[Infinity]", b"[-Infinity]", b"[" * 100_000, b"["):
        with pytest.raises(ValueError):  # noqa: PT011 - JSONDecodeError is one
            history._parsed(text)
    assert json.loads(history._line({"a": 1})) == {"a": 1}
