"""A camera that walks past a slanted, textured wall with a square that moves before it, from frames to a folder."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from nf_plugins.data.flow_consistency import resize_flow
from nf_plugins.data.monocular_video import PixelConvention, read_nsff_video
from nf_plugins.data.optical_flow_files import read_flow, write_flo, write_flow
from nf_plugins.data.poses_bounds import PosesBounds, read_poses_bounds, write_poses_bounds
from nf_plugins.data.processing import frame_depth, monocular_choices, optical_flow
from nf_plugins.data.processing import monocular_video as command
from nf_plugins.data.processing.frame_sources import FrameSource, open_source
from nf_plugins.data.processing.monocular_cameras import read_frame_cameras
from nf_plugins.data.processing.monocular_scene import MonocularScene
from nf_plugins.data.processing.monocular_video import process_monocular_video
from nf_plugins.data.processing.options import MonocularVideoOptions
from nf_plugins.data.processing.stage_log import Stage, StageLog
from nf_plugins.data.transforms_json import Lens
from nf_plugins.data.writers.nsff_files import NsffFolder
from nf_plugins.errors import InputError

HEIGHT, WIDTH, FOCAL = 72, 96, 90.0
FRAMES = 5
SLOPE = np.array([0.03, 0.02, 0.25])
"""Inverse depth of the wall, in the coordinates of a camera at the origin, is SLOPE . (x / z, y / z, 1)."""
SQUARE_DEPTH = 2.5
CENTRES = np.array([[0.12 * frame, 0.02 * frame, 0.0] for frame in range(FRAMES)])


def rays() -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    return np.stack([(columns - WIDTH / 2) / FOCAL, (rows - HEIGHT / 2) / FOCAL, np.ones_like(columns)], axis=-1)


def wall_depth(centre: np.ndarray) -> np.ndarray:
    """z (H, W): the wall is SLOPE . point = 1."""
    return (1 - SLOPE @ centre) / (rays() @ SLOPE)


def texture(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    waves = [
        np.sin(9 * u + 3 * np.sin(4 * v)),
        np.sin(11 * v + 2 * np.sin(5 * u)),
        np.sin(7 * (u + v)) * np.cos(13 * u),
    ]
    return np.stack(waves, axis=-1)


def frame_of(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) and where the square is (H, W)."""
    centre = CENTRES[number]
    point = rays() * wall_depth(centre)[..., None] + centre
    image = texture(point[..., 0], point[..., 1])
    near = rays() * SQUARE_DEPTH + centre
    u, v = near[..., 0] - 0.25 * CENTRES[number, 0], near[..., 1] + 0.25 - 0.14 * number
    square = (np.abs(u) < 0.28) & (np.abs(v) < 0.28)
    image = np.where(square[..., None], texture(1.7 * u + 2, 1.7 * v), image)
    return np.round(127.5 + 110 * image).astype(np.uint8), square


def true_flow(number: int, other: int) -> np.ndarray:
    """(H, W, 2) in pixels of the recording, to a frame before or after."""
    moved = CENTRES[other] - CENTRES[number]
    wall = -FOCAL * moved[:2] / wall_depth(CENTRES[number])[..., None]
    square = FOCAL * (np.array([0.25 * moved[0], 0.14 * (other - number)]) - moved[:2]) / SQUARE_DEPTH
    return np.where(frame_of(number)[1][..., None], square, wall)


def write_true_flow(folder: Path, scale: float = 1.0, names: str = "{}") -> Path:
    """Of all frames, forward as .flo and backward as .npy, at a size of its own."""
    folder.mkdir()
    for number in range(FRAMES):
        for direction, other in (("fwd", number + 1), ("bwd", number - 1)):
            if 0 <= other < FRAMES:
                size = round(scale * HEIGHT), round(scale * WIDTH)
                flow = resize_flow(true_flow(number, other), *size)
                path = folder / f"{names.format(number)}_{direction}"
                write_flo(path.with_suffix(".flo"), flow) if other > number else np.save(f"{path}.npy", flow)
    return folder


def turned_frame(yaw: float) -> np.ndarray:
    """The wall as a camera at the origin sees it."""
    directions = rays() @ turn(yaw).T
    point = directions / (directions @ SLOPE)[..., None]
    return np.round(127.5 + 110 * texture(point[..., 0], point[..., 1])).astype(np.uint8)


def turn(yaw: float) -> np.ndarray:
    return np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])


def opengl_poses(centres: np.ndarray, yaws: np.ndarray | None = None) -> np.ndarray:
    poses = np.tile(np.eye(4)[:3], (len(centres), 1, 1))
    if yaws is not None:
        poses[:, :, :3] = [turn(yaw) for yaw in yaws]
    poses[:, :, 1:3] *= -1
    poses[:, :, 3] = centres
    return poses


