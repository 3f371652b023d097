"""What a second `pytest --robust` of an unchanged model costs, and how small the counterexamples are that it shows.

Whole processes, in turn: the first run with an empty store, the second with what the first left, and one that
imports the same, loads the same model and images, and claims nothing: its cost is start-up, and is taken off both. CPU
seconds, so that other work on the machine counts little. Then, for the claims that the quickstart's undefended net
fails, each counterexample shown beside the smallest that the minimum-norm attacks find for the same image.

    python benchmarks/rerun.py [pairs]
"""

from __future__ import annotations

import os
import resource
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
NOTHING = """
from robustest import L2, Linf, assert_no_spurious_feature, assert_robust_accuracy, assert_shift_accuracy
from robustest.cues import PixelPatch

def test_nothing(request):  # no robustness test, which would have to claim something
    model, data = (request.getfixturevalue(name) for name in ("robust_model", "robust_data"))
    assert len(model(data[0][:1])) == 1
"""
STANDARD = """
from robustest import Linf, assert_robust_accuracy

def test_standard(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.8, attack="standard", exact=True)
"""


def ini(store: Path) -> tuple[str, ...]:
    """A store of its own, of which nothing that is remembered is measured again by lot."""
    return ("-o", f"robust_store={store}", "-o", "robust_recheck=0")


def run(folder: Path, test: str, store: Path) -> tuple[float, str]:
    """CPU seconds of one run of a test file, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--robust", "-p", "no:cacheprovider", *ini(store), test],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"the run failed:\n{done.stdout}{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def rerun(folder: Path, test: str) -> bool:
    """Prints the cost of the second run as a share of the first one's, start-up taken off; whether the bar is met."""
    shares, told = [], []
    run(folder, "claims/test_nothing.py", folder / "none")  # byte code and file caches
    for pair in range(PAIRS):
        store = folder / f"store{pair}-{Path(test).stem}"
        first, _ = run(folder, test, store)
        second, said = run(folder, test, store)
        start, _ = run(folder, "claims/test_nothing.py", folder / "none")
        if "cached" not in said:
            sys.exit(f"the second run does not say that it is cached:\n{said}")
        shares.append((second - start) / (first - start))
        told.append((first, second, start))
    first, second, start = (statistics.median(column) for column in zip(*told, strict=True))
    share = statistics.median(shares)
    print(
        f"{test:28} first {first:6.2f} s, second {second:5.2f} s, start-up {start:5.2f} s; "
        f"second / first {share:6.3f} (min {min(shares):.3f}, max {max(shares):.3f}); bar {CACHED_BAR}"
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
        (folder / "claims" / "test_nothing.py").write_text(NOTHING)
        (folder / "claims" / "test_standard.py").write_text(STANDARD)
        print(f"python {sys.version.split()[0]}, torch {torch.__version__}, {PAIRS} pairs, one thread, CPU seconds")
        kept = [rerun(folder, "claims/test_quickstart.py"), rerun(folder, "claims/test_standard.py")]
    kept.append(shrunk())
    print("every bar is met" if all(kept) else "NOT every bar is met")


if __name__ == "__main__":
    sys.path.insert(0, str(QUICKSTART.parent.parent))
    main()
