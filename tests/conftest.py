"""Tiny scenes with known truth, written in every layout that the package reads.

The scene is a ball of radius 0.4 that moves along x and is coloured by its outward normal, so image, mask, depth, mesh
and point cloud follow from one ray-sphere intersection and no other part of the package is needed to make them.
"""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("OMP_NUM_THREADS", "1")

BALL_RADIUS = 0.4
NUM_FRAMES = 6
RESOLUTION = 24
CAMERA_DISTANCE = 3.0
WORLD_SCALE = 2.0
"""World (metric) units per scene unit of the Owlii scene."""
WORLD_CENTRE = np.array([0.3, -0.2, 1.1])
"""World position of the scene's origin of the Owlii scene."""
DNERF_WORLD_SCALE = 1.5
"""World units per scene unit of the D-NeRF scene (the parser's default is the inverse of it)."""


def ball_centre(time: float) -> np.ndarray:
    """Centre of the ball at a time in [0, 1], scene units."""
    return np.array([0.5 * (time - 0.5), 0.1, -0.05])


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """OpenCV camera-to-world rotation (x right, y down, z forward) that looks from a position to a target."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, np.array([0.0, 0.0, 1.0]))
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward], axis=1)


def orbit_pose(azimuth: float, elevation: float = 0.35) -> np.ndarray:
    """OpenCV camera-to-world (4, 4) on a sphere around the origin, scene units."""
    direction = np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    pose = np.eye(4)
    pose[:3, 3] = CAMERA_DISTANCE * direction
    pose[:3, :3] = look_at(pose[:3, 3], np.zeros(3))
    return pose


def ball_images(
    camera_to_world: np.ndarray, intrinsics: np.ndarray, centre: np.ndarray, resolution: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Casts one ray through every pixel's centre.

    Returns:
        Colour (H, W, 3) in [0, 1], black outside the ball; hit (H, W) bool; distance along the unit ray (H, W).
    """
    columns, rows = np.meshgrid(np.arange(resolution) + 0.5, np.arange(resolution) + 0.5)
    directions = np.stack(
        [
            (columns - intrinsics[0, 2]) / intrinsics[0, 0],
            (rows - intrinsics[1, 2]) / intrinsics[1, 1],
            np.ones_like(rows),
        ],
        axis=-1,
    )
    directions = directions @ camera_to_world[:3, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    offset = camera_to_world[:3, 3] - centre
    half_b = directions @ offset
    discriminant = half_b**2 - (offset @ offset - BALL_RADIUS**2)
    hit = discriminant > 0
    distance = np.where(hit, -half_b - np.sqrt(np.maximum(discriminant, 0)), 0.0)
    normals = (offset + distance[..., None] * directions) / BALL_RADIUS
    return np.where(hit[..., None], 0.5 + 0.45 * normals, 0.0), hit, distance


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.round(255 * image).astype(np.uint8)


def _intrinsics(resolution: int) -> np.ndarray:
    focal = 1.8 * resolution
    # The principal point is off the centre, so that a swapped or rescaled one shows.
    return np.array([[focal, 0, resolution / 2 + 0.7], [0, 1.05 * focal, resolution / 2 - 0.4], [0, 0, 1.0]])


def write_owlii_scene(
    root: Path, num_frames: int = NUM_FRAMES, resolution: int = RESOLUTION, num_train_cameras: int = 3
) -> Path:
    """Writes the moving ball in the Owlii layout: training cameras stand, ``cam_test`` circles."""
    import trimesh

    for folder in ("cloud", "mesh"):
        (root / folder).mkdir(parents=True)
    (root / "aabb.txt").write_text("[-0.9, -0.7, -0.8, 0.9, 0.8, 0.7]\n")
    ball = trimesh.creation.icosphere(subdivisions=2, radius=BALL_RADIUS)
    times = [frame / max(num_frames - 1, 1) for frame in range(num_frames)]
    for frame, time in enumerate(times):
        mesh = trimesh.Trimesh(ball.vertices + ball_centre(time), ball.faces, process=False)
        mesh.export(root / "mesh" / f"{frame:06d}.ply")
        trimesh.PointCloud(mesh.vertices).export(root / "cloud" / f"{frame:06d}.ply")
    intrinsics = _intrinsics(resolution)
    scale_mat = np.eye(4)
    scale_mat[:3] = np.concatenate([WORLD_SCALE * np.eye(3), WORLD_CENTRE[:, None]], axis=1)
    azimuths = {f"cam_train_{k}": [2 * math.pi * k / num_train_cameras] * num_frames for k in range(num_train_cameras)}
    azimuths["cam_test"] = [0.5 + 0.3 * frame for frame in range(num_frames)]
    for camera, camera_azimuths in azimuths.items():
        matrices = {}
        for folder in ("rgb", "mask", "depth"):
            (root / camera / folder).mkdir(parents=True)
        for frame, azimuth in enumerate(camera_azimuths):
            pose = orbit_pose(azimuth)
            colour, hit, distance = ball_images(pose, intrinsics, ball_centre(times[frame]), resolution)
            millimetres = np.round(1000 * WORLD_SCALE * distance).astype(np.uint16)
            name = f"{frame:06d}.png"
            Image.fromarray(_to_uint8(colour)).save(root / camera / "rgb" / name)
            Image.fromarray(_to_uint8(hit)).save(root / camera / "mask" / name)
            Image.fromarray(millimetres).save(root / camera / "depth" / name)
            rotation = pose[:3, :3].T
            centre = WORLD_SCALE * pose[:3, 3] + WORLD_CENTRE
            world_mat = np.eye(4)
            world_mat[:3] = intrinsics @ np.concatenate([rotation, -(rotation @ centre)[:, None]], axis=1)
            matrices[f"world_mat_{frame}"] = world_mat
            matrices[f"scale_mat_{frame}"] = scale_mat
        np.savez(root / camera / "cameras_sphere.npz", **matrices)
    return root


def write_dnerf_scene(
    root: Path, num_frames: int = NUM_FRAMES, num_eval_frames: int = 3, resolution: int = RESOLUTION
) -> Path:
    """Writes the moving ball in D-NeRF's layout: one camera that jumps around, RGBA with the ball as alpha."""
    focal = 1.8 * resolution
    intrinsics = np.array([[focal, 0, resolution / 2], [0, focal, resolution / 2], [0, 0, 1.0]])
    for split, count, first_azimuth in (
        ("train", num_frames, 0.0),
        ("val", num_eval_frames, 0.4),
        ("test", num_eval_frames, 0.9),
    ):
        (root / split).mkdir(parents=True)
        frames = []
        for frame in range(count):
            time = frame / max(count - 1, 1)
            pose = orbit_pose(first_azimuth + 1.3 * frame)
            colour, hit, _ = ball_images(pose, intrinsics, ball_centre(time), resolution)
            rgba = np.concatenate([_to_uint8(colour), _to_uint8(hit)[..., None]], axis=-1)
            Image.fromarray(rgba).save(root / split / f"r_{frame:03d}.png")
            matrix = pose @ np.diag([1.0, -1.0, -1.0, 1.0])
            matrix[:3, 3] *= DNERF_WORLD_SCALE
            frames.append({"file_path": f"./{split}/r_{frame:03d}", "time": time, "transform_matrix": matrix.tolist()})
        contents = {"camera_angle_x": 2 * math.atan(0.5 * resolution / focal), "frames": frames}
        (root / f"transforms_{split}.json").write_text(json.dumps(contents))
    return root


@pytest.fixture(scope="session")
def tiny_owlii_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only Owlii scene: 6 frames of 24x24, cam_train_0..2, cam_test, masks, depth, aabb.txt, cloud/, mesh/."""
    return write_owlii_scene(tmp_path_factory.mktemp("scenes") / "tiny_owlii")


@pytest.fixture(scope="session")
def tiny_dnerf_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only D-NeRF scene: 6 training, 3 validation and 3 test images of 24x24, RGBA."""
    return write_dnerf_scene(tmp_path_factory.mktemp("scenes") / "tiny_dnerf")


@pytest.fixture
def owlii_scene(tmp_path: Path) -> Callable[..., Path]:
    """Factory of fresh Owlii scenes that a test may break; takes the options of ``write_owlii_scene``."""
    return lambda name="owlii", **options: write_owlii_scene(tmp_path / name, **options)


@pytest.fixture
def dnerf_scene(tmp_path: Path) -> Callable[..., Path]:
    """Factory of fresh D-NeRF scenes that a test may break; takes the options of ``write_dnerf_scene``."""
    return lambda name="dnerf", **options: write_dnerf_scene(tmp_path / name, **options)


@pytest.fixture(scope="session")
def ball_centre_at() -> Callable[[float], np.ndarray]:
    """The truth of both tiny scenes: time in [0, 1] -> centre of the ball of radius 0.4, scene units."""
    return ball_centre


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real captures beside the repository; the test is skipped where there is none."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real captures at {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_owlii_scene: Path) -> Path:
    """Read-only config.yml of resfields-tnerf-tiny, trained for three steps on the tiny Owlii scene."""
    from copy import deepcopy

    from nerfstudio.scripts.train import main

    from method_configs.resfields import resfields_tnerf_tiny

    config = deepcopy(resfields_tnerf_tiny.config)
    config.data = tiny_owlii_scene
    config.output_dir = tmp_path_factory.mktemp("runs")
    config.experiment_name = "tiny"
    config.vis = "tensorboard"
    config.max_num_iterations = 3
    main(config)
    return config.get_base_dir() / "config.yml"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, as in a terminal; a process that a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