def write_poses(path: Path, centres: np.ndarray = CENTRES, yaws: np.ndarray | None = None) -> Path:
    bounds = np.tile([2.0, 6.0], (len(centres), 1))
    write_poses_bounds(path, PosesBounds(opengl_poses(centres, yaws), bounds, HEIGHT, WIDTH, FOCAL))
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: frames/frame_{1..5}.png, squares/ with masks, poses_bounds.npy."""
    folder = tmp_path_factory.mktemp("walk")
    for name in ("frames", "squares"):
        (folder / name).mkdir()
    for number in range(FRAMES):
        image, square = frame_of(number)
        Image.fromarray(image).save(folder / "frames" / f"frame_{number + 1}.png")
        Image.fromarray(255 * square.astype(np.uint8)).save(folder / "squares" / f"frame_{number + 1}.png")
    write_poses(folder / "poses_bounds.npy")
    return folder


def options_for(recording: Path, output: Path, **given: Any) -> MonocularVideoOptions:
    usual: dict[str, Any] = {
        "data": recording / "frames",
        "poses": recording / "poses_bounds.npy",
        "output_dir": output,
        "pixel_convention": "half",
        "resize_height": 48,
        "flow_backend": "dis",
        "flow_long_side": 128,
        "depth_backend": "triangulated",
    }
    return MonocularVideoOptions(**{**usual, **given})


@pytest.fixture(scope="module")
def processed(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: the folder that the command makes of the recording."""
    folder = tmp_path_factory.mktemp("processed") / "out"
    words = shlex.split(process_monocular_video(options_for(recording, folder)))
    assert words == ["ns-train", "nsff", "--data", str(folder), "nsff-data"]
    return folder


@pytest.fixture(autouse=True)
def no_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """One picture, that of ``processed``, is enough."""
    monkeypatch.setattr("nf_plugins.data.processing.monocular_report.draw_preview", lambda scene, report: None)


def test_the_layout_is_nsffs(processed: Path):
    files = {path.relative_to(processed).as_posix() for path in processed.rglob("*") if path.is_file()}
    expected = {"poses_bounds.npy", "scene.json", "process_data.json", "report.json", "preview.png"}
    for number in range(FRAMES):
        expected |= {f"images/{number:05d}.png", f"images_64x48/{number:05d}.png", f"disp/{number:05d}.npy"}
        expected |= {f"motion_masks/{number:05d}.png"}
    expected |= {f"flow_i1/{number:05d}_fwd.npz" for number in range(FRAMES - 1)}
    expected |= {f"flow_i1/{number:05d}_bwd.npz" for number in range(1, FRAMES)}
    assert files == expected
    cameras = read_poses_bounds(processed / "poses_bounds.npy")
    np.testing.assert_allclose(cameras.camera_to_worlds, opengl_poses(CENTRES), atol=1e-12)
    assert (cameras.height, cameras.width, cameras.focal) == (HEIGHT, WIDTH, FOCAL)
    np.testing.assert_array_equal(cameras.bounds[:, 1], 6)


def test_flow_depth_and_masks_agree_with_the_truth(processed: Path):
    scale = 48 / HEIGHT
    number = 2
    _, square = frame_of(number)
    small = np.asarray(Image.fromarray(square).resize((64, 48))) > 0
    flow, valid = read_flow(processed / "flow_i1" / f"{number:05d}_fwd.npz")
    step = CENTRES[number + 1] - CENTRES[number]
    depth = np.asarray(Image.fromarray(wall_depth(CENTRES[number]).astype(np.float32)).resize((64, 48)))
    truth = -scale * FOCAL * step[:2] / depth[..., None]
    mask = np.asarray(Image.open(processed / "motion_masks" / f"{number:05d}.png")) > 0
    wall = ~mask & valid
    wall[:4] = wall[-4:] = wall[:, :4] = wall[:, -4:] = False
    assert wall.mean() > 0.4
    assert np.linalg.norm(flow - truth, axis=-1)[wall].mean() < 0.25
    # The square leaves its epipolar lines, what is far from it does not.
    assert mask[small].mean() > 0.8
    assert mask.mean() < 0.45
    disparity = np.load(processed / "disp" / f"{number:05d}.npy")
    known = np.isfinite(disparity)
    assert disparity.dtype == np.float32 and not known[mask].any() and known[wall].mean() > 0.9
    assert np.median(np.abs(disparity * depth - 1)[wall & known]) < 0.08


def test_the_report_counts(processed: Path):
    report = json.loads((processed / "report.json").read_text())
    assert report["registered_frames"] == FRAMES and report["size"] == [48, 64]
    assert 0.03 < report["mask_ratio"]["mean"] < 0.45
    assert len(report["per_frame"]["cycle_valid_ratio_forward"]) == FRAMES - 1
    assert report["cycle_valid_ratio"]["backward"]["mean"] > 0.7
    assert report["flow"] == "dis" and report["depth"]["source"] == "triangulated"
    assert report["bounds"] == {"source": "the poses' file", "near": 2.0, "far": 6.0}
    assert Image.open(processed / "preview.png").size[0] > 500
    stages = json.loads((processed / "process_data.json").read_text())["stages"]
    assert list(stages) == ["frames", "flow", "motion_masks", "depth"]
    assert all(stage["finished"] for stage in stages.values())


