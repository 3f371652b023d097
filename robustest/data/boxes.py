"""Data sets for claims on detection from files: COCO's JSON, YOLO's folders and Pascal VOC's XML."""

# A reader takes names of files from a file that somebody else may have made: they may not lead out of the folder that
# the user gave, by "..", as an absolute path, or over a link. Nothing is guessed: a box outside of its image, a class
# without a number or an image without a file is an error that names the file, as each would move a detector's score.

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from robustest.checks import checked_whole, require
from robustest.data.benchmarks.images import SUFFIXES
from robustest.errors import ConfigError, DataError, expected
from robustest.safe_files import UnsafeFile, parts_below

# Pixels by which a box may leave its image: annotations are rounded.
_SLACK = 1.0
# Larger numbers of classes are ids of something else.
_MOST_CLASSES = 100_000

Target = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Annotated:
    """An image file with its boxes.

    Attributes:
        path: of the image.
        size: (height, width) in pixels that its annotations are of.
        boxes: (n, 4) left, top, right, bottom in pixels.
        labels: (n,) classes.
        areas: (n,) in pixels.
        crowds: (n,) True for regions that need not be found.
    """

    path: Path
    size: tuple[int, int]
    boxes: Sequence[tuple[float, float, float, float]]
    labels: Sequence[int]
    areas: Sequence[float]
    crowds: Sequence[bool]


@dataclass(frozen=True, eq=False)
class BoxFiles(Dataset[tuple[Tensor, Target]]):
    """Images (3, H, W) float32 in [0, 1] with targets: `boxes`, `labels`, `area` and `iscrowd`.

    Attributes:
        classes: the name of each label.
        size: (height, width) to which images are scaled, keeping their shape, and filled up with black to the right
            and below; boxes follow. None for images as they are.
    """

    images: Sequence[Annotated] = field(repr=False)
    classes: tuple[str, ...]
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Target]:
        one = self.images[i]
        try:
            with Image.open(one.path) as file:
                image = file.convert("RGB")
        except (OSError, SyntaxError) as error:
            raise DataError(f"Expected an image in {one.path} but got: {error}.") from error
        if (image.height, image.width) != one.size:
            raise DataError(
                f"Expected {one.size[1]} x {one.size[0]} pixels in {one.path}, as its annotations say, but got "
                f"{image.width} x {image.height}: its boxes would be elsewhere. Annotate the file that is there."
            )
        scale = 1.0
        if self.size is not None:
            scale = min(self.size[0] / image.height, self.size[1] / image.width)
            sides = [max(1, round(side * scale)) for side in (image.width, image.height)]
            whole = Image.new("RGB", (self.size[1], self.size[0]))
            whole.paste(image.resize((sides[0], sides[1]), Image.Resampling.BILINEAR))
            image = whole
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255)
        return pixels, {
            "boxes": torch.tensor(one.boxes, dtype=torch.float32).reshape(-1, 4) * scale,
            "labels": torch.tensor(one.labels, dtype=torch.int64),
            "area": torch.tensor(one.areas, dtype=torch.float32) * scale**2,
            "iscrowd": torch.tensor(one.crowds, dtype=torch.bool),
        }


# COCO


