"""Monocular videos of moving scenes in NSFF's layout, or as nerfstudio's transforms.json with disp/ and flow_i1/.

Frame i of the N selected ones has the time i / (N - 1), in all splits. The layout is that of
:mod:`nf_plugins.data.monocular_files`; cameras are those of :mod:`nf_plugins.data.monocular_video`.

Scene units of ``--space ndc``: the average camera is the identity and looks along -z; nearly everything lies behind the
near plane z = -1 (Li et al., CVPR 2021, and LLFF's loader).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

from nf_plugins.data import monocular_files, validation
from nf_plugins.data import transforms_json as tj
from nf_plugins.data.dataparser_outputs import downscaled_size, require_downscale_factor
from nf_plugins.data.forward_facing import (
    Space,
    near_distance,
    require_forward_facing,
    scene_box,
    scene_frame,
    warn_of_cameras_beyond_near_plane,
    warn_of_standing_camera,
)
from nf_plugins.data.held_out_cameras import EvalProtocol, EvaluationViews, camera_names, choose_views
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.monocular_video import (
    MonocularVideo,
    PixelConvention,
    has_pose_file,
    read_nsff_video,
    read_transforms_video,
    selected_bounds,
)
from nf_plugins.data.pinhole_pixels import covering_pinhole, require_pinhole_pixels, warn_of_unknown_pixels
from nf_plugins.data.scene_frame import SceneFrame, dataparser_transform
from nf_plugins.data.view_split import ViewSplit, split_views
from nf_plugins.errors import InputError

LEAST_FRAMES = 3
FLOW_STEPS = {"flow_forward_filenames": 1, "flow_backward_filenames": -1}
"""Where the flow of a metadata key leads to, in frames."""


@dataclass
class NSFFDataParserConfig(DataParserConfig):
    """A monocular video of a moving scene: NSFF's or the NVIDIA Dynamic Scene layout, or transforms.json."""

    _target: type = field(default_factory=lambda: NSFFDataParser)
    """Class that is set up."""
    data: Path = Path("data/nsff/kid-running")
    """Folder with poses_bounds.npy (or one whose dense/ has it), else a transforms.json or its folder."""
    start_frame: int = 0
    """First frame to use."""
    end_frame: int | None = None
    """Frame to stop before; not given, all frames from the first on are used. Everything else follows from the
    selected frames alone, such as the scale of the scene."""
    images_folder: str | None = None
    """Name of the folder of images; not given, the one images_* that there is, else images."""
    pose_file: str = "auto"
    """Name of the file of poses; auto takes poses_bounds.npy, or else poses_bounds_cvd.npy."""
    pixel_convention: PixelConvention = "auto"
    """Ray of pixel column u with poses_bounds.npy: integer = through u - W/2, as NSFF has it; half = through
    u + 1/2 - W/2, as COLMAP has it; auto = what scene.json says, else integer."""
    downscale_factor: int = 1
    """Reduce images, flow, depth and masks by this factor."""
    space: Space = "ndc"
    """Coordinates of the scene: ndc = normalised device coordinates of a forward-facing scene, as published;
    contracted = unbounded space around the cameras, for videos that look around."""
    bd_factor: float = 0.9
    """Sampling begins at this share of the 5th percentile of the near bounds; with space ndc that is the near plane,
    which comes to lie at 1."""
    near_bound: float | None = None
    """With transforms.json: depth before which nothing is seen, in units of its poses; not given, from its points."""
    far_bound: float | None = None
    """With transforms.json: depth behind which nothing of interest is; likewise."""
    eval_protocol: EvalProtocol = "auto"
    """What evaluates: nsff = all views of mv_images that were not trained on; dynamic-nerf = their first camera at
    12 frames; held-out-frames = every n-th frame, not trained on; training-frames. auto = nsff where there is
    mv_images, else training-frames."""
    eval_interval: int = 8
    """With eval protocol held-out-frames: hold out every n-th frame, from the first on."""


class Selection(NamedTuple):
    """What all splits share: the selected frames of a video in the scene's frame."""

    video: MonocularVideo
    start: int
    end: int
    """One after the last frame."""
    frame: SceneFrame
    lens: tj.Lens
    """Reduced."""
    scene_aabb: NDArray[np.float64]
    views: EvaluationViews | None
    """Of other cameras; None where frames of the video evaluate."""
    frames: ViewSplit
    """Which of the selected frames train and, without views, evaluate."""

    @property
    def num_frames(self) -> int:
        """How many are selected."""
        return self.end - self.start

    @property
    def poses(self) -> NDArray[np.float64]:
        """(N, 3, 4) of the selected frames, world units."""
        return self.video.poses[self.start : self.end]


