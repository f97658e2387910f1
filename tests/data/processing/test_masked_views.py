"""A ball photographed by ten cameras, as COLMAP leaves it, becomes a scan that dtu-data reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ball_capture import MIDDLE, OPENCV, RADIUS, photograph, ring_pose
from nerfstudio.data.utils import colmap_parsing_utils as colmap
from PIL import Image

from dataparsers.dtu import DTUDataParserConfig
from nf_plugins.data.camera_conventions import decompose_projection
from nf_plugins.data.processing.masked_views import process_masked_views
from nf_plugins.data.processing.options import MaskedViewsOptions
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

LENS = Lens(width=96, height=80, fx=230.0, fy=240.0, cx=49.0, cy=38.5)
NUM_VIEWS = 10
DISTORTION = (-0.3, 0.1, 0.004, -0.003)
"""COLMAP's k1, k2, p1, p2."""


def poses() -> dict[str, np.ndarray]:
    """OpenGL camera-to-world of every photograph."""
    return {f"IMG_{k:03d}.jpg": ring_pose(2 * np.pi * k / NUM_VIEWS, 3.0 * np.sin(2.4 * k)) for k in range(NUM_VIEWS)}


def take(pose: np.ndarray, distorted: bool) -> tuple[np.ndarray, np.ndarray]:
    """Colour and mask; with lens distortion they are looked up in those of a finer pinhole camera."""
    if not distorted:
        return photograph(pose, MIDDLE, LENS)[:2]
    fine = Lens(4 * 160, 4 * 144, 4 * LENS.fx, 4 * LENS.fy, 4 * 80.0, 4 * 72.0)
    image, mask, _ = photograph(pose, MIDDLE, fine)
    pixels = np.stack(np.meshgrid(np.arange(LENS.width) + 0.5, np.arange(LENS.height) + 0.5), axis=-1)
    plane = ((pixels - [LENS.cx, LENS.cy]) / [LENS.fx, LENS.fy]).reshape(-1, 1, 2)
    plane = cv2.undistortPoints(plane, np.eye(3), np.array(DISTORTION)).reshape(pixels.shape)
    columns, rows = np.moveaxis(plane * [fine.fx, fine.fy] + [fine.cx, fine.cy], -1, 0).astype(int)
    return image[rows, columns], mask[rows, columns]


def write_colmap_model(folder: Path, suffix: str, camera: colmap.Camera) -> None:
    folder.mkdir(parents=True)
    images = {}
    for number, (name, opengl) in enumerate(poses().items(), start=1):
        pose = np.linalg.inv(opengl @ OPENCV)
        images[number] = colmap.Image(
            number, colmap.rotmat2qvec(pose[:3, :3]), pose[:3, 3], 1, name, np.zeros((1, 2)), np.array([-1])
        )
    rng = np.random.default_rng(0)
    surface = rng.normal(size=(60, 3))
    surface = MIDDLE + RADIUS * surface / np.linalg.norm(surface, axis=-1, keepdims=True)
    points = {
        number: colmap.Point3D(number, xyz, np.array([9, 9, 9]), 0.1, np.array([1]), np.array([0]))
        for number, xyz in enumerate(np.concatenate([surface, MIDDLE + rng.uniform(-9, 9, (40, 3))]))
    }
    parts: Any = {"cameras": {1: camera}, "images": images, "points3D": points}
    for name, part in parts.items():
        kind = "binary" if suffix == ".bin" else "text"
        getattr(colmap, f"write_{name}_{kind}")(part, str(folder / f"{name}{suffix}"))


def camera_of(model: str) -> colmap.Camera:
    if model == "PINHOLE":
        return colmap.Camera(1, model, LENS.width, LENS.height, np.array([LENS.fx, LENS.fy, LENS.cx, LENS.cy]))
    numbers = [LENS.fx, LENS.fy, LENS.cx, LENS.cy, *DISTORTION, *([0.1] * (4 if model == "FULL_OPENCV" else 0))]
    return colmap.Camera(1, model, LENS.width, LENS.height, np.array(numbers))


