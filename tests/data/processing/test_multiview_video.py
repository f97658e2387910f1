from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ball_capture import (
    BACKDROP,
    FPS,
    LENS,
    MIDDLE,
    NUM_FRAMES,
    RADIUS,
    centre_at,
    photograph,
    ring_poses,
    write_colmap,
    write_video,
    write_videos,
)
from PIL import Image

from dataparsers.nerfstudio_time import NerfstudioTimeDataParserConfig
from nf_plugins.data.processing.multiview_video import process_multiview_video
from nf_plugins.data.processing.options import MultiviewVideoOptions
from nf_plugins.errors import InputError


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: videos/cam{1,2,3}.mp4 of 4 frames and cameras/transforms.json."""
    folder = tmp_path_factory.mktemp("recording")
    poses = write_videos(folder / "videos")
    frames = [
        {"file_path": f"{name}.png", "transform_matrix": pose.tolist(), **LENS.to_json()}
        for name, pose in poses.items()
    ]
    (folder / "cameras").mkdir()
    (folder / "cameras" / "transforms.json").write_text(json.dumps({"frames": frames}))
    return folder


def process(recording: Path, output: Path, **options: Any) -> str:
    given = {"videos": recording / "videos", "cameras": recording / "cameras", "output_dir": output, **options}
    return process_multiview_video(MultiviewVideoOptions(**given))


def test_videos_become_a_capture_whose_projections_agree(recording: Path, tmp_path: Path):
    command = process(recording, tmp_path / "out", chroma_key=BACKDROP, mask_cleanup=0)
    expected = ["ns-train", "resfields-tnerf", "--data", str(tmp_path / "out"), "nerfstudio-time-data"]
    assert shlex.split(command) == [*expected, "--eval-cameras", "cam3"]
    outputs = NerfstudioTimeDataParserConfig(data=tmp_path / "out").setup().get_dataparser_outputs("train")
    assert len(outputs.image_filenames) == 2 * NUM_FRAMES
    torch.testing.assert_close(outputs.metadata["frame_times"], torch.arange(4) / 3, atol=1e-4, rtol=0)
    scene_from_world = torch.linalg.inv(outputs.metadata["world_from_scene"].double())
    low, high = outputs.metadata["scene_aabb"]
    for index, path in enumerate(outputs.image_filenames):
        mask = np.asarray(Image.open(outputs.metadata["fg_mask_filenames"][index])) > 0
        truth = centre_at(int(path.stem) / FPS)
        camera = outputs.cameras[index : index + 1]
        assert outputs.metadata["camera_names"][int(camera.metadata["camera_id"])] == path.parent.name  # type: ignore[index]
        rows, columns = np.nonzero(mask)
        rays = camera.generate_rays(0, coords=torch.tensor([[rows.mean() + 0.5, columns.mean() + 0.5]]).float())
        centre = (scene_from_world[:3, :3] @ torch.from_numpy(truth) + scene_from_world[:3, 3]).float()
        assert float(torch.linalg.cross(centre - rays.origins[0], rays.directions[0]).norm()) < 0.03
        radius = RADIUS * float(outputs.dataparser_scale)
        assert bool(((centre - radius > low - 0.03) & (centre + radius < high + 0.03)).all())
    record = json.loads((tmp_path / "out" / "process_data.json").read_text())
    assert record["calibration"] == "transforms" and record["options"]["chroma_key"] == list(BACKDROP)
    contents = json.loads((tmp_path / "out" / "transforms.json").read_text())
    assert np.shape(contents["scene_aabb"]) == (2, 3) and contents["time_unit"] == "seconds"


def test_selection_downscaling_and_jpeg(recording: Path, tmp_path: Path):
    options: dict[str, Any] = {"start_frame": 1, "frame_stride": 2, "downscale": 2, "image_format": "jpg"}
    command = process(recording, tmp_path / "out", **options, only=("cam1", "cam3"))
    assert "--pixel-sampler.strategy uniform" in command.replace("pipeline.datamanager.", "")
    assert command.endswith("nerfstudio-time-data")
    contents = json.loads((tmp_path / "out" / "transforms.json").read_text())
    assert [frame["time"] for frame in contents["frames"]] == [0.0, 0.2] * 2
    assert (contents["w"], contents["fl_x"], contents["cy"]) == (20, 30.0, LENS.cy / 2)
    image = np.asarray(Image.open(tmp_path / "out/images/cam3/000001.jpg")).astype(float)
    whole = photograph(np.array(contents["frames"][2]["transform_matrix"]), centre_at(0.3))[0].astype(float)
    assert np.abs(image - whole.reshape(16, 2, 20, 2, 3).mean(axis=(1, 3))).mean() < 8
    for key in ("fg_mask_path", "depth_file_path"):
        assert key not in contents["frames"][0]


def test_a_given_box_and_colmap_points_are_kept(recording: Path, tmp_path: Path):
    import trimesh

    box = (2.0, -3.0, 0.0, 4.0, -1.0, 3.0)
    process(recording, tmp_path / "out", cameras=write_colmap(tmp_path / "model", ".bin"), scene_aabb=box)
    contents = json.loads((tmp_path / "out" / "transforms.json").read_text())
    np.testing.assert_array_equal(np.array(contents["scene_aabb"]).reshape(-1), box)
    points = trimesh.load(tmp_path / "out" / contents["ply_file_path"])
    assert points.vertices.shape == (6, 3)  # type: ignore[union-attr]
    outputs = NerfstudioTimeDataParserConfig(data=tmp_path / "out").setup().get_dataparser_outputs("train")
    # World is COLMAP's own, whichever way was up in it.
    camera = outputs.cameras.camera_to_worlds[0, :, 3].double()
    world = outputs.metadata["world_from_scene"].double()
    position = world[:3, :3] @ camera + world[:3, 3]
    np.testing.assert_allclose(position.numpy(), ring_poses(3)["cam1"][:3, 3], atol=1e-4)


def test_an_earlier_capture_is_left_alone_without_overwrite(recording: Path, tmp_path: Path):
    process(recording, tmp_path / "out", num_frames=2)
    with pytest.raises(InputError, match="already holds a processed capture"):
        process(recording, tmp_path / "out")
    process(recording, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out/images/cam1/000003.png").is_file()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(InputError, match="was not written by nf-process-data"):
        process(recording, tmp_path / "mine", overwrite=True)


def test_nothing_is_left_behind_by_a_failure(recording: Path, tmp_path: Path):
    import shutil

    shutil.copytree(recording / "videos", tmp_path / "videos")
    video = tmp_path / "videos" / "cam2.mp4"
    images = [photograph(ring_poses(3)["cam2"], centre_at(0.0))[0]] * NUM_FRAMES
    write_video(video, [np.pad(image, ((0, 0), (0, 10), (0, 0))) for image in images])
    with pytest.raises(InputError, match="cam2 are 50x32 pixels, but it was calibrated at 40x32"):
        process(recording, tmp_path / "out", videos=tmp_path / "videos")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["videos"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"downscale": 0}, "--downscale 0"),
        ({"downscale": 64}, "--downscale 64 leaves nothing"),
        ({"image_fps": 0.0}, "--image-fps 0"),
        ({"only": ("cam7",)}, "--only names cam7"),
        ({"scene_aabb": (0, 0, 0, 0, 1, 1)}, "--scene-aabb"),
        ({"chroma_key": (0, 0, 0), "masks": Path("x")}, "are all given"),
        ({"num_frames": 1}, "--num-frames 1"),
        ({"videos": Path("nowhere")}, "nowhere does not exist"),
        ({"cameras": Path("nowhere")}, "nowhere does not exist"),
    ],
)
def test_bad_options(recording: Path, tmp_path: Path, options: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        process(recording, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_without_a_box_a_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    frames = []
    for number in range(2):
        pose = np.eye(4)
        pose[:3, 3] = MIDDLE + [number, 0, 4]
        frames.append({"file_path": f"cam{number}.png", "transform_matrix": pose.tolist(), **LENS.to_json()})
        write_video(
            tmp_path / "videos" / f"cam{number}.mp4", [photograph(pose, centre_at(0.1 * t))[0] for t in range(3)]
        )
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    process(tmp_path, tmp_path / "out", cameras=tmp_path / "transforms.json")
    assert "No scene box" in capsys.readouterr().out
    assert "scene_aabb" not in json.loads((tmp_path / "out" / "transforms.json").read_text())


def test_real_videos_of_four_cameras(shared_data: Path, tmp_path: Path):
    walker = shared_data / "zju" / "walker"
    for camera in ("cam01", "cam02", "cam04"):
        files = sorted((walker / "images" / camera).glob("*.jpg"))[:12]
        write_video(tmp_path / "videos" / f"{camera}.mp4", [np.asarray(Image.open(file)) for file in files], fps=60.0)
    only = ("cam01", "cam02", "cam04")
    process(tmp_path, tmp_path / "out", cameras=walker, only=only, frame_stride=4)
    config = NerfstudioTimeDataParserConfig(data=tmp_path / "out", eval_cameras=("cam02",))
    outputs = config.setup().get_dataparser_outputs("train")
    torch.testing.assert_close(outputs.metadata["frame_times"], torch.tensor([0, 0.5, 1.0]), atol=1e-4, rtol=0)
    # The walker stands at the middle of the treadmill, one metre above the floor.
    low, high = (outputs.metadata["scene_aabb"][row] for row in (0, 1))
    person = torch.linalg.inv(outputs.metadata["world_from_scene"]) @ torch.tensor([-0.9, 0.0, 0.9, 1.0])
    assert bool(((person[:3] > low) & (person[:3] < high)).all())
    assert outputs.cameras.distortion_params is not None


def test_masks_of_the_held_out_camera_do_not_shape_the_box(recording: Path, tmp_path: Path):
    boxes = {}
    for name, height in (("true", LENS.height), ("cut", 14)):
        for camera, pose in ring_poses(3).items():
            folder = tmp_path / name / camera
            folder.mkdir(parents=True)
            for frame in range(NUM_FRAMES):
                mask = photograph(pose, centre_at(frame / FPS))[1]
                if camera == "cam3":
                    mask[height:] = False
                Image.fromarray(255 * mask.astype(np.uint8)).save(folder / f"{frame}.png")
        command = process(recording, tmp_path / f"{name}_out", masks=tmp_path / name)
        assert command.endswith("--eval-cameras cam3")
        boxes[name] = json.loads((tmp_path / f"{name}_out" / "transforms.json").read_text())["scene_aabb"]
    assert boxes["true"] == boxes["cut"]
