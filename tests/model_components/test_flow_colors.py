from __future__ import annotations

import torch

from nf_plugins.model_components.flow_colors import flow_colors


def test_rest_is_white_and_opposite_ways_are_complements() -> None:
    assert flow_colors(torch.zeros(2, 2), 1.0).tolist() == [[1.0] * 3] * 2
    flow = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    flow = flow / flow.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(flow_colors(flow, 1.0) + flow_colors(-flow, 1.0), torch.ones(64, 3))


def test_right_is_red_and_length_is_saturation() -> None:
    assert flow_colors(torch.tensor([2.0, 0.0]), 2.0).tolist() == [1.0, 0.0, 0.0]
    assert flow_colors(torch.tensor([1.0, 0.0]), 2.0).tolist() == [1.0, 0.5, 0.5]
    assert torch.equal(flow_colors(torch.tensor([9.0, 3.0]), 2.0), flow_colors(torch.tensor([90.0, 30.0]), 2.0))
    torch.testing.assert_close(
        flow_colors(torch.tensor([[0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]), 1.0),
        torch.tensor([[0.5, 1.0, 0.0], [0.0, 1.0, 1.0], [0.5, 0.0, 1.0]]),
    )