def write_project(root: Path, suffix: str = ".bin", model: str = "PINHOLE") -> Path:
    """images/, masks/ and sparse/0/ as a user has them."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name, pose in poses().items():
        image, mask = take(pose, distorted=model != "PINHOLE")
        Image.fromarray(image).save(root / "images" / name, quality=95)
        Image.fromarray(255 * mask.astype(np.uint8)).save(root / "masks" / f"{Path(name).stem}.png")
    write_colmap_model(root / "sparse" / "0", suffix, camera_of(model))
    return root


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return write_project(tmp_path_factory.mktemp("ball") / "project")


@pytest.fixture
def own_project(project: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(project, tmp_path / "project"))


def process(project: Path, output: Path, **options: Any) -> str:
    options = {"images": project / "images", "masks": project / "masks", "cameras": project, **options}
    return process_masked_views(MaskedViewsOptions(output_dir=output, **options))


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def assert_ball_in_unit_sphere(scan: Path, margin: float = 0.1) -> None:
    """By NumPy alone, as IDR reads it: the masks are those of a ball at the sphere's middle."""
    matrices = np.load(scan / "cameras_sphere.npz")
    scale_mat = matrices["scale_mat_0"]
    scale, centre = scale_mat[0, 0], scale_mat[:3, 3]
    assert np.linalg.norm(centre - MIDDLE) < 0.1 * RADIUS
    assert 1 + margin < scale / RADIUS < 1.25 * (1 + margin)
    names = [path.name for path in sorted((scan / "image").iterdir())]
    assert names == [f"{index:06d}.png" for index in range(NUM_VIEWS)]
    for index, mask_file in enumerate(sorted((scan / "mask").iterdir())):
        mask = np.asarray(Image.open(mask_file))[..., 0] > 127
        projection = (matrices[f"world_mat_{index}"] @ scale_mat)[:3]
        intrinsics, rotation, camera = decompose_projection(projection)
        assert np.linalg.norm(camera) > 1
        # Rays through the integer pixels meet the ball where the mask says so.
        rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
        local = np.stack([columns, rows, np.ones(rows.shape)], axis=-1) @ np.linalg.inv(intrinsics).T
        directions = local @ rotation
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        ball = (MIDDLE - centre) / scale
        distances = np.linalg.norm(np.cross(ball - camera, directions), axis=-1)
        assert ((distances < RADIUS / scale) != mask).mean() < 0.008
        # The masks' middles are finer, so that half a pixel would show.
        middle = projection @ [*ball, 1]
        pixel = np.argwhere(mask).mean(axis=0)[::-1]
        np.testing.assert_allclose(middle[:2] / middle[2], pixel, atol=0.25)


@pytest.mark.parametrize("suffix", [".bin", ".txt"])
def test_ball_of_a_colmap_model(suffix: str, tmp_path: Path):
    project = write_project(tmp_path / "project", suffix)
    command = process(project, tmp_path / "scan")
    assert command == f"ns-train idr --data {tmp_path / 'scan'}"
    assert_ball_in_unit_sphere(tmp_path / "scan")
    record = json.loads((tmp_path / "scan" / "process_data.json").read_text())
    assert record["views"] == list(poses()) and record["sphere_from"] == "masks"


def test_distortion_is_taken_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    project = write_project(tmp_path / "project", model="OPENCV")
    process(project, tmp_path / "scan")
    assert "Lens distortion is taken out" in printed(capsys)
    assert_ball_in_unit_sphere(tmp_path / "scan")
    # COLMAP's other model is one that OpenCV's remapping would need more numbers for.
    write_colmap_model(tmp_path / "other", ".bin", camera_of("FULL_OPENCV"))
    with pytest.raises(InputError, match="FULL_OPENCV camera model.*undistort the images with COLMAP"):
        process(project, tmp_path / "none", cameras=tmp_path / "other")
    assert not (tmp_path / "none").exists()


