"""nerfstudio's own layout with a time per frame: anyone's capture, by one moving camera or several synchronised ones.

::

    SCENE/
      transforms.json
          fl_x, fl_y, cx, cy, w, h, k1, k2, k3, k4, p1, p2, camera_model      for the file, or per frame
          scene_aabb [[xmin, ymin, zmin], [xmax, ymax, zmax]]                 optional, in the poses' coordinates
          train_filenames, val_filenames, test_filenames                      optional
          ply_file_path, applied_transform, applied_scale, orientation_override    optional, as nerfstudio has them
          time_unit ("seconds", "unit", ...), depth_unit_scale_factor, depth_convention    optional
          frames[]: file_path, transform_matrix (OpenGL camera-to-world), time,
                    camera (or camera_id), mask_path, fg_mask_path, depth_file_path    the last four optional
      images, masks, depth maps                                               wherever the frames say

Times may have any unit and order. Images keep the order of the file; frames are numbered in order of time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

from nf_plugins.data import transforms_json as tj
from nf_plugins.data import validation
from nf_plugins.data.capture_files import MaskFiles, MaskMeaning, find_depths, find_masks
from nf_plugins.data.capture_splits import EvalMode, Split, SplitRule, split_images
from nf_plugins.data.dataparser_outputs import background_tensor, require_downscale_factor
from nf_plugins.data.frame_timeline import PhysicalCameras, Timeline, TimeRule, make_timeline, physical_cameras
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.scene_extent import BoxRule, BoxSource, choose_box
from nf_plugins.data.scene_frame import (
    CenterMethod,
    OrientationMethod,
    SceneFrame,
    dataparser_transform,
    orientation,
    rotated_box,
    scene_frame,
)
from nf_plugins.data.selection import select_frames
from nf_plugins.errors import InputError

DEFAULT_DEPTH_UNIT = 0.001


@dataclass
class NerfstudioTimeDataParserConfig(DataParserConfig):
    """nerfstudio's transforms.json with a time per frame, and optionally masks and depth."""

    _target: type = field(default_factory=lambda: NerfstudioTimeDataParser)
    """Class that is set up."""
    data: Path = Path("data/capture")
    """Folder with transforms.json, or the JSON file itself."""
    times: TimeRule = "auto"
    """unit: the times are in [0, 1] and stay; sequence: the first becomes 0, the last 1; auto: what time_unit of the
    file says ("unit", or anything else for sequence), and without it unit where all times are in [0, 1]."""
    time_tolerance: float = 0.0
    """Times that follow each other more closely than this are one frame, in the file's unit: for cameras of a rig that
    were not triggered at the very same moment."""
    start_frame: int = 0
    """First frame to load, counted in order of time."""
    num_frames: int | None = None
    """How many frames to load at most; None takes all."""
    frame_stride: int = 1
    """Load every n-th frame."""
    eval_mode: EvalMode = "auto"
    """Which images are held out: lists of the file, cameras, or nerfstudio's fraction, filename, interval, all. auto:
    the file's lists, else a camera (the last one, without --eval-cameras) where three or more took images at the same
    times, else interval."""
    eval_cameras: tuple[str, ...] = ()
    """Cameras held out of training for evaluation, by the frames' camera (or their folders)."""
    train_cameras: tuple[str, ...] = ()
    """Cameras to train on; empty takes every camera that is not held out."""
    eval_interval: int = 8
    """With eval-mode interval: every n-th image, in order of names, is held out."""
    train_split_fraction: float = 0.9
    """With eval-mode fraction: share of the images to train on."""
    mask_meaning: MaskMeaning = "foreground"
    """What mask_path holds: foreground = 0 is background, seen and supervised; not_sampled = nerfstudio's meaning, 0 is
    unknown and no ray goes there. fg_mask_path is always foreground."""
    background_color: Literal["white", "black"] = "white"
    """Colour that images with foreground masks are laid on."""
    depth_unit: float | None = None
    """World units per raw value of a depth image; None takes depth_unit_scale_factor of the file, else 0.001."""
    depth_convention: Literal["auto", "z", "ray"] = "auto"
    """What a depth image holds: the camera's z coordinate, or the distance along the pixel's ray; auto takes
    depth_convention of the file, else z, which is nerfstudio's."""
    downscale_factor: int = 1
    """Reduce images, masks and depth by this factor, averaging over areas."""
    orientation_method: OrientationMethod = "up"
    """How the scene is turned, as in nerfstudio-data; orientation_override of the file goes before."""
    center_method: CenterMethod = "box"
    """What becomes the origin: the middle of the scene box, or nerfstudio's poses, focus, none."""
    auto_scale_poses: bool = True
    """Scale so that the scene box fits the unit sphere; with another center-method than box, so that the cameras fit
    [-1, 1]^3, as in nerfstudio-data."""
    scale_factor: float = 1.0
    """Scale the scene by this on top."""
    scene_box_from: BoxSource = "auto"
    """What the scene box comes from: scene_aabb of the file, foreground masks, ply_file_path, or what all cameras see;
    auto takes the first of these that is there."""
    scene_aabb: tuple[float, float, float, float, float, float] | None = None
    """The scene box itself, xmin ymin zmin xmax ymax zmax in the coordinates of the poses."""
    scene_box_margin: float = 0.05
    """Margin on every side of a box that was estimated, as a part of its longest side."""


