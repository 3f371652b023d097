"""The HTML report's pictures, groups, baselines and further details."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from robustest.advice import PAGES
from robustest.claims.cues.interventions import NO_SPURIOUS_FEATURE
from robustest.reports.html import album
from robustest.reports.pictures import LARGEST_CHANGE, SOUNDS, save_exhibit

pytest.importorskip("jinja2", reason="the HTML report is an extra")


@pytest.fixture
def pictured(made: Any, row: Any, worst: Any) -> Any:
    """Builds a row whose counterexamples have these pictures."""

    def build(*paths: object, **changes: Any) -> Any:
        shown = tuple(worst(image=None if path is None else str(path)) for path in paths)
        return row("t", made(counterexamples=shown, **changes))

    return build


def test_nothing_is_asked_of_the_network(page_of: Any, pictured: Any, png: Path) -> None:
    page = page_of(pictured(png))
    links = {a["href"] for tag, a in page.elements if tag == "a" and a.get("href", "").startswith(PAGES)}
    assert links, "the pages of the next steps: a browser opens them only if somebody clicks"
    asked = [
        a[k]
        for tag, a in page.elements
        if tag != "a" or a.get("href") not in links
        for k in ("src", "href", "action", "srcset", "data", "poster")
        if a.get(k)
    ]
    assert asked
    assert all(str(address).startswith(("#", "images/claim-", "data:image/svg+xml,")) for address in asked)


def test_pictures_are_copied_beside_the_page(page_of: Any, pictured: Any, png: Path, tmp_path: Path) -> None:
    page = page_of(pictured(), pictured("saved/sample.png", None), origin=str(tmp_path))
    (image,) = page.all("img")
    assert (image["src"], image["width"], image["height"]) == ("images/claim-2-worst-1.png", "30", "10")
    assert image["alt"] == "Sample 3 clean, adversarial, and the difference amplified: label 7, predicted 7, then 8"
    copied = tmp_path / "report" / "images" / "claim-2-worst-1.png"
    assert copied.read_bytes() == png.read_bytes()
    assert not page.missing("sample 3 label 7 predicted 7 → 8 size 0.0999 pixels changed 42")
    assert [file.name for file in copied.parent.iterdir()] == [copied.name]


def test_sheets_of_what_a_model_looks_at_are_shown_with_their_captions(
    page_of: Any, made: Any, row: Any, png: Path, tmp_path: Path
) -> None:
    told = [{"caption": "class 1: feature 7", "image": str(png)}, {"caption": "class 2", "image": "gone.png"}, "odd"]
    page = page_of(row("t", made(details={"health": [], "pictures": told})))
    (image,) = page.all("img")
    assert (image["src"], image["alt"]) == ("images/claim-1-shown-1.png", "class 1: feature 7")
    assert (tmp_path / "report" / "images" / "claim-1-shown-1.png").read_bytes() == png.read_bytes()
    assert not page.missing("Features of the model class 1: feature 7 The picture is no longer there. class 2")
    page_of()
    assert list((tmp_path / "report" / "images").iterdir()) == []


def test_pictures_go_inside_a_page_of_one_file(page_of: Any, pictured: Any, png: Path, tmp_path: Path) -> None:
    (image,) = page_of(pictured(png), inline=True).all("img")
    assert image["src"] == f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"
    assert [file.name for file in (tmp_path / "report").iterdir()] == ["index.html"]


def test_pictures_of_earlier_pages_go_and_other_files_stay(
    page_of: Any, pictured: Any, png: Path, tmp_path: Path
) -> None:
    page_of(pictured(png, png))
    images = tmp_path / "report" / "images"
    (images / "mine.png").write_bytes(b"mine")
    page_of(pictured(png))
    assert sorted(file.name for file in images.iterdir()) == ["claim-1-worst-1.png", "mine.png"]
    page_of(pictured(png), inline=True)
    assert [file.name for file in images.iterdir()] == ["mine.png"]


def test_only_pictures_are_taken_into_a_page(page_of: Any, pictured: Any, tmp_path: Path) -> None:
    """Results may come from a file: a path in it must not publish any other file."""
    (tmp_path / "secret").write_text("token" * 20, encoding="utf-8")
    (tmp_path / "short.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    page = page_of(pictured(*(tmp_path / name for name in ("secret", "short.png", "gone.png", ".")), "nul\0.png"))
    assert page.all("img") == []
    assert page.text.count("The picture is not shown: the file is no PNG.") == 1
    assert page.text.count("The picture is not shown: the file is no whole PNG.") == 1
    assert page.text.count("The picture is not shown: it is no regular file.") == 1
    assert page.text.count("The picture is no longer there.") == 2
    assert not (tmp_path / "report" / "images").exists()


def test_the_difference_has_a_scale_in_input_units(page_of: Any, pictured: Any, png: Path, tmp_path: Path) -> None:
    drawn = save_exhibit(str(tmp_path), "one", np.zeros((1, 4, 4)), np.full((1, 4, 4), 8 / 255), (0, 1))
    page = page_of(pictured(drawn))
    assert not page.missing("\N{MINUS SIGN}0.031 0 +0.031")
    assert "the difference, at most 0.031, amplified" in page.all("img")[0]["alt"]
    assert len(page.all("div", class_="change")) == 1, "with a scale of greys, which waveforms have not"
    assert page_of(pictured(png)).missing("\N{MINUS SIGN}0.031 0 +0.031"), "a picture without a scale is given none"


def heard(tmp_path: Path) -> Path:
    """A picture with its sounds beside it."""
    return Path(
        str(save_exhibit(str(tmp_path), "one", np.zeros(800), np.full(800, 0.25), (-1.0, 1.0), sample_rate=8000))
    )


@pytest.mark.parametrize("inline", [True, False])
def test_sounds_of_waveforms_can_be_played(page_of: Any, pictured: Any, tmp_path: Path, inline: bool) -> None:
    page = page_of(pictured(heard(tmp_path)), inline=inline)
    assert [len(page.all("div", class_=name)) for name in ("change amplitude", "change")] == [1, 0]
    sounds = page.all("audio")
    assert [(one["aria-label"], "controls" in one) for one in sounds] == [("clean", True), ("adversarial", True)]
    for one, name in zip(sounds, ("one-clean.wav", "one-changed.wav"), strict=True):
        if inline:
            kind, _, content = one["src"].partition(",")
            assert kind == "data:audio/wav;base64"
            assert base64.b64decode(content) == (tmp_path / name).read_bytes()
        else:
            assert one["src"] == f"images/claim-1-worst-1-{name.removeprefix('one-')}"
            assert (tmp_path / "report" / one["src"]).read_bytes() == (tmp_path / name).read_bytes()


def other_samples(wav: bytes) -> bytes:
    return wav[:-2] + b"\x01\x00"


@pytest.mark.parametrize("change", [other_samples, lambda wav: wav + b"secret", bytes.lower, None])
@pytest.mark.parametrize("signed", [True, False])
def test_sounds_that_are_not_the_pictures_own_are_not_shown(
    page_of: Any, pictured: Any, tmp_path: Path, change: Any, signed: bool
) -> None:
    path = heard(tmp_path)
    sound = tmp_path / "one-changed.wav"
    if change is None:
        sound.unlink()
    else:
        sound.write_bytes(change(sound.read_bytes()))
    if signed and change not in (None, other_samples):  # the picture vouches for it, but it is no whole WAV file
        with Image.open(path) as picture:
            kept = PngInfo()
            digests = [hashlib.sha256(one.read_bytes()).hexdigest() for one in (tmp_path / "one-clean.wav", sound)]
            kept.add_text(SOUNDS, " ".join(digests))
            picture.save(path, pnginfo=kept)
    page = page_of(pictured(path))
    assert page.all("img")
    assert page.all("audio") == []
    assert not list((tmp_path / "report").rglob("*.wav"))


@pytest.mark.parametrize("told", ["<script>", "1" * 100, "nan", "", "0.1\x00"])
def test_a_scale_that_no_picture_has_is_not_shown(page_of: Any, pictured: Any, tmp_path: Path, told: str) -> None:
    kept = PngInfo()
    kept.add_text(LARGEST_CHANGE, told)
    path = tmp_path / "hostile.png"
    Image.fromarray(np.zeros((4, 12, 3), dtype=np.uint8)).save(path, pnginfo=kept)
    page = page_of(pictured(path))
    assert page.all("img")
    assert not [one for one in page.all("div") if one.get("class") == "change"]


def test_samples_stand_together_by_the_classes_that_they_are_of_and_taken_for(
    page_of: Any, made: Any, row: Any, worst: Any
) -> None:
    pairs = [(0, 1), (2, 3), (0, 2), (0, 1), (2, 3), (0, 1)]
    shown = tuple(worst(index=at, label=a, clean=a, predicted=b) for at, (a, b) in enumerate(pairs))
    names = ["cat", "dog", "<b>cow</b>", "horse"]
    result = made(counterexamples=shown, details={"health": [], "class_names": names})
    page = page_of(row("t", result))
    assert not page.missing("0 (cat) → 1 (dog) 3 samples", "2 (<b>cow</b>) → 3 (horse) 2 samples", "others")
    flat = " ".join(page.text.split())
    order = [flat.index(f"sample {at} label") for at in (0, 3, 5, 1, 4, 2)]
    assert order == sorted(order)
    assert not page_of(row("t", made(counterexamples=shown[:3]))).all("h5"), "pairs of one have no heading"


def test_a_page_does_not_grow_without_end(
    page_of: Any, pictured: Any, png: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album, "INLINE", 2 * png.stat().st_size)
    page = page_of(pictured(png, png, png), inline=True)
    assert len(page.all("img")) == 2
    assert not page.missing("Left out: the embedded pictures of this page have 0 MB already.")
    monkeypatch.setattr(album, "LARGEST", 10)
    assert not page_of(pictured(png)).missing("and more than 10 are not read.")


def test_a_cue_is_shown_off_and_on(page_of: Any, pictured: Any, png: Path) -> None:
    page = page_of(pictured(png, made_of=replace(NO_SPURIOUS_FEATURE, lines=None)))
    assert not page.missing("Pairs that differ most the difference is amplified cue off cue on difference")


def test_groups_are_a_table_with_scales(page_of: Any, made: Any, row: Any) -> None:
    groups = [
        {"group": f"group {k}", "n": 10 + k, "held": 5, "accuracy": 0.5, "interval": [0.25, 0.75], "small": False}
        for k in range(70)
    ]
    groups[1] |= {"accuracy": None, "interval": None, "small": True}
    page = page_of(row("t", made(details={"groups": groups, "sizes": {"source": [{"name": "cat", "n": 3}]}})))
    assert not page.missing("groups", "group 59", "sizes: source", "cat")
    assert "group 60" not in page.text
    assert not page.missing("10 more rows are in the JSON file")
    small = [line for line in page.all("line", class_="interval") if line["x1"] == "25.0%"]
    assert len(small) == 59  # sixty rows, less the one without an interval


def test_a_baseline_is_compared_with(page_of: Any, made: Any, row: Any) -> None:
    about = {"file": "robust-baseline.json", "key": "t: robust accuracy", "tolerance": 0.01}
    found = {
        "lost": 12,
        "gained": 2,
        "drop": 0.01,
        "drop_interval": [0.002, 0.018],
        "accuracy": 0.26,
        "date": "2026-11-01",
        "commit": "1a2b3c4",
    }
    page = page_of(
        row("t", made(details={"baseline": {**about, **found}})),
        row("t", made(details={"baseline": about})),
        row("t", made(details={"baseline": {**about, "update": True}})),
        row("t", made()),
    )
    assert not page.missing(
        "-0.0100",
        "accuracy 0.260 (2026-11-01, commit 1a2b3c4)",
        "accuracy 0.250: 12 samples lost, 2 gained",
        "0.0100 [0.0020, 0.0180], tolerated 0.01",
        "Not compared with robust-baseline.json: an early verdict evaluates too few samples.",
        "This run writes the baseline robust-baseline.json; there is nothing to compare with yet.",
    )
    assert [mark["x"] for mark in page.all("svg", class_="before")] == ["26.0%"] * 2


def test_without_a_baseline_there_is_no_column_for_it(page_of: Any, made: Any, row: Any) -> None:
    assert len(page_of(row("t", made())).all("th", role="columnheader")) == 7


def test_health_checks_stand_apart_and_are_not_told_twice(page_of: Any, made: Any, row: Any) -> None:
    finding = {"name": "zero_gradient", "message": "the gradient is zero for 8 of 8", "suppressed": False}
    page = page_of(row("t", made(details={"health": [finding]}, notes=("train mode", finding["message"]))))
    assert page.text.count("the gradient is zero for 8 of 8") == 1
    assert not page.missing("the gradient at the input is zero everywhere", "train mode")


@pytest.mark.parametrize(
    "value", [None, [], {}, {"a": []}, 0, False, "", [1, 2], {"a": {"b": 1}}, {"a": None}], ids=str
)
def test_details_of_any_shape_make_a_page(page_of: Any, made: Any, row: Any, value: object) -> None:
    assert page_of(row("t", made(details={"some_thing": value, "health": None, "baseline": None}))).all("table")


def test_what_a_search_bounds_and_what_a_bar_is_about_is_said(page_of: Any, made: Any, row: Any) -> None:
    left = {"bounds": "above", "quantity": "robust accuracy", "interval": (0.0, 0.5)}
    passed = made("passed", estimate=0.45, threshold=0.4, details={"left_interval": [0.38, 0.5]}, **left)
    page = page_of(row("t", passed))
    assert not page.missing(
        "robust accuracy 0.450 [0.380, 0.500] after attack (true value at most 0.500), required >= 0.40; n=8",
        "A search bounds the value from above: a stronger search may find a lower one.",
        "The claim is about this very set, and every sample was evaluated. The bar is about the population",
    )
    sure = made("passed", estimate=0.45, threshold=0.3, details={"left_interval": [0.38, 0.5]}, **left)
    assert page_of(row("t", sure)).missing("about this very set")
    open_one = made("inconclusive", scope="population", estimate=0.45, threshold=0.4, interval=(0.38, 0.5))
    assert not page_of(row("t", open_one)).missing(
        "about the population: a bar that reaches over the threshold does not settle it"
    )
    exact = made("passed", estimate=0.45, threshold=0.4, interval=(0.38, 0.5))
    page = page_of(row("t", exact))
    assert not page.missing("The claim is about this very set")
    assert page.missing("What a search finds")


def test_caveats_stand_beside_the_value(page_of: Any, made: Any, row: Any) -> None:
    page = page_of(row("t", made(n=4, n_total=4, caveats=("4 samples alone", "<b>none</b>"))))
    assert not page.missing("n=4; 4 samples alone; <b>none</b>")
    assert page.missing("no such words")


def test_what_was_not_gated_is_measured(page_of: Any, made: Any, row: Any) -> None:
    page = page_of(row("t", made("failed", gated=False, caveats=("failed, but the test does not assert it",))))
    assert not page.missing("Nothing was claimed", "failed, but the test does not assert it")