def test_transforms_json_smaller_images_and_dtu_data(own_project: Path, tmp_path: Path):
    frames = [
        {"file_path": f"somewhere/{name}", "transform_matrix": pose.tolist(), **LENS.resized(192, 160).to_json()}
        for name, pose in poses().items()
    ]
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    process(own_project, tmp_path / "scan", cameras=tmp_path / "transforms.json", downscale=2, sphere=(*MIDDLE, 0.8))
    with Image.open(tmp_path / "scan" / "image" / "000000.png") as image:
        assert image.size == (48, 40)
    outputs = DTUDataParserConfig(data=tmp_path / "scan").setup().get_dataparser_outputs("train")
    half = LENS.reduced(2)
    np.testing.assert_allclose(
        [outputs.cameras.fx[3], outputs.cameras.fy[3], outputs.cameras.cx[3], outputs.cameras.cy[3]],
        np.array([[half.fx], [half.fy], [half.cx], [half.cy]]),
        rtol=1e-4,
    )
    world = outputs.metadata["world_from_scene"].double().numpy()
    centre = world @ [*outputs.cameras.camera_to_worlds[3, :, 3].tolist(), 1]
    np.testing.assert_allclose(centre[:3], poses()["IMG_003.jpg"][:3, 3], atol=1e-4)


def test_cut_outs_are_their_own_masks(project: Path, tmp_path: Path):
    (tmp_path / "cut").mkdir()
    for name in poses():
        image = np.asarray(Image.open(project / "images" / name))
        mask = np.asarray(Image.open(project / "masks" / name.replace("jpg", "png")))
        Image.fromarray(np.dstack([image, mask])).save(tmp_path / "cut" / name.replace("jpg", "png"))
    process(project, tmp_path / "scan", images=tmp_path / "cut", masks=None)
    assert_ball_in_unit_sphere(tmp_path / "scan")
    with pytest.raises(InputError, match="10 of 10 photographs.*have no mask"):
        process(project, tmp_path / "none", masks=None)


