"""What a model, a file or a test is called steers no terminal and no log of a CI service."""

from __future__ import annotations

import re
from typing import Any

import pytest

HOSTILE = "\x1b]0;owned\x07\n::error::hidden\r\n  ::add-mask::x ##[error]y \x9b31m ##vso[task.complete]z"


def harmless(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert not re.search(r"^\s*::(error::hidden|add-mask)", text, re.MULTILINE)
    assert not re.search(r"##(\[|vso)", text)


@pytest.mark.parametrize("style", ["auto", "long", "short", "line", "native", "no"])
@pytest.mark.parametrize("raised", ["ClaimFailed(hostile, made('failed'))", "ModelError(hostile)"])
def test_messages_of_ours_are_inert_in_every_style(write_light: Any, run: Any, style: str, raised: str) -> None:
    write_light(
        test_a=f"""
        from robustest.errors import ClaimFailed, ModelError
        from robustest.reports.text import failure_text

        def test_it(robust):
            hostile = {HOSTILE!r}
            robust.record(made("failed", statement=hostile, setting=hostile, notes=(hostile,), method=hostile))
            raise {raised}
        """
    )
    done = run("--robust", f"--tb={style}", "--robust-details", "--color=no")
    assert done.ret == 1
    told = re.sub(r"(?m)^.*hostile = .*$", "", done.stdout.str())  # the source itself, which pytest shows
    harmless(told)
    assert "owned" in done.stdout.str()


@pytest.mark.parametrize("style", ["long", "short"])
def test_values_beside_a_traceback_are_inert(write_light: Any, run: Any, style: str) -> None:
    """Pytest prints arguments and, with --showlocals, local variables apart from the lines of the source."""
    write_light(
        test_a="""
        from robustest.errors import ModelError

        @pytest.fixture
        def given():
            return "#" * 2 + "[error]owned"

        def test_it(robust, given):
            local = given + "#" * 2 + "vso[task.complete]"
            raise ModelError("nothing hostile")
        """
    )
    done = run("--robust", f"--tb={style}", "--showlocals", "--color=no").stdout.str()
    harmless(done)
    assert done.count("owned") >= (3 if style == "long" else 2)  # an argument, and two local variables


def test_other_reasons_are_inert_in_the_section(write_light: Any, run: Any, section: Any) -> None:
    write_light(
        test_a=f"""
        def test_skipped(robust): pytest.skip({HOSTILE!r})

        @pytest.mark.xfail(reason={HOSTILE!r})
        def test_xfailed(robust): assert 0

        def test_raises(robust): raise OSError({HOSTILE!r})
        """
    )
    lines = section(run("--robust"))
    assert len(lines) == 4
    harmless("\n".join(lines))
