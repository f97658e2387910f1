"""LPIPS with and without weights; no test asks the network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nf_plugins.evaluation import lpips as lpips_module
from nf_plugins.evaluation.lpips import LazyLPIPS, require_answer


class MeanDifference(torch.nn.Module):
    """A stand-in for the network: a distance map that is the absolute difference."""

    spatial = False

    def forward(self, first: Tensor, second: Tensor, normalize: bool) -> Tensor:
        assert normalize
        distance = (first - second).abs().mean(dim=1, keepdim=True)
        return distance if self.spatial else distance.mean(dim=(2, 3), keepdim=True)


def test_without_weights_one_line_and_none_ever_after(monkeypatch, capsys) -> None:
    attempts = []

    def refuse(self) -> None:
        attempts.append(self)
        raise ConnectionError("no route to the weights")

    monkeypatch.setattr(LazyLPIPS, "_build", refuse)
    metric, image = LazyLPIPS(), torch.rand(64, 64, 3)
    assert metric.available is None
    assert [metric(image, image) for _ in range(3)] == [None] * 3
    output = capsys.readouterr().out
    assert output.count("LPIPS is left out") == 1 and "no route to the weights" in output
    assert len(attempts) == 1 and metric.available is False


def test_nothing_is_fetched_from_a_host_that_does_not_answer(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(lpips_module, "backbone_url", lambda net_type: "http://127.0.0.1:9/alexnet.pth")
    image = torch.rand(64, 64, 3)
    assert LazyLPIPS()(image, image) is None
    assert "127.0.0.1:9" in capsys.readouterr().out
    with pytest.raises(ConnectionError, match="127.0.0.1:9"):
        require_answer("http://127.0.0.1:9/alexnet.pth")


def test_masked_distance_is_the_map_averaged_over_the_mask(monkeypatch) -> None:
    monkeypatch.setattr(LazyLPIPS, "_build", lambda self: MeanDifference())
    truth = torch.full((64, 64, 3), 0.2)
    rendered = truth.clone()
    rendered[:16] += 0.4
    mask = torch.zeros(64, 64, 1)
    mask[:32] = 1.0
    metric = LazyLPIPS()
    assert metric(rendered, truth) == pytest.approx(0.1, abs=1e-6)
    assert metric(rendered, truth, mask) == pytest.approx(0.2, abs=1e-6)
    assert metric(rendered, truth) == pytest.approx(0.1, abs=1e-6)
    assert metric(rendered, truth, torch.zeros(64, 64, 1)) is None


def test_images_too_small_for_the_backbone_are_left_out_without_building(monkeypatch) -> None:
    monkeypatch.setattr(LazyLPIPS, "_build", lambda self: pytest.fail("built for nothing"))
    assert LazyLPIPS()(torch.rand(24, 24, 3), torch.rand(24, 24, 3)) is None


def test_torchmetrics_keeps_the_switch_between_map_and_mean() -> None:
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    network = _NoTrainLpips(net="alex", pnet_rand=True)
    image = torch.rand(1, 3, 64, 64)
    assert hasattr(network, "spatial")
    network.spatial = True
    assert network(image, image, normalize=True).shape == (1, 1, 64, 64)
