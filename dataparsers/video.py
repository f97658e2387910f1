"""A video as a picture plane in space: one perspective camera per frame looks at it from above.

``--data`` is a video file (whatever PyAV decodes), a ``.npy`` file ``(T, H, W, 3)`` of uint8 or of numbers in [0, 1],
or a folder of images of one size in natural order of their names.

The selected frames have the times f / (T - 1). The line of these T times is the clip's in every split: held-out frames
belong to it, so that a model has their places between its training frames.

Splits by ``--held-out``; the exact draws are those of :class:`~nf_plugins.data.held_out.HeldOut`:

``pixels``
    train, val and test hold all frames. Training draws no held-out pixel; the PSNR of the protocol is taken over these.
``frames``
    train holds the training frames, val and test the held-out ones.
``none``
    All splits hold all frames, and all pixels are trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nf_plugins.data.held_out import HeldOut
from nf_plugins.data.video_clip import ClipSelection, VideoClip, open_clip
from nf_plugins.errors import InputError
from nf_plugins.model_components.picture_plane import PicturePlane


@dataclass
class VideoDataParserConfig(DataParserConfig):
    """A video file, a .npy array (T, H, W, 3) or a folder of images, for the video methods."""

    _target: type = field(default_factory=lambda: VideoDataParser)
    """Class that is set up."""
    data: Path = Path("data/video.mp4")
    """Video file, .npy file, or folder of images."""
    start_frame: int = 0
    """First frame to use."""
    num_frames: int | None = None
    """Number of frames to use; all from the first on when not given."""
    frame_stride: int = 1
    """Use every so many frames."""
    downscale_factor: int = 1
    """Reduce the frames by this factor, averaging over areas."""
    held_out: Literal["pixels", "frames", "none"] = "pixels"
    """What training never sees: random pixels of every frame, random whole frames, or nothing."""
    held_out_fraction: float = 0.1
    """Part of the pixels or frames that is held out."""
    held_out_seed: int = 42
    """Seed of that choice."""
    fps: float | None = None
    """Frames per second of a folder or .npy file, or instead of the video file's own; renders are played at it."""


class VideoDataParser(DataParser):
    """Reads a video. One standing camera: every ``camera_id`` is 0."""

    config: VideoDataParserConfig
    includes_time: bool = True

    def __init__(self, config: VideoDataParserConfig) -> None:
        super().__init__(config)
        self._held_out: tuple[VideoClip, HeldOut] | None = None

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        config = self.config
        if config.fps is not None and not config.fps > 0:
            raise InputError(f"--fps is {config.fps:g}, expected a positive number.")
        clip, held_out = self._clip_and_held_out()
        if split == "train":
            clip_frames = held_out.training_frames
        else:
            clip_frames = held_out.frames if held_out.protocol == "frames" else torch.arange(clip.num_frames)
        plane = PicturePlane(*clip.size)
        frame_times = torch.arange(clip.num_frames) / (clip.num_frames - 1)
        metadata: dict[str, Any] = {
            "dataparser_name": "video-data",
            "split": split,
            "protocol_note": self._protocol_note(),
            "frame_times": frame_times,
            "scene_aabb": plane.bounds(),
            "world_from_scene": torch.eye(4),
            "background_color": torch.zeros(3),
            "downscale_factor": config.downscale_factor,
            "video_clip": clip,
            "held_out": held_out,
            "clip_frames": clip_frames,
            "picture_size": clip.size,
            "fps": config.fps or clip.fps,
        }
        return DataparserOutputs(
            image_filenames=[clip.names[frame] for frame in clip_frames.tolist()],
            cameras=Cameras(
                camera_to_worlds=plane.camera_to_world().repeat(len(clip_frames), 1, 1),
                fx=plane.focal,
                fy=plane.focal,
                cx=plane.width / 2,
                cy=plane.height / 2,
                height=plane.height,
                width=plane.width,
                camera_type=CameraType.PERSPECTIVE,
                times=frame_times[clip_frames][:, None],
                metadata={"camera_id": torch.zeros(len(clip_frames), 1, dtype=torch.long)},
            ),
            scene_box=SceneBox(aabb=plane.bounds()),
            metadata=metadata,
        )

    def _clip_and_held_out(self) -> tuple[VideoClip, HeldOut]:
        """Decoded and drawn once for all splits."""
        if self._held_out is None:
            config = self.config
            selection = ClipSelection(
                config.start_frame, config.num_frames, config.frame_stride, config.downscale_factor
            )
            clip = open_clip(config.data, selection)
            height, width = clip.size
            self._held_out = (
                clip,
                HeldOut(
                    config.held_out, clip.num_frames, height * width, config.held_out_fraction, config.held_out_seed
                ),
            )
        return self._held_out

    def _protocol_note(self) -> str:
        config = self.config
        if config.held_out == "none":
            return "nothing is held out: all splits are the training frames"
        what = "pixels of every frame" if config.held_out == "pixels" else "frames"
        note = f"{config.held_out_fraction:g} of the {what} held out, seed {config.held_out_seed}"
        if config.held_out == "pixels":
            note += "; means over images are over whole frames, which hold training pixels too"
        return note


video_data = DataParserSpecification(
    config=VideoDataParserConfig(),
    description="A video file, .npy array or folder of images as a picture plane, with held-out pixels or frames.",
)
