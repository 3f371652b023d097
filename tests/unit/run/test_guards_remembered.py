"""Guards of what is remembered: which counterexamples are replayed, which baselines compared, which chunks recalled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import L2, ConfigError, Linf, Settings, StoreError, as_classifier, rng
from robustest.context import Context, running
from robustest.data import as_samples
from robustest.decisions import BaselineRule, ScoreBaselineRule, ShareRule, Terms
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.identity import keys
from robustest.identity.fingerprint import Fingerprint
from robustest.run.comparison import Comparison, _apart, measured_by
from robustest.run.evidence import Observation, Tally
from robustest.run.memory import Memory, Notes
from robustest.run.plan import Plan
from robustest.run.replay import Replay, marks, rounded
from robustest.store.baselines import BaselineEntry, packed, packed_scores
from robustest.store.baselines import write as write_baseline
from robustest.store.corpus import Kept
from robustest.threats import AnyOf, Columns

CPU = torch.device("cpu")


class Bright(nn.Module):
    """Class 1 where the mean is above `at`."""

    def __init__(self, at: float = 0.5) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at))

    def forward(self, x: Tensor) -> Tensor:
        away = x.flatten(1).mean(1) - self.at
        return torch.stack([-away, away], 1)


def evaluator_of(model: nn.Module) -> Evaluator:
    return Evaluator(as_classifier(model), CPU, batch_size=None, suppress=(), notes=[], examples=3)


# Counterexamples of earlier runs

X = torch.tensor([0.4, 0.45, 0.6, 0.7]).view(4, 1, 1, 1).expand(4, 1, 2, 2).contiguous()
Y = torch.tensor([0, 0, 1, 1])


@pytest.fixture
def replay_of(tmp_path: Path) -> Callable[..., Replay]:
    """Builds replays of one claim in one corpus."""

    def build(threat: Any = None, *, test: str = "t.py::t", mb: float = 20.0, **more: Any) -> Replay:
        settings = Settings(corpus=str(tmp_path / "corpus"), corpus_max_mb=mb)
        with running(Context(settings=settings, test=test)):
            return Replay(Linf(0.2) if threat is None else threat, settings, **more)

    return build


def keep(replay: Replay, ids: list[int], values: list[float], labels: list[int] | None = None) -> None:
    """Keep constant counterexamples of samples."""
    at = torch.tensor(ids)
    y = Y[at] if labels is None else torch.tensor(labels)
    x = torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    near = X[at.clamp(max=3)]
    replay.keep(Kept(ids=at, x=x, y=y, sizes=(x - near).abs().flatten(1).amax(1).double()))
    replay.remember([], (0.0, 1.0))


def replayed(replay: Replay, model: nn.Module | None = None, **more: Any) -> set[int]:
    samples = as_samples((more.get("x", X), more.get("y", Y)))
    return replay.replay(evaluator_of(Bright() if model is None else model), samples, more.get("bounds", (0.0, 1.0)))


def test_what_still_breaks_is_replayed(replay_of: Callable[..., Replay]) -> None:
    keep(replay_of(), [0, 2], [0.55, 0.45])
    replay = replay_of()
    assert replayed(replay) == {0, 2}
    known = replay.counterexamples[2]
    assert known.size == pytest.approx(0.15, abs=1e-6)
    assert known.margin < 0
    assert int(known.predicted) == 0
    assert float(known.x.mean()) == pytest.approx(0.45, abs=0.01)
    assert (known.x.shape, known.predicted.shape) == (X[0].shape, ())
    assert replay.notices == ()


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ({"threat": Linf(0.149)}, set()),
        ({"threat": Linf(0.16)}, {0, 2}),
        ({"model": Bright(0.58)}, {2}),
        ({"y": torch.tensor([1, 0, 1, 1])}, {2}),
        ({"x": X + 0.01}, {0, 2}),
        ({"x": torch.where(torch.arange(4).view(4, 1, 1, 1) == 0, X - 0.1, X)}, {2}),
        ({"x": X[:2], "y": Y[:2]}, {0}),
        ({"x": X.expand(4, 1, 2, 2)[:, :, :1], "y": Y}, set()),
    ],
    ids=["too far", "near enough", "right by now", "another label", "moved", "moved away", "fewer", "another shape"],
)
def test_each_is_checked_against_data_threat_and_model(
    how: dict[str, Any], left: set[int], replay_of: Callable[..., Replay]
) -> None:
    keep(replay_of(), [0, 2], [0.55, 0.45])
    threat = how.pop("threat", Linf(0.2))
    assert replayed(replay_of(threat), **how) == left


@pytest.mark.parametrize(("low", "high", "left"), [(0.0, 0.5, {2}), (0.5, 1.0, {0}), (0.0, 1.0, {0, 2})])
def test_what_lies_outside_the_bounds_is_not_replayed(
    low: float, high: float, left: set[int], replay_of: Callable[..., Replay]
) -> None:
    keep(replay_of(), [0, 2], [0.55, 0.45])
    x = X.clamp(low, high)
    near = replay_of(Linf(0.3))
    assert replayed(near, x=x, bounds=(low, high)) == left


def test_the_sample_itself_is_no_counterexample(replay_of: Callable[..., Replay]) -> None:
    """A model that is wrong of a sample unchanged was not broken by anybody."""
    keep(replay_of(), [0], [0.55])
    x = torch.where(torch.arange(4).view(4, 1, 1, 1) == 0, torch.full_like(X, 140 / 255), X)
    replay = replay_of()
    keep(replay, [0], [140 / 255])
    assert replayed(replay_of(Linf(1e-9)), x=x) == set()


def test_of_several_the_smallest_is_known(replay_of: Callable[..., Replay]) -> None:
    for value in (0.55, 0.52, 0.58):
        keep(replay_of(), [0], [value])
    replay = replay_of()
    assert replayed(replay) == {0}
    assert replay.counterexamples[0].size == pytest.approx(0.12, abs=0.01)


def test_another_test_threat_or_no_corpus_knows_nothing(replay_of: Callable[..., Replay]) -> None:
    keep(replay_of(), [0, 2], [0.55, 0.45])
    assert replayed(replay_of(test="t.py::other")) == set()
    assert replayed(replay_of(L2(1.0))) == set()
    with running(Context(test="t.py::t")):
        none = Replay(Linf(0.2), Settings(corpus=None))
    assert replayed(none) == set()
    assert none.notices == ()
    assert (
        none.collect(evaluator_of(Bright()), chunk(), X, torch.ones(4).double(), torch.ones(4, dtype=torch.bool))
        is None
    )
    none.remember([], (0.0, 1.0))


def chunk() -> Chunk:
    ids = torch.arange(4)
    return Chunk(ids, X, Y, rng.keys(0, ids), (0.0, 1.0))


@pytest.mark.parametrize("certifies", [True, False])
def test_what_is_replayed_is_broken_and_nothing_of_it_proven(certifies: bool, replay_of: Callable[..., Replay]) -> None:
    keep(replay_of(), [0, 2], [0.55, 0.45])
    replay = replay_of(certifies=certifies)
    evaluator = evaluator_of(Bright(0.44))  # which is wrong of nobody unchanged, but of sample 1
    replayed(replay, Bright(0.44))
    known = [index for index in (0, 2) if index in replay.counterexamples]
    observed = replay.observed(evaluator, chunk().rows(torch.tensor(known)))
    assert not observed.columns["held"].any()
    assert observed.columns["clean"].all()
    assert ("proven" in observed.columns) is certifies
    if certifies:
        assert not observed.columns["proven"].any()
    assert list(observed.counts.values()) == [len(known)]
    assert {one.index for one in observed.exhibits} == set(known)
    # The worst is what the model is surest of, and wrong.
    margins = {index: one.margin for index, one in replay.counterexamples.items()}
    assert {one.index: one.badness for one in observed.exhibits} == pytest.approx(
        {index: -margins[index] for index in known}
    )
    assert all(margin < 0 for margin in margins.values())
    assert [one.index for one in observed.exhibits] == sorted(known, key=margins.__getitem__)


def test_what_a_chunk_found_is_kept_as_far_as_there_is_room(replay_of: Callable[..., Replay]) -> None:
    """A quarter of the corpus for one claim: a sample takes sixteen bytes."""
    evaluator, size = evaluator_of(Bright()), torch.full((4,), 0.1).double()
    after = torch.tensor([0.55, 0.55, 0.45, 0.45]).view(4, 1, 1, 1).expand_as(X).contiguous()
    broken = torch.tensor([True, False, True, True])
    for mb, room in ((20.0, 3), (4 * 32 / 1e6, 2), (4 * 31 / 1e6, 1), (4 * 15 / 1e6, 0)):
        replay = replay_of(mb=mb)
        kept = replay.collect(evaluator, chunk(), after, size, broken)
        assert (0 if kept is None else len(kept.ids)) == room
        if kept is not None:
            assert kept.ids.tolist() == [0, 2, 3][:room]
            replay.keep(kept)
            replay.keep(kept)
            assert sum(len(part.ids) for part in replay._found) == (6 if mb == 20.0 else room)
    assert replay_of().collect(evaluator, chunk(), after, size, torch.zeros(4, dtype=torch.bool)) is None


@pytest.mark.parametrize(
    ("mb", "coding", "threat", "grey"),
    [
        (20.0, None, Linf(0.2), True),
        (20.0, object, Linf(0.2), False),
        (20.0, None, Columns({0: AnyOf([0.0, 1.0])}), False),
        (4 * 15 / 1e6, None, Linf(0.2), False),
    ],
    ids=["image", "text", "table", "no room"],
)
def test_images_are_rounded_to_levels_and_nothing_else(
    mb: float, coding: Any, threat: Any, grey: bool, replay_of: Callable[..., Replay]
) -> None:
    """Levels of grey take fewer bytes; another token or another category is another input."""
    x = torch.full_like(X, 0.4507)
    of = replace(chunk(), coding=coding)
    broken = torch.tensor([False, False, True, False])
    kept = replay_of(threat, mb=mb).collect(evaluator_of(Bright()), of, x, X.flatten(1)[:, 0], broken, every=True)
    assert kept is not None
    assert kept.ids.tolist() == [2]
    assert torch.equal(kept.x, torch.full_like(kept.x, 115 / 255) if grey else x[2:3])


def test_what_is_shown_smaller_is_kept_smaller(replay_of: Callable[..., Replay]) -> None:
    replay = replay_of()
    at = torch.tensor([0, 2])
    x = torch.tensor([0.56, 0.44]).view(2, 1, 1, 1).expand(2, 1, 2, 2).contiguous()
    replay.keep(Kept(ids=at, x=x, y=Y[at], sizes=torch.tensor([0.16, 0.16]).double()))
    shown: list[Any] = [
        SimpleNamespace(index=0, size=0.12, after=torch.full((1, 2, 2), 0.52)),
        SimpleNamespace(index=2, size=0.18, after=torch.full((1, 2, 2), 0.42)),
        SimpleNamespace(index=2, size=None, after=torch.full((1, 2, 2), 0.99)),
    ]
    replay.remember(shown, (0.0, 1.0))
    later = replay_of()
    assert replayed(later) == {0, 2}
    assert later.counterexamples[0].size == pytest.approx(0.12, abs=0.01)
    assert later.counterexamples[2].size == pytest.approx(0.16, abs=0.01)


def test_counterexamples_go_to_grey_levels_where_they_still_break_there() -> None:
    """Levels 128 / 255 and 127 / 255 break as what lies near them does; where they lie too far, nothing is changed."""
    part = chunk().rows(torch.tensor([0, 2]))
    found = torch.tensor([0.5009, 0.4991]).view(2, 1, 1, 1).expand(2, 1, 2, 2).contiguous()
    sizes = (found - part.x).abs().flatten(1).amax(1).double()
    x, size = rounded(evaluator_of(Bright()), Linf(0.2), part, found, sizes)
    assert (x * 255).round().sub(x * 255).abs().amax() < 1e-4
    assert size.tolist() == pytest.approx([128 / 255 - 0.4, 0.6 - 127 / 255], abs=1e-6)
    tight, same = rounded(evaluator_of(Bright()), Linf(0.1010), part, found, sizes)
    assert torch.equal(tight, found), "its level lies outside of the threat"
    assert torch.equal(same, sizes)


def test_labels_tell_themselves_and_other_targets_by_a_digest() -> None:
    assert torch.equal(marks(Y), Y)
    masks = torch.tensor([[0, 1], [0, 1], [1, 1]])
    found = marks(masks)
    assert found[0] == found[1] != found[2]
    assert found.shape == (3,)
    assert marks(masks.double())[0] != found[0]
    assert marks(Y.double()).tolist() != Y.tolist()


# Baselines

TERMS = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
RULE = ShareRule(threshold=None, at_least=True, terms=TERMS)


def entry(**changes: Any) -> BaselineEntry:
    fields: dict[str, Any] = {
        "test": "t.py::t",
        "claim": "accuracy",
        "quantity": "accuracy",
        "outcomes": (True, True, True, False),
        "data": "",
        "model": None,
        "seed": 0,
        "method": "",
        "date": "2026-01-01",
        "commit": "",
        "estimate": 0.75,
        "interval": (0.75, 0.75),
        "scores": None,
        "measured_by": measured_by("pgd", None),
    }
    return BaselineEntry(**{**fields, **changes})


def asked(file: Path, *, n: int = 4, tolerance: float = 0.1, by: str = "pgd", update: bool = False, **more: Any) -> Any:
    settings = Settings(update_baseline=update, max_samples=3, time_budget=9.0)
    with running(Context(settings=settings, test="t.py::t")):
        identity = by or None
        plan = Plan(statement="accuracy", units=range(n), settings=settings, rule=RULE, identity=identity)  # type: ignore[arg-type]
        return plan.against(file, tolerance, has_threshold=False, **more)


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    file = tmp_path / "baseline.json"
    write_baseline(file, {"t.py::t: accuracy": entry()})
    return file


def test_a_baseline_is_compared_with_as_it_was_measured(baseline: Path) -> None:
    found = asked(baseline)
    assert found.baseline.entry == entry()
    assert found.rule.before.tolist() == [True, True, True, False]
    assert found.settings.max_samples == 3
    for other in ("fgsm", ""):
        with pytest.raises(StoreError, match="measured as those of the baseline"):
            asked(baseline, by=other)


def test_a_baseline_without_a_note_of_its_measure_is_compared_with_none(tmp_path: Path) -> None:
    write_baseline(tmp_path / "old.json", {"t.py::t: accuracy": entry(measured_by="")})
    with pytest.raises(StoreError, match=r"with nothing known, but got .*pgd"):
        asked(tmp_path / "old.json")
    assert asked(tmp_path / "old.json", by="").baseline.entry == entry(measured_by="")


@pytest.mark.parametrize(("tolerance", "refused"), [(0.0, False), (0.74, False), (0.75, True), (0.9, True)])
def test_a_tolerance_as_wide_as_what_held_is_refused(tolerance: float, refused: bool, baseline: Path) -> None:
    if refused:
        with pytest.raises(ConfigError, match=r"less than the share that held in the baseline, 0\.750"):
            asked(baseline, tolerance=tolerance)
    else:
        assert asked(baseline, tolerance=tolerance).rule.tolerance == tolerance


def test_a_baseline_of_other_samples_or_none_is_an_error(baseline: Path, tmp_path: Path) -> None:
    for n in (3, 5):
        with pytest.raises(StoreError, match=f"the 4 samples that the baseline baseline.json was made of but got {n}"):
            asked(baseline, n=n)
    with pytest.raises(StoreError, match="outcomes of the samples"):
        asked(baseline, n=4, columns=("a", "b"))
    assert asked(baseline, n=2, columns=("a", "b")).baseline.entry == entry()
    with pytest.raises(StoreError, match="there is none"):
        asked(tmp_path / "another.json")
    write_baseline(tmp_path / "more.json", {"t.py::other: accuracy": entry()})
    with pytest.raises(StoreError, match="there is none among its 1"):
        asked(tmp_path / "more.json")
    with pytest.raises(ConfigError, match="path of a baseline file"):
        asked(7)  # type: ignore[arg-type]
    assert asked(None).baseline is None  # type: ignore[arg-type]


def test_scores_are_compared_with_scores(baseline: Path, tmp_path: Path) -> None:
    scored = tmp_path / "scores.json"
    write_baseline(
        scored, {"t.py::t: accuracy": entry(scores=(0.1, 0.2, 0.3, 0.4), estimate=0.25, interval=(0.25, 0.25))}
    )
    assert asked(scored, scored="mean score").rule.before.tolist() == [0.1, 0.2, 0.3, 0.4]
    with pytest.raises(StoreError, match="Expected scores of this claim"):
        asked(baseline, scored="mean score")
    with pytest.raises(StoreError, match="Expected outcomes of this claim"):
        asked(scored)
    with pytest.raises(ConfigError, match=r"less than the mean score of the baseline, 0\.250"):
        asked(scored, scored="mean score", tolerance=0.25)


def test_a_baseline_being_made_needs_every_sample(tmp_path: Path) -> None:
    made = asked(tmp_path / "new.json", update=True)
    assert made.baseline.entry is None
    assert made.rule.before is None
    assert (made.settings.exact, made.settings.max_samples, made.settings.time_budget) == (True, None, None)
    assert made.baseline.measured_by == measured_by("pgd", None)


def test_two_ways_are_shown_from_shortly_before_they_differ() -> None:
    was, now = _apart("a" * 100 + "b" * 200, "a" * 100 + "c" * 200)
    assert was == "a" * 30 + "b" * 50
    assert now == "a" * 30 + "c" * 50
    assert _apart("abc", "abd") == ("abc", "abd")
    assert _apart("abc", "abcd") == ("abc", "abcd")


# Chunks


class Known:
    """What is measured, as units tell it."""

    def __init__(self, digest: str | None = "model", said: bool = False) -> None:
        self.modelled = Fingerprint(digest, "" if digest else "it is a riddle", said)

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        return self.modelled

    def about(self) -> dict[str, object]:
        return {"data": "these"}


class Model:
    """Answers with notes, which a test may change: when asked for the second time, and once chunks are kept."""

    def __init__(self, *notes: bytes) -> None:
        self.notes, self.second, self.other, self.times = notes, notes, False, 0

    def __call__(self, every: bool) -> Notes | None:
        if not every:
            return Notes((str(self.other).encode(),), 1)
        self.times += 1
        notes = self.notes if self.times == 1 else self.second
        return Notes(notes, len(notes)) if notes else None


SEEN = Observation({"held": np.array([True, False])}, [], {"n": 2})


def memory(
    folder: Path, *, known: Any = None, identity: object = "look", device: Any = "cpu", **settings: Any
) -> Memory:
    made = Settings(**{"store": str(folder), "recheck": 0.0, **settings})
    return Memory.of(Known() if known is None else known, made, device, identity)


def asked_of(one: Memory, model: Model | None = None) -> Memory:
    one.ask(Model(b"a", b"b") if model is None else model, [b"x"])
    return one


def test_what_was_kept_is_recalled(tmp_path: Path) -> None:
    first = asked_of(memory(tmp_path))
    assert first.recall("chunk 0") is None
    first.keep("chunk 0", SEEN, Tally())
    assert first.when == ""
    again = asked_of(memory(tmp_path))
    found = again.recall("chunk 0")
    assert found is not None
    assert found[0].columns["held"].tolist() == [True, False]
    assert found[0].counts == {"n": 2}
    assert again.when != ""
    assert again.recall("chunk 1") is None
    assert again.when == "", "something has to be measured now"
    assert again.notices == ()


@pytest.mark.parametrize(
    "other",
    [
        {"identity": "another look"},
        {"device": "cuda of another kind"},
        {"device": torch.device("meta")},
        {"seed": 1},
        {"precision": "bf16"},
        {"examples": 1},
        {"corpus": "known"},
        {"suppress": ("random_forward",)},
        {"known": Known("another model")},
        {"cache": False},
    ],
    ids=lambda other: next(iter(other)),
)
def test_whatever_outcomes_depend_on_is_part_of_the_key(other: dict[str, Any], tmp_path: Path) -> None:
    first = asked_of(memory(tmp_path, corpus=None, suppress=()))
    first.recall("chunk 0")
    first.keep("chunk 0", SEEN, Tally())
    assert asked_of(memory(tmp_path, corpus=None, suppress=())).recall("chunk 0") is not None
    assert asked_of(memory(tmp_path, **{"corpus": None, "suppress": (), **other})).recall("chunk 0") is None


def test_a_model_that_answers_otherwise_is_measured_anew_and_says_so(tmp_path: Path) -> None:
    first = asked_of(memory(tmp_path))
    first.recall("chunk 0")
    first.keep("chunk 0", SEEN, Tally())
    other = asked_of(memory(tmp_path), Model(b"a", b"c"))
    assert other.recall("chunk 0") is None
    assert [note for note in other.notices if note.startswith("measured anew: the model answers the same samples")]


def test_nothing_is_recalled_or_kept_of_a_model_that_cannot_be_asked(tmp_path: Path) -> None:
    silent = asked_of(memory(tmp_path), Model())
    assert not silent.remembers
    assert silent.why_not == "not remembered: the model could not be asked about the claim's first samples"
    wavering = Model(b"a", b"b")
    wavering.second = (b"z", b"b")
    unsettled = asked_of(memory(tmp_path), wavering)
    assert unsettled.recall("chunk 0") is None
    unsettled.keep("chunk 0", SEEN, Tally())
    assert not unsettled.remembers
    assert "twice alike" in unsettled.why_not
    assert asked_of(memory(tmp_path)).recall("chunk 0") is None


def test_what_changed_while_it_was_measured_is_not_kept(tmp_path: Path) -> None:
    model = Model(b"a", b"b")
    one = asked_of(memory(tmp_path), model)
    one.recall("chunk 0")
    model.other = True
    one.keep("chunk 0", SEEN, Tally())
    assert not one.remembers
    assert one.why_not == "not remembered: the model's answers to the same samples changed while it was measured"
    assert asked_of(memory(tmp_path)).recall("chunk 0") is None


def test_a_file_that_was_opened_belongs_to_what_is_kept(tmp_path: Path) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"one")
    one = asked_of(memory(tmp_path / "store"))
    one.recall("chunk 0")
    with one.listening():
        weights.read_bytes()
    one.keep("chunk 0", SEEN, Tally())
    assert asked_of(memory(tmp_path / "store")).recall("chunk 0") is not None
    weights.write_bytes(b"two, and longer")
    later = asked_of(memory(tmp_path / "store"))
    assert later.recall("chunk 0") is None
    assert any("weights.bin, which is read as the model answers, is not what it was" in note for note in later.notices)


@pytest.mark.parametrize(("recheck", "doubted"), [(0.0, 0), (1.0, 50)])
def test_so_many_are_measured_again(recheck: float, doubted: int, tmp_path: Path) -> None:
    one = asked_of(memory(tmp_path, recheck=recheck))
    assert sum(one.doubted() for _ in range(50)) == doubted


def test_what_cannot_be_told_apart_is_not_remembered(tmp_path: Path) -> None:
    for one, why, model in (
        (memory(tmp_path, known=Known(None)), "not remembered: it is a riddle", ""),
        (memory(tmp_path, identity=None), "", "model"),
        (memory(tmp_path, store=None), "", ""),
    ):
        assert not one.remembers
        assert (one.why_not, one.model) == (why, model)
        asked_of(one)
        assert one.recall("chunk 0") is None
        one.keep("chunk 0", SEEN, Tally())
    assert list(tmp_path.rglob("*.safetensors")) == []
    assert memory(tmp_path, known=Known("model", said=True)).self_declared


def test_what_two_answers_begin_with_is_common() -> None:
    one = Notes((b"a", b"b", b"c"), 2)
    assert one.common(one) == one
    assert one.common(Notes((b"a", b"b", b"z"), 2)) == Notes((b"a", b"b"), 2)
    assert one.common(Notes((b"a", b"z", b"c"), 2)) is None
    assert one.common(Notes((b"a", b"b"), 2)) == Notes((b"a", b"b"), 2)
    assert one.common(Notes((b"a",), 1)) == Notes((b"a",), 1)
    assert one.digest(2) == Notes((b"a", b"b"), 2).digest() != one.digest()


class Compared:
    """Stands for a rule of outcomes: what it finds, and the columns that it is asked about."""

    tolerance, share_before, groups, parts = 0.1, np.float64(0.75), (), ()

    def __init__(self, better: bool = False) -> None:
        self.better, self.asked = better, []  # type: ignore[var-annotated]

    def compare(self, columns: Any) -> Any:
        self.asked.append(sorted(columns))
        return SimpleNamespace(better=self.better, gained=2, lost=1, details=lambda: {"lost": 1})


@pytest.mark.parametrize("better", [True, False])
@pytest.mark.parametrize(("n", "data"), [(4, "d"), (4, "other"), (3, "d"), (3, "other")])
def test_a_result_says_what_it_was_compared_with(better: bool, n: int, data: str) -> None:
    rule: Any = Compared(better)
    comparison = Comparison(rule=rule, file=Path("b.json"), key="k", entry=entry(data="d"))
    columns = {"held": np.ones(n, dtype=bool)}
    evidence: Any = SimpleNamespace(columns=columns, ids=np.arange(n), data=data, whole=n == 4, beside=None)
    evidence.model, evidence.outcomes = "m", (True,) * n
    if n == 4 and data == "other":
        with pytest.raises(StoreError, match=r"the baseline b\.json was made of but these are different ones"):
            comparison.details_of(evidence)
        return
    about, notes = comparison.details_of(evidence)
    common = {"tolerance": 0.1, "file": "b.json", "key": "k"}
    if n == 3:  # some samples were not measured
        assert (about, notes, rule.asked) == (common, (), [])
        return
    one = entry()
    assert about == {**common, "lost": 1, "accuracy": 0.75, "date": one.date, "commit": one.commit}
    assert type(about["accuracy"]) is float
    assert rule.asked == [["held", "id"]] * 2
    assert len(notes) == better
    assert all(note.startswith("better than the baseline: 2 gained, 1 lost. Hold what was won: ") for note in notes)


def test_a_result_of_another_model_names_it_and_pairs_what_both_measured() -> None:
    other: Any = SimpleNamespace(model=SimpleNamespace(call=Bright()))
    comparison = Comparison(rule=Compared(), other=other)  # type: ignore[arg-type]
    evidence: Any = SimpleNamespace(columns={}, ids=np.arange(0), data="d", whole=True, beside=None)
    assert comparison.details_of(evidence) == ({"tolerance": 0.1, "model": "Bright"}, ())
    evidence.beside = SimpleNamespace(model="ab" * 20, outcomes=None)
    assert comparison.details_of(evidence)[0]["model"] == "Bright abababababab"
    other.model.call = keep
    assert comparison.details_of(evidence)[0]["model"] == "keep abababababab"


@pytest.mark.parametrize("ungated", [False, True])
@pytest.mark.parametrize(
    ("changes", "alone"),
    [
        ({}, True),  # the same claim, measured again
        ({"model": "other"}, False),
        ({"model": None}, False),
        ({"data": "other"}, False),
        ({"outcomes": (True, False)}, False),
        ({"model": "other", "details": {}}, True),  # not compared
        ({"model": "other", "details": {"baseline": None}}, True),
        ({"model": "other", "details": {"baseline": {"file": "b.json", "key": "another"}}}, True),
        ({"model": "other", "details": {"baseline": {"file": "c.json", "key": "k"}}}, True),
    ],
    ids=str,
)
def test_two_claims_of_one_name_do_not_share_an_entry(changes: dict[str, Any], alone: bool, ungated: bool) -> None:
    fields = {"details": {"baseline": {"file": "b.json", "key": "k"}}, "model": "m", "data": "d", "outcomes": (True,)}
    before: Any = SimpleNamespace(**{**fields, **changes})
    before.evidence = before
    evidence: Any = SimpleNamespace(model="m", data="d", outcomes=(True,), whole=False, beside=None)
    comparison = Comparison(rule=Compared(), file=Path("b.json"), key="k")  # type: ignore[arg-type]
    held = {"ungated" if ungated else "results": [before]}
    with running(Context(settings=Settings(store=None), **held)):
        if alone:
            about = {"tolerance": 0.1, "file": "b.json", "key": "k", "update": True, "measured_by": "", "data": "d"}
            assert comparison.details_of(evidence) == (about, ())
        else:
            with pytest.raises(StoreError, match=r"one entry in the baseline b\.json"):
                comparison.details_of(evidence)
        # Where the entry is read, a verdict depends on no other claim of its test.
        reads = replace(comparison, entry=entry())
        assert reads.details_of(evidence) == ({"tolerance": 0.1, "file": "b.json", "key": "k"}, ())


def test_a_model_without_an_identity_is_the_same_as_before() -> None:
    paired = {"baseline": {"file": "b.json", "key": "k"}}
    before: Any = SimpleNamespace(details=paired, outcomes=(True,))
    before.evidence = SimpleNamespace(model=None, data="d")
    evidence: Any = SimpleNamespace(model="", data="d", outcomes=(True,), whole=False, beside=None)
    comparison = Comparison(rule=Compared(), file=Path("b.json"), key="k")  # type: ignore[arg-type]
    with running(Context(settings=Settings(store=None), results=[before])):
        assert comparison.details_of(evidence)[1] == ()


def test_nothing_is_kept_or_recalled_before_the_model_was_asked(tmp_path: Path) -> None:
    one = memory(tmp_path)
    one.keep("chunk 0", SEEN, Tally())
    assert list(tmp_path.rglob("*.safetensors")) == []
    assert one.remembers
    assert one.recall("chunk 0") is None
    none = Memory(None, None)
    none.ask(lambda _: None, [])
    none.keep("chunk 0", SEEN, Tally())
    assert (none.recall("chunk 0"), none.doubted(), none.notices, none.when) == (None, False, (), "")


@pytest.mark.parametrize(
    ("columns", "together", "cells"),
    [
        (("held",), True, None),
        (("held",), False, [True, False, True]),
        (("held", "clean"), True, [True, True, False, True, True, False]),
        (("clean",), True, [True, True, False]),
    ],
)
def test_a_baseline_being_made_holds_the_cells_that_outcomes_do_not_show(
    columns: tuple[str, ...], together: bool, cells: list[bool] | None
) -> None:
    terms = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
    other = ShareRule(threshold=None, at_least=True, terms=terms)
    common: dict[str, Any] = {"other": other, "has_threshold": False, "tolerance": 0.1, "terms": terms, "before": None}
    rule = BaselineRule(**common, columns=columns, together=together, parts=(("all", columns),))
    held, clean = np.array([True, False, True]), np.array([True, True, False])
    found: dict[str, Any] = {"held": held, "clean": clean, "score": np.array([0.5, 0.25, 1.0])}
    evidence: Any = SimpleNamespace(columns=found, data="d", model="m", outcomes=(), whole=True, beside=None)
    made = Comparison(rule=rule, file=Path("b.json"), key="k", measured_by="so").details_of(evidence)
    about = {"tolerance": 0.1, "file": "b.json", "key": "k", "update": True, "measured_by": "so", "data": "d"}
    assert made == (about if cells is None else {**about, "cells": packed(cells)}, ())
    scores = Comparison(rule=ScoreBaselineRule(**common, seed=0, of="score"), file=Path("b.json"), key="k")
    assert scores.details_of(evidence)[0]["scores"] == packed_scores([0.5, 0.25, 1.0])
    assert "cells" not in scores.details_of(evidence)[0]


def test_surroundings_show_in_the_answers_and_are_no_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asked_of(memory(tmp_path))
    first.recall("chunk 0")
    first.keep("chunk 0", SEEN, Tally())
    monkeypatch.setattr(keys, "_surroundings", lambda: {"threads": -1})
    assert asked_of(memory(tmp_path)).recall("chunk 0") is not None
