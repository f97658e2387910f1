from __future__ import annotations

import numpy as np
import pytest
import torch
from rig_scene import rig_lens

from nf_plugins.data.dynamic_dataset import _overlaps, area_average
from nf_plugins.data.prepared_images import (
    ImagePreparation,
    centre_crop,
    prepare_image,
    prepared_lens,
    reduced_size,
    require_undistortable_image,
)
from nf_plugins.data.transforms_json import Lens
from nf_plugins.data.triangulation import undistort_plane
from nf_plugins.errors import InputError

DISTORTION = (-0.3, 0.1, 0.004, -0.003, 0.02)


def plane_picture(lens: Lens) -> np.ndarray:
    """An image (H, W, 2) whose values are the coordinates on the plane at depth 1 that each pixel sees."""
    columns, rows = np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5)
    k1, k2, k3, _, p1, p2 = lens.distortion
    seen = np.stack([(columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy], axis=-1)
    return undistort_plane(seen, np.array([k1, k2, p1, p2, k3]))


def test_undistorted_pictures_are_those_of_a_pinhole() -> None:
    lens, pinhole = rig_lens(128, (-0.9, 0.2, 0.012, -0.01, 0.05)), rig_lens(128)
    crop = (0, 0, 128, 160)
    seen = torch.from_numpy(plane_picture(lens)).float()
    prepared = prepare_image(seen, lens, undistort=True, ratio=1.0, crop=crop).numpy()
    expected = plane_picture(pinhole)
    inside = np.s_[5:-5, 5:-5]
    assert np.abs(pinhole.fx * (prepared - expected)[inside]).max() < 0.05, "pixels"
    assert np.abs(pinhole.fx * (seen.numpy() - expected)[inside]).max() > 10, "the lens matters"
    reduced = prepare_image(seen, lens, undistort=True, ratio=0.375, crop=(0, 0, 48, 60)).numpy()
    expected = plane_picture(prepared_lens(lens, True, 0.375, (0, 0, 48, 60)))
    assert np.abs(0.375 * pinhole.fx * (reduced - expected)[3:-3, 3:-3]).max() < 0.05


def test_borders() -> None:
    """A pincushion's picture, undistorted, has pixels that the old one does not have."""
    lens = rig_lens(32, (-0.5, 0, 0, 0, 0))
    ones = torch.ones(32, 40, 1)
    whole = {"undistort": True, "ratio": 1.0, "crop": (0, 0, 32, 40)}
    assert float(prepare_image(ones, lens, **whole).min()) == 1  # type: ignore[arg-type]
    wide = rig_lens(32, (0.5, 0, 0, 0, 0))
    assert float(prepare_image(ones, wide, **whole, border="zero").min()) == 0  # type: ignore[arg-type]
    assert float(prepare_image(ones, wide, **whole).min()) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("ratio", [0.5, 0.375, 0.3])
@pytest.mark.parametrize("crop_size", [None, (8, 7)])
def test_a_point_stays_where_the_lens_says(ratio: float, crop_size: tuple[int, int] | None) -> None:
    lens = Lens(width=64, height=48, fx=70.0, fy=71.0, cx=31.3, cy=25.1)
    size = reduced_size(lens.height, lens.width, ratio)
    crop = centre_crop(size, crop_size)
    small = prepared_lens(lens, True, ratio, crop)
    assert (small.height, small.width) == (crop_size or size)
    # A broad, smooth spot: its centre of mass is its place.
    point = np.array([0.02, -0.03])
    place = point * (lens.fx, lens.fy) + (lens.cx, lens.cy)
    rows, columns = np.mgrid[:48, :64] + 0.5
    spot = np.exp(-((columns - place[0]) ** 2 + (rows - place[1]) ** 2) / 8).astype(np.float32)
    preparation = ImagePreparation([lens], True, [ratio], [crop])
    prepared = preparation.apply(0, torch.from_numpy(spot)[..., None])[..., 0].double().numpy()
    assert preparation.lens(0) == small
    assert prepared.shape == (small.height, small.width)
    if crop_size is None:
        rows, columns = np.mgrid[: small.height, : small.width] + 0.5
        found = np.array([(columns * prepared).sum(), (rows * prepared).sum()]) / prepared.sum()
        np.testing.assert_allclose(found, point * (small.fx, small.fy) + (small.cx, small.cy), atol=1e-2)
    else:
        whole = ImagePreparation([lens], True, [ratio], [centre_crop(size, None)])
        uncropped = whole.apply(0, torch.from_numpy(spot)[..., None])[..., 0].numpy()
        top, left = (size[0] - 8) // 2, (size[1] - 7) // 2
        np.testing.assert_array_equal(uncropped[top : top + 8, left : left + 7], prepared.astype(np.float32))
        assert (small.cx, small.cy) == pytest.approx((ratio * lens.cx - left, ratio * lens.cy - top))


@pytest.mark.parametrize("scale", [0.375, 0.7, 0.21, 1.5])
def test_averages_are_those_of_a_matrix_of_overlaps(scale: float) -> None:
    image = torch.rand(31, 44, 3, generator=torch.Generator().manual_seed(0))
    size = reduced_size(31, 44, scale)
    expected = torch.einsum("ij,jkc,lk->ilc", _overlaps(size[0], 31, scale), image, _overlaps(size[1], 44, scale))
    torch.testing.assert_close(area_average(image, scale, size), expected)


def test_sizes_do_not_lose_a_pixel_to_rounding() -> None:
    assert [reduced_size(30 * n, 70 * n, 1 / n) for n in (1, 3, 7, 10)] == [(30, 70)] * 4


def test_crops_that_do_not_fit() -> None:
    assert centre_crop((11, 10), (4, 5)) == (3, 2, 4, 5)
    with pytest.raises(InputError, match=r"--crop-size 12 5 does not fit into camera 7 of 10x11 pixels"):
        centre_crop((11, 10), (12, 5), "camera 7")


def test_too_strong_distortion() -> None:
    require_undistortable_image(rig_lens(32, DISTORTION), "camera 00")
    require_undistortable_image(rig_lens(32, (0.9, 0, 0, 0, 0)), "camera 00")
    with pytest.raises(InputError, match=r"camera 00 is too strong to undistort.*--undistort False"):
        require_undistortable_image(rig_lens(32, (-2.5, 0, 0, 0, 0)), "camera 00")
