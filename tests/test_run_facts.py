"""What a training record and results say of a run alike."""

from __future__ import annotations

import pytest
import torch

from nf_plugins.run_facts import count_parameters, machine_name


def test_frozen_parameters_are_not_counted() -> None:
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert count_parameters(model) == 6


def test_the_machine_is_the_gpu_or_the_processor_with_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine_name("cpu").startswith("cpu: ") and f", {torch.get_num_threads()} threads" in machine_name("cpu")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {torch.device(device).index}")
    assert machine_name("cuda:1") == "GPU 1"
