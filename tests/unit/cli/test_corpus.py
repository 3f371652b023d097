"""robustest corpus: what is kept for replay, whether it is whole, and making room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from robustest.store.corpus import Corpus, Kept
from robustest.store.entries import pack, unpack

Make = Callable[..., Any]
NAMES = ("t::a Linf", "t::b L2")
SIZES = torch.tensor([0.3, 0.1, 0.2, 0.4, 0.5], dtype=torch.float64)


def kept(n: int = 5, *, start: int = 0, sizes: torch.Tensor | None = None) -> Kept:
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(start))
    ids = torch.arange(start, start + n)
    return Kept(ids=ids, x=x, y=ids % 3, sizes=SIZES[:n] if sizes is None else sizes)


@pytest.fixture
def files() -> list[Path]:
    """A corpus of two names in its usual place, five inputs each."""
    corpus = Corpus(Path(".robustest/corpus"), max_mb=1.0)
    for place, name in enumerate(NAMES):
        assert corpus.add(name, kept(start=10 * place))
    assert corpus.notices == ()
    return sorted(Path(".robustest/corpus").rglob("*.safetensors"))


def rewritten(path: Path, **changes: Any) -> None:
    """The same file with other arrays or bounds, its checksum right."""
    name, arrays, meta = unpack("corpus", None, path.read_bytes())
    bounds = changes.pop("bounds", meta["bounds"])
    path.write_bytes(pack("corpus", name, {**arrays, **changes}, {**meta, "bounds": bounds}))


def test_ls_has_names_counts_bytes_and_the_median_size(files: list[Path], robustest: Make) -> None:
    done = robustest("corpus", "ls")
    assert done.code == 0
    total = sum(path.stat().st_size for path in files) / 1e6
    for line, name in zip(done.lines, sorted(NAMES), strict=False):
        assert line.startswith(name)
        assert line.endswith("MB in 1 file  median size 0.3")
        assert "5 inputs of     5 samples" in line
    assert done.lines[2:] == [f"2 claims, {total:.3f} MB"]


def test_verify_finds_whole_files_whole(files: list[Path], robustest: Make) -> None:
    done = robustest("corpus", "verify")
    assert (done.code, done.out) == (0, "2 files, all whole\n")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sizes": torch.full((5,), torch.inf, dtype=torch.float64)}, "not finite"),
        ({"x32": torch.full((5, 1, 4, 4), torch.nan)}, "not finite"),
        ({"x32": torch.full((5, 1, 4, 4), 1.5)}, "outside [0, 1]: 1.5 to 1.5"),
        ({"bounds": [0.0, 0.5]}, "outside [0, 0.5]"),
        ({"sizes": -SIZES}, "negative"),
        ({"ids": torch.arange(4)}, "other shapes than 5 inputs"),
        ({"x8": torch.zeros((2, 3), dtype=torch.uint8)}, "other shapes"),
    ],
    ids=["sizes", "nan", "outside", "bounds", "negative", "ids", "shape"],
)
def test_verify_names_what_is_not_as_it_should_be(
    files: list[Path], robustest: Make, changes: dict[str, Any], told: str
) -> None:
    rewritten(files[0], **changes)
    before = files[0].read_bytes()
    done = robustest("corpus", "verify")
    assert done.code == 3
    (line,) = [line for line in done.lines if line.startswith(str(files[0]))]
    assert told in line
    assert done.lines[-1] == "2 files, 1 damaged"
    assert files[0].read_bytes() == before, "verify changes nothing"


@pytest.mark.parametrize("end", [0, 7, 100, -1])
def test_verify_names_a_file_cut_short(files: list[Path], robustest: Make, end: int) -> None:
    files[1].write_bytes(files[1].read_bytes()[:end])
    done = robustest("corpus", "verify")
    assert done.code == 3
    assert str(files[1]) in done.out


def test_verify_sees_one_flipped_bit(files: list[Path], robustest: Make) -> None:
    data = bytearray(files[0].read_bytes())
    data[-3] ^= 1
    files[0].write_bytes(data)
    assert robustest("corpus", "verify").code == 3


def test_verify_names_what_does_not_belong_there(files: list[Path], robustest: Make) -> None:
    stranger = files[0].with_name("notes.txt")
    stranger.write_text("mine", encoding="utf-8")
    done = robustest("corpus", "verify")
    assert done.code == 3
    assert str(stranger) in done.out


def test_ls_names_a_damaged_file(files: list[Path], robustest: Make) -> None:
    files[0].write_bytes(b"")
    done = robustest("corpus", "ls")
    assert done.code == 3
    assert files[0].name in done.out


def test_prune_makes_room(files: list[Path], robustest: Make) -> None:
    total = sum(path.stat().st_size for path in files)
    limit = max(path.stat().st_size for path in files)
    done = robustest("corpus", "prune", f"--max-mb={limit / 1e6}")
    left = [path.stat().st_size for path in files if path.is_file()]
    assert done.code == 0
    assert len(left) == 1
    assert done.out == f"removed 1 file, {(total - left[0]) / 1e6:.3f} MB; {left[0] / 1e6:.3f} MB remain\n"


def test_prune_removes_nothing_that_fits(files: list[Path], robustest: Make) -> None:
    done = robustest("corpus", "prune", "--max-mb=1")
    assert done.out.startswith("removed 0 files, 0.000 MB; ")
    assert all(path.is_file() for path in files)


def test_an_empty_corpus_is_well(robustest: Make) -> None:
    Path("empty").mkdir()
    assert robustest("corpus", "ls", "--corpus=empty").out == "no counterexamples are kept\n"
    assert robustest("corpus", "verify", "--corpus=empty").out == "0 files, all whole\n"


@pytest.mark.parametrize("action", [["ls"], ["verify"], ["prune", "--max-mb=1"]], ids=lambda action: action[0])
def test_an_absent_corpus_is_named(robustest: Make, action: list[str]) -> None:
    done = robustest("corpus", *action, "--corpus=absent")
    assert (done.code, done.out) == (3, "")
    assert "absent" in done.err
    assert not Path("absent").exists()
