"""What a training record and results say of a run alike: the machine, and the size of the model."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def machine_name(device: torch.device | str) -> str:
    """The GPU's name, or the processor's with its number of threads."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}: {_processor_name()}, {torch.get_num_threads()} threads"


def count_parameters(model: torch.nn.Module) -> int:
    """Trainable numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
