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
``image_preparation``
    An ``ImagePreparation`` of :mod:`nf_plugins.data.prepared_images`: files are undistorted, reduced and cropped by it
    and not by ``downscale_factor``; the cameras of the outputs are those afterwards.
``picture_source``
    Gives images that are no files of their own by their names: ``image(path)`` uint8 (H, W, 3) and ``mask(path)``
    float32 (H, W) in [0, 1].
``background_plate_filenames``
    For every image the empty set as its camera sees it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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

if TYPE_CHECKING:
    from nf_plugins.data.prepared_images import Border, ImagePreparation


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
        self.preparation: ImagePreparation | None = self.metadata.get("image_preparation")
        self.picture_source: Any | None = self.metadata.get("picture_source")
        self.background_plate_filenames: list[Path] | None = self.metadata.get("background_plate_filenames")
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
        is_plain = self.preparation is None and self.picture_source is None
        if is_plain and self.fg_mask_filenames is None and self.downscale_factor == 1:
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

    def background_plate(self, image_idx: int) -> Tensor:
        """The empty set as the image's camera sees it, float32 (H, W, 3) in [0, 1], prepared like the image.

        Raises:
            InputError: The data have no plates, or one cannot be read.
        """
        if self.background_plate_filenames is None:
            raise InputError("The data have no background plates, expected one per camera (the folder bkgd).")
        path = self.background_plate_filenames[image_idx]
        return self._reduced(image_idx, path, read_image(path)[..., :3])

    def _composited_data(self, image_idx: int) -> dict[str, Any]:
        path = self.image_filenames[image_idx]
        image = self._read_picture(path)
        if self.fg_mask_filenames is None:
            return {"image_idx": image_idx, "image": self._reduced(image_idx, path, image[..., :3])}
        if self.fg_mask_source == "alpha":
            mask_path, fg_mask = path, image[..., 3:]
            if fg_mask.shape[-1] == 0:
                raise InputError(f"{path} has no alpha channel, expected RGBA: write it with its mask.")
        else:
            mask_path = self.fg_mask_filenames[image_idx]
            fg_mask = self._read_mask(mask_path)
            if fg_mask.shape[:2] != image.shape[:2]:
                raise InputError(
                    f"{mask_path} is {fg_mask.shape[1]}x{fg_mask.shape[0]} pixels, but its image {path} is "
                    f"{image.shape[1]}x{image.shape[0]}, expected the same size: write it at the image's size."
                )
        if self.keep_background:
            # Beyond the border of an undistorted image there is no subject, but there is a background.
            fg_mask = self._reduced(image_idx, mask_path, fg_mask, border="zero")
            return {"image_idx": image_idx, "image": self._reduced(image_idx, path, image[..., :3]), "fg_mask": fg_mask}
        # Averaging colour times mask, not colour, keeps what lies outside the mask from bleeding into the edge.
        premultiplied = torch.cat([image[..., :3] * fg_mask, fg_mask], dim=-1)
        averaged = self._reduced(image_idx, path, premultiplied, border="zero")
        fg_mask = averaged[..., 3:]
        image = (averaged[..., :3] + self.background_color * (1 - fg_mask)).clamp(0, 1)
        return {"image_idx": image_idx, "image": image, "fg_mask": fg_mask}

    def _read_picture(self, path: Path) -> Tensor:
        if self.picture_source is None:
            return read_image(path)
        return torch.as_tensor(self.picture_source.image(path)).float() / 255

    def _read_mask(self, path: Path) -> Tensor:
        if self.picture_source is None:
            return read_mask(path, self.fg_mask_source)
        return torch.as_tensor(self.picture_source.mask(path)).float()[..., None]

    def _reduced(self, image_idx: int, path: Path, pixels: Tensor, border: Border = "replicate") -> Tensor:
        """A file's pixels (H, W, C) at the size and with the lens of the image's camera."""
        size = self.image_size(image_idx)
        if self.preparation is None:
            return area_average(pixels, self.scale_factor / self.downscale_factor, size)
        lens = self.preparation.lenses[image_idx]
        if tuple(pixels.shape[:2]) != (lens.height, lens.width):
            raise InputError(
                f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, but its camera is calibrated for {lens.width}x"
                f"{lens.height}, expected the same size: write it at that size."
            )
        return area_average(self.preparation.apply(image_idx, pixels, border), self.scale_factor, size)

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
    rows = _averaged_rows(image, height, scale)
    return _averaged_rows(rows.transpose(0, 1), width, scale).transpose(0, 1)


def area_resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Brings an image (H, W, C) to another height and width; every new pixel is the mean over the area it covers."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    rows = _overlaps(size[0], height, size[0] / height)
    columns = _overlaps(size[1], width, size[1] / width)
    return torch.einsum("ij,jkc,lk->ilc", rows, image, columns)


def _averaged_rows(image: Tensor, new_size: int, scale: float) -> Tensor:
    """The mean over the rows that each new row covers; a few rows each, where a matrix would look at all of them."""
    edges = torch.arange(new_size + 1, dtype=torch.float64) / scale
    covered = edges[:-1, None].floor() + torch.arange(math.ceil(1 / scale) + 1)
    parts = torch.minimum(edges[1:, None], covered + 1) - torch.maximum(edges[:-1, None], covered)
    weights = (parts.clamp_min(0) * scale).float()
    rows = covered.long().clamp_max(len(image) - 1)
    averaged = weights[:, 0, None, None] * image[rows[:, 0]]
    for tap in range(1, rows.shape[1]):
        averaged += weights[:, tap, None, None] * image[rows[:, tap]]
    return averaged


def _overlaps(new_size: int, old_size: int, scale: float) -> Tensor:
    """How much of each new pixel (rows) each old pixel (columns) covers; rows sum to 1."""
    new_edges = torch.arange(new_size + 1, dtype=torch.float64) / scale
    old = torch.arange(old_size, dtype=torch.float64)
    overlap = torch.minimum(new_edges[1:, None], old + 1) - torch.maximum(new_edges[:-1, None], old)
    return (overlap.clamp_min(0) * scale).float()
