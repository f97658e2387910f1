"""Images between two frames: both networks' planes at the two key times, kept for as long as the camera stands."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from nf_plugins.fields.scene_flow_field import SceneFlowField, StaticSamples
from nf_plugins.model_components.blended_rendering import sample_opacity
from nf_plugins.model_components.plane_samples import PlaneSamples
from nf_plugins.model_components.plane_splatting import (
    DynamicPlanes,
    PlaneRender,
    StaticPlanes,
    composite_planes,
    moved_pixels,
    planes_at_once,
    planes_from_rays,
)
from nf_plugins.models.scene_flow_outputs import SceneFlowPainter
from nf_plugins.models.scene_flow_pass import reference_pass

KEY_TIMES_KEPT = 2
"""Those around the time that is shown: a camera that stands while time runs renders every key time once."""
TIME_TOLERANCE = 1e-4
"""Frames; closer to a key time the image is that of the key time."""


class KeyTime(NamedTuple):
    """The dynamic field at one frame, at the samples of a camera, and the camera's ordinary outputs."""

    rgb: Tensor
    """``(P, H, W, 3)``."""
    opacity: Tensor
    """Share of the dynamic field in the blended render's opacities ``(P, H, W)``."""
    flow_backward: Tensor
    """``(P, H, W, 3)``, sample coordinates."""
    flow_forward: Tensor
    """``(P, H, W, 3)``, sample coordinates."""
    outputs: dict[str, Tensor]
    """``(H, W, C)``."""


class View(NamedTuple):
    """A camera and what it sees of the static field, at all times the same."""

    origins: Tensor
    """World ``(H * W, 3)``."""
    directions: Tensor
    """World ``(H * W, 3)``, unit."""
    camera_to_world: Tensor
    """``(3, 4)``."""
    intrinsics: Tensor
    """fx, fy, cx, cy ``(4,)``."""
    height: int
    width: int
    static: StaticSamples
    """``(P, H, W)``."""
    static_planes: StaticPlanes


