"""Recorded outcomes: one verdict whatever the order of rows, and no file that is read in part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustest.data.outcomes import Outcomes, digest_of, joined, records
from robustest.errors import ConfigError, DataError

ROWS = [{"item": f"q{i}", "score": float(i % 3 == 0), "run": r} for i in range(6) for r in ("a", "b")]


def test_runs_of_an_item_are_one_observation() -> None:
    items = Outcomes.of([{"item": "a", "score": s} for s in (1, 0, 1, 1)] + [{"item": "b", "score": 0}]).items
    assert items.name.tolist() == ["a", "b"]
    assert items.mean.tolist() == [0.75, 0.0]
    assert items.runs.tolist() == [4, 1]


def test_the_flip_rate_of_an_item_is_the_share_of_pairs_that_differ() -> None:
    scores = {"a": (1, 0, 1, 1), "b": (0.5, 0.5), "c": (0.1,), "d": (0, 0.5, 1)}
    rows = [{"item": name, "score": s} for name, many in scores.items() for s in many]
    flips = Outcomes.of(rows).items.flips
    assert flips[0] == pytest.approx(0.5)  # three of six pairs
    assert flips[1] == 0
    assert np.isnan(flips[2])
    assert flips[3] == 1


@given(st.permutations(ROWS))
def test_the_order_of_rows_changes_nothing(rows: list[dict[str, Any]]) -> None:
    one, other = Outcomes.of(ROWS), Outcomes.of(rows)
    assert one.content() == other.content()
    for name in ("name", "mean", "runs", "flips"):
        np.testing.assert_array_equal(getattr(one.items, name), getattr(other.items, name))


def test_a_row_that_is_written_twice_counts_once() -> None:
    assert Outcomes.of(ROWS + ROWS[:5]).content() == Outcomes.of(ROWS).content()


def test_two_scores_of_one_run_contradict_each_other() -> None:
    with pytest.raises(DataError, match="one score for each run but got 1 and 0 for item 'q0', run 'a'"):
        Outcomes.of([*ROWS, {"item": "q0", "score": 0.0, "run": "a"}])


@pytest.mark.parametrize("column", ["group", "digest"])
def test_an_item_has_one_group_and_one_input(column: str) -> None:
    with pytest.raises(DataError, match="for each item but item 'a'"):
        Outcomes.of([{"item": "a", "score": 1, column: "x"}, {"item": "a", "score": 1, column: "y"}])


@pytest.mark.parametrize("score", [1.5, -0.1, float("inf"), "seven", [1], object()])
def test_a_score_outside_the_range_is_no_score(score: object) -> None:
    with pytest.raises(DataError, match="row 2"):
        Outcomes.of([{"item": "a", "score": 1}, {"item": "b", "score": score}])


def test_names_of_items_and_runs_that_join_to_one_text_are_two_runs() -> None:
    rows = [{"item": "q1", "run": "12", "score": 1}, {"item": "q11", "run": "2", "score": 1}]
    assert Outcomes.of(rows).items.runs.tolist() == [1, 1]
    assert Outcomes.of([rows[0], {**rows[1], "score": 0}]).items.mean.tolist() == [1, 0]


@pytest.mark.parametrize("score", [None, float("nan")])
def test_a_run_without_a_score_is_kept_as_one_without(score: object) -> None:
    found = Outcomes.of([{"item": "a", "score": 1}, {"item": "a", "score": score}, {"item": "b", "score": score}])
    assert found.items.runs.tolist() == [1, 0]
    assert found.items.planned.tolist() == [2, 1]
    assert np.isnan(found.items.mean[1])


@pytest.mark.parametrize("item", [None, "", float("nan")])
def test_every_row_names_its_item(item: object) -> None:
    with pytest.raises(DataError, match="row 1 has none"):
        Outcomes.of([{"item": item, "score": 1}])


def test_names_that_arrays_of_text_would_join_are_refused() -> None:
    with pytest.raises(DataError, match="without NUL in values in memory, row 2"):
        Outcomes.of([{"item": "a", "score": 1}, {"item": "a\0", "score": 0}])


@pytest.mark.parametrize("column", ["run", "group", "digest"])
def test_no_name_is_cut_at_a_nul(column: str) -> None:
    with pytest.raises(DataError, match=rf"a {column} without NUL in values in memory, row 2"):
        Outcomes.of([{"item": "a", "score": 1, column: "r"}, {"item": "b", "score": 1, column: "r\0"}])


def test_a_long_name_takes_the_room_of_a_short_one_and_stays_its_own() -> None:
    texts = ["a" * 100_000 + end for end in "xyz"]
    found = Outcomes.of([{"item": text, "score": 1} for text in texts])
    assert len(set(found.item)) == 3
    assert found.item.nbytes < 4000
    assert Outcomes.of([{"item": texts[0], "score": 1}]).item[0] == found.item[0]


def test_true_is_the_best_score_of_any_range() -> None:
    """In -1..1 a False of 0 would be half right."""
    for values in ((False, True), ("false", "True"), (np.False_, np.True_)):
        found = Outcomes.of([{"item": i, "score": value} for i, value in enumerate(values)], low=-1, high=1)
        assert found.items.mean.tolist() == [0, 1]


def test_missing_values_of_pandas_are_missing() -> None:
    pandas = pytest.importorskip("pandas", reason="frames are pandas'")
    frame = pandas.DataFrame({"item": ["a", "b"], "score": [1, None], "group": ["g", None]})
    frame = frame.astype({"item": "string", "score": "Int64", "group": "string"})
    found = Outcomes.of(frame)
    assert found.group.tolist() == ["g", ""]
    assert found.items.runs.tolist() == [1, 0]
    frame.loc[1, "item"] = None
    with pytest.raises(DataError, match="row 2 has none"):
        Outcomes.of(frame)


def test_rows_that_could_be_one_row_written_twice() -> None:
    row = {"item": "a", "score": 1, "answer": "x"}
    assert Outcomes.of([row, row]).copied
    assert Outcomes.of([row, row, {"item": "b", "score": 1, "answer": "x"}]).copied
    assert not Outcomes.of([row, {**row, "answer": "y"}]).copied
    assert not Outcomes.of([row, row, {**row, "score": 0}]).copied
    assert not Outcomes.of([{**row, "run": name} for name in "rs"]).copied
    assert not Outcomes.of([row]).copied


def test_ranges_are_scaled() -> None:
    found = Outcomes.of([{"item": i, "score": i} for i in range(1, 6)], low=1, high=5)
    assert found.items.mean.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert not found.binary
    with pytest.raises(ConfigError, match="low < high"):
        Outcomes.of([{"item": 1, "score": 1}], low=1, high=1)


def test_columns_frames_and_records_are_alike() -> None:
    pandas = pytest.importorskip("pandas", reason="frames are pandas'")
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    assert {Outcomes.of(one).content() for one in (ROWS, columns, pandas.DataFrame(columns))} == {
        Outcomes.of(ROWS).content()
    }


def test_whole_numbers_name_one_item_in_every_format() -> None:
    assert (
        Outcomes.of([{"item": 3.0, "score": 1}]).item.tolist() == Outcomes.of([{"item": "3", "score": 1}]).item.tolist()
    )


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(DataError, match=r"column 'score' .* columns item, points"):
        Outcomes.of([{"item": "a", "points": 1}])


def test_the_text_of_the_prompt_tells_inputs_apart() -> None:
    first, second = (Outcomes.of([{"item": "a", "score": 1, "prompt": text}]) for text in ("2 + 2?", "2 + 3?"))
    assert first.digest[0] != second.digest[0]


def test_a_contradiction_names_its_first_item() -> None:
    rows = [
        {"item": name, "score": 1, "group": group} for name in "abcd" for group in (("x",) if name == "a" else "xy")
    ]
    with pytest.raises(DataError, match="one group for each item but item 'b' in"):
        Outcomes.of(rows)
    scores = [{"item": name, "score": score, "run": "r"} for name in "ba" for score in (0, 1)]
    with pytest.raises(DataError, match="got 0 and 1 for item 'b', run 'r'"):
        Outcomes.of(scores)


def test_rows_of_unnamed_runs_are_each_a_run() -> None:
    same = {"item": "a", "score": 1}
    assert Outcomes.of([same, same, same]).items.runs.tolist() == [3]
    named = {**same, "run": "r"}
    assert Outcomes.of([named, named, same]).items.runs.tolist() == [2]
    nothing = {"item": "a", "score": None, "run": "r"}
    assert Outcomes.of([nothing, nothing]).items.planned.tolist() == [1]


def test_digests_are_short_and_of_any_text() -> None:
    assert digest_of("a") == "ca978112ca1bbdca"
    assert digest_of("\ud800") != digest_of("")
    given = Outcomes.of([{"item": "a", "score": 1, "prompt": "p", "digest": "mine"}])
    assert given.digest.tolist() == ["mine"]
    assert Outcomes.of([{"item": "a", "score": 1, "prompt": "p"}]).digest.tolist() == [digest_of("p")]


def test_items_are_records_of_whatever_holds_them() -> None:
    expected = [{"item": "a", "n": 1}, {"item": "b", "n": 2}]
    columns = {"item": ["a", "b"], "n": [1, 2]}
    pandas = pytest.importorskip("pandas", reason="frames are pandas'")
    for items in (expected, tuple(expected), iter(expected), columns, pandas.DataFrame(columns)):
        assert records(items) == expected
    for wrong in ("ab", b"ab", 3, None):
        with pytest.raises(ConfigError, match="items to be a sequence"):
            records(wrong)
    with pytest.raises(DataError, match="columns of one length"):
        records({"item": ["a"], "n": [1, 2]})
    with pytest.raises(DataError, match="records, columns or a frame"):
        Outcomes.of([{"item": "a", "score": 1}, 3])


@pytest.mark.parametrize(
    ("text", "score"),
    [("true", 1), (" FALSE ", 0), ("0.5", 0.5), ("", None), (" ", None), (True, 1), (np.float32(1), 1)],
)
def test_texts_of_a_table_are_scores(text: object, score: float | None) -> None:
    (found,) = Outcomes.of([{"item": "a", "score": text}]).score.tolist()
    assert np.isnan(found) if score is None else found == score


def test_scores_at_the_ends_of_the_range_are_inside() -> None:
    found = Outcomes.of([{"item": "a", "score": -2}, {"item": "b", "score": 3}], low=-2, high=3)
    assert found.items.mean.tolist() == [0, 1]
    assert found.binary
    for wrong in (-2.01, 3.01):
        with pytest.raises(DataError, match=rf"scores in -2\.\.3 in .*, row 2 but got {wrong}"):
            Outcomes.of([{"item": "a", "score": 0}, {"item": "b", "score": wrong}], low=-2, high=3)


def test_files_that_are_joined_keep_texts_counts_and_the_runs_of_each() -> None:
    one = Outcomes.of([{"item": i, "score": 1, "prompt": f"p{i}"} for i in range(3)], source="a", announced=3)
    other = Outcomes.of([{"item": i, "score": 0, "digest": digest_of(f"p{i}")} for i in range(2)], source="b")
    both = joined([one, other])
    assert (both.source, both.announced) == ("a, b", 3)
    assert list(both.texts["prompt"]) == ["p0", "p1", "p2", "", ""]
    assert both.run.tolist() == ["file 0"] * 3 + ["file 1"] * 2
    repeated = Outcomes.of([{"item": 0, "score": 1}, {"item": 0, "score": 1}])
    assert joined([repeated, Outcomes.of([{"item": 1, "score": 1}])]).run.tolist() == ["", "", "file 1"]
    assert joined([other, other]).announced is None
    assert joined([one]) is one
    assert joined([one, joined([Outcomes.of([{"item": 9, "score": 1}], announced=5)])]).announced == 5


def test_files_of_several_runs_are_joined() -> None:
    files = [Outcomes.of([{"item": f"q{i}", "score": (i + shift) % 2} for i in range(4)]) for shift in (0, 1, 1)]
    items = joined(files).items
    assert items.runs.tolist() == [3] * 4
    assert items.flips.tolist() == [pytest.approx(2 / 3)] * 4


def test_parts_of_one_evaluation_are_joined() -> None:
    parts = [Outcomes.of(ROWS[:6]), Outcomes.of(ROWS[6:])]
    assert joined(parts).content() == Outcomes.of(ROWS).content()
    with pytest.raises(DataError, match="one range"):
        joined([parts[0], Outcomes.of(ROWS, high=2)])


def test_the_value_of_a_file_is_that_of_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS), encoding="utf-8")
    assert Outcomes.read(path).content() == Outcomes.of(ROWS).content()
