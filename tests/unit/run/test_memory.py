"""A model is asked as much as a plan allows, and what is remembered comes back as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustest import Settings
from robustest.context import Context, running
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.health import Health
from robustest.identity.fingerprint import Fingerprint
from robustest.measure import measure_accuracy
from robustest.models import as_classifier, scores_model
from robustest.rng import permutation
from robustest.run.evidence import Exhibit, Observation, Tally
from robustest.run.memory import ENDPOINT, FULL, WATCHED, Answered, Memory, Notes, entry_of, listen, outcomes_in
from robustest.run.plan import Setup
from robustest.run.units import ModelUnits
from robustest.store.corpus import Kept
from robustest.tasks import CLASSIFICATION

X = torch.rand(40, 1, 2, 2, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 2


class Net(torch.nn.Module):
    """Two classes by brightness; it notes the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(2.0))
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        z = self.scale * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-z, z], 1)


Look = Callable[[Evaluator, Chunk], Observation]


def asks(times: int, *, gradient_at: int | None = None, then: BaseException | None = None, other: float = 0.0) -> Look:
    """A look that calls the model so often, with the gradient in one of the calls, and may raise."""

    def look(evaluator: Evaluator, chunk: Chunk) -> Observation:
        for call in range(times):
            x = chunk.x + call / 100 + (other if call == times - 1 else 0.0)
            if call == gradient_at:
                x.requires_grad_()
                evaluator.model.call(x).sum().backward()
            else:
                evaluator.model.call(x)
        if then is not None:
            raise then
        return Observation({"held": np.ones(len(chunk.x), bool)}, [])

    return look


def heard(
    look: Look, plan: tuple[tuple[int, int], ...] = FULL, n: int = 40, **settings: Any
) -> tuple[Notes | None, Any, list[int]]:
    net = Net()
    setup = Setup.of(net, (X[:n], Y[:n]), {})
    units = ModelUnits(model=setup.model, samples=setup.samples, look=look)
    made = Settings(device="cpu", **settings)
    with units.open(made):
        chunk = units.load(torch.arange(n))
        net.sizes.clear()
        notes, first = listen(units.evaluator.model, look, chunk, made, task=CLASSIFICATION, plan=plan)
    return notes, first, net.sizes


@pytest.mark.parametrize(
    ("plan", "times", "gradient_at", "sizes", "digests"),
    [
        # an input and its logits are noted for each call; a call too many is noted by its input alone
        (FULL, 3, None, [32] * 3, 6),
        (FULL, 8, None, [32] * 8, 16),
        (FULL, 9, None, [32] * 8 + [2] * 9, 17 + 18),
        (FULL, 96, None, [32] * 8 + [2] * 96, 17 + 192),
        (FULL, 97, None, [32] * 8 + [2] * 96, 17 + 193),
        (FULL, 5, 0, [32], 4),  # the call after the gradient ends the look
        (FULL, 5, 2, [32] * 3, 8),
        (FULL, 8, 7, [32] * 8, 17),
        (FULL, 20, 10, [32] * 8 + [2] * 11, 17 + 22 + 2),
        (ENDPOINT, 3, None, [8], 3),
        (ENDPOINT, 1, None, [8], 2),
        (WATCHED, 3, None, [4], 3),
    ],
)
def test_a_model_is_asked_as_much_as_the_plan_allows(
    plan: Any, times: int, gradient_at: int | None, sizes: list[int], digests: int
) -> None:
    notes, first, asked = heard(asks(times, gradient_at=gradient_at), plan)
    assert notes is not None
    assert asked == sizes
    assert len(notes.digests) == digests
    assert (notes.gradient < digests) is (gradient_at is not None)
    assert first[0].shape[0] == first[1].shape[0] == sizes[0]
    again = heard(asks(times, gradient_at=gradient_at), plan)[0]
    assert again == notes


def test_the_first_gradient_is_noted_where_it_came() -> None:
    for at in (0, 2):
        notes = heard(asks(5, gradient_at=at))[0]
        assert notes is not None
        assert notes.gradient == 2 * at + 2
    whole = heard(asks(2))[0]
    assert whole is not None
    assert whole.gradient == len(whole.digests) == 4