def split_frame_coordinate(coordinate: float) -> tuple[int, float]:
    """The key time before a fractional frame, and how far it is to the next in [0, 1); 0 close to either."""
    nearest = round(coordinate)
    if abs(coordinate - nearest) < TIME_TOLERANCE:
        return nearest, 0.0
    return int(coordinate // 1), coordinate % 1


def is_pinhole(camera: Cameras) -> bool:
    """Whether a camera is a perspective one without distortion: points can be pushed to the pixels of no other."""
    distortion = camera.distortion_params
    perspective = bool((camera.camera_type == CameraType.PERSPECTIVE.value).all())
    return perspective and (distortion is None or not bool(distortion.any()))


class BetweenFrames:
    """Renders images between frames; holds one camera's static planes and its latest two key times.

    Args:
        scene: The networks.
        painter: Makes the ordinary outputs; knows where samples lie.
        num_samples: Planes P.
        rays_per_chunk: Rays per evaluation of the networks.
        planes_per_chunk: Planes that are moved at once; None for what suits the device.

    Attributes:
        num_renders: Key times rendered so far: what a video cost.
    """

    def __init__(
        self,
        scene: SceneFlowField,
        painter: SceneFlowPainter,
        *,
        num_samples: int,
        rays_per_chunk: int,
        planes_per_chunk: int | None,
    ) -> None:
        self.scene = scene
        self.space = painter.space
        self.painter = painter
        self.num_samples = num_samples
        self.rays_per_chunk = rays_per_chunk
        self.planes_per_chunk = planes_per_chunk
        self.num_renders = 0
        self._key: Any = None
        self._view: View | None = None
        self._key_times: OrderedDict[int, KeyTime] = OrderedDict()

    def clear(self) -> None:
        """Forgets camera and key times."""
        self._key, self._view = None, None
        self._key_times.clear()

    def image(self, camera: Cameras, coordinate: float) -> dict[str, Tensor] | None:
        """Outputs ``(H, W, C)`` of a camera at a fractional frame.

        Args:
            camera: One camera, on the networks' device.
            coordinate: In [0, N - 1].

        Returns:
            None at a frame's own time, unless that key time is held: an ordinary render costs less memory. None for
            cameras that are not :func:`is_pinhole`.
        """
        if not is_pinhole(camera):
            return None
        index, fraction = split_frame_coordinate(coordinate)
        self._select(camera)
        if fraction == 0:
            return dict(self._key_times[index].outputs) if index in self._key_times else None
        view = self._look(camera)
        first, second = self.key_time(view, index), self.key_time(view, index + 1)
        rendered = self.composite(view, first, second, fraction)
        opacity = rendered.accumulation
        shape = (view.height, view.width)
        rays = view.origins.view(*shape, 3), view.directions.view(*shape, 3)
        depth = self.painter.depth(*rays, rendered.ray_parameter, rendered.weight_sum)
        nearer = first if fraction < 0.5 else second
        splatted = {"rgb": rendered.rgb.clamp(max=1), "depth": depth[..., None], "accumulation": opacity[..., None]}
        return {name: splatted.get(name, value) for name, value in nearer.outputs.items()}

    def composite(self, view: View, first: KeyTime, second: KeyTime | None, fraction: float) -> PlaneRender:
        """The image at a fraction of the way from one key time to the next; the second is not needed at 0."""
        before = self._moved(view, first, first.flow_forward, fraction)
        after = None if second is None else self._moved(view, second, second.flow_backward, 1 - fraction)
        parameters = torch.linspace(0, 1, self.num_samples, device=view.origins.device)
        return composite_planes(
            before, after, view.static_planes, fraction, parameters, planes_per_chunk=self.planes_per_chunk
        )

    def key_time(self, view: View, frame: int) -> KeyTime:
        """The key time of a frame; rendered where it is not held, in place of the one that was used least lately."""
        if frame not in self._key_times:
            while len(self._key_times) >= KEY_TIMES_KEPT:
                self._key_times.popitem(last=False)
            self._key_times[frame] = self._render(view, frame)
            self.num_renders += 1
        self._key_times.move_to_end(frame)
        return self._key_times[frame]

    def _select(self, camera: Cameras) -> None:
        """Forgets what was kept for another camera or other weights."""
        lens = (camera.fx, camera.fy, camera.cx, camera.cy, camera.height, camera.width, camera.camera_type)
        numbers = torch.cat([camera.camera_to_worlds.flatten(), *(value.flatten().float() for value in lens)])
        # Tensors made under inference_mode count no versions, and cannot be trained further.
        versions = ((id(p), 0 if p.is_inference() else p._version) for p in self.scene.parameters())
        key = tuple(numbers.tolist()), tuple(versions)
        if key != self._key:
            self.clear()
            self._key = key

    def _look(self, camera: Cameras) -> View:
        if self._view is None:
            rays = camera.generate_rays(camera_indices=0, keep_shape=True)
            height, width = rays.origins.shape[:2]
            origins, directions = rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3)
            lens = torch.stack([camera.fx, camera.fy, camera.cx, camera.cy]).flatten()
            parts, opacities = [], []
            for rows in torch.arange(len(origins), device=origins.device).split(self.rays_per_chunk):
                samples = self._samples(origins[rows], directions[rows])
                parts.append(self.scene.static(samples.points, samples.view_directions))
                own = sample_opacity(parts[-1].density, samples.lengths)
                opacities.append(own if self.painter.additive else (1 - parts[-1].blend_weight) * own)
            static = StaticSamples._make(_to_planes(list(values), height, width) for values in zip(*parts, strict=True))
            planes = StaticPlanes(static.rgb, _to_planes(opacities, height, width))
            pose = camera.camera_to_worlds.reshape(3, 4)
            self._view = View(origins, directions, pose, lens, height, width, static, planes)
        return self._view

    def _render(self, view: View, frame: int) -> KeyTime:
        """Everything of one key time; the static field is not asked again."""
        parts: list[tuple[Tensor, ...]] = []
        outputs: dict[str, list[Tensor]] = {}
        for rows in torch.arange(len(view.origins), device=view.origins.device).split(self.rays_per_chunk):
            samples = self._samples(view.origins[rows], view.directions[rows])
            coordinates = torch.full_like(samples.ray_parameters[:, 0], float(frame))
            static = StaticSamples._make(values.flatten(1, 2)[:, rows].transpose(0, 1) for values in view.static)
            reference = reference_pass(self.scene, samples, coordinates, additive=self.painter.additive, static=static)
            opacity = reference.dynamic_opacity
            if not self.painter.additive:
                opacity = static.blend_weight * opacity
            dynamic = reference.dynamic
            parts.append((dynamic.rgb, opacity, dynamic.flow_backward, dynamic.flow_forward))
            for name, value in self.painter.outputs(reference, view.origins[rows], coordinates).items():
                outputs.setdefault(name, []).append(value)
        shape = (view.height, view.width)
        images = {name: torch.cat(values).view(*shape, -1) for name, values in outputs.items()}
        planes = [_to_planes(list(values), *shape) for values in zip(*parts, strict=True)]
        return KeyTime(planes[0], planes[1], planes[2], planes[3], images)

    def _samples(self, origins: Tensor, directions: Tensor) -> PlaneSamples:
        return self.space.place_samples(origins, directions, self.num_samples, jitter=False)

    def _moved(self, view: View, key_time: KeyTime, flow: Tensor, share: float) -> DynamicPlanes:
        """The planes of a key time with the pixels that they have moved to, a few planes at a time."""
        samples = self._samples(view.origins, view.directions)
        points = planes_from_rays(samples.points, view.height, view.width)
        chunk = self.planes_per_chunk or planes_at_once(view.height * view.width, flow.device)
        pixels = [
            moved_pixels(start, step, share, self.space, view.camera_to_world, intrinsics=view.intrinsics)
            for start, step in zip(points.split(chunk), flow.split(chunk), strict=True)
        ]
        # Splatting drops what has no place.
        ahead = samples.looks_ahead.view(view.height, view.width, 1)
        return DynamicPlanes(key_time.rgb, key_time.opacity, torch.cat(pixels).where(ahead, torch.inf))


def _to_planes(chunks: list[Tensor], height: int, width: int) -> Tensor:
    """Chunks of rays ``(R, P, *channels)`` as planes ``(P, H, W, *channels)``."""
    return planes_from_rays(torch.cat(chunks), height, width).contiguous()
