"""benchmarks/card.py runs without a card too, and a part that fails or hangs is a row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
import card  # noqa: E402
from card import PARTS, Card, Row  # noqa: E402

QUICK = Card("cpu", quick=True)


def process(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_all_parts_together_keep_the_time_of_a_run() -> None:
    assert sum(part.limit for part in PARTS.values()) <= 60 * card.MINUTES


@pytest.mark.parametrize(
    ("figure", "bar", "kept"),
    [
        (1.1, "<= 1.1", True),
        (1.11, "<= 1.1", False),
        (3000, ">= 3000", True),
        (2999.0, ">= 3000", False),
        ("an error", "<= 0", False),
        ("torchvision is not installed", "", None),
        (7, "", None),
    ],
)
def test_a_bar_is_kept_by_a_number_alone(figure: Any, bar: str, kept: bool | None) -> None:
    assert Row("speed", figure, "x", bar).kept is kept


def test_a_part_that_fails_keeps_the_rows_before_it_and_its_error(tmp_path: Path) -> None:
    file = tmp_path / "part.rows"
    row = json.dumps({"what": "speed", "figure": 7, "unit": "samples/s", "bar": ""})
    rows, _ = card.watched(
        process(f"open({str(file)!r}, 'w').write({row!r}); raise OSError('no more memory')"), file, 60
    )
    assert [row.what for row in rows] == ["speed", "failed", "the whole part"]
    assert rows[1].figure == "OSError: no more memory (exit code 1)"
    assert rows[1].kept is False


def test_a_part_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(pid)!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    rows, _ = card.watched(process(code), tmp_path / "part.rows", 3)
    assert rows[0] == Row("failed", "ended after its limit of 3 s", bar="<= 0")
    for _ in range(500):
        state = Path(f"/proc/{pid.read_text()}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    raise AssertionError("the child of the part is still there")


def test_each_part_leaves_its_rows_and_those_that_have_no_time_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[str] = []

    def watched(command: list[str], file: Path, limit: float) -> Any:
        files.extend(sorted(path.name for path in tmp_path.iterdir()))
        assert limit <= 60
        clock[0] += 40
        return [Row("speed", 7.0, "samples/s", ">= 3000")], {"device": "a card", "torch": "9"}

    clock = [0.0]
    monkeypatch.setattr(card.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(card, "watched", watched)
    assert card.run_all(["tests", "pgd", "memory"], QUICK, tmp_path, 1) is False
    assert files == ["card.json", "card.md"]  # there before the second part began
    table = (tmp_path / "card.md").read_text()
    assert table.startswith("## `card.py`: a day with a card (a card, torch 9, Python ?)\n")
    assert "| pgd | speed | 7 | samples/s | >= 3000 | **NOT met** |\n" in table
    assert "| memory | not run | the 1 minutes are over |  |  |  |\n" in table
    # A further call goes on with the folder.
    clock[0] = 0
    card.run_all(["memory"], QUICK, tmp_path, 1)
    assert [*json.loads((tmp_path / "card.json").read_text())["parts"]] == ["tests", "pgd", "memory"]
    assert "| memory | speed | 7 |" in (tmp_path / "card.md").read_text()


def test_a_machine_without_a_card_is_told_so(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(SystemExit, match="Expected a CUDA device"):
        card.run_part("memory", Card("cuda", quick=True), tmp_path / "memory.rows")


def test_a_claim_whose_batch_does_not_fit_is_measured_on_the_simulated_device() -> None:
    def rows() -> Iterator[Row]:
        with QUICK.inside():
            yield from card.memory(QUICK)

    found = {row.what: row.figure for row in rows()}
    assert found["a batch of 128 where 32 fit: robust accuracy, of 1"] == 1
    assert found["and says so in its notes"] == 1


@pytest.mark.slow
def test_every_part_runs_on_the_simulated_device(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "card.py"), str(tmp_path), "--device", "cpu", "--quick"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, env=environment, check=False, timeout=1500
    )
    assert done.returncode == 0, done.stdout
    parts = json.loads((tmp_path / "card.json").read_text())["parts"]
    assert [*parts] == [*PARTS]
    for name, rows in parts.items():
        assert len(rows) > 1, name
        assert rows[-1]["what"] == "the whole part"
        assert not [row for row in rows if row["what"] in ("failed", "not run")], name
    claims = ("accuracy", "groups", "a noise shift", "a cue")
    for name in ("ResNet-50", "ViT"):
        assert {f"{name}, {claim}" for claim in claims} <= {row["what"] for row in parts[name]}
