"""robustest compare: two runs, claim by claim."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from robustest import Settings
from robustest.account import Ending
from robustest.cli.compare import by_claim
from robustest.results import NOT_PAIRED, Fact, Pairing, Verdict

Make = Callable[..., Any]
TEST = "test_a.py::test_one"
RAISED: dict[str, Any] = {"threshold": 0.95}


def outcomes(both: int = 0, lost: int = 0, gained: int = 0, neither: int = 0) -> tuple[list[bool], list[bool]]:
    before = [True] * both + [True] * lost + [False] * gained + [False] * neither
    after = [True] * both + [False] * lost + [True] * gained + [False] * neither
    return before, after


@pytest.fixture
def pair(made: Make, row: Make, run_file: Make) -> Callable[..., tuple[Path, Path]]:
    """Two files, each of one claim: `pair(before, after, {changes of the second})`."""

    def write(before: list[bool], after: list[bool], changes: dict[str, Any] | None = None) -> tuple[Path, Path]:
        first, second = made(before, 0.1), made(after, 0.1)
        return (
            run_file("a.json", [row(TEST, first)]),
            run_file("b.json", [row(TEST, second.but(**(changes or {})))]),
        )

    return write


def told(done: Any) -> str:
    (line,) = [line for line in done.lines if line.startswith(("    paired", "    not "))]
    return str(line.strip())


def test_samples_are_paired_and_the_exact_test_is_told(pair: Make, robustest: Make) -> None:
    done = robustest("compare", *pair(*outcomes(both=80, lost=12, gained=2, neither=6)))
    worse = binomtest(12, 14, alternative="greater").pvalue
    better = binomtest(2, 14, alternative="greater").pvalue
    assert "paired: 12 lost, 2 gained of 100" in told(done)
    assert "drop of the share that holds 0.1000" in told(done)
    assert f"McNemar p = {worse:.2g} worse, {better:.2g} better" in told(done)
    assert worse < 0.01
    assert told(done).endswith("WORSE")


def test_estimates_and_intervals_stand_side_by_side(pair: Make, robustest: Make) -> None:
    lines = robustest("compare", *pair(*outcomes(both=80, lost=12, gained=2, neither=6))).lines
    place = lines.index(f"{TEST}  robust accuracy under Linf(eps=0.1), fast")
    assert lines[place + 1].startswith("    A  accuracy 0.920 [")
    assert lines[place + 2].startswith("    B  accuracy 0.820 [")
    assert all(line.endswith("required >= 0.10; n=100  passed") for line in lines[place + 1 : place + 3])


@pytest.mark.parametrize(
    ("changed", "flag"),
    [
        ({"lost": 12, "gained": 2}, "WORSE"),
        ({"lost": 2, "gained": 12}, "BETTER"),
        ({"lost": 7, "gained": 5}, "unchanged"),
        ({}, "unchanged"),
    ],
)
def test_what_changed_is_flagged(pair: Make, robustest: Make, changed: dict[str, int], flag: str) -> None:
    done = robustest("compare", *pair(*outcomes(both=80, neither=6, **changed)))
    assert told(done).endswith(flag)
    assert done.code == 0, "comparing fails nothing unless it is asked to"


@pytest.mark.parametrize(("changed", "code"), [({"lost": 12}, 1), ({"gained": 12}, 0), ({}, 0)])
def test_fail_on_worse_fails_on_worse(pair: Make, robustest: Make, changed: dict[str, int], code: int) -> None:
    assert robustest("compare", *pair(*outcomes(both=80, **changed)), "--fail-on-worse").code == code


def test_alpha_is_the_second_runs_or_that_of_the_command(
    made: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    before, after = outcomes(both=80, lost=5)  # p = 1 / 32
    run_file("a.json", [row(TEST, made(before))])
    run_file("b.json", [row(TEST, made(after))], settings=Settings(alpha=0.04))
    run_file("c.json", [row(TEST, made(after))], settings=Settings(alpha=0.03))
    assert told(robustest("compare", "a.json", "b.json")).endswith("WORSE")
    assert told(robustest("compare", "a.json", "c.json")).endswith("unchanged")
    assert told(robustest("compare", "a.json", "b.json", "--alpha", "0.03")).endswith("unchanged")


def test_among_many_claims_chance_is_allowed_for(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    small, large = outcomes(both=80, lost=7), outcomes(both=80, lost=30)  # p = 1 / 128 and 1e-9
    same = outcomes(both=80)
    rows = [[row(f"t::test_{n}", made(kind[side])) for n, kind in enumerate((small, large, same))] for side in (0, 1)]
    run_file("a.json", rows[0])
    run_file("b.json", rows[1])
    lines = [line for line in robustest("compare", "a.json", "b.json").lines if "paired:" in line]
    assert [line.rpartition("; ")[2] for line in lines] == ["unchanged", "WORSE", "unchanged"]
    run_file("a.json", rows[0][:1])
    run_file("b.json", rows[1][:1])
    assert told(robustest("compare", "a.json", "b.json")).endswith("WORSE"), "on its own it is no chance"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"data": "e" * 64}, "the samples differ"),
        ({"data": "", "n": 50, "outcomes": (True,) * 50 + (None,) * 50}, "B evaluated 50 of 100 samples"),
        ({"n": 99, "outcomes": (None,) + (True,) * 99}, "different samples were evaluated"),
    ],
)
def test_what_cannot_be_paired_says_why(pair: Make, robustest: Make, changes: dict[str, Any], why: str) -> None:
    done = robustest("compare", *pair([True] * 100, [False] * 50 + [True] * 50, changes))
    assert told(done).startswith("not paired: ")
    assert why in told(done)
    assert "McNemar" not in done.out


def test_an_early_verdict_shows_its_interval_and_is_not_paired(
    early: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    run_file("a.json", [row(TEST, early(64, 1000))])
    run_file("b.json", [row(TEST, early(128, 1000))])
    done = robustest("compare", "a.json", "b.json")
    assert "A evaluated 64 of 1000 samples" in told(done)
    assert "accuracy in [" in done.out


@pytest.mark.parametrize(
    ("verdicts", "flag", "code"),
    [(("passed", "failed"), "WORSE", 1), (("failed", "passed"), "BETTER", 0), (("passed", "passed"), "paired", 0)],
)
def test_without_pairs_the_verdicts_speak(
    early: Make, row: Make, run_file: Make, robustest: Make, *, verdicts: tuple[str, str], flag: str, code: int
) -> None:
    for name, verdict in zip("ab", verdicts, strict=True):
        run_file(f"{name}.json", [row(TEST, early(64, 1000, verdict))])
    done = robustest("compare", "a.json", "b.json", "--fail-on-worse")
    assert done.code == code
    assert flag in told(done)


def test_verdicts_on_other_thresholds_do_not_speak(early: Make, row: Make, run_file: Make, robustest: Make) -> None:
    run_file("a.json", [row(TEST, early(64, 1000, "passed"))])
    run_file("b.json", [row(TEST, early(64, 1000, "failed", threshold=0.9))])
    assert robustest("compare", "a.json", "b.json", "--fail-on-worse").code == 0


def test_a_smallest_perturbation_is_paired_on_the_same_threshold_alone(
    made: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    result = made([True] * 50, 0.5, scope="set", statement="median L2 perturbation, ddn")
    first = result.but(kind="min_perturbation", threshold=0.5, pairing=Pairing(under="the threshold 0.5"))
    changes = {"threshold": 0.6, "pairing": Pairing(under="the threshold 0.6")}
    run_file("a.json", [row(TEST, first)])
    run_file("b.json", [row(TEST, first.but(**changes))])
    assert "its conditions differ: the threshold" in told(robustest("compare", "a.json", "b.json"))
    assert told(robustest("compare", "a.json", "a.json")).startswith("paired")


def test_a_claim_is_the_same_whatever_its_threshold(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    run_file("a.json", [row(TEST, made([True] * 20, 0.5))])
    run_file("b.json", [row(TEST, made([True] * 20, 0.75))])
    done = robustest("compare", "a.json", "b.json")
    assert told(done).startswith("paired")
    assert "required >= 0.50; n=20  passed" in done.out
    assert "required >= 0.75; n=20  passed" in done.out


def test_the_same_claim_twice_in_a_test_is_two_claims(made: Make, row: Make) -> None:
    rows = [row(TEST, made([True] * n)) for n in (3, 4)]
    assert list(by_claim(rows).values()) == rows


def test_claims_in_one_file_only_are_named(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    run_file("a.json", [row("t::both", made([True])), row("t::old", made([True]))])
    run_file("b.json", [row("t::both", made([True])), row("t::new", made([True]))])
    done = robustest("compare", "a.json", "b.json")
    assert [line for line in done.lines if line.startswith("only in")] == [
        "only in A: t::old  robust_accuracy: robust accuracy under Linf(eps=0.1), fast",
        "only in B: t::new  robust_accuracy: robust accuracy under Linf(eps=0.1), fast",
    ]
    assert done.code == 0
    assert robustest("compare", "a.json", "b.json", "--fail-on-worse").code == 3
    assert robustest("compare", "a.json", "b.json", "--fail-on-worse", "--allow-missing").code == 0


def test_what_could_not_be_measured_now_is_not_let_through(
    made: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    run_file("a.json", [row(TEST, made([True])), row("t::other", made([True]))])
    run_file("b.json", [row(TEST), row("t::other", made([True]))])
    done = robustest("compare", "a.json", "b.json", "--fail-on-worse", "--allow-missing")
    assert done.code == 3
    assert f"only in B: {TEST}  could not measure" in done.out


@pytest.mark.parametrize("verdict", ["failed", "inconclusive"])
@pytest.mark.parametrize("pairing", [None, NOT_PAIRED, Pairing()])
def test_what_passed_and_does_not_now_is_worse_whatever_is_paired(
    pair: Make, robustest: Make, verdict: str, pairing: Pairing | None
) -> None:
    changes = {"verdict": Verdict(verdict), "pairing": pairing}
    done = robustest("compare", *pair([True] * 100, [True] * 100, changes), "--fail-on-worse")
    assert told(done).endswith("WORSE by its verdict")
    assert done.code == 1


def test_groups_are_paired_one_by_one(pair: Make, robustest: Make) -> None:
    """Ten lost in one of two groups, ten gained in the other: as many hold as before."""
    before, after = [True] * 90 + [False] * 10, [False] * 10 + [True] * 90
    groups = Pairing(groups={"first": tuple(range(50)), "second": tuple(range(50, 100))})
    first, second = pair(before, after, {"pairing": groups})
    assert told(robustest("compare", first, second)).startswith("not paired: the groups differ")
    content = json.loads(first.read_text(encoding="utf-8"))
    content["results"][0]["result"]["pairing"] = asdict(groups)
    first.write_text(json.dumps(content), encoding="utf-8")
    done = robustest("compare", first, second, "--fail-on-worse")
    assert "paired: 10 lost, 0 gained of 50 in group 'first'" in told(done)
    assert told(done).endswith("WORSE")
    assert done.code == 1


@pytest.mark.parametrize(
    ("changes", "flag", "code"),
    [
        ({"threshold": 0.95}, "threshold moved", 0),
        ({"scope": "population"}, "threshold moved", 0),
        ({"threshold": 0.05}, "WORSE by its verdict", 1),
        (
            {"threshold": 0.95, "estimate": 0.05, "interval": (0, 1), "counts": None, "pairing": NOT_PAIRED},
            "WORSE by its verdict",
            1,
        ),
        ({"threshold": 0.95, "seed": 7, "data": "e" * 64}, "it is unknown whether the model is worse", 3),
        ({"threshold": 0.95, "seed": 7, "data": "", "estimate": None}, "it is unknown whether the model is worse", 3),
        ({"threshold": 0.95, "data": "", "estimate": None}, "threshold moved by its verdict", 0),
    ],
)
def test_more_may_be_asked_of_a_model_that_is_as_it_was(
    pair: Make, robustest: Make, changes: dict[str, Any], flag: str, code: int
) -> None:
    """Where nothing shows that it is, an exit code of 0 would vouch for it."""
    failed = {"verdict": Verdict.FAILED, **changes}
    done = robustest("compare", *pair([True] * 100, [True] * 100, failed), "--fail-on-worse")
    assert told(done).endswith(flag)
    assert done.code == code


def test_a_smaller_alpha_asks_for_more(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    result = made([True] * 100, scope="population")
    unsure = result.but(verdict=Verdict.INCONCLUSIVE)
    run_file("a.json", [row(TEST, result)], settings=Settings(alpha=0.05))
    run_file("b.json", [row(TEST, unsure)], settings=Settings(alpha=0.01))
    done = robustest("compare", "a.json", "b.json", "--fail-on-worse")
    assert told(done).endswith("threshold moved")
    assert "alpha differs: A 0.05, B 0.01" in done.lines
    assert done.code == 0
    assert robustest("compare", "b.json", "a.json", "--fail-on-worse").code == 0
    run_file("a.json", [row(TEST, result)], settings=Settings(alpha=0.005))
    assert robustest("compare", "a.json", "b.json", "--fail-on-worse").code == 1, "less was asked, and it fell"


def test_a_threshold_taken_back_is_a_claim_that_fell(pair: Make, robustest: Make) -> None:
    changes = {
        "threshold": None,
        "verdict": Verdict.INCONCLUSIVE,
        "statement": "robust accuracy under Linf(eps=0.1), fast",
    }
    assert robustest("compare", *pair([True] * 100, [True] * 100, changes), "--fail-on-worse").code == 1


def test_a_claim_that_passed_and_could_not_be_measured_is_worse(
    made: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    run_file("a.json", [row(TEST, made([True] * 9)), row("t::other", made([True]))])
    run_file("b.json", [row(TEST), row("t::other", made([True]))])
    done = robustest("compare", "a.json", "b.json", "--fail-on-worse")
    assert done.lines[
        done.lines.index("    B  could not measure: ModelError: Expected finite logits but got NaN") + 1
    ] == ("    WORSE")
    assert (done.code, done.lines[-1]) == (3, "2 claims in both: 1 worse, 1 unchanged (alpha = 0.01)")


def test_claims_that_a_test_never_came_to_are_not_let_off(
    made: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    """The first claim of a test fails under a raised threshold, and the second is not asked any more."""
    run_file("a.json", [row(TEST, made([True] * 50)), row(TEST, made([True] * 50, statement="another"))])
    run_file("b.json", [row(TEST, made([True] * 50).but(verdict=Verdict.FAILED, threshold=0.99))])
    assert robustest("compare", "a.json", "b.json", "--fail-on-worse", "--allow-missing").code == 3


def test_what_neither_could_measure_says_so(row: Make, run_file: Make, robustest: Make) -> None:
    run_file("a.json", [row(TEST)])
    done = robustest("compare", "a.json", "a.json", "--fail-on-worse")
    assert done.code == 3
    assert "NOT MEASURED" in done.out
    assert "could not measure: ModelError" in done.out


@pytest.mark.parametrize(
    ("outcome", "before", "code"),
    [
        ("failed", [], 3),
        ("error", [], 3),
        ("unfinished", [], 3),
        ("skipped", [], 0),
        ("skipped", ["skipped"], 0),
        ("failed", ["failed"], 3),
    ],
)
def test_a_test_that_ended_otherwise_than_by_a_claim_speaks_too(
    made: Make, row: Make, run_file: Make, robustest: Make, *, outcome: str, before: list[str], code: int
) -> None:
    """A plain assertion that failed beside a claim that passed, say; a test that was skipped is no regression."""
    endings = {one: [Ending(test="t::plain", phase="call", outcome=one, reason="1 == 2")] for one in (outcome, *before)}
    run_file("a.json", [row(TEST, made([True]))], endings=endings[before[0]] if before else [])
    run_file("b.json", [row(TEST, made([True]))], endings=endings[outcome])
    assert robustest("compare", "a.json", "b.json", "--fail-on-worse").code == code


def test_a_claim_whose_test_is_skipped_now_is_not_let_through(
    made: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    skipped = Ending(test="t::gone", phase="call", outcome="skipped", reason="no time")
    run_file("a.json", [row(TEST, made([True])), row("t::gone", made([True]))])
    run_file("b.json", [row(TEST, made([True]))], endings=[skipped])
    assert robustest("compare", "a.json", "b.json", "--fail-on-worse", "--allow-missing").code == 3


def test_lost_results_are_not_let_through(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    run_file("a.json", [row(TEST, made([True]))])
    run_file("b.json", [row(TEST, made([True]))], lost=["no report came from t::gone"])
    done = robustest("compare", "a.json", "b.json", "--fail-on-worse")
    assert done.code == 3
    assert "LOST: b.json lost results: no report came from t::gone" in done.out


def test_two_runs_with_nothing_in_common_are_not_let_through(run_file: Make, robustest: Make) -> None:
    run_file("a.json", [])
    done = robustest("compare", "a.json", "a.json", "--fail-on-worse")
    assert (done.code, done.lines[-1]) == (3, "no claim is in both runs")


def test_a_missing_file_is_named(run_file: Make, robustest: Make) -> None:
    run_file("a.json", [])
    done = robustest("compare", "a.json", "b.json")
    assert done.code == 3
    assert "b.json" in done.err


def test_a_file_with_an_impossible_alpha_is_refused(run_file: Make, edit: Make, robustest: Make) -> None:
    path = run_file("a.json", [])
    edit(path, settings={**json.loads(path.read_text(encoding="utf-8"))["settings"], "alpha": 7})
    done = robustest("compare", path, path)
    assert done.code == 3
    assert "alpha" in done.err


@pytest.mark.parametrize("alpha", ["0", "0.5", "-1", "much"])
def test_a_wrong_alpha_is_wrong_usage(run_file: Make, robustest: Make, alpha: str) -> None:
    run_file("a.json", [])
    assert robustest("compare", "a.json", "a.json", f"--alpha={alpha}").code == 2


def a_fall(made: Make, clean: float, shifted: float, *, most: float = 0.1, start_data: str = "c" * 64) -> Any:
    """A claim on a fall, of a model that is right on so many of a hundred samples before and after a shift."""
    n, drop = 100, clean - shifted
    start, end = ([at < share * 100 for at in range(n)] for share in (clean, shifted))
    verdict = Verdict.PASSED if drop <= most else Verdict.FAILED
    about = {"quantity": "accuracy drop", "comparison": "<=", "threshold": most, "estimate": drop, "verdict": verdict}
    about |= {"interval": (drop - 0.01, drop + 0.01), "counts": None}
    pairing = Pairing(share=False, start=tuple(start), start_data=start_data)
    return made(end, statement="accuracy lost to noise").but(
        **about, pairing=pairing, start=Fact("clean accuracy", clean)
    )


@pytest.fixture
def falls(made: Make, row: Make, run_file: Make, robustest: Make) -> Callable[..., Any]:
    """Compares two falls, each by its shares of right samples before and after: `falls((1.0, 0.8), (0.7, 0.7))`."""

    def compare(*ends: tuple[float, float]) -> Any:
        files = [run_file(f"{at}.json", [row(TEST, a_fall(made, *shares))]) for at, shares in enumerate(ends)]
        return robustest("compare", *files, "--fail-on-worse")

    return compare


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ((1.0, 0.76), (0.75, 0.70), "WORSE"),  # it fails, and its worse copy passes
        ((1.0, 0.80), (0.75, 0.80), "WORSE"),  # what it lost, it lost at the start alone
        ((1.0, 0.76), (0.98, 0.94), "BETTER"),
        ((1.0, 0.76), (0.98, 0.90), "BETTER"),
        ((1.0, 0.88), (0.97, 0.88), "unchanged"),  # three samples are chance; it passes by what it lost alone
        ((1.0, 0.88), (0.97, 0.89), "unchanged"),  # from 1.0 it would still be .11
        ((1.0, 0.88), (0.97, 0.90), "BETTER"),
        ((1.0, 0.88), (1.0, 0.88), "unchanged"),
    ],
    ids=str,
)
def test_both_ends_of_a_fall_are_paired(
    before: tuple[float, float], after: tuple[float, float], word: str, falls: Callable[..., Any]
) -> None:
    """A model whose clean accuracy fell does not look better by its smaller drop."""
    done = falls(before, after)
    assert told(done).startswith("paired: ")
    assert told(done).endswith(word) or told(done).endswith(f"{word} by its verdict")
    assert done.code == (1 if word == "WORSE" else 0)


def test_a_fall_that_cannot_be_paired_is_no_better_where_it_starts_lower(
    made: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    """From other samples, or an early verdict, nothing can be paired; a verdict that rose is then no evidence."""
    first = a_fall(made, 1.0, 0.76, start_data="d" * 64)
    run_file("a.json", [row(TEST, first)])
    for clean, word in ((0.75, "not paired"), (1.0, "BETTER")):
        second = a_fall(made, clean, clean - 0.05)
        for other, why in (
            (second, "the samples at the start of the fall differ"),
            (
                second.but(data="", estimate=None, start=Fact("clean accuracy", "0.7 of the 100 seen")),
                "B evaluated",
            ),
        ):
            run_file("b.json", [row(TEST, other)])
            found = told(robustest("compare", "a.json", "b.json"))
            assert found.startswith(f"not paired: {why}"), found
            assert (" BETTER " in found) is (word == "BETTER"), found