@pytest.mark.parametrize("n", [1, 3, 32, 33])
@pytest.mark.parametrize(("batch_size", "rows"), [(None, 99), (5, 5), (64, 99)])
def test_no_more_is_asked_than_there_is(n: int, batch_size: int | None, rows: int) -> None:
    def look(evaluator: Evaluator, chunk: Chunk) -> Observation:
        evaluator.logits(chunk.x)
        return Observation({"held": np.ones(len(chunk.x), bool)}, [])

    sizes = heard(look, n=n, batch_size=batch_size)[2]
    assert sum(sizes) == min(n, 32)
    assert max(sizes) == min(n, 32, rows), "the last bits of logits depend on the size of a batch"


def test_notes_differ_by_what_the_model_is_asked_and_says() -> None:
    first = heard(asks(3))[0]
    for other in (asks(2), asks(3, other=0.5), asks(3, gradient_at=2)):
        assert heard(other)[0] != first
    assert heard(asks(3), n=39)[0] == first, "of the first 32"
    assert heard(asks(3), n=31)[0] != first


@pytest.mark.parametrize("look", [asks(0), asks(2, then=ValueError("no"))])
def test_a_look_that_asks_nothing_or_raises_leaves_no_notes(look: Look) -> None:
    assert heard(look)[:2] == (None, None)


def test_what_ends_the_process_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt):
        heard(asks(2, then=KeyboardInterrupt()))


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        # digests and the place of the gradient
        (("abc", 3), ("abc", 3), ("abc", 3)),
        (("abc", 3), ("abd", 3), None),
        (("abc", 2), ("abd", 2), ("ab", 2)),
        (("abc", 2), ("abd", 3), ("ab", 2)),
        (("abc", 1), ("abd", 2), ("ab", 1)),
        (("abc", 3), ("ab", 2), ("ab", 2)),
        (("abc", 3), ("ab", 1), ("ab", 2)),
        (("abc", 0), ("xyz", 0), ("", 0)),
        (("abc", 1), ("xbc", 1), None),
    ],
)
def test_answers_have_the_beginning_in_common_that_is_no_gradient(one: Any, other: Any, common: Any) -> None:
    def notes(what: Any) -> Notes | None:
        return None if what is None else Notes(tuple(letter.encode() for letter in what[0]), what[1])

    first, second = notes(one), notes(other)
    assert first is not None
    assert second is not None
    assert first.common(second) == notes(common)
    other_way = second.common(first)
    assert (None if other_way is None else other_way.digests) == (
        None if common is None else first.digests[: len(common[0])]
    )


# What is remembered of a chunk


