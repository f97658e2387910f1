"""A monocular capture while it is processed: its cameras, and its files read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nf_plugins.data.camera_conventions import flip_camera_axes
from nf_plugins.data.epipolar_motion import NO_BASELINE, motion_distances, relative_pose
from nf_plugins.data.flow_consistency import chain_flow, pixel_grid
from nf_plugins.data.flow_triangulation import FlowObservation, InverseDepth, triangulate_flow
from nf_plugins.data.optical_flow_files import OpticalFlow, read_flow
from nf_plugins.data.transforms_json import Lens
from nf_plugins.data.writers.nsff_files import NsffFolder

FLOWS_KEPT = 64


@dataclass(frozen=True, eq=False)
class MonocularScene:
    """What later stages need of earlier ones."""

    folder: NsffFolder
    lens: Lens
    """Of all frames, at the size of training."""
    camera_to_worlds: NDArray[np.float64]
    """(N, 3, 4), OpenGL axes."""
    _kept_flow: Callable[[int, int], OpticalFlow] = field(init=False, repr=False)
    """Reads flow; the last files read stay with this scene, since a later run may write others of the same name."""

    def __post_init__(self) -> None:
        folder = self.folder

        @lru_cache(maxsize=FLOWS_KEPT)
        def kept_flow(frame: int, other: int) -> OpticalFlow:
            return read_flow(folder.flow_forward(frame) if other > frame else folder.flow_backward(frame))

        object.__setattr__(self, "_kept_flow", kept_flow)

    def __len__(self) -> int:
        return len(self.camera_to_worlds)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in training."""
        return self.folder.height, self.folder.width

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """(3, 3), the centre of the first pixel at (0.5, 0.5)."""
        return np.array([[self.lens.fx, 0, self.lens.cx], [0, self.lens.fy, self.lens.cy], [0, 0, 1.0]])

    @property
    def moves(self) -> bool:
        """Whether the camera is at different places, be they ever so near."""
        return positions_differ(self.camera_to_worlds)

    def other_from_this(self, frame: int, other: int) -> NDArray[np.float64]:
        """(3, 4) from a frame's camera to another's, OpenCV axes."""
        poses = flip_camera_axes(self.camera_to_worlds)
        return relative_pose(poses[frame], poses[other])

    def neighbours(self, frame: int) -> list[int]:
        """The frames that have flow from this one."""
        return [other for other in (frame - 1, frame + 1) if 0 <= other < len(self)]

    def flow(self, frame: int, other: int) -> OpticalFlow:
        """Flow (H, W, 2) to the frame before or after, and where it is trusted (H, W)."""
        return self._kept_flow(frame, other)

    def mask(self, frame: int) -> NDArray[np.bool_]:
        """What moves (H, W)."""
        with Image.open(self.folder.motion_mask(frame)) as image:
            return np.asarray(image) > 0

    def distances(self, frame: int) -> NDArray[np.float64]:
        """(H, W) how far flow is off what a standing point does, the larger of both directions; 0 without trust."""
        start = pixel_grid(*self.size) + 0.5
        largest = np.zeros(self.size)
        for other in self.neighbours(frame):
            flow, valid = self.flow(frame, other)
            pose = self.other_from_this(frame, other)
            largest = np.maximum(largest, valid * motion_distances(start, start + flow, self.intrinsics, pose))
        return largest

    def triangulated(self, frame: int, span: int) -> InverseDepth:
        """Inverse depth of what stands still, by flow to up to ``span`` frames to each side."""
        static = ~self.mask(frame)
        start = pixel_grid(*self.size) + 0.5
        observations = []
        for direction in (-1, 1):
            flow, valid = np.zeros((*self.size, 2), dtype=np.float32), static
            for other in range(frame + direction, frame + direction * (span + 1), direction):
                if not 0 <= other < len(self):
                    break
                flow, valid = chain_flow(flow, valid, *self.flow(other - direction, other))
                observations.append(FlowObservation(start + flow, valid, self.other_from_this(frame, other)))
        return triangulate_flow(self.intrinsics, observations)


def positions_differ(camera_to_worlds: NDArray[np.float64]) -> bool:
    """Whether cameras (N, 3, 4) are at more than one place."""
    centres = camera_to_worlds[:, :, 3]
    spread = np.linalg.norm(centres - centres[0], axis=-1).max()
    return bool(spread > NO_BASELINE * max(1.0, float(np.linalg.norm(centres[0]))))
