"""Items asked of a function in a seeded order, several at once, until the verdict is known."""

# 1. Items get names and digests, and a seeded order. Each item is asked `runs` times.
# 2. An answer that is remembered is not asked again. Its key covers the function's code, state and declared version,
#    the item, and the number of the run; without such a key nothing is remembered (`_Answers`).
# 3. Threads ask for the next answers that the verdict needs. A call that raises one of `Calls.retry_on` is tried again.
#    A call that returned is never repeated, whatever it returned: the better of two answers is no answer. What is left
#    after all tries is a failure, an outcome like another: it is remembered too, or running a test again would select
#    the answers that came.
# 4. Each answer is stored by the thread that got it, before it is scored, so that a killed process loses only the calls
#    under way.
# 5. Answers are read in the seeded order, however they arrive, as fast answers may be better ones. After each item the
#    judge says if the verdict is known.
# 6. Claims that are settled together take turns after each item (`robustest.run.purse`).
#
# The function's state is compared with what it was: a function that changes as it is asked (a cache, a conversation)
# is asked about every item, and nothing of it is remembered.

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from contextvars import copy_context
from copy import deepcopy
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robustest import clock, context
from robustest.checks import is_amount, require
from robustest.data.ids import ids_of, numbered
from robustest.data.outcomes import Outcomes, digest_of, records
from robustest.decisions.clusters import whole_clusters
from robustest.decisions.rule import generator
from robustest.errors import ConfigError, DataError, ModelError, PackError, StoreError, TryAgain, expected, unknown
from robustest.identity.dependencies import unwatched
from robustest.identity.fingerprint import digest, fingerprint
from robustest.identity.keys import Key, Unhashable, key_of
from robustest.run.purse import TURN, Purse, PurseEmpty
from robustest.settings import Settings
from robustest.store.entries import Entry, Store
from robustest.store.files import to_json
from robustest.store.provenance import when

System = Callable[[Any], object]
"""Function from an item to an answer, made of JSON types."""
Score = Callable[[Any, Any], object]
"""Function from an answer and its item to a score in 0..1, or to True or False."""

