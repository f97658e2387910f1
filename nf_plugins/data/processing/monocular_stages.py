"""The stages that make a monocular capture's files. Each skips what is there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.epipolar_motion import motion_mask
from nf_plugins.data.flow_consistency import consistent_pixels
from nf_plugins.data.flow_triangulation import fill_smoothly
from nf_plugins.data.optical_flow_files import OpticalFlow, write_flow
from nf_plugins.data.processing.centred_pinhole import resample
from nf_plugins.data.processing.frame_depth import (
    DepthNetwork,
    read_disparity_file,
    resample_known,
    resize_map,
)
from nf_plugins.data.processing.frame_sources import FrameSource, read_frames
from nf_plugins.data.processing.monocular_scene import MonocularScene
from nf_plugins.data.processing.optical_flow import FlowEstimator
from nf_plugins.data.processing.photographs import read_photograph
from nf_plugins.data.transforms_json import Lens
from nf_plugins.data.writers.nsff_files import NsffFolder, write_array, write_image, write_mask
from nf_plugins.progress import progress_bar

LEAST_SHARE_TRIANGULATED = 0.1
"""Of a frame's standing pixels; a camera that only turns has next to none."""
BOUND_FRAMES = 8
"""Frames whose triangulated depth stands for all, where no file says how near and far things are."""
RELATIVE_ACCURACY = 0.05
"""Of the median inverse depth: where flow says it better than this, it is taken as it is."""


def write_frames(
    source: FrameSource, indices: Sequence[int], lenses: Sequence[Lens], target: Lens, folder: NsffFolder
) -> None:
    """Frames without distortion, at full size and at that of training."""
    written = [folder.original(number).is_file() and folder.image(number).is_file() for number in range(len(indices))]
    missing = [number for number, there in enumerate(written) if not there]
    with progress_bar() as progress:
        task = progress.add_task("Frames", total=len(indices), completed=len(indices) - len(missing))
        for number, frame in zip(missing, read_frames(source, [indices[number] for number in missing]), strict=True):
            image = np.asarray(resample(frame, lenses[number], target), dtype=np.uint8)
            write_image(folder.original(number), image)
            write_image(folder.image(number), resize_image(image, (folder.height, folder.width)))
            progress.advance(task)


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image (h, w, 3) reduced to (H, W), averaging over areas."""
    import cv2

    if image.shape[:2] == size:
        return image
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def write_flows(
    scene: MonocularScene, flows_after: Callable[[int], tuple[OpticalFlow, OpticalFlow]], source: str
) -> None:
    """Flow between all neighbours, both ways, with where it is trusted.

    Args:
        scene: Gets the files.
        flows_after: Of a frame's number: flow from it to the next frame, and from there back to it.
        source: What the progress bar calls it.
    """
    folder = scene.folder
    missing = [
        frame
        for frame in range(len(scene) - 1)
        if not (folder.flow_forward(frame).is_file() and folder.flow_backward(frame + 1).is_file())
    ]
    with progress_bar() as progress:
        task = progress.add_task(f"Flow ({source})", total=len(scene) - 1, completed=len(scene) - 1 - len(missing))
        for frame in missing:
            forward, backward = flows_after(frame)
            write_flow(folder.flow_forward(frame), *forward)
            write_flow(folder.flow_backward(frame + 1), *backward)
            progress.advance(task)


def searched_flow(
    scene: MonocularScene, estimator: FlowEstimator, long_side: int
) -> Callable[[int], tuple[OpticalFlow, OpticalFlow]]:
    """A function that searches flow between a frame and the next, trusted where both ways agree."""

    def search(frame: int) -> tuple[OpticalFlow, OpticalFlow]:
        first, second = (read_photograph(scene.folder.original(number)) for number in (frame, frame + 1))
        forward = estimator.flow_at(first, second, long_side, scene.size)
        backward = estimator.flow_at(second, first, long_side, scene.size)
        return (
            OpticalFlow(forward, consistent_pixels(forward, backward)),
            OpticalFlow(backward, consistent_pixels(backward, forward)),
        )

    return search


def write_motion_masks(
    scene: MonocularScene, threshold: float | None, given: Callable[[int], NDArray[np.bool_]] | None
) -> None:
    """What moves: off its epipolar line, or in a given mask."""
    missing = [frame for frame in range(len(scene)) if not scene.folder.motion_mask(frame).is_file()]
    with progress_bar() as progress:
        task = progress.add_task("Motion masks", total=len(scene), completed=len(scene) - len(missing))
        for frame in missing:
            distances = None if threshold is None else scene.distances(frame)
            mask = motion_mask(distances, threshold or 0.0, None if given is None else given(frame))
            write_mask(scene.folder.motion_mask(frame), mask)
            progress.advance(task)


def given_mask(
    files: Sequence[Path], lenses: Sequence[Lens], target: Lens, size: tuple[int, int]
) -> Callable[[int], NDArray[np.bool_]]:
    """A function that reads the mask of a frame (H, W), brought to the frames' lens and size."""
    from nf_plugins.data.foreground_masks import read_mask

    def read(frame: int) -> NDArray[np.bool_]:
        mask = read_mask(files[frame], "any_channel_above_half")[..., 0].numpy()
        straight = np.asarray(resample(mask, lenses[frame], target), dtype=np.float32)
        return resize_map(straight, size) > 0.5

    return read