def coco_boxes(
    annotations: str | Path,
    images: str | Path,
    *,
    first_label: int | None = None,
    size: tuple[int, int] | None = None,
    follow_links: bool = False,
) -> BoxFiles:
    """Read COCO's detection data: a JSON file of annotations, and a folder of images.

    Images are in the order of their ids, crowds need not be found, and areas are those of the file.

    Args:
        annotations: e.g. "instances_val2017.json".
        images: the folder to which its names of files lead.
        first_label: None for labels that are the ids of categories (1..90), as models of torchvision and DETR give
            them; a number to count categories in the order of their ids from it on, as Ultralytics' models do from 0.
        size: (height, width) as of `BoxFiles`; None for images of one size.
        follow_links: True to read images whose links lead out of the folder.

    Raises:
        DataError: an annotation is damaged, or of no image, category or file.
    """
    file, folder = Path(annotations), _folder(images)
    about = _json(file)
    categories = {key: str(one.get("name", "")) for key, one in _by_id(about, "categories", file).items()}
    label_of, classes = _numbered(categories, first_label)
    listed = _by_id(about, "images", file)
    boxes: dict[int, list[tuple[int, Mapping[str, Any]]]] = {key: [] for key in listed}
    for row in _rows(about, "annotations", file):
        where, image, category = f"annotation {row.get('id')} of {file}", row.get("image_id"), row.get("category_id")
        if type(image) is not int or image not in boxes:
            raise DataError(expected(f"an image of the file for {where}", image))
        if type(category) is not int or category not in label_of:
            raise DataError(expected(f"a category of the file for {where}", category))
        boxes[image].append((label_of[category], row))
    found = []
    for key, one in sorted(listed.items()):
        path = _inside(folder, one.get("file_name"), f"image {key} of {file}", follow_links=follow_links)
        height, width = map(
            int, _numbers([one.get("height"), one.get("width")], 2, f"the size of {path.name} in {file}")
        )
        corners, areas = [], []
        for _, mark in boxes[key]:
            where = f"annotation {mark.get('id')} of {file}"
            left, top, wide, high = _numbers(mark.get("bbox"), 4, where)
            corners.append(_checked((left, top, left + wide, top + high), (height, width), where))
            areas.append(_numbers([mark.get("area", wide * high)], 1, where)[0])
            require(areas[-1] > 0, f"a positive area of {where}", areas[-1], error=DataError)
        found.append(
            Annotated(
                path,
                (height, width),
                corners,
                [label for label, _ in boxes[key]],
                areas,
                [bool(row.get("iscrowd")) for _, row in boxes[key]],
            )
        )
    return _data(found, classes, size, file)


