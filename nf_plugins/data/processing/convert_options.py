"""Options of nf-process-data convert; apart from what they are for, so that --help needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

CaptureFormat = Literal["easyvolcap", "colmap", "nerfstudio"]


@dataclass(kw_only=True)
class ConvertOptions:
    """Calibrated cameras and their images from one layout to another: EasyVolcap, COLMAP, nerfstudio."""

    source: Annotated[CaptureFormat, tyro.conf.arg(name="from")]
    """Layout of --data: easyvolcap (intri.yml, extri.yml, images/CAMERA; also EasyMocap's), colmap (sparse/0 with
    cameras, images, points3D as .bin or .txt), nerfstudio (transforms.json, with or without times)."""
    target: Annotated[CaptureFormat, tyro.conf.arg(name="to")]
    """Layout to write."""
    data: Path
    """Folder of the capture."""
    output_dir: Path
    """Folder to write; must be new or empty, or an earlier capture with --overwrite."""
    images: Path | None = None
    """With --from colmap: folder that the names of its images begin at; None takes the folder images of --data."""
    frame: int = 0
    """Moment to convert, counted from 0."""
    all_frames: bool = False
    """Convert all moments; not to COLMAP, whose models hold one."""
    mask_folder: str = "auto"
    """With --from easyvolcap: folder of the masks; auto takes the first that is there, none leaves them out."""
    masks: Literal["files", "alpha", "none"] = "files"
    """files copies masks where there are some; alpha makes them the alpha channel of the images, as nerfstudio reads
    them without our methods; none leaves them out."""
    link_images: bool = False
    """Link to images and masks instead of copying them."""
    world: Literal["same", "nerfstudio"] = "same"
    """With --to nerfstudio: same keeps the coordinates; nerfstudio turns them as ns-process-data does. Either way
    applied_transform says so, and is undone on the way back."""
    min_track_length: int = 4
    """With --from colmap: only points that so many images see are kept."""
    colmap_format: Literal["bin", "txt"] = "bin"
    """With --to colmap: how its model is written."""
    overwrite: bool = False
    """Replace an earlier capture in the output folder."""