def write_network_depth(scene: MonocularScene, disparity_of: DepthNetwork) -> None:
    """Inverse depth by a network."""

    def make(frame: int) -> NDArray[np.float32]:
        return resize_map(disparity_of(read_photograph(scene.folder.original(frame))), scene.size)

    _write_depth(scene, make, "Depth (network)")


def given_depth(
    files: Sequence[Path],
    kind: Literal["disparity", "metric"],
    lenses: Sequence[Lens],
    target: Lens,
    size: tuple[int, int],
) -> Callable[[int], NDArray[np.float32]]:
    """A function that reads the inverse depth of a frame (H, W), brought to the frames' lens and size; NaN: unknown."""

    def read(frame: int) -> NDArray[np.float32]:
        disparity = read_disparity_file(files[frame], kind)

        def change(values: NDArray[np.float32]) -> NDArray[np.float32]:
            return resize_map(np.asarray(resample(values, lenses[frame], target), dtype=np.float32), size)

        return resample_known(disparity, change)

    return read


def write_depth_of_files(scene: MonocularScene, read: Callable[[int], NDArray[np.float32]]) -> None:
    """Inverse depth from a file per frame, see :func:`given_depth`."""
    _write_depth(scene, read, "Depth (files)")


def write_triangulated_depth(scene: MonocularScene, span: int) -> int | None:
    """Inverse depth in the poses' units where things stand still and are seen from elsewhere; NaN is unknown.

    What flow says inexactly is smoothed. What moves stays unknown: its surroundings are not where it is. A frame
    without any depth is no use to a method, so all frames are triangulated before the first is written.

    Returns:
        A frame of which nothing can be triangulated, and nothing is written then; else None.
    """
    found: dict[int, NDArray[np.float32]] = {}
    with progress_bar() as progress:
        missing = [frame for frame in range(len(scene)) if not scene.folder.disparity(frame).is_file()]
        task = progress.add_task("Depth (triangulation)", total=len(scene), completed=len(scene) - len(missing))
        for frame in missing:
            depth = scene.triangulated(frame, span)
            known = depth.known & ~scene.mask(frame)
            if not known.any():
                return frame
            usual = float(np.median(depth.values[known]))
            smooth = fill_smoothly(depth.values, known * depth.information * (RELATIVE_ACCURACY * usual) ** 2)
            found[frame] = np.where(known, smooth, np.nan).astype(np.float32)
            progress.advance(task)
    for frame, disparity in found.items():
        write_array(scene.folder.disparity(frame), disparity)
    return None


def triangulation_share(scene: MonocularScene, span: int) -> float:
    """Which part of the standing pixels of some frames is in front of the camera for certain, by flow and poses."""
    shares = []
    for frame in spread(len(scene), 3):
        static = ~scene.mask(frame)
        if static.any():
            shares.append(float(scene.triangulated(frame, span).known[static].mean()))
    return float(np.mean(shares)) if shares else 0.0


def triangulated_bounds(scene: MonocularScene, span: int) -> NDArray[np.float64] | None:
    """(N, 2) the 5th and 95th percentile of triangulated depth, each frame's that of the nearest frame looked at."""
    found: dict[int, NDArray[np.float64]] = {}
    with progress_bar() as progress:
        frames = spread(len(scene), BOUND_FRAMES)
        task = progress.add_task("Near and far", total=len(frames))
        for frame in frames:
            depth = scene.triangulated(frame, span)
            known = depth.known & ~scene.mask(frame)
            if known.any():
                found[frame] = np.percentile(1.0 / depth.values[known].astype(np.float64), (5.0, 95.0))
            progress.advance(task)
    if not found:
        return None
    return np.stack([found[min(found, key=lambda one: abs(one - frame))] for frame in range(len(scene))])


def spread(total: int, count: int) -> list[int]:
    """Up to ``count`` different numbers below ``total``, evenly spread, the first and last among them."""
    return sorted(set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()))


def _write_depth(scene: MonocularScene, make: Callable[[int], NDArray[np.float32]], description: str) -> None:
    missing = [frame for frame in range(len(scene)) if not scene.folder.disparity(frame).is_file()]
    with progress_bar() as progress:
        task = progress.add_task(description, total=len(scene), completed=len(scene) - len(missing))
        for frame in missing:
            write_array(scene.folder.disparity(frame), make(frame).astype(np.float32))
            progress.advance(task)
