"""Pictures of counterexamples: for claims about images that did not pass, in a folder per test."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

BOTH = """
    @pytest.mark.parametrize("at_least", [0.5, 0.6, 0.7])
    def test_it(robust_model, robust_data, at_least):
        claim(robust_model, robust_data, 0.1, at_least=at_least)
"""


@pytest.fixture
def pictures(project) -> Path:
    return project.path / ".robustest" / "pictures"


def test_only_claims_that_did_not_pass_have_some_each_test_in_its_own_folder(project, write, rows_of, pictures):
    write(test_a=BOTH)
    rows = rows_of()
    assert [worst["image"] for worst in rows["test_it[0.5]"]["result"]["counterexamples"]] == [None] * 3
    folders = []
    for name in ("test_it[0.6]", "test_it[0.7]"):
        files = [project.path / worst["image"] for worst in rows[name]["result"]["counterexamples"]]
        assert len(set(files)) == 3
        (folder,) = {file.parent for file in files}
        assert set(folder.iterdir()) == set(files)
        folders.append(folder)
    assert folders[0] != folders[1]
    assert sorted(pictures.iterdir()) == sorted(folders)


def test_a_picture_shows_before_after_and_difference(project, write, rows_of):
    write(test_a=BOTH)
    worst = rows_of()["test_it[0.6]"]["result"]["counterexamples"][0]
    with Image.open(project.path / worst["image"]) as image:
        assert image.format == "PNG"
        sheet = image.convert("RGB")
    left, middle, right = (sheet.getpixel((sheet.width * k // 6, sheet.height // 2)) for k in (1, 3, 5))
    before = 255 * (0.44 if worst["label"] == 0 else 0.56)
    after = 127.5  # the smallest change that breaks it leads to the boundary, where brightness is 0.5
    assert left[0] == pytest.approx(before, abs=1)
    assert middle[0] == pytest.approx(after, abs=1)
    assert right[0] == (255 if worst["label"] == 0 else 0)


@pytest.mark.parametrize(
    "call",
    [
        "assert_shift_accuracy(robust_model, robust_data, 'brightness', severity=3, at_least=0.9)",
        "assert_no_spurious_feature(robust_model, robust_data, PixelPatch(top=0, left=0, height=2, width=2), "
        "max_flip_rate=0.4, max_recall_drop=0.99)",
    ],
    ids=["shift", "cue"],
)
def test_every_kind_of_claim_has_them(project, write, rows_of, call):
    write(test_a=f"    def test_it(robust_model, robust_data):\n        {call}\n")
    shown = rows_of()["test_it"]["result"]["counterexamples"]
    assert len(shown) == 3
    assert all((project.path / worst["image"]).is_file() for worst in shown)


def test_inputs_that_are_no_images_have_none(write, rows_of, pictures):
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            claim(robust_model, (robust_data[0].flatten(1), robust_data[1]), 0.1, at_least=0.6)
        """
    )
    shown = rows_of()["test_it"]["result"]["counterexamples"]
    assert [worst["image"] for worst in shown] == [None] * 3
    assert not pictures.exists()


def test_there_are_as_many_as_examples_and_none_at_zero(project, write, rows_of, pictures):
    write(test_a=BOTH)
    project.makeini("[pytest]\nrobust_examples = 0\n")
    assert rows_of()["test_it[0.6]"]["result"]["counterexamples"] == []
    assert not pictures.exists()
    project.makeini("[pytest]\nrobust_examples = 5\n")
    assert len({worst["image"] for worst in rows_of()["test_it[0.6]"]["result"]["counterexamples"]}) == 5


def test_two_claims_of_one_test_do_not_share_files(project, write, run, read_json):
    write(
        test_a="""
        from toy import data

        def test_it(robust_model):
            near = data(values=(0.44, 0.75), times=1)  # both claims break sample 0 alone
            for eps in (0.1, 0.2):
                with pytest.raises(ClaimFailed):
                    claim(robust_model, near, eps, at_least=0.9)
        """
    )
    run("--robust", "--robust-json=out.json").assert_outcomes(passed=1)
    images = [worst["image"] for row in read_json()["results"] for worst in row["result"]["counterexamples"]]
    assert len(images) == 2
    assert len(set(images)) == 2


def test_names_that_only_differ_in_odd_characters_have_different_folders(write, run, pictures):
    write(
        test_a="""
        @pytest.mark.parametrize("name", ["a/b", "a.b", "a b", "../../x"])
        def test_it(robust_model, robust_data, name): claim(robust_model, robust_data, 0.1, at_least=0.6)
        """
    )
    run("--robust").assert_outcomes(failed=4)
    assert len(list(pictures.iterdir())) == 4
    assert all(len(list(folder.iterdir())) == 3 for folder in pictures.iterdir())
