"""--robust-seed: the command line beats the marker, that the profile, that the ini."""

from __future__ import annotations

import pytest

SEEDS = """
    [tool.pytest.ini_options]
    robust_seed = 2

    [tool.robustest.profiles.three]
    seed = 3
"""

NOISE = """
    def test_noise(robust_model):
        from toy import data
        assert_shift_accuracy(robust_model, data(size=1), "gaussian_noise", severity=5, at_least=0.01)
"""


@pytest.fixture
def seeded(project, write):
    """A project with a seed in its ini and another in a profile, and a test with the marker given."""

    def _seeded(marker: str) -> None:
        project.makepyprojecttoml(SEEDS)
        write(test_a=f"    {marker}{NOISE}")

    return _seeded


def test_without_any_it_is_zero(write, rows_of):
    write(test_a=NOISE)
    assert rows_of()["test_noise"]["result"]["seed"] == 0


@pytest.mark.parametrize(
    ("marker", "args", "seed"),
    [
        ("", [], 2),
        ("", ["--robust-profile=three"], 3),
        ("@pytest.mark.robust(seed=4)", [], 4),
        ("@pytest.mark.robust(seed=4)", ["--robust-profile=three"], 4),
        ("@pytest.mark.robust(seed=4)", ["--robust-profile=three", "--robust-seed=5"], 5),
        ("@pytest.mark.robust(seed=4)", ["--robust-seed=0"], 0),
        ("", ["--robust-profile=three", "--robust-seed=-5"], -5),
    ],
)
def test_the_nearer_wins(seeded, rows_of, marker, args, seed):
    seeded(marker)
    row = rows_of(*args)["test_noise"]
    assert row["result"]["seed"] == seed
    assert f"--robust-seed={seed} " in row["replay"]


def test_it_decides_the_draws(write, rows_of):
    write(test_a=NOISE)
    first, second, other = (rows_of(f"--robust-seed={seed}")["test_noise"]["result"]["outcomes"] for seed in (1, 1, 2))
    assert first == second
    assert first != other
    assert False in first


@pytest.mark.parametrize("value", ["x", "1.5", ""])
def test_what_is_no_whole_number_is_a_usage_error(write, run, value):
    write(test_a=NOISE)
    result = run("--robust", f"--robust-seed={value}")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--robust-seed: invalid int value:*"])
