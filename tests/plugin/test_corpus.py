"""Counterexamples found are kept, replayed first on the next model, and never vouch for one."""

from __future__ import annotations

import json
import sys

import pytest

TEST = """
    def test_claim(robust_model, robust_data):
        claim(robust_model, robust_data, {eps}, {at_least})
"""


@pytest.fixture
def fine_tune(project):
    """Another model with the same boundary: other weights, the same answers."""

    def _tune(weight: str) -> None:
        toy = project.path / "toy.py"
        source = toy.read_text()
        toy.write_text(source.replace("torch.tensor(10.0)", f"torch.tensor({weight})"))
        sys.modules.pop("toy", None)  # the next run in this process imports the changed module

    return _tune


def test_after_a_fine_tune_known_points_break_with_one_pass_each(write, rows_of, fine_tune) -> None:
    write(test_a=TEST.format(eps=0.1, at_least=0.5))  # half of the samples break
    first = rows_of()["test_claim"]["result"]
    assert (first["verdict"], first["replayed"]) == ("passed", 0)
    fine_tune("11.000")
    second = rows_of()["test_claim"]["result"]
    assert (second["verdict"], second["replayed"], second["cached"]) == ("passed", 16, "")
    # Backward: forward, those that are left are asked whether their scores say more than labels, as they are so alike.
    assert second["cost"]["backward"] < first["cost"]["backward"]
    assert second["outcomes"] == first["outcomes"]


def test_the_report_counts_what_was_replayed(write, run, section, fine_tune) -> None:
    write(test_a=TEST.format(eps=0.1, at_least=0.5))
    run("--robust")
    fine_tune("11.000")
    lines = section(run("--robust"))
    assert "replayed: 16 samples were decided by counterexamples of earlier runs" in lines


def test_known_points_alone_can_refute_a_claim_before_any_search(write, rows_of, fine_tune) -> None:
    write(test_a=TEST.format(eps=0.1, at_least=0.6))
    assert rows_of()["test_claim"]["result"]["verdict"] == "failed"
    fine_tune("11.000")
    result = rows_of()["test_claim"]["result"]
    assert result["rule"] == "certain: 16 of 32 samples are broken by replayed counterexamples"
    assert (result["verdict"], result["estimate"], result["interval"]) == ("failed", None, [0.0, 0.5])
    assert (result["replayed"], result["n"], result["outcomes"].count(None)) == (16, 16, 16)
    assert result["cost"]["backward"] <= 3 * 200  # none but to make the three shown smaller


def test_what_lies_outside_a_smaller_radius_is_not_replayed(write, rows_of, fine_tune) -> None:
    write(test_a=TEST.format(eps=0.3, at_least=0.01))  # sizes of 0.06 and 0.25, and larger where the attack went on
    rows_of("--robust-exact")
    fine_tune("11.000")
    write(test_a=TEST.format(eps=0.05, at_least=0.01))
    result = rows_of("--robust-exact")["test_claim"]["result"]
    assert (result["replayed"], result["estimate"]) == (0, 1.0)


def test_replay_only_fails_what_is_refuted_and_skips_the_rest(write, run, fine_tune) -> None:
    write(test_a=TEST.format(eps=0.1, at_least=0.6), test_b=TEST.format(eps=0.1, at_least=0.5))
    run("--robust").assert_outcomes(failed=1, passed=1)
    fine_tune("11.000")
    result = run("--robust", "--robust-replay-only", "-rs")
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines(["*replayed only: 16 known counterexamples still break; nothing was searched for*"])


def test_replay_only_skips_what_fixtures_of_many_tests_would_search_for(write, run) -> None:
    write(
        test_a="""
        @pytest.fixture(scope="module")
        def found(robust_model, robust_data): return measure_robust_accuracy(robust_model, robust_data, Linf(0.1))

        @pytest.mark.robust
        @pytest.mark.parametrize("k", [1, 2])
        def test_it(found, k): assert found.estimate > 0.4
        """
    )
    result = run("--robust", "--robust-replay-only", "-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*replayed only: 0 known counterexamples still break; nothing was searched for*"])


def test_replay_only_without_anything_known_skips(write, run) -> None:
    write(test_a=TEST.format(eps=0.1, at_least=0.6))
    run("--robust", "--robust-replay-only").assert_outcomes(skipped=1)


def test_the_corpus_may_live_where_it_can_be_committed(write, run, project) -> None:
    write(test_a=TEST.format(eps=0.1, at_least=0.6))
    run("--robust", "--robust-corpus=known")
    assert list((project.path / "known").rglob("*.safetensors"))
    assert not (project.path / ".robustest" / "corpus").exists()


def test_the_corpus_stays_below_its_limit(write, run, project) -> None:
    write(test_a=TEST.format(eps=0.1, at_least=0.6))
    run("--robust", "--robust-corpus=known", "-o", "robust_corpus_max_mb=0.01")
    size = sum(file.stat().st_size for file in (project.path / "known").rglob("*") if file.is_file())
    assert 0 < size <= 10_000


def test_shrunk_counterexamples_are_shown(write, rows_of) -> None:
    """A constant image at distance d from the boundary needs at least d in every pixel on average."""
    write(test_a=TEST.format(eps=0.4, at_least=0.6))
    result = rows_of()["test_claim"]["result"]
    assert len(result["counterexamples"]) == 3
    for shown in result["counterexamples"]:
        assert shown["pixels"] in range(1, 17)
        assert any(d <= shown["size"] <= 1.1 * d for d in (0.06, 0.25))


SEVERAL = """
    def test_second_is_refuted(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, 0.5)
        assert_consistency(robust_model, robust_data, "brightness", severity=1, max_flip_rate=0.5)
        claim(robust_model, robust_data, 0.1, 0.6)

    def test_none_is_refuted(robust_model, robust_data):
        result = claim(robust_model, robust_data, 0.1, 0.5)
        assert result.verdict is Verdict.INCONCLUSIVE and result.estimate is None

    def test_goes_on_without_numbers(robust_model, robust_data):
        assert claim(robust_model, robust_data, 0.1, 0.5).details["clean_accuracy"] == 1

    def test_swallows(robust_model, robust_data):
        try:
            measure_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.5)
        except Exception:
            pass

    def test_records_what_was_made_elsewhere(robust):
        from made import made
        robust.record(made())

    def test_breaks(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, 0.5)
        claim(robust_model, robust_data, -1, 0.5)
"""


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_a_replay_asks_every_claim_and_nothing_reads_as_passed(project, write, run, workers) -> None:
    """The model is the one that was measured: all of its chunks are remembered, and none is taken for an answer."""
    write(test_a=SEVERAL)
    run("--robust", "--robust-exact")
    result = run("--robust", "--robust-replay-only", "--robust-json=r.json", "-rs", *workers)
    out, content = result.stdout.str(), json.loads((project.path / "r.json").read_text(encoding="utf-8"))
    rows = [row for row in content["results"] if row["result"]]
    assert {(row["test"].rpartition("::")[2], row["result"]["verdict"]) for row in rows} == {
        ("test_second_is_refuted", "failed"),
        ("test_records_what_was_made_elsewhere", "inconclusive"),
    }
    assert " passed" not in out.splitlines()[-1]
    assert "1 failed, 4 skipped, 1 error" in out.splitlines()[-1]
    assert "16 known counterexamples still break" in out
    assert "then the test raised KeyError: 'clean_accuracy'" in out
    assert result.ret == 1