class SplitImages(NamedTuple):
    """The images of a split."""

    files: list[Path]
    poses: NDArray[np.float64]
    """(M, 3, 4), world units."""
    frames: list[int]
    """Of the selection."""
    cameras: list[int]
    metadata: dict[str, Any]


class NSFFDataParser(DataParser):
    """Reads a monocular video. The splits "val" and "test" are the same.

    Metadata beside those of :mod:`nf_plugins.data.monocular_dataset`: ``ndc`` (height, width and focal length, in
    pixels, of the frustum; absent with contracted space), ``space``, ``near_distance`` (where sampling begins, scene
    units; 1 with ndc), and the cameras of all selected frames, whichever
    split they are in: ``frame_camera_to_worlds`` (N, 3, 4), scene units, and ``frame_intrinsics`` (N, 4): fx, fy, cx,
    cy in pixels, of the lens without its distortion. Cameras have the distortion. In the evaluation splits masks of
    held-out views are ``motion_mask_filenames``.
    """

    config: NSFFDataParserConfig
    includes_time: bool = True

    def __init__(self, config: NSFFDataParserConfig) -> None:
        super().__init__(config)
        self._selection: Selection | None = None

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        selection = self._selection = self._selection or self._read_selection()
        views, lens = selection.views, selection.lens
        images = self._frame_images(selection, split) if views is None or split == "train" else _view_images(selection)
        frame_times = torch.arange(selection.num_frames) / (selection.num_frames - 1)
        scene_aabb = torch.from_numpy(selection.scene_aabb).float()
        world_from_scene = selection.frame.world_from_scene(selection.video.saved_from_world)
        bounds = selected_bounds(selection.video, selection.start, selection.end)
        metadata: dict[str, Any] = {
            "dataparser_name": "nsff-data",
            "split": split,
            "protocol_note": selection.frames.note if views is None else views.note,
            "camera_names": camera_names(views),
            "frame_times": frame_times,
            "scene_aabb": scene_aabb,
            "world_from_scene": torch.from_numpy(world_from_scene).float(),
            "downscale_factor": self.config.downscale_factor,
            "space": self.config.space,
            "near_distance": selection.frame.scale * near_distance(bounds, self.config.bd_factor),
            "frame_camera_to_worlds": torch.from_numpy(selection.frame.poses(selection.poses)).float(),
            "frame_intrinsics": torch.tensor([[lens.fx, lens.fy, lens.cx, lens.cy]]).repeat(selection.num_frames, 1),
            **images.metadata,
        }
        if self.config.space == "ndc":
            metadata["ndc"] = {"height": lens.height, "width": lens.width, "focal": (lens.fx + lens.fy) / 2}
        cameras = tj.nerfstudio_cameras(selection.frame.poses(images.poses), [lens] * len(images.files))
        cameras.times = frame_times[images.frames][:, None]
        cameras.metadata = {"camera_id": torch.tensor(images.cameras)[:, None]}
        transform, scale = dataparser_transform(world_from_scene)
        return DataparserOutputs(
            image_filenames=images.files,
            cameras=cameras,
            scene_box=SceneBox(aabb=scene_aabb),
            metadata=metadata,
            dataparser_transform=transform,
            dataparser_scale=scale,
        )

    def _read_selection(self) -> Selection:
        config = self.config
        require_downscale_factor(config.downscale_factor)
        if not (np.isfinite(config.bd_factor) and config.bd_factor > 0):
            raise InputError(f"--bd-factor is {config.bd_factor}, expected a positive number.")
        video = self._read_video()
        start, end = self._frame_range(len(video.images), video.source)
        poses, bounds = video.poses[start:end], selected_bounds(video, start, end)
        frame = scene_frame(poses, bounds, config.space, config.bd_factor)
        height, width = downscaled_size(video.lens.height, video.lens.width, config.downscale_factor)
        lens = video.lens.resized(width, height)
        seen = covering_pinhole(lens)
        if config.space == "ndc":
            require_pinhole_pixels(lens, video.source)
            warn_of_cameras_beyond_near_plane(frame.poses(poses), video.source)
            require_forward_facing(frame.poses(poses), seen, video.source)
        warn_of_unknown_pixels(lens, video.source)
        warn_of_standing_camera(poses, bounds, video.source, has_depth=(video.root / "disp").is_dir())
        views = self._held_out_views(video, start, end)
        frames = self._split_frames(views, end - start, video.source)
        box = scene_box(frame, poses, bounds, seen, config.space)
        selection = Selection(video, start, end, frame, lens, box, views, frames)
        note = frames.note if views is None else views.note
        CONSOLE.print(
            f"{video.source.name}: frames {start} to {end - 1} of {len(video.images)}; {note}.", soft_wrap=True
        )
        return selection

    def _read_video(self) -> MonocularVideo:
        config = self.config
        if config.data.suffix.lower() != ".json":
            hint = layout_hint(config.data, "nsff-data")
            validation.require_folder(config.data, "poses_bounds.npy or transforms.json", hint)
            for folder in (config.data, config.data / "dense"):
                if has_pose_file(folder) or (folder / config.pose_file).is_file():
                    self._require_default(("near_bound", "far_bound"), "transforms.json", folder)
                    return read_nsff_video(folder, config.images_folder, config.pose_file, config.pixel_convention)
            if not (config.data / "transforms.json").is_file():
                raise InputError(
                    f"The folder {config.data} holds neither poses_bounds.npy nor transforms.json, expected a "
                    f"monocular video with its cameras. {hint}".rstrip()
                )
        path = tj.find_transforms(config.data)
        self._require_default(("images_folder", "pose_file", "pixel_convention"), "poses_bounds.npy", path)
        return read_transforms_video(path, config.near_bound, config.far_bound)

    def _require_default(self, names: tuple[str, ...], layout: str, source: Path) -> None:
        """Refuses options of the other layout, which would do nothing."""
        for name in names:
            value = getattr(self.config, name)
            if value != getattr(NSFFDataParserConfig, name):
                option = f"--{name.replace('_', '-')} {value}"
                raise InputError(f"{option} applies to {layout} and does nothing with {source}: leave it out.")

    def _frame_range(self, available: int, source: Path) -> tuple[int, int]:
        """The first selected frame and one after the last."""
        start = self.config.start_frame
        end = available if self.config.end_frame is None else self.config.end_frame
        asked = f"--start-frame {start} --end-frame {end}"
        if not 0 <= start < end <= available:
            raise InputError(
                f"{asked} selects no frames of the {available} of {source}, expected 0 <= start < end <= {available}."
            )
        if end - start < LEAST_FRAMES:
            raise InputError(
                f"{asked} selects {end - start} of the {available} frames of {source}, expected at least "
                f"{LEAST_FRAMES}: flow needs a frame with two neighbours."
            )
        return start, end

    def _held_out_views(self, video: MonocularVideo, start: int, end: int) -> EvaluationViews | None:
        protocol = self.config.eval_protocol
        if protocol in ("held-out-frames", "training-frames"):
            return None
        views = monocular_files.find_held_out_views(video.root, start, end, video.lens.width / video.lens.height)
        if views:
            relative_focal = video.lens.fy / video.lens.height
            poses, images = video.poses[start:end], video.images[start:end]
            return choose_views(video.root, views, poses, start, protocol, images=images, relative_focal=relative_focal)
        if protocol != "auto":
            raise InputError(
                f"{video.root} has no mv_images, expected views of other cameras with --eval-protocol {protocol}: use "
                "held-out-frames or training-frames."
            )
        return None

    def _split_frames(self, views: EvaluationViews | None, num_frames: int, source: Path) -> ViewSplit:
        everything = list(range(num_frames))
        if views is not None or self.config.eval_protocol != "held-out-frames":
            return ViewSplit(everything, everything, "evaluated on the training frames: no frame is held out")
        frames = split_views("interval", num_frames, self.config.eval_interval, (), source)
        return frames._replace(
            note=f"every frame whose number is a multiple of {self.config.eval_interval} is held out"
        )

    def _frame_images(self, selection: Selection, split: str) -> SplitImages:
        """Frames of the video, with what lies beside them."""
        video, start, end = selection.video, selection.start, selection.end
        frames = selection.frames.train if split == "train" else selection.frames.evaluation
        num_rig = 0 if selection.views is None else selection.views.num_rig_cameras
        size = video.lens.height, video.lens.width
        beside = monocular_files.find_files_beside(video.root, video.images, start, end, size)
        # Flow to a frame that is held out was made with its image.
        hidden = set(range(selection.num_frames)) - set(frames) if split == "train" else set()
        return SplitImages(
            [video.images[start + frame] for frame in frames],
            selection.poses[frames],
            frames,
            [(start + frame) % num_rig if num_rig else 0 for frame in frames],
            {
                key: [None if (frame + FLOW_STEPS.get(key, 0)) in hidden else files[frame] for frame in frames]
                for key, files in beside.items()
            },
        )


def _view_images(selection: Selection) -> SplitImages:
    """Views of other cameras, with the masks of what moves in them."""
    views = selection.views
    assert views is not None
    masks = [view.mask for view in views.views]
    # Where the filming camera is none of them, it is camera 0.
    first = 0 if views.num_rig_cameras else 1
    return SplitImages(
        [view.image for view in views.views],
        views.poses,
        [view.frame - selection.start for view in views.views],
        [first + view.camera for view in views.views],
        {} if any(mask is None for mask in masks) else {"motion_mask_filenames": masks},
    )


nsff_data = DataParserSpecification(
    config=NSFFDataParserConfig(),
    description="A monocular video of a moving scene with poses, and optionally depth, flow and motion masks.",
)
