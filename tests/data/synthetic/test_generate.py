from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dataparsers.dtu import DTUDataParserConfig
from dataparsers.zju_mocap import ZjuMocapDataParserConfig
from nf_plugins.data.synthetic.generate import SynthOptions, generate_scene, scene_request
from nf_plugins.data.synthetic.standing_ellipsoid import AXES, SEMI_AXES
from nf_plugins.errors import InputError

TINY = SynthOptions(num_frames=3, num_train_cameras=2, num_eval_views=2, resolution=24, num_cloud_points=50)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _options(folder: Path, **changes) -> SynthOptions:
    return dataclasses.replace(TINY, output_dir=folder, **changes)


@pytest.fixture(scope="module")
def owlii(tmp_path_factory) -> Path:
    return generate_scene(_options(tmp_path_factory.mktemp("synth") / "owlii"))


@pytest.fixture(scope="module")
def balls(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("balls")
    ball = trimesh.creation.icosphere(subdivisions=2)
    for i in range(4):
        stretched = np.array(ball.vertices) * [1.0 + 0.3 * i, 1.0, 1.0]
        trimesh.Trimesh(stretched, ball.faces, process=False).export(folder / f"{i}.ply")
    return folder


def test_owlii_layout_is_complete(owlii):
    names = {path.split("/")[0] for path in _contents(owlii)}
    assert names == {"aabb.txt", "cam_test", "cam_train_0", "cam_train_1", "cloud", "mesh", "synth.json"}
    for camera in ("cam_train_0", "cam_train_1", "cam_test"):
        for kind in ("rgb", "mask", "depth"):
            files = sorted(path.name for path in (owlii / camera / kind).iterdir())
            assert files == ["000000.png", "000001.png", "000002.png"]
            assert Image.open(owlii / camera / kind / files[0]).size == (24, 24)


def test_same_options_give_the_same_bytes_and_another_seed_does_not(owlii, tmp_path):
    again = generate_scene(_options(tmp_path / "again"))
    assert _contents(again) == _contents(owlii)
    other = _contents(generate_scene(_options(tmp_path / "other", seed=1)))
    first = _contents(owlii)
    assert other.keys() == first.keys()
    assert other["cam_train_0/rgb/000000.png"] != first["cam_train_0/rgb/000000.png"]


def test_frames_differ_and_the_subject_fills_the_image(owlii):
    masks = [np.array(Image.open(owlii / f"cam_train_0/mask/{frame:06d}.png")) > 0 for frame in range(3)]
    for first, second in zip(masks, masks[1:], strict=False):
        assert (first != second).mean() > 0.02
    rows = np.flatnonzero(masks[0].any(axis=1))
    assert 0.45 < (rows.max() - rows.min() + 1) / 24 < 0.9
    assert not masks[0][0].any() and not masks[0][:, 0].any()


def test_training_cameras_stand_still_and_the_test_camera_moves(owlii):
    for name, moves in (("cam_train_0", False), ("cam_test", True)):
        matrices = np.load(owlii / name / "cameras_sphere.npz")
        assert (np.abs(matrices["world_mat_0"] - matrices["world_mat_1"]).max() > 1e-6) == moves


def test_repeated_request_does_nothing(owlii, capsys):
    before = (owlii / "synth.json").stat().st_mtime_ns
    generate_scene(_options(owlii))
    assert "already holds exactly this scene" in capsys.readouterr().out
    assert (owlii / "synth.json").stat().st_mtime_ns == before


def test_a_scene_whose_replacement_was_killed_need_not_be_made_again(owlii, tmp_path, capsys):
    finished = subprocess.Popen([sys.executable, "-c", ""])
    finished.wait()
    shutil.copytree(owlii, tmp_path / f".scene.old-{finished.pid}")
    generate_scene(_options(tmp_path / "scene"))
    assert "already holds exactly this scene" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["scene"]


def test_other_request_is_refused_without_overwrite(owlii):
    before = _contents(owlii)
    with pytest.raises(InputError, match="--overwrite"):
        generate_scene(_options(owlii, seed=7))
    assert _contents(owlii) == before


def test_overwrite_replaces(tmp_path):
    folder = generate_scene(_options(tmp_path / "scene", num_frames=2))
    generate_scene(_options(folder, num_frames=2, layout="dnerf", overwrite=True))
    assert (folder / "transforms_train.json").is_file() and not (folder / "cam_test").exists()


def test_dnerf_layout(tmp_path):
    folder = generate_scene(_options(tmp_path / "scene", layout="dnerf"))
    entries = {
        split: json.loads((folder / f"transforms_{split}.json").read_text())["frames"]
        for split in ("train", "val", "test")
    }
    assert [len(entries[split]) for split in entries] == [3, 2, 2]
    train_times = [entry["time"] for entry in entries["train"]]
    assert train_times == [0.0, 0.5, 1.0]
    assert all(entry["time"] in train_times for split in ("val", "test") for entry in entries[split])
    poses = np.array([entry["transform_matrix"] for split in entries for entry in entries[split]])
    assert len(np.unique(np.round(poses[:, :3, 3], 6), axis=0)) == 7
    rgba = np.array(Image.open(folder / "train/r_000.png"))
    assert rgba.shape == (24, 24, 4)
    assert ((rgba[..., 3] > 0) & (rgba[..., 3] < 255)).any()
    assert sorted(path.name for path in (folder / "mesh").iterdir()) == ["000000.ply", "000001.ply", "000002.ply"]


def test_mesh_sequence_scene(balls, tmp_path, capsys):
    folder = generate_scene(_options(tmp_path / "scene", mesh_sequence=balls, frame_stride=2, num_frames=9))
    assert "all are used" in capsys.readouterr().out
    assert len(list((folder / "mesh").iterdir())) == 2
    facts = json.loads((folder / "synth.json").read_text())
    world = trimesh.load(folder / "mesh/000001.ply", process=False).vertices
    world = world * facts["world_from_scene"][0][0] + np.array(facts["world_from_scene"])[:3, 3]
    np.testing.assert_allclose(world, trimesh.load(balls / "2.ply", process=False).vertices, atol=1e-5)


@pytest.mark.parametrize("unit", [1000.0, 1e-3])
def test_units_that_do_not_fit_depth_are_changed_by_a_power_of_ten(balls, tmp_path, unit, capsys):
    folder = tmp_path / "meshes"
    folder.mkdir()
    for path in sorted(balls.iterdir())[:2]:
        mesh = trimesh.load(path, process=False)
        trimesh.Trimesh(mesh.vertices * unit, mesh.faces, process=False).export(folder / path.name)
    scene = generate_scene(_options(tmp_path / "scene", mesh_sequence=folder, num_frames=2))
    assert "times those of the mesh files" in capsys.readouterr().out
    scale = json.loads((scene / "synth.json").read_text())["world_from_scene"][0][0]
    original = 1.3 * unit / 0.92
    assert np.log10(scale / original) == pytest.approx(np.round(np.log10(scale / original)), abs=0.01)
    raw = np.array(Image.open(scene / "cam_train_0/depth/000000.png"))
    assert 500 < raw.max() < 65535


@pytest.mark.parametrize(("unit", "factor"), [(0.02, 100.0), (1.0, 1.0), (1000.0, 0.001)])
def test_zju_scene_is_in_metres_whatever_the_unit_of_the_meshes(balls, tmp_path, unit, factor, capsys):
    folder = tmp_path / "meshes"
    folder.mkdir()
    for path in sorted(balls.iterdir())[:2]:
        mesh = trimesh.load(path, process=False)
        trimesh.Trimesh(mesh.vertices * unit, mesh.faces, process=False).export(folder / path.name)
    scene = generate_scene(_options(tmp_path / "scene", layout="zju", mesh_sequence=folder, num_frames=2))
    assert ("times those of the mesh files" in capsys.readouterr().out) == (factor != 1.0)
    vertices = np.load(scene / "vertices/000001.npy")
    truth = factor * np.asarray(trimesh.load(sorted(folder.iterdir())[1], process=False).vertices)
    np.testing.assert_allclose(vertices, truth, rtol=1e-5, atol=1e-5)
    # The cameras moved with it: the subject is in the middle of the picture, and fills the parser's box.
    outputs = ZjuMocapDataParserConfig(data=scene).setup().get_dataparser_outputs("train")
    world_from_scene = outputs.metadata["world_from_scene"].numpy()
    box = outputs.metadata["scene_aabb"].numpy() * world_from_scene[0, 0] + world_from_scene[:3, 3]
    extent = np.ptp(vertices, axis=0)
    assert (np.ptp(box, axis=0) < 1.5 * extent).all() and (np.ptp(box, axis=0) > extent).all()
    distance = np.linalg.norm(outputs.cameras.camera_to_worlds[:, :, 3].numpy() * world_from_scene[0, 0], axis=-1)
    np.testing.assert_allclose(distance, 3.4 * 1.3 * unit * factor / 0.92, rtol=0.05)


def test_changed_mesh_file_is_another_request(balls):
    files = sorted(balls.iterdir())
    assert scene_request(TINY, files) != scene_request(TINY, files[1:])
    assert scene_request(TINY, files) == scene_request(dataclasses.replace(TINY, output_dir=Path("x")), files)


def test_resampled_mesh_sequence_has_the_wanted_number_of_frames(balls, tmp_path, capsys):
    folder = generate_scene(_options(tmp_path / "scene", mesh_sequence=balls, num_frames=7, resample_frames=True))
    assert "all are used" not in capsys.readouterr().out
    # Seven times of four files: every second is that of a file.
    facts = json.loads((folder / "synth.json").read_text())
    scale = facts["world_from_scene"][0][0]
    widths = [np.ptp(trimesh.load(folder / f"mesh/{i:06d}.ply", process=False).vertices[:, 0]) for i in range(7)]
    np.testing.assert_allclose(np.array(widths) * scale, 2.0 * (1.0 + 0.15 * np.arange(7)), rtol=1e-5)


def test_request_of_earlier_releases_stays_as_it_was():
    """Else a scene that lies there already would be refused or drawn again."""
    earlier = {
        "layout", "mesh_sequence", "up_axis", "num_frames", "frame_stride", "num_train_cameras", "num_eval_views",
        "resolution", "supersampling", "field_of_view", "camera_distance", "shading", "num_cloud_points", "seed",
        "generator_version",
    }  # fmt: skip
    assert set(scene_request(TINY, [])) == earlier
    assert scene_request(TINY, [])["generator_version"] == 1
    with_sensor = scene_request(dataclasses.replace(TINY, rgbd=True, depth_noise=0.002), [])
    assert set(with_sensor) == earlier | {"rgbd", "depth_noise"}


@pytest.fixture(scope="module")
def rgbd(tmp_path_factory) -> Path:
    return generate_scene(_options(tmp_path_factory.mktemp("synth") / "rgbd", rgbd=True, num_train_cameras=3))


def _depth(folder: Path, name: str) -> np.ndarray:
    return np.array(Image.open(folder / f"{name}/000001.png")).astype(np.float64)


def test_rgbd_cameras_see_the_same_scene_with_noisy_depth(rgbd, tmp_path):
    plain = generate_scene(_options(tmp_path / "plain", num_train_cameras=3))
    assert {path.name for path in rgbd.glob("cam_*")} == {"cam_0", "cam_1", "cam_2", "cam_test"}
    for index in range(3):
        for kind in ("rgb", "mask"):
            np.testing.assert_array_equal(
                _depth(rgbd, f"cam_{index}/{kind}"), _depth(plain, f"cam_train_{index}/{kind}")
            )
        truth = _depth(plain, f"cam_train_{index}/depth")
        np.testing.assert_array_equal(_depth(rgbd, f"cam_{index}/depth_true"), truth)
        measured = _depth(rgbd, f"cam_{index}/depth")
        valid = measured > 0
        assert valid.sum() < (truth > 0).sum() and not (valid & (truth == 0)).any()
        # 0.0015 at one metre, about 4.6 metres away: 32 millimetres.
        assert 10 < np.std((measured - truth)[valid]) < 60
    np.testing.assert_array_equal(_depth(rgbd, "cam_test/depth"), _depth(plain, "cam_test/depth"))
    assert not (rgbd / "cam_test/depth_true").exists()
    assert (rgbd / "cloud/000002.ply").read_bytes() == (plain / "cloud/000002.ply").read_bytes()


def test_rgbd_noise_is_that_of_the_seed_and_differs_between_cameras_and_frames(rgbd, tmp_path):
    again = generate_scene(_options(tmp_path / "again", rgbd=True, num_train_cameras=3))
    assert _contents(again) == _contents(rgbd)
    errors = []
    for camera in ("cam_0", "cam_1"):
        for frame in ("000000", "000001"):
            pair = [np.array(Image.open(rgbd / camera / kind / f"{frame}.png")) for kind in ("depth", "depth_true")]
            errors.append(pair[0].astype(int) - pair[1].astype(int))
    assert all((a != b).any() for i, a in enumerate(errors) for b in errors[:i])


def test_z_depth_is_shorter_than_the_ray(tmp_path):
    ray, z = (
        generate_scene(_options(tmp_path / name, num_frames=2, num_train_cameras=1, depth_convention=name))
        for name in ("ray", "z")
    )
    along_ray, along_axis = _depth(ray, "cam_train_0/depth"), _depth(z, "cam_train_0/depth")
    focal = 12 / np.tan(np.deg2rad(17.5))
    offsets = (np.arange(24) + 0.5 - 12) / focal
    norms = np.sqrt(1 + offsets[:, None] ** 2 + offsets[None, :] ** 2)
    assert (along_axis > 0).any()
    np.testing.assert_allclose(along_axis * norms, along_ray, atol=1.5)


def test_swaying_cameras_have_a_pose_per_frame(tmp_path):
    scene = generate_scene(_options(tmp_path / "scene", camera_sway=10.0))
    for name in ("cam_train_0", "cam_train_1"):
        matrices = np.load(scene / name / "cameras_sphere.npz")
        assert np.abs(matrices["world_mat_0"] - matrices["world_mat_2"]).max() > 1e-3


def test_dtu_layout_has_the_silhouettes_of_its_ellipsoid(tmp_path):
    options = _options(tmp_path / "scene", layout="dtu", subject="ellipsoid", num_views=4)
    folder = generate_scene(options)
    assert {path.split("/")[0] for path in _contents(folder)} == {
        "cameras_sphere.npz", "image", "mask", "mesh", "synth.json",
    }  # fmt: skip
    outputs = DTUDataParserConfig(data=folder).setup().get_dataparser_outputs("train")
    assert len(outputs.cameras) == 4
    radii = np.linalg.norm(trimesh.load(outputs.metadata["mesh_filenames"][0], process=False).vertices, axis=-1)
    assert (radii.min(), radii.max()) == pytest.approx((SEMI_AXES.min(), SEMI_AXES.max()), abs=2e-3)
    for view in range(4):
        rays = outputs.cameras.generate_rays(view)
        # Axes and lengths in which the ellipsoid is the unit sphere.
        origins, directions = (part.double().numpy() @ AXES / SEMI_AXES for part in (rays.origins, rays.directions))
        middle = -(origins * directions).sum(-1) / (directions**2).sum(-1)
        nearest = np.linalg.norm(origins + middle[..., None] * directions, axis=-1)
        mask = np.array(Image.open(outputs.metadata["fg_mask_filenames"][view]))[..., 0] > 0
        sure = np.abs(nearest - 1) > 1e-3
        np.testing.assert_array_equal(mask[sure], (nearest < 1)[sure])
        image = np.array(Image.open(outputs.image_filenames[view]))
        assert (image[~mask] == 0).all() and image[mask].max() > 100


def test_dtu_layout_of_the_dancer_and_of_a_mesh(tmp_path, balls, capsys):
    dancer = generate_scene(_options(tmp_path / "dancer", layout="dtu", num_views=2, still_frame=1))
    assert "ns-train idr --data" in capsys.readouterr().out
    still = trimesh.load(dancer / "mesh" / "000000.ply", process=False)
    moving = generate_scene(_options(tmp_path / "moving", num_train_cameras=1))
    same = trimesh.load(moving / "mesh" / "000001.ply", process=False)
    np.testing.assert_array_equal(still.vertices, same.vertices)
    options = _options(tmp_path / "ball", layout="dtu", num_views=2, mesh_sequence=balls, still_frame=2)
    extents = trimesh.load(generate_scene(options) / "mesh" / "000000.ply", process=False).extents
    assert extents / extents[1] == pytest.approx([1.6, 1.0, 1.0])
    with pytest.raises(InputError, match="has 4 files .*too few for --still-frame 4"):
        generate_scene(_options(tmp_path / "none", layout="dtu", mesh_sequence=balls, still_frame=4))


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"num_frames": 1}, "--num-frames"),
        ({"resolution": 0}, "--resolution"),
        ({"num_train_cameras": 0}, "--num-train-cameras"),
        ({"camera_distance": 0.9}, "--camera-distance"),
        ({"field_of_view": 180.0}, "--field-of-view"),
        ({"supersampling": 0}, "--supersampling"),
        ({"frame_stride": 2}, "--frame-stride"),
        ({"resample_frames": True}, "--resample-frames"),
        ({"camera_sway": 90.0}, "--camera-sway"),
        ({"camera_sway": 5.0, "layout": "zju"}, "--camera-sway 5.0: applies to --layout owlii"),
        ({"rgbd": True, "layout": "dnerf"}, "--rgbd: applies to --layout owlii"),
        ({"depth_convention": "z", "layout": "dnerf"}, "--depth-convention z"),
        ({"depth_noise": 0.002}, "--depth-noise 0.002: applies to --rgbd"),
        ({"rgbd": True, "depth_noise": -1.0}, "--depth-noise"),
        ({"rgbd": True, "edge_dropout": 2.0}, "--edge-dropout"),
        ({"seed": -1}, "--seed"),
        ({"num_views": 1, "layout": "dtu"}, "--num-views"),
        ({"num_views": 20}, "--num-views 20: applies to --layout dtu"),
        ({"subject": "ellipsoid"}, "--subject ellipsoid: applies to --layout dtu"),
        ({"still_frame": 3, "layout": "dtu"}, "--still-frame 3: the dance has --num-frames 3"),
        ({"still_frame": 1, "layout": "dtu", "subject": "ellipsoid"}, "--still-frame 1: does nothing"),
        ({"mesh_sequence": Path("no/such/folder")}, "--mesh-sequence"),
    ],
)
def test_bad_options_are_named_before_anything_is_written(tmp_path, changes, option):
    with pytest.raises(InputError, match=option):
        generate_scene(_options(tmp_path / "scene", **changes))
    assert list(tmp_path.iterdir()) == []
