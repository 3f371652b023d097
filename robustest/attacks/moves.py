"""Searches of discrete threats by single moves, without gradients: all points, greedy with a beam, random exchanges."""

# A move is a place and a choice there (`robustest.threats.Discrete`): a column and its new value, a letter exchanged.
#
# - `Enumeration` asks the points of a region in turn, those of few changes first. Where it reaches the last one, the
#   sample is decided: nothing else can break it.
# - `GreedyMoves`: a beam of b proposals, at first the sample itself. A sweep tries moves of each, spread evenly over
#   places and, at each place, over choices from the first to the last; the b best points found so far are the next
#   beam. After k sweeps a point has at most k changes. The last `focus` of a sweep goes to the places where a move
#   raised the loss most, and to untried ones beside them, with choices at random, as attacks on texts rank words and
#   letters (Gao et al., 2018). With `focus`, a later sweep begins with the best moves of the sweep before: two moves
#   that each raise the loss mostly raise it together. A sweep of texts begins with one edit in the middle of each word,
#   which is enough to rank them (Li et al., NDSS 2019), and edits of each kind in the best.
# - `RandomMoves`, which is Sparse-RS (Croce et al., AAAI 2022) over places: keep a point, make a falling number of
#   random moves, and keep the result unless its loss is smaller. Equal losses are kept, as trees have large plateaus,
#   and a share of the proposals begins at the sample again: two changes that only matter together are found by luck.
#   Of texts a fifth repeats one move as often as allowed, each choice in turn: models count letters, and the score of a
#   count may not move before the last of them.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from robustest import rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.attacks.queries import BestOfRounds, best_of
from robustest.checks import checked_whole, require
from robustest.threats import Discrete, Rows, Threat, is_discrete, per_row

# Most moves of a proposal of `RandomMoves`, at the start of its budget.
_MOVES = 3
# One in this many of its proposals repeats one move.
_ALIKE = 5
# Moves of a sweep that a later sweep begins with.
_LEADS = 16
# Characters to either side of an edit that are read together with it.
_BESIDE = 4
# Fewest queries of a point in a later sweep with `focus`.
_FOLLOWED = 25
# Queries for each place with which a sweep of texts begins: one edit a word, then each kind of edit in the best
# (RESULTS.md, `text_attacks.py`).
_SCOUTED = 2
# Places to either side of a tried one that count as near it, and as near it where nothing nearer was tried.
_NEAR, _NEARBY = 2, 6
# Queries for each element of a sample that make a search by scores count, and their least and largest number; as for
# Sparse-RS. A character takes fewer: on sentences of 40 to 120 characters, 600 queries at one edit left up to 7 samples
# in 100 more than all texts do, and at two edits 6 to 14 more than 3,000 queries (RESULTS.md, `text_attacks.py`). So
# many are the least that counts, not enough to be near the truth.
_EACH, _LEAST, _MOST = 13, 300, 10_000
_EACH_OF_TEXT = 10


def enough_moves(threat: Threat, features: int) -> int | None:
    """Return the fewest queries of scores per sample that count as a search of a discrete threat."""
    if not is_discrete(threat):
        return None
    each = _EACH_OF_TEXT if getattr(threat, "of_strings", False) else _EACH
    # What is appended to a text is all that has to be asked about.
    return min(_MOST, max(_LEAST, each * min(features, getattr(threat, "elements", features))))


