"""--robust-details: every number of every claim in the terminal."""

from __future__ import annotations

import json


def test_every_number_of_a_claim_is_shown_under_its_row(write, run, section, read_json):
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            claim(robust_model, robust_data, 0.1, at_least=0.5)
        """
    )
    result = run("--robust", "--robust-details", "--robust-json=out.json")
    lines = section(result)
    assert lines[0].startswith("test_a.py::test_it ")
    shown = "\n".join(lines[1:])
    (row,) = read_json()["results"]
    measured = row["result"]
    assert all(line.startswith("    ") for line in lines[1:])
    assert measured["statement"] in shown
    assert measured["rule"] in shown
    assert f"{measured['method']}; seed 0" in shown
    cost = measured["cost"]
    assert f"{cost['forward']} forward and {cost['backward']} backward samples" in shown
    assert set(measured["details"]) >= {"clean_accuracy", "broken_by_attack", "radius"}
    for name, value in measured["details"].items():
        assert f"    {name}: {json.dumps(value)}" in lines
    assert "    note: the model was in train mode; it was measured in eval mode and put back" in lines


def test_a_claim_that_could_not_be_measured_has_no_details(write, run, section):
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            claim(robust_model, robust_data, 0.1, at_least=0.5, bounds=(0.5, 1.0))
        """
    )
    lines = section(run("--robust", "--robust-details"))
    assert [line.split()[-1] for line in lines] == ["ERROR", "test_a.py::test_it"]
