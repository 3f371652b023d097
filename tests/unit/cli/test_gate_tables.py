"""robustest floor on gates: tables, configurations, the command line, and what is missing in them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustest.decisions.gates import IntervalAbove, ItemSet, PairedNoWorse, Threshold, Tolerance

Make = Callable[..., Any]
CSV = "metric,value,tolerance,n\ngsm8k,0.54,0.03,264\nmmlu,0.71,0.02,1404\n"


@pytest.fixture
def gates(robustest: Make) -> Make:
    """The gates of `robustest floor --json`, by their names."""

    def read(*arguments: object) -> dict[str, dict[str, Any]]:
        found = robustest("floor", "--json", *arguments)
        assert found.code == 0, found.err
        return {one["gate"]: one for one in json.loads(found.out)["gates"]}

    return read


def write(name: str, text: str) -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_a_table_has_a_line_for_each_gate_and_a_count(robustest: Make) -> None:
    found = robustest("floor", write("gates.csv", CSV))
    assert found.code == 0
    assert found.lines[3].split()[:5] == ["gsm8k", "value", "-", "0.03", "264"]
    assert "nine times in ten: 1 of 2; in less than 5%: 0" in found.out
    assert "lost nothing: 2 of 2" in found.out
    assert "gsm8k: not with a tolerance of" in found.out
    assert "assumed: two runs differ in as many items as they can" in found.out


def test_figures_are_those_of_the_gate(gates: Make) -> None:
    one = gates(write("gates.csv", CSV), "--loss", "0.04")["gsm8k"]
    gate, items = Tolerance(tolerance=0.03), ItemSet(n=264, rate=0.54)
    assert one["alike_red"] == pytest.approx(gate.chances(items).red)
    assert one["lost_red"] == pytest.approx(gate.chances(items, 0.04).red)
    assert one["noticed_loss"] == pytest.approx(0.084, abs=2e-3)
    assert one["needed_items"] > 5000
    assert one["kind"] == "tolerance"


SAME = {
    "table.tsv": CSV.replace(",", "\t"),
    "table.csv": "Name;Baseline;tol;limit\ngsm8k;0,54;0,03;264\nmmlu;0,71;0,02;1404\n",
    "rows.json": json.dumps(
        [
            {"metric": "gsm8k", "value": 0.54, "tolerance": "3%", "n": "264"},
            {"metric": "mmlu", "value": 0.71, "tolerance": 0.02, "n": 1404},
        ]
    ),
    "named.json": json.dumps({"tolerance": 0.03, "n": 264, "gsm8k": {"value": 0.54}, "mmlu": {
        "value": 0.71, "tolerance": 0.02, "n": "1,404"}}),
    "named.toml": "tolerance = 0.02\n[gsm8k]\nvalue = 0.54\ntol = 0.03\nn = 264\n[mmlu]\nvalue = 0.71\nn = 1404\n",
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_tables_of_one_content_are_the_same_gates(gates: Make, name: str) -> None:
    assert gates(write(name, SAME[name])) == gates(write("plain.csv", CSV))


HARNESS = """
model_name: "some/model"
tasks:
- name: "gsm8k"
  metrics:
  - name: "exact_match,strict-match"
    value: 0.54
  - name: "exact_match,flexible-extract"
    value: 0.59
