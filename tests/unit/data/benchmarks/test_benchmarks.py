"""Readers of benchmarks, on small trees of the published layouts."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustest import ConfigError, DataError, UnknownNameError, benchmark
from robustest.data import as_samples
from robustest.data import benchmarks as known
from robustest.data.benchmarks import BENCHMARKS, Benchmark, ClassMap, CorruptedBenchmark, SequenceBenchmark
from robustest.data.benchmarks.corrupted import mapped
from robustest.data.benchmarks.images import Centre, as_it_is
from robustest.measure import measure_transfer_accuracy
from robustest.shifts import COMMON_CORRUPTIONS

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
from benchmark_trees import ALL, TINY, A, R, cifar_c, class_tree, corrupted_tree, image, objectnet


def seen(x: Tensor) -> Tensor:
    """(N,) the class that a tree's image says, of how many its folder has."""
    red, green = (255 * x[:, :2].mean((2, 3))).round().long().unbind(1)
    return red // 2 * 10 + green // 20


@pytest.fixture(scope="module")
def renditions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = class_tree(tmp_path_factory.mktemp("r") / "imagenet-r", R.names)
    (root / "README.txt").write_text("not a class")
    (root / R.names[0] / "._image_0.png").write_bytes(b"not an image")
    return root


def read(name: str, root: Path, **options: Any) -> Any:
    return benchmark(name, root, view=as_it_is, **options)


def test_imagenet_r_has_its_200_classes_in_the_order_of_the_models_outputs(renditions: Path) -> None:
    found = read("imagenet-r", renditions)
    assert isinstance(found, Benchmark)
    assert len(found) == 201
    assert len(found.classes) == 200
    assert found.classes.outputs == 1000
    x, y = as_samples(found).take(torch.arange(len(found)))
    assert torch.equal(seen(x), y)
    assert found.targets == y.tolist()
    assert [ALL[group[0]] for group in found.classes.groups] == list(R.names)
    assert found.caveats == ("201 of imagenet-r's 30,000 images",)
    assert [found.files[i] for i in (0, 1, 2)] == [
        f"{R.names[0]}/image_0.png",
        f"{R.names[0]}/image_1.png",
        found.files[2],
    ]


def test_the_folder_above_will_do(renditions: Path) -> None:
    assert read("imagenet-r", renditions.parent).files == read("imagenet-r", renditions).files


def test_another_benchmarks_tree_is_told(renditions: Path) -> None:
    missing = len(set(A.names) - set(R.names))
    words = (
        rf"200 folders, one for each class of ImageNet-A.*but {missing} are missing .*{missing} are of no such class"
    )
    with pytest.raises(DataError, match=words):
        read("imagenet-a", renditions)


def test_imagenet_v2s_folders_are_numbers_and_not_texts(tmp_path: Path) -> None:
    """As texts, 10 would come before 2, and most labels would be wrong."""
    root = class_tree(
        tmp_path / "imagenetv2-matched-frequency-format-val", [str(at) for at in range(1000)], suffix=".jpeg", side=8
    )
    found = read("imagenet-v2", tmp_path)
    assert (len(found), found.published, found.classes.whole) == (1001, 10_000, True)
    assert found.labels[:4].tolist() == [0, 0, 1, 2]
    assert [Path(file).parent.name for file in found.files[-2:]] == ["998", "999"]
    shutil.move(root / "7", root / "n01440764")
    with pytest.raises(
        DataError, match=r"1 are missing \(the first: 7\); 1 are of no such class \(the first: n01440764"
    ):
        read("imagenet-v2", tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "published"), [("imagenet", "val", 50_000), ("imagenet-sketch", "sketch", 50_889)]
)
def test_all_of_imagenets_classes(tmp_path: Path, name: str, folder: str, published: int) -> None:
    class_tree(tmp_path / folder, ALL, suffix=".JPEG", side=2)
    found = read(name, tmp_path)
    assert (len(found), found.published, len(found.classes)) == (1001, published, 1000)
    assert found.classes.whole
    assert found.labels.tolist() == [0, *range(1000)]


