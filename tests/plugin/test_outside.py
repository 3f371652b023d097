"""A claim that belongs to no running test is refused before it is measured, and the run is red in every report."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

WORKERS = [(), pytest.param(("-n", "2"), marks=pytest.mark.slow, id="xdist")]
QUIET = ("-W", "ignore::pytest.PytestUnhandledThreadExceptionWarning", "-W", "ignore::DeprecationWarning")

# `swallowed` makes a claim that would hold, and hears of no error. A file says that the model was asked.
SWALLOWED = """
from robustest import Linf, assert_robust_accuracy
from robustest.measure import measure_robust_accuracy
from toy import Brightness, data

def asked(x):
    open("asked", "a").close()
    return Brightness()(x)

def swallowed(claim=assert_robust_accuracy, at_least=0.9):
    try:
        return str(claim(asked, data(), Linf(0.01), at_least=at_least, attack="fgsm").verdict)
    except BaseException:
        return None
"""
PASSES = "def test_passes(robust): claimed()\n"

CONFTESTS = {
    "module": "swallowed()",
    "measurement": "swallowed(measure_robust_accuracy)",
    "configure": "def pytest_configure(): swallowed()",
    "sessionstart": "def pytest_sessionstart(): swallowed()",
    "generate": "def pytest_generate_tests(metafunc): swallowed()",
    "modifyitems": "def pytest_collection_modifyitems(): swallowed()",
    "collected": "def pytest_collection_finish(): swallowed()",
    "before": """
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_protocol():
            swallowed()
            return (yield)
        """,
    "reported": """
        def pytest_runtest_logreport(report):
            if report.when == "teardown":
                swallowed()
        """,
    "finished": "def pytest_runtest_logfinish(): swallowed()",
    "sessionfinish": "def pytest_sessionfinish(): swallowed()",
}
MODULES = {
    "module": "swallowed()",
    "passing tests": "swallowed()\n\ndef test_two(robust): claimed()",
    "measurement": "swallowed(measure_robust_accuracy)",
    "class": "class TestOne:\n    swallowed()\n\n    def test_it(self, robust): claimed()",
    "parameter": "@pytest.mark.parametrize('k', [swallowed()])\ndef test_k(robust, k): claimed()",
    "skipped": "swallowed()\npytest.skip('not here', allow_module_level=True)",
    "thread": """
        import threading
        thread = threading.Thread(target=swallowed)
        thread.start()
        thread.join()
        """,
}


def _text(source: str) -> str:
    return "import pytest\nfrom made import claimed\nfrom swallowing import *\n\n" + dedent(source) + "\n"


@pytest.fixture
def outside(project: Any) -> Any:
    """Write a conftest.py or a test module with a claim outside of any test, and a test that passes."""

    def write(*, conftest: str = "", module: str = "", passes: str = PASSES) -> None:
        project.makepyfile(swallowing=SWALLOWED)
        (project.path / "test_passes.py").write_text(f"from made import claimed\n{passes}", encoding="utf-8")
        if conftest:
            (project.path / "conftest.py").write_text(_text(conftest), encoding="utf-8")
        if module:
            (project.path / "test_a.py").write_text(_text(module), encoding="utf-8")

    return write


def refused(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in content["tests"] if "in a test or a fixture" in one["reason"]]


def _names(text: str, name: str = "assert_robust_accuracy") -> bool:
    return f"Expected {name} in a test or a fixture but got a call outside of any test, at swallowing.py:11" in text


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("where", CONFTESTS)
def test_a_claim_in_a_conftest_turns_the_run_red(
    *, where: str, workers: tuple[str, ...], outside: Any, run: Any, read_json: Any, section: Any, project: Any
) -> None:
    outside(conftest=CONFTESTS[where])
    done = run("--robust", "--robust-json=out.json", *QUIET, *workers)
    collecting = where == "generate" and not workers  # an error of collection interrupts the run
    assert done.ret == (2 if collecting else 1)
    [row] = refused(read_json())
    name = "measure_robust_accuracy" if where == "measurement" else "assert_robust_accuracy"
    assert _names(row["reason"], name)
    assert _names(" ".join(section(done)), name)
    assert not (project.path / "asked").exists()
    counts = read_json()["counts"]
    assert counts == {"error": 1, "passed": 1} or where == "generate"
    assert counts["error"] >= 1
    assert done.parseoutcomes() in ({"passed": 1, "error": 1}, {"passed": 1, "errors": 1}) or where in (
        "generate",
        "sessionfinish",
    )


@pytest.mark.thinned
@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("options", [("--robust", "--robust-json=out.json"), ()], ids=["robust", "plain"])
@pytest.mark.parametrize("where", MODULES)
def test_a_claim_at_module_scope_is_an_error_of_the_collection(
    *,
    where: str,
    options: tuple[str, ...],
    workers: tuple[str, ...],
    outside: Any,
    run: Any,
    read_json: Any,
    project: Any,
) -> None:
    outside(module=MODULES[where])
    done = run(*options, "--junitxml=theirs.xml", *QUIET, *workers)
    assert done.ret in (1, 2)
    name = "measure_robust_accuracy" if where == "measurement" else "assert_robust_accuracy"
    assert _names(done.stdout.str(), name)
    assert done.parseoutcomes()["errors" if "errors" in done.parseoutcomes() else "error"] == 1
    assert "passed" not in done.parseoutcomes() or workers
    assert not (project.path / "asked").exists()
    root = ET.parse(project.path / "theirs.xml").getroot()  # noqa: S314 - our own file
    assert root[0].get("errors") == "1"
    if options:
        [row] = refused(read_json())
        assert row["test"] == "swallowing.py:11"


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("where", CONFTESTS)
def test_a_run_without_the_option_is_red_as_well(
    where: str, workers: tuple[str, ...], outside: Any, run: Any, project: Any
) -> None:
    outside(conftest=CONFTESTS[where], passes="def test_passes(): pass\n")
    done = run(*QUIET, *workers)
    assert done.ret == (2 if where == "generate" and not workers else 1)
    assert _names(done.stdout.str(), "measure_robust_accuracy" if where == "measurement" else "assert_robust_accuracy")
    assert not (project.path / "asked").exists()


def test_an_error_that_is_not_swallowed_is_shown_once(outside: Any, run: Any, read_json: Any, section: Any) -> None:
    outside(module="assert_robust_accuracy(asked, data(), Linf(0.01), at_least=0.9)")
    done = run("--robust", "--robust-json=out.json", "--continue-on-collection-errors")
    assert done.ret == 1
    [row] = refused(read_json())
    assert row["test"] == "test_a.py:5"
    assert read_json()["counts"] == {"error": 1, "passed": 1}
    assert len([line for line in section(done) if line.startswith("test_a.py:5 ")]) == 1


def test_the_line_names_the_file_that_calls_the_helper(outside: Any, run: Any) -> None:
    outside(module="swallowed()")
    assert "at swallowing.py:11 (called at test_a.py:5)" in run("--robust").stdout.str()


def test_all_reports_show_the_same_rows(
    *, outside: Any, run: Any, read_json: Any, section: Any, project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "step.md"))
    outside(conftest=CONFTESTS["modifyitems"])
    files = ("--robust-json=out.json", "--robust-junit=out.xml", "--robust-html=page")
    done = run("--robust", *files, "--junitxml=theirs.xml")
    assert done.ret == 1
    [row] = refused(read_json())
    place, why = row["test"], row["reason"]
    assert place == "swallowing.py:11"
    assert read_json()["pytest"]["exit"] == 1
    ours = ET.parse(project.path / "out.xml").getroot()  # noqa: S314 - our own file
    assert (ours.get("errors"), ours.get("tests")) == ("1", "2")
    assert why in ET.tostring(ours, encoding="unicode")
    assert ET.parse(project.path / "theirs.xml").getroot()[0].get("errors") == "1"  # noqa: S314 - our own file
    for text in ("\n".join(section(done)), (project.path / "step.md").read_text()):
        assert place in text
    assert place in (project.path / "page" / "index.html").read_text()
    assert "::error file=swallowing.py,line=11," in done.stdout.str()
    from robustest.cli import main

    assert main(["show", "out.json"]) == 1


def test_nothing_of_it_stays_in_the_store(outside: Any, run: Any, project: Any) -> None:
    passes = "from swallowing import *\ndef test_passes(robust): assert swallowed()\n"
    outside(conftest=CONFTESTS["modifyitems"], passes=passes)
    run("--robust", "--lf")
    assert list((project.path / ".robustest" / "results").rglob("*.json"))
    (project.path / "conftest.py").write_text("", encoding="utf-8")
    done = run("--robust", "--lf")
    assert done.ret == 0
    done.stdout.no_fnmatch_line("*rerun previous*")
    stored = [path.read_text() for path in (project.path / ".robustest").rglob("*.json")]
    assert not [text for text in stored if "swallowing.py" in text]


def test_each_shard_reports_it_and_their_merge_is_complete(
    outside: Any, run: Any, project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from robustest.cli import main

    outside(conftest=CONFTESTS["modifyitems"], passes=PASSES + PASSES.replace("passes", "too"))
    for shard in (1, 2):
        assert run("--robust", f"--robust-shard={shard}/2", f"--robust-json={shard}.json").ret == 1
    capsys.readouterr()
    assert main(["merge", "1.json", "2.json"]) == 1
    printed = "".join(capsys.readouterr())
    assert "swallowing.py:11" in printed
    assert "which was not collected" not in printed
    assert "reported by two shards" not in printed


@pytest.mark.parametrize("options", [("--robust",), ()], ids=["robust", "plain"])
def test_collecting_only_is_red(options: tuple[str, ...], outside: Any, run: Any, project: Any) -> None:
    outside(module="swallowed()")
    done = run(*options, "--collect-only")
    assert done.ret not in (0, 5)
    assert _names(done.stdout.str())
    assert not (project.path / "asked").exists()


DOCTEST = '''
"""
>>> from swallowing import *
>>> swallowed()
'passed'
"""
'''


def test_what_belongs_to_a_test_is_measured(outside: Any, run: Any, read_json: Any, project: Any) -> None:
    """Fixtures of each scope, their ends, a doctest, a unittest's set-up, and hooks around a test's phases."""
    outside(
        conftest="def pytest_runtest_setup(item): swallowed() if item.name == 'test_hook' else None",
        module="""
        import unittest

        @pytest.fixture(scope="session", autouse=True)
        def whole():
            assert swallowed()
            yield
            assert swallowed()

        @pytest.fixture(scope="module")
        def module(): return swallowed()

        @pytest.fixture(scope="class")
        def klass(): return swallowed()

        @pytest.fixture
        def function():
            yield swallowed()
            assert swallowed()

        def setup_module(): assert swallowed()

        def teardown_module(): assert swallowed()

        class TestOld(unittest.TestCase):
            @classmethod
            def setUpClass(cls): assert swallowed()

            def test_old(self): assert swallowed()

        def test_hook(robust): pass

        def test_all(module, klass, function):
            assert module and klass and function and swallowed()
        """,
    )
    (project.path / "documented.py").write_text(DOCTEST, encoding="utf-8")
    done = run("--robust", "--doctest-modules", "--robust-json=out.json", "-p", "no:randomly")
    done.assert_outcomes(passed=5)
    assert done.ret == 0
    assert refused(read_json()) == []
    tests = {row["test"] for row in read_json()["results"]}
    assert {"documented.py::documented", "test_a.py::test_all"} <= tests


def test_a_doctest_of_a_module_with_a_claim_is_not_green(outside: Any, run: Any, project: Any) -> None:
    outside()
    text = "from swallowing import *\nswallowed()\n" + DOCTEST
    (project.path / "documented.py").write_text(text, encoding="utf-8")
    done = run("--robust", "--doctest-modules", "--doctest-ignore-import-errors")
    assert done.ret not in (0, 5)
    assert _names(done.stdout.str())


@pytest.mark.parametrize("options", [("--robust", "--robust-json=out.json"), ()], ids=["robust", "plain"])
@pytest.mark.parametrize("hook", ["pytest_terminal_summary", "pytest_unconfigure"])
def test_a_claim_after_the_reports_is_in_none_and_the_exit_code_says_so(
    *, hook: str, options: tuple[str, ...], outside: Any, run: Any, read_json: Any, project: Any
) -> None:
    outside(conftest=f"def {hook}(): swallowed()")
    done = run(*options)
    assert done.ret == 3
    assert _names(done.stderr.str())
    assert "in no report" in done.stderr.str()
    assert not (project.path / "asked").exists()
    if options:
        assert read_json()["pytest"]["exit"] == 3
        assert read_json()["counts"]["error"] == 1


AFTER = {
    "atexit": "import atexit\natexit.register(swallowed)",
    "atexit of a test": """
        def test_it():
            import atexit
            atexit.register(swallowed)
        """,
    "thread": """
        import threading, time

        def late():
            while threading.main_thread().is_alive():
                time.sleep(.01)
            swallowed()

        threading.Thread(target=late).start()
        """,
    "daemon": """
        import threading, atexit
        go, done = threading.Event(), threading.Event()

        def late():
            go.wait()
            swallowed()
            done.set()

        threading.Thread(target=late, daemon=True).start()
        atexit.register(lambda: (go.set(), done.wait()))
        """,
}


DAILY = {("thread", "--robust"), ("atexit of a test", "-q")}


@pytest.mark.parametrize(
    ("after", "option"),  # each takes seconds: a thread and a hook, with and without --robust, every day
    [
        pytest.param(after, option, id=f"{after}{option}", marks=() if (after, option) in DAILY else pytest.mark.slow)
        for after in AFTER
        for option in ("--robust", "-q")
    ],
)
def test_a_claim_after_the_session_ends_the_process_in_error(
    after: str, option: str, outside: Any, run_apart: Any, project: Any
) -> None:
    outside(module=AFTER[after])
    done = run_apart(option, *QUIET)
    assert done.ret == 3
    assert _names(done.stderr.str())
    assert "in no report" in done.stderr.str()
    assert not (project.path / "asked").exists()


@pytest.mark.slow
def test_a_claim_after_the_session_of_a_worker_is_in_the_reports(
    outside: Any, run_apart: Any, read_json: Any, project: Any
) -> None:
    outside(module=AFTER["atexit"])
    done = run_apart("--robust", "--robust-json=out.json", "-n", "2", *QUIET)
    assert done.ret == 1
    assert len(refused(read_json())) == 1
    assert not (project.path / "asked").exists()


# Child processes

ANEW = """
import os, subprocess, sys

