"""A claim that is made in another thread, task or process is recorded with its test, or the test is not green."""

from __future__ import annotations

from typing import Any

import pytest

QUIET = ("-W", "ignore::pytest.PytestUnhandledThreadExceptionWarning", "-W", "ignore::DeprecationWarning")

ELSEWHERE = """
    import asyncio, multiprocessing, os, subprocess, sys, threading, time
    from concurrent.futures import ThreadPoolExecutor

    def fails(model, data):
        claim(model, data, 0.4, at_least=0.5)

    def holds(model, data):
        claim(model, data, 0.01, at_least=0.5)

    def broken(model, data):
        claim(lambda x: model(x) * float("nan"), data, 0.01, at_least=0.5)

    def dies(model, data):
        claim(lambda x: os._exit(1), data, 0.01, at_least=0.5)

    def internal(model, data):
        def raises(x): raise ZeroDivisionError("inside")
        assert_shift_accuracy(model, data, raises, at_least=0.5)

    def in_thread(work, *args):
        thread = threading.Thread(target=work, args=args, name="worker")
        thread.start()
        thread.join()

    def in_fork(work, *args):
        pid = os.fork()
        if not pid:
            try:
                work(*args)
            except BaseException:
                pass
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    next_begins = threading.Event()

    @pytest.fixture(autouse=True)
    def begins():
        next_begins.set()

    def waits():
        time.sleep(90)  # past whatever test comes last in this worker, on a loaded machine too

    @pytest.mark.parametrize("what", [fails, broken, internal])
    def test_thread(robust_model, robust_data, what):
        holds(robust_model, robust_data)
        in_thread(what, robust_model, robust_data)

    def test_thread_that_holds(robust_model, robust_data):
        in_thread(holds, robust_model, robust_data)

    @pytest.fixture
    def in_a_fixture(robust_model, robust_data):
        in_thread(fails, robust_model, robust_data)

    def test_thread_of_a_fixture(robust_model, robust_data, in_a_fixture):
        holds(robust_model, robust_data)

    @pytest.fixture
    def at_its_end(robust_model, robust_data):
        yield
        in_thread(fails, robust_model, robust_data)

    def test_thread_of_a_teardown(robust_model, robust_data, at_its_end):
        holds(robust_model, robust_data)

    def test_unread_future(robust_model, robust_data):
        holds(robust_model, robust_data)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(fails, robust_model, robust_data)

    def test_unread_to_thread(robust_model, robust_data):
        holds(robust_model, robust_data)
        async def main():
            await asyncio.gather(asyncio.to_thread(fails, robust_model, robust_data), return_exceptions=True)
        asyncio.run(main())

    def test_unread_task(robust_model, robust_data):
        holds(robust_model, robust_data)
        async def work():
            fails(robust_model, robust_data)
        async def main():
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        asyncio.run(main())

    def test_callback(robust_model, robust_data):
        holds(robust_model, robust_data)
        async def main():
            asyncio.get_running_loop().call_soon(fails, robust_model, robust_data)
            await asyncio.sleep(0)
        asyncio.run(main())

    def test_task_whose_failure_is_expected(robust_model, robust_data):
        async def work():
            fails(robust_model, robust_data)
        async def main():
            with pytest.raises(ClaimFailed):
                await asyncio.create_task(work())
        asyncio.run(main())

    @pytest.mark.parametrize("what", [fails, broken, dies])
    def test_fork(robust_model, robust_data, what):
        holds(robust_model, robust_data)
        in_fork(what, robust_model, robust_data)

    def test_fork_that_holds(robust_model, robust_data):
        in_fork(holds, robust_model, robust_data)

    def test_multiprocessing(robust_model, robust_data):
        holds(robust_model, robust_data)
        process = multiprocessing.get_context("fork").Process(target=fails, args=(robust_model, robust_data))
        process.start()
        process.join()

    def test_thread_of_a_fork(robust_model, robust_data):
        holds(robust_model, robust_data)
        in_fork(in_thread, fails, robust_model, robust_data)

    def test_anew(robust_model, robust_data):
        holds(robust_model, robust_data)
        code = "from toy import *; from robustest import *; "
        code += "assert_robust_accuracy(Brightness(), data(), Linf(.4), at_least=.5)"
        subprocess.run([sys.executable, "-W", "ignore", "-c", code])

    def test_ends_too_early(robust_model, robust_data):
        holds(robust_model, robust_data)
        next_begins.clear()

        def slow(x):
            # Where there is no next one in this worker, to the end of the process: after the session a claim of
            # a worker would be lost in the controller, which ends the run with another code.
            next_begins.wait(90)
            next_begins.set()
            return robust_model(x)

        threading.Thread(target=holds, args=(slow, robust_data), name="late", daemon=True).start()

    def test_has_not_begun(robust_model, robust_data):
        holds(robust_model, robust_data)
        threading.Thread(target=waits, name="sleeper", daemon=True).start()

    def test_idle_threads_are_no_matter(robust_model, robust_data):
        global pool
        pool = ThreadPoolExecutor(1)
        pool.submit(int).result()
        holds(robust_model, robust_data)

    def test_in_the_test_itself(robust_model, robust_data):
        holds(robust_model, robust_data)

    @pytest.mark.parametrize("what", [fails, broken, internal])
    def test_itself(robust_model, robust_data, what):
        what(robust_model, robust_data)
"""

