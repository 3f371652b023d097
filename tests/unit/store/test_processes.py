"""Processes that are killed, and processes that write at once: what is there is whole, and nothing is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the programs fork, which this system cannot")

BEFORE = """
import json, os, random, signal, sys, time, warnings
from pathlib import Path
import torch
from robustest.store import baselines, files
from robustest.store.corpus import Corpus, Kept
from robustest.identity.keys import key_of
from robustest.store.entries import Entry, Store
torch.set_num_threads(1)
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # of fork, in Python 3.12
folder = Path(sys.argv[1])

def made(n):
    found = key_of(str(n), {}, None, recheck=True)
    with found.watching():
        return found

def key(n):
    return made(n).name

def entry(n, size=20_000):
    return Entry({"x": torch.full((size,), float(n)), "ids": torch.arange(9) + n}, {"n": n, "text": "x" * 500})

def whole(store, n):
    found = store.load(made(n))
    if found is None:
        return False
    assert found.meta == {"n": n, "text": "x" * 500}
    assert found.arrays["x"].eq(n).all() and len(found.arrays["x"]) == 20_000
    assert found.arrays["ids"].tolist() == list(range(n, n + 9))
    return True

def kept(n):
    return Kept(torch.tensor([n]), torch.full((1, 3), float(n)), torch.tensor([0]), torch.ones(1).double())

def fork(work):
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return child

def finish(children):
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * len(children)
"""

KILL = (
    BEFORE
    + """
def save_on_and_on():
    store, corpus, n = Store(folder), Corpus(folder / "corpus", 100), 7 * round
    while True:
        store.save(made(n % 50), entry(n % 50))
        files.save_record(folder, key(n % 50), {"test": f"t{n % 50}", "statement": "s" * 3000})
        if n < 200:
            corpus.add("test", kept(n))
        n += 1

random.seed(int(sys.argv[2]))
seen = 0
for round in range(20):
    child = fork(save_on_and_on)
    time.sleep(random.uniform(0.002, 0.15))
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    store = Store(folder)
    seen = max(seen, sum(whole(store, n) for n in range(50)))
    for record in files.load_records(folder):
        assert record["statement"] == "s" * 3000
    found = Corpus(folder / "corpus", 100).load("test")
    assert found is None or (found.x == found.ids[:, None]).all()
    assert store.notices == ()
unfinished = len(list(folder.rglob("*.tmp")))
print(json.dumps([seen, unfinished, (folder / "damaged").exists()]))
"""
)


def test_killed_at_any_moment_what_is_there_is_whole(tmp_path: Path, fork: Callable[..., str]) -> None:
    seen, _, damaged = json.loads(fork(KILL, tmp_path, 7))
    assert seen > 1
    assert not damaged


TOGETHER = (
    BEFORE
    + """
def work(worker):
    def run():
        store, corpus = Store(folder), Corpus(folder / "corpus", 100)
        for step in range(12):
            for n in (step, 100 * worker + 100 + step):  # everyone's, and one's own
                assert store.save(made(n), entry(n))
                assert whole(store, n)
                assert files.save_record(folder, key(n), {"test": str(n), "statement": ""})
            assert corpus.add("test", kept(100 * worker + step))
            assert not store.notices and not corpus.notices
    return run

finish([fork(work(worker)) for worker in range(4)])
store = Store(folder)
expected = {*range(12), *(100 * worker + 100 + step for worker in range(4) for step in range(12))}
assert all(whole(store, n) for n in expected)
assert sorted(int(record["test"]) for record in files.load_records(folder)) == sorted(expected)
ids = Corpus(folder / "corpus", 100).load("test").ids.tolist()
assert ids == sorted(100 * worker + step for worker in range(4) for step in range(12))
assert not list(folder.rglob("*.tmp")) and not (folder / "damaged").exists()

def update(worker):
    def run():
        for step in range(10):
            one = baselines.BaselineEntry(
                test=f"{worker}-{step}", claim="", quantity="", outcomes=(True,), data="", model=None, seed=0,
                method="", date="", commit="", estimate=None, interval=(0.0, 1.0))
            baselines.write(folder / "baseline.json", {f"{worker}-{step}": one})
    return run

finish([fork(update(worker)) for worker in range(4)])
found = baselines.read(folder / "baseline.json")
assert sorted(found) == sorted(f"{worker}-{step}" for worker in range(4) for step in range(10))
print(len(expected))
"""
)


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path, fork: Callable[..., str]) -> None:
    assert fork(TOGETHER, tmp_path) == "60"


DAMAGED_TOGETHER = (
    BEFORE
    + """
def work(worker):
    def run():
        warnings.simplefilter("ignore")
        for step in range(60):
            n, store = step % 3, Store(folder)
            if worker == 0:
                (folder / "chunks" / key(n)[:2]).mkdir(parents=True, exist_ok=True)
                part = folder / f"damaged-{step}"
                part.write_bytes(b"damaged")
                part.replace(folder / "chunks" / key(n)[:2] / f"{key(n)}.safetensors")
            elif not whole(store, n):
                assert store.save(made(n), entry(n))
    return run

finish([fork(work(worker)) for worker in range(4)])
warnings.simplefilter("ignore")
store = Store(folder)
for n in range(3):
    if not whole(store, n):
        assert store.save(made(n), entry(n)) and whole(store, n)
print("whole")
"""
)


def test_processes_that_meet_damage_at_once_come_through(tmp_path: Path, fork: Callable[..., str]) -> None:
    assert fork(DAMAGED_TOGETHER, tmp_path) == "whole"
