"""What is remembered is not measured again, and anything that matters makes it forget."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

PLAIN = """
    def test_claim(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, 0.5)
"""


@pytest.fixture
def result_of(rows_of) -> Callable[..., dict]:
    def _result(*args: str) -> dict:
        return rows_of("-o", "robust_recheck=0", *args)["test_claim"]["result"]

    return _result


def test_the_second_run_is_cached_and_says_so(write, result_of, run, section) -> None:
    write(test_a=PLAIN)
    first, second = result_of(), result_of()
    assert first.pop("cached") == ""
    assert len(second.pop("cached")) >= len("2026-01-31")
    assert first == second
    (line,) = section(run("--robust", "-o", "robust_recheck=0"))
    assert "  cached  passed" in line


def test_stages_are_remembered_in_the_order_in_which_they_ran(write, result_of) -> None:
    write(
        test_a="""
        from robustest.attacks import FGSM, PGD, Cascade, Stage

        def test_claim(robust_model, robust_data):
            cascade = Cascade(name="two", stages=(Stage(searcher=PGD(steps=3)), Stage(searcher=FGSM())))
            assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.5, attack=cascade)
        """
    )
    first, second = result_of(), result_of()
    assert second["cached"]
    assert first["facts"] == second["facts"]
    assert list(first["details"]["stages"]) == list(second["details"]["stages"]) == ["pgd", "fgsm"]


def test_what_is_cached_takes_a_few_passes_that_ask_the_model(write, result_of, project) -> None:
    write(test_a=PLAIN)
    # The same code by bytecode: the model is watched from outside.
    source = (project.path / "conftest.py").read_text()
    (project.path / "conftest.py").write_text(
        source
        + """
import json, pathlib

@pytest.fixture(autouse=True)
def passes(monkeypatch):
    from robustest.engine.evaluator import Evaluator

    seen, ask = [], Evaluator._ask

    def count(self, x):
        seen.append(len(x))
        return ask(self, x)

    monkeypatch.setattr(Evaluator, "_ask", count)
    yield
    pathlib.Path("passes.json").write_text(json.dumps(seen))
"""
    )

    def passes() -> list[int]:
        return json.loads((project.path / "passes.json").read_text())

    assert not result_of()["cached"]
    first = passes()
    assert result_of()["cached"]
    assert 0 < len(passes()) <= 10
    assert sum(passes()) < sum(first) / 2


def test_another_threshold_takes_the_same_evidence(write, result_of) -> None:
    write(test_a=PLAIN)
    assert result_of()["verdict"] == "passed"
    write(test_a=PLAIN.replace("0.1, 0.5", "0.1, 0.6"))
    changed = result_of()
    assert (changed["verdict"], bool(changed["cached"])) == ("failed", False)  # smaller counterexamples were searched
    assert result_of()["cached"]


EDITS = {
    "a weight": ("torch.tensor(10.0)", "torch.tensor(10.000001)"),
    "a line of forward": ("bits.to(leads)).sum(2)", "bits.to(leads)).sum(2) * 1.01"),
    "a pixel": (
        "torch.tensor(values).repeat(times)",
        "torch.tensor(values).repeat(times) + (torch.arange(32) == 3) / 256",
    ),
    "a comment": ("    def forward(self, x):\n", "    def forward(self, x):  # a comment\n\n"),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("runner", ["run", pytest.param("run_apart", marks=pytest.mark.slow)])
def test_what_changes_is_measured_again(write, project, request, runner: str, edit: str) -> None:
    write(test_a=PLAIN)
    old, new = EDITS[edit]

    def cached() -> bool:
        request.getfixturevalue(runner)("--robust", "--robust-json=out.json", "-o", "robust_recheck=0")
        (row,) = json.loads((project.path / "out.json").read_text())["results"]
        return bool(row["result"]["cached"])

    assert [cached(), cached()] == [False, True]
    toy = project.path / "toy.py"
    source = toy.read_text()
    assert old in source
    toy.write_text(source.replace(old, new))
    assert cached() is ("comment" in new)


def test_no_cache_measures_again(write, result_of) -> None:
    write(test_a=PLAIN)
    result_of()
    assert result_of("--robust-no-cache")["cached"] == ""
    assert result_of()["cached"]


def test_a_chunk_that_disagrees_when_measured_again_is_an_error(write, run, project) -> None:
    write(test_a=PLAIN)
    run("--robust", "-o", "robust_recheck=0").assert_outcomes(passed=1)
    conftest = project.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + """
@pytest.fixture(autouse=True)
def lies(monkeypatch):
    from robustest.run.memory import Memory
    from dataclasses import replace

    recall = Memory.recall

    def lying(self, what):
        seen = recall(self, what)
        if seen is None or "held" not in seen[0].columns:
            return seen
        return replace(seen[0], columns={**seen[0].columns, "held": ~seen[0].columns["held"]}), seen[1]

    monkeypatch.setattr(Memory, "recall", lying)
"""
    )
    result = run("--robust", "-o", "robust_recheck=1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*StoreError: Expected a remembered chunk to be measured alike again but 32 of 32*"])


def test_a_damaged_file_is_named_and_measured_again(write, result_of, project) -> None:
    write(test_a=PLAIN)
    result_of()
    for file in (project.path / ".robustest" / "chunks").rglob("*.safetensors"):
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(bytes(content))
    result = result_of()
    assert (result["verdict"], result["cached"]) == ("passed", "")
    assert any("checksum" in note and "was moved to" in note for note in result["notes"])
    assert list((project.path / ".robustest" / "damaged").iterdir())
    assert result_of()["cached"]


def test_a_store_that_cannot_be_written_is_told_and_the_verdict_stands(write, project, rows_of) -> None:
    write(test_a=PLAIN)
    (project.path / "blocked").write_text("a file where the store should be")
    result = rows_of("-o", "robust_store=blocked")["test_claim"]["result"]
    assert result["verdict"] == "passed"
    assert any("Expected to read" in note and "blocked" in note for note in result["notes"])


def test_what_cannot_be_told_apart_is_not_remembered_and_says_why(write, rows_of) -> None:
    write(
        test_a="""
        class Counted:
            def __init__(self, model):
                self.model = model
                self.scales = (1.0 for _ in iter(int, 1))

            def __call__(self, x):
                return self.model(x) * next(self.scales)

        def test_claim(robust_model, robust_data):
            claim(Counted(robust_model), robust_data, 0.1, 0.5)
        """
    )
    for _ in range(2):
        result = rows_of()["test_claim"]["result"]
        assert result["cached"] == ""
        assert any(note.startswith("not remembered: ") for note in result["notes"])


def test_a_model_that_reads_the_environment_is_remembered_with_its_values(write, rows_of, monkeypatch) -> None:
    write(
        test_a="""
        import os

        class Scaled:
            def __init__(self, model):
                self.model = model

            def __call__(self, x):
                return self.model(x) * float(os.environ.get("SCALE", "1"))

        def test_claim(robust_model, robust_data):
            claim(Scaled(robust_model), robust_data, 0.1, 0.5)
        """
    )
    cached = [bool(rows_of()["test_claim"]["result"]["cached"]) for _ in range(2)]
    monkeypatch.setenv("SCALE", "-1")
    turned = rows_of()["test_claim"]["result"]
    assert (cached, turned["cached"], turned["verdict"]) == ([False, True], "", "failed")


def test_results_are_kept_one_file_each(write, run, project) -> None:
    write(test_a=PLAIN)
    run("--robust")
    (file,) = (project.path / ".robustest" / "results").rglob("*.json")
    record = json.loads(file.read_text())["record"]
    assert record["test"] == "test_a.py::test_claim"
    assert record["result"]["verdict"] == "passed"
    run("--robust")
    assert list((project.path / ".robustest" / "results").rglob("*.json")) == [file]


@pytest.mark.slow
def test_workers_share_one_store(write, project) -> None:
    pytest.importorskip("xdist")
    write(**{f"test_{name}": PLAIN for name in "abcd"})

    def rows() -> list[dict]:
        project.runpytest_subprocess("--robust", "--robust-json=out.json", "-n", "2", "-o", "robust_recheck=0")
        return json.loads((project.path / "out.json").read_text())["results"]

    first, second = rows(), rows()
    assert len(first) == len(second) == 4
    assert all(row["result"]["cached"] for row in second)
    assert Path(project.path / ".robustest" / "chunks").is_dir()
