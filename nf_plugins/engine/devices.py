"""Which device a run uses when nobody says."""

from __future__ import annotations

from typing import Literal

import torch
from nerfstudio.configs.base_config import MachineConfig


def best_device_type() -> Literal["cpu", "cuda", "mps"]:
    """``cuda`` where there is an NVIDIA GPU, else ``mps`` on Apple silicon, else ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def default_machine_config() -> MachineConfig:
    """nerfstudio's machine config with the device of this machine, so that ``ns-train METHOD`` needs no flag."""
    return MachineConfig(device_type=best_device_type())
