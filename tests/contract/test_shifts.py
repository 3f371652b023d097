"""One table runs every shift at every severity: what holds for all of them, holds here.

`shifts.json` beside this file keeps the corruptions from drifting. Where a change is meant, write it anew with
`python tests/contract/test_shifts.py`, and say in the change log that results under shifts are no longer the same.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import random
import re
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairwise import thinned
from table_entries import check_entries
from torch import Tensor
from torch.nn import functional as F

from robustest import ConfigError, DataError, rng
from robustest.shifts import (
    COMMON_CORRUPTIONS,
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    SHIFTS,
    SIGNALS,
    TEXT_SHIFTS,
    Shift,
    Synonyms,
    corrupt,
    shift_names,
)
from robustest.shifts.text import SHARES

SEVERITIES = (1, 2, 3, 4, 5)
PARAMETERS = ("32", "224")
GOLDEN = Path(__file__).with_name("shifts.json")

SHAPES = {
    "CIFAR": (5, 3, 32, 32),
    "batch of one": (1, 3, 32, 32),
    "one channel": (4, 1, 28, 28),
    "four channels": (3, 4, 16, 20),
    "two channels": (2, 2, 12, 9),
    "smallest": (6, 3, 8, 8),
    "odd and tall": (3, 3, 37, 11),
    "odd and wide": (3, 1, 9, 64),
    "larger": (2, 3, 66, 70),
}

COLOUR_ONLY = {"saturate": 2, "channel_swap": 2, "hue": 3}
"""Shifts that leave images alone which have fewer channels than this (hue: any other number)."""

DETERMINISTIC = {
    *("defocus_blur", "zoom_blur", "gaussian_blur", "resolution"),
    *("brightness", "contrast", "saturate", "pixelate", "jpeg_compression"),
}
"""Shifts that draw nothing."""

UNEVEN = {
    "saturate": "takes colour away at severities 1 and 2, and adds it after",
    "elastic_transform": "is mostly its affine map at the mild severities, mostly its field at the others",
    "spatter": "is water up to severity 3, mud after",
    "glass_blur": "trades blur, distance and rounds",
    "motion_blur 32": "has more taps at severity 4 than at 3, but they weigh nothing",
    "frost": "fades the image more than it adds frost from severity 3",
    "snow 224": "has fewer, larger flakes from severity 3",
    "fog 224": "is as strong at severity 4 as at 3, and only rougher",
    "pixelate 32": "has boxes of one pixel and two, and hardly other ones at severity 3 than at 2",
}
"""Published parameters under which the mean distance to the image does not go up with every severity."""

every_shift = pytest.mark.parametrize("name", SHIFTS)
every_severity = pytest.mark.parametrize("severity", SEVERITIES)


def images(n: int, channels: int, height: int, width: int) -> Tensor:
    """Images in 256 grey levels with structure at several scales, and some black and some white."""
    generator = torch.Generator().manual_seed(channels * 10_000 + height * 100 + width)
    x = torch.full((n, channels, height, width), 0.5)
    for cells in (2, 5, 11):
        noise = torch.rand(n, channels, min(cells, height), min(cells, width), generator=generator) - 0.5
        x += F.interpolate(noise, size=(height, width), mode="bilinear") * 0.9
    return x.clamp(0, 1).mul(255).round().div(255)


def keeps(name: str, channels: int) -> bool:
    """Whether a shift leaves images with so many channels alone, as documented."""
    return channels < COLOUR_ONLY.get(name, 1) or (name == "hue" and channels != 3)


STAYING = list(itertools.product(SHIFTS, SEVERITIES, SHAPES))
ALIKE = list(itertools.product(SHIFTS, SEVERITIES, [(9, 3, 32, 32), (7, 1, 13, 9)]))


def named(cases: list[Any]) -> list[str]:
    return ["-".join(map(str, case)) for case in cases]


@pytest.mark.parametrize(("name", "severity", "shape"), thinned(STAYING, named(STAYING)))
def test_images_stay_images(name: str, severity: int, shape: str) -> None:
    n, channels, height, width = SHAPES[shape]
    x = images(n, channels, height, width)
    before = x.clone()
    y = corrupt(x, name, severity, seed=1)
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert bool(((y >= 0) & (y <= 1)).all())
    assert torch.equal(x, before)
    # The mildest zooms of eight pixels round to eight pixels.
    assert torch.equal(y, x) == (keeps(name, channels) or (name, severity, height) == ("zoom_blur", 1, 8))


@every_shift
@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("size", [8, 33])
def test_either_set_of_parameters_works_at_any_size(name: str, parameters: str, size: int) -> None:
    x = images(2, 3, size, size)
    for severity in SEVERITIES:
        y = corrupt(x, name, severity, parameters=parameters)
        assert bool(((y >= 0) & (y <= 1)).all())
        if name not in CORRUPTIONS:  # there is but one set
            assert torch.equal(y, corrupt(x, name, severity))


# Bits are equal but for those that multiply matrices: some libraries add in another order if a row begins elsewhere.
ROUNDING_OF_PRODUCTS = {"elastic_transform": 1e-5, "gaussian_blur": 1e-6, "glass_blur": 1e-6, "spatter": 1e-6}


@pytest.mark.parametrize(("name", "severity", "shape"), thinned(ALIKE, named(ALIKE)))
def test_an_image_is_shifted_alike_in_any_company(name: str, severity: int, shape: tuple[int, int, int, int]) -> None:
    x = images(*shape)
    ids = torch.arange(len(x)) * 5 + 3
    whole = corrupt(x, name, severity, seed=7, ids=ids)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    alone = [corrupt(x[k : k + 1], name, severity, seed=7, ids=[int(ids[k])]) for k in range(len(x))]
    tolerance = ROUNDING_OF_PRODUCTS.get(name, 0.0)
    assert torch.allclose(whole, torch.cat(alone), rtol=0, atol=tolerance)
    assert torch.allclose(
        whole[order], corrupt(x[order], name, severity, seed=7, ids=ids[order]), rtol=0, atol=tolerance
    )


@every_shift
def test_the_same_seed_gives_the_same_images_and_another_gives_others(name: str) -> None:
    x = images(16, 3, 24, 24)
    first, again, other = (corrupt(x, name, 3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    twins = corrupt(x[:1].expand(16, -1, -1, -1), name, 3)
    if name in DETERMINISTIC:
        assert torch.equal(first, other), f"{name} draws: remove it from DETERMINISTIC."
        assert torch.equal(twins, twins[:1].expand_as(twins))
    else:
        assert not torch.equal(first, other), f"Add {name} to DETERMINISTIC, or let it draw from its key."
        assert not torch.equal(twins, twins[:1].expand_as(twins))


@pytest.mark.thinned
@every_shift
@every_severity
def test_other_bounds_see_the_same_shift(name: str, severity: int) -> None:
    x = images(3, 3, 16, 16)
    unit = corrupt(x, name, severity)
    wide = corrupt(x * 2 - 1, name, severity, bounds=(-1.0, 1.0))
    assert bool(((wide >= -1) & (wide <= 1)).all())
    apart = (wide - (unit * 2 - 1)).abs()
    # Rounding on the way may tip a threshold, a grey level or a pixel's hue, here and there.
    assert float(apart.median()) < 1e-5
    assert float(apart.mean()) < 0.02


@every_shift
def test_a_batch_larger_than_a_piece_is_put_together(name: str) -> None:
    x = images(2, 3, 64, 64).repeat(60, 1, 1, 1)  # 1.4 million elements: two pieces
    whole = corrupt(x, name, 2)
    for k in (0, 1, 84, 85, 86, 119):
        assert torch.allclose(whole[k], corrupt(x[k : k + 1], name, 2, ids=[k])[0], rtol=0, atol=1e-5)


@every_shift
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_the_type_of_the_images_is_kept(name: str, dtype: torch.dtype) -> None:
    y = corrupt(images(2, 3, 12, 12).to(dtype), name, 3)
    assert y.dtype == dtype
    assert bool(((y >= 0) & (y <= 1)).all())


@every_shift
def test_another_default_type_changes_nothing(name: str) -> None:
    x = images(2, 3, 17, 12)
    plain = corrupt(x, name, 3)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(corrupt(x, name, 3), plain)
    finally:
        torch.set_default_dtype(torch.float32)


@every_shift
def test_no_images_at_all_are_no_trouble(name: str) -> None:
    assert corrupt(torch.zeros(0, 3, 16, 16), name, 3).shape == (0, 3, 16, 16)


@every_shift
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_plain_images_have_no_nan(name: str, value: float) -> None:
    for severity in SEVERITIES:
        y = corrupt(torch.full((2, 3, 16, 16), value), name, severity)
        assert bool(((y >= 0) & (y <= 1)).all())


@every_shift
def test_global_random_states_stay_where_they_were(name: str) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    corrupt(images(2, 3, 16, 16), name, 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


@pytest.mark.thinned
@every_shift
@pytest.mark.parametrize("parameters", PARAMETERS)
def test_severities_go_up_where_they_are_meant_to(name: str, parameters: str) -> None:
    size = 32 if parameters == "32" else 80
    x = images(24, 3, size, size)
    change = [float((corrupt(x, name, severity) - x).abs().mean()) for severity in SEVERITIES]
    if name in UNEVEN or f"{name} {parameters}" in UNEVEN:
        assert min(change) > 0
    else:
        assert change == sorted(change)
        assert len(set(change)) == 5


def test_names_are_told_apart() -> None:
    assert len(COMMON_CORRUPTIONS) == 15
    assert len(EXTRA_CORRUPTIONS) == 4
    assert COMMON_CORRUPTIONS + EXTRA_CORRUPTIONS == CORRUPTIONS
    assert len(set(CORRUPTIONS)) == 19
    assert list(SHIFTS)[:19] == list(CORRUPTIONS)
    assert not set(SHIFTS) & set(SIGNALS)
    assert len(set(shift_names())) == len(shift_names()) >= len(SHIFTS) + len(SIGNALS)
    assert all(shift.__name__ == name and shift.__doc__ for name, shift in SHIFTS.items())
    assert all(shift.__name__ == name and shift.changes[0].__doc__ for name, shift in SIGNALS.items())


@every_shift
def test_a_shift_by_name_is_the_function_of_that_name(name: str) -> None:
    x = images(3, 3, 16, 16)
    key = rng.keys(4, torch.arange(3))
    got = Shift(name, 2).apply(x, key, (0.0, 1.0))
    assert torch.equal(got, SHIFTS[name](x, 2, key))
    assert torch.equal(got, corrupt(x, name, 2, seed=4))


# Shifts of signals

RATE = 8000
SIGNAL_SHAPES = {
    "mono": (5, 4096),
    "stereo": (3, 2, 3001),
    "one clip": (1, 1, 2048),
    "sensors": (6, 5, 100),
    "short": (4, 12),
}
WITHOUT_DRAWS = {"gain", "clipping", "delay", "low_pass", "mu_law", "codec", "time_stretch"}
"""Shifts of signals that draw nothing."""


def each_signal_shift() -> Any:
    """The shifts of signals; the one that needs an encoder is skipped where there is none."""
    absent = pytest.mark.skipif(
        importlib.util.find_spec("soundfile") is None, reason="the shift codec needs soundfile: robustest[audio]"
    )
    return pytest.mark.parametrize("name", [pytest.param(name, marks=[absent] * (name == "codec")) for name in SIGNALS])


every_signal_shift = each_signal_shift()


def signals(*shape: int) -> Tensor:
    """Bursts of tones under noise, another for each row and channel, inside [-0.7, 0.7]."""
    generator = torch.Generator().manual_seed(sum(shape))
    time = torch.arange(shape[-1]) / RATE
    pitch = 150 + 800 * torch.rand(*shape[:-1], 1, generator=generator)
    loud = 0.1 + 0.4 * torch.rand(*shape[:-1], 1, generator=generator)
    noise = torch.randn(*shape, generator=generator) * 0.02
    return (loud * torch.sin(2 * torch.pi * pitch * time) * (time % 0.2 < 0.15) + noise).clamp(-0.7, 0.7)


def heard(x: Tensor, name: str, severity: int, **options: Any) -> Tensor:
    return corrupt(x, name, severity, bounds=(-1.0, 1.0), sample_rate=RATE, **options)


@pytest.mark.thinned
@every_signal_shift
@pytest.mark.parametrize("shape", SIGNAL_SHAPES)
def test_signals_stay_signals(name: str, shape: str) -> None:
    x = signals(*SIGNAL_SHAPES[shape])
    if (name, shape) == ("codec", "sensors"):  # an MP3 has two channels at most
        with pytest.raises(ConfigError, match="to encode a waveform"):
            heard(x, name, 1)
        return
    before = x.clone()
    for severity in SEVERITIES:
        y = heard(x, name, severity)
        assert y.shape == x.shape
        assert y.dtype == torch.float32
        assert bool(((y >= -1) & (y <= 1)).all())
        assert torch.equal(x, before)
        if x.shape[-1] > 100:
            assert not torch.equal(x, y)
    assert heard(x.double(), name, 3).dtype == torch.float64
    assert heard(x[:0], name, 3).shape == x[:0].shape


@every_signal_shift
@pytest.mark.parametrize("shape", ["mono", "stereo", "sensors"])
def test_a_signal_is_shifted_alike_in_any_company(name: str, shape: str) -> None:
    if (name, shape) == ("codec", "sensors"):
        shape = "one clip"  # an MP3 has two channels at most
    x = signals(*SIGNAL_SHAPES[shape])
    ids = torch.arange(len(x)) * 5 + 3
    for severity in (1, 4):
        whole = heard(x, name, severity, seed=7, ids=ids)
        alone = [heard(x[k : k + 1], name, severity, seed=7, ids=[int(ids[k])]) for k in range(len(x))]
        assert torch.equal(whole, torch.cat(alone))
        back = torch.arange(len(x)).flip(0)
        assert torch.equal(whole[back], heard(x[back], name, severity, seed=7, ids=ids[back]))


@every_signal_shift
def test_signals_in_pieces_are_put_together(name: str) -> None:
    x = signals(40, 2, 8000).flip(0)
    x = torch.cat([x, x])  # 1.3 million elements: three pieces
    whole = heard(x, name, 2)
    for k in (0, 31, 32, 33, 79):
        assert torch.equal(whole[k], heard(x[k : k + 1], name, 2, ids=[k])[0])


@every_signal_shift
def test_draws_of_signals_depend_on_seed_and_place_alone(name: str) -> None:
    x = signals(1, 2, 2000).expand(6, -1, -1)
    before = torch.get_rng_state()
    first, again, other = (heard(x, name, 3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name in WITHOUT_DRAWS)
    assert torch.equal(first, first[:1].expand_as(first)) == (name in WITHOUT_DRAWS)


@every_signal_shift
def test_severities_of_signals_go_up(name: str) -> None:
    x = signals(24, 8192)
    change = [float((heard(x, name, severity) - x).square().mean()) for severity in SEVERITIES]
    if name in {"delay", "reverberation", "time_stretch", "time_warp"}:  # as far away as another signal already
        assert min(change) > 0.1 * max(change)
    else:
        assert change == sorted(change)
        assert len(set(change)) == 5


@every_signal_shift
def test_silence_stays_silent(name: str) -> None:
    x = torch.zeros(3, 2, 4000)
    for severity in SEVERITIES:
        assert torch.equal(heard(x, name, severity), x)


@pytest.mark.parametrize("name", SIGNALS)
def test_what_is_no_signal_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"\(N, T\) or \(N, C, T\)"):
        corrupt(images(2, 3, 8, 8), name, 3)
    with pytest.raises(ConfigError, match=r"\(N, T\) or \(N, C, T\)"):
        Shift(name, 3).apply(images(2, 3, 8, 8), rng.keys(0, torch.arange(2)), (0.0, 1.0))
    if name in {"reverberation", "delay", "low_pass", "codec"}:
        with pytest.raises(ConfigError, match=r"sample rate .* Waveforms\(\(x, y\), sample_rate=16000\)"):
            corrupt(signals(2, 100), name, 3, bounds=(-1.0, 1.0))


def signal_fingerprint(name: str, severity: int) -> list[float]:
    """Root mean square before the shift's change, of the change, and the product with fixed noise."""
    x = signals(6, 2, 4000)
    y = heard(x, name, severity, seed=11).double()
    probe = torch.rand(y.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64) - 0.5
    figures = (y.square().mean().sqrt(), (y - x).square().mean().sqrt(), (y * probe).sum() / y.numel() ** 0.5)
    return [round(float(value), 5) for value in figures]