# Failures in a row, over all threads and without an answer between, after which the system counts as down.
_DOWN = 20
# Largest number of seconds between two tries of one call.
_LONGEST_WAIT = 30.0
# The function's state is compared after each answer if that takes no longer than these seconds, about those of writing
# the answer; else once so many times the seconds of a comparison have passed: a function may hold a model of gigabytes.
_QUICK, _QUICK_FIRST = 0.005, 0.05
_COMPARED_EVERY = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Settings of the calls of a function that is asked. Only `retries` and `retry_on` change what is measured.

    Raises:
        ConfigError: a value is out of range, or `cost` and `max_cost` are not given together.
    """

    concurrency: int = 1  # largest number of simultaneous calls; more than 1 needs a function that threads may share
    retries: int = 6  # number of times that a call is repeated that raised `TryAgain` or one of `retry_on`
    backoff: float = 0.5  # seconds before the first retry; doubled every time, up to 30
    # Exceptions after which a call is repeated: failures to get an answer, never answers of a wrong form.
    retry_on: tuple[type[Exception], ...] = (OSError,)
    budget: int | None = None  # largest number of calls of one claim, with retries, or None
    # function from an answer and its item to the money that the answer cost, >= 0, or None
    cost: Callable[[Any, Any], float] | None = None
    # Money that one claim may spend, or None. No call begins unless the largest cost so far still fits.
    max_cost: float | None = None
    # function from an answer and its item to its number of tokens, >= 0, or None
    tokens: Callable[[Any, Any], float] | None = None
    purse: Purse | None = None  # limits that all claims with this purse share

    def __post_init__(self) -> None:
        for name, least in (("concurrency", 1), ("retries", 0), ("budget", 1)):
            value = getattr(self, name)
            if not (value is None and name == "budget") and (type(value) is not int or value < least):
                raise ConfigError(expected(f"{name} to be a whole number >= {least}", value))
        require(is_amount(self.backoff), "backoff to be seconds >= 0", self.backoff)
        kinds = self.retry_on
        if not isinstance(kinds, tuple) or not all(
            isinstance(one, type) and issubclass(one, Exception) for one in kinds
        ):
            raise ConfigError(expected("retry_on to be a tuple of exceptions", kinds))
        if self.purse is not None and not isinstance(self.purse, Purse):
            raise ConfigError(expected("purse to be a Purse", self.purse))
        money, tokens = (None, None) if self.purse is None else (self.purse.money, self.purse.tokens)
        if (self.cost is None) != (self.max_cost is None and money is None):
            mend = "" if self.purse is None else "The purse limits money: how much an answer cost is known by cost=."
            raise ConfigError(expected("cost and max_cost together, or neither", (self.cost, self.max_cost), mend))
        if (self.tokens is None) != (tokens is None):
            mend = "tokens=lambda answer, item: len(answer.split())"
            raise ConfigError(expected("tokens together with a purse of tokens, or neither", self.tokens, mend))
        for name in ("cost", "tokens"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise ConfigError(expected(f"{name} to be a function of an answer and its item", value))
        if self.max_cost is not None and not (is_amount(self.max_cost) and self.max_cost > 0):
            raise ConfigError(expected("max_cost to be an amount > 0", self.max_cost))


@dataclass(frozen=True, slots=True)
class Deployed:
    """A function behind a network, with the user's name for the version that is deployed there.

    Answers are remembered under the name, since code behind a network cannot be read. A new name forgets them.

    Raises:
        ConfigError: the version is no text, or the function has a cache, which would repeat answers unseen.
    """

    call: Callable[..., Any]
    version: str

    def __post_init__(self) -> None:
        if hasattr(self.call, "cache_info"):
            raise ConfigError(expected("a function without a cache, which would make its runs equal", self.call))
        if not isinstance(self.version, str) or not self.version:
            raise ConfigError(expected("version to be a text that names what is deployed", self.version))

    def robustest_fingerprint(self) -> str:
        return self.version

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Question:
    """An item to ask: its value, as given, and what is read of it.

    Attributes:
        name: its "item", else a digest.
        value: for the score.
        request: for the function: a mapping without "expected", so that no prompt can contain the solution.
        content: digest of what is asked, without the name.
        row: group, digest and texts, as `Outcomes.of` takes them.
    """

    name: str
    value: Any
    request: Any
    content: str
    row: Mapping[str, Any]


def questions(items: object, cluster: object = None) -> list[Question]:
    """Return the items to ask, sorted by name.

    Args:
        items: a sequence of texts or other plain values, of mappings, or a frame. Of a mapping "item" is the name,
            "group" the group, "digest" the identity of its input, and "prompt" and "expected" are shown in reports;
            the function does not get "expected".
        cluster: items that were drawn together: an id for each, a key of the mappings, or a function of an item; None
            for the key "cluster", if the mappings have it.

    Raises:
        ConfigError: items are not a sequence, or clusters none of these.
        UnknownNameError: the mappings have no such key.
        DataError: there is none, an item has no identity or no cluster, or two have one name or one content.
    """
    found, values = [], records(items)
    clusters = _clusters(values, cluster)
    for place, value in enumerate(values, 1):
        own: Mapping[str, Any] = value if isinstance(value, Mapping) else {"prompt": value}
        request = {key: one for key, one in own.items() if key != "expected"}
        try:
            # The name is no part of the content: two names of one question are one item.
            content = digest({str(key): one for key, one in request.items() if key != "item"})
            deepcopy(value)
        except (Unhashable, TypeError) as error:
            raise DataError(
                f"Expected items of plain values (texts, numbers, lists) but item {place} is not: {error}"
            ) from None
        name = own.get("item")
        prompt = own.get("prompt")
        row = {
            "group": own.get("group"),
            "digest": own.get("digest") or (digest_of(prompt) if isinstance(prompt, str) else content[:16]),
            "prompt": prompt if isinstance(prompt, str) else "",
            "expected": "" if own.get("expected") is None else str(own["expected"]),
        } | ({"cluster": clusters[place - 1]} if clusters[place - 1] else {})
        name = content[:16] if name is None else str(name)
        found.append(Question(name, value, request if isinstance(value, Mapping) else value, content, row))
    if not found:
        raise DataError("Expected at least one item to ask but got none.")
    for what, of in (("names", [one.name for one in found]), ("contents", [one.content for one in found])):
        first: dict[str, int] = {}
        for place, key in enumerate(of):
            if (other := first.setdefault(key, place)) != place:
                raise DataError(
                    f"Expected items of different {what} but items {other + 1} and {place + 1} ({found[place].name!r}) "
                    "have the same: asked again, an item tells nothing new. Leave one out; for several runs of each "
                    "item give runs=."
                )
    return sorted(found, key=lambda one: one.name)


def _clusters(items: Sequence[Any], cluster: object) -> list[str]:
    """Return a text for each item, equal for items of one cluster; empty without clusters."""
    if cluster is None:
        if not any(isinstance(one, Mapping) and one.get("cluster") is not None for one in items):
            return [""] * len(items)
        cluster = "cluster"
    if isinstance(cluster, str):
        known = sorted({str(key) for one in items if isinstance(one, Mapping) for key in one})
        if cluster not in known:
            raise unknown("key of an item", cluster, known)
        ids: list[Any] = [one.get(cluster) if isinstance(one, Mapping) else None for one in items]
    elif callable(cluster):
        ids = [cluster(deepcopy(one)) for one in items]
    elif isinstance(cluster, Iterable) and not isinstance(cluster, (bytes, Mapping)):
        ids = ids_of(cluster)
    else:
        what = "cluster= to be an id for each item, a key of the items, or a function of an item"
        raise ConfigError(expected(what, cluster))
    return [str(number) for number in numbered(ids, len(items), "item").tolist()]


class Judge(Protocol):
    """Reads items in the seeded order, and says which are needed."""

    def wants(self, place: int) -> bool:
        """Return True if the verdict may depend on the item at this place."""

    def add(self, place: int, scores: Sequence[float | bool | None]) -> bool:
        """Take the scores of an item's runs, None for a failure; return True if the verdict is known."""

    def read_all(self) -> None:
        """Give no early verdict any more."""

    def left(self) -> float:
        """Return about how many items more the verdict needs."""