ENDINGS = {
    "test_thread[fails]": "failed",
    "test_thread[broken]": "error",
    "test_thread[internal]": "error",
    "test_thread_that_holds": "passed",
    "test_thread_of_a_fixture": "failed",
    "test_thread_of_a_teardown": "error",
    "test_unread_future": "failed",
    "test_unread_to_thread": "failed",
    "test_unread_task": "failed",
    "test_callback": "failed",
    "test_task_whose_failure_is_expected": "passed",
    "test_fork[fails]": "failed",
    "test_fork[broken]": "error",
    "test_fork[dies]": "error",
    "test_fork_that_holds": "passed",
    "test_multiprocessing": "failed",
    "test_thread_of_a_fork": "failed",
    "test_anew": "failed",
    "test_ends_too_early": "error",
    "test_has_not_begun": "error",
    "test_idle_threads_are_no_matter": "passed",
    "test_in_the_test_itself": "passed",
    "test_itself[fails]": "failed",
    "test_itself[broken]": "error",
    "test_itself[internal]": "error",
}
"""How each test ends; the worst of its phases."""


def _found(content: dict[str, Any]) -> dict[str, str]:
    rank = ["error", "failed", "passed"]
    found: dict[str, str] = {}
    for one in content["tests"]:
        name = one["test"].partition("::")[2]
        found[name] = min(found.get(name, "passed"), one["outcome"], key=rank.index)
    return found


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_a_claim_made_elsewhere_is_in_the_record_or_its_test_is_not_green(
    workers: tuple[str, ...], write: Any, run: Any, read_json: Any
) -> None:
    if workers:
        pytest.importorskip("xdist")
    write(test_a=ELSEWHERE)
    result = run("--robust", "--robust-json=out.json", "-p", "no:cacheprovider", *QUIET, *workers)
    content = read_json()
    assert _found(content) == ENDINGS
    verdicts: dict[str, list[str]] = {}
    for row in content["results"]:
        if row["result"] is not None:
            verdicts.setdefault(row["test"].partition("::")[2], []).append(row["result"]["verdict"])
    for name in ("unread_future", "fork[fails]", "multiprocessing", "anew", "thread_of_a_fork"):
        assert verdicts[f"test_{name}"] == ["passed", "failed"]
    assert verdicts["test_thread_that_holds"] == verdicts["test_fork_that_holds"] == ["passed"]
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*Join threads and processes*"])


def test_the_error_of_a_task_is_reported_once(write: Any, run: Any) -> None:
    """By its test; asyncio would log it again when the task is freed, amid any later test."""
    write(
        test_a="""
        import asyncio, gc, logging

        kept, logged = [], []
        handler = logging.Handler()
        handler.emit = lambda record: logged.append(record.getMessage())
        logging.getLogger("asyncio").addHandler(handler)

        def test_unread(robust_model, robust_data):
            async def work():
                claim(robust_model, robust_data, 0.4, at_least=0.5)

            async def main():
                kept.append(asyncio.create_task(work()))
                await asyncio.sleep(0)
                await asyncio.sleep(0)

            asyncio.run(main())

        def test_later():
            (task,) = kept
            asyncio.Task.__del__(task)  # as the collector would
            assert not logged
        """
    )
    run("--robust", *QUIET).assert_outcomes(failed=1, passed=1)


def test_a_claim_after_its_test_turns_the_run_red(write: Any, run: Any, read_json: Any) -> None:
    write(
        test_a="""
        import os, time

        def test_first(robust_model, robust_data):
            claim(robust_model, robust_data, 0.01, at_least=0.5)
            if not os.fork():
                while not os.path.exists("begun"):
                    time.sleep(0.05)
                try:
                    claim(robust_model, robust_data, 0.4, at_least=0.5)
                except BaseException:
                    pass
                open("done", "w").close()
                os._exit(0)

        def test_second(robust_model, robust_data):
            open("begun", "w").close()
            while not os.path.exists("done"):
                time.sleep(0.05)
            claim(robust_model, robust_data, 0.01, at_least=0.5)
        """
    )
    result = run("--robust", "--robust-json=out.json", *QUIET)
    result.stdout.fnmatch_lines(["LOST: a claim of test_a.py::test_first came when its test had ended; *"])
    assert result.ret == 3
    assert read_json()["lost"] != []


