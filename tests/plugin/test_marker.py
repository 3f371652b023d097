"""@pytest.mark.robust(...): settings of a test, a class or a module, checked when tests are collected."""

from __future__ import annotations

import pytest

WRONG = [
    ("sed=3", "Unknown argument of @pytest.mark.robust 'sed'. Did you mean 'seed'?*"),
    ("profile='ci'", "Unknown argument of @pytest.mark.robust 'profile'.*"),
    ("pictures='x'", "Unknown argument of @pytest.mark.robust 'pictures'.*"),
    ("'cpu'", "Expected keyword arguments in @pytest.mark.robust, e.g. seed=3, but got ('cpu',)"),
    ("seed='3'", "@pytest.mark.robust: Expected seed to be a whole number but got '3' (str)*"),
    ("seed=True", "@pytest.mark.robust: Expected seed to be a whole number but got True (bool)*"),
    ("device=0", "@pytest.mark.robust: Expected device to be auto, *"),
    ("alpha=0.5", "@pytest.mark.robust: Expected alpha in (0, 0.5) but got 0.5 (float)*"),
    ("scope='sat'", "@pytest.mark.robust: Unknown value of scope: 'sat'. Did you mean 'set'?*"),
    ("scope=['set']", "@pytest.mark.robust: Unknown value of scope: *"),
    ("batch_size=0", "@pytest.mark.robust: Expected batch_size to be a whole number >= 1 but got 0 (int)*"),
    ("examples=None", "@pytest.mark.robust: Expected examples to be a whole number >= 0 but got None (NoneType)*"),
    ("attack=3", "@pytest.mark.robust: Expected attack *"),
    ("suppress=['softmax']", "@pytest.mark.robust: Unknown health check 'softmax'. Did you mean *"),
    ("suppress=3", "@pytest.mark.robust: Expected suppress *"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[arguments for arguments, _ in WRONG])
def test_a_wrong_marker_is_a_usage_error_that_names_the_test(write, run, arguments, message):
    write(
        test_a=f"""
        def test_fine(): pass

        class TestIt:
            @pytest.mark.robust({arguments})
            def test_wrong(self): pass
        """
    )
    result = run("--robust")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: test_a.py::TestIt::test_wrong: {message}"])
    result.assert_outcomes()


def test_it_is_one_without_robust_too(write, run):
    write(
        test_a="""
        @pytest.mark.robust(sed=3)
        def test_wrong(): pass
        """
    )
    result = run()
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: test_a.py::test_wrong: Unknown argument * 'sed'. Did you mean 'seed'?*"])


def test_a_wrong_marker_that_is_not_selected_is_not_read(write, run):
    write(
        test_a="""
        @pytest.mark.robust(sed=3)
        def test_wrong(): pass

        @pytest.mark.robust
        def test_right(): claimed()
        """
    )
    result = run("--robust", "-k", "right")
    result.assert_outcomes(passed=1, deselected=1)
    assert result.ret == 0


def test_the_nearer_marker_wins_key_by_key(write, run):
    write(
        test_a="""
        pytestmark = pytest.mark.robust(seed=1, alpha=0.1, examples=1)

        def show(robust):
            claimed()
            s = robust.settings
            return s.seed, s.alpha, s.examples

        def test_module(robust): assert show(robust) == (1, 0.1, 1)

        @pytest.mark.robust(seed=2, alpha=0.2)
        class TestClass:
            def test_class(self, robust): assert show(robust) == (2, 0.2, 1)

            @pytest.mark.robust(seed=3)
            def test_function(self, robust): assert show(robust) == (3, 0.2, 1)

            @pytest.mark.parametrize("seed", [2, pytest.param(4, marks=pytest.mark.robust(seed=4))])
            def test_parameter(self, robust, seed): assert show(robust) == (seed, 0.2, 1)
        """
    )
    result = run("--robust")
    result.assert_outcomes(passed=5)
    assert result.ret == 0


def test_a_module_may_be_robust_as_a_whole(write, run):
    write(
        test_a="""
        pytestmark = pytest.mark.robust

        def test_one(): claimed()

        class TestClass:
            def test_two(self): claimed()
        """
    )
    run().assert_outcomes(skipped=2)
    run("--robust").assert_outcomes(passed=2)


def test_claims_are_measured_by_it(write, rows_of):
    write(
        test_a="""
        @pytest.mark.robust(attack="fgsm", scope="population", alpha=0.05, examples=1, seed=5)
        def test_it(robust_model, robust_data):
            assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.5)

        def test_not_the_next(robust): claimed(); assert robust.settings.attack == "fast"
        """
    )
    result = rows_of()["test_it"]["result"]
    assert (result["verdict"], result["method"], result["seed"]) == ("inconclusive", "fgsm", 5)
    assert result["rule"] == "population, alpha = 0.05 a side"
    assert len(result["counterexamples"]) == 1


def test_an_unknown_attack_is_an_error_that_names_the_nearest(write, run, section):
    write(
        test_a="""
        @pytest.mark.robust(attack="pdg")
        def test_it(robust_model, robust_data):
            assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.5)
        """
    )
    result = run("--robust")
    result.assert_outcomes(errors=1)
    assert "Unknown attack 'pdg'. Did you mean 'pgd'?" in section(result)[1]
