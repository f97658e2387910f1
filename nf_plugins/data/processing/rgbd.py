"""A recording of RGB-D cameras becomes ResFields' layout: one folder per camera, normalised to the unit sphere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

from nf_plugins.data import transforms_json as tj
from nf_plugins.data.camera_conventions import pixel_ray_norms
from nf_plugins.data.processing.foreground import MaskMaker, clean_mask
from nf_plugins.data.processing.options import RgbdOptions
from nf_plugins.data.processing.output_folder import check_output_folder, new_capture_folder
from nf_plugins.data.processing.point_fusion import (
    Normalisation,
    normalisation_of,
    thin_out,
    unproject,
    without_outliers,
)
from nf_plugins.data.processing.rgbd_recording import RgbdCamera, read_recording
from nf_plugins.data.processing.train_command import train_command
from nf_plugins.data.writers.owlii_writer import OwliiCamera, projection_matrices
from nf_plugins.data.writers.truth_files import MAX_DEPTH_PNG, write_png, write_point_cloud
from nf_plugins.errors import InputError
from nf_plugins.progress import progress_bar

FUSED_FRAMES = 24
POINTS_PER_IMAGE = 4000
DEPTH_LOSS = ("--pipeline.model.loss-coefficients.depth", "0.1")


class MaskedImage(NamedTuple):
    """One image of one camera."""

    color: NDArray[np.uint8]
    depth: NDArray[np.uint16]
    """Raw values of the sensor."""
    mask: NDArray[np.bool_] | None
    points: NDArray[np.float64]
    """(H, W, 3) in the world; nonsense where the depth is 0."""


def process_rgbd(options: RgbdOptions) -> str:
    """Writes the capture; returns the ns-train command for it.

    Every image is read twice: once a part of them for the points that the scene is normalised by, once to be written.

    Raises:
        InputError: Something is missing, damaged or does not fit. Nothing has been written then.
    """
    check_output_folder(options.output_dir, options.overwrite)
    _check_options(options)
    cameras = read_recording(options.recording, options.only, image_fps=30.0)
    if options.eval_camera is not None and options.eval_camera not in [camera.name for camera in cameras]:
        names = ", ".join(camera.name for camera in cameras)
        raise InputError(f"--eval-camera names {options.eval_camera}, expected one of {names}.")
    numbers = _selected_frames(options, cameras)
    sources = {camera.name: camera.color for camera in cameras}
    maker = MaskMaker(options, sources, dict.fromkeys(sources, numbers), image_fps=30.0)
    points = _fused_points(options, cameras, numbers, maker)
    normalisation = normalisation_of(points)
    convention = "ray" if options.convert_depth_to_ray else options.depth_convention
    record: dict[str, Any] = {
        "command": "rgbd",
        "options": asdict(options),
        "depth_convention": convention,
        "world_from_scene": normalisation.world_from_scene.tolist(),
        "scene_aabb": normalisation.scene_aabb.tolist(),
    }
    with new_capture_folder(options.output_dir, options.overwrite, record) as staging, progress_bar() as progress:
        task = progress.add_task("Writing images", total=len(cameras) * len(numbers))
        for camera in cameras:
            for number, image in enumerate(_images(options, camera, numbers, maker)):
                _write_image(staging / camera.name, number, image, options, camera)
                progress.advance(task)
            _write_matrices(staging / camera.name, camera, numbers, normalisation, options)
        write_point_cloud(staging / "fused_points.ply", points)
        box = [round(float(value), 6) for value in normalisation.scene_aabb.reshape(-1)]
        (staging / "aabb.txt").write_text(f"{box}\n", encoding="utf-8")
    return _command(options, cameras, convention, with_masks=_makes_masks(options, maker))


def _check_options(options: RgbdOptions) -> None:
    if not options.depth_unit > 0:
        raise InputError(f"--depth-unit is {options.depth_unit:g}, expected a positive number.")
    if options.convert_depth_to_ray and options.depth_convention == "ray":
        raise InputError("--convert-depth-to-ray: the depth is along the ray already, by --depth-convention ray.")
    if options.depth_range is not None and not 0 <= options.depth_range[0] < options.depth_range[1]:
        raise InputError(f"--depth-range is {options.depth_range}, expected the nearest and then the farthest depth.")
    if options.crop_box is not None:
        tj.require_aabb(options.crop_box, "--crop-box")
    if options.start_frame < 0 or options.frame_stride < 1 or (options.num_frames or 2) < 2:
        raise InputError(
            f"--start-frame {options.start_frame} --frame-stride {options.frame_stride} --num-frames "
            f"{options.num_frames} cannot select frames, expected a first frame >= 0, a stride >= 1, a number >= 2."
        )


def _selected_frames(options: RgbdOptions, cameras: list[RgbdCamera]) -> list[int]:
    counts = {f"{camera.name} ({what})": count for camera in cameras for what, count in _counts(camera).items()}
    fewest, most = min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])
    if counts[fewest] < (1 - options.count_tolerance) * counts[most]:
        raise InputError(
            f"{fewest} has {counts[fewest]} frames, but {most} has {counts[most]}, expected the same number: remove "
            "those that have no partner, or raise --count-tolerance to use the first that all have."
        )
    if counts[fewest] < counts[most]:
        CONSOLE.print(
            f"[yellow]{fewest} has {counts[fewest]} frames, {most} {counts[most]}: the first {counts[fewest]} of each "
            "are used.",
            soft_wrap=True,
        )
    numbers = list(range(options.start_frame, counts[fewest], options.frame_stride))[: options.num_frames]
    if len(numbers) < 2:
        raise InputError(
            f"--start-frame {options.start_frame} --frame-stride {options.frame_stride} leave {len(numbers)} of "
            f"{counts[fewest]} frames, expected at least two."
        )
    return numbers


def _counts(camera: RgbdCamera) -> dict[str, int]:
    counts = {"color": len(camera.color), "depth": len(camera.depths)}
    return counts | ({"poses": len(camera.camera_to_worlds)} if len(camera.camera_to_worlds) > 1 else {})


def _images(options: RgbdOptions, camera: RgbdCamera, numbers: list[int], maker: MaskMaker) -> Iterator[MaskedImage]:
    """The chosen images of a camera with their masks, without lens distortion."""
    mask_of = maker.masks_of(camera.name, numbers)
    undistort = camera.undistorter(0.5 if options.pixel_centers == "half_integers" else 0.0)
    for number, (recorded, raw) in zip(numbers, camera.frames(numbers), strict=True):
        mask = mask_of(recorded)
        if mask is not None:
            mask = undistort(mask.astype(np.uint8), False) > 0
        color, depth = undistort(recorded, True), undistort(raw, False)
        distance = options.depth_unit * depth.astype(np.float64)
        is_ray = options.depth_convention == "ray"
        points = unproject(distance, half_pixel_intrinsics(camera, options), camera.pose(number), is_ray)
        within = _within(options, distance, points)
        if within is not None:
            # Where the sensor saw nothing, only another mask can tell.
            known = depth > 0
            mask = clean_mask(known & within, options.mask_cleanup) if mask is None else mask & (within | ~known)
        yield MaskedImage(color, depth, mask, points)


def _within(
    options: RgbdOptions, distance: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.bool_] | None:
    """Which pixels (H, W) the depth range and the crop box allow; None when neither is given."""
    if options.depth_range is None and options.crop_box is None:
        return None
    within = np.ones(distance.shape, dtype=bool)
    if options.depth_range is not None:
        within &= (distance >= options.depth_range[0]) & (distance <= options.depth_range[1])
    if options.crop_box is not None:
        low, high = tj.require_aabb(options.crop_box, "--crop-box")
        within &= ((points >= low) & (points <= high)).all(axis=-1)
    return within


def _makes_masks(options: RgbdOptions, maker: MaskMaker) -> bool:
    return bool(maker) or options.depth_range is not None or options.crop_box is not None


def half_pixel_intrinsics(camera: RgbdCamera, options: RgbdOptions) -> NDArray[np.float64]:
    """(3, 3) where the centre of the first pixel is (0.5, 0.5)."""
    intrinsics = camera.intrinsics.copy()
    if options.pixel_centers == "integers":
        intrinsics[:2, 2] += 0.5
    return intrinsics


def _fused_points(
    options: RgbdOptions, cameras: list[RgbdCamera], numbers: list[int], maker: MaskMaker
) -> NDArray[np.float64]:
    """Foreground points (N, 3) of all cameras at some frames, without outliers."""
    places = np.unique(np.linspace(0, len(numbers) - 1, min(FUSED_FRAMES, len(numbers))).round().astype(int))
    chosen = [numbers[place] for place in places]
    fused = []
    with progress_bar() as progress:
        task = progress.add_task("Fusing points", total=len(cameras) * len(chosen))
        for camera in cameras:
            for image in _images(options, camera, chosen, maker):
                known = image.depth > 0
                kept = image.points[known if image.mask is None else known & image.mask]
                fused.append(thin_out(kept, POINTS_PER_IMAGE))
                progress.advance(task)
    return without_outliers(thin_out(np.concatenate(fused)))


def _write_image(folder: Path, number: int, image: MaskedImage, options: RgbdOptions, camera: RgbdCamera) -> None:
    depth = image.depth
    if options.convert_depth_to_ray:
        depth = ray_depth(depth, half_pixel_intrinsics(camera, options))
    files = {"rgb": image.color, "depth": depth}
    if image.mask is not None:
        files["mask"] = 255 * image.mask.astype(np.uint8)
    for kind, pixels in files.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        write_png(folder / kind / f"{number:06d}.png", pixels)


def ray_depth(depth: NDArray[np.uint16], intrinsics: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Raw z depth (H, W) as raw distance along the ray.

    Args:
        intrinsics: (3, 3), the centre of the first pixel at (0.5, 0.5).

    Raises:
        InputError: A distance does not fit into 16 bits.
    """
    norms = pixel_ray_norms(
        (float(intrinsics[0, 0]), float(intrinsics[1, 1])),
        (float(intrinsics[0, 2]), float(intrinsics[1, 2])),
        (depth.shape[0], depth.shape[1]),
    ).numpy()
    distance = np.round(depth * norms.astype(np.float64))
    if distance.max(initial=0) > MAX_DEPTH_PNG:
        raise InputError(
            "--convert-depth-to-ray: a distance does not fit into 16 bits; leave it out and train on z, as the printed "
            "command says."
        )
    return distance.astype(np.uint16)


