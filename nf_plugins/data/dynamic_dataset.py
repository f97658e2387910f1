"""Images of a dynamic scene with foreground masks and depth.

What ``DataparserOutputs.metadata`` may say, and what becomes of it:

``fg_mask_filenames``, ``fg_mask_source``
    "alpha": the alpha channel of the file, 0..1. Else a rule of :mod:`nf_plugins.data.foreground_masks`, such as
    "first_channel_positive": 1 where the first channel is above 0.
``background_color``
    What images with masks are laid on.
``keep_background``
    True: images with masks stay as photographed, and the masks are delivered beside them.
``depth_filenames``, ``depth_scale``, ``depth_convention``
    raw value * depth_scale is in scene units; "ray": along the unit ray; "z": the camera's z coordinate. 0: unknown.
``downscale_factor``
    Whole factor by which the files are reduced; the cameras of the outputs are reduced already.
``video_clip``, ``clip_frames``
    A decoded video and the frame of it that each image is; see :mod:`nf_plugins.data.video_dataset`. No file is read.
``mesh_pictures``
    Images with masks that are drawn when they are asked for; see :mod:`nf_plugins.data.mesh_pictures`. Likewise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset
from PIL import Image
from torch import Tensor

from nf_plugins.data.camera_conventions import pixel_ray_norms
from nf_plugins.data.foreground_masks import read_mask
from nf_plugins.errors import InputError


class DynamicDataset(InputDataset):
    """nerfstudio's dataset with foreground masks, depth and area-averaging reduction.

    ``dataset[i]`` holds ``image`` (H, W, 3) in [0, 1], laid on the background by the mask where there are masks, unless
    its own is to be kept; ``fg_mask`` (H, W, 1) in [0, 1] where there are masks; ``depth`` (H, W, 1), the distance
    along the unit ray in scene units, where there are depths, 0 where it is not known; ``mask`` (H, W, 1), bool, where
    the dataparser has ``mask_filenames``: pixels that may be sampled. H and W are those of ``self.cameras``.

    Args:
        dataparser_outputs: Of any dataparser; without our metadata it behaves like nerfstudio's dataset.
        scale_factor: nerfstudio's ``camera_res_scale_factor``, on top of the dataparser's own reduction.
    """

    def __init__(self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        self.downscale_factor: int = self.metadata.get("downscale_factor", 1)
        self.fg_mask_filenames: list[Path] | None = self.metadata.get("fg_mask_filenames")
        self.fg_mask_source: str = self.metadata.get("fg_mask_source", "first_channel_positive")
        self.depth_filenames: list[Path] | None = self.metadata.get("depth_filenames")
        self.keep_background: bool = self.metadata.get("keep_background", False)
        background = self.metadata.get("background_color")
        self.background_color = torch.zeros(3) if background is None else torch.as_tensor(background).float().cpu()

    def image_size(self, image_idx: int) -> tuple[int, int]:
        """Height and width of what ``get_data`` returns, without reading the file."""
        return int(self.cameras.height[image_idx]), int(self.cameras.width[image_idx])

    def get_data(self, image_idx: int, image_type: Literal["uint8", "float32"] = "float32") -> dict[str, Any]:
        """The image's dictionary; masks and depth are float32 for either type of image."""
        if image_type not in ("uint8", "float32"):
            raise NotImplementedError(f"image_type is {image_type}, expected uint8 or float32")
        if "video_clip" in self.metadata:
            # A clone, because tools write into what they are given.
            frame = self.metadata["video_clip"].frames[int(self.metadata["clip_frames"][image_idx])]
            return {"image_idx": image_idx, "image": frame.clone() if image_type == "uint8" else frame.float() / 255}
        if "mesh_pictures" in self.metadata:
            image, mask = self.metadata["mesh_pictures"].image_and_mask(image_idx, self.cameras[image_idx])
            return {
                "image_idx": image_idx,
                "image": image if image_type == "uint8" else image.float() / 255,
                "fg_mask": mask,
            }
        if self.fg_mask_filenames is None and self.downscale_factor == 1:
            data = super().get_data(image_idx, image_type)
            data["image"] = data["image"][..., :3]
        else:
            data = self._composited_data(image_idx)
            if image_type == "uint8":
                data["image"] = (255 * data["image"]).round().to(torch.uint8)
            not_sampled = self._dataparser_outputs.mask_filenames
            if not_sampled is not None:
                data["mask"] = self._may_be_sampled(image_idx, not_sampled[image_idx])
        if self.depth_filenames is not None:
            data["depth"] = self._ray_distance(image_idx, self.depth_filenames[image_idx])
        return data

    def _composited_data(self, image_idx: int) -> dict[str, Any]:
        size = self.image_size(image_idx)
        scale = self.scale_factor / self.downscale_factor
        path = self.image_filenames[image_idx]
        image = read_image(path)
        if self.fg_mask_filenames is None:
            return {"image_idx": image_idx, "image": area_average(image[..., :3], scale, size)}
        if self.fg_mask_source == "alpha":
            fg_mask = image[..., 3:]
            if fg_mask.shape[-1] == 0:
                raise InputError(f"{path} has no alpha channel, expected RGBA: write it with its mask.")
        else:
            mask_path = self.fg_mask_filenames[image_idx]
            fg_mask = read_mask(mask_path, self.fg_mask_source)
            if fg_mask.shape[:2] != image.shape[:2]:
                raise InputError(
                    f"{mask_path} is {fg_mask.shape[1]}x{fg_mask.shape[0]} pixels, but its image {path} is "
                    f"{image.shape[1]}x{image.shape[0]}, expected the same size: write it at the image's size."
                )
        if self.keep_background:
            averaged = area_average(torch.cat([image[..., :3], fg_mask], dim=-1), scale, size)
            return {"image_idx": image_idx, "image": averaged[..., :3], "fg_mask": averaged[..., 3:]}
        # Averaging colour times mask, not colour, keeps what lies outside the mask from bleeding into the edge.
        averaged = area_average(torch.cat([image[..., :3] * fg_mask, fg_mask], dim=-1), scale, size)
        fg_mask = averaged[..., 3:]
        image = (averaged[..., :3] + self.background_color * (1 - fg_mask)).clamp(0, 1)
        return {"image_idx": image_idx, "image": image, "fg_mask": fg_mask}

    def _may_be_sampled(self, image_idx: int, path: Path) -> Tensor:
        """Pixels (H, W, 1), bool, all of whose area is known."""
        known = read_mask(path, "first_channel_positive")
        scale = self.scale_factor / self.downscale_factor
        return area_average(known, scale, self.image_size(image_idx)) > 1 - 1e-6

    def _ray_distance(self, image_idx: int, path: Path) -> Tensor:
        scale = self.scale_factor / self.downscale_factor
        height, width = self.image_size(image_idx)
        raw = read_raw_values(path) * float(self.metadata["depth_scale"])
        valid = (raw > 0).float()
        averaged = area_average(torch.cat([raw * valid, valid], dim=-1), scale, (height, width))
        # The mean of the known values; a pixel that is mostly unknown stays so.
        depth = torch.where(averaged[..., 1:] >= 0.5, averaged[..., :1] / averaged[..., 1:].clamp_min(1e-6), 0.0)
        if self.metadata.get("depth_convention", "ray") == "z":
            depth = depth * self._ray_norms(image_idx)
        return depth

    def _ray_norms(self, image_idx: int) -> Tensor:
        """Ray distance per z (H, W, 1) of every pixel's centre."""
        camera = self.cameras[image_idx]
        if camera.distortion_params is None and int(camera.camera_type) == CameraType.PERSPECTIVE.value:
            focals, centre = (float(camera.fx), float(camera.fy)), (float(camera.cx), float(camera.cy))
            return pixel_ray_norms(focals, centre, self.image_size(image_idx))[..., None]
        # A lens bends the rays, which nerfstudio knows how to do.
        directions = self.cameras.generate_rays(image_idx).directions
        return 1 / (directions @ -camera.camera_to_worlds[:3, 2])[..., None]