GOLDEN_SIGNALS = [name for name in SIGNALS if name != "codec"]
"""An encoder's figures are its own affair: another version may change them."""


@pytest.mark.parametrize("name", GOLDEN_SIGNALS)
@every_severity
def test_shifts_of_signals_are_what_they_were(name: str, severity: int) -> None:
    golden = json.loads(GOLDEN.read_text())[f"{name} {severity} signals"]
    assert signal_fingerprint(name, severity) == pytest.approx(golden, abs=0.0005)


# What they were


def fingerprint(name: str, severity: int, parameters: str) -> list[float]:
    """Figures that any change of a shift moves: mean, mean distance to the image, and the product with fixed noise."""
    size = 32 if parameters == "32" else 72
    x = images(4, 3, size, size)
    y = corrupt(x, name, severity, seed=11).double()
    probe = torch.rand(y.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64) - 0.5
    return [round(float(value), 4) for value in (y.mean(), (y - x).abs().mean(), (y * probe).sum() / y.numel() ** 0.5)]


@pytest.mark.thinned
@every_shift
@every_severity
@pytest.mark.parametrize("parameters", PARAMETERS)
def test_shifts_are_what_they_were(name: str, severity: int, parameters: str) -> None:
    """The product with noise has 0.29 times the deviation of a change: 0.004 stands for one of .014 in all pixels."""
    golden = json.loads(GOLDEN.read_text())[f"{name} {severity} {parameters}"]
    assert fingerprint(name, severity, parameters) == pytest.approx(golden, abs=0.004)