def anew(code, **options):
    code = f"import sys; sys.path.insert(0, {os.getcwd()!r}); from swallowing import *; " + code
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], **options)
"""
FAILS = "assert_robust_accuracy(asked, data(), Linf(.4), at_least=.9)"


@pytest.mark.parametrize("workers", WORKERS)
def test_a_child_without_an_environment_belongs_to_the_running_test(
    workers: tuple[str, ...], outside: Any, run: Any, read_json: Any
) -> None:
    outside(
        module=ANEW
        + f"""
def test_fails(robust):
    claimed()
    anew({FAILS!r}, env={{}})

def test_holds():
    anew("swallowed()", env={{}})

def test_of_a_shell(robust):
    claimed()
    code = "import sys; sys.path.insert(0, '.'); from swallowing import *; {FAILS}"
    subprocess.run(["/bin/sh", "-c", f'"$0" -W ignore -c "$1"; true', sys.executable, code], env={{}})
"""
    )
    done = run("--robust", "--robust-json=out.json", *workers)
    assert done.ret == 1
    done.assert_outcomes(passed=2, failed=2)
    verdicts: dict[str, list[str]] = {}
    for row in read_json()["results"]:
        verdicts.setdefault(row["test"].partition("::")[2], []).append(row["result"]["verdict"])
    assert verdicts == {
        "test_fails": ["passed", "failed"],
        "test_holds": ["passed"],
        "test_of_a_shell": ["passed", "failed"],
        "test_passes": ["passed"],
    }


FORK = """
def fork():
    pid = os.fork()
    if not pid:
        swallowed()
        os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(
    ("how", "hook"),  # each takes seconds: every way and every place every day, but not each with each
    [
        pytest.param(how, hook, id=f"{how}-{name}", marks=pytest.mark.slow if (place + at) % 2 else ())
        for place, how in enumerate(["anew('swallowed()')", "anew('swallowed()', env={})", "fork()"])
        for at, (hook, name) in enumerate([("", "module"), ("def pytest_sessionstart(): ", "hook")])
    ],
)
def test_a_child_that_no_test_has_started_is_refused(
    *, how: str, hook: str, workers: tuple[str, ...], outside: Any, run: Any, read_json: Any, project: Any
) -> None:
    outside(conftest=ANEW + FORK + hook + how)
    done = run("--robust", "--robust-json=out.json", *QUIET, *workers)
    assert done.ret == 1
    [row] = refused(read_json())
    assert _names(row["reason"])
    assert not (project.path / "asked").exists()