def read_image(path: Path) -> Tensor:
    """An image file as float32 (H, W, 3 or 4) in [0, 1], 4 with an alpha channel.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with Image.open(path) as image:
            has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            pixels = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The image {path} cannot be read ({error}), expected a whole image file.") from error
    return torch.from_numpy(pixels.astype(np.float32) / 255)


def read_raw_values(path: Path) -> Tensor:
    """The values of an image with one channel (8, 16 or 32 bit), float32 (H, W, 1).

    Raises:
        InputError: It cannot be read or has several channels.
    """
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The depth image {path} cannot be read ({error}), expected a whole image file.") from error
    if values.ndim != 2:
        raise InputError(f"The depth image {path} has {values.shape[-1]} channels, expected one of 16 bit.")
    return torch.from_numpy(values.astype(np.float32))[..., None]


def area_average(image: Tensor, scale: float, size: tuple[int, int]) -> Tensor:
    """Reduces an image so that every new pixel is the mean over the area that it covers.

    Args:
        image: float32 (H, W, C).
        scale: New pixels per old pixel along an axis. Where it does not divide the image, the last rows and columns are
            cut off, so that coordinates are multiplied by exactly ``scale``.
        size: New height and width, floor(scale * old size).
    """
    height, width = size
    if scale == 1:
        return image
    factor = round(1 / scale)
    if factor >= 1 and abs(factor * scale - 1) < 1e-6:
        cut = image[: height * factor, : width * factor]
        return cut.reshape(height, factor, width, factor, -1).mean(dim=(1, 3))
    return torch.einsum(
        "ij,jkc,lk->ilc", _overlaps(height, image.shape[0], scale), image, _overlaps(width, image.shape[1], scale)
    )


def area_resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Brings an image (H, W, C) to another height and width; every new pixel is the mean over the area it covers."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    rows = _overlaps(size[0], height, size[0] / height)
    columns = _overlaps(size[1], width, size[1] / width)
    return torch.einsum("ij,jkc,lk->ilc", rows, image, columns)


def _overlaps(new_size: int, old_size: int, scale: float) -> Tensor:
    """How much of each new pixel (rows) each old pixel (columns) covers; rows sum to 1."""
    new_edges = torch.arange(new_size + 1, dtype=torch.float64) / scale
    old = torch.arange(old_size, dtype=torch.float64)
    overlap = torch.minimum(new_edges[1:, None], old + 1) - torch.maximum(new_edges[:-1, None], old)
    return (overlap.clamp_min(0) * scale).float()
