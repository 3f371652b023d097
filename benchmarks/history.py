"""What `robustest history show` and `history html` cost: 200 claims and 1,000 runs, each of another commit and model.

Every run has other values of every claim, an early verdict of every third; one claim in ten falls, once, and a fifth of
the claims is bounded by a search. CPU seconds are of the user and the system together, of a process of its own, the
fastest and the median of several.

    python benchmarks/history.py [claims] [runs] [repeats]
"""

from __future__ import annotations

import datetime
import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from robustest.history import ClaimId, HistoryEntry
from robustest.store import history

CLAIMS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
RUNS = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
REPEATS = int(sys.argv[3]) if len(sys.argv) > 3 else 5
CPU_BAR, SIZE_BAR = 2.0, 5e6
BEGUN = datetime.datetime(2026, 1, 1)


def named(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def claims() -> list[ClaimId]:
    words = "robust accuracy under Linf(eps=0.03137254901960784), standard"
    return [ClaimId(f"tests/test_{at // 10}.py::test_claim[{at}]", words) for at in range(CLAIMS)]


def entry(claim: int, run: int, draw: random.Random) -> HistoryEntry:
    """What a run found of a claim: 1,000 samples, of which an early verdict saw some."""
    at = BEGUN + datetime.timedelta(hours=6 * run)
    fallen = claim % 10 == 0 and run > RUNS * (claim + 1) / (CLAIMS + 1)
    level = round(draw.gauss(0.45 if fallen else 0.6, 0.01), 3)
    low, high, early = round(level - 0.04, 3), round(level + 0.04, 3), (claim + run) % 3 == 0
    return HistoryEntry(
        time=at.isoformat(timespec="milliseconds") + "Z",
        commit=named(f"commit {run}"),
        committed=at.isoformat(timespec="seconds") + "Z",
        dirty=False,
        state="failed" if fallen else "passed",
        verdict="failed" if fallen else "passed",
        estimate=None if early else level,
        low=0.0 if claim % 5 == 0 else low,
        high=high,
        left_low=low if claim % 5 == 0 else None,
        left_high=high if claim % 5 == 0 else None,
        bounds="above" if claim % 5 == 0 else "",
        used=draw.randrange(64, 999) if early else 1_000,
        total=1_000,
        threshold=0.5,
        comparison=">=",
        required=">= 0.5",
        seconds=round(draw.uniform(0.5, 9), 1),
        seed=0,
        model=named(f"model {run}"),
        data="" if early else named("data"),
        versions="robustest 0.1.0, torch 2.13.0, Python 3.11.7",
    )


def cpu(folder: Path, *verb: str) -> float:
    """CPU seconds of a command."""
    before = os.times()
    command = [sys.executable, "-m", "robustest.cli", "history", *verb, "--history", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode > 1 or done.stderr:
        sys.exit(f"{verb[0]} failed:\n{done.stdout}{done.stderr}")
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder, page = Path(name, "history"), str(Path(name, "page"))
        history.add(folder, {one: [entry(at, run, draw) for run in range(RUNS)] for at, one in enumerate(claims())})
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"python {sys.version.split()[0]}, {CLAIMS} claims and {RUNS:,} runs, load {os.getloadavg()[0]:.1f}")
        print(f"size  {size / 1e6:.2f} MB; bar {SIZE_BAR / 1e6:g} MB")
        for verb in (["show"], ["html", "-o", page]):
            cpu(folder, *verb)  # byte code and file caches
            spent = [cpu(folder, *verb) for _ in range(REPEATS)]
            told = f"fastest {min(spent):.2f} s, median {statistics.median(spent):.2f} s"
            print(f"{verb[0]:5} {told} of CPU; bar {CPU_BAR:g} s")


if __name__ == "__main__":
    main()
