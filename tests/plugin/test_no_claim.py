"""A robustness test that claims and measures nothing does not pass; what was measured and not gated is said."""

from __future__ import annotations

import pytest

TESTS = """
    import asyncio
    import unittest
    from hypothesis import given, settings, strategies as st

    pytestmark = pytest.mark.robust
    FGSM = dict(attack="fgsm")

    @pytest.fixture(scope="module")
    def found(robust_model, robust_data):
        return measure_robust_accuracy(robust_model, robust_data, Linf(0.1), **FGSM)

    @pytest.fixture(scope="module")
    def several(found):
        return {"one": found}

    def test_empty(): pass

    def test_only_looks_at_settings(robust): assert robust.settings.seed == 0

    def test_trains(robust_model): robust_model.train(); robust_model.eval()

    @pytest.mark.parametrize("k", [1, 2])
    def test_each_of_many(k, robust_model, robust_data):
        if k == 1:
            claim(robust_model, robust_data, 0.01, at_least=0.9)

    def test_the_claim_is_behind_a_condition(robust_model, robust_data):
        for eps in []:
            claim(robust_model, robust_data, eps, at_least=0.9)

    class TestOld(unittest.TestCase):
        def test_empty(self): pass

        def test_skips(self): self.skipTest("not here")

        def test_claims(self):
            from toy import Brightness, data
            claim(Brightness(), data(), 0.01, at_least=0.9)

    def test_claims(robust_model, robust_data): claim(robust_model, robust_data, 0.01, at_least=0.9)

    def test_measures(robust_model, robust_data):
        result = measure_robust_accuracy(robust_model, robust_data, Linf(0.1), **FGSM)
        assert result.estimate == 0.5

    def test_first_of_a_fixture(found): assert found.estimate == 0.5

    def test_second_of_a_fixture(found): assert found.numbers.n == 32

    def test_third_of_a_fixture(several): assert several["one"].numbers.n == 32

    def test_finds(robust_model, robust_data):
        assert find_adversarial(robust_model, *robust_data, Linf(0.4), **FGSM).broken.all()

    @settings(max_examples=2, database=None)
    @given(k=st.integers(1, 2))
    def test_drawn(k):
        from toy import Brightness, data
        assert accuracy_under(Brightness(), data(), lambda x, severity, key: x) == 1

    def test_async(robust_model, robust_data):
        async def inside(): claim(robust_model, robust_data, 0.01, at_least=0.9)
        asyncio.run(inside())

    def test_skips(): pytest.skip("not here")

    @pytest.mark.skip(reason="never")
    def test_never(): pass

    @pytest.mark.xfail(reason="known")
    def test_known(): assert 0

    @pytest.mark.xfail(run=False)
    def test_not_run(): pass

    def test_fails(): assert 0

    def test_not_gated(robust_model, robust_data):
        measure_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.9, **FGSM)

    def test_recorded_and_not_gated(robust, robust_model, robust_data):
        robust.record(measure_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.8, **FGSM))

    def test_gated_after_all(robust_model, robust_data):
        measure_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.4, **FGSM)
        claim(robust_model, robust_data, 0.1, at_least=0.4)

    def test_truth(robust_model, robust_data):
        assert measure_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.9, **FGSM)

    def test_verdict(robust_model, robust_data):
        assert measure_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.9, **FGSM).verdict
"""

EMPTY = {
    "test_empty",
    "test_only_looks_at_settings",
    "test_trains",
    "test_each_of_many[2]",
    "test_the_claim_is_behind_a_condition",
    "TestOld::test_empty",
}
PASS = {
    "test_each_of_many[1]",
    "TestOld::test_claims",
    "test_claims",
    "test_measures",
    "test_first_of_a_fixture",
    "test_second_of_a_fixture",
    "test_third_of_a_fixture",
    "test_finds",
    "test_drawn",
    "test_async",
    "test_not_gated",
    "test_recorded_and_not_gated",
    "test_gated_after_all",
}


def outcomes(result: pytest.RunResult) -> dict[str, str]:
    """By test, the word that -rA has for it."""
    words = {}
    for line in result.outlines:
        word, _, rest = line.partition(" ")
        if word in {"PASSED", "ERROR", "FAILED", "XFAIL"} and rest.startswith("test_a.py::"):
            words[rest.removeprefix("test_a.py::").split(" - ")[0]] = word
    return words


