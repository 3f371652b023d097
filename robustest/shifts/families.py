"""Which shifts there are: the corruptions of ImageNet-C, and families beyond it."""

from __future__ import annotations

from robustest.shifts.applying import Family
from robustest.shifts.corruptions.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from robustest.shifts.corruptions.digital import contrast, elastic_transform, jpeg_compression, pixelate
from robustest.shifts.corruptions.geometric import crop, perspective, rotation, scale, shear, translation
from robustest.shifts.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from robustest.shifts.corruptions.photometric import brightness, channel_swap, gamma, hue, saturate
from robustest.shifts.corruptions.spatter import spatter
from robustest.shifts.corruptions.weather import fog, frost, snow
from robustest.shifts.spoiling import occlusion, resolution

_COMMON: tuple[Family, ...] = (
    *(gaussian_noise, shot_noise, impulse_noise),
    *(defocus_blur, glass_blur, motion_blur, zoom_blur),
    *(snow, frost, fog, brightness),
    *(contrast, elastic_transform, pixelate, jpeg_compression),
)
_EXTRA: tuple[Family, ...] = (speckle_noise, gaussian_blur, spatter, saturate)
_BEYOND: tuple[Family, ...] = (
    *(rotation, translation, scale, shear, perspective, crop),
    *(hue, gamma, channel_swap),
    *(occlusion, resolution),
)

COMMON_CORRUPTIONS = tuple(each.__name__ for each in _COMMON)
"""The 15 corruptions of ImageNet-C's benchmark (over which mCE is the mean), in its order."""

EXTRA_CORRUPTIONS = tuple(each.__name__ for each in _EXTRA)
"""The 4 corruptions that ImageNet-C keeps apart, for tuning."""

CORRUPTIONS = COMMON_CORRUPTIONS + EXTRA_CORRUPTIONS
"""All 19 corruptions of ImageNet-C, in its order."""

SHIFTS: dict[str, Family] = {each.__name__: each for each in (*_COMMON, *_EXTRA, *_BEYOND)}
"""The shifts robustest brings, by name."""
