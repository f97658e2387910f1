"""All images of a dataset in memory, for random access to pixels."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import cached_property

import torch
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nf_plugins.data.parallel import threaded_map
from nf_plugins.errors import InputError

# Values in [0, 1] of these keys are kept as 8 bit.
UINT8_KEYS = (
    "image",
    "fg_mask",
    "mask",
    "motion_mask",
    "optical_flow_forward_valid",
    "optical_flow_backward_valid",
)


class ImageStore:
    """Every per-pixel key of a dataset, in one flat tensor per key: one resolution and mixed ones are the same.

    ``image`` and masks (``UINT8_KEYS``) are kept as uint8 (a quarter of float32), everything else as float32.

    Args:
        dataset: Its items are dictionaries of (H, W, C) tensors; H and W are those of ``dataset.cameras``.
        device: Where the pixels are kept.
        name: What the printed lines call the images, e.g. "training".

    Attributes:
        image_sizes: int64 (N, 2), height and width of every image.
        pixel_offsets: int64 (N + 1,), where an image's pixels begin in the flat tensors.
    """

    def __init__(self, dataset: InputDataset, device: torch.device | str = "cpu", name: str = "") -> None:
        self.device = torch.device(device)
        num_images = len(dataset)
        if num_images == 0:
            raise InputError(f"The {name} dataset has no images, expected at least one.".replace("  ", " "))
        sizes = torch.cat([dataset.cameras.height, dataset.cameras.width], dim=-1).reshape(num_images, 2).long().cpu()
        self.image_sizes = sizes.to(self.device)
        counts = sizes.prod(dim=-1)
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
        self.pixel_offsets = offsets.to(self.device)
        self._first_pixels = offsets.tolist()

        first = _stored_pixels(dataset, 0)
        total = int(offsets[-1])
        bytes_per_pixel = sum(pixels.shape[-1] * pixels.element_size() for pixels in first.values())
        self.num_bytes = total * bytes_per_pixel
        _announce(num_images, name, self.num_bytes, list(first), self.device)
        self._pixels = {
            key: torch.empty(total, pixels.shape[-1], dtype=pixels.dtype, device=self.device)
            for key, pixels in first.items()
        }

        def load(index: int) -> None:
            loaded = first if index == 0 else _stored_pixels(dataset, index)
            if loaded.keys() != self._pixels.keys():
                raise InputError(
                    f"{dataset.image_filenames[index]} comes with {sorted(loaded)}, but {dataset.image_filenames[0]} "
                    f"with {sorted(self._pixels)}, expected the same for all images."
                )
            for key, pixels in loaded.items():
                if len(pixels) != int(counts[index]):
                    raise InputError(
                        f"{key} of {dataset.image_filenames[index]} has {len(pixels)} pixels, expected "
                        f"{int(sizes[index, 1])}x{int(sizes[index, 0])} as its camera says."
                    )
                self._pixels[key][self._first_pixels[index] : self._first_pixels[index + 1]] = pixels.to(self.device)

        threaded_map(load, range(num_images), f"Loading {name} images".replace("  ", " "))

    def __len__(self) -> int:
        return len(self.image_sizes)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of what is kept for every pixel."""
        return tuple(self._pixels)

    def gather(self, indices: Tensor, keys: Collection[str] | None = None) -> dict[str, Tensor]:
        """Pixels at random places.

        Args:
            indices: int64 (R, 3): image, row, column.
            keys: What to look up; None for everything.

        Returns:
            For every key float32 (R, C) on the store's device; ``image`` and masks in [0, 1].
        """
        indices = indices.to(self.device)
        image, row, column = indices.unbind(-1)
        flat = self.pixel_offsets[image] + row * self.image_sizes[image, 1] + column
        return {key: _as_float(pixels[flat]) for key, pixels in self._pixels.items() if keys is None or key in keys}

    def image(self, key: str, index: int) -> Tensor:
        """One whole image of a key, float32 (H, W, C)."""
        height, width = self.image_sizes[index].tolist()
        pixels = self._pixels[key][self._first_pixels[index] : self._first_pixels[index + 1]]
        return _as_float(pixels).reshape(height, width, -1)

    @cached_property
    def _foreground(self) -> tuple[Tensor, Tensor]:
        if "fg_mask" not in self._pixels:
            return torch.empty(0, dtype=torch.int32, device=self.device), self.pixel_offsets[:0]
        is_foreground = self._pixels["fg_mask"][:, 0] > 127
        if "mask" in self._pixels:
            is_foreground &= self._pixels["mask"][:, 0] > 127
        places = torch.nonzero(is_foreground)[:, 0]
        offsets = torch.searchsorted(places, self.pixel_offsets)
        image = torch.repeat_interleave(torch.arange(len(self), device=self.device), offsets.diff())
        return (places - self.pixel_offsets[image]).to(torch.int32), offsets

    @property
    def foreground_flat(self) -> Tensor:
        """int32 (F,): row * width + column of every pixel with fg_mask > 0.5 that may be sampled, image by image; empty
        without masks."""
        return self._foreground[0]

    @property
    def foreground_offsets(self) -> Tensor:
        """int64 (N + 1,): where an image's entries begin in ``foreground_flat``; empty (0,) without masks."""
        return self._foreground[1]


def _stored_pixels(dataset: InputDataset, index: int) -> dict[str, Tensor]:
    """The per-pixel tensors of an item, flat (H * W, C), in the type in which they are kept."""
    stored = {}
    for key, value in dataset.get_data(index, image_type="uint8").items():
        if not isinstance(value, Tensor) or value.ndim < 2:
            continue
        flat = value.reshape(value.shape[0] * value.shape[1], -1)
        if key in UINT8_KEYS and flat.dtype != torch.uint8:
            flat = (flat.float() * 255).round().to(torch.uint8)
        elif key not in UINT8_KEYS:
            flat = flat.float()
        stored[key] = flat
    return stored


def _as_float(pixels: Tensor) -> Tensor:
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def _announce(num_images: int, name: str, num_bytes: int, keys: list[str], device: torch.device) -> None:
    gigabytes = num_bytes / 1e9
    what = f"{num_images} {name} images ({', '.join(keys)})".replace("  ", " ")
    CONSOLE.print(f"Loading {what}: {gigabytes:.2f} GB on {device}.")
    available = available_bytes(device)
    if available is not None and num_bytes > available:
        CONSOLE.print(
            f"[bold yellow]Warning: {what} need {gigabytes:.2f} GB, but {device} has {available / 1e9:.2f} GB left: "
            "raise the dataparser's --downscale-factor or load fewer frames."
        )


def available_bytes(device: torch.device) -> int | None:
    """Memory that is left on a device, or None where that cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