def _write_matrices(
    folder: Path, camera: RgbdCamera, numbers: list[int], normalisation: Normalisation, options: RgbdOptions
) -> None:
    scale, centre = normalisation.world_from_scene[0, 0], normalisation.world_from_scene[:3, 3]
    poses = np.stack([camera.pose(number) for number in numbers])
    poses[:, :3, 3] = (poses[:, :3, 3] - centre) / scale
    in_scene = OwliiCamera(camera.name, half_pixel_intrinsics(camera, options), poses)
    matrices: dict[str, Any] = projection_matrices(in_scene, normalisation.world_from_scene)
    np.savez(folder / "cameras_sphere.npz", **matrices)


def _command(options: RgbdOptions, cameras: list[RgbdCamera], convention: str, with_masks: bool) -> str:
    names = [camera.name for camera in cameras]
    arguments = ["--depth-convention", convention]
    if options.depth_unit != 0.001:
        arguments += ["--depth-unit", f"{options.depth_unit:g}"]
    evaluation = options.eval_camera or names[-1]
    if len(names) > 1:
        training = [name for name in names if name != evaluation] if len(names) > 2 or options.eval_camera else names
        arguments += ["--train-cameras", *training, "--eval-cameras", evaluation]
    return train_command(options.output_dir, "owlii-data", arguments, with_masks, DEPTH_LOSS)