def test_a_stopped_run_is_gone_on_with_and_other_options_are_refused(recording: Path, tmp_path: Path):
    options = options_for(recording, tmp_path / "out", num_frames=3, depth_backend="none")
    process_monocular_video(options)
    flows = tmp_path / "out" / "flow_i1"
    lost, kept = flows / "00001_fwd.npz", flows / "00000_fwd.npz"
    before, content = kept.stat().st_mtime_ns, read_flow(lost).flow
    lost.unlink()
    process_monocular_video(options)
    assert kept.stat().st_mtime_ns == before
    np.testing.assert_array_equal(read_flow(lost).flow, content)
    other = options_for(recording, tmp_path / "out", num_frames=3, depth_backend="none", epipolar_threshold=2.0)
    with pytest.raises(InputError, match=r"holds motion_masks made with another epipolar_threshold \(1.0, now 2.0\)"):
        process_monocular_video(other)
    other.overwrite = True
    mask = tmp_path / "out" / "motion_masks" / "00001.png"
    mask_before = mask.stat().st_mtime_ns
    process_monocular_video(other)
    assert kept.stat().st_mtime_ns == before and mask.stat().st_mtime_ns != mask_before


def test_given_masks_and_depth_are_brought_in(recording: Path, tmp_path: Path):
    (tmp_path / "depth").mkdir()
    for number in range(FRAMES):
        depth = wall_depth(CENTRES[number]).astype(np.float32)
        depth[10:14, 10:14] = 0  # unknown
        np.save(tmp_path / "depth" / f"{number}.npy", depth)
    options = options_for(
        recording,
        tmp_path / "out",
        depth_backend="auto",
        depth_folder=tmp_path / "depth",
        depth_kind="metric",
        motion_masks=recording / "squares",
        epipolar_threshold=None,
        num_frames=3,
        start_frame=1,
    )
    process_monocular_video(options)
    disparity = np.load(tmp_path / "out" / "disp" / "00000.npy")
    truth = np.asarray(Image.fromarray((1 / wall_depth(CENTRES[1])).astype(np.float32)).resize((64, 48)))
    known = np.isfinite(disparity)
    assert not known[7:9, 7:9].any() and (~known).sum() <= 25
    np.testing.assert_allclose(disparity[known], truth[known], rtol=0.03)
    mask = np.asarray(Image.open(tmp_path / "out" / "motion_masks" / "00000.png")) > 0
    square = np.asarray(Image.fromarray(frame_of(1)[1]).resize((64, 48))) > 0
    assert mask[square].all() and mask.sum() < 2 * square.sum() + 200
    np.testing.assert_allclose(
        read_poses_bounds(tmp_path / "out" / "poses_bounds.npy").camera_to_worlds[0, :, 3], CENTRES[1], atol=1e-12
    )


def test_flow_of_files_is_brought_in(recording: Path, tmp_path: Path):
    folder = write_true_flow(tmp_path / "flow", 0.5)
    given = {"flow_folder": folder, "flow_backend": "auto", "start_frame": 1, "num_frames": 3}
    options = options_for(recording, tmp_path / "out", **given)
    process_monocular_video(options)
    flows, flow_masks = tmp_path / "out" / "flow_i1", {}
    for name, number, other in (("00000_fwd", 1, 2), ("00001_bwd", 2, 1), ("00002_bwd", 3, 2)):
        flow, valid = read_flow(flows / f"{name}.npz")
        truth = resize_flow(true_flow(number, other), 48, 64)
        square = np.asarray(Image.fromarray(frame_of(number)[1]).resize((64, 48))) > 0
        inner = np.logical_or(*(ndimage.binary_erosion(part, iterations=3) for part in (square, ~square)))
        assert np.abs(flow - truth)[inner].max() < 0.02
        flow_masks[name] = valid
        # What leads out of the image is not confirmed, what stays in it is, but for the border of the square.
        assert valid[:, 8:-8].mean() > 0.85 and not valid.all()
    assert json.loads((tmp_path / "out" / "report.json").read_text())["flow"] == "folder"
    disparity = np.load(tmp_path / "out" / "disp" / "00001.npy")
    truth = np.asarray(Image.fromarray((1 / wall_depth(CENTRES[2])).astype(np.float32)).resize((64, 48)))
    known = np.isfinite(disparity)
    assert known.mean() > 0.5 and np.median(np.abs(disparity / truth - 1)[known]) < 0.01
    # A stopped run is gone on with.
    lost, kept = flows / "00000_fwd.npz", flows / "00001_fwd.npz"
    before = kept.stat().st_mtime_ns
    lost.unlink()
    process_monocular_video(options)
    assert kept.stat().st_mtime_ns == before
    np.testing.assert_array_equal(read_flow(lost).valid, flow_masks["00000_fwd"])
    # Files that have changed are noticed, and their masks kept to.
    left = np.broadcast_to(np.arange(48) < 24, (36, 48))
    write_flow(folder / "1_fwd.npz", resize_flow(true_flow(1, 2), 36, 48), left)
    with pytest.raises(InputError, match="holds flow made with another files"):
        process_monocular_video(options)
    options.overwrite = True
    process_monocular_video(options)
    assert not read_flow(lost).valid[:, 32:].any()
    np.testing.assert_array_equal(read_flow(lost).valid[:, :30], flow_masks["00000_fwd"][:, :30])


