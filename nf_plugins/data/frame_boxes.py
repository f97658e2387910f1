"""Where the subject of a rig is at each frame: boxes from vertices, points, files, masks, joints or the cameras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nf_plugins.data import transforms_json as tj
from nf_plugins.data.foreground_masks import read_mask
from nf_plugins.data.multi_view_options import MultiViewDataParserConfig
from nf_plugins.data.parallel import late_progress, threaded_map
from nf_plugins.data.rig_capture import RigCapture
from nf_plugins.data.rig_selection import RigSelection
from nf_plugins.data.scene_extent import box_from_cameras, box_from_points
from nf_plugins.data.subject_box import hull_box
from nf_plugins.errors import InputError

FloatArray = NDArray[np.float64]

HULL_FRAMES, HULL_CAMERAS = 12, 12
"""At most so many frames and cameras, evenly spread, are carved for a box of all frames; so many cameras for one."""
KEYPOINT_PADDING = 0.2
"""Metres around joints, which lie inside the body, and about the head and the hands, which have few."""
AUTO_SOURCES = ("vertices", "points", "vhull", "masks", "keypoints")
RAW_POINTS = "pointcloud"
"""Folder whose clouds have stray points, which are left out: thinned to a point per voxel, then those whose nearest
neighbours are much further away than is usual."""
VOXEL, NUM_NEIGHBOURS, MOST_DEVIATIONS = 0.02, 20, 2.0


class FrameBoxes(NamedTuple):
    """Boxes of T training frames, world units."""

    boxes: FloatArray
    """(T, 2, 3), padded; inside ``scene``."""
    scene: FloatArray
    """(2, 3): the box of all frames, or the one that was given."""
    source: str
    """What they were found from, a ``BoxSource`` or "--scene-box"."""
    is_per_frame: bool
    """Whether they differ from frame to frame."""


def frame_boxes(
    capture: RigCapture,
    selection: RigSelection,
    config: MultiViewDataParserConfig,
    *,
    transform: FloatArray | None = None,
    keypoints: FloatArray | None = None,
) -> FrameBoxes:
    """The subject's box at every training frame. Only training cameras count, so all splits agree.

    Args:
        transform: (4, 4): what points and boxes of files are moved by; the capture's cameras and ``keypoints`` have
            been already.
        keypoints: (T, J, 3) joints, world units, NaN where one was not found.

    Raises:
        InputError: No source gives a box, or a file cannot be used.
    """
    evidence = _Evidence(capture, selection, config, np.eye(4) if transform is None else transform, keypoints)
    given = None
    if config.scene_box is not None:
        given = _given_box(config.scene_box)
    wants_frames = config.frame_boxes != "whole-scene"
    if given is None or wants_frames:
        for source in AUTO_SOURCES if config.scene_box_from == "auto" else (config.scene_box_from,):
            found = evidence.find(source, only_per_frame=given is not None)
            if found is not None:
                padded = found + np.array([-config.box_padding, config.box_padding])[:, None]
                return _joined(padded, len(selection.frames), given, source, is_per_frame=wants_frames)
    if given is not None and config.frame_boxes != "per-frame":
        return _whole(given, len(selection.frames), "--scene-box")
    sources = " or ".join(AUTO_SOURCES if config.scene_box_from == "auto" else (config.scene_box_from,))
    way_out = "give its box with --scene-box xmin ymin zmin xmax ymax zmax in metres"
    if config.frame_boxes == "per-frame":
        way_out = "leave out --frame-boxes per-frame, or write vertices or vhull for every frame"
    raise InputError(
        f"The subject of {capture.source} cannot be found from {sources} ({len(selection.train_ids)} training "
        f"cameras), expected masks of at least two, joints seen by two (kpts2d), or vertices/: {way_out}."
    )


def _given_box(corners: Sequence[float]) -> FloatArray:
    return tj.require_aabb(corners, "--scene-box")


def _whole(box: FloatArray, num_frames: int, source: str) -> FrameBoxes:
    return FrameBoxes(np.repeat(box[None], num_frames, axis=0), box, source, False)


def _joined(
    padded: FloatArray, num_frames: int, given: FloatArray | None, source: str, *, is_per_frame: bool
) -> FrameBoxes:
    """Boxes of one, or of each, frame inside the scene's, which holds all of them unless it is given."""
    scene = np.stack([padded[:, 0].min(axis=0), padded[:, 1].max(axis=0)]) if given is None else given
    if len(padded) == 1 or not is_per_frame:
        return _whole(scene, num_frames, source)
    clipped = np.clip(padded, scene[0], scene[1])
    # A given box that misses the subject is told of by the check that looks at the masks.
    is_inside = np.all(clipped[:, 0] < clipped[:, 1], axis=-1)
    return FrameBoxes(np.where(is_inside[:, None, None], clipped, scene), scene, source, True)


