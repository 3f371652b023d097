"""A study on disk: the same bytes for the same seed, links that cannot be guessed, images made alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from robustest_people.studies import Item, Study, open_study
from robustest_people.studies.study import copy_images

from robustest.errors import ConfigError, DataError, StoreError

Make = Callable[..., Any]


def test_a_study_is_read_as_it_was_written(study: Make) -> None:
    for task in ("contains", "classify", "simulate"):
        made = study(task, name=task, about="Look\ntwice.")
        again = open_study(made.folder)
        assert again == made
        assert again.digest == made.digest


def test_the_same_seed_gives_the_same_bytes_and_other_links(study: Make) -> None:
    one, same, other = study(name="a", seed=4), study(name="b", seed=4), study(name="c", seed=5)
    for name in ("study.json", "plan.npy"):
        assert (one.folder / name).read_bytes() == (same.folder / name).read_bytes()
    assert (one.folder / "plan.npy").read_bytes() != (other.folder / "plan.npy").read_bytes()
    links = [link for made in (one, same, other) for link in made.keys.links]
    assert len(set(links)) == 12
    assert min(map(len, links)) == 22  # 128 bits
    assert len({made.keys.forms for made in (one, same, other)}) == 3


def test_keys_are_for_the_owner_alone(study: Make) -> None:
    assert (study().folder / "keys.json").stat().st_mode & 0o077 == 0


def test_a_tenth_of_the_items_are_checks_and_five_at_least(study: Make) -> None:
    made = study(checks=None)
    counts = [sum(bool(made.items[e].expected) for page in own for e in page) for own in made.plan.pages]
    assert counts == [5, 5, 5, 5]


def test_image_numbers_tell_neither_order_nor_checks(study: Make) -> None:
    numbers = np.array(study().numbers)
    assert sorted(numbers) == list(range(26))
    assert abs(np.corrcoef(numbers, np.arange(26))[0, 1]) < 0.5
    assert sorted(numbers[20:]) != list(range(20, 26))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task": "draw"}, "a task, one of contains, classify, simulate"),
        ({"annotators": 0, "each": 1}, "one annotator or more"),
        ({"each": 5}, "annotators an item"),
        ({"checks": 7}, "at most 6 attention checks"),
        ({"page": 0}, "1 item a page"),
        ({"title": "two\nlines"}, "one line"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_and_nothing_is_left(
    study: Make, tmp_path: Path, changes: Any, told: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=told):
        study(**changes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files"]


def test_a_folder_that_is_there_is_left_alone(study: Make, tmp_path: Path) -> None:
    study()
    with pytest.raises(ConfigError, match="not there yet"):
        study()


@pytest.mark.parametrize("image", ["gone.png", "../outside.png", "/etc/passwd", "text.png", "broken.png", "link.png"])
def test_images_that_are_none_or_lie_elsewhere_are_refused(
    study: Make, files: Path, tmp_path: Path, image: str
) -> None:
    (tmp_path / "outside.png").write_bytes((files / "0.png").read_bytes())
    (files / "text.png").write_text("no image")
    (files / "broken.png").write_bytes((files / "0.png").read_bytes()[:120])
    (files / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(DataError, match="image"):
        study(items=[Item(item="1", image=image, asked="cat")], checks=0)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("damage", ["schema", "json", "plan", "entries", "gone", "keys"])
def test_a_damaged_study_is_no_study(study: Make, damage: str) -> None:
    made: Study = study()
    path = made.folder / "study.json"
    if damage == "schema":
        path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    elif damage == "json":
        path.write_text(path.read_text()[:-40])
    elif damage == "plan":
        (made.folder / "plan.npy").write_bytes(b"\x93NUMPY")
    elif damage == "entries":
        np.save(made.folder / "plan.npy", np.array([[0, 0, 99]], np.int32))
    elif damage == "gone":
        path.unlink()
    else:
        (made.folder / "keys.json").write_text('{"forms": "00", "links": ["a"]}')
    with pytest.raises(StoreError, match="Expected"):
        assert open_study(made.folder).keys


def test_a_plan_with_pickles_is_not_opened(study: Make) -> None:
    made: Study = study()
    np.save(made.folder / "plan.npy", np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(StoreError, match="Expected a study"):
        open_study(made.folder)


def test_images_leave_with_one_format_one_size_and_no_metadata(tmp_path: Path, draw: Make) -> None:
    draw(tmp_path / "a.png", 0, (20, 20))
    draw(tmp_path / "b.png", 1, (10, 30))
    noise = Image.open(tmp_path / "a.png")
    about = Image.Exif()
    about[0x010E] = "attention check"
    about[0x0112] = 6  # turned by a quarter
    noise.resize((16, 8)).save(tmp_path / "c.jpg", exif=about)
    noise.convert("RGBA").save(tmp_path / "d.webp")
    noise.convert("P").save(tmp_path / "e.gif", comment=b"attention check")
    (tmp_path / "out").mkdir()
    copy_images(tmp_path, ["a.png", "b.png", "c.jpg", "d.webp", "e.gif"], tmp_path / "out")
    for number in range(5):
        with Image.open(tmp_path / "out" / f"{number}.png") as image:
            assert (image.format, image.mode, image.size, image.info) == ("PNG", "RGB", (20, 30), {})
        assert b"attention" not in (tmp_path / "out" / f"{number}.png").read_bytes()


def test_an_image_of_the_common_size_keeps_its_pixels(tmp_path: Path, draw: Make) -> None:
    draw(tmp_path / "a.png", 0)
    (tmp_path / "out").mkdir()
    copy_images(tmp_path, ["a.png"], tmp_path / "out")
    with Image.open(tmp_path / "a.png") as before, Image.open(tmp_path / "out" / "0.png") as after:
        assert np.array_equal(np.asarray(before), np.asarray(after))


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    copy_images(tmp_path, ["a.png"], tmp_path / "out")
    with Image.open(tmp_path / "out" / "0.png") as image:
        assert (np.asarray(image) == 255).all()


def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    Image.new("1", (10_000, 6_000)).save(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="50,000,000 pixels"):
        copy_images(tmp_path, ["a.png"], tmp_path / "out")