@dataclass(frozen=True, kw_only=True)
class Replies:
    """Outcomes of the items that were read.

    Attributes:
        outcomes: one row for each run, with a score of NaN for a failure.
        places: (m,) places among the items, sorted by name, in the order of reading.
        names: of all items.
        calls: number of calls made now, with retries.
        recalled: number of runs that were remembered.
        failed: number of runs without an answer.
        spent: money that the answers of now cost, or None.
        stopped: the reason why reading stopped before the verdict, or "".
        changed: True if the function's state changed as it was asked.
        cached: date of the oldest answer if none was asked for now, else "".
        notes: for the reader.
        model: digest of the function, or "".
    """

    outcomes: Outcomes
    places: NDArray[np.int64]
    names: tuple[str, ...]
    calls: int
    recalled: int
    failed: int
    spent: float | None
    stopped: str
    changed: bool
    cached: str
    notes: tuple[str, ...]
    model: str
    seconds: float


class Inquiry:
    """Items that a function is asked about, read one after the other in the seeded order.

    Iterating gives the place of an item, among all, and the scores of its runs, None for a failure. It ends at the last
    item, or with the exception of a budget that is spent; `replies` has the items read until then.
    """

    def __init__(
        self,
        system: System,
        items: Sequence[Question],
        *,
        score: Score,
        runs: int,
        calls: Calls,
        settings: Settings,
        wants: Callable[[int], bool] | None = None,
        clusters: NDArray[np.int64] | None = None,
        order: Sequence[int] | None = None,
    ) -> None:
        """Take the items; arguments as of `ask`.

        Args:
            wants: returns False for the place of an item that is left out; None to read every item.
        """
        self._begun = time.perf_counter()
        self._system, self._items, self._score, self._runs = system, items, score, runs
        self._answers = _Answers(system, calls, settings)
        if order is None:
            order = reading_order(len(items), settings, clusters)
        self.planned = len(order)  # number of items that are read at most
        self._interview = _Interview(self._answers, items, [*order], runs, wants or (lambda _: True))
        self._read: list[int] = []
        self._rows: list[dict[str, Any]] = []

    def __iter__(self) -> Generator[tuple[int, list[float | bool | None]]]:
        # Closed at once after a verdict: calls under way are waited for, and stored.
        with closing(self._interview.replies()) as replied:
            for place, replies in replied:
                item = self._items[place]
                scores = [None if one.failure else _score(self._score, one.answer, item) for one in replies]
                self._read.append(place)
                self._rows += [
                    {"item": item.name, "run": f"{run}", "score": value, "answer": one.shown, **item.row}
                    for run, (one, value) in enumerate(zip(replies, scores, strict=True), 1)
                ]
                yield place, scores

    @property
    def read(self) -> int:
        """Number of items that were read."""
        return len(self._read)

    @property
    def price(self) -> float:
        """The mean cost of an item so far; its number of runs without costs."""
        return self._runs * self._answers.price

    def has_changed(self) -> bool:
        """Return True if the function has changed since it was first asked; its answers are then forgotten."""
        return self._answers.state_changed()

    def replies(self, stopped: str = "") -> Replies:
        """Return the outcomes of the items that were read.

        Args:
            stopped: the reason why reading stopped before the verdict, or "".

        Raises:
            ModelError: no call was answered.
            OutOfTime: no item was read.
        """
        self._answers.close()
        if not self._rows:
            raise clock.OutOfTime(f"{stopped} before an item was read")
        answers, name = self._answers, getattr(self._system, "__qualname__", type(self._system).__name__)
        return Replies(
            outcomes=Outcomes.of(self._rows, source=f"the answers of {name}"),
            places=np.array(self._read),
            names=tuple(one.name for one in self._items),
            calls=answers.calls,
            recalled=answers.recalled,
            failed=sum(row["score"] is None for row in self._rows),
            spent=answers.spent if answers.limits.cost is not None else None,
            stopped=stopped,
            changed=answers.changed,
            cached=min(answers.dates) if answers.dates and not answers.calls else "",
            notes=answers.notes,
            model=answers.model,
            seconds=time.perf_counter() - self._begun,
        )