def _numbered(categories: Mapping[int, str], first_label: int | None) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return the label of each category, and the name of each label."""
    ids = sorted(categories)
    if first_label is not None:
        names = _classes([categories[one] or str(one) for one in ids], first_label)
        return {one: first_label + at for at, one in enumerate(ids)}, names
    if ids and not (ids[0] >= 0 and ids[-1] < _MOST_CLASSES):
        mend = "Pass first_label=0 to count categories in their order."
        raise DataError(expected(f"ids of categories in 0..{_MOST_CLASSES - 1}", (ids[0], ids[-1]), mend))
    return {one: one for one in ids}, tuple(categories.get(at, "") or "-" for at in range(max(ids, default=-1) + 1))


def _json(file: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"Expected annotations as JSON in {file} but got: {error}.") from error
    if not isinstance(about, dict):
        mend = "A list is that of a detector's answers: give the annotations."
        raise DataError(
            expected(f"an object with images, annotations and categories in {file}", type(about).__name__, mend)
        )
    return about


def _rows(about: Mapping[str, Any], name: str, file: Path) -> list[dict[str, Any]]:
    rows = about.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(expected(f"a list of {name} in {file}", type(rows).__name__))
    return rows


def _by_id(about: Mapping[str, Any], name: str, file: Path) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for row in _rows(about, name, file):
        key = row.get("id")
        if type(key) is not int or key in found:
            raise DataError(expected(f"{name} in {file} to have whole ids of their own", key))
        found[key] = row
    return found


# YOLO


def yolo_boxes(
    root: str | Path,
    split: str = "val",
    *,
    classes: Sequence[str] | None = None,
    first_label: int = 0,
    size: tuple[int, int] | None = None,
    follow_links: bool = False,
) -> BoxFiles:
    """Read YOLO's folders: images under "images", and text files of the same names under "labels".

    An image without a file of labels, or with an empty one, shows nothing. Polygons become the boxes around them.

    Args:
        root: the folder with data.yaml, or that file under another name; or a folder with images/SPLIT or SPLIT/images,
            and `classes`.
        split: "train", "val" or "test".
        classes: names of the classes; None to take them from data.yaml.
        first_label: the label of the first class: 1 for models whose class 0 is the background.
        size, follow_links: as for `coco_boxes`.

    Raises:
        ConfigError: without `classes` a package to read data.yaml is needed.
        DataError: a line is damaged or of no class, labels have no image, or a path leads out of the folder.
    """
    given = Path(root)
    file = given if given.is_file() else given / "data.yaml"
    folder, entries = _folder(file.parent), [f"images/{split}", f"{split}/images"]
    if classes is None or given.is_file():
        names, entries = _yaml(file, split)
        classes = names if classes is None else classes
    paths = _images_of(folder, entries, split)
    known, found, read = _classes(classes, first_label), [], set[Path]()
    for name in paths:
        path = _inside(folder, name, f"an image of {split}", follow_links=follow_links)
        try:
            with Image.open(path) as image:
                height, width = image.height, image.width
        except (OSError, SyntaxError) as error:
            raise DataError(f"Expected an image in {path} but got: {error}.") from error
        text = folder / _labels_of(name)
        labels: list[int] = []
        boxes: list[tuple[float, float, float, float]] = []
        if text.is_file():
            read.add(text)
            _inside(folder, _labels_of(name), f"the labels of {path}", follow_links=follow_links)
            for number, line in enumerate(_lines(text), 1):
                if line:
                    kind, box = _yolo_line(line, f"line {number} of {text}", len(classes), (height, width))
                    labels.append(kind + first_label)
                    boxes.append(box)
        areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
        found.append(Annotated(path, (height, width), boxes, labels, areas, [False] * len(boxes)))
    folders = {(folder / _labels_of(name)).parent for name in paths}
    texts = sorted(one for place in folders for one in place.glob("*.txt") if one.name != "classes.txt")
    if paths and not read:
        raise DataError(
            f"Expected files of labels such as {folder / _labels_of(paths[0])} but there are none: every image would "
            "be empty. Correct the path."
        )
    alone = [one for one in texts if one not in read]
    # A text file of images lists some of those in a folder: the others have labels, too.
    if alone and not any(entry.endswith(".txt") for entry in entries):
        raise DataError(f"Expected an image for each file of labels but {len(alone)} have none, the first: {alone[0]}.")
    return _data(found, known, size, folder)


def _yaml(file: Path, split: str) -> tuple[list[str], list[str]]:
    """Return names of classes, and paths of images relative to the file, of a data.yaml."""
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise ConfigError(
            f"Expected PyYAML to read {file} but it is not installed. Install it: pip install pyyaml, or "
            "give classes= and the folder."
        ) from None
    try:
        about = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        mend = "Give classes=, or the path of the file with the names of classes."
        raise DataError(f"Expected a description of the data in {file} but got: {error}. {mend}") from error
    names = about.get("names") if isinstance(about, dict) else None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[at] for at in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(expected(f"names of the classes 0..K-1 in {file}", names))
    count = about.get("nc", len(names))
    require(count == len(names), f"{len(names)} classes in {file}, as it names,", f"nc: {count}", error=DataError)
    entry = about.get(split)
    entries = [entry] if isinstance(entry, str) else entry
    if not isinstance(entries, list) or not entries or not all(isinstance(one, str) for one in entries):
        raise DataError(expected(f"the images of {split!r} in {file}", entry, "Pass a split that it has."))
    start = about.get("path") or "."
    # Many exported files lead to "../train/images", and mean the folder beside them.
    near = [one.removeprefix("../") if (file.parent / one.removeprefix("../")).exists() else one for one in entries]
    if (file.parent / str(start)).is_dir() and str(start) != ".":
        near = [f"{start}/{one}" for one in entries]
    return [str(one) for one in names], near


def _images_of(folder: Path, entries: Sequence[str], split: str) -> list[str]:
    """Return the sorted names, below a folder, of the images of folders or of text files with a name a line."""
    names: list[str] = []
    for entry in entries:
        place = folder.joinpath(*_parts(entry, f"the images of {split!r}"))
        if place.is_dir():
            names += [f"{entry}/{one.name}" for one in place.iterdir() if _is_image(one)]
        elif place.suffix == ".txt" and place.is_file():
            names += [line for line in _lines(place) if line]
    if not names:
        raise DataError(f"Expected images in {' or '.join(str(folder / one) for one in entries)} but there are none.")
    return sorted(names)


def _labels_of(name: str) -> str:
    parts = list(Path(name).parts)
    places = [at for at, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return str(Path(*parts).with_suffix(".txt"))


def _yolo_line(
    line: str, where: str, classes: int, size: tuple[int, int]
) -> tuple[int, tuple[float, float, float, float]]:
    """Return the class and the box in pixels of a line: class, centre and sides, or the corners of a polygon."""
    words = line.split()
    if len(words) != 5 and (len(words) < 7 or not len(words) % 2):
        mend = "Six numbers are an answer with its confidence: give files of labels." if len(words) == 6 else ""
        raise DataError(expected(f"a class, a centre and two sides in {where}", f"{len(words)} numbers", mend))
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise DataError(expected(f"numbers in {where}", line)) from None
    kind, *places = _numbers(values, len(words), where)
    if kind != int(kind) or not 0 <= kind < classes:
        raise DataError(expected(f"a class in 0..{classes - 1} in {where}", words[0], "Name all classes."))
    if len(places) == 4:
        across, down, wide, high = places
        corners = (across - wide / 2, down - high / 2, across + wide / 2, down + high / 2)
    else:
        corners = (min(places[::2]), min(places[1::2]), max(places[::2]), max(places[1::2]))
    height, width = size
    left, top, right, bottom = corners
    return int(kind), _checked((left * width, top * height, right * width, bottom * height), size, where)


# Pascal VOC


def voc_boxes(
    annotations: str | Path,
    images: str | Path,
    classes: Sequence[str],
    *,
    listed: str | Path | None = None,
    first_pixel: int = 1,
    first_label: int = 0,
    size: tuple[int, int] | None = None,
    follow_links: bool = False,
) -> BoxFiles:
    """Read Pascal VOC's detection data: a folder of XML files, one for each image, and a folder of images.

    Objects that are marked difficult need not be found, as crowds. A document type is refused: entities can read other
    files, and expand without end.

    Args:
        annotations, images: folders, such as "Annotations" and "JPEGImages"; may be the same.
        classes: names of all classes.
        listed: file with the names of a split's images, one a line, such as "ImageSets/Main/val.txt"; None for all.
        first_pixel: 1 for boxes of pixels counted from 1, the last one included, as VOC's own; 0 for corners counted
            from 0, as many tools write them.
        first_label, size, follow_links: as for `yolo_boxes`.

    Raises:
        DataError: a file is damaged, an object is of no class, or an image has no file.
    """
    require(first_pixel in (0, 1), "first_pixel to be 0 or 1", first_pixel)
    folder, pictures, known = _folder(annotations), _folder(images), _classes(classes, first_label)
    names = sorted(one.stem for one in folder.glob("*.xml"))
    if listed is not None:
        names = [line.split()[0] for line in _lines(Path(listed)) if line]
    label_of = {name: first_label + at for at, name in enumerate(classes)}
    found = []
    for name in names:
        file = _inside(folder, f"{name}.xml", "an image's annotations", follow_links=follow_links)
        document = _xml(file)
        path = _inside(pictures, document.findtext("filename") or "", f"the image of {file}", follow_links=follow_links)
        sides = [document.findtext(f"size/{side}") for side in ("height", "width")]
        height, width = (int(v) for v in _numbers(sides, 2, f"the size in {file}"))
        boxes, labels, hard = [], [], []
        for at, thing in enumerate(document.iter("object"), 1):
            where, kind = f"object {at} of {file}", (thing.findtext("name") or "").strip()
            if kind not in label_of:
                raise DataError(expected(f"one of the classes {', '.join(classes)} for {where}", kind))
            corners = [thing.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
            left, top, right, bottom = _numbers(corners, 4, where)
            if first_pixel and min(left, top) < 1:
                mend = "Pass first_pixel=0 if pixels are counted from 0."
                raise DataError(expected(f"pixels counted from 1 in {where}", (left, top), mend))
            boxes.append(_checked((left - first_pixel, top - first_pixel, right, bottom), (height, width), where))
            labels.append(label_of[kind])
            hard.append((thing.findtext("difficult") or "0").strip() == "1")
        areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
        found.append(Annotated(path, (height, width), boxes, labels, areas, hard))
    return _data(found, known, size, folder)


class _NoDoctype(ElementTree.TreeBuilder):
    """Builds a document without a document type, in any encoding."""

    def doctype(self, name: str, _public: object, _system: object) -> None:
        raise DataError(f"it has the document type {name}: entities are not read")


def _xml(file: Path) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_NoDoctype())  # noqa: S314 - a document type ends the parse
    try:
        parser.feed(file.read_bytes())
        document: ElementTree.Element = parser.close()
    except (OSError, ElementTree.ParseError, DataError) as error:
        raise DataError(f"Expected Pascal VOC's XML in {file} but got: {error}.") from error
    return document


# Checks that the readers share


def _data(images: Sequence[Annotated], classes: tuple[str, ...], size: tuple[int, int] | None, where: Path) -> BoxFiles:
    if size is not None:
        require(isinstance(size, Sequence) and len(size) == 2, "size to be (height, width)", size)
        for side in size:
            checked_whole("size", side, 1)
    if not images:
        raise DataError(f"Expected images in {where} but there are none.")
    sizes = {one.size for one in images}
    if size is None and len(sizes) > 1:
        high, wide = (max(one[at] for one in sizes) for at in (0, 1))
        raise DataError(
            f"Expected images of one size in {where} but got {len(sizes)} sizes, up to {high} x {wide}: claims take "
            f"batches. Pass size=({high}, {wide}), or the size that your detector is deployed with."
        )
    return BoxFiles(tuple(images), classes, None if size is None else (int(size[0]), int(size[1])))


def _classes(names: Iterable[str], first_label: int) -> tuple[str, ...]:
    checked_whole("first_label", first_label, 0)
    listed = tuple(names)
    if isinstance(names, str) or not listed or len(set(listed)) < len(listed):
        raise DataError(expected("names of classes that differ", names))
    return ("background",) * first_label + listed


def _folder(path: str | Path) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"Expected a folder at {folder} but there is none. Correct the path.")
    return folder


def _parts(name: str, what: str) -> tuple[str, ...]:
    try:
        return parts_below(name)
    except UnsafeFile as error:
        mend = "Give the folder in which they lie, and names inside of it."
        raise DataError(f"Expected {what} inside of the folder but {error}. {mend}") from None


def _inside(folder: Path, name: object, what: str, *, follow_links: bool) -> Path:
    """Return the path of a file below a folder, by a name from elsewhere."""
    if not isinstance(name, str):
        raise DataError(expected(f"a name of a file for {what}", name))
    path = folder.joinpath(*_parts(name, what))
    if not path.is_file():
        raise DataError(f"Expected a file for {what} at {path} but there is none. Correct the folder, or leave it out.")
    if not follow_links and not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"Expected {what} inside of {folder} but {name!r} is a link to {path.resolve()}. Pass follow_links=True "
            "if it is meant."
        )
    return path


def _lines(path: Path) -> list[str]:
    """Return the lines of a text file, without spaces around them."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"Expected text in {path} but got: {error}.") from error


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _numbers(values: object, n: int, where: str) -> list[float]:
    """Return n finite numbers, or raise DataError."""
    try:
        found = [float(one) for one in values] if isinstance(values, (list, tuple)) else []
    except (TypeError, ValueError):
        found = []
    if len(found) != n or not all(map(math.isfinite, found)):
        raise DataError(expected(f"{n} finite numbers in {where}", values))
    return found


def _checked(
    box: tuple[float, float, float, float], size: tuple[int, int], where: str
) -> tuple[float, float, float, float]:
    """Return a box that has an area and lies in its image, but for a pixel of rounding."""
    left, top, right, bottom = box
    if not (right > left and bottom > top):
        raise DataError(expected(f"a box with an area in {where}", box, "Leave it out."))
    height, width = size
    if min(left, top) < -_SLACK or right > width + _SLACK or bottom > height + _SLACK:
        raise DataError(
            expected(
                f"a box inside of the image of {width} x {height} pixels in {where}", box, "Cut it, or leave it out."
            )
        )
    return box
