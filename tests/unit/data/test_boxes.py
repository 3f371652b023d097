"""Readers of COCO's, YOLO's and Pascal VOC's boxes: equal ones, and an error for what would move a score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustest import DataError, Detection, Verdict
from robustest.data import coco_boxes, voc_boxes, yolo_boxes
from robustest.measure import measure_accuracy
from robustest.tasks import MaiteDetector

WIDE, HIGH = 40, 30
# left, top, right, bottom, class; the second image has none.
BOXES: list[list[tuple[float, float, float, float, int]]] = [
    [(2, 3, 12, 13, 0), (20, 5, 40, 25, 1)],
    [],
    [(0, 0, 8, 30, 1)],
]
NAMES = ["cat", "dog"]


def pictures(folder: Path, *, size: tuple[int, int] = (WIDE, HIGH)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for at in range(len(BOXES)):
        Image.new("RGB", size, (60 * at, 0, 0)).save(folder / f"{at}.png")


def coco(root: Path, **changes: Any) -> Path:
    """Write COCO's layout and return the file of annotations; `changes` replace entries of the first annotation."""
    pictures(root / "images")
    rows: list[dict[str, Any]] = []
    for at, boxes in enumerate(BOXES):
        for left, top, right, bottom, kind in boxes:
            sides = [left, top, right - left, bottom - top]
            row = {"id": len(rows), "image_id": 7 * at, "category_id": [3, 8][kind], "bbox": sides, "iscrowd": 0}
            rows.append({**row, "area": sides[2] * sides[3] / 2})
    rows[0] |= changes
    about = {
        # not in the order of their ids
        "images": [{"id": 7 * at, "file_name": f"{at}.png", "height": HIGH, "width": WIDE} for at in (2, 0, 1)],
        "categories": [{"id": 8, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": rows,
    }
    file = root / "instances.json"
    file.write_text(json.dumps(about))
    return file


def yolo(root: Path, first: str = "", *, described: str = "") -> Path:
    """Write YOLO's layout and return its folder; `first` replaces the lines of the first image."""
    pictures(root / "images" / "val")
    (root / "labels" / "val").mkdir(parents=True, exist_ok=True)
    for at, boxes in enumerate(BOXES):
        lines = [
            f"{kind} {(left + right) / 2 / WIDE} {(top + bottom) / 2 / HIGH}"
            f" {(right - left) / WIDE} {(bottom - top) / HIGH}"
            for left, top, right, bottom, kind in boxes
        ]
        if lines:  # an image without boxes has no file
            text = first if first and at == 0 else "\n".join(lines)
            (root / "labels" / "val" / f"{at}.txt").write_text(text)
    (root / "data.yaml").write_text(described or "val: images/val\nnc: 2\nnames:\n  0: cat\n  1: dog\n")
    return root


def voc(root: Path, *, head: str = "", shift: int = 1, **changes: object) -> Path:
    """Write VOC's layout and return its root; `changes` replace entries of the first object."""
    pictures(root / "JPEGImages")
    (root / "Annotations").mkdir(exist_ok=True)
    for at, boxes in enumerate(BOXES):
        things: list[str] = []
        for left, top, right, bottom, kind in boxes:
            about: dict[str, object] = {"name": NAMES[kind], "xmin": left + shift, "ymin": top + shift}
            about |= {"xmax": right, "ymax": bottom, "difficult": 0, "filename": f"{at}.png"}
            about |= changes if not things and at == 0 else {}
            corners = "".join(f"<{side}>{about[side]}</{side}>" for side in ("xmin", "ymin", "xmax", "ymax"))
            difficult = f"<difficult>{about['difficult']}</difficult>"
            things.append(f"<object><name>{about['name']}</name>{difficult}<bndbox>{corners}</bndbox></object>")
        name = changes.get("filename", f"{at}.png")
        size = f"<size><width>{WIDE}</width><height>{HIGH}</height><depth>3</depth></size>"
        text = f"{head}<annotation><filename>{name}</filename>{size}{''.join(things)}</annotation>"
        (root / "Annotations" / f"{at}.xml").write_text(text)
    return root


def of_coco(root: Path, **changes: Any) -> Any:
    return coco_boxes(coco(root, **changes), root / "images", first_label=0)


def of_yolo(root: Path, first: str = "") -> Any:
    return yolo_boxes(yolo(root, first))


def of_voc(root: Path, **changes: Any) -> Any:
    return voc_boxes(voc(root, **changes) / "Annotations", root / "JPEGImages", NAMES)


READERS: list[Any] = [of_coco, of_yolo, of_voc]


@pytest.mark.parametrize("read", READERS)
def test_the_boxes_are_those_of_the_files_in_pixels(read: Any, tmp_path: Path) -> None:
    data = read(tmp_path)
    assert (len(data), data.classes) == (3, ("cat", "dog"))
    for at, (image, target) in enumerate(data):
        assert image.shape == (3, HIGH, WIDE)
        assert float(image[0].max()) == pytest.approx(60 * at / 255)
        assert torch.allclose(
            target["boxes"], torch.tensor([box[:4] for box in BOXES[at]]).reshape(-1, 4).float(), atol=1e-4
        )
        assert target["labels"].tolist() == [box[4] for box in BOXES[at]]
        assert not target["iscrowd"].any()


@pytest.mark.parametrize("read", READERS)
def test_a_claim_takes_the_data_and_finds_a_lost_class(read: Any, tmp_path: Path) -> None:
    def answers(images: list[torch.Tensor], kinds: tuple[int, ...]) -> list[dict[str, Any]]:
        found = []
        for image in images:
            boxes = [box for box in BOXES[round(float(image[0, 0, 0]) * 255 / 60)] if box[4] in kinds]
            places, labels = [box[:4] for box in boxes], [box[4] for box in boxes]
            found.append(
                {
                    "boxes": np.array(places),
                    "labels": np.array(labels, int),
                    "scores": 0.9 - 0.1 * np.arange(len(boxes)),
                }
            )
        return found

    task = Detection(MaiteDetector(2), score_by="ap")
    data = read(tmp_path)
    for kinds, verdict, value in (((0, 1), Verdict.PASSED, 1.0), ((0,), Verdict.FAILED, 0.5)):
        result = measure_accuracy(lambda x, kinds=kinds: answers(x, kinds), data, task=task, metric="map", at_least=0.9)
        assert result.verdict is verdict
        assert result.estimate == pytest.approx(value, abs=1e-12)
        assert result.details["class_names"] == ["cat", "dog"]


def test_labels_of_coco_are_ids_unless_they_are_counted(tmp_path: Path) -> None:
    file = coco(tmp_path, iscrowd=1)
    ids = coco_boxes(file, tmp_path / "images")
    assert ids[0][1]["labels"].tolist() == [3, 8]
    assert ids.classes[3] == "cat"
    assert len(ids.classes) == 9
    assert ids[0][1]["iscrowd"].tolist() == [True, False]
    assert ids[0][1]["area"].tolist() == [50, 200]  # the file's, not the boxes'
    counted = coco_boxes(file, tmp_path / "images", first_label=1)
    assert counted[0][1]["labels"].tolist() == [1, 2]
    assert counted.classes == ("background", "cat", "dog")


def test_boxes_follow_images_that_are_scaled(tmp_path: Path) -> None:
    data = coco_boxes(coco(tmp_path), tmp_path / "images", size=(60, 60))
    image, target = data[2]
    assert image.shape == (3, 60, 60)
    assert float(image[:, 45:].max()) == 0  # 40 x 30 becomes 60 x 45
    assert float(image[0, :45].min()) > 0.4
    assert target["boxes"].tolist() == [[0, 0, 12, 45]]
    assert target["area"].tolist() == [120 * 2.25]


def test_images_of_several_sizes_need_one(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    Image.new("RGB", (80, 20)).save(root / "images" / "val" / "1.png")
    with pytest.raises(DataError, match=r"size=\(30, 80\)"):
        yolo_boxes(root)
    assert yolo_boxes(root, size=(30, 80))[1][0].shape == (3, 30, 80)


def changed(root: Path, part: str, **changes: Any) -> Any:
    """Read COCO's file with entries of the first row of a part replaced."""
    file = coco(root)
    about = json.loads(file.read_text())
    about[part][0] |= changes
    file.write_text(json.dumps(about))
    return coco_boxes(file, root / "images")


DAMAGED: dict[str, tuple[Any, str]] = {
    "coco, box outside": (lambda root: of_coco(root, bbox=[35, 0, 10, 10]), "inside of the image of 40 x 30"),
    "coco, no area": (lambda root: of_coco(root, bbox=[3, 3, 0, 4]), "box with an area"),
    "coco, not a number": (lambda root: of_coco(root, bbox=[float("nan"), 3, 4, 4]), "finite numbers"),
    "coco, three numbers": (lambda root: of_coco(root, bbox=[3, 3, 4]), "4 finite numbers"),
    "coco, area of 0": (lambda root: of_coco(root, area=0), "positive area"),
    "coco, unknown class": (lambda root: of_coco(root, category_id=5), "category of the file"),
    "coco, unknown image": (lambda root: of_coco(root, image_id=99), "image of the file"),
    "coco, a list as image": (lambda root: of_coco(root, image_id=[0]), "image of the file"),
    "coco, no name of a file": (lambda root: changed(root, "images", file_name=None), "name of a file"),
    "coco, an id twice": (lambda root: changed(root, "images", id=7), "ids of their own"),
    "coco, a category twice": (lambda root: changed(root, "categories", id=3), "ids of their own"),
    "coco, no size": (lambda root: changed(root, "images", height=None), "the size of 2.png"),
    "yolo, no number": (lambda root: of_yolo(root, "nan 0.5 0.5 0.2 0.2"), "finite numbers"),
    "yolo, box outside": (lambda root: of_yolo(root, "0 0.9 0.5 0.4 0.2"), "inside of the image .* in line 1 of"),
    "yolo, pixels": (lambda root: of_yolo(root, "0 12 8 10 10"), "inside of the image"),
    "yolo, class out of range": (lambda root: of_yolo(root, "2 0.5 0.5 0.2 0.2"), r"class in 0\.\.1"),
    "yolo, negative class": (lambda root: of_yolo(root, "-1 0.5 0.5 0.2 0.2"), r"class in 0\.\.1"),
    "yolo, half a class": (lambda root: of_yolo(root, "0.5 0.5 0.5 0.2 0.2"), r"class in 0\.\.1"),
    "yolo, an answer": (lambda root: of_yolo(root, "0 0.5 0.5 0.2 0.2 0.9"), "with its confidence"),
    "yolo, words": (lambda root: of_yolo(root, "cat 0.5 0.5 0.2 0.2"), "numbers in line 1"),
    "yolo, a cut line": (lambda root: of_yolo(root, "0 0.5 0.5"), "3 numbers"),
    "voc, box outside": (lambda root: of_voc(root, xmax=50), "inside of the image .* in object 1 of"),
    "voc, unknown class": (lambda root: of_voc(root, name="cow"), "one of the classes cat, dog"),
    "voc, pixels from 0": (lambda root: of_voc(root, xmin=0), "first_pixel=0"),
    "voc, no number": (lambda root: of_voc(root, xmin="left"), "finite numbers"),
    "voc, cut off": (lambda root: of_voc(root, head="<a>"), "Pascal VOC's XML"),
    "voc, entities": (
        lambda root: of_voc(root, head='<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'),
        "document type",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_would_move_a_score_is_an_error_that_says_where(name: str, tmp_path: Path) -> None:
    make, message = DAMAGED[name]
    with pytest.raises(DataError, match=message):
        make(tmp_path)


@pytest.mark.parametrize("read", READERS)
def test_an_image_that_is_missing_or_another_one_is_named(read: Any, tmp_path: Path) -> None:
    data = read(tmp_path)
    path = data.images[0].path
    Image.new("RGB", (WIDE + 1, HIGH)).save(path)
    with pytest.raises(DataError, match="41 x 30"):
        data[0]
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0\.png"):
        data[0]


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    file, root, tree = coco(tmp_path / "c"), yolo(tmp_path / "y"), voc(tmp_path / "v")
    (tmp_path / "c" / "images" / "0.png").unlink()
    with pytest.raises(DataError, match="image 0 of"):
        coco_boxes(file, tmp_path / "c" / "images")
    (root / "images" / "val" / "0.png").unlink()
    with pytest.raises(DataError, match=r"1 have none, the first: .*0\.txt"):
        yolo_boxes(root)
    (tree / "JPEGImages" / "0.png").unlink()
    with pytest.raises(DataError, match=r"image of .*0\.xml"):
        voc_boxes(tree / "Annotations", tree / "JPEGImages", NAMES)


def test_labels_in_another_folder_are_no_empty_images(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    (root / "labels").rename(root / "annotations")
    with pytest.raises(DataError, match="every image would be empty"):
        yolo_boxes(root)


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "a/../../outside.png"])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "0.png").rename(tmp_path / "outside.png")
    root = tmp_path / "data"
    file = coco(root)
    about = json.loads(file.read_text())
    about["images"][0]["file_name"] = name
    file.write_text(json.dumps(about))
    with pytest.raises(DataError, match="inside of the folder"):
        coco_boxes(file, root / "images")
    with pytest.raises(DataError, match="inside of the folder"):
        of_voc(root, filename=name)
    (root / "val.txt").write_text(f"{name}\n")
    with pytest.raises(DataError, match="inside of the folder"):
        yolo_boxes(yolo(root, described="val: val.txt\nnames: [cat, dog]\n"))
    with pytest.raises(DataError, match="inside of the folder"):
        yolo_boxes(yolo(root, described="val: ../../images\nnames: [cat, dog]\n"))


def test_a_link_out_of_the_folder_is_followed_where_that_is_said(tmp_path: Path) -> None:
    root = yolo(tmp_path / "data")
    there = root / "images" / "val" / "0.png"
    there.rename(tmp_path / "0.png")
    there.symlink_to(tmp_path / "0.png")
    with pytest.raises(DataError, match="follow_links=True"):
        yolo_boxes(root)
    assert len(yolo_boxes(root, follow_links=True)) == 3


def test_descriptions_of_yolo_have_several_forms(tmp_path: Path) -> None:
    expected = [[box[4] for box in boxes] for boxes in BOXES]

    def labels(data: Any) -> list[list[int]]:
        return [target["labels"].tolist() for _, target in data]

    for text in (
        "val: images/val\nnames: [cat, dog]\n",
        "path: .\nval: [images/val]\nnames: {0: cat, 1: dog}\n",
        "val: ../images/val\nnc: 2\nnames: [cat, dog]\n",  # as some tools export it
    ):
        assert labels(yolo_boxes(yolo(tmp_path, described=text))) == expected
    assert labels(yolo_boxes(tmp_path, classes=NAMES)) == expected
    assert labels(yolo_boxes(tmp_path, classes=NAMES, first_label=1))[2] == [2]
    (tmp_path / "some.txt").write_text("./images/val/2.png\n")
    some = yolo_boxes(yolo(tmp_path, described="val: some.txt\nnames: [cat, dog]\n"))
    assert labels(some) == [[1]]
    polygon = yolo_boxes(yolo(tmp_path, "1 0.1 0.1 0.5 0.2 0.3 0.6"))
    assert polygon[0][1]["boxes"].tolist() == [pytest.approx([4, 3, 20, 18], abs=1e-4)]
    for text, message in (
        ("val: images/val\nnames: {1: cat, 2: dog}\n", r"classes 0\.\.K-1"),
        ("val: images/val\nnc: 3\nnames: [cat, dog]\n", "nc: 3"),
        ("train: images/val\nnames: [cat, dog]\n", "images of 'val'"),
        ("!!python/object/apply:os.system ['true']", "description of the data"),
        ("val: nowhere\nnames: [cat, dog]\n", "images in"),
    ):
        with pytest.raises(DataError, match=message):
            yolo_boxes(yolo(tmp_path, described=text))


def test_corners_of_voc_are_counted_from_1_or_0_and_difficult_objects_need_not_be_found(tmp_path: Path) -> None:
    root = voc(tmp_path, shift=0, difficult=1)
    (root / "val.txt").write_text("0\n2\n")
    data: Any = voc_boxes(root / "Annotations", root / "JPEGImages", NAMES, listed=root / "val.txt", first_pixel=0)
    assert [len(target["boxes"]) for _, target in data] == [2, 1]
    assert data[0][1]["boxes"].tolist() == [list(box[:4]) for box in BOXES[0]]
    assert data[0][1]["iscrowd"].tolist() == [True, False]


def test_a_document_type_is_found_in_any_encoding(tmp_path: Path) -> None:
    root = voc(tmp_path)
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'
    (root / "Annotations" / "0.xml").write_bytes(text.encode("utf-16"))
    with pytest.raises(DataError, match="document type"):
        voc_boxes(root / "Annotations", root / "JPEGImages", NAMES)


def test_a_claim_on_a_file_of_coco_has_pycocotools_value(tmp_path: Path) -> None:
    reason = "pycocotools is the reference: pip install robustest[test]"
    coco_tools = pytest.importorskip("pycocotools.coco", reason=reason)
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason=reason)
    random, images, kinds = np.random.default_rng(0), 12, [2, 5, 9]
    marks: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    given: dict[int, list[list[float]]] = {}
    for image in range(images):
        Image.new("RGB", (120, 120), (20 * image, 0, 0)).save(tmp_path / f"{image}.png")
        given[image] = []
        for _ in range(int(random.integers(0, 6))):
            left, top, wide, high = map(int, random.integers([0, 0, 8, 8], 60))
            kind, crowd = int(random.choice(kinds)), int(random.random() < 0.2)
            row = {"id": len(marks) + 1, "image_id": 100 - image, "category_id": kind, "iscrowd": crowd}
            marks.append({**row, "bbox": [left, top, wide, high], "area": 0.7 * wide * high})
            if random.random() < 0.8:
                near = [left + int(random.integers(0, 5)), top, wide, high]
                score = float(np.float32(random.integers(1, 6) / 8))  # ties
                answers.append({"image_id": 100 - image, "category_id": kind, "bbox": near, "score": score})
                given[image].append([near[0], top, near[0] + wide, top + high, kind, score])
    about = {
        "info": {},
        "images": [{"id": 100 - at, "file_name": f"{at}.png", "height": 120, "width": 120} for at in range(images)],
        "categories": [{"id": kind, "name": str(kind)} for kind in kinds],
        "annotations": marks,
    }
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(about))

    def detect(batch: list[torch.Tensor]) -> list[dict[str, Any]]:
        rows = [np.array(given[round(float(x[0, 0, 0]) * 255 / 20)]).reshape(-1, 6) for x in batch]
        return [{"boxes": one[:, :4], "labels": one[:, 4].astype(int), "scores": one[:, 5]} for one in rows]

    task = Detection(MaiteDetector(10), score_by="ap")
    result = measure_accuracy(detect, coco_boxes(file, tmp_path), task=task, metric="map")
    truth = coco_tools.COCO(str(file))
    evaluation = cocoeval.COCOeval(truth, truth.loadRes(answers), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert result.estimate == pytest.approx(evaluation.stats[0], abs=1e-12)
    assert result.details["map_medium"] == pytest.approx(evaluation.stats[4], abs=1e-12)
    assert 0.1 < (result.estimate or 0) < 0.9
