"""What pytest says of a run, in its file: how it was stopped, what was deselected, what failed beside the claims."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import robustest.cli.runs  # noqa: F401 - before the first run inside this process
from robustest.cli import main
from robustest.context import followed

GOOD = "def test_good(robust): robust.record(made())\n\n"


@pytest.fixture
def content(run: Any, read_json: Any) -> Any:
    """Runs the tests with a file; the exit status, and what the file says."""

    def made(*arguments: str) -> tuple[int, dict[str, Any]]:
        done = run("--robust", "--robust-json=out.json", *arguments)
        return int(done.ret), read_json()

    return made


def ends(content: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for one in content["tests"]:
        found.setdefault(one["test"].rpartition("::")[2], []).append((one["phase"], one["outcome"]))
    return found


@pytest.mark.parametrize("workers", [[], ["-n", "1", "--maxschedchunk=1"]], ids=["alone", "worker"])
def test_what_did_not_run_after_the_first_failure_is_unfinished(write_light: Any, content: Any, workers: Any) -> None:
    more = "".join(f"def test_more_{n}(robust): robust.record(made())\n\n" for n in range(8))
    write_light(test_a=GOOD + "def test_bad(robust): assert 0\n\n" + more + "def test_plain(): pass")
    code, said = content("-x", *workers)
    assert code in (1, 2)
    found = ends(said)
    assert found["test_good"] == [("call", "passed")]
    assert found["test_bad"] == [("call", "failed")]
    assert found["test_more_7"] == [("setup", "unfinished")]
    assert "test_plain" not in found, "it claims nothing"
    assert "stopping after 1 failures" in said["pytest"]["stopped"]
    assert main(["show", "out.json"]) == {1: 1, 2: 3}[code]


def test_a_run_that_is_ended_as_if_all_were_well_is_not(write_light: Any, content: Any) -> None:
    write_light(
        test_a=GOOD + "def test_exit(robust): pytest.exit('enough', returncode=0)\n\n" + GOOD.replace("d(", "d_2(")
    )
    code, said = content()
    assert (code, said["pytest"]["exit"]) == (3, 3)
    assert main(["show", "out.json"]) == 3


def test_what_was_deselected_is_named(write_light: Any, content: Any) -> None:
    write_light(test_a=GOOD + "def test_other(robust): assert 0\n\ndef test_plain(): pass")
    code, said = content("-k", "good or plain")
    assert (code, said["pytest"]) == (
        0,
        {
            "exit": 0,
            "stopped": "",
            "collected": 1,
            "deselected": ["test_a.py::test_other"],
            "ran": 1,
            "selection": "-k 'good or plain'",
            "files_left_out": 0,
        },
    )


def test_other_tests_have_one_line(write_light: Any, run: Any, section: Any) -> None:
    plain = "".join(f"def test_plain_{n}(): assert {n} == 0\n\n" for n in range(20))
    write_light(test_a=GOOD + plain, test_b="import no_such_module")
    done = run("--robust", "--robust-json=out.json", "--continue-on-collection-errors")
    assert done.ret == 1
    said = section(done)
    line = " ".join(said[said.index("ERROR  other tests") + 1 :])
    assert "20 did not pass: test_b.py (collect: ModuleNotFoundError: No module named 'no_such_module')" in line
    assert "test_a.py::test_plain_1 (call: assert 1 == 0)" in line
    assert "and 10 more" in line
    assert main(["show", "out.json"]) == 1


def test_a_fixture_of_the_session_breaks_every_test_that_needs_it(write_light: Any, content: Any) -> None:
    write_light(
        test_a="""
        @pytest.fixture(scope="session")
        def broken(): raise OSError("no model")

        @pytest.fixture(scope="session")
        def dirty():
            yield
            raise OSError("no end")

        def test_one(robust, broken): robust.record(made())

        def test_two(robust, broken): robust.record(made())

        def test_good(robust, dirty): robust.record(made())
        """
    )
    code, said = content()
    assert code == 1
    assert ends(said) == {
        "test_one": [("setup", "error")],
        "test_two": [("setup", "error")],
        "test_good": [("call", "passed"), ("teardown", "error")],
    }
    assert said["counts"] == {"error": 3, "passed": 1}
    assert main(["show", "out.json"]) == 1


def test_every_worker_has_a_say(write_light: Any, content: Any) -> None:
    pytest.importorskip("xdist")
    write_light(
        test_a="""
        import os

        def test_it(robust):
            robust.record(made())
            assert os.environ["PYTEST_XDIST_WORKER"] == "gw1"
        """
    )
    code, said = content("--dist=each", "--tx=2*popen")
    assert code == 1
    assert sorted(ends(said)["test_it"]) == [("call", "failed"), ("call", "passed")]
    assert main(["show", "out.json"]) == 1


@pytest.mark.parametrize("how", ["assert 0", "pytest.skip('not here')", "robust.record(made())"])
def test_a_part_of_a_test_has_a_say(write_light: Any, run: Any, how: str) -> None:
    pytest.importorskip("_pytest.subtests", reason="subtests came with pytest 9")
    write_light(
        test_a=f"""
        def test_it(robust, subtests):
            with subtests.test("part"):
                {how}
            robust.record(made())
        """
    )
    done = run("--robust", "--robust-json=out.json")
    assert done.ret == (1 if how == "assert 0" else 0)
    assert main(["show", "out.json"]) == done.ret


def test_when_every_worker_dies_nothing_is_green(write_light: Any, content: Any) -> None:
    pytest.importorskip("xdist")
    write_light(test_a="import os\n\ndef test_one(robust): os._exit(0)\n\ndef test_two(robust): os._exit(0)")
    code, said = content("-n", "1", "--max-worker-restart=0", "-p", "no:faulthandler")
    assert code not in (0, 5)
    assert said["pytest"]["exit"] == code
    assert main(["show", "out.json"]) != 0


def shards(run: Any, count: int, *arguments: str) -> list[int]:
    return [
        int(run("--robust", f"--robust-shard={n}/{count}", f"--robust-json={n}.json", *arguments).ret)
        for n in range(1, count + 1)
    ]


def edited(*, exit: int, **changes: Any) -> None:  # noqa: A002 - the field's name
    """Gives the first shard's file another exit status."""
    content = json.loads(Path("1.json").read_text(encoding="utf-8"))
    content["pytest"]["exit"] = exit
    Path("1.json").write_text(json.dumps({**content, **changes}), encoding="utf-8")


