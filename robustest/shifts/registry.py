"""The list of built-in shifts, shifts by name and severity, and users' functions as shifts.

The built-in image shifts (`SHIFTS`) are defined on images in [0, 1]: `Shift.apply` rescales their arguments and
results. Every other function, those of signals (`SIGNALS`) among them, receives inputs in the units of the data, with
any number of axes, and returns the same.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from robustest import extensions, rng
from robustest.checks import checked_severity, index_of, is_permuted, moved_rows, require
from robustest.errors import ConfigError, DataError, ModelError, expected, unknown
from robustest.results import Variation
from robustest.shifts import blur, geometric, pixels, weather
from robustest.shifts.audio import AUDIO
from robustest.shifts.series import SERIES
from robustest.shifts.signals import SignalChange, SignalFamily
from robustest.shifts.tables import PARAMETERS, Family
from robustest.shifts.text import TEXT_SHIFTS, is_text_shift
from robustest.tasks import Task

if TYPE_CHECKING:
    from robustest.data.coding import Coding

_COMMON: tuple[Family, ...] = (
    *(pixels.gaussian_noise, pixels.shot_noise, pixels.impulse_noise),
    *(blur.defocus_blur, blur.glass_blur, blur.motion_blur, blur.zoom_blur),
    *(weather.snow, weather.frost, weather.fog, pixels.brightness),
    *(pixels.contrast, pixels.elastic_transform, pixels.pixelate, pixels.jpeg_compression),
)

_EXTRA: tuple[Family, ...] = (pixels.speckle_noise, blur.gaussian_blur, weather.spatter, pixels.saturate)

_BEYOND: tuple[Family, ...] = (
    *(geometric.rotation, geometric.translation, geometric.scale),
    *(geometric.shear, geometric.perspective, geometric.crop),
    *(pixels.hue, pixels.gamma, pixels.channel_swap),
    *(pixels.occlusion, pixels.resolution),
)

COMMON_CORRUPTIONS = tuple(each.__name__ for each in _COMMON)
"""The 15 corruptions of ImageNet-C's benchmark (over which mCE is the mean), in its order."""

EXTRA_CORRUPTIONS = tuple(each.__name__ for each in _EXTRA)
"""The 4 corruptions that ImageNet-C keeps apart, for tuning."""

CORRUPTIONS = COMMON_CORRUPTIONS + EXTRA_CORRUPTIONS
"""All 19 corruptions of ImageNet-C, in its order."""

SHIFTS: dict[str, Family] = {each.__name__: each for each in (*_COMMON, *_EXTRA, *_BEYOND)}
"""The built-in shifts of images by name."""

SIGNALS: dict[str, SignalFamily] = {each.name: each for each in (*AUDIO, *SERIES)}
"""The built-in shifts of waveforms and series by name."""

ShiftFunction = Callable[..., Tensor]
"""Maps x (N, *S), in input units and inside the bounds, to shifted inputs of the same shape and units.

After x it may take a severity 1..5, and keys (N,) int64 from which it draws, in this order or by the names `severity`
and `key`; also `bounds`, the pair (lowest, highest) input value, `parameters`, "auto", "224", "64" or "32", and
`sample_rate`, in Hz, or None where the data have none.
"""


_BUILT_IN: dict[str, ShiftFunction] = {**SHIFTS, **SIGNALS, **TEXT_SHIFTS}  # type: ignore[dict-item]


