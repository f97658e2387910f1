from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ball_capture import BACKDROP, LENS, MIDDLE, NUM_FRAMES, RADIUS, centre_at, write_recording
from PIL import Image

from dataparsers.owlii import OwliiDataParserConfig
from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.processing import rgbd
from nf_plugins.data.processing.options import RgbdOptions
from nf_plugins.data.processing.rgbd import process_rgbd, ray_depth
from nf_plugins.errors import InputError


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: 3 cameras x 4 frames, the first one walks."""
    return write_recording(tmp_path_factory.mktemp("rgbd") / "recording")


def process(recording: Path, output: Path, **options: Any) -> str:
    return process_rgbd(RgbdOptions(recording=recording, output_dir=output, **options))


def parse(command: str) -> Any:
    """The training outputs of the dataparser with the arguments that a command gives it."""
    words = shlex.split(command)
    arguments = words[words.index("owlii-data") + 1 :]
    options: dict[str, Any] = {}
    for position, word in enumerate(arguments):
        if word.startswith("--"):
            values = []
            for value in arguments[position + 1 :]:
                if value.startswith("--"):
                    break
                values.append(value)
            key = word[2:].replace("-", "_")
            options[key] = tuple(values) if key.endswith("cameras") else values[0]
    if "depth_unit" in options:
        options["depth_unit"] = float(options["depth_unit"])
    data = Path(words[words.index("--data") + 1])
    return OwliiDataParserConfig(data=data, **options).setup().get_dataparser_outputs("train")


@pytest.mark.parametrize("ray", [False, True])
def test_surface_points_of_the_layout_lie_on_the_ball(recording: Path, tmp_path: Path, ray: bool):
    command = process(recording, tmp_path / "out", depth_range=(1.0, 6.0), convert_depth_to_ray=ray)
    assert f"--depth-convention {'ray' if ray else 'z'}" in command
    outputs = parse(command)
    assert outputs.metadata["camera_names"] == ["cam1", "cam2", "cam3"]
    assert len(outputs.image_filenames) == 2 * NUM_FRAMES
    world = outputs.metadata["world_from_scene"]
    scale = float(world[0, 0])
    low, high = outputs.metadata["scene_aabb"]
    dataset = DynamicDataset(outputs)
    for index in range(len(dataset)):
        data = dataset[index]
        rays = outputs.cameras.generate_rays(index)
        points = rays.origins + data["depth"] * rays.directions
        chosen = (data["fg_mask"][..., 0] > 0.5) & (data["depth"][..., 0] > 0)
        assert int(chosen.sum()) > 60
        centre = torch.from_numpy((centre_at(index % NUM_FRAMES / 10) - world[:3, 3].numpy()) / scale).float()
        distance = (points[chosen] - centre).norm(dim=-1) * scale
        assert float((distance - RADIUS).abs().median()) < 2e-3
        inside = ((points[chosen] > low) & (points[chosen] < high)).all(-1)
        assert float(inside.float().mean()) > 0.95
    # The unit sphere holds the motion (0.6 long) and the ball, and little more.
    assert 0.7 < scale < 1.2
    np.testing.assert_allclose(world[:3, 3].numpy(), MIDDLE, atol=0.15)
    record = json.loads((tmp_path / "out" / "process_data.json").read_text())
    assert record["depth_convention"] == ("ray" if ray else "z")


def test_z_depth_is_written_as_it_is(recording: Path, tmp_path: Path):
    process(recording, tmp_path / "out", depth_range=(1.0, 6.0), start_frame=1, frame_stride=2)
    for number, frame in enumerate((1, 3)):
        raw = np.asarray(Image.open(recording / f"cam2/depth/{frame}.png"))
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"out/cam2/depth/{number:06d}.png")), raw)
        color = np.asarray(Image.open(recording / f"cam2/color/{frame}.png"))
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"out/cam2/rgb/{number:06d}.png")), color)


def masks_of(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(folder / f"cam2/mask/{frame:06d}.png")) > 0 for frame in range(NUM_FRAMES)])


def truth_masks(recording: Path) -> np.ndarray:
    images = [np.asarray(Image.open(recording / f"cam2/color/{frame}.png")) for frame in range(NUM_FRAMES)]
    return np.stack([(image != BACKDROP).any(-1) for image in images])


@pytest.mark.parametrize(
    "options",
    [
        {"depth_range": (1.0, 6.0)},
        {"crop_box": (1.0, -4.0, 0.0, 5.0, 0.0, 3.0)},
        {"chroma_key": BACKDROP},
        {"chroma_key": BACKDROP, "depth_range": (1.0, 6.0)},
    ],
)
def test_ways_to_a_mask(recording: Path, tmp_path: Path, options: dict[str, Any]):
    command = process(recording, tmp_path / "out", **options)
    assert "uniform" not in command
    masks, truth = masks_of(tmp_path / "out"), truth_masks(recording)
    overlap = (masks & truth).sum() / (masks | truth).sum()
    assert overlap > 0.8
    if "chroma_key" in options and "depth_range" in options:
        # Pixels without depth stay what the key colour says.
        assert (masks & truth).sum() / truth.sum() > 0.85


def test_without_any_mask_the_command_says_how_to_train(tmp_path: Path):
    folder = write_recording(tmp_path / "recording", noise=False)
    command = process(folder, tmp_path / "out")
    assert "--pipeline.model.loss-coefficients.mask 0" in command
    assert not (tmp_path / "out" / "cam1" / "mask").exists()
    assert "fg_mask_filenames" not in parse(command).metadata


def test_cameras_and_units_of_the_command(recording: Path, tmp_path: Path):
    command = process(recording, tmp_path / "a", depth_range=(1.0, 6.0), eval_camera="cam1")
    assert command.endswith("--depth-convention z --train-cameras cam2 cam3 --eval-cameras cam1")
    assert "--pipeline.model.loss-coefficients.depth 0.1" in command
    command = process(recording, tmp_path / "b", depth_range=(1.0, 6.0), only=("cam2", "cam3"))
    assert command.endswith("--train-cameras cam2 cam3 --eval-cameras cam3")
    decimetres = process(recording, tmp_path / "c", depth_unit=0.0005, depth_range=(0.5, 3.0))
    assert "--depth-unit 0.0005" in decimetres
    single = process(recording, tmp_path / "d", depth_range=(1.0, 6.0), only=("cam1",))
    assert single.endswith("owlii-data --depth-convention z")


def test_lens_distortion_is_removed(tmp_path: Path):
    folder = write_recording(tmp_path / "recording")
    contents = json.loads((folder / "cameras.json").read_text())
    for entry in contents.values():
        entry["distortion"] = [0.3, 0.0, 0.0, 0.0, 0.0]
    (folder / "cameras.json").write_text(json.dumps(contents))
    process(folder, tmp_path / "out", depth_range=(1.0, 6.0), chroma_key=BACKDROP)
    masks = masks_of(tmp_path / "out")
    # Barrel distortion taken out of images that have none moves the subject towards the middle.
    assert masks.sum() < truth_masks(folder).sum()


def test_counts_that_differ_use_what_all_have_or_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_recording(tmp_path / "recording", num_frames=8)
    (folder / "cam2" / "depth" / "7.png").unlink()
    with pytest.raises(InputError, match=r"cam2 \(depth\) has 7 frames, but cam1 \(color\) has 8"):
        process(folder, tmp_path / "out", depth_range=(1.0, 6.0))
    process(folder, tmp_path / "out", depth_range=(1.0, 6.0), count_tolerance=0.2)
    assert "the first 7 of each" in " ".join(capsys.readouterr().out.split())
    assert len(list((tmp_path / "out" / "cam3" / "rgb").iterdir())) == 7


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"depth_unit": 0.0}, "--depth-unit is 0"),
        ({"depth_convention": "ray", "convert_depth_to_ray": True}, "--convert-depth-to-ray"),
        ({"depth_range": (3.0, 1.0)}, "--depth-range is"),
        ({"crop_box": (0, 0, 0, 0, 1, 1)}, "--crop-box"),
        ({"num_frames": 1}, "--num-frames 1"),
        ({"start_frame": 3}, "leave 1 of 4 frames"),
        ({"eval_camera": "cam9"}, "--eval-camera names cam9"),
        ({"only": ("cam9",)}, "--only names cam9"),
        ({"depth_range": (0.01, 0.02)}, "Only . points|Only .. points"),
        ({"chroma_key": (0, 0, 0), "background_plates": Path("x")}, "are all given"),
    ],
)
def test_bad_options(recording: Path, tmp_path: Path, options: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        process(recording, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_ray_depth_is_longer_off_the_axis_and_must_fit_16_bits():
    intrinsics = np.array([[LENS.fx, 0, LENS.cx], [0, LENS.fy, LENS.cy], [0, 0, 1]])
    depth = np.full((LENS.height, LENS.width), 1000, dtype=np.uint16)
    rays = ray_depth(depth, intrinsics)
    assert rays[15, 20] == 1000
    x, y = (0.5 - LENS.cx) / LENS.fx, (0.5 - LENS.cy) / LENS.fy
    assert rays[0, 0] == round(1000 * np.sqrt(1 + x**2 + y**2))
    with pytest.raises(InputError, match="does not fit into 16 bits"):
        ray_depth(np.full((4, 4), 65000, dtype=np.uint16), intrinsics)


def test_real_depth_and_colour(shared_data: Path, tmp_path: Path):
    """Two moments of a real sensor; its pose is not known and stands still."""
    source = shared_data / "flow" / "deepdeform" / "seq258"
    for kind, suffix in (("color", "jpg"), ("depth", "png")):
        (tmp_path / "recording" / "sensor" / kind).mkdir(parents=True)
        for number, name in enumerate(("000000", "000110")):
            target = tmp_path / "recording" / "sensor" / kind / f"{number}.{suffix}"
            target.write_bytes((source / kind / f"{name}.{suffix}").read_bytes())
    matrix = np.loadtxt(source / "intrinsics.txt")[:3, :3]
    entry = {"K": matrix.tolist(), "camera_to_world": np.eye(4).tolist()}
    (tmp_path / "recording" / "cameras.json").write_text(json.dumps({"sensor": entry}))
    command = process(tmp_path / "recording", tmp_path / "out", depth_range=(0.3, 2.5))
    outputs = parse(command)
    data = DynamicDataset(outputs)[0]
    assert 0.02 < float(data["fg_mask"].mean()) < 0.98
    scale = float(outputs.metadata["world_from_scene"][0, 0])
    assert 0.1 < scale < 5


def write_chosen_masks(folder: Path, number: int) -> list[np.ndarray]:
    """Masks by their order alone: each has as many columns as its number says."""
    folder.mkdir(parents=True)
    masks = []
    for place in range(number):
        mask = np.zeros((LENS.height, LENS.width), dtype=bool)
        mask[8:24, 6 : 12 + place % 25] = True
        masks.append(mask)
        Image.fromarray(255 * mask.astype(np.uint8)).save(folder / f"{place:03d}.png")
    return masks


def test_one_mask_per_chosen_frame_of_a_long_recording(tmp_path: Path):
    recording = write_recording(tmp_path / "recording", num_cameras=1, num_frames=56, noise=False)
    masks = write_chosen_masks(tmp_path / "masks" / "cam1", 28)
    process(recording, tmp_path / "out", masks=tmp_path / "masks", frame_stride=2)
    for number, mask in enumerate(masks):
        written = np.asarray(Image.open(tmp_path / f"out/cam1/mask/{number:06d}.png")) > 0
        np.testing.assert_array_equal(written, mask)
    # Points are fused at fewer frames than are chosen; as many masks as those are still too few.
    write_chosen_masks(tmp_path / "few" / "cam1", 24)
    with pytest.raises(InputError, match="holds 24 masks, but cam1 has 56 frames, of which 28 are used"):
        process(recording, tmp_path / "other", masks=tmp_path / "few", frame_stride=2)


def test_points_are_fused_with_the_masks_of_their_own_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recording = write_recording(tmp_path / "recording", num_cameras=1, num_frames=56, noise=False)
    masks = write_chosen_masks(tmp_path / "masks" / "cam1", 28)
    kept = []
    monkeypatch.setattr(rgbd, "thin_out", lambda points, *_: kept.append(len(points)) or points)
    process(recording, tmp_path / "out", masks=tmp_path / "masks", frame_stride=2)
    places = np.linspace(0, 27, rgbd.FUSED_FRAMES).round().astype(int)
    assert kept[: len(places)] == [int(masks[place].sum()) for place in places]


def test_both_ways_to_count_pixels_take_out_the_same_distortion(tmp_path: Path):
    folder = write_recording(tmp_path / "recording", num_cameras=1)
    path = folder / "cameras.json"
    contents = json.loads(path.read_text())
    contents["cam1"]["distortion"] = [0.6, 0.3, 0.02, -0.02, 0.0]
    path.write_text(json.dumps(contents))
    process(folder, tmp_path / "integers", chroma_key=BACKDROP)
    for row in (0, 1):
        contents["cam1"]["K"][row][2] += 0.5
    path.write_text(json.dumps(contents))
    process(folder, tmp_path / "half", chroma_key=BACKDROP, pixel_centers="half_integers")
    for kind in ("rgb", "depth", "mask"):
        for number in range(NUM_FRAMES):
            name = f"cam1/{kind}/{number:06d}.png"
            one, other = (np.asarray(Image.open(tmp_path / out / name)) for out in ("integers", "half"))
            np.testing.assert_array_equal(one, other)