def test_objectnets_mapping_and_its_red_border(tmp_path: Path) -> None:
    found = benchmark("objectnet", objectnet(tmp_path / "objectnet-1.0").parent)
    assert isinstance(found, Benchmark)
    assert found.classes.names == ("alarm_clock", "backpack")
    assert found.classes.groups == ((6, 2), (499,))  # output i has line i + 1
    assert found.labels.tolist() == [0, 1]
    x, _ = found[0]
    assert x.shape == (3, 224, 224)
    assert float(x[0].max()) == 0  # no red is left
    (tmp_path / "objectnet-1.0" / "mappings" / "objectnet_to_imagenet_1k.json").write_text('{"Cup": "cup"}')
    with pytest.raises(DataError, match=r"four mappings.*KeyError"):
        benchmark("objectnet", tmp_path)


def test_a_class_of_several_outputs_is_right_by_any_of_them() -> None:
    classes = ClassMap(names=("a", "b"), groups=((1, 3), (4,)), outputs=6)
    logits = torch.tensor([[9.0, 0, 0, 5, 4, 0], [9, 5, 0, 0, 4, 0], [9, 0, 8, 1, 4, 9]])
    assert classes.restrict(logits).tolist() == [[5, 4], [5, 4], [1, 4]]
    assert classes.labels(np.array([0, 1, 3, 4, 5])).tolist() == [-1, 0, 0, 1, -1]


@pytest.mark.parametrize("groups", [((0,), (0,)), ((0,), ()), ((0,), (6,)), ((0,),)], ids=str)
def test_class_maps_that_say_nothing_are_refused(groups: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ConfigError, match="Expected"):
        ClassMap(names=("a", "b"), groups=groups, outputs=6)


def network(x: Tensor) -> Tensor:
    """1,000 logits of small images: most often for a class that ImageNet-R does not have."""
    generator = torch.Generator().manual_seed(1)
    weight, offset = torch.randn(1000, 48, generator=generator), torch.randn(1000, generator=generator)
    return x.flatten(1) @ weight.T + offset


