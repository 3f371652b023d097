"""Files of results from elsewhere: a clear error that names the file, or a red or green end; never more than that."""

from __future__ import annotations

import json
import os
import random
import re
import struct
import zlib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robustest.results import Counterexample

pytest.importorskip("jinja2", reason="the HTML report is an extra")

Make = Callable[..., Any]
TEST = "test_a.py::test_it"


def png(width: int = 2, height: int = 1, marker: bytes = b"") -> bytes:
    """A small picture; `marker` stands in a chunk of text."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + b"\x80" * width for _ in range(height)))
    text = chunk(b"tEXt", b"Comment\0" + marker)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + text + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture
def shard(made: Make, row: Make, run_file: Make) -> Callable[..., Path]:
    """A shard with a failed claim: `shard("in/1.json", image="picture.png", statement="...")`."""

    def write(name: str = "in/1.json", image: str | None = None, **changes: Any) -> Path:
        worst = Counterexample(index=1, label=0, clean=0, predicted=2, size=0.1, image=image)
        result = made([True, False], 0.9, counterexamples=(worst,), **changes)
        return run_file(name, [row(TEST, result)], shard=(1, 1, [TEST]))

    return write


HIDING = {
    "a device": "/dev/zero",
    "a pipe": "pipe",
    "a picture of the machine": "../private.png",
    "its absolute path": "{private}",
    "a link to it": "link.png",
    "a link to a folder": "away/private.png",
    "a folder": ".",
    "no picture": "secret.txt",
    "a picture and more": "trailing.png",
    "a huge picture": "huge.png",
    "a nul": "a\0b.png",
}


@pytest.mark.parametrize("inline", [False, True], ids=["beside", "inline"])
@pytest.mark.parametrize("name", HIDING)
def test_nothing_of_the_machine_is_copied_into_a_page(
    shard: Make, robustest: Make, tmp_path: Path, name: str, *, inline: bool
) -> None:
    secret = b"not for anybody"
    (tmp_path / "in").mkdir()
    (tmp_path / "private.png").write_bytes(png(marker=secret))
    (tmp_path / "in" / "secret.txt").write_bytes(secret)
    (tmp_path / "in" / "trailing.png").write_bytes(png() + secret)
    (tmp_path / "in" / "huge.png").write_bytes(png(width=20_000))
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "private.png")
    (tmp_path / "in" / "away").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "in" / "pipe")
    path = shard(image=HIDING[name].format(private=tmp_path / "private.png"))
    done = robustest("merge", path, "--html", "page", *["--html-inline"] * inline)
    assert done.code == 1
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "The picture is" in page
    assert not (tmp_path / "page" / "images").exists()


def test_a_picture_beside_its_file_is_shown(shard: Make, robustest: Make, tmp_path: Path) -> None:
    path = shard(image="pictures/one.png")
    (tmp_path / "in" / "pictures").mkdir()
    (tmp_path / "in" / "pictures" / "one.png").write_bytes(png())
    assert robustest("merge", path, "--html", "page", "-o", "out/robust.json").code == 1
    assert (tmp_path / "page" / "images" / "claim-1-worst-1.png").read_bytes() == png()
    (merged,) = json.loads((tmp_path / "out" / "robust.json").read_text(encoding="utf-8"))["results"]
    assert merged["result"]["counterexamples"][0]["image"] == "../in/pictures/one.png", "named from the new file"


def test_a_file_of_results_is_a_regular_file(robustest: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for command in ("show", "merge"):
            done = robustest(command, path)
            assert done.code == 3
            assert f"{path} but got: it is no regular file" in done.err


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "a huge number": lambda row: row["result"].update(estimate=10**400),
    "another huge number": lambda row: row["result"].update(interval=[0, 10**200]),
    "900 levels": lambda row: row["result"]["details"].update(deep=nested(900)),
    "90,000 levels": lambda row: row["result"]["details"].update(deep="@deep@"),
    "text for a mapping": lambda row: row["result"]["details"].update(baseline="robust-baseline.json"),
    "a list for a mapping": lambda row: row["result"].update(details=[]),
    "a number for a mapping": lambda row: row["result"].update(cost=3),
    "text for a number": lambda row: row["result"]["cost"].update(seconds="1"),
    "text for a list": lambda row: row["result"].update(notes="a note"),
    "a number for a path": lambda row: row["result"]["counterexamples"][0].update(image=7),
    "a mapping for a path": lambda row: row["result"]["counterexamples"][0].update(image={}),
    "text for a class": lambda row: row["result"]["counterexamples"][0].update(label="cat"),
    "a huge text": lambda row: row["result"].update(statement="x" * 2_000_000),
    "a text for facts": lambda row: row["result"].update(facts="many"),
    "a fact without a value": lambda row: row["result"].update(facts=[{"label": "size"}]),
    "a fact of more": lambda row: row["result"].update(facts=[{"label": "size", "value": 1, "colour": "red"}]),
    "a list in a fact": lambda row: row["result"].update(facts=[{"label": "size", "value": [1]}]),
    "a number for a label": lambda row: row["result"].update(facts=[{"label": 1, "value": 1}]),
    "no captions": lambda row: row["result"].update(captions=None),
    "a caption of more": lambda row: row["result"].update(captions={"colour": "red"}),
    "a number for a caption": lambda row: row["result"].update(captions={"size": 3}),
    "a list for names": lambda row: row["result"].update(captions={"names": ["size"]}),
    "a number for a name": lambda row: row["result"].update(captions={"names": {"size": 3}}),
    "a text for a count": lambda row: row["result"].update(counts={"n": "8", "events": 1}),
    "no ending": lambda row: row.update(ending=None),
    "another ending": lambda row: row["ending"].update(outcome="xfailed"),
    "an unknown ending": lambda row: row["ending"].update(outcome="green"),
    "an unknown verdict": lambda row: row["result"].update(verdict="green"),
    "a passed verdict": lambda row: row["result"].update(verdict="passed"),
}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("name", WRONG)
def test_what_no_run_writes_is_refused_in_one_sentence(shard: Make, robustest: Make, name: str) -> None:
    path = shard()
    content = json.loads(path.read_text(encoding="utf-8"))
    WRONG[name](content["results"][0])
    text = json.dumps(content).replace('"@deep@"', "[" * 90_000 + "]" * 90_000)
    path.write_text(text, encoding="utf-8")
    for command in (["show", path], ["show", "--markdown", path], ["merge", path, "--html", "page", "-o", "all.json"]):
        done = robustest(*command)
        assert done.code == 3
        assert str(path) in done.err
        assert len(done.err) < 2_000
        assert not Path("page").exists()


def test_a_name_that_is_there_twice_is_refused(shard: Make, robustest: Make) -> None:
    path = shard()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"verdict": "failed"', '"verdict": "failed", "verdict": "passed"'), encoding="utf-8")
    done = robustest("show", path)
    assert done.code == 3
    assert f"{path} but the file is damaged: the name 'verdict' twice" in done.err


def test_a_file_that_hides_a_failure_is_refused(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    path = run_file("a.json", [row("t::a", made([True])), row("t::b", made([False]))])
    content = json.loads(path.read_text(encoding="utf-8"))
    content["results"].pop()
    path.write_text(json.dumps(content), encoding="utf-8")
    assert robustest("show", path).code in (1, 3), "how the test ended is in the file too"
    content["tests"].pop()
    path.write_text(json.dumps(content), encoding="utf-8")
    assert robustest("show", path).code in (1, 3), "and pytest's exit status, and the counts"
    content["pytest"]["exit"], content["counts"] = 0, {"passed": 1}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "2 robustness tests that ran, but endings of 1" in robustest("show", path).err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "passed with accuracy 0.25, required >= 0.5"),
        ({"estimate": 0.75, "interval": [0.0, 1.0]}, "accuracy 0.75, but its counts give 0.25"),
        ({"estimate": None, "interval": [0.0, 0.4], "counts": None}, "passed with accuracy in [0.0, 0.4]"),
        ({"threshold": 0.2, "interval": [0.3, 0.4]}, "outside of its interval"),
        ({"threshold": 0.2, "comparison": "="}, "neither >= nor <="),
        ({"threshold": 0.2, "n": 400}, "n=400 of 4, but 4 of 4 outcomes"),
    ],
)
def test_a_verdict_that_its_numbers_contradict_is_refused(
    *, made: Make, row: Make, run_file: Make, robustest: Make, changes: dict[str, Any], told: str
) -> None:
    """A failed claim edited in every place that has a word for it: verdict, ending, exit status and counts."""
    path = run_file("a.json", [row(TEST, made([True, False, False, False]))], shard=(1, 1, [TEST]))
    content = json.loads(path.read_text(encoding="utf-8"))
    content["results"][0]["result"].update(verdict="passed", **changes)
    for ending in (content["results"][0]["ending"], content["tests"][0]):
        ending.update(outcome="passed", reason="", claimed=False)
    content["counts"], content["pytest"]["exit"] = {"passed": 1}, 0
    path.write_text(json.dumps(content), encoding="utf-8")
    for command in ("show", "merge"):
        done = robustest(command, path)
        assert (done.code, told in done.err) == (3, True), done.out + done.err


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.sampled_from([0, -1, 10**400, 2**63, "1e999", 1e300, 5e-324]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["", "\x1b[31m", "::error::x", "\ud800", "failed", "passed", "{{ 7 * 7 }}", "<b>", "/dev/zero"]),
    st.just([]),
    st.just({}),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [deeper for key, part in inside for deeper in places(part, (*path, key))]


def changed(content: Any, place: tuple[Any, ...], how: str, odd: Any) -> Any:
    whole = deepcopy(content)
    holder = whole
    for key in place[:-1]:
        holder = holder[key]
    if how == "remove":
        del holder[place[-1]]
    elif how == "twice" and isinstance(holder, list):
        holder.append(deepcopy(holder[place[-1]]))
    else:
        holder[place[-1]] = odd
    return whole


@pytest.fixture
def rich(made: Make, row: Make, run_file: Make) -> dict[str, Any]:
    """A shard with a claim of each ending, baselines and tables."""
    drop = {
        "file": "b.json", "key": "k", "tolerance": 0.0, "drop": 0.1, "drop_interval": [0.0, 0.2], "lost": 2,
        "gained": 1, "accuracy": 0.9, "date": "2026-01-31", "commit": "1a2b3c4",
    }  # fmt: skip
    details = {
        "clean_accuracy": 1.0,
        "baseline": drop,
        "health": [{"name": "n", "message": "m", "suppressed": False}],
        "groups": [{"group": "g", "accuracy": 0.5, "interval": [0.4, 0.6]}],
        "by_severity": {"fog": {"1": 0.9, "2": {"accuracy": 0.8, "interval": [0.7, 0.9]}}},
        "class_names": ["cat", "dog", "hen"],
        "pictures": [{"caption": "c", "image": "x.png"}],
    }
    rows = [
        row("t::good", made([True] * 4, details=details)),
        row("t::bad", made([True, False], 0.9, details=details)),
        row("t::broken"),
    ]
    path = run_file("good.json", rows, shard=(1, 1, ["t::good", "t::bad", "t::broken"]))
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_change_of_a_file_is_a_traceback_or_turns_it_green(
    rich: dict[str, Any], robustest: Make, tmp_path: Path, data: st.DataObject
) -> None:
    content = rich
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places(content)))
        how = data.draw(st.sampled_from(["replace", "replace", "remove", "twice"]))
        content = changed(content, place, how, data.draw(ODD))
        if not places(content):
            break
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(content).replace('"1e999"', "1e999"), encoding="utf-8")
    commands = (["show", path, "--details"], ["show", "--markdown", path])
    for command in (*commands, ["merge", path, "--html", "page", "--junit", "j.xml", "-o", "all.json"]):
        done = robustest(*command)
        assert done.code in (1, 3), content
        assert "\x1b" not in done.out + done.err
        assert not re.search(r"^\s*::", done.out + done.err, re.MULTILINE)
        if done.code == 3 and not done.out:
            assert "odd.json" in done.err


@pytest.mark.parametrize("seed", range(3))
def test_no_change_of_bytes_is_a_traceback_or_turns_it_green(
    rich: dict[str, Any], tmp_path: Path, robustest: Make, seed: int
) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secrets here
    good = json.dumps(rich).encode()
    path = tmp_path / "odd.json"
    for _ in range(60):
        data = bytearray(good)
        for _ in range(draw.choice([1, 1, 3, 30])):
            data[draw.randrange(len(data))] = draw.choice(b'0123456789"[]{},:\\ntf\x00\xff-eE.')
        path.write_bytes(bytes(data))
        assert robustest("show", path).code in (1, 3)
        assert robustest("merge", path).code in (1, 3)
