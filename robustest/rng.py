"""Counter-based randomness: (seed, sample, use, element) -> number, on any device."""

# 1. key = splitmix(splitmix(seed) xor index): 64 bits for each sample, of the seed and its index in the data.
# 2. fold(key, use) = splitmix(key xor splitmix(use)): an independent key for each use (a stage, a round, a step).
# 3. bits(key)[i] = mix32(mix32(golden * i + low(key)) xor high(key)): 32 bits for element i of the sample.
#
# A draw depends on nothing else, so it is the same in any batch, order, worker or device. Keys use SplitMix64 (Steele,
# Lea and Flood, OOPSLA 2014); elements two rounds of MurmurHash3's public domain finaliser over a Weyl sequence, in
# 32-bit integers, which vectorise on CPUs. Integer arithmetic is exact, so devices agree to the bit.

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import devices

_GOLDEN64 = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX64 = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
_GOLDEN32 = 0x9E3779B9 - (1 << 32)
_MIX32 = (0x85EBCA6B - (1 << 32), 0xC2B2AE35 - (1 << 32))
Words32 = NDArray[np.uint32]
Words64 = NDArray[np.uint64]


def keys(seed: int, ids: Tensor) -> Tensor:
    """Return one key per sample.

    Args:
        seed: any Python int.
        ids: (N,) int64, the samples' indices in the user's data.

    Returns:
        (N,) int64 keys on the device of `ids`.
    """
    # The seed is mixed and the index is not, so that seed a, sample b and seed b, sample a have different keys.
    return _splitmix(ids.to(torch.int64) ^ _splitmix_of(seed))


def fold(key: Tensor, use: int | str | Tensor) -> Tensor:
    """Return independent keys for one use of a sample's randomness.

    Args:
        key: (N,) int64.
        use: name or number of the use, or (N,) int64 counters, such as steps.
    """
    if isinstance(use, Tensor):
        return _splitmix(key ^ _splitmix(use.to(torch.int64)))
    # Mixed in Python: a tensor made of a number would be copied to the device in every draw.
    return _splitmix(key ^ _splitmix_of(zlib.crc32(use.encode()) if isinstance(use, str) else use))


