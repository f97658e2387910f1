"""Pictures of a mesh sequence that are drawn when they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nf_plugins.data.mesh_frames import MeshFrames
from nf_plugins.data.synthetic.cameras import Intrinsics
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh
from nf_plugins.data.synthetic.ray_caster import MeshRayCaster

CACHE_BYTES = 1 << 28
"""Drawn pictures are kept up to this size, the latest ones."""
KEPT_CASTERS = 4
"""Frames whose ray casters are kept: images of one frame follow each other, and threads draw several."""


class MeshPictures:
    """The images of one split: unit normals as ``(n + 1) / 2`` on a background, and where the surface is.

    Normals are those of the vertices, interpolated over the faces; a pixel is what the ray through its centre hits.
    Shared: a deep copy is the object itself.

    Args:
        sequence: The meshes.
        frames: Which frame each image shows ``(N,)``.
        background: Colour (3,) in [0, 1].
    """

    def __init__(self, sequence: MeshFrames, frames: Sequence[int], background: Tensor) -> None:
        self.sequence, self.frames, self.background = sequence, list(frames), background.cpu().numpy()
        self._pictures: OrderedDict[tuple[int, int, int], np.ndarray] = OrderedDict()
        self._casters: OrderedDict[int, MeshRayCaster] = OrderedDict()
        self._lock = Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> MeshPictures:
        return self

    def image_and_mask(self, image_idx: int, camera: Cameras) -> tuple[Tensor, Tensor]:
        """Colours, uint8 (H, W, 3), and foreground, float32 (H, W, 1), 0 or 1, at the size of the image's camera."""
        key = (image_idx, int(camera.width), int(camera.height))
        with self._lock:
            picture = self._pictures.get(key)
        if picture is None:
            picture = self._draw(self.frames[image_idx], camera)
            with self._lock:
                self._pictures[key] = picture
                while len(self._pictures) > 1 and len(self._pictures) * picture.nbytes > CACHE_BYTES:
                    self._pictures.popitem(last=False)
        pixels = torch.from_numpy(picture)
        # A clone, because tools write into what they are given.
        return pixels[..., :3].clone(), (pixels[..., 3:] > 0).float()

    def _draw(self, frame: int, camera: Cameras) -> np.ndarray:
        """Colour and mask, uint8 (H, W, 4)."""
        pose = np.eye(4)
        pose[:3] = camera.camera_to_worlds.double().cpu().numpy()
        focal, centre = (float(camera.fx), float(camera.fy)), (float(camera.cx), float(camera.cy))
        intrinsics = Intrinsics(int(camera.width), int(camera.height), *focal, *centre)
        view = self._caster(frame).render(intrinsics, pose, supersampling=1)
        color = np.where(view.mask[..., None], 0.5 + 0.5 * view.normal, self.background)
        return np.concatenate([np.round(255 * color).astype(np.uint8), 255 * view.mask[..., None].astype(np.uint8)], -1)

    def _caster(self, frame: int) -> MeshRayCaster:
        with self._lock:
            caster = self._casters.get(frame)
        if caster is None:
            mesh = self.sequence.meshes[frame]
            vertices = mesh.vertices.astype(np.float64)
            caster = MeshRayCaster(ColouredMesh(vertices, mesh.faces.astype(np.int64), vertices))
            with self._lock:
                self._casters[frame] = caster
                while len(self._casters) > KEPT_CASTERS:
                    self._casters.popitem(last=False)
        return caster
