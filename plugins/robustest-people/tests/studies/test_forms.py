"""Forms: taken apart with care, signed, and whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from robustest_people.studies.desk import Malformed, Signer, Unfinished, box_answers, choice_answers, read_form

FORM = "application/x-www-form-urlencoded"


def test_a_form_is_read() -> None:
    assert read_form(b"a1=on&token=1-%C3%A9", f"{FORM}; charset=UTF-8", most=2) == {"a1": "on", "token": "1-é"}
    assert read_form(b"", FORM, most=2) == {}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"a=1&a=2", FORM, 400),
        (b"a=1&b=2&c=3", FORM, 400),
        (b"a=%FF", FORM, 400),
        (b"a=\xff", FORM, 400),
        (b"a", FORM, 400),
        (b"&&&", FORM, 400),
        (b"{}", "application/json", 415),
        (b"a=1", "multipart/form-data; boundary=x", 415),
        (b"a=1", "", 415),
    ],
)
def test_what_no_page_sends_is_refused(body: bytes, kind: str, status: int) -> None:
    with pytest.raises(Malformed) as refused:
        read_form(body, kind, most=2)
    assert refused.value.status == status


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        fields = read_form(body, FORM, most=20)
        box_answers(fields, 3)
    except (Malformed, Unfinished):
        pass


def test_a_token_is_of_one_use_and_tells_the_time() -> None:
    signer = Signer(b"k" * 32)
    token = signer.sign("3 1", now=1000.0)
    assert signer.seconds("3 1", token, now=1012.5) == 12.5
    assert signer.seconds("3 1", token, now=990.0) == 0.0  # a clock that was set back
    for use, other in (
        ("3 2", token),
        ("4 1", token),
        ("3 1", "1" + token),
        ("3 1", ""),
        ("3 1", token[:-1] + "x"),
        ("3 1", token.replace("1", "\u0661")),
    ):
        with pytest.raises(Malformed) as refused:
            signer.seconds(use, other, now=1012.5)
        assert refused.value.status == 403
    with pytest.raises(Malformed):
        Signer(b"l" * 32).seconds("3 1", token)


def test_boxes_are_answers() -> None:
    assert box_answers({"a2": "on"}, 3) == (False, True, False)
    assert box_answers({"none": "on"}, 3) == (False, False, False)


@pytest.mark.parametrize("fields", [{}, {"a1": "on", "none": "on"}])
def test_a_page_of_boxes_that_is_not_whole_is_shown_again(fields: dict[str, str]) -> None:
    with pytest.raises(Unfinished):
        box_answers(fields, 3)


@pytest.mark.parametrize("fields", [{"a4": "on"}, {"a0": "on"}, {"a1": "off"}, {"b": "on"}, {"a1": "on", "x": "on"}])
def test_boxes_that_are_not_on_the_page_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        box_answers(fields, 3)


CHOICES = (("cat", "dog"), ("cat", "dog", "cow"))


def test_choices_are_answers() -> None:
    assert choice_answers({"a1": "1", "a2": "2"}, CHOICES) == ("dog", "cow")


def test_choices_that_are_missing_are_named() -> None:
    with pytest.raises(Unfinished, match=r"Missing: 2\."):
        choice_answers({"a1": "1"}, CHOICES)


@pytest.mark.parametrize("value", ["2", "-1", "x", "", "1" * 5000, "\u0660", " 1"])
def test_choices_that_are_not_there_are_refused(value: str) -> None:
    with pytest.raises(Malformed):
        choice_answers({"a1": value, "a2": "0"}, CHOICES)