def exhibit(place: int, *, answers: bool) -> Exhibit:
    about = {"label": 1, "clean": 0, "predicted": 1, "size": 0.5, "badness": 0.25 * place}
    answered = torch.full((4,), float(place)) if answers else None
    return Exhibit(
        index=place,
        before=torch.full((2,), 1.0 * place),
        after=torch.full((2,), 2.0 * place),
        answers=answered,
        answer="a",
        **about,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("kept", [False, True])
def test_outcomes_come_back_from_an_entry(kept: bool) -> None:
    health = Health()
    health.count("weak_attack", failed=1, tried=3)
    stock = Kept(torch.tensor([4]), torch.ones(1, 2), torch.tensor([1]), torch.tensor([0.5], dtype=torch.float64))
    first = Observation(
        {"held": np.array([True, False]), "score": np.array([0.5, 1.0])[::-1]},
        [exhibit(3, answers=True), exhibit(1, answers=False)],
        {"z": 2, "a": 1},
        stock if kept else None,
    )
    tally = Tally(forward=3, backward=2, seconds=1.5, classes=4, health=health, notes=("one", "two"))
    found, cost = outcomes_in(entry_of(first, tally))
    assert cost == tally
    assert {name: column.tolist() for name, column in found.columns.items()} == {
        "held": [True, False],
        "score": [1.0, 0.5],
    }
    assert list(found.counts.items()) == [("z", 2), ("a", 1)]
    for one, before in zip(found.exhibits, first.exhibits, strict=True):
        assert (one.index, one.badness, one.answer, one.size) == (before.index, before.badness, "a", 0.5)
        assert torch.equal(one.before, before.before)
        assert torch.equal(one.after, before.after)
        assert (one.answers is None) is (before.answers is None)
    assert found.exhibits[0].answers is not None
    assert found.exhibits[0].answers.tolist() == [3.0] * 4
    assert (found.kept is not None) is kept
    if found.kept is not None:
        assert [getattr(found.kept, name).tolist() for name in ("ids", "x", "y", "sizes")] == [
            [4],
            [[1.0, 1.0]],
            [1],
            [0.5],
        ]


def test_one_answer_that_is_known_is_given_once() -> None:
    calls: list[int] = []

    def call(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x + 1

    known = Answered(call, (X[:2], torch.tensor([7.0])))
    assert known(X[:3]).shape == (3, 1, 2, 2)
    assert known(X[:2].clone().requires_grad_()).tolist() == [7.0]
    assert known(X[:2]).shape == (2, 1, 2, 2)
    assert calls == [3, 2]


# Stored under a key, or not


class Told:
    """Units with an identity that a test gives."""

    def __init__(self, digest: str | None) -> None:
        self.digest = digest
        self.exported: bool | None = None

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        self.exported = exported
        return Fingerprint(self.digest, "a riddle")

    def about(self) -> dict[str, object]:
        return {}


@pytest.mark.parametrize(
    ("store", "identity", "digest", "expected"),
    [
        # remembers, model, the reason why not, and whether an export is allowed
        (True, "look", "abc", (True, "abc", "", True)),
        (True, "look", None, (False, "", "not remembered: a riddle", True)),
        (True, None, "abc", (False, "abc", "", False)),
        (True, None, None, (False, "", "", False)),
        (False, "look", "abc", (False, "", "", None)),
        (
            True,
            (i for i in ()),
            "abc",
            (False, "", "not remembered: the value['about']['identity'] is a generator", True),
        ),
    ],
)
def test_nothing_is_remembered_without_store_identity_and_model(
    store: bool, identity: Any, digest: str | None, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    units = Told(digest)
    made = Memory.of(units, Settings(store=str(tmp_path) if store else None), torch.device("cpu"), identity)  # type: ignore[arg-type]
    remembers, model, why, exported = expected
    assert (made.remembers, made.model, units.exported) == (remembers, model, exported)
    assert made.why_not.startswith(why)
    assert bool(made.why_not) is bool(why)


def test_a_model_that_costs_is_asked_once(tmp_path: Path) -> None:
    for costly, times in ((False, [True, False, True]), (True, [True])):
        asked: list[bool] = []

        def hear(every: bool, asked: list[bool] = asked) -> Notes:
            asked.append(every)
            return Notes((b"a",), 1)

        store = str(tmp_path / str(costly))
        made = Memory.of(Told("abc"), Settings(store=store, recheck=0.0), torch.device("cpu"), "x")  # type: ignore[arg-type]
        made.ask(hear, [b"m"], costly=costly)
        assert made.recall("chunk") is None
        assert asked == times
        with made.listening():
            pass
        made.keep("chunk", Observation({"held": np.array([True])}, []), Tally())
        assert asked == [*times, *([] if costly else [False])]
        again = Memory.of(Told("abc"), Settings(store=store, recheck=0.0), torch.device("cpu"), "x")  # type: ignore[arg-type]
        asked.clear()
        again.ask(hear, [b"m"], costly=costly)
        assert again.recall("chunk") is not None
        assert asked == [True], "a second time only where something has to be measured"
        assert again.doubted() is False


def test_scores_of_a_function_are_listened_to_without_a_gradient() -> None:
    def scores(x: Any) -> Any:
        return np.stack([x.reshape(len(x), -1).mean(1)] * 2, 1)

    made = replace(as_classifier(scores_model(scores)), device=torch.device("cpu"))
    setup = Setup.of(made, (X, Y), {})
    units = ModelUnits(model=setup.model, samples=setup.samples, look=asks(2))
    with units.open(Settings(device="cpu")):
        chunk = units.load(torch.arange(40))
        notes, _ = listen(units.evaluator.model, asks(2), chunk, Settings(device="cpu"), task=CLASSIFICATION, plan=FULL)
    assert notes is not None
    assert notes.gradient == len(notes.digests) == 4


# What changes as it is measured


class Keeping(torch.nn.Module):
    """Two classes by brightness, until a bright sample came: dark ones are then answered wrongly."""

    def __init__(self, *, adapts: bool = True) -> None:
        super().__init__()
        self.adapts = adapts
        self.met = 0
        self.last = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        level = x.flatten(1).mean(1)
        self.last = level.detach().clone()
        if self.adapts:
            self.met = min(1, self.met + int((level > 0.9).sum()))
        z = torch.where((level < 0.1) & (self.met > 0), -1.0, 1.0) * (level - 0.5)
        return torch.stack([-z, z], 1)


def brightness(n: int = 192) -> tuple[Tensor, Tensor]:
    """Levels of n samples: the second chunk of 64 has a bright one, the third a dark one."""
    level, order = torch.linspace(0.3, 0.7, n), permutation(0, n)
    level[order[70]], level[order[150]] = 0.95, 0.05
    return level.view(n, 1).expand(n, 4).clone(), (level > 0.5).long()


def accuracy(most: int, folder: Path | None, **options: Any) -> Any:
    """Return the accuracy of a new model on the first samples in the order of the seed."""
    settings = Settings(store=None if folder is None else str(folder), recheck=0.0, exact=True)
    with running(Context(settings=settings)):
        return measure_accuracy(Keeping(**options), brightness(), max_samples=most, device="cpu")


def test_a_chunk_that_changes_the_model_is_not_remembered(tmp_path: Path) -> None:
    fresh = accuracy(192, None)
    assert int(np.sum(fresh.outcomes)) == 191
    first = accuracy(128, tmp_path)
    assert accuracy(192, tmp_path).outcomes == fresh.outcomes
    (why,) = [note for note in first.words.notes if "not remembered" in note]
    assert "changes as it is measured" in why
    # What a model keeps of the last samples alone is the same once these were asked again.
    accuracy(128, tmp_path / "same", adapts=False)
    again = accuracy(128, tmp_path / "same", adapts=False)
    assert again.evidence.cached


class Counting(Keeping):
    """It counts its calls, and says that this changes no answer."""

    def forward(self, x: Tensor) -> Tensor:
        self.met += 1
        return super().forward(x)

    def robustest_fingerprint(self) -> str:
        return "1"


@pytest.mark.parametrize("declared", [True, False])
def test_a_model_that_counts_is_remembered_if_it_says_what_it_is(
    declared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not declared:
        monkeypatch.delattr(Counting, "robustest_fingerprint")
    for _ in range(2):
        settings = Settings(store=str(tmp_path), recheck=0.0, exact=True)
        with running(Context(settings=settings)):
            found = measure_accuracy(Counting(adapts=False), (X, Y), device="cpu")
    assert bool(found.evidence.cached) is declared
    assert any("robustest_fingerprint()" in note for note in found.words.notes) is not declared


class State(Told):
    """Units with an identity that takes some time to read."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__("abc")
        self.seconds, self.read = seconds, 0

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        self.read += 1
        time.sleep(self.seconds)
        return super().fingerprint(settings, exported=exported)


def kept(units: State, folder: Path, change: Callable[[], None] = lambda: None) -> list[int]:
    """Return the number of files after each of four chunks, the third of which changes something, and after the end."""
    made = Memory.of(units, Settings(store=str(folder), recheck=0.0), torch.device("cpu"), "x")  # type: ignore[arg-type]
    made.ask(lambda _: Notes((b"a",), 1), [b"m"])
    files = []
    for place in range(4):
        assert made.recall(place) is None
        if place == 2:
            change()
        made.keep(place, Observation({"held": np.array([True])}, []), Tally())
        files.append(len(list(folder.rglob("*.safetensors"))))
    made.close()
    return [*files, len(list(folder.rglob("*.safetensors")))]


def test_a_state_that_is_slow_to_read_is_read_seldom_and_chunks_wait_for_it(tmp_path: Path) -> None:
    quick, slow, changing, lost = State(), State(0.02), State(0.02), State()
    assert kept(quick, tmp_path / "quick") == [2, 3, 4, 5, 5], "with the answers"
    assert quick.read == 2 + 4
    assert kept(slow, tmp_path / "slow") == [0, 0, 0, 0, 5]
    assert slow.read == 3
    assert kept(changing, tmp_path / "changing", lambda: setattr(changing, "digest", "abd")) == [0] * 5
    assert kept(lost, tmp_path / "lost", lambda: setattr(lost, "digest", None)) == [2, 3, 3, 3, 3]