def test_bad_flow_is_refused_before_anything_is_written(recording: Path, tmp_path: Path):
    output = tmp_path / "out"

    def refuse(match: str, **given: Any) -> None:
        usual = {"flow_backend": "folder", "depth_backend": "none"}
        with pytest.raises(InputError, match=match):
            process_monocular_video(options_for(recording, output, **{**usual, **given}))
        assert not output.exists()

    refuse("--flow-backend folder reads --flow-folder, which is not given")
    refuse("absent does not exist, expected <frame>_fwd", flow_folder=tmp_path / "absent")
    refuse("--flow-folder .*flow_i1 lies in --output-dir .*: copy it elsewhere", flow_folder=output / "flow_i1")
    folder = write_true_flow(tmp_path / "flow", names="frame_{}")  # the images' names are counted from 1
    refuse("--flow-backend dis, expected folder: leave one out", flow_folder=folder, flow_backend="dis")
    refuse("--frame-stride is 2 with --flow-folder, expected 1", flow_folder=folder, frame_stride=2)
    refuse("--flow-weights a.pth is given with --flow-folder", flow_folder=folder, flow_weights=Path("a.pth"))
    (folder / "frame_3_bwd.npy").unlink()
    missing = r"holds no frame_3_bwd\.\w+, the backward flow from frame 3 \(frame_4.png\) to frame 2.*--flow-backend"
    refuse(missing, flow_folder=folder)
    np.save(folder / "frame_3_bwd.npy", np.zeros((80, WIDTH, 2)))
    refuse("frame_3_bwd.npy holds the flow of 96x80 pixels, but the frames are 96x72", flow_folder=folder)
    (folder / "frame_3_bwd.npy").write_bytes(b"no")
    refuse("frame_3_bwd.npy cannot be read", flow_folder=folder)