def test_the_golden_figures_are_of_shifts_that_exist() -> None:
    cells = {
        f"{name} {severity} {parameters}" for name in SHIFTS for severity in SEVERITIES for parameters in PARAMETERS
    } | {f"{name} {severity} signals" for name in GOLDEN_SIGNALS for severity in SEVERITIES}
    cells |= {f"{name} {severity}" for name in OF_TEXTS for severity in SEVERITIES}
    where = "tests/contract/shifts.json, by python tests/contract/test_shifts.py"
    check_entries(json.loads(GOLDEN.read_text()), cells, where)


# Shifts of texts

OF_TEXTS: dict[str, Any] = {**TEXT_SHIFTS, "synonyms": Synonyms({"film": ("movie",), "dull": ("slow", "grey")})}
TEXTS = [
    "I do not think that this dull film is one of the best of 2010; it's well played, but it is far too long for me.",
    "DON'T MISS THIS FILM",
    "A film.",
    "Ce film n'est pas \u00e9tonnant, mais il est tr\u00e8s bien jou\u00e9",
    "\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440 \U0001f600",
    "",
    "?!",
]

every_text_shift = pytest.mark.parametrize("name", OF_TEXTS)


def shifted_texts(name: str, severity: int, texts: list[str], ids: list[int] | None = None, seed: int = 3) -> list[str]:
    places = torch.tensor(range(len(texts)) if ids is None else ids)
    made: list[str] = OF_TEXTS[name](list(texts), severity, rng.keys(seed, places))
    return made


