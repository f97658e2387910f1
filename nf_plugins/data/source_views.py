"""Training images as sources of colour: cameras by frame, and pixels that are read when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.image_store import ImageStore
from nf_plugins.data.picture_cache import CACHE_BYTES, Picture, PictureCache
from nf_plugins.data.source_cameras import SceneCameras, scene_cameras
from nf_plugins.data.source_crops import canvas_size, crop_rectangle, place, shifted_intrinsics
from nf_plugins.field_components.frame_times import frame_ids_from_times
from nf_plugins.model_components.frame_box_collider import FrameBoxCollider
from nf_plugins.model_components.image_depth_range import image_depth_range
from nf_plugins.model_components.source_batch import SourceBatch
from nf_plugins.model_components.source_ranking import coinciding, rank_by_distance, rendering_sources
from nf_plugins.model_components.target_view import TargetView


class SourceViews:
    """The images of one or more scenes that others are blended from, with numbers that count on over the scenes.

    Everything is kept on the CPU. Images come from an attached :class:`ImageStore`, or are decoded when they are asked
    for and kept in a cache of fixed size, so that a model which only renders needs no training set-up. Copies are the
    object itself.

    Args:
        datasets: Of the training images, one for each scene; the first is the scene that is rendered.
        crop: Cut sources to their subject, where ``batch`` is not told otherwise.
        pinholes: Demand images without lens distortion, without which nothing can be looked up in them.
        plates: The sources are the cameras' pictures of the empty set, at all frames; a plate goes by the number of the
            first image of its camera.
        cache_bytes: Size of the cache.

    Attributes:
        camera_to_worlds: ``(N, 3, 4)``, OpenGL's axes, scene units.
        world_to_cameras: ``(N, 3, 4)``, OpenCV's axes.
        intrinsics: ``(N, 3, 3)``; the centre of the first pixel is (0, 0).
        sizes: int64 ``(N, 2)``, height and width.
        centers: Positions ``(N, 3)``.
        times: ``(N,)``.
        frame_ids: int64 ``(N,)``, counted in each scene.
        camera_ids: int64 ``(N,)``, likewise.
        scene_ids: int64 ``(N,)``.

    Raises:
        InputError: An image has lens distortion, or its camera is no perspective one.
    """

    def __init__(
        self,
        datasets: Sequence[DynamicDataset],
        *,
        crop: bool = True,
        pinholes: bool = True,
        plates: bool = False,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.datasets = tuple(datasets)
        self.crop = crop and not plates
        self.plates = plates
        scenes = [scene_cameras(dataset, pinholes) for dataset in self.datasets]

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(scene, name) for scene in scenes])

        self.camera_to_worlds: Tensor = joined("camera_to_worlds")
        self.world_to_cameras: Tensor = joined("world_to_cameras")
        self.intrinsics: Tensor = joined("intrinsics")
        self.sizes: Tensor = joined("sizes")
        self.times: Tensor = joined("times")
        self.frame_ids: Tensor = joined("frame_ids")
        self.camera_ids: Tensor = joined("camera_ids")
        self.centers: Tensor = self.camera_to_worlds[:, :, 3]
        self.num_images_of_scene: list[int] = [len(dataset) for dataset in self.datasets]
        self.scene_ids: Tensor = torch.repeat_interleave(torch.tensor(self.num_images_of_scene))
        self.first_ids: list[int] = [sum(self.num_images_of_scene[:scene]) for scene in range(len(scenes))]
        self._colliders = [FrameBoxCollider(scene.frame_boxes, scene.frame_times) for scene in scenes]
        groups = _by_camera if plates else _by_frame
        self._by_frame = [groups(scene, first) for scene, first in zip(scenes, self.first_ids, strict=True)]
        self._stores: dict[int, ImageStore] = {}
        self._pictures = PictureCache(cache_bytes)
        self._said: set[str] = set()

    def __len__(self) -> int:
        return len(self.times)

    def __deepcopy__(self, memo: dict[int, Any]) -> SourceViews:
        return self

    def of_frame(self, frame_id: int, scene: int = 0) -> Tensor:
        """Images of a frame, int64 ``(C,)``; empty where there are none."""
        return self._by_frame[scene].get(int(frame_id), torch.zeros(0, dtype=torch.long))

    def fewest_of_a_frame(self, scene: int = 0) -> int:
        """How many images the frame with the fewest has."""
        return min(len(ids) for ids in self._by_frame[scene].values())

    def frame_of_time(self, time: float, scene: int = 0) -> int:
        """The frame whose time is nearest."""
        return int(frame_ids_from_times(torch.tensor([time]), self._colliders[scene].frame_times)[0])

    def box_at(self, time: float, scene: int = 0) -> Tensor:
        """The subject's box ``(2, 3)`` at a time, scene units; between frames what encloses both their boxes."""
        return self._colliders[scene].boxes_at(torch.tensor([time]))[0]

    def box_of(self, index: int) -> Tensor:
        """The subject's box ``(2, 3)`` in the frame of an image."""
        return self.box_at(float(self.times[index]), int(self.scene_ids[index]))

    def target(self, index: int, frame_box: Tensor | None = None) -> TargetView:
        """An image as what is rendered; its depths are those of a box ``(2, 3)``, by default its frame's."""
        box = self.box_of(index) if frame_box is None else frame_box.cpu()
        height, width = self.sizes[index].tolist()
        return TargetView(
            intrinsics=self.intrinsics[index],
            world_to_camera=self.world_to_cameras[index],
            size=(height, width),
            z_range=torch.tensor(image_depth_range(self.world_to_cameras[index], box)),
            time=float(self.times[index]),
        )

    def rendering_ids(
        self, center: Tensor, time: float, count: int, *, skip_nearest: bool = False, scene: int = 0
    ) -> tuple[int, ...]:
        """Sources of a view from a position ``(3,)`` at a time: the nearest images of the nearest frame.

        An image taken from the very position is left out. Where there are fewer than ``count``, a line says so once.
        """
        ids = self.of_frame(self.frame_of_time(time, scene), scene)
        centers, position = self.centers[ids], center.detach().cpu()
        order = rank_by_distance(position, centers)
        chosen = rendering_sources(order, coinciding(position, centers), count, skip_nearest=skip_nearest)
        if len(chosen) < count:
            self.say_once(
                f"fewer than {count}",
                f"A frame has {len(chosen)} images to blend from where {count} are asked for; these are used.",
            )
        return tuple(ids[chosen].tolist())

    def attach(self, store: ImageStore, scene: int = 0) -> None:
        """From now on the images of a scene come from its store, which others use too."""
        self._stores[scene] = store

    def image(self, index: int) -> tuple[Tensor, Tensor]:
        """Colours uint8 ``(H, W, 3)`` on the background, and foreground uint8 ``(H, W)``, 255 without masks."""
        if int(self.scene_ids[index]) in self._stores and not self.plates:
            return self._read(index)
        picture = self._pictures.get((index, False), lambda: self._whole(index))
        return picture.pixels, picture.mask

    def may_be_sampled(self, index: int) -> Tensor | None:
        """Pixels, bool ``(H, W)``, that nerfstudio's masks leave in; None where there are no such masks."""
        scene, local = self._place(index)
        if self.datasets[scene]._dataparser_outputs.mask_filenames is None:
            return None
        store = self._stores.get(scene)
        mask = self.datasets[scene].get_data(local)["mask"] if store is None else store.image("mask", local).cpu()
        return mask[..., 0] > 0.5

    def prepare(self, ids: Sequence[int]) -> None:
        """Reads images and cuts them, so that ``batch`` finds them ready."""
        for index in ids:
            self._picture(index, self.crop)

    def batch(
        self,
        groups: Sequence[Sequence[int]],
        *,
        crop: bool | None = None,
        device: torch.device | str = "cpu",
    ) -> SourceBatch:
        """Sources of several targets on one canvas.

        Args:
            groups: For every target equally many images.
            crop: Cut them to their subject; None: as this object was made.
            device: Where the tensors go.
        """
        counts = {len(group) for group in groups}
        if len(counts) != 1 or 0 in counts:
            raise ValueError(f"every target needs equally many sources, at least one; these have {sorted(counts)}")
        ids = [index for group in groups for index in group]
        pictures = [self._picture(index, self.crop if crop is None else crop) for index in ids]
        canvas = canvas_size([p.rectangle[2] for p in pictures], [p.rectangle[3] for p in pictures])
        colours, masks, intrinsics = [], [], []
        for index, picture in zip(ids, pictures, strict=True):
            pixels, shift = place(picture.pixels, picture.rectangle, canvas, self._background(index))
            colours.append(pixels)
            masks.append(place(picture.mask[..., None], picture.rectangle, canvas, torch.zeros(1))[0])
            intrinsics.append(shifted_intrinsics(self.intrinsics[index], shift))

        def on_device(values: list[Tensor]) -> Tensor:
            return torch.stack(values).to(device, non_blocking=True).unflatten(0, (len(groups), -1))

        return SourceBatch(
            images=on_device(colours).movedim(-1, -3).float() / 255,
            masks=on_device(masks).movedim(-1, -3).float() / 255,
            intrinsics=on_device(intrinsics),
            world_to_cameras=on_device([self.world_to_cameras[index] for index in ids]),
            ids=tuple(tuple(group) for group in groups),
        )

    def say_once(self, key: str, line: str) -> None:
        """Prints a line, unless one of this key was printed."""
        if key not in self._said:
            self._said.add(key)
            CONSOLE.print(line)

    def name_of(self, index: int) -> str:
        """The file that an image comes from."""
        scene, local = self._place(index)
        return str(self.datasets[scene].image_filenames[local])

    def _place(self, index: int) -> tuple[int, int]:
        scene = int(self.scene_ids[index])
        return scene, index - self.first_ids[scene]

    def _background(self, index: int) -> Tensor:
        return (255 * self.datasets[int(self.scene_ids[index])].background_color).round().to(torch.uint8)

    def _picture(self, index: int, crop: bool) -> Picture:
        return self._pictures.get((index, crop), lambda: self._cut(index) if crop else self._whole(index))

    def _cut(self, index: int) -> Picture:
        pixels, mask = self._read(index)
        if not bool((mask > 0).any()):
            self.say_once("empty mask", f"{self.name_of(index)} has an empty mask; its whole image is a source.")
        top, left, height, width = rectangle = crop_rectangle(mask)
        cut = slice(top, top + height), slice(left, left + width)
        return Picture(pixels[cut].clone(), mask[cut].clone(), rectangle)

    def _whole(self, index: int) -> Picture:
        pixels, mask = self._read(index)
        return Picture(pixels, mask, (0, 0, mask.shape[0], mask.shape[1]))

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        scene, local = self._place(index)
        store = self._stores.get(scene)
        if self.plates:
            pixels, mask = _bytes(self.datasets[scene].background_plate(local)), None
        elif store is None:
            data = self.datasets[scene].get_data(local, image_type="uint8")
            pixels, mask = data["image"], data.get("fg_mask")
        else:
            pixels = _bytes(store.image("image", local).cpu())
            mask = store.image("fg_mask", local).cpu() if "fg_mask" in store.keys else None
        if mask is None:
            return pixels, torch.full(pixels.shape[:2], 255, dtype=torch.uint8)
        return pixels, _bytes(mask[..., 0])


def _bytes(values: Tensor) -> Tensor:
    return (255 * values).round().to(torch.uint8)


def _by_frame(scene: SceneCameras, first: int) -> dict[int, Tensor]:
    return {
        frame: (scene.frame_ids == frame).nonzero()[:, 0] + first for frame in torch.unique(scene.frame_ids).tolist()
    }


def _by_camera(scene: SceneCameras, first: int) -> dict[int, Tensor]:
    """The first image of every camera, for all frames."""
    cameras = torch.unique(scene.camera_ids).tolist()
    ids = torch.tensor([int((scene.camera_ids == camera).nonzero()[0, 0]) for camera in cameras]) + first
    return {frame: ids for frame in range(len(scene.frame_times))}
