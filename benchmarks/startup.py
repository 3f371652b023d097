"""What robustest costs a pytest run that does not use it.

Runs an unrelated one-line test with the plugin loaded and with it blocked (`-p no:robustest`, which still
pays for the entry point's discovery, as does every installed package), in turn, and prints the ratios
pair by pair. Also checks that torch was not imported.

    python benchmarks/startup.py [pairs]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAIRS = int(sys.argv[1]) if len(sys.argv) > 1 else 21
TEST = "import sys\ndef test_one():\n    assert 'torch' not in sys.modules\n"


def run(folder: str, *arguments: str) -> float:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "test_one.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )
    if done.returncode:
        sys.exit(f"the run failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_one.py").write_text(TEST)
        for _ in range(2):  # byte code and file caches
            run(folder)
            run(folder, "-p", "no:robustest")
        pairs = [(run(folder), run(folder, "-p", "no:robustest")) for _ in range(PAIRS)]
    ratios = sorted(with_it / without for with_it, without in pairs)
    print(f"python {sys.version.split()[0]}, {PAIRS} pairs, one test that does not use robustest")
    print(f"with    median {statistics.median(a for a, _ in pairs):.3f} s")
    print(f"without median {statistics.median(b for _, b in pairs):.3f} s")
    print(f"ratio   median {statistics.median(ratios):.3f} (min {ratios[0]:.3f}, max {ratios[-1]:.3f}); bar 1.05")
    print("torch   not imported")


if __name__ == "__main__":
    main()