@every_text_shift
@every_severity
def test_texts_stay_texts_and_depend_on_no_other_text(name: str, severity: int) -> None:
    before = list(TEXTS)
    made = shifted_texts(name, severity, TEXTS)
    assert before == TEXTS
    assert [type(text) for text in made] == [str] * len(TEXTS)
    order = [3, 0, 6, 1]
    assert [made[at] for at in order] == shifted_texts(name, severity, [TEXTS[at] for at in order], order)
    assert made == shifted_texts(name, severity, TEXTS)
    assert made[5:] == ["", "?!"]
    assert made[0] != TEXTS[0]
    assert shifted_texts(name, severity, []) == []


@every_text_shift
def test_a_severity_changes_what_milder_ones_change_in_the_same_way(name: str) -> None:
    sample = [TEXTS[0] + f" number {k} is a film that I can't forget" for k in range(30)]
    made = [shifted_texts(name, severity, sample) for severity in SEVERITIES]
    kept = [
        np.mean([SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in zip(sample, one, strict=True)])
        for one in made
    ]
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) == 5
    # Words of the mildest are words of the most severe one.
    words = [
        (set(re.split(r"\s+", one)) - set(re.split(r"\s+", text))) for one, text in zip(made[0], sample, strict=True)
    ]
    still = [len(own & set(re.split(r"\s+", one))) for own, one in zip(words, made[4], strict=True)]
    assert sum(still) >= (0.9 if name in ("typos", "casing", "contractions", "synonyms") else 0.0) * sum(
        map(len, words)
    )


