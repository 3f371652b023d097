"""Claims over samples that were drawn together: one keyword, on every road to a verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import ConfigError, DataError, Linf, Waveforms
from robustest.claims.confidence import measure_calibrated
from robustest.claims.datasets import measure_accuracy, measure_transfer_accuracy, measure_worst_group_accuracy
from robustest.claims.robustness.robust_accuracy import measure_robust_accuracy
from robustest.claims.shifts.shift_accuracy import measure_consistency, measure_shift_accuracy
from robustest.errors import UnknownNameError
from robustest.results import Result, Verdict

VIDEOS, FRAMES = 60, 10
SCOPE: dict[str, Any] = {"scope": "population"}


def images(right: NDArray[np.bool_], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noise around 0.3 or 0.7, which `model` tells apart, with labels that are wrong where `right` (n,) is False."""
    random = torch.Generator().manual_seed(seed)
    y = torch.arange(len(right)) % 2
    x = 0.3 + 0.4 * y[:, None, None, None] + 0.1 * (torch.rand(len(right), 1, 8, 8, generator=random) - 0.5)
    return x, torch.where(torch.from_numpy(right), y, 1 - y)


class Bright(torch.nn.Module):
    """Two classes by the mean of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(1, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[-30.0], [30.0]]))
            self.head.bias.copy_(torch.tensor([15.0, -15.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1).mean(1, keepdim=True))  # type: ignore[no-any-return]


IDS = np.repeat(np.arange(VIDEOS), FRAMES)
MOSTLY = np.arange(VIDEOS * FRAMES) % 20 > 0
DATA = images(MOSTLY)


def accuracy(**how: Any) -> Result:
    return measure_accuracy(Bright().eval(), DATA, **{"at_least": 0.8, "cluster": IDS, **SCOPE, **how})


CLAIMS: dict[str, Callable[[float, Any], Result]] = {
    "accuracy": lambda at_least, ids: accuracy(at_least=at_least, cluster=ids),
    "robust accuracy": lambda at_least, ids: measure_robust_accuracy(
        Bright().eval(), DATA, Linf(0.01), at_least=at_least, cluster=ids, attack="fgsm", **SCOPE
    ),
    "worst group": lambda at_least, ids: measure_worst_group_accuracy(
        Bright().eval(),
        DATA,
        {"one": np.arange(300), "two": np.arange(300, 600)},
        at_least=at_least,
        cluster=ids,
        **SCOPE,
    ),
    "shift": lambda at_least, ids: measure_shift_accuracy(
        Bright().eval(), DATA, "brightness", severity=1, at_least=at_least, cluster=ids, **SCOPE
    ),
    "consistency": lambda at_least, ids: measure_consistency(
        Bright().eval(), DATA, "contrast", severity=1, max_flip_rate=1 - at_least, cluster=ids, **SCOPE
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_about_the_population_count_clusters(claim: str) -> None:
    found = CLAIMS[claim](0.75, IDS)
    assert found.verdict is Verdict.PASSED, found.rule
    assert "clusters of 10 units" in found.rule
    assert "clusters of 10 units" in found.details["clusters"]
    assert CLAIMS[claim](0.75, IDS // 30).verdict is Verdict.INCONCLUSIVE, "2 clusters"
    assert CLAIMS[claim](0.75, IDS // 6).verdict is Verdict.INCONCLUSIVE, "10 clusters: .75 ** 10 is above alpha"
    assert CLAIMS[claim](0.75, None).verdict is Verdict.PASSED


def test_a_set_is_what_it_is() -> None:
    for how in ({}, {"exact": True}):
        with_ids, without = accuracy(scope="set", **how), accuracy(scope="set", cluster=None, **how)
        assert (with_ids.verdict, with_ids.interval, with_ids.rule) == (without.verdict, without.interval, without.rule)
        assert "clusters" not in with_ids.details


@pytest.mark.parametrize(
    "claim",
    [
        lambda ids: measure_calibrated(Bright().eval(), DATA, max_ece=0.3, cluster=ids, **SCOPE),
        lambda ids: measure_transfer_accuracy(
            Bright().eval(), DATA, images(MOSTLY, 1), at_least=0.6, cluster=ids, **SCOPE
        ),
        lambda ids: measure_transfer_accuracy(
            Bright().eval(), DATA, images(MOSTLY, 1), max_drop=0.3, cluster=ids, **SCOPE
        ),
    ],
)
def test_a_claim_that_counts_no_clusters_passes_nothing_with_them(claim: Callable[[Any], Result]) -> None:
    assert claim(None).verdict is Verdict.PASSED, "else the case is none"
    found = claim(IDS)
    assert (found.verdict, found.ruling.reasons) == (Verdict.INCONCLUSIVE, ("clusters",))
    assert found.rule.startswith("clusters were given, and the rule of this claim counts single units as draws")
    assert 'scope="set"' in found.rule


@pytest.mark.parametrize(("draws", "least"), [(30, 1), pytest.param(60, 3, marks=pytest.mark.slow)])
def test_frames_of_25_videos_seldom_pass_a_claim_of_082_where_080_is_true(draws: int, least: int) -> None:
    random, ids, by_frame, by_video = np.random.default_rng(6), np.repeat(np.arange(25), 20), 0, 0
    for _ in range(draws):
        right = random.random(500) < np.repeat(random.beta(0.48, 0.12, 25), 20)
        how: dict[str, Any] = {"at_least": 0.82, "cache": False, **SCOPE}
        by_frame += measure_accuracy(Bright().eval(), images(right), **how).verdict is Verdict.PASSED
        by_video += measure_accuracy(Bright().eval(), images(right), cluster=ids, **how).verdict is Verdict.PASSED
    assert by_frame >= least, "else the case is none"
    assert by_video <= 2


def test_clusters_do_not_depend_on_batches_workers_or_what_is_remembered() -> None:
    first = accuracy()
    for how in ({"batch_size": 7}, {"cache": False}, {"cluster": [f"v{one}" for one in IDS]}, {"recheck": 1.0}):
        again = accuracy(**how)
        assert (again.interval, again.rule, again.details["clusters"]) == (
            first.interval,
            first.rule,
            first.details["clusters"],
        )
    other = accuracy(cluster=IDS[::-1] // 2)
    assert other.details["clusters"] == "30 clusters of 20 units"


def test_columns_of_frames_are_no_inputs() -> None:
    random = np.random.default_rng(0)
    frame = pandas.DataFrame({"size": random.normal(size=600), "patient": IDS})
    y = (frame["size"] > 0).to_numpy().astype(int)

    def model(rows: pandas.DataFrame) -> NDArray[np.float64]:
        assert list(rows.columns) == ["size"]
        return np.stack([-rows["size"], rows["size"]], 1)

    found = measure_accuracy(model, (frame, y), at_least=0.8, cluster="patient", **SCOPE)
    assert (found.verdict, found.details["clusters"]) == (Verdict.PASSED, "60 clusters of 10 units")
    with pytest.raises(UnknownNameError, match="Did you mean 'patient'"):
        measure_accuracy(model, (frame, y), at_least=0.8, cluster="patients", **SCOPE)


@pytest.mark.parametrize(
    ("cluster", "error"),
    [(IDS[1:], DataError), ([None, *IDS[1:]], DataError), ("video", ConfigError), (3, ConfigError)],
)
def test_clusters_are_checked_for_either_scope(cluster: Any, error: type[Exception]) -> None:
    for scope in ("set", "population"):
        with pytest.raises(error, match="cluster"):
            accuracy(cluster=cluster, scope=scope)


def test_copies_and_clusters_count_together() -> None:
    x, y = images(np.ones(300, dtype=bool))
    data = x.repeat(2, 1, 1, 1), y.repeat(2)
    found = measure_accuracy(
        Bright().eval(), data, at_least=0.8, cluster=np.tile(np.repeat(np.arange(30), 10), 2), **SCOPE
    )
    assert found.verdict is Verdict.PASSED
    assert found.rule.endswith("by 30 clusters of 10 units, copies counted once")


def films(step: float) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    y = torch.arange(30).repeat_interleave(20) % 2
    start = (0.3 + 0.4 * (torch.arange(30) % 2))[:, None, None, None, None] + 0.1 * (
        torch.rand(30, 1, 1, 8, 8, generator=random) - 0.5
    )
    x = start + step * torch.randn(30, 20, 1, 8, 8, generator=random)
    return x.flatten(0, 1).clamp(0, 1), y


def test_likely_clusters_are_named_where_they_count() -> None:
    def caveats(**how: Any) -> str:
        return "; ".join(measure_accuracy(Bright().eval(), films(0.001), at_least=0.6, **how).words.caveats)

    assert "samples compared are nearly equal to others" in caveats(**SCOPE)
    assert "say so with cluster=" in caveats(**SCOPE)
    assert "nearly equal" not in caveats(scope="set")
    assert "nearly equal" not in caveats(cluster=np.repeat(np.arange(30), 20), **SCOPE)
    assert "nearly equal" not in caveats(cluster=np.arange(600), **SCOPE), "each said to be a draw of its own"
    assert accuracy(cluster=None).words.caveats == ()


def test_sounds_have_clusters() -> None:
    x, y = images(MOSTLY)
    waves = Waveforms((x.flatten(1), y), 8000)
    found = measure_accuracy(Bright().eval(), waves, at_least=0.75, cluster=IDS, **SCOPE)
    assert found.details["clusters"] == "60 clusters of 10 units"


class Brighter(Bright):
    """Another model, with the answers of the first."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.9 * super().forward(x)


def test_a_comparison_with_another_model_counts_clusters() -> None:
    how: dict[str, Any] = {"at_least": None, "no_worse_than": Brighter().eval(), "suppress": ("same_model",)}
    assert accuracy(tolerance=0.02, cluster=None, **how).verdict is Verdict.PASSED
    found = accuracy(tolerance=0.02, **how)
    assert (found.verdict, found.details["clusters"]) == (Verdict.INCONCLUSIVE, "60 clusters of 10 units")
    wide = accuracy(tolerance=0.2, **how)
    assert wide.verdict is Verdict.PASSED
    assert "by 60 clusters of 10 units" in wide.rule
    assert accuracy(tolerance=0.2, **{**how, "cluster": IDS // 30}).verdict is Verdict.INCONCLUSIVE
