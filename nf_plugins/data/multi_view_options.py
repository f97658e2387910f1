"""Options that all dataparsers of captures with several standing cameras share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

BoxSource = Literal["auto", "vertices", "points", "vhull", "masks", "keypoints", "cameras"]


@dataclass
class MultiViewDataParserConfig(DataParserConfig):
    """Synchronised standing cameras around a subject."""

    data: Path = Path("data/capture")
    """Folder of the scene."""
    train_cameras: tuple[str, ...] = ()
    """Names, numbers or ranges of numbers (a:b:step as in Python) of the training cameras, in order of their names;
    empty takes all that do not evaluate."""
    eval_cameras: tuple[str, ...] = ()
    """Names, numbers or ranges of the evaluation cameras; empty takes all that do not train, and holds the last one
    out."""
    train_views: Literal["split", "all"] = "split"
    """all: train on every camera, for demonstrations. What is measured on the evaluation cameras then flatters."""
    start_frame: int = 0
    """First frame to load."""
    num_frames: int | None = None
    """How many frames to load at most; None takes all."""
    frame_stride: int = 1
    """Load every n-th frame."""
    eval_frame_stride: int = 1
    """Evaluate every n-th of the loaded frames."""
    scale_ratio: float = 1.0
    """Size of the images that are trained on per size of the files, averaging over areas; at most 1."""
    crop_size: tuple[int, int] | None = None
    """Height and width that images are cropped to about their middle, after the scale ratio; None leaves them whole."""
    undistort: bool = True
    """Resample images as a pinhole camera takes them; otherwise lens distortion becomes the cameras', and rays bend."""
    ignore_k3: bool = False
    """Take k3, the highest radial coefficient of the lenses, as 0."""
    background_color: Literal["white", "black", "keep"] = "black"
    """Colour that masked images are laid on; keep leaves them as photographed and delivers the masks beside them."""
    mask_folder: str = "auto"
    """Folder of the masks; auto takes the first that is there, none leaves them out."""
    scene_box: tuple[float, float, float, float, float, float] | None = None
    """xmin ymin zmin xmax ymax zmax of the scene, metres (the capture's units); None finds it, see --scene-box-from."""
    scene_box_from: BoxSource = "auto"
    """What boxes are put around: a body model's vertices, point clouds, boxes in files (vhull), the masks' visual hull,
    triangulated joints, or what all cameras look at; auto takes the first of these that the capture has, but never the
    last."""
    frame_boxes: Literal["auto", "per-frame", "whole-scene"] = "auto"
    """Whether each frame has its own box: auto where files say it, per-frame also by carving each frame's masks (slow),
    whole-scene never."""
    box_padding: float = 0.1
    """Metres by which boxes that were found are widened on every side."""
    special_cameras: tuple[str, ...] = ()
    """Names, numbers or ranges of cameras that are reduced by --special-scale-ratio instead."""
    special_scale_ratio: float = 0.375
    """Scale ratio of the special cameras."""
