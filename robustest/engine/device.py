"""Which device to measure on."""

from __future__ import annotations

import torch

from robustest.errors import DeviceError


def resolve(name: str, own: torch.device | None) -> torch.device:
    """The device a setting stands for.

    Args:
        name: "auto", "cpu", "cuda", "cuda:N", "cuda:all" (for this process, the first) or "mps".
        own: where the model is, if it has parameters. "auto" stays there unless that is the CPU and
            there is an accelerator.

    Raises:
        DeviceError: the device asked for is absent.
    """
    if name == "auto":
        if own is not None and own.type != "cpu":
            return own
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if name.startswith("cuda"):
        return _cuda(name.removesuffix(":all"))
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("Expected an Apple GPU for device 'mps' but got none. Use --robust-device=cpu or auto.")
    return torch.device(name)


def _cuda(name: str) -> torch.device:
    if not torch.cuda.is_available():
        raise DeviceError(
            f"Expected a CUDA device for {name!r} but this torch ({torch.__version__}) sees none. "
            "Use --robust-device=cpu or auto, or install a CUDA build of torch."
        )
    device = torch.device(name)
    index = device.index or 0
    if index >= torch.cuda.device_count():
        raise DeviceError(f"Expected a CUDA device below {torch.cuda.device_count()} but got {name!r}.")
    return torch.device("cuda", index)
