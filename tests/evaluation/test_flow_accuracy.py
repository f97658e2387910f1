"""End-point errors of a model's optical flow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nf_plugins.evaluation.flow_accuracy import end_point_errors, flow_accuracy


def test_a_constant_offset_is_its_length() -> None:
    truth = torch.randn(4, 6, 2, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(4, 6, 1)
    errors = end_point_errors(truth + torch.tensor([3.0, -4.0]), truth, valid, torch.ones(4, 6, 1))
    assert errors == {"epe": pytest.approx(5.0), "epe_dynamic": pytest.approx(5.0), "not_finite": 0}


def test_only_valid_pixels_count_and_only_moving_ones_in_the_dynamic_error() -> None:
    predicted = torch.zeros(2, 2, 2)
    predicted[0, 0, 0], predicted[0, 1, 0], predicted[1, 0, 0] = 2.0, 4.0, 100.0
    valid = torch.tensor([[1.0, 1.0], [0.0, 1.0]])[..., None]
    moving = torch.tensor([[0.0, 1.0], [1.0, 0.0]])[..., None]
    errors = end_point_errors(predicted, torch.zeros(2, 2, 2), valid, moving)
    assert errors == {"epe": pytest.approx(2.0), "epe_dynamic": pytest.approx(4.0), "not_finite": 0}
    assert end_point_errors(predicted, predicted, valid, torch.zeros(2, 2, 1))["epe_dynamic"] is None
    assert end_point_errors(predicted, predicted, 0 * valid, None) == {
        "epe": None, "epe_dynamic": None, "not_finite": 0,
    }  # fmt: skip


def test_what_the_model_cannot_see_is_counted_instead() -> None:
    predicted = torch.zeros(1, 3, 2)
    predicted[0, 0] = torch.inf
    predicted[0, 1, 0] = 3.0
    errors = end_point_errors(predicted, torch.zeros(1, 3, 2), torch.tensor([[[1.0], [1.0], [0.0]]]), None)
    assert errors == {"epe": 3.0, "epe_dynamic": None, "not_finite": 1}


class _Dataset:
    """Two frames whose true flow is (1, 0) forwards, and (-1, 0) backwards."""

    flow_filenames = ("forward", "backward")
    cameras = torch.arange(2)
    image_filenames = ("0.png", "1.png")

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}

    def __len__(self) -> int:
        return 2

    def get_data(self, index: int) -> dict[str, torch.Tensor]:
        ends = {"forward": index < 1, "backward": index > 0}
        data: dict[str, torch.Tensor] = {}
        for name, direction in (("forward", 1.0), ("backward", -1.0)):
            data[f"optical_flow_{name}"] = torch.tensor([direction, 0.0]).expand(3, 4, 2)
            data[f"optical_flow_{name}_valid"] = torch.full((3, 4, 1), float(ends[name]))
        return data


def _pipeline(**model: Any) -> Any:
    return SimpleNamespace(
        model=SimpleNamespace(**model),
        datamanager=SimpleNamespace(train_dataset=_Dataset()),
        training=True,
        device="cpu",
        eval=lambda: None,
        train=lambda mode: None,
    )


def test_neighbours_that_do_not_exist_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nf_plugins.evaluation.flow_accuracy.image_identity", lambda _, index: {"image_index": index})
    asked = []

    def predict(camera: torch.Tensor, direction: int) -> torch.Tensor:
        asked.append((int(camera), direction))
        return torch.zeros(3, 4, 2)

    result = flow_accuracy(_pipeline(optical_flow=predict))
    assert asked == [(0, 1), (1, -1)]
    assert result is not None and result["mean"] == {"epe": 1.0, "epe_dynamic": None}


def test_a_stride_leaves_frames_out_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nf_plugins.evaluation.flow_accuracy.image_identity", lambda _, index: {"image_index": index})
    model = {"optical_flow": lambda camera, direction: torch.zeros(3, 4, 2)}
    result = flow_accuracy(_pipeline(**model), image_stride=2)
    assert result is not None and [row["image_index"] for row in result["rows"]] == [0] and result["image_stride"] == 2
    everything = flow_accuracy(_pipeline(**model))
    assert everything is not None and len(everything["rows"]) == 2 and "image_stride" not in everything


def test_a_model_without_scene_flow_has_no_errors() -> None:
    assert flow_accuracy(_pipeline()) is None
