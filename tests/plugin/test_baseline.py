"""No worse than a committed baseline: sample by sample, on the same data, or not at all."""

from __future__ import annotations

import json

import pytest

TEST = """
    def test_claim(robust_model, robust_baseline):
        from toy import data
        assert_robust_accuracy(
            robust_model, data(times=50), Linf(0.1), no_worse_than=robust_baseline, attack="fgsm", {more}
        )
"""
UPDATE = ("--robust", "--robust-update-baseline")


@pytest.fixture
def shift_boundary(project):
    """A model whose boundary lies elsewhere: brightness `at` in place of 0.5."""
    import sys

    original = (project.path / "toy.py").read_text()

    def _shift(at: float) -> None:
        changed = original.replace("mean(1, keepdim=True) - 0.5", f"mean(1, keepdim=True) - {at:.9f}")
        (project.path / "toy.py").write_text(changed)
        sys.modules.pop("toy", None)

    return _shift


def test_a_missing_baseline_fails_with_the_command_that_makes_it(write, run, project) -> None:
    write(test_a=TEST.format(more=""))
    result = run("--robust")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*StoreError: Expected a baseline at *robust-baseline.json but there is none*"])
    told = " ".join(result.stdout.str().split())  # lines end where the terminal does
    assert "test_a.py::test_claim --robust-update-baseline" in told
    assert not (project.path / "robust-baseline.json").exists()


def test_the_same_model_is_no_worse(write, run, project, rows_of) -> None:
    write(test_a=TEST.format(more=""))
    run(*UPDATE).assert_outcomes(passed=1)
    content = json.loads((project.path / "robust-baseline.json").read_text())
    (entry,) = content["entries"].values()
    assert entry["n"] == 200
    assert rows_of("--robust-no-cache")["test_claim"]["result"]["rule"].startswith(
        "no worse: fell by 0.0000 on this set, tolerance 0 (0 lost, 0 gained of 200)"
    )


def test_lost_samples_beyond_chance_fail_and_are_counted(write, run, shift_boundary, rows_of) -> None:
    write(test_a=TEST.format(more=""))
    shift_boundary(0.6)  # 0.25, 0.44 and 0.75 hold
    run(*UPDATE)
    shift_boundary(0.5)  # 0.44 lies too near
    result = rows_of()["test_claim"]["result"]
    assert result["verdict"] == "failed"
    assert (result["details"]["baseline"]["lost"], result["details"]["baseline"]["gained"]) == (50, 0)
    assert result["rule"].startswith("worse: fell by 0.2500 on this set, tolerance 0 (50 lost, 0 gained of 200)")


def test_what_is_within_the_tolerance_is_no_matter(write, run, shift_boundary) -> None:
    write(test_a=TEST.format(more="tolerance=0.3"))
    shift_boundary(0.6)
    run(*UPDATE)
    shift_boundary(0.5)
    run("--robust").assert_outcomes(passed=1)


def test_a_threshold_holds_beside_the_baseline(write, run) -> None:
    write(test_a=TEST.format(more="at_least=0.9"))
    run(*UPDATE).assert_outcomes(failed=1)  # half of the samples hold
    run("--robust").assert_outcomes(failed=1)


def test_an_improvement_is_told(write, run, shift_boundary, rows_of) -> None:
    write(test_a=TEST.format(more=""))
    run(*UPDATE)
    shift_boundary(0.6)
    result = rows_of()["test_claim"]["result"]
    assert result["verdict"] == "passed"
    assert any("better than the baseline" in note and "--robust-update-baseline" in note for note in result["notes"])


def test_other_samples_cannot_be_paired(write, run, project) -> None:
    write(test_a=TEST.format(more=""))
    run(*UPDATE)
    write(test_a=TEST.format(more="").replace("data(times=50)", "data(times=51)"))
    result = run("--robust")
    result.stdout.fnmatch_lines(["*StoreError: Expected the 200 samples that the baseline*was made of but got 204*"])
    write(test_a=TEST.format(more="").replace("data(times=50)", "data((0.25, 0.43, 0.56, 0.75), times=50)"))
    result = run("--robust")
    result.stdout.fnmatch_lines(["*StoreError: Expected the samples that the baseline*but these are different ones*"])


def test_two_models_in_one_test_do_not_share_an_entry(write, run, project) -> None:
    """The second one's outcomes were those that the first was compared with: it might become as bad."""
    text = """
        def test_claims(robust_model, robust_baseline):
            from toy import data
            for model in {models}:
                assert_accuracy(model, data(), no_worse_than=robust_baseline)
    """
    write(test_a=text.format(models="(robust_model, robust_model)"))
    run(*UPDATE).assert_outcomes(passed=1)
    other = text.format(models="(robust_model, lambda x: -robust_model(x))")
    write(test_a=other)
    result = run(*UPDATE)
    result.assert_outcomes(errors=1)
    assert "Expected one claim of this name in the test" in " ".join(result.stdout.str().split())


def test_another_seed_compares_the_same_samples(write, run) -> None:
    write(test_a=TEST.format(more=""))
    run(*UPDATE).assert_outcomes(passed=1)
    run("--robust", "--robust-seed=5").assert_outcomes(passed=1)


def test_no_update_in_ci(write, run, project) -> None:
    write(test_a=TEST.format(more=""))
    result = run(*UPDATE, ci="true")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not (project.path / "robust-baseline.json").exists()


@pytest.mark.slow
def test_workers_update_one_file(write, project) -> None:
    pytest.importorskip("xdist")
    write(**{f"test_{name}": TEST.format(more="") for name in "abc"})
    project.runpytest_subprocess(*UPDATE, "-n", "2").assert_outcomes(passed=3)
    assert len(json.loads((project.path / "robust-baseline.json").read_text())["entries"]) == 3


def test_a_damaged_baseline_is_an_error(write, run, project) -> None:
    write(test_a=TEST.format(more=""))
    run(*UPDATE)
    (project.path / "robust-baseline.json").write_text("{")
    result = run("--robust")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*StoreError*robust-baseline.json*"])