def test_a_shard_may_be_empty_where_there_are_more_than_tests(write_light: Any, run: Any, capsys: Any) -> None:
    write_light(test_a=GOOD)
    assert shards(run, 3) == [0, 5, 5]
    assert main(["merge", "1.json", "2.json", "3.json"]) == 0
    capsys.readouterr()
    edited(exit=5, counts={"error": 1, "passed": 1})
    assert main(["merge", "1.json", "2.json", "3.json"]) == 3
    assert "1.json was cut short: pytest ended with exit code 5: no test ran" in capsys.readouterr().err


def test_a_shard_that_called_no_test_has_not_reported_it(write_light: Any, run: Any, capsys: Any) -> None:
    write_light(test_a=GOOD + GOOD.replace("good", "good_2"))
    assert shards(run, 2) == [0, 0]
    assert main(["merge", "1.json", "2.json"]) == 0
    assert run("--robust", "--robust-shard=2/2", "--robust-json=2.json", "--setup-only").ret == 0
    capsys.readouterr()
    assert main(["merge", "1.json", "2.json"]) == 3
    assert "no shard reported test_a.py::test_good_2" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "merged"), [(2, 3), (3, 3), (4, 3), (6, 1), (1, 1)])
def test_an_exit_status_that_no_test_explains_is_red(
    write_light: Any, run: Any, capsys: Any, code: int, merged: int
) -> None:
    write_light(test_a=GOOD)
    assert shards(run, 1) == [0]
    edited(exit=code, counts={"error": 1, "passed": 1})
    capsys.readouterr()
    assert main(["show", "1.json"]) == merged
    assert f"pytest ended with exit code {code}" in capsys.readouterr().out
    assert main(["merge", "1.json"]) == merged


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("assert 1 == 2", 1, "test failed in its call: assert 1 == 2  FAILED"),
        ("pass", 0, "  passed"),
    ],
)
def test_the_store_tells_how_a_test_ended_when_it_was_last_run(
    project: Any, write: Any, run: Any, capsys: Any, *, end: str, code: int, told: str
) -> None:
    for last in ("raise OSError('no disk')", end):  # what came first is replaced
        write(
            test_a=f"""
            def test_it(robust_model, robust_data):
                claim(robust_model, robust_data, 0.1, at_least=0.5)
                {last}

            @pytest.mark.xfail(reason="known")
            def test_expected(robust_model, robust_data):
                claim(robust_model, robust_data, 0.1, at_least=0.6)
            """
        )
        run("--robust", "-p", "no:cacheprovider")
    capsys.readouterr()
    assert main(["show", str(project.path / ".robustest")]) == code
    out = capsys.readouterr().out
    assert any(line.startswith("test_a.py::test_it") and line.endswith(told) for line in out.splitlines())
    assert any(line.endswith("failed as expected: known  xfailed") for line in out.splitlines())
    assert "no disk" not in out


