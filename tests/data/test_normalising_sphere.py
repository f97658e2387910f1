from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ball_capture import MIDDLE, OPENCV, RADIUS, photograph, ring_pose
from PIL import Image

from nf_plugins.data.camera_conventions import decompose_projection
from nf_plugins.data.normalising_sphere import (
    NormalisingSphere,
    enclosing_sphere,
    normalising_sphere,
    require_cameras_outside,
)
from nf_plugins.data.silhouette_hull import Silhouette, make_silhouette
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

LENS = Lens(width=160, height=128, fx=400.0, fy=410.0, cx=83.0, cy=61.0)
INTRINSICS = np.array([[LENS.fx, 0, LENS.cx], [0, LENS.fy, LENS.cy], [0, 0, 1]])


def views(number: int = 10, wrong: tuple[int, ...] = (), white: tuple[int, ...] = ()) -> list[Silhouette]:
    """The ball in the middle of every picture; ``wrong`` masks show a frame around it."""
    frame = np.ones((LENS.height, LENS.width), dtype=bool)
    frame[5:-5, 10:-10] = False
    silhouettes = []
    for k in range(number):
        pose = ring_pose(2 * np.pi * k / number, 3.0 * np.sin(2.4 * k))
        mask = frame.copy() if k in wrong else photograph(pose, MIDDLE, LENS)[1]
        mask |= k in white
        opencv = pose @ OPENCV
        silhouettes.append(make_silhouette(f"{k:03d}.png", INTRINSICS, opencv[:3, :3].T, opencv[:3, 3], mask))
    return silhouettes


def test_the_ball_fills_its_sphere():
    sphere = normalising_sphere(views(16), agreement=1.0, margin=0.0)
    assert sphere.source == "masks"
    assert np.linalg.norm(sphere.centre - MIDDLE) < 0.05 * RADIUS
    assert RADIUS < sphere.radius < 1.12 * RADIUS
    wider = normalising_sphere(views(16), agreement=1.0, margin=0.5)
    assert wider.radius == pytest.approx(1.5 * sphere.radius)
    middle_and_rim = np.array([[0, 0, 0, 1.0], [0, 1.0, 0, 1]]) @ sphere.world_from_scene().T
    np.testing.assert_allclose(middle_and_rim[:, :3], sphere.centre + [[0, 0, 0], [0, sphere.radius, 0]])


def test_enclosing_sphere_of_points_that_are_not_symmetric():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(300, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    # A box around half a ball and its mirrored rest has another middle than the ball.
    points = np.concatenate([directions[directions[:, 0] > -0.2], [[-1.0, 0, 0], [-0.6, 0.8, 0], [-0.6, -0.8, 0]]])
    centre, radius = enclosing_sphere(points * 2.0 + [5.0, 0, 1])
    np.testing.assert_allclose(centre, [5, 0, 1], atol=0.1)
    assert 2.0 - 1e-6 <= radius < 2.06
    assert enclosing_sphere(np.array([[1.0, 2, 3]]))[1] == 0


def test_white_masks_have_no_vote():
    expected = normalising_sphere(views(10))
    sphere = normalising_sphere(views(10, white=(2, 5)))
    assert sphere.disagreement is not None and sphere.disagreement[[2, 5]].max() == 0
    assert np.linalg.norm(sphere.centre - expected.centre) < 0.1 * RADIUS
    assert sphere.radius < 1.2 * expected.radius


def test_without_masks_that_say_anything_the_cameras_decide():
    silhouettes = views(10, white=tuple(range(10)))
    sphere = normalising_sphere(silhouettes)
    assert sphere.source == "cameras" and sphere.disagreement is None
    np.testing.assert_allclose(sphere.centre, MIDDLE, atol=0.05)
    assert 0.4 < sphere.radius < min(np.linalg.norm(view.centre - MIDDLE) for view in silhouettes)
    with pytest.raises(InputError, match="Only the mask 004.png bounds the object"):
        normalising_sphere(views(10, white=tuple(k for k in range(10) if k != 4)))


def test_the_mask_that_disagrees_is_named():
    with pytest.raises(InputError, match=r"No place lies in 90 %.* 001\.png disagrees most.*--sphere X Y Z RADIUS"):
        normalising_sphere(views(5, wrong=(1,)))
    sphere = normalising_sphere(views(12, wrong=(7,)))
    assert sphere.disagreement is not None
    assert sphere.disagreement.argmax() == 7 and sphere.disagreement[7] > 0.9
    at_odds = views(6)
    for k, view in enumerate(at_odds):
        mask = np.zeros((LENS.height, LENS.width), dtype=bool)
        mask[3:6, 10 + 25 * k : 15 + 25 * k] = True
        at_odds[k] = make_silhouette(view.name, INTRINSICS, view.rotation, view.centre, mask)
    with pytest.raises(InputError, match="check that masks are not inverted and belong to these"):
        normalising_sphere(at_odds)


def test_cameras_stay_outside():
    silhouettes = views(10)
    with pytest.raises(InputError, match=r"inside the normalising sphere.*\(10 of 10 do\).*--sphere-margin"):
        normalising_sphere(silhouettes, margin=20.0)
    with pytest.raises(InputError, match="give --sphere a smaller radius"):
        require_cameras_outside(NormalisingSphere(MIDDLE, 4.05, "given"), silhouettes)


def test_real_scan(shared_data: Path):
    scan = shared_data / "dtu" / "dtu_scan65"
    if not scan.is_dir():
        pytest.skip("the DTU scan is not there")
    matrices = np.load(scan / "cameras_sphere.npz")
    silhouettes, masks = [], []
    for index, path in enumerate(sorted((scan / "mask").glob("*.png"))):
        parts = decompose_projection(matrices[f"world_mat_{index}"][:3])
        intrinsics = parts.intrinsics.copy()
        intrinsics[:2, 2] += 0.5
        masks.append(np.asarray(Image.open(path))[..., 0] > 127)
        silhouettes.append(make_silhouette(path.name, intrinsics, parts.rotation, parts.centre, masks[-1]))
    sphere = normalising_sphere(silhouettes)
    scale_mat = matrices["scale_mat_0"]
    # The published sphere is fitted to the strict hull's inner part; ours holds all of it.
    assert np.linalg.norm(sphere.centre - scale_mat[:3, 3]) < 0.5 * scale_mat[0, 0]
    assert 0.9 < sphere.radius / scale_mat[0, 0] < 1.5
    # Everything that every mask shows lies inside: no foreground pixel sees past the sphere.
    for index, mask in enumerate(masks):
        pixels = np.argwhere(mask)[::50, ::-1]
        inverse = np.linalg.inv(matrices[f"world_mat_{index}"][:3, :3])
        rays = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1) @ inverse.T
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        offset = sphere.centre - silhouettes[index].centre
        missed = np.linalg.norm(np.cross(offset, rays), axis=-1)
        assert (missed < sphere.radius).mean() > 0.99, index