def bits(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return (N, *shape) int32, 32 random bits an element."""
    n = math.prod(shape)
    if _few_on_host(key, len(key) * n):
        return torch.from_numpy(_mixed32(key.numpy().view(np.uint64), n).view(np.int32)).view(len(key), *shape)
    low = key.to(torch.int32).view(-1, 1)
    high = torch.bitwise_right_shift(key, 32).to(torch.int32).view(-1, 1)
    counter = torch.arange(n, dtype=torch.int32, device=key.device).mul_(_GOLDEN32)
    h = counter.view(1, -1) + low
    h.bitwise_xor_(_shifted(h, 16))
    for last in (False, True):
        h.mul_(_MIX32[0])
        h.bitwise_xor_(_shifted(h, 13)).mul_(_MIX32[1])
        h.bitwise_xor_(_shifted(h, 16) if last else _between(high))
    return h.view(len(key), *shape)


def _between(high: Tensor) -> Tensor:
    """Return what the end of a round, the high word of a key and the begin of the next round come to."""
    # Of h xor (h >> 16), done twice, h is left: between the rounds the high word alone is mixed.
    return high ^ _shifted(high, 16)


def uniform(key: Tensor, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
    """Return (N, *shape) float32, uniform in [low, high); 24 bits an element."""
    u, step = _whole(key, shape), (high - low) * 2.0**-24
    if step != 1:
        u.mul_(step)
    return u.add_(low) if low else u


def normal(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return (N, *shape) float32, standard normal (Box and Muller, 1958)."""
    n = math.prod(shape)
    half = (n + 1) // 2
    both = _whole(key, (2, half))
    first, second = both[:, 0], both[:, 1]
    radius = first.add_(0.5).mul_(2.0**-24).log_().mul_(-2.0).sqrt_()  # half a step up: a uniform 0 has no logarithm
    angle = second.mul_(2 * math.pi * 2.0**-24)
    cosine = angle.cos()
    angle.sin_().mul_(radius)
    radius.mul_(cosine)
    return both.flatten(1)[:, :n].reshape(len(key), *shape)


def _whole(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return (N, *shape) float32, whole numbers under 2**24."""
    n = math.prod(shape)
    if not _few_on_host(key, len(key) * n):
        return _shifted(bits(key, shape), 8).to(torch.float32)
    words = _mixed32(key.numpy().view(np.uint64), n)
    words >>= _BY32[2]
    return torch.from_numpy(words.view(np.int32)).to(torch.float32).view(len(key), *shape)


def signs(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Return (N, *shape) float32, -1 or 1 with equal chance."""
    return torch.bitwise_right_shift(bits(key, shape), 31).to(torch.float32).mul_(2.0).add_(1.0)


def integers(key: Tensor, shape: Sequence[int], high: int | Tensor) -> Tensor:
    """Return (N, *shape) int64, uniform in 0..high-1 (`high` may be a tensor that broadcasts)."""
    draw = (uniform(key, shape).double() * high).to(torch.int64)
    return torch.minimum(draw, high.to(torch.int64) - 1) if isinstance(high, Tensor) else draw.clamp_(max=high - 1)


def permutation(seed: int, n: int) -> Tensor:
    """Return (n,) int64 on the CPU: the order in which n samples are evaluated under this seed."""
    return torch.argsort(fold(keys(seed, torch.arange(n)), "order"), stable=True)


def _splitmix(z: Tensor) -> Tensor:
    if _few_on_host(z, z.numel() if z.ndim else 0):
        return torch.from_numpy(_mixed64(z.numpy().view(np.uint64)).view(np.int64))
    z = z + _GOLDEN64
    z = (z ^ _shifted(z, 30)) * _MIX64[0]
    z = (z ^ _shifted(z, 27)) * _MIX64[1]
    return z ^ _shifted(z, 31)


def _splitmix_of(number: int) -> int:
    """Return what `_splitmix` makes of a number, as a signed number of 64 bits."""
    z = (number + _GOLDEN64) % (1 << 64)
    z = (z ^ z >> 30) * _MIX64[0] % (1 << 64)
    z = (z ^ z >> 27) * _MIX64[1] % (1 << 64)
    z ^= z >> 31
    return z - (1 << 64) if z >> 63 else z


def _shifted(z: Tensor, by: int) -> Tensor:
    """Return integers shifted right, with zeros from the left."""
    # torch keeps the sign, which the mask removes. Not by `>>`: XLA lowers that to a division, which rounds towards
    # zero. It also widens the shifted numbers to int64.
    mask = (1 << (8 * z.element_size() - by)) - 1
    return torch.bitwise_right_shift(z, by).to(z.dtype).bitwise_and_(mask)


# On the host NumPy mixes in unsigned arithmetic: torch has no logical shift and takes half as many steps again, and a
# call of it takes longer than its work on few numbers. Its threads, where there are several, share the work on many.

_UNSIGNED64 = [np.uint64(one % (1 << 64)) for one in (_GOLDEN64, *_MIX64)]
_UNSIGNED32 = [np.uint32(one % (1 << 32)) for one in (_GOLDEN32, *_MIX32)]
_BY64 = [np.uint64(by) for by in (30, 27, 31, 32)]  # NumPy before 2 makes floats of a plain number and unsigned ones
_BY32 = [np.uint32(by) for by in (16, 13, 8)]

# Numbers up to which torch works in one thread anyway.
_FEW = 1 << 15

# Numbers up to which one thread of NumPy's beats one of torch's: more do not stay in the second cache.
_MOST = 1 << 18


def _few_on_host(z: Tensor, count: int) -> bool:
    few = 0 < count <= (_FEW if torch.get_num_threads() > 1 else _MOST)
    return few and devices.on_host(z) and type(z) is Tensor


def _mixed64(z: Words64) -> Words64:
    """Return what `_splitmix` does."""
    z = z + _UNSIGNED64[0]
    z ^= z >> _BY64[0]
    z *= _UNSIGNED64[1]
    z ^= z >> _BY64[1]
    z *= _UNSIGNED64[2]
    z ^= z >> _BY64[2]
    return z


@functools.lru_cache(maxsize=4)
def _weyl(n: int) -> Words32:
    counter = np.arange(n, dtype=np.uint32)
    counter *= _UNSIGNED32[0]
    counter.flags.writeable = False
    return counter


def _mixed32(key: Words64, n: int) -> Words32:
    """Return what `bits` does, (N, n)."""
    h: Words32 = _weyl(n) + key.astype(np.uint32)[:, None]
    high = (key >> _BY64[3]).astype(np.uint32)[:, None]
    between = high ^ (high >> _BY32[0])  # see `_between`
    shifted = np.empty_like(h)
    h ^= np.right_shift(h, _BY32[0], out=shifted)
    for last in (False, True):
        h *= _UNSIGNED32[1]
        h ^= np.right_shift(h, _BY32[1], out=shifted)
        h *= _UNSIGNED32[2]
        h ^= np.right_shift(h, _BY32[0], out=shifted) if last else between
    return h
