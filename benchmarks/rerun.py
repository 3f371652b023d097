"""What a second `pytest --robust` of an unchanged model costs, and how small the counterexamples are that it shows.

Whole processes, in turn: the first run with an empty store, the second with what the first left. What is compared is
the CPU seconds of the tests themselves, with all that they import late; those of the whole processes are shown beside.
Start-up (collection, imports, the fixtures with model and images, the summary) costs both the same, and 20 times what
the second run's tests do: its own variation would hide them. Then, for the claims that the quickstart's undefended net
fails, each counterexample shown beside the smallest that the minimum-norm attacks find for the same image.

    python benchmarks/rerun.py [pairs]
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

QUICKSTART = Path(__file__).resolve().parent.parent / "examples" / "quickstart"
PAIRS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
CACHED_BAR, SHRUNK_BAR = 0.05, 1.10
TIMED = """
import time
import pytest

seconds = 0.0

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call():
    global seconds
    start = time.process_time()
    try:
        return (yield)
    finally:
        seconds += time.process_time() - start

def pytest_unconfigure():
    print(f"tests took {seconds:.4f} of {time.process_time():.4f} s")
"""
STANDARD = """
from robustest import Linf, assert_robust_accuracy

def test_standard(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.8, attack="standard", exact=True)
"""


def ini(store: Path) -> tuple[str, ...]:
    """A store of its own, of which nothing that is remembered is measured again by lot."""
    return ("-o", f"robust_store={store}", "-o", "robust_recheck=0")


def run(folder: Path, test: str, store: Path) -> tuple[float, float, str]:
    """CPU seconds of the tests of one run and of its whole process, and what it printed."""
    paths = filter(None, [str(folder), os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--robust", "-p", "no:cacheprovider", "-p", "timed", *ini(store), test],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
    )
    found = re.search(r"^tests took ([\d.]+) of ([\d.]+) s$", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        sys.exit(f"the run failed:\n{done.stdout}{done.stderr}")
    return float(found[1]), float(found[2]), done.stdout


def rerun(folder: Path, test: str) -> bool:
    """Prints the cost of the second run's tests as a share of the first one's; whether the bar is met."""
    shares, told = [], []
    run(folder, test, folder / "none")  # byte code and file caches
    for pair in range(PAIRS):
        store = folder / f"store{pair}-{Path(test).stem}"
        first, whole, _ = run(folder, test, store)
        second, remembered, said = run(folder, test, store)
        if "cached" not in said:
            sys.exit(f"the second run does not say that it is cached:\n{said}")
        shares.append(second / first)
        told.append((first, second, whole, remembered))
    first, second, whole, remembered = (statistics.median(column) for column in zip(*told, strict=True))
    share = statistics.median(shares)
    print(
        f"{test:28} tests {first:6.2f} s, again {second:5.2f} s, whole processes {whole:6.2f} and {remembered:5.2f} s; "
        f"again / first {share:6.3f} (min {min(shares):.3f}, max {max(shares):.3f}); bar {CACHED_BAR}"
    )
    return share <= CACHED_BAR


def shrunk() -> bool:
    """Prints shown counterexamples over the smallest known of the same image; whether the bar is met."""
    from examples.quickstart.model import digits, load
    from robustest import L2, Linf, Verdict
    from robustest.measure import measure_min_perturbation, measure_robust_accuracy

    model, (x, y) = load("standard"), digits()
    ratios = []
    for threat, at_least in ((Linf(0.1), 0.90), (L2(1.0), 0.85)):
        failed = measure_robust_accuracy(model, (x, y), threat, at_least=at_least)
        assert failed.verdict is Verdict.FAILED, failed
        for shown in failed.counterexamples:
            one = slice(shown.index, shown.index + 1)
            least = measure_min_perturbation(model, (x[one], y[one]), type(threat)).estimate
            ratios.append(shown.size / least)
            print(f"{threat!s:12} image {shown.index:4}: shown {shown.size:.4f}, minimum norm {least:.4f}")
    print(f"shown / minimum norm: largest {max(ratios):.3f}; bar {SHRUNK_BAR}")
    return max(ratios) <= SHRUNK_BAR


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(QUICKSTART, folder / "claims")
        (folder / "timed.py").write_text(TIMED)
        (folder / "claims" / "test_standard.py").write_text(STANDARD)
        print(f"python {sys.version.split()[0]}, torch {torch.__version__}, {PAIRS} pairs, one thread, CPU seconds")
        kept = [rerun(folder, "claims/test_quickstart.py"), rerun(folder, "claims/test_standard.py")]
    kept.append(shrunk())
    print("every bar is met" if all(kept) else "NOT every bar is met")


if __name__ == "__main__":
    sys.path.insert(0, str(QUICKSTART.parent.parent))
    main()