@dataclass(frozen=True)
class _Evidence:
    """All that may say where the subject is. Every finder gives boxes (T, 2, 3), one (1, 2, 3) of all frames, or
    nothing; without padding."""

    capture: RigCapture
    selection: RigSelection
    config: MultiViewDataParserConfig
    transform: FloatArray
    keypoints: FloatArray | None

    def find(self, source: str, only_per_frame: bool) -> FloatArray | None:
        finders: dict[str, Callable[[], FloatArray | None]] = {
            "vertices": lambda: self._of_files(".npy"),
            "points": lambda: self._of_files(".ply"),
            "vhull": self._of_boxes,
            "masks": self._of_masks,
            "keypoints": self._of_keypoints,
            "cameras": self._of_cameras,
        }
        is_slow_or_whole = source == "cameras" or (source in ("masks", "keypoints") and not self._each_frame)
        return None if only_per_frame and is_slow_or_whole else finders[source]()

    @property
    def _each_frame(self) -> bool:
        return self.config.frame_boxes == "per-frame"

    def _of_files(self, suffix: str) -> FloatArray | None:
        """Around vertices (.npy) or points (.ply) of each frame; of all frames around points of the scene."""
        files = self.capture.frame_points
        if files and files[0].suffix.lower() == suffix:
            chosen = [files[frame] for frame in self.selection.frames]
            return np.stack(threaded_map(self._box_of_file, chosen, "Reading points"))
        if suffix == ".ply" and self.capture.scene_points is not None and not self._each_frame:
            return box_from_points(self._moved(self.capture.scene_points))[None]
        return None

    def _box_of_file(self, path: Path) -> FloatArray:
        points = self._moved(read_frame_points(path))
        if path.parent.name == RAW_POINTS:
            points = without_strays(points)
        return np.stack([points.min(axis=0), points.max(axis=0)])

    def _of_boxes(self) -> FloatArray | None:
        files = self.capture.frame_box_files
        if files is None:
            return None
        boxes = np.stack(threaded_map(read_box, [files[frame] for frame in self.selection.frames], "Reading boxes"))
        picks = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(8, 3)
        corners = self._moved(boxes[:, picks, np.arange(3)])
        return np.stack([corners.min(axis=1), corners.max(axis=1)], axis=1)

    def _of_masks(self) -> FloatArray | None:
        cameras = _spread(self.selection.train_ids, HULL_CAMERAS)
        if self.capture.masks is None or len(cameras) < 2:
            return None
        if not self._each_frame:
            box = self._hull(cameras, _spread(self.selection.frames, HULL_FRAMES))
            return None if box is None else box[None]
        boxes = []
        with late_progress("Carving every frame's masks", len(self.selection.frames)) as advance:
            for frame in self.selection.frames:
                boxes.append(self._hull(cameras, [frame]))
                advance()
        empty = [frame for frame, box in zip(self.selection.frames, boxes, strict=True) if box is None]
        if empty:
            raise InputError(
                f"The masks of frame {empty[0]} of {self.capture.source} leave no visual hull ({len(empty)} of "
                f"{len(boxes)} frames), expected one at each with --frame-boxes per-frame: correct the masks, or use "
                "--frame-boxes auto."
            )
        return np.stack([box for box in boxes if box is not None])

    def _hull(self, cameras: Sequence[int], frames: Sequence[int]) -> FloatArray | None:
        capture = self.capture
        pairs = [(camera, frame) for camera in cameras for frame in frames]
        files = [capture.masks[frame][camera] for camera, frame in pairs]  # type: ignore[index]
        if any(file is None for file in files):
            return None  # told of where the images are listed
        masks = threaded_map(self._read_mask, [file for file in files if file is not None], "Reading masks")
        rows = [camera for camera, _ in pairs]
        rig = tj.nerfstudio_cameras(capture.camera_to_worlds[rows], [capture.lenses[row] for row in rows])
        box = hull_box(rig, masks, [frame for _, frame in pairs])
        return None if box is None else box.double().numpy()

    def _read_mask(self, path: Path) -> torch.Tensor:
        source = self.capture.picture_source
        if source is not None:
            return torch.as_tensor(source.mask(path)) > 0.5
        return read_mask(path, self.capture.mask_rule)[..., 0] > 0.5

    def _of_keypoints(self) -> FloatArray | None:
        if self.keypoints is None or not np.isfinite(self.keypoints).any():
            return None
        reach = np.array([-KEYPOINT_PADDING, KEYPOINT_PADDING])[:, None]
        everywhere = self.keypoints.reshape(-1, 3)
        whole = np.stack([np.nanmin(everywhere, axis=0), np.nanmax(everywhere, axis=0)]) + reach
        if not self._each_frame:
            return whole[None]
        boxes = []
        for joints in self.keypoints:
            found = joints[np.isfinite(joints).all(axis=-1)]
            boxes.append(np.stack([found.min(axis=0), found.max(axis=0)]) + reach if len(found) else whole)
        return np.stack(boxes)

    def _of_cameras(self) -> FloatArray | None:
        rows = self.selection.train_ids
        poses, lenses = self.capture.camera_to_worlds[rows], [self.capture.lenses[row] for row in rows]
        box = None if self._each_frame else box_from_cameras(tj.nerfstudio_cameras(poses, lenses))
        return None if box is None else box[None]

    def _moved(self, points: FloatArray) -> FloatArray:
        return points @ self.transform[:3, :3].T + self.transform[:3, 3]


