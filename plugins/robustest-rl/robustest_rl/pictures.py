"""Film strips: an episode undisturbed and attacked, as its environment renders it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.error import DependencyNotInstalled

from robustest.errors import ConfigError
from robustest.packs import Exhibit
from robustest_rl.moments import Untouched
from robustest_rl.traces import key_of
from robustest_rl.worst import described

if TYPE_CHECKING:
    from robustest_rl.judged import Episodes

# Pictures in a strip, at even distances from the first step to the last of the attacked episode.
FRAMES = 6
_SIDE = 96


def film_strips(counted: Episodes, worst: list[dict[str, Any]], folder: str | None) -> list[Exhibit]:
    """Return an exhibit of each of the worst episodes, with two strips if the environment renders frames."""
    strips = []
    for row in worst:
        frames = None if folder is None else _both(counted, row["episode"])
        before, after = (torch.zeros(0), torch.zeros(0)) if frames is None else frames
        strips.append(
            Exhibit(
                index=row["episode"],
                label=-1,
                clean=-1,
                predicted=-1,
                size=row["return"],
                before=before,
                after=after,
                badness=-row["return"],
                answer=described(row),
            )
        )
    return strips


def _both(counted: Episodes, episode: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    attacked = _frames(counted, episode, untouched=False)
    clean = _frames(counted, episode, untouched=True)
    if not attacked or not clean:
        return None
    last = len(attacked) - 1
    picked = np.linspace(0, last, min(FRAMES, last + 1)).round().astype(int)
    # The same steps in both strips; an undisturbed episode that ended sooner repeats its last frame.
    strips = [np.concatenate([_small(film[min(k, len(film) - 1)]) for k in picked], 1) for film in (clean, attacked)]
    before, after = (torch.from_numpy(np.ascontiguousarray(strip)).permute(2, 0, 1).float() / 255 for strip in strips)
    return before, after


def _frames(counted: Episodes, episode: int, *, untouched: bool) -> list[Any]:
    """Return a frame before each step; none if the environment renders no arrays."""
    # An id can be made again with a render mode; a factory decides for itself.
    try:
        env = counted.scene.world.make(pictures=isinstance(counted.scene.world.source, str))
    except (ConfigError, DependencyNotInstalled, TypeError):
        return []
    if env.render_mode != "rgb_array":
        env.close()
        return []
    arena = counted.scene.arena(1)
    arena.adopt(env)
    frames: list[Any] = []
    try:
        arena.play(
            Untouched() if untouched else counted.adversary,
            key_of(counted, episode),
            record=lambda *_: frames.append(np.asarray(env.render())),
        )
    except DependencyNotInstalled:
        return []
    finally:
        arena.close()
    return frames if all(frame.ndim == 3 and frame.shape[2] == 3 for frame in frames) else []


def _small(frame: Any) -> Any:
    step = max(1, frame.shape[0] // _SIDE)
    return frame[::step, ::step]
