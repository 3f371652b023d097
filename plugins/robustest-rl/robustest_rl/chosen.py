"""Reading what was tried: the adversary that counts, returns by radius, and what says that an attack could not work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest_rl.attacks import Directed
from robustest_rl.threats import Attacked, Dynamics, Observation, Sometimes, Threat
from robustest_rl.tuning import Tuning, lower

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tuned:
    """What came of it.

    Attributes:
        adversary: the one to judge.
        name: how reports call it.
        share: of the radius, that it uses.
        rows: of the table of all that was tried.
        curve: lowest mean return by share of the radius, which never rises; the first of them untouched.
        signs: names of health checks that speak, with what was seen.
    """

    adversary: Attacked
    name: str
    share: float
    rows: list[dict[str, Any]]
    curve: list[dict[str, float]]
    signs: dict[str, str]


def read(tuning: Tuning, columns: Mapping[str, NDArray[Any]]) -> Tuned:
    """The adversary that a tuning chose, of its columns."""
    returns, clean = columns["returns"][0], columns["untouched"][0]
    names, adversaries = _adversaries(tuning, columns)
    worth = returns.mean(2)
    score = (
        worth
        if tuning.level is None
        else (returns >= tuning.level).mean(2)
        + 1e-9 * np.argsort(np.argsort(worth, axis=None), axis=None).reshape(worth.shape)
    )
    best, at = divmod(int(score.argmin()), returns.shape[1])
    rows = [
        {"attack": name, "share of the radius": share, "mean return": float(one.mean()), "lowest": float(one.min())}
        for name, table in zip(names, returns, strict=True)
        for share, one in zip(tuning.shares, table, strict=True)
    ]
    lowest = [float(clean.mean())]
    for place in reversed(range(len(tuning.shares))):
        lowest.append(min(lowest[-1], float(worth[:, place].min())))
    radius = radius_of(tuning.threat)
    curve = [
        {"share of the radius": s, **({} if radius is None else {"radius": s * radius}), "mean return": r}
        for s, r in zip((0.0, *tuning.shares[::-1]), lowest, strict=True)
    ]
    chosen = replace(adversaries[best], share=tuning.shares[at])
    return Tuned(chosen, names[best], tuning.shares[at], rows, curve, _signs(tuning, columns, names, best))


def radius_of(threat: Threat) -> float | None:
    """The radius of a threat, in units of its scale; None where it has none, of which a share could be used."""
    inner = threat.threat if isinstance(threat, Sometimes) else threat
    return inner.eps if isinstance(inner, Observation) else None


def _adversaries(tuning: Tuning, columns: Mapping[str, NDArray[Any]]) -> tuple[list[str], list[Attacked]]:
    threat = tuning.threat
    if threat.searched == "once":
        word = "values" if isinstance(threat, Dynamics) else "bias"
        kinds: Any = [replace(threat, **{word: tuple(map(float, row))}) for row in tuning.options()]  # type: ignore[type-var]
        return [str(one) for one in kinds], [Attacked(one) for one in kinds]
    if not threat.searched:
        return ["chance"], [Attacked(threat)]
    attacks = [
        replace(one, weights=tuple(map(float, columns["director"][0]))) if isinstance(one, Directed) else one
        for one in tuning.attacks
    ]
    return [one.name for one in attacks], [Attacked(threat, one) for one in attacks]


def _signs(tuning: Tuning, columns: Mapping[str, NDArray[Any]], names: list[str], best: int) -> dict[str, str]:
    """What says that an attack could not do its work, unless a director that did found something lower still."""
    returns, signs = columns["returns"][0], dict[str, str]()
    if tuning.threat.searched != "steps":
        return signs
    climbed, zero = columns["slopes"][0].tolist()
    if zero > 0.1 * climbed:
        signs["zero_gradient"] = f"the policy's gradient was zero in {zero} of {climbed} steps attacked"
    table = dict(zip(names, returns, strict=True))
    carried = names[best] == "director" and not lower(table["director"][1:], table["director"][0])
    for name in () if carried else ("pgd", "critic"):
        for noise in ("noise", "corner noise"):
            if name in table and noise in table and lower(table[noise][:1], table[name][0]):
                signs["black_box_beats_white_box"] = (
                    f"{noise} brought returns lower than {name}, which climbs gradients"
                )
    for name, one in table.items():
        if lower(one[1:], one[0]) and not carried and name not in ("noise", "corner noise"):
            signs["not_monotone"] = f"{name} brought returns lower at a smaller radius than at the whole"
    clean = columns["untouched"][0]
    idle = "director" in table and not lower(table["director"], clean)
    if idle and ("beyond" not in columns or not lower(columns["beyond"], clean)):
        signs["loss_does_not_rise"] = "no director lowered the return, not even at four times the radius"
    return signs
