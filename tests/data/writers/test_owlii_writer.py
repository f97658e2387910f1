from __future__ import annotations

import ast
import os

import numpy as np
import pytest
import trimesh
from PIL import Image

from nf_plugins.data.synthetic.cameras import circling_camera, ring_cameras, square_intrinsics, swap_opengl_opencv
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, transform_points
from nf_plugins.data.synthetic.ray_caster import MeshRayCaster
from nf_plugins.data.writers.owlii_writer import (
    OwliiCamera,
    OwliiFrame,
    OwliiImage,
    depth_to_png,
    write_owlii_scene,
)
from nf_plugins.errors import InputError

UP = np.array([0.0, 0.0, 1.0])
WORLD_FROM_SCENE = np.array([[1.7, 0, 0, 0.3], [0, 1.7, 0, -0.2], [0, 0, 1.7, 1.1], [0, 0, 0, 1.0]])
INTRINSICS = square_intrinsics(32, np.deg2rad(40.0))


def _mesh(frame: int) -> ColouredMesh:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
    vertices = np.array(ball.vertices) + [0.1 * frame, 0.0, 0.0]
    return ColouredMesh(vertices, np.array(ball.faces), 0.5 + np.array(ball.vertices) * 0.9)


def _poses() -> dict[str, np.ndarray]:
    fixed = ring_cameras(2, 3.0, UP, 0.4)
    return {
        "cam_train_0": np.repeat(fixed[:1], 2, axis=0),
        "cam_train_1": np.repeat(fixed[1:], 2, axis=0),
        "cam_test": circling_camera(2, 3.0, UP),
    }


def _frames(fail_at: int | None = None):
    for frame in range(2):
        if frame == fail_at:
            raise RuntimeError("disk full")
        caster = MeshRayCaster(_mesh(frame))
        views = [caster.render(INTRINSICS, poses[frame]) for poses in _poses().values()]
        images = [OwliiImage(view.rgb, view.mask, view.depth) for view in views]
        yield OwliiFrame(_mesh(frame), _mesh(frame).vertices[:20], images)


def _write(folder, fail_at=None):
    cameras = [OwliiCamera(name, INTRINSICS.matrix, swap_opengl_opencv(poses)) for name, poses in _poses().items()]
    write_owlii_scene(folder, cameras, _frames(fail_at), world_from_scene=WORLD_FROM_SCENE, request={"seed": 0})


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("owlii") / "scene"
    _write(folder)
    return folder


def test_images_come_back(scene):
    for index, name in enumerate(_poses()):
        for frame, truth in enumerate(_frames()):
            image = truth.images[index]
            mask = np.array(Image.open(scene / name / "mask" / f"{frame:06d}.png"))
            np.testing.assert_array_equal(mask, 255 * image.mask)
            rgb = np.array(Image.open(scene / name / "rgb" / f"{frame:06d}.png"))
            np.testing.assert_array_equal(rgb[image.mask], image.rgb[image.mask])
            assert rgb[~image.mask].max() == 0
            raw = np.array(Image.open(scene / name / "depth" / f"{frame:06d}.png"))
            assert raw.dtype == np.uint16
            np.testing.assert_array_equal(raw > 0, image.mask)
            matrices = np.load(scene / name / "cameras_sphere.npz")
            scale = matrices[f"scale_mat_{frame}"][0, 0]
            np.testing.assert_allclose(raw / 1000.0 / scale, image.depth, atol=0.5e-3 / scale + 1e-6)


def test_true_vertices_project_into_the_mask(scene):
    for name in _poses():
        matrices = np.load(scene / name / "cameras_sphere.npz")
        for frame in range(2):
            mesh = trimesh.load(scene / "mesh" / f"{frame:06d}.ply", process=False)
            mask = np.array(Image.open(scene / name / "mask" / f"{frame:06d}.png")) > 0
            grown = np.zeros_like(mask)
            for row, column in np.argwhere(mask):
                grown[row - 1 : row + 2, column - 1 : column + 2] = True
            projection = matrices[f"world_mat_{frame}"] @ matrices[f"scale_mat_{frame}"]
            pixels = np.c_[mesh.vertices, np.ones(len(mesh.vertices))] @ projection[:3].T
            assert (pixels[:, 2] > 0).all()
            pixels = np.floor(pixels[:, :2] / pixels[:, 2:]).astype(int)
            assert grown[pixels[:, 1], pixels[:, 0]].all()
            assert len(np.unique(pixels, axis=0)) > 0.2 * mask.sum()


def test_world_mat_projects_world_points(scene):
    matrices = np.load(scene / "cam_test" / "cameras_sphere.npz")
    point = np.array([0.1, 0.2, -0.1])
    world = np.append(transform_points(WORLD_FROM_SCENE, point), 1.0)
    direct = matrices["world_mat_1"] @ world
    through_scene = matrices["world_mat_1"] @ matrices["scale_mat_1"] @ np.append(point, 1.0)
    np.testing.assert_allclose(direct, through_scene)
    np.testing.assert_allclose(matrices["scale_mat_1"], WORLD_FROM_SCENE)
    np.testing.assert_array_equal(matrices["world_mat_0"][3], [0, 0, 0, 1])


def test_box_meshes_and_clouds(scene):
    box = np.array(ast.literal_eval((scene / "aabb.txt").read_text())).reshape(2, 3)
    for frame in range(2):
        mesh = trimesh.load(scene / "mesh" / f"{frame:06d}.ply", process=False)
        np.testing.assert_allclose(mesh.vertices, _mesh(frame).vertices, atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, _mesh(frame).faces)
        colors = mesh.visual.vertex_colors[:, :3] / 255.0
        np.testing.assert_allclose(colors, np.clip(_mesh(frame).colors, 0, 1), atol=0.003)
        cloud = trimesh.load(scene / "cloud" / f"{frame:06d}.ply")
        np.testing.assert_allclose(cloud.vertices, _mesh(frame).vertices[:20], atol=1e-6)
        assert (mesh.vertices > box[0]).all() and (mesh.vertices < box[1]).all()


def test_failure_midway_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="disk full"):
        _write(tmp_path / "scene", fail_at=1)
    assert os.listdir(tmp_path) == []


def test_depth_beyond_16_bits_is_refused():
    with pytest.raises(InputError, match="16-bit"):
        depth_to_png(np.array([[70.0]]), np.eye(4))
