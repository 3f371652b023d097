"""A verdict depends on its claim alone: not on which tests were selected, nor on what ran before, nor on where."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from typing import Any

import pytest

COUNTED = """
import os
import torch
from torch import nn

class Threshold(nn.Module):
    '''Calls an image bright where its mean exceeds AT.'''

    def __init__(self):
        super().__init__()
        self.at = nn.Parameter(torch.tensor(float(os.environ.get("AT", "0.5"))))

    def forward(self, x):
        z = 10 * (x.flatten(1).mean(1) - self.at)
        return torch.stack([-z, z], 1)

def ramp(n):
    '''n images of rising brightness; a model whose threshold moves by k / n loses k of them.'''
    value = (torch.arange(n) + 0.5) / n
    return value.view(-1, 1, 1, 1), (value > 0.5).long()

def mixed(n, wrong, seed):
    '''n images of which so many are labelled wrongly, in some order.'''
    value = torch.tensor([0.25, 0.75]).repeat(n)[:n]
    label = (value > 0.5).long()
    at = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:wrong]
    label[at] = 1 - label[at]
    return value.view(-1, 1, 1, 1), label
"""

LOST = """
    def test_claim(robust_baseline):
        from counted import Threshold, ramp
        assert_robust_accuracy(Threshold(), ramp(1000), Linf(1e-4), attack="fgsm", no_worse_than=robust_baseline)
"""


@pytest.fixture(autouse=True)
def counted(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makepyfile(counted=COUNTED)
    monkeypatch.delenv("AT", raising=False)


def test_a_comparison_with_a_baseline_fails_alike_beside_a_hundred_other_tests(
    write, run, rows_of, monkeypatch
) -> None:
    """13 lost, none gained: p = .00012, far below alpha = .01 and above a hundredth of it."""
    write(test_a=LOST, test_b="\n".join(f"    def test_{i}(robust): claimed()" for i in range(100)))
    run("--robust", "--robust-update-baseline", "test_a.py").assert_outcomes(passed=1)
    monkeypatch.setenv("AT", "0.513")
    alone, beside = (rows_of(*where)["test_claim"]["result"] for where in (["test_a.py"], []))
    assert (alone["details"]["baseline"]["lost"], alone["details"]["baseline"]["gained"]) == (13, 0)
    assert alone["verdict"] == "failed"
    assert beside["verdict"] == "failed"
    assert beside["rule"] == alone["rule"]


SUITE = """
    CLAIMS = [
        # samples, labelled wrongly, claimed: just below, far below, just above and far above what is there
        *[(300, 60, 0.78 + 0.01 * i) for i in range(4)],
        *[(300, 60, 0.60), (300, 60, 0.95), (600, 250, 0.50), (600, 250, 0.70)],
    ]

    @pytest.mark.parametrize("number", range(8))
    def test_share(number, robust_baseline):
        from counted import Threshold, mixed
        n, wrong, share = CLAIMS[number]
        data = mixed(n, wrong, number)
        for least in (share, share - 0.03):  # the second is asked where the first has passed
            assert_robust_accuracy(Threshold(), data, Linf(1e-4), attack="fgsm", at_least=least)

    @pytest.mark.parametrize("n", [400, 700, 1000])
    def test_lost(n, robust_baseline):
        from counted import Threshold, ramp
        assert_robust_accuracy(Threshold(), ramp(n), Linf(1e-4), attack="fgsm", no_worse_than=robust_baseline)

    @pytest.mark.robust(scope="population", family_size=7)
    def test_population(shared):
        from counted import Threshold, mixed
        assert shared.n
        assert_robust_accuracy(Threshold(), mixed(600, 60, 3), Linf(1e-4), attack="fgsm", at_least=0.93)

    @pytest.mark.robust(seed=5)
    def test_shares_a_fixture(shared, robust):
        robust.record(shared)
"""

SHARED = """
@pytest.fixture(scope="session")
def shared():
    from counted import Threshold, mixed
    from robustest import Linf
    from robustest.measure import measure_robust_accuracy
    return measure_robust_accuracy(Threshold(), mixed(400, 130, 1), Linf(1e-4), attack="fgsm", at_least=0.75)