@pytest.mark.parametrize("how", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["plain", "xdist"])
def test_every_kind_of_test(how, write, run, section, read_json) -> None:
    if how:
        pytest.importorskip("xdist")
    write(test_a=TESTS)
    result = run("--robust", "-rA", "--robust-json=out.json", *how)
    found = outcomes(result)
    wrong = {"test_truth", "test_verdict"}
    assert {name for name, word in found.items() if word == "PASSED"} == PASS
    assert {name for name, word in found.items() if word == "ERROR"} == EMPTY | wrong
    assert {name for name, word in found.items() if word == "FAILED"} == {"test_fails"}
    rows = {}
    for row in read_json()["results"]:
        rows.setdefault(row["test"].removeprefix("test_a.py::"), []).append(row)
    for name in EMPTY:
        assert rows[name][-1]["problem"].startswith("NoClaimError: Expected a claim in a robustness test")
    for name in wrong:
        assert rows[name][-1]["problem"].startswith("TruthValueError: ")
    said = section(result)
    lines = {line.split()[1].removeprefix("test_a.py::"): line for line in said if "  test_a.py::" in line}
    below = {name: said[said.index(line) + 1] for name, line in lines.items() if line != said[-1]}
    for name in ("test_not_gated", "test_recorded_and_not_gated"):
        [row] = rows[name]
        assert (row["result"]["verdict"], row["result"]["gated"]) == ("failed", False)
        assert lines[name].startswith("measured")
        assert "failed, but the test does not assert it: write assert_robust_accuracy" in below[name]
    [row] = rows["test_gated_after_all"]
    assert (row["result"]["gated"], row["result"]["caveats"]) == (True, [])


def test_without_robust_nothing_is_asked(write, run) -> None:
    write(test_a="@pytest.mark.robust\ndef test_empty(): pass\n\ndef test_plain(): pass\n")
    run().assert_outcomes(passed=1, skipped=1)
    run("--robust").assert_outcomes(passed=1, errors=1)


SHARED = """
    @pytest.fixture(scope="module")
    def kept(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, at_least=0.4)

    @pytest.fixture(scope="session")
    def number(robust_model, robust_data):
        return measure_robust_accuracy(robust_model, robust_data, Linf(0.1), attack="fgsm").estimate

    @pytest.fixture(scope="module")
    def swallowed(robust_model, robust_data):
        try:
            claim(robust_model, robust_data, 0.1, at_least=0.9)
        except AssertionError:
            pass

    @pytest.fixture(scope="module")
    def through(kept): return "what it needs claims"

    @pytest.fixture(scope="module", params=[1, 2])
    def one_of_two(request, robust_model, robust_data):
        if request.param == 1:
            claim(robust_model, robust_data, 0.1, at_least=0.4)

    @pytest.mark.robust
    @pytest.mark.parametrize("k", [1, 2])
    class TestOf:
        def test_a_claim(self, k, kept): pass
        def test_a_number(self, k, number): assert number == 0.5
        def test_a_claim_that_is_swallowed(self, k, swallowed): pass
        def test_a_claim_behind_it(self, k, through): pass
        def test_a_claim_by_name(self, k, request): request.getfixturevalue("kept")

    @pytest.mark.robust
    def test_nothing(robust_model): pass

    @pytest.mark.robust
    def test_one(one_of_two): pass
"""


def test_what_a_fixture_claims_for_many_tests_counts_for_each(write, run, read_json):
    write(test_a=SHARED)
    done = run("--robust", "--robust-json=out.json", "-k", "not test_nothing and not 2")
    done.assert_outcomes(passed=6, deselected=7)
    done = run("--robust", "--robust-json=out.json", "-p", "no:randomly")
    done.assert_outcomes(passed=11, errors=2)
    unmeasured = {row["test"].rpartition("::")[2] for row in read_json()["results"] if row["result"] is None}
    assert unmeasured == {"test_nothing", "test_one[2]"}
    told = [caveat for row in read_json()["results"] if row["result"] for caveat in row["result"]["caveats"]]
    assert not [caveat for caveat in told if "does not assert it" in caveat], "an assertion took it, and said so"
