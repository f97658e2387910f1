import pytest
import torch
from torch import Tensor, nn

from nf_plugins.errors import InputError
from nf_plugins.field_components.feature_pyramid import FeaturePyramid


def two_pictures(height: int = 16, width: int = 24) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    colour = torch.stack([columns / 23, rows / 15, (columns + rows) / 38])
    return torch.stack([colour, 0.9 * colour])


@torch.no_grad()
def fill(pyramid: FeaturePyramid) -> FeaturePyramid:
    for module in pyramid.modules():
        if isinstance(module, nn.Conv2d):
            values = 0.1 * torch.sin(0.37 * torch.arange(module.weight.numel()).float())
            module.weight.copy_(values.view_as(module.weight))
            if module.bias is not None:
                module.bias.zero_()
    return pyramid


def test_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in FeaturePyramid().parameters()) == 37_136


def test_published_values_of_fixed_weights() -> None:
    with torch.no_grad():
        features = fill(FeaturePyramid())(2 * two_pictures() - 1)
    assert [tuple(level.shape) for level in features] == [(2, 8, 16, 24), (2, 16, 8, 12), (2, 32, 4, 6)]
    moments = [(0.626733, 1.168035), (-0.022029, 0.116161), (0.003580, 0.432761)]
    for level, (mean, std) in zip(features, moments, strict=True):
        assert float(level.mean()) == pytest.approx(mean, abs=1e-4)
        assert float(level.std()) == pytest.approx(std, abs=1e-4)
    expected = torch.tensor([1.436299, 1.466055, 1.401624, 1.247146, 1.012547, 0.712894, 0.367443, -0.001619])
    torch.testing.assert_close(features[0][0, :, 3, 5], expected, atol=1e-4, rtol=0)


def test_images_do_not_see_each_other() -> None:
    pyramid, pictures = fill(FeaturePyramid()), 2 * two_pictures() - 1
    with torch.no_grad():
        both, alone = pyramid(pictures)[0], pyramid(pictures[1:])[0]
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=0)


def placed(top: int, left: int, canvas: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A subject of 16 x 24 pixels with a margin of its own, on white, and its mask."""
    image, mask = torch.ones(1, 3, *canvas), torch.zeros(1, 1, *canvas)
    image[..., top : top + 16, left : left + 24] = two_pictures()[:1]
    mask[..., top : top + 16, left : left + 24] = 1
    return 2 * image - 1, mask


@pytest.mark.parametrize(("normalisation", "is_independent"), [("masked", True), ("instance", False)])
def test_masked_features_do_not_depend_on_the_canvas(normalisation: str, is_independent: bool) -> None:
    pyramid = fill(FeaturePyramid(normalisation))  # type: ignore[arg-type]
    with torch.no_grad():
        for module in pyramid.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.fill_(0.3)
        small = pyramid(*placed(16, 16, (48, 56)))[0][..., 16:32, 16:40]
        large = pyramid(*placed(24, 20, (64, 80)))[0][..., 24:40, 20:44]
    assert bool((small - large).abs().max() < 1e-4) == is_independent


def test_empty_mask_gives_finite_features() -> None:
    image, mask = placed(16, 16, (48, 56))
    features = FeaturePyramid("masked")(image, torch.zeros_like(mask))
    assert all(torch.isfinite(level).all() for level in features)


def test_sizes_that_do_not_fit_and_missing_masks_are_refused() -> None:
    with pytest.raises(InputError, match=r"26x16.*multiples of 4"):
        FeaturePyramid()(torch.zeros(1, 3, 16, 26))
    with pytest.raises(InputError, match="needs masks"):
        FeaturePyramid("masked")(torch.zeros(1, 3, 16, 24))