def reading_order(items: int, settings: Settings, clusters: NDArray[np.int64] | None = None) -> list[int]:
    """Return the places of items in their seeded order, `max_samples` at most; those of one cluster follow each other.

    Args:
        clusters: numbers of the items' clusters, in whose order they are read.
    """
    order = generator(settings.seed).permutation(items)
    if clusters is not None:
        order = order[np.argsort(clusters[order], kind="stable")]
        if settings.max_samples is not None:
            order = order[whole_clusters(clusters[order], settings.max_samples)]
    return [int(place) for place in order[: settings.max_samples]]


def ask(
    system: System,
    items: Sequence[Question],
    *,
    score: Score,
    runs: int,
    calls: Calls,
    settings: Settings,
    judge: Judge,
    statement: str,
    clusters: NDArray[np.int64] | None = None,
    order: Sequence[int] | None = None,
) -> Replies:
    """Ask about items until the judge knows the verdict, a budget or the time is spent, or all were read.

    Args:
        items: as `questions` returns them.
        score: applied to each answer, also to a remembered one, in the seeded order.
        runs: number of times that each item is asked.
        statement: the claim, for the line of progress.
        clusters: numbers of the items' clusters, which are asked one after the other, in the order of the numbers; None
            to ask items in an order of their own.
        order: places of the items to read, in the order of reading; None for that of `reading_order`.

    Raises:
        ConfigError: `cost` or `score` raised, or a secret is missing.
        DataError: an answer is not made of JSON types, or a score is outside 0..1.
        ModelError: the function never answered, or failed many times in a row.
    """
    inquiry = Inquiry(
        system,
        items,
        score=score,
        runs=runs,
        calls=calls,
        settings=settings,
        wants=judge.wants,
        clusters=clusters,
        order=order,
    )
    stopped, early, purse, turn = "", True, calls.purse, TURN.get()
    try:
        # What this thread reads, such as the store, is no dependency of the function that other threads call.
        with (
            nullcontext() if purse is None else purse.open(),
            clock.budget(None if purse is None else purse.left()),
            unwatched(),
            closing(iter(inquiry)) as each,
        ):
            while True:
                if turn is not None:
                    turn[0].take(turn[1], judge.left() * inquiry.price)
                if (found := next(each, None)) is None:
                    break
                place, scores = found
                known = judge.add(place, scores)
                if (progress := context.current().progress) is not None:
                    failing = sum(value is None or value < 0.5 for value in scores)
                    progress(statement, inquiry.read, len(items), failing)
                # An early verdict takes the items read for a random part of all; not so if the function has changed.
                if known and early and inquiry.has_changed():
                    early = False
                    judge.read_all()
                elif known and early:
                    break
    except _Spent as spent:
        stopped = str(spent)
    except clock.OutOfTime:
        purse_is_empty = purse is not None and purse.left() == 0
        stopped = "the purse: its seconds were used" if purse_is_empty else "the clock: the time was up"
    return inquiry.replies(stopped)


