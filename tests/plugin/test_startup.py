"""What the plugin costs where it is not used, and that it works without what others may switch off."""

from __future__ import annotations

import pytest

PARTS = ("options", "running")
HEAVY = ("torch", "torchvision", "numpy", "scipy", "PIL", "junit_xml")


def test_a_project_that_does_not_use_it_loads_nothing_of_it(project, run_apart):
    project.makepyfile(
        test_a=f"""
        import sys
        import pytest

        def test_plain():
            assert [name for name in {HEAVY!r} if name in sys.modules] == []
            ours = sorted(name for name in sys.modules if name.startswith("robustest"))
            plugin = ["robustest.pytest_plugin", *(f"robustest.pytest_plugin.{{part}}" for part in {PARTS!r})]
            assert ours == [
                "robustest", "robustest.claims", "robustest.extras", "robustest.lazy", "robustest.plain_run", *plugin,
                "robustest.version",
            ]
        """
    )
    run_apart().assert_outcomes(passed=1)


def test_skipped_and_selected_tests_do_not_load_torch_either(project, run_apart, section):
    project.makepyfile(
        test_a="""
        import sys
        import pytest
        from made import made

        @pytest.mark.robust(seed=3)
        def test_robust(robust): robust.record(made())

        def test_plain(): assert [name for name in ("torch", "torchvision") if name in sys.modules] == []
        """
    )
    run_apart().assert_outcomes(passed=1, skipped=1)
    result = run_apart("--robust", "--robust-json=out.json")
    result.assert_outcomes(passed=2)
    assert section(result)[0].startswith("test_a.py::test_robust ")


def test_gradients_load_no_more_of_torch(project, run_apart):
    """Given weights of outputs, `torch.autograd.grad` imports SymPy: half a second of every run, remembered or not."""
    project.makepyfile(
        test_a="""
        import sys
        import torch
        from robustest import Linf, assert_robust_accuracy

        def test_robust():
            before = "sympy" in sys.modules
            model, x = torch.nn.Linear(2, 2, bias=False), torch.rand(8, 2, generator=torch.Generator().manual_seed(5))
            torch.nn.init.eye_(model.weight)
            assert_robust_accuracy(model, (x, model(x).argmax(1)), Linf(1e-4), at_least=0.9, exact=True)
            assert ("sympy" in sys.modules) is before
        """
    )
    run_apart("--robust", "-o", "robust_store=").assert_outcomes(passed=1)


@pytest.mark.parametrize("absent", ["xdist", "terminal", "junitxml", "cacheprovider", "capture", "skipping"])
def test_it_works_without_another_plugin(write, run, read_json, absent):
    write(
        test_a="""
        def test_holds(robust_model, robust_data): claim(robust_model, robust_data, 0.1, at_least=0.5)

        def test_fails(robust_model, robust_data): claim(robust_model, robust_data, 0.1, at_least=0.6)

        def test_breaks(robust_model, robust_data): claim(robust_model, robust_data[0], 0.1, at_least=0.6)
        """
    )
    result = run("--robust", "--robust-json=out.json", "-p", f"no:{absent}")
    assert result.ret == 1
    verdicts = [row["result"] and row["result"]["verdict"] for row in read_json()["results"]]
    assert verdicts == ["passed", "failed", None]


def test_without_a_terminal_a_plain_run_is_a_plain_run(write, run):
    write(test_a="def test_plain(): pass")
    assert run("-p", "no:terminal").ret == 0
    assert run("-p", "no:terminal", "--robust").ret == 0
    assert run("-p", "no:xdist").ret == 0


@pytest.mark.parametrize("option", ["-q", "-qq", "-v", "--no-header", "--color=yes"])
def test_it_works_with_every_look_of_the_terminal(write, run, option):
    write(test_a="def test_holds(robust_model, robust_data): claim(robust_model, robust_data, 0.1, at_least=0.5)")
    result = run("--robust", option)
    assert result.ret == 0
    assert "robust accuracy 0.500 " in result.stdout.str()


def test_our_plugin_may_be_switched_off(write, run):
    write(test_a="def test_plain(): pass")
    run("-p", "no:robustest").assert_outcomes(passed=1)