class Capture(NamedTuple):
    """What all splits share. Images are those of the selected frames, in the file's order."""

    transforms: tj.TransformsFile
    images: list[Path]
    cameras: Cameras
    """(N,), reduced, with times and camera_id."""
    camera_names: list[str]
    split: Split
    masks: MaskFiles
    depths: list[Path] | None
    scene_aabb: NDArray[np.float64]
    """(2, 3), scene units."""
    world_from_scene: NDArray[np.float64]


class NerfstudioTimeDataParser(DataParser):
    """Reads nerfstudio's layout with times. The splits "val" and "test" are the same unless the file lists both."""

    config: NerfstudioTimeDataParserConfig
    includes_time: bool = True

    def __init__(self, config: NerfstudioTimeDataParserConfig) -> None:
        super().__init__(config)
        self._capture: Capture | None = None

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        capture = self._capture = self._capture or self._read_capture()
        indices = getattr(capture.split, split)
        cameras = capture.cameras
        assert cameras.times is not None
        transform, scale = dataparser_transform(capture.world_from_scene)
        scene_aabb = torch.from_numpy(capture.scene_aabb).float()
        metadata: dict[str, Any] = {
            "dataparser_name": "nerfstudio-time-data",
            "split": split,
            "protocol_note": capture.split.note,
            "camera_names": capture.camera_names,
            "frame_times": torch.unique(cameras.times[capture.split.train]),
            "scene_aabb": scene_aabb,
            "world_from_scene": torch.from_numpy(capture.world_from_scene).float(),
            "downscale_factor": self.config.downscale_factor,
        }

        def of_split(files: list[Path]) -> list[Path]:
            return [files[index] for index in indices]

        background = None
        if capture.masks.foreground is not None:
            background = background_tensor(self.config.background_color)
            metadata["background_color"] = background
            metadata["fg_mask_filenames"] = of_split(capture.masks.foreground)
            metadata["fg_mask_source"] = capture.masks.source
        if capture.depths is not None:
            unit = self._depth_unit(capture.transforms)
            metadata["depth_filenames"] = of_split(capture.depths)
            metadata["depth_scale"] = unit * scale
            metadata["depth_convention"] = self._depth_convention(capture.transforms)
            metadata["depth_unit_scale_factor"] = unit  # what nerfstudio's own depth dataset asks for
        not_sampled = capture.masks.not_sampled
        return DataparserOutputs(
            image_filenames=of_split(capture.images),
            cameras=cameras[torch.tensor(indices)],
            alpha_color=background,
            scene_box=SceneBox(aabb=scene_aabb),
            mask_filenames=None if not_sampled is None else of_split(not_sampled),
            metadata=metadata,
            dataparser_transform=transform,
            dataparser_scale=scale,
        )

    def _read_capture(self) -> Capture:
        config = self.config
        require_downscale_factor(config.downscale_factor)
        folder = config.data.parent if config.data.suffix.lower() == ".json" else config.data
        transforms = tj.read_transforms(tj.find_transforms(config.data, layout_hint(folder, "nerfstudio-time-data")))
        where = str(transforms.path)
        times = tj.times_of_frames(transforms)
        # Whether times are in [0, 1] is a matter of the file, not of the frames that are selected.
        everything = make_timeline(times, "auto", config.time_tolerance, where)
        all_frames = everything.frame_ids
        selected = select_frames(
            int(all_frames.max()) + 1, config.start_frame, config.frame_stride, config.num_frames, where
        )
        kept = np.flatnonzero(np.isin(all_frames, selected))
        rule = self._time_rule(transforms)
        rule = everything.rule if rule == "auto" else rule
        timeline = make_timeline(times[kept], rule, config.time_tolerance, where)
        images = tj.kept_files(tj.image_files(transforms), kept)
        physical = self._physical_cameras(transforms, kept, timeline)
        split = self._split(transforms, images, physical, timeline)
        headers = validation.read_image_headers(images, "Checking images")
        lenses = [
            tj.lens_of_frame(transforms, int(index), (header.height, header.width))
            for index, header in zip(kept, headers, strict=True)
        ]
        masks = find_masks(transforms, kept, images, headers, config.mask_meaning)
        depths = find_depths(transforms, kept, images, headers)
        if masks.foreground is not None and any(lens.fisheye for lens in lenses):
            CONSOLE.print(
                "[yellow]These are fisheye cameras, which the visual hull of resfields methods cannot project into: "
                "train with --pipeline.model.occupancy.visual-hull False.",
                soft_wrap=True,
            )
        poses = tj.camera_poses(transforms)[kept]
        frame, box = self._frame_and_box(
            transforms, poses=poses, lenses=lenses, split=split, timeline=timeline, masks=masks
        )
        cameras = tj.nerfstudio_cameras(frame.poses(poses), lenses, config.downscale_factor)
        cameras.times = torch.from_numpy(timeline.times).float()[:, None]
        cameras.metadata = {"camera_id": torch.from_numpy(physical.ids)[:, None]}
        CONSOLE.print(f"{transforms.path.name}: {timeline.note}; {split.note}.", soft_wrap=True)
        saved_from_world = tj.matrix_of_file(transforms, "applied_transform")
        saved_from_world[:3] *= tj.number_of_file(transforms, "applied_scale", 1.0)
        return Capture(
            transforms=transforms,
            images=images,
            cameras=cameras,
            camera_names=physical.names,
            split=split,
            masks=masks,
            depths=depths,
            scene_aabb=frame.scale * (box + frame.translation),
            world_from_scene=frame.world_from_scene(saved_from_world),
        )

    def _physical_cameras(
        self, transforms: tj.TransformsFile, kept: NDArray[np.int64], timeline: Timeline
    ) -> PhysicalCameras:
        frames = [transforms.frames[index] for index in kept]
        declared = [frame.get("camera", frame.get("camera_id")) for frame in frames]
        without = [index for index, name in zip(kept, declared, strict=True) if name is None]
        if 0 < len(without) < len(declared):
            raise InputError(
                f"The {transforms.name(int(without[0]))} has no camera, but others have one, expected it in all frames "
                "or in none."
            )
        names = None if without else [str(name) for name in declared]
        return physical_cameras(names, [str(frame["file_path"]) for frame in frames], timeline.frame_ids)

    def _split(
        self, transforms: tj.TransformsFile, images: list[Path], cameras: PhysicalCameras, timeline: Timeline
    ) -> Split:
        config = self.config
        rule = SplitRule(
            config.eval_mode,
            tuple(config.train_cameras),
            tuple(config.eval_cameras),
            config.train_split_fraction,
            config.eval_interval,
        )
        pairs = set(zip(timeline.frame_ids.tolist(), cameras.ids.tolist(), strict=True))
        together = len(pairs) > len(np.unique(timeline.frame_ids))
        if len(cameras.names) > 1 and not together:
            CONSOLE.print(
                f"[yellow]{transforms.path} has {len(cameras.names)} cameras, but no time at which two of them took an "
                "image: if they are synchronised, raise --time-tolerance.",
                soft_wrap=True,
            )
        split = split_images(
            rule,
            images,
            lists=tj.split_lists(transforms, images),
            cameras=cameras,
            is_synchronised=together,
            where=transforms.path,
        )
        validation.require_distinct_frames(
            len(np.unique(timeline.frame_ids[split.train])), f"The training split of {transforms.path}"
        )
        return split

    def _frame_and_box(
        self,
        transforms: tj.TransformsFile,
        *,
        poses: NDArray[np.float64],
        lenses: list[tj.Lens],
        split: Split,
        timeline: Timeline,
        masks: MaskFiles,
    ) -> tuple[SceneFrame, NDArray[np.float64]]:
        """How the scene is turned, centred and scaled, and its box along the turned axes in world units."""
        config = self.config
        method = transforms.contents.get("orientation_override", config.orientation_method)
        if method not in ("pca", "up", "vertical", "none"):
            raise InputError(
                f"orientation_override of {transforms.path} is {method}, expected pca, up, vertical or none."
            )
        rotation = orientation(poses, method)
        turned = SceneFrame(rotation, np.zeros(3), 1.0).poses(poses)
        box, source = choose_box(
            BoxRule(config.scene_box_from, config.scene_aabb, config.scene_box_margin),
            transforms,
            rotation=rotation,
            cameras=tj.nerfstudio_cameras(turned, lenses),
            frame_ids=timeline.frame_ids,
            train=split.train,
            read_mask=None if masks.foreground is None else masks.read_foreground,
        )
        frame = scene_frame(
            poses,
            orientation_method=method,
            center_method=config.center_method,
            auto_scale=config.auto_scale_poses,
            scale_factor=config.scale_factor,
            box=box,
        )
        corners = np.round(rotated_box(box, rotation.T), 4).tolist()
        CONSOLE.print(
            f"{transforms.path.name}: scene box from {source}; in the poses' coordinates it lies in {corners}, and is "
            f"scaled by {frame.scale:.4g}.",
            soft_wrap=True,
        )
        return frame, box

    def _time_rule(self, transforms: tj.TransformsFile) -> TimeRule:
        unit = transforms.contents.get("time_unit")
        if self.config.times != "auto" or unit is None:
            return self.config.times
        return "unit" if unit == "unit" else "sequence"

    def _depth_unit(self, transforms: tj.TransformsFile) -> float:
        unit = self.config.depth_unit
        if unit is None:
            return tj.number_of_file(transforms, "depth_unit_scale_factor", DEFAULT_DEPTH_UNIT)
        if not unit > 0:
            raise InputError(f"--depth-unit is {unit:g}, expected a positive number.")
        return unit

    def _depth_convention(self, transforms: tj.TransformsFile) -> str:
        convention = self.config.depth_convention
        if convention == "auto":
            convention = transforms.contents.get("depth_convention", "z")
        if convention not in ("z", "ray"):
            raise InputError(f"depth_convention of {transforms.path} is {convention}, expected z or ray.")
        return convention


nerfstudio_time_data = DataParserSpecification(
    config=NerfstudioTimeDataParserConfig(),
    description="nerfstudio's transforms.json with a time per frame, and optionally masks and depth.",
)
