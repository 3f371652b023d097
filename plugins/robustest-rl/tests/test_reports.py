"""What reports say of returns: by radius, the worst episodes and where they broke, and the pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import robustest_rl  # noqa: F401 - loaded before runs inside this process, which forget what they load
import torch
from robustest_rl import Away, Observation, SensorBias, measure_robust_return, plot_returns
from robustest_rl.plots import curves_by_radius
from torch import nn
from walks import Line, left, linear, right

from robustest import ConfigError, StoreError, Verdict
from robustest.results import Result

SCALE = (1.0, 0.0)


class Near(Line):
    """Twenty steps, each of which returns 1 within 1 of 0."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 20

    def step(self, action: Any) -> Any:
        seen, _, *rest = super().step(action)
        return seen, float(abs(self.at) <= 1), *rest


def net() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    layer.bias.data.zero_()
    return layer.eval().requires_grad_(False)


def measured(policy: Any, threat: Any, **words: Any) -> Result:
    words = {"at_least": 15, "min_share": 0.9, "episodes": 40, "cache": False, "attack": Away(steps=3), **words}
    return measure_robust_return(policy, Near, threat, **words)


@pytest.fixture(scope="module")
def failed() -> Result:
    found = measured(net(), Observation(2, scale=SCALE))
    assert found.verdict is Verdict.FAILED
    return found


def facts(result: Result) -> dict[str, str]:
    return {fact.label: str(fact) for fact in result.words.facts if fact.leads}


def test_short_reports_say_returns_by_radius_and_the_worst_episode(failed: Result) -> None:
    said = facts(failed)
    curve = failed.details["by_radius"]
    assert [point["radius"] for point in curve] == [0, 0.5, 1, 2]
    words = said["lowest mean return found by radius"].split(", ")
    assert [float(word.split(" at ")[1]) for word in words] == [0, 0.5, 1, 2]
    values = [float(word.split(" at ")[0]) for word in words]
    assert values == sorted(values, reverse=True)
    row = failed.details["worst"][0]
    assert said["worst episode"].startswith(f"{row['episode']}, reset with seed {row['seed']}, ")
    assert f"broke at step {row['broke at step']}: returned {row['return']:.4g}" in said["worst episode"]
    told = failed.counterexamples[0].answer
    assert (
        told == f"reset with seed {row['seed']}, {row['untouched']:.4g} untouched, broke at step {row['broke at step']}"
    )


def test_a_threat_without_a_radius_has_no_curve() -> None:
    found = measured(linear(-1, 0), SensorBias(2, scale=SCALE))
    assert "lowest mean return found by radius" not in facts(found)
    assert "curves" not in found.details


def test_an_episode_that_lost_nothing_broke_nowhere() -> None:
    found = measured(right, Observation(0.1, scale=SCALE), attack="noise", min_share=0.1)
    assert {row["broke at step"] for row in found.details["worst"]} == {None}
    assert "broke" not in facts(found)["worst episode"]


def test_untouched_episodes_break_where_the_environment_ends_them_below_what_is_claimed() -> None:
    short = measured(right, None, at_least=15)
    assert {row["broke at step"] for row in short.details["worst"]} == {19}
    assert {row["broke at step"] for row in measured(right, None, at_least=0).details["worst"]} == {None}


def test_the_page_draws_returns_by_radius_unless_its_axis_would_cut_them(failed: Result) -> None:
    (curve,) = failed.details["curves"]
    assert [point["x"] for point in curve["points"]] == [0, 0.5, 1, 2]
    ys = [point["y"] for point in curve["points"]]
    assert ys == sorted(ys, reverse=True)
    below = [{"radius": 0.0, "mean return": -5.0}, {"radius": 1.0, "mean return": -9.0}]
    assert curves_by_radius(below) == {}


def test_the_picture_has_every_episode_and_a_curve_that_never_rises(
    failed: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure
    drawn: list[Any] = []
    save = figure.savefig

    def savefig(self: Any, *args: Any, **words: Any) -> None:
        drawn.append(self)
        save(self, *args, **words)

    monkeypatch.setattr(figure, "savefig", savefig)
    assert plot_returns(failed, tmp_path / "deep" / "returns.svg").read_bytes().startswith(b"<?xml")
    episodes, radii = drawn[0].axes
    clean, hit = episodes.get_lines()
    assert clean.get_ydata().tolist() == sorted(failed.details["returns"]["untouched"])
    assert hit.get_ydata().tolist() == sorted(failed.details["returns"]["attacked"])
    (curve,) = radii.get_lines()
    assert (np.diff(curve.get_ydata()) <= 0).all()
    plot_returns(measured(left, None), tmp_path / "one.png")
    assert len(drawn[1].axes) == 1


def test_what_cannot_be_drawn_is_an_error(failed: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="png"):
        plot_returns(failed, tmp_path / "a.pdf")
    with pytest.raises(StoreError, match="writable"):
        plot_returns(failed, tmp_path / "file" / "a.png")
    with pytest.raises(ConfigError, match="measure_robust_return"):
        plot_returns(Result.from_dict({**failed.to_dict(), "details": {}}), tmp_path / "a.png")
    monkeypatch.setattr("robustest_rl.plots.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pictures"):
        plot_returns(failed, tmp_path / "a.png")


TEST = """
import pytest
from robustest_rl import SensorBias, assert_robust_return
from walks import Line, linear

@pytest.mark.robust
def test_walk():
    assert_robust_return(linear(-1, 0), Line, SensorBias(2, scale=(1, 0)), at_least=5, min_share=0.9, episodes=40)
"""


def test_terminal_and_page_name_the_worst_episode(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    words = ("--robust", "--robust-json", "out.json", "--robust-html=page", "-p", "no:cacheprovider")
    run = pytester.runpytest_inprocess(*words)
    run.assert_outcomes(failed=1)
    row = json.loads((pytester.path / "out.json").read_text())["results"][0]["result"]
    worst = row["details"]["worst"][0]
    run.stdout.fnmatch_lines([f"*worst episode*{worst['episode']}, reset with seed {worst['seed']}, *"])
    page = (pytester.path / "page" / "index.html").read_text()
    assert f"reset with seed {worst['seed']}" in page
    assert "returns of all episodes played, untouched and attacked" in page
    assert row["details"]["pictures"]
