"""Mean scores no worse than a committed baseline, whose scores are the same to the bit in every shard."""

from __future__ import annotations

import json

import pytest

TEST = """
    from robustest import Regression, assert_robust_score

    def near(model, name, **claim):
        from toy import answers
        task = Regression(0.5, scale=6.0)
        assert_robust_score(model(), answers(), Linf(0.1), task=task, attack="fgsm", seed=len(name), **claim)
"""
CASES = """
    def test_a(robust_baseline):
        from toy import Contrast
        near(Contrast, "a", no_worse_than=robust_baseline, {more})

    def test_b(robust_baseline):
        from toy import Contrast
        near(Contrast, "bb", at_least=0.1, no_worse_than=robust_baseline, {more})
"""
TOY = """

class Contrast(Brightness):  # says how dark and how bright an image is
    def forward(self, x):
        z = self.scale * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-z, z], 1)

def answers():  # what it ought to say of images: what it says without a shift, and a little more of some
    x, _ = data(times=20)
    x[:, 0, -1, :3] = x[:, 0, -1, 3:]  # without marks
    z = 10.0 * (x.flatten(1).mean(1) - 0.5) + 0.02 * torch.arange(len(x))
    return x, torch.stack([-z, z], 1)
"""
UPDATE = ("--robust", "--robust-update-baseline")


@pytest.fixture
def scored(project, write):
    """The tests, with more keywords; `shift` moves the model's answers by so much."""
    import sys

    toy = (project.path / "toy.py").read_text() + TOY

    def _scored(more: str = "", shift: float = 0.0) -> None:
        (project.path / "toy.py").write_text(toy.replace("return torch.stack([-z, z], 1)", "SHIFTED", 1))
        text = (project.path / "toy.py").read_text()
        text = text.replace("SHIFTED", f"return torch.stack([-z, z], 1) + {shift:.9f}", 1)
        (project.path / "toy.py").write_text(text)
        sys.modules.pop("toy", None)
        write(test_score=TEST + CASES.format(more=more))

    return _scored


def entries(project):
    return json.loads((project.path / "robust-baseline.json").read_text())["entries"]


def test_every_sample_has_the_same_score_in_whatever_shard(scored, project, run) -> None:
    scored()
    run(*UPDATE).assert_outcomes(passed=2)
    whole = entries(project)
    assert len(whole) == 2
    for shard in ("1/2", "2/2"):
        (project.path / "robust-baseline.json").unlink()
        run(*UPDATE, f"--robust-shard={shard}", "--robust-no-cache").assert_outcomes(passed=1, deselected=1)
        ((key, entry),) = entries(project).items()
        assert (entry["scores"], entry["outcomes"]) == (whole[key]["scores"], whole[key]["outcomes"])


def test_the_same_scores_are_no_worse_and_much_lower_ones_are(scored, run, rows_of) -> None:
    scored()
    run(*UPDATE).assert_outcomes(passed=2)
    row = rows_of("--robust-no-cache")["test_a"]["result"]
    assert row["verdict"] == "passed"
    assert row["rule"].startswith("no worse: the mean score fell by 0.0000 on this set")
    assert row["details"]["baseline"]["accuracy"] == pytest.approx(row["estimate"])
    scored(shift=1.0)
    result = run("--robust")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*baseline*mean score 0.704; 80 lost, 0 gained: drop 0.1667 *, tolerance 0 *"])
    scored(shift=1.0, more="tolerance=0.5")
    run("--robust").assert_outcomes(passed=2)


def test_a_tolerance_as_wide_as_the_mean_is_refused(scored, run) -> None:
    scored(more="tolerance=0.99")
    run(*UPDATE)
    run("--robust").stdout.fnmatch_lines(["*less than the mean score of the baseline*"])


def test_outcomes_are_not_compared_with_scores(scored, project, run) -> None:
    scored()
    run(*UPDATE)
    file = project.path / "robust-baseline.json"
    content = json.loads(file.read_text())
    for entry in content["entries"].values():
        del entry["scores"]
    file.write_text(json.dumps(content))
    run("--robust").stdout.fnmatch_lines(["*StoreError: Expected scores of this claim in the baseline*"])
