"""What people say of CIFAR-10's test images (CIFAR-10H, Peterson et al., ICCV 2019), beside models made by others."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from robustest_people import Responses, aggregate, suspects
from robustest_people.measure import measure_label_agreement, measure_label_quality

from robustest import Verdict

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class People(NamedTuple):
    """Counts of answers (10000, 10), the labels of the images, and the folder of all else."""

    counts: Any
    labels: Any
    folder: Path


@pytest.fixture(scope="module")
def people(shared_networks: ModuleType) -> People:
    folder = Path(shared_networks.HERE) / "images"
    counts, labels = (folder / name for name in ("cifar10h_counts.npy", "cifar10_test_set_original_labels.npy"))
    if not (counts.is_file() and labels.is_file()):
        pytest.skip("the answers of CIFAR-10H (../shared/data beside the repository) are not here")
    return People(np.load(counts), np.load(labels).astype(np.int64), folder)


def test_ten_thousand_labels(people: People) -> None:
    found = aggregate(Responses.from_counts(people.counts, classes=NAMES))
    preferred = (found.labels != people.labels) & ~found.tied
    share = found.shares[np.arange(len(people.labels)), people.labels]
    assert (preferred.sum(), found.tied.sum(), (share < 0.5).sum()) == (77, 3, 122)
    assert share.mean() == pytest.approx(0.9523, abs=5e-5)
    quality = measure_label_quality(people.labels, Responses.from_counts(people.counts), max_error_rate=0.02)
    assert (quality.verdict, quality.details["wrong"], quality.details["tied"]) == (Verdict.PASSED, 77, 3)


@pytest.mark.parametrize(
    ("model", "counted", "shares"),
    [("resnet_4b", (229, 1, 145, 8), (0.770, 0.7500)), ("resnet8_cifar10", (119, 1, 56, 7), (0.881, 0.8535))],
)
def test_the_first_thousand(people: People, shared_networks: ModuleType, model: str, counted: Any, shares: Any) -> None:
    says = Responses.from_counts(people.counts[:1000], classes=NAMES)
    data = shared_networks.images("cifar10_test_exact1000")
    details = measure_label_agreement(shared_networks.load(model), data, says).details
    names = ("errors", "defensible", "unsupported", "disputed_hits")
    assert tuple(details[name] for name in names) == counted
    assert (details["contained_accuracy"], details["expected_accuracy"]) == pytest.approx(shares, abs=5e-5)


def compressed(people: People) -> Any:
    """The images as JPEG files, in folders by class, in the order of the test set within each."""
    x = np.zeros((10_000, 32, 32, 3), dtype=np.uint8)
    places = [np.flatnonzero(people.labels == k) for k in range(10)]
    with tarfile.open(people.folder / "cifar10_test_jpeg.tar") as files:
        for member in files:
            _, _, rest = member.name.partition("/")
            name, _, file = rest.partition("/")
            content = files.extractfile(member) if file.endswith(".jpg") else None
            if content is not None:
                x[places[NAMES.index(name)][int(Path(file).stem)]] = Image.open(io.BytesIO(content.read()))
    return torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(people.labels)


def test_ten_thousand_compressed_images(people: People, shared_networks: ModuleType) -> None:
    says = Responses.from_counts(people.counts, classes=NAMES)
    details = measure_label_agreement(shared_networks.load("resnet_4b"), compressed(people), says).details
    assert abs(details["errors"] - 2346) <= 5
    assert abs(details["defensible"] - 28) <= 1
    assert abs(details["disputed_hits"] - 33) <= 1


def published(people: People) -> Any:
    return np.load(people.folder / "cifar10_test_set_pyx.npy")


def test_suspects_by_published_probabilities(people: People) -> None:
    """Reviewers rejected 54 labels of those they saw: fewer than three of five chose the given one."""
    pytest.importorskip("cleanlab", reason="cleanlab ranks suspects (the extra labels)")
    found = set(suspects(people.labels, published(people), out_of_sample=True).items.tolist())
    assert len(found) == 284
    reviews = json.loads((people.folder / "cifar10_mturk.json").read_text())
    rejected = {one["id"] for one in reviews if one["mturk"]["given"] < 3}
    says = aggregate(Responses.from_counts(people.counts))
    wrong = set(np.flatnonzero((says.labels != people.labels) & ~says.tied).tolist())
    assert (len(rejected), len(found & rejected)) == (54, 49)
    assert (len(wrong), len(found & wrong)) == (77, 15)


def thinned(counts: Any, answers: int) -> Responses:
    random = np.random.default_rng(0)
    return Responses.from_counts(np.array([random.multivariate_hypergeometric(row, answers) for row in counts]))


def test_fewer_answers_flatter_and_are_said_to(people: People) -> None:
    """With 5 answers nearly twice as many errors look defensible: nothing is settled. With 12, every line says so."""
    scores = torch.from_numpy(published(people)).float().log()
    data = (scores.view(-1, 10, 1, 1), torch.from_numpy(people.labels))

    def measured(says: Responses) -> Any:
        return measure_label_agreement(
            lambda x: x.flatten(1), data, says, min_contained=0.5, exact=True, bounds=(-200.0, 0.0)
        )

    every = measured(Responses.from_counts(people.counts))
    some, few = (measured(thinned(people.counts, answers)) for answers in (12, 5))
    assert few.details["defensible"] > 1.5 * every.details["defensible"]
    assert [one.verdict for one in (every, some, few)] == [Verdict.PASSED, Verdict.PASSED, Verdict.INCONCLUSIVE]
    assert [len(one.words.caveats) for one in (every, some, few)] == [0, 1, 1]
