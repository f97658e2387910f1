"""The frames of a video as the images of a dataset.

What ``DataparserOutputs.metadata`` says, besides what every dynamic dataset has:

``video_clip``
    The :class:`~nf_plugins.data.video_clip.VideoClip`, the same object in all splits.
``held_out``
    The :class:`~nf_plugins.data.held_out.HeldOut`, likewise.
``clip_frames``
    Frame of the clip that each image of the split is, int64 ``(N,)``.
``picture_size``
    Height and width of the frames.
``fps``
    Frames per second, or None.
"""

from __future__ import annotations

from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.held_out import HeldOut
from nf_plugins.data.video_clip import VideoClip
from nf_plugins.errors import InputError


class VideoDataset(DynamicDataset):
    """Images out of the decoded clip, whole, held-out pixels included.

    Args:
        dataparser_outputs: Of ``video-data``.
        scale_factor: Must be 1: frames are reduced when they are decoded.

    Raises:
        InputError: Outputs of another dataparser, or another scale.
    """

    def __init__(self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        if "video_clip" not in self.metadata:
            source = self.metadata.get("dataparser_name", "the chosen dataparser")
            raise InputError(
                f"A video method needs the frames of a video, which {source} does not give; use video-data."
            )
        if scale_factor != 1:
            raise InputError(
                f"--pipeline.datamanager.camera-res-scale-factor is {scale_factor:g}, expected 1 for a video: use "
                "--downscale-factor of video-data instead."
            )
        self.clip: VideoClip = self.metadata["video_clip"]
        self.held_out: HeldOut = self.metadata["held_out"]
        self.clip_frames: list[int] = self.metadata["clip_frames"].tolist()
