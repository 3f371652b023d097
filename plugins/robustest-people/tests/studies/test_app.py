"""The pages as they are served: a link for each annotator, answers kept once, and nothing that tells a check."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from robustest_people.studies import Study, rows_of
from robustest_people.studies.journal import Progress
from robustest_people.studies.serve import open_journal

pytest.importorskip("starlette", reason="studies are served by the extra `study`")
pytest.importorskip("jinja2", reason="studies are served by the extra `study`")

Make = Callable[..., Any]


def progress_of(study: Study) -> Progress:
    journal, progress = open_journal(study), Progress(study)
    progress.follow(journal.read())
    journal.close()
    return progress


def link_of(study: Study, annotator: int = 0) -> str:
    return f"/a/{study.keys.links[annotator]}"


def answer_all(visitor: Any, read_form: Make, link: str, choose: Callable[[Any], dict[str, str]]) -> int:
    """Answer until no page is left; how many there were."""
    for count in range(100):
        form = read_form(visitor.get(link))
        if not form.action:
            return count
        done = visitor.post(form.action, {**form.hidden, **choose(form)})
        assert (done.status, done.headers["location"]) == (303, link)
    raise AssertionError("pages do not end")


def first_box(form: Any) -> dict[str, str]:
    return {"a1": "on"}


def second_choice(form: Any) -> dict[str, str]:
    return {name: values[1] for name, values in form.radios.items()}


@pytest.mark.parametrize(
    ("task", "choose"), [("contains", first_box), ("classify", second_choice), ("simulate", second_choice)]
)
def test_a_study_is_answered_to_its_end(study: Make, visit: Make, read_form: Make, task: str, choose: Any) -> None:
    made = study(task)
    visitor = visit(made)
    for annotator in range(4):
        assert answer_all(visitor, read_form, link_of(made, annotator), choose) == len(made.plan.pages[annotator])
    assert "You are done" in visitor.get(link_of(made)).text
    rows = rows_of(progress_of(made))
    assert len(rows) == sum(len(page) for own in made.plan.pages for page in own)
    plain = [row for row in rows if not row.check]
    assert sorted(row.item for row in plain) == sorted(item.item for item in made.items[:20] for _ in range(2))
    assert {row.answer for row in rows} == ({"yes", "no"} if task == "contains" else {"dog"})
    if task != "contains":
        assert {row.check for row in rows} == {"", "passed", "failed"}
        assert {row.item for row in rows if row.check} == {""}
        assert all(row.truth == ("cat", "dog")[int(row.item) % 2] for row in plain)


def test_a_page_shows_what_is_asked_and_nothing_that_tells_a_check(study: Make, visit: Make, read_form: Make) -> None:
    """Of each image there is a field by its place and an image by its number; no name, answer or path leaves."""
    made = study(page=26)
    visitor = visit(made)
    for annotator in range(4):
        answer = visitor.get(link_of(made, annotator))
        (page,) = made.plan.pages[annotator]
        form = read_form(answer)
        assert form.boxes == [*(f"a{n}" for n in range(1, len(page) + 1)), "none"]
        assert form.images == [f"{link_of(made, annotator)}/image/{made.numbers[e]}" for e in page]
        tiles = re.findall(r'<label class="tile">.*?</label>', answer.text, re.S)
        blank = {re.sub(r"a?\d+", "N", tile.replace(link_of(made, annotator), "")) for tile in tiles}
        assert len(tiles) == len(page)
        assert len(blank) == 1
        assert not re.search(r"check \d|\.png|expected|person|passed", answer.text)


def test_a_question_of_ones_own_tells_the_label_or_keeps_it(study: Make, visit: Make, read_form: Make) -> None:
    told = study(name="told", page=26, question="Is {label} here?")
    text = visit(told).get(link_of(told)).text
    assert {"Is <strong>cat</strong> here?", "Is <strong>dog</strong> here?"} <= set(
        re.findall(r"Is <strong>\w+</strong> here\?", text)
    )
    kept = study(name="kept", page=26, question="Should a model look at what is marked?")
    visitor = visit(kept)
    text = visitor.get(link_of(kept)).text
    assert "Should a model look at what is marked?" in text
    assert not re.search(r"\b(cat|dog)\b", text)
    assert text.count("<fieldset") == 1
    assert visitor.send_page(link_of(kept), {"a1": "on"}).status == 303
    assert {row.asked for row in rows_of(progress_of(kept))} == {"cat", "dog"}
    orders = [[kept.items[e].asked for e in own[0]] for own in kept.plan.pages]
    assert all(order not in (sorted(order), sorted(order, reverse=True)) for order in orders)  # mixed, not by label


@pytest.mark.parametrize("task", ["classify", "simulate"])
def test_a_page_of_choices_does_not_tell_what_was_asked(study: Make, visit: Make, task: str) -> None:
    made = study(task)
    cards = re.findall(r'<fieldset class="card">.*?</fieldset>', visit(made).get(link_of(made)).text, re.S)
    link = link_of(made)
    assert len({re.sub(r"a?\d+", "N", card.replace(link, "")) for card in cards}) == 1


def test_every_image_of_a_page_is_served_alike(study: Make, visit: Make, read_form: Make) -> None:
    made = study(page=26)
    visitor = visit(made)
    answers = [visitor.get(path) for path in read_form(visitor.get(link_of(made))).images]
    heads = {tuple((k, v) for k, v in a.headers.items() if k != "content-length") for a in answers}
    assert {a.status for a in answers} == {200}
    assert len(heads) == 1
    assert len({a.body[:33] for a in answers}) == 1  # PNG's signature and header: the same size and depth
    assert answers[0].headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "number", ["26", "99999", "-1", "1.png", "..%2f0", "٣", "0x1", "9" * 5000, "", "01e1", "%00", "../../study.json"]
)
def test_images_are_found_by_number_alone(study: Make, visit: Make, number: str) -> None:
    made = study()
    assert visit(made).get(f"{link_of(made)}/image/{number}").status == 404


def test_an_annotator_sees_the_images_of_their_own_pages_alone(study: Make, visit: Make) -> None:
    made = study(each=1, checks=0)
    visitor = visit(made)
    own = {made.numbers[e] for page in made.plan.pages[0] for e in page}
    found = {n for n in range(26) if visitor.get(f"{link_of(made)}/image/{n}").status == 200}
    assert found == own
    assert 0 < len(own) < 20


def test_an_annotator_goes_on_where_they_were(study: Make, visit: Make, read_form: Make) -> None:
    made = study()
    assert visit(made).send_page(link_of(made), {"a1": "on"}).status == 303
    after = visit(made)  # another server, with the same journal
    assert read_form(after.get(link_of(made))).action == f"{link_of(made)}/1"
    assert "Page 2 of" in after.get(link_of(made)).text


def test_an_equal_second_submission_adds_nothing_and_another_is_refused(
    study: Make, visit: Make, read_form: Make
) -> None:
    made = study()
    visitor, link = visit(made), link_of(made)
    form = read_form(visitor.get(link))
    answers = [
        visitor.post(form.action, {**form.hidden, **chosen}) for chosen in ({"a1": "on"}, {"a1": "on"}, {"a2": "on"})
    ]
    assert [a.status for a in answers] == [303, 303, 409]
    assert "other answers" in answers[2].text
    journal = open_journal(made)
    pages = [event for event in journal.read() if event.kind == "page"]
    journal.close()
    assert [event.content["answers"][:2] for event in pages] == [["yes", "no"]]


def test_equal_submissions_at_the_same_time_are_stored_once(study: Make, visit: Make, read_form: Make) -> None:
    made = study()
    visitor = visit(made)
    forms = [read_form(visitor.get(link_of(made, annotator))) for annotator in range(4)]

    async def all_at_once() -> list[int]:
        bodies = [(form.action, urlencode({**form.hidden, "a1": "on"}).encode()) for form in forms for _ in range(5)]
        return [a.status for a in await asyncio.gather(*(visitor.fetch("POST", path, body) for path, body in bodies))]

    assert asyncio.run(all_at_once()) == [303] * 20
    assert len(progress_of(made).stored) == 4


def test_answers_that_are_not_whole_come_back_as_they_were_and_nothing_is_stored(
    study: Make, visit: Make, read_form: Make
) -> None:
    made = study("classify")
    visitor = visit(made)
    before = read_form(visitor.get(link_of(made)))
    answer = visitor.post(before.action, {**before.hidden, "a1": "1"})
    after = read_form(answer)
    assert answer.status == 422
    assert 'role="alert"' in answer.text
    assert "Missing: 2, " in answer.text
    assert after.checked == {"a1": "1"}
    assert after.hidden == before.hidden  # the time runs on
    assert progress_of(made).stored == {}
    boxes = study(name="boxes")
    assert visit(boxes).send_page(link_of(boxes), {}).status == 422


def test_what_an_annotator_gives_up_is_handed_on(study: Make, visit: Make, read_form: Make) -> None:
    made = study()
    visitor = visit(made)
    visitor.send_page(link_of(made), {"a1": "on"})
    open_form = read_form(visitor.get(link_of(made)))
    ask = read_form(visitor.get(f"{link_of(made)}/stop"))
    assert visitor.post(ask.action, {**ask.hidden}).status == 303
    assert "The rest goes to others" in visitor.get(link_of(made)).text
    assert visitor.post(open_form.action, {**open_form.hidden, "a1": "on"}).status == 409
    assert visitor.post(ask.action, {**ask.hidden}).status == 303  # twice is as good as once
    for annotator in range(1, 4):
        answer_all(visitor, read_form, link_of(made, annotator), first_box)
    progress = progress_of(made)
    people: dict[str, set[str]] = {}
    for row in rows_of(progress):
        if not row.check:
            assert row.annotator not in people.setdefault(row.item, set())
            people[row.item].add(row.annotator)
    assert sorted(people) == sorted(item.item for item in made.items[:20])
    assert {len(who) for who in people.values()} == {2}
    assert progress.lacking() == {}
    loads = [sum(map(len, progress.pages[a])) for a in range(1, 4)]
    assert max(loads) - min(loads) <= 6  # a page


def test_what_nobody_is_left_for_is_told(study: Make, visit: Make, read_form: Make) -> None:
    made = study(annotators=2)
    visitor = visit(made)
    ask = read_form(visitor.get(f"{link_of(made)}/stop"))
    visitor.post(ask.action, ask.hidden)
    lacking = progress_of(made).lacking()
    assert len(lacking) == 20
    assert all(value == (2, 1) for value in lacking.values())


def test_names_that_try_to_be_markup_stay_text(study: Make, visit: Make, make_items: Make) -> None:
    from dataclasses import replace

    hostile = "<script>alert(1)</script>\"'&"
    items = [replace(item, asked=hostile) for item in make_items("contains")]
    made = study(items=items, title=hostile, about=hostile)
    text = visit(made).get(link_of(made)).text
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;") >= 3
    plain = [replace(item, truth="") for item in make_items("classify", 20, 0)]
    choices = study("classify", name="b", labels=(hostile, "dog"), items=plain, checks=0)
    assert "<script>alert" not in visit(choices).get(link_of(choices)).text


def test_every_answer_carries_the_policy(study: Make, visit: Make) -> None:
    made = study()
    visitor = visit(made)
    paths = [
        "/",
        link_of(made),
        f"{link_of(made)}/image/0",
        f"{link_of(made)}/image/x",
        "/none",
        "/static/keys.js",
        "/a/x",
    ]
    answers = [visitor.get(path) for path in paths]
    answers += [visitor.ask("POST", link_of(made), headers=[("host", "evil")]), visitor.ask("PUT", "/")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
    assert visitor.get(link_of(made)).headers["cache-control"] == "no-store"


def test_pages_need_nothing_inline_and_nothing_from_elsewhere(study: Make, visit: Make, read_form: Make) -> None:
    for task in ("contains", "classify"):
        made = study(task, name=task)
        tags = read_form(visit(made).get(link_of(made))).tags
        assert [tag for tag, about in tags if "style" in about or any(name.startswith("on") for name in about)] == []
        addresses = [about[name] for _, about in tags for name in ("src", "href", "action") if name in about]
        assert addresses
        assert all(str(address).startswith("/") for address in addresses)
        assert [about for tag, about in tags if tag == "style" or (tag == "script" and not about.get("src"))] == []


HOSTS = ["evil.example", "127.0.0.1:8001", "127.0.0.1", "127.0.0.1:8000.evil.example", "", "localhost:80"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_request_to_another_name_is_refused(study: Make, visit: Make, host: str) -> None:
    made = study()
    visitor = visit(made)
    assert visitor.ask("GET", link_of(made), headers=[("host", host)]).status == 421
    assert visitor.ask("GET", link_of(made), headers=[]).status == 421
    assert visitor.ask("GET", link_of(made), headers=[("host", "127.0.0.1:8000"), ("host", host)]).status == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000", "[::1]:8000"])
def test_this_machines_own_names_are_answered(study: Make, visit: Make, host: str) -> None:
    made = study()
    assert visit(made).ask("GET", link_of(made), headers=[("host", host)]).status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": None},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "https://127.0.0.1:8000"},
        {"origin": "http://127.0.0.1:8001"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_a_form_from_elsewhere_is_refused(
    study: Make, visit: Make, read_form: Make, changes: dict[str, str | None]
) -> None:
    made = study()
    visitor = visit(made)
    form = read_form(visitor.get(link_of(made)))
    body = urlencode({**form.hidden, "a1": "on"}).encode()
    headers = {**dict(visitor.usual("POST")), **changes}
    given = [(name, value) for name, value in headers.items() if value is not None]
    assert visitor.ask("POST", form.action, body, headers=given).status == 403
    assert progress_of(made).stored == {}
    assert (
        visitor.ask(
            "POST", form.action, body, headers=[*visitor.usual("POST"), ("sec-fetch-site", "same-origin")]
        ).status
        == 303
    )


def test_a_form_of_another_page_or_annotator_is_refused(study: Make, visit: Make, read_form: Make) -> None:
    made = study()
    visitor = visit(made)
    form, other = (read_form(visitor.get(link_of(made, a))) for a in (0, 1))
    stop = read_form(visitor.get(f"{link_of(made)}/stop"))
    for action, hidden in (
        (form.action, other.hidden),
        (form.action, stop.hidden),
        (form.action, {}),
        (f"{link_of(made)}/1", form.hidden),
        (f"{link_of(made)}/stop", form.hidden),
    ):
        assert visitor.post(action, {**hidden, **({} if action.endswith("stop") else {"a1": "on"})}).status == 403
    assert (progress_of(made).stored, progress_of(made).stopped) == ({}, set())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/a/{}x", 404),
        ("GET", "/a/", 404),
        ("GET", "/a/{}/0", 405),
        ("POST", "/a/{}", 405),
        ("POST", "/a/{}/99", 404),
        ("POST", "/a/{}/-1", 404),
        ("POST", "/a/{}/x", 404),
        ("POST", f"/a/{{}}/{'9' * 5000}", 404),
        ("PUT", "/a/{}/0", 405),
        ("TRACE", "/", 405),
        ("OPTIONS", "*", 405),
        ("GET", "/static/base.html", 404),
        ("GET", "/static/../study.json", 404),
        ("GET", "/study.json", 404),
        ("GET", "/\x00\ud800", 404),
    ],
)
def test_other_addresses_are_not_there(study: Make, visit: Make, method: str, path: str, status: int) -> None:
    made = study()
    visitor = visit(made)
    address = path.replace("{}", made.keys.links[0]).encode("utf-8", "replace").decode()
    answer = visitor.ask(method, address)
    assert answer.status == status
    assert "Traceback" not in answer.text


MANY = urlencode({f"f{n}": "x" for n in range(5000)}).encode()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (MANY, None, 400),
        (b"a1=" + b"x" * 2**20, None, 413),
        (b"x" * 9 * 2**20, None, 413),
        (b"\xff" * 100, None, 400),
        (b"a1=on&a1=on", None, 400),
        (b'{"a1": "on"}', "application/json", 415),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x", 415),
        (b"a1=on", "text/plain", 415),
        (b"", None, 403),
        (b"token=%00", None, 403),
    ],
    ids=["5,000 fields", "1 MB", "9 MB", "bytes", "twice", "json", "multipart", "plain", "empty", "nul"],
)
def test_malformed_forms_are_refused(study: Make, visit: Make, body: bytes, kind: str | None, status: int) -> None:
    made = study()
    visitor = visit(made)
    headers = dict(visitor.usual("POST")) | ({} if kind is None else {"content-type": kind})
    answer = visitor.ask("POST", f"{link_of(made)}/0", body, headers=list(headers.items()))
    assert answer.status == status
    assert "Traceback" not in answer.text
    assert progress_of(made).stored == {}


def test_five_thousand_fields_with_a_good_token_are_refused(study: Make, visit: Make, read_form: Make) -> None:
    made = study()
    visitor = visit(made)
    form = read_form(visitor.get(link_of(made)))
    more = {f"a{n}": "on" for n in range(1, 4000)}
    assert visitor.post(form.action, {**form.hidden, **more}).status in (400, 413)
    assert visitor.post(form.action, {**form.hidden, "a1": "on", "more": "x"}).status == 400


def test_what_cannot_be_stored_is_not_acknowledged(
    study: Make, visit: Make, read_form: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustest_people.studies.journal import Journal

    from robustest.errors import StoreError

    made = study()
    visitor = visit(made)
    form = read_form(visitor.get(link_of(made)))

    def full(*_: object) -> bool:
        raise StoreError("Expected a journal but got: database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", full)
        assert visitor.post(form.action, {**form.hidden, "a1": "on"}).status == 503
    assert "disk is full" in capsys.readouterr().out
    assert progress_of(made).stored == {}
    assert visitor.post(form.action, {**form.hidden, "a1": "on"}).status == 303