def _score(score: Score, answer: Any, question: Question) -> float | bool:
    try:
        # Copies, as a function may change what it is given, such as the expected answer.
        value: Any = score(deepcopy(answer), deepcopy(question.value))
    except Exception as error:
        raise ConfigError(
            f"Expected score to rate the answer to item {question.name!r} but it raised {error!r}."
        ) from error
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, float, np.integer, np.floating)) and 0 <= value <= 1:
        return float(value)
    mend = "Scale it: a score is never cut off."
    raise DataError(
        expected(f"a score in 0..1, or True or False, of the answer to item {question.name!r}", value, mend)
    )


class _Spent(Exception):
    """A budget is spent; the message says which."""


class _CalledOff(Exception):
    """The verdict is known, or another call raised: this call is not needed."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """The answer to one run of an item, or its failure in words."""

    answer: Any = None
    failure: str = ""

    @property
    def shown(self) -> str:
        return f"no answer: {self.failure}" if self.failure else str(self.answer)


class _Interview:
    """Items in the seeded order, with the replies to their runs; calls run ahead in threads."""

    def __init__(
        self,
        answers: _Answers,
        items: Sequence[Question],
        order: list[int],
        runs: int,
        wants: Callable[[int], bool],
    ) -> None:
        self._answers, self._items, self._order, self._runs, self._wants = answers, items, order, runs, wants
        self._threads = answers.limits.concurrency
        self._replies: dict[tuple[int, int], _Reply | Future[_Reply]] = {}
        self._prepared: ExitStack | None = None  # for the watches of calls, from the first of them on

    def replies(self) -> Generator[tuple[int, list[_Reply]]]:
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="robustest-asking")
        try:
            for at, place in enumerate(self._order):
                runs = [(place, run) for run in range(self._runs)]
                if not self._wants(place):
                    for key in runs:
                        self._replies.pop(key, None)
                    continue
                # Nothing is sent ahead of an item that is remembered: it may settle the verdict.
                for key in runs:
                    self._look_up(key)
                while not all(isinstance(self._replies.get(key), _Reply) for key in runs):
                    clock.check()
                    self._send(pool, at)
                    under_way = [one for one in self._replies.values() if isinstance(one, Future) and not one.done()]
                    if under_way:
                        wait(under_way, timeout=clock.left(), return_when=FIRST_COMPLETED)
                    for key, one in list(self._replies.items()):
                        if not isinstance(one, Future) or not one.done():
                            continue
                        # A budget that ends in a call further ahead stops the reading only when it gets there.
                        if key[0] == place or not isinstance(one.exception(), _Spent):
                            self._replies[key] = one.result()
                replied = [self._replies.pop(key) for key in runs]
                yield place, [one for one in replied if isinstance(one, _Reply)]
        finally:
            # Calls under way end and are stored, since they are paid for; those that wait for a retry are called off.
            self._answers.call_off()
            try:
                pool.shutdown(wait=clock.left() != 0, cancel_futures=True)
            finally:  # calls that run on after the time is over have watches of their own
                if self._prepared is not None:
                    self._prepared.close()
            self._answers.state_changed()

    def _look_up(self, key: tuple[int, int]) -> bool:
        if key not in self._replies:
            known = self._answers.recall(self._items[key[0]], key[1])
            if known is None:
                return False
            self._replies[key] = known
        return True

    def _send(self, pool: ThreadPoolExecutor, at: int) -> None:
        """Send the next runs from this place of the order on, while a thread is free."""
        free = self._threads - sum(isinstance(one, Future) and not one.done() for one in self._replies.values())
        # Few replies run ahead of a slow one: the verdict may need none of them.
        most = self._runs + 2 * self._threads
        for place in self._order[at:]:
            for run in range(self._runs):
                if free <= 0 or len(self._replies) >= most:
                    return
                if not self._wants(place) or self._look_up((place, run)):
                    continue
                free -= 1
                if self._prepared is None:
                    self._prepared = ExitStack()
                    self._prepared.enter_context(self._answers.many_watches())
                # A copy of the context: the clock of the claim holds in the thread too.
                call = copy_context().run
                self._replies[place, run] = pool.submit(call, self._answers.ask, self._items[place], run)


@dataclass(slots=True)
class _Answers:
    """Answers of one function: remembered, or asked for now. Its methods may be called from several threads.

    Attributes:
        calls, spent, recalled, dates: see `Replies`.
    """

    system: System
    limits: Calls
    settings: Settings
    calls: int = 0
    spent: float = 0.0
    recalled: int = 0
    refailed: int = 0  # remembered failures
    changed: bool = False
    model: str = ""
    dates: list[str] = field(default_factory=list)
    _why_not: str = ""
    _store: Store | None = None
    _key: Key | None = None
    _identity: str = ""
    _dearest: float = 0.0
    _busy: int = 0
    _answered: int = 0
    _fails: list[tuple[Key | None, _Reply]] = field(default_factory=list)  # since the last answer, not stored yet
    _waiting: list[tuple[Key | None, _Reply]] = field(default_factory=list)  # since the last comparison, not stored yet
    _compare_at: float = 0.0
    _took: float = math.inf  # seconds of the quickest comparison so far
    _saved: list[Key] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.RLock)
    _off: threading.Event = field(default_factory=threading.Event)
    _random: SystemRandom = field(default_factory=SystemRandom)

    def __post_init__(self) -> None:
        self._identity, declared = _identity(self.system)
        self.model = "" if self._identity.startswith("!") else self._identity
        self._store = Store.of(self.settings)
        if self._store is None:
            return
        if not self.model:
            self._why_not = f"answers are not remembered: {self._identity[1:]}"
            return
        # A declared version stands for all that is behind a network, so that a connection is no obstacle then.
        self._key = key_of("answer", {"system": self._identity}, None, recheck=declared, declared=declared)

    @property
    def price(self) -> float:
        """The mean cost of a call so far; 1 without costs."""
        with self._lock:
            return self.spent / self.calls if self.spent and self.calls else 1.0

    def many_watches(self) -> AbstractContextManager[None]:
        """Prepare for many calls of `ask` inside this block."""
        return nullcontext() if self._key is None else self._key.many_watches()

    def recall(self, question: Question, run: int) -> _Reply | None:
        if self._store is None or self._key is None or self.changed:
            return None
        entry = self._store.load(self._part(question, run))
        if entry is None:
            return None
        with self._lock:
            self.recalled += 1
            self.refailed += bool(entry.meta["failure"])
            self.dates.append(entry.meta["when"])
        return _Reply(json.loads(entry.meta["answer"]), entry.meta["failure"])

    def ask(self, question: Question, run: int) -> _Reply:
        """Return the reply to a run of an item, after the retries that it needs, and store it.

        Raises:
            _Spent: a budget is spent.
            _CalledOff: the answer is no longer needed.
            RobustestError: nothing can be measured.
        """
        tries = 0
        while True:
            tries += 1
            self._begin()
            after, again = 0.0, False
            try:
                if self._key is None:
                    given = self.system(deepcopy(question.request))
                else:
                    with self._key.watching():
                        given = self.system(deepcopy(question.request))
            except (ConfigError, StoreError, PackError):
                self._end(0.0)
                raise
            except Exception as error:
                self._end(0.0)
                failure = " ".join(f"{type(error).__name__}: {error}".split())
                again = isinstance(error, (TryAgain, *self.limits.retry_on))
                after = error.after if isinstance(error, TryAgain) else 0.0
            except BaseException:
                self._end(0.0)
                raise
            else:
                return self._take(question, run, given)
            if not again or tries > self.limits.retries:
                words = f"{failure[:200]} (try {tries} of {self.limits.retries + 1})" if again else failure[:200]
                return self._failed(question, run, _Reply(failure=words))
            # Between half of the time and all of it, so that calls which failed together do not return together.
            pause = min(_LONGEST_WAIT, self.limits.backoff * 2.0 ** min(tries - 1, 30))
            pause = max(after, pause * (0.5 + 0.5 * self._random.random()))
            left = clock.left()
            self._off.wait(pause if left is None else min(pause, left))

    def state_changed(self) -> bool:
        """Return True if the function has changed since it was first asked; its answers are then forgotten.

        Otherwise the answers that came since the last comparison are stored: the state that they were given in is known
        only now, and a process that is killed before leaves none of another state.
        """
        with self._lock, unwatched():
            begun = time.thread_time()
            if not self.changed and self.model and _identity(self.system)[0] != self._identity:
                self.changed = True
                for key in self._saved:
                    if self._store is not None:
                        self._store.remove(key)
                self._why_not = "answers are not remembered: the function's state changes as it is asked"
            # The first fills caches, and any may be slowed by other processes: the quickest so far tells how long the
            # answers, which a killed process would lose, wait for the next.
            quick = _QUICK if self._took < math.inf else _QUICK_FIRST
            self._took = min(self._took, time.thread_time() - begun)
            pause = _COMPARED_EVERY * self._took if self._took > quick else 0.0
            self._compare_at = time.perf_counter() + pause
            for waiting in self._waiting:
                self._save(*waiting)
            self._waiting.clear()
            return self.changed

    def call_off(self) -> None:
        """Let no further call begin."""
        self._off.set()

    def close(self) -> None:
        """Store the rest.

        Raises:
            ModelError: no call was answered.
        """
        with self._lock:
            fails, self._fails = self._fails, []
            if fails and not self._answered:
                raise ModelError(f"Expected answers but none came: {fails[0][1].failure}. Nothing was measured.")
            self._waiting += fails
        self.state_changed()

    @property
    def notes(self) -> tuple[str, ...]:
        stored = () if self._store is None else self._store.notices
        unknowable = self._key.unknowable if self._key is not None else ""
        why = self._why_not or (
            f"answers are not remembered: the function {unknowable}; declare what is behind it by robustest.Deployed"
            if unknowable
            else ""
        )
        failed = (
            f"{self.refailed} remembered runs have no answer: --robust-no-cache asks again" if self.refailed else ""
        )
        return (*filter(None, [why, failed]), *stored)

    def _part(self, question: Question, run: int) -> Key:
        assert self._key is not None  # noqa: S101 - callers have looked
        return self._key.part("run", question.name, question.content, run)

    def _begin(self) -> None:
        """Count a call that begins.

        Raises:
            _Spent, _CalledOff, OutOfTime: it may not begin.
        """
        limits = self.limits
        while True:
            if self._off.is_set():
                raise _CalledOff
            clock.check()
            with self._lock:
                if limits.budget is not None and self.calls >= limits.budget:
                    raise _Spent(f"budget: all {limits.budget} calls were made")
                if limits.max_cost is not None:
                    # The cost of a call is known after it: each call under way is taken to cost as much as the dearest
                    # so far, and until one cost anything they are made one at a time.
                    likely = self.spent + (self._busy + 1) * self._dearest
                    if self._busy == 0 and likely > limits.max_cost:
                        raise _Spent(f"budget: {self.spent:g} of {limits.max_cost:g} was spent")
                    may = likely <= limits.max_cost and (self._busy == 0 or self._dearest > 0)
                else:
                    may = True
                try:
                    may = may and (limits.purse is None or limits.purse.begin())
                except PurseEmpty as empty:
                    raise _Spent(str(empty)) from None
                if may:
                    self.calls += 1
                    self._busy += 1
                    return
            self._off.wait(0.002)

    def _end(self, cost: float, tokens: float = 0.0) -> None:
        if self.limits.purse is not None:
            self.limits.purse.end(cost, tokens)
        with self._lock:
            self._busy -= 1
            self.spent += cost
            self._dearest = max(self._dearest, cost)

    def _take(self, question: Question, run: int, given: object) -> _Reply:
        try:
            # As it is read from the store, or a score could differ between a fresh answer and a remembered one.
            answer = json.loads(to_json(given))
        except ConfigError:
            self._end(0.0)
            mend = "Return a text, a number, or lists and dicts of them."
            raise DataError(expected(f"an answer of JSON types to item {question.name!r}", given, mend)) from None
        reply, key = _Reply(answer), self._part(question, run) if self._key is not None else None
        # Before anything else can raise, since it is paid for.
        with self._lock:
            self._waiting += [*self._fails, (key, reply)]
            self._fails.clear()
            self._answered += 1
            if time.perf_counter() >= self._compare_at:
                self.state_changed()
        self._end(self._amount("cost", answer, question), self._amount("tokens", answer, question))
        return reply

    def _amount(self, name: str, answer: Any, question: Question) -> float:
        """Return what `Calls.cost` or `Calls.tokens` says of an answer."""
        of = getattr(self.limits, name)
        if of is None:
            return 0.0
        try:
            value = of(deepcopy(answer), deepcopy(question.value))
        except Exception as error:
            self._end(0.0)
            raise ConfigError(
                f"Expected {name} to price the answer to item {question.name!r} but it raised {error!r}."
            ) from error
        if not is_amount(value):
            self._end(0.0)
            raise ConfigError(expected(f"{name} to be an amount >= 0 for item {question.name!r}", value))
        return float(value)

    def _failed(self, question: Question, run: int, reply: _Reply) -> _Reply:
        with self._lock:
            # Kept until another answer comes: where none does, the system is down, and nothing is an outcome of it.
            self._fails.append((self._part(question, run) if self._key is not None else None, reply))
            if len(self._fails) >= _DOWN:
                raise ModelError(
                    f"Expected answers but {len(self._fails)} runs in a row failed, the first with "
                    f"{self._fails[0][1].failure}. Nothing is decided; run again once the system answers."
                )
        return reply

    def _save(self, key: Key | None, reply: _Reply) -> None:
        if self._store is None or key is None or self.changed:
            return
        entry = Entry({}, {"answer": to_json(reply.answer), "failure": reply.failure, "when": when()})
        if self._store.save(key, entry):
            self._saved.append(key)


def _identity(system: System) -> tuple[str, bool]:
    """Return the digest of a function, or "!" and the reason why there is none; and True if it declares its version."""
    try:
        # The declared version of an object replaces its state, never its code, which may hold the template of a prompt.
        code = None if hasattr(system, "__code__") else vars(type(system)).get("__call__")
        return digest((system, code), recheck=False), fingerprint(system, None, None).declared
    except Unhashable as error:
        return f"!{error}", False
    except Exception as error:  # an object's own code, which is run to read it, or a state that another thread changes
        return f"!it could not be looked at: {error!r}", False