def test_bad_input_is_refused_before_anything_is_written(recording: Path, tmp_path: Path):
    output = tmp_path / "out"

    def refuse(match: str, **given: Any) -> None:
        with pytest.raises(InputError, match=match):
            process_monocular_video(options_for(recording, output, **given))
        assert not output.exists()

    two = tmp_path / "two"
    two.mkdir()
    for number in range(2):
        Image.fromarray(frame_of(number)[0]).save(two / f"{number}.png")
    refuse("holds 2 frames, 2 of them chosen, expected at least 3", data=two)
    refuse("holds 5 frames, 2 of them chosen, expected at least 3", num_frames=2)
    for start in (5, 9):
        refuse(f"holds 5 frames, 0 of them from frame {start} on in steps of 1, expected at least", start_frame=start)
    refuse("holds 5 frames, 2 of them chosen, expected at least 3", start_frame=3)
    refuse("--start-frame is -1, expected 0 or more", start_frame=-1)
    few = write_poses(tmp_path / "few.npy", CENTRES[:4])
    refuse("has 4 cameras, but .* has 5 frames, of which 3 are chosen", poses=few, num_frames=3)
    still = write_poses(tmp_path / "still.npy", np.zeros((FRAMES, 3)))
    refuse("at one place in all frames.*Depth cannot be triangulated", poses=still)
    turning = write_poses(tmp_path / "turning.npy", np.ones((FRAMES, 3)), 0.04 * np.arange(FRAMES))
    refuse("at one place in all frames.*Depth cannot be triangulated", poses=turning)
    frames = [
        {"file_path": f"frames/frame_{number + 1}.png", "transform_matrix": [*pose.tolist(), [0, 0, 0, 1]]}
        for number, pose in enumerate(read_poses_bounds(turning).camera_to_worlds)
    ]
    lens = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    (tmp_path / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    no_bounds = {"poses": tmp_path / "transforms.json", "depth_backend": "none", "pixel_convention": "auto"}
    refuse("only turns, or stands.*Nor can it be told how near and far things are, expected --bounds", **no_bounds)
    refuse("expected one of them", epipolar_threshold=None)
    constant = tmp_path / "constant"
    constant.mkdir()
    for number in range(FRAMES):
        np.save(constant / f"{number}.npy", np.ones((4, 4)))
    refuse("is the same everywhere", depth_folder=constant, depth_backend="folder")
    np.save(constant / "2.npy", np.eye(4))  # nothing is known where depth is 0
    for number in (0, 1, 3, 4):
        np.save(constant / f"{number}.npy", 1 + np.eye(4))
    metric = {"depth_folder": constant, "depth_backend": "folder", "depth_kind": "metric"}
    refuse("2.npy is the same everywhere", **metric)
    output.mkdir()
    (output / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="was not written by this command"):
        process_monocular_video(options_for(recording, output))


def test_a_turning_camera_is_said_to_turn(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # no depth network, wherever this runs
    still = write_poses(tmp_path / "still.npy", np.zeros((FRAMES, 3)))
    line = process_monocular_video(options_for(recording, tmp_path / "out", poses=still, depth_backend="auto"))
    # The method refuses to train with a depth loss and no depth.
    assert shlex.split(line)[-3:] == ["--pipeline.model.loss-coefficients.depth", "0", "nsff-data"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["depth"]["source"] == "none" and not (tmp_path / "out" / "disp").exists()
    # These poses are wrong: the camera did move, so all of the picture seems to.
    assert any("at one place in all frames" in message for message in report["warnings"])
    assert any("white everywhere" in message for message in report["warnings"])
    assert "train without its loss" in " ".join(capsys.readouterr().out.split())


def test_a_camera_that_only_turns_has_no_depth_and_nothing_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # no depth network, wherever this runs
    yaws = 0.03 * (np.arange(3) - 1)
    (tmp_path / "frames").mkdir()
    for number, yaw in enumerate(yaws):
        Image.fromarray(turned_frame(yaw)).save(tmp_path / "frames" / f"{number}.png")
    turning = write_poses(tmp_path / "turning.npy", np.zeros((3, 3)), yaws)
    process_monocular_video(options_for(tmp_path, tmp_path / "out", poses=turning, depth_backend="auto"))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["depth"]["source"] == "none" and not (tmp_path / "out" / "disp").exists()
    assert any("only turns, or stands" in message for message in report["warnings"])
    assert report["mask_ratio"]["largest"] < 0.2 and report["median_flow_pixels"]["smallest"] > 1
    # Poses that were found are never at quite the same place: flow tells then.
    found = write_poses(tmp_path / "found.npy", 1e-4 * np.random.default_rng(0).normal(size=(3, 3)), yaws)
    with pytest.raises(InputError, match="the camera only turns or hardly moves.*Give depth with --depth-folder"):
        process_monocular_video(options_for(tmp_path, tmp_path / "other", poses=found))


def test_the_pixel_convention_of_poses_is_that_of_the_dataparser(tmp_path: Path):
    file = write_poses(tmp_path / "poses_bounds.npy")
    source = FrameSource(tmp_path, np.arange(float(FRAMES)))

    def found(convention: PixelConvention) -> str:
        cameras = read_frame_cameras(file, source, list(range(FRAMES)), (HEIGHT, WIDTH), convention=convention)
        assert cameras.lenses[0] == Lens(WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
        return cameras.pixel_convention

    assert [found(name) for name in ("auto", "integer", "half")] == ["integer", "integer", "half"]
    (tmp_path / "scene.json").write_text('{"pixel_convention": "half"}')
    assert [found(name) for name in ("auto", "integer")] == ["half", "integer"]


@pytest.mark.parametrize("scale", [1, 2])
def test_frames_of_poses_with_integer_pixels_stay_as_they_are(
    recording: Path, tmp_path: Path, scale: int, monkeypatch: pytest.MonkeyPatch
):
    """The rays of the processed frames are those of NSFF at the size of training, in all stages and to nsff-data."""
    poses = read_poses_bounds(recording / "poses_bounds.npy")
    # A width that is rounded is no other lens either.
    sizes = {"height": HEIGHT / scale, "width": WIDTH / scale - 0.4, "focal": FOCAL / scale}
    write_poses_bounds(tmp_path / "poses.npy", poses._replace(**sizes))
    seen: list[Lens] = []
    write_masks = command.stages.write_motion_masks

    def watched(scene: MonocularScene, *arguments: Any) -> None:
        seen.append(scene.lens)
        write_masks(scene, *arguments)

    monkeypatch.setattr(command.stages, "write_motion_masks", watched)
    usual = {"poses": tmp_path / "poses.npy", "num_frames": 3, "start_frame": 1, "depth_backend": "none"}
    process_monocular_video(options_for(recording, tmp_path / "out", pixel_convention="auto", **usual))
    for number in range(3):
        processed, recorded = (
            np.asarray(Image.open(path))
            for path in (
                tmp_path / "out" / "images" / f"{number:05d}.png",
                recording / "frames" / f"frame_{number + 2}.png",
            )
        )
        np.testing.assert_array_equal(processed, recorded)
    assert json.loads((tmp_path / "out" / "scene.json").read_text()) == {"pixel_convention": "integer"}
    assert (seen[0].cx, seen[0].cy) == (64 / 2 + 0.5, 48 / 2 + 0.5)
    video = read_nsff_video(tmp_path / "out", None, "auto", "auto")
    assert video.lens == seen[0] and (video.lens.width, video.lens.height) == (64, 48)
    with pytest.raises(InputError, match=r"motion_masks made with another pixel_convention \(integer, now half\)"):
        process_monocular_video(options_for(recording, tmp_path / "out", pixel_convention="half", **usual))


def test_options_that_would_do_nothing_are_refused(recording: Path, tmp_path: Path):
    def refuse(match: str, **given: Any) -> None:
        with pytest.raises(InputError, match=match):
            process_monocular_video(options_for(recording, tmp_path / "out", **given))
        assert not (tmp_path / "out").exists()

    lens = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    frames = [
        {"file_path": f"frame_{number + 1}.png", "transform_matrix": [*pose.tolist(), [0, 0, 0, 1]]}
        for number, pose in enumerate(opengl_poses(CENTRES))
    ]
    (tmp_path / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    refuse("--pixel-convention half: applies to a poses_bounds.npy, not to", poses=tmp_path / "transforms.json")
    refuse("--pixel-convention half: applies to --poses", poses=None)
    refuse("--colmap-matching exhaustive: does nothing with --poses", colmap_matching="exhaustive")
    refuse("--depth-kind metric: applies to the files of --depth-folder", depth_kind="metric")
    refuse("--depth-model own: does nothing with --depth-backend triangulated", depth_model="own")
    folder = {"depth_folder": recording / "squares", "depth_backend": "auto"}
    refuse("--depth-model own: does nothing with --depth-folder", depth_model="own", **folder)


def test_damaged_frames_are_refused_before_anything_is_written(recording: Path, tmp_path: Path):
    frames = tmp_path / "frames"
    shutil.copytree(recording / "frames", frames)
    last = frames / f"frame_{FRAMES}.png"

    def refuse(match: str) -> None:
        with pytest.raises(InputError, match=match):
            process_monocular_video(options_for(recording, tmp_path / "out", data=frames))
        assert not (tmp_path / "out").exists()

    Image.fromarray(frame_of(0)[0][:, :-2]).save(last)
    refuse("frame_5.png is 94x72 pixels, but the first one 96x72, expected one size")
    last.write_bytes((frames / "frame_1.png").read_bytes()[:-200])
    refuse("frame_5.png cannot be read")


def test_a_frame_without_depth_leaves_all_depth_out(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The second of five frames is not one of those that are looked at beforehand."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # no depth network, wherever this runs
    masks = tmp_path / "masks"
    shutil.copytree(recording / "squares", masks)
    Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(masks / "frame_2.png")
    output = tmp_path / "out"

    def process(**given: Any) -> list[str]:
        return shlex.split(process_monocular_video(options_for(recording, output, motion_masks=masks, **given)))

    with pytest.raises(InputError, match=r"Nothing of frame 1 can be triangulated.*--depth-backend none.*--overwrite"):
        process()
    assert not (output / "disp").exists()
    (output / "disp").mkdir()
    np.save(output / "disp" / "00000.npy", np.ones((48, 64), np.float32))  # as if stopped while writing
    for _ in range(2):  # a second run comes to the same
        assert process(depth_backend="auto")[-2:] == ["0", "nsff-data"]
        assert not (output / "disp").exists()
        report = json.loads((output / "report.json").read_text())
        assert report["depth"]["source"] == "none"
        assert any("Nothing of frame 1" in message for message in report["warnings"])


def test_what_is_finished_needs_no_network(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loaded: list[str] = []

    def depth_network(name: str) -> Any:
        loaded.append("depth")
        return lambda image: image.mean(axis=-1).astype(np.float32)

    def raft(backend: str, weights: Path | None, earlier: str | None = None) -> optical_flow.FlowEstimator:
        loaded.append("flow")
        return optical_flow.FlowEstimator("raft", "raft.pth", optical_flow.dis_estimator().estimate)

    def offline(*arguments: Any) -> Any:
        raise InputError("offline")

    def put(depth: Any, flow: Any) -> None:
        for module in (monocular_choices, frame_depth):
            monkeypatch.setattr(module, "load_depth_network", depth)
        for module in (monocular_choices, optical_flow):
            monkeypatch.setattr(module, "choose_flow_estimator", flow)

    asked: dict[str, Any] = {"depth_backend": "auto", "flow_backend": "raft", "flow_weights": Path("raft.pth")}
    put(depth_network, raft)
    process_monocular_video(options_for(recording, tmp_path / "out", num_frames=3, **asked))
    assert loaded == ["depth", "flow"]
    put(offline, offline)
    bounds = {"bounds": (1.0, 9.0), "num_frames": 3}
    process_monocular_video(options_for(recording, tmp_path / "out", **bounds, **asked))
    np.testing.assert_array_equal(read_poses_bounds(tmp_path / "out" / "poses_bounds.npy").bounds[0], [1, 9])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["flow"], report["depth"]["source"]) == ("raft", "transformers")
    # What has gone missing is made again, by what is loaded then.
    put(depth_network, raft)
    for lost in ("disp/00001.npy", "flow_i1/00001_fwd.npz"):
        (tmp_path / "out" / lost).unlink()
    process_monocular_video(options_for(recording, tmp_path / "out", **bounds, **asked))
    assert loaded == ["depth", "flow", "flow", "depth"]
    assert (tmp_path / "out" / "disp" / "00001.npy").is_file()


def test_a_named_depth_model_is_used_or_missed(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> Any:
        raise InputError(f"{name} gives metric depth")

    monkeypatch.setattr(monocular_choices, "load_depth_network", missing)
    with pytest.raises(InputError, match="mine gives metric depth"):
        process_monocular_video(options_for(recording, tmp_path / "out", depth_backend="auto", depth_model="mine"))
    assert not (tmp_path / "out").exists()
    log = StageLog(tmp_path / "out", "monocular-video")
    options = options_for(recording, tmp_path / "out", depth_backend="auto")
    assert monocular_choices.choose_depth(options, log).backend == "triangulated"
    log.begin("depth", Stage({"backend": "triangulated", "triangulation_span": 10}, ("disp",)))
    options.depth_model = "mine"
    with pytest.raises(InputError, match="mine gives metric depth"):
        monocular_choices.choose_depth(options, log)


def test_a_stretch_with_cameras_is_told_in_frames_of_the_recording(recording: Path, tmp_path: Path):
    lens = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    frames = [
        {
            "file_path": str(recording / "frames" / f"frame_{number + 1}.png"),
            "transform_matrix": [*pose.tolist(), [0, 0, 0, 1]],
        }
        for number, pose in enumerate(opengl_poses(CENTRES))
        if number != 1
    ]
    file = tmp_path / "transforms.json"
    file.write_text(json.dumps({**lens, "frames": frames}))
    source, every = open_source(recording / "frames", 30.0), list(range(FRAMES))
    with pytest.raises(InputError, match=r"frame 1 \(frame_2.png\), .* 3 frames: --start-frame 2 --num-frames 3\.$"):
        read_frame_cameras(file, source, every, (HEIGHT, WIDTH))
    # As when COLMAP was given every fourth frame from the tenth on.
    with pytest.raises(InputError, match=r"none of frame 14 .*: --start-frame 18 --num-frames 3 --frame-stride 4\.$"):
        read_frame_cameras(file, source, every, (HEIGHT, WIDTH), numbers=[10, 14, 18, 22, 26])


def test_a_scene_reads_flow_anew_that_a_later_run_wrote(tmp_path: Path):
    folder = NsffFolder(tmp_path, 2, 3)
    lens = Lens(3, 2, 2.0, 2.0, 1.5, 1.0)
    for number in (1.0, 2.0):
        scene = MonocularScene(folder, lens, opengl_poses(CENTRES))
        write_flow(folder.flow_forward(0), np.full((2, 3, 2), number), np.ones((2, 3)))
        assert scene.flow(0, 1).flow[0, 0, 0] == number
        assert scene.flow(0, 1) is scene.flow(0, 1)


def test_without_poses_colmap_is_asked_or_asked_for(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from nerfstudio.data.utils import colmap_parsing_utils as colmap

    options = options_for(recording, tmp_path / "out", poses=None, pixel_convention="auto", depth_backend="none")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="COLMAP is not installed .*--poses"):
        process_monocular_video(options)
    assert not (tmp_path / "out").exists()

    calls: list[str] = []
    centres = CENTRES.copy()

    def stopped(images: Path, folder: Path, matching: str) -> None:
        model_of(images, folder, matching)  # the mapper's, before its lens is refined
        raise KeyboardInterrupt

    def model_of(images: Path, folder: Path, matching: str) -> None:
        calls.append(matching)
        assert matching == "sequential" and len(list(images.iterdir())) == FRAMES
        (folder / "sparse" / "0").mkdir(parents=True)
        lens = colmap.Camera(1, "SIMPLE_PINHOLE", WIDTH, HEIGHT, np.array([FOCAL, WIDTH / 2, HEIGHT / 2]))
        views = {
            number + 1: colmap.Image(
                id=number + 1, qvec=np.array([1.0, 0, 0, 0]), tvec=-centre, camera_id=1, name=f"{number:05d}.png",
                xys=np.zeros((0, 2)), point3D_ids=np.zeros(0, dtype=int),
            )
            for number, centre in enumerate(centres)
        }  # fmt: skip
        rng = np.random.default_rng(0)
        spots = np.stack([rng.uniform(-0.5, 0.5, 40), rng.uniform(-0.4, 0.4, 40), rng.uniform(3, 5, 40)], axis=-1)
        points = {
            number: colmap.Point3D(number, spot, np.zeros(3, int), 0.1, np.zeros(0, int), np.zeros(0, int))
            for number, spot in enumerate(spots, start=1)
        }
        colmap.write_model({1: lens}, views, points, str(folder / "sparse" / "0"), ".bin")

    monkeypatch.setattr(command, "require_colmap", lambda: None)
    monkeypatch.setattr(command, "run_colmap_on", stopped)
    with pytest.raises(KeyboardInterrupt):
        process_monocular_video(options)
    monkeypatch.setattr(command, "run_colmap_on", model_of)
    process_monocular_video(options)
    assert len(calls) == 2
    cameras = read_poses_bounds(tmp_path / "out" / "poses_bounds.npy")
    np.testing.assert_allclose(cameras.camera_to_worlds, opengl_poses(CENTRES), atol=1e-9)
    assert 2.9 < cameras.bounds.min() < 3.5 < cameras.bounds.max() < 5.1
    assert json.loads((tmp_path / "out" / "report.json").read_text())["bounds"]["source"] == "points"
    # A second run finds COLMAP's model.
    process_monocular_video(options)
    assert len(calls) == 2
    # Other poses than those that motion was told by.
    shutil.rmtree(tmp_path / "out" / "colmap")
    centres[2] += 0.01
    mask, frame = (tmp_path / "out" / name for name in ("motion_masks/00001.png", "images/00001.png"))
    before = mask.stat().st_mtime_ns, frame.stat().st_mtime_ns
    for _ in range(2):
        with pytest.raises(InputError, match="holds motion_masks made with another poses .*--overwrite"):
            process_monocular_video(options)
    assert len(calls) == 3 and (mask.stat().st_mtime_ns, frame.stat().st_mtime_ns) == before
    options.overwrite = True
    process_monocular_video(options)
    assert len(calls) == 3 and mask.stat().st_mtime_ns != before[0] and frame.stat().st_mtime_ns == before[1]
    options.overwrite = False
    # What an interrupted COLMAP left where its model belongs is not one.
    log = StageLog(tmp_path / "out", "monocular-video")
    log.content["stages"]["colmap"]["finished"] = False
    log.save()
    process_monocular_video(options)
    assert len(calls) == 4


def test_frames_of_a_bent_lens_are_straightened(recording: Path, tmp_path: Path):
    frames = [
        {"file_path": f"frames/frame_{number + 1}.png", "transform_matrix": [*pose.tolist(), [0, 0, 0, 1]]}
        for number, pose in enumerate(opengl_poses(CENTRES))
    ]
    lens = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2 + 3, "cy": HEIGHT / 2, "k1": 0.05}
    (tmp_path / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    options = options_for(
        recording,
        tmp_path / "out",
        poses=tmp_path / "transforms.json",
        pixel_convention="auto",
        num_frames=3,
        depth_backend="none",
    )
    process_monocular_video(options)
    cameras = read_poses_bounds(tmp_path / "out" / "poses_bounds.npy")
    # A border without content is zoomed away; near and far come from flow, as the file has no points.
    assert FOCAL < cameras.focal < 1.3 * FOCAL
    assert 1.5 < np.median(cameras.bounds[:, 0]) < 6
    # The principal point, 3 pixels right of the middle, is in the middle now.
    image, original = (
        np.asarray(Image.open(path))
        for path in (tmp_path / "out" / "images" / "00000.png", recording / "frames" / "frame_1.png")
    )
    column, row = WIDTH // 2, HEIGHT // 2
    around = np.abs(
        image[row - 1 : row + 1, column - 1 : column + 1].astype(float)
        - original[row - 1 : row + 1, column + 2 : column + 4]
    )
    assert around.mean() < 12
    fewer = {**lens, "frames": frames[:3]}
    (tmp_path / "fewer.json").write_text(json.dumps(fewer))
    with pytest.raises(InputError, match=r"none of frame 3 .frame_4.png.*--start-frame 0 --num-frames 3"):
        process_monocular_video(
            options_for(recording, tmp_path / "other", poses=tmp_path / "fewer.json", pixel_convention="auto")
        )


def test_raft_reads_its_weights_from_a_file_and_is_asked_for_when_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(InputError, match=r"cannot be fetched \(HF_HUB_OFFLINE is set\).*--flow-weights"):
        optical_flow.choose_flow_estimator("raft", None)
    assert optical_flow.choose_flow_estimator("auto", None).name == "dis"
    assert optical_flow.choose_flow_estimator("auto", None, earlier="dis").name == "dis"
    import torch
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    torch.save(raft_small().state_dict(), tmp_path / "small.pth")
    estimator = optical_flow.choose_flow_estimator("auto", tmp_path / "small.pth")
    assert (estimator.name, estimator.weights) == ("raft", "small.pth")
    monkeypatch.setattr(optical_flow, "RAFT_UPDATES", 1)
    image = frame_of(0)[0]
    flow = estimator.flow_at(image, image, 128, (36, 48))
    assert flow.shape == (36, 48, 2) and np.isfinite(flow).all()
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other.pth are not of torchvision's raft_large or raft_small"):
        optical_flow.choose_flow_estimator("auto", tmp_path / "other.pth")


def test_dis_flow_of_a_rendered_pair_is_near_the_truth():
    """Known answer: Sintel's pair at half size, mean displacement 1.40 pixels; 0.16 measured at 768 pixels."""
    folder = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "flow" / "sintel_pair_half"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    first, second = (np.asarray(Image.open(folder / f"frame_000{number}.png").convert("RGB")) for number in (1, 2))
    truth = read_flow(folder / "frame_0001.flo")
    flow = optical_flow.dis_estimator().flow_at(first, second, 768, first.shape[:2])
    error = np.linalg.norm(flow - truth.flow, axis=-1)[truth.valid].mean()
    assert error < 0.2
