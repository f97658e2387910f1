import pytest
import torch

from nf_plugins.field_components.volume_regulariser import VolumeRegulariser


def test_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in VolumeRegulariser(32).parameters()) == 297_432


@pytest.mark.parametrize("size", [(8, 8, 8), (9, 5, 12), (2, 1, 1), (16, 8, 24)])
def test_any_size_comes_back(size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    logits, features = VolumeRegulariser(4)(torch.rand(4, *size))
    assert logits.shape == size and features.shape == (8, *size)
    assert torch.isfinite(logits).all() and torch.isfinite(features).all()


def test_padding_repeats_the_border() -> None:
    torch.manual_seed(0)
    regulariser, volume = VolumeRegulariser(2), torch.rand(2, 8, 8, 6)
    padded = torch.cat([volume, volume[..., -1:], volume[..., -1:]], dim=-1)
    torch.testing.assert_close(regulariser(volume)[0], regulariser(padded)[0][..., :6])


def test_every_layer_learns() -> None:
    torch.manual_seed(0)
    regulariser = VolumeRegulariser(4)
    logits, _ = regulariser(torch.rand(4, 16, 16, 16))
    logits.square().sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in regulariser.parameters())
