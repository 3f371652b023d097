"""Answers to changed items: what stays, what moves, and nothing green of a change that changes nothing."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from robustest import Calls, ConfigError, DataError, Deployed, Result, Verdict
from robustest.decisions.paired import paired_interval
from robustest.measure import (
    measure_directional,
    measure_invariant,
    measure_rate,
    measure_worst_change_rate,
    measure_worst_group_rate,
)

N = 300
TEXTS = [f"Is {i} even?" for i in range(N)]
ITEMS = [{"item": f"q{i:03d}", "prompt": text, "expected": ("yes", "no")[i % 2]} for i, text in enumerate(TEXTS)]
ASKED: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    ASKED.clear()


def read_number(text: str) -> str:
    """Reads the number, in any letters."""
    ASKED[text] += 1
    return ("yes", "no")[int(next(word for word in text.split() if word.isdigit())) % 2]


parity = Deployed(read_number, "1")


def literal(text: str) -> str:
    """Is lost in capitals for every third number."""
    return "no" if text.isupper() and int(text.split()[1]) % 3 == 0 else parity(text)


def of_prompt(item: dict[str, Any]) -> str:
    return parity(item["prompt"])


def right(answer: str, item: dict[str, Any]) -> bool:
    return bool(answer == item["expected"])


def polite(text: str) -> str:
    return f"Please: {text}"


def thirds(text: str) -> str | None:
    """Has no meaning but for every third number."""
    return text.upper() if int(text.split()[1]) % 3 == 0 else None


def worst(found: Result) -> str:
    return next(one for one in found.words.caveats if one.startswith("worst change"))


# Invariance


def test_answers_that_stay_pass_and_answers_that_do_not_fail() -> None:
    found = measure_invariant(parity, TEXTS, [str.upper, polite], at_least=0.9)
    assert found.verdict is Verdict.PASSED
    found = measure_invariant(literal, TEXTS, [str.upper, polite], at_least=0.9)
    assert found.verdict is Verdict.FAILED
    assert worst(found) == "worst change 'upper'"
    shown = found.evidence.counterexamples[0].answer
    assert "| upper'" in shown
    assert "answer 'no, and before the change yes'" in shown


def test_few_items_are_asked_as_they_are_and_changed_one_after_the_other() -> None:
    found = measure_invariant(parity, TEXTS, polite, at_least=0.9)
    asked = [*ASKED]
    assert found.verdict is Verdict.PASSED
    assert len(asked) == found.details["calls"] < N
    assert all(asked[at + 1] == polite(asked[at]) for at in range(0, len(asked), 2))


def test_the_share_is_that_of_each_change_alone() -> None:
    found = measure_invariant(literal, TEXTS, [str.upper, polite], exact=True)
    # Of numbers that 3 divides, the even ones are answered otherwise in capitals.
    shares = {one["change"]: (one["n"], one["estimate"]) for one in found.details["changes"]}
    assert shares == {"upper": (N, 1 - 50 / N), "polite": (N, 1.0)}
    assert found.estimate == 1 - 50 / N


def test_a_change_that_changes_nothing_passes_nothing() -> None:
    for changes in ({"nothing": lambda text: text}, {"nothing": lambda _: None, "polite": polite}):
        found = measure_invariant(parity, TEXTS, changes, at_least=0.5)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert found.details["changed"]["the change 'nothing'"] == 0
        assert "'nothing' changes no item" in found.ruling.rule
    assert found.details["calls"] > 0  # of the other change
    assert measure_invariant(parity, TEXTS, {"no": str}, at_least=0.5).details["calls"] == 0


def test_items_that_a_change_leaves_do_not_count_and_are_named() -> None:
    def thirds_of_items(item: dict[str, Any]) -> dict[str, Any] | None:
        text = thirds(item["prompt"])
        return item if text is None else {**item, "prompt": text}

    found = measure_invariant(of_prompt, ITEMS[:90], {"thirds": thirds_of_items}, exact=True)
    assert found.numbers.n == 30
    assert found.details["changed"] == {"the change 'thirds'": 30}
    assert any("left out" in one and "'q001', 'q002', 'q004' and 57 more" in one for one in found.words.caveats)
    # 30 items cannot show what 90 would.
    assert measure_invariant(parity, TEXTS[:90], thirds, at_least=0.9).verdict is Verdict.INCONCLUSIVE
    assert measure_invariant(parity, TEXTS[:90], str.upper, at_least=0.9).verdict is Verdict.PASSED


def test_all_items_changed_into_one_text_are_one_item() -> None:
    def one_text(text: str) -> str:
        return "Is 2 even?!"

    def always(text: str) -> str:
        return "yes" if "!" in text else parity(text)

    evens = TEXTS[::2] + TEXTS[1:20:2]
    assert measure_invariant(always, evens, one_text, at_least=0.7).ruling.reasons == ("copies",)


def test_one_answer_to_all_items_is_not_green() -> None:
    found = measure_invariant(lambda _: "yes", TEXTS, polite, at_least=0.9)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any(one.startswith("constant_answer") for one in found.words.notes)


def test_answers_that_agree_by_chance_are_not_green() -> None:
    def rarely(text: str) -> str:
        return "yes" if int(text.split()[-2]) % 50 == 0 else "no"

    found = measure_invariant(rarely, TEXTS, polite, at_least=0.9)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any("answers stay as those to other items in 0.9" in one for one in found.words.notes)
    # A higher claim is one that such answers would not keep.
    assert measure_invariant(rarely, TEXTS, polite, at_least=0.97).verdict is Verdict.PASSED
    assert measure_invariant(parity, TEXTS, polite, same=lambda *_: True, at_least=0.9).verdict is not Verdict.PASSED


def renamed(item: dict[str, Any]) -> dict[str, Any]:
    """Options in the other order: the letters change their meaning."""
    first, second = item["options"]
    return {**item, "options": [second, first], "expected": "AB"["BA".index(item["expected"])]}


def test_options_that_are_reordered_are_compared_by_what_they_mean() -> None:
    items = [
        {"item": f"q{i}", "prompt": f"{i}?", "digest": f"{i}", "options": ["even", "odd"], "expected": "AB"[i % 2]}
        for i in range(N)
    ]

    def reader(item: dict[str, Any]) -> str:
        return "AB"[item["options"].index(("even", "odd")[int(item["prompt"][:-1]) % 2])]

    def meaning(before: str, after: str, item: dict[str, Any], changed: dict[str, Any]) -> bool:
        return bool(item["options"]["AB".index(before)] == changed["options"]["AB".index(after)])

    assert measure_invariant(reader, items, renamed, same=meaning, at_least=0.9).verdict is Verdict.PASSED
    assert measure_invariant(reader, items, renamed, at_least=0.9).verdict is Verdict.FAILED
    first_of_two = measure_invariant(lambda _: "A", items, renamed, same=meaning, at_least=0.9)
    assert first_of_two.verdict is Verdict.FAILED
    told = measure_worst_change_rate(reader, items, renamed, score=right, at_least=0.9)
    assert told.verdict is Verdict.PASSED  # with the letter that is right now


def test_calls_that_fail_are_answers_that_did_not_stay() -> None:
    def crashes(text: str) -> str:
        if text.isupper() and int(text.split()[1]) % 4 == 0:
            raise ValueError("no capitals")
        return parity(text)

    found = measure_invariant(crashes, TEXTS, str.upper, exact=True)
    assert found.estimate == 0.75
    assert found.details["failed"] == N // 4
    before = measure_invariant(crashes, [text.upper() for text in TEXTS], str.lower, exact=True)
    assert before.estimate == 0.75


def test_a_system_with_a_memory_is_not_green() -> None:
    class Chat:
        def __init__(self) -> None:
            self.said: list[str] = []

        def __call__(self, text: str) -> str:
            self.said.append(parity(text))
            return self.said[-1]

    assert measure_invariant(Chat(), TEXTS, polite, at_least=0.9).verdict is Verdict.INCONCLUSIVE


def test_a_change_must_be_repeatable_and_named() -> None:
    drawn = random.Random(0)  # noqa: S311
    with pytest.raises(ConfigError, match="returned two items"):
        measure_invariant(parity, TEXTS, {"noise": lambda text: f"{text} {drawn.random()}"})
    with pytest.raises(ConfigError, match=r"to change item .* but it raised"):
        measure_invariant(parity, TEXTS, {"wrong": lambda text: text["prompt"]})
    with pytest.raises(ConfigError, match="a name of each change"):
        measure_invariant(parity, TEXTS, [lambda text: text])
    for empty in ([], {}, [polite, polite]):
        with pytest.raises(ConfigError, match="different names"):
            measure_invariant(parity, TEXTS, empty)
    with pytest.raises(ConfigError, match="functions of an item"):
        measure_invariant(parity, TEXTS, "typos")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a function to ask"):
        measure_invariant([{"item": "a", "score": 1}], TEXTS, polite)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="True, False or 0"):
        measure_invariant(parity, TEXTS, polite, same=lambda *_: 7)


def test_changes_are_part_of_the_name_of_a_claim() -> None:
    keys = [
        measure_invariant(parity, TEXTS, changes, at_least=0.9).subject.claim
        for changes in (polite, [polite, str.upper])
    ]
    assert keys == ["invariant(changes=(polite)) at_least", "invariant(changes=(polite, upper)) at_least"]


def test_items_of_one_cluster_are_one_draw() -> None:
    def by_topic(item: dict[str, Any]) -> str:
        number = int(item["prompt"].split()[-2])
        return "lost" if "Please" in item["prompt"] and number // 30 == 4 else str(number % 2)

    items = [{**one, "topic": i // 30} for i, one in enumerate(ITEMS)]
    changes = {"polite": lambda one: {**one, "prompt": polite(one["prompt"])}}
    alone = measure_invariant(by_topic, items, changes, at_least=0.8)
    assert alone.verdict is Verdict.PASSED
    together = measure_invariant(by_topic, items, changes, at_least=0.8, cluster="topic")
    assert together.verdict is Verdict.INCONCLUSIVE
    assert together.details["clusters"] == "10 clusters of 30 units"


def test_a_budget_leaves_the_claim_open_and_the_set_is_exact() -> None:
    found = measure_invariant(parity, TEXTS, polite, at_least=0.9, calls=Calls(budget=20))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.ruling.reasons == ("budget",)
    assert measure_invariant(parity, TEXTS[:10], polite, at_least=0.9, scope="set").verdict is Verdict.PASSED
    few = measure_invariant(parity, TEXTS, polite, exact=True, max_samples=12)
    assert (few.numbers.n, few.details["calls"]) == (12, 24)


# Expectations


def score_of(answer: float, item: object) -> float:
    return answer


def praise(text: str) -> float:
    return 0.1 + 0.2 * text.count("good") + 0.0005 * int(text.split()[1])


def praised(text: str) -> str:
    return f"{text} good"


def test_scores_move_as_expected() -> None:
    how: dict[str, Any] = {"score": score_of, "at_least": 0.9}
    for expect, margin, verdict in (
        ("higher", 0.0, Verdict.PASSED),
        ("higher", 0.2, Verdict.PASSED),
        ("higher", 0.3, Verdict.FAILED),
        ("not_lower", 0.0, Verdict.PASSED),
        ("lower", 0.0, Verdict.FAILED),
        ("not_higher", 0.0, Verdict.FAILED),
        ("not_higher", 0.2, Verdict.PASSED),
    ):
        found = measure_directional(praise, TEXTS, praised, expect=expect, margin=margin, **how)  # type: ignore[arg-type]
        assert found.verdict is verdict, (expect, margin)
        assert found.subject.claim.startswith("directional(changes=(praised), expect=")
    with pytest.raises(ConfigError, match="expect to be one of"):
        measure_directional(praise, TEXTS, praised, expect="up", **how)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="margin"):
        measure_directional(praise, TEXTS, praised, expect="higher", margin=1.0, **how)


def test_a_score_that_ignores_the_change_does_not_become_higher() -> None:
    found = measure_directional(lambda _: 0.5, TEXTS, praised, score=score_of, expect="higher", at_least=0.5)
    assert found.verdict is Verdict.FAILED
    found = measure_directional(lambda _: 0.5, TEXTS, praised, score=score_of, expect="not_lower", at_least=0.5)
    assert found.verdict is Verdict.INCONCLUSIVE


def test_items_that_could_not_move_do_not_count() -> None:
    wrong = [{**one, "expected": "neither"} if i >= 40 else one for i, one in enumerate(ITEMS)]
    changes = {"polite": lambda one: {**one, "prompt": polite(one["prompt"])}}
    found = measure_directional(of_prompt, wrong, changes, score=right, expect="not_lower", at_least=0.9)
    assert (found.numbers.n, found.estimate) == (40, 1.0)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "260 items whose score could not have moved otherwise not counted" in found.words.caveats
    none = measure_directional(of_prompt, wrong[40:], changes, score=right, expect="not_lower", at_least=0.5)
    assert none.verdict is Verdict.INCONCLUSIVE
    assert "nothing was tested" in none.ruling.rule


def abstains(answer: str, item: object) -> bool:
    return answer == "I do not know"


def without_the_fact(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "prompt": item["prompt"].replace("Fact", "Rumour")}


def test_abstention_must_begin_where_the_fact_is_missing() -> None:
    items = [{"item": f"q{i}", "prompt": f"Fact {i}: who?", "expected": f"{i}"} for i in range(N)]

    def careful(item: dict[str, Any]) -> str:
        return item["prompt"].split()[1] if "Fact" in item["prompt"] else "I do not know"

    def bold(item: dict[str, Any]) -> str:
        return str(item["prompt"].split()[1])

    how: dict[str, Any] = {"score": abstains, "expect": "higher", "at_least": 0.9}
    assert measure_directional(careful, items, without_the_fact, **how).verdict is Verdict.PASSED
    assert measure_directional(bold, items, without_the_fact, **how).verdict is Verdict.FAILED
    silent = measure_directional(lambda _: "I do not know", items, without_the_fact, **how)
    assert silent.verdict is Verdict.INCONCLUSIVE


# Data of another kind, without a change: two groups of one claim
def test_abstention_on_other_data_and_answers_on_own_data() -> None:
    own = [{"item": f"own {i}", "prompt": f"{i} + 1?", "group": "own"} for i in range(N)]
    other = [{"item": f"other {i}", "prompt": f"who was king {i}?", "group": "other"} for i in range(N)]

    def fits(answer: str, item: dict[str, Any]) -> bool:
        return (answer == "I do not know") == (item["group"] == "other")

    def careful(item: dict[str, Any]) -> str:
        return "I do not know" if "king" in item["prompt"] else item["prompt"]

    for system, verdict in (
        (careful, Verdict.PASSED),
        (lambda _: "I do not know", Verdict.FAILED),
        (lambda item: item["prompt"], Verdict.FAILED),
    ):
        found = measure_worst_group_rate(system, own + other, score=fits, at_least=0.9)
        assert found.verdict is verdict


# The worst change

TEMPLATES = {
    "plain": lambda one: {**one, "prompt": f"Question: {one['prompt']}"},
    "polite": lambda one: {**one, "prompt": polite(one["prompt"])},
    "shouted": lambda one: {**one, "prompt": one["prompt"].upper()},
}


def shy(item: dict[str, Any]) -> str:
    """Answers no shouts of every fifth number."""
    text = item["prompt"]
    number = next(int(word) for word in text.split() if word.isdigit())
    return "?" if text.isupper() and number % 5 == 0 else parity(text)


def test_the_worst_template_decides() -> None:
    how: dict[str, Any] = {"score": right, "at_least": 0.9}
    assert measure_worst_change_rate(of_prompt, ITEMS, TEMPLATES, **how).verdict is Verdict.PASSED
    found = measure_worst_change_rate(shy, ITEMS, TEMPLATES, score=right, exact=True)
    assert (found.estimate, worst(found)) == (0.8, "worst change 'shouted'")
    assert found.details["calls"] == 3 * N  # items are not asked as they are
    assert measure_worst_change_rate(shy, ITEMS, TEMPLATES, **how).verdict is Verdict.FAILED


def test_the_fall_is_paired() -> None:
    half = [{**one, "expected": "neither"} if i % 2 else one for i, one in enumerate(ITEMS)]
    how: dict[str, Any] = {"score": right}
    found = measure_worst_change_rate(shy, half, TEMPLATES, max_fall=0.25, exact=True, **how)
    assert found.estimate == pytest.approx(0.1)  # of 150 right answers, 30 are lost
    alpha = 0.75 * found.ruling.alpha
    assert found.numbers.interval[1] == pytest.approx(paired_interval(30, 0, N, alpha)[1])
    assert found.numbers.interval[0] == pytest.approx(paired_interval(30, 0, N, alpha / 3)[0])
    assert found.verdict is Verdict.PASSED
    assert measure_worst_change_rate(shy, half, TEMPLATES, max_fall=0.02, **how).verdict is Verdict.FAILED
    assert measure_worst_change_rate(shy, half, TEMPLATES, max_fall=0.1, scope="set", **how).verdict is Verdict.PASSED
    assert measure_worst_change_rate(shy, half, TEMPLATES, max_fall=0.09, scope="set", **how).verdict is Verdict.FAILED
    with pytest.raises(ConfigError, match="one of at_least and max_fall"):
        measure_worst_change_rate(shy, half, TEMPLATES, at_least=0.5, max_fall=0.25, **how)


def test_a_system_that_is_never_right_has_no_fall() -> None:
    wrong = [{**one, "expected": "neither"} for one in ITEMS]
    found = measure_worst_change_rate(of_prompt, wrong, TEMPLATES, score=right, max_fall=0.1)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any("no fall could exceed max_fall=0.1" in one for one in found.words.notes)


def test_failures_before_the_change_are_no_help() -> None:
    def fragile(item: dict[str, Any]) -> str:
        if item["prompt"].startswith("Is"):
            raise ValueError("no questions")
        return "?"

    with pytest.raises(DataError):
        measure_worst_change_rate(fragile, [], TEMPLATES, score=right, max_fall=0.1)

    def sometimes(item: dict[str, Any]) -> str:
        number = next(int(word) for word in item["prompt"].split() if word.isdigit())
        if item["prompt"].startswith("Is") and number % 2:
            raise ValueError("no odd questions")
        return parity(item["prompt"]) if item["prompt"].startswith("Is") or number % 2 else "?"

    found = measure_worst_change_rate(sometimes, ITEMS, {"polite": TEMPLATES["polite"]}, score=right, max_fall=0.3)
    assert found.verdict is Verdict.FAILED  # all that were right before are wrong now
    whole = measure_worst_change_rate(sometimes, ITEMS, {"polite": TEMPLATES["polite"]}, score=right, exact=True,
                                      max_fall=0.3)  # fmt: skip
    assert (whole.numbers.n, whole.estimate) == (N // 2, 1.0)
    assert f"{N // 2} items without an answer as they are not counted" in whole.words.caveats


def test_a_picture_is_an_item_as_a_text_is() -> None:
    pictures = []
    for i in range(N):
        drawn = random.Random(i)  # noqa: S311
        pixels = [drawn.randrange(256) for _ in range(9)]
        pictures.append({"item": f"p{i}", "prompt": "Which corner is brighter?", "pixels": pixels})

    def bright(item: dict[str, Any]) -> bool:
        return sum(item["pixels"]) > 1100

    def brighter(item: dict[str, Any]) -> bool:
        return bool(item["pixels"][0] > item["pixels"][8])

    def darker(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "pixels": [value // 2 for value in item["pixels"]]}

    assert measure_invariant(bright, pictures, darker, at_least=0.9).verdict is Verdict.FAILED
    # They share their prompt, and not their input.
    assert measure_invariant(brighter, pictures, darker, at_least=0.9).verdict is Verdict.PASSED


def test_minimum_functionality_is_a_rate() -> None:
    cases = [{**one, "prompt": f"{one['prompt']} Answer yes or no."} for one in ITEMS]
    assert measure_rate(of_prompt, cases, score=right, at_least=0.95).verdict is Verdict.PASSED


def test_one_change_of_many_fails_at_its_part_of_alpha() -> None:
    # 12 of 40 answers change: shown to be less than .85 by one claim alone, not by one of twenty.
    def drifting(text: str) -> str:
        return "?" if "change 0" in text and int(text.split()[1]) % 10 in (0, 1, 2) else parity(text)

    def claim(k: int) -> Result:
        changes = {f"change {i}": (lambda text, i=i: f"{text} change {i}") for i in range(k)}
        return measure_invariant(drifting, TEXTS[:40], changes, at_least=0.85, alpha=0.05)

    def drifting_only(text: str) -> str:
        return parity(text)

    assert claim(1).verdict is Verdict.FAILED
    assert claim(20).verdict is Verdict.INCONCLUSIVE
    many = {f"change {i}": (lambda text, i=i: f"{text} change {i}") for i in range(20)}
    # A pass needs no correction: 40 of 40 show .9 at alpha = .05, as they do for one change.
    for changes in (many, {"change 0": many["change 0"]}):
        found = measure_invariant(drifting_only, TEXTS[:40], changes, at_least=0.9, alpha=0.05)
        assert found.verdict is Verdict.PASSED