class ShiftedInputs(NamedTuple):
    """Inputs after a shift.

    Attributes:
        x: (N, *S); of data that are no tensors, in a shape that may differ from that of the samples.
        moved: (N,) bool, True where a sample changed by more than rounding.
        cut: (N,) bool, True where clipping to the bounds left nothing of the change; usually its units were wrong.
        size: (N,) float64 sizes that arrive inside the bounds, of a change of signals that promises one; else None.
    """

    x: Tensor
    moved: Tensor
    cut: Tensor
    size: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Shift:
    """A shift at a severity.

    Args:
        name: one of `SHIFTS` or `SIGNALS`, a pack's shift (`robustest.extensions`), or the name of `function`.
        severity: 1 (mild) to 5 (severe); ignored by a function that takes none.
        function: a `ShiftFunction`; None looks `name` up.
        parameters: one of ImageNet-C's sets, "224", "64" or "32"; "auto" chooses by the image's size.

    Raises:
        UnknownNameError: no shift has this name.
        ConfigError: severity or `parameters` is out of range, or the shift has no such sets.
    """

    name: str
    severity: int = 3
    function: ShiftFunction | None = field(default=None, repr=False)  # its repr would show a memory address
    parameters: str = "auto"

    def __post_init__(self) -> None:
        checked_severity(self.severity)
        if self.function is None:
            object.__setattr__(self, "function", _function_by_name(self.name))
        # Refuse a function with more required arguments before any work.
        _arguments(self.function, self._values(None, (0.0, 1.0)))
        require(self.parameters in PARAMETERS, 'parameters to be "auto", "224", "64" or "32"', self.parameters)
        if self.parameters != "auto" and not self._takes("parameters"):
            raise ConfigError(f"Expected no parameters for the shift {self.name!r}, which has no sets to choose from.")

    def __str__(self) -> str:
        return self.name if self.level is None else f"{self.name}, severity {self.severity}"

    @property
    def variation(self) -> Variation:
        level = {} if self.level is None else {"severity": self.severity}
        chosen = {} if self.parameters == "auto" else {"parameters": self.parameters}
        return Variation(self.name, level | chosen, axis="severity" if level else None)

    @property
    def level(self) -> int | None:
        return self.severity if self._takes("severity") else None

    def apply(self, x: Tensor, key: Tensor, bounds: tuple[float, float], sample_rate: int | None = None) -> Tensor:
        """Return shifted inputs inside the bounds.

        Args:
            x: (N, *S) inside the bounds; images for the shifts of `SHIFTS`, (N, T) or (N, C, T) for `SIGNALS`.
            key: (N,) keys of the samples' randomness.
            sample_rate: of waveforms, in Hz.

        Raises:
            ConfigError: a shift of `SHIFTS` and no images, or one of `SIGNALS` and no signals.
            ModelError: the shift changed the shape or gave NaN.
        """
        return self._applied(x, key, bounds, sample_rate)[0]

    def shifted(
        self,
        x: Tensor,
        key: Tensor,
        bounds: tuple[float, float],
        coding: Coding | None = None,
        sample_rate: int | None = None,
    ) -> ShiftedInputs:
        """Return shifted inputs as `apply` does, with the samples that the shift changed.

        Args:
            coding: of samples that are no tensors: the function receives and returns the user's own format.
        """
        if coding is not None:
            return self._coded(x, key, coding)
        after, beyond, size = self._applied(x, key, bounds, sample_rate)
        moved = moved_rows(x, after)
        if beyond is None:
            return ShiftedInputs(after, moved, torch.zeros_like(moved), size)
        # Nothing is left of a change whose elements were all beyond the bounds.
        flat = after.flatten(1)
        gone = (beyond | (flat == x.flatten(1))).all(1)
        # A function made for [0, 1] turns decibels into 0, their upper bound, without ever leaving the bounds.
        blank = ((flat == bounds[0]).all(1) | (flat == bounds[1]).all(1)) & (flat.shape[1] > 1)
        return ShiftedInputs(after, moved, moved & (gone | blank), size)

    def _applied(
        self, x: Tensor, key: Tensor, bounds: tuple[float, float], sample_rate: int | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        # Shifted inputs; (N, D) bool, elements that a function other than of `SHIFTS` left outside the bounds; the size
        # that arrives, (N,), of a change of signals that promises one.
        function = self.function or _function_by_name(self.name)
        args, kwargs = _arguments(function, self._values(key, bounds, sample_rate))
        low, high = bounds
        builtin = family_name(function) is not None
        require(not is_text_shift(function), f"texts for the shift {self.name!r}", tuple(x.shape))
        if not builtin:
            unit = x.clone()  # a user's function may write on its argument
        elif x.ndim != 4:
            mend = "A function of your own may shift samples of any shape."
            raise ConfigError(expected("images of shape (N, C, H, W) for a shift", tuple(x.shape), mend))
        else:
            unit = x if bounds == (0.0, 1.0) else (x - low) / (high - low)
        change, size = self.signal_change, None
        shifted: object
        if change is None:
            shifted = function(unit, *args, **kwargs)
        else:
            shifted, size = change.after(x, key, sample_rate, bounds)
        if not isinstance(shifted, Tensor) or shifted.shape != x.shape:
            got = f"shape {tuple(shifted.shape)}" if isinstance(shifted, Tensor) else type(shifted).__name__
        elif builtin:
            inside = shifted if bounds == (0.0, 1.0) else (shifted * (high - low) + low).to(x.dtype).clamp_(low, high)
            return inside, None, None
        elif not bool(torch.isfinite(shifted).all()):
            got = "NaN or infinite values"
        else:
            made = shifted.to(x.dtype)
            return made.clamp(low, high), ((made < low) | (made > high)).flatten(1), size
        raise ModelError(
            f"Expected the shift {self.name!r} to give finite inputs of shape {tuple(x.shape)} but got {got}. "
            "Return a tensor of floats in the units and the shape that the function gets."
        )

    @property
    def signal_change(self) -> SignalChange | None:
        """The change of signals that this shift is; None for other shifts."""
        function = self.function or _function_by_name(self.name)
        change = function.at(self.severity) if isinstance(function, SignalFamily) else function
        return change if isinstance(change, SignalChange) else None

    def of_values(self, values: Any, key: Tensor) -> Any:
        """Return shifted samples that are no tensors, in their own format, such as a list of texts.

        Args:
            values: n samples, in the user's format.
            key: (n,) keys of the samples' randomness.

        Raises:
            ConfigError: a shift of images, signals or texts, and other data.
        """
        function = self.function or _function_by_name(self.name)
        if family_name(function) is not None:
            mend = f"Images alone have this shift. Texts have {', '.join(TEXT_SHIFTS)}, or a function of your own."
            raise ConfigError(expected("images of shape (N, C, H, W) for a shift", "data that are no tensors", mend))
        if isinstance(function, (SignalFamily, SignalChange)):
            raise ConfigError(expected(f"signals (N, T) or (N, C, T) for {self.name}", "data that are no tensors"))
        if is_text_shift(function) and not isinstance(values[0], str):
            raise ConfigError(expected(f"texts for the shift {self.name!r}", type(values[0]).__name__))
        args, kwargs = _arguments(function, self._values(key, (0.0, 1.0)))
        return function(values, *args, **kwargs)

    def _coded(self, x: Tensor, key: Tensor, coding: Coding) -> ShiftedInputs:
        given = coding.decode(x)
        order = index_of(given)
        made = self.of_values(given, key)
        if is_permuted(order, index_of(made)):
            raise ModelError(
                f"Expected the shift {self.name!r} to leave rows in the order of their labels but got them in another. "
                "Write .sort_index() at its end."
            )
        try:
            after = coding.encode(made)
        except DataError as error:
            raise ModelError(
                f"Expected the shift {self.name!r} to return the format that it receives. {error}"
            ) from error
        if len(after) != len(x):
            raise ModelError(
                f"Expected the shift {self.name!r} to give {len(x)} samples, one for each, but got {len(after)}."
            )
        same = zip(coding.identities(x), coding.identities(after), strict=True)
        moved = torch.tensor([before != now for before, now in same], dtype=torch.bool, device=x.device)
        # No bounds cut anything off.
        return ShiftedInputs(after.to(x), moved, torch.zeros_like(moved))

    def _takes(self, name: str) -> bool:
        # True if the function would get the value of this name: a severity, key, parameters or bounds.
        probe = object()
        args, kwargs = _arguments(self.function, {**self._values(None, (0.0, 1.0)), name: probe})
        return any(value is probe for value in (*args, *kwargs.values()))

    def _values(
        self, key: Tensor | None, bounds: tuple[float, float], sample_rate: int | None = None
    ) -> dict[str, object]:
        values = {"severity": self.severity, "key": key, "parameters": self.parameters}
        return {**values, "bounds": bounds, "sample_rate": sample_rate}


def corrupt(
    x: Tensor,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    ids: Tensor | Sequence[int] | None = None,
    parameters: str = "auto",
    bounds: tuple[float, float] = (0.0, 1.0),
    sample_rate: int | None = None,
) -> Tensor:
    """Return corrupted samples inside the bounds, the same that a test under this seed uses.

    Each sample's randomness depends on the seed and its index alone: the batch, its order and the device do not matter.

    Args:
        x: floats inside the bounds, on any device; not changed: images (N, C, H, W), or (N, T) or (N, C, T) for the
            shifts of `SIGNALS`.
        name: one of `CORRUPTIONS`, or of any other shift.
        severity: 1 (mild) to 5 (severe).
        ids: (N,) the samples' indices in the data; None means 0..N-1.
        parameters: one of ImageNet-C's sets, "224", "64" or "32"; "auto" takes the first for images whose longer side
            has 65 pixels or more, the second from 49 pixels on.
        sample_rate: of waveforms, in Hz, for shifts with times or frequencies.

    Raises:
        UnknownNameError: no shift has this name.
        ConfigError: another argument is out of range, or ids are not one for each sample.
    """
    shift = Shift(name, severity, parameters=parameters)
    axes, shape = ((2, 3), "(N, T) or (N, C, T)") if name in SIGNALS else ((4,), "(N, C, H, W)")
    if not isinstance(x, Tensor) or x.ndim not in axes or not x.is_floating_point():
        got = f"{tuple(x.shape)}, {x.dtype}" if isinstance(x, Tensor) else x
        raise ConfigError(expected(f"a tensor of floats of shape {shape}", got))
    index = torch.arange(len(x)) if ids is None else torch.as_tensor(ids, dtype=torch.int64)
    require(index.shape == (len(x),), f"ids of shape ({len(x)},), one for each sample", tuple(index.shape))
    return shift.apply(x, rng.keys(seed, index.to(x.device)), bounds, sample_rate)


def as_shift(shift: str | Shift | ShiftFunction, severity: int | None) -> Shift:
    """Return the `Shift` of a name, a function or a `Shift`; severity None means its own, or 3.

    Raises:
        ConfigError: neither a name nor a function, or a severity that is not 1..5.
    """
    if isinstance(shift, Shift):
        return shift if severity is None else Shift(shift.name, severity, shift.function, shift.parameters)
    level = 3 if severity is None else severity
    if isinstance(shift, str):
        return Shift(shift, level)
    if not callable(shift) or isinstance(shift, type):
        given: object = shift
        mend = ""
        if isinstance(given, type):
            mend = "This is a class: make an instance of it, with its arguments."
        elif isinstance(given, (list, tuple)):
            mend = 'Write a claim for each: @pytest.mark.parametrize("shift", [...]).'
        raise ConfigError(expected("a shift's name, a Shift, or a function of (x, severity, key)", shift, mend))
    return Shift(_name_of(shift), level, shift)


def requested_shift(shift: str | Shift | ShiftFunction, severity: int | None) -> Shift:
    """Return the shift of an assertion's arguments.

    Raises:
        ConfigError: as for `as_shift`; or a severity is given and the function takes none.
    """
    chosen = as_shift(shift, severity)
    if severity is not None and chosen.level is None:
        mend = "Leave severity= out, or give the function an argument `severity`."
        got = f"no severity for the shift {chosen.name!r}, which does not ask for one"
        raise ConfigError(expected(got, severity, mend))
    return chosen


def family_name(function: ShiftFunction | None) -> str | None:
    """Return the name in `SHIFTS` of a function, also behind `partial`; else None."""
    while isinstance(function, functools.partial):
        function = function.func
    return next((name for name, family in SHIFTS.items() if family is function), None)


def shift_names() -> list[str]:
    """Return the names of all shifts: built-in ones, and those of installed packs."""
    return [*_BUILT_IN, *extensions.by_name("robustest_shifts", "shift", _BUILT_IN)]


def _function_by_name(name: str) -> ShiftFunction:
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    brought = extensions.by_name("robustest_shifts", "shift", _BUILT_IN)
    if name not in brought:
        raise unknown("shift", name, [*_BUILT_IN, *brought])
    function: ShiftFunction = brought[name].value
    return function


def _name_of(function: ShiftFunction) -> str:
    # Two partials of one function differ in name, by the arguments that they fix.
    if isinstance(function, functools.partial):
        fixed = [*map(_short, function.args), *(f"{name}={_short(value)}" for name, value in function.keywords.items())]
        return f"{_name_of(function.func)}({', '.join(fixed)})"
    name = getattr(function, "__name__", None)
    if name is not None:
        return str(name)
    # Two data classes with other numbers are two shifts; the class may name units: `units = {"gain": "dB"}`.
    value: Any = function
    numbers = [each.name for each in fields(value)] if is_dataclass(value) else []
    units = getattr(value, "units", {})
    parts = [f"{each}={_short(getattr(value, each))} {units.get(each, '')}".rstrip() for each in numbers]
    return f"{type(function).__name__}({', '.join(parts)})" if parts else type(function).__name__


def _short(value: object) -> str:
    # The repr of any other value may be long or show a memory address.
    return repr(value) if isinstance(value, (bool, int, float, str, tuple)) else type(value).__name__


def _arguments(function: ShiftFunction | None, values: dict[str, object]) -> tuple[list[object], dict[str, object]]:
    try:
        wanted = _parameters(function)
    except TypeError:  # cannot be hashed, as instances of data classes that are not frozen
        wanted = _parameters.__wrapped__(function)
    # Arguments whose names are in `values` get those; required arguments of other names get the severity and the key,
    # in this order.
    named = values.keys() & {each.name for each in wanted if each.kind is not each.POSITIONAL_ONLY}
    rest = [values[name] for name in ("severity", "key") if name not in named]
    args: list[object] = []
    kwargs: dict[str, object] = {}
    for each in wanted:
        if each.name in named:
            kwargs[each.name] = values[each.name]
        elif each.default is each.empty:
            if not rest:
                names = ", ".join(str(argument) for argument in wanted)
                raise ConfigError(f"Expected a function of (x, severity, key) or fewer but got one of (x, {names}).")
            if each.kind is each.POSITIONAL_ONLY:
                args.append(rest.pop(0))
            else:
                kwargs[each.name] = rest.pop(0)
    return args, kwargs


@functools.lru_cache(maxsize=128)
def _parameters(function: ShiftFunction | None) -> list[inspect.Parameter]:
    # A module is called through its forward, whose arguments its own signature hides.
    target = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        wanted = list(inspect.signature(target).parameters.values()) if target is not None else []
    except (TypeError, ValueError):  # built in C, without a signature
        return []
    # An argument that `partial` fixes by name stays in its signature, with a default.
    fixed = function.keywords if isinstance(function, functools.partial) else {}
    return [
        each
        for each in wanted[1:]
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) and each.name not in fixed
    ]


