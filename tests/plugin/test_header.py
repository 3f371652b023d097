"""The header names what a run measures with."""

from __future__ import annotations

import robustest


def test_the_header_tells_version_profile_and_settings(write, run):
    write(test_a="def test_plain(): pass")
    result = run("--robust", "--robust-seed=11", "--robust-device=cpu")
    result.stdout.fnmatch_lines(
        [
            f"robustest {robustest.__version__}: profile=dev seed=11 device=cpu attack=fast scope=set alpha=0.01 "
            "verdicts=early cache=on"
        ]
    )


def test_the_header_tells_what_a_profile_changes(write, run):
    write(test_a="def test_plain(): pass")
    run("--robust", "--robust-profile=nightly").stdout.fnmatch_lines(
        ["robustest *: profile=nightly * attack=thorough scope=set alpha=0.01 verdicts=exact cache=off"]
    )


def test_a_run_without_robust_has_no_header(write, run):
    write(test_a="def test_plain(): pass")
    run().stdout.no_fnmatch_line(f"robustest {robustest.__version__}*")
