"""Images of a monocular video with disparity, optical flow and motion masks.

What ``DataparserOutputs.metadata`` may say, besides what every dynamic dataset reads:

``disparity_filenames``
    One .npy (H, W) per image: relative inverse depth, larger is nearer, of unknown scale and shift; NaN where it is not
    known.
``flow_forward_filenames``, ``flow_backward_filenames``
    Flow to the next and to the previous frame of the video, of the size of the image file; None entries where there is
    no neighbour. See :mod:`nf_plugins.data.optical_flow_files`.
``motion_mask_filenames``
    Masks of what moves: any channel above 0.

Cameras may have a lens that bends light. Images, masks and disparity stay as it sees them, like the rays. Flow is given
between the images of a pinhole, with whose projections of points it is compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor

from nf_plugins.data.dynamic_dataset import DynamicDataset, area_resize, read_image
from nf_plugins.data.foreground_masks import read_mask
from nf_plugins.data.monocular_files import read_disparity
from nf_plugins.data.optical_flow_files import read_flow
from nf_plugins.data.pinhole_pixels import (
    PinholePixels,
    is_pinhole,
    lens_of_camera,
    pinhole_flow,
    pinhole_pixels,
    pixel_centres,
)
from nf_plugins.data.transforms_json import Lens


class MonocularDataset(DynamicDataset):
    """A dynamic dataset whose files may have any size; they are brought to that of the cameras.

    ``dataset[i]`` holds ``image`` (H, W, 3) in [0, 1] and, where the metadata name files,

    - ``disparity`` (H, W, 1), and ``disparity_valid`` (H, W, 1), 1 where it is known; elsewhere both are 0;
    - ``optical_flow_forward`` and ``optical_flow_backward`` (H, W, 2), (dx, dy) in pixels of the cameras, and
      ``optical_flow_forward_valid`` and ``optical_flow_backward_valid`` (H, W, 1), 1 where they may be trusted. Both
      are 0 where there is no neighbour;
    - ``motion_mask`` (H, W, 1), 1 where something moves.

    With a lens that distorts there is ``pinhole_pixels`` (H, W, 2) too: column and row at which the pinhole camera with
    the same fx, fy, cx and cy sees what each pixel's centre sees. Flow then begins there and leads to such a place.

    Images are averaged over areas, disparity and masks take the nearest value. A pixel's flow is the mean over the area
    that it covers, and valid where all of that is.

    Args:
        dataparser_outputs: Of ``nsff-data``.
        scale_factor: nerfstudio's ``camera_res_scale_factor``; ``ndc`` and ``frame_intrinsics`` of the metadata
            follow it, because a model is built from them. Whole images are brought to the smaller size, so cameras
            shrink by the ratio of the sizes where these are rounded.
    """

    def __init__(self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        if scale_factor != 1:
            self._scale_intrinsics(dataparser_outputs)
        self.disparity_filenames: list[Path] | None = self.metadata.get("disparity_filenames")
        self.motion_mask_filenames: list[Path] | None = self.metadata.get("motion_mask_filenames")
        self.flow_filenames: dict[str, list[Path | None]] = {
            direction: self.metadata[f"flow_{direction}_filenames"]
            for direction in ("forward", "backward")
            if self.metadata.get(f"flow_{direction}_filenames") is not None
        }
        self._pinhole: tuple[Lens, PinholePixels] | None = None

    def _scale_intrinsics(self, unscaled: DataparserOutputs) -> None:
        """Brings cameras, and what the metadata say in pixels, to the size of the images."""
        cameras, before = self.cameras, unscaled.cameras
        x, y = cameras.width / before.width, cameras.height / before.height
        cameras.fx, cameras.cx = x * before.fx, x * before.cx
        cameras.fy, cameras.cy = y * before.fy, y * before.cy
        if "frame_intrinsics" in self.metadata:
            self.metadata["frame_intrinsics"] = torch.cat([x, y, x, y], dim=-1)[:1] * self.metadata["frame_intrinsics"]
        if "ndc" in self.metadata:
            height, width = self.image_size(0)
            factor = float(x[0] + y[0]) / 2
            self.metadata["ndc"] = {"height": height, "width": width, "focal": factor * self.metadata["ndc"]["focal"]}

    def get_data(self, image_idx: int, image_type: Literal["uint8", "float32"] = "float32") -> dict[str, Any]:
        """The image's dictionary; everything but the image is float32 for either type."""
        if image_type not in ("uint8", "float32"):
            raise NotImplementedError(f"image_type is {image_type}, expected uint8 or float32")
        size = self.image_size(image_idx)
        image = area_resize(read_image(self.image_filenames[image_idx])[..., :3], size)
        data: dict[str, Any] = {
            "image_idx": image_idx,
            "image": (255 * image).round().to(torch.uint8) if image_type == "uint8" else image,
        }
        if self.disparity_filenames is not None:
            disparity = torch.from_numpy(read_disparity(self.disparity_filenames[image_idx]))
            disparity = nearest_resize(disparity[..., None], size)
            data["disparity"] = disparity.nan_to_num(nan=0.0)
            data["disparity_valid"] = (~disparity.isnan()).float()
        lens = lens_of_camera(self.cameras, image_idx)
        pinhole = None if is_pinhole(lens) else self._pinhole_pixels(lens)
        if pinhole is not None:
            data["pinhole_pixels"] = pinhole.pixels.float()
        for direction, files in self.flow_filenames.items():
            flow, valid = _flow(files[image_idx], size)
            if pinhole is not None:
                flow, valid = pinhole_flow(flow, valid, pinhole, lens)
            data[f"optical_flow_{direction}"] = flow
            data[f"optical_flow_{direction}_valid"] = valid
        if self.motion_mask_filenames is not None:
            mask = read_mask(self.motion_mask_filenames[image_idx], "any_channel_positive")
            data["motion_mask"] = nearest_resize(mask, size)
        return data

    def _pinhole_pixels(self, lens: Lens) -> PinholePixels:
        """Of all pixels (H, W); those of the last lens are kept, because all images usually have one lens."""
        kept = self._pinhole
        if kept is None or kept[0] != lens:
            kept = self._pinhole = lens, pinhole_pixels(pixel_centres(lens.height, lens.width), lens)
        return kept[1]


def nearest_resize(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Values (H, W, C) at the pixels nearest to the centres of the new ones, (\\*size, C)."""
    rows, columns = (
        ((torch.arange(new) + 0.5) * old / new).long() for new, old in zip(size, values.shape[:2], strict=True)
    )
    return values[rows[:, None], columns]


def _flow(path: Path | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Flow (H, W, 2) in pixels of the new size, and where it is valid (H, W, 1)."""
    if path is None:
        return torch.zeros(*size, 2), torch.zeros(*size, 1)
    flow, valid = (torch.from_numpy(array) for array in read_flow(path))
    height, width = valid.shape
    if (height, width) == size:
        return flow, valid[..., None].float()
    flow = flow * torch.tensor([size[1] / width, size[0] / height])
    valid = area_resize(valid[..., None].float(), size) > 1 - 1e-6
    return area_resize(flow, size), valid.float()