# ---- targets that are places in an image follow where a shift moves the pixels
#
# The shift is applied to pictures of the row r, of the column c and of 1. Bilinear sampling with black outside turns
# them into w r, w c and w, with w the part of a pixel that comes from inside; so w r / w and w c / w are the pixel's
# source. A user's function may fill with another value: f(p) - f(-p), of a picture and its negative, is free of any
# constant filling.

MOVING = frozenset({"rotation", "translation", "scale", "shear", "perspective", "crop", "elastic_transform"})
"""The built-in shifts that move things."""


def follow_targets(
    task: Task, shift: Shift, x: Tensor, y: Tensor, key: Tensor, *, bounds: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Return the targets (N, *T) of shifted images.

    Args:
        x: (N, C, H, W) images before the shift; any number of axes, the last two are rows and columns.
        y: (N, *T) their targets.
        key: (N,) keys of the samples' randomness, as the shift gets them.

    Raises:
        ConfigError: a user's function does not declare if it moves things, or the targets cannot follow.
    """
    if not task.placed:
        return y
    parts = getattr(shift.function, "in_turn", None)
    if parts is not None:  # several shifts one after the other: each is followed on the result of the last
        for part, own in parts(key):
            y = follow_targets(task, part, x, y, own, bounds=bounds)
            x = part.apply(x, own, bounds)
        return y
    if not _moves(shift, task):
        return y
    (low, high), (height, width) = bounds, x.shape[-2:]
    row = torch.linspace(-1, 1, height, device=x.device).view(-1, 1).expand(height, width)
    column = torch.linspace(-1, 1, width, device=x.device).expand(height, width)
    pictures = torch.stack([row, column, torch.ones_like(row)])
    if family_name(shift.function) is not None:
        raised = torch.cat([(pictures[:2] + 1) / 2, pictures[2:]])  # inside [0, 1], as channels of one image
        read = shift.apply(raised.expand(len(x), -1, -1, -1), key, (0.0, 1.0))
        weight = read[:, 2]
        places = read[:, :2] / _above_zero(weight)
    else:
        halves = [(picture * ((high - low) / 2)).to(x).expand(x.shape) for picture in pictures]
        middle = (low + high) / 2
        apart = [shift.apply(middle + half, key, bounds) - shift.apply(middle - half, key, bounds) for half in halves]
        read = torch.stack([one.reshape(len(x), -1, height, width)[:, 0] for one in apart], 1) / (high - low)
        weight = read[:, 2]
        places = (read[:, :2] / _above_zero(weight) + 1) / 2
    size = torch.tensor([height - 1.0, width - 1.0], device=x.device).view(1, 2, 1, 1)
    return task.moved(y, places * size, weight >= 0.5)


def _above_zero(weight: Tensor) -> Tensor:
    return weight.clamp(min=torch.finfo(weight.dtype).tiny).unsqueeze(1)


def _moves(shift: Shift, task: Task) -> bool:
    family = family_name(shift.function)
    if family is not None:
        return family in MOVING
    function = shift.function
    while isinstance(function, functools.partial) and not hasattr(function, "moves"):
        function = function.func
    declared = getattr(function, "moves", None)
    if type(declared) is not bool:
        raise ConfigError(
            f"Expected the shift {shift.name!r} to say whether it moves things, as the targets of {task.name} would "
            "have to follow, but it does not. Set the function's attribute `moves`: False where every pixel stays, "
            "True where it does nothing but move pixels, the same way in all channels."
        )
    return declared
