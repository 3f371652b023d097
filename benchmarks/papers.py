"""Orders that papers on features found, on scikit-learn's digits: a table of numbers by section and seed.

    python benchmarks/papers.py [SECTION ...] [--seeds 0 1 2]

The sections are those of `plugins/robustest-training/tests/papers.py`, whose slow tests hold the orders. One thread;
seconds are of one CPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType

import torch


def reproductions() -> ModuleType:
    source = Path(__file__).resolve().parents[1] / "plugins" / "robustest-training" / "tests" / "papers.py"
    spec = importlib.util.spec_from_file_location("papers", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    sections = reproductions().SECTIONS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[[], *sections], help="what to reproduce")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for section in options.sections or sections:
        started = time.process_time()
        runs = [sections[section](seed) for seed in options.seeds]
        print(f"\n{section}: {time.process_time() - started:.0f} CPU s")
        for name in runs[0]:
            values = [run[name] for run in runs]
            spread = f" +- {stdev(values):.3f}" if len(values) > 1 else ""
            print(f"  {name:26} {mean(values):.3f}{spread}  [{', '.join(f'{v:.3f}' for v in values)}]", flush=True)


if __name__ == "__main__":
    main()