class _ByMoves(BestOfRounds):
    __slots__ = ()

    def supports(self, threat: Threat) -> bool:
        return is_discrete(threat)

    def enough_queries(self, threat: Threat, features: int) -> int | None:
        return enough_moves(threat, features)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enumeration(_ByMoves):
    """Every point of a region, those of few changes first; complete where the region has at most `queries` points.

    Args:
        queries: model passes per sample, >= 1.
        at_once: proposals of a sample in one round, in 1..queries.
        part: passes of a sample whose region has more than `queries` points, >= 1.
    """

    queries: int = 100_000
    at_once: int = 250
    part: int = 5000

    name = "enumeration"
    needs = Needs.LABELS

    def __post_init__(self) -> None:
        BestOfRounds.__post_init__(self)  # super() fails in a class that slots made anew
        checked_whole("part", self.part, 1)

    def enough_queries(self, threat: Threat, features: int) -> None:
        """Return None: it counts for the samples that it decides."""

    def decides(self, problem: Problem) -> Tensor:
        return _points(problem) <= self.at_once * (self.steps + 1)

    def rounds(self, problem: Problem) -> Tensor:
        points = torch.where(self.decides(problem), _points(problem), float(self.part))
        return ((points / self.at_once).ceil().long() - 1).clamp(0, self.steps)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"age": torch.zeros_like(key)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return _discrete(problem).point(self.numbers(state["age"]), problem.region)

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        return {"age": state["age"] + 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyMoves(_ByMoves):
    """The best of many moves, again and again, for the best few points.

    Args:
        queries: model passes per sample, >= 1, in `sweeps` equal parts; incomplete rounds are left out.
        at_once: proposals of a sample in one round.
        sweeps: moves in a row, >= 1.
        beam: points that each sweep goes on from, >= 1.
        focus: share of each sweep for the best places found in it, in [0, 1); above 0 later sweeps try the best moves
            of the sweep before first.
    """

    queries: int = 1000
    at_once: int = 50
    sweeps: int = 4
    beam: int = 4
    focus: float = 0.0

    name = "greedy-moves"
    needs = Needs.SCORES

    def __post_init__(self) -> None:
        BestOfRounds.__post_init__(self)  # super() fails in a class that slots made anew
        checked_whole("sweeps", self.sweeps, 1)
        checked_whole("beam", self.beam, 1)
        require(0 <= self.focus < 1, "focus in [0, 1)", self.focus)

    @property
    def _rounds(self) -> int:
        return max(1, (self.steps + 1) // self.sweeps)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        z = problem.threat.origin(problem.region)
        beam = z.unsqueeze(1).expand(-1, self.beam, *z.shape[1:]).clone()
        least = torch.full((len(key), self.beam), -torch.inf, device=key.device)
        state = {"beam": beam, "best": beam, "value": least, "key": key, "age": torch.zeros_like(key)}
        if self.focus:  # the largest loss at each place in this sweep, and its choice; texts have a place at their end
            places = z[0].numel() + 1
            state["place"] = torch.full((len(key), places), -torch.inf, device=key.device)
            state["choice"] = torch.zeros(len(key), places, dtype=torch.int64, device=key.device)
            # Places and choices of the best moves of the sweep before.
            none = torch.zeros(len(key), min(_LEADS, places), dtype=torch.int64, device=key.device)
            state |= {"lead": none, "pick": none}
        return state

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        z, place, choice = self._moves(problem, state)
        wide = _repeated(problem.region, self.at_once)
        made = _discrete(problem).moved(z, place, choice, wide)
        return made.view(len(state["age"]), self.at_once, *z.shape[1:])

    def _moves(self, problem: Problem, state: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Return the points (N, *Z) of the next moves, and their places and choices (N,)."""
        threat, region, age = _discrete(problem), problem.region, state["age"]
        n, lanes = len(age), self.at_once
        sweep, part = age // self._rounds, age % self._rounds
        number = part.unsqueeze(1) * lanes + torch.arange(lanes, device=age.device)
        # The first sweep has one point, the sample: all its queries are that point's. With `focus` later sweeps go on
        # from fewer points than the beam has where each would get few queries.
        most = max(1, min(self.beam, self._rounds * lanes // _FOLLOWED)) if self.focus else self.beam
        points = torch.where(sweep == 0, 1, most).unsqueeze(1)
        member, turn = number % points, number // points
        turns = (self._rounds * lanes + points - 1) // points  # queries of each point
        at = torch.arange(n, device=age.device).unsqueeze(1).expand(-1, lanes)
        z = state["beam"][at, member].flatten(0, 1)
        wide = _repeated(region, lanes)
        key = rng.fold(rng.fold(state["key"], "sweep"), age)
        u = rng.uniform(key, (lanes, 2)).double()
        places = threat.places(z, wide).view(n, lanes).clamp(min=1)
        # Of texts, first one edit in the middle of each word, then edits of each kind where these raised the loss most;
        # a sweep of fewer queries is the beginning of a longer one. Later sweeps know the best places.
        scout, by_kind = torch.zeros_like(places), getattr(threat, "by_kind", None)
        if self.focus and by_kind is not None:
            scout = torch.minimum(turns.expand_as(places), _SCOUTED * places)
            edits: Any = threat
            middles = edits.middles(z, wide).view(n, lanes, -1)
            words = (middles >= 0).sum(2)
            # Of more words than queries for them each few share one.
            probes = torch.minimum(words, (scout * (1 - self.focus)).long()) * (sweep == 0).unsqueeze(1)
            word = (turn * words // probes.clamp(min=1)).clamp(max=middles.shape[2] - 1)
            middle = torch.minimum(middles.gather(2, word.unsqueeze(2)).squeeze(2).clamp(min=0), places - 1)
        rest, left = (turn - scout).clamp(min=0), turns - scout
        # Few places: each in turn, with its choices from the first to the last. Many: spread over all of them.
        spread = ((rest + u[..., 0]) * places / left.clamp(min=1)).long()
        place = torch.minimum(torch.where(left >= places, rest % places, spread), places - 1)
        closer = (part >= self._rounds * (1 - self.focus)).unsqueeze(1)
        if self.focus and by_kind is not None:
            closer = torch.where(turn < scout, turn >= probes, rest >= left * (1 - self.focus))
            place = torch.where(turn < probes, middle, place)
        if self.focus:
            # Ranks of places by their largest loss; the first ones are drawn most often. An untried place has that of
            # the best one near it: models read neighbouring characters together.
            rated = state["place"]
            for near in (_NEAR, _NEARBY) if by_kind is not None else (_NEAR,):
                best = max_pool1d(state["place"].unsqueeze(1), 2 * near + 1, 1, near).squeeze(1)
                rated = torch.where(rated.isfinite(), rated, best)
            order = rated.argsort(dim=1, descending=True, stable=True)
            # In a first round nothing is known of any place.
            known = rated.isfinite().any(1, keepdim=True)
            rank = (torch.where(known, u[..., 0] ** 3, u[..., 0]) * places).long().clamp(max=order.shape[1] - 1)
            place = torch.where(closer, torch.minimum(order.gather(1, rank), places - 1), place)
        choices = threat.choices(z, place.flatten(), wide).view(n, lanes)
        tries = (left + places - 1) // places
        # Later sweeps end elsewhere between the choices, as the beam may stay for want of anything better.
        even = (rest // places + torch.where(sweep.unsqueeze(1) > 1, u[..., 1], 0.0)) / (tries - 1).clamp(min=1)
        even = torch.where((tries > 1) & ~closer, even, u[..., 1])
        choice = (even * (choices - 1)).round().long().clamp(min=0)
        if self.focus and by_kind is not None:
            # Most choices are letters, of which few queries would try little else.
            drawn = by_kind(u[..., 1].flatten(), choices.flatten()).view(n, lanes)
            choice = torch.where(turn < scout, drawn, choice)
        choice = torch.minimum(choice, (choices - 1).clamp(min=0))
        if self.focus:
            rank, texts = turn.clamp(max=state["lead"].shape[1] - 1), getattr(threat, "of_strings", False)
            if texts:
                # Those beside the first edit come last: what is read together loses once.
                first = ((z != threat.origin(wide)).long().cumsum(1) == 0).sum(1).view(n, lanes, 1)
                beside = (state["lead"].unsqueeze(1) - first).abs() <= _BESIDE
                rank = beside.to(torch.int8).argsort(dim=2, stable=True).gather(2, rank.unsqueeze(2)).squeeze(2)
            lead, pick = (state[name].gather(1, rank) for name in ("lead", "pick"))
            if texts:
                lead = _moved_along(lead.flatten(), z, threat.origin(wide)).view(n, lanes)
            lead = torch.minimum(lead, places - 1)
            pick = torch.minimum(pick, (threat.choices(z, lead.flatten(), wide).view(n, lanes) - 1).clamp(min=0))
            ahead = (sweep.unsqueeze(1) > 0) & (turn < (turns // 2).clamp(max=state["lead"].shape[1]))
            place, choice = torch.where(ahead, lead, place), torch.where(ahead, pick, choice)
        return z, place.flatten(), choice.flatten()

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        value = problem.task.losses["margin"](evaluation.logits, problem.y)
        # New points first: of equal losses, the stable order below keeps them.
        every = torch.cat([evaluation.z, state["best"]], 1)
        value = torch.cat([value, state["value"]], 1)
        order = value.argsort(dim=1, descending=True, stable=True)
        rows = torch.arange(len(order), device=order.device).unsqueeze(1)
        # The same point by another way takes no second place in the beam.
        near = order[:, : 4 * self.beam]
        flat = every[rows, near].flatten(2)
        same = (flat.unsqueeze(1) == flat.unsqueeze(2)).all(3)
        twin = (same & torch.ones_like(same[0]).tril(-1)).any(2)
        kept = near.gather(1, twin.to(torch.int8).argsort(dim=1, stable=True)[:, : self.beam])
        best, value = every[rows, kept], value.gather(1, kept)
        age = state["age"] + 1
        ended = age % self._rounds == 0
        beam = torch.where(per_row(ended, best), best, state["beam"])
        after = {"beam": beam, "best": best, "value": value, "key": state["key"], "age": age}
        if self.focus:
            loss = problem.task.losses["margin"](evaluation.logits, problem.y).to(state["place"])
            place, choice = (part.view(len(age), self.at_once) for part in self._moves(problem, state)[1:])
            best_at = state["place"].scatter_reduce(1, place, loss, "amax")
            # Of equal losses at a place the last choice, whatever the order of the lanes.
            choice = torch.where(loss == best_at.gather(1, place), choice, -1)
            choice_at = torch.full_like(state["choice"], -1).scatter_reduce(1, place, choice, "amax")
            choice_at = torch.where(best_at > state["place"], choice_at, state["choice"])
            over, leads = ended.unsqueeze(1), best_at.argsort(dim=1, descending=True, stable=True)
            leads = leads[:, : state["lead"].shape[1]]
            after["place"], after["choice"] = torch.where(over, -torch.inf, best_at), choice_at
            after["lead"] = torch.where(over, leads, state["lead"])
            after["pick"] = torch.where(over, choice_at.gather(1, leads), state["pick"])
        return after


def _moved_along(place: Tensor, z: Tensor, x: Tensor) -> Tensor:
    """Return places (N,) of texts x where they are in z: behind the first edit they have moved by what z is longer."""
    first = ((z != x).long().cumsum(1) == 0).sum(1)
    longer = (z >= 0).sum(1) - (x >= 0).sum(1)
    return torch.where(place > first, place + longer, place).clamp(min=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomMoves(_ByMoves):
    """Random moves of a point that is kept unless it gets worse.

    Args:
        queries: model passes per sample, >= 1.
        at_once: proposals tried on the same point, in 1..queries.
    """

    queries: int = 1000
    at_once: int = 20

    name = "random-moves"
    needs = Needs.SCORES

    def init(self, problem: Problem, key: Tensor) -> Rows:
        z = problem.threat.origin(problem.region)
        least = torch.full((len(key),), -torch.inf, device=key.device)
        return {"z": z, "value": least, "key": key, "age": torch.zeros_like(key)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        threat, region, age = _discrete(problem), problem.region, state["age"]
        n, lanes = len(age), self.at_once
        wide = _repeated(region, lanes)
        key = rng.fold(rng.fold(state["key"], "moves"), age)
        u = rng.uniform(key, (lanes, 2 + 3 * _MOVES)).double()
        done = self.numbers(age).double() / self.queries
        # From `_MOVES` moves to one; every fourth proposal begins at the sample, with any number of them.
        most = (_MOVES * (1 - done)).ceil().clamp(min=1)
        again = u[..., 0] < 0.25
        moves = torch.where(again, 1 + u[..., 1] * _MOVES, 1 + u[..., 1] * most).long().flatten()
        origin, z = (one.repeat_interleave(lanes, 0) for one in (threat.origin(region), state["z"]))
        z = torch.where(per_row(again.flatten(), z), origin, z)
        for move in range(_MOVES):
            draw = u[..., 2 + 3 * move : 5 + 3 * move].flatten(0, 1).unbind(1)
            places = threat.places(z, wide)
            place = torch.minimum((draw[0] * places).long(), (places - 1).clamp(min=0))
            choices = threat.choices(z, place, wide)
            last = (choices - 1).clamp(min=0)
            # Half of the draws are the first or the last choice, where models often are extreme.
            end = torch.where(draw[2] < 0.25, 0, last)
            choice = torch.where(draw[2] < 0.5, end, torch.minimum((draw[1] * choices).long(), last))
            z = torch.where(per_row(move < moves, z), threat.moved(z, place, choice, wide), z)
        z = z.view(n, lanes, *z.shape[1:])
        repeated, alike = getattr(threat, "repeated", None), lanes // _ALIKE
        if repeated is not None and threat.radius > 1 and alike:
            number = (age.unsqueeze(1) * alike + torch.arange(alike, device=age.device)).flatten()
            own = rng.fold(state["key"].repeat_interleave(alike), number)
            made = repeated(number, _repeated(region, alike), own).view(n, alike, *z.shape[2:])
            z = torch.cat([z[:, alike:], made], 1)
        return z

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        value, best = best_of(problem, evaluation)
        kept = value >= state["value"]
        return {
            "z": torch.where(per_row(kept, best), best, state["z"]),
            "value": torch.maximum(value, state["value"]),
            "key": state["key"],
            "age": state["age"] + 1,
        }


def _discrete(problem: Problem) -> Discrete:
    assert is_discrete(problem.threat)
    return problem.threat


def _points(problem: Problem) -> Tensor:
    return _discrete(problem).points(problem.region)


def _repeated(region: Rows, lanes: int) -> Rows:
    return {name: value.repeat_interleave(lanes, 0) for name, value in region.items()}
