"""The core's table of edits, on trainings: after some nothing that was trained may count, after others all of it.

Every day `test_what_changes_is_trained_anew` holds trainings to changes of all kinds, the core this table to claims.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "unit" / "identity"))
import test_edits as core

del sys.path[0]

TRAINED = """
from robustest_training import measure_robust_generalization

def test_trained(net):
    def train(x, y, seed):
        return net

    return measure_robust_generalization(
        images(16), Linf(0.01), train=train, test_data=images(12), sizes=[16], seeds=1, min_train_accuracy=0.6, **QUIET
    )
"""
KIND = "test_trained"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_controls")]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> core.Project:
    monkeypatch.setitem(core.FILES, "claims.py", core.FILES["claims.py"] + TRAINED)
    return core.made(tmp_path, monkeypatch)


@pytest.mark.parametrize("edit", core.FORGETS)
def test_a_net_is_trained_anew_after(edit: str, project: core.Project) -> None:
    core.test_a_result_is_measured_anew_after(edit, KIND, project)


@pytest.mark.parametrize("edit", core.KEEPS)
def test_a_training_is_remembered_after(edit: str, project: core.Project) -> None:
    core.test_a_result_is_remembered_after(edit, KIND, project)