@every_text_shift
def test_texts_have_other_draws_under_other_seeds_and_leave_random_states(name: str) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    sample = [TEXTS[0]] * 20
    made = shifted_texts(name, 3, sample)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    assert len(set(made)) > 1
    assert made != shifted_texts(name, 3, sample, seed=4)


@every_text_shift
@every_severity
def test_shifts_of_texts_are_what_they_were(name: str, severity: int) -> None:
    assert shifted_texts(name, severity, TEXTS[:4]) == json.loads(GOLDEN.read_text())[f"{name} {severity}"]


def test_images_and_texts_have_shifts_of_their_own() -> None:
    with pytest.raises(ConfigError, match="texts for the shift 'typos'"):
        Shift("typos", 2).apply(torch.rand(2, 3, 8, 8), rng.keys(0, torch.arange(2)), (0.0, 1.0))
    with pytest.raises(DataError, match="texts"):
        TEXT_SHIFTS["typos"]([b"bytes"], 1, rng.keys(0, torch.arange(1)))  # type: ignore[list-item]
    assert set(TEXT_SHIFTS).isdisjoint(SHIFTS)
    check_entries(SHARES, OF_TEXTS, "SHARES")
    assert all(list(shares) == sorted(shares) for shares in SHARES.values())
    for table in ({}, {"a": "b"}, {"a": []}, {"a": [1]}):
        with pytest.raises(ConfigError, match="table of words"):
            Synonyms(table)  # type: ignore[arg-type]


if __name__ == "__main__":
    figures = {
        f"{name} {severity} {parameters}": fingerprint(name, severity, parameters)
        for name in SHIFTS
        for severity in SEVERITIES
        for parameters in PARAMETERS
    } | {
        f"{name} {severity} signals": signal_fingerprint(name, severity)
        for name in GOLDEN_SIGNALS
        for severity in SEVERITIES
    }
    texts = {f"{name} {one}": shifted_texts(name, one, TEXTS[:4]) for name in OF_TEXTS for one in SEVERITIES}
    lines = [f'"{cell}": {json.dumps(values)}' for cell, values in (*figures.items(), *texts.items())]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
