"""Packs in runs of pytest and in commands: loaded with --robust alone, told of, and never passed over."""

# ruff: noqa: ARG005 - what is given to a stand-in is given by the interface

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import toy_pack

from robustest.cli import main, scan
from robustest.cli.questions import Battery, Facts
from robustest.errors import PackError
from robustest.extensions import hookimpl

HOLDS = "def test_holds(robust_model, robust_data): claim(robust_model, robust_data, 0.1, at_least=0.5)"


def installed(folder: Path, source: str) -> None:
    """A package `dusk` as an installer leaves it in a folder, with its entry point."""
    (folder / "dusk.py").write_text(source, encoding="utf-8")
    about = folder / "robustest_dusk-0.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: robustest-dusk\nVersion: 0.3\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[robustest]\ndusk = dusk\n", encoding="utf-8")


LIGHT = """
from robustest.extensions import hookimpl

@hookimpl
def robustest_attacks():
    from robustest.attacks import FGSM
    return {"dusk": FGSM}
"""


def test_an_installed_pack_is_imported_with_robust_alone(project, write_light, run_apart, monkeypatch):
    installed(project.path, LIGHT)
    monkeypatch.setenv("PYTHONPATH", str(project.path), prepend=":")
    write_light(
        test_a="""
        import sys

        def test_plain(request):
            assert ("dusk" in sys.modules) is request.config.getoption("--robust")
            assert "torch" not in sys.modules  # nor does it bring in what its hooks would
        """
    )
    run_apart().assert_outcomes(passed=1)
    result = run_apart("--robust")
    result.assert_outcomes(passed=1)
    (packs,) = [line for line in result.outlines if line.startswith("robustest packs: ")]
    assert "dusk" in packs.removeprefix("robustest packs: ").split(", ")  # beside those that are installed here


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_an_installed_pack_that_does_not_load_ends_the_run(project, write_light, run_apart, monkeypatch, workers):
    installed(project.path, "import frobnicate")
    monkeypatch.setenv("PYTHONPATH", str(project.path), prepend=":")
    write_light(test_a="def test_holds(robust): robust.record(made())")
    run_apart().assert_outcomes(skipped=1)
    result = run_apart("--robust", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        "ERROR: Expected to load the pack 'dusk' (dusk) but got ModuleNotFoundError: No module named 'frobnicate'. "
        "Upgrade or uninstall robustest-dusk 0.3."
    )


def test_a_packs_attack_in_an_ini_file(packs, project, write, run, read_json):
    packs(toy=toy_pack)
    write(
        test_a="""
        def test_holds(robust_model, robust_data):
            assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.5)
        """
    )
    run("--robust", "-o", "robust_attack=toy-steps", "--robust-json=out.json").assert_outcomes(passed=1)
    assert "toy-steps" not in read_json()["results"][0]["result"]["method"]  # the attack has a name of its own
    assert "pgd" in read_json()["results"][0]["result"]["method"].lower()
    assert run("--robust", "-o", "robust_attack=toy-step").ret == pytest.ExitCode.USAGE_ERROR


def test_a_packs_engine_measures(packs, write, run, monkeypatch):
    monkeypatch.setattr(toy_pack.Counted, "jobs", 0)
    packs(toy=toy_pack)
    write(test_a=HOLDS)
    run("--robust", "--robust-engine=counted").assert_outcomes(passed=1)
    assert toy_pack.Counted.jobs > 0


@pytest.fixture
def on_github(project, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "step.md"))


@pytest.mark.usefixtures("on_github")
def test_sections_are_on_terminal_page_and_summary_and_in_commands(packs, project, write, run, capsys):
    pytest.importorskip("jinja2", reason="the HTML report is an extra")
    packs(toy=toy_pack)
    write(test_a=HOLDS)
    line = "claims that held: 1 of all"
    result = run("--robust", "--robust-html=page", "--robust-json=out.json")
    result.stdout.fnmatch_lines(["*- Toys <b> -*", line])
    assert "<dt>claims that held</dt><dd>1 of all</dd>" in (project.path / "page" / "index.html").read_text()
    assert "claims that held&#58; 1 of all" in (project.path / "step.md").read_text()
    (project.path / "step.md").unlink()
    capsys.readouterr()
    assert main(["show", "out.json"]) == 0
    assert line in capsys.readouterr().out.splitlines()
    assert main(["show", "out.json", "--markdown"]) == 0
    assert "claims that held&#58; 1 of all" in capsys.readouterr().out
    write(test_b=HOLDS.replace("test_holds", "test_too"))
    for k in (1, 2):
        run("--robust", f"--robust-shard={k}/2", f"--robust-json={k}.json")
    (project.path / "step.md").unlink()
    capsys.readouterr()
    assert main(["merge", "1.json", "2.json", "--html", "whole"]) == 0
    assert "claims that held: 2 of all" in capsys.readouterr().out.splitlines()
    assert "<dd>2 of all</dd>" in (project.path / "whole" / "index.html").read_text()
    assert "claims that held&#58; 2 of all" in (project.path / "step.md").read_text()


@pytest.fixture
def broken_section(packs) -> None:
    def robustest_sections(results: object) -> None:
        raise ZeroDivisionError("by nothing")

    packs(bad=SimpleNamespace(robustest_sections=hookimpl(robustest_sections)))


def test_a_section_that_cannot_be_made_turns_the_run_red(broken_section, write, run, project, capsys):
    write(test_a=HOLDS)
    result = run("--robust", "--robust-json=out.json")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines("LOST: the sections of packs could not be made: *'bad'*ZeroDivisionError*")
    data = json.loads((project.path / "out.json").read_text())
    assert data["lost"]
    capsys.readouterr()
    assert main(["show", "out.json"]) == 3


def test_no_section_without_a_result(broken_section, write, run):
    write(test_a="def test_plain(): pass")
    assert run("--robust").ret == 0


@pytest.mark.slow
def test_a_scan_asks_the_questions_of_packs(packs, project, monkeypatch, capsys):
    monkeypatch.setattr(scan, "battery", lambda facts: Battery("from robustest import Linf\n", ()))
    packs(toy=toy_pack)
    assert main(["init", "--scan"]) == 0
    assert "test_toys" in capsys.readouterr().out
    source = (project.path / "tests/test_robustness_scan.py").read_text(encoding="utf-8")
    assert "def test_toys(robust_model, robust_data):" in source
    assert "THRESHOLD" not in source


def test_a_question_that_robustest_has_is_refused(packs):
    facts = Facts(kind="images")
    probe = scan.battery(facts).probes[0]

    def robustest_probes(facts: Facts) -> list[scan.Probe]:
        return [probe]

    packs(bad=SimpleNamespace(robustest_probes=hookimpl(robustest_probes)))
    with pytest.raises(PackError, match=f"robustest has a question '{probe.name}' too"):
        scan.questions_for(facts)


FIXTURE = """
@pytest.fixture
def toys(robust): return 3
"""


def test_a_packs_fixture_makes_a_test_robust_by_asking_for_robust(project, write, run):
    """A pack's fixtures come by pytest's own entry point; those that ask for `robust` mark tests that ask for them."""
    project.makeconftest(FIXTURE.replace("@pytest", "import pytest\n@pytest"))
    write(test_a="def test_x(toys): claimed()")
    run().assert_outcomes(skipped=1)
    run("--robust").assert_outcomes(passed=1)
