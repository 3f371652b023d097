"""The adversary that a tuning chose, returns by radius, and signs that an attack could not work."""

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
    """The outcome of a tuning."""

    adversary: Attacked  # the adversary to judge
    name: str  # its name in reports
    share: float  # the share of the radius that it uses
    rows: list[dict[str, Any]]  # the table of all attacks and shares tried
    curve: list[dict[str, float]]  # lowest mean return by share of the radius, never rising; the first is undisturbed
    signs: dict[str, str]  # evidence by name of the health check


def read(tuning: Tuning, columns: Mapping[str, NDArray[Any]]) -> Tuned:
    """Return the adversary that a tuning chose."""
    returns, clean = columns["returns"][0], columns["untouched"][0]
    names, adversaries = _adversaries(tuning, columns)
    worth = returns.mean(2)
    # A claim on a share is attacked by the share that falls below the level; ties (common with few episodes) go to the
    # lower mean.
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
    # An adversary of a larger radius may do all that one of a smaller radius does, so the curve is a running minimum.
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
    """Return the radius of a threat in units of its scale; None if it has none."""
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
    returns, signs = columns["returns"][0], dict[str, str]()
    if tuning.threat.searched != "steps":
        return signs
    climbed, zero = columns["slopes"][0].tolist()
    # One step in ten without a gradient: saturated outputs, on which gradient attacks stand still.
    if zero > 0.1 * climbed:
        signs["zero_gradient"] = f"the policy's gradient was zero in {zero} of {climbed} steps attacked"
    table = dict(zip(names, returns, strict=True))
    # The director found the lowest returns, and no smaller radius beats the whole one: the search worked, whatever the
    # gradient attacks did.
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
    # An attack that finds nothing even at four times the radius is broken, rather than the agent robust.
    if idle and ("beyond" not in columns or not lower(columns["beyond"], clean)):
        signs["loss_does_not_rise"] = "no director lowered the return, not even at four times the radius"
    return signs
