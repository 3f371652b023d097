"""What was measured before, and need not be again: chunks by what their outcomes depend on.

What a model answers to a claim's first samples: what is remembered of it counts only while it answers the same.

Reading a model (`robustest.identity.fingerprint`) cannot show all that its answers depend on: files, the clock, the
environment, code of packages that was changed. So the claim's own look is run on a few samples, and everything that
goes into the model and comes out of it is noted, until enough was heard. What shifts, cues and preprocessing make of
the samples goes in, and so is noted too; where the look takes gradients, the first one is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator, seed_draws
from robustest.health import Health
from robustest.identity.fingerprint import Fingerprint
from robustest.identity.keys import Key, Unhashable, key_of
from robustest.identity.plain import simple
from robustest.models import Classifier, Needs
from robustest.models.classifier import logits_of
from robustest.run.evidence import Exhibit, Look, Observation, Tally
from robustest.settings import Settings
from robustest.store.corpus import Kept
from robustest.store.entries import Entry, Store
from robustest.store.provenance import when
from robustest.tasks import CLASSIFICATION, Task

_SEPARATE = ("before", "after", "answers")


class Known(Protocol):
    """Tells what is measured from others; `robustest.run.units.Units` do."""

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        """As `Units.fingerprint`."""

    def about(self) -> Mapping[str, object]:
        """As `Units.about`."""


class Memory:
    """Chunks that the store remembers of one model and one way of looking.

    They are kept under a key of two parts: what was read of the model, its code and its settings, and what the model
    answered to the claim's first samples when they were measured (`robustest.run.memory`). So nothing is
    recalled before the model was asked, and nothing of a model that answers otherwise.

    Attributes:
        when: date and commit of the oldest chunk recalled, while nothing else was measured; else empty.
        why_not: why nothing is remembered, in words; empty where it is, or where nobody asked.
        model: digest of the model; empty where it has none.
        said: whether that rests on what the model says of itself.
        remembers: whether anything is recalled and kept.
    """

    def __init__(
        self,
        store: Store | None,
        key: Key | None,
        *,
        why_not: str = "",
        model: str = "",
        said: bool = False,
    ) -> None:
        self.why_not = why_not
        self.model = model
        self.said = said
        self.remembers = store is not None and key is not None
        self._store = store
        self._prefix = key
        self._dates: list[str] = []
        self._fresh = False
        self._asking: Asks | None = None
        self._marks: list[bytes] = []
        self._answers = ""
        self._unwritten: Entry | None = None
        self._changed = ""
        self._heard: Heard | None = None

    @classmethod
    def of(cls, known: Known, settings: Settings, device: torch.device | str, identity: object) -> Memory:
        """The memory of a measurement, or one that remembers nothing where it cannot be told what to remember it by.

        Args:
            known: tells what is measured from others.
            settings: where the store is, and what else outcomes depend on.
            device: where it is measured: a device here, or what an engine's workers compute on.
            identity: what else outcomes depend on; None remembers nothing.
        """
        store = Store.of(settings)
        if store is None:
            return cls(None, None)
        # Without a memory the model has a digest all the same, by which two runs are compared.
        modelled = known.fingerprint(settings, exported=identity is not None)
        if identity is None:
            return cls(None, None, model=modelled.digest or "")
        if modelled.digest is None:
            return cls(None, None, why_not=f"not remembered: {modelled.reason}")
        about = {
            "device": _kind(device),
            "model": modelled.digest,
            **known.about(),
            "examples": settings.examples,
            "corpus": None if settings.corpus is None else settings.corpus_max_mb,
            "identity": identity,
        }
        try:
            # What surrounds the model in this process shows in its answers: it is asked before anything is recalled.
            key = key_of("chunk", about, settings, asked=True)
        except Unhashable as error:
            return cls(None, None, why_not=f"not remembered: {error}")
        return cls(store, key, model=modelled.digest, said=modelled.declared)

    def ask(self, asking: Asks, marks: list[bytes]) -> None:
        """Ask the model before anything is recalled or kept; what it answers decides on what is remembered of it.

        Args:
            asking: asks it.
            marks: what tells the samples that it is asked about.
        """
        if not self.remembers:
            return
        self._asking, self._marks = asking, marks
        with self.listening():
            heard = asking.once()
        self._heard, before = heard, self._load(self._last)
        if before is not None and heard is not None:
            self._answers = heard.digest(before.meta["length"])
            if self._answers == before.meta["answers"]:
                return  # settled once something has to be measured
            self._changed = (
                f"the model answers the same samples otherwise than when it was measured ({before.meta['when']}), "
                "though nothing that was read of it changed; something else that it depends on did"
            )
        if heard is None:
            self._forget("the model could not be asked about the claim's first samples")
            return
        settled = self._settle()
        if settled is not None:
            self._answers = settled.digest()
            self._unwritten = Entry({}, {"answers": self._answers, "length": len(settled.notes), "when": when()})

    def recall(self, what: object) -> tuple[Observation, Tally] | None:
        """What was seen of something (a chunk's samples, say); None where nothing was.

        Only once the model was asked.
        """
        entry = self._load(lambda key: self._key(key, what)) if self.remembers else None
        if entry is None:
            self._fresh = True
            self._settle()
            return None
        self._dates.append(entry.meta["when"])
        return seen_in(entry)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside the block the model answers: what it reads from outside belongs to what is kept."""
        if self._prefix is None:
            yield
            return
        with self._prefix.watching():
            yield

    def doubted(self) -> bool:
        """Whether a remembered chunk shall be measured again, to see that it agrees: one now and then, at random."""
        doubted = self._store is not None and self._store.doubted()
        if doubted:
            self._settle()
        return doubted

    def keep(self, what: object, observed: Observation, tally: Tally) -> None:
        """Remember what was seen, unless the model answers otherwise by now than when it was asked."""
        self._fresh = True
        if self._store is None or self._prefix is None or self._asking is None or not self.remembers:
            return
        if self._asking.changed():
            self._forget("the model's answers to the same samples changed while it was measured")
            return
        if self._unwritten is not None:
            self._store.save(self._last(self._prefix), self._unwritten)
            self._unwritten = None
        self._store.save(self._key(self._prefix, what), entry_of(observed, tally))

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must know: why nothing is remembered, or recalled, and what is wrong with the store."""
        changed = f"measured anew: {self._changed}" if self._changed and self._fresh and not self._dates else ""
        return (*filter(None, [self.why_not, changed]), *(() if self._store is None else self._store.notices))

    @property
    def when(self) -> str:
        """Date and commit of the oldest chunk, where every one was recalled; else empty."""
        return "" if self._fresh or not self._dates else min(self._dates)

    def _settle(self) -> Heard | None:
        """What the model answers twice alike, asked once, before anything is measured; else None."""
        heard, self._heard = self._heard, None
        if heard is None or self._asking is None or not self.remembers:
            return None
        settled = self._asking.settled(heard)
        if settled is None:
            self._forget("the model does not answer the same samples twice alike, to the last bit")
        return settled

    def _forget(self, why: str) -> None:
        self.remembers = False
        self.why_not = f"not remembered: {why}"

    def _load(self, part: Callable[[Key], Key]) -> Entry | None:
        if self._store is None or self._prefix is None:
            return None
        entry = self._store.load(part(self._prefix))
        if entry is None and self._store.outdated:
            self._changed = f"{self._store.outdated}, which is read as the model answers, is not what it was"
        return entry

    def _key(self, key: Key, what: object) -> Key:
        return key.part(self._answers, what)

    def _last(self, key: Key) -> Key:
        """Where it is kept what the model answered when it was last measured."""
        return key.part("answers", self._marks)


def entry_of(observed: Observation, tally: Tally) -> Entry:
    """What was seen, and what it took, as the store keeps it; `seen_in` gives it back."""
    arrays = {f"column.{name}": torch.from_numpy(np.ascontiguousarray(c)) for name, c in observed.columns.items()}
    shown = []
    for place, exhibit in enumerate(observed.exhibits):
        arrays[f"before.{place}"], arrays[f"after.{place}"] = exhibit.before, exhibit.after
        if exhibit.answers is not None:
            arrays[f"answers.{place}"] = exhibit.answers
        shown.append({name: getattr(exhibit, name) for name in Exhibit.__slots__ if name not in _SEPARATE})
    if observed.kept is not None:
        arrays |= {f"kept.{f.name}": getattr(observed.kept, f.name) for f in fields(Kept)}
    meta = {
        "when": when(),
        "exhibits": shown,
        "counts": list(observed.counts.items()),  # in their order, which keys of a file lose
        "tally": asdict(tally),
    }
    return Entry(arrays, meta)


def seen_in(entry: Entry) -> tuple[Observation, Tally]:
    """What an entry that `entry_of` made holds."""
    meta: Mapping[str, Any] = entry.meta
    columns = {
        name.removeprefix("column."): array.numpy()
        for name, array in entry.arrays.items()
        if name.startswith("column.")
    }
    exhibits = [
        Exhibit(
            **shown,
            before=entry.arrays[f"before.{place}"],
            after=entry.arrays[f"after.{place}"],
            answers=entry.arrays.get(f"answers.{place}"),
        )
        for place, shown in enumerate(meta["exhibits"])
    ]
    tally = {**meta["tally"], "health": Health(**meta["tally"]["health"]), "notes": tuple(meta["tally"]["notes"])}
    kept = None
    if "kept.ids" in entry.arrays:
        kept = Kept(**{f.name: entry.arrays[f"kept.{f.name}"] for f in fields(Kept)})
    return Observation(columns, exhibits, dict(meta["counts"]), kept), Tally(**tally)


def _kind(device: torch.device | str) -> str:
    if isinstance(device, str):
        return device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


_PLAN = ((32, 8), (2, 96))
"""Samples, and calls of the model at most: many samples through the first calls; where that did not bring the look to
an end or to a gradient (a claim on many corruptions, say), few samples through more of it."""
_ENDPOINT = ((8, 1),)
"""The same for models whose every query may cost something: eight queries in all."""
_WATCHED = ((4, 1),)
"""The same while a claim is measured, after each chunk."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was noted, in order.

    Attributes:
        notes: digests of inputs, logits and gradients.
        gradient: the place of the first gradient among them, or their number where there is none.
    """

    notes: tuple[bytes, ...]
    gradient: int

    def digest(self, length: int | None = None) -> str:
        """Of the first `length` notes, 64 hex digits."""
        return sha256(b"".join(self.notes[:length])).hexdigest()

    def common(self, other: Heard) -> Heard | None:
        """What both begin with; None where they differ before the first gradient."""
        pairs = zip(self.notes, other.notes, strict=False)
        same = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(self.notes), len(other.notes)))
        if same < min(self.gradient, other.gradient):
            return None
        return Heard(self.notes[:same], min(self.gradient, same))


class Asks(Protocol):
    """Asks what is measured, again and again, about the first units of a claim."""

    def once(self) -> Heard | None:
        """What it answers now; None where it cannot be asked, whose cause the measurement will tell."""

    def settled(self, first: Heard) -> Heard | None:
        """What of that it answers a second time, too; None where that is nothing to go by."""

    def changed(self) -> bool:
        """Whether it answers otherwise than when it was settled."""


class Asking:
    """Asks one model, again and again, about the first samples of a claim.

    Only inside `robustest.models.frozen`, as the model is measured. The passes are not counted in a result's cost,
    and draws of a model that answers at random are seeded alike each time.

    Args:
        model: on its device.
        look: what is done with a chunk.
        chunk: the claim's first chunk.
        settings: batch size, and health checks that are switched off.
        said: whether the model says itself what it is.
        task: what the model's answers are.

    Attributes:
        answered: the first input and its logits, where each query may cost something; else None.
    """

    def __init__(
        self,
        model: Classifier,
        look: Look,
        chunk: Chunk,
        settings: Settings,
        *,
        said: bool,
        task: Task = CLASSIFICATION,
    ) -> None:
        self._model = model
        self._task = task
        self._look = look
        self._chunk = chunk
        self._settings = settings
        remote = said and model.gives is not Needs.GRADIENT
        self._costly = remote or model.max_queries is not None
        self._before: Heard | None = None
        self.answered: tuple[Tensor, Tensor] | None = None

    def once(self) -> Heard | None:
        """What the model answers now; None where it cannot be asked, whose cause the measurement will tell."""
        return self._heard(_ENDPOINT if self._costly else _PLAN)

    def settled(self, first: Heard) -> Heard | None:
        """What of that the model answers a second time, too; None where its very logits are others.

        Gradients need not repeat to the last bit on every device: then they do not count. An endpoint is taken at its
        first answers. From here on `changed` can tell whether it answers as now.
        """
        if self._costly:
            return first
        # In this order: a change before what `changed` compares with shows in what follows it.
        self._before = self._heard(_WATCHED)
        second = self._heard(_PLAN)
        return None if second is None else first.common(second)

    def changed(self) -> bool:
        """Whether the model answers a few samples otherwise than when it was settled; an endpoint is not asked."""
        return self._before is not None and self._heard(_WATCHED) != self._before

    def _heard(self, plan: tuple[tuple[int, int], ...]) -> Heard | None:
        listener = _Listener(self._model.call)
        try:
            for rows, calls in plan:
                if self._listen(listener, rows, calls):
                    break
        except Exception:  # what is wrong is told where it is measured
            return None
        notes = tuple(listener.notes)
        if not notes:
            return None
        self.answered = listener.first if self._costly else None
        return Heard(notes, len(notes) if listener.gradient is None else listener.gradient)

    def _listen(self, listener: _Listener, rows: int, calls: int) -> bool:
        """Run the look on the first rows; whether it came to its end, or to a gradient."""
        x = self._chunk.x
        part = self._chunk.rows(torch.arange(min(rows, len(x)), device=x.device))
        listener.left = calls
        evaluator = Evaluator(
            replace(self._model, call=listener),
            x.device,
            batch_size=min(rows, self._settings.batch_size or rows),  # bits depend on how a batch is made up
            suppress=self._settings.suppress,
            notes=[],
            task=self._task,
        )
        seed_draws(part.key)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are given where it is measured
            try:
                self._look(evaluator, part)
            except _EnoughError:
                return listener.gradient is not None
        return True


class _EnoughError(BaseException):
    """Ends a look; no error of the model's, and so nothing that code around it may catch."""


class _Listener:
    """Stands before a model, and notes what goes in and what comes out."""

    def __init__(self, call: Callable[[Tensor], Any]) -> None:
        self.notes: list[bytes] = []
        self.gradient: int | None = None
        self.left = 0
        self.first: tuple[Tensor, Tensor] | None = None
        self._call = call

    def __call__(self, x: Tensor) -> Tensor:
        self._note(x)
        if self.left == 0 or self.gradient is not None:
            raise _EnoughError
        self.left -= 1
        logits = logits_of(self._call(x))
        self._note(logits)
        self.first = self.first or (x.detach(), logits.detach())
        if x.requires_grad:
            x.register_hook(self._climbed)  # type: ignore[no-untyped-call]
        return logits

    def _climbed(self, gradient: Tensor) -> None:
        if self.gradient is None:
            self.gradient = len(self.notes)
            self._note(gradient)

    def _note(self, value: Tensor) -> None:
        self.notes.append(simple(value.detach().as_subclass(Tensor)) or b"")


class Answered:
    """Stands before a model whose queries are counted, and repeats an answer once, so that no sample is sent in vain.

    Args:
        call: the model's.
        answered: an input and its logits.
    """

    def __init__(self, call: Callable[[Tensor], Any], answered: tuple[Tensor, Tensor]) -> None:
        self._call = call
        self._answered: tuple[Tensor, Tensor] | None = answered

    def __call__(self, x: Tensor) -> Any:
        """What the model gives for x (B, *S)."""
        if self._answered is not None and torch.equal(x.detach().cpu(), self._answered[0].cpu()):
            logits, self._answered = self._answered[1].to(x.device), None
            return logits
        return self._call(x)