def test_the_store_is_as_red_and_as_green_as_the_run(project: Any, write: Any, run: Any, capsys: Any) -> None:
    write(
        test_a="""
        def test_good(robust_model, robust_data): claim(robust_model, robust_data, 0.1, at_least=0.5)

        def test_tolerated(robust_model, robust_data):
            with pytest.raises(AssertionError):
                claim(robust_model, robust_data, 0.1, at_least=0.6)
        """,
        test_b="    def test_empty(robust): pass\n\n    def test_other(robust): assert 1 == 2",
    )

    def shown() -> tuple[int, str]:
        capsys.readouterr()
        return main(["show", str(project.path / ".robustest")]), capsys.readouterr().out

    assert run("--robust", "test_a.py").ret == 0
    code, out = shown()
    assert (code, "  tolerated\n" in out, "FAILED" in out) == (0, True, False)
    assert run("--robust", "test_b.py").ret == 1
    code, out = shown()
    assert code == 1
    ends = {line.split()[0]: line.split("  ")[-1] for line in out.splitlines() if line.startswith("test_")}
    assert ends == {
        "test_a.py::test_good": "passed",
        "test_a.py::test_tolerated": "tolerated",
        "test_b.py::test_empty": "ERROR",
        "test_b.py::test_other": "FAILED",
    }
    write(test_b="    def test_empty(robust): claimed()\n\n    def test_other(robust): claimed()")
    assert run("--robust", "test_b.py").ret == 0
    assert shown()[0] == 0


CUT = {
    "passed": "def test_it(robust): robust.record(made())",
    "failed": "def test_it(robust): assert 0",
    "interrupted": "def test_it(robust): raise KeyboardInterrupt",
    "exited": "def test_it(robust): pytest.exit('enough')",
    "uncollected": "import not_there_at_all",
    "killed": "import os\n\ndef test_it(robust): os._exit(9)",
}


@pytest.fixture
def left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """Return the folders that runs have left in a folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.delenv("ROBUSTEST_CLAIMS", raising=False)
    return lambda: list(folder.glob("robustest-*"))


@pytest.mark.parametrize(
    ("end", "arguments"),
    [
        ("passed", []),
        ("failed", []),
        ("failed", ["-x"]),
        ("interrupted", []),
        ("exited", []),
        ("uncollected", []),
        ("passed", ["--robust-json=not/there/../../\0"]),
        pytest.param("failed", ["-x", "-n", "1"], marks=pytest.mark.slow),
        ("killed", ["-n", "1", "--max-worker-restart=0"]),
    ],
    ids=lambda one: one if isinstance(one, str) else "-".join(one)[:12],
)
def test_a_run_leaves_no_folder_behind_however_it_ends(
    write_light: Any, run: Any, left_behind: Any, end: str, arguments: list[str]
) -> None:
    write_light(test_a=f"import pytest\n\n{CUT[end]}\n\n\ndef test_more(robust): robust.record(made())\n")
    with suppress(KeyboardInterrupt):
        run("--robust", *arguments)
    assert left_behind() == []


def test_the_folder_of_a_worker_lies_in_that_of_its_run(left_behind: Any) -> None:
    with followed():
        (outer,) = left_behind()
        with followed():
            assert left_behind() == [outer]
            assert len(list(outer.iterdir())) == 1
        assert list(outer.iterdir()) == []
    assert left_behind() == []


@pytest.mark.slow
def test_ctrl_c_leaves_no_folder_behind_in_any_process(
    write_light: Any, project: pytest.Pytester, left_behind: Any
) -> None:
    write_light(
        test_a="import os, signal, time\n\ndef test_it(robust):\n"
        "    os.kill(os.getppid(), signal.SIGINT)\n    time.sleep(60)\n"
    )
    with Path("conftest.py").open(
        "a"
    ) as file:  # a test run in the background ignores the signal, and so do its processes
        file.write("\nimport signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n")
    done = project.runpytest_subprocess("--robust", "-n", "1", timeout=50)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert left_behind() == []
