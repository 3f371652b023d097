"""[tool.robustest] in pyproject.toml: what it may not hold is a usage error, whatever profile runs."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[tool.robustest]\nprofile = {}", "Unknown key in [[]tool.robustest] 'profile'. Did you mean 'profiles'?*"),
        ("[tool.robustest]\nseed = 3", "Unknown key in [[]tool.robustest] 'seed'.*Known: profiles."),
        ("[tool.robustest.profiles.x]\nsead = 3", "Unknown robustest setting 'sead'. Did you mean 'seed'?*"),
        ("[tool.robustest.profiles.x]\nalpha = 0.7", "Expected alpha in (0, 0.5) but got 0.7 (float)*"),
        ("[tool.robustest.profiles.x]\nseed = 1.5", "Expected seed to be a whole number but got 1.5 (float)*"),
        ('[tool.robustest.profiles.x]\nscope = "sat"', "Unknown value of scope: 'sat'. Did you mean 'set'?*"),
        ('[tool.robustest.profiles.x]\ndevice = "gpu"', "Expected device to be auto, cpu,* but got 'gpu' (str)*"),
        ("[tool.robustest.profiles.x]\nbatch_size = 0", "Expected batch_size to be a whole number >= 1*"),
        ("[tool.robustest.profiles.x]\nexamples = -1", "Expected examples to be a whole number >= 0*"),
        ("[tool.robustest.profiles]\nx = 3", "Expected a table of settings in [[]tool.robustest.profiles.x]*"),
        ('[tool.robustest.profiles.x]\nsuppress = "softmax"', "Unknown health check 'softmax'.*'softmax_outputs'*"),
        ("[tool.robustest.profiles.x]\nsuppress = 3", "Expected suppress to be *"),
        ("[tool.robustest]\nprofiles = 3", "Expected a table *[[]tool.robustest.profiles]*"),
        ("[tool]\nrobustest = 3", "Expected a table *[[]tool.robustest]*"),
    ],
)
def test_a_wrong_entry_is_a_usage_error(project, write, run, table, message):
    project.path.joinpath("pyproject.toml").write_text(table, encoding="utf-8")
    write(test_a="def test_plain(): pass")
    result = run("--robust")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: pyproject.toml: {message}"])


def test_other_tools_tables_are_none_of_ours(project, write, run):
    project.makepyprojecttoml("[tool.robust]\nseed = 3\n")
    write(test_a="def test_plain(): pass")
    assert run("--robust").ret == 0