limit: 264
num_fewshot: 5
rtol: 0.08
"""


def test_a_configuration_of_a_harness_is_read(gates: Make) -> None:
    pytest.importorskip("yaml")
    found = gates(write("model.yaml", HARNESS))
    assert list(found) == ["gsm8k/exact_match,strict-match", "gsm8k/exact_match,flexible-extract"]
    gate = Tolerance(tolerance=0.08, relative=True)
    assert [one["alike_red"] for one in found.values()] == [
        pytest.approx(gate.chances(ItemSet(n=264, rate=rate)).red) for rate in (0.54, 0.59)
    ]
    wilson = gates(write("model.yaml", f"{HARNESS}gate: ci\nconfidence: 0.9\n"))
    assert {one["kind"] for one in wilson.values()} == {"wilson"}


def test_yaml_without_its_library_says_what_to_do(robustest: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    found = robustest("floor", write("model.yaml", HARNESS))
    assert found.code == 2
    assert "pip install pyyaml, or give the gates as CSV, JSON or TOML" in found.err


def test_every_kind_of_gate_can_be_asked_for(gates: Make) -> None:
    texts = {
        "tolerance=.03": "tolerance",
        "rtol=.05,side=both": "tolerance",
        "threshold=.85": "threshold",
        "threshold=.8,groups=4": "threshold",
        "at_least=.8": "interval",
        "at_least=.75,groups=100/300": "interval",
        "no_worse_than=.05": "paired",
        "k=3,runs=5,n=1": "k_of_runs",
        "kind=wilson,threshold=.8": "wilson",
    }
    found = gates(*(part for text in texts for part in ("--gate", text)), "--set", "value=.88,n=400,flips=.08")
    assert {name: one["kind"] for name, one in found.items()} == texts
    items = ItemSet(n=400, rate=0.88, flips=0.08)
    assert found["threshold=.85"]["alike_red"] == pytest.approx(Threshold(0.85).chances(items).red)
    ours = IntervalAbove(least=0.8, alpha=0.01).chances(items)
    assert found["at_least=.8"]["alike_green"] == pytest.approx(ours.green)
    paired = PairedNoWorse(tolerance=0.05, alpha=0.01).chances(items, 0.05)
    assert found["no_worse_than=.05"]["lost_green"] == pytest.approx(paired.green)
    # Each of several groups has a part of alpha.
    assert found["at_least=.75,groups=100/300"]["rule"] == "assert_rate >= 0.75, 2 groups"
    assert found["k=3,runs=5,n=1"]["needed_runs"] is None


def test_scores_of_another_range_and_direction(gates: Make) -> None:
    plain = gates("--gate", "tolerance=.03", "--set", "value=.74,n=500")["tolerance=.03"]
    percent = gates("--gate", "tolerance=3", "--set", "value=74,n=500,high=100")["tolerance=3"]
    errors = gates("--gate", "tolerance=.03", "--set", "value=.26,n=500,better=lower")["tolerance=.03"]
    for key in ("alike_red", "lost_red", "noticed_loss", "needed_items"):
        assert plain[key] == pytest.approx(percent[key])
        assert plain[key] == pytest.approx(errors[key])
    # 10 % of an error rate of .26 is .026.
    share = gates("--gate", "rtol=.1", "--set", "value=.26,n=500,better=lower")["rtol=.1"]
    same = gates("--gate", "tolerance=.026", "--set", "value=.74,n=500")["tolerance=.026"]
    assert share["alike_red"] == pytest.approx(same["alike_red"])


@pytest.fixture
def scores() -> list[str]:
    """Files of two runs of 300 items in two groups, of which 60 are coins."""
    random, names = np.random.default_rng(1), []
    for name in ("a.jsonl", "b.jsonl"):
        right = np.where(np.arange(300) % 5 == 0, random.random(300) < 0.5, np.arange(300) % 7 != 0)
        rows = [{"item": f"q{i}", "score": bool(one), "group": "xy"[i % 3 == 0]} for i, one in enumerate(right)]
        names.append(write(name, "\n".join(map(json.dumps, rows))))
    return names


def test_items_rate_and_flips_are_those_of_the_outcomes(gates: Make, scores: list[str]) -> None:
    one = gates(scores[0], "--gate", "tolerance=.03")["tolerance=.03"]
    assert (one["items"], one["flips"]) == (300, None)
    two = gates(*scores, "--gate", "tolerance=.03")["tolerance=.03"]
    assert two["flips"] == pytest.approx(0.1, abs=0.04)
    assert two["alike_red"] < one["alike_red"]
    grouped = gates(*scores, "--gate", "threshold=.6,groups=yes")["threshold=.6,groups=yes"]
    assert grouped["rule"] == ">= 0.6, 2 groups"
    # A stored score is a number already: the gate is a threshold for the system that the file shows.
    stored = gates(scores[0], "--gate", "tolerance=.03,value=.9")["tolerance=.03,value=.9"]
    items = ItemSet(n=300, rate=one["rate"])
    assert stored["alike_red"] == pytest.approx(Threshold(0.87).chances(items).red)
    table = write("gates.csv", f"metric,tolerance,file\ntwo,.03,{scores[0]};{scores[1]}\n")
    assert gates(table)["two"] == {**two, "gate": "two"}


def test_one_run_alone_is_told_what_can_be_asked(robustest: Make, scores: list[str]) -> None:
    found = robustest("floor", scores[0])
    assert found.code == 2
    assert f"robustest floor {scores[0]} --gate tolerance=0.02" in found.err
    assert robustest("floor", scores[0], "--gate", "tolerance=0.02").code == 0
    both = robustest("floor", *scores, "--gate", "tolerance=0.02").out
    assert "noise floor" in both
    assert "what gates notice" in both


WRONG = {
    "n": ("metric,value,tolerance\na,0.5,0.1\n", "robustest floor gates.csv --set n=1319"),
    "value": ("metric,tolerance,n\na,0.1,50\n", "robustest floor gates.csv --set value=0.8"),
    "rule": ("metric,value,n\na,0.5,50\n", "robustest floor gates.csv --set tolerance=0.02"),
    "two rules": ("metric,value,n,tolerance,threshold\na,0.5,50,0.1,0.4\n", "tolerance and threshold are"),
    "percent": ("metric,value,tolerance,n\na,74,3,50\n", "--set high=100"),
    "no number": ("metric,value,tolerance,n\na,high,0.1,50\n", "value to be a number"),
    "nan": ("metric,value,tolerance,n\na,nan,0.1,50\n", "value in 0..1"),
    "half an item": ("metric,value,tolerance,n\na,0.5,0.1,50.5\n", "whole number"),
    "kind": ("metric,kind,value,tolerance,n\na,guess,0.5,0.1,50\n", "one of tolerance, threshold"),
    "k": ("metric,value,k,runs\na,0.5,6,5\n", "at most 5 runs"),
    "runs": ("metric,value,k\na,0.5,3\n", "robustest floor gates.csv --set runs=5"),
    "flips": ("metric,value,tolerance,n,flips\na,0.9,0.1,50,0.4\n", "differ in at most 0.18"),
    "groups": ("metric,value,threshold,n,groups\na,0.9,0.1,50,many\n", "sizes as 120/80/50"),
    "groups of a file": ("metric,value,threshold,n,groups\na,0.9,0.1,50,yes\n", "outcomes with groups"),
    "fields": ("metric,value,tolerance,n\na,0.9,0.1\n", "Expected 4 fields in row 2"),
    "columns": ("metric,value,value,tolerance\na,0.9,0.8,0.1\n", "one column for each key"),
    "nothing": ("metric,value,tolerance,n\n", "Expected gates in gates.csv"),
    "file": ("metric,tolerance,file\na,0.1,none.jsonl\n", "there is none"),
    "range": ("metric,value,tolerance,n,low,high\na,0.9,0.1,50,1,0\n", "low < high"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_missing_is_asked_for(robustest: Make, name: str) -> None:
    text, words = WRONG[name]
    found = robustest("floor", write("gates.csv", text))
    assert found.code == 2
    assert words in found.err


def test_the_call_that_an_error_names_works(robustest: Make) -> None:
    table = write("gates.csv", WRONG["n"][0])
    assert robustest("floor", table, "--set", "n=1319").code == 0
    error = robustest("floor", "--gate", "tolerance=.02").err.strip()
    call = error.rpartition("robustest floor ")[2]
    assert robustest("floor", *call.split()).code == 0


def test_what_is_no_gate_is_refused(robustest: Make, scores: list[str]) -> None:
    assert "robustest floor --gate tolerance=0.03 --set value=0.54,n=1319" in robustest("floor").err
    assert "Keys: metric, kind" in robustest("floor", "--gate", "colour=3").err
    table = write("gates.csv", CSV)
    assert "but got both" in robustest("floor", table, scores[0]).err
    assert "--set KEY=VALUE" in robustest("floor", table, "--gate", "tolerance=.1").err
    for name, text in (("bad.json", '[{"value": 0.5'), ("bad.toml", "value = "), ("empty.toml", "x = 1")):
        assert robustest("floor", write(name, text)).code == 2


def test_logs_of_tools_are_no_tables(robustest: Make) -> None:
    log = {"results": {"results": [{"success": True, "testIdx": 0, "threshold": 0.5, "value": 1, "score": 1.0}]}}
    assert "what gates" not in robustest("floor", write("log.json", json.dumps(log))).out
    rows = [{"item": f"q{i}", "score": i % 2, "run": "1"} for i in range(4)]
    assert "every item has one" in robustest("floor", write("rows.json", json.dumps(rows))).err


def test_means_of_graded_scores_have_their_own_noise(robustest: Make, gates: Make) -> None:
    random, names = np.random.default_rng(3), []
    means = random.beta(6, 2, 200)
    for name in ("a.jsonl", "b.jsonl"):
        scores = np.clip(means + random.normal(0, 0.05, 200), 0, 1)
        names.append(write(name, "\n".join(json.dumps({"item": i, "score": one}) for i, one in enumerate(scores))))
    one = gates(names[0], "--gate", "tolerance=.02")["tolerance=.02"]
    two = gates(*names, "--gate", "tolerance=.02", "--gate", "threshold=.7", "--loss", ".04")
    assert one["alike_red"] > 0.05
    assert two["tolerance=.02"]["alike_red"] < 1e-3
    assert two["tolerance=.02"]["lost_red"] > 0.9
    assert two["tolerance=.02"]["assumed"] == []
    assert two["threshold=.7"]["alike_red"] < two["threshold=.7"]["lost_red"]
    assert "ask for tolerance= or threshold=" in robustest("floor", names[0], "--gate", "at_least=.5").err
