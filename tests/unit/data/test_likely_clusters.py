"""Signs of clusters: seen where samples were drawn together, and silent where they were not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Subset

from robustest.data import as_samples
from robustest.data.likely_clusters import by_inputs, names_of, of_samples
from robustest.data.likely_names import by_groups, by_names

FRAMES = [f"data/cat/video{video}_frame{frame}.png" for video in range(25) for frame in range(20)]


@pytest.mark.parametrize(
    ("names", "classes", "clusters"),
    [
        (FRAMES, 2, "25 clusters of about 20"),
        ([f"video{k // 20}_frame{k % 20}_rgb.png" for k in range(500)], 2, "25 clusters of about 20"),
        ([f"val/{k % 2}/patient{k // 7:03}-{k % 7}.dcm" for k in range(300)], 2, "43 clusters of about 7"),
        ([f"cat/{'abcdefghijklmno'[k // 20]}/{k % 20:05}.jpg" for k in range(300)], 2, "15 clusters of about 20"),
        ([f"p{k // 20}/q{k % 20}" for k in range(1000)], 1, "50 clusters of about 20"),
        ([f"clip{k // 3}.{k % 3}" for k in range(90)], 1, "30 clusters of about 3"),
        # Independent ones: numbered, by class, hashes, of folds, with a date each, or without numbers
        ([f"img_{k:05}.png" for k in range(500)], 2, ""),
        ([f"{k:05}.png" for k in range(500)], 2, ""),
        ([f"ILSVRC2012_val_{k:08}.JPEG" for k in range(500)], 100, ""),
        ([f"train/n{k % 50:08}/n{k % 50:08}_{k}.JPEG" for k in range(500)], 50, ""),
        ([f"{k % 10}/{k % 10}_{k}.png" for k in range(500)], 10, ""),
        ([f"cat/{(k * 2654435761) % 2**32:08x}.png" for k in range(500)], 2, ""),
        ([f"fold{k % 5}_{k}.png" for k in range(500)], 2, ""),
        ([f"{name}.png" for name in ("cat", "dog", "bird") * 100], 3, ""),
        ([f"HumanEval/{k}" for k in range(164)], 1, ""),
        ([f"{project}__{project}-{k}" for project in "abcdefghijkl" for k in range(30)], 1, ""),
        ([f"scene{k // 900}_{k}" for k in range(9000)], 1, ""),
        ([], 2, ""),
    ],
)
def test_names_of_files_and_items(names: list[str], classes: int, clusters: str) -> None:
    found = by_names(names, classes)
    assert found.startswith(f"the names of samples look like {clusters}: if samples were drawn together") == bool(
        clusters
    )
    assert bool(found) == bool(clusters)


@pytest.mark.parametrize(
    ("labels", "clusters"),
    [
        ([f"video {k // 20}" for k in range(500)], "25 clusters of about 20"),
        ([str(k // 20) for k in range(500)], "25 clusters of about 20"),
        ([f"{k // 4}" if k < 400 else "" for k in range(500)], "100 clusters of about 4"),
        ([f"subject {k % 4}" for k in range(500)], ""),
        ([["history", "law", "maths"][k % 3] for k in range(500)], ""),
        ([f"grade {k % 12}" for k in range(3000)], ""),
        ([f"{name}{end}" for name in "abcdefghijkl" for end in "xyz"] * 5, ""),
        ([f"item {k}" for k in range(500)], ""),
        ([""] * 500, ""),
    ],
)
def test_labels_of_groups(labels: list[str], clusters: str) -> None:
    found = by_groups(labels)
    assert found.startswith(f"the groups of items look like {clusters}: if items were drawn together") == bool(clusters)
    assert bool(found) == bool(clusters)


def films(films: int, frames: int, step: float, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    start = random.random((films, 1, 1, 12, 12))
    return (
        torch.from_numpy(start + np.cumsum(random.normal(0, step, (films, frames, 1, 12, 12)), 1)).flatten(0, 1).float()
    )


@pytest.mark.parametrize("step", [0.003, 0.01])
def test_frames_of_films_are_nearly_equal(step: float) -> None:
    x = films(25, 20, step)
    y = torch.arange(500) % 2
    found = of_samples(as_samples((x, y)), x[:64], y.numpy())
    assert found.startswith("12")
    assert "samples compared are nearly equal to others, as frames of one film are" in found
    # Samples that take long to read are not read for this: those at hand are compared.
    shuffled = x[torch.randperm(500, generator=torch.Generator().manual_seed(1))]
    slow = as_samples(list(zip(shuffled, y.tolist(), strict=True)))
    assert slow.slow
    assert "of 64 samples compared" in of_samples(slow, shuffled[:64], y.numpy())


DIGITS = load_digits(return_X_y=True)
RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        pytest.param(DIGITS[0].reshape(-1, 1, 8, 8) / 16, DIGITS[1], id="digits"),
        pytest.param(RANDOM.random((400, 3, 8, 8)), RANDOM.integers(0, 2, 400), id="noise"),
        pytest.param(
            RANDOM.random((10, 1, 12, 12))[np.arange(400) % 10] + RANDOM.normal(0, 0.01, (400, 1, 12, 12)),
            np.arange(400) % 10,
            id="a template for each class, and noise",
        ),
        pytest.param(
            np.where(np.arange(400)[:, None, None, None] % 2, 0.001, 1) * RANDOM.random((400, 1, 12, 12)),
            np.arange(400) % 2,
            id="half of them nearly black",
        ),
        pytest.param(np.repeat(RANDOM.random((100, 1, 12, 12)), 4, 0), np.arange(400) % 2, id="copies"),
        pytest.param(np.ones((50, 1, 12, 12)), np.arange(50) % 2, id="constant"),
        pytest.param(RANDOM.random((400, 2)), np.arange(400) % 2, id="rows of a table"),
        pytest.param(RANDOM.random((400, 1, 2, 2)), np.arange(400) % 2, id="tiny images"),
        pytest.param(RANDOM.random((1, 1, 12, 12)), np.zeros(1, int), id="one"),
        pytest.param(RANDOM.random((2, 1, 12, 12)), np.zeros(2, int), id="two"),
    ],
)
def test_independent_samples_show_nothing(x: Any, y: Any) -> None:
    inputs = torch.from_numpy(x).float()
    assert of_samples(as_samples((inputs, torch.from_numpy(y))), inputs[:64], y) == ""


def test_files_of_folders_subsets_and_loaders() -> None:
    files = [(Path(name), 0) for name in FRAMES]
    folder = SimpleNamespace(samples=files)
    assert names_of(folder) == FRAMES
    data: Any = folder
    assert names_of(Subset(data, [3, 1])) == [FRAMES[3], FRAMES[1]]
    loader = DataLoader([0, 1])  # type: ignore[arg-type]
    object.__setattr__(loader, "dataset", folder)
    assert names_of(loader) == FRAMES
    for other in (
        (torch.zeros(2, 1), torch.zeros(2)),
        [1, 2],
        SimpleNamespace(samples=[]),
        SimpleNamespace(samples=[3]),
    ):
        assert names_of(other) == []


def test_inputs_are_compared_by_some_of_their_values() -> None:
    # 64 x 12,288 values: a stride keeps it cheap; frames stay near, and noise apart.
    random = np.random.default_rng(1)
    base = random.random((32, 1, 3, 64, 64))
    frames = torch.from_numpy(np.concatenate([base, base + random.normal(0, 0.01, base.shape)], 1)).flatten(0, 1)
    assert by_inputs(frames).startswith("64 of 64")
    assert by_inputs(torch.from_numpy(random.random((64, 3, 64, 64)))) == ""
