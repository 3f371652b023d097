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


FRAMES = """
    import numpy as np
    import pandas as pd
    from robustest import Columns, assert_robust_accuracy
    from robustest.threats import AnyOf, Whole

    ROWS = pd.DataFrame({"age": [30, 40, 60, 70], "job": ["cook", "clerk", "cook", "clerk"]})

    def model(frame):
        score = np.where(frame.age > 50, 1.0, -1.0)
        return np.stack([-score, score], 1)

    def test_holds():
        rows = ROWS[COLUMNS].assign(age=ROWS.age + OLDER)
        threat = Columns({"age": Whole(1), "job": AnyOf()})
        assert_robust_accuracy(model, (rows, [0, 0, 1, 1]), threat, at_least=0.9, attack="fast")
"""


@pytest.mark.slow
def test_columns_in_another_order_are_the_same_data_in_the_next_run(write, run, project):
    for columns, older in (('["age", "job"]', 0), ('["job", "age"]', 0), ('["age", "job"]', 1)):
        write(test_a=FRAMES.replace("COLUMNS", columns).replace("OLDER", str(older)))
        run("--robust", "--robust-history=kept")
    ((claim, entries),) = history.read(Path(project.path) / "kept").items()
    assert claim.test == "test_a.py::test_holds"
    assert [one.state for one in entries] == ["passed"] * 3
    assert entries[0].data
    assert entries[0].data == entries[1].data != entries[2].data
