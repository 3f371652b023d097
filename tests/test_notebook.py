"""A result in a notebook: executed by nbclient, with its card as HTML and its progress in the cell."""

from __future__ import annotations

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient runs notebooks")
nbformat = pytest.importorskip("nbformat", reason="nbclient runs notebooks")
pytest.importorskip("ipykernel", reason="a notebook needs a kernel")
pytestmark = pytest.mark.slow  # a kernel of its own

CELL = """
import torch
from torch import nn
from robustest import Linf
from robustest.measure import measure_robust_accuracy
torch.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval()
x = torch.rand(200, 3, 4, 4)
measure_robust_accuracy(model, (x, model(x).argmax(1)), Linf(8 / 255), at_least=0.99, attack="pgd")
"""
FURTHER = [
    "result = measure_robust_accuracy(model, (x, model(x).argmax(1)), Linf(8 / 255), attack='pgd')\nresult",
    "from robustest.plots import plot_worst\nplot_worst(result)",
    "measure_robust_accuracy(model, (x * 255, model(x).argmax(1)), Linf(8 / 255))",
    "measure_robust_accuracy(lambda v: v.nope, (x, model(x).argmax(1)), Linf(8 / 255))",
    "from robustest import assert_robust_accuracy\nassert_robust_accuracy(model, (x, x), at_least=0.9)",
]


def test_a_result_is_a_card_with_its_pictures_inside() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    (shown,) = [one for one in outputs if one.output_type == "execute_result"]
    card = shown["data"]["text/html"]
    assert card.startswith("<iframe srcdoc=")
    assert "failed: robust accuracy under Linf(eps=8/255), pgd" in card
    assert "required &amp;gt;= 0.99" in card
    assert "<Result failed: robust accuracy" in shown["data"]["text/plain"]
    bars = [one for one in outputs if one.output_type == "display_data"]
    assert [one["data"]["text/html"] for one in bars] == [""], "the bar goes with an early verdict"


def test_what_is_measured_is_called_so_with_pictures_and_an_error_is_short() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (CELL, *FURTHER)])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", allow_errors=True).execute()
    measured, plot, *errors = (cell.outputs for cell in notebook.cells[1:])
    card = measured[-1]["data"]
    assert card["text/plain"].startswith("<Result measured: robust accuracy under Linf")
    assert "measured: robust accuracy under" in card["text/html"]
    assert card["text/html"].count("data:image/png;base64,") >= 3
    assert plot[-1]["data"]["image/png"]
    assert all(len(outputs) == 1 and outputs[0]["output_type"] == "error" for outputs in errors)
    texts = ["\n".join(outputs[0]["traceback"]) for outputs in errors]
    assert max(len(text.splitlines()) for text in texts) <= 20
    assert texts[0].startswith("cell, line 1: measure_robust_accuracy(model, (x * 255,")
    assert "DataError: Expected inputs inside the bounds [0, 1]" in texts[0]
    assert "v.nope" in texts[1]
