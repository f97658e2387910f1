"""Scenes of DNA-Rendering: .smc files, or what was extracted from them in EasyVolcap's layout.

::

    SCENE/
      NAME.smc                         images, see nf_plugins/data/smc_archive.py
      NAME_annots.smc                  cameras and masks
      NAME_kinect.smc                  not read
      pointcloud_denoise/00001.ply     or pointcloud/: points per frame, numbered from 1 (optional)
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import flip_camera_axes, require_rigid_pose
from nf_plugins.data.colour_correction import Saturation
from nf_plugins.data.easymocap import INTRINSICS
from nf_plugins.data.easymocap_rig import POINT_FOLDERS, read_easymocap_rig
from nf_plugins.data.rig_capture import RigCapture
from nf_plugins.data.rig_files import find_frame_files
from nf_plugins.data.rig_pictures import SmcPictures, picture_name
from nf_plugins.data.smc_archive import SmcArchive, SmcCamera
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

ANNOTATIONS, KINECT = "_annots", "_kinect"


def read_dna_rig(
    root: Path,
    *,
    annotations: Path | None = None,
    mask_folder: str = "auto",
    points: bool = True,
    saturate: Saturation | None = "clip",
) -> RigCapture:
    """The cameras and images of a scene.

    Args:
        root: The folder of a scene, or its NAME.smc.
        annotations: The file with cameras and masks; None takes NAME_annots.smc beside NAME.smc.
        mask_folder: "auto" or "none"; of an extracted scene also a folder's name.
        points: Whether point clouds say where the subject is at each frame; of an extracted scene also vertices.
        saturate: See ``correct_colours``; None leaves colours uncorrected. Extracted images have been corrected.

    Raises:
        InputError: Files are missing or damaged, a camera with images has no parameters, or cameras have different
            numbers of images.
    """
    if root.is_dir() and (root / INTRINSICS).is_file():
        return read_easymocap_rig(root, mask_folder=mask_folder, points="auto" if points else "none")
    if mask_folder not in ("auto", "none"):
        raise InputError(f"--mask-folder {mask_folder}: masks of .smc files lie in no folder, expected auto or none.")
    path = find_smc(root)
    pictures = SmcArchive(path)
    annotated = SmcArchive(find_annotations(path, annotations))
    cameras = annotated.cameras() or pictures.cameras()
    names = _names(pictures, annotated, cameras)
    num_frames = pictures.num_frames(names[0])
    corrections = {} if saturate is None else {name: cameras[name].color_calibration for name in names}
    masks = None
    if mask_folder != "none" and annotated.mask_cameras:
        have = [annotated.frames_with_mask(name) for name in names]
        masks = [
            [
                picture_name(annotated.path, name, frame) if frame in there else None
                for name, there in zip(names, have, strict=True)
            ]
            for frame in range(num_frames)
        ]
    firsts = [Path(f"{frame:06d}.png") for frame in range(num_frames)]
    way_out = "write one per frame, or choose another --scene-box-from."
    return RigCapture(
        camera_names=names,
        lenses=[_lens(cameras[name], pictures.image_size(name)) for name in names],
        camera_to_worlds=np.stack([_pose(cameras[name], name, annotated) for name in names]),
        images=[[picture_name(path, name, frame) for name in names] for frame in range(num_frames)],
        masks=masks,
        mask_rule="soft" if masks else "",
        frame_points=find_frame_files(path.parent, POINT_FOLDERS, "*.ply", firsts, first_number=1, way_out=way_out)
        if points
        else None,
        frame_box_files=None,
        plates=None,
        scene_points=None,
        source=path,
        picture_source=SmcPictures(pictures, annotated, corrections, saturate or "clip"),
    )


def find_smc(root: Path) -> Path:
    """The file with a scene's images: ``root`` itself, or the only one in its folder.

    Raises:
        InputError: There is none, or more than one.
    """
    if root.suffix.lower() == ".smc":
        return root.absolute()
    validation.require_folder(root, "NAME.smc and NAME_annots.smc (DNA-Rendering), or intri.yml, extri.yml and images")
    found = [path for path in sorted(root.glob("*.smc")) if not path.stem.endswith((ANNOTATIONS, KINECT))]
    if len(found) == 1:
        return found[0].absolute()
    what = f"{len(found)} such files ({', '.join(path.name for path in found[:3])}, ...)" if found else "no NAME.smc"
    raise InputError(
        f"The folder {root} holds {what}, expected one scene's NAME.smc with its NAME_annots.smc, or intri.yml, "
        "extri.yml and images (an extracted scene): name the file with --data."
    )


def find_annotations(path: Path, annotations: Path | None) -> Path:
    """The file with the cameras of NAME.smc.

    Raises:
        InputError: It is not there.
    """
    beside = path.with_name(f"{path.stem}{ANNOTATIONS}.smc")
    found = beside if annotations is None else annotations.absolute()
    if not found.is_file():
        raise InputError(
            f"{path} comes without {found}, expected this file with its cameras and masks: put it beside, or name it "
            "with --annotations."
        )
    return found


def _names(pictures: SmcArchive, annotated: SmcArchive, cameras: Iterable[str]) -> list[str]:
    """The cameras with images; all have parameters and as many images."""
    names, known = list(pictures.picture_cameras), set(cameras)
    if not names:
        raise InputError(
            f"{pictures.path} holds no images (Camera_5mp, Camera_12mp), expected DNA-Rendering's .smc file."
        )
    without = [name for name in names if name not in known]
    if without:
        raise InputError(
            f"{annotated.path} has no Camera_Parameter of camera {without[0]} ({len(without)} of the {len(names)} "
            f"cameras with images in {pictures.path.name} have none), expected them for all: take files of one scene."
        )
    left_out = sorted(known - set(names))
    if left_out:
        CONSOLE.print(
            f"{len(left_out)} cameras of {annotated.path.name} have no images: {', '.join(left_out)}.", soft_wrap=True
        )
    for name in names:
        validation.require_equal_counts(
            f"Camera {name} of {pictures.path}", pictures.num_frames(name), f"its camera {names[0]}",
            pictures.num_frames(names[0]), "cameras are taken to be synchronised.",
        )  # fmt: skip
    return names


def _lens(camera: SmcCamera, size: tuple[int, int]) -> Lens:
    k1, k2, p1, p2, k3 = camera.distortion.tolist()
    return Lens(
        width=size[1],
        height=size[0],
        fx=float(camera.intrinsics[0, 0]),
        fy=float(camera.intrinsics[1, 1]),
        cx=float(camera.intrinsics[0, 2]) + 0.5,
        cy=float(camera.intrinsics[1, 2]) + 0.5,
        distortion=(k1, k2, k3, 0.0, p1, p2),
    )


def _pose(camera: SmcCamera, name: str, archive: SmcArchive) -> np.ndarray:
    return require_rigid_pose(flip_camera_axes(camera.camera_to_world), f"RT of camera {name} of {archive.path}")