def test_a_child_that_outlives_the_run_is_refused(outside: Any, run_apart: Any, project: Any) -> None:
    outside(
        module="""
        import os, subprocess, sys

        def test_leaves(robust):
            code = f"import os, time\\nwhile os.path.isdir(os.environ['ROBUSTEST_CLAIMS'].partition(':')[2]): "
            code += "time.sleep(.1)\\nfrom swallowing import *\\nswallowed()"
            out = open("out.txt", "w")
            subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stderr=out, start_new_session=True)
            claimed()
        """
    )
    run_apart("--robust")
    for _ in range(300):
        if "in no report" in (text := (project.path / "out.txt").read_text()):
            break
        subprocess.run(["/bin/sleep", "0.1"], check=True)
    assert _names(text)
    assert not (project.path / "asked").exists()


# Where no pytest run with the plugin is alive, nothing changes.


def _script(project: Any, text: str) -> subprocess.CompletedProcess[str]:
    (project.path / "script.py").write_text(dedent(text), encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "script.py"]
    return subprocess.run(command, cwd=project.path, capture_output=True, text=True, check=False)  # noqa: S603


def test_a_script_is_measured_as_before(outside: Any, project: Any) -> None:
    outside()
    done = _script(
        project,
        """
        import atexit, os, sys, threading
        from swallowing import *
        def claims(): print(swallowed(), flush=True)
        atexit.register(claims)
        claims()
        os.environ.clear()
        thread = threading.Thread(target=claims)
        thread.start()
        thread.join()
        """,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["passed"] * 3, "")


