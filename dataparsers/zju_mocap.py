"""ZJU-MoCap and EasyMocap captures: synchronised standing cameras around a person.

::

    SCENE/
      annots.npy                  a pickled dictionary (read without running it):
                                  cams: K (3, 3), R (3, 3), T (3, 1; mm), D (5, 1) of every camera
                                  ims: for every frame the images of all cameras, and optionally kpts2d (C, J, 3)
      intri.yml, extri.yml        EasyMocap's calibration (metres), where there is no annots.npy
      Camera_B1/*.jpg, ...        or images/CAMERA/*.jpg
      mask_cihp/CAMERA/*.png      or schp/, mask/, masks/ (optional)
      vertices/*.npy              (V, 3) a body model's vertices per frame, metres (optional; they place the boxes)

Calibration is OpenCV's. Its lens distortion becomes the cameras', so that rays bend and images stay as they are, or
with ``--undistort True`` images are resampled. Scene units are metres divided by the half diagonal of the box around
the subject, whose centre is the origin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataparserOutputs
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nf_plugins.data import validation
from nf_plugins.data.dataparser_outputs import require_downscale_factor
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.multi_view_options import MultiViewDataParserConfig
from nf_plugins.data.multi_view_outputs import multi_view_outputs
from nf_plugins.data.rig_selection import select_rig
from nf_plugins.data.zju_capture import read_capture
from nf_plugins.data.zju_keypoints import keypoint_note, triangulated_keypoints
from nf_plugins.data.zju_rig import zju_rig
from nf_plugins.errors import InputError


@dataclass
class ZjuMocapDataParserConfig(MultiViewDataParserConfig):
    """ZJU-MoCap (annots.npy) or EasyMocap (intri.yml, extri.yml): synchronised standing cameras around a person."""

    _target: type = field(default_factory=lambda: ZjuMocapDataParser)
    """Class that is set up."""
    data: Path = Path("data/zju/CoreView_377")
    """Folder of the scene, which holds annots.npy or intri.yml."""
    downscale_factor: int = 1
    """Reduce images and masks by this factor, on top of --scale-ratio, averaging over areas."""
    undistort: bool = False
    """Resample images as a pinhole camera takes them; otherwise lens distortion becomes the cameras', and rays bend."""
    mask_folder: str = "auto"
    """Folder of the masks; auto takes the first of mask_cihp, schp, mask, masks that is there, none leaves them out."""
    translation_unit: float = 0.001
    """Metres per unit of T in annots.npy."""


class ZjuMocapDataParser(DataParser):
    """Reads ZJU-MoCap's and EasyMocap's files.

    The splits "val" and "test" both give the evaluation cameras. Times are f / (T - 1) of the T loaded frames. Images
    come camera by camera, frame by frame. Boxes depend on the training cameras alone.
    """

    config: ZjuMocapDataParserConfig
    includes_time: bool = True

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        config, root = self.config, self.config.data
        require_downscale_factor(config.downscale_factor)
        hint = layout_hint(root, "zju-mocap-data")
        validation.require_folder(root, "annots.npy or intri.yml and extri.yml (ZJU-MoCap or EasyMocap)", hint)
        try:
            capture = read_capture(root, config.translation_unit)
        except InputError as error:
            raise InputError(f"{error} {hint}".strip()) from error
        needs_files = config.scene_box_from in ("auto", "vertices", "vhull")
        rig = zju_rig(root, capture, mask_folder=config.mask_folder, with_vertices=needs_files)
        selection = select_rig(rig, config, split)
        keypoints = triangulated_keypoints(capture, selection.train_ids, selection.frames)
        outputs = multi_view_outputs(
            rig,
            config,
            split,
            dataparser_name="zju-mocap-data",
            keypoints=keypoints,
            downscale_factor=config.downscale_factor,
        )
        if keypoints is not None:
            world_from_scene = outputs.metadata["world_from_scene"]
            scale, centre = float(world_from_scene[0, 0]), world_from_scene[:3, 3]
            outputs.metadata["keypoints"] = (torch.from_numpy(keypoints).float() - centre) / scale
            outputs.metadata["calibration_note"] = keypoint_note(
                capture, keypoints, selection.train_ids, selection.frames
            )
        return outputs


zju_mocap_data = DataParserSpecification(
    config=ZjuMocapDataParserConfig(),
    description="ZJU-MoCap (annots.npy) and EasyMocap (intri.yml, extri.yml) captures: synchronised standing cameras.",
)
