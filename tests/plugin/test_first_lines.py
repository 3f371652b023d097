"""What a person reads first: a line that says what failed, in the terminal's width; options that do nothing."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

FAILING = """
    def test_linf(robust_model, robust_data):
        claim(robust_model, robust_data, 51 / 255 + 0.2, at_least=0.40)
"""


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, project: object) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_at_80_columns_the_short_summary_has_the_numbers_and_no_line_is_longer(narrow, write, run, section):
    write(test_a=FAILING)
    result = run("--robust", "--junitxml=own.xml")
    (short,) = [line for line in result.outlines if line.startswith("FAILED test_a.py")]
    assert "robust accuracy 0.000 < 0.40" in short
    theirs = ("rootdir: ", "plugins: ", "    return assert_robust_accuracy(", "           ^", "- generated xml file: ")
    assert [line for line in result.outlines if len(line) > 80 and not line.startswith(theirs)] == []
    assert result.stdout.str().count("test_a.py::test_linf") == 3, "row, replay, short summary"


def test_the_junit_message_is_the_first_line(project, write, run):
    write(test_a=FAILING)
    run("--robust", "--junitxml=own.xml", "--robust-junit=ours.xml")
    for file in ("own.xml", "ours.xml"):
        (failure,) = ET.parse(project.path / file).getroot().iter("failure")  # noqa: S314 - our own
        assert failure.get("message") == "robust accuracy 0.000 < 0.40 under Linf(eps=0.4), fgsm"


def test_labels_that_are_mixed_up_do_not_look_like_a_strong_attack(write, run):
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            x, y = robust_data
            claim(robust_model, (x, y ^ 1), 0.01, at_least=0.5)
        """
    )
    run("--robust").stdout.fnmatch_lines(
        ["E   ClaimFailed: clean accuracy 0.000: 32 of 32 failures were wrong before any change; robust accuracy *"]
    )


def test_skipped_robustness_tests_are_counted(write_light, run):
    write_light(test_a="def test_a(robust): pass\ndef test_b(robust): pass\ndef test_c(): pass")
    result = run()
    result.stdout.fnmatch_lines(["2 robustness tests skipped: add --robust"])
    assert "add --robust" not in run("--robust").stdout.str()


def test_skipped_robustness_tests_are_counted_under_xdist_too(write_light, run_apart):
    write_light(test_a="def test_a(robust): pass\ndef test_b(): pass")
    run_apart("-n", "1").stdout.fnmatch_lines(["1 robustness test skipped: add --robust"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--robust", "--robust-html-inline"), "--robust-html-inline has no effect without --robust-html=DIR"),
        (("--robust-json=out.json",), "no effect without --robust: --robust-json"),
        (("--robust", "--robust-replay-only"), "no counterexamples to replay: there is no corpus at .robustest"),
    ],
)
def test_an_option_that_does_nothing_says_so(write_light, run, options, words):
    write_light(test_a="def test_a(): pass")
    result = run(*options)
    result.stdout.fnmatch_lines([f"*{words}*"])
    assert result.ret == 0


def test_options_that_do_something_are_not_named(write_light, run):
    write_light(test_a="def test_a(): pass")
    assert "nothing" not in run("--robust", "--robust-html=page", "--robust-html-inline").stdout.str()


@pytest.mark.parametrize(
    ("line", "words"), [("robust_seed = abc", "robust_seed"), ("robust_attack = nonsense", "nonsense")]
)
def test_a_wrong_ini_key_is_told_at_start_up_with_its_file(project, write, run, line, words):
    (project.path / "pytest.ini").write_text(f"[pytest]\n{line}\n", encoding="utf-8")
    write(test_a=FAILING)
    result = run("--robust")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = result.stderr.str() + result.stdout.str()
    (error,) = [row for row in said.splitlines() if words in row and row.startswith("ERROR")]
    assert error.startswith("ERROR: pytest.ini: ")


FALLS = """
    from robustest import assert_shift_accuracy

    def fainter(x, severity, key):
        return 0.5 + 0.9 * (x - 0.5)

    def inverted(x, severity, key):
        return 1 - x

    def test_kept(robust_model, robust_data):
        assert_shift_accuracy(robust_model, robust_data, fainter, max_drop=0.1, exact=True)

    def test_broken(robust_model, robust_data):
        assert_shift_accuracy(robust_model, robust_data, inverted, max_drop=0.1, exact=True)
"""


def test_every_report_says_where_a_fall_starts_in_the_line_with_the_fall(project, write, run, monkeypatch):
    """A worse model may well fall less: the fall alone would have it look better."""
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    write(test_a=FALLS)
    result = run("--robust", "--robust-junit=ours.xml", "--robust-html=page")
    result.assert_outcomes(passed=1, failed=1)
    words = "accuracy drop 0.000 [", "] from clean accuracy 1.000"
    (kept,) = [line for line in result.outlines if line.startswith("test_a.py::test_kept ")]
    (short,) = [line for line in result.outlines if line.startswith("FAILED test_a.py::test_broken")]
    assert all(part in kept for part in words)
    assert "accuracy drop 1.000 from clean accuracy 1.000 > 0.10" in short
    cases = {case.get("classname"): case for case in ET.parse(project.path / "ours.xml").getroot().iter("testcase")}  # noqa: S314
    assert "from clean accuracy 1.000" in cases["test_a.test_kept"].findtext("system-out")
    assert "from clean accuracy 1.000" in cases["test_a.test_broken"].find("failure").get("message")
    page = (project.path / "page" / "index.html").read_text()
    assert page.count("from clean accuracy 1.000") >= 2
    summary = (project.path / "summary.md").read_text()
    assert summary.count("from clean accuracy 1.000") >= 2