def test_photographs_without_camera_are_left_out(own_project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    images = own_project / "images"
    (images / "IMG_000.jpg").rename(images / "IMG_900.jpg")
    process(own_project, tmp_path / "scan", sphere=(*MIDDLE, 1.0))
    text = printed(capsys)
    assert "1 of 10 photographs have no registered camera and are left out: IMG_900.jpg." in text
    assert "1 of 10 cameras have no photograph" in text and "IMG_000.jpg" in text
    assert len(list((tmp_path / "scan" / "image").iterdir())) == NUM_VIEWS - 1
    np.testing.assert_allclose(np.load(tmp_path / "scan" / "cameras_sphere.npz")["scale_mat_0"][:3, 3], MIDDLE)
    with pytest.raises(InputError, match="0 of the 10 cameras of .* have a photograph in .*masks_of_others"):
        others = tmp_path / "masks_of_others"
        others.mkdir()
        Image.new("L", (4, 4)).save(others / "a.png")
        process(own_project, tmp_path / "none", images=others)


def test_masks_that_say_nothing_or_too_much(own_project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    masks = sorted((own_project / "masks").iterdir())
    white = np.full((LENS.height, LENS.width), 255, np.uint8)
    inverted = 255 - np.asarray(Image.open(masks[4]))
    Image.fromarray(white).save(masks[2])
    Image.fromarray(inverted).save(masks[4])
    process(own_project, tmp_path / "some")
    text = printed(capsys)
    assert "1 of 10 masks are white everywhere" in text
    assert "plain background, train hashmod-neus with --pipeline.model.loss-coefficients.mask 0" in text
    assert "1 of 10 masks are white along most of the image's border" in text and masks[4].name in text
    for path in masks:
        Image.fromarray(white).save(path)
    process(own_project, tmp_path / "all")
    assert "what the cameras see whole" in printed(capsys)
    assert 0.5 < np.load(tmp_path / "all" / "cameras_sphere.npz")["scale_mat_0"][0, 0] < 1.5


def test_a_mask_at_odds_is_named(own_project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    wrong = np.zeros((LENS.height, LENS.width), np.uint8)
    wrong[2:8, 2:8] = 255
    Image.fromarray(wrong).save(own_project / "masks" / "IMG_006.png")
    process(own_project, tmp_path / "scan")
    text = printed(capsys)
    assert "IMG_006.png leaves out" in text and "IMG_005.png leaves out" not in text
    with pytest.raises(InputError, match=r"No place lies in 100 %.*IMG_006\.png disagrees most"):
        process(own_project, tmp_path / "none", mask_agreement=1.0)


def black(project: Path) -> None:
    Image.new("L", (LENS.width, LENS.height)).save(project / "masks" / "IMG_004.png")


def small(project: Path) -> None:
    Image.new("L", (40, 20), 255).save(project / "masks" / "IMG_004.png")


def missing(project: Path) -> None:
    (project / "masks" / "IMG_004.png").unlink()


def portrait(project: Path) -> None:
    Image.new("RGB", (LENS.height, LENS.width)).save(project / "images" / "IMG_004.jpg")
    Image.new("L", (LENS.height, LENS.width)).save(project / "masks" / "IMG_004.png")


def truncated(project: Path) -> None:
    path = project / "images" / "IMG_004.jpg"
    path.write_bytes(path.read_bytes()[:400])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (black, r"IMG_004\.png is all black"),
        (small, r"IMG_004\.png is 40x20 pixels, but its image .*IMG_004\.jpg is 96x80"),
        (missing, r"masks of 9 of 10 photographs, none called like IMG_004\.jpg"),
        (portrait, r"IMG_004\.jpg is 80x96 pixels, but its camera IMG_004\.jpg has 96x80"),
        (truncated, r"IMG_004\.jpg cannot be read"),
    ],
)
def test_bad_files(own_project: Path, tmp_path: Path, damage: Any, says: str):
    damage(own_project)
    with pytest.raises(InputError, match=says):
        process(own_project, tmp_path / "scan")
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"downscale": 0}, "--downscale is 0"),
        ({"downscale": 90}, "--downscale 90 leaves nothing of 96x80"),
        ({"mask_agreement": 1.5}, "--mask-agreement is 1.5"),
        ({"sphere_margin": -0.1}, "--sphere-margin is -0.1"),
        ({"sphere_margin": 9.0}, r"inside the normalising sphere of radius .*lower --sphere-margin"),
        ({"sphere": (0.0, 0.0, 0.0, -1.0)}, "--sphere is"),
        ({"sphere": (*MIDDLE, 4.2)}, "give --sphere a smaller radius"),
        ({"cameras": Path("nowhere")}, "--cameras nowhere does not exist"),
        ({"images": Path("nowhere")}, "nowhere does not exist"),
        ({"masks": Path("nowhere")}, "nowhere does not exist"),
    ],
)
def test_bad_options(project: Path, tmp_path: Path, options: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        process(project, tmp_path / "scan", **options)
    assert not (tmp_path / "scan").exists()


def test_an_earlier_capture_is_left_alone_without_overwrite(project: Path, tmp_path: Path):
    sphere = (*MIDDLE, 1.0)
    process(project, tmp_path / "scan", sphere=sphere)
    with pytest.raises(InputError, match="already holds a processed capture"):
        process(project, tmp_path / "scan", sphere=sphere)
    process(project, tmp_path / "scan", sphere=sphere, overwrite=True)


def test_cameras_of_other_files(project: Path, tmp_path: Path):
    with pytest.raises(InputError, match="holds no cameras, expected transforms.json, or a COLMAP model"):
        process(project, tmp_path / "scan", cameras=project / "images")
    lens = replace(LENS, width=LENS.width * 2)
    frames = [
        {"file_path": name, "transform_matrix": pose.tolist(), **lens.to_json()} for name, pose in poses().items()
    ]
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    with pytest.raises(InputError, match="as they lay on disk then"):
        process(project, tmp_path / "scan", cameras=tmp_path)
