"""examples/study, end to end: a study served, answered by simulated annotators, exported, and claimed on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.slow
def test_a_study_is_served_answered_exported_and_claimed_on(tmp_path: Path) -> None:
    report = tmp_path / "out.json"
    command = [sys.executable, "-m", "pytest", "--robust", "examples/study", "-p", "no:cacheprovider"]
    stored = ["--robust-no-cache", f"--robust-json={report}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(  # noqa: S603 - our own example
        [*command, *stored], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(report.read_text(encoding="utf-8"))["results"]
    assert (row["result"]["kind"], row["result"]["verdict"]) == ("label_agreement", "passed")