"""


@pytest.fixture
def told(run, project, read_json) -> Callable[..., dict[str, list[Any]]]:
    """What a run says of each test: of every claim in turn its verdict, samples, interval, rule and seed."""

    def _told(*args: str) -> dict[str, list[Any]]:
        shutil.rmtree(project.path / ".robustest", ignore_errors=True)  # nothing is remembered
        run(*({"--robust"} - set(args)), "--robust-json=out.json", *args)
        found: dict[str, list[Any]] = {}
        for row in read_json()["results"]:
            result = row["result"]
            said = [result[name] for name in ("verdict", "n", "interval", "rule", "seed", "alpha", "at_alpha")]
            found.setdefault(row["test"], []).append([*said, row["replay"]])
        return found

    return _told


@pytest.fixture
def suite(project, write, run, monkeypatch) -> None:
    """The tests above, twenty about something else, and a baseline that the model has fallen behind since."""
    with (project.path / "conftest.py").open("a") as conftest:
        conftest.write(SHARED)
    write(test_suite=SUITE, test_other="\n".join(f"    def test_{i}(robust): claimed()" for i in range(20)))
    run("--robust", "--robust-update-baseline", "test_suite.py")
    monkeypatch.setenv("AT", "0.513")


@pytest.mark.slow
def test_every_choice_of_tests_and_the_replay_of_each_say_the_same(suite, told) -> None:
    whole = told()
    assert len(whole) == 33
    assert {said[0] for claims in whole.values() for said in claims} == {"passed", "failed"}
    assert len({said[3].split(" after ")[0] for claims in whole.values() for said in claims}) > 3
    shards = [told(f"--robust-shard={index}/3") for index in (1, 2, 3)]
    joined = {test: claims for part in shards for test, claims in part.items()}
    assert joined == whole
    reordered = told("-k", "fixture or population", "test_suite.py")
    assert reordered == {test: whole[test] for test in reordered}
    assert len(reordered) == 2
    for test, claims in whole.items():
        name = re.sub(r".*::", "", test)
        if name in {"test_share[0]", "test_share[6]", "test_lost[1000]", "test_shares_a_fixture"}:
            assert told(test) == {test: claims}
            program, *command = shlex.split(claims[0][-1])
            assert program == "pytest"
            again = told(*command)
            if name == "test_shares_a_fixture":  # what it shares has the run's seed, which its own now is
                continue
            assert again == {test: claims}


@pytest.mark.slow
def test_workers_say_the_same(suite, run_apart, told, read_json) -> None:
    pytest.importorskip("xdist")
    whole = told()
    run_apart("--robust", "--robust-json=out.json", "-n", "2", "--robust-no-cache")
    there: dict[str, list[Any]] = {}
    for row in read_json()["results"]:
        result = row["result"]
        there.setdefault(row["test"], []).append([result[name] for name in ("verdict", "n", "interval", "rule")])
    assert there == {test: [said[:4] for said in claims] for test, claims in whole.items()}


def test_a_replay_of_a_test_in_a_folder_finds_the_root_that_the_run_had(
    project, write, run, read_json, monkeypatch
) -> None:
    """Without a configuration file the root is what all tests named have in common; baselines lie there."""
    for name in ("a", "b"):
        (project.path / name).mkdir()
    write(**{"a/test_one": LOST, "b/test_two": "    def test_other(robust): claimed()"})
    (project.path / "a" / "conftest.py").write_text(
        "import sys; sys.path.insert(0, str(__import__('pathlib').Path(__file__).parent.parent))"
    )
    run("--robust", "--robust-update-baseline", "a", "b")
    assert (project.path / "robust-baseline.json").is_file()
    monkeypatch.setenv("AT", "0.513")
    first = run("--robust", "--robust-json=out.json", "a", "b")
    row, _ = read_json()["results"]
    assert row["result"]["verdict"] == "failed"
    assert first.ret == 1
    _, *command = shlex.split(row["replay"])
    again = run(*command, "--robust-json=out.json")
    again.assert_outcomes(failed=1)
    (same,) = read_json()["results"]
    assert (same["test"], same["result"]["rule"]) == (row["test"], row["result"]["rule"])
