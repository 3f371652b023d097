"""Counter-based randomness: (seed, sample, use, element) -> number, on any device."""

# 1. key = splitmix(splitmix(seed) xor index): 64 bits for each sample, of the seed and its index in the data.
# 2. fold(key, use) = splitmix(key xor splitmix(use)): an independent key for each use (a stage, a round, a step).
# 3. bits(key)[i] = mix32(mix32(golden * i + low(key)) xor high(key)): 32 bits for element i of the sample.
#
# A draw depends on nothing else, so it is the same in any batch, order, worker or device. Keys use SplitMix64 (Steele,
# Lea and Flood, OOPSLA 2014); elements two rounds of MurmurHash3's public domain finaliser over a Weyl sequence, in
# 32-bit integers, which vectorise on CPUs. Integer arithmetic is exact, so devices agree to the bit.

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN64 = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX64 = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
_GOLDEN32 = 0x9E3779B9 - (1 << 32)
_MIX32 = (0x85EBCA6B - (1 << 32), 0xC2B2AE35 - (1 << 32))


def keys(seed: int, ids: Tensor) -> Tensor:
    """Return one key per sample.

    Args:
        seed: any Python int.
        ids: (N,) int64, the samples' indices in the user's data.

    Returns:
        (N,) int64 keys on the device of `ids`.
    """
    wrapped = (seed + (1 << 63)) % (1 << 64) - (1 << 63)
    base = _splitmix(torch.tensor(wrapped, dtype=torch.int64, device=ids.device))
    # The seed is mixed and the index is not, so that seed a, sample b and seed b, sample a have different keys.
    return _splitmix(base ^ ids.to(torch.int64))


def fold(key: Tensor, use: int | str | Tensor) -> Tensor:
    """Return independent keys for one use of a sample's randomness.

    Args:
        key: (N,) int64.
        use: name or number of the use, or (N,) int64 counters, such as steps.
    """
    if isinstance(use, str):
        use = zlib.crc32(use.encode())
    if isinstance(use, int):
        use = torch.tensor(use, dtype=torch.int64, device=key.device)
    return _splitmix(key ^ _splitmix(use.to(torch.int64)))


def bits(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return (N, *shape) int32, 32 random bits an element."""
    n = math.prod(shape)
    low = key.to(torch.int32).view(-1, 1)
    high = (key >> 32).to(torch.int32).view(-1, 1)
    counter = torch.arange(n, dtype=torch.int32, device=key.device).mul_(_GOLDEN32)
    h = counter.view(1, -1) + low
    for last in (False, True):
        # torch shifts arithmetically: the masks make the shifts logical.
        h.bitwise_xor_((h >> 16).bitwise_and_(0xFFFF)).mul_(_MIX32[0])
        h.bitwise_xor_((h >> 13).bitwise_and_(0x7FFFF)).mul_(_MIX32[1])
        h.bitwise_xor_((h >> 16).bitwise_and_(0xFFFF))
        if not last:
            h.bitwise_xor_(high)
    return h.view(len(key), *shape)


def uniform(key: Tensor, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return (N, *shape) float32, uniform in [low, high); 24 bits an element."""
    u = (bits(key, shape) >> 8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)
    return u if (low, high) == (0.0, 1.0) else u.mul_(high - low).add_(low)


def normal(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return (N, *shape) float32, standard normal (Box and Muller, 1958)."""
    n = math.prod(shape)
    half = (n + 1) // 2
    u = uniform(key, (2, half))
    radius = u[:, 0].add(2.0**-25).log_().mul_(-2.0).sqrt_()  # half a step up: a uniform 0 has no logarithm
    angle = u[:, 1].mul(2 * math.pi)
    both = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
    return both[:, :n].reshape(len(key), *shape)


def signs(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return (N, *shape) float32, -1 or 1 with equal chance."""
    return (bits(key, shape) >> 31).to(torch.float32).mul_(2.0).add_(1.0)


def integers(key: Tensor, shape: Sequence[int], high: int | Tensor) -> Tensor:
    """Return (N, *shape) int64, uniform in 0..high-1 (`high` may be a tensor that broadcasts)."""
    limit = high if isinstance(high, Tensor) else torch.tensor(high, device=key.device)
    draw = (uniform(key, shape).double() * limit).to(torch.int64)
    return torch.minimum(draw, limit.to(torch.int64) - 1)


def permutation(seed: int, n: int) -> Tensor:
    """Return (n,) int64 on the CPU: the order in which n samples are evaluated under this seed."""
    return torch.argsort(fold(keys(seed, torch.arange(n)), "order"), stable=True)


def _splitmix(z: Tensor) -> Tensor:
    z = z + _GOLDEN64
    z = (z ^ _shift64(z, 30)) * _MIX64[0]
    z = (z ^ _shift64(z, 27)) * _MIX64[1]
    return z ^ _shift64(z, 31)


def _shift64(z: Tensor, by: int) -> Tensor:
    return (z >> by) & ((1 << (64 - by)) - 1)  # a logical shift: torch's keeps the sign
