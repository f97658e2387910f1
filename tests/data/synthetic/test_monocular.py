from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataparsers.nsff import NSFFDataParserConfig
from nf_plugins.data.monocular_dataset import MonocularDataset
from nf_plugins.data.synthetic import monocular
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.synthetic.generate import generate_scene
from nf_plugins.data.synthetic.synth_options import SynthOptions, check_options
from nf_plugins.data.synthetic.travelling_ball import RADIUS, TravellingBall, _centre, _half_lengths, _spin
from nf_plugins.errors import InputError
from nf_plugins.model_components.ndc import NDCFrame, ndc_from_world, project

NUM_FRAMES = 4
OPTIONS = SynthOptions(
    layout="nsff", num_frames=NUM_FRAMES, resolution=45, supersampling=1, num_held_out_cameras=2, shading=False
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dataclasses import replace

    return generate_scene(replace(OPTIONS, output_dir=tmp_path_factory.mktemp("synth") / "scene"))


@pytest.fixture(scope="module")
def training(scene: Path) -> MonocularDataset:
    return MonocularDataset(NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("train"))


def world_points(dataset: MonocularDataset, frame: int) -> torch.Tensor:
    """What the pixels' centres see (H, W, 3), scene units of the video, by its disparity and camera."""
    rays = dataset.cameras.generate_rays(frame)
    pose = dataset.cameras.camera_to_worlds[frame]
    depth = dataset._dataparser_outputs.dataparser_scale / dataset.get_data(frame)["disparity"]
    return rays.origins + rays.directions * depth / (rays.directions @ -pose[:, 2])[..., None]


def ball_moved(points: np.ndarray, frame: int, other: int) -> np.ndarray:
    time, later = frame / (NUM_FRAMES - 1), other / (NUM_FRAMES - 1)
    directions = (points - _centre(time)) / _half_lengths(time) @ _spin(1.6 * time)
    return directions @ _spin(1.6 * later).T * _half_lengths(later) + _centre(later)


@pytest.mark.parametrize(("frame", "other"), [(0, 1), (2, 3), (2, 1)])
def test_pixel_and_flow_are_where_the_moved_point_is_seen(training: MonocularDataset, frame: int, other: int) -> None:
    data, metadata = training.get_data(frame), training.metadata
    points = world_points(training, frame)
    to_world = metadata["world_from_scene"]
    world = (points @ to_world[:3, :3].T + to_world[:3, 3]).double().numpy()
    is_moving = data["motion_mask"][..., 0] > 0
    world[is_moving] = ball_moved(world[is_moving], frame, other)
    moved = torch.linalg.inv(to_world)[:3] @ torch.from_numpy(np.insert(world, 3, 1, axis=-1)).float()[..., None]
    seen = project(moved[..., 0], metadata["frame_camera_to_worlds"][other], metadata["frame_intrinsics"][other])
    height, width = is_moving.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    direction = "forward" if other > frame else "backward"
    flow = data[f"optical_flow_{direction}"]
    error = (seen - torch.stack([columns, rows], dim=-1) - 0.5 - flow).norm(dim=-1)
    assert error.max() < 2e-3 and flow[is_moving].norm(dim=-1).min() > 1
    assert 0.02 < is_moving.float().mean() < 0.3


def test_what_the_ball_hides_next_has_no_valid_flow(training: MonocularDataset) -> None:
    data, following = training.get_data(1), training.get_data(2)
    valid = data["optical_flow_forward_valid"][..., 0] > 0
    height, width = valid.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    flow = data["optical_flow_forward"]
    x, y = (columns + flow[..., 0]).round().long(), (rows + flow[..., 1]).round().long()
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    target_moves = torch.zeros_like(valid)
    mask = following["motion_mask"][..., 0] > 0
    target_moves[inside] = mask[y[inside], x[inside]]
    is_still = data["motion_mask"][..., 0] == 0
    # The very edge of the ball may round either way.
    deep = torch.nn.functional.avg_pool2d(mask[None, None].float(), 3, 1, 1)[0, 0] == 1
    covered = torch.zeros_like(valid)
    covered[inside] = deep[y[inside], x[inside]]
    assert (is_still & covered).sum() > 5 and not valid[is_still & covered].any()
    assert not valid[~inside & ((x < -1) | (x > width))].any()
    assert valid[is_still & inside & ~target_moves].float().mean() > 0.97


def test_everything_lies_in_the_cube_before_all_cameras(training: MonocularDataset) -> None:
    frame = NDCFrame(**training.metadata["ndc"])
    points = torch.stack([world_points(training, index) for index in range(NUM_FRAMES)])
    depths = ndc_from_world(points.double(), frame)[..., 2]
    assert depths.min() > -1 and depths.max() < 1


def test_held_out_cameras_are_elsewhere_and_see_the_ball(scene: Path, training: MonocularDataset) -> None:
    outputs = NSFFDataParserConfig(data=scene).setup().get_dataparser_outputs("test")
    assert len(outputs.image_filenames) == 2 * NUM_FRAMES
    distances = torch.cdist(outputs.cameras.camera_to_worlds[..., 3], training.cameras.camera_to_worlds[..., 3])
    assert distances.min() > 0.03
    # The ball's middle is red where the camera says it is.
    to_scene = torch.linalg.inv(outputs.metadata["world_from_scene"])
    for index, frame in ((0, 0), (5, 2)):
        centre = torch.from_numpy(_centre(frame / (NUM_FRAMES - 1))).float()
        centre = to_scene[:3, :3] @ centre + to_scene[:3, 3]
        camera = outputs.cameras[index]
        pixel = project(centre, camera.camera_to_worlds, outputs.metadata["frame_intrinsics"][0]).long().tolist()
        mask = np.array(Image.open(outputs.metadata["motion_mask_filenames"][index]))
        assert mask[pixel[1], pixel[0]] == 255
        image = np.array(Image.open(outputs.image_filenames[index]))
        assert image[pixel[1], pixel[0], 0] > image[..., 0][mask == 0].mean() + 60


def test_the_same_options_give_the_same_bytes(scene: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    again = generate_scene(replace(OPTIONS, output_dir=tmp_path / "again"))
    for name in ("poses_bounds.npy", "images_60x45/00002.png", "disp/00001.npy", "mv_images/00003/cam02.png"):
        assert (again / name).read_bytes() == (scene / name).read_bytes()
    assert np.array_equal(*(np.load(root / "flow_i1/00001_bwd.npz")["flow"] for root in (scene, again)))


def test_the_ball_stays_in_the_unit_sphere_and_swells() -> None:
    ball = TravellingBall(5)
    meshes = [ball.mesh_at(frame) for frame in range(5)]
    assert max(np.linalg.norm(mesh.vertices, axis=-1).max() for mesh in meshes) < 1
    lengths = [np.ptp(mesh.vertices[:, 0]) for mesh in meshes]
    assert max(lengths) > 2.2 * RADIUS > 1.05 * min(lengths)


class Changing:
    num_frames = 3
    up = np.array([0.0, 0.0, 1.0])
    world_from_scene = np.eye(4)

    def mesh_at(self, frame: int) -> ColouredMesh:
        mesh = TravellingBall(3).mesh_at(frame)
        return ColouredMesh(mesh.vertices, mesh.faces[frame:], mesh.colors)


def test_a_subject_whose_faces_change_is_refused() -> None:
    with pytest.raises(InputError, match="faces of frame 1 of the subject"):
        next(monocular.nsff_frames(OPTIONS, Changing(), lambda frames: frames))


def test_options_of_this_layout_are_checked() -> None:
    with pytest.raises(InputError, match="--camera-travel 2: applies to --layout nsff, not to owlii"):
        check_options(SynthOptions(camera_travel=2))
    with pytest.raises(InputError, match="--num-frames 2: .* at least 3"):
        check_options(SynthOptions(layout="nsff", num_frames=2))


def test_an_upright_mesh_stands_on_the_rooms_floor() -> None:
    mesh = ColouredMesh(np.eye(3), np.array([[0, 1, 2]]), np.eye(3))
    for up in np.eye(3):
        turned = monocular._upright(mesh, up)
        np.testing.assert_allclose(up @ turned.vertices, [0, 1, 0], atol=1e-12)
        np.testing.assert_allclose(turned.vertices @ turned.vertices.T, np.eye(3), atol=1e-12)
