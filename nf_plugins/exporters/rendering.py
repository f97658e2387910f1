"""Named outputs of any nerfstudio model, side by side, as 8-bit frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils import colormaps
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.exporters.image_files import Image8, to_8_bit
from nf_plugins.exporters.video import frame_writer


class OutputPainter:
    """Turns a model's output dictionary into one RGB image.

    The depth range is taken from the first image's foreground and kept, so that colours do not flicker in a video.

    Args:
        output_names: Outputs from left to right. Three channels are colours in [0, 1] (normals in [-1, 1], named
            ``normal`` or ``normals``, are mapped to them), one channel named ``*depth*`` is coloured by distance in
            scene units, any other one channel is in [0, 1].
        depth_range: Nearest and farthest depth; None takes them from the first image.
        depth_colormap: Colours of depth; jet is what the original ResFields shows.
    """

    def __init__(
        self,
        output_names: Sequence[str],
        depth_range: tuple[float, float] | None = None,
        depth_colormap: Literal["turbo", "jet"] = "turbo",
    ) -> None:
        self.output_names = tuple(output_names)
        self.depth_range = depth_range
        self.depth_colormap = depth_colormap

    def __call__(self, outputs: dict[str, Tensor]) -> Image8:
        """One image (H, total W, 3) of the outputs, each (H, W, C).

        Raises:
            InputError: if an output is not there.
        """
        missing = [name for name in self.output_names if name not in outputs]
        if missing:
            raise InputError(
                f"--outputs: the model has no output {', '.join(missing)}; it has {', '.join(sorted(outputs))}."
            )
        panels = torch.cat([self.panel(name, outputs) for name in self.output_names], dim=1)
        return to_8_bit(panels)

    def panel(self, name: str, outputs: dict[str, Tensor]) -> Tensor:
        """One output as colours (H, W, 3) in [0, 1]."""
        image = outputs[name].detach().float()
        if "depth" in name and image.shape[-1] == 1:
            near, far = self.range_of(image, outputs.get("accumulation"))
            accumulation = outputs.get("accumulation")
            if self.depth_colormap == "turbo":
                return colormaps.apply_depth_colormap(image, accumulation, near, far).clamp(0.0, 1.0)
            colors = jet_colors(((image - near) / (far - near)).nan_to_num(0.0))
            return colors if accumulation is None else colors * accumulation + 1.0 - accumulation
        if name in ("normal", "normals"):
            image = 0.5 * image + 0.5
        options = colormaps.ColormapOptions(colormap="gray" if "accumulation" in name else "default")
        return colormaps.apply_colormap(image.clamp(0.0, 1.0), options).clamp(0.0, 1.0)

    def range_of(self, depth: Tensor, accumulation: Tensor | None) -> tuple[float, float]:
        """The fixed range; at the first call the 1st and 99th percentile of the depth where the model is opaque."""
        if self.depth_range is None:
            visible = depth[accumulation > 0.5] if accumulation is not None else depth.flatten()
            visible = visible[visible.isfinite()]
            if len(visible) == 0:
                return 0.0, 1.0
            near, far = (float(np.quantile(visible.cpu().numpy(), q)) for q in (0.01, 0.99))
            self.depth_range = (near, max(far, near + 1e-6))
        return self.depth_range


def jet_colors(values: Tensor) -> Tensor:
    """The colour map "jet", dark blue at 0 to dark red at 1: values (H, W, 1), clipped, to colours (H, W, 3)."""
    peaks = values.new_tensor([0.75, 0.5, 0.25])
    return (1.5 - 4.0 * (values.clamp(0.0, 1.0) - peaks).abs()).clamp(0.0, 1.0)


@torch.no_grad()
def render_frame(pipeline: Any, camera: Cameras) -> dict[str, Tensor]:
    """All image outputs (H, W, C) of one camera (batch of one)."""
    return pipeline.model.get_outputs_for_camera(camera.to(pipeline.device))


def render_to_file(
    pipeline: Any,
    cameras: Cameras,
    path: Path,
    painter: OutputPainter,
    fps: float,
    *,
    order: Sequence[int] | None = None,
    on_frame: Callable[[], None] | None = None,
) -> int:
    """Render cameras one by one into a video, gif or folder of PNGs.

    Args:
        pipeline: In evaluation mode.
        cameras: One frame each.
        path: Output, see :func:`~nf_plugins.exporters.video.frame_writer`.
        painter: Which outputs to show.
        fps: Frames per second.
        order: Indices of the cameras in the order of frames; a camera that comes again is not rendered again.
        on_frame: Called after every frame.

    Returns:
        The number of frames.
    """
    order = range(len(cameras)) if order is None else order
    last_use = {index: position for position, index in enumerate(order)}
    kept: dict[int, Image8] = {}
    with frame_writer(path, fps) as add_frame:
        for position, index in enumerate(order):
            frame = kept.pop(index, None)
            if frame is None:
                frame = painter(render_frame(pipeline, cameras[index : index + 1]))
            if last_use[index] > position:
                kept[index] = frame
            add_frame(frame)
            if on_frame is not None:
                on_frame()
    return len(order)
