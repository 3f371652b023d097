"""The figure of a result: accuracies by the number of training samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from robustest_training import plot_generalization

from robustest import ConfigError, Cost, Result, Verdict

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure


def made(statement: str = "s", details: Any = ()) -> Result:
    return Result.of(
        kind="robust_generalization",
        statement=statement,
        verdict=Verdict.PASSED,
        rule="",
        quantity="gap",
        estimate=0.1,
        interval=(0.0, 0.2),
        threshold=0.2,
        comparison="<=",
        n=1,
        n_total=1,
        outcomes=(True,),
        cost=Cost(),
        seed=0,
        setting="",
        method="",
        details=dict(details),
    )


def row(samples: int, robust: float, clean: float) -> dict[str, Any]:
    """A row of a curve: what holds in training is .1 more, and intervals reach .05 to either side."""
    told: dict[str, Any] = {"samples": samples}
    for of, value in (("robust", robust), ("clean", clean)):
        told |= {
            f"{of}_training": value + 0.1,
            f"{of}_test": value,
            f"{of}_test_interval": [value - 0.05, value + 0.05],
        }
    return told


def test_accuracies_by_training_samples_are_those_of_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a logarithmic axis, rising, with bands about what holds on test samples."""
    curve = [row(1200, 0.6, 0.85), row(75, 0.2, 0.7), row(300, 0.4, 0.8)]
    statement = "robust accuracy in training less that on test samples <= 0.2"
    result = Result.from_dict(made(statement=statement, details={"curve": curve}).to_dict())
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **how: (drawn.append(self), save(self, *args, **how)))
    plot_generalization(result, tmp_path / "curve.png")
    (panel,) = drawn[0].axes
    assert panel.get_xscale() == "log"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["75", "300", "1,200"]
    lines = {line.get_label(): line.get_xydata().tolist() for line in panel.get_lines()}
    assert lines["robust accuracy, test samples"] == [[75, 0.2], [300, 0.4], [1200, 0.6]]
    assert lines["clean accuracy, training samples"] == [[75, 0.7 + 0.1], [300, 0.8 + 0.1], [1200, 0.85 + 0.1]]
    assert len(lines) == 4
    band = panel.collections[0].get_paths()[0].vertices
    assert {y for x, y in band if x == 300} == {0.4 - 0.05, 0.4 + 0.05}
    assert drawn[0].get_suptitle().replace("\n", " ") == statement


@pytest.mark.parametrize("curve", [None, [], [{"samples": 3}], "abc", [3]])
def test_a_result_without_a_curve_is_named(tmp_path: Path, curve: object) -> None:
    with pytest.raises(ConfigError, match="accuracies by training samples but got one of 'robust_generalization'"):
        plot_generalization(made(details={} if curve is None else {"curve": curve}), tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"in \.png or \.svg"):
        plot_generalization(made(details={"curve": [row(10, 0.2, 0.5)]}), tmp_path / "a.pdf")
    assert list(tmp_path.iterdir()) == []