def read_frame_points(path: Path) -> FloatArray:
    """The finite points (P, 3) of a .npy or .ply file.

    Raises:
        InputError: It cannot be read, has another shape or holds none.
    """
    try:
        if path.suffix.lower() == ".npy":
            points = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
        else:
            import trimesh

            points = np.asarray(trimesh.load(path, process=False).vertices, dtype=np.float64)  # type: ignore[union-attr]
    except Exception as error:  # a damaged file may fail in any way
        raise InputError(f"{path} cannot be read ({error}), expected (V, 3) vertices in metres.") from error
    points = points.reshape(-1, 3) if points.shape == (1, *points.shape[1:]) and points.ndim == 3 else points
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all(axis=-1).any():
        raise InputError(f"{path} has the shape {points.shape}, expected (V, 3) finite vertices in metres.")
    return points[np.isfinite(points).all(axis=-1)]


def read_box(path: Path) -> FloatArray:
    """A box (2, 3) of a .npy file, lower and upper corner.

    Raises:
        InputError: It cannot be read or is no box.
    """
    try:
        box = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except Exception as error:  # a damaged file may fail in any way
        raise InputError(f"{path} cannot be read ({error}), expected a box (2, 3) in metres.") from error
    if box.shape != (2, 3):
        raise InputError(f"{path} has the shape {box.shape}, expected a box (2, 3), lower and upper corner, in metres.")
    return tj.require_aabb(box.reshape(-1).tolist(), f"The box {path}")


def without_strays(points: FloatArray) -> FloatArray:
    """A cloud (P, 3) thinned to one point per voxel, without points that are far from their neighbours."""
    from scipy.spatial import KDTree

    _, firsts = np.unique(np.floor(points / VOXEL).astype(np.int64), axis=0, return_index=True)
    thinned = points[firsts]
    if len(thinned) <= NUM_NEIGHBOURS:
        return thinned
    distances = KDTree(thinned).query(thinned, k=NUM_NEIGHBOURS + 1)[0][:, 1:].mean(axis=-1)
    return thinned[distances <= distances.mean() + MOST_DEVIATIONS * distances.std()]


def _spread(values: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of some values, evenly spread, first and last included."""
    return [values[int(index)] for index in np.unique(np.linspace(0, len(values) - 1, count).round())]
