"""--robust-history: each run adds a line a claim, alone and with workers, and a damaged history makes no green run."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustest.errors import StoreError
from robustest.history import claim_histories
from robustest.store import history

TESTS = """
    def test_holds(robust_model, robust_data):
        claim(robust_model, robust_data, 0.01, at_least=1.0)
        claim(robust_model, robust_data, 0.01, at_least=0.9)

    def test_fails(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, at_least=0.6)

    def test_breaks(robust_model, robust_data):
        claim(lambda x: robust_model(x) * float("nan"), robust_data, 0.1, at_least=0.5)
"""


@pytest.mark.parametrize("workers", [[], pytest.param(["-n", "2"], marks=pytest.mark.slow)], ids=["alone", "workers"])
def test_each_run_adds_a_line_a_claim(write, run, project, workers):
    write(test_a=TESTS)
    for _ in range(2):
        run("--robust", "--robust-history=kept", *workers)
    found = history.read(Path(project.path) / "kept")
    told = {(claim.test.partition("::")[2], claim.place): [one.state for one in ones] for claim, ones in found.items()}
    assert told == {
        ("test_holds", 0): ["passed"] * 2,
        ("test_holds", 1): ["passed"] * 2,
        ("test_fails", 0): ["failed"] * 2,
        ("test_breaks", 0): ["error"] * 2,
    }
    assert [one.state for one in claim_histories(found)] == ["bad", "open", "good", "good"]


def test_what_cannot_be_added_turns_the_run_red_and_is_left_as_it_is(write, run, project):
    write(
        test_a="def test_holds(robust_model, robust_data):\n    claim(robust_model, robust_data, 0.01, at_least=1.0)\n"
    )
    run("--robust", "--robust-history=kept")
    (file,) = (Path(project.path) / "kept").glob("runs-*.jsonl")
    file.write_text(file.read_text() + "<<<<<<< HEAD\n")
    before = file.read_bytes()
    result = run("--robust", "--robust-history=kept")
    assert result.ret == 3
    assert "the history could not be made at kept: StoreError" in " ".join(str(result.stdout).split())
    assert file.read_bytes() == before
    with pytest.raises(StoreError):
        history.read(file.parent)


def test_without_robust_nothing_is_added(write, run, project):
    write(test_a=TESTS)
    run("--robust-history=kept")
    assert not (Path(project.path) / "kept").exists()