def test_a_thread_makes_a_robustness_test_of_a_plain_one(write: Any, run: Any) -> None:
    write(
        test_a="""
        import threading
        from toy import Brightness, data

        def work():
            claim(Brightness(), data(), 0.4, at_least=0.5)

        def test_plain():
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

        def test_robust(robust): claimed()
        """
    )
    result = run("--robust", *QUIET)
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["test_a.py::test_plain *FAILED"])


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "1"), marks=pytest.mark.slow)])
def test_a_claim_in_the_name_of_a_test_that_has_ended_turns_the_run_red(
    workers: tuple[str, ...], write: Any, run: Any
) -> None:
    write(
        test_a="""
        import contextvars, threading

        kept = []

        def test_first(robust_model, robust_data):
            kept.append(contextvars.copy_context())
            claim(robust_model, robust_data, 0.01, at_least=0.5)

        def test_second(robust_model, robust_data):
            claim(robust_model, robust_data, 0.01, at_least=0.5)
            fails = (claim, robust_model, robust_data, 0.4, 0.5)
            thread = threading.Thread(target=kept[0].run, args=fails, name="late")
            thread.start()
            thread.join()
        """
    )
    result = run("--robust", *QUIET, *workers)
    result.stdout.fnmatch_lines(["LOST: a claim of test_a.py::test_first ended in ClaimFailed in thread 'late': *"])
    assert result.ret == 3


def test_a_replay_is_in_error_where_a_claim_elsewhere_is(write: Any, run: Any) -> None:
    write(
        test_a="""
        import threading

        def test_it(robust_model, robust_data):
            thread = threading.Thread(target=claim, args=(robust_model, robust_data, 0.1, 50))  # in percent
            thread.start()
            thread.join()
        """
    )
    result = run("--robust", "--robust-replay-only", *QUIET)
    assert result.ret == 1
    assert result.parseoutcomes() == {"errors": 1}


def test_an_error_inside_a_claim_is_an_error_in_every_report(write: Any, run: Any, read_json: Any) -> None:
    write(
        test_a="""
        def test_it(robust_model, robust_data, monkeypatch):
            def refuse(*args, **kwargs): raise AssertionError("an internal check")
            monkeypatch.setattr("robustest.engine.evaluator.Evaluator.gradient", refuse)
            claim(robust_model, robust_data, 0.1, at_least=0.5)
        """
    )
    result = run("--robust", "--robust-json=out.json", "--robust-junit=out.xml")
    assert result.parseoutcomes() == {"errors": 1}
    assert [one["outcome"] for one in read_json()["tests"]] == ["error"]
    assert read_json()["counts"] == {"error": 1}


FORKED = """
import json, os
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):  # as pytest-forked does
    hook, path = item.ihook, f"reports-{os.getpid()}.json"
    pid = os.fork()
    if not pid:
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        plain = [item.config.hook.pytest_report_to_serializable(config=item.config, report=one) for one in reports]
        with open(path, "w") as file:
            json.dump(plain, file, default=str)
        os._exit(0)
    os.waitpid(pid, 0)
    if not os.path.exists(path):
        call = pytest.CallInfo.from_call(lambda: 1 / 0, "setup")
        reports = [pytest.TestReport.from_item_and_call(item, call)]
    else:
        with open(path) as file:
            plain = json.load(file)
        os.remove(path)
        reports = [item.config.hook.pytest_report_from_serializable(config=item.config, data=one) for one in plain]
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    return True
"""


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_a_test_that_runs_in_a_forked_process_tells_the_same(
    workers: tuple[str, ...], project: Any, write: Any, run: Any, read_json: Any
) -> None:
    project.makeconftest((project.path / "conftest.py").read_text() + FORKED)
    write(
        test_a="""
        import os, threading

        def test_holds(robust_model, robust_data):
            claim(robust_model, robust_data, 0.01, at_least=0.5)

        def test_fails_beside(robust_model, robust_data):
            claim(robust_model, robust_data, 0.01, at_least=0.5)
            thread = threading.Thread(target=claim, args=(robust_model, robust_data, 0.4, 0.5))
            thread.start()
            thread.join()

        def test_dies(robust_model, robust_data):
            claim(lambda x: os._exit(0), robust_data, 0.01, at_least=0.5)

        def test_last(robust_model, robust_data):
            claim(robust_model, robust_data, 0.01, at_least=0.5)
        """
    )
    result = run("--robust", "--robust-json=out.json", *QUIET, *workers)
    content = read_json()
    assert _found(content) == {
        "test_holds": "passed",
        "test_fails_beside": "failed",
        "test_dies": "error",
        "test_last": "passed",
    }
    assert [row["result"]["verdict"] for row in content["results"] if row["result"] is not None] == [
        *("passed", "passed", "failed", "passed")
    ]
    assert content["lost"] == []
    assert result.ret == 1
