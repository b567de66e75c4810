"""Which numbers the encoder computes in."""

from typing import Literal

import torch

PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Mixed precision on one device: where to autocast, and whether gradients need scaling (fp16 only)."""

    def __init__(self, name: PrecisionName, device: torch.device) -> None:
        """`auto` is float32 on a CPU, and on a GPU bfloat16 where it is supported, else float16."""
        if name == "auto":
            name = _best_on(device)
        self.name = name
        self._device = device

    def autocast(self) -> torch.autocast:
        """A context for forward passes."""
        half = _HALF.get(self.name)
        return torch.autocast(self._device.type, dtype=half, enabled=half is not None)

    def make_scaler(self) -> torch.amp.GradScaler:
        """A gradient scaler; it does nothing except for float16, whose small gradients would become 0."""
        return torch.amp.GradScaler(self._device.type, enabled=self.name == "fp16")


def best_device() -> torch.device:
    """The first GPU that this process may use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _best_on(device: torch.device) -> PrecisionName:
    if device.type == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