def test_a_subsets_accuracy_is_that_of_logits_masked_by_hand(renditions: Path) -> None:
    found = read("imagenet-r", renditions)
    x, y = as_samples(found).take(torch.arange(len(found)))
    logits, kept = network(x), [group[0] for group in found.classes.groups]
    masked = torch.full_like(logits, -torch.inf)
    masked[:, kept] = logits[:, kept]
    by_hand = torch.tensor(kept)[y] == masked.argmax(1)
    labels = torch.arange(1000)
    source = torch.rand(1000, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    for given in (network, torch.nn.Sequential(Wrapped())):
        result = measure_transfer_accuracy(given, (source, labels), found, at_least=0.001, exact=True)
        assert [bool(one) for one in result.outcomes] == by_hand.tolist()
        assert result.details["source_n"] == 200  # of the source, the same classes
        of_source = network(source)[kept][:, kept].argmax(1) == torch.arange(200)
        assert result.details["source_accuracy"] == pytest.approx(float(of_source.float().mean()))
        assert "200 classes" in result.subject.setting
        assert "201 of imagenet-r's 30,000 images" in result.words.caveats
    assert float(by_hand.float().mean()) >= float((logits.argmax(1) == torch.tensor(kept)[y]).float().mean())


class Wrapped(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return network(x)


def test_a_model_of_other_classes_and_one_of_labels_alone_are_refused(renditions: Path) -> None:
    from robustest import ModelError, labels_model
    from robustest.measure import measure_robust_accuracy

    found = read("imagenet-r", renditions)
    with pytest.raises(ModelError, match="a model of 1000 classes, of which 200"):
        measure_transfer_accuracy(lambda x: network(x)[:, :200], found, found)
    blind = labels_model(lambda x: np.zeros(len(x), dtype=int), classes=1000)
    with pytest.raises(ConfigError, match="scores to choose among 200 of 1000"):
        measure_transfer_accuracy(blind, found, found)
    from robustest import Linf

    result = measure_robust_accuracy(network, found, Linf(0.0), attack="fgsm", max_samples=64)
    assert result.numbers.n == 64


def test_a_subset_as_the_source_of_other_data_is_refused(renditions: Path) -> None:
    found = read("imagenet-r", renditions)
    with pytest.raises(ConfigError, match="imagenet-r as the target but it is the source"):
        measure_transfer_accuracy(network, found, (torch.rand(4, 3, 4, 4), torch.arange(4)))


def test_cifar_c_is_five_blocks_of_the_same_images(tmp_path: Path) -> None:
    root = cifar_c(tmp_path / "CIFAR-10-C", [*COMMON_CORRUPTIONS, "spatter"])
    found = benchmark("cifar-10-c", tmp_path)
    assert isinstance(found, CorruptedBenchmark)
    assert (len(found), found.published) == (6, 10_000)
    assert found.corruptions == (*COMMON_CORRUPTIONS, "spatter")
    for severity in (1, 5):
        x, y = found.cells["fog", severity].take(torch.arange(6))
        assert x.shape == (6, 3, 32, 32)
        assert y.tolist() == list(range(6))
        assert torch.allclose(x[:, 0, 0, 0] * 255, torch.arange(6.0) * 10)
        assert torch.allclose(x[:, 1] * 255, torch.tensor(20.0 * severity))
    clean = (torch.rand(6, 3, 32, 32), torch.arange(6))
    assert benchmark("cifar-10-c", root, clean=clean).clean is not None  # type: ignore[union-attr]
    with pytest.raises(DataError, match="2 labels differ, the first of image 0: 1 where cifar-10-c has 0"):
        benchmark("cifar-10-c", root, clean=(clean[0], torch.tensor([1, 0, 2, 3, 4, 5])))
    with pytest.raises(DataError, match="Expected the 6 clean images of cifar-10-c but got 4"):
        benchmark("cifar-10-c", root, clean=(clean[0][:4], clean[1][:4]))


def test_arrays_of_another_shape_are_refused(tmp_path: Path) -> None:
    root = cifar_c(tmp_path, COMMON_CORRUPTIONS)
    np.save(root / "fog.npy", np.zeros((6, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"uint8 images \(30, 32, 32, 3\) in .*fog\.npy"):
        benchmark("cifar-10-c", root)
    (root / "fog.npy").unlink()
    with pytest.raises(DataError, match=r"cifar-10-c in .*fog\.npy"):
        benchmark("cifar-10-c", root)
    np.save(root / "labels.npy", np.arange(30))
    with pytest.raises(DataError, match=r"0\.\.9, the same in all five blocks"):
        benchmark("cifar-10-c", root)
    np.save(root / "labels.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="labels"):
        benchmark("cifar-10-c", root)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """ImageNet has five classes here, so that a tree of 75 cells is small."""
    classes = ALL[:5]
    monkeypatch.setattr(known, "imagenet_classes", lambda: classes)
    return classes


LEVELS = ("1", "2", "3", "4", "5")


def test_imagenet_cs_tree_with_its_archives_folders_or_without(tmp_path: Path, small: tuple[str, ...]) -> None:
    root = corrupted_tree(tmp_path / "ImageNet-C", COMMON_CORRUPTIONS, small, LEVELS)
    (root / "weather").mkdir()
    shutil.move(root / "fog", root / "weather" / "fog")
    found = read("imagenet-c", tmp_path)
    assert (len(found), found.corruptions, found.baseline, found.classes) == (6, COMMON_CORRUPTIONS, "alexnet", small)
    x, y = found.cells["fog", 4].take(torch.arange(6))
    assert y.tolist() == [0, 0, 1, 2, 3, 4]
    assert torch.equal(seen(x), y)
    assert float(x[0, 2, 0, 0]) == pytest.approx(0.4, abs=0.01)  # the severity
    pickle.loads(pickle.dumps(found.cells["snow", 1]))  # noqa: S301 - as workers get it


def test_a_cell_that_lacks_something_is_told(tmp_path: Path, small: tuple[str, ...]) -> None:
    root = corrupted_tree(tmp_path, COMMON_CORRUPTIONS, small, LEVELS)
    (root / "snow" / "3" / small[2] / "image_0.png").rename(root / "snow" / "3" / small[2] / "other.png")
    with pytest.raises(DataError, match=rf"same images in every cell.*snow/3.*{small[2]}/"):
        read("imagenet-c", root)
    (root / "snow" / "3" / small[2] / "other.png").unlink()
    with pytest.raises(DataError, match=rf"class {small[2]} of ImageNet-C in .*snow/3"):
        read("imagenet-c", root)
    shutil.rmtree(root / "fog")
    with pytest.raises(DataError, match=r"ImageNet-C's fog in .* no such folder"):
        read("imagenet-c", root)
    shutil.rmtree(root / "frost" / "5")
    with pytest.raises(DataError, match=r"five folders of severities in .*frost"):
        read("imagenet-c", root)


def test_clean_images_of_a_tree(tmp_path: Path, small: tuple[str, ...]) -> None:
    corrupted_tree(tmp_path / "c", COMMON_CORRUPTIONS, small, LEVELS)
    val = class_tree(tmp_path / "val", small, suffix=".JPEG", side=4)
    image(val / small[0] / "image_9.JPEG", 0)  # no corrupted one has this name
    found = read("imagenet-c", tmp_path / "c", clean=tmp_path)
    assert len(found.clean) == 6
    (val / small[1] / "image_0.JPEG").rename(val / small[1] / "image_5.JPEG")
    with pytest.raises(DataError, match=r"6 clean images of ImageNet-C in .*but 1 are not there"):
        read("imagenet-c", tmp_path / "c", clean=val)


def test_imagenet_c_bars_severities_are_numbers_of_their_own(tmp_path: Path, small: tuple[str, ...]) -> None:
    names = known._C_BAR
    root = corrupted_tree(tmp_path / "ImageNet-C-Bar", names, small, ("4.75", "7.00", "8.50", "9.25", "10.00"))
    found = read("imagenet-c-bar", root)
    x, _ = found.cells["plasma_noise", 5].take(torch.tensor([0]))
    assert float(x[0, 2, 0, 0]) == pytest.approx(0.5, abs=0.01)  # 10.00 comes last, not before 4.75
    assert (len(found.corruptions), found.baseline) == (10, "")


def test_3dcc_and_tiny_imagenet_c(tmp_path: Path, small: tuple[str, ...]) -> None:
    corrupted_tree(tmp_path / "ImageNet-3DCC", known._3DCC, small, LEVELS)
    assert len(read("imagenet-3dcc", tmp_path).corruptions) == 12
    for name in COMMON_CORRUPTIONS:
        for level in LEVELS:
            class_tree(tmp_path / "t" / name / level, TINY[:3])
    with pytest.raises(DataError, match=r"Tiny-ImageNet-C's 200 classes in .* got 3 folders"):
        benchmark("tiny-imagenet-c", tmp_path / "t")


def test_tiny_images_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_C", ("fog", "snow"))
    corrupted_tree(tmp_path, ("fog", "snow"), TINY, LEVELS)
    found = benchmark("tiny-imagenet-c", tmp_path)
    assert isinstance(found, CorruptedBenchmark)
    assert (len(found), len(found.classes)) == (201, 200)
    assert found.cells["fog", 1].take(torch.tensor([0]))[0].shape == (1, 3, 4, 4)


def test_cifar_ps_sequences(tmp_path: Path) -> None:
    for name in ("spatter" if one == "snow" else one for one in known_perturbations()):
        np.save(tmp_path / f"{name}.npy", np.full((3, 4, 32, 32, 3), 51, dtype=np.uint8))
    found = benchmark("cifar-10-p", tmp_path)
    assert isinstance(found, SequenceBenchmark)
    assert (len(found), len(found.sequences)) == (3, 10)
    assert found.sequences["tilt"][1].shape == (4, 3, 32, 32)
    assert float(found.sequences["tilt"][1].mean()) == pytest.approx(0.2)
    np.save(tmp_path / "tilt.npy", np.zeros((3, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"\(N, T, 32, 32, 3\) in .*tilt\.npy"):
        benchmark("cifar-10-p", tmp_path)


def known_perturbations() -> tuple[str, ...]:
    from robustest.data.benchmarks.corrupted import PERTURBATIONS

    return PERTURBATIONS


def test_imagenet_ps_videos(tmp_path: Path, small: tuple[str, ...]) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV reads the videos")
    for name in known_perturbations():
        for wnid in small:
            (tmp_path / name / wnid).mkdir(parents=True)
            file = str(tmp_path / name / wnid / "ILSVRC2012_val_00000001.mp4")
            video = cv2.VideoWriter(file, cv2.VideoWriter_fourcc(*"mp4v"), 1, (64, 64))
            for level in (0, 80, 160):
                video.write(np.full((64, 64, 3), (0, 0, level), dtype=np.uint8))  # OpenCV has blue first
            video.release()
    found = read("imagenet-p", tmp_path)
    assert (len(found), found.published) == (5, 50_000)
    frames = found.sequences["zoom_blur"][2]
    assert frames.shape == (3, 3, 64, 64)
    assert torch.allclose(frames[:, 0].mean((1, 2)), torch.tensor([0.0, 80 / 255, 160 / 255]), atol=0.03)  # red
    (tmp_path / "snow" / small[1] / "ILSVRC2012_val_00000001.mp4").unlink()
    with pytest.raises(DataError, match=rf"class {small[1]} of imagenet-p in .*snow"):
        read("imagenet-p", tmp_path)


def test_the_usual_view_is_the_middle_of_the_image() -> None:
    torchvision = pytest.importorskip("torchvision.transforms")
    usual = torchvision.Compose([torchvision.Resize(256), torchvision.CenterCrop(224)])
    random = np.random.default_rng(0)
    for size in ((300, 400), (257, 500), (100, 90), (224, 224)):
        picture = Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8))
        ours = np.asarray(Centre()(picture))
        assert ours.shape == (224, 224, 3)
        if size != (224, 224):  # those of ImageNet-C are cut already
            assert np.array_equal(ours, np.asarray(usual(picture)))
        else:
            assert np.array_equal(ours, np.asarray(picture))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"name": "imagenet-q"}, UnknownNameError, "Unknown benchmark 'imagenet-q'"),
        ({"root": 3}, ConfigError, "path of a folder"),
        ({"root": "nowhere"}, DataError, "no such folder"),
        ({"view": 224}, ConfigError, "function of a PIL image"),
        ({"clean": "val"}, ConfigError, "no clean= for imagenet-r"),
        ({"name": "cifar-10-c", "view": as_it_is}, ConfigError, "no view= for cifar-10-c"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_told(renditions: Path, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        benchmark(**{"name": "imagenet-r", "root": renditions, **arguments})


def test_files_that_are_no_images_and_views_that_give_none(tmp_path: Path) -> None:
    class_tree(tmp_path, R.names)
    (tmp_path / R.names[0] / "image_0.png").write_text("text")
    with pytest.raises(DataError, match=r"an image in .*image_0\.png"):
        _ = read("imagenet-r", tmp_path)[0]
    with pytest.raises(DataError, match="view= to give a PIL image or a tensor of floats but got ndarray"):
        _ = benchmark("imagenet-r", tmp_path, view=np.asarray)[1]  # type: ignore[index]


def test_every_name_has_a_reader() -> None:
    assert len(BENCHMARKS) == 15


def test_an_array_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    """In one session, under one name: the mapping of the old file shows the old images."""
    path, new = tmp_path / "fog.npy", tmp_path / "new.npy"
    np.save(path, np.zeros((2, 3, 3, 3), np.uint8))
    assert mapped(path).sum() == 0
    np.save(new, np.ones((2, 3, 3, 3), np.uint8))
    new.replace(path)
    assert mapped(path).sum() == 54
    assert mapped(path) is mapped(path)
    np.save(path, np.ones((4, 3, 3, 3), np.uint8))
    assert len(mapped(path)) == 4
