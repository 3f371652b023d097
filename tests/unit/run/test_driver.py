"""Units of a claim are measured once, in the seeded order; what is remembered counts where it must, and only there."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from robustest import DataError, ModelError, Settings, StoreError, clock, rng
from robustest.context import Context, NotSearched, running
from robustest.decisions import BaselineRule, Decision, ShareRule, Terms, clopper_pearson
from robustest.engine.chunks import partition
from robustest.health import Health
from robustest.results import Verdict
from robustest.run import driver, measured_chunks
from robustest.run.audit import Audit
from robustest.run.driver import Measurement, observe
from robustest.run.evidence import REPLAYED, Evidence, Exhibit, Observation, Stream, Tally
from robustest.run.measured_chunks import AT_START, MeasuredChunks, _Begun
from robustest.run.plan import Plan
from robustest.run.units import OwnUnits, Part, Units
from robustest.run.workers import ChunkResult, Work

# Histories of a claim

SEEN: list[list[int]] = []
"""Positions of each look: of questions to the units first, then of chunks."""


@dataclass(frozen=True)
class Positions:
    """Units that are their positions; all but every tenth hold."""

    n: int = 600
    period: int = 10
    note: str = ""

    def __len__(self) -> int:
        return self.n

    def load(self, ids: Sequence[int]) -> list[int]:
        return [int(one) for one in ids]

    def look(self, part: Part) -> dict[str, Any]:
        return {"held": (part.ids % self.period != 0).numpy()}


class Noting(OwnUnits):
    """Units whose looks are noted here: a look that wrote a list itself would change what it is made of."""

    def measure(self, chunk: Part, *, first: bool) -> tuple[Observation, Tally]:
        SEEN.append(list(chunk.units))
        return super().measure(chunk, first=first)


def plan(units: Positions | None = None, *, threshold: float | None = 0.5, identity: Any = "x", **options: Any) -> Plan:
    settings = Settings(**{"store": None, "corpus": None, "recheck": 0.0, **options})
    rule = ShareRule(threshold=threshold, at_least=True, terms=Terms.of(settings))
    units = Positions() if units is None else units
    return Plan(statement="positions", units=Noting(units), settings=settings, rule=rule, identity=identity)


def ran(what: Plan) -> tuple[Evidence, list[list[int]]]:
    """Return evidence, and the positions of each chunk that was measured, without questions of at most 8 units."""
    SEEN.clear()
    found = observe(what)
    return found, [ids for ids in SEEN if len(ids) > 8]


def chunks(seed: int, n: int = 600, most: int | None = None) -> list[list[int]]:
    return [one.tolist() for one in partition(rng.permutation(seed, n)[:most])]


def test_an_exact_claim_measures_every_chunk_of_its_seed_once() -> None:
    for seed in (0, 3):
        evidence, looks = ran(plan(exact=True, seed=seed))
        assert looks == chunks(seed)
        assert (evidence.n, evidence.total, evidence.cached) == (600, 600, "")
        assert evidence.columns["held"].tolist() == [one % 10 != 0 for one in range(600)]
        assert evidence.decision.estimate == 0.9
    assert ran(plan(exact=True, max_samples=100))[1] == chunks(0, most=100)


@pytest.mark.parametrize(
    ("change", "measured"),
    [
        ({}, False),
        ({"threshold": 0.6}, False),
        ({"threshold": None}, False),
        ({"alpha": 0.01}, False),
        ({"seed": 1}, True),
        ({"identity": "another look"}, True),
        ({"units": Positions(period=11)}, True),
        ({"units": Positions(note="another field")}, True),
        ({"examples": 1}, True),
        ({"store": None}, True),
        ({"cache": False}, True),
        ({"identity": None}, True),
        ({"recheck": 1.0}, True),
    ],
    ids=lambda one: str(next(iter(one.items()), "nothing")) if isinstance(one, dict) else "",
)
def test_a_second_run_measures_what_has_changed(change: dict[str, Any], measured: bool, tmp_path: Any) -> None:
    options = {"exact": True, "store": str(tmp_path)}
    first, looks = ran(plan(**options))
    assert looks == chunks(0)
    evidence, again = ran(plan(**{**options, **change}))
    assert again == (chunks(change.get("seed", 0)) if measured else [])
    assert bool(evidence.cached) is not measured
    if not measured:
        assert evidence.columns["held"].tolist() == first.columns["held"].tolist()
        assert (evidence.data, evidence.model) == (first.data, first.model)
        assert (len(evidence.data), len(evidence.model)) == (64, 64)


def test_a_claim_that_stopped_early_goes_on_where_it_stopped(tmp_path: Any) -> None:
    early, looks = ran(plan(store=str(tmp_path)))
    assert 0 < early.n < 600
    assert looks == chunks(0)[: len(looks)]
    assert early.data == "", "some units were not read"
    whole, more = ran(plan(store=str(tmp_path), exact=True))
    assert more == chunks(0)[len(looks) :]
    assert (whole.n, whole.cached) == (600, "")
    assert ran(plan(store=str(tmp_path), exact=True))[1] == []
    shorter = chunks(0, most=150)  # whose last chunk is another one
    assert ran(plan(store=str(tmp_path), max_samples=150, exact=True))[1] == [
        one for one in shorter if one not in chunks(0)
    ]


def test_the_clock_ends_a_claim_after_the_chunk_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "left", lambda: 0 if len(SEEN) > 3 else None)
    evidence, looks = ran(plan(threshold=0.91, exact=True, time_budget=9.0))
    assert evidence.n == sum(map(len, looks)) < 600
    assert evidence.decision.verdict is Verdict.INCONCLUSIVE
    assert evidence.decision.rule.endswith(f": {evidence.n} of 600 samples looked at")
    assert not evidence.decision.at_alpha


def test_progress_is_what_was_looked_at_and_what_broke() -> None:
    heard: list[tuple[Any, ...]] = []
    with running(Context(settings=Settings(store=None), progress=lambda *what: heard.append(what))):
        evidence, looks = ran(plan(exact=True))
    sizes = np.cumsum([len(one) for one in looks])
    broken = np.cumsum([sum(unit % 10 == 0 for unit in one) for one in looks])
    assert heard == [("positions", n, 600, bad) for n, bad in zip(sizes, broken, strict=True)]
    assert evidence.n == 600


# Steps of a run


@dataclass
class Told(Units):
    """Units that do what a test says."""

    broken: set[int] = field(default_factory=set)
    known: bool = True
    digest: bytes = b"a"
    gathers: bool = False  # type: ignore[misc]
    group: Any = None
    asked: int = 0
    remembered: list[Any] = field(default_factory=list)
    smaller: Callable[[list[Exhibit]], tuple[Observation, Tally]] | None = None

    def __post_init__(self) -> None:
        self.replay: Any = SimpleNamespace(notices=("replays",), polishes=True) if self.known else None

    def __len__(self) -> int:
        return 100

    def still_broken(self) -> set[int]:
        return self.broken

    def replayed(self, ids: torch.Tensor) -> tuple[Observation, Tally]:
        return Observation({"held": np.zeros(len(ids), bool)}, [], {REPLAYED: len(ids)}), Tally(forward=7)

    def load(self, ids: torch.Tensor) -> Any:
        return ids

    def digests(self, chunk: Any) -> list[bytes]:
        return [self.digest] * len(chunk)

    def ask(self, memory: Any, chunk: Any, marks: list[bytes]) -> None:
        self.asked += 1

    def measure(self, chunk: Any, *, first: bool) -> tuple[Observation, Tally]:
        return Observation({"held": np.ones(len(chunk), bool)}, []), Tally(forward=len(chunk), backward=int(first))

    def measure_among(self, evaluator: Any, chunk: Any) -> tuple[Observation, Tally]:
        return self.measure(chunk, first=False)

    def gathering(self) -> Any:
        return self.group

    def cost(self) -> Tally:
        return Tally(forward=1000)

    def job(self) -> Any:
        return "job"

    def shrunk(self, exhibits: list[Exhibit], *, calls: float, rows: float) -> tuple[Observation, Tally]:
        assert self.smaller is not None
        return self.smaller(exhibits)

    def reopened(self) -> Any:
        return nullcontext()

    def remember(self, found: Sequence[Any], shown: list[Exhibit]) -> None:
        self.remembered.append((list(found), list(shown)))


@dataclass
class Remembering:
    """A memory that holds what a test puts there."""

    stored: Any = None
    doubts: bool = False
    remembers: bool = True
    kept: list[Any] = field(default_factory=list)
    notices: tuple[str, ...] = ("remembered",)
    when: str = ""
    model: str = "m"
    raises: bool = False

    def recall(self, what: Any) -> Any:
        return self.stored

    def doubted(self) -> bool:
        return self.doubts

    def keep(self, what: Any, observation: Observation, tally: Tally) -> None:
        self.kept.append(what)
        if self.raises:
            raise clock.OutOfTime

    def close(self) -> None:
        pass

    def once(self, what: Any, measure: Callable[[], Any]) -> Any:
        self.kept.append(what)
        if self.raises:
            raise clock.OutOfTime
        return measure()

    @contextmanager
    def listening(self) -> Iterator[None]:
        yield


class Remote:
    """Workers that a test answers for."""

    kind, remote = "", True

    def __init__(self, *, remote: bool = True) -> None:
        self.remote, self.jobs = remote, []  # type: ignore[var-annotated]

    def put(self, job: Any) -> Any:
        self.jobs.append(job)
        return f"reference {len(self.jobs)}"


class Rule(ShareRule):
    """A rule that some number of broken samples refutes."""

    def doomed(self, broken: int, n: int) -> bool:
        assert n == 100
        return broken >= 5


def run(units: Told | None = None, *, memory: Any = None, **options: Any) -> Measurement:
    settings = Settings(**{"store": None, "corpus": None, **options})
    rule = Rule(threshold=0.5, at_least=True, terms=Terms.of(settings))
    units = Told() if units is None else units
    what = Plan(statement="told", units=units, settings=settings, rule=rule)
    return Measurement(what, memory or Remembering(), Remote(), Stream(len(units)))  # type: ignore[arg-type]


def read_in(units: Told | None = None, *, remote: bool = False, **how: Any) -> MeasuredChunks:
    """Return the chunks of a run, of which each is read as three units."""
    of = run(units, **how)
    reader: Any = SimpleNamespace(take=lambda _: torch.arange(3))
    engine: Any = Remote(remote=remote)
    return MeasuredChunks(of.plan.units, of.plan.settings, of.memory, engine, of.known, of.stream, reader)


IDS = torch.tensor([4, 5, 6])
STORED = Observation({"held": np.array([True, False, True]), "score": np.array([0.5, 0.25, 1.0])}, []), Tally(forward=3)


@pytest.mark.parametrize(
    ("remote", "remembers", "recall", "broken", "expected"),
    [
        # (read here, asked, recalled, compared)
        (False, True, (False, False), 0, (True, True, False, False)),
        (True, True, (False, False), 0, (True, True, False, False)),
        (False, False, (False, False), 0, (True, True, False, False)),
        (True, False, (False, False), 0, (False, False, False, False)),
        (False, True, (True, False), 0, (True, True, True, False)),
        (True, True, (True, False), 0, (True, True, True, False)),
        (False, True, (True, True), 0, (True, True, False, True)),
        (True, True, (True, True), 0, (True, True, False, True)),
        (False, True, (True, True), 2, (True, True, True, False)),  # replays take the place of attacks
    ],
)
def test_a_chunk_is_recalled_compared_or_measured(
    remote: bool, remembers: bool, recall: tuple[bool, bool], broken: int, expected: tuple[bool, ...]
) -> None:
    stored, doubts = recall
    units, memory = Told(), Remembering(STORED if stored else None, doubts=doubts, remembers=remembers)
    one = read_in(units, remote=remote, memory=memory)
    one.known.broken = broken
    read, asked, recalled, compared = expected
    for place in (0, 1):
        found = one.look_up(place, IDS)
        assert isinstance(found, ChunkResult) is recalled
        assert found.place == place
        marks = [b"a"] * 3 if read else None
        if isinstance(found, ChunkResult):
            assert (found.observation, found.tally, found.marks) == (*STORED, marks)
        else:
            assert found.compared is compared
            chunk = one._begun[place]
            assert (chunk.marks, chunk.remembered) == (marks, STORED[0] if compared else None)
            assert (chunk.loaded is None) is remote
        assert units.asked == int(asked), "before the first chunk alone"


def test_a_chunk_of_replays_is_never_compared() -> None:
    stored = replace(STORED[0], counts={REPLAYED: 1}), STORED[1]
    assert isinstance(read_in(memory=Remembering(stored, doubts=True)).look_up(1, IDS), ChunkResult)


def taken(
    one: MeasuredChunks, *, remembered: Observation | None = None, marks: Any = (b"a",) * 3, **result: Any
) -> ChunkResult:
    """Take the result of a chunk that was begun with these marks and outcomes."""
    place = result.pop("place", 1)
    one._begun[place] = _Begun(IDS, None if marks is None else list(marks), remembered=remembered)
    given = {"observation": STORED[0], "tally": Tally(forward=3), "marks": [b"a"] * 3, **result}
    return one.take(ChunkResult(place=place, **given))


@pytest.mark.parametrize(
    ("here", "there", "refused"),
    [
        ([b"a"] * 3, [b"a"] * 3, False),
        ([b"a"] * 3, [b"a", b"b", b"a"], True),
        ([b"a"] * 3, [], True),
        ([], [b"a"], True),
        ([], [], False),
        (None, [b"a"] * 3, False),  # workers alone have read it
        (None, [], False),
    ],
)
def test_workers_measure_the_samples_that_are_read_here(here: Any, there: list[bytes], refused: bool) -> None:
    one = read_in(remote=True)
    if refused:
        with pytest.raises(DataError, match="Expected workers to read the samples that are read here"):
            one_taken(one, here, there)
        assert one.memory.kept == []  # type: ignore[attr-defined]
    else:
        assert one_taken(one, here, there).marks == there
        (key,) = one.memory.kept  # type: ignore[attr-defined]
        assert (key[0], key[1].tolist(), key[2]) == ("chunk", IDS.tolist(), there)


def one_taken(one: MeasuredChunks, here: Any, there: list[bytes]) -> ChunkResult:
    one._begun[1] = _Begun(IDS, here)
    return one.take(ChunkResult(place=1, observation=STORED[0], marks=there))


@pytest.mark.parametrize(("remote", "place", "forward"), [(True, 0, 1003), (True, 1, 3), (False, 0, 3), (False, 1, 3)])
def test_the_cost_of_what_came_before_belongs_to_the_first_chunk_of_workers(
    remote: bool, place: int, forward: int
) -> None:
    assert taken(read_in(remote=remote), place=place).tally.forward == forward


def test_what_a_worker_could_not_measure_is_raised_here() -> None:
    with pytest.raises(ModelError, match="no answer"):
        taken(read_in(), error=ModelError("no answer"))
    with pytest.raises(clock.OutOfTime):
        taken(read_in(), over=True)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        taken(read_in(), warned=((UserWarning, "slow"), (RuntimeWarning, "hot")))
    assert [(one.category, str(one.message)) for one in found] == [(UserWarning, "slow"), (RuntimeWarning, "hot")]


def test_a_compared_chunk_must_have_the_outcomes_that_it_had() -> None:
    held = STORED[0].columns["held"]
    other = Observation({"held": held, "score": np.array([0.1, 0.2, 0.3])}, [])
    assert taken(read_in(), remembered=other), "scores may differ in their last bits"
    for wrong, count in ((~held, 3), (held & [True, True, False], 1)):
        one = read_in()
        with pytest.raises(StoreError, match=rf"{count} of 3 outcomes \(held\) differ"):
            taken(one, remembered=Observation({"held": wrong}, []))
        assert one.memory.kept == []  # type: ignore[attr-defined]


def test_a_chunk_measured_in_time_counts_where_the_model_cannot_be_asked_again() -> None:
    assert taken(read_in(memory=Remembering(raises=True))).observation is STORED[0]


def test_a_chunk_is_measured_once() -> None:
    one = read_in()
    one.look_up(0, IDS)
    found = next(one.measure_each([Work(0, IDS)]))
    assert (found.place, found.tally.forward, found.tally.backward, found.marks) == (0, 3, 1, [b"a"] * 3)
    with pytest.raises(LookupError, match="chunk 0 was measured before"):
        next(one.measure_each([Work(0, IDS)]))
    one.look_up(1, IDS)
    assert next(one.measure_each([Work(1, IDS)])).tally.backward == 0


# Known counterexamples


@pytest.mark.parametrize(
    ("broken", "read", "options", "replayed"),
    [
        ({1, 2, 3, 4, 9}, [], {}, [1, 2, 3, 4, 9]),
        ({1, 2, 3, 4}, [], {}, None),  # too few
        (set(), [], {}, None),
        ({1, 2, 3}, [(50, False), (51, False), (52, True)], {}, [1, 2, 3]),  # broken already, and not known
        ({1, 2, 3}, [(50, False), (51, True), (52, True)], {}, None),
        ({1, 2, 3, 4, 5}, [(1, False), (2, True), (50, True)], {}, None),  # two of them were read: one held
        ({1, 2, 3, 4, 5, 6}, [(1, False), (2, True), (50, True)], {}, [3, 4, 5, 6]),
        ({1, 2}, [(1, False), (2, False), (3, False), (4, False), (5, False)], {}, None),  # none of them is left
        ({1, 2, 3, 4, 9}, [], {"exact": True}, None),
        ({1, 2, 3, 4, 9}, [], {"exact": True, "replay_only": True}, [1, 2, 3, 4, 9]),
        ({1, 2, 3, 4, 9}, [], {"replay_only": True}, [1, 2, 3, 4, 9]),
    ],
)
def test_known_counterexamples_refute_a_claim_that_cannot_hold_any_more(
    broken: set[int], read: list[tuple[int, bool]], options: dict[str, Any], replayed: list[int] | None
) -> None:
    one = run(Told(broken), **options)
    if read:
        ids, held = torch.tensor([place for place, _ in read]), np.array([held for _, held in read])
        one.stream.add(ids, Observation({"held": held}, []), Tally(), examples=3, marks=[])
    bad, n = sum(not held for _, held in read), len(read)
    found = one.known.replay()
    assert one.known.broken == len(broken)
    if replayed is None:
        assert found is None
        assert one.stream.n == n
        return
    assert found is not None
    assert one.stream.columns["id"].tolist()[n:] == replayed
    assert not one.stream.columns["held"][n:].any()
    assert one.stream.tally.forward == 7
    assert one.stream.counts == {REPLAYED: len(replayed)}
    assert (found.verdict, found.estimate, found.at_alpha) == (Verdict.FAILED, None, False)
    assert found.rule == f"certain: {len(replayed)} of 100 samples are broken by replayed counterexamples"
    assert found.interval == (0.0, 1 - (len(replayed) + bad) / 100)


def test_without_a_replay_nothing_is_known() -> None:
    one = run(Told({1, 2, 3, 4, 5}, known=False))
    assert one.known.replay() is None
    assert one.known.broken == 0


def test_a_run_of_replays_alone_refutes_or_has_not_searched() -> None:
    assert run(Told({1, 2, 3, 4, 5}), replay_only=True).decide().verdict is Verdict.FAILED
    with running(Context(test="test_it", skip=pytest.skip)), pytest.raises(NotSearched) as error:
        run(Told({1, 2, 3, 4}), replay_only=True).decide()
    assert "replayed only: 4 known counterexamples still break; nothing was searched for" in str(error.value)


@pytest.mark.parametrize("remote", [False, True])
def test_replays_come_before_the_first_chunk_that_is_measured_and_not_compared(remote: bool) -> None:
    units = Told({1, 2, 3, 4})
    one = read_in(units, remote=remote)
    first, second = "reference 1", "reference 2"
    assert one.begin(Work(0, IDS, compared=True)) == first
    assert one.known.broken == 0
    assert one.begin(Work(1, IDS, compared=True)) == first
    assert one.begin(Work(2, IDS)) == second, "what was sent knows of no counterexamples"
    assert one.known.broken == 4
    units.broken = {1, 2, 3, 4, 5}
    assert one.begin(Work(3, IDS)) == second, "replayed once"
    # An engine of this process is handed the chunks themselves.
    assert one.engine.jobs == (["job", "job"] if remote else [one, one])  # type: ignore[attr-defined]
    other = read_in(Told(), remote=remote)
    assert [other.begin(Work(place, IDS)) for place in (0, 1)] == ["reference 1"] * 2
    refuted = read_in(Told({1, 2, 3, 4, 5}), remote=remote)
    assert refuted.begin(Work(0, IDS)) is None
    assert refuted.known.refuted is not None
    assert refuted.engine.jobs == []  # type: ignore[attr-defined]


EXHIBIT = Exhibit(
    index=4, label=0, clean=0, predicted=1, size=1.0, before=torch.zeros(2), after=torch.ones(2), badness=1.0
)
SMALLER = replace(EXHIBIT, size=0.5)


def decided(verdict: Verdict) -> Decision:
    return Decision(verdict=verdict, rule="", estimate=None, interval=(0.0, 1.0))


@pytest.mark.parametrize(
    ("verdict", "shown", "replay_only", "raises", "expected"),
    [
        # (size, keys in the memory)
        (Verdict.FAILED, True, False, False, (0.5, 1)),
        (Verdict.FAILED, True, True, False, (0.5, 0)),
        (Verdict.FAILED, True, False, True, (0.5, 1)),
        (Verdict.PASSED, True, False, False, (1.0, 0)),
        (Verdict.INCONCLUSIVE, True, False, False, (1.0, 0)),
        (Verdict.FAILED, False, False, False, (None, 0)),
    ],
)
def test_counterexamples_of_a_failed_claim_are_made_smaller_and_all_are_kept(
    verdict: Verdict, shown: bool, replay_only: bool, raises: bool, expected: tuple[float | None, int]
) -> None:
    units = Told(smaller=lambda _: (Observation({}, [SMALLER]), Tally(forward=11)))
    one = run(units, memory=Remembering(raises=raises), replay_only=replay_only)
    one.stream.exhibits = [EXHIBIT] if shown else []
    one.known.found.append("kept")  # type: ignore[arg-type]
    left = one.known.keep_examples(decided(verdict))
    assert (left is None) == (not shown or verdict is not Verdict.FAILED)
    if left is not None:
        assert units.remembered == [], "the verdict does not wait for it"
        left()
    size, keys = expected
    assert [exhibit.size for exhibit in one.stream.exhibits] == ([] if size is None else [size])
    assert one.stream.tally.forward == (11 if size == 0.5 else 0)
    assert len(one.memory.kept) == keys  # type: ignore[attr-defined]
    assert units.remembered == [(["kept"], one.stream.exhibits)]


@pytest.mark.parametrize("error", [clock.OutOfTime(), ModelError("no answer here")], ids=["time", "model"])
def test_a_failed_claim_has_failed_also_where_nothing_can_be_made_smaller(error: BaseException) -> None:
    def fails(_: Any) -> Any:
        raise error

    units = Told(smaller=fails)
    one = run(units)
    one.stream.exhibits = [EXHIBIT]
    left = one.known.keep_examples(decided(Verdict.FAILED))
    assert left is not None
    left()
    assert one.stream.exhibits == [EXHIBIT]
    assert units.remembered == [([], [EXHIBIT])]
    said = "counterexamples not yet the smallest: no answer here"
    assert one.known.remarks == ((said,) if isinstance(error, ModelError) else ())


def test_counterexamples_that_an_earlier_run_made_smaller_are_recalled() -> None:
    stored = Observation({}, [SMALLER]), Tally(forward=11, notes=("not yet the smallest",))
    one = run(Told(), memory=Remembering(stored=stored))
    one.stream.exhibits = [EXHIBIT]
    assert one.known.keep_examples(decided(Verdict.FAILED)) is None
    assert one.stream.exhibits == [SMALLER]
    assert one.stream.tally.forward == 11
    assert one.known.remarks == ("not yet the smallest",)


def test_without_a_replay_nothing_is_made_smaller_or_kept() -> None:
    units = Told(known=False)
    one = run(units)
    one.stream.exhibits = [EXHIBIT]
    assert one.known.keep_examples(decided(Verdict.FAILED)) is None
    assert units.remembered == []


# Precision


@pytest.mark.parametrize(
    ("settings", "reduced", "failing", "other", "doubted"),
    [
        ({"precision": "auto"}, 1, "no_room", False, True),
        ({"precision": "auto"}, 0, "no_room", False, False),
        ({"precision": "fp32"}, 1, "no_room", False, False),
        ({"precision": "bf16"}, 1, "no_room", False, False),
        ({"precision": "auto"}, 1, "", False, False),
        ({"precision": "auto", "suppress": ("no_room",)}, 1, "no_room", False, False),
        ({"precision": "auto"}, 1, "no_room", True, True),
        ({"precision": "auto"}, 0, "no_room", True, False),
        ({"precision": "auto"}, 1, "", True, False),
    ],
)
def test_gradients_in_bfloat16_are_doubted_where_a_health_check_speaks(
    settings: dict[str, Any], reduced: int, failing: str, other: bool, doubted: bool
) -> None:
    health = Health()
    health.count("reduced_precision", failed=0, tried=reduced)
    if failing:
        health.count(failing, failed=9, tried=10)
    one, tally = run(**settings), Tally(health=health)
    if other:
        nothing = Decision(verdict=Verdict.PASSED, rule="", estimate=1.0, interval=(0.0, 1.0))
        one.other = Evidence(decision=nothing, columns={}, ids=np.zeros(0, np.int64), total=1, tally=tally)
    else:
        one.stream.tally = tally
    assert one.doubts_precision() is doubted


# Several chunks at a time


@dataclass
class Group:
    """Chunks under way, of which the oldest ends with each step."""

    most: int = 99
    under_way: list[Any] = field(default_factory=list)
    largest: int = 0
    steps: int = 0
    closed: bool = False

    @property
    def room(self) -> bool:
        return len(self.under_way) < self.most

    def begin(self, measure: Callable[[Any], Any]) -> Any:
        found = measure("evaluator")
        member = SimpleNamespace(over=False, result=lambda: found, seconds=0.25)
        self.under_way.append(member)
        self.largest = max(self.largest, len(self.under_way))
        return member

    def step(self) -> None:
        self.steps += 1
        self.under_way.pop(0).over = True

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("read", "size", "most", "exact", "largest"),
    [
        (0, 32, 99, False, 3),  # up to 64 under way, and then one more
        (0, AT_START // 2, 99, False, 2),
        (0, AT_START // 2 + 1, 99, False, 1),
        (100, 32, 99, False, 3),
        (256, 32, 99, False, 5),
        (256, 32, 2, False, 2),
        (0, 32, 4, True, 4),
        (0, 32, 99, True, 9),
    ],
)
def test_chunks_under_way_are_few_beside_those_that_were_read(
    read: int, size: int, most: int, exact: bool, largest: int
) -> None:
    group = Group(most)
    one = read_in(Told(gathers=True, group=group), exact=exact)
    if read:
        held = Observation({"held": np.ones(read, bool)}, [])
        one.stream.add(torch.arange(read), held, Tally(), examples=0, marks=[])
    works = [Work(place, torch.arange(size)) for place in range(9)]
    for work in works:
        one._begun[work.place] = _Begun(work.ids, [b"a"], loaded=work.ids)
    each = one.measure_each(works)
    results = [next(each)]
    assert group.steps == 1, "a chunk is yielded as soon as it is over"
    results += each
    assert [found.place for found in results] == list(range(9))
    assert group.largest == largest
    assert group.closed
    assert {(found.tally.seconds, found.tally.forward, *found.marks) for found in results} == {(0.25, size, b"a")}


def test_chunks_are_measured_one_by_one_where_none_are_gathered() -> None:
    group = Group()
    one = read_in(Told(group=group))
    works = [Work(place, IDS) for place in range(3)]
    for work in works:
        one._begun[work.place] = _Begun(work.ids, loaded=work.ids)
    results = one.measure_each(works)
    first = next(results)
    assert (first.place, first.marks, first.tally.backward) == (0, [], 1)
    one.units.gathers = True  # type: ignore[misc]
    assert [found.place for found in results] == [1, 2]
    assert group.largest == 2


# Evidence


def test_evidence_of_some_samples_has_no_digest_of_the_data() -> None:
    one = run()
    order = torch.arange(99, -1, -1)
    marks = [bytes([int(place)]) for place in order]
    held = np.arange(100) % 2 == 0
    one.stream.add(
        order[:60], Observation({"held": held[:60]}, []), Tally(notes=("slow",)), examples=0, marks=marks[:60]
    )
    part = one.evidence(decided(Verdict.PASSED))
    assert (part.data, part.n, part.total, part.model, part.cached) == ("", 60, 100, "m", "")
    assert part.ids.tolist() == list(range(40, 100))
    assert part.tally.notes == ("slow", "remembered", "replays")
    one.stream.add(order[60:], Observation({"held": held[60:]}, []), Tally(), examples=0, marks=marks[60:])
    whole = one.evidence(decided(Verdict.PASSED))
    ordered = run()
    ordered.stream.add(
        torch.arange(100), Observation({"held": held[::-1].copy()}, []), Tally(), examples=0, marks=marks[::-1]
    )
    assert len(whole.data) == 64
    assert whole.data == ordered.evidence(decided(Verdict.PASSED)).data
    assert whole.columns["held"].tolist() == held[::-1].tolist()


def test_a_stopped_claim_is_open_whatever_its_outcomes_say() -> None:
    one = run()
    open_before = replace(decided(Verdict.INCONCLUSIVE), rule="too few", at_alpha=True)
    assert one._stopped(open_before) is open_before
    for verdict in (Verdict.PASSED, Verdict.FAILED):
        found = one._stopped(replace(decided(verdict), at_alpha=True))
        assert (found.verdict, found.at_alpha, found.reasons) == (Verdict.INCONCLUSIVE, False, ("budget",))
        assert found.rule == "the clock: 0 of 100 samples looked at"


def test_no_warning_is_given_where_none_was() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        taken(read_in())


# The audit of what an attack left


@dataclass
class Audited:
    """Units whose audit breaks some of them; `tried` has the positions of each look."""

    breaks: set[int] = field(default_factory=set)
    able: bool = True
    late_at: int = 99
    scored: bool = False
    of_many: bool = True
    tried: list[list[int]] = field(default_factory=list)
    short: list[bool] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    later: dict[int, set[int]] = field(default_factory=dict)  # what each further round breaks

    def audit(
        self, ids: torch.Tensor, *, first: bool, many: bool = False, again: int = 0
    ) -> Callable[[], tuple[Observation, Tally]] | None:
        assert first, "one chunk was measured"
        if many and not self.of_many:
            return None
        if len(self.tried) == self.late_at:
            raise clock.OutOfTime
        self.tried.append(ids.tolist())
        self.short += [many]
        self.again += [again]
        breaks = self.later.get(again, set()) if again else self.breaks
        held = np.array([one not in breaks for one in ids.tolist()])
        columns = {"held": held, "score": held.astype(float)} if self.scored else {"held": held}
        return (lambda: (Observation(columns, []), Tally(forward=len(ids)))) if self.able else None


def audit(
    units: Audited,
    n: int = 100,
    *,
    confirmed: Any = None,
    passing: Any = None,
    marks: bool = False,
    seed: int = 0,
    **columns: Any,
) -> tuple[str, Stream, Audit, list[int]]:
    stream, asked = Stream(n), []
    held = Observation({"held": np.ones(n, bool), **columns}, [])
    stream.add(torch.arange(n), held, Tally(), examples=3, marks=[b"%d" % i for i in range(n)] if marks else [])

    def sure(worst: Any) -> bool:
        asked.append(int((worst["held"] == 0).sum()))
        return bool(confirmed is not None and confirmed(worst))

    made = Audit(units, Remembering(), Settings(store=None, seed=seed))  # type: ignore[arg-type]
    done = made.take(stream, passing or (lambda columns: len(columns["id"])), sure)
    return done, stream, made, asked


def room(most: int) -> Callable[[Any], bool]:
    """A claim that passes with so many broken samples."""
    return lambda worst: bool((worst["held"] == 0).sum() <= most)


def test_an_audit_that_breaks_nothing_looks_at_few_ever_more() -> None:
    units = Audited()
    done, stream, made, asked = audit(units, confirmed=room(1))
    assert not done
    assert [len(ids) for ids in units.tried] == [5, 5, 9, 10, 12, 18]
    assert units.short == [False, False, False, True, True, True], "the cheaper stages for many"
    assert len({one for ids in units.tried for one in ids}) == 59 == len(made.audited)
    assert not any(made.audited.values())
    # What may have been overlooked: the upper bounds of 0 of 5, of 10 and so on, of those that are left.
    looks = (5, 10, 19, 29, 41)
    shares = [clopper_pearson(0, looked, 0.05)[1] for looked in looks]
    spared = [math.ceil(share * (100 - looked)) for share, looked in zip(shares, looks, strict=True)]
    assert asked == [*spared, 1], "one broken sample is room enough after 59 that held"
    assert clopper_pearson(0, 59, 0.05)[1] < 0.05 < clopper_pearson(0, 58, 0.05)[1]
    assert stream.tally.health.counts("weak_attack") == (0, 59)
    assert (stream.counts, stream.tally.forward) == ({"audit": 0}, 59)
    assert stream.columns["held"].all()


def test_a_claim_with_room_for_what_19_samples_do_not_show_passes_on_them() -> None:
    units = Audited()
    assert not audit(units, confirmed=lambda worst: (~worst["held"]).mean() <= 0.15)[0]
    assert [len(ids) for ids in units.tried] == [5, 5, 9]
    more = Audited()
    assert not audit(more, confirmed=lambda worst: (~worst["held"]).mean() <= 0.1)[0]
    assert [len(ids) for ids in more.tried] == [5, 5, 9, 10]


def test_a_gap_that_19_samples_do_not_show_is_seen_by_59() -> None:
    """Where .07 break, all 19 hold with a chance of .93^19 = .25, and all 59 with one of .014."""
    unseen = dict.fromkeys((False, True), 0)
    for of_many, seed in itertools.product(unseen, range(60)):
        _, _, made, _ = audit(Audited(breaks=set(range(28)), of_many=of_many), 400, seed=seed)
        unseen[of_many] += not any(made.audited.values())
    assert unseen[False] >= 8
    assert unseen[True] <= 3


def test_without_stages_for_many_19_samples_are_audited() -> None:
    units = Audited(of_many=False)
    assert not audit(units, confirmed=room(1))[0]
    assert [len(ids) for ids in units.tried] == [5, 5, 9]


@pytest.mark.parametrize(("n", "spared"), [(100, 1), (300, 3)])
@pytest.mark.parametrize("of_many", [False, True])
def test_a_claim_that_rests_on_each_sample_has_all_audited_by_other_draws(n: int, spared: int, of_many: bool) -> None:
    units = Audited(of_many=of_many)
    done, stream, made, asked = audit(units, n, confirmed=room(spared - 1))
    assert not done
    assert asked[-1] == spared
    assert (len(units.tried[-1]), units.again[-1], units.short[-1]) == (n, 1, False)
    assert (made.rounds, len(made.audited)) == ([0], n)
    assert stream.tally.health.counts("weak_attack") == (0, n)
    broken = Audited(of_many=of_many, later={1: {7}})
    _, stream, made, _ = audit(broken, n, passing=lambda columns: n if columns["held"].all() else 0)
    assert (made.rounds, stream.tally.health.counts("weak_attack")) == ([1], (1, n))
    early = Audited(of_many=of_many)
    stream = Stream(n)
    stream.add(torch.arange(n), Observation({"held": np.ones(n, bool)}, []), Tally(), examples=1, marks=[])
    one = Audit(early, Remembering(), Settings(store=None))  # type: ignore[arg-type]
    assert not one.take(stream, lambda columns: len(columns["id"]), lambda _: False, again=False)
    assert set(early.again) == {0}, "more units may give the room"


def test_a_sample_that_breaks_after_19_held_has_more_audited_by_all_stages() -> None:
    first = Audited()
    audit(first)
    units = Audited(breaks=set(first.tried[3][:1]))
    audit(units)
    assert [len(ids) for ids in units.tried] == [5, 5, 9, 10, 29, 42, 99]
    assert units.short == [False, False, False, True, False, False, False]


def test_an_audit_ends_once_its_pass_is_confirmed() -> None:
    units = Audited()
    done, _, _, asked = audit(units, confirmed=lambda worst: (~worst["held"]).sum() < 25)
    assert not done
    assert [len(ids) for ids in units.tried] == [5, 5]
    assert len(asked) == 2
    assert asked[0] >= 25 > asked[1]


def test_what_an_audit_breaks_is_broken_and_it_goes_on_until_all_are_looked_at() -> None:
    units = Audited(breaks=set(range(100)))
    done, stream, made, _ = audit(units)
    assert not done
    assert [len(ids) for ids in units.tried] == [5, 5, 9, 19, 38, 24]
    assert len(made.audited) == 100
    assert not stream.columns["held"].any()
    assert stream.counts == {"audit": 100}
    assert stream.tally.health.counts("weak_attack") == (100, 100)
    one = Audited(breaks=set(range(0, 100, 2)))
    _, stream, made, _ = audit(one, passing=lambda columns: len(columns["id"]) if columns["held"].mean() > 0.9 else 0)
    assert stream.columns["held"].mean() <= 0.9, "the claim does not pass any more"
    assert sum(made.audited.values()) == int((~stream.columns["held"]).sum()) == stream.counts["audit"]
    assert len(made.audited) < 100


def test_a_claim_without_room_for_as_many_again_has_all_that_held_audited_once_more() -> None:
    first = set(range(10))
    enough = Audited(breaks=first)
    assert not audit(enough, confirmed=room(20))[0]
    assert set(enough.again) == {0}
    settled = Audited(breaks=first, later={1: {50}})
    done, stream, made, _ = audit(settled, confirmed=room(12))
    assert not done
    assert (made.rounds, settled.again[-1], len(settled.tried[-1])) == ([1], 1, 90)
    assert stream.tally.health.counts("weak_attack") == (11, 100)
    weaker = Audited(breaks=first, later={1: {50, 51}, 2: {60, 61}})
    done, _, made, _ = audit(weaker, confirmed=room(13))
    assert made.rounds == [2, 2]
    assert done == "weak attack: an audit of all that it left broke 14 of 100, 2 at last"
    ended = Audited(breaks=first, later={1: {50}, 2: set()})
    assert not audit(ended, confirmed=room(0))[0], "a round that breaks nothing more settles a value too"
    assert ended.again[-1] == 2
    early = Audited(breaks=first)
    stream = Stream(100)
    stream.add(torch.arange(100), Observation({"held": np.ones(100, bool)}, []), Tally(), examples=1, marks=[])
    one = Audit(early, Remembering(), Settings(store=None))  # type: ignore[arg-type]
    assert one.take(stream, lambda columns: len(columns["id"]), room(12), again=False).startswith("weak attack")
    assert set(early.again) == {0}, "more units may give the room"


def test_an_audit_looks_at_what_the_pass_rests_on_and_at_nothing_that_is_proven_or_broken() -> None:
    units = Audited()
    proven = (np.arange(100) < 20).astype(float)
    audit(units, passing=lambda _: 30, proven=proven)
    looked = {one for ids in units.tried for one in ids}
    assert looked == set(range(20, 30))
    scored = Audited(scored=True)
    audit(scored, score=np.where(np.arange(100) < 90, 0.0, 0.5))
    assert {one for ids in scored.tried for one in ids} == set(range(90, 100))
    nothing = Audited()
    assert not audit(nothing, passing=lambda _: 0)[0]
    assert nothing.tried == []


def test_an_audit_of_scores_takes_them_for_nothing_where_they_may_be() -> None:
    worst_scores: list[float] = []

    def confirmed(worst: Any) -> bool:
        worst_scores.append(float(worst["score"].sum()))
        return False

    units = Audited(scored=True)
    audit(units, confirmed=confirmed, score=np.ones(100))
    share = clopper_pearson(0, 5, 0.05)[1]
    assert worst_scores[0] == 100 - math.ceil(share * 95)


def test_an_audit_that_is_not_possible_or_late_says_so() -> None:
    unable = Audited(able=False)
    assert not audit(unable)[0]
    assert len(unable.tried) == 1
    assert audit(Audited(late_at=0))[0].startswith("the clock")
    late = Audited(late_at=1)
    done, stream, _, _ = audit(late)
    assert done.startswith("the clock")
    assert stream.tally.health.counts("weak_attack") == (0, 5)


def test_the_samples_that_are_audited_depend_on_the_seed_alone() -> None:
    first, again, other = Audited(), Audited(), Audited()
    audit(first)
    audit(again, confirmed=lambda _: False)
    assert first.tried == again.tried
    audit(other, n=60)
    assert set(other.tried[0]) <= set(range(60))
    keyed = Remembering()
    made = Audit(Audited(), keyed, Settings(store=None))  # type: ignore[arg-type]
    stream = Stream(3)
    stream.add(
        torch.tensor([2, 0, 1]),
        Observation({"held": np.ones(3, bool)}, []),
        Tally(),
        examples=1,
        marks=[b"c", b"a", b"b"],
    )
    made.take(stream, lambda columns: len(columns["id"]), lambda _: False)
    (what, ids, marks) = keyed.kept[0]
    assert (what, [b"abc"[one : one + 1] for one in ids.tolist()]) == ("audit", marks)


@pytest.mark.parametrize(
    ("recalled", "again", "refused"),
    [(True, b"a", False), (True, b"b", True), (False, b"b", False)],
)
def test_a_compared_chunk_is_read_again_where_an_earlier_claim_had_read_it(
    recalled: bool, again: bytes, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    units, reads = Told(), []
    one = read_in(units, memory=Remembering(STORED, doubts=True))
    monkeypatch.setattr(measured_chunks.decoded, "recalled", lambda: recalled)
    monkeypatch.setattr(units, "load", lambda ids: reads.append(ids) or again)
    marks = {b"a": [b"a"] * 3, b"b": [b"a", b"a", b"b"]}
    monkeypatch.setattr(units, "digests", lambda loaded: marks.get(loaded if isinstance(loaded, bytes) else b"a"))
    if refused:
        with pytest.raises(DataError, match="to be what they were when an earlier claim read them"):
            one.look_up(1, IDS)
    else:
        found = one.look_up(1, IDS)
        assert isinstance(found, Work)
        assert found.compared
    assert len(reads) == recalled


def columns_of(held: int, n: int) -> dict[str, Any]:
    return {"id": np.arange(n), "held": np.arange(n) * held % n < held}


@pytest.mark.parametrize("audited", [True, False])
@pytest.mark.parametrize(
    ("options", "verdict", "expected"),
    [
        # (what an audit rests on where 600 of 600 hold, and where 100 do; what confirms a pass)
        ({"threshold": 0.5}, Verdict.PASSED, ((True, False), (True, False))),
        ({"threshold": 0.5, "exact": True}, Verdict.PASSED, ((600, 0), (True, False))),
        ({"threshold": 0.95, "exact": True}, Verdict.FAILED, ((600, 0), (True, False))),
        ({"threshold": None}, Verdict.INCONCLUSIVE, ((0, 0), (False, False))),
        ({"threshold": None, "audit_values": True}, Verdict.INCONCLUSIVE, ((600, 600), (False, False))),
        ({"threshold": 0.5, "exact": True, "audit_values": True}, Verdict.PASSED, ((600, 600), (False, False))),
    ],
    ids=["early", "exact", "failed", "value", "audited value", "both"],
)
def test_an_audit_is_of_a_pass_or_of_a_value_that_a_threshold_is_taken_from(
    options: dict[str, Any],
    verdict: Verdict,
    expected: tuple[tuple[Any, Any], tuple[bool, bool]],
    audited: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[Any, ...]] = []
    rests_on, confirms = expected

    def take(self: Any, stream: Any, passing: Any, confirmed: Any, *, again: bool = True) -> str:
        many, few = columns_of(600, 600), columns_of(100, 600)
        asked.append((passing(many), passing(few), confirmed(many), confirmed(few), stream.n))
        return "" if audited else "the clock: late"

    monkeypatch.setattr(Audit, "take", take)
    found = observe(plan(**options)).decision
    many, few, sure, unsure, n = asked[-1]
    if rests_on[0] is True and audited:  # before every unit was measured
        assert 0 < many <= n < 600
        assert few == 0
    elif rests_on[0] is True:  # further units may give the room that the audit finds missing
        assert (many, few) == (600, 0)
    else:
        assert (many, few) == rests_on
    assert (sure, unsure) == confirms
    open_ = verdict is Verdict.PASSED and not audited
    assert found.verdict is (Verdict.INCONCLUSIVE if open_ else verdict)
    assert ("unaudited" in found.reasons) is (not audited and (open_ or "audit_values" in options))
    if open_:
        assert not found.at_alpha
        assert found.rule == "the clock: late"


def test_a_claim_of_some_samples_is_open_and_one_of_all_is_not() -> None:
    for most, verdict in ((300, Verdict.INCONCLUSIVE), (600, Verdict.PASSED), (None, Verdict.PASSED)):
        assert observe(plan(exact=True, max_samples=most)).decision.verdict is verdict


@pytest.mark.parametrize(
    ("threshold", "broken", "audited", "verdict"),
    [
        (0.5, 0, True, Verdict.PASSED),
        (0.5, 100, True, Verdict.PASSED),  # .73 are left
        (0.5, 400, True, Verdict.FAILED),
        (0.5, 0, False, Verdict.INCONCLUSIVE),
        (None, 400, True, Verdict.PASSED),  # no number is claimed that an audit could refute
    ],
)
def test_an_audit_decides_the_number_and_never_the_comparison(
    threshold: float | None, broken: int, audited: bool, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(self: Any, stream: Any, passing: Any, confirmed: Any, *, again: bool = True) -> str:
        held = stream.columns["held"].copy()
        held[np.flatnonzero(held)[:broken]] = False
        stream.columns["held"] = held
        stream.counts["audit"] = broken
        return "" if audited else "the clock: late"

    monkeypatch.setattr(Audit, "take", take)
    one = plan(threshold=threshold, exact=True)
    before = np.arange(600) % 10 != 0
    how: dict[str, Any] = {"groups": (), "columns": ("held",), "parts": (), "together": True, "level": None}
    rule = BaselineRule(
        other=one.rule,
        has_threshold=threshold is not None,
        before=before,
        tolerance=0.01,
        terms=Terms.of(one.settings),
        **how,
    )
    evidence = observe(replace(one, rule=rule))
    assert evidence.decision.verdict is verdict
    assert evidence.columns["held"].tolist() == before.tolist(), "the baseline holds outcomes without an audit"
    assert evidence.counts["audit"] == broken


@pytest.mark.parametrize(
    ("engine", "present", "device"),
    [("local", True, "cpu"), ("local", False, "cpu"), ("acme", True, "cpu"), ("acme", False, "auto")],
)
@pytest.mark.parametrize("here", [False, True])
def test_a_device_that_only_the_workers_have_is_none_of_this_process(
    engine: str, present: bool, device: str, here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[Any] = []
    monkeypatch.setattr(driver, "engine_for", lambda settings: wanted.append(settings) or Remote())
    monkeypatch.setattr(driver.devices, "present_kind", lambda _: present)
    what = replace(plan(), here=here)
    what = replace(what, settings=replace(what.settings, engine=engine, device="cpu"))
    with driver._opened(what) as made:
        assert made.plan.settings == replace(what.settings, device=device)
        assert made.engine.remote is not here
        assert (made.stream.total, made.stream.n) == (600, 0)
    assert [one.device for one in wanted] == ([] if here else ["cpu"]), "the engine gets the settings as they are"


COPIED = [bytes([place % 3]) for place in range(9)]
DIFFERENT = [bytes([place]) for place in range(9)]


@pytest.mark.parametrize(
    ("scope", "marks", "repeats", "at_least", "verdict", "first"),
    [
        ("population", COPIED, False, 4, Verdict.INCONCLUSIVE, [0, 1, 2]),
        ("population", COPIED, False, 3, Verdict.PASSED, [0, 1, 2]),  # enough without the copies
        ("population", COPIED, False, 20, Verdict.FAILED, [0, 1, 2]),
        ("set", COPIED, False, 4, Verdict.PASSED, None),
        ("population", COPIED, True, 4, Verdict.PASSED, None),
        ("population", COPIED[:8], False, 4, Verdict.PASSED, None),  # of one nothing is known
        ("population", DIFFERENT, False, 9, Verdict.PASSED, None),
        ("population", [*DIFFERENT[:8], DIFFERENT[0]], False, 9, Verdict.INCONCLUSIVE, [*range(8)]),
        ("population", [*DIFFERENT[:8], DIFFERENT[0]], False, 8, Verdict.PASSED, [*range(8)]),
    ],
)
def test_copies_are_no_draws_from_a_population(
    *, scope: str, marks: list[bytes], repeats: bool, at_least: int, verdict: Verdict, first: list[int] | None
) -> None:
    """By a rule that passes on so many samples, and fails on fewer than a tenth of them; its interval is their number.

    The interval is that of the verdict, whatever the verdict is.
    """
    asked: list[list[int]] = []

    class Count:
        of_population = False

        def among(self, kept: Any) -> Count:
            assert all(place + 20 in kept for place in range(len({*marks})))
            assert len(kept) == 100 - 9 + len({*marks})
            again = Count()
            again.kept = kept
            return again

        kept: Any = None

        def decide(self, columns: Any, total: int, settled: Any) -> Decision:
            assert settled is None
            assert total == (100 if self.kept is None else len(self.kept))
            ids = columns["id"] if self.kept is None else self.kept[columns["id"]]
            asked.append(sorted(ids.tolist()))
            n = len(columns["held"])
            found = Verdict.PASSED if n >= at_least else Verdict.FAILED if at_least == 20 else Verdict.INCONCLUSIVE
            estimate = 6.5 if self.kept is None else float(n)
            return Decision(verdict=found, rule="r", estimate=estimate, interval=(0.0, float(n)))

    one = run(scope=scope)
    one.plan.units.may_repeat = repeats
    held = Observation({"held": np.ones(9, bool)}, [])
    one.stream.add(torch.arange(9) + 20, held, Tally(), examples=0, marks=marks)
    found = one.decision(Count(), one.stream.columns, None)  # type: ignore[arg-type]
    counted = 9 if first is None else len(first)
    assert asked[-1] == [place + 20 for place in (range(9) if first is None else first)]
    assert (found.verdict, found.interval) == (verdict, (0.0, counted))
    if first is None:
        assert found.rule == "r"
    elif verdict is Verdict.INCONCLUSIVE:
        assert found.reasons == ("copies",)
        assert found.rule.startswith(f"{9 - len(first)} of 9 samples are copies of others, to the bit")
        assert found.rule.endswith(f"not shown by the other {len(first)}")
    else:
        assert (found.reasons, found.rule) == ((), "r, copies counted once")
    if first is not None:
        assert found.estimate == (None if counted < 6.5 else 6.5), "the value of all outcomes, unless it is ruled out"


def test_an_early_verdict_on_a_population_counts_copies_once() -> None:
    # A rule that decides early, for either scope: its verdict is looked for again among the samples without copies.
    class Settles:
        of_population = True

        def among(self, kept: Any) -> Settles:
            return self

        def settle(self, columns: Any, total: int) -> Any:
            assert (len(columns["held"]), total) == (3, 94)
            return "again"

        def decide(self, columns: Any, total: int, settled: Any) -> Decision:
            return Decision(verdict=Verdict.FAILED, rule=f"{settled}", estimate=None, interval=(0.0, 1.0))

    one = run(scope="set")
    one.plan.units.may_repeat = False
    held = Observation({"held": np.ones(9, bool)}, [])
    one.stream.add(torch.arange(9) + 20, held, Tally(), examples=0, marks=COPIED)
    found = one.decision(Settles(), one.stream.columns, "first")  # type: ignore[arg-type]
    assert found.rule == "again, copies counted once"


class Videos(OwnUnits):
    clusters = np.arange(600) // 20


@pytest.mark.parametrize(("scope", "by_cluster"), [("population", True), ("set", False)])
def test_units_of_a_population_have_the_number_of_their_cluster(scope: str, by_cluster: bool) -> None:
    clusters = driver.drawn_clusters(Videos(Positions()), replace(plan().settings, scope=scope))
    if not by_cluster:
        assert clusters is None
        return
    assert clusters is not None
    assert (clusters.reshape(30, 20) == clusters[::20, None]).all()
    assert sorted(clusters[::20]) == list(range(30))
    assert clusters[::20].tolist() != list(range(30)), "drawn by the seed"
    stream = Stream(600, clusters)
    stream.add(torch.tensor([599, 0, 1]), Observation({"held": np.ones(3, bool)}, []), Tally(), examples=0, marks=[])
    assert stream.columns["cluster"].tolist() == clusters[[599, 0, 1]].tolist()


@pytest.mark.parametrize(("scope", "whole"), [("population", True), ("set", False)])
def test_clusters_of_a_population_are_measured_as_a_whole(scope: str, whole: bool) -> None:
    for seed in (0, 1):
        what = plan(seed=seed, scope=scope, max_samples=110, exact=True, threshold=None)
        evidence, _ = ran(replace(what, units=Videos(Positions())))
        videos, frames = np.unique(evidence.ids // 20, return_counts=True)
        assert (frames == 20).all() == whole
        assert len(evidence.ids) == (100 if whole else 110)
        assert ("cluster" in evidence.columns) == whole
        if whole:
            assert evidence.decision.clusters == "5 clusters of 20 units"
            assert videos.tolist() != [0, 1, 2, 3, 4]
            first = np.argsort(driver.drawn_clusters(Videos(Positions()), what.settings)[::20])[:5]  # type: ignore[index]
            assert videos.tolist() == sorted(first.tolist())