def test_a_script_that_has_run_pytest_is_measured_as_before(outside: Any, project: Any) -> None:
    outside()
    done = _script(
        project,
        """
        import contextlib, io, threading, pytest
        from swallowing import *
        def claims(): print(swallowed(), flush=True)
        claims()
        with contextlib.redirect_stdout(io.StringIO()):
            code = pytest.main(["--robust", "-q"])
        claims()
        thread = threading.Thread(target=claims)
        thread.start()
        thread.join()
        print(int(code))
        """,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["passed"] * 3 + ["0"])


def test_without_the_plugin_nothing_is_said(outside: Any, run_apart: Any) -> None:
    outside(module="swallowed()", passes="def test_passes(): pass\n")
    done = run_apart("-p", "no:robustest")
    assert done.ret == 0
    done.stdout.no_fnmatch_line("*robustness*")


def test_a_run_inside_a_test_refuses_its_own_claims_only(outside: Any, run: Any, read_json: Any) -> None:
    outside(
        module="""
        pytest_plugins = ["pytester"]

        def test_inner(robust, pytester):
            assert swallowed()
            pytester.makepyfile(test_inner="from swallowing import *\\nswallowed()\\ndef test_it(): pass")
            done = pytester.runpytest_inprocess("--robust", "--robust-json=inner.json")
            assert done.ret == 2
            assert "outside of any test" in done.stdout.str()
            assert swallowed()
        """
    )
    done = run("--robust", "--robust-json=out.json")
    assert done.ret == 0, done.stdout.str()
    assert refused(read_json()) == []


def test_no_mark_of_a_run_is_left(outside: Any, run: Any, project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustest import ancestors

    monkeypatch.setattr(ancestors, "places", lambda: [str(project.path / "marks")])
    outside(passes="def test_passes(robust):\n    import os\n    claimed()\n    assert os.listdir('marks')\n")
    assert run("--robust").ret == 0
    assert list(Path(project.path / "marks").iterdir()) == []
