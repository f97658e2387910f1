"""Neural 3D Video (DyNeRF; Li et al., CVPR 2022): videos of a forward-facing rig with LLFF's poses.

The layout is described in ``nf_plugins/data/neural3dv_rig.py``. The published split holds cam00 out, trains on 300
frames and halves 2704 x 2028 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataparserOutputs
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.multi_view_options import MultiViewDataParserConfig
from nf_plugins.data.multi_view_outputs import multi_view_outputs
from nf_plugins.data.neural3dv_rig import EXPECTED, frustum_box, read_neural3dv_rig
from nf_plugins.data.rig_capture import RigCapture
from nf_plugins.data.rig_selection import select_rig
from nf_plugins.errors import InputError


@dataclass
class Neural3DVDataParserConfig(MultiViewDataParserConfig):
    """Neural 3D Video (DyNeRF): a video per camera, and poses_bounds.npy."""

    _target: type = field(default_factory=lambda: Neural3DVDataParser)
    """Class that is set up."""
    data: Path = Path("data/neural3dv/cut_roasted_beef")
    """Folder with a video per camera (or images/CAMERA) and poses_bounds.npy."""
    eval_cameras: tuple[str, ...] = ("cam00",)
    """Names, numbers or ranges of the evaluation cameras."""
    num_frames: int | None = 300
    """How many frames to load at most; None takes all."""
    scale_ratio: float = 0.5
    """Size of the images that are trained on per size of the files, averaging over areas; at most 1."""
    undistort: bool = False
    """The layout knows no distortion: there is nothing to undistort."""
    pixel_convention: Literal["half", "integer"] = "half"
    """Ray of pixel column u: half = through u + 1/2 - W/2, as COLMAP has it, which made the published poses; integer =
    through u - W/2."""
    depth_bounds: tuple[float, float] | None = None
    """Near and far, along the cameras' axes, of what the scene's box holds, in the poses' units; None takes each
    camera's own from poses_bounds.npy. Does nothing with --scene-box or --scene-box-from."""
    decoded_gigabytes: float = 4.0
    """Memory that decoded videos may take beside the images that training keeps. Less than all need makes rendering
    without training images decode videos again and again."""


class Neural3DVDataParser(DataParser):
    """Reads Neural 3D Video's files.

    The splits "val" and "test" both give the evaluation cameras. Images come camera by camera, frame by frame; those of
    videos are decoded when they are asked for (``picture_source``), a camera's at once. There are no masks.
    """

    config: Neural3DVDataParserConfig
    includes_time: bool = True
    dataparser_name: str = "neural3dv-data"

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        config = self.config
        hint = layout_hint(config.data, self.dataparser_name)
        validation.require_folder(config.data, EXPECTED, hint)
        try:
            capture, bounds = read_neural3dv_rig(
                config.data,
                frames=(config.start_frame, config.frame_stride, config.num_frames),
                ratio=config.scale_ratio,
                pixel_convention=config.pixel_convention,
                most_bytes=1e9 * config.decoded_gigabytes,
            )
        except InputError as error:
            raise InputError(f"{error} {hint}".strip()) from error
        configured = self.configured(capture, bounds)
        return multi_view_outputs(capture, configured, split, dataparser_name=self.dataparser_name)

    def configured(self, capture: RigCapture, bounds: NDArray[np.float64]) -> MultiViewDataParserConfig:
        """The options with a box around what the training cameras see, where no other is asked for."""
        config = self.config
        if config.scene_box is not None or config.scene_box_from != "auto":
            return config
        if config.depth_bounds is not None:
            if not 0 <= config.depth_bounds[0] < config.depth_bounds[1]:
                raise InputError(f"--depth-bounds is {config.depth_bounds}, expected 0 <= near < far.")
            bounds = np.broadcast_to(np.array(config.depth_bounds), bounds.shape)
        box = frustum_box(capture, bounds, select_rig(capture, config, "train").train_ids)
        return replace(config, scene_box=tuple(box.reshape(-1).tolist()))


neural3dv_data = DataParserSpecification(
    config=Neural3DVDataParserConfig(),
    description="Neural 3D Video (DyNeRF): a video per camera, and LLFF's poses_bounds.npy.",
)
