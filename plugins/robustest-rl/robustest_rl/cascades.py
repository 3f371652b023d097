"""Names of attacks: cascades and single attacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustest.errors import ConfigError, unknown
from robustest_rl.attacks import Attack, Away, Directed, Lower, Noise
from robustest_rl.director import Effort
from robustest_rl.threats import ActionAttack, Observation, Sometimes, Threat

EFFORTS: Mapping[str, Effort] = {
    "agent-fast": Effort(candidates=12, episodes=5, generations=4),
    "agent-standard": Effort(candidates=24, episodes=8, generations=6, ascents=3),
}
CASCADES = tuple(EFFORTS)
SINGLE = ("noise", "corner", "pgd", "critic", "director")


def attacks_of(attack: object, threat: Threat, critic: Any) -> tuple[tuple[Attack, ...], Effort]:
    """Return the attacks of a name with the effort of their search; attacks are returned as given.

    Raises:
        UnknownNameError: no attack has this name.
        ConfigError: the attack needs a critic and none is given.
    """
    inner = threat.threat if isinstance(threat, Sometimes) else threat
    # A director divides observations by the threat's scale, where 0 marks a part that never changes.
    scale = inner.scale if isinstance(inner, Observation) and inner.scale else (1.0,)
    known: dict[str, Attack] = {
        "noise": Noise(),
        "corner": Noise(corners=True),
        "pgd": Away(),
        "director": Directed(scale=tuple(one or 1.0 for one in scale)),
    }
    if critic is not None:
        known["critic"] = Lower(critic)
    if isinstance(inner, ActionAttack):
        known.pop("pgd")  # it would move the policy's own choice, which is replaced anyway
    if isinstance(attack, (Noise, Away, Lower, Directed)):
        return (attack,), EFFORTS["agent-fast"]
    if isinstance(attack, tuple) and attack and all(isinstance(one, (Noise, Away, Lower, Directed)) for one in attack):
        return attack, EFFORTS["agent-fast"]
    if attack in EFFORTS:
        return tuple(known.values()), EFFORTS[str(attack)]
    if attack == "critic" and critic is None:
        raise ConfigError("Expected critic= for the attack 'critic' but got none.")
    if not isinstance(attack, str) or attack not in known:
        raise unknown("attack on agents", attack, [*CASCADES, *SINGLE])
    return (known[attack],), EFFORTS["agent-fast"]
