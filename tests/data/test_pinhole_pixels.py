from __future__ import annotations

import math
from dataclasses import replace

import cv2
import distorted_capture as capture
import numpy as np
import pytest
import torch

from nf_plugins.data.pinhole_pixels import (
    covering_pinhole,
    is_pinhole,
    largest_displacement,
    lens_of_camera,
    lens_pixels,
    pinhole_flow,
    pinhole_pixels,
    pixel_centres,
    sees,
    unknown_share,
)
from nf_plugins.data.transforms_json import Lens, nerfstudio_cameras

OPENCV = {"k1": -0.12, "k2": 0.05, "k3": -0.02, "p1": 0.003, "p2": -0.002}
BENT = Lens(64, 48, 40.0, 42.0, 30.0, 25.0, (-0.12, 0.05, -0.02, 0.0, 0.003, -0.002))
FISHEYE = Lens(64, 48, 40.0, 42.0, 30.0, 25.0, (-0.03, 0.01, -0.002, 0.001, 0.0, 0.0), fisheye=True)
PINHOLE = Lens(64, 48, 40.0, 42.0, 30.0, 25.0)


@pytest.mark.parametrize("lens", [BENT, FISHEYE, PINHOLE], ids=["opencv", "fisheye", "pinhole"])
def test_pinhole_pixels_are_where_nerfstudios_rays_go(lens: Lens) -> None:
    pixels, known = pinhole_pixels(pixel_centres(48, 64), lens)
    directions = nerfstudio_cameras(np.eye(4)[None, :3], [lens]).generate_rays(0).directions
    x, y = (directions[..., axis] / -directions[..., 2] for axis in (0, 1))
    expected = torch.stack([lens.cx + lens.fx * x, lens.cy - lens.fy * y], dim=-1)
    assert bool(known.all())
    torch.testing.assert_close(pixels, expected.double(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("lens", [BENT, FISHEYE], ids=["opencv", "fisheye"])
def test_there_and_back(lens: Lens) -> None:
    centres = pixel_centres(48, 64)
    there = pinhole_pixels(centres, lens)
    back = lens_pixels(there.pixels, lens)
    assert bool(back.known.all()) and float((there.pixels - centres).norm(dim=-1).max()) > 1.0
    torch.testing.assert_close(back.pixels, centres, atol=1e-8, rtol=0)


def test_they_are_opencvs() -> None:
    centres, lens = pixel_centres(48, 64), replace(BENT, fy=40.0)
    expected = capture.pinhole_pixels(centres.numpy(), OPENCV, 40.0, (30.0, 25.0))
    np.testing.assert_allclose(pinhole_pixels(centres, lens).pixels.numpy(), expected, atol=1e-6)
    matrix = np.array([[40.0, 0, 30], [0, 42, 25], [0, 0, 1]])
    flat = pinhole_pixels(centres, FISHEYE).pixels.numpy().reshape(-1, 2)
    points = np.concatenate([(flat - [30, 25]) / [40, 42], np.ones((len(flat), 1))], axis=1)
    seen, _ = cv2.fisheye.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), matrix, np.array(FISHEYE.distortion[:4])
    )
    np.testing.assert_allclose(seen[:, 0], centres.numpy().reshape(-1, 2), atol=1e-6)


def test_a_lens_of_cameras_is_the_lens_that_they_were_made_of() -> None:
    cameras = nerfstudio_cameras(np.stack([np.eye(4)[:3]] * 2), [FISHEYE, replace(FISHEYE, fx=41.0)])
    found = lens_of_camera(cameras, 1)
    assert found == replace(FISHEYE, fx=41.0, distortion=found.distortion)
    assert found.distortion == pytest.approx(FISHEYE.distortion, rel=1e-6) and not is_pinhole(found)
    assert lens_of_camera(nerfstudio_cameras(np.eye(4)[None, :3], [PINHOLE]), 0) == PINHOLE and is_pinhole(PINHOLE)


def test_flow_is_the_difference_of_pinhole_pixels_where_both_are_known() -> None:
    folding = Lens(64, 48, 40.0, 40.0, 32.0, 24.0, (-0.14, 0.0, 0.0, 0.0, 0.0, 0.0))
    centres = pixel_centres(48, 64)
    start = pinhole_pixels(centres, folding)
    assert bool(start.known.all())
    flow = torch.zeros(48, 64, 2)
    flow[..., 0] = 6.0
    valid = torch.ones(48, 64, 1)
    valid[3, 4] = 0
    found, still_valid = pinhole_flow(flow, valid, start, folding)
    end = pinhole_pixels(centres + torch.tensor([6.0, 0.0]), folding)
    assert not bool(end.known.all()), "some flow leaves what the lens describes"
    assert torch.equal(still_valid[..., 0] > 0, end.known & (valid[..., 0] > 0))
    known = end.known
    torch.testing.assert_close((start.pixels + found)[known], end.pixels[known], atol=1e-5, rtol=0)
    assert not bool(found[~known].any()) and found.dtype == torch.float32
    assert float(found[24, 60, 0]) > 7.0, "the rim of a barrel is compressed"


def test_what_covers_an_image_sees_all_of_it() -> None:
    assert covering_pinhole(PINHOLE) is PINHOLE
    for lens in (BENT, FISHEYE):
        cover = covering_pinhole(lens)
        assert is_pinhole(cover) and cover.fx == lens.fx
        shift = torch.tensor([cover.cx - lens.cx, cover.cy - lens.cy])
        corners = torch.tensor([[0.0, 0.0], [64.0, 0.0], [0.0, 48.0], [64.0, 48.0]])
        at = pinhole_pixels(corners, lens).pixels + shift
        assert bool((at > -1e-6).all()) and bool((at < torch.tensor([cover.width, cover.height]) + 1e-6).all())


def test_a_lens_sees_what_is_in_its_image() -> None:
    inside = pinhole_pixels(torch.tensor([[0.2, 0.2], [63.8, 47.8], [30.0, 20.0]]), BENT).pixels
    outside = pinhole_pixels(torch.tensor([[-0.2, 10.0], [20.0, 48.2]]), BENT).pixels
    assert sees(torch.cat([inside, outside]).numpy(), BENT).tolist() == [True] * 3 + [False] * 2
    # A pinhole of the same size would not.
    assert not sees(inside[:2].numpy(), PINHOLE).any()


def test_shares_and_displacements() -> None:
    assert unknown_share(PINHOLE) == unknown_share(BENT) == unknown_share(FISHEYE) == 0
    assert 0.2 < unknown_share(replace(FISHEYE, fx=20.0, fy=20.0)) < 0.8
    assert largest_displacement(PINHOLE) < 1e-12 and largest_displacement(BENT, BENT) == 0
    corner = pinhole_pixels(torch.tensor([64.0, 48.0]), BENT).pixels - torch.tensor([64.0, 48.0])
    assert largest_displacement(BENT) >= float(corner.norm()) > 1
    assert largest_displacement(replace(BENT, distortion=(-2.0, 0, 0, 0, 0, 0))) == math.inf
