"""A ZJU-MoCap capture as a rig: OpenCV's matrices become lenses and poses, and masks and vertices are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import flip_camera_axes
from nf_plugins.data.rig_capture import RigCapture
from nf_plugins.data.rig_files import find_frame_files, find_masks, find_plates, label_or_half
from nf_plugins.data.transforms_json import Lens
from nf_plugins.data.zju_capture import ZjuCapture

MASK_FOLDERS = ("mask_cihp", "schp", "mask", "masks")
"""In the order in which they are preferred."""
VERTEX_FOLDERS = ("vertices", "new_vertices")


def zju_rig(root: Path, capture: ZjuCapture, *, mask_folder: str = "auto", with_vertices: bool = True) -> RigCapture:
    """The rig of a capture's calibration and image lists.

    A camera whose first image is missing has a lens of no size: it may be part of a download that holds some cameras
    alone.

    Args:
        mask_folder: "auto", "none" or a folder's name.
        with_vertices: Whether vertices are looked for.

    Raises:
        InputError: The folder of masks is missing or empty, or vertices are there for some frames alone.
    """
    images = [[root / image for image in frame] for frame in capture.images]
    masks, rule = find_masks(root, images, mask_folder, MASK_FOLDERS, label_or_half)
    rotations = capture.world_to_cameras[:, :, :3].transpose(0, 2, 1)
    centres = -rotations @ capture.world_to_cameras[:, :, 3:]
    vertices, boxes = None, None
    if with_vertices:
        firsts = [frame[0] for frame in images]
        way_out = "write one per frame, or choose --scene-box-from masks or keypoints."
        vertices = find_frame_files(root, VERTEX_FOLDERS, "*.npy", firsts, first_number=0, way_out=way_out)
        boxes = find_frame_files(
            root, ("vhull",), "*.npy", firsts, first_number=0, way_out="write one per frame, or remove vhull."
        )
    return RigCapture(
        camera_names=capture.camera_names,
        lenses=_lenses(capture, images[0]),
        camera_to_worlds=flip_camera_axes(np.concatenate([rotations, centres], axis=-1)),
        images=images,
        masks=masks,
        mask_rule=rule,
        frame_points=vertices,
        frame_box_files=boxes,
        plates=find_plates(root, "auto", capture.camera_names),
        scene_points=None,
        source=capture.source,
    )


def _lenses(capture: ZjuCapture, first_images: list[Path]) -> list[Lens]:
    present = [image for image in first_images if image.is_file()]
    headers = dict(zip(present, validation.read_image_headers(present, "Reading the first images"), strict=True))
    lenses = []
    for matrix, distortion, image in zip(capture.intrinsics, capture.distortions, first_images, strict=True):
        height, width = headers[image][:2] if image in headers else (0, 0)
        k1, k2, p1, p2, k3 = distortion.tolist()
        fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
        lenses.append(
            Lens(width, height, float(fx), float(fy), float(cx), float(cy), distortion=(k1, k2, k3, 0.0, p1, p2))
        )
    return lenses
