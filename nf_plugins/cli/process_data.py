"""``nf-process-data``: bring a recording into a layout that the methods of this package train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from nf_plugins.data.processing.convert_options import ConvertOptions
from nf_plugins.data.processing.options import (
    MaskedViewsOptions,
    MonocularVideoOptions,
    MultiviewVideoOptions,
    RgbdOptions,
)


@dataclass(kw_only=True)
class MultiviewVideo(MultiviewVideoOptions):
    """Synchronised videos of standing, calibrated cameras -> a folder for nerfstudio-time-data."""

    def main(self) -> str:
        """Process, and print the command that trains on the result."""
        from nf_plugins.data.processing.multiview_video import process_multiview_video

        return _say(process_multiview_video(self))


@dataclass(kw_only=True)
class Rgbd(RgbdOptions):
    """Recorded RGB-D cameras (depth aligned to colour) -> a folder for owlii-data."""

    def main(self) -> str:
        """Process, and print the command that trains on the result."""
        from nf_plugins.data.processing.rgbd import process_rgbd

        return _say(process_rgbd(self))


@dataclass(kw_only=True)
class MaskedViews(MaskedViewsOptions):
    """Photographs of a standing object, their masks and cameras -> a folder for dtu-data."""

    def main(self) -> str:
        """Process, and print the command that trains on the result."""
        from nf_plugins.data.processing.masked_views import process_masked_views

        return _say(process_masked_views(self))


@dataclass(kw_only=True)
class MonocularVideo(MonocularVideoOptions):
    """One moving camera's video of a moving scene -> a folder for nsff-data, with poses, flow, depth, motion masks."""

    def main(self) -> str:
        """Process, and print the command that trains on the result."""
        from nf_plugins.data.processing.monocular_video import process_monocular_video

        return _say(process_monocular_video(self))


@dataclass(kw_only=True)
class Convert(ConvertOptions):
    """Calibrated cameras and their images from one layout to another: EasyVolcap, COLMAP, nerfstudio."""

    def main(self) -> str:
        """Convert, and print the command that trains on the result where there is one."""
        from nf_plugins.data.processing.convert import process_convert

        command = process_convert(self)
        return _say(command) if command else ""


Commands = (
    Annotated[MultiviewVideo, tyro.conf.subcommand(name="multiview-video")]
    | Annotated[Rgbd, tyro.conf.subcommand(name="rgbd")]
    | Annotated[MaskedViews, tyro.conf.subcommand(name="masked-views")]
    | Annotated[MonocularVideo, tyro.conf.subcommand(name="monocular-video")]
    | Annotated[Convert, tyro.conf.subcommand(name="convert")]
)


def _say(command: str) -> str:
    from nerfstudio.utils.rich_utils import CONSOLE

    CONSOLE.print("Train on it:", soft_wrap=True)
    CONSOLE.print(command, soft_wrap=True, highlight=False, markup=False)
    return command


def entrypoint() -> None:
    """Console command ``nf-process-data``."""
    tyro.cli(Commands, description=__doc__, prog="nf-process-data").main()  # type: ignore[arg-type]


if __name__ == "__main__":
    entrypoint()
